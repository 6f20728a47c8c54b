//! Calendars to subscribe to: where they are, and how their addresses are voided.

use async_graphql::{Context, Object, Result, SimpleObject};

use super::context::{DECIDERS, Needs, fault, hub};
use super::id::Kind;
use super::loader;
use super::payload::UserError;
use crate::service::calendars::{self, Whose};

/// Where a calendar is, below the hub's address.
pub(super) async fn calendar_path(ctx: &Context<'_>, kind: Kind, whose: Whose) -> Result<String> {
    let (Whose::Room(id) | Whose::Student(id)) = whose;
    let key = loader::calendar_secret(ctx).await?.key(whose).map_err(|error| fault(&error))?;
    Ok(format!("/calendars/{}/{key}.ics", kind.id(id).as_str()))
}

/// What came of it.
#[derive(SimpleObject)]
pub struct RenewCalendarPathsPayload {
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// The part of the API that voids calendars' addresses.
#[derive(Default)]
pub struct CalendarWrites;

#[Object]
impl CalendarWrites {
    /// Voids every calendar address that was given out: whoever subscribed to one needs its new `calendarPath`.
    #[graphql(guard = "Needs(DECIDERS)")]
    async fn renew_calendar_paths(&self, ctx: &Context<'_>) -> Result<RenewCalendarPathsPayload> {
        calendars::renew(hub(ctx)?).await.map_err(|error| fault(&error))?;
        Ok(RenewCalendarPathsPayload { errors: Vec::new() })
    }
}
