//! Corrections of many marks: proposed by one person, decided by another.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};

use super::connection::{self, connection, page};
use super::context::{DECIDERS, Needs, READERS, caller, fault, hub, local};
use super::id::Kind;
use super::loader;
use super::payload::{UserError, user_errors};
use super::people::Student;
use super::session::Session;
use crate::scalar::{DateTime, UuidScalar};
use crate::service::corrections::{self, Asked, Correction};
use crate::service::refusal::Answer;
use crate::store::entity::{self, AttendanceStatus, ProposalState};
use crate::store::list;

/// Corrections that one person proposed, and that are made once another approves them.
#[derive(Clone)]
pub struct CorrectionProposal(pub entity::CorrectionProposal);

/// Corrections that one person proposed, and that are made once another approves them.
#[Object(guard = "Needs(READERS)")]
impl CorrectionProposal {
    /// Global id.
    pub async fn id(&self) -> ID {
        Kind::CorrectionProposal.id(self.0.id)
    }
    /// What became of it.
    async fn state(&self) -> ProposalState {
        self.0.state
    }
    /// Why.
    async fn reason(&self) -> &str {
        &self.0.reason
    }
    /// The name of whoever proposed it.
    async fn proposed_by(&self) -> &str {
        &self.0.proposed_by
    }
    /// When.
    async fn proposed_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        local(ctx, self.0.proposed_at)
    }
    /// The name of whoever approved or rejected it.
    async fn decided_by(&self) -> Option<&str> {
        self.0.decided_by.as_deref()
    }
    /// When.
    async fn decided_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.decided_at.map(|at| local(ctx, at)).transpose()
    }
    /// What they said to it.
    async fn note(&self) -> Option<&str> {
        self.0.note.as_deref()
    }
    /// How many corrections it holds.
    async fn count(&self) -> Result<usize> {
        Ok(self.0.all().map_err(|error| fault(&error))?.len())
    }
    /// The corrections, as they were proposed: 2,000 at the most.
    #[graphql(complexity = "50 + child_complexity")]
    async fn corrections(&self) -> Result<Vec<ProposedCorrection>> {
        let all = self.0.all().map_err(|error| fault(&error))?;
        Ok(all.into_iter().map(ProposedCorrection).collect())
    }
}

/// One correction of a proposal.
pub struct ProposedCorrection(Correction);

/// One correction of a proposal.
#[Object(guard = "Needs(READERS)")]
impl ProposedCorrection {
    /// The session.
    async fn session(&self, ctx: &Context<'_>) -> Result<Option<Session>> {
        Ok(loader::one(ctx, self.0.session_id).await?.map(Session))
    }
    /// The student.
    async fn student(&self, ctx: &Context<'_>) -> Result<Option<Student>> {
        Ok(loader::one(ctx, self.0.student_id).await?.map(Student))
    }
    /// The status that the mark had when it was proposed.
    async fn from(&self) -> AttendanceStatus {
        self.0.from
    }
    /// The status that it is to have.
    async fn to(&self) -> AttendanceStatus {
        self.0.to
    }
    /// When the student came, for PRESENT.
    async fn arrived_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.0.arrived_at.map(|at| local(ctx, at)).transpose()
    }
}

connection! {
    /// A page of proposals.
    CorrectionProposalConnection,
    /// A proposal and its place.
    CorrectionProposalEdge, CorrectionProposal
}

/// The part of the API that tells of proposals.
#[derive(Default)]
pub struct Corrections;

#[Object]
impl Corrections {
    /// Proposals of corrections, the latest first.
    #[graphql(guard = "Needs(READERS)", complexity = "5 + child_complexity")]
    async fn correction_proposals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many rows, 200 at the most.")] first: Option<i32>,
        #[graphql(desc = "Only rows behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many rows, 200 at the most.")] last: Option<i32>,
        #[graphql(desc = "Only rows before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only those in this state.")] state: Option<ProposalState>,
    ) -> Result<CorrectionProposalConnection> {
        let mut list = list::correction_proposals();
        if let Some(state) = state {
            list = list.and("q.state = {}", state);
        }
        list.descending = true;
        let (paged, total) = connection::read(ctx, list, &page(first, after, last, before)?).await?;
        Ok(CorrectionProposalConnection::new(paged, total, CorrectionProposal))
    }
}

/// A new status for one entry of one register.
#[derive(InputObject)]
pub struct CorrectionInput {
    /// The register.
    register_id: ID,
    /// The student.
    student_id: ID,
    /// The status; EXPECTED is none that a person can decide.
    status: AttendanceStatus,
    /// When the student came, for PRESENT.
    arrived_at: Option<DateTime>,
}

/// Corrections to propose.
#[derive(InputObject)]
pub struct ProposeCorrectionsInput {
    /// An id of the caller's making (RFC 9562, version 7 or 4): asked for again, it is the same proposal.
    id: UuidScalar,
    /// Why; it stays in each record's history.
    reason: String,
    /// The corrections, of any registers; 2,000 at the most.
    corrections: Vec<CorrectionInput>,
}

/// A decision on a proposal.
#[derive(InputObject)]
pub struct DecideCorrectionsInput {
    /// The proposal.
    proposal_id: ID,
    /// Whether it is made; otherwise it is rejected.
    approve: bool,
    /// What there is to say to it.
    note: Option<String>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct ProposeCorrectionsPayload {
    /// The proposal.
    proposal: Option<CorrectionProposal>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

/// What came of it.
#[derive(SimpleObject)]
pub struct DecideCorrectionsPayload {
    /// The proposal.
    proposal: Option<CorrectionProposal>,
    /// Why it was turned down; empty exactly when it took effect.
    errors: Vec<UserError>,
}

fn told(answer: Answer<entity::CorrectionProposal>) -> Result<(Option<CorrectionProposal>, Vec<UserError>)> {
    Ok(match answer.map_err(|error| fault(&error))? {
        Ok(proposal) => (Some(CorrectionProposal(proposal)), Vec::new()),
        Err(refusals) => (None, user_errors(refusals)),
    })
}

/// The part of the API that proposes and decides corrections.
#[derive(Default)]
pub struct CorrectionWrites;

#[Object]
impl CorrectionWrites {
    /// Proposes corrections. Nothing changes until somebody else approves them.
    #[graphql(guard = "Needs(DECIDERS)")]
    async fn propose_corrections(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The corrections.")] input: ProposeCorrectionsInput,
    ) -> Result<ProposeCorrectionsPayload> {
        let asked: Vec<Asked> = input
            .corrections
            .iter()
            .map(|it| Asked {
                register: Kind::Register.named(&it.register_id),
                student: Kind::Student.named(&it.student_id),
                status: it.status,
                arrived_at: it.arrived_at.as_ref().map(DateTime::ms),
            })
            .collect();
        let (hub, caller) = (hub(ctx)?, caller(ctx)?);
        let proposed = corrections::propose(hub, caller, input.id.0, &asked, &input.reason).await;
        let (proposal, errors) = told(proposed)?;
        Ok(ProposeCorrectionsPayload { proposal, errors })
    }

    /// Approves a proposal, which makes all its corrections or none, or rejects it. Whoever proposed it may take it back by
    /// rejecting it, and cannot approve it. Refused where a mark changed after the proposal.
    #[graphql(guard = "Needs(DECIDERS)")]
    async fn decide_corrections(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The decision.")] input: DecideCorrectionsInput,
    ) -> Result<DecideCorrectionsPayload> {
        let id = Kind::CorrectionProposal.named(&input.proposal_id);
        let (hub, caller) = (hub(ctx)?, caller(ctx)?);
        let decided = corrections::decide(hub, caller, id, input.approve, input.note.as_deref()).await;
        let (proposal, errors) = told(decided)?;
        Ok(DecideCorrectionsPayload { proposal, errors })
    }
}
