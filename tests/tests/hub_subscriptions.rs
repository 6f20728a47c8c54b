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

/// The minutes of swipes that come in, as a subscriber at one hub hears of them.
async fn swiping(hub: &Hub, token: &str) -> impl Stream<Item = String> + Unpin + use<> {
    let caller = access::authenticate(hub, token).await.unwrap().unwrap();
    let schema = graphql::schema(hub.clone());
    let request = Request::new("subscription { swipeReceived { swipedAt } }").data(caller);
    Box::pin(batch::execute_stream(&schema, request, hub.clone()).map(|response| {
        assert_eq!(response.errors, []);
        let swipe = response.data.into_json().unwrap()["swipeReceived"].take();
        let at: jiff::Timestamp = swipe["swipedAt"].as_str().unwrap().parse().unwrap();
        at.to_string()[11..16].to_owned()
    }))
}

#[tokio::test]
async fn each_swipe_is_told_once_at_every_hub_wherever_it_came_in() {
    let (hub, mut gateway, held) = class().await;
    let beside = app::start(&config(hub.folder.path()), hub.clock.clone()).await.unwrap();
    let mut here = swiping(&hub.running.hub, &hub.integration).await;
    let mut there = swiping(&beside.hub, &hub.integration).await;
    hub.clock.set(&at("10:45"));
    let mut submit = async |minute: &str| {
        let swipe = gateway.swipe(0, 0, &at(minute), &[&held]);
        gateway.submit(&hub, &[swipe], &at(minute)).await;
    };
    // Nothing says when a subscription stands but what it tells.
    let (mut stands_here, mut stands_there) = (false, false);
    for minute in 0..30 {
        let heard = async {
            while !(stands_here && stands_there) {
                tokio::select! {
                    told = here.next() => stands_here |= told.is_some(),
                    told = there.next() => stands_there |= told.is_some(),
                }
            }
        };
        let early = format!("10:{minute:02}");
        let waited = tokio::time::timeout(std::time::Duration::from_secs(3), heard);
        let (_, heard) = tokio::join!(submit(&early), waited);
        if heard.is_ok() {
            break;
        }
    }
    assert!(stands_here && stands_there, "nothing is told");
    let wanted = ["10:31", "10:32", "10:33", "10:34"];
    let (mut at_home, mut beside_it) = (Vec::new(), Vec::new());
    for minute in wanted {
        submit(minute).await;
        let heard = async {
            while at_home.last().is_none_or(|it| it != minute)
                || beside_it.last().is_none_or(|it| it != minute)
            {
                tokio::select! {
                    told = here.next() => at_home.push(told.unwrap()),
                    told = there.next() => beside_it.push(told.unwrap()),
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("a swipe is not told");
    }
    // What made the subscriptions stand may have come late.
    at_home.retain(|minute| minute.as_str() > "10:30");
    beside_it.retain(|minute| minute.as_str() > "10:30");
    assert_eq!(
        (&at_home[..], &beside_it[..]),
        (&wanted.map(str::to_owned)[..], &wanted.map(str::to_owned)[..])
    );
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
