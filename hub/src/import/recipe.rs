//! How an import's files are to be read, as one value that can be kept until they are.
//!
//! Made by the command line and by `service::jobs`.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::calendar::{self, Options};
use super::sheet::{self, Mapping};
use super::{Facts, itc2019, oneroster};
use crate::store::entity::{ImportKind, SessionKind};

/// How far ahead rules without an end are followed, in milliseconds.
const HORIZON_MS: i64 = 400 * 24 * 3_600_000;

/// How many buildings the rooms of a term are dealt to that does not know any.
pub const DEFAULT_BUILDINGS: usize = 3;

/// How files are to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recipe {
    /// iCalendar feeds.
    Calendar {
        /// The rooms of all events; those in LOCATION when there are none.
        rooms: Vec<String>,
        /// The groups of all events; those in `groups_from` when there are none.
        groups: Vec<String>,
        /// The property that lists an event's groups; CATEGORIES when left out.
        groups_from: Option<String>,
        /// The course of all events.
        course: Option<String>,
        /// What they are.
        kind: SessionKind,
        /// Whether the files name all there is.
        whole: bool,
    },
    /// Tables, read by a mapping.
    Table {
        /// The mapping's text.
        mapping: String,
    },
    /// OneRoster 1.2 CSV.
    OneRoster {
        /// Whether groups go by classCode.
        class_code: bool,
    },
    /// A term in the competition's format.
    Itc2019 {
        /// The Monday on which week 0 begins, YYYY-MM-DD.
        term_start: String,
        /// How many buildings its rooms are dealt to.
        buildings: usize,
    },
}

enum How {
    Calendar(Options),
    Table(Box<Mapping>),
    OneRoster(bool),
    Itc2019(itc2019::Options, itc2019::Pair),
}

/// Files being read.
pub struct Reading {
    how: How,
    zone: TimeZone,
    facts: Facts,
}

impl Recipe {
    /// Which kind of import it is.
    #[must_use]
    pub fn kind(&self) -> ImportKind {
        match self {
            Self::Calendar { .. } => ImportKind::Icalendar,
            Self::Table { .. } => ImportKind::Csv,
            Self::OneRoster { .. } => ImportKind::OneRoster,
            Self::Itc2019 { .. } => ImportKind::Itc2019,
        }
    }

    /// Begins to read, at an instant in milliseconds since the epoch.
    ///
    /// # Errors
    /// What is wrong with the recipe itself.
    pub fn begin(&self, zone: &TimeZone, now: i64) -> Result<Reading, String> {
        let mut facts = Facts::default();
        let how = match self {
            Self::Calendar { rooms, groups, groups_from, course, kind, whole } => {
                if *whole {
                    facts.whole.push("sessions");
                }
                How::Calendar(Options {
                    rooms: rooms.clone(),
                    groups: groups.clone(),
                    groups_from: groups_from.clone(),
                    course: course.clone(),
                    kind: *kind,
                    horizon: now + HORIZON_MS,
                })
            }
            Self::Table { mapping } => How::Table(Box::new(Mapping::read(mapping)?)),
            Self::OneRoster { class_code } => How::OneRoster(*class_code),
            Self::Itc2019 { term_start, buildings } => {
                let term_start = term_start
                    .parse()
                    .map_err(|_| format!("the term's start '{term_start}' is not a date YYYY-MM-DD"))?;
                let options = itc2019::Options { term_start, buildings: *buildings };
                options.check()?;
                How::Itc2019(options, itc2019::Pair::default())
            }
        };
        Ok(Reading { how, zone: zone.clone(), facts })
    }
}

impl Reading {
    /// Reads one file.
    pub fn read(&mut self, file: &str, bytes: &[u8]) {
        let facts = &mut self.facts;
        match &mut self.how {
            How::Calendar(options) => calendar::read(facts, file, bytes, &self.zone, options),
            How::Table(mapping) => sheet::read(facts, file, bytes, &self.zone, mapping),
            How::OneRoster(class_code) => oneroster::read(facts, file, bytes, *class_code),
            How::Itc2019(_, pair) => pair.add(facts, file, bytes),
        }
    }

    /// All that they say.
    #[must_use]
    pub fn facts(mut self) -> Facts {
        if let How::Itc2019(options, pair) = &self.how {
            pair.tell(&mut self.facts, &self.zone, options);
        }
        self.facts
    }
}
