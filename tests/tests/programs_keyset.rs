//! A reader's own key, with programs as they are installed: given, used, missed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::os::unix::fs::MetadataExt;

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Program, run, until};
use serde_json::json;

async fn keyset(site: &Site, code: &str) -> rollcall_tests::programs::Ended {
    run(GATEWAY, &["reader", "keyset", code, "--config", &site.config()]).await
}

/// Waits until this is all that happened to a reader.
async fn events_are(site: &Site, code: &str, kinds: &[&str]) {
    let look = async || {
        let query = "{ readers { nodes { code events(first: 50) { nodes { kind reader { code } } } } } }";
        let found = site.client.ask(query, json!({})).await;
        let readers = found["readers"]["nodes"].as_array().unwrap().clone();
        let mine = readers.iter().find(|reader| reader["code"] == code).unwrap();
        let events = mine["events"]["nodes"].as_array().unwrap().iter();
        events.map(|event| event["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("what happened to the reader", look, |found| found == kinds).await;
}

async fn alerts(site: &Site) -> Vec<String> {
    let found = site.client.ask("{ alerts(first: 50) { nodes { kind } } }", json!({})).await;
    let alerts = found["alerts"]["nodes"].as_array().unwrap().iter();
    alerts.map(|alert| alert["kind"].as_str().unwrap().to_owned()).collect()
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
    let checked = run(GATEWAY, &["check", "--config", &site.config()]).await;
    assert!(checked.out.contains("all 1 OSDP readers have keys of their own"), "{checked:?}");

    // What happens to the reader itself is told to the hub, once, and a person is called to what matters.
    let kinds = ["TAMPER", "TAMPER_OVER", "INPUT_ACTIVE", "INPUT_OVER", "POWER_UP"];
    let said = [&["tamper on"][..], &["tamper off"], &["contact on"], &["contact off"], &["unplug", "plug"]];
    for (count, lines) in said.iter().enumerate() {
        for line in *lines {
            reader.say(line).await;
        }
        events_are(&site, "D1", &kinds[..=count]).await;
    }
    assert_eq!(alerts(&site).await, ["READER_TAMPER"]);

    // Somebody hangs another reader in its place, at the same line.
    drop(reader);
    gateway.line_with("serial port lost").await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let mut stranger = Program::start(SIMULATOR, &["reader", "--osdp", "new", "--install", "--code", "D1"]);
    let port = stranger.line_with("pty ").await.replace("pty ", "");
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    gateway.line_with("does not speak under it").await;
    events_are(&site, "D1", &[&kinds[..], &["INSECURE"]].concat()).await;
    assert_eq!(alerts(&site).await, ["READER_TAMPER", "READER_INSECURE"]);
    stranger.say(CARDS[0]).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert!(!gateway.all().contains(&key) && !hub.all().contains(&key), "a key in a log");
    assert_eq!(site.swipes().await.len(), 1);
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_the_hub_does_not_know_shows_with_its_serial_number_until_it_is_saved() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let mut reader = Program::start(SIMULATOR, &["reader", "--osdp", "new", "--serial", "4711"]);
    let port = reader.line_with("pty ").await.replace("pty ", "");
    let bus = format!("[[bus]]\nport = '{port}'\n[[bus.reader]]\ncode = 'D9'\naddress = 1\n");
    site.write_config(&format!("http://127.0.0.1:{}", site.hub_port), "", &bus);
    let mut gateway = site.gateway();
    let look = async || {
        let query = "{ gateways { nodes { unassignedReaders { code kind online serial } } } }";
        site.client.ask(query, json!({})).await["gateways"]["nodes"][0]["unassignedReaders"].clone()
    };
    let found = json!([{"code": "D9", "kind": "OSDP", "online": true, "serial": "4711"}]);
    until("the unknown reader", look, |unassigned| *unassigned == found).await;
    reader.say("tamper on").await;
    gateway.line_with("tamper: the reader was opened").await;
    let saved = json!({"code": "D9", "gateway": "GW-A", "room": "R1", "kind": "OSDP"});
    site.client.save("readers", json!([saved])).await;
    until("its door", look, |unassigned| *unassigned == json!([])).await;
    // What happened to it before it had a name at the hub is told now.
    events_are(&site, "D9", &["TAMPER"]).await;
    reader.line_with("light blue").await;
    // Somebody hangs a second one with the same address on the line.
    reader.say("duplicate on").await;
    gateway.line_with("two readers have one address: serial numbers 4711 and ").await;
    events_are(&site, "D9", &["TAMPER", "DUPLICATE_ADDRESS"]).await;
    assert_eq!(alerts(&site).await, ["READER_TAMPER", "READER_DUPLICATE_ADDRESS"]);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_is_moved_to_another_address_with_and_without_a_key_and_found_again_there() {
    let site = Site::new().await;
    let mut reader = Program::start(SIMULATOR, &["reader", "--osdp", "new", "--install", "--code", "D1"]);
    let port = reader.line_with("pty ").await.replace("pty ", "");
    std::fs::create_dir_all(site.path("data")).unwrap();
    let at = |address: u8| {
        let bus = format!("[[bus]]\nport = '{port}'\n[[bus.reader]]\ncode = 'D1'\naddress = {address}\n");
        let other = "[[bus.reader]]\ncode = 'D3'\naddress = 9\n";
        site.write_config("http://127.0.0.1:9", "", &format!("{bus}{other}"));
    };
    let moved = async |to: &str| {
        let arguments = ["reader", "set-address", "D1", "--to", to, "--config", &site.config()];
        run(GATEWAY, &arguments).await
    };
    at(1);
    let ended = moved("7").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("it answers at address 7, 9600 baud"), "{ended:?}");
    // The configuration still says where it was.
    failed_naming(&moved("8").await, &["no answer from address 1", "rollcall-gateway scan"]);
    at(7);
    failed_naming(&moved("9").await, &["address 9 is that of D3"]);
    failed_naming(&moved("7").await, &["is there already"]);
    let ended = keyset(&site, "D1").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = moved("1").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
