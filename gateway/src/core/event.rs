//! What goes into the mind, and what comes out of it.

use hmac::{Hmac, Mac};
use rollcall_rules::card::{CardError, CardRead};
use rollcall_rules::ids::RoomId;
use rollcall_rules::light::Colour;
use rollcall_rules::timetable::{CardKey, Item};
use rollcall_rules::verdict::Decision;
use sha2::Sha256;
use uuid::Uuid;

use crate::journal::record::SwipeRecord;

/// What the gateway knows of one of its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderFacts {
    /// Its id at the hub.
    pub id: Uuid,
    /// Its code.
    pub code: String,
    /// The room at whose door it hangs.
    pub room: Option<RoomId>,
}

/// The building's key for cards.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CardSecret {
    /// Which of the building's keys.
    pub epoch: i64,
    /// The key.
    pub secret: Vec<u8>,
}

impl CardSecret {
    /// The key by which a card is looked up: HMAC-SHA-256 of the count of bits (big-endian) and the raw bytes.
    #[must_use]
    pub fn key(&self, read: &CardRead) -> Option<CardKey> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(&read.bits().to_be_bytes());
        mac.update(read.raw());
        Some(CardKey(mac.finalize().into_bytes().into()))
    }
}

/// A swipe as it came from a reader.
#[derive(Debug, Clone)]
pub struct Read {
    /// The reader's code.
    pub reader: String,
    /// The card, or why it is none.
    pub card: Result<CardRead, CardError>,
    /// For MQTT readers: how to know a swipe again, and its own time.
    pub tag: Option<Tag>,
    /// Ten random bytes for the swipe's id.
    pub random: [u8; 10],
}

/// How an MQTT reader names its swipes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The reader's start.
    pub boot: String,
    /// The swipe's number in it.
    pub seq: u64,
    /// The reader's clock when the card was held to it.
    pub mono_ms: i64,
    /// The reader says itself that this is from before.
    pub historical: bool,
}

/// An MQTT reader's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderClock {
    /// The reader's start.
    pub boot: String,
    /// What its clock says, in milliseconds since that start.
    pub mono_ms: i64,
}

/// What may happen.
pub enum Input {
    /// An MQTT reader has connected.
    Online {
        /// The reader's code.
        reader: String,
        /// Its clock, where it was told in a message that arrived at once.
        clock: Option<ReaderClock>,
    },
    /// An MQTT reader is gone.
    Gone {
        /// The reader's code.
        reader: String,
    },
    /// A card was held to a reader.
    Read(Read),
    /// The record of a ticket is durable.
    Durable {
        /// The ticket.
        ticket: u64,
    },
    /// The record of a ticket could not be made durable.
    NotDurable {
        /// The ticket.
        ticket: u64,
    },
    /// There was no room for the record of a ticket: it is kept in mind, and written when there is.
    Refused {
        /// The ticket.
        ticket: u64,
    },
    /// There is room in the journal: what was refused and kept in mind can be written now.
    Room,
    /// Facts of the timetable changed; `basis` is the feed position behind them.
    Facts {
        /// Put in, or taken out.
        changes: Vec<Change>,
        /// The whole timetable is replaced by what is put in.
        replace: bool,
        /// The feed position.
        basis: String,
    },
    /// The hub's configuration for this gateway.
    Config {
        /// Its readers.
        readers: Vec<ReaderFacts>,
        /// The building's key.
        secret: CardSecret,
    },
    /// Time passed.
    Tick,
}

/// A change of the timetable.
#[derive(Debug, Clone)]
pub enum Change {
    /// Put in, in place of what had its name.
    Upsert(Item),
    /// Taken out, whatever it is.
    Remove(Uuid),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Make this durable, then say so.
    Append {
        /// Comes back with [`Input::Durable`].
        ticket: u64,
        /// What to write.
        record: Box<SwipeRecord>,
    },
    /// Set a reader's light at rest.
    Rest {
        /// The reader's code.
        reader: String,
        /// The colour.
        colour: Colour,
    },
    /// Answer a swipe.
    Answer(Answer),
}

/// The answer to a swipe.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The reader's code.
    pub reader: String,
    /// What to flash; none for a swipe that came again.
    pub flash: Option<Colour>,
    /// For MQTT readers: start and number of the swipe.
    pub tag: Option<(String, u64)>,
    /// What to acknowledge; none when it was not kept, so that the reader sends it again.
    pub kept: Option<Decision>,
}
