//! Calendars that the hub fetches by itself: which there are, and what comes of a look at one.
//!
//! `fetch` does the looking. Whatever came is imported as a file is that somebody uploads: checked whole, in one
//! transaction, kept and shown as an import.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::access::{self, Role};
use super::feed::to_hex;
use super::jobs::{self, StartImport};
use super::refusal::{Answer, Check, Code};
use super::{Caller, Hub, News, upload};
use crate::import::recipe::Recipe;
use crate::outgoing;
use crate::store::StoreError;
use crate::store::entity::{CalendarSource, ImportJob, ImportState, Token};

/// The shortest and the longest time between two looks, in milliseconds.
const SHORTEST_MS: i64 = 60_000;
const LONGEST_MS: i64 = 7 * 24 * 3_600_000;
/// How a fetched calendar's file is called.
pub(super) const FILE: &str = "calendar.ics";
/// How many calendars there may be.
const MOST: usize = 2_000;
/// How long a hub has for a look, in milliseconds.
const LEASE_MS: i64 = 120_000;
/// How soon what could not be imported is tried again although nothing in it changed: a room may be there by then.
const AGAIN_MS: i64 = 6 * 3_600_000;
/// How soon what was imported is read again although nothing in it changed: rules without an end are followed to a horizon, which
/// moves on.
const FURTHER_MS: i64 = 7 * 24 * 3_600_000;

/// A calendar to set up or change.
#[derive(Debug, Clone)]
pub struct SaveSource {
    /// Which; a new one when there is none.
    pub id: Option<Uuid>,
    /// Where it is.
    pub url: String,
    /// Under which name its imports are known.
    pub source: String,
    /// How it is read.
    pub recipe: Recipe,
    /// How long after one look the next comes, in milliseconds.
    pub every_ms: i64,
    /// Whether it is fetched.
    pub enabled: bool,
    /// Its next import may take away more than a tenth of what it named; those after it may not.
    pub accept_removals: bool,
}

/// Sets a calendar up, or changes it; it is looked at at once.
///
/// # Errors
/// When the store fails.
pub async fn save(hub: &Hub, caller: &Caller, input: &SaveSource) -> Answer<CalendarSource> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            check.code("source", &input.source);
            if let Err(message) = outgoing::target(&input.url, hub.reaches_private()) {
                check.refuse(Code::Invalid, "url", message);
            }
            if !(SHORTEST_MS..=LONGEST_MS).contains(&input.every_ms) {
                check.refuse(Code::Invalid, "every", "must be from PT1M to P7D");
            }
            let recipe = serde_json::to_string(&input.recipe).map_err(|error| StoreError::BadData {
                place: "calendar_source.recipe",
                found: error.to_string(),
            })?;
            let mut tx = attempt.write().await?;
            let all = tx.all::<CalendarSource>().await?;
            let before = all.iter().find(|it| Some(it.id) == input.id);
            if input.id.is_some() && before.is_none() {
                check.refuse(
                    Code::NotFound,
                    "id",
                    "there is no such calendar; leave the id out for a new one",
                );
            }
            if before.is_none() && all.len() >= MOST {
                check.refuse(Code::TooLong, "", format!("there are {MOST} calendars already; delete one"));
            }
            if all.iter().any(|it| it.source == input.source && Some(it.id) != input.id) {
                let message =
                    "another calendar goes by this source: each would take away what the other brought";
                check.refuse(Code::AlreadyExists, "source", message);
            }
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            let now = hub.now().0;
            let saved = CalendarSource {
                id: before.map_or_else(|| hub.mint(), |it| it.id),
                url: input.url.clone(),
                source: input.source.clone(),
                recipe,
                every_ms: input.every_ms,
                enabled: input.enabled,
                token_id: caller.token_id,
                created_by: caller.name.clone(),
                created_at: before.map_or(now, |it| it.created_at),
                next_at: now,
                fetched_at: before.and_then(|it| it.fetched_at),
                // Whoever saves it has mended something, perhaps: it is read anew, whatever was known of it.
                etag: None,
                last_modified: None,
                digest: None,
                import_id: before.and_then(|it| it.import_id),
                failing_since: None,
                last_error: None,
                accept_removals: input.accept_removals,
            };
            // What it named under another name would be named for ever, and nothing of it be called off.
            if let Some(before) = before.filter(|before| before.source != saved.source) {
                tx.forget_source(&before.source).await?;
            }
            tx.put(std::slice::from_ref(&saved)).await?;
            tx.commit().await?;
            hub.tell(vec![News::Job]);
            Ok(Ok(saved))
        })
    })
    .await
}

/// Fetches a calendar no more. What it brought stays.
///
/// # Errors
/// When the store fails.
pub async fn delete(hub: &Hub, id: Uuid) -> Answer<Uuid> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let Some(known) = tx.by_ids::<CalendarSource>([id]).await?.pop() else {
                let mut check = Check::default();
                check.refuse(Code::NotFound, "id", "there is no such calendar");
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            tx.drop_calendar_source(id).await?;
            // What it named is another's to name, or to call off, from now on.
            tx.forget_source(&known.source).await?;
            tx.commit().await?;
            Ok(Ok(id))
        })
    })
    .await
}

/// Takes up a calendar that is due: no other hub looks at it for a while.
///
/// # Errors
/// When the store fails.
pub async fn take_up(hub: &Hub) -> Result<Option<CalendarSource>, StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            if hub.read_aside().await?.calendar_source_due(hub.now().0).await?.is_none() {
                return Ok(None);
            }
            let mut tx = attempt.write().await?;
            let now = hub.now().0;
            let Some(id) = tx.calendar_source_due(now).await? else { return Ok(None) };
            let Some(mut taken) = tx.by_ids::<CalendarSource>([id]).await?.into_iter().next() else {
                return Ok(None);
            };
            taken.next_at = now + LEASE_MS;
            tx.put(std::slice::from_ref(&taken)).await?;
            tx.commit().await?;
            Ok(Some(taken))
        })
    })
    .await
}

/// Whether what is there is to be read although its server says that it is as it was: its last import came to nothing, or was
/// long ago.
///
/// # Errors
/// When the store fails.
pub async fn is_to_be_read_anyway(hub: &Hub, taken: &CalendarSource) -> Result<bool, StoreError> {
    let Some(import) = taken.import_id else { return Ok(true) };
    let last = hub.read().await?.by_ids::<ImportJob>([import]).await?.into_iter().next();
    Ok(last.is_none_or(|job| match job.state {
        ImportState::Refused | ImportState::Failed => {
            job.finished_at.is_some_and(|at| hub.now().0 - at >= AGAIN_MS)
        }
        ImportState::Applied => job.finished_at.is_some_and(|at| hub.now().0 - at >= FURTHER_MS),
        _ => false,
    }))
}

/// What was found at a calendar's address.
#[derive(Debug)]
pub enum Found {
    /// What was there before.
    Same,
    /// A calendar, and what its server says of its version.
    Other {
        /// The calendar.
        bytes: Vec<u8>,
        /// Its version.
        etag: Option<String>,
        /// When it was last modified.
        last_modified: Option<String>,
    },
    /// Nothing that can be used, and why.
    Nothing(String),
}

/// Notes what was found, and asks for its import where it is another.
///
/// # Errors
/// When the store fails.
pub async fn found(hub: &Hub, taken: &CalendarSource, found: Found, anyway: bool) -> Result<(), StoreError> {
    // Somebody may have changed or dropped it while it was fetched: then that holds, and nothing of this is imported.
    let there = hub.read().await?.by_ids::<CalendarSource>([taken.id]).await?.into_iter().next();
    if there.as_ref() != Some(taken) {
        return Ok(());
    }
    let now = hub.now().0;
    let mut after = CalendarSource { next_at: now + taken.every_ms, ..taken.clone() };
    let mut now_is = taken.clone();
    match found {
        Found::Nothing(why) => {
            after.failing_since = after.failing_since.or(Some(now));
            after.last_error = Some(why);
        }
        Found::Same => {
            after.fetched_at = Some(now);
            (after.failing_since, after.last_error) = (None, None);
        }
        Found::Other { bytes, etag, last_modified } => {
            after.fetched_at = Some(now);
            (after.failing_since, after.last_error) = (None, None);
            let digest = digest(&bytes);
            if after.digest.as_deref() != Some(&digest) || anyway {
                // Taken back before it is made use of: a hub that dies in between must not let a second import through by it.
                let once = CalendarSource { accept_removals: false, ..taken.clone() };
                if taken.accept_removals && !swap(hub, taken, &once).await? {
                    return Ok(());
                }
                (now_is, after.accept_removals) = (once, false);
                match ask(hub, &now_is, &bytes, taken.accept_removals).await? {
                    Ok(import) => {
                        after.import_id = Some(import);
                        after.digest = Some(digest);
                        (after.etag, after.last_modified) = (etag, last_modified);
                    }
                    Err(why) => {
                        after.failing_since = taken.failing_since.or(Some(now));
                        after.last_error = Some(why);
                    }
                }
            } else {
                (after.etag, after.last_modified) = (etag, last_modified);
            }
        }
    }
    swap(hub, &now_is, &after).await.map(drop)
}

/// Puts a calendar in place of what it was, if it is that still; says whether it was.
async fn swap(hub: &Hub, was: &CalendarSource, after: &CalendarSource) -> Result<bool, StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let there = tx.by_ids::<CalendarSource>([was.id]).await?.into_iter().next();
            if there.as_ref() != Some(was) {
                return Ok(false);
            }
            tx.put(std::slice::from_ref(after)).await?;
            tx.commit().await?;
            Ok(true)
        })
    })
    .await
}

/// What a calendar says, in short. Calendars that are written on request say in each event when that was.
fn digest(bytes: &[u8]) -> String {
    let mut digest = Sha256::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"DTSTAMP")) {
        digest.update(line);
    }
    to_hex(&digest.finalize())
}

/// Asks for the import of a calendar that came; gives its id, or why that cannot be.
async fn ask(
    hub: &Hub,
    taken: &CalendarSource,
    bytes: &[u8],
    accept_removals: bool,
) -> Result<Result<Uuid, String>, StoreError> {
    let token = hub.read().await?.by_ids::<Token>([taken.token_id]).await?.into_iter().next();
    let caller = token.and_then(|token| access::in_force(token, hub.now().0));
    let Some(caller) = caller.filter(|caller| caller.has(&[Role::Administrator, Role::Integration])) else {
        let message = "the token of whoever set it up is over, or was taken back: save it again with another";
        return Ok(Err(message.to_owned()));
    };
    let recipe: Recipe = serde_json::from_str(&taken.recipe)
        .map_err(|error| StoreError::BadData { place: "calendar_source.recipe", found: error.to_string() })?;
    let words = |refusals: Vec<super::refusal::Refusal>| {
        refusals.into_iter().map(|refusal| refusal.message).collect::<Vec<_>>().join("; ")
    };
    let mut incoming = match upload::begin(hub, FILE).await? {
        Ok(incoming) => incoming,
        Err(refusals) => return Ok(Err(words(refusals))),
    };
    for piece in bytes.chunks(upload::PIECE_BYTES) {
        if !incoming.add(piece).await? {
            return Ok(Err("it is larger than an import may be".to_owned()));
        }
    }
    let Some(file) = incoming.finish().await? else {
        return Ok(Err("too many files come at once".to_owned()));
    };
    let asked = StartImport {
        id: hub.mint(),
        uploads: vec![Some(file.id)],
        recipe,
        source: taken.source.clone(),
        dry_run: false,
        accept_removals,
    };
    Ok(jobs::start_while(hub, &caller, &asked, Some(taken)).await?.map(|job| job.id).map_err(words))
}
