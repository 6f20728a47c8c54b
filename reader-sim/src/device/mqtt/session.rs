//! What the reader does with messages, cards and time.
//!
//! One task for each reader, started by [`super::MqttReader`]. Publishes only while connected; what cannot be
//! sent now is sent again later.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::{AsyncClient, Publish, QoS, SubscribeFilter};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::link::Note;
use super::lock;
use super::messages::{Ack, Birth, Caps, ColourName, Light, LightFlash, LightSet};
use super::outbox::Outbox;
use crate::device::{DeviceEvent, Events, Shown};

const FIRMWARE: &str = concat!("reader-sim ", env!("CARGO_PKG_VERSION"));
const COLOURS: [&str; 4] = ["red", "green", "blue", "amber"];

/// What the session is told from outside.
#[derive(Debug)]
pub(super) enum Order {
    /// A card is in the outbox.
    Swiped,
    /// Say goodbye; answers whether a DISCONNECT is on its way.
    Stop(oneshot::Sender<bool>),
}

/// The steady light, as last told.
#[derive(Debug)]
struct Shining {
    id: u64,
    base: ColourName,
    until: Option<Instant>,
}

/// One reader's state.
#[derive(Debug)]
pub(super) struct Session {
    code: String,
    topic: String,
    client: AsyncClient,
    outbox: Arc<Mutex<Outbox>>,
    events: Events,
    online: bool,
    light: Option<Shining>,
    last_flash: Option<u64>,
}

impl Session {
    /// A reader that is not connected yet. `topic` is the part that all its topics share.
    pub(super) fn new(
        code: String,
        topic: String,
        client: AsyncClient,
        outbox: Arc<Mutex<Outbox>>,
        events: Events,
    ) -> Session {
        Session { code, topic, client, outbox, events, online: false, light: None, last_flash: None }
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(
        mut self,
        mut orders: UnboundedReceiver<Order>,
        mut notes: UnboundedReceiver<Note>,
    ) {
        loop {
            let due = if self.online { lock(&self.outbox).next_due() } else { None };
            let lease = self.light.as_ref().and_then(|light| light.until);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Swiped) => self.send_due(),
                    Some(Order::Stop(done)) => {
                        // Nobody waits any more: nothing to answer then.
                        let leaving = self.goodbye();
                        done.send(leaving).ok();
                        // The link's task ends once the goodbye is out, and not before, if it is heard.
                        while leaving && notes.recv().await.is_some() {}
                        return;
                    }
                    None => return,
                },
                note = notes.recv() => match note {
                    Some(note) => self.note(note),
                    None => return,
                },
                () = reached(due) => self.send_due(),
                () = reached(lease) => self.lease_over(),
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Up => self.subscribe(),
            Note::Subscribed => self.come_online(),
            Note::Message(message) => self.message(&message),
            Note::Down => self.online = false,
        }
    }

    fn subscribe(&self) {
        let topics = ["swipe/ack", "light/set", "light/flash"];
        let filters = topics.map(|t| SubscribeFilter::new(format!("{}/{t}", self.topic), QoS::AtLeastOnce));
        if let Err(error) = self.client.try_subscribe_many(filters) {
            tracing::warn!(reader = self.code, %error, "cannot subscribe");
        }
    }

    fn come_online(&mut self) {
        self.online = true;
        let birth = {
            let mut outbox = lock(&self.outbox);
            outbox.all_due();
            let caps = Caps { colours: COLOURS, buzzer: true };
            let mono_ms = outbox.mono_ms(Instant::now());
            json(&Birth { fw: FIRMWARE, boot: outbox.boot(), mono_ms, caps })
        };
        self.publish("birth", true, birth);
        self.publish("state", true, Some("ready".to_owned()));
        self.publish_light();
        self.report(|reader| DeviceEvent::Online { reader });
        self.send_due();
    }

    /// Answers whether a DISCONNECT is on its way.
    fn goodbye(&mut self) -> bool {
        if !self.online {
            return false;
        }
        self.publish("state", true, Some("lost".to_owned()));
        self.client.try_disconnect().is_ok()
    }

    fn send_due(&mut self) {
        if !self.online {
            return;
        }
        let due = lock(&self.outbox).take_due(Instant::now());
        for swipe in due {
            match swipe {
                Ok(swipe) => self.publish("swipe", false, Some(swipe)),
                Err(error) => tracing::warn!(reader = self.code, %error, "cannot write a swipe"),
            }
        }
    }

    fn message(&mut self, message: &Publish) {
        let kind = message.topic.strip_prefix(&self.topic).unwrap_or(&message.topic);
        match kind {
            "/swipe/ack" => {
                if let Some(ack) = self.parse(message) {
                    self.acknowledged(&ack);
                }
            }
            "/light/set" => {
                if let Some(set) = self.parse(message) {
                    self.set_light(&set);
                }
            }
            // Its age is unknown, so it may be long over: its time to live counts from its receipt only when
            // it comes straight from its sender.
            "/light/flash" if message.retain => {}
            "/light/flash" => {
                if let Some(flash) = self.parse(message) {
                    self.flash(&flash, message.dup);
                }
            }
            _ => tracing::warn!(reader = self.code, topic = message.topic, "unexpected message"),
        }
    }

    fn acknowledged(&mut self, ack: &Ack) {
        if lock(&self.outbox).acknowledge(&ack.boot, ack.seq) {
            let (seq, result) = (ack.seq, ack.result.name().to_owned());
            self.report(|reader| DeviceEvent::Acknowledged { reader, seq, result });
        }
    }

    fn set_light(&mut self, set: &LightSet) {
        let lease = Duration::try_from_secs_f64(set.lease_s).unwrap_or(Duration::ZERO);
        // A lease beyond what the clock can express does not end.
        let until = Instant::now().checked_add(lease);
        let before = self.light.replace(Shining { id: set.id, base: set.base, until });
        let old = before.as_ref().map(|light| light.base);
        if old != Some(set.base) {
            let shown = Shown::Base(set.base.into());
            self.report(|reader| DeviceEvent::Light { reader, shown, answers: None });
        }
        if old != Some(set.base) || before.is_some_and(|light| light.id != set.id) {
            self.publish_light();
        }
    }

    fn lease_over(&mut self) {
        let Some(light) = &mut self.light else { return };
        light.until = None;
        if light.base == ColourName::Off {
            return;
        }
        light.base = ColourName::Off;
        let shown = Shown::Base(ColourName::Off.into());
        self.report(|reader| DeviceEvent::Light { reader, shown, answers: None });
        self.publish_light();
    }

    fn flash(&mut self, flash: &LightFlash, repeated: bool) {
        if repeated && self.last_flash == Some(flash.id) {
            return;
        }
        self.last_flash = Some(flash.id);
        let age = flash.for_seq.and_then(|seq| lock(&self.outbox).age(seq, Instant::now()));
        if let (Some(age), Some(ttl_ms)) = (age, flash.ttl_ms)
            && age > Duration::from_millis(ttl_ms)
        {
            tracing::debug!(reader = self.code, ?age, "a flash came too late and is not shown");
            return;
        }
        let (shown, answers) = (Shown::Flash(flash.colour.into()), flash.for_seq);
        self.report(|reader| DeviceEvent::Light { reader, shown, answers });
    }

    fn publish_light(&self) {
        if let Some(light) = &self.light {
            self.publish("light", true, json(&Light { id: light.id, base: light.base }));
        }
    }

    fn publish(&self, kind: &str, retain: bool, payload: Option<String>) {
        let Some(payload) = payload.filter(|_| self.online) else {
            return;
        };
        let topic = format!("{}/{kind}", self.topic);
        // Whatever matters is sent again: swipes by their timer, the rest when the link is up again.
        if let Err(error) = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload) {
            tracing::debug!(reader = self.code, kind, %error, "not sent");
        }
    }

    fn parse<T: DeserializeOwned>(&self, message: &Publish) -> Option<T> {
        serde_json::from_slice(&message.payload)
            .inspect_err(|error| {
                let payload = String::from_utf8_lossy(&message.payload);
                tracing::warn!(reader = self.code, topic = message.topic, %payload, %error, "not understood");
            })
            .ok()
    }

    fn report(&self, event: impl FnOnce(String) -> DeviceEvent) {
        // Nobody may be watching any more; the reader works on.
        self.events.send(event(self.code.clone())).ok();
    }
}

fn json(message: &impl Serialize) -> Option<String> {
    serde_json::to_string(message).inspect_err(|error| tracing::warn!(%error, "cannot write")).ok()
}

/// Waits for an instant; for ever when there is none.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
