//! A session as the rules see it: when, where, for whom, and under which policy.

use crate::ids::{GroupId, RoomId, SessionId};
use crate::policy::Policy;
use crate::time::{Instant, Span, Window};

/// A room of a session, for the part of time that the session is held there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldIn {
    /// The room.
    pub room: RoomId,
    /// From when until when; [`Span::ALWAYS`] unless it was changed on the day.
    pub span: Span,
}

/// One meeting of one or more groups in one or more rooms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// When it starts.
    pub starts_at: Instant,
    /// When it ends; after the start.
    pub ends_at: Instant,
    /// Whether it was called off.
    pub cancelled: bool,
    /// Where it is held; empty when it needs no room.
    pub rooms: Vec<HeldIn>,
    /// Whose class list it has; empty when it has none.
    pub groups: Vec<GroupId>,
    /// The policy that was in force at its start.
    pub policy: Policy,
}

impl Session {
    /// The closed stretch of time in which a swipe counts for it.
    #[must_use]
    pub fn window(&self) -> Window {
        self.policy.window(self.starts_at, self.ends_at)
    }

    /// Whether a swipe in `room` at `at` falls into its window, called off or not.
    #[must_use]
    pub fn would_be_open(&self, room: RoomId, at: Instant) -> bool {
        self.window().holds(at) && self.rooms.iter().any(|held| held.room == room && held.span.holds(at))
    }

    /// Whether a swipe in `room` at `at` can count for it.
    #[must_use]
    pub fn open(&self, room: RoomId, at: Instant) -> bool {
        !self.cancelled && self.would_be_open(room, at)
    }
}
