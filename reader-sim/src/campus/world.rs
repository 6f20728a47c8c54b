//! The world of a run: one hub, one gateway per building, all readers; brought up, and taken down.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rollcall_gateway::app::{RunningGateway, TimeSource};
use rollcall_gateway::config::{
    BusConfig, BusReader, Config, HubConfig, JournalConfig, MqttConfig, PageConfig,
};
use rollcall_hub::app::RunningHub;
use rollcall_hub::config::Database;
use rollcall_hub::service::access::{Role, create_token};
use rollcall_hub::service::feed::{FeedCursor, latest};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::api::Api;
use super::clock::VirtualClock;
use super::timetable::{Published, gateway_code};
use super::view::View;
use crate::device::mqtt::{MqttReader, Uptime};
use crate::device::osdp::{OsdpBus, OsdpReader, ReaderKey};
use crate::device::{DeviceEvent, Events};
use crate::plan::{Credential, FaultChange, Plan, ReaderKind};
use crate::ports;
use crate::postgres::TemporaryPostgres;

/// How many readers hang on one serial line.
const READERS_ON_BUS: usize = 8;
/// How long the world may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long a change may take to reach the gateways.
const SPREAD_WITHIN: Duration = Duration::from_secs(90);
/// How long between two looks at something that no event tells.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long before play begins everything is loaded, in virtual time.
const LOADED_BEFORE_MS: i64 = 3_600_000;

/// Where a reader is.
enum Place {
    Bus(usize),
    /// With how far its clock is ahead, in milliseconds.
    Mqtt(Box<MqttReader>, Arc<AtomicU64>),
}

/// A building's gateway.
struct Building {
    code: String,
    config: Config,
    gateway: RunningGateway,
}

/// Everything that runs.
pub struct World {
    /// Virtual time.
    pub clock: VirtualClock,
    /// The simulator's client.
    pub api: Api,
    /// The token that it shows.
    pub token: String,
    /// What devices report.
    pub events: mpsc::UnboundedReceiver<DeviceEvent>,
    /// The timetable as it stands at the hub.
    pub published: Published,
    /// None while it is away.
    hub: Option<RunningHub>,
    hub_config: rollcall_hub::config::Config,
    gateways: Vec<Building>,
    buses: Vec<OsdpBus>,
    places: BTreeMap<String, Place>,
    folder: TempDir,
    _postgres: Option<TemporaryPostgres>,
}

/// A token in a file of its own, for one gateway.
async fn gateway_token(hub: &RunningHub, code: &str) -> anyhow::Result<String> {
    match create_token(&hub.hub, code, &[Role::Gateway], Some(code), None).await? {
        Ok(token) => Ok(token),
        Err(refusals) => bail!("no token for {code}: {refusals:?}"),
    }
}

impl World {
    /// Brings everything up and loads the plan.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn build(plan: &Plan, database: Option<&str>, view: &mut View) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-campus-").tempdir()?;
        let clock = VirtualClock::new(plan.from_ms - LOADED_BEFORE_MS);
        let (database, postgres) = match database {
            None => (Database::Sqlite(folder.path().join("hub.sqlite")), None),
            Some("postgres") => {
                let server = TemporaryPostgres::start()?;
                view.say("a PostgreSQL of its own is up")?;
                (Database::Postgres(server.url("rollcall")), Some(server))
            }
            Some(named) => (rollcall_hub::config::database(named)?, None),
        };
        let config = rollcall_hub::config::Config {
            listen: "127.0.0.1:0".parse()?,
            database,
            tls: None,
            zone: rollcall_hub::config::zone(&plan.zone)?,
            console: true,
            graphiql: None,
            allow_private: false,
        };
        let hub = rollcall_hub::app::start(&config, Arc::new(clock.clone())).await?;
        let token = match create_token(&hub.hub, "campus", &[Role::Administrator], None, None).await? {
            Ok(token) => token,
            Err(refusals) => bail!("no token: {refusals:?}"),
        };
        let mut api = Api::new(hub.address, token.clone());
        let published = Published::new(plan);
        let begun = Instant::now();
        published.load(plan, &mut api).await.context("the plan cannot be loaded")?;
        view.say(&format!(
            "hub up at http://{}, timetable loaded in {:.1} s",
            hub.address,
            begun.elapsed().as_secs_f64()
        ))?;

        let (sender, events) = mpsc::unbounded_channel();
        let mut world = Self {
            clock,
            api,
            token,
            events,
            published,
            hub_config: rollcall_hub::config::Config { listen: hub.address, ..config },
            hub: Some(hub),
            gateways: Vec::new(),
            buses: Vec::new(),
            places: BTreeMap::new(),
            folder,
            _postgres: postgres,
        };
        for building in 0..plan.buildings.len() {
            world.start_building(plan, building, &sender).await?;
        }
        drop(sender);
        world.wait_until_up(plan).await?;
        world.wait_until_spread().await?;
        view.say(&format!("{} gateways and {} readers up", world.gateways.len(), plan.readers.len()))?;
        Ok(world)
    }

    async fn start_building(&mut self, plan: &Plan, building: usize, events: &Events) -> anyhow::Result<()> {
        let code = gateway_code(&plan.buildings[building].code);
        let folder = self.folder.path().join(&code);
        std::fs::create_dir(&folder)?;
        let token_file = folder.join("token");
        std::fs::write(&token_file, gateway_token(self.hub()?, &code).await?)?;
        let here = |kind: ReaderKind| {
            let readers = plan.readers.iter().filter(move |it| plan.rooms[it.room].building == building);
            readers.filter(move |it| it.kind == kind).collect::<Vec<_>>()
        };
        let mut buses = Vec::new();
        for (line, readers) in here(ReaderKind::Osdp).chunks(READERS_ON_BUS).enumerate() {
            let mut devices = Vec::new();
            let mut settings = Vec::new();
            for (number, reader) in (1u8..).zip(readers) {
                let serial = u32::try_from(building * 1_000 + line * 100).unwrap_or(0) + u32::from(number);
                devices.push(OsdpReader {
                    code: reader.code.clone(),
                    address: number,
                    serial,
                    key: ReaderKey::None,
                });
                settings.push(BusReader { code: reader.code.clone(), address: number });
                self.places.insert(reader.code.clone(), Place::Bus(self.buses.len()));
            }
            let bus = OsdpBus::on_new_pty(devices, events.clone())?;
            buses.push(BusConfig {
                port: bus.path().to_path_buf(),
                baud: 115_200,
                capture: None,
                readers: settings,
            });
            self.buses.push(bus);
        }
        let broker = ports::free_port()?;
        let config = Config {
            ascii: Vec::new(),
            page: PageConfig::none(),
            gateway: code.clone(),
            data: folder.join("data"),
            hub: HubConfig { url: self.url(), token_file, ca_file: None, time_without_tls: false },
            mqtt: (!here(ReaderKind::Mqtt).is_empty()).then_some(MqttConfig { listen: broker, gate: None }),
            journal: JournalConfig::default(),
            buses,
        };
        config.check()?;
        let gateway = self.start_gateway(&config).await?;
        for reader in here(ReaderKind::Mqtt) {
            let host = broker.ip().to_string();
            let (clock, ahead) = (self.clock.clone(), Arc::<AtomicU64>::default());
            let its_ahead = Arc::clone(&ahead);
            let device = MqttReader::connect_timed(
                reader.code.clone(),
                code.clone(),
                host,
                broker.port(),
                Uptime::new(move || clock.uptime_ms() + its_ahead.load(Ordering::Relaxed)),
                events.clone(),
            );
            let device = device.await?;
            self.places.insert(reader.code.clone(), Place::Mqtt(Box::new(device), ahead));
        }
        self.gateways.push(Building { code, config, gateway });
        Ok(())
    }

    async fn start_gateway(&self, config: &Config) -> anyhow::Result<RunningGateway> {
        rollcall_gateway::app::start(config, TimeSource::Injected(Arc::new(self.clock.clone()))).await
    }

    fn hub(&self) -> anyhow::Result<&RunningHub> {
        self.hub.as_ref().context("the hub is away")
    }

    /// Where the hub listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.hub_config.listen)
    }

    /// The hub goes away: from now on gateways are alone.
    ///
    /// # Errors
    /// When it had failed.
    pub async fn hub_leaves(&mut self) -> anyhow::Result<()> {
        match self.hub.take() {
            Some(hub) => hub.stop().await,
            None => Ok(()),
        }
    }

    /// The hub comes back, at the same address with the same database.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn hub_returns(&mut self) -> anyhow::Result<()> {
        if self.hub.is_none() {
            self.hub = Some(rollcall_hub::app::start(&self.hub_config, Arc::new(self.clock.clone())).await?);
        }
        Ok(())
    }

    /// Ends gateways and starts them again on what their disks hold, and waits until they hear their readers. One with
    /// MQTT readers runs on: its broker ends with its process only.
    ///
    /// # Errors
    /// When one does not end well, or does not come up.
    pub async fn restart_gateways(&mut self) -> anyhow::Result<()> {
        for building in std::mem::take(&mut self.gateways) {
            if building.config.mqtt.is_some() {
                self.gateways.push(building);
                continue;
            }
            let Building { code, config, gateway } = building;
            gateway.stop().await.with_context(|| format!("gateway {code} failed"))?;
            let gateway = self.start_gateway(&config).await?;
            self.gateways.push(Building { code, config, gateway });
        }
        self.wait_until_heard(tokio::time::Instant::now() + UP_WITHIN).await
    }

    /// Holds a card to a reader.
    ///
    /// # Errors
    /// When the reader takes none.
    pub fn present(&self, reader: &str, credential: &Credential) -> anyhow::Result<()> {
        match self.places.get(reader) {
            Some(Place::Bus(bus)) => Ok(self.buses[*bus].present(reader, credential)?),
            Some(Place::Mqtt(device, _)) => {
                device.present(credential)?;
                Ok(())
            }
            None => bail!("there is no reader {reader}"),
        }
    }

    /// Lets something go wrong at a reader, or be well again.
    ///
    /// # Errors
    /// When there is no such reader, or that does not happen to one of its kind.
    pub fn spoil(&self, reader: &str, what: FaultChange) -> anyhow::Result<()> {
        let bus = match (self.places.get(reader), what) {
            (Some(Place::Mqtt(_, ahead)), FaultChange::ClockAhead(ms)) => {
                ahead.fetch_add(ms, Ordering::Relaxed);
                return Ok(());
            }
            (Some(Place::Bus(bus)), _) => &self.buses[*bus],
            _ => bail!("there is no reader {reader} to which {what:?} happens"),
        };
        match what {
            FaultChange::Begins(fault) => bus.fault(reader, fault, true)?,
            FaultChange::Ends(fault) => bus.fault(reader, fault, false)?,
            FaultChange::Reboot => bus.reboot(reader)?,
            FaultChange::Unplugged(unplugged) => bus.unplug(reader, unplugged)?,
            FaultChange::ClockAhead(_) => bail!("{reader} has no clock"),
        }
        Ok(())
    }

    /// Waits until the gateway of a reader knows whether it is there.
    ///
    /// # Errors
    /// When it does not come to know it.
    pub async fn wait_until_known(&self, reader: &str, online: bool) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + UP_WITHIN;
        loop {
            for Building { code, gateway, .. } in &self.gateways {
                let status = gateway.status().await.with_context(|| format!("gateway {code} has ended"))?;
                if status.readers.iter().any(|it| it.code == reader && it.online == online) {
                    return Ok(());
                }
            }
            if tokio::time::Instant::now() > deadline {
                bail!("no gateway comes to know that {reader} is {}", if online { "there" } else { "gone" });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Where hub and gateways keep everything, for as long as the world lasts.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn wait_until_up(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let mut missing: std::collections::BTreeSet<&str> =
            plan.readers.iter().map(|it| it.code.as_str()).collect();
        let deadline = tokio::time::Instant::now() + UP_WITHIN;
        while !missing.is_empty() {
            match tokio::time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some(DeviceEvent::Online { reader })) => {
                    missing.remove(reader.as_str());
                }
                Ok(Some(_)) => {}
                Ok(None) => bail!("all devices have gone"),
                Err(_) => bail!("readers that did not come up within {} s: {missing:?}", UP_WITHIN.as_secs()),
            }
        }
        self.wait_until_heard(deadline).await
    }

    /// The gateways must know that their readers are there before time moves on: until then they count them as out.
    async fn wait_until_heard(&self, deadline: tokio::time::Instant) -> anyhow::Result<()> {
        for Building { code, gateway, .. } in &self.gateways {
            loop {
                let status = gateway.status().await.with_context(|| format!("gateway {code} has ended"))?;
                if !status.readers.is_empty() && status.readers.iter().all(|reader| reader.online) {
                    break;
                }
                if tokio::time::Instant::now() > deadline {
                    bail!("gateway {code} does not hear all its readers: {:?}", status.readers);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// The feed position that the gateway of a building decides by.
    pub async fn basis(&self, building: usize) -> String {
        match self.gateways.get(building) {
            Some(Building { gateway, .. }) => {
                gateway.status().await.map_or_else(String::new, |status| status.basis)
            }
            None => String::new(),
        }
    }

    /// Waits until every gateway decides by what the hub now holds.
    ///
    /// # Errors
    /// When one does not within 20 s.
    pub async fn wait_until_spread(&self) -> anyhow::Result<()> {
        let mut wanted = Vec::new();
        let hub = &self.hub()?.hub;
        let mut tx = hub.read().await?;
        for Building { code, gateway, .. } in &self.gateways {
            let found = tx.by_keys::<rollcall_hub::store::entity::Gateway>([code.as_str()]).await?;
            let building = found.first().context("a gateway is gone from the hub")?.building_id;
            let revision = latest(&mut tx, building).await?;
            wanted.push((code, gateway, revision));
        }
        drop(tx);
        let deadline = Instant::now() + SPREAD_WITHIN;
        for (code, gateway, wanted) in wanted {
            loop {
                let status = gateway.status().await.with_context(|| format!("{code} has ended"))?;
                let reached = FeedCursor::decode(&status.basis);
                let there = reached.is_some_and(|it| it.instance == hub.instance() && it.revision >= wanted);
                if there && !status.readers.is_empty() {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("{code} is at {} and not at revision {wanted} after 20 s", status.basis);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Stops everything, gateways first.
    ///
    /// # Errors
    /// When something had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        for (_, place) in self.places {
            if let Place::Mqtt(device, _) = place {
                device.stop().await;
            }
        }
        for Building { code, gateway, .. } in self.gateways {
            gateway.stop().await.with_context(|| format!("{code} failed"))?;
        }
        drop(self.buses);
        match self.hub {
            Some(hub) => hub.stop().await,
            None => Ok(()),
        }
    }
}
