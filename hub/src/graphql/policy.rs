//! The policies by which sessions are judged: saved, withdrawn, and what another one would have made of the past.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use uuid::Uuid;

use super::context::{DECIDERS, Needs, READERS, caller, coded, fault, hub, local};
use super::history::token;
use super::loader::{self, Policies};
use super::payload::{UserError, user_errors};
use super::people::Student;
use super::report::MAX_DAYS;
use super::session::Session;
use super::swipe::Swipe;
use crate::scalar::{DateTime, Duration};
use crate::service::policy::{self, SavePolicy, Scope};
use crate::service::refusal::Answer;
use crate::service::what_if::{self, PolicyRule};
use crate::store::entity::{self, Attendance, AttendanceSource, AttendanceStatus, OverlapRule, SessionKind};

/// The most changes that a preview lists.
const MAX_CHANGES: usize = 1_000;

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
    /// The department whose sessions it is for; all that have none of their own when null.
    async fn department(&self) -> Option<&str> {
        self.0.department.as_deref()
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

/// A policy as somebody saved it, or as it was when somebody withdrew it.
pub struct PolicyEdit(entity::PolicyEdit);

/// A policy as somebody saved it, or as it was when somebody withdrew it.
#[Object(name = "AttendancePolicyEdit", guard = "Needs(READERS)")]
impl PolicyEdit {
    /// When.
    async fn at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.at)
    }
    /// Name of the token whose holder did.
    async fn by(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        token(ctx, self.0.by_token).await
    }
    /// Withdrawn then; otherwise saved, in the place of any that began at the same instant for the same sessions.
    async fn withdrawn(&self) -> bool {
        self.0.withdrawn
    }
    /// The policy.
    async fn policy(&self) -> SavedPolicy {
        let edit = self.0.clone();
        SavedPolicy(entity::Policy {
            id: edit.id,
            from_at: edit.from_at,
            kind: edit.kind,
            opens_before_ms: edit.opens_before_ms,
            closes_after_ms: edit.closes_after_ms,
            overlap: edit.overlap,
            outage_tolerance_ms: edit.outage_tolerance_ms,
            settle_limit_ms: edit.settle_limit_ms,
            department: edit.department,
        })
    }
}

/// A mark that would be another under another policy.
pub struct PolicyChange(what_if::Changed);

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
    /// Why: the rules of the policy by which it would be another. Where no swipe would count otherwise these are the rules that
    /// differ and say whether a register could be taken.
    async fn rules(&self) -> Vec<PolicyRule> {
        self.0.rules.iter().copied().collect()
    }
    /// The swipes that would count for it and do not now, or do now and would not.
    async fn swipes(&self, ctx: &Context<'_>) -> Result<Vec<Swipe>> {
        let ids: Vec<Uuid> = self.0.swipes.iter().copied().collect();
        Ok(loader::many(ctx, &ids).await?.into_iter().map(Swipe).collect())
    }
}

/// What a policy would change. Nothing of it is.
#[derive(SimpleObject)]
pub struct PolicyPreview {
    /// How many sessions start in the time.
    sessions: i32,
    /// How many marks would be others.
    marks_changed: i32,
    /// The first 1000 of them, by the start of their sessions.
    changes: Vec<PolicyChange>,
    /// Why the policy would be turned down; empty exactly when it could be saved.
    errors: Vec<UserError>,
}

/// The part of the API that tells of policies.
#[derive(Default)]
pub struct PolicyReads;

#[Object]
impl PolicyReads {
    /// The policies that were saved, by their beginning. Where none is in force the window opens 30 minutes before the start and
    /// closes with the end.
    #[graphql(guard = "Needs(READERS)")]
    async fn attendance_policies(&self, ctx: &Context<'_>) -> Result<Vec<SavedPolicy>> {
        Ok(loader::list(ctx, Policies).await?.into_iter().map(SavedPolicy).collect())
    }

    /// Each policy that was saved and each that was withdrawn, by whom and when, the newest first: by which rules registers were
    /// made at an earlier time.
    #[graphql(guard = "Needs(READERS)", complexity = "10 + child_complexity")]
    async fn attendance_policy_edits(&self, ctx: &Context<'_>) -> Result<Vec<PolicyEdit>> {
        let read = async { hub(ctx)?.read().await.map_err(|error| fault(&error)) };
        let edits = read.await?.all::<entity::PolicyEdit>().await.map_err(|error| fault(&error))?;
        Ok(edits.into_iter().rev().map(PolicyEdit).collect())
    }

    /// What would be if a policy had held for sessions that start from its `from` until an instant: how many marks would be
    /// others, which, and why. Nothing is changed.
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
        let found = what_if::preview(hub(ctx)?, &input, until.ms(), MAX_CHANGES)
            .await
            .map_err(|error| fault(&error))?;
        Ok(match found {
            Ok(preview) => PolicyPreview {
                sessions: i32::try_from(preview.sessions).unwrap_or(i32::MAX),
                marks_changed: i32::try_from(preview.marks_changed).unwrap_or(i32::MAX),
                changes: preview.changed.into_iter().map(PolicyChange).collect(),
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
}

/// A policy to withdraw, by what it was saved as.
#[derive(InputObject)]
pub struct DeleteAttendancePolicyInput {
    /// In force from here.
    from: DateTime,
    /// The kind of session that it is for; that of all kinds which have none of their own when left out.
    kind: Option<SessionKind>,
    /// The department whose sessions it is for; that of all which have none of their own when left out.
    department: Option<String>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct SaveAttendancePolicyPayload {
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct DeleteAttendancePolicyPayload {
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

fn told<T>(answer: Answer<T>) -> Result<Vec<UserError>> {
    Ok(answer.map_err(|error| fault(&error))?.err().map_or_else(Vec::new, user_errors))
}

/// The part of the API that changes policies.
#[derive(Default)]
pub struct PolicyWrites;

#[Object]
impl PolicyWrites {
    /// Saves an attendance policy from an instant on: the institution's, a department's, or that of one kind of session.
    #[graphql(guard = "Needs(DECIDERS)")]
    async fn save_attendance_policy(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The policy.")] input: SavePolicy,
    ) -> Result<SaveAttendancePolicyPayload> {
        let errors = told(policy::save_policy(hub(ctx)?, caller(ctx)?, &input).await)?;
        Ok(SaveAttendancePolicyPayload { errors })
    }

    /// Withdraws an attendance policy: the one before it for the same sessions holds on, and without one the institution's, or
    /// the default. All registers of sessions that it was in force for are derived anew, held ones too.
    #[graphql(guard = "Needs(DECIDERS)")]
    async fn delete_attendance_policy(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The policy.")] input: DeleteAttendancePolicyInput,
    ) -> Result<DeleteAttendancePolicyPayload> {
        let scope = Scope { department: input.department.as_deref(), kind: input.kind };
        let deleted = policy::delete_policy(hub(ctx)?, caller(ctx)?, input.from.ms(), scope).await;
        Ok(DeleteAttendancePolicyPayload { errors: told(deleted)? })
    }
}
