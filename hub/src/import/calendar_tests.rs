//! What calendars of the standard's own kinds become.

use super::*;

const DAY: i64 = 24 * 3_600_000;

fn london() -> TimeZone {
    TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC)
}

fn options(horizon: i64) -> Options {
    let (rooms, groups) = (Vec::new(), Vec::new());
    Options { rooms, groups, groups_from: None, course: None, kind: SessionKind::Lecture, horizon }
}

pub(super) fn read_text(events: &str) -> Facts {
    let text = format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{}END:VCALENDAR\r\n", events.replace('\n', "\r\n"));
    let mut facts = Facts::default();
    let horizon = crate::scalar::parse_instant("2027-09-01T00:00:00Z").unwrap_or(0);
    let options = options(horizon);
    read(&mut facts, "feed.ics", text.as_bytes(), &london(), &options);
    facts
}

/// Starts as RFC 3339 in London, with title and whether it is called off.
fn shown(facts: &Facts) -> Vec<String> {
    assert_eq!(facts.problems.list, Vec::new());
    let mut shown: Vec<String> = facts
        .sessions
        .things
        .iter()
        .map(|session| {
            let at =
                jiff::Timestamp::from_millisecond(session.starts_at.ms()).map(|at| at.to_zoned(london()));
            let at =
                at.map_or_else(|error| error.to_string(), |at| at.strftime("%m-%d %H:%M%:z").to_string());
            let minutes = (session.ends_at.ms() - session.starts_at.ms()) / 60_000;
            format!("{at} {minutes} {}{}", session.title, if session.cancelled { " off" } else { "" })
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn a_weekly_lecture_keeps_its_wall_time_over_the_end_of_summer_time() {
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:Maths\\, first\nDTSTART;TZID=Europe/London:20261019T090000\nDURATION:PT50M\n\
         RRULE:FREQ=WEEKLY;UNTIL=20261102T090000Z\nEXDATE;TZID=Europe/London:20261026T090000\nLOCATION:R1\\, R2\n\
         RDATE;TZID=Europe/London:20261030T140000\nCATEGORIES:G1,G2\nEND:VEVENT\n",
    );
    assert_eq!(
        shown(&facts),
        [
            "10-19 09:00+01:00 50 Maths, first",
            "10-30 14:00+00:00 50 Maths, first",
            "11-02 09:00+00:00 50 Maths, first"
        ]
    );
    let first = &facts.sessions.things[0];
    assert_eq!((first.rooms.join(" "), first.groups.join(" ")), ("R1 R2".to_owned(), "G1 G2".to_owned()));
    assert_eq!(first.external_id, "a/20261019T080000Z");
}

#[test]
fn changed_recurrences_take_the_place_of_those_that_they_name() {
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:Old\nDTSTART;TZID=Europe/London:20270111T090000\nDTEND;TZID=Europe/London:20270111T100000\n\
         RRULE:FREQ=WEEKLY;COUNT=5\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:a\nRECURRENCE-ID;TZID=Europe/London:20270118T090000\nSUMMARY:Old\nSTATUS:CANCELLED\n\
         DTSTART;TZID=Europe/London:20270118T090000\nDTEND;TZID=Europe/London:20270118T100000\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:a\nRECURRENCE-ID;RANGE=THISANDFUTURE:20270201T090000Z\nSUMMARY:New\nSEQUENCE:2\n\
         DTSTART;TZID=Europe/London:20270202T110000\nDTEND;TZID=Europe/London:20270202T123000\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:a\nRECURRENCE-ID;RANGE=THISANDFUTURE:20270201T090000Z\nSUMMARY:Older\nSEQUENCE:1\n\
         DTSTART;TZID=Europe/London:20270201T080000\nDTEND;TZID=Europe/London:20270201T090000\nEND:VEVENT\n",
    );
    assert_eq!(
        shown(&facts),
        [
            "01-11 09:00+00:00 60 Old",
            "01-18 09:00+00:00 60 Old off",
            "01-25 09:00+00:00 60 Old",
            "02-02 11:00+00:00 90 New",
            "02-09 11:00+00:00 90 New"
        ]
    );
    // They keep the ids that they had.
    let ids: Vec<&str> = facts.sessions.things.iter().map(|it| it.external_id.as_str()).collect();
    assert!(ids.contains(&"a/20270208T090000Z"), "{ids:?}");
}

#[test]
fn zones_of_outlook_and_of_the_file_itself_are_understood_and_others_refused_with_their_row() {
    let facts = read_text(
        "BEGIN:VTIMEZONE\nTZID:/x/Custom\nX-LIC-LOCATION:Europe/Prague\nEND:VTIMEZONE\n\
         BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART;TZID=GMT Standard Time:20260701T090000\nDURATION:PT1H\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:b\nSUMMARY:B\nDTSTART;TZID=/x/Custom:20260701T090000\nDURATION:PT1H\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:c\nSUMMARY:C\nDTSTART:20260701T090000\nDURATION:PT1H\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:d\nSUMMARY:D\nDTSTART;VALUE=DATE:20260701\nEND:VEVENT\n",
    );
    assert_eq!(shown(&facts), ["07-01 08:00+01:00 60 B", "07-01 09:00+01:00 60 A", "07-01 09:00+01:00 60 C"]);
    let notes: Vec<String> =
        facts.notes.list.iter().map(|note| format!("{}: {}", note.place, note.message)).collect();
    assert_eq!(
        notes,
        [
            "feed.ics, row 19, column 'DTSTART': the time has no zone; it is read in the institution's",
            "feed.ics, row 28, column 'DTSTART': left out: a whole day is no session"
        ]
    );
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nDTSTART;TZID=Mars/Olympus:20260701T090000\nDURATION:PT1H\nEND:VEVENT\n",
    );
    assert_eq!(facts.problems.count, 1);
    assert_eq!(facts.problems.list[0].place.to_string(), "feed.ics, row 5, column 'DTSTART'");
}

#[test]
fn a_zone_that_only_the_file_knows_follows_the_rules_that_it_gives() {
    let clock = |kind: &str, start: &str, to: &str, rule: &str| {
        format!("BEGIN:{kind}\nDTSTART:{start}\nTZOFFSETFROM:+0000\nTZOFFSETTO:{to}\n{rule}END:{kind}\n")
    };
    let zone = |id: &str, clocks: &[String]| {
        format!("BEGIN:VTIMEZONE\nTZID:{id}\n{}END:VTIMEZONE\n", clocks.concat())
    };
    let event = |uid: &str, zone: &str, at: &str| {
        format!(
            "BEGIN:VEVENT\nUID:{uid}\nSUMMARY:{uid}\nDTSTART;TZID={zone}:{at}\nDURATION:PT1H\nEND:VEVENT\n"
        )
    };
    let to_summer = "RRULE:FREQ=YEARLY;BYDAY=2SU;BYMONTH=3\n";
    let to_winter = "RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=11\n";
    let york = [
        // Its rule until 2006 is over.
        clock(
            "DAYLIGHT",
            "19870405T020000",
            "-0400",
            "RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=4;UNTIL=20060402T070000Z\n",
        ),
        clock("DAYLIGHT", "20070311T020000", "-0400", to_summer),
        clock("STANDARD", "20071104T020000", "-0500", to_winter),
    ];
    let text = [
        zone("Ours/East", &york),
        // It went to summer time for the last time and stayed there.
        zone(
            "Ours/Fixed",
            &[
                clock(
                    "STANDARD",
                    "20101031T040000",
                    "+0200",
                    "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10;UNTIL=20151101T000000Z\n",
                ),
                clock("DAYLIGHT", "20160327T030000", "+0300", ""),
            ],
        ),
        // On the Saturday before 14 March 2027, and after it.
        event("a", "Ours/East", "20270313T090000"),
        event("b", "Ours/East", "20270315T090000"),
        event("c", "Ours/East", "20271106T090000"),
        event("d", "Ours/East", "20271108T090000"),
        event("e", "Ours/Fixed", "20270115T090000"),
        event("f", "Ours/Fixed", "20270715T090000"),
        // A name with a comma is escaped where it is a text, and quoted where it is a parameter.
        zone("(UTC) Here\\, there", &[clock("STANDARD", "20000101T000000", "+0000", "")]),
        event("g", "\"(UTC) Here, there\"", "20270716T090000"),
    ];
    assert_eq!(
        shown(&read_text(&text.concat())),
        [
            "01-15 06:00+00:00 60 e",
            "03-13 14:00+00:00 60 a",
            "03-15 13:00+00:00 60 b",
            "07-15 07:00+01:00 60 f",
            "07-16 10:00+01:00 60 g",
            "11-06 13:00+00:00 60 c",
            "11-08 14:00+00:00 60 d"
        ]
    );
    let said = |clocks: &[String]| {
        let facts = read_text(&(zone("Ours/X", clocks) + &event("a", "Ours/X", "20270313T090000")));
        assert_eq!((facts.problems.count, facts.sessions.things.len()), (1, 0));
        facts.problems.list[0].message.clone()
    };
    for (clocks, word) in [
        (vec![], "neither STANDARD nor DAYLIGHT"),
        (vec![clock("STANDARD", "20071104T020000", "5", "")], "'5' is no offset"),
        (vec![clock("STANDARD", "2007", "-0500", "")], "'2007' is no time"),
        (
            vec![clock(
                "STANDARD",
                "20071104T020000",
                "-0500",
                "RRULE:FREQ=YEARLY;BYMONTHDAY=1,2;BYMONTH=11\n",
            )],
            "BYMONTHDAY",
        ),
        (
            vec![
                clock("DAYLIGHT", "20070311T020000", "-0400", ""),
                clock("STANDARD", "20071104T020000", "-0500", to_winter),
            ],
            "only one of its two changes",
        ),
        (vec![clock("STANDARD", "20071104T020000", "-0500", "RDATE:20081102T020000\n")], "RDATE"),
    ] {
        let message = said(&clocks);
        assert!(message.contains(word) && message.contains("'Ours/X'"), "{message}");
    }
    // Changes that are listed year by year, or whose rules end, say nothing of what lies among them.
    for rule in ["", "RRULE:FREQ=YEARLY;BYMONTHDAY=1;UNTIL=20371101T000000Z\n"] {
        let message = said(&[
            clock("DAYLIGHT", "20260329T010000", "+0100", rule),
            clock("STANDARD", "20271025T020000", "+0000", rule),
        ]);
        assert!(message.contains("by other rules before 20"), "{message}");
    }
}

#[test]
fn a_time_in_the_gap_of_spring_is_read_with_the_offset_before_it() {
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART;TZID=Europe/London:20270328T013000\nDURATION:PT1H\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:b\nSUMMARY:B\nDTSTART;TZID=Europe/London:20261025T013000\nDURATION:PT1H\nEND:VEVENT\n",
    );
    assert_eq!(shown(&facts), ["03-28 02:30+01:00 60 A", "10-25 01:30+01:00 60 B"]);
}

#[test]
fn a_rule_without_an_end_stops_at_the_horizon_and_a_bomb_is_refused() {
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART:20260701T090000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY\nEND:VEVENT\n",
    );
    assert_eq!(facts.sessions.things.len(), 61, "weeks until the first of September 2027");
    let last = facts.sessions.things.iter().map(|it| it.starts_at.ms()).max().unwrap_or(0);
    assert!(last > crate::scalar::parse_instant("2027-09-01T00:00:00Z").unwrap_or(0) - 8 * DAY);
    for rule in ["FREQ=SECONDLY", "FREQ=SECONDLY;COUNT=1000000", "FREQ=MINUTELY;INTERVAL=1;COUNT=4000000000"]
    {
        let facts = read_text(&format!(
            "BEGIN:VEVENT\nUID:a\nDTSTART:20260701T090000Z\nDURATION:PT1H\nRRULE:{rule}\nEND:VEVENT\n"
        ));
        assert_eq!((facts.problems.count, facts.sessions.things.len()), (1, 0), "{rule}");
        assert_eq!(facts.problems.list[0].place.to_string(), "feed.ics, row 7, column 'RRULE'");
    }
}

#[test]
fn what_is_no_calendar_is_refused_with_its_row() {
    for (text, row) in [
        ("hello", 1),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:a\n", 3),
        ("BEGIN:VCALENDAR\nEND:VEVENT\n", 2),
        ("BEGIN:VCALENDAR\nno colon\n", 2),
        ("UID:a\n", 1),
        ("", 0),
    ] {
        let mut facts = Facts::default();
        let options = options(0);
        read(&mut facts, "f", text.as_bytes(), &london(), &options);
        assert_eq!(facts.problems.list.first().map(|it| it.place.row), Some(row), "{text:?}");
    }
}

#[test]
fn this_and_all_to_come_is_moved_in_wall_time_also_where_it_is_named_in_utc() {
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART;TZID=Europe/London:20270531T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:a\nSUMMARY:A\nRECURRENCE-ID;RANGE=THISANDFUTURE:20270607T080000Z\nDTSTART:20270607T100000Z\nDURATION:PT1H\n\
         RRULE:FREQ=DAILY;COUNT=9\nEND:VEVENT\n",
    );
    // Another rule from there on is none of this; it is said that it is not followed.
    let notes: Vec<_> = facts.notes.list.iter().map(|note| note.place.column.as_deref()).collect();
    assert_eq!(notes, [Some("RRULE")]);
    assert_eq!(shown(&facts), ["05-31 09:00+01:00 60 A", "06-07 11:00+01:00 60 A", "06-14 11:00+01:00 60 A"]);
}

#[test]
fn this_and_all_to_come_counts_also_where_the_series_leaves_out_its_own_time() {
    for out in ["EXDATE;TZID=Europe/London:20270607T090000\n", ""] {
        let at = if out.is_empty() { "20270604T080000Z" } else { "20270607T080000Z" };
        let facts = read_text(&format!(
            "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART;TZID=Europe/London:20270531T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3\n{out}END:VEVENT\n\
             BEGIN:VEVENT\nUID:a\nSUMMARY:B\nRECURRENCE-ID;RANGE=THISANDFUTURE:{at}\nDTSTART:{}\nDURATION:PT1H\nEND:VEVENT\n",
            at.replace("T08", "T10")
        ));
        let later = shown(&facts).pop();
        assert_eq!(later.as_deref(), Some("06-14 11:00+01:00 60 B"), "{:?}", shown(&facts));
    }
}

#[test]
fn two_events_of_one_uid_that_differ_are_told_of() {
    let event = |room| {
        format!(
            "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nLOCATION:{room}\nDTSTART:20270531T090000Z\nDURATION:PT1H\nEND:VEVENT\n"
        )
    };
    for (rooms, told) in [(["R1", "R2"], true), (["R1", "R1"], false)] {
        let facts = read_text(&rooms.map(event).concat());
        assert_eq!(facts.sessions.things.len(), 1);
        let notes = facts.notes.list.iter().filter(|it| it.message.contains("counts alone")).count();
        assert_eq!(notes, usize::from(told), "{rooms:?}: {:?}", facts.notes.list);
    }
}

#[test]
fn one_odd_event_costs_only_itself() {
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART;TZID=Europe/London:20261005T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=4\n\
         EXDATE;VALUE=DATE:20261012\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:a\nSUMMARY:A\nRECURRENCE-ID;TZID=Europe/London:20261019T090000\nDTSTART;VALUE=DATE:20261019\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:deadline\nSUMMARY:D\nDTSTART:20261005T160000Z\nDTEND:20261005T160000Z\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:open\nSUMMARY:O\nDTSTART:20261005T160000Z\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:split\nSUMMARY:S\nDTSTART:20261005T160000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;UNTIL=20261004T000000Z\nEND:VEVENT\n",
    );
    assert_eq!(
        shown(&facts),
        ["10-05 09:00+01:00 60 A", "10-19 09:00+01:00 60 A off", "10-26 09:00+00:00 60 A"]
    );
    assert_eq!(facts.notes.count, 3);
    assert!(facts.is_of_series("a") && facts.is_of_series("a/20261012T080000Z") && !facts.is_of_series("b"));
}

#[test]
fn days_and_times_may_stand_beside_each_other_in_lists_and_a_change_of_a_day_alone_costs_only_itself() {
    let weekly = "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART;TZID=Europe/London:20261005T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=4\n";
    let facts = read_text(&format!(
        "{weekly}RDATE;VALUE=DATE:20261027,20261028\nEXDATE;TZID=Europe/London:20261012,20261019T090000,20261028\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:b\nSUMMARY:B\nRECURRENCE-ID;VALUE=DATE:20261102\nDTSTART;VALUE=DATE:20261103\nEND:VEVENT\n"
    ));
    assert_eq!(shown(&facts), ["10-05 09:00+01:00 60 A", "10-26 09:00+00:00 60 A", "10-27 09:00+00:00 60 A"]);
    assert_eq!((facts.notes.count, facts.notes.list[0].place.column.as_deref()), (1, Some("RECURRENCE-ID")));
    let facts = read_text(&format!(
        "{weekly}END:VEVENT\nBEGIN:VEVENT\nUID:a\nRECURRENCE-ID;VALUE=DATE:20261012\nDTSTART:20261013T090000Z\nDURATION:PT1H\nEND:VEVENT\n"
    ));
    assert_eq!(facts.problems.count, 1, "which of its times is changed is not said");
}

#[test]
fn a_series_of_whole_days_is_left_out_with_its_changes_and_letters_folded_in_two_are_whole() {
    let facts = read_text(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART;VALUE=DATE:20261026\nRRULE:FREQ=WEEKLY\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:a\nSUMMARY:A\nRECURRENCE-ID;VALUE=DATE:20261102\nDTSTART;VALUE=DATE:20261103\nEND:VEVENT\n",
    );
    assert_eq!((shown(&facts), facts.notes.count), (Vec::<String>::new(), 1));
    let bytes = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:a\r\nSUMMARY:Caf\xc3\r\n \xa9\r\nDTSTART:20261026T090000Z\r\nDURATION:PT1H\r\n\
                  END:VEVENT\r\nEND:VCALENDAR\r\n";
    let mut facts = Facts::default();
    let options = options(0);
    read(&mut facts, "f", bytes, &london(), &options);
    assert_eq!(facts.sessions.things[0].title, "Caf\u{e9}");
}

#[test]
fn what_is_called_off_needs_no_end_and_a_change_of_all_that_comes_needs_its_series() {
    let weekly = "BEGIN:VEVENT\nUID:a\nSUMMARY:A\nDTSTART:20261012T080000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3\nEND:VEVENT\n";
    let off = |lines: &str| format!("BEGIN:VEVENT\nUID:a\nSTATUS:CANCELLED\n{lines}END:VEVENT\n");
    // One recurrence alone, with and without its series, and with no time at all but its id.
    for lines in
        ["RECURRENCE-ID:20261019T080000Z\nDTSTART:20261019T080000Z\n", "RECURRENCE-ID:20261019T080000Z\n"]
    {
        let facts = read_text(&off(lines));
        let [session] = &facts.sessions.things[..] else { panic!("{facts:?}") };
        assert_eq!((session.external_id.as_str(), session.cancelled), ("a/20261019T080000Z", true));
        assert!(session.unsaid.0.contains(&"times"), "{:?}", session.unsaid);
    }
    let week = |day: &str, off: &str| format!("10-{day} 09:00+01:00 60 A{off}");
    for lines in
        ["RECURRENCE-ID:20261019T080000Z\nDTSTART:20261019T080000Z\n", "RECURRENCE-ID:20261019T080000Z\n"]
    {
        let facts = read_text(&(weekly.to_owned() + &off(lines)));
        let wanted = [week("12", ""), week("19", " off"), "10-26 08:00+00:00 60 A".to_owned()];
        assert_eq!(shown(&facts), wanted, "one of three");
    }
    // That one and all that come.
    let onward = "RECURRENCE-ID;RANGE=THISANDFUTURE:20261019T080000Z\nDTSTART:20261019T080000Z\n";
    let facts = read_text(&(weekly.to_owned() + &off(onward)));
    assert_eq!(shown(&facts), [week("12", ""), week("19", " off"), "10-26 08:00+00:00 60 A off".to_owned()]);
    // The whole series: it is named, and nothing of it is held.
    for lines in ["DTSTART:20261012T080000Z\n", ""] {
        let facts = read_text(&off(lines));
        assert!(facts.series.contains("a") && facts.sessions.things.is_empty(), "{facts:?}");
        assert_eq!(facts.problems.count + facts.notes.count, 0);
    }
    let later = "BEGIN:VEVENT\nUID:a\nRECURRENCE-ID;RANGE=THISANDFUTURE:20261019T080000Z\nDTSTART:20261019T090000Z\nDURATION:PT1H\nEND:VEVENT\n";
    let facts = read_text(later);
    let [problem] = &facts.problems.list[..] else { panic!("{facts:?}") };
    assert_eq!(problem.place.column.as_deref(), Some("RECURRENCE-ID"));
}

#[test]
fn what_each_recurrence_would_have_too_much_of_is_refused_before_they_are_made() {
    let day = format!(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:{}\nDTSTART;VALUE=DATE:20261012\nEND:VEVENT\n",
        "x".repeat(300)
    );
    assert_eq!(read_text(&day).problems.count, 0, "it is left out anyway");
    for (column, text) in
        [("SUMMARY", "x".repeat(201)), ("LOCATION", "r,".repeat(2_001)), ("UID", "u".repeat(201))]
    {
        let mut lines = BTreeMap::from([("UID", "a"), ("SUMMARY", "A"), ("LOCATION", "R1")]);
        lines.insert(column, text.as_str());
        let lines: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let facts = read_text(&format!(
            "BEGIN:VEVENT\n{lines}DTSTART:20261012T080000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=5000\nEND:VEVENT\n"
        ));
        let [problem] = &facts.problems.list[..] else { panic!("{column}: {:?}", facts.problems) };
        assert_eq!((problem.place.column.as_deref(), facts.sessions.things.len()), (Some(column), 0));
    }
}

#[test]
fn a_uid_that_ends_like_a_recurrence_but_for_its_letters_is_whole() {
    assert_eq!(super::series_of("maths@x/20261005T090000Z"), "maths@x");
    for whole in ["https://x/abcdefghijklmnop", "maths@x/20261005T090000+", "maths@x", "x/2026100ST090000Z"] {
        assert_eq!(super::series_of(whole), whole);
    }
}
