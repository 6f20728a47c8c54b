//! Virtual time: one clock for hub and gateways, moved by the player alone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rollcall_gateway::clock::{Reading, Trust};
use tokio::sync::watch;

use crate::plan::Millis;

/// A clock that stands still until it is set.
#[derive(Clone)]
pub struct VirtualClock {
    now: Arc<watch::Sender<Millis>>,
    started: Millis,
}

impl VirtualClock {
    /// A clock that stands at an instant.
    #[must_use]
    pub fn new(at: Millis) -> Self {
        Self { now: Arc::new(watch::Sender::new(at)), started: at }
    }

    /// The present.
    #[must_use]
    pub fn get(&self) -> Millis {
        *self.now.borrow()
    }

    /// Milliseconds since everything was switched on.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.get() - self.started).unwrap_or(0)
    }

    /// Moves time on; never back.
    pub fn set(&self, at: Millis) {
        self.now.send_modify(|now| *now = at.max(*now));
    }
}

impl rollcall_hub::clock::Clock for VirtualClock {
    fn now(&self) -> rollcall_hub::clock::Instant {
        rollcall_hub::clock::Instant(self.get())
    }
}

impl rollcall_gateway::clock::Clock for VirtualClock {
    fn read(&self) -> Reading {
        Reading::exactly(self.get(), Trust::Synced, self.get() - self.started)
    }

    fn boot_id(&self) -> rollcall_gateway::clock::Uuid {
        rollcall_gateway::clock::Uuid::from_u128(0x0b00_7000)
    }

    fn sleep_until(
        &self,
        at: rollcall_gateway::clock::Instant,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            // The clock's own sender lives as long as the clock, so this ends only when time has come.
            drop(now.wait_for(|now| *now >= at.0).await);
        })
    }
}
