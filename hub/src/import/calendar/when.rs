//! Times of iCalendar: values with their zones, durations, and the instants at which a rule recurs.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span};
use rrule::RRuleSet;

use super::lines::{Calendar, Line};
use super::zone::zone;

/// How many times one event may recur.
pub(super) const MAX_RECURRENCES: u16 = 5_000;
/// How often a day a rule may name an hour, minute or second: all times of a year are worked out together.
const MAX_TIMES_A_DAY: usize = 100;
/// So many periods of a rule are as much work as one recurrence.
const PERIODS_A_RECURRENCE: i64 = 20;
/// A rule is not tried for longer than so many periods.
const MAX_PERIODS: i64 = 100_000;

/// What one is worth that was tried for as long, in recurrences: it takes a third of a second.
const TRIED_FOR_LONG: usize = 50_000;

/// What a rule comes to.
pub(super) struct Recurring {
    /// When the event recurs, its start included, in wall time of its start's zone.
    pub(super) walls: Vec<DateTime>,
    /// How much work it was, in recurrences.
    pub(super) worth: usize,
}

/// A time as it stands in the file: a wall time and the zone that it is read in.
#[derive(Debug, Clone)]
pub(super) struct When {
    pub(super) wall: DateTime,
    pub(super) zone: TimeZone,
    pub(super) floating: bool,
}

impl When {
    /// Milliseconds since the epoch. Of a time that a clock shows twice the first; one that no clock shows is read
    /// with the offset before the gap (RFC 5545, section 3.3.5).
    pub(super) fn ms(&self) -> Result<i64, String> {
        ms(self.wall, &self.zone)
    }
}

fn ms(wall: DateTime, zone: &TimeZone) -> Result<i64, String> {
    let zoned = zone.to_ambiguous_zoned(wall).compatible().map_err(|error| error.to_string())?;
    Ok(zoned.timestamp().as_millisecond())
}

/// Why a value is no time that can be used.
pub(super) enum NoTime {
    /// It is a whole day.
    Day,
    /// It cannot be read.
    Bad(String),
}

/// One of a property's values.
pub(super) enum Moment {
    /// A time.
    Time(When),
    /// A whole day.
    Day(Date),
}

fn is_of_days(line: &Line) -> bool {
    line.params.get("VALUE").is_some_and(|value| value.eq_ignore_ascii_case("DATE"))
}

/// The times of a property: one, or several separated by commas. Of periods only the start counts.
pub(super) fn times(line: &Line, calendar: &Calendar, home: &TimeZone) -> Result<Vec<When>, NoTime> {
    if is_of_days(line) {
        return Err(NoTime::Day);
    }
    let time = |moment| match moment {
        Moment::Time(when) => Ok(when),
        Moment::Day(_) => Err(NoTime::Day),
    };
    moments(line, calendar, home).map_err(NoTime::Bad)?.into_iter().map(time).collect()
}

/// The times and days of a property.
pub(super) fn moments(line: &Line, calendar: &Calendar, home: &TimeZone) -> Result<Vec<Moment>, String> {
    let zone = line.params.get("TZID").map(|id| zone(id, calendar)).transpose()?;
    let read = |text: &str| {
        let text = text.split('/').next().unwrap_or_default().trim();
        if text.len() == 8 || is_of_days(line) {
            let day = Date::strptime("%Y%m%d", text);
            return day.map(Moment::Day).map_err(|_| format!("'{text}' is no day such as 20261005"));
        }
        let (text, utc) = text.strip_suffix('Z').map_or((text, false), |text| (text, true));
        let wall = DateTime::strptime("%Y%m%dT%H%M%S", text)
            .map_err(|_| format!("'{text}' is no time such as 20261005T090000Z"))?;
        let zone = zone.as_ref().filter(|_| !utc);
        if let Some(from) = zone.and_then(|it| it.from).filter(|from| wall < *from) {
            return Err(format!(
                "its time zone changed its clock by other rules before {from}, which are not followed"
            ));
        }
        let floating = !utc && zone.is_none();
        let zone = match zone {
            Some(known) => known.zone.clone(),
            None if utc => TimeZone::UTC,
            None => home.clone(),
        };
        Ok(Moment::Time(When { wall, zone, floating }))
    };
    line.value.split(',').map(read).collect()
}

/// The length that a DURATION gives, in milliseconds (RFC 5545, section 3.3.6).
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let bad = || format!("'{text}' is no duration such as PT1H30M");
    let span: Span = text.parse().map_err(|_| bad())?;
    let length: SignedDuration =
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    i64::try_from(length.as_millis()).map_err(|_| bad())
}

/// How many seconds lie between two periods of a rule, at the least.
fn period(rule: &str) -> i64 {
    let part = |name: &str| {
        let mut parts = rule.split(';').filter_map(|part| part.split_once('='));
        parts
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_ascii_uppercase())
    };
    let seconds = match part("FREQ").as_deref() {
        Some("YEARLY") => 365 * 86_400,
        Some("MONTHLY") => 28 * 86_400,
        Some("WEEKLY") => 7 * 86_400,
        Some("DAILY") => 86_400,
        Some("HOURLY") => 3_600,
        Some("MINUTELY") => 60,
        _ => 1,
    };
    let interval = part("INTERVAL").and_then(|count| count.parse::<i64>().ok()).unwrap_or(1).max(1);
    interval.saturating_mul(seconds)
}

/// How often a day a rule names a time.
fn times_a_day(rule: &str) -> usize {
    let by = ["BYHOUR", "BYMINUTE", "BYSECOND"];
    let named = rule.split(';').filter_map(|part| part.split_once('='));
    named
        .filter(|(name, _)| by.iter().any(|by| name.trim().eq_ignore_ascii_case(by)))
        .map(|(_, values)| values.split(',').count())
        .fold(1, usize::saturating_mul)
}

/// When an event with a rule recurs, its start included, in wall time of its start's zone; none after `horizon`.
///
/// # Errors
/// When the rule cannot be read, or recurs too often.
pub(super) fn recur(start: &When, rule: &str, horizon: i64) -> Result<Recurring, String> {
    let stamp = |wall: DateTime| wall.strftime("%Y%m%dT%H%M%SZ").to_string();
    if times_a_day(rule) > MAX_TIMES_A_DAY {
        return Err(format!("the rule '{rule}' names more than {MAX_TIMES_A_DAY} times a day; split it"));
    }
    let (mut parts, mut end) = (Vec::new(), None);
    for part in rule.split(';').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            // The rule runs in wall time, so its end must be one too.
            Some((name, value)) if name.eq_ignore_ascii_case("UNTIL") => {
                let until = until(value, &start.zone)?;
                if until < start.wall {
                    // What "this and all to come" leaves behind of a series that it moved from its beginning.
                    return Ok(Recurring { walls: Vec::new(), worth: 1 });
                }
                end = Some(until);
                parts.push(format!("UNTIL={}", stamp(until)));
            }
            _ => parts.push(part.to_owned()),
        }
    }
    let text = format!("DTSTART:{}\nRRULE:{}", stamp(start.wall), parts.join(";"));
    let set: RRuleSet = text.parse().map_err(|error| format!("the rule '{rule}' cannot be used: {error}"))?;
    let mut walls = vec![start.wall];
    let (mut over, mut found, counted) = (false, 0, rule.to_ascii_uppercase().contains("COUNT="));
    // One that never recurs is not tried for ever.
    for (count, date) in set.limit().into_iter().enumerate() {
        if count >= usize::from(MAX_RECURRENCES) {
            return Err(format!(
                "the rule '{rule}' makes more than {MAX_RECURRENCES} sessions; give it an end (UNTIL or COUNT)"
            ));
        }
        let at = jiff::Timestamp::from_second(date.timestamp()).map_err(|error| error.to_string())?;
        let wall = TimeZone::UTC.to_datetime(at);
        if ms(wall, &start.zone)? > horizon {
            over = true;
            break;
        }
        found += 1;
        walls.push(wall);
    }
    walls.dedup();
    // As far as it was tried: to its end, to the horizon, to its last recurrence, or for as long as anything is.
    let last = match (over, end, walls.last()) {
        (true, ..) => jiff::Timestamp::from_millisecond(horizon).ok().map(|at| start.zone.to_datetime(at)),
        (false, Some(end), _) => Some(end),
        (false, None, Some(last)) if counted && found > 0 => Some(*last),
        _ => None,
    };
    let tried =
        last.and_then(|last| last.since(start.wall).ok()?.total((jiff::Unit::Second, start.wall)).ok());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole seconds; out of range it stops at the end of the range"
    )]
    let periods = tried.map_or(MAX_PERIODS, |seconds| (seconds as i64 / period(rule)).clamp(0, MAX_PERIODS));
    let worth = match periods {
        MAX_PERIODS => TRIED_FOR_LONG,
        fewer => usize::try_from(fewer / PERIODS_A_RECURRENCE).unwrap_or(0).max(walls.len()),
    };
    Ok(Recurring { walls, worth })
}

fn until(value: &str, zone: &TimeZone) -> Result<DateTime, String> {
    let bad = |_| format!("UNTIL={value} is no time such as 20261211T235959Z");
    if value.len() == 8 {
        let day = Date::strptime("%Y%m%d", value).map_err(bad)?;
        return Ok(day.to_datetime(Time::constant(23, 59, 59, 0)));
    }
    match value.strip_suffix('Z') {
        Some(utc) => {
            let wall = DateTime::strptime("%Y%m%dT%H%M%S", utc).map_err(bad)?;
            let at = TimeZone::UTC.to_timestamp(wall).map_err(bad)?;
            Ok(zone.to_datetime(at))
        }
        None => DateTime::strptime("%Y%m%dT%H%M%S", value).map_err(bad),
    }
}
