//! Calendars that are made to take memory or time.

use super::tests::read_text;

#[test]
fn a_rule_of_every_second_of_a_year_takes_no_memory_and_an_event_of_a_million_lines_no_time() {
    let numbers = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let rule = format!(
        "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR={};BYMINUTE={};BYSECOND={}",
        numbers(24),
        numbers(60),
        numbers(60)
    );
    let facts = read_text(&format!(
        "BEGIN:VEVENT\nUID:a\nDTSTART:20260701T090000Z\nDURATION:PT1H\nRRULE:{rule}\nEND:VEVENT\n"
    ));
    assert_eq!((facts.problems.count, facts.sessions.things.len()), (1, 0));
    assert!(facts.problems.list[0].message.contains("times a day"), "{:?}", facts.problems.list);
    let lines = "A:\n".repeat(1_000_000);
    let facts = read_text(&format!(
        "BEGIN:VEVENT\nUID:a\nDTSTART:20260701T090000Z\nDURATION:PT1H\n{lines}RRULE:FREQ=MINUTELY;COUNT=5000\nEND:VEVENT\n"
    ));
    assert_eq!((facts.problems.count, facts.sessions.things.len()), (0, 5_000));
    let exceptions = "EXDATE:20260702T090000Z\n".repeat(3_000);
    let fits = format!("BEGIN:VEVENT\nUID:a\n{}A:\nEND:VEVENT\n", "EXDATE:20260702T090000Z\n".repeat(1_999));
    assert!(read_text(&fits).problems.list.iter().all(|it| !it.message.contains("lines")));
    let facts = read_text(&format!("BEGIN:VEVENT\nUID:a\n{exceptions}END:VEVENT\n"));
    assert_eq!(facts.problems.list[0].place.row, 2_004);
}

#[test]
fn an_event_names_so_many_rooms_and_groups_as_there_may_be_and_no_thousands() {
    for (property, most) in [("LOCATION", 20), ("CATEGORIES", 100)] {
        for count in [most, most + 1, 2_000] {
            let names = vec!["a"; count].join(",");
            let facts = read_text(&format!(
                "BEGIN:VEVENT\nUID:a\nDTSTART:20260701T090000Z\nDURATION:PT1H\n{property}:{names}\nEND:VEVENT\n"
            ));
            let refused = facts.problems.list.first().map(|it| it.place.column.clone());
            assert_eq!(refused, (count > most).then(|| Some(property.to_owned())), "{count}");
        }
    }
}

#[test]
fn many_rules_are_a_bomb_too_whether_of_one_event_or_of_many() {
    let rules: String =
        (1..1_500).map(|n| format!("RRULE:FREQ=MINUTELY;INTERVAL={n};COUNT=4000\n")).collect();
    let facts = read_text(&format!(
        "BEGIN:VEVENT\nUID:a\nDTSTART:20260701T090000Z\nDURATION:PT1H\n{rules}END:VEVENT\n"
    ));
    assert_eq!((facts.problems.count, facts.sessions.things.len()), (1, 0));
    assert_eq!(facts.problems.list[0].place.to_string(), "feed.ics, row 8, column 'RRULE'");
    // Each makes thousands and takes them all out again.
    let events: String = (0..20_000)
        .map(|n| {
            format!(
                "BEGIN:VEVENT\nUID:{n}\nDTSTART:20260701T090000Z\nDURATION:PT1H\nRRULE:FREQ=SECONDLY;COUNT=4000\n\
                 EXDATE;VALUE=DATE:20260701\nEND:VEVENT\n"
            )
        })
        .collect();
    let facts = read_text(&events);
    let words = facts.problems.list.last().map(|it| it.message.clone()).unwrap_or_default();
    assert!(words.contains("recurrences") && words.contains("split"), "{words}");
    // Many that never recur are as much work.
    let never = "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30\n".repeat(40);
    let facts = read_text(&format!(
        "BEGIN:VEVENT\nUID:a\nDTSTART:20260701T090000Z\nDURATION:PT1H\n{never}END:VEVENT\n"
    ));
    assert_eq!((facts.problems.count, facts.sessions.things.len()), (1, 0));
    assert_eq!(facts.problems.list[0].place.to_string(), "feed.ics, row 27, column 'RRULE'");
    // What calendars write of events that are held once is none.
    let once: String = (0..300)
        .map(|n| {
            format!(
                "BEGIN:VEVENT\nUID:{n}\nDTSTART:20260701T090000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=1\nEND:VEVENT\n"
            )
        })
        .collect();
    assert_eq!(read_text(&once).sessions.things.len(), 300);
    // One that never recurs ends too.
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nDTSTART:20260701T090000Z\nDURATION:PT1H\n\
         RRULE:FREQ=SECONDLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=2\nEND:VEVENT\n",
    );
    assert_eq!(facts.sessions.things.len(), 1);
    // Beyond the horizon nothing is worked out.
    let events: String = (0..3_000)
        .map(|n| {
            format!("BEGIN:VEVENT\nUID:{n}\nDTSTART:20990701T090000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY\nEND:VEVENT\n")
        })
        .collect();
    let facts = read_text(&events);
    assert_eq!((facts.problems.count, facts.sessions.things.len()), (0, 3_000));
}
