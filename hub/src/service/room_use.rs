//! What rooms were booked for, and what became of it.
//!
//! Sessions that are held in a room side by side, as a lecture that two courses share, fill it together: its time counts once,
//! and its seats are compared with all who came.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Hub;
use super::report::span;
use crate::scalar::LocalDate;
use crate::store::entity::Room;
use crate::store::report::Held;
use crate::store::timetable::LONGEST_OPENING_MS;
use crate::store::{StoreError, Tx};

/// How a room was used.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomUse {
    /// The room.
    pub room: Room,
    /// Sessions booked in it, those called off left out.
    pub sessions: i64,
    /// How long it was booked, in milliseconds; sessions side by side count once, and one that moved while it was held
    /// counts from when it came until it left for good.
    pub booked_ms: i64,
    /// How long it was booked for sessions to which somebody came, counted alike; of a session in several rooms, through this
    /// one's doors.
    pub used_ms: i64,
    /// Sessions whose register was taken and to which nobody came; of a session in several rooms, through this one's doors.
    pub ghosts: i64,
    /// Sessions to which more came through the room's doors than it has seats, or to them and those beside them together.
    pub overcrowded: i64,
    /// Sessions whose register could not be taken, or is not final yet: of them nothing is known.
    pub unknown: i64,
    /// Seats booked: students expected, over all sessions whose register was taken.
    pub expected: i64,
    /// Students who came, over the same.
    pub present: i64,
}

/// A length of time that is put together from pieces in the order of their starts.
#[derive(Default)]
struct Length {
    ms: i64,
    until: Option<i64>,
}

impl Length {
    fn add(&mut self, from: i64, until: i64) {
        let from = self.until.map_or(from, |before| before.max(from));
        self.ms += (until - from).max(0);
        self.until = Some(until.max(from));
    }
}

/// What rooms were booked for and what became of it, over sessions that start from one day to another, both included.
///
/// # Errors
/// When the store fails.
pub async fn room_use(hub: &Hub, from: LocalDate, until: LocalDate) -> Result<Vec<RoomUse>, StoreError> {
    let mut tx = hub.read().await?;
    let Some((from, until)) = span(hub, from, until) else { return Ok(Vec::new()) };
    let mut rooms_of: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut held_in: BTreeMap<Uuid, Vec<Held>> = BTreeMap::new();
    for mut session in tx.held_in_rooms(from, until).await? {
        // For as long as it is here.
        session.starts_at = session.here_from.map_or(session.starts_at, |from| from.max(session.starts_at));
        session.ends_at = session.here_until.map_or(session.ends_at, |until| until.min(session.ends_at));
        *rooms_of.entry(session.session).or_default() += 1;
        held_in.entry(session.room).or_default().push(session);
    }
    let mut rooms = Vec::new();
    for room in tx.all::<Room>().await? {
        let mut held = held_in.remove(&room.id).unwrap_or_default();
        held.sort_by_key(|session| (session.starts_at, session.session));
        let overcrowded = match room.capacity {
            Some(seats) => overcrowded(&mut tx, room.id, seats, &held).await?,
            None => 0,
        };
        let (mut booked, mut used) = (Length::default(), Length::default());
        let (mut ghosts, mut unknown, mut expected, mut present) = (0, 0, 0, 0);
        for session in &held {
            // Where a session has several rooms, each is used by those who came through its own doors.
            let shared = rooms_of.get(&session.session).is_some_and(|rooms| *rooms > 1);
            let came = if shared { session.here } else { session.present };
            booked.add(session.starts_at, session.ends_at);
            if came > 0 {
                used.add(session.starts_at, session.ends_at);
            }
            // Nobody is missed where nobody was expected: such a session has no class list.
            ghosts += i64::from(session.taken && session.booked > 0 && came == 0);
            if !session.taken {
                unknown += 1;
            } else if !shared {
                // Who was expected in which of several rooms, nobody said.
                expected += session.booked;
                present += session.present;
            }
        }
        let sessions = i64::try_from(held.len()).unwrap_or(i64::MAX);
        rooms.push(RoomUse {
            room,
            sessions,
            booked_ms: booked.ms,
            used_ms: used.ms,
            ghosts,
            overcrowded,
            unknown,
            expected,
            present,
        });
    }
    rooms.sort_by(|one, other| one.room.code.cmp(&other.room.code));
    Ok(rooms)
}

/// How many of a room's sessions, by their start, were part of more people than it has seats.
async fn overcrowded(tx: &mut Tx, room: Uuid, seats: i64, held: &[Held]) -> Result<i64, StoreError> {
    let mut over = vec![false; held.len()];
    // A room is never fuller than when something in it has just begun.
    for (place, session) in held.iter().enumerate() {
        let started_by = |at: i64| held.partition_point(|other| other.starts_at <= at);
        let near = started_by(session.starts_at - LONGEST_OPENING_MS)..started_by(session.starts_at);
        let places: Vec<usize> =
            near.filter(|at| *at == place || held[*at].ends_at > session.starts_at).collect();
        let all: i64 = places.iter().map(|at| held[*at].here).sum();
        if all <= seats || places.iter().all(|at| over[*at]) {
            continue;
        }
        // Somebody may be on the lists of several of them; no session is longer than the longest opening.
        let ids: Vec<Uuid> = places.iter().map(|at| held[*at].session).collect();
        if places.len() == 1 || tx.came_through(room, &ids).await? > seats {
            places.iter().for_each(|at| over[*at] = true);
        }
    }
    Ok(over.into_iter().map(i64::from).sum())
}
