//! `reader-sim load`: every card of a small rush gets its green, also beside readers that do not answer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::programs::run;
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
