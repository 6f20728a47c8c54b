//! Two days round the clock, in virtual time: sessions back to back in every room, cards every half minute, readers that
//! fall silent, babble and start anew, sessions called off and taken up again, cards replaced.
//!
//! Hub, gateways (sled, journal, broker) and readers run in this process; every light and mark is compared with the
//! oracle, and what the process holds of memory, threads and open files at its end with what it held when it was warm. One
//! cycle is an hour.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reader_sim::campus;
use reader_sim::crowd::credentials;
use reader_sim::device::fault::Fault;
use reader_sim::plan::{
    Building, Card, Change, ChangeKind, Course, Credential, FaultChange, Group, Membership, Plan,
    Presentation, Reader, ReaderFault, ReaderKind, Room, Session, Student,
};

use super::{Broken, Outcome, Run};

/// Something of each kind is held on to at each look: the suite must see it.
pub const CONTROLS: [&str; 1] = ["leak"];

/// 2027-03-01 00:00 in London, a Monday.
const BEGIN_MS: i64 = 1_803_859_200_000;
const FIRST_DAY: &str = "2027-03-01";
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const BUILDINGS: usize = 2;
const ROOMS: usize = 4;
const STUDENTS: usize = 40;
/// The first so many are on the class list.
const LISTED: usize = 30;
/// How many cards are held to each reader in an hour.
const CARDS: usize = 15;

/// How often the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What the control holds on to at each look.
const LEAK_BYTES: usize = 256 * 1_024;
/// The process may hold this much more memory at the end than when it was warm, in bytes.
const MEMORY_MORE: u64 = 12 << 20;
/// And so much more of the disk for copies of the timetable.
const CACHE_MORE: u64 = 4 << 20;
/// So many threads or files more.
const FEW_MORE: u64 = 8;

/// What a process holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    memory: u64,
    threads: u64,
    files: u64,
    /// What sled keeps of the timetable on the disk.
    cache: u64,
}

/// Plays so many hours.
///
/// # Errors
/// When a light or a mark is not what it must be, or something grew.
pub fn run(run: &Run) -> super::Result {
    let broken = |what: String| Broken { seed: run.seed, what };
    let plan = plan(run);
    let runtime = tokio::runtime::Runtime::new().map_err(|error| broken(error.to_string()))?;
    let leak = run.control.is_some();
    let (up, folder) = channel::<PathBuf>();
    let (stop, stopped) = channel::<()>();
    let watching = std::thread::spawn(move || watch(&folder, &stopped, leak));
    let played = runtime.block_on(campus::alone(&plan, false, move |folder| {
        // The watch ends when this one does.
        let _ = up.send(folder.to_owned());
    }));
    drop(stop);
    let looks = watching.join().map_err(|_| broken("the watch failed".to_owned()))?;
    let (totals, differences) = played.map_err(|error| broken(format!("{error:#}")))?;
    if differences.count() > 0 {
        return Err(broken(differences.first().join("\n  ")));
    }
    let Some((warm, last)) = compared(&looks) else {
        return Err(broken(format!("only {} looks at it: play more hours", looks.len())));
    };
    let mib = |bytes: u64| bytes >> 20;
    let said = format!(
        "{} h: {} lights and {} marks ({} present) as they must be, {} swipes; from the second quarter to the last: {} to {} MiB \
         of memory, {} to {} threads, {} to {} open files, timetable caches {} to {} KiB",
        run.cycles,
        totals.lights + differences.lights_seen,
        totals.marks,
        totals.present,
        totals.swipes,
        mib(warm.memory),
        mib(last.memory),
        warm.threads,
        last.threads,
        warm.files,
        last.files,
        warm.cache >> 10,
        last.cache >> 10,
    );
    let grew = last.memory > warm.memory + MEMORY_MORE
        || last.threads > warm.threads + FEW_MORE
        || last.files > warm.files + FEW_MORE
        || last.cache > warm.cache + CACHE_MORE;
    if grew { Err(broken(format!("something grew: {said}"))) } else { Ok(Outcome::Held(said)) }
}

/// Looks at this process until told to stop.
fn watch(folder: &Receiver<PathBuf>, stopped: &Receiver<()>, leak: bool) -> Vec<Held> {
    let (mut looks, mut kept) = (Vec::new(), Vec::new());
    let Ok(folder) = folder.recv() else { return looks };
    while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        looks.extend(look(&folder));
        if leak {
            kept.push((vec![1_u8; LEAK_BYTES], std::fs::File::open("/dev/null")));
        }
    }
    looks
}

fn look(folder: &Path) -> Option<Held> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let of = |name: &str| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    let caches = std::fs::read_dir(folder).ok()?.flatten().map(|gateway| gateway.path().join("data/cache"));
    let cache = caches.map(|cache| size(&cache)).sum();
    Some(Held { memory: of("VmRSS:")? * 1_024, threads: of("Threads:")?, files, cache })
}

/// How much lies below a folder; what goes meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The medians of the second quarter of the looks and of the last.
fn compared(looks: &[Held]) -> Option<(Held, Held)> {
    let quarter = looks.len() / 4;
    let median = |looks: &[Held]| -> Option<Held> {
        let of = |what: fn(&Held) -> u64| {
            let mut all: Vec<u64> = looks.iter().map(what).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied()
        };
        Some(Held {
            memory: of(|it| it.memory)?,
            threads: of(|it| it.threads)?,
            files: of(|it| it.files)?,
            cache: of(|it| it.cache)?,
        })
    };
    Some((median(looks.get(quarter..2 * quarter)?)?, median(looks.get(looks.len() - quarter..)?)?))
}

fn plan(run: &Run) -> Plan {
    let mut random = ChaCha8Rng::seed_from_u64(run.seed);
    let hours = i64::try_from(run.cycles).unwrap_or(48);
    let mut plan = Plan {
        seed: run.seed,
        zone: "Europe/London".to_owned(),
        opens_before_ms: 30 * MINUTE_MS,
        courses: vec![Course { code: "C".to_owned(), title: "Course".to_owned() }],
        groups: vec![Group { code: "G".to_owned(), course: 0 }],
        // Before the first window opens.
        from_ms: BEGIN_MS - HOUR_MS,
        until_ms: BEGIN_MS + hours * HOUR_MS,
        ..Plan::default()
    };
    for building in 0..BUILDINGS {
        let code = ["A", "B"][building].to_owned();
        plan.buildings.push(Building { name: format!("Building {code}"), code });
    }
    for room in 0..ROOMS {
        let building = room % BUILDINGS;
        let code = format!("{}-{room}", plan.buildings[building].code);
        let kind = if room < ROOMS / 2 { ReaderKind::Osdp } else { ReaderKind::Mqtt };
        plan.readers.push(Reader { code: format!("{code}-D1"), room, kind });
        plan.rooms.push(Room { code, building, capacity: 40 });
    }
    for student in 0..STUDENTS {
        plan.students.push(Student { number: format!("S{student}"), name: format!("Student {student}") });
        plan.cards.push(Card { student, credential: card(student, 0), from_ms: 0, until_ms: None });
        if student < LISTED {
            let from = FIRST_DAY.to_owned();
            plan.memberships.push(Membership { group: 0, student, from, until: None });
        }
    }
    let mut held: Vec<Credential> = (0..STUDENTS).map(|student| card(student, 0)).collect();
    for hour in 0..hours {
        let start = BEGIN_MS + hour * HOUR_MS;
        hour_of(&mut plan, &mut random, hour, start, &mut held);
    }
    plan.presentations.sort_by_key(|it| (it.at_ms, it.reader));
    plan.faults.sort_by_key(|it| it.at_ms);
    plan.changes.sort_by_key(|it| it.at_ms);
    plan
}

/// An hour: fifty minutes of teaching in each room, and what goes wrong and changes meanwhile.
fn hour_of(plan: &mut Plan, random: &mut ChaCha8Rng, hour: i64, start: i64, held: &mut [Credential]) {
    for room in 0..ROOMS {
        plan.sessions.push(Session {
            external_id: format!("H{hour}-R{room}"),
            title: format!("Hour {hour} in room {room}"),
            course: 0,
            start_ms: start + 5 * MINUTE_MS,
            end_ms: start + 55 * MINUTE_MS,
            rooms: vec![room],
            groups: vec![0],
            cancelled: false,
        });
    }
    // A student gets another card on the hour, and one session is called off for a while.
    let student = random.random_range(0..STUDENTS);
    held[student] = card(student, u8::try_from(hour + 1).unwrap_or(u8::MAX));
    let reissue = ChangeKind::Reissue { student, credential: held[student].clone() };
    plan.changes.push(Change { at_ms: start, what: reissue });
    let session = plan.sessions.len() - 1 - random.random_range(0..ROOMS);
    plan.changes.push(Change { at_ms: start + 10 * MINUTE_MS, what: ChangeKind::Cancel { session } });
    plan.changes.push(Change { at_ms: start + 20 * MINUTE_MS, what: ChangeKind::Reinstate { session } });
    // Something is wrong with a serial reader for ten minutes, and one loses its power.
    let serial = random.random_range(0..ROOMS / 2);
    if let Some(fault) = Fault::ALL.choose(random) {
        let (begins, ends) = (FaultChange::Begins(*fault), FaultChange::Ends(*fault));
        for (minute, what) in [(25, begins), (35, ends), (40, FaultChange::Reboot)] {
            plan.faults.push(ReaderFault { at_ms: start + minute * MINUTE_MS + 1, reader: serial, what });
        }
    }
    for reader in 0..plan.readers.len() {
        for place in 0..CARDS {
            let student = random.random_range(0..STUDENTS);
            // None at the same instant as a change; two of one reader at least three minutes apart.
            let minute = i64::try_from(place).unwrap_or(0) * 4;
            let at_ms = start + minute * MINUTE_MS + random.random_range(1_000..MINUTE_MS - 1_000);
            let why = if student < LISTED { "on the list" } else { "not on the list" };
            let credential = held[student].clone();
            plan.presentations.push(Presentation { at_ms, reader, credential, student: Some(student), why });
        }
    }
}

/// A student's card; 0 is the first.
fn card(student: usize, which: u8) -> Credential {
    let number = u8::try_from(student).unwrap_or(u8::MAX);
    credentials::uid(&[0x04, 0xC5, 1, 2, which, number, 0x80])
}
