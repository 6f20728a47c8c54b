//! What the hub may have taken last of this gateway, by the ids of heartbeats and batches.
//!
//! The hub keeps the id of the last that it took beside what was in it, so the two come back from a backup together: one
//! that is restored names an id that is none of these, though everything else may look as before.

use uuid::Uuid;

/// Ids of what was said to the hub.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// The last that it answered.
    answered: Option<Uuid>,
    /// What was said since: it may have taken any of it, and the answer was lost. Behind a batch come heartbeats alone until one
    /// is answered, and these are one.
    batch: Option<Uuid>,
    heartbeat: Option<Uuid>,
}

impl Exchange {
    /// All that the hub may have taken last; none before it was heard once.
    pub(super) fn previous(&self) -> Vec<Uuid> {
        // An answer that was never had vouches for nothing: then nothing is said to be handed over either.
        let Some(answered) = self.answered else { return Vec::new() };
        [Some(answered), self.batch, self.heartbeat].into_iter().flatten().collect()
    }

    /// An id for the next heartbeat: that of the one before, where that has no answer.
    pub(super) fn beats(&mut self) -> Uuid {
        *self.heartbeat.get_or_insert_with(Uuid::new_v4)
    }

    /// An id for the next batch.
    pub(super) fn submits(&mut self) -> Uuid {
        *self.batch.insert(Uuid::new_v4())
    }

    /// What was said last is answered. Where the hub was not in step, what it took last is another, or nothing.
    pub(super) fn answered(&mut self, in_step: bool, last_taken: Option<Uuid>) {
        let said = self.heartbeat.or(self.batch);
        *self = Self { answered: if in_step { said } else { last_taken }, ..Self::default() };
    }
}
