//! Calendars that the hub fetches by itself.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};

use super::connection::{self, connection, page};
use super::context::{Needs, READERS, WRITERS, caller, fault, hub, local};
use super::id::Kind;
use super::import::{CalendarImportInput, Import};
use super::loader;
use super::payload::{UserError, user_errors};
use crate::scalar::{DateTime, Duration};
use crate::service::sources::{self, SaveSource};
use crate::store::entity::{self, ImportJob, ImportState};
use crate::store::list;

/// A calendar that the hub fetches by itself, and imports when it is another than before.
#[derive(Clone)]
pub struct CalendarSource(pub entity::CalendarSource);

/// A calendar that the hub fetches by itself, and imports when it is another than before.
#[Object(guard = "Needs(READERS)")]
impl CalendarSource {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::CalendarSource.id(self.0.id)
    }
    /// Where it is.
    async fn url(&self) -> &str {
        &self.0.url
    }
    /// Under which name its imports are known.
    async fn source(&self) -> &str {
        &self.0.source
    }
    /// How long after one look the next comes.
    async fn every(&self) -> Duration {
        Duration(self.0.every_ms)
    }
    /// Whether it is fetched.
    async fn enabled(&self) -> bool {
        self.0.enabled
    }
    /// Whether its next import may take away more than a tenth of what it named before.
    async fn accept_removals(&self) -> bool {
        self.0.accept_removals
    }
    /// The name of whoever saved it last; imports are made in their name.
    async fn created_by(&self) -> &str {
        &self.0.created_by
    }
    /// When it was last there; null while it never was.
    async fn fetched_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.fetched_at.map(|at| local(ctx, at)).transpose()
    }
    /// Since when it cannot be fetched; null while it can.
    async fn failing_since(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.failing_since.map(|at| local(ctx, at)).transpose()
    }
    /// Why it cannot be fetched, or what was fetched is not imported, and what to do.
    async fn last_error(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let import = match (&self.0.last_error, self.0.import_id) {
            (None, Some(id)) => loader::one::<ImportJob>(ctx, id).await?,
            _ => None,
        };
        let stands = import.filter(|it| matches!(it.state, ImportState::Refused | ImportState::Failed));
        Ok(self.0.last_error.clone().or_else(|| {
            stands.map(|it| {
                format!(
                    "its last import is {}: nothing of it was taken over; 'import' says why. Where too much would go and that is \
                     meant, save the calendar with acceptRemovals: its next import may do it, and only that",
                    it.state.word()
                )
            })
        }))
    }
    /// The last import of it.
    async fn import(&self, ctx: &Context<'_>) -> Result<Option<Import>> {
        match self.0.import_id {
            Some(id) => Ok(loader::one(ctx, id).await?.map(Import)),
            None => Ok(None),
        }
    }
}

connection! {
    /// A page of calendars.
    CalendarSourceConnection,
    /// A calendar and its place.
    CalendarSourceEdge, CalendarSource
}

/// The part of the API that tells of calendars that are fetched.
#[derive(Default)]
pub struct CalendarSources;

#[Object]
impl CalendarSources {
    /// Calendars that the hub fetches, by source.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn calendar_sources(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
    ) -> Result<CalendarSourceConnection> {
        let list = list::calendar_sources();
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(CalendarSourceConnection::new(paged, total, CalendarSource))
    }
}

/// A calendar to fetch, new when `id` is null.
#[derive(InputObject)]
pub struct CalendarSourceInput {
    /// Which.
    id: Option<ID>,
    /// Where it is: https, and no private address unless the hub was started with --allow-private-addresses.
    url: String,
    /// Under which name its imports are known; each calendar has its own.
    source: String,
    /// What the calendar does not say.
    calendar: Option<CalendarImportInput>,
    /// How long after one look the next comes: PT1M to P7D.
    #[graphql(default_with = "Duration(900_000)")]
    every: Duration,
    /// Whether it is fetched.
    #[graphql(default = true)]
    enabled: bool,
    /// Let its next import, which begins at once, take away more than a tenth of what the calendar named before. Those after it
    /// may not.
    #[graphql(default = false)]
    accept_removals: bool,
}

/// A calendar to fetch no more.
#[derive(InputObject)]
pub struct DeleteCalendarSourceInput {
    /// The calendar.
    id: ID,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct SaveCalendarSourcePayload {
    /// The calendar, which is looked at at once.
    calendar_source: Option<CalendarSource>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct DeleteCalendarSourcePayload {
    /// What is gone. The sessions that it brought stay.
    deleted_id: Option<ID>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// The part of the API that sets calendars up.
#[derive(Default)]
pub struct CalendarSourceWrites;

/// The calendar that an id names; of another kind, one that is not there.
fn named(id: &ID) -> uuid::Uuid {
    Kind::CalendarSource.named(id).unwrap_or_default()
}

#[Object]
impl CalendarSourceWrites {
    /// Has the hub fetch a calendar again and again, and import it whenever it is another. An import that would take away
    /// more than a tenth is refused, as everywhere; saved once more with `acceptRemovals` it is let through, once.
    #[graphql(guard = "Needs(WRITERS)")]
    async fn save_calendar_source(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The calendar.")] input: CalendarSourceInput,
    ) -> Result<SaveCalendarSourcePayload> {
        let asked = SaveSource {
            id: input.id.as_ref().map(named),
            url: input.url,
            source: input.source,
            recipe: input.calendar.unwrap_or_default().recipe(),
            every_ms: input.every.0,
            enabled: input.enabled,
            accept_removals: input.accept_removals,
        };
        let saved = sources::save(hub(ctx)?, caller(ctx)?, &asked).await.map_err(|error| fault(&error))?;
        Ok(match saved {
            Ok(saved) => {
                SaveCalendarSourcePayload { calendar_source: Some(CalendarSource(saved)), errors: Vec::new() }
            }
            Err(refusals) => {
                SaveCalendarSourcePayload { calendar_source: None, errors: user_errors(refusals) }
            }
        })
    }

    /// Has the hub fetch a calendar no more.
    #[graphql(guard = "Needs(WRITERS)")]
    async fn delete_calendar_source(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The calendar.")] input: DeleteCalendarSourceInput,
    ) -> Result<DeleteCalendarSourcePayload> {
        let gone = sources::delete(hub(ctx)?, named(&input.id)).await.map_err(|error| fault(&error))?;
        Ok(match gone {
            Ok(id) => DeleteCalendarSourcePayload {
                deleted_id: Some(Kind::CalendarSource.id(id)),
                errors: Vec::new(),
            },
            Err(refusals) => DeleteCalendarSourcePayload { deleted_id: None, errors: user_errors(refusals) },
        })
    }
}
