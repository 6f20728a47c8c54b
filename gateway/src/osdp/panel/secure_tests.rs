//! A secured line in virtual time, and somebody who sits on it.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::osdp::frame::Check;
use crate::osdp::secure_channel::Session;

const KEY: [u8; 16] = [7; 16];
const CARD: [u8; 8] = [0, 0, 32, 0, 1, 2, 3, 4];

/// The panel with one device at address 1 that has the key, and whoever sits between them.
struct Wire {
    panel: Panel,
    now: Micros,
    session: Option<Session>,
    first: Vec<u8>,
    last: Option<(Vec<u8>, Vec<u8>)>,
    sessions: u8,
    cards: Vec<[u8; 8]>,
    events: Vec<Event>,
}

impl Wire {
    fn open() -> Self {
        let mut panel = Panel::new(&[1], 9600, 0);
        panel.secure(1, Key::new(KEY), [3; 16], 0);
        let mut wire = Self {
            panel,
            now: 0,
            session: None,
            first: Vec::new(),
            last: None,
            sessions: 0,
            cards: Vec::new(),
            events: Vec::new(),
        };
        while !wire.panel.is_secured(1) || wire.events.is_empty() {
            wire.turn(|_, reply| reply);
        }
        assert!(matches!(wire.events[..], [Event::Online(_)]), "{:?}", wire.events);
        wire.events.clear();
        wire
    }

    /// The next command, and its reply as `between` lets it through; empty when it is lost.
    fn turn(&mut self, between: impl FnOnce(&[u8], Vec<u8>) -> Vec<u8>) {
        let command = loop {
            if let Some(command) = self.panel.poll_output() {
                break command;
            }
            self.now = self.now.max(self.panel.poll_timeout().unwrap());
            self.panel.handle_time(self.now);
        };
        let reply = self.device(&command);
        let reply = between(&command, reply);
        self.now += 3 * MS;
        if !reply.is_empty() {
            self.panel.handle_bytes(&reply, self.now);
        }
        while let Some((_, event)) = self.panel.poll_event() {
            self.events.push(event);
        }
    }

    fn device(&mut self, command: &[u8]) -> Vec<u8> {
        if let Some((heard, said)) = &self.last
            && heard == command
        {
            return said.clone();
        }
        let mut decoder = Decoder::default();
        decoder.feed(command);
        let clear = |sequence, code, data: &[u8]| {
            let mut frame = Frame::command(1, sequence, Check::Crc, code, data.to_vec());
            frame.reply = true;
            frame
        };
        let reply = match decoder.take().unwrap() {
            Decoded::Frame(frame) => match frame.code {
                0x61 => clear(frame.sequence, 0x45, &[0; 12]).encode(),
                0x62 => clear(frame.sequence, 0x46, &[]).encode(),
                _ => clear(frame.sequence, 0x41, &[6]).encode(),
            },
            Decoded::Secured(it) => match (it.block[0], &mut self.session) {
                (0x11, _) => {
                    self.sessions += 1;
                    let theirs = it.frame.data[..].try_into().unwrap();
                    let (answer, first, session) =
                        Session::of_device(&Key::new(KEY), &theirs, [self.sessions; 8]);
                    (self.first, self.session) = (first, Some(session));
                    clear(it.frame.sequence, 0x76, &answer).encode_secured(&[0x12, 1])
                }
                (0x13, _) => clear(it.frame.sequence, 0x78, &self.first).encode_secured(&[0x14, 1]),
                (_, Some(session)) => {
                    session.take_command(&it);
                    let (code, data) = match (it.frame.code, self.cards.pop()) {
                        (0x60, Some(card)) => (0x50, card.to_vec()),
                        (0x64, _) => (0x48, vec![0, 0]),
                        _ => (0x40, Vec::new()),
                    };
                    session.seal_reply(1, it.frame.sequence, code, &data)
                }
                (_, None) => clear(it.frame.sequence, 0x41, &[6]).encode(),
            },
            Decoded::Noise(_) => Vec::new(),
        };
        self.last = Some((command.to_vec(), reply.clone()));
        reply
    }

    fn cards_taken(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Card(_))).count()
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn(|_, reply| reply);
        }
    }
}

fn sequence(command: &[u8]) -> u8 {
    command[4] & 3
}

fn clear(command: &[u8], code: u8, data: &[u8]) -> Vec<u8> {
    let mut forged = Frame::command(1, sequence(command), Check::Crc, code, data.to_vec());
    forged.reply = true;
    forged.encode()
}

#[test]
fn a_card_in_clear_text_on_a_secured_line_is_not_taken_and_told_once() {
    let mut wire = Wire::open();
    for _ in 0..2 {
        wire.turn(|command, _| clear(command, 0x50, &CARD));
        assert!(!wire.panel.is_secured(1));
        // The channel is made anew and the reader works on.
        wire.turns(8);
        assert!(wire.panel.is_secured(1));
    }
    assert_eq!(wire.events, [Event::Insecure(SecureError::Clear)]);
    wire.cards.push(CARD);
    wire.turns(2);
    assert_eq!(wire.cards_taken(), 1);
}

/// Somebody answers for a while in place of the reader.
fn impostor(seconds: u64, mut says: impl FnMut(&[u8], Vec<u8>) -> Vec<u8>) -> Wire {
    let mut wire = Wire::open();
    let from = wire.now;
    while wire.now - from < seconds * 1_000 * MS {
        wire.turn(&mut says);
    }
    wire
}

#[test]
fn who_only_says_busy_or_that_commands_came_in_damaged_is_no_reader_that_is_online() {
    let busy = impostor(60, |_, _| {
        let mut busy = Frame::command(1, 0, Check::Crc, 0x79, Vec::new());
        busy.reply = true;
        busy.encode()
    });
    assert_eq!(busy.events, [Event::Insecure(SecureError::Unproved), Event::Offline]);
    let damaged = impostor(60, |command, reply| {
        if matches!(command[5], 0x61 | 0x62) && command[4] & 8 == 0 {
            reply
        } else {
            clear(command, 0x41, &[1])
        }
    });
    assert_eq!(damaged.events, [Event::Insecure(SecureError::Unproved), Event::Offline]);
}

#[test]
fn a_reader_that_refuses_lights_or_says_nothing_under_its_key_is_offline_and_told_once() {
    // It makes a channel each time, and answers what comes then in clear text.
    let polls = impostor(60, |command, reply| {
        let handshake = command[4] & 8 != 0 && matches!(command[6], 0x11 | 0x13);
        let begins = command[4] & 8 == 0 || handshake || command[7] == 0x64;
        if begins { reply } else { clear(command, 0x40, &[]) }
    });
    let told = polls.events.iter().filter(|it| matches!(it, Event::Insecure(_))).count();
    assert_eq!((told, polls.cards_taken()), (1, 0), "{:?}", polls.events);
    assert!(polls.events.contains(&Event::Offline));
    assert!(polls.sessions < 60, "{} sessions in a minute", polls.sessions);
}

#[test]
fn a_recorded_card_that_is_played_again_is_not_taken() {
    let mut wire = Wire::open();
    wire.cards.push(CARD);
    let mut recorded = Vec::new();
    wire.turn(|_, reply| {
        recorded = reply.clone();
        reply
    });
    assert_eq!(wire.cards_taken(), 1);
    let number = recorded[4] & 3;
    for _ in 0..40 {
        wire.turn(|command, reply| if sequence(command) == number { recorded.clone() } else { reply });
    }
    assert_eq!(wire.cards_taken(), 1);
    // The next session's numbers are others, so that a whole recorded session is worth nothing either.
    assert!(wire.sessions > 1);
}

#[test]
fn a_lost_reply_is_given_again_and_its_card_counts_once() {
    let mut wire = Wire::open();
    wire.cards.push(CARD);
    wire.turn(|_, _| Vec::new());
    assert_eq!(wire.cards_taken(), 0);
    wire.turns(3);
    assert_eq!((wire.cards_taken(), wire.sessions), (1, 1));
    wire.panel.tell_lines();
    let Some((1, Event::Line(line))) = wire.panel.poll_event() else { panic!("nothing of the line") };
    assert!(line.secured && line.repeats == 1, "{line:?}");
}

#[test]
fn a_reader_whose_seals_are_always_broken_is_offline_and_tried_every_five_seconds() {
    let mut wire = Wire::open();
    let from = wire.now;
    while wire.now - from < 60_000 * MS {
        wire.turn(|command, mut reply| {
            // Whoever does this makes the frame's check right again.
            if command[4] & 8 != 0 && reply.get(6).is_some_and(|kind| *kind >= 0x16) {
                let end = reply.len() - 2;
                reply[end - 1] ^= 1;
                let crc = crate::osdp::frame::crc16(&reply[..end]).to_le_bytes();
                reply[end..].copy_from_slice(&crc);
            }
            reply
        });
    }
    assert_eq!(wire.events, [Event::Insecure(SecureError::Mac), Event::Offline]);
    assert!((10..=15).contains(&wire.sessions), "{} sessions in a minute", wire.sessions);
    wire.turns(12);
    assert!(wire.panel.is_secured(1));
    assert!(matches!(wire.events.last(), Some(Event::Online(_))));
}
