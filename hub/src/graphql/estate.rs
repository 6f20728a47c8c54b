//! Buildings, rooms and readers.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};

use super::calendar::calendar_path;
use super::commissioning::{Commissioning, CommissioningConnection};
use super::connection::{self, connection, page};
use super::context::{Needs, READERS, hub, local, word};
use super::event::{ReaderEvent, ReaderEventConnection, ReaderEventFilter, event_list};
use super::gateway::Gateway;
use super::id::Kind;
use super::loader::{self, GatewaysOfBuilding, ReadersOfRoom, RoomsOfBuilding};
use super::session::{Session, SessionConnection, SessionFilter, session_list};
use super::swipe::{SwipeConnection, SwipeFilter, swipe_list};
use crate::scalar::DateTime;
use crate::service::calendars::Whose;
use crate::service::intake::Report;
use crate::service::intake::message::ReaderLine;
use crate::store::entity::{self, LightColour, ReaderKind};
use crate::store::list;
use crate::store::page::{List, Page};

/// A building.
#[derive(Clone)]
pub struct Building(pub entity::Building);

/// A building.
#[Object]
impl Building {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Building.id(self.0.id)
    }
    /// Short code.
    async fn code(&self) -> &str {
        &self.0.code
    }
    /// Name for people.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// Its rooms, by code.
    async fn rooms(&self, ctx: &Context<'_>) -> Result<Vec<Room>> {
        Ok(loader::list(ctx, RoomsOfBuilding(self.0.id)).await?.into_iter().map(Room).collect())
    }
    /// Its gateways, by code.
    async fn gateways(&self, ctx: &Context<'_>) -> Result<Vec<Gateway>> {
        Ok(loader::list(ctx, GatewaysOfBuilding(self.0.id)).await?.into_iter().map(Gateway).collect())
    }
}

/// A room.
#[derive(Clone)]
pub struct Room(pub entity::Room);

/// A room.
#[Object]
impl Room {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Room.id(self.0.id)
    }
    /// Short code.
    async fn code(&self) -> &str {
        &self.0.code
    }
    /// Name for people.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// Where it is.
    async fn building(&self, ctx: &Context<'_>) -> Result<Option<Building>> {
        Ok(loader::one(ctx, self.0.building_id).await?.map(Building))
    }
    /// Seats.
    async fn capacity(&self) -> Option<i64> {
        self.0.capacity
    }
    /// The readers at its doors, by code.
    async fn readers(&self, ctx: &Context<'_>) -> Result<Vec<Reader>> {
        Ok(loader::list(ctx, ReadersOfRoom(self.0.id)).await?.into_iter().map(Reader).collect())
    }
    /// The sessions held in it, by start.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn sessions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<SessionFilter>,
    ) -> Result<SessionConnection> {
        let list = session_list(filter.as_ref(), hub(ctx)?.now())
            .and("s.id IN (SELECT session_id FROM session_room WHERE room_id = {})", self.0.id);
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(SessionConnection::new(paged, total, Session))
    }
    /// Where its timetable is as iCalendar, below the hub's address, for programs that subscribe to one. Whoever knows it may
    /// read it; `renewCalendarPaths` voids it.
    #[graphql(guard = "Needs(READERS)")]
    async fn calendar_path(&self, ctx: &Context<'_>) -> Result<String> {
        calendar_path(ctx, Kind::Room, Whose::Room(self.0.id)).await
    }
    /// The session on now.
    #[graphql(guard = "Needs(READERS)")]
    async fn current(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        let now = hub(ctx)?.now().0;
        let list = self.held().and("s.starts_at <= {}", now).and("s.ends_at >= {}", now);
        first_of(ctx, list).await
    }
    /// The session to come.
    #[graphql(guard = "Needs(READERS)")]
    async fn next(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        first_of(ctx, self.held().and("s.starts_at > {}", hub(ctx)?.now().0)).await
    }
}

impl Room {
    fn held(&self) -> List {
        let room = "s.id IN (SELECT session_id FROM session_room WHERE until_at IS NULL AND room_id = {})";
        list::sessions().and(room, self.0.id).and("s.cancelled = {}", 0)
    }
}

async fn first_of(ctx: &Context<'_>, list: List) -> Result<Option<Session>> {
    let (paged, _) = connection::read(ctx, list, &Page::first(1)).await?;
    Ok(paged.rows.into_iter().next().map(|(_, session)| Session(session)))
}

/// Whether a reader works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, async_graphql::Enum)]
pub enum ReaderState {
    /// Taken out of use.
    Disabled,
    /// Its gateway cannot talk to it, or has not spoken of it yet.
    Offline,
    /// Its gateway talks to it.
    Online,
    /// At no room's door yet.
    Unassigned,
}

/// What a reader shows at rest.
#[derive(SimpleObject)]
pub struct ReaderLight {
    /// The colour.
    colour: LightColour,
    /// When it was reported.
    since: Option<DateTime>,
}

/// A card reader at a door.
#[derive(Clone)]
pub struct Reader(pub entity::Reader);

/// A card reader at a door.
#[Object]
impl Reader {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Reader.id(self.0.id)
    }
    /// Short code.
    async fn code(&self) -> &str {
        &self.0.code
    }
    /// How it talks to its gateway.
    async fn kind(&self) -> ReaderKind {
        self.0.kind
    }
    /// The room whose door it is at.
    async fn room(&self, ctx: &Context<'_>) -> Result<Option<Room>> {
        match self.0.room_id {
            Some(room) => Ok(loader::one(ctx, room).await?.map(Room)),
            None => Ok(None),
        }
    }
    /// The gateway that it hangs on.
    async fn gateway(&self, ctx: &Context<'_>) -> Result<Option<Gateway>> {
        Ok(loader::one(ctx, self.0.gateway_id).await?.map(Gateway))
    }
    /// Whether it works.
    async fn state(&self) -> ReaderState {
        match (self.0.enabled, self.0.room_id, self.0.online) {
            (false, ..) => ReaderState::Disabled,
            (true, None, _) => ReaderState::Unassigned,
            (true, Some(_), Some(true)) => ReaderState::Online,
            (true, Some(_), _) => ReaderState::Offline,
        }
    }
    /// When a card was last held to it.
    async fn last_swipe_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.last_swipe_at.map(|at| local(ctx, at)).transpose()
    }
    /// When its gateway last spoke of it as working.
    async fn last_seen_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.last_seen_at.map(|at| local(ctx, at)).transpose()
    }
    /// What it shows at rest, as last reported.
    async fn light(&self, ctx: &Context<'_>) -> Result<Option<ReaderLight>> {
        let since = self.0.last_seen_at.map(|at| local(ctx, at)).transpose()?;
        Ok(self.0.light.map(|colour| ReaderLight { colour, since }))
    }
    /// Its firmware, as it says itself.
    async fn firmware(&self) -> Option<&str> {
        self.0.firmware.as_deref()
    }
    /// How its serial line does, by its gateway's last report; null for other kinds, and before there was one.
    async fn line(&self, ctx: &Context<'_>) -> Result<Option<ReaderLine>> {
        let gateway = loader::one::<entity::Gateway>(ctx, self.0.gateway_id).await?;
        Ok(gateway.as_ref().and_then(Report::of).and_then(|mut report| report.lines.remove(&self.0.id)))
    }
    /// What happened to it itself, by time: opened, switched on, spoken to by somebody else.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<ReaderEventFilter>,
    ) -> Result<ReaderEventConnection> {
        let list = event_list(self.0.id, filter.as_ref());
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(ReaderEventConnection::new(paged, total, ReaderEvent))
    }
    /// What installers saw and heard at it, by time.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn commissionings(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
    ) -> Result<CommissioningConnection> {
        let list = list::commissionings()
            .and("m.gateway_id = {}", self.0.gateway_id)
            .and("m.reader_code = {}", self.0.code.clone());
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(CommissioningConnection::new(paged, total, Commissioning))
    }
    /// The swipes at it, by time.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn swipes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<SwipeFilter>,
    ) -> Result<SwipeConnection> {
        let list = swipe_list(filter.as_ref()).and("w.reader_id = {}", self.0.id);
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(SwipeConnection::new(paged, total, super::swipe::Swipe))
    }
}

/// All fields given must hold; a list holds when any of its members does. An empty list holds for nothing.
#[derive(Debug, Clone, Default, InputObject)]
pub struct ReaderFilter {
    /// In one of these buildings.
    building_ids: Option<Vec<ID>>,
    /// At one of these rooms.
    room_ids: Option<Vec<ID>>,
    /// On one of these gateways.
    gateway_ids: Option<Vec<ID>>,
    /// Of one of these kinds.
    kinds: Option<Vec<ReaderKind>>,
    /// In one of these states.
    states: Option<Vec<ReaderState>>,
}

/// The readers that a filter lets through.
#[must_use]
pub fn reader_list(filter: Option<&ReaderFilter>) -> List {
    let mut list = list::readers();
    let Some(filter) = filter else { return list };
    if let Some(ids) = &filter.building_ids {
        let ids = Kind::Building.all_of(ids).into_iter().map(Into::into);
        list = list.and_in("r.gateway_id IN (SELECT id FROM gateway WHERE building_id IN ({}))", ids);
    }
    if let Some(ids) = &filter.room_ids {
        list = list.and_in("r.room_id IN ({})", Kind::Room.all_of(ids).into_iter().map(Into::into));
    }
    if let Some(ids) = &filter.gateway_ids {
        list = list.and_in("r.gateway_id IN ({})", Kind::Gateway.all_of(ids).into_iter().map(Into::into));
    }
    if let Some(kinds) = &filter.kinds {
        list = list.and_in("r.kind IN ({})", kinds.iter().map(|kind| (*kind).into()));
    }
    if let Some(states) = &filter.states {
        let condition = format!("{} IN ({{}})", list::READER_STATE);
        list = list.and_in(&condition, states.iter().map(|state| word(*state).into()));
    }
    list
}

connection! {
    /// A page of rooms.
    RoomConnection,
    /// A room and its place.
    RoomEdge, Room
}
connection! {
    /// A page of readers.
    ReaderConnection,
    /// A reader and its place.
    ReaderEdge, Reader
}
