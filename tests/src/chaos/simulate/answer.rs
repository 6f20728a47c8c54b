//! What becomes of a card at a door of the simulation.

use rollcall_rules::light::Colour;
use uuid::Uuid;

use super::world::Minted;

/// A swipe and what became of it at the door.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// The swipe's id.
    pub swipe: Uuid,
    /// Its number in the journal, and the journal.
    pub place: Option<(Uuid, u64)>,
    /// What was flashed.
    pub flash: Option<Colour>,
    /// What was acknowledged: reader, start and number.
    pub kept: Option<(&'static str, String, u64)>,
}

/// What became of a card that a reader told of.
pub(super) enum Taken {
    /// A new swipe.
    New(Minted),
    /// It was durable before.
    Kept,
    /// Nothing: the program does not run, or the swipe waits for the disk already.
    Nothing,
}
