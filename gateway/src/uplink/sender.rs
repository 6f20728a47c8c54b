//! Hands over what the journal holds, in its order, and says how the gateway is.
//!
//! It reads the journal, never a queue in memory, so a backlog of a term costs no more than one batch. How far it
//! has come is the hub's to say (`place`): it is asked before anything else is said, and with every heartbeat.

use std::sync::Arc;

use cynic::MutationBuilder;
use rollcall_rules::light::Colour;
use rollcall_rules::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::backoff::Backoff;
use super::client::{HubClient, UplinkError};
use super::message::{Batch, clock_input, light};
use super::operations::{
    Counter, DateTime, Duration, GatewayHandedOver, GatewayHeadInput, GatewayHeartbeatInput,
    GatewayJournalInput, GatewayReaderReport, GatewaySubmitSwipesInput, Heartbeat, HeartbeatVariables,
    ReceiptOutcome, SubmitSwipes, SubmitVariables,
};
use super::place::{AtHub, Places};
use super::sign::SigningKey;
use crate::clock::{Clock, Reading, Trust};
use crate::core::hex;
use crate::journal::log::{JournalError, Stored};
use crate::journal::record::Record;
use crate::journal::writer::{Journal, Standing};

/// How many records go into one batch, unless the hub says less.
const BATCH: usize = 500;
/// How often the gateway says how it is, unless the hub says otherwise.
const HEARTBEAT_EVERY_MS: i64 = 60_000;
/// How long acknowledged swipes stay on the disk.
const KEEP_MS: i64 = 30 * 24 * 3_600_000;
/// How often a record that the hub turns down by itself is sent again before the others go on without it.
const TRIES_OF_ONE: u32 = 5;

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
    /// How often the hub wants to hear how the gateway is, in milliseconds; 0 when it did not say.
    pub heartbeat_ms: i64,
    /// How many records the hub wants at once; 0 when it did not say.
    pub max_batch: usize,
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
    /// The journal.
    pub journal: Journal,
    /// The gateway's key; none where it could not be had.
    pub key: Option<SigningKey>,
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

/// How far the sender is.
struct Progress {
    places: Places,
    next_heartbeat: Instant,
    watermark: Instant,
    batch: usize,
    /// The hub was heard since the connection failed last: what it has is known.
    reconciled: bool,
    /// How often the present single record was turned down.
    refused: u32,
}

impl SenderTask {
    /// Hands over until told to stop.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut stop = self.stop.clone();
        let mut progress = Progress {
            places: Places::default(),
            next_heartbeat: Instant(0),
            // Until the hub said what it has, nothing is said to be handed over.
            watermark: Instant(0),
            batch: BATCH,
            reconciled: false,
            refused: 0,
        };
        loop {
            let round = tokio::select! {
                round = self.round(&mut progress) => round,
                () = crate::stop::told(&mut stop) => return,
            };
            match round {
                Ok(()) => backoff.reset(),
                Err(RoundError::Stopping) => return,
                Err(RoundError::Uplink(UplinkError::Refused(reason))) if progress.batch > 1 => {
                    progress.batch = (progress.batch / 2).max(1);
                    tracing::error!(
                        "{reason}; sending {} at a time to find what is at fault",
                        progress.batch
                    );
                }
                Err(error) => {
                    if matches!(error, RoundError::Uplink(UplinkError::Refused(_))) {
                        progress.refused += 1;
                    } else {
                        // It may come back as another one, or from a backup.
                        progress.reconciled = false;
                    }
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

    async fn round(&mut self, progress: &mut Progress) -> Result<(), RoundError> {
        let status = self.ask().await?;
        self.durable.mark_unchanged();
        let standing = self.journal.standing().await.ok_or(RoundError::Stopping)?;
        let known = standing.segments.iter().all(|segment| progress.places.knows(segment.journal));
        if !progress.reconciled || !known || status.now.at >= progress.next_heartbeat {
            self.heartbeat(progress, &status, &standing).await?;
            self.forget_old(progress, &standing, status.now).await?;
            return Ok(());
        }
        if let Some((journal, from)) = progress.places.next(&standing.segments) {
            let wanted = progress.batch.min(if status.max_batch > 0 { status.max_batch } else { BATCH });
            let mut stored = self.journal.read(from, wanted).await?;
            stored.retain(|it| it.journal == journal);
            let Some(last) = stored.last() else {
                // What stood there cannot be read any more; the damage is reported elsewhere.
                let segments = standing.segments.iter().filter(|it| it.journal == journal && it.last >= from);
                let end = segments.map(|it| it.last).min().unwrap_or(from);
                progress.places.advance(journal, end);
                return Ok(());
            };
            let through = last.sequence;
            if progress.batch == 1 && progress.refused >= TRIES_OF_ONE {
                tracing::error!(
                    sequence = through,
                    "the hub takes this record by no means; it stays in the journal, and the others go on"
                );
                (progress.refused, progress.batch) = (0, BATCH);
                progress.places.advance(journal, through);
                return Ok(());
            }
            self.submit(progress, &status, &standing, &stored).await?;
            progress.refused = 0;
            progress.batch = BATCH.min(progress.batch * 2);
            return Ok(());
        }
        let clock = self.clock.clone();
        tokio::select! {
            changed = self.durable.changed() => changed.map_err(|_| RoundError::Stopping),
            () = clock.sleep_until(progress.next_heartbeat) => Ok(()),
        }
    }

    async fn ask(&self) -> Result<Status, RoundError> {
        let (reply, answer) = oneshot::channel();
        self.status.send(reply).await.map_err(|_| RoundError::Stopping)?;
        answer.await.map_err(|_| RoundError::Stopping)
    }

    async fn submit(
        &mut self,
        progress: &mut Progress,
        status: &Status,
        standing: &Standing,
        stored: &[Stored],
    ) -> Result<(), RoundError> {
        let (Some(first), Some(last)) = (stored.first(), stored.last()) else { return Ok(()) };
        let mut batch = Batch::default();
        stored.iter().for_each(|it| batch.add(it));
        let (journal, through) = (last.journal, last.sequence);
        let mut after = progress.places.clone();
        after.advance(journal, through);
        // The last of all that is durable: then everything before now is handed over with it.
        let all = after.next(&standing.segments).is_none() && standing.next > status.last_durable;
        let watermark = if all { status.durable_before } else { progress.watermark };
        let backlog = after.backlog(&standing.segments);
        let done = progress.places.through(journal);
        let count = batch.swipes.len();
        let input = GatewaySubmitSwipesInput {
            batch_id: Uuid::new_v4(),
            sent_at: DateTime(status.now.at.0),
            clock: clock_input(status.now, self.clock.tie().map(|(_, source)| source)),
            backlog_after: i32::try_from(backlog).unwrap_or(i32::MAX),
            watermark: DateTime(watermark.0),
            journal: (!progress.places.is_forked(journal)).then(|| GatewayJournalInput {
                journal_id: journal,
                after: (done > 0).then_some(Counter(done)),
                through: Counter(through),
                chain: Some(hex(&last.chain)),
            }),
            outages: Some(batch.outages),
            anchors: Some(batch.anchors),
            head: self.head(first, last, batch.links, status.now.at),
            swipes: batch.swipes,
        };
        let asked = self.clock.since_boot_ms();
        let answer =
            self.client.ask(SubmitSwipes::build(SubmitVariables { input })).await?.gateway_submit_swipes;
        self.clock.hub_says(Instant(answer.committed_at.0), asked, self.clock.since_boot_ms());
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
        match answer.handed_over.first() {
            // It lacks something before this batch: ask what, and go on from there.
            Some(has) if has.through.0 < through => progress.reconciled = false,
            _ => {
                progress.places.advance(journal, through);
                progress.watermark = watermark;
            }
        }
        if answer.renew_journal && journal == standing.journal {
            self.renew("the hub had a number of this journal with another body").await;
        }
        tracing::debug!(count, through, "handed over");
        Ok(())
    }

    async fn renew(&self, why: &str) {
        let fresh = Uuid::new_v4();
        tracing::error!(journal = %fresh, "{why}: the storage was cloned or rolled back; going on under another journal id");
        self.journal.renew(fresh).await;
    }

    /// The signature under a batch's end; none where a record before or in it could not be read.
    fn head(
        &self,
        first: &Stored,
        last: &Stored,
        links: Vec<String>,
        now: Instant,
    ) -> Option<GatewayHeadInput> {
        let (key, before) = (self.key.as_ref()?, first.before?);
        let whole = last.sequence - first.sequence + 1 == links.len() as u64;
        whole.then(|| GatewayHeadInput {
            chain_before: hex(&before),
            links,
            signed_at: DateTime(now.0),
            signature: key.sign(last.journal, last.sequence, &last.chain, now.0),
            public_key: key.public(),
        })
    }

    async fn heartbeat(
        &mut self,
        progress: &mut Progress,
        status: &Status,
        standing: &Standing,
    ) -> Result<(), RoundError> {
        let mut journals: Vec<Uuid> = standing.segments.iter().map(|segment| segment.journal).collect();
        journals.push(standing.journal);
        journals.sort_unstable();
        journals.dedup();
        let all = progress.reconciled && progress.places.next(&standing.segments).is_none();
        let watermark = if all { status.durable_before } else { progress.watermark };
        let said = journals.iter().filter(|journal| !progress.places.is_forked(**journal)).map(|journal| {
            let through = progress.places.through(*journal);
            let after = progress.places.knows(*journal).then_some(Counter(through));
            GatewayJournalInput { journal_id: *journal, after, through: Counter(through), chain: None }
        });
        let readers = status.readers.iter().map(|reader| GatewayReaderReport {
            reader_id: reader.id,
            online: reader.online,
            light: Some(light(reader.light)),
            last_swipe_at: reader.last_swipe.map(|at| DateTime(at.0)),
            firmware: reader.firmware.clone(),
        });
        let free = rustix::fs::statvfs(&self.data).ok().map(|disk| Counter(disk.f_bavail * disk.f_frsize));
        let age = status.current_at.map_or(0, |at| status.now.at.since_ms(at).max(0));
        let input = GatewayHeartbeatInput {
            sent_at: DateTime(status.now.at.0),
            watermark: DateTime(watermark.0),
            clock: clock_input(status.now, self.clock.tie().map(|(_, source)| source)),
            backlog: i32::try_from(progress.places.backlog(&standing.segments)).unwrap_or(i32::MAX),
            oldest_backlog_age: self.oldest_age(progress, standing, status.now.at).await?,
            cache_cursor: status.basis.clone(),
            cache_age: Duration(age),
            free_disk_bytes: free,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            readers: readers.collect(),
            journals: Some(said.collect()),
            anchors: None,
        };
        let asked = self.clock.since_boot_ms();
        let answer = self.client.ask(Heartbeat::build(HeartbeatVariables { input })).await?.gateway_heartbeat;
        self.clock.hub_says(Instant(answer.received_at.0), asked, self.clock.since_boot_ms());
        if let Some(error) = answer.errors.first() {
            return Err(UplinkError::Refused(error.message.clone()).into());
        }
        for has in &answer.handed_over {
            self.learn(progress, standing, has).await?;
        }
        for journal in journals {
            // A journal that the hub said nothing of has nothing there.
            progress.places.advance(journal, 0);
        }
        progress.reconciled = true;
        progress.watermark = progress.watermark.max(watermark);
        let every = if status.heartbeat_ms > 0 { status.heartbeat_ms } else { HEARTBEAT_EVERY_MS };
        progress.next_heartbeat = status.now.at.plus_ms(every);
        Ok(())
    }

    /// Takes in what the hub has of a journal.
    async fn learn(
        &self,
        progress: &mut Progress,
        standing: &Standing,
        has: &GatewayHandedOver,
    ) -> Result<(), RoundError> {
        let at_hub = AtHub { journal: has.journal_id, through: has.through.0, chain: has.chain.clone() };
        let segments: Vec<_> =
            standing.segments.iter().filter(|segment| segment.journal == at_hub.journal).collect();
        let first = segments.first().map(|segment| segment.first);
        let dropped = first.is_some_and(|first| at_hub.through < first);
        let mut own = None;
        if at_hub.through > 0 && segments.iter().any(|it| (it.first..=it.last).contains(&at_hub.through)) {
            let found = self.journal.read(at_hub.through, 1).await?;
            let found = found.into_iter().find(|it| it.sequence == at_hub.through);
            // A record that was damaged since it was handed over was ours all the same.
            own = found.map_or_else(
                || segments.iter().any(|it| it.damaged).then(|| at_hub.chain.clone()),
                |it| Some(hex(&it.chain)),
            );
        }
        let nothing_here = segments.is_empty();
        if progress.places.learn(&at_hub, own.as_deref(), dropped || nothing_here)
            && at_hub.journal == standing.journal
        {
            self.renew("the hub has more of this journal than this disk").await;
        }
        Ok(())
    }

    async fn oldest_age(
        &self,
        progress: &Progress,
        standing: &Standing,
        now: Instant,
    ) -> Result<Option<Duration>, RoundError> {
        let Some((_, from)) = progress.places.next(&standing.segments) else { return Ok(None) };
        let oldest = self.journal.read(from, 1).await?;
        let at = oldest.first().and_then(|it| Record::read(&it.body).ok()?.at());
        Ok(at.map(|at| Duration(now.since_ms(Instant(at)).max(0))))
    }

    /// Drops whole segments that were handed over more than 30 days ago, by the time of what they hold.
    async fn forget_old(
        &self,
        progress: &Progress,
        standing: &Standing,
        now: Reading,
    ) -> Result<(), RoundError> {
        if now.trust == Trust::Untrusted {
            return Ok(());
        }
        for pair in standing.segments.windows(2) {
            let segment = &pair[0];
            if progress.places.through(segment.journal) < segment.last {
                break;
            }
            let newest = self.journal.read(segment.last, 1).await?;
            let at = newest.first().and_then(|it| Record::read(&it.body).ok()?.at());
            if at.is_none_or(|at| now.when.earliest.since_ms(Instant(at)) <= KEEP_MS) {
                break;
            }
            self.journal.drop_before(segment.last + 1).await;
        }
        Ok(())
    }
}
