//! Imports that were asked for over the API: kept in the database, and worked on by whichever hub takes one up.
//!
//! An import and the word that it took effect are one transaction.

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::access::Role;
use super::attempt::Attempt;
use super::bulk::Tally;
use super::import::{Order, Report, prepare};
use super::lease::{LEASE_MS, LONG_LEASE_MS, Leased, MAX_ATTEMPTS, hold_on, replace, take_up};
use super::refusal::{Answer, Check, Code, Refusal};
use super::{Caller, Hub, News, access, sources, upload, webhooks};
use crate::import::recipe::Recipe;
use crate::import::{Facts, MAX_FILE_BYTES, Place, Problems};
use crate::store::StoreError;
use crate::store::entity::{CalendarSource, ImportJob, ImportState, Token, Upload, WebhookEvent};

/// How often an import that is being read says that somebody works on it.
const RENEWED_EVERY: std::time::Duration = std::time::Duration::from_secs(40);
/// How many notes are kept.
const MAX_NOTES: usize = 1_000;
/// How many files one import reads at the most.
const MAX_FILES: usize = 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct StartImport {
    /// Its id, of the asker's making: asked for again, it is the same import.
    pub id: Uuid,
    /// Its files.
    pub uploads: Vec<Option<Uuid>>,
    /// How they are to be read.
    pub recipe: Recipe,
    /// Under which name the source is known.
    pub source: String,
    /// Stop after the check.
    pub dry_run: bool,
    /// Let more than a tenth of what the source named before go.
    pub accept_removals: bool,
}

/// Something wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, async_graphql::SimpleObject)]
#[graphql(name = "ImportProblem")]
pub struct Told {
    /// The file.
    pub file: String,
    /// The line, from 1; null where it is about the file as a whole.
    pub row: Option<i64>,
    /// The column's heading, or the property's name.
    pub column: Option<String>,
    /// What it is, and what to do.
    pub message: String,
}

/// What became of one kind of things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, async_graphql::SimpleObject)]
#[graphql(name = "ImportDifference")]
pub struct Difference {
    /// The kind, for instance `students`.
    pub kind: String,
    /// How many were new.
    pub created: i64,
    /// How many changed.
    pub updated: i64,
    /// How many were taken away, called off or ended.
    pub removed: i64,
    /// How many were the same as before.
    pub unchanged: i64,
}

/// What came of an import, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What became of each kind.
    pub differences: Vec<Difference>,
    /// How many registers it derived anew.
    pub registers: i64,
    /// How many marks that there were before are others now.
    pub marks_changed: i64,
    /// Sessions in whose registers those stand, by their start, and how many in each; the first thousand.
    #[serde(default)]
    pub registers_changed: Vec<(Uuid, i64)>,
    /// What is wrong, the first thousand.
    pub problems: Vec<Told>,
    /// How many things are wrong.
    pub problem_count: i64,
    /// What was left out, or understood in one of several ways, the first thousand.
    pub notes: Vec<Told>,
    /// How many notes there are.
    pub note_count: i64,
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn told(problems: &Problems) -> Vec<Told> {
    let one = |Place { file, row, column }: &Place, message: &String| Told {
        file: file.to_string(),
        row: Some(i64::try_from(*row).unwrap_or(i64::MAX)).filter(|row| *row > 0),
        column: column.clone(),
        message: message.clone(),
    };
    problems.list.iter().map(|problem| one(&problem.place, &problem.message)).collect()
}

impl Outcome {
    fn of(facts: &Facts, report: &Report) -> Self {
        let difference = |(kind, tally): &(&str, Tally)| Difference {
            kind: (*kind).to_owned(),
            created: number(tally.created),
            updated: number(tally.updated),
            removed: number(tally.removed),
            unchanged: number(tally.unchanged),
        };
        let mut notes = told(&facts.notes);
        notes.extend(told(&report.notes));
        notes.truncate(MAX_NOTES);
        Self {
            differences: report.kinds.iter().map(difference).collect(),
            registers: number(report.registers),
            marks_changed: number(report.marks_changed),
            registers_changed: report
                .registers_changed
                .iter()
                .map(|it| (it.session.id, number(it.marks_changed)))
                .collect(),
            problems: told(&report.problems),
            problem_count: number(report.problems.count),
            notes,
            note_count: number(facts.notes.count + report.notes.count),
        }
    }

    fn wrong(file: &str, message: impl Into<String>) -> Self {
        let problem = Told { file: file.to_owned(), row: None, column: None, message: message.into() };
        Self { problems: vec![problem], problem_count: 1, ..Self::default() }
    }

    /// Whether it would change as many things of each kind, and as many marks.
    fn changes_as(&self, other: &Self) -> bool {
        self.differences == other.differences && self.marks_changed == other.marks_changed
    }
}

impl Leased for ImportJob {
    const WAITING: &'static str = "'CHECKING', 'APPLYING'";

    fn is_at_step_of(&self, taken: &Self) -> bool {
        self.state == taken.state && self.finished_at.is_none()
    }

    fn attempts(&mut self) -> &mut i64 {
        &mut self.attempts
    }

    fn hold(&mut self, holder: Option<Uuid>, until: Option<i64>) {
        (self.holder, self.leased_until) = (holder, until);
    }

    fn end(&self) -> Option<(WebhookEvent, serde_json::Value)> {
        self.finished_at?;
        let problems = self.outcome().map_or(0, |outcome| outcome.problem_count);
        let data = serde_json::json!({
            "import": self.id,
            "source": self.source,
            "kind": self.kind.word(),
            "state": self.state.word(),
            "problems": problems,
        });
        Some((WebhookEvent::ImportFinished, data))
    }
}

impl ImportJob {
    /// What came of it, as far as it is.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        serde_json::from_str(self.report.as_deref()?).ok()
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> Vec<Uuid> {
        self.uploads.split(',').filter_map(|id| Uuid::try_parse(id).ok()).collect()
    }
}

/// Asks for an import. What is wrong with its files is found when it is worked on, not here.
///
/// # Errors
/// When the store fails.
pub async fn start(hub: &Hub, caller: &Caller, asked: &StartImport) -> Answer<ImportJob> {
    start_while(hub, caller, asked, None).await
}

/// The same, as long as a calendar is still fetched as it was when its fetching began.
pub(super) async fn start_while(
    hub: &Hub,
    caller: &Caller,
    asked: &StartImport,
    calendar: Option<&CalendarSource>,
) -> Answer<ImportJob> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            check.code("source", &asked.source);
            if let Err(message) = asked.recipe.begin(hub.zone(), hub.now().0) {
                let field = if matches!(asked.recipe, Recipe::Itc2019 { .. }) { "term" } else { "mapping" };
                check.refuse(Code::Invalid, field, message);
            }
            if asked.uploads.is_empty() {
                check.refuse(Code::Required, "uploadIds", "name at least one file; POST /uploads takes them");
            }
            if asked.uploads.len() > MAX_FILES {
                check.refuse(
                    Code::TooLong,
                    "uploadIds",
                    format!("an import reads {MAX_FILES} files at the most"),
                );
            }
            let recipe = serde_json::to_string(&asked.recipe).map_err(|error| StoreError::BadData {
                place: "import_job.recipe",
                found: error.to_string(),
            })?;
            let mut tx = attempt.write().await?;
            let is_now = tx.by_ids::<CalendarSource>(calendar.map(|it| it.id)).await?;
            if is_now.first() != calendar {
                check.refuse(Code::WrongState, "source", "the calendar was changed or dropped meanwhile");
            }
            let files: Vec<Uuid> = asked.uploads.iter().flatten().copied().collect();
            let there = tx.by_ids::<Upload>(files.iter().copied()).await?;
            let uploads = files.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",");
            if let Some(job) = tx.by_ids::<ImportJob>([asked.id]).await?.into_iter().next() {
                let same = (&job.recipe, &job.uploads, &job.source) == (&recipe, &uploads, &asked.source);
                if same && (job.dry_run, job.accept_removals) == (asked.dry_run, asked.accept_removals) {
                    return Ok(Ok(job));
                }
                check.refuse(Code::Conflict, "id", "another import has this id; make a new one");
            }
            for (index, id) in asked.uploads.iter().enumerate() {
                if !there.iter().any(|upload| Some(upload.id) == *id && upload.complete) {
                    let message = "there is no such file; POST /uploads takes it, and it is kept for a day";
                    check.refuse(Code::NotFound, &format!("uploadIds.{index}"), message);
                }
            }
            let sizes = files.iter().filter_map(|id| there.iter().find(|upload| upload.id == *id));
            if sizes.map(|upload| upload.size.unsigned_abs()).sum::<u64>() > MAX_FILE_BYTES {
                let message = format!(
                    "they have more than {} MiB together; import them apart",
                    MAX_FILE_BYTES / 1024 / 1024
                );
                check.refuse(Code::TooLong, "uploadIds", message);
            }
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            let job = ImportJob {
                id: asked.id,
                state: if asked.dry_run { ImportState::Checking } else { ImportState::Applying },
                kind: asked.recipe.kind(),
                source: asked.source.clone(),
                recipe,
                uploads,
                dry_run: asked.dry_run,
                accept_removals: asked.accept_removals,
                token_id: caller.token_id,
                created_by: caller.name.clone(),
                created_at: hub.now().0,
                finished_at: None,
                holder: None,
                leased_until: None,
                attempts: 0,
                report: None,
            };
            tx.put(std::slice::from_ref(&job)).await?;
            tx.commit().await?;
            hub.tell(vec![News::Import(job.id)]);
            Ok(Ok(job))
        })
    })
    .await
}

/// Has an import applied that was checked. Should it change another number of things by then than the check said, it is refused.
///
/// # Errors
/// When the store fails.
pub async fn apply(hub: &Hub, caller: &Caller, id: Option<Uuid>) -> Answer<ImportJob> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let refuse = |code, message: String| {
                Ok(Err(vec![Refusal { code, message, path: vec!["importId".to_owned()] }]))
            };
            let mut tx = attempt.write().await?;
            let Some(mut job) = tx.by_ids::<ImportJob>(id).await?.into_iter().next() else {
                return refuse(Code::NotFound, "there is no such import".to_owned());
            };
            match job.state {
                // Asked for twice: it is on its way.
                ImportState::Applying | ImportState::Applied => return Ok(Ok(job)),
                ImportState::Checked => {}
                state => {
                    let message = format!("it is {}; only what is CHECKED can be applied", state.word());
                    return refuse(Code::WrongState, message);
                }
            }
            job.state = ImportState::Applying;
            job.token_id = caller.token_id;
            job.finished_at = None;
            job.attempts = 0;
            tx.put(std::slice::from_ref(&job)).await?;
            tx.commit().await?;
            hub.tell(vec![News::Import(job.id)]);
            Ok(Ok(job))
        })
    })
    .await
}

/// Works on the import that has waited longest, if any does.
///
/// # Errors
/// When the store fails, for which the import is not to blame.
pub async fn work_one(hub: &Hub, holder: Uuid) -> Result<bool, StoreError> {
    let Some(job) = take_up::<ImportJob>(hub, holder).await? else { return Ok(false) };
    tracing::info!("import {} of '{}': {}", job.id, job.source, job.state.word());
    if job.attempts > MAX_ATTEMPTS {
        let message =
            "the hub failed at it three times; its log says why. Nothing was changed; start a new import";
        finish(hub, &job, ImportState::Failed, Outcome::wrong("", message)).await?;
        return Ok(true);
    }
    // In a task of its own: what panics ends there, and not the worker.
    let mut task = JoinSet::new();
    let (own, it) = (hub.clone(), job.clone());
    task.spawn(async move { carry_out(&own, &it).await.map_err(|error| error.to_string()) });
    let ended = task.join_next().await.unwrap_or(Ok(Ok(())));
    if let Err(error) = ended.unwrap_or_else(|error| Err(error.to_string())) {
        tracing::error!("import {} failed, and is tried again in two minutes: {error}", job.id);
        // It may have been held for longer.
        if let Err(error) = hold_on(hub, &job, job.holder, LEASE_MS).await {
            tracing::warn!("it may take ten minutes: {error}");
        }
    }
    Ok(true)
}

async fn carry_out(hub: &Hub, job: &ImportJob) -> Result<(), StoreError> {
    let facts = match held_while(hub, job, read(hub, job)).await? {
        Ok(facts) => facts,
        Err(outcome) => return finish(hub, job, ImportState::Refused, outcome).await,
    };
    let token = hub.read().await?.by_ids::<Token>([job.token_id]).await?.into_iter().next();
    let caller = token.and_then(|token| access::in_force(token, hub.now().0));
    let Some(caller) = caller.filter(|caller| caller.has(&[Role::Administrator, Role::Integration])) else {
        let message = "the token of whoever asked for it is over, or was taken back";
        return finish(hub, job, ImportState::Refused, Outcome::wrong("", message)).await;
    };
    let dry_run = job.state == ImportState::Checking;
    let order = Order { source: job.source.clone(), dry_run, accept_removals: job.accept_removals };
    if !hold_on(hub, job, job.holder, LONG_LEASE_MS).await? {
        return Ok(());
    }
    let (caller, facts, order) = (&caller, &facts, &order);
    hub.whole(|attempt| Box::pin(put_in(attempt, job, caller, facts, order))).await
}

/// Does some of an import's work; however long it takes, no other hub takes the import up meanwhile.
async fn held_while<T>(
    hub: &Hub,
    job: &ImportJob,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(RENEWED_EVERY);
    ticks.tick().await;
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                hold_on(hub, job, job.holder, LEASE_MS).await?;
            }
        }
    }
}

/// Does an import, and commits it together with its end, unless something speaks against it.
async fn put_in(
    attempt: Attempt<'_>,
    job: &ImportJob,
    caller: &Caller,
    facts: &Facts,
    order: &Order,
) -> Result<(), StoreError> {
    let hub = attempt.hub();
    let (ready, report) = prepare(attempt, Some(caller), facts, order).await?;
    let outcome = Outcome::of(facts, &report);
    let Some(mut ready) = ready else {
        return finish(hub, job, ImportState::Refused, outcome).await;
    };
    if order.dry_run {
        // Whoever else writes waits for this transaction, and so would the next line.
        drop(ready);
        return finish(hub, job, ImportState::Checked, outcome).await;
    }
    let as_checked = job.outcome().is_some_and(|checked| checked.changes_as(&outcome));
    if job.report.is_some() && !as_checked {
        drop(ready);
        let message = "it would not change as many things now as the check said: data has changed since. \
                       Start a new import";
        return finish(hub, job, ImportState::Refused, Outcome::wrong("", message)).await;
    }
    let ended = ended(hub, job, ImportState::Applied, &outcome)?;
    // Unless somebody else was faster.
    let there = ready.tx.by_ids::<ImportJob>([job.id]).await?;
    if there.first().is_some_and(|there| there.is_at_step_of(job)) {
        let mut news = vec![News::Import(job.id)];
        webhooks::work_ended(hub, &mut ready.tx, &ended, &mut news).await?;
        ready.tx.put(&[ended]).await?;
        ready.tx.drop_uploads(&job.files()).await?;
        ready.commit(hub).await?;
        hub.tell(news);
    }
    Ok(())
}

/// What its files say, or what keeps them from being read.
async fn read(hub: &Hub, job: &ImportJob) -> Result<Result<Facts, Outcome>, StoreError> {
    let recipe: Recipe = serde_json::from_str(&job.recipe)
        .map_err(|error| StoreError::BadData { place: "import_job.recipe", found: error.to_string() })?;
    // As when it was checked: a rule without an end is followed to the same day.
    let mut reading = match recipe.begin(hub.zone(), job.created_at) {
        Ok(reading) => reading,
        Err(message) => return Ok(Err(Outcome::wrong("mapping", message))),
    };
    for id in job.files() {
        let Some((name, bytes)) = upload::file(hub, id).await? else {
            let message = "a file is gone: each is kept for a day. Upload it again, and start a new import";
            return Ok(Err(Outcome::wrong("", message)));
        };
        let read = tokio::task::spawn_blocking(move || {
            reading.read(&name, &bytes);
            reading
        });
        reading = read
            .await
            .map_err(|error| StoreError::BadData { place: "an import's file", found: error.to_string() })?;
    }
    let facts = tokio::task::spawn_blocking(move || reading.facts()).await;
    Ok(Ok(facts
        .map_err(|error| StoreError::BadData { place: "an import's files", found: error.to_string() })?))
}

fn ended(hub: &Hub, job: &ImportJob, state: ImportState, outcome: &Outcome) -> Result<ImportJob, StoreError> {
    let report = serde_json::to_string(outcome)
        .map_err(|error| StoreError::BadData { place: "import_job.report", found: error.to_string() })?;
    Ok(ImportJob {
        state,
        finished_at: Some(hub.now().0),
        holder: None,
        leased_until: None,
        report: Some(report),
        ..job.clone()
    })
}

/// Notes what came of an import that changed nothing, unless somebody else was faster.
async fn finish(hub: &Hub, job: &ImportJob, state: ImportState, outcome: Outcome) -> Result<(), StoreError> {
    if replace(hub, job, ended(hub, job, state, &outcome)?).await? {
        if state != ImportState::Checked {
            forget_fetched(hub, job).await?;
        }
        hub.tell(vec![News::Import(job.id)]);
    }
    Ok(())
}

/// Drops the file of an import that came to nothing where the hub had fetched it: it is fetched again.
async fn forget_fetched(hub: &Hub, job: &ImportJob) -> Result<(), StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            if !tx.by_column::<CalendarSource>("source", [job.source.as_str().into()]).await?.is_empty() {
                let files = tx.by_ids::<Upload>(job.files()).await?;
                let fetched = files.iter().filter(|file| file.name == sources::FILE).map(|file| file.id);
                tx.drop_uploads(&fetched.collect::<Vec<_>>()).await?;
                tx.commit().await?;
            }
            Ok(())
        })
    })
    .await
}
