//! Corrections that wait for a second person.

use uuid::Uuid;

use super::Entity;
use crate::store::{FromValue, Row, StoreError, Value};

words! {
    /// What became of a proposal.
    ProposalState {
        /// Somebody else approved it, and it took effect.
        Approved = "APPROVED",
        /// It waits for somebody else.
        Proposed = "PROPOSED",
        /// Somebody turned it down, or whoever proposed it took it back.
        Rejected = "REJECTED",
    }
}
entity! {
    /// Corrections that one person proposed.
    CorrectionProposal in "correction_proposal" by "proposed_at" {
        /// Its id.
        id: Uuid,
        /// What became of it.
        state: ProposalState,
        /// Why.
        reason: String,
        /// The corrections, as JSON.
        corrections: String,
        /// The token of whoever proposed it.
        proposed_token: Uuid,
        /// Their name.
        proposed_by: String,
        /// When.
        proposed_at: i64,
        /// The token of whoever decided.
        decided_token: Option<Uuid>,
        /// Their name.
        decided_by: Option<String>,
        /// When.
        decided_at: Option<i64>,
        /// What they said to it.
        note: Option<String>,
    }
}
