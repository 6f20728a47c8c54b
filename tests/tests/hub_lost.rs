//! What is lost: gateways that do not come back, records that are on no disk any more, and who is not absent for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_hub::service::sweep;
use rollcall_rules::ids::hole;
use rollcall_tests::hub::{at, ms, refusals};
use rollcall_tests::timetable::{Gateway, alerts, class, is, journal, register, send};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn a_gateway_declared_lost_ends_the_waiting_and_what_it_hands_over_after_all_counts() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("10:20")).await;
    assert_eq!(register(&hub, "X").await, is("SETTLING", &["EXPECTED", "EXPECTED"]));
    let shape = "declareGatewayLost gateway { code }";
    let wrong = json!({"gateway": "NONE", "from": at("13:00"), "reason": " "});
    let refused = hub.write_as(&hub.admin, shape, wrong).await;
    assert_eq!(refusals(&refused), ["REQUIRED reason", "INVALID from", "NOT_FOUND gateway"]);
    let lost = json!({"gateway": "GW", "from": at("10:20"), "reason": "stolen"});
    let done = hub.write_as(&hub.admin, shape, lost).await;
    assert_eq!((&done["errors"], &done["gateway"]["code"]), (&json!([]), &json!("GW")));
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
    let swipe = gateway.swipe(0, 0, &at("10:25"), &[&held]);
    assert_eq!(gateway.submit(&hub, &[swipe], &at("12:00")).await, ["STORED"]);
    assert_eq!(register(&hub, "X").await, is("FINAL", &["PRESENT", "ABSENT"]));
}

#[tokio::test]
async fn nobody_is_absent_where_swipes_were_refused_and_nobody_knows_whose_however_short_it_was() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(0, 0, &at("10:01"), &[&held]);
    let refused = json!({"outageId": Uuid::from_u128(3), "readerId": null, "cause": "SWIPES_REFUSED",
                         "from": "2026-10-05T10:02:00Z", "until": "2026-10-05T10:02:02Z"});
    send(&hub, &gateway, &[swipe], &at("12:00"), json!({"outages": [refused]})).await;
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["PRESENT", "NO_REGISTER"]));
    assert_eq!(alerts(&hub).await, ["SWIPES_REFUSED"]);
}

#[tokio::test]
async fn a_gateway_that_came_back_after_it_was_declared_lost_is_awaited_again() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("09:10"));
    let lost = json!({"gateway": "GW", "from": at("09:05"), "reason": "burnt"});
    hub.write_as(&hub.admin, "declareGatewayLost", lost).await;
    hub.clock.set(&at("09:20"));
    gateway.heartbeat(&hub, &at("09:20")).await;
    // It went silent again: nobody declared anything of that.
    hub.clock.set(&at("12:00"));
    assert_eq!(register(&hub, "X").await, is("SETTLING", &["EXPECTED", "EXPECTED"]));
    // Now somebody does, from the same instant on.
    let lost = json!({"gateway": "GW", "from": at("09:05"), "reason": "burnt again"});
    assert_eq!(hub.write_as(&hub.admin, "declareGatewayLost", lost).await["errors"], json!([]));
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
}

#[tokio::test]
async fn a_journal_of_which_a_restored_hub_never_knew_is_missed_where_its_beginning_was_dropped() {
    for (begins, missed) in [(0, true), (1, true), (5, false)] {
        let (hub, mut gateway, held) = class().await;
        hub.clock.set(&at("09:10"));
        gateway.heartbeat(&hub, &at("09:10")).await;
        hub.clock.set(&at("12:00"));
        let swipe = gateway.swipe(0, 0, &at("10:50"), &[&held]);
        let mut later = journal(None, 13);
        (later["first"], later["begins"]) = (json!(5), json!(begins));
        send(&hub, &gateway, &[swipe], &at("12:00"), json!({"journal": later})).await;
        let alerts = alerts(&hub).await;
        assert_eq!(alerts.contains(&"RECORDS_MISSING".to_owned()), missed, "{begins}: {alerts:?}");
        let wanted = if missed {
            is("NO_REGISTER", &["PRESENT", "NO_REGISTER"])
        } else {
            is("FINAL", &["PRESENT", "ABSENT"])
        };
        assert_eq!(register(&hub, "X").await, wanted, "{begins}");
    }
}

#[tokio::test]
async fn registers_of_later_sessions_do_not_wait_for_a_gateway_that_was_declared_lost_before_they_began() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("08:50"));
    gateway.heartbeat(&hub, &at("08:50")).await;
    hub.clock.set(&at("08:56"));
    let lost = json!({"gateway": "GW", "from": at("08:55"), "reason": "stolen"});
    hub.write_as(&hub.admin, "declareGatewayLost", lost).await;
    hub.clock.set(&at("12:00"));
    sweep::sweep(&hub.running.hub).await.unwrap();
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
}

#[tokio::test]
async fn records_that_are_on_no_disk_any_more_are_told_of_and_nobody_is_absent_for_them() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("09:10"));
    send(&hub, &gateway, &[], &at("09:10"), json!({"journal": journal(None, 1)})).await;
    // A backup from then was restored long after: what followed was handed over, and dropped since.
    hub.clock.set(&at("12:00"));
    let swipe = gateway.swipe(0, 0, &at("10:50"), &[&held]);
    let mut later = journal(Some(1), 13);
    later["first"] = json!(5);
    let sent = send(&hub, &gateway, &[swipe], &at("12:00"), json!({"journal": later})).await;
    assert_eq!(sent["handedOver"][0]["through"], 13);
    assert_eq!(alerts(&hub).await, ["RECORDS_MISSING"]);
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["PRESENT", "NO_REGISTER"]));
    // The next in order is no news.
    let mut next = journal(Some(13), 14);
    next["first"] = json!(14);
    send(&hub, &gateway, &[], &at("12:00"), json!({"journal": next})).await;
    assert_eq!(alerts(&hub).await, ["RECORDS_MISSING"]);
}

#[tokio::test]
async fn of_a_hole_that_the_gateway_knows_no_more_is_given_up_than_it_says() {
    // Also where the hub has another journal of that name, and this one is noted under another.
    for forked in [false, true] {
        let named = |mut journal: Value| {
            if forked {
                (journal["journalId"], journal["forkOf"]) =
                    (json!(Uuid::from_u128(8)), json!(Uuid::from_u128(7)));
            }
            json!({"journal": journal})
        };
        let (hub, mut gateway, held) = class().await;
        hub.clock.set(&at("09:10"));
        send(&hub, &gateway, &[], &at("09:10"), named(journal(None, 4))).await;
        // It had no network since; of what it hands over now, records 5 to 7 were torn by a power cut.
        hub.clock.set(&at("12:00"));
        let swipe = gateway.swipe(0, 0, &at("10:50"), &[&held]);
        let mut later = journal(Some(4), 13);
        later["first"] = json!(8);
        send(&hub, &gateway, &[swipe], &at("09:10"), named(later)).await;
        // The hub alone knows only that it was since the last watermark.
        assert_eq!(register(&hub, "X").await, is("SETTLING", &["PRESENT", "EXPECTED"]));
        let told = json!({"outageId": hole(Uuid::from_u128(7), 8), "readerId": null, "cause": "JOURNAL_DAMAGED",
                          "from": at("09:20"), "until": at("09:25")});
        let mut last = named(journal(Some(13), 14));
        last["outages"] = json!([told]);
        send(&hub, &gateway, &[], &at("12:00"), last).await;
        assert_eq!(register(&hub, "X").await, is("FINAL", &["PRESENT", "ABSENT"]), "{forked}");
    }
}

#[tokio::test]
async fn a_gateway_may_be_declared_lost_from_an_instant_before_it_was_last_heard_of() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("10:30"));
    gateway.heartbeat(&hub, &at("10:20")).await;
    // That it reported until 10:20 nobody knows by heart, and it is no coming back.
    let lost = json!({"gateway": "GW", "from": at("10:05"), "reason": "stolen around ten"});
    let done = hub.write_as(&hub.admin, "declareGatewayLost", lost).await;
    assert_eq!(done["errors"], json!([]));
    hub.clock.set(&at("12:00"));
    sweep::sweep(&hub.running.hub).await.unwrap();
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
}

#[tokio::test]
async fn a_card_that_was_put_back_from_an_image_takes_no_register_away_that_the_hub_has() {
    let down = |gateway: &Gateway, code: &str, from: &str, until: Option<&str>| {
        let reader = gateway.config["readers"].as_array().unwrap().iter().find(|it| it["code"] == code);
        json!({"outages": [{"outageId": Uuid::from_u128(5), "readerId": reader.unwrap()["readerId"],
                            "cause": "GATEWAY_DOWN", "from": from, "until": until.map(at)}]})
    };
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("12:00")).await;
    let taken = is("FINAL", &["ABSENT", "ABSENT"]);
    assert_eq!(register(&hub, "X").await, taken);
    // It runs again at 13:00, and says that it last ran when the image was made.
    hub.clock.set(&at("13:00"));
    for until in [None, Some("13:00")] {
        let told = down(&gateway, "D1", &at("08:30"), until);
        send(&hub, &gateway, &[], &at("12:00"), told).await;
        assert_eq!(register(&hub, "X").await, taken);
    }
    // But a reader that the hub hung at the door since, and of which it had not heard, it did not serve.
    let (hub, mut gateway, _) = class().await;
    hub.clock.set(&at("09:30"));
    let reader =
        |code: &str, room: &str| json!({"code": code, "gateway": "GW", "room": room, "kind": "OSDP"});
    hub.done("saveReaders", json!({"readers": [reader("D1", "R2"), reader("D3", "R1")]})).await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("12:00")).await;
    assert_eq!(register(&hub, "X").await, taken);
    gateway.refresh(&hub).await;
    send(&hub, &gateway, &[], &at("12:00"), down(&gateway, "D3", &at("09:25"), None)).await;
    assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
}

#[tokio::test]
async fn nobody_is_absent_for_a_green_that_went_with_a_card_that_was_put_back_from_an_image() {
    // Eight minutes without a gateway are no reason to give a register up, unless it had run in them and nobody has its swipes.
    for (forked, image, alone, ends, wanted) in [
        (true, "08:30", false, "10:58", is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"])),
        (true, "08:30", true, "10:58", is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"])),
        // Its clock stands where it stood when the image was made.
        (true, "08:30", false, "08:30", is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"])),
        (false, "08:30", false, "10:58", is("FINAL", &["ABSENT", "ABSENT"])),
        // Its outages are its own, where only the hub's record of its journal differs.
        (true, "10:51", false, "10:58", is("FINAL", &["ABSENT", "ABSENT"])),
    ] {
        let (hub, gateway, _) = class().await;
        hub.clock.set(&at("10:50"));
        gateway.heartbeat(&hub, &at("10:50")).await;
        hub.clock.set(&at("12:00"));
        let readers = gateway.config["readers"].as_array().unwrap();
        let readers: Vec<Value> = match alone {
            true => vec![Value::Null],
            false => readers.iter().map(|reader| reader["readerId"].clone()).collect(),
        };
        for until in [None, Some(ends)] {
            let down = readers.iter().zip(1..).map(|(reader, number)| {
                json!({"outageId": Uuid::from_u128(number), "readerId": reader,
                       "cause": "GATEWAY_DOWN", "from": at(image), "until": until.map(at)})
            });
            let mut told = json!({"outages": down.collect::<Vec<_>>(), "journal": journal(None, 4)});
            if forked && until.is_none() {
                told["journal"]["journalId"] = json!(Uuid::from_u128(8));
                told["journal"]["forkOf"] = json!(Uuid::from_u128(7));
            } else if forked {
                // Readers answer when it goes on under another name already.
                told["journal"]["journalId"] = json!(Uuid::from_u128(9));
            }
            let watermark = if until.is_some() { "12:00" } else { "10:50" };
            send(&hub, &gateway, &[], &at(watermark), told).await;
        }
        assert_eq!(register(&hub, "X").await, wanted, "{forked} {image}");
        let mut kinds = alerts(&hub).await;
        kinds.sort_unstable();
        let lost = forked && image == "08:30";
        let expected = [("JOURNAL_FORKED", forked), ("SWIPES_LOST", lost)];
        assert_eq!(
            kinds,
            expected.iter().filter(|(_, told)| *told).map(|(kind, _)| *kind).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_reader_that_does_not_answer_after_two_starts_was_served_until_the_hub_heard_last_all_the_same() {
    // A gateway that cannot keep when it ran says of both that it was off since long before: told of at once, or one by one.
    for together in [true, false] {
        let (hub, gateway, _) = class().await;
        let readers = gateway.config["readers"].as_array().unwrap();
        let outage = |first: u128, cause: &str, until: Option<&str>| -> Vec<Value> {
            let mine = readers.iter().zip(first..).map(|(reader, number)| {
                json!({"outageId": Uuid::from_u128(number), "readerId": reader["readerId"], "cause": cause,
                       "from": at("08:00"), "until": until.map(at)})
            });
            mine.collect()
        };
        hub.clock.set(&at("12:00"));
        gateway.heartbeat(&hub, &at("12:00")).await;
        hub.clock.set(&at("12:10"));
        let told = [
            outage(100, "GATEWAY_DOWN", None),
            outage(100, "GATEWAY_DOWN", Some("08:00")),
            outage(200, "READER_UNREACHABLE", None),
        ];
        if together {
            send(&hub, &gateway, &[], &at("12:00"), json!({"outages": told.concat()})).await;
        } else {
            for told in told {
                send(&hub, &gateway, &[], &at("12:00"), json!({"outages": told})).await;
            }
        }
        assert_eq!(register(&hub, "X").await, is("FINAL", &["ABSENT", "ABSENT"]), "{together}");
    }
}

#[tokio::test]
async fn an_end_that_is_told_late_ends_no_outage_that_came_after_it() {
    let (hub, gateway, _) = class().await;
    let reader = gateway.config["readers"][0]["readerId"].clone();
    let outage = |number: u128, from: &str, until: Option<&str>| {
        json!({"outages": [{"outageId": Uuid::from_u128(number), "readerId": reader, "cause": "READER_UNREACHABLE",
               "from": at(from), "until": until.map(at)}]})
    };
    // Of both it is said too early when they began, while the time is not known.
    for (minute, told) in [
        ("09:00", outage(1, "08:01", None)),
        ("09:01", outage(2, "08:05", None)),
        ("09:02", outage(1, "08:41", Some("08:42"))),
        ("09:03", outage(2, "08:45", None)),
    ] {
        hub.clock.set(&at(minute));
        send(&hub, &gateway, &[], &at("08:00"), told).await;
    }
    let query = "{ gateways { nodes { outages { nodes { from until } } } } }";
    let told = hub.read(query).await["gateways"]["nodes"][0]["outages"]["nodes"].take();
    let until = |from: &str| {
        let found =
            told.as_array().unwrap().iter().find(|it| ms(it["from"].as_str().unwrap()) == ms(&at(from)));
        found.unwrap()["until"].as_str().map(ms)
    };
    assert_eq!((until("08:41"), until("08:45")), (Some(ms(&at("08:42"))), None));
}

#[tokio::test]
async fn that_a_gateway_ran_since_the_image_of_its_card_is_seen_by_its_swipes_where_its_watermark_is_held_back()
 {
    for forked in [true, false] {
        let (hub, mut gateway, held) = class().await;
        let journal = |name: u128| {
            let mut journal = journal(None, 4);
            journal["journalId"] = json!(Uuid::from_u128(name));
            journal["forkOf"] = if name == 8 { json!(Uuid::from_u128(7)) } else { Value::Null };
            json!({"journal": journal})
        };
        hub.clock.set(&at("10:52"));
        let swipe = gateway.swipe(0, 0, &at("10:52"), &[&held]);
        // A record that it turned down waits since 10:40.
        send(&hub, &gateway, &[swipe], &at("10:40"), journal(7)).await;
        hub.clock.set(&at("12:00"));
        // For so short a time that by itself it proves nothing.
        for until in [None, Some("10:58")] {
            let down =
                gateway.config["readers"].as_array().unwrap().iter().zip(1..).map(|(reader, number)| {
                    json!({"outageId": Uuid::from_u128(number), "readerId": reader["readerId"],
                       "cause": "GATEWAY_DOWN", "from": at("10:50"), "until": until.map(at)})
                });
            let mut told = journal(if forked { 8 } else { 7 });
            told["outages"] = json!(down.collect::<Vec<_>>());
            send(&hub, &gateway, &[], &at(until.map_or("10:40", |_| "12:00")), told).await;
        }
        let nobody = if forked {
            is("NO_REGISTER", &["PRESENT", "NO_REGISTER"])
        } else {
            is("FINAL", &["PRESENT", "ABSENT"])
        };
        assert_eq!(register(&hub, "X").await, nobody);
        let lost = alerts(&hub).await.contains(&"SWIPES_LOST".to_owned());
        assert_eq!(lost, forked);
    }
}

#[tokio::test]
async fn an_outage_whose_end_went_with_a_card_was_over_when_the_readers_next_one_was() {
    let (hub, gateway, _) = class().await;
    let readers = gateway.config["readers"].as_array().unwrap();
    let [reader, other] = [0, 1].map(|place: usize| readers[place]["readerId"].clone());
    let outage = |number: u128, reader: &Value, from: &str, until: Option<&str>| {
        json!({"outageId": Uuid::from_u128(number), "readerId": reader, "cause": "READER_UNREACHABLE",
               "from": at(from), "until": until.map(at)})
    };
    hub.clock.set(&at("09:50"));
    let both = json!({"outages": [outage(1, &reader, "08:00", None), outage(2, &other, "08:00", None)]});
    send(&hub, &gateway, &[], &at("08:00"), both).await;
    hub.clock.set(&at("09:51"));
    // Another one of one of them only; and told once more it changes nothing.
    for _ in 0..2 {
        let next = json!({"outages": [outage(3, &reader, "08:30", None), outage(3, &reader, "08:30", Some("08:40"))]});
        send(&hub, &gateway, &[], &at("09:50"), next).await;
        let query = "{ gateways { nodes { outages { nodes { reader { code } from until } } } } }";
        let told = hub.read(query).await["gateways"]["nodes"][0]["outages"]["nodes"].take();
        let mut spans: Vec<(String, i64, Option<i64>)> = Vec::new();
        for outage in told.as_array().unwrap() {
            let [from, until] = ["from", "until"].map(|end| outage[end].as_str().map(ms));
            spans.push((outage["reader"]["code"].as_str().unwrap().to_owned(), from.unwrap(), until));
        }
        spans.sort();
        let span = |code: &str, from: &str, until: Option<&str>| {
            (code.to_owned(), ms(&at(from)), until.map(|until| ms(&at(until))))
        };
        assert_eq!(
            spans,
            [
                span("D1", "08:00", Some("08:40")),
                span("D1", "08:30", Some("08:40")),
                span("D2", "08:00", None)
            ]
        );
    }
}

#[tokio::test]
async fn an_outage_of_a_whole_gateway_whose_end_went_with_a_card_is_over_when_its_readers_answer() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("08:30"));
    let down = json!({"outageId": Uuid::from_u128(3), "readerId": null, "cause": "GATEWAY_DOWN",
                      "from": at("08:00"), "until": null});
    send(&hub, &gateway, &[], &at("08:30"), json!({"outages": [down]})).await;
    for now in ["08:40", "12:00"] {
        hub.clock.set(&at(now));
        gateway.heartbeat(&hub, &at(now)).await;
    }
    assert_eq!(register(&hub, "X").await, is("FINAL", &["ABSENT", "ABSENT"]));
}

#[tokio::test]
async fn an_image_that_was_made_while_a_reader_was_out_does_not_say_that_it_has_been_out_ever_since() {
    // Where it found damage when it started, it says of its start under another name than what it had before.
    for (start, cause) in [(8, "READER_UNREACHABLE"), (9, "READER_UNREACHABLE"), (9, "GATEWAY_DOWN")] {
        let (hub, gateway, _) = class().await;
        let reader = gateway.config["readers"][0]["readerId"].clone();
        let outage = |number: u128, cause: &str, from: &str, until: Option<&str>| {
            json!({"outageId": Uuid::from_u128(number), "readerId": reader, "cause": cause,
               "from": at(from), "until": until.map(at)})
        };
        let out = |until| outage(1, "READER_UNREACHABLE", "08:00", until);
        let off = |until| outage(2, cause, "08:10", until);
        let said = |outages: Value, name: u128| {
            let mut journal = journal(None, 4);
            journal["journalId"] = json!(Uuid::from_u128(name));
            // Under this name the hub notes what the card has of a journal of which it has more itself.
            journal["forkOf"] = if name == 8 { json!(Uuid::from_u128(7)) } else { Value::Null };
            json!({"outages": outages, "journal": journal})
        };
        hub.clock.set(&at("10:50"));
        send(&hub, &gateway, &[], &at("08:10"), said(json!([out(None)]), 7)).await;
        send(&hub, &gateway, &[], &at("10:50"), said(json!([out(Some("08:20"))]), 7)).await;
        hub.clock.set(&at("12:00"));
        // What it has is sent once more under another name: that is no news.
        send(&hub, &gateway, &[], &at("10:50"), said(json!([out(None)]), 8)).await;
        assert_eq!(alerts(&hub).await, ["JOURNAL_FORKED"]);
        // It takes the outage to have ended when the image was made, and the reader answers when it is put back.
        for _ in 0..2 {
            send(&hub, &gateway, &[], &at("10:50"), said(json!([out(Some("08:10")), off(None)]), start))
                .await;
            send(&hub, &gateway, &[], &at("12:00"), said(json!([off(Some("10:58"))]), 9)).await;
            assert_eq!(register(&hub, "X").await, is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"]));
            let query = "{ gateways { nodes { outages { nodes { cause from until } } } } }";
            let told = hub.read(query).await["gateways"]["nodes"][0]["outages"]["nodes"].take();
            let mut spans: Vec<(String, i64, i64)> = Vec::new();
            for outage in told.as_array().unwrap() {
                let [from, until] = ["from", "until"].map(|end| ms(outage[end].as_str().unwrap()));
                spans.push((outage["cause"].as_str().unwrap().to_owned(), from, until));
            }
            spans.sort();
            let span =
                |cause: &str, from: &str, until: &str| (cause.to_owned(), ms(&at(from)), ms(&at(until)));
            let mut wanted = [
                span(cause, "10:50", "10:58"),
                span("READER_UNREACHABLE", "08:00", "08:20"),
                span("STORAGE_LOST", "10:50", "10:58"),
            ];
            wanted.sort();
            assert_eq!(spans, wanted);
        }
    }
}

fn damage(number: u128, from: &str, until: &str) -> Value {
    json!({"outages": [{"outageId": Uuid::from_u128(number), "readerId": null, "cause": "JOURNAL_DAMAGED",
                        "from": at(from), "until": at(until)}]})
}

#[tokio::test]
async fn damage_to_records_that_were_handed_over_takes_no_register_away() {
    let (hub, gateway, _) = class().await;
    hub.clock.set(&at("12:00"));
    gateway.heartbeat(&hub, &at("12:00")).await;
    let taken = is("FINAL", &["ABSENT", "ABSENT"]);
    assert_eq!(register(&hub, "X").await, taken);
    send(&hub, &gateway, &[], &at("12:00"), damage(5, "10:00", "10:30")).await;
    assert_eq!(register(&hub, "X").await, taken);
    assert_eq!(alerts(&hub).await, ["JOURNAL_DAMAGED"]);
}

#[tokio::test]
async fn damage_that_reaches_beyond_what_was_handed_over_is_still_a_loss_when_it_is_told_again() {
    for (watermark, wanted) in [
        ("10:20", is("NO_REGISTER", &["NO_REGISTER", "NO_REGISTER"])),
        // X had ended by then, and so it was not in what is lost.
        ("11:10", is("FINAL", &["ABSENT", "ABSENT"])),
    ] {
        let (hub, gateway, _) = class().await;
        hub.clock.set(&at("12:00"));
        gateway.heartbeat(&hub, &at(watermark)).await;
        for _ in 0..2 {
            send(&hub, &gateway, &[], &at("12:00"), damage(5, "10:10", "11:30")).await;
            assert_eq!(register(&hub, "X").await, wanted, "{watermark}");
            assert_eq!(alerts(&hub).await, ["SWIPES_LOST"]);
        }
    }
}
