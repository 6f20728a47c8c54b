//! `reader-sim campus` as it is typed: whole days against the oracle, and what it leaves for other programs.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reader_sim::campus;
use reader_sim::expected::{ExpectedEntry, expected};
use reader_sim::generate::{Size, generate};
use reader_sim::plan::Colour;
use rollcall_tests::programs::{Client, Program};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a run may take on a machine that is busy with other things.
const WITHIN: Duration = Duration::from_secs(600);

/// Plays a campus to its end, which must be a good one; gives its totals.
async fn play(arguments: &[&str]) -> Value {
    let mut campus = Program::start("reader-sim", &[&["campus", "--json"], arguments].concat());
    let last = campus.last_line(WITHIN).await;
    let code = campus.ended().await;
    assert_eq!(code, Some(0), "{arguments:?}: {}", campus.all());
    serde_json::from_str(&last).unwrap_or_else(|error| panic!("'{last}' is no JSON: {error}"))
}

fn number(totals: &Value, key: &str) -> u64 {
    totals[key].as_u64().unwrap_or_else(|| panic!("no {key} in {totals}"))
}

/// What was presented where and when, and what the light said to it.
fn answers(trace: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(trace).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let swipes = lines.filter(|line| line["kind"] == "swipe");
    swipes.map(|line| json!([line["presented"], line["reader"], line["colour"]]).to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_campus_plays_the_same_over_a_postgresql_of_its_own() {
    let size = ["--students", "60", "--rooms", "8", "--buildings", "2", "--seed", "3"];
    let mut played = Vec::new();
    for database in [&[][..], &["--database", "postgres"]] {
        let totals = play(&[&size[..], database].concat()).await;
        assert_eq!(number(&totals, "differences"), 0, "{totals}");
        played.push(["registers", "swipes", "present"].map(|key| number(&totals, key)));
    }
    assert!(played[0][1] > 100 && played[0] == played[1], "{played:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_campus_agrees_with_the_oracle_and_the_same_seed_plays_the_same_day() {
    let folder = TempDir::new().unwrap();
    let mut seen = Vec::new();
    for name in ["first.jsonl", "second.jsonl"] {
        let trace = folder.path().join(name);
        let (path, size) =
            (trace.to_str().unwrap(), ["--students", "60", "--rooms", "8", "--buildings", "2"]);
        let totals = play(&[&size[..], &["--seed", "3", "--trace", path]].concat()).await;
        assert_eq!(number(&totals, "differences"), 0, "{totals}");
        assert!(number(&totals, "swipes") > 100, "{totals}");
        seen.push(answers(&trace));
    }
    assert!(seen[0].len() > 100, "only {} in the trace", seen[0].len());
    let text = std::fs::read_to_string(folder.path().join("first.jsonl")).unwrap();
    let mut changes: BTreeSet<String> = BTreeSet::new();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        match line["kind"].as_str().unwrap() {
            "change" => drop(changes.insert(line["what"].as_str().unwrap().to_owned())),
            "light" => assert!(line["room"].is_string() && line["expected"] == line["colour"], "{line}"),
            "swipe" => {
                for field in [
                    "presented",
                    "stamped",
                    "earliest",
                    "latest",
                    "reader",
                    "room",
                    "cursor",
                    "swipeId",
                    "colour",
                ] {
                    assert!(line[field].is_string(), "no {field} in {line}");
                }
                let counts =
                    line["expected"]["credited"] == line["credited"] && line["card"]["raw"].is_string();
                assert!(counts && line.get("student").is_some(), "{line}");
            }
            _ => {}
        }
    }
    assert!(["cancel", "join", "move", "newCard"].iter().all(|it| changes.contains(*it)), "{changes:?}");
    assert_eq!(seen[0], seen[1]);
}

/// An oracle that is wrong stands for a hub or a door that is: each thing that it has wrong must be named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_from_the_oracle_is_named_each_by_itself() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let size = Size { buildings: 1, rooms: 8, students: 40 };
    let plan = generate(7, &size, jiff::civil::date(2026, 11, 4));
    let mut wrong = expected(&plan).unwrap();
    let mut named: Vec<String> = Vec::new();
    // A mark in each of its fields, one too many and one too few.
    let mut marks = wrong.registers.iter_mut().flat_map(|register| {
        let session = plan.sessions[register.session].external_id.clone();
        register.entries.iter_mut().map(move |entry| (session.clone(), entry))
    });
    let mut next = |wanted: fn(&ExpectedEntry) -> bool, change: fn(&mut ExpectedEntry)| {
        let (session, entry) = marks.find(|(_, entry)| wanted(entry)).unwrap();
        named.push(format!("session {session}, student {}: ", plan.students[entry.student].number));
        change(entry);
    };
    next(|it| it.status == "PRESENT", |it| it.status = "ABSENT");
    next(|it| it.status == "ABSENT", |it| it.source = "READER");
    next(|it| it.status == "PRESENT", |it| it.arrived_at_ms = it.arrived_at_ms.map(|at| at + 1));
    next(|it| it.status == "PRESENT", |it| it.minutes_late = it.minutes_late.map(|late| late + 1));
    next(|it| it.status == "PRESENT", |it| it.shared_swipe ^= true);
    next(|it| it.status == "PRESENT", |it| it.honoured ^= true);
    let full = wrong.registers.iter_mut().rev().find(|it| it.entries.len() > 3).unwrap();
    let gone = full.entries.pop().unwrap();
    let session = &plan.sessions[full.session].external_id;
    named.push(format!(
        "session {session}, student {}: a mark where none",
        plan.students[gone.student].number
    ));
    let held = wrong.registers.iter_mut().find(|it| it.state == "FINAL").unwrap();
    held.state = "CANCELLED";
    named.push(format!("session {}: register ", plan.sessions[held.session].external_id));
    let missing = wrong.registers.remove(wrong.registers.len() / 2);
    named.push(format!("session {}: the hub has it", plan.sessions[missing.session].external_id));
    // What a door shows to a card, and at rest.
    let green = wrong.answers.iter_mut().find(|it| it.colour == Colour::Green).unwrap();
    (green.colour, green.recorded) = (Colour::Red, false);
    let reader = |index: usize| plan.readers[index].code.as_str();
    named.push(reader(plan.presentations[green.presentation].reader).to_owned());
    let dark = wrong.lights.iter().rposition(|it| it.colour == Colour::Off).unwrap();
    named.push(reader(wrong.lights.remove(dark).reader).to_owned());

    let (_, differences) = campus::against(&plan, wrong).await.unwrap();
    for what in &named {
        let found = differences.first().iter().any(|it| it.contains(what.as_str()));
        assert!(found, "nothing of '{what}' in {:#?}", differences.first());
    }
    assert!(differences.count() >= named.len(), "{} differences", differences.count());
    let (_, none) = campus::alone(&plan, false, |_| {}).await.unwrap();
    assert_eq!(none.first(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_scenario_agrees_with_the_oracle_to_the_millisecond() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("edges.toml");
    let example = reader_sim::scenario::EXAMPLE;
    let others = example
        .replace(
            "{ format = \"H10306\", facility = 3000, number = 77 }",
            "{ format = \"H10302\", number = 34359738367 }",
        )
        .replace(
            "{ format = \"H10301\", facility = 42, number = 12345 }",
            "{ format = \"H10304\", facility = 65535, number = 1 }",
        )
        .replace("{ uid = \"1C2D3E4F\" }", "{ bits = 37, raw = \"8123456788\" }");
    assert_eq!(others.matches("H10302\", number").count() + others.matches("{ bits = 37").count(), 3);
    // Whatever is wrong with the line, nothing that is shown or counted changes by it.
    let with = |what: &str| others.replace("what = \"noise\"", &format!("what = \"{what}\""));
    for scenario in [example, &with("busy"), &with("loss"), &with("slow")] {
        std::fs::write(&file, scenario).unwrap();
        let totals = play(&["--scenario", file.to_str().unwrap()]).await;
        assert_eq!((number(&totals, "differences"), number(&totals, "swipes")), (0, 9), "{totals}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_played_as_asked_is_refused_and_not_played_otherwise() {
    for (asked, said) in [
        (&["--rooms", "4"][..], "--rooms 4: an invented campus has 8 at the least"),
        (&["--students", "10"], "--students 10: an invented campus has 40 at the least"),
        (&["--buildings", "0"], "--buildings 0"),
        (&["--speed", "0"], "--speed"),
    ] {
        let ended = rollcall_tests::programs::run("reader-sim", &[&["campus"], asked].concat()).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(said), "no '{said}' in: {}", ended.err);
    }
    for asked in
        [&["--days", "2"][..], &["--term-start", "2027-02-15"], &["--scenario", "x.toml", "--rooms", "9"]]
    {
        let ended = rollcall_tests::programs::run("reader-sim", &[&["campus"], asked].concat()).await;
        assert_eq!(ended.code, Some(2), "{asked:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scenario_with_an_error_ends_with_1_and_names_file_and_key() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("wrong.toml");
    std::fs::write(&file, reader_sim::scenario::EXAMPLE.replacen("room = \"A-101\"", "room = \"A-999\"", 1))
        .unwrap();
    let ended =
        rollcall_tests::programs::run("reader-sim", &["campus", "--scenario", file.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for word in ["wrong.toml", "readers[0].room", "A-999"] {
        assert!(ended.err.contains(word), "no {word} in: {}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_stay_the_last_line_lets_a_program_in_until_ctrl_c() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("edges.toml");
    std::fs::write(&file, reader_sim::scenario::EXAMPLE).unwrap();
    let mut campus =
        Program::start("reader-sim", &["campus", "--json", "--stay", "--scenario", file.to_str().unwrap()]);
    let line: Value = serde_json::from_str(&campus.line_within("\"token\"", WITHIN).await).unwrap();
    let address = line["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let address = address.strip_suffix("/graphql").unwrap().parse().unwrap();
    let client = Client { address, token: line["token"].as_str().unwrap().to_owned() };
    let found = client.ask(line["query"].as_str().unwrap(), json!({})).await;
    assert_eq!(found["sessions"]["nodes"].as_array().map(Vec::len), Some(2), "{found}");
    let swipes = client.ask("{ swipes(first: 50) { nodes { swipeId } } }", json!({})).await;
    assert_eq!(swipes["swipes"]["nodes"].as_array().map(Vec::len), Some(9), "{swipes}");
    assert_eq!(campus.interrupt().await, Some(0), "{}", campus.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_during_play_ends_it_with_1_and_says_so() {
    let mut campus = Program::start("reader-sim", &["campus", "--json", "--speed", "60"]);
    campus.line_with("readers up").await;
    assert_eq!(campus.interrupt().await, Some(1), "{}", campus.all());
    campus.line_with("interrupted").await;
}

/// A term in small: overlapping windows, a student of two classes in one room, a class without a room, and a
/// student named twice.
const PROBLEM: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<problem name="small" nrDays="5" slotsPerDay="24" nrWeeks="2">
  <rooms>
    <room id="1" capacity="20"><travel room="2" value="9"/></room>
    <room id="2" capacity="30"/>
  </rooms>
  <courses><course id="7"><config id="1"><subpart id="1">
    <class id="11" limit="9"><room id="1" penalty="0"/>
      <time days="10000" start="9" length="1" weeks="11" penalty="0"/></class>
    <class id="12" limit="9"><room id="1" penalty="0"/>
      <time days="10000" start="10" length="2" weeks="11" penalty="0"/></class>
    <class id="13" limit="9"><room id="2" penalty="0"/>
      <time days="10000" start="14" length="1" weeks="10" penalty="0"/></class>
    <class id="14" limit="9" room="false">
      <time days="10000" start="16" length="1" weeks="10" penalty="0"/></class>
  </subpart></config></course></courses>
  <students><student id="1"/><student id="2"/><student id="3"/><student id="4"/></students>
</problem>
"#;

const SOLUTION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<solution name="small">
  <class id="11" days="10000" start="9" weeks="11" room="1">
    <student id="1"/><student id="2"/><student id="1"/><student id="3"/></class>
  <class id="12" days="10000" start="10" weeks="11" room="1">
    <student id="1"/><student id="2"/><student id="4"/></class>
  <class id="13" days="10000" start="14" weeks="10" room="2"><student id="3"/><student id="4"/></class>
  <class id="14" days="10000" start="16" weeks="10"><student id="1"/></class>
</solution>
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_term_in_the_competitions_format_agrees_with_the_oracle() {
    let folder = TempDir::new().unwrap();
    let files = [("problem.xml", PROBLEM), ("solution.xml", SOLUTION)].map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let totals = play(&["--itc2019", &files[0], &files[1], "--buildings", "2"]).await;
    assert_eq!(number(&totals, "differences"), 0, "{totals}");
    assert!(number(&totals, "swipes") > 0 && number(&totals, "registers") == 4, "{totals}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_of_a_real_universitys_term_agrees_with_the_oracle() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/itc2019");
    let [problem, solution] =
        ["muni-fsps-spr17.xml", "solution-muni-fsps-spr17.xml"].map(|name| folder.join(name));
    if !problem.exists() || !solution.exists() {
        eprintln!("skipped: a_week_of_a_real_universitys_term, for want of ../shared/data/itc2019");
        return;
    }
    let files = [problem.to_str().unwrap(), solution.to_str().unwrap()];
    let totals = play(&["--itc2019", files[0], files[1], "--day", "2027-02-22", "--days", "7"]).await;
    assert_eq!(number(&totals, "differences"), 0, "{totals}");
    assert!(number(&totals, "swipes") > 2_500, "{totals}");
}
