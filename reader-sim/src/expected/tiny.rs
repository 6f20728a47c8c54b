//! Tiny plans for the oracle's tests: two buildings, three rooms, four students.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::{Expectation, ExpectedEntry, ExpectedRegister, expected};
use crate::crowd::credentials::uid;
use crate::plan::{
    Building, Card, Change, ChangeKind, Colour, Course, Credential, Group, Membership, Millis, Plan,
    Presentation, Reader, ReaderKind, Room, Session, Student,
};

/// 2027-03-01T00:00:00 in London.
pub(super) const MIDNIGHT: Millis = 1_803_859_200_000;

/// The instant of a time of that day.
pub(super) fn at(hours: i64, minutes: i64) -> Millis {
    MIDNIGHT + (hours * 60 + minutes) * 60_000
}

/// The card of a student.
pub(super) fn card(student: u8) -> Credential {
    uid(&[0x1C, 0, 0, student])
}

/// Rooms 0 and 1 are in one building, room 2 is in another; each has the reader of its number, room 3 has
/// none. Student *n* has `card(n)`.
pub(super) fn tiny() -> Plan {
    let mut plan = Plan {
        faults: Vec::new(),
        zone: "Europe/London".to_owned(),
        opens_before_ms: 30 * 60_000,
        from_ms: MIDNIGHT,
        until_ms: MIDNIGHT + 86_400_000,
        courses: vec![Course { code: "X".to_owned(), title: "X".to_owned() }],
        ..Plan::default()
    };
    for code in ["A", "B"] {
        plan.buildings.push(Building { code: code.to_owned(), name: code.to_owned() });
    }
    for room in 0..4 {
        plan.rooms.push(Room { code: format!("R{room}"), building: usize::from(room == 2), capacity: 9 });
    }
    for room in 0..3 {
        plan.readers.push(Reader { code: format!("R{room}-D1"), room, kind: ReaderKind::Mqtt });
    }
    for student in 0..4 {
        plan.students.push(Student { number: format!("S{student}"), name: String::new() });
        let credential = card(u8::try_from(student).unwrap());
        plan.cards.push(Card { student, credential, from_ms: 0, until_ms: None });
    }
    plan
}

/// Adds a session whose class list has these students all through.
pub(super) fn session(
    plan: &mut Plan,
    (start_ms, end_ms): (Millis, Millis),
    rooms: &[usize],
    students: &[usize],
) -> usize {
    let index = plan.sessions.len();
    let group = plan.groups.len();
    plan.groups.push(Group { code: format!("G{index}"), course: 0 });
    for student in students {
        let from = "2027-01-01".to_owned();
        plan.memberships.push(Membership { group, student: *student, from, until: None });
    }
    plan.sessions.push(Session {
        external_id: format!("X{index}"),
        title: String::new(),
        course: 0,
        start_ms,
        end_ms,
        rooms: rooms.to_vec(),
        groups: vec![group],
        cancelled: false,
    });
    index
}

/// Adds a change; in order.
pub(super) fn change(plan: &mut Plan, at_ms: Millis, what: ChangeKind) {
    plan.changes.push(Change { at_ms, what });
}

/// Adds a presentation; in any order.
pub(super) fn swipe(plan: &mut Plan, at_ms: Millis, reader: usize, credential: Credential) {
    plan.presentations.push(Presentation { at_ms, reader, credential, student: None, why: "test" });
    plan.presentations.sort_by_key(|it| (it.at_ms, it.reader));
}

/// What comes of it.
pub(super) fn outcome(plan: &Plan) -> Expectation {
    expected(plan).unwrap()
}

/// The reasons, in order; colour and `recorded` must go with them.
pub(super) fn reasons(plan: &Plan) -> Vec<&'static str> {
    let outcome = outcome(plan);
    for answer in &outcome.answers {
        let green = matches!(answer.reason, "RECORDED" | "ALREADY_RECORDED");
        assert_eq!(answer.recorded, green);
        assert_eq!(answer.colour, if green { Colour::Green } else { Colour::Red });
        assert_eq!(answer.credited.is_empty(), !green);
    }
    outcome.answers.iter().map(|answer| answer.reason).collect()
}

/// The register of a session.
pub(super) fn register(plan: &Plan, session: usize) -> ExpectedRegister {
    outcome(plan).registers.into_iter().find(|register| register.session == session).unwrap()
}

/// A student's entry in the register of a session.
pub(super) fn entry(plan: &Plan, session: usize, student: usize) -> ExpectedEntry {
    register(plan, session).entries.into_iter().find(|entry| entry.student == student).unwrap()
}
