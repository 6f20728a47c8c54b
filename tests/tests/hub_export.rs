//! Exports: one list, whole, from one state of the data, in a file that can be fetched in parts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::service::attempt::Attempt;
use rollcall_hub::service::upload;
use rollcall_hub::store::entity::{ExportJob, ExportState};
use rollcall_tests::hub::{TestHub, at, ms, refusals};
use rollcall_tests::programs::{PATIENCE, until};
use rollcall_tests::timetable::{Gateway, estate, number, session, students};
use serde_json::{Value, json};
use uuid::Uuid;

const SHAPE: &str = "id state objectCount byteSize path failure snapshotAt expiresAt";
const STUDENTS: &str = "query($first: Int, $after: String, $by: StudentOrder) { students(first: $first, after: $after, orderBy: $by) {
    nodes { number name: displayName cards { code } } pageInfo { hasNextPage endCursor } } }";

async fn start(hub: &TestHub, query: &str, more: Value) -> Value {
    let mut input = json!({"id": Uuid::new_v4(), "query": query});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    hub.write(&format!("startExport export {{ {SHAPE} }}"), input).await
}

/// An export once it has ended.
async fn ended(hub: &TestHub, payload: &Value) -> Value {
    assert_eq!(payload["errors"], json!([]));
    let query = format!("{{ export(id: {}) {{ {SHAPE} }} }}", payload["export"]["id"]);
    let look = async || hub.read(&query).await["export"].take();
    tokio::time::timeout(PATIENCE, until("the export", look, |export| export["state"] != "RUNNING"))
        .await
        .unwrap()
}

async fn text_of(hub: &TestHub, export: &Value) -> String {
    assert_eq!(export["state"], "DONE", "{export}");
    let (status, _, bytes) = hub.fetch(&hub.integration, export["path"].as_str().unwrap(), None).await;
    assert_eq!((status, json!(bytes.len())), (200, export["byteSize"].clone()));
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_list_of_many_pages_comes_whole_and_in_order_as_lines_of_json() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 450, 0).await;
    let order = json!({"by": {"field": "NUMBER"}}).to_string();
    let export = ended(&hub, &start(&hub, STUDENTS, json!({"variables": order})).await).await;
    assert_eq!(export["objectCount"], 450);
    let text = text_of(&hub, &export).await;
    assert!(text.starts_with("{\"number\":"), "fields stay in the order asked: {}", &text[..60]);
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<&str> = rows.iter().map(|row| row["number"].as_str().unwrap()).collect();
    let mut wanted: Vec<String> = (0..450).map(number).collect();
    wanted.sort();
    assert_eq!(numbers, wanted);
    assert!(rows[7]["cards"][0]["code"].as_str().unwrap().starts_with('K'));
}

#[tokio::test]
async fn a_table_has_a_column_for_each_field_whatever_the_first_row_lacks() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 2).await;
    hub.done("saveStudent", json!({"number": "A, \"B\"", "name": "=1+1"})).await;
    hub.done("saveSession", session("S", "09:00", "10:00")).await;
    let names =
        "query($first: Int, $after: String) { students(first: $first, after: $after) { nodes { displayName }
        pageInfo { endCursor hasNextPage } } }";
    let export = ended(&hub, &start(&hub, names, json!({"format": "CSV"})).await).await;
    let text = text_of(&hub, &export).await;
    assert!(text.contains("\r\n'=1+1\r\n"), "no formula: {text}");
    let students = "query($first: Int, $after: String) { students(first: $first, after: $after, orderBy: {field: NUMBER}) {
        nodes { number email ...rest } pageInfo { endCursor hasNextPage } } }
        fragment rest on Student { cards { code } attendanceSummary { expected attendedShare } expectedAtDoor }";
    let export = ended(&hub, &start(&hub, students, json!({"format": "CSV"})).await).await;
    let text = text_of(&hub, &export).await;
    let (first, second) = (number(0), number(1));
    assert_eq!(
        text,
        format!(
            "number,email,cards.code,attendanceSummary.expected,attendanceSummary.attendedShare,expectedAtDoor\r\n\
             \"A, \"\"B\"\"\",,,0,,true\r\n{first},,K0,1,,true\r\n{second},,K1,1,,true\r\n"
        )
    );
    let marks = "query Marks($first: Int, $after: String) { session(by: {externalId: \"S\"}) { register {
        entries(first: $first, after: $after) { nodes { student { number } status } pageInfo { hasNextPage endCursor } } } } }";
    let export = ended(&hub, &start(&hub, marks, json!({"format": "CSV"})).await).await;
    let text = text_of(&hub, &export).await;
    assert_eq!(text, format!("student.number,status\r\n{first},EXPECTED\r\n{second},EXPECTED\r\n"));
}

#[tokio::test]
async fn what_reads_through_a_pinned_hub_sees_one_state_and_keeps_nothing() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 3, 0).await;
    let pinned = hub.running.hub.pinned();
    let count = async || {
        let sql = "SELECT COUNT(*) FROM student";
        pinned
            .read()
            .await
            .unwrap()
            .fetch_one(sql, Vec::new())
            .await
            .unwrap()
            .unwrap()
            .next::<i64>("count")
            .unwrap()
    };
    assert_eq!(count().await, 3);
    hub.done("saveStudent", json!({"number": "N", "name": "New"})).await;
    assert_eq!(count().await, 3);
    let mut trial = Attempt::only(&pinned).write().await.unwrap();
    assert_eq!(trial.execute("DELETE FROM student", Vec::new()).await.unwrap(), 4);
    assert!(trial.commit().await.is_err());
    assert_eq!(hub.read("{ students { totalCount } }").await["students"]["totalCount"], 4);
}

#[tokio::test]
async fn a_file_is_given_out_in_parts_to_those_who_may_read_until_its_day_is_over() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    // More than one piece.
    let students: Vec<Value> =
        (0..9_000).map(|n| json!({"number": format!("S{n:05}"), "name": format!("{n:0150}")})).collect();
    hub.done("saveStudents", json!({"students": students})).await;
    let export = ended(&hub, &start(&hub, STUDENTS, json!({})).await).await;
    let text = text_of(&hub, &export).await;
    assert!(text.len() > 1_500_000);
    let path = export["path"].as_str().unwrap();
    let mut got = Vec::new();
    for from in (0..text.len()).step_by(700_000) {
        let range = format!("bytes={from}-{}", from + 699_999);
        let (status, stretch, bytes) = hub.fetch(&hub.integration, path, Some(&range)).await;
        assert_eq!(status, 206);
        let last = (from + 699_999).min(text.len() - 1);
        assert_eq!(stretch, format!("bytes {from}-{last}/{}", text.len()));
        got.extend(bytes);
    }
    assert!(got == text.as_bytes());
    let (status, stretch, _) = hub.fetch(&hub.integration, path, Some("bytes=9999999-")).await;
    assert_eq!((status, stretch), (416, format!("bytes */{}", text.len())));

    let gateway = hub.gateway_token("GW").await;
    assert_eq!(hub.fetch(&gateway, path, None).await.0, 403);
    assert_eq!(hub.fetch("nobody", path, None).await.0, 401);
    assert_eq!(hub.fetch(&hub.integration, "/exports/exp_1", None).await.0, 404);

    hub.clock.set_ms(ms("2026-10-06T09:00:00Z"));
    upload::forget_old(&hub.running.hub).await.unwrap();
    assert_eq!(hub.fetch(&hub.integration, path, None).await.0, 404);
    let query = format!("{{ export(id: {}) {{ state }} }}", export["id"]);
    assert_eq!(hub.read(&query).await["export"]["state"], "EXPIRED");
}

#[tokio::test]
async fn what_cannot_be_exported_is_refused_at_once_with_what_to_do() {
    let hub = TestHub::start().await;
    for (query, said) in [
        ("{ students { nodes { number } } }", "first: $first, after: $after"),
        ("query($first: Int, $after: String) { students(first: $first, after: $after) { nodes { number } } }", "pageInfo"),
        ("mutation { a }", "no query"),
        ("query($first: Int, $after: String) { students(first: $first, after: $after) { nodes { number } pageInfo { more: hasNextPage endCursor } } }",
         "hasNextPage endCursor"),
        ("query($first: Int, $after: String) { students(first: $first, after: $after) { nodes { groups(first: $first, after: $after) {
          nodes { from } } } pageInfo { hasNextPage endCursor } } }", "for one list alone"),
        ("{ students", "cannot be read"),
        ("query($first: Int, $after: String) { students(first: $first, after: $after) { nodes { shoeSize } pageInfo { hasNextPage endCursor } } }",
         "shoeSize"),
        ("query($first: Int, $after: String) { students(first: $first, after: $after) { nodes { ...a } pageInfo { hasNextPage endCursor } } }
          fragment a on Student { number ...a }", "without an end"),
    ] {
        let payload = start(&hub, query, json!({})).await;
        assert_eq!(refusals(&payload), ["INVALID query"], "{query}");
        let message = payload["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(said), "{query}: {message}");
    }
    let payload = start(&hub, STUDENTS, json!({"variables": "[]"})).await;
    assert!(payload["errors"][0]["message"].as_str().unwrap().contains("JSON object"));
}

#[tokio::test]
async fn an_export_that_was_stopped_stays_so_and_its_id_asked_for_again_is_the_same() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let id = Uuid::new_v4();
    let done = start(&hub, STUDENTS, json!({"id": id})).await;
    let done = ended(&hub, &done).await;
    assert_eq!(start(&hub, STUDENTS, json!({"id": id})).await["export"], done);
    assert_eq!(refusals(&start(&hub, STUDENTS, json!({"id": id, "format": "CSV"})).await), ["CONFLICT id"]);

    // As it is while another hub works on it.
    let service = &hub.running.hub;
    let mut tx = Attempt::only(service).write().await.unwrap();
    let mut job = tx.all::<ExportJob>().await.unwrap().remove(0);
    job.state = ExportState::Running;
    job.leased_until = Some(ms(&at("12:00")));
    tx.put(&[job]).await.unwrap();
    tx.commit().await.unwrap();
    let cancel = async || {
        hub.write(&format!("cancelExport export {{ {SHAPE} }}"), json!({"exportId": done["id"]})).await
    };
    let stopped = cancel().await;
    assert_eq!((&stopped["errors"], &stopped["export"]["state"]), (&json!([]), &json!("CANCELLED")));
    assert_eq!(cancel().await["export"]["state"], "CANCELLED");
    let gateway = Gateway::start(&hub, "GW").await;
    let body = hub
        .post(Some(&gateway.token), &format!("{{ export(id: {}) {{ state }} }}", done["id"]), json!({}))
        .await
        .1;
    assert_eq!(body["errors"][0]["extensions"]["code"], "FORBIDDEN");
}
