//! The hub is away for a term: the doors work alone, day after day, the serial one's gateway restarted every week, and
//! everything is handed over in the end.
//!
//! One cycle is a day of teaching, in virtual time; the real gateway, its sled cache and its journal, the real hub,
//! and readers of both kinds. Every light and every mark is compared with the oracle.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reader_sim::campus;
use reader_sim::crowd::credentials;
use reader_sim::plan::{
    Building, Card, Course, Credential, Group, Membership, Plan, Presentation, Reader, ReaderKind, Room,
    Session, Student,
};

use super::{Broken, Outcome, Run};

/// The first day: a Monday. A term from here sees the clocks go forward.
const FIRST_DAY: Date = jiff::civil::date(2027, 1, 11);
const ZONE: &str = "Europe/London";
const STUDENTS: usize = 12;
/// The first so many are on the class list.
const LISTED: usize = 9;
/// How many cards are held to readers on a day.
const CARDS: usize = 6;

/// Plays so many days of teaching without a hub.
///
/// # Errors
/// When a light, a mark or a swipe is not what it must be.
pub fn run(run: &Run) -> super::Result {
    let broken = |what: String| Broken { seed: run.seed, what };
    let plan = plan(run).map_err(|error| broken(error.to_string()))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| broken(error.to_string()))?;
    let played = runtime.block_on(campus::alone(&plan, true, |_| ()));
    let (totals, differences) = played.map_err(|error| broken(format!("{error:#}")))?;
    if differences.count() > 0 {
        return Err(broken(differences.first().join("\n  ")));
    }
    let days = SignedDuration::from_millis(plan.until_ms - plan.from_ms).as_hours() / 24;
    Ok(Outcome::Held(format!(
        "{days} days without a hub, {} of them with teaching: {} lights and {} marks ({} present) as they must be, {} \
         swipes handed over in the end",
        run.cycles,
        totals.lights + differences.lights_seen,
        totals.marks,
        totals.present,
        totals.swipes,
    )))
}

fn plan(run: &Run) -> Result<Plan, jiff::Error> {
    let zone = TimeZone::get(ZONE)?;
    let mut random = ChaCha8Rng::seed_from_u64(run.seed);
    let ms = |at: &Zoned| at.timestamp().as_millisecond();
    let at = |day: Date, hour: i8, minute: i8| -> Result<i64, jiff::Error> {
        Ok(ms(&day.to_datetime(Time::new(hour, minute, 0, 0)?).to_zoned(zone.clone())?))
    };
    let mut plan = Plan {
        seed: run.seed,
        zone: ZONE.to_owned(),
        opens_before_ms: 30 * 60_000,
        courses: vec![Course { code: "C".to_owned(), title: "Course".to_owned() }],
        groups: vec![Group { code: "G".to_owned(), course: 0 }],
        from_ms: at(FIRST_DAY, 7, 0)?,
        ..Plan::default()
    };
    for (room, kind) in [ReaderKind::Osdp, ReaderKind::Mqtt].into_iter().enumerate() {
        // A gateway each: one with an MQTT broker cannot be restarted in this process.
        let building = ["A", "B"][room];
        plan.buildings.push(Building { code: building.to_owned(), name: format!("Building {building}") });
        let code = format!("{building}-101");
        plan.readers.push(Reader { code: format!("{code}-D1"), room, kind });
        plan.rooms.push(Room { code, building: room, capacity: 20 });
    }
    for student in 0..STUDENTS {
        plan.students.push(Student { number: format!("S{student}"), name: format!("Student {student}") });
        let card = Card { student, credential: card(student), from_ms: 0, until_ms: None };
        plan.cards.push(card);
        if student < LISTED {
            plan.memberships.push(Membership { group: 0, student, from: FIRST_DAY.to_string(), until: None });
        }
    }
    let mut day = FIRST_DAY;
    for _ in 0..run.cycles {
        while matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) {
            day = day.tomorrow()?;
        }
        let hour = random.random_range(9..17);
        let (start_ms, end_ms) = (at(day, hour, 0)?, at(day, hour, 50)?);
        plan.sessions.push(Session {
            external_id: format!("C-{day}"),
            title: format!("Lecture of {day}"),
            course: 0,
            start_ms,
            end_ms,
            rooms: vec![0, 1],
            groups: vec![0],
            cancelled: false,
        });
        let mut students: Vec<usize> = (0..STUDENTS).collect();
        students.shuffle(&mut random);
        for student in students.into_iter().take(CARDS) {
            // Also where the light is not blue any more, or not yet.
            let at_ms = random.random_range(start_ms - 40 * 60_000..end_ms + 10 * 60_000);
            let reader = random.random_range(0..plan.readers.len());
            let why = if student < LISTED { "on the list" } else { "not on the list" };
            plan.presentations.push(Presentation {
                at_ms,
                reader,
                credential: card(student),
                student: Some(student),
                why,
            });
        }
        plan.until_ms = at(day, 20, 0)?;
        day = day.tomorrow()?;
    }
    plan.presentations.sort_by_key(|it| (it.at_ms, it.reader));
    Ok(plan)
}

fn card(student: usize) -> Credential {
    let number = u8::try_from(student).unwrap_or(u8::MAX);
    credentials::uid(&[0x04, 0xC4, 1, 2, 3, number, 0x80])
}
