//! The sum of what a cache holds, kept in it: sled drops what it finds damaged at the end of its file and opens all the same, so
//! that some of it, or what it was before, would pass for all of it.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::CacheError;

/// Its key.
pub(super) const DIGEST: &[u8] = b"\0digest";
/// The only key beside it that is not in the sum: it is written by itself.
pub(super) const SYNCED: &[u8] = b"\0synced";

/// The sum over keys and values, in whatever order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum(u64);

impl Sum {
    /// Takes an entry in.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(hash(key, value));
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(hash(key, value));
    }

    /// As it is kept.
    pub(super) fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// As it was kept.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, CacheError> {
        let bytes = bytes.try_into().map_err(|_| CacheError::BadData("its digest is none".to_owned()))?;
        Ok(Self(u64::from_be_bytes(bytes)))
    }
}

fn hash(key: &[u8], value: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(key.len().to_be_bytes());
    hash.update(key);
    hash.update(value);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(first)
}

/// What is written, by key; none takes the entry out.
pub(super) type Entries = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Writes entries in one piece, and the digest of what there is then. A cache of a version that kept none gets none.
///
/// # Errors
/// When the disk fails; nothing is written then.
pub(super) fn write(db: &sled::Db, entries: Entries) -> Result<(), CacheError> {
    let mut sum = db.get(DIGEST)?.map(|known| Sum::of(&known)).transpose()?;
    let mut batch = sled::Batch::default();
    for (key, value) in entries {
        if let Some(sum) = &mut sum {
            if let Some(old) = db.get(&key)? {
                sum.remove(&key, &old);
            }
            if let Some(new) = &value {
                sum.add(&key, new);
            }
        }
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    if let Some(sum) = sum {
        batch.insert(DIGEST, &sum.bytes());
    }
    Ok(db.apply_batch(batch)?)
}
