//! How long a changed session takes to the gateways of its building, with 1,000 gateways subscribed at one hub over SQLite;
//! one building with one gateway changes, beside 1, 10 and 100 others that share the rest: what grows with the campus would show.
//! Then the same while a gateway hands swipes in without a pause, and where another hub over the same database makes the change;
//! on SQLite and on PostgreSQL.
//!
//! The gateways are subscriptions in this process; what a network adds is not in it. Prints a line for each campus, with the limit.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: it says what it found, or stops"
)]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_graphql::{Request, Variables};
use futures_util::{Stream, StreamExt as _};
use reader_sim::postgres::TemporaryPostgres;
use rollcall_hub::app;
use rollcall_hub::config::Database;
use rollcall_hub::graphql::{self, HubSchema, batch};
use rollcall_hub::service::{Hub, access};
use rollcall_tests::hub::{TestHub, at, config};
use rollcall_tests::timetable::Gateway;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const GATEWAYS: usize = 1_000;
const ROUNDS: usize = 50;
const MEMBERS: usize = 80;
/// Swipes that are handed in at once.
const BATCH: usize = 100;
const LIMIT: Duration = Duration::from_secs(1);

/// What a gateway hears of: kinds of events.
async fn feed(hub: &Hub, schema: &HubSchema, token: &str) -> impl Stream<Item = String> + Unpin + use<> {
    let caller = access::authenticate(hub, token).await.unwrap().unwrap();
    let query = "subscription { gatewayFeed { kind cursor item { __typename } } }";
    let request = Request::new(query).variables(Variables::default()).data(caller);
    Box::pin(batch::execute_stream(schema, request, hub.clone()).map(|response| {
        assert_eq!(response.errors, []);
        let event = response.data.into_json().unwrap();
        event["gatewayFeed"]["kind"].as_str().unwrap().to_owned()
    }))
}

fn session(number: usize, minute: usize) -> Value {
    json!({
        "externalId": format!("X{number}"), "title": format!("Session {number}"), "startsAt": at(&format!("10:{minute:02}")),
        "endsAt": at("11:00"), "rooms": [format!("R{number}")], "groups": ["G"],
    })
}

/// A campus: one building with one gateway, and others that share the rest. Each gateway has a room with a session.
async fn campus(hub: &TestHub, buildings: usize) {
    let building = |number: usize| format!("B{}", if number == 0 { 0 } else { 1 + number % buildings });
    let codes: std::collections::BTreeSet<String> = (0..GATEWAYS).map(building).collect();
    let list: Vec<Value> = codes.iter().map(|code| json!({"code": code, "name": code})).collect();
    hub.done("saveBuildings", json!({"buildings": list})).await;
    let all = |one: &dyn Fn(usize) -> Value| (0..GATEWAYS).map(one).collect::<Vec<Value>>();
    let rooms = all(&|n| json!({"code": format!("R{n}"), "building": building(n)}));
    hub.done("saveRooms", json!({"rooms": rooms})).await;
    let gateways = all(&|n| json!({"code": format!("GW{n}"), "building": building(n)}));
    hub.done("saveGateways", json!({"gateways": gateways})).await;
    let readers = all(
        &|n| json!({"code": format!("D{n}"), "gateway": format!("GW{n}"), "room": format!("R{n}"), "kind": "OSDP"}),
    );
    hub.done("saveReaders", json!({"readers": readers})).await;
    hub.done("saveCourses", json!({"courses": [{"code": "C", "title": "Course"}]})).await;
    hub.done("saveGroups", json!({"groups": [{"code": "G", "course": "C"}]})).await;
    rollcall_tests::timetable::students(hub, MEMBERS, MEMBERS).await;
    hub.done("saveSessions", json!({"sessions": all(&|n| session(n, 0))})).await;
}

/// Hands swipes in, one batch after the other.
async fn swipe(hub: &TestHub, handed: &AtomicUsize) {
    let mut gateway = Gateway::start(hub, "GW1").await;
    let held = gateway.session("10:00").to_owned();
    loop {
        let swipes: Vec<Value> =
            (0..BATCH).map(|n| gateway.swipe(n % MEMBERS, 0, &at("09:55"), &[&held])).collect();
        gateway.submit(hub, &swipes, &at("09:00")).await;
        handed.fetch_add(BATCH, Relaxed);
    }
}

/// Follows a feed: says when it has caught up, and then when each event came.
async fn follow(
    mut events: impl Stream<Item = String> + Unpin,
    mine: bool,
    told: UnboundedSender<(bool, Instant)>,
) {
    let mut caught_up = false;
    while let Some(kind) = events.next().await {
        let news = match kind.as_str() {
            "CAUGHT_UP" => {
                caught_up = true;
                true
            }
            "KEEP_ALIVE" => false,
            _ => caught_up && mine,
        };
        if news && told.send((mine, Instant::now())).is_err() {
            return;
        }
    }
}

/// What is measured: beside how many buildings, over which engine, and what goes on.
#[derive(Default)]
struct Course {
    buildings: usize,
    postgres: bool,
    swipes: bool,
    /// The change is made at another hub than the gateways are subscribed at.
    beside: bool,
}

async fn measure(course: &Course) {
    let server = course.postgres.then(|| TemporaryPostgres::start().unwrap());
    let database = server.as_ref().map(|server| Database::Postgres(server.url("rollcall")));
    let hub = match &database {
        Some(database) => TestHub::on(database.clone()).await,
        None => TestHub::start().await,
    };
    campus(&hub, course.buildings).await;
    hub.clock.set(&at("09:58"));
    let mut here = config(hub.folder.path());
    here.database = database.unwrap_or(here.database);
    let other = match course.beside {
        true => Some(app::start(&here, hub.clock.clone()).await.unwrap()),
        false => None,
    };
    let inner = other.as_ref().map_or(&hub.running.hub, |other| &other.hub).clone();
    let schema = graphql::schema(inner.clone());
    let (sender, mut told) = unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    let begin = Instant::now();
    for number in 0..GATEWAYS {
        let token = hub.gateway_token(&format!("GW{number}")).await;
        let events = feed(&inner, &schema, &token).await;
        tasks.spawn(follow(events, number == 0, sender.clone()));
    }
    for _ in 0..GATEWAYS {
        told.recv().await.unwrap();
    }
    let caught_up = begin.elapsed();
    let (mut at_door, mut answered) = (Vec::new(), Vec::new());
    let rounds = async {
        for round in 0..ROUNDS {
            let begin = Instant::now();
            hub.done("saveSession", session(0, 1 + round % 50)).await;
            answered.push(begin.elapsed());
            let (mine, came) = told.recv().await.unwrap();
            assert!(mine);
            at_door.push(came.duration_since(begin));
            // A session that moves is one event or two; the next round begins when all are there.
            while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(50), told.recv()).await {}
        }
    };
    let (begin, handed) = (Instant::now(), AtomicUsize::new(0));
    match course.swipes {
        true => tokio::select! { () = rounds => {}, () = swipe(&hub, &handed) => {} },
        false => rounds.await,
    }
    let rate = handed.into_inner() as f64 / begin.elapsed().as_secs_f64();
    at_door.sort_unstable();
    answered.sort_unstable();
    let engine = if course.postgres { "PostgreSQL" } else { "SQLite" };
    let at_hub = if course.beside { "another hub" } else { "this hub" };
    println!(
        "{engine}, a building beside {}, {GATEWAYS} gateways subscribed (caught up in {caught_up:.1?}), {rate:.0} swipes/s handed in: a session \
         of {MEMBERS} changed at {at_hub} is answered in {:.1?} and at the door in {:.1?}, at the most {:.1?} (limit {LIMIT:?})",
        course.buildings,
        answered[ROUNDS / 2],
        at_door[ROUNDS / 2],
        at_door[ROUNDS - 1],
    );
    tasks.shutdown().await;
    if let Some(other) = other {
        other.stop().await.unwrap();
    }
    hub.running.stop().await.unwrap();
}

#[tokio::main]
async fn main() {
    for buildings in [1, 10, 100] {
        measure(&Course { buildings, ..Course::default() }).await;
    }
    for postgres in [false, true] {
        for beside in [false, true] {
            measure(&Course { buildings: 10, postgres, swipes: true, beside }).await;
        }
    }
}
