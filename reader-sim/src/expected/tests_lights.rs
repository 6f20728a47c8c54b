//! Lights at rest, to the millisecond.

use super::tiny::{at, change, outcome, session, tiny};
use crate::plan::{ChangeKind, Colour, Millis, Plan};

/// The light of one reader: instants at which it turns blue, off, blue, …
fn light(plan: &Plan, reader: usize) -> Vec<Millis> {
    let mut instants = Vec::new();
    for change in outcome(plan).lights.iter().filter(|change| change.reader == reader) {
        let blue = if instants.len().is_multiple_of(2) { Colour::Blue } else { Colour::Off };
        assert_eq!(change.colour, blue);
        instants.push(change.at_ms);
    }
    instants
}

#[test]
fn a_window_is_closed_at_both_ends() {
    let mut plan = tiny();
    session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[]);
    assert_eq!(light(&plan, 0), [at(8, 30), at(10, 0) + 1]);
    assert!(light(&plan, 1).is_empty());
}

#[test]
fn overlapping_windows_keep_it_blue() {
    let mut plan = tiny();
    session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[]);
    session(&mut plan, (at(10, 0), at(11, 0)), &[0, 1], &[]);
    // Opens at the very instant after which the one before is closed.
    session(&mut plan, (at(11, 30), at(12, 0)), &[0], &[]);
    session(&mut plan, (at(13, 0), at(13, 30)), &[0], &[]);
    assert_eq!(light(&plan, 0), [at(8, 30), at(12, 0) + 1, at(12, 30), at(13, 30) + 1]);
    assert_eq!(light(&plan, 1), [at(9, 30), at(11, 0) + 1]);
}

#[test]
fn play_may_begin_and_end_inside_a_window() {
    let mut plan = tiny();
    session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[]);
    (plan.from_ms, plan.until_ms) = (at(9, 30), at(9, 40));
    assert_eq!(light(&plan, 0), [at(9, 30)]);
}

#[test]
fn changes_take_effect_at_their_instant() {
    let mut plan = tiny();
    let cancelled = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[]);
    let reinstated = session(&mut plan, (at(9, 0), at(10, 0)), &[1], &[]);
    plan.sessions[reinstated].cancelled = true;
    change(&mut plan, at(8, 45), ChangeKind::Cancel { session: cancelled });
    change(&mut plan, at(9, 10), ChangeKind::Reinstate { session: reinstated });
    assert_eq!(light(&plan, 0), [at(8, 30), at(8, 45)]);
    assert_eq!(light(&plan, 1), [at(9, 10), at(10, 0) + 1]);
}

#[test]
fn a_move_takes_the_light_along() {
    let mut plan = tiny();
    let moved = session(&mut plan, (at(9, 0), at(10, 0)), &[0, 1], &[]);
    change(&mut plan, at(8, 45), ChangeKind::Move { session: moved, rooms: vec![1, 2] });
    assert_eq!(light(&plan, 0), [at(8, 30), at(8, 45)]);
    assert_eq!(light(&plan, 1), [at(8, 30), at(10, 0) + 1]);
    assert_eq!(light(&plan, 2), [at(8, 45), at(10, 0) + 1]);
}

#[test]
fn other_times_are_another_window() {
    let mut plan = tiny();
    let later = session(&mut plan, (at(9, 0), at(10, 0)), &[0], &[]);
    let (start_ms, end_ms) = (at(9, 20), at(10, 10));
    change(&mut plan, at(8, 40), ChangeKind::Reschedule { session: later, start_ms, end_ms });
    assert_eq!(light(&plan, 0), [at(8, 30), at(8, 40), at(8, 50), at(10, 10) + 1]);
}

#[test]
fn lights_are_sorted() {
    let mut plan = tiny();
    session(&mut plan, (at(9, 0), at(10, 0)), &[2, 0, 1], &[]);
    let order: Vec<_> = outcome(&plan).lights.iter().map(|light| (light.at_ms, light.reader)).collect();
    let (on, off) = (at(8, 30), at(10, 0) + 1);
    assert_eq!(order, [(on, 0), (on, 1), (on, 2), (off, 0), (off, 1), (off, 2)]);
}
