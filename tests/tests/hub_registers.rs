//! Registers at the hub: from expected to final, put right by what is learnt later, corrected by persons.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::service::sweep;
use rollcall_tests::hub::{TestHub, at, ms, refusals};
use rollcall_tests::timetable::{Gateway, estate, join, number, session, students};
use serde_json::{Value, json};

/// A hub at 09:00 with three students, the first two of them in group G, and session X of it at 10:00.
async fn class() -> (TestHub, Gateway, String) {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 3, 2).await;
    hub.done("saveSessions", json!({"sessions": [session("X", "10:00", "11:00")]})).await;
    hub.clock.set(&at("09:00"));
    let gateway = Gateway::start(&hub, "GW").await;
    let held = gateway.session("10:00").to_owned();
    (hub, gateway, held)
}

/// A register: its state, and a line for each entry, by student number.
async fn register(hub: &TestHub, session: &str) -> (String, Vec<String>) {
    let query = format!(
        "{{ session(by: {{externalId: \"{session}\"}}) {{ register {{ state entries(orderBy: {{field: STUDENT_NUMBER}}) {{
            nodes {{ student {{ number }} status source arrivedAt minutesLate sharedSwipe honoured }} }} }} }} }}"
    );
    let mut data = hub.read(&query).await;
    let register = data["session"]["register"].take();
    let lines = register["entries"]["nodes"].as_array().unwrap().iter().map(|entry| {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        let number = entry["student"]["number"].as_str().unwrap();
        let arrived = text("arrivedAt").get(11..23).unwrap_or("-").to_owned();
        let late = entry["minutesLate"].as_i64().map_or("-".to_owned(), |late| late.to_string());
        let mut line = format!("{number} {} {} {arrived} {late}", text("status"), text("source"));
        for flag in ["sharedSwipe", "honoured"] {
            if entry[flag] == true {
                line = format!("{line} {flag}");
            }
        }
        line
    });
    let (state, lines) = (register["state"].as_str().unwrap().to_owned(), lines.collect());
    // A filter knows the same states.
    for one in ["CANCELLED", "FINAL", "NO_REGISTER", "OPEN", "SCHEDULED", "SETTLING"] {
        let query = format!(
            "{{ registers(filter: {{registerStates: [{one}]}}) {{ nodes {{ session {{ externalId }} }} }} }}"
        );
        let found = hub.read(&query).await["registers"]["nodes"].take();
        let found = found.as_array().unwrap().iter().any(|node| node["session"]["externalId"] == session);
        assert_eq!(found, one == state, "{session} is {state}; found as {one}: {found}");
    }
    (state, lines)
}

fn is(state: &str, lines: &[&str]) -> (String, Vec<String>) {
    (state.to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())
}

#[tokio::test]
async fn a_register_goes_from_scheduled_to_final_and_absent_comes_last() {
    let (hub, mut gateway, held) = class().await;
    let nobody = ["S00000 EXPECTED RULE - -", "S00001 EXPECTED RULE - -"];
    assert_eq!(register(&hub, "X").await, is("SCHEDULED", &nobody));
    hub.clock.set(&at("09:30"));
    assert_eq!(register(&hub, "X").await, is("OPEN", &nobody));
    hub.clock.set(&at("10:07"));
    let swipe = gateway.swipe(0, 0, "2026-10-05T10:05:59.999Z", &[&held]);
    assert_eq!(gateway.submit(&hub, &[swipe], &at("10:07")).await, ["STORED"]);
    let one = ["S00000 PRESENT READER 11:05:59.999 5", "S00001 EXPECTED RULE - -"];
    assert_eq!(register(&hub, "X").await, is("OPEN", &one));
    hub.clock.set("2026-10-05T11:00:00.001Z");
    assert_eq!(register(&hub, "X").await, is("SETTLING", &one));
    gateway.heartbeat(&hub, &at("11:00")).await;
    assert_eq!(register(&hub, "X").await, is("SETTLING", &one), "a swipe at the very end may be on its way");
    gateway.heartbeat(&hub, "2026-10-05T11:00:00.001Z").await;
    let last = ["S00000 PRESENT READER 11:05:59.999 5", "S00001 ABSENT RULE - -"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &last));
}

#[tokio::test]
async fn both_ends_of_the_window_count_and_a_millisecond_outside_does_not() {
    let (hub, mut gateway, held) = class().await;
    join(&hub, 2..3, "2026-09-21").await;
    hub.clock.set(&at("11:01"));
    let times = [
        (0, "2026-10-05T09:29:59.999Z"),
        (1, "2026-10-05T09:30:00.000Z"),
        (2, "2026-10-05T11:00:00.000Z"),
        (0, "2026-10-05T11:00:00.001Z"),
    ];
    let swipes: Vec<Value> =
        times.iter().map(|(student, when)| gateway.swipe(*student, 0, when, &[])).collect();
    gateway.submit(&hub, &swipes, &at("11:01")).await;
    let lines = [
        "S00000 ABSENT RULE - -",
        "S00001 PRESENT RECONCILED 10:30:00.000 0",
        "S00002 PRESENT RECONCILED 12:00:00.000 60",
    ];
    assert_eq!(register(&hub, "X").await, is("FINAL", &lines));
    assert_ne!(held, "");
}

#[tokio::test]
async fn a_class_list_put_right_later_turns_a_red_into_present_and_says_so() {
    let (hub, mut gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    let mut swipe = gateway.swipe(2, 0, &at("10:05"), &[]);
    let considered = json!([{"session": gateway.session("10:00"), "opens": ms(&at("09:30")), "closes": ms(&at("11:00")), "list": true}]);
    swipe["record"] = json!({"t": "swipe", "considered": considered}).to_string().into();
    gateway.submit(&hub, &[swipe], &at("12:00")).await;
    let absent = ["S00000 ABSENT RULE - -", "S00001 ABSENT RULE - -"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &absent));
    join(&hub, 2..3, "2026-10-05").await;
    let lines = [absent[0], absent[1], "S00002 PRESENT RECONCILED 11:05:00.000 5"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &lines));
    // In one query: why the light was red, and why the register now says present.
    let how = "considered { session { externalId policy { opensBefore } } opensAt windowOpen hasClassList onClassList credited }";
    let swipes = format!(
        "{{ swipes {{ nodes {{ shown {{ light reason timetableRevision {how} }} verdict {{ light reason decidedBy {how} }} }} }} }}"
    );
    let explained = hub.read(&swipes).await["swipes"]["nodes"][0].take();
    let revision = explained["shown"]["timetableRevision"].as_i64();
    assert!(revision.is_some_and(|revision| revision > 0), "{explained}");
    let considered = |listed: bool| {
        json!([{"session": {"externalId": "X", "policy": {"opensBefore": "PT30M"}}, "opensAt": "2026-10-05T10:30:00.000+01:00",
                "windowOpen": true, "hasClassList": true, "onClassList": listed, "credited": listed}])
    };
    assert_eq!(
        explained,
        json!({
            "shown": {"light": "RED", "reason": "NOT_ON_CLASS_LIST", "timetableRevision": revision, "considered": considered(false)},
            "verdict": {"light": "GREEN", "reason": "RECORDED", "decidedBy": "HUB", "considered": considered(true)},
        })
    );
    let swipes = "{ swipes { nodes { decision reason sessions { externalId } shown { light reason }
        revisions { decision reason } considered { session { externalId } credited } learntLater } } }";
    let swipe = hub.read(swipes).await["swipes"]["nodes"][0].take();
    let wanted = json!({
        "decision": "RECORDED", "reason": "RECORDED", "sessions": [{"externalId": "X"}],
        "shown": {"light": "RED", "reason": "NOT_ON_CLASS_LIST"},
        "revisions": [{"decision": "NOT_RECORDED", "reason": "NOT_ON_CLASS_LIST"}],
        "considered": [{"session": {"externalId": "X"}, "credited": true}],
        "learntLater": ["CLASS_LIST"],
    });
    assert_eq!(swipe, wanted);
}

#[tokio::test]
async fn a_stay_entered_by_mistake_is_taken_back_and_what_a_door_promised_keeps_counting() {
    let (hub, mut gateway, held) = class().await;
    join(&hub, 2..3, "2026-10-05").await;
    gateway.refresh(&hub).await;
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(1, 0, &at("10:05"), &[&held]);
    gateway.submit(&hub, &[swipe], &at("12:00")).await;
    let lines = ["S00000 ABSENT RULE - -", "S00001 PRESENT READER 11:05:00.000 5", "S00002 ABSENT RULE - -"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &lines));

    let stay = |student: usize, from: &str| json!({"group": "G", "student": number(student), "from": from});
    let some = json!({"memberships": [stay(2, "2026-10-05"), stay(2, "2026-10-06")]});
    let unknown = hub.write("removeMemberships", some).await;
    assert_eq!(refusals(&unknown), ["NOT_FOUND memberships.1.from"]);
    assert_eq!(register(&hub, "X").await, is("FINAL", &lines), "all or nothing");

    let both = json!({"memberships": [stay(2, "2026-10-05"), stay(1, "2026-09-21")]});
    hub.done("removeMemberships", both).await;
    let lines = [lines[0], "S00001 PRESENT READER 11:05:00.000 5 honoured"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &lines));
    let before = gateway.cursor.clone();
    gateway.refresh(&hub).await;
    assert_ne!(gateway.cursor, before, "the doors hear of it");
}

#[tokio::test]
async fn a_mark_that_goes_and_comes_again_counts_its_revisions_on() {
    let (hub, gateway, _) = class().await;
    join(&hub, 2..3, "2026-10-05").await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("12:00")).await;
    let revision = async || {
        let query = "{ session(by: {externalId: \"X\"}) { register { entries { nodes { student { number } revision } } } } }";
        let found = hub.read(query).await["session"]["register"]["entries"]["nodes"].take();
        let mut marks = found.as_array().unwrap().iter();
        marks.find(|it| it["student"]["number"] == number(2)).and_then(|it| it["revision"].as_i64())
    };
    let first = revision().await.unwrap();
    assert!(first > 1, "EXPECTED, then ABSENT");
    let stay = json!({"memberships": [{"group": "G", "student": number(2), "from": "2026-10-05"}]});
    hub.clock.set(&at("12:30"));
    hub.done("removeMemberships", stay).await;
    assert_eq!(revision().await, None);
    let gone = async |since: &str| {
        let query = format!(
            "{{ withdrawnAttendance(since: \"{since}\") {{ nodes {{ session {{ externalId }} student {{ number }} status revision
               withdrawnAt }} }} }}"
        );
        hub.read(&query).await["withdrawnAttendance"]["nodes"].take()
    };
    let told = json!([{"session": {"externalId": "X"}, "student": {"number": number(2)}, "status": "ABSENT",
                       "revision": first, "withdrawnAt": "2026-10-05T13:30:00.000+01:00"}]);
    assert_eq!((gone(&at("12:30")).await, gone(&at("12:31")).await), (told, json!([])));
    join(&hub, 2..3, "2026-10-05").await;
    assert_eq!(revision().await, Some(first + 1));
}

#[tokio::test]
async fn a_registers_entries_are_filtered_by_what_the_session_is_too() {
    let (hub, ..) = class().await;
    hub.done("saveGroup", json!({"code": "OTHER", "course": "C"})).await;
    let query = "{ groups { nodes { id code } } courses { nodes { id } } }";
    let found = hub.read(query).await;
    let groups = found["groups"]["nodes"].as_array().unwrap();
    let id =
        |code: &str| groups.iter().find(|it| it["code"] == code).unwrap()["id"].as_str().unwrap().to_owned();
    let course = &found["courses"]["nodes"][0]["id"];
    for (filter, wanted) in [
        (format!("groupIds: [\"{}\"]", id("G")), 2),
        (format!("groupIds: [\"{}\"]", id("OTHER")), 0),
        (format!("courseIds: [{course}]"), 0),
        ("courseIds: []".to_owned(), 0),
        (format!("sessionStartsIn: {{from: \"{}\"}}", at("10:00")), 2),
        (format!("sessionStartsIn: {{until: \"{}\"}}", at("10:00")), 0),
    ] {
        let query = format!(
            "{{ session(by: {{externalId: \"X\"}}) {{ register {{ entries(filter: {{{filter}}}) {{ totalCount }} }} }}
               attendance(filter: {{{filter}}}) {{ totalCount }} }}"
        );
        let found = hub.read(&query).await;
        let counts = [&found["session"]["register"]["entries"], &found["attendance"]]
            .map(|it| it["totalCount"].clone());
        assert_eq!(counts, [json!(wanted), json!(wanted)], "{filter}");
    }
}

#[tokio::test]
async fn a_session_called_off_is_cancelled_and_reinstated_as_it_was() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let swipes = [gateway.swipe(0, 0, &at("09:59"), &[&held]), gateway.swipe(1, 0, &at("10:01"), &[])];
    gateway.submit(&hub, &swipes, &at("12:00")).await;
    let before =
        is("FINAL", &["S00000 PRESENT READER 10:59:00.000 0", "S00001 PRESENT RECONCILED 11:01:00.000 1"]);
    assert_eq!(register(&hub, "X").await, before);
    let mut off = session("X", "10:00", "11:00");
    off["cancelled"] = true.into();
    hub.done("saveSession", off).await;
    let cancelled = ["S00000 CANCELLED RULE - -", "S00001 CANCELLED RULE - -"];
    assert_eq!(register(&hub, "X").await, is("CANCELLED", &cancelled));
    hub.done("saveSession", session("X", "10:00", "11:00")).await;
    assert_eq!(register(&hub, "X").await, before);
}

#[tokio::test]
async fn a_session_moved_on_the_day_keeps_the_greens_of_the_old_door_and_takes_swipes_at_the_new_one() {
    let (hub, mut gateway, held) = class().await;
    join(&hub, 2..3, "2026-09-21").await;
    hub.clock.set(&at("09:50"));
    let early = gateway.swipe(0, 0, &at("09:45"), &[&held]);
    gateway.submit(&hub, &[early], &at("09:50")).await;
    let mut moved = session("X", "10:00", "11:00");
    moved["rooms"] = json!(["R2"]);
    hub.done("saveSession", moved).await;
    hub.clock.set(&at("10:10"));
    let swipes = [gateway.swipe(1, 0, &at("09:55"), &[]), gateway.swipe(2, 1, &at("09:55"), &[])];
    gateway.submit(&hub, &swipes, &at("10:10")).await;
    let lines = [
        "S00000 PRESENT READER 10:45:00.000 0",
        "S00001 EXPECTED RULE - -",
        "S00002 PRESENT RECONCILED 10:55:00.000 0",
    ];
    assert_eq!(register(&hub, "X").await, is("OPEN", &lines));
    let rooms = hub.read("{ session(by: {externalId: \"X\"}) { rooms { code } } }").await;
    assert_eq!(rooms["session"]["rooms"], json!([{"code": "R2"}]));
}

#[tokio::test]
async fn a_room_put_right_after_the_session_counts_for_all_of_it_and_greens_are_honoured() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let swipes = [gateway.swipe(0, 0, &at("10:02"), &[&held]), gateway.swipe(1, 1, &at("10:05"), &[])];
    gateway.submit(&hub, &swipes, &at("12:00")).await;
    assert_eq!(register(&hub, "X").await.1[1], "S00001 ABSENT RULE - -");
    let mut elsewhere = session("X", "10:00", "11:00");
    elsewhere["rooms"] = json!(["R2"]);
    hub.done("saveSessions", json!({"sessions": [elsewhere]})).await;
    let lines = ["S00000 PRESENT READER 11:02:00.000 2 honoured", "S00001 PRESENT RECONCILED 11:05:00.000 5"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &lines));
}

#[tokio::test]
async fn a_green_is_honoured_when_the_session_is_put_to_another_time() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("09:50"));
    let swipe = gateway.swipe(0, 0, &at("09:45"), &[&held]);
    gateway.submit(&hub, &[swipe], &at("09:50")).await;
    hub.done("saveSession", session("X", "14:00", "15:00")).await;
    let lines = ["S00000 PRESENT READER 10:45:00.000 0 honoured", "S00001 EXPECTED RULE - -"];
    assert_eq!(register(&hub, "X").await, is("SCHEDULED", &lines));
    hub.done("saveSession", session("X", "10:00", "11:00")).await;
    let lines = ["S00000 PRESENT READER 10:45:00.000 0", "S00001 EXPECTED RULE - -"];
    assert_eq!(register(&hub, "X").await, is("OPEN", &lines));
}

#[tokio::test]
async fn a_green_is_honoured_when_the_student_turns_out_not_to_have_been_listed() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let swipes = [gateway.swipe(0, 0, &at("09:45"), &[&held]), gateway.swipe(1, 0, &at("09:45"), &[])];
    gateway.submit(&hub, &swipes, &at("12:00")).await;
    let stays: Vec<Value> = (0..2)
        .map(|index| json!({"group": "G", "student": number(index), "from": "2026-09-21", "until": "2026-10-04"}))
        .collect();
    hub.done("saveMemberships", json!({"memberships": stays})).await;
    let lines = ["S00000 PRESENT READER 10:45:00.000 0 honoured"];
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &lines), "red promised nothing, green did");
    let query = "{ swipes { nodes { decision reason sessions { externalId }
                     considered { session { externalId } onClassList credited } } } }";
    let swipes = hub.read(query).await;
    let considered = |credited: bool| json!([{"session": {"externalId": "X"}, "onClassList": false, "credited": credited}]);
    let found = [0, 1].map(|index| swipes["swipes"]["nodes"][index].clone());
    let counts = json!([{"externalId": "X"}]);
    assert!(
        found.contains(&json!({"decision": "RECORDED", "reason": "NO_CLASS_LIST", "sessions": counts,
                                   "considered": considered(true)})),
        "{found:?}"
    );
    assert!(
        found.contains(&json!({"decision": "NOT_RECORDED", "reason": "NO_CLASS_LIST", "sessions": [],
                                   "considered": considered(false)})),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_swipe_that_counts_for_two_sessions_says_so_until_one_is_called_off() {
    let (hub, mut gateway, held) = class().await;
    hub.done("saveSession", session("Y", "10:30", "11:30")).await;
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(0, 0, &at("10:15"), &[&held]);
    gateway.submit(&hub, &[swipe], &at("12:00")).await;
    let x = ["S00000 PRESENT READER 11:15:00.000 15 sharedSwipe", "S00001 ABSENT RULE - -"];
    let y = ["S00000 PRESENT READER 11:15:00.000 0 sharedSwipe", "S00001 ABSENT RULE - -"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &x));
    assert_eq!(register(&hub, "Y").await, is("FINAL", &y));
    let mut off = session("Y", "10:30", "11:30");
    off["cancelled"] = true.into();
    hub.done("saveSession", off).await;
    let x = ["S00000 PRESENT READER 11:15:00.000 15", "S00001 ABSENT RULE - -"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &x));
}

#[tokio::test]
async fn nobody_is_absent_where_the_door_has_no_reader_or_the_student_is_not_expected_at_it() {
    let (hub, gateway, _) = class().await;
    hub.done("saveRoom", json!({"code": "R3", "building": "A"})).await;
    let mut online = session("Z", "10:00", "11:00");
    online["rooms"] = json!(["R3"]);
    hub.done("saveSession", online).await;
    hub.done("saveStudent", json!({"number": number(1), "name": "Far away", "expectedAtDoor": false})).await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("12:00")).await;
    let lines = ["S00000 NO_REGISTER RULE - -", "S00001 NOT_REQUIRED RULE - -"];
    assert_eq!(register(&hub, "Z").await, is("NO_REGISTER", &lines));
    let lines = ["S00000 ABSENT RULE - -", "S00001 NOT_REQUIRED RULE - -"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &lines));
    hub.done("saveStudent", json!({"number": number(1), "name": "Whoever mends it says no more"})).await;
    assert_eq!(register(&hub, "X").await, is("FINAL", &lines));
}

#[tokio::test]
async fn a_gateway_silent_for_28_days_ends_the_waiting_and_its_return_makes_the_register_final() {
    let (hub, gateway, _) = class().await;
    hub.clock.set("2026-11-02T11:00:00.000Z");
    sweep::sweep(&hub.running.hub).await.unwrap();
    let waiting = ["S00000 EXPECTED RULE - -", "S00001 EXPECTED RULE - -"];
    assert_eq!(register(&hub, "X").await, is("SETTLING", &waiting));
    hub.clock.set("2026-11-02T11:00:00.001Z");
    sweep::sweep(&hub.running.hub).await.unwrap();
    let lost = ["S00000 NO_REGISTER RULE - -", "S00001 NO_REGISTER RULE - -"];
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &lost));
    gateway.heartbeat(&hub, "2026-11-02T12:00:00Z").await;
    let absent = ["S00000 ABSENT RULE - -", "S00001 ABSENT RULE - -"];
    assert_eq!(register(&hub, "X").await, is("FINAL", &absent));
}

const MARK: &str = "markAttendance register { revision summary { present absent attendedShare } }
    records { status source minutesLate revision history { from to source reason by } }";

#[tokio::test]
async fn a_person_corrects_a_mark_with_a_reason_that_stays_and_a_stale_one_is_turned_down() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(0, 0, &at("09:45"), &[&held]);
    gateway.submit(&hub, &[swipe], &at("12:00")).await;
    let query = "{ session(by: {externalId: \"X\"}) { register { id revision } } student(by: {number: \"S00001\"}) { id } }";
    let data = hub.read(query).await;
    let register_id = &data["session"]["register"]["id"];
    let revision = data["session"]["register"]["revision"].as_i64().unwrap();
    let input = |reason: &str, status: &str, expected: Option<i64>| {
        json!({"registerId": register_id, "expectedRevision": expected, "reason": reason,
               "marks": [{"studentId": data["student"]["id"], "status": status}]})
    };
    let first = hub.write_as(&hub.admin, MARK, input("Card at home", "PRESENT", Some(revision))).await;
    assert_eq!(first["errors"], json!([]));
    assert_eq!(first["register"]["summary"], json!({"present": 2, "absent": 0, "attendedShare": 1.0}));
    let born = json!({"from": "EXPECTED", "to": "ABSENT", "source": "RULE", "reason": null, "by": null});
    let line = |reason: &str, from: &str, to: &str| json!({"from": from, "to": to, "source": "MANUAL", "reason": reason, "by": "admin"});
    let home = line("Card at home", "ABSENT", "PRESENT");
    assert_eq!(first["records"][0]["history"], json!([home, born]));
    let stale = hub.write_as(&hub.admin, MARK, input("Late to the party", "ABSENT", Some(revision))).await;
    assert_eq!(refusals(&stale), ["STALE_REVISION expectedRevision"]);
    let again = hub.write_as(&hub.admin, MARK, input("Tutor saw them", "PRESENT", None)).await;
    let saw = line("Tutor saw them", "PRESENT", "PRESENT");
    assert_eq!(again["records"][0]["history"], json!([saw, home, born]), "each decision keeps its reason");
    hub.done("saveSession", session("X", "10:00", "11:30")).await;
    let after = hub.write_as(&hub.admin, MARK, input("Was not there", "ABSENT", None)).await;
    let not = line("Was not there", "PRESENT", "ABSENT");
    assert_eq!(after["records"][0]["history"], json!([not, saw, home, born]));
}

#[tokio::test]
async fn what_a_person_decided_can_be_taken_back_and_the_rules_decide_again() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(0, 0, &at("09:45"), &[&held]);
    gateway.submit(&hub, &[swipe], &at("12:00")).await;
    let derived = register(&hub, "X").await;
    let query = "{ session(by: {externalId: \"X\"}) { register { id } } students { nodes { id } } }";
    let data = hub.read(query).await;
    let register_id = &data["session"]["register"]["id"];
    let student = |index: usize| data["students"]["nodes"][index]["id"].clone();
    let marks: Vec<Value> = [(0, "ABSENT"), (1, "PRESENT")]
        .map(|(it, status)| json!({"studentId": student(it), "status": status}))
        .into();
    let input = json!({"registerId": register_id, "reason": "Wrong list", "marks": marks});
    assert_eq!(hub.write_as(&hub.admin, MARK, input).await["errors"], json!([]));
    let decided = register(&hub, "X").await;
    assert_ne!(decided, derived);
    const CLEAR: &str =
        "clearMarks register { revision } records { status source history { to source reason by } }";
    let clear = |students: Vec<Value>, reason: &str| json!({"registerId": register_id, "studentIds": students, "reason": reason});
    for (input, refusal) in [
        (clear(vec![student(0), student(2)], "r"), "NOT_FOUND studentIds.1"),
        (clear(vec![], "r"), "REQUIRED studentIds"),
        (clear(vec![student(0)], " "), "REQUIRED reason"),
    ] {
        assert_eq!(refusals(&hub.write_as(&hub.admin, CLEAR, input).await), [refusal]);
        assert_eq!(register(&hub, "X").await, decided);
    }
    let cleared =
        hub.write_as(&hub.admin, CLEAR, clear(vec![student(0), student(1)], "It was the right one")).await;
    assert_eq!(cleared["errors"], json!([]));
    assert_eq!(register(&hub, "X").await, derived);
    let last = |to: &str, source: &str| json!({"to": to, "source": source, "reason": "It was the right one", "by": "admin"});
    assert_eq!(cleared["records"][0]["history"][0], last("PRESENT", "READER"));
    assert_eq!(cleared["records"][1]["history"][0], last("ABSENT", "RULE"));
    let again = hub.write_as(&hub.admin, CLEAR, clear(vec![student(0)], "r")).await;
    assert_eq!(refusals(&again), ["NOT_FOUND studentIds.0"]);
}

#[tokio::test]
async fn a_mark_that_makes_no_sense_is_turned_down_and_changes_nothing() {
    let (hub, _, _) = class().await;
    let data = hub.read("{ session(by: {externalId: \"X\"}) { id register { id } } student(by: {number: \"S00001\"}) { id }
        other: student(by: {number: \"S00002\"}) { id } }").await;
    let student = &data["student"]["id"];
    let register_id = &data["session"]["register"]["id"];
    let before = register(&hub, "X").await;
    let mark = json!({"studentId": student, "status": "PRESENT"});
    let tries = [
        (json!({"registerId": register_id, "reason": " ", "marks": [mark]}), "REQUIRED reason"),
        (json!({"registerId": register_id, "reason": "r", "marks": []}), "REQUIRED marks"),
        (
            json!({"registerId": data["session"]["id"], "reason": "r", "marks": [mark]}),
            "NOT_FOUND registerId",
        ),
        (
            json!({"registerId": register_id, "reason": "r", "marks": [{"studentId": student, "status": "EXPECTED"}]}),
            "INVALID marks.0.status",
        ),
        (
            json!({"registerId": register_id, "reason": "r", "marks": [mark, {"studentId": register_id, "status": "ABSENT"}]}),
            "NOT_FOUND marks.1.studentId",
        ),
        (
            json!({"registerId": register_id, "reason": "r", "marks": [mark, {"studentId": student, "status": "ABSENT"}]}),
            "CONFLICT marks.1.studentId",
        ),
        (
            json!({"registerId": register_id, "reason": "r", "marks": [{"studentId": data["other"]["id"], "status": "PRESENT"}]}),
            "CONFLICT marks.0.studentId",
        ),
    ];
    for (input, refusal) in tries {
        let payload = hub.write_as(&hub.admin, MARK, input).await;
        assert_eq!(refusals(&payload), [refusal]);
        assert_eq!(register(&hub, "X").await, before);
    }
}
