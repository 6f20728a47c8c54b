//! The gateway's mind, sans-IO: what readers said goes in, records and lights come out.
//!
//! Called by `app` alone: [`Gateway::handle`] for everything that happens, then [`Gateway::poll_output`] until
//! it has nothing more, then a wait until [`Gateway::poll_timeout`]. It reads no clock, holds no socket and
//! never waits. A light that tells of a swipe comes out only after [`Input::Durable`] for that swipe went in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rollcall_rules::card::{CardError, CardRead};
use rollcall_rules::ids::{HolderId, SessionId};
use rollcall_rules::light::{Colour, light_at_rest};
use rollcall_rules::time::{Instant, Uncertain};
use rollcall_rules::timetable::{CardKey, ItemId, Timetable};
use rollcall_rules::verdict::{Decision, Reason, Verdict, refuse_unusable, verdict};
use uuid::Uuid;

use crate::journal::record::{SwipeRecord, TagRecord};

mod digits;
pub mod event;
pub mod outages;
pub mod reading;
pub mod repeats;
pub mod time;
pub mod undated;
pub(crate) mod words;
pub use digits::{hex, unhex};
pub use event::{Answer, CardSecret, Change, Input, Output, Read, ReaderClock, ReaderFacts, Tag};
use reading::Reading;
use repeats::{Dated, Repeats};
use words::{colour_word, considered, decision_of, decision_word, reason_word, trust_word};

/// How many swipes may wait for the disk; beyond that readers see red.
const MAX_PENDING: usize = 512;
/// How many (holder, session) pairs are remembered for the courtesy `ALREADY_RECORDED`.
const MAX_CREDITED: usize = 100_000;
/// How many swipes are kept in mind while there is no room for them; beyond that the oldest are forgotten.
const MAX_REFUSED: usize = 4_096;
/// For how long after the card was read an answer is shown.
const FLASH_TTL_MS: i64 = 3_000;
/// How many readers that the hub does not know of are remembered.
const MAX_STRANGERS: usize = 256;

struct Pending {
    reader: String,
    tag: Option<(String, u64)>,
    decision: Decision,
    flash: Colour,
    credited: Option<(HolderId, Vec<SessionId>)>,
    /// Not before.
    at: Instant,
    record: Box<SwipeRecord>,
    /// It was shown red for want of room, and is written now: nobody waits for an answer.
    answered: bool,
}

/// The gateway's mind.
#[derive(Default)]
pub struct Gateway {
    timetable: Timetable,
    basis: String,
    secret: CardSecret,
    readers: BTreeMap<String, ReaderFacts>,
    /// The hub, or the cache, has said which readers there are.
    is_configured: bool,
    rests: BTreeMap<String, Colour>,
    repeats: Repeats,
    credited: BTreeSet<(HolderId, SessionId)>,
    pending: BTreeMap<u64, Pending>,
    /// Swipes that were shown red for want of room, to be written when there is.
    refused: VecDeque<Box<SwipeRecord>>,
    /// Since when there has been no room. Older than that may be what a reader had kept before it was refused.
    refusing: Option<Instant>,
    /// Since when swipes were refused that nobody remembers.
    forgotten: Option<Instant>,
    /// The last swipe of readers that the hub does not know of: each is answered once.
    strangers: BTreeMap<String, (String, u64)>,
    next_ticket: u64,
    next_tick: Option<Instant>,
    outputs: VecDeque<Output>,
    boot: Uuid,
}

impl Gateway {
    /// A gateway that knows nothing yet; `boot` is the machine's present start.
    #[must_use]
    pub fn new(boot: Uuid) -> Self {
        Self { boot, ..Self::default() }
    }

    /// Takes a record from the journal at the start: what it credited, and the numbers of MQTT swipes.
    /// `now` is the present, by which an MQTT reader's own clock is tied to ours.
    pub fn remember(&mut self, record: &SwipeRecord, now: Reading) {
        if record.light == "GREEN"
            && let Some(holder) = record.holder
        {
            self.credit(HolderId(holder), record.sessions.iter().map(|id| SessionId(*id)));
        }
        if let Some(tag) = &record.tag {
            self.repeats.remember(&record.code, &tag.boot, tag.seq, decision_of(&record.decision));
            self.repeats.restore(&record.code, record, self.boot, now);
        }
    }

    /// Takes something that happened at `now`. Ask `poll_output` afterwards.
    pub fn handle(&mut self, input: Input, now: Reading) {
        match input {
            Input::Online { reader, clock } => self.repeats.online(&reader, clock.as_ref(), now),
            Input::Gone { reader } => self.repeats.gone(&reader),
            Input::Read(read) => self.read(read, now),
            Input::Durable { ticket } => self.durable(ticket, now),
            Input::NotDurable { ticket } => self.not_durable(ticket),
            Input::Refused { ticket } => self.refused(ticket, now),
            Input::Room => self.write_refused(),
            Input::Facts { changes, replace, basis } => {
                self.facts(changes, replace);
                self.basis = basis;
                self.set_rests(now);
            }
            Input::Config { readers, secret } => {
                self.is_configured = true;
                self.readers = readers.into_iter().map(|reader| (reader.code.clone(), reader)).collect();
                self.secret = secret;
                self.set_rests(now);
            }
            Input::Tick => self.set_rests(now),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to handle [`Input::Tick`] at the latest; `None` when no light will change by itself.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// The instant before which every swipe is durable, when it is `now`.
    #[must_use]
    pub fn durable_before(&self, now: Instant) -> Instant {
        let refused = self.refused.iter().map(|record| Instant(record.earliest));
        let waiting = self.pending.values().map(|pending| pending.at).chain(refused);
        waiting.chain(self.refusing).chain(self.forgotten).min().map_or(now, |since| since.min(now))
    }

    /// Since when somebody was there, when it is `now`, whose swipe this program alone remembers.
    #[must_use]
    pub fn unkept_since(&self, now: Instant) -> Instant {
        let here = self.pending.values().filter(|pending| !pending.record.late).map(|pending| pending.at);
        here.chain(self.refusing).chain(self.forgotten).min().map_or(now, |since| since.min(now))
    }

    /// Since when swipes have been refused for want of room.
    #[must_use]
    pub fn refusing_since(&self) -> Option<Instant> {
        self.refusing
    }

    /// Since when swipes were refused of which nothing was kept.
    #[must_use]
    pub fn forgotten_since(&self) -> Option<Instant> {
        self.forgotten
    }

    /// As [`Gateway::forgotten_since`], once: the caller tells of them.
    pub fn take_forgotten(&mut self) -> Option<Instant> {
        self.forgotten.take()
    }

    /// The gateway starts and had refused swipes since then: that lasts until there is room.
    pub fn refused_before(&mut self, since: Instant) {
        self.refusing = Some(since);
    }

    /// The feed position that is decided by.
    #[must_use]
    pub fn basis(&self) -> &str {
        &self.basis
    }

    /// The light at rest of every reader.
    #[must_use]
    pub fn rests(&self) -> &BTreeMap<String, Colour> {
        &self.rests
    }

    /// What is known of a reader.
    #[must_use]
    pub fn reader(&self, code: &str) -> Option<&ReaderFacts> {
        self.readers.get(code)
    }

    /// Whether anybody has said which readers there are.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// All readers that the hub knows of.
    pub fn readers(&self) -> impl Iterator<Item = &ReaderFacts> {
        self.readers.values()
    }

    /// The timetable decided by.
    #[must_use]
    pub fn timetable(&self) -> &Timetable {
        &self.timetable
    }

    fn facts(&mut self, changes: Vec<Change>, replace: bool) {
        if replace {
            self.timetable = Timetable::new();
        }
        for change in changes {
            match change {
                Change::Upsert(item) => self.timetable.upsert(item),
                Change::Remove(id) => {
                    self.timetable.remove(ItemId::Session(id.into()));
                    self.timetable.remove(ItemId::Membership(id.into()));
                    self.timetable.remove(ItemId::Card(id.into()));
                }
            }
        }
    }

    fn set_rests(&mut self, now: Reading) {
        let mut next: Option<Instant> = None;
        for (code, reader) in &self.readers {
            let colour =
                reader.room.map_or(Colour::Off, |room| light_at_rest(&self.timetable, room, now.when));
            if self.rests.get(code) != Some(&colour) {
                self.rests.insert(code.clone(), colour);
                self.outputs.push_back(Output::Rest { reader: code.clone(), colour });
            }
            // A light goes on once the earliest instant that it may be has come to where it is on, and off once the latest has.
            for bound in [now.when.earliest, now.when.latest] {
                let change = reader.room.and_then(|room| self.timetable.next_change(room, bound));
                let change = change.map(|at| now.at.plus_ms(at.since_ms(bound)));
                next = next.into_iter().chain(change).min();
            }
        }
        for code in
            self.rests.keys().filter(|code| !self.readers.contains_key(*code)).cloned().collect::<Vec<_>>()
        {
            self.rests.remove(&code);
            self.outputs.push_back(Output::Rest { reader: code, colour: Colour::Off });
        }
        self.next_tick = next;
    }

    fn read(&mut self, read: Read, now: Reading) {
        let dated = read.tag.as_ref().map(|tag| self.repeats.date(&read.reader, tag, now));
        let Some(reader) = self.readers.get(&read.reader).cloned() else {
            return self.read_of_stranger(read, dated, now);
        };
        let when = match dated {
            Some(Dated::Again(Some(decision))) => return self.kept_before(read, decision),
            // It waits for the disk already.
            Some(Dated::Again(None)) => return,
            Some(Dated::New { when, late }) => (when, late),
            None => (now.when, false),
        };
        let (when, late) = when;
        let tag = read.tag.as_ref().filter(|_| late);
        let read_since_boot = tag.and_then(|tag| self.repeats.read_at(&read.reader, tag));
        let named = read.tag.as_ref().map(|tag| TagRecord {
            boot: tag.boot.clone(),
            seq: tag.seq,
            mono_ms: tag.mono_ms,
        });
        let tag = read.tag.map(|tag| (tag.boot, tag.seq));
        if self.pending.values().filter(|pending| !pending.answered).count() >= MAX_PENDING {
            if let Some((boot, seq)) = &tag {
                self.repeats.forget(&read.reader, boot, *seq);
            } else {
                // Its reader keeps nothing.
                self.forget(when.earliest);
            }
            let answer = Answer { reader: read.reader, flash: Some(Colour::Red), tag, kept: None };
            self.outputs.push_back(Output::Answer(answer));
            return;
        }
        let under_way = if late { 0 } else { now.when.earliest.since_ms(when.earliest) };
        let (key, bits, verdict) = self.judge(&read.card, &reader, when);
        let at = if when.is_exact() { when.earliest } else { now.at.clamp(when.earliest, when.latest) };
        let ms = u64::try_from(at.0).unwrap_or(0);
        let record = SwipeRecord {
            id: uuid::Builder::from_unix_timestamp_millis(ms, &read.random).into_uuid(),
            reader: reader.id,
            code: reader.code.clone(),
            room: reader.room.map(|room| room.0),
            key: key.map_or_else(String::new, |key| hex(&key.0)),
            epoch: self.secret.epoch,
            bits,
            holder: verdict.holder.map(|holder| holder.0),
            at: at.0,
            earliest: when.earliest.0,
            latest: when.latest.0,
            boot: self.boot,
            since_boot: now.since_boot_ms - under_way,
            late,
            read: read_since_boot,
            trust: trust_word(now.trust).to_owned(),
            decision: decision_word(verdict.decision).to_owned(),
            reason: reason_word(verdict.reason).to_owned(),
            light: colour_word(verdict.flash()).to_owned(),
            sessions: verdict.credited.iter().map(|session| session.0).collect(),
            basis: self.basis.clone(),
            tag: named,
            considered: considered(&self.timetable, &verdict),
        };
        let ticket = self.ticket();
        let credited = verdict.holder.filter(|_| !verdict.credited.is_empty());
        self.pending.insert(
            ticket,
            Pending {
                reader: read.reader,
                tag,
                decision: verdict.decision,
                flash: verdict.flash(),
                credited: credited.map(|holder| (holder, verdict.credited.clone())),
                at: when.earliest,
                record: Box::new(record.clone()),
                answered: false,
            },
        );
        self.outputs.push_back(Output::Append { ticket, record: Box::new(record) });
    }

    /// A reader that the hub does not know of is at no door: nothing could be credited. Once it is named, what is sent again is
    /// new, and no younger than now; what is durable from before stays known.
    fn read_of_stranger(&mut self, read: Read, dated: Option<Dated>, now: Reading) {
        match (&read.tag, dated) {
            (_, Some(Dated::Again(Some(decision)))) => return self.kept_before(read, decision),
            (_, Some(Dated::Again(None))) => return,
            (Some(tag), _) => {
                self.repeats.forget(&read.reader, &tag.boot, tag.seq);
                let name = (tag.boot.clone(), tag.seq);
                if self.strangers.get(&read.reader) == Some(&name) {
                    return;
                }
                if self.strangers.len() >= MAX_STRANGERS {
                    self.strangers.pop_first();
                }
                self.strangers.insert(read.reader.clone(), name);
            }
            // Who knows at which door? Its reader keeps nothing.
            (None, _) if !self.is_configured => {
                self.forget(now.when.earliest);
            }
            (None, _) => {}
        }
        self.show_red(read.reader, read.tag.map(|tag| (tag.boot, tag.seq)));
    }

    /// It came before, and is durable.
    fn kept_before(&mut self, read: Read, decision: Decision) {
        let tag = read.tag.map(|tag| (tag.boot, tag.seq));
        let answer = Answer { reader: read.reader, flash: None, tag, kept: Some(decision) };
        self.outputs.push_back(Output::Answer(answer));
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    fn judge(
        &self,
        card: &Result<CardRead, CardError>,
        reader: &ReaderFacts,
        when: Uncertain,
    ) -> (Option<CardKey>, u16, Verdict) {
        let Ok(read) = card else { return (None, 0, Verdict::refused(Reason::CardUnreadable)) };
        if let Some(refused) = refuse_unusable(read) {
            return (None, read.bits(), refused);
        }
        let Some(key) = self.secret.key(read) else {
            return (None, read.bits(), Verdict::refused(Reason::CardUnknown));
        };
        let Some(room) = reader.room else {
            return (Some(key), read.bits(), Verdict::refused(Reason::NoOpenSession));
        };
        let already = |holder, session| self.credited.contains(&(holder, session));
        (Some(key), read.bits(), verdict(&self.timetable, room, &key, when, already))
    }

    fn durable(&mut self, ticket: u64, now: Reading) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        self.write_refused();
        if let Some((boot, seq)) = &pending.tag {
            self.repeats.remember(&pending.reader, boot, *seq, pending.decision);
        } else if pending.answered {
            return;
        }
        if let Some((holder, sessions)) = pending.credited {
            self.credit(holder, sessions);
        }
        // Where the disk took its time the next one may stand there by now. An MQTT reader itself knows for how long it has waited.
        let too_late = pending.tag.is_none() && now.since_boot_ms - pending.record.since_boot > FLASH_TTL_MS;
        self.outputs.push_back(Output::Answer(Answer {
            reader: pending.reader,
            // Whoever was refused has long gone; their MQTT reader still asks.
            flash: (!pending.answered && !too_late).then_some(pending.flash),
            tag: pending.tag,
            kept: Some(pending.decision),
        }));
    }

    /// There is room again: what was refused is written, as it was seen and shown.
    fn write_refused(&mut self) {
        self.refusing = None;
        while let Some(record) = self.refused.pop_front() {
            let ticket = self.ticket();
            let pending = Pending {
                reader: record.code.clone(),
                tag: record.tag.as_ref().map(|tag| (tag.boot.clone(), tag.seq)),
                decision: Decision::NotRecorded,
                flash: Colour::Red,
                credited: None,
                at: Instant(record.earliest),
                record: record.clone(),
                answered: true,
            };
            self.pending.insert(ticket, pending);
            self.outputs.push_back(Output::Append { ticket, record });
        }
    }

    /// There is no room for it: it is shown red, and kept in mind, as seen and shown. An MQTT reader keeps its swipe too,
    /// but may lose its power before there is room; while it is in mind here, one that comes again is the same.
    fn refused(&mut self, ticket: u64, now: Reading) {
        let Some(mut pending) = self.pending.remove(&ticket) else { return };
        // What a reader had kept for long was not refused for so long.
        let here = if pending.record.late { now.when.earliest } else { pending.at };
        self.refusing = Some(self.refusing.unwrap_or(now.when.earliest).min(here));
        let record = &mut pending.record;
        decision_word(Decision::NotRecorded).clone_into(&mut record.decision);
        reason_word(Reason::StoreFault).clone_into(&mut record.reason);
        colour_word(Colour::Red).clone_into(&mut record.light);
        record.sessions.clear();
        if self.refused.len() >= MAX_REFUSED
            && let Some(oldest) = self.refused.pop_front()
        {
            match &oldest.tag {
                // Its reader still has it.
                Some(tag) => self.repeats.forget(&oldest.code, &tag.boot, tag.seq),
                None => self.forget(Instant(oldest.earliest)),
            }
        }
        self.refused.push_back(pending.record);
        if !pending.answered {
            self.show_red(pending.reader, pending.tag);
        }
    }

    /// Nothing is kept of a swipe from then.
    fn forget(&mut self, at: Instant) {
        self.forgotten = Some(self.forgotten.map_or(at, |since| since.min(at)));
    }

    fn not_durable(&mut self, ticket: u64) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        if let Some((boot, seq)) = &pending.tag {
            self.repeats.forget(&pending.reader, boot, *seq);
        }
        if !pending.answered {
            self.show_red(pending.reader, pending.tag);
        }
    }

    fn show_red(&mut self, reader: String, tag: Option<(String, u64)>) {
        let flash = Some(Colour::Red);
        self.outputs.push_back(Output::Answer(Answer { reader, flash, tag, kept: None }));
    }

    fn credit(&mut self, holder: HolderId, sessions: impl IntoIterator<Item = SessionId>) {
        for session in sessions {
            // A courtesy that may be forgotten: the oldest sessions go first, by id, because ids grow with time.
            if self.credited.len() >= MAX_CREDITED {
                self.credited.pop_first();
            }
            self.credited.insert((holder, session));
        }
    }
}

/// Compares in the same time wherever they differ.
#[must_use]
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
#[path = "core/mind_tests.rs"]
mod tests;
