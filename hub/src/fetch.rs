//! Looks at the calendars that are due, a few at once, and hands what is there to `service::sources`.
//!
//! Runs beside the other workers; any hub over the database may look at any calendar.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::import::MAX_FILE_BYTES;
use crate::outgoing::{Answered, Failed, Outgoing};
use crate::service::sources::{self, Found};
use crate::service::{Hub, News};
use crate::store::StoreError;
use crate::store::entity::CalendarSource;

/// How many calendars are looked at at once.
const AT_ONCE: usize = 8;
/// How often the hub looks for calendars that are due.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks at calendars, for ever.
pub async fn look(hub: Hub) {
    let mut news = hub.listen();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut outgoing: Option<Outgoing> = None;
    // One that is slow keeps no other waiting.
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE {
            match take_up(&hub, &mut outgoing).await {
                Ok(Some((taken, way))) => {
                    let hub = hub.clone();
                    under_way.spawn(async move {
                        if let Err(error) = look_at(&hub, way, &taken).await {
                            tracing::error!("the calendar of '{}' could not be noted: {error}", taken.source);
                        }
                    });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!("calendars could not be looked at: {error}");
                    break;
                }
            }
        }
        loop {
            tokio::select! {
                _ = looks.tick() => break,
                Some(ended) = under_way.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("a look at a calendar ended badly: {error}");
                    }
                    break;
                }
                piece = news.recv() => match piece {
                    Ok(News::Job) | Err(RecvError::Lagged(_)) => break,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

/// A calendar that is due, and the way to it.
async fn take_up(
    hub: &Hub,
    outgoing: &mut Option<Outgoing>,
) -> Result<Option<(CalendarSource, Option<Outgoing>)>, StoreError> {
    let Some(taken) = sources::take_up(hub).await? else { return Ok(None) };
    if outgoing.is_none() {
        *outgoing = Outgoing::new(hub.reaches_private())
            .inspect_err(|error| tracing::error!("calendars cannot be fetched: {error}"))
            .ok();
    }
    Ok(Some((taken, outgoing.clone())))
}

async fn look_at(hub: &Hub, outgoing: Option<Outgoing>, taken: &CalendarSource) -> Result<(), StoreError> {
    let anyway = sources::is_to_be_read_anyway(hub, taken).await?;
    let found = match outgoing {
        Some(outgoing) => fetch(&outgoing, taken, anyway).await,
        None => Found::Nothing("the hub cannot set up TLS; its log says why".to_owned()),
    };
    if let Found::Nothing(why) = &found {
        tracing::warn!("the calendar of '{}' could not be fetched: {why}", taken.source);
    }
    sources::found(hub, taken, found, anyway).await
}

async fn fetch(outgoing: &Outgoing, taken: &CalendarSource, anyway: bool) -> Found {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("text/calendar"));
    let mut put = |name: HeaderName, value: &Option<String>| {
        if let Some(Ok(value)) = value.as_ref().map(|value| value.parse()) {
            headers.insert(name, value);
        }
    };
    if !anyway {
        put(IF_NONE_MATCH, &taken.etag);
        put(IF_MODIFIED_SINCE, &taken.last_modified);
    }
    let most = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
    let Answered { status, headers, body } = match outgoing.get(&taken.url, headers, most).await {
        Ok(answer) => answer,
        Err(Failed(why)) => return Found::Nothing(why),
    };
    let said = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
    match status {
        304 if !anyway => Found::Same,
        200 if body.len() > most => {
            Found::Nothing(format!("it has more than {} MiB", MAX_FILE_BYTES / 1024 / 1024))
        }
        200 if !body.trim_ascii_start().starts_with(b"BEGIN:VCALENDAR")
            && !body.starts_with(b"\xef\xbb\xbfBEGIN:VCALENDAR") =>
        {
            let kind = said(CONTENT_TYPE).unwrap_or_else(|| "of no kind".to_owned());
            Found::Nothing(format!("what is there is no calendar ({kind}): a page to sign in at, perhaps"))
        }
        200 => Found::Other { etag: said(ETAG), last_modified: said(LAST_MODIFIED), bytes: body },
        301..=308 => {
            let to = said(http::header::LOCATION).unwrap_or_default();
            Found::Nothing(format!("it has moved, status {status}, to '{to}': save it with that address"))
        }
        status => Found::Nothing(format!("its server answered with status {status}")),
    }
}
