//! A real university's term in the format of the International Timetabling Competition 2019: one file says what there is
//! (the problem), the other when and where each class is held and who attends (the solution).
//!
//! Rooms, classes, students, class lists and times are the files'; names, dates and buildings, of which they have none,
//! are made: room `R39`, student `S596`, group `C12`, session `C12-W03-D2` (class, week from 00, day from 0 = Monday).
//! Source: itc2019.org, "Problem Format" and "Solution Format".

mod buildings;
mod problem;
mod solution;
#[cfg(test)]
mod tests;
mod when;
mod xml;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use super::{Facts, List, Place};
use crate::scalar::{DateTime, LocalDate};
use crate::service::bulk::Unsaid;
use crate::service::estate::{SaveBuilding, SaveRoom};
use crate::service::memberships::SaveMembership;
use crate::service::people::SaveStudent;
use crate::service::timetable::{SaveCourse, SaveGroup, SaveSession};
use crate::store::entity::{MembershipReason, SessionKind, StudentState};
use problem::{Problem, Time};
use solution::{Placed, Solution};
use when::Calendar;
use xml::File;

/// How many sessions a term may have. The competition's largest has some 200,000.
const MAX_SESSIONS: usize = 500_000;

/// How many buildings rooms may be dealt to.
const MAX_BUILDINGS: usize = 1_000;

/// What the files do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The first day of week 0, a Monday.
    pub term_start: Date,
    /// How many buildings the rooms are dealt to by the way between them, 1 to 1,000.
    pub buildings: usize,
}

impl Options {
    /// Whether they make sense.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        if self.term_start.weekday() != Weekday::Monday {
            return Err(format!("the term must start on a Monday, not on {}", self.term_start));
        }
        if !(1..=MAX_BUILDINGS).contains(&self.buildings) {
            return Err(format!("there must be from 1 to {MAX_BUILDINGS} buildings, not {}", self.buildings));
        }
        Ok(())
    }
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {message}")]
pub struct Fault {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u64,
    /// The element, its id and what is wrong with it.
    pub message: String,
}

/// A building, which the files do not know.
#[derive(Debug)]
pub struct Building {
    /// `A`, `B`, …
    pub code: String,
    /// For people.
    pub name: String,
}

/// A room.
#[derive(Debug)]
pub struct Room {
    /// `R` and the file's id.
    pub code: String,
    /// Index into the buildings.
    pub building: usize,
    /// Seats.
    pub capacity: i32,
    line: u64,
}

/// A student.
#[derive(Debug)]
pub struct Student {
    /// `S` and the file's id.
    pub number: String,
    /// For people.
    pub name: String,
    line: u64,
}

/// A course.
#[derive(Debug)]
pub struct Course {
    /// `K` and the file's id.
    pub code: String,
    /// For people.
    pub title: String,
    line: u64,
}

/// A class, which is a group with its times and room.
#[derive(Debug)]
pub struct Class {
    /// `C` and the file's id.
    pub code: String,
    /// Index into the courses.
    pub course: usize,
    /// Index into the rooms; `None` where it needs none.
    pub room: Option<usize>,
    /// Indices into the students, each once, in the students' order.
    pub students: Vec<usize>,
    line: u64,
    lines: Vec<u64>,
}

/// A time at which a class is held.
#[derive(Debug)]
pub struct Session {
    /// The class' code, week and day.
    pub external_id: String,
    /// For people.
    pub title: String,
    /// Index into the classes.
    pub class: usize,
    /// Start, in milliseconds since the epoch.
    pub starts_ms: i64,
    /// End, in milliseconds since the epoch.
    pub ends_ms: i64,
}

/// What the two files say together.
#[derive(Debug, Default)]
pub struct Term {
    /// The buildings, none of them empty.
    pub buildings: Vec<Building>,
    /// The rooms.
    pub rooms: Vec<Room>,
    /// The students.
    pub students: Vec<Student>,
    /// The courses.
    pub courses: Vec<Course>,
    /// The classes.
    pub classes: Vec<Class>,
    /// All times at which classes are held.
    pub sessions: Vec<Session>,
}

impl Term {
    /// Reads problem and solution, each a name and its bytes; wall times are the zone's.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn read(
        problem: (&str, &[u8]),
        solution: (&str, &[u8]),
        zone: &TimeZone,
        options: &Options,
    ) -> Result<Self, Fault> {
        Self::of(&File::new(problem.0, problem.1)?, &File::new(solution.0, solution.1)?, zone, options)
    }

    fn of(
        problem_file: &File,
        solution_file: &File,
        zone: &TimeZone,
        options: &Options,
    ) -> Result<Self, Fault> {
        options.check().map_err(|message| problem_file.wrong(0, message))?;
        let problem = problem::read(problem_file)?;
        let solution = solution::read(solution_file)?;
        if problem.name != solution.name {
            let message = format!(
                "<solution name={:?}>: does not solve the problem {:?} of {}",
                solution.name, problem.name, problem_file.name
            );
            return Err(solution_file.wrong(solution.at, message));
        }
        let mut term = Self::default();
        term.things(&problem, options);
        term.timetable(&problem, &solution, solution_file, &Calendar::new(&problem, zone, options))?;
        Ok(term)
    }

    fn things(&mut self, problem: &Problem, options: &Options) {
        let dealt = buildings::deal(problem, options.buildings);
        for building in 0..dealt.iter().max().map_or(1, |last| last + 1) {
            let code = match u8::try_from(building) {
                Ok(nth) if nth < 26 => char::from(b'A' + nth).to_string(),
                _ => format!("B{}", building + 1),
            };
            self.buildings.push(Building { name: format!("Building {code}"), code });
        }
        for (room, building) in problem.rooms.iter().zip(dealt) {
            let code = format!("R{}", room.id);
            self.rooms.push(Room { code, building, capacity: room.capacity, line: room.line });
        }
        for (id, line) in &problem.students {
            let (number, name) = (format!("S{id}"), format!("Student {id}"));
            self.students.push(Student { number, name, line: *line });
        }
        for (id, line) in &problem.courses {
            let (code, title) = (format!("K{id}"), format!("Course {id}"));
            self.courses.push(Course { code, title, line: *line });
        }
    }

    /// Classes, their lists and every time at which they are held.
    fn timetable(
        &mut self,
        problem: &Problem,
        solution: &Solution,
        file: &File,
        calendar: &Calendar,
    ) -> Result<(), Fault> {
        let rooms: HashMap<&str, usize> =
            problem.rooms.iter().enumerate().map(|(index, room)| (room.id.as_str(), index)).collect();
        let students: HashMap<&str, usize> =
            problem.students.iter().enumerate().map(|(index, (id, _))| (id.as_str(), index)).collect();
        for placed in &solution.classes {
            let wrong =
                |at: usize, what: String| file.wrong(at, format!("<class id={:?}>: {what}", placed.id));
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
            let room = placed.room.as_deref().map(|room| {
                rooms
                    .get(room)
                    .copied()
                    .ok_or_else(|| wrong(placed.at, format!("the problem has no room {room:?}")))
            });
            // Before its students: the file is read on from the place that was asked for last.
            let line = file.line(placed.at);
            // The lists repeat students.
            let mut listed = BTreeSet::new();
            let mut lines = HashMap::new();
            for (id, at) in &placed.students {
                let Some(student) = students.get(id.as_str()) else {
                    let what = format!("<student id={id:?}>: the problem has no such student");
                    return Err(wrong(*at, what));
                };
                listed.insert(*student);
                lines.entry(*student).or_insert_with(|| file.line(*at));
            }
            let code = format!("C{}", placed.id);
            for (week, _) in placed.weeks.bytes().enumerate().filter(|(_, bit)| *bit == b'1') {
                for (day, _) in placed.days.bytes().enumerate().filter(|(_, bit)| *bit == b'1') {
                    let span = calendar.occurrence(week, day, time);
                    let (starts_ms, ends_ms) = span.map_err(|what| wrong(placed.at, what))?;
                    if self.sessions.len() >= MAX_SESSIONS {
                        let what = format!("with it the term has more than {MAX_SESSIONS} sessions");
                        return Err(wrong(placed.at, what));
                    }
                    self.sessions.push(Session {
                        external_id: format!("{code}-W{week:02}-D{day}"),
                        title: format!("{}, class {}", self.courses[class.course].title, placed.id),
                        class: self.classes.len(),
                        starts_ms,
                        ends_ms,
                    });
                }
            }
            self.classes.push(Class {
                code,
                course: class.course,
                room: room.transpose()?,
                lines: listed.iter().map(|student| lines.get(student).copied().unwrap_or(0)).collect(),
                students: listed.into_iter().collect(),
                line,
            });
        }
        Ok(())
    }

    /// What there is to save. What the files do not speak of stays as it is.
    fn tell(
        self,
        facts: &mut Facts,
        [problem, solution]: [&Arc<str>; 2],
        zone: &TimeZone,
        options: &Options,
    ) {
        for it in &self.buildings {
            let building =
                SaveBuilding { code: it.code.clone(), name: it.name.clone(), unsaid: Unsaid::default() };
            facts.buildings.push(building, problem, 0);
        }
        for it in &self.rooms {
            let room = SaveRoom {
                code: it.code.clone(),
                name: None,
                building: self.buildings[it.building].code.clone(),
                capacity: Some(it.capacity),
                unsaid: Unsaid(vec!["name", "building"]),
            };
            facts.rooms.push(room, problem, it.line);
        }
        for it in &self.students {
            let student = SaveStudent {
                number: it.number.clone(),
                name: it.name.clone(),
                email: None,
                state: StudentState::Active,
                expected_at_door: None,
                expected_at_door_from: None,
                programme: None,
                unsaid: Unsaid(vec!["name", "email", "state", "expected_at_door", "programme"]),
            };
            facts.students.push(student, problem, it.line);
        }
        for it in &self.courses {
            let course = SaveCourse {
                code: it.code.clone(),
                title: it.title.clone(),
                department: None,
                unsaid: Unsaid(vec!["department"]),
            };
            facts.courses.push(course, problem, it.line);
        }
        for it in &self.classes {
            let group = SaveGroup {
                code: it.code.clone(),
                title: None,
                course: self.courses[it.course].code.clone(),
                kind: SessionKind::Lecture,
                unsaid: Unsaid(vec!["title", "kind"]),
            };
            facts.groups.push(group, solution, it.line);
            for (student, line) in it.students.iter().zip(&it.lines) {
                let stay = SaveMembership {
                    group: it.code.clone(),
                    student: self.students[*student].number.clone(),
                    from: LocalDate(options.term_start),
                    until: None,
                    from_at: None,
                    until_at: None,
                    reason: MembershipReason::Import,
                };
                facts.memberships.push(stay, solution, *line);
            }
        }
        for it in self.sessions {
            let class = &self.classes[it.class];
            let session = SaveSession {
                external_id: it.external_id,
                title: it.title,
                kind: SessionKind::Lecture,
                course: Some(self.courses[class.course].code.clone()),
                starts_at: DateTime::new(it.starts_ms, zone),
                ends_at: DateTime::new(it.ends_ms, zone),
                rooms: class.room.iter().map(|room| self.rooms[*room].code.clone()).collect(),
                groups: vec![class.code.clone()],
                cancelled: false,
                old_rooms_until: None,
                unsaid: Unsaid(vec!["kind", "cancelled"]),
                shares: Vec::new(),
            };
            facts.sessions.push(session, solution, class.line);
        }
        named(&mut facts.rooms, &[("code", "id")]);
        named(&mut facts.students, &[("number", "id")]);
        named(&mut facts.groups, &[("code", "id")]);
        named(&mut facts.sessions, &[("externalId", "id"), ("rooms", "room"), ("startsAt", "start")]);
        facts.whole.extend(["students", "memberships", "sessions"]);
    }
}

fn named<T>(list: &mut List<T>, fields: &[(&str, &str)]) {
    list.columns = fields.iter().map(|(field, name)| ((*field).to_owned(), (*name).to_owned())).collect();
}

fn same_time(time: &Time, placed: &Placed) -> bool {
    time.days == placed.days && time.start == placed.start && time.weeks == placed.weeks
}

/// The two files of a term, in either order.
#[derive(Default)]
pub(super) struct Pair {
    problem: Option<File>,
    solution: Option<File>,
}

impl Pair {
    /// Takes one of them.
    pub(super) fn add(&mut self, facts: &mut Facts, name: &str, bytes: &[u8]) {
        let place = Place { file: name.into(), row: 0, column: None };
        let file = match File::new(name, bytes) {
            Ok(file) => file,
            Err(fault) => return problem(facts, fault),
        };
        let (which, kept) = match file.root().as_deref() {
            Some("problem") => ("problem", &mut self.problem),
            Some("solution") => ("solution", &mut self.solution),
            _ => {
                let message =
                    "begins neither with <problem> nor with <solution>: is it a file of the competition?";
                return facts.problems.add(place, message);
            }
        };
        if let Some(other) = kept {
            let message = format!("is a <{which}>, and so is {}; a term is one of each", other.name);
            return facts.problems.add(place, message);
        }
        *kept = Some(file);
    }

    /// What they say together.
    pub(super) fn tell(&self, facts: &mut Facts, zone: &TimeZone, options: &Options) {
        let (Some(one), Some(other)) = (&self.problem, &self.solution) else {
            if facts.problems.count == 0 {
                let missing = if self.problem.is_none() { "problem" } else { "solution" };
                let place = Place { file: "files".into(), row: 0, column: None };
                facts
                    .problems
                    .add(place, format!("there is no <{missing}> among them; a term is one of each"));
            }
            return;
        };
        match Term::of(one, other, zone, options) {
            Ok(term) => term.tell(facts, [&one.name, &other.name], zone, options),
            Err(fault) => problem(facts, fault),
        }
    }
}

fn problem(facts: &mut Facts, fault: Fault) {
    facts.problems.add(Place { file: fault.file, row: fault.line, column: None }, fault.message);
}
