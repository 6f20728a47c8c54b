//! A hub whose database has no room left, on either engine: it says so, keeps nothing half, goes on answering, and takes what
//! gateways hand over again once there is room.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::cell::Cell;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use reader_sim::postgres::TemporaryPostgres;
use rollcall_hub::config::Database;
use rollcall_tests::chaos::mount::Mount;
use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::timetable::{all_present_once, morning};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::watch;

const STUDENTS: usize = 300;
/// How often the full disk turns a batch down before room is made.
const TURNED_DOWN: usize = 5;

/// A file system of so many MiB, or why there is none.
async fn small_disk(folder: &Path, mib: u64) -> Option<Mount> {
    match Mount::memory(folder, mib << 10).await {
        Ok(disk) => Some(disk),
        Err(why) => {
            eprintln!("skipped: a hub's full disk, for want of a mount: {why}");
            None
        }
    }
}

/// Takes all room that is left, to the last block.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
}

/// Hands a morning over to a hub whose disk is full at first.
async fn turned_down_and_taken_later(hub: &TestHub, disk: &Path) {
    let (gateway, swipes) = morning(hub, STUDENTS).await;
    let ballast = disk.join("ballast");
    fill(&ballast);
    let stored = watch::Sender::new(0);
    let turned_down = Cell::new(0);
    let post = async |query: &str, input: Value| {
        let (status, body) = hub.post(Some(&gateway.token), query, input).await;
        if body["data"]["gatewaySubmitSwipes"]["receipts"].is_array() {
            return body;
        }
        assert_eq!(
            (status, &body["errors"][0]["extensions"]["code"]),
            (200, &json!("UNAVAILABLE")),
            "{body}"
        );
        let said = body["errors"][0]["message"].as_str().unwrap();
        assert!(said.contains("disk of the hub's database is full. Nothing was changed"), "{said}");
        // It goes on answering, and has those that it gave receipts for and no others.
        let there = hub.read("{ swipes(first: 1) { totalCount } }").await;
        assert_eq!(there, json!({"swipes": {"totalCount": *stored.borrow()}}));
        turned_down.set(turned_down.get() + 1);
        if turned_down.get() == TURNED_DOWN {
            std::fs::remove_file(&ballast).unwrap();
        }
        body
    };
    let again = gateway.hand_over(&swipes, &at("10:10"), &stored, &post).await;
    assert_eq!(again, TURNED_DOWN, "and once there is room all goes in at once");
    all_present_once(hub, STUDENTS).await;
}

#[tokio::test]
async fn what_a_full_disk_turns_down_goes_in_once_there_is_room() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = small_disk(folder.path(), 24).await else { return };
    let hub = TestHub::on(Database::Sqlite(disk.at().join("hub.sqlite"))).await;
    turned_down_and_taken_later(&hub, disk.at()).await;
    hub.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_servers_full_disk_turns_down_goes_in_once_there_is_room() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = small_disk(folder.path(), 64).await else { return };
    let server = TemporaryPostgres::start().unwrap();
    // Only the tables lie on it: a server that cannot write its log stops altogether, and comes back as after a crash.
    let given = Command::new("chown").arg("postgres").arg(disk.at()).status().unwrap();
    assert!(given.success());
    // The way to it is for everyone.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let mut db = PgConnection::connect(&server.url("rollcall")).await.unwrap();
    let place = format!("CREATE TABLESPACE small LOCATION '{}'", disk.at().display());
    db.execute(AssertSqlSafe(place)).await.unwrap();
    db.execute("CREATE DATABASE small TABLESPACE small").await.unwrap();
    db.close().await.unwrap();
    let hub = TestHub::on(Database::Postgres(server.url("small"))).await;
    turned_down_and_taken_later(&hub, disk.at()).await;
    hub.running.stop().await.unwrap();
    drop(server);
}
