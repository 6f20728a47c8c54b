//! What each building's gateways may see: one row for each item, with the revision of its last change.
//!
//! The table is the snapshot and the list of changes at once: everything that is not removed is the snapshot,
//! everything behind a revision is what changed since. Items that changed twice are sent once, as they are.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Row, StoreError, Tx, Value};

/// An item of a building's feed.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedItem {
    /// The building.
    pub building_id: Uuid,
    /// `SESSION`, `MEMBERSHIP`, `CARD` or `CONFIG`.
    pub kind: String,
    /// The thing's id.
    pub item_id: Uuid,
    /// The revision of its last change.
    pub revision: i64,
    /// Whether it left the building's slice.
    pub removed: bool,
    /// When it last changed.
    pub at: i64,
    /// What a gateway needs of it, as JSON.
    pub payload: String,
}

const COLUMNS: &str = "building_id, item_kind, item_id, revision, removed, at, payload";

fn item(mut row: Row) -> Result<FeedItem, StoreError> {
    Ok(FeedItem {
        building_id: row.next("feed_item.building_id")?,
        kind: row.next("feed_item.item_kind")?,
        item_id: row.next("feed_item.item_id")?,
        revision: row.next("feed_item.revision")?,
        removed: row.next("feed_item.removed")?,
        at: row.next("feed_item.at")?,
        payload: row.next("feed_item.payload")?,
    })
}

impl Tx {
    /// How far each building's feed has come.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn feed_revisions(&mut self) -> Result<BTreeMap<Uuid, i64>, StoreError> {
        let rows = self.fetch("SELECT id, feed_revision FROM building", Vec::new()).await?;
        rows.into_iter()
            .map(|mut row| Ok((row.next("building.id")?, row.next("building.feed_revision")?)))
            .collect()
    }

    /// The items that stand for some things, in every building.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn feed_items_of(&mut self, kind: &str, ids: &[Uuid]) -> Result<Vec<FeedItem>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM feed_item WHERE item_kind = $1 AND item_id IN ({{}})");
        let rows = self.fetch_in(&sql, &[kind.into()], ids.iter().map(|id| (*id).into())).await?;
        rows.into_iter().map(item).collect()
    }

    /// The items of a building behind a revision, in order, `limit` at the most; removed ones too unless
    /// `standing_only`.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn feed_after(
        &mut self,
        building: Uuid,
        after: i64,
        limit: usize,
        standing_only: bool,
    ) -> Result<Vec<FeedItem>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM feed_item WHERE building_id = $1 AND revision > $2{} ORDER BY revision LIMIT {limit}",
            if standing_only { " AND removed = 0" } else { "" }
        );
        self.fetch(&sql, vec![building.into(), after.into()]).await?.into_iter().map(item).collect()
    }

    /// Writes items whole.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_feed_items(&mut self, items: &[FeedItem]) -> Result<(), StoreError> {
        let rows = items
            .iter()
            .map(|item| -> Vec<Value> {
                vec![
                    item.building_id.into(),
                    item.kind.clone().into(),
                    item.item_id.into(),
                    item.revision.into(),
                    item.removed.into(),
                    item.at.into(),
                    item.payload.clone().into(),
                ]
            })
            .collect();
        let sql = format!(
            "INSERT INTO feed_item ({COLUMNS}) VALUES {{}} ON CONFLICT (building_id, item_kind, item_id) DO UPDATE SET \
             revision = excluded.revision, removed = excluded.removed, at = excluded.at, payload = excluded.payload"
        );
        self.insert(&sql, rows).await?;
        Ok(())
    }

    /// Takes the next `count` revisions of a building; gives the last one taken before.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn take_revisions(&mut self, building: Uuid, count: i64) -> Result<i64, StoreError> {
        let sql =
            "UPDATE building SET feed_revision = feed_revision + $1 WHERE id = $2 RETURNING feed_revision";
        match self.fetch_one(sql, vec![count.into(), building.into()]).await? {
            Some(mut row) => Ok(row.next::<i64>("building.feed_revision")? - count),
            None => Err(StoreError::BadData { place: "building.id", found: "no such building".to_owned() }),
        }
    }
}
