//! A PostgreSQL server that goes down under load, or gives way to the one that follows it: what a receipt said is there
//! afterwards, once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reader_sim::postgres::{TemporaryPostgres, url};
use rollcall_hub::app;
use rollcall_hub::config::{Config, Database};
use rollcall_tests::hub::{TestHub, at, clock, config};
use rollcall_tests::timetable::{Gateway, all_present_once, estate, morning, session, students};
use serde_json::{Value, json};
use sqlx::{Connection, Executor as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

const STUDENTS: usize = 300;
const CRASHES: usize = 3;
/// The name of a server's socket in its folder (PostgreSQL manual, 20.3.1).
const SOCKET: &str = ".s.PGSQL.5432";

/// Three hands send the swipes, each its own in order, while something happens; gives how often they had to send again.
async fn hand_all_over(
    hub: &TestHub,
    gateway: &Gateway,
    swipes: &[Value],
    stored: &watch::Sender<usize>,
    meanwhile: impl Future<Output = ()>,
) -> usize {
    let post = async |query: &str, input| hub.post(Some(&gateway.token), query, input).await.1;
    let hand = async |part: usize| {
        let mine: Vec<_> = swipes.iter().skip(part).step_by(3).cloned().collect();
        gateway.hand_over(&mine, &at("10:10"), stored, &post).await
    };
    let all = async { tokio::join!(hand(0), hand(1), hand(2), meanwhile) };
    let (one, two, three, ()) = tokio::time::timeout(Duration::from_secs(180), all).await.unwrap();
    assert_eq!(*stored.borrow(), STUDENTS);
    one + two + three
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_receipt_said_is_there_after_the_server_crashed() {
    let server = Arc::new(TemporaryPostgres::start().unwrap());
    let hub = TestHub::on(Database::Postgres(server.url("rollcall"))).await;
    let (gateway, swipes) = morning(&hub, STUDENTS).await;
    let stored = watch::Sender::new(0);
    let crashes = async {
        for round in 1..=CRASHES {
            // In the middle of the work, wherever that is.
            let so_many = round * STUDENTS / (CRASHES + 2);
            stored.subscribe().wait_for(|count| *count >= so_many).await.unwrap();
            let server = server.clone();
            tokio::task::spawn_blocking(move || server.crash().unwrap()).await.unwrap();
        }
    };
    let cut_off = hand_all_over(&hub, &gateway, &swipes, &stored, crashes).await;
    assert!(cut_off + again(&hub) > 0, "no transaction met a crash");
    all_present_once(&hub, STUDENTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_receipt_said_is_there_after_a_fail_over() {
    let first = Arc::new(TemporaryPostgres::start().unwrap());
    let front = tempfile::tempdir().unwrap();
    let written_to = watch::Sender::new(first.socket());
    let relay =
        tokio::spawn(relay(UnixListener::bind(front.path().join(SOCKET)).unwrap(), written_to.clone()));
    let address = url(front.path().to_str().unwrap(), "rollcall");
    let hub = TestHub::on(Database::Postgres(address)).await;
    let (gateway, swipes) = morning(&hub, STUDENTS).await;
    let second = tokio::task::spawn_blocking({
        let first = first.clone();
        move || first.standby().unwrap()
    });
    let second = Arc::new(second.await.unwrap());

    let stored = watch::Sender::new(0);
    let fail_over = async {
        stored.subscribe().wait_for(|count| *count >= STUDENTS / 3).await.unwrap();
        let (first, second) = (first.clone(), second.clone());
        let socket = second.socket();
        let over = move || {
            first.kill().unwrap();
            second.promote().unwrap();
        };
        tokio::task::spawn_blocking(over).await.unwrap();
        written_to.send_replace(socket);
    };
    let cut_off = hand_all_over(&hub, &gateway, &swipes, &stored, fail_over).await;
    assert!(cut_off + again(&hub) > 0, "no transaction met the fail-over");
    all_present_once(&hub, STUDENTS).await;
    relay.abort();
}

/// How many transactions the hub attempted again.
fn again(hub: &TestHub) -> usize {
    usize::try_from(hub.running.hub.attempted_again()).unwrap()
}

/// Passes each connection on to the server that is written to by then.
async fn relay(listener: UnixListener, written_to: watch::Sender<String>) {
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        let to = Path::new(&*written_to.borrow()).join(SOCKET);
        tokio::spawn(async move {
            if let Ok(mut to) = UnixStream::connect(to).await {
                // Whichever side breaks off, the other hears of it by its end.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

#[tokio::test]
async fn an_engine_whose_locks_do_nothing_is_refused_unless_writers_take_no_turns() {
    let server = TemporaryPostgres::start().unwrap();
    // The server's own functions, hidden behind ones that only know the names.
    let mut db = sqlx::PgConnection::connect(&server.url("rollcall")).await.unwrap();
    let hidden =
        "CREATE FUNCTION public.pg_try_advisory_xact_lock(BIGINT) RETURNS BOOL LANGUAGE sql AS 'SELECT TRUE'";
    db.execute(hidden).await.unwrap();
    db.execute("ALTER ROLE postgres SET search_path = public, pg_catalog").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = Config { database: Database::Postgres(server.url("rollcall")), ..config(folder.path()) };
    let said = format!("{:#}", app::open(&config, clock()).await.err().unwrap());
    for word in [
        "postgres:///rollcall",
        "one advisory lock to two at once",
        "isolation=serializable",
        "nothing was changed",
    ] {
        assert!(said.contains(word), "{said}");
    }
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&mut db).await.unwrap(), 0);

    let with = |isolation: &str| Config {
        database: Database::Postgres(format!("{}&isolation={isolation}", server.url("rollcall"))),
        ..config.clone()
    };
    let said = format!("{:#}", app::open(&with("chaos"), clock()).await.err().unwrap());
    assert!(said.contains("isolation=chaos is not known; say isolation=turns"), "{said}");
    let hub = app::open(&with("serializable"), clock()).await.unwrap();
    drop(hub);
    assert!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&mut db).await.unwrap() > 30);
}

/// Which table each row of one that has parts lies in, by the row's id.
async fn parts(db: &mut sqlx::PgConnection, table: &str) -> Vec<String> {
    let sql = format!("SELECT tableoid::regclass::TEXT FROM {table} ORDER BY id");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(db).await.unwrap()
}

#[tokio::test]
async fn each_month_has_a_table_of_its_own_and_rows_from_before_move_into_it() {
    let server = TemporaryPostgres::start().unwrap();
    let hub = TestHub::on(Database::Postgres(server.url("rollcall"))).await;
    let mut db = sqlx::PgConnection::connect(&server.url("rollcall")).await.unwrap();
    estate(&hub).await;
    students(&hub, 3, 2).await;
    hub.done("saveSession", session("S", "09:00", "10:00")).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    let green = gateway.session("09:00").to_owned();
    let minted = |at: &str| {
        let ms = u64::try_from(rollcall_tests::hub::ms(at)).unwrap();
        json!(uuid::Builder::from_unix_timestamp_millis(ms, &[1; 10]).into_uuid())
    };
    hub.clock.set(&at("10:30"));
    // One by a clock that was ahead, one of now, one by a clock that had no idea.
    let swipes = ["1970-01-09T00:00:00Z", &at("09:05"), "2027-03-31T23:59:59.999Z"].map(|when| {
        let mut swipe = gateway.swipe(0, 0, &at("09:05"), &[green.as_str()]);
        swipe["swipeId"] = minted(when);
        swipe
    });
    assert_eq!(gateway.submit(&hub, &swipes, &at("10:10")).await, ["STORED"; 3]);
    assert_eq!(gateway.submit(&hub, &swipes, &at("10:10")).await, ["DUPLICATE"; 3]);
    assert_eq!(parts(&mut db, "swipe").await, ["swipe_other", "swipe_2026_10", "swipe_other"]);
    assert_eq!(parts(&mut db, "attendance").await, ["attendance_2026_10"; 2]);
    let count =
        "{ swipes(first: 5) { totalCount } attendance(filter: {statuses: [PRESENT]}) { totalCount } }";
    let before = hub.read(count).await;
    assert_eq!(before, json!({"swipes": {"totalCount": 3}, "attendance": {"totalCount": 1}}));

    // When that month comes and somebody reads for long, nobody waits for long, nor does a hub that starts.
    hub.clock.set("2027-01-31T23:59:59Z");
    let mut export = hub.running.hub.read().await.unwrap();
    export.fetch("SELECT id FROM swipe", Vec::new()).await.unwrap();
    hub.running.hub.keep_months().await.unwrap();
    hub.done("saveBuildings", json!({"buildings": [{"code": "B", "name": "Building B"}]})).await;
    assert_eq!(parts(&mut db, "swipe").await, ["swipe_other", "swipe_2026_10", "swipe_other"]);
    drop(export);
    // Then it gets its table, and what lay elsewhere is in it.
    hub.running.hub.keep_months().await.unwrap();
    let ahead = ["swipe_other", "swipe_2026_10", "swipe_2027_03"];
    assert_eq!(parts(&mut db, "swipe").await, ahead);
    assert_eq!(hub.read(count).await, before);
    // A hub that comes up beside finds all of it made.
    let beside = TestHub::on(Database::Postgres(server.url("rollcall"))).await;
    assert_eq!(beside.read(count).await, before);
    assert_eq!(parts(&mut db, "swipe").await, ahead);
}
