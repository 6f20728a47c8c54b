//! What the simulated gateway keeps in its file of refusals, as `gateway::app` does: since when something could not be
//! recorded, lest a restart forget it.

use std::collections::BTreeMap;

use rollcall_gateway::core::outages::Cause;
use rollcall_gateway::journal::record::Record;

/// Notes that are not durable yet, by ticket: since when they tell of something, where they know that, and whether of refused
/// swipes.
#[derive(Default)]
pub(super) struct Untold {
    notes: BTreeMap<u64, (Option<i64>, bool)>,
    down: BTreeMap<u64, i64>,
    turned_away: bool,
}

impl Untold {
    /// A note is to be written.
    pub(super) fn asked(&mut self, ticket: u64, record: &Record) {
        if let Record::Outage(outage) = record {
            let refused = [Cause::JournalRefused, Cause::SwipesRefused];
            let refused = refused.iter().any(|cause| cause.word() == outage.cause);
            self.notes.insert(ticket, (outage.from, refused));
            let down = outage.from.filter(|_| outage.cause == Cause::GatewayDown.word());
            self.down.extend(down.map(|from| (ticket, from)));
        }
    }

    /// It is written.
    pub(super) fn durable(&mut self, ticket: u64) {
        self.notes.remove(&ticket);
        self.down.remove(&ticket);
        self.turned_away &= !self.notes.is_empty();
    }

    /// There was no room for it.
    pub(super) fn refused(&mut self) {
        self.turned_away = true;
    }

    /// There was no room for one, and they are not all written since.
    pub(super) fn turned_away(&self) -> bool {
        self.turned_away
    }

    /// Since when something could not be recorded, by those that tell of refused swipes or by all.
    pub(super) fn since(&self, all: bool) -> Option<i64> {
        self.notes.values().filter(|(_, refused)| all || *refused).filter_map(|(from, _)| *from).min()
    }

    /// Since when the gateway had been off, by those that tell of that.
    pub(super) fn down_since(&self) -> Option<i64> {
        self.down.values().copied().min()
    }

    /// Since when something is told by them; the hub must not take it that all is said of what comes after.
    pub(super) fn untold(&self) -> Option<i64> {
        self.notes.values().map(|(from, _)| from.unwrap_or(0)).min()
    }
}
