//! Files in the database, in pieces: any hub over it can read what another took in.

use uuid::Uuid;

use super::{StoreError, Tx, Value};

impl Tx {
    /// Adds a piece to a file.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn add_piece(&mut self, upload: Uuid, number: i64, bytes: Vec<u8>) -> Result<(), StoreError> {
        let sql = "INSERT INTO upload_piece (upload_id, number, bytes) VALUES ($1, $2, $3)";
        self.execute(sql, vec![upload.into(), number.into(), bytes.into()]).await?;
        Ok(())
    }

    /// A piece of a file.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn piece(&mut self, upload: Uuid, number: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM upload_piece WHERE upload_id = $1 AND number = $2";
        let row = self.fetch_one(sql, vec![upload.into(), number.into()]).await?;
        row.map(|mut row| row.next("upload_piece.bytes")).transpose()
    }

    /// How many bytes wait in files in all.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn uploaded_bytes(&mut self) -> Result<i64, StoreError> {
        // CAST: PostgreSQL sums whole numbers into decimals.
        let sql = "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM upload";
        self.fetch_one(sql, Vec::new()).await?.map_or(Ok(0), |mut row| row.next("upload.size"))
    }

    /// The files that began to come before an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn uploads_before(&mut self, at: i64) -> Result<Vec<Uuid>, StoreError> {
        let rows = self.fetch("SELECT id FROM upload WHERE created_at < $1", vec![at.into()]).await?;
        rows.into_iter().map(|mut row| row.next("upload.id")).collect()
    }

    /// Drops files.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_uploads(&mut self, ids: &[Uuid]) -> Result<(), StoreError> {
        for sql in ["DELETE FROM upload_piece WHERE upload_id IN ({})", "DELETE FROM upload WHERE id IN ({})"]
        {
            self.execute_in(sql, &[], ids.iter().map(|id| Value::from(*id))).await?;
        }
        Ok(())
    }

    /// The import that has waited longest for somebody to work on it.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn waiting_import(&mut self, now: i64) -> Result<Option<Uuid>, StoreError> {
        let sql = "SELECT id FROM import_job WHERE state IN ('CHECKING', 'APPLYING') \
                   AND (leased_until IS NULL OR leased_until < $1) ORDER BY created_at, id LIMIT 1";
        let row = self.fetch_one(sql, vec![now.into()]).await?;
        row.map(|mut row| row.next("import_job.id")).transpose()
    }
}
