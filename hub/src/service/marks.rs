//! What persons decide of marks: kept with their reason, before everything that the rules derive.

use std::collections::BTreeSet;

use async_graphql::{ID, InputObject};
use uuid::Uuid;

use super::corrections::{MOST_BY_ONE, MOST_IN_A_DAY};
use super::refusal::{Answer, Check, Code, Refusal};
use super::{Caller, Hub, Touched};
use crate::scalar::DateTime;
use crate::store::entity::{Attendance, AttendanceStatus, Session, Student};
use crate::store::register::ManualFact;
use crate::store::{StoreError, Tx};

/// A day, in milliseconds.
const DAY_MS: i64 = 24 * 3_600_000;

/// A new status for one entry of a register.
#[derive(Debug, Clone, InputObject)]
pub struct AttendanceMark {
    /// The student.
    pub student_id: ID,
    /// The status; EXPECTED is none that a person can decide.
    pub status: AttendanceStatus,
    /// When the student came, for PRESENT.
    pub arrived_at: Option<DateTime>,
}

/// Notes what a person decided of some entries of a register.
///
/// # Errors
/// When the store fails.
pub async fn mark(
    hub: &Hub,
    caller: &Caller,
    register: Option<Uuid>,
    expected_revision: Option<i64>,
    marks: &[(Option<Uuid>, &AttendanceMark)],
    reason: &str,
) -> Answer<(Session, Vec<Attendance>)> {
    let decided = hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            if marks.is_empty() {
                check.refuse(Code::Required, "marks", "name at least one");
            }
            if marks.len() > MOST_BY_ONE {
                let message = format!(
                    "one person decides {MOST_BY_ONE} marks at the most; propose more by \
             proposeCorrections, and have somebody else approve them"
                );
                check.refuse(Code::TooLong, "marks", message);
            }
            let mut tx = attempt.write().await?;
            count_alone(hub, &mut tx, caller, ("marks", marks.len()), &mut check).await?;
            let Some(session) = open(&mut tx, register, expected_revision, reason, &mut check).await? else {
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            let known: BTreeSet<Uuid> = tx
                .by_ids::<Student>(marks.iter().filter_map(|(student, _)| *student))
                .await?
                .into_iter()
                .map(|student| student.id)
                .collect();
            let listed: BTreeSet<Uuid> =
                tx.attendance_of(&[session.id]).await?.iter().map(|mark| mark.student_id).collect();
            let mut facts: Vec<ManualFact> = Vec::new();
            for (index, (student, mark)) in marks.iter().enumerate() {
                let Some(student_id) = student.filter(|id| known.contains(id)) else {
                    check.refuse(
                        Code::NotFound,
                        &format!("marks.{index}.studentId"),
                        "there is no such student",
                    );
                    continue;
                };
                if !listed.contains(&student_id) {
                    let message = "this student is not on the class list; save a stay in one of the \
                           session's groups first";
                    check.refuse(Code::Conflict, &format!("marks.{index}.studentId"), message);
                }
                if let Some(first) = facts.iter().position(|fact| fact.student_id == student_id) {
                    let message =
                        format!("this student stands in this input twice: here and at index {first}");
                    check.refuse(Code::Conflict, &format!("marks.{index}.studentId"), message);
                }
                if mark.status == AttendanceStatus::Expected {
                    let message = "nobody can decide that something is undecided";
                    check.refuse(Code::Invalid, &format!("marks.{index}.status"), message);
                }
                facts.push(ManualFact {
                    session_id: session.id,
                    student_id,
                    status: mark.status,
                    arrived_at: mark.arrived_at.as_ref().map(DateTime::ms),
                    reason: reason.to_owned(),
                    decided_by: Some(caller.token_id),
                });
            }
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            tx.put_manual(&facts, hub.now().0).await?;
            let students = facts.iter().map(|fact| fact.student_id).collect();
            settle(hub, tx, caller, session, students, reason).await
        })
    });
    shown(hub, decided.await?).await
}

/// Takes back what persons decided of some entries of a register: the rules decide of them again.
///
/// # Errors
/// When the store fails.
pub async fn clear(
    hub: &Hub,
    caller: &Caller,
    register: Option<Uuid>,
    expected_revision: Option<i64>,
    students: &[Option<Uuid>],
    reason: &str,
) -> Answer<(Session, Vec<Attendance>)> {
    let decided = hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            if students.is_empty() {
                check.refuse(Code::Required, "studentIds", "name at least one");
            }
            if students.len() > MOST_BY_ONE {
                let message = format!("one person takes back {MOST_BY_ONE} decisions at the most, in one go");
                check.refuse(Code::TooLong, "studentIds", message);
            }
            let mut tx = attempt.write().await?;
            count_alone(hub, &mut tx, caller, ("studentIds", students.len()), &mut check).await?;
            let Some(session) = open(&mut tx, register, expected_revision, reason, &mut check).await? else {
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            let decided: BTreeSet<Uuid> =
                tx.manual_facts(&[session.id]).await?.iter().map(|fact| fact.student_id).collect();
            let mut cleared = BTreeSet::new();
            for (index, student) in students.iter().enumerate() {
                match student.filter(|id| decided.contains(id)) {
                    Some(student) => {
                        cleared.insert(student);
                    }
                    None => {
                        let message = "nobody decided anything of this student in this register";
                        check.refuse(Code::NotFound, &format!("studentIds.{index}"), message);
                    }
                }
            }
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            tx.drop_manual(session.id, &cleared).await?;
            settle(hub, tx, caller, session, cleared, reason).await
        })
    });
    shown(hub, decided.await?).await
}

/// Counts what a person decides alone, so that many small pieces are no way around a second one.
async fn count_alone(
    hub: &Hub,
    tx: &mut Tx,
    caller: &Caller,
    (path, marks): (&str, usize),
    check: &mut Check,
) -> Result<(), StoreError> {
    let now = hub.now().0;
    let since = now - DAY_MS;
    let marks = i64::try_from(marks).unwrap_or(i64::MAX);
    let most = i64::try_from(MOST_IN_A_DAY).unwrap_or(i64::MAX);
    let before = tx.decided_alone(&caller.name, since).await?;
    if before.saturating_add(marks) > most {
        let message = format!(
            "one person decides of {MOST_IN_A_DAY} marks in 24 hours at the most, and you did of {before}; propose the \
             rest by proposeCorrections, and have somebody else approve them"
        );
        check.refuse(Code::TooLong, path, message);
        return Ok(());
    }
    tx.note_decided_alone(&caller.name, (now, since), marks).await
}

/// The session of a register that may be corrected.
async fn open(
    tx: &mut Tx,
    register: Option<Uuid>,
    expected_revision: Option<i64>,
    reason: &str,
    check: &mut Check,
) -> Result<Option<Session>, StoreError> {
    if reason.trim().is_empty() {
        check.refuse(Code::Required, "reason", "say why; it stays in the record's history");
    }
    let session = match register {
        Some(id) => tx.by_column::<Session>("register_id", [id.into()]).await?.into_iter().next(),
        None => None,
    };
    let Some(session) = session else {
        check.refuse(Code::NotFound, "registerId", "there is no such register");
        return Ok(None);
    };
    if expected_revision.is_some_and(|revision| revision != session.register_revision) {
        let message = format!("the register is at revision {} now; read it again", session.register_revision);
        check.refuse(Code::StaleRevision, "expectedRevision", message);
    }
    Ok(Some(session))
}

/// Derives the register again and commits; gives it, and those who were decided of.
async fn settle(
    hub: &Hub,
    tx: Tx,
    caller: &Caller,
    session: Session,
    students: BTreeSet<Uuid>,
    reason: &str,
) -> Answer<(Session, BTreeSet<Uuid>)> {
    let marked = students.iter().map(|student| ((session.id, *student), reason.to_owned())).collect();
    let touched = Touched { sessions: BTreeSet::from([session.id]), marked, ..Touched::default() };
    hub.settle(tx, touched, Some(caller)).await?;
    Ok(Ok((session, students)))
}

/// The register as it now is, and the marks that were decided of: read when all is committed, so that nothing that fails here
/// has it decided again.
async fn shown(
    hub: &Hub,
    decided: Result<(Session, BTreeSet<Uuid>), Vec<Refusal>>,
) -> Answer<(Session, Vec<Attendance>)> {
    let (session, students) = match decided {
        Ok(decided) => decided,
        Err(refusals) => return Ok(Err(refusals)),
    };
    let read = async {
        let mut tx = hub.read().await?;
        let mut records = tx.attendance_of(&[session.id]).await?;
        records.retain(|record| students.contains(&record.student_id));
        let now = tx.by_ids::<Session>([session.id]).await?.into_iter().next();
        Ok::<_, StoreError>((now, records))
    };
    Ok(Ok(match read.await {
        Ok((now, records)) => (now.unwrap_or(session), records),
        // It took effect, and nobody is to hear otherwise.
        Err(error) => {
            tracing::warn!("a register that was corrected cannot be shown: {error}");
            (session, Vec::new())
        }
    }))
}
