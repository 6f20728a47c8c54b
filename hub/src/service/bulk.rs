//! Saving things in bulk: what one kind does within a transaction, and the one way in which it is committed.
//!
//! Called by `graphql` for its mutations, and by `import`, which saves many kinds in one transaction.

use async_trait::async_trait;
use uuid::Uuid;

use super::refusal::{Answer, Check};
use super::{Caller, Hub, Touched};
use crate::store::{StoreError, Tx};

/// Something that is saved by the name that people use: new, or written over.
#[async_trait]
pub trait Save: Sized + Send + Sync {
    /// Saves some within a transaction. What is wrong with them goes to `check`, with paths `list.index.field`;
    /// the transaction is then of no use.
    ///
    /// # Errors
    /// When the store fails.
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError>;
}

/// Fields that an import's file has no word of: of what is there already they stay as they are.
#[derive(Debug, Clone, Default)]
pub struct Unsaid(pub Vec<&'static str>);

impl Unsaid {
    /// What is there already, where the file has no word of a field.
    #[must_use]
    pub fn keeps<'a, T>(&self, field: &str, known: Option<&'a T>) -> Option<&'a T> {
        known.filter(|_| self.0.contains(&field))
    }
}

/// What was put into a transaction.
#[derive(Debug, Default)]
pub struct Put {
    /// The ids, in the order of the inputs.
    pub ids: Vec<Uuid>,
    /// What must be derived anew.
    pub touched: Touched,
    /// How many of them were what.
    pub tally: Tally,
}

/// How many things were new, changed, the same as before, or taken away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// New.
    pub created: usize,
    /// Changed.
    pub updated: usize,
    /// The same as before.
    pub unchanged: usize,
    /// Taken away, called off or ended.
    pub removed: usize,
}

impl Tally {
    /// Counts things beside what they were.
    pub fn of<'a, T: PartialEq + 'a>(things: impl IntoIterator<Item = (Option<&'a T>, &'a T)>) -> Self {
        let mut tally = Self::default();
        for (before, now) in things {
            tally.count(before.map(|before| before == now));
        }
        tally
    }

    /// Counts one thing: the same as before or not, or new.
    pub fn count(&mut self, same: Option<bool>) {
        match same {
            None => self.created += 1,
            Some(false) => self.updated += 1,
            Some(true) => self.unchanged += 1,
        }
    }
}

/// Saves things, all or none, and derives what rests on them.
///
/// # Errors
/// When the store fails.
pub async fn save<S: Save>(hub: &Hub, caller: &Caller, inputs: &[S]) -> Answer<Vec<Uuid>> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            let mut tx = attempt.write().await?;
            let put = S::put(hub, &mut tx, &mut check, inputs).await?;
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            hub.settle(tx, put.touched, Some(caller)).await?;
            Ok(Ok(put.ids))
        })
    })
    .await
}
