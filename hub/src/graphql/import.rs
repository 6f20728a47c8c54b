//! Imports over the API: files that were uploaded, checked, shown as a difference, and applied.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use uuid::Uuid;

use super::connection::{self, connection, page};
use super::context::{Needs, READERS, WRITERS, caller, coded, fault, hub, local};
use super::id::Kind;
use super::loader;
use super::payload::{UserError, user_errors};
use super::session::Session;
use crate::import::recipe::{DEFAULT_BUILDINGS, Recipe};
use crate::scalar::{DateTime, LocalDate, UuidScalar};
use crate::service::jobs::{self, Difference, Outcome, StartImport, Told};
use crate::service::refusal::Answer;
use crate::store::entity::{ImportJob, ImportKind, ImportState, SessionKind};
use crate::store::list;

/// A load of people, cards, class lists, rooms or timetable. Always checked whole before any of it is applied.
#[derive(Clone)]
pub struct Import(pub ImportJob);

/// The first so many of a list.
fn first<T>(list: &[T], count: i32) -> &[T] {
    &list[..list.len().min(usize::try_from(count).unwrap_or(0))]
}

/// A load of people, cards, class lists, rooms or timetable. Always checked whole before any of it is applied.
#[Object(guard = "Needs(READERS)")]
impl Import {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Import.id(self.0.id)
    }
    /// What its files are.
    async fn kind(&self) -> ImportKind {
        self.0.kind
    }
    /// How far it is.
    async fn state(&self) -> ImportState {
        self.0.state
    }
    /// Under which name its source is known from one import to the next.
    async fn source(&self) -> &str {
        &self.0.source
    }
    /// The name of whoever asked for it.
    async fn created_by(&self) -> &str {
        &self.0.created_by
    }
    /// When it was asked for.
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.created_at)
    }
    /// When it was checked, applied or refused; null while it is worked on.
    async fn finished_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.finished_at.map(|at| local(ctx, at)).transpose()
    }
    /// What came, or would come, of it; null until it was checked.
    async fn outcome(&self) -> Option<ImportOutcome> {
        self.0.outcome().map(ImportOutcome)
    }
}

/// A register of which an import changes marks that there were.
pub struct RegisterChanged {
    session: Uuid,
    marks: i64,
}

/// A register of which an import changes marks that there were.
#[Object(guard = "Needs(READERS)")]
impl RegisterChanged {
    /// Its session, as it is now.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        Ok(loader::one(ctx, self.session).await?.map(Session))
    }
    /// How many marks are others, or gone.
    async fn marks_changed(&self) -> i64 {
        self.marks
    }
}

/// What came, or would come, of an import.
pub struct ImportOutcome(Outcome);

/// What came, or would come, of an import.
#[Object(guard = "Needs(READERS)")]
impl ImportOutcome {
    /// What became, or would become, of each kind of things.
    async fn differences(&self) -> &[Difference] {
        &self.0.differences
    }
    /// How many registers it derives anew.
    async fn registers_derived(&self) -> i64 {
        self.0.registers
    }
    /// How many marks that there were before are others by it.
    async fn marks_changed(&self) -> i64 {
        self.0.marks_changed
    }
    /// The registers that those marks stand in, by the start of their session: the first of them, 1000 at the most.
    #[graphql(complexity = "10 + child_complexity")]
    async fn registers_changed(
        &self,
        #[graphql(desc = "So many of them.", default = 100)] first: i32,
    ) -> Vec<RegisterChanged> {
        let some = self::first(&self.0.registers_changed, first).iter();
        some.map(|(session, marks)| RegisterChanged { session: *session, marks: *marks }).collect()
    }
    /// What keeps it from being applied: the first of them, 1000 at the most.
    #[graphql(complexity = "10 + child_complexity")]
    async fn problems(&self, #[graphql(desc = "So many of them.", default = 100)] first: i32) -> &[Told] {
        self::first(&self.0.problems, first)
    }
    /// How many things keep it from being applied.
    async fn problem_count(&self) -> i64 {
        self.0.problem_count
    }
    /// What was left out, or understood in one of several ways: the first of them, 1000 at the most.
    #[graphql(complexity = "10 + child_complexity")]
    async fn notes(&self, #[graphql(desc = "So many of them.", default = 100)] first: i32) -> &[Told] {
        self::first(&self.0.notes, first)
    }
    /// How many notes there are.
    async fn note_count(&self) -> i64 {
        self.0.note_count
    }
}

connection! {
    /// A page of imports.
    ImportConnection,
    /// An import and its place.
    ImportEdge, Import
}

/// The part of the API that tells of imports.
#[derive(Default)]
pub struct Imports;

#[Object]
impl Imports {
    /// One import.
    #[graphql(guard = "Needs(READERS)")]
    async fn import(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its global id.")] id: ID,
    ) -> Result<Option<Import>> {
        let Some(id) = Kind::Import.named(&id) else { return Ok(None) };
        Ok(loader::one(ctx, id).await?.map(Import))
    }

    /// Imports, the latest first.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn imports(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
    ) -> Result<ImportConnection> {
        let mut list = list::import_jobs();
        list.descending = true;
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(ImportConnection::new(paged, total, Import))
    }
}

/// What calendars do not say by themselves.
#[derive(InputObject)]
pub struct CalendarImportInput {
    /// The rooms of all events, by code; LOCATION names each event's when left out.
    #[graphql(default)]
    rooms: Vec<String>,
    /// The groups of all events, by code; `groupsFrom` names each event's when left out.
    #[graphql(default)]
    groups: Vec<String>,
    /// The property that lists an event's groups.
    #[graphql(default_with = "\"CATEGORIES\".to_owned()")]
    groups_from: String,
    /// The course of all events, by code.
    course: Option<String>,
    /// What the events are.
    #[graphql(default_with = "SessionKind::Lecture")]
    kind: SessionKind,
    /// The files name all there is: sessions to come that an earlier import of this source made, and that are in none of
    /// them any more, are called off.
    #[graphql(default)]
    whole: bool,
}

/// What the files of a term in the competition's format do not say.
#[derive(InputObject)]
pub struct TermImportInput {
    /// The Monday on which week 0 begins.
    start: LocalDate,
    /// How many buildings the rooms are dealt to, by the way between them; 1000 at the most.
    #[graphql(default = 3, validator(minimum = 1, maximum = 1000))]
    buildings: i32,
}

/// Files to import.
#[derive(InputObject)]
pub struct StartImportInput {
    /// An id of the caller's making (RFC 9562, version 7 or 4): asked for again, it is the same import.
    id: UuidScalar,
    /// What the files are.
    kind: ImportKind,
    /// The files, from POST /uploads; 20 at the most.
    upload_ids: Vec<ID>,
    /// Under which name this source is known: what it named before and does not name any more goes. Give each source its
    /// own.
    source: String,
    /// For CSV: which column is what, as TOML.
    mapping: Option<String>,
    /// For ICALENDAR: what the files do not say.
    calendar: Option<CalendarImportInput>,
    /// For ONE_ROSTER: groups go by classCode, which each class must then have for itself, instead of sourcedId.
    #[graphql(default)]
    groups_by_class_code: bool,
    /// For ITC_2019: what the files do not say.
    term: Option<TermImportInput>,
    /// Stop after the check; `applyImport` goes on.
    #[graphql(default = true)]
    dry_run: bool,
    /// Let more than a tenth of what the source named before go.
    #[graphql(default)]
    accept_removals: bool,
}

impl Default for CalendarImportInput {
    fn default() -> Self {
        Self {
            rooms: Vec::new(),
            groups: Vec::new(),
            groups_from: "CATEGORIES".to_owned(),
            course: None,
            kind: SessionKind::Lecture,
            whole: false,
        }
    }
}

impl CalendarImportInput {
    /// How its files are to be read.
    pub(super) fn recipe(self) -> Recipe {
        let Self { rooms, groups, groups_from, course, kind, whole } = self;
        Recipe::Calendar { rooms, groups, groups_from: Some(groups_from), course, kind, whole }
    }
}

impl StartImportInput {
    fn recipe(&mut self) -> Result<Recipe> {
        let (mapping, calendar, term) = (self.mapping.take(), self.calendar.take(), self.term.take());
        match (self.kind, mapping, calendar, term) {
            (ImportKind::Csv, Some(mapping), None, None) => Ok(Recipe::Table { mapping }),
            (ImportKind::Csv, None, None, None) => Err(coded("BAD_USER_INPUT", "CSV takes a 'mapping'")),
            (ImportKind::Icalendar, None, calendar, None) => Ok(calendar.unwrap_or_default().recipe()),
            (ImportKind::OneRoster, None, None, None) => {
                Ok(Recipe::OneRoster { class_code: self.groups_by_class_code })
            }
            (ImportKind::Itc2019, None, None, Some(term)) => Ok(Recipe::Itc2019 {
                term_start: term.start.0.to_string(),
                buildings: usize::try_from(term.buildings).unwrap_or(DEFAULT_BUILDINGS),
            }),
            (ImportKind::Itc2019, None, None, None) => {
                Err(coded("BAD_USER_INPUT", "ITC_2019 takes a 'term' with its 'start'"))
            }
            _ => {
                let message = "'mapping' is for CSV, 'calendar' for ICALENDAR and 'term' for ITC_2019; say only what \
                               this kind takes";
                Err(coded("BAD_USER_INPUT", message))
            }
        }
    }
}

/// A checked import to apply.
#[derive(InputObject)]
pub struct ApplyImportInput {
    /// The import.
    import_id: ID,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct StartImportPayload {
    /// The import, which goes on by itself: ask for it again, or follow `importChanged`.
    import: Option<Import>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct ApplyImportPayload {
    /// The import, which goes on by itself: ask for it again, or follow `importChanged`.
    import: Option<Import>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// The part of the API that asks for imports.
#[derive(Default)]
pub struct ImportWrites;

fn told(answer: Answer<ImportJob>) -> Result<(Option<Import>, Vec<UserError>)> {
    Ok(match answer.map_err(|error| fault(&error))? {
        Ok(job) => (Some(Import(job)), Vec::new()),
        Err(refusals) => (None, user_errors(refusals)),
    })
}

#[Object]
impl ImportWrites {
    /// Has files checked, and applied if that was asked for and nothing is wrong. Goes on by itself after the answer.
    #[graphql(guard = "Needs(WRITERS)")]
    async fn start_import(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The files.")] mut input: StartImportInput,
    ) -> Result<StartImportPayload> {
        let asked = StartImport {
            id: input.id.0,
            uploads: input.upload_ids.iter().map(|id| Kind::Upload.named(id)).collect(),
            recipe: input.recipe()?,
            source: input.source,
            dry_run: input.dry_run,
            accept_removals: input.accept_removals,
        };
        let (import, errors) = told(jobs::start(hub(ctx)?, caller(ctx)?, &asked).await)?;
        Ok(StartImportPayload { import, errors })
    }

    /// Has an import applied that was checked. It is refused where it would change another number of things by now than the
    /// check said.
    #[graphql(guard = "Needs(WRITERS)")]
    async fn apply_import(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The import.")] input: ApplyImportInput,
    ) -> Result<ApplyImportPayload> {
        let id = Kind::Import.named(&input.import_id);
        let (import, errors) = told(jobs::apply(hub(ctx)?, caller(ctx)?, id).await)?;
        Ok(ApplyImportPayload { import, errors })
    }
}
