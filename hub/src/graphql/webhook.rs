//! Webhooks: addresses that are told of events, and how that goes.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};

use super::connection::{self, connection, page};
use super::context::{Needs, READERS, WRITERS, caller, fault, hub, local};
use super::id::Kind;
use super::payload::{UserError, user_errors};
use crate::scalar::{DateTime, UuidScalar};
use crate::service::webhooks::{self, SaveWebhook};
use crate::store::entity::{self, WebhookDeliveryState, WebhookEvent};
use crate::store::list;

/// Whether a webhook is told anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum WebhookState {
    /// It is.
    Active,
    /// It was switched off, by a person or by answering 410.
    Disabled,
    /// The last attempt came to nothing; it is tried again.
    Failing,
}

/// An address that is told of events. Deliveries are signed as the Standard Webhooks specification says (HMAC-SHA-256
/// over id, time and body), carry the event's id, are tried again for three days, and come at least once and in no order.
#[derive(Clone)]
pub struct Webhook(pub entity::Webhook);

/// An address that is told of events. Deliveries are signed as the Standard Webhooks specification says (HMAC-SHA-256
/// over id, time and body), carry the event's id, are tried again for three days, and come at least once and in no order.
#[Object(guard = "Needs(READERS)")]
impl Webhook {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Webhook.id(self.0.id)
    }
    /// Where it is.
    async fn url(&self) -> &str {
        &self.0.url
    }
    /// What it is told of.
    async fn events(&self) -> Vec<WebhookEvent> {
        self.0.events.split(',').filter_map(WebhookEvent::from_word).collect()
    }
    /// Whether it is told anything.
    async fn state(&self) -> WebhookState {
        match (self.0.enabled, self.0.failing_since) {
            (false, _) => WebhookState::Disabled,
            (true, Some(_)) => WebhookState::Failing,
            (true, None) => WebhookState::Active,
        }
    }
    /// Since when all attempts come to nothing; null while they do not.
    async fn failing_since(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.failing_since.map(|at| local(ctx, at)).transpose()
    }
    /// When it was made.
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.created_at)
    }
    /// The name of whoever made it.
    async fn created_by(&self) -> &str {
        &self.0.created_by
    }
    /// What it was told and is to be told, the latest first; what has ended is kept for 30 days.
    #[graphql(complexity = "5 + child_complexity")]
    async fn deliveries(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only those that fare so.")] state: Option<WebhookDeliveryState>,
    ) -> Result<WebhookDeliveryConnection> {
        let mut list = list::webhook_deliveries().and("v.webhook_id = {}", self.0.id);
        if let Some(state) = state {
            list = list.and("v.state = {}", state);
        }
        list.descending = true;
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(WebhookDeliveryConnection::new(paged, total, WebhookDelivery))
    }
}

/// One event on its way to one webhook.
#[derive(Clone)]
pub struct WebhookDelivery(pub entity::WebhookDelivery);

/// One event on its way to one webhook.
#[Object(guard = "Needs(READERS)")]
impl WebhookDelivery {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::WebhookDelivery.id(self.0.id)
    }
    /// The event's id, sent as `webhook-id`: the same at each attempt.
    async fn event_id(&self) -> UuidScalar {
        UuidScalar(self.0.id)
    }
    /// What happened.
    async fn event(&self) -> WebhookEvent {
        self.0.event
    }
    /// How it fares.
    async fn state(&self) -> WebhookDeliveryState {
        self.0.state
    }
    /// How often it was tried.
    async fn attempts(&self) -> i64 {
        self.0.attempts
    }
    /// The last answer's HTTP status; null where there was none.
    async fn last_status(&self) -> Option<i64> {
        self.0.last_status
    }
    /// What went wrong last.
    async fn last_error(&self) -> Option<&str> {
        self.0.last_error.as_deref()
    }
    /// When it happened.
    async fn at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.created_at)
    }
    /// When it was tried last.
    async fn tried_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.tried_at.map(|at| local(ctx, at)).transpose()
    }
}

connection! {
    /// A page of webhooks.
    WebhookConnection,
    /// A webhook and its place.
    WebhookEdge, Webhook
}
connection! {
    /// A page of deliveries.
    WebhookDeliveryConnection,
    /// A delivery and its place.
    WebhookDeliveryEdge, WebhookDelivery
}

/// The part of the API that tells of webhooks.
#[derive(Default)]
pub struct Webhooks;

#[Object]
impl Webhooks {
    /// Webhooks, the latest first.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn webhooks(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
    ) -> Result<WebhookConnection> {
        let mut list = list::webhooks();
        list.descending = true;
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(WebhookConnection::new(paged, total, Webhook))
    }
}

/// A webhook, new when `id` is null.
#[derive(InputObject)]
pub struct WebhookInput {
    /// Which.
    id: Option<ID>,
    /// Where it is: https, and no private address unless the hub was started with --allow-private-addresses.
    url: String,
    /// What it is told of.
    events: Vec<WebhookEvent>,
    /// Whether it is told anything. Switching it off gives up what waits.
    #[graphql(default = true)]
    enabled: bool,
}

/// A webhook to drop.
#[derive(InputObject)]
pub struct DeleteWebhookInput {
    /// The webhook.
    id: ID,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct SaveWebhookPayload {
    /// The webhook.
    webhook: Option<Webhook>,
    /// What deliveries are signed with, `whsec_` and base64: shown this once, and only of a new one.
    secret: Option<String>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct DeleteWebhookPayload {
    /// What is gone.
    deleted_id: Option<ID>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// The part of the API that makes and drops webhooks.
#[derive(Default)]
pub struct WebhookWrites;

/// The webhook that an id names; of another kind, one that is not there.
fn named(id: &ID) -> uuid::Uuid {
    Kind::Webhook.named(id).unwrap_or_default()
}

#[Object]
impl WebhookWrites {
    /// Makes or changes a webhook.
    #[graphql(guard = "Needs(WRITERS)")]
    async fn save_webhook(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The webhook.")] input: WebhookInput,
    ) -> Result<SaveWebhookPayload> {
        let WebhookInput { id, url, events, enabled } = input;
        let asked = SaveWebhook { id: id.as_ref().map(named), url, events, enabled };
        let saved = webhooks::save(hub(ctx)?, caller(ctx)?, &asked).await.map_err(|error| fault(&error))?;
        Ok(match saved {
            Ok((webhook, secret)) => {
                SaveWebhookPayload { webhook: Some(Webhook(webhook)), secret, errors: Vec::new() }
            }
            Err(refusals) => {
                SaveWebhookPayload { webhook: None, secret: None, errors: user_errors(refusals) }
            }
        })
    }

    /// Drops a webhook, and all that waited for it.
    #[graphql(guard = "Needs(WRITERS)")]
    async fn delete_webhook(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The webhook.")] input: DeleteWebhookInput,
    ) -> Result<DeleteWebhookPayload> {
        let gone =
            webhooks::delete(hub(ctx)?, Some(named(&input.id))).await.map_err(|error| fault(&error))?;
        Ok(match gone {
            Ok(id) => DeleteWebhookPayload { deleted_id: Some(Kind::Webhook.id(id)), errors: Vec::new() },
            Err(refusals) => DeleteWebhookPayload { deleted_id: None, errors: user_errors(refusals) },
        })
    }
}
