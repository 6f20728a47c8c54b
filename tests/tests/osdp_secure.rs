//! The secure channel of the gateway's OSDP bus against libosdp's peripheral device over a pty.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::time::{Duration, Instant};

use reader_sim::device::osdp::ReaderKey;
use reader_sim::device::{DeviceEvent, Shown};
use reader_sim::plan::{Colour, Credential};
use rollcall_gateway::osdp::bus::{BusOrder, Keyed};
use rollcall_gateway::osdp::command::LedColour;
use rollcall_gateway::osdp::panel::Event;
use rollcall_gateway::osdp::secure_channel::{Key, SecureError};
use rollcall_tests::osdp_line::Line;

const OWN: [u8; 16] = *b"a key of its own";

fn under(key: [u8; 16]) -> Keyed {
    Keyed::Under(Key::new(key))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_key_cards_lights_buzzer_and_tamper_get_through_also_after_a_power_cut() {
    let readers = [ReaderKey::Own(OWN), ReaderKey::None];
    let mut line = Line::secured(115_200, readers, [(1, under(OWN))].into(), &[1, 2]).await;
    line.order(BusOrder::Rest { address: 1, colour: LedColour::Blue }).await;
    line.shows("R1", Shown::Base(Colour::Blue)).await;
    for round in 0..2u8 {
        for number in 0..60 {
            line.swipe(1 + number % 2, 32, &[4, 1, round, number]).await;
        }
        line.order(BusOrder::Flash { address: 1, colour: LedColour::Green, beeps: 1 }).await;
        line.shows("R1", Shown::Flash(Colour::Green)).await;
        line.device(|event| matches!(event, DeviceEvent::Buzzer { reader } if reader == "R1")).await;
        for on in [true, false] {
            line.devices.tamper("R1", on).unwrap();
            line.event(|event| *event == (1, Event::Tamper(on))).await;
        }
        line.devices.unplug("R1", true).unwrap();
        line.devices.unplug("R1", false).unwrap();
        line.event(|event| *event == (1, Event::PowerUp)).await;
        line.shows("R1", Shown::Base(Colour::Blue)).await;
    }
    line.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_install_mode_is_given_a_key_and_from_then_on_has_no_other() {
    let change = Keyed::Change { from: Key::DEFAULT, to: Key::new(OWN) };
    let mut line = Line::secured(9_600, [ReaderKey::Install], [(1, change)].into(), &[]).await;
    line.event(|event| *event == (1, Event::KeySet(Key::new(OWN)))).await;
    line.event(|(_, event)| matches!(event, Event::Online(_))).await;
    line.device(|event| matches!(event, DeviceEvent::Keyed { .. })).await;
    line.swipe(1, 26, &[0x95, 0x18, 0x1c, 0xc0]).await;
    // Off and on again it has that key, and only that.
    line.devices.unplug("R1", true).unwrap();
    line.devices.unplug("R1", false).unwrap();
    line.event(|event| *event == (1, Event::PowerUp)).await;
    line.swipe(1, 26, &[0x95, 0x18, 0x1c, 0xc0]).await;
    line.end().await;
}

/// What is at the door is not what got the key: nothing of it is taken, and it is told once.
async fn is_refused(found: ReaderKey, by: [u8; 16], told: impl Fn(SecureError) -> bool) {
    let readers = [found, ReaderKey::None];
    let mut line = Line::secured(115_200, readers, [(1, under(by))].into(), &[]).await;
    let (_, event) = line.event(|(address, it)| *address == 1 && !matches!(it, Event::Line(_))).await;
    let Event::Insecure(error) = event else { panic!("{event:?}") };
    assert!(told(error), "{error:?}");
    let credential = Credential { bits: 32, raw: vec![1, 2, 3, 4] };
    line.devices.present("R1", &credential).unwrap();
    // Through the next tries at it, five seconds apart, the line is the other one's: `swipe` fails on a card of R1.
    let begun = Instant::now();
    for number in (0..=u8::MAX).cycle() {
        if begun.elapsed() > Duration::from_secs(6) {
            break;
        }
        line.swipe(2, 32, &[9, 9, 9, number]).await;
    }
    line.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_with_another_key_is_not_talked_to() {
    is_refused(ReaderKey::Own(*b"some other's key"), OWN, |error| error == SecureError::Key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_install_mode_where_one_with_a_key_was_is_not_talked_to() {
    is_refused(ReaderKey::Install, OWN, |error| matches!(error, SecureError::Key | SecureError::Refused(_)))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_only_speaks_in_clear_text_where_one_with_a_key_was_is_not_talked_to() {
    is_refused(ReaderKey::None, OWN, |error| matches!(error, SecureError::Key | SecureError::Refused(_)))
        .await;
}
