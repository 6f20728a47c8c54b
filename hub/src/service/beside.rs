//! What hubs beside this one took in over the same database: nobody else tells this one's subscribers of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::{Hub, News};
use crate::store::entity::Swipe;
use crate::store::{StoreError, Tx};

/// Swipes that this hub takes in itself, and tells of: whether each was committed yet. Nobody who waits for anything holds it, for
/// whoever commits holds up all others that write.
pub(super) type Here = Mutex<HashMap<Uuid, bool>>;

fn lock(here: &Here) -> MutexGuard<'_, HashMap<Uuid, bool>> {
    here.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes in their transaction how far swipes have come in.
pub(super) async fn note(tx: &mut Tx, swipes: &[Swipe]) -> Result<(), StoreError> {
    let mut heads: BTreeMap<Uuid, i64> = BTreeMap::new();
    for swipe in swipes {
        let head = heads.entry(swipe.journal_id).or_insert(swipe.sequence);
        *head = swipe.sequence.max(*head);
    }
    tx.note_intake(&heads).await
}

/// Commits swipes that came in here. Before anybody can see them it is noted that this hub tells of them; where it is not known to
/// have committed them, the next look does.
pub(super) async fn commit(hub: &Hub, tx: Tx, swipes: &[Swipe]) -> Result<(), StoreError> {
    let mut noted = Noted { here: &hub.here, ids: Vec::new(), committed: false };
    {
        let mut here = lock(&hub.here);
        // One that is there already is told of by whoever put it there.
        let mine = swipes.iter().map(|swipe| swipe.id).filter(|id| !here.contains_key(id));
        noted.ids = mine.collect();
        here.extend(noted.ids.iter().map(|id| (*id, false)));
    }
    tx.commit().await?;
    noted.committed = true;
    Ok(())
}

/// Swipes whose commit is under way.
struct Noted<'a> {
    here: &'a Here,
    ids: Vec<Uuid>,
    committed: bool,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut here = lock(self.here);
        for id in &self.ids {
            if self.committed {
                here.insert(*id, true);
            } else {
                here.remove(id);
            }
        }
    }
}

/// How far each journal had come in when it was last looked at.
#[derive(Debug, Default)]
pub struct SeenSwipes {
    heads: Option<BTreeMap<Uuid, i64>>,
    /// Swipes that were seen while this hub had no answer to their commit yet.
    passed: HashSet<Uuid>,
}

impl SeenSwipes {
    /// Tells whoever listens of swipes that came in since the last look, and not here. One that a gateway hands over behind
    /// later ones of the same journal is only told of where it came in.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look(&mut self, hub: &Hub) -> Result<(), StoreError> {
        let (mut unsaid, mut came) = (Vec::new(), Vec::new());
        let committed = |(id, committed): (&Uuid, &bool)| committed.then_some(*id);
        // All of these lie before the heads that are read from here on.
        let before_heads: HashSet<Uuid> = {
            let here = lock(&hub.here);
            self.passed.retain(|id| match here.get(id) {
                Some(committed) => !committed,
                // The commit took effect, and whoever asked for it never heard so.
                None => {
                    unsaid.push(News::Swipe(*id));
                    false
                }
            });
            here.iter().filter_map(committed).collect()
        };
        hub.tell(unsaid);
        let mut tx = hub.read_aside().await?;
        let heads = tx.intake_heads().await?;
        if let Some(before) = &self.heads {
            for (journal, through) in &heads {
                let after = before.get(journal).copied().unwrap_or(i64::MIN);
                if after < *through {
                    let swipes = tx.swipes_of_journal(*journal, after, *through).await?;
                    let here = lock(&hub.here);
                    for id in swipes {
                        match here.get(&id) {
                            None => came.push(News::Swipe(id)),
                            Some(true) => {}
                            Some(false) => drop(self.passed.insert(id)),
                        }
                    }
                }
            }
        }
        lock(&hub.here).retain(|id, _| !before_heads.contains(id));
        self.heads = Some(heads);
        hub.tell(came);
        Ok(())
    }
}
