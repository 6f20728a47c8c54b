//! Corrections of many marks: proposed by one, made only once another approves, all or none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::service::access::{self, Role};
use rollcall_tests::hub::{TestHub, at, refusals};
use rollcall_tests::timetable::{estate, session, students};
use serde_json::{Value, json};
use uuid::Uuid;

const SHAPE: &str = "proposal { id state reason proposedBy decidedBy note count corrections { session { externalId } student { number } \
     from to } }";

/// A hub where two sessions of three students are over, nobody came, and all are absent; with a second administrator.
async fn over() -> (TestHub, String) {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 25, 25).await;
    let sessions = [session("X", "10:00", "11:00"), session("Y", "12:00", "13:00")];
    hub.done("saveSessions", json!({"sessions": sessions})).await;
    let mut gateway = rollcall_tests::timetable::Gateway::start(&hub, "GW").await;
    gateway.refresh(&hub).await;
    hub.clock.set(&at("14:00"));
    gateway.heartbeat(&hub, &at("14:00")).await;
    let second = access::create_token(&hub.running.hub, "second", &[Role::Administrator], None, None).await;
    (hub, second.unwrap().unwrap())
}

async fn register(hub: &TestHub, session: &str) -> Value {
    let query = format!("{{ session(by: {{externalId: \"{session}\"}}) {{ register {{ id }} }} }}");
    hub.read(&query).await["session"]["register"]["id"].clone()
}

async fn student(hub: &TestHub, number: &str) -> Value {
    hub.read(&format!("{{ student(by: {{number: \"{number}\"}}) {{ id }} }}")).await["student"]["id"].clone()
}

/// Each mark of some students: session, status, source, and the last line of its history.
async fn marks(hub: &TestHub) -> Vec<String> {
    let query = "{ attendance(filter: {statuses: [PRESENT]}) { nodes { session { externalId } student { number } source \
         history { by reason } } } }";
    let found = hub.read(query).await;
    let nodes = found["attendance"]["nodes"].as_array().unwrap();
    let mut lines: Vec<String> = nodes
        .iter()
        .map(|it| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}: {}",
                text(&it["session"]["externalId"]),
                text(&it["student"]["number"]),
                text(&it["source"]),
                text(&it["history"][0]["by"]),
                text(&it["history"][0]["reason"])
            )
        })
        .collect();
    lines.sort();
    lines
}

async fn proposal(hub: &TestHub, reason: &str) -> Value {
    let mut corrections = Vec::new();
    for (session, number) in [("X", "S00000"), ("Y", "S00001")] {
        corrections.push(json!({
            "registerId": register(hub, session).await, "studentId": student(hub, number).await, "status": "PRESENT",
        }));
    }
    json!({"id": Uuid::new_v4(), "reason": reason, "corrections": corrections})
}

#[tokio::test]
async fn corrections_are_made_once_somebody_else_approves_them_and_name_both() {
    let (hub, second) = over().await;
    let propose = format!("proposeCorrections {SHAPE}");
    let decide = format!("decideCorrections {SHAPE}");
    let input = proposal(&hub, "Fire drill").await;
    let proposed = hub.write_as(&hub.admin, &propose, input.clone()).await;
    assert_eq!(proposed["errors"], json!([]));
    assert_eq!(
        proposed["proposal"]["corrections"],
        json!([{"session": {"externalId": "X"}, "student": {"number": "S00000"}, "from": "ABSENT", "to": "PRESENT"},
               {"session": {"externalId": "Y"}, "student": {"number": "S00001"}, "from": "ABSENT", "to": "PRESENT"}])
    );
    let again = hub.write_as(&hub.admin, &propose, input.clone()).await;
    assert_eq!(again["proposal"], proposed["proposal"], "asked for again it is the same");
    let mut other = input.clone();
    other["reason"] = json!("Something else");
    assert_eq!(refusals(&hub.write_as(&hub.admin, &propose, other).await), ["CONFLICT id"]);
    assert_eq!(marks(&hub).await, Vec::<String>::new(), "nothing is made yet");
    let id = &proposed["proposal"]["id"];
    let approve = json!({"proposalId": id, "approve": true, "note": "I was there"});
    let own = hub.write_as(&hub.admin, &decide, approve.clone()).await;
    assert_eq!(refusals(&own), ["NOT_PERMITTED proposalId"]);
    let approved = hub.write_as(&second, &decide, approve.clone()).await;
    assert_eq!(approved["errors"], json!([]));
    assert_eq!(approved["proposal"]["state"], "APPROVED");
    assert_eq!(approved["proposal"]["decidedBy"], "second");
    let reason = "second: Fire drill (proposed by admin, approved by second)";
    let made = [format!("X S00000 MANUAL {reason}"), format!("Y S00001 MANUAL {reason}")];
    assert_eq!(marks(&hub).await, made);
    let twice = hub.write_as(&second, &decide, approve).await;
    assert_eq!(twice["proposal"]["state"], "APPROVED", "approved again it is as it was");
    let late = hub.write_as(&hub.admin, &decide, json!({"proposalId": id, "approve": false})).await;
    assert_eq!(refusals(&late), ["WRONG_STATE proposalId"]);
    assert_eq!(marks(&hub).await, made);
    let listed =
        hub.read("{ correctionProposals(state: APPROVED) { totalCount nodes { count note } } }").await;
    assert_eq!(listed["correctionProposals"]["nodes"], json!([{"count": 2, "note": "I was there"}]));
}

#[tokio::test]
async fn a_proposal_whose_marks_changed_in_between_makes_none_and_can_be_taken_back() {
    let (hub, second) = over().await;
    let proposed = hub
        .write_as(&hub.admin, &format!("proposeCorrections {SHAPE}"), proposal(&hub, "Fire drill").await)
        .await;
    let id = &proposed["proposal"]["id"];
    let one = json!({"registerId": register(&hub, "Y").await, "reason": "Was on the phone",
                     "marks": [{"studentId": student(&hub, "S00001").await, "status": "AUTHORISED_ABSENCE"}]});
    assert_eq!(hub.write_as(&hub.admin, "markAttendance", one).await["errors"], json!([]));
    let decide = "decideCorrections proposal { state }";
    let stale = hub.write_as(&second, decide, json!({"proposalId": id, "approve": true})).await;
    assert_eq!(refusals(&stale), ["STALE_REVISION proposalId"]);
    assert!(
        stale["errors"][0]["message"].as_str().unwrap().contains("student S00001 in session Y"),
        "{stale}"
    );
    assert_eq!(marks(&hub).await, Vec::<String>::new(), "the mark that had not changed is as it was, too");
    let back = hub.write_as(&hub.admin, decide, json!({"proposalId": id, "approve": false})).await;
    assert_eq!(back["proposal"]["state"], "REJECTED");
    let again = hub.write_as(&second, decide, json!({"proposalId": id, "approve": true})).await;
    assert_eq!(refusals(&again), ["WRONG_STATE proposalId"]);
}

#[tokio::test]
async fn one_person_alone_decides_a_few_marks_and_a_proposal_that_makes_no_sense_is_told_all_of_it() {
    let (hub, _) = over().await;
    let mut marks_ = Vec::new();
    for n in 0..21 {
        marks_.push(json!({"studentId": student(&hub, &format!("S{n:05}")).await, "status": "PRESENT"}));
    }
    let mut many =
        json!({"registerId": register(&hub, "X").await, "reason": "All were there", "marks": marks_});
    assert_eq!(refusals(&hub.write_as(&hub.admin, "markAttendance", many.clone()).await), ["TOO_LONG marks"]);
    many["marks"].as_array_mut().unwrap().pop();
    assert_eq!(hub.write_as(&hub.admin, "markAttendance", many).await["errors"], json!([]));
    let register = register(&hub, "X").await;
    let student = student(&hub, "S00024").await;
    let wrong = json!({"id": Uuid::new_v4(), "reason": "x", "corrections": [
        {"registerId": "reg_0", "studentId": student, "status": "PRESENT"},
        {"registerId": register, "studentId": "stu_0", "status": "PRESENT"},
        {"registerId": register, "studentId": student, "status": "EXPECTED"},
        {"registerId": register, "studentId": student, "status": "PRESENT"}]});
    let told = [
        "NOT_FOUND corrections.0.registerId",
        "NOT_FOUND corrections.1.studentId",
        "INVALID corrections.2.status",
        "CONFLICT corrections.3.studentId",
    ];
    assert_eq!(refusals(&hub.write_as(&hub.admin, "proposeCorrections", wrong).await), told);
    let empty = json!({"id": Uuid::new_v4(), "reason": " ", "corrections": []});
    let told = ["REQUIRED reason", "REQUIRED corrections"];
    assert_eq!(refusals(&hub.write_as(&hub.admin, "proposeCorrections", empty.clone()).await), told);
    let (status, body) = hub
        .post(
            Some(&hub.integration),
            "mutation($input: ProposeCorrectionsInput!) { proposeCorrections(input: $input) { errors { code } } }",
            json!({"input": empty}),
        )
        .await;
    assert_eq!((status, &body["errors"][0]["extensions"]["code"]), (200, &json!("FORBIDDEN")));
}

#[tokio::test]
async fn many_small_pieces_are_no_way_around_the_second_person() {
    let (hub, _) = over().await;
    let register = register(&hub, "X").await;
    let mut marks = Vec::new();
    for n in 0..20 {
        marks.push(json!({"studentId": student(&hub, &format!("S{n:05}")).await, "status": "PRESENT"}));
    }
    let piece = json!({"registerId": register, "reason": "All were there", "marks": marks});
    for _ in 0..5 {
        assert_eq!(hub.write_as(&hub.admin, "markAttendance", piece.clone()).await["errors"], json!([]));
    }
    let one = json!({"registerId": register, "reason": "And she", "marks": [marks[0]]});
    let refused = hub.write_as(&hub.admin, "markAttendance", one.clone()).await;
    assert_eq!(refusals(&refused), ["TOO_LONG marks"]);
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("proposeCorrections"), "{refused}");
    let back = json!({"registerId": register, "reason": "Not she", "studentIds": [marks[0]["studentId"]]});
    assert_eq!(refusals(&hub.write_as(&hub.admin, "clearMarks", back).await), ["TOO_LONG studentIds"]);
    hub.clock.set("2026-10-06T16:00:00Z");
    assert_eq!(hub.write_as(&hub.admin, "markAttendance", one).await["errors"], json!([]), "a day later");
}
