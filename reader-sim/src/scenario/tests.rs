//! The example, and what is said of files that are wrong.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::expected::expected;

#[test]
fn the_example_gives_what_its_comments_say() {
    let plan = parse("example.toml", EXAMPLE).unwrap();
    let outcome = expected(&plan).unwrap();
    let said: Vec<(String, &str, &str)> = outcome
        .answers
        .iter()
        .map(|answer| {
            let swipe = &plan.presentations[answer.presentation];
            let after = swipe.at_ms - plan.from_ms;
            let clock = format!("{:02}:{:02}:{:06.3}", after / 3_600_000, after / 60_000 % 60, {
                f64::from(i32::try_from(after % 60_000).unwrap()) / 1000.0
            });
            (clock, plan.readers[swipe.reader].code.as_str(), answer.reason)
        })
        .collect();
    let said: Vec<(&str, &str, &str)> =
        said.iter().map(|(clock, reader, reason)| (clock.as_str(), *reader, *reason)).collect();
    assert_eq!(
        said,
        [
            ("08:29:59.999", "A-101-D1", "NO_OPEN_SESSION"),
            ("08:30:00.000", "A-101-D1", "RECORDED"),
            ("09:05:00.000", "A-101-D1", "CARD_CANCELLED"),
            ("09:10:00.000", "A-101-D1", "NOT_ON_CLASS_LIST"),
            ("09:15:00.000", "A-101-D1", "CARD_RANDOM_UID"),
            ("09:15:00.000", "B-201-D1", "CARD_UNKNOWN"),
            ("10:00:00.000", "A-101-D1", "RECORDED"),
            ("10:00:00.001", "A-101-D1", "NO_OPEN_SESSION"),
            ("11:05:00.000", "B-201-D1", "RECORDED"),
        ]
    );
    let marks: Vec<(&str, &str, &str, Option<i64>)> = outcome
        .registers
        .iter()
        .flat_map(|register| &register.entries)
        .map(|entry| {
            (plan.students[entry.student].number.as_str(), entry.status, entry.source, entry.minutes_late)
        })
        .collect();
    assert_eq!(
        marks,
        [
            ("S1001", "PRESENT", "READER", Some(0)),
            ("S1002", "PRESENT", "READER", Some(60)),
            ("S1003", "PRESENT", "RECONCILED", Some(10)),
            ("S1003", "PRESENT", "READER", Some(0)),
        ]
    );
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("zone = \"Europe/London\"", "zone = \"Europe/Nowhere\"", "zone: "),
        ("day = \"2027-03-01\"", "day = \"soon\"", "day: \"soon\""),
        ("room = \"B-201\"", "room = \"B-999\"", "readers[1].room: there is no room \"B-999\""),
        ("code = \"B-201\"", "code = \"A-101\"", "rooms[1].code: \"A-101\" is there twice"),
        ("kind = \"osdp\"", "kind = \"serial\"", "line 18"),
        ("building = \"B\"", "building = \"B\"\nfloor = 2", "floor"),
        ("facility = 42", "facility = 420", "students[0].cards[0]: facility 420 does not fit"),
        ("{ uid = \"1C2D3E4F\" }", "{ uid = \"1C2D3E\" }", "students[2].cards[0]: uid \"1C2D3E\""),
        ("end = \"10:00\"", "end = \"09:00\"", "sessions[0].end: \"09:00\" is not after"),
        ("end = \"10:00\"", "end = \"25:00\"", "sessions[0].end: \"25:00\""),
        ("[\"S1001\", \"S1002\"]", "[\"S1009\"]", "sessions[0].students: there is no student \"S1009\""),
        ("reinstate = ", "cancel = \"BIO101-L1-0301\"\nreinstate = ", "changes[1]: exactly one of"),
        ("at = \"08:30:00.000\"", "at = \"08:30:00.0001\"", "swipes[0].at: \"08:30:00.0001\": finer"),
        ("at = \"08:29:59.999\"", "at = \"08:30:00\"", "swipes[1]: A-101-D1 has another card at 08:30:00"),
        ("card = { uid = \"08A1B2C3\" }", "card = 8", "expected a student number"),
        ("card = \"S1003\"", "card = \"S1003\"\nold = true", "swipes[5].card: S1003 has no ended card"),
        (
            "students = [\"S1001\", \"S1002\"]",
            "",
            "changes[0].join.session: \"BIO101-L1-0301\" has no class list",
        ),
    ];
    for (from, to, what) in cases {
        assert!(EXAMPLE.contains(from), "{from}");
        let said = parse("example.toml", &EXAMPLE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(said.starts_with("example.toml: ") && said.contains(what), "{said}\nshould say {what}");
    }
    let missing = load(Path::new("no-such-file.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("no-such-file.toml: "), "{missing}");
}
