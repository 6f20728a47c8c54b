//! Three hubs as separate programs over one PostgreSQL database, behind a balancer; they are killed in turn while swipes
//! come in, and what a receipt said is there, once. And they are killed over an import and an export, while a gateway follows
//! its feed and a listener hears of what is done.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reader_sim::postgres::TemporaryPostgres;
use rollcall_hub::config::Database;
use rollcall_tests::hub::{TestHub, at, fetch_from, post_to, upload_to};
use rollcall_tests::programs::site::{CARDS, Site, flashes, osdp_reader};
use rollcall_tests::programs::{PATIENCE, Program, free_port, until};
use rollcall_tests::timetable::{Gateway, all_present_once, estate, session, students};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use uuid::Uuid;

const STUDENTS: usize = 300;
const HUBS: usize = 3;

/// Gives each connection to the next hub that takes it; counts those that each has in hand.
async fn balance(listener: TcpListener, hubs: Vec<SocketAddr>, in_hand: Arc<Vec<watch::Sender<usize>>>) {
    for turn in 0.. {
        let (mut from, _) = listener.accept().await.unwrap();
        let (hubs, in_hand) = (hubs.clone(), in_hand.clone());
        tokio::spawn(async move {
            for next in (turn..turn + hubs.len()).map(|next| next % hubs.len()) {
                if let Ok(mut to) = TcpStream::connect(hubs[next]).await {
                    in_hand[next].send_modify(|count| *count += 1);
                    // Whichever side breaks off, the other hears of it by its end.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    in_hand[next].send_modify(|count| *count -= 1);
                    return;
                }
            }
        });
    }
}

async fn start(url: &str, port: u16) -> Program {
    let listen = format!("127.0.0.1:{port}");
    let serve = ["serve", "--database", url, "--listen", &listen, "--allow-private-addresses"];
    let mut hub = Program::start("rollcall-hub", &serve);
    hub.line_with(&listen).await;
    hub
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_receipt_said_counts_once_while_hubs_are_killed_in_turn() {
    let server = TemporaryPostgres::start().unwrap();
    let url = server.url("rollcall");
    let hub = TestHub::on(Database::Postgres(url.clone())).await;
    estate(&hub).await;
    students(&hub, STUDENTS, STUDENTS).await;
    hub.done("saveSession", session("S", "09:00", "10:00")).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    let green = gateway.session("09:00").to_owned();
    let swipes: Vec<_> =
        (0..STUDENTS).map(|index| gateway.swipe(index, 0, &at("09:05"), &[green.as_str()])).collect();
    hub.clock.set(&at("10:30"));

    let ports = [(); HUBS].map(|()| free_port());
    let mut hubs = Vec::new();
    for port in ports {
        hubs.push(start(&url, port).await);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    let in_hand = Arc::new(ports.map(|_| watch::Sender::new(0)).to_vec());
    let addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).to_vec();
    let balancer = tokio::spawn(balance(listener, addresses, in_hand.clone()));

    let stored = watch::Sender::new(0);
    let post =
        async |query: &str, input| post_to(front, &gateway.token, query, input).await.unwrap_or_default();
    // Three hands send, each its own swipes in order.
    let hand = async |part: usize| {
        let mine: Vec<_> = swipes.iter().skip(part).step_by(3).cloned().collect();
        gateway.hand_over(&mine, &at("10:10"), &stored, &post).await
    };
    let kills = async {
        for (round, (hub, port)) in hubs.iter_mut().zip(ports).enumerate() {
            // In the middle of the work, wherever that is.
            let so_many = (round + 1) * STUDENTS / (HUBS + 2);
            stored.subscribe().wait_for(|count| *count >= so_many).await.unwrap();
            // Stopped first, so that it is cut off with something in hand, wherever it is with that.
            hub.signal("-STOP").await;
            // Once all is handed over, nobody connects any more.
            tokio::select! {
                held = async { in_hand[round].subscribe().wait_for(|count| *count > 0).await.is_ok() } => assert!(held),
                all = async { stored.subscribe().wait_for(|count| *count >= STUDENTS).await.is_ok() } => assert!(all),
            }
            hub.kill().await;
            *hub = start(&url, port).await;
        }
    };
    let all = async { tokio::join!(hand(0), hand(1), hand(2), kills) };
    let (one, two, three, ()) = tokio::time::timeout(Duration::from_secs(180), all).await.unwrap();
    assert_eq!(*stored.borrow(), STUDENTS);
    assert!(one + two + three > 0, "no kill cut a request off");
    all_present_once(&hub, STUDENTS).await;
    balancer.abort();
    for hub in &mut hubs {
        assert_eq!(hub.interrupt().await, Some(0));
    }
}

/// How many students the import brings: enough that a hub is killed in the middle of them.
const MANY: usize = 20_000;

/// Where webhooks are heard, and what they say: the event's id, its type and its state.
async fn listen() -> (String, UnboundedReceiver<(Uuid, String)>) {
    let (sender, heard) = unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hear = async move |headers: axum::http::HeaderMap, axum::Json(told): axum::Json<Value>| {
        let id = headers["webhook-id"].to_str().unwrap().parse().unwrap();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // A hub that is killed before it has our answer tells the same once more, after this test at the latest.
        drop(sender.send((id, format!("{} {}", word(&told["type"]), word(&told["data"]["state"])))));
    };
    let router = axum::Router::new().route("/", axum::routing::post(hear));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/"), heard)
}

/// Hears on until it was told of so many events. Each is told under one id, by whichever hub and however often.
async fn hears(
    told: &mut BTreeMap<String, Vec<Uuid>>,
    heard: &mut UnboundedReceiver<(Uuid, String)>,
    count: usize,
) {
    while told.values().map(Vec::len).sum::<usize>() < count {
        let (id, what) = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
        let ids = told.entry(what).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}

/// Hubs over one database, and what they do.
struct Beside {
    site: Site,
    url: String,
    ports: [u16; HUBS],
}

impl Beside {
    async fn start(&self, which: usize) -> Program {
        start(&self.url, self.ports[which]).await
    }

    fn address(&self, which: usize) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[which]).into()
    }

    async fn write(&self, mutation: &str, kind: &str, shape: &str, input: Value) -> Value {
        let query = format!(
            "mutation($input: {kind}!) {{ {mutation}(input: $input) {{ errors {{ message }} {shape} }} }}"
        );
        let mut done = self.site.client.ask(&query, json!({"input": input})).await[mutation].take();
        assert_eq!(done["errors"], json!([]), "{mutation}");
        done.as_object_mut().unwrap().remove("errors");
        done
    }

    /// The session that is on, in another room.
    async fn held_in(&self, room: &str) {
        let hours = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
        let session = json!({"externalId": "NOW", "title": "NOW", "startsAt": hours(-1), "endsAt": hours(3),
                             "rooms": [room], "groups": ["G"]});
        self.site.client.save("sessions", json!([session])).await;
    }

    /// Whoever would write students waits, until this is handed to `killed_over`.
    async fn halted(&self) -> sqlx::PgConnection {
        let mut db = sqlx::PgConnection::connect(&self.url).await.unwrap();
        db.execute("BEGIN").await.unwrap();
        db.execute("LOCK TABLE student IN SHARE MODE").await.unwrap();
        db
    }

    /// Kills a hub once it has taken a piece of work up, and has it that its lease has run out.
    async fn killed_over(&self, mut db: sqlx::PgConnection, hub: &mut Program, table: &str) {
        let held = format!("SELECT COUNT(*) FROM {table} WHERE holder IS NOT NULL AND finished_at IS NULL");
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        let taken = async {
            while sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(held.clone()))
                .fetch_one(&mut db)
                .await
                .unwrap()
                == 0
            {
                looks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.unwrap();
        hub.kill().await;
        let left =
            format!("UPDATE {table} SET leased_until = 0 WHERE holder IS NOT NULL AND finished_at IS NULL");
        let left = db.execute(sqlx::AssertSqlSafe(left)).await.unwrap().rows_affected();
        assert_eq!(left, 1, "it was done before it was killed");
        db.execute("COMMIT").await.unwrap();
    }

    async fn ended(&self, kind: &str, id: &Value, states: &[&str]) -> Value {
        let more = if kind == "export" {
            "path byteSize objectCount failure"
        } else {
            "outcome { problems { message } }"
        };
        let query = format!("query($id: ID!) {{ {kind}(id: $id) {{ state {more} }} }}");
        let look = async || self.site.client.ask(&query, json!({"id": id})).await[kind].take();
        until(kind, look, |it| !it["state"].as_str().is_some_and(|state| states.contains(&state))).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_hub_had_in_hand_when_it_was_killed_others_end_and_door_listener_and_file_do_not_miss_it() {
    let server = TemporaryPostgres::start().unwrap();
    let url = server.url("rollcall");
    let site = Site::over(Some(url.clone())).await;
    let all = Beside { site, url, ports: [(); HUBS].map(|()| free_port()) };
    let (front, token) = (all.site.client.address, all.site.client.token.clone());
    let (mut a, mut b, mut c) = (all.start(0).await, all.start(1).await, all.start(2).await);
    let addresses = (0..HUBS).map(|which| all.address(which)).collect();
    let in_hand = Arc::new([(); HUBS].map(|()| watch::Sender::new(0)).to_vec());
    let balancer = tokio::spawn(balance(TcpListener::bind(front).await.unwrap(), addresses, in_hand));
    let (hook, mut heard) = listen().await;
    let events = ["IMPORT_FINISHED", "EXPORT_FINISHED", "SESSION_CHANGED"];
    all.write("saveWebhook", "WebhookInput", "webhook { id }", json!({"url": hook, "events": events})).await;
    all.site.client.save("rooms", json!([{"code": "R2", "building": "A"}])).await;
    let (mut reader, port) = osdp_reader().await;
    all.site.configure(Some(&port));
    let mut gateway = all.site.gateway();
    reader.line_with("light blue").await;

    // An import, whose one hub is killed over it; somebody swipes while there is none.
    let rows: String = (0..MANY).map(|n| format!("N{n},Student number {n},,Current\n")).collect();
    let file = format!("Student number,Name,Email,Status\n{rows}");
    let (status, upload) = upload_to(front, &token, "students.csv", file).await;
    assert_eq!(status, 201);
    for hub in [&mut a, &mut b] {
        assert_eq!(hub.interrupt().await, Some(0));
    }
    let mapping = include_str!("../../deploy/import/students.toml").replace("whole = true", "");
    let order = json!({"id": Uuid::new_v4(), "kind": "CSV", "source": "students", "mapping": mapping,
                       "uploadIds": [upload["uploadId"]]});
    let halted = all.halted().await;
    let import = all.write("startImport", "StartImportInput", "import { id }", order).await;
    all.killed_over(halted, &mut c, "import_job").await;
    assert_eq!(flashes(&mut reader, CARDS[0]).await, "flash green");
    (a, b) = (all.start(0).await, all.start(1).await);
    let id = &import["import"]["id"];
    let checked = all.ended("import", id, &["CHECKING"]).await;
    assert_eq!(checked["state"], "CHECKED", "{checked}");
    assert_eq!(all.site.swipes_are(1).await.len(), 1);
    let mut told = BTreeMap::new();
    hears(&mut told, &mut heard, 1).await;
    // The gateway hears at another hub of what is changed at whichever it is.
    all.held_in("R2").await;
    reader.line_with("light off").await;
    hears(&mut told, &mut heard, 2).await;

    // What was checked is applied by one that is killed over it.
    assert_eq!(b.interrupt().await, Some(0));
    let halted = all.halted().await;
    all.write("applyImport", "ApplyImportInput", "import { id }", json!({"importId": id})).await;
    all.killed_over(halted, &mut a, "import_job").await;
    (b, c) = (all.start(1).await, all.start(2).await);
    let applied = all.ended("import", id, &["CHECKED", "APPLYING"]).await;
    assert_eq!(applied["state"], "APPLIED", "{applied}");
    hears(&mut told, &mut heard, 3).await;
    let counted = all.site.client.ask("{ students { totalCount } }", json!({})).await;
    assert_eq!(counted["students"]["totalCount"], MANY + 5);

    // An export in the same way; its file is had in two parts from two hubs, one of which is gone by then.
    assert_eq!(b.interrupt().await, Some(0));
    let query = "query($first: Int, $after: String) { students(first: $first, after: $after) { nodes { number } \
                 pageInfo { hasNextPage endCursor } } }";
    let order = json!({"id": Uuid::new_v4(), "query": query});
    let halted = all.halted().await;
    let export = all.write("startExport", "StartExportInput", "export { id }", order).await;
    all.killed_over(halted, &mut c, "export_job").await;
    (a, b) = (all.start(0).await, all.start(1).await);
    let export = all.ended("export", &export["export"]["id"], &["RUNNING"]).await;
    assert_eq!((&export["state"], &export["objectCount"]), (&json!("DONE"), &json!(MANY + 5)), "{export}");
    hears(&mut told, &mut heard, 4).await;
    let half = export["byteSize"].as_i64().unwrap() / 2;
    let path = export["path"].as_str().unwrap();
    let first = fetch_from(all.address(0), &token, path, Some(&format!("bytes=0-{}", half - 1))).await;
    a.kill().await;
    let second = fetch_from(all.address(1), &token, path, Some(&format!("bytes={half}-"))).await;
    assert_eq!((first.0, second.0), (206, 206));
    let text = String::from_utf8([&first.2[..], &second.2[..]].concat()).unwrap();
    let mut numbers: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].take()).collect();
    numbers.sort_by_key(ToString::to_string);
    numbers.dedup();
    assert_eq!(numbers.len(), MANY + 5);

    all.held_in("R1").await;
    reader.line_with("light blue").await;
    hears(&mut told, &mut heard, 5).await;
    let told: Vec<(&str, usize)> = told.iter().map(|(what, ids)| (&what[..], ids.len())).collect();
    assert_eq!(
        told,
        [
            ("EXPORT_FINISHED DONE", 1),
            ("IMPORT_FINISHED APPLIED", 1),
            ("IMPORT_FINISHED CHECKED", 1),
            ("SESSION_CHANGED ", 2)
        ]
    );
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    balancer.abort();
    assert_eq!(b.interrupt().await, Some(0));
}
