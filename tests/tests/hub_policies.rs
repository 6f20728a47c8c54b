//! Policies of a kind of session and of a department: which goes before which, for sessions to come and for those that were.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::timetable::{Gateway, estate, number, session, students};
use serde_json::json;

/// How long before its start each session opens, and the state of its register; a filter knows the same of the registers.
async fn opens(hub: &TestHub) -> Vec<String> {
    let query = "{ sessions { nodes { externalId policy { opensBefore } register { state } } }
                   registers(filter: {registerStates: [OPEN]}) { nodes { session { externalId } } } }";
    let found = hub.read(query).await;
    let open = found["registers"]["nodes"].as_array().unwrap();
    let mut lines: Vec<String> = Vec::new();
    for node in found["sessions"]["nodes"].as_array().unwrap() {
        let id = &node["externalId"];
        let listed = open.iter().any(|it| it["session"]["externalId"] == *id);
        assert_eq!(listed, node["register"]["state"] == "OPEN", "{id}");
        let line = [id, &node["policy"]["opensBefore"], &node["register"]["state"]];
        lines.push(line.map(|value| value.as_str().unwrap()).join(" "));
    }
    lines.sort();
    lines
}

/// Saves a policy, which must take effect.
async fn saved(hub: &TestHub, policy: serde_json::Value) {
    let saved = hub.write_as(&hub.admin, "saveAttendancePolicy", policy).await;
    assert_eq!(saved["errors"], json!([]));
}

#[tokio::test]
async fn a_kind_of_session_has_a_policy_of_its_own_that_goes_before_the_institutions() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let mut lab = session("LAB", "10:00", "12:00");
    lab["kind"] = json!("LABORATORY");
    hub.done("saveSessions", json!({"sessions": [lab, session("LEC", "10:00", "12:00")]})).await;
    let save = async |policy: serde_json::Value| saved(&hub, policy).await;
    hub.clock.set(&at("09:00"));
    assert_eq!(opens(&hub).await, ["LAB PT30M SCHEDULED", "LEC PT30M SCHEDULED"]);
    let preview = format!(
        "{{ attendancePolicyPreview(input: {{from: \"{}\", kind: LABORATORY, opensBefore: \"PT2H\"}}, until: \"{}\") {{ sessions }} }}",
        at("00:00"),
        at("23:00")
    );
    let found = hub.data(&hub.admin, &preview, json!({})).await;
    assert_eq!(found["attendancePolicyPreview"]["sessions"], 1, "only laboratories are tried");
    save(json!({"from": at("00:00"), "kind": "LABORATORY", "opensBefore": "PT2H"})).await;
    assert_eq!(opens(&hub).await, ["LAB PT2H OPEN", "LEC PT30M SCHEDULED"]);
    // The institution's own, begun at the same instant and later, leaves it alone.
    save(json!({"from": at("00:00"), "opensBefore": "PT10M"})).await;
    save(json!({"from": at("08:00"), "opensBefore": "PT90M"})).await;
    assert_eq!(opens(&hub).await, ["LAB PT2H OPEN", "LEC PT1H30M OPEN"]);
    save(json!({"from": at("09:00"), "kind": "LABORATORY", "opensBefore": "PT5M"})).await;
    assert_eq!(opens(&hub).await, ["LAB PT5M SCHEDULED", "LEC PT1H30M OPEN"]);
    // A door hears of it with the session.
    let gateway = Gateway::start(&hub, "GW").await;
    let fed = "{ gatewaySelf { snapshot(first: 100) { items { ... on GatewaySession { opensBefore } } } } }";
    let fed = hub.data(&gateway.token, fed, json!({})).await;
    let items = fed["gatewaySelf"]["snapshot"]["items"].as_array().unwrap();
    let mut told: Vec<&str> = items.iter().filter_map(|item| item["opensBefore"].as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["PT1H30M", "PT5M"]);
    let query = "{ attendancePolicies { from kind opensBefore settleLimit } }";
    let all = hub.read(query).await["attendancePolicies"].take();
    assert_eq!(all.as_array().unwrap().len(), 4);
    assert_eq!(all.as_array().unwrap().iter().filter(|it| it["kind"] == "LABORATORY").count(), 2);
    // Taken back, one after the other, each leaves what was in force before it; and the default in the end.
    let delete = async |policy: serde_json::Value| {
        hub.write_as(&hub.admin, "deleteAttendancePolicy", policy).await["errors"].take()
    };
    let never = delete(json!({"from": at("08:00"), "kind": "LABORATORY"})).await;
    assert_eq!((&never[0]["code"], &never[0]["path"]), (&json!("NOT_FOUND"), &json!(["from"])));
    for (policy, left) in [
        (json!({"from": at("09:00"), "kind": "LABORATORY"}), ["LAB PT2H OPEN", "LEC PT1H30M OPEN"]),
        (json!({"from": at("00:00"), "kind": "LABORATORY"}), ["LAB PT1H30M OPEN", "LEC PT1H30M OPEN"]),
        (json!({"from": at("08:00")}), ["LAB PT10M SCHEDULED", "LEC PT10M SCHEDULED"]),
        (json!({"from": at("00:00")}), ["LAB PT30M SCHEDULED", "LEC PT30M SCHEDULED"]),
    ] {
        assert_eq!(delete(policy).await, json!([]));
        assert_eq!(opens(&hub).await, left);
    }
    let since = format!(
        "{{ gatewaySelf {{ changes(after: \"{}\") {{ events {{ __typename }} }} }} }}",
        gateway.cursor
    );
    let told = hub.data(&gateway.token, &since, json!({})).await;
    assert!(told["gatewaySelf"]["changes"]["events"].as_array().unwrap().len() >= 2, "{told}");
}

#[tokio::test]
async fn a_departments_policy_goes_before_the_institutions_and_behind_that_of_a_kind() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let courses = [("ART", json!("Fine Art")), ("LAW", json!("Law")), ("OPEN", json!(null))]
        .map(|(code, department)| json!({"code": code, "title": code, "department": department}));
    hub.done("saveCourses", json!({"courses": courses})).await;
    let sessions = [("ART", "LECTURE"), ("ART", "LABORATORY"), ("LAW", "LECTURE"), ("OPEN", "LECTURE")];
    let sessions = sessions.map(|(course, kind)| {
        let mut it = session(&format!("{course} {kind}"), "10:00", "12:00");
        (it["course"], it["kind"]) = (json!(course), json!(kind));
        it
    });
    hub.done("saveSessions", json!({"sessions": sessions})).await;
    let save = async |policy: serde_json::Value| saved(&hub, policy).await;
    hub.clock.set(&at("09:00"));
    let from = at("00:00");
    save(json!({"from": from, "opensBefore": "PT10M"})).await;
    save(json!({"from": from, "opensBefore": "PT2H", "department": "Fine Art"})).await;
    let law = ["LAW LECTURE PT10M SCHEDULED", "OPEN LECTURE PT10M SCHEDULED"];
    assert_eq!(opens(&hub).await, [["ART LABORATORY PT2H OPEN", "ART LECTURE PT2H OPEN"], law].concat());
    save(json!({"from": from, "opensBefore": "PT5M", "kind": "LABORATORY"})).await;
    assert_eq!(opens(&hub).await, [["ART LABORATORY PT5M SCHEDULED", "ART LECTURE PT2H OPEN"], law].concat());
    save(json!({"from": from, "opensBefore": "PT3H", "kind": "LABORATORY", "department": "Fine Art"})).await;
    assert_eq!(opens(&hub).await, [["ART LABORATORY PT3H OPEN", "ART LECTURE PT2H OPEN"], law].concat());

    // A door hears of a course that moves to another department, and of nothing where none has a policy.
    let mut gateway = Gateway::start(&hub, "GW").await;
    let course = |department| json!({"courses": [{"code": "ART", "title": "ART", "department": department}]});
    let told = async |gateway: &Gateway| {
        let since = format!(
            "{{ gatewaySelf {{ changes(after: \"{}\") {{ events {{ __typename }} }} }} }}",
            gateway.cursor
        );
        let told = hub.data(&gateway.token, &since, json!({})).await;
        told["gatewaySelf"]["changes"]["events"].as_array().unwrap().len()
    };
    hub.done("saveCourses", course("Law")).await;
    assert_eq!(
        opens(&hub).await,
        [["ART LABORATORY PT5M SCHEDULED", "ART LECTURE PT10M SCHEDULED"], law].concat()
    );
    assert_eq!(told(&gateway).await, 2);
    hub.done("saveCourses", course("Fine Art")).await;
    assert_eq!(opens(&hub).await, [["ART LABORATORY PT3H OPEN", "ART LECTURE PT2H OPEN"], law].concat());
    gateway.refresh(&hub).await;
    hub.done("saveCourses", course("Fine Art")).await;
    assert_eq!(told(&gateway).await, 0);
    let delete = async |policy: serde_json::Value| {
        hub.write_as(&hub.admin, "deleteAttendancePolicy", policy).await["errors"].take()
    };
    assert_eq!(delete(json!({"from": from, "department": "Law"})).await[0]["code"], "NOT_FOUND");
    assert_eq!(delete(json!({"from": from, "department": "Fine Art"})).await, json!([]));
    assert_eq!(
        opens(&hub).await,
        [["ART LABORATORY PT3H OPEN", "ART LECTURE PT10M SCHEDULED"], law].concat()
    );
    let found =
        hub.read("{ attendancePolicies { department kind } courses { nodes { code department } } }").await;
    let lab = json!({"department": "Fine Art", "kind": "LABORATORY"});
    assert!(found["attendancePolicies"].as_array().unwrap().contains(&lab));
    assert!(
        found["courses"]["nodes"].as_array().unwrap().contains(&json!({"code": "LAW", "department": "Law"}))
    );
}

#[tokio::test]
async fn what_a_policy_would_change_of_sessions_that_it_is_not_for_is_told_too() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let mut lab = session("LAB", "09:30", "10:30");
    lab["kind"] = json!("LABORATORY");
    hub.done("saveSessions", json!({"sessions": [lab, session("LEC", "10:00", "11:00")]})).await;
    for kind in ["LABORATORY", "LECTURE"] {
        let policy = json!({"from": at("00:00"), "kind": kind, "overlap": "NEAREST_START"});
        hub.write_as(&hub.admin, "saveAttendancePolicy", policy).await;
    }
    let mut gateway = Gateway::start(&hub, "GW").await;
    let lecture = gateway.session("10:00").to_owned();
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(0, 0, &at("09:50"), &[&lecture]);
    gateway.submit(&hub, &[swipe], &at("12:00")).await;
    let marks = async || {
        let query = "{ attendance { nodes { session { externalId } status } } }";
        let found = hub.read(query).await["attendance"]["nodes"].take();
        let lines = found.as_array().unwrap().iter();
        lines.map(|it| format!("{} {}", it["session"]["externalId"], it["status"])).collect::<Vec<_>>()
    };
    let before = marks().await;
    let preview = format!(
        "{{ attendancePolicyPreview(input: {{from: \"{}\", kind: LECTURE, overlap: EVERY_OPEN}}, until: \"2026-10-06T00:00:00Z\") {{
             sessions marksChanged changes {{ session {{ externalId }} from to rules swipes {{ decision }} }} }} }}",
        at("00:00")
    );
    let found = hub.data(&hub.admin, &preview, json!({})).await["attendancePolicyPreview"].take();
    assert_eq!(marks().await, before);
    let policy = json!({"from": at("00:00"), "kind": "LECTURE", "overlap": "EVERY_OPEN"});
    hub.write_as(&hub.admin, "saveAttendancePolicy", policy).await;
    let after = marks().await;
    assert_ne!(after, before);
    let laboratory = json!([{"session": {"externalId": "LAB"}, "from": "ABSENT", "to": "PRESENT",
                              "rules": ["OVERLAP"], "swipes": [{"decision": "RECORDED"}]}]);
    assert_eq!(
        (&found["sessions"], &found["marksChanged"], &found["changes"]),
        (&json!(1), &json!(1), &laboratory)
    );
}

#[tokio::test]
async fn a_policy_that_ends_before_a_wider_one_begins_is_not_said_to_change_what_comes_then() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    hub.done("saveSessions", json!({"sessions": [session("LEC", "10:00", "11:00")]})).await;
    let wider = json!({"from": at("08:00"), "opensBefore": "PT1H"});
    assert_eq!(hub.write_as(&hub.admin, "saveAttendancePolicy", wider).await["errors"], json!([]));
    let mut gateway = Gateway::start(&hub, "GW").await;
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(0, 0, &at("09:10"), &[]);
    gateway.submit(&hub, &[swipe], &at("12:00")).await;
    let preview = format!(
        "{{ attendancePolicyPreview(input: {{from: \"{}\", kind: LECTURE, opensBefore: \"PT45M\"}}, until: \"{}\") {{
             sessions changes {{ session {{ externalId }} }} }} }}",
        at("00:00"),
        at("07:00")
    );
    let marks = hub.read("{ attendance { nodes { status } } }").await;
    assert_eq!(marks["attendance"]["nodes"], json!([{"status": "PRESENT"}]));
    let found = hub.data(&hub.admin, &preview, json!({})).await;
    assert_eq!(found["attendancePolicyPreview"], json!({"sessions": 0, "changes": []}));
}

#[tokio::test]
async fn a_kinds_policy_that_is_tried_until_an_instant_is_not_said_to_change_a_departments_sessions_after_it()
{
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    hub.done("saveCourses", json!({"courses": [{"code": "LAW", "title": "Law", "department": "Law"}]})).await;
    let mut lecture = session("LEC", "10:00", "11:00");
    lecture["course"] = json!("LAW");
    hub.done("saveSessions", json!({"sessions": [lecture, session("EARLY", "06:00", "06:30")]})).await;
    let narrow = json!({"from": at("00:00"), "opensBefore": "PT15M", "department": "Law"});
    assert_eq!(hub.write_as(&hub.admin, "saveAttendancePolicy", narrow).await["errors"], json!([]));
    let mut gateway = Gateway::start(&hub, "GW").await;
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(0, 0, &at("09:40"), &[]);
    gateway.submit(&hub, &[swipe], &at("12:00")).await;
    let found = async |until: &str| {
        let query = format!(
            "{{ attendancePolicyPreview(input: {{from: \"{}\", kind: LECTURE, opensBefore: \"PT45M\"}}, until: \"{until}\") {{
                 sessions changes {{ session {{ externalId }} }} }} attendance {{ nodes {{ status }} }} }}",
            at("00:00")
        );
        hub.data(&hub.admin, &query, json!({})).await
    };
    let stands = hub.read("{ attendance { nodes { status } } }").await["attendance"]["nodes"].take();
    assert!(stands.as_array().unwrap().contains(&json!({"status": "ABSENT"})), "{stands}");
    let before = found(&at("07:00")).await;
    assert_eq!(before["attendancePolicyPreview"], json!({"sessions": 1, "changes": []}));
    assert_eq!(before["attendance"]["nodes"], stands);
    let with_it = found(&at("11:00")).await;
    let changes = json!([{"session": {"externalId": "LEC"}}]);
    assert_eq!(with_it["attendancePolicyPreview"], json!({"sessions": 2, "changes": changes}));
    assert_eq!(with_it["attendance"]["nodes"], stands);
}

#[tokio::test]
async fn a_policy_by_which_nothing_is_judged_otherwise_tells_of_no_session() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let mut lab = session("LAB", "10:00", "12:00");
    lab["kind"] = json!("LABORATORY");
    hub.done("saveSessions", json!({"sessions": [lab, session("LEC", "10:00", "12:00")]})).await;
    let save = async |policy: serde_json::Value| {
        saved(&hub, policy).await;
        let found = hub.read("{ sessions { nodes { externalId revision } } }").await;
        let mut lines: Vec<String> = found["sessions"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| format!("{} {}", it["externalId"].as_str().unwrap(), it["revision"]))
            .collect();
        lines.sort();
        lines
    };
    let from = at("00:00");
    let lab = save(json!({"from": from, "opensBefore": "PT45M", "kind": "LABORATORY"})).await;
    assert_eq!(lab, ["LAB 2", "LEC 1"]);
    let all = json!({"from": from, "opensBefore": "PT1H"});
    assert_eq!(save(all.clone()).await, ["LAB 2", "LEC 2"]);
    assert_eq!(save(all).await, ["LAB 2", "LEC 2"], "it is so already");
}

#[tokio::test]
async fn several_previews_in_one_request_have_their_turns_and_keep_nobody_from_reading() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    hub.done("saveSession", session("LEC", "10:00", "11:00")).await;
    let preview = |name: &str| {
        format!(
            "{name}: attendancePolicyPreview(input: {{from: \"{}\", opensBefore: \"PT45M\"}}, until: \"{}\") {{ sessions }}",
            at("00:00"),
            at("23:00")
        )
    };
    let query = format!(
        "{{ {} {} {} students(first: 1) {{ nodes {{ number }} }} }}",
        preview("one"),
        preview("two"),
        preview("three")
    );
    let found = hub.data(&hub.admin, &query, json!({})).await;
    let sessions = json!({"sessions": 1});
    let students = json!({"nodes": [{"number": number(0)}]});
    assert_eq!(found, json!({"one": sessions, "two": sessions, "three": sessions, "students": students}));
}
