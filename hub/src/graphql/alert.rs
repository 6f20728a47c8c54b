//! Alerts: what a person should look at, raised once for each cause.

use async_graphql::{Context, ID, Object, Result};

use super::connection::connection;
use super::context::{Needs, READERS, local};
use super::gateway::Gateway;
use super::id::Kind;
use super::loader;
use crate::scalar::DateTime;
use crate::store::entity;

/// Something that a person should look at.
#[derive(Clone)]
pub struct Alert(pub entity::Alarm);

/// Something that a person should look at.
#[Object(guard = "Needs(READERS)")]
impl Alert {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Alert.id(self.0.id)
    }
    /// What it is about: SWIPE_CLASH, SWIPE_ELSEWHERE, SWIPE_REJECTED, SWIPES_LOST, SWIPES_REFUSED, JOURNAL_DAMAGED,
    /// JOURNAL_FORKED, READER_UNKNOWN, KEY_CHANGED, BAD_SIGNATURE, RECORDS_MISSING, OUT_OF_STEP, READER_DUPLICATE_ADDRESS,
    /// READER_INSECURE or READER_TAMPER.
    /// More may be added at any time.
    async fn kind(&self) -> &str {
        &self.0.kind
    }
    /// When it was raised.
    async fn raised_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.at)
    }
    /// The gateway that it is about.
    async fn gateway(&self, ctx: &Context<'_>) -> Result<Option<Gateway>> {
        match self.0.gateway_id {
            Some(gateway) => Ok(loader::one(ctx, gateway).await?.map(Gateway)),
            None => Ok(None),
        }
    }
    /// In words, with what to do where something can be done.
    async fn detail(&self) -> &str {
        &self.0.detail
    }
}

connection! {
    /// A page of alerts.
    AlertConnection,
    /// An alert and its place.
    AlertEdge, Alert
}
