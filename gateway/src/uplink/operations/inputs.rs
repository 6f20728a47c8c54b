//! What the gateway says to the hub, as inputs of its mutations.

use super::schema;
use super::*;

/// How the clock stands.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayClockInput {
    pub trust: ClockTrust,
    pub source: ClockSource,
    pub offset: Option<Duration>,
    pub uncertainty: Option<Duration>,
    pub last_synced_at: Option<DateTime>,
}

/// One swipe.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewaySwipeInput {
    pub swipe_id: uuid::Uuid,
    pub journal_id: uuid::Uuid,
    pub sequence: Counter,
    pub reader_id: uuid::Uuid,
    pub room_id: Option<uuid::Uuid>,
    pub card_key: String,
    pub card_key_epoch: i32,
    pub card_bits: i32,
    pub holder: Option<uuid::Uuid>,
    pub swiped_at: DateTime,
    pub earliest_at: DateTime,
    pub latest_at: DateTime,
    pub boot_id: uuid::Uuid,
    pub since_boot: Duration,
    pub clock_trust: ClockTrust,
    pub decision: SwipeDecision,
    pub reason: SwipeReason,
    pub light: LightColour,
    pub session_ids: Vec<uuid::Uuid>,
    pub basis: String,
    pub chain: String,
    pub record: Option<String>,
    pub late: bool,
    pub read_since_boot: Option<Duration>,
    pub read_error: Option<Duration>,
}

/// How far a journal is handed over.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayJournalInput {
    pub journal_id: uuid::Uuid,
    pub fork_of: Option<uuid::Uuid>,
    pub after: Option<Counter>,
    pub first: Option<Counter>,
    pub begins: Option<Counter>,
    pub through: Counter,
    pub chain: Option<String>,
}

/// A stretch of time in which a door could not record.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayOutageInput {
    pub outage_id: uuid::Uuid,
    pub reader_id: Option<uuid::Uuid>,
    pub cause: OutageCause,
    pub from: Option<DateTime>,
    pub until: Option<DateTime>,
}

/// What happened to a reader itself.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayReaderEventInput {
    pub event_id: uuid::Uuid,
    pub reader_id: uuid::Uuid,
    pub kind: ReaderEventKind,
    pub at: DateTime,
    pub earliest_at: DateTime,
    pub latest_at: DateTime,
    pub detail: Option<String>,
}

/// A reader that the hub does not know.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct UnassignedReaderInput {
    pub code: String,
    pub kind: ReaderKind,
    pub online: bool,
    pub serial: Option<String>,
    pub firmware: Option<String>,
}

/// A tie between the machine's time and real time.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayAnchorInput {
    pub boot_id: uuid::Uuid,
    pub since_boot: Duration,
    pub at: DateTime,
    pub error: Duration,
    pub source: ClockSource,
}

/// A signed end of a journal.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayHeadInput {
    pub chain_before: String,
    pub links: Vec<String>,
    pub signed_at: DateTime,
    pub signature: String,
    pub public_key: String,
}

/// Swipes to hand over.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewaySubmitSwipesInput {
    pub batch_id: uuid::Uuid,
    pub previous: Option<Vec<uuid::Uuid>>,
    pub sent_at: DateTime,
    pub clock: GatewayClockInput,
    pub swipes: Vec<GatewaySwipeInput>,
    pub backlog_after: i32,
    pub watermark: DateTime,
    pub journal: Option<GatewayJournalInput>,
    pub outages: Option<Vec<GatewayOutageInput>>,
    pub anchors: Option<Vec<GatewayAnchorInput>>,
    pub reader_events: Option<Vec<GatewayReaderEventInput>>,
    pub head: Option<GatewayHeadInput>,
}

/// How a serial reader's line does.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct ReaderLineInput {
    pub sent: Counter,
    pub replies: Counter,
    pub repeats: Counter,
    pub timeouts: Counter,
    pub naks: Counter,
    pub bad_replies: Counter,
    pub formatted_cards: Counter,
    pub reply_time: Option<Duration>,
    pub secured: bool,
}

/// How a reader is.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayReaderReport {
    pub reader_id: uuid::Uuid,
    pub online: bool,
    pub light: Option<LightColour>,
    pub last_swipe_at: Option<DateTime>,
    pub firmware: Option<String>,
    pub line: Option<ReaderLineInput>,
}

/// How the gateway is.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayHeartbeatInput {
    pub heartbeat_id: Option<uuid::Uuid>,
    pub previous: Option<Vec<uuid::Uuid>>,
    pub sent_at: DateTime,
    pub watermark: DateTime,
    pub clock: GatewayClockInput,
    pub backlog: i32,
    pub oldest_backlog_age: Option<Duration>,
    pub cache_cursor: String,
    pub cache_age: Duration,
    pub free_disk_bytes: Option<Counter>,
    pub software_version: String,
    pub readers: Vec<GatewayReaderReport>,
    pub journals: Option<Vec<GatewayJournalInput>>,
    pub anchors: Option<Vec<GatewayAnchorInput>>,
    pub unassigned: Option<Vec<UnassignedReaderInput>>,
    pub held_back: Option<i32>,
    pub journal_percent: Option<i32>,
    pub cache_damaged: Option<bool>,
}
