//! Registers: the marks of a session, where they stand, what was known of them before, and swipes that count for none.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};

use super::attendance::{
    AttendanceFilter, AttendanceOrder, AttendanceRecord, AttendanceRecordConnection, AttendanceSummary,
    entries, entries_as_known,
};
use super::connection::{self, connection, page};
use super::context::{Needs, READERS, hub, local};
use super::id::Kind;
use super::loader::{self, ChangesOfRegister, ChangesOfSession, MarksOfSession, WatermarkOfSession};
use super::session::{Session, opens_at, policy_of};
use super::swipe::{Swipe, SwipeConnection, SwipeFilter, swipe_list};
use crate::scalar::DateTime;
use crate::store::entity::{self, StoredState};

/// A register's life. SETTLING: the session has ended, and at least one gateway with a reader in its rooms has
/// not yet reported past its end, so nobody is absent yet. FINAL: all have. NO_REGISTER: it could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum RegisterState {
    /// Called off.
    Cancelled,
    /// All swipes are in.
    Final,
    /// It could not be taken.
    NoRegister,
    /// The window is open.
    Open,
    /// The window has not opened.
    Scheduled,
    /// Over, and not all swipes are in.
    Settling,
}

/// A session's register.
#[derive(Clone)]
pub struct Register(pub entity::Session);

/// A session's register.
#[Object(guard = "Needs(READERS)")]
impl Register {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Register.id(self.0.register_id)
    }
    /// The session.
    async fn session(&self) -> Session {
        Session(self.0.clone())
    }
    /// Where it stands.
    async fn state(&self, ctx: &Context<'_>) -> Result<RegisterState> {
        state_at(ctx, &self.0, hub(ctx)?.now().0).await
    }
    /// Pass it back as `expectedRevision`.
    async fn revision(&self) -> i64 {
        self.0.register_revision
    }
    /// Counts by status.
    async fn summary(&self, ctx: &Context<'_>) -> Result<AttendanceSummary> {
        Ok(AttendanceSummary::of(&loader::list(ctx, MarksOfSession(self.0.id)).await?))
    }
    /// The marks, by the student's name unless told.
    #[graphql(complexity = "5 + child_complexity")]
    async fn entries(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<AttendanceFilter>,
        #[graphql(desc = "How they are sorted.")] order_by: Option<AttendanceOrder>,
    ) -> Result<AttendanceRecordConnection> {
        entries(ctx, &self.0, page(first, after, last, before)?, filter.as_ref(), order_by).await
    }
    /// The marks as they were known at an instant, by the student's id: beside what is known now, what was known when a
    /// letter was sent.
    #[graphql(complexity = "50 + child_complexity")]
    async fn as_known_at(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The instant.")] at: DateTime,
    ) -> Result<Vec<AttendanceRecord>> {
        entries_as_known(ctx, &self.0, &at).await
    }
    /// Where it stood at an instant, by what was known then: whether it was final when a letter was sent. A time that the
    /// session was moved from since counts as it did then; the window's length is today's. Of registers that were called off, could
    /// not be taken, or were final more than once before schema version 27, what is known now.
    #[graphql(complexity = "10")]
    async fn standing_as_known_at(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The instant.")] at: DateTime,
    ) -> Result<RegisterStanding> {
        let at = at.ms().min(hub(ctx)?.now().0);
        let mut then = self.0.clone();
        let changes = loader::list(ctx, ChangesOfRegister(self.0.id)).await?;
        if let Some(change) = changes.iter().find(|change| change.at > at) {
            (then.register_state, then.final_at) = (change.state, change.final_at);
        }
        if then.final_at.is_some_and(|final_at| final_at > at) {
            (then.register_state, then.final_at) = (StoredState::Pending, None);
        }
        let changes = loader::list(ctx, ChangesOfSession(self.0.id)).await?;
        if let Some(change) = changes.iter().find(|change| change.at > at) {
            (then.starts_at, then.ends_at) = (change.starts_at, change.ends_at);
            then.closes_at = then.ends_at + policy_of(ctx, &then).await?.closes_after_ms;
        }
        let state = state_at(ctx, &then, at).await?;
        Ok(RegisterStanding { state, final_at: then.final_at.map(|at| local(ctx, at)).transpose()? })
    }
    /// Swipes in the session's rooms and time that count for no session.
    #[graphql(complexity = "5 + child_complexity")]
    async fn unmatched_swipes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only rows that this lets through.")] filter: Option<SwipeFilter>,
    ) -> Result<SwipeConnection> {
        let list = swipe_list(filter.as_ref())
            .and("w.room_id IN (SELECT room_id FROM session_room WHERE session_id = {})", self.0.id)
            .and("w.swiped_at >= {}", opens_at(ctx, &self.0).await?)
            .and("w.swiped_at <= {}", self.0.closes_at)
            .and("w.decision <> {}", "RECORDED");
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(SwipeConnection::new(paged, total, Swipe))
    }
    /// The latest instant up to which every gateway with a reader at its doors has handed over all swipes; null while
    /// one of them never has, or where there is no reader.
    #[graphql(complexity = "5")]
    async fn watermark(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        let found = loader::list(ctx, WatermarkOfSession(self.0.id)).await?;
        found.first().map(|at| local(ctx, at.0)).transpose()
    }
    /// When it became final; null before.
    async fn final_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.final_at.map(|at| local(ctx, at)).transpose()
    }
}

/// Where a register stood.
#[derive(SimpleObject)]
pub struct RegisterStanding {
    /// Where.
    state: RegisterState,
    /// When it had become final; null where it had not.
    final_at: Option<DateTime>,
}

/// Where a session's register stands at an instant.
async fn state_at(ctx: &Context<'_>, session: &entity::Session, at: i64) -> Result<RegisterState> {
    Ok(match session.register_state {
        StoredState::Cancelled => RegisterState::Cancelled,
        StoredState::Final => RegisterState::Final,
        StoredState::NoRegister => RegisterState::NoRegister,
        StoredState::Pending if at > session.closes_at => RegisterState::Settling,
        StoredState::Pending if at < opens_at(ctx, session).await? => RegisterState::Scheduled,
        StoredState::Pending => RegisterState::Open,
    })
}

connection! {
    /// A page of registers.
    RegisterConnection,
    /// A register and its place.
    RegisterEdge, Register
}
