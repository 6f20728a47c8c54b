//! Local times of one day as instants.
//!
//! Used by the other files of `generate`. It knows one zone only.

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::plan::Millis;

/// The campus's time zone.
pub(super) const ZONE: &str = "Europe/London";
/// The same rules, for a machine without a time zone database.
const RULES: &str = "GMT0BST,M3.5.0/1,M10.5.0";

/// A day in the campus's time zone.
pub(super) struct Clock {
    day: Date,
    zone: TimeZone,
}

impl Clock {
    pub(super) fn new(day: Date) -> Self {
        let zone = TimeZone::get(ZONE).or_else(|_| TimeZone::posix(RULES)).unwrap_or(TimeZone::UTC);
        Self { day, zone }
    }

    /// The instant at which the wall clock shows so many minutes past midnight.
    pub(super) fn at(&self, minutes: i64) -> Millis {
        let local = self.day.at(0, 0, 0, 0).saturating_add(Span::new().minutes(minutes));
        self.zone.to_timestamp(local).map_or(0, jiff::Timestamp::as_millisecond)
    }

    /// The first instant of another day, counted from this one.
    pub(super) fn midnight(&self, days: i64) -> Millis {
        self.zone.to_timestamp(self.date(days).at(0, 0, 0, 0)).map_or(0, jiff::Timestamp::as_millisecond)
    }

    /// Another day, counted from this one.
    pub(super) fn date(&self, days: i64) -> Date {
        self.day.saturating_add(Span::new().days(days))
    }

    /// Another day as memberships write it.
    pub(super) fn iso(&self, days: i64) -> String {
        self.date(days).to_string()
    }

    /// The day as external ids write it, for instance `0224`.
    pub(super) fn short(&self) -> String {
        format!("{:02}{:02}", self.day.month(), self.day.day())
    }
}
