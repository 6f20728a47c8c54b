//! What must hold once the faults are over.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_gateway::journal::log::{Limits, Log};
use rollcall_gateway::journal::record::Record;
use rollcall_hub::store::entity::OutageCause;
use rollcall_rules::light::Colour;
use uuid::Uuid;

use super::disk::SimDisk;
use super::hub::SimHub;
use super::plan::Session;
use super::world::service::NOTICED_MS;
use super::world::{Minted, Presentation, World};
use super::{Base, DOORS};

/// What counts as exact may be off by this much.
pub(super) const EXACT_MS: i64 = 1_500;

/// The ids of all swipes at the hub, as their gateways minted them.
pub(super) async fn claimed(hub: &SimHub) -> Vec<Uuid> {
    rows(hub, "SELECT claimed_id FROM swipe").await.into_iter().map(|row| row.0).collect()
}

/// Rows of an id and two numbers.
pub(super) async fn rows(hub: &SimHub, sql: &str) -> Vec<(Uuid, i64, i64)> {
    let Some(service) = hub.service() else { return Vec::new() };
    let read = async {
        let mut tx = service.read().await?;
        let mut found = Vec::new();
        for mut row in tx.fetch(sql, Vec::new()).await? {
            let id = row.next::<Option<Uuid>>("id")?.unwrap_or_default();
            found.push((
                id,
                row.next::<Option<i64>>("from")?.unwrap_or(0),
                row.next::<Option<i64>>("until")?.unwrap_or(0),
            ));
        }
        Ok::<_, rollcall_hub::store::StoreError>(found)
    };
    read.await.unwrap_or_else(|error| panic!("the hub cannot be read: {error}"))
}

/// The swipes that a medium holds, and its last record: journal and sequence.
#[must_use]
pub(super) fn swipes_on(disk: &SimDisk) -> (BTreeSet<Uuid>, Option<(Uuid, u64)>) {
    let (mut found, mut last) = (BTreeSet::new(), None);
    let limits = Limits { segment: 16 * 1024, quota: u64::MAX };
    drop(Log::open(disk.copy_of_medium(), Uuid::nil(), limits, |stored| {
        last = Some((stored.journal, stored.sequence));
        if let Ok(Record::Swipe(swipe)) = Record::read(&stored.body) {
            found.insert(swipe.id);
        }
    }));
    (found, last)
}

/// Everything that does not hold.
pub(super) async fn check(world: &World, base: &Base) -> Vec<String> {
    let mut broken = world.broken.clone();
    let mut counts: BTreeMap<Uuid, u32> = BTreeMap::new();
    let stored = rows(&world.hub, "SELECT claimed_id, earliest_at, latest_at FROM swipe").await;
    for (id, ..) in &stored {
        *counts.entry(*id).or_default() += 1;
    }
    let minted = world.presentations.iter().flat_map(|it| &it.minted);
    let known: BTreeSet<Uuid> = minted.map(|it| it.id).collect();
    for id in counts.keys().filter(|id| !known.contains(id)) {
        broken.push(format!("swipe {id} is at the hub, and no card was read for it"));
    }
    for it in &world.presentations {
        let count: u32 = it.minted.iter().filter_map(|it| counts.get(&it.id)).sum();
        if (it.green() || it.kept) && count == 0 && !it.forgiven && !world.is_rotten(it) {
            broken.push(format!("LOST: shown green or acknowledged, and not at the hub: {it:?}"));
        }
        if count > 1 && !(it.twice && it.minted.iter().all(|it| counts.get(&it.id) <= Some(&1))) {
            broken.push(format!("DOUBLED: one card, and {count} swipes at the hub: {it:?}"));
        }
        for minted in &it.minted {
            lights(world, base, it, minted, &mut broken);
        }
    }
    times(world, &stored, &mut broken);
    marks(world, base, &stored, &mut broken).await;
    registers(world, base, &mut broken).await;
    wronged(world, base, &mut broken).await;
    broken
}

/// Who was shown red though the swipe would have counted, by a gateway that had no room, a failing disk or had lost its timetable,
/// is nowhere `ABSENT` for that; nor is one whose record rotted, or went with a card that was put back from an image.
async fn wronged(world: &World, base: &Base, broken: &mut Vec<String>) {
    let mut reds: Vec<(usize, usize, i64)> = world.unknown.clone();
    let red =
        |it: &&Presentation| !it.forgiven && it.minted.iter().any(|minted| minted.flash == Some(Colour::Red));
    reds.extend(world.presentations.iter().filter(red).map(|it| (it.student, it.door, it.at)));
    let there = claimed(&world.hub).await;
    let gone = |it: &&Presentation| {
        world.is_rotten(it) && !it.forgiven && it.minted.iter().all(|minted| !there.contains(&minted.id))
    };
    reds.extend(world.presentations.iter().filter(gone).map(|it| (it.student, it.door, it.at)));
    // What a gateway told before its disk was put back is gone with the disk.
    reds.retain(|(_, door, _)| world.disk_harmed[DOORS[*door].gateway].is_none());
    // But not that greens went with it.
    reds.extend(&world.gone);
    reds.retain(|(student, ..)| World::listed(*student));
    for session in world.plans[world.plan].sessions().filter(|session| !session.cancelled) {
        let Some(rooms) = session.rooms() else { continue };
        let (opens, closes) = session.window(base.day);
        let sql = format!(
            "SELECT a.student_id, 0, 0 FROM attendance a JOIN session s ON s.id = a.session_id WHERE \
             s.external_id = '{}' AND a.status = 'ABSENT'",
            session.id
        );
        let absent: BTreeSet<Uuid> = rows(&world.hub, &sql).await.into_iter().map(|(id, ..)| id).collect();
        for (student, door, at) in &reds {
            let counts = rooms.contains(&DOORS[*door].room) && (opens..=closes).contains(at);
            if counts && absent.contains(&base.students[*student]) {
                broken.push(format!(
                    "WRONGED: student {student} was refused, or their record was lost, at {} at {at} and is ABSENT at {}",
                    DOORS[*door].reader, session.id
                ));
            }
        }
    }
}

/// Every light is that of the timetable that the gateway had, at the time that the gateway took it to be; and that time holds the truth.
fn lights(world: &World, base: &Base, it: &Presentation, minted: &Minted, broken: &mut Vec<String>) {
    let when = minted.when;
    if when.earliest.0 - EXACT_MS > it.at || it.at > when.latest.0 + EXACT_MS {
        broken.push(format!("WRONG TIME: it was {} and the gateway took it to be {when:?}", it.at));
    }
    let plan = &world.plans[minted.plan];
    let room = DOORS[it.door].room;
    // For what it would count at the instants at which it may have been; with what both clocks may be off.
    let within = |slack: i64| match World::listed(it.student) {
        true => {
            let (from, until) = (when.earliest.0.saturating_add(slack), when.latest.0.saturating_sub(slack));
            plan.open_within(base.day, room, from, until)
        }
        false => BTreeSet::from([Vec::new()]),
    };
    let counts = World::listed(it.student) && plan.open(base.day, room, it.at);
    let surely = within(EXACT_MS);
    match minted.flash {
        Some(Colour::Green) if !counts || surely.len() > 1 => broken.push(format!("WRONG GREEN: {it:?}")),
        Some(Colour::Red)
            if minted.place.is_some() && (counts || surely.iter().any(|open| !open.is_empty())) =>
        {
            broken.push(format!("WRONG RED: {it:?}"));
        }
        Some(Colour::Amber) if when.is_exact() => broken.push(format!("AMBER at a known time: {it:?}")),
        Some(Colour::Amber) if within(-EXACT_MS).len() == 1 => {
            broken.push(format!("AMBER where every time comes to the same: {it:?}"));
        }
        _ => {}
    }
}

/// The hub's own reading of every time holds the truth.
fn times(world: &World, stored: &[(Uuid, i64, i64)], broken: &mut Vec<String>) {
    let minted = world.presentations.iter().flat_map(|it| it.minted.iter().map(|minted| (minted.id, it.at)));
    let truth: BTreeMap<Uuid, i64> = minted.collect();
    for (id, earliest, latest) in stored {
        if let Some(at) = truth.get(id)
            && (earliest - EXACT_MS > *at || *at > latest + EXACT_MS)
        {
            broken.push(format!(
                "WRONG TIME AT THE HUB: swipe {id} was at {at}, kept as {earliest} to {latest}"
            ));
        }
    }
}

/// Marks are a matter of the swipes at the hub and the timetable alone.
async fn marks(world: &World, base: &Base, stored: &[(Uuid, i64, i64)], broken: &mut Vec<String>) {
    let read: BTreeMap<Uuid, (i64, i64)> =
        stored.iter().map(|(id, from, until)| (*id, (*from, *until))).collect();
    let held = world.plans[world.plan].sessions().filter(|session| !session.cancelled);
    for session in held {
        let sql = format!(
            "SELECT st.id, 0, 0 FROM attendance a JOIN session s ON s.id = a.session_id JOIN student st ON st.id = \
             a.student_id WHERE s.external_id = '{}' AND a.status = 'PRESENT'",
            session.id
        );
        let present: BTreeSet<Uuid> = rows(&world.hub, &sql).await.into_iter().map(|row| row.0).collect();
        let (opens, closes) = session.window(base.day);
        let mut certain = BTreeSet::new();
        let mut possible = BTreeSet::new();
        let all = world.presentations.iter().flat_map(|it| it.minted.iter().map(move |minted| (it, minted)));
        for (it, minted) in all.filter(|(it, _)| World::listed(it.student)) {
            let Some((earliest, latest)) = read.get(&minted.id) else { continue };
            let room = DOORS[it.door].room;
            let here = session.ever_in(room);
            let all_the_time = session.is_in(room, *earliest, *latest);
            let student = base.students[it.student];
            if here && *latest >= opens && *earliest <= closes {
                possible.insert(student);
                if all_the_time && (earliest == latest || (*earliest >= opens && *latest <= closes)) {
                    certain.insert(student);
                }
            }
            // What was green by the timetable that the gateway had stays so (design, section 2).
            let mut had = world.plans[minted.plan].sessions().filter(|had| had.id == session.id);
            if minted.flash != Some(Colour::Amber) && had.any(|had| had.open(base.day, room, it.at)) {
                possible.insert(student);
            }
        }
        for student in certain.difference(&present) {
            broken
                .push(format!("NOT PRESENT at {}: student {student}, whose swipe is at the hub", session.id));
        }
        for student in present.difference(&possible) {
            broken.push(format!("PRESENT at {} without a swipe: student {student}", session.id));
        }
    }
}

/// How long a room may be without a reader before its register says so.
const TOLERANCE_MS: i64 = 600_000;
/// What is kept once a minute may be so much older than a kill, and half a minute is for luck.
const KEPT_MS: i64 = 90_000;
/// So close to the tolerance either answer will do.
const NEAR_MS: i64 = 5_000;

/// Who did not swipe is `ABSENT` where swipes could be taken and `NO_REGISTER` where they could not, by the truth.
async fn registers(world: &World, base: &Base, broken: &mut Vec<String>) {
    // As it does every minute by itself.
    if let Some(hub) = world.hub.service()
        && let Err(error) = rollcall_hub::service::sweep::sweep(hub).await
    {
        broken.push(format!("the hub's sweep failed: {error}"));
    }
    let held = world.plans[world.plan].sessions().filter(|session| !session.cancelled);
    for session in held {
        let window = session.window(base.day);
        let rooms = session.rooms();
        let longest = |spans: &dyn Fn(usize) -> Vec<(i64, i64)>| {
            let out = rooms.iter().flatten().map(|room| {
                let doors = (0..DOORS.len()).filter(|door| DOORS[*door].room == *room);
                without(window, &doors.map(spans).collect::<Vec<_>>())
            });
            out.max().unwrap_or(0)
        };
        let surely = longest(&|door| {
            // What a gateway told before its disk was put back is gone with the disk.
            let known_from = world.disk_harmed[DOORS[door].gateway].unwrap_or(i64::MIN);
            let late = if DOORS[door].mqtt { NOTICED_MS } else { 0 };
            let spans = world.service[door].out.until(world.now());
            spans
                .into_iter()
                .filter(|(from, _)| *from > known_from)
                .map(|(from, until)| (from + late, until))
                .collect()
        });
        let perhaps = longest(&|door| {
            let gateway = DOORS[door].gateway;
            let mut spans = world.service[door].doubtful.until(world.now());
            spans.extend(world.put_back[gateway].iter().map(|(unknown, _, until)| (*unknown, *until)));
            // A gateway that could not keep its time knows only from before that when it ran last.
            let known = |from: i64| {
                let failed = world.clock_failed[gateway].iter();
                let then = failed.filter(|(began, over)| *began <= from && from <= over + KEPT_MS);
                then.map(|(began, _)| *began).min().unwrap_or(from)
            };
            spans.into_iter().map(|(from, until)| (known(from) - KEPT_MS, until + NEAR_MS)).collect()
        });
        let count = async |status: &str| {
            let sql = format!(
                "SELECT a.student_id, 0, 0 FROM attendance a JOIN session s ON s.id = a.session_id WHERE \
                 s.external_id = '{}' AND a.status = '{status}'",
                session.id
            );
            rows(&world.hub, &sql).await.len()
        };
        let (present, absent, unheld) =
            (count("PRESENT").await, count("ABSENT").await, count("NO_REGISTER").await);
        if present + absent + unheld < super::LISTED {
            broken.push(format!(
                "NOT FINAL: {} has {present} PRESENT, {absent} ABSENT, {unheld} NO_REGISTER",
                session.id
            ));
        }
        // In which room it had to be possible when is not judged once more where it was moved while it was open.
        if rooms.is_none() {
            continue;
        }
        if surely > TOLERANCE_MS + NEAR_MS && absent > 0 {
            explain(world, session).await;
            tracing::info!(session.id, ?window, ?rooms, "window");
            broken.push(format!(
                "ABSENT: {absent} at {}, of which a room had no reader for {} s",
                session.id,
                surely / 1_000
            ));
        }
        // Where swipes were refused and forgotten no tolerance holds.
        let mine = DOORS.iter().filter(|door| session.ever_in(door.room));
        let refused: Vec<(i64, i64)> =
            mine.clone().flat_map(|door| &world.gateways[door.gateway].refused).copied().collect();
        let meets = |one: (i64, i64), other: (i64, i64)| one.0 <= other.1 && other.0 <= one.1;
        // Of a start without a time a later one bounds when it was over.
        let told = format!(
            "SELECT gateway_id, from_at, COALESCE(until_at, {}) FROM outage WHERE cause IN ('SWIPES_REFUSED', 'JOURNAL_DAMAGED')",
            world.now()
        );
        let of_mine = |id: &Uuid| mine.clone().any(|door| world.gateways[door.gateway].id == *id);
        let told = rows(&world.hub, &told).await.into_iter().filter(|(id, ..)| of_mine(id));
        let told = told.map(|(_, from, until)| (from, until));
        let told: Vec<(i64, i64)> =
            told.filter(|told| refused.iter().any(|span| meets(*span, *told))).collect();
        // Nor where greens went with a card that was put back.
        let lost = mine.clone().flat_map(|door| &world.put_back[door.gateway]);
        let lost = lost.map(|(_, unheard, until)| (unheard - KEPT_MS, until + KEPT_MS));
        let refused = refused.into_iter().chain(told).chain(lost).any(|span| meets(span, window));
        if perhaps < TOLERANCE_MS && unheld > 0 && !refused {
            explain(world, session).await;
            tracing::info!(session.id, ?window, ?rooms, "window");
            broken.push(format!(
                "NO_REGISTER: {unheld} at {}, whose rooms had a reader but for {} s at the most",
                session.id,
                perhaps / 1_000
            ));
        }
    }
}

/// Tells of what a session's register is judged by: what the hub was told, and what was so.
async fn explain(world: &World, session: &Session) {
    let causes = [
        OutageCause::GatewayDown,
        OutageCause::JournalDamaged,
        OutageCause::JournalRefused,
        OutageCause::ReaderUnreachable,
        OutageCause::StorageLost,
        OutageCause::SwipesRefused,
    ];
    for cause in causes.map(OutageCause::word) {
        let of = format!(
            "SELECT COALESCE(reader_id, gateway_id), from_at, COALESCE(until_at, {}) FROM outage WHERE cause = '{cause}' \
             ORDER BY from_at",
            world.now()
        );
        for (of, from, until) in rows(&world.hub, &of).await {
            tracing::info!(%of, from, until, cause, "outage");
        }
    }
    for (door, at) in DOORS.iter().enumerate().filter(|(_, door)| session.ever_in(door.room)) {
        let (out, doubtful) = (&world.service[door].out, &world.service[door].doubtful);
        let (out, doubtful) = (out.until(world.now()), doubtful.until(world.now()));
        let (reader, room, gateway) = (at.reader, at.room, world.gateways[at.gateway].id);
        tracing::info!(reader, room, %gateway, put_back = ?world.put_back[at.gateway], "door");
        tracing::info!(?out, "not served");
        tracing::info!(?doubtful, "not served, as far as can be doubted");
    }
}

/// How much of a window lies in a span of every door.
fn without(window: (i64, i64), doors: &[Vec<(i64, i64)>]) -> i64 {
    let mut edges: Vec<i64> = doors.iter().flatten().flat_map(|(from, until)| [*from, *until]).collect();
    edges.extend([window.0, window.1]);
    edges.retain(|edge| (window.0..=window.1).contains(edge));
    edges.sort_unstable();
    let inside =
        |spans: &Vec<(i64, i64)>, at: i64| spans.iter().any(|(from, until)| *from <= at && at < *until);
    edges
        .windows(2)
        .filter(|pair| doors.iter().all(|it| inside(it, pair[0])))
        .map(|pair| pair[1] - pair[0])
        .sum()
}
