//! Calendars that the hub fetches by itself: once for each version, and never half.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use rollcall_tests::hub::{TestHub, at, refusals};
use rollcall_tests::programs::PATIENCE;
use rollcall_tests::timetable::{estate, students};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What the server gives: status, version and body.
type Page = Arc<Mutex<(u16, String, String)>>;

/// A server with one calendar.
struct Server {
    address: SocketAddr,
    page: Page,
    /// The version that each request said it knew, `-` where it knew none.
    asked: UnboundedReceiver<String>,
}

async fn give(State((page, asked)): State<(Page, UnboundedSender<String>)>, headers: HeaderMap) -> Response {
    let known = headers.get("if-none-match").map_or("-", |value| value.to_str().unwrap()).to_owned();
    asked.send(known.clone()).unwrap();
    let (status, version, body) = page.lock().unwrap().clone();
    if known == version {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    (
        StatusCode::from_u16(status).unwrap(),
        [("etag", version), ("content-type", "text/calendar".into())],
        body,
    )
        .into_response()
}

impl Server {
    async fn start(body: &str) -> Self {
        let page: Page = Arc::new(Mutex::new((200, "\"1\"".to_owned(), body.to_owned())));
        let (sender, asked) = unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new()
            .route("/term.ics", axum::routing::get(give))
            .with_state((page.clone(), sender));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, page, asked }
    }

    fn gives(&self, status: u16, version: &str, body: &str) {
        *self.page.lock().unwrap() = (status, version.to_owned(), body.to_owned());
    }

    async fn asked(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.asked.recv()).await.expect("nobody asks").unwrap()
    }
}

fn calendar(events: &[(&str, &str)]) -> String {
    let events: String = events
        .iter()
        .map(|(id, hour)| {
            format!(
                "BEGIN:VEVENT\r\nUID:{id}\r\nDTSTAMP:20261001T000000Z\r\nDTSTART:20261005T{hour}0000Z\r\n\
                 DTEND:20261005T{hour}5000Z\r\nSUMMARY:{id}\r\nLOCATION:R1\r\nCATEGORIES:G\r\nEND:VEVENT\r\n"
            )
        })
        .collect();
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n{events}END:VCALENDAR\r\n")
}

const SHAPE: &str =
    "source failingSince lastError fetchedAt import { id state outcome { problems { message } } }";

/// The one calendar once it is as it should be.
async fn until(hub: &TestHub, holds: impl Fn(&Value) -> bool) -> Value {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
    let whole = async {
        loop {
            looks.tick().await;
            let found = hub.read(&format!("{{ calendarSources {{ nodes {{ {SHAPE} }} }} }}")).await;
            let one = found["calendarSources"]["nodes"][0].clone();
            if holds(&one) {
                return one;
            }
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.expect("the calendar stays as it is")
}

async fn sessions(hub: &TestHub) -> Vec<String> {
    let found = hub.read("{ sessions { nodes { title startsAt state } } }").await;
    let nodes = found["sessions"]["nodes"].as_array().unwrap();
    let line = |it: &Value| {
        let off = if it["state"] == "CANCELLED" { " off" } else { "" };
        format!("{} {}{off}", it["title"].as_str().unwrap(), &it["startsAt"].as_str().unwrap()[11..16])
    };
    nodes.iter().map(line).collect()
}

#[tokio::test]
async fn a_calendar_is_imported_when_it_is_another_and_asked_for_by_its_version_when_not() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let mut server = Server::start(&calendar(&[("A", "10"), ("B", "12")])).await;
    let url = format!("http://{}/term.ics", server.address);
    let input = json!({"url": url, "source": "term", "every": "PT15M", "calendar": {"whole": true}});
    hub.done("saveCalendarSource calendarSource { source }", input).await;
    assert_eq!(server.asked().await, "-");
    until(&hub, |it| it["import"]["state"] == "APPLIED").await;
    assert_eq!(sessions(&hub).await, ["A 11:00", "B 13:00"]);
    // A quarter of an hour later nothing is new.
    hub.clock.set(&at("08:15"));
    assert_eq!(server.asked().await, "\"1\"");
    until(&hub, |it| it["fetchedAt"].as_str().is_some_and(|at| at.contains("09:15"))).await;
    // A server that knows no versions, and writes the calendar anew each time, says the same.
    server.gives(
        200,
        "\"0\"",
        &calendar(&[("A", "10"), ("B", "12")]).replace("20261001T000000Z", "20261005T082000Z"),
    );
    hub.clock.set(&at("08:31"));
    assert_eq!(server.asked().await, "\"1\"");
    let first = until(&hub, |it| it["fetchedAt"].as_str().is_some_and(|at| at.contains("09:31"))).await;
    assert_eq!(hub.read("{ imports { totalCount } }").await["imports"]["totalCount"], 1);
    // Then one is at another time, and one is gone.
    server.gives(200, "\"2\"", &calendar(&[("A", "15")]));
    hub.clock.set(&at("08:47"));
    assert_eq!(server.asked().await, "\"0\"");
    let refused = until(&hub, |it| it["import"]["state"] == "REFUSED").await;
    assert_ne!(refused["import"]["id"], first["import"]["id"]);
    assert_eq!(first["lastError"], Value::Null);
    assert!(refused["lastError"].as_str().unwrap().starts_with("its last import is REFUSED"), "{refused}");
    assert_eq!(sessions(&hub).await, ["A 11:00", "B 13:00"], "half of it would go: nothing is done");
    // It is not fetched whole again and again, but after six hours: somebody may have mended what was wrong.
    hub.clock.set(&at("09:03"));
    assert_eq!(server.asked().await, "\"2\"");
    server.gives(200, "\"2\"", &calendar(&[("A", "15"), ("B", "12")]));
    until(&hub, |it| it["fetchedAt"].as_str().is_some_and(|at| at.contains("10:03"))).await;
    hub.clock.set(&at("14:48"));
    assert_eq!(server.asked().await, "-");
    until(&hub, |it| it["import"]["state"] == "APPLIED").await;
    assert_eq!(sessions(&hub).await, ["B 13:00", "A 16:00"]);
}

#[tokio::test]
async fn whoever_saves_a_calendar_so_lets_its_next_import_take_much_away_and_only_that() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let mut server = Server::start(&calendar(&[("A", "10"), ("B", "12"), ("C", "14")])).await;
    let url = format!("http://{}/term.ics", server.address);
    let mut input = json!({"url": url, "source": "term", "every": "PT15M", "calendar": {"whole": true}});
    let saved = hub.done("saveCalendarSource calendarSource { id }", input.clone()).await;
    server.asked().await;
    until(&hub, |it| it["import"]["state"] == "APPLIED").await;
    server.gives(200, "\"2\"", &calendar(&[("A", "10"), ("B", "12")]));
    hub.clock.set(&at("08:16"));
    server.asked().await;
    let refused = until(&hub, |it| it["import"]["state"] == "REFUSED").await;
    assert!(
        refused["lastError"].as_str().unwrap().contains("save the calendar with acceptRemovals"),
        "{refused}"
    );
    (input["id"], input["acceptRemovals"]) = (saved["calendarSource"]["id"].clone(), json!(true));
    hub.done("saveCalendarSource calendarSource { id }", input).await;
    assert_eq!(server.asked().await, "-", "it is looked at at once");
    until(&hub, |it| it["import"]["state"] == "APPLIED").await;
    assert_eq!(sessions(&hub).await, ["A 11:00", "B 13:00", "C 15:00 off"]);
    server.gives(200, "\"3\"", &calendar(&[("A", "10")]));
    hub.clock.set(&at("08:32"));
    server.asked().await;
    until(&hub, |it| it["import"]["state"] == "REFUSED").await;
    assert_eq!(sessions(&hub).await, ["A 11:00", "B 13:00", "C 15:00 off"]);
}

#[tokio::test]
async fn what_cannot_be_fetched_says_why_and_changes_nothing() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let mut server = Server::start("<html>Sign in</html>").await;
    let url = format!("http://{}/term.ics", server.address);
    let saved =
        hub.done("saveCalendarSource calendarSource { id }", json!({"url": url, "source": "term"})).await;
    server.asked().await;
    let page = until(&hub, |it| !it["failingSince"].is_null()).await;
    assert!(page["lastError"].as_str().unwrap().contains("no calendar"), "{page}");
    for (minute, status, why) in [("15", 503, "status 503"), ("30", 301, "has moved")] {
        server.gives(status, "\"1\"", "");
        hub.clock.set(&at(&format!("08:{minute}")));
        server.asked().await;
        until(&hub, |it| it["lastError"].as_str().is_some_and(|told| told.contains(why))).await;
    }
    assert_eq!(hub.read("{ imports { totalCount } }").await["imports"]["totalCount"], 0);
    server.gives(200, "\"1\"", &calendar(&[("A", "10")]));
    hub.clock.set(&at("08:45"));
    until(&hub, |it| it["import"]["state"] == "APPLIED" && it["failingSince"].is_null()).await;
    let id = &saved["calendarSource"]["id"];
    let second = json!({"url": url, "source": "term", "every": "PT1S"});
    let told = ["INVALID every", "ALREADY_EXISTS source"];
    assert_eq!(refusals(&hub.write("saveCalendarSource", second).await), told);
    hub.done("deleteCalendarSource deletedId", json!({"id": id})).await;
    assert_eq!(refusals(&hub.write("deleteCalendarSource", json!({"id": id})).await), ["NOT_FOUND id"]);
    assert_eq!(sessions(&hub).await, ["A 11:00"], "what it brought stays");
}

#[tokio::test]
async fn a_calendar_that_goes_by_another_source_still_calls_off_what_it_names_no_more() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let hours = ["10", "11", "12", "13", "14", "15", "16", "17", "18", "19"];
    let events: Vec<(&str, &str)> =
        ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"].into_iter().zip(hours).collect();
    let mut server = Server::start(&calendar(&events)).await;
    let url = format!("http://{}/term.ics", server.address);
    let mut input = json!({"url": url, "source": "term", "every": "PT15M", "calendar": {"whole": true}});
    let saved = hub.done("saveCalendarSource calendarSource { id }", input.clone()).await;
    server.asked().await;
    let first = until(&hub, |it| it["import"]["state"] == "APPLIED").await["import"]["id"].clone();
    input["id"] = saved["calendarSource"]["id"].clone();
    input["source"] = json!("autumn");
    hub.done("saveCalendarSource calendarSource { id }", input).await;
    server.asked().await;
    let again = |it: &Value| it["import"]["state"] == "APPLIED" && it["import"]["id"] != first;
    let second = until(&hub, again).await["import"]["id"].clone();
    server.gives(200, "\"2\"", &calendar(&events[1..]));
    hub.clock.set(&at("08:16"));
    server.asked().await;
    until(&hub, |it| it["import"]["state"] == "APPLIED" && it["import"]["id"] != second).await;
    let found = sessions(&hub).await;
    assert_eq!(found[..2], ["A 11:00 off", "B 12:00"]);
}
