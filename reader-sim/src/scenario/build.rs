//! A plan from what a scenario file says.
//!
//! Used by `scenario`. Errors are the key and what is wrong with it.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use jiff::Span;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::written::{self, Format, Held, Scenario};
use crate::crowd::credentials::{uid, wiegand};
use crate::plan::{
    Building, Card, Change, ChangeKind, Course, Credential, FaultChange, Group, Membership, Millis, Plan,
    Presentation, Reader, ReaderFault, ReaderKind, Room, Session, Student,
};

type Wrong = (String, String);

/// Makes the plan.
pub(super) fn build(written: &Scenario) -> Result<Plan, Wrong> {
    let mut builder = Builder::new(written)?;
    builder.campus(written)?;
    builder.sessions(written)?;
    builder.changes(written)?;
    builder.faults(written)?;
    builder.swipes(written)?;
    Ok(builder.plan)
}

struct Builder {
    plan: Plan,
    zone: TimeZone,
    day: Date,
    rooms: HashMap<String, usize>,
    readers: HashMap<String, usize>,
    students: HashMap<String, usize>,
    sessions: HashMap<String, usize>,
    /// Which readers are unplugged when.
    unplugged: Vec<(usize, RangeInclusive<Millis>)>,
}

/// How long a reader may be unplugged: less than what a register allows of a door that nobody watches.
const UNPLUGGED_MS: Millis = 9 * 60_000;
/// How far a wrong clock goes ahead.
const AHEAD_MS: u64 = 3_600_000;

/// Notes `name` down as number `index`; wrong if it was there.
fn once(names: &mut HashMap<String, usize>, key: String, name: &str, index: usize) -> Result<(), Wrong> {
    match names.insert(name.to_owned(), index) {
        None => Ok(()),
        Some(_) => Err((key, format!("{name:?} is there twice"))),
    }
}

fn find(names: &HashMap<String, usize>, key: &str, what: &str, name: &str) -> Result<usize, Wrong> {
    names.get(name).copied().ok_or_else(|| (key.to_owned(), format!("there is no {what} {name:?}")))
}

impl Builder {
    fn new(written: &Scenario) -> Result<Self, Wrong> {
        let zone = TimeZone::get(&written.zone).map_err(|error| ("zone".to_owned(), error.to_string()))?;
        let wrong_day = |error: jiff::Error| ("day".to_owned(), format!("{:?}: {error}", written.day));
        let day: Date = written.day.parse().map_err(wrong_day)?;
        let midnight = |days: i64| -> Result<Millis, Wrong> {
            let date = day.checked_add(Span::new().days(days)).map_err(wrong_day)?;
            Ok(date.to_zoned(zone.clone()).map_err(wrong_day)?.timestamp().as_millisecond())
        };
        let plan = Plan {
            faults: Vec::new(),
            zone: written.zone.clone(),
            opens_before_ms: 30 * 60_000,
            from_ms: midnight(0)?,
            until_ms: midnight(1)?,
            courses: vec![Course { code: "SCENARIO".to_owned(), title: "Scenario".to_owned() }],
            ..Plan::default()
        };
        Ok(Self {
            plan,
            zone,
            day,
            rooms: HashMap::new(),
            readers: HashMap::new(),
            students: HashMap::new(),
            sessions: HashMap::new(),
            unplugged: Vec::new(),
        })
    }

    fn at(&self, key: &str, text: &str) -> Result<Millis, Wrong> {
        let wrong = |what: String| (key.to_owned(), format!("{text:?}: {what}"));
        let time: Time = text.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
        if time.subsec_nanosecond() % 1_000_000 != 0 {
            return Err(wrong("finer than a millisecond".to_owned()));
        }
        let instant = self.zone.to_timestamp(self.day.to_datetime(time));
        instant.map(jiff::Timestamp::as_millisecond).map_err(|error| wrong(error.to_string()))
    }

    fn times(&self, key: &str, start: &str, end: &str) -> Result<(Millis, Millis), Wrong> {
        let (start_ms, end_ms) =
            (self.at(&format!("{key}.start"), start)?, self.at(&format!("{key}.end"), end)?);
        if start_ms < end_ms {
            Ok((start_ms, end_ms))
        } else {
            Err((format!("{key}.end"), format!("{end:?} is not after the start, {start:?}")))
        }
    }

    fn room_list(&self, key: &str, codes: &[String]) -> Result<Vec<usize>, Wrong> {
        codes.iter().map(|code| find(&self.rooms, &format!("{key}.rooms"), "room", code)).collect()
    }

    fn campus(&mut self, written: &Scenario) -> Result<(), Wrong> {
        for (index, room) in written.rooms.iter().enumerate() {
            once(&mut self.rooms, format!("rooms[{index}].code"), &room.code, index)?;
            let known = self.plan.buildings.iter().position(|building| building.code == room.building);
            let building = known.unwrap_or(self.plan.buildings.len());
            if known.is_none() {
                let name = format!("Building {}", room.building);
                self.plan.buildings.push(Building { code: room.building.clone(), name });
            }
            self.plan.rooms.push(Room { code: room.code.clone(), building, capacity: 100 });
        }
        for (index, reader) in written.readers.iter().enumerate() {
            once(&mut self.readers, format!("readers[{index}].code"), &reader.code, index)?;
            let room = find(&self.rooms, &format!("readers[{index}].room"), "room", &reader.room)?;
            self.plan.readers.push(Reader { code: reader.code.clone(), room, kind: reader.kind.into() });
        }
        let since = self.plan.from_ms - 365 * 86_400_000;
        let mut taken = HashSet::new();
        for (student, it) in written.students.iter().enumerate() {
            once(&mut self.students, format!("students[{student}].number"), &it.number, student)?;
            self.plan
                .students
                .push(Student { number: it.number.clone(), name: format!("Student {}", it.number) });
            for (nth, card) in it.cards.iter().enumerate() {
                let key = format!("students[{student}].cards[{nth}]");
                let credential = credential(&key, card)?;
                if !taken.insert(credential.clone()) {
                    return Err((key, "this card is there twice".to_owned()));
                }
                let until_ms = card.old.then(|| self.plan.from_ms - 86_400_000);
                self.plan.cards.push(Card { student, credential, from_ms: since, until_ms });
            }
        }
        Ok(())
    }

    fn sessions(&mut self, written: &Scenario) -> Result<(), Wrong> {
        for (index, session) in written.sessions.iter().enumerate() {
            let key = format!("sessions[{index}]");
            once(&mut self.sessions, format!("{key}.id"), &session.id, index)?;
            let (start_ms, end_ms) = self.times(&key, &session.start, &session.end)?;
            let rooms = self.room_list(&key, &session.rooms)?;
            let mut groups = Vec::new();
            if let Some(numbers) = &session.students {
                let group = self.plan.groups.len();
                groups.push(group);
                self.plan.groups.push(Group { code: format!("G-{}", session.id), course: 0 });
                let mut listed = HashSet::new();
                for number in numbers {
                    let student = find(&self.students, &format!("{key}.students"), "student", number)?;
                    if listed.insert(student) {
                        let from = self.day.to_string();
                        self.plan.memberships.push(Membership { group, student, from, until: None });
                    }
                }
            }
            self.plan.sessions.push(Session {
                external_id: session.id.clone(),
                title: session.id.clone(),
                course: 0,
                start_ms,
                end_ms,
                rooms,
                groups,
                cancelled: session.cancelled,
            });
        }
        Ok(())
    }

    fn changes(&mut self, written: &Scenario) -> Result<(), Wrong> {
        for (index, change) in written.changes.iter().enumerate() {
            let key = format!("changes[{index}]");
            let at_ms = self.at(&format!("{key}.at"), &change.at)?;
            let mut done = Vec::new();
            if let Some(id) = &change.cancel {
                let session = find(&self.sessions, &format!("{key}.cancel"), "session", id)?;
                done.push(ChangeKind::Cancel { session });
            }
            if let Some(id) = &change.reinstate {
                let session = find(&self.sessions, &format!("{key}.reinstate"), "session", id)?;
                done.push(ChangeKind::Reinstate { session });
            }
            if let Some(moved) = &change.moved {
                let key = format!("{key}.move");
                let session = find(&self.sessions, &format!("{key}.session"), "session", &moved.session)?;
                done.push(ChangeKind::Move { session, rooms: self.room_list(&key, &moved.rooms)? });
            }
            if let Some(other) = &change.reschedule {
                let key = format!("{key}.reschedule");
                let session = find(&self.sessions, &format!("{key}.session"), "session", &other.session)?;
                let (start_ms, end_ms) = self.times(&key, &other.start, &other.end)?;
                done.push(ChangeKind::Reschedule { session, start_ms, end_ms });
            }
            if let Some(join) = &change.join {
                done.push(self.join(&format!("{key}.join"), join)?);
            }
            if let Some(reissue) = &change.reissue {
                let key = format!("{key}.reissue");
                let student = find(&self.students, &format!("{key}.student"), "student", &reissue.student)?;
                let credential = credential(&format!("{key}.card"), &reissue.card)?;
                done.push(ChangeKind::Reissue { student, credential });
            }
            match (done.pop(), done.is_empty()) {
                (Some(what), true) => self.plan.changes.push(Change { at_ms, what }),
                _ => {
                    let what =
                        "exactly one of cancel, reinstate, move, reschedule, join and reissue is needed";
                    return Err((key, what.to_owned()));
                }
            }
        }
        self.plan.changes.sort_by_key(|change| change.at_ms);
        Ok(())
    }

    fn join(&self, key: &str, join: &written::Join) -> Result<ChangeKind, Wrong> {
        let session = find(&self.sessions, &format!("{key}.session"), "session", &join.session)?;
        let student = find(&self.students, &format!("{key}.student"), "student", &join.student)?;
        match self.plan.sessions[session].groups.first() {
            Some(group) => {
                let from = self.day.to_string();
                Ok(ChangeKind::Join(Membership { group: *group, student, from, until: None }))
            }
            None => {
                let what = format!("{:?} has no class list to join; give it students = []", join.session);
                Err((format!("{key}.session"), what))
            }
        }
    }

    fn faults(&mut self, written: &Scenario) -> Result<(), Wrong> {
        for (index, fault) in written.faults.iter().enumerate() {
            let key = format!("faults[{index}]");
            let at_ms = self.at(&format!("{key}.at"), &fault.at)?;
            let reader = find(&self.readers, &format!("{key}.reader"), "reader", &fault.reader)?;
            let (kind, of) = if fault.what == "clock" {
                (ReaderKind::Mqtt, "only MQTT readers have a clock")
            } else {
                (ReaderKind::Osdp, "only OSDP readers have a line of which that can be wrong")
            };
            if self.plan.readers[reader].kind != kind {
                return Err((format!("{key}.reader"), format!("{}: {of}", fault.reader)));
            }
            let until_ms = match &fault.until {
                Some(until) => Some(self.at(&format!("{key}.until"), until)?),
                None => None,
            };
            let mut add = |at_ms, what| self.plan.faults.push(ReaderFault { at_ms, reader, what });
            match (fault.what.parse(), until_ms) {
                (Ok(what), Some(until_ms)) if until_ms > at_ms => {
                    add(at_ms, FaultChange::Begins(what));
                    add(until_ms, FaultChange::Ends(what));
                }
                (Ok(_), _) => return Err((format!("{key}.until"), "a later time is needed".to_owned())),
                (Err(()), None) if fault.what == "reboot" => add(at_ms, FaultChange::Reboot),
                (Err(()), None) if fault.what == "clock" => add(at_ms, FaultChange::ClockAhead(AHEAD_MS)),
                (Err(()), Some(until_ms)) if fault.what == "unplug" => {
                    if !(at_ms + 1..=at_ms + UNPLUGGED_MS).contains(&until_ms) {
                        let what = "at most nine minutes later is needed: for longer a register is not taken";
                        return Err((format!("{key}.until"), what.to_owned()));
                    }
                    add(at_ms, FaultChange::Unplugged(true));
                    add(until_ms, FaultChange::Unplugged(false));
                    self.unplugged.push((reader, at_ms..=until_ms));
                }
                (Err(()), _) => {
                    let what = "noise, loss, busy, slow, duplicate or unplug with 'until', or reboot or clock without, is needed";
                    return Err((format!("{key}.what"), what.to_owned()));
                }
            }
        }
        self.plan.faults.sort_by_key(|fault| fault.at_ms);
        Ok(())
    }

    fn swipes(&mut self, written: &Scenario) -> Result<(), Wrong> {
        for (index, swipe) in written.swipes.iter().enumerate() {
            let key = format!("swipes[{index}]");
            let at_ms = self.at(&format!("{key}.at"), &swipe.at)?;
            let reader = find(&self.readers, &format!("{key}.reader"), "reader", &swipe.reader)?;
            if self.plan.presentations.iter().any(|other| (other.at_ms, other.reader) == (at_ms, reader)) {
                return Err((key, format!("{} has another card at {}", swipe.reader, swipe.at)));
            }
            if self.unplugged.iter().any(|(other, span)| *other == reader && span.contains(&at_ms)) {
                return Err((key, format!("{} is unplugged at {}", swipe.reader, swipe.at)));
            }
            let card_key = format!("{key}.card");
            let (credential, student) = match &swipe.card {
                Held::Card(card) if swipe.old || card.old => {
                    return Err((card_key, "old goes with a student number only".to_owned()));
                }
                Held::Card(card) => (credential(&card_key, card)?, None),
                Held::Student(number) => {
                    let student = find(&self.students, &card_key, "student", number)?;
                    let which = if swipe.old { "ended card" } else { "card" };
                    let card = self
                        .card_of(student, at_ms, swipe.old)
                        .ok_or_else(|| (card_key, format!("{number} has no {which} at {}", swipe.at)))?;
                    (card, Some(student))
                }
            };
            self.plan.presentations.push(Presentation {
                at_ms,
                reader,
                credential,
                student,
                why: "scenario",
            });
        }
        self.plan.presentations.sort_by_key(|swipe| (swipe.at_ms, swipe.reader));
        Ok(())
    }

    /// The card that a student has at an instant, or with `old` the last one that has ended by then.
    fn card_of(&self, student: usize, at: Millis, old: bool) -> Option<Credential> {
        let its = self.plan.cards.iter().filter(|card| card.student == student);
        let (mut ended, mut valid) = (Vec::new(), Vec::new());
        for card in its {
            if card.until_ms.is_some() { &mut ended } else { &mut valid }.push(&card.credential);
        }
        for change in self.plan.changes.iter().filter(|change| change.at_ms <= at) {
            match &change.what {
                ChangeKind::Reissue { student: other, credential } if *other == student => {
                    ended.append(&mut valid);
                    valid.push(credential);
                }
                _ => {}
            }
        }
        if old { ended.last() } else { valid.first() }.map(|credential| (*credential).clone())
    }
}

fn credential(key: &str, card: &written::Card) -> Result<Credential, Wrong> {
    let wrong = |what: String| Err((key.to_owned(), what));
    let too_big = |what: &str, value: u64, bits: u32| {
        Err((key.to_owned(), format!("{what} {value} does not fit its {bits} bits")))
    };
    let written::Card { format, facility, number, uid: id, bits, raw, .. } = card;
    match (format, facility.map(u64::from), number, id, bits, raw) {
        (Some(format), facility, Some(number), None, None, None) => {
            let (facility_bits, number_bits) = match format {
                Format::H10301 => (8, 16),
                Format::H10302 => (0, 35),
                Format::H10304 => (16, 19),
                Format::H10306 => (16, 16),
            };
            if facility.is_some() != (facility_bits > 0) {
                return wrong("H10302 has no facility, every other format has one".to_owned());
            }
            let facility = facility.unwrap_or(0);
            if facility >> facility_bits > 0 {
                return too_big("facility", facility, facility_bits);
            }
            if number >> number_bits > 0 {
                return too_big("number", *number, number_bits);
            }
            Ok(wiegand(facility << number_bits | number, facility_bits + number_bits))
        }
        (None, None, None, Some(text), None, None) => match bytes(text) {
            Some(bytes) if bytes.len() == 4 || bytes.len() == 7 => Ok(uid(&bytes)),
            _ => wrong(format!("uid {text:?} is not 4 or 7 bytes in hexadecimal")),
        },
        (None, None, None, None, Some(bits), Some(text)) => match bytes(text) {
            Some(raw) if *bits > 0 && raw.len() == usize::from(bits.div_ceil(8)) => {
                Ok(Credential { bits: *bits, raw })
            }
            _ => wrong(format!(
                "raw {text:?} is not {bits} bits in hexadecimal, from the left, the last byte filled with zeros"
            )),
        },
        _ => wrong("a card is either { format, facility, number } or { uid } or { bits, raw }".to_owned()),
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
