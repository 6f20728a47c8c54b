//! Hands over what the journal holds, in its order, and says how the gateway is.
//!
//! It reads the journal, never a queue in memory, so a backlog of a term costs no more than one batch. What to say
//! next is `handover`'s to know; here are only the asking and the waiting.

use std::sync::Arc;

use cynic::MutationBuilder;
use rollcall_rules::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::acknowledged::Acknowledged;
use super::backoff::Backoff;
use super::client::{HubClient, UplinkError};
use super::handover::{HandOver, More, Step};
pub use super::handover::{ReaderStatus, Status, Unassigned};
use super::operations::{Heartbeat, HeartbeatVariables, SubmitSwipes, SubmitVariables};
use super::sign::SigningKey;
use crate::clock::{Clock, Reading, Trust};
use crate::journal::log::{JournalError, Segment, Stored};
use crate::journal::record::Record;
use crate::journal::writer::{Journal, Standing};
use crate::private::InTurn;

/// The file that says since when the hub has which segments.
const ACKNOWLEDGED: &str = "acknowledged";

/// Asks the gateway's mind how it is.
pub type StatusAsk = oneshot::Sender<Status>;

/// How handing over goes.
#[derive(Debug, Clone, Default)]
pub struct Handing {
    /// When the hub last answered.
    pub heard_at: Option<Instant>,
    /// Records that it does not have yet.
    pub backlog: u64,
    /// Why it does not work at present.
    pub failing: Option<String>,
}

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
    /// Grows when a reader comes or goes.
    pub readers: watch::Receiver<u64>,
    /// Asks how the gateway is.
    pub status: mpsc::Sender<StatusAsk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where the data lies, for its free space.
    pub data: std::path::PathBuf,
    /// Since when the hub has which segments.
    pub acknowledged: Noted,
    /// The timetable copy was found damaged at the start.
    pub cache_damaged: bool,
    /// Whether what the hub says of the time is surely the hub's.
    pub time_is_the_hubs: bool,
    /// Tells how it goes.
    pub handing: watch::Sender<Handing>,
    /// Tells when the gateway stops.
    pub stop: watch::Receiver<bool>,
}

/// Since when the hub has which segments, and the file that says so to the next start.
#[derive(Debug)]
pub struct Noted {
    known: Acknowledged,
    file: InTurn,
}

impl Noted {
    /// Reads what an earlier start noted in a folder.
    #[must_use]
    pub fn load(data: &std::path::Path) -> Self {
        let (file, kept) = InTurn::open(&data.join(ACKNOWLEDGED));
        // As earlier versions had it.
        let kept = kept.or_else(|| std::fs::read(data.join("acknowledged.json")).ok());
        Self { known: Acknowledged::load(kept), file }
    }
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
        let mut handover = HandOver::default();
        loop {
            let round = tokio::select! {
                round = self.round(&mut handover) => round,
                () = crate::stop::told(&mut stop) => return,
            };
            match round {
                Ok(()) => backoff.reset(),
                Err(RoundError::Stopping) => return,
                Err(error) => {
                    if let RoundError::Uplink(error) = &error
                        && handover.failed(error)
                    {
                        continue;
                    }
                    self.handing.send_modify(|it| it.failing = Some(error.to_string()));
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

    async fn round(&mut self, handover: &mut HandOver) -> Result<(), RoundError> {
        self.readers.mark_unchanged();
        let status = self.ask().await?;
        self.durable.mark_unchanged();
        let standing = self.journal.standing().await.ok_or(RoundError::Stopping)?;
        let backlog = handover.places().backlog(&standing.segments);
        self.handing.send_modify(|it| it.backlog = backlog);
        match handover.step(&status, &standing) {
            Step::Heartbeat => {
                self.heartbeat(handover, &status, &standing).await?;
                self.forget_old(handover, &standing, status.now).await;
                Ok(())
            }
            Step::Read { journal, from, limit } => {
                let stored = self.journal.read(from, limit).await?;
                self.submit(handover, (journal, from), stored, &status, &standing).await
            }
            Step::Wait(ms) => {
                let clock = self.clock.clone();
                let now = clock.read();
                // Of this, some may have passed since the status was taken.
                let passed = now.since_boot_ms - status.now.since_boot_ms;
                let until = now.at.plus_ms(ms - passed);
                tokio::select! {
                    changed = self.durable.changed() => changed.map_err(|_| RoundError::Stopping),
                    changed = self.readers.changed() => changed.map_err(|_| RoundError::Stopping),
                    () = clock.sleep_until(until) => Ok(()),
                }
            }
        }
    }

    async fn ask(&self) -> Result<Status, RoundError> {
        let (reply, answer) = oneshot::channel();
        self.status.send(reply).await.map_err(|_| RoundError::Stopping)?;
        answer.await.map_err(|_| RoundError::Stopping)
    }

    async fn submit(
        &mut self,
        handover: &mut HandOver,
        at: (Uuid, u64),
        stored: Vec<Stored>,
        status: &Status,
        standing: &Standing,
    ) -> Result<(), RoundError> {
        let source = self.clock.tie().map(|(_, source)| source);
        let sent = handover.batch(at, stored, status, standing, self.key.as_ref(), source);
        let Some(sent) = sent else { return Ok(()) };
        let asked = self.clock.since_boot_ms();
        let variables = SubmitVariables { input: sent.input.clone() };
        let answer = self.client.ask(SubmitSwipes::build(variables)).await?.gateway_submit_swipes;
        self.heard(Instant(answer.committed_at.0), asked);
        if handover.submitted(&sent, &answer, standing)? {
            self.renew(Uuid::new_v4(), "the hub had a number of this journal with another body").await;
        }
        tracing::debug!(swipes = answer.receipts.len(), "handed over");
        Ok(())
    }

    /// The hub said what time it was, asked at this time since the machine's start.
    fn heard(&self, at: Instant, asked: i64) {
        if self.time_is_the_hubs {
            self.clock.hub_says(at, asked, self.clock.since_boot_ms());
        }
        self.handing.send_modify(|it| (it.heard_at, it.failing) = (Some(at), None));
    }

    async fn renew(&self, fresh: Uuid, why: &str) {
        tracing::error!(journal = %fresh, "{why}: the storage was cloned or rolled back; going on under another journal id");
        self.journal.renew(fresh).await;
    }

    async fn heartbeat(
        &mut self,
        handover: &mut HandOver,
        status: &Status,
        standing: &Standing,
    ) -> Result<(), RoundError> {
        let more = More {
            oldest_age_ms: self.oldest_age(handover, standing, status.now.at).await?,
            free_bytes: rustix::fs::statvfs(&self.data).ok().map(|disk| disk.f_bavail * disk.f_frsize),
            source: self.clock.tie().map(|(_, source)| source),
            cache_damaged: self.cache_damaged,
        };
        let input = handover.heartbeat(status, standing, more);
        let asked = self.clock.since_boot_ms();
        let answer = self.client.ask(Heartbeat::build(HeartbeatVariables { input })).await?.gateway_heartbeat;
        self.heard(Instant(answer.received_at.0), asked);
        for has in &answer.handed_over {
            let found = match handover.wanted(standing, has) {
                Some(wanted) => self.journal.read(wanted, 1).await?.into_iter().next(),
                None => None,
            };
            let fresh = Uuid::new_v4();
            if handover.learn(standing, has, found.as_ref(), fresh) {
                self.renew(fresh, "the hub has more of this journal than this disk").await;
            }
        }
        Ok(handover.heartbeat_answered(status, standing, &answer)?)
    }

    async fn oldest_age(
        &self,
        handover: &HandOver,
        standing: &Standing,
        now: Instant,
    ) -> Result<Option<i64>, RoundError> {
        let Some((_, from)) = handover.places().next(&standing.segments) else { return Ok(None) };
        let at = self.time_of(from).await?;
        Ok(at.map(|at| now.since_ms(at).max(0)))
    }

    /// The instant that a record speaks of.
    async fn time_of(&self, sequence: u64) -> Result<Option<Instant>, RoundError> {
        let found = self.journal.read(sequence, 1).await?;
        Ok(found.first().and_then(|it| Record::read(&it.body).ok()?.at()).map(Instant))
    }

    /// Drops whole segments that the hub has had for 30 days.
    async fn forget_old(&mut self, handover: &HandOver, standing: &Standing, now: Reading) {
        if now.trust == Trust::Untrusted {
            return;
        }
        let whole = |segment: &Segment| {
            handover.places().through(segment.journal) >= segment.last && !handover.holds_back(segment)
        };
        let Noted { known, file } = &mut self.acknowledged;
        let before = known.clone();
        let times = (now.when.earliest, now.when.latest);
        let old = known.may_drop(&standing.segments, whole, times);
        // Once, and not at each attempt.
        let is_news = *known != before;
        if let Err(error) = known.keep(file)
            && is_news
        {
            tracing::warn!("since when the hub has what cannot be noted, so it stays for longer: {error}");
        }
        if let Some(sequence) = old {
            self.journal.drop_before(sequence).await;
        }
    }
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
