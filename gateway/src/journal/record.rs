//! What the journal's records say, as JSON: self-describing, so that an older program's records stay readable.

use rollcall_rules::time::Instant;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::core::reading::FAR_FUTURE;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t")]
pub enum Record {
    /// A swipe, and what was shown for it.
    #[serde(rename = "swipe")]
    Swipe(Box<SwipeRecord>),
    /// A stretch of time in which a door could not record; the same id again, with its end.
    #[serde(rename = "outage")]
    Outage(OutageRecord),
    /// A tie between the machine's time since its start and real time.
    #[serde(rename = "anchor")]
    Anchor(AnchorRecord),
    /// What happened to a reader itself.
    #[serde(rename = "reader")]
    Reader(ReaderRecord),
}

/// A swipe as it was seen. No card number: a key; no name: a pseudonym.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwipeRecord {
    /// UUID version 7.
    pub id: Uuid,
    /// The reader.
    pub reader: Uuid,
    /// The reader's code, by which it is known again without the hub.
    pub code: String,
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
    /// Milliseconds since that start, when it came to the gateway.
    pub since_boot: i64,
    /// The reader had kept it: the card was read before it came.
    #[serde(default)]
    pub late: bool,
    /// Then: milliseconds since that start at which the card was read, and how far that may be off, where the reader's clock says
    /// so. It may lie before the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<(i64, i64)>,
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
    /// For MQTT readers: how the reader named it.
    pub tag: Option<TagRecord>,
    /// The sessions that were considered, with what spoke for and against each.
    #[serde(default)]
    pub considered: Vec<ConsideredRecord>,
}

/// How one session stood to a swipe, as the gateway knew it. What is false is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsideredRecord {
    /// The session.
    pub session: Uuid,
    /// Its window opened, in milliseconds since the epoch.
    pub opens: i64,
    /// And closes.
    pub closes: i64,
    /// It was called off.
    #[serde(default, skip_serializing_if = "is_false")]
    pub off: bool,
    /// It has a class list.
    #[serde(default, skip_serializing_if = "is_false")]
    pub list: bool,
    /// The holder is on it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub listed: bool,
    /// The swipe counts for it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub credited: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How an MQTT reader named a swipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// The reader's start.
    pub boot: String,
    /// The swipe's number in it.
    pub seq: u64,
    /// The reader's clock since that start, in milliseconds.
    pub mono_ms: i64,
}

/// A stretch of time in which a door could not record. Instants in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageRecord {
    /// Its id.
    pub id: Uuid,
    /// The reader's id at the hub; none for all of the gateway's.
    pub reader: Option<Uuid>,
    /// Why: the hub's word.
    pub cause: String,
    /// The last instant that was good; none where only the hub may know.
    pub from: Option<i64>,
    /// The first that was good again; none while it lasts.
    pub until: Option<i64>,
}

/// A tie between the machine's time since its start and real time, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorRecord {
    /// The start of the machine.
    pub boot: Uuid,
    /// Time since that start.
    pub since_boot: i64,
    /// What the time was, since the epoch.
    pub at: i64,
    /// How far that may be off, to either side.
    pub error: i64,
    /// Where it came from: the hub's word.
    pub source: String,
}

/// What happened to a reader itself. Instants in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderRecord {
    /// Its id.
    pub id: Uuid,
    /// The reader's id at the hub.
    pub reader: Uuid,
    /// What happened: the hub's word.
    pub kind: String,
    /// When.
    pub at: i64,
    /// Not before.
    pub earliest: i64,
    /// Not after.
    pub latest: i64,
    /// More of it, in words.
    pub detail: Option<String>,
}

impl SwipeRecord {
    /// It waited for room, and was written after others that came later.
    #[must_use]
    pub fn waited(&self) -> bool {
        self.reason == "STORE_FAULT"
    }
}

impl Record {
    /// As it stands in the journal.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which no record of this program meets.
    pub fn body(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When it is none of this program's.
    pub fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// The bounds of the time at which it was written; none where it speaks of another, as of a swipe that had to wait for room,
    /// or nobody knew the time.
    #[must_use]
    pub fn written_between(&self) -> Option<(Instant, Instant)> {
        match self {
            Self::Swipe(swipe) if !swipe.late && !swipe.waited() && swipe.latest < FAR_FUTURE.0 => {
                Some((Instant(swipe.earliest), Instant(swipe.latest)))
            }
            Self::Swipe(_) | Self::Outage(_) | Self::Anchor(_) | Self::Reader(_) => None,
        }
    }

    /// The instant that it speaks of, in milliseconds since the epoch.
    #[must_use]
    pub fn at(&self) -> Option<i64> {
        match self {
            Self::Swipe(swipe) => Some(swipe.at),
            Self::Outage(outage) => outage.until.or(outage.from),
            Self::Anchor(anchor) => Some(anchor.at),
            Self::Reader(event) => Some(event.at),
        }
    }
}
