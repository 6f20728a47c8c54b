//! A database that a newer version of the hub made is refused, on either engine, and stays as it was.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::app;
use rollcall_hub::config::Database;
use rollcall_tests::hub::{TestHub, clock, config, only_on_sqlite};
use rollcall_tests::timetable::estate;
use sqlx::{Connection, Row, SqliteConnection};

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
