//! The gateway's own client on the broker: hears readers, sets their lights, acknowledges their swipes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rollcall_rules::light::Colour;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::payload::{Birth, LightFlash, LightSet, SwipeAck, SwipeMessage, is_ready};
use super::topic::{Channel, parse, said_by_readers, topic};
use crate::core::ReaderClock;
use crate::give::give_and_take;

/// A light goes off by itself when it was not said again for so long.
const LEASE_S: u32 = 90;
/// How often lights are said again.
const RENEW_EVERY: Duration = Duration::from_secs(30);
/// How long before the client connects again.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// A flash that comes later than this is not shown.
const FLASH_TTL_MS: u32 = 3_000;
/// How many requests may wait for the broker.
const QUEUE: usize = 256;
/// How many lights at rest are said at once, before the broker is listened to again.
const RESTS_AT_ONCE: usize = 32;

/// What a reader said.
#[derive(Debug)]
pub enum ReaderSaid {
    /// It is there, with this firmware.
    Ready {
        /// Its code.
        reader: String,
        /// Its firmware, once it said so.
        firmware: Option<String>,
        /// Its clock, once it said so.
        clock: Option<ReaderClock>,
    },
    /// What it is, as the broker had kept it: whether it is there now is said by its state.
    Kept {
        /// Its code.
        reader: String,
        /// Its firmware.
        firmware: String,
    },
    /// It is gone.
    Lost {
        /// Its code.
        reader: String,
    },
    /// A card was held to it.
    Swipe {
        /// Its code.
        reader: String,
        /// What it said.
        message: SwipeMessage,
    },
}

/// What the gateway wants of MQTT readers.
#[derive(Debug)]
pub enum MqttOrder {
    /// Set the light at rest.
    Rest {
        /// The reader's code.
        reader: String,
        /// The colour.
        colour: Colour,
    },
    /// Flash, though no card was held to it.
    Flash {
        /// The reader's code.
        reader: String,
        /// The colour.
        colour: Colour,
    },
    /// Flash and acknowledge.
    Answer {
        /// The reader's code.
        reader: String,
        /// The flash; none for a swipe that is only acknowledged again.
        flash: Option<Colour>,
        /// The start of the reader that the swipe fell into.
        boot: String,
        /// The swipe's number.
        seq: u64,
        /// `recorded`, `not_recorded` or `kept`; none when it could not be kept, so that it is sent again.
        result: Option<&'static str>,
    },
}

fn word(colour: Colour) -> &'static str {
    match colour {
        Colour::Off => "off",
        Colour::Blue => "blue",
        Colour::Green => "green",
        Colour::Red => "red",
        Colour::Amber => "amber",
    }
}

struct Client {
    gateway: String,
    client: AsyncClient,
    rests: BTreeMap<String, Colour>,
    /// Readers whose light at rest is still to be said: as many as there is room for at once, the others after them.
    unsaid: BTreeSet<String>,
    next_id: u64,
    /// The broker has confirmed the subscription. Until it has, no light is said: a reader that shines is heard.
    hears: bool,
    /// It was asked to, on this connection.
    subscribed: bool,
}

/// Talks to the readers until told to stop.
pub async fn run(
    gateway: String,
    broker: SocketAddr,
    mut orders: mpsc::Receiver<MqttOrder>,
    said: mpsc::Sender<ReaderSaid>,
    mut stop: watch::Receiver<bool>,
) {
    let mut options = MqttOptions::new(format!("gateway:{gateway}"), broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(15)).set_max_packet_size(16 * 1024, 16 * 1024);
    options.set_inflight(100);
    let (handle, mut events) = AsyncClient::new(options, QUEUE);
    events.network_options.set_tcp_nodelay(true);
    let mut client = Client {
        gateway,
        client: handle,
        rests: BTreeMap::new(),
        unsaid: BTreeSet::new(),
        next_id: 0,
        hears: false,
        // Only once there is a connection.
        subscribed: true,
    };
    let mut renew = tokio::time::interval(RENEW_EVERY);
    loop {
        let event = {
            // One and the same until it has an answer: let go of while it connects, it would leave a connection behind,
            // and the broker may take that for the one that counts.
            let polled = events.poll();
            tokio::pin!(polled);
            loop {
                client.subscribe();
                client.say_rests();
                tokio::select! {
                    event = &mut polled => break event,
                    order = orders.recv() => match order {
                        Some(order) => client.carry_out(order),
                        None => return,
                    },
                    _ = renew.tick() => client.say_all_rests(),
                    () = crate::stop::told(&mut stop) => return,
                }
            }
        };
        if let Some(heard) = client.heard(event, &mut events).await {
            // Whoever is to hear it may be waiting to give an order.
            give_and_take(&said, heard, &mut orders, |order| client.carry_out(order)).await;
        }
    }
}

impl Client {
    async fn heard(
        &mut self,
        event: Result<Event, rumqttc::ConnectionError>,
        _events: &mut EventLoop,
    ) -> Option<ReaderSaid> {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                tracing::debug!("connected to the broker");
                (self.hears, self.subscribed) = (false, false);
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                self.hears = true;
                self.say_all_rests();
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                return self.read(&publish.topic, &publish.payload, publish.retain);
            }
            Ok(_) => {}
            Err(error) => {
                self.hears = false;
                tracing::warn!("the broker is not there: {error}; trying again");
                tokio::time::sleep(RECONNECT_AFTER).await;
            }
        }
        None
    }

    /// Subscribes once there is room to: what was to be sent while the broker was away may have filled the queue.
    fn subscribe(&mut self) {
        if !self.subscribed {
            let filter = said_by_readers(&self.gateway);
            self.subscribed = self.client.try_subscribe(filter, QoS::AtLeastOnce).is_ok();
        }
    }

    fn read(&mut self, text: &str, payload: &[u8], kept: bool) -> Option<ReaderSaid> {
        let (reader, channel) = parse(&self.gateway, text)?;
        let reader = reader.to_owned();
        match channel {
            Channel::State if is_ready(payload) => {
                self.say_rest(&reader);
                Some(ReaderSaid::Ready { reader, firmware: None, clock: None })
            }
            Channel::State => Some(ReaderSaid::Lost { reader }),
            Channel::Birth => match Birth::read(payload) {
                Ok(birth) => {
                    if kept {
                        return Some(ReaderSaid::Kept { reader, firmware: birth.fw });
                    }
                    let told = birth.mono_ms.filter(|_| !birth.boot.is_empty());
                    let clock = told.map(|mono_ms| ReaderClock { boot: birth.boot, mono_ms });
                    Some(ReaderSaid::Ready { reader, firmware: Some(birth.fw), clock })
                }
                Err(error) => {
                    tracing::warn!(reader, "birth not taken: {error}");
                    None
                }
            },
            Channel::Swipe => match SwipeMessage::read(payload) {
                Ok(message) => Some(ReaderSaid::Swipe { reader, message }),
                Err(error) => {
                    tracing::warn!(reader, "swipe not taken: {error}");
                    None
                }
            },
            Channel::SwipeAck | Channel::LightSet | Channel::LightFlash | Channel::Light => None,
        }
    }

    fn carry_out(&mut self, order: MqttOrder) {
        match order {
            MqttOrder::Rest { reader, colour } => {
                self.rests.insert(reader.clone(), colour);
                self.say_rest(&reader);
            }
            MqttOrder::Flash { reader, colour } => self.flash(&reader, colour, None),
            MqttOrder::Answer { reader, flash, boot, seq, result } => {
                if let Some(colour) = flash {
                    self.flash(&reader, colour, Some(seq));
                }
                if let Some(result) = result {
                    self.publish(&reader, Channel::SwipeAck, false, &SwipeAck { boot: &boot, seq, result });
                }
            }
        }
    }

    fn flash(&mut self, reader: &str, colour: Colour, for_seq: Option<u64>) {
        let (id, colour) = (self.id(), word(colour));
        let message =
            LightFlash { id, colour, on_ms: 200, off_ms: 200, count: 3, for_seq, ttl_ms: FLASH_TTL_MS };
        self.publish(reader, Channel::LightFlash, false, &message);
    }

    fn say_all_rests(&mut self) {
        self.unsaid.extend(self.rests.keys().cloned());
    }

    fn say_rest(&mut self, reader: &str) {
        self.unsaid.insert(reader.to_owned());
    }

    /// Says the lights at rest that are to be said, as far as there is room in the queue: flashes need some of it.
    fn say_rests(&mut self) {
        if !self.hears {
            return;
        }
        for _ in 0..RESTS_AT_ONCE {
            let Some(reader) = self.unsaid.pop_first() else { return };
            let Some(colour) = self.rests.get(&reader).copied() else { continue };
            let message = LightSet { id: self.id(), base: word(colour), lease_s: LEASE_S };
            if !self.publish(&reader, Channel::LightSet, true, &message) {
                self.unsaid.insert(reader);
                return;
            }
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// `false` when there was no room: the reader sends its swipe again, and a light at rest is said later.
    fn publish(&self, reader: &str, channel: Channel, retain: bool, message: &impl Serialize) -> bool {
        let Ok(payload) = serde_json::to_vec(message) else { return true };
        let topic = topic(&self.gateway, reader, channel);
        let sent = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload);
        if let Err(error) = &sent {
            tracing::debug!(reader, "not sent: {error}");
        }
        sent.is_ok()
    }
}
