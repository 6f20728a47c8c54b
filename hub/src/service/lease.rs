//! Work that any hub over the database may do, one piece after the other: a hub that takes a piece up holds it for a while, and
//! what a hub left when it went is taken up by another, or by itself when it is back. Should two work on one, because the
//! first was slow, the first to end it wins.

use serde_json::Value as Json;
use uuid::Uuid;

use super::{Hub, webhooks};
use crate::store::StoreError;
use crate::store::entity::{Entity, WebhookEvent};

/// How long nobody else takes up what a hub took up, in milliseconds.
pub const LEASE_MS: i64 = 120_000;

/// How long nobody takes up what is in its one long transaction, during which it can say nothing of itself.
pub const LONG_LEASE_MS: i64 = 600_000;

/// How often a piece of work is taken up before it is given up: what takes a hub down should not take down all.
pub const MAX_ATTEMPTS: i64 = 3;

/// A piece of work with a table of its own, and columns `state` and `leased_until`.
pub trait Leased: Entity {
    /// The states in which somebody has to work on it, as SQL lists them.
    const WAITING: &'static str;
    /// Whether it is still at the step at which another hub, or this one, took it up.
    fn is_at_step_of(&self, taken: &Self) -> bool;
    /// How often it was taken up.
    fn attempts(&mut self) -> &mut i64;
    /// Has it held by a hub until an instant, or by nobody.
    fn hold(&mut self, holder: Option<Uuid>, until: Option<i64>);
    /// What webhooks are told of it, once it has ended.
    fn end(&self) -> Option<(WebhookEvent, Json)>;
}

/// Takes up what comes next, if anything waits.
///
/// # Errors
/// When the store fails.
pub async fn take_up<J: Leased>(hub: &Hub, holder: Uuid) -> Result<Option<J>, StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            // Hubs that have nothing to do do not keep others from writing.
            if hub.read_aside().await?.waiting(J::TABLE, J::WAITING, hub.now().0).await?.is_none() {
                return Ok(None);
            }
            let mut tx = attempt.write().await?;
            let now = hub.now().0;
            let Some(id) = tx.waiting(J::TABLE, J::WAITING, now).await? else { return Ok(None) };
            let Some(mut job) = tx.by_ids::<J>([id]).await?.into_iter().next() else { return Ok(None) };
            job.hold(Some(holder), Some(now + LEASE_MS));
            *job.attempts() += 1;
            tx.put(std::slice::from_ref(&job)).await?;
            tx.commit().await?;
            Ok(Some(job))
        })
    })
    .await
}

/// Has a piece of work held for so long from now on; `false` where somebody else ended its step.
///
/// # Errors
/// When the store fails.
pub async fn hold_on<J: Leased>(
    hub: &Hub,
    held: &J,
    holder: Option<Uuid>,
    for_ms: i64,
) -> Result<bool, StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let Some(mut job) = tx.by_ids::<J>([held.id()]).await?.into_iter().next() else {
                return Ok(false);
            };
            if !job.is_at_step_of(held) {
                return Ok(false);
            }
            job.hold(holder, Some(hub.now().0 + for_ms));
            tx.put(std::slice::from_ref(&job)).await?;
            tx.commit().await?;
            Ok(true)
        })
    })
    .await
}

/// Writes how far a piece of work is, unless somebody else ended its step.
///
/// # Errors
/// When the store fails.
pub async fn replace<J: Leased>(hub: &Hub, held: &J, now: J) -> Result<bool, StoreError> {
    let now = &now;
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let there = tx.by_ids::<J>([held.id()]).await?;
            if !there.first().is_some_and(|there| there.is_at_step_of(held)) {
                return Ok(false);
            }
            tx.put(std::slice::from_ref(now)).await?;
            let mut news = Vec::new();
            webhooks::work_ended(hub, &mut tx, now, &mut news).await?;
            tx.commit().await?;
            hub.tell(news);
            Ok(true)
        })
    })
    .await
}
