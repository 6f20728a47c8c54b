//! What the hub knew at an earlier instant, beside what it knows now: when a letter was sent, for instance.
//!
//! A mark's id says when it was made (UUID version 7), its history what it was before each change, and marks that went
//! are kept as they last were. Nothing of that is ever written over.

use rollcall_rules::time::Instant;
use uuid::Uuid;

use crate::store::entity::{AttendanceSource, AttendanceStatus};
use crate::store::register::{AttendanceChange, MarkOnce};
use crate::store::{StoreError, Tx};

/// A mark as it was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownMark {
    /// The student.
    pub student_id: Uuid,
    /// The status.
    pub status: AttendanceStatus,
    /// What had set it; none where that was not noted: of a mark that has changed since it was made, at its making.
    pub source: Option<AttendanceSource>,
}

/// The marks of a session as they were known at an instant.
///
/// # Errors
/// When the store fails.
pub async fn marks(tx: &mut Tx, session: Uuid, at: Instant) -> Result<Vec<KnownMark>, StoreError> {
    let marks = tx.marks_ever(session).await?;
    let ids: Vec<Uuid> = marks.iter().map(|mark| mark.id).collect();
    let changes = tx.changes_of(&ids).await?;
    let known = marks.iter().filter_map(|mark| {
        let history = changes.iter().filter(|change| change.attendance_id == mark.id);
        as_known(mark, history, at)
    });
    Ok(known.collect())
}

/// A mark as it was known at an instant; `history` comes newest first.
fn as_known<'a>(
    mark: &MarkOnce,
    history: impl Iterator<Item = &'a AttendanceChange>,
    at: Instant,
) -> Option<KnownMark> {
    if made_at(mark.id) > at.0 || mark.gone_at.is_some_and(|gone| gone <= at.0) {
        return None;
    }
    let (mut status, mut source) = (mark.status, Some(mark.source));
    for change in history {
        if change.at <= at.0 {
            source = Some(change.source);
            break;
        }
        // It came later: before it the mark was what it changed from.
        (status, source) = (change.from.unwrap_or(status), None);
    }
    Some(KnownMark { student_id: mark.student_id, status, source })
}

/// The instant in a UUID of version 7, in milliseconds (RFC 9562, section 5.7).
fn made_at(id: Uuid) -> i64 {
    (id.as_u128() >> 80) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Instant {
        Instant(ms)
    }

    #[test]
    fn a_mark_is_what_its_history_says_and_is_not_known_before_it_was_made_nor_after_it_went() {
        let id = uuid::Builder::from_unix_timestamp_millis(1_000, &[7; 10]).into_uuid();
        let change = |revision, ms, from, to, source| AttendanceChange {
            attendance_id: id,
            revision,
            at: ms,
            by_token: None,
            from: Some(from),
            to,
            source,
            reason: None,
        };
        use AttendanceSource::{Manual, Reader, Rule};
        use AttendanceStatus::{Absent, AuthorisedAbsence, Expected};
        let history =
            [change(3, 3_000, Absent, AuthorisedAbsence, Manual), change(2, 2_000, Expected, Absent, Reader)];
        let mark = MarkOnce {
            id,
            student_id: Uuid::nil(),
            status: AuthorisedAbsence,
            source: Manual,
            gone_at: Some(4_000),
        };
        let known = |ms| as_known(&mark, history.iter(), at(ms)).map(|mark| (mark.status, mark.source));
        assert_eq!(known(999), None);
        assert_eq!(known(1_000), Some((Expected, None)));
        assert_eq!(known(2_000), Some((Absent, Some(Reader))));
        assert_eq!(known(3_500), Some((AuthorisedAbsence, Some(Manual))));
        assert_eq!(known(4_000), None);
        let unchanged = MarkOnce { source: Rule, status: Expected, gone_at: None, ..mark };
        let known = as_known(&unchanged, [].iter(), at(5_000)).map(|mark| (mark.status, mark.source));
        assert_eq!(known, Some((Expected, Some(Rule))));
    }
}
