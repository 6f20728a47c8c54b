//! Who asks: the bearer token of a request or of a socket's first message.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::service::access;
use crate::service::{Caller, Hub};
use crate::store::StoreError;

/// Why a request is not let in.
#[derive(Debug)]
pub enum Refused {
    /// It showed no token.
    Missing,
    /// The token is unknown, over or taken back.
    Unknown,
    /// The store failed.
    Fault(StoreError),
}

impl Refused {
    /// What to tell the caller.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Missing => {
                "this takes a token: send 'Authorization: Bearer …'; 'rollcall-hub token create' makes one"
            }
            Self::Unknown => "this token is unknown, over, or was taken back",
            Self::Fault(_) => "the hub failed; its log says why",
        }
    }
}

/// The token in a header.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Who shows this token.
///
/// # Errors
/// Why nobody does.
pub async fn caller(hub: &Hub, token: Option<&str>) -> Result<Caller, Refused> {
    let token = token.ok_or(Refused::Missing)?;
    match access::authenticate(hub, token).await {
        Ok(Some(caller)) => Ok(caller),
        Ok(None) => Err(Refused::Unknown),
        Err(error) => {
            tracing::error!("a token could not be looked up: {error}");
            Err(Refused::Fault(error))
        }
    }
}
