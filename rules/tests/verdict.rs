//! Window, verdict, light at rest and timetable against a naive reading of the design's section 2.
//!
//! Times are a few hundred milliseconds, so that the edges meet often and every instant can be tried.

mod naive;

use std::collections::BTreeSet;

use naive::{Change, FIRST, KEYS, LAST, Naive, ROOMS, World, any_crowded_world, any_history, any_world};
use naive::{card, holder, id, key, room, session, simple, span, stay};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use rollcall_rules::card::CardRead;
use rollcall_rules::ids::{HolderId, SessionId};
use rollcall_rules::light::{Colour, light_at_rest};
use rollcall_rules::policy::{Overlap, Policy};
use rollcall_rules::session::Session;
use rollcall_rules::time::{Instant, MINUTE_MS, Span, Uncertain};
use rollcall_rules::timetable::Timetable;
use rollcall_rules::verdict::{Decision, Reason, Verdict, credited_at_any, refuse_unusable, verdict};

const HOUR_MS: i64 = 60 * MINUTE_MS;

fn exactly(at: i64) -> Uncertain {
    Uncertain::exactly(Instant(at))
}

fn between(earliest: i64, latest: i64) -> Uncertain {
    Uncertain { earliest: Instant(earliest), latest: Instant(latest) }
}

/// The verdict on key 0 in room 0 when nothing was credited before.
fn swipe(world: &World, when: Uncertain) -> Verdict {
    verdict(&world.timetable(), room(0), &key(0), when, |_, _| false)
}

#[test]
fn one_millisecond_outside_the_default_window_of_a_nine_to_ten_session_is_refused() {
    let mut world = simple();
    world.sessions[0].policy = Policy::default();
    world.sessions[0].starts_at = Instant(9 * HOUR_MS);
    world.sessions[0].ends_at = Instant(10 * HOUR_MS);
    let (opens, closes) = (8 * HOUR_MS + 30 * MINUTE_MS, 10 * HOUR_MS);
    for (at, reason, light) in [
        (opens - 1, Reason::NoOpenSession, Colour::Off),
        (opens, Reason::Recorded, Colour::Blue),
        (closes, Reason::Recorded, Colour::Blue),
        (closes + 1, Reason::NoOpenSession, Colour::Off),
    ] {
        assert_eq!(swipe(&world, exactly(at)).reason, reason, "at {at}");
        assert_eq!(light_at_rest(&world.timetable(), room(0), exactly(at)), light, "at {at}");
    }
}

#[test]
fn a_window_over_the_spring_change_is_as_long_as_on_any_day() {
    // 29 March 2026 01:00 UTC: clocks in Europe go forward. A session from 03:15 local starts at 01:15 UTC.
    let change = 1_774_746_000_000;
    let (start, end) = (Instant(change + 15 * MINUTE_MS), Instant(change + 75 * MINUTE_MS));
    let window = Policy::default().window(start, end);
    assert_eq!(window.opens, Instant(change - 15 * MINUTE_MS));
    assert_eq!(window.closes.since_ms(window.opens), 90 * MINUTE_MS);
}

#[test]
fn every_refusal_gives_its_own_reason_and_red() {
    let (good, empty) = (simple(), World::default());
    let (mut cancelled, mut unlisted, mut listless) = (good.clone(), good.clone(), good.clone());
    cancelled.sessions[0].cancelled = true;
    unlisted.memberships[0].holder = holder(1);
    listless.memberships.clear();
    let (mut ended, mut coming, mut one_runs) = (good.clone(), good.clone(), cancelled.clone());
    ended.cards[0].span = span(0, 150);
    coming.cards[0].span = span(151, 300);
    one_runs.sessions.push(session(1));
    one_runs.memberships.push(stay(1, 1, 0, Span::ALWAYS));
    for (world, reason) in [
        (&empty, Reason::CardUnknown),
        (&coming, Reason::CardUnknown),
        (&ended, Reason::CardCancelled),
        (&cancelled, Reason::SessionCancelled),
        (&unlisted, Reason::NotOnClassList),
        (&listless, Reason::NoClassList),
    ] {
        let verdict = swipe(world, exactly(150));
        assert_eq!((verdict.reason, verdict.decision), (reason, Decision::NotRecorded));
        assert_eq!((verdict.flash(), verdict.credited), (Colour::Red, vec![]), "{reason:?}");
    }
    assert_eq!(swipe(&good, exactly(250)).reason, Reason::NoOpenSession);
    assert_eq!(swipe(&one_runs, exactly(150)).credited, [id(1)]);
    assert_eq!(swipe(&good, exactly(150)).flash(), Colour::Green);
    assert_eq!(swipe(&good, between(60, 150)).flash(), Colour::Amber);
    assert_eq!(swipe(&good, between(60, 150)).reason, Reason::ClockUntrusted);
}

#[test]
fn a_card_that_cannot_name_its_holder_is_refused_before_any_look_up() {
    let refused = |uid: &[u8]| {
        let read = CardRead::new(32, uid).ok()?;
        refuse_unusable(&read).map(|verdict| (verdict.decision, verdict.reason))
    };
    assert_eq!(refused(&[0x08, 1, 2, 3]), Some((Decision::NotRecorded, Reason::CardRandomUid)));
    assert_eq!(refused(&[0x88, 4, 2, 3]), Some((Decision::NotRecorded, Reason::CardUnreadable)));
    assert_eq!(refused(&[0x04, 1, 2, 3]), None);
}

#[test]
fn two_starts_equally_near_credit_the_earlier_one() {
    let mut world = simple();
    // The earlier start has the later name, so that neither name nor place in the list decides.
    world.sessions.push(session(1));
    world.memberships.push(stay(1, 1, 0, Span::ALWAYS));
    world.sessions[0].starts_at = Instant(120);
    for session in &mut world.sessions {
        session.policy.overlap = Overlap::NearestStart;
    }
    for (at, credited) in [(109, id(1)), (110, id(1)), (111, id(0))] {
        assert_eq!(swipe(&world, exactly(at)).credited, [credited], "at {at}");
    }
    assert_eq!(swipe(&world, between(95, 110)).credited, [id(1)]);
    assert_eq!(swipe(&world, between(95, 111)).decision, Decision::Pending);
}

#[test]
fn half_of_the_credits_already_there_is_still_recorded() {
    let mut world = simple();
    world.sessions.push(session(1));
    world.memberships.push(stay(1, 1, 0, Span::ALWAYS));
    let timetable = world.timetable();
    let reason = |before: &[SessionId]| {
        let already = |who, what| who == holder(0) && before.contains(&what);
        verdict(&timetable, room(0), &key(0), exactly(150), already).reason
    };
    assert_eq!(reason(&[id(0)]), Reason::Recorded);
    assert_eq!(reason(&[id(1)]), Reason::Recorded);
    assert_eq!(reason(&[id(0), id(1)]), Reason::AlreadyRecorded);
}

#[test]
fn a_gap_of_one_millisecond_within_the_interval_puts_the_light_out() {
    let mut world = simple();
    world.sessions.push(Session { starts_at: Instant(232), ends_at: Instant(300), ..session(1) });
    let light = |world: &World| light_at_rest(&world.timetable(), room(0), between(150, 250));
    assert_eq!(light(&world), Colour::Off);
    world.sessions[1].starts_at = Instant(231);
    assert_eq!(light(&world), Colour::Blue);
}

#[test]
fn a_card_whose_gap_lies_within_the_interval_is_undecided() {
    let mut world = simple();
    world.cards = vec![card(0, 0, span(0, 150)), card(1, 0, span(151, 300))];
    assert_eq!(swipe(&world, between(140, 160)).decision, Decision::Pending);
    world.cards[1].span = span(150, 300);
    assert_eq!(swipe(&world, between(140, 160)).decision, Decision::Recorded);
}

#[test]
fn a_credit_in_the_middle_of_the_interval_alone_is_undecided_and_found() {
    let (mut room_changes, mut list_changes) = (simple(), simple());
    room_changes.sessions[0].rooms[0].span = span(120, 130);
    list_changes.memberships[0].span = span(120, 130);
    for world in [room_changes, list_changes] {
        assert_eq!(swipe(&world, between(110, 140)).decision, Decision::Pending);
        assert_eq!(swipe(&world, between(110, 119)).decision, Decision::NotRecorded);
        let any = credited_at_any(&world.timetable(), room(0), &key(0), between(110, 140));
        assert_eq!(any.credited, [id(0)]);
    }
}

#[test]
fn a_session_nearest_for_a_part_of_the_interval_is_not_left_out() {
    // Start, opens before, for each: between the first and the last of three; at an opening after a middle.
    let three = [(100, 30), (120, 50), (140, 70)];
    for (sessions, when, credited) in [
        (&three[..], between(100, 140), vec![id(0), id(1), id(2)]),
        (&[(200, 100), (150, 10)][..], between(90, 150), vec![id(0), id(1)]),
    ] {
        let mut world = simple();
        world.sessions.clear();
        for (n, (start, opens_before_ms)) in (0..).zip(sessions) {
            let policy = Policy {
                opens_before_ms: *opens_before_ms,
                overlap: Overlap::NearestStart,
                ..Policy::default()
            };
            let (starts_at, ends_at, groups) = (Instant(*start), Instant(300), session(0).groups);
            world.sessions.push(Session { starts_at, ends_at, groups, policy, ..session(n) });
        }
        let any = credited_at_any(&world.timetable(), room(0), &key(0), when);
        assert_eq!(any.credited, credited);
    }
}

/// Student 0 has the card until 250 and is listed for session 0 (to 200), student 1 has it then and is listed
/// for session 1 (from 300).
fn handed_on() -> World {
    let mut world = simple();
    world.sessions.push(Session { starts_at: Instant(300), ends_at: Instant(400), ..session(1) });
    world.memberships.push(stay(1, 1, 1, Span::ALWAYS));
    world.cards = vec![card(0, 0, span(0, 250)), card(1, 1, span(250, 500))];
    world
}

#[test]
fn a_card_handed_on_between_two_students_of_one_session_is_undecided() {
    let mut world = handed_on();
    world.memberships[1] = stay(1, 0, 1, Span::ALWAYS);
    world.cards = vec![card(0, 0, span(0, 150)), card(1, 1, span(150, 500))];
    assert_eq!(swipe(&world, between(140, 160)).decision, Decision::Pending);
}

#[test]
fn the_second_holder_of_a_card_is_not_credited_with_the_session_of_the_first() {
    let got = credited_at_any(&handed_on().timetable(), room(0), &key(0), between(150, 350));
    assert_eq!(got.credits, vec![(holder(0), id(0)), (holder(1), id(1))]);
}

#[test]
fn an_undecided_swipe_names_every_session_that_its_time_met_and_credits_none() {
    let got = swipe(&handed_on(), between(150, 350));
    let named: Vec<_> = got.considered.iter().map(|how| (how.session, how.credited)).collect();
    assert_eq!((got.decision, named), (Decision::Pending, vec![(id(0), false), (id(1), false)]));
}

/// Everything that a verdict at one instant says, against the oracle.
fn same(got: &Verdict, want: &Naive) -> Result<(), TestCaseError> {
    let recorded = want.reason == Reason::Recorded;
    prop_assert_eq!(got.decision, if recorded { Decision::Recorded } else { Decision::NotRecorded });
    prop_assert_eq!(got.flash(), if recorded { Colour::Green } else { Colour::Red });
    prop_assert_eq!(got.reason, want.reason);
    prop_assert_eq!(&got.credited, &want.credited.iter().copied().collect::<Vec<_>>());
    prop_assert_eq!(got.card.zip(got.holder), want.card);
    let mut considered = got.considered.clone();
    considered.sort_by_key(|how| how.session);
    prop_assert_eq!(considered, want.considered.values().copied().collect::<Vec<_>>());
    Ok(())
}

/// Every answer of a timetable at every instant that matters, against the oracle.
fn agrees(timetable: &Timetable, world: &World, step: usize) -> Result<(), TestCaseError> {
    let counts = (world.sessions.len(), world.memberships.len(), world.cards.len());
    prop_assert_eq!(timetable.counts(), counts);
    for at in world.instants().into_iter().step_by(step) {
        for room in (0..ROOMS).map(room) {
            let near = timetable.near(room, at, at.plus_ms(7)).map(|it| it.id).collect::<Vec<_>>();
            prop_assert_eq!(near, world.near(room, at, at.plus_ms(7)), "near at {}", at);
            for key in (0..KEYS).map(key) {
                let want = world.verdict(room, key, at);
                let when = Uncertain::exactly(at);
                same(&verdict(timetable, room, &key, when, |_, _| false), &want)?;
                same(&credited_at_any(timetable, room, &key, when), &want)?;
            }
        }
    }
    Ok(())
}

/// The verdicts on an interval, against the oracle's at every millisecond of it.
fn agrees_over(world: &World, intervals: &[(Index, i64, i64)], hands: Hands) -> Result<(), TestCaseError> {
    let timetable = world.timetable();
    let instants = world.instants();
    for (room, key) in (0..ROOMS).flat_map(|it| (0..KEYS).map(move |other| (room(it), key(other)))) {
        if world.never(room, key) {
            continue;
        }
        let all: Vec<Naive> = (FIRST..=LAST).map(|at| world.verdict(room, key, Instant(at))).collect();
        for (edge, before, width) in intervals {
            let earliest = (edge.get(&instants).0 - before).clamp(FIRST, LAST);
            let when = between(earliest, (earliest + width).clamp(FIRST, LAST));
            let slice = &all[usize_of(when.earliest)..=usize_of(when.latest)];
            let holders: BTreeSet<_> = slice.iter().flat_map(Naive::marks).map(|(who, _)| who).collect();
            if hands == Hands::One && holders.len() > 1 {
                continue;
            }
            let differ = slice.iter().any(|other| other.marks() != slice[0].marks());
            let got = verdict(&timetable, room, &key, when, |_, _| false);
            if differ {
                prop_assert_eq!((got.decision, got.reason), (Decision::Pending, Reason::ClockUntrusted));
                prop_assert_eq!((got.flash(), got.credited), (Colour::Amber, vec![]));
            } else {
                prop_assert_eq!(got.decision == Decision::Recorded, slice[0].reason == Reason::Recorded);
                prop_assert_eq!(got.reason, slice[0].reason);
                prop_assert_eq!(got.credited.into_iter().collect::<BTreeSet<_>>(), slice[0].credited.clone());
            }
            let got = credited_at_any(&timetable, room, &key, when);
            let marks: BTreeSet<_> = slice.iter().flat_map(Naive::marks).collect();
            let recorded = got.decision == Decision::Recorded;
            prop_assert_eq!((recorded, got.reason == Reason::Recorded), (!marks.is_empty(), recorded));
            let sorted: Vec<_> = got.credited.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
            prop_assert_eq!(&got.credited, &sorted);
            prop_assert_eq!(got.credits.iter().copied().collect::<BTreeSet<_>>(), marks);
        }
    }
    Ok(())
}

/// Whether an interval may hold credits to several students.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Hands {
    One,
    Several,
}

fn usize_of(at: Instant) -> usize {
    usize::try_from(at.0 - FIRST).unwrap_or(usize::MAX)
}

fn any_intervals() -> impl Strategy<Value = Vec<(Index, i64, i64)>> {
    prop::collection::vec((any::<Index>(), 0i64..25, prop_oneof![0i64..5, 0i64..60, 0i64..150]), 12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn no_instant_differs_from_the_naive_verdict(world in prop_oneof![any_world(), any_crowded_world()]) {
        agrees(&world.timetable(), &world, 1)?;
    }

    #[test]
    fn no_order_of_changes_and_no_duplicate_leads_to_another_answer((world, changes) in any_history()) {
        let mut timetable = Timetable::new();
        for change in changes {
            match change {
                Change::Put(item) => timetable.upsert(item),
                Change::Take(id) => timetable.remove(id),
            }
        }
        agrees(&timetable, &world, 3)?;
        for room in (0..ROOMS).map(room) {
            for at in world.instants() {
                let fresh = world.timetable().next_change(room, at);
                prop_assert_eq!(timetable.next_change(room, at), fresh);
            }
        }
    }

    #[test]
    fn no_change_of_the_light_is_skipped(world in any_world()) {
        let timetable = world.timetable();
        for room in (0..ROOMS).map(room) {
            let blue: Vec<bool> = (FIRST..=LAST).map(|at| world.blue(room, Instant(at))).collect();
            for at in (FIRST..LAST).map(Instant) {
                let next = timetable.next_change(room, at);
                prop_assert!(next.is_none_or(|next| next > at), "{next:?} is not after {at}");
                let until = next.map_or(LAST, |next| next.0.min(LAST) - 1);
                let changed = (at.0 + 1..=until).find(|t| blue[usize_of(Instant(*t))] != blue[usize_of(at)]);
                prop_assert_eq!(changed, None, "after {}, before {:?}", at, next);
            }
        }
    }

    #[test]
    fn an_interval_is_undecided_exactly_when_two_of_its_instants_differ(
        world in prop_oneof![any_world(), any_crowded_world()],
        intervals in any_intervals(),
    ) {
        agrees_over(&world, &intervals, Hands::One)?;
    }

    #[test]
    fn an_interval_in_which_the_card_changes_hands_credits_each_holder_alone(
        world in any_world(),
        intervals in any_intervals(),
    ) {
        agrees_over(&world, &intervals, Hands::Several)?;
    }

    #[test]
    fn already_recorded_is_said_only_if_no_credit_is_new(world in any_world(), mask: u32, all: bool) {
        let timetable = world.timetable();
        let bit = |who: HolderId, what: SessionId| (who.0.as_u128() * 8 + what.0.as_u128()) % 32;
        let already = |who, what| (all || mask >> bit(who, what) & 1 == 1) && mask % 5 != 0;
        for at in world.instants() {
            for (room, key) in (0..ROOMS).flat_map(|it| (0..KEYS).map(move |other| (room(it), key(other)))) {
                let want = world.verdict(room, key, at);
                let got = verdict(&timetable, room, &key, Uncertain::exactly(at), already);
                let known = !want.marks().is_empty() && want.marks().iter().all(|(who, what)| already(*who, *what));
                prop_assert_eq!(got.reason, if known { Reason::AlreadyRecorded } else { want.reason });
                prop_assert_eq!(got.decision == Decision::Recorded, want.reason == Reason::Recorded);
                prop_assert_eq!(got.credited.len(), want.credited.len());
            }
        }
    }

    #[test]
    fn no_instant_beyond_either_end_of_a_window_is_in_it(
        start in 0i64..400, length in 1i64..80, before in 0i64..50, after in 0i64..10,
    ) {
        let mut world = simple();
        let policy = Policy { opens_before_ms: before, closes_after_ms: after, ..Policy::default() };
        world.sessions[0] =
            Session { starts_at: Instant(start), ends_at: Instant(start + length), policy, ..session(0) };
        for at in start - before - 3..=start + length + after + 3 {
            let inside = start - before <= at && at <= start + length + after;
            let want = if inside { Reason::Recorded } else { Reason::NoOpenSession };
            prop_assert_eq!(swipe(&world, exactly(at)).reason, want, "at {}", at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(900) })]

    #[test]
    fn the_light_is_never_blue_unless_it_is_at_every_millisecond(
        world in prop_oneof![any_world(), any_crowded_world()],
        intervals in prop::collection::vec((any::<Index>(), 0i64..25, 0i64..150), 12),
    ) {
        let timetable = world.timetable();
        let instants = world.instants();
        for room in (0..ROOMS).map(room) {
            for at in &instants {
                let want = if world.blue(room, *at) { Colour::Blue } else { Colour::Off };
                prop_assert_eq!(light_at_rest(&timetable, room, Uncertain::exactly(*at)), want);
            }
            for (edge, before, width) in &intervals {
                let earliest = edge.get(&instants).0 - before;
                let all = (earliest..=earliest + width).all(|at| world.blue(room, Instant(at)));
                let want = if all { Colour::Blue } else { Colour::Off };
                let when = between(earliest, earliest + width);
                prop_assert_eq!(light_at_rest(&timetable, room, when), want, "{:?}", when);
            }
        }
    }
}
