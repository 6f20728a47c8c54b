//! What time alone brings about: registers whose settle limit has passed, or that end while the gateway they would wait for is
//! declared lost. Called once a minute by `app`.

use super::{Hub, Touched, policy};
use crate::store::StoreError;
use crate::store::entity::Policy;

/// How many registers one transaction derives: gateways that hand swipes over get their turn in between.
const SESSIONS_AT_ONCE: usize = 100;

/// Derives the registers anew that have waited longer than the policy lets them, or wait for nobody.
///
/// # Errors
/// When the store fails.
pub async fn sweep(hub: &Hub) -> Result<(), StoreError> {
    let mut tx = hub.read().await?;
    let now = hub.now().0;
    let policies = tx.all::<Policy>().await?;
    let shortest = policies
        .iter()
        .map(|policy| policy.settle_limit_ms)
        .chain([policy::policy_at(&[], policy::Scope::default(), now).settle_limit_ms])
        .min()
        .unwrap_or(0);
    let mut overdue = tx.sessions_overdue(now - shortest).await?;
    overdue.extend(tx.sessions_of_lost(now).await?);
    drop(tx);
    for some in overdue.chunks(SESSIONS_AT_ONCE) {
        let touched = Touched { sessions: some.iter().copied().collect(), ..Touched::default() };
        let touched = &touched;
        hub.whole(|attempt| {
            Box::pin(async move { hub.settle(attempt.write().await?, touched.clone(), None).await })
        })
        .await?;
    }
    Ok(())
}
