//! Right answers out: counts by what people ask for, the use of rooms, what was known before, and what policies make of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::timetable::{Gateway, estate, number, session, students};
use serde_json::{Value, json};

const DAY: &str = "period: {from: \"2026-10-05\", until: \"2026-10-05\"}";

/// A day with two lectures of group G (four students) in R1 and R2 and one in R1 to which nobody came; R1 has one seat.
async fn a_day(hub: &TestHub) {
    estate(hub).await;
    hub.done("saveRoom", json!({"code": "R1", "building": "A", "capacity": 1})).await;
    students(hub, 4, 4).await;
    let with = |mut session: Value, more: Value| {
        session.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        session
    };
    let sessions = [
        with(session("S1", "09:00", "10:00"), json!({"course": "C"})),
        with(session("S2", "11:00", "13:00"), json!({"rooms": ["R1", "R2"]})),
        with(session("S3", "14:00", "15:00"), json!({"course": "C"})),
    ];
    hub.done("saveSessions", json!({"sessions": sessions})).await;
    let mut gateway = Gateway::start(hub, "GW").await;
    let (first, second) = (gateway.session("09:00").to_owned(), gateway.session("11:00").to_owned());
    let swipes = [
        gateway.swipe(0, 0, &at("09:05"), &[first.as_str()]),
        gateway.swipe(1, 0, &at("08:55"), &[first.as_str()]),
        gateway.swipe(2, 1, &at("11:00"), &[second.as_str()]),
    ];
    hub.clock.set(&at("16:00"));
    gateway.submit(hub, &swipes, &at("15:30")).await;
    gateway.heartbeat(hub, &at("15:45")).await;
}

#[tokio::test]
async fn a_page_of_students_has_their_counts_of_all_or_of_some_days_in_a_bounded_number_of_statements() {
    let hub = TestHub::start().await;
    a_day(&hub).await;
    let counts = async |arguments: &str| {
        let fields = "present absent late attendedShare";
        let query = format!(
            "{{ students(orderBy: {{field: NUMBER}}) {{ nodes {{ number attendanceSummary{arguments} {{ {fields} }} }} }} }}"
        );
        hub.read(&query).await["students"]["nodes"].take()
    };
    let before = hub.running.hub.statements();
    let all = counts("").await;
    assert!(hub.running.hub.statements() - before <= 4);
    let row = |student: usize, present: i32, late: i32| {
        let share = f64::from(present) / 3.0;
        let summary =
            json!({"present": present, "absent": 3 - present, "late": late, "attendedShare": share});
        json!({"number": number(student), "attendanceSummary": summary})
    };
    assert_eq!(all, json!([row(0, 1, 1), row(1, 1, 0), row(2, 1, 0), row(3, 0, 0)]));
    assert_eq!(counts("(period: {from: \"2026-10-05\"})").await, all);
    assert_eq!(counts("(period: {from: \"2026-10-05\", until: \"2026-10-05\"})").await, all);
    let nothing = json!({"present": 0, "absent": 0, "late": 0, "attendedShare": null});
    assert_eq!(counts("(period: {until: \"2026-10-04\"})").await[0]["attendanceSummary"], nothing);
    assert_eq!(counts("(period: {from: \"2026-10-06\"})").await[0]["attendanceSummary"], nothing);
}

#[tokio::test]
async fn reports_count_each_mark_once_for_what_it_belongs_to_and_say_what_of() {
    let hub = TestHub::start().await;
    a_day(&hub).await;
    let report = async |by: &str| {
        let query = format!(
            "{{ report(groupedBy: {by}, {DAY}) {{ period {{ from until }} groupedBy sessions
                 total {{ present absent late attendedShare }}
                 rows {{ label sessions summary {{ present absent late attendedShare }} subject {{ __typename id }} }} }} }}"
        );
        hub.read(&query).await["report"].take()
    };
    let courses = report("COURSE").await;
    assert_eq!(courses["total"], json!({"present": 3, "absent": 9, "late": 1, "attendedShare": 0.25}));
    assert_eq!((&courses["sessions"], &courses["groupedBy"]), (&json!(3), &json!("COURSE")));
    assert_eq!(courses["period"], json!({"from": "2026-10-05", "until": "2026-10-05"}));
    let row = |label: &str, sessions: i64, present: i64, absent: i64| {
        let share = present as f64 / (present + absent) as f64;
        (label.to_owned(), sessions, present, absent, share)
    };
    let rows = |report: &Value| -> Vec<(String, i64, i64, i64, f64)> {
        let rows = report["rows"].as_array().unwrap().iter();
        rows.map(|row| {
            let sum = &row["summary"];
            (
                row["label"].as_str().unwrap().to_owned(),
                row["sessions"].as_i64().unwrap(),
                sum["present"].as_i64().unwrap(),
                sum["absent"].as_i64().unwrap(),
                sum["attendedShare"].as_f64().unwrap(),
            )
        })
        .collect()
    };
    assert_eq!(rows(&courses), [row("C", 2, 2, 6), row("none", 1, 1, 3)]);
    assert_eq!(courses["rows"][0]["subject"]["__typename"], "Course");
    assert_eq!(courses["rows"][1]["subject"], Value::Null);
    assert_eq!(rows(&report("ROOM").await), [row("R1", 3, 3, 9), row("R2", 1, 1, 3)]);
    assert_eq!(rows(&report("BUILDING").await), [row("A", 3, 3, 9)]);
    assert_eq!(rows(&report("GROUP").await), [row("G", 3, 3, 9)]);
    assert_eq!(rows(&report("DAY").await), [row("2026-10-05", 3, 3, 9)]);
    assert_eq!(rows(&report("WEEK").await), [row("2026-10-05", 3, 3, 9)]);
    let by_student = report("STUDENT").await;
    let wanted: Vec<_> =
        [1, 1, 1, 0].iter().enumerate().map(|(at, came)| row(&number(at), 3, *came, 3 - came)).collect();
    assert_eq!(rows(&by_student), wanted);
    assert_eq!(by_student["rows"][0]["subject"]["__typename"], "Student");
    for index in [0, 1] {
        let student = json!({"number": number(index), "name": "Somebody", "programme": "BA-HIST"});
        hub.done("saveStudent", student).await;
    }
    let by_programme = report("PROGRAMME").await;
    assert_eq!(rows(&by_programme), [row("BA-HIST", 3, 2, 4), row("none", 3, 1, 5)]);
    assert_eq!(by_programme["rows"][0]["subject"], Value::Null);
    let query = "{ students(filter: {programmes: [\"BA-HIST\"]}) { nodes { number programme } } }";
    let found = hub.read(query).await["students"]["nodes"].take();
    assert_eq!(
        found,
        json!([{"number": number(0), "programme": "BA-HIST"}, {"number": number(1), "programme": "BA-HIST"}])
    );
    let none = hub.read("{ report(groupedBy: DAY, period: {from: \"2026-10-06\", until: \"2026-10-07\"}) { sessions rows { label } total { attendedShare } } }").await;
    assert_eq!(none["report"], json!({"sessions": 0, "rows": [], "total": {"attendedShare": null}}));
    for period in
        ["{from: \"2026-10-06\", until: \"2026-10-05\"}", "{from: \"2026-10-06\", until: \"2028-10-05\"}"]
    {
        let query = format!("{{ report(groupedBy: DAY, period: {period}) {{ sessions }} }}");
        let (_, body) = hub.post(Some(&hub.integration), &query, json!({})).await;
        assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{body}");
    }
}

#[tokio::test]
async fn rooms_say_what_they_were_booked_for_and_what_became_of_it() {
    let hub = TestHub::start().await;
    a_day(&hub).await;
    let query = format!(
        "{{ roomUse({DAY}) {{ room {{ code capacity }} sessions booked used ghostSessions overcrowdedSessions unknownSessions
             expected present noShows attendedShare }} }}"
    );
    // The session in both rooms used the one through whose door somebody came; who was expected in which nobody said.
    assert_eq!(
        hub.read(&query).await["roomUse"],
        json!([
            {"room": {"code": "R1", "capacity": 1}, "sessions": 3, "booked": "PT4H", "used": "PT1H", "ghostSessions": 2,
             "overcrowdedSessions": 1, "unknownSessions": 0, "expected": 8, "present": 2, "noShows": 6, "attendedShare": 0.25},
            {"room": {"code": "R2", "capacity": null}, "sessions": 1, "booked": "PT2H", "used": "PT2H", "ghostSessions": 0,
             "overcrowdedSessions": 0, "unknownSessions": 0, "expected": 0, "present": 0, "noShows": 0, "attendedShare": null},
        ])
    );
}

#[tokio::test]
async fn sessions_side_by_side_in_a_room_fill_it_together_and_their_time_counts_once() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 4, 2).await;
    hub.done("saveGroups", json!({"groups": [{"code": "H", "course": "C"}]})).await;
    let stay = |student: usize| json!({"group": "H", "student": number(student), "from": "2026-09-21"});
    hub.done("saveMemberships", json!({"memberships": [stay(1), stay(2), stay(3)]})).await;
    let mut beside = session("S2", "09:30", "10:30");
    beside["groups"] = json!(["H"]);
    let sessions =
        json!({"sessions": [session("S1", "09:00", "10:00"), beside, session("S3", "10:30", "11:30")]});
    hub.done("saveSessions", sessions).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    let (one, other) = (gateway.session("09:00").to_owned(), gateway.session("09:30").to_owned());
    let swipes = [
        gateway.swipe(0, 0, &at("09:05"), &[one.as_str()]),
        gateway.swipe(1, 0, &at("09:05"), &[one.as_str(), other.as_str()]),
        gateway.swipe(2, 0, &at("09:25"), &[other.as_str()]),
        gateway.swipe(3, 0, &at("09:25"), &[other.as_str()]),
    ];
    hub.clock.set(&at("12:00"));
    gateway.submit(&hub, &swipes, &at("12:00")).await;
    // Two came to the one and three to the other, four in all.
    for (seats, overcrowded) in [(5, 0), (4, 0), (3, 2), (2, 2)] {
        hub.done("saveRoom", json!({"code": "R1", "building": "A", "capacity": seats})).await;
        let fields = "sessions booked used overcrowdedSessions";
        let found = hub.read(&format!("{{ roomUse({DAY}) {{ {fields} }} }}")).await["roomUse"][0].take();
        let wanted = json!({"sessions": 3, "booked": "PT2H30M", "used": "PT1H30M", "overcrowdedSessions": overcrowded});
        assert_eq!(found, wanted, "{seats} seats");
    }
}

#[tokio::test]
async fn a_session_that_moves_while_it_is_held_books_each_room_for_its_part() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    hub.done("saveSessions", json!({"sessions": [session("S1", "09:00", "11:00")]})).await;
    hub.clock.set(&at("09:30"));
    let mut moved = session("S1", "09:00", "11:00");
    (moved["rooms"], moved["oldRoomsUntil"]) = (json!(["R2"]), json!(at("09:45")));
    hub.done("saveSessions", json!({"sessions": [moved]})).await;
    let found = hub
        .read(&format!("{{ roomUse({DAY}) {{ room {{ code }} period {{ from until }} sessions booked }} }}"))
        .await;
    let days = json!({"from": "2026-10-05", "until": "2026-10-05"});
    let room = |code: &str, booked: &str| json!({"room": {"code": code}, "period": days, "sessions": 1, "booked": booked});
    assert_eq!(found["roomUse"], json!([room("R1", "PT45M"), room("R2", "PT1H30M")]));
}

/// Where the register of S1 stood at some instants, and when it had become final, as `HH:MM`.
async fn standing(hub: &TestHub, instants: &[&str]) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    for when in instants {
        let query = format!(
            "{{ session(by: {{externalId: \"S1\"}}) {{ register {{ standingAsKnownAt(at: \"{}\") {{ state finalAt }} }} }} }}",
            at(when)
        );
        let found = hub.read(&query).await["session"]["register"]["standingAsKnownAt"].take();
        let final_at = found["finalAt"].as_str().map(|at| at[11..16].to_owned());
        all.push((found["state"].as_str().unwrap().to_owned(), final_at));
    }
    all
}

#[tokio::test]
async fn where_a_register_stood_is_answered_as_of_then() {
    let hub = TestHub::start().await;
    a_day(&hub).await;
    hub.clock.set(&at("17:00"));
    let mut off = session("S1", "09:00", "10:00");
    off["cancelled"] = json!(true);
    hub.done("saveSessions", json!({"sessions": [off]})).await;
    hub.clock.set(&at("18:00"));
    // In British summer time, as the answers are.
    let final_at = Some("17:00".to_owned());
    let word = |word: &str| (word.to_owned(), None);
    assert_eq!(
        standing(&hub, &["08:29", "08:30", "10:00", "10:01", "15:59", "16:00", "16:59", "17:00", "23:00"])
            .await,
        [
            word("SCHEDULED"),
            word("OPEN"),
            word("OPEN"),
            word("SETTLING"),
            word("SETTLING"),
            ("FINAL".to_owned(), final_at.clone()),
            ("FINAL".to_owned(), final_at),
            word("CANCELLED"),
            word("CANCELLED"),
        ]
    );
}

#[tokio::test]
async fn a_register_whose_session_has_moved_since_stood_where_it_was_then() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    hub.done("saveSessions", json!({"sessions": [session("S1", "09:00", "10:00")]})).await;
    hub.clock.set(&at("08:50"));
    hub.done("saveSessions", json!({"sessions": [session("S1", "12:00", "13:00")]})).await;
    hub.clock.set(&at("14:00"));
    let word = |word: &str| (word.to_owned(), None);
    assert_eq!(
        standing(&hub, &["08:29", "08:49", "08:50", "11:30", "13:30"]).await,
        [word("SCHEDULED"), word("OPEN"), word("SCHEDULED"), word("OPEN"), word("SETTLING")]
    );
}

#[tokio::test]
async fn a_register_answers_what_was_known_at_an_instant_beside_what_is_known_now() {
    let hub = TestHub::start().await;
    a_day(&hub).await;
    let known = async |when: &str| -> Vec<(String, String, Value)> {
        let query = format!(
            "{{ session(by: {{externalId: \"S1\"}}) {{ register {{ asKnownAt(at: \"{when}\") {{ student {{ number }} status source }} }} }} }}"
        );
        let data = hub.read(&query).await;
        let marks = data["session"]["register"]["asKnownAt"].as_array().unwrap().iter();
        let mut marks: Vec<_> = marks
            .map(|mark| {
                let number = mark["student"]["number"].as_str().unwrap().to_owned();
                (number, mark["status"].as_str().unwrap().to_owned(), mark["source"].clone())
            })
            .collect();
        marks.sort_by(|one, other| one.0.cmp(&other.0));
        marks
    };
    let statuses = |marks: &[(String, String, Value)]| -> Vec<String> {
        marks.iter().map(|mark| mark.1.clone()).collect()
    };
    // The letter went out at 16:00, after the register was final.
    hub.clock.set(&at("17:00"));
    let register = hub.read("{ session(by: {externalId: \"S1\"}) { register { id entries { nodes { student { id number } } } } } }").await;
    let entries = register["session"]["register"]["entries"]["nodes"].as_array().unwrap();
    let id = |student: usize| {
        entries.iter().find(|mark| mark["student"]["number"] == number(student)).unwrap()["student"]["id"]
            .clone()
    };
    let third = id(2);
    let mark = json!({"registerId": register["session"]["register"]["id"], "reason": "was on the fire drill",
                      "marks": [{"studentId": third, "status": "PRESENT"}]});
    let payload = hub.write_as(&hub.admin, "markAttendance", mark).await;
    assert_eq!(payload["errors"], json!([]));
    // And the fourth had never been in the group.
    hub.clock.set(&at("18:00"));
    let stay = json!({"memberships": [{"group": "G", "student": number(3), "from": "2026-09-21"}]});
    hub.data(&hub.integration, "mutation($input: RemoveMembershipsInput!) { removeMemberships(input: $input) { removed errors { message } } }",
             json!({"input": stay})).await;

    assert_eq!(known(&at("07:59")).await, []);
    assert_eq!(statuses(&known(&at("08:00")).await), ["EXPECTED"; 4]);
    let letter = known(&at("16:00")).await;
    assert_eq!(statuses(&letter), ["PRESENT", "PRESENT", "ABSENT", "ABSENT"]);
    assert_eq!(letter[0].2, "READER");
    let later = known(&at("17:30")).await;
    assert_eq!(statuses(&later), ["PRESENT", "PRESENT", "PRESENT", "ABSENT"]);
    assert_eq!(later[2].2, "MANUAL");
    assert_eq!(statuses(&known(&at("18:00")).await), ["PRESENT"; 3]);

    // That the first had come five minutes late is known as of then also after somebody decided otherwise.
    hub.clock.set(&at("19:00"));
    let mark = json!({"registerId": register["session"]["register"]["id"], "reason": "gave the card to another",
                      "marks": [{"studentId": id(0), "status": "ABSENT"}]});
    assert_eq!(hub.write_as(&hub.admin, "markAttendance", mark).await["errors"], json!([]));
    let attendance = async |of: &str, arguments: &str| -> Value {
        let fields =
            "totalCount nodes { student { number } session { externalId } status source arrivedAt minutesLate
                                         revision history { to } swipes { decision } }";
        hub.read(&format!("{{ {of} {{ attendance({arguments}) {{ {fields} }} }} }}")).await
    };
    let first = format!("student(by: {{number: \"{}\"}})", number(0));
    let then =
        attendance(&first, &format!("asKnownAt: \"{}\", filter: {{statuses: [PRESENT]}}", at("16:00"))).await;
    assert_eq!(
        then["student"]["attendance"],
        json!({"totalCount": 1, "nodes": [{
            "student": {"number": number(0)}, "session": {"externalId": "S1"}, "status": "PRESENT", "source": "READER",
            "arrivedAt": "2026-10-05T10:05:00.000+01:00", "minutesLate": 5, "revision": 2, "history": [{"to": "PRESENT"}],
            "swipes": [{"decision": "RECORDED"}]
        }]})
    );
    let now = attendance(&first, "filter: {statuses: [PRESENT]}").await;
    assert_eq!(now["student"]["attendance"]["totalCount"], 0);

    // And of all students, those that were taken back since among them; a page goes on where it ended.
    let of_day =
        "filter: {sessionStartsIn: {from: \"2026-10-05T09:00:00Z\", until: \"2026-10-05T10:00:00Z\"}}";
    let mut absent = Vec::new();
    let mut after = String::new();
    loop {
        let query = format!(
            "{{ attendance(first: 1, orderBy: {{field: STUDENT_NUMBER}}, asKnownAt: \"{}\" {after}, {of_day}) {{
                nodes {{ student {{ number }} status }} pageInfo {{ endCursor hasNextPage }} }} }}",
            at("16:00")
        );
        let page = hub.read(&query).await["attendance"].take();
        absent.extend(page["nodes"].as_array().unwrap().iter().map(|mark| mark["status"].clone()));
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = format!(", after: {}", page["pageInfo"]["endCursor"]);
    }
    assert_eq!(absent, ["PRESENT", "PRESENT", "ABSENT", "ABSENT"]);
}

#[tokio::test]
async fn a_policy_can_be_tried_on_the_past_and_leaves_everything_as_it_was() {
    let hub = TestHub::start().await;
    a_day(&hub).await;
    // Student 0 came to S1 at 09:05 and student 1 at 08:55: with two hours before the start the first is early for S2 at
    // 11:00 too. And for S1 the doors would have had to work since 07:00, when their readers did not hang there yet: of
    // who is missing nothing would be known.
    let preview = |from: &str, until: &str| {
        format!(
            "{{ attendancePolicyPreview(input: {{from: \"{from}\", opensBefore: \"PT2H\"}}, until: \"{until}\") {{
                 sessions marksChanged errors {{ message }}
                 changes {{ session {{ externalId }} student {{ number }} from to source arrivedAt rules swipes {{ swipedAt }} }} }} }}"
        )
    };
    let everything = "{ sessions { nodes { externalId revision register { revision entries { nodes { status source revision
                        history { to } } } } } } swipes { nodes { decision reason } } }";
    let marks = "{ sessions { nodes { externalId register { entries { nodes { student { number } status source } } } } } }";
    let as_it_was = hub.read(marks).await;
    let before = hub.read(everything).await;
    let found = hub.data(&hub.admin, &preview(&at("00:00"), "2026-10-06T00:00:00Z"), json!({})).await;
    let found = &found["attendancePolicyPreview"];
    assert_eq!(
        (&found["sessions"], &found["marksChanged"], &found["errors"]),
        (&json!(3), &json!(3), &json!([]))
    );
    assert_eq!(
        found["changes"],
        json!([
            {"session": {"externalId": "S1"}, "student": {"number": "S00002"}, "from": "ABSENT", "to": "NO_REGISTER",
             "source": "RULE", "arrivedAt": null, "rules": ["OPENS_BEFORE"], "swipes": []},
            {"session": {"externalId": "S1"}, "student": {"number": "S00003"}, "from": "ABSENT", "to": "NO_REGISTER",
             "source": "RULE", "arrivedAt": null, "rules": ["OPENS_BEFORE"], "swipes": []},
            {"session": {"externalId": "S2"}, "student": {"number": "S00000"}, "from": "ABSENT", "to": "PRESENT",
             "source": "READER", "arrivedAt": "2026-10-05T10:05:00.000+01:00", "rules": ["OPENS_BEFORE"],
             "swipes": [{"swipedAt": "2026-10-05T10:05:00.000+01:00"}]},
        ])
    );
    // Of a time that ends before S2 starts, S2 is not touched.
    let found = hub.data(&hub.admin, &preview(&at("00:00"), &at("10:30")), json!({})).await;
    let found = &found["attendancePolicyPreview"];
    assert_eq!((&found["sessions"], &found["marksChanged"]), (&json!(1), &json!(2)));
    assert_eq!(hub.read(everything).await, before);
    // What the preview said is what comes when the policy is saved.
    hub.write_as(&hub.admin, "saveAttendancePolicy", json!({"from": at("00:00"), "opensBefore": "PT2H"}))
        .await;
    let query = "{ session(by: {externalId: \"S2\"}) { register { summary { present absent } } } }";
    assert_eq!(hub.read(query).await["session"]["register"]["summary"], json!({"present": 2, "absent": 2}));
    // And what it changed goes with it.
    hub.write_as(&hub.admin, "deleteAttendancePolicy", json!({"from": at("00:00")})).await;
    assert_eq!(hub.read(marks).await, as_it_was);
    let longer =
        hub.post(Some(&hub.admin), &preview(&at("00:00"), "2028-10-06T00:00:00Z"), json!({})).await.1;
    assert_eq!(longer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{longer}");
    let denied = hub.post(Some(&hub.integration), &preview(&at("00:00"), &at("10:30")), json!({})).await.1;
    assert_eq!(denied["errors"][0]["extensions"]["code"], "FORBIDDEN", "{denied}");
}
