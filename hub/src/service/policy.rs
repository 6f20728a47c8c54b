//! The attendance policy: saved as data, in force from an instant on.

use async_graphql::InputObject;
use rollcall_rules::policy::{Overlap, Policy};
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::refusal::{Answer, Check, Code};
use super::{Caller, Hub, Touched};
use crate::scalar::{DateTime, Duration};
use crate::store::entity::{OverlapRule, Policy as StoredPolicy, Session};
use crate::store::timetable::LONGEST_OPENING_MS;

/// The institution's attendance policy from an instant on. A session reads the policy at its start.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "AttendancePolicyInput")]
pub struct SavePolicy {
    /// In force from here, until the next one.
    pub from: DateTime,
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

/// Saves the policy from an instant on.
///
/// # Errors
/// When the store fails.
pub async fn save_policy(hub: &Hub, caller: &Caller, input: &SavePolicy) -> Answer<Uuid> {
    let mut check = Check::default();
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
    if let Some(refusals) = check.refusals() {
        return Ok(Err(refusals));
    }
    let mut tx = hub.write().await?;
    let mut policies = tx.all::<StoredPolicy>().await?;
    let known = policies.iter().find(|policy| policy.from_at == input.from.ms()).map(|policy| policy.id);
    let id = known.unwrap_or_else(|| hub.mint());
    let policy = StoredPolicy {
        id,
        from_at: input.from.ms(),
        opens_before_ms: input.opens_before.0,
        closes_after_ms: input.closes_after.0,
        overlap: input.overlap,
        outage_tolerance_ms: input.outage_tolerance.0,
        settle_limit_ms: input.settle_limit.0,
    };
    tx.put(std::slice::from_ref(&policy)).await?;
    policies.retain(|other| other.id != id);
    policies.push(policy);
    policies.sort_by_key(|policy| policy.from_at);
    let sql = "SELECT id FROM session WHERE starts_at >= $1";
    let rows = tx.fetch(sql, vec![input.from.ms().into()]).await?;
    let ids: Vec<Uuid> = rows.into_iter().map(|mut row| row.next("session.id")).collect::<Result<_, _>>()?;
    let mut sessions = tx.by_ids::<Session>(ids.iter().copied()).await?;
    for session in &mut sessions {
        session.closes_at = policy_at(&policies, session.starts_at)
            .window(Instant(session.starts_at), Instant(session.ends_at))
            .closes
            .0;
        session.revision += 1;
    }
    tx.put(&sessions).await?;
    let mut touched = Touched {
        sessions: ids.iter().copied().collect(),
        feed_sessions: ids.iter().copied().collect(),
        ..Touched::default()
    };
    let sql = "SELECT id FROM swipe WHERE latest_at >= $1";
    for mut row in tx.fetch(sql, vec![(input.from.ms() - LONGEST_OPENING_MS).into()]).await? {
        touched.swipes.insert(row.next("swipe.id")?);
    }
    hub.settle(tx, touched, Some(caller)).await?;
    Ok(Ok(id))
}

/// The policy in force at an instant; the default before the first one.
#[must_use]
pub fn policy_at(policies: &[StoredPolicy], at: i64) -> Policy {
    let stored = policies.iter().filter(|policy| policy.from_at <= at).max_by_key(|policy| policy.from_at);
    stored.map_or_else(Policy::default, |stored| Policy {
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
