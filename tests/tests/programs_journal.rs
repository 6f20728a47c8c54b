//! The journal of a real gateway: what happens when its disk fails, and what the tools say of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::chaos::defect;
use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Program, run, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_whose_sync_fails_shows_red_and_ends_the_gateway_and_the_next_start_says_that_swipes_were_refused()
 {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut reader, port) = osdp_reader().await;
    site.configure(Some(&port));
    let sign = site.path("the-disk-fails");
    let mut environment = defect::environment("fail-sync", site.path("").as_path()).await.unwrap();
    environment.push(("ROLLCALL_DEFECT_WHILE".to_owned(), sign.display().to_string()));
    let run_it = ["run", "--config", &site.config()];
    let mut gateway = Program::start_with(GATEWAY, &run_it, &environment);
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, CARDS[0]).await, "flash green");
    site.swipes_are(1).await;

    std::fs::write(&sign, "").unwrap();
    assert_eq!(flashes(&mut reader, CARDS[1]).await, "flash red");
    gateway.line_with("Input/output error").await;
    assert_eq!(gateway.ended().await, Some(1), "{}", gateway.all());

    std::fs::remove_file(&sign).unwrap();
    let mut gateway = Program::start_with(GATEWAY, &run_it, &environment);
    gateway.line_with("swipes were refused when this gateway ended").await;
    let outages = async || -> Vec<Value> {
        let query =
            "{ gateways { nodes { outages(filter: {causes: [SWIPES_REFUSED]}) { nodes { from until } } } } }";
        let found = site.client.ask(query, json!({})).await;
        found["gateways"]["nodes"][0]["outages"]["nodes"].as_array().unwrap().clone()
    };
    let told = until("word of the refused swipes at the hub", outages, |told| !told.is_empty()).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let moment = |end: &str| -> jiff::Timestamp { told[0][end].as_str().unwrap().parse().unwrap() };
    assert!(moment("from") < moment("until"), "{told:?}");
    // It is told once.
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let mut gateway = Program::start_with(GATEWAY, &run_it, &environment);
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, CARDS[2]).await, "flash green");
    assert!(!gateway.all().contains("were refused"), "{}", gateway.all());
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_can_be_checked_by_the_gateways_key_alone_and_nothing_in_it_can_be_changed() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    site.configure(None);
    let mut gateway = site.gateway();
    let mut reader = site.mqtt_reader();
    reader.line_with("light blue").await;
    for card in &CARDS[..3] {
        assert_eq!(flashes(&mut reader, card).await.split(' ').next(), Some("flash"));
    }
    site.swipes_are(3).await;
    let found = site.client.ask("{ swipes(first: 1) { nodes { receipt { file } } } }", json!({})).await;
    let receipt = found["swipes"]["nodes"][0]["receipt"]["file"].as_str().unwrap().to_owned();
    assert_eq!(gateway.interrupt().await, Some(0));
    assert_eq!(hub.interrupt().await, Some(0));

    let data = site.path("data").to_str().unwrap().to_owned();
    let journal = async |command: &str| run(GATEWAY, &["journal", command, "--data", &data]).await;
    let verified = journal("verify").await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let listed = journal("list").await;
    assert_eq!(listed.out.matches("swipe ").count(), 3, "{listed:?}");
    let exported = journal("export").await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    for secret in [FIRST_UID, &FIRST_UID.to_lowercase(), "Student 1"] {
        assert!(!exported.out.contains(secret), "'{secret}' in the export");
    }
    let lines: Vec<&str> = exported.out.lines().collect();
    let head: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    let key = head["seal"]["publicKey"].as_str().unwrap();
    // What proves one swipe, checked by the hub's program without a hub.
    let kept = site.path("receipt.json");
    let verify = async |text: &str, key: &str| {
        std::fs::write(&kept, text).unwrap();
        run(HUB, &["verify-receipt", kept.to_str().unwrap(), "--key", key]).await
    };
    let held = verify(&receipt, key).await;
    assert!(held.code == Some(0) && held.out.starts_with("holds: record "), "{held:?}");
    let changed = receipt.replacen("GREEN", "RED", 1);
    assert_ne!(changed, receipt);
    failed_naming(&verify(&changed, key).await, &["receipt.json"]);
    failed_naming(&verify(&receipt, &"00".repeat(32)).await, &["receipt.json"]);

    let file = site.path("swipes.jsonl");
    let check = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(GATEWAY, &["journal", "check-export", file.to_str().unwrap(), "--key", key]).await
    };
    let held = check(&exported.out).await;
    assert_eq!(held.code, Some(0), "{held:?}");
    assert!(held.out.contains("1 signed ends: all hold"), "{held:?}");
    let at = lines.iter().position(|line| line.contains("GREEN")).unwrap();
    let changed = exported.out.replacen("GREEN", "RED", 1);
    failed_naming(&check(&changed).await, &[&format!("line {}", at + 1), "was changed"]);
    let (records, ends) = lines.split_at(lines.len() - 2);
    let cut = lines[..lines.len() - 1].join("\n");
    failed_naming(&check(&cut).await, &["it has no seal over all of its lines"]);
    let all_cut = records.join("\n");
    failed_naming(&check(&all_cut).await, &["its end is not signed"]);
    let shorter = [&records[..records.len() - 1], ends].concat().join("\n");
    failed_naming(&check(&shorter).await, &["signs another end"]);
    // Nothing in the chain vouches for the first record, nor for one behind a hole.
    let first = records[0].replacen("\"record\":\"{", "\"record\":\"{ ", 1);
    assert_ne!(first, records[0]);
    let forged = [&[first.as_str()], &lines[1..]].concat().join("\n");
    failed_naming(&check(&forged).await, &["the seal does not hold"]);
    let without = [&records[..1], &records[2..], ends].concat().join("\n");
    failed_naming(&check(&without).await, &["the seal does not hold"]);
    let other = "00".repeat(32);
    let foreign = run(GATEWAY, &["journal", "check-export", file.to_str().unwrap(), "--key", &other]).await;
    assert_eq!(foreign.code, Some(1));
    std::fs::write(&file, "no export\n").unwrap();
    let garbage = run(GATEWAY, &["journal", "check-export", file.to_str().unwrap()]).await;
    failed_naming(&garbage, &["line 1", "no line of an export"]);
}
