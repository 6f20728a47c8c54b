//! What the gateway says to the hub, and when.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::collections::BTreeSet;

use rollcall_gateway::clock::{Reading, Trust};
use rollcall_gateway::journal::log::{Segment, Stored, Usage};
use rollcall_gateway::journal::record::{AnchorRecord, Record};
use rollcall_gateway::journal::writer::Standing;
use rollcall_gateway::uplink::client::UplinkError;
use rollcall_gateway::uplink::handover::{HandOver, More, ReaderStatus, Status, Step};
use rollcall_gateway::uplink::operations::{
    Counter, DateTime, GatewayHandedOver, GatewayHeartbeatPayload, GatewayJournalInput,
    GatewaySubmitSwipesPayload,
};
use rollcall_gateway::uplink::sign::SigningKey;
use rollcall_rules::light::Colour;
use rollcall_rules::time::{Instant, Uncertain};
use uuid::Uuid;

#[path = "handover/fork.rs"]
mod fork;
#[path = "handover/hub.rs"]
mod hub;

use hub::Hub;

const START: i64 = 1_800_000_000_000;

fn status(at: i64, online: bool) -> Status {
    let now = Instant(START + at);
    Status {
        now: Reading { at: now, when: Uncertain::exactly(now), trust: Trust::Synced, since_boot_ms: at },
        durable_before: now,
        last_durable: 0,
        basis: String::new(),
        readers: vec![ReaderStatus {
            id: Uuid::nil(),
            code: "D1".into(),
            online,
            light: Colour::Off,
            firmware: None,
            last_swipe: None,
            line: None,
        }],
        unassigned: Vec::new(),
        current_at: None,
        heartbeat_ms: 60_000,
        max_batch: 0,
    }
}

/// What the hub answers to a heartbeat.
fn answered(in_step: bool, last_taken: Option<Uuid>) -> GatewayHeartbeatPayload {
    GatewayHeartbeatPayload {
        received_at: DateTime(START),
        latest_cursor: String::new(),
        handed_over: Vec::new(),
        in_step,
        last_taken,
        errors: Vec::new(),
    }
}

#[test]
fn a_reader_that_comes_or_goes_is_told_at_once_but_not_at_every_flicker() {
    let standing = Standing { journal: Uuid::nil(), next: 1, segments: Vec::new(), usage: Usage::default() };
    let answer = answered(true, None);
    let mut handover = HandOver::default();
    let said = status(0, false);
    assert_eq!(handover.step(&said, &standing), Step::Heartbeat, "it says hello");
    handover.heartbeat_answered(&said, &standing, &answer).unwrap();

    assert_eq!(handover.step(&status(10_000, false), &standing), Step::Wait(50_000));
    assert_eq!(handover.step(&status(10_000, true), &standing), Step::Heartbeat, "it came");
    handover.heartbeat_answered(&status(10_000, true), &standing, &answer).unwrap();
    let flicker = handover.step(&status(10_100, false), &standing);
    assert_eq!(flicker, Step::Wait(1_900), "it went, a moment later");
    assert_eq!(handover.step(&status(12_000, true), &standing), Step::Wait(58_000));
    assert_eq!(handover.step(&status(12_000, false), &standing), Step::Heartbeat);

    // The hub's answer puts the clock back by a day: the next heartbeat waits no longer for that.
    handover.heartbeat_answered(&status(12_000, false), &standing, &answer).unwrap();
    let mut back = status(12_100, false);
    back.now.at = back.now.at.plus_ms(-86_400_000);
    assert_eq!(handover.step(&back, &standing), Step::Wait(59_900));
}

const JOURNAL: Uuid = Uuid::from_u128(7);
const RECORDS: u64 = 1_600;

fn stored(sequence: u64) -> Stored {
    let record = Record::Anchor(AnchorRecord {
        boot: Uuid::nil(),
        since_boot: i64::try_from(sequence).unwrap(),
        at: START,
        error: 1,
        source: "HUB".into(),
    });
    Stored { journal: JOURNAL, sequence, chain: [1; 32], before: Some([1; 32]), body: record.body().unwrap() }
}

#[test]
fn a_record_that_the_hub_turns_down_or_fails_at_holds_up_no_other_and_is_handed_over_when_it_is_taken() {
    for fails in [false, true] {
        let mut hub = Hub { turns_down: BTreeSet::from([10]), fails, ..Hub::default() };
        let mut handover = HandOver::default();
        hub.drain(&mut handover, 0);
        assert_eq!((hub.has.len() as u64, hub.through), (RECORDS - 1, 9), "all but the one");
        for minute in 1..4 {
            hub.asked = 0;
            assert_eq!(hub.drain(&mut handover, minute * 60_000), 1, "it says that it holds one back");
            assert!(!hub.complete, "no watermark is taken while it is missing");
            assert!(hub.asked < 5, "{} questions in a minute for one record", hub.asked);
        }
        // The hub was mended, or the gateway.
        hub.turns_down.clear();
        hub.drain(&mut handover, 300_000);
        assert_eq!((hub.has.len() as u64, hub.through), (RECORDS, RECORDS));
        assert_eq!(hub.drain(&mut handover, 360_000), 0);
        assert!(hub.complete);
    }
}

#[test]
fn a_hub_that_can_do_nothing_now_is_waited_for_and_no_record_is_taken_to_be_at_fault() {
    let mut hub = Hub { too_many: Some((0, || UplinkError::Unavailable("full".into()))), ..Hub::default() };
    let mut handover = HandOver::default();
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hub.drain(&mut handover, 0)));
    let words = told.unwrap_err().downcast::<String>().unwrap();
    assert!(words.starts_with("it says the same over and over"), "{words}");
    (hub.too_many, hub.asked) = (None, 0);
    hub.drain(&mut handover, 1_000);
    assert_eq!((hub.has.len() as u64, hub.through), (RECORDS, RECORDS));
    assert_eq!(hub.drain(&mut handover, 61_000), 0, "nothing is held back for it");
}

#[test]
fn a_hub_that_answers_too_late_or_takes_no_more_at_once_gets_less() {
    let errors: [fn() -> UplinkError; 2] = [|| UplinkError::TimedOut, || UplinkError::TooLarge];
    for error in errors {
        let mut hub = Hub { too_many: Some((100, error)), ..Hub::default() };
        assert_eq!(hub.drain(&mut HandOver::default(), 0), 0, "nothing is held back for it");
        assert_eq!((hub.has.len() as u64, hub.through), (RECORDS, RECORDS));
    }
}

#[test]
fn what_is_wrong_with_the_hub_is_not_taken_for_a_bad_record() {
    let told = |code| UplinkError::told("its disk is full".to_owned(), code);
    assert!(matches!(told(Some("INTERNAL")), UplinkError::Failed(_)));
    assert!(matches!(told(Some("UNAVAILABLE")), UplinkError::Unavailable(_)));
    assert!(matches!(told(Some("FORBIDDEN")), UplinkError::Unavailable(_)));
    assert!(matches!(told(Some("BAD_USER_INPUT")), UplinkError::Refused(_)));
    assert!(matches!(told(None), UplinkError::Refused(_)));
}

#[test]
fn while_any_record_is_held_back_nobody_is_told_that_everything_is_handed_over() {
    let mut hub = Hub { turns_down: BTreeSet::from([10, 20]), ..Hub::default() };
    let mut handover = HandOver::default();
    hub.drain(&mut handover, 0);
    // One of the two is taken, and the other may be whose holder would be absent.
    hub.turns_down.remove(&10);
    for minute in 1..4 {
        hub.asked = 0;
        hub.drain(&mut handover, minute * 60_000);
        assert_eq!((hub.has.contains(&10), hub.has.contains(&20), hub.watermark), (true, false, 0));
    }
    hub.turns_down.clear();
    for minute in 4..6 {
        hub.asked = 0;
        hub.drain(&mut handover, minute * 60_000);
    }
    assert_eq!((hub.has.len() as u64, hub.watermark), (RECORDS, START + 300_000));
}

#[test]
fn a_batch_with_a_hole_passes_no_watermark_before_the_hole_is_told_of() {
    for hole in [1, 700, 1_501, 1_550, RECORDS] {
        let mut hub = Hub { unreadable: BTreeSet::from([hole]), ..Hub::default() };
        let mut handover = HandOver::default();
        hub.drain(&mut handover, 0);
        assert_eq!(hub.watermark, 0, "{hole}");
        // What tells of it holds the watermark from now on, until it is handed over itself.
        hub.drain(&mut handover, 60_000);
        assert_eq!(hub.watermark, START + 60_000, "{hole}");
    }
}

#[test]
fn a_hole_takes_no_more_from_the_signature_than_the_record_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub {
        unreadable: BTreeSet::from([300, 700, 701]),
        key: Some(SigningKey::load(&folder.path().join("key")).unwrap()),
        ..Hub::default()
    };
    hub.drain(&mut HandOver::default(), 0);
    let unsigned: Vec<u64> = hub.has.difference(&hub.signed).copied().collect();
    assert_eq!((unsigned, hub.has.len() as u64), (vec![301, 702], RECORDS - 3));
}

#[test]
fn beside_another_journal_a_batch_says_nothing_of_the_watermark_and_the_next_heartbeat_does() {
    let own = Uuid::from_u128(8);
    for journals in [vec![own], vec![JOURNAL, own]] {
        let segment = |journal: &Uuid| Segment {
            name: "s".into(),
            journal: *journal,
            first: 1,
            last: 3,
            damaged: false,
        };
        let segments = journals.iter().map(segment).collect();
        let standing = Standing { journal: own, next: 4, segments, usage: Usage::default() };
        let (mut handover, now) = (HandOver::default(), status(0, true));
        assert_eq!(handover.step(&now, &standing), Step::Heartbeat);
        drop(handover.heartbeat(&now, &standing, More::default()));
        // The hub has all of the older one.
        let has = |journal: &Uuid, through| GatewayHandedOver {
            journal_id: *journal,
            through: Counter(through),
            chain: "01".repeat(32),
        };
        for journal in &journals {
            let has = has(journal, if *journal == own { 0 } else { 3 });
            let found = handover.wanted(&standing, &has).map(stored);
            assert!(!handover.learn(&standing, &has, found.as_ref(), Uuid::from_u128(8)));
        }
        let answer = answered(true, Some(Uuid::from_u128(10)));
        handover.heartbeat_answered(&now, &standing, &answer).unwrap();
        assert!(
            matches!(handover.step(&now, &standing), Step::Read { journal, from: 1, .. } if journal == own)
        );
        let records = (1..=3).map(|number| Stored { journal: own, ..stored(number) }).collect();
        let sent = handover.batch((own, 1), records, &now, &standing, None, None).unwrap();
        assert_eq!(sent.input.watermark.0, if journals.len() == 1 { START } else { 0 });
        let answer = GatewaySubmitSwipesPayload {
            receipts: Vec::new(),
            committed_at: DateTime(START),
            handed_over: vec![has(&own, 3)],
            renew_journal: false,
            in_step: true,
            last_taken: Some(Uuid::from_u128(11)),
            errors: Vec::new(),
        };
        handover.submitted(&sent, &answer, &standing).unwrap();
        let said = handover.heartbeat(&status(60_000, true), &standing, More::default());
        assert_eq!(said.watermark.0, START + 60_000);
    }
}

#[test]
fn a_hub_that_was_restored_while_a_record_is_held_back_gets_everything_again() {
    let mut hub = Hub { turns_down: BTreeSet::from([700]), ..Hub::default() };
    let mut handover = HandOver::default();
    hub.drain(&mut handover, 0);
    hub.restored(200, 200);
    handover.failed(&UplinkError::TimedOut);
    hub.drain(&mut handover, 30_000);
    assert_eq!((hub.has.len() as u64, hub.through), (RECORDS - 1, 699));
}

#[test]
fn a_hub_that_was_restored_to_where_a_record_is_held_back_gets_what_came_behind_it_and_no_watermark_before() {
    for heard in [false, true] {
        let mut hub = Hub { turns_down: BTreeSet::from([200]), ..Hub::default() };
        let mut handover = HandOver::default();
        hub.drain(&mut handover, 0);
        // It has lost much of what came behind the record, and how far it is shows nothing of that.
        hub.restored(199, 300);
        if heard {
            handover.failed(&UplinkError::TimedOut);
            hub.drain(&mut handover, 30_000);
            assert_eq!(hub.has.len() as u64, RECORDS - 1);
        }
        hub.turns_down.clear();
        for minute in 1..=2 {
            hub.drain(&mut handover, minute * 60_000);
        }
        assert_eq!((hub.has.len() as u64, hub.watermark), (RECORDS, START + 120_000));
    }
}

#[test]
fn a_hub_that_was_restored_is_told_of_no_watermark_before_it_has_everything_again() {
    let mut hub = Hub::default();
    let mut handover = HandOver::default();
    hub.drain(&mut handover, 0);
    assert_eq!(hub.watermark, START);
    hub.restored(200, 200);
    handover.failed(&UplinkError::TimedOut);
    hub.drain(&mut handover, 30_000);
    assert_eq!((hub.has.len() as u64, hub.watermark), (RECORDS, START + 30_000));
}

#[test]
fn a_restored_hub_that_hears_of_a_batch_first_or_whose_answers_are_lost_gets_everything_again() {
    for (more, loses) in [(0, 0), (0, 1), (0, 3), (1, 0), (1, 1), (1, 3)] {
        let mut hub = Hub { turns_down: BTreeSet::from([10]), ..Hub::default() };
        let mut handover = HandOver::default();
        hub.drain(&mut handover, 0);
        // How far it is shows nothing: it has no more in order than before.
        hub.restored(9, 300);
        (hub.more, hub.loses) = (more, loses);
        let at = if more > 0 { 30_000 } else { 60_000 };
        hub.drain(&mut handover, at);
        assert_eq!(hub.has.len() as u64, RECORDS + more - 1, "{more} {loses}");
        hub.turns_down.clear();
        for minute in 2..=3 {
            hub.asked = 0;
            hub.drain(&mut handover, minute * 60_000);
        }
        assert_eq!((hub.has.len() as u64, hub.watermark), (RECORDS + more, START + 180_000));
    }
}

#[test]
fn answers_that_are_lost_and_calls_that_never_arrive_look_like_no_backup() {
    let mut hub = Hub { turns_down: BTreeSet::from([10]), ..Hub::default() };
    let mut handover = HandOver::default();
    hub.drain(&mut handover, 0);
    for (minute, unheard) in (1..).zip([0, 1, 2, 40]) {
        // It takes a batch and a heartbeat, and the answers are lost; then it is away.
        (hub.more, hub.loses) = (hub.more + 1, 2);
        hub.asked = 0;
        hub.unheard = unheard;
        hub.drain(&mut handover, minute * 60_000 - 1);
        assert_eq!((hub.out_of_step, hub.has.len() as u64), (0, RECORDS + hub.more - 1));
        assert!(hub.asked <= unheard + 12, "what it has was sent again: {} questions", hub.asked);
    }
    hub.restored(9, 9);
    hub.drain(&mut handover, 30 * 60_000);
    assert_eq!((hub.out_of_step, hub.has.len() as u64), (1, RECORDS + hub.more - 1));
}

#[test]
fn a_heartbeat_that_is_turned_down_sets_no_record_aside() {
    let mut hub = Hub::default();
    let mut handover = HandOver::default();
    for _ in 0..20 {
        assert!(!handover.failed(&UplinkError::Refused("this gateway is no longer there".into())));
    }
    assert_eq!(hub.drain(&mut handover, 0), 0, "nothing is held back");
    assert_eq!((hub.has.len() as u64, hub.through), (RECORDS, RECORDS));
    assert!(hub.asked < 10, "{} questions", hub.asked);
}
