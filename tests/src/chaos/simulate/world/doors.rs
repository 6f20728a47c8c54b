//! Students at the doors, and what MQTT readers do with their cards.

use rand::Rng;
use rollcall_rules::card::CardRead;

use super::super::answer::Taken;
use super::super::{DOORS, STUDENTS};
use super::service::NOTICED_MS;
use super::{Event, Minted, Presentation, World};
use crate::timetable::uid;

/// No card is held to a reader so close to the edge of a window: what counts as exact may be off by a second.
const EDGE_MS: i64 = 2_500;
/// How often an MQTT reader sends what is not acknowledged.
const AGAIN_MS: i64 = 2_000;

impl World {
    /// A card at a serial reader, whose gateway asks for it at once, or never.
    pub(super) fn swipe(&mut self) {
        if self.now < self.until {
            let next = self.rng.random_range(500..90_000);
            self.at(next, Event::Swipe);
        }
        if self.healed || self.at_an_edge() {
            return;
        }
        let serial = DOORS.iter().filter(|door| !door.mqtt).count();
        let door = self.rng.random_range(0..serial);
        let student = self.rng.random_range(0..STUDENTS);
        let index = DOORS[door].gateway;
        let random: [u8; 10] = self.rng.random();
        let Ok(card) = CardRead::new(56, &uid(student)) else { return };
        if !self.is_polled(door) {
            return;
        }
        let taken = self.gateways[index].swipe(DOORS[door].reader, card, None, random, self.now);
        let Taken::New(minted) = taken else {
            let gateway = &self.gateways[index];
            if gateway.runs() && gateway.cache_lost && !gateway.disk.state().cut {
                self.unknown.push((student, door, self.now));
            }
            return;
        };
        let mut presentation = Presentation::new(student, door, self.now);
        presentation.minted.push(Minted { plan: self.has[index], ..minted });
        self.presentations.push(presentation);
        // Sometimes several wait for one sync.
        let wait = self.rng.random_range(1..200);
        self.at(wait, Event::Write(index));
    }

    fn at_an_edge(&self) -> bool {
        self.plans.iter().any(|plan| plan.near_edge(self.base.day, self.now, EDGE_MS))
    }

    /// A card at an MQTT reader, which keeps it until it is acknowledged.
    pub(super) fn hold(&mut self) {
        if self.now < self.until {
            let next = self.door_rng.random_range(500..60_000);
            self.at(next, Event::Hold);
        }
        if self.healed || self.at_an_edge() {
            return;
        }
        let index = self.door_rng.random_range(0..self.readers.len());
        let student = self.door_rng.random_range(0..STUDENTS);
        let Ok(card) = CardRead::new(56, &uid(student)) else { return };
        let place = self.presentations.len();
        let reader = &mut self.readers[index];
        reader.hold(card, place, self.now);
        self.presentations.push(Presentation::new(student, reader.door, self.now));
        if reader.connected {
            self.send(index);
        }
    }

    /// A gateway has started: its MQTT readers find it again, each in its time.
    pub(super) fn readers_find(&mut self, gateway: usize) {
        for index in 0..self.readers.len() {
            if DOORS[self.readers[index].door].gateway == gateway {
                self.readers[index].connected = false;
                let wait = self.door_rng.random_range(20..1_500);
                self.at(wait, Event::Reader(index, self.lives[gateway]));
            }
        }
    }

    pub(super) fn reader(&mut self, index: usize, life: u64) {
        let now = self.now;
        let gateway = DOORS[self.readers[index].door].gateway;
        if self.lives[gateway] != life || !self.gateways[gateway].runs() {
            return;
        }
        let reader = &mut self.readers[index];
        reader.timer = false;
        if !reader.connected {
            reader.connect();
            // Now and then the gateway subscribes too late, and has what the broker kept of an unknown age.
            let clock = self.door_rng.random_bool(0.8).then(|| reader.clock(now));
            self.gateways[gateway].online(DOORS[reader.door].reader, clock, now);
            self.at(1, Event::Write(gateway));
        }
        self.send(index);
    }

    /// An MQTT reader loses its power, and what it had not handed in.
    pub(super) fn dark(&mut self) {
        if self.healed {
            return;
        }
        let next = self.door_rng.random_range(60_000..1_200_000);
        self.at(next, Event::Dark);
        let index = self.door_rng.random_range(0..self.readers.len());
        let back = self.door_rng.random_range(1_000..60_000);
        self.readers[index].lose_power(self.now, back);
        let gateway = DOORS[self.readers[index].door].gateway;
        self.at(back, Event::Reader(index, self.lives[gateway]));
        let noticed = self.door_rng.random_range(0..NOTICED_MS);
        self.at(noticed, Event::Lost(index, self.lives[gateway]));
    }

    /// It sends what is due.
    fn send(&mut self, index: usize) {
        let now = self.now;
        let door = self.readers[index].door;
        let gateway = DOORS[door].gateway;
        for (tag, card, place) in self.readers[index].due(now, AGAIN_MS) {
            let random: [u8; 10] = self.door_rng.random();
            let (boot, seq) = (tag.boot.clone(), tag.seq);
            match self.gateways[gateway].swipe(DOORS[door].reader, card, Some(tag), random, now) {
                Taken::New(minted) => {
                    let minted = Minted { plan: self.has[gateway], ..minted };
                    self.presentations[place].minted.push(minted);
                    let wait = self.door_rng.random_range(1..200);
                    self.at(wait, Event::Write(gateway));
                }
                Taken::Kept => self.acknowledged(DOORS[door].reader, &boot, seq),
                Taken::Nothing => {}
            }
        }
        let reader = &mut self.readers[index];
        if !reader.is_empty() && !reader.timer {
            reader.timer = true;
            self.at(AGAIN_MS, Event::Reader(index, self.lives[gateway]));
        }
    }

    /// The gateway says that it has kept a swipe.
    pub(super) fn acknowledged(&mut self, code: &str, boot: &str, seq: u64) {
        let reader = self.readers.iter_mut().find(|it| DOORS[it.door].reader == code);
        if let Some(place) = reader.and_then(|it| it.acknowledged(boot, seq)) {
            let it: &mut Presentation = &mut self.presentations[place];
            it.kept = true;
        }
    }
}

impl Minted {
    /// What a gateway made of a card, before anything was shown.
    pub(in super::super) fn new(id: uuid::Uuid, when: rollcall_rules::time::Uncertain) -> Self {
        Self { id, when, plan: 0, flash: None, place: None }
    }
}
