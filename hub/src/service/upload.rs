//! Files that come over HTTP for an import: kept in the database, in pieces, for a day.

use uuid::Uuid;

use super::Hub;
use super::refusal::{Answer, Check, Code};
use crate::import::MAX_FILE_BYTES;
use crate::store::StoreError;
use crate::store::entity::Upload;

/// How much of a file is held in memory while it comes, in bytes.
const PIECE_BYTES: usize = 1024 * 1024;
/// How many bytes wait in files at the most: four of the largest.
const MAX_WAITING_BYTES: u64 = 4 * MAX_FILE_BYTES;
/// How long a file waits for its import, in milliseconds.
const KEPT_MS: i64 = 24 * 3_600_000;

/// A file that is coming.
pub struct Incoming {
    hub: Hub,
    upload: Upload,
    buffer: Vec<u8>,
    pieces: i64,
}

/// Begins to take a file in.
///
/// # Errors
/// When the store fails.
pub async fn begin(hub: &Hub, name: &str) -> Answer<Incoming> {
    let mut check = Check::default();
    check.code("name", name);
    let waiting = hub.read().await?.uploaded_bytes().await?;
    if u64::try_from(waiting).unwrap_or(0) >= MAX_WAITING_BYTES {
        let message = format!(
            "files of {} MiB wait already, which is as many as the hub keeps; they go a day after they came",
            MAX_WAITING_BYTES / 1024 / 1024
        );
        check.refuse(Code::WrongState, "", message);
    }
    if let Some(refusals) = check.refusals() {
        return Ok(Err(refusals));
    }
    let (id, created_at) = (hub.mint(), hub.now().0);
    let upload = Upload { id, name: name.to_owned(), size: 0, complete: false, created_at };
    Ok(Ok(Incoming { hub: hub.clone(), upload, buffer: Vec::new(), pieces: 0 }))
}

impl Incoming {
    /// Takes some more of it; `false` when it is too large, which makes it be forgotten.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add(&mut self, bytes: &[u8]) -> Result<bool, StoreError> {
        self.buffer.extend_from_slice(bytes);
        let size = u64::try_from(self.upload.size).unwrap_or(u64::MAX);
        if size.saturating_add(self.buffer.len() as u64) > MAX_FILE_BYTES {
            let mut tx = self.hub.write().await?;
            tx.drop_uploads(&[self.upload.id]).await?;
            tx.commit().await?;
            return Ok(false);
        }
        while self.buffer.len() >= PIECE_BYTES {
            let rest = self.buffer.split_off(PIECE_BYTES);
            let piece = std::mem::replace(&mut self.buffer, rest);
            self.write(piece).await?;
        }
        Ok(true)
    }

    /// It is all there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(mut self) -> Result<Upload, StoreError> {
        self.upload.complete = true;
        let last = std::mem::take(&mut self.buffer);
        self.write(last).await?;
        Ok(self.upload)
    }

    async fn write(&mut self, piece: Vec<u8>) -> Result<(), StoreError> {
        self.upload.size += i64::try_from(piece.len()).unwrap_or(i64::MAX);
        let mut tx = self.hub.write().await?;
        tx.add_piece(self.upload.id, self.pieces, piece).await?;
        tx.put(std::slice::from_ref(&self.upload)).await?;
        tx.commit().await?;
        self.pieces += 1;
        Ok(())
    }
}

/// A file's name and all of it; `None` when it is not there, or not whole.
///
/// # Errors
/// When the store fails.
pub async fn file(hub: &Hub, id: Uuid) -> Result<Option<(String, Vec<u8>)>, StoreError> {
    let mut tx = hub.read().await?;
    let Some(upload) = tx.by_ids::<Upload>([id]).await?.into_iter().next().filter(|it| it.complete) else {
        return Ok(None);
    };
    let mut bytes = Vec::with_capacity(usize::try_from(upload.size).unwrap_or(0));
    let mut number = 0;
    while let Some(piece) = tx.piece(id, number).await? {
        bytes.extend(piece);
        number += 1;
    }
    Ok((bytes.len() as u64 == upload.size.unsigned_abs()).then_some((upload.name, bytes)))
}

/// Forgets files whose day is over.
///
/// # Errors
/// When the store fails.
pub async fn forget_old(hub: &Hub) -> Result<(), StoreError> {
    let before = hub.now().0 - KEPT_MS;
    let old = hub.read_aside().await?.uploads_before(before).await?;
    if !old.is_empty() {
        let mut tx = hub.write().await?;
        tx.drop_uploads(&old).await?;
        tx.commit().await?;
    }
    Ok(())
}
