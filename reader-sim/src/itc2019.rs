//! A real university's term, from the files of the International Timetabling Competition 2019.
//!
//! Called by the `campus` driver and by tests. Rooms, classes, students, class lists and times are the
//! files'; buildings, cards, dates and behaviour are invented around them. It never writes a file, and never
//! says what must come of the plan (that is for `expected`).

mod buildings;
mod problem;
mod solution;
#[cfg(test)]
mod tests;
mod xml;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::crowd::credentials::{h10301, h10306, uid};
use crate::plan::{
    Building, Card, Course, Credential, Group, Membership, Millis, Plan, Reader, ReaderKind, Room, Session,
    Student,
};
use problem::{Problem, Time};
use solution::{Placed, Solution};
use xml::File;

const ZONE: &str = "Europe/London";
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// What is invented around the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The first day of week 0, a Monday.
    pub term_start: Date,
    /// The first day played.
    pub day: Date,
    /// How many days are played, at least 1.
    pub days: u32,
    /// How many buildings the rooms are dealt to, at least 1.
    pub buildings: usize,
    /// The seed for cards and behaviour.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let term_start = jiff::civil::date(2027, 2, 15);
        Self { term_start, day: term_start, days: 1, buildings: 3, seed: 1 }
    }
}

/// Why a term cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Itc2019Error {
    /// A file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not XML, or says something impossible.
    #[error("{file}, line {line} (byte {byte}): {what}")]
    Wrong {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The byte, from 0.
        byte: usize,
        /// The element, its id and what is wrong with it.
        what: String,
    },
    /// The options make no sense, with these files or at all.
    #[error("options: {0}")]
    Options(String),
}

/// Loads a term: `problem` says what there is, `solution` when and where each class is held and who attends.
///
/// Every occurrence of the whole term becomes a session; cards are presented on the `days` days from `day` on
/// only. Play runs from local midnight to local midnight; should a session run past the last one, days are
/// added until none does.
///
/// # Errors
///
/// Says which file, line, element and id is wrong, or which option.
pub fn load(problem: &Path, solution: &Path, options: &Options) -> Result<Plan, Itc2019Error> {
    let problem_file = File::open(problem)?;
    let solution_file = File::open(solution)?;
    let problem = problem::read(&problem_file)?;
    let solution = solution::read(&solution_file)?;
    if problem.name != solution.name {
        return Err(solution_file.wrong(
            solution.at,
            format!(
                "<solution name={:?}>: does not solve the problem {:?} of {}",
                solution.name, problem.name, problem_file.name
            ),
        ));
    }
    let term = Term::new(&problem, options)?;
    let mut rng = ChaCha12Rng::seed_from_u64(options.seed);
    let mut plan = Plan {
        faults: Vec::new(),
        seed: options.seed,
        zone: ZONE.to_owned(),
        opens_before_ms: 30 * 60_000,
        from_ms: term.midnight(options.day)?,
        ..Plan::default()
    };
    things(&mut plan, &problem, options, &term, &mut rng)?;
    timetable(&mut plan, &problem, &solution, &solution_file, &term)?;
    readers(&mut plan);
    plan.until_ms = last_midnight(&plan, options, &term)?;
    plan.presentations = crate::crowd::presentations(&plan, options.seed);
    Ok(plan)
}

/// Turns the files' weeks, days and slots into instants.
struct Term {
    zone: TimeZone,
    start: Date,
    days_in_week: i64,
    slot_seconds: (i64, i64),
}

impl Term {
    fn new(problem: &Problem, options: &Options) -> Result<Self, Itc2019Error> {
        let wrong = |what: String| Err(Itc2019Error::Options(what));
        if options.term_start.weekday() != jiff::civil::Weekday::Monday {
            return wrong(format!("the term must start on a Monday, not on {}", options.term_start));
        }
        if options.days == 0 || options.buildings == 0 {
            return wrong("at least one day and one building are needed".to_owned());
        }
        let zone = TimeZone::get(ZONE)
            .map_err(|error| Itc2019Error::Options(format!("no time zone {ZONE} here: {error}")))?;
        Ok(Self {
            zone,
            start: options.term_start,
            days_in_week: i64::from(problem.days).max(7),
            slot_seconds: (DAY_SECONDS, i64::from(problem.slots)),
        })
    }

    fn midnight(&self, date: Date) -> Result<Millis, Itc2019Error> {
        self.at(date, 0)
    }

    fn day(&self, from: Date, days: i64) -> Result<Date, Itc2019Error> {
        let later = Span::new().try_days(days).and_then(|days| from.checked_add(days));
        later.map_err(|error| Itc2019Error::Options(format!("{days} days after {from}: {error}")))
    }

    /// The instant at which the wall clock shows so many seconds past the date's midnight.
    fn at(&self, date: Date, seconds: i64) -> Result<Millis, Itc2019Error> {
        let date = self.day(date, seconds.div_euclid(DAY_SECONDS))?;
        let local = date.at(0, 0, 0, 0).checked_add(Span::new().seconds(seconds.rem_euclid(DAY_SECONDS)));
        let instant = local.and_then(|local| self.zone.to_timestamp(local));
        instant
            .map(jiff::Timestamp::as_millisecond)
            .map_err(|error| Itc2019Error::Options(format!("{seconds} s after {date}: {error}")))
    }

    /// Start and end of an occurrence, both by the wall clock.
    fn occurrence(&self, week: usize, day: usize, time: &Time) -> Result<(Millis, Millis), Itc2019Error> {
        let days = i64::try_from(week).unwrap_or(i64::MAX / 1000).saturating_mul(self.days_in_week);
        let date = self.day(self.start, days.saturating_add(i64::try_from(day).unwrap_or(i64::MAX)))?;
        let (whole, slots) = self.slot_seconds;
        let seconds = |slot: i64| slot * whole / slots;
        let (from, length) = (i64::from(time.start), i64::from(time.length));
        let start = self.at(date, seconds(from))?;
        let end = self.at(date, seconds(from + length))?;
        // A clock put forward inside it must not make it end before it starts.
        Ok((start, if end > start { end } else { start + seconds(length).max(1) * 1000 }))
    }
}

/// Buildings, rooms, students with a card each, and courses.
fn things(
    plan: &mut Plan,
    problem: &Problem,
    options: &Options,
    term: &Term,
    rng: &mut ChaCha12Rng,
) -> Result<(), Itc2019Error> {
    let dealt = buildings::deal(problem, options.buildings);
    let count = dealt.iter().max().map_or(1, |last| last + 1);
    for building in 0..count {
        let code = match u8::try_from(building) {
            Ok(nth) if nth < 26 => char::from(b'A' + nth).to_string(),
            _ => format!("B{}", building + 1),
        };
        plan.buildings.push(Building { name: format!("Building {code}"), code });
    }
    for (room, building) in problem.rooms.iter().zip(dealt) {
        plan.rooms.push(Room { code: format!("R{}", room.id), building, capacity: room.capacity });
    }
    let mut taken = HashSet::new();
    let from_ms = term.midnight(term.day(term.start, -30)?)?;
    for (student, id) in problem.students.iter().enumerate() {
        let number = format!("S{id}");
        plan.students.push(Student { name: format!("Student {id}"), number });
        let credential = new_card(&mut taken, rng);
        plan.cards.push(Card { student, credential, from_ms, until_ms: None });
    }
    for id in &problem.courses {
        plan.courses.push(Course { code: format!("K{id}"), title: format!("Course {id}") });
    }
    Ok(())
}

/// A card that nobody has yet. The facility codes in use are never those of `crowd`'s visitors.
fn new_card(taken: &mut HashSet<Credential>, rng: &mut ChaCha12Rng) -> Credential {
    loop {
        let card = match rng.random_range(0..3) {
            0 => h10301(rng.random_range(1..=9), rng.random()),
            1 => h10306(rng.random_range(500..=509), rng.random()),
            _ => {
                let mut bytes: [u8; 7] = rng.random();
                (bytes[0], bytes[1]) = (0x04, bytes[1] & 0x7F);
                uid(&bytes)
            }
        };
        if taken.insert(card.clone()) {
            return card;
        }
    }
}

/// Groups, memberships and every occurrence of every class.
fn timetable(
    plan: &mut Plan,
    problem: &Problem,
    solution: &Solution,
    file: &File,
    term: &Term,
) -> Result<(), Itc2019Error> {
    let index = |ids: &[String]| -> HashMap<String, usize> {
        ids.iter().enumerate().map(|(index, id)| (id.clone(), index)).collect()
    };
    let rooms: HashMap<&str, usize> =
        problem.rooms.iter().enumerate().map(|(index, room)| (room.id.as_str(), index)).collect();
    let students = index(&problem.students);
    for placed in &solution.classes {
        let wrong = |at: usize, what: String| file.wrong(at, format!("<class id={:?}>: {what}", placed.id));
        let Some(class) = problem.classes.get(&placed.id) else {
            return Err(wrong(placed.at, "the problem has no such class".to_owned()));
        };
        let Some(time) = class.times.iter().find(|time| same_time(time, placed)) else {
            let what = format!(
                "none of its times in the problem has days={:?} start={:?} weeks={:?}: how long is it?",
                placed.days, placed.start, placed.weeks
            );
            return Err(wrong(placed.at, what));
        };
        let mut held_in = Vec::new();
        if let Some(room) = &placed.room {
            match rooms.get(room.as_str()) {
                Some(room) => held_in.push(*room),
                None => return Err(wrong(placed.at, format!("the problem has no room {room:?}"))),
            }
        }
        let group = plan.groups.len();
        plan.groups.push(Group { code: format!("C{}", placed.id), course: class.course });
        let mut listed = BTreeSet::new();
        for (id, at) in &placed.students {
            match students.get(id) {
                // The lists repeat students.
                Some(student) => listed.insert(*student),
                None => {
                    return Err(wrong(*at, format!("<student id={id:?}>: the problem has no such student")));
                }
            };
        }
        plan.memberships.extend(listed.into_iter().map(|student| Membership {
            group,
            student,
            from: term.start.to_string(),
            until: None,
        }));
        for (week, _) in placed.weeks.bytes().enumerate().filter(|(_, bit)| *bit == b'1') {
            for (day, _) in placed.days.bytes().enumerate().filter(|(_, bit)| *bit == b'1') {
                let (start_ms, end_ms) = term.occurrence(week, day, time)?;
                plan.sessions.push(Session {
                    external_id: format!("C{}-W{week:02}-D{day}", placed.id),
                    title: format!("{}, class {}", plan.courses[class.course].title, placed.id),
                    course: class.course,
                    start_ms,
                    end_ms,
                    rooms: held_in.clone(),
                    groups: vec![group],
                    cancelled: false,
                });
            }
        }
    }
    Ok(())
}

fn same_time(time: &Time, placed: &Placed) -> bool {
    time.days == placed.days && time.start == placed.start && time.weeks == placed.weeks
}

/// One reader at each room that is ever used, alternately of either kind in each building.
fn readers(plan: &mut Plan) {
    let used: HashSet<usize> = plan.sessions.iter().flat_map(|session| session.rooms.clone()).collect();
    let mut in_building = vec![0_usize; plan.buildings.len()];
    for (index, room) in plan.rooms.iter().enumerate().filter(|(index, _)| used.contains(index)) {
        let nth = &mut in_building[room.building];
        let kind = if nth.is_multiple_of(2) { ReaderKind::Osdp } else { ReaderKind::Mqtt };
        *nth += 1;
        plan.readers.push(Reader { code: format!("{}-D1", room.code), room: index, kind });
    }
}

/// Local midnight after the days played, and after every session that starts on them.
fn last_midnight(plan: &Plan, options: &Options, term: &Term) -> Result<Millis, Itc2019Error> {
    let mut days = i64::from(options.days);
    loop {
        let until_ms = term.midnight(term.day(options.day, days)?)?;
        let runs_past = |session: &Session| {
            (plan.from_ms..until_ms).contains(&session.start_ms) && session.end_ms >= until_ms
        };
        if !plan.sessions.iter().any(runs_past) {
            return Ok(until_ms);
        }
        days += 1;
    }
}
