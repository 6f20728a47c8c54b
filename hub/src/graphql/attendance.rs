//! Marks: whether one student was at one session, how that came to be, and counts of them.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use uuid::Uuid;

use super::connection::{self, DateTimeRange, Total, connection, in_range, page_of};
use super::context::{Needs, READERS, count_rows, fault, hub, local};
use super::history::token;
use super::id::Kind;
use super::loader::{self, ChangesOfMark, GroupsOfSession, RosterOfSession, SwipesOfSession};
use super::people::{OrderDirection, Student};
use super::session::Session;
use super::swipe::Swipe;
use crate::scalar::DateTime;
use crate::service::report::Counts;
use crate::store::Value;
use crate::store::entity::{self, AttendanceSource, AttendanceStatus, Entity as _};
use crate::store::known;
use crate::store::list;
use crate::store::page::{Cursor, List, Page, order_of, pages};
use crate::store::register::AttendanceChange as StoredChange;

/// How many marks of one register are read in one go.
const MOST_IN_A_REGISTER: usize = 100_000;

/// Whether one student was at one session.
#[derive(Clone)]
pub struct AttendanceRecord {
    mark: entity::Attendance,
    /// Whose it is, where that was read with it.
    student: Option<entity::Student>,
    /// The instant as of which it is told, in milliseconds since the epoch; none where it is told as it is.
    as_known_at: Option<i64>,
}

impl AttendanceRecord {
    /// A mark alone.
    #[must_use]
    pub fn of(mark: entity::Attendance) -> Self {
        Self { mark, student: None, as_known_at: None }
    }

    /// Whether something that came to be at an instant was known by then.
    fn knew_of(&self, at: i64) -> bool {
        self.as_known_at.is_none_or(|known| at <= known)
    }
}

/// Whether one student was at one session.
#[Object(guard = "Needs(READERS)")]
impl AttendanceRecord {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::AttendanceRecord.id(self.mark.id)
    }
    /// The student.
    async fn student(&self, ctx: &Context<'_>) -> Result<Option<Student>> {
        Ok(match &self.student {
            Some(student) => Some(student.clone()),
            None => loader::one(ctx, self.mark.student_id).await?,
        }
        .map(Student))
    }
    /// The session.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        Ok(loader::one(ctx, self.mark.session_id).await?.map(Session))
    }
    /// The status.
    async fn status(&self) -> AttendanceStatus {
        self.mark.status
    }
    /// What set it.
    async fn source(&self) -> AttendanceSource {
        self.mark.source
    }
    /// When the student came; null unless present.
    async fn arrived_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.mark.arrived_at.map(|at| local(ctx, at)).transpose()
    }
    /// Whole minutes after the start, 0 when on time; null unless present. A remark, never a lower status.
    async fn minutes_late(&self) -> Option<i64> {
        self.mark.minutes_late
    }
    /// The deciding swipe also counted for another session.
    async fn shared_swipe(&self) -> bool {
        self.mark.shared_swipe
    }
    /// Shown green at the door, though what we know now would not have credited it.
    async fn honoured(&self) -> bool {
        self.mark.honoured
    }
    /// The swipes that count for it, by id; of what was known at an instant those among them that the hub had by then.
    async fn swipes(&self, ctx: &Context<'_>) -> Result<Vec<Swipe>> {
        let pairs = loader::list(ctx, SwipesOfSession(self.mark.session_id)).await?;
        let ids: Vec<Uuid> = pairs
            .into_iter()
            .filter(|(student, _)| *student == self.mark.student_id)
            .map(|(_, swipe)| swipe)
            .collect();
        let swipes = loader::many::<entity::Swipe>(ctx, &ids).await?.into_iter();
        Ok(swipes.filter(|swipe| self.knew_of(swipe.received_at)).map(Swipe).collect())
    }
    /// All earlier values, newest first.
    async fn history(&self, ctx: &Context<'_>) -> Result<Vec<AttendanceChange>> {
        let changes = loader::list(ctx, ChangesOfMark(self.mark.id)).await?.into_iter();
        Ok(changes.filter(|change| self.knew_of(change.at)).map(AttendanceChange).collect())
    }
    /// Grows with each change.
    async fn revision(&self) -> i64 {
        self.mark.revision
    }
}

/// One change of one record.
pub struct AttendanceChange(StoredChange);

/// One change of one record.
#[Object(guard = "Needs(READERS)")]
impl AttendanceChange {
    /// When.
    async fn at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.at)
    }
    /// Name of the token whose holder decided; null where the rules did.
    async fn by(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        token(ctx, self.0.by_token).await
    }
    /// The status before.
    async fn from(&self) -> Option<AttendanceStatus> {
        self.0.from
    }
    /// The status after.
    async fn to(&self) -> AttendanceStatus {
        self.0.to
    }
    /// What set it.
    async fn source(&self) -> AttendanceSource {
        self.0.source
    }
    /// The reason given.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }
}

/// Counts. `late` is part of `present`; the share leaves out every status but PRESENT and ABSENT.
#[derive(Debug, Clone, Default, SimpleObject)]
pub struct AttendanceSummary {
    /// Was there.
    present: i32,
    /// Came a minute or more after the start.
    late: i32,
    /// Was not there.
    absent: i32,
    /// Excused.
    authorised_absence: i32,
    /// On the list, and excepted.
    not_required: i32,
    /// Could not be taken.
    no_register: i32,
    /// Did not take place.
    cancelled: i32,
    /// Not yet decided.
    expected: i32,
    /// Present by a swipe that also counts for another session.
    shared_swipe: i32,
    /// present / (present + absent), 0 to 1; null when nothing is decided.
    attended_share: Option<f64>,
}

impl AttendanceSummary {
    /// Counts marks.
    #[must_use]
    pub fn of(marks: &[entity::Attendance]) -> Self {
        let mut sum = Self::default();
        for mark in marks {
            let field = match mark.status {
                AttendanceStatus::Present => &mut sum.present,
                AttendanceStatus::Absent => &mut sum.absent,
                AttendanceStatus::AuthorisedAbsence => &mut sum.authorised_absence,
                AttendanceStatus::NotRequired => &mut sum.not_required,
                AttendanceStatus::NoRegister => &mut sum.no_register,
                AttendanceStatus::Cancelled => &mut sum.cancelled,
                AttendanceStatus::Expected => &mut sum.expected,
            };
            *field += 1;
            sum.late += i32::from(mark.minutes_late.is_some_and(|minutes| minutes >= 1));
            sum.shared_swipe += i32::from(mark.shared_swipe);
        }
        sum.shared()
    }

    /// From counts.
    #[must_use]
    pub fn counted(counts: &Counts) -> Self {
        let of = |status| i32::try_from(counts.of(status)).unwrap_or(i32::MAX);
        let sum = Self {
            present: of(AttendanceStatus::Present),
            late: i32::try_from(counts.late).unwrap_or(i32::MAX),
            absent: of(AttendanceStatus::Absent),
            authorised_absence: of(AttendanceStatus::AuthorisedAbsence),
            not_required: of(AttendanceStatus::NotRequired),
            no_register: of(AttendanceStatus::NoRegister),
            cancelled: of(AttendanceStatus::Cancelled),
            expected: of(AttendanceStatus::Expected),
            shared_swipe: i32::try_from(counts.shared).unwrap_or(i32::MAX),
            attended_share: None,
        };
        sum.shared()
    }

    /// With the share of those decided.
    fn shared(self) -> Self {
        let mut sum = self;
        let decided = sum.present + sum.absent;
        sum.attended_share = (decided > 0).then(|| f64::from(sum.present) / f64::from(decided));
        sum
    }
}

/// As for StudentFilter.
#[derive(Debug, Clone, Default, InputObject)]
pub struct AttendanceFilter {
    /// With one of these statuses.
    statuses: Option<Vec<AttendanceStatus>>,
    /// Set by one of these.
    sources: Option<Vec<AttendanceSource>>,
    /// Of a session that starts in this range.
    session_starts_in: Option<DateTimeRange>,
    /// Of one of these students.
    student_ids: Option<Vec<ID>>,
    /// Of a session of one of these courses.
    course_ids: Option<Vec<ID>>,
    /// Of a session with one of these groups.
    group_ids: Option<Vec<ID>>,
    /// Changed since.
    updated_since: Option<DateTime>,
}

/// What attendance may be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum AttendanceOrderField {
    /// By the session's start.
    SessionStart,
    /// By the student's name.
    StudentName,
    /// By the student's number.
    StudentNumber,
    /// By the last change.
    UpdatedAt,
}

/// Sort key and direction. The id breaks ties.
#[derive(Debug, Clone, Copy, InputObject)]
pub struct AttendanceOrder {
    /// What to sort by.
    pub field: AttendanceOrderField,
    /// Which way.
    #[graphql(default_with = "OrderDirection::Asc")]
    pub direction: OrderDirection,
}

/// Which page of which order.
pub struct AttendanceConnectionArguments {
    /// The page.
    pub page: Page,
    /// The order; of sessions, the newest first where nobody says.
    pub order: Option<AttendanceOrder>,
    /// The instant as of which marks are told; none where they are told as they are.
    pub as_known_at: Option<DateTime>,
}

fn filtered(mut list: List, filter: Option<&AttendanceFilter>, as_known: bool) -> List {
    let Some(filter) = filter else { return list };
    if let Some(statuses) = &filter.statuses {
        list = list.and_in("a.status IN ({})", statuses.iter().map(|status| (*status).into()));
    }
    if let Some(sources) = &filter.sources {
        list = list.and_in("a.source IN ({})", sources.iter().map(|source| (*source).into()));
    }
    list = in_range(list, "s.starts_at", filter.session_starts_in.as_ref());
    let ids =
        |kind: Kind, ids: &[ID]| -> Vec<Value> { kind.all_of(ids).into_iter().map(Value::from).collect() };
    if let Some(wanted) = &filter.student_ids {
        list = list.and_in("a.student_id IN ({})", ids(Kind::Student, wanted));
    }
    if let Some(wanted) = &filter.course_ids {
        list = list.and_in("s.course_id IN ({})", ids(Kind::Course, wanted));
    }
    if let Some(wanted) = &filter.group_ids {
        let condition = "a.session_id IN (SELECT session_id FROM session_group WHERE group_id IN ({}))";
        list = if as_known {
            known::and_of_groups(list, &Kind::Group.all_of(wanted))
        } else {
            list.and_in(condition, ids(Kind::Group, wanted))
        };
    }
    if let Some(since) = &filter.updated_since {
        list = list.and("a.updated_at >= {}", since.ms());
    }
    list
}

/// A page of marks, of one student or of all.
pub async fn attendance_page(
    ctx: &Context<'_>,
    filter: Option<&AttendanceFilter>,
    arguments: AttendanceConnectionArguments,
    student: Option<Uuid>,
) -> Result<AttendanceRecordConnection> {
    let order = arguments.order.unwrap_or(AttendanceOrder {
        field: AttendanceOrderField::SessionStart,
        direction: OrderDirection::Desc,
    });
    // What few marks another condition leaves is found by that one.
    let rare = |it: &AttendanceFilter| {
        (it.statuses.is_some() || it.sources.is_some()) && it.session_starts_in.is_none()
    };
    let few = student.is_some()
        || filter.is_some_and(|it| it.student_ids.is_some() || it.updated_since.is_some() || rare(it))
        || arguments.as_known_at.is_some();
    let mut list = match order.field {
        AttendanceOrderField::SessionStart if few => list::attendance_by_start(),
        AttendanceOrderField::SessionStart => list::attendance_along_sessions(),
        AttendanceOrderField::StudentName => list::attendance_by_name(),
        AttendanceOrderField::StudentNumber => list::attendance_by_number(),
        AttendanceOrderField::UpdatedAt => list::attendance_by_update(),
    };
    list.descending = order.direction == OrderDirection::Desc;
    let as_known_at = arguments.as_known_at.map(|at| at.ms());
    if let Some(at) = as_known_at {
        let starts = filter.and_then(|filter| filter.session_starts_in.as_ref());
        list = known::as_known_at(list, at, starts.map(DateTimeRange::bounds));
    }
    list = filtered(list, filter, as_known_at.is_some());
    if let Some(student) = student {
        list = list.and("a.student_id = {}", student);
    }
    let (paged, total) = connection::read(ctx, list, &arguments.page).await?;
    let wrap = move |mark| AttendanceRecord { as_known_at, ..AttendanceRecord::of(mark) };
    Ok(AttendanceRecordConnection::new(paged, total, wrap))
}

/// The marks of one register as they were known at an instant, by the student's id.
pub async fn entries_as_known(
    ctx: &Context<'_>,
    session: &entity::Session,
    at: &DateTime,
) -> Result<Vec<AttendanceRecord>> {
    let starts = session.starts_at..session.starts_at + 1;
    let list = known::as_known_at(list::attendance_by_start(), at.ms(), Some(starts));
    let list = list.and("a.session_id = {}", session.id);
    let read = async {
        let mut tx = hub(ctx)?.read().await.map_err(|error| fault(&error))?;
        let whole = Page::first(MOST_IN_A_REGISTER);
        pages(&mut tx, &[(&list, &whole)], entity::Attendance::read).await.map_err(|error| fault(&error))
    };
    let rows = read.await?.into_iter().flat_map(|page| page.rows);
    let mut marks: Vec<entity::Attendance> = rows.map(|(_, mark)| mark).collect();
    marks.sort_by_key(|mark| mark.student_id);
    let wrap = |mark| AttendanceRecord { as_known_at: Some(at.ms()), ..AttendanceRecord::of(mark) };
    Ok(marks.into_iter().map(wrap).collect())
}

/// Whether a session is among those whose marks a filter lets through.
async fn is_of(ctx: &Context<'_>, session: &entity::Session, filter: &AttendanceFilter) -> Result<bool> {
    let starts = filter.session_starts_in.as_ref().is_none_or(|range| range.holds(session.starts_at));
    let course = filter
        .course_ids
        .as_ref()
        .is_none_or(|ids| session.course_id.is_some_and(|course| Kind::Course.all_of(ids).contains(&course)));
    if !starts || !course {
        return Ok(false);
    }
    let Some(wanted) = &filter.group_ids else { return Ok(true) };
    let wanted: Vec<Uuid> = Kind::Group.all_of(wanted);
    let groups = loader::list(ctx, GroupsOfSession(session.id)).await?;
    Ok(groups.iter().any(|group| wanted.contains(&group.id)))
}

/// A page of one register's marks. Many registers in one answer are read in one statement, so pages are cut
/// in memory: a register has some hundreds of marks at the most.
pub async fn entries(
    ctx: &Context<'_>,
    session: &entity::Session,
    page: Page,
    filter: Option<&AttendanceFilter>,
    order: Option<AttendanceOrder>,
) -> Result<AttendanceRecordConnection> {
    let order = order.unwrap_or(AttendanceOrder {
        field: AttendanceOrderField::StudentName,
        direction: OrderDirection::Asc,
    });
    let roster = match filter {
        Some(filter) if !is_of(ctx, session, filter).await? => Vec::new(),
        _ => loader::list(ctx, RosterOfSession(session.id)).await?,
    };
    let passes = |mark: &entity::Attendance| {
        filter.is_none_or(|filter| {
            filter.statuses.as_ref().is_none_or(|list| list.contains(&mark.status))
                && filter.sources.as_ref().is_none_or(|list| list.contains(&mark.source))
                && filter.updated_since.as_ref().is_none_or(|since| mark.updated_at >= since.ms())
                && filter
                    .student_ids
                    .as_ref()
                    .is_none_or(|ids| Kind::Student.all_of(ids).contains(&mark.student_id))
        })
    };
    let by = match order.field {
        AttendanceOrderField::StudentName => "name",
        AttendanceOrderField::SessionStart | AttendanceOrderField::StudentNumber => "number",
        AttendanceOrderField::UpdatedAt => "updated",
    };
    connection::goes_by(&page, by)?;
    let mut rows: Vec<(Cursor, (entity::Attendance, entity::Student))> = roster
        .into_iter()
        .filter(|(mark, _)| passes(mark))
        .map(|(mark, student)| {
            let key = match order.field {
                AttendanceOrderField::StudentName => student.name.clone(),
                AttendanceOrderField::SessionStart | AttendanceOrderField::StudentNumber => {
                    student.number.clone()
                }
                AttendanceOrderField::UpdatedAt => format!("{:020}", mark.updated_at),
            };
            (Cursor { order: order_of(by), key: Value::Text(key), id: mark.id }, (mark, student))
        })
        .collect();
    rows.sort_by(|(one, _), (other, _)| (one.text(), one.id).cmp(&(other.text(), other.id)));
    let descending = order.direction == OrderDirection::Desc;
    if descending {
        rows.reverse();
    }
    let total = Total::Known(i64::try_from(rows.len()).unwrap_or(i64::MAX));
    let wrap = |(mark, student)| AttendanceRecord { student: Some(student), ..AttendanceRecord::of(mark) };
    let paged = page_of(rows, &page, descending);
    count_rows(ctx, paged.rows.len())?;
    Ok(AttendanceRecordConnection::new(paged, total, wrap))
}

connection! {
    /// A page of marks.
    AttendanceRecordConnection,
    /// A mark and its place.
    AttendanceRecordEdge, AttendanceRecord
}
