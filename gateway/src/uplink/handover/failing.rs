//! What becomes of what the hub did not take: smaller pieces, until what is at fault is alone and set aside.

use uuid::Uuid;

use super::super::client::UplinkError;
use super::{BATCH, FAILURES, HandOver, SLOW_BATCH};

impl HandOver {
    /// Asking did not work. `true` when the same may be tried again at once, in smaller pieces.
    pub fn failed(&mut self, error: &UplinkError) -> bool {
        let trying = self.trying.take();
        let from = self.submitting.take();
        let submitting = from.is_some();
        if submitting && trying.is_none() && matches!(error, UplinkError::TooLarge) {
            // Not what is in it is at fault: nothing is held back for it, and a single one is said again in a while.
            let (before, after) = (self.batch, (self.batch / 2).max(1));
            self.batch = after;
            return after < before;
        }
        if let (UplinkError::Failed(_), Some((journal, sequence))) = (error, trying) {
            // It was known to fail at this one.
            self.aside.insert(journal, sequence);
            return false;
        }
        let UplinkError::Refused(reason) = error else {
            self.failures = match error {
                UplinkError::Failed(_) if submitting => self.failures + 1,
                // It takes it amiss whatever is asked of it.
                _ if !submitting => 0,
                _ => self.failures,
            };
            if self.failures >= FAILURES && matches!(error, UplinkError::Failed(_)) {
                self.fails_at(from, error);
            }
            // The hub may come back as another one, or from a backup.
            self.reconciled = false;
            if submitting && matches!(error, UplinkError::TimedOut) {
                // What is too much for it in that time would be again.
                self.batch = self.batch.min((self.batch / 2).max(SLOW_BATCH));
            }
            return false;
        };
        if let Some((journal, sequence)) = trying {
            self.aside.insert(journal, sequence);
            return true;
        }
        if !submitting {
            // A heartbeat was turned down, and no record.
            return false;
        }
        if self.batch > 1 {
            self.batch = (self.batch / 2).max(1);
            tracing::error!("{reason}; sending {} at a time to find what is at fault", self.batch);
            return true;
        }
        self.refused += 1;
        false
    }

    /// The hub failed at a batch again and again, and not at heartbeats between: less is sent at once, and in the end the others go on
    /// without what it fails at.
    fn fails_at(&mut self, from: Option<(Uuid, u64)>, error: &UplinkError) {
        if self.batch > 1 {
            self.batch = (self.batch / 2).max(1);
            tracing::error!("{error}, again and again; sending {} at a time to find what it is", self.batch);
            return;
        }
        let Some((journal, sequence)) = from else { return };
        tracing::error!(
            sequence,
            "the hub fails at this record; it stays in the journal, and the others go on"
        );
        self.aside.insert(journal, sequence);
        self.places.advance(journal, sequence);
        (self.refused, self.failures, self.batch) = (0, 0, BATCH);
    }
}
