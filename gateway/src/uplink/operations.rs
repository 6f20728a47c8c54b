//! What the gateway asks of the hub, compiled against `schema.graphql`: what the hub would refuse does not build.

use serde::{Deserialize, Serialize};

/// The hub's schema, as markers that the operations are checked against.
#[expect(unreachable_pub, reason = "made from schema.graphql, which says what each thing means")]
#[cynic::schema("hub")]
mod schema {}

pub mod check;
pub mod commissioning;
mod inputs;
mod words;
pub use inputs::*;
pub use words::*;

cynic::impl_scalar!(DateTime, schema::DateTime);
cynic::impl_scalar!(Duration, schema::Duration);
cynic::impl_scalar!(uuid::Uuid, schema::UUID);
cynic::impl_scalar!(Counter, schema::Counter);

/// An instant on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime(pub i64);

impl Serialize for DateTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = jiff::Timestamp::from_millisecond(self.0).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&format_args!("{at:.3}"))
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(at.as_millisecond()))
    }
}

/// A duration on the wire, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration(pub i64);

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&jiff::SignedDuration::from_millis(self.0))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration: jiff::SignedDuration = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(i64::try_from(duration.as_millis()).map_err(serde::de::Error::custom)?))
    }
}

/// A counter on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter(pub u64);

/// How far a journal is handed over, by what the hub has.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayHandedOver {
    pub journal_id: uuid::Uuid,
    pub through: Counter,
    pub chain: String,
}

/// A refusal's words.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct InputError {
    pub message: String,
}

/// A receipt.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct SwipeReceipt {
    pub swipe_id: uuid::Uuid,
    pub outcome: ReceiptOutcome,
    pub error: Option<InputError>,
}

/// What became of a batch.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewaySubmitSwipesPayload {
    pub receipts: Vec<SwipeReceipt>,
    pub committed_at: DateTime,
    pub handed_over: Vec<GatewayHandedOver>,
    pub renew_journal: bool,
    pub in_step: bool,
    pub last_taken: Option<uuid::Uuid>,
    pub errors: Vec<UserError>,
}

/// The answer to a heartbeat.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayHeartbeatPayload {
    pub received_at: DateTime,
    pub latest_cursor: String,
    pub handed_over: Vec<GatewayHandedOver>,
    pub in_step: bool,
    pub last_taken: Option<uuid::Uuid>,
    pub errors: Vec<UserError>,
}

/// A room of a session.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewaySessionRoom {
    pub room_id: uuid::Uuid,
    pub from: Option<DateTime>,
    pub until: Option<DateTime>,
}

/// A session.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewaySession {
    pub session_id: uuid::Uuid,
    pub starts_at: DateTime,
    pub ends_at: DateTime,
    pub cancelled: bool,
    pub rooms: Vec<GatewaySessionRoom>,
    pub group_ids: Vec<uuid::Uuid>,
    pub opens_before: Duration,
    pub closes_after: Duration,
    pub overlap: OverlapRule,
}

/// A stay in a group.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayGroupMembership {
    pub membership_id: uuid::Uuid,
    pub group_id: uuid::Uuid,
    pub holder: uuid::Uuid,
    pub from: DateTime,
    pub until: Option<DateTime>,
}

/// A card.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayCard {
    pub card_id: uuid::Uuid,
    pub keys: Vec<String>,
    pub holder: uuid::Uuid,
    pub from: DateTime,
    pub until: Option<DateTime>,
}

/// A reader's settings.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayReaderConfig {
    pub reader_id: uuid::Uuid,
    pub code: String,
    pub room_id: Option<uuid::Uuid>,
    pub enabled: bool,
}

/// How the hub wants the gateway to behave.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayConfig {
    pub card_key_epoch: i32,
    pub card_key_secret: String,
    pub heartbeat_every: Duration,
    pub max_batch: i32,
    pub readers: Vec<GatewayReaderConfig>,
}

/// One change.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayFeedEvent {
    pub cursor: String,
    pub kind: GatewayFeedKind,
    pub item: Option<GatewayItem>,
    pub removed_id: Option<uuid::Uuid>,
    pub config: Option<GatewayConfig>,
}

/// A page of the slice.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewaySnapshotPage {
    pub cursor: String,
    pub items: Vec<GatewayItem>,
    pub has_next_page: bool,
    pub end_cursor: Option<String>,
}

/// A page of changes.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayChangesPage {
    pub events: Vec<GatewayFeedEvent>,
    pub has_next_page: bool,
    pub cursor: String,
    pub reset_required: bool,
}

/// Why a write was turned down.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct UserError {
    pub message: String,
}

/// What the slice is made of.
#[derive(cynic::InlineFragments, Debug, Clone)]
#[cynic(schema = "hub")]
pub enum GatewayItem {
    /// A session.
    GatewaySession(GatewaySession),
    /// A stay in a group.
    GatewayGroupMembership(GatewayGroupMembership),
    /// A card.
    GatewayCard(GatewayCard),
    /// Something that this program does not know yet.
    #[cynic(fallback)]
    Unknown,
}

/// Variables of [`SubmitSwipes`].
#[derive(cynic::QueryVariables, Debug, Clone)]
#[cynic(schema_module = "schema")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct SubmitVariables {
    pub input: GatewaySubmitSwipesInput,
}

/// Hands swipes over.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "Mutation", variables = "SubmitVariables")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct SubmitSwipes {
    #[arguments(input: $input)]
    pub gateway_submit_swipes: GatewaySubmitSwipesPayload,
}

/// Variables of [`Heartbeat`].
#[derive(cynic::QueryVariables, Debug, Clone)]
#[cynic(schema_module = "schema")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct HeartbeatVariables {
    pub input: GatewayHeartbeatInput,
}

/// Says how the gateway is.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "Mutation", variables = "HeartbeatVariables")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct Heartbeat {
    #[arguments(input: $input)]
    pub gateway_heartbeat: GatewayHeartbeatPayload,
}

/// Variables of [`Snapshot`].
#[derive(cynic::QueryVariables, Debug, Clone)]
#[cynic(schema_module = "schema")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct SnapshotVariables {
    pub first: i32,
    pub after: Option<String>,
}

/// A page of the slice, with the configuration.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "Query", variables = "SnapshotVariables")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct Snapshot {
    pub gateway_self: Option<SnapshotSelf>,
}

/// The gateway's corner, for a snapshot.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "GatewaySelf", variables = "SnapshotVariables")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct SnapshotSelf {
    pub config: GatewayConfig,
    #[arguments(first: $first, after: $after)]
    pub snapshot: GatewaySnapshotPage,
}

/// Variables of [`Changes`].
#[derive(cynic::QueryVariables, Debug, Clone)]
#[cynic(schema_module = "schema")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct ChangesVariables {
    pub after: String,
    pub first: i32,
}

/// A page of changes.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "Query", variables = "ChangesVariables")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct Changes {
    pub gateway_self: Option<ChangesSelf>,
}

/// The gateway's corner, for changes.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "GatewaySelf", variables = "ChangesVariables")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct ChangesSelf {
    #[arguments(after: $after, first: $first)]
    pub changes: GatewayChangesPage,
}

/// Variables of [`Feed`].
#[derive(cynic::QueryVariables, Debug, Clone)]
#[cynic(schema_module = "schema")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct FeedVariables {
    pub after: Option<String>,
}

/// The feed.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "Subscription", variables = "FeedVariables")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct Feed {
    #[arguments(after: $after)]
    pub gateway_feed: GatewayFeedEvent,
}
