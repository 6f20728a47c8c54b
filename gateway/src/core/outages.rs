//! When doors could not record: what readers, restarts and a full journal say of it, as records.
//!
//! Pure. Called by `app`, which journals what comes out. An outage is told when it begins, so that no register
//! becomes final without it, and again when it ends.

use std::collections::BTreeMap;

use rollcall_rules::time::Instant;
use uuid::Uuid;

use crate::journal::record::OutageRecord;

/// Why a door could not record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The gateway was off, or its program.
    GatewayDown,
    /// Records were damaged.
    JournalDamaged,
    /// There was no room in the journal.
    JournalRefused,
    /// The reader did not answer.
    ReaderUnreachable,
    /// The journal began on an empty disk.
    StorageLost,
}

impl Cause {
    /// The hub's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::GatewayDown => "GATEWAY_DOWN",
            Self::JournalDamaged => "JOURNAL_DAMAGED",
            Self::JournalRefused => "JOURNAL_REFUSED",
            Self::ReaderUnreachable => "READER_UNREACHABLE",
            Self::StorageLost => "STORAGE_LOST",
        }
    }
}

/// One outage, over and done with.
#[must_use]
pub fn over(id: Uuid, cause: Cause, from: Option<Instant>, until: Instant) -> OutageRecord {
    let (from, until) = (from.map(|at| at.0), Some(until.0));
    OutageRecord { id, reader: None, cause: cause.word().to_owned(), from, until }
}

/// The outages that last.
#[derive(Debug, Default)]
pub struct Outages {
    readers: BTreeMap<Uuid, OutageRecord>,
}

impl Outages {
    /// A reader does not answer since `from`: what to journal, when that is news.
    pub fn down(&mut self, reader: Uuid, cause: Cause, from: Instant, id: Uuid) -> Option<OutageRecord> {
        if self.readers.contains_key(&reader) {
            return None;
        }
        let cause = cause.word().to_owned();
        let record = OutageRecord { id, reader: Some(reader), cause, from: Some(from.0), until: None };
        self.readers.insert(reader, record.clone());
        Some(record)
    }

    /// A reader answers: what to journal, when it did not before.
    pub fn up(&mut self, reader: Uuid, at: Instant) -> Option<OutageRecord> {
        let record = self.readers.remove(&reader)?;
        let until = at.0.max(record.from.unwrap_or(at.0));
        Some(OutageRecord { until: Some(until), ..record })
    }

    /// Takes an outage from the journal at the start: one that lasted goes on.
    pub fn remember(&mut self, record: &OutageRecord) {
        let Some(reader) = record.reader else { return };
        if record.until.is_none() {
            self.readers.insert(reader, record.clone());
        } else if self.readers.get(&reader).is_some_and(|open| open.id == record.id) {
            self.readers.remove(&reader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_ends_and_once_each() {
        let (mut outages, reader) = (Outages::default(), Uuid::from_u128(1));
        assert_eq!(outages.up(reader, Instant(5)), None);
        let began = outages.down(reader, Cause::ReaderUnreachable, Instant(10), Uuid::from_u128(9));
        let began = began.unwrap_or_else(|| panic!("no outage"));
        assert_eq!((began.from, began.until), (Some(10), None));
        assert_eq!(outages.down(reader, Cause::GatewayDown, Instant(20), Uuid::from_u128(8)), None);
        let mut restarted = Outages::default();
        restarted.remember(&began);
        for outages in [&mut outages, &mut restarted] {
            let ended = outages.up(reader, Instant(30)).unwrap_or_else(|| panic!("no end"));
            assert_eq!((ended.id, ended.from, ended.until), (began.id, Some(10), Some(30)));
            assert_eq!(outages.up(reader, Instant(40)), None);
        }
    }
}
