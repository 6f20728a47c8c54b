//! Files of other systems, read into things to save. Knows formats, places and what is wrong with them; knows
//! nothing of the database, and asks nothing of it.
//!
//! Called by the command line, `service::jobs` and, for a term alone, by the simulator; what comes out goes to `service::import`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::service::estate::{SaveBuilding, SaveReader, SaveRoom};
use crate::service::memberships::SaveMembership;
use crate::service::people::{SaveCard, SaveStudent};
use crate::service::timetable::{SaveCourse, SaveGroup, SaveSession};

pub mod calendar;
pub mod itc2019;
pub mod oneroster;
pub mod recipe;
pub mod sheet;
pub mod text;

/// The largest file that is read, in bytes: a whole university's term is a few dozen MB.
pub const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// The most sessions that calendars and tables make in one import.
const MAX_SESSIONS: usize = 200_000;
/// The most rows of tables that are read in one import: memory holds them until all are checked.
const MAX_ROWS: usize = 2_000_000;
/// The longest text of a session, and of the names of its rooms or groups together, in characters: one row or event may make
/// thousands of sessions, each with its own.
const MAX_TITLE: usize = 200;
const MAX_NAMES: usize = 4_000;
/// And how many rooms, and how many groups.
const MAX_ROOMS: usize = 20;
const MAX_GROUPS: usize = 100;
/// How many problems are kept; the rest is only counted.
pub const MAX_PROBLEMS: usize = 1_000;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1; 0 for the file as a whole.
    pub row: u64,
    /// The column's heading, or the property's name.
    pub column: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if self.row > 0 {
            write!(f, ", row {}", self.row)?;
        }
        self.column.as_ref().map_or(Ok(()), |column| write!(f, ", column '{column}'"))
    }
}

/// Something wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub message: String,
}

/// Problems, as many as a person can read, and how many there were.
#[derive(Debug, Default, Clone)]
pub struct Problems {
    /// The first of them.
    pub list: Vec<Problem>,
    /// All of them.
    pub count: usize,
}

impl Problems {
    /// Notes one.
    pub fn add(&mut self, place: Place, message: impl Into<String>) {
        self.count += 1;
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(Problem { place, message: message.into() });
        }
    }
}

/// Things of one kind, and where each of them stood.
#[derive(Debug, Clone)]
pub struct List<T> {
    /// The things.
    pub things: Vec<T>,
    /// File and line of each.
    pub places: Vec<(Arc<str>, u64)>,
    /// Which column each field was read from.
    pub columns: BTreeMap<String, String>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { things: Vec::new(), places: Vec::new(), columns: BTreeMap::new() }
    }
}

impl<T> List<T> {
    /// Adds one.
    pub fn push(&mut self, thing: T, file: &Arc<str>, row: u64) {
        self.things.push(thing);
        self.places.push((file.clone(), row));
    }
}

/// A user whom a difference changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The source's id.
    pub id: String,
    /// Whether the difference says that this is a student; else it must have been said before.
    pub studies: bool,
    /// Whether the student's number is that id, for want of another.
    pub by_id: bool,
}

/// A stay that is to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The source's id of the enrolment, where it has one.
    pub id: Option<String>,
    /// The group.
    pub group: String,
    /// The student.
    pub student: String,
    /// Whether group and student are the source's ids, for want of our names.
    pub by_id: (bool, bool),
}

/// Everything that some files say.
#[derive(Debug, Default)]
pub struct Facts {
    /// Buildings.
    pub buildings: List<SaveBuilding>,
    /// Rooms.
    pub rooms: List<SaveRoom>,
    /// Readers.
    pub readers: List<SaveReader>,
    /// Courses.
    pub courses: List<SaveCourse>,
    /// Groups.
    pub groups: List<SaveGroup>,
    /// Students.
    pub students: List<SaveStudent>,
    /// Cards.
    pub cards: List<SaveCard>,
    /// How many rows of tables were read.
    pub rows: usize,
    /// Stays in groups.
    pub memberships: List<SaveMembership>,
    /// Sessions.
    pub sessions: List<SaveSession>,
    /// Which lists are whole: what the same source gave before and does not name any more goes.
    pub whole: Vec<&'static str>,
    /// Series of sessions that a calendar names: all their recurrences are in it, and one that is not any more goes.
    pub series: BTreeSet<String>,
    /// Stays that the files themselves say are to be taken back.
    pub dropped: Vec<Dropped>,
    /// The ids that the source itself has for enrolments, each with the stay's place among `memberships`.
    pub enrolments: Vec<(String, usize)>,
    /// And for courses, classes and users, for academic sessions and which of them classes run in: of which kind, id, and our name,
    /// the days or those ids.
    pub ids: Vec<(&'static str, String, String)>,
    /// Which of `memberships` name the group, or the student, by such an id, for want of our name.
    pub by_id: BTreeMap<usize, (bool, bool)>,
    /// Which of `memberships` last as long as their class, of which the files do not say how long that is.
    pub undated: BTreeMap<usize, Undated>,
    /// Which of `groups` name their course by such an id.
    pub courses_by_id: BTreeSet<usize>,
    /// Which of `students` a difference changes, each with the source's id for the user.
    pub users: BTreeMap<usize, User>,
    /// Groups that are gone: that there is none of them is no mistake.
    pub optional: BTreeSet<String>,
    /// What keeps the files from being used.
    pub problems: Problems,
    /// What was left out or understood in one of several ways.
    pub notes: Problems,
}

impl Facts {
    /// Whether a session's name is that of a series that is in the files, or of one of its recurrences.
    #[must_use]
    pub fn is_of_series(&self, name: &str) -> bool {
        self.series.contains(name) || self.series.contains(calendar::series_of(name))
    }
}

/// A stay that lasts as long as its class.
#[derive(Debug, Clone)]
pub struct Undated {
    /// The source's id for the class.
    pub class: String,
    /// It begins with it; it ends with it in any case.
    pub begins: bool,
}

/// Reads a file, whose size is bounded; `-` is standard input.
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn read_file(name: &str) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES + 1;
    let read = if name == "-" {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(name).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| format!("{name} cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{name} is larger than {} MiB; split it", MAX_FILE_BYTES / 1024 / 1024));
    }
    Ok(bytes)
}
