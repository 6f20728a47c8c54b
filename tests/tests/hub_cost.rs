//! What reading costs: a fixed number of SQL statements, however many rows an answer has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use async_graphql::Request;
use rollcall_hub::graphql::{self, batch};
use rollcall_hub::service::Hub;
use rollcall_hub::{app, http::auth};
use rollcall_tests::hub::{TestHub, at, clock, config, ms};
use rollcall_tests::timetable::{Gateway, estate, session, students};
use serde_json::{Value, json};

/// Runs a query in this process; gives its data and how many SQL statements it took.
async fn counted(hub: &Hub, token: &str, query: &str) -> (Value, u64) {
    let caller = auth::caller(hub, Some(token)).await.unwrap();
    let request = Request::new(query).data(caller);
    let before = hub.statements();
    let response = batch::execute(&graphql::schema(hub.clone()), request, hub.clone()).await;
    assert_eq!(response.errors, []);
    (response.data.into_json().unwrap(), hub.statements() - before)
}

#[tokio::test]
async fn eighty_rows_cost_as_many_statements_as_ten() {
    let mut costs = Vec::new();
    for size in [10, 80] {
        let hub = TestHub::start().await;
        estate(&hub).await;
        students(&hub, size, size).await;
        let many: Vec<Value> =
            (0..size / 2).map(|n| session(&format!("Y{n}"), &format!("13:{n:02}"), "15:00")).collect();
        hub.done("saveSessions", json!({"sessions": many})).await;
        hub.done("saveSession", session("X", "10:00", "11:00")).await;
        hub.clock.set(&at("12:00"));
        let mut gateway = Gateway::start(&hub, "GW").await;
        let held = gateway.session("10:00").to_owned();
        let swipes: Vec<Value> =
            (0..size).map(|index| gateway.swipe(index, 0, &at("10:01"), &[&held])).collect();
        gateway.submit(&hub, &swipes, &at("12:00")).await;
        let TestHub { running, folder, integration, .. } = hub;
        running.stop().await.unwrap();
        let hub = app::open(&config(folder.path()), clock()).await.unwrap();
        let register = "{ session(by: {externalId: \"X\"}) { externalId rooms { code } register { state summary { present }
            entries(first: 200) { totalCount nodes { status source student { number displayName }
                swipes { swipeId swipedAt reader { code room { code } } student { number } sessions { externalId } }
                history { from to at by } } } } } }";
        let (data, cost) = counted(&hub, &integration, register).await;
        let entries = data["session"]["register"]["entries"]["nodes"].as_array().unwrap();
        assert_eq!(entries.len(), size);
        for entry in entries {
            assert_eq!(entry["swipes"].as_array().unwrap().len(), 1);
            assert_eq!(entry["history"].as_array().unwrap().len(), 1);
        }
        let lean = "{ session(by: {externalId: \"X\"}) { register { entries(first: 200) { nodes { status student { number } } } } } }";
        let (_, lean_cost) = counted(&hub, &integration, lean).await;
        assert_eq!(lean_cost, 2, "the session, its marks with their students");
        let page =
            "{ sessions(first: 200) { nodes { externalId state rooms { code } groups { code } course { code }
            policy { opensBefore } register { state summary { present } } } } }";
        let (data, page_cost) = counted(&hub, &integration, page).await;
        assert_eq!(data["sessions"]["nodes"].as_array().unwrap().len(), size / 2 + 1);
        let explained =
            "{ swipes(first: 100) { nodes { id card { numberTail } receipt { sequence } revisions { reason }
            considered { credited session { externalId register { watermark } } } } } }";
        let (data, explained_cost) = counted(&hub, &integration, explained).await;
        let explained = data["swipes"]["nodes"].as_array().unwrap();
        assert_eq!(explained.len(), size);
        for swipe in explained {
            assert_eq!(swipe["considered"][0]["session"]["externalId"], "X");
            let watermark = swipe["considered"][0]["session"]["register"]["watermark"].as_str().unwrap();
            assert_eq!(ms(watermark), ms(&at("12:00")));
            assert_eq!(swipe["card"]["numberTail"].as_str().unwrap().len(), 4);
        }
        let ids: Vec<&Value> = explained.iter().map(|swipe| &swipe["id"]).collect();
        let nodes = format!("{{ nodes(ids: {}) {{ ... on Swipe {{ swipeId }} }} }}", json!(ids));
        let (data, nodes_cost) = counted(&hub, &integration, &nodes).await;
        assert_eq!(
            data["nodes"].as_array().unwrap().iter().filter(|it| it["swipeId"].is_string()).count(),
            size
        );
        // Lists within lists: of all rows in one statement.
        let nested = "{ rooms(first: 200) { nodes { code current { externalId } next { externalId }
            sessions(first: 2) { totalCount nodes { externalId } } readers { swipes(last: 1) { nodes { swipeId } }
                events(first: 1) { totalCount } commissionings(last: 1) { nodes { at } } } } }
            students(first: 200) { nodes { calendarPath groups { nodes { group { code } } } attendance(first: 1) { nodes { status } } } }
            groups(first: 200) { nodes { members(first: 1) { totalCount } sessions(first: 1) { nodes { externalId } } } }
            gateways { nodes { outages(first: 1) { totalCount } commissionings(first: 1) { totalCount } } } }";
        let (data, nested_cost) = counted(&hub, &integration, nested).await;
        let students = data["students"]["nodes"].as_array().unwrap();
        assert_eq!(students.len(), size);
        for student in students {
            assert_eq!(student["groups"]["nodes"][0]["group"]["code"], "G");
            assert_eq!(student["attendance"]["nodes"].as_array().unwrap().len(), 1);
        }
        let room =
            data["rooms"]["nodes"].as_array().unwrap().iter().find(|room| room["code"] == "R1").unwrap();
        assert_eq!(room["sessions"]["nodes"][0]["externalId"], "X", "{room}");
        costs.push([cost, page_cost, explained_cost, nodes_cost, nested_cost]);
    }
    assert_eq!(costs[0][..4], costs[1][..4]);
    // Of the nested lists two of one kind, from different depths, are asked for together or one after the other.
    let limits = [16, 8, 24, 2, 24];
    assert!(
        costs.iter().all(|costs| costs.iter().zip(limits).all(|(cost, limit)| *cost <= limit)),
        "{costs:?}"
    );
}

#[tokio::test]
async fn a_short_query_whose_fragments_multiply_is_refused_before_anybody_walks_through_it() {
    let hub = TestHub::start().await;
    let part = |number: u32| {
        let next = format!("...f{} ", number + 1).repeat(3);
        format!("fragment f{number} on Query {{ {next} }} ")
    };
    let parts: String = (0..30).map(part).collect();
    let query = format!("{{ ...f0 }} {parts} fragment f30 on Query {{ viewer {{ __typename }} }}");
    let (_, body) = hub.post(Some(&hub.integration), &query, json!({})).await;
    assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{body}");
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("20000 fields"), "{body}");
}
