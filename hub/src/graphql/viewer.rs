//! Who is asking, and what answers.

use async_graphql::{Context, Enum, Object, Result, SimpleObject};
use sha2::{Digest, Sha256};

use super::context::{caller, hub, local};
use super::{MAX_COMPLEXITY, MAX_DEPTH};
use crate::scalar::DateTime;
use crate::service::access::Role;
use crate::service::intake::MAX_BATCH;

/// Kinds of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum AuthenticationMethod {
    /// A bearer token.
    ApiToken,
}

/// The caller.
#[derive(SimpleObject)]
pub struct Viewer {
    /// Name to show.
    display_name: String,
    /// How the caller proved who they are.
    authenticated_by: AuthenticationMethod,
    /// What the caller may do.
    roles: Vec<Role>,
    /// When the credential ends; null when it does not.
    expires_at: Option<DateTime>,
}

/// The hub.
#[derive(SimpleObject)]
#[graphql(name = "Hub")]
pub struct HubInfo {
    /// Its version.
    version: String,
    /// SHA-256 of the schema that it serves.
    schema_hash: String,
    /// Its clock.
    now: DateTime,
    /// The institution's time zone, by its IANA name.
    time_zone: String,
    /// Limits that it enforces.
    limits: HubLimits,
}

/// Limits.
#[derive(SimpleObject)]
pub struct HubLimits {
    /// How deep a query may nest.
    max_depth: i32,
    /// How many fields a query may ask for.
    max_complexity: i32,
    /// How many rows one page holds at the most.
    max_page_size: i32,
    /// How many swipes one batch holds at the most.
    max_batch: i32,
}

/// The part of the API that every caller may use.
#[derive(Default)]
pub struct Myself;

#[Object]
impl Myself {
    /// The caller; null when nobody is signed in.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Option<Viewer>> {
        let Ok(caller) = caller(ctx) else { return Ok(None) };
        Ok(Some(Viewer {
            display_name: caller.name.clone(),
            authenticated_by: AuthenticationMethod::ApiToken,
            roles: caller.roles.iter().copied().collect(),
            expires_at: caller.expires_at.map(|at| local(ctx, at)).transpose()?,
        }))
    }

    /// The hub's build, schema and clock.
    async fn hub(&self, ctx: &Context<'_>) -> Result<HubInfo> {
        let hub = hub(ctx)?;
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        Ok(HubInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_hash: crate::service::feed::to_hex(&Sha256::digest(super::sdl().as_bytes())),
            now: local(ctx, hub.now().0)?,
            time_zone: hub.zone().iana_name().unwrap_or("UTC").to_owned(),
            limits: HubLimits {
                max_depth: count(MAX_DEPTH),
                max_complexity: count(MAX_COMPLEXITY),
                max_page_size: count(super::connection::MAX_PAGE),
                max_batch: count(MAX_BATCH),
            },
        })
    }
}
