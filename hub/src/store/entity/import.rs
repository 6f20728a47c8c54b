//! Imports that were asked for over the API, and the files that came for them.

use uuid::Uuid;

use super::{Entity, ImportKind, ImportState};
use crate::store::{Row, StoreError, Value};

entity! {
    /// A file that came over HTTP.
    Upload in "upload" by "created_at" {
        /// Its id.
        id: Uuid,
        /// How whoever sent it named it.
        name: String,
        /// Its size in bytes, so far.
        size: i64,
        /// Whether all of it is there.
        complete: bool,
        /// When it began to come.
        created_at: i64,
    }
}
entity! {
    /// An import that was asked for over the API.
    ImportJob in "import_job" by "created_at" {
        /// Its id.
        id: Uuid,
        /// How far it is.
        state: ImportState,
        /// What its files are.
        kind: ImportKind,
        /// Under which name its source is known.
        source: String,
        /// How its files are to be read, as JSON.
        recipe: String,
        /// Its files' ids, separated by commas.
        uploads: String,
        /// Whether more than a tenth of what the source named before may go.
        accept_removals: bool,
        /// The token of whoever asked for what it does now.
        token_id: Uuid,
        /// The name of whoever asked for it.
        created_by: String,
        /// When it was asked for.
        created_at: i64,
        /// When it was checked, applied or refused.
        finished_at: Option<i64>,
        /// The hub that works on it.
        holder: Option<Uuid>,
        /// Until when nobody else will.
        leased_until: Option<i64>,
        /// What came of it, as JSON.
        report: Option<String>,
    }
}
