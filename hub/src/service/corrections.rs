//! Corrections of many marks at once: one person proposes them, another approves, and only then are they made.
//!
//! Two people are two tokens of different names. What is approved is what was proposed: should a mark have changed in between, nothing is made.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::refusal::{Answer, Check, Code};
use super::{Caller, Hub, Touched};
use crate::store::StoreError;
use crate::store::entity::{
    Attendance, AttendanceStatus, CorrectionProposal, ProposalState, Session, Student,
};
use crate::store::register::ManualFact;

/// How many marks one person may decide in one go; more of them take a second person.
pub const MOST_BY_ONE: usize = 20;
/// How many marks a person decides of in a day without another's approval, in however many pieces.
pub const MOST_IN_A_DAY: usize = 100;
/// How many one proposal may hold.
const MOST_AT_ONCE: usize = 2_000;

/// One correction, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The session.
    pub session_id: Uuid,
    /// The student.
    pub student_id: Uuid,
    /// The status that it had when it was proposed.
    pub from: AttendanceStatus,
    /// The status that it is to have.
    pub to: AttendanceStatus,
    /// When the student came, for PRESENT.
    pub arrived_at: Option<i64>,
    /// The mark's revision when it was proposed.
    pub revision: i64,
}

/// One correction, as it is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The register.
    pub register: Option<Uuid>,
    /// The student.
    pub student: Option<Uuid>,
    /// The status.
    pub status: AttendanceStatus,
    /// When the student came, for PRESENT.
    pub arrived_at: Option<i64>,
}

impl CorrectionProposal {
    /// What it holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn all(&self) -> Result<Vec<Correction>, StoreError> {
        serde_json::from_str(&self.corrections).map_err(|error| StoreError::BadData {
            place: "correction_proposal.corrections",
            found: error.to_string(),
        })
    }
}

/// Proposes corrections: nothing changes until somebody else approves them.
///
/// # Errors
/// When the store fails.
pub async fn propose(
    hub: &Hub,
    caller: &Caller,
    id: Uuid,
    asked: &[Asked],
    reason: &str,
) -> Answer<CorrectionProposal> {
    hub.whole(|attempt| Box::pin(async move {
        let mut check = Check::default();
        if reason.trim().is_empty() {
            check.refuse(Code::Required, "reason", "say why; it stays in each record's history");
        }
        if asked.is_empty() {
            check.refuse(Code::Required, "corrections", "name at least one");
        }
        if asked.len() > MOST_AT_ONCE {
            let message = format!("{MOST_AT_ONCE} at the most; propose the rest apart");
            check.refuse(Code::TooLong, "corrections", message);
        }
        if let Some(refusals) = check.refusals() {
            return Ok(Err(refusals));
        }
        let mut check = Check::default();
        let mut tx = attempt.write().await?;
        if let Some(before) = tx.by_ids::<CorrectionProposal>([id]).await?.into_iter().next() {
            // Asked for again: registers may have moved on since.
            let ids = before.all()?.into_iter().map(|it| it.session_id);
            let sessions = tx.by_ids::<Session>(ids.collect::<BTreeSet<Uuid>>()).await?;
            let registers: BTreeMap<Uuid, Uuid> =
                sessions.into_iter().map(|session| (session.id, session.register_id)).collect();
            let there = before.all()?;
            let same = there.len() == asked.len()
                && there.iter().zip(asked).all(|(one, other)| {
                    (registers.get(&one.session_id).copied(), Some(one.student_id), one.to, one.arrived_at)
                        == (other.register, other.student, other.status, other.arrived_at)
                });
            if same && before.reason == reason && before.proposed_token == caller.token_id {
                return Ok(Ok(before));
            }
            check.refuse(Code::Conflict, "id", "another proposal has this id; make a new one");
            return Ok(Err(check.refusals().unwrap_or_default()));
        }
        let registers: BTreeSet<Uuid> = asked.iter().filter_map(|it| it.register).collect();
        let sessions = tx.by_column::<Session>("register_id", registers.into_iter().map(Into::into)).await?;
        let sessions: BTreeMap<Uuid, Session> = sessions.into_iter().map(|it| (it.register_id, it)).collect();
        let ids: Vec<Uuid> = sessions.values().map(|session| session.id).collect();
        let marks: BTreeMap<(Uuid, Uuid), Attendance> = tx
            .attendance_of(&ids)
            .await?
            .into_iter()
            .map(|mark| ((mark.session_id, mark.student_id), mark))
            .collect();
        let mut corrections: Vec<Correction> = Vec::new();
        let mut seen = BTreeMap::new();
        for (index, it) in asked.iter().enumerate() {
            let Some(session) = it.register.and_then(|id| sessions.get(&id)) else {
                let path = format!("corrections.{index}.registerId");
                check.refuse(Code::NotFound, &path, "there is no such register");
                continue;
            };
            let mark = it.student.and_then(|student| marks.get(&(session.id, student)));
            let path = format!("corrections.{index}.studentId");
            let Some(mark) = mark else {
                let message =
                    "this student is not in this register; save a stay in one of the session's groups first";
                check.refuse(Code::NotFound, &path, message);
                continue;
            };
            if let Some(first) = seen.insert((mark.session_id, mark.student_id), index) {
                let message = format!("this mark stands in this input twice: here and at index {first}");
                check.refuse(Code::Conflict, &path, message);
            }
            if it.status == AttendanceStatus::Expected {
                let message = "nobody can decide that something is undecided";
                check.refuse(Code::Invalid, &format!("corrections.{index}.status"), message);
            }
            corrections.push(Correction {
                session_id: mark.session_id,
                student_id: mark.student_id,
                from: mark.status,
                to: it.status,
                arrived_at: it.arrived_at,
                revision: mark.revision,
            });
        }
        let text = serde_json::to_string(&corrections).map_err(|error| StoreError::BadData {
            place: "correction_proposal.corrections",
            found: error.to_string(),
        })?;
        if let Some(refusals) = check.refusals() {
            return Ok(Err(refusals));
        }
        let proposal = CorrectionProposal {
            id,
            state: ProposalState::Proposed,
            reason: reason.to_owned(),
            corrections: text,
            proposed_token: caller.token_id,
            proposed_by: caller.name.clone(),
            proposed_at: hub.now().0,
            decided_token: None,
            decided_by: None,
            decided_at: None,
            note: None,
        };
        tx.put(std::slice::from_ref(&proposal)).await?;
        tx.commit().await?;
        Ok(Ok(proposal))
    }))
    .await
}

/// Approves a proposal, which makes its corrections, all or none; or rejects it. Only somebody else may approve.
///
/// # Errors
/// When the store fails.
pub async fn decide(
    hub: &Hub,
    caller: &Caller,
    id: Option<Uuid>,
    approve: bool,
    note: Option<&str>,
) -> Answer<CorrectionProposal> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            let mut tx = attempt.write().await?;
            let Some(before) = tx.by_ids::<CorrectionProposal>(id).await?.into_iter().next() else {
                check.refuse(
                    Code::NotFound,
                    "proposalId",
                    "there is no such proposal; `correctionProposals` lists them",
                );
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            let wanted = if approve { ProposalState::Approved } else { ProposalState::Rejected };
            if before.state != ProposalState::Proposed {
                if before.state == wanted && before.decided_token == Some(caller.token_id) {
                    return Ok(Ok(before));
                }
                let message = format!(
                    "it is {} already, and stays so; propose anew what is to be another",
                    before.state.word()
                );
                check.refuse(Code::WrongState, "proposalId", message);
            } else if approve
                && (before.proposed_token == caller.token_id || before.proposed_by == caller.name)
            {
                let message = "whoever proposed it cannot approve it: somebody else must, with a token of \
                       their own in their name";
                check.refuse(Code::NotPermitted, "proposalId", message);
            }
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            let now = hub.now().0;
            let after = CorrectionProposal {
                state: wanted,
                decided_token: Some(caller.token_id),
                decided_by: Some(caller.name.clone()),
                decided_at: Some(now),
                note: note.map(str::to_owned),
                ..before
            };
            tx.put(std::slice::from_ref(&after)).await?;
            if !approve {
                tx.commit().await?;
                return Ok(Ok(after));
            }
            let corrections = after.all()?;
            let ids: BTreeSet<Uuid> = corrections.iter().map(|it| it.session_id).collect();
            let ids: Vec<Uuid> = ids.into_iter().collect();
            let marks: BTreeMap<(Uuid, Uuid), (i64, AttendanceStatus)> = tx
                .attendance_of(&ids)
                .await?
                .into_iter()
                .map(|mark| ((mark.session_id, mark.student_id), (mark.revision, mark.status)))
                .collect();
            let mut check = Check::default();
            let moved: Vec<&Correction> = corrections
                .iter()
                .filter(|it| marks.get(&(it.session_id, it.student_id)) != Some(&(it.revision, it.from)))
                .collect();
            if let Some(first) = moved.first() {
                let session = tx.by_ids::<Session>([first.session_id]).await?.into_iter().next();
                let student = tx.by_ids::<Student>([first.student_id]).await?.into_iter().next();
                let message = format!(
                    "{} of its marks changed after it was proposed, the first of student {} in session {}: \
             reject it, look at them, and propose it anew",
                    moved.len(),
                    student.map(|it| it.number).unwrap_or_default(),
                    session.and_then(|it| it.external_id).unwrap_or_default()
                );
                check.refuse(Code::StaleRevision, "proposalId", message);
                return Ok(Err(check.refusals().unwrap_or_default()));
            }
            let reason =
                format!("{} (proposed by {}, approved by {})", after.reason, after.proposed_by, caller.name);
            let facts: Vec<ManualFact> = corrections
                .iter()
                .map(|it| ManualFact {
                    session_id: it.session_id,
                    student_id: it.student_id,
                    status: it.to,
                    arrived_at: it.arrived_at,
                    reason: reason.clone(),
                    decided_by: Some(caller.token_id),
                })
                .collect();
            tx.put_manual(&facts, now).await?;
            let marked =
                corrections.iter().map(|it| ((it.session_id, it.student_id), reason.clone())).collect();
            let touched = Touched { sessions: ids.into_iter().collect(), marked, ..Touched::default() };
            hub.settle(tx, touched, Some(caller)).await?;
            Ok(Ok(after))
        })
    })
    .await
}
