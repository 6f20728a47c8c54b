//! A reader's own key, with programs as they are installed: given, used, missed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::os::unix::fs::MetadataExt;

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Program, run};

async fn keyset(site: &Site, code: &str) -> rollcall_tests::programs::Ended {
    run(GATEWAY, &["reader", "keyset", code, "--config", &site.config()]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_its_own_key_swipes_under_it_and_a_stranger_in_its_place_does_not() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let mut reader = Program::start(SIMULATOR, &["reader", "--osdp", "new", "--install", "--code", "D1"]);
    let port = reader.line_with("pty ").await.replace("pty ", "");
    site.configure(Some(&port));

    failed_naming(&keyset(&site, "D7").await, &["no OSDP reader D7", "there are: D1"]);
    let keys = site.path("data").join("reader-keys");
    assert!(!keys.exists());
    std::fs::create_dir_all(site.path("data")).unwrap();
    // Twice: the second key is given over the first.
    for said in ["install mode: for ", "over the one that it has"] {
        let ended = keyset(&site, "D1").await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.contains(said), "{ended:?}");
        reader.line_with("key set").await;
    }
    assert_eq!(std::fs::metadata(&keys).unwrap().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&keys).unwrap();
    let key = text.lines().find_map(|line| line.strip_prefix("D1 ")).unwrap().to_owned();
    assert!(!text.contains("pending"), "a key was left in between");

    let mut gateway = site.gateway();
    reader.line_with("light blue").await;
    reader.say(CARDS[0]).await;
    reader.line_with("flash green").await;
    site.swipes_are(1).await;
    failed_naming(&keyset(&site, "D1").await, &["stop it first"]);

    // Somebody hangs another reader in its place, at the same line.
    drop(reader);
    gateway.line_with("serial port lost").await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let mut stranger = Program::start(SIMULATOR, &["reader", "--osdp", "new", "--install", "--code", "D1"]);
    let port = stranger.line_with("pty ").await.replace("pty ", "");
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    gateway.line_with("does not speak under it").await;
    stranger.say(CARDS[0]).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert!(!gateway.all().contains(&key) && !hub.all().contains(&key), "a key in a log");
    assert_eq!(site.swipes().await.len(), 1);
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}
