//! What a clock says, as a value: the core is told the time and never asks.

use rollcall_rules::time::{Instant, Uncertain};

/// Degrees of belief in a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// In step, to the millisecond as far as the rules care.
    Synced,
    /// Runs free since it was last in step.
    Holdover,
    /// Only a lower bound is known.
    Untrusted,
}

/// What a clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The present instant, as the clock has it.
    pub at: Instant,
    /// The bounds within which it lies.
    pub when: Uncertain,
    /// How far to believe it.
    pub trust: Trust,
    /// Time since the machine started, in milliseconds.
    pub since_boot_ms: i64,
}

/// Nothing that this program does happened before it was written: 2026-11-01T00:00:00Z.
pub const BUILT_AFTER: Instant = Instant(1_793_491_200_000);
/// A gateway that never knew the time counts from [`BUILT_AFTER`]: what it takes to be within a week of that is no time at all.
pub const NO_TIME_BEFORE: Instant = Instant(BUILT_AFTER.0 + 7 * 24 * 3_600_000);
/// No instant that a gateway meets lies after this: 2100-01-01T00:00:00Z.
pub const FAR_FUTURE: Instant = Instant(4_102_444_800_000);

impl Reading {
    /// An instant of this start of the machine as an earlier reading had it, where that reading knew the time, or since when it
    /// was off; none where it only counted from when this program was written.
    #[must_use]
    pub fn dates(&self, earlier: Instant) -> Option<Instant> {
        let started = self.when.earliest.plus_ms(-self.since_boot_ms);
        let known = self.when.latest < FAR_FUTURE || started > NO_TIME_BEFORE;
        Some(earlier).filter(|at| known && *at >= started)
    }

    /// A reading that is known to the millisecond.
    #[must_use]
    pub fn exactly(ms: i64, trust: Trust, since_boot_ms: i64) -> Self {
        let at = Instant(ms);
        Self { at, when: Uncertain::exactly(at), trust, since_boot_ms }
    }
}
