//! The world of one seed: two gateways, one hub, a network between them, students at the doors, and what goes wrong,
//! in virtual time. The same seed gives the same world.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rollcall_gateway::journal::writer::Standing;
use rollcall_gateway::uplink::client::UplinkError;
use rollcall_gateway::uplink::handover::{Status, Step, Submission};
use rollcall_gateway::uplink::operations::HeartbeatVariables;
use rollcall_rules::light::Colour;
use rollcall_rules::time::Uncertain;
use serde_json::Value;
use uuid::Uuid;

use super::disk::SimDisk;
use super::gateway::SimGateway;
use super::hub::SimHub;
use super::machine::{Ids, Machine};
use super::plan::Plan;
use super::reader::SimReader;
use super::{Base, DOORS, LISTED};

mod calls;
mod changes;
mod doors;
mod faults;
mod program;
pub(super) mod service;
mod trouble;

use faults::Image;
use service::Service;
use trouble::Trouble;
pub use trouble::UNTROUBLED;

/// The control under which the timetable stays as it is, and no cache is lost: no defect, but what seeds once broke that came before.
pub const STILL: &str = "timetable-stays";
/// How long cards are held to readers, in virtual milliseconds.
const TEACHING_MS: i64 = 100 * 60_000;
/// How long everything may take to come in once all faults are over.
pub(super) const DRAINED_WITHIN_MS: i64 = 15 * 60_000;
/// When all is in, every gateway sends two heartbeats within this: only so a hub that was restored just before is found
/// out, and watermarks pass the last session's end.
const HEARD_OF_MS: i64 = 125_000;

/// What a gateway made of a card.
#[derive(Debug, Clone)]
pub(super) struct Minted {
    /// The swipe's id.
    pub id: Uuid,
    /// When the gateway took it to be.
    pub when: Uncertain,
    /// Which version of the timetable the gateway had.
    pub plan: usize,
    /// What was flashed, once it was.
    pub flash: Option<Colour>,
    /// Its place in a journal, once it was durable.
    pub place: Option<(Uuid, u64)>,
}

/// A card held to a reader.
#[derive(Debug, Clone)]
pub(super) struct Presentation {
    /// What gateways made of it: one swipe, but for an MQTT reader's that was sent again after it was lost or refused.
    pub minted: Vec<Minted>,
    /// Whose card.
    pub student: usize,
    /// At which door.
    pub door: usize,
    /// When it truly was.
    pub at: i64,
    /// The MQTT reader was told that it is kept, and forgot it.
    pub kept: bool,
    /// Its storage was replaced before it could be handed over.
    pub forgiven: bool,
    /// Its record rotted: how often the hub had been restored by then, and whether it had it.
    pub rotten: Option<(u32, bool)>,
    /// Its storage was put back to before it, while the reader still had it: it may come twice.
    pub twice: bool,
}

impl Presentation {
    /// A card at a door.
    #[must_use]
    pub(super) fn new(student: usize, door: usize, at: i64) -> Self {
        Self {
            minted: Vec::new(),
            student,
            door,
            at,
            kept: false,
            forgiven: false,
            rotten: None,
            twice: false,
        }
    }

    /// It was shown green.
    #[must_use]
    pub(super) fn green(&self) -> bool {
        self.minted.iter().any(|it| it.flash == Some(Colour::Green))
    }
}

enum Message {
    Heartbeat(Box<HeartbeatVariables>, Box<(Status, Standing)>),
    Submit(Box<Submission>, Box<Standing>),
}

enum Event {
    Swipe,
    /// A card is held to an MQTT reader.
    Hold,
    /// An MQTT reader, in a life of its gateway, connects or sends again.
    Reader(usize, u64),
    /// An MQTT reader loses its power.
    Dark,
    /// The broker of a gateway, in a life of it, notices that.
    Lost(usize, u64),
    /// A serial reader falls silent.
    Quiet,
    /// Its gateway notices.
    Missed(usize),
    /// It is asked again, and may answer.
    Heard(usize),
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
    /// Something stranger.
    Trouble,
    Start(usize),
    HubUp,
    Room(usize),
    Network,
    Clock(usize),
    /// The timetable changes at the hub.
    Change,
    /// A gateway gets to know of it.
    Told(usize),
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
    /// When doors were served, by door.
    pub service: Vec<Service>,
    /// When a gateway's disk was last put back or failed, by gateway.
    pub disk_harmed: Vec<Option<i64>>,
    /// Cards that were put back, by gateway: since when they know nothing, since when the hub does not either, and until when.
    pub put_back: Vec<Vec<(i64, i64, i64)>>,
    /// The timetable in all its versions.
    pub plans: Vec<Plan>,
    /// Which of them the hub has.
    pub plan: usize,
    /// And which each gateway.
    has: Vec<usize>,
    backed_plan: usize,
    base: Base,
    readers: Vec<SimReader>,
    rng: ChaCha8Rng,
    /// Of its own, so that what happens at the doors moves nothing else.
    door_rng: ChaCha8Rng,
    plan_rng: ChaCha8Rng,
    trouble: Option<Trouble>,
    /// When the clock's file of a gateway could not be written, by gateway.
    pub clock_failed: Vec<Vec<(i64, i64)>>,
    cache_rng: ChaCha8Rng,
    /// Caches may be lost.
    frail_caches: bool,
    /// Cards that were shown red by a gateway that did not know its readers: student, door, when.
    pub unknown: Vec<(usize, usize, i64)>,
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
    /// No disk fails or is put back.
    whole_disks: bool,
    snapshots: Vec<Option<Image>>,
    /// Who saw green, and the card with it was put back before the hub had it: student, door, when.
    pub gone: Vec<(usize, usize, i64)>,
    backup: PathBuf,
    backed_up: bool,
    healed: bool,
    /// When records were last handed over, or tried to be.
    last_submitted: i64,
    dedup: bool,
    /// Watermarks are told before what they cover is handed over: a control.
    eager: bool,
}

impl World {
    /// The world of a seed. `control` puts a defect in.
    pub(super) async fn new(base: &Base, seed: u64, folder: &std::path::Path, control: Option<&str>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let hub = SimHub::on_copy_of(&base.database, folder.join("hub.sqlite"), base.clock.clone()).await;
        let hub = hub.unwrap_or_else(|error| panic!("no copy of the database: {error}"));
        let now = base.from;
        let mut gateways = Vec::new();
        for (index, facts) in base.gateways.iter().enumerate() {
            let disk = SimDisk::new(rng.random());
            disk.state().sync_lies = matches!(control, Some("eatmydata" | "sled-flush"));
            disk.state().name_sync_lies = control == Some("no-name-sync");
            let machine = Machine {
                boot: Uuid::from_u128(rng.random()),
                started: now - rng.random_range(1_000..1_000_000),
                drift_ppm: rng.random_range(-30..=30),
                wall_off: rng.random_range(-5..5),
                max_error_ms: rng.random_bool(0.5).then_some(20),
                ids: Ids::new(seed, index),
            };
            let mut gateway = SimGateway::new(facts.id, disk, machine);
            gateway.items.clone_from(&facts.items);
            gateway.config = facts.config.clone();
            gateway.hasty = control == Some("ack-before-fsync");
            gateway.mute = control == Some("no-outages");
            gateways.push(gateway);
        }
        let count = gateways.len();
        let mut door_rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0d00);
        let mqtt = |door: &usize| DOORS[*door].mqtt;
        let readers: Vec<SimReader> =
            (0..DOORS.len()).filter(mqtt).map(|door| SimReader::new(door, now, &mut door_rng)).collect();
        let troubled = !matches!(control, Some(STILL | UNTROUBLED));
        let mut world = Self {
            hub,
            gateways,
            presentations: Vec::new(),
            broken: Vec::new(),
            faults: 0,
            service: DOORS.iter().map(|_| Service::default()).collect(),
            disk_harmed: vec![None; count],
            put_back: vec![Vec::new(); count],
            plans: vec![Plan::first()],
            plan: 0,
            has: vec![0; count],
            backed_plan: 0,
            base: base.clone(),
            readers,
            rng,
            door_rng,
            plan_rng: ChaCha8Rng::seed_from_u64(seed ^ 0x91a0),
            trouble: troubled.then(|| Trouble::new(seed, count)),
            clock_failed: vec![Vec::new(); count],
            cache_rng: ChaCha8Rng::seed_from_u64(seed ^ 0xcac4e),
            frail_caches: control != Some(STILL),
            unknown: Vec::new(),
            now,
            until: now + TEACHING_MS,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            lives: vec![0; count],
            calling: vec![false; count],
            up: true,
            loss: (0, 0),
            harmed: vec![false; count],
            whole_disks: seed % 2 == 1,
            snapshots: vec![None; count],
            gone: Vec::new(),
            backup: folder.join("backup.sqlite"),
            backed_up: false,
            healed: false,
            last_submitted: now,
            dedup: control != Some("no-dedup"),
            eager: control == Some("eager-watermark"),
        };
        for gateway in 0..count {
            world.at(0, Event::Start(gateway));
            world.at(30_000 + gateway as i64, Event::Minute(gateway));
        }
        world.at(1_000, Event::Swipe);
        world.at(1_500, Event::Hold);
        world.at(120_000, Event::Dark);
        world.at(200_000, Event::Quiet);
        world.at(60_000, Event::Fault);
        if troubled {
            world.at(90_000, Event::Trouble);
        }
        if control != Some(STILL) {
            world.at(300_000, Event::Change);
        }
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
            for gateway in &mut self.gateways {
                gateway.tick(self.now);
            }
            if self.now > self.until && !self.healed {
                self.heal().await;
            }
            let Some(event) = self.events[index].take() else { continue };
            self.handle(event).await;
            self.observe();
            if self.healed {
                let last = self.last_submitted.max(self.until);
                if self.now >= last + HEARD_OF_MS && self.undrained().is_none() {
                    return Some(last - self.until);
                }
                if self.now > self.until + DRAINED_WITHIN_MS {
                    return None;
                }
            }
        }
        None
    }

    /// What is left to hand over, if anything.
    pub(super) fn undrained(&mut self) -> Option<String> {
        let now = self.now;
        if !self.up {
            return Some("the hub is down".to_owned());
        }
        if let Some(reader) = self.readers.iter().find(|reader| !reader.is_empty()) {
            return Some(format!("reader {} has swipes", DOORS[reader.door].reader));
        }
        self.gateways.iter_mut().enumerate().find_map(|(index, gateway)| {
            if gateway.has_work() {
                return Some(format!("gateway {index} waits for its disk"));
            }
            let said = gateway.status(now).zip(gateway.uplink());
            let Some(((status, standing), (handover, _))) = said else {
                return Some(format!("gateway {index} does not run"));
            };
            let step = handover.step(&status, &standing);
            (!matches!(step, Step::Wait(_) | Step::Heartbeat)).then(|| format!("gateway {index}: {step:?}"))
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
            gateway.clock_kept_from = 0;
            gateway.machine.wall_off = 0;
            // Its power may have been to come back later only.
            gateway.machine.started = gateway.machine.started.min(self.now);
            self.at(1_000, Event::Start(index));
            self.at(1_500, Event::Minute(index));
        }
        self.mend_readers();
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Swipe => self.swipe(),
            Event::Hold => self.hold(),
            Event::Reader(reader, life) => self.reader(reader, life),
            Event::Dark => self.dark(),
            Event::Lost(reader, life) => self.lost(reader, life),
            Event::Quiet => self.quiet(),
            Event::Missed(door) => self.missed(door),
            Event::Heard(door) => self.heard(door),
            Event::Write(gateway) => self.write(gateway),
            Event::Minute(gateway) => {
                self.gateways[gateway].minute(self.now);
                self.rests(gateway);
                self.at(1, Event::Write(gateway));
                self.at(60_000, Event::Minute(gateway));
            }
            Event::Uplink(gateway) => self.uplink(gateway),
            Event::Arrive { gateway, life, sent, message, again } => {
                self.arrive(gateway, life, sent, message, again).await;
                self.watermarks_hold().await;
            }
            Event::Echo(gateway, request) => {
                let query = request["query"].as_str().unwrap_or_default().to_owned();
                if self.turns_down_again(gateway, &request["variables"].to_string()) {
                    return;
                }
                // An answer that nobody hears.
                drop(
                    self.hub.carry_out(self.gateways[gateway].id, &query, request["variables"].clone()).await,
                );
            }
            Event::Answer { gateway, life, sent, message, answer } => {
                self.answer(gateway, life, sent, message, answer);
            }
            Event::Fault => self.fault().await,
            Event::Trouble => self.trouble().await,
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
            Event::Change => self.change().await,
            Event::Told(gateway) => self.told(gateway).await,
        }
    }

    /// Its only record rotted: nobody can have it any more.
    pub(super) fn is_rotten(&self, it: &Presentation) -> bool {
        it.rotten.is_some_and(|(restores, at_hub)| !at_hub || self.hub.restores > restores)
    }

    /// How many records were turned down and rotted, and how many clocks could not be kept.
    pub(super) fn strange(&self) -> [u64; 3] {
        self.trouble.as_ref().map_or([0; 3], |trouble| trouble.seen)
    }

    /// How long it was played, in virtual milliseconds.
    #[must_use]
    pub(super) fn elapsed_ms(&self) -> i64 {
        self.now - self.base.from
    }

    /// What time it truly is.
    #[must_use]
    pub(super) fn now(&self) -> i64 {
        self.now
    }

    /// Whether a student is on the list.
    #[must_use]
    pub(super) fn listed(student: usize) -> bool {
        student < LISTED
    }
}
