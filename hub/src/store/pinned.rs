//! One state of the database that any number of reads see: for whatever takes many questions and must agree with itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::lists::TakesLists;
use super::{Boxed, Row, Store, StoreError, Transaction, Value};

/// A store whose reads all go through one transaction, begun with the first of them. What is written
/// through it can only be looked at, and is never kept; reads after it see the state after it.
pub struct PinnedStore(Arc<Pinned>);

struct Pinned {
    store: Arc<dyn Store>,
    begun: Mutex<Option<Begun>>,
    /// Held by who writes, for as long as he does: he reads beside it, so the next may not yet keep others from reading.
    trials: Arc<Mutex<()>>,
    /// Somebody writes: all others who write wait for him, and so whoever reads beside him waits behind no report.
    trying: AtomicBool,
}

/// A transaction that reads.
struct Begun {
    transaction: Box<dyn Transaction>,
    /// It waited behind no report, and is not to be kept for longer than the trial.
    soon: bool,
}

impl PinnedStore {
    /// A store over another.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (begun, trials, trying) = (Mutex::new(None), Arc::default(), AtomicBool::new(false));
        Self(Arc::new(Pinned { store, begun, trials, trying }))
    }
}

impl Store for PinnedStore {
    fn read(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        let transaction = PinnedTransaction(self.0.clone());
        Box::pin(async move { Ok(Box::new(transaction) as Box<dyn Transaction>) })
    }

    fn write(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async move {
            // Nobody holds a reader while he waits to write, and nobody who asks for the same begins to read meanwhile. What is
            // read after this is the state that is written upon.
            let alone = self.0.trials.clone().lock_owned().await;
            let mut begun = self.0.begun.lock().await;
            drop(begun.take());
            let transaction = self.0.store.write().await?;
            self.0.trying.store(true, Ordering::Relaxed);
            Ok(Box::new(Trial { transaction, pinned: self.0.clone(), _alone: alone }) as Box<dyn Transaction>)
        })
    }
}

/// A transaction that writes for as long as it is there.
struct Trial {
    transaction: Box<dyn Transaction>,
    pinned: Arc<Pinned>,
    _alone: OwnedMutexGuard<()>,
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.pinned.trying.store(false, Ordering::Relaxed);
    }
}

impl Transaction for Trial {
    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>> {
        self.transaction.execute(sql, values)
    }

    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        self.transaction.fetch(sql, values)
    }

    fn lists(&mut self) -> Option<&mut dyn TakesLists> {
        self.transaction.lists()
    }

    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError::ReadOnly) })
    }
}

/// Statements of several readers take turns, one by one.
struct PinnedTransaction(Arc<Pinned>);

impl Transaction for PinnedTransaction {
    fn execute<'a>(&'a mut self, _: &'a str, _: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>> {
        Box::pin(async { Err(StoreError::ReadOnly) })
    }

    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            let mut begun = self.0.begun.lock().await;
            let trying = self.0.trying.load(Ordering::Relaxed);
            if begun.as_ref().is_some_and(|begun| begun.soon && !trying) {
                // Its place is needed by others.
                drop(begun.take());
            }
            let transaction = match &mut *begun {
                Some(begun) => &mut begun.transaction,
                none => {
                    let store = &self.0.store;
                    let transaction = if trying { store.read_soon().await? } else { store.read().await? };
                    &mut none.insert(Begun { transaction, soon: trying }).transaction
                }
            };
            transaction.fetch(sql, values).await
        })
    }

    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
