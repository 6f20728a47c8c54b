//! Responses of GraphQL over HTTP: media types and status codes (GraphQL-over-HTTP specification, section 6).

use async_graphql::Response as GraphqlResponse;
use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

/// The two media types that an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/graphql-response+json`: the status says how the request went.
    GraphqlResponse,
    /// `application/json`: well-formed requests get 200.
    Json,
}

impl Media {
    fn name(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        }
    }

    /// What the caller would rather have; `None` when they take neither.
    #[must_use]
    pub fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        let mut any = false;
        for value in headers.get_all(ACCEPT) {
            for part in value.to_str().ok()?.split(',') {
                any = true;
                let mut pieces = part.split(';').map(str::trim);
                let media = match pieces.next().unwrap_or("").to_ascii_lowercase().as_str() {
                    "application/graphql-response+json" => Self::GraphqlResponse,
                    "application/json" | "application/*" | "*/*" => Self::Json,
                    _ => continue,
                };
                let quality = pieces.find_map(|piece| piece.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
                if quality > 0.0 && best.is_none_or(|(other, _)| quality > other) {
                    best = Some((quality, media));
                }
            }
        }
        if any { best.map(|(_, media)| media) } else { Some(Self::Json) }
    }
}

fn answer(status: StatusCode, media: Media, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    if let Ok(name) = media.name().parse() {
        response.headers_mut().insert(CONTENT_TYPE, name);
    }
    response
}

/// An answer to a request that was not carried out.
#[must_use]
pub fn refusal(status: StatusCode, media: Media, code: &str, message: &str) -> Response {
    let body = json!({"errors": [{"message": message, "extensions": {"code": code}}]});
    let mut response = answer(status, media, &body);
    if status == StatusCode::UNAUTHORIZED
        && let Ok(value) = "Bearer realm=\"rollcall\"".parse()
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// An executed request as JSON, and whether it was refused before execution.
#[must_use]
pub fn body(response: &GraphqlResponse) -> (Value, bool) {
    let errors: Vec<Value> =
        response.errors.iter().filter_map(|error| serde_json::to_value(error).ok()).collect();
    let data = response.data.clone().into_json().unwrap_or(Value::Null);
    // An error without a path was found before execution began: then there is no `data` at all.
    let refused = data.is_null() && response.errors.iter().any(|error| error.path.is_empty());
    let mut map = Map::new();
    if !errors.is_empty() {
        map.insert("errors".to_owned(), Value::Array(errors));
    }
    if !refused {
        map.insert("data".to_owned(), data);
    }
    (Value::Object(map), refused)
}

/// The answer to an executed request.
#[must_use]
pub fn executed(response: &GraphqlResponse, media: Media) -> Response {
    let (body, refused) = body(response);
    let status = match media {
        Media::GraphqlResponse if refused => StatusCode::BAD_REQUEST,
        Media::GraphqlResponse | Media::Json => StatusCode::OK,
    };
    answer(status, media, &body)
}
