//! What hubs beside this one took in over the same database: nobody else tells this one's subscribers of it.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use super::{Hub, News};
use crate::store::entity::Swipe;
use crate::store::{StoreError, Tx};

/// Swipes that this hub took in itself, and told of, since it last looked.
pub(super) type Here = tokio::sync::Mutex<HashSet<Uuid>>;

/// Notes in their transaction how far swipes have come in.
pub(super) async fn note(tx: &mut Tx, swipes: &[Swipe]) -> Result<(), StoreError> {
    let mut heads: BTreeMap<Uuid, i64> = BTreeMap::new();
    for swipe in swipes {
        let head = heads.entry(swipe.journal_id).or_insert(swipe.sequence);
        *head = swipe.sequence.max(*head);
    }
    tx.note_intake(&heads).await
}

/// Commits swipes that came in here. No look falls between the commit and the note that this hub tells of them.
pub(super) async fn commit(hub: &Hub, tx: Tx, swipes: &[Swipe]) -> Result<(), StoreError> {
    let mut here = hub.here.lock().await;
    tx.commit().await?;
    here.extend(swipes.iter().map(|swipe| swipe.id));
    Ok(())
}

/// How far each journal had come in when it was last looked at.
#[derive(Debug, Default)]
pub struct SeenSwipes(Option<BTreeMap<Uuid, i64>>);

impl SeenSwipes {
    /// Tells whoever listens of swipes that came in since the last look, and not here. One that a gateway hands over behind
    /// later ones of the same journal is only told of where it came in.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look(&mut self, hub: &Hub) -> Result<(), StoreError> {
        let mut here = hub.here.lock().await;
        let mut tx = hub.read_aside().await?;
        let heads = tx.intake_heads().await?;
        let mut came = Vec::new();
        if let Some(before) = &self.0 {
            for (journal, through) in &heads {
                let after = before.get(journal).copied().unwrap_or(i64::MIN);
                if after < *through {
                    let swipes = tx.swipes_of_journal(*journal, after, *through).await?;
                    came.extend(swipes.into_iter().filter(|id| !here.contains(id)).map(News::Swipe));
                }
            }
        }
        // All that was committed here lies before these heads.
        here.clear();
        drop(here);
        self.0 = Some(heads);
        hub.tell(came);
        Ok(())
    }
}
