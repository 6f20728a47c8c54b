//! Repairing uncertain times by anchors: instants at which a machine's time since its start was tied to real time.
//!
//! Called by the hub for swipes whose gateway had lost its time. An anchor repairs backwards as well as forwards:
//! a machine that learns the time at noon knows when this morning's swipes were (field facts, "Interval repair").

use crate::time::{Instant, Uncertain};

/// How far the clock of a machine may run off, in parts per million, where nothing better is known.
pub const DRIFT_PPM: i64 = 50;
/// An error below this counts as none, in milliseconds (design, section 2, "Uncertain time").
pub const NEGLIGIBLE_MS: i64 = 1_000;

/// A tie between a machine's time since its start and real time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// Milliseconds since the machine's start.
    pub since_boot_ms: i64,
    /// What the time was.
    pub at: Instant,
    /// How far that may be off, to either side, in milliseconds.
    pub error_ms: i64,
}

impl Anchor {
    /// Where real time stands, or stood, at another moment of the same start.
    #[must_use]
    pub fn at(&self, since_boot_ms: i64) -> Uncertain {
        let apart = since_boot_ms.saturating_sub(self.since_boot_ms);
        let middle = self.at.plus_ms(apart);
        let error = self
            .error_ms
            .saturating_add(apart.saturating_abs() / 1_000_000 * DRIFT_PPM)
            .saturating_add((apart.saturating_abs() % 1_000_000 * DRIFT_PPM).div_euclid(1_000_000) + 1);
        Uncertain { earliest: middle.plus_ms(-error), latest: middle.plus_ms(error) }
    }
}

/// The time of something that happened `since_boot_ms` after the start, by the anchors of that start and what
/// was known at the time. Bounds that contradict the anchors are given up for them. `None` without an anchor.
#[must_use]
pub fn repair(known: Uncertain, since_boot_ms: i64, anchors: &[Anchor]) -> Option<Uncertain> {
    let mut found: Option<Uncertain> = None;
    let mut nearest: Vec<&Anchor> = anchors.iter().collect();
    nearest.sort_by_key(|anchor| anchor.since_boot_ms.saturating_sub(since_boot_ms).saturating_abs());
    for anchor in nearest {
        let next = anchor.at(since_boot_ms);
        found = Some(found.and_then(|found| meet(found, next)).or(found).unwrap_or(next));
    }
    let found = found?;
    Some(negligible(meet(found, known).unwrap_or(found)))
}

/// The same for something whose time since the start may itself be off by `error_ms` to either side, because another clock
/// told it.
#[must_use]
pub fn repair_wide(
    known: Uncertain,
    since_boot_ms: i64,
    error_ms: i64,
    anchors: &[Anchor],
) -> Option<Uncertain> {
    let wide: Vec<Anchor> =
        anchors.iter().map(|it| Anchor { error_ms: it.error_ms.saturating_add(error_ms), ..*it }).collect();
    repair(known, since_boot_ms, &wide)
}

/// A time that is off by less than a second either way counts as exact.
#[must_use]
pub fn negligible(time: Uncertain) -> Uncertain {
    let width = time.latest.since_ms(time.earliest);
    if width < 2 * NEGLIGIBLE_MS { Uncertain::exactly(time.earliest.plus_ms(width / 2)) } else { time }
}

fn meet(left: Uncertain, right: Uncertain) -> Option<Uncertain> {
    let both =
        Uncertain { earliest: left.earliest.max(right.earliest), latest: left.latest.min(right.latest) };
    (both.earliest <= both.latest).then_some(both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn an_anchor_at_noon_dates_a_swipe_of_the_morning_to_the_second() {
        let noon = Anchor { since_boot_ms: 4 * HOUR, at: Instant(12 * HOUR), error_ms: 20 };
        let unknown = Uncertain { earliest: Instant(HOUR), latest: Instant(1_000 * HOUR) };
        assert_eq!(repair(unknown, HOUR, &[noon]), Some(Uncertain::exactly(Instant(9 * HOUR))));
        assert_eq!(repair(unknown, HOUR, &[]), None);
    }

    #[test]
    fn bounds_that_contradict_the_anchors_are_given_up() {
        let anchor = Anchor { since_boot_ms: 0, at: Instant(100 * HOUR), error_ms: 10 };
        let wrong = Uncertain { earliest: Instant(0), latest: Instant(HOUR) };
        assert_eq!(repair(wrong, 0, &[anchor]), Some(Uncertain::exactly(Instant(100 * HOUR))));
    }

    proptest! {
        #[test]
        fn the_true_time_is_never_repaired_away(
            boot in 0i64..1_000_000_000, at in 0i64..10_000_000, drift in -DRIFT_PPM..=DRIFT_PPM,
            ties in prop::collection::vec((0i64..10_000_000, -500i64..500), 1..5), before in 0i64..5_000_000,
        ) {
            // The machine's own clock runs `drift` ppm too fast; `at` and the ties are real times since its start.
            let shown = |real: i64| real + real * drift / 1_000_000;
            let anchors: Vec<Anchor> = ties
                .iter()
                .map(|(real, off)| Anchor {
                    since_boot_ms: shown(*real),
                    at: Instant(boot + real + off),
                    error_ms: off.abs() + 1,
                })
                .collect();
            let truth = Instant(boot + at);
            let known = Uncertain { earliest: truth.plus_ms(-before), latest: truth.plus_ms(before) };
            let found = repair(known, shown(at), &anchors).unwrap_or(known);
            prop_assert!(found.earliest.plus_ms(-NEGLIGIBLE_MS) <= truth && truth <= found.latest.plus_ms(NEGLIGIBLE_MS));
            prop_assert!(found.is_exact() || (found.earliest <= truth && truth <= found.latest));
        }
    }
}
