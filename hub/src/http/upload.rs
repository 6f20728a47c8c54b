//! `POST /uploads?name=FILE`: files for imports, as the request's whole body.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::Shared;
use super::request::let_in;
use super::response::{Media, refusal};
use crate::graphql::context::WRITERS;
use crate::graphql::id::Kind;
use crate::import::MAX_FILE_BYTES;
use crate::service::refusal::Code;
use crate::service::upload::begin;
use crate::store::StoreError;

/// A piece of a file comes within this, or whoever sends it has gone.
const PIECE_WITHIN: Duration = Duration::from_secs(60);

/// Takes a file in.
pub async fn post(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let query = query.unwrap_or_default();
    let name = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "name");
    match take(&shared, name.map_or("".into(), |(_, name)| name).as_ref(), &headers, body).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!("a file could not be taken in: {error}");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the hub failed; its log says why")
        }
    }
}

async fn take(shared: &Shared, name: &str, headers: &HeaderMap, body: Body) -> Result<Response, StoreError> {
    let caller = match let_in(&shared.hub.at_once(), headers, Media::Json).await {
        Ok(caller) => caller,
        Err(response) => return Ok(response),
    };
    if !caller.has(WRITERS) {
        let message = "this takes a token with the role ADMINISTRATOR or INTEGRATION";
        return Ok(refuse(StatusCode::FORBIDDEN, "FORBIDDEN", message));
    }
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > MAX_FILE_BYTES) {
        return Ok(too_large());
    }
    let mut incoming = match begin(&shared.hub, name).await? {
        Ok(incoming) => incoming,
        Err(refusals) => {
            let full = refusals.iter().any(|refusal| refusal.code == Code::WrongState);
            let (status, code) = match full {
                true => (StatusCode::INSUFFICIENT_STORAGE, "TOO_MANY_UPLOADS"),
                false => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
            };
            let words: Vec<String> = refusals
                .into_iter()
                .map(|refusal| match refusal.path.concat() {
                    path if path.is_empty() => refusal.message,
                    path => format!("'{path}' {}: POST /uploads?name=FILE", refusal.message),
                })
                .collect();
            return Ok(refuse(status, code, &words.join("; ")));
        }
    };
    let mut pieces = body.into_data_stream();
    loop {
        // Whoever sends nothing any more has gone, and may not have said so.
        let Ok(piece) = tokio::time::timeout(PIECE_WITHIN, pieces.next()).await else {
            incoming.forget().await?;
            let message = "nothing of the file came for a minute; send it again";
            return Ok(refuse(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message));
        };
        let Some(piece) = piece else { break };
        let Ok(piece) = piece else {
            incoming.forget().await?;
            let message = "the file broke off; send it again";
            return Ok(refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST", message));
        };
        if !incoming.add(&piece).await? {
            return Ok(if incoming.is_crowded_out() { crowded_out() } else { too_large() });
        }
    }
    let Some(upload) = incoming.finish().await? else { return Ok(crowded_out()) };
    let body = json!({"uploadId": Kind::Upload.id(upload.id), "name": upload.name, "size": upload.size});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    refusal(status, Media::Json, code, message)
}

fn crowded_out() -> Response {
    let message = "too many files come at once; send it again when the others are imported";
    refuse(StatusCode::INSUFFICIENT_STORAGE, "TOO_MANY_UPLOADS", message)
}

fn too_large() -> Response {
    let message = format!("a file may have {} MiB at the most; split it", MAX_FILE_BYTES / 1024 / 1024);
    refuse(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", &message)
}
