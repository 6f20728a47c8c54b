//! The schema, version by version: one text for all engines, written in SQLite's types.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::StoreError;

/// Version, name and text.
const VERSIONS: [(i64, &str, &str); 29] = [
    (1, "foundation", include_str!("../../migrations/0001_foundation.sql")),
    (2, "evidence", include_str!("../../migrations/0002_evidence.sql")),
    (3, "reader events", include_str!("../../migrations/0003_reader_events.sql")),
    (4, "commissioning", include_str!("../../migrations/0004_commissioning.sql")),
    (5, "imports and knowledge", include_str!("../../migrations/0005_imports_and_knowledge.sql")),
    (6, "import jobs", include_str!("../../migrations/0006_import_jobs.sql")),
    (7, "exports", include_str!("../../migrations/0007_exports.sql")),
    (8, "counts of students", include_str!("../../migrations/0008_counts_of_students.sql")),
    (9, "webhooks", include_str!("../../migrations/0009_webhooks.sql")),
    (10, "corrections", include_str!("../../migrations/0010_corrections.sql")),
    (11, "calendar sources", include_str!("../../migrations/0011_calendar_sources.sql")),
    (12, "policy by kind", include_str!("../../migrations/0012_policy_by_kind.sql")),
    (13, "programmes", include_str!("../../migrations/0013_programmes.sql")),
    (14, "intake heads", include_str!("../../migrations/0014_intake_heads.sql")),
    (15, "outcomes", include_str!("../../migrations/0015_outcomes.sql")),
    (16, "departments", include_str!("../../migrations/0016_departments.sql")),
    (
        17,
        "lineage and marks taken back",
        include_str!("../../migrations/0017_lineage_and_marks_taken_back.sql"),
    ),
    (18, "marks as they were", include_str!("../../migrations/0018_marks_as_they_were.sql")),
    (19, "when cards were read", include_str!("../../migrations/0019_when_cards_were_read.sql")),
    (20, "decided alone", include_str!("../../migrations/0020_decided_alone.sql")),
    (21, "exchange", include_str!("../../migrations/0021_exchange.sql")),
    (22, "import items by name", include_str!("../../migrations/0022_import_item_by_name.sql")),
    (23, "uncertain swipes", include_str!("../../migrations/0023_uncertain_swipes.sql")),
    (24, "exchange answer", include_str!("../../migrations/0024_exchange_answer.sql")),
    (
        25,
        "sessions and stays as they were",
        include_str!("../../migrations/0025_sessions_and_stays_as_they_were.sql"),
    ),
    (
        26,
        "cards and policies as they were",
        include_str!("../../migrations/0026_cards_and_policies_as_they_were.sql"),
    ),
    (27, "registers as they stood", include_str!("../../migrations/0027_registers_as_they_stood.sql")),
    (28, "expected at doors since", include_str!("../../migrations/0028_expected_at_doors_since.sql")),
    (29, "removals of calendars", include_str!("../../migrations/0029_removals_of_calendars.sql")),
];

/// What takes each version since the first away again.
const WAYS_BACK: [(i64, &str); 28] = [
    (2, include_str!("../../migrations/back/0002_evidence.sql")),
    (3, include_str!("../../migrations/back/0003_reader_events.sql")),
    (4, include_str!("../../migrations/back/0004_commissioning.sql")),
    (5, include_str!("../../migrations/back/0005_imports_and_knowledge.sql")),
    (6, include_str!("../../migrations/back/0006_import_jobs.sql")),
    (7, include_str!("../../migrations/back/0007_exports.sql")),
    (8, include_str!("../../migrations/back/0008_counts_of_students.sql")),
    (9, include_str!("../../migrations/back/0009_webhooks.sql")),
    (10, include_str!("../../migrations/back/0010_corrections.sql")),
    (11, include_str!("../../migrations/back/0011_calendar_sources.sql")),
    (12, include_str!("../../migrations/back/0012_policy_by_kind.sql")),
    (13, include_str!("../../migrations/back/0013_programmes.sql")),
    (14, include_str!("../../migrations/back/0014_intake_heads.sql")),
    (15, include_str!("../../migrations/back/0015_outcomes.sql")),
    (16, include_str!("../../migrations/back/0016_departments.sql")),
    (17, include_str!("../../migrations/back/0017_lineage_and_marks_taken_back.sql")),
    (18, include_str!("../../migrations/back/0018_marks_as_they_were.sql")),
    (19, include_str!("../../migrations/back/0019_when_cards_were_read.sql")),
    (20, include_str!("../../migrations/back/0020_decided_alone.sql")),
    (21, include_str!("../../migrations/back/0021_exchange.sql")),
    (22, include_str!("../../migrations/back/0022_import_item_by_name.sql")),
    (23, include_str!("../../migrations/back/0023_uncertain_swipes.sql")),
    (24, include_str!("../../migrations/back/0024_exchange_answer.sql")),
    (25, include_str!("../../migrations/back/0025_sessions_and_stays_as_they_were.sql")),
    (26, include_str!("../../migrations/back/0026_cards_and_policies_as_they_were.sql")),
    (27, include_str!("../../migrations/back/0027_registers_as_they_stood.sql")),
    (28, include_str!("../../migrations/back/0028_expected_at_doors_since.sql")),
    (29, include_str!("../../migrations/back/0029_removals_of_calendars.sql")),
];

/// The version that this program brings a database to.
pub const NEWEST: i64 = VERSIONS[VERSIONS.len() - 1].0;

/// The text that takes a version away.
pub(super) fn way_back(version: i64) -> Option<&'static str> {
    WAYS_BACK.iter().find(|(of, _)| *of == version).map(|(_, sql)| *sql)
}

/// All versions, with the text as an engine wants it.
pub(super) fn migrator(translate: fn(&str) -> String) -> Migrator {
    let versions = VERSIONS.into_iter().map(|(version, name, sql)| {
        let sql = AssertSqlSafe(translate(sql)).into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(versions.collect())
}

/// Why a database could not be brought to this version, in words; `name` is the database's.
pub(super) fn explain(error: MigrateError, name: &str) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => StoreError::Version(format!(
            "the database {name} has schema version {version}, which this program does not know: it was made by a \
             newer version. Install that version; or let it make this into ours: 'rollcall-hub downgrade --to {NEWEST}' there; \
             or restore a backup made before the upgrade; nothing was changed"
        )),
        MigrateError::VersionMismatch(version) => StoreError::Version(format!(
            "the database {name} has another schema of version {version} than this program: it is not one of ours, \
             or of a version that was never released; nothing was changed"
        )),
        MigrateError::Execute(error) => error.into(),
        other => StoreError::Version(format!("{name}: {other}")),
    }
}
