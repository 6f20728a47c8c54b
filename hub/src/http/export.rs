//! `GET /exports/ID`: the file of an export, whole or a stretch of it (RFC 9110, section 14), so that a download that broke
//! off goes on where it was.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::stream;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE,
};
use http::{HeaderMap, StatusCode};
use uuid::Uuid;

use super::Shared;
use super::request::let_in;
use super::response::{Media, refusal};
use crate::graphql::context::READERS;
use crate::graphql::id::Kind;
use crate::service::upload::PIECE_BYTES;
use crate::service::{Hub, exports};
use crate::store::StoreError;
use crate::store::entity::ExportFormat;

/// Gives a file out.
pub async fn get(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match give(&shared, &id, &headers).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!("an export could not be given out: {error}");
            let message = "the hub failed; its log says why";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, Media::Json, "INTERNAL", message)
        }
    }
}

async fn give(shared: &Shared, id: &str, headers: &HeaderMap) -> Result<Response, StoreError> {
    let caller = match let_in(&shared.hub.at_once(), headers, Media::Json).await {
        Ok(caller) => caller,
        Err(response) => return Ok(response),
    };
    if !caller.has(READERS) {
        let message = "this takes a token with the role ADMINISTRATOR or INTEGRATION";
        return Ok(refusal(StatusCode::FORBIDDEN, Media::Json, "FORBIDDEN", message));
    }
    let found = match Kind::of(id) {
        Some((Kind::Export, id)) => exports::file(&mut shared.hub.read().await?, id).await?,
        _ => None,
    };
    let Some((job, file)) = found else {
        let message = "there is no such file: the export is not DONE, or its file has gone after a day";
        return Ok(refusal(StatusCode::NOT_FOUND, Media::Json, "NOT_FOUND", message));
    };
    let size = file.size.unsigned_abs();
    let asked = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let (status, from, until) = match asked.map_or(Asked::Whole, |asked| stretch(asked, size)) {
        Asked::Whole => (StatusCode::OK, 0, size),
        Asked::Part(from, until) => (StatusCode::PARTIAL_CONTENT, from, until),
        Asked::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let kind = match job.format {
        ExportFormat::Csv => "text/csv; charset=utf-8",
        ExportFormat::Jsonl => "application/jsonl",
    };
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CONTENT_LENGTH, until - from)
        .header(ACCEPT_RANGES, "bytes")
        .header(ETAG, format!("\"{}\"", file.id.simple()))
        .header(CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", file.name));
    response = match status {
        StatusCode::PARTIAL_CONTENT => {
            response.header(CONTENT_RANGE, format!("bytes {from}-{}/{size}", until - 1))
        }
        StatusCode::RANGE_NOT_SATISFIABLE => response.header(CONTENT_RANGE, format!("bytes */{size}")),
        _ => response,
    };
    let body = pieces(shared.hub.clone(), file.id, from, until);
    Ok(response.body(body).unwrap_or_default())
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All of it; also where it asks for what is not offered.
    Whole,
    /// From one byte to another, the last excluded.
    Part(u64, u64),
    /// Nothing that there is.
    Nothing,
}

fn stretch(asked: &str, size: u64) -> Asked {
    let Some((from, to)) = asked.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let (from, until) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.saturating_add(1)),
        (Ok(from), Err(_)) if to.is_empty() => (from, size),
        (Err(_), Ok(last)) if from.is_empty() => (size.saturating_sub(last), size),
        _ => return Asked::Whole,
    };
    let until = until.min(size);
    if from < until { Asked::Part(from, until) } else { Asked::Nothing }
}

/// A stretch of a file, piece by piece as the other side takes it.
fn pieces(hub: Hub, file: Uuid, from: u64, until: u64) -> Body {
    let piece_bytes = PIECE_BYTES as u64;
    Body::from_stream(stream::try_unfold(from, move |at| {
        let hub = hub.clone();
        async move {
            if at >= until {
                return Ok(None);
            }
            let number = i64::try_from(at / piece_bytes).unwrap_or(i64::MAX);
            let piece = hub.read().await?.piece(file, number).await?.unwrap_or_default();
            let skip = usize::try_from(at % piece_bytes).unwrap_or(0);
            let end = piece.len().min(skip.saturating_add(usize::try_from(until - at).unwrap_or(usize::MAX)));
            if skip >= end {
                let found = format!("piece {number} of {file} is gone");
                return Err(StoreError::BadData { place: "upload_piece.bytes", found });
            }
            let bytes = Bytes::from(piece).slice(skip..end);
            let next = at + bytes.len() as u64;
            Ok(Some((bytes, next)))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::{Asked, stretch};

    #[test]
    fn a_stretch_is_what_the_header_says_within_the_file() {
        for (asked, wanted) in [
            ("bytes=0-9", Asked::Part(0, 10)),
            ("bytes=90-", Asked::Part(90, 100)),
            ("bytes=90-200", Asked::Part(90, 100)),
            ("bytes=-5", Asked::Part(95, 100)),
            ("bytes=-500", Asked::Part(0, 100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=9-0", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("lines=0-9", Asked::Whole),
            ("bytes=-", Asked::Whole),
        ] {
            assert_eq!(stretch(asked, 100), wanted, "{asked}");
        }
        assert_eq!(stretch("bytes=0-", 0), Asked::Nothing);
    }
}
