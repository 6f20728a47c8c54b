//! Imports in tests: read, made, and what came of them in a form that can be compared.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should stop at once, and say where")]

use std::path::Path;

use rollcall_hub::import::sheet::{self, Mapping};
use rollcall_hub::import::{Facts, calendar};
use rollcall_hub::service::import::{Order, Report, import};
use rollcall_hub::store::entity::SessionKind;

use crate::hub::{TestHub, ms};

/// An import of a source, applied, that lets no more than a tenth go.
#[must_use]
pub fn order(source: &str) -> Order {
    Order { source: source.to_owned(), dry_run: false, accept_removals: false }
}

/// Reads a table by one of the mappings that are shipped.
#[must_use]
pub fn table(mapping: &str, text: &str) -> Facts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/import").join(mapping);
    let mapping = Mapping::read(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut facts = Facts::default();
    sheet::read(
        &mut facts,
        "t.csv",
        text.as_bytes(),
        &jiff::tz::TimeZone::get("Europe/London").unwrap(),
        &mapping,
    );
    facts
}

/// Reads a calendar; its sessions are in these rooms and groups, or where none are named in those that it names.
#[must_use]
pub fn feed_of(text: &str, rooms: &[&str], groups: &[&str]) -> Facts {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let options = calendar::Options {
        rooms: named(rooms),
        groups: named(groups),
        groups_from: None,
        course: None,
        kind: SessionKind::Lecture,
        horizon: ms("2027-10-01T00:00:00Z"),
    };
    let mut facts = Facts::default();
    let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
    calendar::read(&mut facts, "f.ics", text.as_bytes(), &zone, &options);
    facts
}

/// Imports.
pub async fn imported(hub: &TestHub, facts: &Facts, order: &Order) -> Report {
    import(&hub.running.hub, None, facts, order).await.unwrap()
}

/// What became of the kinds: created, updated, removed, unchanged.
#[must_use]
pub fn counts(report: &Report) -> Vec<(&'static str, [usize; 4])> {
    assert_eq!(report.problems.list, Vec::new());
    report
        .kinds
        .iter()
        .map(|(kind, tally)| (*kind, [tally.created, tally.updated, tally.removed, tally.unchanged]))
        .collect()
}

/// What is wrong, with its place.
#[must_use]
pub fn problems(report: &Report) -> Vec<String> {
    report.problems.list.iter().map(|it| format!("{}: {}", it.place, it.message)).collect()
}
