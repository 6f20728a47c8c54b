//! The gateway's hands: one task that owns the mind, tells it what happens and does what it says.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use rollcall_rules::light::Colour;
use rollcall_rules::time::Instant;
use rollcall_rules::verdict::Decision;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::channels::Hearing;
use super::notes::Notes;
use super::refusals::{Refusals, Unrecorded};
use crate::ascii::line as ascii;
use crate::ascii::line::LightOrder;
use crate::aside::{aside, comes, goes_on};
use crate::clock::{Clock, Source};
use crate::core::outages::Outages;
use crate::core::undated::Undated;
use crate::core::{Answer, Gateway, Input, Output};
use crate::journal::log::JournalError;
use crate::journal::record::{ReaderRecord, Record, SwipeRecord};
use crate::journal::writer::{Journal, Standing, Written};
use crate::mqtt::client::{MqttOrder, ReaderSaid};
use crate::osdp::bus::BusOrder;
use crate::osdp::command::LedColour;
use crate::osdp::panel::{Event, LineQuality};
use crate::page::DoorsAsk;
use crate::page::look::{Doors, RECENT, Recent};
use crate::timetable::item::CachedConfig;
use crate::timetable::{Cache, CacheError};
use crate::uplink::sender::StatusAsk;
use crate::walk::WalkAsk;

/// How long a fatal fault leaves readers to show red before the gateway ends.
const LAST_RED: Duration = Duration::from_secs(2);
/// How long lights get to go off when the gateway stops.
const LAST_OFF: Duration = Duration::from_millis(600);
/// How often what must survive a restart is kept, and the journal's fill is looked at.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// After so much from MQTT readers in a row all others have a turn, for what comes from them may have no pause.
const MQTT_IN_A_ROW: u32 = 64;

/// Where a reader hangs.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnBus {
    pub(super) bus: usize,
    pub(super) address: u8,
}

/// How a reader is, beside what the mind knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) online: bool,
    pub(super) firmware: Option<String>,
    pub(super) serial: Option<u32>,
    /// When it was last told that such a thing happened to it, in milliseconds since the machine's start.
    pub(super) happened: BTreeMap<&'static str, i64>,
    /// What hangs on its inputs: whether each is active, and whether the hub was told so.
    pub(super) inputs: BTreeMap<usize, (bool, bool)>,
    /// What happened to it and could not be told yet.
    pub(super) untold: Vec<ReaderRecord>,
    pub(super) last_swipe: Option<Instant>,
    pub(super) line: Option<LineQuality>,
}

/// The gateway's hands.
pub(super) struct Hands {
    pub(super) mind: Gateway,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) journal: Journal,
    pub(super) notes: Notes,
    pub(super) refusals: Refusals,
    pub(super) outages: Outages,
    pub(super) buses: Vec<mpsc::Sender<BusOrder>>,
    /// The lights of serial readers that print card numbers, by code.
    pub(super) ascii: BTreeMap<String, mpsc::Sender<LightOrder>>,
    pub(super) mqtt: Option<mpsc::Sender<MqttOrder>>,
    pub(super) places: BTreeMap<String, OnBus>,
    pub(super) codes: BTreeMap<(usize, u8), String>,
    pub(super) seen: BTreeMap<String, Seen>,
    pub(super) durable: watch::Sender<u64>,
    /// Grows when a reader comes or goes.
    pub(super) came_or_went: watch::Sender<u64>,
    pub(super) last_durable: u64,
    pub(super) current_at: Option<Instant>,
    /// That is being noted in the cache.
    pub(super) noting: Option<oneshot::Receiver<()>>,
    /// The clock's file is being written.
    pub(super) keeping: Option<oneshot::Receiver<()>>,
    /// What is being written may be less than what is known now.
    pub(super) keep_again: bool,
    /// The journal was asked how it stands.
    pub(super) asked: Option<oneshot::Receiver<Standing>>,
    /// Source and start of the time that was kept last, in milliseconds since the epoch.
    pub(super) kept_tie: Option<(Source, i64)>,
    pub(super) configured: watch::Receiver<CachedConfig>,
    /// Starts of the machine whose swipes wait for a time.
    pub(super) undated: Undated,
    /// The last swipes, the last one first.
    pub(super) recent: VecDeque<Recent>,
    /// The fill of the journal that was warned of last, in percent.
    pub(super) warned: u64,
    pub(super) fault: Option<String>,
    /// Since when the next start must say that swipes were refused, once the disk has failed.
    pub(super) refused_at_end: Option<Unrecorded>,
    pub(super) _lock: File,
}

/// Everything that may happen.
enum Happening {
    Bus(usize, u8, Event),
    Ascii(String, ascii::Event),
    Mqtt(ReaderSaid),
    Written(Written),
    Input(Input),
    Status(StatusAsk),
    Doors(DoorsAsk),
    Walk(WalkAsk),
    Current,
    Tick,
    Minute,
    Standing(Standing),
    Stepped,
    Broken(String),
    Stop,
}

impl Hands {
    /// Runs until told to stop, or until something fails for good.
    pub(super) async fn run(
        mut self,
        mut hear: Hearing,
        mut current: watch::Receiver<u64>,
        cache: Cache,
        stop: watch::Sender<bool>,
        mut asked: watch::Receiver<bool>,
        mut tasks: JoinSet<()>,
    ) -> anyhow::Result<()> {
        let mut steps = self.clock.steps();
        let mut minutes = tokio::time::interval(KEEP_EVERY);
        let mut in_a_row = 0;
        self.act().await;
        while self.fault.is_none() {
            let clock = self.clock.clone();
            let tick = async {
                match self.mind.poll_timeout() {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let happening = tokio::select! {
                biased;
                written = hear.written.recv() => match written {
                    Some(written) => Happening::Written(written),
                    // Its thread has ended by a fault.
                    None => Happening::Written(Written::Failed(Vec::new(), Arc::new(JournalError::Failed))),
                },
                Some((bus, address, event)) = hear.bus.recv() => Happening::Bus(bus, address, event),
                Some((code, event)) = hear.ascii.recv() => Happening::Ascii(code, event),
                Some(said) = hear.mqtt.recv(), if in_a_row < MQTT_IN_A_ROW => Happening::Mqtt(said),
                Some(reply) = hear.status.recv() => Happening::Status(reply),
                Some(input) = hear.input.recv() => Happening::Input(input),
                Some(reason) = hear.broken.recv() => Happening::Broken(reason),
                // Who lost a part of itself would live on without doors, hub or time, and nobody would know.
                Some(Err(ended)) = tasks.join_next() => {
                    Happening::Broken(format!("a part of the gateway has ended by a fault: {ended}"))
                }
                Ok(()) = current.changed() => Happening::Current,
                () = stepped(&mut steps) => Happening::Stepped,
                _ = minutes.tick() => Happening::Minute,
                Some(standing) = comes(&mut self.asked) => Happening::Standing(standing),
                () = crate::stop::told(&mut asked) => Happening::Stop,
                () = tick => Happening::Tick,
                // Last: who only looks must not delay a light.
                Some(reply) = hear.doors.recv() => Happening::Doors(reply),
                Some(asked) = hear.walk.recv() => Happening::Walk(asked),
                () = std::future::ready(()), if in_a_row >= MQTT_IN_A_ROW => {
                    in_a_row = 0;
                    continue;
                }
            };
            if matches!(happening, Happening::Stop) {
                break;
            }
            in_a_row = match happening {
                Happening::Mqtt(_) => in_a_row + 1,
                Happening::Written(_) | Happening::Bus(..) | Happening::Ascii(..) => in_a_row,
                _ => 0,
            };
            if matches!(happening, Happening::Minute) {
                self.look_after();
            }
            if self.keep_new_time().await {
                // What waits for a time must not wait for its next tick.
                self.handle(Happening::Tick, &cache);
            }
            match happening {
                Happening::Walk(asked) => self.walked(asked).await,
                happening => self.handle(happening, &cache),
            }
            // Before anybody sees red for it.
            self.keep_refusals().await;
            self.act().await;
        }
        match &self.fault {
            Some(reason) => {
                tracing::error!("{reason}; showing red where swipes were refused, then ending");
                // Swipes that were under way get their red before the process ends.
                while let Ok(Some(written)) = tokio::time::timeout(LAST_RED, hear.written.recv()).await {
                    self.handle(Happening::Written(written), &cache);
                    self.keep_refusals().await;
                    self.act().await;
                }
            }
            None => {
                self.all_off().await;
                self.journal.end_within(LAST_RED).await;
                tokio::time::sleep(LAST_OFF).await;
            }
        }
        self.clock_kept_within(LAST_RED).await;
        stop.send_replace(true);
        // Tasks end by themselves at their next look; those that hang on a network are cut off.
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(2), ended).await.is_err() {
            tasks.shutdown().await;
        }
        if let Some(noting) = self.noting.take() {
            // Whoever opens the cache next finds it closed, unless it never ends.
            let _ = tokio::time::timeout(LAST_RED, noting).await;
        }
        match self.fault {
            Some(reason) => bail!("{reason}"),
            None => Ok(()),
        }
    }

    fn handle(&mut self, happening: Happening, cache: &Cache) {
        let now = self.clock.read();
        for ended in self.outages.dated(now) {
            self.notes.add(Record::Outage(ended));
        }
        match happening {
            Happening::Bus(bus, address, event) => {
                if let Some(code) = self.codes.get(&(bus, address)).cloned() {
                    self.bus_event(code, event);
                }
            }
            Happening::Ascii(code, event) => self.ascii_event(code, event),
            Happening::Mqtt(said) => self.mqtt_said(said),
            Happening::Written(Written::Durable(done)) => {
                let refusing = self.mind.refusing_since();
                for (ticket, sequence) in done {
                    self.last_durable = self.last_durable.max(sequence);
                    if Notes::owns(ticket) {
                        self.notes.durable(ticket);
                    } else {
                        self.mind.handle(Input::Durable { ticket }, now);
                    }
                }
                self.note_room(refusing, now);
                self.durable.send_replace(self.last_durable);
            }
            Happening::Written(Written::Refused(tickets, _)) => {
                for ticket in tickets {
                    if Notes::owns(ticket) {
                        self.notes.refused(ticket);
                    } else {
                        self.mind.handle(Input::Refused { ticket }, now);
                    }
                }
            }
            Happening::Written(Written::Damaged(damages)) => self.note_damage(damages, now),
            Happening::Written(Written::Failed(tickets, error)) => {
                // Whoever sees red now was there: the next start must say so, also of those before.
                let known = [self.refused_since(), self.refusals.since(), self.refused_at_end];
                let known = known.into_iter().flatten().filter(|it| it.swipes).map(|it| it.since);
                // And since when the gateway had been off, where that is not told: the clock's file does not know it any more.
                let known = known.chain(self.notes.down_since());
                let since = known.fold(self.mind.unkept_since(now.when.earliest), Instant::min);
                self.refused_at_end = Some(Unrecorded { since, swipes: true });
                for ticket in tickets {
                    self.mind.handle(Input::NotDurable { ticket }, now);
                }
                self.fault.get_or_insert_with(|| error.to_string());
            }
            Happening::Input(input) => {
                let config = matches!(input, Input::Config { .. });
                let known = config.then(|| self.known_readers());
                self.mind.handle(input, now);
                if let Some(known) = known {
                    self.await_readers(known.as_ref(), now);
                }
            }
            Happening::Status(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.status());
            }
            Happening::Doors(reply) => {
                let doors = Doors {
                    status: self.status(),
                    recent: self.recent.iter().cloned().collect(),
                    counts: self.mind.timetable().counts(),
                    refusing: self.mind.refusing_since(),
                };
                let _ = reply.send(doors);
            }
            Happening::Current => {
                self.current_at = Some(now.at);
                if !goes_on(&mut self.noting) {
                    let cache = cache.clone();
                    self.noting = Some(aside("timetable cache", move || match cache.synced(now.at.0) {
                        Ok(()) => {}
                        Err(CacheError::Busy) => tracing::debug!("when the copy was current is not noted"),
                        Err(error) => tracing::warn!("{error}"),
                    }));
                }
            }
            Happening::Stepped => {
                tracing::warn!(trust = ?now.trust, "the machine's clock was set");
                self.mind.handle(Input::Tick, now);
            }
            Happening::Tick | Happening::Minute => self.mind.handle(Input::Tick, now),
            Happening::Standing(standing) => self.stands(&standing, now),
            Happening::Broken(reason) => self.fault = Some(reason),
            Happening::Walk(_) | Happening::Stop => {}
        }
    }

    /// Does what the mind says.
    async fn act(&mut self) {
        while let Some(output) = self.mind.poll_output() {
            match output {
                Output::Append { ticket, record } => match self.append(record) {
                    Ok(body) => self.journal.append(ticket, body).await,
                    Err(error) => {
                        tracing::error!("a record cannot be written: {error}");
                        let now = self.clock.read();
                        self.mind.handle(Input::NotDurable { ticket }, now);
                    }
                },
                Output::Rest { reader, colour } => self.rest(reader, colour).await,
                Output::Answer(answer) => self.answer(answer).await,
            }
        }
        // While there is no room for swipes there is none for notes.
        if self.mind.refusing_since().is_none() {
            self.notes.write(&self.journal).await;
        }
    }

    fn append(&mut self, record: Box<SwipeRecord>) -> Result<Vec<u8>, serde_json::Error> {
        tracing::debug!(reader = %record.code, light = record.light, reason = record.reason, trust = record.trust, uncertain_ms = record.latest - record.earliest, "swipe");
        self.undated.swiped(&record);
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(Recent::new(&record));
        Record::Swipe(record).body()
    }

    pub(super) async fn rest(&mut self, reader: String, colour: Colour) {
        tracing::debug!(%reader, ?colour, "light at rest");
        if let Some(light) = self.ascii.get(&reader) {
            // A line that has ended shows nothing any more.
            let _ = light.send(LightOrder::Rest(colour)).await;
            return;
        }
        match (self.places.get(&reader), &self.mqtt) {
            (Some(place), _) => {
                let order = BusOrder::Rest { address: place.address, colour: led(colour) };
                // A bus that has ended shows nothing any more.
                let _ = self.buses[place.bus].send(order).await;
            }
            (None, Some(mqtt)) => {
                let _ = mqtt.send(MqttOrder::Rest { reader, colour }).await;
            }
            (None, None) => {}
        }
    }

    async fn answer(&mut self, answer: Answer) {
        let Answer { reader, flash, tag, kept } = answer;
        if let Some(light) = self.ascii.get(&reader) {
            if let Some(colour) = flash {
                let _ = light.send(LightOrder::Flash(colour)).await;
            }
            return;
        }
        match (self.places.get(&reader), &self.mqtt, tag) {
            (Some(place), ..) => {
                if let Some(colour) = flash {
                    let beeps = if colour == Colour::Green { 1 } else { 2 };
                    let order = BusOrder::Flash { address: place.address, colour: led(colour), beeps };
                    let _ = self.buses[place.bus].send(order).await;
                }
            }
            (None, Some(mqtt), Some((boot, seq))) => {
                let result = kept.map(|decision| match decision {
                    Decision::Recorded => "recorded",
                    Decision::NotRecorded => "not_recorded",
                    Decision::Pending => "kept",
                });
                let _ = mqtt.send(MqttOrder::Answer { reader, flash, boot, seq, result }).await;
            }
            _ => {}
        }
    }

    async fn all_off(&mut self) {
        let codes: Vec<String> = self.mind.rests().keys().cloned().collect();
        for code in codes {
            self.rest(code, Colour::Off).await;
        }
    }
}

/// Ends when the clock was set.
async fn stepped(steps: &mut Option<watch::Receiver<u64>>) {
    let told = match steps {
        Some(steps) => steps.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending::<()>().await;
    }
}

pub(super) fn led(colour: Colour) -> LedColour {
    match colour {
        Colour::Off => LedColour::Off,
        Colour::Blue => LedColour::Blue,
        Colour::Green => LedColour::Green,
        Colour::Red => LedColour::Red,
        Colour::Amber => LedColour::Amber,
    }
}
