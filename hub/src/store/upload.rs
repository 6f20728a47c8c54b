//! Files in the database, in pieces: any hub over it can read what another took in.

use uuid::Uuid;

use super::{StoreError, Tx, Value};

/// What is asked for and done: the table, and which of it is kept for as long as something else names it.
const OLD_JOBS: [(&str, &str); 2] = [
    ("import_job", " AND id NOT IN (SELECT import_id FROM calendar_source WHERE import_id IS NOT NULL)"),
    ("export_job", ""),
];
/// So many of them are dropped at once.
const JOBS_AT_ONCE: usize = 500;

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

    /// How many bytes wait in all files that came, or in all that were exported.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn waiting_bytes(&mut self, exported: bool) -> Result<u64, StoreError> {
        // CAST: PostgreSQL sums whole numbers into decimals.
        let sql = "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM upload WHERE exported = $1";
        let row = self.fetch_one(sql, vec![exported.into()]).await?;
        Ok(row.map_or(Ok(0), |mut row| row.next::<i64>("upload.size"))?.unsigned_abs())
    }

    /// The files that began to come before an instant, and those that began before another and never were whole.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn uploads_before(&mut self, at: i64, broken: i64) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT id FROM upload WHERE created_at < $1 OR (complete = 0 AND created_at < $2)";
        let rows = self.fetch(sql, vec![at.into(), broken.into()]).await?;
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

    /// Whether imports or exports ended of which everything was said before an instant; the last import of a calendar stays.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn has_old_jobs(&mut self, before: i64) -> Result<bool, StoreError> {
        for (table, unless) in OLD_JOBS {
            let sql = format!(
                "SELECT 1 FROM {table} WHERE created_at < $1 AND finished_at IS NOT NULL{unless} LIMIT 1"
            );
            if self.fetch_one(&sql, vec![before.into()]).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops some of those.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_old_jobs(&mut self, before: i64) -> Result<(), StoreError> {
        for (table, unless) in OLD_JOBS {
            let sql = format!(
                "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE created_at < $1 AND finished_at IS NOT NULL\
                 {unless} LIMIT {JOBS_AT_ONCE})"
            );
            self.execute(&sql, vec![before.into()]).await?;
        }
        Ok(())
    }

    /// The piece of work in a table that comes next, unless a hub holds it: they are done one after the other.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn waiting(&mut self, table: &str, states: &str, now: i64) -> Result<Option<Uuid>, StoreError> {
        let sql = format!(
            "SELECT id, leased_until FROM {table} WHERE state IN ({states}) ORDER BY created_at, id LIMIT 1"
        );
        let Some(mut row) = self.fetch_one(&sql, Vec::new()).await? else { return Ok(None) };
        let (id, leased_until): (Uuid, Option<i64>) = (row.next("id")?, row.next("leased_until")?);
        Ok(leased_until.is_none_or(|until| until < now).then_some(id))
    }
}
