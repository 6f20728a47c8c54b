//! Changes on the day, to the minute: rooms that are left while people are on their way, stays that begin and end within a day.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::timetable::{class, number, session, students};
use serde_json::{Value, json};

/// Each student's number and status in session X.
async fn marks(hub: &TestHub) -> Vec<String> {
    let query = "{ session(by: {externalId: \"X\"}) { register { entries { nodes { student { number } status } } } } }";
    let found = hub.read(query).await["session"]["register"]["entries"]["nodes"].take();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let lines = found.as_array().unwrap().iter();
    lines.map(|it| format!("{} {}", word(&it["student"]["number"]), word(&it["status"]))).collect()
}

fn in_room(room: &str, old_until: Option<&str>) -> Value {
    let mut moved = session("X", "10:00", "11:00");
    moved["rooms"] = json!([room]);
    moved["oldRoomsUntil"] = json!(old_until.map(at));
    moved
}

#[tokio::test]
async fn a_room_that_a_session_leaves_takes_its_swipes_until_the_cut_over_beside_the_new_one() {
    for told_at in ["08:00", "09:50"] {
        let (hub, mut gateway, _) = class().await;
        students(&hub, 4, 4).await;
        hub.clock.set(&at(told_at));
        hub.done("saveSession", in_room("R2", Some("10:05"))).await;
        // Said again, also without the instant, as an import would: nothing changes.
        let revision = "{ session(by: {externalId: \"X\"}) { revision rooms { code } } }";
        let before = hub.read(revision).await;
        hub.done("saveSession", in_room("R2", Some("10:05"))).await;
        hub.done("saveSession", in_room("R2", None)).await;
        assert_eq!(hub.read(revision).await, before);
        assert_eq!(before["session"]["rooms"], json!([{"code": "R2"}]));
        let swipes = [
            gateway.swipe(0, 0, &at("10:04"), &[]),
            gateway.swipe(1, 0, &at("10:06"), &[]),
            gateway.swipe(2, 1, &at("09:55"), &[]),
            gateway.swipe(3, 1, &at("10:06"), &[]),
        ];
        hub.clock.set(&at("10:10"));
        gateway.submit(&hub, &swipes, &at("10:10")).await;
        let wanted = ["S00000 PRESENT", "S00001 EXPECTED", "S00002 PRESENT", "S00003 PRESENT"];
        assert_eq!(marks(&hub).await, wanted, "told at {told_at}");
        // Nor does another end of the session close the old door.
        let mut longer = in_room("R2", None);
        longer["endsAt"] = json!(at("11:15"));
        hub.done("saveSession", longer).await;
        assert_eq!(marks(&hub).await, wanted, "told at {told_at}");
        // The old door may be left open for longer, as long as it is not closed.
        let (hub, mut gateway, _) = class().await;
        hub.clock.set(&at(told_at));
        hub.done("saveSession", in_room("R2", Some("10:05"))).await;
        hub.clock.set(&at("10:01"));
        hub.done("saveSession", in_room("R2", Some("10:20"))).await;
        let late = gateway.swipe(1, 0, &at("10:06"), &[]);
        hub.clock.set(&at("10:10"));
        gateway.submit(&hub, &[late], &at("10:10")).await;
        assert_eq!(marks(&hub).await[1], "S00001 PRESENT", "told at {told_at}");
    }
}

#[tokio::test]
async fn a_session_that_goes_back_to_the_room_that_it_is_leaving_stays_there() {
    let (hub, mut gateway, _) = class().await;
    hub.clock.set(&at("09:50"));
    hub.done("saveSession", in_room("R2", Some("10:05"))).await;
    hub.clock.set(&at("09:55"));
    hub.done("saveSession", in_room("R1", None)).await;
    let swipes = [gateway.swipe(0, 0, &at("10:06"), &[]), gateway.swipe(1, 1, &at("10:06"), &[])];
    hub.clock.set(&at("10:10"));
    gateway.submit(&hub, &swipes, &at("10:10")).await;
    assert_eq!(marks(&hub).await, ["S00000 PRESENT", "S00001 EXPECTED"]);
    let beyond = hub.write_as(&hub.admin, "saveSession", in_room("R2", Some("11:00"))).await;
    assert_eq!(beyond["errors"][0]["code"], "INVALID", "{beyond}");
}

#[tokio::test]
async fn a_stay_begins_and_ends_at_an_instant_where_somebody_says_so() {
    let (hub, mut gateway, _) = class().await;
    hub.clock.set(&at("09:30"));
    let day = "2026-10-05";
    let joins = |from_at: &str| json!({"group": "G", "student": number(2), "from": day, "fromAt": from_at});
    let leaves = json!({"group": "G", "student": number(1), "from": "2026-09-21", "until": day, "untilAt": at("09:59")});
    hub.done("saveMemberships", json!({"memberships": [joins(&at("09:57")), leaves]})).await;
    // Said again without the instants, as a class list has it, they are as they were.
    let whole = json!([{"group": "G", "student": number(2), "from": day}, {"group": "G", "student": number(1),
                       "from": "2026-09-21", "until": day}]);
    hub.done("saveMemberships", json!({"memberships": whole})).await;
    let stays = hub
        .read("{ group(by: {code: \"G\"}) { members { nodes { student { number } fromAt untilAt } } } }")
        .await;
    let stays = stays["group"]["members"]["nodes"].as_array().unwrap().clone();
    let of = |index: usize| stays.iter().find(|it| it["student"]["number"] == number(index)).unwrap().clone();
    assert_eq!(
        (&of(2)["fromAt"], &of(2)["untilAt"]),
        (&json!("2026-10-05T10:57:00.000+01:00"), &Value::Null)
    );
    assert_eq!(of(1)["untilAt"], "2026-10-05T10:59:00.000+01:00");
    let swipes = [gateway.swipe(2, 0, &at("09:55"), &[]), gateway.swipe(1, 0, &at("09:59"), &[])];
    hub.clock.set(&at("10:10"));
    gateway.submit(&hub, &swipes, &at("10:10")).await;
    // The one came before the stay began, the other when it was over.
    assert_eq!(marks(&hub).await, ["S00000 EXPECTED", "S00001 NOT_REQUIRED", "S00002 EXPECTED"]);
    let swipe = gateway.swipe(2, 0, &at("09:58"), &[]);
    gateway.submit(&hub, &[swipe], &at("10:12")).await;
    assert_eq!(marks(&hub).await[2], "S00002 PRESENT");
    for (bad, path) in [
        (joins("2026-10-06T09:00:00Z"), "fromAt"),
        (json!({"group": "G", "student": number(2), "from": day, "untilAt": at("12:00")}), "untilAt"),
        (
            json!({"group": "G", "student": number(2), "from": day, "until": day, "fromAt": at("12:00"), "untilAt": at("12:00")}),
            "untilAt",
        ),
        (json!({"group": "G", "student": number(2), "from": day, "until": "2026-10-04"}), "until"),
    ] {
        let refused = hub.write_as(&hub.admin, "saveMemberships", json!({"memberships": [bad]})).await;
        assert_eq!(refused["errors"][0]["path"], json!(["memberships", "0", path]), "{refused}");
    }
}

#[tokio::test]
async fn old_rooms_are_kept_open_by_a_word_that_comes_after_the_move_and_stay_known_when_the_time_is_mended_later()
 {
    let (hub, mut gateway, _) = class().await;
    hub.clock.set(&at("09:50"));
    hub.done("saveSession", in_room("R2", None)).await;
    hub.clock.set(&at("09:55"));
    hub.done("saveSession", in_room("R2", Some("10:05"))).await;
    let swipe = gateway.swipe(0, 0, &at("10:01"), &[]);
    hub.clock.set(&at("10:10"));
    gateway.submit(&hub, &[swipe], &at("10:10")).await;
    assert_eq!(marks(&hub).await[0], "S00000 PRESENT", "who came to the old room");
    // The next day somebody mends its end, and says the room that it ended in.
    hub.clock.set("2026-10-06T09:00:00Z");
    gateway.heartbeat(&hub, "2026-10-06T09:00:00Z").await;
    let mut mended = in_room("R2", None);
    mended["endsAt"] = json!(at("11:15"));
    hub.done("saveSession", mended).await;
    assert_eq!(marks(&hub).await[0], "S00000 PRESENT", "it was in the old room all the same");
}
