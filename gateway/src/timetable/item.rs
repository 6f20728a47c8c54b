//! The items of the cache, as they are stored, and how they become the rules' facts.

use rollcall_rules::ids::{CardId, GroupId, HolderId, MembershipId, RoomId, SessionId};
use rollcall_rules::policy::{Overlap, Policy};
use rollcall_rules::session::{HeldIn, Session};
use rollcall_rules::time::{Instant, Span};
use rollcall_rules::timetable::{Card, CardKey, Item, Membership};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::core::unhex;
use crate::core::{CardSecret, ReaderFacts};

/// An item of the slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CachedItem {
    /// A session.
    #[serde(rename = "s")]
    Session(CachedSession),
    /// A stay in a group.
    #[serde(rename = "m")]
    Membership(CachedMembership),
    /// A card.
    #[serde(rename = "c")]
    Card(CachedCard),
}

/// A session. Instants in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedSession {
    /// Start.
    pub starts: i64,
    /// End.
    pub ends: i64,
    /// Called off.
    pub cancelled: bool,
    /// Room, from, until.
    pub rooms: Vec<(Uuid, Option<i64>, Option<i64>)>,
    /// Groups.
    pub groups: Vec<Uuid>,
    /// How long before the start the window opens, in milliseconds.
    pub opens_before: i64,
    /// How long after the end it closes, in milliseconds.
    pub closes_after: i64,
    /// Only the session whose start is nearest is credited.
    pub nearest: bool,
}

/// A stay in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedMembership {
    /// The group.
    pub group: Uuid,
    /// Whose, by pseudonym.
    pub holder: Uuid,
    /// From.
    pub from: Option<i64>,
    /// Until, excluded.
    pub until: Option<i64>,
}

/// A card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedCard {
    /// Its keys, hex digits.
    pub keys: Vec<String>,
    /// Whose, by pseudonym.
    pub holder: Uuid,
    /// From.
    pub from: Option<i64>,
    /// Until, excluded.
    pub until: Option<i64>,
}

/// The hub's configuration for this gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CachedConfig {
    /// Which of the building's keys is in force.
    pub epoch: i64,
    /// The key, hex digits. The cache's folder is for its owner alone.
    pub secret: String,
    /// How often to say how it is, in milliseconds.
    pub heartbeat_ms: i64,
    /// How many swipes to hand over at once.
    pub max_batch: usize,
    /// Readers: id, code, room, enabled.
    pub readers: Vec<(Uuid, String, Option<Uuid>, bool)>,
}

fn span(from: Option<i64>, until: Option<i64>) -> Span {
    Span { from: from.map(Instant), until: until.map(Instant) }
}

impl CachedItem {
    /// The rules' fact of this id.
    #[must_use]
    pub fn fact(&self, id: Uuid) -> Item {
        match self {
            Self::Session(session) => Item::Session(Session {
                id: SessionId(id),
                starts_at: Instant(session.starts),
                ends_at: Instant(session.ends),
                cancelled: session.cancelled,
                rooms: session
                    .rooms
                    .iter()
                    .map(|(room, from, until)| HeldIn { room: RoomId(*room), span: span(*from, *until) })
                    .collect(),
                groups: session.groups.iter().map(|group| GroupId(*group)).collect(),
                policy: Policy {
                    opens_before_ms: session.opens_before,
                    closes_after_ms: session.closes_after,
                    overlap: if session.nearest { Overlap::NearestStart } else { Overlap::EveryOpen },
                    ..Policy::default()
                },
            }),
            Self::Membership(stay) => Item::Membership(Membership {
                id: MembershipId(id),
                group: GroupId(stay.group),
                holder: HolderId(stay.holder),
                span: span(stay.from, stay.until),
            }),
            Self::Card(card) => Item::Card(Card {
                id: CardId(id),
                keys: card
                    .keys
                    .iter()
                    .filter_map(|key| Some(CardKey(unhex(key)?.try_into().ok()?)))
                    .collect(),
                holder: HolderId(card.holder),
                span: span(card.from, card.until),
            }),
        }
    }
}

impl CachedConfig {
    /// The readers that are in use.
    #[must_use]
    pub fn reader_facts(&self) -> Vec<ReaderFacts> {
        let used = self.readers.iter().filter(|(.., enabled)| *enabled);
        used.map(|(id, code, room, _)| ReaderFacts { id: *id, code: code.clone(), room: room.map(RoomId) })
            .collect()
    }

    /// The building's key.
    #[must_use]
    pub fn card_secret(&self) -> CardSecret {
        CardSecret { epoch: self.epoch, secret: unhex(&self.secret).unwrap_or_default() }
    }
}
