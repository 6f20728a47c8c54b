//! Swipes: facts as the gateways saw them, and what the hub makes of them.

use std::collections::BTreeSet;

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};

use super::connection::{DateTimeRange, connection, in_range};
use super::context::{Needs, READERS, fault, hub, local};
use super::estate::{Reader, Room};
use super::gateway::Gateway;
use super::id::Kind;
use super::loader::{
    self, ConsideredForSwipe, GroundsOfSwipe, ReceiptOfSwipe, RevisionsOfSwipe, SessionsOfSwipe,
};
use super::people::{Card, Student};
use super::session::{Session, opens_at};
use crate::scalar::{Counter, DateTime, UuidScalar};
use crate::service::decide::{self, Shown};
use crate::service::feed::FeedCursor;
use crate::service::hindsight::Ground;
use crate::store::entity::{self, ClockTrust, LightColour, SwipeDecision, SwipeReason};
use crate::store::list;
use crate::store::page::List;
use crate::store::{StoreError, Value};

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum SwipeDecider {
    /// The gateway, at the door.
    Gateway,
    /// The hub, by what it knew.
    Hub,
}

/// Why one session did or did not get the swipe.
#[derive(Clone, SimpleObject)]
pub struct SessionConsidered {
    /// The session, as it is now; what it was before is in its `history`. What its window and overlap rest on is its `policy`, and
    /// what that was before in `attendancePolicyEdits`.
    session: Session,
    /// When its window opened, as far as who decided knew.
    opens_at: DateTime,
    /// When it closed.
    closes_at: DateTime,
    /// Its window was open in the room.
    window_open: bool,
    /// It has a class list.
    has_class_list: bool,
    /// The student is on it.
    on_class_list: bool,
    /// The swipe counts for it; where the rules speak against it, because the door had shown green (`honoured` of the mark).
    credited: bool,
}

/// What a decision rests on.
#[derive(Clone)]
enum Grounds {
    /// What the gateway wrote into its record of the swipe, where there is one.
    Door(Option<String>),
    /// What the hub knows now of this swipe.
    Now(uuid::Uuid),
    /// Nobody keeps that.
    Past,
}

/// A decision at a point in time.
#[derive(Clone, SimpleObject)]
#[graphql(complex)]
pub struct SwipeVerdict {
    /// What became of it.
    decision: SwipeDecision,
    /// Why.
    reason: SwipeReason,
    /// The colour that goes with it.
    light: LightColour,
    /// When.
    decided_at: DateTime,
    /// By whom.
    decided_by: SwipeDecider,
    /// The feed position that it was decided by; null for the hub's own.
    basis: Option<String>,
    /// The revision of the building's timetable at that position; null for the hub's own, which go by all that it knew then.
    timetable_revision: Option<i64>,
    /// The sessions that it credited.
    sessions: Vec<Session>,
    #[graphql(skip)]
    grounds: Grounds,
}

/// A decision at a point in time.
#[ComplexObject]
impl SwipeVerdict {
    /// Every session considered, with what spoke for and against it as who decided knew it; empty where none was open. Null of
    /// earlier decisions of the hub, and of gateways that keep no record of it.
    #[graphql(complexity = "10 + child_complexity")]
    async fn considered(&self, ctx: &Context<'_>) -> Result<Option<Vec<SessionConsidered>>> {
        match &self.grounds {
            Grounds::Now(swipe) => considered_now(ctx, *swipe).await.map(Some),
            Grounds::Door(record) => considered_at_door(ctx, record.as_deref()).await,
            Grounds::Past => Ok(None),
        }
    }
}

async fn considered_now(ctx: &Context<'_>, swipe: uuid::Uuid) -> Result<Vec<SessionConsidered>> {
    let considered = loader::list(ctx, ConsideredForSwipe(swipe)).await?;
    let ids: Vec<uuid::Uuid> = considered.iter().map(|how| how.session.0).collect();
    let sessions = loader::many::<entity::Session>(ctx, &ids).await?;
    // What a green light promised counts whatever the rules say now.
    let counts: Vec<uuid::Uuid> =
        loader::list(ctx, SessionsOfSwipe(swipe)).await?.iter().map(|session| session.id).collect();
    let mut all = Vec::new();
    for how in considered {
        let Some(session) = sessions.iter().find(|session| session.id == how.session.0) else { continue };
        all.push(SessionConsidered {
            opens_at: local(ctx, opens_at(ctx, session).await?)?,
            closes_at: local(ctx, session.closes_at)?,
            session: Session(session.clone()),
            window_open: how.window_open,
            has_class_list: how.has_class_list,
            on_class_list: how.on_class_list,
            credited: counts.contains(&session.id),
        });
    }
    Ok(all)
}

async fn considered_at_door(
    ctx: &Context<'_>,
    record: Option<&str>,
) -> Result<Option<Vec<SessionConsidered>>> {
    let Some(considered) = decide::considered_at_door(record) else { return Ok(None) };
    let ids: Vec<uuid::Uuid> = considered.iter().map(|how| how.session).collect();
    let sessions = loader::many::<entity::Session>(ctx, &ids).await?;
    let mut all = Vec::new();
    for how in considered {
        // One that was known at a door and is not here came from before this database was put back.
        let Some(session) = sessions.iter().find(|session| session.id == how.session) else { continue };
        all.push(SessionConsidered {
            session: Session(session.clone()),
            opens_at: local(ctx, how.opens)?,
            closes_at: local(ctx, how.closes)?,
            window_open: !how.off,
            has_class_list: how.list,
            on_class_list: how.listed,
            credited: how.credited,
        });
    }
    Ok(Some(all))
}

fn light_of(decision: SwipeDecision) -> LightColour {
    match decision {
        SwipeDecision::Recorded => LightColour::Green,
        SwipeDecision::NotRecorded => LightColour::Red,
        SwipeDecision::Pending => LightColour::Amber,
    }
}

/// What proves that a gateway recorded a swipe.
#[derive(Clone, SimpleObject)]
pub struct SwipeEvidence {
    /// All of it as one JSON text: save it as a file for `rollcall-hub verify-receipt`.
    file: String,
    /// The record as it stands in the gateway's journal: JSON.
    record: String,
    /// The journal.
    journal_id: UuidScalar,
    /// The record's number in it.
    sequence: Counter,
    /// The number of the first record of the stretch that was signed together.
    first: Counter,
    /// The chain value before it, hex digits.
    chain_before: String,
    /// SHA-256 of the body of each record of the stretch, in order, hex digits.
    links: Vec<String>,
    /// When the gateway signed, by its clock.
    signed_at: DateTime,
    /// Ed25519 signature (RFC 8032), hex digits.
    signature: String,
    /// The gateway's public key, hex digits.
    public_key: String,
}

/// One presentation of one card to one reader. Never changed once stored; decisions may be revised, and every
/// revision is kept.
#[derive(Clone)]
pub struct Swipe(pub entity::Swipe);

/// One presentation of one card to one reader. Never changed once stored; decisions may be revised, and every
/// revision is kept.
#[Object(guard = "Needs(READERS)")]
impl Swipe {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Swipe.id(self.0.id)
    }
    /// Minted by the gateway; what makes forwarding idempotent.
    async fn swipe_id(&self) -> UuidScalar {
        UuidScalar(self.0.claimed_id)
    }
    /// The gateway's time of the swipe.
    async fn swiped_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.swiped_at)
    }
    /// Not before this instant.
    async fn earliest_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.earliest_at)
    }
    /// Not after this instant.
    async fn latest_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.latest_at)
    }
    /// The hub's time of taking it over.
    async fn received_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.received_at)
    }
    /// How far `swipedAt` can be believed.
    async fn clock_trust(&self) -> ClockTrust {
        self.0.clock_trust
    }
    /// The reader.
    async fn reader(&self, ctx: &Context<'_>) -> Result<Option<Reader>> {
        Ok(loader::one(ctx, self.0.reader_id).await?.map(Reader))
    }
    /// The room at whose door the reader hung then.
    async fn room(&self, ctx: &Context<'_>) -> Result<Option<Room>> {
        match self.0.room_id {
            Some(room) => Ok(loader::one(ctx, room).await?.map(Room)),
            None => Ok(None),
        }
    }
    /// The gateway.
    async fn gateway(&self, ctx: &Context<'_>) -> Result<Option<Gateway>> {
        Ok(loader::one(ctx, self.0.gateway_id).await?.map(Gateway))
    }
    /// The card; null for an unknown one.
    async fn card(&self, ctx: &Context<'_>) -> Result<Option<Card>> {
        match self.0.card_id {
            Some(card) => Ok(loader::one(ctx, card).await?.map(Card)),
            None => Ok(None),
        }
    }
    /// The student; null for an unknown card.
    async fn student(&self, ctx: &Context<'_>) -> Result<Option<Student>> {
        match self.0.student_id {
            Some(student) => Ok(loader::one(ctx, student).await?.map(Student)),
            None => Ok(None),
        }
    }
    /// The sessions that it counts for: more than one where windows overlap.
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Vec<Session>> {
        let mut sessions = loader::list(ctx, SessionsOfSwipe(self.0.id)).await?;
        sessions.dedup_by_key(|session| session.id);
        Ok(sessions.into_iter().map(Session).collect())
    }
    /// The decision that holds now.
    async fn decision(&self) -> SwipeDecision {
        self.0.decision
    }
    /// Why.
    async fn reason(&self) -> SwipeReason {
        self.0.reason
    }
    /// What the gateway decided and showed at the door. It may differ when its copy was old.
    async fn shown(&self, ctx: &Context<'_>) -> Result<SwipeVerdict> {
        let shown = Shown::read(&self.0.shown).map_err(|error| fault(&error))?;
        let bad = |found: &str| fault(&StoreError::BadData { place: "swipe.shown", found: found.to_owned() });
        Ok(SwipeVerdict {
            decision: SwipeDecision::from_word(&shown.decision).ok_or_else(|| bad(&shown.decision))?,
            reason: SwipeReason::from_word(&shown.reason).ok_or_else(|| bad(&shown.reason))?,
            light: LightColour::from_word(&shown.light).ok_or_else(|| bad(&shown.light))?,
            decided_at: local(ctx, self.0.swiped_at)?,
            decided_by: SwipeDecider::Gateway,
            timetable_revision: FeedCursor::decode(&shown.basis).map(|cursor| cursor.revision),
            basis: Some(shown.basis),
            sessions: sessions(ctx, &shown.sessions).await?,
            grounds: Grounds::Door(self.0.record.clone()),
        })
    }
    /// The decision that holds now, with what it rests on: beside `shown` it says why a light was red and the register now says
    /// present.
    #[graphql(complexity = "5 + child_complexity")]
    async fn verdict(&self, ctx: &Context<'_>) -> Result<SwipeVerdict> {
        let mut sessions = loader::list(ctx, SessionsOfSwipe(self.0.id)).await?;
        sessions.dedup_by_key(|session| session.id);
        Ok(SwipeVerdict {
            decision: self.0.decision,
            reason: self.0.reason,
            light: light_of(self.0.decision),
            decided_at: local(ctx, self.0.decided_at)?,
            decided_by: SwipeDecider::Hub,
            basis: None,
            timetable_revision: None,
            sessions: sessions.into_iter().map(Session).collect(),
            grounds: Grounds::Now(self.0.id),
        })
    }
    /// Every session considered, with what spoke for and against it, by what the hub knows now.
    #[graphql(complexity = "10 + child_complexity")]
    async fn considered(&self, ctx: &Context<'_>) -> Result<Vec<SessionConsidered>> {
        considered_now(ctx, self.0.id).await
    }
    /// What the door could not know: facts that bear on it by what the hub knows now, and that reached the feed of its building only
    /// behind the position that the gateway had decided by (`shown.basis`). Null where that position is of another database. A stay
    /// that was taken back since is not among them; `revisions` tell what became of that.
    #[graphql(complexity = "10")]
    async fn learnt_later(&self, ctx: &Context<'_>) -> Result<Option<Vec<Ground>>> {
        let shown = Shown::read(&self.0.shown).map_err(|error| fault(&error))?;
        let position = match FeedCursor::decode(&shown.basis) {
            Some(cursor) if cursor.instance == hub(ctx)?.instance() => cursor.revision,
            // It knew nothing yet.
            None if shown.basis.is_empty() => 0,
            _ => return Ok(None),
        };
        let grounds = loader::list(ctx, GroundsOfSwipe(self.0.id)).await?;
        let later = grounds.into_iter().filter(|(_, heard)| *heard > position).map(|(ground, _)| ground);
        Ok(Some(later.collect::<BTreeSet<_>>().into_iter().collect()))
    }
    /// What proves that the gateway recorded it: its record in the journal, the chain, and the gateway's signature.
    /// `rollcall-hub verify-receipt` checks it with the gateway's public key alone. Null where its gateway does
    /// not sign.
    #[graphql(complexity = "5 + child_complexity")]
    async fn receipt(&self, ctx: &Context<'_>) -> Result<Option<SwipeEvidence>> {
        let found = loader::list(ctx, ReceiptOfSwipe(self.0.id)).await?.into_iter().next();
        found
            .map(|it| {
                Ok(SwipeEvidence {
                    file: serde_json::to_string(&it).unwrap_or_default(),
                    record: it.record,
                    journal_id: UuidScalar(it.journal_id),
                    sequence: Counter(it.sequence),
                    first: Counter(it.first),
                    chain_before: it.chain_before,
                    links: it.links,
                    signed_at: local(ctx, it.signed_at)?,
                    signature: it.signature,
                    public_key: it.public_key,
                })
            })
            .transpose()
    }
    /// Earlier decisions of the hub, oldest first.
    #[graphql(complexity = "5 + child_complexity")]
    async fn revisions(&self, ctx: &Context<'_>) -> Result<Vec<SwipeVerdict>> {
        let revisions = loader::list(ctx, RevisionsOfSwipe(self.0.id)).await?;
        let mut verdicts = Vec::new();
        for revision in revisions {
            verdicts.push(SwipeVerdict {
                decision: revision.decision,
                reason: revision.reason,
                light: light_of(revision.decision),
                decided_at: local(ctx, revision.decided_at)?,
                decided_by: SwipeDecider::Hub,
                basis: None,
                timetable_revision: None,
                sessions: sessions(ctx, &revision.sessions).await?,
                grounds: Grounds::Past,
            });
        }
        Ok(verdicts)
    }
}

async fn sessions(ctx: &Context<'_>, ids: &[uuid::Uuid]) -> Result<Vec<Session>> {
    Ok(loader::many(ctx, ids).await?.into_iter().map(Session).collect())
}

/// As for StudentFilter.
#[derive(Debug, Clone, Default, InputObject)]
pub struct SwipeFilter {
    /// Swiped in this range, by the gateway's clock.
    pub swiped_in: Option<DateTimeRange>,
    /// Taken over in this range, by the hub's clock.
    pub received_in: Option<DateTimeRange>,
    /// With one of these decisions.
    pub decisions: Option<Vec<SwipeDecision>>,
    /// With one of these reasons.
    pub reasons: Option<Vec<SwipeReason>>,
    /// At one of these readers.
    pub reader_ids: Option<Vec<ID>>,
    /// At the door of one of these rooms.
    pub room_ids: Option<Vec<ID>>,
    /// By way of one of these gateways.
    pub gateway_ids: Option<Vec<ID>>,
    /// Of one of these students.
    pub student_ids: Option<Vec<ID>>,
    /// Counting for one of these sessions.
    pub session_ids: Option<Vec<ID>>,
}

/// The swipes that a filter lets through, by time.
#[must_use]
pub fn swipe_list(filter: Option<&SwipeFilter>) -> List {
    let list = list::swipes();
    let Some(filter) = filter else { return list };
    let mut list = in_range(list, "w.swiped_at", filter.swiped_in.as_ref());
    list = in_range(list, "w.received_at", filter.received_in.as_ref());
    if let Some(decisions) = &filter.decisions {
        list = list.and_in("w.decision IN ({})", decisions.iter().map(|it| (*it).into()));
    }
    if let Some(reasons) = &filter.reasons {
        list = list.and_in("w.reason IN ({})", reasons.iter().map(|it| (*it).into()));
    }
    let all = [
        (&filter.reader_ids, Kind::Reader, "w.reader_id IN ({})"),
        (&filter.room_ids, Kind::Room, "w.room_id IN ({})"),
        (&filter.gateway_ids, Kind::Gateway, "w.gateway_id IN ({})"),
        (&filter.student_ids, Kind::Student, "w.student_id IN ({})"),
        (
            &filter.session_ids,
            Kind::Session,
            "w.id IN (SELECT swipe_id FROM credit WHERE session_id IN ({}))",
        ),
    ];
    for (ids, kind, condition) in all {
        if let Some(ids) = ids {
            list = list.and_in(condition, kind.all_of(ids).into_iter().map(Value::from));
        }
    }
    list
}

connection! {
    /// A page of swipes.
    SwipeConnection,
    /// A swipe and its place.
    SwipeEdge, Swipe
}
