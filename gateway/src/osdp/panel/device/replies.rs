//! What a device's replies mean: for its session, its secure channel, and what the gateway is told.

use std::collections::VecDeque;

use super::*;
use crate::osdp::frame::Secured;
use crate::osdp::reply::{Capability, Reply};
use crate::osdp::secure_channel::SecureError;

impl Device {
    /// Whether a reply of this code can be the one to the pending command. BUSY and NAK may come with any number, but for
    /// the first of a session: there a NAK of another number is a late one of the session before.
    /// A sealed one belongs to the channel that is open, not to the one before it.
    pub(in crate::osdp::panel) fn expects(&self, frame: &Frame, sealed: Option<&Secured>) -> bool {
        let in_place = match (&self.secure, sealed) {
            (_, None) => true,
            (Some(secure), Some(sealed)) => secure.fits(sealed),
            (None, Some(_)) => false,
        };
        let numbered = match frame.code {
            Reply::BUSY => true,
            Reply::NAK => frame.sequence == self.sequence || self.pending != Some(Command::Id),
            _ => frame.sequence == self.sequence,
        };
        in_place && numbered
    }

    /// The reply to the pending command has come.
    pub(in crate::osdp::panel) fn replied(
        &mut self,
        frame: &Frame,
        sealed: Option<&Secured>,
        now: Micros,
        events: &mut VecDeque<(u8, Event)>,
    ) {
        let read = match (&mut self.secure, sealed) {
            (Some(secure), sealed) => secure.read(frame, sealed, now),
            (None, None) => Ok(Reply::decode(frame.code, &frame.data)),
            (None, Some(_)) => Ok(Reply::Malformed(frame.code)),
        };
        let reply = match read {
            Ok(reply) => reply,
            Err(error) => return self.insecure(error, now, events),
        };
        // What is said in clear text proves nothing, however long it goes on.
        let back = matches!(self.phase, Phase::Offline { .. });
        if let Some(secure) = &mut self.secure {
            if back {
                secure.proved = now;
            } else if now >= secure.proved + PROVED_WITHIN {
                return self.unproved(SecureError::Unproved, now, events);
            }
        }
        self.last_heard = now;
        self.quality.replies += 1;
        match reply {
            // The same command goes out again with the same number, a little later.
            Reply::Busy => {
                self.unanswered = 0;
                self.due = now + BUSY_PAUSE;
            }
            Reply::Nak(reason) => self.refused(reason, now, events),
            reply => self.answered(reply, now, events),
        }
    }

    /// The secure channel cannot be had, or broke. One that broke is made anew at once; a device that does not prove
    /// itself, or whose channels break one after another, is as good as silent.
    fn insecure(&mut self, error: SecureError, now: Micros, events: &mut VecDeque<(u8, Event)>) {
        self.quality.bad_replies += 1;
        let Some(secure) = &mut self.secure else { return };
        secure.breaks += 1;
        let broke = secure.is_open() && secure.breaks < MAX_BREAKS;
        if error == SecureError::Clear && !std::mem::replace(&mut secure.alarmed, true) {
            events.push_back((self.address, Event::Insecure(error)));
        }
        if broke {
            self.restart(Phase::Identify);
            self.due = now;
        } else {
            self.unproved(error, now, events);
        }
    }

    /// A device that does not prove itself is as good as silent.
    fn unproved(&mut self, error: SecureError, now: Micros, events: &mut VecDeque<(u8, Event)>) {
        if let Some(secure) = &mut self.secure
            && !std::mem::replace(&mut secure.alarmed, true)
        {
            events.push_back((self.address, Event::Insecure(error)));
        }
        self.lost(now, events);
        self.due = now + PROBE_EVERY;
    }

    fn refused(&mut self, reason: u8, now: Micros, events: &mut VecDeque<(u8, Event)>) {
        self.quality.naks += 1;
        match (reason, self.pending) {
            (_, None | Some(Command::Id)) if self.phase != Phase::Online => self.stranger(now, events),
            (2.., Some(Command::Challenge | Command::ServerCryptogram | Command::KeySet)) => {
                self.insecure(SecureError::Refused(reason), now, events);
            }
            // The command came in damaged, so that its number still stands.
            (1, _) if self.unanswered < QUICK_TRIES => {
                self.unanswered += 1;
                self.due = now;
            }
            // A wrong number, or one damage after another: begin a new session at once.
            (1 | 4, _) => {
                self.restart(Phase::Identify);
                self.due = now;
            }
            _ => self.answered(Reply::Nak(reason), now, events),
        }
    }

    /// It does not say who it is: as good as silent.
    fn stranger(&mut self, now: Micros, events: &mut VecDeque<(u8, Event)>) {
        if !matches!(self.phase, Phase::Offline { .. }) {
            self.lost(now, events);
        }
        self.failed_probe(now);
    }

    fn answered(&mut self, reply: Reply, now: Micros, events: &mut VecDeque<(u8, Event)>) {
        let command = self.pending.take();
        self.unanswered = 0;
        self.sequence = self.sequence % 3 + 1;
        self.due = if self.phase == Phase::Online { now + POLL_EVERY } else { now };
        if let Some(flash) = self.showing.take() {
            self.beeps = if self.can_beep { flash.beeps } else { 0 };
        }
        match (command, reply) {
            // It is known; this was to hear who else answers.
            (Some(Command::Id), Reply::Identity(other)) if self.phase == Phase::Online => {
                events.extend(self.is_twin(other).map(|twin| (self.address, Event::Twin(twin))));
            }
            (Some(Command::Id), _) if self.phase == Phase::Online => {}
            (Some(Command::Id), Reply::Identity(identity)) => {
                self.identity = Some(identity);
                self.known_check = self.check;
                self.phase = Phase::Capabilities;
            }
            (Some(Command::Id), _) => {
                self.quality.bad_replies += 1;
                self.stranger(now, events);
            }
            (Some(Command::Capabilities), reply) => {
                if let Reply::Capabilities(list) = reply {
                    self.can_beep = list.iter().any(|it: &Capability| it.function == 5 && it.level > 0);
                    self.has_inputs = list.iter().any(|it| it.function == 1 && it.level > 0 && it.count > 0);
                }
                // Whatever it says of itself: what has a key must use it.
                self.phase = if self.secure.is_some() { Phase::Challenge } else { Phase::Status };
            }
            (Some(Command::Challenge), Reply::ClientCryptogram) => self.phase = Phase::Cryptogram,
            (Some(Command::ServerCryptogram), Reply::InitialMac) => {
                let installs = self.secure.as_ref().is_some_and(Secure::installs);
                self.phase = if installs { Phase::KeySet } else { Phase::Status };
            }
            (Some(Command::KeySet), Reply::Ack) => {
                if let Some(key) = self.secure.as_mut().and_then(Secure::installed) {
                    events.push_back((self.address, Event::KeySet(key)));
                }
                self.restart(Phase::Identify);
            }
            (Some(Command::Challenge | Command::ServerCryptogram | Command::KeySet), _) => {
                self.insecure(SecureError::Form, now, events);
            }
            (Some(Command::Communication { .. }), reply) => {
                self.reconfigure = None;
                let event = match reply {
                    Reply::Communication { address, baud } => Event::Reconfigured { address, baud },
                    _ => Event::NotReconfigured,
                };
                events.push_back((self.address, event));
            }
            (Some(Command::LocalStatus), reply) => {
                let asks = self.has_inputs && !self.mute_inputs;
                self.phase = if asks { Phase::Inputs } else { Phase::Online };
                self.rest_shown = false;
                let announced = std::mem::replace(&mut self.announced, true);
                if let Some(identity) = self.identity
                    && (!announced || self.told != self.identity)
                {
                    self.told = self.identity;
                    events.push_back((self.address, Event::Online(identity)));
                }
                if let Reply::LocalStatus { tamper, .. } = reply {
                    self.tampered(tamper, events);
                }
            }
            (Some(Command::InputStatus), reply) => {
                self.phase = Phase::Online;
                if let Reply::Inputs(active) = reply {
                    self.inputs(&active, events);
                }
            }
            (_, Reply::Inputs(active)) => self.inputs(&active, events),
            (_, Reply::Card(card)) => events.push_back((self.address, Event::Card(card))),
            (_, Reply::FormattedCard) => {
                self.quality.formatted_cards += 1;
                events.push_back((self.address, Event::FormattedCard));
            }
            (_, Reply::Keypad { digits }) => events.push_back((self.address, Event::Keypad { digits })),
            (_, Reply::LocalStatus { tamper, power_failed }) => {
                if power_failed {
                    self.rest_shown = false;
                    events.push_back((self.address, Event::PowerUp));
                }
                self.tampered(tamper, events);
            }
            (_, Reply::Malformed(_)) => self.quality.bad_replies += 1,
            _ => {}
        }
    }

    /// A whole answer that nobody asked for: a late one, or another device's. Gives that one, when it says who it is.
    pub(in crate::osdp::panel) fn overheard(&mut self, frame: &Frame) -> Option<Identity> {
        match Reply::decode(frame.code, &frame.data) {
            Reply::Identity(other) => self.is_twin(other),
            _ => {
                self.unasked = self.unasked.saturating_add(1);
                None
            }
        }
    }

    /// Another than the device that is known; each is told of once.
    fn is_twin(&mut self, other: Identity) -> Option<Identity> {
        let own = self.identity?;
        let new = (own.vendor, own.serial) != (other.vendor, other.serial) && !self.twins.contains(&other);
        if new {
            self.twins.truncate(MAX_TWINS - 1);
            self.twins.push(other);
        }
        new.then_some(other)
    }

    /// Tells of each input that is not as it last was; at first none is active.
    fn inputs(&mut self, active: &[bool], events: &mut VecDeque<(u8, Event)>) {
        for (number, active) in (1..).zip(active.iter().copied()) {
            let changed = if active { self.active.insert(number) } else { self.active.remove(&number) };
            if changed {
                events.push_back((self.address, Event::Input { number, active }));
            }
        }
    }

    fn tampered(&mut self, tamper: bool, events: &mut VecDeque<(u8, Event)>) {
        if tamper != self.tamper {
            self.tamper = tamper;
            events.push_back((self.address, Event::Tamper(tamper)));
        }
    }
}
