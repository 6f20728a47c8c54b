//! Builds, wires and stops the gateway; with the rooms below it the one that knows all of it.
//!
//! Called by `main`, and by the simulator and the tests, which bring their own clock. One task owns the mind
//! (`core`) and does what it says (`hands`); readers, journal and hub have tasks of their own and meet only there.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::BoxFuture;
use rollcall_rules::time::Instant;
use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::ascii::line;
use crate::clock::{self, Clock, SystemClock};
use crate::config::{Config, GateConfig};
use crate::core::outages::Cause;
use crate::core::reading::NO_TIME_BEFORE;
use crate::core::{Change, Gateway, Input};
use crate::journal::disk::Folder;
use crate::journal::record::Record;
use crate::journal::writer::Journal;
use crate::keys::ReaderKeys;
use crate::mqtt::certificate::{self, Authority, authority};
use crate::mqtt::gate::{self, GateSettings};
use crate::mqtt::known::Known;
use crate::mqtt::{broker, client as mqtt_client, front};
use crate::osdp::bus;
use crate::page::{self, Windows};
use crate::setup::capture;
use crate::timetable::Cache;
use crate::uplink::client::HubClient;
use crate::uplink::connect::Address;
use crate::uplink::feed::{FeedTask, Rebuild};
use crate::uplink::sender::{Handing, Noted, SenderTask, Status, StatusAsk};
use crate::uplink::sign::SigningKey;
use crate::walk;

mod care;
mod channels;
mod found;
mod hands;
mod heard;
mod installer;
mod notes;
mod refusals;
mod standing;

use channels::Channels;
use found::Found;
use hands::{Hands, OnBus};
use notes::Notes;
use refusals::{Refusals, Unrecorded};

/// How many happenings of one kind may wait.
const QUEUE: usize = 1_024;
/// So often, and after so long each time, a lock is asked for again.
const LOCK_TRIES: usize = 10;
const LOCK_AGAIN: Duration = Duration::from_millis(50);

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
    journal: Journal,
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

    /// Whether its main loop and its journal's thread answer.
    pub async fn answers(&self) -> bool {
        self.status().await.is_some() && self.journal.standing().await.is_some()
    }

    /// Stops: lights go off, what is durable stays.
    ///
    /// # Errors
    /// When it had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.main.await.context("the gateway's task ended badly")?
    }

    /// Waits until it has ended.
    pub async fn closed(&self) {
        self.status.closed().await;
    }

    /// Waits until it ends by itself, which it does only when it fails.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.main).await.context("the gateway's task ended badly")?
    }
}

/// Starts a gateway.
///
/// # Errors
/// When its data, its broker's address or its token cannot be used.
pub fn start(config: &Config, time: TimeSource) -> BoxFuture<'_, anyhow::Result<RunningGateway>> {
    Box::pin(start_up(config, time))
}

async fn start_up(config: &Config, time: TimeSource) -> anyhow::Result<RunningGateway> {
    let token = config.token()?;
    let data = Folder::open(config.data.clone())
        .with_context(|| format!("the folder {} cannot be made", config.data.display()))?;
    drop(data);
    let lock = lock(&config.data).await?;
    let clock_file = config.data.join("clock.json");
    let alive = clock::last_alive(&clock_file);
    let keeps_time = matches!(time, TimeSource::System);
    let clock: Arc<dyn Clock> = match time {
        TimeSource::System => Arc::new(SystemClock::new(clock_file)),
        TimeSource::Injected(clock) => clock,
    };
    let address = Address::new(&config.hub.url, config.hub.ca_file.as_deref(), clock.clone())?;
    let time_is_the_hubs = address.is_private() || config.hub.time_without_tls;
    if !address.is_private() {
        tracing::warn!(
            "{} is neither https nor on this machine: whoever is on the way can read the token, and the hub's time is \
             {}; use https with ca_file",
            config.hub.url,
            if time_is_the_hubs { "believed all the same (time_without_tls)" } else { "not believed" }
        );
    }
    let (cache, cached, damaged) = Cache::open(&config.data.join("cache"));
    let mut mind = Gateway::new(clock.boot_id());
    let facts = cached.config.as_ref().map(|config| config.reader_facts()).unwrap_or_default();
    let mut found = Found::open(config, &mut mind, &*clock)?;
    // The clock's file may be gone; the journal says too when something was last written. A clock that was brought along keeps none.
    let alive = alive.or(found.ran_at.filter(|_| keeps_time));
    let refusals = Refusals::open(&config.data);
    let now = clock.read();
    if let Some(Unrecorded { since, swipes }) = refusals.since() {
        mind.refused_before(since);
        if swipes {
            tracing::warn!("swipes were refused when this gateway ended, and whose is not known any more");
            let since = Some(since).filter(|since| *since > NO_TIME_BEFORE);
            let refused = found.outages.over(Uuid::new_v4(), Cause::SwipesRefused, since, now);
            found.notes.push(Record::Outage(refused));
        }
    }
    let changes = cached.items.iter().map(|(id, item)| Change::Upsert(item.fact(*id))).collect();
    let basis = cached.cursor.clone().unwrap_or_default();
    mind.handle(Input::Facts { changes, replace: true, basis }, now);
    let readers = facts.iter().map(|reader| reader.id);
    let down = found.outages.started(readers, alive, now, Uuid::new_v4);
    found.notes.extend(down.into_iter().map(Record::Outage));
    if let Some(config) = &cached.config {
        mind.handle(Input::Config { readers: facts, secret: config.card_secret() }, now);
    } else {
        let unserved = found.outages.unknowing(alive, now, Uuid::new_v4());
        found.notes.extend(unserved.map(Record::Outage));
    }
    let (sessions, stays, cards) = mind.timetable().counts();
    tracing::info!(gateway = %config.gateway, sessions, memberships = stays, cards, "cache read");

    let (happen, happenings) = Channels::new();
    // Asked to stop, the gateway first puts its lights out; only then its tasks are told to end.
    let (ask, asked) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let last_durable = found.log.next_sequence().saturating_sub(1);
    let (durable, durable_seen) = watch::channel(last_durable);
    let (came_or_went, came_or_went_seen) = watch::channel(0);
    let journal = Journal::start(found.log, happen.written.clone())
        .context("the journal's thread cannot be started")?;
    let (configured, configured_seen) = watch::channel(cached.config.unwrap_or_default());

    let mut tasks = JoinSet::new();
    let mut hands = Hands {
        mind,
        clock: clock.clone(),
        journal: journal.clone(),
        notes: Notes::new(found.notes),
        refusals,
        outages: found.outages,
        buses: Vec::new(),
        ascii: BTreeMap::new(),
        mqtt: None,
        places: BTreeMap::new(),
        codes: BTreeMap::new(),
        seen: BTreeMap::new(),
        durable,
        came_or_went,
        last_durable,
        current_at: cached.synced_at.map(Instant),
        noting: None,
        keeping: None,
        keep_again: false,
        asked: None,
        configured: configured_seen,
        kept_tie: None,
        undated: found.undated,
        recent: VecDeque::new(),
        warned: 0,
        fault: None,
        refused_at_end: None,
        _lock: lock,
    };
    start_buses(config, &ReaderKeys::load(&config.data)?, &mut hands, &happen, &stopping, &mut tasks);
    start_ascii(config, &mut hands, &happen, &stopping, &mut tasks)?;
    if let Some(mqtt) = &config.mqtt {
        start_mqtt(config, mqtt.listen, &mut hands, &happen, &stopping, &mut tasks).await?;
        if let Some(gate) = &mqtt.gate {
            start_gate(config, mqtt.listen, gate, &stopping, &mut tasks).await?;
        }
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
        config: configured,
        rebuild: Rebuild::default(),
        lacking: false,
    };
    tasks.spawn(feed.run());
    let key = SigningKey::load_or_renew(&config.data.join("signing-key"))
        .inspect_err(|error| tracing::error!("no signing key: {error}; swipes go without a signature"));
    let (handing, handing_seen) = watch::channel(Handing::default());
    let windows = Windows {
        gateway: config.gateway.clone(),
        data: config.data.clone(),
        doors: happen.doors.clone(),
        journal: journal.clone(),
        handing: handing_seen,
    };
    start_page(config, windows, &stopping, &mut tasks).await;
    match walk::open(&config.data) {
        Ok(listener) => {
            tasks.spawn(walk::serve(listener, happen.walk.clone(), stopping.clone()));
        }
        Err(error) => tracing::warn!("no 'walk' on this gateway: {}: {error}", config.data.display()),
    }
    let sender = SenderTask {
        client: HubClient::new(address, token),
        journal: journal.clone(),
        key: key.ok(),
        durable: durable_seen,
        readers: came_or_went_seen,
        status: happen.status.clone(),
        clock,
        data: config.data.clone(),
        time_is_the_hubs,
        acknowledged: Noted::load(&config.data),
        cache_damaged: damaged.is_some(),
        handing,
        stop: stopping.clone(),
    };
    tasks.spawn(sender.run());
    let status = happen.status.clone();
    let main = tokio::spawn(hands.run(happenings, current_seen, cache, stop, asked, tasks));
    Ok(RunningGateway { status, journal, stop: ask, main })
}

/// The page is a comfort: where its address is taken or its password cannot be read, doors go on without it.
async fn start_page(
    config: &Config,
    windows: Windows,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) {
    let Some(listen) = config.page.listen() else { return };
    let password = match config.page.password() {
        Ok(password) => password,
        Err(error) => return tracing::warn!("no status page: {error:#}"),
    };
    match TcpListener::bind(listen).await {
        Ok(listener) => {
            let address = listener.local_addr().unwrap_or(listen);
            tracing::info!("status page at http://{address}");
            tasks.spawn(page::serve(listener, windows, password, stopping.clone()));
        }
        Err(error) => tracing::warn!("no status page: {listen}: {error}; say another [page] listen"),
    }
}

pub(crate) async fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    // A check that runs just now looks whether it can be had, and lets go at once.
    let mut tries = tokio::time::interval(LOCK_AGAIN);
    for _ in 0..LOCK_TRIES {
        tries.tick().await;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
    }
    bail!("a gateway runs on {}; stop it first: systemctl stop rollcall-gateway", data.display())
}

fn start_buses(
    config: &Config,
    keys: &ReaderKeys,
    hands: &mut Hands,
    happen: &Channels,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) {
    for (index, settings) in config.buses.iter().enumerate() {
        for reader in &settings.readers {
            hands.places.insert(reader.code.clone(), OnBus { bus: index, address: reader.address });
            hands.codes.insert((index, reader.address), reader.code.clone());
        }
        let (orders, ordered) = mpsc::channel(QUEUE);
        hands.buses.push(orders);
        let (events, mut heard) = mpsc::channel(QUEUE);
        let forward = happen.bus.clone();
        tasks.spawn(async move {
            while let Some((address, event)) = heard.recv().await {
                if forward.send((index, address, event)).await.is_err() {
                    return;
                }
            }
        });
        let tap =
            settings.capture.as_ref().and_then(|path| match capture::to_file(path, hands.clock.read()) {
                Ok((tap, _)) => Some(tap),
                // Doors matter more than what is written for finding faults.
                Err(error) => {
                    tracing::warn!("nothing is captured: {error:#}");
                    None
                }
            });
        let settings = capture::settings(settings, keys, tap);
        tasks.spawn(bus::run(settings, ordered, events, stopping.clone()));
    }
}

fn start_ascii(
    config: &Config,
    hands: &mut Hands,
    happen: &Channels,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    for reader in &config.ascii {
        let settings = reader.settings().with_context(|| format!("ascii {}", reader.code))?;
        let (orders, ordered) = mpsc::channel(QUEUE);
        hands.ascii.insert(reader.code.clone(), orders);
        let (events, mut heard) = mpsc::channel(QUEUE);
        let (code, forward) = (reader.code.clone(), happen.ascii.clone());
        tasks.spawn(async move {
            while let Some(event) = heard.recv().await {
                if forward.send((code.clone(), event)).await.is_err() {
                    return;
                }
            }
        });
        tasks.spawn(line::run(settings, ordered, events, stopping.clone()));
    }
    Ok(())
}

async fn start_mqtt(
    config: &Config,
    listen: SocketAddr,
    hands: &mut Hands,
    happen: &Channels,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let broken = happen.broken.clone();

    let door = broker::door(listen).await?;
    broker::start(listen, move || {
        // Nobody hears it when the gateway has stopped already.
        let _ = broken.blocking_send("the MQTT broker ended".to_owned());
    })?;
    let (orders, ordered) = mpsc::channel(QUEUE);
    hands.mqtt = Some(orders);
    tasks.spawn(front::serve(door, broker::behind(listen).0, stopping.clone()));
    tasks.spawn(mqtt_client::run(
        config.gateway.clone(),
        listen,
        ordered,
        happen.mqtt.clone(),
        stopping.clone(),
    ));
    Ok(())
}

/// Opens the door for readers on the network.
async fn start_gate(
    config: &Config,
    broker: SocketAddr,
    gate: &GateConfig,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let own = Authority::of(&config.data);
    let (shown, mut authorities) = match (&gate.cert_file, &gate.key_file, own) {
        (Some(certificate), Some(key), Err(error)) => {
            tracing::warn!("no certificate of the gateway's own lets a reader in: {error:#}");
            (certificate::given(certificate, key)?, Vec::new())
        }
        (Some(certificate), Some(key), Ok(_)) => {
            (certificate::given(certificate, key)?, certificate::read(&authority(&config.data))?)
        }
        (_, _, own) => {
            (own?.server(&config.gateway, &gate.names)?, certificate::read(&authority(&config.data))?)
        }
    };
    let mut institution = None;
    if let Some(file) = &gate.client_ca_file {
        let given = certificate::read(file)?;
        let usable = certificate::signed_by(given.clone());
        institution = Some(usable.with_context(|| format!("mqtt.gate.client_ca_file {}", file.display()))?);
        authorities.extend(given);
    }
    let tls = certificate::tls(shown, certificate::signed_by(authorities)?)?;
    let listener = TcpListener::bind(gate.listen)
        .await
        .with_context(|| format!("mqtt.gate.listen: {} cannot be listened on", gate.listen))?;
    tracing::info!("MQTT readers are let in at {}", listener.local_addr().unwrap_or(gate.listen));
    let settings = GateSettings {
        gateway: config.gateway.clone(),
        known: Known { data: config.data.clone(), institution },
        broker: broker::behind(broker),
        tls,
        per_address: gate.per_address,
    };
    tasks.spawn(gate::serve(listener, settings, stopping.clone()));
    Ok(())
}
