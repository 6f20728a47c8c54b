//! How fast the hub answers where much is in it: 30,000 students, 3,000,000 marks, in a SQLite file.
//!
//! Prints a line for each figure with its limit: the time of a cold start, a page of students with their share, the
//! register of a session of 80 beside hand-written SQL and serde_json behind the same web server, in turns.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: it says what it found, or stops"
)]

use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::routing::get;
use rollcall_hub::app;
use rollcall_tests::hub::{TestHub, clock, config, ms};
use serde_json::json;
use sqlx::{Connection as _, Row as _, SqliteConnection, SqlitePool};
use tempfile::TempDir;
use uuid::Uuid;

/// As the program has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STUDENTS: usize = 30_000;
const CLASS: usize = 80;

fn id(kind: u8, number: usize) -> Vec<u8> {
    // As ids are that were minted one after the other.
    Uuid::from_u128(u128::from(kind) << 64 | number as u128 | 0x0190_0000_0000_7000_8000_0000_0000_0000)
        .as_bytes()
        .to_vec()
}

/// Fills the tables as a term fills them, past the hub, which would take hours.
async fn fill(path: &std::path::Path, sessions: usize) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).pragma("cache_size", "-1000000");
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    for student in 0..STUDENTS {
        sqlx::query("INSERT INTO student (id, number, name, email, state, at_door) VALUES ($1, $2, $3, NULL, 'ACTIVE', 1)")
            .bind(id(1, student))
            .bind(format!("S{student:06}"))
            .bind(format!("Student {:05}", student * 7_919 % STUDENTS))
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    let begin = ms("2026-09-28T08:00:00Z");
    for session in 0..sessions {
        let starts = begin + i64::try_from(session).unwrap() * 240_000;
        sqlx::query(
            "INSERT INTO session (id, external_id, kind, title, course_id, starts_at, ends_at, cancelled, moved, revision, \
             register_id, register_state, register_revision, closes_at, final_at) \
             VALUES ($1, $2, 'LECTURE', $3, NULL, $4, $5, 0, 0, 1, $6, 'FINAL', 1, $5, $5)",
        )
        .bind(id(2, session))
        .bind(format!("X{session}"))
        .bind(format!("Session {session}"))
        .bind(starts)
        .bind(starts + 3_600_000)
        .bind(id(3, session))
        .execute(&mut *tx)
        .await
        .unwrap();
        for place in 0..CLASS {
            let mark = session * CLASS + place;
            let (status, arrived) =
                if mark.is_multiple_of(7) { ("ABSENT", None) } else { ("PRESENT", Some(starts)) };
            sqlx::query(
                "INSERT INTO attendance (id, session_id, student_id, status, source, arrived_at, minutes_late, shared_swipe, \
                 honoured, revision, updated_at) VALUES ($1, $2, $3, $4, 'READER', $5, 0, 0, 0, 1, $6)",
            )
            .bind(id(4, mark))
            .bind(id(2, session))
            .bind(id(1, (session * 37 + place * 373) % STUDENTS))
            .bind(status)
            .bind(arrived)
            .bind(starts)
            .execute(&mut *tx)
            .await
            .unwrap();
        }
    }
    tx.commit().await.unwrap();
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The same register by hand: one statement, one serialisation.
async fn by_hand(
    State(pool): State<SqlitePool>,
    Path(session): Path<usize>,
) -> axum::Json<serde_json::Value> {
    let rows = sqlx::query(
        "SELECT a.status, a.arrived_at, a.minutes_late, s.number, s.name FROM attendance a JOIN student s ON s.id = a.student_id \
         WHERE a.session_id = $1 ORDER BY s.name, a.id LIMIT 100",
    )
    .bind(id(2, session))
    .fetch_all(&pool)
    .await
    .unwrap();
    let entries: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            let arrived = row.get::<Option<i64>, _>(1).map(|at| jiff::Timestamp::from_millisecond(at).unwrap().to_string());
            json!({"status": row.get::<String, _>(0), "arrivedAt": arrived, "minutesLate": row.get::<Option<i64>, _>(2),
                   "student": {"number": row.get::<String, _>(3), "displayName": row.get::<String, _>(4)}})
        })
        .collect();
    axum::Json(json!({"data": {"session": {"register": {"entries": {"nodes": entries}}}}}))
}

const REGISTER: &str = "query($of: String!) { session(by: {externalId: $of}) { register { entries(first: 100) { nodes { status arrivedAt \
     minutesLate student { number displayName } } } } } }";
const PAGE: &str = "query($after: String) { students(first: 50, after: $after) { nodes { number displayName attendanceSummary { attendedShare present \
     absent } } pageInfo { endCursor } } }";

#[tokio::main]
async fn main() {
    // Others, where somebody wants to look at one figure again and again: how many sessions, how many rounds.
    let mut numbers = std::env::args().filter_map(|word| word.parse::<usize>().ok());
    let sessions = numbers.next().unwrap_or(37_500);
    let rounds = numbers.next().unwrap_or(200);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hub.sqlite");
    let hub = TestHub::start_in(folder).await;
    let begin = Instant::now();
    fill(&path, sessions).await;
    println!(
        "{STUDENTS} students, {sessions} sessions, {} marks, put in by hand: {:.1?}",
        sessions * CLASS,
        begin.elapsed()
    );

    let mut times = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let started = app::start(&config(hub.folder.path()), clock()).await.unwrap();
        times.push(begin.elapsed());
        started.stop().await.unwrap();
    }
    println!("start with them there: {:.1?} (limit 2 s)", median(times));

    let (mut times, mut after) = (Vec::new(), serde_json::Value::Null);
    for _ in 0..rounds.min(STUDENTS / 50 - 1) {
        let begin = Instant::now();
        let data = hub.data(&hub.integration, PAGE, json!({"after": after})).await;
        times.push(begin.elapsed());
        assert_eq!(data["students"]["nodes"].as_array().unwrap().len(), 50);
        assert!(
            data["students"]["nodes"][0]["attendanceSummary"]["attendedShare"]
                .as_f64()
                .is_some_and(|share| share > 0.5)
        );
        after = data["students"]["pageInfo"]["endCursor"].clone();
    }
    println!(
        "a page of 50 students with their share, {rounds} pages: median {:.2?} (limit 10 ms)",
        median(times)
    );

    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/{session}", get(by_hand)).with_state(pool);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let (mut ours, mut hand) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let session = round * 181 % sessions;
        let begin = Instant::now();
        let data = hub.data(&hub.integration, REGISTER, json!({"of": format!("X{session}")})).await;
        ours.push(begin.elapsed());
        assert_eq!(data["session"]["register"]["entries"]["nodes"].as_array().unwrap().len(), CLASS);
        let begin = Instant::now();
        let body = rollcall_tests::hub::get_from(address, &format!("/{session}")).await;
        let data: serde_json::Value = serde_json::from_slice(&body).unwrap();
        hand.push(begin.elapsed());
        assert_eq!(data["data"]["session"]["register"]["entries"]["nodes"].as_array().unwrap().len(), CLASS);
    }
    server.abort();
    let (ours, hand) = (median(ours), median(hand));
    println!(
        "a register of {CLASS}: GraphQL {ours:.2?}, by hand {hand:.2?}: {:.2} of its speed (limit 0.6)",
        hand.as_secs_f64() / ours.as_secs_f64()
    );
}
