//! `GET /calendars/ID/KEY.ics`: a calendar to subscribe to. Takes no token; the key in the address stands for one.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};

use super::Shared;
use super::response::{Media, refusal};
use crate::graphql::id::Kind;
use crate::service::calendars::{self, Whose};

/// Gives a calendar out.
pub async fn get(
    State(shared): State<Shared>,
    Path((id, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let whose = match Kind::of(&id) {
        Some((Kind::Room, id)) => Some(Whose::Room(id)),
        Some((Kind::Student, id)) => Some(Whose::Student(id)),
        _ => None,
    };
    let found = match whose.zip(file.strip_suffix(".ics")) {
        Some((whose, key)) => calendars::read(&shared.hub, whose, key).await,
        None => Ok(None),
    };
    let calendar = match found {
        Ok(Some(calendar)) => calendar,
        Ok(None) => {
            // Whether the calendar or the key is wrong is nobody's business.
            let message =
                "there is no calendar at this address: it was renewed, or is not whole. Ask for it again";
            return refusal(StatusCode::NOT_FOUND, Media::Json, "NOT_FOUND", message);
        }
        Err(error) => {
            tracing::error!("a calendar could not be given out: {error}");
            let message = "the hub failed; its log says why";
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, Media::Json, "INTERNAL", message);
        }
    };
    let version = format!("\"{}\"", calendar.version);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let same = known.flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one.trim_start_matches("W/") == version || one == "*"
    });
    let mut response =
        Response::builder().header(ETAG, version).header(CACHE_CONTROL, "private, max-age=300");
    let body = if same {
        response = response.status(StatusCode::NOT_MODIFIED);
        Body::empty()
    } else {
        response = response.header(CONTENT_TYPE, "text/calendar; charset=utf-8");
        Body::from(calendar.text)
    };
    response.body(body).unwrap_or_default()
}
