//! Registers against a naive reading of the design's section 2: "Register", "Final", "No register".
//!
//! Times are whole minutes of a short session, with a millisecond more or less, so that both the edges and
//! the floor of `minutes_late` are met often.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use rollcall_rules::ids::{GroupId, HolderId, RoomId, SessionId, SwipeId};
use rollcall_rules::policy::Policy;
use rollcall_rules::register::{
    Credit, Entry, Evidence, Facts, ManualMark, Register, Source, State, Status, derive, has_list_at_start,
};
use rollcall_rules::session::{HeldIn, Session};
use rollcall_rules::time::{Instant, MINUTE_MS, Span};
use uuid::Uuid;

const STUDENTS: u128 = 6;
const START: i64 = 10 * MINUTE_MS;

/// Everything that a register is derived from, owned.
#[derive(Clone, Debug)]
struct Case {
    session: Session,
    stays: BTreeMap<HolderId, Vec<Span>>,
    credits: Vec<Credit>,
    manual: BTreeMap<HolderId, ManualMark>,
    excused: BTreeSet<HolderId>,
    not_expected: BTreeSet<HolderId>,
    wronged: BTreeSet<HolderId>,
    evidence: Evidence,
    now: Instant,
}

impl Case {
    fn derive(&self) -> Register {
        derive(&Facts {
            session: &self.session,
            stays: &self.stays,
            credits: &self.credits,
            manual: &self.manual,
            excused: &self.excused,
            not_expected: &self.not_expected,
            wronged: &self.wronged,
            evidence: self.evidence,
            now: self.now,
        })
    }

    fn stayed(&self, student: HolderId) -> &[Span] {
        self.stays.get(&student).map_or(&[], Vec::as_slice)
    }

    /// Expected are those on the class list when the session starts.
    fn expected(&self, student: HolderId) -> bool {
        self.stayed(student).iter().any(|span| within(*span, self.session.starts_at.0))
    }

    /// First and last instant of the window; both count.
    fn window(&self) -> (i64, i64) {
        let (session, policy) = (&self.session, self.session.policy);
        (session.starts_at.0 - policy.opens_before_ms, session.ends_at.0 + policy.closes_after_ms)
    }

    /// Whether some millisecond of the window is in a stay: its first one, or the first one of the stay.
    fn listed_for_a_part(&self, student: HolderId) -> bool {
        let (opens, closes) = self.window();
        self.stayed(student).iter().any(|span| {
            let first = span.from.map_or(opens, |from| from.0);
            let in_window = |at: i64| opens <= at && at <= closes && within(*span, at);
            in_window(opens) || in_window(first)
        })
    }

    fn state(&self) -> State {
        let (opens, closes) = self.window();
        let (now, evidence, policy) = (self.now.0, self.evidence, self.session.policy);
        if self.session.cancelled {
            return State::Cancelled;
        }
        if !evidence.has_reader || !self.stays.keys().any(|student| self.expected(*student)) {
            return State::NoRegister;
        }
        if now < opens {
            return State::Scheduled;
        }
        if now <= closes {
            return State::Open;
        }
        let handed_over = evidence.watermark.is_some_and(|watermark| watermark.0 > closes);
        let waited_enough = now - self.session.ends_at.0 > policy.settle_limit_ms;
        match handed_over {
            true if evidence.outage_ms > policy.outage_tolerance_ms => State::NoRegister,
            true => State::Final,
            false if evidence.declared_lost || waited_enough => State::NoRegister,
            false => State::Settling,
        }
    }

    fn students(&self) -> BTreeSet<HolderId> {
        let all = (0..STUDENTS).map(student);
        all.filter(|who| {
            self.listed_for_a_part(*who)
                || self.manual.contains_key(who)
                || self.credits.iter().any(|credit| credit.student == *who)
        })
        .collect()
    }

    /// Every line that the rules allow for a student: several only where two swipes are equally early.
    fn lines(&self, student: HolderId) -> Vec<Entry> {
        let late = |at: Instant| (at.0 - self.session.starts_at.0).max(0) / MINUTE_MS;
        let rule = |status, source| Entry {
            status,
            source,
            arrived_at: None,
            minutes_late: None,
            shared_swipe: false,
            honoured: false,
        };
        if let Some(mark) = self.manual.get(&student) {
            let mut line = rule(mark.status, Source::Manual);
            if mark.status == Status::Present {
                line.arrived_at = mark.arrived_at;
                line.minutes_late = Some(mark.arrived_at.map_or(0, late));
            }
            return vec![line];
        }
        if self.session.cancelled {
            return vec![rule(Status::Cancelled, Source::Rule)];
        }
        let own: Vec<&Credit> = self.credits.iter().filter(|credit| credit.student == student).collect();
        if let Some(arrived) = own.iter().map(|credit| credit.at).min() {
            let earliest: Vec<_> = own.into_iter().filter(|credit| credit.at == arrived).collect();
            // A mark that needs no promise does not rest on one.
            let needs_promise = earliest.iter().all(|credit| credit.honoured);
            let deciding = earliest.into_iter().filter(|credit| credit.honoured == needs_promise);
            return deciding
                .map(|credit| Entry {
                    status: Status::Present,
                    source: if credit.shown_green { Source::Reader } else { Source::Reconciled },
                    arrived_at: Some(arrived),
                    minutes_late: Some(late(arrived)),
                    shared_swipe: credit.shared,
                    honoured: credit.honoured,
                })
                .collect();
        }
        if self.excused.contains(&student) {
            return vec![rule(Status::AuthorisedAbsence, Source::Absence)];
        }
        if self.not_expected.contains(&student) || !self.expected(student) {
            return vec![rule(Status::NotRequired, Source::Rule)];
        }
        let status = match self.state() {
            State::NoRegister => Status::NoRegister,
            State::Final if self.wronged.contains(&student) => Status::NoRegister,
            State::Final => Status::Absent,
            _ => Status::Expected,
        };
        vec![rule(status, Source::Rule)]
    }
}

fn within(span: Span, at: i64) -> bool {
    span.from.is_none_or(|from| at >= from.0) && span.until.is_none_or(|until| at < until.0)
}

fn student(n: u128) -> HolderId {
    HolderId(Uuid::from_u128(n))
}

/// A session of three minutes; its window opens two minutes before; one student, all evidence in, long over.
fn plain() -> Case {
    let minutes = |n: i64| n * MINUTE_MS;
    Case {
        session: Session {
            id: SessionId(Uuid::from_u128(1)),
            starts_at: Instant(START),
            ends_at: Instant(START + minutes(3)),
            cancelled: false,
            rooms: vec![HeldIn { room: RoomId(Uuid::from_u128(1)), span: Span::ALWAYS }],
            groups: vec![GroupId(Uuid::from_u128(1))],
            policy: Policy {
                opens_before_ms: minutes(2),
                outage_tolerance_ms: minutes(1),
                settle_limit_ms: minutes(5),
                ..Policy::default()
            },
        },
        stays: BTreeMap::from([(student(0), vec![Span::ALWAYS])]),
        credits: Vec::new(),
        manual: BTreeMap::new(),
        excused: BTreeSet::new(),
        not_expected: BTreeSet::new(),
        wronged: BTreeSet::new(),
        evidence: Evidence {
            has_reader: true,
            watermark: Some(Instant(START + minutes(3) + 1)),
            outage_ms: 0,
            declared_lost: false,
        },
        now: Instant(START + minutes(3) + 1),
    }
}

fn line(case: &Case) -> Option<Entry> {
    case.derive().entries.get(&student(0)).copied()
}

/// State of the register and status of the one student.
fn outcome(case: &Case) -> (State, Option<Status>) {
    (case.derive().state, line(case).map(|line| line.status))
}

#[test]
fn a_watermark_on_the_last_instant_of_the_window_leaves_the_register_settling() {
    let mut case = plain();
    assert_eq!(outcome(&case), (State::Final, Some(Status::Absent)));
    case.evidence.watermark = Some(case.session.ends_at);
    assert_eq!(outcome(&case), (State::Settling, Some(Status::Expected)));
    case.evidence.watermark = None;
    assert_eq!(outcome(&case), (State::Settling, Some(Status::Expected)));
}

#[test]
fn a_session_in_its_last_millisecond_is_open_and_nobody_is_absent() {
    let mut case = plain();
    case.evidence.watermark = Some(Instant(i64::MAX));
    case.now = case.session.ends_at;
    assert_eq!(outcome(&case), (State::Open, Some(Status::Expected)));
    case.now = Instant(START - 2 * MINUTE_MS - 1);
    assert_eq!(outcome(&case), (State::Scheduled, Some(Status::Expected)));
}

#[test]
fn silence_ends_in_no_register_only_after_the_limit_or_a_declared_loss() {
    let mut case = plain();
    case.evidence.watermark = None;
    case.now = case.session.ends_at.plus_ms(case.session.policy.settle_limit_ms);
    assert_eq!(outcome(&case), (State::Settling, Some(Status::Expected)));
    case.now = case.now.plus_ms(1);
    assert_eq!(outcome(&case), (State::NoRegister, Some(Status::NoRegister)));
    case.now = case.session.ends_at.plus_ms(1);
    case.evidence.declared_lost = true;
    assert_eq!(outcome(&case), (State::NoRegister, Some(Status::NoRegister)));
}

#[test]
fn an_outage_beyond_the_tolerance_leaves_nobody_absent() {
    let mut case = plain();
    case.evidence.outage_ms = MINUTE_MS;
    assert_eq!(outcome(&case), (State::Final, Some(Status::Absent)));
    case.evidence.outage_ms += 1;
    assert_eq!(outcome(&case), (State::NoRegister, Some(Status::NoRegister)));
}

#[test]
fn no_reader_and_no_list_at_the_start_are_no_register_from_the_outset() {
    let mut case = plain();
    case.now = Instant(0);
    case.evidence.has_reader = false;
    assert_eq!(outcome(&case), (State::NoRegister, Some(Status::NoRegister)));
    case.evidence.has_reader = true;
    case.stays.insert(student(0), vec![Span { from: Some(Instant(START + 1)), until: None }]);
    assert_eq!(outcome(&case), (State::NoRegister, Some(Status::NotRequired)));
}

#[test]
fn a_swipe_in_the_first_minute_is_not_late() {
    let mut case = plain();
    for (after, late) in [(-MINUTE_MS, 0), (0, 0), (MINUTE_MS - 1, 0), (MINUTE_MS, 1), (2 * MINUTE_MS - 1, 1)]
    {
        case.credits = vec![credit(0, 0, START + after)];
        assert_eq!(line(&case).and_then(|line| line.minutes_late), Some(late), "after {after} ms");
    }
}

#[test]
fn a_person_outranks_the_cancellation_and_the_cancellation_the_swipe() {
    let mut case = plain();
    case.credits = vec![credit(0, 0, START)];
    case.excused.insert(student(0));
    assert_eq!(outcome(&case).1, Some(Status::Present));
    case.session.cancelled = true;
    assert_eq!(outcome(&case), (State::Cancelled, Some(Status::Cancelled)));
    case.manual.insert(student(0), ManualMark { status: Status::Absent, arrived_at: None });
    assert_eq!(outcome(&case), (State::Cancelled, Some(Status::Absent)));
}

fn credit(who: u128, swipe: u128, at: i64) -> Credit {
    let (student, swipe) = (student(who), SwipeId(Uuid::from_u128(swipe)));
    Credit { student, swipe, at: Instant(at), shown_green: true, honoured: false, shared: false }
}

/// A whole minute around the session, or a millisecond beside it.
fn any_instant() -> impl Strategy<Value = Instant> {
    (-4i64..12, -1i64..=1).prop_map(|(minute, off)| Instant(START + minute * MINUTE_MS + off))
}

fn any_length(minutes: i64) -> impl Strategy<Value = i64> {
    (0..minutes, -1i64..=1).prop_map(|(minutes, off)| (minutes * MINUTE_MS + off).max(0))
}

fn any_session() -> impl Strategy<Value = Session> {
    let after = prop_oneof![2 => Just(0), 1 => any_length(2)];
    (1i64..5, any_length(4), after, any_length(4), any_length(5), prop::bool::weighted(0.15)).prop_map(
        |(minutes, opens_before_ms, closes_after_ms, outage_tolerance_ms, settle_limit_ms, cancelled)| {
            let policy = Policy {
                opens_before_ms,
                closes_after_ms,
                outage_tolerance_ms,
                settle_limit_ms,
                ..Policy::default()
            };
            Session { ends_at: Instant(START + minutes * MINUTE_MS), cancelled, policy, ..plain().session }
        },
    )
}

fn any_stays() -> impl Strategy<Value = BTreeMap<HolderId, Vec<Span>>> {
    let side = || prop::option::of(any_instant());
    let span = prop_oneof![
        2 => Just(Span::ALWAYS),
        3 => (side(), side()).prop_map(|(from, until)| Span { from, until }),
    ];
    prop::collection::btree_map((0..STUDENTS).prop_map(student), prop::collection::vec(span, 0..3), 0..6)
}

/// Credits with a swipe name of their own; names come in another order than times.
fn any_credits() -> impl Strategy<Value = Vec<Credit>> {
    let one = (0..STUDENTS, -3i64..5, -1i64..=1, any::<[bool; 3]>());
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let made = all.into_iter().enumerate().map(|(n, (who, minute, off, [green, honoured, shared]))| {
            let at = START + minute * MINUTE_MS + off;
            Credit { shown_green: green, honoured, shared, ..credit(who, n as u128, at) }
        });
        made.collect()
    })
}

fn any_students() -> impl Strategy<Value = BTreeSet<HolderId>> {
    subsequence((0..STUDENTS).map(student).collect::<Vec<_>>(), 0..3).prop_map(BTreeSet::from_iter)
}

fn any_manual() -> impl Strategy<Value = BTreeMap<HolderId, ManualMark>> {
    let status = select(vec![
        Status::Present,
        Status::Present,
        Status::Absent,
        Status::AuthorisedAbsence,
        Status::NotRequired,
        Status::NoRegister,
    ]);
    let mark = (status, prop::option::of(any_instant()))
        .prop_map(|(status, arrived_at)| ManualMark { status, arrived_at });
    prop::collection::btree_map((0..STUDENTS).prop_map(student), mark, 0..2)
}

prop_compose! {
    /// `now` and the watermark often stand beside the end of the window, the outage beside the tolerance.
    fn any_case()(
        session in any_session(),
        stays in any_stays(),
        credits in any_credits(),
        manual in any_manual(),
        (excused, not_expected, wronged) in (any_students(), any_students(), any_students()),
        (has_reader, declared_lost) in (prop::bool::weighted(0.9), prop::bool::weighted(0.2)),
        watermark in prop::option::weighted(0.8, (any::<bool>(), any_instant(), -1i64..=1)),
        outage in (any::<bool>(), any_length(5), -1i64..=1),
        now in (0u8..4, any_instant(), -1i64..=1),
    ) -> Case {
        let policy = session.policy;
        let (opens, closes) = (START - policy.opens_before_ms, session.ends_at.0 + policy.closes_after_ms);
        let by = |edge: i64, off: i64| Instant(edge + off);
        let now = match now {
            (0, _, off) => by(closes, off),
            (1, _, off) => by(session.ends_at.0 + policy.settle_limit_ms, off),
            (2, _, off) => by(opens, off),
            (_, at, _) => at,
        };
        let watermark = watermark.map(|(near, at, off)| if near { by(closes, off) } else { at });
        let (near, length, off) = outage;
        let outage_ms = if near { (policy.outage_tolerance_ms + off).max(0) } else { length };
        let evidence = Evidence { has_reader, watermark, outage_ms, declared_lost };
        Case { session, stays, credits, manual, excused, not_expected, wronged, evidence, now }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn no_line_and_no_state_differs_from_the_naive_register(case in any_case()) {
        let register = case.derive();
        prop_assert_eq!(register.state, case.state());
        let students: BTreeSet<HolderId> = register.entries.keys().copied().collect();
        prop_assert_eq!(&students, &case.students());
        for (student, entry) in &register.entries {
            prop_assert!(case.lines(*student).contains(entry), "{student:?}: {entry:?}");
        }
        let listed = case.stays.keys().any(|student| case.expected(*student));
        prop_assert_eq!(has_list_at_start(&case.session, &case.stays), listed);
    }

    #[test]
    fn no_order_of_credits_and_no_duplicate_gives_another_register(
        (case, credits) in any_case().prop_flat_map(|case| {
            let twice = [case.credits.clone(), case.credits.clone()].concat();
            let least = case.credits.len();
            let some = prop::collection::vec(any::<Index>(), least);
            let again = some.prop_map(move |some| {
                let more = some.iter().filter(|_| !twice.is_empty()).map(|it| *it.get(&twice));
                twice[..least].iter().copied().chain(more).collect::<Vec<_>>()
            });
            (Just(case), again.prop_shuffle())
        }),
    ) {
        let other = Case { credits, ..case.clone() };
        prop_assert_eq!(other.derive(), case.derive());
    }

    #[test]
    fn nobody_is_absent_before_final_nor_when_we_wronged_them(case in any_case()) {
        let register = case.derive();
        let ruled = register.entries.iter().filter(|(_, entry)| entry.source != Source::Manual);
        for (student, _) in ruled.filter(|(_, entry)| entry.status == Status::Absent) {
            prop_assert_eq!(register.state, State::Final);
            prop_assert!(!case.wronged.contains(student) && case.expected(*student));
            prop_assert!(case.credits.iter().all(|credit| credit.student != *student));
        }
        let cancelled = register.state == State::Cancelled;
        for (student, entry) in register.entries.iter().filter(|_| !cancelled) {
            let swiped = case.credits.iter().any(|credit| credit.student == *student);
            let decided = case.manual.contains_key(student);
            prop_assert!(!swiped || decided || entry.status == Status::Present);
        }
    }
}
