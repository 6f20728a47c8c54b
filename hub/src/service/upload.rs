//! Files that come over HTTP for an import, or wait to be fetched: kept in the database, in pieces, for a day.

use uuid::Uuid;

use super::Hub;
use super::refusal::{Answer, Check, Code};
use crate::import::MAX_FILE_BYTES;
use crate::store::StoreError;
use crate::store::entity::Upload;

/// How much of a file is one piece, in bytes; the last is smaller.
pub const PIECE_BYTES: usize = 1024 * 1024;
/// How many bytes wait in files at the most: four of the largest.
const MAX_WAITING_BYTES: u64 = 4 * MAX_FILE_BYTES;
/// How long a file waits for its import, in milliseconds.
pub const KEPT_MS: i64 = 24 * 3_600_000;
/// For how long it is told what imports and exports came to, in milliseconds.
pub const JOBS_KEPT_MS: i64 = 90 * 24 * 3_600_000;
/// How long one stays that is not whole, in milliseconds: whoever was writing it has gone.
const BROKEN_KEPT_MS: i64 = 6 * 3_600_000;

/// A file that is coming.
pub struct Incoming {
    hub: Hub,
    upload: Upload,
    buffer: Vec<u8>,
    pieces: i64,
    limit: u64,
    is_crowded_out: bool,
}

/// Begins to take a file in.
///
/// # Errors
/// When the store fails.
pub async fn begin(hub: &Hub, name: &str) -> Answer<Incoming> {
    let mut check = Check::default();
    check.code("name", name);
    if hub.read().await?.waiting_bytes(false).await? >= MAX_WAITING_BYTES {
        let message = format!(
            "files of {} MiB wait already, which is as many as the hub keeps; they go a day after they came",
            MAX_WAITING_BYTES / 1024 / 1024
        );
        check.refuse(Code::WrongState, "", message);
    }
    if let Some(refusals) = check.refusals() {
        return Ok(Err(refusals));
    }
    Ok(Ok(Incoming::new(hub, name, MAX_FILE_BYTES, false)))
}

impl Incoming {
    /// A file to be written, of so many bytes at the most; an import's, or an export's.
    #[must_use]
    pub fn new(hub: &Hub, name: &str, limit: u64, exported: bool) -> Self {
        let (id, created_at) = (hub.mint(), hub.now().0);
        let upload = Upload { id, name: name.to_owned(), size: 0, complete: false, exported, created_at };
        Self { hub: hub.clone(), upload, buffer: Vec::new(), pieces: 0, limit, is_crowded_out: false }
    }

    /// How many bytes it has so far.
    #[must_use]
    pub fn size(&self) -> i64 {
        self.upload.size + i64::try_from(self.buffer.len()).unwrap_or(i64::MAX)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(self) -> Result<(), StoreError> {
        forget(&self.hub, &[self.upload.id]).await
    }

    /// It was forgotten because too many others came at the same time.
    #[must_use]
    pub fn is_crowded_out(&self) -> bool {
        self.is_crowded_out
    }

    /// Takes some more of it; `false` when it is too large, or crowded out, which makes it be forgotten.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add(&mut self, bytes: &[u8]) -> Result<bool, StoreError> {
        self.buffer.extend_from_slice(bytes);
        let size = u64::try_from(self.upload.size).unwrap_or(u64::MAX);
        if size.saturating_add(self.buffer.len() as u64) > self.limit {
            forget(&self.hub, &[self.upload.id]).await?;
            return Ok(false);
        }
        while self.buffer.len() >= PIECE_BYTES {
            let rest = self.buffer.split_off(PIECE_BYTES);
            let piece = std::mem::replace(&mut self.buffer, rest);
            if !self.write(piece).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// It is all there; none where it was crowded out.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish(mut self) -> Result<Option<Upload>, StoreError> {
        self.upload.complete = true;
        let last = std::mem::take(&mut self.buffer);
        let is_written = self.write(last).await?;
        Ok(is_written.then_some(self.upload))
    }

    /// Writes a piece; `false` where so many files wait that there is no room for it, which makes the file be forgotten.
    async fn write(&mut self, piece: Vec<u8>) -> Result<bool, StoreError> {
        self.upload.size += i64::try_from(piece.len()).unwrap_or(i64::MAX);
        let (upload, pieces, piece) = (&self.upload, self.pieces, &piece);
        let has_room = self
            .hub
            .whole(|attempt| {
                Box::pin(async move {
                    let mut tx = attempt.write().await?;
                    if pieces > 0 && tx.by_ids::<Upload>([upload.id]).await?.is_empty() {
                        let found = format!("{} was dropped while it came", upload.name);
                        return Err(StoreError::BadData { place: "upload", found });
                    }
                    // Many may have begun to come at once.
                    if !upload.exported
                        && tx.waiting_bytes(false).await? + piece.len() as u64
                            > MAX_WAITING_BYTES + MAX_FILE_BYTES
                    {
                        return Ok(false);
                    }
                    tx.add_piece(upload.id, pieces, piece.clone()).await?;
                    tx.put(std::slice::from_ref(upload)).await?;
                    tx.commit().await?;
                    Ok(true)
                })
            })
            .await?;
        self.pieces += 1;
        if !has_room {
            self.is_crowded_out = true;
            forget(&self.hub, &[self.upload.id]).await?;
        }
        Ok(has_room)
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

/// Forgets files whose day is over, and imports and exports after a season.
///
/// # Errors
/// When the store fails.
pub async fn forget_old(hub: &Hub) -> Result<(), StoreError> {
    let now = hub.now().0;
    let mut tx = hub.read_aside().await?;
    let old = tx.uploads_before(now - KEPT_MS, now - BROKEN_KEPT_MS).await?;
    let has_old_jobs = tx.has_old_jobs(now - JOBS_KEPT_MS).await?;
    drop(tx);
    if has_old_jobs {
        hub.whole(|attempt| {
            Box::pin(async move {
                let mut tx = attempt.write().await?;
                tx.drop_old_jobs(now - JOBS_KEPT_MS).await?;
                tx.commit().await
            })
        })
        .await?;
    }
    if old.is_empty() { Ok(()) } else { forget(hub, &old).await }
}

/// Forgets files.
///
/// # Errors
/// When the store fails.
pub async fn forget(hub: &Hub, files: &[Uuid]) -> Result<(), StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            tx.drop_uploads(files).await?;
            tx.commit().await
        })
    })
    .await
}
