//! `reader-sim load`: many readers at one gateway, a morning rush, and how long students wait for their light.
//!
//! Called by `main`. Brings up a hub and a gateway in this process, on this machine's clock, loads a session that is on now,
//! and holds cards to readers at a steady rate. Every card is on the class list: what is not green is counted as wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::BoxFuture;
use rollcall_gateway::app::{RunningGateway, TimeSource};
use rollcall_gateway::config::{
    BusConfig, BusReader, Config, GateConfig, HubConfig, JournalConfig, MqttConfig, PageConfig,
};
use rollcall_gateway::setup::let_in;
use rollcall_hub::app::RunningHub;
use rollcall_hub::clock::SystemClock;
use rollcall_hub::service::access::{Role, create_token};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::MissedTickBehavior;

use crate::campus::api::{Api, bulk};
use crate::device::mqtt::{Credentials, MqttReader, Proof};
use crate::device::osdp::{OsdpBus, OsdpReader, ReaderKey};
use crate::device::{DeviceEvent, Events, Shown};
use crate::plan::{Colour, Credential};
use crate::reader::BrokerAddress;

mod peers;
mod rush;
mod there;

use peers::BadPeers;
use rush::Rush;
use there::There;

const EXAMPLE: &str = "\
Examples:
  reader-sim load --osdp 8
  reader-sim load --osdp 8 --dead 2 --seconds 30
  reader-sim load --mqtt 1000 --json
  reader-sim load --mqtt 20 --bad-peers
  reader-sim load --gateway mqtt://127.0.0.1:1883 --gateway-code GW-A --reader A-105-D1 --card 'uid 04A2B3C4D5E680' --rate 60";

/// How long all readers may take to be blue, beside what each of them takes.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// A gateway has given up a reader that does not answer by then.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(12);
/// A card without an answer after this was not answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// How many students there are at the most; then their cards come again.
const STUDENTS: usize = 2_000;
/// How many MQTT readers can come in by TLS from one address within a minute.
const MOST_BY_TLS: usize = 80;
/// In how many parts time is cut where bad peers come and go.
const PARTS: usize = 10;
/// How the reader is called that talks too much.
const FLOODING: &str = "FLOOD";

/// Many readers at one gateway: how long do students wait for their light?
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE, group(clap::ArgGroup::new("readers").required(true).multiple(true)))]
pub struct LoadArgs {
    /// So many MQTT readers
    #[arg(long, group = "readers", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub mqtt: Option<u16>,
    /// So many OSDP readers on pseudo-terminals
    #[arg(long, group = "readers", value_parser = clap::value_parser!(u16).range(1..=126 * 8))]
    pub osdp: Option<u16>,
    /// How many OSDP readers share a line
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub per_bus: u8,
    /// So many more on the first line that are configured and do not answer
    #[arg(long, default_value_t = 0, requires = "osdp", value_parser = clap::value_parser!(u8).range(0..=20))]
    pub dead: u8,
    #[command(flatten)]
    there: There,
    /// MQTT readers come in by TLS, and for every second tenth of the time beside them a peer that says nothing, one that sends
    /// garbage and a reader that talks as fast as it can: how much longer do the others wait? At most 80 readers
    #[arg(long, requires = "mqtt")]
    pub bad_peers: bool,
    /// Cards a minute, over all readers
    #[arg(long, default_value_t = 960, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub rate: u32,
    /// For so long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// One JSON object at the end instead of words
    #[arg(long)]
    pub json: bool,
}

impl LoadArgs {
    /// How many cards are held to readers.
    fn cards(&self) -> usize {
        usize::try_from(u64::from(self.rate) * u64::from(self.seconds) / 60).unwrap_or(usize::MAX).max(1)
    }
}

/// What a reader hangs on.
enum Place {
    Bus(usize),
    Mqtt(Box<MqttReader>),
}

/// Everything that runs.
struct World {
    events: UnboundedReceiver<DeviceEvent>,
    buses: Vec<OsdpBus>,
    readers: Vec<(String, Place)>,
    /// Those that take turns; made up where there are none.
    cards: Vec<Credential>,
    /// None where the gateway runs elsewhere.
    own: Option<Own>,
}

/// What was started for the rush.
struct Own {
    gateway: RunningGateway,
    /// What it runs by.
    config: Config,
    hub: RunningHub,
    _folder: TempDir,
}

/// Runs the rush.
///
/// # Errors
/// When something does not come up, or a card got no green.
pub fn run(args: LoadArgs) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(rush(args))
}

async fn rush(args: LoadArgs) -> anyhow::Result<()> {
    // Both ends of each connection are in this process.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    let count = args.cards();
    let mut world = match &args.there.gateway {
        Some(gate) => World::at(&args.there, gate).await?,
        None => World::start(&args, count.min(STUDENTS)).await?,
    };
    let own = world.own.is_some();
    let rushed = async {
        if !args.bad_peers {
            return Ok((world.rush(&args, 0..count).await?, None));
        }
        let (mut alone, mut beside) = (Rush::default(), Rush::default());
        for part in 0..PARTS {
            let cards = count * part / PARTS..count * (part + 1) / PARTS;
            let company = (part % 2 == 1).then(|| world.bad_peers()).transpose()?;
            let of = if company.is_some() { &mut beside } else { &mut alone };
            of.add(world.rush(&args, cards).await?);
        }
        anyhow::Ok((alone, Some(beside)))
    };
    let (alone, beside) = tokio::select! {
        rushed = rushed => rushed?,
        _ = tokio::signal::ctrl_c() => bail!("stopped"),
    };
    world.stop().await?;
    // Elsewhere nobody here knows what is right.
    let right = |rush: &Rush| if own { rush.greens } else { rush.greens + rush.others };
    let (answers, wanted) =
        (right(&alone) + beside.as_ref().map_or(0, right), if own { "answered green" } else { "answered" });
    alone.tell(&args, beside.as_ref())?;
    ensure!(answers == count, "{} of {count} cards were not {wanted}", count - answers);
    Ok(())
}

impl World {
    /// Readers at a gateway that runs already.
    async fn at(there: &There, gate: &BrokerAddress) -> anyhow::Result<Self> {
        let cards = there.cards()?;
        let (sender, events) = mpsc::unbounded_channel();
        let readers = there.readers(gate, &sender).await?;
        let readers = readers.into_iter().map(|(code, reader)| (code, Place::Mqtt(Box::new(reader))));
        let mut world = Self { events, buses: Vec::new(), readers: readers.collect(), cards, own: None };
        world
            .wait_until("connected", |event| match event {
                DeviceEvent::Online { reader } => Some(reader),
                _ => None,
            })
            .await?;
        Ok(world)
    }

    async fn start(args: &LoadArgs, students: usize) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-load-").tempdir()?;
        let config = rollcall_hub::config::Config {
            listen: "127.0.0.1:0".parse()?,
            database: rollcall_hub::config::Database::Sqlite(folder.path().join("hub.sqlite")),
            tls: None,
            zone: rollcall_hub::config::zone("Europe/London")?,
            console: false,
            graphiql: None,
            allow_private: false,
        };
        let hub = rollcall_hub::app::start(&config, Arc::new(SystemClock)).await?;
        let token = async |role, gateway| match create_token(&hub.hub, "load", &[role], gateway, None).await?
        {
            Ok(token) => Ok(token),
            Err(refusals) => bail!("no token: {refusals:?}"),
        };
        let names =
            |what: &str, count: u16| (1..=count).map(|n| format!("{what}-{n:04}")).collect::<Vec<_>>();
        let (osdp, mqtt) = (names("OSDP", args.osdp.unwrap_or(0)), names("MQTT", args.mqtt.unwrap_or(0)));
        ensure!(
            !args.bad_peers || mqtt.len() <= MOST_BY_TLS,
            "--bad-peers: at most {MOST_BY_TLS} MQTT readers"
        );
        let flooding = names(FLOODING, args.bad_peers.into());
        let dead = names("DEAD", args.dead.into());
        let mut api = Api::new(hub.address, token(Role::Administrator, None).await?);
        load(&mut api, &[(&osdp, "OSDP"), (&dead, "OSDP"), (&mqtt, "MQTT"), (&flooding, "MQTT")], students)
            .await?;

        let token_file = folder.path().join("token");
        std::fs::write(&token_file, token(Role::Gateway, Some("GW-A")).await?)?;
        let (sender, events) = mpsc::unbounded_channel();
        let (buses, settings) = hang(&osdp, &dead, args.per_bus.into(), &sender)?;
        let broker = (!mqtt.is_empty()).then(crate::ports::free_port).transpose()?;
        let gate = args.bad_peers.then(crate::ports::free_port).transpose()?;
        let config = gateway(folder.path(), hub.address, token_file, settings, broker, gate);
        let gateway = rollcall_gateway::app::start(&config, TimeSource::System).await?;
        let of_bus = |(index, code)| (code, Place::Bus(index / usize::from(args.per_bus)));
        let mut readers: Vec<(String, Place)> = osdp.into_iter().enumerate().map(of_bus).collect();
        for (code, broker) in mqtt.into_iter().zip(broker.into_iter().cycle()) {
            let (of, events) = ("GW-A".to_owned(), sender.clone());
            let reader = match gate {
                None => {
                    let host = broker.ip().to_string();
                    MqttReader::connect(code.clone(), of, host, broker.port(), events).await?
                }
                Some(gate) => {
                    let (host, by) = (gate.ip().to_string(), credentials(&config, &code)?);
                    MqttReader::connect_secured(code.clone(), of, host, gate.port(), by, events).await?
                }
            };
            readers.push((code, Place::Mqtt(Box::new(reader))));
        }
        let own = Some(Own { gateway, config, hub, _folder: folder });
        let mut world = Self { events, buses, readers, cards: Vec::new(), own };
        let blue = |event| match event {
            DeviceEvent::Light { reader, shown: Shown::Base(Colour::Blue), .. } => Some(reader),
            _ => None,
        };
        world.wait_until("blue", blue).await?;
        if args.dead > 0 {
            // In the field they have been dead for long.
            tokio::time::sleep(GIVEN_UP_WITHIN).await;
        }
        Ok(world)
    }

    /// Waits until each reader is so: what happens says of which it is.
    async fn wait_until(
        &mut self,
        so: &str,
        is_so: impl Fn(DeviceEvent) -> Option<String>,
    ) -> anyhow::Result<()> {
        let mut waiting: BTreeSet<&str> = self.readers.iter().map(|(code, _)| code.as_str()).collect();
        let until = tokio::time::Instant::now() + UP_WITHIN;
        while !waiting.is_empty() {
            let Ok(event) = tokio::time::timeout_at(until, self.events.recv()).await else {
                bail!("{} readers are not {so} after {UP_WITHIN:?}", waiting.len());
            };
            if let Some(reader) = event.and_then(&is_so) {
                waiting.remove(reader.as_str());
            }
        }
        Ok(())
    }

    /// Holds these cards to readers.
    async fn rush(&mut self, args: &LoadArgs, cards: Range<usize>) -> anyhow::Result<Rush> {
        let mut ticks = tokio::time::interval(Duration::from_secs(60) / args.rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let begun = Instant::now();
        let mut asked: BTreeMap<String, Instant> = BTreeMap::new();
        let (mut held, mut next) = (cards.start, cards.start % self.readers.len());
        let mut rush = Rush::default();
        while held < cards.end || !asked.is_empty() {
            let late = asked.values().min().map(|at| tokio::time::Instant::from_std(*at + ANSWERED_WITHIN));
            let late = tokio::time::sleep_until(
                late.unwrap_or_else(|| tokio::time::Instant::now() + ANSWERED_WITHIN),
            );
            tokio::select! {
                event = self.events.recv() => {
                    if let Some(DeviceEvent::Light { reader, shown: Shown::Flash(colour), .. }) = event
                        && let Some(at) = asked.remove(&reader)
                    {
                        rush.took.push(at.elapsed());
                        let right = colour == Colour::Green;
                        (rush.greens, rush.others) = (rush.greens + usize::from(right), rush.others + usize::from(!right));
                    }
                }
                _ = ticks.tick(), if held < cards.end => {
                    // The next reader at which nobody waits; at most as many as there are.
                    let free = (0..self.readers.len())
                        .map(|step| (next + step) % self.readers.len())
                        .find(|index| !asked.contains_key(&self.readers[*index].0));
                    if let Some(index) = free {
                        let own = card(held % STUDENTS);
                        self.present(index, self.cards.get(held % self.cards.len().max(1)).unwrap_or(&own))?;
                        asked.insert(self.readers[index].0.clone(), Instant::now());
                        (held, next) = (held + 1, index + 1);
                        show(held, args)?;
                    }
                }
                () = late, if !asked.is_empty() => asked.retain(|_, at| at.elapsed() < ANSWERED_WITHIN),
            }
        }
        rush.lasted = begun.elapsed();
        rush.took.sort_unstable();
        Ok(rush)
    }

    /// Bad company, until it is dropped.
    fn bad_peers(&self) -> anyhow::Result<BadPeers> {
        let code = format!("{FLOODING}-0001");
        let config = &self.own.as_ref().context("the gateway runs elsewhere")?.config;
        let gate = config.mqtt.as_ref().and_then(|mqtt| mqtt.gate.as_ref());
        let gate = gate.context("there is no gate")?.listen;
        Ok(BadPeers::come(gate, &config.gateway, &code, &credentials(config, &code)?))
    }

    fn present(&self, index: usize, credential: &Credential) -> anyhow::Result<()> {
        match &self.readers[index] {
            (code, Place::Bus(bus)) => self.buses[*bus].present(code, credential)?,
            (_, Place::Mqtt(reader)) => drop(reader.present(credential)?),
        }
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        for (_, place) in self.readers {
            if let (Place::Mqtt(reader), None) = (place, &self.own) {
                reader.stop().await;
            }
        }
        let Some(own) = self.own else { return Ok(()) };
        own.gateway.stop().await?;
        own.hub.stop().await
    }
}

/// Makes the lines and what the gateway is told of them; the dead ones stand on the first.
fn hang(
    codes: &[String],
    dead: &[String],
    per_bus: usize,
    events: &Events,
) -> anyhow::Result<(Vec<OsdpBus>, Vec<BusConfig>)> {
    let (mut buses, mut settings) = (Vec::new(), Vec::new());
    for (line, codes) in codes.chunks(per_bus).enumerate() {
        let devices = (1u8..).zip(codes).map(|(address, code)| OsdpReader {
            code: code.clone(),
            address,
            serial: u32::try_from(line * 1_000).unwrap_or(0) + u32::from(address),
            key: ReaderKey::None,
        });
        let bus = OsdpBus::on_new_pty(devices.collect(), events.clone())?;
        let silent = (101u8..).zip(dead).filter(|_| line == 0);
        let readers = (1u8..).zip(codes).chain(silent);
        let readers = readers.map(|(address, code)| BusReader { code: code.clone(), address }).collect();
        settings.push(BusConfig { port: bus.path().to_path_buf(), baud: 115_200, capture: None, readers });
        buses.push(bus);
    }
    Ok((buses, settings))
}

fn gateway(
    folder: &Path,
    hub: SocketAddr,
    token_file: std::path::PathBuf,
    buses: Vec<BusConfig>,
    broker: Option<SocketAddr>,
    gate: Option<SocketAddr>,
) -> Config {
    let gate = gate.map(|listen| GateConfig {
        listen,
        names: vec![listen.ip().to_string()],
        cert_file: None,
        key_file: None,
        client_ca_file: None,
        per_address: 2 * MOST_BY_TLS,
    });
    Config {
        gateway: "GW-A".into(),
        data: folder.join("data"),
        hub: HubConfig { url: format!("http://{hub}"), token_file, ca_file: None, time_without_tls: false },
        mqtt: broker.map(|listen| MqttConfig { listen, gate }),
        journal: JournalConfig::default(),
        page: PageConfig::none(),
        buses,
        ascii: Vec::new(),
    }
}

/// What an MQTT reader comes in by, made by the gateway for it.
fn credentials(config: &Config, code: &str) -> anyhow::Result<Credentials> {
    let proof = Proof::Password(let_in::password(config, code)?);
    Ok(Credentials { authority: std::fs::read(config.data.join("mqtt-ca.pem"))?, proof })
}

/// Loads an estate with these readers, all at one room's door, and a session there that is on now.
async fn load(api: &mut Api, readers: &[(&Vec<String>, &str)], students: usize) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now();
    let at = |hours: i64| (now + jiff::SignedDuration::from_hours(hours)).to_string();
    let one = |value: Value| vec![value];
    bulk(api, "saveBuildings", "SaveBuildingsInput", "buildings", one(json!({"code": "A", "name": "A"})))
        .await?;
    bulk(api, "saveRooms", "SaveRoomsInput", "rooms", one(json!({"code": "R", "building": "A"}))).await?;
    bulk(api, "saveGateways", "SaveGatewaysInput", "gateways", one(json!({"code": "GW-A", "building": "A"})))
        .await?;
    for (codes, kind) in readers {
        let readers =
            codes.iter().map(|code| json!({"code": code, "gateway": "GW-A", "room": "R", "kind": kind}));
        bulk(api, "saveReaders", "SaveReadersInput", "readers", readers.collect()).await?;
    }
    let numbers: Vec<String> = (0..students).map(|index| format!("S{index}")).collect();
    let people = numbers.iter().map(|number| json!({"number": number, "name": number})).collect();
    bulk(api, "saveStudents", "SaveStudentsInput", "students", people).await?;
    let cards = numbers.iter().enumerate().map(|(index, number)| {
        let raw: String = card(index).raw.iter().map(|byte| format!("{byte:02X}")).collect();
        json!({"code": format!("C-{number}"), "student": number, "credentials": [{"uid": raw}], "from": at(-24)})
    });
    bulk(api, "saveCards", "SaveCardsInput", "cards", cards.collect()).await?;
    bulk(api, "saveCourses", "SaveCoursesInput", "courses", one(json!({"code": "C", "title": "C"}))).await?;
    bulk(api, "saveGroups", "SaveGroupsInput", "groups", one(json!({"code": "G", "course": "C"}))).await?;
    let from = (now - jiff::SignedDuration::from_hours(48)).strftime("%F").to_string();
    let stays = numbers.iter().map(|number| json!({"group": "G", "student": number, "from": from})).collect();
    bulk(api, "saveMemberships", "SaveMembershipsInput", "memberships", stays).await?;
    let session = json!({"externalId": "RUSH", "title": "Rush", "course": "C", "rooms": ["R"], "groups": ["G"],
                         "startsAt": at(-1), "endsAt": at(20)});
    bulk(api, "saveSessions", "SaveSessionsInput", "sessions", one(session)).await
}

/// The card of a student: a UID of seven bytes.
fn card(student: usize) -> Credential {
    let [.., a, b, c] = student.to_be_bytes();
    Credential { bits: 56, raw: vec![4, 0x10, 0xad, 0, a, b, c] }
}

/// How far it is, for who waits before a terminal.
fn show(held: usize, args: &LoadArgs) -> anyhow::Result<()> {
    let count = args.cards();
    let mut out = std::io::stderr().lock();
    if !args.json && out.is_terminal() {
        write!(out, "\r{held} of {count} cards")?;
        if held == count {
            writeln!(out)?;
        }
        out.flush()?;
    }
    Ok(())
}
