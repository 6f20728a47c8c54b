//! The attendance policy: saved as data, in force from an instant on.

use async_graphql::InputObject;
use rollcall_rules::policy::{Overlap, Policy};
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::history::Kind;
use super::refusal::{Answer, Check, Code};
use super::{Caller, Hub, Touched};
use crate::scalar::{DateTime, Duration};
use crate::store::entity::{OverlapRule, Policy as StoredPolicy, Session, SessionKind};
use crate::store::timetable::LONGEST_OPENING_MS;
use crate::store::{StoreError, Tx};

/// An attendance policy from an instant on: the institution's; a department's, which goes before it; or that of one kind of
/// session, which goes before both, and of a kind in one department before that. A session reads the policy at its start.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "AttendancePolicyInput")]
pub struct SavePolicy {
    /// In force from here, until the next one for the same sessions.
    pub from: DateTime,
    /// The kind of session that it is for; all kinds that have none of their own when left out.
    pub kind: Option<SessionKind>,
    /// The department whose courses' sessions it is for; all that have none of their own when left out.
    pub department: Option<String>,
    /// How long before the start the window opens: PT0S to PT24H.
    #[graphql(default_with = "Duration(1_800_000)")]
    pub opens_before: Duration,
    /// How long after the end it closes: PT0S to PT24H.
    #[graphql(default_with = "Duration(0)")]
    pub closes_after: Duration,
    /// Which sessions one swipe is credited to.
    #[graphql(default_with = "OverlapRule::EveryOpen")]
    pub overlap: OverlapRule,
    /// For how much of the window a room may be without a working reader before absence proves nothing.
    #[graphql(default_with = "Duration(600_000)")]
    pub outage_tolerance: Duration,
    /// How long after its end a register waits for a silent gateway.
    #[graphql(default_with = "Duration(2_419_200_000)")]
    pub settle_limit: Duration,
}

/// Which sessions a policy is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scope<'a> {
    /// Those of one department; of all without a policy of their own when left out.
    pub department: Option<&'a str>,
    /// Those of one kind; of all kinds without a policy of their own when left out.
    pub kind: Option<SessionKind>,
}

impl<'a> Scope<'a> {
    /// A policy's.
    pub(super) fn of(policy: &'a StoredPolicy) -> Self {
        Self { department: policy.department.as_deref(), kind: policy.kind }
    }
}

impl SavePolicy {
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { department: self.department.as_deref(), kind: self.kind }
    }
}

/// Saves the policy from an instant on.
///
/// # Errors
/// When the store fails.
pub async fn save_policy(hub: &Hub, caller: &Caller, input: &SavePolicy) -> Answer<Uuid> {
    hub.whole(|attempt| {
        Box::pin(async move {
            if let Some(refusals) = check(input).refusals() {
                return Ok(Err(refusals));
            }
            let mut tx = attempt.write().await?;
            let (policy, mut touched) = put(hub, &mut tx, input, i64::MAX).await?;
            touched.feed_sessions.clone_from(&touched.sessions);
            hub.settle(tx, touched, Some(caller)).await?;
            Ok(Ok(policy))
        })
    })
    .await
}

pub(super) fn check(input: &SavePolicy) -> Check {
    let mut check = Check::default();
    if let Some(department) = &input.department {
        check.code("department", department);
    }
    for (name, duration) in [("opensBefore", input.opens_before), ("closesAfter", input.closes_after)] {
        if !(0..=LONGEST_OPENING_MS).contains(&duration.0) {
            check.refuse(Code::Invalid, name, "must be from PT0S to PT24H");
        }
    }
    for (name, duration) in [("outageTolerance", input.outage_tolerance), ("settleLimit", input.settle_limit)]
    {
        if duration.0 < 0 {
            check.refuse(Code::Invalid, name, "must not be negative");
        }
    }
    check
}

/// Puts a policy in force for sessions that start before an instant; names what must be derived anew.
async fn put(hub: &Hub, tx: &mut Tx, input: &SavePolicy, until: i64) -> Result<(Uuid, Touched), StoreError> {
    let before = tx.all::<StoredPolicy>().await?;
    let (id, policies) = put_alone(hub, tx, input).await?;
    let mut touched = judge_anew(tx, &before, &policies, input.scope(), input.from.ms()..until).await?;
    if let Some(policy) = policies.into_iter().find(|policy| policy.id == id && !before.contains(policy)) {
        touched.was.policy(Kind::Changed, policy);
    }
    Ok((id, touched))
}

/// Puts a policy beside the others and changes nothing by it yet; gives its id, and all policies.
pub(super) async fn put_alone(
    hub: &Hub,
    tx: &mut Tx,
    input: &SavePolicy,
) -> Result<(Uuid, Vec<StoredPolicy>), StoreError> {
    let mut policies = tx.all::<StoredPolicy>().await?;
    let known = policies.iter().find(|it| it.from_at == input.from.ms() && Scope::of(it) == input.scope());
    let known = known.map(|policy| policy.id);
    let id = known.unwrap_or_else(|| hub.mint());
    let policy = StoredPolicy {
        id,
        from_at: input.from.ms(),
        kind: input.kind,
        opens_before_ms: input.opens_before.0,
        closes_after_ms: input.closes_after.0,
        overlap: input.overlap,
        outage_tolerance_ms: input.outage_tolerance.0,
        settle_limit_ms: input.settle_limit.0,
        department: input.department.clone(),
    };
    tx.put(std::slice::from_ref(&policy)).await?;
    policies.retain(|other| other.id != id);
    policies.push(policy);
    Ok((id, policies))
}

/// Takes a policy back: what was in force before it for the same sessions holds on.
///
/// # Errors
/// When the store fails.
pub async fn delete_policy(hub: &Hub, caller: &Caller, from: i64, scope: Scope<'_>) -> Answer<()> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let mut policies = tx.all::<StoredPolicy>().await?;
            let Some(index) =
                policies.iter().position(|policy| policy.from_at == from && Scope::of(policy) == scope)
            else {
                let mut check = Check::default();
                check.refuse(
                    Code::NotFound,
                    "from",
                    "no policy for these sessions begins there; attendancePolicies lists them",
                );
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            let before = policies.clone();
            let policy = policies.swap_remove(index);
            tx.drop_policies(&[policy.id]).await?;
            let mut touched = judge_anew(&mut tx, &before, &policies, scope, from..i64::MAX).await?;
            touched.feed_sessions.clone_from(&touched.sessions);
            touched.was.policy(Kind::Removed, policy);
            hub.settle(tx, touched, Some(caller)).await?;
            Ok(Ok(()))
        })
    })
    .await
}

/// Sets the windows of sessions that start within some time, and are judged otherwise by these policies than by those before;
/// names what must be derived anew.
pub(super) async fn judge_anew(
    tx: &mut Tx,
    before: &[StoredPolicy],
    policies: &[StoredPolicy],
    scope: Scope<'_>,
    starts: std::ops::Range<i64>,
) -> Result<Touched, StoreError> {
    let ids = tx.sessions_starting(scope.department, scope.kind, starts.start, starts.end).await?;
    let mut sessions = tx.by_ids::<Session>(ids).await?;
    sessions.retain(|session| policy_for(before, session) != policy_for(policies, session));
    if sessions.is_empty() {
        return Ok(Touched::default());
    }
    judge_sessions_anew(tx, policies, sessions, starts).await
}

/// Sets the windows of these sessions, all of which start within some time, by these policies; names what must be derived anew.
pub(super) async fn judge_sessions_anew(
    tx: &mut Tx,
    policies: &[StoredPolicy],
    mut sessions: Vec<Session>,
    starts: std::ops::Range<i64>,
) -> Result<Touched, StoreError> {
    for session in &mut sessions {
        session.closes_at = policy_for(policies, session)
            .window(Instant(session.starts_at), Instant(session.ends_at))
            .closes
            .0;
        session.revision += 1;
    }
    tx.put(&sessions).await?;
    let (first, last) =
        (starts.start.saturating_sub(LONGEST_OPENING_MS), starts.end.saturating_add(2 * LONGEST_OPENING_MS));
    let swipes = tx.swipes_between(first, last).await?;
    Ok(Touched {
        sessions: sessions.iter().map(|session| session.id).collect(),
        swipes: swipes.into_iter().collect(),
        ..Touched::default()
    })
}

pub(super) fn stored(id: Uuid, from_at: i64, scope: Scope<'_>, policy: &Policy) -> StoredPolicy {
    StoredPolicy {
        id,
        from_at,
        kind: scope.kind,
        department: scope.department.map(str::to_owned),
        opens_before_ms: policy.opens_before_ms,
        closes_after_ms: policy.closes_after_ms,
        overlap: match policy.overlap {
            Overlap::EveryOpen => OverlapRule::EveryOpen,
            Overlap::NearestStart => OverlapRule::NearestStart,
        },
        outage_tolerance_ms: policy.outage_tolerance_ms,
        settle_limit_ms: policy.settle_limit_ms,
    }
}

/// The policy that a session is judged by.
#[must_use]
pub fn policy_for(policies: &[StoredPolicy], session: &Session) -> Policy {
    let scope = Scope { department: session.department.as_deref(), kind: Some(session.kind) };
    policy_at(policies, scope, session.starts_at)
}

/// The policy of some sessions in force at an instant: theirs, or that of those who have none of their own, kinds before
/// departments; the default before the first one.
#[must_use]
pub fn policy_at(policies: &[StoredPolicy], scope: Scope<'_>, at: i64) -> Policy {
    let latest = |scope: Scope<'_>| {
        let begun = policies.iter().filter(|policy| Scope::of(policy) == scope && policy.from_at <= at);
        begun.max_by_key(|policy| policy.from_at)
    };
    let found = latest(scope)
        .or_else(|| latest(Scope { department: None, ..scope }))
        .or_else(|| latest(Scope { kind: None, ..scope }))
        .or_else(|| latest(Scope::default()));
    found.map_or_else(Policy::default, |stored| Policy {
        opens_before_ms: stored.opens_before_ms,
        closes_after_ms: stored.closes_after_ms,
        overlap: match stored.overlap {
            OverlapRule::EveryOpen => Overlap::EveryOpen,
            OverlapRule::NearestStart => Overlap::NearestStart,
        },
        outage_tolerance_ms: stored.outage_tolerance_ms,
        settle_limit_ms: stored.settle_limit_ms,
    })
}
