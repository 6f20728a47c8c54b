//! Time zones by the name, or by the rules, that a calendar gives them (RFC 5545, section 3.6.5).

use jiff::civil::{DateTime, Weekday};
use jiff::tz::{Offset, TimeZone};

use super::lines::{Calendar, Definition, Observance};

/// A zone by the name that a file gives it: IANA's, perhaps with a path before it, or one that the file itself ties to
/// IANA's, or one of Outlook's for these islands and their neighbours; else by the rules that the file gives.
pub(super) fn zone(id: &str, calendar: &Calendar) -> Result<TimeZone, String> {
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
        return Ok(zone);
    }
    let why = match definition.map(by_rules) {
        Some(Ok(zone)) => return Ok(zone),
        Some(Err(why)) => why,
        None => "has no VTIMEZONE here".to_owned(),
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
    /// As POSIX writes it, month, week and day; none where it happens once.
    yearly: Option<String>,
}

/// The rules in force last: a zone that changes its clock twice a year, or not any more.
fn by_rules(definition: &Definition) -> Result<TimeZone, String> {
    let mut changes = definition.observances.iter().map(change).collect::<Result<Vec<_>, String>>()?;
    changes.sort_by_key(|change| change.start);
    let last = changes.last().ok_or("its VTIMEZONE has neither STANDARD nor DAYLIGHT")?;
    let of = |daylight: bool| changes.iter().rev().find(|change| change.daylight == daylight);
    let (Some(standard), Some(daylight)) = (of(false), of(true)) else { return Ok(last.to.to_time_zone()) };
    let (Some(ends), Some(begins)) = (&standard.yearly, &daylight.yearly) else {
        return if last.yearly.is_none() {
            Ok(last.to.to_time_zone())
        } else {
            Err("only one of its two changes comes back every year".to_owned())
        };
    };
    // POSIX counts offsets westward, and the time of a change by the clock before it, as RFC 5545 does.
    let rule = format!(
        "<STD>{}<DST>{},{begins}/{},{ends}/{}",
        westward(standard.to),
        westward(daylight.to),
        clock(daylight.start),
        clock(standard.start)
    );
    TimeZone::posix(&rule).map_err(|error| format!("its rules cannot be used: {error}"))
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
    let rule = observance.lines.iter().find(|line| line.name == "RRULE");
    let yearly = rule.map(|line| yearly(&line.value)).transpose()?.flatten();
    Ok(Change { daylight: observance.daylight, start, to, yearly })
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

/// A yearly rule as POSIX writes it: on a weekday of a month, counted from its beginning or its end. `None` where the rule
/// is over.
fn yearly(rule: &str) -> Result<Option<String>, String> {
    let unusable = || format!("its rule '{rule}' is none of the form FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU");
    let (mut month, mut day) = (None, None);
    for part in rule.split(';').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(unusable)?;
        match (name.to_ascii_uppercase().as_str(), value.to_ascii_uppercase().as_str()) {
            ("FREQ", "YEARLY") | ("INTERVAL", "1") | ("WKST", _) => {}
            ("BYMONTH", value) => month = value.parse::<u8>().ok().filter(|month| (1..=12).contains(month)),
            ("BYDAY", value) => day = weekday(value),
            // What followed it stands beside it.
            ("UNTIL" | "COUNT", _) => return Ok(None),
            _ => return Err(unusable()),
        }
    }
    let (Some(month), Some((week, day))) = (month, day) else { return Err(unusable()) };
    Ok(Some(format!("M{month}.{week}.{}", day.to_sunday_zero_offset())))
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
