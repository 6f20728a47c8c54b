//! Requests of GraphQL over HTTP: POST with JSON, GET for queries only (GraphQL-over-HTTP specification,
//! section 5).

use std::time::{Duration, Instant};

use async_graphql::parser::types::{DocumentOperations, OperationType};
use async_graphql::{Request, Value, Variables};
use axum::body::Bytes;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequest, FromRequestParts, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use super::auth::{Refused, bearer, caller};
use super::response::{Media, executed, refusal};
use super::{Shared, socket};
use crate::graphql::batch;
use crate::graphql::context::{INTERNAL, UNAVAILABLE};
use crate::service::{Caller, Hub};
use crate::store::StoreError;

/// Of how many bytes a body is read before it is known who sends it.
const ANYBODYS_BODY: usize = 64 * 1024;
/// So long one may wait for a turn that should be there at once.
const TURN_WITHIN: Duration = Duration::from_millis(500);
/// How long a body may be on its way.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// A token that was looked up so short a time ago holds.
const JUST_NOW: Duration = Duration::from_millis(250);
/// A NUL character as JSON writes it.
const NUL: &[u8] = br"\u0000";

/// A request before it is carried out, or why it is none.
type Parsed = Result<Request, String>;

/// Carries out a POST.
pub async fn post(State(shared): State<Shared>, request: axum::extract::Request) -> Response {
    let headers = request.headers().clone();
    let Some(media) = Media::accepted(&headers) else { return not_acceptable() };
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let mut let_in_at = None;
    if length.is_none_or(|bytes| bytes > ANYBODYS_BODY) {
        match let_in(&shared.hub.at_once(), &headers, media).await {
            Ok(caller) => let_in_at = Some((Instant::now(), caller)),
            Err(response) => return response,
        }
    }
    let body = match timeout(BODY_WITHIN, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejected)) => return rejected.into_response(),
        Err(_) => {
            let message = "the request did not come within a minute";
            return refusal(StatusCode::REQUEST_TIMEOUT, media, "REQUEST_TIMEOUT", message);
        }
    };
    let known = match let_in_at {
        // What came at once comes from whoever was let in just now.
        Some((at, caller)) if at.elapsed() < JUST_NOW => Known { caller, pinned: None },
        _ => match Known::look(&shared, &headers, media).await {
            Ok(known) => known,
            Err(response) => return response,
        },
    };
    if !is_json(&headers) {
        let message = "the body must be JSON: send 'Content-Type: application/json'";
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, media, "UNSUPPORTED_MEDIA_TYPE", message);
    }
    match from_json(&body) {
        Ok(mut request) => {
            shared.documents.read(&mut request);
            execute(&shared, known, request, media).await
        }
        Err(message) => refusal(StatusCode::BAD_REQUEST, media, "BAD_REQUEST", &message),
    }
}

/// Carries out a GET, or opens a socket where the caller asks for one.
pub async fn get_or_socket(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    request: axum::extract::Request,
) -> Response {
    let (mut parts, _) = request.into_parts();
    if let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &shared).await {
        let token = bearer(&parts.headers).map(str::to_owned);
        return socket::open(upgrade, shared, token);
    }
    let headers = parts.headers;
    let Some(media) = Media::accepted(&headers) else { return not_acceptable() };
    let known = match Known::look(&shared, &headers, media).await {
        Ok(known) => known,
        Err(response) => return response,
    };
    let mut request = match from_query(query.as_deref().unwrap_or("")) {
        Ok(request) => request,
        Err(message) => return refusal(StatusCode::BAD_REQUEST, media, "BAD_REQUEST", &message),
    };
    if !only_reads(&mut request) {
        let message = "a GET may only read: send mutations by POST, subscriptions over the socket";
        let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, media, "METHOD_NOT_ALLOWED", message);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    execute(&shared, known, request, media).await
}

/// Who asks, and the state of the database in which their token held; none where it was looked up ahead of others' turn.
struct Known {
    caller: Caller,
    pinned: Option<Hub>,
}

impl Known {
    /// Who asks, or what to answer instead. Who writes, and a gateway, must not have to wait until others have read.
    async fn look(shared: &Shared, headers: &HeaderMap, media: Media) -> Result<Self, Response> {
        // One that waits for its turn all the same, because another took the place that was free, looks again at once.
        if !shared.hub.is_crowded() {
            let pinned = shared.hub.pinned();
            let looked = timeout(TURN_WITHIN, let_in(&pinned, headers, media)).await;
            if let Ok(caller) = looked {
                return Ok(Self { caller: caller?, pinned: Some(pinned) });
            }
        }
        let caller = let_in(&shared.hub.at_once(), headers, media).await?;
        Ok(Self { caller, pinned: None })
    }
}

/// Carries it out: what only reads sees one state of the database throughout, the one in which its token held if that can be.
async fn execute(shared: &Shared, known: Known, mut request: Request, media: Media) -> Response {
    let Known { caller, pinned } = known;
    let hub = if only_reads(&mut request) {
        pinned.unwrap_or_else(|| shared.hub_for(&caller).pinned())
    } else {
        // What writes is not to hold a reader besides; and what was written is told of at once.
        drop(pinned);
        shared.hub.at_once()
    };
    let request = request.data(caller).data(shared.schema.clone());
    executed(&batch::execute(&shared.schema, request, hub).await, media)
}

/// Who asks, or what to answer instead.
pub async fn let_in(hub: &Hub, headers: &HeaderMap, media: Media) -> Result<Caller, Response> {
    caller(hub, bearer(headers)).await.map_err(|refused| {
        let (status, code) = match refused {
            Refused::Missing | Refused::Unknown => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            // As `graphql::context::fault` tells them apart.
            Refused::Fault(StoreError::Again(_) | StoreError::Full(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE)
            }
            Refused::Fault(_) => (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL),
        };
        refusal(status, media, code, refused.message())
    })
}

fn not_acceptable() -> Response {
    let message = "answers come as application/graphql-response+json or application/json";
    refusal(StatusCode::NOT_ACCEPTABLE, Media::Json, "NOT_ACCEPTABLE", message)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut pieces = value.split(';').map(|piece| piece.trim().to_ascii_lowercase());
    pieces.next().as_deref() == Some("application/json")
        && pieces.all(|piece| {
            piece.strip_prefix("charset=").is_none_or(|charset| charset.trim_matches('"') == "utf-8")
        })
}

/// Whether a text in JSON holds a NUL; a backslash that is written so begins none.
fn holds_nul(body: &[u8]) -> bool {
    // Looked at where there may be one alone: a body of backslashes would take hours otherwise.
    let before = |at: usize| body[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
    body.windows(NUL.len()).enumerate().any(|(at, some)| some == NUL && before(at).is_multiple_of(2))
}

/// Reads the body of a POST, or the payload of a socket's `subscribe`.
pub fn from_json(body: &[u8]) -> Parsed {
    // PostgreSQL keeps none, and no field means one: the same answer whatever the engine.
    if holds_nul(body) {
        return Err("a text holds a NUL character (\\u0000), which no field may".to_owned());
    }
    // Straight into what variables are made of: a batch of swipes has thousands of them.
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let Value::Object(mut map) = value else {
        return Err("the body must be one JSON object with 'query'; batches are not taken".to_owned());
    };
    let query = match map.swap_remove("query") {
        Some(Value::String(query)) => query,
        Some(_) => return Err("'query' must be a string".to_owned()),
        None => return Err("'query' is missing".to_owned()),
    };
    let mut request = Request::new(query);
    match map.swap_remove("operationName") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) => request = request.operation_name(name),
        Some(_) => return Err("'operationName' must be a string".to_owned()),
    }
    match map.swap_remove("variables") {
        None | Some(Value::Null) => {}
        Some(variables @ Value::Object(_)) => request = request.variables(Variables::from_value(variables)),
        Some(_) => return Err("'variables' must be an object".to_owned()),
    }
    match map.swap_remove("extensions") {
        None | Some(Value::Null | Value::Object(_)) => {}
        Some(_) => return Err("'extensions' must be an object".to_owned()),
    }
    Ok(request)
}

fn from_query(query: &str) -> Parsed {
    let mut map = serde_json::Map::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
        let value = match key.as_str() {
            "query" | "operationName" => serde_json::Value::String(value),
            "variables" | "extensions" if value.is_empty() => serde_json::Value::Null,
            "variables" | "extensions" => {
                serde_json::from_str(&value).map_err(|error| format!("'{key}' is not JSON: {error}"))?
            }
            _ => continue,
        };
        map.insert(key, value);
    }
    from_json(serde_json::Value::Object(map).to_string().as_bytes())
}

/// Whether the operation that would be carried out is a query. What does not parse is left to execution,
/// which says why.
fn only_reads(request: &mut Request) -> bool {
    let wanted = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else { return true };
    match &document.operations {
        DocumentOperations::Single(operation) => operation.node.ty == OperationType::Query,
        DocumentOperations::Multiple(operations) => match wanted {
            Some(wanted) => operations
                .iter()
                .filter(|(name, _)| name.as_str() == wanted)
                .all(|(_, operation)| operation.node.ty == OperationType::Query),
            None => operations.values().all(|operation| operation.node.ty == OperationType::Query),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_refused_and_words_about_one_are_not() {
        for (text, held) in [
            (r#""a\u0000""#, true),
            (r#""a\\\u0000""#, true),
            (r#""a\\u0000""#, false),
            (r#""\\\\u0000""#, false),
            (r#""u0000""#, false),
        ] {
            assert_eq!(holds_nul(text.as_bytes()), held, "{text}");
        }
        assert!(!holds_nul(&vec![b'\\'; 16 << 20]), "as long as a body may be");
    }
}
