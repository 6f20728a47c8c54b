//! A small term as a plan.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use jiff::civil::date;

use super::*;
use crate::expected::expected;

const PROBLEM: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE problem PUBLIC \"-//ITC 2019//DTD Problem Format/EN\" \"http://example.org/format.dtd\">
<problem name=\"tiny\" nrDays=\"5\" slotsPerDay=\"24\" nrWeeks=\"8\">
  <rooms>
    <room id=\"4000000001\" capacity=\"20\"><travel room=\"2\" value=\"9\"/></room>
    <room id=\"2\" capacity=\"30\"/>
    <room id=\"3\" capacity=\"30\"><travel room=\"4000000001\" value=\"9\"/></room>
  </rooms>
  <courses><course id=\"7\"><config id=\"1\"><subpart id=\"1\">
    <class id=\"12\" limit=\"9\"><room id=\"2\" penalty=\"0\"/>
      <time days=\"10100\" start=\"9\" length=\"2\" weeks=\"11111111\" penalty=\"0\"/>
      <time days=\"10100\" start=\"9\" length=\"3\" weeks=\"10000000\" penalty=\"0\"/>
    </class>
    <class id=\"13\" limit=\"9\" room=\"false\">
      <time days=\"00001\" start=\"14\" length=\"1\" weeks=\"01000000\" penalty=\"0\"/>
    </class>
  </subpart></config></course></courses>
  <distributions><distribution type=\"X\"><class id=\"12\"/></distribution></distributions>
  <students><student id=\"596\"><course id=\"7\"/></student><student id=\"9000000000\"/><student id=\"596\"/></students>
</problem>";

const SOLUTION: &str = "\u{feff}<?xml version=\"1.0\"?>
<solution name=\"tiny\" author=\"A &amp; B\">
  <class id=\"12\" days=\"10100\" start=\"9\" weeks=\"11111111\" room=\"2\">
    <student id=\"596\"/><student id=\"596\"/><student id=\"9000000000\"/><student id=\"596\"/>
  </class>
  <class id=\"13\" days=\"00001\" start=\"14\" weeks=\"01000000\"><student id=\"596\"/></class>
</solution>";

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
