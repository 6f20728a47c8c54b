//! The three programs as they are installed: real processes, real clocks, real sockets, a real pty.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rollcall_tests::programs::{Client, Ended, PATIENCE, Program, free_port, run, run_with, until};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const HUB: &str = "rollcall-hub";
const GATEWAY: &str = "rollcall-gateway";
const SIMULATOR: &str = "reader-sim";

/// What is typed to hold each student's card to a reader: S1 to S4 are on the class list, S5 is not.
const CARDS: [&str; 5] = [
    "uid 04A1B2C3D40001",
    "h10301 42 12345",
    "uid 04A1B2C3D40003",
    "uid 04A1B2C3D40004",
    "uid 04A1B2C3D40005",
];
const NOBODYS: &str = "uid 04FFFFFFFFFF01";
/// The bits of the first card, as an MQTT reader sends them.
const FIRST_UID: &str = "04A1B2C3D40001";

/// A folder with a hub's database and one gateway's files. Readers: D1 (OSDP) and D2 (MQTT), both at room R1.
struct Site {
    folder: TempDir,
    hub_port: u16,
    broker_port: u16,
    client: Client,
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.to_vec()
}

fn last_line(ended: &Ended) -> String {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out.lines().last().unwrap().to_owned()
}

/// It failed, and what it said names all of these.
fn failed_naming(ended: &Ended, named: &[&str]) {
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    for word in named {
        assert!(ended.err.contains(word), "no '{word}' in: {}", ended.err);
    }
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
}

impl Site {
    /// A site whose hub holds the timetable; session NOW is open, BEFORE was held a day earlier. Nothing
    /// runs yet.
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let hub_port = free_port();
        let client = Client { address: ([127, 0, 0, 1], hub_port).into(), token: String::new() };
        let mut site = Self { folder, hub_port, broker_port: free_port(), client };
        let database = site.database();
        let made = words(&["token", "create", "--database", &database, "--name", "admin", "--role"]);
        site.client.token = last_line(&run(HUB, &[&made[..], &["ADMINISTRATOR"]].concat()).await);
        let mut hub = site.hub().await;
        site.timetable().await;
        let made = words(&["token", "create", "--database", &database, "--name", "gw", "--role", "GATEWAY"]);
        let token = run(HUB, &[&made[..], &["--gateway", "GW-A"]].concat()).await;
        std::fs::write(site.path("token"), last_line(&token)).unwrap();
        assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn database(&self) -> String {
        format!("sqlite:{}", self.path("hub.sqlite").display())
    }

    async fn timetable(&self) {
        let now = Timestamp::now();
        let hours = |hours: i64| (now + SignedDuration::from_hours(hours)).to_string();
        let client = &self.client;
        client.save("buildings", json!([{"code": "A", "name": "Building A"}])).await;
        client.save("rooms", json!([{"code": "R1", "building": "A"}])).await;
        client.save("gateways", json!([{"code": "GW-A", "building": "A"}])).await;
        let reader =
            |code: &str, kind: &str| json!({"code": code, "gateway": "GW-A", "room": "R1", "kind": kind});
        client.save("readers", json!([reader("D1", "OSDP"), reader("D2", "MQTT")])).await;
        client.save("courses", json!([{"code": "C", "title": "Course"}])).await;
        client.save("groups", json!([{"code": "G", "course": "C"}])).await;
        let numbers = ["S1", "S2", "S3", "S4", "S5"];
        let students = numbers.map(|number| json!({"number": number, "name": format!("Student {number}")}));
        client.save("students", json!(students)).await;
        let cards: Vec<Value> = std::iter::zip(numbers, CARDS)
            .map(|(number, typed)| {
                let credential = match typed.split(' ').collect::<Vec<_>>()[..] {
                    ["uid", uid] => json!({"uid": uid}),
                    _ => json!({"format": "H10301", "facility": 42, "number": 12345}),
                };
                json!({"code": format!("K-{number}"), "student": number, "credentials": [credential],
                       "from": hours(-24 * 60)})
            })
            .collect();
        client.save("cards", json!(cards)).await;
        let from = (now - SignedDuration::from_hours(24 * 50)).strftime("%F").to_string();
        let stays =
            ["S1", "S2", "S3", "S4"].map(|student| json!({"group": "G", "student": student, "from": from}));
        client.save("memberships", json!(stays)).await;
        let session = |id: &str, starts: i64, ends: i64| {
            json!({"externalId": id, "title": id, "startsAt": hours(starts), "endsAt": hours(ends),
                   "rooms": ["R1"], "groups": ["G"]})
        };
        client.save("sessions", json!([session("BEFORE", -26, -24), session("NOW", -1, 3)])).await;
    }

    async fn hub(&self) -> Program {
        let listen = format!("127.0.0.1:{}", self.hub_port);
        let database = self.database();
        let mut hub = Program::start(HUB, &["serve", "--listen", &listen, "--database", &database]);
        hub.line_with("serving http://").await;
        hub
    }

    /// Writes the gateway's configuration, with an OSDP reader if there is a port.
    fn configure(&self, osdp: Option<&str>) {
        let bus = osdp.map_or_else(String::new, |port| {
            format!("[[bus]]\nport = '{port}'\n[[bus.reader]]\ncode = 'D1'\naddress = 1\n")
        });
        self.write_config(&format!("http://127.0.0.1:{}", self.hub_port), "", &bus);
    }

    fn write_config(&self, url: &str, hub: &str, rest: &str) {
        let text = format!(
            "gateway = 'GW-A'\ndata = '{}'\n[hub]\nurl = '{url}'\ntoken_file = '{}'\n{hub}\n[mqtt]\nlisten = \
             '127.0.0.1:{}'\n{rest}",
            self.path("data").display(),
            self.path("token").display(),
            self.broker_port
        );
        std::fs::write(self.path("gateway.toml"), text).unwrap();
    }

    fn config(&self) -> String {
        self.path("gateway.toml").to_str().unwrap().to_owned()
    }

    fn gateway(&self) -> Program {
        Program::start(GATEWAY, &["run", "--config", &self.config()])
    }

    /// Runs a gateway that is expected to fail.
    async fn failing_gateway(&self) -> Ended {
        run(GATEWAY, &["run", "--config", &self.config()]).await
    }

    fn mqtt_reader(&self) -> Program {
        let broker = format!("mqtt://127.0.0.1:{}", self.broker_port);
        Program::start(SIMULATOR, &["reader", "--mqtt", &broker, "--gateway", "GW-A", "--code", "D2"])
    }

    /// All swipes that the hub holds, oldest first.
    async fn swipes(&self) -> Vec<Value> {
        let query = "{ swipes(first: 200) { nodes { swipeId swipedAt earliestAt latestAt decision reason
            shown { light reason } reader { code } student { number } sessions { externalId } } } }";
        let mut swipes = self.client.ask(query, json!({})).await["swipes"]["nodes"].take();
        let mut swipes = std::mem::take(swipes.as_array_mut().unwrap());
        swipes.sort_by_key(|swipe| swipe["swipedAt"].as_str().unwrap().to_owned());
        swipes
    }

    /// Waits until the hub holds so many swipes.
    async fn swipes_are(&self, count: usize) -> Vec<Value> {
        until("swipes at the hub", || self.swipes(), |swipes| swipes.len() >= count).await
    }

    /// The students whom the register of a session has as PRESENT.
    async fn present(&self, session: &str) -> Vec<String> {
        let query = "query($id: String!) { session(by: {externalId: $id}) { register {
            entries(first: 100) { nodes { status student { number } } } } } }";
        let found = self.client.ask(query, json!({"id": session})).await;
        let entries = found["session"]["register"]["entries"]["nodes"].as_array().unwrap().clone();
        let present = entries.iter().filter(|entry| entry["status"] == "PRESENT");
        let mut numbers: Vec<String> =
            present.map(|entry| entry["student"]["number"].as_str().unwrap().to_owned()).collect();
        numbers.sort();
        numbers
    }
}

/// A simulated OSDP reader on a new pty, and the pty's path.
async fn osdp_reader() -> (Program, String) {
    let mut reader = Program::start(SIMULATOR, &["reader", "--osdp", "new", "--code", "D1"]);
    let line = reader.line_with("pty ").await;
    (reader, line.strip_prefix("pty ").unwrap().to_owned())
}

/// Holds a card to a reader and waits for its flash.
async fn flashes(reader: &mut Program, card: &str) -> String {
    reader.say(card).await;
    reader.line_with("flash ").await
}

fn numbers_and_lights(swipes: &[Value]) -> Vec<(Option<&str>, &str)> {
    swipes
        .iter()
        .map(|it| (it["student"]["number"].as_str(), it["shown"]["light"].as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_at_both_kinds_of_reader_are_answered_and_each_stands_once_in_the_hub() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut osdp, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    let mut mqtt = site.mqtt_reader();
    osdp.line_with("light blue").await;
    mqtt.line_with("light blue").await;

    assert_eq!(flashes(&mut osdp, CARDS[0]).await, "flash green");
    assert_eq!(flashes(&mut osdp, CARDS[1]).await, "flash green");
    assert_eq!(flashes(&mut osdp, NOBODYS).await, "flash red");
    assert_eq!(flashes(&mut mqtt, CARDS[2]).await, "flash green");
    assert_eq!(mqtt.line_with("ack ").await, "ack 1 recorded");
    assert_eq!(flashes(&mut mqtt, CARDS[4]).await, "flash red");
    assert_eq!(mqtt.line_with("ack ").await, "ack 2 not_recorded");
    osdp.say("uid 04").await;
    osdp.line_with("error: a UID has 4, 7 or 10 bytes").await;

    let present = until("the register", || site.present("NOW"), |present| present.len() >= 3).await;
    assert_eq!(present, ["S1", "S2", "S3"]);
    site.swipes_are(5).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    osdp.line_with("light off").await;
    mqtt.line_with("light off").await;
    let swipes = site.swipes().await;
    let wanted = [
        (Some("S1"), "GREEN"),
        (Some("S2"), "GREEN"),
        (None, "RED"),
        (Some("S3"), "GREEN"),
        (Some("S5"), "RED"),
    ];
    assert_eq!(numbers_and_lights(&swipes), wanted);
    assert_eq!(site.present("BEFORE").await, Vec::<String>::new());
    assert_eq!(osdp.take_with("flash"), Vec::<String>::new());
    assert_eq!(mqtt.take_with("flash"), Vec::<String>::new());
    for program in [&mut osdp, &mut mqtt, &mut hub] {
        assert_eq!(program.interrupt().await, Some(0), "{}", program.all());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_without_its_hub_works_on_also_after_a_restart_and_hands_everything_over_once() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut osdp, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    osdp.line_with("light blue").await;
    assert_eq!(flashes(&mut osdp, CARDS[0]).await, "flash green");
    site.swipes_are(1).await;
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());

    assert_eq!(flashes(&mut osdp, CARDS[1]).await, "flash green");
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    osdp.line_with("light off").await;
    osdp.forget();
    let mut gateway = site.gateway();
    osdp.line_with("light blue").await;
    let flash = flashes(&mut osdp, CARDS[2]).await;
    assert_eq!(flash, "flash green", "{}\n{}", gateway.all(), osdp.all());
    assert_eq!(flashes(&mut osdp, CARDS[1]).await, "flash green");
    assert_eq!(flashes(&mut osdp, CARDS[4]).await, "flash red");
    gateway.line_with("the hub cannot be reached").await;

    let mut hub = site.hub().await;
    site.swipes_are(5).await;
    let present = until("the register", || site.present("NOW"), |present| present.len() >= 3).await;
    assert_eq!(present, ["S1", "S2", "S3"]);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let swipes = site.swipes().await;
    let seen: Vec<Option<&str>> = numbers_and_lights(&swipes).into_iter().map(|(number, _)| number).collect();
    assert_eq!(seen, [Some("S1"), Some("S2"), Some("S3"), Some("S2"), Some("S5")]);
    assert_eq!(
        swipes[3]["shown"]["reason"], "ALREADY_RECORDED",
        "what was green before the restart is still known"
    );
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_killed_right_after_green_has_the_swipe_and_the_hub_gets_it_once() {
    let site = Site::new().await;
    let _hub = site.hub().await;
    let (mut osdp, port) = osdp_reader().await;
    site.configure(Some(&port));
    for (round, card) in (1..).zip(&CARDS[..4]) {
        let mut gateway = site.gateway();
        gateway.line_with("reader online").await;
        if round == 1 {
            osdp.line_with("light blue").await;
        }
        assert_eq!(flashes(&mut osdp, card).await, "flash green", "{}", gateway.all());
        gateway.kill().await;
    }
    let mut gateway = site.gateway();
    site.swipes_are(4).await;
    until("the register", || site.present("NOW"), |present| present.len() == 4).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let swipes = site.swipes().await;
    let wanted = ["S1", "S2", "S3", "S4"].map(|number| (Some(number), "GREEN"));
    assert_eq!(numbers_and_lights(&swipes), wanted);
    assert!(!gateway.all().contains("damaged"), "{}", gateway.all());
}

/// A reader at D2 that does exactly what the test says.
struct RawReader {
    client: AsyncClient,
    said: UnboundedReceiver<(String, Value)>,
    unread: VecDeque<(String, Value)>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for RawReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawReader {
    /// Connects as soon as the broker is there; once subscribed, it says that it is ready.
    async fn connect(site: &Site) -> Self {
        let mut options = MqttOptions::new("D2", "127.0.0.1", site.broker_port);
        options.set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 100);
        let (notes, said) = unbounded_channel();
        let (up, subscribed) = tokio::sync::oneshot::channel();
        let (mut up, subscriber) = (Some(up), client.clone());
        let task = tokio::spawn(async move {
            let mut again = tokio::time::interval(Duration::from_millis(50));
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let filters = ["swipe/ack", "light/flash", "light/set"]
                            .map(|kind| rumqttc::SubscribeFilter::new(topic(kind), QoS::AtLeastOnce));
                        subscriber.try_subscribe_many(filters).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        if let Some(up) = up.take() {
                            up.send(()).unwrap();
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let value = serde_json::from_slice(&publish.payload).unwrap();
                        if notes.send((publish.topic, value)).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => drop(again.tick().await),
                }
            }
        });
        tokio::time::timeout(PATIENCE, subscribed).await.unwrap().unwrap();
        client.publish(topic("state"), QoS::AtLeastOnce, true, "ready").await.unwrap();
        let mut reader = Self { client, said, unread: VecDeque::new(), task };
        while reader.next("light/set").await["base"] != "blue" {}
        reader
    }

    /// The next message of a kind; others stay to be waited for.
    async fn next(&mut self, kind: &str) -> Value {
        let wanted = topic(kind);
        if let Some(at) = self.unread.iter().position(|(topic, _)| *topic == wanted) {
            return self.unread.remove(at).unwrap().1;
        }
        let next = async {
            while let Some((topic, value)) = self.said.recv().await {
                if topic == wanted {
                    return value;
                }
                self.unread.push_back((topic, value));
            }
            panic!("the connection's task ended")
        };
        let found = tokio::time::timeout(PATIENCE, next).await;
        found.unwrap_or_else(|_| panic!("no {kind} came"))
    }

    /// Sends a swipe of the first card and gives the result that it is acknowledged with.
    async fn swipe(&mut self, boot: &str, seq: u64, mono_ms: i64, historical: bool) -> String {
        let swipe = json!({"boot": boot, "seq": seq, "uid": FIRST_UID, "bits": 56, "mono_ms": mono_ms,
                           "historical": historical});
        self.client.publish(topic("swipe"), QoS::AtLeastOnce, false, swipe.to_string()).await.unwrap();
        let ack = self.next("swipe/ack").await;
        assert_eq!((&ack["boot"], &ack["seq"]), (&json!(boot), &json!(seq)));
        ack["result"].as_str().unwrap().to_owned()
    }
}

fn topic(kind: &str) -> String {
    format!("att/v1/GW-A/reader/D2/{kind}")
}

fn ms(instant: &Value) -> i64 {
    instant.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swipe_sent_three_times_also_to_a_restarted_gateway_is_acknowledged_each_time_and_counts_once() {
    let site = Site::new().await;
    let _hub = site.hub().await;
    site.configure(None);
    let mut gateway = site.gateway();
    let mut reader = RawReader::connect(&site).await;
    for _ in 0..3 {
        assert_eq!(reader.swipe("b7", 1, 5_000, false).await, "recorded");
    }
    drop(reader);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let mut gateway = site.gateway();
    let mut reader = RawReader::connect(&site).await;
    assert_eq!(reader.swipe("b7", 1, 5_000, true).await, "recorded");
    drop(reader);
    gateway.kill().await;
    let mut gateway = site.gateway();
    let mut reader = RawReader::connect(&site).await;
    assert_eq!(reader.swipe("b7", 1, 5_000, true).await, "recorded");
    assert_eq!(reader.swipe("b7", 2, 6_000, false).await, "recorded");
    site.swipes_are(2).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(site.swipes().await.len(), 2, "one for each number");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_swipe_is_dated_by_its_readers_clock_and_one_of_another_start_is_kept_with_an_interval() {
    let site = Site::new().await;
    let _hub = site.hub().await;
    site.configure(None);
    let mut gateway = site.gateway();
    let mut reader = RawReader::connect(&site).await;
    // Nothing is known of this start: it may have been at any time, in the window or before.
    assert_eq!(reader.swipe("a1", 9, 70_000, true).await, "kept");
    assert_eq!(reader.next("light/flash").await["colour"], "amber");
    assert_eq!(reader.swipe("b7", 1, 100_000, false).await, "recorded");
    assert_eq!(reader.swipe("b7", 2, 40_000, true).await, "recorded");
    // Another start, but after the last message of b7, and the window has been open ever since.
    assert_eq!(reader.swipe("c3", 1, 10, true).await, "recorded");
    let swipes = site.swipes_are(4).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());

    let exact = |it: &&Value| it["earliestAt"] == it["latestAt"];
    let dated: Vec<&Value> = swipes.iter().filter(exact).collect();
    assert_eq!(dated.len(), 2, "{swipes:#?}");
    let apart = ms(&dated[1]["swipedAt"]) - ms(&dated[0]["swipedAt"]);
    assert_eq!(apart, 60_000, "{dated:#?}");
    let lived = |it: &&Value| it["earliestAt"] != it["latestAt"] && it["shown"]["light"] == "GREEN";
    let other: Vec<&Value> = swipes.iter().filter(lived).collect();
    assert_eq!(other.len(), 1, "{swipes:#?}");
    assert!(ms(&other[0]["earliestAt"]) >= ms(&dated[1]["swipedAt"]), "since the last of b7: {swipes:#?}");
    let kept: Vec<&Value> = swipes.iter().filter(|it| it["shown"]["light"] == "AMBER").collect();
    assert_eq!(kept.len(), 1, "{swipes:#?}");
    assert!(ms(&kept[0]["latestAt"]) > ms(&kept[0]["earliestAt"]), "{kept:#?}");
    // It cannot have been before the reader hung there: nobody came to a session of the day before.
    assert_eq!(site.present("BEFORE").await, Vec::<String>::new());
    assert!(ms(&kept[0]["latestAt"]) <= ms(&dated[1]["swipedAt"]), "{kept:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_mqtt_reader_whose_gateway_was_away_hands_its_swipes_in_when_it_is_back() {
    let site = Site::new().await;
    let _hub = site.hub().await;
    site.configure(None);
    let mut gateway = site.gateway();
    let mut reader = site.mqtt_reader();
    reader.line_with("light blue").await;
    gateway.kill().await;
    reader.forget();
    reader.say(CARDS[0]).await;
    reader.say(CARDS[1]).await;
    let mut gateway = site.gateway();
    for _ in 0..2 {
        reader.line_with("ack ").await;
    }
    site.swipes_are(2).await;
    until("the register", || site.present("NOW"), |present| present.len() == 2).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    assert_eq!(site.swipes().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_with_an_unknown_key_ends_the_gateway_with_the_key_and_the_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gateway.toml");
    let config = "gateway = 'GW-A'\ndata = 'd'\ncolour = 'blue'\n[hub]\nurl = 'http://127.0.0.1:1'\n\
                  token_file = 't'\n";
    std::fs::write(&file, config).unwrap();
    let path = file.to_str().unwrap();
    for command in ["run", "check-config"] {
        failed_naming(&run(GATEWAY, &[command, "--config", path]).await, &["colour", path]);
    }
    let missing = folder.path().join("none.toml");
    let ended = run(GATEWAY, &["run", "--config", missing.to_str().unwrap()]).await;
    failed_naming(&ended, &["there is no file", "none.toml", "deploy/gateway.toml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_may_be_named_and_overridden_by_the_environment() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gateway.toml");
    let config = "gateway = 'GW-A'\ndata = 'd'\n[hub]\nurl = 'http://127.0.0.1:1'\ntoken_file = 't'\n";
    std::fs::write(&file, config).unwrap();
    let path = file.to_str().unwrap();
    let environment =
        [("ROLLCALL_GATEWAY_CONFIG", path), ("ROLLCALL_GATEWAY_HUB__TOKEN_FILE", "nowhere/token")];
    let ended = run_with(GATEWAY, &["run"], &environment).await;
    failed_naming(&ended, &["nowhere/token", "rollcall-hub token create"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_empty_token_file_ends_the_gateway_with_the_file_and_how_to_make_one() {
    let folder = TempDir::new().unwrap();
    let (file, token) = (folder.path().join("gateway.toml"), folder.path().join("token"));
    let config = format!(
        "gateway = 'GW-A'\ndata = '{}'\n[hub]\nurl = 'http://127.0.0.1:1'\ntoken_file = '{}'\n",
        folder.path().join("data").display(),
        token.display()
    );
    std::fs::write(&file, config).unwrap();
    let arguments = ["run", "--config", file.to_str().unwrap()];
    let make = "rollcall-hub token create --role GATEWAY --gateway GW-A";
    failed_naming(&run(GATEWAY, &arguments).await, &[token.to_str().unwrap(), make]);
    std::fs::write(&token, "\n").unwrap();
    failed_naming(&run(GATEWAY, &arguments).await, &[token.to_str().unwrap(), "is empty"]);
}

async fn with_a_newer_version(database: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, x'00', 0)";
    sqlx::query(later).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_newer_version_or_another_engine_ends_the_hub_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hub.sqlite");
    let database = format!("sqlite:{}", path.display());
    let listen = format!("127.0.0.1:{}", free_port());
    let serve = ["serve", "--listen", &listen, "--database", &database];
    let create = ["token", "create", "--database", &database, "--name", "admin", "--role", "ADMINISTRATOR"];
    last_line(&run(HUB, &create).await);
    with_a_newer_version(&path).await;
    let said = ["hub.sqlite", "9999", "newer version", "Install that version"];
    failed_naming(&run(HUB, &serve).await, &said);
    failed_naming(&run(HUB, &create).await, &said);
    failed_naming(&run(HUB, &["check", "--database", &database]).await, &said);

    let elsewhere = ["serve", "--listen", &listen, "--database", "postgres://localhost/rollcall"];
    failed_naming(&run(HUB, &elsewhere).await, &["PostgreSQL", "sqlite:PATH"]);
    let garbled = folder.path().join("garbled.sqlite");
    std::fs::write(&garbled, [b'x'; 4_096]).unwrap();
    let garbled = format!("sqlite:{}", garbled.display());
    failed_naming(
        &run(HUB, &["serve", "--listen", &listen, "--database", &garbled]).await,
        &["garbled.sqlite"],
    );
    let unknown = ["token", "create", "--database", &database, "--name", "x", "--role", "KING"];
    failed_naming(&run(HUB, &unknown).await, &["KING", "ADMINISTRATOR", "GATEWAY"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_on_the_same_folder_or_broker_port_ends_with_what_is_taken() {
    let site = Site::new().await;
    site.configure(None);
    let mut gateway = site.gateway();
    let mut reader = site.mqtt_reader();
    reader.line_with("online").await;
    let data = site.path("data");
    failed_naming(
        &site.failing_gateway().await,
        &["another gateway runs", data.to_str().unwrap(), "stop it"],
    );

    let other = std::fs::read_to_string(site.path("gateway.toml")).unwrap();
    let elsewhere = site.path("elsewhere");
    let other = other.replace(data.to_str().unwrap(), elsewhere.to_str().unwrap());
    std::fs::write(site.path("gateway.toml"), other).unwrap();
    let port = site.broker_port.to_string();
    failed_naming(&site.failing_gateway().await, &[&port, "cannot be listened on", "another broker"]);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_port_or_certificate_cannot_be_used_ends_with_which() {
    let folder = TempDir::new().unwrap();
    let database = format!("sqlite:{}", folder.path().join("hub.sqlite").display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--database", &database, "--listen"];
    let ended = run(HUB, &[&serve[..], &[&listen]].concat()).await;
    failed_naming(&ended, &[&listen, "cannot be listened on", "--listen"]);
    let files = ["--tls-cert", "no-such.pem", "--tls-key", "no-such.key"];
    let ended = run(HUB, &[&serve[..], &["127.0.0.1:0"], &files[..]].concat()).await;
    failed_naming(&ended, &["no-such.pem", "no-such.key"]);
}

/// An authority's certificate, and a certificate of its for loopback with its key, all PEM.
fn certificates() -> (String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (certificate, server.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_trusts_a_hub_of_its_authority_and_no_other() {
    let site = Site::new().await;
    let (authority, certificate, key) = certificates();
    let (stranger, ..) = certificates();
    for (name, text) in
        [("ca.pem", authority), ("stranger.pem", stranger), ("hub.pem", certificate), ("hub.key", key)]
    {
        std::fs::write(site.path(name), text).unwrap();
    }
    // A second hub serves the same database without TLS, for the test to read.
    let mut reading = site.hub().await;
    let port = free_port();
    let (listen, database) = (format!("127.0.0.1:{port}"), site.database());
    let (pem, private) = (site.path("hub.pem"), site.path("hub.key"));
    let files = ["--tls-cert", pem.to_str().unwrap(), "--tls-key", private.to_str().unwrap()];
    let serve = ["serve", "--listen", &listen, "--database", &database];
    let mut hub = Program::start(HUB, &[&serve[..], &files[..]].concat());
    hub.line_with("serving https://").await;

    let url = format!("https://127.0.0.1:{port}");
    let with = |name: &str| format!("ca_file = '{}'", site.path(name).display());
    site.write_config(&url, &with("stranger.pem"), "");
    let mut gateway = site.gateway();
    let said = gateway.line_with("certificate").await;
    assert!(said.contains("hub.ca_file"), "no word on what to do: {said}");
    assert!(!gateway.all().contains("snapshot taken"), "{}", gateway.all());
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());

    site.write_config(&url, "", "");
    failed_naming(&site.failing_gateway().await, &["https", "hub.ca_file"]);
    site.write_config(&url, &with("none.pem"), "");
    failed_naming(&site.failing_gateway().await, &["none.pem"]);

    site.write_config(&url, &with("ca.pem"), "");
    let mut gateway = site.gateway();
    let mut reader = site.mqtt_reader();
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, CARDS[0]).await, "flash green");
    assert_eq!(numbers_and_lights(&site.swipes_are(1).await), [(Some("S1"), "GREEN")]);
    for program in [&mut gateway, &mut hub, &mut reading] {
        assert_eq!(program.interrupt().await, Some(0), "{}", program.all());
    }
}
