//! The OSDP control panel in virtual time, against hand-written devices on a line that loses and damages.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use proptest::prelude::*;
use rollcall_gateway::osdp::command::LedColour;
use rollcall_gateway::osdp::panel::{Event, Micros, Panel};

#[path = "osdp_panel/inputs.rs"]
mod inputs;
#[path = "osdp_panel/world.rs"]
mod world;

use world::{BUZ, ID, LED, MS, POLL, SECOND, World, framed};

const BLUE: (u8, u8) = (LED, 4);
const GREEN: (u8, u8) = (LED, 2);

/// Loses the first reply that carries this code.
fn lose_reply(code: u8, times: u32) -> Box<dyn FnMut(Vec<u8>, bool) -> Vec<(Micros, Vec<u8>)>> {
    let mut left = times;
    Box::new(move |frame, reply| {
        if reply && frame[5] == code && left > 0 {
            left -= 1;
            return Vec::new();
        }
        vec![(0, frame)]
    })
}

fn flashed(world: &mut World, address: u8, beeps: u8) {
    world.panel.flash(address, LedColour::Green, beeps, world.now);
    world.panel.handle_time(world.now);
}

#[test]
fn a_device_is_asked_who_it_is_what_it_can_and_how_it_is_and_then_polled_with_numbers_0_1_2_3_1() {
    let mut world = World::new(&[5], 9600);
    world.run(300 * MS);
    let wanted = [(0, ID), (1, 0x62), (2, 0x64), (3, POLL), (1, POLL), (2, POLL), (3, POLL), (1, POLL)];
    assert_eq!(world.sequence()[..8], wanted);
    let [Event::Online(identity)] = &world.told()[..] else { panic!("{:?}", world.events) };
    assert_eq!((identity.vendor, identity.serial), ([1, 2, 3], 5));
}

#[test]
fn after_a_lost_reply_the_same_command_goes_out_with_the_same_number_and_no_card_is_lost_or_doubled() {
    for times in 1..=4 {
        let mut world = World::new(&[1], 9600);
        world.online();
        world.fate = lose_reply(0x50, times);
        world.pds[0].card(7);
        world.pds[0].card(8);
        world.run(6 * SECOND);
        assert_eq!(world.cards(), [7, 8]);
        let repeats = world.sent.windows(2).filter(|pair| pair[0].1 == pair[1].1).count();
        assert_eq!(repeats, times as usize);
        assert_eq!(world.panel.quality(1).unwrap().repeats, u64::from(times));
    }
}

#[test]
fn a_flash_after_lost_replies_waits_until_the_unanswered_number_is_done_and_nothing_is_lost() {
    let mut world = World::new(&[1], 9600);
    world.online();
    world.fate = lose_reply(0x50, 4);
    world.pds[0].card(7);
    world.run(300 * MS);
    flashed(&mut world, 1, 1);
    world.run(5 * SECOND);
    assert_eq!(world.cards(), [7]);
    assert_eq!(world.pds[0].shown(), [GREEN, (BUZ, 1)]);
}

#[test]
fn a_flash_whose_reply_was_lost_is_shown_once_and_beeps() {
    let mut world = World::new(&[1], 9600);
    world.online();
    world.fate = lose_reply(0x40, 2);
    flashed(&mut world, 1, 3);
    world.run(2 * SECOND);
    assert_eq!(world.pds[0].shown(), [GREEN, (BUZ, 3)]);
}

#[test]
fn a_busy_device_gets_the_same_command_later_with_the_same_number_and_in_the_same_order() {
    let mut world = World::new(&[1], 9600);
    world.online();
    world.pds[0].busy = 5;
    flashed(&mut world, 1, 2);
    world.panel.flash(1, LedColour::Red, 0, world.now);
    world.run(SECOND);
    assert_eq!(world.pds[0].shown(), [GREEN, (BUZ, 2), (LED, 1)]);
    let flashes: Vec<_> = world.sent.iter().filter(|(_, wire)| wire[5] == LED && wire[11] == 2).collect();
    assert!(flashes.iter().all(|(_, wire)| wire[4] == flashes[0].1[4]), "{flashes:?}");
    assert!(flashes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 50 * MS), "{flashes:?}");
}

#[test]
fn a_device_that_forgot_the_session_gets_a_new_one_from_0_and_what_was_to_be_shown() {
    let mut world = World::new(&[1], 9600);
    world.panel.set_rest(1, LedColour::Blue);
    world.online();
    world.pds[0].restart();
    flashed(&mut world, 1, 0);
    world.run(SECOND);
    assert_eq!(world.sequence()[1..4], [(0, ID), (1, 0x62), (2, 0x64)]);
    assert!(world.told().contains(&Event::PowerUp));
    assert_eq!(world.pds[0].shown(), [GREEN, BLUE, BLUE]);
}

#[test]
fn a_device_that_heard_damage_gets_the_same_again_and_does_what_it_was_told() {
    let mut world = World::new(&[1], 9600);
    world.online();
    world.pds[0].deaf = 2;
    flashed(&mut world, 1, 0);
    world.run(SECOND);
    assert_eq!(world.pds[0].shown(), [GREEN]);
    assert_eq!(world.panel.quality(1).unwrap().naks, 2);
    world.pds[0].deaf = 20;
    world.pds[0].card(9);
    world.run(20 * SECOND);
    assert_eq!(world.cards(), [9]);
}

#[test]
fn a_device_that_is_lost_while_its_session_restarts_is_reported_offline() {
    let mut world = World::new(&[1], 9600);
    world.online();
    world.pds[0].restart();
    world.fate = lose_reply(0x45, u32::MAX);
    world.run(12 * SECOND);
    assert_eq!(world.told(), [Event::Offline]);
}

#[test]
fn a_device_that_refuses_to_say_who_it_is_does_not_keep_the_others_from_being_polled() {
    for code in [0x41, 0x40, 0x79] {
        let mut world = World::new(&[1, 2], 9600);
        world.fate = Box::new(move |frame, reply| {
            let stranger = reply && frame[1] == 0x82;
            vec![(0, if stranger { framed(0x82, frame[4] & 3, true, code, &[4]) } else { frame })]
        });
        world.run(30 * SECOND);
        let polls = world.sent.iter().filter(|(_, wire)| wire[1] == 1 && wire[5] == POLL).count();
        assert!(polls > 500, "{polls} polls in 30 s with a device that says {code:02x}");
    }
}

#[test]
fn noise_damage_and_half_frames_cost_no_card() {
    type Bend = fn(Vec<u8>) -> Vec<(Micros, Vec<u8>)>;
    let bends: [Bend; 6] = [
        |frame| vec![(0, [&[0, 0xff, 0x53, 1, 2, 0x80][..], &frame].concat())],
        |frame| vec![(0, [&frame, &[0x53, 0x81, 0x20, 0, 4][..]].concat())],
        |frame| vec![(0, frame[..5].to_vec()), (25 * MS, frame[5..].to_vec())],
        |frame| frame.iter().enumerate().map(|(i, byte)| (i as u64 * 2 * MS, vec![*byte])).collect(),
        |frame| vec![(0, [&[0x53, 0x81, 0, 4][..], &frame].concat())],
        |mut frame| {
            frame[5] ^= 0x10;
            vec![(0, frame)]
        },
    ];
    for (which, bend) in bends.into_iter().enumerate() {
        let mut world = World::new(&[1], 9600);
        world.online();
        let mut left = 2;
        world.fate = Box::new(move |frame, reply| {
            if reply && frame[5] == 0x50 && left > 0 {
                left -= 1;
                return bend(frame);
            }
            vec![(0, frame)]
        });
        world.pds[0].card(7);
        world.run(3 * SECOND);
        assert_eq!(world.cards(), [7], "bend {which}");
        assert!(world.panel.noise() > 0 || matches!(which, 2 | 3), "bend {which}");
    }
}

#[test]
fn replies_of_another_address_or_number_are_counted_and_not_believed() {
    let mut world = World::new(&[1, 2], 9600);
    world.online();
    let mut left = 1;
    world.fate = Box::new(move |frame, reply| {
        let mut pieces = vec![(0, frame.clone())];
        if reply && frame[1] == 0x81 && left > 0 {
            left -= 1;
            let card = [0, 0, 32, 0, 1, 2, 3, 66];
            let sequence = frame[4] & 3;
            let strange = [
                framed(0x82, sequence, true, 0x50, &card),
                framed(0x81, sequence % 3 + 1, true, 0x50, &card),
                framed(0x85, sequence, true, 0x50, &card),
                framed(1, sequence, true, 0x50, &card),
            ];
            pieces.insert(0, (0, strange.concat()));
        }
        pieces
    });
    world.run(SECOND);
    assert_eq!(world.told(), []);
    assert_eq!(world.panel.quality(1).unwrap().bad_replies, 1);
    assert_eq!(world.panel.quality(2).unwrap().bad_replies, 1);
    assert_eq!(world.panel.noise(), 1);
}

#[test]
fn a_silent_device_is_offline_after_8_s_and_then_tried_3_times_each_second_for_8_s_and_every_5_s() {
    let mut world = World::new(&[1], 9600);
    world.online();
    let silent_from = world.now;
    world.pds[0].dead = true;
    world.run(60 * SECOND);
    let [(offline, 1, Event::Offline)] = world.events[..] else { panic!("{:?}", world.events) };
    let after = offline - silent_from;
    assert!((7_900 * MS..8_400 * MS).contains(&after), "offline after {after} us");
    let tries: Vec<Micros> =
        world.sent.iter().filter(|(at, _)| *at >= offline).map(|(at, _)| (at - offline) / MS).collect();
    assert!(
        world.sent.iter().filter(|(at, _)| *at >= offline).all(|(_, wire)| wire[5] == ID && wire[4] & 3 == 0)
    );
    assert!(tries[2] < 500, "{tries:?}");
    let gaps: Vec<Micros> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let seconds = gaps[2..].iter().take_while(|gap| (1_000..1_100).contains(*gap)).count();
    assert!((7..=8).contains(&seconds), "{gaps:?}");
    assert!(gaps[2 + seconds..].iter().all(|gap| (5_000..5_100).contains(gap)), "{gaps:?}");
    assert!(tries.len() >= 18, "{tries:?}");
}

#[test]
fn a_device_that_only_knows_checksums_comes_online_and_comes_back() {
    let mut world = World::new(&[1], 9600);
    world.pds[0].checksum_only = true;
    world.online();
    world.pds[0].card(7);
    world.run(SECOND);
    assert_eq!(world.cards(), [7]);
    world.pds[0].dead = true;
    world.run(60 * SECOND);
    world.pds[0].dead = false;
    world.events.clear();
    world.run(11 * SECOND);
    assert!(matches!(world.told()[..], [Event::Online(_)]), "{:?}", world.events);
}

#[test]
fn a_device_that_takes_150_ms_comes_online_and_gives_its_cards() {
    let mut world = World::new(&[1, 2], 9600);
    world.pds[0].takes = 150 * MS;
    world.run(20 * SECOND);
    world.pds[0].card(7);
    world.run(2 * SECOND);
    assert_eq!(world.cards(), [7]);
}

#[test]
fn the_light_at_rest_is_set_again_after_reconnect_and_after_a_power_up_report() {
    let mut world = World::new(&[1], 9600);
    world.panel.set_rest(1, LedColour::Blue);
    world.run(SECOND);
    assert_eq!(world.pds[0].shown(), [BLUE]);
    world.pds[0].news.push_back((0x48, vec![0, 1]));
    world.run(SECOND);
    assert_eq!(world.pds[0].shown(), [BLUE, BLUE]);
    world.pds[0].dead = true;
    world.run(20 * SECOND);
    world.pds[0].dead = false;
    world.run(6 * SECOND);
    assert_eq!(world.pds[0].shown(), [BLUE, BLUE, BLUE]);
    world.panel.set_rest(1, LedColour::Blue);
    world.run(SECOND);
    assert_eq!(world.pds[0].shown().len(), 3);
}

#[test]
fn a_flash_for_an_offline_device_or_older_than_3_s_is_dropped() {
    let mut world = World::new(&[1], 9600);
    world.online();
    world.pds[0].dead = true;
    world.run(500 * MS);
    flashed(&mut world, 1, 1);
    world.run(3_600 * MS);
    world.pds[0].dead = false;
    world.run(3 * SECOND);
    assert_eq!(world.pds[0].shown(), []);
    world.pds[0].dead = true;
    world.run(10 * SECOND);
    flashed(&mut world, 1, 1);
    world.pds[0].dead = false;
    world.run(6 * SECOND);
    assert_eq!(world.pds[0].shown(), []);
}

#[test]
fn a_flash_goes_before_the_polls_of_others() {
    let addresses: Vec<u8> = (1..=8).collect();
    let mut world = World::new(&addresses, 9600);
    world.online();
    for address in [3, 8, 1] {
        let from = world.sent.len();
        flashed(&mut world, address, 0);
        world.run(100 * MS);
        let place = world.sent[from..].iter().position(|(_, wire)| wire[1] == address && wire[5] == LED);
        assert!(place.unwrap() <= 1, "place {place:?}");
    }
}

/// Longest and mean milliseconds between two polls of the same live device.
fn poll_gaps(world: &World) -> (f64, f64) {
    let mut gaps = Vec::new();
    for address in 1..=8 {
        let polls = world.sent.iter().filter(|(_, wire)| wire[1] == address && wire[5] == POLL);
        let times: Vec<Micros> = polls.map(|(at, _)| *at).collect();
        gaps.extend(times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / MS as f64));
    }
    (gaps.iter().fold(0.0, |most: f64, gap| most.max(*gap)), gaps.iter().sum::<f64>() / gaps.len() as f64)
}

#[test]
fn two_dead_devices_do_not_slow_eight_live_ones() {
    for baud in [9600, 115_200] {
        let live: Vec<u8> = (1..=8).collect();
        let mut world = World::new(&live, baud);
        world.online();
        world.run(60 * SECOND);
        let (longest, mean) = poll_gaps(&world);
        let all: Vec<u8> = (1..=10).collect();
        let mut world = World::new(&all, baud);
        world.online();
        let mut figures = vec![("alone", longest, mean)];
        for (state, time) in [("dying", 8), ("retried each second", 8), ("retried every 5 s", 60)] {
            world.pds[8].dead = true;
            world.pds[9].dead = true;
            world.sent.clear();
            world.run(time * SECOND);
            let (most, average) = poll_gaps(&world);
            assert!(average <= 1.5 * mean, "{baud} {state}: {average:.1} ms on average, alone {mean:.1}");
            // Nobody can know at once that a device has died: each costs one whole time-out and a short one.
            let bound = if state == "dying" { 1_000.0 } else { (1.5 * longest).max(longest + 40.0) };
            assert!(most <= bound, "{baud} {state}: {most:.1} ms at most, alone {longest:.1}");
            figures.push((state, most, average));
        }
        eprintln!("{baud} baud, ms between polls (longest, mean): {figures:.1?}");
    }
}

#[test]
fn formatted_cards_are_counted_and_reported_and_keys_too() {
    let mut world = World::new(&[1], 9600);
    world.online();
    world.pds[0].news.extend([(0x51, vec![0, 0, 3, 1, 2, 3]), (0x53, vec![0, 2, 0x31, 0x32])]);
    world.pds[0].news.extend([(0x50, vec![0, 0, 26, 0, 1]), (0x50, vec![0]), (0x99, vec![])]);
    world.run(SECOND);
    let told = world.told();
    assert_eq!(told[..2], [Event::FormattedCard, Event::Keypad { digits: 2 }]);
    assert!(matches!(told[2..], [Event::Card(Err(_))]), "{told:?}");
    let quality = world.panel.quality(1).unwrap();
    assert_eq!((quality.formatted_cards, quality.bad_replies), (1, 1));
}

#[test]
fn tamper_is_reported_once_per_change_even_if_it_happened_while_offline() {
    let mut world = World::new(&[1], 9600);
    world.online();
    for tamper in [1, 1, 0, 0] {
        world.pds[0].news.push_back((0x48, vec![tamper, 0]));
    }
    world.run(SECOND);
    assert_eq!(world.told(), [Event::Tamper(true), Event::Tamper(false)]);
    world.pds[0].dead = true;
    world.run(10 * SECOND);
    world.pds[0].dead = false;
    world.pds[0].tampered = true;
    world.run(6 * SECOND);
    let told = world.told();
    assert!(matches!(told[2..], [Event::Offline, Event::Online(_), Event::Tamper(true)]), "{told:?}");
}

/// Lets the frames of a world fare as these numbers say; when a device's last three exchanges came to harm, its next
/// command and the reply get through. A copy comes before the device's number can come round again: OSDP's two bits tell no
/// copy that is older from a fresh reply (SIA OSDP v2.2, section 5.9), and no serial line makes one.
fn storm(fates: Vec<u8>) -> Box<dyn FnMut(Vec<u8>, bool) -> Vec<(Micros, Vec<u8>)>> {
    let mut fates = fates.into_iter();
    // Of each device: exchanges since one was whole, and whether the command of the present one was.
    let mut standing = [(0, false); 128];
    Box::new(move |mut frame, reply| {
        let drawn = fates.next().unwrap_or(255);
        let (harmed, whole) = &mut standing[usize::from(frame[1] & 0x7f)];
        *harmed += i32::from(!reply);
        let fate = if *harmed > 3 { 255 } else { drawn };
        if !reply {
            *whole = fate >= 180;
        } else if *whole && fate >= 180 {
            *harmed = 0;
        }
        let place = usize::from(fate) % frame.len();
        match fate {
            0..50 => Vec::new(),
            50..80 => {
                frame[place] ^= 1 << (fate % 8);
                vec![(0, frame)]
            }
            80..100 => vec![(0, frame[..place].to_vec())],
            100..120 => vec![(0, [&[0x53, fate, place as u8, 0], &frame[..]].concat())],
            120..140 if reply => vec![(0, frame.clone()), (u64::from(fate - 120) * MS / 2, frame)],
            140..160 if reply => vec![(u64::from(fate - 140) * 20 * MS, frame)],
            160..180 => vec![(0, [&frame[..], &[fate, 0x53, 0xff]].concat())],
            _ => vec![(0, frame)],
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_the_worst_line_each_card_comes_out_once_and_memory_stays_bounded(
        fates in prop::collection::vec(any::<u8>(), 0..600),
        pauses in prop::collection::vec(0u64..400, 1..40),
        readers in 1u8..4, fast: bool,
    ) {
        let addresses: Vec<u8> = (1..=readers).collect();
        let mut world = World::new(&addresses, if fast { 115_200 } else { 9600 });
        world.online();
        world.fate = storm(fates);
        for (number, pause) in (0u8..).zip(&pauses) {
            let reader = number % readers;
            world.pds[usize::from(reader)].card(number);
            flashed(&mut world, reader + 1, 1);
            world.run(pause * MS);
            let memory = format!("{:?}", world.panel).len();
            prop_assert!(memory < 10_000);
        }
        for _ in 0..100 {
            world.run(2 * SECOND);
            if world.cards().len() >= pauses.len() {
                break;
            }
        }
        world.run(2 * SECOND);
        let mut cards = world.cards();
        cards.sort_unstable();
        prop_assert_eq!(cards, (0u8..).take(pauses.len()).collect::<Vec<_>>());
        prop_assert!(!world.told().contains(&Event::Offline));
    }

    #[test]
    fn whatever_comes_in_the_panel_neither_panics_nor_hoards(
        steps in prop::collection::vec((any::<bool>(), 0u8..4, 0u8..4, 0x40u8..0x7a,
            prop::collection::vec(any::<u8>(), 0..40), 0u64..300), 0..300),
    ) {
        let mut panel = Panel::new(&[1, 2], 9600, 0);
        let mut now = 0;
        for (framed_well, address, sequence, code, data, pause) in steps {
            now += pause * MS;
            let bytes = if framed_well { framed(0x80 | address, sequence, true, code, &data) } else { data };
            panel.handle_bytes(&bytes, now);
            panel.handle_time(now);
            panel.flash(address, LedColour::Green, 1, now);
            while panel.poll_output().is_some() || panel.poll_event().is_some() {}
            prop_assert!(panel.poll_timeout().is_some());
            let memory = format!("{panel:?}").len();
            prop_assert!(memory < 20_000);
        }
    }
}

#[test]
fn how_the_lines_do_is_told_when_asked_with_the_time_that_replies_take() {
    let mut world = World::new(&[1, 2], 9600);
    world.pds[1].dead = true;
    world.online();
    world.run(2 * SECOND);
    world.panel.tell_lines();
    let mut told = Vec::new();
    while let Some((address, event)) = world.panel.poll_event() {
        let Event::Line(line) = event else { continue };
        told.push((address, line));
    }
    let [(1, good), (2, dead)] = told[..] else { panic!("{told:?}") };
    assert!(good.replies > 20 && good.timeouts == 0 && good.sent >= good.replies, "{good:?}");
    assert!((1..50_000).contains(&good.reply_us), "{good:?}");
    assert!(dead.replies == 0 && dead.timeouts > 2 && dead.reply_us == 0, "{dead:?}");
}
