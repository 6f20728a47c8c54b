//! Starts of the machine whose swipes wait for a time, and what to journal once it is known.
//!
//! Pure. A start that was tied to real time after its swipes dates them to the second. One that never was, because the
//! power went first, was over when the next start began: that bounds its swipes from above (design, section 2,
//! "Uncertain time").

use std::collections::BTreeMap;

use rollcall_rules::anchor::Anchor;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::reading::BUILT_AFTER;
use super::time::Source;
use crate::journal::record::{AnchorRecord, Record, SwipeRecord};

/// A machine's start, its tie to real time, and where that came from.
pub type Tied = (Uuid, Anchor, Source);

/// The last that is known of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Last {
    since_boot_ms: i64,
    /// It was then, or later.
    earliest: Instant,
}

/// The starts whose swipes wait for a time.
#[derive(Debug, Default)]
pub struct Undated {
    starts: BTreeMap<Uuid, Last>,
}

impl Undated {
    /// Takes in what is journalled, in its order.
    pub fn remember(&mut self, record: &Record) {
        match record {
            Record::Swipe(swipe) => self.swiped(swipe),
            Record::Anchor(anchor) => {
                self.starts.remove(&anchor.boot);
            }
            Record::Outage(_) | Record::Reader(_) => {}
        }
    }

    /// A swipe is journalled.
    pub fn swiped(&mut self, swipe: &SwipeRecord) {
        if swipe.earliest == swipe.latest {
            return;
        }
        let this = Last { since_boot_ms: swipe.since_boot, earliest: Instant(swipe.earliest) };
        let last = self.starts.entry(swipe.boot).or_insert(this);
        let since_boot_ms = last.since_boot_ms.max(this.since_boot_ms);
        let then = |known: Last| known.earliest.plus_ms(since_boot_ms.saturating_sub(known.since_boot_ms));
        *last = Last { since_boot_ms, earliest: then(*last).max(then(this)) };
    }

    /// What to journal by the present tie and by that of an earlier start; those starts wait no longer.
    pub fn date(&mut self, present: Option<Tied>, earlier: Option<Tied>) -> Vec<AnchorRecord> {
        let mut dated = Vec::new();
        // What a clock chip says is no better than what was known; the hub or the network will know more.
        let (present, earlier) = (present.filter(is_good), earlier.filter(is_good));
        for (boot, anchor, source) in earlier.into_iter().chain(present) {
            // A tie from before the swipes is what they were dated by already.
            let later = |last: &Last| anchor.since_boot_ms >= last.since_boot_ms;
            if self.starts.get(&boot).is_some_and(later) {
                self.starts.remove(&boot);
                dated.push(record(boot, anchor, source));
            }
        }
        if let Some((present, anchor, source)) = present {
            let begun = anchor.at(0).latest;
            let own = self.starts.remove(&present);
            let over = std::mem::take(&mut self.starts).into_iter();
            dated.extend(over.map(|(boot, last)| record(boot, last.before(begun), source)));
            self.starts.extend(own.map(|last| (present, last)));
        }
        dated
    }
}

impl Last {
    /// The tie of a start that was over at an instant: somewhere in between, as an error to either side.
    fn before(self, over: Instant) -> Anchor {
        // A floor that was too high was one that a clock had lied into being.
        let earliest = if self.earliest <= over { self.earliest } else { BUILT_AFTER.min(over) };
        let width = over.since_ms(earliest).max(0);
        let at = earliest.plus_ms(width / 2);
        Anchor { since_boot_ms: self.since_boot_ms, at, error_ms: width - width / 2 }
    }
}

fn is_good((_, _, source): &Tied) -> bool {
    *source != Source::Rtc
}

fn record(boot: Uuid, anchor: Anchor, source: Source) -> AnchorRecord {
    AnchorRecord {
        boot,
        since_boot: anchor.since_boot_ms,
        at: anchor.at.0,
        error: anchor.error_ms,
        source: source.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rollcall_rules::anchor::repair;
    use rollcall_rules::time::Uncertain;

    use super::super::reading::FAR_FUTURE;
    use super::*;

    const HOUR: i64 = 3_600_000;
    const FIRST: Uuid = Uuid::from_u128(1);
    const SECOND: Uuid = Uuid::from_u128(2);

    fn swipe(boot: Uuid, since_boot: i64, earliest: i64, latest: i64) -> Record {
        let text = serde_json::json!({
            "id": Uuid::nil(), "reader": Uuid::nil(), "code": "R", "room": null, "key": "", "epoch": 0, "bits": 56,
            "holder": null, "at": earliest, "earliest": earliest, "latest": latest, "boot": boot,
            "since_boot": since_boot, "trust": "UNTRUSTED", "decision": "PENDING", "reason": "TIME_UNKNOWN",
            "light": "AMBER", "sessions": [], "basis": "", "late": false,
        });
        Record::Swipe(Box::new(serde_json::from_value(text).unwrap_or_else(|error| panic!("{error}"))))
    }

    fn anchor(at: i64, since_boot_ms: i64) -> Anchor {
        Anchor { since_boot_ms, at: Instant(at), error_ms: 20 }
    }

    #[test]
    fn swipes_of_a_start_that_never_had_the_time_were_before_the_next_one() {
        let mut undated = Undated::default();
        // No time since the floor at 100 h; the power goes after three hours; the next start knows the time at 120 h.
        undated.remember(&swipe(FIRST, HOUR, 101 * HOUR, FAR_FUTURE.0));
        undated.remember(&swipe(FIRST, 3 * HOUR, 103 * HOUR, FAR_FUTURE.0));
        assert_eq!(undated.date(None, None), []);
        let dated = undated.date(Some((SECOND, anchor(120 * HOUR, HOUR), Source::Hub)), None);
        let [tie] = &dated[..] else { panic!("{dated:?}") };
        assert_eq!((tie.boot, tie.since_boot), (FIRST, 3 * HOUR));
        let tie = Anchor { since_boot_ms: tie.since_boot, at: Instant(tie.at), error_ms: tie.error };
        let known = Uncertain { earliest: Instant(101 * HOUR), latest: FAR_FUTURE };
        let found = repair(known, HOUR, &[tie]).unwrap_or(known);
        assert!((101 * HOUR..101 * HOUR + 60_000).contains(&found.earliest.0), "{found:?}");
        // Two hours before the last swipe, which was before the second start at 119 h.
        assert!((117 * HOUR..117 * HOUR + 60_000).contains(&found.latest.0), "{found:?}");
        assert_eq!(undated.date(Some((SECOND, anchor(120 * HOUR, HOUR), Source::Hub)), None), [], "once");
    }

    #[test]
    fn a_start_that_was_tied_and_did_not_get_to_say_so_is_dated_by_its_own_tie() {
        let mut undated = Undated::default();
        undated.remember(&swipe(FIRST, HOUR, 101 * HOUR, FAR_FUTURE.0));
        let dated = undated.date(None, Some((FIRST, anchor(110 * HOUR, 2 * HOUR), Source::Ntp)));
        assert_eq!(dated, [record(FIRST, anchor(110 * HOUR, 2 * HOUR), Source::Ntp)]);
    }

    #[test]
    fn a_tie_from_before_a_swipe_dates_nothing_and_a_clock_chip_dates_nothing() {
        let mut undated = Undated::default();
        undated.remember(&swipe(FIRST, 2 * HOUR, 101 * HOUR, 102 * HOUR));
        let tied = |since_boot_ms, source| Some((FIRST, anchor(100 * HOUR, since_boot_ms), source));
        assert_eq!(undated.date(tied(HOUR, Source::Hub), None), []);
        assert_eq!(undated.date(tied(3 * HOUR, Source::Rtc), None), []);
        assert_eq!(undated.date(tied(3 * HOUR, Source::Ntp), None).len(), 1);
    }

    #[test]
    fn a_floor_that_turns_out_to_be_ahead_bounds_nothing_from_below() {
        let mut undated = Undated::default();
        let begun = BUILT_AFTER.plus_ms(100 * HOUR);
        undated.remember(&swipe(FIRST, HOUR, begun.0 + 500 * HOUR, FAR_FUTURE.0));
        let dated = undated.date(Some((SECOND, anchor(begun.0, 0), Source::Hub)), None);
        let [tie] = &dated[..] else { panic!("{dated:?}") };
        assert!(tie.at - tie.error <= BUILT_AFTER.0 && begun.0 <= tie.at + tie.error, "{tie:?}");
    }

    #[test]
    fn what_was_dated_or_is_certain_waits_for_nothing() {
        let mut undated = Undated::default();
        undated.remember(&swipe(FIRST, HOUR, 5, 5));
        undated.remember(&swipe(SECOND, HOUR, 5, 6));
        undated.remember(&Record::Anchor(record(SECOND, anchor(5, HOUR), Source::Rtc)));
        assert_eq!(undated.date(Some((FIRST, anchor(9, 1), Source::Ntp)), None), []);
    }
}
