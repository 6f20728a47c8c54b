//! MQTT readers send a swipe again until it is acknowledged: this knows which are the same, and when they were.
//!
//! Pure. A reader's `(boot, seq)` names a swipe. Its own clock since its start dates one that comes late, by the
//! gateway's time at which another message of the same start arrived at once; without such a message all that
//! is known is an interval.

use std::collections::{BTreeMap, VecDeque};

use rollcall_rules::anchor::negligible;
use rollcall_rules::time::{Instant, Uncertain};
use rollcall_rules::verdict::Decision;

use super::Tag;
use super::reading::{BUILT_AFTER, Reading};
use crate::journal::record::SwipeRecord;

/// How many swipes of one reader are remembered: more than it may keep unacknowledged.
const MAX_REMEMBERED: usize = 1_024;
/// How many readers are remembered.
const MAX_READERS: usize = 4_096;

/// What a tag says of a swipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    /// It is new.
    New {
        /// When it was.
        when: Uncertain,
        /// It came later than it was: the reader had kept it.
        late: bool,
    },
    /// It came before; what was decided, once it is durable.
    Again(Option<Decision>),
}

#[derive(Debug, Default)]
struct Known {
    swipes: BTreeMap<(String, u64), Option<Decision>>,
    order: VecDeque<(String, u64)>,
    /// The reader's present start, tied to ours.
    tie: Option<Tie>,
    /// When the gateway last heard of the reader.
    heard: Option<Instant>,
}

/// A reader's clock, tied to the time since our machine's start: the step of a wall clock moves nothing.
#[derive(Debug, Clone)]
struct Tie {
    boot: String,
    /// Our time since the start, in milliseconds, at which the reader's clock stood at zero, at the latest.
    zero_ms: i64,
    /// The reader's clock when that was found.
    mono_ms: i64,
}

/// A message that comes later than this after it was sent was kept, whether it says so or not.
const KEPT_MS: i64 = 1_000;
/// How far a reader's clock may run off, in parts per million.
const READER_DRIFT_PPM: i64 = 100;
/// A tie is found anew after so long, so that drift does not gather.
const TIE_HOLDS_MS: i64 = 3_600_000;

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
        let (when, late) = self.when(reader, tag, now);
        self.note(reader, &tag.boot, tag.seq, None);
        Dated::New { when, late }
    }

    /// Ties a reader's clock by a swipe that was journalled: what is heard of the same start later is dated by it.
    pub fn restore(&mut self, reader: &str, record: &SwipeRecord, now: Reading) {
        let Some(tag) = &record.tag else { return };
        let Some(known) = self.readers.get_mut(reader) else { return };
        known.heard = known.heard.max(Some(Instant(record.earliest)));
        if record.late || record.earliest != record.latest || !now.when.is_exact() {
            return;
        }
        let ago = now.at.since_ms(Instant(record.at));
        let zero_ms = now.since_boot_ms - ago - tag.mono_ms;
        known.tie = Some(Tie { boot: tag.boot.clone(), zero_ms, mono_ms: tag.mono_ms });
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

    fn when(&mut self, reader: &str, tag: &Tag, now: Reading) -> (Uncertain, bool) {
        let known = self.readers.entry(reader.to_owned()).or_default();
        let zero_ms = now.since_boot_ms.saturating_sub(tag.mono_ms);
        let heard = known.heard.replace(now.when.earliest);
        let tie = known.tie.as_mut().filter(|tie| tie.boot == tag.boot);
        let Some(tie) = tie else {
            if !tag.historical {
                known.tie = Some(Tie { boot: tag.boot.clone(), zero_ms, mono_ms: tag.mono_ms });
                return (now.when, false);
            }
            // Of another start of the reader: after it was last heard of.
            let earliest = heard.unwrap_or(BUILT_AFTER).min(now.when.earliest);
            return (Uncertain { earliest, latest: now.when.latest }, true);
        };
        // How long ago it was, by the reader's clock; a message never comes before it was sent.
        let ago = (zero_ms - tie.zero_ms).max(0);
        let error = (tag.mono_ms - tie.mono_ms).abs() / 1_000_000 * READER_DRIFT_PPM
            + (tag.mono_ms - tie.mono_ms).abs() % 1_000_000 * READER_DRIFT_PPM / 1_000_000;
        if !tag.historical && ago <= KEPT_MS + error {
            let stale = (tag.mono_ms - tie.mono_ms).abs() > TIE_HOLDS_MS;
            if zero_ms <= tie.zero_ms || stale {
                *tie = Tie { boot: tag.boot.clone(), zero_ms, mono_ms: tag.mono_ms };
            }
            return (now.when, false);
        }
        let when = Uncertain {
            earliest: now.when.earliest.plus_ms(-ago - error),
            latest: now.when.latest.plus_ms(-ago + error).min(now.when.latest),
        };
        (negligible(when), true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Trust;
    use super::*;

    fn at(ms: i64) -> Reading {
        let instant = Instant(BUILT_AFTER.0 + ms);
        Reading { at: instant, when: Uncertain::exactly(instant), trust: Trust::Synced, since_boot_ms: ms }
    }

    fn tag(boot: &str, seq: u64, mono_ms: i64, historical: bool) -> Tag {
        Tag { boot: boot.to_owned(), seq, mono_ms, historical }
    }

    #[test]
    fn a_resend_is_known_again_and_gets_the_answer_once_it_is_durable() {
        let mut repeats = Repeats::default();
        assert!(matches!(
            repeats.date("R", &tag("b", 1, 10, false), at(1_000)),
            Dated::New { late: false, .. }
        ));
        assert_eq!(repeats.date("R", &tag("b", 1, 10, false), at(3_000)), Dated::Again(None));
        repeats.remember("R", "b", 1, Decision::Recorded);
        assert_eq!(
            repeats.date("R", &tag("b", 1, 10, true), at(5_000)),
            Dated::Again(Some(Decision::Recorded))
        );
        repeats.forget("R", "b", 1);
        assert!(matches!(
            repeats.date("R", &tag("b", 1, 10, true), at(6_000)),
            Dated::New { late: true, .. }
        ));
    }

    #[test]
    fn a_late_swipe_is_dated_by_the_clock_of_the_same_start() {
        let mut repeats = Repeats::default();
        repeats.date("R", &tag("b", 1, 10_000, false), at(100_000));
        let late = repeats.date("R", &tag("b", 2, 40_000, true), at(900_000));
        assert_eq!(late, Dated::New { when: Uncertain::exactly(at(130_000).at), late: true });
        // One that does not say that it was kept is dated by the same clock.
        let late = repeats.date("R", &tag("b", 3, 50_000, false), at(145_000));
        assert_eq!(late, Dated::New { when: Uncertain::exactly(at(140_000).at), late: true });
        let fresh = repeats.date("R", &tag("b", 4, 60_000, false), at(150_300));
        assert_eq!(fresh, Dated::New { when: at(150_300).when, late: false });
    }

    #[test]
    fn a_slow_or_fast_clock_of_a_reader_widens_the_time_of_a_late_swipe_by_its_drift() {
        let mut repeats = Repeats::default();
        repeats.date("R", &tag("b", 1, 0, false), at(0));
        let day = 24 * 3_600_000;
        let late = repeats.date("R", &tag("b", 2, day, true), at(day + 3_600_000));
        let Dated::New { when, late: true } = late else { panic!("{late:?}") };
        assert_eq!((when.earliest, when.latest), (at(day - 8_640).at, at(day + 8_640).at));
    }

    #[test]
    fn a_late_swipe_of_another_start_is_only_known_to_lie_in_an_interval() {
        let mut repeats = Repeats::default();
        repeats.date("R", &tag("b", 1, 10_000, false), at(100_000));
        let late = repeats.date("R", &tag("c", 1, 5, true), at(900_000));
        let Dated::New { when, late: true } = late else { panic!("{late:?}") };
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
