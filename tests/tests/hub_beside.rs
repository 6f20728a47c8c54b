//! Hubs beside each other over one database: what one takes in the other knows, and nothing counts twice.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::collections::BTreeMap;
use std::time::Duration;

use rollcall_hub::app;
use rollcall_hub::service::News;
use rollcall_tests::hub::{TestHub, at, clock, config};
use rollcall_tests::timetable::{Gateway, estate, number, session, students};
use serde_json::json;

/// Students who swipe.
const STUDENTS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_handed_to_several_hubs_at_once_counts_once() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, STUDENTS, STUDENTS).await;
    hub.done("saveSession", session("S", "09:00", "10:00")).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    let green = [gateway.session("09:00").to_owned()];
    let green: Vec<&str> = green.iter().map(String::as_str).collect();
    let swipes: Vec<_> = (0..STUDENTS).map(|index| gateway.swipe(index, 0, &at("09:05"), &green)).collect();
    let mut hubs = vec![hub];
    for _ in 0..2 {
        let (folder, clock) = (hubs[0].folder.path(), clock());
        clock.set(&at("10:30"));
        let running = app::start(&config(folder), clock.clone()).await.unwrap();
        let (folder, admin) = (tempfile::TempDir::new().unwrap(), hubs[0].admin.clone());
        hubs.push(TestHub { clock, running, folder, admin, integration: hubs[0].integration.clone() });
    }
    hubs[0].clock.set(&at("10:30"));

    // Each swipe goes to every hub, in batches of another size at each.
    let mut sent = Vec::new();
    for (hub, size) in hubs.iter().zip([7, 10, 40]) {
        for batch in swipes.chunks(size) {
            let gateway = &gateway;
            sent.push(async move { (batch, gateway.submit(hub, batch, &at("10:10")).await) });
        }
    }
    let mut stored: BTreeMap<&str, usize> = BTreeMap::new();
    for (batch, outcomes) in futures_util::future::join_all(sent).await {
        for (swipe, outcome) in batch.iter().zip(outcomes) {
            assert!(["STORED", "DUPLICATE"].contains(&outcome.as_str()), "{outcome}");
            *stored.entry(swipe["swipeId"].as_str().unwrap()).or_default() +=
                usize::from(outcome == "STORED");
        }
    }
    assert!(stored.len() == STUDENTS && stored.values().all(|count| *count == 1), "{stored:?}");
    for hub in &hubs {
        let query = "{ swipes(first: 100) { totalCount } session(by: {externalId: \"S\"}) { register { summary { present } } } }";
        let data = hub.read(query).await;
        assert_eq!(
            data,
            json!({"swipes": {"totalCount": STUDENTS}, "session": {"register": {"summary": {"present": STUDENTS}}}})
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_at_one_hub_is_told_to_the_gateways_at_another() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let beside = app::start(&config(hub.folder.path()), clock()).await.unwrap();
    let mut news = beside.hub.listen();
    // Until the other hub has looked once it cannot know what is new: what is saved until then may pass it by.
    let told = tokio::time::timeout(Duration::from_secs(60), async {
        for round in 0.. {
            hub.done("saveSession", session(&format!("S{round}"), "14:00", "15:00")).await;
            match tokio::time::timeout(Duration::from_secs(1), news.recv()).await {
                Ok(Ok(News::Feed(_))) => return,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
    });
    told.await.unwrap();
    let data = hub.read(&format!("{{ student(by: {{number: \"{}\"}}) {{ number }} }}", number(0))).await;
    assert_eq!(data["student"]["number"], number(0));
    beside.stop().await.unwrap();
}
