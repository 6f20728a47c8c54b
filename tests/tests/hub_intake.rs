//! What gateways do at the hub: hand swipes over, get receipts, follow the feed; and what they may not do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use async_graphql::{Request, Variables};
use futures_util::{Stream, StreamExt};
use rollcall_hub::app;
use rollcall_hub::graphql::{self, batch};
use rollcall_hub::service::access;
use rollcall_tests::hub::{TestHub, at, config, refusals};
use rollcall_tests::timetable::{Gateway, estate, join, session, students};
use serde_json::{Value, json};
use uuid::Uuid;

/// A hub at 10:10 with four students, three of them in group G, and session X of it at 10:00.
async fn class() -> (TestHub, Gateway, String) {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 4, 3).await;
    hub.done("saveSessions", json!({"sessions": [session("X", "10:00", "11:00")]})).await;
    hub.clock.set(&at("10:10"));
    let gateway = Gateway::start(&hub, "GW").await;
    let held = gateway.session("10:00").to_owned();
    (hub, gateway, held)
}

async fn swipes(hub: &TestHub) -> usize {
    let count = hub.read("{ swipes { totalCount } }").await["swipes"]["totalCount"].as_u64();
    usize::try_from(count.unwrap()).unwrap()
}

async fn alarms(hub: &TestHub) -> Vec<String> {
    let mut tx = hub.running.hub.read().await.unwrap();
    let rows = tx.fetch("SELECT kind FROM alarm ORDER BY kind", Vec::new()).await.unwrap();
    rows.into_iter().map(|mut row| row.next("alarm.kind").unwrap()).collect()
}

#[tokio::test]
async fn a_swipe_sent_again_is_a_duplicate_and_counts_once() {
    let (hub, mut gateway, held) = class().await;
    let batch = [gateway.swipe(0, 0, &at("10:01"), &[&held]), gateway.swipe(3, 1, &at("10:02"), &[])];
    assert_eq!(gateway.submit(&hub, &batch, &at("10:10")).await, ["STORED", "STORED"]);
    assert_eq!(gateway.submit(&hub, &batch, &at("10:10")).await, ["DUPLICATE", "DUPLICATE"]);
    let third = gateway.swipe(1, 0, &at("10:03"), &[&held]);
    let mixed = [batch[1].clone(), third.clone(), third];
    assert_eq!(gateway.submit(&hub, &mixed, &at("10:10")).await, ["DUPLICATE", "STORED", "DUPLICATE"]);
    assert_eq!(swipes(&hub).await, 3);
    assert_eq!(alarms(&hub).await, [""; 0]);
}

#[tokio::test]
async fn a_broken_swipe_is_set_aside_once_and_holds_up_no_other() {
    let (hub, mut gateway, held) = class().await;
    let mut broken = Vec::new();
    let wrong = [
        ("cardKey", json!("12")),
        ("cardKey", json!("zz")),
        ("chain", json!("")),
        ("earliestAt", json!(at("10:05"))),
        ("latestAt", json!(at("10:00"))),
    ];
    for (field, value) in wrong {
        let mut swipe = gateway.swipe(0, 0, &at("10:01"), &[&held]);
        swipe[field] = value;
        broken.push(swipe);
    }
    let good = [gateway.swipe(1, 0, &at("10:01"), &[&held]), gateway.swipe(2, 0, &at("10:01"), &[&held])];
    let mut batch = vec![good[0].clone()];
    batch.extend(broken.clone());
    batch.push(broken[0].clone());
    batch.push(good[1].clone());
    let outcomes = gateway.submit(&hub, &batch, &at("10:10")).await;
    let shape = "gatewaySubmitSwipes receipts { error { path } }";
    let said = hub.write_as(&gateway.token, shape, gateway.batch(&batch, &at("10:10"))).await;
    assert_eq!(said["receipts"][2]["error"]["path"], json!(["swipes", "2", "cardKey"]));
    assert_eq!(outcomes.first().unwrap(), "STORED");
    assert_eq!(outcomes.last().unwrap(), "STORED");
    assert_eq!(outcomes[1..7], ["REJECTED"; 6]);
    assert_eq!(gateway.submit(&hub, &broken, &at("10:10")).await, ["REJECTED"; 5]);
    assert_eq!(swipes(&hub).await, 2);
    assert_eq!(alarms(&hub).await, ["SWIPE_REJECTED"; 5]);
}

#[tokio::test]
async fn a_swipe_of_a_reader_that_moved_or_that_the_hub_does_not_know_is_kept() {
    let (hub, mut gateway, held) = class().await;
    hub.done("saveGateways", json!({"gateways": [{"code": "GX", "building": "A"}]})).await;
    let mut unknown = gateway.swipe(1, 0, &at("10:02"), &[&held]);
    unknown["readerId"] = json!(Uuid::from_u128(1));
    let batch = [gateway.swipe(0, 0, &at("10:01"), &[&held]), unknown];
    let moved = json!({"code": "D1", "gateway": "GX", "room": "R1", "kind": "MQTT"});
    hub.done("saveReaders", json!({"readers": [moved]})).await;
    assert_eq!(gateway.submit(&hub, &batch, &at("10:10")).await, ["STORED", "STORED"]);
    assert_eq!(alarms(&hub).await, ["READER_UNKNOWN"]);
    let query = "{ session(by: {externalId: \"X\"}) { register { summary { present } } } }";
    assert_eq!(hub.read(query).await["session"]["register"]["summary"]["present"], 2);
}

#[tokio::test]
async fn a_used_id_or_number_with_another_body_is_kept_with_an_alarm_and_known_when_sent_again() {
    let (hub, mut gateway, held) = class().await;
    let first = gateway.swipe(0, 0, &at("10:01"), &[&held]);
    let mut same_id = gateway.swipe(1, 0, &at("10:02"), &[&held]);
    same_id["swipeId"] = first["swipeId"].clone();
    let mut same_number = gateway.swipe(2, 0, &at("10:03"), &[&held]);
    same_number["sequence"] = first["sequence"].clone();
    assert_eq!(gateway.submit(&hub, std::slice::from_ref(&first), &at("10:10")).await, ["STORED"]);
    let clones = [same_id, same_number];
    assert_eq!(gateway.submit(&hub, &clones, &at("10:10")).await, ["STORED", "STORED"]);
    assert_eq!(alarms(&hub).await, ["SWIPE_CLASH", "SWIPE_CLASH"]);
    assert_eq!(gateway.submit(&hub, &clones, &at("10:10")).await, ["DUPLICATE", "DUPLICATE"]);
    assert_eq!(gateway.submit(&hub, &[first], &at("10:10")).await, ["DUPLICATE"]);
    assert_eq!(swipes(&hub).await, 3);
    assert_eq!(alarms(&hub).await.len(), 2);
    let query = "{ session(by: {externalId: \"X\"}) { register { summary { present } } } }";
    assert_eq!(hub.read(query).await["session"]["register"]["summary"]["present"], 3);
}

#[tokio::test]
async fn a_batch_of_more_than_a_thousand_is_turned_down_whole() {
    let (hub, mut gateway, _) = class().await;
    let batch: Vec<Value> = (0..1001).map(|_| gateway.swipe(0, 0, &at("10:01"), &[])).collect();
    let shape = "gatewaySubmitSwipes receipts { outcome }";
    let payload = hub.write_as(&gateway.token, shape, gateway.batch(&batch, &at("10:10"))).await;
    assert_eq!((refusals(&payload), &payload["receipts"]), (vec!["TOO_LONG swipes".to_owned()], &json!([])));
    assert_eq!(swipes(&hub).await, 0);
}

#[tokio::test]
async fn unknown_and_ended_cards_are_facts_with_their_reasons() {
    let (hub, mut gateway, _) = class().await;
    let ended = json!({"code": "K1", "student": "S00001", "from": "2026-09-01T00:00:00Z",
                       "until": at("10:00"), "credentials": [{"uid": "04a1b2c3d40001"}]});
    hub.done("saveCard", ended).await;
    let mut none = gateway.swipe(0, 0, &at("10:01"), &[]);
    none["cardKey"] = json!("");
    let batch = [
        gateway.swipe(9, 0, &at("10:01"), &[]),
        gateway.swipe(1, 0, "2026-10-05T09:59:59.999Z", &[]),
        gateway.swipe(1, 0, &at("10:00"), &[]),
        none,
        gateway.swipe(3, 0, &at("10:02"), &[]),
        gateway.swipe(0, 1, &at("10:03"), &[]),
    ];
    gateway.submit(&hub, &batch, &at("10:10")).await;
    let data = hub.read("{ swipes { nodes { swipeId reason student { number } } } }").await;
    let nodes = data["swipes"]["nodes"].as_array().unwrap();
    let reasons: Vec<String> = batch
        .iter()
        .map(|sent| nodes.iter().find(|node| node["swipeId"] == sent["swipeId"]).unwrap())
        .map(|node| format!("{} {}", node["reason"], node["student"]["number"]).replace('"', ""))
        .collect();
    let wanted = [
        "CARD_UNKNOWN null",
        "RECORDED S00001",
        "CARD_CANCELLED S00001",
        "CARD_UNREADABLE null",
        "NOT_ON_CLASS_LIST S00003",
        "NO_OPEN_SESSION S00000",
    ];
    assert_eq!(reasons, wanted);
}

#[tokio::test]
async fn a_page_of_swipes_with_every_session_considered_is_answered() {
    let (hub, mut gateway, held) = class().await;
    let batch: Vec<Value> =
        (0..40).map(|index| gateway.swipe(index % 3, 0, &at("10:01"), &[&held])).collect();
    gateway.submit(&hub, &batch, &at("10:10")).await;
    let query = "{ swipes { nodes { considered { session { externalId } windowOpen credited } } } }";
    let data = hub.read(query).await;
    let wanted = json!([{"session": {"externalId": "X"}, "windowOpen": true, "credited": true}]);
    let nodes = data["swipes"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 40);
    assert!(nodes.iter().all(|node| node["considered"] == wanted));
}

#[tokio::test]
async fn a_gateway_may_not_read_people_by_any_path_nor_write_the_timetable() {
    let (hub, mut gateway, held) = class().await;
    let swipe = gateway.swipe(0, 0, &at("10:01"), &[&held]);
    gateway.submit(&hub, &[swipe], &at("10:10")).await;
    let forbidden = [
        "{ students { nodes { displayName } } }",
        "{ student(by: {number: \"S00000\"}) { displayName } }",
        "{ sessions { nodes { title } } }",
        "{ swipes { nodes { student { number } } } }",
        "{ gatewaySelf { gateway { readers { swipes { nodes { student { displayName } } } } } } }",
        "{ gatewaySelf { gateway { readers { swipes { totalCount } } } } }",
        "{ gatewaySelf { gateway { building { rooms { sessions { nodes { register { entries { nodes { student { number } } } } } } } } } } }",
        "{ gatewaySelf { gateway { building { rooms { current { groups { members { nodes { student { email } } } } } } } } } }",
        "mutation { saveCourse(input: {code: \"H\", title: \"H\"}) { errors { code } } }",
    ];
    for query in forbidden {
        let (_, body) = hub.post(Some(&gateway.token), query, json!({})).await;
        let code = &body["errors"][0]["extensions"]["code"];
        assert_eq!(code, "FORBIDDEN", "{query} was answered {body}");
    }
    let own = "{ gatewaySelf { gateway { code readers { code room { code } } building { code } } } viewer { roles } }";
    let data = hub.data(&gateway.token, own, json!({})).await;
    assert_eq!(data["gatewaySelf"]["gateway"]["readers"][1]["room"]["code"], "R2");
    assert_eq!(data["viewer"]["roles"], json!(["GATEWAY"]));
}

#[tokio::test]
async fn another_token_may_not_hand_swipes_over_nor_see_a_buildings_secret() {
    let (hub, mut gateway, held) = class().await;
    let swipe = gateway.swipe(0, 0, &at("10:01"), &[&held]);
    let submit = "mutation($input: GatewaySubmitSwipesInput!) { gatewaySubmitSwipes(input: $input) { errors { code } } }";
    for token in [&hub.integration, &hub.admin] {
        let input = json!({"input": gateway.batch(std::slice::from_ref(&swipe), &at("10:10"))});
        let (_, body) = hub.post(Some(token), submit, input).await;
        assert_eq!(body["errors"][0]["extensions"]["code"], "FORBIDDEN");
        let secret = "{ gatewaySelf { config { cardKeySecret } } }";
        let (_, body) = hub.post(Some(token), secret, json!({})).await;
        assert_eq!(body["errors"][0]["extensions"]["code"], "FORBIDDEN");
    }
    assert_eq!(swipes(&hub).await, 0);
}

const CHANGES: &str =
    "query($after: String!) { gatewaySelf { changes(after: $after) { resetRequired hasNextPage cursor
    events { kind removedId item { __typename ... on GatewaySession { startsAt cancelled rooms { roomId } }
        ... on GatewayGroupMembership { until } } } } } }";

async fn changes(hub: &TestHub, gateway: &Gateway, after: &str) -> Value {
    let data = hub.data(&gateway.token, CHANGES, json!({"after": after})).await;
    data["gatewaySelf"]["changes"].clone()
}

#[tokio::test]
async fn a_change_is_one_event_and_nothing_changed_is_none() {
    let (hub, gateway, _) = class().await;
    let quiet = changes(&hub, &gateway, &gateway.cursor).await;
    let nothing =
        json!({"resetRequired": false, "hasNextPage": false, "cursor": gateway.cursor, "events": []});
    assert_eq!(quiet, nothing);
    // Another building's feed counts by itself: a position in this one means nothing there.
    hub.done("saveBuilding", json!({"code": "FAR", "name": "Far"})).await;
    hub.done("saveGateway", json!({"code": "GW-FAR", "building": "FAR"})).await;
    let far = Gateway::start(&hub, "GW-FAR").await;
    assert_eq!(changes(&hub, &far, &gateway.cursor).await["resetRequired"], true);
    assert_eq!(changes(&hub, &far, &far.cursor).await["resetRequired"], false);
    hub.done("saveSession", session("X", "10:00", "11:00")).await;
    assert_eq!(changes(&hub, &gateway, &gateway.cursor).await, nothing);
    hub.done("saveSession", session("X", "10:00", "11:15")).await;
    join(&hub, 3..4, "2026-10-01").await;
    let page = changes(&hub, &gateway, &gateway.cursor).await;
    let events = page["events"].as_array().unwrap();
    let kinds: Vec<&Value> = events.iter().map(|event| &event["item"]["__typename"]).collect();
    assert_eq!(kinds, ["GatewaySession", "GatewayGroupMembership"]);
    hub.done("saveRoom", json!({"code": "R3", "building": "A"})).await;
    let mut elsewhere = session("Y", "15:00", "16:00");
    elsewhere["rooms"] = json!([]);
    hub.done("saveSession", elsewhere).await;
    let cursor = page["cursor"].as_str().unwrap();
    assert_eq!(
        changes(&hub, &gateway, cursor).await["events"],
        json!([]),
        "what is in no room is no door's business"
    );
}

#[tokio::test]
async fn a_session_that_leaves_the_building_is_removed_from_its_feed() {
    let (hub, gateway, held) = class().await;
    hub.clock.set(&at("08:00"));
    let mut gone = session("X", "10:00", "11:00");
    gone["rooms"] = json!([]);
    hub.done("saveSession", gone).await;
    let page = changes(&hub, &gateway, &gateway.cursor).await;
    let removed: Vec<&Value> =
        page["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!(removed, ["REMOVE"; 4], "three stays and the session");
    assert!(page["events"].as_array().unwrap().iter().any(|event| event["removedId"] == held.as_str()));
}

/// Database, revision, and line of descent with building, of a position.
fn parts(cursor: &str) -> (String, i64, String) {
    let parts: Vec<&str> = cursor.splitn(3, '.').collect();
    let [instance, revision, lineage] = parts[..] else { panic!("{cursor}") };
    (instance.to_owned(), revision.parse().unwrap(), lineage.to_owned())
}

#[tokio::test]
async fn a_position_that_was_reached_after_the_backup_means_nothing_however_far_the_restored_hub_has_come() {
    let (hub, gateway, _) = class().await;
    let (instance, revision, lineage) = parts(&gateway.cursor);
    // What the gateway heard before the database was put back to how it is here: two changes more.
    let lost = format!("{instance}.{}.{lineage}", revision + 2);
    let restored = app::start(&config(hub.folder.path()), hub.clock.clone()).await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let (clock, admin, integration) = (hub.clock.clone(), hub.admin.clone(), hub.integration.clone());
    let restored = TestHub { clock, running: restored, folder, admin, integration };
    for name in ["A", "B", "C"] {
        restored.done("saveSession", session(name, "14:00", "15:00")).await;
    }
    assert_eq!(changes(&restored, &gateway, &lost).await["resetRequired"], true);
    // What both had is gone on from, and what is told now holds at whichever hub.
    let page = changes(&restored, &gateway, &gateway.cursor).await;
    assert_eq!((&page["resetRequired"], page["events"].as_array().unwrap().len()), (&json!(false), 3));
    let now = page["cursor"].as_str().unwrap();
    assert_ne!(parts(now).2, lineage);
    for at in [&restored, &hub] {
        let page = changes(at, &gateway, now).await;
        assert_eq!((&page["resetRequired"], &page["cursor"]), (&json!(false), &json!(now)));
    }
}

#[tokio::test]
async fn a_position_of_another_database_or_from_its_future_takes_a_new_snapshot() {
    let (hub, gateway, _) = class().await;
    let (instance, revision, lineage) = parts(&gateway.cursor);
    let other = Uuid::from_u128(5).simple();
    let strange = [
        format!("{other}.{revision}.{lineage}"),
        format!("{instance}.{revision}.{other}"),
        format!("{instance}.{}.{lineage}", revision + 1),
        format!("{instance}.{}", revision + 1),
        format!("{instance}.-1.{lineage}"),
        "nonsense".to_owned(),
    ];
    for after in strange {
        let page = changes(&hub, &gateway, &after).await;
        assert_eq!((&page["resetRequired"], &page["events"]), (&json!(true), &json!([])), "{after}");
        let mut feed = feed(&hub, &gateway, &after).await;
        assert_eq!(feed.next().await.unwrap()["kind"], "FEED_RESET", "{after}");
        assert_eq!(feed.next().await, None, "{after}");
    }
}

async fn feed(hub: &TestHub, gateway: &Gateway, after: &str) -> impl Stream<Item = Value> + Unpin + use<> {
    let inner = hub.running.hub.clone();
    let caller = access::authenticate(&inner, &gateway.token).await.unwrap().unwrap();
    let query =
        "subscription($after: String) { gatewayFeed(after: $after) { kind cursor item { __typename } } }";
    let variables = Variables::from_json(json!({"after": after}));
    let request = Request::new(query).variables(variables).data(caller);
    let schema = graphql::schema(inner.clone());
    Box::pin(batch::execute_stream(&schema, request, inner).map(|response| {
        assert_eq!(response.errors, []);
        response.data.into_json().unwrap()["gatewayFeed"].take()
    }))
}

#[tokio::test]
async fn the_feed_sends_what_is_stored_then_says_so_then_goes_on_live() {
    let (hub, gateway, _) = class().await;
    join(&hub, 3..4, "2026-10-01").await;
    let mut feed = feed(&hub, &gateway, &gateway.cursor).await;
    assert_eq!(feed.next().await.unwrap()["item"]["__typename"], "GatewayGroupMembership");
    assert_eq!(feed.next().await.unwrap()["kind"], "CAUGHT_UP");
    hub.done("saveSession", session("Y", "14:00", "15:00")).await;
    let event = feed.next().await.unwrap();
    assert_eq!(event["item"]["__typename"], "GatewaySession");
    let quiet = changes(&hub, &gateway, event["cursor"].as_str().unwrap()).await;
    assert_eq!(quiet["events"], json!([]));
}
