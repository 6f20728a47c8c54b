//! What the gateway says to the hub, and when.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_gateway::clock::{Reading, Trust};
use rollcall_gateway::journal::log::Usage;
use rollcall_gateway::journal::writer::Standing;
use rollcall_gateway::uplink::handover::{HandOver, ReaderStatus, Status, Step};
use rollcall_gateway::uplink::operations::{DateTime, GatewayHeartbeatPayload};
use rollcall_rules::light::Colour;
use rollcall_rules::time::{Instant, Uncertain};
use uuid::Uuid;

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

#[test]
fn a_reader_that_comes_or_goes_is_told_at_once_but_not_at_every_flicker() {
    let standing = Standing { journal: Uuid::nil(), next: 1, segments: Vec::new(), usage: Usage::default() };
    let answer = GatewayHeartbeatPayload {
        received_at: DateTime(START),
        latest_cursor: String::new(),
        handed_over: Vec::new(),
        errors: Vec::new(),
    };
    let mut handover = HandOver::default();
    let said = status(0, false);
    assert_eq!(handover.step(&said, &standing), Step::Heartbeat, "it says hello");
    handover.heartbeat_answered(&said, &standing, &answer).unwrap();

    assert_eq!(handover.step(&status(10_000, false), &standing), Step::Wait(Instant(START + 60_000)));
    assert_eq!(handover.step(&status(10_000, true), &standing), Step::Heartbeat, "it came");
    handover.heartbeat_answered(&status(10_000, true), &standing, &answer).unwrap();
    let flicker = handover.step(&status(10_100, false), &standing);
    assert_eq!(flicker, Step::Wait(Instant(START + 12_000)), "it went, a moment later");
    assert_eq!(handover.step(&status(12_000, true), &standing), Step::Wait(Instant(START + 70_000)));
    assert_eq!(handover.step(&status(12_000, false), &standing), Step::Heartbeat);
}
