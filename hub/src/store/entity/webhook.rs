//! Addresses that are told of events, and what they are told.

use uuid::Uuid;

use super::Entity;
use crate::store::{FromValue, Row, StoreError, Value};

words! {
    /// What a webhook may be told of.
    WebhookEvent {
        /// A person should look at something: a reader was opened, a gateway's storage was cloned, swipes are lost.
        AlertRaised = "ALERT_RAISED",
        /// Marks changed. A mark that is new and EXPECTED is a class list's, and is not told.
        AttendanceChanged = "ATTENDANCE_CHANGED",
        /// An export that was asked for is done, failed or was stopped.
        ExportFinished = "EXPORT_FINISHED",
        /// An import that was asked for is checked, applied, refused or failed.
        ImportFinished = "IMPORT_FINISHED",
        /// A register is final: all swipes are in.
        RegisterFinalised = "REGISTER_FINALISED",
        /// A session is new, or another than it was: its time, rooms, groups or policy, called off or taken up again.
        SessionChanged = "SESSION_CHANGED",
        /// A swipe came in.
        SwipeReceived = "SWIPE_RECEIVED",
    }
}
words! {
    /// How a delivery fares.
    WebhookDeliveryState {
        /// The address took it, with a status from 200 to 299.
        Delivered = "DELIVERED",
        /// It was tried for three days, or the webhook was switched off.
        Failed = "FAILED",
        /// It is tried, now and again.
        Pending = "PENDING",
    }
}
entity! {
    /// An address that is told of events.
    Webhook in "webhook" by "created_at" {
        /// Its id.
        id: Uuid,
        /// Where it is.
        url: String,
        /// What it is told of, words separated by commas.
        events: String,
        /// What deliveries are signed with: `whsec_` and base64.
        secret: String,
        /// Whether it is told anything.
        enabled: bool,
        /// The name of whoever made it.
        created_by: String,
        /// When it was made.
        created_at: i64,
        /// How many attempts in a row failed.
        failures: i64,
        /// Since when they fail.
        failing_since: Option<i64>,
        /// It is left in peace until then.
        not_before: i64,
    }
}
entity! {
    /// One event on its way to one webhook.
    WebhookDelivery in "webhook_delivery" by "id" {
        /// Its id, and the event's: the same at each attempt.
        id: Uuid,
        /// The webhook.
        webhook_id: Uuid,
        /// What happened.
        event: WebhookEvent,
        /// The body, as JSON.
        payload: String,
        /// How it fares.
        state: WebhookDeliveryState,
        /// When it happened.
        created_at: i64,
        /// How often it was tried.
        attempts: i64,
        /// When it was tried last.
        tried_at: Option<i64>,
        /// The last answer's HTTP status.
        last_status: Option<i64>,
        /// What went wrong last.
        last_error: Option<String>,
        /// When it is tried next, at the earliest; while a hub tries it, when another may.
        next_at: i64,
    }
}

impl Webhook {
    /// Whether it is told of an event.
    #[must_use]
    pub fn hears(&self, event: WebhookEvent) -> bool {
        self.enabled && self.events.split(',').any(|word| word == event.word())
    }
}
