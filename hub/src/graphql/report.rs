//! Reports: ready-made figures, each with what it was counted from.

use async_graphql::{ComplexObject, Context, InputObject, Object, Result, SimpleObject};

use super::attendance::AttendanceSummary;
use super::context::{Needs, READERS, coded, fault, hub, local};
use super::estate::Room;
use super::id::{Kind, Node};
use super::query::node;
use crate::scalar::{DateTime, Duration, LocalDate};
use crate::service::report::{self, Grouping};
use crate::service::room_use::room_use;

/// The longest stretch that one report covers, in days: a year and a bit.
pub(super) const MAX_DAYS: i64 = 400;
/// The most rows that one report has.
const MAX_ROWS: usize = 10_000;

/// The days of a report, both included; 400 at the most.
#[derive(Debug, Clone, InputObject)]
pub struct ReportPeriodInput {
    /// The first day.
    from: LocalDate,
    /// The last day.
    until: LocalDate,
}

impl ReportPeriodInput {
    fn check(&self) -> Result<()> {
        let days = i64::from((self.until.0 - self.from.0).get_days());
        if (0..MAX_DAYS).contains(&days) {
            return Ok(());
        }
        Err(coded(
            "BAD_USER_INPUT",
            format!("'until' must come from 0 to {} days after 'from'", MAX_DAYS - 1),
        ))
    }
}

/// The days of a report, both included.
#[derive(Debug, Clone, SimpleObject)]
pub struct ReportPeriod {
    /// The first day.
    from: LocalDate,
    /// The last day.
    until: LocalDate,
}

/// Ready-made figures. Sessions count on the day on which they start, in the institution's zone.
#[derive(Debug, Clone, SimpleObject)]
pub struct Report {
    /// The days.
    period: ReportPeriod,
    /// What the rows stand for.
    grouped_by: Grouping,
    /// When it was counted.
    generated_at: DateTime,
    /// All marks, each once.
    total: AttendanceSummary,
    /// How many sessions they are of.
    sessions: i32,
    /// The rows, by label.
    rows: Vec<ReportRow>,
}

/// One row.
#[derive(Debug, Clone, SimpleObject)]
#[graphql(complex)]
pub struct ReportRow {
    /// A code, a student number, a day, or the Monday of a week; "none" for what has none.
    label: String,
    /// Counts by status, and the share with what it is of.
    summary: AttendanceSummary,
    /// How many sessions were counted.
    sessions: i32,
    #[graphql(skip)]
    subject_id: Option<(Kind, uuid::Uuid)>,
}

#[ComplexObject]
impl ReportRow {
    /// What it stands for; null for days, weeks and programmes, and for sessions without a course.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<Node>> {
        match self.subject_id {
            Some((kind, id)) => node(ctx, &kind.id(id)).await,
            None => Ok(None),
        }
    }
}

/// What a room was booked for, and what became of it.
#[derive(Clone, SimpleObject)]
pub struct RoomUse {
    /// The room.
    room: Room,
    /// The days that all this is of.
    period: ReportPeriod,
    /// Sessions booked in it, those called off left out.
    sessions: i32,
    /// How long it was booked; sessions side by side count once, and one that moved while it was held counts from when it
    /// came until it left for good.
    booked: Duration,
    /// How long it was booked for sessions to which somebody came, counted alike; of a session in several rooms, through this one's
    /// doors.
    used: Duration,
    /// Sessions whose register was taken and to which nobody came, though somebody was expected; of a session in several
    /// rooms, through this one's doors.
    ghost_sessions: i32,
    /// Sessions to which more came through the room's doors than it has seats, or to them and those beside them together.
    overcrowded_sessions: i32,
    /// Sessions whose register could not be taken, or is not final yet.
    unknown_sessions: i32,
    /// Students expected, over all sessions in this room alone whose register was taken: of those in several rooms nobody says who
    /// was expected in which.
    expected: i32,
    /// Students who came, over the same.
    present: i32,
    /// expected - present.
    no_shows: i32,
    /// present / expected, 0 to 1; null where nobody was expected.
    attended_share: Option<f64>,
}

fn count(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The part of the API that counts.
#[derive(Default)]
pub struct Reports;

#[Object]
impl Reports {
    /// Attendance over some days, by what the rows are to stand for.
    #[graphql(guard = "Needs(READERS)", complexity = "100 + child_complexity")]
    async fn report(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What the rows stand for.")] grouped_by: Grouping,
        #[graphql(desc = "The days.")] period: ReportPeriodInput,
    ) -> Result<Report> {
        period.check()?;
        let hub = hub(ctx)?;
        let found = report::attendance(hub, grouped_by, period.from, period.until).await;
        let found = found.map_err(|error| fault(&error))?;
        if found.rows.len() > MAX_ROWS {
            let message = format!(
                "the report has {} rows and may have {MAX_ROWS}; ask for fewer days",
                found.rows.len()
            );
            return Err(coded("BAD_USER_INPUT", message));
        }
        let kind = match grouped_by {
            Grouping::Building => Kind::Building,
            Grouping::Course => Kind::Course,
            Grouping::Group => Kind::Group,
            Grouping::Room => Kind::Room,
            Grouping::Student | Grouping::Day | Grouping::Programme | Grouping::Week => Kind::Student,
        };
        let rows = found.rows.into_iter().map(|row| ReportRow {
            label: row.label,
            summary: AttendanceSummary::counted(&row.counts),
            sessions: count(row.counts.sessions),
            subject_id: row.subject.map(|id| (kind, id)),
        });
        Ok(Report {
            period: ReportPeriod { from: period.from, until: period.until },
            grouped_by,
            generated_at: local(ctx, hub.now().0)?,
            total: AttendanceSummary::counted(&found.total),
            sessions: count(found.total.sessions),
            rows: rows.collect(),
        })
    }

    /// What each room was booked for over some days, and what became of it: sessions nobody came to, too many came to,
    /// or of which nothing is known.
    #[graphql(guard = "Needs(READERS)", complexity = "100 + child_complexity")]
    async fn room_use(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The days.")] period: ReportPeriodInput,
    ) -> Result<Vec<RoomUse>> {
        period.check()?;
        let found = room_use(hub(ctx)?, period.from, period.until).await;
        let rooms = found.map_err(|error| fault(&error))?.into_iter().map(|it| RoomUse {
            sessions: count(it.sessions),
            booked: Duration(it.booked_ms),
            used: Duration(it.used_ms),
            ghost_sessions: count(it.ghosts),
            overcrowded_sessions: count(it.overcrowded),
            unknown_sessions: count(it.unknown),
            expected: count(it.expected),
            present: count(it.present),
            no_shows: count(it.expected - it.present),
            attended_share: (it.expected > 0).then(|| it.present as f64 / it.expected as f64),
            room: Room(it.room),
            period: ReportPeriod { from: period.from, until: period.until },
        });
        Ok(rooms.collect())
    }
}
