//! Questions about doors: which reader hung there when, when it could not record, and which gateway is awaited.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::entity::{Entity, Outage};
use super::{StoreError, Tx, Value};

/// A reader's stay at a door, with its gateway's watermark.
#[derive(Debug, Clone)]
pub struct ReaderStay {
    /// The room.
    pub room_id: Uuid,
    /// The reader.
    pub reader_id: Uuid,
    /// Its gateway.
    pub gateway_id: Uuid,
    /// The gateway's watermark.
    pub watermark: Option<i64>,
    /// Since when.
    pub from_at: Option<i64>,
    /// Until when, excluded.
    pub until_at: Option<i64>,
}

impl Tx {
    /// The readers that hang, or hung, at the doors of rooms.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn reader_stays(&mut self, rooms: &[Uuid]) -> Result<Vec<ReaderStay>, StoreError> {
        let sql = "SELECT s.room_id, s.reader_id, s.gateway_id, g.watermark, s.from_at, s.until_at \
                   FROM reader_stay s JOIN gateway g ON g.id = s.gateway_id WHERE s.room_id IN ({})";
        let rows = self.fetch_in(sql, &[], rooms.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(ReaderStay {
                    room_id: row.next("reader_stay.room_id")?,
                    reader_id: row.next("reader_stay.reader_id")?,
                    gateway_id: row.next("reader_stay.gateway_id")?,
                    watermark: row.next("gateway.watermark")?,
                    from_at: row.next("reader_stay.from_at")?,
                    until_at: row.next("reader_stay.until_at")?,
                })
            })
            .collect()
    }

    /// Since when readers have hung at any door; those of which nobody knows since when are left out.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn first_stays(
        &mut self,
        readers: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, i64>, StoreError> {
        let sql = "SELECT reader_id, MIN(COALESCE(from_at, 0)) FROM reader_stay WHERE reader_id IN ({}) \
                   GROUP BY reader_id";
        self.stays_from(sql, readers).await
    }

    /// Since when readers hang, or hung, at the last door that they came to; those of which nobody knows are left out.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn latest_stays(
        &mut self,
        readers: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, i64>, StoreError> {
        let sql = "SELECT reader_id, MAX(COALESCE(from_at, 0)) FROM reader_stay WHERE reader_id IN ({}) \
                   GROUP BY reader_id";
        self.stays_from(sql, readers).await
    }

    async fn stays_from(
        &mut self,
        sql: &str,
        readers: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, i64>, StoreError> {
        let rows = self.fetch_in(sql, &[], readers.into_iter().map(Value::from)).await?;
        rows.into_iter()
            .map(|mut row| Ok((row.next("reader_stay.reader_id")?, row.next("reader_stay.from_at")?)))
            .collect()
    }

    /// Which readers hang, or hung, at which doors of a gateway: (reader, room).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn stays_at(&mut self, gateway: Uuid) -> Result<BTreeSet<(Uuid, Uuid)>, StoreError> {
        let sql = "SELECT DISTINCT reader_id, room_id FROM reader_stay WHERE gateway_id = $1";
        let rows = self.fetch(sql, vec![gateway.into()]).await?;
        rows.into_iter()
            .map(|mut row| Ok((row.next("reader_stay.reader_id")?, row.next("reader_stay.room_id")?)))
            .collect()
    }

    /// The outages of a gateway, and of its readers, that last.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn open_outages(&mut self, gateway: Uuid) -> Result<Vec<Outage>, StoreError> {
        let sql = "SELECT id, gateway_id, reader_id, cause, from_at, until_at, received_at FROM outage \
                   WHERE gateway_id = $1 AND until_at IS NULL ORDER BY from_at, id";
        self.fetch(sql, vec![gateway.into()]).await?.iter_mut().map(Outage::read).collect()
    }

    /// When the last outage of a reader began, until an instant at the latest, that ended as it began.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn last_ended_at_once(
        &mut self,
        gateway: Uuid,
        reader: Uuid,
        until: i64,
    ) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT MAX(from_at) FROM outage WHERE gateway_id = $1 AND reader_id = $2 AND from_at <= $3 AND until_at = from_at";
        let row = self.fetch_one(sql, vec![gateway.into(), reader.into(), until.into()]).await?;
        row.map_or(Ok(None), |mut row| row.next("outage.from_at"))
    }

    /// Ends the stays of readers at an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn end_stays(&mut self, readers: &[Uuid], at: i64) -> Result<(), StoreError> {
        let sql = "UPDATE reader_stay SET until_at = $1 WHERE until_at IS NULL AND reader_id IN ({})";
        self.execute_in(sql, &[at.into()], readers.iter().map(|id| (*id).into())).await?;
        Ok(())
    }

    /// Begins stays of readers at doors: (reader, gateway, room).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn begin_stays(&mut self, stays: &[(Uuid, Uuid, Uuid)], at: i64) -> Result<(), StoreError> {
        let rows = stays
            .iter()
            .map(|(reader, gateway, room)| {
                vec![(*reader).into(), (*gateway).into(), (*room).into(), at.into(), Value::Null]
            })
            .collect();
        let sql = "INSERT INTO reader_stay (reader_id, gateway_id, room_id, from_at, until_at) VALUES {}";
        self.insert(sql, rows).await?;
        Ok(())
    }

    /// Notes an outage, or what is now known better of it.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_outage(&mut self, outage: &Outage) -> Result<(), StoreError> {
        let sql = "INSERT INTO outage (id, gateway_id, reader_id, cause, from_at, until_at, received_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET \
                   from_at = excluded.from_at, until_at = COALESCE(excluded.until_at, outage.until_at) \
                   WHERE outage.gateway_id = excluded.gateway_id";
        let values = vec![
            outage.id.into(),
            outage.gateway_id.into(),
            outage.reader_id.into(),
            outage.cause.into(),
            outage.from_at.into(),
            outage.until_at.into(),
            outage.received_at.into(),
        ];
        self.execute(sql, values).await?;
        Ok(())
    }

    /// The outages of gateways that meet `[first, last]`.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn outages(
        &mut self,
        gateways: &[Uuid],
        first: i64,
        last: i64,
    ) -> Result<Vec<Outage>, StoreError> {
        let sql = "SELECT id, gateway_id, reader_id, cause, from_at, until_at, received_at FROM outage \
                   WHERE from_at <= $1 AND (until_at IS NULL OR until_at > $2) AND gateway_id IN ({}) \
                   ORDER BY from_at, id";
        let before = [last.into(), first.into()];
        let mut rows = self.fetch_in(sql, &before, gateways.iter().map(|id| (*id).into())).await?;
        rows.iter_mut().map(Outage::read).collect()
    }

    /// The sessions at the doors of a gateway's readers whose window may meet `[first, last]`.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_during(
        &mut self,
        gateway: Uuid,
        first: i64,
        last: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT DISTINCT s.id FROM session s JOIN session_room sr ON sr.session_id = s.id \
                   JOIN reader_stay r ON r.room_id = sr.room_id \
                   WHERE s.starts_at <= $1 AND s.closes_at >= $2 AND r.gateway_id = $3";
        let latest_start = last.saturating_add(super::timetable::LONGEST_OPENING_MS);
        let values = vec![latest_start.into(), first.into(), gateway.into()];
        let rows = self.fetch(sql, values).await?;
        rows.into_iter().map(|mut row| row.next("session.id")).collect()
    }

    /// Notes that a gateway is lost from an instant on.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_lost(
        &mut self,
        gateway: Uuid,
        from: i64,
        reason: &str,
        by: Uuid,
        at: i64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO gateway_lost (gateway_id, from_at, reason, by_token, at) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (gateway_id, from_at) DO UPDATE SET reason = excluded.reason, \
                   by_token = excluded.by_token, at = excluded.at";
        self.execute(sql, vec![gateway.into(), from.into(), reason.into(), by.into(), at.into()]).await?;
        Ok(())
    }

    /// From when on gateways were declared lost, and when that was: (gateway, instant, declared at).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn lost_since(&mut self, gateways: &[Uuid]) -> Result<Vec<(Uuid, i64, i64)>, StoreError> {
        let sql =
            "SELECT gateway_id, from_at, at FROM gateway_lost WHERE gateway_id IN ({}) ORDER BY from_at";
        let rows = self.fetch_in(sql, &[], gateways.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| {
                let gateway = row.next("gateway_lost.gateway_id")?;
                Ok((gateway, row.next("gateway_lost.from_at")?, row.next("gateway_lost.at")?))
            })
            .collect()
    }
}
