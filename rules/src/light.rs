//! The light at rest: blue while a window is open in the room, else off.

use crate::ids::RoomId;
use crate::time::Uncertain;
use crate::timetable::Timetable;

/// Colours of a reader's light.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Colour {
    /// Dark: no window is open.
    Off,
    /// Steady: a window is open.
    Blue,
    /// Flash: attendance recorded.
    Green,
    /// Flash: not recorded.
    Red,
    /// Flash: kept, decided later.
    Amber,
}

/// The light at rest of a reader in `room`, when the time is somewhere in `now`: blue only while a window is
/// open at every instant of it. It stays blue through overlapping windows.
#[must_use]
pub fn light_at_rest(timetable: &Timetable, room: RoomId, now: Uncertain) -> Colour {
    let mut at = now.earliest;
    loop {
        if !timetable.near(room, at, at).any(|session| session.open(room, at)) {
            return Colour::Off;
        }
        match timetable.next_change(room, at) {
            Some(next) if next <= now.latest => at = next,
            _ => return Colour::Blue,
        }
    }
}
