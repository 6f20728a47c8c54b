//! The problem file: what rooms, classes and students there are.
//!
//! Used by `itc2019`. It leaves out everything that only a solver needs.

use std::collections::{HashMap, HashSet};

use super::Fault;
use super::xml::{File, Tag};

/// How many rooms there may be: how far each is from each other is looked at. The competition's largest has some 770.
const MAX_ROOMS: usize = 5_000;

/// What a problem file says.
#[derive(Default)]
pub(super) struct Problem {
    pub(super) name: String,
    /// Days in a week.
    pub(super) days: u32,
    /// Slots in a day.
    pub(super) slots: u32,
    weeks: u32,
    pub(super) rooms: Vec<ProblemRoom>,
    /// Travel times in slots, as written: from, to, how long.
    pub(super) travel: Vec<(String, String, u32)>,
    /// Id and line.
    pub(super) courses: Vec<(String, u64)>,
    pub(super) classes: HashMap<String, Class>,
    /// Id and line.
    pub(super) students: Vec<(String, u64)>,
}

/// A room.
pub(super) struct ProblemRoom {
    pub(super) id: String,
    pub(super) capacity: i32,
    pub(super) line: u64,
}

/// A class.
pub(super) struct Class {
    /// Index into `courses`.
    pub(super) course: usize,
    pub(super) times: Vec<Time>,
}

/// When a class may be held.
pub(super) struct Time {
    pub(super) days: String,
    pub(super) start: u32,
    pub(super) length: u32,
    pub(super) weeks: String,
}

/// Reads a problem file.
pub(super) fn read(file: &File) -> Result<Problem, Fault> {
    let mut problem = Problem::default();
    let mut class = String::new();
    let (mut rooms, mut courses, mut students) = (HashSet::new(), HashSet::new(), HashSet::new());
    let once = |seen: &mut HashSet<String>, tag: &Tag<'_>| -> Result<String, Fault> {
        let id = tag.id()?;
        if seen.insert(id.clone()) { Ok(id) } else { Err(tag.wrong("this id is there twice")) }
    };
    file.each("problem", |around, tag| {
        let around: Vec<&str> = around.iter().map(String::as_str).collect();
        match (around.as_slice(), tag.name) {
            ([], _) => {
                problem.name = tag.text("name")?;
                problem.days = tag.number("nrDays")?;
                problem.slots = tag.number("slotsPerDay")?;
                problem.weeks = tag.number("nrWeeks")?;
                if problem.days == 0 || problem.slots == 0 {
                    return Err(tag.wrong("nrDays and slotsPerDay cannot be 0"));
                }
            }
            (["problem", "rooms"], "room") => {
                let id = once(&mut rooms, tag)?;
                let capacity = i32::try_from(tag.number("capacity")?)
                    .map_err(|_| tag.wrong("attribute capacity is too large"))?;
                problem.rooms.push(ProblemRoom { id, capacity, line: file.line(tag.at) });
                if problem.rooms.len() > MAX_ROOMS {
                    return Err(tag.wrong(&format!("there are more than {MAX_ROOMS} rooms")));
                }
            }
            (["problem", "rooms", "room"], "travel") => {
                let Some(from) = problem.rooms.last() else { return Ok(()) };
                problem.travel.push((from.id.clone(), tag.text("room")?, tag.number("value")?));
            }
            (["problem", "courses"], "course") => {
                problem.courses.push((once(&mut courses, tag)?, file.line(tag.at)))
            }
            (["problem", "courses", "course", "config", "subpart"], "class") => {
                class = tag.id()?;
                let course = problem.courses.len() - 1;
                let new = Class { course, times: Vec::new() };
                if problem.classes.insert(class.clone(), new).is_some() {
                    return Err(tag.wrong("this id is there twice"));
                }
            }
            (["problem", "courses", .., "class"], "time") => {
                let time = Time {
                    days: tag.bits("days", Some(problem.days))?,
                    start: tag.number("start")?,
                    length: tag.number("length")?,
                    weeks: tag.bits("weeks", Some(problem.weeks))?,
                };
                if time.length == 0 {
                    return Err(tag.wrong(&format!("inside <class id={class:?}>: length cannot be 0")));
                }
                if let Some(class) = problem.classes.get_mut(&class) {
                    class.times.push(time);
                }
            }
            // Some universities' files name a student twice: it is one.
            (["problem", "students"], "student") => {
                let id = tag.id()?;
                if students.insert(id.clone()) {
                    problem.students.push((id, file.line(tag.at)));
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(problem)
}
