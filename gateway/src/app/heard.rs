//! What readers of each kind tell, and what the gateway makes of it: a card for the mind, a state, an outage.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::hands::Hands;
use crate::ascii::line as ascii;
use crate::clock::Reading;
use crate::core::outages::Cause;
use crate::core::{Input, Read, Tag};
use crate::journal::record::{ReaderRecord, Record};
use crate::mqtt::client::ReaderSaid;
use crate::osdp::panel::Event;

/// A serial reader is reported gone after so long without a good reply.
const OSDP_SILENCE_MS: i64 = 8_000;

/// What the hub says is here sooner than this, or the gateway had been cut off from it.
const PROMPT_MS: i64 = 60_000;

/// The same thing that happens to a reader is told so often at the most.
const HAPPENS_EVERY_MS: i64 = 60_000;
/// How much of what happened to a reader that the hub does not know is kept.
const MAX_UNTOLD: usize = 16;

impl Hands {
    pub(super) fn bus_event(&mut self, code: String, event: Event) {
        let now = self.clock.read();
        let seen = self.seen.entry(code.clone()).or_default();
        match event {
            Event::Online(identity) => {
                let id = self.mind.reader(&code).map(|reader| reader.id);
                self.notes_up(id, now);
                self.is_online(&code, true);
                let [major, minor, build] = identity.firmware;
                let seen = self.seen.entry(code.clone()).or_default();
                seen.serial = Some(identity.serial);
                seen.firmware = Some(format!("{major}.{minor}.{build}"));
                tracing::info!(reader = %code, serial = identity.serial, "reader online");
            }
            Event::Offline => {
                self.is_online(&code, false);
                let id = self.mind.reader(&code).map(|reader| reader.id);
                self.notes_down(id, OSDP_SILENCE_MS, now);
                tracing::warn!(reader = %code, "reader offline: silent for 8 s; is it powered and the line whole?");
            }
            Event::Twin(twin) => {
                let own = seen.serial.map_or_else(|| "?".to_owned(), |serial| serial.to_string());
                let detail = format!("serial numbers {own} and {} both answer at its address", twin.serial);
                tracing::error!(
                    reader = %code,
                    "two readers have one address: {detail}; take one of them off the line and give the other another address: \
                     rollcall-gateway reader set-address {code} --to …"
                );
                self.happened(&code, "DUPLICATE_ADDRESS", Some(detail));
            }
            Event::Card(card) => {
                seen.last_swipe = Some(now.at);
                self.mind.handle(Input::Read(Read { reader: code, card, tag: None, random: random() }), now);
            }
            Event::FormattedCard => {
                tracing::warn!(reader = %code, "the reader sends formatted card data, which is ambiguous; set it to raw bits");
            }
            Event::Keypad { digits } => {
                tracing::info!(reader = %code, digits, "keys were pressed, which mean nothing here");
            }
            Event::Tamper(true) => {
                tracing::warn!(reader = %code, "tamper: the reader was opened");
                self.happened(&code, "TAMPER", Some("it was opened, or taken off the wall".into()));
            }
            Event::Tamper(false) => {
                tracing::info!(reader = %code, "tamper over");
                self.happened(&code, "TAMPER_OVER", None);
            }
            Event::Input { number, active } => {
                tracing::info!(reader = %code, number, active, "an input of the reader changed");
                seen.inputs.entry(number).or_default().0 = active;
                self.tell_inputs(&code);
            }
            Event::Reconfigured { .. } | Event::NotReconfigured => {}
            Event::Line(quality) => {
                self.tell_inputs(&code);
                let seen = self.seen.entry(code.clone()).or_default();
                let before = seen.line.replace(quality).map_or(0, |line| line.bad_replies);
                let told = seen.happened.get("LINE").copied();
                let due = told.is_none_or(|told| now.since_boot_ms - told >= HAPPENS_EVERY_MS);
                if quality.bad_replies > before && due {
                    seen.happened.insert("LINE", now.since_boot_ms);
                    tracing::warn!(
                        reader = %code,
                        damaged = quality.bad_replies,
                        of = quality.sent,
                        "replies come in damaged, and are asked for again: look at the line's cable, its termination, its speed, \
                         and whether two readers have one address"
                    );
                }
            }
            Event::Insecure(error) => {
                tracing::error!(
                    reader = %code,
                    "the reader has a key and does not speak under it: {error}; it is not talked to. Was it exchanged, or is \
                     somebody at its line? A reader that was exchanged: rollcall-gateway reader keyset {code}"
                );
                self.happened(
                    &code,
                    "INSECURE",
                    Some(format!("{error}: was it exchanged, or is somebody at its line?")),
                );
            }
            Event::KeySet(_) => {
                tracing::info!(reader = %code, "the reader has a new key");
                self.happened(&code, "KEY_SET", None);
            }
            Event::PowerUp => {
                tracing::info!(reader = %code, "the reader was switched on");
                self.happened(&code, "POWER_UP", None);
            }
        }
    }

    pub(super) fn ascii_event(&mut self, code: String, event: ascii::Event) {
        let now = self.clock.read();
        let id = self.mind.reader(&code).map(|reader| reader.id);
        match event {
            ascii::Event::Online => {
                self.is_online(&code, true);
                tracing::info!(reader = %code, "reader online");
                self.notes_up(id, now);
            }
            ascii::Event::Offline { silent_ms } => {
                self.is_online(&code, false);
                tracing::warn!(reader = %code, "reader offline: its port is lost, or it is silent; is it plugged in?");
                self.notes_down(id, silent_ms, now);
            }
            ascii::Event::Card(card) => {
                self.seen.entry(code.clone()).or_default().last_swipe = Some(now.at);
                let read = Read { reader: code, card: Ok(card), tag: None, random: random() };
                self.mind.handle(Input::Read(read), now);
            }
        }
    }

    pub(super) fn mqtt_said(&mut self, said: ReaderSaid) {
        let now = self.clock.read();
        match said {
            ReaderSaid::Ready { reader, firmware, clock } => {
                let online = Input::Online { reader: reader.clone(), clock };
                self.mind.handle(online, now);
                let id = self.mind.reader(&reader).map(|reader| reader.id);
                self.notes_up(id, now);
                if self.is_online(&reader, true) {
                    tracing::info!(%reader, "reader online");
                }
                let seen = self.seen.entry(reader.clone()).or_default();
                seen.firmware = firmware.or(seen.firmware.take());
            }
            ReaderSaid::Kept { reader, firmware } => {
                self.seen.entry(reader).or_default().firmware = Some(firmware);
            }
            ReaderSaid::Lost { reader } => {
                tracing::warn!(%reader, "reader lost");
                let id = self.mind.reader(&reader).map(|reader| reader.id);
                self.notes_down(id, 0, now);
                self.is_online(&reader, false);
                self.mind.handle(Input::Gone { reader }, now);
            }
            ReaderSaid::Swipe { reader, message } => {
                if self.places.contains_key(&reader) || self.ascii.contains_key(&reader) {
                    tracing::warn!(%reader, "a swipe by MQTT for a reader that hangs on a serial line: not taken");
                    return;
                }
                let seen = self.seen.entry(reader.clone()).or_default();
                seen.last_swipe = Some(now.at);
                // Whatever it said before, or was not heard of: it works.
                if !message.historical && self.is_online(&reader, true) {
                    let id = self.mind.reader(&reader).map(|reader| reader.id);
                    self.notes_up(id, now);
                }
                let tag = Tag {
                    boot: message.boot,
                    seq: message.seq,
                    mono_ms: message.mono_ms,
                    historical: message.historical,
                };
                let read = Read { reader, card: message.card, tag: Some(tag), random: random() };
                self.mind.handle(Input::Read(read), now);
            }
        }
    }

    /// Notes that a reader answers or does not; `true` when that is news.
    fn is_online(&mut self, code: &str, online: bool) -> bool {
        let seen = self.seen.entry(code.to_owned()).or_default();
        let news = seen.online != online;
        seen.online = online;
        if news {
            self.came_or_went.send_modify(|times| *times += 1);
        }
        news
    }

    /// Notes what happened to a reader itself, for the hub; the same once a minute at the most, for a contact that chatters
    /// must not fill the journal. A reader that the hub does not know has no name there: it is told when it has.
    fn happened(&mut self, code: &str, kind: &'static str, detail: Option<String>) -> bool {
        let now = self.clock.read();
        let seen = self.seen.entry(code.to_owned()).or_default();
        if seen.happened.get(kind).is_some_and(|last| now.since_boot_ms - last < HAPPENS_EVERY_MS) {
            return false;
        }
        seen.happened.insert(kind, now.since_boot_ms);
        let event = ReaderRecord {
            id: Uuid::new_v4(),
            reader: Uuid::nil(),
            kind: kind.to_owned(),
            at: now.at.0,
            earliest: now.when.earliest.0,
            latest: now.when.latest.0,
            detail,
        };
        match self.mind.reader(code).map(|reader| reader.id) {
            Some(reader) => self.notes.add(Record::Reader(ReaderRecord { reader, ..event })),
            None => {
                seen.untold.truncate(MAX_UNTOLD - 1);
                seen.untold.push(event);
            }
        }
        true
    }

    /// Tells the hub of inputs that are not as it was last told. What chatters is told once a minute, and in the end as it is.
    fn tell_inputs(&mut self, code: &str) {
        let inputs = self.seen.entry(code.to_owned()).or_default().inputs.clone();
        for (number, (active, _)) in inputs.into_iter().filter(|(_, (active, told))| active != told) {
            let kind = if active { "INPUT_ACTIVE" } else { "INPUT_OVER" };
            if self.happened(code, kind, Some(format!("input {number}"))) {
                self.seen.entry(code.to_owned()).or_default().inputs.insert(number, (active, active));
            }
        }
    }

    /// Readers that the hub now knows: what happened to them before is told.
    fn tell_what_happened(&mut self) {
        for (code, seen) in &mut self.seen {
            let Some(reader) = self.mind.reader(code).map(|reader| reader.id) else { continue };
            for event in seen.untold.drain(..) {
                self.notes.add(Record::Reader(ReaderRecord { reader, ..event }));
            }
        }
    }

    fn notes_up(&mut self, reader: Option<Uuid>, now: Reading) {
        let ended = reader.and_then(|reader| self.outages.up(reader, now));
        if let Some(ended) = ended {
            self.notes.add(Record::Outage(ended));
        }
    }

    fn notes_down(&mut self, reader: Option<Uuid>, ago_ms: i64, now: Reading) {
        let Some(reader) = reader else { return };
        let began = self.outages.down(reader, Cause::ReaderUnreachable, ago_ms, now, Uuid::new_v4());
        if let Some(began) = began {
            self.notes.add(Record::Outage(began));
        }
    }

    /// The readers that are known; none while nobody has named any.
    pub(super) fn known_readers(&self) -> Option<BTreeSet<Uuid>> {
        self.mind.is_configured().then(|| self.mind.readers().map(|reader| reader.id).collect())
    }

    /// Readers that the hub has just named and that do not answer are out from now on; those that do are not. One that was not
    /// `known` was not served since the gateway last heard of the hub.
    pub(super) fn await_readers(&mut self, known: Option<&BTreeSet<Uuid>>, now: Reading) {
        let named = self.outages.named(now);
        self.notes.add_all(named);
        self.note_forgotten(now);
        let deaf = self.current_at.is_none_or(|heard| now.at.since_ms(heard) > PROMPT_MS);
        if let Some(known) = known.filter(|_| deaf) {
            let fresh: Vec<Uuid> =
                self.mind.readers().map(|it| it.id).filter(|reader| !known.contains(reader)).collect();
            for reader in fresh {
                let unserved = self.outages.unheard(reader, self.current_at, Uuid::new_v4());
                self.notes.add_all(unserved);
            }
        }
        let readers: Vec<(Uuid, bool)> = self
            .mind
            .readers()
            .map(|reader| (reader.id, self.seen.get(&reader.code).is_some_and(|seen| seen.online)))
            .collect();
        self.came_or_went.send_modify(|times| *times += 1);
        self.tell_what_happened();
        for (reader, online) in readers {
            if online {
                self.notes_up(Some(reader), now);
            } else {
                self.notes_down(Some(reader), 0, now);
            }
        }
    }
}

/// Randomness for a swipe's id.
fn random() -> [u8; 10] {
    let [wanted @ .., _, _, _, _, _, _] = crate::random::bytes();
    wanted
}
