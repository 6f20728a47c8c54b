//! The plan as questions: who holds a card, what is open in a room, who is listed, known when.
//!
//! Used by the other files of the oracle. Every question takes `at` (the instant spoken of) and `known` (only
//! changes with `at_ms <= known` are taken into account). It decides nothing about colours or marks.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::plan::{Change, ChangeKind, Credential, Membership, Millis, Plan};

/// Known from the very beginning.
const ALWAYS: Millis = Millis::MIN;

/// Everything known: what is asked with this is asked after the end of play.
pub(super) const IN_THE_END: Millis = Millis::MAX;

/// A stay in a group as instants.
struct Stay {
    student: usize,
    from_ms: Millis,
    until_ms: Millis,
    known_ms: Millis,
}

/// A card as it comes to be known.
struct KnownCard<'p> {
    student: usize,
    credential: &'p Credential,
    from_ms: Millis,
    until_ms: Option<Millis>,
    /// When a reissue ends it, and from when that is known.
    replaced_ms: Option<Millis>,
    known_ms: Millis,
}

impl KnownCard<'_> {
    fn until(&self, known: Millis) -> Option<Millis> {
        self.replaced_ms.filter(|at| *at <= known).or(self.until_ms)
    }
}

/// What the rules say of a credential at an instant.
pub(super) enum Holder {
    /// This student holds it.
    Student(usize),
    /// Nobody does, for this reason.
    Nobody(&'static str),
}

/// A session's state and times by what is known.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) cancelled: bool,
    pub(super) start_ms: Millis,
    pub(super) end_ms: Millis,
}

/// The rules' verdict on a credential in a room.
pub(super) struct Verdict {
    /// The student, when the card has one.
    pub(super) student: Option<usize>,
    /// Why not, when nothing is credited.
    pub(super) refusal: Option<&'static str>,
    /// The sessions credited, sorted by external id.
    pub(super) credited: Vec<usize>,
}

/// The plan, prepared for questions.
pub(super) struct Facts<'p> {
    pub(super) plan: &'p Plan,
    /// Indices of the sessions one of whose windows touches the time of play.
    pub(super) near: Vec<usize>,
    stays: Vec<Vec<Stay>>,
    cards: Vec<KnownCard<'p>>,
    changes: Vec<Vec<&'p Change>>,
}

impl<'p> Facts<'p> {
    pub(super) fn new(plan: &'p Plan) -> Result<Self, String> {
        check(plan)?;
        let zone = TimeZone::get(&plan.zone).map_err(|error| format!("zone {:?}: {error}", plan.zone))?;
        let mut stays: Vec<Vec<Stay>> = plan.groups.iter().map(|_| Vec::new()).collect();
        for membership in &plan.memberships {
            stays[membership.group].push(stay(membership, ALWAYS, &zone)?);
        }
        let mut cards: Vec<KnownCard<'p>> = plan.cards.iter().map(known_card).collect();
        let mut changes: Vec<Vec<&'p Change>> = plan.sessions.iter().map(|_| Vec::new()).collect();
        for change in &plan.changes {
            match &change.what {
                ChangeKind::Cancel { session }
                | ChangeKind::Reinstate { session }
                | ChangeKind::Move { session, .. }
                | ChangeKind::Reschedule { session, .. } => changes[*session].push(change),
                ChangeKind::Join(membership) => {
                    stays[membership.group].push(stay(membership, change.at_ms, &zone)?);
                }
                ChangeKind::Reissue { student, credential } => {
                    for card in cards.iter_mut().filter(|card| card.student == *student) {
                        let until = card.until(change.at_ms);
                        if card.from_ms <= change.at_ms && until.is_none_or(|until| until > change.at_ms) {
                            card.replaced_ms = Some(change.at_ms);
                        }
                    }
                    cards.push(KnownCard {
                        student: *student,
                        credential,
                        from_ms: change.at_ms,
                        until_ms: None,
                        replaced_ms: None,
                        known_ms: change.at_ms,
                    });
                }
            }
        }
        let mut facts = Self { plan, near: Vec::new(), stays, cards, changes };
        facts.near = (0..plan.sessions.len())
            .filter(|session| {
                facts
                    .windows_ever(*session)
                    .iter()
                    .any(|(opens, closes)| *opens <= plan.until_ms && *closes >= plan.from_ms)
            })
            .collect();
        Ok(facts)
    }

    /// Who holds the credential.
    pub(super) fn holder(&self, credential: &Credential, at: Millis, known: Millis) -> Holder {
        if credential.bits == 32 && credential.raw.first() == Some(&0x08) {
            return Holder::Nobody("CARD_RANDOM_UID");
        }
        let mut ended = false;
        for card in &self.cards {
            if card.credential != credential || card.known_ms > known {
                continue;
            }
            let until = card.until(known);
            if card.from_ms <= at && until.is_none_or(|until| at < until) {
                return Holder::Student(card.student);
            }
            ended |= until.is_some_and(|until| until <= at);
        }
        Holder::Nobody(if ended { "CARD_CANCELLED" } else { "CARD_UNKNOWN" })
    }

    /// The session's state and times.
    pub(super) fn held(&self, session: usize, known: Millis) -> Held {
        let published = &self.plan.sessions[session];
        let mut held =
            Held { cancelled: published.cancelled, start_ms: published.start_ms, end_ms: published.end_ms };
        for change in self.changes[session].iter().filter(|change| change.at_ms <= known) {
            match &change.what {
                ChangeKind::Cancel { .. } => held.cancelled = true,
                ChangeKind::Reinstate { .. } => held.cancelled = false,
                ChangeKind::Reschedule { start_ms, end_ms, .. } => {
                    (held.start_ms, held.end_ms) = (*start_ms, *end_ms);
                }
                _ => {}
            }
        }
        held
    }

    /// When the session takes swipes, both ends included, by the times known.
    pub(super) fn window(&self, session: usize, known: Millis) -> (Millis, Millis) {
        let held = self.held(session, known);
        (held.start_ms - self.plan.opens_before_ms, held.end_ms)
    }

    /// Every window that the session ever had.
    pub(super) fn windows_ever(&self, session: usize) -> Vec<(Millis, Millis)> {
        let mut windows = vec![self.window(session, ALWAYS)];
        windows.extend(self.changes[session].iter().map(|change| self.window(session, change.at_ms)));
        windows
    }

    /// The rooms the session is in at an instant: a move is never known before it takes place.
    pub(super) fn rooms(&self, session: usize, at: Millis) -> &'p [usize] {
        let mut rooms: &[usize] = &self.plan.sessions[session].rooms;
        for change in self.changes[session].iter().filter(|change| change.at_ms <= at) {
            if let ChangeKind::Move { rooms: others, .. } = &change.what {
                rooms = others;
            }
        }
        rooms
    }

    /// Every room that the session is ever in.
    pub(super) fn rooms_ever(&self, session: usize) -> Vec<usize> {
        let mut rooms = self.plan.sessions[session].rooms.clone();
        for change in &self.changes[session] {
            if let ChangeKind::Move { rooms: others, .. } = &change.what {
                rooms.extend(others);
            }
        }
        rooms
    }

    /// Every instant at which something about the session changes.
    pub(super) fn changed_at(&self, session: usize) -> impl Iterator<Item = Millis> {
        self.changes[session].iter().map(|change| change.at_ms)
    }

    /// Whether the session's window holds the instant in the room; cancelled or not is another matter.
    pub(super) fn would_be_open(&self, session: usize, room: usize, at: Millis, known: Millis) -> bool {
        let (opens, closes) = self.window(session, known);
        opens <= at && at <= closes && self.rooms(session, at).contains(&room)
    }

    /// Whether anybody is on the session's class list.
    pub(super) fn has_list(&self, session: usize, at: Millis, known: Millis) -> bool {
        self.stays_in(session).any(|stay| stay.known_ms <= known && stay.from_ms <= at && at < stay.until_ms)
    }

    /// Whether the student is on the session's class list.
    pub(super) fn is_listed(&self, session: usize, student: usize, at: Millis, known: Millis) -> bool {
        self.stays_in(session).any(|stay| {
            stay.student == student && stay.known_ms <= known && stay.from_ms <= at && at < stay.until_ms
        })
    }

    /// Everybody on the session's class list at some instant of `[from, until]`, by all that is ever known.
    pub(super) fn listed_within(&self, session: usize, from: Millis, until: Millis) -> Vec<usize> {
        self.stays_in(session)
            .filter(|stay| stay.from_ms <= until && from < stay.until_ms)
            .map(|stay| stay.student)
            .collect()
    }

    /// The rules' verdict.
    pub(super) fn judge(&self, credential: &Credential, room: usize, at: Millis, known: Millis) -> Verdict {
        let refused = |student, reason| Verdict { student, refusal: Some(reason), credited: Vec::new() };
        let student = match self.holder(credential, at, known) {
            Holder::Student(student) => student,
            Holder::Nobody(reason) => return refused(None, reason),
        };
        let (cancelled, open): (Vec<usize>, Vec<usize>) = self
            .near
            .iter()
            .copied()
            .filter(|session| self.would_be_open(*session, room, at, known))
            .partition(|session| self.held(*session, known).cancelled);
        if open.is_empty() {
            let reason = if cancelled.is_empty() { "NO_OPEN_SESSION" } else { "SESSION_CANCELLED" };
            return refused(Some(student), reason);
        }
        let mut credited: Vec<usize> =
            open.iter().copied().filter(|session| self.is_listed(*session, student, at, known)).collect();
        if credited.is_empty() {
            let any_list = open.iter().any(|session| self.has_list(*session, at, known));
            return refused(Some(student), if any_list { "NOT_ON_CLASS_LIST" } else { "NO_CLASS_LIST" });
        }
        credited.sort_by(|a, b| self.plan.sessions[*a].external_id.cmp(&self.plan.sessions[*b].external_id));
        Verdict { student: Some(student), refusal: None, credited }
    }

    fn stays_in(&self, session: usize) -> impl Iterator<Item = &Stay> {
        self.plan.sessions[session].groups.iter().flat_map(|group| &self.stays[*group])
    }
}

fn known_card(card: &crate::plan::Card) -> KnownCard<'_> {
    KnownCard {
        student: card.student,
        credential: &card.credential,
        from_ms: card.from_ms,
        until_ms: card.until_ms,
        replaced_ms: None,
        known_ms: ALWAYS,
    }
}

fn stay(membership: &Membership, known_ms: Millis, zone: &TimeZone) -> Result<Stay, String> {
    let midnight = |text: &str, days: i64| -> Result<Millis, String> {
        let said = |error: jiff::Error| format!("membership date {text:?}: {error}");
        let date: Date = text.parse().map_err(said)?;
        let date = date.checked_add(jiff::Span::new().days(days)).map_err(said)?;
        Ok(date.to_zoned(zone.clone()).map_err(said)?.timestamp().as_millisecond())
    };
    let until_ms = match &membership.until {
        Some(until) => midnight(until, 1)?,
        None => Millis::MAX,
    };
    Ok(Stay { student: membership.student, from_ms: midnight(&membership.from, 0)?, until_ms, known_ms })
}

/// Refuses a plan that contradicts itself, so that no question can lead nowhere.
fn check(plan: &Plan) -> Result<(), String> {
    let within = |what: &str, index: usize, count: usize| match index < count {
        true => Ok(()),
        false => Err(format!("{what} {index}: there are only {count}")),
    };
    let in_time = |what: &str, start: Millis, end: Millis| match start < end {
        true => Ok(()),
        false => Err(format!("{what} ends at {end}, not after its start at {start}")),
    };
    let member = |membership: &Membership| {
        within("membership's group", membership.group, plan.groups.len())?;
        within("membership's student", membership.student, plan.students.len())
    };
    in_time("play", plan.from_ms, plan.until_ms)?;
    for room in &plan.rooms {
        within(&format!("room {}'s building", room.code), room.building, plan.buildings.len())?;
    }
    for reader in &plan.readers {
        within(&format!("reader {}'s room", reader.code), reader.room, plan.rooms.len())?;
    }
    for card in &plan.cards {
        within("card's student", card.student, plan.students.len())?;
    }
    for session in &plan.sessions {
        let id = &session.external_id;
        in_time(&format!("session {id}"), session.start_ms, session.end_ms)?;
        for room in &session.rooms {
            within(&format!("session {id}'s room"), *room, plan.rooms.len())?;
        }
        for group in &session.groups {
            within(&format!("session {id}'s group"), *group, plan.groups.len())?;
        }
    }
    plan.memberships.iter().try_for_each(member)?;
    for change in &plan.changes {
        match &change.what {
            ChangeKind::Cancel { session } | ChangeKind::Reinstate { session } => {
                within("change's session", *session, plan.sessions.len())?;
            }
            ChangeKind::Move { session, rooms } => {
                within("change's session", *session, plan.sessions.len())?;
                rooms.iter().try_for_each(|room| within("change's room", *room, plan.rooms.len()))?;
            }
            ChangeKind::Reschedule { session, start_ms, end_ms } => {
                within("change's session", *session, plan.sessions.len())?;
                in_time("change's session", *start_ms, *end_ms)?;
            }
            ChangeKind::Join(membership) => member(membership)?,
            ChangeKind::Reissue { student, .. } => {
                within("change's student", *student, plan.students.len())?;
            }
        }
    }
    for presentation in &plan.presentations {
        within("presentation's reader", presentation.reader, plan.readers.len())?;
        if !(plan.from_ms..plan.until_ms).contains(&presentation.at_ms) {
            return Err(format!("a presentation at {} is outside the time of play", presentation.at_ms));
        }
    }
    if !plan.changes.is_sorted_by_key(|change| change.at_ms) {
        return Err("changes are not sorted by instant".to_owned());
    }
    if !plan.presentations.is_sorted_by_key(|presentation| (presentation.at_ms, presentation.reader)) {
        return Err("presentations are not sorted by instant, then reader".to_owned());
    }
    Ok(())
}
