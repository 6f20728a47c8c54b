//! A term's files go to the hub as any university's would: uploaded, checked and applied as one import.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::time::interval;
use uuid::Uuid;

use super::api::Api;
use crate::plan::TermFiles;

/// How long between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Imports a term into a hub.
///
/// # Errors
/// When the hub turns the files down.
pub(super) async fn import(api: &mut Api, term: &TermFiles) -> anyhow::Result<()> {
    let mut uploads = Vec::new();
    for (name, bytes) in [&term.problem, &term.solution] {
        uploads.push(api.upload(name, bytes.clone()).await?);
    }
    let input = json!({
        "id": Uuid::new_v4(), "kind": "ITC_2019", "source": "term", "uploadIds": uploads, "dryRun": false,
        "term": {"start": term.start.to_string(), "buildings": term.buildings},
    });
    let query = "mutation($input: StartImportInput!) {
        startImport(input: $input) { import { id } errors { code message path } } }";
    let answer = api.ask(query, json!({ "input": input })).await?;
    let id = answer["startImport"]["import"]["id"].clone();
    if !id.is_string() {
        bail!("startImport was turned down: {}", answer["startImport"]["errors"]);
    }
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let query = "query($id: ID!) { import(id: $id) { state outcome {
            problems(first: 3) { file row message } problemCount } } }";
        let import = api.ask(query, json!({ "id": id })).await?["import"].take();
        match import["state"].as_str().context("the hub does not know the import any more")? {
            "APPLIED" => return Ok(()),
            "CHECKING" | "APPLYING" => {}
            state => bail!("the import is {state}: {}", problems(&import["outcome"])),
        }
    }
}

fn problems(outcome: &Value) -> String {
    format!("{} problems, the first of them {}", outcome["problemCount"], outcome["problems"])
}
