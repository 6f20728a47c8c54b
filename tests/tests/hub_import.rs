//! Imports: what other systems hold comes in whole or not at all, as a difference to what is there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::import::Facts;
use rollcall_hub::import::sheet::{self, Mapping};
use rollcall_hub::service::import::Order;
use rollcall_tests::hub::{TestHub, at, ms};
use rollcall_tests::import::{counts, imported, order, problems, table};
use rollcall_tests::timetable::{Gateway, estate, number, students};
use serde_json::json;

const CLASS_LIST: &str = "Group,Student number,First day,Last day\n";

#[tokio::test]
async fn tables_by_the_shipped_mappings_come_in_once_and_change_nothing_a_second_time() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let files = [
        ("rooms.toml", "Room;Description;Building;Seats\nR7;Café;A;30\nR8;;A;\n"),
        (
            "students.toml",
            "Student number,Name,Email,Status\nN1,\"Ng, Ada\",ada@example.org,Current\nN2,Bo,,On leave\n",
        ),
        (
            "cards.toml",
            "Card,Student number,UID,Issued,Returned\nK1,N1,04a1b2c3d4e5f6,01/09/2026 09:00,\nK2,N2,04a1b2c3d4e5f7,01/09/2026,02/10/2026\n",
        ),
        (
            "class-lists.toml",
            "Group,Student number,First day,Last day\nG,N1,28/09/2026,\nG,N2,28/09/2026,11/12/2026\n",
        ),
        (
            "timetable-weeks.toml",
            "Event Id;Module;Activity;Type;Weeks;Day;Start;End;Rooms;Groups\n4711;C;Programming;LEC;1-3, 5;Mon;09:00;10:00;R7, R1;G\n",
        ),
    ];
    for round in 0..2 {
        for (mapping, text) in files {
            let report = imported(&hub, &table(mapping, text), &order(mapping)).await;
            let [(_, [created, updated, removed, unchanged])] = counts(&report)[..] else {
                panic!("{report:?}")
            };
            let lines = if mapping == "timetable-weeks.toml" { 4 } else { 2 };
            let wanted = if round == 0 { [lines, 0, 0, 0] } else { [0, 0, 0, lines] };
            assert_eq!([created, updated, removed, unchanged], wanted, "{mapping}, round {round}");
            assert_eq!(
                (report.registers > 0, report.marks_changed),
                (round == 0 && lines == 4, 0),
                "{mapping}"
            );
        }
    }
    let data = hub
        .read(
            "{ session(by: {externalId: \"4711-W05\"}) { title kind startsAt endsAt course { code } rooms { code } groups { code } }
               room(by: {code: \"R7\"}) { name capacity }
               student(by: {number: \"N2\"}) { displayName state cards { code state } groups { nodes { group { code } from until reason } } } }",
        )
        .await;
    assert_eq!(
        data,
        json!({
            "session": {"title": "Programming", "kind": "LECTURE", "startsAt": "2026-10-26T09:00:00.000+00:00",
                        "endsAt": "2026-10-26T10:00:00.000+00:00", "course": {"code": "C"},
                        "rooms": [{"code": "R1"}, {"code": "R7"}], "groups": [{"code": "G"}]},
            "room": {"name": "Café", "capacity": 30},
            "student": {"displayName": "Bo", "state": "INTERRUPTED", "cards": [{"code": "K2", "state": "ENDED"}],
                        "groups": {"nodes": [{"group": {"code": "G"}, "from": "2026-09-28", "until": "2026-12-11", "reason": "IMPORT"}]}},
        })
    );
}

#[tokio::test]
async fn what_a_whole_source_names_no_more_goes_but_not_more_than_a_tenth_unasked() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 12, 0).await;
    let line = |index: usize| format!("G,{},28/09/2026,\n", number(index));
    let lists = |who: std::ops::Range<usize>| CLASS_LIST.to_owned() + &who.map(line).collect::<String>();
    let lists = |who| table("class-lists.toml", &lists(who));
    assert_eq!(
        counts(&imported(&hub, &lists(0..12), &order("sits")).await),
        [("memberships", [12, 0, 0, 0])]
    );
    let fewer = imported(&hub, &lists(0..10), &order("sits")).await;
    assert_eq!((fewer.applied, fewer.problems.count), (false, 1));
    assert!(problems(&fewer)[0].contains("2 of 12 memberships that 'sits' named before"), "{fewer:?}");
    // Another source says nothing of what this one named.
    assert_eq!(counts(&imported(&hub, &lists(0..1), &order("other")).await), [("memberships", [0, 0, 0, 1])]);
    let accepted = Order { accept_removals: true, ..order("sits") };
    let dry = Order { dry_run: true, ..accepted.clone() };
    let report = imported(&hub, &lists(0..10), &dry).await;
    assert_eq!((counts(&report), report.applied), (vec![("memberships", [0, 0, 2, 10])], false));
    let report = imported(&hub, &lists(0..10), &accepted).await;
    assert_eq!((counts(&report), report.applied), (vec![("memberships", [0, 0, 2, 10])], true));
    assert_eq!(
        counts(&imported(&hub, &lists(0..10), &order("sits")).await),
        [("memberships", [0, 0, 0, 10])]
    );
    let query = "{ student(by: {number: \"S00011\"}) { groups { nodes { from until } } } }";
    assert_eq!(
        hub.read(query).await["student"]["groups"]["nodes"],
        json!([{"from": "2026-09-28", "until": "2026-10-04"}])
    );
}

#[tokio::test]
async fn a_late_class_list_puts_a_red_swipe_right_and_a_dry_run_says_so_before() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 1).await;
    hub.done("saveSession", rollcall_tests::timetable::session("S", "09:00", "10:00")).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    hub.clock.set(&at("10:30"));
    let red = gateway.swipe(1, 0, &at("09:02"), &[]);
    assert_eq!(gateway.submit(&hub, &[red], &at("10:10")).await, ["STORED"]);
    let marks = "{ session(by: {externalId: \"S\"}) { register { entries { nodes { status source student { number } } } } } }";
    let listed = |data: &serde_json::Value| data["session"]["register"]["entries"]["nodes"].clone();
    let before = listed(&hub.read(marks).await);
    let lists =
        table("class-lists.toml", &format!("{CLASS_LIST}G,S00000,21/09/2026,\nG,S00001,05/10/2026,\n"));
    let dry = imported(&hub, &lists, &Order { dry_run: true, ..order("sits") }).await;
    assert_eq!((counts(&dry), dry.registers), (vec![("memberships", [1, 1, 0, 0])], 1), "{dry:?}");
    assert_eq!(listed(&hub.read(marks).await), before, "a dry run changes nothing");
    let report = imported(&hub, &lists, &order("sits")).await;
    assert_eq!((report.registers, report.applied), (1, true));
    let after = listed(&hub.read(marks).await);
    let late = after.as_array().unwrap().iter().find(|mark| mark["student"]["number"] == "S00001").unwrap();
    assert_eq!((&late["status"], &late["source"]), (&json!("PRESENT"), &json!("RECONCILED")));
}

#[tokio::test]
async fn every_mistake_is_told_with_its_place_and_nothing_is_changed() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 0).await;
    let wrong = |facts: &Facts| {
        facts.problems.list.iter().map(|it| format!("{}: {}", it.place, it.message)).collect::<Vec<_>>()
    };
    let facts = table(
        "class-lists.toml",
        "Group,Student number,First day,Last day\nG,S00000,31/02/2026,\nG,,28/09/2026,\nG,S00000\n",
    );
    assert_eq!(
        wrong(&facts),
        [
            "t.csv, row 2, column 'First day': '31/02/2026' is not a date written %d/%m/%Y",
            "t.csv, row 3, column 'Student number': is missing",
            "t.csv, row 4: has 2 columns where the headings are 4; is a quotation mark or separator missing?"
        ]
    );
    assert_eq!(imported(&hub, &facts, &order("x")).await.problems.count, 3);
    // A quotation mark too many takes the next row with it, and the rows stay as wide as they must be.
    let facts = table(
        "students.toml",
        "Student number,Name,Email,Status\nS1,Ada,\"ada@x.org,Current\nS2,Bob,\"bob@x.org\",Current\n",
    );
    assert!(
        wrong(&facts)[0].starts_with("t.csv, row 2, column 'Email': the cell holds whole rows"),
        "{facts:?}"
    );
    let facts = table("class-lists.toml", "Group,Student,First day,Last day\n");
    assert!(
        wrong(&facts)[0].starts_with("t.csv, row 1, column 'Student number': there is no such column"),
        "{facts:?}"
    );
    // What only the database knows is told with its place too.
    let facts = table(
        "class-lists.toml",
        "Group,Student number,First day,Last day\nG,S00000,28/09/2026,\n\nG,S77,28/09/2026,\nH,S00000,28/09/2026,27/09/2026\n",
    );
    let mut told = problems(&imported(&hub, &facts, &order("x")).await);
    told.sort();
    assert_eq!(
        told,
        [
            "t.csv, row 4, column 'Student number': there is no student 'S77'; save it first",
            "t.csv, row 5, column 'Group': there is no group 'H'; save it first",
            "t.csv, row 5, column 'Last day': must not come before 'from'"
        ]
    );
    let query = "{ student(by: {number: \"S00000\"}) { groups { nodes { from } } } }";
    assert_eq!(hub.read(query).await["student"]["groups"]["nodes"], json!([]));
    for (mapping, why) in [
        ("kind = 'rooms'\n[columns]\ncolour = 'x'\n", "there is no field 'colour'"),
        ("kind = 'rums'\n[columns]\n", "unknown variant `rums`"),
        ("kind = 'sessions'\n[columns]\n[weeks]\nfirst_monday = '2026-09-29'\n", "is no Monday"),
    ] {
        assert!(Mapping::read(mapping).unwrap_err().contains(why), "{mapping}");
    }
}

#[tokio::test]
async fn a_session_stays_of_its_kind_and_called_off_where_a_table_does_not_say_so() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let mut lab = rollcall_tests::timetable::session("X", "10:00", "11:00");
    lab["kind"] = json!("LABORATORY");
    hub.done("saveSession", lab).await;
    let mapping = "kind = 'sessions'\n[columns]\nexternal_id = 'Id'\nstart = 'Start'\nend = 'End'\nrooms = 'Rooms'\ngroups = 'Groups'\n\
                   [formats]\ndate_time = '%Y-%m-%d %H:%M'\n";
    let rows = "Id,Start,End,Rooms,Groups\nX,2026-10-05 12:00,2026-10-05 13:00,R1,G\nY,2026-10-05 14:00,2026-10-05 15:00,R1,G\n";
    let import = async |rows: &str| {
        let mut facts = Facts::default();
        let zone = hub.running.hub.zone();
        sheet::read(&mut facts, "t.csv", rows.as_bytes(), zone, &Mapping::read(mapping).unwrap());
        assert_eq!(problems(&imported(&hub, &facts, &order("x")).await), Vec::<String>::new());
    };
    import(rows).await;
    let found = hub.read("{ sessions { nodes { externalId kind startsAt } } }").await;
    assert_eq!(
        found["sessions"]["nodes"],
        json!([{"externalId": "X", "kind": "LABORATORY", "startsAt": "2026-10-05T12:00:00.000+01:00"},
               {"externalId": "Y", "kind": "LECTURE", "startsAt": "2026-10-05T14:00:00.000+01:00"}])
    );
    // What a person called off stays so where a table has no word of that, also when it moves it.
    let mut off = rollcall_tests::timetable::session("Y", "14:00", "15:00");
    off["cancelled"] = json!(true);
    hub.done("saveSession", off).await;
    import(&rows.replace("Y,2026-10-05 14:00,2026-10-05 15:00", "Y,2026-10-05 15:00,2026-10-05 16:00")).await;
    let found = hub.read("{ session(by: {externalId: \"Y\"}) { state startsAt } }").await;
    assert_eq!(found["session"], json!({"state": "CANCELLED", "startsAt": "2026-10-05T15:00:00.000+01:00"}));
}

#[tokio::test]
async fn a_session_that_a_person_called_off_stays_so_whichever_source_names_it_and_whoever_left_it_out() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let state =
        async || hub.read("{ session(by: {externalId: \"Y\"}) { state } }").await["session"]["state"].take();
    let mapping = "kind = 'sessions'\nwhole = true\n[columns]\nexternal_id = 'Id'\nstart = 'Start'\nend = 'End'\nrooms = 'Rooms'\n\
                   groups = 'Groups'\n[formats]\ndate_time = '%Y-%m-%d %H:%M'\n";
    let rows = "Id,Start,End,Rooms,Groups\nY,2026-10-05 14:00,2026-10-05 15:00,R1,G\n";
    let import = async |rows: &str, source: &str| {
        let mut facts = Facts::default();
        let zone = hub.running.hub.zone();
        sheet::read(&mut facts, "t.csv", rows.as_bytes(), zone, &Mapping::read(mapping).unwrap());
        let order = Order { accept_removals: true, ..order(source) };
        assert_eq!(problems(&imported(&hub, &facts, &order).await), Vec::<String>::new());
    };
    let empty = "Id,Start,End,Rooms,Groups\nZ,2026-10-05 16:00,2026-10-05 17:00,R1,G\n";
    import(rows, "a").await;
    // The source itself leaves it out and names it again.
    import(empty, "a").await;
    assert_eq!(state().await, "CANCELLED");
    import(rows, "a").await;
    assert_eq!(state().await, "SCHEDULED");
    // Another source takes over what this one left out.
    import(empty, "a").await;
    assert_eq!(state().await, "CANCELLED");
    import(rows, "other").await;
    assert_eq!(state().await, "SCHEDULED");
    import(rows, "a").await;
    // A person calls it off.
    let mut off = rollcall_tests::timetable::session("Y", "14:00", "15:00");
    off["cancelled"] = json!(true);
    hub.done("saveSession", off).await;
    for (rows, source) in [(rows, "b"), (empty, "a"), (rows, "a")] {
        import(rows, source).await;
        assert_eq!(state().await, "CANCELLED", "{source}");
    }
}

#[tokio::test]
async fn of_a_million_rows_the_thousand_bad_ones_are_told_and_nothing_is_changed() {
    use std::fmt::Write as _;
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 0).await;
    let mut text = "Group,Student number,First day,Last day\n".to_owned();
    for row in 2..=1_000_001 {
        let day = if row % 1_000 == 0 { "31/02/2026" } else { "28/09/2026" };
        writeln!(text, "G,S{row:07},{day},").unwrap();
    }
    let facts = table("class-lists.toml", &text);
    assert_eq!(facts.problems.count, 1_000);
    let told: Vec<u64> = facts.problems.list.iter().map(|problem| problem.place.row).collect();
    assert_eq!(told, (1..=1_000).map(|thousand| thousand * 1_000).collect::<Vec<u64>>());
    // What is wrong with a file is told before the database is asked about every row of it.
    let report = imported(&hub, &facts, &order("x")).await;
    assert_eq!(report.problems.count, 1_000);
    let query = "{ group(by: {code: \"G\"}) { members { totalCount } } }";
    assert_eq!(hub.read(query).await["group"]["members"]["totalCount"], 0);
}

#[tokio::test]
async fn a_card_that_a_source_left_out_is_good_again_once_it_is_named_and_one_that_a_person_ended_is_not() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 12, 0).await;
    let mapping = "kind = 'cards'\nwhole = true\n[columns]\ncode = 'Code'\nstudent = 'Student'\nuid = 'Uid'\nfrom = 'From'\n\
                   [formats]\ndate = '%Y-%m-%d'\n";
    let import = async |who: std::ops::Range<usize>| {
        let row = |index: usize| format!("N{index},{},0400{index:04},2026-09-01\n", number(index));
        let text = "Code,Student,Uid,From\n".to_owned() + &who.map(row).collect::<String>();
        let mut facts = Facts::default();
        let zone = hub.running.hub.zone();
        sheet::read(&mut facts, "c.csv", text.as_bytes(), zone, &Mapping::read(mapping).unwrap());
        let report = imported(&hub, &facts, &order("cards")).await;
        assert_eq!(problems(&report), Vec::<String>::new());
        counts(&report)
    };
    assert_eq!(import(0..12).await, [("cards", [12, 0, 0, 0])]);
    assert_eq!(import(0..11).await, [("cards", [0, 0, 1, 11])]);
    assert_eq!(import(0..12).await, [("cards", [0, 1, 0, 11])], "it is good again");
    let found = hub.read("{ student(by: {number: \"S00011\"}) { cards { code endedAt } } }").await;
    let cards = found["student"]["cards"].as_array().unwrap();
    assert!(cards.iter().any(|card| card["code"] == "N11" && card["endedAt"].is_null()), "{cards:?}");
    let lost = json!({"code": "N3", "student": number(3), "from": "2026-09-01T00:00:00+01:00",
                          "until": "2026-09-02T00:00:00+01:00", "credentials": [{"uid": "04000003"}]});
    hub.done("saveCard", lost).await;
    assert_eq!(import(0..12).await, [("cards", [0, 0, 0, 12])], "a person ended it");
}

#[tokio::test]
async fn a_card_that_is_named_no_more_ends_when_another_came_to_be_known_by_the_same() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 12, 0).await;
    hub.clock.set(&at("10:30"));
    let mapping = "kind = 'cards'\nwhole = true\n[columns]\ncode = 'Code'\nstudent = 'Student'\nuid = 'Uid'\nfrom = 'From'\n\
                   until = 'Until'\n[formats]\ndate = '%Y-%m-%d'\n";
    let import = async |rows: String| {
        let text = format!("Code,Student,Uid,From,Until\n{rows}");
        let mut facts = Facts::default();
        let zone = hub.running.hub.zone();
        sheet::read(&mut facts, "c.csv", text.as_bytes(), zone, &Mapping::read(mapping).unwrap());
        imported(&hub, &facts, &order("cards")).await
    };
    let row = |index: usize| format!("N{index},{},0400{index:04},2026-09-01,\n", number(index));
    let first: String = (0..12).map(row).collect();
    assert_eq!(counts(&import(first).await), [("cards", [12, 0, 0, 0])]);
    // Somebody held it before, and somebody else since Saturday.
    let rest: String = (0..11).map(row).collect();
    let (held, since) = ("H,S00005,04000011,2026-08-01,2026-08-14\n", "M,S00003,04000011,2026-10-03,\n");
    // That card was somebody else's at the same time cannot be.
    let wrong = import(format!("{rest}N,S00003,04000011,2026-09-01,\n")).await;
    assert_eq!(wrong.problems.count, 1, "{wrong:?}");
    assert_eq!(counts(&import(format!("{rest}{held}{since}")).await), [("cards", [2, 0, 1, 11])]);
    let query = "{ student(by: {number: \"S00011\"}) { cards { code endedAt }
                   cardHistory { at by source card { code endedAt } numberTail issuedAt endedAt } } }";
    let found = hub.read(query).await;
    let ended =
        found["student"]["cards"].as_array().unwrap().iter().find(|card| card["code"] == "N11").unwrap();
    assert_eq!(ended["endedAt"], "2026-10-03T00:00:00.000+01:00");
    let card = json!({"code": "N11", "endedAt": "2026-10-03T00:00:00.000+01:00"});
    let was = json!({"at": "2026-10-05T11:30:00.000+01:00", "by": null, "source": "cards", "card": card, "numberTail": "0011",
                     "issuedAt": "2026-09-01T00:00:00.000+01:00", "endedAt": null});
    assert_eq!(found["student"]["cardHistory"], json!([was]));
}

#[tokio::test]
async fn all_mistakes_that_only_the_database_shows_are_counted() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let lines: String = (0..250).map(|index| format!("G,{},28/09/2026,\n", number(index))).collect();
    let report =
        imported(&hub, &table("class-lists.toml", &(CLASS_LIST.to_owned() + &lines)), &order("x")).await;
    assert_eq!((report.problems.count, report.applied), (250, false));
    let rows = report.problems.list.iter().map(|it| it.place.row);
    assert_eq!(rows.collect::<Vec<_>>(), (2..252).collect::<Vec<_>>(), "and told");
}

#[tokio::test]
async fn a_mistake_in_one_kind_hides_none_of_another_and_is_not_told_again_as_what_is_not_there() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 0).await;
    let mut facts =
        table("students.toml", "Student number,Name,Email,Status\nS1,Ada,,Current\nS2,Bob,,Current\n");
    facts.students.things[0].name = "N".repeat(201);
    // That nobody knows S1 follows from the first mistake; that a stay ends before it begins does not.
    let lines = "G,S1,28/09/2026,\nG,S00000,28/09/2026,27/09/2026\n";
    facts.memberships = table("class-lists.toml", &(CLASS_LIST.to_owned() + lines)).memberships;
    let mut told = problems(&imported(&hub, &facts, &order("x")).await);
    told.sort();
    assert_eq!(
        told,
        [
            "t.csv, row 2, column 'Name': must have 200 characters at the most",
            "t.csv, row 3, column 'Last day': must not come before 'from'"
        ]
    );
    assert_eq!(hub.read("{ students { totalCount } }").await["students"]["totalCount"], 1);
}

#[test]
fn a_small_table_cannot_make_sessions_without_end() {
    let mapping = "kind = 'sessions'\n[columns]\nexternal_id = 'Id'\nweeks = 'Weeks'\nday = 'Day'\nstart_time = 'From'\n\
                   end_time = 'To'\nrooms = 'Rooms'\ngroups = 'Groups'\n[weeks]\nfirst_monday = '2026-09-28'\n";
    let rows: String = (0..2_000).map(|row| format!("S{row},0-200,Mon,09:00,10:00,R1,G\n")).collect();
    let text = "Id,Weeks,Day,From,To,Rooms,Groups\n".to_owned() + &rows;
    let mut facts = Facts::default();
    let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
    sheet::read(&mut facts, "t.csv", text.as_bytes(), &zone, &Mapping::read(mapping).unwrap());
    assert_eq!(facts.problems.count, 1);
    assert!(
        facts.problems.list[0].message.contains("more than 200000 sessions"),
        "{:?}",
        facts.problems.list
    );
    assert!(facts.sessions.things.len() < 201_000);
}

#[tokio::test]
async fn what_a_file_has_no_word_of_stays_and_what_it_corrects_is_not_there_twice() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let placement =
        json!({"number": "N1", "name": "Ada", "email": "ada@example.org", "expectedAtDoor": false});
    hub.done("saveStudent", placement).await;
    let students = table("students.toml", "Student number,Name,Email,Status\nN1,Ada Ng,,Current\n");
    assert_eq!(counts(&imported(&hub, &students, &order("sits")).await), [("students", [0, 1, 0, 0])]);
    let read =
        "{ student(by: {number: \"N1\"}) { displayName expectedAtDoor groups { nodes { from until } } } }";
    let student = hub.read(read).await["student"].take();
    assert_eq!((&student["displayName"], &student["expectedAtDoor"]), (&json!("Ada Ng"), &json!(false)));
    let list = |from: &str| table("class-lists.toml", &format!("{CLASS_LIST}G,N1,{from},\n"));
    let accepted = Order { accept_removals: true, ..order("sits") };
    imported(&hub, &list("12/10/2026"), &accepted).await;
    assert_eq!(
        counts(&imported(&hub, &list("28/09/2026"), &accepted).await),
        [("memberships", [1, 0, 1, 0])]
    );
    let stays = hub.read(read).await["student"]["groups"]["nodes"].take();
    assert_eq!(stays, json!([{"from": "2026-09-28", "until": null}]));
    // What another source still names stays.
    imported(&hub, &list("28/09/2026"), &order("faculty")).await;
    let empty = table("class-lists.toml", CLASS_LIST);
    assert_eq!(counts(&imported(&hub, &empty, &accepted).await), [("memberships", [0, 0, 0, 0])]);
    let faculty = Order { accept_removals: true, ..order("faculty") };
    assert_eq!(counts(&imported(&hub, &empty, &faculty).await), [("memberships", [0, 0, 1, 0])]);
    // A mapping that has no word of doors or ends takes neither away.
    let mapping =
        Mapping::read("kind = 'readers'\n[columns]\ncode = 'a'\ngateway = 'b'\nkind = 'c'\n").unwrap();
    let mut facts = Facts::default();
    let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
    sheet::read(&mut facts, "t.csv", b"a,b,c\nD1,GW,OSDP\n", &zone, &mapping);
    assert_eq!(counts(&imported(&hub, &facts, &order("doors")).await), [("readers", [0, 0, 0, 1])]);
    let door = hub.read("{ room(by: {code: \"R1\"}) { readers { code } } }").await;
    assert_eq!(door["room"]["readers"], json!([{"code": "D1"}]));
    // A card is held until the end of the day on which it is given back.
    let cards = "Card,Student number,UID,Issued,Returned\nK,N1,04a1b2c3d4e5f6,01/09/2026,31/10/2026\n";
    let facts = table("cards.toml", cards);
    let until = facts.cards.things[0].until.as_ref().unwrap().ms();
    assert_eq!(
        (facts.cards.things[0].from.ms(), until),
        (ms("2026-08-31T23:00:00Z"), ms("2026-11-01T00:00:00Z"))
    );
    let mapping = Mapping::read(
        "kind = 'sessions'\n[columns]\nexternal_id = 'a'\nstart = 'b'\nend = 'c'\n[formats]\ndate_time = '%Y-%m-%dT%H:%M:%S%z'\n",
    )
    .unwrap();
    let mut facts = Facts::default();
    let text = "a,b,c\nx,2026-10-05T08:00:00+0000,2026-10-05T10:00:00+0100\n";
    let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
    sheet::read(&mut facts, "t.csv", text.as_bytes(), &zone, &mapping);
    let session = &facts.sessions.things[0];
    assert_eq!(
        (session.starts_at.ms(), session.ends_at.ms()),
        (ms("2026-10-05T08:00:00Z"), ms("2026-10-05T09:00:00Z"))
    );
}
