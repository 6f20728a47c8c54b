//! Terms in small, right and wrong.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

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

/// A folder of this test's own, gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("itc2019-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn load(&self, problem: &str, solution: &str, options: &Options) -> Result<Plan, Itc2019Error> {
        let (one, other) = (self.0.join("problem.xml"), self.0.join("solution.xml"));
        std::fs::write(&one, problem).unwrap();
        std::fs::write(&other, solution).unwrap();
        load(&one, &other, options)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_tiny_term() {
    let folder = Folder::new("right");
    let plan = folder.load(PROBLEM, SOLUTION, &Options { days: 7, ..Options::default() }).unwrap();
    let ids: Vec<&str> = plan.sessions.iter().map(|session| session.external_id.as_str()).collect();
    assert_eq!((ids.len(), ids[0], ids[15], ids[16]), (17, "C12-W00-D0", "C12-W07-D2", "C13-W01-D4"));
    assert_eq!(plan.memberships.len(), 3, "repeated students count once");
    assert_eq!((plan.readers.len(), plan.readers[0].code.as_str()), (1, "R2-D1"), "only rooms in use");
    assert_eq!(
        (plan.rooms[0].code.as_str(), plan.students[1].number.as_str()),
        ("R4000000001", "S9000000000")
    );
    assert_eq!((plan.courses[0].code.as_str(), plan.groups[0].code.as_str()), ("K7", "C12"));
    assert!(plan.sessions[16].rooms.is_empty());
    let hours = |session: usize| {
        let zone = TimeZone::get(ZONE).unwrap();
        let local = |at| jiff::Timestamp::from_millisecond(at).unwrap().to_zoned(zone.clone());
        let (start, end) = (local(plan.sessions[session].start_ms), local(plan.sessions[session].end_ms));
        (start.datetime().to_string(), end.time().to_string(), start.offset().seconds())
    };
    assert_eq!(hours(0), ("2027-02-15T09:00:00".to_owned(), "11:00:00".to_owned(), 0));
    // The clocks go forward on 28 March 2027, before week 6.
    assert_eq!(hours(12), ("2027-03-29T09:00:00".to_owned(), "11:00:00".to_owned(), 3600));
    assert_eq!(hours(16), ("2027-02-26T14:00:00".to_owned(), "15:00:00".to_owned(), 0));
    assert_eq!(plan.until_ms - plan.from_ms, 7 * 86_400_000);
    assert_eq!(expected(&plan).unwrap().registers.len(), 2);
}

#[test]
fn buildings_are_near_rooms_and_never_empty() {
    let folder = Folder::new("buildings");
    let dealt = |count| {
        let options = Options { buildings: count, ..Options::default() };
        let plan = folder.load(PROBLEM, SOLUTION, &options).unwrap();
        (plan.buildings.len(), plan.rooms.iter().map(|room| room.building).collect::<Vec<_>>())
    };
    assert_eq!(dealt(1), (1, vec![0, 0, 0]));
    let (count, two) = dealt(2);
    assert!(count == 2 && two[1] == two[2] && two[0] != two[1], "{two:?}");
    assert_eq!(dealt(9).0, 3, "no more than there are rooms");
}

#[test]
fn errors_say_where_and_what() {
    let folder = Folder::new("wrong");
    let said = |problem: &str, solution: &str| {
        folder.load(problem, solution, &Options::default()).unwrap_err().to_string()
    };
    let in_solution = |from: &str, to: &str| said(PROBLEM, &SOLUTION.replacen(from, to, 1));
    let in_problem = |from: &str, to: &str| said(&PROBLEM.replacen(from, to, 1), SOLUTION);
    let cases = [
        (
            in_solution("room=\"2\"", "room=\"99\""),
            "solution.xml, line 3",
            "<class id=\"12\">: the problem has no room \"99\"",
        ),
        (in_solution("name=\"tiny\"", "name=\"other\""), "solution.xml, line 2", "\"other\""),
        (in_solution("id=\"9000000000\"", "id=\"8\""), "line 4", "<class id=\"12\">: <student id=\"8\">"),
        (in_solution("start=\"14\"", "start=\"15\""), "line 6", "<class id=\"13\">: none of its times"),
        (
            in_solution("start=\"14\"", "start=\"x\""),
            "line 6",
            "<class id=\"13\">: attribute start=\"x\" is no number",
        ),
        (in_solution("class id=\"13\"", "class id=\"12\""), "line 6", "twice"),
        (in_solution("class id=\"13\"", "class id=\"14\""), "line 6", "no such class"),
        (in_solution("</class>", "</klass>"), "line 5", "inside <class>"),
        (in_solution("</solution>", ""), "solution.xml, line 7", "<solution> is never closed"),
        (in_solution("days=\"10100\"", "days=\"1010x\""), "line 3", "something else than 0 and 1"),
        (in_problem("slotsPerDay=\"24\"", "slotsPerDay=\"0\""), "problem.xml, line 3", "<problem>"),
        (in_problem("nrDays=\"5\"", ""), "problem.xml, line 3", "nrDays is missing"),
        (in_problem("nrDays=\"5\"", "nrDays=\"6\""), "problem.xml, line 11", "should have 6 bits"),
        (
            in_problem("room id=\"3\"", "room id=\"2\""),
            "problem.xml, line 7",
            "<room id=\"2\">: this id is there twice",
        ),
        (in_problem("capacity=\"20\"", "capacity=\"&bad;\""), "problem.xml, line 5", "capacity"),
        (said("", SOLUTION), "problem.xml, line 1", "there is no <problem>"),
        (said(SOLUTION, PROBLEM), "problem.xml, line 2", "<solution>: expected <problem>"),
    ];
    for (said, place, what) in cases {
        assert!(said.contains(place) && said.contains(what), "{said}\nshould name {place} and {what}");
    }
    let missing = load(Path::new("no-such-file"), Path::new("nor-this"), &Options::default());
    assert!(missing.unwrap_err().to_string().contains("no-such-file"));
    let bytes = File::new("x".to_owned(), b"<problem>\n\xff".to_vec()).err().unwrap().to_string();
    assert_eq!(bytes, "x, line 2 (byte 10): not UTF-8 text");
    let tuesday = Options { term_start: date(2027, 2, 16), ..Options::default() };
    assert!(folder.load(PROBLEM, SOLUTION, &tuesday).unwrap_err().to_string().contains("Monday"));
}

#[test]
fn days_are_added_until_sessions_end() {
    let folder = Folder::new("late");
    let problem = PROBLEM.replace("start=\"9\" length=\"2\"", "start=\"23\" length=\"2\"");
    let solution = SOLUTION.replace("start=\"9\"", "start=\"23\"");
    let plan = folder.load(&problem, &solution, &Options::default()).unwrap();
    assert_eq!(plan.until_ms - plan.from_ms, 2 * 86_400_000);
    assert_eq!(plan.sessions[0].end_ms - plan.sessions[0].start_ms, 2 * 3_600_000);
}
