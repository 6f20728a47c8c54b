//! The gateway's clock seam: production reads the machine's clocks, tests and the simulator bring their own.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rollcall_rules::anchor::Anchor;
pub use rollcall_rules::time::{Instant, Uncertain};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
pub use uuid::Uuid;

pub use crate::core::reading::{BUILT_AFTER, FAR_FUTURE, Reading, Trust};
pub use crate::core::time::Source;
use crate::core::time::{Kept, Sample, Timekeeper};
use crate::core::undated::Tied;

mod kernel;
mod step;
pub use kernel::max_error_ms;

/// Where the gateway gets its time.
pub trait Clock: Send + Sync {
    /// The present.
    fn read(&self) -> Reading;
    /// The present as far as the network vouches for it, and not a clock chip alone: what certificates are judged by.
    fn vouched(&self) -> Reading {
        self.read()
    }
    /// Which start of the machine this is.
    fn boot_id(&self) -> Uuid;
    /// Ends when the clock may have reached `at`; early is fine, the caller looks again.
    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Milliseconds since the machine's start.
    fn since_boot_ms(&self) -> i64 {
        self.read().since_boot_ms
    }
    /// The hub's clock said `at`, between these two times since the start.
    fn hub_says(&self, at: Instant, asked_ms: i64, answered_ms: i64) {
        let _ = (at, asked_ms, answered_ms);
    }
    /// The present tie to real time, where the clock keeps one.
    fn tie(&self) -> Option<(Anchor, Source)> {
        None
    }
    /// The last tie of an earlier start of the machine, where one was kept.
    fn earlier_tie(&self) -> Option<Tied> {
        None
    }
    /// Grows whenever somebody sets the clock; none where nobody can.
    fn steps(&self) -> Option<watch::Receiver<u64>> {
        None
    }
    /// An instant is known to have passed.
    fn at_least(&self, floor: Option<Instant>) {
        let _ = floor;
    }
    /// Keeps what must survive a restart.
    ///
    /// # Errors
    /// When it cannot be written; the clock works on.
    fn keep(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The longest sleep before the clock is read again, so that a step is noticed even where the kernel does not say.
const LONGEST_SLEEP_MS: i64 = 1_000;
/// Two clocks read within this time were read as one.
const CLOSE_MS: i64 = 5;
/// How often it is tried again to read them so.
const CLOSE_READS: u32 = 10;
/// Where the kernel shows the clock chip: whether it set the wall clock at the start, and what it says itself.
const RTC: &str = "/sys/class/rtc/rtc0";
/// A chip that is further than this from the wall clock has not set it, or not to what it shows now: one that lost its time
/// begins in 1970, and something else has put the clock to where it was last since. Chips show whole seconds.
const RTC_AGREES_MS: u64 = 3_000;

/// The machine's clocks, as far as they can be believed.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: Uuid,
    rtc: bool,
    /// Written by one at a time.
    file: Mutex<PathBuf>,
    keeper: Mutex<Timekeeper>,
    steps: watch::Receiver<u64>,
}

impl SystemClock {
    /// The machine's clocks. What is kept across restarts stands in `file`.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = Uuid::try_parse(text.trim()).unwrap_or(Uuid::nil());
        let rtc = set_by_chip(Path::new(RTC), clocks().1);
        let kept = kept(&file);
        let keeper = Mutex::new(Timekeeper::new(boot_id, kept.as_ref(), None));
        Self { boot_id, rtc, file: Mutex::new(file), keeper, steps: step::watch_steps() }
    }

    fn sample(&self) -> Sample {
        let max_error_ms = kernel::max_error_ms();
        // Read as one: a process held up between the two would see a step that nobody made.
        let (mut before, mut wall, mut after) = clocks();
        for _ in 0..CLOSE_READS {
            if after - before <= CLOSE_MS {
                break;
            }
            (before, wall, after) = clocks();
        }
        Sample { wall, since_boot_ms: before + (after - before) / 2, max_error_ms, rtc: self.rtc }
    }
}

/// Whether a clock chip has set the wall clock, which is `wall` now, and bears it out.
pub(crate) fn set_by_chip(chip: &Path, wall: Instant) -> bool {
    let agrees = |shows: Instant| wall.since_ms(shows).unsigned_abs() <= RTC_AGREES_MS;
    number(&chip.join("hctosys")) == Some(1) && chip_shows(chip).is_some_and(agrees)
}

/// What a clock chip shows, to the second; none where there is none, or it cannot be read.
fn chip_shows(chip: &Path) -> Option<Instant> {
    number(&chip.join("since_epoch")).map(|seconds| Instant(seconds.saturating_mul(1_000)))
}

fn number(file: &Path) -> Option<i64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The wall clock, and the time since the start just before and just after it was read.
fn clocks() -> (i64, Instant, i64) {
    let before = since_boot_ms();
    let wall = Instant(jiff::Timestamp::now().as_millisecond());
    (before, wall, since_boot_ms())
}

fn since_boot_ms() -> i64 {
    let boot = clock_gettime(ClockId::Boottime);
    boot.tv_sec * 1_000 + boot.tv_nsec / 1_000_000
}

/// What was kept in a file; none where there is none, or it cannot be read.
fn kept(file: &Path) -> Option<Kept> {
    let bytes = std::fs::read(file).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!("{} cannot be used: {error}", file.display()))
        .ok()
}

/// The last instant at which the gateway is known to have run, by what it kept.
#[must_use]
pub fn last_alive(file: &Path) -> Option<Instant> {
    kept(file).map(|kept| Instant(kept.floor))
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        let sample = self.sample();
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).read(sample)
    }

    fn vouched(&self) -> Reading {
        let sample = self.sample();
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).vouched(sample)
    }

    fn boot_id(&self) -> Uuid {
        self.boot_id
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let wait = at.since_ms(self.read().at).clamp(0, LONGEST_SLEEP_MS);
        Box::pin(tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())))
    }

    fn since_boot_ms(&self) -> i64 {
        since_boot_ms()
    }

    fn hub_says(&self, at: Instant, asked_ms: i64, answered_ms: i64) {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).hub_says(at, asked_ms, answered_ms);
    }

    fn tie(&self) -> Option<(Anchor, Source)> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).tie()
    }

    fn earlier_tie(&self) -> Option<Tied> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).earlier_tie()
    }

    fn steps(&self) -> Option<watch::Receiver<u64>> {
        Some(self.steps.clone())
    }

    fn at_least(&self, floor: Option<Instant>) {
        if let Some(floor) = floor {
            self.keeper.lock().unwrap_or_else(PoisonError::into_inner).at_least(floor);
        }
    }

    fn keep(&self) -> io::Result<()> {
        // First: what is written last must be what was known last.
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let shows = chip_shows(Path::new(RTC));
        let sample = self.sample();
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shows) = shows {
            keeper.chip_shows(shows, sample);
        }
        let kept = keeper.kept();
        drop(keeper);
        crate::private::write_though_full(&file, &serde_json::to_vec(&kept)?)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_clock_chip_is_believed_where_it_set_the_clock_and_still_shows_the_same() {
        let chip = tempfile::tempdir().unwrap();
        let wall = Instant(1_800_000_000_500);
        assert!(!set_by_chip(chip.path(), wall), "there is none");
        for (set, shows, believed) in [
            ("1\n", "1800000000\n", true),
            ("1\n", "1799999998\n", true),
            ("0\n", "1800000000\n", false),
            // It lost its time, and something else put the clock to where it had been.
            ("1\n", "94\n", false),
            ("1\n", "?\n", false),
        ] {
            std::fs::write(chip.path().join("hctosys"), set).unwrap();
            std::fs::write(chip.path().join("since_epoch"), shows).unwrap();
            assert_eq!(set_by_chip(chip.path(), wall), believed, "{set:?} {shows:?}");
        }
    }
}
