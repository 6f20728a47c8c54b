//! Which calendars are due.

use uuid::Uuid;

use super::{StoreError, Tx};

impl Tx {
    /// The calendar that has been due longest at an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn calendar_source_due(&mut self, now: i64) -> Result<Option<Uuid>, StoreError> {
        let sql =
            "SELECT id FROM calendar_source WHERE enabled = 1 AND next_at <= $1 ORDER BY next_at, id LIMIT 1";
        let row = self.fetch_one(sql, vec![now.into()]).await?;
        row.map(|mut row| row.next("calendar_source.id")).transpose()
    }

    /// Drops a calendar.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_calendar_source(&mut self, id: Uuid) -> Result<(), StoreError> {
        self.execute("DELETE FROM calendar_source WHERE id = $1", vec![id.into()]).await?;
        Ok(())
    }
}
