//! Imports and exports that were asked for over the API, and their files.

use uuid::Uuid;

use super::{Entity, ExportFormat, ExportState, ImportKind, ImportState};
use crate::store::{Row, StoreError, Value};

entity! {
    /// A file that came over HTTP, or waits to be fetched.
    Upload in "upload" by "created_at" {
        /// Its id.
        id: Uuid,
        /// How whoever sent it named it.
        name: String,
        /// Its size in bytes, so far.
        size: i64,
        /// Whether all of it is there.
        complete: bool,
        /// Whether it is an export's.
        exported: bool,
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
        /// Whether it was asked only to be checked.
        dry_run: bool,
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
        /// How often it was taken up.
        attempts: i64,
        /// What came of it, as JSON.
        report: Option<String>,
    }
}
entity! {
    /// An export that was asked for.
    ExportJob in "export_job" by "created_at" {
        /// Its id.
        id: Uuid,
        /// How far it is.
        state: ExportState,
        /// How its rows are written.
        format: ExportFormat,
        /// The query.
        query: String,
        /// Its variables, as JSON.
        variables: String,
        /// The token of whoever asked for it.
        token_id: Uuid,
        /// The name of whoever asked for it.
        created_by: String,
        /// When it was asked for.
        created_at: i64,
        /// When it ended.
        finished_at: Option<i64>,
        /// The instant whose data it holds.
        snapshot_at: Option<i64>,
        /// How many rows it has so far.
        objects: i64,
        /// How large its file is so far.
        bytes: i64,
        /// Its file.
        file_id: Option<Uuid>,
        /// Why it failed.
        failure: Option<String>,
        /// The hub that works on it.
        holder: Option<Uuid>,
        /// Until when nobody else will.
        leased_until: Option<i64>,
        /// How often it was taken up.
        attempts: i64,
    }
}
