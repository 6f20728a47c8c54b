//! Whether the hub works, for load balancers and watchdogs. Says nothing else, and asks for no token.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use super::Shared;

/// 200 when the database answers, else 503.
pub async fn health(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let works = async {
        let mut tx = shared.hub.at_once().read().await?;
        tx.fetch_one("SELECT 1", Vec::new()).await
    };
    match works.await {
        Ok(_) => (StatusCode::OK, Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))),
        Err(error) => {
            tracing::error!("the database does not answer: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "database does not answer"})))
        }
    }
}
