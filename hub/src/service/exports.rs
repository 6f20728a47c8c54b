//! Exports that were asked for, and their files: kept in the database, written by whichever hub takes one up.

use uuid::Uuid;

use super::lease::Leased;
use super::refusal::{Answer, Check, Code};
use super::upload::KEPT_MS;
use super::{Caller, Hub, News, webhooks};
use crate::store::entity::{ExportFormat, ExportJob, ExportState, Upload, WebhookEvent};
use crate::store::{StoreError, Tx};

/// The largest file, in bytes.
pub const MAX_EXPORT_BYTES: u64 = 1024 * 1024 * 1024;

/// How many bytes wait in exports at the most.
const MAX_WAITING_BYTES: u64 = 4 * MAX_EXPORT_BYTES;

impl Leased for ExportJob {
    const WAITING: &'static str = "'RUNNING'";

    fn is_at_step_of(&self, taken: &Self) -> bool {
        self.state == taken.state
    }

    fn attempts(&mut self) -> &mut i64 {
        &mut self.attempts
    }

    fn hold(&mut self, holder: Option<Uuid>, until: Option<i64>) {
        (self.holder, self.leased_until) = (holder, until);
    }

    fn end(&self) -> Option<(WebhookEvent, serde_json::Value)> {
        self.finished_at?;
        let data = serde_json::json!({
            "export": self.id,
            "state": self.state.word(),
            "objects": self.objects,
            "bytes": self.bytes,
            "failure": self.failure,
        });
        Some((WebhookEvent::ExportFinished, data))
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct StartExport {
    /// Its id, of the asker's making: asked for again, it is the same export.
    pub id: Uuid,
    /// The query.
    pub query: String,
    /// Its variables, as JSON.
    pub variables: String,
    /// How the rows are written.
    pub format: ExportFormat,
}

/// Asks for an export.
///
/// # Errors
/// When the store fails.
pub async fn start(hub: &Hub, caller: &Caller, asked: StartExport) -> Answer<ExportJob> {
    let asked = &asked;
    hub.whole(|attempt| {
        Box::pin(async move {
            let StartExport { id, query, variables, format } = asked.clone();
            let mut tx = attempt.write().await?;
            if let Some(job) = tx.by_ids::<ExportJob>([id]).await?.into_iter().next() {
                if (&job.query, &job.variables, job.format) == (&query, &variables, format) {
                    return Ok(Ok(job));
                }
                let mut check = Check::default();
                check.refuse(Code::Conflict, "id", "another export has this id; make a new one");
                return Ok(Err(check.refusals().unwrap_or_default()));
            }
            if tx.waiting_bytes(true).await? >= MAX_WAITING_BYTES {
                let mut check = Check::default();
                let message = format!(
                    "exports of {} GiB wait already, which is as many as the hub keeps; they go a \
             day after they were made",
                    MAX_WAITING_BYTES >> 30
                );
                check.refuse(Code::WrongState, "", message);
                return Ok(Err(check.refusals().unwrap_or_default()));
            }
            let job = ExportJob {
                id,
                state: ExportState::Running,
                format,
                query,
                variables,
                token_id: caller.token_id,
                created_by: caller.name.clone(),
                created_at: hub.now().0,
                finished_at: None,
                snapshot_at: None,
                objects: 0,
                bytes: 0,
                file_id: None,
                failure: None,
                holder: None,
                leased_until: None,
                attempts: 0,
            };
            tx.put(std::slice::from_ref(&job)).await?;
            tx.commit().await?;
            hub.tell(vec![News::Job]);
            Ok(Ok(job))
        })
    })
    .await
}

/// Stops an export that runs; one that has ended stays as it is.
///
/// # Errors
/// When the store fails.
pub async fn cancel(hub: &Hub, id: Option<Uuid>) -> Answer<ExportJob> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let Some(mut job) = tx.by_ids::<ExportJob>(id).await?.into_iter().next() else {
                let mut check = Check::default();
                check.refuse(Code::NotFound, "exportId", "there is no such export");
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            if job.state == ExportState::Running {
                job.state = ExportState::Cancelled;
                job.finished_at = Some(hub.now().0);
                job.hold(None, None);
                tx.put(std::slice::from_ref(&job)).await?;
                let mut news = Vec::new();
                webhooks::work_ended(hub, &mut tx, &job, &mut news).await?;
                tx.commit().await?;
                hub.tell(news);
            }
            Ok(Ok(job))
        })
    })
    .await
}

/// When an export's file goes, in milliseconds since the epoch.
#[must_use]
pub fn expires_at(job: &ExportJob) -> Option<i64> {
    job.snapshot_at.filter(|_| job.state == ExportState::Done).map(|at| at + KEPT_MS)
}

/// The file of an export; `None` when it is not done, or its file has gone.
///
/// # Errors
/// When the store fails.
pub async fn file(tx: &mut Tx, id: Uuid) -> Result<Option<(ExportJob, Upload)>, StoreError> {
    let Some(job) = tx.by_ids::<ExportJob>([id]).await?.into_iter().next() else { return Ok(None) };
    let file = tx.by_ids::<Upload>(job.file_id).await?.into_iter().next();
    Ok(file.filter(|file| file.complete && job.state == ExportState::Done).map(|file| (job, file)))
}
