//! A session's register: one status for each student, derived from facts.
//!
//! Called by the hub whenever a fact that touches the session changes. The same facts give the same
//! register, in whatever order they came (design, section 2, "Register", "Final", "No register").

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{HolderId, SwipeId};
use crate::session::Session;
use crate::time::{Instant, MINUTE_MS, Span};

/// Attendance of one student at one session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Status {
    /// Not decided yet.
    Expected,
    /// Was there.
    Present,
    /// Was not there.
    Absent,
    /// Excused.
    AuthorisedAbsence,
    /// On the list, and excepted.
    NotRequired,
    /// Attendance could not be taken.
    NoRegister,
    /// The session did not take place.
    Cancelled,
}

/// What set a status.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// A swipe that was shown green.
    Reader,
    /// A swipe that was shown red or amber, and put right later.
    Reconciled,
    /// A person.
    Manual,
    /// An authorised absence.
    Absence,
    /// The rules.
    Rule,
}

/// A register's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// The window has not opened.
    Scheduled,
    /// The window is open.
    Open,
    /// Over, but a gateway has not yet handed over all its swipes.
    Settling,
    /// Over, and all swipes are in.
    Final,
    /// Attendance could not be taken.
    NoRegister,
    /// The session was called off.
    Cancelled,
}

/// A swipe that counts for the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credit {
    /// For whom.
    pub student: HolderId,
    /// Which swipe.
    pub swipe: SwipeId,
    /// When it was.
    pub at: Instant,
    /// The door showed green.
    pub shown_green: bool,
    /// It counts because it was shown green, though what is known now would not credit it.
    pub honoured: bool,
    /// It counts for another session that takes place, too.
    pub shared: bool,
}

/// What a person decided, with a reason kept elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ManualMark {
    /// The status that now holds.
    pub status: Status,
    /// When the student came, if known.
    pub arrived_at: Option<Instant>,
}

/// How far the doors' evidence reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// At least one of the session's rooms has, or had, a reader.
    pub has_reader: bool,
    /// The earliest watermark of the gateways in its rooms: all their swipes before it are handed over.
    /// `None` while one of them has never reported.
    pub watermark: Option<Instant>,
    /// For how long some room was without a working reader during the window, in milliseconds.
    pub outage_ms: i64,
    /// A person declared a silent gateway lost, so nobody waits for it.
    pub declared_lost: bool,
}

/// Everything that a register is derived from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The session.
    pub session: &'a Session,
    /// The stays of everyone in its groups.
    pub stays: &'a BTreeMap<HolderId, Vec<Span>>,
    /// The swipes that count for it, in any order.
    pub credits: &'a [Credit],
    /// What persons decided.
    pub manual: &'a BTreeMap<HolderId, ManualMark>,
    /// Who is excused for all of it.
    pub excused: &'a BTreeSet<HolderId>,
    /// Who is not expected at the door: distance learners, placements, dissertations.
    pub not_expected: &'a BTreeSet<HolderId>,
    /// Whose swipe a fault of ours refused.
    pub wronged: &'a BTreeSet<HolderId>,
    /// How far the doors' evidence reaches.
    pub evidence: Evidence,
    /// The instant for which the register is derived.
    pub now: Instant,
}

/// One student's line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The status.
    pub status: Status,
    /// What set it.
    pub source: Source,
    /// When the student came.
    pub arrived_at: Option<Instant>,
    /// Whole minutes after the start, floored; 0 when on time, `None` unless present.
    pub minutes_late: Option<i64>,
    /// The deciding swipe also counts for another session.
    pub shared_swipe: bool,
    /// The mark rests on a promise: shown green, though what is known now would not credit it.
    pub honoured: bool,
}

impl Entry {
    fn by_rule(status: Status, source: Source) -> Self {
        Self { status, source, arrived_at: None, minutes_late: None, shared_swipe: false, honoured: false }
    }
}

/// A register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Register {
    /// Where it stands.
    pub state: State,
    /// One line for each student.
    pub entries: BTreeMap<HolderId, Entry>,
}

/// Derives a session's register from the facts.
#[must_use]
pub fn derive(facts: &Facts<'_>) -> Register {
    let state = state(facts);
    let mut credits: BTreeMap<HolderId, &Credit> = BTreeMap::new();
    for credit in facts.credits {
        let best = credits.entry(credit.student).or_insert(credit);
        if rank(credit) < rank(best) {
            *best = credit;
        }
    }
    let window = facts.session.window();
    let listed = facts
        .stays
        .iter()
        .filter(|(_, spans)| spans.iter().any(|span| span.meets(window.opens, window.closes)));
    let students: BTreeSet<HolderId> = listed
        .map(|(student, _)| *student)
        .chain(credits.keys().copied())
        .chain(facts.manual.keys().copied())
        .collect();
    let entries = students
        .into_iter()
        .map(|student| (student, entry(facts, state, student, credits.get(&student).copied())))
        .collect();
    Register { state, entries }
}

/// Whether anybody is in one of the session's groups when it starts.
#[must_use]
pub fn has_list_at_start(session: &Session, stays: &BTreeMap<HolderId, Vec<Span>>) -> bool {
    stays.values().flatten().any(|span| span.holds(session.starts_at))
}

/// The earliest swipe decides; one that counts by what is known now before one that is honoured.
fn rank(credit: &Credit) -> (Instant, bool, SwipeId) {
    (credit.at, credit.honoured, credit.swipe)
}

fn state(facts: &Facts<'_>) -> State {
    let session = facts.session;
    let window = session.window();
    let evidence = facts.evidence;
    if session.cancelled {
        State::Cancelled
    } else if !evidence.has_reader || !has_list_at_start(session, facts.stays) {
        State::NoRegister
    } else if facts.now < window.opens {
        State::Scheduled
    } else if facts.now <= window.closes {
        State::Open
    } else if evidence.watermark.is_some_and(|watermark| watermark > window.closes) {
        if evidence.outage_ms > session.policy.outage_tolerance_ms { State::NoRegister } else { State::Final }
    } else if evidence.declared_lost || facts.now > session.ends_at.plus_ms(session.policy.settle_limit_ms) {
        State::NoRegister
    } else {
        State::Settling
    }
}

/// One student's line, by precedence: a person's decision, `CANCELLED`, `PRESENT`, `AUTHORISED_ABSENCE`,
/// `NOT_REQUIRED`, `NO_REGISTER`, `ABSENT`; before the register is final `EXPECTED` for the last two.
fn entry(facts: &Facts<'_>, state: State, student: HolderId, credit: Option<&Credit>) -> Entry {
    let session = facts.session;
    if let Some(mark) = facts.manual.get(&student) {
        let arrived_at = mark.arrived_at.filter(|_| mark.status == Status::Present);
        return Entry {
            arrived_at,
            minutes_late: (mark.status == Status::Present)
                .then(|| arrived_at.map_or(0, |at| minutes_late(session, at))),
            ..Entry::by_rule(mark.status, Source::Manual)
        };
    }
    if state == State::Cancelled {
        return Entry::by_rule(Status::Cancelled, Source::Rule);
    }
    if let Some(credit) = credit {
        return Entry {
            status: Status::Present,
            source: if credit.shown_green { Source::Reader } else { Source::Reconciled },
            arrived_at: Some(credit.at),
            minutes_late: Some(minutes_late(session, credit.at)),
            shared_swipe: credit.shared,
            honoured: credit.honoured,
        };
    }
    if facts.excused.contains(&student) {
        return Entry::by_rule(Status::AuthorisedAbsence, Source::Absence);
    }
    let expected =
        facts.stays.get(&student).is_some_and(|spans| spans.iter().any(|span| span.holds(session.starts_at)));
    if !expected || facts.not_expected.contains(&student) {
        return Entry::by_rule(Status::NotRequired, Source::Rule);
    }
    let status = match state {
        State::Scheduled | State::Open | State::Settling => Status::Expected,
        State::NoRegister => Status::NoRegister,
        State::Final if facts.wronged.contains(&student) => Status::NoRegister,
        State::Final => Status::Absent,
        State::Cancelled => Status::Cancelled,
    };
    Entry::by_rule(status, Source::Rule)
}

fn minutes_late(session: &Session, at: Instant) -> i64 {
    at.since_ms(session.starts_at).max(0) / MINUTE_MS
}
