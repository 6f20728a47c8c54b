//! Sessions, stays in groups and cards as they were before each change.

use async_graphql::{Context, Object, Result};
use uuid::Uuid;

use super::context::{Needs, READERS, fault, local};
use super::estate::Room;
use super::loader;
use super::people::{Card, Student};
use super::session::{Course, Group, date};
use crate::scalar::{DateTime, LocalDate};
use crate::service::history::ids_from_text;
use crate::store::entity::{self, MembershipReason, SessionKind};

/// A session as it was until a change.
pub struct SessionChange(pub entity::SessionChange);

/// A session as it was until a change.
#[Object(guard = "Needs(READERS)")]
impl SessionChange {
    /// When it changed; until then it was as the other fields say.
    async fn at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.at)
    }
    /// Name of the token whose holder changed it; null where an import did that nobody asked for over the API.
    async fn by(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        token(ctx, self.0.by_token).await
    }
    /// The source whose import changed it; null where a person did.
    async fn source(&self) -> Option<&str> {
        self.0.source.as_deref()
    }
    /// The revision that it had.
    async fn revision(&self) -> i64 {
        self.0.revision
    }
    /// What it was.
    async fn kind(&self) -> SessionKind {
        self.0.kind
    }
    /// Its title.
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
    /// Its start.
    async fn starts_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.starts_at)
    }
    /// Its end.
    async fn ends_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.ends_at)
    }
    /// Whether it was called off.
    async fn cancelled(&self) -> bool {
        self.0.cancelled
    }
    /// Where it was held.
    async fn rooms(&self, ctx: &Context<'_>) -> Result<Vec<Room>> {
        let mut rooms: Vec<entity::Room> =
            loader::many(ctx, &ids(&self.0.room_ids, "session_change.room_ids")?).await?;
        rooms.sort_by(|one, other| one.code.cmp(&other.code));
        Ok(rooms.into_iter().map(Room).collect())
    }
    /// Whose class list it had.
    async fn groups(&self, ctx: &Context<'_>) -> Result<Vec<Group>> {
        let groups = loader::many(ctx, &ids(&self.0.group_ids, "session_change.group_ids")?).await?;
        Ok(groups.into_iter().map(Group).collect())
    }
}

/// A stay in a group as it was until it changed, or was taken back.
pub struct StudentGroupMembershipChange(pub entity::MembershipChange);

/// A stay in a group as it was until it changed, or was taken back.
#[Object(guard = "Needs(READERS)")]
impl StudentGroupMembershipChange {
    /// When it changed; until then it was as the other fields say.
    async fn at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.at)
    }
    /// Name of the token whose holder changed it; null where an import did that nobody asked for over the API.
    async fn by(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        token(ctx, self.0.by_token).await
    }
    /// The source whose import changed it; null where a person did.
    async fn source(&self) -> Option<&str> {
        self.0.source.as_deref()
    }
    /// Taken back then, because it should never have been; otherwise it is another now.
    async fn removed(&self) -> bool {
        self.0.removed
    }
    /// The student.
    async fn student(&self, ctx: &Context<'_>) -> Result<Option<Student>> {
        Ok(loader::one(ctx, self.0.student_id).await?.map(Student))
    }
    /// The group.
    async fn group(&self, ctx: &Context<'_>) -> Result<Option<Group>> {
        Ok(loader::one(ctx, self.0.group_id).await?.map(Group))
    }
    /// Its first day.
    async fn from(&self) -> Result<LocalDate> {
        date(&self.0.from_on)
    }
    /// Its last day; null where it had none.
    async fn until(&self) -> Result<Option<LocalDate>> {
        self.0.until_on.as_deref().map(date).transpose()
    }
    /// The instant from which on it held.
    #[graphql(name = "fromAt")]
    async fn begins_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.from_at)
    }
    /// The instant from which on it held no more; null where it had no end.
    async fn until_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.until_at.map(|at| local(ctx, at)).transpose()
    }
    /// Why.
    async fn reason(&self) -> MembershipReason {
        self.0.reason
    }
}

/// A card as it was until a change.
pub struct CardChange(pub entity::CardChange);

/// A card as it was until a change.
#[Object(guard = "Needs(READERS)")]
impl CardChange {
    /// When it changed; until then it was as the other fields say.
    async fn at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.at)
    }
    /// Name of the token whose holder changed it; null where an import did that nobody asked for over the API.
    async fn by(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        token(ctx, self.0.by_token).await
    }
    /// The source whose import changed it; null where a person did.
    async fn source(&self) -> Option<&str> {
        self.0.source.as_deref()
    }
    /// The card, as it is now.
    async fn card(&self, ctx: &Context<'_>) -> Result<Option<Card>> {
        Ok(loader::one(ctx, self.0.card_id).await?.map(Card))
    }
    /// The last four hex digits of its number.
    async fn number_tail(&self) -> &str {
        &self.0.number_tail
    }
    /// Valid from here.
    async fn issued_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.from_at)
    }
    /// Valid until here, excluded; null where it had no end.
    async fn ended_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.until_at.map(|at| local(ctx, at)).transpose()
    }
}

/// The name of a token.
pub(super) async fn token(ctx: &Context<'_>, id: Option<Uuid>) -> Result<Option<String>> {
    match id {
        Some(token) => Ok(loader::one::<entity::Token>(ctx, token).await?.map(|token| token.name)),
        None => Ok(None),
    }
}

fn ids(text: &str, place: &'static str) -> Result<Vec<Uuid>> {
    ids_from_text(text, place).map_err(|error| fault(&error))
}
