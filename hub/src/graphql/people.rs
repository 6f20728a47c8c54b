//! Students and their cards.

use async_graphql::{Context, Enum, ID, InputObject, Object, OneofObject, Result, SimpleObject};

use super::attendance::{
    AttendanceConnectionArguments, AttendanceFilter, AttendanceOrder, AttendanceRecordConnection,
    AttendanceSummary, attendance_page,
};
use super::calendar::calendar_path;
use super::connection::{self, DateRange, connection, page};
use super::context::{Needs, READERS, coded, hub, local};
use super::history::{CardChange, StudentGroupMembershipChange};
use super::id::Kind;
use super::loader::{
    self, CardsOfStudent, CardsThatChanged, CountsOfStudent, CredentialOfCard, ExpectationsOfStudent,
    StaysThatChanged,
};
use super::session::{StudentGroupMembership, StudentGroupMembershipConnection};
use crate::scalar::{DateTime, LocalDate};
use crate::service::calendars::Whose;
use crate::service::people::number_tail;
use crate::store::entity::{self, StudentState};
use crate::store::list;
use crate::store::page::List;

/// Ascending or descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum OrderDirection {
    /// Smallest first.
    Asc,
    /// Biggest first.
    Desc,
}

/// From when on a student is expected at doors, or is not.
#[derive(Debug, Clone, SimpleObject)]
pub struct DoorExpectation {
    /// Of sessions that start at this instant or later, up to the next.
    from: DateTime,
    /// Whether they are.
    expected: bool,
}

/// Somebody who is on class lists.
#[derive(Clone)]
pub struct Student(pub entity::Student);

/// Somebody who is on class lists.
#[Object(guard = "Needs(READERS)")]
impl Student {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Student.id(self.0.id)
    }
    /// The university's student number.
    async fn number(&self) -> &str {
        &self.0.number
    }
    /// Name to show.
    async fn display_name(&self) -> &str {
        &self.0.name
    }
    /// E-mail address.
    async fn email(&self) -> Option<&str> {
        self.0.email.as_deref()
    }
    /// Whether they study.
    async fn state(&self) -> StudentState {
        self.0.state
    }
    /// False for distance learners, placement students and dissertation supervision: never absent at a door. By what holds
    /// last.
    async fn expected_at_door(&self) -> bool {
        self.0.at_door
    }
    /// From when on they are expected at doors, or are not, in the order of those instants: before the first it was the other way
    /// round. Empty where it never was another.
    #[graphql(complexity = "5 + child_complexity")]
    async fn door_expectations(&self, ctx: &Context<'_>) -> Result<Vec<DoorExpectation>> {
        let mut said = loader::list(ctx, ExpectationsOfStudent(self.0.id)).await?;
        said.sort_by_key(|said| said.from_at);
        let shown = |said: entity::DoorExpectation| {
            Ok(DoorExpectation { from: local(ctx, said.from_at)?, expected: said.expected })
        };
        said.into_iter().map(shown).collect()
    }
    /// What they study for: the registry's code of the programme, award or route.
    async fn programme(&self) -> Option<&str> {
        self.0.programme.as_deref()
    }
    /// Where their timetable is as iCalendar, below the hub's address, for programs that subscribe to one. Whoever knows it may
    /// read it; `renewCalendarPaths` voids it.
    async fn calendar_path(&self, ctx: &Context<'_>) -> Result<String> {
        calendar_path(ctx, Kind::Student, Whose::Student(self.0.id)).await
    }
    /// Counts of the marks of sessions that start on the days of a period, or of all. A day left out is the first or the last
    /// there is.
    #[graphql(complexity = "5 + child_complexity")]
    async fn attendance_summary(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The days, both included.")] period: Option<DateRange>,
    ) -> Result<AttendanceSummary> {
        let zone = hub(ctx)?.zone();
        let unusable = |error| coded("BAD_USER_INPUT", format!("'period': {error}"));
        let span = match period.unwrap_or_default() {
            DateRange { from: None, until: None } => None,
            DateRange { from, until } => Some((
                from.map_or(Ok(i64::MIN), |day| day.starts_at(zone)).map_err(unusable)?,
                until.map_or(Ok(i64::MAX), |day| day.ends_at(zone)).map_err(unusable)?,
            )),
        };
        let key = CountsOfStudent { student: self.0.id, span };
        Ok(AttendanceSummary::counted(&loader::counts_of_student(ctx, key).await?))
    }
    /// Cards, newest first. Card numbers are never shown whole.
    async fn cards(&self, ctx: &Context<'_>) -> Result<Vec<Card>> {
        let mut cards = loader::list(ctx, CardsOfStudent(self.0.id)).await?;
        cards.sort_by_key(|card| std::cmp::Reverse(card.from_at));
        Ok(cards.into_iter().map(Card).collect())
    }
    /// Stays in groups; with `on` only those that hold that day.
    #[graphql(complexity = "5 + child_complexity")]
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only stays that hold on this day.")] on: Option<LocalDate>,
    ) -> Result<StudentGroupMembershipConnection> {
        let list = on_day(list::memberships().and("m.student_id = {}", self.0.id), on);
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(StudentGroupMembershipConnection::new(paged, total, StudentGroupMembership))
    }
    /// What stays in groups were before each change, and those that were taken back, newest change first.
    #[graphql(complexity = "10 + child_complexity")]
    async fn group_history(&self, ctx: &Context<'_>) -> Result<Vec<StudentGroupMembershipChange>> {
        let changes = loader::list(ctx, StaysThatChanged(self.0.id)).await?;
        Ok(changes.into_iter().rev().map(StudentGroupMembershipChange).collect())
    }
    /// What cards were before each change, newest change first: who ended one, and when.
    #[graphql(complexity = "10 + child_complexity")]
    async fn card_history(&self, ctx: &Context<'_>) -> Result<Vec<CardChange>> {
        let changes = loader::list(ctx, CardsThatChanged(self.0.id)).await?;
        Ok(changes.into_iter().rev().map(CardChange).collect())
    }
    /// Marks, newest session first unless told.
    #[graphql(complexity = "5 + child_complexity")]
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
        attendance_page(ctx, filter.as_ref(), arguments, Some(self.0.id)).await
    }
}

/// Only the stays that hold on a day.
#[must_use]
pub fn on_day(list: List, on: Option<LocalDate>) -> List {
    match on {
        Some(day) => {
            let day = day.0.to_string();
            list.and("m.from_on <= {}", day.clone()).and("(m.until_on IS NULL OR m.until_on >= {})", day)
        }
        None => list,
    }
}

/// Whether a card opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum CardState {
    /// Valid now.
    Active,
    /// Valid once, and not any more.
    Ended,
    /// Not valid yet.
    Pending,
}

/// A contactless card: one student's, for one stretch of time.
#[derive(Clone)]
pub struct Card(pub entity::Card);

/// A contactless card: one student's, for one stretch of time.
#[Object(guard = "Needs(READERS)")]
impl Card {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Card.id(self.0.id)
    }
    /// The card office's name for it.
    async fn code(&self) -> &str {
        &self.0.code
    }
    /// The last four hex digits of the card's number, of its first credential.
    async fn number_tail(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(number_tail(loader::list(ctx, CredentialOfCard(self.0.id)).await?.first()))
    }
    /// Whether it is valid now.
    async fn state(&self, ctx: &Context<'_>) -> Result<CardState> {
        let now = hub(ctx)?.now().0;
        Ok(match self.0.until_at {
            Some(until) if until <= now => CardState::Ended,
            _ if self.0.from_at > now => CardState::Pending,
            _ => CardState::Active,
        })
    }
    /// Valid from here.
    async fn issued_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.from_at)
    }
    /// Valid until here, excluded; null while it lasts.
    async fn ended_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.until_at.map(|at| local(ctx, at)).transpose()
    }
    /// Who holds it.
    async fn holder(&self, ctx: &Context<'_>) -> Result<Option<Student>> {
        Ok(loader::one(ctx, self.0.student_id).await?.map(Student))
    }
}

/// One way to name a student.
#[derive(Debug, Clone, OneofObject)]
pub enum StudentBy {
    /// By global id.
    Id(ID),
    /// By student number.
    Number(String),
}

/// All fields given must hold; a list holds when any of its members does. An empty list holds for nothing.
#[derive(Debug, Clone, Default, InputObject)]
pub struct StudentFilter {
    /// Part of the name or the number, in any case.
    search: Option<String>,
    /// In one of these states.
    states: Option<Vec<StudentState>>,
    /// On one of these programmes, by code.
    programmes: Option<Vec<String>>,
    /// At some time in one of these groups.
    group_ids: Option<Vec<ID>>,
    /// At some time in a group of one of these courses.
    course_ids: Option<Vec<ID>>,
}

/// What students may be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum StudentOrderField {
    /// By name.
    Name,
    /// By student number.
    Number,
}

/// Sort key and direction. The id breaks ties.
#[derive(Debug, Clone, Copy, InputObject)]
pub struct StudentOrder {
    /// What to sort by.
    pub field: StudentOrderField,
    /// Which way.
    #[graphql(default_with = "OrderDirection::Asc")]
    pub direction: OrderDirection,
}

/// Those whose name or number holds some text, whatever its case. Engines fold the case of ASCII letters alone, so
/// other ways to write it are looked for too.
fn searched(list: List, search: &str) -> List {
    let lower = search.to_lowercase();
    let mut upper_next = true;
    let title: String = lower
        .chars()
        .flat_map(|letter| {
            let upper = std::mem::replace(&mut upper_next, !letter.is_alphanumeric());
            let cased: Vec<char> =
                if upper { letter.to_uppercase().collect() } else { letter.to_lowercase().collect() };
            cased
        })
        .collect();
    let pattern = |text: &str| {
        let text = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
        format!("%{text}%")
    };
    list.and_any(
        &[
            r"LOWER(s.name) LIKE {} ESCAPE '\'",
            r"LOWER(s.number) LIKE {} ESCAPE '\'",
            r"s.name LIKE {} ESCAPE '\'",
            r"s.name LIKE {} ESCAPE '\'",
            r"s.name LIKE {} ESCAPE '\'",
        ],
        [pattern(&lower), pattern(&lower), pattern(search), pattern(&title), pattern(&search.to_uppercase())],
    )
}

/// As for StudentFilter.
#[derive(Debug, Clone, Default, InputObject)]
pub struct CardFilter {
    /// With one of these codes.
    codes: Option<Vec<String>>,
    /// Of one of these students.
    student_ids: Option<Vec<ID>>,
}

/// The cards that a filter lets through, by code.
#[must_use]
pub fn card_list(filter: Option<&CardFilter>) -> List {
    let mut list = list::cards();
    let Some(filter) = filter else { return list };
    if let Some(codes) = &filter.codes {
        list = list.and_in("c.code IN ({})", codes.iter().map(|code| code.as_str().into()));
    }
    if let Some(ids) = &filter.student_ids {
        list = list.and_in("c.student_id IN ({})", Kind::Student.all_of(ids).into_iter().map(Into::into));
    }
    list
}

connection! {
    /// A page of cards.
    CardConnection,
    /// A card and its place.
    CardEdge, Card
}

/// The students that a filter lets through, in order.
#[must_use]
pub fn student_list(filter: Option<&StudentFilter>, order: Option<StudentOrder>) -> List {
    let order =
        order.unwrap_or(StudentOrder { field: StudentOrderField::Name, direction: OrderDirection::Asc });
    let mut list = match order.field {
        StudentOrderField::Name => list::students_by_name(),
        StudentOrderField::Number => list::students_by_number(),
    };
    list.descending = order.direction == OrderDirection::Desc;
    let Some(filter) = filter else { return list };
    if let Some(search) = &filter.search {
        list = searched(list, search);
    }
    if let Some(states) = &filter.states {
        list = list.and_in("s.state IN ({})", states.iter().map(|state| (*state).into()));
    }
    if let Some(codes) = &filter.programmes {
        list = list.and_in("s.programme IN ({})", codes.iter().map(|code| code.as_str().into()));
    }
    if let Some(ids) = &filter.group_ids {
        let ids = Kind::Group.all_of(ids).into_iter().map(Into::into);
        list = list.and_in("s.id IN (SELECT student_id FROM membership WHERE group_id IN ({}))", ids);
    }
    if let Some(ids) = &filter.course_ids {
        let ids = Kind::Course.all_of(ids).into_iter().map(Into::into);
        let condition = "s.id IN (SELECT m.student_id FROM membership m JOIN class_group g ON g.id = m.group_id \
                         WHERE g.course_id IN ({}))";
        list = list.and_in(condition, ids);
    }
    list
}

connection! {
    /// A page of students.
    StudentConnection,
    /// A student and their place.
    StudentEdge, Student
}
