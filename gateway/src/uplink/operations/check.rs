//! What `rollcall-gateway check` asks: who the token speaks for, and which readers the hub knows of.

use super::schema;

/// How a reader talks, by the hub's word.
#[derive(cynic::Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[cynic(schema = "hub", graphql_type = "ReaderKind")]
#[expect(missing_docs, reason = "schema.graphql says what each value means")]
pub enum ReaderKind {
    Ascii,
    Mqtt,
    Osdp,
}

/// A reader, as the hub has it.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub", graphql_type = "GatewayReaderConfig")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct KnownReader {
    pub code: String,
    pub kind: ReaderKind,
    pub enabled: bool,
    pub room_id: Option<uuid::Uuid>,
}

/// The readers.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub", graphql_type = "GatewayConfig")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct KnownReaders {
    pub readers: Vec<KnownReader>,
}

/// The gateway's name.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub", graphql_type = "Gateway")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewayName {
    pub code: String,
}

/// The gateway that asks.
#[derive(cynic::QueryFragment, Debug, Clone)]
#[cynic(schema = "hub", graphql_type = "GatewaySelf")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct Me {
    pub gateway: GatewayName,
    pub config: KnownReaders,
}

/// The question.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "Query")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct WhoAmI {
    pub gateway_self: Option<Me>,
}
