//! One device as the panel sees it: its session and what it is to show; `replies` says what it answers.
//!
//! Never knows of the bus: `panel` says when a command went out, when its reply came, and when none did.

use std::collections::{BTreeSet, VecDeque};

use super::secure::Secure;
use super::{Event, LineQuality, MS, Micros};
use crate::osdp::command::{Command, LedColour};
use crate::osdp::frame::{Check, Frame};
use crate::osdp::reply::Identity;

mod replies;

/// A device that was silent for this long is offline (SIA OSDP v2.2, section 5.7).
const OFFLINE_AFTER: Micros = 8_000 * MS;
/// How long a device is spared between two polls.
const POLL_EVERY: Micros = 15 * MS;
/// How long after BUSY it is asked again.
const BUSY_PAUSE: Micros = 50 * MS;
/// How often a device is tried at once; then it is tried each `RETRY_EVERY`.
const QUICK_TRIES: u32 = 3;
/// How long a silent device is left alone, in the first eight seconds.
const RETRY_EVERY: Micros = 1_000 * MS;
/// How long a device that has been offline for longer is left alone.
const PROBE_EVERY: Micros = 5_000 * MS;
/// How late a reply may still come in: twice what OSDP allows a device, for adapters that hold bytes back.
const LATE_REPLY: Micros = 400 * MS;
/// How many things to show may wait for one device; the oldest goes first when there are more.
const MAX_QUEUE: usize = 8;
/// A device with a key that answers must prove it so often: one that was silent for nearly as long as it may be, because it
/// was switched off and on, has time for a handshake.
const PROVED_WITHIN: Micros = OFFLINE_AFTER + 4_000 * MS;
/// So many broken secure channels in a row are no accident.
const MAX_BREAKS: u32 = 3;
/// After so many answers that nobody asked for, a device that is online is asked again who it is: two may answer.
const MAX_UNASKED: u32 = 3;
/// How many others at its address are remembered.
const MAX_TWINS: usize = 4;
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

impl Flash {
    fn is_late(&self, now: Micros) -> bool {
        now.saturating_sub(self.asked) > FLASH_TTL
    }
}

/// Where a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It does not answer; it has been tried so often since then.
    Offline { tries: u32, since: Micros },
    /// Its session is begun anew: it is asked who it is.
    Identify,
    /// It is asked what it can do.
    Capabilities,
    /// It is to prove that it has its key.
    Challenge,
    /// It is shown that we have it.
    Cryptogram,
    /// It is given a new key.
    KeySet,
    /// It is asked for tamper and power.
    Status,
    /// It is asked for its inputs.
    Inputs,
    /// It is polled.
    Online,
}

/// A device as the panel sees it.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) address: u8,
    phase: Phase,
    /// How the next frame proves itself, and how those did that it answered.
    check: Check,
    known_check: Check,
    sequence: u8,
    /// When each number may name a new command. One that went out twice may be answered twice, and the second
    /// reply must have come in before the number comes round again: nothing else in it tells it from a fresh one.
    free_at: [Micros; 4],
    last_heard: Micros,
    pub(super) due: Micros,
    /// The command of the present sequence number: repeated, and no other, until it is answered.
    pending: Option<Command>,
    /// The bytes that this was sent as.
    sent: Vec<u8>,
    /// The address and the speed that it is to have.
    pub(super) reconfigure: Option<(u8, u32)>,
    /// None where it may speak in clear text.
    secure: Option<Secure>,
    /// How often in a row that was sent without an answer.
    unanswered: u32,
    /// The flash that was sent and not yet acknowledged.
    showing: Option<Flash>,
    flashes: VecDeque<Flash>,
    beeps: u8,
    rest: Option<LedColour>,
    rest_shown: bool,
    identity: Option<Identity>,
    /// Who else was found to answer at its address, and was told of.
    twins: Vec<Identity>,
    /// How many answers came that nobody had asked for.
    unasked: u32,
    /// Who it was when the gateway was told that it is online.
    told: Option<Identity>,
    /// The gateway was told that it is online.
    announced: bool,
    can_beep: bool,
    /// It was seen to reply later than a short time-out allows.
    pub(super) slow: bool,
    tamper: bool,
    /// It says that it has inputs.
    has_inputs: bool,
    /// It said nothing when it was asked for them: it is not asked again.
    mute_inputs: bool,
    /// Those of its inputs that are active, as last told.
    active: BTreeSet<usize>,
    pub(super) quality: LineQuality,
}

impl Device {
    pub(super) fn new(address: u8, now: Micros) -> Self {
        Self {
            address,
            phase: Phase::Offline { tries: 0, since: now },
            check: Check::Crc,
            known_check: Check::Crc,
            sequence: 0,
            free_at: [0; 4],
            last_heard: now,
            due: now,
            pending: None,
            sent: Vec::new(),
            reconfigure: None,
            secure: None,
            unanswered: 0,
            showing: None,
            flashes: VecDeque::new(),
            beeps: 0,
            rest: None,
            rest_shown: true,
            identity: None,
            twins: Vec::new(),
            unasked: 0,
            told: None,
            announced: false,
            can_beep: false,
            slow: false,
            tamper: false,
            has_inputs: false,
            mute_inputs: false,
            active: BTreeSet::new(),
            quality: LineQuality::default(),
        }
    }

    /// From now on it is talked to under a key, and in no other way.
    pub(super) fn secure(&mut self, secure: Secure, now: Micros) {
        self.secure = Some(secure);
        self.restart(Phase::Offline { tries: 0, since: now });
        self.due = now;
    }

    pub(super) fn is_secured(&self) -> bool {
        self.secure.as_ref().is_some_and(Secure::is_open)
    }

    pub(super) fn set_rest(&mut self, colour: LedColour) {
        if self.rest != Some(colour) {
            self.rest = Some(colour);
            self.rest_shown = false;
        }
    }

    pub(super) fn flash(&mut self, colour: LedColour, beeps: u8, now: Micros) {
        if self.announced {
            if self.flashes.len() >= MAX_QUEUE {
                self.flashes.pop_front();
            }
            self.flashes.push_back(Flash { colour, beeps, asked: now });
        }
    }

    /// Whether waiting for it may well be in vain.
    pub(super) fn is_silent(&self) -> bool {
        self.unanswered > 0 || matches!(self.phase, Phase::Offline { .. })
    }

    /// It was tried again and again in vain.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.phase, Phase::Offline { tries: QUICK_TRIES.., .. })
    }

    /// When it may have the bus; 0 goes before all others.
    pub(super) fn next_turn(&self) -> Micros {
        let to_show = !self.flashes.is_empty() || self.beeps > 0 || (self.rest.is_some() && !self.rest_shown);
        // What is pending has its own time: nothing else may go out before it is answered.
        if self.pending.is_some() {
            return self.due;
        }
        let due = if self.phase == Phase::Online && to_show { 0 } else { self.due };
        due.max(self.free_at[usize::from(self.sequence & 3)])
    }

    /// The bytes to send now: the pending command again, or the next.
    pub(super) fn next_bytes(&mut self, now: Micros) -> Vec<u8> {
        if self.showing.is_some_and(|flash| flash.is_late(now)) {
            self.showing = None;
            if self.is_secured() {
                // Nobody knows whether its link of the chain was taken.
                self.restart(Phase::Identify);
            } else {
                // If the device knows the number, it repeats its reply to the flash; if not, it is polled.
                self.pending = Some(Command::Poll);
                self.sent = Vec::new();
            }
        }
        self.quality.sent += 1;
        if self.pending.is_some() {
            self.quality.repeats += 1;
            self.free_at[usize::from(self.sequence & 3)] = now + LATE_REPLY;
        } else {
            self.sent = Vec::new();
        }
        let command = self.pending.unwrap_or_else(|| self.next_command(now));
        self.pending = Some(command);
        if self.sent.is_empty() {
            self.sent = match &mut self.secure {
                Some(secure) => secure.frame(self.address, self.sequence, self.check, command),
                None => {
                    let data = command.data();
                    Frame::command(self.address, self.sequence, self.check, command.code(), data).encode()
                }
            };
        }
        self.sent.clone()
    }

    fn next_command(&mut self, now: Micros) -> Command {
        match self.phase {
            Phase::Offline { .. } | Phase::Identify => return Command::Id,
            Phase::Capabilities => return Command::Capabilities,
            Phase::Challenge => return Command::Challenge,
            Phase::Cryptogram => return Command::ServerCryptogram,
            Phase::KeySet => return Command::KeySet,
            Phase::Status => return Command::LocalStatus,
            Phase::Inputs => return Command::InputStatus,
            Phase::Online => {}
        }
        if self.unasked >= MAX_UNASKED && self.twins.is_empty() {
            self.unasked = 0;
            return Command::Id;
        }
        if let Some((address, baud)) = self.reconfigure {
            return Command::Communication { address, baud };
        }
        // The beeps of the last flash, before another one begins.
        if self.beeps > 0 {
            return Command::Buzzer { count: std::mem::take(&mut self.beeps) };
        }
        while let Some(flash) = self.flashes.pop_front() {
            if !flash.is_late(now) {
                self.showing = Some(flash);
                return Command::LedFlash { colour: flash.colour, tenths: FLASH_TENTHS };
            }
        }
        if let (Some(colour), false) = (self.rest, self.rest_shown) {
            self.rest_shown = true;
            return Command::LedPermanent(colour);
        }
        Command::Poll
    }

    /// No reply came. Says whether to send the same at once again.
    pub(super) fn timed_out(&mut self, now: Micros, events: &mut VecDeque<(u8, Event)>) -> bool {
        self.quality.timeouts += 1;
        if matches!(self.phase, Phase::Offline { .. }) {
            self.failed_probe(now);
            return false;
        }
        let lost_at = self.last_heard + OFFLINE_AFTER;
        if now >= lost_at {
            self.lost(now, events);
            return false;
        }
        self.unanswered += 1;
        if self.phase == Phase::Inputs && self.unanswered >= QUICK_TRIES {
            // Cards matter more than a door's contact.
            self.mute_inputs = true;
            self.restart(Phase::Identify);
            self.due = now;
            return false;
        }
        self.due = if self.unanswered < QUICK_TRIES { now } else { (now + RETRY_EVERY).min(lost_at) };
        self.unanswered == 1
    }

    fn failed_probe(&mut self, now: Micros) {
        let Phase::Offline { tries, since } = self.phase else { return };
        let tries = tries + 1;
        self.due = now
            + if tries < QUICK_TRIES {
                0
            } else if now.saturating_sub(since) < OFFLINE_AFTER {
                RETRY_EVERY
            } else {
                PROBE_EVERY
            };
        // One in four tries proves itself the other way: some devices only know checksums.
        self.check = match (tries % 4, self.known_check) {
            (3, Check::Crc) => Check::Checksum,
            (3, Check::Checksum) => Check::Crc,
            (_, known) => known,
        };
        self.slow = false;
        self.restart(Phase::Offline { tries, since });
    }

    fn lost(&mut self, now: Micros, events: &mut VecDeque<(u8, Event)>) {
        if std::mem::take(&mut self.announced) {
            events.push_back((self.address, Event::Offline));
        }
        self.restart(Phase::Offline { tries: 0, since: now });
        self.due = now;
        self.flashes.clear();
        self.showing = None;
        self.beeps = 0;
    }

    /// A new session, from number 0. What was not carried out yet is not forgotten.
    fn restart(&mut self, phase: Phase) {
        self.phase = phase;
        // Another may have been hung in its place.
        self.identity = None;
        self.sequence = 0;
        self.sent = Vec::new();
        if let Some(secure) = &mut self.secure {
            secure.close();
        }
        self.unanswered = 0;
        self.rest_shown = false;
        if let Some(Command::Buzzer { count }) = self.pending.take() {
            self.beeps = count;
        }
        if let Some(flash) = self.showing.take() {
            self.flashes.push_front(flash);
        }
    }
}
