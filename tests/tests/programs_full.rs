//! Disks that fill up: in the middle of an import nothing of it is there, and once there is room all of it; and a gateway
//! goes on keeping the time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::io::Write;

use rollcall_gateway::clock::{Clock, Instant, SystemClock, last_alive};
use rollcall_tests::chaos::mount::Mount;
use rollcall_tests::programs::run;
use rollcall_tests::programs::site::{HUB, failed_naming};
use tempfile::TempDir;

#[tokio::test]
async fn a_gateway_goes_on_keeping_when_it_last_ran_while_its_disk_is_full() {
    let folder = TempDir::new().unwrap();
    let disk = match Mount::memory(folder.path(), 256).await {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("skipped: a_gateway_goes_on_keeping…, for want of a mount: {why}");
            return;
        }
    };
    let file = disk.at().join("clock.json");
    let clock = SystemClock::new(file.clone());
    clock.keep().unwrap();
    let first = last_alive(&file).unwrap();
    let mut ballast = std::fs::File::create(disk.at().join("ballast")).unwrap();
    while ballast.write_all(&[1; 4_096]).is_ok() {}
    let later = Instant(first.0 + 7 * 24 * 3_600_000);
    clock.at_least(Some(later));
    clock.keep().unwrap();
    assert_eq!(last_alive(&file), Some(later));
}

#[tokio::test]
async fn an_import_that_fills_the_disk_leaves_nothing_and_goes_in_once_there_is_room() {
    let folder = TempDir::new().unwrap();
    let disk = match Mount::memory(folder.path(), 24 * 1024).await {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("skipped: an_import_that_fills_the_disk…, for want of a mount: {why}");
            return;
        }
    };
    let ballast = disk.at().join("ballast");
    std::fs::write(&ballast, vec![1; 20 << 20]).unwrap();
    let database = format!("sqlite:{}", disk.at().join("hub.sqlite").display());
    let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/import/students.toml");
    let table = |count: usize| {
        let rows = (0..count).map(|number| format!("S{number:05},Student {number},,Current\n"));
        "Student number,Name,Email,Status\n".to_owned() + &rows.collect::<String>()
    };
    let (some, many) = (folder.path().join("some.csv"), folder.path().join("many.csv"));
    std::fs::write(&some, table(20)).unwrap();
    std::fs::write(&many, table(30_000)).unwrap();
    let import = async |file: &std::path::Path| {
        let words = ["import", "csv", "--database", &database, "--mapping", mapping, file.to_str().unwrap()];
        let mut ended = run(HUB, &words).await;
        ended.out = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
        ended
    };
    let first = import(&some).await;
    assert!(first.code == Some(0) && first.out.contains("students created 20"), "{first:?}");
    let full = import(&many).await;
    failed_naming(&full, &["the disk of the database is full", "nothing was changed", "make room"]);
    let same = import(&some).await;
    assert!(same.code == Some(0) && same.out.contains("unchanged 20"), "{same:?}");
    std::fs::remove_file(&ballast).unwrap();
    let after = import(&many).await;
    assert!(after.code == Some(0) && after.out.contains("students created 29980"), "{after:?}");
}
