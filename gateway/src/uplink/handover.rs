//! What to say to the hub next, and what its answers mean. Sans-IO: `sender` reads the journal and asks the hub, and
//! so does the simulation of `tests`, with a network and a disk of its own.
//!
//! The caller asks [`HandOver::step`], does it, and tells what came of it: [`HandOver::heartbeat_answered`],
//! [`HandOver::submitted`] or [`HandOver::failed`].

use std::collections::BTreeMap;

use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::client::UplinkError;
use super::message::{Batch, clock_input};
use super::operations::{
    Counter, DateTime, Duration, GatewayHandedOver, GatewayHeartbeatInput, GatewayHeartbeatPayload,
    GatewayJournalInput, GatewaySubmitSwipesInput, GatewaySubmitSwipesPayload, ReceiptOutcome,
};
use super::place::{AtHub, Places};
use super::sign::SigningKey;
use crate::core::hex;
use crate::core::time::Source;
use crate::journal::log::{Segment, Stored};
use crate::journal::writer::Standing;

mod aside;
mod exchange;
mod failing;
mod parts;
mod status;

use aside::Aside;
use exchange::Exchange;
pub use parts::{More, Submission};
use parts::{behind, head, journals, report, states, together, unassigned};
pub use status::{ReaderStatus, Status, Unassigned};

/// How many records go into one batch, unless the hub says less.
const BATCH: usize = 500;
/// No fewer than these at once to a hub that answers too late.
const SLOW_BATCH: usize = 50;
/// How often the gateway says how it is, unless the hub says otherwise.
const HEARTBEAT_EVERY_MS: i64 = 60_000;
/// A reader that came or went is told at once, but no more often than this.
const STATES_EVERY_MS: i64 = 2_000;
/// How often a record that the hub turns down by itself is sent again before the others go on without it.
const TRIES_OF_ONE: u32 = 5;
/// So often the hub may fail at a batch, heartbeats between, before what is in it is taken to be at fault.
const FAILURES: u32 = 5;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send a heartbeat: [`HandOver::heartbeat`].
    Heartbeat,
    /// Read so many records from this one on, and send them: [`HandOver::batch`].
    Read {
        /// The journal that they belong to.
        journal: Uuid,
        /// The first.
        from: u64,
        /// How many at the most.
        limit: usize,
    },
    /// Nothing until something is durable, or for so many milliseconds.
    Wait(i64),
}

/// How far handing over is.
#[derive(Debug)]
pub struct HandOver {
    places: Places,
    /// In milliseconds since the machine's start, as the wall clock may be put back by the very answer.
    next_heartbeat: i64,
    /// Which readers were known and answered at the last heartbeat, and when that was, likewise.
    told: (BTreeMap<String, (bool, bool)>, i64),
    watermark: Instant,
    batch: usize,
    /// The hub was heard since the connection failed last: what it has is known.
    reconciled: bool,
    /// What it may have taken last.
    exchange: Exchange,
    /// When a heartbeat went again at once, in milliseconds since the machine's start.
    again_at: Option<i64>,
    /// How often the present single record was turned down.
    refused: u32,
    /// How often the hub has failed at batches since it took one.
    failures: u32,
    /// Those that were turned down so often that the others went on.
    aside: Aside,
    /// One of them is on its way.
    trying: Option<(Uuid, u64)>,
    /// What is asked of the hub is a batch, from this record on.
    submitting: Option<(Uuid, u64)>,
    /// The hub has another journal of the name of one of these: how far this one has come it is to be asked before more is sent.
    forked: bool,
}

impl Default for HandOver {
    fn default() -> Self {
        Self {
            places: Places::default(),
            next_heartbeat: 0,
            told: (BTreeMap::new(), 0),
            // Until the hub said what it has, nothing is said to be handed over.
            watermark: Instant(0),
            batch: BATCH,
            reconciled: false,
            exchange: Exchange::default(),
            again_at: None,
            refused: 0,
            failures: 0,
            aside: Aside::default(),
            trying: None,
            submitting: None,
            forked: false,
        }
    }
}

impl HandOver {
    /// What to do next. `standing` must be taken after `status`.
    #[must_use]
    pub fn step(&self, status: &Status, standing: &Standing) -> Step {
        let known = standing.segments.iter().all(|segment| self.places.knows(segment.journal));
        if !self.reconciled || !known || status.now.since_boot_ms >= self.due(status) {
            return Step::Heartbeat;
        }
        let due = self.aside.due(|journal, sequence| sequence <= self.places.through(journal));
        if let Some((journal, from)) = due {
            return Step::Read { journal, from, limit: 1 };
        }
        match self.places.next(&standing.segments) {
            Some((journal, from)) => {
                let most = if status.max_batch > 0 { status.max_batch } else { BATCH };
                Step::Read { journal, from, limit: self.batch.min(most) }
            }
            None => Step::Wait(self.due(status) - status.now.since_boot_ms),
        }
    }

    /// When the next heartbeat is due, in milliseconds since the machine's start.
    fn due(&self, status: &Status) -> i64 {
        let (told, at) = &self.told;
        if states(status) == *told {
            return self.next_heartbeat;
        }
        self.next_heartbeat.min(at + STATES_EVERY_MS)
    }

    /// How far each journal is handed over.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The next heartbeat.
    #[must_use]
    pub fn heartbeat(&mut self, status: &Status, standing: &Standing, more: More) -> GatewayHeartbeatInput {
        let previous = self.exchange.previous();
        let said = journals(standing).into_iter().map(|journal| {
            // What was passed over is not claimed to be there, or the hub would wait for it for ever.
            let through = self.places.through(journal);
            // Where the hub turned something down, it has less than that: so long it takes no watermark.
            let claimed = match self.aside.any_before(journal, u64::MAX) {
                true => through,
                false => self.places.at_hub(journal),
            };
            let after = self.places.knows(journal).then_some(Counter(claimed));
            let journal_id = self.places.name(journal);
            GatewayJournalInput {
                journal_id,
                fork_of: (journal_id != journal).then_some(journal),
                after,
                first: None,
                begins: None,
                through: Counter(through),
                chain: None,
            }
        });
        let age = status.current_at.map_or(0, |at| status.now.at.since_ms(at).max(0));
        GatewayHeartbeatInput {
            heartbeat_id: Some(self.exchange.beats()),
            previous: Some(previous),
            sent_at: DateTime(status.now.at.0),
            watermark: DateTime(self.heartbeat_watermark(status, standing).0),
            clock: clock_input(status.now, more.source),
            backlog: i32::try_from(self.places.backlog(&standing.segments)).unwrap_or(i32::MAX),
            oldest_backlog_age: more.oldest_age_ms.map(Duration),
            cache_cursor: status.basis.clone(),
            cache_age: Duration(age),
            free_disk_bytes: more.free_bytes.map(Counter),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            readers: status.readers.iter().map(report).collect(),
            journals: Some(said.collect()),
            anchors: None,
            unassigned: Some(status.unassigned.iter().map(unassigned).collect()),
            held_back: Some(i32::try_from(self.aside.len()).unwrap_or(i32::MAX)),
            journal_percent: i32::try_from(standing.usage.percent()).ok(),
            cache_damaged: Some(more.cache_damaged),
        }
    }

    fn heartbeat_watermark(&self, status: &Status, standing: &Standing) -> Instant {
        let all = self.reconciled && self.aside.len() == 0 && self.places.next(&standing.segments).is_none();
        if all { status.durable_before } else { self.watermark }
    }

    /// The record whose chain value [`HandOver::learn`] needs, if it is on this disk.
    #[must_use]
    pub fn wanted(&self, standing: &Standing, has: &GatewayHandedOver) -> Option<u64> {
        let (through, journal) = (has.through.0, self.places.journal(has.journal_id));
        let ours = standing.segments.iter().filter(|segment| segment.journal == journal);
        let mut here = ours.filter(|segment| (segment.first..=segment.last).contains(&through));
        (through > 0 && here.next().is_some()).then_some(through)
    }

    /// Takes in what the hub has of a journal; `found` is the record that [`HandOver::wanted`] named, as far as it
    /// could be read. `true` when the journal must go on under another id, which is `fresh` then.
    pub fn learn(
        &mut self,
        standing: &Standing,
        has: &GatewayHandedOver,
        found: Option<&Stored>,
        fresh: Uuid,
    ) -> bool {
        let at_hub = AtHub { name: has.journal_id, through: has.through.0, chain: has.chain.clone() };
        let journal = self.places.journal(has.journal_id);
        let ours = || standing.segments.iter().filter(|segment| segment.journal == journal);
        let dropped = ours().next().is_none_or(|segment| at_hub.through < segment.first);
        // One that cannot be read any more may have been another: what the hub has already it knows again.
        let own = found.filter(|it| it.sequence == at_hub.through).map(|it| hex(&it.chain));
        let before = self.places.through(journal);
        let next = if journal == standing.journal { fresh } else { behind(standing, journal) };
        let forked = self.places.learn(&at_hub, own.as_deref(), dropped, next);
        self.forked |= forked;
        if self.places.through(journal) < before {
            // It came from a backup: what was said to be handed over is not there any more.
            self.watermark = Instant(0);
        }
        forked && journal == standing.journal
    }

    /// The heartbeat that was made from this was answered, and what it said of journals was learnt.
    ///
    /// # Errors
    /// When the hub turned it down.
    pub fn heartbeat_answered(
        &mut self,
        status: &Status,
        standing: &Standing,
        answer: &GatewayHeartbeatPayload,
    ) -> Result<(), UplinkError> {
        if let Some(error) = answer.errors.first() {
            return Err(UplinkError::Refused(error.message.clone()));
        }
        for journal in journals(standing) {
            // A journal that the hub said nothing of has nothing there.
            self.places.advance(journal, 0);
        }
        self.exchange.answered(answer.in_step, answer.last_taken);
        if !answer.in_step {
            self.out_of_step();
        }
        self.reconciled = !std::mem::take(&mut self.forked);
        self.aside.again();
        let every = if status.heartbeat_ms > 0 { status.heartbeat_ms } else { HEARTBEAT_EVERY_MS };
        let now = status.now.since_boot_ms;
        // What it did not take is said again at once; two machines of one name would go on with that without an end.
        let again = !answer.in_step && self.again_at.is_none_or(|at| now - at >= every);
        self.again_at = if again { Some(now) } else { self.again_at };
        self.next_heartbeat = if again { now } else { now + every };
        self.told = (states(status), now);
        Ok(())
    }

    /// The next batch, from what was read; `None` when there is nothing to send of it, which is noted.
    pub fn batch(
        &mut self,
        (journal, from): (Uuid, u64),
        mut stored: Vec<Stored>,
        status: &Status,
        standing: &Standing,
        key: Option<&SigningKey>,
        source: Option<Source>,
    ) -> Option<Submission> {
        stored.retain(|it| it.journal == journal);
        let trying = self.aside.holds(journal, from) && from <= self.places.through(journal);
        if trying && stored.first().is_none_or(|it| it.sequence != from) {
            // It rots: that is told of elsewhere, and what came behind it goes once more.
            self.aside.remove(journal, from);
            self.places.back_to(journal, self.places.at_hub(journal));
            return None;
        }
        if !trying && let Some(first) = stored.first().map(|it| it.sequence) {
            if self.aside.holds(journal, first) {
                self.places.advance(journal, first);
                return None;
            }
            let aside = self.aside.first_from(journal, first).unwrap_or(u64::MAX);
            stored.retain(|it| it.sequence < aside);
        }
        together(&mut stored);
        let mut batch = Batch::default();
        // What this version cannot say is held back, for one that can.
        let sayable = stored.iter().take_while(|it| batch.add(it)).count();
        if sayable == 0
            && let Some(first) = stored.first().map(|it| it.sequence)
        {
            self.aside.insert(journal, first);
            self.places.advance(journal, first);
            return None;
        }
        stored.truncate(sayable);
        let (Some(first), Some(last)) = (stored.first(), stored.last()) else {
            // What stood there cannot be read any more; the damage is reported elsewhere.
            self.aside.remove(journal, from);
            let segments = standing.segments.iter().filter(|it| it.journal == journal && it.last >= from);
            self.places.advance(journal, segments.map(|it| it.last).min().unwrap_or(from));
            return None;
        };
        let through = last.sequence;
        if !trying && self.batch == 1 && self.refused >= TRIES_OF_ONE {
            tracing::error!(
                sequence = through,
                "the hub takes this record by no means; it stays in the journal, and the others go on"
            );
            (self.refused, self.batch) = (0, BATCH);
            self.aside.insert(journal, through);
            self.places.advance(journal, through);
            return None;
        }
        self.trying = trying.then_some((journal, from));
        self.submitting = Some((journal, first.sequence));
        let mut after = self.places.clone();
        after.advance(journal, through);
        // With the last of all that is durable, everything before now is handed over: unless some were turned down, of whatever
        // journal (what came after them is sent once more), or some could not be read, of which the hub is not told yet.
        let held_back = trying || self.aside.len() > 0;
        let whole = first.sequence == from && last.sequence - first.sequence + 1 == stored.len() as u64;
        let all = whole && !held_back && after.next(&standing.segments).is_none();
        // A batch names its own journal alone: where there are others, the next heartbeat says how far they all are.
        let watermark = match journals(standing).iter().all(|it| *it == journal) {
            true if all => status.durable_before,
            true => self.watermark,
            false => Instant(0),
        };
        // Behind what was turned down the hub is told that something is missing: nobody is absent for it meanwhile.
        let done = match self.aside.any_before(journal, first.sequence) {
            true => first.sequence - 1,
            false => self.places.at_hub(journal),
        };
        // A journal of which there are two of that name is signed by neither.
        let is_own = self.places.name(journal) == journal;
        let key = key.filter(|_| is_own);
        let head = head(key, first, last, batch.links, status.now.at);
        let swipes = batch.swipes.len();
        let input = GatewaySubmitSwipesInput {
            previous: Some(self.exchange.previous()),
            batch_id: self.exchange.submits(),
            sent_at: DateTime(status.now.at.0),
            clock: clock_input(status.now, source),
            backlog_after: i32::try_from(after.backlog(&standing.segments)).unwrap_or(i32::MAX),
            watermark: DateTime(watermark.0),
            journal: Some(GatewayJournalInput {
                journal_id: self.places.name(journal),
                fork_of: (!is_own).then_some(journal),
                after: (done > 0).then_some(Counter(done)),
                first: Some(Counter(first.sequence)),
                begins: is_own.then(|| Counter(standing.begins(journal))),
                through: Counter(through),
                chain: Some(hex(&last.chain)),
            }),
            outages: Some(batch.outages),
            anchors: Some(batch.anchors),
            reader_events: Some(batch.reader_events),
            head,
            swipes: batch.swipes,
        };
        Some(Submission { input, journal, through, watermark, swipes })
    }

    /// A batch was answered. `true` when the journal must go on under another id.
    ///
    /// # Errors
    /// When the hub turned it down, or its answer is none.
    pub fn submitted(
        &mut self,
        sent: &Submission,
        answer: &GatewaySubmitSwipesPayload,
        standing: &Standing,
    ) -> Result<bool, UplinkError> {
        if let Some(error) = answer.errors.first() {
            return Err(UplinkError::Refused(error.message.clone()));
        }
        self.submitting = None;
        let renew = self.taken(sent, answer)?;
        self.exchange.answered(answer.in_step, answer.last_taken);
        if !answer.in_step {
            // It is to say how far everything is before it is sent more.
            self.reconciled = false;
            self.out_of_step();
        }
        Ok(renew && sent.journal == standing.journal)
    }

    /// Takes in what was answered to a batch; gives whether the journal must be renewed.
    fn taken(&mut self, sent: &Submission, answer: &GatewaySubmitSwipesPayload) -> Result<bool, UplinkError> {
        if answer.receipts.len() != sent.swipes {
            let words = format!("{} receipts for {} swipes", answer.receipts.len(), sent.swipes);
            return Err(UplinkError::BadAnswer(words));
        }
        for receipt in &answer.receipts {
            if receipt.outcome == ReceiptOutcome::Rejected {
                let why = receipt.error.as_ref().map_or("", |error| error.message.as_str());
                tracing::error!(swipe = %receipt.swipe_id, "the hub set a swipe aside: {why}");
            }
        }
        if let Some((journal, sequence)) = self.trying.take() {
            self.aside.remove(journal, sequence);
            if answer.handed_over.first().is_none_or(|has| has.through.0 >= sequence) {
                // Now it can take what came after in order: it has all of it, and knows it again.
                self.places.handed_over(journal, sequence);
                self.places.back_to(journal, sequence);
            }
            return Ok(answer.renew_journal);
        }
        match answer.handed_over.first() {
            // It lacks something before this batch: ask what, and go on from there.
            Some(has) if has.through.0 < sent.through => {
                // It lacks what it turned down itself, and nothing else.
                let known = has.through.0 == self.places.at_hub(sent.journal);
                if known && self.aside.any_before(sent.journal, sent.through + 1) {
                    self.places.advance(sent.journal, sent.through);
                } else {
                    self.reconciled = false;
                }
            }
            _ => {
                self.places.handed_over(sent.journal, sent.through);
                if answer.in_step {
                    self.watermark = self.watermark.max(sent.watermark);
                }
            }
        }
        (self.refused, self.failures) = (0, 0);
        self.batch = BATCH.min(self.batch * 2);
        Ok(answer.renew_journal)
    }

    /// The hub does not know what it took of this gateway last: it came back from a backup.
    fn out_of_step(&mut self) {
        tracing::warn!(
            "the hub has not what it said last to have: it was restored from a backup, or another machine goes by this \
             gateway's name; it is told anew"
        );
        self.watermark = Instant(0);
        // Of what came behind a record that it lacks it does not say what it has, so that goes once more.
        for journal in self.aside.journals() {
            (self.refused, self.batch) = (0, BATCH);
            self.places.back_to(journal, self.places.at_hub(journal).min(self.places.through(journal)));
        }
    }

    /// Whether a segment holds a record that the hub turned down.
    #[must_use]
    pub fn holds_back(&self, segment: &Segment) -> bool {
        self.aside.first_from(segment.journal, segment.first).is_some_and(|first| first <= segment.last)
    }
}
