//! Marks that were taken back: what a list of those that changed cannot tell.

use async_graphql::{Context, Object, Result};

use super::connection::{self, connection, page};
use super::context::{Needs, READERS, local};
use super::loader;
use super::people::Student;
use super::session::Session;
use crate::scalar::DateTime;
use crate::store::entity::{self, AttendanceStatus};
use crate::store::list;

/// A mark that was taken back, because nothing supports it any more: the student was taken off the list, or was never on it.
#[derive(Clone)]
pub struct WithdrawnAttendance(pub entity::AttendanceGone);

/// A mark that was taken back, because nothing supports it any more: the student was taken off the list, or was never on it.
#[Object(guard = "Needs(READERS)")]
impl WithdrawnAttendance {
    /// The session in whose register it stood.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        Ok(loader::one(ctx, self.0.session_id).await?.map(Session))
    }
    /// Whose it was.
    async fn student(&self, ctx: &Context<'_>) -> Result<Option<Student>> {
        Ok(loader::one(ctx, self.0.student_id).await?.map(Student))
    }
    /// What it said last.
    async fn status(&self) -> AttendanceStatus {
        self.0.status
    }
    /// Its last revision. Should the student come to have a mark there again, that one's is higher.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
    /// When it was taken back.
    async fn withdrawn_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.gone_at)
    }
}

connection! {
    /// A page of marks that were taken back.
    WithdrawnAttendanceConnection,
    /// A mark that was taken back, and its place.
    WithdrawnAttendanceEdge, WithdrawnAttendance
}

/// The part of the API that tells of them.
#[derive(Default)]
pub struct Withdrawn;

#[Object]
impl Withdrawn {
    /// Marks that were taken back, by when: beside `attendance(filter: {updatedSince})`, which has only those that are there.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn withdrawn_attendance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only those taken back at this instant or later.")] since: Option<DateTime>,
    ) -> Result<WithdrawnAttendanceConnection> {
        let mut list = list::attendance_gone();
        if let Some(since) = &since {
            list = list.and("x.gone_at >= {}", since.ms());
        }
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(WithdrawnAttendanceConnection::new(paged, total, WithdrawnAttendance))
    }
}
