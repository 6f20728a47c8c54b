//! The control panel's state machine: one bus, its devices, whose turn it is. Sans-IO: time is an argument.
//!
//! The caller (`bus`) feeds bytes and the passing of time, writes what [`Panel::poll_output`] gives, and comes
//! back at [`Panel::poll_timeout`]. One command is under way at a time. Devices with something to show are
//! served first, the others in the order in which they are due. A device that does not answer is tried three
//! times, then once a second; after eight seconds of silence it is offline, tried three times, once a second for
//! eight seconds, then every five. Only the first of those tries waits as long as OSDP allows; the others are
//! short. While other devices are alive, the first tries take at most a quarter of the bus's time, and all later ones of all
//! devices together a hundredth, unless one would be left alone for longer than ten seconds by that: who stands at another reader
//! does not wait for one that is dead.

use std::collections::VecDeque;

use rollcall_rules::card::{CardError, CardRead};

use super::command::LedColour;
use super::frame::{Decoded, Decoder, Frame, Secured};
use super::reply::Identity;
use super::secure_channel::{Key, SecureError};

mod device;
mod secure;

use device::Device;
use secure::Secure;

/// Microseconds of some monotonic clock. What it counts from does not matter.
pub type Micros = u64;

const MS: Micros = 1_000;
/// How long a device that is online may take to reply (SIA OSDP v2.2, section 5.7: 200 ms).
const REPLY_TIMEOUT: Micros = 200 * MS;
/// How long a device that did not answer may take, beside the time that the bytes take on the wire.
const SHORT_TIMEOUT: Micros = 30 * MS;
/// The bytes of a reply that the time-outs allow for; longer ones extend theirs while they come in.
const REPLY_BYTES: u64 = 24;
/// After waiting in vain for a silent device, this many times as long belongs to the others.
const SPARE_FACTOR: u64 = 3;
/// The same after waiting for one that was given up already.
const GIVEN_UP_FACTOR: u64 = 100;
/// No device waits longer for its next try because of others.
const GIVEN_UP_AT_MOST: Micros = 10_000 * MS;

/// What the panel has to say of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It answers.
    Online(Identity),
    /// It was silent for eight seconds.
    Offline,
    /// Another device answers at its address, and this is who that is.
    Twin(Identity),
    /// A card was held to it, or something that is none.
    Card(Result<CardRead, CardError>),
    /// It gave a card in a form that is ambiguous; set the reader to raw bits.
    FormattedCard,
    /// Keys were pressed.
    Keypad {
        /// How many.
        digits: u8,
    },
    /// Tamper changed.
    Tamper(bool),
    /// What hangs on one of its inputs changed, such as a door's contact.
    Input {
        /// Which, from 1.
        number: usize,
        /// Active.
        active: bool,
    },
    /// It was switched on; its light is set again.
    PowerUp,
    /// It has a key, and does not speak under it: it is not talked to. Told once, until it does again.
    Insecure(SecureError),
    /// It goes on at this address and speed.
    Reconfigured {
        /// The address.
        address: u8,
        /// The speed.
        baud: u32,
    },
    /// It does not let its address and speed be set.
    NotReconfigured,
    /// It has taken a new key.
    KeySet(Key),
    /// How its line does: what [`Panel::tell_lines`] asks for.
    Line(LineQuality),
}

/// How the line to a device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineQuality {
    /// Commands sent, repeats included.
    pub sent: u64,
    /// Replies that came in time.
    pub replies: u64,
    /// Commands sent again.
    pub repeats: u64,
    /// Replies that did not come in time.
    pub timeouts: u64,
    /// Refusals.
    pub naks: u64,
    /// Replies of another sequence, or malformed.
    pub bad_replies: u64,
    /// Cards in the ambiguous form.
    pub formatted_cards: u64,
    /// How long a reply takes, smoothed over the last eight or so, in microseconds; 0 before the first.
    pub reply_us: u64,
    /// It is spoken to over a secure channel that stands.
    pub secured: bool,
}

impl LineQuality {
    fn replied_after(&mut self, took: Micros) {
        self.reply_us = match self.reply_us {
            0 => took,
            known => (7 * known + took) / 8,
        };
    }
}

/// The command under way.
#[derive(Debug)]
struct Underway {
    device: usize,
    sent: Micros,
    deadline: Micros,
    /// Something came in that was no frame.
    garbled: bool,
}

/// A control panel for one bus.
#[derive(Debug)]
pub struct Panel {
    devices: Vec<Device>,
    underway: Option<Underway>,
    decoder: Decoder,
    outgoing: VecDeque<Vec<u8>>,
    events: VecDeque<(u8, Event)>,
    baud: u32,
    /// Silent devices are left alone until then, as long as others are alive.
    spared_until: Micros,
    /// Those that were given up are left alone until then, likewise.
    given_up_until: Micros,
    noise: u64,
}

impl Panel {
    /// A panel for the devices at these addresses, on a line of this speed.
    #[must_use]
    pub fn new(addresses: &[u8], baud: u32, now: Micros) -> Self {
        Self {
            devices: addresses.iter().map(|address| Device::new(*address, now)).collect(),
            underway: None,
            decoder: Decoder::default(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            baud: baud.max(1),
            spared_until: now,
            given_up_until: now,
            noise: 0,
        }
    }

    /// Talks to a device under a key, and in no other way: clear text and the well-known key are refused. `seed` must be
    /// random, and another one each time.
    pub fn secure(&mut self, address: u8, key: Key, seed: [u8; 16], now: Micros) {
        if let Some(device) = self.device_mut(address) {
            device.secure(Secure::new(key, None, seed), now);
        }
    }

    /// Gives a device a new key over a channel by the one that it has, and goes on under the new one.
    pub fn set_key(&mut self, address: u8, present: Key, new: Key, seed: [u8; 16], now: Micros) {
        if let Some(device) = self.device_mut(address) {
            device.secure(Secure::new(present, Some(new), seed), now);
        }
    }

    /// Gives a device another address and speed, once it is online. The panel goes on asking at the old ones.
    pub fn reconfigure(&mut self, address: u8, to: u8, baud: u32) {
        if let Some(device) = self.device_mut(address) {
            device.reconfigure = Some((to, baud));
        }
    }

    /// Whether a secure channel to a device stands.
    #[must_use]
    pub fn is_secured(&self, address: u8) -> bool {
        self.devices.iter().any(|device| device.address == address && device.is_secured())
    }

    /// Sets the light at rest of a device; it is set again whenever the device comes back.
    pub fn set_rest(&mut self, address: u8, colour: LedColour) {
        if let Some(device) = self.device_mut(address) {
            device.set_rest(colour);
        }
    }

    /// Flashes a device. One that is offline, or has too much to show, shows nothing: a late green must not
    /// greet another student.
    pub fn flash(&mut self, address: u8, colour: LedColour, beeps: u8, now: Micros) {
        if let Some(device) = self.device_mut(address) {
            device.flash(colour, beeps, now);
        }
    }

    /// How the line to a device does.
    #[must_use]
    pub fn quality(&self, address: u8) -> Option<LineQuality> {
        self.devices.iter().find(|device| device.address == address).map(|device| device.quality)
    }

    /// Tells how the line to each device does, as events.
    pub fn tell_lines(&mut self) {
        let line = |it: &Device| LineQuality { secured: it.is_secured(), ..it.quality };
        let lines = self.devices.iter().map(|device| (device.address, Event::Line(line(device))));
        self.events.extend(lines);
    }

    /// Bytes passed over because they were no frame.
    #[must_use]
    pub fn noise(&self) -> u64 {
        self.noise
    }

    /// Takes bytes from the line. Ask `poll_output` and `poll_event` afterwards.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Micros) {
        self.decoder.feed(bytes);
        while let Some(found) = self.decoder.take() {
            match found {
                Decoded::Frame(frame) if frame.reply => self.handle_reply(&frame, None, now),
                Decoded::Secured(it) if it.frame.reply => self.handle_reply(&it.frame, Some(&it), now),
                // On some adapters the panel hears itself.
                Decoded::Frame(_) | Decoded::Secured(_) => {}
                Decoded::Noise(count) => {
                    self.noise += count as u64;
                    if let Some(underway) = &mut self.underway {
                        underway.garbled = true;
                    }
                }
            }
        }
        let latest = REPLY_TIMEOUT + self.wire(REPLY_BYTES);
        if let Some(underway) = &mut self.underway
            && self.decoder.is_waiting()
        {
            // A reply is coming in: let it finish, though not for ever.
            let extended = (now + SHORT_TIMEOUT).min(underway.sent + latest);
            underway.deadline = underway.deadline.max(extended);
        }
        self.advance(now);
    }

    /// Takes the passing of time.
    pub fn handle_time(&mut self, now: Micros) {
        if self.underway.as_ref().is_some_and(|underway| underway.deadline <= now) {
            self.timed_out(now);
        }
        self.advance(now);
    }

    /// The next bytes to write.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// The next event: address and what happened.
    pub fn poll_event(&mut self) -> Option<(u8, Event)> {
        self.events.pop_front()
    }

    /// Whether [`Panel::poll_event`] has something.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// When to call [`Panel::handle_time`] at the latest; `None` when there is no device.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Micros> {
        if let Some(underway) = &self.underway {
            return Some(underway.deadline);
        }
        let alive = self.somebody_is_alive();
        self.devices.iter().map(|device| self.turn(device, alive)).min()
    }

    fn device_mut(&mut self, address: u8) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.address == address)
    }

    /// The time that some bytes take on the wire, at ten bits a byte.
    fn wire(&self, bytes: u64) -> Micros {
        bytes * 10 * 1_000_000 / u64::from(self.baud)
    }

    fn somebody_is_alive(&self) -> bool {
        self.devices.iter().any(|device| !device.is_silent())
    }

    /// When a device may have the bus.
    fn turn(&self, device: &Device, alive: bool) -> Micros {
        if alive && device.is_silent() {
            let due = device.next_turn();
            let given_up =
                if device.is_given_up() { self.given_up_until.min(due + GIVEN_UP_AT_MOST) } else { 0 };
            due.max(self.spared_until).max(given_up)
        } else {
            device.next_turn()
        }
    }

    /// Sends the next command when none is under way.
    fn advance(&mut self, now: Micros) {
        if self.underway.is_some() {
            return;
        }
        let alive = self.somebody_is_alive();
        let turns = self.devices.iter().enumerate().map(|(index, it)| (self.turn(it, alive), it.due, index));
        if let Some((_, _, index)) = turns.filter(|(turn, ..)| *turn <= now).min() {
            self.send(index, now);
        }
    }

    fn send(&mut self, index: usize, now: Micros) {
        // Whatever began to come in before this was no reply to it.
        self.noise += self.decoder.reset() as u64;
        let device = &mut self.devices[index];
        let hasty = device.is_silent() && !device.slow;
        let bytes = device.next_bytes(now);
        let patience = if hasty { SHORT_TIMEOUT } else { REPLY_TIMEOUT };
        let deadline = now + patience + self.wire(bytes.len() as u64 + REPLY_BYTES);
        self.outgoing.push_back(bytes);
        self.underway = Some(Underway { device: index, sent: now, deadline, garbled: false });
    }

    fn timed_out(&mut self, now: Micros) {
        let Some(underway) = self.underway.take() else { return };
        let rest = self.decoder.reset() as u64;
        self.noise += rest;
        let short = SHORT_TIMEOUT + self.wire(2 * REPLY_BYTES);
        let device = &mut self.devices[underway.device];
        // Something came, and it was no reply that can be read.
        device.quality.bad_replies += u64::from(underway.garbled || rest > 0);
        if device.is_given_up() {
            self.given_up_until = now + GIVEN_UP_FACTOR * short;
        }
        if device.is_silent() {
            self.spared_until = now + SPARE_FACTOR * short;
        }
        if device.timed_out(now, &mut self.events) {
            self.send(underway.device, now);
        }
    }

    fn handle_reply(&mut self, frame: &Frame, sealed: Option<&Secured>, now: Micros) {
        let short = SHORT_TIMEOUT + self.wire(2 * REPLY_BYTES);
        let underway = self.underway.take_if(|underway| {
            let device = &self.devices[underway.device];
            device.address == frame.address && device.expects(frame, sealed)
        });
        if let Some(underway) = underway {
            let device = &mut self.devices[underway.device];
            let took = now.saturating_sub(underway.sent);
            device.slow |= took > short;
            device.quality.replied_after(took);
            device.replied(frame, sealed, now, &mut self.events);
        } else if let Some(device) = self.device_mut(frame.address) {
            device.quality.bad_replies += 1;
            // It lives, but takes longer than a short time-out: the next try waits for it.
            device.slow |= device.is_silent();
            let address = frame.address;
            let twin = if sealed.is_none() { device.overheard(frame) } else { None };
            self.events.extend(twin.map(|twin| (address, Event::Twin(twin))));
        } else {
            self.noise += 1;
        }
    }
}

#[cfg(test)]
mod secure_tests;
