//! Weeks, days and slots as instants.

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Options;
use super::problem::{Problem, Time};

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A term's calendar.
pub(super) struct Calendar<'a> {
    zone: &'a TimeZone,
    start: Date,
    days_in_week: i64,
    slots: i64,
}

impl<'a> Calendar<'a> {
    pub(super) fn new(problem: &Problem, zone: &'a TimeZone, options: &Options) -> Self {
        let days_in_week = i64::from(problem.days).max(7);
        Self { zone, start: options.term_start, days_in_week, slots: i64::from(problem.slots) }
    }

    /// Start and end, both by the wall clock, in milliseconds since the epoch.
    pub(super) fn occurrence(&self, week: usize, day: usize, time: &Time) -> Result<(i64, i64), String> {
        let days = i64::try_from(week).unwrap_or(i64::MAX / 1000).saturating_mul(self.days_in_week);
        let days = days.saturating_add(i64::try_from(day).unwrap_or(i64::MAX));
        let seconds = |slot: i64| slot * DAY_SECONDS / self.slots;
        let (from, length) = (i64::from(time.start), i64::from(time.length));
        let start = self.at(days, seconds(from))?;
        let end = self.at(days, seconds(from + length))?;
        // A clock put forward inside it must not make it end before it starts.
        Ok((start, if end > start { end } else { start + seconds(length).max(1) * 1000 }))
    }

    /// The instant at which the wall clock shows so many seconds past midnight of a day of the term.
    fn at(&self, days: i64, seconds: i64) -> Result<i64, String> {
        let days = days.saturating_add(seconds.div_euclid(DAY_SECONDS));
        let date = Span::new().try_days(days).and_then(|days| self.start.checked_add(days));
        let local = date.and_then(|date| {
            date.at(0, 0, 0, 0).checked_add(Span::new().seconds(seconds.rem_euclid(DAY_SECONDS)))
        });
        local
            .and_then(|local| self.zone.to_timestamp(local))
            .map(jiff::Timestamp::as_millisecond)
            .map_err(|error| format!("{days} days and {seconds} s after {}: {error}", self.start))
    }
}
