//! The hub's API for the university's programs: what is saved, what is refused, how it is read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::graphql;
use rollcall_tests::hub::{TestHub, at, refusals};
use rollcall_tests::timetable::{Gateway, estate, number, session, students};
use serde_json::{Value, json};

#[tokio::test]
async fn everything_saved_one_by_one_or_in_bulk_is_read_back_as_it_was() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 2).await;
    hub.done("saveBuilding", json!({"code": "B", "name": "Old"})).await;
    hub.done("saveBuilding", json!({"code": "B", "name": "New"})).await;
    hub.done("saveRoom", json!({"code": "R9", "building": "B", "name": "Lab", "capacity": 12})).await;
    hub.done("saveGateway", json!({"code": "GB", "building": "B"})).await;
    hub.done("saveReader", json!({"code": "D9", "gateway": "GB", "room": "R9", "kind": "MQTT"})).await;
    hub.done("saveCourse", json!({"code": "D", "title": "Data"})).await;
    hub.done("saveGroup", json!({"code": "D1", "course": "D", "kind": "SEMINAR", "title": "First"})).await;
    hub.done(
        "saveMembership",
        json!({"group": "D1", "student": number(0), "from": "2026-10-01", "until": "2026-10-05"}),
    )
    .await;
    let session = json!({"externalId": "X", "title": "Joins", "kind": "SEMINAR", "course": "D", "startsAt": at("10:00"),
                         "endsAt": at("11:00"), "rooms": ["R9", "R1"], "groups": ["D1", "G"]});
    let saved = hub.done("saveSession session { revision }", session.clone()).await;
    assert_eq!(saved["session"]["revision"], 1);
    let saved = hub.done("saveSession session { revision }", session).await;
    assert_eq!(saved["session"]["revision"], 1, "nothing changed");
    let data = hub
        .read(
            "{ buildings { code name rooms { code name capacity readers { code kind state } } gateways { code state } }
               session(by: {externalId: \"X\"}) { title kind state startsAt endsAt course { code } rooms { code }
                 groups { code } register { state } }
               group(by: {code: \"D1\"}) { title kind members { nodes { from until reason student { number cards {
                 code numberTail state issuedAt } } } } } }",
        )
        .await;
    let wanted = json!({
        "buildings": [
            {"code": "A", "name": "Building A", "gateways": [{"code": "GW", "state": "AWAITING_ENROLMENT"}], "rooms": [
                {"code": "R1", "name": "R1", "capacity": null, "readers": [{"code": "D1", "kind": "OSDP", "state": "OFFLINE"}]},
                {"code": "R2", "name": "R2", "capacity": null, "readers": [{"code": "D2", "kind": "OSDP", "state": "OFFLINE"}]},
            ]},
            {"code": "B", "name": "New", "gateways": [{"code": "GB", "state": "AWAITING_ENROLMENT"}], "rooms": [
                {"code": "R9", "name": "Lab", "capacity": 12, "readers": [{"code": "D9", "kind": "MQTT", "state": "OFFLINE"}]},
            ]},
        ],
        "session": {"title": "Joins", "kind": "SEMINAR", "state": "SCHEDULED", "course": {"code": "D"},
                    "startsAt": "2026-10-05T11:00:00.000+01:00", "endsAt": "2026-10-05T12:00:00.000+01:00",
                    "rooms": [{"code": "R1"}, {"code": "R9"}], "register": {"state": "SCHEDULED"}},
        "group": {"title": "First", "kind": "SEMINAR", "members": {"nodes": [{"from": "2026-10-01", "until": "2026-10-05",
            "reason": "ENROLMENT", "student": {"number": "S00000", "cards": [{"code": "K0", "numberTail": "0000",
            "state": "ACTIVE", "issuedAt": "2026-09-01T01:00:00.000+01:00"}]}}]}},
    });
    let mut found = data.clone();
    let groups = found["session"].as_object_mut().unwrap().remove("groups").unwrap();
    assert_eq!(found, wanted);
    let mut groups: Vec<&str> =
        groups.as_array().unwrap().iter().map(|group| group["code"].as_str().unwrap()).collect();
    groups.sort_unstable();
    assert_eq!(groups, ["D1", "G"]);
}

/// Everything that an integration could have changed.
async fn contents(hub: &TestHub) -> Value {
    hub.read(
        "{ buildings { code name rooms { code name capacity building { code } } }
           readers { nodes { code room { code } state } } gateways { nodes { code building { code } } }
           students { nodes { number displayName cards { code numberTail endedAt } groups { nodes { from until } } } }
           courses { nodes { code title groups { nodes { code title } } } }
           sessions { nodes { externalId title startsAt endsAt revision rooms { code } groups { code } } } }",
    )
    .await
}

#[tokio::test]
async fn a_refused_write_names_code_and_path_and_leaves_nothing_changed() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 3, 2).await;
    hub.done("saveBuildings", json!({"buildings": [{"code": "B", "name": "B"}]})).await;
    hub.done("saveRooms", json!({"rooms": [{"code": "RB", "building": "B"}]})).await;
    hub.done("saveSessions", json!({"sessions": [session("X", "10:00", "11:00")]})).await;
    let with = |field: &str, value: Value| {
        let mut changed = session("Y", "12:00", "13:00");
        changed[field] = value;
        changed
    };
    let card = |code: &str, student: usize, credential: Value| json!({"code": code, "student": number(student), "from": "2026-09-01T00:00:00Z", "credentials": [credential]});
    let good = session("Z", "14:00", "15:00");
    let mut renamed = session("X", "10:00", "11:00");
    renamed["title"] = json!("Other");
    let stay = json!({"group": "G", "student": number(2), "from": "2026-10-01"});
    let tries = [
        (
            "saveSessions",
            json!({"sessions": [renamed, with("rooms", json!(["R1", "R7"]))]}),
            vec!["NOT_FOUND sessions.1.rooms.1"],
        ),
        (
            "saveSessions",
            json!({"sessions": [good, with("groups", json!(["H"]))]}),
            vec!["NOT_FOUND sessions.1.groups.0"],
        ),
        (
            "saveSessions",
            json!({"sessions": [with("course", json!("H"))]}),
            vec!["NOT_FOUND sessions.0.course"],
        ),
        (
            "saveSessions",
            json!({"sessions": [with("endsAt", json!(at("11:59")))]}),
            vec!["INVALID sessions.0.endsAt"],
        ),
        ("saveSession", with("endsAt", json!(at("12:00"))), vec!["INVALID endsAt"]),
        ("saveSession", with("rooms", json!(["R7"])), vec!["NOT_FOUND rooms.0"]),
        ("saveSessions", json!({"sessions": [good, renamed, good]}), vec!["CONFLICT sessions.2.externalId"]),
        (
            "saveSessions",
            json!({"sessions": [with("title", json!("")), with("externalId", json!(" x"))]}),
            vec!["REQUIRED sessions.0.title", "INVALID sessions.1.externalId"],
        ),
        (
            "saveRooms",
            json!({"rooms": [{"code": "R3", "building": "A"}, {"code": "R1", "building": "B"}]}),
            vec!["CONFLICT rooms.1.building"],
        ),
        ("saveRoom", json!({"code": "R1", "building": "B"}), vec!["CONFLICT building"]),
        ("saveRoom", json!({"code": "R3", "building": "Q"}), vec!["NOT_FOUND building"]),
        ("saveRoom", json!({"code": "R3", "building": "A", "capacity": -1}), vec!["INVALID capacity"]),
        ("saveGateway", json!({"code": "GW", "building": "B"}), vec!["CONFLICT building"]),
        ("saveGateway", json!({"code": "a/b", "building": "B"}), vec!["INVALID code"]),
        (
            "saveReader",
            json!({"code": "D1", "gateway": "GW", "room": "RB", "kind": "OSDP"}),
            vec!["CONFLICT room"],
        ),
        (
            "saveReader",
            json!({"code": "D1", "gateway": "GX", "room": "RX", "kind": "OSDP"}),
            vec!["NOT_FOUND gateway", "NOT_FOUND room"],
        ),
        (
            "saveStudents",
            json!({"students": [{"number": "S9", "name": "A"}, {"number": "S9", "name": "B"}]}),
            vec!["CONFLICT students.1.number"],
        ),
        ("saveCard", card("K9", 2, json!({"uid": "08a1b2c3"})), vec!["INVALID credentials.0"]),
        ("saveCard", card("K9", 2, json!({"uid": "88a1b2c3"})), vec!["INVALID credentials.0"]),
        ("saveCard", card("K9", 2, json!({"uid": "04a1b2"})), vec!["INVALID credentials.0"]),
        ("saveCard", card("K9", 2, json!({"uid": "04a1b2c3", "raw": "00"})), vec!["INVALID credentials.0"]),
        (
            "saveCard",
            card("K9", 2, json!({"format": "H10301", "facility": 256, "number": 1})),
            vec!["INVALID credentials.0"],
        ),
        ("saveCard", card("K9", 2, json!({"uid": "04a1b2c3d40001"})), vec!["CONFLICT credentials"]),
        ("saveCard", card("K0", 2, json!({"uid": "04a1b2c3"})), vec!["CONFLICT student"]),
        ("saveCard", card("K9", 7, json!({"uid": "04a1b2c3"})), vec!["NOT_FOUND student"]),
        (
            "saveCards",
            json!({"cards": [card("K8", 2, json!({"uid": "04a1b2c3"})), card("K9", 1, json!({"uid": "04A1B2C3"}))]}),
            vec!["CONFLICT cards.1.credentials"],
        ),
        (
            "saveMembership",
            json!({"group": "G", "student": "S9", "from": "2026-10-01"}),
            vec!["NOT_FOUND student"],
        ),
        ("saveMemberships", json!({"memberships": [stay, stay]}), vec!["CONFLICT memberships.1.from"]),
        (
            "saveMembership",
            json!({"group": "G", "student": number(2), "from": "2026-10-01", "until": "2026-09-30"}),
            vec!["INVALID until"],
        ),
        ("saveGroup", json!({"code": "H", "course": "Q"}), vec!["NOT_FOUND course"]),
    ];
    let before = contents(&hub).await;
    for (mutation, input, wanted) in tries {
        let payload = hub.write(mutation, input.clone()).await;
        assert_eq!(refusals(&payload), wanted, "{mutation} {input}");
        assert_eq!(contents(&hub).await, before, "{mutation} {input} left something behind");
    }
}

#[tokio::test]
async fn a_card_handed_on_is_no_conflict_once_the_first_record_has_ended() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 2, 2).await;
    let credentials = [json!({"uid": "04a1b2c3d40000"})];
    let mut first = json!({"code": "K0", "student": number(0), "from": "2026-09-01T00:00:00Z", "credentials": credentials});
    let second = json!({"code": "K7", "student": number(1), "from": at("10:00"), "credentials": credentials});
    assert_eq!(refusals(&hub.write("saveCard", second.clone()).await), ["CONFLICT credentials"]);
    first["until"] = json!(at("10:00"));
    hub.done("saveCard", first).await;
    hub.done("saveCard", second.clone()).await;
    // Given to the wrong student: it never was valid there, and is free for the right one.
    let mut void = second;
    void["until"] = json!(at("09:59"));
    assert_eq!(refusals(&hub.write("saveCard", void.clone()).await), ["INVALID until"]);
    void["until"] = void["from"].clone();
    hub.done("saveCard", void).await;
    let right = json!({"code": "K8", "student": number(0), "from": at("10:00"), "credentials": credentials});
    hub.done("saveCard", right).await;
}

#[tokio::test]
async fn a_bulk_beyond_the_limit_is_an_error_and_saves_nothing() {
    let hub = TestHub::start().await;
    let courses: Vec<Value> = (0..10_001).map(|n| json!({"code": format!("C{n}"), "title": "T"})).collect();
    let query = "mutation($input: SaveCoursesInput!) { saveCourses(input: $input) { saved } }";
    let (_, body) = hub.post(Some(&hub.integration), query, json!({"input": {"courses": courses}})).await;
    assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
    let courses = &courses[..10_000];
    let data = hub.data(&hub.integration, query, json!({"input": {"courses": courses}})).await;
    assert_eq!(data["saveCourses"]["saved"], 10_000);
    assert_eq!(hub.read("{ courses { totalCount } }").await["courses"]["totalCount"], 10_000);
}

/// Walks a connection to its end; gives the pages' rows.
async fn walk(hub: &TestHub, field: &str, node: &str, size: usize, forwards: bool) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let arguments =
            if forwards { format!("first: {size} {cursor}") } else { format!("last: {size} {cursor}") };
        let query = field.replace("ARGS", &arguments);
        let (open, close) = (query.matches('{').count(), query.matches('}').count());
        let query = format!(
            "{query} {{ nodes {{ {node} }} edges {{ cursor }}
                pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} {}",
            "}".repeat(open - close)
        );
        let mut data = hub.read(&query).await;
        let connection = loop {
            if data.get("pageInfo").is_some() {
                break data;
            }
            data = data.as_object_mut().unwrap().values_mut().next().unwrap().take();
        };
        let leaf = |mut value: &Value| {
            while let Some(inner) = value.as_object().and_then(|map| map.values().next()) {
                value = inner;
            }
            value.as_str().unwrap().to_owned()
        };
        pages.push(connection["nodes"].as_array().unwrap().iter().map(leaf).collect());
        let info = &connection["pageInfo"];
        let edges = connection["edges"].as_array().unwrap();
        assert_eq!(info["startCursor"], edges.first().map_or(Value::Null, |edge| edge["cursor"].clone()));
        assert_eq!(info["endCursor"], edges.last().map_or(Value::Null, |edge| edge["cursor"].clone()));
        let (more, behind) =
            if forwards { ("hasNextPage", "hasPreviousPage") } else { ("hasPreviousPage", "hasNextPage") };
        assert_eq!(info[behind], pages.len() > 1);
        if info[more] == false {
            return pages;
        }
        cursor = if forwards {
            format!("after: {}", info["endCursor"])
        } else {
            format!("before: {}", info["startCursor"])
        };
    }
}

#[tokio::test]
async fn pages_walked_either_way_show_every_row_once() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 23, 23).await;
    // Several start at the same instant: the id must break the tie.
    let sessions: Vec<Value> =
        (0..23).map(|n| session(&format!("X{n:02}"), &format!("{:02}:00", 9 + n / 6), "20:00")).collect();
    hub.done("saveSessions", json!({"sessions": sessions})).await;
    let mut other = session("OTHER", "09:00", "10:00");
    other["rooms"] = json!(["R2"]);
    hub.done("saveSession", other).await;
    let room = hub.read("{ room(by: {code: \"R1\"}) { id } }").await["room"]["id"].clone();
    let filter = |from: &str, until: &str| {
        format!(
            "{{ sessions(filter: {{roomIds: [{room}], startsIn: {{from: \"{from}\", until: \"{until}\"}}}}, ARGS)"
        )
    };
    let lists = [
        (filter(&at("09:00"), &at("13:00")), "externalId", 23),
        (filter(&at("10:00"), &at("12:00")), "externalId", 12),
        ("{ students(ARGS)".to_owned(), "number", 23),
        ("{ students(orderBy: {field: NUMBER, direction: DESC}, ARGS)".to_owned(), "number", 23),
        ("{ session(by: {externalId: \"X00\"}) { register { entries(ARGS)".to_owned(), "student { number }", 23),
        (
            "{ session(by: {externalId: \"X00\"}) { register { entries(orderBy: {field: STUDENT_NUMBER, direction: DESC}, ARGS)"
                .to_owned(),
            "student { number }",
            23,
        ),
        ("{ attendance(filter: {statuses: [EXPECTED]}, orderBy: {field: UPDATED_AT}, ARGS)".to_owned(), "id", 23 * 24),
        ("{ group(by: {code: \"G\"}) { members(ARGS)".to_owned(), "student { number }", 23),
    ];
    for (field, node, count) in lists {
        let size = if count > 100 { 97 } else { 5 };
        let whole: Vec<String> = walk(&hub, &field, node, 200, true).await.concat().into_iter().collect();
        assert_eq!(whole.len(), count, "{field}");
        let mut distinct = whole.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), count, "{field}");
        assert_eq!(walk(&hub, &field, node, size, true).await.concat(), whole, "{field}");
        let mut backwards = walk(&hub, &field, node, size, false).await;
        backwards.reverse();
        assert_eq!(backwards.concat(), whole, "{field}");
    }
    let wrong = ["first: 0", "first: 201", "last: -1", "first: 1, last: 1", "after: \"x\"", "before: \"\""];
    for arguments in wrong {
        let query = format!("{{ sessions({arguments}) {{ nodes {{ id }} }} }}");
        let (_, body) = hub.post(Some(&hub.integration), &query, json!({})).await;
        assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{arguments}");
    }
    // Nor a place in another list, or in this one by another order.
    let started = async |list: &str| {
        let page = hub.read(&format!("{{ {list} {{ pageInfo {{ endCursor }} }} }}")).await;
        page.as_object().unwrap().values().next().unwrap()["pageInfo"]["endCursor"].clone()
    };
    let (by_name, by_number) =
        (started("students(first: 2)").await, started("students(first: 2, orderBy: {field: NUMBER})").await);
    for (list, cursor, taken) in [
        ("students(orderBy: {field: NUMBER}, after: CURSOR)", &by_name, false),
        ("students(orderBy: {field: NUMBER}, after: CURSOR)", &by_number, true),
        ("students(orderBy: {field: NAME, direction: DESC}, before: CURSOR)", &by_name, true),
        ("sessions(before: CURSOR)", &by_name, false),
    ] {
        let query = format!("{{ {} {{ nodes {{ id }} }} }}", list.replace("CURSOR", &cursor.to_string()));
        let (_, body) = hub.post(Some(&hub.integration), &query, json!({})).await;
        let code = body["errors"][0]["extensions"]["code"].as_str();
        assert_eq!(code, (!taken).then_some("BAD_USER_INPUT"), "{query} {body}");
    }
}

#[tokio::test]
async fn a_row_that_goes_between_two_pages_neither_repeats_nor_hides_others() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 6, 6).await;
    hub.done("saveSession", session("X", "10:00", "11:00")).await;
    let page = |cursor: &str| {
        format!(
            "{{ session(by: {{externalId: \"X\"}}) {{ register {{ entries(first: 2{cursor}) {{
                nodes {{ student {{ number }} }} pageInfo {{ endCursor }} }} }} }} }}"
        )
    };
    let first = hub.read(&page("")).await["session"]["register"]["entries"].take();
    let gone = json!({"group": "G", "student": number(1), "from": "2026-09-21", "until": "2026-09-30"});
    hub.done("saveMembership", gone).await;
    let next = format!(", after: {}", first["pageInfo"]["endCursor"]);
    let second = hub.read(&page(&next)).await["session"]["register"]["entries"].take();
    let wanted = json!([{"student": {"number": "S00002"}}, {"student": {"number": "S00003"}}]);
    assert_eq!(second["nodes"], wanted);
}

#[tokio::test]
async fn any_object_is_found_by_its_global_id_and_a_foreign_id_is_null() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    hub.done("saveSession", session("X", "10:00", "11:00")).await;
    let mut gateway = Gateway::start(&hub, "GW").await;
    let swipe = gateway.swipe(0, 0, &at("09:45"), &[]);
    gateway.submit(&hub, &[swipe], &at("09:50")).await;
    let data = hub
        .read(
            "{ buildings { id rooms { id readers { id } } gateways { id } }
               students { nodes { id cards { id } groups { nodes { id group { id course { id } } } } } }
               sessions { nodes { id register { id entries { nodes { id } } } } } swipes { nodes { id } } }",
        )
        .await;
    let mut ids = Vec::new();
    let mut waiting = vec![&data];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(map) => {
                ids.extend(map.get("id").cloned());
                waiting.extend(map.values());
            }
            Value::Array(list) => waiting.extend(list),
            _ => {}
        }
    }
    let mut kinds = Vec::new();
    for id in &ids {
        let node = hub.read(&format!("{{ node(id: {id}) {{ __typename id }} }}")).await["node"].take();
        assert_eq!(&node["id"], id);
        kinds.push(node["__typename"].as_str().unwrap().to_owned());
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 13, "{kinds:?}");
    for id in ["", "x", "stu_", "stu_00000000000000000000000000000000", "bld_zz"] {
        assert_eq!(hub.read(&format!("{{ node(id: \"{id}\") {{ id }} }}")).await["node"], Value::Null);
    }
}

#[test]
fn schema_graphql_is_what_the_hub_exports() {
    let kept = include_str!("../../schema.graphql");
    assert!(kept == graphql::sdl(), "schema.graphql is old: rollcall-hub schema > schema.graphql");
}

#[tokio::test]
async fn everything_in_the_schema_says_what_it_is() {
    let hub = TestHub::start().await;
    let query = "{ __schema { types { name kind description
        fields(includeDeprecated: true) { name description args { name description } }
        inputFields { name description } enumValues { name description } } } }";
    let data = hub.read(query).await;
    let mut silent = Vec::new();
    let says = |thing: &Value| thing["description"].as_str().is_some_and(|text| !text.trim().is_empty());
    for kind in data["__schema"]["types"].as_array().unwrap() {
        let name = kind["name"].as_str().unwrap();
        let builtin = ["Boolean", "Float", "ID", "Int", "String"].contains(&name);
        if name.starts_with("__") || builtin {
            continue;
        }
        if !says(kind) {
            silent.push(name.to_owned());
        }
        for list in ["fields", "inputFields", "enumValues"] {
            for part in kind[list].as_array().into_iter().flatten() {
                let place = format!("{name}.{}", part["name"].as_str().unwrap());
                if !says(part) {
                    silent.push(place.clone());
                }
                for argument in part["args"].as_array().into_iter().flatten().filter(|it| !says(it)) {
                    silent.push(format!("{place}({})", argument["name"].as_str().unwrap()));
                }
            }
        }
    }
    assert_eq!(silent, [""; 0]);
}

#[tokio::test]
async fn students_are_found_by_name_and_number_whatever_the_case_and_whatever_stands_in_them() {
    let hub = TestHub::start().await;
    let students = [("X_1", "Élodie Ångström"), ("X21", "Ann O'Neill"), ("50%", "Bob de Vries")];
    let students = students.map(|(number, name)| json!({"number": number, "name": name}));
    hub.done("saveStudents", json!({"students": students})).await;
    let found = async |search: &str| -> Vec<String> {
        let query = format!("{{ students(filter: {{search: \"{search}\"}}) {{ nodes {{ number }} }} }}");
        let found = hub.read(&query).await["students"]["nodes"].take();
        found.as_array().unwrap().iter().map(|it| it["number"].as_str().unwrap().to_owned()).collect()
    };
    for (search, wanted) in [
        ("élodie", "X_1"),
        ("Élodie", "X_1"),
        ("ÅNGSTRÖM", "X_1"),
        ("x_1", "X_1"),
        ("%", "50%"),
        ("o'neill", "X21"),
        ("DE V", "50%"),
    ] {
        assert_eq!(found(search).await, [wanted], "{search}");
    }
    assert_eq!(found("_").await, ["X_1"]);
    assert_eq!(found("nobody").await, Vec::<String>::new());
}
