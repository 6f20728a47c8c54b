//! What happened to readers themselves.

use async_graphql::{Context, InputObject, Object, Result};

use super::connection::{DateTimeRange, connection};
use super::context::{Needs, READERS, local};
use super::estate::Reader;
use super::loader;
use crate::scalar::{DateTime, UuidScalar};
use crate::store::entity::{self, ReaderEventKind};
use crate::store::list;
use crate::store::page::List;

/// What happened to a reader itself.
#[derive(Clone)]
pub struct ReaderEvent(pub entity::ReaderEvent);

/// What happened to a reader itself: a fact from its gateway, which changes no mark.
#[Object(guard = "Needs(READERS)")]
impl ReaderEvent {
    /// The gateway's id for it.
    async fn event_id(&self) -> UuidScalar {
        UuidScalar(self.0.id)
    }
    /// The reader.
    async fn reader(&self, ctx: &Context<'_>) -> Result<Option<Reader>> {
        Ok(loader::one(ctx, self.0.reader_id).await?.map(Reader))
    }
    /// What happened.
    async fn kind(&self) -> ReaderEventKind {
        self.0.kind
    }
    /// When, by the gateway's clock.
    async fn at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.at)
    }
    /// Not before.
    async fn earliest_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.earliest_at)
    }
    /// Not after.
    async fn latest_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.latest_at)
    }
    /// More of it, in words.
    async fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }
    /// When the hub heard of it.
    async fn received_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.received_at)
    }
}

connection! {
    /// A page of what happened to readers.
    ReaderEventConnection,
    /// Something that happened and its place.
    ReaderEventEdge, ReaderEvent
}

/// As for StudentFilter.
#[derive(Debug, Clone, Default, InputObject)]
pub struct ReaderEventFilter {
    /// Within this range.
    pub at: Option<DateTimeRange>,
    /// Of one of these kinds.
    pub kinds: Option<Vec<ReaderEventKind>>,
}

/// What happened to a reader, as far as a filter lets it through, by time.
#[must_use]
pub fn event_list(reader: uuid::Uuid, filter: Option<&ReaderEventFilter>) -> List {
    let mut list = list::reader_events().and("e.reader_id = {}", reader);
    let Some(filter) = filter else { return list };
    if let Some(range) = &filter.at {
        if let Some(from) = &range.from {
            list = list.and("e.at >= {}", from.ms());
        }
        if let Some(until) = &range.until {
            list = list.and("e.at < {}", until.ms());
        }
    }
    if let Some(kinds) = &filter.kinds {
        list = list.and_in("e.kind IN ({})", kinds.iter().map(|it| (*it).into()));
    }
    list
}
