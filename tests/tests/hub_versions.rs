//! A database that an older version of the hub made comes up to this one with all that was in it; one that a newer version
//! made is refused and stays as it was. On either engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::borrow::Cow;
use std::path::Path;

use rollcall_hub::app;
use rollcall_hub::config::Database;
use rollcall_hub::store::NEWEST;
use rollcall_hub::store::downgrade::{Lost, downgrade};
use rollcall_tests::hub::{TestHub, at, clock, config, make_database, ms, only_on_sqlite};
use rollcall_tests::timetable::estate;
use serde_json::json;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor as _, PgConnection, Row, SqlSafeStr as _, SqliteConnection};
use tempfile::TempDir;

#[tokio::test]
async fn a_server_of_a_newer_version_is_refused_by_its_number() {
    let Some(socket) = rollcall_tests::hub::postgres() else {
        eprintln!("left out: this is about PostgreSQL; run with-postgres");
        return;
    };
    let TestHub { running, folder, .. } = TestHub::start().await;
    running.stop().await.unwrap();
    let Database::Postgres(url) = config(folder.path()).database else { panic!("{socket} is not used") };
    let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99, 'from the future', TRUE, '', 0)";
    sqlx::query(newer).execute(&mut db).await.unwrap();
    let said = format!("{:#}", app::open(&config(folder.path()), clock()).await.err().unwrap());
    for word in ["version 99", "newer version", "nothing was changed", "postgres:///t"] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_by_its_number_and_stays_as_it_was() {
    if !only_on_sqlite() {
        return;
    }
    let hub = TestHub::start().await;
    estate(&hub).await;
    let TestHub { running, folder, .. } = hub;
    running.stop().await.unwrap();
    let path = folder.path().join("hub.sqlite");
    let url = format!("sqlite:{}", path.display());
    let dump = async || {
        let mut db = SqliteConnection::connect(&url).await.unwrap();
        let sql = "SELECT name || ' ' || COALESCE(sql, '') FROM sqlite_master UNION ALL \
                   SELECT version || ' ' || description FROM _sqlx_migrations UNION ALL \
                   SELECT code || ' ' || name FROM building ORDER BY 1";
        let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    };
    let mut db = SqliteConnection::connect(&url).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99, 'from the future', TRUE, x'00', 0)";
    sqlx::query(newer).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    let before = dump().await;
    let error = app::open(&config(folder.path()), clock()).await.err().unwrap();
    let said = format!("{error:#}");
    for word in ["version 99", "newer version", "nothing was changed", "hub.sqlite"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(dump().await, before);
}

/// Every version's text, in order, as the engine of these tests has it.
fn versions() -> Vec<Migration> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hub/migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (number, name) = name.split_once('_').unwrap();
        let mut sql = std::fs::read_to_string(path).unwrap();
        if rollcall_tests::hub::postgres().is_some() {
            sql = sql.replace(" BLOB", " BYTEA").replace(" TEXT", " TEXT COLLATE \"C\"");
        }
        let sql = AssertSqlSafe(sql).into_sql_str();
        let name = Cow::Owned(name.replace('_', " "));
        Migration::new(number.parse().unwrap(), name, MigrationType::Simple, sql, false)
    };
    files.iter().map(read).collect()
}

/// A register with its student, from the first version on: `{n}` stands for an id, `{time}` for milliseconds.
const A_REGISTER: &str = "
    INSERT INTO building VALUES ({1}, 'A', 'Building A', 1, {9}, 0);
    INSERT INTO room VALUES ({2}, 'R1', 'Room 1', {1}, 30);
    INSERT INTO student VALUES ({3}, 'S1', 'Ada', NULL, 'ACTIVE', 1), ({4}, 'S2', 'Bo', 'bo@example.org', 'ACTIVE', 1);
    INSERT INTO course VALUES ({5}, 'C', 'Course C');
    INSERT INTO class_group VALUES ({6}, 'G', NULL, {5}, 'LECTURE');
    INSERT INTO membership VALUES ({7}, {6}, {3}, '2026-09-28', NULL, {start}, NULL, 'IMPORT'),
                                  ({8}, {6}, {4}, '2026-09-28', NULL, {start}, NULL, 'IMPORT');
    INSERT INTO policy (id, from_at, opens_before_ms, closes_after_ms, overlap, outage_tolerance_ms, settle_limit_ms)
        VALUES ({a}, {start}, 2700000, 0, 'NEAREST_START', 600000, 2419200000);
    INSERT INTO session VALUES ({b}, 'X', 'LECTURE', 'A lecture', {5}, {from}, {until}, 0, 0, 3, {c}, 'FINAL', 2, {until}, {until});
    INSERT INTO session_room VALUES ({b}, {2}, NULL, NULL);
    INSERT INTO session_group VALUES ({b}, {6});
    INSERT INTO attendance VALUES ({d}, {b}, {3}, 'PRESENT', 'READER', {from}, 0, 0, 0, 1, {until}),
                                  ({e}, {b}, {4}, 'ABSENT', 'RULE', NULL, NULL, 0, 0, 1, {until});
    INSERT INTO attendance_change VALUES ({d}, 1, {until}, NULL, NULL, 'PRESENT', 'READER', NULL),
                                         ({e}, 1, {until}, NULL, NULL, 'ABSENT', 'RULE', NULL);
    INSERT INTO gateway VALUES ({f}, 'GW', {1}, {start}, '0.1.0', {noon}, {noon}, {noon}, NULL);
    INSERT INTO reader VALUES ({g}, 'D1', {f}, {2}, 'OSDP', 1, 1, 'OFF', NULL, {noon}, {from});
    INSERT INTO card VALUES ({h}, 'K1', {3}, {start}, NULL);
    INSERT INTO credential VALUES ({h}, 128, {i});
    INSERT INTO swipe VALUES ({j}, {j}, {f}, {k}, 1, {g}, {2}, {1}, NULL, 128, {h}, {3}, {3}, {from}, {from}, {from}, {from},
        'SYNCED', 'RECORDED', 'RECORDED', {from},
        '{\"decision\": \"RECORDED\", \"reason\": \"RECORDED\", \"light\": \"GREEN\", \"sessions\": [], \"basis\": \"\"}', {j});
    INSERT INTO credit VALUES ({b}, {3}, {j}, 0);";

/// The same, as the engine of these tests writes it.
fn a_register() -> String {
    let mut sql = A_REGISTER.to_owned();
    for (digit, n) in ('1'..='9').chain('a'..='k').zip(1_u128..) {
        let id = format!("{n:032x}");
        let id = match rollcall_tests::hub::postgres() {
            Some(_) => format!("'\\x{id}'::bytea"),
            None => format!("x'{id}'"),
        };
        sql = sql.replace(&format!("{{{digit}}}"), &id);
    }
    let times = [
        ("start", "2026-09-01T00:00:00Z".to_owned()),
        ("from", at("09:00")),
        ("until", at("10:00")),
        ("noon", at("12:00")),
    ];
    for (word, time) in times {
        sql = sql.replace(&format!("{{{word}}}"), &ms(&time).to_string());
    }
    sql
}

/// Tables with their columns and indexes, in the order of their names.
async fn shape(database: &Database) -> Vec<String> {
    match database {
        Database::Sqlite(path) => {
            let mut db = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
            let sql = "SELECT m.name || ' ' || COALESCE(c.name, '') || ' ' || COALESCE(c.type, '') || ' ' || COALESCE(c.\"notnull\", '')
                       FROM sqlite_master m LEFT JOIN pragma_table_info(m.name) c ON TRUE ORDER BY 1";
            db.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
        }
        Database::Postgres(url) => {
            let mut db = PgConnection::connect(url).await.unwrap();
            let sql = "SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable FROM information_schema.columns
                       WHERE table_schema = 'public' UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1";
            db.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
        }
    }
}

/// Makes a database in two steps, with a register after the first.
async fn make(database: &Database, [first, more]: &[Migrator; 2]) {
    match database {
        Database::Sqlite(path) => {
            let url = format!("sqlite:{}?mode=rwc", path.display());
            let mut db = SqliteConnection::connect(&url).await.unwrap();
            first.run(&mut db).await.unwrap();
            db.execute(AssertSqlSafe(a_register())).await.unwrap();
            more.run(&mut db).await.unwrap();
            db.close().await.unwrap();
        }
        Database::Postgres(url) => {
            let mut db = PgConnection::connect(url).await.unwrap();
            first.run(&mut db).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(a_register())).execute(&mut db).await.unwrap();
            more.run(&mut db).await.unwrap();
            db.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_of_each_earlier_version_comes_up_with_what_was_in_it() {
    let fresh = TestHub::start().await;
    let wanted = shape(&config(fresh.folder.path()).database).await;
    let all = versions();
    for so_many in 1..all.len() {
        let folder = TempDir::new().unwrap();
        make_database(folder.path()).await;
        let (first, more) = (all[..1].to_vec(), all[..so_many].to_vec());
        let steps = [Migrator::with_migrations(first), Migrator::with_migrations(more)];
        let database = config(folder.path()).database;
        make(&database, &steps).await;
        let hub = TestHub::over(folder).await;
        assert_eq!(shape(&database).await, wanted, "from version {so_many}");
        let query = "{ session(by: {externalId: \"X\"}) { title rooms { code } policy { opensBefore overlap } register { state
                         summary { present absent } entries { nodes { student { number email } status history { to } } } } }
                       attendancePolicies { kind opensBefore }
                       student(by: {number: \"S1\"}) { cards { code numberTail } }
                       swipes { nodes { decision clockTrust shown { light } reader { code } gateway { code } room { code }
                         student { number } card { code } } } }";
        let found = hub.read(query).await;
        let wanted = json!({
            "session": {"title": "A lecture", "rooms": [{"code": "R1"}], "policy": {"opensBefore": "PT45M", "overlap": "NEAREST_START"},
                "register": {"state": "FINAL", "summary": {"present": 1, "absent": 1}, "entries": {"nodes": [
                    {"student": {"number": "S1", "email": null}, "status": "PRESENT", "history": [{"to": "PRESENT"}]},
                    {"student": {"number": "S2", "email": "bo@example.org"}, "status": "ABSENT", "history": [{"to": "ABSENT"}]}]}}},
            "attendancePolicies": [{"kind": null, "opensBefore": "PT45M"}],
            "student": {"cards": [{"code": "K1", "numberTail": "0012"}]},
            "swipes": {"nodes": [{"decision": "RECORDED", "clockTrust": "SYNCED", "shown": {"light": "GREEN"},
                "reader": {"code": "D1"}, "gateway": {"code": "GW"}, "room": {"code": "R1"},
                "student": {"number": "S1"}, "card": {"code": "K1"}}]}});
        assert_eq!(found, wanted, "from version {so_many}");
        // And it goes on from there.
        hub.clock.set("2026-10-06T08:00:00Z");
        hub.done("saveStudent", json!({"number": "S3", "name": "Cy"})).await;
        hub.done("saveMembership", json!({"group": "G", "student": "S3", "from": "2026-10-01"})).await;
        let query =
            "{ session(by: {externalId: \"X\"}) { register { state entries { nodes { status } } } } }";
        let register = hub.read(query).await["session"]["register"].take();
        let marks = json!([{"status": "PRESENT"}, {"status": "ABSENT"}, {"status": "ABSENT"}]);
        assert_eq!(
            register,
            json!({"state": "FINAL", "entries": {"nodes": marks}}),
            "derived from its swipe, from version {so_many}"
        );
        hub.running.stop().await.unwrap();
    }
}

/// A hub with something in most of what later versions brought.
async fn a_hub_in_use(folder: TempDir) -> TestHub {
    let all = versions();
    make_database(folder.path()).await;
    let steps = [Migrator::with_migrations(all[..1].to_vec()), Migrator::with_migrations(all.clone())];
    make(&config(folder.path()).database, &steps).await;
    let hub = TestHub::over(folder).await;
    hub.clock.set("2026-10-06T08:00:00Z");
    hub.done("saveStudent", json!({"number": "S3", "name": "Cy", "programme": "Chemistry"})).await;
    hub.done("saveMembership", json!({"group": "G", "student": "S3", "from": "2026-10-01"})).await;
    let policy = json!({"from": "2026-11-01T00:00:00Z", "kind": "EXAMINATION", "opensBefore": "PT60M"});
    let saved = hub.write_as(&hub.admin, "saveAttendancePolicy", policy).await;
    assert_eq!(saved["errors"], json!([]));
    hub
}

/// What every version has of the register and of what came in later.
const KEPT: &str = "{ session(by: {externalId: \"X\"}) { register { state entries { nodes { student { number } status } } } }
    swipes { nodes { decision student { number } card { code } } } }";

/// Tables with their columns and indexes, but for months' own tables, and what is indexed anew where there are such.
async fn shape_but_for_months(database: &Database) -> Vec<String> {
    let mut shape = shape(database).await;
    if matches!(database, Database::Postgres(_)) {
        shape.retain(|line| {
            let part = ["swipe_other", "attendance_other", "swipe_20", "attendance_20"];
            let index = ["INDEX swipe_", "INDEX attendance_"];
            !part.iter().chain(&index).any(|word| line.contains(word))
        });
    }
    shape
}

#[tokio::test]
async fn a_database_goes_back_to_each_earlier_version_and_comes_up_again_with_what_that_has_a_place_for() {
    let hub = a_hub_in_use(TempDir::new().unwrap()).await;
    let wanted = hub.read(KEPT).await;
    assert_eq!(wanted["session"]["register"]["entries"]["nodes"].as_array().unwrap().len(), 3, "{wanted}");
    let TestHub { running, folder, .. } = hub;
    running.stop().await.unwrap();
    let database = config(folder.path()).database;
    let all = versions();
    let newest = i64::try_from(all.len()).unwrap();
    assert_eq!(newest, NEWEST);
    for so_many in (1..all.len()).rev() {
        let to = i64::try_from(so_many).unwrap();
        let gone_back = downgrade(&database, to, false).await.unwrap();
        assert_eq!(gone_back.from, to + 1);
        let (other, steps) = (TempDir::new().unwrap(), [all[..1].to_vec(), all[..so_many].to_vec()]);
        make_database(other.path()).await;
        let as_made = config(other.path()).database;
        make(&as_made, &steps.map(Migrator::with_migrations)).await;
        assert_eq!(
            shape_but_for_months(&database).await,
            shape_but_for_months(&as_made).await,
            "as version {to} makes it"
        );
    }
    let hub = TestHub::over(folder).await;
    assert_eq!(hub.read(KEPT).await, wanted, "after all the way back, and up again");
    let policies = hub.read("{ attendancePolicies { kind opensBefore } }").await;
    assert_eq!(policies, json!({"attendancePolicies": [{"kind": null, "opensBefore": "PT45M"}]}));
}

#[tokio::test]
async fn going_back_says_what_is_lost_and_looking_changes_nothing() {
    let TestHub { running, folder, .. } = a_hub_in_use(TempDir::new().unwrap()).await;
    let database = config(folder.path()).database;
    let said = format!("{:#}", downgrade(&database, 12, false).await.unwrap_err());
    for word in ["did not go back to version 12", "stop all of them first"] {
        assert!(said.contains(word), "{said}");
    }
    running.stop().await.unwrap();
    let before = shape(&database).await;
    let lost = |table: &str, column: Option<&str>, count| Lost {
        table: table.to_owned(),
        column: column.map(str::to_owned),
        count,
    };
    for only_look in [true, false] {
        assert_eq!(shape(&database).await, before);
        let gone_back = downgrade(&database, 11, only_look).await.unwrap();
        assert_eq!(gone_back.from, NEWEST);
        // That of lectures alone, and what came to be known of the student and the stay.
        let wanted =
            [lost("policy", None, 1), lost("policy", Some("kind"), 1), lost("student", Some("programme"), 1)];
        for wanted in wanted {
            assert!(gone_back.lost.contains(&wanted), "{wanted}: {:?}", gone_back.lost);
        }
        assert!(!gone_back.lost.iter().any(|lost| lost.table == "attendance"), "{:?}", gone_back.lost);
    }
    for (to, word) in [(0, "1 to"), (NEWEST + 1, "1 to"), (12, "has schema version 11 already")] {
        let said = format!("{:#}", downgrade(&database, to, false).await.unwrap_err());
        assert!(said.contains(word), "{said}");
    }
}
