//! A hub's database, copied while it serves and put back: nothing that a student saw green is missing afterwards.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::os::unix::fs::MetadataExt;

use rollcall_hub::store::NEWEST;
use rollcall_tests::programs::run;
use rollcall_tests::programs::site::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_put_back_to_a_backup_gets_what_is_newer_once_more() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut reader, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, CARDS[0]).await, "flash green");
    site.swipes_are(1).await;

    let (database, out) = (site.database(), site.path("hub.backup"));
    let backup =
        async || run(HUB, &["backup", "--database", &database, "--out", out.to_str().unwrap()]).await;
    let made = backup().await;
    assert!(made.code == Some(0) && made.out.contains("a copy of "), "{made:?}");
    assert_eq!(std::fs::metadata(&out).unwrap().mode() & 0o777, 0o600);
    failed_naming(&backup().await, &["hub.backup", "is there already"]);
    let nothing = run(HUB, &["backup", "--database", "sqlite:no-such-file", "--out", "never"]).await;
    failed_naming(&nothing, &["there is no database no-such-file"]);

    assert_eq!(flashes(&mut reader, CARDS[1]).await, "flash green");
    site.swipes_are(2).await;
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
    let path = database.strip_prefix("sqlite:").unwrap().to_owned();
    for end in ["-wal", "-shm"] {
        // SQLite itself removes them where it can.
        let _ = std::fs::remove_file(format!("{path}{end}"));
    }
    std::fs::copy(&out, &path).unwrap();
    let mut hub = site.hub().await;
    site.swipes_are(2).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());

    let go_back =
        async |words: &[&str]| run(HUB, &[&["downgrade", "--database", &database][..], words].concat()).await;
    failed_naming(
        &go_back(&["--to", "25"]).await,
        &["did not go back to version 25", "stop all of them first"],
    );
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
    let newest = NEWEST.to_string();
    let said = go_back(&["--to", "1", "--dry-run"]).await;
    for word in
        [&format!("can go back from schema version {newest} to 1; lost by that:"), "values of swipe.record"]
    {
        assert!(said.code == Some(0) && said.out.contains(word), "{said:?}");
    }
    let said = go_back(&["--to", &newest]).await;
    assert!(said.out.contains("nothing to do"), "{said:?}");
    let before = &(NEWEST - 1).to_string();
    let said = go_back(&["--to", before]).await;
    assert!(said.out.contains(&format!("went back from schema version {newest} to {before}")), "{said:?}");
    let said = run(HUB, &["downgrade", "--database", "sqlite:no-such-file", "--to", "1"]).await;
    failed_naming(&said, &["no-such-file", "there is no such file"]);
    // And a hub of this version brings it here again.
    let mut hub = site.hub().await;
    site.swipes_are(2).await;
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}
