//! What every resolver may ask of its request: the hub, the caller, the loaders; and how faults are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Error, ErrorExtensions, Guard, Result};

use super::loader::Loaders;
use crate::scalar::DateTime;
use crate::service::access::Role;
use crate::service::{Caller, Hub};
use crate::store::StoreError;

/// The hub.
pub fn hub<'a>(ctx: &Context<'a>) -> Result<&'a Hub> {
    ctx.data::<Hub>()
}

/// Who asks.
pub fn caller<'a>(ctx: &Context<'a>) -> Result<&'a Caller> {
    ctx.data::<Caller>()
}

/// The request's loaders.
pub fn loaders<'a>(ctx: &Context<'a>) -> Result<&'a DataLoader<Loaders>> {
    ctx.data::<DataLoader<Loaders>>()
}

/// An instant in the institution's zone.
pub fn local(ctx: &Context<'_>, ms: i64) -> Result<DateTime> {
    Ok(DateTime::new(ms, hub(ctx)?.zone()))
}

/// An error with a stable code in its extensions.
#[must_use]
pub fn coded(code: &'static str, message: impl Into<String>) -> Error {
    Error::new(message.into()).extend_with(|_, extensions| extensions.set("code", code))
}

/// How many rows of lists one answer may hold: each is some hundred bytes in memory until the answer has been sent.
const MAX_ROWS: usize = 500_000;

/// How many rows of lists an answer holds so far; lists within lists multiply them, whatever few different ones are read.
#[derive(Default)]
pub struct Rows(AtomicUsize);

/// Counts rows of a list that an answer is to hold.
///
/// # Errors
/// When these are too many.
pub fn count_rows(ctx: &Context<'_>, more: usize) -> Result<()> {
    let Some(rows) = ctx.data_opt::<Rows>() else { return Ok(()) };
    if rows.0.fetch_add(more, Ordering::Relaxed) + more <= MAX_ROWS {
        return Ok(());
    }
    let message =
        format!("the answer would hold more than {MAX_ROWS} rows: ask for fewer at once, or start an export");
    Err(coded("BAD_USER_INPUT", message))
}

/// The code of what may go another time.
pub const UNAVAILABLE: &str = "UNAVAILABLE";
/// The code of what failed.
pub const INTERNAL: &str = "INTERNAL";

/// A fault of ours: logged here, told without detail.
#[must_use]
pub fn fault(error: &StoreError) -> Error {
    tracing::error!("a request failed: {error}");
    // One that may go another time is told apart from what would go wrong again: a gateway waits for the one, and goes on without
    // the record that brings the other about.
    let (code, told) = match error {
        StoreError::Unknown(_) => (
            UNAVAILABLE,
            "the hub was cut off from its database while it committed: whether this took effect is not known. Look before \
             you ask for it again; swipes are safe to hand over again",
        ),
        StoreError::Again(_) => (
            UNAVAILABLE,
            "the hub's database was busy, or not to be reached, for half a minute: an import may be writing. Nothing was \
             changed; try again",
        ),
        StoreError::Full(_) => (
            UNAVAILABLE,
            "the disk of the hub's database is full. Nothing was changed; have room made, then try again",
        ),
        _ => (INTERNAL, "the hub failed; its log says why. Nothing was changed; try again"),
    };
    coded(code, told)
}

/// A fault that a loader met, shared by all who waited for it.
#[must_use]
pub fn shared_fault(error: Arc<StoreError>) -> Error {
    fault(&error)
}

/// Lets those in who hold one of some roles. Stands on whole types too: a gateway may look at its own estate,
/// and no path from there may lead to people.
pub struct Needs(pub &'static [Role]);

/// Who may read everything.
pub const READERS: &[Role] = &[Role::Administrator, Role::Integration];
/// Who may write estate, people and timetable.
pub const WRITERS: &[Role] = &[Role::Administrator, Role::Integration];
/// Who may decide what only people decide.
pub const DECIDERS: &[Role] = &[Role::Administrator];
/// Who speaks for a gateway.
pub const GATEWAYS: &[Role] = &[Role::Gateway];

#[async_trait::async_trait]
impl Guard for Needs {
    async fn check(&self, ctx: &Context<'_>) -> Result<()> {
        let caller = ctx.data_opt::<Caller>();
        if caller.is_some_and(|caller| caller.has(self.0)) {
            return Ok(());
        }
        let words: Vec<&str> = self.0.iter().map(|role| role.word()).collect();
        let message = format!("this takes a token with the role {}", words.join(" or "));
        Err(coded("FORBIDDEN", message))
    }
}

/// A member of an enumeration as the API writes it.
pub fn word(member: impl async_graphql::InputType) -> String {
    match member.to_value() {
        async_graphql::Value::Enum(name) => name.to_string(),
        other => other.to_string(),
    }
}
