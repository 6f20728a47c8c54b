//! Which rooms hold a session when: before its day, on it, and afterwards.

use std::collections::BTreeSet;

use rollcall_rules::time::{Instant, Window};
use uuid::Uuid;

use crate::store::timetable::SessionRoom;

/// The rooms that hold a session from now on for ever.
pub(in crate::service) fn rooms_now(held: &[SessionRoom]) -> impl Iterator<Item = Uuid> {
    held.iter().filter(|room| room.until_at.is_none()).map(|room| room.room_id)
}

/// Whether a session is said to be where it is now, and came there before it closes.
pub(super) fn stays_put(held: &[SessionRoom], wanted: &[Uuid], closes: Instant) -> bool {
    let now: BTreeSet<Uuid> = rooms_now(held).collect();
    let came =
        |room: &SessionRoom| room.until_at.is_some() || room.from_at.is_none_or(|from| from < closes.0);
    now == wanted.iter().copied().collect() && held.iter().all(came)
}

/// Whether all changes of rooms were while a window is open.
pub(super) fn moved_within(held: &[SessionRoom], window: Window) -> bool {
    let mut at = held.iter().flat_map(|room| [room.from_at, room.until_at]).flatten();
    at.all(|at| window.opens.0 < at && at < window.closes.0)
}

/// Rooms that are being left, or were left last while the session was open, with another instant at which they are.
pub(super) fn leave_at(
    held: &[SessionRoom],
    until: Instant,
    now: Instant,
    opens: Instant,
) -> Vec<SessionRoom> {
    let last = held.iter().filter_map(|room| room.until_at).max().filter(|at| *at > opens.0);
    let leaving = |room: &SessionRoom| room.until_at.is_some_and(|at| at > now.0 || Some(at) == last);
    let left = |room: &SessionRoom| SessionRoom {
        until_at: if leaving(room) { Some(until.0) } else { room.until_at },
        ..*room
    };
    held.iter().map(left).collect()
}

/// Which rooms hold a session when. Before its window opens a change replaces the rooms; on the day (`now`)
/// the old rooms hold it until now and the new ones from now on. With an instant to cut over at the old ones hold it until
/// then, beside the new ones.
pub(super) fn room_timeline(
    session: Uuid,
    old: &[SessionRoom],
    wanted: &[Uuid],
    now: Option<Instant>,
    cut_over: Option<Instant>,
) -> Vec<SessionRoom> {
    let wanted: BTreeSet<Uuid> = wanted.iter().copied().collect();
    let whole =
        |room: &Uuid| SessionRoom { session_id: session, room_id: *room, from_at: None, until_at: None };
    let Some(now) = now else {
        let left = old.iter().filter(|held| held.until_at.is_none() && !wanted.contains(&held.room_id));
        let left = left.filter_map(|held| Some(SessionRoom { until_at: Some(cut_over?.0), ..*held }));
        return left.chain(wanted.iter().map(whole)).collect();
    };
    let holds = |held: &SessionRoom| held.until_at.is_none_or(|until| now.0 < until);
    let leaves = cut_over.unwrap_or(now);
    let mut rooms = Vec::new();
    for held in old {
        let until_at = match (holds(held), wanted.contains(&held.room_id)) {
            (true, true) => None,
            (true, false) => Some(held.until_at.map_or(leaves.0, |until| until.min(leaves.0))),
            (false, _) => held.until_at,
        };
        if held.from_at.is_none_or(|from| until_at.is_none_or(|until| from < until)) {
            rooms.push(SessionRoom { until_at, ..*held });
        }
    }
    for room in &wanted {
        if !old.iter().any(|held| held.room_id == *room && holds(held)) {
            rooms.push(SessionRoom { from_at: Some(now.min(leaves).0), ..whole(room) });
        }
    }
    rooms
}
