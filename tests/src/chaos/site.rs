//! A hub and a gateway as they are installed, each a process of its own, with one room's doors and many cards.
//!
//! Made by every suite; what runs where (a mount, a network namespace, behind a preloaded library) is the suite's
//! to say. Never attacks anything itself.

#![expect(clippy::unwrap_used, reason = "a suite that cannot be set up should stop at once, and say where")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reader_sim::crowd::credentials;
use reader_sim::plan::Credential;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};

use super::process::{Process, Wrap, binary};
use crate::programs::{Client, PATIENCE, free_port};

/// Students; each has many cards.
pub const STUDENTS: u32 = 40;
/// The first so many are on the class list of every session.
pub const LISTED: u32 = 30;
/// Readers that talk MQTT: M0, M1, ….
pub const MQTT_READERS: usize = 4;
/// Readers on the one OSDP bus: D0, D1.
pub const OSDP_READERS: usize = 2;
/// How many things go into one save.
const BULK: usize = 2_000;
/// How long between two looks at something that no event tells.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A session at the room's door.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Its id.
    pub id: &'static str,
    /// Its start, in minutes from now.
    pub starts: i64,
    /// Its end, in minutes from now.
    pub ends: i64,
    /// Who is on its class list.
    pub group: &'static str,
}

/// The group of the first [`LISTED`] students.
pub const LISTED_GROUP: &str = "G";
/// The group of all others.
pub const OTHER_GROUP: &str = "H";

/// What a site is made of.
#[derive(Debug, Clone)]
pub struct Layout {
    /// How many cards there are; card `i` is that of student `i % STUDENTS`.
    pub cards: u32,
    /// The sessions.
    pub sessions: Vec<Held>,
    /// Where the hub listens.
    pub hub: SocketAddr,
    /// By what address the gateway reaches it.
    pub hub_url: String,
    /// What the hub runs behind.
    pub hub_wrap: Wrap,
    /// What the gateway runs behind.
    pub gateway_wrap: Wrap,
    /// The gateway's data; a folder of the site's own when none.
    pub data: Option<PathBuf>,
    /// The journal's quota.
    pub journal_mib: u64,
}

impl Layout {
    /// A hub on loopback, a session that is open now, and so many cards.
    #[must_use]
    pub fn new(cards: u32) -> Self {
        let hub = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self {
            cards,
            sessions: vec![Held { id: "NOW", starts: -60, ends: 180, group: LISTED_GROUP }],
            hub,
            hub_url: format!("http://{hub}"),
            hub_wrap: Wrap::default(),
            gateway_wrap: Wrap::default(),
            data: None,
            journal_mib: 4_096,
        }
    }
}

/// A swipe, as the hub has it.
#[derive(Debug, Clone)]
pub struct HubSwipe {
    /// The card's place, as in [`credential`]; none for a card that nobody has.
    pub card: Option<u32>,
    /// The reader's code.
    pub reader: String,
    /// Not before.
    pub earliest: Timestamp,
    /// Not after.
    pub latest: Timestamp,
    /// What was shown.
    pub light: String,
    /// The sessions that it counts for.
    pub sessions: Vec<String>,
    /// The gateway's clock was in step with a time server.
    pub synced: bool,
    /// Its id.
    pub id: String,
}

/// A folder with a hub's database and one gateway's files.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// What it is made of; what programs run behind may be changed between two starts.
    pub layout: Layout,
    /// The hub's GraphQL.
    pub client: Client,
    /// Where the gateway's MQTT broker listens.
    pub broker_port: u16,
}

/// The student of a card.
#[must_use]
pub fn student(card: u32) -> u32 {
    card % STUDENTS
}

/// A student's number, as the hub has it.
#[must_use]
pub fn number(student: u32) -> String {
    format!("S{student}")
}

/// The card's student is on the class list.
#[must_use]
pub fn is_listed(card: u32) -> bool {
    student(card) < LISTED
}

/// What a reader sees of a card.
#[must_use]
pub fn credential(card: u32) -> Credential {
    let [a, b, c, d] = card.to_be_bytes();
    credentials::uid(&[0x04, 0xC4, a, b, c, d, 0x80])
}

impl Site {
    /// Makes the database, the tokens and the timetable. Nothing runs afterwards.
    pub async fn new(layout: Layout) -> Self {
        let folder = TempDir::with_prefix("rollcall-chaos-").unwrap();
        let client = Client { address: layout.hub, token: String::new() };
        let mut site = Self { folder, layout, client, broker_port: free_port() };
        site.client.token = site.token(&["--role", "ADMINISTRATOR"]).await;
        let mut hub = site.hub().await;
        site.timetable().await;
        let token = site.token(&["--role", "GATEWAY", "--gateway", "GW-A"]).await;
        std::fs::write(site.path("token"), token).unwrap();
        hub.interrupt().await;
        site
    }

    /// A file in the site's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The gateway's data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.layout.data.clone().unwrap_or_else(|| self.path("data"))
    }

    /// Keeps the folder, logs and all, for a person to look at; gives it.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    async fn token(&self, role: &[&str]) -> String {
        let database = self.database();
        let mut command = tokio::process::Command::new(binary("rollcall-hub"));
        command.args(["token", "create", "--database", &database, "--name", role[1]]).args(role);
        let ended = command.output().await.unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap().lines().last().unwrap().to_owned()
    }

    fn database(&self) -> String {
        format!("sqlite:{}", self.path("hub.sqlite").display())
    }

    /// The hub's write-ahead log: it grows with every commit.
    #[must_use]
    pub fn hub_wal(&self) -> PathBuf {
        self.path("hub.sqlite-wal")
    }

    /// Starts the hub, and waits until it listens.
    pub async fn hub(&self) -> Process {
        let (listen, database) = (self.layout.hub.to_string(), self.database());
        let arguments = ["serve", "--listen", &listen, "--database", &database];
        let mut hub =
            Process::start("rollcall-hub", &arguments, &self.layout.hub_wrap, &self.path("hub.log"));
        let deadline = Instant::now() + PATIENCE;
        let mut looks = interval(LOOK_EVERY);
        while TcpStream::connect(self.layout.hub).await.is_err() {
            assert!(hub.runs(), "the hub ended; see {}", self.path("hub.log").display());
            assert!(Instant::now() < deadline, "the hub does not listen after {PATIENCE:?}");
            looks.tick().await;
        }
        hub
    }

    /// Writes the gateway's configuration; the OSDP readers hang on `bus`.
    pub fn configure(&self, bus: &Path) {
        use std::fmt::Write;
        let mut text = format!(
            "gateway = 'GW-A'\ndata = '{}'\n[hub]\nurl = '{}'\ntoken_file = '{}'\ntime_without_tls = true\n[journal]\nmax_mib = {}\n\
             [mqtt]\nlisten = '127.0.0.1:{}'\n[page]\nlisten = '127.0.0.1:0'\n[[bus]]\nport = '{}'\nbaud = 115200\n",
            self.data().display(),
            self.layout.hub_url,
            self.path("token").display(),
            self.layout.journal_mib,
            self.broker_port,
            bus.display(),
        );
        for reader in 0..OSDP_READERS {
            write!(text, "[[bus.reader]]\ncode = 'D{reader}'\naddress = {}\n", reader + 1).unwrap();
        }
        std::fs::write(self.path("gateway.toml"), text).unwrap();
    }

    /// Starts the gateway; what it says is added to `gateway.log`.
    #[must_use]
    pub fn gateway(&self) -> Process {
        let config = self.path("gateway.toml");
        let arguments = ["run", "--config", config.to_str().unwrap()];
        Process::start("rollcall-gateway", &arguments, &self.layout.gateway_wrap, &self.path("gateway.log"))
    }

    /// Lines of the gateway's log that hold a text.
    #[must_use]
    pub fn gateway_said(&self, text: &str) -> Vec<String> {
        let log = std::fs::read(self.path("gateway.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    async fn timetable(&self) {
        let now = Timestamp::now();
        let minutes = |minutes: i64| (now + SignedDuration::from_mins(minutes)).to_string();
        let client = &self.client;
        client.save("buildings", json!([{"code": "A", "name": "Building A"}])).await;
        client.save("rooms", json!([{"code": "R1", "building": "A"}])).await;
        client.save("gateways", json!([{"code": "GW-A", "building": "A"}])).await;
        let reader =
            |code: String, kind: &str| json!({"code": code, "gateway": "GW-A", "room": "R1", "kind": kind});
        let readers = (0..MQTT_READERS).map(|it| reader(format!("M{it}"), "MQTT"));
        let readers = readers.chain((0..OSDP_READERS).map(|it| reader(format!("D{it}"), "OSDP")));
        client.save("readers", json!(readers.collect::<Vec<_>>())).await;
        client.save("courses", json!([{"code": "C", "title": "Course"}])).await;
        let groups = [LISTED_GROUP, OTHER_GROUP].map(|code| json!({"code": code, "course": "C"}));
        client.save("groups", json!(groups)).await;
        let students = (0..STUDENTS).map(|it| json!({"number": number(it), "name": format!("Student {it}")}));
        client.save("students", json!(students.collect::<Vec<_>>())).await;
        let cards: Vec<u32> = (0..self.layout.cards).collect();
        for some in cards.chunks(BULK) {
            let some = some.iter().map(|card| {
                let uid: String = credential(*card).raw.iter().map(|byte| format!("{byte:02X}")).collect();
                json!({"code": format!("K{card}"), "student": number(student(*card)),
                       "credentials": [{"uid": uid}], "from": minutes(-60 * 24 * 60)})
            });
            client.save("cards", json!(some.collect::<Vec<_>>())).await;
        }
        let from = (now - SignedDuration::from_hours(24 * 50)).strftime("%F").to_string();
        let stays = (0..STUDENTS).map(|it| {
            let group = if it < LISTED { LISTED_GROUP } else { OTHER_GROUP };
            json!({"group": group, "student": number(it), "from": from})
        });
        client.save("memberships", json!(stays.collect::<Vec<_>>())).await;
        let sessions = self.layout.sessions.iter().map(|it| {
            json!({"externalId": it.id, "title": it.id, "startsAt": minutes(it.starts),
                   "endsAt": minutes(it.ends), "rooms": ["R1"], "groups": [it.group]})
        });
        client.save("sessions", json!(sessions.collect::<Vec<_>>())).await;
    }

    /// How many swipes the hub has.
    pub async fn swipe_count(&self) -> u64 {
        let found = self.client.ask("{ swipes(first: 1) { totalCount } }", json!({})).await;
        found["swipes"]["totalCount"].as_u64().unwrap()
    }

    /// All swipes that the hub has.
    pub async fn swipes(&self) -> Vec<HubSwipe> {
        let query = "query($after: String) { swipes(first: 200, after: $after) {
            pageInfo { hasNextPage endCursor }
            nodes { swipeId earliestAt latestAt clockTrust card { code } reader { code } shown { light }
                    sessions { externalId } } } }";
        let mut found = Vec::new();
        let mut after = Value::Null;
        loop {
            let page = self.client.ask(query, json!({"after": after})).await["swipes"].take();
            found.extend(page["nodes"].as_array().unwrap().iter().map(read_swipe));
            if page["pageInfo"]["hasNextPage"] != true {
                return found;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
    }

    /// The students whom the register of a session has as PRESENT.
    pub async fn present(&self, session: &str) -> BTreeSet<String> {
        let query = "query($id: String!) { session(by: {externalId: $id}) { register {
            entries(first: 200) { nodes { status student { number } } } } } }";
        let found = self.client.ask(query, json!({"id": session})).await;
        let entries = found["session"]["register"]["entries"]["nodes"].as_array().unwrap();
        let present = entries.iter().filter(|entry| entry["status"] == "PRESENT");
        present.map(|entry| entry["student"]["number"].as_str().unwrap().to_owned()).collect()
    }
}

fn read_swipe(swipe: &Value) -> HubSwipe {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    HubSwipe {
        card: swipe["card"]["code"].as_str().and_then(|code| code.strip_prefix('K')?.parse().ok()),
        reader: word(&swipe["reader"]["code"]),
        earliest: word(&swipe["earliestAt"]).parse().unwrap(),
        latest: word(&swipe["latestAt"]).parse().unwrap(),
        light: word(&swipe["shown"]["light"]),
        sessions: swipe["sessions"].as_array().unwrap().iter().map(|it| word(&it["externalId"])).collect(),
        synced: swipe["clockTrust"] == "SYNCED",
        id: word(&swipe["swipeId"]),
    }
}
