//! One row of a table into one thing to save, or several: a session of every week.

use std::collections::BTreeMap;
use std::sync::Arc;

use csv::StringRecord;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::super::{Facts, List, MAX_GROUPS, MAX_NAMES, MAX_ROOMS, MAX_TITLE, Place};
use super::{Kind, Mapping, day, day_of, instant, on, weeks};
use crate::scalar::{Counter, DateTime, LocalDate, parse_instant};
use crate::service::bulk::Unsaid;
use crate::service::estate::{SaveBuilding, SaveReader, SaveRoom};
use crate::service::memberships::SaveMembership;
use crate::service::people::{CardFormat, CredentialInput, SaveCard, SaveStudent};
use crate::service::timetable::{SaveCourse, SaveGroup, SaveSession};
use crate::store::entity::{MembershipReason, ReaderKind, SessionKind, StudentState};

/// A file's rows, and how to read them.
pub(super) struct Sheet<'a> {
    pub(super) mapping: &'a Mapping,
    pub(super) zone: &'a TimeZone,
    pub(super) file: &'a Arc<str>,
    pub(super) at: &'a BTreeMap<&'a str, usize>,
}

/// What is wrong with a field.
type Wrong = (&'static str, String);

impl Sheet<'_> {
    /// Takes a row.
    pub(super) fn take(&self, facts: &mut Facts, row: u64, record: &StringRecord) {
        let cells = Cells { sheet: self, record };
        let taken = match self.mapping.kind {
            Kind::Buildings => self.put(&mut facts.buildings, row, cells.building()),
            Kind::Rooms => self.put(&mut facts.rooms, row, cells.room()),
            Kind::Readers => self.put(&mut facts.readers, row, cells.reader()),
            Kind::Courses => self.put(&mut facts.courses, row, cells.course()),
            Kind::Groups => self.put(&mut facts.groups, row, cells.group()),
            Kind::Students => self.put(&mut facts.students, row, cells.student()),
            Kind::Cards => self.put(&mut facts.cards, row, cells.card()),
            Kind::Memberships => self.put(&mut facts.memberships, row, cells.membership()),
            Kind::Sessions => cells.sessions().map(|sessions| {
                for session in sessions {
                    facts.sessions.push(session, self.file, row);
                }
                self.name_columns(&mut facts.sessions.columns);
            }),
        };
        if let Err((field, message)) = taken {
            let column = self.mapping.columns.get(field).cloned().or_else(|| Some(field.to_owned()));
            facts.problems.add(Place { file: self.file.clone(), row, column }, message);
        }
    }

    fn put<T>(&self, list: &mut List<T>, row: u64, thing: Result<T, Wrong>) -> Result<(), Wrong> {
        list.push(thing?, self.file, row);
        self.name_columns(&mut list.columns);
        Ok(())
    }

    /// Which column each field of the API's input was read from.
    fn name_columns(&self, columns: &mut BTreeMap<String, String>) {
        if columns.is_empty() {
            for (field, column) in &self.mapping.columns {
                let field = match field.as_str() {
                    "external_id" => "externalId",
                    "end" | "end_time" => "endsAt",
                    "start" | "start_time" => "startsAt",
                    "uid" | "raw" | "format" => "credentials",
                    other => other,
                };
                columns.insert(field.to_owned(), column.clone());
            }
        }
    }
}

/// Makes one card of rows that say the same of it but for what it may be seen as.
pub(super) fn join_cards(list: &mut List<SaveCard>) {
    let mut joined = List { columns: std::mem::take(&mut list.columns), ..List::default() };
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    let things = std::mem::take(&mut list.things).into_iter();
    for (card, (file, row)) in things.zip(std::mem::take(&mut list.places)) {
        let first = at.get(&card.code).and_then(|index| joined.things.get_mut(*index));
        match first {
            Some(first) if is_one_record(first, &card) => first.credentials.extend(card.credentials),
            _ => {
                at.entry(card.code.clone()).or_insert(joined.things.len());
                joined.push(card, &file, row);
            }
        }
    }
    *list = joined;
}

fn is_one_record(one: &SaveCard, other: &SaveCard) -> bool {
    let until = |card: &SaveCard| card.until.as_ref().map(DateTime::ms);
    one.student == other.student && one.from.ms() == other.from.ms() && until(one) == until(other)
}

/// The cells of one row, by field.
struct Cells<'a> {
    sheet: &'a Sheet<'a>,
    record: &'a StringRecord,
}

impl Cells<'_> {
    /// A field's text, by its column or constant, and put into our words.
    fn text(&self, field: &'static str) -> Option<&str> {
        let mapping = self.sheet.mapping;
        let cell = self.sheet.at.get(field).and_then(|index| self.record.get(*index)).map(str::trim);
        let text = cell.filter(|text| !text.is_empty());
        let text = text.or_else(|| mapping.constants.get(field).map(String::as_str))?;
        let word = mapping.words.get(field).and_then(|words| words.get(text)).map_or(text, String::as_str);
        Some(word).filter(|word| !word.is_empty())
    }

    /// The fields that neither the file nor the mapping speaks of.
    fn unsaid(&self) -> Unsaid {
        let mapping = self.sheet.mapping;
        let said = |field: &str| mapping.columns.contains_key(field) || mapping.constants.contains_key(field);
        Unsaid(mapping.kind.fields().iter().copied().filter(|field| !said(field)).collect())
    }

    fn needed(&self, field: &'static str) -> Result<String, Wrong> {
        self.text(field).map(str::to_owned).ok_or_else(|| (field, "is missing".to_owned()))
    }

    fn list(&self, field: &'static str) -> Vec<String> {
        let separator = self.sheet.mapping.list_separator.as_str();
        let names = self.text(field).into_iter().flat_map(|text| text.split(separator));
        names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn parsed<T>(
        &self,
        field: &'static str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Wrong> {
        let Some(text) = self.text(field) else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| (field, format!("'{text}' is not {what}")))
    }

    fn truth(&self, field: &'static str) -> Result<Option<bool>, Wrong> {
        self.parsed(field, "yes or no", |text| match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "1" | "y" => Some(true),
            "no" | "false" | "0" | "n" => Some(false),
            _ => None,
        })
    }

    fn date(&self, field: &'static str) -> Result<Option<Date>, Wrong> {
        let format = &self.sheet.mapping.formats.date;
        self.parsed(field, &format!("a date written {format}"), |text| Date::strptime(format, text).ok())
    }

    fn time(&self, field: &'static str) -> Result<Option<Time>, Wrong> {
        let format = &self.sheet.mapping.formats.time;
        self.parsed(field, &format!("a time written {format}"), |text| Time::strptime(format, text).ok())
    }

    /// An instant: RFC 3339 with an offset, or as the mapping says, in the institution's zone; a date alone is its
    /// midnight.
    fn at(&self, field: &'static str) -> Result<Option<i64>, Wrong> {
        let formats = &self.sheet.mapping.formats;
        let what = format!("a time written {} or a date written {}", formats.date_time, formats.date);
        self.parsed(field, &what, |text| {
            let day = || LocalDate(Date::strptime(&formats.date, text).ok()?).starts_at(self.sheet.zone).ok();
            self.instant_of(text).or_else(day)
        })
    }

    /// The same for an end: a date alone counts as a whole, so that it ends at the midnight behind it.
    fn until(&self, field: &'static str) -> Result<Option<i64>, Wrong> {
        let formats = &self.sheet.mapping.formats;
        let what = format!("a time written {} or a date written {}", formats.date_time, formats.date);
        self.parsed(field, &what, |text| {
            let day = || LocalDate(Date::strptime(&formats.date, text).ok()?).ends_at(self.sheet.zone).ok();
            self.instant_of(text).or_else(day)
        })
    }

    /// A date with a time, by its own offset where it has one, else in the institution's zone.
    fn instant_of(&self, text: &str) -> Option<i64> {
        let parsed = jiff::fmt::strtime::parse(&self.sheet.mapping.formats.date_time, text);
        match parsed {
            Ok(parsed) if parsed.offset().is_some() => Some(parsed.to_timestamp().ok()?.as_millisecond()),
            Ok(parsed) => instant(parsed.to_datetime().ok()?, self.sheet.zone).ok(),
            Err(_) => parse_instant(text).ok(),
        }
    }

    fn stamp(&self, ms: i64) -> DateTime {
        DateTime::new(ms, self.sheet.zone)
    }

    fn kind(&self) -> Result<SessionKind, Wrong> {
        let kind = self.parsed("kind", "a kind of session such as LECTURE", |text| {
            SessionKind::from_word(&text.to_ascii_uppercase())
        })?;
        Ok(kind.unwrap_or(SessionKind::Lecture))
    }

    fn building(&self) -> Result<SaveBuilding, Wrong> {
        let code = self.needed("code")?;
        Ok(SaveBuilding { name: self.text("name").unwrap_or(&code).to_owned(), code, unsaid: self.unsaid() })
    }

    fn room(&self) -> Result<SaveRoom, Wrong> {
        Ok(SaveRoom {
            code: self.needed("code")?,
            name: self.text("name").map(str::to_owned),
            building: self.needed("building")?,
            capacity: self.parsed("capacity", "a count of seats", |text| text.parse().ok())?,
            unsaid: self.unsaid(),
        })
    }

    fn reader(&self) -> Result<SaveReader, Wrong> {
        let kind = self.parsed("kind", "OSDP, MQTT or ASCII", |text| {
            ReaderKind::from_word(&text.to_ascii_uppercase())
        })?;
        Ok(SaveReader {
            code: self.needed("code")?,
            gateway: self.needed("gateway")?,
            room: self.text("room").map(str::to_owned),
            kind: kind.ok_or(("kind", "is missing".to_owned()))?,
            enabled: self.truth("enabled")?.unwrap_or(true),
            unsaid: self.unsaid(),
        })
    }

    fn course(&self) -> Result<SaveCourse, Wrong> {
        let code = self.needed("code")?;
        Ok(SaveCourse {
            title: self.text("title").unwrap_or(&code).to_owned(),
            code,
            department: self.text("department").map(str::to_owned),
            unsaid: self.unsaid(),
        })
    }

    fn group(&self) -> Result<SaveGroup, Wrong> {
        Ok(SaveGroup {
            code: self.needed("code")?,
            title: self.text("title").map(str::to_owned),
            course: self.needed("course")?,
            kind: self.kind()?,
            unsaid: self.unsaid(),
        })
    }

    fn student(&self) -> Result<SaveStudent, Wrong> {
        let state = self.parsed("state", "ACTIVE, INTERRUPTED, WITHDRAWN or COMPLETED", |text| {
            StudentState::from_word(&text.to_ascii_uppercase())
        })?;
        Ok(SaveStudent {
            number: self.needed("number")?,
            name: self.needed("name")?,
            email: self.text("email").map(str::to_owned),
            state: state.unwrap_or(StudentState::Active),
            expected_at_door: Some(self.truth("expected_at_door")?.unwrap_or(true)),
            expected_at_door_from: None,
            programme: self.text("programme").map(str::to_owned),
            unsaid: self.unsaid(),
        })
    }

    fn card(&self) -> Result<SaveCard, Wrong> {
        let format = self.parsed("format", "H10301, H10302, H10304 or H10306", |text| {
            match text.to_ascii_uppercase().as_str() {
                "H10301" => Some(CardFormat::H10301),
                "H10302" => Some(CardFormat::H10302),
                "H10304" => Some(CardFormat::H10304),
                "H10306" => Some(CardFormat::H10306),
                _ => None,
            }
        })?;
        let credential = CredentialInput {
            uid: self.text("uid").map(str::to_owned),
            format,
            facility: self.parsed("facility", "a whole number", |text| text.parse().ok())?,
            number: self.parsed("number", "a whole number", |text| text.parse().ok().map(Counter))?,
            bits: self.parsed("bits", "a count of bits", |text| text.parse().ok())?,
            raw: self.text("raw").map(str::to_owned),
        };
        let mut unsaid = self.unsaid();
        // A list of numbers of one form says nothing of how else a card may be seen.
        unsaid.0.push("other forms");
        let from = self.at("from")?.ok_or(("from", "is missing: from when is the card valid?".to_owned()))?;
        Ok(SaveCard {
            code: self.needed("code")?,
            student: self.needed("student")?,
            credentials: vec![credential],
            from: self.stamp(from),
            until: self.until("until")?.map(|ms| self.stamp(ms)),
            unsaid,
        })
    }

    fn membership(&self) -> Result<SaveMembership, Wrong> {
        let from = self.date("from")?.ok_or(("from", "is missing: the first day".to_owned()))?;
        Ok(SaveMembership {
            group: self.needed("group")?,
            student: self.needed("student")?,
            from: LocalDate(from),
            until: self.date("until")?.map(LocalDate),
            from_at: None,
            until_at: None,
            reason: MembershipReason::Import,
        })
    }

    fn sessions(&self) -> Result<Vec<SaveSession>, Wrong> {
        let id = self.needed("external_id")?;
        let title = self.text("title").unwrap_or(&id).to_owned();
        for (field, text, most) in [
            ("external_id", Some(id.as_str()), MAX_TITLE),
            ("title", Some(title.as_str()), MAX_TITLE),
            ("course", self.text("course"), MAX_TITLE),
            ("rooms", self.text("rooms"), MAX_NAMES),
            ("groups", self.text("groups"), MAX_NAMES),
        ] {
            if text.is_some_and(|text| text.chars().count() > most) {
                return Err((field, format!("must have {most} characters at the most")));
            }
        }
        let (kind, cancelled) = (self.kind()?, self.truth("cancelled")?.unwrap_or(false));
        let (rooms, groups) = (self.list("rooms"), self.list("groups"));
        for (field, names, most) in [("rooms", &rooms, MAX_ROOMS), ("groups", &groups, MAX_GROUPS)] {
            if names.len() > most {
                return Err((field, format!("must name {most} at the most")));
            }
        }
        let make = |external_id: String, starts: i64, ends: i64| SaveSession {
            external_id,
            title: title.clone(),
            kind,
            course: self.text("course").map(str::to_owned),
            starts_at: self.stamp(starts),
            ends_at: self.stamp(ends),
            rooms: rooms.clone(),
            groups: groups.clone(),
            cancelled,
            old_rooms_until: None,
            unsaid: self.unsaid(),
            shares: Vec::new(),
        };
        if let Some(starts) = self.at("start")? {
            let ends = self.at("end")?.ok_or(("end", "is missing".to_owned()))?;
            return Ok(vec![make(id, starts, ends)]);
        }
        let missing = |field: &'static str| move || (field, "is missing".to_owned());
        let from = self.time("start_time")?.ok_or_else(missing("start_time"))?;
        let to = self.time("end_time")?.ok_or_else(missing("end_time"))?;
        let zone = self.sheet.zone;
        let span = |day: Date| -> Result<(i64, i64), Wrong> {
            let starts = on(day, from, zone).map_err(|message| ("start_time", message))?;
            let ends = on(day, to, zone).map_err(|message| ("end_time", message))?;
            Ok((starts, ends))
        };
        if let Some(date) = self.date("date")? {
            let (starts, ends) = span(date)?;
            return Ok(vec![make(id, starts, ends)]);
        }
        let Some(first) = &self.sheet.mapping.weeks else {
            return Err((
                "date",
                "is missing; name 'date', 'start' or, with [weeks], 'weeks' and 'day'".to_owned(),
            ));
        };
        let monday = first.monday().map_err(|message| ("weeks", message))?;
        let pattern = weeks(&self.needed("weeks")?, first.number).map_err(|message| ("weeks", message))?;
        let day = day(&self.needed("day")?).map_err(|message| ("day", message))?;
        let mut sessions = Vec::new();
        for week in pattern {
            let date = day_of(monday, first.number, week, day).map_err(|message| ("weeks", message))?;
            let (starts, ends) = span(date)?;
            sessions.push(make(format!("{id}-W{week:02}"), starts, ends));
        }
        Ok(sessions)
    }
}
