//! The MQTT reader against an embedded broker, with a plain client playing the gateway.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use reader_sim::device::mqtt::{MqttReader, MqttReaderError};
use reader_sim::device::{DeviceEvent, Shown};
use reader_sim::plan::{Colour, Credential};
use rollcall_tests::programs::free_port;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "att/v1/GW-A/reader/R1";

/// Starts a broker in a thread of its own; it lives as long as the test process.
fn broker(port: u16) {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: 20480,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "v4".into(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 100,
        max_outgoing_packet_count: 200,
        max_segment_size: 1 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let v4 = Some(HashMap::from([("v4".to_owned(), server)]));
    let config = Config { router, v4, ..Config::default() };
    std::thread::spawn(move || drop(Broker::new(config).start()));
}

struct Gateway {
    client: AsyncClient,
    inbox: UnboundedReceiver<Publish>,
}

impl Gateway {
    async fn new(port: u16) -> Gateway {
        let mut options = MqttOptions::new("gateway", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 100);
        events.network_options.set_tcp_nodelay(true);
        let (notes, inbox) = unbounded_channel();
        let (up, ready) = tokio::sync::oneshot::channel();
        let mut up = Some(up);
        let subscriber = client.clone();
        tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let topics = ["birth", "state", "swipe", "light"];
                        let filters = topics
                            .map(|t| rumqttc::SubscribeFilter::new(format!("{TOPIC}/{t}"), QoS::AtLeastOnce));
                        subscriber.try_subscribe_many(filters).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        if let Some(up) = up.take() {
                            up.send(()).unwrap();
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(p))) => {
                        if notes.send(p).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        timeout(PATIENCE, ready).await.unwrap().unwrap();
        Gateway { client, inbox }
    }

    async fn next(&mut self) -> (String, Value) {
        let message = timeout(PATIENCE, self.inbox.recv()).await.unwrap().unwrap();
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (message.topic.strip_prefix(&format!("{TOPIC}/")).unwrap().to_owned(), value)
    }

    async fn of(&mut self, kind: &str) -> Value {
        loop {
            let (topic, value) = self.next().await;
            if topic == kind {
                return value;
            }
        }
    }

    async fn send(&self, kind: &str, retain: bool, payload: Value) {
        let topic = format!("{TOPIC}/{kind}");
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload.to_string()).await.unwrap();
    }
}

type Happened = UnboundedReceiver<DeviceEvent>;

async fn reader(port: u16) -> (MqttReader, Happened) {
    let (events, happened) = unbounded_channel();
    let (code, gateway, host) = ("R1".into(), "GW-A".into(), "127.0.0.1".into());
    let reader =
        MqttReader::connect_as(code, gateway, host, port, "b7".into(), None, None, events).await.unwrap();
    (reader, happened)
}

async fn next(happened: &mut Happened) -> DeviceEvent {
    timeout(PATIENCE, happened.recv()).await.unwrap().unwrap()
}

async fn online(happened: &mut Happened) {
    assert!(matches!(next(happened).await, DeviceEvent::Online { reader } if reader == "R1"));
}

async fn shown(happened: &mut Happened) -> Shown {
    match next(happened).await {
        DeviceEvent::Light { shown, .. } => shown,
        other => unreachable!("{other:?}"),
    }
}

fn card() -> Credential {
    Credential { bits: 56, raw: vec![0x04, 0xA2, 0xB3, 0xC4, 0xD5, 0xE6, 0x80] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swipes_are_sent_again_until_acknowledged() {
    let port = free_port();
    broker(port);
    let mut gateway = Gateway::new(port).await;
    let (reader, mut happened) = reader(port).await;
    online(&mut happened).await;
    let birth = gateway.of("birth").await;
    assert_eq!(birth["boot"], "b7");
    assert_eq!(birth["caps"]["colours"], json!(["red", "green", "blue", "amber"]));
    assert_eq!(birth["caps"]["buzzer"], true);
    assert_eq!(gateway.of("state").await, "ready");
    let started = Instant::now();
    assert_eq!(reader.present(&card()).unwrap(), 1);
    let first = gateway.of("swipe").await;
    assert_eq!(first["seq"], 1);
    assert_eq!(first["uid"], "04A2B3C4D5E680");
    assert_eq!(first["bits"], 56);
    assert_eq!(first["historical"], false);
    assert_eq!(gateway.of("swipe").await, first);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(1500), "sent again after {waited:?} already");
    gateway.send("swipe/ack", false, json!({"boot": "b6", "seq": 1, "result": "recorded"})).await;
    gateway.send("swipe/ack", false, json!({"boot": "b7", "seq": 1, "result": "recorded"})).await;
    let DeviceEvent::Acknowledged { seq: 1, result, .. } = next(&mut happened).await else { unreachable!() };
    assert_eq!(result, "recorded");
    // The next swipe sent, and sent again, is another one: the first is done.
    assert_eq!(reader.present(&card()).unwrap(), 2);
    let mut sent = gateway.of("swipe").await;
    // The first may have gone out once more while the answer was under way.
    while sent["seq"] == 1 {
        sent = gateway.of("swipe").await;
    }
    for _ in 0..2 {
        assert_eq!(sent["seq"], 2);
        sent = gateway.of("swipe").await;
    }
    let wrong = Credential { bits: 8, raw: vec![1, 2] };
    assert!(matches!(reader.present(&wrong), Err(MqttReaderError::Credential { .. })));
    reader.stop().await;
    assert_eq!(gateway.of("state").await, "lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_vanishes_is_lost_and_its_successor_is_ready() {
    let port = free_port();
    broker(port);
    let mut gateway = Gateway::new(port).await;
    let (first, mut happened) = reader(port).await;
    online(&mut happened).await;
    assert_eq!(gateway.of("state").await, "ready");
    drop(first);
    assert_eq!(gateway.of("state").await, "lost");
    let (_second, mut happened) = reader(port).await;
    online(&mut happened).await;
    assert_eq!(gateway.of("state").await, "ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_read_before_the_broker_is_there_are_sent_when_it_is() {
    let port = free_port();
    let (reader, mut happened) = reader(port).await;
    for seq in 1..=3 {
        assert_eq!(reader.present(&card()).unwrap(), seq);
    }
    broker(port);
    let mut gateway = Gateway::new(port).await;
    online(&mut happened).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let swipe = gateway.of("swipe").await;
        if !seen.contains(&swipe["seq"]) {
            seen.push(swipe["seq"].clone());
        }
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lights_follow_the_gateway_and_go_dark_without_it() {
    let port = free_port();
    broker(port);
    let mut gateway = Gateway::new(port).await;
    gateway.send("light/set", true, json!({"id": 41, "base": "red", "lease_s": 90})).await;
    gateway
        .send(
            "light/flash",
            true,
            json!({"id": 40, "colour": "red", "on_ms": 200, "off_ms": 200,
        "count": 3, "for_seq": 1, "ttl_ms": 3000}),
        )
        .await;
    // What comes back last was dealt with last: the broker now retains both, and neither reaches the reader as news.
    gateway.send("birth", false, json!("fence")).await;
    assert_eq!(gateway.of("birth").await, "fence");
    let (_reader, mut happened) = reader(port).await;
    online(&mut happened).await;
    // The retained flash is not shown.
    assert_eq!(shown(&mut happened).await, Shown::Base(Colour::Red));
    assert_eq!(gateway.of("light").await, json!({"id": 41, "base": "red"}));
    let started = Instant::now();
    gateway.send("light/set", true, json!({"id": 42, "base": "blue", "lease_s": 15})).await;
    assert_eq!(shown(&mut happened).await, Shown::Base(Colour::Blue));
    let flash = json!({"id": 43, "colour": "green", "on_ms": 200, "off_ms": 200, "count": 3, "for_seq": 1,
        "ttl_ms": 3000});
    gateway.send("light/flash", false, flash).await;
    assert_eq!(shown(&mut happened).await, Shown::Flash(Colour::Green));
    assert_eq!(gateway.of("light").await, json!({"id": 42, "base": "blue"}));
    assert_eq!(shown(&mut happened).await, Shown::Base(Colour::Off));
    assert!(started.elapsed() >= Duration::from_secs(15), "dark before its lease was over");
    assert_eq!(gateway.of("light").await, json!({"id": 42, "base": "off"}));
    gateway.send("light/set", true, json!({"id": 44, "base": "purple", "lease_s": 90})).await;
    gateway.send("light/set", true, json!({"id": 45, "base": "amber", "lease_s": 90})).await;
    assert_eq!(shown(&mut happened).await, Shown::Base(Colour::Amber));
}

#[tokio::test]
async fn a_code_that_is_no_level_of_a_topic_is_refused() {
    for code in ["", "a/b", "+", "#"] {
        let (events, _happened) = unbounded_channel();
        let made = MqttReader::connect(code.into(), "G".into(), "127.0.0.1".into(), 1, events).await;
        assert_eq!(made.unwrap_err(), MqttReaderError::Code(code.into()));
    }
}

/// Forwards to the broker; ends, with its connections, when aborted.
async fn forward(from: tokio::net::TcpListener, to: u16) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut near, _) = from.accept().await.unwrap();
        connections.spawn(async move {
            let mut far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_is_made_again_and_everything_told_anew() {
    let port = free_port();
    broker(port);
    let mut gateway = Gateway::new(port).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap().port();
    let proxy = tokio::spawn(forward(listener, port));
    let (reader, mut happened) = reader(near).await;
    online(&mut happened).await;
    gateway.send("light/set", true, json!({"id": 1, "base": "blue", "lease_s": 90})).await;
    assert_eq!(shown(&mut happened).await, Shown::Base(Colour::Blue));
    assert_eq!(gateway.of("light").await["base"], "blue");
    proxy.abort();
    assert!(proxy.await.unwrap_err().is_cancelled());
    assert_eq!(gateway.of("state").await, "lost");
    reader.present(&card()).unwrap();
    gateway.send("light/set", true, json!({"id": 2, "base": "green", "lease_s": 90})).await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", near)).await.unwrap();
    let proxy = tokio::spawn(forward(listener, port));
    online(&mut happened).await;
    assert_eq!(gateway.of("state").await, "ready");
    assert_eq!(shown(&mut happened).await, Shown::Base(Colour::Green));
    reader.present(&card()).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let swipe = gateway.of("swipe").await;
        if !seen.contains(&swipe["seq"]) {
            seen.push(swipe["seq"].clone());
        }
    }
    assert_eq!(seen, [1, 2]);
    proxy.abort();
}
