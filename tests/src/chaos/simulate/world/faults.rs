//! What goes wrong.

use std::collections::BTreeSet;

use rand::Rng;
use rollcall_gateway::core::time::Kept;
use uuid::Uuid;

use super::super::DOORS;
use super::super::check::{claimed, rows, swipes_on};
use super::super::disk::{Fault, SimDisk};
use super::{Event, World};

/// A copy of a gateway's card.
#[derive(Clone)]
pub(super) struct Image {
    made_at: i64,
    journal: SimDisk,
    clock: Option<Kept>,
    /// Since when the next start must say that swipes were refused.
    refusing: Option<(i64, bool)>,
}

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

impl World {
    pub(super) async fn fault(&mut self) {
        if self.healed || self.now > self.until {
            return;
        }
        let next = self.rng.random_range(20_000..240_000);
        self.at(next, Event::Fault);
        self.faults += 1;
        let index = self.rng.random_range(0..self.gateways.len());
        let operations = self.rng.random_range(0..12);
        let kind = self.rng.random_range(0..13);
        // What was on a disk that lies or is put back nobody can say, so half the worlds have none: there every register is
        // held against the truth from both sides.
        let kind = if self.whole_disks && matches!(kind, 5 | 12) { 0 } else { kind };
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
                self.disk_harmed[index] = Some(self.now);
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
                    // Its timetable is that of then.
                    self.plan = self.backed_plan;
                    self.tell_all();
                } else {
                    self.hub.backup(&self.backup.clone()).await;
                    self.backed_up = true;
                    self.backed_plan = self.plan;
                }
            }
            11 => self.clock_step(index),
            12 => self.storage(index).await,
            _ => {}
        }
    }

    fn power_cut(&mut self, index: usize) {
        let longest = if self.rng.random_bool(0.2) { 2_000_000 } else { 300_000 };
        let back = self.rng.random_range(3_000..longest);
        self.down(index, back);
        self.gateways[index].disk.power_cut();
        let boot = Uuid::from_u128(self.rng.random());
        // No clock chip: the wall stands in 1970, or where it was last kept.
        let wall_off = if self.rng.random_bool(0.5) { -self.now } else { -back };
        self.boots(index, boot, back, wall_off);
    }

    /// The machine starts anew, so long from now.
    fn boots(&mut self, index: usize, boot: Uuid, back: i64, wall_off: i64) {
        let started = self.now + back - 1_000;
        let machine = &mut self.gateways[index].machine;
        (machine.boot, machine.started) = (boot, started);
        (machine.wall_off, machine.max_error_ms) = (wall_off, Some(16_000));
    }

    fn clock_step(&mut self, index: usize) {
        let steps = [-1_000, 1_000, -60_000, 3_600_000, -86_400_000, 315_360_000_000, -315_360_000_000];
        let step = steps[self.rng.random_range(0..steps.len())];
        let now = self.now;
        let known = self.gateways[index].status(now).is_some_and(|(status, _)| status.now.when.is_exact());
        let gateway = &mut self.gateways[index];
        let known = known && gateway.clock_kept_from <= now;
        let machine = &mut gateway.machine;
        machine.wall_off += step;
        // A clock that lies of being in step is only found out by one that knows the time already, and keeps it over a restart.
        machine.max_error_ms = (known && machine.max_error_ms.is_some()).then_some(20);
        let wait = self.rng.random_range(10_000..500_000);
        self.at(wait, Event::Clock(index));
    }

    /// The card is copied, or the copy is put in: everything since is gone from this gateway.
    async fn storage(&mut self, index: usize) {
        let Some(image) = self.snapshots[index].take() else {
            let gateway = &self.gateways[index];
            let journal = gateway.disk.copy_of_medium();
            let (made_at, clock) = (self.now, gateway.kept.clone());
            self.snapshots[index] = Some(Image { made_at, journal, clock, refusing: gateway.refusing });
            return;
        };
        if !self.up {
            return;
        }
        self.down(index, 2_000);
        let boot = Uuid::new_v5(&self.gateways[index].machine.boot, b"put back");
        self.boots(index, boot, 2_000, -2_000);
        let old = image.journal;
        let gateway = &mut self.gateways[index];
        gateway.disk.replace(&old);
        (gateway.kept, gateway.refusing) = (image.clock, image.refusing);
        // The timetable's copy stays as it is here, and one that is lost says by itself since when nobody was served.
        let knows_readers = !gateway.cache_lost;
        self.disk_harmed[index] = Some(self.now);
        let known = rows(&self.hub, "SELECT id, watermark, 0 FROM gateway").await;
        let id = self.gateways[index].id;
        let watermark = known.iter().find(|it| it.0 == id).map_or(0, |(_, watermark, _)| *watermark);
        self.put_back[index].push((image.made_at.min(watermark), watermark, self.now));
        let at_hub: BTreeSet<Uuid> = claimed(&self.hub).await.into_iter().collect();
        let (kept, last) = swipes_on(&old);
        let through = rows(&self.hub, "SELECT journal_id, through, 0 FROM journal").await;
        // A hub that came back from a backup of before the image knows nothing of what came after it either.
        let is_known = last.is_some_and(|(journal, last)| {
            through.iter().any(|(id, through, _)| *id == journal && through.cast_unsigned() > last)
        });
        for it in self.presentations.iter_mut().filter(|it| DOORS[it.door].gateway == index) {
            let is_gone = !it.minted.iter().any(|it| at_hub.contains(&it.id) || kept.contains(&it.id));
            // What a reader keeps from before the hub's last word and tells of later, the hub cannot miss.
            if is_known
                && knows_readers
                && watermark > 0
                && is_gone
                && !it.forgiven
                && it.green()
                && it.at >= watermark
            {
                self.gone.push((it.student, it.door, it.at));
            }
            it.forgiven |= is_gone;
            it.twice |= !it.kept;
        }
        // A backup from before would ask for what this card does not have any more.
        self.backed_up = false;
    }
}
