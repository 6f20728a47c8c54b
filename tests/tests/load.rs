//! `reader-sim load`: every card of a small rush gets its green, also beside readers that do not answer, and its answer at a
//! gateway that runs elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::programs::run;
use rollcall_tests::programs::site::*;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_card_of_a_small_rush_is_green_beside_a_dead_reader() {
    let readers = ["load", "--osdp", "3", "--dead", "1", "--mqtt", "5"];
    let ended =
        run("reader-sim", &[&readers[..], &["--rate", "600", "--seconds", "3", "--json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said: Value = serde_json::from_str(ended.out.trim()).unwrap();
    assert_eq!((&said["cards"], &said["green"], &said["other"]), (&30.into(), &30.into(), &0.into()));
    let counted = said["histogram"].as_array().unwrap().iter().map(|it| it["cards"].as_u64().unwrap());
    assert_eq!(counted.sum::<u64>(), 30);
    assert!(said["lightMs"]["p50"].as_f64().unwrap() <= said["lightMs"]["max"].as_f64().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_gateway_that_runs_elsewhere_are_answered_whatever_the_answer() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    site.configure(None);
    let mut gateway = site.gateway();
    // Once it has its timetable.
    let mut reader = site.mqtt_reader();
    reader.line_with("light blue").await;
    reader.kill().await;
    gateway.line_with("reader lost").await;
    let broker = format!("mqtt://127.0.0.1:{}", site.broker_port);
    let there = ["load", "--gateway", &broker, "--gateway-code", "GW-A", "--reader", "D2"];
    let cards = ["--card", CARDS[0], "--card", NOBODYS, "--rate", "120", "--seconds", "1", "--json"];
    let ended = run(SIMULATOR, &[&there[..], &cards].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said: Value = serde_json::from_str(ended.out.trim()).unwrap();
    assert_eq!((&said["cards"], &said["green"], &said["other"]), (&2.into(), &1.into(), &1.into()));
    site.swipes_are(2).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}
