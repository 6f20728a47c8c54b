//! How fast a real university's term comes in by tables, in one transaction, and how fast the same files again are seen to
//! change nothing.
//!
//! The term is that of `../shared/data/itc2019`; says that it was skipped where that is not there.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: it says what it found, or stops"
)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reader_sim::itc2019::{self, Options};
use reader_sim::plan::Plan;
use rollcall_hub::import::Facts;
use rollcall_hub::import::sheet::{self, Mapping};
use rollcall_hub::service::import::{Order, import};
use rollcall_tests::hub::TestHub;

/// Name, mapping and text of each table.
fn tables(plan: &Plan) -> Vec<(&'static str, String, String)> {
    let mapping = |kind: &str, columns: &str| {
        let mut text = format!("kind = \"{kind}\"\n[columns]\n");
        columns.split(',').for_each(|column| writeln!(text, "{column} = \"{column}\"").unwrap());
        text + "[formats]\ndate_time = \"%Y-%m-%d %H:%M\"\n"
    };
    let zone = jiff::tz::TimeZone::get(&plan.zone).unwrap();
    let at = |ms: i64| {
        jiff::Timestamp::from_millisecond(ms)
            .unwrap()
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M")
            .to_string()
    };
    let codes = |list: &[usize], code: &dyn Fn(usize) -> String| {
        format!("\"{}\"", list.iter().map(|index| code(*index)).collect::<Vec<_>>().join(","))
    };
    let mut made = Vec::new();
    let mut table = |kind: &'static str, columns: &str, rows: Vec<String>| {
        made.push((kind, mapping(kind, columns), format!("{columns}\n{}\n", rows.join("\n"))));
    };
    table(
        "buildings",
        "code,name",
        plan.buildings.iter().map(|it| format!("{},{}", it.code, it.name)).collect(),
    );
    let room = |it: &reader_sim::plan::Room| {
        format!("{},{},{}", it.code, plan.buildings[it.building].code, it.capacity)
    };
    table("rooms", "code,building,capacity", plan.rooms.iter().map(room).collect());
    table(
        "courses",
        "code,title",
        plan.courses.iter().map(|it| format!("{},{}", it.code, it.title)).collect(),
    );
    let group = |it: &reader_sim::plan::Group| format!("{},{}", it.code, plan.courses[it.course].code);
    table("groups", "code,course", plan.groups.iter().map(group).collect());
    table(
        "students",
        "number,name",
        plan.students.iter().map(|it| format!("{},{}", it.number, it.name)).collect(),
    );
    let stay = |it: &reader_sim::plan::Membership| {
        format!("{},{},{}", plan.groups[it.group].code, plan.students[it.student].number, it.from)
    };
    table("memberships", "group,student,from", plan.memberships.iter().map(stay).collect());
    let session = |it: &reader_sim::plan::Session| {
        let rooms = codes(&it.rooms, &|room| plan.rooms[room].code.clone());
        let groups = codes(&it.groups, &|group| plan.groups[group].code.clone());
        let (starts, ends) = (at(it.start_ms), at(it.end_ms));
        format!(
            "{},{},{},{starts},{ends},{rooms},{groups}",
            it.external_id,
            it.title.replace(',', ";"),
            plan.courses[it.course].code
        )
    };
    table(
        "sessions",
        "external_id,title,course,start,end,rooms,groups",
        plan.sessions.iter().map(session).collect(),
    );
    made
}

async fn round(hub: &TestHub, plan: &Plan, tables: &[(&'static str, String, String)]) -> (Duration, usize) {
    let zone = jiff::tz::TimeZone::get(&plan.zone).unwrap();
    let begin = Instant::now();
    let mut facts = Facts::default();
    for (kind, mapping, text) in tables {
        sheet::read(
            &mut facts,
            &format!("{kind}.csv"),
            text.as_bytes(),
            &zone,
            &Mapping::read(mapping).unwrap(),
        );
    }
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
    let term_start = jiff::civil::date(2027, 2, 15);
    let options = Options { term_start, day: term_start, days: 1, buildings: 3, seed: 1 };
    let plan = itc2019::load(&problem, &solution, &options).unwrap();
    let tables = tables(&plan);
    let hub = TestHub::start().await;
    hub.clock.set("2027-01-15T12:00:00Z");
    println!("a real term, new:");
    let (new, _) = round(&hub, &plan, &tables).await;
    println!("the same again:");
    let (again, _) = round(&hub, &plan, &tables).await;
    let expected = hub.read("{ attendance { totalCount } }").await;
    println!(
        "{} marks of students who are on class lists in {new:.2?} (limit 5 s); the same files again in {again:.2?}",
        expected["attendance"]["totalCount"]
    );
}
