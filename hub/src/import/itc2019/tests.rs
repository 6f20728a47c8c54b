//! Terms in small, right and wrong.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use jiff::civil::date;

use super::*;
use crate::import::recipe::Recipe;

const PROBLEM: &str = include_str!("tiny/problem.xml");
const SOLUTION: &str = include_str!("tiny/solution.xml");

fn zone() -> TimeZone {
    TimeZone::get("Europe/London").unwrap()
}

fn read(problem: &str, solution: &str, buildings: usize) -> Result<Term, Fault> {
    let options = Options { term_start: date(2027, 2, 15), buildings };
    let (problem, solution) = (("problem.xml", problem.as_bytes()), ("solution.xml", solution.as_bytes()));
    Term::read(problem, solution, &zone(), &options)
}

/// All that an import would make of some files.
fn facts(files: &[(&str, &str)]) -> Facts {
    let recipe = Recipe::Itc2019 { term_start: "2027-02-15".to_owned(), buildings: 2 };
    let mut reading = recipe.begin(&zone(), 0).unwrap();
    for (name, text) in files {
        reading.read(name, text.as_bytes());
    }
    reading.facts()
}

#[test]
fn a_tiny_term() {
    let term = read(PROBLEM, SOLUTION, 3).unwrap();
    let ids: Vec<&str> = term.sessions.iter().map(|session| session.external_id.as_str()).collect();
    assert_eq!((ids.len(), ids[0], ids[15], ids[16]), (17, "C12-W00-D0", "C12-W07-D2", "C13-W01-D4"));
    assert_eq!(term.classes[0].students, [0, 1], "repeated students count once");
    assert_eq!(
        (term.rooms[0].code.as_str(), term.students[1].number.as_str()),
        ("R4000000001", "S9000000000")
    );
    assert_eq!((term.courses[0].code.as_str(), term.classes[0].code.as_str()), ("K7", "C12"));
    assert_eq!((term.classes[0].room, term.classes[1].room), (Some(1), None));
    let hours = |session: usize| {
        let local = |at| jiff::Timestamp::from_millisecond(at).unwrap().to_zoned(zone());
        let (start, end) = (local(term.sessions[session].starts_ms), local(term.sessions[session].ends_ms));
        (start.datetime().to_string(), end.time().to_string(), start.offset().seconds())
    };
    assert_eq!(hours(0), ("2027-02-15T09:00:00".to_owned(), "11:00:00".to_owned(), 0));
    // The clocks go forward on 28 March 2027, before week 6.
    assert_eq!(hours(12), ("2027-03-29T09:00:00".to_owned(), "11:00:00".to_owned(), 3600));
    assert_eq!(hours(16), ("2027-02-26T14:00:00".to_owned(), "15:00:00".to_owned(), 0));
}

#[test]
fn buildings_are_near_rooms_and_never_empty() {
    let dealt = |count| {
        let term = read(PROBLEM, SOLUTION, count).unwrap();
        (term.buildings.len(), term.rooms.iter().map(|room| room.building).collect::<Vec<_>>())
    };
    assert_eq!(dealt(1), (1, vec![0, 0, 0]));
    let (count, two) = dealt(2);
    assert!(count == 2 && two[1] == two[2] && two[0] != two[1], "{two:?}");
    assert_eq!(dealt(9).0, 3, "no more than there are rooms");
}

#[test]
fn an_import_takes_the_two_files_in_either_order_and_knows_the_places() {
    for files in [[("p.xml", PROBLEM), ("s.xml", SOLUTION)], [("s.xml", SOLUTION), ("p.xml", PROBLEM)]] {
        let facts = facts(&files);
        assert_eq!((facts.problems.count, facts.sessions.things.len(), facts.rooms.things.len()), (0, 17, 3));
        assert_eq!(facts.whole, ["students", "memberships", "sessions"]);
        let stays: Vec<u64> = facts.memberships.places.iter().map(|(_, row)| *row).collect();
        assert_eq!(stays, [4, 4, 6], "the line of each student's name");
        assert_eq!((&*facts.rooms.places[1].0, facts.rooms.places[1].1), ("p.xml", 6));
    }
}

#[test]
fn files_that_are_no_pair_are_refused() {
    let said = |files: &[(&str, &str)]| {
        let facts = facts(files);
        assert!(facts.sessions.things.is_empty());
        assert_eq!(facts.problems.count, 1, "{:?}", facts.problems.list);
        format!("{}: {}", facts.problems.list[0].place, facts.problems.list[0].message)
    };
    assert!(said(&[("p.xml", PROBLEM)]).contains("no <solution>"));
    assert!(said(&[("s.xml", SOLUTION)]).contains("no <problem>"));
    assert!(
        said(&[("p.xml", PROBLEM), ("q.xml", PROBLEM)]).starts_with("q.xml: is a <problem>, and so is p.xml")
    );
    assert!(said(&[("x.xml", "<html/>")]).starts_with("x.xml: begins neither"));
    let bent = SOLUTION.replacen("room=\"2\"", "room=\"99\"", 1);
    assert!(said(&[("p.xml", PROBLEM), ("s.xml", &bent)]).starts_with("s.xml, row 3: <class id=\"12\">"));
}

#[test]
fn errors_say_where_and_what() {
    let said = |problem: &str, solution: &str| read(problem, solution, 3).unwrap_err().to_string();
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
    let bytes = File::new("x", b"<problem>\n\xff").err().unwrap().to_string();
    assert_eq!(bytes, "x, line 2: not UTF-8 text");
    let tuesday = Recipe::Itc2019 { term_start: "2027-02-16".to_owned(), buildings: 3 };
    assert!(tuesday.begin(&zone(), 0).err().unwrap().contains("Monday"));
}
