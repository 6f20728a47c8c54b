//! When doors were served, and when perhaps not: readers that fall silent, and the truth that registers are held
//! against.

use rand::Rng;

use super::super::{DOORS, Door};
use super::{Event, World};

/// A gateway calls a serial reader silent after this.
const SILENCE_MS: i64 = 8_000;
/// A broker notices after this at the latest that an MQTT reader has no power.
pub(in super::super) const NOTICED_MS: i64 = 45_000;

/// Stretches of true time.
#[derive(Debug, Default)]
pub(in super::super) struct Spans {
    open: Option<i64>,
    closed: Vec<(i64, i64)>,
}

impl Spans {
    fn note(&mut self, holds: bool, now: i64) {
        match (self.open, holds) {
            (None, true) => self.open = Some(now),
            (Some(from), false) => {
                self.open = None;
                self.closed.push((from, now));
            }
            _ => {}
        }
    }

    /// All of them, the last one until `now` where it lasts.
    pub(in super::super) fn until(&self, now: i64) -> Vec<(i64, i64)> {
        self.closed.iter().copied().chain(self.open.map(|from| (from, now))).collect()
    }
}

/// The truth of one door.
#[derive(Debug, Default)]
pub(in super::super) struct Service {
    /// Its reader had no power or its line was cut, or the gateway did not run: no swipe could be taken.
    pub out: Spans,
    /// The same, or the gateway had not heard the reader yet, knew no time, or had no room.
    pub doubtful: Spans,
    /// The serial reader is silent until then.
    silent_until: i64,
    /// The serial reader has answered the gateway that runs.
    pub(super) answers: bool,
}

impl World {
    /// Looks at every door.
    pub(super) fn observe(&mut self) {
        let now = self.now;
        for (index, Door { gateway, .. }) in DOORS.iter().enumerate() {
            let reader = self.readers.iter().find(|it| it.door == index);
            let runs = self.gateways[*gateway].runs() && !self.gateways[*gateway].cache_lost;
            let service = &self.service[index];
            let (works, heard) = match reader {
                Some(reader) => (reader.has_power(now), reader.connected),
                None => (service.silent_until <= now, service.answers),
            };
            let sound = runs && works && heard && self.gateways[*gateway].is_sound(now);
            let service = &mut self.service[index];
            service.out.note(!(runs && works), now);
            service.doubtful.note(!sound, now);
        }
    }

    /// The gateway asks, and the serial reader answers.
    pub(super) fn is_polled(&self, door: usize) -> bool {
        self.service[door].answers && self.service[door].silent_until <= self.now
    }

    /// A gateway has started: its serial readers answer soon.
    pub(super) fn readers_answer(&mut self, gateway: usize) {
        for door in (0..DOORS.len()).filter(|door| DOORS[*door].gateway == gateway && !DOORS[*door].mqtt) {
            self.service[door].answers = false;
            let wait = self.door_rng.random_range(20..1_500);
            self.at(wait, Event::Heard(door));
        }
    }

    /// A serial reader falls silent.
    pub(super) fn quiet(&mut self) {
        if self.healed {
            return;
        }
        let next = self.door_rng.random_range(60_000..900_000);
        self.at(next, Event::Quiet);
        let serial = DOORS.iter().filter(|door| !door.mqtt).count();
        let door = self.door_rng.random_range(0..serial);
        let longest = if self.door_rng.random_bool(0.3) { 2_400_000 } else { 120_000 };
        let lasts = self.door_rng.random_range(2_000..longest);
        self.service[door].silent_until = self.now + lasts;
        self.at(SILENCE_MS, Event::Missed(door));
        self.at(lasts, Event::Heard(door));
    }

    /// Its gateway has asked a serial reader in vain for long enough.
    pub(super) fn missed(&mut self, door: usize) {
        let (now, service) = (self.now, &mut self.service[door]);
        if service.answers && service.silent_until > now {
            service.answers = false;
            self.gateways[DOORS[door].gateway].offline(DOORS[door].reader, SILENCE_MS, now);
        }
    }

    /// A serial reader is asked, and answers if it can.
    pub(super) fn heard(&mut self, door: usize) {
        let (now, gateway) = (self.now, DOORS[door].gateway);
        let service = &mut self.service[door];
        if self.gateways[gateway].runs() && service.silent_until <= now && !service.answers {
            service.answers = true;
            self.gateways[gateway].online(DOORS[door].reader, None, now);
            self.at(1, Event::Write(gateway));
        }
    }

    /// The broker notices that an MQTT reader is gone.
    pub(super) fn lost(&mut self, index: usize, life: u64) {
        let (now, door) = (self.now, self.readers[index].door);
        let gateway = DOORS[door].gateway;
        if self.lives[gateway] == life && !self.readers[index].connected {
            self.gateways[gateway].offline(DOORS[door].reader, 0, now);
            self.at(1, Event::Write(gateway));
        }
    }

    /// Everything that was cut is mended.
    pub(super) fn mend_readers(&mut self) {
        for door in 0..DOORS.len() {
            self.service[door].silent_until = self.service[door].silent_until.min(self.now);
            self.at(1_000, Event::Heard(door));
        }
    }
}
