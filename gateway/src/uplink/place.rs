//! How far the journals on this disk are handed over: the hub knows, the gateway asks and believes nothing else.
//!
//! Pure. A hub that has less than before was restored from a backup: everything behind what it has is sent again.
//! A hub that has a number this disk does not know, or another record under it, has seen another journal of the same
//! name (a clone, or a disk that was rolled back): that journal is sent again whole, how far it has come is noted
//! under another name, and another id is taken for what comes.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::journal::log::Segment;

/// What the hub has of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtHub {
    /// The name that it is noted under: the journal's id, or another where the hub has another journal of that id.
    pub name: Uuid,
    /// Every record up to this one; 0 for none.
    pub through: u64,
    /// The chain value behind it, hex digits.
    pub chain: String,
}

/// How far each journal is handed over.
#[derive(Debug, Default, Clone)]
pub struct Places {
    /// How far each has gone: handed over, or passed over.
    through: BTreeMap<Uuid, u64>,
    /// How far the hub said that it has each.
    at_hub: BTreeMap<Uuid, u64>,
    /// Journals under whose name the hub has another one, and the names under which these are noted there.
    forked: BTreeMap<Uuid, Uuid>,
}

impl Places {
    /// Whether the hub was asked for a journal.
    #[must_use]
    pub fn knows(&self, journal: Uuid) -> bool {
        self.through.contains_key(&journal)
    }

    /// What the hub is known to have of a journal: every record up to this one that could be read.
    #[must_use]
    pub fn at_hub(&self, journal: Uuid) -> u64 {
        self.at_hub.get(&journal).copied().unwrap_or(0)
    }

    /// Every record of a journal up to this one is handed over, or was passed over.
    #[must_use]
    pub fn through(&self, journal: Uuid) -> u64 {
        self.through.get(&journal).copied().unwrap_or(0)
    }

    /// The name under which the hub notes how far a journal has come.
    #[must_use]
    pub fn name(&self, journal: Uuid) -> Uuid {
        self.forked.get(&journal).copied().unwrap_or(journal)
    }

    /// The journal of such a name.
    #[must_use]
    pub fn journal(&self, name: Uuid) -> Uuid {
        self.forked.iter().find(|(_, other)| **other == name).map_or(name, |(journal, _)| *journal)
    }

    /// Takes in what the hub has under a name; `own` is our chain value behind that record, if we have the record, and
    /// `dropped` that the record was handed over and dropped. `true` when the journal turns out to be another one than
    /// the hub's: it is noted under a name of its own from then on. `next` is the journal that this disk went on with, or will,
    /// and makes that name the same after each restart and another on each machine.
    pub fn learn(&mut self, at_hub: &AtHub, own: Option<&str>, dropped: bool, next: Uuid) -> bool {
        let journal = self.journal(at_hub.name);
        let same = at_hub.through == 0 || dropped || own == Some(at_hub.chain.as_str());
        if !same {
            self.through.insert(journal, 0);
            self.at_hub.insert(journal, 0);
            self.forked.insert(journal, Uuid::new_v5(&at_hub.name, next.as_bytes()));
        } else if self.at_hub.insert(journal, at_hub.through) != Some(at_hub.through) {
            self.through.insert(journal, at_hub.through);
        }
        !same
    }

    /// The hub has taken the records of a journal up to this one.
    pub fn handed_over(&mut self, journal: Uuid, through: u64) {
        self.at_hub.insert(journal, through.max(self.at_hub(journal)));
        self.advance(journal, through);
    }

    /// Records of a journal up to this one cannot be read any more, and were passed over: damage that is told of as such.
    pub fn advance(&mut self, journal: Uuid, through: u64) {
        let known = self.through.entry(journal).or_insert(0);
        *known = through.max(*known);
    }

    /// Records of a journal behind this one are sent again, though they went before.
    pub fn back_to(&mut self, journal: Uuid, through: u64) {
        self.through.insert(journal, through);
    }

    /// The first record that is not handed over, and its journal.
    #[must_use]
    pub fn next(&self, segments: &[Segment]) -> Option<(Uuid, u64)> {
        segments.iter().find_map(|segment| {
            let through = self.through(segment.journal);
            (through < segment.last).then(|| (segment.journal, segment.first.max(through + 1)))
        })
    }

    /// How many records are not handed over, as far as numbers tell.
    #[must_use]
    pub fn backlog(&self, segments: &[Segment]) -> u64 {
        let waiting = |segment: &Segment| {
            let done = self.through(segment.journal).max(segment.first.saturating_sub(1));
            segment.last.saturating_sub(done)
        };
        segments.iter().map(waiting).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn segment(journal: Uuid, first: u64, last: u64) -> Segment {
        Segment { name: String::new(), journal, first, last, damaged: false }
    }

    fn hub(journal: Uuid, through: u64, chain: &str) -> AtHub {
        AtHub { name: journal, through, chain: chain.to_owned() }
    }

    #[test]
    fn the_next_record_is_the_first_that_the_hub_lacks_whatever_journal_it_is_of() {
        let segments = [segment(A, 1, 50), segment(A, 51, 80), segment(B, 1_000_081, 1_000_090)];
        let mut places = Places::default();
        assert_eq!(places.next(&segments), Some((A, 1)));
        assert!(!places.learn(&hub(A, 60, "c"), Some("c"), false, B));
        assert_eq!((places.next(&segments), places.backlog(&segments)), (Some((A, 61)), 30));
        places.advance(A, 80);
        assert_eq!(places.next(&segments), Some((B, 1_000_081)));
        places.advance(B, 1_000_090);
        assert_eq!((places.next(&segments), places.backlog(&segments)), (None, 0));
    }

    #[test]
    fn a_hub_that_has_less_than_before_gets_everything_behind_it_again() {
        let mut places = Places::default();
        places.advance(A, 80);
        assert!(!places.learn(&hub(A, 20, "c"), Some("c"), false, B));
        assert_eq!(places.next(&[segment(A, 1, 80)]), Some((A, 21)));
    }

    #[test]
    fn what_was_passed_over_is_not_claimed_to_be_at_the_hub_and_not_tried_again_until_the_hub_has_less() {
        let (mut places, segments) = (Places::default(), [segment(A, 1, 80)]);
        places.learn(&hub(A, 0, ""), None, false, B);
        places.handed_over(A, 60);
        places.advance(A, 80);
        for _ in 0..2 {
            assert_eq!((places.at_hub(A), places.through(A), places.next(&segments)), (60, 80, None));
            places.learn(&hub(A, 60, "c"), Some("c"), false, B);
        }
        places.learn(&hub(A, 20, "b"), Some("b"), false, B);
        assert_eq!((places.at_hub(A), places.next(&segments)), (20, Some((A, 21))));
    }

    #[test]
    fn a_number_that_this_disk_does_not_know_or_another_record_under_it_is_another_journal_and_all_is_sent() {
        for own in [None, Some("other")] {
            let mut places = Places::default();
            assert!(places.learn(&hub(A, 100, "c"), own, false, B));
            let name = places.name(A);
            assert_ne!(name, A);
            assert_eq!(places.next(&[segment(A, 1, 95)]), Some((A, 1)));
            places.advance(A, 95);
            assert!(!places.learn(&hub(name, 95, "d"), Some("d"), false, B));
            assert_eq!(places.next(&[segment(A, 1, 95)]), None);
            // After a restart it goes by the same name, of which the hub knows how far it has come.
            let mut again = Places::default();
            assert!(again.learn(&hub(A, 120, "e"), own, false, B), "the other machine went on with it");
            assert_eq!(again.name(A), name);
            assert!(!again.learn(&hub(name, 95, "d"), Some("d"), false, B));
            assert_eq!(again.next(&[segment(A, 1, 95)]), None);
            // Put back once more, it is another one again.
            assert!(again.learn(&hub(name, 95, "d"), None, false, B));
            assert!(![A, name].contains(&again.name(A)));
            // A hub that was restored has less under that name, too.
            assert!(!places.learn(&hub(name, 0, ""), None, false, B));
            assert_eq!(places.next(&[segment(A, 1, 95)]), Some((A, 1)));
        }
    }
}
