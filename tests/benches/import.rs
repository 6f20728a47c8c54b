//! How fast a real university's term comes in by its two files, in one transaction, and how fast the same files again are
//! seen to change nothing.
//!
//! The term is that of `../shared/data/itc2019`; says that it was skipped where that is not there.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: it says what it found, or stops"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rollcall_hub::import::read_file;
use rollcall_hub::import::recipe::{DEFAULT_BUILDINGS, Recipe};
use rollcall_hub::service::import::{Order, import};
use rollcall_tests::hub::TestHub;

async fn round(hub: &TestHub, files: [&Path; 2]) -> (Duration, usize) {
    let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
    let recipe = Recipe::Itc2019 { term_start: "2027-02-15".to_owned(), buildings: DEFAULT_BUILDINGS };
    let begin = Instant::now();
    let mut reading = recipe.begin(&zone, 0).unwrap();
    for file in files {
        let name = file.to_str().unwrap();
        reading.read(name, &read_file(name).unwrap());
    }
    let facts = reading.facts();
    let read = begin.elapsed();
    let order = Order { source: "term".into(), dry_run: false, accept_removals: false };
    let report = import(&hub.running.hub, None, &facts, &order).await.unwrap();
    assert!(report.applied, "{:?}", report.problems);
    let took = begin.elapsed();
    println!("  read {read:.2?}, all {took:.2?}: {} registers derived", report.registers);
    for (kind, tally) in &report.kinds {
        println!("    {kind}: {tally:?}");
    }
    (took, report.registers)
}

#[tokio::main]
async fn main() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/itc2019");
    let [problem, solution] =
        ["muni-fsps-spr17.xml", "solution-muni-fsps-spr17.xml"].map(|name| folder.join(name));
    if !problem.exists() || !solution.exists() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let hub = TestHub::start().await;
    hub.clock.set("2027-01-15T12:00:00Z");
    println!("a real term, new:");
    let (new, _) = round(&hub, [&problem, &solution]).await;
    println!("the same again:");
    let (again, _) = round(&hub, [&problem, &solution]).await;
    let expected = hub.read("{ attendance { totalCount } }").await;
    println!(
        "{} marks of students who are on class lists in {new:.2?} (limit 5 s); the same files again in {again:.2?}",
        expected["attendance"]["totalCount"]
    );
}
