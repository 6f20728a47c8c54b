//! Records that the hub turns down by themselves: the others go on without them. They stay in the journal, hold the
//! watermark, and are tried again after each heartbeat.
//!
//! Pure, and no more than a memory: after a restart they are found anew.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// The records, and whether each was tried since the last heartbeat.
#[derive(Debug, Default)]
pub(super) struct Aside {
    records: BTreeMap<(Uuid, u64), bool>,
}

impl Aside {
    /// Sets one aside.
    pub(super) fn insert(&mut self, journal: Uuid, sequence: u64) {
        self.records.insert((journal, sequence), true);
    }

    /// It was taken after all, or is no more.
    pub(super) fn remove(&mut self, journal: Uuid, sequence: u64) {
        self.records.remove(&(journal, sequence));
    }

    /// A heartbeat was answered: all of them may be tried again.
    pub(super) fn again(&mut self) {
        self.records.values_mut().for_each(|tried| *tried = false);
    }

    /// How many there are.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Their journals.
    #[must_use]
    pub(super) fn journals(&self) -> BTreeSet<Uuid> {
        self.records.keys().map(|(journal, _)| *journal).collect()
    }

    /// Whether a record is one of them.
    #[must_use]
    pub(super) fn holds(&self, journal: Uuid, sequence: u64) -> bool {
        self.records.contains_key(&(journal, sequence))
    }

    /// The first of a journal's from this record on.
    #[must_use]
    pub(super) fn first_from(&self, journal: Uuid, sequence: u64) -> Option<u64> {
        self.records.range((journal, sequence)..=(journal, u64::MAX)).next().map(|((_, first), _)| *first)
    }

    /// Whether any of a journal's lies before this record.
    #[must_use]
    pub(super) fn any_before(&self, journal: Uuid, sequence: u64) -> bool {
        self.first_from(journal, 0).is_some_and(|first| first < sequence)
    }

    /// The next that is to be tried; `passed` says of a record whether handing over has come past it.
    #[must_use]
    pub(super) fn due(&self, passed: impl Fn(Uuid, u64) -> bool) -> Option<(Uuid, u64)> {
        let untried = self.records.iter().filter(|(_, tried)| !**tried).map(|(record, _)| *record);
        untried.into_iter().find(|(journal, sequence)| passed(*journal, *sequence))
    }
}
