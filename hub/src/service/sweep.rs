//! What time alone brings about: registers whose settle limit has passed. Called once a minute by `app`.

use super::{Hub, Touched, timetable};
use crate::store::StoreError;
use crate::store::entity::Policy;

/// Derives the registers anew that have waited longer than the policy lets them.
///
/// # Errors
/// When the store fails.
pub async fn sweep(hub: &Hub) -> Result<(), StoreError> {
    let mut tx = hub.write().await?;
    let now = hub.now().0;
    let policies = tx.all::<Policy>().await?;
    let shortest = policies
        .iter()
        .map(|policy| policy.settle_limit_ms)
        .chain([timetable::policy_at(&[], now).settle_limit_ms])
        .min()
        .unwrap_or(0);
    let overdue = tx.sessions_overdue(now - shortest).await?;
    if overdue.is_empty() {
        return Ok(());
    }
    let touched = Touched { sessions: overdue.into_iter().collect(), ..Touched::default() };
    hub.settle(tx, touched, None).await
}
