//! Reports that take all there is to read through: only those wait for them who read, too.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::time::Duration;

use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::timetable::{Gateway, estate, number, session, students};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn neither_a_gateway_nor_whoever_writes_waits_until_others_have_read() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 2).await;
    hub.done("saveSession", session("S", "09:00", "10:00")).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    let open = gateway.session("09:00").to_owned();
    let swipe = gateway.swipe(0, 0, &at("09:05"), &[&open]);
    hub.clock.set(&at("09:06"));
    // Until there is no turn for another: the hub itself may have had one just now.
    let mut reports = Vec::new();
    while let Ok(read) = tokio::time::timeout(Duration::from_secs(1), hub.running.hub.read()).await {
        reports.push(read.unwrap());
    }
    let mut reading = Box::pin(hub.read("{ students(first: 1) { nodes { number } } }"));
    let others = async {
        assert_eq!(gateway.submit(&hub, &[swipe], &at("09:06")).await, ["STORED"]);
        gateway.heartbeat(&hub, &at("09:06")).await;
        hub.done("saveSession", session("T", "14:00", "15:00")).await;
        assert_eq!(hub.get("/health").await.0, 200, "a balancer would take it out");
        // What a gateway reads.
        gateway.refresh(&hub).await;
    };
    tokio::select! {
        biased;
        _ = &mut reading => panic!("whoever reads has a turn that nobody had given up"),
        () = others => {}
    }
    drop(reports);
    assert_eq!(reading.await, json!({"students": {"nodes": [{"number": number(0)}]}}));
    assert!(!gateway.session("14:00").is_empty());
}
