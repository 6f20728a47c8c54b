//! Carries to webhooks what `service::webhooks` noted: at least once, in no order, for three days.
//!
//! Headers, signature and meaning of an answer are those of the Standard Webhooks specification 1.0. Runs beside the
//! other workers; any hub over the database may carry any delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderValue};
use sha2::Sha256;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::outgoing::{Failed, Outgoing};
use crate::service::webhooks::TRIED_MS;
use crate::service::{Hub, News};
use crate::store::StoreError;
use crate::store::entity::{Webhook, WebhookDelivery, WebhookDeliveryState};

/// How long one hub has for what it took up, in milliseconds: several times what a batch may take.
const LEASE_MS: i64 = 180_000;
/// How many deliveries one webhook gets in one go, and how many of them at once.
const BATCH: i64 = 32;
const AT_ONCE: usize = 8;
/// The waits between attempts, in seconds; the last is the wait between all that follow.
const WAITS_S: [i64; 6] = [5, 20, 80, 320, 1_280, 3_600];
/// How often the hub looks for what another hub noted, or what is to be tried again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The status that says that it is too much.
const BUSY: u16 = 429;
/// The status that says that nobody wants to be told any more.
const GONE: u16 = 410;

/// Carries deliveries, for ever.
pub async fn carry(hub: Hub) {
    let mut news = hub.listen();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    // One at a time of each webhook: one that is slow keeps no other waiting.
    let mut busy: BTreeSet<Uuid> = BTreeSet::new();
    let mut under_way: JoinSet<(Uuid, bool)> = JoinSet::new();
    // Those that could not be worked on: not again before the next look, or a full disk would keep us turning.
    let mut stuck: BTreeSet<Uuid> = BTreeSet::new();
    let mut outgoing: Option<Outgoing> = None;
    loop {
        match due(&hub, &busy).await {
            Ok(found) => {
                for id in found {
                    let Some(way) = way_out(&hub, &mut outgoing) else { break };
                    busy.insert(id);
                    let hub = hub.clone();
                    under_way.spawn(async move {
                        let carried = carry_some(&hub, &way, id).await;
                        if let Err(error) = &carried {
                            tracing::error!("deliveries to webhook {id} could not be noted: {error}");
                        }
                        (id, carried.is_ok())
                    });
                }
            }
            Err(error) => tracing::error!("webhooks could not be looked at: {error}"),
        }
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    busy.retain(|id| !stuck.contains(id));
                    stuck.clear();
                    if under_way.is_empty() {
                        // A task that panicked did not say whose it was.
                        busy.clear();
                    }
                    break;
                }
                Some(ended) = under_way.join_next() => match ended {
                    Ok((id, true)) => {
                        busy.remove(&id);
                        break;
                    }
                    Ok((id, false)) => { stuck.insert(id); }
                    Err(error) => tracing::error!("a webhook's task ended badly: {error}"),
                },
                piece = news.recv() => match piece {
                    Ok(News::Job) | Err(RecvError::Lagged(_)) => break,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

/// The way out, set up once it is needed.
fn way_out(hub: &Hub, outgoing: &mut Option<Outgoing>) -> Option<Outgoing> {
    if outgoing.is_none() {
        match Outgoing::new(hub.reaches_private()) {
            Ok(new) => *outgoing = Some(new),
            Err(error) => tracing::error!("webhooks cannot be told anything: {error}"),
        }
    }
    outgoing.clone()
}

async fn due(hub: &Hub, busy: &BTreeSet<Uuid>) -> Result<Vec<Uuid>, StoreError> {
    let mut found = hub.read().await?.webhooks_due(hub.now().0).await?;
    found.retain(|id| !busy.contains(id));
    Ok(found)
}

async fn carry_some(hub: &Hub, outgoing: &Outgoing, id: Uuid) -> Result<(), StoreError> {
    let Some((webhook, taken)) = take_up(hub, id).await? else { return Ok(()) };
    let (to, way) = (&webhook, outgoing);
    let tried: Vec<_> = futures_util::stream::iter(taken)
        .map(|delivery| async move {
            let outcome = send(hub, way, to, &delivery).await;
            (delivery, outcome)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (sent_to, tried) = (&webhook.url, &tried);
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let now = hub.now().0;
            let Some(mut webhook) = tx.by_ids::<Webhook>([id]).await?.into_iter().next() else {
                return Ok(());
            };
            let there = tx.by_ids::<WebhookDelivery>(tried.iter().map(|(delivery, _)| delivery.id)).await?;
            let there: BTreeMap<Uuid, WebhookDelivery> = there.into_iter().map(|it| (it.id, it)).collect();
            let (mut any_taken, mut away, mut gone, mut after) = (false, false, false, Vec::new());
            for (delivery, outcome) in tried.iter().cloned() {
                any_taken |= matches!(outcome, Ok(200..=299));
                // Whoever turns one down may take the next; who is away or has too much is left in peace.
                away |= !matches!(outcome, Ok(status) if status < 500 && status != BUSY);
                gone |= outcome == Ok(GONE);
                // Given up meanwhile, or taken up by another hub because this one was slow: then that holds, unless it arrived.
                let same = there.get(&delivery.id).is_some_and(|it| {
                    it.attempts == delivery.attempts && it.state == WebhookDeliveryState::Pending
                });
                if same || (there.contains_key(&delivery.id) && matches!(outcome, Ok(200..=299))) {
                    after.push(tried_once(delivery, outcome, now));
                }
            }
            if webhook.url != *sent_to {
                // What an old address answered says nothing of the new one.
                tx.put(&after).await?;
                return tx.commit().await;
            }
            webhook.failing_since = if any_taken { None } else { webhook.failing_since.or(Some(now)) };
            webhook.failures = if away { webhook.failures + 1 } else { 0 };
            webhook.not_before = if away { now + wait_ms(webhook.failures) } else { now };
            webhook.enabled &= !gone;
            tx.put(&after).await?;
            if gone {
                tracing::warn!("webhook {id} says that it is gone (410), and is switched off");
                tx.give_up_deliveries(
                    id,
                    "the address said that it is gone (410): the webhook was switched off",
                )
                .await?;
            }
            tx.put(&[webhook]).await?;
            tx.commit().await
        })
    })
    .await
}

/// Takes up what is due of a webhook: no other hub tries that for a while.
async fn take_up(hub: &Hub, id: Uuid) -> Result<Option<(Webhook, Vec<WebhookDelivery>)>, StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let now = hub.now().0;
            let webhook = tx.by_ids::<Webhook>([id]).await?.into_iter().next();
            let Some(webhook) = webhook.filter(|webhook| webhook.enabled && webhook.not_before <= now) else {
                return Ok(None);
            };
            let mut taken = tx.deliveries_due(id, now, BATCH).await?;
            if taken.is_empty() {
                return Ok(None);
            }
            for delivery in &mut taken {
                delivery.attempts += 1;
                delivery.tried_at = Some(now);
                delivery.next_at = now + LEASE_MS;
            }
            tx.put(&taken).await?;
            tx.commit().await?;
            Ok(Some((webhook, taken)))
        })
    })
    .await
}

async fn send(
    hub: &Hub,
    outgoing: &Outgoing,
    webhook: &Webhook,
    delivery: &WebhookDelivery,
) -> Result<u16, Failed> {
    let headers = headers(webhook, delivery, hub.now().0 / 1_000)?;
    outgoing.post(&webhook.url, headers, delivery.payload.clone()).await
}

fn headers(webhook: &Webhook, delivery: &WebhookDelivery, at: i64) -> Result<HeaderMap, Failed> {
    let (id, at) = (delivery.id.to_string(), at.to_string());
    let signature = signature(&webhook.secret, &id, &at, &delivery.payload)?;
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signature)] {
        headers.insert(name, value.parse().map_err(|_| Failed(format!("{name} cannot be sent")))?);
    }
    Ok(headers)
}

/// `v1,` and the base64 of HMAC-SHA-256 over id, time in seconds and body, joined by dots.
fn signature(secret: &str, id: &str, at: &str, body: &str) -> Result<String, Failed> {
    let unreadable =
        || Failed("the webhook's secret cannot be read: delete it and make a new one".to_owned());
    let key = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.ok_or_else(unreadable)?).map_err(|_| unreadable())?;
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

fn wait_ms(failures: i64) -> i64 {
    let step = usize::try_from(failures.max(1) - 1).unwrap_or(usize::MAX).min(WAITS_S.len() - 1);
    WAITS_S[step] * 1_000
}

/// A delivery after an attempt.
fn tried_once(delivery: WebhookDelivery, outcome: Result<u16, Failed>, now: i64) -> WebhookDelivery {
    let (status, error) = match outcome {
        Ok(status @ 200..=299) => {
            let state = WebhookDeliveryState::Delivered;
            return WebhookDelivery { state, last_status: Some(status.into()), last_error: None, ..delivery };
        }
        Ok(status) => (Some(status.into()), format!("answered with status {status}")),
        Err(Failed(why)) => (None, why),
    };
    let over = now - delivery.created_at >= TRIED_MS;
    let state = if over { WebhookDeliveryState::Failed } else { WebhookDeliveryState::Pending };
    let next_at = now + wait_ms(delivery.attempts);
    WebhookDelivery { state, last_status: status, last_error: Some(error), next_at, ..delivery }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]
mod tests {
    use super::{TRIED_MS, signature, tried_once, wait_ms};
    use crate::outgoing::Failed;
    use crate::store::entity::{WebhookDelivery, WebhookDeliveryState, WebhookEvent};

    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_delivery_is_tried_for_three_days_at_longer_and_longer_intervals() {
        let mut delivery = WebhookDelivery {
            id: uuid::Uuid::nil(),
            webhook_id: uuid::Uuid::nil(),
            event: WebhookEvent::SwipeReceived,
            payload: String::new(),
            state: WebhookDeliveryState::Pending,
            created_at: 0,
            attempts: 0,
            tried_at: None,
            last_status: None,
            last_error: None,
            next_at: 0,
        };
        let mut tries = 0;
        while delivery.state == WebhookDeliveryState::Pending {
            let now = delivery.next_at;
            delivery.attempts += 1;
            tries += 1;
            delivery = tried_once(delivery, Err(Failed("nobody there".to_owned())), now);
            assert!(delivery.next_at - now <= 3_600_000);
        }
        assert_eq!(delivery.state, WebhookDeliveryState::Failed);
        assert!((TRIED_MS..TRIED_MS + 3_600_000).contains(&(delivery.next_at - wait_ms(delivery.attempts))));
        assert!((70..90).contains(&tries), "{tries}");
        let taken = tried_once(delivery, Ok(204), TRIED_MS * 2);
        assert_eq!((taken.state, taken.last_status), (WebhookDeliveryState::Delivered, Some(204)));
    }
}
