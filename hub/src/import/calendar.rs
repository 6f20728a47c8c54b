//! iCalendar (RFC 5545): one feed for a room, a group or a whole campus, made into sessions.
//!
//! An event is a session; of one that recurs each recurrence is, under the event's UID and its own time in UTC, so that
//! the same feed read again finds the same sessions. Changed recurrences (RECURRENCE-ID) take their place.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::DateTime as Wall;
use jiff::tz::TimeZone;

use super::{Facts, MAX_SESSIONS, Place};
use crate::scalar::DateTime;
use crate::service::bulk::Unsaid;
use crate::service::timetable::SaveSession;
use crate::store::entity::SessionKind;
use crate::store::timetable::LONGEST_OPENING_MS;

mod limits;
mod lines;
mod recurrence;
mod when;
mod zone;

use lines::{Calendar, Event, items};
pub use recurrence::series_of;
use recurrence::{Onward, is_another, is_cancelled, is_onward, recurrence, sequence};
use when::{NoTime, When, times};

/// How many recurrences are worked out at the most, those that make no sessions among them.
const MAX_TRIED: usize = 1_000_000;

/// What a feed does not say by itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// The rooms of all its events; those in LOCATION when there are none.
    pub rooms: Vec<String>,
    /// The groups of all its events; those in `groups_from` when there are none.
    pub groups: Vec<String>,
    /// The property that lists an event's groups, for instance CATEGORIES.
    pub groups_from: Option<String>,
    /// The course of all its events.
    pub course: Option<String>,
    /// What they are.
    pub kind: SessionKind,
    /// Nothing is expanded beyond this instant.
    pub horizon: i64,
}

/// Reads a feed into `facts`.
pub fn read(facts: &mut Facts, file: &str, bytes: &[u8], zone: &TimeZone, options: &Options) {
    let file: Arc<str> = file.into();
    let place =
        |row, column: Option<&str>| Place { file: file.clone(), row, column: column.map(str::to_owned) };
    let text = match super::text::decode_all(&unfolded(bytes)) {
        Ok((text, note)) => {
            if let Some(note) = note {
                facts.notes.add(place(0, None), note);
            }
            text
        }
        Err(message) => return facts.problems.add(place(0, None), message),
    };
    let groups_from =
        options.groups_from.clone().unwrap_or_else(|| "CATEGORIES".to_owned()).to_ascii_uppercase();
    let calendar = match lines::read(&text, &groups_from) {
        Ok(calendar) => calendar,
        Err((row, message)) => return facts.problems.add(place(row, None), message),
    };
    for (field, property) in [
        ("externalId", "UID"),
        ("title", "SUMMARY"),
        ("endsAt", "DTEND"),
        ("startsAt", "DTSTART"),
        ("rooms", "LOCATION"),
        ("groups", &groups_from),
    ] {
        facts.sessions.columns.insert(field.to_owned(), property.to_owned());
    }
    let mut by_uid: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in &calendar.events {
        match event.text("UID") {
            Some(uid) => by_uid.entry(uid).or_default().push(event),
            None => facts.problems.add(
                place(event.row, Some("UID")),
                "the event has no UID, by which it would be known again; export it with one",
            ),
        }
    }
    let tried = Cell::new(0);
    let feed = Feed { calendar: &calendar, home: zone, options, groups_from: &groups_from, tried };
    for (uid, events) in by_uid {
        if feed.tried.get() > MAX_TRIED {
            let message =
                format!("its rules make more than {MAX_TRIED} recurrences; split it, or mend those rules");
            return facts.problems.add(place(0, None), message);
        }
        if facts.sessions.things.len() > MAX_SESSIONS {
            let message = format!("the import makes more than {MAX_SESSIONS} sessions; split it");
            return facts.problems.add(place(0, None), message);
        }
        let long = events.iter().find_map(|event| Some((event, feed.too_long(event)?)));
        if let Some((event, (column, message))) = long {
            facts.problems.add(place(event.row, Some(column)), message);
            continue;
        }
        match feed.series(&uid, &events, &mut |row, column, message| {
            facts.notes.add(place(row, Some(column)), message);
        }) {
            Ok(sessions) => {
                if events.iter().any(|event| event.line("RECURRENCE-ID").is_none()) {
                    facts.series.insert(uid.clone());
                }
                for (event, session) in sessions {
                    facts.sessions.push(session, &file, event.row);
                }
                if let Some(event) = events.iter().find(|event| feed.floats(event)) {
                    let message = "the time has no zone; it is read in the institution's";
                    facts.notes.add(place(event.row, Some("DTSTART")), message);
                }
            }
            Err(Fault { row, column, message, left_out }) => {
                feed.charge(if column == "RRULE" { usize::from(when::MAX_RECURRENCES) } else { 1 });
                let list = if left_out { &mut facts.notes } else { &mut facts.problems };
                list.add(place(row, Some(column)), message);
            }
        }
    }
}

/// A feed whose lines are folded within letters, with them whole again; any other as it is (RFC 5545, section 3.1).
fn unfolded(bytes: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(bytes).is_ok() {
        return Cow::Borrowed(bytes);
    }
    let mut whole = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, behind)) = rest.split_first() {
        let fold =
            [&b"\r\n "[..], b"\r\n\t", b"\n ", b"\n\t"].into_iter().find(|fold| rest.starts_with(fold));
        // Only where a letter goes on: rows keep their numbers elsewhere.
        match fold.filter(|fold| rest.get(fold.len()).is_some_and(|next| next & 0xc0 == 0x80)) {
            Some(fold) => rest = &rest[fold.len()..],
            None => {
                whole.push(*byte);
                rest = behind;
            }
        }
    }
    if std::str::from_utf8(&whole).is_ok() { Cow::Owned(whole) } else { Cow::Borrowed(bytes) }
}

/// Why an event makes no sessions.
struct Fault {
    row: u64,
    column: &'static str,
    message: String,
    /// It is none that could: the rest of the feed goes on without it.
    left_out: bool,
}

struct Feed<'a> {
    calendar: &'a Calendar,
    home: &'a TimeZone,
    options: &'a Options,
    groups_from: &'a str,
    /// How many recurrences were worked out so far.
    tried: Cell<usize>,
}

/// What an event says of its time.
struct Timed<'a> {
    event: &'a Event,
    start: When,
    length_ms: i64,
}

impl<'a> Feed<'a> {
    fn charge(&self, recurrences: usize) {
        self.tried.set(self.tried.get() + recurrences);
    }

    fn floats(&self, event: &Event) -> bool {
        let times = event.line("DTSTART").map(|line| times(line, self.calendar, self.home));
        matches!(times, Some(Ok(times)) if times.iter().any(|when| when.floating))
    }

    fn times_of(&self, event: &Event, name: &'static str) -> Result<Vec<When>, Fault> {
        let mut all = Vec::new();
        for line in event.all(name) {
            all.extend(times(line, self.calendar, self.home).map_err(|why| match why {
                NoTime::Day => Fault {
                    row: line.row,
                    column: name,
                    message: "left out: a whole day is no session".to_owned(),
                    left_out: true,
                },
                NoTime::Bad(message) => Fault { row: line.row, column: name, message, left_out: false },
            })?);
        }
        Ok(all)
    }

    fn timed(&self, event: &'a Event) -> Result<Timed<'a>, Fault> {
        let fault = |column, message: String| Fault { row: event.row, column, message, left_out: false };
        let start = self.times_of(event, "DTSTART")?.into_iter().next();
        let start = start.ok_or_else(|| fault("DTSTART", "the event has no start".to_owned()))?;
        let from = start.ms().map_err(|message| fault("DTSTART", message))?;
        let length_ms = match (self.times_of(event, "DTEND")?.into_iter().next(), event.line("DURATION")) {
            (Some(end), _) => end.ms().map_err(|message| fault("DTEND", message))? - from,
            (None, Some(line)) => {
                when::duration(&line.value).map_err(|message| fault("DURATION", message))?
            }
            (None, None) => 0,
        };
        if length_ms <= 0 || length_ms > LONGEST_OPENING_MS {
            let message = "left out: a session lasts longer than nothing and 24 hours at the most".to_owned();
            return Err(Fault { row: event.row, column: "DTEND", message, left_out: true });
        }
        Ok(Timed { event, start, length_ms })
    }

    /// The sessions of all events that share a UID; what is understood in one of several ways goes to `note`.
    fn series(
        &self,
        uid: &str,
        events: &[&'a Event],
        note: &mut dyn FnMut(u64, &str, &str),
    ) -> Result<Vec<(&'a Event, SaveSession)>, Fault> {
        let newest = |one: &&&'a Event| sequence(one);
        // Of several versions the one with the highest SEQUENCE counts; of the same the last.
        let masters = || events.iter().filter(|event| event.line("RECURRENCE-ID").is_none());
        let master = masters().max_by_key(newest);
        if let Some(master) = master
            && let Some(other) = masters().find(|other| is_another(other, master))
        {
            note(
                master.row,
                "UID",
                &format!("the event at row {} has it too, and this one counts alone", other.row),
            );
        }
        let series = match master.map(|master| (master, self.timed(master))) {
            // Called off, and no word of when: of this series nothing is held any more.
            Some((master, Err(fault)))
                if is_cancelled(master) && (fault.left_out || master.line("DTSTART").is_none()) =>
            {
                return Ok(Vec::new());
            }
            series => series.map(|(_, series)| series).transpose()?,
        };
        let mut changed: BTreeMap<i64, &'a Event> = BTreeMap::new();
        for event in events.iter().filter(|event| event.line("RECURRENCE-ID").is_some()) {
            let at = match self.recurrence_id(event) {
                Ok((_, at)) => at,
                // A day of a series of whole days.
                Err(fault) if fault.left_out && series.is_none() => {
                    note(fault.row, fault.column, &fault.message);
                    continue;
                }
                Err(fault) if fault.left_out => {
                    let message = "is a day, and the series has times: which of them is changed?".to_owned();
                    return Err(Fault { message, left_out: false, ..fault });
                }
                Err(fault) => return Err(fault),
            };
            if changed.get(&at).is_none_or(|other| sequence(other) <= sequence(event)) {
                changed.insert(at, event);
            }
        }
        let (Some(master), Some(series)) = (master, series) else {
            let alone = changed.iter().map(|(at, event)| {
                if is_onward(event) {
                    let message = "this and all to come are changed, and the series itself is not here: export it along";
                    let (row, message) = (event.row, message.to_owned());
                    return Err(Fault { row, column: "RECURRENCE-ID", message, left_out: false });
                }
                match self.timed(event) {
                    Err(fault) if is_cancelled(event) => self.called_off(uid, event, fault),
                    timed => self.session(&recurrence(uid, *at), &timed?, None),
                }
            });
            return alone.collect();
        };
        let mut walls = self.walls(&series)?;
        // What changes all to come does so also where the rule does not name its own time.
        for (at, event) in
            changed.iter().filter(|(at, event)| is_onward(event) && **at < self.options.horizon)
        {
            let fault = |it: jiff::Error| Fault {
                row: event.row,
                column: "RECURRENCE-ID",
                message: it.to_string(),
                left_out: false,
            };
            let at = jiff::Timestamp::from_millisecond(*at).map_err(fault)?;
            walls.push(series.start.zone.to_datetime(at));
        }
        walls.sort_unstable();
        walls.dedup();
        let alone = walls.len() == 1 && master.line("RRULE").is_none() && master.line("RDATE").is_none();
        if alone && changed.is_empty() {
            return Ok(vec![self.session(uid, &series, None)?]);
        }
        let mut sessions = Vec::new();
        // From here on, by how much later, and by which event; or not at all any more.
        let mut onward: Option<Onward<'a>> = None;
        let off = |id: &str, wall: Wall| {
            let (event, session) = self.session(id, &series, Some(wall))?;
            let mut unsaid = session.unsaid.clone();
            unsaid.0.retain(|field| *field != "cancelled");
            Ok((event, SaveSession { cancelled: true, unsaid, ..session }))
        };
        for wall in walls {
            let fault =
                |message: String| Fault { row: master.row, column: "RRULE", message, left_out: false };
            let at = When { wall, ..series.start.clone() }.ms().map_err(fault)?;
            let id = recurrence(uid, at);
            match changed.remove(&at) {
                Some(event) => {
                    let timed = match self.timed(event) {
                        Ok(timed) => timed,
                        Err(fault)
                            if fault.left_out || (is_cancelled(event) && event.line("DTSTART").is_none()) =>
                        {
                            if !is_cancelled(event) {
                                note(
                                    fault.row,
                                    fault.column,
                                    "called off: as changed it is no session any more",
                                );
                            }
                            sessions.push(off(&id, wall)?);
                            if is_onward(event) {
                                onward = Some(Onward::Off);
                            }
                            continue;
                        }
                        Err(fault) => return Err(fault),
                    };
                    sessions.push(self.session(&id, &timed, None)?);
                    if is_onward(event) {
                        // RFC 5545, section 3.8.4.4, shifts what is to come, and has no other rule begin there.
                        for column in ["RRULE", "RDATE", "EXDATE"] {
                            if event.line(column).is_some() {
                                note(
                                    event.row,
                                    column,
                                    "not followed: those to come stay the series' own, moved",
                                );
                            }
                        }
                        // Both in the wall time of the series, whatever zones they are written in.
                        let zone = series.start.zone.clone();
                        let start = timed.start.ms().map_err(fault)?;
                        let start =
                            jiff::Timestamp::from_millisecond(start).map_err(|it| fault(it.to_string()))?;
                        let here = zone.to_datetime(start);
                        let start = When { wall: here, zone, floating: false };
                        onward = Some(Onward::Moved(Timed { start, ..timed }, here - wall));
                    }
                }
                None => {
                    let moved = match &onward {
                        Some(Onward::Off) => off(&id, wall)?,
                        Some(Onward::Moved(timed, later)) => {
                            let wall = wall.checked_add(*later).map_err(|error| fault(error.to_string()))?;
                            self.session(&id, timed, Some(wall))?
                        }
                        None => self.session(&id, &series, Some(wall))?,
                    };
                    sessions.push(moved);
                }
            }
        }
        // What was moved here from a time that the rule does not name, or beyond the horizon.
        for (at, event) in changed {
            match self.timed(event) {
                Ok(timed) => sessions.push(self.session(&recurrence(uid, at), &timed, None)?),
                Err(fault) if is_cancelled(event) => sessions.push(self.called_off(uid, event, fault)?),
                Err(fault) if fault.left_out => note(fault.row, fault.column, &fault.message),
                Err(fault) => return Err(fault),
            }
        }
        Ok(sessions)
    }

    fn session(
        &self,
        id: &str,
        timed: &Timed<'a>,
        wall: Option<Wall>,
    ) -> Result<(&'a Event, SaveSession), Fault> {
        let event = timed.event;
        let fault = |message: String| Fault { row: event.row, column: "DTSTART", message, left_out: false };
        let start = When { wall: wall.unwrap_or(timed.start.wall), ..timed.start.clone() };
        let starts = start.ms().map_err(fault)?;
        let listed = |name: &str, fixed: &[String], separators: &[char]| {
            if !fixed.is_empty() {
                return fixed.to_vec();
            }
            let mut names: Vec<String> = Vec::new();
            for item in event.all(name).flat_map(|line| items(&line.value)) {
                names.extend(item.split(separators).map(|name| name.trim().to_owned()));
            }
            names.retain(|name| !name.is_empty());
            names
        };
        let cancelled = is_cancelled(event);
        // CONFIRMED is what calendars write of every event, and takes back nothing that a person called off; and where an
        // event has no word of a place or a group, it is not that it has none.
        let speaks = |name: &str, fixed: &[String]| !fixed.is_empty() || event.line(name).is_some();
        let fields = [
            ("cancelled", cancelled),
            ("title", event.text("SUMMARY").is_some()),
            ("rooms", speaks("LOCATION", &self.options.rooms)),
            ("groups", speaks(self.groups_from, &self.options.groups)),
            ("course", self.options.course.is_some()),
        ];
        let unsaid = fields.iter().filter(|(_, said)| !said).map(|(field, _)| *field).collect();
        // A calendar of one room or group knows of no other that the session may have.
        let shares = [("groups", &self.options.groups), ("rooms", &self.options.rooms)];
        let shares = shares.iter().filter(|(_, fixed)| !fixed.is_empty()).map(|(field, _)| *field).collect();
        let session = SaveSession {
            external_id: id.to_owned(),
            title: event.text("SUMMARY").unwrap_or_else(|| id.to_owned()),
            kind: self.options.kind,
            course: self.options.course.clone(),
            starts_at: DateTime::new(starts, self.home),
            ends_at: DateTime::new(starts.saturating_add(timed.length_ms), self.home),
            rooms: listed("LOCATION", &self.options.rooms, &[';', ',']),
            groups: listed(self.groups_from, &self.options.groups, &[';']),
            cancelled,
            old_rooms_until: None,
            unsaid: Unsaid(unsaid),
            shares,
        };
        Ok((event, session))
    }
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "calendar_bomb_tests.rs"]
mod bomb_tests;
