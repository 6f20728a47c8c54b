//! The hub's own verdict on swipes, by what it knows now, and what a promise made at the door adds to it.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_rules::ids::{CardId, GroupId, HolderId, MembershipId, RoomId, SessionId};
use rollcall_rules::time::{Instant, Span, Uncertain};
use rollcall_rules::timetable::{Card, CardKey, Item, Membership, Timetable};
use rollcall_rules::verdict::{self, Considered, Decision, Reason, Verdict};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Hub, timetable};
use crate::store::entity::{Membership as Stay, Session, Swipe, SwipeDecision, SwipeReason};
use crate::store::swipe::Credit;
use crate::store::{StoreError, Tx, Value};

/// What the gateway decided and showed at the door.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    /// The decision, as a word.
    pub decision: String,
    /// The reason, as a word.
    pub reason: String,
    /// The colour, as a word.
    pub light: String,
    /// The sessions that it credited.
    pub sessions: Vec<Uuid>,
    /// The feed position that it decided by.
    pub basis: String,
}

impl Shown {
    /// From the stored text.
    ///
    /// # Errors
    /// When it is not what this program writes.
    pub fn read(text: &str) -> Result<Self, StoreError> {
        serde_json::from_str(text)
            .map_err(|error| StoreError::BadData { place: "swipe.shown", found: error.to_string() })
    }

    /// Whether the door showed green.
    #[must_use]
    pub fn green(&self) -> bool {
        self.light == "GREEN"
    }
}

/// How one session stood to a swipe as its gateway knew it: of the record in the gateway's journal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ConsideredAtDoor {
    /// The session.
    pub session: Uuid,
    /// Its window opened, in milliseconds since the epoch.
    pub opens: i64,
    /// And closes.
    pub closes: i64,
    /// It was called off.
    #[serde(default)]
    pub off: bool,
    /// It has a class list.
    #[serde(default)]
    pub list: bool,
    /// The holder is on it.
    #[serde(default)]
    pub listed: bool,
    /// The swipe counts for it.
    #[serde(default)]
    pub credited: bool,
}

/// What a gateway considered, by its record of a swipe; none where there is no such record, or one of an earlier version.
#[must_use]
pub fn considered_at_door(record: Option<&str>) -> Option<Vec<ConsideredAtDoor>> {
    #[derive(Deserialize)]
    struct Record {
        considered: Option<Vec<ConsideredAtDoor>>,
    }
    serde_json::from_str::<Record>(record?).ok()?.considered
}

/// Judges swipes by what is known now: fills in card, student, decision and reason, and gives the credits.
///
/// # Errors
/// When the store fails.
pub async fn judge(hub: &Hub, tx: &mut Tx, swipes: &mut [Swipe]) -> Result<Vec<Credit>, StoreError> {
    let timetable = surroundings(tx, swipes).await?;
    name_holders(tx, swipes).await?;
    let mut promised: BTreeSet<Uuid> = BTreeSet::new();
    let mut shown = Vec::new();
    for swipe in swipes.iter() {
        let what = Shown::read(&swipe.shown)?;
        if what.green() {
            promised.extend(&what.sessions);
        }
        shown.push(what);
    }
    let missing = promised.iter().copied().filter(|id| timetable.session(SessionId(*id)).is_none());
    let mut known: BTreeSet<Uuid> =
        tx.by_ids::<Session>(missing).await?.into_iter().map(|it| it.id).collect();
    known.extend(timetable.sessions().map(|session| session.id.0));
    let now = hub.now().0;
    let mut credits = Vec::new();
    for (swipe, shown) in swipes.iter_mut().zip(shown) {
        let verdict = verdict_on(&timetable, swipe);
        swipe.card_id = verdict.card.map(|card| card.0);
        swipe.student_id = verdict.holder.map(|holder| holder.0);
        swipe.decision = decision_word(verdict.decision);
        swipe.reason = reason_word(verdict.reason);
        swipe.decided_at = now;
        credits.extend(verdict.credits.iter().map(|(holder, session)| Credit {
            swipe_id: swipe.id,
            session_id: session.0,
            student_id: holder.0,
            honoured: false,
        }));
        if let (true, Some(student_id)) = (shown.green(), swipe.shown_student_id) {
            for session_id in shown.sessions.into_iter().filter(|id| known.contains(id)) {
                let credited = verdict.credits.contains(&(HolderId(student_id), SessionId(session_id)));
                if !credited {
                    credits.push(Credit { swipe_id: swipe.id, session_id, student_id, honoured: true });
                }
            }
        }
        let counts = credits.iter().rev().take_while(|credit| credit.swipe_id == swipe.id).count() > 0;
        if counts && swipe.decision != SwipeDecision::Recorded {
            // A promise keeps it counting; the reason says what would speak against it.
            swipe.decision = SwipeDecision::Recorded;
        }
    }
    credits.sort_unstable();
    credits.dedup_by_key(|credit| (credit.swipe_id, credit.session_id, credit.student_id));
    Ok(credits)
}

/// Whether a swipe was shown green.
pub(super) fn was_green(swipe: &Swipe) -> bool {
    Shown::read(&swipe.shown).is_ok_and(|shown| shown.green())
}

/// Whom the gateways took cards to be, where that could not be told before: a pseudonym may be learnt late.
async fn name_holders(tx: &mut Tx, swipes: &mut [Swipe]) -> Result<(), StoreError> {
    let mut unnamed: BTreeMap<Uuid, BTreeSet<Uuid>> = BTreeMap::new();
    for swipe in swipes.iter().filter(|swipe| swipe.shown_student_id.is_none()) {
        if let Some(holder) = swipe.holder {
            unnamed.entry(swipe.building_id).or_default().insert(holder);
        }
    }
    for (building, holders) in unnamed {
        let holders: Vec<Uuid> = holders.into_iter().collect();
        let students: BTreeMap<Uuid, Uuid> =
            tx.students_by_holder(building, &holders).await?.into_iter().collect();
        for swipe in swipes.iter_mut().filter(|swipe| swipe.building_id == building) {
            let named = swipe.holder.and_then(|holder| students.get(&holder).copied());
            swipe.shown_student_id = swipe.shown_student_id.or(named);
        }
    }
    Ok(())
}

/// Judges stored swipes again; gives the sessions whose credits changed, or share a swipe with such.
///
/// # Errors
/// When the store fails.
pub async fn judge_again(hub: &Hub, tx: &mut Tx, ids: &[Uuid]) -> Result<BTreeSet<Uuid>, StoreError> {
    let mut touched = BTreeSet::new();
    // One student's swipes lie in a year of the whole campus' timetable.
    for swipes in by_day(tx.by_ids::<Swipe>(ids.iter().copied()).await?) {
        touched.extend(judge_near(hub, tx, swipes).await?);
    }
    Ok(touched)
}

/// Judges swipes anew that lie close together.
async fn judge_near(hub: &Hub, tx: &mut Tx, mut swipes: Vec<Swipe>) -> Result<BTreeSet<Uuid>, StoreError> {
    let ids: Vec<Uuid> = swipes.iter().map(|swipe| swipe.id).collect();
    let before = swipes.clone();
    let old = tx.credits_of_swipes(&ids).await?;
    let new = judge(hub, tx, &mut swipes).await?;
    let mut touched = BTreeSet::new();
    let (old_by, new_by) = (by_swipe(&old), by_swipe(&new));
    let mut changed = Vec::new();
    let mut revisions = Vec::new();
    for (swipe, was) in swipes.iter().zip(&before) {
        let (gone, come) = (old_by.get(&swipe.id), new_by.get(&swipe.id));
        let same_verdict =
            (swipe.decision, swipe.reason, swipe.student_id) == (was.decision, was.reason, was.student_id);
        if gone == come && same_verdict && swipe.card_id == was.card_id {
            continue;
        }
        let sessions_of = |credits: Option<&Vec<Credit>>| -> Vec<Uuid> {
            credits.into_iter().flatten().map(|credit| credit.session_id).collect()
        };
        let sessions = sessions_of(gone);
        touched.extend(sessions.iter().copied().chain(sessions_of(come)));
        revisions.push((was.clone(), sessions));
        changed.push(swipe.clone());
    }
    let changed_ids: Vec<Uuid> = changed.iter().map(|swipe| swipe.id).collect();
    let kept: BTreeSet<Uuid> = changed_ids.iter().copied().collect();
    let new: Vec<Credit> = new.into_iter().filter(|credit| kept.contains(&credit.swipe_id)).collect();
    tx.replace_credits(&changed_ids, &new).await?;
    tx.put(&changed).await?;
    note_revisions(tx, &revisions).await?;
    Ok(touched)
}

fn by_swipe(credits: &[Credit]) -> BTreeMap<Uuid, Vec<Credit>> {
    let mut by: BTreeMap<Uuid, Vec<Credit>> = BTreeMap::new();
    for credit in credits {
        by.entry(credit.swipe_id).or_default().push(*credit);
    }
    for list in by.values_mut() {
        list.sort_unstable();
    }
    by
}

/// Keeps what the hub had decided before.
async fn note_revisions(tx: &mut Tx, revisions: &[(Swipe, Vec<Uuid>)]) -> Result<(), StoreError> {
    let ids = revisions.iter().map(|(swipe, _)| Value::from(swipe.id));
    let sql = "SELECT swipe_id, COUNT(*) FROM swipe_revision WHERE swipe_id IN ({}) GROUP BY swipe_id";
    let mut counts: BTreeMap<Uuid, i64> = BTreeMap::new();
    for mut row in tx.fetch_in(sql, &[], ids).await? {
        counts.insert(row.next("swipe_revision.swipe_id")?, row.next("count")?);
    }
    let rows = revisions
        .iter()
        .map(|(swipe, sessions)| {
            let sessions = serde_json::to_string(sessions).unwrap_or_default();
            vec![
                swipe.id.into(),
                (counts.get(&swipe.id).copied().unwrap_or(0) + 1).into(),
                swipe.decision.into(),
                swipe.reason.into(),
                swipe.decided_at.into(),
                sessions.into(),
            ]
        })
        .collect();
    let sql =
        "INSERT INTO swipe_revision (swipe_id, revision, decision, reason, decided_at, sessions) VALUES {}";
    tx.insert(sql, rows).await?;
    Ok(())
}

/// A day: swipes that lie so close share what is read of the timetable.
const NEAR_MS: i64 = 24 * 3_600_000;

/// Swipes, day by day.
fn by_day(swipes: Vec<Swipe>) -> impl Iterator<Item = Vec<Swipe>> {
    let mut days: BTreeMap<i64, Vec<Swipe>> = BTreeMap::new();
    for swipe in swipes {
        days.entry(swipe.swiped_at.div_euclid(NEAR_MS)).or_default().push(swipe);
    }
    days.into_values()
}

/// Every session considered for swipes, by what is known now: swipe and session.
///
/// # Errors
/// When the store fails.
pub async fn considered(tx: &mut Tx, swipes: Vec<Swipe>) -> Result<Vec<(Uuid, Considered)>, StoreError> {
    let mut found = Vec::new();
    for swipes in by_day(swipes) {
        let timetable = surroundings(tx, &swipes).await?;
        for swipe in &swipes {
            found.extend(verdict_on(&timetable, swipe).considered.into_iter().map(|how| (swipe.id, how)));
        }
    }
    Ok(found)
}

/// The hub's verdict on one swipe, with its explanation.
#[must_use]
pub fn verdict_on(timetable: &Timetable, swipe: &Swipe) -> Verdict {
    let Some(key) = swipe.card_key.as_deref().and_then(card_key) else {
        let unreadable = swipe.reason == SwipeReason::CardRandomUid;
        return Verdict::refused(if unreadable { Reason::CardRandomUid } else { Reason::CardUnreadable });
    };
    let Some(room) = swipe.room_id else { return Verdict::refused(Reason::NoOpenSession) };
    let when = Uncertain { earliest: Instant(swipe.earliest_at), latest: Instant(swipe.latest_at) };
    verdict::credited_at_any(timetable, RoomId(room), &key, when)
}

fn card_key(bytes: &[u8]) -> Option<CardKey> {
    Some(CardKey(bytes.try_into().ok()?))
}

/// Everything of the timetable that bears on some swipes.
///
/// # Errors
/// When the store fails.
pub async fn surroundings(tx: &mut Tx, swipes: &[Swipe]) -> Result<Timetable, StoreError> {
    let mut timetable = Timetable::new();
    let rooms: BTreeSet<Uuid> = swipes.iter().filter_map(|swipe| swipe.room_id).collect();
    let first = swipes.iter().map(|swipe| swipe.earliest_at).min().unwrap_or(0);
    let last = swipes.iter().map(|swipe| swipe.latest_at).max().unwrap_or(0);
    let rooms: Vec<Uuid> = rooms.into_iter().collect();
    let sessions = tx.sessions_near(&rooms, first, last).await?;
    let mut groups = BTreeSet::new();
    for session in timetable::as_rules(tx, &sessions).await? {
        groups.extend(session.groups.iter().map(|group| group.0));
        timetable.upsert(Item::Session(session));
    }
    for stay in tx.by_column::<Stay>("group_id", groups.into_iter().map(Value::from)).await? {
        timetable.upsert(Item::Membership(Membership {
            id: MembershipId(stay.id),
            group: GroupId(stay.group_id),
            holder: HolderId(stay.student_id),
            span: Span { from: Some(Instant(stay.from_at)), until: stay.until_at.map(Instant) },
        }));
    }
    let mut keys: BTreeMap<Uuid, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for swipe in swipes {
        if let Some(key) = &swipe.card_key {
            keys.entry(swipe.building_id).or_default().insert(key.clone());
        }
    }
    let mut cards: BTreeMap<Uuid, Card> = BTreeMap::new();
    for (building, keys) in keys {
        for found in tx.cards_by_key(building, keys.into_iter().collect()).await? {
            let Some(key) = card_key(&found.key) else { continue };
            let card = cards.entry(found.card_id).or_insert_with(|| Card {
                id: CardId(found.card_id),
                keys: Vec::new(),
                holder: HolderId(found.student_id),
                span: Span { from: Some(Instant(found.from_at)), until: found.until_at.map(Instant) },
            });
            card.keys.push(key);
        }
    }
    for card in cards.into_values() {
        timetable.upsert(Item::Card(card));
    }
    Ok(timetable)
}

fn decision_word(decision: Decision) -> SwipeDecision {
    match decision {
        Decision::Recorded => SwipeDecision::Recorded,
        Decision::NotRecorded => SwipeDecision::NotRecorded,
        Decision::Pending => SwipeDecision::Pending,
    }
}

fn reason_word(reason: Reason) -> SwipeReason {
    match reason {
        Reason::Recorded => SwipeReason::Recorded,
        Reason::AlreadyRecorded => SwipeReason::AlreadyRecorded,
        Reason::CardUnknown => SwipeReason::CardUnknown,
        Reason::CardCancelled => SwipeReason::CardCancelled,
        Reason::CardRandomUid => SwipeReason::CardRandomUid,
        Reason::CardUnreadable => SwipeReason::CardUnreadable,
        Reason::NoOpenSession => SwipeReason::NoOpenSession,
        Reason::SessionCancelled => SwipeReason::SessionCancelled,
        Reason::NotOnClassList => SwipeReason::NotOnClassList,
        Reason::NoClassList => SwipeReason::NoClassList,
        Reason::ClockUntrusted => SwipeReason::ClockUntrusted,
        Reason::StoreFault => SwipeReason::StoreFault,
    }
}
