//! Builds, wires and stops the gateway; the one file that knows all of it.
//!
//! Called by `main`, and by the simulator and the tests, which bring their own clock. One task owns the mind
//! (`core`) and does what it says; readers, journal and hub have tasks of their own and meet only here.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rollcall_rules::light::Colour;
use rollcall_rules::time::Instant;
use rollcall_rules::verdict::Decision;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::clock::{BUILT_AFTER, Clock, SystemClock};
use crate::config::Config;
use crate::core::{Answer, Change, Gateway, Input, Output, Read, Tag};
use crate::journal::disk::Folder;
use crate::journal::log::Log;
use crate::journal::record::Record;
use crate::journal::writer::{Journal, Written};
use crate::mqtt::client::{MqttOrder, ReaderSaid};
use crate::mqtt::{broker, client as mqtt_client};
use crate::osdp::bus::{self, BusOrder, BusSettings};
use crate::osdp::command::LedColour;
use crate::osdp::panel::Event;
use crate::timetable::Cache;
use crate::uplink::client::HubClient;
use crate::uplink::connect::Address;
use crate::uplink::feed::FeedTask;
use crate::uplink::sender::{ReaderStatus, SenderTask, Status, StatusAsk};

/// How many happenings of one kind may wait.
const QUEUE: usize = 1_024;
/// How long a fatal fault leaves readers to show red before the gateway ends.
const LAST_RED: Duration = Duration::from_secs(2);
/// How long lights get to go off when the gateway stops.
const LAST_OFF: Duration = Duration::from_millis(300);

/// Which clock the gateway runs by.
pub enum TimeSource {
    /// The machine's own.
    System,
    /// One that the caller brings: simulators and tests.
    Injected(Arc<dyn Clock>),
}

/// A gateway that runs.
pub struct RunningGateway {
    status: mpsc::Sender<StatusAsk>,
    stop: watch::Sender<bool>,
    main: JoinHandle<anyhow::Result<()>>,
}

impl RunningGateway {
    /// How it is; `None` when it has ended.
    pub async fn status(&self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        self.status.send(reply).await.ok()?;
        answer.await.ok()
    }

    /// Stops: lights go off, what is durable stays.
    ///
    /// # Errors
    /// When it had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.main.await.context("the gateway's task ended badly")?
    }

    /// Waits until it ends by itself, which it does only when it fails.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.main).await.context("the gateway's task ended badly")?
    }
}

/// Where a reader hangs.
#[derive(Debug, Clone, Copy)]
struct OnBus {
    bus: usize,
    address: u8,
}

/// How a reader is, beside what the mind knows.
#[derive(Debug, Clone, Default)]
struct Seen {
    online: bool,
    firmware: Option<String>,
    last_swipe: Option<Instant>,
}

/// The gateway's hands.
struct App {
    mind: Gateway,
    clock: Arc<dyn Clock>,
    journal: Journal,
    buses: Vec<mpsc::Sender<BusOrder>>,
    mqtt: Option<mpsc::Sender<MqttOrder>>,
    places: BTreeMap<String, OnBus>,
    codes: BTreeMap<(usize, u8), String>,
    seen: BTreeMap<String, Seen>,
    durable: watch::Sender<u64>,
    last_durable: u64,
    current_at: Option<Instant>,
    fault: Option<String>,
    _lock: File,
}

/// Everything that may happen.
enum Happening {
    Bus(usize, u8, Event),
    Mqtt(ReaderSaid),
    Written(Written),
    Input(Input),
    Status(StatusAsk),
    Current,
    Tick,
    Broken(String),
    Stop,
}

/// Starts a gateway.
///
/// # Errors
/// When its data, its broker's address or its token cannot be used.
pub async fn start(config: &Config, time: TimeSource) -> anyhow::Result<RunningGateway> {
    let address = Address::new(&config.hub.url, config.hub.ca_file.as_deref())?;
    let token = config.token()?;
    let data = Folder::open(config.data.clone())
        .with_context(|| format!("the folder {} cannot be made", config.data.display()))?;
    drop(data);
    let lock = lock(config)?;
    let journal_folder =
        Folder::open(config.data.join("journal")).context("the journal's folder cannot be made")?;
    let mut remembered = Vec::new();
    let mut handed_over = 0;
    let (log, damages) = Log::open(journal_folder, Uuid::new_v4(), |stored| {
        match serde_json::from_slice::<Record>(&stored.body) {
            Ok(Record::Swipe(swipe)) => remembered.push(swipe),
            Ok(Record::HandedOver { through, .. }) => handed_over = handed_over.max(through),
            Err(error) => tracing::error!(sequence = stored.sequence, "a record cannot be read: {error}"),
        }
    })?;
    for damage in &damages {
        let (segment, from, what) = (&damage.segment, damage.from, &damage.what);
        if damage.torn_tail {
            tracing::warn!(%segment, from, "a torn write at the journal's end was cut: {what}; nothing acknowledged is lost");
        } else {
            tracing::error!(%segment, from, "the journal is damaged: {what}; records from there on in this segment are lost");
        }
    }
    let last = remembered.iter().map(|swipe| swipe.at).max().map(Instant);
    let clock: Arc<dyn Clock> = match time {
        TimeSource::System => Arc::new(SystemClock::new(last)),
        TimeSource::Injected(clock) => clock,
    };
    let (cache, cached, _) = Cache::open(&config.data.join("cache"))?;
    let mut mind = Gateway::new(clock.boot_id());
    let now = clock.read();
    let facts = cached.config.as_ref().map(|config| config.reader_facts()).unwrap_or_default();
    for swipe in &remembered {
        let code = facts.iter().find(|reader| reader.id == swipe.reader).map(|reader| reader.code.as_str());
        mind.remember(swipe, code);
    }
    drop(remembered);
    let changes = cached.items.iter().map(|(id, item)| Change::Upsert(item.fact(*id))).collect();
    let basis = cached.cursor.clone().unwrap_or_default();
    mind.handle(Input::Facts { changes, replace: true, basis }, now);
    if let Some(config) = &cached.config {
        mind.handle(Input::Config { readers: facts, secret: config.card_secret() }, now);
    }
    let (sessions, stays, cards) = mind.timetable().counts();
    tracing::info!(gateway = %config.gateway, sessions, memberships = stays, cards, "cache read");

    let (happen, happenings) = Channels::new();
    // Asked to stop, the gateway first puts its lights out; only then its tasks are told to end.
    let (ask, asked) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let last_durable = log.next_sequence().saturating_sub(1);
    let (durable, durable_seen) = watch::channel(last_durable);
    let journal_id = log.journal();
    let journal =
        Journal::start(log, happen.written.clone()).context("the journal's thread cannot be started")?;

    let mut tasks = JoinSet::new();
    let mut app = App {
        mind,
        clock: clock.clone(),
        journal: journal.clone(),
        buses: Vec::new(),
        mqtt: None,
        places: BTreeMap::new(),
        codes: BTreeMap::new(),
        seen: BTreeMap::new(),
        durable,
        last_durable,
        current_at: cached.synced_at.map(Instant),
        fault: None,
        _lock: lock,
    };
    app.start_buses(config, &happen, &stopping, &mut tasks);
    if let Some(mqtt) = &config.mqtt {
        app.start_mqtt(config, mqtt.listen, &happen, &stopping, &mut tasks)?;
    }
    let (current, current_seen) = watch::channel(0u64);
    let feed = FeedTask {
        address: address.clone(),
        token: token.clone(),
        cache: cache.clone(),
        cursor: cached.cursor,
        inputs: happen.input.clone(),
        stop: stopping.clone(),
        current,
    };
    tasks.spawn(feed.run());
    let sender = SenderTask {
        client: HubClient::new(address, token),
        journal_id,
        journal,
        handed_over,
        durable: durable_seen,
        status: happen.status.clone(),
        clock,
        data: config.data.clone(),
        stop: stopping.clone(),
    };
    tasks.spawn(sender.run());
    let status = happen.status.clone();
    let main = tokio::spawn(app.run(happenings, current_seen, cache, stop, asked, tasks));
    Ok(RunningGateway { status, stop: ask, main })
}

fn lock(config: &Config) -> anyhow::Result<File> {
    let path = config.data.join("lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another gateway runs on {}; stop it first", config.data.display());
    }
    Ok(file)
}

/// The ends that tasks send to.
struct Channels {
    bus: mpsc::Sender<(usize, u8, Event)>,
    mqtt: mpsc::Sender<ReaderSaid>,
    written: mpsc::Sender<Written>,
    input: mpsc::Sender<Input>,
    status: mpsc::Sender<StatusAsk>,
    broken: mpsc::Sender<String>,
}

/// The ends that the main task hears.
struct Hearing {
    bus: mpsc::Receiver<(usize, u8, Event)>,
    mqtt: mpsc::Receiver<ReaderSaid>,
    written: mpsc::Receiver<Written>,
    input: mpsc::Receiver<Input>,
    status: mpsc::Receiver<StatusAsk>,
    broken: mpsc::Receiver<String>,
    _keep: Keep,
}

/// Keeps channels open whose tasks may not exist, so that hearing them waits rather than ends.
struct Keep {
    _bus: mpsc::Sender<(usize, u8, Event)>,
    _mqtt: mpsc::Sender<ReaderSaid>,
    _broken: mpsc::Sender<String>,
}

impl Channels {
    fn new() -> (Self, Hearing) {
        let (bus, bus_heard) = mpsc::channel(QUEUE);
        let (mqtt, mqtt_heard) = mpsc::channel(QUEUE);
        let (written, written_heard) = mpsc::channel(QUEUE);
        let (input, input_heard) = mpsc::channel(QUEUE);
        let (status, status_heard) = mpsc::channel(QUEUE);
        let (broken, broken_heard) = mpsc::channel(4);
        let keep = Keep { _bus: bus.clone(), _mqtt: mqtt.clone(), _broken: broken.clone() };
        let hearing = Hearing {
            bus: bus_heard,
            mqtt: mqtt_heard,
            written: written_heard,
            input: input_heard,
            status: status_heard,
            broken: broken_heard,
            _keep: keep,
        };
        (Self { bus, mqtt, written, input, status, broken }, hearing)
    }
}

impl App {
    fn start_buses(
        &mut self,
        config: &Config,
        happen: &Channels,
        stopping: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        for (index, settings) in config.buses.iter().enumerate() {
            for reader in &settings.readers {
                self.places.insert(reader.code.clone(), OnBus { bus: index, address: reader.address });
                self.codes.insert((index, reader.address), reader.code.clone());
            }
            let (orders, ordered) = mpsc::channel(QUEUE);
            self.buses.push(orders);
            let (events, mut heard) = mpsc::channel(QUEUE);
            let forward = happen.bus.clone();
            tasks.spawn(async move {
                while let Some((address, event)) = heard.recv().await {
                    if forward.send((index, address, event)).await.is_err() {
                        return;
                    }
                }
            });
            let settings = BusSettings {
                port: settings.port.clone(),
                baud: settings.baud,
                addresses: settings.readers.iter().map(|reader| reader.address).collect(),
            };
            tasks.spawn(bus::run(settings, ordered, events, stopping.clone()));
        }
    }

    fn start_mqtt(
        &mut self,
        config: &Config,
        listen: SocketAddr,
        happen: &Channels,
        stopping: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let broken = happen.broken.clone();
        broker::start(listen, move || {
            // Nobody hears it when the gateway has stopped already.
            let _ = broken.blocking_send("the MQTT broker ended".to_owned());
        })?;
        let (orders, ordered) = mpsc::channel(QUEUE);
        self.mqtt = Some(orders);
        tasks.spawn(mqtt_client::run(
            config.gateway.clone(),
            listen,
            ordered,
            happen.mqtt.clone(),
            stopping.clone(),
        ));
        Ok(())
    }

    async fn run(
        mut self,
        mut hear: Hearing,
        mut current: watch::Receiver<u64>,
        cache: Cache,
        stop: watch::Sender<bool>,
        mut asked: watch::Receiver<bool>,
        mut tasks: JoinSet<()>,
    ) -> anyhow::Result<()> {
        self.act().await;
        while self.fault.is_none() {
            let clock = self.clock.clone();
            let tick = async {
                match self.mind.poll_timeout() {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let happening = tokio::select! {
                biased;
                Some(written) = hear.written.recv() => Happening::Written(written),
                Some((bus, address, event)) = hear.bus.recv() => Happening::Bus(bus, address, event),
                Some(said) = hear.mqtt.recv() => Happening::Mqtt(said),
                Some(reply) = hear.status.recv() => Happening::Status(reply),
                Some(input) = hear.input.recv() => Happening::Input(input),
                Some(reason) = hear.broken.recv() => Happening::Broken(reason),
                Ok(()) = current.changed() => Happening::Current,
                () = crate::stop::told(&mut asked) => Happening::Stop,
                () = tick => Happening::Tick,
            };
            if matches!(happening, Happening::Stop) {
                break;
            }
            self.handle(happening, &cache);
            self.act().await;
        }
        match &self.fault {
            Some(reason) => {
                tracing::error!("{reason}; showing red where swipes were refused, then ending");
                // Swipes that were under way get their red before the process ends.
                while let Ok(Some(written)) = tokio::time::timeout(LAST_RED, hear.written.recv()).await {
                    self.handle(Happening::Written(written), &cache);
                    self.act().await;
                }
            }
            None => {
                self.all_off().await;
                tokio::time::sleep(LAST_OFF).await;
            }
        }
        stop.send_replace(true);
        // Tasks end by themselves at their next look; those that hang on a network are cut off.
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(2), ended).await.is_err() {
            tasks.shutdown().await;
        }
        match self.fault {
            Some(reason) => bail!("{reason}"),
            None => Ok(()),
        }
    }

    fn handle(&mut self, happening: Happening, cache: &Cache) {
        let now = self.clock.read();
        match happening {
            Happening::Bus(bus, address, event) => {
                if let Some(code) = self.codes.get(&(bus, address)).cloned() {
                    self.bus_event(code, event);
                }
            }
            Happening::Mqtt(said) => self.mqtt_said(said),
            Happening::Written(Written::Durable(done)) => {
                for (ticket, sequence) in done {
                    self.last_durable = self.last_durable.max(sequence);
                    self.mind.handle(Input::Durable { ticket }, now);
                    // A note of the sender's own (ticket 0) is nothing to hand over.
                    if ticket != 0 {
                        self.durable.send_replace(self.last_durable);
                    }
                }
            }
            Happening::Written(Written::Failed(tickets, error)) => {
                for ticket in tickets {
                    self.mind.handle(Input::NotDurable { ticket }, now);
                }
                self.fault.get_or_insert_with(|| error.to_string());
            }
            Happening::Input(input) => self.mind.handle(input, now),
            Happening::Status(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.status());
            }
            Happening::Current => {
                self.current_at = Some(now.at);
                if let Err(error) = cache.synced(now.at.0) {
                    tracing::warn!("{error}");
                }
            }
            Happening::Tick => self.mind.handle(Input::Tick, now),
            Happening::Broken(reason) => self.fault = Some(reason),
            Happening::Stop => {}
        }
    }

    fn bus_event(&mut self, code: String, event: Event) {
        let now = self.clock.read();
        let seen = self.seen.entry(code.clone()).or_default();
        match event {
            Event::Online(identity) => {
                let [major, minor, build] = identity.firmware;
                seen.online = true;
                seen.firmware = Some(format!("{major}.{minor}.{build}"));
                tracing::info!(reader = %code, serial = identity.serial, "reader online");
            }
            Event::Offline => {
                seen.online = false;
                tracing::warn!(reader = %code, "reader offline: silent for 8 s; is it powered and the line whole?");
            }
            Event::Card(card) => {
                seen.last_swipe = Some(now.at);
                self.mind.handle(Input::Read(Read { reader: code, card, tag: None, random: random() }), now);
            }
            Event::FormattedCard => {
                tracing::warn!(reader = %code, "the reader sends formatted card data, which is ambiguous; set it to raw bits");
            }
            Event::Keypad { digits } => tracing::debug!(reader = %code, digits, "keys pressed"),
            Event::Tamper(true) => tracing::warn!(reader = %code, "tamper: the reader was opened"),
            Event::Tamper(false) => tracing::info!(reader = %code, "tamper over"),
            Event::PowerUp => tracing::info!(reader = %code, "the reader was switched on"),
        }
    }

    fn mqtt_said(&mut self, said: ReaderSaid) {
        let now = self.clock.read();
        match said {
            ReaderSaid::Ready { reader, firmware } => {
                let seen = self.seen.entry(reader.clone()).or_default();
                if !seen.online {
                    tracing::info!(%reader, "reader online");
                }
                seen.online = true;
                seen.firmware = firmware.or(seen.firmware.take());
            }
            ReaderSaid::Lost { reader } => {
                tracing::warn!(%reader, "reader lost");
                self.seen.entry(reader).or_default().online = false;
            }
            ReaderSaid::Swipe { reader, message } => {
                if self.places.contains_key(&reader) {
                    tracing::warn!(%reader, "a swipe by MQTT for a reader that hangs on a serial line: not taken");
                    return;
                }
                self.seen.entry(reader.clone()).or_default().last_swipe = Some(now.at);
                let tag = Tag {
                    boot: message.boot,
                    seq: message.seq,
                    mono_ms: message.mono_ms,
                    historical: message.historical,
                };
                let read = Read { reader, card: message.card, tag: Some(tag), random: random() };
                self.mind.handle(Input::Read(read), now);
            }
        }
    }

    /// Does what the mind says.
    async fn act(&mut self) {
        while let Some(output) = self.mind.poll_output() {
            match output {
                Output::Append { ticket, record } => match serde_json::to_vec(&Record::Swipe(record)) {
                    Ok(body) => self.journal.append(ticket, body).await,
                    Err(error) => {
                        tracing::error!("a record cannot be written: {error}");
                        let now = self.clock.read();
                        self.mind.handle(Input::NotDurable { ticket }, now);
                    }
                },
                Output::Rest { reader, colour } => self.rest(reader, colour).await,
                Output::Answer(answer) => self.answer(answer).await,
            }
        }
    }

    async fn rest(&mut self, reader: String, colour: Colour) {
        tracing::debug!(%reader, ?colour, "light at rest");
        match (self.places.get(&reader), &self.mqtt) {
            (Some(place), _) => {
                let order = BusOrder::Rest { address: place.address, colour: led(colour) };
                // A bus that has ended shows nothing any more.
                let _ = self.buses[place.bus].send(order).await;
            }
            (None, Some(mqtt)) => {
                let _ = mqtt.send(MqttOrder::Rest { reader, colour }).await;
            }
            (None, None) => {}
        }
    }

    async fn answer(&mut self, answer: Answer) {
        let Answer { reader, flash, tag, kept } = answer;
        match (self.places.get(&reader), &self.mqtt, tag) {
            (Some(place), ..) => {
                if let Some(colour) = flash {
                    let beeps = if colour == Colour::Green { 1 } else { 2 };
                    let order = BusOrder::Flash { address: place.address, colour: led(colour), beeps };
                    let _ = self.buses[place.bus].send(order).await;
                }
            }
            (None, Some(mqtt), Some((boot, seq))) => {
                let result = kept.map(|decision| match decision {
                    Decision::Recorded => "recorded",
                    Decision::NotRecorded => "not_recorded",
                    Decision::Pending => "kept",
                });
                let _ = mqtt.send(MqttOrder::Answer { reader, flash, boot, seq, result }).await;
            }
            _ => {}
        }
    }

    async fn all_off(&mut self) {
        let codes: Vec<String> = self.mind.rests().keys().cloned().collect();
        for code in codes {
            self.rest(code, Colour::Off).await;
        }
    }

    fn status(&self) -> Status {
        let now = self.clock.read();
        let rests = self.mind.rests();
        Status {
            now,
            durable_before: self.mind.durable_before(now.when.earliest.max(BUILT_AFTER)),
            last_durable: self.last_durable,
            basis: self.mind.basis().to_owned(),
            readers: self
                .mind
                .readers()
                .map(|reader| {
                    let seen = self.seen.get(&reader.code).cloned().unwrap_or_default();
                    ReaderStatus {
                        id: reader.id,
                        code: reader.code.clone(),
                        online: seen.online,
                        light: rests.get(&reader.code).copied().unwrap_or(Colour::Off),
                        firmware: seen.firmware,
                        last_swipe: seen.last_swipe,
                    }
                })
                .collect(),
            current_at: self.current_at,
        }
    }
}

fn led(colour: Colour) -> LedColour {
    match colour {
        Colour::Off => LedColour::Off,
        Colour::Blue => LedColour::Blue,
        Colour::Green => LedColour::Green,
        Colour::Red => LedColour::Red,
        Colour::Amber => LedColour::Amber,
    }
}

/// Randomness for a swipe's id.
fn random() -> [u8; 10] {
    let mut bytes = [0u8; 10];
    if getrandom::fill(&mut bytes).is_err() {
        // The kernel has no randomness: version 4 ids ask it too, but by another way.
        bytes.copy_from_slice(&Uuid::new_v4().as_bytes()[..10]);
    }
    bytes
}
