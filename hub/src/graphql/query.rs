//! All reads.

use async_graphql::{Context, ID, Object, Result};
use futures_util::future::try_join_all;
use uuid::Uuid;

use super::alert::{Alert, AlertConnection};
use super::attendance::{
    AttendanceConnectionArguments, AttendanceFilter, AttendanceOrder, AttendanceRecord,
    AttendanceRecordConnection, attendance_page,
};
use super::connection::{self, page};
use super::context::{GATEWAYS, Needs, READERS, coded, fault, hub};
use super::correction::CorrectionProposal;
use super::estate::{Building, Reader, ReaderConnection, ReaderFilter, Room, RoomConnection, reader_list};
use super::export::Export;
use super::feed::{GatewaySelf, calling};
use super::gateway::{Gateway, GatewayConnection, GatewayFilter, gateway_list};
use super::id::{Kind, Node};
use super::import::Import;
use super::loader;
use super::people::{
    Card, CardConnection, CardFilter, Student, StudentBy, StudentConnection, StudentFilter, StudentOrder,
    card_list, student_list,
};
use super::register::{Register, RegisterConnection};
use super::session::{
    CodeBy, Course, CourseConnection, Group, GroupConnection, Session, SessionBy, SessionConnection,
    SessionFilter, StudentGroupMembership, session_list,
};
use super::source::CalendarSource;
use super::swipe::{Swipe, SwipeConnection, SwipeFilter, swipe_list};
use super::webhook::{Webhook, WebhookDelivery};
use crate::scalar::DateTime;
use crate::store::entity::{self, Entity};
use crate::store::list;

/// The most ids that `nodes` takes.
const MAX_NODES: usize = 100;

/// The part of the API that reads.
#[derive(Default)]
pub struct Reads;

#[Object]
impl Reads {
    /// Any object by its global id; null when there is none that the caller may see.
    #[graphql(guard = "Needs(READERS)")]
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its global id.")] id: ID,
    ) -> Result<Option<Node>> {
        node(ctx, &id).await
    }

    /// Several, in the order asked, null where there is none. 100 at most.
    #[graphql(guard = "Needs(READERS)", complexity = "ids.len() * (1 + child_complexity)")]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Their global ids.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Node>>> {
        if ids.len() > MAX_NODES {
            return Err(coded("BAD_USER_INPUT", format!("'nodes' takes {MAX_NODES} ids at the most")));
        }
        // All at once, so that those of one kind are read together.
        try_join_all(ids.iter().map(|id| node(ctx, id))).await
    }

    /// One student.
    #[graphql(guard = "Needs(READERS)")]
    async fn student(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it is named.")] by: StudentBy,
    ) -> Result<Option<Student>> {
        Ok(match by {
            StudentBy::Id(id) => of::<entity::Student>(ctx, Kind::Student, &id).await?,
            StudentBy::Number(number) => by_key(ctx, &number).await?,
        }
        .map(Student))
    }

    /// Students, by name unless told.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn students(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<StudentFilter>,
        #[graphql(desc = "How they are sorted.")] order_by: Option<StudentOrder>,
    ) -> Result<StudentConnection> {
        let list = student_list(filter.as_ref(), order_by);
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(StudentConnection::new(paged, total, Student))
    }

    /// One card.
    #[graphql(guard = "Needs(READERS)")]
    async fn card(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it is named.")] by: CodeBy,
    ) -> Result<Option<Card>> {
        Ok(coded_thing::<entity::Card>(ctx, Kind::Card, by).await?.map(Card))
    }

    /// Cards, by code.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn cards(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<CardFilter>,
    ) -> Result<CardConnection> {
        let list = card_list(filter.as_ref());
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(CardConnection::new(paged, total, Card))
    }

    /// One course.
    #[graphql(guard = "Needs(READERS)")]
    async fn course(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it is named.")] by: CodeBy,
    ) -> Result<Option<Course>> {
        Ok(coded_thing::<entity::Course>(ctx, Kind::Course, by).await?.map(Course))
    }

    /// Courses, by code.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn courses(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only those with one of these codes.")] codes: Option<Vec<String>>,
    ) -> Result<CourseConnection> {
        let list = match codes {
            Some(codes) => list::courses().and_in("c.code IN ({})", codes.into_iter().map(Into::into)),
            None => list::courses(),
        };
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(CourseConnection::new(paged, total, Course))
    }

    /// One group.
    #[graphql(guard = "Needs(READERS)")]
    async fn group(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it is named.")] by: CodeBy,
    ) -> Result<Option<Group>> {
        Ok(coded_thing::<entity::Group>(ctx, Kind::Group, by).await?.map(Group))
    }

    /// Groups, by code.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only of these courses.")] course_ids: Option<Vec<ID>>,
    ) -> Result<GroupConnection> {
        let mut list = list::groups();
        if let Some(ids) = course_ids {
            list = list.and_in("g.course_id IN ({})", Kind::Course.all_of(&ids).into_iter().map(Into::into));
        }
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(GroupConnection::new(paged, total, Group))
    }

    /// One session.
    #[graphql(guard = "Needs(READERS)")]
    async fn session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it is named.")] by: SessionBy,
    ) -> Result<Option<Session>> {
        Ok(match by {
            SessionBy::Id(id) => of::<entity::Session>(ctx, Kind::Session, &id).await?,
            SessionBy::ExternalId(id) => by_key(ctx, &id).await?,
        }
        .map(Session))
    }

    /// Sessions, by start.
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
        let list = session_list(filter.as_ref(), hub(ctx)?.now());
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(SessionConnection::new(paged, total, Session))
    }

    /// Registers, by their sessions' start.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn registers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only those of sessions that this lets through.")] filter: Option<SessionFilter>,
    ) -> Result<RegisterConnection> {
        let list = session_list(filter.as_ref(), hub(ctx)?.now());
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(RegisterConnection::new(paged, total, Register))
    }

    /// One register.
    #[graphql(guard = "Needs(READERS)")]
    async fn register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its global id.")] id: ID,
    ) -> Result<Option<Register>> {
        match Kind::of(&id) {
            Some((Kind::Register, id)) => register(ctx, id).await,
            _ => Ok(None),
        }
    }

    /// Marks of all registers, newest session first unless told.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn attendance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<AttendanceFilter>,
        #[graphql(desc = "How they are sorted.")] order_by: Option<AttendanceOrder>,
        #[graphql(
            desc = "As it was known at this instant, when a letter was sent for instance; as it is known now when left out."
        )]
        as_known_at: Option<DateTime>,
    ) -> Result<AttendanceRecordConnection> {
        let page = page(first, after, last, before)?;
        let arguments = AttendanceConnectionArguments { page, order: order_by, as_known_at };
        attendance_page(ctx, filter.as_ref(), arguments, None).await
    }

    /// All buildings, by code: as few as there are, they come whole.
    #[graphql(guard = "Needs(READERS)")]
    async fn buildings(&self, ctx: &Context<'_>) -> Result<Vec<Building>> {
        let mut tx = hub(ctx)?.read().await.map_err(|error| fault(&error))?;
        let buildings = tx.all::<entity::Building>().await.map_err(|error| fault(&error))?;
        Ok(buildings.into_iter().map(Building).collect())
    }

    /// One room.
    #[graphql(guard = "Needs(READERS)")]
    async fn room(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it is named.")] by: CodeBy,
    ) -> Result<Option<Room>> {
        Ok(coded_thing::<entity::Room>(ctx, Kind::Room, by).await?.map(Room))
    }

    /// Rooms, by code.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn rooms(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only in these buildings.")] building_ids: Option<Vec<ID>>,
    ) -> Result<RoomConnection> {
        let mut list = list::rooms();
        if let Some(ids) = building_ids {
            list =
                list.and_in("r.building_id IN ({})", Kind::Building.all_of(&ids).into_iter().map(Into::into));
        }
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(RoomConnection::new(paged, total, Room))
    }

    /// Readers, by code.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn readers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<ReaderFilter>,
    ) -> Result<ReaderConnection> {
        let list = reader_list(filter.as_ref());
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(ReaderConnection::new(paged, total, Reader))
    }

    /// One gateway.
    #[graphql(guard = "Needs(READERS)")]
    async fn gateway(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it is named.")] by: CodeBy,
    ) -> Result<Option<Gateway>> {
        Ok(coded_thing::<entity::Gateway>(ctx, Kind::Gateway, by).await?.map(Gateway))
    }

    /// Gateways, by code.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn gateways(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<GatewayFilter>,
    ) -> Result<GatewayConnection> {
        let list = gateway_list(ctx, filter.as_ref()).await?;
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(GatewayConnection::new(paged, total, Gateway))
    }

    /// One swipe, by its global id or by the id that its gateway minted.
    #[graphql(guard = "Needs(READERS)")]
    async fn swipe(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its global id, or the gateway's UUID.")] id: ID,
    ) -> Result<Option<Swipe>> {
        let swipe = match Uuid::try_parse(&id) {
            Ok(claimed) => {
                let mut tx = hub(ctx)?.read().await.map_err(|error| fault(&error))?;
                let found = tx.by_column::<entity::Swipe>("claimed_id", [claimed.into()]).await;
                found.map_err(|error| fault(&error))?.into_iter().next()
            }
            Err(_) => of::<entity::Swipe>(ctx, Kind::Swipe, &id).await?,
        };
        Ok(swipe.map(Swipe))
    }

    /// Alerts, by time.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
    ) -> Result<AlertConnection> {
        let (paged, total) =
            connection::read(ctx, list::alerts(), &page(first, after, last, before)?).await?;
        Ok(AlertConnection::new(paged, total, Alert))
    }

    /// Swipes, by time.
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
        let list = swipe_list(filter.as_ref());
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(SwipeConnection::new(paged, total, Swipe))
    }

    /// The calling gateway's own corner.
    #[graphql(guard = "Needs(GATEWAYS)")]
    async fn gateway_self(&self, ctx: &Context<'_>) -> Result<Option<GatewaySelf>> {
        Ok(calling(ctx).await?.map(GatewaySelf))
    }
}

async fn of<E: Entity>(ctx: &Context<'_>, kind: Kind, id: &ID) -> Result<Option<E>> {
    match kind.named(id) {
        Some(id) => loader::one(ctx, id).await,
        None => Ok(None),
    }
}

async fn by_key<E: Entity>(ctx: &Context<'_>, key: &str) -> Result<Option<E>> {
    let mut tx = hub(ctx)?.read().await.map_err(|error| fault(&error))?;
    Ok(tx.by_keys::<E>([key]).await.map_err(|error| fault(&error))?.into_iter().next())
}

async fn coded_thing<E: Entity>(ctx: &Context<'_>, kind: Kind, by: CodeBy) -> Result<Option<E>> {
    match by {
        CodeBy::Id(id) => of(ctx, kind, &id).await,
        CodeBy::Code(code) => by_key(ctx, &code).await,
    }
}

async fn register(ctx: &Context<'_>, id: Uuid) -> Result<Option<Register>> {
    let mut tx = hub(ctx)?.read().await.map_err(|error| fault(&error))?;
    let sessions = tx.by_column::<entity::Session>("register_id", [id.into()]).await;
    Ok(sessions.map_err(|error| fault(&error))?.into_iter().next().map(Register))
}

pub(super) async fn node(ctx: &Context<'_>, id: &ID) -> Result<Option<Node>> {
    let Some((kind, id)) = Kind::of(id) else { return Ok(None) };
    Ok(match kind {
        Kind::Alert => loader::one(ctx, id).await?.map(|it| Node::Alert(Alert(it))),
        Kind::AttendanceRecord => {
            loader::one(ctx, id).await?.map(|it| Node::AttendanceRecord(AttendanceRecord::of(it)))
        }
        Kind::Building => loader::one(ctx, id).await?.map(|it| Node::Building(Building(it))),
        Kind::CalendarSource => {
            loader::one(ctx, id).await?.map(|it| Node::CalendarSource(CalendarSource(it)))
        }
        Kind::Card => loader::one(ctx, id).await?.map(|it| Node::Card(Card(it))),
        Kind::CorrectionProposal => {
            loader::one(ctx, id).await?.map(|it| Node::CorrectionProposal(CorrectionProposal(it)))
        }
        Kind::Course => loader::one(ctx, id).await?.map(|it| Node::Course(Course(it))),
        Kind::Export => loader::one(ctx, id).await?.map(|it| Node::Export(Export(it))),
        Kind::Gateway => loader::one(ctx, id).await?.map(|it| Node::Gateway(Gateway(it))),
        Kind::Group => loader::one(ctx, id).await?.map(|it| Node::Group(Group(it))),
        Kind::Import => loader::one(ctx, id).await?.map(|it| Node::Import(Import(it))),
        Kind::Membership => {
            loader::one(ctx, id).await?.map(|it| Node::StudentGroupMembership(StudentGroupMembership(it)))
        }
        Kind::Reader => loader::one(ctx, id).await?.map(|it| Node::Reader(Reader(it))),
        Kind::Register => register(ctx, id).await?.map(Node::Register),
        Kind::Room => loader::one(ctx, id).await?.map(|it| Node::Room(Room(it))),
        Kind::Session => loader::one(ctx, id).await?.map(|it| Node::Session(Session(it))),
        Kind::Student => loader::one(ctx, id).await?.map(|it| Node::Student(Student(it))),
        Kind::Swipe => loader::one(ctx, id).await?.map(|it| Node::Swipe(Swipe(it))),
        // Known only by its id.
        Kind::Upload => None,
        Kind::Webhook => loader::one(ctx, id).await?.map(|it| Node::Webhook(Webhook(it))),
        Kind::WebhookDelivery => {
            loader::one(ctx, id).await?.map(|it| Node::WebhookDelivery(WebhookDelivery(it)))
        }
    })
}
