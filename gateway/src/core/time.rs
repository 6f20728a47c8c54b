//! How far a clock can be believed: trusted, running free since it was, or no more than a lower bound.
//!
//! Pure. Fed with samples of the machine's clocks and with the hub's time, by `clock`. The kernel's own bound of
//! its error decides, not its flag of being synchronised, which stands for hours after the last contact. A clock
//! that claims to be in step and jumps is not believed at once: what counts is the time since the machine's start.

use rollcall_rules::anchor::{Anchor, NEGLIGIBLE_MS, negligible};
use rollcall_rules::time::{Instant, Uncertain};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reading::{BUILT_AFTER, FAR_FUTURE, Reading, Trust};

/// How long a jumped clock must claim to be in step, with no hub to ask, before it is believed after all.
const BELIEVE_JUMP_AFTER_MS: i64 = 15 * 60_000;
/// How far two readings of clocks that agree may lie apart, beside their errors.
const READING_MS: i64 = 50;
/// How far a clock chip may be off when the machine reads it at its start, beside what it was off by and its drift.
const RTC_ERROR_MS: i64 = 2_000;
/// A clock chip that was further than this off when it was last compared with known time is not believed.
const RTC_MOST_OFF_MS: i64 = 3_000;
/// How fast a clock chip drifts, in parts per million.
const RTC_DRIFT_PPM: i64 = 5;
/// A clock chip that claims more time to have passed since it was last compared is not believed.
const RTC_LONGEST_MS: i64 = 2 * 365 * 24 * 3_600_000;

/// Where a tie came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Source {
    /// The kernel, which something keeps in step.
    Ntp,
    /// A clock chip with a battery.
    Rtc,
    /// The hub's answers.
    Hub,
}

impl Source {
    /// The hub's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ntp => "NTP",
            Self::Rtc => "RTC",
            Self::Hub => "HUB",
        }
    }
}

/// The machine's clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The wall clock.
    pub wall: Instant,
    /// Milliseconds since the machine's start.
    pub since_boot_ms: i64,
    /// The kernel's bound of the wall clock's error, in milliseconds; none where it gives none.
    pub max_error_ms: Option<i64>,
    /// A clock chip set the wall clock at the start.
    pub rtc: bool,
}

/// How a clock chip compared with known time, the last time it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// When that was, in milliseconds since the epoch.
    pub at: i64,
    /// By how many milliseconds it was ahead; fewer than none where it was behind.
    pub ahead_ms: i64,
}

/// What is kept across restarts of the program and of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The start of the machine that it was written in.
    pub boot: Uuid,
    /// No earlier than this can the time be, in milliseconds since the epoch.
    pub floor: i64,
    /// The last tie of that start: time since it, real time, error, source.
    pub tie: Option<(i64, i64, i64, Source)>,
    /// No earlier than this can the time be by what the network said alone, in milliseconds since the epoch.
    #[serde(default)]
    pub vouched: Option<i64>,
    /// How the machine's clock chip compared with known time.
    #[serde(default)]
    pub chip: Option<Compared>,
}

#[derive(Debug, Clone, Copy)]
struct Tie {
    anchor: Anchor,
    source: Source,
}

/// Keeps the time.
#[derive(Debug)]
pub struct Timekeeper {
    boot: Uuid,
    floor: Instant,
    /// The floor was taken in this start of the machine.
    floor_is_ours: bool,
    /// A lower bound like the floor, which no clock chip has raised: a chip may be months ahead.
    vouched: Instant,
    tie: Option<Tie>,
    /// The tie of the start before this one.
    earlier: Option<(Uuid, Anchor, Source)>,
    /// Since when, in time since the start, the wall clock has claimed to be in step at another place.
    jumped: Option<i64>,
    heard_hub: Option<i64>,
    /// How the clock chip compared with known time; a chip that never was is not believed.
    chip: Option<Compared>,
}

impl Timekeeper {
    /// One for this start of the machine; `floor` is an instant that is known to have passed.
    #[must_use]
    pub fn new(boot: Uuid, kept: Option<&Kept>, floor: Option<Instant>) -> Self {
        let known = [Some(BUILT_AFTER), floor, kept.map(|kept| Instant(kept.floor))];
        let same_start = kept.filter(|kept| kept.boot == boot);
        let tied = kept.and_then(|kept| {
            let (since_boot_ms, at, error_ms, source) = kept.tie?;
            Some((kept.boot, Anchor { since_boot_ms, at: Instant(at), error_ms }, source))
        });
        let tie = tied.filter(|_| same_start.is_some()).map(|(_, anchor, source)| Tie { anchor, source });
        Self {
            boot,
            floor: known.into_iter().flatten().max().unwrap_or(BUILT_AFTER),
            floor_is_ours: same_start.is_some(),
            vouched: kept.and_then(|kept| kept.vouched).map_or(BUILT_AFTER, Instant).max(BUILT_AFTER),
            tie,
            earlier: tied.filter(|_| same_start.is_none()),
            jumped: None,
            heard_hub: None,
            chip: kept.and_then(|kept| kept.chip),
        }
    }

    /// The time, by what the machine's clocks say now.
    pub fn read(&mut self, sample: Sample) -> Reading {
        self.believe_kernel(&sample);
        self.believe_rtc(&sample);
        let since_boot_ms = sample.since_boot_ms;
        let Some(tie) = self.tie else {
            // This start began after the floor was taken, so that at least its own time has passed since.
            let passed = if self.floor_is_ours { 0 } else { since_boot_ms.max(0) };
            let earliest = self.floor.plus_ms(passed);
            let when = Uncertain { earliest, latest: FAR_FUTURE };
            return Reading { at: earliest, when, trust: Trust::Untrusted, since_boot_ms };
        };
        let mut when = tie.anchor.at(since_boot_ms);
        let in_step = self.jumped.is_none() && kernel_bound(&sample).is_some();
        let trust = if in_step { Trust::Synced } else { Trust::Holdover };
        let mut at = when.earliest.plus_ms(when.latest.since_ms(when.earliest) / 2);
        if in_step {
            (at, when) = (sample.wall, Uncertain::exactly(sample.wall));
        }
        when = negligible(when);
        if when.is_exact() {
            at = when.earliest;
        } else if when.earliest < self.floor && self.floor <= when.latest {
            when.earliest = self.floor;
            at = at.max(self.floor);
        }
        if self.floor < when.earliest {
            self.floor = when.earliest;
            self.floor_is_ours = true;
        }
        if tie.source != Source::Rtc {
            self.vouched = self.vouched.max(when.earliest);
        }
        Reading { at, when, trust, since_boot_ms }
    }

    /// The time as far as the network vouches for it: what a certificate is judged by. By a clock chip alone, which may be
    /// far off, the hub must not be locked out that could say so.
    pub fn vouched(&mut self, sample: Sample) -> Reading {
        let read = self.read(sample);
        if self.tie.is_some_and(|tie| tie.source != Source::Rtc) {
            return read;
        }
        let when = Uncertain { earliest: self.vouched, latest: FAR_FUTURE };
        Reading { at: self.vouched, when, trust: Trust::Untrusted, ..read }
    }

    /// Takes the hub's time: what its clock said, somewhere between the asking and the answer.
    pub fn hub_says(&mut self, at: Instant, asked_ms: i64, answered_ms: i64) {
        let anchor = Anchor {
            since_boot_ms: asked_ms + (answered_ms - asked_ms) / 2,
            at,
            error_ms: (answered_ms - asked_ms).max(0) / 2 + 1,
        };
        self.heard_hub = Some(answered_ms);
        let better = match &self.tie {
            None => true,
            Some(tie) => {
                let known = tie.anchor.at(anchor.since_boot_ms);
                let apart = (known.earliest.since_ms(at)).max(at.since_ms(known.latest));
                let wrong = apart > anchor.error_ms + NEGLIGIBLE_MS;
                wrong || known.latest.since_ms(known.earliest) > 2 * anchor.error_ms + NEGLIGIBLE_MS
            }
        };
        if better {
            // The hub is authenticated and what registers are judged by: it may correct even the floor.
            let earliest = at.plus_ms(-anchor.error_ms);
            self.floor = self.floor.min(earliest).max(BUILT_AFTER);
            self.vouched = self.vouched.min(earliest).max(BUILT_AFTER);
            self.tie = Some(Tie { anchor, source: Source::Hub });
        }
    }

    /// An instant is known to have passed, in this start or an earlier one.
    pub fn at_least(&mut self, floor: Instant) {
        if floor > self.floor {
            self.floor = floor;
            self.floor_is_ours = true;
        }
    }

    /// The clock chip shows `shows`, to the second. It is compared with what is known of the time without it: whoever has
    /// never kept it in step, as the hub's answers alone do not, must not go by it after a start.
    pub fn chip_shows(&mut self, shows: Instant, sample: Sample) {
        let now = self.read(sample);
        if now.when.is_exact() && self.tie.is_some_and(|tie| tie.source != Source::Rtc) {
            self.chip = Some(Compared { at: now.at.0, ahead_ms: shows.since_ms(now.at) });
        }
    }

    /// What to keep.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let tie =
            self.tie.map(|tie| (tie.anchor.since_boot_ms, tie.anchor.at.0, tie.anchor.error_ms, tie.source));
        let vouched = Some(self.vouched.0);
        Kept { boot: self.boot, floor: self.floor.0, tie, vouched, chip: self.chip }
    }

    /// The present tie to real time.
    #[must_use]
    pub fn tie(&self) -> Option<(Anchor, Source)> {
        self.tie.map(|tie| (tie.anchor, tie.source))
    }

    /// The last tie of an earlier start, where that is what was kept.
    #[must_use]
    pub fn earlier_tie(&self) -> Option<(Uuid, Anchor, Source)> {
        self.earlier
    }

    fn believe_kernel(&mut self, sample: &Sample) {
        let Some(error_ms) = kernel_bound(sample) else {
            self.jumped = None;
            return;
        };
        let anchor = Anchor { since_boot_ms: sample.since_boot_ms, at: sample.wall, error_ms };
        let fits = match &self.tie {
            None => sample.wall >= self.floor,
            Some(tie) => {
                let known = tie.anchor.at(sample.since_boot_ms);
                // Each sample becomes the next one's tie: more room than reading the clocks takes would add up.
                known.earliest.plus_ms(-error_ms - READING_MS) <= sample.wall
                    && sample.wall <= known.latest.plus_ms(error_ms + READING_MS)
            }
        };
        let since = *self.jumped.get_or_insert(sample.since_boot_ms);
        let hub_silent = self.heard_hub.is_none_or(|heard| heard < since);
        let long = sample.since_boot_ms - since >= BELIEVE_JUMP_AFTER_MS;
        if fits || (long && hub_silent && sample.wall >= BUILT_AFTER) {
            self.jumped = None;
            if !fits {
                self.floor = self.floor.min(sample.wall);
                self.vouched = self.vouched.min(sample.wall);
            }
            self.tie = Some(Tie { anchor, source: Source::Ntp });
        }
    }

    fn believe_rtc(&mut self, sample: &Sample) {
        let Some(chip) = self.chip.filter(|chip| chip.ahead_ms.abs() <= RTC_MOST_OFF_MS) else { return };
        let passed = sample.wall.since_ms(Instant(chip.at));
        let runs_on = sample.wall >= self.floor && (0..RTC_LONGEST_MS).contains(&passed);
        if self.tie.is_none() && sample.rtc && runs_on {
            let drift_ms = passed / 1_000_000 * RTC_DRIFT_PPM + passed % 1_000_000 / 200_000;
            let error_ms = RTC_ERROR_MS + chip.ahead_ms.abs() + drift_ms;
            let anchor = Anchor { since_boot_ms: sample.since_boot_ms, at: sample.wall, error_ms };
            self.tie = Some(Tie { anchor, source: Source::Rtc });
        }
    }
}

/// The kernel's bound, where it is small enough to be believed.
fn kernel_bound(sample: &Sample) -> Option<i64> {
    sample.max_error_ms.filter(|error| *error < NEGLIGIBLE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;
    const NOON: Instant = Instant(BUILT_AFTER.0 + 100 * DAY);

    fn sample(wall: Instant, since_boot_ms: i64, max_error_ms: Option<i64>) -> Sample {
        Sample { wall, since_boot_ms, max_error_ms, rtc: false }
    }

    fn keeper() -> Timekeeper {
        Timekeeper::new(Uuid::from_u128(1), None, Some(Instant(NOON.0 - DAY)))
    }

    #[test]
    fn a_clock_in_step_is_exact_and_one_that_runs_free_widens_with_its_drift() {
        let mut keeper = keeper();
        let now = keeper.read(sample(NOON, 1_000, Some(20)));
        assert_eq!((now.trust, now.when), (Trust::Synced, Uncertain::exactly(NOON)));
        let later = keeper.read(sample(NOON.plus_ms(3_600_000), 3_601_000, Some(16_000)));
        assert_eq!(later.trust, Trust::Holdover);
        assert!(later.when.is_exact(), "an hour of 50 ppm is 0.2 s: it counts as none");
        let week = keeper.read(sample(NOON.plus_ms(7 * DAY), 7 * DAY + 1_000, None));
        let width = week.when.latest.since_ms(week.when.earliest) / 2;
        assert!((30_000..31_000).contains(&width), "{width} ms after a week");
    }

    #[test]
    fn a_start_without_time_knows_only_that_it_is_later_than_before() {
        let mut keeper = keeper();
        let now = keeper.read(sample(Instant(0), 5_000, Some(16_000)));
        assert_eq!(now.trust, Trust::Untrusted);
        assert_eq!(now.when, Uncertain { earliest: Instant(NOON.0 - DAY + 5_000), latest: FAR_FUTURE });
        keeper.hub_says(NOON, 9_990, 10_010);
        let now = keeper.read(sample(Instant(5_000), 11_000, Some(16_000)));
        assert_eq!((now.trust, now.when), (Trust::Holdover, Uncertain::exactly(NOON.plus_ms(1_000))));
    }

    #[test]
    fn a_jump_of_a_clock_that_claims_to_be_in_step_is_not_believed_until_the_hub_or_time_confirms_it() {
        for jump in [-3_650 * DAY, -3_600_000, -2_500, 2_500, 3_600_000, 3_650 * DAY] {
            let mut keeper = keeper();
            keeper.read(sample(NOON, 1_000, Some(20)));
            let now = keeper.read(sample(NOON.plus_ms(jump + 1_000), 2_000, Some(20)));
            assert_eq!(
                (now.trust, now.when),
                (Trust::Holdover, Uncertain::exactly(NOON.plus_ms(1_000))),
                "{jump}"
            );
        }
        let mut keeper = keeper();
        keeper.read(sample(NOON, 1_000, Some(20)));
        keeper.read(sample(NOON.plus_ms(3_600_000), 2_000, Some(20)));
        keeper.hub_says(NOON.plus_ms(3_600_500), 2_400, 2_600);
        let now = keeper.read(sample(NOON.plus_ms(3_601_000), 3_000, Some(20)));
        assert_eq!((now.trust, now.at), (Trust::Synced, NOON.plus_ms(3_601_000)));
    }

    #[test]
    fn jumps_of_a_second_do_not_add_up() {
        let mut keeper = keeper();
        let samples = (0..5).map(|step| sample(NOON.plus_ms(step * 2_000), 1_000 + step * 1_000, Some(20)));
        let last = samples.map(|sample| keeper.read(sample)).last();
        let truth = Uncertain::exactly(NOON.plus_ms(4_000));
        assert_eq!(last.map(|now| (now.trust, now.when)), Some((Trust::Holdover, truth)));
    }

    #[test]
    fn time_never_runs_backwards_across_restarts_and_a_tie_of_the_same_start_still_holds() {
        let mut first = keeper();
        first.read(sample(NOON, 1_000, Some(20)));
        let kept = first.kept();
        let mut again = Timekeeper::new(Uuid::from_u128(1), Some(&kept), None);
        let now = again.read(sample(Instant(0), 61_000, None));
        assert_eq!((now.trust, now.when), (Trust::Holdover, Uncertain::exactly(NOON.plus_ms(60_000))));
        let mut other_start = Timekeeper::new(Uuid::from_u128(2), Some(&kept), None);
        let now = other_start.read(sample(NOON.plus_ms(-DAY), 2_000, Some(20)));
        assert_eq!((now.trust, now.when.earliest), (Trust::Untrusted, NOON.plus_ms(2_000)));
    }

    #[test]
    fn a_certificate_is_judged_by_no_clock_chip() {
        let mut keeper = keeper();
        keeper.chip_shows(NOON.plus_ms(-400), sample(NOON, 1_000, Some(20)));
        let kept = keeper.kept();
        // A day later the machine starts, with a chip that is four months ahead.
        let mut keeper = Timekeeper::new(Uuid::from_u128(2), Some(&kept), None);
        let ahead = |since_boot_ms: i64| Sample {
            wall: NOON.plus_ms(120 * DAY + since_boot_ms),
            since_boot_ms,
            max_error_ms: Some(16_000),
            rtc: true,
        };
        assert_eq!(keeper.read(ahead(3_000)).trust, Trust::Holdover, "doors go by it");
        let judged = keeper.vouched(ahead(4_000));
        assert_eq!((judged.trust, judged.when.earliest), (Trust::Untrusted, NOON));
        // What the chip said is kept as the floor, and locks nobody out after it was set right either.
        let mut keeper = Timekeeper::new(Uuid::from_u128(3), Some(&keeper.kept()), None);
        let right = Sample { wall: NOON.plus_ms(DAY), ..ahead(5_000) };
        assert!(keeper.read(right).at > NOON.plus_ms(119 * DAY));
        assert_eq!(keeper.vouched(right).when.earliest, NOON);
        keeper.hub_says(NOON.plus_ms(DAY), 5_990, 6_010);
        let now = keeper.vouched(Sample { since_boot_ms: 7_000, ..right });
        assert_eq!((now.trust, now.when), (Trust::Holdover, Uncertain::exactly(NOON.plus_ms(DAY + 1_000))));
    }

    #[test]
    fn a_clock_chip_is_believed_within_what_it_was_off_by_and_its_drift_since_it_was_compared() {
        let mut keeper = keeper();
        keeper.chip_shows(NOON.plus_ms(-700), sample(NOON, 1_000, Some(20)));
        let start = |keeper: &Timekeeper, boot, wall: Instant| {
            let mut keeper = Timekeeper::new(Uuid::from_u128(boot), Some(&keeper.kept()), None);
            let read =
                keeper.read(Sample { wall, since_boot_ms: 3_000, max_error_ms: Some(16_000), rtc: true });
            (read, keeper)
        };
        let (now, mut second) = start(&keeper, 2, NOON.plus_ms(10 * DAY));
        assert_eq!(now.trust, Trust::Holdover);
        let half = |now: Reading| now.when.latest.since_ms(now.when.earliest) / 2;
        let drifted = |days: i64| 2_700 + days * DAY / 1_000_000 * RTC_DRIFT_PPM;
        assert!((drifted(10)..drifted(10) + 10).contains(&half(now)), "{} ms", half(now));
        // By itself it is compared with nothing, and its drift goes on from start to start.
        let alone = Sample {
            wall: NOON.plus_ms(11 * DAY),
            since_boot_ms: DAY + 3_000,
            max_error_ms: None,
            rtc: true,
        };
        second.chip_shows(alone.wall, alone);
        let (now, _) = start(&second, 3, NOON.plus_ms(30 * DAY));
        assert!((drifted(30)..drifted(30) + 10).contains(&half(now)), "{} ms", half(now));
    }

    #[test]
    fn a_clock_chip_that_nobody_kept_in_step_is_not_believed_after_a_start() {
        let chips = [None, Some(-4_000), Some(4_000), Some(-90 * DAY)];
        for (ahead, believed) in chips.map(|ahead| (ahead, false)).into_iter().chain([(Some(900), true)]) {
            let mut keeper = keeper();
            keeper.hub_says(NOON, 990, 1_010);
            let now = sample(Instant(0), 1_000, Some(16_000));
            keeper.read(now);
            if let Some(ahead) = ahead {
                keeper.chip_shows(NOON.plus_ms(ahead), now);
            }
            let mut keeper = Timekeeper::new(Uuid::from_u128(2), Some(&keeper.kept()), None);
            let wall = NOON.plus_ms(DAY);
            let now =
                keeper.read(Sample { wall, since_boot_ms: 3_000, max_error_ms: Some(16_000), rtc: true });
            assert_eq!(now.trust == Trust::Holdover, believed, "{ahead:?}");
        }
    }
}
