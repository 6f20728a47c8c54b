//! The machine that a gateway of the simulation runs on: its clocks.

use rollcall_gateway::core::time::Sample;
use rollcall_rules::time::Instant;
use uuid::Uuid;

/// The machine's clocks, as far from the truth as they may be.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// Which start of the machine.
    pub boot: Uuid,
    /// When it started, in true milliseconds since the epoch.
    pub started: i64,
    /// How much faster than true time its own clock runs, in parts per million.
    pub drift_ppm: i64,
    /// Wall clock minus the truth, in milliseconds.
    pub wall_off: i64,
    /// The kernel's bound of the wall clock's error.
    pub max_error_ms: Option<i64>,
}

impl Machine {
    /// Milliseconds since the start, as the machine counts them.
    #[must_use]
    pub(super) fn since_boot(&self, now: i64) -> i64 {
        let passed = now - self.started;
        passed + passed * self.drift_ppm / 1_000_000
    }

    /// Its wall clock claims to be in step, and is not.
    #[must_use]
    pub(super) fn lies(&self) -> bool {
        self.max_error_ms.is_some_and(|error| error < 1_000 && error < self.wall_off.abs())
    }

    /// What its clocks say.
    #[must_use]
    pub(super) fn sample(&self, now: i64) -> Sample {
        Sample {
            wall: Instant(now + self.wall_off),
            since_boot_ms: self.since_boot(now),
            max_error_ms: self.max_error_ms,
            rtc: false,
        }
    }
}
