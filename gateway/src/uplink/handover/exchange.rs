//! What the hub may have taken last of this gateway, by the ids of heartbeats and batches.
//!
//! The hub keeps the id of the last that it took beside what was in it, so the two come back from a backup together: one
//! that is restored names an id that is none of these, though everything else may look as before.

use uuid::Uuid;

/// Of calls without an answer, so many of the last are remembered.
const UNANSWERED: usize = 16;

/// Ids of what was said to the hub.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// The last that it answered.
    answered: Option<Uuid>,
    /// What was said since, in order: it may have taken any of it, and the answer was lost.
    asked: Vec<Uuid>,
}

impl Exchange {
    /// All that the hub may have taken last; none before it was heard once.
    pub(super) fn previous(&self) -> Vec<Uuid> {
        // An answer that was never had vouches for nothing: then nothing is said to be handed over either.
        self.answered.map_or_else(Vec::new, |answered| [&[answered], &*self.asked].concat())
    }

    /// An id for what is said next.
    pub(super) fn asks(&mut self) -> Uuid {
        let id = Uuid::new_v4();
        if self.asked.len() == UNANSWERED {
            self.asked.remove(0);
        }
        self.asked.push(id);
        id
    }

    /// What was said last is answered. Where the hub was not in step, what it took last is another, or nothing.
    pub(super) fn answered(&mut self, in_step: bool, last_taken: Option<Uuid>) {
        let said = self.asked.pop();
        *self = Self { answered: if in_step { said } else { last_taken }, asked: Vec::new() };
    }
}
