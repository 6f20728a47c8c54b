//! MQTT readers send a swipe again until it is acknowledged: this knows which are the same, and when they were.
//!
//! Pure. A reader's `(boot, seq)` names a swipe. Its own clock since its start dates one that comes late, by our time
//! at which another message of the same start arrived at once: its `birth`, or a swipe of a reader that has been
//! connected for so long that it keeps none. Without such a message all that is known is an interval.

use std::collections::{BTreeMap, VecDeque};

use rollcall_rules::anchor::negligible;
use rollcall_rules::time::{Instant, Uncertain};
use rollcall_rules::verdict::Decision;
use uuid::Uuid;

use super::reading::{BUILT_AFTER, FAR_FUTURE, Reading};
use super::{ReaderClock, Tag};
use crate::journal::record::SwipeRecord;

/// How many swipes of one reader are remembered: more than it may keep unacknowledged.
const MAX_REMEMBERED: usize = 1_024;
/// How many starts of one reader are remembered: one that keeps its swipes over a loss of power tells of old ones.
const MAX_STARTS: usize = 4;
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
    /// The reader's last starts, the newest last.
    starts: VecDeque<Start>,
    /// Since when the reader is connected, by our time since the start, in milliseconds.
    online_ms: Option<i64>,
}

/// One start of a reader.
#[derive(Debug)]
struct Start {
    boot: String,
    /// A swipe of an earlier start was made at this instant, or later.
    before: Option<Instant>,
    /// And the last of this one that came.
    heard: Option<Instant>,
    /// Its clock, tied to ours.
    tie: Option<Tie>,
}

/// A reader's clock, tied to the time since our machine's start: the step of a wall clock moves nothing.
#[derive(Debug, Clone, Copy)]
struct Tie {
    /// Our time since the start, in milliseconds, at which the reader's clock stood at zero, at the latest.
    zero_ms: i64,
    /// And at the earliest, where that is known; the same when a message arrived at once.
    zero_from_ms: Option<i64>,
    /// The reader's clock when that was found.
    mono_ms: i64,
}

impl Tie {
    fn is_exact(&self) -> bool {
        self.zero_from_ms == Some(self.zero_ms)
    }

    /// By how much the reader's clock may have run off since.
    fn drift_ms(&self, mono_ms: i64) -> i64 {
        let passed = (mono_ms - self.mono_ms).abs();
        passed / 1_000_000 * READER_DRIFT_PPM + passed % 1_000_000 * READER_DRIFT_PPM / 1_000_000
    }
}

/// A message that comes later than this after it was sent was kept, whether it says so or not.
const KEPT_MS: i64 = 1_000;
/// A reader says of a swipe that it was kept only once it is so old.
const UNSAID_MS: i64 = 10_000;
/// How far a reader's clock may run off, in parts per million.
const READER_DRIFT_PPM: i64 = 100;
/// No message that came at once came so late: a reader's clock that says so was set, or began again.
const NEVER_SO_LATE_MS: i64 = 60_000;
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
        // One reader too many has no past.
        let mut nobody = Known::default();
        let (when, late) = self.known(reader).unwrap_or(&mut nobody).when(tag, now);
        self.note(reader, &tag.boot, tag.seq, None);
        Dated::New { when, late }
    }

    /// When a swipe was that its reader had kept, in milliseconds since our start, and how far that may be off; none where the
    /// reader's clock is not tied to ours.
    #[must_use]
    pub fn read_at(&self, reader: &str, tag: &Tag) -> Option<(i64, i64)> {
        let start = self.readers.get(reader)?.starts.iter().find(|start| start.boot == tag.boot)?;
        let tie = start.tie.filter(Tie::is_exact)?;
        Some((tie.zero_ms.saturating_add(tag.mono_ms), tie.drift_ms(tag.mono_ms)))
    }

    /// A reader has connected. Its `clock` is that of its start, where it was told in a message that arrived at once.
    pub fn online(&mut self, reader: &str, clock: Option<&ReaderClock>, now: Reading) {
        let Some(known) = self.known(reader) else { return };
        known.online_ms = Some(now.since_boot_ms);
        if let Some(clock) = clock {
            known.start(&clock.boot).prompt(clock.mono_ms, now.since_boot_ms);
        }
    }

    /// A reader is gone.
    pub fn gone(&mut self, reader: &str) {
        if let Some(known) = self.readers.get_mut(reader) {
            known.online_ms = None;
        }
    }

    /// Ties a reader's clock by a swipe that was journalled: what is heard of the same start later is dated by it.
    /// `boot` is the machine's present start.
    pub fn restore(&mut self, reader: &str, record: &SwipeRecord, boot: Uuid, now: Reading) {
        let (Some(tag), Some(known)) = (&record.tag, self.known(reader)) else { return };
        let start = known.start(&tag.boot);
        start.heard = start.heard.max(Some(Instant(record.earliest)));
        let came_ms = if record.boot == boot {
            record.since_boot
        } else if record.earliest == record.latest && now.when.is_exact() {
            now.since_boot_ms - now.at.since_ms(Instant(record.at))
        } else {
            return;
        };
        if !record.late {
            start.prompt(tag.mono_ms, came_ms);
        }
    }

    /// What is known of a reader; none when too many are.
    fn known(&mut self, reader: &str) -> Option<&mut Known> {
        if !self.readers.contains_key(reader) && self.readers.len() >= MAX_READERS {
            return None;
        }
        Some(self.readers.entry(reader.to_owned()).or_default())
    }

    fn note(&mut self, reader: &str, boot: &str, seq: u64, decision: Option<Decision>) {
        let Some(known) = self.known(reader) else { return };
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
}

impl Known {
    /// What is known of a start.
    fn start(&mut self, boot: &str) -> &mut Start {
        let index = self.starts.iter().position(|start| start.boot == boot);
        let index = index.unwrap_or_else(|| {
            let before = self.starts.iter().filter_map(|start| start.heard.max(start.before)).max();
            if self.starts.len() >= MAX_STARTS {
                // One that told of no swipe is missed least.
                let silent = self.starts.iter().position(|start| start.heard.is_none());
                self.starts.remove(silent.unwrap_or(0));
            }
            self.starts.push_back(Start { boot: boot.to_owned(), before, heard: None, tie: None });
            self.starts.len() - 1
        });
        &mut self.starts[index]
    }

    /// When a new swipe was, and whether it came later than it was.
    fn when(&mut self, tag: &Tag, now: Reading) -> (Uncertain, bool) {
        let online_ms = *self.online_ms.get_or_insert(now.since_boot_ms);
        // A reader sends what it kept as soon as it is connected.
        let settled = now.since_boot_ms - online_ms > UNSAID_MS + KEPT_MS;
        let start = self.start(&tag.boot);
        let (when, late) = start.when(tag, settled, now);
        start.heard = start.heard.max(Some(when.earliest));
        (when, late)
    }
}

impl Start {
    /// A message that said what the reader's clock is arrived at once.
    fn prompt(&mut self, mono_ms: i64, came_ms: i64) {
        let zero_ms = came_ms.saturating_sub(mono_ms);
        let keep = self.tie.is_some_and(|tie| {
            let stale = (mono_ms - tie.mono_ms).abs() > TIE_HOLDS_MS;
            let plausible = (tie.zero_ms + 1..tie.zero_ms + NEVER_SO_LATE_MS).contains(&zero_ms);
            tie.is_exact() && plausible && !stale
        });
        if !keep {
            self.tie = Some(Tie { zero_ms, zero_from_ms: Some(zero_ms), mono_ms });
        }
    }

    fn when(&mut self, tag: &Tag, settled: bool, now: Reading) -> (Uncertain, bool) {
        // Whatever its clock says, it was not before there were such readers.
        let oldest = BUILT_AFTER.min(now.when.earliest);
        // A message never comes before it was sent.
        let zero_ms = now.since_boot_ms.saturating_sub(tag.mono_ms);
        let zero_from_ms = (!tag.historical).then_some(zero_ms - UNSAID_MS - KEPT_MS);
        let at_once = !tag.historical
            && self.tie.map_or(settled, |tie| {
                let fits = zero_ms <= tie.zero_ms + KEPT_MS + tie.drift_ms(tag.mono_ms);
                fits && (settled || tie.is_exact())
            });
        if at_once {
            self.prompt(tag.mono_ms, now.since_boot_ms);
            // The way here is no part of when it was.
            let under_way = self.tie.map_or(0, |tie| (zero_ms - tie.zero_ms).clamp(0, KEPT_MS));
            let known = now.when.latest < FAR_FUTURE;
            let latest = if known { now.when.latest.plus_ms(-under_way) } else { FAR_FUTURE };
            return (Uncertain { earliest: now.when.earliest.plus_ms(-under_way), latest }, false);
        }
        let tie = self.tie.get_or_insert(Tie { zero_ms, zero_from_ms, mono_ms: tag.mono_ms });
        let most_ms = UNSAID_MS + KEPT_MS + tie.drift_ms(tag.mono_ms);
        if tie.is_exact() && !tag.historical && zero_ms - tie.zero_ms > most_ms {
            // Its clock makes it older than it may be without saying so: one of the two is wrong, and nobody can say
            // which. It lies between, and the clock is tied anew.
            let earliest = now.when.earliest.plus_ms(tie.zero_ms - zero_ms).max(oldest);
            *tie = Tie { zero_ms, zero_from_ms, mono_ms: tag.mono_ms };
            return (Uncertain { earliest, latest: now.when.latest }, true);
        }
        if !tie.is_exact() {
            tie.zero_ms = tie.zero_ms.min(zero_ms);
            tie.zero_from_ms = tie.zero_from_ms.max(zero_from_ms).map(|from| from.min(tie.zero_ms));
        }
        let drift_ms = tie.drift_ms(tag.mono_ms);
        let from = tie.zero_from_ms.map(|from| {
            let ago = (zero_ms - from).max(0);
            now.when.earliest.plus_ms(-ago - drift_ms)
        });
        // Where its clock does not say: after what was made before this start.
        let before = self.before.unwrap_or(oldest).min(now.when.earliest);
        let earliest = match from {
            Some(from) if tie.is_exact() => from.max(oldest),
            other => before.max(other.unwrap_or(before)),
        };
        let ago = (zero_ms - tie.zero_ms).max(0);
        let latest = now.when.latest.plus_ms(-ago + drift_ms).min(now.when.latest).max(earliest);
        (negligible(Uncertain { earliest, latest }), true)
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

    /// A reader whose birth was heard when its clock stood at `mono_ms`.
    fn born(boot: &str, mono_ms: i64, now: Reading) -> Repeats {
        let mut repeats = Repeats::default();
        repeats.online("R", Some(&ReaderClock { boot: boot.to_owned(), mono_ms }), now);
        repeats
    }

    #[test]
    fn a_resend_is_known_again_and_gets_the_answer_once_it_is_durable() {
        let mut repeats = born("b", 0, at(990));
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
        let mut repeats = born("b", 0, at(90_000));
        let fresh = repeats.date("R", &tag("b", 1, 10_000, false), at(100_000));
        assert_eq!(fresh, Dated::New { when: at(100_000).when, late: false });
        let late = repeats.date("R", &tag("b", 2, 40_000, true), at(900_000));
        assert_eq!(late, Dated::New { when: Uncertain::exactly(at(130_000).at), late: true });
        // Its clock says so whatever ours says the time is.
        assert_eq!(repeats.read_at("R", &tag("b", 2, 40_000, true)), Some((130_000, 3)));
        assert_eq!(repeats.read_at("R", &tag("unheard of", 2, 40_000, true)), None);
        // One that does not say that it was kept is dated by the same clock.
        let late = repeats.date("R", &tag("b", 3, 50_000, false), at(145_000));
        assert_eq!(late, Dated::New { when: Uncertain::exactly(at(140_000).at), late: true });
        let fresh = repeats.date("R", &tag("b", 4, 60_000, false), at(150_300));
        assert_eq!(
            fresh,
            Dated::New { when: at(150_000).when, late: false },
            "the way here is no part of it"
        );
    }

    #[test]
    fn the_first_swipe_of_a_start_that_was_kept_is_dated_by_the_birth_that_comes_with_it() {
        let mut repeats = born("b", 107_000, at(100_000));
        let kept = repeats.date("R", &tag("b", 1, 100_000, false), at(100_020));
        assert_eq!(kept, Dated::New { when: Uncertain::exactly(at(93_000).at), late: true });
        let fresh = repeats.date("R", &tag("b", 2, 108_000, false), at(101_000));
        assert_eq!(fresh, Dated::New { when: at(101_000).when, late: false });
    }

    #[test]
    fn without_a_birth_the_first_swipe_may_have_been_kept_and_later_ones_were_not() {
        let mut repeats = Repeats::default();
        repeats.online("R", None, at(99_500));
        let first = repeats.date("R", &tag("b", 1, 50_000, false), at(100_000));
        let Dated::New { when, late: true } = first else { panic!("{first:?}") };
        assert_eq!((when.earliest, when.latest), (at(89_000).at, at(100_000).at));
        // Its clock says that it was 2 s after the first: narrower, and never wrong.
        let second = repeats.date("R", &tag("b", 2, 52_000, false), at(100_500));
        let Dated::New { when, late: true } = second else { panic!("{second:?}") };
        assert_eq!((when.earliest, when.latest), (at(91_000).at, at(100_500).at));
        // It has been connected for so long that it keeps nothing.
        let fresh = repeats.date("R", &tag("b", 3, 70_000, false), at(118_500));
        assert_eq!(fresh, Dated::New { when: at(118_500).when, late: false });
        let late = repeats.date("R", &tag("b", 4, 71_000, true), at(200_000));
        assert_eq!(late, Dated::New { when: Uncertain::exactly(at(119_500).at), late: true });
    }

    #[test]
    fn a_swipe_that_was_refused_is_not_taken_to_be_younger_when_it_comes_again() {
        let mut repeats = Repeats::default();
        repeats.online("R", None, at(95_000));
        repeats.date("R", &tag("b", 1, 50_000, false), at(100_000));
        repeats.forget("R", "b", 1);
        let again = repeats.date("R", &tag("b", 1, 50_000, false), at(108_000));
        let Dated::New { when, late: true } = again else { panic!("{again:?}") };
        assert_eq!((when.earliest, when.latest), (at(97_000).at, at(100_000).at));
    }

    #[test]
    fn several_swipes_of_another_start_all_lie_after_what_was_heard_of_the_one_before() {
        let mut repeats = born("b", 0, at(0));
        repeats.date("R", &tag("b", 1, 10_000, false), at(10_000));
        for (seq, mono_ms) in [(1, 5_000), (2, 600_000)] {
            let late = repeats.date(
                "R",
                &tag("c", seq, mono_ms, true),
                at(900_000 + i64::try_from(seq).unwrap_or(0)),
            );
            let Dated::New { when, late: true } = late else { panic!("{late:?}") };
            assert_eq!(when.earliest, at(10_000).at);
        }
    }

    #[test]
    fn a_reader_that_kept_swipes_over_a_loss_of_power_tells_of_old_ones_after_its_new_birth() {
        let mut repeats = born("b", 0, at(0));
        repeats.date("R", &tag("b", 1, 10_000, false), at(10_000));
        // It begins again, and hands in what it kept of the start before: dated by that start's own clock.
        repeats.online("R", Some(&ReaderClock { boot: "c".to_owned(), mono_ms: 500 }), at(900_000));
        let old = repeats.date("R", &tag("b", 2, 600_000, true), at(900_010));
        assert_eq!(old, Dated::New { when: Uncertain::exactly(at(600_000).at), late: true });
        let fresh = repeats.date("R", &tag("c", 1, 700, false), at(900_200));
        assert_eq!(fresh, Dated::New { when: at(900_200).when, late: false });
    }

    #[test]
    fn a_reader_whose_clock_began_again_under_the_same_name_is_not_dated_by_the_old_one() {
        let wrapped = 4_294_967_296_i64;
        let mut repeats = born("b", wrapped - 5_000, at(100_000));
        let last = repeats.date("R", &tag("b", 1, wrapped - 1_000, false), at(104_000));
        assert_eq!(last, Dated::New { when: at(104_000).when, late: false });
        // The clock has 32 bits: 25 s later it says 20 s, which would be 49 days ago.
        let first = repeats.date("R", &tag("b", 2, 20_000, false), at(125_000));
        let Dated::New { when, late: true } = first else { panic!("{first:?}") };
        assert!(when.earliest <= at(0).at && when.latest == at(125_000).at, "{when:?}");
        let next = repeats.date("R", &tag("b", 3, 40_000, false), at(145_000));
        assert_eq!(next, Dated::New { when: at(145_000).when, late: false });
        // One that slept is told by its next birth, which no network holds up for so long.
        repeats.online("R", Some(&ReaderClock { boot: "b".to_owned(), mono_ms: 50_000 }), at(955_000));
        let fresh = repeats.date("R", &tag("b", 4, 60_000, false), at(965_000));
        assert_eq!(fresh, Dated::New { when: at(965_000).when, late: false });
    }

    #[test]
    fn a_start_that_is_forgotten_still_bounds_those_after_it() {
        let mut repeats = born("a", 0, at(0));
        repeats.date("R", &tag("a", 1, 50_000, false), at(50_000));
        for (number, boot) in ["b", "c", "d", "e", "f", "g"].iter().enumerate() {
            let clock = ReaderClock { boot: (*boot).to_owned(), mono_ms: 0 };
            repeats.online("R", Some(&clock), at(100_000 + i64::try_from(number).unwrap_or(0)));
        }
        let late = repeats.date("R", &tag("b", 1, 10, true), at(900_000));
        let Dated::New { when, late: true } = late else { panic!("{late:?}") };
        assert_eq!(when.earliest, at(50_000).at);
    }

    #[test]
    fn a_slow_or_fast_clock_of_a_reader_widens_the_time_of_a_late_swipe_by_its_drift() {
        let mut repeats = born("b", 0, at(0));
        let day = 24 * 3_600_000;
        let late = repeats.date("R", &tag("b", 2, day, true), at(day + 3_600_000));
        let Dated::New { when, late: true } = late else { panic!("{late:?}") };
        assert_eq!((when.earliest, when.latest), (at(day - 8_640).at, at(day + 8_640).at));
    }

    #[test]
    fn a_late_swipe_of_another_start_is_only_known_to_lie_in_an_interval() {
        let mut repeats = born("b", 0, at(90_000));
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

    #[test]
    fn whatever_a_readers_clock_says_no_swipe_was_before_there_were_such_readers() {
        for (mono_ms, historical) in [(0, false), (3_162_240_000_000, true), (3_162_240_000_000, false)] {
            let mut repeats = born("b", 1_000_000, at(1_000_000));
            let new = repeats.date("R", &tag("b", 1, mono_ms, historical), at(2_000_000));
            let Dated::New { when, .. } = new else { panic!("known: {new:?}") };
            assert!(when.earliest >= BUILT_AFTER && when.latest <= at(2_000_000).at, "{mono_ms}: {when:?}");
        }
    }
}
