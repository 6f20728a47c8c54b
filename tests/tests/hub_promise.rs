//! What keeps the promise at the hub: outages, lost gateways, restores and uncertain times.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::hub::{at, ms};
use rollcall_tests::timetable::{Gateway, alerts, class, is, journal, register, send, session};
use serde_json::{Value, json};
use uuid::Uuid;

const BEAT: &str = "gatewayHeartbeat handedOver { through } problems";

fn outage(number: u128, reader: Option<&Value>, cause: &str, from: &str, until: Option<&str>) -> Value {
    json!({"outageId": Uuid::from_u128(number), "readerId": reader, "cause": cause, "from": at(from),
           "until": until.map(at)})
}

/// Those of a gateway that were in force at some time from 09:30 until 10:00.
const OUTAGES: &str = "{ gateways { nodes { outages(filter: {during: {from: \"2026-10-05T09:30:00Z\", \
    until: \"2026-10-05T10:00:00Z\"}, causes: [READER_UNREACHABLE]}) { nodes { from until cause reader { id } } } } } }";

#[tokio::test]
async fn nobody_is_absent_where_the_door_could_not_record_for_more_than_ten_minutes_of_the_window() {
    for (until, wanted) in [("09:50", "ABSENT"), ("09:51", "NO_REGISTER")] {
        let (hub, mut gateway, held) = class().await;
        let door = gateway.config["readers"][0]["readerId"].clone();
        hub.clock.set(&at("12:00"));
        let swipe = gateway.swipe(0, 0, &at("10:01"), &[&held]);
        // It began before the window, was told when it began, and ended in it.
        let began = outage(1, Some(&door), "READER_UNREACHABLE", "09:40", None);
        send(&hub, &gateway, &[], &at("09:45"), json!({"outages": [began]})).await;
        let ended = outage(1, Some(&door), "READER_UNREACHABLE", "09:40", Some(until));
        let elsewhere = outage(
            2,
            Some(&gateway.config["readers"][1]["readerId"]),
            "READER_UNREACHABLE",
            "09:00",
            Some("09:29"),
        );
        send(&hub, &gateway, &[swipe], &at("12:00"), json!({"outages": [ended, elsewhere]})).await;
        let state = if wanted == "ABSENT" { "FINAL" } else { "NO_REGISTER" };
        assert_eq!(register(&hub, "X").await, is(state, &["PRESENT", wanted]), "until {until}");
        let told = hub.read(OUTAGES).await["gateways"]["nodes"][0]["outages"]["nodes"].take();
        assert_eq!(told.as_array().unwrap().len(), 1, "the other ended before: {told}");
        let [from, to] = ["from", "until"].map(|end| ms(told[0][end].as_str().unwrap()));
        assert_eq!((from, to), (ms(&at("09:40")), ms(&at(until))));
        assert_eq!(
            (&told[0]["cause"], &told[0]["reader"]["id"].is_string()),
            (&json!("READER_UNREACHABLE"), &true)
        );
    }
}

#[tokio::test]
async fn an_outage_that_is_learnt_of_late_takes_absences_back() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("12:00")).await;
    assert_eq!(register(&hub, "X").await, is("FINAL", &["ABSENT", "ABSENT"]));
    let down = outage(1, None, "GATEWAY_DOWN", "10:00", Some("10:30"));
    send(&hub, &gateway, &[], &at("12:00"), json!({"outages": [down]})).await;
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
}

#[tokio::test]
async fn an_outage_whose_end_is_learnt_of_late_gives_back_what_lay_behind_it() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    // A start without time: nobody can say when it was over.
    let down = outage(1, None, "GATEWAY_DOWN", "08:00", None);
    send(&hub, &gateway, &[], &at("12:00"), json!({"outages": [down]})).await;
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
    let over = outage(1, None, "GATEWAY_DOWN", "08:00", Some("09:00"));
    send(&hub, &gateway, &[], &at("12:00"), json!({"outages": [over]})).await;
    assert_eq!(register(&hub, "X").await, is("FINAL", &["ABSENT", "ABSENT"]));
}

#[tokio::test]
async fn where_greens_may_be_lost_no_tolerance_holds_and_an_alert_says_so() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("10:20")).await;
    // A new card, and nobody there knows what was before: the hub does.
    let mut lost = outage(1, None, "STORAGE_LOST", "10:00", Some("10:21"));
    lost["from"] = Value::Null;
    send(&hub, &gateway, &[], &at("12:00"), json!({"outages": [lost]})).await;
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
    assert_eq!(alerts(&hub).await, ["SWIPES_LOST"]);
}

#[tokio::test]
async fn the_first_start_of_a_gateway_is_no_loss_and_nobody_was_absent_before_it() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    let mut fresh = outage(1, None, "STORAGE_LOST", "10:00", Some("10:50"));
    fresh["from"] = Value::Null;
    send(&hub, &gateway, &[], &at("12:00"), json!({"outages": [fresh]})).await;
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
    assert_eq!(alerts(&hub).await, [""; 0]);
}

#[tokio::test]
async fn the_first_start_of_a_gateway_is_no_loss_either_where_its_end_is_told_later() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    let mut fresh = outage(1, None, "STORAGE_LOST", "10:00", None);
    fresh["from"] = Value::Null;
    send(&hub, &gateway, &[], &at("12:00"), json!({"outages": [fresh]})).await;
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
    // By now the gateway has a watermark, which is no beginning of anything.
    fresh["until"] = json!(at("09:20"));
    send(&hub, &gateway, &[], &at("12:00"), json!({"outages": [fresh]})).await;
    assert_eq!(register(&hub, "X").await, is("FINAL", &["ABSENT", "ABSENT"]));
    assert_eq!(alerts(&hub).await, [""; 0]);
}

#[tokio::test]
async fn a_reader_hung_later_takes_no_past_register_over() {
    let (hub, gateway, _) = class().await;
    hub.done("saveRooms", json!({"rooms": [{"code": "R9", "building": "A"}]})).await;
    let mut held = session("P", "09:40", "10:40");
    held["rooms"] = json!(["R9"]);
    let mut both = session("B", "09:40", "10:40");
    both["rooms"] = json!(["R1", "R9"]);
    hub.done("saveSessions", json!({"sessions": [held, both]})).await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("12:00")).await;
    let none = is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]);
    assert_eq!(register(&hub, "P").await, none);
    assert_eq!(register(&hub, "B").await, none, "one of its two doors had no reader");
    let door = json!({"code": "D9", "gateway": "GW", "room": "R9", "kind": "OSDP"});
    hub.done("saveReaders", json!({"readers": [door]})).await;
    gateway.heartbeat(&hub, &at("12:00")).await;
    assert_eq!(register(&hub, "P").await, none);
    // Nor does a door that loses its reader lose the register that was taken at it.
    let moved = json!({"code": "D1", "gateway": "GW", "room": "R9", "kind": "OSDP"});
    hub.done("saveReaders", json!({"readers": [moved]})).await;
    hub.done(
        "saveMemberships",
        json!({"memberships": [{"group": "G", "student": "S00002", "from": "2026-09-21"}]}),
    )
    .await;
    assert_eq!(register(&hub, "X").await, is("FINAL", &["ABSENT", "ABSENT", "ABSENT"]));
}

#[tokio::test]
async fn a_clock_that_is_years_ahead_finishes_nothing() {
    let (hub, gateway, _) = class().await;
    gateway.heartbeat(&hub, "2036-10-05T09:00:00Z").await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("10:59")).await;
    assert_eq!(register(&hub, "X").await, is("SETTLING", &["EXPECTED", "EXPECTED"]));
}

#[tokio::test]
async fn a_hub_that_has_less_than_the_gateway_believes_takes_no_watermark_and_says_what_it_has() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let swipes: Vec<Value> = (0..2).map(|it| gateway.swipe(it, 0, &at("10:01"), &[&held])).collect();
    let first = send(&hub, &gateway, &swipes[..1], &at("10:10"), json!({"journal": journal(None, 1)})).await;
    assert_eq!(
        first["handedOver"],
        json!([{"journalId": Uuid::from_u128(7), "through": 1, "chain": format!("{:064x}", 1)}])
    );
    // As after a restore: the gateway believes that 5 records are there.
    let mut beat = json!({
        "sentAt": at("12:00"), "watermark": at("12:00"), "clock": {"trust": "SYNCED", "source": "NTP"}, "backlog": 0,
        "cacheCursor": gateway.cursor, "cacheAge": "PT1S", "softwareVersion": "test", "readers": [],
        "journals": [{"journalId": Uuid::from_u128(7), "after": 5, "through": 5}],
    });
    let answer = hub.write_as(&gateway.token, BEAT, beat.clone()).await;
    assert_eq!(answer["handedOver"], json!([{"through": 1}]));
    // It has nothing more to hand over and claims more than is here: a person should know.
    let held_back =
        |answer: &Value| answer["problems"].as_array().unwrap().contains(&json!("RECORDS_HELD_BACK"));
    assert!(held_back(&answer), "{answer}");
    assert_eq!(register(&hub, "X").await, is("SETTLING", &["PRESENT", "EXPECTED"]));
    // A batch that begins behind a gap is kept, and finishes nothing either.
    let gap = send(&hub, &gateway, &swipes[1..], &at("12:00"), json!({"journal": journal(Some(5), 6)})).await;
    assert_eq!(gap["handedOver"][0]["through"], 1);
    assert_eq!(register(&hub, "X").await, is("SETTLING", &["PRESENT", "PRESENT"]));
    let all = send(&hub, &gateway, &swipes, &at("12:00"), json!({"journal": journal(Some(1), 6)})).await;
    assert_eq!(all["receipts"], json!([{"outcome": "DUPLICATE"}, {"outcome": "DUPLICATE"}]));
    assert_eq!(all["handedOver"][0]["through"], 6);
    assert_eq!(register(&hub, "X").await, is("FINAL", &["PRESENT", "PRESENT"]));
    beat["journals"][0] = json!({"journalId": Uuid::from_u128(7), "after": 6, "through": 6});
    let answer = hub.write_as(&gateway.token, BEAT, beat).await;
    assert_eq!(answer["handedOver"], json!([{"through": 6}]));
    assert!(!held_back(&answer), "{answer}");
}

#[tokio::test]
async fn a_number_with_another_body_asks_for_another_journal_and_the_same_facts_elsewhere_are_the_same_swipe()
{
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let first = gateway.swipe(0, 0, &at("10:01"), &[&held]);
    let mut other = gateway.swipe(1, 0, &at("10:02"), &[&held]);
    other["sequence"] = first["sequence"].clone();
    let mut moved = first.clone();
    (moved["journalId"], moved["sequence"]) = (json!(Uuid::from_u128(8)), json!(77));
    moved["chain"] = json!(format!("{:064x}", 99));
    let sent = send(&hub, &gateway, &[first, moved], &at("10:10"), json!({})).await;
    assert_eq!(sent["receipts"], json!([{"outcome": "STORED"}, {"outcome": "DUPLICATE"}]));
    assert_eq!(sent["renewJournal"], false);
    let clash = send(&hub, &gateway, &[other], &at("10:10"), json!({})).await;
    assert_eq!((&clash["receipts"], &clash["renewJournal"]), (&json!([{"outcome": "STORED"}]), &json!(true)));
    assert_eq!(alerts(&hub).await, ["SWIPE_CLASH"]);
}

/// A swipe ten minutes after its machine's start, of which nobody knows when that was.
fn unknown(mut swipe: Value) -> Value {
    swipe["latestAt"] = json!("2100-01-01T00:00:00Z");
    swipe["clockTrust"] = json!("UNTRUSTED");
    swipe["sinceBoot"] = json!("PT10M");
    (swipe["decision"], swipe["reason"], swipe["light"]) =
        (json!("PENDING"), json!("CLOCK_UNTRUSTED"), json!("AMBER"));
    swipe
}

#[tokio::test]
async fn a_swipe_of_an_unknown_time_counts_where_it_may_have_been_until_an_anchor_dates_it() {
    let (hub, mut gateway, _) = class().await;
    hub.done("saveSessions", json!({"sessions": [session("L", "14:00", "15:00")]})).await;
    hub.clock.set(&at("12:00"));
    let swipe = unknown(gateway.swipe(0, 0, &at("09:10"), &[]));
    send(&hub, &gateway, &[swipe], &at("09:10"), json!({})).await;
    // It may have been at X's window, and cannot have been after it came in: L is untouched.
    assert_eq!(register(&hub, "X").await.1, ["PRESENT", "EXPECTED"]);
    assert_eq!(register(&hub, "L").await.1, ["EXPECTED", "EXPECTED"]);
    let read = "{ swipes { nodes { earliestAt latestAt decision } } }";
    let anchor = |since: &str, time: &str| {
        json!({"anchors": [{"bootId": Uuid::from_u128(9), "sinceBoot": since, "at": at(time), "error": "PT0.02S",
                            "source": "HUB"}]})
    };
    // The machine learns the time two hours later: it was 09:20, before the window.
    send(&hub, &gateway, &[], &at("09:10"), anchor("PT2H10M", "11:20")).await;
    let node = hub.read(read).await["swipes"]["nodes"][0].take();
    assert_eq!(ms(node["earliestAt"].as_str().unwrap()), ms(&at("09:20")));
    assert_eq!((&node["latestAt"], &node["decision"]), (&node["earliestAt"], &json!("NOT_RECORDED")));
    assert_eq!(register(&hub, "X").await.1, ["EXPECTED", "EXPECTED"]);
}

#[tokio::test]
async fn what_one_anchor_dates_is_dated_piece_by_piece_however_often_the_gateway_hangs_up() {
    const MANY: usize = 2_500;
    let (hub, mut gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    let swipes: Vec<Value> = (0..MANY).map(|_| unknown(gateway.swipe(0, 0, &at("09:10"), &[]))).collect();
    for some in swipes.chunks(1_000) {
        send(&hub, &gateway, some, &at("09:10"), json!({})).await;
    }
    assert_eq!(register(&hub, "X").await.1, ["PRESENT", "EXPECTED"]);
    let dated = async || {
        let read = "{ swipes(first: 1, filter: {decisions: [NOT_RECORDED]}) { totalCount } }";
        hub.read(read).await["swipes"]["totalCount"].as_u64().unwrap()
    };
    let anchor = json!({"anchors": [{"bootId": Uuid::from_u128(9), "sinceBoot": "PT2H10M", "at": at("11:20"), "error": "PT0.02S",
                                     "source": "HUB"}]});
    let noon = at("12:00");
    // A gateway hangs up after 20 s, and comes again with the same.
    let some = async {
        while dated().await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = some => {}
        _ = send(&hub, &gateway, &[], &noon, anchor.clone()) => panic!("it was all done at once"),
    }
    assert_ne!(register(&hub, "X").await.0, "FINAL");
    send(&hub, &gateway, &[], &noon, anchor).await;
    assert_eq!(dated().await, MANY as u64);
    assert_eq!(register(&hub, "X").await, is("FINAL", &["ABSENT", "ABSENT"]));
}

#[tokio::test]
async fn no_anchor_takes_a_swipe_back_to_before_its_reader_hung_anywhere() {
    let (hub, mut gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    let mut swipe = gateway.swipe(0, 0, &at("05:00"), &[]);
    swipe["earliestAt"] = json!("2020-01-01T00:00:00Z");
    (swipe["latestAt"], swipe["late"]) = (json!(at("12:00")), json!(true));
    (swipe["clockTrust"], swipe["sinceBoot"]) = (json!("HOLDOVER"), json!("PT1M"));
    send(&hub, &gateway, &[swipe], &at("05:00"), json!({})).await;
    let earliest = async || {
        let read = hub.read("{ swipes { nodes { earliestAt } } }").await;
        ms(read["swipes"]["nodes"][0]["earliestAt"].as_str().unwrap())
    };
    let hung = earliest().await;
    assert!(hung > ms("2020-01-01T00:00:00Z"), "{hung}");
    let anchor = json!({"anchors": [{"bootId": Uuid::from_u128(9), "sinceBoot": "PT10M", "at": at("12:09"), "error": "PT0.02S",
                                     "source": "HUB"}]});
    send(&hub, &gateway, &[], &at("05:00"), anchor).await;
    assert_eq!(earliest().await, hung);
}

#[tokio::test]
async fn a_swipe_that_its_reader_had_kept_is_dated_by_the_readers_clock_once_the_gateway_knows_the_time() {
    // Without a time at the gateway, and with one of a clock chip that is wrong by hours.
    for (earliest, latest, trust) in
        [("08:00", "2100-01-01T00:00:00Z".to_owned(), "UNTRUSTED"), ("05:00", at("05:00"), "HOLDOVER")]
    {
        let (hub, mut gateway, _) = class().await;
        hub.clock.set(&at("12:00"));
        // The card was read while the gateway was off: its machine started a quarter of an hour later.
        let mut swipe = gateway.swipe(0, 0, &at(earliest), &[]);
        (swipe["latestAt"], swipe["clockTrust"], swipe["late"]) = (json!(latest), json!(trust), json!(true));
        (swipe["sinceBoot"], swipe["readSinceBoot"]) = (json!("PT1M"), json!("-PT15M"));
        swipe["readError"] = json!("PT0.2S");
        (swipe["decision"], swipe["reason"], swipe["light"]) =
            (json!("PENDING"), json!("CLOCK_UNTRUSTED"), json!("AMBER"));
        send(&hub, &gateway, &[swipe], &at("05:00"), json!({})).await;
        let anchor = json!({"anchors": [{"bootId": Uuid::from_u128(9), "sinceBoot": "PT10M", "at": at("10:30"), "error": "PT0.02S",
                                         "source": "HUB"}]});
        send(&hub, &gateway, &[], &at("05:00"), anchor).await;
        let node = hub.read("{ swipes { nodes { earliestAt latestAt decision } } }").await["swipes"]["nodes"]
            [0]
        .take();
        assert_eq!(ms(node["earliestAt"].as_str().unwrap()), ms(&at("10:05")), "{node}");
        assert_eq!((&node["latestAt"], &node["decision"]), (&node["earliestAt"], &json!("RECORDED")));
        assert_eq!(register(&hub, "X").await.1, ["PRESENT", "EXPECTED"]);
    }
}

#[tokio::test]
async fn a_reader_that_was_moved_to_another_building_loses_no_green_that_it_showed_before() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("10:10"));
    let swipe = gateway.swipe(0, 0, &at("10:01"), &[&held]);
    let mut forged = gateway.swipe(1, 0, &at("10:02"), &[&held]);
    // While the gateway was away its reader was hung in another building.
    hub.done("saveBuildings", json!({"buildings": [{"code": "B", "name": "Building B"}]})).await;
    hub.done("saveRooms", json!({"rooms": [{"code": "R9", "building": "B"}]})).await;
    hub.done("saveGateways", json!({"gateways": [{"code": "GW-B", "building": "B"}]})).await;
    let moved = |code: &str| json!({"code": code, "gateway": "GW-B", "room": "R9", "kind": "OSDP"});
    hub.done("saveReaders", json!({"readers": [moved("D1"), moved("D9")]})).await;
    let elsewhere = Gateway::start(&hub, "GW-B").await;
    assert_eq!(gateway.submit(&hub, &[swipe], &at("10:10")).await, ["STORED"]);
    assert_eq!(register(&hub, "X").await.1, ["PRESENT", "EXPECTED"]);
    assert_eq!(alerts(&hub).await, Vec::<String>::new());
    // What never was at this gateway is kept, and counts for nobody.
    let other = elsewhere.config["readers"].as_array().unwrap().iter().find(|it| it["code"] == "D9").unwrap();
    (forged["readerId"], forged["roomId"]) = (other["readerId"].clone(), other["roomId"].clone());
    assert_eq!(gateway.submit(&hub, &[forged], &at("10:10")).await, ["STORED"]);
    assert_eq!(alerts(&hub).await, ["SWIPE_ELSEWHERE"]);
    assert_eq!(register(&hub, "X").await.1, ["PRESENT", "EXPECTED"]);
}

#[tokio::test]
async fn an_outage_that_nobody_can_end_is_over_once_its_reader_answers_and_nothing_more_is_to_come() {
    let (hub, gateway, _) = class().await;
    let door = gateway.config["readers"][0]["readerId"].clone();
    // Its beginning was told; then the card with the journal was lost.
    let began = outage(1, Some(&door), "READER_UNREACHABLE", "08:40", None);
    send(&hub, &gateway, &[], &at("08:45"), json!({"outages": [began]})).await;
    hub.clock.set(&at("09:04"));
    gateway.heartbeat(&hub, &at("09:04")).await;
    hub.clock.set(&at("12:00"));
    let end = async || {
        let query = "{ gateways { nodes { outages { nodes { until } } } } }";
        hub.read(query).await["gateways"]["nodes"][0]["outages"]["nodes"][0]["until"].take()
    };
    assert_eq!(end().await, Value::Null, "its end may be on its way");
    hub.clock.set(&at("09:06"));
    gateway.heartbeat(&hub, &at("09:06")).await;
    assert_eq!(ms(end().await.as_str().unwrap()), ms(&at("09:06")));
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("12:00")).await;
    assert_eq!(register(&hub, "X").await, is("FINAL", &["ABSENT", "ABSENT"]));
    // An end that is told after all is the one that holds.
    let ended = outage(1, Some(&door), "READER_UNREACHABLE", "08:40", Some("08:50"));
    send(&hub, &gateway, &[], &at("12:00"), json!({"outages": [ended]})).await;
    assert_eq!(ms(end().await.as_str().unwrap()), ms(&at("08:50")));
}
