//! What students and visitors do at the doors, drawn from a seed.
//!
//! Called by `generate` and `itc2019` once campus and timetable stand. It writes down who holds which card to
//! which reader when, and why; it never says what comes of it (that is for `expected`).

pub mod credentials;
mod ledger;
mod people;

use std::collections::HashSet;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::plan::{ChangeKind, Credential, Millis, Plan, Presentation};
use ledger::Ledger;
use people::{Attendee, People, Tie};

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60_000;

/// Every card presented in `[from_ms, until_ms)`, for the sessions first published as starting then; sorted
/// by instant, then reader. The plan's own presentations are not looked at.
///
/// Instants lie on a grid of 30 s (15 s or 5 s for large classes), so that many readers have a card at once;
/// only those at the very edges of windows may lie 1 ms beside it. One reader never has two cards within 2 s,
/// no student is twice anywhere at the same instant, and nothing happens at the exact instant of a change.
#[must_use]
pub fn presentations(plan: &Plan, seed: u64) -> Vec<Presentation> {
    let mut crowd = Crowd {
        plan,
        people: People::new(plan),
        ledger: Ledger::new(plan),
        rng: ChaCha12Rng::seed_from_u64(seed ^ 0x00C0_FFEE),
        replaced: HashSet::new(),
    };
    let sessions: Vec<usize> = (0..plan.sessions.len())
        .filter(|session| (plan.from_ms..plan.until_ms).contains(&plan.sessions[*session].start_ms))
        .collect();
    for session in &sessions {
        crowd.attend(*session);
    }
    crowd.visit(&sessions);
    crowd.ledger.into_presentations()
}

struct Crowd<'p> {
    plan: &'p Plan,
    people: People<'p>,
    ledger: Ledger<'p>,
    rng: ChaCha12Rng,
    /// Students who already tried the card that was replaced today.
    replaced: HashSet<usize>,
}

impl Crowd<'_> {
    /// Everybody who has to do with a session comes, or not, to its doors.
    fn attend(&mut self, session: usize) {
        let attendees = self.people.of_session(session);
        if self.plan.sessions[session].rooms.is_empty() {
            return;
        }
        if !attendees.iter().any(|attendee| attendee.tie == Tie::Member) {
            self.drop_in(session);
        }
        self.at_the_edges(session, &attendees);
        let step = match attendees.len() {
            0..=30 => 30 * SECOND,
            31..=90 => 15 * SECOND,
            _ => 5 * SECOND,
        };
        self.ledger.step_ms = step;
        for attendee in &attendees {
            match attendee.tie {
                Tie::Member => self.behave(session, attendee.student, step),
                Tie::Joins => {
                    self.come(session, attendee.student, -10 * MINUTE, "joins-today");
                    if self.rng.random_bool(0.5) {
                        self.come(session, attendee.student, 20 * MINUTE, "joined");
                    }
                }
                Tie::Soon => self.come(session, attendee.student, -4 * MINUTE, "joins-another-day"),
                Tie::Left => {
                    if self.rng.random_bool(0.3) {
                        self.come(session, attendee.student, -3 * MINUTE, "left-group");
                    }
                }
            }
        }
    }

    /// One member's behaviour.
    fn behave(&mut self, session: usize, student: usize, step: Millis) {
        let length = self.plan.sessions[session].end_ms - self.plan.sessions[session].start_ms;
        let steps = |crowd: &mut Self, from: Millis, until: Millis| {
            crowd.rng.random_range(from / step..=(until / step).max(from / step)) * step
        };
        let on_time = steps(self, -14 * MINUTE, -step);
        match self.rng.random_range(0..1000) {
            0..120 => {}
            120..200 => {
                let early = steps(self, -30 * MINUTE, -15 * MINUTE);
                self.come(session, student, early, "early");
            }
            200..280 => {
                let late = steps(self, step, (25 * MINUTE).min(length - step));
                self.come(session, student, late, "late");
            }
            280..300 => {
                let after = length + steps(self, step, 10 * MINUTE);
                self.come(session, student, after, "after-end");
            }
            300..315 => {
                let before = steps(self, -40 * MINUTE, -31 * MINUTE);
                self.come(session, student, before, "too-early");
            }
            315..370 => {
                self.come(session, student, on_time, "on-time");
                let again = on_time + steps(self, MINUTE, 10 * MINUTE);
                self.come(session, student, again, "twice");
            }
            370..395 => {
                self.stray(session, student, on_time);
                if self.rng.random_bool(0.5) {
                    self.come(session, student, on_time + 2 * MINUTE, "found-room");
                }
            }
            395..455 => {
                let at = self.plan.sessions[session].start_ms + on_time;
                if let Some(card) = self.people.other_card(student, at) {
                    self.hold(session, student, &card, on_time, "old-card");
                }
                if self.rng.random_bool(0.7) {
                    self.come(session, student, on_time + 2 * step, "on-time");
                }
            }
            _ => self.come(session, student, on_time, "on-time"),
        }
    }

    /// The student comes `offset` after the published start, with the card of that moment.
    fn come(&mut self, session: usize, student: usize, offset: Millis, why: &'static str) {
        let at = self.plan.sessions[session].start_ms + offset;
        if self.people.is_cancelled(session, at) && self.rng.random_bool(0.4) {
            return;
        }
        if let Some(old) = self.people.replaced_card(student, at)
            && self.replaced.insert(student)
        {
            self.hold(session, student, &old, offset - MINUTE, "old-card");
        }
        if let Some(card) = self.people.card(student, at) {
            self.hold(session, student, &card, offset, why);
        }
    }

    /// The card is held to one of the session's readers.
    fn hold(&mut self, session: usize, student: usize, card: &Credential, offset: Millis, why: &'static str) {
        let at = self.plan.sessions[session].start_ms + offset;
        if let Some(reader) = self.a_reader_of(session, at) {
            self.ledger.put(at, reader, card, Some(student), why);
        }
    }

    /// One of the readers of the rooms that the student believes the session to be in.
    fn a_reader_of(&mut self, session: usize, at: Millis) -> Option<usize> {
        let mut rooms = self.people.rooms(session, at);
        if rooms != self.plan.sessions[session].rooms && self.rng.random_bool(0.25) {
            rooms = &self.plan.sessions[session].rooms;
        }
        let readers: Vec<usize> = (0..self.plan.readers.len())
            .filter(|reader| rooms.contains(&self.plan.readers[*reader].room))
            .collect();
        readers.choose(&mut self.rng).copied()
    }

    /// The student holds the card to a reader of a room that the session is not in.
    fn stray(&mut self, session: usize, student: usize, offset: Millis) {
        let at = self.plan.sessions[session].start_ms + offset;
        let rooms = self.people.rooms(session, at);
        let readers: Vec<usize> = (0..self.plan.readers.len())
            .filter(|reader| !rooms.contains(&self.plan.readers[*reader].room))
            .collect();
        let reader = readers.choose(&mut self.rng).copied();
        if let (Some(reader), Some(card)) = (reader, self.people.card(student, at)) {
            self.ledger.put(at, reader, &card, Some(student), "wrong-room");
        }
    }

    /// Some students come to a session that has nobody on its list.
    fn drop_in(&mut self, session: usize) {
        if self.plan.students.is_empty() || self.plan.sessions[session].cancelled {
            return;
        }
        for minutes in 1..=4 {
            let student = self.rng.random_range(0..self.plan.students.len());
            self.come(session, student, -2 * minutes * MINUTE, "drop-in");
        }
    }

    /// At some sessions two members come exactly at the window's edges, inside or 1 ms outside.
    fn at_the_edges(&mut self, session: usize, attendees: &[Attendee]) {
        let published = &self.plan.sessions[session];
        let (opens, closes) = (published.start_ms - self.plan.opens_before_ms, published.end_ms);
        let (first, last) = match self.rng.random_range(0..10) {
            0 => ((opens, "at-opening"), (closes, "at-end")),
            1 => ((opens - 1, "just-before-opening"), (closes + 1, "just-after-end")),
            _ => return,
        };
        let mut members: Vec<usize> = attendees
            .iter()
            .filter(|attendee| attendee.tie == Tie::Member)
            .map(|attendee| attendee.student)
            .collect();
        members.shuffle(&mut self.rng);
        for (student, (at, why)) in members.into_iter().zip([first, last]) {
            let reader = self.a_reader_of(session, at);
            if let (Some(reader), Some(card)) = (reader, self.people.card(student, at)) {
                self.ledger.put_exactly(at, reader, &card, Some(student), why);
            }
        }
    }

    /// Visitors hold cards that nobody knows, and phones that make up a UID each time.
    fn visit(&mut self, sessions: &[usize]) {
        if sessions.is_empty() || self.plan.readers.is_empty() {
            return;
        }
        self.ledger.step_ms = 30 * SECOND;
        for count in 0..(sessions.len() / 4).max(6) {
            let Some(session) = sessions.choose(&mut self.rng) else { return };
            let start = self.plan.sessions[*session].start_ms;
            let at = start + self.rng.random_range(-40..40) * 30 * SECOND;
            let reader = self.rng.random_range(0..self.plan.readers.len());
            let (card, why) = if count % 3 == 2 {
                (
                    credentials::uid(&[0x08, self.rng.random(), self.rng.random(), self.rng.random()]),
                    "random-uid",
                )
            } else if count % 3 == 1 {
                (credentials::h10301(200, self.rng.random()), "visitor")
            } else {
                let tail: [u8; 5] = self.rng.random();
                let mut bytes = vec![0x04, 0xEE];
                bytes.extend(tail);
                (credentials::uid(&bytes), "visitor")
            };
            if !self.is_known(&card) {
                self.ledger.put(at, reader, &card, None, why);
            }
        }
    }

    fn is_known(&self, card: &Credential) -> bool {
        self.plan.cards.iter().any(|known| known.credential == *card)
            || self.plan.changes.iter().any(
                |change| matches!(&change.what, ChangeKind::Reissue { credential, .. } if credential == card),
            )
    }
}
