//! Reads that wait behind no report: tokens, what gateways ask, and what is looked at while others wait to write.

use std::sync::Arc;

use super::{Boxed, Store, StoreError, Transaction};

/// A store whose reads begin soon, for each of its kind takes little.
pub struct SoonStore(pub Arc<dyn Store>);

impl Store for SoonStore {
    fn read(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        self.0.read_soon()
    }

    fn in_turn(&self) -> Option<Arc<dyn Store>> {
        Some(self.0.clone())
    }

    fn write(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        self.0.write()
    }

    fn keep_months(&self, now: i64) -> Boxed<'_, Result<(), StoreError>> {
        self.0.keep_months(now)
    }
}
