//! Hands swipes over, in the order of the journal, and says how the gateway is.
//!
//! It reads the journal, never a queue in memory, so a backlog of a term costs no more than one batch. What
//! the hub has receipts for is noted in the journal; a lost note only means that some are sent twice.

use std::sync::Arc;

use cynic::MutationBuilder;
use rollcall_rules::light::Colour;
use rollcall_rules::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::backoff::Backoff;
use super::client::{HubClient, UplinkError};
use super::operations::{
    ClockSource, ClockTrust, Counter, DateTime, Duration, GatewayClockInput, GatewayHeartbeatInput,
    GatewayReaderReport, GatewaySubmitSwipesInput, GatewaySwipeInput, Heartbeat, HeartbeatVariables,
    LightColour, ReceiptOutcome, SubmitSwipes, SubmitVariables, SwipeDecision, SwipeReason,
};
use crate::clock::{BUILT_AFTER, Clock, Reading, Trust};
use crate::core::hex;
use crate::journal::log::{JournalError, Stored};
use crate::journal::record::{Record, SwipeRecord};
use crate::journal::writer::Journal;

/// How many swipes go into one batch.
const BATCH: usize = 500;
/// How often the gateway says how it is.
const HEARTBEAT_EVERY_MS: i64 = 60_000;
/// How long acknowledged swipes stay on the disk.
const KEEP_MS: i64 = 30 * 24 * 3_600_000;

/// How the gateway is, as its mind knows it.
#[derive(Debug, Clone)]
pub struct Status {
    /// The time of asking.
    pub now: Reading,
    /// Every swipe before this instant is durable.
    pub durable_before: Instant,
    /// The sequence of the last durable record.
    pub last_durable: u64,
    /// The feed position decided by.
    pub basis: String,
    /// The readers.
    pub readers: Vec<ReaderStatus>,
    /// When the timetable copy was last known to be current.
    pub current_at: Option<Instant>,
}

/// How a reader is.
#[derive(Debug, Clone)]
pub struct ReaderStatus {
    /// Its id at the hub.
    pub id: Uuid,
    /// Its code.
    pub code: String,
    /// It answers.
    pub online: bool,
    /// Its light at rest.
    pub light: Colour,
    /// Its firmware.
    pub firmware: Option<String>,
    /// When a card was last held to it.
    pub last_swipe: Option<Instant>,
}

/// Asks the gateway's mind how it is.
pub type StatusAsk = oneshot::Sender<Status>;

/// What the sender needs.
pub struct SenderTask {
    /// The way to the hub.
    pub client: HubClient,
    /// The journal's id.
    pub journal_id: Uuid,
    /// The journal.
    pub journal: Journal,
    /// The hub has everything up to this sequence.
    pub handed_over: u64,
    /// Grows with the sequence of the last durable record.
    pub durable: watch::Receiver<u64>,
    /// Asks how the gateway is.
    pub status: mpsc::Sender<StatusAsk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where the data lies, for its free space.
    pub data: std::path::PathBuf,
    /// Tells when the gateway stops.
    pub stop: watch::Receiver<bool>,
}

/// Why a round did not work.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    #[error(transparent)]
    Journal(#[from] Arc<JournalError>),
    #[error("the gateway stops")]
    Stopping,
}

impl SenderTask {
    /// Hands over until told to stop.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut stop = self.stop.clone();
        let mut next_heartbeat = Instant(0);
        let mut batch = BATCH;
        let mut watermark = BUILT_AFTER;
        loop {
            let round = tokio::select! {
                round = self.round(&mut next_heartbeat, &mut watermark, batch) => round,
                () = crate::stop::told(&mut stop) => return,
            };
            match round {
                Ok(()) => {
                    backoff.reset();
                    batch = BATCH;
                }
                Err(RoundError::Stopping) => return,
                Err(RoundError::Uplink(UplinkError::Refused(reason))) if batch > 1 => {
                    batch = (batch / 2).max(1);
                    tracing::error!("{reason}; sending {batch} at a time to find the swipe that is at fault");
                }
                Err(error) => {
                    let wait = backoff.wait();
                    tracing::warn!("handing over: {error}; trying again in {:.1} s", wait.as_secs_f32());
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = crate::stop::told(&mut stop) => return,
                    }
                }
            }
        }
    }

    async fn round(
        &mut self,
        next_heartbeat: &mut Instant,
        watermark: &mut Instant,
        batch: usize,
    ) -> Result<(), RoundError> {
        let status = self.ask().await?;
        self.durable.mark_unchanged();
        if self.handed_over < status.last_durable {
            let stored = self.journal.read(self.handed_over + 1, batch).await?;
            let through = stored.last().map_or(status.last_durable, |last| last.sequence);
            let all = through >= status.last_durable;
            let swipes: Vec<GatewaySwipeInput> = stored.iter().filter_map(|it| self.swipe(it)).collect();
            if !swipes.is_empty() {
                let mark = if all { status.durable_before } else { *watermark };
                self.submit(swipes, &status, through, mark).await?;
                *watermark = mark;
                // Noted behind what it speaks of, and synced along with the next swipes.
                let at = status.now.at.0;
                if let Ok(body) = serde_json::to_vec(&Record::HandedOver { through, at }) {
                    self.journal.append(0, body).await;
                }
                self.forget_old(&stored, status.now.at).await;
            }
            self.handed_over = through;
            return Ok(());
        }
        if status.now.at >= *next_heartbeat {
            *watermark = status.durable_before;
            self.heartbeat(&status).await?;
            *next_heartbeat = status.now.at.plus_ms(HEARTBEAT_EVERY_MS);
            return Ok(());
        }
        let clock = self.clock.clone();
        tokio::select! {
            changed = self.durable.changed() => changed.map_err(|_| RoundError::Stopping),
            () = clock.sleep_until(*next_heartbeat) => Ok(()),
        }
    }

    async fn ask(&self) -> Result<Status, RoundError> {
        let (reply, answer) = oneshot::channel();
        self.status.send(reply).await.map_err(|_| RoundError::Stopping)?;
        answer.await.map_err(|_| RoundError::Stopping)
    }

    async fn submit(
        &mut self,
        swipes: Vec<GatewaySwipeInput>,
        status: &Status,
        through: u64,
        watermark: Instant,
    ) -> Result<(), RoundError> {
        let count = swipes.len();
        let backlog = i32::try_from(status.last_durable.saturating_sub(through)).unwrap_or(i32::MAX);
        let input = GatewaySubmitSwipesInput {
            batch_id: Uuid::new_v4(),
            sent_at: DateTime(status.now.at.0),
            clock: clock_input(status.now),
            swipes,
            backlog_after: backlog,
            watermark: DateTime(watermark.0),
        };
        let answer =
            self.client.ask(SubmitSwipes::build(SubmitVariables { input })).await?.gateway_submit_swipes;
        if let Some(error) = answer.errors.first() {
            return Err(UplinkError::Refused(error.message.clone()).into());
        }
        if answer.receipts.len() != count {
            let words = format!("{} receipts for {count} swipes", answer.receipts.len());
            return Err(UplinkError::BadAnswer(words).into());
        }
        for receipt in &answer.receipts {
            if receipt.outcome == ReceiptOutcome::Rejected {
                let why = receipt.error.as_ref().map_or("", |error| error.message.as_str());
                tracing::error!(swipe = %receipt.swipe_id, "the hub set a swipe aside: {why}");
            }
        }
        tracing::debug!(count, through, "handed over");
        Ok(())
    }

    async fn heartbeat(&mut self, status: &Status) -> Result<(), RoundError> {
        let readers = status
            .readers
            .iter()
            .map(|reader| GatewayReaderReport {
                reader_id: reader.id,
                online: reader.online,
                light: Some(light(reader.light)),
                last_swipe_at: reader.last_swipe.map(|at| DateTime(at.0)),
                firmware: reader.firmware.clone(),
            })
            .collect();
        let free = rustix::fs::statvfs(&self.data).ok().map(|disk| Counter(disk.f_bavail * disk.f_frsize));
        let age = status.current_at.map_or(0, |at| status.now.at.since_ms(at).max(0));
        let input = GatewayHeartbeatInput {
            sent_at: DateTime(status.now.at.0),
            watermark: DateTime(status.durable_before.0),
            clock: clock_input(status.now),
            backlog: i32::try_from(status.last_durable.saturating_sub(self.handed_over)).unwrap_or(i32::MAX),
            oldest_backlog_age: None,
            cache_cursor: status.basis.clone(),
            cache_age: Duration(age),
            free_disk_bytes: free,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            readers,
        };
        let answer = self.client.ask(Heartbeat::build(HeartbeatVariables { input })).await?.gateway_heartbeat;
        match answer.errors.first() {
            Some(error) => Err(UplinkError::Refused(error.message.clone()).into()),
            None => Ok(()),
        }
    }

    async fn forget_old(&self, stored: &[Stored], now: Instant) {
        let record = stored.first().and_then(|it| serde_json::from_slice::<Record>(&it.body).ok());
        if let (Some(Record::Swipe(swipe)), Some(first)) = (record, stored.first()) {
            // Everything before this batch was handed over; what is older than 30 days may go.
            if now.since_ms(Instant(swipe.at)) > KEEP_MS {
                self.journal.drop_before(first.sequence).await;
            }
        }
    }

    fn swipe(&self, stored: &Stored) -> Option<GatewaySwipeInput> {
        let Ok(Record::Swipe(swipe)) = serde_json::from_slice::<Record>(&stored.body) else { return None };
        let SwipeRecord { id, reader, room, key, epoch, bits, holder, at, earliest, latest, .. } = *swipe;
        Some(GatewaySwipeInput {
            swipe_id: id,
            journal_id: self.journal_id,
            sequence: Counter(stored.sequence),
            reader_id: reader,
            room_id: room,
            card_key: key,
            card_key_epoch: i32::try_from(epoch).unwrap_or(0),
            card_bits: i32::from(bits),
            holder,
            swiped_at: DateTime(at),
            earliest_at: DateTime(earliest),
            latest_at: DateTime(latest),
            boot_id: swipe.boot,
            since_boot: Duration(swipe.since_boot),
            clock_trust: word(&swipe.trust)?,
            decision: word::<SwipeDecision>(&swipe.decision)?,
            reason: word::<SwipeReason>(&swipe.reason)?,
            light: word(&swipe.light)?,
            session_ids: swipe.sessions,
            basis: swipe.basis,
            chain: hex(&stored.chain),
        })
    }
}

/// A value of one of the hub's enums from the word that is stored.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

fn clock_input(now: Reading) -> GatewayClockInput {
    let uncertainty = now.when.latest.since_ms(now.when.earliest);
    GatewayClockInput {
        trust: match now.trust {
            Trust::Synced => ClockTrust::Synced,
            Trust::Holdover => ClockTrust::Holdover,
            Trust::Untrusted => ClockTrust::Untrusted,
        },
        source: if now.trust == Trust::Untrusted { ClockSource::None } else { ClockSource::Ntp },
        offset: None,
        uncertainty: Some(Duration(uncertainty)),
        last_synced_at: None,
    }
}

fn light(colour: Colour) -> LightColour {
    match colour {
        Colour::Off => LightColour::Off,
        Colour::Blue => LightColour::Blue,
        Colour::Green => LightColour::Green,
        Colour::Red => LightColour::Red,
        Colour::Amber => LightColour::Amber,
    }
}
