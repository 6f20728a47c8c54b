//! Imports that come again: what they have no word of stays, what they say again undoes nothing that was changed since, and
//! what several sources say of one session comes together.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::import::Facts;
use rollcall_hub::import::sheet::{self, Mapping};
use rollcall_hub::service::people::credentials_of;
use rollcall_hub::store::entity::Card;
use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::import::{counts, feed_of, imported, order, problems};
use rollcall_tests::timetable::{Gateway, estate, number, session, students};
use serde_json::{Value, json};

const COLUMNS: &str = "external_id = 'Id'\nstart = 'Start'\nend = 'End'\n";

/// Reads a table by a mapping.
fn table(hub: &TestHub, mapping: &str, rows: &str) -> Facts {
    let mut facts = Facts::default();
    let zone = hub.running.hub.zone();
    sheet::read(&mut facts, "t.csv", rows.as_bytes(), zone, &Mapping::read(mapping).unwrap());
    facts
}

/// Reads a table of sessions with these further columns.
fn sessions(hub: &TestHub, columns: &str, rows: &str) -> Facts {
    let formats = "[formats]\ndate_time = '%Y-%m-%d %H:%M'\n";
    table(hub, &format!("kind = 'sessions'\n[columns]\n{COLUMNS}{columns}{formats}"), rows)
}

/// Imports such a table.
async fn import(hub: &TestHub, source: &str, columns: &str, rows: &str) {
    let report = imported(hub, &sessions(hub, columns, rows), &order(source)).await;
    assert_eq!(problems(&report), Vec::<String>::new());
}

async fn shown(hub: &TestHub, id: &str) -> Value {
    let fields = "title startsAt course { code } rooms { code } groups { code }";
    hub.read(&format!("{{ session(by: {{externalId: \"{id}\"}}) {{ {fields} }} }}")).await["session"].take()
}

#[tokio::test]
async fn a_table_of_rooms_alone_takes_no_class_list_title_or_course_away() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let mut lecture = session("X", "13:00", "14:00");
    (lecture["title"], lecture["course"]) = (json!("Programming"), json!("C"));
    hub.done("saveSession", lecture).await;
    let rows = "Id,Start,End,Rooms\nX,2026-10-05 14:00,2026-10-05 15:00,R2\n";
    import(&hub, "rooms", "rooms = 'Rooms'\n", rows).await;
    let wanted = json!({"title": "Programming", "startsAt": "2026-10-05T14:00:00.000+01:00", "course": {"code": "C"},
                        "rooms": [{"code": "R2"}], "groups": [{"code": "G"}]});
    assert_eq!(shown(&hub, "X").await, wanted);
    // Nor does a calendar whose events have no word of them.
    let event = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:X\nDTSTART:20261005T140000Z\nDURATION:PT1H\nEND:VEVENT\nEND:VCALENDAR\n";
    let report = imported(&hub, &feed_of(event, &[], &[]), &order("feed")).await;
    assert_eq!(problems(&report), Vec::<String>::new());
    let mut later = wanted;
    later["startsAt"] = json!("2026-10-05T15:00:00.000+01:00");
    assert_eq!(shown(&hub, "X").await, later);
}

#[tokio::test]
async fn a_nightly_import_undoes_nothing_that_a_clerk_changed_unless_it_says_something_new() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 2).await;
    let columns = "rooms = 'Rooms'\ngroups = 'Groups'\n";
    let rows = "Id,Start,End,Rooms,Groups\nX,2026-10-05 13:00,2026-10-05 15:00,R1,G\n";
    import(&hub, "nightly", columns, rows).await;
    // On the day the lecture goes to another room, from 12:10 UTC on, and somebody comes there.
    let mut gateway = Gateway::start(&hub, "GW").await;
    hub.clock.set(&at("12:10"));
    let mut moved = session("X", "12:00", "14:00");
    moved["rooms"] = json!(["R2"]);
    hub.done("saveSession", moved).await;
    gateway.refresh(&hub).await;
    let lecture = gateway.session("12:00").to_owned();
    let swipe = gateway.swipe(0, 1, &at("12:20"), &[&lecture]);
    hub.clock.set(&at("12:30"));
    gateway.submit(&hub, &[swipe], &at("12:25")).await;
    let held = async || {
        let query = "{ session(by: {externalId: \"X\"}) { rooms { code } register { entries { nodes { student { number } status } } } } }";
        hub.read(query).await["session"].take()
    };
    let before = held().await;
    assert_eq!(
        before["register"]["entries"]["nodes"][0],
        json!({"student": {"number": number(0)}, "status": "PRESENT"})
    );
    hub.clock.set("2026-10-06T02:00:00Z");
    let facts = sessions(&hub, columns, rows);
    let report = imported(&hub, &facts, &order("nightly")).await;
    assert_eq!((counts(&report), report.marks_changed), (vec![("sessions", [0, 0, 0, 1])], 0));
    assert_eq!(held().await, before);
    // Where the source moves it to another time, that is news; that it is in R1 is none.
    import(&hub, "nightly", columns, &rows.replace("13:00", "13:05")).await;
    let found = shown(&hub, "X").await;
    assert_eq!(
        (&found["startsAt"], &found["rooms"][1]["code"]),
        (&json!("2026-10-05T13:05:00.000+01:00"), &Value::Null)
    );
    assert_eq!(found["rooms"], json!([{"code": "R2"}]));
    // And so is another room.
    import(&hub, "nightly", columns, &rows.replace("13:00", "13:05").replace("R1", "\"R1, R2\"")).await;
    assert_eq!(shown(&hub, "X").await["rooms"], json!([{"code": "R1"}, {"code": "R2"}]));
}

#[tokio::test]
async fn calendars_of_single_groups_and_rooms_come_together_in_one_session() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    hub.done("saveGroups", json!({"groups": [{"code": "H", "course": "C"}]})).await;
    let event = |uid: &str, hour: u8| {
        format!(
            "BEGIN:VEVENT\nUID:{uid}\nSUMMARY:{uid}\nDTSTART:20261005T{hour}0000Z\nDURATION:PT1H\nEND:VEVENT\n"
        )
    };
    let read = async |source: &str, events: &str, rooms: &[&str], groups: &[&str]| {
        let mut facts = feed_of(&format!("BEGIN:VCALENDAR\n{events}END:VCALENDAR\n"), rooms, groups);
        facts.whole.push("sessions");
        let order = rollcall_hub::service::import::Order { accept_removals: true, ..order(source) };
        assert_eq!(problems(&imported(&hub, &facts, &order).await), Vec::<String>::new(), "{source}");
    };
    let both = event("X", 13) + &event("Y", 15);
    let codes = async |field: &str| -> Vec<String> {
        let found = shown(&hub, "X").await[field].take();
        found.as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap().to_owned()).collect()
    };
    read("of G", &both, &[], &["G"]).await;
    read("of H", &both, &[], &["H"]).await;
    read("of R1", &both, &["R1"], &[]).await;
    read("of R2", &both, &["R2"], &[]).await;
    for _ in 0..2 {
        assert_eq!(
            (codes("groups").await, codes("rooms").await),
            (vec!["G".into(), "H".into()], vec!["R1".into(), "R2".into()])
        );
        // Each night all of them again, in another order.
        read("of R2", &both, &["R2"], &[]).await;
        read("of G", &both, &[], &["G"]).await;
    }
    // A session that was held is as it was, whoever names it no more.
    let held = "BEGIN:VEVENT\nUID:Z\nSUMMARY:Z\nDTSTART:20260921T130000Z\nDURATION:PT1H\nEND:VEVENT\n";
    read("of G", &(both.clone() + held), &[], &["G"]).await;
    read("of H", &(both.clone() + held), &[], &["H"]).await;
    read("of H", &both, &[], &["H"]).await;
    assert_eq!(shown(&hub, "Z").await["groups"], json!([{"code": "G"}, {"code": "H"}]));
    // One that does not name it any more takes its own share with it, and nothing else.
    read("of H", &event("Y", 15), &[], &["H"]).await;
    read("of R1", &event("Y", 15), &["R1"], &[]).await;
    assert_eq!((codes("groups").await, codes("rooms").await), (vec!["G".to_owned()], vec!["R2".to_owned()]));
    assert_ne!(
        hub.read("{ session(by: {externalId: \"X\"}) { state } }").await["session"]["state"],
        "CANCELLED"
    );
    // And brings it back.
    read("of H", &both, &[], &["H"]).await;
    assert_eq!(codes("groups").await, ["G", "H"]);
}

#[tokio::test]
async fn a_table_of_cards_takes_no_other_form_of_them_away_and_several_rows_may_speak_of_one() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let card = json!({"cards": [{"code": "K9", "student": number(0), "from": at("00:00"), "credentials": [
        {"uid": "04a1b2c3d4e5f6"}, {"format": "H10301", "facility": 12, "number": 345}]}]});
    hub.done("saveCards", card).await;
    let import_cards = async |columns: &str, rows: &str| {
        let mapping = format!(
            "kind = 'cards'\n[columns]\ncode = 'Card'\nstudent = 'Student'\n{columns}from = 'From'\n\
                               [constants]\nformat = 'H10301'\n[formats]\ndate_time = '%Y-%m-%d %H:%M'\n"
        );
        let mapping = if columns.contains("uid") {
            mapping.replace("[constants]\nformat = 'H10301'\n", "")
        } else {
            mapping
        };
        let facts = table(&hub, &mapping, rows);
        let report = imported(&hub, &facts, &order("office")).await;
        assert_eq!(problems(&report), Vec::<String>::new());
        counts(&report)
    };
    let forms = async || {
        let mut tx = hub.running.hub.read().await.unwrap();
        let card = tx.by_keys::<Card>(["K9"]).await.unwrap().remove(0).id;
        let reads = credentials_of(&mut tx, &[card]).await.unwrap().remove(&card).unwrap();
        let mut bits: Vec<u16> = reads.iter().map(rollcall_rules::card::CardRead::bits).collect();
        bits.sort_unstable();
        bits
    };
    let student = number(0);
    let rows = format!("Card,Student,UID,From\nK9,{student},04a1b2c3d4e5f7,2026-10-05 01:00\n");
    assert_eq!(import_cards("uid = 'UID'\n", &rows).await, [("cards", [0, 1, 0, 0])]);
    assert_eq!(forms().await, [26, 56]);
    assert_eq!(import_cards("uid = 'UID'\n", &rows).await, [("cards", [0, 0, 0, 1])]);
    // Two numbers of one card, in two rows.
    let rows = format!(
        "Card,Student,Site,No,From\nK9,{student},12,346,2026-10-05 01:00\nK9,{student},12,347,2026-10-05 01:00\n"
    );
    assert_eq!(import_cards("facility = 'Site'\nnumber = 'No'\n", &rows).await, [("cards", [0, 1, 0, 0])]);
    assert_eq!(forms().await, [26, 26, 56]);
}

#[tokio::test]
async fn a_session_named_twice_is_refused_with_its_place_and_one_called_off_by_a_feed_stays_on_where_a_person_says_so()
 {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let row = "X,2026-10-05 14:00,2026-10-05 15:00\n";
    let facts = sessions(&hub, "", &format!("Id,Start,End\n{row}{row}"));
    let told = problems(&imported(&hub, &facts, &order("twice")).await);
    assert!(told.len() == 1 && told[0].starts_with("t.csv, row 3, column 'Id'"), "{told:?}");
    // The feed calls it off, a person puts it on again, and the feed says the same every night.
    let feed = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:Y\nSUMMARY:Y\nDTSTART:20261005T140000Z\nDURATION:PT1H\nSTATUS:CANCELLED\n\
                END:VEVENT\nEND:VCALENDAR\n";
    let state =
        async || hub.read("{ session(by: {externalId: \"Y\"}) { state } }").await["session"]["state"].take();
    imported(&hub, &feed_of(feed, &["R1"], &["G"]), &order("feed")).await;
    assert_eq!(state().await, "CANCELLED");
    hub.done("saveSession", session("Y", "14:00", "15:00")).await;
    imported(&hub, &feed_of(feed, &["R1"], &["G"]), &order("feed")).await;
    assert_ne!(state().await, "CANCELLED");
}

#[tokio::test]
async fn imports_at_the_same_time_come_in_one_after_the_other_and_lose_nothing() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let list = |from: usize, until: usize, name: &str| {
        let rows: String = (from..until).map(|it| format!("N{it:04},{name} {it},,Current\n")).collect();
        rollcall_tests::import::table("students.toml", &format!("Student number,Name,Email,Status\n{rows}"))
    };
    // The two agree about none of the hundred that both name: one of them is the later.
    let (one, other) = (list(0, 300, "One"), list(200, 500, "Other"));
    let (a, b) = (order("a"), order("b"));
    let (first, second) = tokio::join!(imported(&hub, &one, &a), imported(&hub, &other, &b));
    let tallies = [counts(&first)[0].1, counts(&second)[0].1];
    assert!(
        tallies == [[300, 0, 0, 0], [200, 100, 0, 0]] || tallies == [[200, 100, 0, 0], [300, 0, 0, 0]],
        "{tallies:?}"
    );
    let found = hub.read("{ students(first: 200, after: null, orderBy: {field: NUMBER}) { totalCount nodes { displayName } } }").await;
    assert_eq!(found["students"]["totalCount"], 500);
    // The same two again change what they disagree about, and nothing else.
    let (first, second) = tokio::join!(imported(&hub, &one, &a), imported(&hub, &other, &b));
    let changed: usize = [counts(&first)[0].1[1], counts(&second)[0].1[1]].iter().sum();
    assert!([100, 200].contains(&changed), "{changed}");
}

#[tokio::test]
async fn a_class_list_that_says_the_same_again_brings_nobody_back_whom_a_clerk_took_off_it() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 3, 0).await;
    let mapping = "kind = 'memberships'\nwhole = true\n[columns]\ngroup = 'G'\nstudent = 'S'\nfrom = 'F'\nuntil = 'U'\n\
                   [formats]\ndate = '%Y-%m-%d'\n";
    let rows = |until: &str| {
        let line = |student: usize, until: &str| format!("G,{},2026-09-21,{until}\n", number(student));
        format!("G,S,F,U\n{}{}{}", line(0, until), line(1, ""), line(2, "2026-12-01"))
    };
    let night = async |until: &str| {
        let report = imported(&hub, &table(&hub, mapping, &rows(until)), &order("lists")).await;
        assert_eq!(problems(&report), Vec::<String>::new());
        counts(&report)
    };
    assert_eq!(night("").await, [("memberships", [3, 0, 0, 0])]);
    let ended = json!({"group": "G", "student": number(0), "from": "2026-09-21", "until": "2026-10-04"});
    hub.done("saveMemberships", json!({"memberships": [ended]})).await;
    let gone = json!({"group": "G", "student": number(1), "from": "2026-09-21"});
    hub.done("removeMemberships", json!({"memberships": [gone]})).await;
    let listed = async || {
        let read = "{ group(by: {code: \"G\"}) { members { nodes { until student { number } } } } }";
        let nodes = hub.read(read).await["group"]["members"]["nodes"].take();
        let one = |it: &Value| format!("{} {}", it["student"]["number"], it["until"]);
        nodes.as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    let now = listed().await;
    let line = |student: usize, until: &str| format!("\"{}\" \"{until}\"", number(student));
    assert_eq!(now, [line(0, "2026-10-04"), line(2, "2026-12-01")]);
    assert_eq!(night("").await, [("memberships", [0, 0, 0, 3])], "the next night says the same again");
    assert_eq!(listed().await, now);
    // Something new is heard.
    assert_eq!(night("2026-11-01").await, [("memberships", [0, 1, 0, 2])]);
    assert_eq!(listed().await, [line(0, "2026-11-01"), line(2, "2026-12-01")]);
}
