//! Imports over the API: a file goes up, is checked, shown as a difference, and applied by whichever hub takes it up.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::path::Path;

use rollcall_hub::clock::Clock as _;
use rollcall_hub::service::attempt::Attempt;
use rollcall_hub::service::{jobs, upload};
use rollcall_hub::store::entity::{Entity as _, ImportJob, ImportState};
use rollcall_tests::hub::{TestHub, at, ms, refusals};
use rollcall_tests::programs::PATIENCE;
use rollcall_tests::timetable::{Gateway, estate, number, session, students};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

const SHAPE: &str = "id state source createdBy finishedAt outcome { differences { kind created updated removed unchanged } marksChanged \
     problemCount problems { file row column message } noteCount }";

const STUDENTS: &str =
    "Student number,Name,Email,Status\nN1,\"Ng, Ada\",ada@example.org,Current\nN2,Bo,,On leave\n";

fn mapping(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/import");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

async fn uploaded(hub: &TestHub, name: &str, text: &str) -> Value {
    let (status, body) = hub.upload(&hub.integration, name, text.to_owned()).await;
    assert_eq!((status, &body["name"], &body["size"]), (201, &json!(name), &json!(text.len())));
    body["uploadId"].clone()
}

async fn order(hub: &TestHub, text: &str, change: Value) -> Value {
    let mut input = json!({
        "id": Uuid::new_v4(), "kind": "CSV", "source": "students", "mapping": mapping("students.toml"),
        "uploadIds": [uploaded(hub, "students.csv", text).await],
    });
    for (key, value) in change.as_object().unwrap() {
        input[key] = value.clone();
    }
    input
}

async fn start(hub: &TestHub, input: &Value) -> Value {
    hub.write(&format!("startImport import {{ {SHAPE} }}"), input.clone()).await
}

/// An import once it is at rest.
async fn settled(hub: &TestHub, payload: &Value) -> Value {
    assert_eq!(payload["errors"], json!([]));
    let id = payload["import"]["id"].as_str().unwrap();
    let mut news = hub.running.hub.listen();
    let at_rest = async {
        loop {
            let data = hub.read(&format!("{{ import(id: \"{id}\") {{ {SHAPE} }} }}")).await;
            if !data["import"]["finishedAt"].is_null() {
                return data["import"].clone();
            }
            assert!(!matches!(news.recv().await, Err(RecvError::Closed)));
        }
    };
    tokio::time::timeout(PATIENCE, at_rest).await.unwrap()
}

async fn apply(hub: &TestHub, id: &Value) -> Value {
    hub.write(&format!("applyImport import {{ {SHAPE} }}"), json!({"importId": id})).await
}

async fn names(hub: &TestHub) -> Value {
    hub.read("{ students { nodes { number } } }").await["students"]["nodes"].clone()
}

#[tokio::test]
async fn a_file_is_checked_shown_applied_and_the_same_again_changes_nothing() {
    let hub = TestHub::start().await;
    let input = order(&hub, STUDENTS, json!({})).await;
    let checked = settled(&hub, &start(&hub, &input).await).await;
    let difference = json!([{"kind": "students", "created": 2, "updated": 0, "removed": 0, "unchanged": 0}]);
    assert_eq!((&checked["state"], &checked["outcome"]["differences"]), (&json!("CHECKED"), &difference));
    assert_eq!(checked["createdBy"], "timetable-sync");
    assert_eq!(names(&hub).await, json!([]), "a check changes nothing");

    let again = start(&hub, &input).await;
    assert_eq!(again["import"], checked, "asked for again, it is the same import");
    let mut other = input.clone();
    other["source"] = json!("others");
    assert_eq!(refusals(&start(&hub, &other).await), ["CONFLICT id"]);

    let applied = settled(&hub, &apply(&hub, &checked["id"]).await).await;
    assert_eq!((&applied["state"], &applied["outcome"]["differences"]), (&json!("APPLIED"), &difference));
    assert_eq!(names(&hub).await, json!([{"number": "N2"}, {"number": "N1"}]));
    let twice = apply(&hub, &checked["id"]).await;
    assert_eq!((&twice["import"]["state"], &twice["errors"]), (&json!("APPLIED"), &json!([])));

    let next = order(&hub, STUDENTS, json!({"dryRun": false})).await;
    let next = settled(&hub, &start(&hub, &next).await).await;
    assert_eq!(
        (&next["state"], &next["outcome"]["differences"][0]["unchanged"]),
        (&json!("APPLIED"), &json!(2))
    );
    let list = hub
        .read("{ imports(first: 5) { totalCount nodes { id state } } node: imports { nodes { source } } }")
        .await;
    assert_eq!(list["imports"]["totalCount"], 2);
}

#[tokio::test]
async fn what_an_import_came_to_is_told_for_a_season_and_what_it_did_stays() {
    let hub = TestHub::start().await;
    let input = order(&hub, STUDENTS, json!({"dryRun": false})).await;
    let applied = settled(&hub, &start(&hub, &input).await).await;
    let query = format!("{{ import(id: {}) {{ state }} students {{ totalCount }} }}", applied["id"]);
    let began = rollcall_tests::hub::ms(&at("08:00"));
    for (ms, state) in [(0, json!({"state": "APPLIED"})), (1, Value::Null)] {
        hub.clock.set_ms(began + upload::JOBS_KEPT_MS + ms);
        upload::forget_old(&hub.running.hub).await.unwrap();
        assert_eq!(hub.read(&query).await, json!({"import": state, "students": {"totalCount": 2}}));
    }
}

#[tokio::test]
async fn the_registers_that_an_import_changes_are_named_before_it_is_applied() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 2).await;
    hub.done(
        "saveSessions",
        json!({"sessions": [session("S", "09:00", "10:00"), session("T", "12:00", "13:00")]}),
    )
    .await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    hub.clock.set(&at("10:30"));
    let green = gateway.swipe(0, 0, &at("09:02"), &[]);
    assert_eq!(gateway.submit(&hub, &[green], &at("10:30")).await, ["STORED"]);
    // S00000 leaves the group in the evening of the day before; S00001 is on the list as before.
    let lists = format!(
        "Group,Student number,First day,Last day\nG,{},21/09/2026,04/10/2026\nG,{},21/09/2026,\n",
        number(0),
        number(1)
    );
    let change = json!({"mapping": mapping("class-lists.toml"), "source": "sits"});
    let checked = settled(&hub, &start(&hub, &order(&hub, &lists, change).await).await).await;
    assert_eq!(checked["state"], "CHECKED", "{checked}");
    let changed = async || {
        let shape = "outcome { registersDerived marksChanged registersChanged { marksChanged session { externalId } } }";
        let query = format!("{{ import(id: {}) {{ {shape} }} }}", checked["id"]);
        hub.read(&query).await["import"]["outcome"].take()
    };
    let wanted = json!({"registersDerived": 2, "marksChanged": 2, "registersChanged": [
        {"marksChanged": 1, "session": {"externalId": "S"}}, {"marksChanged": 1, "session": {"externalId": "T"}}]});
    assert_eq!(changed().await, wanted);
    assert_eq!(apply(&hub, &checked["id"]).await["errors"], json!([]));
    assert_eq!(changed().await, wanted);
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_told_with_its_place_and_changes_nothing() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let before = names(&hub).await;
    let text = "Student number,Name,Email,Status\nN1,Ada,,Current\nN2,Bo,,Retired\n";
    let input = order(&hub, text, json!({"dryRun": false})).await;
    let refused = settled(&hub, &start(&hub, &input).await).await;
    assert_eq!((&refused["state"], &refused["outcome"]["problemCount"]), (&json!("REFUSED"), &json!(1)));
    let problem = &refused["outcome"]["problems"][0];
    assert_eq!(
        (&problem["file"], &problem["row"], &problem["column"]),
        (&json!("students.csv"), &json!(3), &json!("Status")),
        "{problem}"
    );
    assert_eq!(names(&hub).await, before);
    assert_eq!(refusals(&apply(&hub, &refused["id"]).await), ["WRONG_STATE importId"]);

    let half = hub.upload(&hub.integration, "export.zip", vec![b'P', b'K', 3, 4, 9]).await.1;
    let zip =
        json!({"id": Uuid::new_v4(), "kind": "ONE_ROSTER", "source": "sis", "uploadIds": [half["uploadId"]]});
    let refused = settled(&hub, &start(&hub, &zip).await).await;
    assert_eq!(
        (&refused["state"], &refused["outcome"]["problems"][0]["file"]),
        (&json!("REFUSED"), &json!("export.zip"))
    );

    let missing = json!({"id": Uuid::new_v4(), "kind": "CSV", "source": "", "mapping": "kind = 1", "uploadIds": ["upl_0", "x"]});
    let payload = start(&hub, &missing).await;
    assert_eq!(
        refusals(&payload),
        ["REQUIRED source", "INVALID mapping", "NOT_FOUND uploadIds.0", "NOT_FOUND uploadIds.1"]
    );
}

#[tokio::test]
async fn what_was_checked_is_not_applied_once_it_would_change_something_else() {
    let hub = TestHub::start().await;
    let input = order(&hub, STUDENTS, json!({})).await;
    let checked = settled(&hub, &start(&hub, &input).await).await;
    hub.done("saveStudent", json!({"number": "N1", "name": "Somebody else"})).await;
    let refused = settled(&hub, &apply(&hub, &checked["id"]).await).await;
    assert_eq!(refused["state"], "REFUSED");
    let message = refused["outcome"]["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("data has changed since"), "{message}");
    assert_eq!(names(&hub).await, json!([{"number": "N1"}]));
}

#[tokio::test]
async fn an_import_that_a_hub_left_is_taken_up_once_its_time_is_over() {
    let hub = TestHub::start().await;
    let checked = order(&hub, STUDENTS, json!({})).await;
    let checked = settled(&hub, &start(&hub, &checked).await).await;
    let service = &hub.running.hub;
    // As a hub leaves it that is cut off after it took it up.
    let left = {
        let mut tx = Attempt::only(service).write().await.unwrap();
        let mut job = tx.all::<ImportJob>().await.unwrap().remove(0);
        job.state = ImportState::Applying;
        job.finished_at = None;
        job.holder = Some(Uuid::new_v4());
        job.leased_until = Some(hub.clock.now().0 + 60_000);
        tx.put(&[job.clone()]).await.unwrap();
        tx.commit().await.unwrap();
        job
    };
    let me = Uuid::new_v4();
    assert!(!jobs::work_one(service, me).await.unwrap(), "another holds it");
    hub.clock.set_ms(left.leased_until.unwrap() + 1);
    // The hub's own worker may be first; either way it is done once.
    jobs::work_one(service, me).await.unwrap();
    let applied = settled(&hub, &json!({"errors": [], "import": {"id": checked["id"]}})).await;
    assert_eq!(applied["state"], "APPLIED");
    assert_eq!(names(&hub).await, json!([{"number": "N2"}, {"number": "N1"}]));
    assert_eq!(left.id(), Uuid::try_parse(&checked["id"].as_str().unwrap()[4..]).unwrap());
}

#[tokio::test]
async fn a_file_of_two_gibibytes_that_does_not_say_so_is_broken_off_and_leaves_nothing() {
    const MIB: u64 = 1024 * 1024;
    let hub = TestHub::start().await;
    let (status, sent) = hub.pour_upload(2048 * MIB).await;
    assert_eq!(status, 413);
    // What the sockets hold comes on top of what a file may have.
    assert!((256 * MIB..320 * MIB).contains(&sent), "{sent} bytes were taken");
    assert_eq!(hub.running.hub.read().await.unwrap().waiting_bytes(false).await.unwrap(), 0);
    // The next one has its place.
    uploaded(&hub, "small.csv", STUDENTS).await;
}

#[tokio::test]
async fn files_come_from_those_who_may_write_are_bounded_and_go_after_a_day() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let gateway = hub.gateway_token("GW").await;
    assert_eq!(hub.upload(&gateway, "a.csv", "x").await.0, 403);
    assert_eq!(hub.upload("nobody", "a.csv", "x").await.0, 401);
    let (status, body) = hub.upload(&hub.integration, "", "x").await;
    assert_eq!(status, 400);
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("POST /uploads?name=FILE"), "{body}");
    let large = hub.announce_upload(257 * 1024 * 1024).await;
    assert_eq!(large, 413, "told before it is sent");

    // More than one piece.
    let rows = (0..40_000)
        .map(|n| format!("S{n},Student number {n},s{n}@example.org,Current\n"))
        .collect::<String>();
    let text = format!("Student number,Name,Email,Status\n{rows}");
    assert!(text.len() > 2 * 1024 * 1024 - 400_000);
    let input = order(&hub, &text, json!({})).await;
    let checked = settled(&hub, &start(&hub, &input).await).await;
    assert_eq!(
        (&checked["state"], &checked["outcome"]["differences"][0]["created"]),
        (&json!("CHECKED"), &json!(40_000))
    );
    hub.clock.set_ms(ms("2026-10-06T09:00:00Z"));
    upload::forget_old(&hub.running.hub).await.unwrap();
    let refused = settled(&hub, &apply(&hub, &checked["id"]).await).await;
    assert_eq!(refused["state"], "REFUSED");
    assert!(refused["outcome"]["problems"][0]["message"].as_str().unwrap().contains("Upload it again"));
}
