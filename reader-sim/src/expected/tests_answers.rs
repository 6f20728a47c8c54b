//! Answers at the door: every reason, and what is known when.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::expected;
use super::tiny::{MIDNIGHT, at, card, change, outcome, reasons, session, swipe, tiny};
use crate::crowd::credentials::uid;
use crate::plan::{Card, ChangeKind, Credential, Membership};

fn today(group: usize, student: usize, from: &str, until: Option<&str>) -> Membership {
    Membership { group, student, from: from.to_owned(), until: until.map(str::to_owned) }
}

#[test]
fn the_window_holds_both_its_ends() {
    let mut plan = tiny();
    session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0, 1, 2, 3]);
    for (student, instant) in [(0, at(8, 30) - 1), (1, at(8, 30)), (2, at(10, 0)), (3, at(10, 0) + 1)] {
        swipe(&mut plan, instant, 0, card(student));
    }
    assert_eq!(reasons(&plan), ["NO_OPEN_SESSION", "RECORDED", "RECORDED", "NO_OPEN_SESSION"]);
}

#[test]
fn cards_are_valid_for_half_open_intervals() {
    let mut plan = tiny();
    session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0, 1]);
    let credential = card(9);
    plan.cards.push(Card { student: 0, credential, from_ms: at(9, 0), until_ms: Some(at(9, 30)) });
    for instant in [at(9, 0) - 1, at(9, 0), at(9, 30) - 1, at(9, 30)] {
        swipe(&mut plan, instant, 0, card(9));
    }
    // The same credential passes to somebody else.
    plan.cards.push(Card { student: 1, credential: card(9), from_ms: at(9, 40), until_ms: None });
    swipe(&mut plan, at(9, 40), 0, card(9));
    swipe(&mut plan, at(9, 41), 0, card(77));
    swipe(&mut plan, at(9, 42), 0, uid(&[0x08, 1, 2, 3]));
    // As many bytes, but not as many bits.
    swipe(&mut plan, at(9, 43), 0, Credential { bits: 26, raw: vec![0x08, 1, 2, 0] });
    assert_eq!(
        reasons(&plan),
        [
            "CARD_UNKNOWN",
            "RECORDED",
            "ALREADY_RECORDED",
            "CARD_CANCELLED",
            "RECORDED",
            "CARD_UNKNOWN",
            "CARD_RANDOM_UID",
            "CARD_UNKNOWN",
        ]
    );
}

#[test]
fn a_reissue_ends_every_card_at_its_instant() {
    let mut plan = tiny();
    session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0]);
    plan.cards.push(Card { student: 0, credential: card(8), from_ms: 0, until_ms: Some(at(20, 0)) });
    change(&mut plan, at(9, 0), ChangeKind::Reissue { student: 0, credential: card(9) });
    for (instant, which) in [(0, 0), (10, 8), (20, 9), (30, 9), (31, 0), (32, 8)] {
        swipe(&mut plan, at(8, 30 + instant), 0, card(which));
    }
    let said = reasons(&plan);
    assert_eq!(said[..3], ["RECORDED", "ALREADY_RECORDED", "CARD_UNKNOWN"]);
    assert_eq!(said[3..], ["ALREADY_RECORDED", "CARD_CANCELLED", "CARD_CANCELLED"]);
}

#[test]
fn cancelled_sessions_and_lists() {
    let mut plan = tiny();
    let first = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0]);
    let empty = session(&mut plan, (at(9, 0), at(10, 0)), &[1], &[]);
    plan.sessions[empty].groups.clear();
    let empty_group = session(&mut plan, (at(12, 0), at(13, 0)), &[1], &[]);
    swipe(&mut plan, at(8, 40), 0, card(0));
    swipe(&mut plan, at(8, 41), 0, card(1));
    swipe(&mut plan, at(8, 42), 1, card(1));
    change(&mut plan, at(8, 50), ChangeKind::Cancel { session: first });
    swipe(&mut plan, at(8, 50) - 1, 0, card(0));
    swipe(&mut plan, at(8, 50), 0, card(0));
    // A cancelled session is no reason where another is open.
    let second = session(&mut plan, (at(9, 45), at(11, 0)), &[0], &[2]);
    swipe(&mut plan, at(9, 30), 0, card(0));
    change(&mut plan, at(9, 50), ChangeKind::Reinstate { session: first });
    swipe(&mut plan, at(9, 50), 0, card(0));
    swipe(&mut plan, at(11, 0), 0, card(2));
    swipe(&mut plan, at(12, 0), 1, card(2));
    assert_eq!(
        reasons(&plan),
        [
            "RECORDED",
            "NOT_ON_CLASS_LIST",
            "NO_CLASS_LIST",
            "ALREADY_RECORDED",
            "SESSION_CANCELLED",
            "NOT_ON_CLASS_LIST",
            "ALREADY_RECORDED",
            "RECORDED",
            "NO_CLASS_LIST",
        ]
    );
    let answers = outcome(&plan).answers;
    assert_eq!((&answers[6].credited, &answers[7].credited), (&vec![first], &vec![second]));
    assert!(empty_group > second || !plan.sessions[empty_group].groups.is_empty());
}

#[test]
fn one_session_with_a_list_is_enough_for_not_on_class_list() {
    let mut plan = tiny();
    let without = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[]);
    plan.sessions[without].groups.clear();
    session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[1]);
    swipe(&mut plan, at(9, 0), 0, card(0));
    assert_eq!(reasons(&plan), ["NOT_ON_CLASS_LIST"]);
}

#[test]
fn memberships_run_from_midnight_to_the_end_of_their_last_day() {
    let mut plan = tiny();
    let past_midnight = session(&mut plan, (at(23, 50), at(24, 50)), &[0], &[3]);
    plan.until_ms = MIDNIGHT + 2 * 86_400_000;
    let group = plan.sessions[past_midnight].groups[0];
    plan.memberships.push(today(group, 0, "2027-02-01", Some("2027-03-01")));
    plan.memberships.push(today(group, 1, "2027-03-02", None));
    for (instant, student) in [(-1, 0), (-2, 1), (0, 1), (1, 0)] {
        swipe(&mut plan, at(24, 0) + instant, 0, card(student));
    }
    let said = reasons(&plan);
    assert_eq!(said, ["NOT_ON_CLASS_LIST", "RECORDED", "RECORDED", "NOT_ON_CLASS_LIST"]);
}

#[test]
fn a_join_is_not_known_before_its_instant() {
    let mut plan = tiny();
    let joined = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0]);
    let group = plan.sessions[joined].groups[0];
    change(&mut plan, at(9, 5), ChangeKind::Join(today(group, 1, "2027-03-01", None)));
    swipe(&mut plan, at(9, 5) - 1, 0, card(1));
    swipe(&mut plan, at(9, 5), 0, card(1));
    assert_eq!(reasons(&plan), ["NOT_ON_CLASS_LIST", "RECORDED"]);
}

#[test]
fn every_open_session_is_credited_and_each_building_remembers_its_own() {
    let mut plan = tiny();
    let both = session(&mut plan, (at(9, 0), at(10, 0)), &[0, 1, 2], &[0]);
    let next = session(&mut plan, (at(10, 0), at(11, 0)), &[0], &[0]);
    plan.sessions[next].external_id = "A before X".to_owned();
    for (instant, reader) in [(at(9, 0), 0), (at(9, 1), 1), (at(9, 2), 2), (at(9, 40), 0), (at(9, 41), 0)] {
        swipe(&mut plan, instant, reader, card(0));
    }
    let said = reasons(&plan);
    assert_eq!(said, ["RECORDED", "ALREADY_RECORDED", "RECORDED", "RECORDED", "ALREADY_RECORDED"]);
    let answers = outcome(&plan).answers;
    assert_eq!((&answers[0].credited, &answers[3].credited), (&vec![both], &vec![next, both]));
}

#[test]
fn a_move_is_judged_by_where_the_session_was() {
    let mut plan = tiny();
    let moved = session(&mut plan, (at(9, 0), at(10, 0)), &[0, 1], &[0, 1, 2]);
    change(&mut plan, at(9, 0), ChangeKind::Move { session: moved, rooms: vec![1, 2] });
    for (instant, reader, student) in [(-1, 0, 0), (-1, 1, 1), (-1, 2, 2), (0, 0, 2), (0, 1, 3), (0, 2, 0)] {
        swipe(&mut plan, at(9, 0) + instant, reader, card(student));
    }
    let said = reasons(&plan);
    assert_eq!(said[..3], ["RECORDED", "RECORDED", "NO_OPEN_SESSION"]);
    assert_eq!(said[3..], ["NO_OPEN_SESSION", "NOT_ON_CLASS_LIST", "RECORDED"]);
}

#[test]
fn a_plan_that_contradicts_itself_is_refused() {
    let mut plan = tiny();
    session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[0]);
    let mut cases = Vec::new();
    for _ in 0..6 {
        cases.push(plan.clone());
    }
    cases[0].sessions[0].rooms = vec![9];
    cases[1].sessions[0].end_ms = at(8, 0);
    cases[2].memberships[0].from = "1 March".to_owned();
    cases[3].zone = "Nowhere".to_owned();
    change(&mut cases[4], at(9, 0), ChangeKind::Cancel { session: 7 });
    swipe(&mut cases[5], MIDNIGHT - 1, 0, card(0));
    let said = ["room 9", "X0 ends", "1 March", "Nowhere", "session 7", "outside the time of play"];
    for (case, said) in cases.iter().zip(said) {
        let error = expected(case).unwrap_err();
        assert!(error.contains(said), "{error} should say {said}");
    }
}
