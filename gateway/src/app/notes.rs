//! Records that nobody at a door waits for: outages and ties of time. Journalled like swipes; where there is no
//! room they wait until there is.

use std::collections::BTreeMap;

use rollcall_rules::time::Instant;

use crate::core::outages::Cause;
use crate::journal::record::Record;
use crate::journal::writer::Journal;

/// Tickets of notes begin here; those of swipes never reach it.
const FIRST_TICKET: u64 = 1 << 63;
/// How many notes may wait for room; the oldest are forgotten when there are more.
const MAX_WAITING: usize = 4_096;

/// The notes that are not durable yet.
pub(super) struct Notes {
    next: u64,
    waiting: Vec<Record>,
    asked: BTreeMap<u64, Record>,
    /// There was no room for one of them, and they are not all written since.
    turned_away: bool,
}

impl Notes {
    /// Begins with these to be written.
    pub(super) fn new(waiting: Vec<Record>) -> Self {
        Self { next: FIRST_TICKET, waiting, asked: BTreeMap::new(), turned_away: false }
    }

    /// Takes a note.
    pub(super) fn add(&mut self, record: Record) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push(record);
    }

    /// Whether a ticket is one of a note.
    pub(super) fn owns(ticket: u64) -> bool {
        ticket >= FIRST_TICKET
    }

    /// There was no room for a note, and they are not all written since.
    pub(super) fn turned_away(&self) -> bool {
        self.turned_away
    }

    /// Since when something could not be recorded, by notes that are not durable yet: by those that tell of refused swipes,
    /// or by `all` of them, as while there is no room: a restart would forget them.
    pub(super) fn refused_since(&self, all: bool) -> Option<Instant> {
        let outages = self.waiting.iter().chain(self.asked.values()).filter_map(|record| match record {
            Record::Outage(outage) if all => outage.from,
            Record::Outage(outage)
                if [Cause::JournalRefused, Cause::SwipesRefused]
                    .iter()
                    .any(|it| it.word() == outage.cause) =>
            {
                outage.from
            }
            _ => None,
        });
        outages.min().map(Instant)
    }

    /// A note is durable.
    pub(super) fn durable(&mut self, ticket: u64) {
        self.asked.remove(&ticket);
        self.turned_away &= !(self.asked.is_empty() && self.waiting.is_empty());
    }

    /// There was no room for a note.
    pub(super) fn refused(&mut self, ticket: u64) {
        if let Some(record) = self.asked.remove(&ticket) {
            self.turned_away = true;
            self.add(record);
        }
    }

    /// Asks for everything that waits to be written.
    pub(super) async fn write(&mut self, journal: &Journal) {
        for record in std::mem::take(&mut self.waiting) {
            match record.body() {
                Ok(body) => {
                    self.next += 1;
                    self.asked.insert(self.next, record);
                    journal.append(self.next, body).await;
                }
                Err(error) => tracing::error!("a note cannot be written: {error}"),
            }
        }
    }
}
