//! Courses, groups, stays in them, and sessions.

use async_graphql::{Context, Enum, ID, InputObject, Object, OneofObject, Result, SimpleObject};
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::connection::{self, DateTimeRange, connection, in_range, page};
use super::context::{Needs, READERS, fault, hub, local, word};
use super::estate::Room;
use super::history::SessionChange;
use super::id::Kind;
use super::loader::{self, ChangesOfSession, GroupsOfSession, Policies, RoomsOfSession};
use super::people::{Student, on_day};
use super::register::{Register, RegisterState};
use crate::scalar::{DateTime, Duration, LocalDate};
use crate::service::policy::policy_for;
use crate::store::entity::{self, MembershipReason, OverlapRule, SessionKind};
use crate::store::list;
use crate::store::page::List;

/// A taught unit, for instance COMP1001.
#[derive(Clone)]
pub struct Course(pub entity::Course);

/// A taught unit, for instance COMP1001.
#[Object(guard = "Needs(READERS)")]
impl Course {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Course.id(self.0.id)
    }
    /// Short code.
    async fn code(&self) -> &str {
        &self.0.code
    }
    /// Title.
    async fn title(&self) -> &str {
        &self.0.title
    }
    /// The department that teaches it, by its short code.
    async fn department(&self) -> Option<&str> {
        self.0.department.as_deref()
    }
    /// Its groups, by code.
    #[graphql(complexity = "5 + child_complexity")]
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
    ) -> Result<GroupConnection> {
        let list = list::groups().and("g.course_id = {}", self.0.id);
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(GroupConnection::new(paged, total, Group))
    }
}

/// A class list: the students who go to the same sessions of a course.
#[derive(Clone)]
pub struct Group(pub entity::Group);

/// A class list: the students who go to the same sessions of a course.
#[Object(guard = "Needs(READERS)")]
impl Group {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Group.id(self.0.id)
    }
    /// Short code.
    async fn code(&self) -> &str {
        &self.0.code
    }
    /// Title.
    async fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }
    /// Its course.
    async fn course(&self, ctx: &Context<'_>) -> Result<Option<Course>> {
        Ok(loader::one(ctx, self.0.course_id).await?.map(Course))
    }
    /// What its sessions are.
    async fn kind(&self) -> SessionKind {
        self.0.kind
    }
    /// Stays in it, by student number; with `on` only those that hold that day.
    #[graphql(complexity = "5 + child_complexity")]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only stays that hold on this day.")] on: Option<LocalDate>,
    ) -> Result<StudentGroupMembershipConnection> {
        let list = on_day(list::memberships().and("m.group_id = {}", self.0.id), on);
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(StudentGroupMembershipConnection::new(paged, total, StudentGroupMembership))
    }
    /// Its sessions, by start.
    #[graphql(complexity = "5 + child_complexity")]
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
            .and("s.id IN (SELECT session_id FROM session_group WHERE group_id = {})", self.0.id);
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(SessionConnection::new(paged, total, Session))
    }
}

/// A student's stay in a group, from one day until another.
#[derive(Clone)]
pub struct StudentGroupMembership(pub entity::Membership);

/// A student's stay in a group, from one day until another.
#[Object(guard = "Needs(READERS)")]
impl StudentGroupMembership {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Membership.id(self.0.id)
    }
    /// The student.
    async fn student(&self, ctx: &Context<'_>) -> Result<Option<Student>> {
        Ok(loader::one(ctx, self.0.student_id).await?.map(Student))
    }
    /// The group.
    async fn group(&self, ctx: &Context<'_>) -> Result<Option<Group>> {
        Ok(loader::one(ctx, self.0.group_id).await?.map(Group))
    }
    /// The first day.
    async fn from(&self) -> Result<LocalDate> {
        date(&self.0.from_on)
    }
    /// The last day; null while it lasts.
    async fn until(&self) -> Result<Option<LocalDate>> {
        self.0.until_on.as_deref().map(date).transpose()
    }
    /// The instant on the first day from which on it holds: as it begins, unless somebody said another.
    #[graphql(name = "fromAt")]
    async fn begins_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.from_at)
    }
    /// The instant from which on it holds no more: the end of the last day, unless somebody said another; null while it lasts.
    async fn until_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.until_at.map(|at| local(ctx, at)).transpose()
    }
    /// Why.
    async fn reason(&self) -> MembershipReason {
        self.0.reason
    }
}

pub(super) fn date(text: &str) -> Result<LocalDate> {
    let parsed = text.parse().map(LocalDate);
    parsed.map_err(|_| {
        fault(&crate::store::StoreError::BadData { place: "membership.from_on", found: text.to_owned() })
    })
}

/// Whether a session takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum SessionState {
    /// Called off.
    Cancelled,
    /// Over.
    Finished,
    /// On now.
    InProgress,
    /// To come, at another time or place than first published.
    Moved,
    /// To come.
    Scheduled,
}

/// How swipes become attendance, for one session. Effective-dated data, read at the session's start.
#[derive(SimpleObject)]
pub struct AttendancePolicy {
    /// How long before the start the window opens.
    opens_before: Duration,
    /// How long after the end it closes.
    closes_after: Duration,
    /// Which sessions one swipe is credited to.
    overlap: OverlapRule,
}

/// One meeting of one or more groups in one or more rooms.
#[derive(Clone)]
pub struct Session(pub entity::Session);

/// One meeting of one or more groups in one or more rooms.
#[Object(guard = "Needs(READERS)")]
impl Session {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Session.id(self.0.id)
    }
    /// The id in the timetabling system, for matching.
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }
    /// What it is.
    async fn kind(&self) -> SessionKind {
        self.0.kind
    }
    /// Title.
    async fn title(&self) -> &str {
        &self.0.title
    }
    /// Its course.
    async fn course(&self, ctx: &Context<'_>) -> Result<Option<Course>> {
        match self.0.course_id {
            Some(course) => Ok(loader::one(ctx, course).await?.map(Course)),
            None => Ok(None),
        }
    }
    /// Start.
    async fn starts_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.starts_at)
    }
    /// End.
    async fn ends_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.ends_at)
    }
    /// Whether it takes place.
    async fn state(&self, ctx: &Context<'_>) -> Result<SessionState> {
        let now = hub(ctx)?.now().0;
        Ok(if self.0.cancelled {
            SessionState::Cancelled
        } else if self.0.ends_at < now {
            SessionState::Finished
        } else if self.0.starts_at <= now {
            SessionState::InProgress
        } else if self.0.moved {
            SessionState::Moved
        } else {
            SessionState::Scheduled
        })
    }
    /// Whose class list it has.
    async fn groups(&self, ctx: &Context<'_>) -> Result<Vec<Group>> {
        Ok(loader::list(ctx, GroupsOfSession(self.0.id)).await?.into_iter().map(Group).collect())
    }
    /// Where it is held.
    async fn rooms(&self, ctx: &Context<'_>) -> Result<Vec<Room>> {
        let mut rooms = loader::list(ctx, RoomsOfSession(self.0.id)).await?;
        rooms.sort_by(|one, other| one.code.cmp(&other.code));
        rooms.dedup();
        Ok(rooms.into_iter().map(Room).collect())
    }
    /// The rules that hold for it.
    async fn policy(&self, ctx: &Context<'_>) -> Result<AttendancePolicy> {
        let policy = policy_of(ctx, &self.0).await?;
        Ok(AttendancePolicy {
            opens_before: Duration(policy.opens_before_ms),
            closes_after: Duration(policy.closes_after_ms),
            overlap: match policy.overlap {
                rollcall_rules::policy::Overlap::EveryOpen => OverlapRule::EveryOpen,
                rollcall_rules::policy::Overlap::NearestStart => OverlapRule::NearestStart,
            },
        })
    }
    /// The session's register.
    async fn register(&self) -> Register {
        Register(self.0.clone())
    }
    /// Grows with each change to the session.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
    /// What it was before each change of its time, rooms, groups or of what it is, newest first.
    #[graphql(complexity = "10 + child_complexity")]
    async fn history(&self, ctx: &Context<'_>) -> Result<Vec<SessionChange>> {
        let changes = loader::list(ctx, ChangesOfSession(self.0.id)).await?;
        Ok(changes.into_iter().rev().map(SessionChange).collect())
    }
}

pub(super) async fn policy_of(
    ctx: &Context<'_>,
    session: &entity::Session,
) -> Result<rollcall_rules::policy::Policy> {
    Ok(policy_for(&loader::list(ctx, Policies).await?, session))
}

pub(super) async fn opens_at(ctx: &Context<'_>, session: &entity::Session) -> Result<i64> {
    Ok(session.starts_at - policy_of(ctx, session).await?.opens_before_ms)
}

/// One way to name a session.
#[derive(Debug, Clone, OneofObject)]
pub enum SessionBy {
    /// By global id.
    Id(ID),
    /// By the id in the timetabling system.
    ExternalId(String),
}

/// One way to name something that has a code.
#[derive(Debug, Clone, OneofObject)]
pub enum CodeBy {
    /// By global id.
    Id(ID),
    /// By its code.
    Code(String),
}

/// As for StudentFilter.
#[derive(Debug, Clone, Default, InputObject)]
pub struct SessionFilter {
    /// Starts in this range.
    starts_in: Option<DateTimeRange>,
    /// Of one of these kinds.
    kinds: Option<Vec<SessionKind>>,
    /// Of one of these courses.
    course_ids: Option<Vec<ID>>,
    /// With one of these groups.
    group_ids: Option<Vec<ID>>,
    /// In one of these rooms, at some time.
    room_ids: Option<Vec<ID>>,
    /// In a room of one of these buildings, at some time.
    building_ids: Option<Vec<ID>>,
    /// Called off, or not.
    cancelled: Option<bool>,
    /// With a register in one of these states now.
    register_states: Option<Vec<RegisterState>>,
}

/// The sessions that a filter lets through at `now`, by start.
#[must_use]
pub fn session_list(filter: Option<&SessionFilter>, now: Instant) -> List {
    let list = list::sessions();
    let Some(filter) = filter else { return list };
    let mut list = in_range(list, "s.starts_at", filter.starts_in.as_ref());
    if let Some(kinds) = &filter.kinds {
        list = list.and_in("s.kind IN ({})", kinds.iter().map(|kind| (*kind).into()));
    }
    let ids = |kind: Kind, ids: &[ID]| -> Vec<crate::store::Value> {
        kind.all_of(ids).into_iter().map(|id: Uuid| id.into()).collect()
    };
    if let Some(wanted) = &filter.course_ids {
        list = list.and_in("s.course_id IN ({})", ids(Kind::Course, wanted));
    }
    if let Some(wanted) = &filter.group_ids {
        let condition = "s.id IN (SELECT session_id FROM session_group WHERE group_id IN ({}))";
        list = list.and_in(condition, ids(Kind::Group, wanted));
    }
    if let Some(wanted) = &filter.room_ids {
        let condition = "s.id IN (SELECT session_id FROM session_room WHERE room_id IN ({}))";
        list = list.and_in(condition, ids(Kind::Room, wanted));
    }
    if let Some(wanted) = &filter.building_ids {
        let condition = "s.id IN (SELECT sr.session_id FROM session_room sr JOIN room r ON r.id = sr.room_id \
                         WHERE r.building_id IN ({}))";
        list = list.and_in(condition, ids(Kind::Building, wanted));
    }
    if let Some(cancelled) = filter.cancelled {
        list = list.and("s.cancelled = {}", cancelled);
    }
    if let Some(states) = &filter.register_states {
        let condition = format!("{} IN ({{}})", list::register_state(now.0));
        list = list.and_in(&condition, states.iter().map(|state| word(*state).into()));
    }
    list
}

connection! {
    /// A page of courses.
    CourseConnection,
    /// A course and its place.
    CourseEdge, Course
}
connection! {
    /// A page of groups.
    GroupConnection,
    /// A group and its place.
    GroupEdge, Group
}
connection! {
    /// A page of stays in groups.
    StudentGroupMembershipConnection,
    /// A stay and its place.
    StudentGroupMembershipEdge, StudentGroupMembership
}
connection! {
    /// A page of sessions.
    SessionConnection,
    /// A session and its place.
    SessionEdge, Session
}
