//! Gateways, hub, network and disks in virtual time, by seed; the history is checked against what must hold.
//!
//! Real here: the gateway's mind, journal, timekeeping and handing-over, and the hub's GraphQL, services and SQLite.
//! Simulated: readers (serial ones, and MQTT ones with their own clocks, resends and starts), disks (torn and unsynced writes, ENOSPC, EIO, cards copied and put back), clocks (drift, steps, starts
//! without time), the network (loss, delay, duplicates, reordering, one-way partitions), crashes, backups; records that
//! rot while they are used or that the hub turns down, clocks that cannot be kept. The timetable changes while it is in use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant as Moment;

use cynic::QueryBuilder;
use rollcall_gateway::timetable::item::{CachedConfig, CachedItem};
use rollcall_gateway::uplink::feed::{cached, cached_config};
use rollcall_gateway::uplink::operations::{Snapshot, SnapshotVariables};
use serde_json::json;
use uuid::Uuid;

use super::{Broken, Outcome, Run};
use crate::hub::{TestClock, TestHub, ms};
use crate::timetable::students;

mod answer;
mod check;
mod disk;
mod gateway;
mod hub;
mod machine;
mod plan;
mod reader;
mod refusing;
mod running;
mod world;

pub use disk::{Fault, SimDisk};
use hub::SimHub;
use plan::Plan;
use world::World;
pub use world::{STILL, UNTROUBLED};

/// How many students there are; the first of them are on the class list.
const STUDENTS: usize = 60;
/// How often it is told how far it is, in seeds.
const TELL_EVERY: u64 = 500;
const LISTED: usize = 40;
/// In so many seeds each of the strange faults happens.
const ENOUGH: u64 = 50;
/// The defects that this suite can see. `sled-flush` is a sync that reaches no further than the kernel, as sled's
/// does: the same as `eatmydata`. With `no-name-sync` files are made, and their names not synced.
pub const CONTROLS: [&str; 7] = [
    "ack-before-fsync",
    "eager-watermark",
    "eatmydata",
    "no-dedup",
    "no-name-sync",
    "no-outages",
    "sled-flush",
];

/// A reader at a door.
struct Door {
    reader: &'static str,
    room: &'static str,
    gateway: usize,
    /// It keeps its swipes itself until they are acknowledged; a serial one is asked for them.
    mqtt: bool,
}

/// The serial ones first.
const DOORS: [Door; 5] = [
    Door { reader: "D1", room: "R1", gateway: 0, mqtt: false },
    Door { reader: "D2", room: "R2", gateway: 0, mqtt: false },
    Door { reader: "D3", room: "R2", gateway: 1, mqtt: false },
    Door { reader: "M1", room: "R1", gateway: 0, mqtt: true },
    Door { reader: "M2", room: "R2", gateway: 1, mqtt: true },
];

/// What the hub tells a gateway.
#[derive(Clone)]
struct Facts {
    id: Uuid,
    items: Vec<(Uuid, CachedItem)>,
    config: CachedConfig,
}

/// What all seeds begin with: a database with the timetable, and what the gateways know of it.
#[derive(Clone)]
struct Base {
    database: PathBuf,
    clock: Arc<TestClock>,
    /// Midnight of the day.
    day: i64,
    /// When it begins.
    from: i64,
    gateways: Vec<Facts>,
    students: Vec<Uuid>,
}

/// Runs so many seeds.
///
/// # Errors
/// When something did not hold.
pub fn run(run: &Run) -> super::Result {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Broken { seed: run.seed, what: error.to_string() })?;
    runtime.block_on(seeds(run))
}

fn setup(error: impl std::fmt::Display, seed: u64) -> Broken {
    Broken { seed, what: format!("cannot be set up: {error}") }
}

#[expect(clippy::print_stderr, reason = "a program for people: how far it is")]
async fn seeds(run: &Run) -> super::Result {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.map_err(|error| setup(error, run.seed))?;
    let base = base(folder.path()).await;
    let begun = Moment::now();
    let (mut swipes, mut greens, mut faults, mut changes) = (0, 0, 0, 0);
    let (mut slowest, mut virtual_ms) = (0, 0);
    let mut strange = [0; 3];
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut played = 0;
    for seed in run.seed..run.seed + run.cycles {
        // Whoever stops it early still hears what was played.
        if futures_util::poll!(interrupted.as_mut()).is_ready() {
            break;
        }
        super::begin(seed);
        let place = tempfile::tempdir_in(folder.path()).map_err(|error| setup(error, seed))?;
        let mut world = World::new(&base, seed, place.path(), run.control.as_deref()).await;
        let drained = world.play().await;
        let mut broken = check::check(&world, &base).await;
        let Some(took) = drained else {
            let left = world.undrained().unwrap_or_else(|| "now all is in".to_owned());
            broken.push(format!("not drained within 15 minutes after the last fault: {left}"));
            return Err(Broken { seed, what: broken.join("\n  ") });
        };
        if !broken.is_empty() {
            // First what was promised.
            broken.sort_by_key(|line| !(line.starts_with("LOST") || line.starts_with("DOUBLED")));
            broken.truncate(12);
            return Err(Broken { seed, what: broken.join("\n  ") });
        }
        swipes += world.presentations.len();
        greens += world.presentations.iter().filter(|it| it.green()).count();
        faults += world.faults;
        changes += world.plans.len() - 1;
        strange = std::array::from_fn(|kind| strange[kind] + world.strange()[kind]);
        slowest = slowest.max(took);
        virtual_ms += world.elapsed_ms();
        played += 1;
        if played % TELL_EVERY == 0 {
            let seconds = begun.elapsed().as_secs();
            eprintln!(
                "{played} of {} seeds in {seconds} s: {swipes} swipes, {greens} green, all held",
                run.cycles
            );
        }
    }
    // What never happens proves nothing.
    if played >= ENOUGH && strange.contains(&0) {
        let what = format!("records turned down, rotten, and clocks that could not be kept: {strange:?}");
        return Err(Broken { seed: run.seed, what });
    }
    let [turned_down, rotten, unkept] = strange;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Outcome::Held(format!(
        "{played} seeds, {swipes} swipes, {greens} green, 0 lost, 0 doubled, {faults} faults, {changes} changes of the timetable, {turned_down} \
         records turned down and {rotten} rotten, {unkept} clocks that could not be kept; drained {:.0} s after the \
         last at the latest; {:.0} simulated seconds a second",
        slowest as f64 / 1e3,
        virtual_ms as f64 / 1e3 / seconds.max(0.001)
    )))
}

/// Makes the database that all seeds begin with.
async fn base(folder: &std::path::Path) -> Base {
    let hub = TestHub::start().await;
    hub.clock.set("2027-03-01T07:00:00Z");
    hub.done("saveBuildings", json!({"buildings": [{"code": "A", "name": "Building A"}]})).await;
    let rooms = ["R1", "R2"].map(|code| json!({"code": code, "building": "A"}));
    hub.done("saveRooms", json!({"rooms": rooms})).await;
    let gateways = ["G0", "G1"].map(|code| json!({"code": code, "building": "A"}));
    hub.done("saveGateways", json!({"gateways": gateways})).await;
    let readers = DOORS.iter().map(|door| {
        json!({"code": door.reader, "gateway": format!("G{}", door.gateway), "room": door.room,
               "kind": if door.mqtt { "MQTT" } else { "OSDP" }})
    });
    hub.done("saveReaders", json!({"readers": readers.collect::<Vec<_>>()})).await;
    hub.done("saveCourses", json!({"courses": [{"code": "C", "title": "Course"}]})).await;
    hub.done("saveGroups", json!({"groups": [{"code": "G", "course": "C"}]})).await;
    students(&hub, STUDENTS, LISTED).await;
    hub.done("saveSessions", Plan::first().input()).await;
    let query = "{ students(first: 100) { nodes { id } } gateways { nodes { id } } }";
    let found = hub.read(query).await;
    let ids = |what: &str| -> Vec<Uuid> {
        let nodes = found[what]["nodes"].as_array().cloned().unwrap_or_default();
        let id = |node: &serde_json::Value| Uuid::parse_str(node["id"].as_str()?.split_once('_')?.1).ok();
        nodes.iter().filter_map(id).collect()
    };
    let (students, gateways) = (ids("students"), ids("gateways"));
    let database = folder.join("base.sqlite");
    let clock = hub.clock.clone();
    let copied = copy_of(&hub, &database).await;
    let mut facts = Vec::new();
    for id in gateways {
        facts.push(Facts { id, ..facts_of(&copied, id).await });
    }
    drop(copied);
    let day = ms("2027-03-01T00:00:00Z");
    Base { database, clock, day, from: day + (8 * 60 + 10) * 60_000, gateways: facts, students }
}

/// Copies a running hub's database, and opens the copy.
async fn copy_of(hub: &TestHub, to: &std::path::Path) -> SimHub {
    let source = hub.folder.path().join("hub.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&source);
    let sql = format!("VACUUM INTO '{}'", to.display());
    let copied = async {
        let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await?;
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await
    };
    if let Err(error) = copied.await {
        panic!("the database cannot be copied: {error}");
    }
    let opened = SimHub::on_copy_of(to, to.with_extension("opened"), hub.clock.clone()).await;
    opened.unwrap_or_else(|error| panic!("the database cannot be copied: {error}"))
}

async fn facts_of(hub: &SimHub, gateway: Uuid) -> Facts {
    let operation = Snapshot::build(SnapshotVariables { first: 1_000, after: None });
    let answer: Result<Snapshot, _> = hub.ask(gateway, &operation.query, operation.variables).await;
    match answer.map(|answer| answer.gateway_self) {
        Ok(Some(it)) => Facts {
            id: gateway,
            items: it.snapshot.items.into_iter().filter_map(cached).collect(),
            config: cached_config(&it.config),
        },
        other => panic!("no snapshot: {other:?}"),
    }
}
