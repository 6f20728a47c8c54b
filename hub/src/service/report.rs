//! Ready-made figures: attendance by what people ask for.
//!
//! Every figure comes with what it was counted from: marks by status, sessions, the days. A share leaves out every mark
//! but PRESENT and ABSENT, as everywhere.

use std::collections::BTreeMap;

use async_graphql::Enum;
use jiff::Timestamp;
use jiff::civil::Weekday;
use uuid::Uuid;

use super::Hub;
use crate::scalar::LocalDate;
use crate::store::entity::{AttendanceStatus, Building, Course, Group, Room, Student};
use crate::store::report::{Counted, Grouped, MarkLine};
use crate::store::{FromValue as _, StoreError, Tx, Value};

/// What a report's rows stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "ReportGrouping")]
pub enum Grouping {
    /// Buildings; a session held in several counts in each.
    Building,
    /// Courses.
    Course,
    /// Days, in the institution's zone.
    Day,
    /// Groups; a student counts in those that they were in when the session started.
    Group,
    /// Programmes, as their students are on them today.
    Programme,
    /// Rooms; a session held in several counts in each.
    Room,
    /// Students.
    Student,
    /// Weeks from Monday, in the institution's zone.
    Week,
}

/// Counts of marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// By status, in the order of [`AttendanceStatus`]'s words.
    by_status: [i64; 7],
    /// Came a minute late or more.
    pub late: i64,
    /// Present by a swipe that also counts for another session.
    pub shared: i64,
    /// Sessions.
    pub sessions: i64,
}

const STATUSES: [AttendanceStatus; 7] = [
    AttendanceStatus::Present,
    AttendanceStatus::Absent,
    AttendanceStatus::AuthorisedAbsence,
    AttendanceStatus::NotRequired,
    AttendanceStatus::NoRegister,
    AttendanceStatus::Cancelled,
    AttendanceStatus::Expected,
];

impl Counts {
    /// How many marks have a status.
    #[must_use]
    pub fn of(&self, status: AttendanceStatus) -> i64 {
        STATUSES.iter().position(|it| *it == status).map_or(0, |at| self.by_status[at])
    }

    fn add(&mut self, counted: &Counted) {
        if let Some(at) = STATUSES.iter().position(|status| status.word() == counted.status) {
            self.by_status[at] += counted.marks;
        }
        self.late += counted.late;
        self.shared += counted.shared;
    }
}

/// One row of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// Its name for people: a code, a number, a day.
    pub label: String,
    /// What it stands for; none for days, weeks and programmes, and for sessions without a course.
    pub subject: Option<Uuid>,
    /// What was counted.
    pub counts: Counts,
}

/// A report.
#[derive(Debug, Clone)]
pub struct AttendanceReport {
    /// All marks once.
    pub total: Counts,
    /// The rows, by label.
    pub rows: Vec<ReportRow>,
}

fn grouped(by: Grouping) -> Grouped {
    match by {
        Grouping::Building => Grouped {
            key: "b.building_id",
            join: "JOIN (SELECT DISTINCT h.session_id, r.building_id FROM session_room h JOIN room r ON r.id = h.room_id \
                   JOIN session t ON t.id = h.session_id WHERE h.until_at IS NULL OR h.until_at > t.starts_at) b \
                   ON b.session_id = s.id",
        },
        Grouping::Room => Grouped {
            key: "b.room_id",
            join: "JOIN (SELECT DISTINCT h.session_id, h.room_id FROM session_room h JOIN session t ON t.id = h.session_id \
                   WHERE h.until_at IS NULL OR h.until_at > t.starts_at) b ON b.session_id = s.id",
        },
        Grouping::Course => Grouped { key: "s.course_id", join: "" },
        Grouping::Group => Grouped {
            key: "g.group_id",
            join: "JOIN session_group g ON g.session_id = s.id AND EXISTS (SELECT 1 FROM membership m WHERE m.group_id = g.group_id \
                   AND m.student_id = a.student_id AND m.from_at <= s.starts_at AND (m.until_at IS NULL OR m.until_at > s.starts_at))",
        },
        Grouping::Programme => Grouped { key: "p.programme", join: "JOIN student p ON p.id = a.student_id" },
        Grouping::Student => Grouped { key: "a.student_id", join: "" },
        Grouping::Day | Grouping::Week => Grouped { key: "s.starts_at", join: "" },
    }
}

/// The instants at which the first day begins and the last one ends.
pub(super) fn span(hub: &Hub, from: LocalDate, until: LocalDate) -> Option<(i64, i64)> {
    Some((from.starts_at(hub.zone()).ok()?, until.ends_at(hub.zone()).ok()?))
}

/// Counts the marks of some students: of all sessions, or of those that start from one instant to another (excluded).
/// Whoever has no marks is left out.
///
/// # Errors
/// When the store fails.
pub async fn of_students(
    tx: &mut Tx,
    students: &[Uuid],
    span: Option<(i64, i64)>,
) -> Result<BTreeMap<Uuid, Counts>, StoreError> {
    let mut found: BTreeMap<Uuid, Counts> = BTreeMap::new();
    for counted in tx.count_marks_of(students, span).await? {
        if let Ok(student) = Uuid::from_value(counted.key.clone()) {
            found.entry(student).or_default().add(&counted);
        }
    }
    Ok(found)
}

/// Counts the marks of all sessions that start from one day to another, both included.
///
/// # Errors
/// When the store fails.
pub async fn attendance(
    hub: &Hub,
    by: Grouping,
    from: LocalDate,
    until: LocalDate,
) -> Result<AttendanceReport, StoreError> {
    let mut tx = hub.read().await?;
    let Some((from, until)) = span(hub, from, until) else {
        return Ok(AttendanceReport { total: Counts::default(), rows: Vec::new() });
    };
    let mut total = Counts::default();
    let all = Grouped { key: "s.cancelled", join: "" };
    tx.count_marks(all, from, until).await?.iter().for_each(|counted| total.add(counted));
    total.sessions = tx.count_sessions(all, from, until).await?.iter().map(|(_, count)| count).sum();
    let mut rows: BTreeMap<Key, Counts> = BTreeMap::new();
    for counted in tx.count_marks(grouped(by), from, until).await? {
        rows.entry(Key::of(hub, by, &counted.key)).or_default().add(&counted);
    }
    for (key, count) in tx.count_sessions(grouped(by), from, until).await? {
        rows.entry(Key::of(hub, by, &key)).or_default().sessions += count;
    }
    let labels = labels(&mut tx, by, rows.keys().filter_map(|key| key.subject)).await?;
    let mut rows: Vec<ReportRow> = rows
        .into_iter()
        .map(|(key, counts)| {
            let named = key.subject.and_then(|id| labels.get(&id).cloned());
            ReportRow { label: named.unwrap_or(key.label), subject: key.subject, counts }
        })
        .collect();
    rows.sort_by(|one, other| one.label.cmp(&other.label));
    Ok(AttendanceReport { total, rows })
}

/// What a row stands for, as far as the counts say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    subject: Option<Uuid>,
    label: String,
}

impl Key {
    fn of(hub: &Hub, by: Grouping, key: &Value) -> Self {
        let label = match key {
            Value::Int(ms) => day(hub, by, *ms),
            Value::Text(code) => code.clone(),
            _ => "none".to_owned(),
        };
        let subject = match key {
            Value::Bytes(bytes) => Uuid::from_slice(bytes).ok(),
            _ => None,
        };
        Self { subject, label }
    }
}

/// The day of an instant, or the Monday of its week.
fn day(hub: &Hub, by: Grouping, ms: i64) -> String {
    let Ok(at) = Timestamp::from_millisecond(ms) else { return String::new() };
    let day = at.to_zoned(hub.zone().clone()).date();
    let monday = || {
        let back = day.weekday().since(Weekday::Monday);
        day.checked_sub(jiff::Span::new().days(i64::from(back))).unwrap_or(day)
    };
    if by == Grouping::Week { monday().to_string() } else { day.to_string() }
}

async fn labels(
    tx: &mut Tx,
    by: Grouping,
    ids: impl Iterator<Item = Uuid>,
) -> Result<BTreeMap<Uuid, String>, StoreError> {
    Ok(match by {
        Grouping::Building => {
            tx.by_ids::<Building>(ids).await?.into_iter().map(|it| (it.id, it.code)).collect()
        }
        Grouping::Room => tx.by_ids::<Room>(ids).await?.into_iter().map(|it| (it.id, it.code)).collect(),
        Grouping::Course => tx.by_ids::<Course>(ids).await?.into_iter().map(|it| (it.id, it.code)).collect(),
        Grouping::Group => tx.by_ids::<Group>(ids).await?.into_iter().map(|it| (it.id, it.code)).collect(),
        Grouping::Student => {
            tx.by_ids::<Student>(ids).await?.into_iter().map(|it| (it.id, it.number)).collect()
        }
        Grouping::Day | Grouping::Programme | Grouping::Week => BTreeMap::new(),
    })
}

/// Hands over the marks of all sessions that start from one day to another, both included, a day at a time: all of them as
/// they were at one instant.
///
/// # Errors
/// When the store fails, or `take` does.
pub async fn marks<E: From<StoreError>>(
    hub: &Hub,
    from: LocalDate,
    until: LocalDate,
    mut take: impl FnMut(Vec<MarkLine>) -> Result<(), E>,
) -> Result<(), E> {
    let mut tx = hub.read().await?;
    let mut day = from;
    while day <= until {
        let Some((first, last)) = span(hub, day, day) else { break };
        take(tx.mark_lines(first, last).await?)?;
        let Ok(next) = day.0.tomorrow() else { break };
        day = LocalDate(next);
    }
    Ok(())
}
