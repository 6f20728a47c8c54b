//! The machine that a gateway of the simulation runs on: its clocks, and where its random ids come from.

use std::cell::Cell;

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
    /// The ids that it makes up: the same in the same world, as what is sorted by them must be.
    pub ids: Ids,
}

/// Made-up ids, one after another.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    of: Uuid,
    made: Cell<u64>,
}

impl Ids {
    /// Those of one machine of a world.
    #[must_use]
    pub(super) fn new(seed: u64, machine: usize) -> Self {
        Self { of: Uuid::from_u64_pair(seed, machine as u64), made: Cell::new(0) }
    }

    fn next(&self) -> Uuid {
        self.made.set(self.made.get() + 1);
        Uuid::new_v5(&self.of, &self.made.get().to_be_bytes())
    }
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

    /// An id that was never used.
    #[must_use]
    pub(super) fn fresh_id(&self) -> Uuid {
        self.ids.next()
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
