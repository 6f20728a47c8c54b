//! The gateway's clock seam: production reads the machine's clocks, tests and the simulator bring their own.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use rollcall_rules::time::{Instant, Uncertain};
use rustix::time::{ClockId, clock_gettime};
pub use uuid::Uuid;

pub use crate::core::reading::{BUILT_AFTER, FAR_FUTURE, Reading, Trust};

/// Where the gateway gets its time.
pub trait Clock: Send + Sync {
    /// The present.
    fn read(&self) -> Reading;
    /// Which start of the machine this is.
    fn boot_id(&self) -> Uuid;
    /// Ends when the clock may have reached `at`; early is fine, the caller looks again.
    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The longest sleep before the clock is read again, so that a step is noticed.
const LONGEST_SLEEP_MS: i64 = 1_000;

/// The machine's clocks. A clock before `floor` has lost its time: then only the floor is known.
#[derive(Debug, Clone)]
pub struct SystemClock {
    boot_id: Uuid,
    floor: Instant,
}

impl SystemClock {
    /// The machine's clocks; `floor` is an instant known to have passed, such as that of the last swipe.
    #[must_use]
    pub fn new(floor: Option<Instant>) -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = Uuid::try_parse(text.trim()).unwrap_or(Uuid::nil());
        Self { boot_id, floor: floor.unwrap_or(BUILT_AFTER).max(BUILT_AFTER) }
    }
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        let at = Instant(jiff::Timestamp::now().as_millisecond());
        let boot = clock_gettime(ClockId::Boottime);
        let since_boot_ms = boot.tv_sec * 1_000 + boot.tv_nsec / 1_000_000;
        if at < self.floor {
            let when = Uncertain { earliest: self.floor, latest: FAR_FUTURE };
            return Reading { at: self.floor, when, trust: Trust::Untrusted, since_boot_ms };
        }
        Reading { at, when: Uncertain::exactly(at), trust: Trust::Synced, since_boot_ms }
    }

    fn boot_id(&self) -> Uuid {
        self.boot_id
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let wait = at.since_ms(self.read().at).clamp(0, LONGEST_SLEEP_MS);
        Box::pin(tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())))
    }
}
