//! What the journal's records say, as JSON: self-describing, so that an older program's records stay readable.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t")]
pub enum Record {
    /// A swipe, and what was shown for it.
    #[serde(rename = "swipe")]
    Swipe(Box<SwipeRecord>),
    /// The hub has everything up to this sequence.
    #[serde(rename = "handed_over")]
    HandedOver {
        /// The sequence, included.
        through: u64,
        /// When, in milliseconds since the epoch.
        at: i64,
    },
}

/// A swipe as it was seen. No card number: a key; no name: a pseudonym.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwipeRecord {
    /// UUID version 7.
    pub id: Uuid,
    /// The reader.
    pub reader: Uuid,
    /// The room at whose door it hung.
    pub room: Option<Uuid>,
    /// The card's key, hex digits; empty for what is no card.
    pub key: String,
    /// Which of the building's keys it was made with.
    pub epoch: i64,
    /// How many bits the card had.
    pub bits: u16,
    /// Whom the card was taken to be.
    pub holder: Option<Uuid>,
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// Not before.
    pub earliest: i64,
    /// Not after.
    pub latest: i64,
    /// The machine's start that it fell into.
    pub boot: Uuid,
    /// Milliseconds since that start.
    pub since_boot: i64,
    /// How far the clock could be believed: the hub's word.
    pub trust: String,
    /// What was decided: the hub's word.
    pub decision: String,
    /// Why: the hub's word.
    pub reason: String,
    /// What was shown: the hub's word.
    pub light: String,
    /// The sessions credited.
    pub sessions: Vec<Uuid>,
    /// The feed position decided by.
    pub basis: String,
    /// For MQTT readers: the reader's start and the swipe's number in it.
    pub tag: Option<(String, u64)>,
}
