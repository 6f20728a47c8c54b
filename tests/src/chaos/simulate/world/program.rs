//! The gateways' programs: how they start, write, and end.

use std::collections::BTreeSet;

use rand::Rng;
use uuid::Uuid;

use super::super::answer::Shown;
use super::{Event, World};

impl World {
    /// A program starts, if its machine has power.
    pub(super) fn start(&mut self, index: usize) {
        let gateway = &mut self.gateways[index];
        let dark_for = gateway.machine.started - self.now;
        if gateway.runs() || dark_for > 0 {
            // Its start after the power cut is still to come.
            return;
        }
        gateway.disk.power_on();
        // Not at the very first: what was never known is not lost.
        let may = self.frail_caches && !self.healed && self.lives[index] > 0;
        if may && self.cache_rng.random_bool(0.1) {
            gateway.cache_lost = true;
        }
        if let Err(error) = gateway.start(self.now) {
            if self.healed {
                self.broken.push(format!("gateway {index} does not start on a whole disk: {error}"));
                return;
            }
            gateway.disk.power_on();
            self.at(2_000, Event::Start(index));
            return;
        }
        let mut damage = std::mem::take(&mut self.gateways[index].damage);
        let rotten = self.presentations.iter().filter(|it| it.rotten.is_some()).flat_map(|it| &it.minted);
        let rotten: BTreeSet<(Uuid, u64)> = rotten.filter_map(|it| it.place).collect();
        damage.retain(|it| {
            !it.missing.clone().into_iter().flatten().all(|at| rotten.contains(&(it.journal, at)))
        });
        if !self.harmed[index] && !damage.is_empty() {
            self.broken.push(format!("gateway {index} reports damage where nothing was harmed: {damage:?}"));
        }
        self.lives[index] += 1;
        self.calling[index] = false;
        self.gateways[index].minute(self.now);
        self.at(1, Event::Write(index));
        self.at(50, Event::Uplink(index));
        if self.gateways[index].cache_lost {
            let wait = self.cache_rng.random_range(100..5_000);
            self.at(wait, Event::Told(index));
        }
        self.readers_find(index);
        self.readers_answer(index);
    }

    /// Its disk gets to what waits.
    pub(super) fn write(&mut self, index: usize) {
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
        for Shown { swipe, place, flash, kept } in shown {
            let minted = self.presentations.iter_mut().rev().flat_map(|it| &mut it.minted);
            if let Some(known) = minted.into_iter().find(|it| it.id == swipe) {
                known.flash = known.flash.or(flash);
                known.place = known.place.or(place);
            }
            if let Some((reader, boot, seq)) = kept {
                self.acknowledged(reader, &boot, seq);
            }
        }
    }

    /// It is killed, and starts again after so long.
    pub(super) fn down(&mut self, index: usize, back_after: i64) {
        let shown = self.gateways[index].kill();
        self.note(shown);
        self.lives[index] += 1;
        self.at(back_after, Event::Start(index));
    }
}
