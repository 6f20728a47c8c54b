//! Counts of marks over a stretch of time, by what people ask for.

use super::entity::{AttendanceSource, AttendanceStatus, SessionKind};
use super::{Row, StoreError, Tx, Value};

/// What marks are counted by, in SQL: the key, and what must be joined to have it.
#[derive(Debug, Clone, Copy)]
pub struct Grouped {
    /// The key.
    pub key: &'static str,
    /// What is joined to `attendance a` and `session s`.
    pub join: &'static str,
}

/// How many marks of a key have a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The key.
    pub key: Value,
    /// The status, as it is stored.
    pub status: String,
    /// How many marks.
    pub marks: i64,
    /// How many of them came a minute late or more.
    pub late: i64,
    /// How many of them rest on a swipe that also counts for another session.
    pub shared: i64,
}

/// A mark with everything that whoever reads it elsewhere needs to know it by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MarkLine {
    /// The mark's id.
    pub id: uuid::Uuid,
    /// The session's id.
    pub session_id: uuid::Uuid,
    /// What the session is.
    pub session_kind: SessionKind,
    /// The student's number.
    pub student_number: String,
    /// The session's id in the timetabling system.
    pub session_external_id: Option<String>,
    /// The session's title.
    pub session_title: String,
    /// The course's code.
    pub course: Option<String>,
    /// The session's start, in milliseconds since the epoch.
    pub starts_at: i64,
    /// Its end.
    pub ends_at: i64,
    /// The status.
    pub status: AttendanceStatus,
    /// What set it.
    pub source: AttendanceSource,
    /// When the student came.
    pub arrived_at: Option<i64>,
    /// Whole minutes after the start.
    pub minutes_late: Option<i64>,
    /// Grows with each change.
    pub revision: i64,
    /// When it last changed.
    pub updated_at: i64,
}

/// A session held in a room, for the use of rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The room's id.
    pub room: uuid::Uuid,
    /// The session's id.
    pub session: uuid::Uuid,
    /// Its start.
    pub starts_at: i64,
    /// Its end.
    pub ends_at: i64,
    /// Since when it is held in this room; none where it always was.
    pub here_from: Option<i64>,
    /// Until when; none where nothing ends it.
    pub here_until: Option<i64>,
    /// Whether its register could be taken.
    pub taken: bool,
    /// How many were there or should have been.
    pub booked: i64,
    /// How many came.
    pub present: i64,
    /// How many of them came through this room's doors.
    pub here: i64,
}

/// What is counted of each status, in the order of [`Counted`].
const COUNTS: &str = "a.status, COUNT(*), SUM(CASE WHEN a.minutes_late >= 1 THEN 1 ELSE 0 END), \
     SUM(CASE WHEN a.shared_swipe = 1 THEN 1 ELSE 0 END)";

fn counted(mut row: Row) -> Result<Counted, StoreError> {
    Ok(Counted {
        key: row.next_value(),
        status: row.next("attendance.status")?,
        marks: row.next("count")?,
        late: row.next("count")?,
        shared: row.next("count")?,
    })
}

impl Tx {
    /// Counts marks of sessions that start from one instant to another (excluded), by key and status.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn count_marks(
        &mut self,
        by: Grouped,
        from: i64,
        until: i64,
    ) -> Result<Vec<Counted>, StoreError> {
        let Grouped { key, join } = by;
        let sql = format!(
            "SELECT {key}, {COUNTS} FROM session s JOIN attendance a ON a.session_id = s.id \
             {join} WHERE s.starts_at >= $1 AND s.starts_at < $2 GROUP BY {key}, a.status"
        );
        let rows = self.fetch(&sql, vec![from.into(), until.into()]).await?;
        rows.into_iter().map(counted).collect()
    }

    /// Counts marks of students by student and status: of all sessions, or of those that start from one instant to another
    /// (excluded).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn count_marks_of(
        &mut self,
        students: &[uuid::Uuid],
        span: Option<(i64, i64)>,
    ) -> Result<Vec<Counted>, StoreError> {
        let (join, before) = match span {
            None => ("", Vec::new()),
            Some((from, until)) => (
                "JOIN session s ON s.id = a.session_id AND s.starts_at >= $1 AND s.starts_at < $2",
                vec![Value::from(from), Value::from(until)],
            ),
        };
        let sql = format!(
            "SELECT a.student_id, {COUNTS} FROM attendance a {join} WHERE a.student_id IN ({{}}) \
             GROUP BY a.student_id, a.status"
        );
        let rows = self.fetch_in(&sql, &before, students.iter().map(|id| Value::from(*id))).await?;
        rows.into_iter().map(counted).collect()
    }

    /// Counts the sessions behind those marks, by key.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn count_sessions(
        &mut self,
        by: Grouped,
        from: i64,
        until: i64,
    ) -> Result<Vec<(Value, i64)>, StoreError> {
        let Grouped { key, join } = by;
        let sql = format!(
            "SELECT {key}, COUNT(DISTINCT s.id) FROM session s JOIN attendance a ON a.session_id = s.id {join} \
             WHERE s.starts_at >= $1 AND s.starts_at < $2 GROUP BY {key}"
        );
        let rows = self.fetch(&sql, vec![from.into(), until.into()]).await?;
        rows.into_iter().map(|mut row| Ok((row.next_value(), row.next("count")?))).collect()
    }

    /// The marks of sessions that start from one instant to another (excluded), by start and student number.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn mark_lines(&mut self, from: i64, until: i64) -> Result<Vec<MarkLine>, StoreError> {
        let sql = "SELECT a.id, s.id, s.kind, p.number, s.external_id, s.title, c.code, s.starts_at, s.ends_at, a.status, a.source, a.arrived_at, \
                   a.minutes_late, a.revision, a.updated_at FROM session s JOIN attendance a ON a.session_id = s.id \
                   JOIN student p ON p.id = a.student_id LEFT JOIN course c ON c.id = s.course_id \
                   WHERE s.starts_at >= $1 AND s.starts_at < $2 ORDER BY s.starts_at, s.external_id, p.number";
        let rows = self.fetch(sql, vec![from.into(), until.into()]).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(MarkLine {
                    id: row.next("attendance.id")?,
                    session_id: row.next("session.id")?,
                    session_kind: row.next("session.kind")?,
                    student_number: row.next("student.number")?,
                    session_external_id: row.next("session.external_id")?,
                    session_title: row.next("session.title")?,
                    course: row.next("course.code")?,
                    starts_at: row.next("session.starts_at")?,
                    ends_at: row.next("session.ends_at")?,
                    status: row.next("attendance.status")?,
                    source: row.next("attendance.source")?,
                    arrived_at: row.next("attendance.arrived_at")?,
                    minutes_late: row.next("attendance.minutes_late")?,
                    revision: row.next("attendance.revision")?,
                    updated_at: row.next("attendance.updated_at")?,
                })
            })
            .collect()
    }

    /// The sessions held in each room, called-off ones left out, with how many were expected and came.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn held_in_rooms(&mut self, from: i64, until: i64) -> Result<Vec<Held>, StoreError> {
        let sql = "SELECT r.room_id, s.id, s.starts_at, s.ends_at, r.from_at, r.until_at, CASE WHEN s.register_state = 'FINAL' THEN 1 ELSE 0 END, \
                   (SELECT COUNT(*) FROM attendance a WHERE a.session_id = s.id AND a.status IN ('PRESENT', 'ABSENT')), \
                   (SELECT COUNT(*) FROM attendance a WHERE a.session_id = s.id AND a.status = 'PRESENT'), \
                   (SELECT COUNT(DISTINCT c.student_id) FROM credit c JOIN swipe w ON w.id = c.swipe_id \
                    WHERE c.session_id = s.id AND w.room_id = r.room_id) \
                   FROM session s JOIN (SELECT h.session_id, h.room_id, \
                   CASE WHEN COUNT(h.from_at) = COUNT(*) THEN MIN(h.from_at) END AS from_at, \
                   CASE WHEN COUNT(h.until_at) = COUNT(*) THEN MAX(h.until_at) END AS until_at FROM session_room h \
                   JOIN session t ON t.id = h.session_id WHERE (h.until_at IS NULL OR h.until_at > t.starts_at) \
                   AND (h.from_at IS NULL OR h.from_at < t.ends_at) GROUP BY h.session_id, h.room_id) r \
                   ON r.session_id = s.id \
                   WHERE s.starts_at >= $1 AND s.starts_at < $2 AND s.cancelled = 0 ORDER BY r.room_id, s.starts_at, s.id";
        let rows = self.fetch(sql, vec![from.into(), until.into()]).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(Held {
                    room: row.next("session_room.room_id")?,
                    session: row.next("session.id")?,
                    starts_at: row.next("session.starts_at")?,
                    ends_at: row.next("session.ends_at")?,
                    here_from: row.next("session_room.from_at")?,
                    here_until: row.next("session_room.until_at")?,
                    taken: row.next("session.register_state")?,
                    booked: row.next("count")?,
                    present: row.next("count")?,
                    here: row.next("count")?,
                })
            })
            .collect()
    }

    /// How many students came to some sessions through a room's doors, each counted once.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn came_through(
        &mut self,
        room: uuid::Uuid,
        sessions: &[uuid::Uuid],
    ) -> Result<i64, StoreError> {
        let sql = "SELECT DISTINCT c.student_id FROM credit c JOIN swipe w ON w.id = c.swipe_id \
                   WHERE w.room_id = $1 AND c.session_id IN ({})";
        let rows = self.fetch_in(sql, &[room.into()], sessions.iter().map(|id| (*id).into())).await?;
        Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX))
    }
}
