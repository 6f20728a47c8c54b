//! How long to wait before trying again: longer each time, and never the same for two gateways.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits between tries.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// It worked: begin anew.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// How long to wait now: between half and the whole of 250 ms, doubled with each try, up to a minute.
    pub fn wait(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        let mut random = [0u8; 2];
        // Without randomness all gateways wait equally long, which is no fault.
        let _ = getrandom::fill(&mut random);
        let share = f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX);
        whole.mul_f64(0.5 + share / 2.0)
    }
}
