//! A hub and a gateway as separate programs, with one room, two readers and five students.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should stop at once, and say where")]

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Client, Ended, Program, free_port, run, until};

/// The hub's program.
pub const HUB: &str = "rollcall-hub";
/// The gateway's program.
pub const GATEWAY: &str = "rollcall-gateway";
/// The simulator's program.
pub const SIMULATOR: &str = "reader-sim";

/// What is typed to hold each student's card to a reader: S1 to S4 are on the class list, S5 is not.
pub const CARDS: [&str; 5] = [
    "uid 04A1B2C3D40001",
    "h10301 42 12345",
    "uid 04A1B2C3D40003",
    "uid 04A1B2C3D40004",
    "uid 04A1B2C3D40005",
];
/// A card that nobody has.
pub const NOBODYS: &str = "uid 04FFFFFFFFFF01";
/// The bits of the first card, as an MQTT reader sends them.
pub const FIRST_UID: &str = "04A1B2C3D40001";

/// A folder with a hub's database and one gateway's files. Readers: D1 (OSDP) and D2 (MQTT), both at room R1.
pub struct Site {
    folder: TempDir,
    database: Option<String>,
    /// Where the hub listens.
    pub hub_port: u16,
    /// Where the gateway's broker listens.
    pub broker_port: u16,
    /// The hub's GraphQL.
    pub client: Client,
}

/// Words of a command.
pub fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.to_vec()
}

/// The last line of what a program that ended well said.
pub fn last_line(ended: &Ended) -> String {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out.lines().last().unwrap().to_owned()
}

/// It failed, and what it said names all of these.
pub fn failed_naming(ended: &Ended, named: &[&str]) {
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    for word in named {
        assert!(ended.err.contains(word), "no '{word}' in: {}", ended.err);
    }
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
}

impl Site {
    /// A site whose hub holds the timetable; session NOW is open, BEFORE was held a day earlier. Nothing
    /// runs yet.
    pub async fn new() -> Self {
        Self::over(None).await
    }

    /// The same over a database elsewhere, which is empty.
    pub async fn over(database: Option<String>) -> Self {
        let folder = TempDir::new().unwrap();
        let hub_port = free_port();
        let client = Client { address: ([127, 0, 0, 1], hub_port).into(), token: String::new() };
        let mut site = Self { folder, database, hub_port, broker_port: free_port(), client };
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

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The hub's database.
    pub fn database(&self) -> String {
        let file = || format!("sqlite:{}", self.path("hub.sqlite").display());
        self.database.clone().unwrap_or_else(file)
    }

    /// Saves the timetable.
    pub async fn timetable(&self) {
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

    /// Starts the hub and waits until it serves.
    pub async fn hub(&self) -> Program {
        let listen = format!("127.0.0.1:{}", self.hub_port);
        let database = self.database();
        let mut hub = Program::start(HUB, &["serve", "--listen", &listen, "--database", &database]);
        hub.line_with("serving http://").await;
        hub
    }

    /// Writes the gateway's configuration, with an OSDP reader if there is a port.
    pub fn configure(&self, osdp: Option<&str>) {
        let bus = osdp.map_or_else(String::new, |port| {
            format!("[[bus]]\nport = '{port}'\n[[bus.reader]]\ncode = 'D1'\naddress = 1\n")
        });
        self.write_config(&format!("http://127.0.0.1:{}", self.hub_port), "", &bus);
    }

    /// Writes the gateway's configuration: the hub's address, more of its table, and more tables.
    pub fn write_config(&self, url: &str, hub: &str, rest: &str) {
        let text = format!(
            "gateway = 'GW-A'\ndata = '{}'\n[hub]\nurl = '{url}'\ntoken_file = '{}'\n{hub}\n[mqtt]\nlisten = \
             '127.0.0.1:{}'\n[page]\nlisten = '127.0.0.1:0'\n{rest}",
            self.path("data").display(),
            self.path("token").display(),
            self.broker_port
        );
        std::fs::write(self.path("gateway.toml"), text).unwrap();
    }

    /// The configuration's path.
    pub fn config(&self) -> String {
        self.path("gateway.toml").to_str().unwrap().to_owned()
    }

    /// Starts a hub over the same database behind TLS, by a certificate and its key in PEM; gives its address, too.
    pub async fn hub_by_https(&self, certificate: &str, key: &str) -> (Program, String) {
        let (pem, private) = (self.path("hub.pem"), self.path("hub.key"));
        std::fs::write(&pem, certificate).unwrap();
        std::fs::write(&private, key).unwrap();
        let port = free_port();
        let (listen, database) = (format!("127.0.0.1:{port}"), self.database());
        let files = ["--tls-cert", pem.to_str().unwrap(), "--tls-key", private.to_str().unwrap()];
        let serve = ["serve", "--listen", &listen, "--database", &database];
        let mut hub = Program::start(HUB, &[&serve[..], &files[..]].concat());
        hub.line_with("serving https://").await;
        (hub, format!("https://127.0.0.1:{port}"))
    }

    /// Starts the gateway.
    pub fn gateway(&self) -> Program {
        Program::start(GATEWAY, &["run", "--config", &self.config()])
    }

    /// Runs a gateway that is expected to fail.
    pub async fn failing_gateway(&self) -> Ended {
        run(GATEWAY, &["run", "--config", &self.config()]).await
    }

    /// Starts a simulated MQTT reader at D2.
    pub fn mqtt_reader(&self) -> Program {
        let broker = format!("mqtt://127.0.0.1:{}", self.broker_port);
        Program::start(SIMULATOR, &["reader", "--mqtt", &broker, "--gateway", "GW-A", "--code", "D2"])
    }

    /// All swipes that the hub holds, oldest first.
    pub async fn swipes(&self) -> Vec<Value> {
        let query = "{ swipes(first: 200) { nodes { swipeId swipedAt earliestAt latestAt decision reason
            shown { light reason } reader { code } student { number } sessions { externalId } } } }";
        let mut swipes = self.client.ask(query, json!({})).await["swipes"]["nodes"].take();
        let mut swipes = std::mem::take(swipes.as_array_mut().unwrap());
        swipes.sort_by_key(|swipe| crate::hub::ms(swipe["swipedAt"].as_str().unwrap()));
        swipes
    }

    /// Waits until the hub holds so many swipes.
    pub async fn swipes_are(&self, count: usize) -> Vec<Value> {
        until("swipes at the hub", || self.swipes(), |swipes| swipes.len() >= count).await
    }

    /// The students whom the register of a session has as PRESENT.
    pub async fn present(&self, session: &str) -> Vec<String> {
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
pub async fn osdp_reader() -> (Program, String) {
    let mut reader = Program::start(SIMULATOR, &["reader", "--osdp", "new", "--code", "D1"]);
    let line = reader.line_with("pty ").await;
    (reader, line.strip_prefix("pty ").unwrap().to_owned())
}

/// Holds a card to a reader and waits for its flash.
pub async fn flashes(reader: &mut Program, card: &str) -> String {
    reader.say(card).await;
    reader.line_with("flash ").await
}

/// Student and light of each swipe.
pub fn numbers_and_lights(swipes: &[Value]) -> Vec<(Option<&str>, &str)> {
    swipes
        .iter()
        .map(|it| (it["student"]["number"].as_str(), it["shown"]["light"].as_str().unwrap()))
        .collect()
}
