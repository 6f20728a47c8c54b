//! The timetable of a gateway of the simulation: how it learns it, and what its lights are by it.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_gateway::core::outages::Cause;
use rollcall_gateway::core::{Change, Input};
use rollcall_gateway::timetable::item::CachedItem;
use rollcall_rules::light::Colour;
use rollcall_rules::time::Uncertain;
use uuid::Uuid;

use super::SimGateway;

impl SimGateway {
    /// Its timetable is another from now on; where it did not know its readers, they are named with it, some of which are
    /// `online`.
    pub(in super::super) fn learn(
        &mut self,
        items: Vec<(Uuid, CachedItem)>,
        online: &BTreeSet<&str>,
        now: i64,
    ) {
        self.items = items;
        let sample = self.machine.sample(now);
        self.keep_new_time(now);
        let Some(running) = &mut self.running else { return };
        let reading = running.keeper.read(sample);
        let changes = self.items.iter().map(|(id, item)| Change::Upsert(item.fact(*id))).collect();
        running.mind.handle(Input::Facts { changes, replace: true, basis: "sim".to_owned() }, reading);
        if std::mem::take(&mut self.cache_lost) {
            let (readers, secret) = (self.config.reader_facts(), self.config.card_secret());
            let (there, away): (Vec<_>, Vec<_>) = readers
                .iter()
                .map(|it| (it.id, online.contains(&it.code[..])))
                .partition(|(_, online)| *online);
            running.mind.handle(Input::Config { readers, secret }, reading);
            let mut told: Vec<_> = running.outages.named(reading).into_iter().collect();
            let cause = Cause::ReaderUnreachable;
            // What a journal says of one that answered before anybody knew its name is over too.
            told.extend(there.into_iter().filter_map(|(id, _)| running.outages.up(id, reading)));
            told.extend(
                away.into_iter().filter_map(|(id, _)| {
                    running.outages.down(id, cause, 0, reading, self.machine.fresh_id())
                }),
            );
            running.tell(told);
        }
    }

    /// The light at rest of each reader, and when the gateway takes it to be.
    pub(in super::super) fn rests(&mut self, now: i64) -> Option<(BTreeMap<String, Colour>, Uncertain)> {
        let sample = self.machine.sample(now);
        let running = self.running.as_mut()?;
        Some((running.mind.rests().clone(), running.keeper.read(sample).when))
    }

    /// Lights change by themselves where the mind said that they would: as in `gateway::app`, where the clock is looked at each
    /// second until then, and else once a minute.
    pub(in super::super) fn tick(&mut self, now: i64) {
        let sample = self.machine.sample(now);
        let Some(running) = &mut self.running else { return };
        if running.mind.poll_timeout().is_some() {
            running.mind.handle(Input::Tick, running.keeper.read(sample));
        }
    }
}
