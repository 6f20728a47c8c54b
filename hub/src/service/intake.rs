//! Intake: swipes and heartbeats from gateways, in one transaction each; receipts only after the commit.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{Enum, InputObject};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::decide::{self, Shown};
use super::people::hex;
use super::refusal::{Answer, Check, Code};
use super::{Hub, News, Touched};
use crate::scalar::{Counter, DateTime, Duration, UuidScalar};
use crate::store::entity::{
    ClockTrust, Gateway, LightColour, Reader, Room, Swipe, SwipeDecision, SwipeReason,
};
use crate::store::{StoreError, Tx, Value};

/// The most swipes in one batch.
pub const MAX_BATCH: usize = 1_000;

/// Where a clock gets its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum ClockSource {
    /// The hub's answers.
    Hub,
    /// Nowhere.
    None,
    /// Network time.
    Ntp,
    /// Precision time protocol.
    Ptp,
    /// A clock chip with a battery.
    Rtc,
}

/// How the gateway's clock stands.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayClockInput {
    /// How far it can be believed.
    pub trust: ClockTrust,
    /// Where it gets its time.
    pub source: ClockSource,
    /// Its time minus the hub's, as measured at the last exchange.
    pub offset: Option<Duration>,
    /// How far it may be off.
    pub uncertainty: Option<Duration>,
    /// When it was last in step.
    pub last_synced_at: Option<DateTime>,
}

/// One swipe.
#[derive(Debug, Clone, InputObject)]
pub struct GatewaySwipeInput {
    /// Minted by the gateway (version 7).
    pub swipe_id: UuidScalar,
    /// Which journal; a new one starts when storage was lost or cloned.
    pub journal_id: UuidScalar,
    /// 1, 2, 3 … within the journal: finds gaps, decides nothing.
    pub sequence: Counter,
    /// The reader.
    pub reader_id: UuidScalar,
    /// The room at whose door the gateway took the reader to hang.
    pub room_id: Option<UuidScalar>,
    /// The card's key, 64 hex digits; empty for what is no card.
    pub card_key: String,
    /// Which of the building's keys it was made with.
    pub card_key_epoch: i32,
    /// How many bits the card had.
    pub card_bits: i32,
    /// The pseudonym of whom the gateway took the card to be.
    pub holder: Option<UuidScalar>,
    /// The gateway's time of the swipe.
    pub swiped_at: DateTime,
    /// Not before.
    pub earliest_at: DateTime,
    /// Not after.
    pub latest_at: DateTime,
    /// The start of the machine that it fell into.
    pub boot_id: UuidScalar,
    /// Time since that start.
    pub since_boot: Duration,
    /// How far the clock could be believed.
    pub clock_trust: ClockTrust,
    /// What was decided at the door.
    pub decision: SwipeDecision,
    /// Why.
    pub reason: SwipeReason,
    /// What was shown.
    pub light: LightColour,
    /// The sessions that it was credited to at the door.
    pub session_ids: Vec<UuidScalar>,
    /// The feed position that it was decided by.
    pub basis: String,
    /// SHA-256 over the record and the chain value before it, 64 hex digits.
    pub chain: String,
}

/// Swipes to hand over, in order: 1000 at the most.
#[derive(Debug, Clone, InputObject)]
pub struct GatewaySubmitSwipesInput {
    /// Names the batch in the answer.
    pub batch_id: UuidScalar,
    /// When it was sent, by the gateway's clock.
    pub sent_at: DateTime,
    /// How that clock stands.
    pub clock: GatewayClockInput,
    /// The swipes.
    pub swipes: Vec<GatewaySwipeInput>,
    /// Swipes still waiting after these.
    pub backlog_after: i32,
    /// Every swipe before this instant is in this or an earlier batch.
    pub watermark: DateTime,
}

/// How one of a gateway's readers is.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayReaderReport {
    /// The reader.
    pub reader_id: UuidScalar,
    /// Whether the gateway can talk to it.
    pub online: bool,
    /// What it shows.
    pub light: Option<LightColour>,
    /// When a card was last held to it.
    pub last_swipe_at: Option<DateTime>,
    /// Its firmware.
    pub firmware: Option<String>,
}

/// How a gateway is.
#[derive(Debug, Clone, InputObject)]
pub struct GatewayHeartbeatInput {
    /// When it was sent, by the gateway's clock.
    pub sent_at: DateTime,
    /// Every swipe before this instant has been handed over.
    pub watermark: DateTime,
    /// How that clock stands.
    pub clock: GatewayClockInput,
    /// Swipes taken and not yet handed over.
    pub backlog: i32,
    /// Age of the oldest of them.
    pub oldest_backlog_age: Option<Duration>,
    /// The feed position of its timetable copy.
    pub cache_cursor: String,
    /// Age of that copy.
    pub cache_age: Duration,
    /// What is free where the journal lies.
    pub free_disk_bytes: Option<Counter>,
    /// Its software.
    pub software_version: String,
    /// Its readers.
    pub readers: Vec<GatewayReaderReport>,
}

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
}

/// A clock's trust, stored as a word.
pub type ClockWord = String;

/// Takes swipes over. Every swipe gets its receipt, in the order sent; one that is broken holds up no other.
///
/// # Errors
/// When the store fails; then nothing was taken over.
pub async fn submit(
    hub: &Hub,
    gateway: Uuid,
    input: &GatewaySubmitSwipesInput,
) -> Answer<(Vec<Receipt>, i64)> {
    let mut check = Check::default();
    if input.swipes.len() > MAX_BATCH {
        check.refuse(
            Code::TooLong,
            "swipes",
            format!("{MAX_BATCH} swipes at the most; send the rest in another batch"),
        );
    }
    let mut tx = hub.write().await?;
    let Some(mut sender) = tx.by_ids::<Gateway>([gateway]).await?.into_iter().next() else {
        check.refuse(Code::NotFound, "", "this gateway is no longer there");
        return Ok(Err(check.refusals().unwrap_or_default()));
    };
    if let Some(refusals) = check.refusals() {
        return Ok(Err(refusals));
    }
    let mut batch = Batch::new(hub, &mut tx, &sender, input).await?;
    let mut swipes = batch.sort_out(hub, &mut tx, input).await?;
    let credits = decide::judge(hub, &mut tx, &mut swipes).await?;
    tx.insert_swipes(&swipes).await?;
    tx.insert_credits(&credits).await?;
    let mut touched = Touched::default();
    touched.sessions.extend(credits.iter().map(|credit| credit.session_id));
    note_last_swipes(&mut tx, &swipes).await?;
    let now = hub.now();
    sender.enrolled_at = sender.enrolled_at.or(Some(now.0));
    advance(&mut tx, &mut sender, input.watermark.ms(), &mut touched).await?;
    tx.put(&[sender]).await?;
    let came: Vec<News> = swipes.iter().map(|swipe| News::Swipe(swipe.id)).collect();
    hub.settle(tx, touched, None).await?;
    hub.tell(came);
    Ok(Ok((batch.receipts, now.0)))
}

/// Moves a gateway's watermark on, never back, and names the registers that this may finish.
async fn advance(
    tx: &mut Tx,
    gateway: &mut Gateway,
    watermark: i64,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    let before = gateway.watermark;
    let watermark = before.map_or(watermark, |old| old.max(watermark));
    gateway.watermark = Some(watermark);
    touched.sessions.extend(tx.sessions_to_finish(gateway.id, before, watermark).await?);
    Ok(())
}

/// Notes how a gateway is, and finishes the registers that its watermark has passed.
///
/// # Errors
/// When the store fails.
pub async fn heartbeat(hub: &Hub, gateway: Uuid, input: &GatewayHeartbeatInput) -> Answer<Gateway> {
    let mut tx = hub.write().await?;
    let Some(mut sender) = tx.by_ids::<Gateway>([gateway]).await?.into_iter().next() else {
        let mut check = Check::default();
        check.refuse(Code::NotFound, "", "this gateway is no longer there");
        return Ok(Err(check.refusals().unwrap_or_default()));
    };
    let now = hub.now().0;
    let report = Report {
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
    };
    sender.enrolled_at = sender.enrolled_at.or(Some(now));
    sender.software_version = Some(input.software_version.clone());
    sender.reported_at = Some(input.sent_at.ms());
    sender.received_at = Some(now);
    sender.report = serde_json::to_string(&report).ok();
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
        reader.last_swipe_at = reader.last_swipe_at.max(report.last_swipe_at.as_ref().map(DateTime::ms));
        true
    });
    tx.put(&readers).await?;
    let mut touched = Touched::default();
    advance(&mut tx, &mut sender, input.watermark.ms(), &mut touched).await?;
    tx.put(std::slice::from_ref(&sender)).await?;
    hub.settle(tx, touched, None).await?;
    Ok(Ok(sender))
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

/// A batch on its way in: what of it is known, and the receipts so far.
struct Batch {
    gateway: Gateway,
    readers: BTreeMap<Uuid, Reader>,
    rooms: BTreeSet<Uuid>,
    holders: BTreeMap<Uuid, Uuid>,
    bodies: BTreeSet<Vec<u8>>,
    ids: BTreeSet<Uuid>,
    numbers: BTreeSet<(Uuid, i64)>,
    receipts: Vec<Receipt>,
}

impl Batch {
    async fn new(
        _hub: &Hub,
        tx: &mut Tx,
        gateway: &Gateway,
        input: &GatewaySubmitSwipesInput,
    ) -> Result<Self, StoreError> {
        let ids: Vec<Uuid> = input.swipes.iter().map(|swipe| swipe.swipe_id.0).collect();
        let numbers: Vec<(Uuid, i64)> =
            input.swipes.iter().map(|swipe| (swipe.journal_id.0, swipe.sequence.0)).collect();
        let claimed = tx.swipes_claimed(&ids, &numbers).await?;
        let readers = tx.by_column::<Reader>("gateway_id", [Value::from(gateway.id)]).await?;
        let rooms = tx.by_column::<Room>("building_id", [Value::from(gateway.building_id)]).await?;
        let holders: BTreeSet<Uuid> =
            input.swipes.iter().filter_map(|swipe| swipe.holder).map(|holder| holder.0).collect();
        let holders: Vec<Uuid> = holders.into_iter().collect();
        let holders = tx.students_by_holder(gateway.building_id, &holders).await?;
        Ok(Self {
            gateway: gateway.clone(),
            readers: readers.into_iter().map(|reader| (reader.id, reader)).collect(),
            rooms: rooms.into_iter().map(|room| room.id).collect(),
            holders: holders.into_iter().collect(),
            ids: claimed.iter().map(|(id, ..)| *id).collect(),
            numbers: claimed.iter().map(|(_, journal, sequence, _)| (*journal, *sequence)).collect(),
            bodies: claimed.into_iter().map(|(.., body)| body).collect(),
            receipts: Vec::new(),
        })
    }

    /// Sorts the swipes of a batch into new, known and broken ones; gives the new ones.
    async fn sort_out(
        &mut self,
        hub: &Hub,
        tx: &mut Tx,
        input: &GatewaySubmitSwipesInput,
    ) -> Result<Vec<Swipe>, StoreError> {
        let now = hub.now().0;
        let mut swipes = Vec::new();
        for (index, sent) in input.swipes.iter().enumerate() {
            let body = body_hash(sent);
            let (outcome, error) = if self.bodies.contains(&body) {
                (ReceiptOutcome::Duplicate, None)
            } else {
                match self.swipe(hub, sent, &body, now) {
                    Ok(mut swipe) => {
                        let clash = self.ids.contains(&swipe.claimed_id)
                            || self.numbers.contains(&(swipe.journal_id, swipe.sequence));
                        if clash {
                            // A cloned or rolled-back card: both bodies are kept, this one under our own id.
                            swipe.id = hub.mint();
                            let detail = format!(
                                "journal {} sequence {} and swipe {} came again with another body: the gateway's \
                                 storage was cloned or rolled back; both are kept",
                                swipe.journal_id, swipe.sequence, swipe.claimed_id
                            );
                            tracing::error!(gateway = %self.gateway.code, "{detail}");
                            tx.alarm(hub.mint(), now, "SWIPE_CLASH", Some(self.gateway.id), detail).await?;
                        }
                        self.ids.insert(swipe.claimed_id);
                        self.numbers.insert((swipe.journal_id, swipe.sequence));
                        self.bodies.insert(body);
                        swipes.push(swipe);
                        (ReceiptOutcome::Stored, None)
                    }
                    Err(error) => {
                        let detail = format!("swipes.{index}: {error}; set aside: {}", describe(sent));
                        tracing::error!(gateway = %self.gateway.code, swipe = %sent.swipe_id.0, "rejected: {error}");
                        tx.alarm(hub.mint(), now, "SWIPE_REJECTED", Some(self.gateway.id), detail).await?;
                        (ReceiptOutcome::Rejected, Some(error))
                    }
                }
            };
            self.receipts.push(Receipt { swipe_id: sent.swipe_id.0, outcome, error });
        }
        Ok(swipes)
    }

    fn swipe(&self, hub: &Hub, sent: &GatewaySwipeInput, body: &[u8], now: i64) -> Result<Swipe, String> {
        let _ = hub;
        let reader = self.readers.get(&sent.reader_id.0).ok_or("readerId: not a reader of this gateway")?;
        if sent.room_id.is_some_and(|room| !self.rooms.contains(&room.0)) {
            return Err("roomId: not a room of this gateway's building".to_owned());
        }
        let (earliest, latest, at) = (sent.earliest_at.ms(), sent.latest_at.ms(), sent.swiped_at.ms());
        if earliest > at || at > latest {
            return Err("swipedAt: must lie from earliestAt to latestAt".to_owned());
        }
        let card_key = match sent.card_key.as_str() {
            "" => None,
            key => Some(hex(key).map_err(|error| format!("cardKey: {error}"))?),
        };
        if card_key.as_ref().is_some_and(|key| key.len() != 32) {
            return Err("cardKey: must be 64 hex digits".to_owned());
        }
        if hex(&sent.chain).map_or(0, |chain| chain.len()) != 32 {
            return Err("chain: must be 64 hex digits".to_owned());
        }
        let shown = Shown {
            decision: sent.decision.word().to_owned(),
            reason: sent.reason.word().to_owned(),
            light: sent.light.word().to_owned(),
            sessions: sent.session_ids.iter().map(|id| id.0).collect(),
            basis: sent.basis.clone(),
        };
        Ok(Swipe {
            id: sent.swipe_id.0,
            claimed_id: sent.swipe_id.0,
            gateway_id: self.gateway.id,
            journal_id: sent.journal_id.0,
            sequence: sent.sequence.0,
            reader_id: reader.id,
            room_id: sent.room_id.map(|room| room.0).or(reader.room_id),
            building_id: self.gateway.building_id,
            card_key,
            card_bits: i64::from(sent.card_bits),
            card_id: None,
            student_id: None,
            shown_student_id: sent.holder.and_then(|holder| self.holders.get(&holder.0).copied()),
            swiped_at: at,
            earliest_at: earliest,
            latest_at: latest,
            received_at: now,
            clock_trust: sent.clock_trust,
            decision: sent.decision,
            reason: sent.reason,
            decided_at: now,
            shown: serde_json::to_string(&shown).map_err(|error| error.to_string())?,
            body: body.to_vec(),
        })
    }
}

/// SHA-256 over everything that the gateway sent of a swipe, field by field.
fn body_hash(sent: &GatewaySwipeInput) -> Vec<u8> {
    Sha256::digest(describe(sent).as_bytes()).to_vec()
}

fn describe(sent: &GatewaySwipeInput) -> String {
    let sessions: Vec<String> = sent.session_ids.iter().map(|id| id.0.to_string()).collect();
    format!(
        "{} {} {} {} {:?} {} {} {} {:?} {} {} {} {} {} {} {} {} {} {} {} {}",
        sent.swipe_id.0,
        sent.journal_id.0,
        sent.sequence.0,
        sent.reader_id.0,
        sent.room_id.map(|room| room.0),
        sent.card_key,
        sent.card_key_epoch,
        sent.card_bits,
        sent.holder.map(|holder| holder.0),
        sent.swiped_at.ms(),
        sent.earliest_at.ms(),
        sent.latest_at.ms(),
        sent.boot_id.0,
        sent.since_boot.0,
        sent.clock_trust.word(),
        sent.decision.word(),
        sent.reason.word(),
        sent.light.word(),
        sessions.join(","),
        sent.basis,
        sent.chain,
    )
}
