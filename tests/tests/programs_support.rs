//! `rollcall-gateway support-bundle`: what somebody far away needs, and nothing about anybody.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::process::Command;

use rollcall_tests::programs::run;
use rollcall_tests::programs::site::*;

/// What a bundle holds, all of it.
fn unpacked(path: &str) -> (Vec<String>, String) {
    let tar = |how: &[&str]| {
        let done = Command::new("tar").args(how).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let names = tar(&["-tzf", path]).lines().map(str::to_owned).collect();
    (names, tar(&["-xzOf", path]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_state_and_logs_of_a_gateway_that_runs_and_no_card_name_token_or_swipe() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    site.configure(None);
    let page = rollcall_tests::programs::free_port();
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("127.0.0.1:0", &format!("127.0.0.1:{page}"))).unwrap();
    let mut gateway = site.gateway();
    gateway.line_with("status page at").await;
    let mut reader = site.mqtt_reader();
    reader.line_with("light blue").await;
    reader.say(CARDS[0]).await;
    reader.line_with("flash green").await;
    site.swipes_are(1).await;

    let output = site.path("bundle.tar.gz").to_str().unwrap().to_owned();
    let bundle = ["support-bundle", "--config", &site.config(), "--output", &output];
    let made = run(GATEWAY, &bundle).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let (names, all) = unpacked(&output);
    for part in [
        "gateway.toml",
        "check.jsonl",
        "status.json",
        "metrics.txt",
        "journal.txt",
        "files.txt",
        "machine.txt",
        "log.txt",
    ] {
        assert!(names.contains(&format!("rollcall-support/{part}")), "no {part} in {names:?}");
    }
    for state in [
        "\"gateway\": \"GW-A\"",
        "rollcall_gateway_reader_online",
        " records in ",
        "all checksums and the chain hold",
    ] {
        assert!(all.contains(state), "no '{state}' in:\n{all}");
    }
    let token = std::fs::read_to_string(site.path("token")).unwrap();
    for secret in [token.trim(), FIRST_UID, "Student 1", "\"swipes\""] {
        assert!(!all.contains(secret), "'{secret}' is in the bundle:\n{all}");
    }
    // What is there is not overwritten.
    failed_naming(&run(GATEWAY, &bundle).await, &[&output, "--output"]);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}
