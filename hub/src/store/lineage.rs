//! Lines of descent of the database: which feed positions are its own after it was put back from a backup.

use uuid::Uuid;

use super::{StoreError, Tx};

impl Tx {
    /// Begins a line of descent at the feed positions as they are.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn begin_lineage(&mut self, id: Uuid, at: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO lineage (id, number, begun_at) \
                   SELECT $1, COALESCE(MAX(number), 0) + 1, $2 FROM lineage";
        self.execute(sql, vec![id.into(), at.into()]).await?;
        let sql = "INSERT INTO lineage_start (building_id, number, revision) \
                   SELECT b.id, l.number, b.feed_revision FROM building b CROSS JOIN lineage l WHERE l.id = $1";
        self.execute(sql, vec![id.into()]).await?;
        Ok(())
    }

    /// The line that the database is in.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn lineage(&mut self) -> Result<Option<Uuid>, StoreError> {
        let rows = self.fetch("SELECT id FROM lineage ORDER BY number DESC LIMIT 1", Vec::new()).await?;
        rows.into_iter().next().map(|mut row| row.next("lineage.id")).transpose()
    }

    /// The last position of a building's feed that a line had reached when the next began; `i64::MAX` where none did. `None` for a
    /// line that the database does not know.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn lineage_end(&mut self, id: Uuid, building: Uuid) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT COALESCE((SELECT MIN(s.revision) FROM lineage_start s \
                   WHERE s.building_id = $2 AND s.number > l.number), 9223372036854775807) \
                   FROM lineage l WHERE l.id = $1";
        let rows = self.fetch(sql, vec![id.into(), building.into()]).await?;
        rows.into_iter().next().map(|mut row| row.next("lineage_start.revision")).transpose()
    }
}
