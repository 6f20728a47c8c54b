//! Records that nobody at a door waits for: outages and ties of time. Journalled like swipes; where there is no
//! room they wait until there is.

use std::collections::BTreeMap;

use rollcall_rules::time::Instant;

use crate::core::outages::Cause;
use crate::journal::record::{OutageRecord, Record};
use crate::journal::writer::Journal;

/// Tickets of notes begin here; those of swipes never reach it.
const FIRST_TICKET: u64 = 1 << 63;
/// How many notes may wait for room. When there are more, what happened to readers is forgotten first, and then the oldest
/// outages, of which only since when they were is kept.
const MAX_WAITING: usize = 4_096;

/// The notes that are not durable yet.
pub(super) struct Notes {
    next: u64,
    waiting: Vec<Record>,
    asked: BTreeMap<u64, Record>,
    /// There was no room for one of them, and they are not all written since.
    turned_away: bool,
    /// There is none yet, as far as is known.
    held: bool,
    /// Since when outages were that are forgotten; `Instant(0)` where one did not know.
    forgotten: Option<Instant>,
}

impl Notes {
    /// Begins with these to be written.
    pub(super) fn new(waiting: Vec<Record>) -> Self {
        Self {
            next: FIRST_TICKET,
            waiting,
            asked: BTreeMap::new(),
            turned_away: false,
            held: false,
            forgotten: None,
        }
    }

    /// Takes a note.
    pub(super) fn add(&mut self, record: Record) {
        if self.waiting.len() >= MAX_WAITING {
            let first = |is: fn(&Record) -> bool| self.waiting.iter().position(is);
            let least = first(|it| matches!(it, Record::Reader(_)));
            let least = least.or_else(|| first(|it| matches!(it, Record::Outage(_))));
            if let Record::Outage(outage) = self.waiting.remove(least.unwrap_or(0)) {
                let from = Instant(outage.from.unwrap_or(0));
                if self.forgotten.is_none() {
                    tracing::error!(
                        "more than {MAX_WAITING} notes wait for room; those of the oldest outages become one"
                    );
                }
                self.forgotten = self.forgotten.min(Some(from)).or(Some(from));
            }
        }
        self.waiting.push(record);
    }

    /// Since when outages were of which nothing else is known any more, once there is room to say so.
    pub(super) fn take_forgotten(&mut self) -> Option<Instant> {
        if self.held { None } else { self.forgotten.take() }
    }

    /// Takes notes of outages.
    pub(super) fn add_all(&mut self, outages: impl IntoIterator<Item = OutageRecord>) {
        outages.into_iter().for_each(|outage| self.add(Record::Outage(outage)));
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
        // What is forgotten becomes one of refused swipes. A file takes 0 for nothing.
        let forgotten = self.forgotten.map(|since| Instant(since.0.max(1)));
        outages.map(Instant).chain(forgotten).min()
    }

    /// Since when the gateway had been off, by notes that are not durable yet.
    pub(super) fn down_since(&self) -> Option<Instant> {
        let down = Cause::GatewayDown.word();
        let outages = self.waiting.iter().chain(self.asked.values()).filter_map(|record| match record {
            Record::Outage(outage) if outage.cause == down => outage.from,
            _ => None,
        });
        outages.min().map(Instant)
    }

    /// Since when something is told by notes that are not durable yet: the hub must not take it that all is said of what comes
    /// after. `Instant(0)` where a note does not know since when.
    pub(super) fn untold_since(&self) -> Option<Instant> {
        let outages = self.waiting.iter().chain(self.asked.values()).filter_map(|record| match record {
            Record::Outage(outage) => Some(outage.from.unwrap_or(0)),
            _ => None,
        });
        outages.map(Instant).chain(self.forgotten).min()
    }

    /// There is room: what was turned away is tried again.
    pub(super) fn room(&mut self) {
        self.held = false;
    }

    /// A note is durable.
    pub(super) fn durable(&mut self, ticket: u64) {
        self.asked.remove(&ticket);
        self.turned_away &= !(self.asked.is_empty() && self.waiting.is_empty());
    }

    /// There was no room for a note.
    pub(super) fn refused(&mut self, ticket: u64) {
        if let Some(record) = self.asked.remove(&ticket) {
            (self.turned_away, self.held) = (true, true);
            self.add(record);
        }
    }

    /// Asks for everything that waits to be written, unless there is no room for it.
    pub(super) async fn write(&mut self, journal: &Journal) {
        if self.held {
            return;
        }
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]
mod tests {
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::*;
    use crate::core::outages::over;
    use crate::journal::disk::Folder;
    use crate::journal::log::{Limits, Log};
    use crate::journal::record::ReaderRecord;
    use crate::journal::writer::Written;

    #[tokio::test]
    async fn a_note_without_room_holds_the_watermark_and_is_tried_again_only_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { segment: 64 * 1024, quota: 0 };
        let disk = Folder::open(folder.path().to_path_buf()).unwrap();
        let (log, _) = Log::open(disk, Uuid::from_u128(1), limits, |_| {}).unwrap();
        let (sender, mut written) = mpsc::unbounded_channel();
        let journal = Journal::start(log, sender).unwrap();

        let lost = over(Uuid::from_u128(2), Cause::StorageLost, None, Instant(5_000));
        let mut notes = Notes::new(vec![Record::Outage(lost)]);
        assert_eq!(notes.untold_since(), Some(Instant(0)), "nobody knows since when");
        for _ in 0..2 {
            notes.write(&journal).await;
            let Some(Written::Refused(tickets, _)) = written.recv().await else {
                panic!("there was no room")
            };
            assert_eq!(tickets.len(), 1);
            notes.refused(tickets[0]);
            notes.write(&journal).await;
            assert!(notes.asked.is_empty() && notes.turned_away(), "it waits for room");
            assert_eq!(notes.untold_since(), Some(Instant(0)));
            notes.room();
        }
        // Whatever comes meanwhile, of outages at least since when they were is known.
        notes.held = true;
        for number in 0..MAX_WAITING as u128 + 10 {
            let reader = Uuid::from_u128(3);
            let event = ReaderRecord {
                id: Uuid::from_u128(number),
                reader,
                kind: "TAMPER".to_owned(),
                at: 1,
                earliest: 1,
                latest: 1,
                detail: None,
            };
            notes.add(Record::Reader(event));
        }
        assert_eq!((notes.waiting.len(), notes.take_forgotten()), (MAX_WAITING, None));
        assert!(
            notes.waiting.iter().any(|it| matches!(it, Record::Outage(_))),
            "outages are kept before events"
        );
        for number in 0..MAX_WAITING as u128 {
            let from = Some(Instant(7_000 + i64::try_from(number).unwrap()));
            notes.add(Record::Outage(over(
                Uuid::from_u128(number),
                Cause::GatewayDown,
                from,
                Instant(9_000_000),
            )));
        }
        assert_eq!(notes.untold_since(), Some(Instant(0)));
        notes.room();
        assert_eq!((notes.take_forgotten(), notes.take_forgotten()), (Some(Instant(0)), None));
        assert_eq!(notes.untold_since(), Some(Instant(7_000)));
        notes.waiting.truncate(1);
        notes.write(&journal).await;
        let ticket = *notes.asked.keys().next().unwrap();
        notes.durable(ticket);
        assert_eq!((notes.untold_since(), notes.turned_away()), (None, false));
    }
}
