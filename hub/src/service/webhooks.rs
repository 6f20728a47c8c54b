//! Webhooks: who is told of what, and what is to be told, noted in the transaction that brings it about.
//!
//! What is noted is sent by `webhook`, at least once and in no order.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::lease::Leased;
use super::refusal::{Answer, Check, Code};
use super::{Caller, Hub, News};
use crate::outgoing;
use crate::scalar::DateTime;
use crate::store::entity::{
    Attendance, AttendanceStatus, Entity, Gateway, Reader, Room, Session, Student, Swipe, Webhook,
    WebhookDelivery, WebhookDeliveryState, WebhookEvent,
};
use crate::store::{StoreError, Tx};

/// How many webhooks there may be: each is looked at in every write.
const MAX_WEBHOOKS: usize = 50;
/// For how long a delivery is tried, in milliseconds.
pub const TRIED_MS: i64 = 3 * 24 * 3_600_000;
/// How long a delivery that has ended is kept, in milliseconds.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// A webhook to make or change.
#[derive(Debug, Clone)]
pub struct SaveWebhook {
    /// Which; a new one when there is none.
    pub id: Option<Uuid>,
    /// Where it is.
    pub url: String,
    /// What it is told of.
    pub events: Vec<WebhookEvent>,
    /// Whether it is told anything.
    pub enabled: bool,
}

/// Makes or changes a webhook; gives the secret of a new one, which is shown this once.
///
/// # Errors
/// When the store fails.
pub async fn save(hub: &Hub, caller: &Caller, input: &SaveWebhook) -> Answer<(Webhook, Option<String>)> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            if let Err(message) = outgoing::target(&input.url, hub.reaches_private()) {
                check.refuse(Code::Invalid, "url", message);
            }
            if input.events.is_empty() {
                check.refuse(Code::Required, "events", "say at least one event that it is to be told of");
            }
            let events: BTreeSet<&str> = input.events.iter().map(|event| event.word()).collect();
            let events = events.into_iter().collect::<Vec<_>>().join(",");
            let mut tx = attempt.write().await?;
            let all = tx.all::<Webhook>().await?;
            let before = all.iter().find(|webhook| Some(webhook.id) == input.id).cloned();
            if input.id.is_some() && before.is_none() {
                check.refuse(
                    Code::NotFound,
                    "id",
                    "there is no such webhook; leave the id out for a new one",
                );
            }
            if before.is_none() && all.len() >= MAX_WEBHOOKS {
                check.refuse(
                    Code::TooLong,
                    "",
                    format!("there are {MAX_WEBHOOKS} webhooks already; delete one"),
                );
            }
            let mut secret = [0u8; 32];
            if getrandom::fill(&mut secret).is_err() {
                check.refuse(Code::WrongState, "", "this machine has no random numbers just now; try again");
            }
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            let (webhook, shown) = match before {
                Some(before) => {
                    // Whoever changes it has looked into it: what waits is tried at once.
                    let changed = Webhook {
                        url: input.url.clone(),
                        events,
                        enabled: input.enabled,
                        not_before: hub.now().0,
                        failures: 0,
                        failing_since: None,
                        ..before
                    };
                    (changed, None)
                }
                None => {
                    let secret = format!("whsec_{}", STANDARD.encode(secret));
                    let new = Webhook {
                        id: hub.mint(),
                        url: input.url.clone(),
                        events,
                        secret: secret.clone(),
                        enabled: input.enabled,
                        created_by: caller.name.clone(),
                        created_at: hub.now().0,
                        failures: 0,
                        failing_since: None,
                        not_before: hub.now().0,
                    };
                    (new, Some(secret))
                }
            };
            tx.put(std::slice::from_ref(&webhook)).await?;
            if !webhook.enabled {
                tx.give_up_deliveries(webhook.id, "the webhook was switched off").await?;
            }
            tx.commit().await?;
            hub.tell(vec![News::Job]);
            Ok(Ok((webhook, shown)))
        })
    })
    .await
}

/// Drops a webhook, and all that waited for it.
///
/// # Errors
/// When the store fails.
pub async fn delete(hub: &Hub, id: Option<Uuid>) -> Answer<Uuid> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let Some(webhook) = tx.by_ids::<Webhook>(id).await?.into_iter().next() else {
                let mut check = Check::default();
                check.refuse(
                    Code::NotFound,
                    "id",
                    "there is no such webhook; `webhooks` lists those there are",
                );
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            tx.drop_webhook(webhook.id).await?;
            tx.commit().await?;
            Ok(Ok(webhook.id))
        })
    })
    .await
}

/// Gives up what was tried long enough, also where it never had its turn, and drops deliveries that ended long ago.
///
/// # Errors
/// When the store fails.
pub async fn forget_old(hub: &Hub) -> Result<(), StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let now = hub.now().0;
            // An hour more: what has its turn last is tried once more and says why it failed.
            let (given_up, dropped) = (now - TRIED_MS - 3_600_000, now - KEPT_MS);
            // Mostly there is nothing to do, and then nobody who writes is waited for.
            if !hub.read_aside().await?.has_old_deliveries(given_up, dropped).await? {
                return Ok(());
            }
            let mut tx = attempt.write().await?;
            tx.give_up_old_deliveries(given_up).await?;
            tx.drop_old_deliveries(dropped).await?;
            tx.commit().await
        })
    })
    .await
}

/// A register that a write changed.
pub(super) struct Changed {
    /// Its session, as it now is.
    pub session: Session,
    /// It has just become final.
    pub finalised: bool,
    /// Its marks that changed, as they now are.
    pub marks: Vec<Attendance>,
    /// The students who have no mark in it any more.
    pub left: Vec<Uuid>,
}

/// Those who are told of anything.
pub(super) async fn listeners(tx: &mut Tx) -> Result<Vec<Webhook>, StoreError> {
    tx.all::<Webhook>().await.map(|all| all.into_iter().filter(|webhook| webhook.enabled).collect())
}

/// A mark as it is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    student: &'a str,
    status: AttendanceStatus,
    source: crate::store::entity::AttendanceSource,
    arrived_at: Option<String>,
    minutes_late: Option<i64>,
    revision: i64,
}

/// Notes what listeners are to hear of registers.
pub(super) async fn registers_changed(
    hub: &Hub,
    tx: &mut Tx,
    listeners: &[Webhook],
    changed: &[Changed],
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    let of_marks = listeners.iter().any(|webhook| webhook.hears(WebhookEvent::AttendanceChanged));
    let mut numbers = BTreeMap::new();
    if of_marks {
        let marked = changed.iter().flat_map(|it| it.marks.iter().map(|mark| mark.student_id));
        numbers = students(tx, marked.chain(changed.iter().flat_map(|it| it.left.iter().copied())).collect())
            .await?;
    }
    let mut deliveries = Vec::new();
    for register in changed {
        let session = &register.session;
        let records: Vec<Record<'_>> = register
            .marks
            .iter()
            // A class list is not attendance.
            .filter(|mark| mark.revision > 1 || mark.status != AttendanceStatus::Expected)
            .filter_map(|mark| {
                Some(Record {
                    student: numbers.get(&mark.student_id)?,
                    status: mark.status,
                    source: mark.source,
                    arrived_at: mark.arrived_at.map(|at| instant(hub, at)),
                    minutes_late: mark.minutes_late,
                    revision: mark.revision,
                })
            })
            .collect();
        let left: Vec<&String> = register.left.iter().filter_map(|id| numbers.get(id)).collect();
        let told = json!({
            "session": session.external_id,
            "registerState": session.register_state.word(),
            "registerRevision": session.register_revision,
        });
        if !records.is_empty() || !left.is_empty() {
            let mut data = told.clone();
            data["records"] = json!(records);
            data["left"] = json!(left);
            note(hub, listeners, WebhookEvent::AttendanceChanged, &data, &mut deliveries);
        }
        if register.finalised {
            note(hub, listeners, WebhookEvent::RegisterFinalised, &told, &mut deliveries);
        }
    }
    put(tx, &deliveries, news).await
}

/// Notes what listeners are to hear of swipes that came in.
pub(super) async fn swipes_came(
    hub: &Hub,
    tx: &mut Tx,
    swipes: &[Swipe],
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    let mut listeners = listeners(tx).await?;
    listeners.retain(|webhook| webhook.hears(WebhookEvent::SwipeReceived));
    if listeners.is_empty() || swipes.is_empty() {
        return Ok(());
    }
    let students = students(tx, swipes.iter().filter_map(|swipe| swipe.student_id).collect()).await?;
    let readers: BTreeMap<Uuid, String> =
        by_id(tx, swipes.iter().map(|swipe| swipe.reader_id).collect(), |reader: Reader| reader.code).await?;
    let rooms: BTreeMap<Uuid, String> =
        by_id(tx, swipes.iter().filter_map(|swipe| swipe.room_id).collect(), |room: Room| room.code).await?;
    let mut deliveries = Vec::new();
    for swipe in swipes {
        let data = json!({
            "swipe": swipe.id,
            "reader": readers.get(&swipe.reader_id),
            "room": swipe.room_id.and_then(|id| rooms.get(&id)),
            "student": swipe.student_id.and_then(|id| students.get(&id)),
            "swipedAt": instant(hub, swipe.swiped_at),
            "decision": swipe.decision.word(),
        });
        note(hub, &listeners, WebhookEvent::SwipeReceived, &data, &mut deliveries);
    }
    put(tx, &deliveries, news).await
}

/// Notes what listeners are to hear of what this transaction calls people to.
pub(super) async fn alerts_raised(hub: &Hub, tx: &mut Tx, news: &mut Vec<News>) -> Result<(), StoreError> {
    let raised = tx.raised();
    if raised.is_empty() {
        return Ok(());
    }
    let listeners = listeners(tx).await?;
    let gateways: BTreeMap<Uuid, String> =
        by_id(tx, raised.iter().filter_map(|alarm| alarm.gateway_id).collect(), |it: Gateway| it.code)
            .await?;
    let mut deliveries = Vec::new();
    for alarm in &raised {
        let data = json!({
            "alert": alarm.id,
            "kind": alarm.kind,
            "at": instant(hub, alarm.at),
            "gateway": alarm.gateway_id.and_then(|id| gateways.get(&id)),
            "detail": alarm.detail,
        });
        note(hub, &listeners, WebhookEvent::AlertRaised, &data, &mut deliveries);
    }
    put(tx, &deliveries, news).await
}

/// Notes what listeners are to hear of sessions that are others than they were.
pub(super) async fn sessions_changed(
    hub: &Hub,
    tx: &mut Tx,
    sessions: &BTreeSet<Uuid>,
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    if sessions.is_empty() {
        return Ok(());
    }
    let mut listeners = listeners(tx).await?;
    listeners.retain(|webhook| webhook.hears(WebhookEvent::SessionChanged));
    if listeners.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = sessions.iter().copied().collect();
    let mut held = tx.session_rooms(&ids).await?;
    held.retain(|held| held.until_at.is_none());
    let rooms: BTreeMap<Uuid, String> =
        by_id(tx, held.iter().map(|held| held.room_id).collect(), |room: Room| room.code).await?;
    let mut codes: BTreeMap<Uuid, BTreeSet<&String>> = BTreeMap::new();
    for held in &held {
        codes.entry(held.session_id).or_default().extend(rooms.get(&held.room_id));
    }
    let mut deliveries = Vec::new();
    for session in tx.by_ids::<Session>(ids).await? {
        let codes = codes.remove(&session.id).unwrap_or_default();
        let data = json!({
            "session": session.external_id,
            "revision": session.revision,
            "startsAt": instant(hub, session.starts_at),
            "endsAt": instant(hub, session.ends_at),
            "cancelled": session.cancelled,
            "rooms": codes,
        });
        note(hub, &listeners, WebhookEvent::SessionChanged, &data, &mut deliveries);
    }
    put(tx, &deliveries, news).await
}

/// Notes what listeners are to hear of a piece of work, once it has ended.
pub(super) async fn work_ended<J: Leased>(
    hub: &Hub,
    tx: &mut Tx,
    job: &J,
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    let Some((event, data)) = job.end() else { return Ok(()) };
    let listeners = listeners(tx).await?;
    let mut deliveries = Vec::new();
    note(hub, &listeners, event, &data, &mut deliveries);
    put(tx, &deliveries, news).await
}

async fn by_id<E: Entity>(
    tx: &mut Tx,
    ids: BTreeSet<Uuid>,
    word: fn(E) -> String,
) -> Result<BTreeMap<Uuid, String>, StoreError> {
    Ok(tx.by_ids::<E>(ids).await?.into_iter().map(|it| (it.id(), word(it))).collect())
}

async fn students(tx: &mut Tx, ids: BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, String>, StoreError> {
    by_id(tx, ids, |student: Student| student.number).await
}

fn instant(hub: &Hub, ms: i64) -> String {
    DateTime::new(ms, hub.zone()).to_string()
}

fn note(
    hub: &Hub,
    listeners: &[Webhook],
    event: WebhookEvent,
    data: &Json,
    deliveries: &mut Vec<WebhookDelivery>,
) {
    let now = hub.now().0;
    for webhook in listeners.iter().filter(|webhook| webhook.hears(event)) {
        let body = json!({"type": event.word(), "timestamp": instant(hub, now), "data": data});
        deliveries.push(WebhookDelivery {
            id: hub.mint(),
            webhook_id: webhook.id,
            event,
            payload: body.to_string(),
            state: WebhookDeliveryState::Pending,
            created_at: now,
            attempts: 0,
            tried_at: None,
            last_status: None,
            last_error: None,
            next_at: now,
        });
    }
}

async fn put(tx: &mut Tx, deliveries: &[WebhookDelivery], news: &mut Vec<News>) -> Result<(), StoreError> {
    if !deliveries.is_empty() {
        tx.put(deliveries).await?;
        news.push(News::Job);
    }
    Ok(())
}
