//! Intake: swipes and heartbeats from gateways, in one transaction each; receipts only after the commit.

use std::collections::BTreeMap;

use async_graphql::Enum;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::decide;
use super::refusal::{Answer, Check, Code};
use super::{Hub, News, Touched, beside, webhooks};
use crate::scalar::{DateTime, UuidScalar};
use crate::store::entity::{ClockTrust, Gateway, Reader, Swipe, SwipeReason};
use crate::store::register::CreditFact;
use crate::store::swipe::Credit;
use crate::store::{StoreError, Tx, Value};

mod batch;
pub mod commissioning;
mod event;
pub mod evidence;
pub mod journal;
pub mod message;
pub mod outage;
mod stamp;

use batch::Batch;
use journal::HandedOver;
use message::{
    GatewayHeartbeatInput, GatewayReaderReport, GatewaySubmitSwipesInput, ReaderLine, UnassignedReader,
};

/// The most swipes in one batch.
pub const MAX_BATCH: usize = 1_000;
/// A day, in milliseconds.
const DAY_MS: i64 = 24 * 3_600_000;
/// How many unknown readers of a gateway are kept.
const MAX_UNASSIGNED: usize = 100;

/// What became of a swipe on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum ReceiptOutcome {
    /// The hub had it.
    Duplicate,
    /// Malformed beyond use; set aside at the hub and not to be sent again.
    Rejected,
    /// New, and durable.
    Stored,
}

/// A receipt.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The swipe.
    pub swipe_id: Uuid,
    /// What became of it.
    pub outcome: ReceiptOutcome,
    /// Why it was rejected.
    pub error: Option<String>,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// A receipt for each swipe, in the order sent.
    pub receipts: Vec<Receipt>,
    /// The hub's clock at the commit.
    pub committed_at: i64,
    /// How far the batch's journal is handed over.
    pub handed_over: Vec<HandedOver>,
    /// The gateway must go on under another journal id.
    pub renew_journal: bool,
    /// The hub took last what the gateway takes it to have taken last.
    pub in_step: bool,
    /// What it took last.
    pub last_taken: Option<Uuid>,
}

/// What became of a heartbeat.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The gateway as it is known now.
    pub gateway: Gateway,
    /// How far its journals are handed over.
    pub handed_over: Vec<HandedOver>,
    /// The hub took last what the gateway takes it to have taken last.
    pub in_step: bool,
}

/// What is kept of a heartbeat beside the columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The clock's trust, as a word.
    pub clock_trust: ClockWord,
    /// The clock's source, as a word.
    pub clock_source: String,
    /// How far the clock may be off, in milliseconds.
    pub uncertainty_ms: Option<i64>,
    /// Gateway's time minus the hub's at receipt, in milliseconds; a network's delay is in it.
    pub offset_ms: i64,
    /// When the clock was last in step.
    pub last_synced_at: Option<i64>,
    /// Swipes not yet handed over.
    pub backlog: i64,
    /// Age of the oldest, in milliseconds.
    pub oldest_backlog_ms: Option<i64>,
    /// The feed position of the timetable copy.
    pub cache_cursor: String,
    /// Age of the copy, in milliseconds.
    pub cache_age_ms: i64,
    /// What is free on the disk.
    pub free_disk_bytes: Option<i64>,
    /// How the lines of its serial readers do.
    #[serde(default)]
    pub lines: BTreeMap<Uuid, ReaderLine>,
    /// It has records that were turned down here, and registers wait for them.
    #[serde(default)]
    pub held_back: bool,
    /// How full its journal is, in percent.
    #[serde(default)]
    pub journal_percent: Option<i32>,
    /// Its timetable copy was damaged when it started.
    #[serde(default)]
    pub cache_damaged: bool,
    /// Readers that are not known here.
    #[serde(default)]
    pub unassigned: Vec<UnassignedReader>,
}

impl Report {
    /// The last report of a gateway, where there is one that can be read.
    #[must_use]
    pub fn of(gateway: &Gateway) -> Option<Self> {
        gateway.report.as_deref().and_then(|text| serde_json::from_str(text).ok())
    }
}

/// A clock's trust, stored as a word.
pub type ClockWord = String;

/// Takes swipes over. Every swipe gets its receipt, in the order sent; one that is broken holds up no other.
///
/// # Errors
/// When the store fails; then nothing was taken over.
pub async fn submit(hub: &Hub, gateway: Uuid, input: &GatewaySubmitSwipesInput) -> Answer<Submitted> {
    stamp::date_ahead(hub, gateway, input.anchors.as_deref().unwrap_or_default()).await?;
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            if input.swipes.len() > MAX_BATCH {
                check.refuse(
                    Code::TooLong,
                    "swipes",
                    format!("{MAX_BATCH} swipes at the most; send the rest in another batch"),
                );
            }
            let mut tx = attempt.write().await?;
            let Some(mut sender) = sender(&mut tx, gateway, &mut check).await? else {
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            let mut touched = Touched::default();
            let anchors = input.anchors.as_deref().unwrap_or_default();
            stamp::take_anchors(hub, &mut tx, &sender, anchors, &mut touched).await?;
            let mut batch = Batch::new(&mut tx, &sender, input).await?;
            let mut swipes = batch.sort_out(hub, &mut tx, input).await?;
            let credits = decide::judge(hub, &mut tx, &mut swipes).await?;
            tx.insert_swipes(&swipes).await?;
            beside::note(&mut tx, &swipes).await?;
            tx.note_stamps(&batch.raw, hub.now().0).await?;
            tx.insert_credits(&credits).await?;
            touched.sessions.extend(credits.iter().map(|credit| credit.session_id));
            touched.came = came(&swipes, &credits);
            note_last_swipes(&mut tx, &swipes).await?;
            let now = hub.now();
            sender.enrolled_at = sender.enrolled_at.or(Some(now.0));
            let outages = input.outages.as_deref().unwrap_or_default();
            let fork_of = input.journal.as_ref().and_then(|it| it.fork_of.as_ref());
            outage::take(hub, &mut tx, &sender, outages, fork_of.map(|it| it.0), &mut touched).await?;
            let events = input.reader_events.as_deref().unwrap_or_default();
            event::take(hub, &mut tx, &sender, events).await?;
            let journals: Vec<_> = input.journal.iter().cloned().collect();
            let (complete, handed_over, hole) = journal::take(hub, &mut tx, &sender, &journals).await?;
            if let Some(hole) = hole {
                // Records stand as they came: what is gone came before the first that waited neither at its reader nor for room.
                let next = input.swipes.iter().find(|it| !it.late && it.reason != SwipeReason::StoreFault);
                let until = next.map_or(now.0, |swipe| swipe.latest_at.ms().min(now.0));
                outage::hole(&mut tx, &sender, until, now.0, hole, &mut touched).await?;
            }
            evidence::take(hub, &mut tx, &sender, input).await?;
            let said = Said {
                id: Some(input.batch_id.0),
                previous: input.previous.as_deref(),
                sent_at: input.sent_at.ms(),
            };
            let Step { in_step, heard, .. } = in_step(hub, &mut tx, &sender, said).await?;
            if in_step {
                if complete && heard {
                    advance(hub, &mut tx, &mut sender, input.watermark.ms(), &mut touched).await?;
                }
                // One that came late, behind others, is not what the gateway hears of last.
                took(hub, &mut sender, input.batch_id.0);
            }
            let last_taken = last_taken(&sender);
            tx.put(&[sender]).await?;
            let mut came: Vec<News> = swipes.iter().map(|swipe| News::Swipe(swipe.id)).collect();
            webhooks::swipes_came(hub, &mut tx, &swipes, &mut came).await?;
            let news = hub.derive(&mut tx, touched, None).await?;
            beside::commit(hub, tx, &swipes).await?;
            hub.tell(news);
            hub.tell(came);
            let renew_journal = batch.clash;
            let receipts = batch.receipts;
            Ok(Ok(Submitted {
                receipts,
                committed_at: now.0,
                handed_over,
                renew_journal,
                in_step,
                last_taken,
            }))
        })
    })
    .await
}

async fn sender(tx: &mut Tx, gateway: Uuid, check: &mut Check) -> Result<Option<Gateway>, StoreError> {
    let sender = tx.by_ids::<Gateway>([gateway]).await?.into_iter().next();
    if sender.is_none() {
        check.refuse(Code::NotFound, "", "this gateway is no longer there");
    }
    Ok(sender)
}

/// Moves a gateway's watermark on, never back nor beyond now, and names the registers that this may finish.
async fn advance(
    hub: &Hub,
    tx: &mut Tx,
    gateway: &mut Gateway,
    watermark: i64,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    if watermark <= 0 {
        // It does not know yet what was handed over.
        return Ok(());
    }
    let now = hub.now().0;
    // A gateway whose clock is ahead cannot know of swipes that have not been.
    let before = gateway.watermark.map(|before| before.min(now));
    let watermark = before.map_or(watermark.min(now), |before| before.max(watermark.min(now)));
    gateway.watermark = Some(watermark);
    touched.sessions.extend(tx.sessions_to_finish(gateway.id, before, watermark).await?);
    Ok(())
}

/// What a call says of itself and of the one before.
struct Said<'a> {
    id: Option<Uuid>,
    previous: Option<&'a [UuidScalar]>,
    sent_at: i64,
}

/// How a call stands to those that were taken before it.
struct Step {
    in_step: bool,
    /// What it believes to be here is here.
    believed: bool,
    /// It names the very answer that this hub gave last: its own id for a call may also stand for one that came once more, to a
    /// hub that was restored since. A heartbeat says how far every journal is, and is believed either way; a batch is not.
    heard: bool,
    /// It was given up and came late, behind others: it is out of step by itself.
    late: bool,
}

/// Whether what was taken of a gateway last is something that it names, of which it was told or may have been told: no backup
/// came between. And whether what it believes to be here is here: one that begins believes nothing yet. Older gateways name
/// nothing, and are believed.
async fn in_step(hub: &Hub, tx: &mut Tx, gateway: &Gateway, said: Said<'_>) -> Result<Step, StoreError> {
    let Some(previous) = said.previous else {
        return Ok(Step { in_step: true, believed: true, heard: true, late: false });
    };
    // As long as nothing was taken by its id there is none that it could come behind, however far ahead a clock once was.
    let late = gateway.exchange.is_some() && gateway.reported_at.is_some_and(|last| said.sent_at < last);
    if previous.is_empty() {
        return Ok(Step { in_step: !late, believed: false, heard: false, late });
    }
    // The same once more, as a proxy may send it, is in step as well.
    let named = |last: Uuid| previous.iter().any(|it| it.0 == last);
    let heard = gateway.exchange_answer.is_some_and(named);
    let in_step = heard || gateway.exchange.is_some_and(|last| said.id == Some(last) || named(last));
    if !in_step && !late {
        let now = hub.now().0;
        // Two machines of one identity take turns at this all day.
        let once = batch::alarm_id("OUT_OF_STEP", format!("{} {}", gateway.id, now / DAY_MS).as_bytes());
        let detail = format!(
            "gateway {} was told last of something that is not here: this hub was restored from a backup, or two machines \
             use the gateway's token; it says anew what it has, and registers wait for it meanwhile",
            gateway.code
        );
        tx.alarm(once, now, "OUT_OF_STEP", Some(gateway.id), detail).await?;
    }
    Ok(Step { in_step, believed: in_step, heard, late })
}

/// Notes what was taken of a gateway last. It is answered by a word of this hub's own: the same call, when it comes once more to a
/// hub that was restored since, has another, and what once followed it does not follow it there.
fn took(hub: &Hub, gateway: &mut Gateway, id: Uuid) {
    if gateway.exchange != Some(id) || gateway.exchange_answer.is_none() {
        gateway.exchange_answer = Some(hub.mint());
    }
    gateway.exchange = Some(id);
}

/// What was taken of a gateway last, as its answer calls it.
#[must_use]
pub fn last_taken(gateway: &Gateway) -> Option<Uuid> {
    gateway.exchange_answer.or(gateway.exchange)
}

/// Notes how a gateway is, and finishes the registers that its watermark has passed.
///
/// # Errors
/// When the store fails.
pub async fn heartbeat(hub: &Hub, gateway: Uuid, input: &GatewayHeartbeatInput) -> Answer<Heard> {
    stamp::date_ahead(hub, gateway, input.anchors.as_deref().unwrap_or_default()).await?;
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            let mut tx = attempt.write().await?;
            let Some(mut sender) = sender(&mut tx, gateway, &mut check).await? else {
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            let now = hub.now().0;
            let mut report = Report {
                held_back: false,
                journal_percent: input.journal_percent.map(|percent| percent.clamp(0, 100)),
                cache_damaged: input.cache_damaged == Some(true),
                clock_trust: input.clock.trust.word().to_owned(),
                clock_source: format!("{:?}", input.clock.source).to_uppercase(),
                uncertainty_ms: input.clock.uncertainty.map(|duration| duration.0),
                offset_ms: input.sent_at.ms() - now,
                last_synced_at: input.clock.last_synced_at.as_ref().map(DateTime::ms),
                backlog: i64::from(input.backlog),
                oldest_backlog_ms: input.oldest_backlog_age.map(|duration| duration.0),
                cache_cursor: input.cache_cursor.clone(),
                cache_age_ms: input.cache_age.0,
                free_disk_bytes: input.free_disk_bytes.map(|count| count.0),
                unassigned: input.unassigned.iter().flatten().take(MAX_UNASSIGNED).cloned().collect(),
                lines: input
                    .readers
                    .iter()
                    .filter_map(|it| Some((it.reader_id.0, it.line.clone()?)))
                    .collect(),
            };
            let said = Said {
                id: input.heartbeat_id.map(|id| id.0),
                previous: input.previous.as_deref(),
                sent_at: input.sent_at.ms(),
            };
            let Step { in_step, believed, late, .. } = in_step(hub, &mut tx, &sender, said).await?;
            let journals = input.journals.as_deref().unwrap_or_default();
            if late && !in_step {
                // How the gateway was then says nothing of how it is.
                let (_, handed_over, _) = journal::take(hub, &mut tx, &sender, journals).await?;
                return Ok(Ok(Heard { gateway: sender, handed_over, in_step }));
            }
            sender.enrolled_at = sender.enrolled_at.or(Some(now));
            sender.software_version = Some(input.software_version.clone());
            sender.reported_at = Some(input.sent_at.ms());
            sender.received_at = Some(now);
            let reports: BTreeMap<Uuid, &GatewayReaderReport> =
                input.readers.iter().map(|report| (report.reader_id.0, report)).collect();
            let mut readers = tx.by_column::<Reader>("gateway_id", [Value::from(gateway)]).await?;
            readers.retain_mut(|reader| {
                let Some(report) = reports.get(&reader.id) else { return false };
                reader.online = Some(report.online);
                reader.light = report.light;
                reader.firmware = report.firmware.clone().or(reader.firmware.take());
                if report.online {
                    reader.last_seen_at = Some(now);
                }
                reader.last_swipe_at =
                    reader.last_swipe_at.max(report.last_swipe_at.as_ref().map(DateTime::ms));
                true
            });
            tx.put(&readers).await?;
            let mut touched = Touched::default();
            let anchors = input.anchors.as_deref().unwrap_or_default();
            stamp::take_anchors(hub, &mut tx, &sender, anchors, &mut touched).await?;
            let (complete, handed_over, _) = journal::take(hub, &mut tx, &sender, journals).await?;
            if let Some(id) = input.heartbeat_id.as_ref().filter(|_| in_step) {
                took(hub, &mut sender, id.0);
            }
            if complete && believed {
                advance(hub, &mut tx, &mut sender, input.watermark.ms(), &mut touched).await?;
            }
            // It says that everything was said, and there is something that is not here: something here turned it down.
            report.held_back = input.held_back.is_some_and(|count| count > 0)
                || (!complete && believed && input.backlog == 0);
            if complete && believed && input.backlog == 0 && input.clock.trust != ClockTrust::Untrusted {
                let answering =
                    input.readers.iter().filter(|it| it.online).map(|it| it.reader_id.0).collect();
                outage::end_forgotten(hub, &mut tx, &sender, &answering, input.sent_at.ms(), &mut touched)
                    .await?;
            }
            sender.report = serde_json::to_string(&report).ok();
            tx.put(std::slice::from_ref(&sender)).await?;
            hub.settle(tx, touched, None).await?;
            Ok(Ok(Heard { gateway: sender, handed_over, in_step }))
        })
    })
    .await
}

/// What registers need of swipes that are new; whether another session shares one of them is seen there.
fn came(swipes: &[Swipe], credits: &[Credit]) -> BTreeMap<Uuid, Vec<CreditFact>> {
    let new: BTreeMap<Uuid, &Swipe> = swipes.iter().map(|swipe| (swipe.id, swipe)).collect();
    let mut came: BTreeMap<Uuid, Vec<CreditFact>> = BTreeMap::new();
    for credit in credits {
        let Some(swipe) = new.get(&credit.swipe_id) else { continue };
        came.entry(swipe.id).or_default().push(CreditFact {
            session_id: credit.session_id,
            student_id: credit.student_id,
            swipe_id: swipe.id,
            swiped_at: swipe.swiped_at,
            earliest_at: swipe.earliest_at,
            latest_at: swipe.latest_at,
            honoured: credit.honoured,
            shown_green: decide::was_green(swipe),
            shared: false,
        });
    }
    came
}

async fn note_last_swipes(tx: &mut Tx, swipes: &[Swipe]) -> Result<(), StoreError> {
    let mut last: BTreeMap<Uuid, i64> = BTreeMap::new();
    for swipe in swipes {
        let at = last.entry(swipe.reader_id).or_insert(swipe.swiped_at);
        *at = (*at).max(swipe.swiped_at);
    }
    let mut readers = tx.by_ids::<Reader>(last.keys().copied()).await?;
    for reader in &mut readers {
        reader.last_swipe_at = reader.last_swipe_at.max(last.get(&reader.id).copied());
    }
    tx.put(&readers).await
}
