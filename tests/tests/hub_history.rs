//! What sessions and stays in groups were before each change, who changed them, and when.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::import::{feed_of, imported, order, problems};
use rollcall_tests::timetable::{Gateway, estate, join, number, session, students};
use serde_json::{Value, json};

const FIELDS: &str = "at by source revision title startsAt endsAt cancelled rooms { code } groups { code }";

async fn history(hub: &TestHub) -> Vec<Value> {
    let query = format!("{{ session(by: {{externalId: \"X\"}}) {{ history {{ {FIELDS} }} }} }}");
    hub.read(&query).await["session"]["history"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_a_session_was_before_each_change_is_kept_with_who_changed_it_and_when() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    hub.done("saveSession", session("X", "10:00", "11:00")).await;
    hub.done("saveSession", session("X", "10:00", "11:00")).await;
    assert_eq!(history(&hub).await, [Value::Null; 0], "new, and said again as it is");
    // Moved to another room on the day, with a door left open; then called off.
    hub.clock.set(&at("09:50"));
    let mut moved = session("X", "10:00", "11:00");
    (moved["rooms"], moved["oldRoomsUntil"]) = (json!(["R2"]), json!(at("10:05")));
    hub.done("saveSession", moved.clone()).await;
    hub.clock.set(&at("09:55"));
    (moved["cancelled"], moved["groups"]) = (json!(true), json!([]));
    hub.done("saveSession", moved).await;
    let was = |when: &str, revision: u32, room: &str| {
        json!({"at": when, "by": "timetable-sync", "source": null, "revision": revision, "title": "X",
               "startsAt": "2026-10-05T11:00:00.000+01:00", "endsAt": "2026-10-05T12:00:00.000+01:00",
               "cancelled": false, "rooms": [{"code": room}], "groups": [{"code": "G"}]})
    };
    let wanted =
        [was("2026-10-05T10:55:00.000+01:00", 2, "R2"), was("2026-10-05T10:50:00.000+01:00", 1, "R1")];
    assert_eq!(history(&hub).await, wanted);
}

#[tokio::test]
async fn an_import_that_moves_or_calls_a_session_off_says_its_source_and_a_preview_says_nothing() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let event = |id: &str, hour: u32| {
        format!(
            "BEGIN:VEVENT\nUID:{id}\nSUMMARY:{id}\nDTSTART:20261005T{hour}0000Z\nDURATION:PT1H\nEND:VEVENT\n"
        )
    };
    let calendar = |events: &[String]| format!("BEGIN:VCALENDAR\n{}END:VCALENDAR\n", events.concat());
    let both = [event("X", 12), event("Y", 12)];
    let (moved, gone) = ([event("X", 13), event("Y", 12)], [event("Y", 12)]);
    for (events, preview) in
        [(&both[..], false), (&moved, true), (&moved, false), (&gone, true), (&gone, false)]
    {
        let mut order = order("feed");
        (order.dry_run, order.accept_removals) = (preview, true);
        let mut facts = feed_of(&calendar(events), &[], &[]);
        facts.whole.push("sessions");
        let report = imported(&hub, &facts, &order).await;
        assert_eq!(problems(&report), Vec::<String>::new());
    }
    let found: Vec<Value> = history(&hub)
        .await
        .into_iter()
        .map(|it| json!([it["by"], it["source"], it["startsAt"], it["cancelled"]]))
        .collect();
    let wanted = [
        json!([null, "feed", "2026-10-05T14:00:00.000+01:00", false]),
        json!([null, "feed", "2026-10-05T13:00:00.000+01:00", false]),
    ];
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_stay_that_was_cut_short_or_taken_back_is_kept_as_it_was() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 0).await;
    join(&hub, 0..1, "2026-09-21").await;
    hub.clock.set(&at("09:50"));
    let until = json!({"group": "G", "student": number(0), "from": "2026-09-21", "until": "2026-10-05", "untilAt": at("09:59")});
    hub.done("saveMembership", until.clone()).await;
    hub.done("saveMembership", until).await;
    hub.clock.set(&at("09:55"));
    let stay = json!({"group": "G", "student": number(0), "from": "2026-09-21"});
    hub.done("removeMemberships", json!({"memberships": [stay]})).await;
    let fields = "at by source removed group { code } student { number } from until untilAt reason";
    let query = format!(
        "{{ student(by: {{number: \"{}\"}}) {{ groups {{ totalCount }} groupHistory {{ {fields} }} }} }}",
        number(0)
    );
    let student = hub.read(&query).await["student"].take();
    assert_eq!(student["groups"]["totalCount"], 0);
    let was = |when: &str, removed: bool, until: Value, until_at: Value| {
        json!({"at": when, "by": "timetable-sync", "source": null, "removed": removed, "group": {"code": "G"},
               "student": {"number": number(0)}, "from": "2026-09-21", "until": until, "untilAt": until_at,
               "reason": "ENROLMENT"})
    };
    let wanted = json!([
        was(
            "2026-10-05T10:55:00.000+01:00",
            true,
            json!("2026-10-05"),
            json!("2026-10-05T10:59:00.000+01:00")
        ),
        was("2026-10-05T10:50:00.000+01:00", false, Value::Null, Value::Null),
    ]);
    assert_eq!(student["groupHistory"], wanted);
}

#[tokio::test]
async fn marks_are_asked_for_by_what_their_session_was_when_they_were_known() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let others = json!({"courses": [{"code": "D", "title": "Other course"}]});
    hub.done("saveCourses", others).await;
    hub.done("saveGroups", json!({"groups": [{"code": "H", "course": "D"}]})).await;
    let of = |session: &mut Value, group: &str, course: &str| {
        (session["groups"], session["course"]) = (json!([group]), json!(course));
    };
    let mut was = session("X", "10:00", "11:00");
    of(&mut was, "G", "C");
    hub.done("saveSession", was).await;
    // Later that morning it is put off, and is for others.
    hub.clock.set(&at("09:00"));
    let mut is = session("X", "14:00", "15:00");
    of(&mut is, "H", "D");
    hub.done("saveSession", is).await;
    let stay = json!({"memberships": [{"group": "H", "student": number(0), "from": "2026-09-21"}]});
    hub.done("saveMemberships", stay).await;

    let id = async |kind: &str, code: &str| {
        hub.read(&format!("{{ {kind}(by: {{code: \"{code}\"}}) {{ id }} }}")).await[kind]["id"].clone()
    };
    let (g, h) = (id("group", "G").await, id("group", "H").await);
    let (c, d) = (id("course", "C").await, id("course", "D").await);
    let morning = format!("sessionStartsIn: {{from: \"{}\", until: \"{}\"}}", at("09:30"), at("11:00"));
    let afternoon = format!("sessionStartsIn: {{from: \"{}\", until: \"{}\"}}", at("13:30"), at("15:00"));
    let count = async |known: &str, filter: &str| {
        let query =
            format!("{{ attendance(filter: {{{filter}}} {known}) {{ totalCount nodes {{ status }} }} }}");
        let found = hub.read(&query).await["attendance"].take();
        assert_eq!(found["totalCount"], found["nodes"].as_array().unwrap().len());
        found["totalCount"].as_u64().unwrap()
    };
    let before = format!(", asKnownAt: \"{}\"", at("08:59"));
    let after = format!(", asKnownAt: \"{}\"", at("09:00"));
    let (groups, courses) = (format!("groupIds: [{g}]"), format!("courseIds: [{c}]"));
    let (groups_now, courses_now) = (format!("groupIds: [{h}, {h}]"), format!("courseIds: [{d}]"));
    for (then, now) in [(&morning, &afternoon), (&groups, &groups_now), (&courses, &courses_now)] {
        assert_eq!((count(&before, then).await, count(&before, now).await), (1, 0), "{then} before");
        assert_eq!((count(&after, then).await, count(&after, now).await), (0, 1), "{now} since");
        assert_eq!((count("", then).await, count("", now).await), (0, 1), "{now} now");
    }
    let none = "groupIds: []";
    assert_eq!(count(&before, none).await, count("", none).await);
}

#[tokio::test]
async fn a_card_is_kept_as_it_was_before_somebody_ended_it_or_gave_it_another_number() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 0).await;
    let card = |uid: &str, until: Value| {
        json!({"code": "K0", "student": number(0), "credentials": [{"uid": uid}], "from": "2026-09-01T00:00:00Z",
               "until": until})
    };
    let history = async || {
        let fields = "at by source card { code } numberTail issuedAt endedAt";
        let query =
            format!("{{ student(by: {{number: \"{}\"}}) {{ cardHistory {{ {fields} }} }} }}", number(0));
        hub.read(&query).await["student"]["cardHistory"].take()
    };
    assert_eq!(history().await, json!([]), "new");
    hub.clock.set(&at("09:50"));
    hub.done("saveCard", card("04a1b2c3d4abcd", Value::Null)).await;
    hub.done("saveCard", card("04a1b2c3d4abcd", Value::Null)).await;
    hub.clock.set(&at("09:55"));
    hub.done("saveCard", card("04a1b2c3d4abcd", json!(at("09:54")))).await;
    let was = |when: &str, tail: &str| {
        json!({"at": when, "by": "timetable-sync", "source": null, "card": {"code": "K0"}, "numberTail": tail,
               "issuedAt": "2026-09-01T01:00:00.000+01:00", "endedAt": null})
    };
    let wanted = [was("2026-10-05T10:55:00.000+01:00", "abcd"), was("2026-10-05T10:50:00.000+01:00", "0000")];
    assert_eq!(history().await, json!(wanted));
}

#[tokio::test]
async fn each_policy_that_was_saved_or_withdrawn_is_kept_with_who_did_and_when() {
    let hub = TestHub::start().await;
    let edits = async || {
        let fields = "at by withdrawn policy { from kind department opensBefore overlap }";
        hub.read(&format!("{{ attendancePolicyEdits {{ {fields} }} }}")).await["attendancePolicyEdits"].take()
    };
    let policy =
        |opens: &str| json!({"from": "2026-09-01T00:00:00Z", "kind": "LABORATORY", "opensBefore": opens});
    let preview = "{ attendancePolicyPreview(input: {from: \"2026-09-01T00:00:00Z\"}, until: \"2026-10-01T00:00:00Z\") { sessions } }";
    let (_, body) = hub.post(Some(&hub.admin), preview, json!({})).await;
    assert_eq!(body["errors"], Value::Null, "{body}");
    assert_eq!(edits().await, json!([]), "nothing was saved");
    for (when, opens) in [("09:50", "PT15M"), ("09:51", "PT15M"), ("09:55", "PT20M")] {
        hub.clock.set(&at(when));
        assert_eq!(
            hub.write_as(&hub.admin, "saveAttendancePolicy", policy(opens)).await["errors"],
            json!([])
        );
    }
    hub.clock.set(&at("09:58"));
    let which = json!({"from": "2026-09-01T00:00:00Z", "kind": "LABORATORY"});
    assert_eq!(hub.write_as(&hub.admin, "deleteAttendancePolicy", which).await["errors"], json!([]));
    let edit = |when: &str, withdrawn: bool, opens: &str| {
        json!({"at": format!("2026-10-05T10:{when}:00.000+01:00"), "by": "admin", "withdrawn": withdrawn,
               "policy": {"from": "2026-09-01T01:00:00.000+01:00", "kind": "LABORATORY", "department": null,
                          "opensBefore": opens, "overlap": "EVERY_OPEN"}})
    };
    let wanted = [edit("58", true, "PT20M"), edit("55", false, "PT20M"), edit("50", false, "PT15M")];
    assert_eq!(edits().await, json!(wanted));
}

#[tokio::test]
async fn a_placement_begins_at_an_instant_and_what_was_before_it_stays() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let all =
        [session("X", "09:00", "10:00"), session("Y", "11:00", "12:00"), session("Z", "15:00", "16:00")];
    hub.done("saveSessions", json!({"sessions": all})).await;
    let gateway = Gateway::start(&hub, "GW").await;
    hub.clock.set(&at("13:00"));
    gateway.heartbeat(&hub, &at("13:00")).await;
    let say = async |more: Value| {
        let mut student = json!({"number": number(0), "name": "Ada"});
        student.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        hub.done("saveStudent", student).await;
        let query = format!(
            "{{ student(by: {{number: \"{}\"}}) {{ expectedAtDoor doorExpectations {{ from expected }}
               attendance(orderBy: {{field: SESSION_START}}) {{ nodes {{ status }} }} }} }}",
            number(0)
        );
        let found = hub.read(&query).await["student"].take();
        let said = found["doorExpectations"].as_array().unwrap().iter();
        let said: Vec<String> =
            said.map(|it| format!("{} {}", &it["from"].as_str().unwrap()[11..16], it["expected"])).collect();
        let marks = found["attendance"]["nodes"].as_array().unwrap().iter();
        let marks: Vec<String> = marks.map(|mark| mark["status"].as_str().unwrap().to_owned()).collect();
        (found["expectedAtDoor"] == true, said.join(", "), marks.join(" "))
    };
    let is = |expected: bool, said: &str, marks: &str| (expected, said.to_owned(), marks.to_owned());
    assert_eq!(say(json!({})).await, is(true, "", "ABSENT ABSENT EXPECTED"));
    // Said without an instant it holds from now on, in British summer time.
    assert_eq!(
        say(json!({"expectedAtDoor": false})).await,
        is(false, "14:00 false", "ABSENT ABSENT NOT_REQUIRED")
    );
    assert_eq!(
        say(json!({"expectedAtDoor": false})).await,
        is(false, "14:00 false", "ABSENT ABSENT NOT_REQUIRED")
    );
    let since = json!({"expectedAtDoor": false, "expectedAtDoorFrom": at("11:00")});
    assert_eq!(say(since).await, is(false, "12:00 false", "ABSENT NOT_REQUIRED NOT_REQUIRED"));
    let back = json!({"expectedAtDoor": true, "expectedAtDoorFrom": at("14:00")});
    assert_eq!(say(back).await, is(true, "12:00 false, 15:00 true", "ABSENT NOT_REQUIRED EXPECTED"));
    // That it never was so is said from its begin on.
    let never = json!({"expectedAtDoor": true, "expectedAtDoorFrom": at("11:00")});
    assert_eq!(say(never).await, is(true, "", "ABSENT ABSENT EXPECTED"));
    // What is planned outlives a file that says again what holds today, and gives way to one that says another.
    let planned = json!({"expectedAtDoor": false, "expectedAtDoorFrom": at("14:00")});
    assert_eq!(say(planned).await, is(false, "15:00 false", "ABSENT ABSENT NOT_REQUIRED"));
    let back = json!({"expectedAtDoor": true, "expectedAtDoorFrom": at("18:00")});
    let both = is(true, "15:00 false, 19:00 true", "ABSENT ABSENT NOT_REQUIRED");
    assert_eq!(say(back).await, both);
    assert_eq!(say(json!({"expectedAtDoor": true})).await, both);
    assert_eq!(
        say(json!({"expectedAtDoor": false})).await,
        is(true, "14:00 false, 19:00 true", "ABSENT ABSENT NOT_REQUIRED")
    );
    assert_eq!(say(json!({"expectedAtDoor": true})).await, is(true, "", "ABSENT ABSENT EXPECTED"));

    let input = json!({"number": number(0), "name": "Ada", "expectedAtDoorFrom": at("11:00")});
    let refused = hub.write_as(&hub.integration, "saveStudent", input).await["errors"].take();
    assert_eq!(refused[0]["code"], "REQUIRED", "{refused}");
    hub.done(
        "saveStudent",
        json!({"number": "new", "name": "Bo", "expectedAtDoor": false, "expectedAtDoorFrom": at("11:00")}),
    )
    .await;
    let found =
        hub.read("{ student(by: {number: \"new\"}) { expectedAtDoor doorExpectations { expected } } }").await;
    assert_eq!(found["student"], json!({"expectedAtDoor": false, "doorExpectations": [{"expected": false}]}));
}
