//! HTTP: GraphQL at `/graphql` (requests and socket), files at `/uploads`, `/exports` and `/calendars`, `/health`, and pages to try queries on where asked for.
//!
//! Called by `app`. Knows headers, status codes and frames; what a query means is `graphql`'s business.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use self::documents::Documents;
use self::graphiql::Graphiql;
use crate::graphql::HubSchema;
use crate::graphql::context::GATEWAYS;
use crate::service::{Caller, Hub};

pub mod auth;
pub mod calendar;
pub mod console;
pub mod documents;
pub mod export;
pub mod graphiql;
pub mod health;
pub mod request;
pub mod response;
pub mod socket;
pub mod upload;

/// The largest request body: a bulk of 10,000 things fits.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// What every handler needs.
#[derive(Clone)]
pub struct Shared {
    /// The hub.
    pub hub: Hub,
    /// Its schema.
    pub schema: HubSchema,
    /// Queries that were asked before.
    pub documents: Documents,
}

impl Shared {
    /// The hub as it serves somebody: a gateway waits behind no report.
    fn hub_for(&self, caller: &Caller) -> Hub {
        if caller.has(GATEWAYS) { self.hub.at_once() } else { self.hub.clone() }
    }
}

/// The hub's routes.
pub fn router(shared: Shared, console: bool, graphiql: Option<Graphiql>) -> Router {
    let mut router = Router::new()
        .route("/graphql", get(request::get_or_socket).post(request::post))
        .route("/uploads", post(upload::post))
        .route("/exports/{id}", get(export::get))
        .route("/calendars/{id}/{file}", get(calendar::get))
        .route("/health", get(health::health));
    if console {
        router = router.route("/console", get(console::page));
    }
    if let Some(graphiql) = graphiql {
        router = router.merge(graphiql.routes());
    }
    router.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(shared)
}
