//! The control panel's state machine: one bus, its devices, whose turn it is. Sans-IO: time is an argument.
//!
//! The caller (`bus`) feeds bytes and the passing of time, writes what [`Panel::poll_output`] gives, and comes
//! back at [`Panel::poll_timeout`]. One command is under way at a time. Live devices are served in turn, those
//! with something to show first; a device that does not answer is tried three times, then once a second for
//! eight seconds, then every five, with a short time-out, so that it does not slow the others.

use std::collections::VecDeque;

use rollcall_rules::card::{CardError, CardRead};

use super::command::{Command, LedColour};
use super::frame::{Check, Decoded, Decoder, Frame};
use super::reply::{Capability, Identity, Reply};

/// Microseconds of some monotonic clock. What it counts from does not matter.
pub type Micros = u64;

const MS: Micros = 1_000;
/// How long a device that is online may take to reply (SIA OSDP v2.2, section 5.7: 200 ms).
const REPLY_TIMEOUT: Micros = 200 * MS;
/// A device that was silent for this long is offline (section 5.7).
const OFFLINE_AFTER: Micros = 8_000 * MS;
/// How long an offline device may take, beside the time that the bytes take on the wire.
const PROBE_MARGIN: Micros = 30 * MS;
/// How long a device is spared between two polls.
const POLL_EVERY: Micros = 15 * MS;
/// How long after BUSY it is asked again.
const BUSY_PAUSE: Micros = 50 * MS;
/// How often an unanswered command is repeated before the next one is tried.
const MAX_REPEATS: u32 = 2;
/// How many things to show may wait for one device; the oldest goes first when there are more.
const MAX_QUEUE: usize = 8;
/// A flash lasts this many tenths of a second.
const FLASH_TENTHS: u16 = 12;
/// A flash that could not be shown within this time is not shown any more: the student has gone.
const FLASH_TTL: Micros = 3_000 * MS;

/// Something to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flash {
    colour: LedColour,
    beeps: u8,
    asked: Micros,
}

/// Where a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It does not answer; it has been tried so often, and will be tried again then.
    Offline { tries: u32, next: Micros, since: Micros },
    /// It answered; it is asked who it is.
    Identify,
    /// It is asked what it can do.
    Capabilities,
    /// It is asked for tamper and power.
    Status,
    /// It is polled.
    Online,
}

/// What the panel has to say of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It answers.
    Online(Identity),
    /// It was silent for eight seconds.
    Offline,
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
    /// It was switched on; its light is set again.
    PowerUp,
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
}

/// A device as the panel sees it.
#[derive(Debug)]
struct Device {
    address: u8,
    phase: Phase,
    check: Check,
    sequence: u8,
    last_heard: Micros,
    due: Micros,
    rest: Option<LedColour>,
    rest_shown: bool,
    flashes: VecDeque<Flash>,
    /// The flash that was sent and not yet acknowledged.
    showing: Option<Flash>,
    beeps: u8,
    identity: Option<Identity>,
    can_beep: bool,
    tamper: bool,
    quality: LineQuality,
}

/// The command under way.
#[derive(Debug)]
struct Underway {
    device: usize,
    command: Command,
    deadline: Micros,
    repeats: u32,
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
    last_served: usize,
    noise: u64,
}

impl Panel {
    /// A panel for the devices at these addresses, on a line of this speed.
    #[must_use]
    pub fn new(addresses: &[u8], baud: u32, now: Micros) -> Self {
        let device = |address: &u8| Device {
            address: *address,
            phase: Phase::Offline { tries: 0, next: now, since: now },
            check: Check::Crc,
            sequence: 0,
            last_heard: now,
            due: now,
            rest: None,
            rest_shown: true,
            flashes: VecDeque::new(),
            showing: None,
            beeps: 0,
            identity: None,
            can_beep: false,
            tamper: false,
            quality: LineQuality::default(),
        };
        Self {
            devices: addresses.iter().map(device).collect(),
            underway: None,
            decoder: Decoder::default(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            baud: baud.max(1),
            last_served: 0,
            noise: 0,
        }
    }

    /// Sets the light at rest of a device; it is set again whenever the device comes back.
    pub fn set_rest(&mut self, address: u8, colour: LedColour) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.address == address)
            && device.rest != Some(colour)
        {
            device.rest = Some(colour);
            device.rest_shown = false;
        }
    }

    /// Flashes a device. One that is offline, or has too much to show, shows nothing: a late green must not
    /// greet another student.
    pub fn flash(&mut self, address: u8, colour: LedColour, beeps: u8, now: Micros) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.address == address)
            && device.phase == Phase::Online
        {
            if device.flashes.len() >= MAX_QUEUE {
                device.flashes.pop_front();
            }
            device.flashes.push_back(Flash { colour, beeps, asked: now });
        }
    }

    /// How the line to a device does.
    #[must_use]
    pub fn quality(&self, address: u8) -> Option<LineQuality> {
        self.devices.iter().find(|device| device.address == address).map(|device| device.quality)
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
                Decoded::Frame(frame) if frame.reply => self.handle_reply(&frame, now),
                // On some adapters the panel hears itself.
                Decoded::Frame(_) => {}
                Decoded::Noise(count) => self.noise += count as u64,
                Decoded::Secured { .. } => self.noise += 1,
            }
        }
        self.advance(now);
    }

    /// Takes the passing of time.
    pub fn handle_time(&mut self, now: Micros) {
        if let Some(underway) = &self.underway
            && underway.deadline <= now
        {
            self.noise += self.decoder.reset() as u64;
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

    /// When to call [`Panel::handle_time`] at the latest; `None` when there is no device.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Micros> {
        if let Some(underway) = &self.underway {
            return Some(underway.deadline);
        }
        self.devices.iter().map(Device::next_turn).min()
    }

    /// The time that some bytes take on the wire, at ten bits a byte.
    fn wire(&self, bytes: u64) -> Micros {
        bytes * 10 * 1_000_000 / u64::from(self.baud)
    }

    /// Sends the next command when none is under way.
    fn advance(&mut self, now: Micros) {
        if self.underway.is_some() || self.devices.is_empty() {
            return;
        }
        let count = self.devices.len();
        let turns = (1..=count).map(|step| (self.last_served + step) % count);
        let ready: Vec<usize> = turns.filter(|index| self.devices[*index].next_turn() <= now).collect();
        let urgent = ready.iter().copied().find(|index| self.devices[*index].has_to_show());
        let live = ready.iter().copied().find(|index| self.devices[*index].phase == Phase::Online);
        // An offline device gets its turn only when no live one has something to show; it is due rarely enough
        // that it never starves, because a live device is spared between two polls.
        let probing = ready.iter().copied().find(|index| self.devices[*index].phase != Phase::Online);
        if let Some(index) = urgent.or(probing).or(live) {
            self.last_served = index;
            let command = self.devices[index].next_command(now);
            self.send(index, command, 0, now);
        }
    }

    fn send(&mut self, index: usize, command: Command, repeats: u32, now: Micros) {
        let device = &mut self.devices[index];
        device.quality.sent += 1;
        device.quality.repeats += u64::from(repeats > 0);
        let frame =
            Frame::command(device.address, device.sequence, device.check, command.code(), command.data());
        let bytes = frame.encode();
        let probing = matches!(device.phase, Phase::Offline { .. });
        let wire = self.wire(bytes.len() as u64 + 24);
        let patience = if probing { PROBE_MARGIN + wire } else { REPLY_TIMEOUT + wire };
        self.outgoing.push_back(bytes);
        self.underway = Some(Underway { device: index, command, deadline: now + patience, repeats });
    }

    fn timed_out(&mut self, now: Micros) {
        let Some(underway) = self.underway.take() else { return };
        let device = &mut self.devices[underway.device];
        device.quality.timeouts += 1;
        match device.phase {
            Phase::Offline { tries, since, .. } => device.failed_probe(tries, since, now),
            _ if now.saturating_sub(device.last_heard) >= OFFLINE_AFTER => device.lost(now, &mut self.events),
            _ if underway.repeats < MAX_REPEATS => {
                self.send(underway.device, underway.command, underway.repeats + 1, now);
            }
            // Repeats did not help: the same number goes on, with a poll, until the eight seconds are over.
            _ => {
                device.unanswered(underway.command);
                device.due = now + POLL_EVERY;
            }
        }
    }

    fn handle_reply(&mut self, frame: &Frame, now: Micros) {
        let Some(underway) = &self.underway else {
            self.noise += 1;
            return;
        };
        let device = &mut self.devices[underway.device];
        let reply = Reply::decode(frame.code, &frame.data);
        let busy = reply == Reply::Busy;
        if frame.address != device.address
            || (frame.sequence != device.sequence && !busy && !matches!(reply, Reply::Nak(_)))
        {
            device.quality.bad_replies += 1;
            return;
        }
        let Some(underway) = self.underway.take() else { return };
        device.last_heard = now;
        device.quality.replies += 1;
        if busy {
            // The same command goes out again with the same number, a little later.
            device.unanswered(underway.command);
            device.due = now + BUSY_PAUSE;
            return;
        }
        if let Reply::Nak(reason) = reply {
            device.quality.naks += 1;
            device.refused(reason, underway.command, now);
            return;
        }
        device.sequence = device.sequence % 3 + 1;
        device.due = now + if device.phase == Phase::Online { POLL_EVERY } else { 0 };
        device.answered(underway.command, reply, &mut self.events);
    }
}

impl Device {
    fn has_to_show(&self) -> bool {
        self.phase == Phase::Online
            && (!self.flashes.is_empty() || self.beeps > 0 || (self.rest.is_some() && !self.rest_shown))
    }

    fn next_turn(&self) -> Micros {
        match self.phase {
            Phase::Offline { next, .. } => next,
            Phase::Online if self.has_to_show() && self.due <= self.last_heard + POLL_EVERY => 0,
            _ => self.due,
        }
    }

    fn next_command(&mut self, now: Micros) -> Command {
        match self.phase {
            Phase::Offline { .. } | Phase::Identify => Command::Id,
            Phase::Capabilities => Command::Capabilities,
            Phase::Status => Command::LocalStatus,
            Phase::Online => {
                while let Some(flash) = self.flashes.pop_front() {
                    if now.saturating_sub(flash.asked) <= FLASH_TTL {
                        self.showing = Some(flash);
                        return Command::LedFlash { colour: flash.colour, tenths: FLASH_TENTHS };
                    }
                }
                if let (Some(colour), false) = (self.rest, self.rest_shown) {
                    self.rest_shown = true;
                    return Command::LedPermanent(colour);
                }
                if self.beeps > 0 {
                    return Command::Buzzer { count: std::mem::take(&mut self.beeps) };
                }
                Command::Poll
            }
        }
    }

    /// A command was not carried out: what must not get lost is asked for again.
    fn unanswered(&mut self, command: Command) {
        match command {
            Command::LedPermanent(_) => self.rest_shown = false,
            Command::LedFlash { .. } => self.flashes.extend(self.showing.take()),
            _ => {}
        }
    }

    fn failed_probe(&mut self, tries: u32, since: Micros, now: Micros) {
        let tries = tries + 1;
        let wait = if tries < 3 {
            0
        } else if now.saturating_sub(since) < OFFLINE_AFTER {
            1_000 * MS
        } else {
            5_000 * MS
        };
        // Most devices take a CRC; one in four tries asks for those that only know checksums.
        self.check = if tries % 4 == 3 { Check::Checksum } else { Check::Crc };
        self.sequence = 0;
        self.phase = Phase::Offline { tries, next: now + wait, since };
    }

    fn lost(&mut self, now: Micros, events: &mut VecDeque<(u8, Event)>) {
        if self.phase == Phase::Online {
            events.push_back((self.address, Event::Offline));
        }
        self.restart(now);
    }

    fn restart(&mut self, now: Micros) {
        self.phase = Phase::Offline { tries: 0, next: now, since: now };
        self.sequence = 0;
        self.flashes.clear();
        self.showing = None;
        self.beeps = 0;
        self.rest_shown = false;
    }

    fn refused(&mut self, reason: u8, command: Command, now: Micros) {
        match (reason, command) {
            // A wrong number means that the device forgot us: begin a new session at once.
            (4, _) if self.sequence != 0 => {
                self.sequence = 0;
                self.unanswered(command);
                self.phase = Phase::Identify;
                self.due = now;
            }
            (3, Command::Capabilities) => self.phase_after_capabilities(now),
            (3, Command::LocalStatus) => {
                self.phase = Phase::Online;
                self.due = now;
                self.step();
            }
            (_, Command::Id) => {
                self.sequence = 0;
                self.due = now + 1_000 * MS;
            }
            _ => {
                self.step();
                self.due = now + POLL_EVERY;
            }
        }
    }

    fn phase_after_capabilities(&mut self, now: Micros) {
        self.phase = Phase::Status;
        self.due = now;
        self.step();
    }

    fn step(&mut self) {
        self.sequence = self.sequence % 3 + 1;
    }

    fn answered(&mut self, command: Command, reply: Reply, events: &mut VecDeque<(u8, Event)>) {
        if let (Command::LedFlash { .. }, Some(flash)) = (command, self.showing.take()) {
            self.beeps = if self.can_beep { flash.beeps } else { 0 };
        }
        match (command, reply) {
            (Command::Id, Reply::Identity(identity)) => {
                self.identity = Some(identity);
                self.phase = Phase::Capabilities;
            }
            (Command::Id, _) => self.quality.bad_replies += 1,
            (Command::Capabilities, reply) => {
                if let Reply::Capabilities(list) = reply {
                    self.can_beep = list.iter().any(|it: &Capability| it.function == 5 && it.level > 0);
                }
                self.phase = Phase::Status;
            }
            (Command::LocalStatus, reply) => {
                self.phase = Phase::Online;
                self.rest_shown = false;
                if let Reply::LocalStatus { tamper, .. } = reply {
                    self.tamper = tamper;
                }
                if let Some(identity) = self.identity {
                    events.push_back((self.address, Event::Online(identity)));
                }
            }
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
                if tamper != self.tamper {
                    self.tamper = tamper;
                    events.push_back((self.address, Event::Tamper(tamper)));
                }
            }
            (_, Reply::Malformed(_)) => self.quality.bad_replies += 1,
            _ => {}
        }
    }
}
