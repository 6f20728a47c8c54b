//! Who follows a register hears of each change, whichever hub over the database it was made at.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use async_graphql::{Request, Variables};
use futures_util::{Stream, StreamExt as _};
use rollcall_hub::app;
use rollcall_hub::graphql::{self, batch};
use rollcall_hub::service::{Hub, access};
use rollcall_tests::hub::{TestHub, at, config};
use rollcall_tests::programs::PATIENCE;
use rollcall_tests::timetable::class;
use serde_json::{Value, json};

/// The changes of a register, as a subscriber at one hub hears of them.
async fn followed(hub: &Hub, token: &str, register: &Value) -> impl Stream<Item = String> + Unpin + use<> {
    let caller = access::authenticate(hub, token).await.unwrap().unwrap();
    let query = "subscription($id: ID!) { registerChanged(registerId: $id) { register { state revision } \
         records { student { number } status } } }";
    let variables = Variables::from_json(json!({"id": register}));
    let request = Request::new(query).variables(variables).data(caller);
    let schema = graphql::schema(hub.clone());
    Box::pin(batch::execute_stream(&schema, request, hub.clone()).map(|response| {
        assert_eq!(response.errors, []);
        let change = response.data.into_json().unwrap()["registerChanged"].take();
        let records = change["records"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let marks: Vec<String> =
            records.map(|it| format!("{} {}", text(&it["student"]["number"]), text(&it["status"]))).collect();
        format!("{}: {}", text(&change["register"]["state"]), marks.join(", "))
    }))
}

async fn next(changes: &mut (impl Stream<Item = String> + Unpin)) -> String {
    tokio::time::timeout(PATIENCE, changes.next()).await.expect("no change is told").unwrap()
}

async fn register(hub: &TestHub) -> Value {
    hub.read("{ session(by: {externalId: \"X\"}) { register { id } } }").await["session"]["register"]["id"]
        .clone()
}

#[tokio::test]
async fn a_subscriber_hears_of_what_another_hub_wrote_and_only_of_what_changed() {
    let (hub, mut gateway, held) = class().await;
    let beside = app::start(&config(hub.folder.path()), hub.clock.clone()).await.unwrap();
    let register = register(&hub).await;
    let mut here = followed(&hub.running.hub, &hub.integration, &register).await;
    let mut there = followed(&beside.hub, &hub.integration, &register).await;
    assert_eq!(next(&mut here).await, "SCHEDULED: S00000 EXPECTED, S00001 EXPECTED");
    assert_eq!(next(&mut there).await, "SCHEDULED: S00000 EXPECTED, S00001 EXPECTED");
    hub.clock.set(&at("10:07"));
    let first = gateway.swipe(0, 0, &at("10:05"), &[&held]);
    gateway.submit(&hub, &[first], &at("10:07")).await;
    assert_eq!(next(&mut here).await, "OPEN: S00000 PRESENT");
    assert_eq!(next(&mut there).await, "OPEN: S00000 PRESENT");
    hub.clock.set(&at("11:01"));
    gateway.heartbeat(&hub, &at("11:01")).await;
    assert_eq!(next(&mut here).await, "FINAL: S00001 ABSENT");
    assert_eq!(next(&mut there).await, "FINAL: S00001 ABSENT");
    beside.stop().await.unwrap();
}

#[tokio::test]
async fn a_register_that_is_not_there_cannot_be_followed() {
    let (hub, ..) = class().await;
    let caller = access::authenticate(&hub.running.hub, &hub.integration).await.unwrap().unwrap();
    let query = "subscription { registerChanged(registerId: \"reg_0\") { register { state } } }";
    let schema = graphql::schema(hub.running.hub.clone());
    let mut changes =
        Box::pin(batch::execute_stream(&schema, Request::new(query).data(caller), hub.running.hub.clone()));
    let response = changes.next().await.unwrap();
    assert_eq!(response.errors[0].message, "there is no such register");
}
