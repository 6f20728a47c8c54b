//! What the hub may have taken last of this gateway, by the ids of heartbeats and batches.
//!
//! The hub keeps the id of the last that it took, and the word by which it answered, beside what was in it, so they come back from a
//! backup together: one that is restored names something that is none of these, though everything else may look as before.

use uuid::Uuid;

/// Ids of what was said to the hub.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// The last that it answered, as it calls it there: by a word of its own, or, an older hub, by ours.
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
        let answered = last_taken.or_else(|| said.filter(|_| in_step));
        *self = Self { answered, ..Self::default() };
    }
}
