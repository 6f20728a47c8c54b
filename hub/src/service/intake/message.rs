//! What gateways send: swipes with what proves them, and how they are.

use async_graphql::{Enum, InputObject, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::scalar::{Counter, DateTime, Duration, UuidScalar};
use crate::store::entity::{
    ClockTrust, LightColour, OutageCause, ReaderEventKind, ReaderKind, SwipeDecision, SwipeReason,
};

/// Where a clock gets its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum ClockSource {
    /// The hub's answers.
    Hub,
    /// Nowhere.
    None,
    /// Network time.
    Ntp,
    /// Precision time protocol.
    Ptp,
    /// A clock chip with a battery.
    Rtc,
}

/// How the gateway's clock stands.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayClockInput {
    /// How far it can be believed.
    pub trust: ClockTrust,
    /// Where it gets its time.
    pub source: ClockSource,
    /// Its time minus the hub's, as measured at the last exchange.
    pub offset: Option<Duration>,
    /// How far it may be off.
    pub uncertainty: Option<Duration>,
    /// When it was last in step.
    pub last_synced_at: Option<DateTime>,
}

/// One swipe.
#[derive(Debug, Clone, InputObject)]
pub struct GatewaySwipeInput {
    /// Minted by the gateway (version 7).
    pub swipe_id: UuidScalar,
    /// Which journal; a new one starts when storage was lost or cloned.
    pub journal_id: UuidScalar,
    /// 1, 2, 3 … within the journal: finds gaps, decides nothing.
    pub sequence: Counter,
    /// The reader.
    pub reader_id: UuidScalar,
    /// The room at whose door the gateway took the reader to hang.
    pub room_id: Option<UuidScalar>,
    /// The card's key, 64 hex digits; empty for what is no card.
    pub card_key: String,
    /// Which of the building's keys it was made with.
    pub card_key_epoch: i32,
    /// How many bits the card had.
    pub card_bits: i32,
    /// The pseudonym of whom the gateway took the card to be.
    pub holder: Option<UuidScalar>,
    /// The gateway's time of the swipe.
    pub swiped_at: DateTime,
    /// Not before.
    pub earliest_at: DateTime,
    /// Not after.
    pub latest_at: DateTime,
    /// The start of the machine that it fell into.
    pub boot_id: UuidScalar,
    /// Time since that start.
    pub since_boot: Duration,
    /// How far the clock could be believed.
    pub clock_trust: ClockTrust,
    /// What was decided at the door.
    pub decision: SwipeDecision,
    /// Why.
    pub reason: SwipeReason,
    /// What was shown.
    pub light: LightColour,
    /// The sessions that it was credited to at the door.
    pub session_ids: Vec<UuidScalar>,
    /// The feed position that it was decided by.
    pub basis: String,
    /// The journal's chain value behind the record, 64 hex digits.
    pub chain: String,
    /// The record as it stands in the journal, for a receipt; null from gateways that do not sign.
    pub record: Option<String>,
    /// The reader kept it and handed it in later: `sinceBoot` is when it came, not when the card was read.
    #[graphql(default)]
    pub late: bool,
    /// Of one that came late: the time since that start at which the card was read, where the reader's own clock says so; it may
    /// lie before the start.
    pub read_since_boot: Option<Duration>,
    /// How far that may be off, to either side.
    pub read_error: Option<Duration>,
}

/// Swipes to hand over, in order: 1000 at the most.
#[derive(Debug, Clone, InputObject)]
pub struct GatewaySubmitSwipesInput {
    /// Names the batch in the answer, and to the next one.
    pub batch_id: UuidScalar,
    /// The last heartbeat or batch that the hub answered, by the `lastTaken` of that answer, and those without an answer
    /// since, by their ids: it took one of these last, unless it came back from a backup since; then it does not take the
    /// watermark. Empty before the first answer: then it does not take it either.
    pub previous: Option<Vec<UuidScalar>>,
    /// When it was sent, by the gateway's clock.
    pub sent_at: DateTime,
    /// How that clock stands.
    pub clock: GatewayClockInput,
    /// The swipes.
    pub swipes: Vec<GatewaySwipeInput>,
    /// Swipes still waiting after these.
    pub backlog_after: i32,
    /// Every swipe before this instant is in this or an earlier batch.
    pub watermark: DateTime,
    /// How far the journal is handed over with this batch; its swipes are all of this journal.
    pub journal: Option<GatewayJournalInput>,
    /// Stretches of time in which doors could not record, new or known better.
    pub outages: Option<Vec<GatewayOutageInput>>,
    /// Ties between the gateway's time since its start and real time.
    pub anchors: Option<Vec<GatewayAnchorInput>>,
    /// What happened to readers themselves.
    pub reader_events: Option<Vec<GatewayReaderEventInput>>,
    /// The gateway's signature under the journal's end with this batch.
    pub head: Option<GatewayHeadInput>,
}

/// How far a journal is handed over.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayJournalInput {
    /// The journal.
    pub journal_id: UuidScalar,
    /// The journal's own id, where the hub has another journal of that id, as of a card that was cloned or put back from an image;
    /// `journalId` is a name beside it then.
    pub fork_of: Option<UuidScalar>,
    /// The record that came before this batch; null when the batch begins with the first that the gateway has.
    pub after: Option<Counter>,
    /// The first record of this batch: where it is not the next after what the hub has, those between are gone from the
    /// gateway's disk.
    pub first: Option<Counter>,
    /// The first record that the journal ever had; 0 where the gateway may have dropped it. A hub that knows nothing of the
    /// journal, because it was restored from a backup, sees by it what is gone. Null where the gateway does not say.
    pub begins: Option<Counter>,
    /// The last record of this batch; for a heartbeat the last that was handed over, 0 where none was.
    pub through: Counter,
    /// The chain value behind `through`, 64 hex digits; null where there is no such record.
    pub chain: Option<String>,
}

/// A stretch of time in which a door could not record.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayOutageInput {
    /// Its id; sent again with another end, it is the same outage known better.
    pub outage_id: UuidScalar,
    /// The reader; null for all of the gateway's.
    pub reader_id: Option<UuidScalar>,
    /// Why.
    pub cause: OutageCause,
    /// The last instant that is known to have been good; null for the last that the hub heard of.
    pub from: Option<DateTime>,
    /// The first instant that was good again; null while it lasts.
    pub until: Option<DateTime>,
}

/// What happened to a reader itself.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayReaderEventInput {
    /// Its id; sent again it is the same.
    pub event_id: UuidScalar,
    /// The reader.
    pub reader_id: UuidScalar,
    /// What happened.
    pub kind: ReaderEventKind,
    /// When, by the gateway's clock.
    pub at: DateTime,
    /// Not before.
    pub earliest_at: DateTime,
    /// Not after.
    pub latest_at: DateTime,
    /// More of it, in words: 500 letters at the most.
    pub detail: Option<String>,
}

/// A reader of the gateway's that the hub does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, InputObject, SimpleObject)]
#[graphql(name = "UnassignedReader", input_name = "UnassignedReaderInput")]
pub struct UnassignedReader {
    /// Its code in the gateway's configuration.
    pub code: String,
    /// How it talks to its gateway.
    pub kind: ReaderKind,
    /// Whether the gateway can talk to it.
    pub online: bool,
    /// Its serial number, as it says itself.
    pub serial: Option<String>,
    /// Its firmware, as it says itself.
    pub firmware: Option<String>,
}

/// A tie between a machine's time since its start and real time.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayAnchorInput {
    /// The start of the machine.
    pub boot_id: UuidScalar,
    /// Time since that start.
    pub since_boot: Duration,
    /// What the time was.
    pub at: DateTime,
    /// How far that may be off, to either side.
    pub error: Duration,
    /// Where it came from.
    pub source: ClockSource,
}

/// A signed end of a journal.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayHeadInput {
    /// The chain value before the batch's first record, 64 hex digits.
    pub chain_before: String,
    /// SHA-256 of the body of every record of the batch, in order, 64 hex digits each.
    pub links: Vec<String>,
    /// When it was signed, by the gateway's clock.
    pub signed_at: DateTime,
    /// Ed25519 signature (RFC 8032) over what `rollcall-hub verify-receipt --help` says, 128 hex digits.
    pub signature: String,
    /// The gateway's public key, 64 hex digits.
    pub public_key: String,
}

/// How a serial reader's line does, since its gateway's program started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, InputObject, SimpleObject)]
#[graphql(name = "ReaderLine", input_name = "ReaderLineInput")]
pub struct ReaderLine {
    /// Commands sent, repeats included.
    pub sent: Counter,
    /// Replies that came in time.
    pub replies: Counter,
    /// Commands sent again.
    pub repeats: Counter,
    /// Replies that did not come in time.
    pub timeouts: Counter,
    /// Refusals (NAK).
    pub naks: Counter,
    /// Replies of another sequence, or malformed.
    pub bad_replies: Counter,
    /// Cards in the ambiguous form (FMT): set the reader to raw bits.
    pub formatted_cards: Counter,
    /// How long a reply takes, smoothed; null before the first.
    pub reply_time: Option<Duration>,
    /// Whether it is spoken to under a key of its own.
    #[graphql(default)]
    #[serde(default)]
    pub secured: bool,
}

/// How one of a gateway's readers is.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayReaderReport {
    /// The reader.
    pub reader_id: UuidScalar,
    /// Whether the gateway can talk to it.
    pub online: bool,
    /// What it shows.
    pub light: Option<LightColour>,
    /// When a card was last held to it.
    pub last_swipe_at: Option<DateTime>,
    /// Its firmware.
    pub firmware: Option<String>,
    /// How its serial line does.
    pub line: Option<ReaderLine>,
}

/// How a gateway is.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayHeartbeatInput {
    /// Names the heartbeat to the next one.
    pub heartbeat_id: Option<UuidScalar>,
    /// The last heartbeat or batch that the hub answered, by the `lastTaken` of that answer, and those without an answer
    /// since, by their ids: it took one of these last, unless it came back from a backup since; then it does not take the
    /// watermark. Empty before the first answer: then it does not take it either.
    pub previous: Option<Vec<UuidScalar>>,
    /// When it was sent, by the gateway's clock.
    pub sent_at: DateTime,
    /// Every swipe before this instant has been handed over.
    pub watermark: DateTime,
    /// How that clock stands.
    pub clock: GatewayClockInput,
    /// Swipes taken and not yet handed over.
    pub backlog: i32,
    /// Age of the oldest of them.
    pub oldest_backlog_age: Option<Duration>,
    /// The feed position of its timetable copy.
    pub cache_cursor: String,
    /// Age of that copy.
    pub cache_age: Duration,
    /// What is free where the journal lies.
    pub free_disk_bytes: Option<Counter>,
    /// Its software.
    pub software_version: String,
    /// Its readers.
    pub readers: Vec<GatewayReaderReport>,
    /// How far the gateway takes its journals to be handed over. Where the hub has less, its answer says so, and the
    /// watermark is not taken.
    pub journals: Option<Vec<GatewayJournalInput>>,
    /// Ties between the gateway's time since its start and real time.
    pub anchors: Option<Vec<GatewayAnchorInput>>,
    /// Readers that the hub does not know, 100 at the most.
    pub unassigned: Option<Vec<UnassignedReader>>,
    /// How many records the hub turned down: they stay in the journal, and are tried again.
    pub held_back: Option<i32>,
    /// How full its journal is, in percent of what it may take; 100 where its disk is full.
    pub journal_percent: Option<i32>,
    /// Its timetable copy was damaged when it started: it was moved aside and fetched again.
    pub cache_damaged: Option<bool>,
}
