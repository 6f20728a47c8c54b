//! Webhooks: who is told of what, signed, again and again until it is taken, and never at an address that only exists here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use rollcall_tests::hub::{TestHub, at, ms, refusals};
use rollcall_tests::programs::PATIENCE;
use rollcall_tests::timetable::{class, session};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

/// Somebody who is told: answers with the statuses that stand in its queue, and with 204 once that is empty.
struct Listener {
    address: SocketAddr,
    heard: UnboundedReceiver<(HeaderMap, String)>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// What it does not take, ever.
    refuses: Arc<Mutex<Option<&'static str>>>,
}

#[derive(Clone)]
struct Ear {
    heard: UnboundedSender<(HeaderMap, String)>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    refuses: Arc<Mutex<Option<&'static str>>>,
}

async fn hear(State(ear): State<Ear>, headers: HeaderMap, body: String) -> StatusCode {
    let refused = ear.refuses.lock().unwrap().is_some_and(|word| body.contains(word));
    ear.heard.send((headers, body)).unwrap();
    if refused {
        return StatusCode::BAD_REQUEST;
    }
    let answer = ear.answers.lock().unwrap().pop_front();
    StatusCode::from_u16(answer.unwrap_or(204)).unwrap()
}

impl Listener {
    async fn start() -> Self {
        let (sender, heard) = unbounded_channel();
        let answers: Arc<Mutex<VecDeque<u16>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let refuses: Arc<Mutex<Option<&'static str>>> = Arc::default();
        let ear = Ear { heard: sender, answers: answers.clone(), refuses: refuses.clone() };
        let router = axum::Router::new().route("/hook", axum::routing::post(hear)).with_state(ear);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, heard, answers, refuses }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn will_answer(&self, status: u16) {
        self.answers.lock().unwrap().push_back(status);
    }

    /// The next that it is told.
    async fn hears(&mut self) -> (HeaderMap, Value) {
        let told = tokio::time::timeout(PATIENCE, self.heard.recv());
        let (headers, body) = told.await.expect("nothing was told").unwrap();
        let body_value = serde_json::from_str(&body).unwrap();
        (headers, body_value)
    }
}

const HOOK: &str = "webhook { id state events url failingSince } secret";

async fn deliveries(hub: &TestHub) -> Vec<Value> {
    let shape = "event state attempts lastStatus lastError eventId";
    let query = format!("{{ webhooks {{ nodes {{ state deliveries {{ nodes {{ {shape} }} }} }} }} }}");
    let found = hub.read(&query).await;
    found["webhooks"]["nodes"][0]["deliveries"]["nodes"].as_array().unwrap().clone()
}

/// Waits until deliveries are as they should be, looking again whenever the hub may have written.
async fn until(hub: &TestHub, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
    let whole = async {
        loop {
            looks.tick().await;
            let found = deliveries(hub).await;
            if holds(&found) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.expect("deliveries stay as they are")
}

#[tokio::test]
async fn a_listener_hears_of_swipes_marks_and_final_registers_signed_and_once() {
    let (hub, mut gateway, held) = class().await;
    let mut listener = Listener::start().await;
    let events = json!(["ATTENDANCE_CHANGED", "REGISTER_FINALISED", "SWIPE_RECEIVED"]);
    let saved =
        hub.done(&format!("saveWebhook {HOOK}"), json!({"url": listener.url(), "events": events})).await;
    let secret = saved["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
    let secret = STANDARD.decode(secret).unwrap();
    assert_eq!(secret.len(), 32);
    hub.clock.set(&at("10:07"));
    let swipe = gateway.swipe(0, 0, &at("10:05"), &[&held]);
    assert_eq!(gateway.submit(&hub, std::slice::from_ref(&swipe), &at("10:07")).await, ["STORED"]);
    let mut told = Vec::new();
    for _ in 0..2 {
        let (headers, body) = listener.hears().await;
        let text = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(text("webhook-timestamp"), (ms(&at("10:07")) / 1_000).to_string());
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
        mac.update(format!("{}.{}.{body}", text("webhook-id"), text("webhook-timestamp")).as_bytes());
        assert_eq!(text("webhook-signature"), format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
        told.push(body);
    }
    told.sort_by_key(|body| body["type"].as_str().map(str::to_owned));
    assert_eq!(told[0]["type"], "ATTENDANCE_CHANGED");
    assert_eq!(
        told[0]["data"],
        json!({"session": "X", "registerState": "PENDING", "registerRevision": 2, "left": [], "records": [{
            "student": "S00000", "status": "PRESENT", "source": "READER", "arrivedAt": "2026-10-05T11:05:00.000+01:00",
            "minutesLate": 5, "revision": 2}]})
    );
    assert_eq!(told[1]["type"], "SWIPE_RECEIVED");
    assert_eq!(told[1]["data"]["student"], "S00000");
    assert_eq!(told[1]["data"]["decision"], "RECORDED");
    // The same batch again changes nothing, and tells nobody.
    assert_eq!(gateway.submit(&hub, &[swipe], &at("10:07")).await, ["DUPLICATE"]);
    hub.clock.set(&at("11:01"));
    gateway.heartbeat(&hub, &at("11:01")).await;
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(listener.hears().await.1);
    }
    told.sort_by_key(|body| body["type"].as_str().map(str::to_owned));
    assert_eq!(told[0]["data"]["records"][0]["student"], "S00001");
    assert_eq!(told[0]["data"]["records"][0]["status"], "ABSENT");
    assert_eq!(told[1]["type"], "REGISTER_FINALISED");
    assert_eq!(told[1]["data"]["registerState"], "FINAL");
    let all = until(&hub, |all| all.iter().all(|it| it["state"] == "DELIVERED")).await;
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|it| it["attempts"] == 1 && it["lastStatus"] == 204), "{all:?}");
    assert!(listener.heard.try_recv().is_err());
}

#[tokio::test]
async fn people_are_called_once_to_what_they_should_look_at() {
    let (hub, mut gateway, held) = class().await;
    let mut listener = Listener::start().await;
    let input = json!({"url": listener.url(), "events": ["ALERT_RAISED"]});
    hub.done(&format!("saveWebhook {HOOK}"), input).await;
    hub.clock.set(&at("10:07"));
    let first = gateway.swipe(0, 0, &at("10:05"), &[&held]);
    let mut clone = gateway.swipe(1, 0, &at("10:06"), &[&held]);
    clone["sequence"] = first["sequence"].clone();
    gateway.submit(&hub, &[first], &at("10:07")).await;
    assert_eq!(gateway.submit(&hub, std::slice::from_ref(&clone), &at("10:07")).await, ["STORED"]);
    let (_, told) = listener.hears().await;
    assert_eq!((&told["type"], &told["data"]["kind"]), (&json!("ALERT_RAISED"), &json!("SWIPE_CLASH")));
    let alerts = hub.read("{ alerts { nodes { kind detail gateway { code } } } }").await;
    let alert = &alerts["alerts"]["nodes"][0];
    assert_eq!(
        (&told["data"]["detail"], &told["data"]["gateway"]),
        (&alert["detail"], &alert["gateway"]["code"])
    );
    // Sent again it is known, and nobody is called again.
    assert_eq!(gateway.submit(&hub, &[clone], &at("10:07")).await, ["DUPLICATE"]);
    let all = until(&hub, |all| all.iter().all(|it| it["state"] == "DELIVERED")).await;
    assert_eq!(all.len(), 1);
    assert!(listener.heard.try_recv().is_err());
}

#[tokio::test]
async fn what_is_not_taken_is_told_again_under_the_same_id_until_somebody_says_that_he_is_gone() {
    let (hub, mut gateway, held) = class().await;
    let mut listener = Listener::start().await;
    let input = json!({"url": listener.url(), "events": ["ATTENDANCE_CHANGED"]});
    hub.done(&format!("saveWebhook {HOOK}"), input).await;
    listener.will_answer(503);
    listener.will_answer(302);
    hub.clock.set(&at("10:07"));
    let swipe = gateway.swipe(0, 0, &at("10:05"), &[&held]);
    gateway.submit(&hub, &[swipe], &at("10:07")).await;
    let (first, _) = listener.hears().await;
    let failing = until(&hub, |all| all.iter().any(|it| it["lastStatus"] == 503)).await;
    assert_eq!(failing[0]["state"], "PENDING");
    assert_eq!(
        hub.read("{ webhooks { nodes { state } } }").await["webhooks"]["nodes"][0]["state"],
        "FAILING"
    );
    // Five seconds later, and twenty more: a redirect is not followed.
    hub.clock.set("2026-10-05T10:07:05Z");
    let (second, _) = listener.hears().await;
    until(&hub, |all| all.iter().any(|it| it["lastStatus"] == 302)).await;
    hub.clock.set("2026-10-05T10:07:25Z");
    let (third, _) = listener.hears().await;
    assert_eq!(first["webhook-id"], second["webhook-id"]);
    assert_eq!(first["webhook-id"], third["webhook-id"]);
    assert_ne!(first["webhook-signature"], third["webhook-signature"]);
    let taken = until(&hub, |all| all.iter().any(|it| it["state"] == "DELIVERED")).await;
    assert_eq!(taken[0]["attempts"], 3);
    listener.will_answer(410);
    let swipe = gateway.swipe(1, 0, &at("10:06"), &[&held]);
    gateway.submit(&hub, &[swipe], &at("10:07")).await;
    listener.hears().await;
    let gone = until(&hub, |all| all.iter().any(|it| it["state"] == "FAILED")).await;
    assert!(gone[0]["lastError"].as_str().unwrap().contains("410"), "{gone:?}");
    let state = hub.read("{ webhooks { nodes { id state } } }").await["webhooks"]["nodes"][0].clone();
    assert_eq!(state["state"], "DISABLED");
    hub.done("deleteWebhook deletedId", json!({"id": state["id"]})).await;
    assert_eq!(hub.read("{ webhooks { totalCount } }").await["webhooks"]["totalCount"], 0);
}

#[tokio::test]
async fn what_a_listener_never_takes_holds_up_nothing_else_and_is_given_up_after_three_days() {
    let (hub, mut gateway, held) = class().await;
    let mut listener = Listener::start().await;
    *listener.refuses.lock().unwrap() = Some("SWIPE_RECEIVED");
    let events = json!(["ATTENDANCE_CHANGED", "SWIPE_RECEIVED"]);
    hub.done(&format!("saveWebhook {HOOK}"), json!({"url": listener.url(), "events": events})).await;
    hub.clock.set(&at("10:07"));
    // More than are tried in one go; the mark is noted behind them.
    let swipes: Vec<Value> =
        (0..40).map(|n| gateway.swipe(0, 0, &format!("2026-10-05T10:05:{n:02}Z"), &[&held])).collect();
    gateway.submit(&hub, &swipes, &at("10:07")).await;
    until(&hub, |all| all.iter().any(|it| it["state"] == "DELIVERED")).await;
    let waiting = until(&hub, |all| all.iter().filter(|it| it["lastStatus"] == 400).count() == 40).await;
    assert!(
        waiting.iter().all(|it| it["attempts"] == 1),
        "whoever turned one down is asked the others, and that one later"
    );
    let told = std::iter::from_fn(|| listener.heard.try_recv().ok());
    assert_eq!(told.filter(|(_, body)| body.contains("ATTENDANCE_CHANGED")).count(), 1);
    hub.clock.set("2026-10-08T12:00:00Z");
    rollcall_hub::service::webhooks::forget_old(&hub.running.hub).await.unwrap();
    until(&hub, |all| all.iter().filter(|it| it["state"] == "FAILED").count() == 40).await;
    hub.clock.set("2026-11-08T12:00:00Z");
    rollcall_hub::service::webhooks::forget_old(&hub.running.hub).await.unwrap();
    assert_eq!(deliveries(&hub).await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_address_of_this_machine_or_without_tls_is_refused_unless_the_hub_may_go_there() {
    let hub = TestHub::start_with(|config| config.allow_private = false).await;
    for url in ["http://example.org/", "https://127.0.0.1/", "https://[::1]/", "file:///etc/passwd", "x"] {
        let input = json!({"url": url, "events": ["SWIPE_RECEIVED"]});
        assert_eq!(refusals(&hub.write("saveWebhook", input).await), ["INVALID url"], "{url}");
    }
    let wrong =
        hub.write("saveWebhook", json!({"id": "whk_0", "url": "https://a.example/", "events": []})).await;
    assert_eq!(refusals(&wrong), ["REQUIRED events", "NOT_FOUND id"]);
    assert_eq!(refusals(&hub.write("deleteWebhook", json!({"id": "whk_0"})).await), ["NOT_FOUND id"]);
    // A name that stands for this machine is found out when it is gone to.
    let input = json!({"url": "https://localhost:1/", "events": ["SWIPE_RECEIVED"]});
    hub.done("saveWebhook", input).await;
    let outgoing = rollcall_hub::outgoing::Outgoing::new(false).unwrap();
    let failed = outgoing.get("https://localhost:1/", HeaderMap::new(), 10).await.unwrap_err();
    assert!(failed.to_string().contains("--allow-private-addresses"), "{failed}");
}

#[tokio::test]
async fn a_listener_hears_of_sessions_that_change_and_of_imports_and_exports_that_end() {
    let (hub, ..) = class().await;
    let mut listener = Listener::start().await;
    let events = json!(["EXPORT_FINISHED", "IMPORT_FINISHED", "SESSION_CHANGED"]);
    hub.done(&format!("saveWebhook {HOOK}"), json!({"url": listener.url(), "events": events})).await;
    let mut moved = session("X", "10:00", "11:00");
    moved["rooms"] = json!(["R2"]);
    hub.done("saveSession", moved.clone()).await;
    let (_, told) = listener.hears().await;
    assert_eq!(told["type"], "SESSION_CHANGED");
    let data = json!({"session": "X", "revision": 2, "startsAt": "2026-10-05T11:00:00.000+01:00",
                      "endsAt": "2026-10-05T12:00:00.000+01:00", "cancelled": false, "rooms": ["R2"]});
    assert_eq!(told["data"], data);
    // The same once more is no change; called off is one.
    hub.done("saveSession", moved.clone()).await;
    moved["cancelled"] = json!(true);
    hub.done("saveSession", moved).await;
    let (_, told) = listener.hears().await;
    assert_eq!((&told["data"]["cancelled"], &told["data"]["revision"]), (&json!(true), &json!(3)));

    let (_, file) = hub.upload(&hub.integration, "students.csv", "Number,Name\nS7,Seven\n").await;
    let mapping = "kind = \"students\"\n[columns]\nnumber = \"Number\"\nname = \"Name\"\n";
    let id = Uuid::new_v4();
    let input = json!({"id": id, "kind": "CSV", "source": "sis", "mapping": mapping,
                       "uploadIds": [file["uploadId"]]});
    let started = hub.done("startImport import { id }", input).await;
    let (_, told) = listener.hears().await;
    let ended =
        |state: &str| json!({"import": id, "source": "sis", "kind": "CSV", "state": state, "problems": 0});
    assert_eq!((&told["type"], &told["data"]), (&json!("IMPORT_FINISHED"), &ended("CHECKED")));
    hub.done("applyImport import { id }", json!({"importId": started["import"]["id"]})).await;
    let (_, told) = listener.hears().await;
    assert_eq!((&told["type"], &told["data"]), (&json!("IMPORT_FINISHED"), &ended("APPLIED")));

    let id = Uuid::new_v4();
    let query = "query($first: Int, $after: String) { students(first: $first, after: $after) {
        nodes { number } pageInfo { hasNextPage endCursor } } }";
    hub.done("startExport export { id }", json!({"id": id, "query": query})).await;
    let (_, told) = listener.hears().await;
    assert_eq!(told["type"], "EXPORT_FINISHED");
    let data = &told["data"];
    assert_eq!((&data["export"], &data["state"], &data["objects"]), (&json!(id), &json!("DONE"), &json!(4)));
}
