//! Gateways as people see them, and the two writes that gateways make.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use futures_util::future::try_join_all;
use uuid::Uuid;

use super::commissioning::{Commissioning, CommissioningConnection};
use super::connection::{self, connection, page};
use super::context::{DECIDERS, GATEWAYS, Needs, READERS, caller, coded, fault, hub, local};
use super::estate::{Building, Reader};
use super::id::Kind;
use super::loader::{self, ReadersOfGateway};
use super::outage::{GatewayOutage, GatewayOutageConnection, GatewayOutageFilter, outage_list};
use super::payload::{InputError, UserError, user_errors};
use crate::scalar::{Counter, DateTime, Duration, UuidScalar};
use crate::service::feed::{self, FeedCursor};
use crate::service::intake::evidence::hexed;
use crate::service::intake::journal::HandedOver;
use crate::service::intake::message::{GatewayHeartbeatInput, GatewaySubmitSwipesInput, UnassignedReader};
use crate::service::intake::outage::{self, DeclareGatewayLostInput};
use crate::service::intake::{self, Heard, Receipt, ReceiptOutcome, Report};
use crate::service::refusal::Code;
use crate::store::entity::{self, ClockTrust};
use crate::store::list;
use crate::store::page::List;

/// A gateway that has not been heard of for this long is offline.
const OFFLINE_AFTER_MS: i64 = 3 * 60_000;

/// A gateway's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum GatewayState {
    /// It has never spoken to the hub.
    AwaitingEnrolment,
    /// It works, and says that something is wrong.
    Degraded,
    /// It has not been heard of for three minutes.
    Offline,
    /// It works.
    Online,
}

/// What may be wrong with a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum GatewayProblem {
    /// Swipes wait for longer than five minutes.
    BacklogGrowing,
    /// Its timetable copy was damaged when it started last, and fetched again: its card may be failing.
    CacheDamaged,
    /// Its timetable copy is behind the hub's.
    CacheStale,
    /// Its clock cannot be believed.
    ClockUntrusted,
    /// Less than 200 MB are free on its disk.
    DiskLow,
    /// Its journal has taken 80 % of its room or more: at 100 % it refuses swipes.
    JournalFilling,
    /// One of its readers does not answer.
    ReaderUnreachable,
    /// It has records that the hub turned down: its log says why. Registers of its building wait for them, until the settle
    /// limit or until `declareGatewayLost`.
    RecordsHeldBack,
}

/// How far a gateway's clock can be believed.
#[derive(SimpleObject)]
pub struct ClockHealth {
    /// The degree of belief.
    trust: ClockTrust,
    /// Its clock minus the hub's, as measured at the last exchange.
    offset: Option<Duration>,
    /// How far it may be off.
    uncertainty: Option<Duration>,
    /// Where it gets its time.
    source: String,
    /// When it was last in step.
    last_synced_at: Option<DateTime>,
}

/// What a gateway said of itself, and what the hub makes of it.
#[derive(SimpleObject)]
pub struct GatewayHealth {
    /// When it was said, by the gateway's clock.
    reported_at: DateTime,
    /// When it was heard, by the hub's clock.
    received_at: DateTime,
    /// Its clock.
    clock: ClockHealth,
    /// Swipes taken and not yet taken over by the hub.
    backlog: i64,
    /// Age of the oldest of them.
    oldest_backlog_age: Option<Duration>,
    /// Age of the timetable copy that it decides by.
    cache_age: Duration,
    /// The feed position of that copy.
    cache_cursor: String,
    /// What is free on its disk.
    free_disk_bytes: Option<Counter>,
    /// How full its journal is, in percent of what it may take; 100 where its disk is full.
    journal_percent: Option<i32>,
    /// Every swipe before this instant has been handed over.
    watermark: Option<DateTime>,
    /// What may be wrong with it.
    problems: Vec<GatewayProblem>,
}

/// A machine in a building that takes swipes from readers, decides them by its own copy of the timetable, and
/// forwards them.
#[derive(Clone)]
pub struct Gateway(pub entity::Gateway);

/// A machine in a building that takes swipes from readers, decides them by its own copy of the timetable, and
/// forwards them.
#[Object]
impl Gateway {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Gateway.id(self.0.id)
    }
    /// Short code.
    async fn code(&self) -> &str {
        &self.0.code
    }
    /// When it, or a reader of it, could not record; by their beginning.
    #[graphql(complexity = "5 + child_complexity")]
    async fn outages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<GatewayOutageFilter>,
    ) -> Result<GatewayOutageConnection> {
        let list = outage_list(self.0.id, filter.as_ref());
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(GatewayOutageConnection::new(paged, total, GatewayOutage))
    }
    /// What installers saw and heard at its doors, by time.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn commissionings(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
    ) -> Result<CommissioningConnection> {
        let list = list::commissionings().and("m.gateway_id = {}", self.0.id);
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(CommissioningConnection::new(paged, total, Commissioning))
    }
    /// Where it is.
    async fn building(&self, ctx: &Context<'_>) -> Result<Option<Building>> {
        Ok(loader::one(ctx, self.0.building_id).await?.map(Building))
    }
    /// Its readers, by code.
    async fn readers(&self, ctx: &Context<'_>) -> Result<Vec<Reader>> {
        Ok(loader::list(ctx, ReadersOfGateway(self.0.id)).await?.into_iter().map(Reader).collect())
    }
    /// Readers in its configuration that are not known here: save them under these codes to give them a door.
    #[graphql(guard = "Needs(READERS)")]
    async fn unassigned_readers(&self) -> Vec<UnassignedReader> {
        Report::of(&self.0).map(|report| report.unassigned).unwrap_or_default()
    }
    /// Its standing.
    async fn state(&self, ctx: &Context<'_>) -> Result<GatewayState> {
        let Some(received) = self.0.received_at else { return Ok(GatewayState::AwaitingEnrolment) };
        if hub(ctx)?.now().0 - received > OFFLINE_AFTER_MS {
            return Ok(GatewayState::Offline);
        }
        let wrong = !self.problems(ctx).await?.is_empty();
        Ok(if wrong { GatewayState::Degraded } else { GatewayState::Online })
    }
    /// What it last said of itself; null before it ever did.
    async fn health(&self, ctx: &Context<'_>) -> Result<Option<GatewayHealth>> {
        let (Some(report), Some(reported), Some(received)) =
            (Report::of(&self.0), self.0.reported_at, self.0.received_at)
        else {
            return Ok(None);
        };
        Ok(Some(GatewayHealth {
            reported_at: local(ctx, reported)?,
            received_at: local(ctx, received)?,
            clock: ClockHealth {
                trust: ClockTrust::from_word(&report.clock_trust).unwrap_or(ClockTrust::Untrusted),
                offset: Some(Duration(report.offset_ms)),
                uncertainty: report.uncertainty_ms.map(Duration),
                source: report.clock_source,
                last_synced_at: report.last_synced_at.map(|at| local(ctx, at)).transpose()?,
            },
            backlog: report.backlog,
            oldest_backlog_age: report.oldest_backlog_ms.map(Duration),
            cache_age: Duration(report.cache_age_ms),
            cache_cursor: report.cache_cursor,
            free_disk_bytes: report.free_disk_bytes.map(Counter),
            journal_percent: report.journal_percent,
            watermark: self.0.watermark.map(|at| local(ctx, at)).transpose()?,
            problems: self.problems(ctx).await?,
        }))
    }
    /// When it first spoke to the hub.
    async fn enrolled_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.enrolled_at.map(|at| local(ctx, at)).transpose()
    }
    /// Its software.
    async fn software_version(&self) -> Option<&str> {
        self.0.software_version.as_deref()
    }
}

impl Gateway {
    async fn problems(&self, ctx: &Context<'_>) -> Result<Vec<GatewayProblem>> {
        let Some(report) = Report::of(&self.0) else { return Ok(Vec::new()) };
        let building = loader::one::<entity::Building>(ctx, self.0.building_id).await?;
        let readers = loader::list(ctx, ReadersOfGateway(self.0.id)).await?;
        let latest = building.map_or(0, |building| building.feed_revision);
        Ok(problems(&report, latest, &readers))
    }
}

/// So full, in percent, a journal is worth somebody's attention.
const FILLING: i32 = 80;

fn problems(report: &Report, latest: i64, readers: &[entity::Reader]) -> Vec<GatewayProblem> {
    let mut problems = Vec::new();
    if report.oldest_backlog_ms.is_some_and(|age| age > 5 * 60_000) {
        problems.push(GatewayProblem::BacklogGrowing);
    }
    if FeedCursor::decode(&report.cache_cursor).is_none_or(|cursor| cursor.revision < latest) {
        problems.push(GatewayProblem::CacheStale);
    }
    if report.clock_trust == ClockTrust::Untrusted.word() {
        problems.push(GatewayProblem::ClockUntrusted);
    }
    if report.free_disk_bytes.is_some_and(|free| free < 200_000_000) {
        problems.push(GatewayProblem::DiskLow);
    }
    if readers.iter().any(|reader| reader.enabled && reader.online != Some(true)) {
        problems.push(GatewayProblem::ReaderUnreachable);
    }
    if report.journal_percent.is_some_and(|percent| percent >= FILLING) {
        problems.push(GatewayProblem::JournalFilling);
    }
    if report.cache_damaged {
        problems.push(GatewayProblem::CacheDamaged);
    }
    if report.held_back {
        problems.push(GatewayProblem::RecordsHeldBack);
    }
    problems
}

/// As for ReaderFilter.
#[derive(Debug, Clone, Default, InputObject)]
pub struct GatewayFilter {
    /// In one of these buildings.
    building_ids: Option<Vec<ID>>,
    /// In one of these states.
    states: Option<Vec<GatewayState>>,
}

/// The gateways that a filter lets through. There are as many as buildings, so that their states, which hang on what they
/// last said, are worked out one by one.
pub async fn gateway_list(ctx: &Context<'_>, filter: Option<&GatewayFilter>) -> Result<List> {
    let mut list = list::gateways();
    if let Some(ids) = filter.and_then(|filter| filter.building_ids.as_ref()) {
        list = list.and_in("g.building_id IN ({})", Kind::Building.all_of(ids).into_iter().map(Into::into));
    }
    if let Some(wanted) = filter.and_then(|filter| filter.states.as_ref()) {
        let mut tx = hub(ctx)?.read().await.map_err(|error| fault(&error))?;
        let all: Vec<Gateway> =
            tx.all().await.map_err(|error| fault(&error))?.into_iter().map(Gateway).collect();
        drop(tx);
        let states = try_join_all(all.iter().map(|gateway| gateway.state(ctx))).await?;
        let of_these = all.iter().zip(states).filter(|(_, state)| wanted.contains(state));
        list = list.and_in("g.id IN ({})", of_these.map(|(gateway, _)| gateway.0.id.into()));
    }
    Ok(list)
}

connection! {
    /// A page of gateways.
    GatewayConnection,
    /// A gateway and its place.
    GatewayEdge, Gateway
}

/// A receipt: the swipe is durable at the hub, or can never be.
#[derive(SimpleObject)]
pub struct SwipeReceipt {
    /// The swipe.
    swipe_id: UuidScalar,
    /// STORED: new. DUPLICATE: had it. REJECTED: set aside, not to be sent again.
    outcome: ReceiptOutcome,
    /// Why it was rejected.
    error: Option<InputError>,
}

/// What became of a batch. Every swipe has its receipt, in the order sent.
#[derive(SimpleObject)]
pub struct GatewaySubmitSwipesPayload {
    /// The batch.
    batch_id: UuidScalar,
    /// The receipts, in the order sent; empty when the batch was turned down whole.
    receipts: Vec<SwipeReceipt>,
    /// The hub's clock at the commit, for the gateway's offset.
    committed_at: DateTime,
    /// How far the batch's journal is handed over now.
    handed_over: Vec<GatewayHandedOver>,
    /// A number or an id came again with another body: the gateway's storage was cloned or rolled back. Both are
    /// kept; go on under another journal id.
    renew_journal: bool,
    /// What the hub took last of this gateway is something that `previous` names. Where not, the hub was restored from a
    /// backup since: the swipes are taken, the watermark is not, and a heartbeat must say first how far everything is.
    in_step: bool,
    /// What the hub calls the last heartbeat or batch of this gateway that it took; null before the first. `previous` names it.
    last_taken: Option<UuidScalar>,
    /// Why the batch was turned down whole; empty when it was not.
    errors: Vec<UserError>,
}

/// How far a journal is handed over.
#[derive(SimpleObject)]
pub struct GatewayHandedOver {
    /// The journal.
    journal_id: UuidScalar,
    /// Every record up to this one is at the hub; 0 where none is.
    through: Counter,
    /// The chain value behind it, hex digits; empty where there is none. A gateway that has another one there has
    /// another journal of the same name.
    chain: String,
}

fn handed_over(journals: Vec<HandedOver>) -> Vec<GatewayHandedOver> {
    journals
        .into_iter()
        .map(|it| GatewayHandedOver {
            journal_id: UuidScalar(it.journal_id),
            through: Counter(it.through),
            chain: hexed(&it.chain),
        })
        .collect()
}

/// The hub's answer to a heartbeat: its clock, and what it knows to be behind.
#[derive(SimpleObject)]
pub struct GatewayHeartbeatPayload {
    /// The hub's clock.
    received_at: DateTime,
    /// The building's latest feed position.
    latest_cursor: String,
    /// What may be wrong with the gateway.
    problems: Vec<GatewayProblem>,
    /// How far the journals asked for are handed over. Where it is less than the gateway takes it to be, the hub
    /// was restored from a backup: send everything behind it again.
    handed_over: Vec<GatewayHandedOver>,
    /// What the hub took last of this gateway is something that `previous` names. Where not, the hub was restored from a
    /// backup since, and the watermark is not taken.
    in_step: bool,
    /// What the hub calls the last heartbeat or batch of this gateway that it took; null before the first. `previous` names it.
    last_taken: Option<UuidScalar>,
    /// Why the heartbeat was turned down; empty when it was not.
    errors: Vec<UserError>,
}

/// The writes that gateways make.
#[derive(Default)]
pub struct GatewayWrites;

/// The gateway that the caller speaks for.
pub fn own_gateway(ctx: &Context<'_>) -> Result<Uuid> {
    caller(ctx)?.gateway_id.ok_or_else(|| coded("FORBIDDEN", "this token speaks for no gateway"))
}

#[Object]
impl GatewayWrites {
    /// GATEWAY. Hands over swipes, in order. Answers once they are durable: what the receipts name may be
    /// forgotten. Sending one again is harmless.
    #[graphql(guard = "Needs(GATEWAYS)")]
    async fn gateway_submit_swipes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The swipes.")] input: GatewaySubmitSwipesInput,
    ) -> Result<GatewaySubmitSwipesPayload> {
        let hub = hub(ctx)?;
        let (batch_id, gateway, worker) = (input.batch_id, own_gateway(ctx)?, hub.clone());
        // On a task of its own: a gateway that hangs up meanwhile must not undo work that it would ask for again.
        let work = tokio::spawn(async move { intake::submit(&worker, gateway, &input).await });
        let answer = work.await.map_err(|_| coded("INTERNAL", "the hub failed"))?;
        Ok(match answer.map_err(|error| fault(&error))? {
            Ok(submitted) => GatewaySubmitSwipesPayload {
                batch_id,
                receipts: submitted.receipts.into_iter().enumerate().map(receipt).collect(),
                committed_at: local(ctx, submitted.committed_at)?,
                handed_over: handed_over(submitted.handed_over),
                renew_journal: submitted.renew_journal,
                in_step: submitted.in_step,
                last_taken: submitted.last_taken.map(UuidScalar),
                errors: Vec::new(),
            },
            Err(refusals) => GatewaySubmitSwipesPayload {
                batch_id,
                receipts: Vec::new(),
                committed_at: local(ctx, hub.now().0)?,
                handed_over: Vec::new(),
                renew_journal: false,
                in_step: true,
                last_taken: None,
                errors: user_errors(refusals),
            },
        })
    }

    /// GATEWAY. Says how it is.
    #[graphql(guard = "Needs(GATEWAYS)")]
    async fn gateway_heartbeat(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it is.")] input: GatewayHeartbeatInput,
    ) -> Result<GatewayHeartbeatPayload> {
        let hub = hub(ctx)?;
        let (gateway, worker) = (own_gateway(ctx)?, hub.clone());
        let work = tokio::spawn(async move { intake::heartbeat(&worker, gateway, &input).await });
        let answer = work.await.map_err(|_| coded("INTERNAL", "the hub failed"))?;
        let answer = answer.map_err(|error| fault(&error))?;
        let mut payload = GatewayHeartbeatPayload {
            received_at: local(ctx, hub.now().0)?,
            latest_cursor: String::new(),
            problems: Vec::new(),
            handed_over: Vec::new(),
            in_step: true,
            last_taken: None,
            errors: Vec::new(),
        };
        match answer {
            Ok(Heard { gateway, handed_over: journals, in_step }) => {
                payload.handed_over = handed_over(journals);
                (payload.in_step, payload.last_taken) =
                    (in_step, intake::last_taken(&gateway).map(UuidScalar));
                let mut tx = hub.read().await.map_err(|error| fault(&error))?;
                hub.know_lineage(&mut tx).await.map_err(|error| fault(&error))?;
                let revision =
                    feed::latest(&mut tx, gateway.building_id).await.map_err(|error| fault(&error))?;
                // The loaders need a connection too: many heartbeats holding one each would wait for ever.
                drop(tx);
                payload.latest_cursor = hub.position(gateway.building_id, revision);
                payload.problems = Gateway(gateway).problems(ctx).await?;
            }
            Err(refusals) => payload.errors = user_errors(refusals),
        }
        Ok(payload)
    }
}

fn receipt((index, receipt): (usize, Receipt)) -> SwipeReceipt {
    let error = receipt.error.map(|message| {
        // What is wrong with a swipe begins with the name of the field.
        let field = message.split_once(": ").map(|(field, _)| field.to_owned());
        let path = [Some("swipes".to_owned()), Some(index.to_string()), field];
        InputError { code: Code::Invalid, message, path: Some(path.into_iter().flatten().collect()) }
    });
    SwipeReceipt { swipe_id: UuidScalar(receipt.swipe_id), outcome: receipt.outcome, error }
}

/// What came of it.
#[derive(SimpleObject)]
pub struct DeclareGatewayLostPayload {
    /// The gateway; null when it was turned down.
    gateway: Option<Gateway>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// What persons decide of gateways.
#[derive(Default)]
pub struct GatewayDecisions;

#[Object]
impl GatewayDecisions {
    /// Declares that a gateway will not come back: registers wait for it no longer, and nobody is absent for what
    /// it may have taken. If it comes back after all, what it hands over counts.
    #[graphql(guard = "Needs(DECIDERS)")]
    async fn declare_gateway_lost(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which, since when, and why.")] input: DeclareGatewayLostInput,
    ) -> Result<DeclareGatewayLostPayload> {
        let answer = outage::declare_lost(hub(ctx)?, caller(ctx)?, &input).await;
        Ok(match answer.map_err(|error| fault(&error))? {
            Ok(gateway) => DeclareGatewayLostPayload { gateway: Some(Gateway(gateway)), errors: Vec::new() },
            Err(refusals) => DeclareGatewayLostPayload { gateway: None, errors: user_errors(refusals) },
        })
    }
}
