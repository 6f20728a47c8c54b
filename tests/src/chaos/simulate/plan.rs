//! The day's timetable, at one time: what the hub had, and what lights and marks are held against.

use std::collections::BTreeSet;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// A room of a session, from an instant on, and until another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    room: &'static str,
    from: i64,
    until: i64,
}

/// A session of the day, over before the last card; times in minutes since midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// Its id in the timetabling system.
    pub id: &'static str,
    held: Vec<Held>,
    starts: i64,
    ends: i64,
    /// It was called off.
    pub cancelled: bool,
}

impl Session {
    /// From when until when swipes count, in milliseconds since the epoch.
    #[must_use]
    pub(super) fn window(&self, day: i64) -> (i64, i64) {
        (day + (self.starts - 30) * 60_000, day + self.ends * 60_000)
    }

    /// Whether it is open in a room.
    #[must_use]
    pub(super) fn open(&self, day: i64, room: &str, at: i64) -> bool {
        let (opens, closes) = self.window(day);
        !self.cancelled && opens <= at && at <= closes && self.is_in(room, at, at)
    }

    /// Whether it was in a room through all of a stretch of time.
    #[must_use]
    pub(super) fn is_in(&self, room: &str, from: i64, until: i64) -> bool {
        self.held.iter().any(|held| held.room == room && held.from <= from && until < held.until)
    }

    /// Whether it was ever in a room.
    #[must_use]
    pub(super) fn ever_in(&self, room: &str) -> bool {
        self.held.iter().any(|held| held.room == room)
    }

    /// Its rooms, where it was in the same ones all the time.
    #[must_use]
    pub(super) fn rooms(&self) -> Option<Vec<&'static str>> {
        let always = |held: &Held| (held.from, held.until) == ALWAYS;
        self.held.iter().all(always).then(|| self.held.iter().map(|held| held.room).collect())
    }

    /// It is in these rooms: all the time, but where its window is open from now on.
    fn put_into(&mut self, rooms: &[&'static str], day: i64, now: i64) {
        let (opens, closes) = self.window(day);
        if now < opens || now > closes {
            self.held = held(rooms);
            return;
        }
        for known in &mut self.held {
            if known.until == ALWAYS.1 && !rooms.contains(&known.room) {
                known.until = now;
            }
        }
        for room in rooms {
            if !self.held.iter().any(|known| known.room == *room && known.until == ALWAYS.1) {
                self.held.push(Held { room, from: now, until: ALWAYS.1 });
            }
        }
    }

    /// Whether it changed rooms within some time alone.
    fn moved_within(&self, (opens, closes): (i64, i64)) -> bool {
        let mut at = self.held.iter().flat_map(|held| [held.from, held.until]);
        at.all(|at| at == ALWAYS.0 || at == ALWAYS.1 || (opens < at && at < closes))
    }

    /// Whether these are the rooms that it is in from now on anyway.
    fn is_put_into(&self, rooms: &[&'static str]) -> bool {
        let last = self.last_rooms();
        last.len() == rooms.len() && rooms.iter().all(|room| last.contains(room))
    }

    /// Where it is from now on.
    fn last_rooms(&self) -> Vec<&'static str> {
        self.held.iter().filter(|held| held.until == ALWAYS.1).map(|held| held.room).collect()
    }

    fn near_edge(&self, day: i64, at: i64, within: i64) -> bool {
        let (opens, closes) = self.window(day);
        let near = |edge: i64| at.saturating_sub(edge).saturating_abs() < within;
        near(opens) || near(closes) || self.held.iter().any(|held| near(held.from) || near(held.until))
    }
}

/// No session starts before this: its window would have opened before there was anybody to take swipes.
const EARLIEST: i64 = 8 * 60 + 45;
const ALWAYS: (i64, i64) = (i64::MIN, i64::MAX);

fn held(rooms: &[&'static str]) -> Vec<Held> {
    rooms.iter().map(|room| Held { room, from: ALWAYS.0, until: ALWAYS.1 }).collect()
}

/// A version of the timetable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan(Vec<Session>);

const R1: &[&str] = &["R1"];
const R2: &[&str] = &["R2"];
const BOTH: &[&str] = &["R1", "R2"];

impl Plan {
    /// What the day begins with.
    #[must_use]
    pub(super) fn first() -> Self {
        let session =
            |id, rooms, starts, ends| Session { id, held: held(rooms), starts, ends, cancelled: false };
        Self(vec![
            session("X", BOTH, 8 * 60 + 45, 9 * 60 + 20),
            session("Y", R1, 9 * 60 + 5, 9 * 60 + 40),
            session("Z", R2, 9 * 60 + 40, 9 * 60 + 49),
        ])
    }

    /// The next one: a session is moved to another room, put at another time, called off, held after all, or new.
    #[must_use]
    pub(super) fn changed(&self, rng: &mut ChaCha8Rng, day: i64, now: i64) -> Self {
        let mut next = self.clone();
        if next.0.len() == 3 && rng.random_bool(0.3) {
            let starts = rng.random_range(EARLIEST..9 * 60 + 30);
            let rooms = [R1, R2, BOTH][rng.random_range(0..3)];
            next.0.push(Session { id: "W", held: held(rooms), starts, ends: starts + 15, cancelled: false });
            return next;
        }
        let index = rng.random_range(0..next.0.len());
        let session = &mut next.0[index];
        match rng.random_range(0..4) {
            0 => {
                let rooms = [R1, R2, BOTH][rng.random_range(0..3)];
                if !session.is_put_into(rooms) {
                    session.put_into(rooms, day, now);
                }
            }
            1 => session.cancelled = !session.cancelled,
            _ => {
                let later =
                    rng.random_range(-10..=10).clamp(EARLIEST - session.starts, 9 * 60 + 49 - session.ends);
                if later != 0 {
                    // What was moved on the day is there all the time, once its time is another at which it did not move, and it is
                    // not open.
                    let rooms = session.last_rooms();
                    let mut as_is = session.clone();
                    session.put_into(&rooms, day, now);
                    (session.starts, session.ends) = (session.starts + later, session.ends + later);
                    if as_is.moved_within(session.window(day)) {
                        std::mem::swap(&mut session.held, &mut as_is.held);
                    }
                }
            }
        }
        next
    }

    /// All sessions, also those that were called off.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.0.iter()
    }

    /// Whether a session is open in a room.
    #[must_use]
    pub(super) fn open(&self, day: i64, room: &str, at: i64) -> bool {
        self.0.iter().any(|session| session.open(day, room, at))
    }

    /// Whether one session is open in a room through all of a stretch of time.
    #[must_use]
    pub(super) fn open_through(&self, day: i64, room: &str, from: i64, until: i64) -> bool {
        self.0.iter().any(|session| {
            let (opens, closes) = session.window(day);
            !session.cancelled && opens <= from && until <= closes && session.is_in(room, from, until)
        })
    }

    /// What is open in a room at the instants of a stretch of time: each set of sessions once.
    #[must_use]
    pub(super) fn open_within(
        &self,
        day: i64,
        room: &str,
        from: i64,
        until: i64,
    ) -> BTreeSet<Vec<&'static str>> {
        let turns = self.0.iter().flat_map(|session| {
            let (opens, closes) = session.window(day);
            let moved: Vec<i64> = session.held.iter().flat_map(|held| [held.from, held.until]).collect();
            [opens, closes].into_iter().chain(moved)
        });
        let around = turns.flat_map(|at| [at.saturating_sub(1), at, at.saturating_add(1)]);
        let instants = around.chain([from, until]).filter(|at| (from..=until).contains(at));
        let open_at = |at: i64| {
            let open = self.0.iter().filter(move |session| session.open(day, room, at));
            open.map(|session| session.id).collect()
        };
        instants.map(open_at).collect()
    }

    /// Whether a window opens or closes close to an instant.
    #[must_use]
    pub(super) fn near_edge(&self, day: i64, at: i64, within: i64) -> bool {
        self.0.iter().any(|session| session.near_edge(day, at, within))
    }

    /// As the hub takes it in.
    #[must_use]
    pub(super) fn input(&self) -> Value {
        let clock = |minutes: i64| format!("2027-03-01T{:02}:{:02}:00Z", minutes / 60, minutes % 60);
        let sessions = self.0.iter().map(|it| {
            json!({"externalId": it.id, "title": it.id, "startsAt": clock(it.starts), "endsAt": clock(it.ends),
                   "rooms": it.last_rooms(), "groups": ["G"], "cancelled": it.cancelled})
        });
        json!({"sessions": sessions.collect::<Vec<_>>()})
    }
}
