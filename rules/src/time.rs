//! Instants, half-open spans, closed windows and uncertain times, all in whole milliseconds UTC.
//!
//! Instants are truncated to milliseconds before judging (design, section 2, "Exactness").

use std::fmt;

/// Milliseconds in a minute.
pub const MINUTE_MS: i64 = 60_000;

/// An instant: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(pub i64);

impl Instant {
    /// The instant `ms` milliseconds later (earlier when negative); stops at the ends of the range.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` until this instant; negative when it comes before.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A half-open stretch of time: `from` is in, `until` is out. `None` is unbounded on that side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// The first instant; `None` since ever.
    pub from: Option<Instant>,
    /// The first instant that is out again; `None` for ever.
    pub until: Option<Instant>,
}

impl Span {
    /// The span that holds every instant.
    pub const ALWAYS: Self = Self { from: None, until: None };

    /// Whether `at` lies in it.
    #[must_use]
    pub fn holds(&self, at: Instant) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Whether some instant of the closed range `[first, last]` lies in it.
    #[must_use]
    pub fn meets(&self, first: Instant, last: Instant) -> bool {
        self.from.is_none_or(|from| from <= last)
            && self.until.is_none_or(|until| first < until)
            && self.from.is_none_or(|from| self.until.is_none_or(|until| from < until))
    }

    /// Whether it is over at `at`.
    #[must_use]
    pub fn ended(&self, at: Instant) -> bool {
        self.until.is_some_and(|until| until <= at)
    }
}

/// A closed stretch of time: both ends are in. Only windows are closed; everything else is a [`Span`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// The first instant at which a swipe counts.
    pub opens: Instant,
    /// The last instant at which a swipe counts.
    pub closes: Instant,
}

impl Window {
    /// Whether `at` lies in it, both ends included.
    #[must_use]
    pub fn holds(&self, at: Instant) -> bool {
        self.opens <= at && at <= self.closes
    }
}

/// When something happened, as far as the clock could tell: somewhere in `[earliest, latest]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uncertain {
    /// Not before this instant.
    pub earliest: Instant,
    /// Not after this instant.
    pub latest: Instant,
}

impl Uncertain {
    /// A time known to the millisecond.
    #[must_use]
    pub fn exactly(at: Instant) -> Self {
        Self { earliest: at, latest: at }
    }

    /// Whether it is one instant.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.earliest == self.latest
    }
}
