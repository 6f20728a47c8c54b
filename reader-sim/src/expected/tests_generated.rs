//! The oracle over invented campuses: everything that should occur does, and nothing is inconsistent.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::expected;
use crate::generate::{Size, generate};
use crate::plan::{ChangeKind, Colour, Plan, ReaderKind};

fn plan(seed: u64) -> Plan {
    generate(seed, &Size::default(), jiff::civil::date(2027, 3, 1))
}

#[test]
fn the_default_plan_has_everything() {
    let plan = plan(1);
    let outcome = expected(&plan).unwrap();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in &outcome.answers {
        *reasons.entry(answer.reason).or_default() += 1;
    }
    let all = [
        "ALREADY_RECORDED",
        "CARD_CANCELLED",
        "CARD_RANDOM_UID",
        "CARD_UNKNOWN",
        "NOT_ON_CLASS_LIST",
        "NO_CLASS_LIST",
        "NO_OPEN_SESSION",
        "RECORDED",
        "SESSION_CANCELLED",
    ];
    assert_eq!(reasons.keys().copied().collect::<Vec<_>>(), all, "{reasons:?}");
    let mut marks: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let entries = || outcome.registers.iter().flat_map(|register| &register.entries);
    for entry in entries() {
        *marks.entry((entry.status, entry.source)).or_default() += 1;
    }
    let kinds: Vec<_> = marks.keys().copied().collect();
    let all_marks = [
        ("ABSENT", "RULE"),
        ("CANCELLED", "RULE"),
        ("NO_REGISTER", "RULE"),
        ("PRESENT", "READER"),
        ("PRESENT", "RECONCILED"),
    ];
    assert_eq!(kinds, all_marks, "{marks:?}");
    let states: BTreeSet<&str> = outcome.registers.iter().map(|register| register.state).collect();
    assert_eq!(states, BTreeSet::from(["CANCELLED", "FINAL", "NO_REGISTER"]));
    assert!(entries().any(|entry| entry.shared_swipe) && entries().any(|entry| entry.honoured));
    assert!(entries().any(|entry| entry.minutes_late.is_some_and(|late| late > 0)));
    let kinds: HashSet<_> = plan.changes.iter().map(|change| std::mem::discriminant(&change.what)).collect();
    assert_eq!(kinds.len(), 6, "every kind of change");
    let whys: BTreeSet<&str> = plan.presentations.iter().map(|presentation| presentation.why).collect();
    for why in ["at-opening", "at-end", "just-before-opening", "just-after-end", "twice", "wrong-room"] {
        assert!(whys.contains(why), "{why} in {whys:?}");
    }
}

#[test]
fn a_change_is_felt_at_the_doors() {
    let plan = plan(1);
    let outcome = expected(&plan).unwrap();
    for change in &plan.changes {
        let (ChangeKind::Cancel { session } | ChangeKind::Move { session, .. }) = &change.what else {
            continue;
        };
        let before = outcome.answers.iter().any(|answer| {
            plan.presentations[answer.presentation].at_ms < change.at_ms && answer.credited.contains(session)
        });
        assert!(before, "nobody had swiped at {}", plan.sessions[*session].external_id);
    }
    let red_then_present =
        |joined: usize| {
            outcome.registers.iter().flat_map(|register| &register.entries).any(|entry| {
                entry.student == joined && (entry.status, entry.source) == ("PRESENT", "RECONCILED")
            })
        };
    for change in &plan.changes {
        if let ChangeKind::Join(membership) = &change.what {
            assert!(red_then_present(membership.student));
        }
    }
}

#[test]
fn plans_of_many_seeds_are_sound() {
    for seed in 0..12 {
        let plan = plan(seed);
        sound(&plan);
        let outcome = expected(&plan).unwrap();
        assert_eq!(outcome.answers.len(), plan.presentations.len());
        let again = generate(seed, &Size::default(), jiff::civil::date(2027, 3, 1));
        assert_eq!(format!("{plan:?}"), format!("{again:?}"), "seed {seed} always gives the same plan");
        assert_eq!(outcome, expected(&again).unwrap());
        for pair in outcome.lights.windows(2) {
            assert!((pair[0].at_ms, pair[0].reader) < (pair[1].at_ms, pair[1].reader));
        }
        for (reader, _) in plan.readers.iter().enumerate() {
            let colours: Vec<Colour> = outcome
                .lights
                .iter()
                .filter(|light| light.reader == reader)
                .map(|light| light.colour)
                .collect();
            let alternate = |(nth, colour): (usize, &Colour)| {
                *colour == if nth.is_multiple_of(2) { Colour::Blue } else { Colour::Off }
            };
            assert!(colours.iter().enumerate().all(alternate), "reader {reader}: {colours:?}");
            assert!(colours.len().is_multiple_of(2), "dark at the end of the day");
        }
    }
}

#[test]
fn other_sizes_and_days_work() {
    for (buildings, rooms, students) in [(0, 0, 0), (1, 8, 40), (5, 13, 100), (30, 60, 900)] {
        // The day the clocks go forward.
        let plan = generate(9, &Size { buildings, rooms, students }, jiff::civil::date(2027, 3, 28));
        sound(&plan);
        assert!(!plan.presentations.is_empty() && expected(&plan).is_ok());
    }
}

/// Nothing in the plan is impossible, and its sorted parts are sorted.
fn sound(plan: &Plan) {
    let mut at_reader = HashSet::new();
    let mut of_student = HashSet::new();
    let changes: HashSet<i64> = plan.changes.iter().map(|change| change.at_ms).collect();
    for presentation in &plan.presentations {
        let at = presentation.at_ms;
        assert!(at_reader.insert((presentation.reader, at)), "one card at a time");
        assert!(presentation.student.is_none_or(|student| of_student.insert((student, at))));
        assert!((plan.from_ms..plan.until_ms).contains(&at) && !changes.contains(&at));
        assert_eq!(presentation.credential.raw.len(), usize::from(presentation.credential.bits.div_ceil(8)));
    }
    assert!(plan.presentations.is_sorted_by_key(|it| (it.at_ms, it.reader)));
    assert!(plan.changes.is_sorted_by_key(|it| it.at_ms));
    let cards: HashSet<_> = plan.cards.iter().map(|card| &card.credential).collect();
    assert_eq!(cards.len(), plan.cards.len(), "nobody shares a card");
    for card in &plan.cards {
        let first = card.credential.raw[0];
        assert!(card.credential.bits != 32 || (first != 0x08 && first != 0x88));
    }
    for (building, it) in plan.buildings.iter().enumerate() {
        let of_kind = |kind| {
            plan.readers
                .iter()
                .filter(|reader| plan.rooms[reader.room].building == building && reader.kind == kind)
                .count()
        };
        let (osdp, mqtt) = (of_kind(ReaderKind::Osdp), of_kind(ReaderKind::Mqtt));
        assert!(osdp.abs_diff(mqtt) <= 1, "{}: {osdp} and {mqtt}", it.code);
    }
    let ids: HashSet<_> = plan.sessions.iter().map(|session| &session.external_id).collect();
    assert_eq!(ids.len(), plan.sessions.len());
}
