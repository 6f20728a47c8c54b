//! A small university on a hub: one building, two rooms, one class; and the gateway at its doors.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should stop at once, and say where")]

use std::collections::HashMap;

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::watch;
use uuid::Uuid;

use crate::hub::{TestHub, at, ms};

/// What a gateway must say to read its configuration and all cards.
const SELF: &str = "query($after: String) { gatewaySelf {
    config { gatewayId cardKeySecret cardKeyEpoch readers { readerId code roomId } }
    snapshot(first: 2000, after: $after) { cursor hasNextPage endCursor items { __typename
        ... on GatewayCard { keys holder } ... on GatewaySession { sessionId startsAt } } } } }";

/// The number of the student at an index, from 0.
#[must_use]
pub fn number(index: usize) -> String {
    format!("S{index:05}")
}

/// The UID of their card, 7 bytes.
#[must_use]
pub fn uid(index: usize) -> [u8; 7] {
    let [.., a, b] = index.to_be_bytes();
    [0x04, 0xA1, 0xB2, 0xC3, 0xD4, a, b]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Saves building A with rooms R1 and R2, gateway GW with readers D1 and D2 at their doors, course C, group G.
pub async fn estate(hub: &TestHub) {
    hub.done("saveBuildings", json!({"buildings": [{"code": "A", "name": "Building A"}]})).await;
    let rooms = ["R1", "R2"].map(|code| json!({"code": code, "building": "A"}));
    hub.done("saveRooms", json!({"rooms": rooms})).await;
    hub.done("saveGateways", json!({"gateways": [{"code": "GW", "building": "A"}]})).await;
    let readers = [("D1", "R1"), ("D2", "R2")]
        .map(|(code, room)| json!({"code": code, "gateway": "GW", "room": room, "kind": "OSDP"}));
    hub.done("saveReaders", json!({"readers": readers})).await;
    hub.done("saveCourses", json!({"courses": [{"code": "C", "title": "Course"}]})).await;
    hub.done("saveGroups", json!({"groups": [{"code": "G", "course": "C"}]})).await;
}

/// Saves students 0 to `count` with a card each; the first `members` of them in group G since September.
pub async fn students(hub: &TestHub, count: usize, members: usize) {
    let students: Vec<Value> = (0..count)
        .map(|index| json!({"number": number(index), "name": format!("Student {index:05}")}))
        .collect();
    hub.done("saveStudents", json!({"students": students})).await;
    let cards: Vec<Value> = (0..count)
        .map(|index| {
            let credentials = [json!({"uid": hex(&uid(index))})];
            json!({"code": format!("K{index}"), "student": number(index), "credentials": credentials,
                   "from": "2026-09-01T00:00:00Z"})
        })
        .collect();
    hub.done("saveCards", json!({"cards": cards})).await;
    join(hub, 0..members, "2026-09-21").await;
}

/// Puts students into group G from a day on.
pub async fn join(hub: &TestHub, who: std::ops::Range<usize>, from: &str) {
    let stays: Vec<Value> =
        who.map(|index| json!({"group": "G", "student": number(index), "from": from})).collect();
    hub.done("saveMemberships", json!({"memberships": stays})).await;
}

/// A session of group G in room R1, from one time of the day to another.
#[must_use]
pub fn session(id: &str, from: &str, until: &str) -> Value {
    json!({"externalId": id, "title": id, "startsAt": at(from), "endsAt": at(until), "rooms": ["R1"],
           "groups": ["G"]})
}

/// Session S in the morning, and a swipe of each of so many students, all of them on its list; it is 10:30 then.
pub async fn morning(hub: &TestHub, count: usize) -> (Gateway, Vec<Value>) {
    estate(hub).await;
    students(hub, count, count).await;
    hub.done("saveSession", session("S", "09:00", "10:00")).await;
    let mut gateway = Gateway::start(hub, "GW").await;
    let green = gateway.session("09:00").to_owned();
    let swipes = (0..count).map(|index| gateway.swipe(index, 0, &at("09:05"), &[green.as_str()])).collect();
    hub.clock.set(&at("10:30"));
    (gateway, swipes)
}

/// Everybody is PRESENT in session S, each by one swipe, and there are no other swipes.
pub async fn all_present_once(hub: &TestHub, count: usize) {
    let query = "{ swipes(first: 1) { totalCount } session(by: {externalId: \"S\"}) { register { summary { present absent } } } }";
    let register = json!({"summary": {"present": count, "absent": 0}});
    assert_eq!(
        hub.read(query).await,
        json!({"swipes": {"totalCount": count}, "session": {"register": register}})
    );
}

const HAND_OVER: &str = "mutation($input: GatewaySubmitSwipesInput!) { gatewaySubmitSwipes(input: $input) {
    errors { message } receipts { swipeId outcome } } }";

/// A gateway as the hub sees it: looks cards up by their keys, numbers its swipes, hands them over.
pub struct Gateway {
    /// Its token.
    pub token: String,
    /// What it was told of itself.
    pub config: Value,
    /// Its feed position.
    pub cursor: String,
    holders: HashMap<String, String>,
    sessions: HashMap<i64, String>,
    sequence: u64,
}

impl Gateway {
    /// Reads what the hub tells this gateway.
    pub async fn start(hub: &TestHub, code: &str) -> Self {
        let token = hub.gateway_token(code).await;
        let mut gateway = Self {
            token,
            config: Value::Null,
            cursor: String::new(),
            holders: HashMap::new(),
            sessions: HashMap::new(),
            sequence: 0,
        };
        gateway.refresh(hub).await;
        gateway
    }

    /// Reads it again.
    pub async fn refresh(&mut self, hub: &TestHub) {
        let mut after = Value::Null;
        loop {
            let data = hub.data(&self.token, SELF, json!({"after": after})).await;
            let snapshot = &data["gatewaySelf"]["snapshot"];
            if after == Value::Null {
                self.cursor = snapshot["cursor"].as_str().unwrap().to_owned();
                self.config = data["gatewaySelf"]["config"].clone();
            }
            for item in snapshot["items"].as_array().unwrap() {
                for key in item["keys"].as_array().into_iter().flatten() {
                    let holder = item["holder"].as_str().unwrap();
                    self.holders.insert(key.as_str().unwrap().to_owned(), holder.to_owned());
                }
                if let (Some(start), Some(id)) = (item["startsAt"].as_str(), item["sessionId"].as_str()) {
                    self.sessions.insert(ms(start), id.to_owned());
                }
            }
            after = snapshot["endCursor"].clone();
            if snapshot["hasNextPage"] == false {
                break;
            }
        }
    }

    /// The id, at the hub, of the session that starts at an instant.
    #[must_use]
    pub fn session_at(&self, start: i64) -> &str {
        &self.sessions[&start]
    }

    /// The id, at the hub, of the session that starts at a time of the day.
    #[must_use]
    pub fn session(&self, from: &str) -> &str {
        self.session_at(ms(&at(from)))
    }

    /// The key of a student's card: HMAC-SHA-256 of 56 bits and the UID, under the building's secret.
    #[must_use]
    pub fn key(&self, index: usize) -> String {
        let secret = self.config["cardKeySecret"].as_str().unwrap();
        let secret: Vec<u8> = (0..secret.len() / 2)
            .map(|at| u8::from_str_radix(&secret[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(&56u16.to_be_bytes());
        mac.update(&uid(index));
        hex(&mac.finalize().into_bytes())
    }

    /// A swipe of a student's card at a door: 0 is D1 at R1, 1 is D2 at R2. Shown green for `sessions`, red
    /// without any.
    pub fn swipe(&mut self, index: usize, door: usize, when: &str, sessions: &[&str]) -> Value {
        self.sequence += 1;
        let key = self.key(index);
        let (decision, reason, light) = match sessions {
            [] => ("NOT_RECORDED", "NOT_ON_CLASS_LIST", "RED"),
            _ => ("RECORDED", "RECORDED", "GREEN"),
        };
        let reader = &self.config["readers"][door];
        json!({
            "swipeId": Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + u128::from(self.sequence)),
            "journalId": Uuid::from_u128(7),
            "sequence": self.sequence,
            "readerId": reader["readerId"],
            "roomId": reader["roomId"],
            "holder": self.holders.get(&key),
            "cardKey": key,
            "cardKeyEpoch": self.config["cardKeyEpoch"],
            "cardBits": 56,
            "swipedAt": when,
            "earliestAt": when,
            "latestAt": when,
            "bootId": Uuid::from_u128(9),
            "sinceBoot": "PT1H",
            "clockTrust": "SYNCED",
            "decision": decision,
            "reason": reason,
            "light": light,
            "sessionIds": sessions,
            "basis": self.cursor,
            "chain": format!("{:064x}", self.sequence),
        })
    }

    /// Hands swipes over two at a time and in order; what is not answered well is sent again, as a gateway does. Tells
    /// `stored` of each receipt; gives how often it had to be sent again.
    pub async fn hand_over(
        &self,
        swipes: &[Value],
        watermark: &str,
        stored: &watch::Sender<usize>,
        post: impl AsyncFn(&str, Value) -> Value,
    ) -> usize {
        let mut again = 0;
        for batch in swipes.chunks(2) {
            loop {
                let body = post(HAND_OVER, json!({"input": self.batch(batch, watermark)})).await;
                let receipts = body["data"]["gatewaySubmitSwipes"]["receipts"].as_array();
                let Some(receipts) = receipts.filter(|it| it.len() == batch.len()) else {
                    again += 1;
                    continue;
                };
                for (receipt, swipe) in receipts.iter().zip(batch) {
                    let outcome = receipt["outcome"].as_str().unwrap();
                    assert!(["STORED", "DUPLICATE"].contains(&outcome), "{body}");
                    assert_eq!(receipt["swipeId"], swipe["swipeId"]);
                }
                stored.send_modify(|count| *count += receipts.len());
                break;
            }
        }
        again
    }

    /// What to send to hand swipes over, all until `watermark` with them.
    #[must_use]
    pub fn batch(&self, swipes: &[Value], watermark: &str) -> Value {
        json!({
            "batchId": Uuid::from_u128(11),
            "sentAt": watermark,
            "clock": {"trust": "SYNCED", "source": "NTP"},
            "swipes": swipes,
            "backlogAfter": 0,
            "watermark": watermark,
        })
    }

    /// Hands swipes over; gives the outcomes of the receipts.
    pub async fn submit(&self, hub: &TestHub, swipes: &[Value], watermark: &str) -> Vec<String> {
        let shape = "gatewaySubmitSwipes receipts { swipeId outcome error { code message } }";
        let payload = hub.write_as(&self.token, shape, self.batch(swipes, watermark)).await;
        assert_eq!(payload["errors"], json!([]), "the batch was turned down");
        let receipts = payload["receipts"].as_array().unwrap();
        let named: Vec<&Value> = receipts.iter().map(|receipt| &receipt["swipeId"]).collect();
        let sent: Vec<&Value> = swipes.iter().map(|swipe| &swipe["swipeId"]).collect();
        assert_eq!(named, sent, "a receipt for each swipe, in the order sent");
        receipts.iter().map(|receipt| receipt["outcome"].as_str().unwrap().to_owned()).collect()
    }

    /// Says how it is: everything until `watermark` is handed over, its readers work.
    pub async fn heartbeat(&self, hub: &TestHub, watermark: &str) -> Value {
        let readers: Vec<Value> = self.config["readers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reader| json!({"readerId": reader["readerId"], "online": true, "light": "OFF"}))
            .collect();
        let input = json!({
            "sentAt": watermark,
            "watermark": watermark,
            "clock": {"trust": "SYNCED", "source": "NTP"},
            "backlog": 0,
            "cacheCursor": self.cursor,
            "cacheAge": "PT1S",
            "softwareVersion": "test",
            "readers": readers,
        });
        let payload =
            hub.write_as(&self.token, "gatewayHeartbeat receivedAt latestCursor problems", input).await;
        assert_eq!(payload["errors"], json!([]), "the heartbeat was turned down");
        payload
    }
}

const SUBMIT: &str =
    "gatewaySubmitSwipes receipts { outcome } handedOver { journalId through chain } renewJournal";

/// A hub at 09:00 with three students, the first two of them in group G, and session X of it at 10:00 in room R1.
pub async fn class() -> (TestHub, Gateway, String) {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 3, 2).await;
    hub.done("saveSessions", json!({"sessions": [session("X", "10:00", "11:00")]})).await;
    hub.clock.set(&at("09:00"));
    let gateway = Gateway::start(&hub, "GW").await;
    let held = gateway.session("10:00").to_owned();
    (hub, gateway, held)
}

/// Hands swipes over with more beside them, all until `watermark`; gives the payload, which must not be a refusal.
pub async fn send(hub: &TestHub, gateway: &Gateway, swipes: &[Value], watermark: &str, more: Value) -> Value {
    let mut input = gateway.batch(swipes, watermark);
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let payload = hub.write_as(&gateway.token, SUBMIT, input).await;
    assert_eq!(payload["errors"], json!([]), "the batch was turned down");
    payload
}

/// Where a session's register stands, and the statuses in it, by student number.
pub async fn register(hub: &TestHub, session: &str) -> (String, Vec<String>) {
    let query = format!(
        "{{ session(by: {{externalId: \"{session}\"}}) {{ register {{ state entries(orderBy: {{field: STUDENT_NUMBER}}) {{
            nodes {{ status }} }} }} }} }}"
    );
    let register = hub.read(&query).await["session"]["register"].take();
    let nodes = register["entries"]["nodes"].as_array().unwrap().iter();
    let statuses = nodes.map(|entry| entry["status"].as_str().unwrap().to_owned()).collect();
    (register["state"].as_str().unwrap().to_owned(), statuses)
}

/// What [`register`] should give.
#[must_use]
pub fn is(state: &str, statuses: &[&str]) -> (String, Vec<String>) {
    (state.to_owned(), statuses.iter().map(|it| (*it).to_owned()).collect())
}

/// What a gateway says of its journal: the hub has it up to the first, and this brings it up to the second.
#[must_use]
pub fn journal(after: Option<u64>, through: u64) -> Value {
    json!({"journalId": Uuid::from_u128(7), "after": after, "through": through, "chain": format!("{through:064x}")})
}

/// The alerts that the hub has raised.
pub async fn alerts(hub: &TestHub) -> Vec<String> {
    let found = hub.read("{ alerts { nodes { kind detail gateway { code } } } }").await;
    let nodes = found["alerts"]["nodes"].as_array().unwrap().iter();
    nodes.map(|it| it["kind"].as_str().unwrap().to_owned()).collect()
}
