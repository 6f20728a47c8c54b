//! Tables of other systems (CSV), read by a mapping that says which column is what.
//!
//! A mapping is a TOML file; see `deploy/import/` for some. A session's time is said in one of three ways: `start` and
//! `end` with date and time; `date` with `start_time` and `end_time`; or `weeks` and `day` with both times, which makes
//! a session of every week.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime as Wall, Time, Weekday};
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{Facts, Place};

mod rows;

/// A mapping.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// What each row is.
    pub kind: Kind,
    /// Whether the file names all there are of this source: what it named before and does not name any more goes.
    #[serde(default)]
    pub whole: bool,
    /// The encoding; found out when left out.
    pub encoding: Option<String>,
    /// The character between columns; found out when left out.
    pub separator: Option<char>,
    /// What stands between the names of a list, for instance of rooms.
    #[serde(default = "comma")]
    pub list_separator: String,
    /// Which column each field is read from.
    pub columns: BTreeMap<String, String>,
    /// What fields are that no column has.
    #[serde(default)]
    pub constants: BTreeMap<String, String>,
    /// What words of the file mean, by field.
    #[serde(default)]
    pub words: BTreeMap<String, BTreeMap<String, String>>,
    /// How dates and times are written.
    #[serde(default)]
    pub formats: Formats,
    /// Which week is which.
    pub weeks: Option<Weeks>,
}

fn comma() -> String {
    ",".to_owned()
}

/// What the rows of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Buildings,
    Rooms,
    Readers,
    Courses,
    Groups,
    Students,
    Cards,
    Memberships,
    Sessions,
}

/// How dates and times are written, in the letters of strftime.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Formats {
    /// A date.
    pub date: String,
    /// A time of day.
    pub time: String,
    /// Both in one.
    pub date_time: String,
}

impl Default for Formats {
    fn default() -> Self {
        let [date, time, date_time] = ["%Y-%m-%d", "%H:%M", "%Y-%m-%d %H:%M"].map(str::to_owned);
        Self { date, time, date_time }
    }
}

/// Teaching weeks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weeks {
    /// The Monday of the first week.
    pub first_monday: String,
    /// The number of that week.
    #[serde(default = "one")]
    pub number: u32,
}

fn one() -> u32 {
    1
}

impl Mapping {
    /// Reads a mapping.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub fn read(text: &str) -> Result<Self, String> {
        let mapping: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let known = mapping.kind.fields();
        for field in mapping.columns.keys().chain(mapping.constants.keys()).chain(mapping.words.keys()) {
            if !known.contains(&field.as_str()) {
                return Err(format!("there is no field '{field}'; there are: {}", known.join(", ")));
            }
        }
        if let Some(weeks) = &mapping.weeks {
            weeks.monday()?;
        }
        Ok(mapping)
    }
}

impl Weeks {
    fn monday(&self) -> Result<Date, String> {
        let day: Date = self
            .first_monday
            .parse()
            .map_err(|_| format!("weeks.first_monday: '{}' is not a date YYYY-MM-DD", self.first_monday))?;
        if day.weekday() == Weekday::Monday {
            Ok(day)
        } else {
            Err(format!("weeks.first_monday: {day} is no Monday"))
        }
    }
}

impl Kind {
    /// The fields that a row of this kind has.
    #[must_use]
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Buildings => &["code", "name"],
            Self::Rooms => &["code", "name", "building", "capacity"],
            Self::Readers => &["code", "gateway", "room", "kind", "enabled"],
            Self::Courses => &["code", "title", "department"],
            Self::Groups => &["code", "title", "course", "kind"],
            Self::Students => &["number", "name", "email", "state", "expected_at_door", "programme"],
            Self::Cards => {
                &["code", "student", "uid", "format", "facility", "number", "bits", "raw", "from", "until"]
            }
            Self::Memberships => &["group", "student", "from", "until"],
            Self::Sessions => &[
                "external_id",
                "title",
                "kind",
                "course",
                "rooms",
                "groups",
                "cancelled",
                "start",
                "end",
                "date",
                "start_time",
                "end_time",
                "weeks",
                "day",
            ],
        }
    }

    /// The name of the list that they go to.
    #[must_use]
    pub fn list(self) -> &'static str {
        match self {
            Self::Buildings => "buildings",
            Self::Rooms => "rooms",
            Self::Readers => "readers",
            Self::Courses => "courses",
            Self::Groups => "groups",
            Self::Students => "students",
            Self::Cards => "cards",
            Self::Memberships => "memberships",
            Self::Sessions => "sessions",
        }
    }
}

/// Reads a file into `facts` by a mapping.
pub fn read(facts: &mut Facts, file: &str, bytes: &[u8], zone: &TimeZone, mapping: &Mapping) {
    let file: Arc<str> = file.into();
    let whole_file = || Place { file: file.clone(), row: 0, column: None };
    let text = match super::text::decode(bytes, mapping.encoding.as_deref()) {
        Ok((text, _)) => text,
        Err(message) => return facts.problems.add(whole_file(), message),
    };
    let separator = mapping.separator.map_or_else(|| guess(&text), |it| u8::try_from(it).unwrap_or(b','));
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(text.as_bytes());
    let headings: Vec<String> = match reader.headers() {
        Ok(headings) => headings.iter().map(|heading| heading.trim().to_owned()).collect(),
        Err(error) => return facts.problems.add(whole_file(), error.to_string()),
    };
    let mut at = BTreeMap::new();
    for (field, column) in &mapping.columns {
        match headings.iter().position(|heading| heading == column) {
            Some(index) => at.insert(field.as_str(), index),
            None => {
                let place = Place { file: file.clone(), row: 1, column: Some(column.clone()) };
                let message = format!("there is no such column; there are: {}", headings.join(", "));
                return facts.problems.add(place, message);
            }
        };
    }
    let sheet = rows::Sheet { mapping, zone, file: &file, at: &at };
    for record in reader.records() {
        facts.rows += 1;
        if facts.rows > super::MAX_ROWS {
            let message = format!("the import has more than {} rows; split it", super::MAX_ROWS);
            return facts.problems.add(whole_file(), message);
        }
        if facts.sessions.things.len() > super::MAX_SESSIONS {
            let message = format!("the import makes more than {} sessions; split it", super::MAX_SESSIONS);
            return facts.problems.add(whole_file(), message);
        }
        match record {
            Ok(record) => {
                let row = super::text::row(&text, record.position());
                let swallows = record
                    .iter()
                    .position(|cell| super::text::swallowed(cell, headings.len(), char::from(separator)));
                if let Some(index) = swallows {
                    let place = Place { file: file.clone(), row, column: headings.get(index).cloned() };
                    facts.problems.add(place, super::text::SWALLOWED.to_owned());
                } else if record.iter().any(|cell| !cell.trim().is_empty()) {
                    sheet.take(facts, row, &record);
                }
            }
            Err(error) => {
                let row = super::text::row(&text, error.position());
                let place = Place { file: file.clone(), row, column: None };
                facts.problems.add(place, wrong_width(&error, headings.len()));
            }
        }
    }
    if mapping.kind == Kind::Cards {
        rows::join_cards(&mut facts.cards);
    }
    if mapping.whole {
        facts.whole.push(mapping.kind.list());
    }
}

fn wrong_width(error: &csv::Error, wanted: usize) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { len, .. } => {
            format!(
                "has {len} columns where the headings are {wanted}; is a quotation mark or separator missing?"
            )
        }
        _ => error.to_string(),
    }
}

/// The separator that stands in the headings most often.
fn guess(text: &str) -> u8 {
    let headings = text.lines().next().unwrap_or_default();
    let count = |separator: &u8| headings.bytes().filter(|byte| byte == separator).count();
    [b';', b'\t', b'|', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// Where a pattern has a sign for each week: fewer digits may be a number.
const SIGNS_AT_LEAST: usize = 5;

/// How many weeks before the first there may be sessions, as of an induction.
const WEEKS_BEFORE: u32 = 4;

/// The weeks of a pattern such as `1-3, 5, 9-11`, or with a sign for each week from the first on, `YYYNYNNNYYY` or `11101000111`.
fn weeks(pattern: &str, first: u32) -> Result<Vec<u32>, String> {
    let bad = || {
        format!(
            "'{pattern}' is no list of weeks such as 1-3, 5, 9-11, nor a pattern such as YYYNYNNNYYY or 11101000111"
        )
    };
    let signs = pattern.trim().as_bytes();
    let either = |yes: u8, no: u8| signs.iter().all(|sign| [yes, no].contains(&sign.to_ascii_uppercase()));
    if signs.len() >= SIGNS_AT_LEAST && (either(b'Y', b'N') || either(b'1', b'0')) {
        let held = (first..).zip(signs).filter(|(_, sign)| matches!(sign.to_ascii_uppercase(), b'Y' | b'1'));
        let weeks: Vec<u32> = held.map(|(week, _)| week).collect();
        return if weeks.is_empty() || signs.len() > 200 { Err(bad()) } else { Ok(weeks) };
    }
    let mut weeks = BTreeSet::new();
    for part in pattern.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let from: u32 = from.trim().parse().map_err(|_| bad())?;
        let to: u32 = to.trim().parse().map_err(|_| bad())?;
        if from > to || to > 200 {
            return Err(bad());
        }
        if from + WEEKS_BEFORE < first {
            return Err(format!(
                "week {from} comes long before week {first}, the first by [weeks]: its sessions would be in the past; where \
                 numbers begin again at New Year, count on (week 1 of the next year is 53, or 54 after a year of 53 weeks)"
            ));
        }
        weeks.extend(from..=to);
    }
    if weeks.is_empty() { Err(bad()) } else { Ok(weeks.into_iter().collect()) }
}

/// How many days after Monday a day is: by its English name or the first letters of it, or its number from 1.
fn day(text: &str) -> Result<i64, String> {
    let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let lower = text.trim().to_ascii_lowercase();
    let number =
        lower.parse::<usize>().ok().filter(|number| (1..=7).contains(number)).map(|number| number - 1);
    let named = names.iter().position(|name| lower.len() >= 2 && name.starts_with(&lower));
    let found = number.or(named).and_then(|index| i64::try_from(index).ok());
    found.ok_or_else(|| {
        format!("'{text}' is no day of the week; say Monday, Mon or 1, or map it in [words.day]")
    })
}

/// The instant of a wall time in the institution's zone.
fn instant(wall: Wall, zone: &TimeZone) -> Result<i64, String> {
    let zoned = zone.to_ambiguous_zoned(wall).compatible().map_err(|error| error.to_string())?;
    Ok(zoned.timestamp().as_millisecond())
}

fn on(day: Date, time: Time, zone: &TimeZone) -> Result<i64, String> {
    instant(day.to_datetime(time), zone)
}

fn day_of(monday: Date, first: u32, week: u32, day: i64) -> Result<Date, String> {
    let days = (i64::from(week) - i64::from(first)) * 7 + day;
    monday.checked_add(days.days()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::weeks;

    #[test]
    fn weeks_are_read_as_lists_and_as_a_sign_for_each() {
        let read = |pattern: &str| weeks(pattern, 1).map_err(|_| ());
        assert_eq!(read("1-3, 5;9"), Ok(vec![1, 2, 3, 5, 9]));
        assert_eq!(read("11"), Ok(vec![11]));
        assert_eq!(read("YyNNy"), Ok(vec![1, 2, 5]));
        assert_eq!(read(" 0011010 "), Ok(vec![3, 4, 6]));
        assert_eq!(weeks("NNNNY", 38), Ok(vec![42]));
        assert_eq!(weeks("38-39,53", 38), Ok(vec![38, 39, 53]));
        assert_eq!(weeks("0-1", 1), Ok(vec![0, 1]));
        assert!(
            weeks("40-50, 2-10", 40)
                .is_err_and(|error| error.starts_with("week 2 comes long before week 40"))
        );
        for bad in ["", "NNNNN", "YN1", "5-3", "Y", "1-3-5", "00111x"] {
            assert_eq!(read(bad), Err(()), "{bad}");
        }
    }
}
