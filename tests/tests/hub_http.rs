//! The hub as independent clients see it: graphql-http's audit of requests, graphql-ws on the socket.
//!
//! The clients are Node programs in `tests/web`. Without `node` these tests say `skipped` and pass.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test; and it must say when it was skipped")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::programs::PATIENCE;
use rollcall_tests::timetable::{Gateway, estate, session, students};
use serde_json::json;
use tokio::process::Command;

/// Where the Node programs are, with what they need; `None` without `node`.
fn web() -> Option<PathBuf> {
    static WEB: OnceLock<Option<PathBuf>> = OnceLock::new();
    WEB.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        if std::process::Command::new("node").arg("--version").output().is_err() {
            println!("skipped: there is no 'node'; tests/run installs it");
            return None;
        }
        let lock = std::fs::read_to_string(folder.join("package-lock.json")).unwrap();
        let made_from = folder.join("node_modules/.made-from");
        if std::fs::read_to_string(&made_from).ok().as_ref() != Some(&lock) {
            let arguments = ["ci", "--no-audit", "--no-fund"];
            let made =
                std::process::Command::new("npm").args(arguments).current_dir(&folder).output().unwrap();
            let errors = String::from_utf8_lossy(&made.stderr);
            assert!(made.status.success(), "'npm ci' failed in {}: {errors}", folder.display());
            std::fs::write(made_from, lock).unwrap();
        }
        Some(folder)
    })
    .clone()
}

async fn passes(web: &Path, script: &str, hub: &TestHub, environment: &[(&str, String)]) {
    let mut command = Command::new("node");
    command.arg(script).arg(hub.url()).env("TOKEN", &hub.integration).current_dir(web).kill_on_drop(true);
    for (name, value) in environment {
        command.env(name, value);
    }
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{script} did not end within {PATIENCE:?}")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{script} ended with {}:\n{said}\n{errors}", output.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_audit_of_graphql_over_http_passes() {
    let Some(web) = web() else { return };
    let hub = TestHub::start().await;
    passes(&web, "audit.mjs", &hub, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_of_the_socket_is_served_and_a_wrong_one_is_closed_by_the_protocol() {
    let Some(web) = web() else { return };
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 2).await;
    hub.done("saveSessions", json!({"sessions": [session("X", "10:00", "11:00")]})).await;
    hub.clock.set(&at("10:05"));
    let mut gateway = Gateway::start(&hub, "GW").await;
    let held = gateway.session("10:00").to_owned();
    let swipe = gateway.swipe(0, 0, &at("10:04"), &[&held]);
    let register = hub.read("{ session(by: {externalId: \"X\"}) { register { id } } }").await;
    let environment = [
        ("GATEWAY_TOKEN", gateway.token.clone()),
        ("REGISTER", register["session"]["register"]["id"].as_str().unwrap().to_owned()),
        ("BATCH", gateway.batch(&[swipe], &at("10:05")).to_string()),
    ];
    passes(&web, "socket.mjs", &hub, &environment).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphiql_and_all_that_it_needs_come_from_the_hub_where_asked_for() {
    let Some(web) = web() else { return };
    let hub = TestHub::start().await;
    assert_eq!(hub.get("/graphiql").await.0, 404);
    let hub = TestHub::start_with(|config| config.graphiql = Some(web)).await;
    let (status, page) = hub.get("/graphiql").await;
    assert_eq!(status, 200);
    let wanted: Vec<&str> =
        page.split('"').filter(|text| text.ends_with(".js") || text.ends_with(".css")).collect();
    assert_eq!(wanted.len(), 4);
    for file in wanted {
        let (status, content) = hub.get(&format!("/{file}")).await;
        assert_eq!((status, content.len() > 5_000), (200, true), "{file}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing comes from elsewhere");
}

#[tokio::test]
async fn every_query_of_the_readme_is_one_of_this_api() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let blocks = readme.split("```graphql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let queries = blocks
        .flat_map(|block| block.split("\n\n"))
        .map(|query| query.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"));
    let inline = readme.split('`').filter(|text| text.starts_with("{ ")).map(str::to_owned);
    let all: Vec<String> = queries.chain(inline).filter(|query| !query.trim().is_empty()).collect();
    assert!(all.len() > 8, "only {} found", all.len());
    for query in all {
        let (status, body) = hub.post(Some(&hub.admin), &query, json!({})).await;
        assert!(status == 200 && body.get("errors").is_none(), "{query}\n{body}");
    }
}

#[tokio::test]
async fn a_nul_character_is_refused_whatever_the_engine_and_changes_nothing() {
    let hub = TestHub::start().await;
    let query = "mutation($input: SaveBuildingsInput!) { saveBuildings(input: $input) { errors { code } } }";
    let input = json!({"input": {"buildings": [{"code": "A", "name": "Build\u{0}ing"}]}});
    let (status, body) = hub.post(Some(&hub.admin), query, input).await;
    assert_eq!(status, 400, "{body}");
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("NUL"), "{body}");
    assert_eq!(hub.read("{ buildings { code } }").await["buildings"], json!([]));
}
