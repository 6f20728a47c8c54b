//! Registers at the end: who is listed, which swipe decides, and what a green promises.

use super::ExpectedEntry;
use super::tiny::{at, card, change, entry, register, session, swipe, tiny};
use crate::plan::{ChangeKind, Membership, Plan};

fn marks(plan: &Plan, session: usize) -> Vec<(usize, &'static str, &'static str)> {
    let register = register(plan, session);
    register.entries.iter().map(|entry| (entry.student, entry.status, entry.source)).collect()
}

fn stay(plan: &Plan, session: usize, student: usize, from: &str, until: Option<&str>) -> Membership {
    let group = plan.sessions[session].groups[0];
    Membership { group, student, from: from.to_owned(), until: until.map(str::to_owned) }
}

#[test]
fn present_late_and_absent() {
    let mut plan = tiny();
    let lecture = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[2, 0, 1, 3]);
    swipe(&mut plan, at(9, 1) - 1, 0, card(0));
    swipe(&mut plan, at(9, 1), 0, card(1));
    swipe(&mut plan, at(8, 30), 0, card(3));
    swipe(&mut plan, at(9, 50), 0, card(3));
    assert_eq!(register(&plan, lecture).state, "FINAL");
    assert_eq!(
        marks(&plan, lecture),
        [(0, "PRESENT", "READER"), (1, "PRESENT", "READER"), (2, "ABSENT", "RULE"), (3, "PRESENT", "READER")]
    );
    let late: Vec<_> = (0..4).map(|student| entry(&plan, lecture, student).minutes_late).collect();
    assert_eq!(late, [Some(0), Some(1), None, Some(0)]);
    assert_eq!(entry(&plan, lecture, 3).arrived_at_ms, Some(at(8, 30)), "the earliest decides");
    assert_eq!(entry(&plan, lecture, 2).arrived_at_ms, None);
}

#[test]
fn who_joins_afterwards_was_there() {
    let mut plan = tiny();
    let lecture = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0]);
    swipe(&mut plan, at(8, 50), 0, card(1));
    swipe(&mut plan, at(9, 30), 0, card(1));
    let joins = stay(&plan, lecture, 1, "2027-03-01", None);
    change(&mut plan, at(9, 10), ChangeKind::Join(joins));
    // The earliest swipe counts although the door had shown red.
    let mark = entry(&plan, lecture, 1);
    assert_eq!((mark.status, mark.source, mark.honoured), ("PRESENT", "RECONCILED", false));
    assert_eq!(mark.arrived_at_ms, Some(at(8, 50)));
}

#[test]
fn who_is_listed_for_another_part_only_is_not_required() {
    let mut plan = tiny();
    let late = session(&mut plan, (at(23, 50), at(24, 50)), &[0], &[0]);
    plan.until_ms = at(48, 0);
    for (student, from, until) in [
        (1, "2027-03-02", None),
        (2, "2027-03-02", Some("2027-03-09")),
        (3, "2027-02-01", Some("2027-02-28")),
    ] {
        let membership = stay(&plan, late, student, from, until);
        plan.memberships.push(membership);
    }
    swipe(&mut plan, at(24, 1), 0, card(1));
    assert_eq!(
        marks(&plan, late),
        [(0, "ABSENT", "RULE"), (1, "PRESENT", "READER"), (2, "NOT_REQUIRED", "RULE")]
    );
    assert_eq!(entry(&plan, late, 1).minutes_late, Some(11));
}

#[test]
fn who_is_listed_when_it_starts_is_expected() {
    let mut plan = tiny();
    // Its window opens the day before.
    let early = session(&mut plan, (at(24, 10), at(25, 0)), &[0], &[]);
    plan.until_ms = at(48, 0);
    for (student, from, until) in [(0, "2027-03-02", None), (1, "2027-03-01", Some("2027-03-01"))] {
        let membership = stay(&plan, early, student, from, until);
        plan.memberships.push(membership);
    }
    assert_eq!(marks(&plan, early), [(0, "ABSENT", "RULE"), (1, "NOT_REQUIRED", "RULE")]);
}

#[test]
fn sessions_without_a_reader_or_without_anybody_have_no_register() {
    let mut plan = tiny();
    let online = session(&mut plan, (at(9, 0), at(10, 0)), &[], &[0]);
    let dark = session(&mut plan, (at(9, 0), at(10, 0)), &[3], &[0]);
    let half = session(&mut plan, (at(9, 0), at(10, 0)), &[3, 1], &[0]);
    let nobody = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[]);
    let no_list = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[]);
    plan.sessions[no_list].groups.clear();
    for session in [online, dark] {
        assert_eq!(register(&plan, session).state, "NO_REGISTER");
        assert_eq!(marks(&plan, session), [(0, "NO_REGISTER", "RULE")]);
    }
    assert_eq!((register(&plan, half).state, marks(&plan, half)), ("FINAL", vec![(0, "ABSENT", "RULE")]));
    for session in [nobody, no_list] {
        assert_eq!(register(&plan, session).state, "NO_REGISTER");
        assert!(marks(&plan, session).is_empty());
    }
    // Moved into a room with a reader, it has one.
    change(&mut plan, at(8, 0), ChangeKind::Move { session: dark, rooms: vec![0] });
    assert_eq!(register(&plan, dark).state, "FINAL");
}

#[test]
fn a_cancellation_suspends_and_a_reinstatement_restores() {
    let mut plan = tiny();
    let lecture = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0, 1]);
    swipe(&mut plan, at(8, 40), 0, card(0));
    change(&mut plan, at(8, 50), ChangeKind::Cancel { session: lecture });
    swipe(&mut plan, at(8, 55), 0, card(1));
    assert_eq!(register(&plan, lecture).state, "CANCELLED");
    assert_eq!(marks(&plan, lecture), [(0, "CANCELLED", "RULE"), (1, "CANCELLED", "RULE")]);
    assert!(entry(&plan, lecture, 0).arrived_at_ms.is_none());
    change(&mut plan, at(9, 10), ChangeKind::Reinstate { session: lecture });
    assert_eq!(marks(&plan, lecture), [(0, "PRESENT", "READER"), (1, "PRESENT", "RECONCILED")]);
    assert!(!entry(&plan, lecture, 0).honoured);
}

#[test]
fn a_green_is_honoured_when_the_times_change() {
    let mut plan = tiny();
    let lecture = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0, 1, 2]);
    swipe(&mut plan, at(8, 35), 0, card(0));
    swipe(&mut plan, at(8, 35) + 1000, 0, card(1));
    let (start_ms, end_ms) = (at(9, 20), at(10, 10));
    change(&mut plan, at(8, 40), ChangeKind::Reschedule { session: lecture, start_ms, end_ms });
    swipe(&mut plan, at(9, 0), 0, card(1));
    swipe(&mut plan, at(9, 25), 0, card(2));
    let first = entry(&plan, lecture, 0);
    assert_eq!((first.status, first.source, first.honoured), ("PRESENT", "READER", true));
    assert_eq!((first.arrived_at_ms, first.minutes_late), (Some(at(8, 35)), Some(0)));
    // The earliest swipe decides, even if a later one needs no honouring.
    assert!(entry(&plan, lecture, 1).honoured);
    let third = entry(&plan, lecture, 2);
    assert_eq!((third.minutes_late, third.honoured), (Some(5), false));
}

#[test]
fn times_learned_later_count_for_reds_too() {
    let mut plan = tiny();
    let lecture = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0]);
    swipe(&mut plan, at(8, 20), 0, card(0));
    let (start_ms, end_ms) = (at(8, 45), at(9, 45));
    change(&mut plan, at(8, 25), ChangeKind::Reschedule { session: lecture, start_ms, end_ms });
    assert_eq!(marks(&plan, lecture), [(0, "PRESENT", "RECONCILED")]);
}

#[test]
fn a_move_takes_nothing_back() {
    let mut plan = tiny();
    let lecture = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0, 1]);
    swipe(&mut plan, at(8, 40), 0, card(0));
    swipe(&mut plan, at(8, 40), 2, card(1));
    change(&mut plan, at(8, 50), ChangeKind::Move { session: lecture, rooms: vec![2] });
    // Who was at the new door too early was not in one of the session's rooms at that instant.
    assert_eq!(marks(&plan, lecture), [(0, "PRESENT", "READER"), (1, "ABSENT", "RULE")]);
    assert!(!entry(&plan, lecture, 0).honoured);
}

#[test]
fn one_swipe_may_be_shared_by_two_sessions() {
    let mut plan = tiny();
    let one = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0, 1]);
    let other = session(&mut plan, (at(10, 0), at(11, 0)), &[0], &[0, 1]);
    swipe(&mut plan, at(9, 40), 0, card(0));
    swipe(&mut plan, at(9, 0), 0, card(1));
    swipe(&mut plan, at(9, 45), 0, card(1));
    let shared = |plan: &Plan| -> Vec<bool> {
        [(one, 0), (other, 0), (one, 1), (other, 1)]
            .map(|(session, student)| entry(plan, session, student).shared_swipe)
            .to_vec()
    };
    assert_eq!(shared(&plan), [true, true, false, true]);
    // A session that is cancelled in the end shares nothing.
    change(&mut plan, at(12, 0), ChangeKind::Cancel { session: other });
    assert_eq!(shared(&plan), [false, false, false, false]);
}

#[test]
fn only_sessions_that_start_in_play_have_registers() {
    let mut plan = tiny();
    (plan.from_ms, plan.until_ms) = (at(8, 0), at(12, 0));
    session(&mut plan, (at(7, 0), at(9, 0)), &[0], &[0]);
    let out = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0]);
    let at_once = session(&mut plan, (at(8, 0), at(9, 0)), &[0], &[0]);
    session(&mut plan, (at(12, 0), at(13, 0)), &[0], &[0]);
    let (start_ms, end_ms) = (at(14, 0), at(15, 0));
    change(&mut plan, at(8, 30), ChangeKind::Reschedule { session: out, start_ms, end_ms });
    let sessions: Vec<usize> =
        super::tiny::outcome(&plan).registers.iter().map(|register| register.session).collect();
    assert_eq!(sessions, [at_once]);
}

#[test]
fn entries_are_sorted_by_student_number() {
    let mut plan = tiny();
    plan.students[3].number = "A".to_owned();
    let lecture = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0, 1, 3, 3]);
    let students: Vec<usize> =
        register(&plan, lecture).entries.iter().map(|entry: &ExpectedEntry| entry.student).collect();
    assert_eq!(students, [3, 0, 1]);
}
