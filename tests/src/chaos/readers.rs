//! The doors: simulated readers, by MQTT and on one OSDP bus, at which cards are held all the time, by seed.
//!
//! Each card is held to one reader once, so that whatever the hub has of it can have one cause only. An MQTT reader
//! keeps a swipe until it is acknowledged; what an OSDP reader had reported to a gateway that died is gone, and
//! nobody saw a light. An MQTT flash names the swipe that it answers; one at an OSDP reader that could be several cards'
//! is counted, and promises nothing.

#![expect(clippy::unwrap_used, reason = "a suite that cannot be set up should stop at once, and say where")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reader_sim::device::mqtt::MqttReader;
use reader_sim::device::osdp::{OsdpBus, OsdpReader, ReaderKey};
use reader_sim::device::{DeviceEvent, Shown};
use reader_sim::plan::Colour;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::history::{Answer, History};
use super::site::{MQTT_READERS, OSDP_READERS, credential};

/// How long an OSDP reader waits for a light before the next card is held to it.
const OSDP_ANSWER: Duration = Duration::from_millis(2_500);
/// After a light that is not clear whose it is, so long without one makes it clear again.
const OSDP_QUIET: Duration = Duration::from_millis(4_000);
/// The most cards that are held to an MQTT reader at once.
const BURST: u32 = 5;

/// The cards, in a random order, each drawn once.
#[derive(Debug)]
struct Deck {
    order: Vec<u32>,
    next: AtomicUsize,
}

impl Deck {
    fn draw(&self) -> Option<u32> {
        self.order.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }
}

/// How swipes are made.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// The longest pause between an answer and the next card, in milliseconds.
    pub pause_ms: u64,
    /// So many cards are held to an MQTT reader at once, each time; else one, and now and then a few.
    pub at_once: u32,
}

/// All readers of a site.
#[derive(Debug)]
pub struct Readers {
    history: History,
    deck: Arc<Deck>,
    seed: u64,
    bus: Arc<OsdpBus>,
    heard: BTreeMap<String, UnboundedReceiver<DeviceEvent>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What all doors share.
struct Door {
    code: String,
    deck: Arc<Deck>,
    history: History,
    random: ChaCha8Rng,
    pace: Pace,
    stop: watch::Receiver<bool>,
}

impl Readers {
    /// Readers with power, and nobody before them. `cards` is how many the site has.
    #[must_use]
    pub fn new(history: History, seed: u64, cards: u32) -> Self {
        let mut order: Vec<u32> = (0..cards).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (events, mut from_bus) = unbounded_channel();
        let code = |it: usize| format!("D{it}");
        let address = |it: usize| u8::try_from(it + 1).unwrap();
        let readers = (0..OSDP_READERS).map(|it| OsdpReader {
            code: code(it),
            address: address(it),
            serial: 7,
            key: ReaderKey::None,
        });
        let bus = Arc::new(OsdpBus::on_new_pty(readers.collect(), events).unwrap());
        let (mut to, mut heard) = (BTreeMap::new(), BTreeMap::new());
        for it in 0..OSDP_READERS {
            let (sender, receiver) = unbounded_channel();
            to.insert(code(it), sender);
            heard.insert(code(it), receiver);
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(event) = from_bus.recv().await {
                let (DeviceEvent::Online { reader }
                | DeviceEvent::Light { reader, .. }
                | DeviceEvent::Buzzer { reader }
                | DeviceEvent::Keyed { reader }
                | DeviceEvent::Acknowledged { reader, .. }) = &event;
                // A door that has stopped listens no more.
                let _ = to.get(reader).map(|to| to.send(event.clone()));
            }
        });
        let deck = Arc::new(Deck { order, next: AtomicUsize::new(0) });
        let stop = watch::channel(false).0;
        Self { history, deck, seed, bus, heard, stop, tasks }
    }

    /// The port that the gateway opens.
    #[must_use]
    pub fn bus(&self) -> &Path {
        self.bus.path()
    }

    /// People come: from the first blue light on, cards are held to all readers.
    pub fn start(&mut self, broker_port: u16, pace: &Pace) {
        let mut seed = self.seed;
        let mut door = |code: String| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Door {
                code,
                deck: self.deck.clone(),
                history: self.history.clone(),
                random: ChaCha8Rng::seed_from_u64(seed),
                pace: pace.clone(),
                stop: self.stop.subscribe(),
            }
        };
        for it in 0..MQTT_READERS {
            let door = door(format!("M{it}"));
            self.tasks.spawn(door.mqtt(broker_port));
        }
        for (code, heard) in std::mem::take(&mut self.heard) {
            let door = door(code);
            self.tasks.spawn(door.osdp(self.bus.clone(), heard));
        }
    }

    /// Nobody comes any more; waits until all MQTT swipes are acknowledged, or for so long.
    /// The bus stays while this does: a pty that is given back may be somebody else's at once, and a gateway that
    /// runs still would open it.
    pub async fn stop(&mut self, patience: Duration) {
        self.stop.send_replace(true);
        let deadline = Instant::now() + patience;
        // All but the one that carries the bus's events, which ends with the bus.
        while self.tasks.len() > 1
            && matches!(timeout_at(deadline, self.tasks.join_next()).await, Ok(Some(_)))
        {}
        self.tasks.shutdown().await;
    }
}

impl Door {
    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    async fn pause(&mut self) {
        let pause = Duration::from_millis(self.random.random_range(0..=self.pace.pause_ms));
        let mut stop = self.stop.clone();
        // Whether it was told or the pause is over is looked at afterwards.
        let _ = timeout(pause, stop.wait_for(|stop| *stop)).await;
    }

    fn hold(&self, card: u32, mqtt: bool) -> usize {
        self.history.present(card, &self.code, mqtt)
    }

    async fn mqtt(mut self, broker_port: u16) {
        let (events, mut heard) = unbounded_channel();
        let (gateway, host) = ("GW-A".to_owned(), "127.0.0.1".to_owned());
        let reader =
            MqttReader::connect(self.code.clone(), gateway, host, broker_port, events).await.unwrap();
        // The places of all that were held to it, by the swipe's number; and those not acknowledged yet.
        let mut held: BTreeMap<u64, usize> = BTreeMap::new();
        let mut waiting: BTreeSet<u64> = BTreeSet::new();
        let mut lit = false;
        loop {
            if waiting.is_empty() && self.stopped() {
                return reader.stop().await;
            }
            if waiting.is_empty() && lit {
                self.pause().await;
                if self.stopped() {
                    continue;
                }
                let count = match self.pace.at_once {
                    2.. => self.pace.at_once,
                    _ if self.random.random_ratio(1, 5) => self.random.random_range(2..=BURST),
                    _ => 1,
                };
                for card in (0..count).map_while(|_| self.deck.draw()) {
                    let place = self.hold(card, true);
                    let seq = reader.present(&credential(card)).unwrap();
                    held.insert(seq, place);
                    waiting.insert(seq);
                }
                lit = !waiting.is_empty();
            }
            tokio::select! {
                event = heard.recv() => match event {
                    // The broker keeps no order between topics, and a swipe that is sent again is answered again:
                    // only what a flash says itself tells whose it is.
                    Some(DeviceEvent::Light { shown: Shown::Flash(colour), answers, .. }) => {
                        match answers.and_then(|seq| held.get(&seq)) {
                            Some(place) => self.history.answer(*place, Answer::Flash(colour)),
                            None => self.history.unclear(),
                        }
                    }
                    Some(DeviceEvent::Light { shown: Shown::Base(colour), .. }) => lit |= colour == Colour::Blue,
                    Some(DeviceEvent::Acknowledged { seq, result, .. }) => {
                        if waiting.remove(&seq) && let Some(place) = held.get(&seq) {
                            self.history.answer(*place, Answer::Acknowledged(result));
                        }
                    }
                    Some(DeviceEvent::Online { .. }) => self.history.sign(),
                    Some(DeviceEvent::Buzzer { .. } | DeviceEvent::Keyed { .. }) => {}
                    None => return,
                },
                Ok(()) = self.stop.changed() => {}
            }
        }
    }

    async fn osdp(mut self, bus: Arc<OsdpBus>, mut heard: UnboundedReceiver<DeviceEvent>) {
        let mut lit = false;
        while !lit && !self.stopped() {
            tokio::select! {
                event = heard.recv() => match event {
                    Some(DeviceEvent::Light { shown: Shown::Base(colour), .. }) => lit = colour == Colour::Blue,
                    Some(_) => self.history.sign(),
                    None => return,
                },
                Ok(()) = self.stop.changed() => {}
            }
        }
        // Those whose light was not seen yet.
        let mut dark: Vec<usize> = Vec::new();
        while !self.stopped() {
            self.pause().await;
            let Some(card) = self.deck.draw() else { return };
            dark.push(self.hold(card, false));
            bus.present(&self.code, &credential(card)).unwrap();
            let Some(colour) = self.flash(&mut heard, OSDP_ANSWER).await else { continue };
            if let [place] = dark[..] {
                self.history.answer(place, Answer::Flash(colour));
            } else {
                self.history.unclear();
                while self.flash(&mut heard, OSDP_QUIET).await.is_some() {
                    self.history.unclear();
                }
                // What still waits in the reader for a gateway would be answered later, as if it were the next card.
                bus.unplug(&self.code, true).unwrap();
                bus.unplug(&self.code, false).unwrap();
            }
            dark.clear();
        }
    }

    /// The next flash; none when none comes for so long.
    async fn flash(&self, heard: &mut UnboundedReceiver<DeviceEvent>, patience: Duration) -> Option<Colour> {
        let deadline = Instant::now() + patience;
        loop {
            match timeout_at(deadline, heard.recv()).await.ok()?? {
                DeviceEvent::Light { shown: Shown::Flash(colour), .. } => return Some(colour),
                _ => self.history.sign(),
            }
        }
    }
}

/// Lets a random time pass, up to so many milliseconds: the moment of an attack.
pub async fn random_moment(random: &mut ChaCha8Rng, up_to_ms: u64) {
    sleep(Duration::from_millis(random.random_range(0..=up_to_ms))).await;
}
