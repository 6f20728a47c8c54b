//! One gateway of the simulation: the real mind, journal, timekeeping and handing-over, on a disk, a clock and a
//! network that are simulated. Only the wiring of `gateway::app` is done again here, without its tasks.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_gateway::core::outages::{Cause, Outages};
use rollcall_gateway::core::time::{Kept, Timekeeper};
use rollcall_gateway::core::undated::Undated;
use rollcall_gateway::core::{Change, Gateway, Input, Output, Read, ReaderClock, Tag};
use rollcall_gateway::journal::log::{Damage, JournalError, Limits, Log, Stored};
use rollcall_gateway::journal::lost;
use rollcall_gateway::journal::record::Record;
use rollcall_gateway::journal::writer::Standing;
use rollcall_gateway::timetable::item::{CachedConfig, CachedItem};
use rollcall_gateway::uplink::handover::{HandOver, Status};
use rollcall_rules::anchor::{Anchor, NEGLIGIBLE_MS};
use rollcall_rules::card::CardRead;
use rollcall_rules::light::Colour;
use rollcall_rules::time::{Instant, Uncertain};
use uuid::Uuid;

use super::answer::{Shown, Taken};
use super::disk::SimDisk;
use super::machine::Machine;
use super::refusing::Untold;
use super::running::Running;
use super::world::Minted;

mod timetable;

/// Small segments, so that a run has many.
const LIMITS: Limits = Limits { segment: 16 * 1024, quota: 1024 * 1024 };
/// How many records are written at once: no more than a segment holds.
const GROUP: usize = 8;
/// Tickets of notes begin here.
const NOTES: u64 = 1 << 63;

/// A gateway: its disk and machine, and its program while it runs.
pub(super) struct SimGateway {
    /// Its id at the hub.
    pub id: Uuid,
    /// Its disk.
    pub disk: SimDisk,
    /// Its machine.
    pub machine: Machine,
    /// What the clock's file holds.
    pub kept: Option<Kept>,
    /// The clock's file cannot be written before then.
    pub clock_kept_from: i64,
    /// What the file of refusals holds.
    pub refusing: Option<(i64, bool)>,
    /// When it said that it refused swipes of which it knows nothing any more, or lost records.
    pub refused: Vec<(i64, i64)>,
    /// Its timetable, from the hub.
    pub items: Vec<(Uuid, CachedItem)>,
    /// Its configuration, from the hub.
    pub config: CachedConfig,
    /// Shows green before the sync: a control.
    pub hasty: bool,
    /// Tells of no outage: a control.
    pub mute: bool,
    /// Its cache cannot be read at the next start, and until the hub has named its readers again.
    pub cache_lost: bool,
    /// Damage that was found at starts though no medium was harmed.
    pub damage: Vec<Damage>,
    running: Option<Running>,
}

impl SimGateway {
    /// A gateway that is off.
    #[must_use]
    pub(super) fn new(id: Uuid, disk: SimDisk, machine: Machine) -> Self {
        Self {
            id,
            disk,
            machine,
            kept: None,
            clock_kept_from: 0,
            refusing: None,
            refused: Vec::new(),
            items: Vec::new(),
            config: CachedConfig::default(),
            hasty: false,
            mute: false,
            cache_lost: false,
            damage: Vec::new(),
            running: None,
        }
    }

    /// Whether its program runs.
    #[must_use]
    pub(super) fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Starts the program; it may fail, as it would.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub(super) fn start(&mut self, now: i64) -> Result<(), JournalError> {
        let mut keeper = Timekeeper::new(self.machine.boot, self.kept.as_ref(), None);
        let reading = keeper.read(self.machine.sample(now));
        let mut mind = Gateway::new(self.machine.boot);
        let (mut outages, mut last, mut undated) = (Outages::default(), None, Undated::default());
        let mut told = BTreeSet::new();
        let (mut log, damages) = Log::open(self.disk.clone(), self.machine.fresh_id(), LIMITS, |stored| {
            let Ok(record) = Record::read(&stored.body) else { return };
            match &record {
                Record::Swipe(swipe) => {
                    mind.remember(swipe, reading);
                }
                Record::Outage(outage) => {
                    told.insert(outage.id);
                    outages.remember(outage, reading);
                }
                Record::Anchor(_) | Record::Reader(_) => {}
            }
            last = record.written_between().map(|(earliest, _)| earliest).or(last);
            undated.remember(&record);
        })?;
        let segments: Vec<String> = log
            .segments()
            .map(|it| format!("{} {} {}..={}", &it.journal.to_string()[..4], it.name, it.first, it.last))
            .collect();
        tracing::info!(now, ?segments, next = log.next_sequence(), ?damages, "gateway starts");
        if let Some(last) = last {
            keeper.at_least(last);
        }
        let mut notes = Vec::new();
        if let Some((since, swipes)) = self.refusing {
            mind.refused_before(Instant(since));
            if swipes {
                notes.push(outages.over(
                    self.machine.fresh_id(),
                    Cause::SwipesRefused,
                    Some(Instant(since)),
                    reading,
                ));
                self.refused.push((since, now));
            }
        }
        if log.is_blank() {
            notes.push(outages.over(self.machine.fresh_id(), Cause::StorageLost, None, reading));
        }
        // Holes in a torn group are told of too, lest a medium lost them; here it was the power.
        for damage in &damages {
            if !damage.torn_tail && !damage.known {
                self.damage.push(damage.clone());
            }
            for told in lost::between(&mut log, damage, reading, &mut outages, &told)? {
                // Without a time it may be a later start that says when it was over at the latest.
                self.refused.push((told.from.unwrap_or(i64::MIN), told.until.unwrap_or(i64::MAX).max(now)));
                notes.push(told);
            }
        }
        log.make_reserve()?;
        let alive = self.kept.as_ref().map(|kept| Instant(kept.floor)).or(last);
        let readers = if self.cache_lost { Vec::new() } else { self.config.reader_facts() };
        if self.cache_lost {
            notes.extend(outages.unknowing(alive, reading, self.machine.fresh_id()));
        } else {
            let changes = self.items.iter().map(|(id, item)| Change::Upsert(item.fact(*id))).collect();
            mind.handle(Input::Facts { changes, replace: true, basis: "sim".to_owned() }, reading);
        }
        let ids = readers.iter().map(|reader| reader.id);
        notes.extend(outages.started(ids.clone(), alive, reading, || self.machine.fresh_id()));
        // As whenever the hub names them: those that have not answered are out from now on.
        let cause = Cause::ReaderUnreachable;
        notes.extend(ids.filter_map(|id| outages.down(id, cause, 0, reading, self.machine.fresh_id())));
        if !self.cache_lost {
            mind.handle(Input::Config { readers, secret: self.config.card_secret() }, reading);
        }
        let mut running = Running {
            last_durable: log.next_sequence().saturating_sub(1),
            log,
            mind,
            keeper,
            handover: HandOver::default(),
            queue: Vec::new(),
            next_note: NOTES,
            outages,
            mute: self.mute,
            undated,
            untold: Untold::default(),
            kept_tie: None,
            waiting: BTreeMap::new(),
            written_again: BTreeMap::new(),
            answered: Vec::new(),
        };
        running.tell(notes);
        self.running = Some(running);
        self.keep_refusals();
        Ok(())
    }

    /// The program is gone, as after SIGKILL. Swipes under way never get an answer.
    pub(super) fn kill(&mut self) -> Vec<Shown> {
        let Some(running) = self.running.take() else { return Vec::new() };
        let silent = |swipe| Shown { swipe, place: None, flash: None, kept: None };
        running.waiting.into_values().map(silent).collect()
    }

    /// Since when something could not be recorded, as in `gateway::app`.
    fn keep_refusals(&mut self) {
        let Some(running) = &self.running else { return };
        let refusing = running.mind.refusing_since().map(|at| at.0);
        let forgotten = running.mind.forgotten_since().map(|at| at.0);
        let swipes = [refusing, forgotten, running.untold.since(false)].into_iter().flatten().min();
        let waiting = refusing.is_some() || running.untold.turned_away();
        let notes = running.untold.since(true).filter(|_| waiting);
        let since = swipes.into_iter().chain(notes).min();
        self.refusing = since.map(|since| (since, swipes.is_some()));
    }

    /// Writes the clock's file, if that can be had.
    fn keep(&mut self, now: i64) {
        if let Some(running) = self.running.as_ref().filter(|_| now >= self.clock_kept_from) {
            self.kept = Some(running.keeper.kept());
        }
    }

    /// The time is kept before anything is shown by it, as in `gateway::app`.
    fn keep_new_time(&mut self, now: i64) {
        let Some(running) = &mut self.running else { return };
        let start = |anchor: Anchor| anchor.at.since_ms(Instant(anchor.since_boot_ms));
        let tie = running.keeper.tie().map(|(anchor, source)| (source, start(anchor)));
        let same = match (running.kept_tie, tie) {
            (Some((kept, was)), Some((source, is))) => kept == source && (is - was).abs() < NEGLIGIBLE_MS,
            (kept, tie) => kept.is_none() && tie.is_none(),
        };
        if !same {
            running.kept_tie = tie;
            self.keep(now);
        }
    }

    /// A reader answers; of an MQTT one that has connected the clock is known where it was told at once.
    pub(super) fn online(&mut self, reader: &str, clock: Option<ReaderClock>, now: i64) {
        let sample = self.machine.sample(now);
        self.keep_new_time(now);
        if let Some(running) = &mut self.running {
            let reading = running.keeper.read(sample);
            running.mind.handle(Input::Online { reader: reader.to_owned(), clock }, reading);
            let id = running.mind.reader(reader).map(|reader| reader.id);
            let ended = id.and_then(|id| running.outages.up(id, reading));
            running.tell(ended);
        }
    }

    /// A reader does not answer, since so long.
    pub(super) fn offline(&mut self, reader: &str, since_ms: i64, now: i64) {
        let sample = self.machine.sample(now);
        self.keep_new_time(now);
        if let Some(running) = &mut self.running {
            let reading = running.keeper.read(sample);
            let id = running.mind.reader(reader).map(|reader| reader.id);
            let cause = Cause::ReaderUnreachable;
            let began =
                id.and_then(|id| running.outages.down(id, cause, since_ms, reading, self.machine.fresh_id()));
            running.tell(began);
        }
    }

    /// It can take swipes, and date them to the second.
    pub(super) fn is_sound(&mut self, now: i64) -> bool {
        let sample = self.machine.sample(now);
        let Some(running) = &mut self.running else { return false };
        running.mind.refusing_since().is_none() && running.keeper.read(sample).when.is_exact()
    }

    /// A reader tells of a card.
    pub(super) fn swipe(
        &mut self,
        reader: &str,
        card: CardRead,
        tag: Option<Tag>,
        random: [u8; 10],
        now: i64,
    ) -> Taken {
        let hasty = self.hasty;
        let sample = self.machine.sample(now);
        self.keep_new_time(now);
        let Some(running) = self.running.as_mut() else { return Taken::Nothing };
        let reading = running.keeper.read(sample);
        let read = Read { reader: reader.to_owned(), card: Ok(card), tag, random };
        running.mind.handle(Input::Read(read), reading);
        let mut taken = Taken::Nothing;
        while let Some(output) = running.mind.poll_output() {
            match output {
                Output::Append { ticket, record } => {
                    let when =
                        Uncertain { earliest: Instant(record.earliest), latest: Instant(record.latest) };
                    taken = Taken::New(Minted::new(record.id, when));
                    if hasty {
                        let flash = rollcall_gateway::walk::colour(&record.light);
                        running.answered.push(Shown { swipe: record.id, place: None, flash, kept: None });
                    }
                    running.undated.swiped(&record);
                    running.waiting.insert(ticket, record.id);
                    let swipe = Some(record.id);
                    let body = Record::Swipe(record).body().unwrap_or_default();
                    running.queue.push((ticket, body, swipe));
                }
                Output::Answer(answer) if answer.kept.is_some() => taken = Taken::Kept,
                _ => {}
            }
        }
        // As in `gateway::app`: before anybody sees red for it.
        self.keep_refusals();
        taken
    }

    /// The disk gets to what waits for it; gives what was then shown. `Err` when the program ended over it.
    ///
    /// # Errors
    /// When the disk failed.
    pub(super) fn write(&mut self, now: i64) -> Result<Vec<Shown>, Vec<Shown>> {
        let sample = self.machine.sample(now);
        self.keep_new_time(now);
        let Some(running) = &mut self.running else { return Ok(Vec::new()) };
        let reading = running.keeper.read(sample);
        let mut shown = std::mem::take(&mut running.answered);
        if running.queue.is_empty() {
            if running.log.make_reserve().and_then(|()| running.log.keep_end(false)).is_err() {
                shown.extend(self.kill());
                return Err(shown);
            }
            return Ok(shown);
        }
        let group: Vec<_> = running.queue.drain(..running.queue.len().min(GROUP)).collect();
        let bodies: Vec<Vec<u8>> = group.iter().map(|(_, body, _)| body.clone()).collect();
        let written = running.log.append(&bodies);
        let refusing = running.mind.refusing_since();
        let mut places = BTreeMap::new();
        let mut fatal = false;
        match written {
            Ok(first) => {
                for ((ticket, _, swipe), sequence) in group.iter().zip(first..) {
                    running.last_durable = sequence;
                    if let Some(swipe) = swipe {
                        places.insert(*swipe, (running.log.journal(), sequence));
                    }
                    if *ticket < NOTES {
                        running.mind.handle(Input::Durable { ticket: *ticket }, reading);
                    } else {
                        running.untold.durable(*ticket);
                    }
                }
            }
            Err(error) => {
                let full = matches!(error, JournalError::Full(_));
                tracing::info!(now, waiting = group.len(), "the journal takes nothing: {error}");
                fatal = !full;
                // Whoever sees red now was there: the next start must say so. Where the power went nobody saw anything.
                if fatal && !self.disk.state().cut {
                    let known = self.refusing.filter(|(_, swipes)| *swipes).map(|(since, _)| since);
                    let since = running.mind.unkept_since(reading.when.earliest).0;
                    let known = [known, running.untold.since(false), running.untold.down_since()];
                    let since = known.into_iter().flatten().fold(since, i64::min);
                    self.refusing = Some((since, true));
                }
                for (ticket, body, _) in &group {
                    let ticket = *ticket;
                    match (ticket < NOTES, full) {
                        (true, true) => {
                            running.written_again.remove(&ticket);
                            running.mind.handle(Input::Refused { ticket }, reading);
                        }
                        (true, false) => running.mind.handle(Input::NotDurable { ticket }, reading),
                        // A note waits until there is room.
                        (false, _) => {
                            running.untold.refused();
                            running.queue.push((ticket, body.clone(), None));
                        }
                    }
                }
            }
        }
        running.note_room(refusing, reading);
        shown.extend(running.answers(&places));
        if fatal {
            shown.extend(self.kill());
            // Where the power went nobody saw red.
            if self.disk.state().cut {
                let red = |it: &&mut Shown| it.flash == Some(Colour::Red);
                shown.iter_mut().filter(red).for_each(|it| it.flash = None);
            }
            return Err(shown);
        }
        self.keep_refusals();
        Ok(shown)
    }

    /// Once a minute: what must survive is kept, and a tie of time is journalled where swipes need it.
    pub(super) fn minute(&mut self, now: i64) {
        let boot = self.machine.boot;
        let Some(running) = &mut self.running else { return };
        let reading = running.keeper.read(self.machine.sample(now));
        let dated = running.outages.dated(reading);
        running.tell(dated);
        running.mind.handle(Input::Tick, reading);
        let refusing = running.mind.refusing_since();
        if refusing.is_some() && running.log.usage().has_room {
            running.mind.handle(Input::Room, reading);
            running.note_room(refusing, reading);
            let shown = running.answers(&BTreeMap::new());
            running.answered.extend(shown);
        }
        if running.mind.refusing_since().is_none()
            && let Some(since) = running.mind.take_forgotten()
        {
            let told = running.outages.over(
                self.machine.fresh_id(),
                Cause::SwipesRefused,
                reading.dates(since),
                reading,
            );
            self.refused.push((reading.dates(since).map_or(i64::MIN, |since| since.0), now));
            running.tell(Some(told));
        }
        self.keep(now);
        let Some(running) = &mut self.running else { return };
        // Where the disk fails, the next append says so.
        let _ = running.log.keep_end(true);
        let tie = running.keeper.tie().map(|(anchor, source)| (boot, anchor, source));
        for dated in running.undated.date(tie, running.keeper.earlier_tie()) {
            tracing::info!(now, ?dated, "a start is tied to real time");
            running.note(&Record::Anchor(dated));
        }
        self.keep_refusals();
    }

    /// The hub said what time it is.
    pub(super) fn hub_says(&mut self, at: i64, asked: i64, answered: i64) {
        let (asked, answered) = (self.machine.since_boot(asked), self.machine.since_boot(answered));
        if let Some(running) = &mut self.running {
            running.keeper.hub_says(Instant(at), asked, answered);
        }
    }

    /// How it is, and how its journal stands.
    pub(super) fn status(&mut self, now: i64) -> Option<(Status, Standing)> {
        let sample = self.machine.sample(now);
        self.keep_new_time(now);
        let running = self.running.as_mut()?;
        let reading = running.keeper.read(sample);
        let status = Status {
            now: reading,
            durable_before: running
                .mind
                .durable_before(reading.when.earliest)
                .min(Instant(running.untold.untold().unwrap_or(i64::MAX))),
            last_durable: running.last_durable,
            basis: running.mind.basis().to_owned(),
            readers: Vec::new(),
            unassigned: Vec::new(),
            current_at: None,
            heartbeat_ms: 60_000,
            max_batch: 7,
        };
        let standing = Standing {
            journal: running.log.journal(),
            next: running.log.next_sequence(),
            segments: running.log.segments().cloned().collect(),
            usage: running.log.usage(),
        };
        Some((status, standing))
    }

    /// Reads what is to be handed over. Damage that shows is told of first.
    pub(super) fn read(&mut self, from: u64, limit: usize, now: i64) -> Option<Vec<Stored>> {
        let sample = self.machine.sample(now);
        let running = self.running.as_mut()?;
        let read = running.log.read(from, limit).ok();
        let reading = running.keeper.read(sample);
        for damage in running.log.take_news() {
            for hole in lost::holes(&mut running.log, &damage) {
                let from = hole.from.map_or(i64::MIN, |from| from.0);
                self.refused.push((from, hole.until.map_or(now, |until| until.0)));
                let lost = hole.outage(&mut running.outages, reading);
                running.tell(Some(lost));
            }
        }
        read
    }

    /// Its handing-over, and its journal to read from.
    pub(super) fn uplink(&mut self) -> Option<(&mut HandOver, &mut Log<SimDisk>)> {
        self.running.as_mut().map(|running| (&mut running.handover, &mut running.log))
    }

    /// Whether something waits for the disk.
    #[must_use]
    pub(super) fn has_work(&self) -> bool {
        self.running.as_ref().is_some_and(|it| !it.queue.is_empty() || !it.answered.is_empty())
    }
}
