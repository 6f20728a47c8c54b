//! What installers saw and heard at doors.

use async_graphql::{Context, Object, Result, SimpleObject};

use super::connection::connection;
use super::context::{GATEWAYS, Needs, READERS, fault, hub, local};
use super::gateway::{Gateway, own_gateway};
use super::loader;
use super::payload::{UserError, user_errors};
use crate::scalar::{DateTime, UuidScalar};
use crate::service::intake::commissioning::{self, CommissioningStep, GatewaySubmitCommissioningInput};
use crate::store::entity;

/// What an installer saw and heard at a door.
#[derive(Clone)]
pub struct Commissioning(pub entity::Commissioning);

/// What an installer saw and heard at a door.
#[Object(guard = "Needs(READERS)")]
impl Commissioning {
    /// Its id, of the installer's tool's making.
    async fn commissioning_id(&self) -> UuidScalar {
        UuidScalar(self.0.id)
    }
    /// Whose reader it is.
    async fn gateway(&self, ctx: &Context<'_>) -> Result<Option<Gateway>> {
        Ok(loader::one(ctx, self.0.gateway_id).await?.map(Gateway))
    }
    /// The reader's code, as in the gateway's configuration.
    async fn reader_code(&self) -> &str {
        &self.0.reader_code
    }
    /// Who stood at the door.
    async fn installer(&self) -> &str {
        &self.0.installer
    }
    /// When, by the gateway's clock.
    async fn at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.at)
    }
    /// Whether every step was seen or heard as it should be.
    async fn passed(&self) -> bool {
        self.0.passed
    }
    /// The reader's firmware, as it said itself.
    async fn firmware(&self) -> Option<&str> {
        self.0.firmware.as_deref()
    }
    /// What was tried, in order.
    async fn steps(&self) -> Vec<CommissioningStep> {
        serde_json::from_str(&self.0.steps).unwrap_or_default()
    }
    /// When the hub heard of it.
    async fn received_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.received_at)
    }
}

connection! {
    /// A page of what installers saw at doors.
    CommissioningConnection,
    /// What an installer saw at a door, and its place.
    CommissioningEdge, Commissioning
}

/// What came of it.
#[derive(SimpleObject)]
pub struct GatewaySubmitCommissioningPayload {
    /// How many doors are kept; 0 when the report was turned down.
    kept: i32,
    /// Why the report was turned down; empty when it was not.
    errors: Vec<UserError>,
}

/// The part of the API that keeps installers' reports.
#[derive(Default)]
pub struct CommissioningWrites;

#[Object]
impl CommissioningWrites {
    /// GATEWAY. Keeps what an installer saw and heard at doors: all of the report or nothing. Sending it again is harmless.
    #[graphql(guard = "Needs(GATEWAYS)")]
    async fn gateway_submit_commissioning(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The report.")] input: GatewaySubmitCommissioningInput,
    ) -> Result<GatewaySubmitCommissioningPayload> {
        let answer = commissioning::submit(hub(ctx)?, own_gateway(ctx)?, &input).await;
        Ok(match answer.map_err(|error| fault(&error))? {
            Ok(kept) => GatewaySubmitCommissioningPayload {
                kept: i32::try_from(kept).unwrap_or(i32::MAX),
                errors: Vec::new(),
            },
            Err(refusals) => GatewaySubmitCommissioningPayload { kept: 0, errors: user_errors(refusals) },
        })
    }
}
