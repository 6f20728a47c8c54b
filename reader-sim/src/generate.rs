//! An invented campus and one day's teaching on it, drawn from a seed.
//!
//! Called by the `campus` driver and by tests. The same seed, size and day always give the same plan. It
//! never says what must come of the plan (that is for `expected`).

mod campus;
mod changes;
mod clock;
mod timetable;

use jiff::civil::Date;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use crate::plan::Plan;

/// How large the campus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Buildings, at least 1.
    pub buildings: usize,
    /// Rooms, at least 8 and one per building.
    pub rooms: usize,
    /// Students, at least 40.
    pub students: usize,
}

impl Size {
    /// Whether everything that a campus shows finds its place in it.
    ///
    /// # Errors
    /// What is too small, and how much it takes.
    pub fn check(&self) -> Result<(), String> {
        let least = [
            ("buildings", self.buildings, 1),
            ("rooms", self.rooms, MIN_ROOMS.max(self.buildings)),
            ("students", self.students, MIN_STUDENTS),
        ];
        let small = least.into_iter().find(|(_, wanted, least)| wanted < least);
        small.map_or(Ok(()), |(name, wanted, least)| {
            Err(format!("--{name} {wanted}: an invented campus has {least} at the least"))
        })
    }
}

impl Default for Size {
    fn default() -> Self {
        Self { buildings: 3, rooms: 24, students: 600 }
    }
}

/// Fewer rooms have no place for all that is shown.
const MIN_ROOMS: usize = 8;
/// Fewer students are not enough for all that they do.
const MIN_STUDENTS: usize = 40;

/// Invents a campus with one day's teaching from 09:00 to 17:00 in Europe/London, what changes that day, and
/// every card presented. A size below the minimum is raised to it. Play runs from 07:00 until 19:00.
///
/// On `day`, whatever the seed, there are: two sessions at once in one room and two that overlap, sessions in
/// several rooms and in two buildings, back-to-back ones, cancelled ones, one without groups, one whose group
/// nobody is in, one without a room; and a change of every kind.
#[must_use]
pub fn generate(seed: u64, size: &Size, day: Date) -> Plan {
    let buildings = size.buildings.max(1);
    let size = Size {
        buildings,
        rooms: size.rooms.max(buildings).max(MIN_ROOMS),
        students: size.students.max(MIN_STUDENTS),
    };
    let clock = clock::Clock::new(day);
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut plan = Plan {
        faults: Vec::new(),
        seed,
        zone: clock::ZONE.to_owned(),
        opens_before_ms: 30 * 60_000,
        from_ms: clock.at(7 * 60),
        until_ms: clock.at(19 * 60),
        ..Plan::default()
    };
    campus::build(&mut plan, size, &clock, &mut rng);
    let cast = timetable::build(&mut plan, &clock, &mut rng);
    changes::build(&mut plan, &cast, &clock, &mut rng);
    plan.presentations = crate::crowd::presentations(&plan, seed);
    plan
}
