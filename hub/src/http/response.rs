//! Responses of GraphQL over HTTP: media types and status codes (GraphQL-over-HTTP specification, section 6).

use async_graphql::{Response as GraphqlResponse, ServerError};
use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

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

fn answer(status: StatusCode, media: Media, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
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
    let mut response = answer(status, media, body.to_string());
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
    let whole = Executed::of(response);
    // Whatever an answer is made of can be said as JSON.
    (serde_json::to_value(&whole).unwrap_or_default(), whole.data.is_none())
}

/// An executed request as it goes out.
#[derive(Serialize)]
struct Executed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a async_graphql::Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
}

impl<'a> Executed<'a> {
    fn of(response: &'a GraphqlResponse) -> Self {
        let errors = &response.errors[..];
        // An error without a path was found before execution began: then there is no `data` at all.
        let refused =
            response.data == async_graphql::Value::Null && errors.iter().any(|error| error.path.is_empty());
        Self { data: (!refused).then_some(&response.data), errors }
    }
}

/// The answer to an executed request.
#[must_use]
pub fn executed(response: &GraphqlResponse, media: Media) -> Response {
    let whole = Executed::of(response);
    let status = match media {
        Media::GraphqlResponse if whole.data.is_none() => StatusCode::BAD_REQUEST,
        Media::GraphqlResponse | Media::Json => StatusCode::OK,
    };
    // As above: it can be said.
    answer(status, media, serde_json::to_string(&whole).unwrap_or_default())
}
