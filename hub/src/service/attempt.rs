//! Whole transactions, run again where the database turned one down that did nothing wrong: it lost a race against
//! another (serialization failure, deadlock), or its connection was cut before its commit took effect.
//!
//! Whoever writes does so in here, and there is no other way to a writing transaction: from its first read on, everything
//! is done anew, and nothing that a failed attempt saw is believed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Hub;
use crate::store::{Boxed, StoreError, Tx};

/// For how long a transaction is attempted.
const ATTEMPTED_FOR: Duration = Duration::from_secs(30);
/// The longest wait before the second attempt; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(4);
/// The longest wait before any.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One attempt at a transaction.
#[derive(Clone, Copy)]
pub struct Attempt<'a>(&'a Hub);

impl<'a> Attempt<'a> {
    /// One that no other follows, for whoever puts a database into some state by hand.
    #[must_use]
    pub fn only(hub: &'a Hub) -> Self {
        Self(hub)
    }

    /// Begins to write.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn write(self) -> Result<Tx, StoreError> {
        Ok(Tx::new(self.0.store.write().await?, self.0.statements.clone()))
    }

    /// The hub whose attempt it is.
    #[must_use]
    pub fn hub(self) -> &'a Hub {
        self.0
    }
}

impl Hub {
    /// Does some work that writes, and all of it again while the store says that this attempt left nothing behind.
    ///
    /// # Errors
    /// What the work says; the store's last word after half a minute of attempts.
    pub async fn whole<'a, T>(
        &'a self,
        mut work: impl FnMut(Attempt<'a>) -> Boxed<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = tokio::time::Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            match work(Attempt(self)).await {
                Err(StoreError::Again(error)) if began.elapsed() < ATTEMPTED_FOR => {
                    self.attempts.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!("a transaction is attempted again: {error}");
                    // Those who met do not meet again at once.
                    tokio::time::sleep(wait.mul_f64(chance())).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                ended => return ended,
            }
        }
    }

    /// How many transactions were attempted again so far.
    #[must_use]
    pub fn attempted_again(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }
}

/// A random number from 0 to 1.
fn chance() -> f64 {
    let mut byte = [0u8];
    // Without randomness everybody waits the whole time, which is no worse than long.
    if getrandom::fill(&mut byte).is_err() { 1.0 } else { f64::from(byte[0]) / 255.0 }
}
