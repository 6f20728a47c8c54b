//! What must hold once the faults are over.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_gateway::journal::log::{Limits, Log};
use rollcall_gateway::journal::record::Record;
use rollcall_rules::light::Colour;
use uuid::Uuid;

use super::disk::SimDisk;
use super::hub::SimHub;
use super::world::{Minted, Presentation, World};
use super::{Base, DOORS, Session};

/// What counts as exact may be off by this much.
const EXACT_MS: i64 = 1_500;

/// The ids of all swipes at the hub, as their gateways minted them.
pub(super) async fn claimed(hub: &SimHub) -> Vec<Uuid> {
    rows(hub, "SELECT claimed_id FROM swipe").await.into_iter().map(|row| row.0).collect()
}

async fn rows(hub: &SimHub, sql: &str) -> Vec<(Uuid, i64, i64)> {
    let Some(service) = hub.service() else { return Vec::new() };
    let read = async {
        let mut tx = service.read().await?;
        let mut found = Vec::new();
        for mut row in tx.fetch(sql, Vec::new()).await? {
            let id: Uuid = row.next("id")?;
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

/// The swipes that a medium holds.
#[must_use]
pub(super) fn swipes_on(disk: &SimDisk) -> BTreeSet<Uuid> {
    let mut found = BTreeSet::new();
    let limits = Limits { segment: 16 * 1024, quota: u64::MAX };
    drop(Log::open(disk.copy_of_medium(), Uuid::nil(), limits, |stored| {
        if let Ok(Record::Swipe(swipe)) = Record::read(&stored.body) {
            found.insert(swipe.id);
        }
    }));
    found
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
        if (it.green() || it.kept) && count == 0 && !it.forgiven {
            broken.push(format!("LOST: shown green or acknowledged, and not at the hub: {it:?}"));
        }
        if count > 1 && !(it.twice && it.minted.iter().all(|it| counts.get(&it.id) <= Some(&1))) {
            broken.push(format!("DOUBLED: one card, and {count} swipes at the hub: {it:?}"));
        }
        for minted in &it.minted {
            lights(base, it, minted, &mut broken);
        }
    }
    times(world, &stored, &mut broken);
    marks(world, base, &stored, &mut broken).await;
    broken
}

/// Every light is that of the timetable at the time that the gateway took it to be; and that time holds the truth.
fn lights(base: &Base, it: &Presentation, minted: &Minted, broken: &mut Vec<String>) {
    let when = minted.when;
    if when.earliest.0 - EXACT_MS > it.at || it.at > when.latest.0 + EXACT_MS {
        broken.push(format!("WRONG TIME: it was {} and the gateway took it to be {when:?}", it.at));
    }
    let counts = |at: i64| {
        World::listed(it.student)
            && Session::ALL.iter().any(|session| session.open(base.day, DOORS[it.door].room, at))
    };
    match minted.flash {
        Some(Colour::Green) if !counts(it.at) => {
            broken.push(format!("WRONG GREEN: {it:?}"));
        }
        Some(Colour::Red) if counts(it.at) && minted.place.is_some() => {
            broken.push(format!("WRONG RED: {it:?}"));
        }
        Some(Colour::Amber) if when.is_exact() => broken.push(format!("AMBER at a known time: {it:?}")),
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
    for session in Session::ALL {
        let sql = format!(
            "SELECT st.id, 0, 0 FROM attendance a JOIN session s ON s.id = a.session_id JOIN student st ON st.id = \
             a.student_id WHERE s.external_id = '{}' AND a.status = 'PRESENT'",
            session.id
        );
        let present: BTreeSet<Uuid> = rows(&world.hub, &sql).await.into_iter().map(|row| row.0).collect();
        let (opens, closes) = session.window(base.day);
        let mut certain = BTreeSet::new();
        let mut possible = BTreeSet::new();
        let all =
            world.presentations.iter().flat_map(|it| it.minted.iter().map(move |minted| (it, minted.id)));
        for (it, id) in all.filter(|(it, _)| World::listed(it.student)) {
            let Some((earliest, latest)) = read.get(&id) else { continue };
            let here = session.rooms.contains(&DOORS[it.door].room);
            let student = base.students[it.student];
            if here && *latest >= opens && *earliest <= closes {
                possible.insert(student);
                if earliest == latest || (*earliest >= opens && *latest <= closes) {
                    certain.insert(student);
                }
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
