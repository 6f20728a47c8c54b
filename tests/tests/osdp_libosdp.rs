//! The gateway's OSDP bus against libosdp's peripheral device over a pty.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::time::{Duration, Instant};

use reader_sim::device::fault::Fault;
use reader_sim::device::{DeviceEvent, Shown};
use reader_sim::plan::Colour;
use rollcall_gateway::osdp::bus::BusOrder;
use rollcall_gateway::osdp::command::LedColour;
use rollcall_gateway::osdp::panel::Event;
use rollcall_tests::osdp_line::Line;

/// How the line does is told every few seconds, whatever happens at a reader.
fn is_of_the_reader((_, event): &(u8, Event)) -> bool {
    !matches!(event, Event::Line(_))
}

async fn cards_and_lights(baud: u32) {
    let mut line = Line::start(baud).await;
    for address in 1..=3 {
        let code = format!("R{address}");
        line.order(BusOrder::Rest { address, colour: LedColour::Blue }).await;
        line.shows(&code, Shown::Base(Colour::Blue)).await;
        line.swipe(address, 26, &[0x95, 0x18, 0x1c, 0xc0]).await;
        line.swipe(address, 56, &[4, 0xa2, 1, 2, 3, 4, address]).await;
        line.order(BusOrder::Flash { address, colour: LedColour::Green, beeps: 1 }).await;
        line.shows(&code, Shown::Flash(Colour::Green)).await;
        line.device(|event| matches!(event, DeviceEvent::Buzzer { reader } if *reader == code)).await;
    }
    let mut took = Vec::new();
    for round in 0..100u8 {
        took.push(line.swipe(1 + round % 3, 32, &[4, 1, 2, round]).await);
    }
    took.sort_unstable();
    eprintln!("{baud} baud, swipe to event: p50 {:?}, p95 {:?}, most {:?}", took[50], took[95], took[99]);
    for on in [true, false] {
        line.devices.tamper("R2", on).unwrap();
        assert_eq!(line.event(is_of_the_reader).await, (2, Event::Tamper(on)));
        line.devices.contact("R2", on).unwrap();
        assert_eq!(line.event(is_of_the_reader).await, (2, Event::Input { number: 1, active: on }));
    }
    line.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_9600_baud_cards_lights_buzzer_and_tamper_get_through() {
    cards_and_lights(9600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_115200_baud_cards_lights_buzzer_and_tamper_get_through() {
    cards_and_lights(115_200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_restarts_quickly_reports_power_up_and_is_blue_again() {
    let mut line = Line::start(9600).await;
    line.order(BusOrder::Rest { address: 2, colour: LedColour::Blue }).await;
    line.shows("R2", Shown::Base(Colour::Blue)).await;
    line.devices.unplug("R2", true).unwrap();
    // While it is off, its door is opened: it is asked for that as well.
    line.devices.contact("R2", true).unwrap();
    line.devices.unplug("R2", false).unwrap();
    let (mut powered, mut opened) = (false, false);
    while !(powered && opened) {
        match line.event(|event| event.0 == 2).await.1 {
            Event::PowerUp => powered = true,
            Event::Input { number: 1, active: true } => opened = true,
            _ => {}
        }
    }
    line.shows("R2", Shown::Base(Colour::Blue)).await;
    line.swipe(2, 26, &[0x95, 0x18, 0x1c, 0xc0]).await;
    line.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unplugged_reader_is_offline_after_8_s_while_the_others_work_and_blue_when_it_is_back() {
    let mut line = Line::start(9600).await;
    line.order(BusOrder::Rest { address: 2, colour: LedColour::Blue }).await;
    line.shows("R2", Shown::Base(Colour::Blue)).await;
    let silent = Instant::now();
    line.devices.unplug("R2", true).unwrap();
    line.swipe(1, 56, &[4, 1, 2, 3, 4, 5, 6]).await;
    line.swipe(3, 56, &[4, 1, 2, 3, 4, 5, 6]).await;
    line.event(|event| *event == (2, Event::Offline)).await;
    let after = silent.elapsed();
    assert!(after >= Duration::from_millis(7_500), "offline after {after:?}");
    eprintln!("offline after {after:?}");
    // It was shown nothing while it was away, and is not shown it later.
    line.order(BusOrder::Flash { address: 2, colour: LedColour::Green, beeps: 1 }).await;
    line.devices.unplug("R2", false).unwrap();
    line.event(|(address, event)| *address == 2 && matches!(event, Event::Online(_))).await;
    line.shows("R2", Shown::Base(Colour::Blue)).await;
    line.swipe(2, 26, &[0x95, 0x18, 0x1c, 0xc0]).await;
    line.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_reader_with_the_same_address_is_named_and_cards_get_through_meanwhile() {
    let mut line = Line::start(9600).await;
    line.order(BusOrder::Rest { address: 2, colour: LedColour::Blue }).await;
    line.shows("R2", Shown::Base(Colour::Blue)).await;
    line.devices.fault("R2", Fault::Duplicate, true).unwrap();
    let (address, event) = line.event(|event| matches!(event, (_, Event::Twin(_)))).await;
    let Event::Twin(twin) = event else { unreachable!() };
    assert_eq!((address, twin.serial), (2, 1002 ^ 0x55));
    for round in 0..20u8 {
        line.swipe(2, 32, &[4, 1, 2, round]).await;
    }
    line.end().await;
}
