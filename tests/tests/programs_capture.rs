//! What goes over an OSDP line, captured and read again, with programs as they are installed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Program, run};

/// What a capture says, which must hold a card's count of bits, and nothing of the card.
async fn replayed(file: &Path, card: &str) -> String {
    let digits = card.split(' ').nth(1).unwrap().to_uppercase();
    let bytes: Vec<&str> =
        digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains(&bytes[..4].join(" ")), "the card stands in the capture");
    assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    let ended = run(GATEWAY, &["reader", "replay", file.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for said in [
        "→ address 1 seq 0 ID",
        " POLL\n",
        "PDID",
        &format!("RAW {} bits", bytes.len() * 8),
        " answered (median ",
    ] {
        assert!(ended.out.contains(said), "no '{said}' in {}", ended.out);
    }
    ended.out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_captured_without_and_with_its_gateway_and_no_card_stands_in_it() {
    let site = Site::new().await;
    let _hub = site.hub().await;
    let mut reader = Program::start(SIMULATOR, &["reader", "--osdp", "new", "--code", "D1"]);
    let port = reader.line_with("pty ").await.replace("pty ", "");
    site.configure(Some(&port));
    std::fs::create_dir_all(site.path("data")).unwrap();
    let (config, card) = (site.config(), CARDS[0]);

    let alone = site.path("alone.osdpcap");
    let out = alone.to_str().unwrap();
    let mut capture = Program::start(
        GATEWAY,
        &["reader", "capture", "D1", "--config", &config, "--out", out, "--seconds", "600"],
    );
    reader.line_with("online").await;
    reader.say(card).await;
    // Its answer is on the line once the capture has seen the next command.
    rollcall_tests::programs::until(
        "the card",
        async || std::fs::read_to_string(&alone).unwrap(),
        |text| text.contains(" 50 00 "),
    )
    .await;
    assert_eq!(capture.interrupt().await, Some(0), "{}", capture.all());
    replayed(&alone, card).await;

    // The gateway itself, by its configuration.
    let live = site.path("live.osdpcap");
    let text = std::fs::read_to_string(&config).unwrap();
    let line = format!("capture = '{}'\n[[bus.reader]]", live.display());
    std::fs::write(&config, text.replacen("[[bus.reader]]", &line, 1)).unwrap();
    let mut gateway = site.gateway();
    reader.line_with("light blue").await;
    reader.say(card).await;
    reader.line_with("flash green").await;
    failed_naming(&run(GATEWAY, &["reader", "capture", "D1", "--config", &config]).await, &["stop it first"]);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert!(replayed(&live, card).await.contains(" LED"));

    // A file that cannot be made keeps no door from working.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("live.osdpcap", "no-such-folder/live.osdpcap")).unwrap();
    let mut gateway = site.gateway();
    gateway.line_with("nothing is captured").await;
    reader.line_with("light blue").await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());

    let wrong = site.path("wrong.osdpcap");
    std::fs::write(&wrong, std::fs::read_to_string(&live).unwrap() + "{\"timeSec\": \"x\"}\n").unwrap();
    let lines = std::fs::read_to_string(&wrong).unwrap().lines().count();
    let ended = run(GATEWAY, &["reader", "replay", wrong.to_str().unwrap()]).await;
    failed_naming(&ended, &["wrong.osdpcap", &format!("line {lines}"), "timeSec"]);
}
