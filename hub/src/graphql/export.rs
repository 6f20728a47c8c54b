//! Exports: one list of a query, whole, as a file to fetch.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};

use super::HubSchema;
use super::context::{Needs, READERS, caller, fault, hub, local};
use super::id::Kind;
use super::loader;
use super::payload::{UserError, user_errors};
use crate::export;
use crate::scalar::{Counter, DateTime, UuidScalar};
use crate::service::exports::{self, StartExport};
use crate::service::refusal::{Answer, Code, Refusal};
use crate::store::entity::{ExportFormat, ExportJob, ExportState};

/// A query's list, made in the background without page limits, on one state of the data.
#[derive(Clone)]
pub struct Export(pub ExportJob);

/// A query's list, made in the background without page limits, on one state of the data.
#[Object(guard = "Needs(READERS)")]
impl Export {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::Export.id(self.0.id)
    }
    /// How far it is.
    async fn state(&self, ctx: &Context<'_>) -> Result<ExportState> {
        let over = exports::expires_at(&self.0).is_some_and(|at| at <= hub(ctx).map_or(0, |hub| hub.now().0));
        Ok(if over { ExportState::Expired } else { self.0.state })
    }
    /// How its rows are written.
    async fn format(&self) -> ExportFormat {
        self.0.format
    }
    /// The name of whoever asked for it.
    async fn created_by(&self) -> &str {
        &self.0.created_by
    }
    /// When it was asked for.
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.created_at)
    }
    /// When it ended; null while it runs.
    async fn finished_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.finished_at.map(|at| local(ctx, at)).transpose()
    }
    /// The instant whose data it holds.
    async fn snapshot_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.snapshot_at.map(|at| local(ctx, at)).transpose()
    }
    /// How many rows it has so far.
    async fn object_count(&self) -> Counter {
        Counter(self.0.objects)
    }
    /// How large its file is so far.
    async fn byte_size(&self) -> Counter {
        Counter(self.0.bytes)
    }
    /// Where its file is, below the hub's address, for whoever shows a token that may read; takes HTTP ranges. Null until
    /// it is DONE.
    async fn path(&self) -> Option<String> {
        let done = self.0.state == ExportState::Done;
        done.then(|| format!("/exports/{}", Kind::Export.id(self.0.id).as_str()))
    }
    /// When its file goes.
    async fn expires_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        exports::expires_at(&self.0).map(|at| local(ctx, at)).transpose()
    }
    /// Why it failed.
    async fn failure(&self) -> Option<&str> {
        self.0.failure.as_deref()
    }
}

/// The part of the API that tells of exports.
#[derive(Default)]
pub struct Exports;

#[Object]
impl Exports {
    /// One export.
    #[graphql(guard = "Needs(READERS)")]
    async fn export(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its global id.")] id: ID,
    ) -> Result<Option<Export>> {
        let Some(id) = Kind::Export.named(&id) else { return Ok(None) };
        Ok(loader::one(ctx, id).await?.map(Export))
    }
}

/// A query whose list is to be exported.
#[derive(InputObject)]
pub struct StartExportInput {
    /// An id of the caller's making (RFC 9562, version 7 or 4): asked for again, it is the same export.
    id: UuidScalar,
    /// A query with one list that is read as `first: $first, after: $after`, with `nodes` and
    /// `pageInfo { hasNextPage endCursor }`. The hub sets both variables.
    query: String,
    /// Its other variables, a JSON object.
    #[graphql(default_with = "\"{}\".to_owned()")]
    variables: String,
    /// How the rows are written.
    #[graphql(default_with = "ExportFormat::Jsonl")]
    format: ExportFormat,
}

/// An export to stop.
#[derive(InputObject)]
pub struct CancelExportInput {
    /// The export.
    export_id: ID,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct StartExportPayload {
    /// The export, which goes on by itself: ask for it again.
    export: Option<Export>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct CancelExportPayload {
    /// The export; one that had ended before stays as it was.
    export: Option<Export>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

fn told(answer: Answer<ExportJob>) -> Result<(Option<Export>, Vec<UserError>)> {
    Ok(match answer.map_err(|error| fault(&error))? {
        Ok(job) => (Some(Export(job)), Vec::new()),
        Err(refusals) => (None, user_errors(refusals)),
    })
}

/// The part of the API that asks for exports.
#[derive(Default)]
pub struct ExportWrites;

#[Object]
impl ExportWrites {
    /// Has a query's list written to a file, all of it, as it stands when the work begins. Goes on by itself after the answer.
    #[graphql(guard = "Needs(READERS)")]
    async fn start_export(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The query.")] input: StartExportInput,
    ) -> Result<StartExportPayload> {
        let StartExportInput { id, query, variables, format } = input;
        let (hub, caller, schema) = (hub(ctx)?, caller(ctx)?, ctx.data::<HubSchema>()?);
        if let Err(message) = export::try_out(&hub.in_turn(), schema, caller, &query, &variables).await {
            let refusal = Refusal { code: Code::Invalid, message, path: vec!["query".to_owned()] };
            return Ok(StartExportPayload { export: None, errors: user_errors(vec![refusal]) });
        }
        let asked = StartExport { id: id.0, query, variables, format };
        let (export, errors) = told(exports::start(hub, caller, asked).await)?;
        Ok(StartExportPayload { export, errors })
    }

    /// Stops an export.
    #[graphql(guard = "Needs(READERS)")]
    async fn cancel_export(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The export.")] input: CancelExportInput,
    ) -> Result<CancelExportPayload> {
        let id = Kind::Export.named(&input.export_id);
        let (export, errors) = told(exports::cancel(hub(ctx)?, id).await)?;
        Ok(CancelExportPayload { export, errors })
    }
}
