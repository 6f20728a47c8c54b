//! Questions about what registers are derived from, and their history.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::entity::{Attendance, AttendanceSource, AttendanceStatus, Entity, Student, columns_of};
use super::{Row, StoreError, Tx, Value};

/// A credit, with what the register needs of its swipe.
#[derive(Debug, Clone)]
pub struct CreditFact {
    /// The session.
    pub session_id: Uuid,
    /// For whom.
    pub student_id: Uuid,
    /// The swipe.
    pub swipe_id: Uuid,
    /// When it was.
    pub swiped_at: i64,
    /// Not before.
    pub earliest_at: i64,
    /// Not after.
    pub latest_at: i64,
    /// Because it was shown green.
    pub honoured: bool,
    /// It was shown green.
    pub shown_green: bool,
    /// Counts for another session that takes place, too.
    pub shared: bool,
}

/// A person's decision on one mark.
#[derive(Debug, Clone)]
pub struct ManualFact {
    /// The session.
    pub session_id: Uuid,
    /// The student.
    pub student_id: Uuid,
    /// The status decided.
    pub status: AttendanceStatus,
    /// When the student came.
    pub arrived_at: Option<i64>,
    /// The reason given.
    pub reason: String,
    /// Whose token decided.
    pub decided_by: Option<Uuid>,
}

/// One change of one mark.
#[derive(Debug, Clone)]
pub struct AttendanceChange {
    /// The mark.
    pub attendance_id: Uuid,
    /// The mark's revision after it.
    pub revision: i64,
    /// When.
    pub at: i64,
    /// Whose token.
    pub by_token: Option<Uuid>,
    /// What it was before; none where only what follows was read.
    pub before: Option<Attendance>,
    /// The status before.
    pub from: Option<AttendanceStatus>,
    /// The status after.
    pub to: AttendanceStatus,
    /// What set it.
    pub source: AttendanceSource,
    /// The reason given.
    pub reason: Option<String>,
}

const CREDIT_FACTS: &str = "SELECT c.session_id, c.student_id, c.swipe_id, w.swiped_at, w.earliest_at, w.latest_at, c.honoured, \
     CASE WHEN w.shown LIKE '%\"light\":\"GREEN\"%' THEN 1 ELSE 0 END, \
     EXISTS (SELECT 1 FROM credit o JOIN session s ON s.id = o.session_id WHERE o.swipe_id = c.swipe_id \
     AND o.student_id = c.student_id AND o.session_id <> c.session_id AND s.cancelled = 0) \
     FROM credit c JOIN swipe w ON w.id = c.swipe_id";

fn credit_fact(mut row: Row) -> Result<CreditFact, StoreError> {
    Ok(CreditFact {
        session_id: row.next("credit.session_id")?,
        student_id: row.next("credit.student_id")?,
        swipe_id: row.next("credit.swipe_id")?,
        swiped_at: row.next("swipe.swiped_at")?,
        earliest_at: row.next("swipe.earliest_at")?,
        latest_at: row.next("swipe.latest_at")?,
        honoured: row.next("credit.honoured")?,
        shown_green: row.next("swipe.shown")?,
        shared: row.next("shared")?,
    })
}

impl Tx {
    /// The students who are not expected at doors, by id, and from when on students are, or are not, as far as that was said;
    /// what was said holds.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn expected_elsewhere(&mut self) -> Result<Vec<(Uuid, Option<(i64, bool)>)>, StoreError> {
        let sql = "SELECT id, NULL, NULL FROM student WHERE at_door = 0 \
                   UNION ALL SELECT student_id, from_at, expected FROM door_expectation";
        let rows = self.fetch(sql, Vec::new()).await?;
        rows.into_iter()
            .map(|mut row| {
                let student = row.next("student.id")?;
                let from: Option<i64> = row.next("door_expectation.from_at")?;
                let expected: Option<bool> = row.next("door_expectation.expected")?;
                Ok((student, from.zip(expected)))
            })
            .collect()
    }

    /// The sessions that start from an instant on and in which any of some students has a mark.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_marked(&mut self, students: &[Uuid], from: i64) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT DISTINCT a.session_id FROM attendance a JOIN session s ON s.id = a.session_id \
                   WHERE s.starts_at >= $1 AND a.student_id IN ({})";
        let rows = self.fetch_in(sql, &[from.into()], students.iter().map(|id| (*id).into())).await?;
        rows.into_iter().map(|mut row| row.next("attendance.session_id")).collect()
    }

    /// The marks of some sessions, each with whose it is, in no order.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn rosters(&mut self, sessions: &[Uuid]) -> Result<Vec<(Attendance, Student)>, StoreError> {
        let sql = format!(
            "SELECT {}, {} FROM attendance a JOIN student s ON s.id = a.student_id WHERE a.session_id IN ({{}})",
            columns_of::<Attendance>("a"),
            columns_of::<Student>("s")
        );
        let mut rows = self.fetch_in(&sql, &[], sessions.iter().map(|id| Value::from(*id))).await?;
        rows.iter_mut().map(|row| Ok((Attendance::read(row)?, Student::read(row)?))).collect()
    }

    /// The credits for some sessions, with what registers need of their swipes.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn credit_facts(&mut self, sessions: &[Uuid]) -> Result<Vec<CreditFact>, StoreError> {
        let sql = format!("{CREDIT_FACTS} WHERE c.session_id IN ({{}})");
        let rows = self.fetch_in(&sql, &[], sessions.iter().map(|id| (*id).into())).await?;
        rows.into_iter().map(credit_fact).collect()
    }

    /// The same for some sessions, those of some swipes left out: of what a batch brought, most is of the batch itself.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn credit_facts_but(
        &mut self,
        sessions: &[Uuid],
        known: &BTreeMap<Uuid, Vec<CreditFact>>,
    ) -> Result<Vec<CreditFact>, StoreError> {
        let sql = "SELECT session_id, swipe_id FROM credit WHERE session_id IN ({})";
        let rows = self.fetch_in(sql, &[], sessions.iter().map(|id| (*id).into())).await?;
        let (mut credits, mut swipes) = (BTreeSet::new(), BTreeSet::new());
        for mut row in rows {
            let (session, swipe): (Uuid, Uuid) =
                (row.next("credit.session_id")?, row.next("credit.swipe_id")?);
            if !known.contains_key(&swipe) {
                credits.insert((session, swipe));
                swipes.insert(swipe);
            }
        }
        let sql = format!("{CREDIT_FACTS} WHERE c.swipe_id IN ({{}})");
        let rows = self.fetch_in(&sql, &[], swipes.into_iter().map(Value::from)).await?;
        let facts: Result<Vec<CreditFact>, StoreError> = rows.into_iter().map(credit_fact).collect();
        Ok(facts?.into_iter().filter(|fact| credits.contains(&(fact.session_id, fact.swipe_id))).collect())
    }

    /// What persons decided of sessions.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn manual_facts(&mut self, sessions: &[Uuid]) -> Result<Vec<ManualFact>, StoreError> {
        let sql = "SELECT session_id, student_id, status, arrived_at, reason, decided_by FROM manual_mark \
                   WHERE session_id IN ({})";
        let rows = self.fetch_in(sql, &[], sessions.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(ManualFact {
                    session_id: row.next("manual_mark.session_id")?,
                    student_id: row.next("manual_mark.student_id")?,
                    status: row.next("manual_mark.status")?,
                    arrived_at: row.next("manual_mark.arrived_at")?,
                    reason: row.next("manual_mark.reason")?,
                    decided_by: row.next("manual_mark.decided_by")?,
                })
            })
            .collect()
    }

    /// How many marks a person decided of alone since an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn decided_alone(&mut self, name: &str, since: i64) -> Result<i64, StoreError> {
        let sql = "SELECT CAST(COALESCE(SUM(marks), 0) AS BIGINT) AS marks FROM decided_alone WHERE name = $1 AND at > $2";
        let row = self.fetch_one(sql, vec![name.into(), since.into()]).await?;
        row.map_or(Ok(0), |mut row| row.next("marks"))
    }

    /// Notes that a person decided of so many marks alone, and forgets what they did before `since`.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn note_decided_alone(
        &mut self,
        name: &str,
        (at, since): (i64, i64),
        marks: i64,
    ) -> Result<(), StoreError> {
        let old = "DELETE FROM decided_alone WHERE name = $1 AND at <= $2";
        self.execute(old, vec![name.into(), since.into()]).await?;
        let sql = "INSERT INTO decided_alone (name, at, marks) VALUES ($1, $2, $3)";
        self.execute(sql, vec![name.into(), at.into(), marks.into()]).await?;
        Ok(())
    }

    /// Notes what a person decided, in place of an earlier decision.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_manual(&mut self, facts: &[ManualFact], at: i64) -> Result<(), StoreError> {
        let rows = facts
            .iter()
            .map(|fact| {
                vec![
                    fact.session_id.into(),
                    fact.student_id.into(),
                    fact.status.into(),
                    fact.arrived_at.into(),
                    fact.reason.clone().into(),
                    at.into(),
                    fact.decided_by.into(),
                ]
            })
            .collect();
        let sql = "INSERT INTO manual_mark (session_id, student_id, status, arrived_at, reason, decided_at, decided_by) \
                   VALUES {} ON CONFLICT (session_id, student_id) DO UPDATE SET status = excluded.status, \
                   arrived_at = excluded.arrived_at, reason = excluded.reason, decided_at = excluded.decided_at, \
                   decided_by = excluded.decided_by";
        self.insert(sql, rows).await?;
        Ok(())
    }

    /// Forgets what persons decided of students in a session.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_manual(&mut self, session: Uuid, students: &BTreeSet<Uuid>) -> Result<(), StoreError> {
        let sql = "DELETE FROM manual_mark WHERE session_id = $1 AND student_id IN ({})";
        self.execute_in(sql, &[session.into()], students.iter().map(|id| (*id).into())).await?;
        Ok(())
    }

    /// The marks of sessions, each session's by student number.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn attendance_of(&mut self, sessions: &[Uuid]) -> Result<Vec<Attendance>, StoreError> {
        self.by_column("session_id", sessions.iter().map(|id| Value::from(*id))).await
    }

    /// Takes marks away that no fact supports any more; how they last were is kept.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_attendance(&mut self, ids: &[Uuid], at: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO attendance_gone (id, session_id, student_id, status, source, arrived_at, minutes_late, \
                   shared_swipe, honoured, revision, updated_at, gone_at) SELECT id, session_id, student_id, status, source, \
                   arrived_at, minutes_late, shared_swipe, honoured, revision, updated_at, CAST($1 AS BIGINT) \
                   FROM attendance WHERE id IN ({})";
        self.execute_in(sql, &[at.into()], ids.iter().map(|id| (*id).into())).await?;
        self.execute_in("DELETE FROM attendance WHERE id IN ({})", &[], ids.iter().map(|id| (*id).into()))
            .await?;
        Ok(())
    }

    /// The highest revision of each mark that sessions once had, by session and student.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn revisions_gone(
        &mut self,
        sessions: &[Uuid],
    ) -> Result<BTreeMap<(Uuid, Uuid), i64>, StoreError> {
        let sql = "SELECT session_id, student_id, MAX(revision) FROM attendance_gone WHERE session_id IN ({}) \
                   GROUP BY session_id, student_id";
        let rows = self.fetch_in(sql, &[], sessions.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| {
                let key = (row.next("attendance_gone.session_id")?, row.next("attendance_gone.student_id")?);
                Ok((key, row.next("attendance_gone.revision")?))
            })
            .collect()
    }

    /// Adds to the history of marks.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn insert_changes(&mut self, changes: &[AttendanceChange]) -> Result<(), StoreError> {
        let rows = changes
            .iter()
            .map(|change| {
                let was = change.before.as_ref();
                vec![
                    change.attendance_id.into(),
                    change.revision.into(),
                    change.at.into(),
                    change.by_token.into(),
                    change.from.into(),
                    change.to.into(),
                    change.source.into(),
                    change.reason.clone().into(),
                    was.map(|was| was.source).into(),
                    was.and_then(|was| was.arrived_at).into(),
                    was.and_then(|was| was.minutes_late).into(),
                    was.is_some_and(|was| was.shared_swipe).into(),
                    was.is_some_and(|was| was.honoured).into(),
                    was.map(|was| was.updated_at).into(),
                ]
            })
            .collect();
        let sql = "INSERT INTO attendance_change (attendance_id, revision, at, by_token, from_status, to_status, source, \
                   reason, from_source, from_arrived_at, from_minutes_late, from_shared_swipe, from_honoured, \
                   from_updated_at) VALUES {}";
        self.insert(sql, rows).await?;
        Ok(())
    }

    /// The history of marks, newest first.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn changes_of(&mut self, marks: &[Uuid]) -> Result<Vec<AttendanceChange>, StoreError> {
        let sql = "SELECT attendance_id, revision, at, by_token, from_status, to_status, source, reason \
                   FROM attendance_change WHERE attendance_id IN ({}) ORDER BY attendance_id, revision DESC";
        let rows = self.fetch_in(sql, &[], marks.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(AttendanceChange {
                    attendance_id: row.next("attendance_change.attendance_id")?,
                    revision: row.next("attendance_change.revision")?,
                    at: row.next("attendance_change.at")?,
                    by_token: row.next("attendance_change.by_token")?,
                    before: None,
                    from: row.next("attendance_change.from_status")?,
                    to: row.next("attendance_change.to_status")?,
                    source: row.next("attendance_change.source")?,
                    reason: row.next("attendance_change.reason")?,
                })
            })
            .collect()
    }

    /// The swipes that count for marks: (session, student, swipe).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn swipes_of_sessions(
        &mut self,
        sessions: &[Uuid],
    ) -> Result<Vec<(Uuid, Uuid, Uuid)>, StoreError> {
        let sql =
            "SELECT session_id, student_id, swipe_id FROM credit WHERE session_id IN ({}) ORDER BY swipe_id";
        let rows = self.fetch_in(sql, &[], sessions.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok((
                    row.next("credit.session_id")?,
                    row.next("credit.student_id")?,
                    row.next("credit.swipe_id")?,
                ))
            })
            .collect()
    }
}
