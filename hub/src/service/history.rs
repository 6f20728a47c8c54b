//! What sessions, stays in groups, cards and policies were before each change, noted in the transaction that changes them: who
//! moved a lecture, when, and where it was until then.

use std::collections::BTreeMap;

use uuid::Uuid;

use rollcall_rules::card::CardRead;

use super::people::number_tail;
use super::timetable::rooms_now;
use super::{Caller, Hub};
use crate::store::entity::{
    Card, CardChange, Membership, MembershipChange, Policy, PolicyEdit, Session, SessionChange,
};
use crate::store::timetable::SessionRoom;
use crate::store::{StoreError, Tx};

/// What a write changed or took away, as it was before.
#[derive(Debug, Default, Clone)]
pub struct Was {
    sessions: Vec<SessionWas>,
    stays: Vec<(Membership, Kind)>,
    cards: Vec<(Card, String)>,
    policies: Vec<(Policy, Kind)>,
    /// The source whose import it is.
    pub source: Option<String>,
}

#[derive(Debug, Clone)]
struct SessionWas {
    session: Session,
    rooms: Vec<Uuid>,
    groups: Vec<Uuid>,
}

/// What became of a stay or a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is another now.
    Changed,
    /// It was taken back, or withdrawn.
    Removed,
}

impl Was {
    /// Adds what something else changed.
    pub(super) fn extend(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        self.stays.extend(other.stays);
        self.cards.extend(other.cards);
        self.policies.extend(other.policies);
        self.source = other.source.or(self.source.take());
    }

    /// Adds a session, with the rooms and groups that it had.
    pub(super) fn session<'a>(
        &mut self,
        session: &Session,
        rooms: &[SessionRoom],
        groups: impl IntoIterator<Item = &'a Uuid>,
    ) {
        let (rooms, groups) = (rooms_now(rooms).collect(), groups.into_iter().copied().collect());
        self.sessions.push(SessionWas { session: session.clone(), rooms, groups });
    }

    /// Adds stays.
    pub(super) fn stays<'a>(&mut self, kind: Kind, stays: impl IntoIterator<Item = &'a Membership>) {
        self.stays.extend(stays.into_iter().map(|stay| (stay.clone(), kind)));
    }

    /// Adds a card, with what it was known by.
    pub(super) fn card(&mut self, card: &Card, reads: &[CardRead]) {
        self.cards.push((card.clone(), number_tail(reads.first())));
    }

    /// Adds a policy as it is since somebody saved it, or was when it was withdrawn.
    pub(super) fn policy(&mut self, kind: Kind, policy: Policy) {
        self.policies.push((policy, kind));
    }
}

/// Sessions as they stand in a transaction that is about to change them.
///
/// # Errors
/// When the store fails.
pub(super) async fn sessions_as_they_are(tx: &mut Tx, sessions: &[Session]) -> Result<Was, StoreError> {
    let ids: Vec<Uuid> = sessions.iter().map(|session| session.id).collect();
    let mut rooms: BTreeMap<Uuid, Vec<SessionRoom>> = BTreeMap::new();
    for room in tx.session_rooms(&ids).await? {
        rooms.entry(room.session_id).or_default().push(room);
    }
    let mut groups: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for (session, group) in tx.session_groups(&ids).await? {
        groups.entry(session).or_default().push(group);
    }
    let mut was = Was::default();
    for session in sessions {
        let held = rooms.get(&session.id).map_or(&[][..], Vec::as_slice);
        was.session(session, held, groups.get(&session.id).into_iter().flatten());
    }
    Ok(was)
}

/// Notes what a write changed, before it is committed.
///
/// # Errors
/// When the store fails.
pub(super) async fn note(
    hub: &Hub,
    tx: &mut Tx,
    was: Was,
    caller: Option<&Caller>,
) -> Result<(), StoreError> {
    let Was { sessions, stays, cards, policies, source } = was;
    let (at, by_token) = (hub.now().0, caller.map(|caller| caller.token_id));
    let changes: Vec<SessionChange> = sessions
        .into_iter()
        .map(|SessionWas { session, rooms, groups }| SessionChange {
            id: hub.mint(),
            session_id: session.id,
            at,
            by_token,
            source: source.clone(),
            revision: session.revision,
            kind: session.kind,
            title: session.title,
            course_id: session.course_id,
            starts_at: session.starts_at,
            ends_at: session.ends_at,
            cancelled: session.cancelled,
            room_ids: ids_as_text(&rooms),
            group_ids: ids_as_text(&groups),
        })
        .collect();
    tx.put(&changes).await?;
    let changes: Vec<MembershipChange> = stays
        .into_iter()
        .map(|(stay, kind)| MembershipChange {
            id: hub.mint(),
            membership_id: stay.id,
            group_id: stay.group_id,
            student_id: stay.student_id,
            at,
            by_token,
            source: source.clone(),
            removed: kind == Kind::Removed,
            from_on: stay.from_on,
            until_on: stay.until_on,
            from_at: stay.from_at,
            until_at: stay.until_at,
            reason: stay.reason,
        })
        .collect();
    tx.put(&changes).await?;
    let changes: Vec<CardChange> = cards
        .into_iter()
        .map(|(card, number_tail)| CardChange {
            id: hub.mint(),
            card_id: card.id,
            student_id: card.student_id,
            at,
            by_token,
            source: source.clone(),
            from_at: card.from_at,
            until_at: card.until_at,
            number_tail,
        })
        .collect();
    tx.put(&changes).await?;
    let edits: Vec<PolicyEdit> = policies
        .into_iter()
        .map(|(policy, kind)| PolicyEdit {
            id: hub.mint(),
            at,
            by_token,
            withdrawn: kind == Kind::Removed,
            from_at: policy.from_at,
            kind: policy.kind,
            opens_before_ms: policy.opens_before_ms,
            closes_after_ms: policy.closes_after_ms,
            overlap: policy.overlap,
            outage_tolerance_ms: policy.outage_tolerance_ms,
            settle_limit_ms: policy.settle_limit_ms,
            department: policy.department,
        })
        .collect();
    tx.put(&edits).await
}

/// Ids as they stand in a column.
fn ids_as_text(ids: &[Uuid]) -> String {
    ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" ")
}

/// Ids from a column.
///
/// # Errors
/// When it holds anything else.
pub fn ids_from_text(text: &str, place: &'static str) -> Result<Vec<Uuid>, StoreError> {
    let bad = |_| StoreError::BadData { place, found: text.to_owned() };
    text.split_whitespace().map(|id| id.parse().map_err(bad)).collect()
}
