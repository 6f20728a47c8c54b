//! The verdict on one swipe, and why.
//!
//! Called by the gateway's core at the door, and by the hub for the same swipe with what it knows by then.
//! Neither asks what other swipes there were: a verdict is a matter of the swipe and the timetable alone
//! (only the courtesy `ALREADY_RECORDED`, still green, looks at what was credited before).

use std::collections::BTreeMap;

use crate::card::CardRead;
use crate::ids::{CardId, HolderId, RoomId, SessionId};
use crate::light::Colour;
use crate::policy::Overlap;
use crate::session::Session;
use crate::time::{Instant, Uncertain};
use crate::timetable::{CardKey, Holder, Timetable};

/// What became of a swipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// It counts for at least one session. Green.
    Recorded,
    /// It counts for none. Red.
    NotRecorded,
    /// It is kept, and decided later. Amber.
    Pending,
}

/// Why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Credited to at least one session.
    Recorded,
    /// Credited, and every session credited already was.
    AlreadyRecorded,
    /// No card of this key is known, or it is not valid yet.
    CardUnknown,
    /// The card was valid once and is not any more.
    CardCancelled,
    /// The card shows another number each time.
    CardRandomUid,
    /// The reader gave something that is no card.
    CardUnreadable,
    /// No session's window is open in the room.
    NoOpenSession,
    /// Only a session that was called off would have been open.
    SessionCancelled,
    /// None of the open sessions has the student on its class list.
    NotOnClassList,
    /// None of the open sessions has a class list.
    NoClassList,
    /// The clock cannot tell which.
    ClockUntrusted,
    /// The swipe could not be made durable.
    StoreFault,
}

/// How one session stood to a swipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Considered {
    /// The session.
    pub session: SessionId,
    /// It was called off.
    pub cancelled: bool,
    /// Its window was open in this room.
    pub window_open: bool,
    /// It has a class list.
    pub has_class_list: bool,
    /// The holder is on it.
    pub on_class_list: bool,
    /// The swipe counts for it.
    pub credited: bool,
}

/// A verdict, with its explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What became of the swipe.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// The sessions that it counts for, by name.
    pub credited: Vec<SessionId>,
    /// For whom it counts for them. At one instant that is one holder; over an uncertain time in which the card
    /// was handed on, each holder is credited with their own sessions alone.
    pub credits: Vec<(HolderId, SessionId)>,
    /// The card, where one is known.
    pub card: Option<CardId>,
    /// Who holds it, where one is known, valid or ended.
    pub holder: Option<HolderId>,
    /// Every session considered: those with this room whose window met the swipe's time.
    pub considered: Vec<Considered>,
}

impl Verdict {
    /// The colour of the flash that tells it.
    #[must_use]
    pub fn flash(&self) -> Colour {
        match self.decision {
            Decision::Recorded => Colour::Green,
            Decision::NotRecorded => Colour::Red,
            Decision::Pending => Colour::Amber,
        }
    }

    /// A refusal without a card that could be looked up.
    #[must_use]
    pub fn refused(reason: Reason) -> Self {
        Self {
            decision: Decision::NotRecorded,
            reason,
            credited: Vec::new(),
            credits: Vec::new(),
            card: None,
            holder: None,
            considered: Vec::new(),
        }
    }
}

/// Refuses a card that cannot name its holder for good, before any look-up.
#[must_use]
pub fn refuse_unusable(read: &CardRead) -> Option<Verdict> {
    read.usable().err().map(|error| {
        Verdict::refused(match error {
            crate::card::CardError::RandomUid => Reason::CardRandomUid,
            _ => Reason::CardUnreadable,
        })
    })
}

/// The verdict on a swipe of the card `key` in `room` at some instant of `when` (design, section 2).
///
/// If every instant of `when` gives the same colour and the same credits, that is the verdict; otherwise it
/// is `PENDING`, to be credited if any instant of the repaired time would be. `already` says whether a
/// session was credited to a holder before.
#[must_use]
pub fn verdict(
    timetable: &Timetable,
    room: RoomId,
    key: &CardKey,
    when: Uncertain,
    already: impl Fn(HolderId, SessionId) -> bool,
) -> Verdict {
    let mut verdict = verdict_at(timetable, room, key, when.earliest);
    if !when.is_exact() {
        let others: Vec<Verdict> = decisive_instants(timetable, room, key, when)
            .map(|at| verdict_at(timetable, room, key, at))
            .collect();
        if others.iter().any(|other| other.credits != verdict.credits) {
            verdict.decision = Decision::Pending;
            verdict.reason = Reason::ClockUntrusted;
            verdict.credited.clear();
            verdict.credits.clear();
        }
        explain(&mut verdict, &others);
    }
    if let (Reason::Recorded, Some(holder)) = (verdict.reason, verdict.holder)
        && verdict.credited.iter().all(|session| already(holder, *session))
    {
        verdict.reason = Reason::AlreadyRecorded;
    }
    verdict
}

/// Every credit that a swipe at some instant of `when` would have, for the hub's reading of a swipe that was kept
/// undecided: credited if any instant of the interval would be, to whoever held the card then.
#[must_use]
pub fn credited_at_any(timetable: &Timetable, room: RoomId, key: &CardKey, when: Uncertain) -> Verdict {
    let mut best = verdict_at(timetable, room, key, when.earliest);
    if when.is_exact() {
        return best;
    }
    let others: Vec<Verdict> = decisive_instants(timetable, room, key, when)
        .map(|at| verdict_at(timetable, room, key, at))
        .collect();
    for other in &others {
        if other.decision == Decision::Recorded {
            let mut credits = std::mem::take(&mut best.credits);
            credits.extend(&other.credits);
            best = Verdict { credits, considered: best.considered, ..other.clone() };
        }
    }
    best.credits.sort_unstable();
    best.credits.dedup();
    best.credited = best.credits.iter().map(|(_, session)| *session).collect();
    best.credited.sort_unstable();
    best.credited.dedup();
    explain(&mut best, &others);
    best
}

/// Makes a verdict over an uncertain time name every session that the time met, and credit what it credits.
fn explain(verdict: &mut Verdict, others: &[Verdict]) {
    let mut all: BTreeMap<SessionId, Considered> = BTreeMap::new();
    for how in verdict.considered.iter().chain(others.iter().flat_map(|other| &other.considered)) {
        let known = all.entry(how.session).or_insert(*how);
        known.has_class_list |= how.has_class_list;
        known.on_class_list |= how.on_class_list;
    }
    for how in all.values_mut() {
        how.credited = verdict.credited.contains(&how.session);
    }
    verdict.considered = all.into_values().collect();
}

/// The instants of `when` that stand for all the others: its ends, and both sides of every edge between.
fn decisive_instants(
    timetable: &Timetable,
    room: RoomId,
    key: &CardKey,
    when: Uncertain,
) -> impl Iterator<Item = Instant> {
    let mut edges: Vec<Instant> = timetable.card_edges(key).collect();
    let holders: Vec<HolderId> = edges
        .iter()
        .flat_map(|edge| [edge.plus_ms(-1), *edge])
        .chain([when.earliest, when.latest])
        .filter_map(|at| match timetable.holder(key, at) {
            Holder::Valid(_, holder) => Some(holder),
            Holder::Ended(..) | Holder::Unknown => None,
        })
        .collect();
    for session in timetable.near(room, when.earliest, when.latest) {
        let window = session.window();
        edges.extend([window.opens, window.closes.plus_ms(1)]);
        edges.extend(session.rooms.iter().flat_map(|held| [held.span.from, held.span.until]).flatten());
        for group in &session.groups {
            for holder in &holders {
                edges.extend(timetable.stay_edges(*group, *holder));
            }
        }
        // Where the nearest start decides, credits change half-way between two starts as well.
        if session.policy.overlap == Overlap::NearestStart {
            for other in timetable.near(room, window.opens, window.closes) {
                let middle = Instant((session.starts_at.0 + other.starts_at.0).div_euclid(2));
                edges.extend([middle, middle.plus_ms(1), middle.plus_ms(2)]);
            }
        }
    }
    edges
        .into_iter()
        .flat_map(|edge| [edge.plus_ms(-1), edge])
        .chain([when.latest])
        .filter(move |at| when.earliest <= *at && *at <= when.latest)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
}

fn verdict_at(timetable: &Timetable, room: RoomId, key: &CardKey, at: Instant) -> Verdict {
    let (card, holder, valid) = match timetable.holder(key, at) {
        Holder::Valid(card, holder) => (Some(card), Some(holder), true),
        Holder::Ended(card, holder) => (Some(card), Some(holder), false),
        Holder::Unknown => (None, None, false),
    };
    let mut considered: Vec<(Considered, &Session)> = timetable
        .near(room, at, at)
        .filter(|session| session.would_be_open(room, at))
        .map(|session| (consider(timetable, session, holder.filter(|_| valid), at), session))
        .collect();
    let reason = match (card, valid) {
        (None, _) => Reason::CardUnknown,
        (Some(_), false) => Reason::CardCancelled,
        (Some(_), true) => decide(&considered),
    };
    if reason == Reason::Recorded {
        credit(&mut considered, at);
    }
    let mut credited: Vec<SessionId> =
        considered.iter().filter(|(how, _)| how.credited).map(|(how, _)| how.session).collect();
    credited.sort_unstable();
    let credits =
        holder.into_iter().flat_map(|holder| credited.iter().map(move |session| (holder, *session)));
    Verdict {
        credits: credits.collect(),
        decision: if reason == Reason::Recorded { Decision::Recorded } else { Decision::NotRecorded },
        reason,
        credited,
        card,
        holder,
        considered: considered.into_iter().map(|(how, _)| how).collect(),
    }
}

fn consider(timetable: &Timetable, session: &Session, holder: Option<HolderId>, at: Instant) -> Considered {
    let on_class_list = holder.is_some_and(|holder| timetable.listed(session, holder, at));
    Considered {
        session: session.id,
        cancelled: session.cancelled,
        window_open: !session.cancelled,
        has_class_list: on_class_list || timetable.has_list(session, at),
        on_class_list,
        credited: false,
    }
}

fn decide(considered: &[(Considered, &Session)]) -> Reason {
    let mut open = considered.iter().map(|(how, _)| how).filter(|how| !how.cancelled).peekable();
    if open.peek().is_none() {
        return if considered.is_empty() { Reason::NoOpenSession } else { Reason::SessionCancelled };
    }
    let mut any_list = false;
    for how in open {
        if how.on_class_list {
            return Reason::Recorded;
        }
        any_list |= how.has_class_list;
    }
    if any_list { Reason::NotOnClassList } else { Reason::NoClassList }
}

/// Marks what is credited: every listed open session whose policy credits every one, and of those whose
/// policy credits the nearest, the one whose start is nearest.
fn credit(considered: &mut [(Considered, &Session)], at: Instant) {
    let nearest = considered
        .iter()
        .filter(|(how, session)| {
            how.on_class_list && !how.cancelled && session.policy.overlap == Overlap::NearestStart
        })
        .min_by_key(|(_, session)| {
            (session.starts_at.since_ms(at).unsigned_abs(), session.starts_at, session.id)
        })
        .map(|(how, _)| how.session);
    for (how, session) in considered {
        how.credited = how.on_class_list
            && !how.cancelled
            && match session.policy.overlap {
                Overlap::EveryOpen => true,
                Overlap::NearestStart => nearest == Some(how.session),
            };
    }
}
