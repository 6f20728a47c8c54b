//! What gateways say of themselves at the hub, and whether the hub takes it for what follows what it took last.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::timetable::{Gateway, alerts, class, estate};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn a_heartbeat_says_what_is_wrong_and_many_at_once_are_answered() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("10:10"));
    let one = gateway.heartbeat(&hub, &at("10:10")).await;
    assert_eq!(one["latestCursor"], gateway.cursor.as_str());
    assert_eq!(one["problems"], json!([]));
    let now = at("10:10");
    let many = futures_util::future::join_all((0..12).map(|_| gateway.heartbeat(&hub, &now))).await;
    assert!(many.iter().all(|answer| answer["problems"] == json!([])));
    let query = "{ gateways { nodes { code state health { watermark problems } readers { state } } } }";
    let data = hub.read(query).await;
    let wanted = json!({"code": "GW", "state": "ONLINE", "readers": [{"state": "ONLINE"}, {"state": "ONLINE"}],
        "health": {"watermark": "2026-10-05T11:10:00.000+01:00", "problems": []}});
    assert_eq!(data["gateways"]["nodes"][0], wanted);
    hub.done("saveGateway", json!({"code": "NEW", "building": "A"})).await;
    let in_state = async |state: &str| {
        let query =
            format!("{{ gateways(filter: {{states: [{state}]}}) {{ totalCount nodes {{ code }} }} }}");
        let page = hub.read(&query).await["gateways"].take();
        let codes: Vec<String> = page["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["code"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(page["totalCount"], codes.len());
        codes
    };
    // A new gateway in its building is news that GW has not fetched yet.
    assert_eq!(in_state("DEGRADED").await, ["GW"]);
    assert_eq!(in_state("DEGRADED, AWAITING_ENROLMENT").await, ["GW", "NEW"]);
    assert_eq!(in_state("AWAITING_ENROLMENT").await, ["NEW"]);
    assert_eq!(in_state("OFFLINE, ONLINE").await, [""; 0]);
    hub.clock.set(&at("10:14"));
    let data = hub.read("{ gateway(by: {code: \"GW\"}) { state } }").await;
    assert_eq!(data["gateway"]["state"], "OFFLINE");
    assert_eq!(in_state("OFFLINE").await, ["GW"]);
}

/// A heartbeat by an id, after others: whether the hub was in step, its watermark in London, and what it calls what it took last.
async fn beat(
    hub: &TestHub,
    gateway: &Gateway,
    heartbeat: u128,
    previous: &[Uuid],
    sent_at: &str,
) -> (bool, String, Uuid) {
    let input = json!({
        "sentAt": at(sent_at), "watermark": at(sent_at), "clock": {"trust": "SYNCED", "source": "NTP"}, "backlog": 0,
        "cacheCursor": "", "cacheAge": "PT1S", "softwareVersion": "test", "readers": [],
        "heartbeatId": Uuid::from_u128(heartbeat), "previous": previous,
    });
    let payload = hub.write_as(&gateway.token, "gatewayHeartbeat inStep lastTaken", input).await;
    let data = hub.read("{ gateway(by: {code: \"GW\"}) { health { watermark } } }").await;
    let watermark = data["gateway"]["health"]["watermark"].as_str().map_or("-", |it| &it[11..16]).to_owned();
    (payload["inStep"] == true, watermark, payload["lastTaken"].as_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_hub_that_is_not_in_step_takes_no_watermark_and_one_that_hears_late_calls_alarms_nobody() {
    let (hub, gateway, _) = class().await;
    let id = Uuid::from_u128;
    let beat = async |heartbeat: u128, previous: &[Uuid], sent_at: &str| {
        hub.clock.set(&at(sent_at));
        beat(&hub, &gateway, heartbeat, previous, sent_at).await
    };
    let is = |found: (bool, String, Uuid), in_step: bool, watermark: &str| {
        assert_eq!((found.0, found.1.as_str()), (in_step, watermark));
        found.2
    };
    // It begins, and believes nothing yet.
    let one = is(beat(1, &[], "08:00").await, true, "-");
    let two = is(beat(2, &[one], "08:01").await, true, "09:01");
    // A proxy sends it again.
    assert_eq!(is(beat(2, &[one], "08:01").await, true, "09:01"), two);
    // The answer to 3 was lost.
    is(beat(3, &[two], "08:03").await, true, "09:03");
    let four = is(beat(4, &[two, id(3)], "08:04").await, true, "09:04");
    // One that was given up comes behind it, and one of an earlier start.
    assert_eq!(is(beat(9, &[two], "08:02").await, false, "09:04"), four);
    assert_eq!(is(beat(10, &[], "07:59").await, false, "09:04"), four);
    // Those say nothing of how late the next is.
    assert_eq!(is(beat(11, &[one], "08:03").await, false, "09:04"), four);
    assert_eq!(alerts(&hub).await, [""; 0]);
    // It was told of something that is not here.
    assert_eq!(is(beat(5, &[id(77)], "08:05").await, false, "09:04"), four);
    // An older gateway goes by its own ids.
    is(beat(6, &[four], "08:06").await, true, "09:06");
    is(beat(7, &[id(6)], "08:07").await, true, "09:07");
    assert_eq!(alerts(&hub).await, ["OUT_OF_STEP"]);
}

#[tokio::test]
async fn a_journal_of_which_the_hub_has_another_one_is_told_to_people_once() {
    let (hub, gateway, _) = class().await;
    let (own, beside) = (Uuid::from_u128(7), Uuid::from_u128(8));
    for _ in 0..2 {
        let input = json!({
            "sentAt": at("09:00"), "watermark": at("09:00"), "clock": {"trust": "SYNCED", "source": "NTP"}, "backlog": 0,
            "cacheCursor": "", "cacheAge": "PT1S", "softwareVersion": "test", "readers": [],
            "journals": [{"journalId": beside, "forkOf": own, "through": 0}],
        });
        let payload = hub.write_as(&gateway.token, "gatewayHeartbeat", input).await;
        assert_eq!(payload["errors"], json!([]));
        assert_eq!(alerts(&hub).await, ["JOURNAL_FORKED"]);
    }
}

#[tokio::test]
async fn a_machine_that_goes_by_another_gateways_name_now_goes_on_under_another_journal() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("09:00"));
    hub.done("saveGateway", json!({"code": "GW2", "building": "A"})).await;
    let other = Gateway::start(&hub, "GW2").await;
    let (chain, journal) = ("ab".repeat(32), Uuid::from_u128(7));
    let has = async |gateway: &Gateway, journal: Uuid| {
        let said = json!({"journalId": journal, "through": 1, "chain": chain, "after": 0, "first": 1});
        let input = json!({
            "sentAt": at("09:00"), "watermark": at("09:00"), "clock": {"trust": "SYNCED", "source": "NTP"}, "backlog": 0,
            "cacheCursor": "", "cacheAge": "PT1S", "softwareVersion": "test", "readers": [], "journals": [said],
        });
        let shape = "gatewayHeartbeat handedOver { journalId through chain }";
        hub.write_as(&gateway.token, shape, input).await["handedOver"][0].clone()
    };
    let told = |journal: Uuid, chain: &str| json!({"journalId": journal, "through": 1, "chain": chain});
    assert_eq!(has(&gateway, journal).await, told(journal, &chain));
    // The other hears of a record that it has not, and takes its own for another journal.
    assert_eq!(has(&other, journal).await, told(journal, &"00".repeat(32)));
    let own = Uuid::from_u128(8);
    assert_eq!(has(&other, own).await, told(own, &chain));
    assert_eq!(has(&gateway, journal).await, told(journal, &chain));
}

#[tokio::test]
async fn what_followed_a_gateways_first_call_once_does_not_follow_it_where_it_comes_again() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("09:00"));
    let beat = async |heartbeat: u128, previous: &[Uuid], sent_at: &str| {
        beat(&hub, &gateway, heartbeat, previous, sent_at).await
    };
    // It starts, and starts again; then the first call of the second start comes once more, as to a hub that was restored since.
    beat(1, &[], "08:00").await;
    let (_, _, word) = beat(2, &[], "08:10").await;
    beat(3, &[], "08:10").await;
    let (begins, _, other) = beat(2, &[], "08:10").await;
    assert!(begins && word != other, "{word} and {other}");
    let (in_step, watermark, _) = beat(4, &[word], "08:11").await;
    assert_eq!((in_step, watermark.as_str()), (false, "-"));
    let (in_step, watermark, _) = beat(5, &[other], "08:12").await;
    assert_eq!((in_step, watermark.as_str()), (true, "09:12"));
}

#[tokio::test]
async fn how_a_serial_line_does_is_shown_at_its_reader_until_the_next_report() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    hub.clock.set(&at("09:00"));
    let gateway = Gateway::start(&hub, "GW").await;
    let reader = gateway.config["readers"][0].clone();
    let line = json!({"sent": 100, "replies": 97, "repeats": 3, "timeouts": 2, "naks": 1, "badReplies": 0,
                      "formattedCards": 0, "replyTime": "PT0.004S"});
    let input = json!({
        "sentAt": at("09:00"), "watermark": at("09:00"), "clock": {"trust": "SYNCED", "source": "NTP"},
        "backlog": 0, "cacheCursor": "", "cacheAge": "PT1S", "softwareVersion": "test",
        "readers": [{"readerId": reader["readerId"], "online": true, "line": line}],
    });
    let payload = hub.write_as(&gateway.token, "gatewayHeartbeat", input).await;
    assert_eq!(payload["errors"], json!([]));
    let query = "{ readers { nodes { code line { sent replies repeats timeouts naks badReplies formattedCards
        replyTime } } } }";
    let told = async || {
        let found = hub.read(query).await["readers"]["nodes"].take();
        let nodes = found.as_array().unwrap().clone();
        nodes.into_iter().find(|it| it["code"] == reader["code"]).unwrap()["line"].take()
    };
    assert_eq!(told().await, line);
    let in_state = async |state: &str| {
        let query = format!("{{ readers(filter: {{states: [{state}]}}) {{ nodes {{ code state }} }} }}");
        let found = hub.read(&query).await["readers"]["nodes"].take();
        let nodes = found.as_array().unwrap().clone();
        assert!(nodes.iter().all(|node| node["state"] == state), "{nodes:?}");
        nodes.len()
    };
    let total = hub.read("{ readers { totalCount } }").await["readers"]["totalCount"].as_u64().unwrap();
    let mut counts = Vec::new();
    for state in ["ONLINE", "OFFLINE", "UNASSIGNED", "DISABLED"] {
        counts.push(in_state(state).await);
    }
    assert_eq!((counts[0], counts.iter().sum::<usize>() as u64), (1, total));
    gateway.heartbeat(&hub, &at("09:01")).await;
    assert_eq!(told().await, Value::Null);
}
