//! Content lines of iCalendar: unfolded, taken apart, and the events that they make up (RFC 5545, section 3.1).

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::zone::Zone;

/// The most lines of a calendar, of which each takes some 200 bytes of memory beside its text.
const MAX_LINES: usize = 3_000_000;

/// The properties of an event that say anything here, beside the one that lists its groups.
const COUNT: [&str; 12] = [
    "DTEND",
    "DTSTART",
    "DURATION",
    "EXDATE",
    "LOCATION",
    "RDATE",
    "RECURRENCE-ID",
    "RRULE",
    "SEQUENCE",
    "STATUS",
    "SUMMARY",
    "UID",
];
/// The most lines of them that one event has: all are looked through for each of its recurrences.
const MAX_EVENT_LINES: usize = 2_000;

/// A content line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it begins, from 1.
    pub(super) row: u64,
    /// The property's name, in capitals.
    pub(super) name: String,
    /// Its parameters, names in capitals.
    pub(super) params: BTreeMap<String, String>,
    /// Its value, as it stands.
    pub(super) value: String,
}

/// An event: its own properties, without those of what is nested in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Event {
    pub(super) row: u64,
    pub(super) lines: Vec<Line>,
}

impl Event {
    pub(super) fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.name == name)
    }

    /// A property's text, with its escapes taken away (RFC 5545, section 3.3.11).
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.line(name).map(|line| unescape(&line.value)).filter(|text| !text.is_empty())
    }
}

/// When, and to what, a zone's clock changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Observance {
    pub(super) daylight: bool,
    pub(super) lines: Vec<Line>,
}

/// What a calendar says of a time zone.
#[derive(Debug, Clone, Default)]
pub(super) struct Definition {
    id: String,
    /// The IANA zone that it is tied to.
    pub(super) location: Option<String>,
    pub(super) observances: Vec<Observance>,
    /// What its rules come to, once somebody asked.
    pub(super) ruled: OnceCell<Result<Zone, String>>,
}

/// A calendar's events, and its time zones by their ids.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    pub(super) events: Vec<Event>,
    pub(super) zones: BTreeMap<String, Definition>,
}

/// Reads a calendar; `groups_from` is the property of an event that lists its groups.
///
/// # Errors
/// The line at which it stops being one, and why.
pub(super) fn read(text: &str, groups_from: &str) -> Result<Calendar, (u64, String)> {
    let mut calendar = Calendar::default();
    let mut open: Vec<String> = Vec::new();
    let (mut event, mut zone) = (Event::default(), Definition::default());
    let mut calendars = 0;
    let mut last = 1;
    if text.lines().count() > MAX_LINES {
        return Err((0, format!("the file has more than {MAX_LINES} lines; split it")));
    }
    for (row, raw) in unfold(text) {
        last = row;
        let line = split(row, &raw).map_err(|message| (row, message))?;
        match line.name.as_str() {
            "BEGIN" => {
                let what = line.value.to_ascii_uppercase();
                if open.is_empty() != (what == "VCALENDAR") {
                    return Err((
                        row,
                        format!("BEGIN:{what} does not belong here; is this an iCalendar file?"),
                    ));
                }
                calendars += usize::from(what == "VCALENDAR");
                match what.as_str() {
                    "VEVENT" => event = Event { row, lines: Vec::new() },
                    "VTIMEZONE" => zone = Definition::default(),
                    "STANDARD" | "DAYLIGHT" => {
                        let daylight = what == "DAYLIGHT";
                        zone.observances.push(Observance { daylight, lines: Vec::new() });
                    }
                    _ => {}
                }
                open.push(what);
            }
            "END" => {
                let what = line.value.to_ascii_uppercase();
                if open.pop().as_deref() != Some(what.as_str()) {
                    return Err((row, format!("END:{what} closes nothing that is open")));
                }
                match what.as_str() {
                    "VEVENT" => calendar.events.push(std::mem::take(&mut event)),
                    "VTIMEZONE" => {
                        let zone = std::mem::take(&mut zone);
                        calendar.zones.insert(zone.id.clone(), zone);
                    }
                    _ => {}
                }
            }
            _ => match open.last().map(String::as_str) {
                None => return Err((row, "the file must begin with BEGIN:VCALENDAR".to_owned())),
                Some("VEVENT") if line.name == groups_from || COUNT.contains(&line.name.as_str()) => {
                    if event.lines.len() >= MAX_EVENT_LINES {
                        let message =
                            format!("the event has more than {MAX_EVENT_LINES} lines of times and places");
                        return Err((row, message + "; split it"));
                    }
                    event.lines.push(line);
                }
                Some("VTIMEZONE") if line.name == "TZID" => zone.id = unescape(&line.value),
                Some("VTIMEZONE") if line.name == "X-LIC-LOCATION" => {
                    zone.location = Some(unescape(&line.value))
                }
                Some("STANDARD" | "DAYLIGHT") => {
                    zone.observances.last_mut().into_iter().for_each(|it| it.lines.push(line.clone()));
                }
                Some(_) => {}
            },
        }
    }
    match open.pop() {
        Some(what) => Err((last, format!("the file ends before END:{what}; fetch it again"))),
        None if calendars == 0 => Err((0, "holds no calendar".to_owned())),
        None => Ok(calendar),
    }
}

/// Joins lines that were folded; each with the row at which it begins.
fn unfold(text: &str) -> Vec<(u64, String)> {
    let mut lines: Vec<(u64, String)> = Vec::new();
    for (row, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some((_, open))) => open.push_str(rest),
            _ if line.is_empty() => {}
            _ => lines.push((row, line.to_owned())),
        }
    }
    lines
}

/// Takes a line apart: `NAME;PARAM=value;PARAM="quoted":value`.
fn split(row: u64, raw: &str) -> Result<Line, String> {
    let mut quoted = false;
    let mut parts = Vec::new();
    let mut from = 0;
    let mut value = None;
    for (at, c) in raw.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&raw[from..at]);
                from = at + 1;
            }
            ':' if !quoted => {
                parts.push(&raw[from..at]);
                value = Some(raw[at + 1..].to_owned());
                break;
            }
            _ => {}
        }
    }
    let Some(value) = value else {
        return Err("is no line of a calendar: NAME:value was expected".to_owned());
    };
    let mut parts = parts.into_iter();
    let name = parts.next().unwrap_or_default().to_ascii_uppercase();
    let params = parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.to_ascii_uppercase(), value.trim_matches('"').to_owned()))
        .collect();
    Ok(Line { row, name, params, value })
}

fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => text.push(' '),
                Some(other) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    text.trim().to_owned()
}

/// The items of a list of texts, separated by commas that are not escaped.
pub(super) fn items(value: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut escaped = false;
    for c in value.chars() {
        match c {
            ',' if !escaped => items.push(String::new()),
            other => {
                if let Some(item) = items.last_mut() {
                    item.push(other);
                }
            }
        }
        escaped = c == '\\' && !escaped;
    }
    items.iter().map(|item| unescape(item)).filter(|item| !item.is_empty()).collect()
}
