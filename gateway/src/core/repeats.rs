//! MQTT readers send a swipe again until it is acknowledged: this knows which are the same, and when they were.
//!
//! Pure. A reader's `(boot, seq)` names a swipe. Its own clock since its start dates one that comes late, by the
//! gateway's time at which another message of the same start arrived at once; without such a message all that
//! is known is an interval.

use std::collections::{BTreeMap, VecDeque};

use rollcall_rules::time::{Instant, Uncertain};
use rollcall_rules::verdict::Decision;

use super::Tag;
use super::reading::{BUILT_AFTER, Reading};

/// How many swipes of one reader are remembered: more than it may keep unacknowledged.
const MAX_REMEMBERED: usize = 1_024;
/// How many readers are remembered.
const MAX_READERS: usize = 4_096;

/// What a tag says of a swipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    /// It is new, and was then.
    New(Uncertain),
    /// It came before; what was decided, once it is durable.
    Again(Option<Decision>),
}

#[derive(Debug, Default)]
struct Known {
    swipes: BTreeMap<(String, u64), Option<Decision>>,
    order: VecDeque<(String, u64)>,
    /// The reader's present start, and the earliest instant at which its clock may have stood at zero.
    start: Option<(String, Instant)>,
    /// When the gateway last heard of the reader under another start.
    heard: Option<Instant>,
}

/// What is known of the swipes of MQTT readers.
#[derive(Debug, Default)]
pub struct Repeats {
    readers: BTreeMap<String, Known>,
}

impl Repeats {
    /// Notes a swipe that is durable.
    pub fn remember(&mut self, reader: &str, boot: &str, seq: u64, decision: Decision) {
        self.note(reader, boot, seq, Some(decision));
    }

    /// Forgets a swipe that could not be kept, so that it is new when it comes again.
    pub fn forget(&mut self, reader: &str, boot: &str, seq: u64) {
        if let Some(known) = self.readers.get_mut(reader) {
            known.swipes.remove(&(boot.to_owned(), seq));
            known.order.retain(|(other, number)| !(other == boot && *number == seq));
        }
    }

    /// Says whether a swipe is new, and when it was; a new one is noted as waiting for the disk.
    pub fn date(&mut self, reader: &str, tag: &Tag, now: Reading) -> Dated {
        let name = (tag.boot.clone(), tag.seq);
        if let Some(decision) = self.readers.get(reader).and_then(|known| known.swipes.get(&name)) {
            return Dated::Again(*decision);
        }
        let when = self.when(reader, tag, now);
        self.note(reader, &tag.boot, tag.seq, None);
        Dated::New(when)
    }

    fn note(&mut self, reader: &str, boot: &str, seq: u64, decision: Option<Decision>) {
        if !self.readers.contains_key(reader) && self.readers.len() >= MAX_READERS {
            return;
        }
        let known = self.readers.entry(reader.to_owned()).or_default();
        let name = (boot.to_owned(), seq);
        if known.swipes.insert(name.clone(), decision).is_none() {
            known.order.push_back(name);
        }
        if known.order.len() > MAX_REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.swipes.remove(&oldest);
        }
    }

    fn when(&mut self, reader: &str, tag: &Tag, now: Reading) -> Uncertain {
        let known = self.readers.entry(reader.to_owned()).or_default();
        let zero = now.at.plus_ms(-tag.mono_ms);
        if !tag.historical {
            match &mut known.start {
                Some((boot, at)) if *boot == tag.boot => *at = (*at).min(zero),
                start => *start = Some((tag.boot.clone(), zero)),
            }
            known.heard = Some(now.at);
            return now.when;
        }
        match &known.start {
            // Another message of this start came at once: its clock and ours are tied to each other.
            Some((boot, at)) if *boot == tag.boot => {
                let at = at.plus_ms(tag.mono_ms).min(now.at);
                let slack = now.when.latest.since_ms(now.when.earliest);
                Uncertain {
                    earliest: at.plus_ms(-slack),
                    latest: at.plus_ms(slack).min(now.when.latest).max(at),
                }
            }
            _ => {
                let earliest = known.heard.unwrap_or(BUILT_AFTER).min(now.when.earliest);
                Uncertain { earliest, latest: now.when.latest }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Trust;
    use super::*;

    fn at(ms: i64) -> Reading {
        let instant = Instant(BUILT_AFTER.0 + ms);
        Reading { at: instant, when: Uncertain::exactly(instant), trust: Trust::Synced, since_boot_ms: 0 }
    }

    fn tag(boot: &str, seq: u64, mono_ms: i64, historical: bool) -> Tag {
        Tag { boot: boot.to_owned(), seq, mono_ms, historical }
    }

    #[test]
    fn a_resend_is_known_again_and_gets_the_answer_once_it_is_durable() {
        let mut repeats = Repeats::default();
        assert!(matches!(repeats.date("R", &tag("b", 1, 10, false), at(1_000)), Dated::New(_)));
        assert_eq!(repeats.date("R", &tag("b", 1, 10, false), at(3_000)), Dated::Again(None));
        repeats.remember("R", "b", 1, Decision::Recorded);
        assert_eq!(
            repeats.date("R", &tag("b", 1, 10, true), at(5_000)),
            Dated::Again(Some(Decision::Recorded))
        );
        repeats.forget("R", "b", 1);
        assert!(matches!(repeats.date("R", &tag("b", 1, 10, true), at(6_000)), Dated::New(_)));
    }

    #[test]
    fn a_late_swipe_is_dated_by_the_clock_of_the_same_start() {
        let mut repeats = Repeats::default();
        repeats.date("R", &tag("b", 1, 10_000, false), at(100_000));
        let late = repeats.date("R", &tag("b", 2, 40_000, true), at(900_000));
        assert_eq!(late, Dated::New(Uncertain::exactly(at(130_000).at)));
    }

    #[test]
    fn a_late_swipe_of_another_start_is_only_known_to_lie_in_an_interval() {
        let mut repeats = Repeats::default();
        repeats.date("R", &tag("b", 1, 10_000, false), at(100_000));
        let Dated::New(when) = repeats.date("R", &tag("c", 1, 5, true), at(900_000)) else { panic!("known") };
        assert_eq!((when.earliest, when.latest), (at(100_000).at, at(900_000).at));
    }

    #[test]
    fn a_reader_that_never_stops_does_not_fill_the_memory() {
        let mut repeats = Repeats::default();
        for seq in 0..3_000 {
            repeats.date("R", &tag("b", seq, 0, false), at(0));
        }
        assert!(repeats.readers["R"].swipes.len() <= MAX_REMEMBERED);
    }
}
