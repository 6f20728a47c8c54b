//! Which deliveries are due.

use uuid::Uuid;

use super::entity::{WebhookDelivery, WebhookDeliveryState};
use super::{StoreError, Tx, Value};

impl Tx {
    /// The webhooks that have something due at an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn webhooks_due(&mut self, now: i64) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT w.id FROM webhook w WHERE w.enabled = 1 AND w.not_before <= $1 AND EXISTS (SELECT 1 FROM \
             webhook_delivery d WHERE d.webhook_id = w.id AND d.state = 'PENDING' AND d.next_at <= $2) ORDER BY w.created_at";
        let rows = self.fetch(sql, vec![now.into(), now.into()]).await?;
        rows.into_iter().map(|mut row| row.next("webhook.id")).collect()
    }

    /// The deliveries of a webhook that have been due longest at an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn deliveries_due(
        &mut self,
        webhook: Uuid,
        now: i64,
        limit: i64,
    ) -> Result<Vec<WebhookDelivery>, StoreError> {
        let sql = "SELECT d.id FROM webhook_delivery d WHERE d.webhook_id = $1 AND d.state = 'PENDING' AND d.next_at <= $2 \
             ORDER BY d.next_at, d.id LIMIT $3";
        let rows = self.fetch(sql, vec![webhook.into(), now.into(), limit.into()]).await?;
        let ids: Vec<Uuid> = rows
            .into_iter()
            .map(|mut row| row.next("webhook_delivery.id"))
            .collect::<Result<_, StoreError>>()?;
        self.by_ids(ids).await
    }

    /// Gives up all that is on its way to a webhook.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn give_up_deliveries(&mut self, webhook: Uuid, why: &str) -> Result<(), StoreError> {
        let sql =
            "UPDATE webhook_delivery SET state = $1, last_error = $2 WHERE webhook_id = $3 AND state = $4";
        let (failed, pending) = (WebhookDeliveryState::Failed, WebhookDeliveryState::Pending);
        self.execute(sql, vec![failed.into(), why.into(), webhook.into(), pending.into()]).await?;
        Ok(())
    }

    /// Drops a webhook and all that was ever on its way to it.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_webhook(&mut self, webhook: Uuid) -> Result<(), StoreError> {
        for sql in ["DELETE FROM webhook_delivery WHERE webhook_id = $1", "DELETE FROM webhook WHERE id = $1"]
        {
            self.execute(sql, vec![webhook.into()]).await?;
        }
        Ok(())
    }

    /// Whether anything still waits of what happened before one instant, or is kept of what happened before another.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn has_old_deliveries(&mut self, waiting: i64, kept: i64) -> Result<bool, StoreError> {
        for (state, before) in [
            (WebhookDeliveryState::Pending, waiting),
            (WebhookDeliveryState::Delivered, kept),
            (WebhookDeliveryState::Failed, kept),
        ] {
            let sql = "SELECT 1 FROM webhook_delivery WHERE state = $1 AND created_at < $2 LIMIT 1";
            if self.fetch_one(sql, vec![Value::from(state), before.into()]).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives up what still waits of what happened before an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn give_up_old_deliveries(&mut self, before: i64) -> Result<(), StoreError> {
        let sql = "UPDATE webhook_delivery SET state = $1 WHERE state = $2 AND created_at < $3";
        let (failed, pending) = (WebhookDeliveryState::Failed, WebhookDeliveryState::Pending);
        self.execute(sql, vec![failed.into(), pending.into(), before.into()]).await?;
        Ok(())
    }

    /// Drops the deliveries that have ended of what happened before an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_old_deliveries(&mut self, before: i64) -> Result<(), StoreError> {
        // One state after the other, which an index answers.
        for ended in [WebhookDeliveryState::Delivered, WebhookDeliveryState::Failed] {
            let sql = "DELETE FROM webhook_delivery WHERE state = $1 AND created_at < $2";
            self.execute(sql, vec![Value::from(ended), before.into()]).await?;
        }
        Ok(())
    }
}
