//! When doors could not record.

use async_graphql::{Context, InputObject, Object, Result};

use super::connection::{DateTimeRange, connection};
use super::context::{Needs, READERS, local};
use super::estate::Reader;
use super::loader;
use crate::scalar::{DateTime, UuidScalar};
use crate::store::entity::{self, OutageCause};
use crate::store::list;
use crate::store::page::List;

/// A stretch of time in which a door could not record.
#[derive(Clone)]
pub struct GatewayOutage(pub entity::Outage);

/// A stretch of time in which a door could not record. Reported by the gateway; registers of sessions during it may become
/// NO_REGISTER.
#[Object(guard = "Needs(READERS)")]
impl GatewayOutage {
    /// The gateway's id for it.
    async fn outage_id(&self) -> UuidScalar {
        UuidScalar(self.0.id)
    }
    /// The reader; null for all of the gateway's.
    async fn reader(&self, ctx: &Context<'_>) -> Result<Option<Reader>> {
        match self.0.reader_id {
            Some(reader) => Ok(loader::one(ctx, reader).await?.map(Reader)),
            None => Ok(None),
        }
    }
    /// Why.
    async fn cause(&self) -> OutageCause {
        self.0.cause
    }
    /// The last instant that is known to have been good; null where none is, because the gateway is new.
    async fn from(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        Some(self.0.from_at).filter(|at| *at > 0).map(|at| local(ctx, at)).transpose()
    }
    /// The first instant that was good again; null while it lasts.
    async fn until(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.until_at.map(|at| local(ctx, at)).transpose()
    }
    /// When the hub last heard of it.
    async fn received_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.received_at)
    }
}

connection! {
    /// A page of outages.
    GatewayOutageConnection,
    /// An outage and its place.
    GatewayOutageEdge, GatewayOutage
}

/// As for StudentFilter.
#[derive(Debug, Clone, Default, InputObject)]
pub struct GatewayOutageFilter {
    /// In force at some time in this range.
    pub during: Option<DateTimeRange>,
    /// For one of these causes.
    pub causes: Option<Vec<OutageCause>>,
}

/// The outages of a gateway that a filter lets through, by their beginning.
#[must_use]
pub fn outage_list(gateway: uuid::Uuid, filter: Option<&GatewayOutageFilter>) -> List {
    let mut list = list::outages().and("o.gateway_id = {}", gateway);
    let Some(filter) = filter else { return list };
    if let Some(during) = &filter.during {
        if let Some(until) = &during.until {
            list = list.and("o.from_at < {}", until.ms());
        }
        if let Some(from) = &during.from {
            list = list.and("(o.until_at IS NULL OR o.until_at > {})", from.ms());
        }
    }
    if let Some(causes) = &filter.causes {
        list = list.and_in("o.cause IN ({})", causes.iter().map(|it| (*it).into()));
    }
    list
}
