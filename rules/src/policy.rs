//! The attendance policy as data: how swipes become attendance, and the defaults.

use crate::time::{Instant, MINUTE_MS, Window};

/// Which sessions one swipe is credited to when several windows are open in the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overlap {
    /// Each open session whose class list has the student.
    EveryOpen,
    /// Of those, only the one whose start is nearest to the swipe; the earlier on a tie.
    NearestStart,
}

/// The policy of one session, after all overrides. It is read at the session's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How long before the start the window opens, in milliseconds; 0 or more.
    pub opens_before_ms: i64,
    /// How long after the end the window closes, in milliseconds; 0 or more.
    pub closes_after_ms: i64,
    /// Which sessions one swipe is credited to.
    pub overlap: Overlap,
    /// For how much of the window a room may be without a working reader before absence proves nothing.
    pub outage_tolerance_ms: i64,
    /// How long after its end a register waits for a gateway that is silent.
    pub settle_limit_ms: i64,
}

impl Default for Policy {
    /// Opens 30 minutes before the start, closes at the end, credits every open session; 10 minutes of
    /// outage are tolerated; a silent gateway is waited for 28 days.
    fn default() -> Self {
        Self {
            opens_before_ms: 30 * MINUTE_MS,
            closes_after_ms: 0,
            overlap: Overlap::EveryOpen,
            outage_tolerance_ms: 10 * MINUTE_MS,
            settle_limit_ms: 28 * 24 * 60 * MINUTE_MS,
        }
    }
}

impl Policy {
    /// The window of a session with these times. Elapsed time: a DST change moves nothing.
    #[must_use]
    pub fn window(&self, starts_at: Instant, ends_at: Instant) -> Window {
        Window {
            opens: starts_at.plus_ms(-self.opens_before_ms),
            closes: ends_at.plus_ms(self.closes_after_ms),
        }
    }
}
