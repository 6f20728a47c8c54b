//! Makes exports: a query's one list, page by page on one state of the database, into a file.
//!
//! Called by `app`, and by `graphql` to look at what is asked for.

use std::borrow::Cow;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Request, Value, Variables};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::graphql::HubSchema;
use crate::graphql::connection::MAX_PAGE;
use crate::graphql::context::{INTERNAL, UNAVAILABLE};
use crate::graphql::{batch, wide};
use crate::service::exports::MAX_EXPORT_BYTES;
use crate::service::lease::{LEASE_MS, Leased as _, MAX_ATTEMPTS, replace, take_up};
use crate::service::upload::{Incoming, forget};
use crate::service::{Caller, Hub, access};
use crate::store::StoreError;
use crate::store::entity::{ExportFormat, ExportJob, ExportState, Token};

/// How many pages are read between two looks at whether the export is still wanted.
const PAGES_BETWEEN_LOOKS: usize = 20;

/// What to say of a query that is none to export.
const SHAPE: &str = "an export takes one query with one list in it that is read as 'first: $first, after: $after', with 'nodes { … }' and \
     'pageInfo { hasNextPage endCursor }': query($first: Int, $after: String) { students(first: $first, after: $after) { \
     nodes { number } pageInfo { hasNextPage endCursor } } }";

/// A query whose list can be exported.
#[derive(Debug)]
pub struct Plan {
    query: String,
    /// The response keys that lead to the list.
    path: Vec<Name>,
    /// The columns of a table: paths of response keys from a row.
    columns: Vec<Vec<Name>>,
}

impl Plan {
    /// Reads a query.
    ///
    /// # Errors
    /// Why its list cannot be exported.
    pub fn of(query: &str) -> Result<Self, String> {
        let document = parse_query(query).map_err(|error| format!("the query cannot be read: {error}"))?;
        if let Some(refused) = wide::refused(&document) {
            return Err(refused);
        }
        let operation = match &document.operations {
            DocumentOperations::Single(operation) => operation,
            DocumentOperations::Multiple(named) => match &named.values().collect::<Vec<_>>()[..] {
                [operation] => *operation,
                _ => return Err(format!("there are several operations; {SHAPE}")),
            },
        };
        let operation = &operation.node;
        if operation.ty != OperationType::Query {
            return Err(format!("it is no query; {SHAPE}"));
        }
        let mut path = Vec::new();
        let list = find(&operation.selection_set.node, &mut path).ok_or(SHAPE)?;
        let pages = |field: &Field| by(field, "first") || by(field, "after");
        let mut all = vec![&operation.selection_set.node];
        all.extend(document.fragments.values().map(|fragment| &fragment.node.selection_set.node));
        if all.into_iter().map(|selection| count(selection, &pages)).sum::<usize>() != 1 {
            return Err(format!("'$first' and '$after' are for one list alone; {SHAPE}"));
        }
        // As they stand: under another name, or left out in some answers, they would not be found in those.
        let plain = |selection: &'_ SelectionSet, name: &str| {
            let mut found = fields(selection).filter(|field| field.name.node == name);
            match (found.next(), found.next()) {
                (Some(field), None) if field.alias.is_none() && field.directives.is_empty() => {
                    Some(field.selection_set.node.clone())
                }
                _ => None,
            }
        };
        let list = &list.selection_set.node;
        let nodes = plain(list, "nodes").ok_or(SHAPE)?;
        let info = plain(list, "pageInfo").ok_or(SHAPE)?;
        if plain(&info, "hasNextPage").is_none() || plain(&info, "endCursor").is_none() {
            return Err(SHAPE.to_owned());
        }
        let mut columns = Vec::new();
        collect(&document, &nodes, &mut Vec::new(), &mut columns)?;
        Ok(Self { query: query.to_owned(), path, columns })
    }

    /// A page's request.
    fn request(&self, variables: &Variables, first: usize, after: Option<&str>) -> Request {
        let mut variables = variables.clone();
        variables.insert(Name::new("first"), Value::from(first));
        variables.insert(Name::new("after"), after.map_or(Value::Null, Value::from));
        Request::new(&self.query).variables(variables)
    }

    /// The rows of an answer, and where the next page begins.
    fn rows(&self, data: Value) -> Result<(Vec<Value>, Option<String>), String> {
        let mut list = data;
        for key in &self.path {
            list = match list {
                Value::Null => return Ok((Vec::new(), None)),
                Value::Object(mut map) => map.swap_remove(key).ok_or(SHAPE)?,
                _ => return Err(format!("the way to the list leads through another list; {SHAPE}")),
            };
        }
        let Value::Object(mut list) = list else { return Ok((Vec::new(), None)) };
        let Some(Value::List(rows)) = list.swap_remove("nodes") else { return Err(SHAPE.to_owned()) };
        let Some(Value::Object(info)) = list.swap_remove("pageInfo") else { return Err(SHAPE.to_owned()) };
        match (info.get("hasNextPage"), info.get("endCursor")) {
            (Some(Value::Boolean(false)), _) => Ok((rows, None)),
            (Some(Value::Boolean(true)), Some(Value::String(cursor))) => Ok((rows, Some(cursor.clone()))),
            _ => Err(SHAPE.to_owned()),
        }
    }
}

fn fields(selection: &SelectionSet) -> impl Iterator<Item = &Field> {
    selection.items.iter().filter_map(|item| match &item.node {
        Selection::Field(field) => Some(&field.node),
        _ => None,
    })
}

/// Whether a field takes an argument from the variable of its name.
fn by(field: &Field, argument: &str) -> bool {
    field.get_argument(argument).is_some_and(|value| value.node.to_string() == format!("${argument}"))
}

/// How many fields below a selection are such; fragments that are only named here are counted where they stand.
fn count(selection: &SelectionSet, such: &impl Fn(&Field) -> bool) -> usize {
    let below = |item: &Positioned<Selection>| match &item.node {
        Selection::Field(field) => {
            usize::from(such(&field.node)) + count(&field.node.selection_set.node, such)
        }
        Selection::InlineFragment(part) => count(&part.node.selection_set.node, such),
        Selection::FragmentSpread(_) => 0,
    };
    selection.items.iter().map(below).sum()
}

/// The field that is read by pages, and the way to it.
fn find<'a>(selection: &'a SelectionSet, path: &mut Vec<Name>) -> Option<&'a Field> {
    let mut found = None;
    for field in fields(selection) {
        path.push(field.response_key().node.clone());
        if by(field, "first") && by(field, "after") {
            return Some(field);
        }
        found = find(&field.selection_set.node, path);
        if found.is_some() {
            return found;
        }
        path.pop();
    }
    found
}

/// The columns below a selection.
fn collect(
    document: &ExecutableDocument,
    selection: &SelectionSet,
    path: &mut Vec<Name>,
    columns: &mut Vec<Vec<Name>>,
) -> Result<(), String> {
    for item in &selection.items {
        match &item.node {
            Selection::Field(field) => {
                let field = &field.node;
                path.push(field.response_key().node.clone());
                if !field.selection_set.node.items.is_empty() {
                    collect(document, &field.selection_set.node, path, columns)?;
                } else if !columns.contains(path) {
                    columns.push(path.clone());
                }
                path.pop();
            }
            Selection::InlineFragment(part) => {
                collect(document, &part.node.selection_set.node, path, columns)?;
            }
            Selection::FragmentSpread(part) => {
                let name = &part.node.fragment_name.node;
                let part = document.fragments.get(name).ok_or(format!("there is no fragment '{name}'"))?;
                collect(document, &part.node.selection_set.node, path, columns)?;
            }
        }
    }
    Ok(())
}

/// Whether a query can be carried out: its first row is read.
///
/// # Errors
/// Why it cannot.
pub async fn try_out(
    hub: &Hub,
    schema: &HubSchema,
    caller: &Caller,
    query: &str,
    variables: &str,
) -> Result<(), String> {
    let plan = Plan::of(query)?;
    let variables = read_variables(variables)?;
    let request = plan.request(&variables, 1, None).data(caller.clone());
    let data = answer(schema, request, hub).await.map_err(|failed| failed.message)?;
    plan.rows(data).map(drop)
}

fn read_variables(text: &str) -> Result<Variables, String> {
    match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(Variables::from_json(value)),
        _ => Err("'variables' must be a JSON object".to_owned()),
    }
}

/// Why a page is not there.
struct Failed {
    message: String,
    /// The query is not to blame: it may be there another time.
    for_now: bool,
}

async fn answer(schema: &HubSchema, request: Request, hub: &Hub) -> Result<Value, Failed> {
    let response = batch::execute(schema, request, hub.clone()).await;
    let Some(error) = response.errors.first() else { return Ok(response.data) };
    let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    let for_now = [UNAVAILABLE, INTERNAL].iter().any(|it| code == Some(&Value::from(*it)));
    Err(Failed { message: error.message.clone(), for_now })
}

/// Works on the export that has waited longest, if any does.
///
/// # Errors
/// When the store fails, for which the export is not to blame.
pub async fn work_one(hub: &Hub, schema: &HubSchema, holder: Uuid) -> Result<bool, StoreError> {
    let Some(job) = take_up::<ExportJob>(hub, holder).await? else { return Ok(false) };
    tracing::info!("export {} of '{}'", job.id, job.created_by);
    if job.attempts > MAX_ATTEMPTS {
        let message = "the hub failed at it three times; its log says why. Start a new export".to_owned();
        replace(hub, &job, failed(hub, &job, message)).await?;
        return Ok(true);
    }
    // In a task of its own: what panics ends there, and not the worker.
    let mut task = JoinSet::new();
    let (own, schema, mut held) = (hub.clone(), schema.clone(), job.clone());
    task.spawn(async move {
        carry_out(&own, &schema, &mut held).await.map(|made| (held, made)).map_err(|error| error.to_string())
    });
    let made = task.join_next().await.unwrap_or(Ok(Ok((job.clone(), Made::Unwanted))));
    let ended = match made.unwrap_or_else(|error| Err(error.to_string())) {
        Ok((_, Made::Unwanted)) => return Ok(true),
        Ok((_, Made::Whole(done))) => *done,
        Ok((held, Made::Wrong(failure))) => failed(hub, &held, failure),
        Err(error) => {
            tracing::error!("export {} failed, and is tried again in two minutes: {error}", job.id);
            return Ok(true);
        }
    };
    let file = ended.file_id;
    if !replace(hub, &job, ended).await?
        && let Some(file) = file
    {
        forget(hub, &[file]).await?;
    }
    Ok(true)
}

fn failed(hub: &Hub, job: &ExportJob, failure: String) -> ExportJob {
    let mut job = job.clone();
    job.state = ExportState::Failed;
    job.failure = Some(failure);
    job.finished_at = Some(hub.now().0);
    job.hold(None, None);
    job
}

/// What became of an export.
enum Made {
    Whole(Box<ExportJob>),
    Wrong(String),
    Unwanted,
}

async fn carry_out(hub: &Hub, schema: &HubSchema, held: &mut ExportJob) -> Result<Made, StoreError> {
    let (plan, variables) = match (Plan::of(&held.query), read_variables(&held.variables)) {
        (Ok(plan), Ok(variables)) => (plan, variables),
        (Err(message), _) | (_, Err(message)) => return Ok(Made::Wrong(message)),
    };
    let pinned = hub.pinned();
    let snapshot_at = pinned.now().0;
    let token = pinned.read().await?.by_ids::<Token>([held.token_id]).await?.into_iter().next();
    let Some(caller) = token.and_then(|token| access::in_force(token, snapshot_at)) else {
        return Ok(Made::Wrong("the token that asked for it is over, or was taken back".to_owned()));
    };
    let ending = match held.format {
        ExportFormat::Csv => "csv",
        ExportFormat::Jsonl => "jsonl",
    };
    let mut file =
        Incoming::new(hub, &format!("export-{}.{ending}", held.id.simple()), MAX_EXPORT_BYTES, true);
    let mut objects = 0;
    let mut after: Option<String> = None;
    if held.format == ExportFormat::Csv {
        let headings = plan.columns.iter().map(|path| dotted(path));
        file.add(&line_of(headings)).await?;
    }
    for page in 1.. {
        let request = plan.request(&variables, MAX_PAGE, after.as_deref());
        let request = request.data(caller.clone());
        let rows = match answer(schema, request, &pinned).await {
            Ok(data) => plan.rows(data),
            Err(failed) if failed.for_now => {
                file.forget().await?;
                return Err(StoreError::Again(failed.message.into()));
            }
            Err(failed) => Err(failed.message),
        };
        let (rows, next) = match rows {
            Ok(found) => found,
            Err(message) => {
                file.forget().await?;
                return Ok(Made::Wrong(message));
            }
        };
        let mut text = Vec::new();
        for row in &rows {
            match held.format {
                ExportFormat::Csv => text.extend(line_of(plan.columns.iter().map(|path| cell(row, path)))),
                ExportFormat::Jsonl => {
                    serde_json::to_writer(&mut text, row).map_err(|error| StoreError::BadData {
                        place: "an export's row",
                        found: error.to_string(),
                    })?;
                    text.push(b'\n');
                }
            }
        }
        objects += i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if !file.add(&text).await? {
            let message =
                format!("it is larger than {} MiB; ask for less at once", MAX_EXPORT_BYTES / 1024 / 1024);
            return Ok(Made::Wrong(message));
        }
        let Some(cursor) = next else { break };
        after = Some(cursor);
        let lapsing = held.leased_until.is_some_and(|until| until - LEASE_MS / 2 < hub.now().0);
        if lapsing || page % PAGES_BETWEEN_LOOKS == 0 {
            let mut now = held.clone();
            (now.objects, now.bytes) = (objects, file.size());
            now.leased_until = Some(hub.now().0 + LEASE_MS);
            if !replace(hub, held, now.clone()).await? {
                file.forget().await?;
                return Ok(Made::Unwanted);
            }
            *held = now;
        }
    }
    // Only an import's file is ever crowded out.
    let Some(file) = file.finish().await? else { return Ok(Made::Unwanted) };
    let mut done = held.clone();
    (done.objects, done.bytes, done.file_id) = (objects, file.size, Some(file.id));
    (done.snapshot_at, done.finished_at) = (Some(snapshot_at), Some(hub.now().0));
    done.state = ExportState::Done;
    done.hold(None, None);
    Ok(Made::Whole(Box::new(done)))
}

fn dotted(path: &[Name]) -> String {
    path.iter().map(Name::as_str).collect::<Vec<_>>().join(".")
}

/// A text for a table's cell: what a spreadsheet would take for a formula it takes for text behind an apostrophe.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// What a row has at the end of a path; of a list each has, joined by semicolons.
fn cell(row: &Value, path: &[Name]) -> String {
    match (row, path) {
        (Value::List(items), _) => items.iter().map(|item| cell(item, path)).collect::<Vec<_>>().join(";"),
        (Value::Object(map), [key, rest @ ..]) => {
            map.get(key).map_or_else(String::new, |value| cell(value, rest))
        }
        (Value::Null, _) => String::new(),
        (Value::String(text), []) => harmless(text).into_owned(),
        (Value::Enum(name), []) => name.to_string(),
        (other, []) => other.to_string(),
        _ => String::new(),
    }
}

/// A line of a table (RFC 4180).
fn line_of(cells: impl Iterator<Item = String>) -> Vec<u8> {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing to memory does not fail.
    let _ = table.write_record(cells);
    table.into_inner().unwrap_or_default()
}
