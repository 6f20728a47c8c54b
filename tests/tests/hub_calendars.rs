//! Calendars to subscribe to: what they hold, who may read them, and that the hub's own importer understands them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::import::recipe::Recipe;
use rollcall_hub::store::entity::SessionKind;
use rollcall_tests::hub::{TestHub, at, ms};
use rollcall_tests::timetable::{estate, session, students};
use serde_json::{Value, json};

async fn path(hub: &TestHub, of: &str) -> String {
    let data = hub.read(&format!("{{ {of} {{ calendarPath }} }}")).await;
    let (_, thing) = data.as_object().unwrap().iter().next().unwrap();
    thing["calendarPath"].as_str().unwrap().to_owned()
}

/// A line for each event: start, summary, place, groups, status.
fn events(text: &str) -> Vec<String> {
    assert!(text.ends_with("END:VCALENDAR\r\n"), "{text}");
    let unfolded = text.replace("\r\n ", "");
    let events = unfolded.split("BEGIN:VEVENT\r\n").skip(1).map(|event| {
        let value = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap_or("-").to_owned()
        };
        ["DTSTART", "SUMMARY", "LOCATION", "CATEGORIES", "STATUS"].map(value).join(" ")
    });
    events.collect()
}

#[tokio::test]
async fn a_student_and_a_room_have_calendars_that_follow_what_changes() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 1).await;
    let sessions = [session("X", "10:00", "11:00"), session("Y", "12:00", "13:00")];
    hub.done("saveSessions", json!({"sessions": sessions})).await;
    let listed = path(&hub, "student(by: {number: \"S00000\"})").await;
    let other = path(&hub, "student(by: {number: \"S00001\"})").await;
    let (status, text) = hub.get(&listed).await;
    assert_eq!(status, 200);
    let rooms = hub.read("{ rooms { nodes { code name calendarPath sessions { totalCount } } } }").await;
    let rooms = rooms["rooms"]["nodes"].as_array().unwrap();
    let held = rooms.iter().find(|room| room["sessions"]["totalCount"] == 2).unwrap();
    let place = held["name"].as_str().unwrap();
    let both = [
        format!("20261005T100000Z X {place} G CONFIRMED"),
        format!("20261005T120000Z Y {place} G CONFIRMED"),
    ];
    assert_eq!(events(&text), both);
    assert_eq!(events(&hub.get(&other).await.1), Vec::<String>::new(), "who is on no list has no sessions");
    let (_, of_room) = hub.get(held["calendarPath"].as_str().unwrap()).await;
    assert_eq!(events(&of_room), both);
    // Called off, and moved in time.
    let mut off = session("X", "10:00", "11:00");
    off["cancelled"] = json!(true);
    hub.done("saveSessions", json!({"sessions": [off, session("Y", "14:00", "15:00")]})).await;
    let after = [
        format!("20261005T100000Z X {place} G CANCELLED"),
        format!("20261005T140000Z Y {place} G CONFIRMED"),
    ];
    assert_eq!(events(&hub.get(&listed).await.1), after);
}

#[tokio::test]
async fn a_calendar_is_given_to_whoever_knows_its_address_until_addresses_are_renewed() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 1).await;
    let one = path(&hub, "student(by: {number: \"S00000\"})").await;
    let other = path(&hub, "student(by: {number: \"S00001\"})").await;
    assert_eq!(hub.get(&one).await.0, 200);
    let (id, _) = one.rsplit_once('/').unwrap();
    let (_, key) = other.rsplit_once('/').unwrap();
    for wrong in
        [format!("{id}/{key}"), format!("{id}/.ics"), one.replace(".ics", ""), one.replace("stu_", "rom_")]
    {
        assert_eq!(hub.get(&wrong).await.0, 404, "{wrong}");
    }
    let renewed = "mutation { renewCalendarPaths { errors { code } } }";
    let (_, refused) = hub.post(Some(&hub.integration), renewed, Value::Null).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
    hub.data(&hub.admin, renewed, json!({})).await;
    assert_eq!(hub.get(&one).await.0, 404);
    assert_eq!(hub.get(&path(&hub, "student(by: {number: \"S00000\"})").await).await.0, 200);
}

#[tokio::test]
async fn a_calendar_says_when_it_is_the_same_and_the_importer_reads_it() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let mut odd = session("X", "10:00", "11:00");
    odd["title"] =
        json!("Law; of \"Torts\", part \\ one: 𝄞 and a title that is so long that its line is folded");
    hub.done("saveSession", odd.clone()).await;
    let one = path(&hub, "student(by: {number: \"S00000\"})").await;
    let ask = async |known: &str| {
        let request = hyper::Request::get(&one)
            .header("host", "hub")
            .header("if-none-match", known)
            .body(http_body_util::Full::<bytes::Bytes>::default())
            .unwrap();
        let stream = tokio::net::TcpStream::connect(hub.running.address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        (response.status().as_u16(), response.headers()["etag"].to_str().unwrap().to_owned())
    };
    let (status, version) = ask("\"none\"").await;
    assert_eq!(status, 200);
    hub.clock.set(&at("09:00"));
    assert_eq!(
        ask(&format!("\"x\", {version}")).await,
        (304, version.clone()),
        "the hour alone changes nothing"
    );
    let (_, text) = hub.get(&one).await;
    let recipe = Recipe::Calendar {
        rooms: Vec::new(),
        groups: Vec::new(),
        groups_from: None,
        course: None,
        kind: SessionKind::Lecture,
        whole: false,
    };
    let inner = &hub.running.hub;
    let mut reading = recipe.begin(inner.zone(), inner.now().0).unwrap();
    reading.read("ours.ics", text.as_bytes());
    let facts = reading.facts();
    assert_eq!(facts.problems.count, 0, "{:?}", facts.problems);
    let read = &facts.sessions.things[0];
    assert_eq!((facts.sessions.things.len(), json!(read.title)), (1, odd["title"].clone()));
    assert_eq!((read.starts_at.ms(), read.ends_at.ms()), (ms(&at("10:00")), ms(&at("11:00"))));
    odd["title"] = json!("Another");
    hub.done("saveSession", odd).await;
    assert_eq!(ask(&version).await.0, 200);
}
