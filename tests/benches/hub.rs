//! How fast the hub takes a term's timetable in, and swipes: over HTTP, into a SQLite file, or into PostgreSQL where
//! `with-postgres` runs it.
//!
//! Prints a line for each step. Times include the client's side in this process.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: it says what it found, or stops"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rollcall_hub::config::Database;
use rollcall_hub::service::attempt::Attempt;
use rollcall_hub::store::entity::{Attendance, AttendanceStatus, Swipe};
use rollcall_hub::store::register::AttendanceChange;
use rollcall_hub::store::swipe::Credit;
use rollcall_tests::hub::{TestHub, config, ms};
use rollcall_tests::timetable::{Gateway, number, students};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use uuid::Uuid;

/// As the program has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BUILDINGS: usize = 3;
const ROOMS: usize = 45;
const STUDENTS: usize = 1_000;
const GROUPS: usize = 560;
const MEMBERS: usize = 25;
const SESSIONS: usize = 5_000;
const BATCH: usize = 500;
const SWIPES: usize = 10_000;
const SHAPE: &str = "gatewaySubmitSwipes receipts { swipeId outcome }";
/// How many batches come in before PostgreSQL has looked at its tables.
const UNKNOWN_BATCHES: usize = 4;

/// The start of a session: five hours a day from Monday on, a millisecond apart so that each is known by it.
fn starts(session: usize) -> i64 {
    let (day, slot) = (session / 50, session / 10 % 5);
    let hours = i64::try_from(day / 5 * 7 * 24 + day % 5 * 24 + slot * 2).unwrap();
    ms("2026-09-28T08:00:00Z") + hours * 3_600_000 + i64::try_from(session).unwrap()
}

fn instant(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

fn members(group: usize) -> impl Iterator<Item = usize> {
    (0..MEMBERS).map(move |place| (group * 7 + place * 13) % STUDENTS)
}

async fn bulk(hub: &TestHub, kind: &str, things: &[Value], size: usize) {
    let mutation = format!("save{}{}", kind[..1].to_uppercase(), &kind[1..]);
    let begin = Instant::now();
    for chunk in things.chunks(size) {
        hub.done(&mutation, json!({kind: chunk})).await;
    }
    let (count, took) = (things.len(), begin.elapsed());
    println!("{count} {kind} in bulks of {size}: {took:.2?}");
}

async fn term(hub: &TestHub) {
    let named = |prefix: &str, count: usize| -> Vec<String> {
        (0..count).map(|n| format!("{prefix}{n:03}")).collect()
    };
    let buildings: Vec<Value> =
        named("B", BUILDINGS).iter().map(|code| json!({"code": code, "name": code})).collect();
    bulk(hub, "buildings", &buildings, 10_000).await;
    let gateways: Vec<Value> = (0..BUILDINGS)
        .map(|n| json!({"code": format!("GW{n:03}"), "building": format!("B{n:03}")}))
        .collect();
    bulk(hub, "gateways", &gateways, 10_000).await;
    let rooms: Vec<Value> = (0..ROOMS)
        .map(|n| json!({"code": format!("R{n:03}"), "building": format!("B{:03}", n % BUILDINGS)}))
        .collect();
    bulk(hub, "rooms", &rooms, 10_000).await;
    let reader = |n: usize| {
        json!({"code": format!("D{n:03}"), "gateway": format!("GW{:03}", n % BUILDINGS), "room": format!("R{n:03}"),
               "kind": "OSDP"})
    };
    bulk(hub, "readers", &(0..ROOMS).map(reader).collect::<Vec<_>>(), 10_000).await;
    let courses: Vec<Value> =
        named("C", 100).iter().map(|code| json!({"code": code, "title": code})).collect();
    bulk(hub, "courses", &courses, 10_000).await;
    let groups: Vec<Value> = (0..GROUPS)
        .map(|n| json!({"code": format!("G{n:03}"), "course": format!("C{:03}", n % 100)}))
        .collect();
    bulk(hub, "groups", &groups, 10_000).await;
    let begin = Instant::now();
    students(hub, STUDENTS, 0).await;
    println!("{STUDENTS} students and cards: {:.2?}", begin.elapsed());
    let stay = |(group, student): (usize, usize)| json!({"group": format!("G{group:03}"), "student": number(student), "from": "2026-09-21"});
    let stays = (0..GROUPS).flat_map(|group| members(group).map(move |student| (group, student)));
    bulk(hub, "memberships", &stays.map(stay).collect::<Vec<_>>(), 10_000).await;
    let session = |n: usize| {
        json!({"externalId": format!("X{n}"), "title": format!("Session {n}"), "startsAt": instant(starts(n)),
               "endsAt": instant(starts(n) + 3_600_000), "rooms": [format!("R{:03}", n % ROOMS)],
               "groups": [format!("G{:03}", n % GROUPS)]})
    };
    let sessions: Vec<Value> = (0..SESSIONS).map(session).collect();
    bulk(hub, "sessions", &sessions, 1_000).await;
    bulk(hub, "sessions", &sessions, 1_000).await;
    let later: Vec<Value> = sessions
        .iter()
        .map(|session| {
            let mut session = session.clone();
            session["title"] = json!("Renamed");
            session
        })
        .collect();
    bulk(hub, "sessions", &later, 1_000).await;
}

/// So many swipes at the doors of a building, in the order in which they were.
fn swipes_at(gateway: &mut Gateway, building: usize) -> Vec<Value> {
    let mut swipes = Vec::new();
    for session in (0..SESSIONS).filter(|session| session % ROOMS % BUILDINGS == building) {
        let held = gateway.session_at(starts(session)).to_owned();
        for (place, student) in members(session % GROUPS).enumerate() {
            let when = starts(session) - 300_000 + i64::try_from(place).unwrap() * 1_000;
            let door = session % ROOMS / BUILDINGS;
            swipes.push(gateway.swipe(student, door, &instant(when), &[held.as_str()]));
        }
    }
    swipes.truncate(SWIPES);
    swipes
}

/// The gateways of the other buildings hand in at the same time, each batch after batch.
async fn together(hub: &TestHub, hand: Duration) {
    let mut gateways = Vec::new();
    for building in 1..BUILDINGS {
        let mut gateway = Gateway::start(hub, &format!("GW{building:03}")).await;
        let mut swipes = swipes_at(&mut gateway, building);
        for (number, swipe) in (0_u128..).zip(&mut swipes) {
            let of = 0x0199_0000_0000_7000_8000_0000_0000_0000 + ((building as u128) << 40);
            swipe["swipeId"] = json!(Uuid::from_u128(of + number));
            swipe["journalId"] = json!(Uuid::from_u128(7 + building as u128));
        }
        let asked: Vec<(String, Value)> = swipes
            .chunks(BATCH)
            .map(|batch| {
                let watermark = batch.last().unwrap()["swipedAt"].as_str().unwrap().to_owned();
                let asked = gateway.batch(batch, &watermark);
                (watermark, asked)
            })
            .collect();
        gateways.push((gateway.token.clone(), asked, swipes.len()));
    }
    let begin = Instant::now();
    let hands = gateways.iter_mut().map(async |(token, asked, _)| {
        for (watermark, asked) in asked.drain(..) {
            hub.clock.set(&watermark);
            let answer = hub.write_as(token, SHAPE, asked).await;
            let receipts = answer["receipts"].as_array().unwrap();
            assert!(receipts.iter().all(|receipt| receipt["outcome"] == "STORED"));
        }
    });
    futures_util::future::join_all(hands).await;
    let count: usize = gateways.iter().map(|(_, _, count)| count).sum();
    let took = begin.elapsed();
    let rate = count as f64 / took.as_secs_f64();
    println!(
        "{count} swipes of {} gateways at once: {took:.2?}, {rate:.0}/s, {:.2} of the speed by hand (limit 0.5)",
        gateways.len(),
        rate * hand.as_secs_f64() / BATCH as f64
    );
}

async fn intake(hub: &TestHub) {
    let begin = Instant::now();
    let mut gateway = Gateway::start(hub, "GW000").await;
    println!("a gateway's first snapshot: {:.2?}", begin.elapsed());
    let swipes = swipes_at(&mut gateway, 0);
    let mut statistics = None;
    let mut ours = Vec::new();
    for round in ["new", "sent again"] {
        let mut times = Vec::new();
        let begin = Instant::now();
        for (number, batch) in swipes.chunks(BATCH).enumerate() {
            if number == UNKNOWN_BATCHES && statistics.is_none() {
                println!(
                    "the first {UNKNOWN_BATCHES} batches, before there are any statistics: {:.2?}",
                    begin.elapsed()
                );
                // What a server does by itself once a minute, where a term does not come in within seconds.
                statistics = Some(tokio::spawn(keep_statistics(config(hub.folder.path()).database)));
            }
            let watermark = batch.last().unwrap()["swipedAt"].as_str().unwrap().to_owned();
            hub.clock.set(&watermark);
            // What a gateway has to do for it is none of the hub's time.
            let asked = gateway.batch(batch, &watermark);
            let one = Instant::now();
            let answer = hub.write_as(&gateway.token, SHAPE, asked).await;
            let wanted = if round == "new" { "STORED" } else { "DUPLICATE" };
            assert!(
                answer["receipts"].as_array().unwrap().iter().all(|receipt| receipt["outcome"] == wanted)
            );
            times.push(one.elapsed());
        }
        if round == "new" {
            ours = times.clone();
        }
        let took = begin.elapsed();
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        let rate = f64::from(u32::try_from(SWIPES).unwrap()) / took.as_secs_f64();
        println!(
            "{SWIPES} swipes, {round}, in batches of {BATCH}: {took:.2?}, {rate:.0}/s (limit 5,000/s); median batch \
             {median:.2?}, the slowest {worst:.2?}"
        );
    }
    ours.sort_unstable();
    let hand = same_rows(hub, ours[ours.len() / 2]).await;
    together(hub, hand).await;
    statistics.inspect(tokio::task::JoinHandle::abort);
    if rollcall_tests::hub::postgres().is_none() {
        bare(hub).await;
    }
    let present = hub.read("{ attendance(filter: {statuses: [PRESENT]}) { totalCount } }").await;
    println!("{} marks are PRESENT", present["attendance"]["totalCount"]);
}

/// Has PostgreSQL look at its tables each second.
async fn keep_statistics(database: Database) {
    let Database::Postgres(url) = database else { return };
    let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        db.execute("ANALYZE").await.unwrap();
    }
}

/// All rows that the swipes brought about (swipes, credits, marks, changes of marks), written once more into the same tables
/// by prepared statements of many rows, as many swipes in a transaction, by somebody who knows what they will be.
/// Gives how long a batch took.
async fn same_rows(hub: &TestHub, ours: Duration) -> Duration {
    let service = &hub.running.hub;
    let mut tx = service.read().await.unwrap();
    let mut swipes = tx.all::<Swipe>().await.unwrap();
    swipes.sort_by_key(|swipe| swipe.id);
    let ids: Vec<Uuid> = swipes.iter().map(|swipe| swipe.id).collect();
    let mut credits: BTreeMap<Uuid, Vec<Credit>> = BTreeMap::new();
    for credit in tx.credits_of_swipes(&ids).await.unwrap() {
        credits.entry(credit.swipe_id).or_default().push(credit);
    }
    let present: Vec<Attendance> = tx.all::<Attendance>().await.unwrap();
    let present: BTreeMap<(Uuid, Uuid), Attendance> = present
        .into_iter()
        .filter(|mark| mark.status == AttendanceStatus::Present)
        .map(|mark| ((mark.session_id, mark.student_id), mark))
        .collect();
    let marks: Vec<Uuid> = present.values().map(|mark| mark.id).collect();
    let mut changes: BTreeMap<Uuid, Vec<AttendanceChange>> = BTreeMap::new();
    for change in tx.changes_of(&marks).await.unwrap() {
        if change.to == AttendanceStatus::Present {
            changes.entry(change.attendance_id).or_default().push(change);
        }
    }
    drop(tx);
    // As it was before.
    let mut tx = Attempt::only(service).write().await.unwrap();
    for table in ["swipe", "credit", "attendance_change WHERE to_status = 'PRESENT'"] {
        tx.execute(&format!("DELETE FROM {table}"), Vec::new()).await.unwrap();
    }
    let before = |mark: &Attendance| Attendance {
        status: AttendanceStatus::Expected,
        arrived_at: None,
        minutes_late: None,
        ..mark.clone()
    };
    tx.put(&present.values().map(before).collect::<Vec<_>>()).await.unwrap();
    tx.commit().await.unwrap();
    let (mut times, mut rows) = (Vec::new(), 0);
    for batch in swipes.chunks(BATCH) {
        let credits: Vec<Credit> =
            batch.iter().filter_map(|swipe| credits.get(&swipe.id)).flatten().cloned().collect();
        let marks: Vec<Attendance> = credits
            .iter()
            .filter_map(|credit| present.get(&(credit.session_id, credit.student_id)))
            .cloned()
            .collect();
        let changes: Vec<AttendanceChange> =
            marks.iter().filter_map(|mark| changes.get(&mark.id)).flatten().cloned().collect();
        rows += batch.len() + credits.len() + marks.len() + changes.len();
        let one = Instant::now();
        let mut tx = Attempt::only(service).write().await.unwrap();
        tx.insert_swipes(batch).await.unwrap();
        tx.insert_credits(&credits).await.unwrap();
        tx.put(&marks).await.unwrap();
        tx.insert_changes(&changes).await.unwrap();
        tx.commit().await.unwrap();
        times.push(one.elapsed());
    }
    times.sort_unstable();
    let hand = times[times.len() / 2];
    println!(
        "the same {rows} rows by prepared statements into the same tables: median batch {hand:.2?}, {:.0} swipes/s; the hub \
         has {:.2} of its speed (limit 0.5)",
        BATCH as f64 / hand.as_secs_f64(),
        hand.as_secs_f64() / ours.as_secs_f64()
    );
    hand
}

/// The swipes alone by a bare prepared statement into a table without indexes, as many in a transaction.
async fn bare(hub: &TestHub) {
    use sqlx::Row as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(hub.folder.path().join("hub.sqlite"))
        .busy_timeout(std::time::Duration::from_secs(30));
    let mut source = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let sql = "SELECT id, claimed_id, journal_id, sequence, reader_id, room_id, card_key, swiped_at, shown, body FROM swipe";
    let rows = sqlx::query(sql).fetch_all(&mut source).await.unwrap();
    let options = options
        .filename(hub.folder.path().join("bare.sqlite"))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
    let mut bare = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let table = "CREATE TABLE bare (id BLOB PRIMARY KEY, claimed_id BLOB, journal_id BLOB, sequence BIGINT, reader_id BLOB, \
                 room_id BLOB, card_key BLOB, swiped_at BIGINT, shown TEXT, body BLOB)";
    sqlx::query(table).execute(&mut bare).await.unwrap();
    let mut times = Vec::new();
    for chunk in rows.chunks(BATCH) {
        let begin = Instant::now();
        let mut tx = bare.begin().await.unwrap();
        for row in chunk {
            let mut insert = sqlx::query("INSERT INTO bare VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
            for column in 0..10 {
                insert = match column {
                    3 | 7 => insert.bind(row.get::<i64, _>(column)),
                    8 => insert.bind(row.get::<String, _>(column)),
                    _ => insert.bind(row.get::<Option<Vec<u8>>, _>(column)),
                };
            }
            insert.execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    let rate = BATCH as f64 / median.as_secs_f64();
    println!(
        "the swipes alone by a bare prepared statement: median batch of {BATCH} {median:.2?}, {rate:.0}/s"
    );
}

#[tokio::main]
async fn main() {
    let hub = TestHub::start().await;
    let begin = Instant::now();
    term(&hub).await;
    println!("the whole term, sessions three times: {:.2?}", begin.elapsed());
    memory();
    intake(&hub).await;
    memory();
}

/// The most memory that this process has held so far, where the system tells.
fn memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")) {
        println!("{line}");
    }
}
