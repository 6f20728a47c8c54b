//! What `rollcall-gateway walk` sends: what an installer saw and heard at doors.

use super::{DateTime, UserError, schema};

/// What was tried.
#[derive(cynic::Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each value means")]
pub enum CommissioningStepKind {
    Amber,
    Blue,
    Buzzer,
    Card,
    Green,
    Red,
}

/// What came of it.
#[derive(cynic::Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each value means")]
pub enum CommissioningResult {
    Failed,
    Passed,
    Skipped,
}

/// One step.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct CommissioningStepInput {
    pub step: CommissioningStepKind,
    pub result: CommissioningResult,
    pub note: Option<String>,
}

/// One door.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct DoorCommissioningInput {
    pub commissioning_id: uuid::Uuid,
    pub reader: String,
    pub at: DateTime,
    pub firmware: Option<String>,
    pub steps: Vec<CommissioningStepInput>,
}

/// A report.
#[derive(cynic::InputObject, Debug, Clone)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewaySubmitCommissioningInput {
    pub installer: String,
    pub doors: Vec<DoorCommissioningInput>,
}

/// Variables of [`SubmitCommissioning`].
#[derive(cynic::QueryVariables, Debug, Clone)]
#[cynic(schema_module = "schema")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct SubmitCommissioningVariables {
    pub input: GatewaySubmitCommissioningInput,
}

/// The answer.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct GatewaySubmitCommissioningPayload {
    pub kept: i32,
    pub errors: Vec<UserError>,
}

/// Hands a report over.
#[derive(cynic::QueryFragment, Debug)]
#[cynic(schema = "hub", graphql_type = "Mutation", variables = "SubmitCommissioningVariables")]
#[expect(missing_docs, reason = "schema.graphql says what each field means")]
pub struct SubmitCommissioning {
    #[arguments(input: $input)]
    pub gateway_submit_commissioning: GatewaySubmitCommissioningPayload,
}
