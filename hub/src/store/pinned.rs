//! One state of the database that any number of reads see: for whatever takes many requests and must agree with itself.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Boxed, Row, Store, StoreError, Transaction, Value};

/// A store whose reads all go through one transaction. It takes no writes.
pub struct PinnedStore(Arc<Mutex<Box<dyn Transaction>>>);

impl PinnedStore {
    /// A store over a transaction that reads.
    #[must_use]
    pub fn new(transaction: Box<dyn Transaction>) -> Self {
        Self(Arc::new(Mutex::new(transaction)))
    }
}

impl Store for PinnedStore {
    fn read(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        let transaction = PinnedTransaction(self.0.clone());
        Box::pin(async move { Ok(Box::new(transaction) as Box<dyn Transaction>) })
    }

    fn write(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async { Err(StoreError::ReadOnly) })
    }
}

/// Statements of several readers take turns, one by one.
struct PinnedTransaction(Arc<Mutex<Box<dyn Transaction>>>);

impl Transaction for PinnedTransaction {
    fn execute<'a>(&'a mut self, _: &'a str, _: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>> {
        Box::pin(async { Err(StoreError::ReadOnly) })
    }

    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move { self.0.lock().await.fetch(sql, values).await })
    }

    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
