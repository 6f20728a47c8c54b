//! Loaders: what many rows of one answer need is read in one statement.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::{Context, Result};
use futures_util::future::BoxFuture;
use rollcall_rules::card::CardRead;
use rollcall_rules::time::Instant;
use rollcall_rules::verdict::Considered;
use uuid::Uuid;

use super::context::{coded, loaders, shared_fault};
use crate::service::calendars::Secret;
use crate::service::hindsight::Ground;
use crate::service::intake::evidence::{self, Evidence};
use crate::service::people::credentials_of;
use crate::service::report::{self, Counts};
use crate::service::{Hub, decide, hindsight, registers};
use crate::store::entity::{
    Attendance, Card, CardChange, DoorExpectation, Entity, Gateway, Group, MembershipChange, Policy, Reader,
    RegisterChange, Room, Session, SessionChange, Student, Swipe,
};
use crate::store::page::{List, Page, Paged, counts, pages};
use crate::store::register::AttendanceChange;
use crate::store::swipe::SwipeRevision;
use crate::store::{StoreError, Value};

/// The loaders of one request.
pub struct Loaders {
    hub: Hub,
}

impl Loaders {
    /// Loaders over a hub; they remember what they read, so each request gets its own. `begin` is given each read, and lets
    /// it run once the request has asked for all that it can.
    #[must_use]
    pub fn new(hub: Hub, begin: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> DataLoader<Self> {
        DataLoader::new(Self { hub }, begin).delay(Duration::ZERO)
    }
}

/// A thing by its id.
pub struct ById<E>(Uuid, PhantomData<fn() -> E>);

impl<E> Clone for ById<E> {
    fn clone(&self) -> Self {
        Self(self.0, PhantomData)
    }
}
impl<E> PartialEq for ById<E> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<E> Eq for ById<E> {}
impl<E> std::hash::Hash for ById<E> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[async_trait::async_trait]

impl<E: Entity> Loader<ById<E>> for Loaders {
    type Value = E;
    type Error = Arc<StoreError>;

    async fn load(&self, keys: &[ById<E>]) -> std::result::Result<HashMap<ById<E>, E>, Self::Error> {
        let mut tx = self.hub.read().await?;
        let things = tx.by_ids::<E>(keys.iter().map(|key| key.0)).await?;
        Ok(things.into_iter().map(|thing| (ById(thing.id(), PhantomData), thing)).collect())
    }
}

/// The thing of an id.
pub async fn one<E: Entity>(ctx: &Context<'_>, id: Uuid) -> Result<Option<E>> {
    loaders(ctx)?.load_one(ById::<E>(id, PhantomData)).await.map_err(shared_fault)
}

/// The things of some ids, in the order asked, leaving out what is not there.
pub async fn many<E: Entity>(ctx: &Context<'_>, ids: &[Uuid]) -> Result<Vec<E>> {
    let keys = ids.iter().map(|id| ById::<E>(*id, PhantomData));
    let mut found = loaders(ctx)?.load_many(keys).await.map_err(shared_fault)?;
    Ok(ids.iter().filter_map(|id| found.remove(&ById(*id, PhantomData))).collect())
}

macro_rules! children {
    ($($(#[$doc:meta])* $key:ident: $child:ty, by $column:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $key(pub Uuid);

        #[async_trait::async_trait]

        impl Loader<$key> for Loaders {
            type Value = Vec<$child>;
            type Error = Arc<StoreError>;

            async fn load(&self, keys: &[$key]) -> std::result::Result<HashMap<$key, Vec<$child>>, Self::Error> {
                let mut tx = self.hub.read().await?;
                let values = keys.iter().map(|key| Value::from(key.0));
                let mut found: HashMap<$key, Vec<$child>> = keys.iter().map(|key| (*key, Vec::new())).collect();
                for child in tx.by_column::<$child>(stringify!($column), values).await? {
                    let parent: Option<Uuid> = child.$column.into();
                    if let Some(list) = parent.and_then(|id| found.get_mut(&$key(id))) {
                        list.push(child);
                    }
                }
                Ok(found)
            }
        }
    )*};
}

children! {
    /// The rooms of a building.
    RoomsOfBuilding: Room, by building_id;
    /// The gateways of a building.
    GatewaysOfBuilding: Gateway, by building_id;
    /// The readers of a room.
    ReadersOfRoom: Reader, by room_id;
    /// The readers of a gateway.
    ReadersOfGateway: Reader, by gateway_id;
    /// The cards of a student.
    CardsOfStudent: Card, by student_id;
    /// The marks of a session.
    MarksOfSession: Attendance, by session_id;
    /// What a session was before each change, oldest first.
    ChangesOfSession: SessionChange, by session_id;
    /// Where a session's register stood before each change of that, oldest first.
    ChangesOfRegister: RegisterChange, by session_id;
    /// From when on a student is expected at doors, or is not, as far as that was said.
    ExpectationsOfStudent: DoorExpectation, by student_id;
    /// What a student's stays were before each change, oldest first.
    StaysThatChanged: MembershipChange, by student_id;
    /// What a student's cards were before each change, oldest first.
    CardsThatChanged: CardChange, by student_id;
}

macro_rules! lists {
    ($($(#[$doc:meta])* $key:ident: $value:ty = |$tx:ident, $ids:ident| $load:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $key(pub Uuid);

        #[async_trait::async_trait]

        impl Loader<$key> for Loaders {
            type Value = Vec<$value>;
            type Error = Arc<StoreError>;

            async fn load(&self, keys: &[$key]) -> std::result::Result<HashMap<$key, Vec<$value>>, Self::Error> {
                let mut tx = self.hub.read().await?;
                let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
                let mut found: HashMap<$key, Vec<$value>> = keys.iter().map(|key| (*key, Vec::new())).collect();
                let ($tx, $ids) = (&mut tx, &ids[..]);
                let pairs: Vec<(Uuid, $value)> = $load;
                for (parent, child) in pairs {
                    if let Some(list) = found.get_mut(&$key(parent)) {
                        list.push(child);
                    }
                }
                Ok(found)
            }
        }
    )*};
}

lists! {
    /// The rooms of a session.
    RoomsOfSession: Room = |tx, ids| {
        let places = tx.session_rooms(ids).await?;
        let rooms: BTreeMap<Uuid, Room> =
            tx.by_ids::<Room>(places.iter().map(|place| place.room_id)).await?.into_iter().map(|room| (room.id, room)).collect();
        // A room that the session left on the day counts no more, unless it has no other.
        let held = |session: Uuid| places.iter().any(|place| place.session_id == session && place.until_at.is_none());
        places
            .iter()
            .filter(|place| place.until_at.is_none() || !held(place.session_id))
            .filter_map(|place| rooms.get(&place.room_id).map(|room| (place.session_id, room.clone())))
            .collect()
    };
    /// The groups of a session.
    GroupsOfSession: Group = |tx, ids| {
        let pairs = tx.session_groups(ids).await?;
        let groups: BTreeMap<Uuid, Group> =
            tx.by_ids::<Group>(pairs.iter().map(|(_, group)| *group)).await?.into_iter().map(|group| (group.id, group)).collect();
        pairs.iter().filter_map(|(session, group)| groups.get(group).map(|group| (*session, group.clone()))).collect()
    };
    /// The sessions that a swipe counts for.
    SessionsOfSwipe: Session = |tx, ids| {
        let credits = tx.credits_of_swipes(ids).await?;
        let sessions: BTreeMap<Uuid, Session> = tx
            .by_ids::<Session>(credits.iter().map(|credit| credit.session_id))
            .await?
            .into_iter()
            .map(|session| (session.id, session))
            .collect();
        credits
            .iter()
            .filter_map(|credit| sessions.get(&credit.session_id).map(|session| (credit.swipe_id, session.clone())))
            .collect()
    };
    /// The marks of a session, each with whose it is.
    RosterOfSession: (Attendance, Student) = |tx, ids| {
        tx.rosters(ids).await?.into_iter().map(|row| (row.0.session_id, row)).collect()
    };
    /// The swipes that count for a session: student and swipe.
    SwipesOfSession: (Uuid, Uuid) = |tx, ids| {
        tx.swipes_of_sessions(ids).await?.into_iter().map(|(session, student, swipe)| (session, (student, swipe))).collect()
    };
    /// The first credential of a card.
    CredentialOfCard: CardRead = |tx, ids| {
        let all = credentials_of(tx, ids).await?;
        all.into_iter().filter_map(|(card, reads)| Some((card, reads.into_iter().next()?))).collect()
    };
    /// Every session considered for a swipe, by what is known now.
    ConsideredForSwipe: Considered = |tx, ids| {
        let swipes = tx.by_ids::<Swipe>(ids.iter().copied()).await?;
        decide::considered(tx, swipes).await?
    };
    /// What bears on a swipe, and at which feed position its building last heard of it.
    GroundsOfSwipe: (Ground, i64) = |tx, ids| hindsight::grounds(tx, ids).await?;
    /// What the hub had decided of a swipe before.
    RevisionsOfSwipe: SwipeRevision = |tx, ids| tx.swipe_revisions(ids).await?;
    /// What proves a swipe.
    ReceiptOfSwipe: Evidence = |tx, ids| evidence::receipts(tx, ids).await?;
    /// The instant up to which all swipes at a session's doors have come in.
    WatermarkOfSession: Instant = |tx, ids| registers::watermarks(tx, ids).await?;
    /// The history of a mark.
    ChangesOfMark: AttendanceChange = |tx, ids| {
        tx.changes_of(ids).await?.into_iter().map(|change| (change.attendance_id, change)).collect()
    };
}

/// The counts of a student's marks: of all sessions, or of those that start from one instant to another (excluded).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CountsOfStudent {
    /// The student.
    pub student: Uuid,
    /// From when to when.
    pub span: Option<(i64, i64)>,
}

#[async_trait::async_trait]
impl Loader<CountsOfStudent> for Loaders {
    type Value = Counts;
    type Error = Arc<StoreError>;

    async fn load(
        &self,
        keys: &[CountsOfStudent],
    ) -> std::result::Result<HashMap<CountsOfStudent, Counts>, Self::Error> {
        let mut by_span: BTreeMap<Option<(i64, i64)>, Vec<Uuid>> = BTreeMap::new();
        keys.iter().for_each(|key| by_span.entry(key.span).or_default().push(key.student));
        let mut tx = self.hub.read().await?;
        let mut found = HashMap::new();
        for (span, students) in by_span {
            let counts = report::of_students(&mut tx, &students, span).await?;
            found.extend(
                counts.into_iter().map(|(student, counts)| (CountsOfStudent { student, span }, counts)),
            );
        }
        Ok(found)
    }
}

/// The counts of a student's marks.
pub async fn counts_of_student(ctx: &Context<'_>, key: CountsOfStudent) -> Result<Counts> {
    Ok(loaders(ctx)?.load_one(key).await.map_err(shared_fault)?.unwrap_or_default())
}

/// All policies there are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policies;

#[async_trait::async_trait]
impl Loader<Policies> for Loaders {
    type Value = Vec<Policy>;
    type Error = Arc<StoreError>;

    async fn load(&self, _: &[Policies]) -> std::result::Result<HashMap<Policies, Vec<Policy>>, Self::Error> {
        Ok(HashMap::from([(Policies, self.hub.read().await?.all::<Policy>().await?)]))
    }
}

/// What the keys in calendars' addresses are made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CalendarSecret;

#[async_trait::async_trait]
impl Loader<CalendarSecret> for Loaders {
    type Value = Secret;
    type Error = Arc<StoreError>;

    async fn load(
        &self,
        _: &[CalendarSecret],
    ) -> std::result::Result<HashMap<CalendarSecret, Secret>, Self::Error> {
        Ok(HashMap::from([(CalendarSecret, Secret::read(&mut self.hub.read().await?).await?)]))
    }
}

/// What the keys in calendars' addresses are made of.
pub async fn calendar_secret(ctx: &Context<'_>) -> Result<Secret> {
    let found = loaders(ctx)?.load_one(CalendarSecret).await.map_err(shared_fault)?;
    found.ok_or_else(|| coded("INTERNAL", "the hub has no key for calendars; its log says why"))
}

/// How many pages, or counts, are read in one statement: those of a whole page of parents.
const PARTS: usize = 200;
/// And so many values at the most: SQLite takes 32,766.
const VALUES: usize = 20_000;

/// The most values that the filter of a list takes: an engine takes so many thousand for a statement, and no more.
const FILTERED: usize = 2_000;

/// Refuses a list whose filter has more values than an engine takes.
fn few_values(list: &List) -> Result<()> {
    if list.values.len() <= FILTERED {
        return Ok(());
    }
    let message = format!("a filter takes {FILTERED} values at the most: ask for fewer at once");
    Err(coded("BAD_USER_INPUT", message))
}

/// The longest beginning of some lists that a statement takes.
fn part<T>(rest: &[T], values: impl Fn(&T) -> usize) -> usize {
    let mut all = 0;
    let fits = rest.iter().take(PARTS).take_while(|it| {
        all += values(it);
        all <= VALUES
    });
    fits.count().max(1).min(rest.len())
}

/// A page of a list.
pub struct PageOf<E>(Arc<(List, Page)>, PhantomData<fn() -> E>);

impl<E> Clone for PageOf<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}
impl<E> PartialEq for PageOf<E> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<E> Eq for PageOf<E> {}
impl<E> std::hash::Hash for PageOf<E> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[async_trait::async_trait]
impl<E: Entity> Loader<PageOf<E>> for Loaders {
    type Value = Paged<E>;
    type Error = Arc<StoreError>;

    async fn load(
        &self,
        keys: &[PageOf<E>],
    ) -> std::result::Result<HashMap<PageOf<E>, Paged<E>>, Self::Error> {
        let mut tx = self.hub.read().await?;
        let mut found = HashMap::new();
        let mut rest = keys;
        while !rest.is_empty() {
            let (keys, others) = rest.split_at(part(rest, |key| key.0.0.values.len()));
            rest = others;
            let wanted: Vec<(&List, &Page)> = keys.iter().map(|key| (&key.0.0, &key.0.1)).collect();
            found.extend(keys.iter().cloned().zip(pages(&mut tx, &wanted, E::read).await?));
        }
        Ok(found)
    }
}

/// A page of a list.
pub async fn page<E: Entity>(ctx: &Context<'_>, list: &List, page: &Page) -> Result<Paged<E>> {
    few_values(list)?;
    let key = PageOf::<E>(Arc::new((list.clone(), page.clone())), PhantomData);
    let found = loaders(ctx)?.load_one(key).await.map_err(shared_fault)?;
    Ok(found.unwrap_or(Paged { rows: Vec::new(), has_previous: false, has_next: false }))
}

/// How many rows a list has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CountOf(Arc<List>);

#[async_trait::async_trait]
impl Loader<CountOf> for Loaders {
    type Value = i64;
    type Error = Arc<StoreError>;

    async fn load(&self, keys: &[CountOf]) -> std::result::Result<HashMap<CountOf, i64>, Self::Error> {
        let mut tx = self.hub.read().await?;
        let mut found = HashMap::new();
        let mut rest = keys;
        while !rest.is_empty() {
            let (keys, others) = rest.split_at(part(rest, |key| key.0.values.len()));
            rest = others;
            let lists: Vec<&List> = keys.iter().map(|key| &*key.0).collect();
            found.extend(keys.iter().cloned().zip(counts(&mut tx, &lists).await?));
        }
        Ok(found)
    }
}

/// How many rows a list has.
pub async fn count(ctx: &Context<'_>, list: &List) -> Result<i64> {
    few_values(list)?;
    let found = loaders(ctx)?.load_one(CountOf(Arc::new(list.clone()))).await.map_err(shared_fault)?;
    Ok(found.unwrap_or(0))
}

/// The children of a thing.
pub async fn list<K, T>(ctx: &Context<'_>, key: K) -> Result<Vec<T>>
where
    K: Send + Sync + std::hash::Hash + Eq + Clone + 'static,
    T: Send + Sync + Clone + 'static,
    Loaders: Loader<K, Value = Vec<T>, Error = Arc<StoreError>>,
{
    Ok(loaders(ctx)?.load_one(key).await.map_err(shared_fault)?.unwrap_or_default())
}
