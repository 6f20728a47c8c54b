//! An MQTT reader and the gateway as programs: resends, late swipes, a gateway that was away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{PATIENCE, until};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

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

    /// Says that it is in a start, whose clock stands at so many milliseconds.
    async fn birth(&self, boot: &str, mono_ms: i64) {
        let birth = json!({"fw": "1.0", "boot": boot, "mono_ms": mono_ms});
        self.client.publish(topic("birth"), QoS::AtLeastOnce, true, birth.to_string()).await.unwrap();
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
    reader.birth("b7", 99_000).await;
    assert_eq!(reader.swipe("b7", 1, 100_000, false).await, "recorded");
    assert_eq!(reader.swipe("b7", 2, 40_000, true).await, "recorded");
    // Another start, but after the last message of b7, and the window has been open ever since.
    assert_eq!(reader.swipe("c3", 1, 10, true).await, "recorded");
    let swipes = site.swipes_are(4).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());

    // Two of b7, and one that can only have been in the moment since.
    let dated: Vec<&Value> = swipes.iter().filter(|it| it["shown"]["light"] != "AMBER").collect();
    assert_eq!(dated.len(), 3, "{swipes:#?}");
    assert!(dated[..2].iter().all(|it| it["earliestAt"] == it["latestAt"]), "{dated:#?}");
    let apart = ms(&dated[1]["swipedAt"]) - ms(&dated[0]["swipedAt"]);
    // Two clocks are read, each in whole milliseconds.
    assert!((59_999..=60_001).contains(&apart), "{dated:#?}");
    assert!(
        ms(&dated[2]["earliestAt"]) >= ms(&dated[1]["swipedAt"]) - 1_000,
        "since the last of b7: {swipes:#?}"
    );
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
