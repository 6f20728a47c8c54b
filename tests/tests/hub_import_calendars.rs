//! Calendars as imports: what a feed moves, calls off and takes up again, and what of the past and of people stays.

use rollcall_hub::service::import::Order;
use rollcall_tests::hub::{TestHub, at};
use rollcall_tests::import::{counts, feed_of, imported, order, problems};
use rollcall_tests::timetable::{Gateway, estate, students};
use serde_json::json;

#[tokio::test]
async fn a_calendar_moves_and_calls_off_sessions_and_keeps_what_was_held() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let feed = |events: &str| {
        let text = format!("BEGIN:VCALENDAR\n{events}END:VCALENDAR\n");
        let mut facts = feed_of(&text, &["R1"], &[]);
        facts.whole.push("sessions");
        facts
    };
    let event = |uid: &str, day: u8, extra: &str| {
        format!(
            "BEGIN:VEVENT\nUID:{uid}\nSUMMARY:{uid}\nDTSTART;TZID=Europe/London:202610{day:02}T090000\nDURATION:PT1H\nCATEGORIES:G\n{extra}END:VEVENT\n"
        )
    };
    let weekly = event("w", 5, "RRULE:FREQ=WEEKLY;COUNT=12\n");
    let first = feed(&(weekly.clone() + &event("a", 2, "") + &event("b", 6, "")));
    assert_eq!(counts(&imported(&hub, &first, &order("all")).await), [("sessions", [14, 0, 0, 0])]);
    // One is moved, one called off by the feed, one gone from it; one that was held is gone too, and stays.
    let moved = "BEGIN:VEVENT\nUID:w\nRECURRENCE-ID;TZID=Europe/London:20261012T090000\nSUMMARY:w\n\
                 DTSTART;TZID=Europe/London:20261013T140000\nDURATION:PT1H\nCATEGORIES:G\nEND:VEVENT\n";
    let second = feed(&(event("w", 5, "RRULE:FREQ=WEEKLY;COUNT=12\nSEQUENCE:1\n") + moved));
    let report = imported(&hub, &second, &Order { accept_removals: true, ..order("all") }).await;
    assert_eq!(counts(&report), [("sessions", [0, 1, 1, 11])]);
    for (id, starts, state) in [
        ("w/20261012T080000Z", "2026-10-13T14:00:00.000+01:00", "MOVED"),
        ("a", "2026-10-02T09:00:00.000+01:00", "HELD"),
        ("b", "2026-10-06T09:00:00.000+01:00", "CANCELLED"),
    ] {
        let data =
            hub.read(&format!("{{ session(by: {{externalId: \"{id}\"}}) {{ startsAt state }} }}")).await;
        assert_eq!(data["session"]["startsAt"], starts, "{id}");
        if state != "HELD" {
            assert_eq!(data["session"]["state"], state, "{id}");
        } else {
            assert_ne!(data["session"]["state"], "CANCELLED", "{id}");
        }
    }
}

#[tokio::test]
async fn what_a_person_called_off_a_calendar_does_not_take_up_again_but_what_it_called_off_itself() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let feed = |status: &str| {
        let event = |uid: &str, hour: u8, status: &str| {
            format!(
                "BEGIN:VEVENT\nUID:{uid}\nSUMMARY:{uid}\nDTSTART;TZID=Europe/London:20261005T{hour}0000\nDURATION:PT1H\n\
                 LOCATION:R1\nCATEGORIES:G\n{status}END:VEVENT\n"
            )
        };
        let events = event("theirs", 14, status) + &event("ours", 16, "STATUS:CONFIRMED\n");
        let text = format!("BEGIN:VCALENDAR\n{events}END:VCALENDAR\n");
        feed_of(&text, &[], &[])
    };
    let states = async || {
        let mut states = Vec::new();
        for id in ["theirs", "ours"] {
            let data = hub.read(&format!("{{ session(by: {{externalId: \"{id}\"}}) {{ state }} }}")).await;
            states.push(data["session"]["state"] == "CANCELLED");
        }
        states
    };
    imported(&hub, &feed(""), &order("f")).await;
    let mut off = rollcall_tests::timetable::session("ours", "16:00", "17:00");
    off["cancelled"] = json!(true);
    hub.done("saveSession", off).await;
    for (status, wanted) in [
        ("STATUS:CANCELLED\n", true),
        ("", false),
        ("STATUS:CANCELLED\n", true),
        ("STATUS:CONFIRMED\n", false),
    ] {
        let report = imported(&hub, &feed(status), &order("f")).await;
        assert_eq!(problems(&report), Vec::<String>::new());
        assert_eq!(states().await, [wanted, true], "{status}");
    }
}

#[tokio::test]
async fn a_series_that_a_feed_names_is_whole_and_a_session_moved_on_its_day_stays_where_it_was() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    students(&hub, 1, 1).await;
    let feed = |room: &str, extra: &str| {
        let text = format!(
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:w\nSUMMARY:w\nDTSTART:20261005T080000Z\nDURATION:PT1H\nCATEGORIES:G\nLOCATION:{room}\n\
             RRULE:FREQ=WEEKLY;COUNT=3\n{extra}END:VEVENT\nEND:VCALENDAR\n"
        );
        feed_of(&text, &[], &[])
    };
    hub.clock.set(&at("07:00"));
    assert_eq!(counts(&imported(&hub, &feed("R1", ""), &order("all")).await), [("sessions", [3, 0, 0, 0])]);
    // The last is taken out of its series, as calendars do: nobody has to say that the feed is whole.
    let without = "EXDATE:20261019T080000Z\n";
    assert_eq!(
        counts(&imported(&hub, &feed("R1", without), &order("all")).await),
        [("sessions", [0, 0, 1, 2])]
    );
    let mut gateway = Gateway::start(&hub, "GW").await;
    let green = gateway.session("08:00").to_owned();
    let swipe = gateway.swipe(0, 0, &at("07:45"), &[green.as_str()]);
    // In its window the first is moved to another room; what was swiped at the old one counts, tonight as now.
    hub.clock.set(&at("07:50"));
    assert_eq!(
        counts(&imported(&hub, &feed("R2", without), &order("all")).await),
        [("sessions", [0, 2, 0, 0])]
    );
    hub.clock.set(&at("21:00"));
    gateway.submit(&hub, &[swipe], &at("20:00")).await;
    let marks = "{ session(by: {externalId: \"w/20261005T080000Z\"}) { rooms { code } register { entries { nodes { status source honoured } } } } }";
    let before = hub.read(marks).await;
    let held = json!({"rooms": [{"code": "R2"}],
        "register": {"entries": {"nodes": [{"status": "PRESENT", "source": "READER", "honoured": false}]}}});
    assert_eq!(before["session"], held);
    assert_eq!(
        counts(&imported(&hub, &feed("R2", without), &order("all")).await),
        [("sessions", [0, 0, 0, 2])]
    );
    assert_eq!(hub.read(marks).await, before);
}

#[tokio::test]
async fn a_series_moved_in_mid_term_gets_no_new_past_and_an_empty_feed_is_not_believed() {
    let hub = TestHub::start().await;
    estate(&hub).await;
    let feed = |events: &str| {
        let text = format!("BEGIN:VCALENDAR\n{events}END:VCALENDAR\n");
        let mut facts = feed_of(&text, &["R1"], &["G"]);
        facts.whole.push("sessions");
        facts
    };
    let weekly = |hour: u8, more: &str| {
        let text = format!(
            "BEGIN:VEVENT\nUID:w\nSUMMARY:w\nDTSTART:20260907T{hour:02}0000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=40\n{more}END:VEVENT\n"
        );
        feed(&text)
    };
    // Four weeks are over, the fifth is today.
    hub.clock.set("2026-09-01T08:00:00Z");
    assert_eq!(counts(&imported(&hub, &weekly(9, ""), &order("all")).await), [("sessions", [40, 0, 0, 0])]);
    hub.clock.set(&at("20:00"));
    let accepted = Order { accept_removals: true, ..order("all") };
    let moved = imported(&hub, &weekly(10, ""), &accepted).await;
    assert_eq!((counts(&moved), moved.notes.count), (vec![("sessions", [35, 0, 35, 0])], 5));
    let again = imported(&hub, &weekly(10, ""), &accepted).await;
    assert_eq!((counts(&again), again.notes.count), (vec![("sessions", [0, 0, 0, 35])], 5));
    // Late in the year what is to come is little beside what was: that all of it is gone is told all the same.
    hub.clock.set("2027-05-20T08:00:00Z");
    let empty = imported(&hub, &feed(""), &order("all")).await;
    assert!(problems(&empty)[0].contains("3 of 3 sessions that 'all' named before"), "{empty:?}");
}
