//! Who gets into the hub, and who may what.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::service::access;
use rollcall_tests::hub::{TestHub, at};
use serde_json::json;

#[tokio::test]
async fn nobody_gets_in_without_a_token_that_holds() {
    let hub = TestHub::start().await;
    let short =
        access::create_token(&hub.running.hub, "short", &[access::Role::Integration], None, Some(60_000));
    let short = short.await.unwrap().unwrap();
    let query = "{ viewer { displayName } }";
    assert_eq!(hub.post(Some(&short), query, json!({})).await.0, 200);
    hub.clock.set(&at("08:01"));
    for token in [None, Some("rollcall_wrong"), Some(""), Some(short.as_str())] {
        let (status, body) = hub.post(token, query, json!({})).await;
        assert_eq!((status, &body["errors"][0]["extensions"]["code"]), (401, &json!("UNAUTHENTICATED")));
        assert_eq!(body.get("data"), None);
    }
}

#[tokio::test]
async fn only_an_administrator_decides_on_marks_and_policy() {
    let hub = TestHub::start().await;
    let policy =
        "mutation { saveAttendancePolicy(input: {from: \"2026-09-01T00:00:00Z\", opensBefore: \"PT15M\"}) {
        errors { code } } }";
    let (_, body) = hub.post(Some(&hub.integration), policy, json!({})).await;
    assert_eq!(body["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let saved = hub.data(&hub.admin, policy, json!({})).await;
    assert_eq!(saved["saveAttendancePolicy"]["errors"], json!([]));
    hub.done(
        "saveSession",
        json!({"externalId": "X", "title": "X", "startsAt": at("10:00"), "endsAt": at("11:00"),
                                   "rooms": [], "groups": []}),
    )
    .await;
    let data =
        hub.read("{ session(by: {externalId: \"X\"}) { policy { opensBefore closesAfter overlap } } }").await;
    let wanted = json!({"opensBefore": "PT15M", "closesAfter": "PT0S", "overlap": "EVERY_OPEN"});
    assert_eq!(data["session"]["policy"], wanted);
}

#[tokio::test]
async fn a_token_that_was_taken_back_lets_nobody_in() {
    let hub = TestHub::start().await;
    let query = "{ cards { totalCount } }";
    assert_eq!(hub.post(Some(&hub.integration), query, json!({})).await.0, 200);
    let inside = &hub.running.hub;
    assert!(access::tokens(inside).await.unwrap().iter().all(|line| line.ends_with("in force")));
    assert_eq!(access::revoke_tokens(inside, "timetable-sync").await.unwrap(), 1);
    assert_eq!(hub.post(Some(&hub.integration), query, json!({})).await.0, 401);
    assert_eq!(access::revoke_tokens(inside, "timetable-sync").await.unwrap(), 0);
    let lines = access::tokens(inside).await.unwrap();
    assert_eq!(lines.iter().filter(|line| line.contains("taken back on")).count(), 1, "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("rollcall_")), "{lines:?}");
}
