//! Marks as Jisc's learning analytics take them: rows of its attendance table, and statements of its xAPI profile
//! (`attended_learning_event` of the Jisc profile: verb `attended`, type `event_timetabled`). Pure.
//!
//! Only what is decided is told: PRESENT, ABSENT and AUTHORISED_ABSENCE.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::store::entity::AttendanceStatus;
use crate::store::report::MarkLine;

/// The columns of the attendance table, in order.
pub const COLUMNS: [&str; 16] = [
    "STUDENT_ID",
    "EVENT_ID",
    "EVENT_NAME",
    "EVENT_DESCRIPTION",
    "EVENT_TYPE",
    "EVENT_TYPE_DESCRIPTION",
    "EVENT_MAX_COUNT",
    "EVENT_MANDATORY",
    "START_TIME",
    "END_TIME",
    "EVENT_ATTENDED",
    "ATTENDANCE_LATE",
    "ATTENDANCE_CATEGORY",
    "STAFF_ID",
    "MOD_INSTANCE_ID",
    "COURSE_INSTANCE_ID",
];

/// Whether the student attended, where that is decided.
fn attended(mark: &MarkLine) -> Option<bool> {
    match mark.status {
        AttendanceStatus::Present => Some(true),
        AttendanceStatus::Absent | AttendanceStatus::AuthorisedAbsence => Some(false),
        _ => None,
    }
}

fn late(mark: &MarkLine) -> bool {
    mark.minutes_late.is_some_and(|minutes| minutes > 0)
}

/// An instant, ISO 8601 in UTC with milliseconds.
fn instant(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The event's id: the timetabling system's, or ours where it has none.
fn event_id(mark: &MarkLine) -> String {
    mark.session_external_id.clone().unwrap_or_else(|| mark.session_id.to_string())
}

/// A row of the attendance table; none for a mark that says nothing. What Rollcall does not know stays empty.
#[must_use]
pub fn row(mark: &MarkLine) -> Option<[String; 16]> {
    let attended = attended(mark)?;
    let bit = |yes: bool| String::from(if yes { "1" } else { "0" });
    // A table without quotes: what would end a cell or a row becomes a space.
    let plain = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let kind = mark.session_kind.word().to_owned();
    Some([
        plain(&mark.student_number),
        plain(&event_id(mark)),
        plain(&mark.session_title),
        String::new(),
        kind.clone(),
        kind,
        String::new(),
        String::new(),
        instant(mark.starts_at),
        instant(mark.ends_at),
        bit(attended),
        if attended { bit(late(mark)) } else { String::new() },
        mark.status.word().to_owned(),
        String::new(),
        plain(mark.course.as_deref().unwrap_or_default()),
        String::new(),
    ])
}

/// A statement; none for a mark that says nothing. `home_page` is the address under which the institution's students and
/// sessions are named, without a slash at its end. A statement has the same id
/// whenever it is made, and another where anything in it is another.
#[must_use]
pub fn statement(mark: &MarkLine, home_page: &str) -> Option<Value> {
    let attended = attended(mark)?;
    let starts = instant(mark.starts_at);
    // Without the time of submission, which need not be there: a mark is touched by much that no statement says, and said again
    // under another id a store would count it twice.
    let mut result = json!({"http://xapi.jisc.ac.uk/attendance_category": mark.status.word()});
    if attended {
        result["http://xapi.jisc.ac.uk/attendance_late"] = json!(i32::from(late(mark)));
    }
    let mut context = json!({
        "http://xapi.jisc.ac.uk/recipeCat": "attendance",
        "http://xapi.jisc.ac.uk/captured_from": "Rollcall",
    });
    if let Some(course) = &mark.course {
        context["http://xapi.jisc.ac.uk/courseArea"] =
            json!({"http://xapi.jisc.ac.uk/uddModInstanceID": course});
    }
    let event: String = form_urlencoded::byte_serialize(event_id(mark).as_bytes()).collect();
    let mut statement = json!({
        "actor": {
            "objectType": "Agent",
            "account": {"name": mark.student_number, "homePage": home_page},
        },
        "verb": {"id": "http://adlnet.gov/expapi/verbs/attended", "display": {"en": "attended"}},
        "object": {
            "objectType": "Activity",
            "id": format!("{home_page}/sessions/{event}"),
            "definition": {
                "type": "http://xapi.jisc.ac.uk/event_timetabled",
                "name": {"en": mark.session_title},
                "extensions": {
                    "http://xapi.jisc.ac.uk/event_type_description": mark.session_kind.word(),
                    "http://xapi.jisc.ac.uk/starttime": starts,
                    "http://xapi.jisc.ac.uk/endtime": instant(mark.ends_at),
                },
            },
        },
        "result": {"completion": attended, "extensions": result},
        "context": {"platform": "Rollcall", "extensions": context},
        "timestamp": starts,
    });
    // Made of the mark and of what is said of it (RFC 9562, version 5): what is sent twice is the same to whoever keeps it, and
    // what says something else is another.
    statement["id"] = json!(Uuid::new_v5(&mark.id, statement.to_string().as_bytes()));
    Some(statement)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::{COLUMNS, row, statement};
    use crate::store::entity::{AttendanceSource, AttendanceStatus, SessionKind};
    use crate::store::report::MarkLine;

    fn mark(status: AttendanceStatus, minutes_late: Option<i64>) -> MarkLine {
        MarkLine {
            id: Uuid::nil(),
            student_number: "S1".to_owned(),
            session_id: Uuid::nil(),
            session_external_id: Some("C12 W03/D2".to_owned()),
            session_kind: SessionKind::Lecture,
            session_title: "Law\tof\nTorts".to_owned(),
            course: Some("LAW1".to_owned()),
            starts_at: 1_790_845_200_000,
            ends_at: 1_790_848_800_000,
            status,
            source: AttendanceSource::Reader,
            arrived_at: None,
            minutes_late,
            revision: 2,
            updated_at: 1_790_845_260_000,
        }
    }

    #[test]
    fn a_statement_is_by_the_recipe() {
        let late = statement(&mark(AttendanceStatus::Present, Some(3)), "https://x.example").unwrap();
        assert_eq!(late["verb"]["id"], "http://adlnet.gov/expapi/verbs/attended");
        assert_eq!(late["object"]["definition"]["type"], "http://xapi.jisc.ac.uk/event_timetabled");
        assert_eq!(late["object"]["id"], "https://x.example/sessions/C12+W03%2FD2");
        let extensions = &late["object"]["definition"]["extensions"];
        assert_eq!(late["timestamp"], "2026-10-01T09:00:00.000Z");
        assert_eq!(late["timestamp"], extensions["http://xapi.jisc.ac.uk/starttime"]);
        assert_eq!(late["result"]["completion"], true);
        assert_eq!(late["result"]["extensions"]["http://xapi.jisc.ac.uk/attendance_late"], 1);
        let absent = statement(&mark(AttendanceStatus::Absent, None), "https://x.example").unwrap();
        assert_eq!(absent["result"]["completion"], false);
        let of_absence = absent["result"]["extensions"].as_object().unwrap();
        assert!(!of_absence.contains_key("http://xapi.jisc.ac.uk/attendance_late"));
        assert_eq!(of_absence["http://xapi.jisc.ac.uk/attendance_category"], json!("ABSENT"));
    }

    #[test]
    fn a_statement_has_one_id_until_it_says_something_else() {
        let (one, home) = (mark(AttendanceStatus::Present, Some(0)), "https://x.example");
        let id = |mark: &MarkLine| statement(mark, home).unwrap()["id"].clone();
        assert_eq!(id(&one), id(&one));
        let touched = MarkLine { updated_at: one.updated_at + 1, revision: 3, ..one.clone() };
        assert_eq!(id(&one), id(&touched), "touched by what is not told");
        assert_ne!(id(&one), id(&MarkLine { status: AttendanceStatus::Absent, ..one.clone() }));
        assert_ne!(
            id(&one),
            id(&MarkLine { starts_at: one.starts_at + 1, ..one.clone() }),
            "nobody may write one over"
        );
        assert_ne!(id(&one), id(&MarkLine { id: Uuid::max(), ..one.clone() }));
    }

    #[test]
    fn a_row_has_every_column_and_nothing_that_ends_one() {
        let row = row(&mark(AttendanceStatus::Present, Some(0))).unwrap();
        let cell = |name: &str| &row[COLUMNS.iter().position(|column| *column == name).unwrap()][..];
        assert_eq!(cell("EVENT_NAME"), "Law of Torts");
        assert_eq!((cell("EVENT_ATTENDED"), cell("ATTENDANCE_LATE")), ("1", "0"));
        assert_eq!((cell("MOD_INSTANCE_ID"), cell("EVENT_ID")), ("LAW1", "C12 W03/D2"));
    }

    #[test]
    fn what_is_not_decided_is_not_told() {
        for status in [AttendanceStatus::Expected, AttendanceStatus::NoRegister, AttendanceStatus::Cancelled]
        {
            assert_eq!(row(&mark(status, None)), None);
            assert_eq!(statement(&mark(status, None), "https://x.example"), None);
        }
        assert!(row(&mark(AttendanceStatus::AuthorisedAbsence, None)).is_some());
    }
}
