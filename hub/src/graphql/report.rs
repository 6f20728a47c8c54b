//! Reports: ready-made figures, each with what it was counted from; and the policies that were saved, with what another would
//! have made of the past.

use async_graphql::{ComplexObject, Context, InputObject, Object, Result, SimpleObject};

use super::attendance::AttendanceSummary;
use super::context::{DECIDERS, Needs, READERS, coded, fault, hub, local};
use super::estate::Room;
use super::id::{Kind, Node};
use super::loader::{self, Policies};
use super::payload::{UserError, user_errors};
use super::people::Student;
use super::query::node;
use super::session::Session;
use crate::scalar::{DateTime, Duration, LocalDate};
use crate::service::policy::{self, SavePolicy};
use crate::service::report::{self, Grouping};
use crate::store::entity::{self, Attendance, AttendanceSource, AttendanceStatus, OverlapRule, SessionKind};

/// The longest stretch that one report covers, in days: a year and a bit.
const MAX_DAYS: i64 = 400;
/// The most rows that one report has.
const MAX_ROWS: usize = 10_000;
/// The most changes that a preview lists.
const MAX_CHANGES: usize = 1_000;

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
    /// A code, a student number, a day, or the Monday of a week.
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
    /// What it stands for; null for days and weeks, and for sessions without a course.
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
    /// Sessions booked in it, those called off left out.
    sessions: i32,
    /// How long it was booked.
    booked: Duration,
    /// How long sessions lasted to which somebody came.
    used: Duration,
    /// Sessions whose register was taken and to which nobody came, though somebody was expected.
    ghost_sessions: i32,
    /// Sessions to which more came than the room has seats.
    overcrowded_sessions: i32,
    /// Sessions whose register could not be taken, or is not final yet.
    unknown_sessions: i32,
    /// Students expected, over all sessions whose register was taken.
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

/// A policy from an instant on, until the next one for the same sessions.
pub struct SavedPolicy(entity::Policy);

/// A policy from an instant on, until the next one for the same sessions.
#[Object(name = "SavedAttendancePolicy", guard = "Needs(READERS)")]
impl SavedPolicy {
    /// In force from here.
    async fn from(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.from_at)
    }
    /// The kind of session that it is for; all that have none of their own when null.
    async fn kind(&self) -> Option<SessionKind> {
        self.0.kind
    }
    /// How long before the start the window opens.
    async fn opens_before(&self) -> Duration {
        Duration(self.0.opens_before_ms)
    }
    /// How long after the end it closes.
    async fn closes_after(&self) -> Duration {
        Duration(self.0.closes_after_ms)
    }
    /// Which sessions one swipe is credited to.
    async fn overlap(&self) -> OverlapRule {
        self.0.overlap
    }
    /// For how much of the window a room may be without a working reader before absence proves nothing.
    async fn outage_tolerance(&self) -> Duration {
        Duration(self.0.outage_tolerance_ms)
    }
    /// How long after its end a register waits for a silent gateway.
    async fn settle_limit(&self) -> Duration {
        Duration(self.0.settle_limit_ms)
    }
}

/// A mark that would be another under another policy.
pub struct PolicyChange(policy::Changed);

/// A mark that would be another under another policy.
#[Object(guard = "Needs(READERS)")]
impl PolicyChange {
    /// The session.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        Ok(loader::one(ctx, self.0.session).await?.map(Session))
    }
    /// The student.
    async fn student(&self, ctx: &Context<'_>) -> Result<Option<Student>> {
        Ok(loader::one(ctx, self.0.student).await?.map(Student))
    }
    /// The status that it has; null where there is no mark.
    async fn from(&self) -> Option<AttendanceStatus> {
        self.0.now.as_ref().map(|mark| mark.status)
    }
    /// The status that it would have; null where there would be no mark.
    async fn to(&self) -> Option<AttendanceStatus> {
        self.0.then.as_ref().map(|mark| mark.status)
    }
    /// What would set it.
    async fn source(&self) -> Option<AttendanceSource> {
        self.0.then.as_ref().map(|mark| mark.source)
    }
    /// When the student came, by the swipe that would count, or that would count no more.
    async fn arrived_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        let arrived = |mark: &Option<Attendance>| mark.as_ref().and_then(|mark| mark.arrived_at);
        arrived(&self.0.then).or_else(|| arrived(&self.0.now)).map(|at| local(ctx, at)).transpose()
    }
}

/// What a policy would change. Nothing of it is.
#[derive(SimpleObject)]
pub struct PolicyPreview {
    /// How many sessions start in the time.
    sessions: i32,
    /// How many marks would be others.
    marks_changed: i32,
    /// The first 1000 of them, by session.
    changes: Vec<PolicyChange>,
    /// Why the policy would be turned down; empty exactly when it could be saved.
    errors: Vec<UserError>,
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
            Grouping::Student | Grouping::Day | Grouping::Week => Kind::Student,
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

    /// The policies that were saved, by their beginning. Where none is in force the window opens 30 minutes before the start and
    /// closes with the end.
    #[graphql(guard = "Needs(READERS)")]
    async fn attendance_policies(&self, ctx: &Context<'_>) -> Result<Vec<SavedPolicy>> {
        Ok(loader::list(ctx, Policies).await?.into_iter().map(SavedPolicy).collect())
    }

    /// What would be if a policy had held for sessions that start from its `from` until an instant: how many marks would be
    /// others, and which. Nothing is changed.
    #[graphql(guard = "Needs(DECIDERS)", complexity = "1000 + child_complexity")]
    async fn attendance_policy_preview(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The policy.")] input: SavePolicy,
        #[graphql(
            desc = "Sessions that start from here on are left as they are; 400 days after `from` at the most."
        )]
        until: DateTime,
    ) -> Result<PolicyPreview> {
        let days = (until.ms() - input.from.ms()).div_euclid(24 * 3_600_000);
        if !(0..MAX_DAYS).contains(&days) {
            let message = format!("'until' must come within {} days after 'from'", MAX_DAYS - 1);
            return Err(coded("BAD_USER_INPUT", message));
        }
        let found = policy::preview(hub(ctx)?, &input, until.ms()).await.map_err(|error| fault(&error))?;
        Ok(match found {
            Ok(preview) => PolicyPreview {
                sessions: i32::try_from(preview.sessions).unwrap_or(i32::MAX),
                marks_changed: i32::try_from(preview.changed.len()).unwrap_or(i32::MAX),
                changes: preview.changed.into_iter().take(MAX_CHANGES).map(PolicyChange).collect(),
                errors: Vec::new(),
            },
            Err(refusals) => PolicyPreview {
                sessions: 0,
                marks_changed: 0,
                changes: Vec::new(),
                errors: user_errors(refusals),
            },
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
        let found = report::room_use(hub(ctx)?, period.from, period.until).await;
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
        });
        Ok(rooms.collect())
    }
}
