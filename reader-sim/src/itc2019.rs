//! A real university's term, from the files of the International Timetabling Competition 2019.
//!
//! Called by the `campus` driver and by tests. The files are read by the hub's importer, and a test of the whole system
//! reads the real ones in another way beside it. Rooms, classes, students, class lists and times are the
//! files'; buildings, cards, dates and behaviour are invented around them. It never writes a file, and never
//! says what must come of the plan (that is for `expected`).

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path;

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rollcall_hub::import::itc2019::{Fault, Options as TermOptions, Term};

use crate::crowd::credentials::{h10301, h10306, uid};
use crate::plan::{
    Building, Card, Course, Credential, Group, Membership, Millis, Plan, Reader, ReaderKind, Room, Session,
    Student, TermFiles,
};

const ZONE: &str = "Europe/London";

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
    #[error(transparent)]
    Wrong(#[from] Fault),
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
    let zone = TimeZone::get(ZONE)
        .map_err(|error| Itc2019Error::Options(format!("no time zone {ZONE} here: {error}")))?;
    if options.days == 0 {
        return Err(Itc2019Error::Options("at least one day is needed".to_owned()));
    }
    let around = TermOptions { term_start: options.term_start, buildings: options.buildings };
    around.check().map_err(Itc2019Error::Options)?;
    let [problem, solution] = [problem, solution].map(|path| {
        let file = path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => Ok((file, bytes)),
            Err(source) => Err(Itc2019Error::Read { file, source }),
        }
    });
    let (problem, solution) = (problem?, solution?);
    let term = Term::read((&problem.0, &problem.1), (&solution.0, &solution.1), &zone, &around)?;
    let days = Days { zone };
    let mut rng = ChaCha12Rng::seed_from_u64(options.seed);
    let mut plan = Plan {
        faults: Vec::new(),
        seed: options.seed,
        zone: ZONE.to_owned(),
        opens_before_ms: 30 * 60_000,
        from_ms: days.midnight(options.day)?,
        ..Plan::default()
    };
    let cards_from_ms = days.midnight(Days::after(options.term_start, -30)?)?;
    take_over(&mut plan, term, options.term_start, cards_from_ms, &mut rng);
    readers(&mut plan);
    let (start, buildings) = (options.term_start, options.buildings);
    plan.term = Some(TermFiles { problem, solution, start, buildings });
    plan.until_ms = last_midnight(&plan, options, &days)?;
    plan.presentations = crate::crowd::presentations(&plan, options.seed);
    Ok(plan)
}

/// Days of the institution.
struct Days {
    zone: TimeZone,
}

impl Days {
    fn midnight(&self, date: Date) -> Result<Millis, Itc2019Error> {
        let instant = self.zone.to_timestamp(date.at(0, 0, 0, 0));
        let instant =
            instant.map_err(|error| Itc2019Error::Options(format!("midnight of {date}: {error}")))?;
        Ok(instant.as_millisecond())
    }

    fn after(from: Date, days: i64) -> Result<Date, Itc2019Error> {
        let later = Span::new().try_days(days).and_then(|days| from.checked_add(days));
        later.map_err(|error| Itc2019Error::Options(format!("{days} days after {from}: {error}")))
    }
}

/// Puts the term into the plan, with a card for each student.
fn take_over(plan: &mut Plan, term: Term, first: Date, cards_from_ms: Millis, rng: &mut ChaCha12Rng) {
    let mut taken = HashSet::new();
    plan.buildings = term.buildings.into_iter().map(|it| Building { code: it.code, name: it.name }).collect();
    for room in term.rooms {
        let capacity = u32::try_from(room.capacity).unwrap_or(0);
        plan.rooms.push(Room { code: room.code, building: room.building, capacity });
    }
    for (index, student) in term.students.into_iter().enumerate() {
        plan.students.push(Student { number: student.number, name: student.name });
        let credential = new_card(&mut taken, rng);
        plan.cards.push(Card { student: index, credential, from_ms: cards_from_ms, until_ms: None });
    }
    plan.courses = term.courses.into_iter().map(|it| Course { code: it.code, title: it.title }).collect();
    for session in term.sessions {
        let class = &term.classes[session.class];
        plan.sessions.push(Session {
            external_id: session.external_id,
            title: session.title,
            course: class.course,
            start_ms: session.starts_ms,
            end_ms: session.ends_ms,
            rooms: class.room.into_iter().collect(),
            groups: vec![session.class],
            cancelled: false,
        });
    }
    for (group, class) in term.classes.into_iter().enumerate() {
        plan.groups.push(Group { code: class.code, course: class.course });
        let stays = class.students.into_iter();
        plan.memberships.extend(stays.map(|student| Membership {
            group,
            student,
            from: first.to_string(),
            until: None,
        }));
    }
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
fn last_midnight(plan: &Plan, options: &Options, midnights: &Days) -> Result<Millis, Itc2019Error> {
    let mut days = i64::from(options.days);
    loop {
        let until_ms = midnights.midnight(Days::after(options.day, days)?)?;
        let runs_past = |session: &Session| {
            (plan.from_ms..until_ms).contains(&session.start_ms) && session.end_ms >= until_ms
        };
        if !plan.sessions.iter().any(runs_past) {
            return Ok(until_ms);
        }
        days += 1;
    }
}
