//! The world of one seed: two gateways, one hub, a network between them, students at the doors, and what goes wrong,
//! in virtual time. The same seed gives the same world.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::path::PathBuf;

use cynic::MutationBuilder;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rollcall_gateway::core::reading::Reading;
use rollcall_gateway::journal::writer::Standing;
use rollcall_gateway::uplink::client::UplinkError;
use rollcall_gateway::uplink::handover::{More, Status, Step, Submission};
use rollcall_gateway::uplink::operations::{
    GatewayHeartbeatPayload, GatewaySubmitSwipesPayload, Heartbeat, HeartbeatVariables, SubmitSwipes,
    SubmitVariables,
};
use rollcall_rules::card::CardRead;
use rollcall_rules::light::Colour;
use serde_json::Value;
use uuid::Uuid;

use super::disk::{Fault, SimDisk};
use super::gateway::{Machine, Shown, SimGateway};
use super::hub::SimHub;
use super::{Base, DOORS, LISTED, STUDENTS, Session};
use crate::timetable::uid;

/// The faults, by number: what `RUST_LOG=info` tells of a seed.
const FAULTS: [&str; 13] = [
    "kill",
    "kill",
    "power cut",
    "power cut",
    "power cut in an operation",
    "EIO",
    "disk full",
    "network",
    "network",
    "hub down",
    "backup or restore",
    "clock step",
    "card copied or put back",
];

/// How long cards are held to readers, in virtual milliseconds.
const TEACHING_MS: i64 = 100 * 60_000;
/// How long everything may take to come in once all faults are over.
pub(super) const DRAINED_WITHIN_MS: i64 = 15 * 60_000;
/// By then every gateway has sent a heartbeat.
const HEARD_OF_MS: i64 = 65_000;
/// No card is held to a reader so close to the edge of a window: what counts as exact may be off by a second.
const EDGE_MS: i64 = 2_500;
/// A call that is not answered is given up after this.
const TIMEOUT_MS: i64 = 20_000;

/// A card held to a reader.
#[derive(Debug, Clone)]
pub(super) struct Presentation {
    /// The swipe's id.
    pub swipe: Uuid,
    /// Whose card.
    pub student: usize,
    /// At which door.
    pub door: usize,
    /// When it truly was.
    pub at: i64,
    /// What the gateway took the time to be.
    pub reading: Reading,
    /// What was flashed, once it was.
    pub flash: Option<Colour>,
    /// Its place in a journal, once it was durable.
    pub place: Option<(Uuid, u64)>,
    /// Its storage was replaced before it could be handed over.
    pub forgiven: bool,
}

enum Message {
    Heartbeat(Box<HeartbeatVariables>, Box<(Status, Standing)>),
    Submit(Box<Submission>, Box<Standing>),
}

enum Event {
    Swipe,
    Write(usize),
    Minute(usize),
    Uplink(usize),
    /// A message comes to the hub: from which program's life, and whether its answer is waited for.
    Arrive {
        gateway: usize,
        life: u64,
        sent: i64,
        message: Message,
        again: bool,
    },
    /// The same message comes once more; nobody waits for the answer.
    Echo(usize, Value),
    Answer {
        gateway: usize,
        life: u64,
        sent: i64,
        message: Message,
        answer: Result<Value, UplinkError>,
    },
    Fault,
    Start(usize),
    HubUp,
    Room(usize),
    Network,
    Clock(usize),
}

/// One world.
pub(super) struct World {
    /// The hub.
    pub hub: SimHub,
    /// The gateways.
    pub gateways: Vec<SimGateway>,
    /// The history.
    pub presentations: Vec<Presentation>,
    /// What did not hold while it ran.
    pub broken: Vec<String>,
    /// How many faults were done.
    pub faults: u64,
    base: Base,
    rng: ChaCha8Rng,
    now: i64,
    until: i64,
    queue: BinaryHeap<Reverse<(i64, u64, usize)>>,
    events: Vec<Option<Event>>,
    lives: Vec<u64>,
    calling: Vec<bool>,
    up: bool,
    /// Requests, answers: how likely one is lost, in percent.
    loss: (u32, u32),
    harmed: Vec<bool>,
    snapshots: Vec<Option<SimDisk>>,
    backup: PathBuf,
    backed_up: bool,
    healed: bool,
    dedup: bool,
}

impl World {
    /// The world of a seed. `control` puts a defect in.
    pub(super) async fn new(base: &Base, seed: u64, folder: &std::path::Path, control: Option<&str>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let hub = SimHub::on_copy_of(&base.database, folder.join("hub.sqlite"), base.clock.clone()).await;
        let hub = hub.unwrap_or_else(|error| panic!("no copy of the database: {error}"));
        let now = base.from;
        let mut gateways = Vec::new();
        for facts in &base.gateways {
            let disk = SimDisk::new(rng.random());
            disk.state().sync_lies = matches!(control, Some("eatmydata" | "sled-flush"));
            let machine = Machine {
                boot: Uuid::from_u128(rng.random()),
                started: now - rng.random_range(1_000..1_000_000),
                drift_ppm: rng.random_range(-30..=30),
                wall_off: rng.random_range(-5..5),
                max_error_ms: rng.random_bool(0.5).then_some(20),
            };
            let mut gateway = SimGateway::new(facts.id, disk, machine);
            gateway.items.clone_from(&facts.items);
            gateway.config = facts.config.clone();
            gateway.hasty = control == Some("ack-before-fsync");
            gateways.push(gateway);
        }
        let count = gateways.len();
        let mut world = Self {
            hub,
            gateways,
            presentations: Vec::new(),
            broken: Vec::new(),
            faults: 0,
            base: base.clone(),
            rng,
            now,
            until: now + TEACHING_MS,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            lives: vec![0; count],
            calling: vec![false; count],
            up: true,
            loss: (0, 0),
            harmed: vec![false; count],
            snapshots: vec![None; count],
            backup: folder.join("backup.sqlite"),
            backed_up: false,
            healed: false,
            dedup: control != Some("no-dedup"),
        };
        for gateway in 0..count {
            world.at(0, Event::Start(gateway));
            world.at(30_000 + gateway as i64, Event::Minute(gateway));
        }
        world.at(1_000, Event::Swipe);
        world.at(60_000, Event::Fault);
        world
    }

    fn at(&mut self, after: i64, event: Event) {
        self.events.push(Some(event));
        let index = self.events.len() - 1;
        self.queue.push(Reverse((self.now + after.max(0), index as u64, index)));
    }

    /// Plays until the last card, heals everything, and waits until all is in. Gives how long that took.
    pub(super) async fn play(&mut self) -> Option<i64> {
        while let Some(Reverse((at, _, index))) = self.queue.pop() {
            self.now = self.now.max(at);
            self.base.clock.set_ms(self.now);
            if self.now > self.until && !self.healed {
                self.heal().await;
            }
            let Some(event) = self.events[index].take() else { continue };
            self.handle(event).await;
            if self.healed {
                if self.drained() {
                    return Some(self.now - self.until);
                }
                if self.now > self.until + DRAINED_WITHIN_MS {
                    return None;
                }
            }
        }
        None
    }

    fn drained(&mut self) -> bool {
        let now = self.now;
        // Every gateway has said how it is since: only so a hub that was restored just before is found out.
        self.up
            && now > self.until + HEARD_OF_MS
            && self.gateways.iter_mut().all(|gateway| {
                if gateway.has_work() {
                    return false;
                }
                let Some((status, standing)) = gateway.status(now) else { return false };
                let Some((handover, _)) = gateway.uplink() else { return false };
                matches!(handover.step(&status, &standing), Step::Wait(_))
            })
    }

    async fn heal(&mut self) {
        self.healed = true;
        self.loss = (0, 0);
        if !self.up {
            self.hub.start().await;
            self.up = true;
        }
        for index in 0..self.gateways.len() {
            let gateway = &mut self.gateways[index];
            gateway.disk.heal();
            gateway.machine.wall_off = 0;
            self.at(1_000, Event::Start(index));
            self.at(1_500, Event::Minute(index));
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Swipe => self.swipe(),
            Event::Write(gateway) => self.write(gateway),
            Event::Minute(gateway) => {
                self.gateways[gateway].minute(self.now);
                self.at(1, Event::Write(gateway));
                self.at(60_000, Event::Minute(gateway));
            }
            Event::Uplink(gateway) => self.uplink(gateway),
            Event::Arrive { gateway, life, sent, message, again } => {
                self.arrive(gateway, life, sent, message, again).await;
            }
            Event::Echo(gateway, request) => {
                let query = request["query"].as_str().unwrap_or_default().to_owned();
                // An answer that nobody hears.
                drop(
                    self.hub.carry_out(self.gateways[gateway].id, &query, request["variables"].clone()).await,
                );
            }
            Event::Answer { gateway, life, sent, message, answer } => {
                self.answer(gateway, life, sent, message, answer);
            }
            Event::Fault => self.fault().await,
            Event::Start(gateway) => self.start(gateway),
            Event::HubUp => {
                if !self.up {
                    self.hub.start().await;
                    self.up = true;
                }
            }
            Event::Room(gateway) => self.gateways[gateway].disk.state().full = false,
            Event::Network => self.loss = (0, 0),
            Event::Clock(gateway) => {
                self.gateways[gateway].machine.wall_off = 0;
            }
        }
    }

    fn start(&mut self, index: usize) {
        let gateway = &mut self.gateways[index];
        if gateway.runs() {
            return;
        }
        gateway.disk.power_on();
        if let Err(error) = gateway.start(self.now) {
            if self.healed {
                self.broken.push(format!("gateway {index} does not start on a whole disk: {error}"));
                return;
            }
            gateway.disk.power_on();
            self.at(2_000, Event::Start(index));
            return;
        }
        if !self.harmed[index] && !self.gateways[index].damage.is_empty() {
            let damage = std::mem::take(&mut self.gateways[index].damage);
            self.broken.push(format!("gateway {index} reports damage where nothing was harmed: {damage:?}"));
        }
        self.lives[index] += 1;
        self.calling[index] = false;
        self.at(1, Event::Write(index));
        self.at(50, Event::Uplink(index));
    }

    fn swipe(&mut self) {
        if self.now < self.until {
            let next = self.rng.random_range(500..90_000);
            self.at(next, Event::Swipe);
        }
        if self.healed || Session::ALL.iter().any(|it| it.near_edge(self.base.day, self.now, EDGE_MS)) {
            return;
        }
        let door = self.rng.random_range(0..DOORS.len());
        let student = self.rng.random_range(0..STUDENTS);
        let index = DOORS[door].gateway;
        let random: [u8; 10] = self.rng.random();
        let Ok(card) = CardRead::new(56, &uid(student)) else { return };
        let Some((swipe, reading)) = self.gateways[index].swipe(DOORS[door].reader, card, random, self.now)
        else {
            return;
        };
        let (at, flash, place, forgiven) = (self.now, None, None, false);
        self.presentations.push(Presentation { swipe, student, door, at, reading, flash, place, forgiven });
        // Sometimes several wait for one sync.
        let wait = self.rng.random_range(1..200);
        self.at(wait, Event::Write(index));
    }

    fn write(&mut self, index: usize) {
        let shown = match self.gateways[index].write(self.now) {
            Ok(shown) => shown,
            Err(shown) => {
                let wait = self.rng.random_range(500..5_000);
                self.down(index, wait);
                shown
            }
        };
        self.note(shown);
        if self.gateways[index].has_work() {
            self.at(1_000, Event::Write(index));
        }
    }

    fn note(&mut self, shown: Vec<Shown>) {
        for Shown { swipe, place, flash } in shown {
            if let Some(known) = self.presentations.iter_mut().rev().find(|it| it.swipe == swipe) {
                known.flash = known.flash.or(flash);
                known.place = known.place.or(place);
            }
        }
    }

    fn down(&mut self, index: usize, back_after: i64) {
        let shown = self.gateways[index].kill();
        self.note(shown);
        self.lives[index] += 1;
        self.at(back_after, Event::Start(index));
    }

    fn uplink(&mut self, index: usize) {
        if self.calling[index] {
            return;
        }
        let now = self.now;
        let Some((status, standing)) = self.gateways[index].status(now) else { return };
        let Some((handover, log)) = self.gateways[index].uplink() else { return };
        let message = match handover.step(&status, &standing) {
            Step::Heartbeat => {
                let input = handover.heartbeat(&status, &standing, More::default());
                Message::Heartbeat(Box::new(HeartbeatVariables { input }), Box::new((status, standing)))
            }
            Step::Read { journal, from, limit } => {
                let Ok(stored) = log.read(from, limit) else { return };
                match handover.batch((journal, from), stored, &status, &standing, None, None) {
                    Some(sent) => Message::Submit(Box::new(sent), Box::new(standing)),
                    None => return self.at(1, Event::Uplink(index)),
                }
            }
            Step::Wait(_) => return self.at(2_000, Event::Uplink(index)),
        };
        self.calling[index] = true;
        let (life, sent) = (self.lives[index], now);
        if self.rng.random_range(0..100) < self.loss.0 {
            let answer = Err(UplinkError::TimedOut);
            return self.at(TIMEOUT_MS, Event::Answer { gateway: index, life, sent, message, answer });
        }
        let delay = if self.rng.random_bool(0.1) { self.rng.random_range(0..8_000) } else { 20 };
        let again = !self.healed && self.rng.random_bool(0.1);
        self.at(delay, Event::Arrive { gateway: index, life, sent, message, again });
    }

    async fn arrive(&mut self, index: usize, life: u64, sent: i64, message: Message, again: bool) {
        let (query, variables) = match &message {
            Message::Heartbeat(variables, _) => {
                let operation = Heartbeat::build(HeartbeatVariables::clone(variables));
                (operation.query, serde_json::to_value(operation.variables))
            }
            Message::Submit(submission, _) => {
                let operation = SubmitSwipes::build(SubmitVariables { input: submission.input.clone() });
                (operation.query, serde_json::to_value(operation.variables))
            }
        };
        let variables = variables.unwrap_or_default();
        let id = self.gateways[index].id;
        if again {
            // The network gives it twice, the second time much later, behind others.
            let late = self.rng.random_range(100..120_000);
            let mut request = serde_json::json!({"query": query.clone(), "variables": variables.clone()});
            if !self.dedup {
                for swipe in request["variables"]["input"]["swipes"].as_array_mut().into_iter().flatten() {
                    swipe["swipeId"] = Value::String(Uuid::from_u128(self.rng.random()).to_string());
                }
            }
            self.at(late, Event::Echo(index, request));
        }
        let answer = if self.up {
            self.hub.carry_out(id, &query, variables).await
        } else {
            Err(UplinkError::TimedOut)
        };
        let lost = self.rng.random_range(0..100) < self.loss.1;
        let (answer, delay) = if lost { (Err(UplinkError::TimedOut), TIMEOUT_MS) } else { (answer, 20) };
        self.at(delay, Event::Answer { gateway: index, life, sent, message, answer });
    }

    fn answer(
        &mut self,
        index: usize,
        life: u64,
        sent: i64,
        message: Message,
        answer: Result<Value, UplinkError>,
    ) {
        if self.lives[index] != life {
            return;
        }
        self.calling[index] = false;
        let done = answer.and_then(|data| self.learn(index, sent, message, data));
        let wait = match done {
            Ok(()) => 10,
            Err(error) => {
                let Some((handover, _)) = self.gateways[index].uplink() else { return };
                if handover.failed(&error) { 10 } else { self.rng.random_range(500..20_000) }
            }
        };
        self.at(wait, Event::Uplink(index));
    }

    fn learn(&mut self, index: usize, sent: i64, message: Message, data: Value) -> Result<(), UplinkError> {
        let bad = |error: serde_json::Error| UplinkError::BadAnswer(error.to_string());
        let now = self.now;
        let fresh = Uuid::from_u128(self.rng.random());
        let gateway = &mut self.gateways[index];
        tracing::info!(at = now, gateway = index, %data, "answered");
        match message {
            Message::Heartbeat(_, taken) => {
                let answer: Heartbeat = serde_json::from_value(data).map_err(bad)?;
                let answer: GatewayHeartbeatPayload = answer.gateway_heartbeat;
                gateway.hub_says(answer.received_at.0, sent, now);
                let (status, standing) = *taken;
                let Some((handover, log)) = gateway.uplink() else { return Ok(()) };
                for has in &answer.handed_over {
                    let found = handover
                        .wanted(&standing, has)
                        .and_then(|wanted| log.read(wanted, 1).ok())
                        .and_then(|found| found.into_iter().next());
                    let name = Uuid::from_u128(self.rng.random());
                    if handover.learn(&standing, has, found.as_ref(), name) {
                        log.renew(fresh);
                    }
                }
                handover.heartbeat_answered(&status, &standing, &answer)
            }
            Message::Submit(submission, standing) => {
                let answer: SubmitSwipes = serde_json::from_value(data).map_err(bad)?;
                let answer: GatewaySubmitSwipesPayload = answer.gateway_submit_swipes;
                gateway.hub_says(answer.committed_at.0, sent, now);
                let Some((handover, log)) = gateway.uplink() else { return Ok(()) };
                if handover.submitted(&submission, &answer, &standing)? {
                    log.renew(fresh);
                }
                Ok(())
            }
        }
    }

    async fn fault(&mut self) {
        if self.healed || self.now > self.until {
            return;
        }
        let next = self.rng.random_range(20_000..240_000);
        self.at(next, Event::Fault);
        self.faults += 1;
        let index = self.rng.random_range(0..self.gateways.len());
        let operations = self.rng.random_range(0..12);
        let kind = self.rng.random_range(0..13);
        tracing::info!(at = self.now, gateway = index, up = self.up, "fault {}", FAULTS[kind]);
        match kind {
            0 | 1 => {
                let back = self.rng.random_range(200..20_000);
                self.down(index, back);
            }
            2 | 3 => self.power_cut(index),
            4 => {
                self.gateways[index].disk.fail_in(operations, Fault::Cut);
            }
            5 => {
                self.harmed[index] = true;
                self.gateways[index].disk.fail_in(operations, Fault::Io);
            }
            6 => {
                self.gateways[index].disk.state().full = true;
                let wait = self.rng.random_range(30_000..600_000);
                self.at(wait, Event::Room(index));
            }
            7 | 8 => {
                self.loss = [(100, 100), (0, 100), (40, 40), (100, 0)][self.rng.random_range(0..4)];
                let wait = self.rng.random_range(10_000..900_000);
                self.at(wait, Event::Network);
            }
            9 => {
                self.hub.stop();
                self.up = false;
                let wait = self.rng.random_range(1_000..600_000);
                self.at(wait, Event::HubUp);
            }
            10 if self.up => {
                if self.backed_up {
                    self.hub.restore(&self.backup.clone()).await;
                    self.backed_up = false;
                } else {
                    self.hub.backup(&self.backup.clone()).await;
                    self.backed_up = true;
                }
            }
            11 => self.clock_step(index),
            12 => self.storage(index).await,
            _ => {}
        }
    }

    fn power_cut(&mut self, index: usize) {
        let back = self.rng.random_range(3_000..300_000);
        self.down(index, back);
        let gateway = &mut self.gateways[index];
        gateway.disk.power_cut();
        gateway.machine.boot = Uuid::from_u128(self.rng.random());
        gateway.machine.started = self.now + back - 1_000;
        // No clock chip: the wall stands in 1970, or where it was last kept.
        gateway.machine.wall_off = if self.rng.random_bool(0.5) { -self.now } else { -back };
        gateway.machine.max_error_ms = Some(16_000);
    }

    fn clock_step(&mut self, index: usize) {
        let steps = [-1_000, 1_000, -60_000, 3_600_000, -86_400_000, 315_360_000_000, -315_360_000_000];
        let step = steps[self.rng.random_range(0..steps.len())];
        let now = self.now;
        let known = self.gateways[index].status(now).is_some_and(|(status, _)| status.now.when.is_exact());
        let machine = &mut self.gateways[index].machine;
        machine.wall_off += step;
        // A clock that lies of being in step is only found out by one that knows the time already.
        machine.max_error_ms = (known && machine.max_error_ms.is_some()).then_some(20);
        let wait = self.rng.random_range(10_000..500_000);
        self.at(wait, Event::Clock(index));
    }

    /// The card is copied, or the copy is put in: everything since is gone from this gateway.
    async fn storage(&mut self, index: usize) {
        let Some(old) = self.snapshots[index].take() else {
            self.snapshots[index] = Some(self.gateways[index].disk.copy_of_medium());
            return;
        };
        if !self.up {
            return;
        }
        self.down(index, 2_000);
        self.gateways[index].disk.replace(&old);
        let at_hub: BTreeSet<Uuid> = super::check::claimed(&self.hub).await.into_iter().collect();
        let kept = super::check::swipes_on(&old);
        for it in self.presentations.iter_mut().filter(|it| DOORS[it.door].gateway == index) {
            it.forgiven |= !at_hub.contains(&it.swipe) && !kept.contains(&it.swipe);
        }
        // A backup from before would ask for what this card does not have any more.
        self.backed_up = false;
    }

    /// How long it was played, in virtual milliseconds.
    #[must_use]
    pub(super) fn elapsed_ms(&self) -> i64 {
        self.now - self.base.from
    }

    /// Whether a student is on the list.
    #[must_use]
    pub(super) fn listed(student: usize) -> bool {
        student < LISTED
    }
}
