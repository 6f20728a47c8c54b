//! A small term as a plan.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use jiff::civil::date;

use super::*;
use crate::expected::expected;

// The files that the hub's reading of them is tried on, too.
const PROBLEM: &str = include_str!("../../../hub/src/import/itc2019/tiny/problem.xml");
const SOLUTION: &str = include_str!("../../../hub/src/import/itc2019/tiny/solution.xml");

fn load_all(problem: &str, solution: &str, options: &Options) -> Result<Plan, Itc2019Error> {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("problem.xml"), folder.path().join("solution.xml"));
    std::fs::write(&one, problem).unwrap();
    std::fs::write(&other, solution).unwrap();
    load(&one, &other, options)
}

#[test]
fn a_tiny_term() {
    let plan = load_all(PROBLEM, SOLUTION, &Options { days: 7, ..Options::default() }).unwrap();
    assert_eq!(plan.memberships.len(), 3, "repeated students count once");
    assert_eq!((plan.readers.len(), plan.readers[0].code.as_str()), (1, "R2-D1"), "only rooms in use");
    assert_eq!((plan.courses[0].code.as_str(), plan.groups[0].code.as_str()), ("K7", "C12"));
    assert!(plan.sessions[16].rooms.is_empty());
    assert_eq!(plan.until_ms - plan.from_ms, 7 * 86_400_000);
    assert_eq!(expected(&plan).unwrap().registers.len(), 2);
}

#[test]
fn what_is_wrong_is_told() {
    let said =
        |problem: &str, options: &Options| load_all(problem, SOLUTION, options).unwrap_err().to_string();
    let file = said(&PROBLEM.replacen("nrDays=\"5\"", "", 1), &Options::default());
    assert!(file.contains("problem.xml, line 3: <problem>: attribute nrDays is missing"), "{file}");
    let tuesday = Options { term_start: date(2027, 2, 16), ..Options::default() };
    assert!(said(PROBLEM, &tuesday).contains("Monday"));
    assert!(said(PROBLEM, &Options { days: 0, ..Options::default() }).contains("day"));
    let missing = load(Path::new("no-such-file"), Path::new("nor-this"), &Options::default());
    assert!(missing.unwrap_err().to_string().contains("no-such-file"));
}

#[test]
fn days_are_added_until_sessions_end() {
    let problem = PROBLEM.replace("start=\"9\" length=\"2\"", "start=\"23\" length=\"2\"");
    let solution = SOLUTION.replace("start=\"9\"", "start=\"23\"");
    let plan = load_all(&problem, &solution, &Options::default()).unwrap();
    assert_eq!(plan.until_ms - plan.from_ms, 2 * 86_400_000);
    assert_eq!(plan.sessions[0].end_ms - plan.sessions[0].start_ms, 2 * 3_600_000);
}
