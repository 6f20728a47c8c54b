//! Recurrences of a series: when they are, their ids, and what one that is changed says of itself and of those after it.

use std::collections::BTreeSet;

use jiff::civil::DateTime as Wall;

use super::lines::{Event, Line};
use super::when::{self, Moment, When, moments};
use super::{Fault, Feed, MAX_TRIED, Timed};
use crate::service::timetable::SaveSession;

/// How long what was called off is taken to have lasted, where nothing says so.
const NOMINAL_MS: i64 = 3_600_000;
/// How long the time in a recurrence's id is.
const STAMP_LENGTH: usize = 16;

/// What becomes of all that comes after a changed recurrence.
pub(super) enum Onward<'a> {
    /// It is as this event, by so much later.
    Moved(Timed<'a>, jiff::Span),
    /// It is called off.
    Off,
}

/// Whether it is called off.
pub(super) fn is_cancelled(event: &Event) -> bool {
    event.text("STATUS").is_some_and(|status| status.eq_ignore_ascii_case("CANCELLED"))
}

/// Whether a changed recurrence changes all that come after it too (RFC 5545, section 3.2.13).
pub(super) fn is_onward(event: &Event) -> bool {
    let range = event.line("RECURRENCE-ID").and_then(|line| line.params.get("RANGE"));
    range.is_some_and(|range| range.eq_ignore_ascii_case("THISANDFUTURE"))
}

/// Which version it is.
pub(super) fn sequence(event: &Event) -> i64 {
    event.text("SEQUENCE").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether two events of one UID and version are not the same.
pub(super) fn is_another(one: &Event, other: &Event) -> bool {
    let differ = ["DTSTART", "LOCATION", "SUMMARY"].iter().any(|name| one.text(name) != other.text(name));
    sequence(one) == sequence(other) && differ
}

/// The series that a session's id names, or of which it names a recurrence.
#[must_use]
pub fn series_of(id: &str) -> &str {
    // A UID may well end in a slash and so many letters.
    id.rsplit_once('/').filter(|(_, at)| is_stamp(at)).map_or(id, |(series, _)| series)
}

/// `YYYYMMDDTHHMMSSZ` (RFC 5545, section 3.3.5, form 2).
fn is_stamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == STAMP_LENGTH
        && bytes.iter().enumerate().all(|(place, byte)| match place {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// The id of one recurrence.
pub(super) fn recurrence(uid: &str, at: i64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(at)
        .map_or_else(|_| at.to_string(), |at| at.strftime("%Y%m%dT%H%M%SZ").to_string());
    format!("{uid}/{stamp}")
}

impl<'a> Feed<'a> {
    /// A recurrence that is called off without a word of its end, or of its start (RFC 5546, section 3.2.5): it was when its id
    /// says, and of a session that is known already the times stay as they are.
    pub(super) fn called_off(
        &self,
        uid: &str,
        event: &'a Event,
        fault: Fault,
    ) -> Result<(&'a Event, SaveSession), Fault> {
        if !fault.left_out && event.line("DTSTART").is_some() {
            return Err(fault);
        }
        let (start, at) = self.recurrence_id(event)?;
        let timed = Timed { event, start, length_ms: NOMINAL_MS };
        let (event, mut session) = self.session(&recurrence(uid, at), &timed, None)?;
        session.unsaid.0.push("times");
        Ok((event, session))
    }

    pub(super) fn recurrence_id(&self, event: &Event) -> Result<(When, i64), Fault> {
        let fault =
            |message: String| Fault { row: event.row, column: "RECURRENCE-ID", message, left_out: false };
        let when = self.times_of(event, "RECURRENCE-ID")?;
        let when = when.into_iter().next();
        let when = when.ok_or_else(|| fault("is empty".to_owned()))?;
        let at = when.ms().map_err(fault)?;
        Ok((when, at))
    }

    /// When an event happens, in wall time of its start's zone: by its start, its rules and further dates, without
    /// its exceptions.
    pub(super) fn walls(&self, series: &Timed<'_>) -> Result<Vec<Wall>, Fault> {
        let event = series.event;
        let mut walls = BTreeSet::new();
        if event.line("RRULE").is_none() {
            walls.insert(series.start.wall);
        }
        for rule in event.all("RRULE") {
            let fault = |message| Fault { row: rule.row, column: "RRULE", message, left_out: false };
            let found = when::recur(&series.start, &rule.value, self.options.horizon).map_err(fault)?;
            self.charge(found.worth);
            walls.extend(found.walls);
            if walls.len() > usize::from(when::MAX_RECURRENCES) {
                return Err(fault(format!(
                    "with this rule the event makes more than {} sessions; split it",
                    when::MAX_RECURRENCES
                )));
            }
            if self.tried.get() > MAX_TRIED {
                return Err(fault(format!(
                    "the rules up to this one make more than {MAX_TRIED} recurrences"
                )));
            }
        }
        let zone = &series.start.zone;
        let here = |when: &When| {
            let at =
                when.ms().and_then(|ms| jiff::Timestamp::from_millisecond(ms).map_err(|e| e.to_string()));
            at.map(|at| zone.to_datetime(at))
        };
        let fault = |column| move |message| Fault { row: event.row, column, message, left_out: false };
        let read = |line: &Line, column| {
            let found = moments(line, self.calendar, self.home);
            found.map_err(|message| Fault { row: line.row, column, message, left_out: false })
        };
        for line in event.all("RDATE") {
            for moment in read(line, "RDATE")? {
                walls.insert(match moment {
                    Moment::Time(when) => here(&when).map_err(fault("RDATE"))?,
                    // On another day, at the series' own time.
                    Moment::Day(day) => day.to_datetime(series.start.wall.time()),
                });
            }
        }
        // A day among the exceptions takes out all that is on it.
        let mut days = BTreeSet::new();
        for line in event.all("EXDATE") {
            for moment in read(line, "EXDATE")? {
                match moment {
                    Moment::Time(when) => drop(walls.remove(&here(&when).map_err(fault("EXDATE"))?)),
                    Moment::Day(day) => drop(days.insert(day)),
                }
            }
        }
        walls.retain(|wall| !days.contains(&wall.date()));
        if walls.len() > usize::from(when::MAX_RECURRENCES) {
            return Err(fault("DTSTART")(format!(
                "the event makes more than {} sessions; split it",
                when::MAX_RECURRENCES
            )));
        }
        Ok(walls.into_iter().collect())
    }
}
