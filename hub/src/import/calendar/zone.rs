//! Time zones by the name, or by the rules, that a calendar gives them (RFC 5545, section 3.6.5).

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{Offset, TimeZone};

use super::lines::{Calendar, Definition, Observance};

/// A zone, and from when on it holds.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    pub(super) zone: TimeZone,
    /// Wall time before which nothing is known; none where all is.
    pub(super) from: Option<DateTime>,
}

/// A zone by the name that a file gives it: IANA's, perhaps with a path before it, or one that the file itself ties to
/// IANA's, or one of Outlook's for these islands and their neighbours; else by the rules that the file gives.
pub(super) fn zone(id: &str, calendar: &Calendar) -> Result<Zone, String> {
    let outlook = match id {
        "GMT Standard Time" => Some("Europe/London"),
        "Greenwich Standard Time" => Some("Atlantic/Reykjavik"),
        "W. Europe Standard Time" => Some("Europe/Berlin"),
        "Romance Standard Time" => Some("Europe/Paris"),
        "Central Europe Standard Time" => Some("Europe/Budapest"),
        "Central European Standard Time" => Some("Europe/Warsaw"),
        "GTB Standard Time" => Some("Europe/Bucharest"),
        "FLE Standard Time" => Some("Europe/Kyiv"),
        _ => None,
    };
    let parts: Vec<&str> = id.trim_matches('/').split('/').collect();
    let tail = parts[parts.len().saturating_sub(2)..].join("/");
    let definition = calendar.zones.get(id);
    let named = definition.and_then(|it| it.location.as_deref());
    let names = [named, outlook, Some(id), Some(tail.as_str())];
    if let Some(zone) = names.into_iter().flatten().find_map(|name| TimeZone::get(name).ok()) {
        return Ok(Zone { zone, from: None });
    }
    let why = match definition.map(|it| it.ruled.get_or_init(|| by_rules(it))) {
        Some(Ok(zone)) => return Ok(zone.clone()),
        Some(Err(why)) => why.as_str(),
        None => "has no VTIMEZONE here",
    };
    Err(format!(
        "the time zone '{id}' is not IANA's, and {why}; name it as IANA does, for instance Europe/London, or add \
         X-LIC-LOCATION to its VTIMEZONE"
    ))
}

/// A change of the clock, read.
struct Change {
    daylight: bool,
    /// The wall time before the change, of the first one by this rule.
    start: DateTime,
    to: Offset,
    /// When it comes back.
    again: Again,
}

/// When a change of the clock comes back.
#[derive(PartialEq)]
enum Again {
    /// Every year: month, week and day as POSIX writes them.
    Yearly(String),
    /// Never after this wall time, a day too late at the most.
    Until(DateTime),
}

/// The rules in force last: a zone that changes its clock twice a year, or not any more.
fn by_rules(definition: &Definition) -> Result<Zone, String> {
    let mut changes = definition.observances.iter().map(change).collect::<Result<Vec<_>, String>>()?;
    changes.sort_by_key(|change| change.start);
    let last = changes.last().ok_or("its VTIMEZONE has neither STANDARD nor DAYLIGHT")?;
    let open = |daylight: bool| {
        changes.iter().rev().find_map(|change| match &change.again {
            Again::Yearly(rule) if change.daylight == daylight => Some((change, rule)),
            _ => None,
        })
    };
    let over = changes.iter().filter_map(|change| match change.again {
        Again::Until(until) => Some(until),
        Again::Yearly(_) => None,
    });
    let (begins, ends) = match (open(true), open(false)) {
        (Some(begins), Some(ends)) => (begins, ends),
        (None, None) => {
            // After the last change it stays as it is; what changed when before that is listed, and not followed.
            let from = over.max().filter(|_| changes.len() > 1);
            return Ok(Zone { zone: last.to.to_time_zone(), from });
        }
        _ => return Err("only one of its two changes comes back every year".to_owned()),
    };
    let ((daylight, begins), (standard, ends)) = (begins, ends);
    let from = (changes.len() > 2).then(|| over.max().unwrap_or(last.start)).map(|it| it.max(last.start));
    // POSIX counts offsets westward, and the time of a change by the clock before it, as RFC 5545 does.
    let rule = format!(
        "<STD>{}<DST>{},{begins}/{},{ends}/{}",
        westward(standard.to),
        westward(daylight.to),
        clock(daylight.start),
        clock(standard.start)
    );
    let zone = TimeZone::posix(&rule).map_err(|error| format!("its rules cannot be used: {error}"))?;
    Ok(Zone { zone, from })
}

fn clock(at: DateTime) -> String {
    format!("{}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}

fn westward(offset: Offset) -> String {
    let seconds = -offset.seconds();
    let (sign, seconds) = (if seconds < 0 { "-" } else { "" }, seconds.abs());
    format!("{sign}{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn change(observance: &Observance) -> Result<Change, String> {
    let needed = |name: &str| {
        let line = observance.lines.iter().find(|line| line.name == name);
        line.map(|line| line.value.as_str()).ok_or_else(|| format!("a change of its clock has no {name}"))
    };
    let start = needed("DTSTART")?;
    let start = DateTime::strptime("%Y%m%dT%H%M%S", start)
        .map_err(|_| format!("'{start}' is no time such as 19961027T020000"))?;
    let to = needed("TZOFFSETTO")?;
    let to = offset(to).ok_or_else(|| format!("'{to}' is no offset such as +0100"))?;
    if observance.lines.iter().any(|line| line.name == "RDATE") {
        return Err("changes of its clock are listed one by one (RDATE)".to_owned());
    }
    let rule = observance.lines.iter().find(|line| line.name == "RRULE");
    let again = rule.map_or(Ok(Again::Until(start)), |line| again(&line.value))?;
    Ok(Change { daylight: observance.daylight, start, to, again })
}

/// `+0100`, `-0330` or `+013045` (RFC 5545, section 3.3.14).
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if !matches!(digits.len(), 4 | 6) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |part| part.parse::<i32>().ok());
    Offset::from_seconds(sign * (part(0)? * 3600 + part(2)? * 60 + part(4)?)).ok()
}

/// A yearly rule on a weekday of a month, counted from its beginning or its end; or when a rule is over.
fn again(rule: &str) -> Result<Again, String> {
    let unusable = || format!("its rule '{rule}' is none of the form FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU");
    let parts = rule.split(';').filter(|part| !part.is_empty());
    let parts = parts.map(|part| part.split_once('=').ok_or_else(unusable));
    let parts = parts.collect::<Result<Vec<_>, String>>()?;
    let part = |name: &str| parts.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
    if let Some((_, until)) = part("UNTIL") {
        let day = until.get(..8).and_then(|day| Date::strptime("%Y%m%d", day).ok()).ok_or_else(unusable)?;
        let day = day.checked_add(1.day()).map_err(|_| unusable())?;
        return Ok(Again::Until(day.to_datetime(Time::midnight())));
    }
    let (mut month, mut day) = (None, None);
    for (name, value) in &parts {
        match (name.to_ascii_uppercase().as_str(), value.to_ascii_uppercase().as_str()) {
            ("FREQ", "YEARLY") | ("INTERVAL", "1") | ("WKST", _) => {}
            ("BYMONTH", value) => month = value.parse::<u8>().ok().filter(|month| (1..=12).contains(month)),
            ("BYDAY", value) => day = weekday(value),
            _ => return Err(unusable()),
        }
    }
    let (Some(month), Some((week, day))) = (month, day) else { return Err(unusable()) };
    Ok(Again::Yearly(format!("M{month}.{week}.{}", day.to_sunday_zero_offset())))
}

fn weekday(value: &str) -> Option<(u8, Weekday)> {
    let (count, name) = value.split_at_checked(value.len().checked_sub(2)?)?;
    let week = match count {
        "-1" | "5" | "+5" => 5,
        _ => count.trim_start_matches('+').parse::<u8>().ok().filter(|week| (1..=4).contains(week))?,
    };
    let day = match name {
        "SU" => Weekday::Sunday,
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        _ => return None,
    };
    Some((week, day))
}
