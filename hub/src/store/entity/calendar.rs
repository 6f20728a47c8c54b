//! Calendars that the hub fetches by itself.

use uuid::Uuid;

use super::Entity;
use crate::store::{Row, StoreError, Value};

entity! {
    /// A calendar that is fetched again and again.
    CalendarSource in "calendar_source" by "source" {
        /// Its id.
        id: Uuid,
        /// Where it is.
        url: String,
        /// Under which name its imports are known.
        source: String,
        /// How it is read, as JSON.
        recipe: String,
        /// How long after one look the next comes, in milliseconds.
        every_ms: i64,
        /// Whether it is fetched.
        enabled: bool,
        /// The token of whoever set it up: imports are made in its name.
        token_id: Uuid,
        /// Its name.
        created_by: String,
        /// When it was set up.
        created_at: i64,
        /// When it is looked at next; while a hub looks, when another may.
        next_at: i64,
        /// When it was last there.
        fetched_at: Option<i64>,
        /// What its server called the version that was imported last (RFC 9110, section 8.8.3).
        etag: Option<String>,
        /// When that was last modified, as its server wrote it.
        last_modified: Option<String>,
        /// The SHA-256 of what was imported last, hexadecimal.
        digest: Option<String>,
        /// The last import of it.
        import_id: Option<Uuid>,
        /// Since when it cannot be fetched.
        failing_since: Option<i64>,
        /// Why.
        last_error: Option<String>,
        /// Its next import may take away more than a tenth.
        accept_removals: bool,
    }
}
