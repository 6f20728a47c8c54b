//! Questions about swipes, card keys and credits.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::entity::{Alarm, Entity, Swipe, SwipeDecision, SwipeReason};
use super::{Row, StoreError, Tx, Value};

/// A card as one building may look it up.
#[derive(Debug, Clone)]
pub struct KeyedCard {
    /// The key.
    pub key: Vec<u8>,
    /// The card record.
    pub card_id: Uuid,
    /// Whose it is.
    pub student_id: Uuid,
    /// Valid from.
    pub from_at: i64,
    /// Valid until, excluded.
    pub until_at: Option<i64>,
}

/// A swipe that counts for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credit {
    /// The swipe.
    pub swipe_id: Uuid,
    /// The session.
    pub session_id: Uuid,
    /// For whom.
    pub student_id: Uuid,
    /// Because it was shown green.
    pub honoured: bool,
}

/// What the hub had decided of a swipe before.
#[derive(Debug, Clone)]
pub struct SwipeRevision {
    /// What became of it then.
    pub decision: SwipeDecision,
    /// Why.
    pub reason: SwipeReason,
    /// When that was decided.
    pub decided_at: i64,
    /// The sessions that it counted for.
    pub sessions: Vec<Uuid>,
}

fn credit(mut row: Row) -> Result<Credit, StoreError> {
    Ok(Credit {
        swipe_id: row.next("credit.swipe_id")?,
        session_id: row.next("credit.session_id")?,
        student_id: row.next("credit.student_id")?,
        honoured: row.next("credit.honoured")?,
    })
}

impl Tx {
    /// Whether there is any swipe at all.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn any_swipe(&mut self) -> Result<bool, StoreError> {
        Ok(self.fetch_one("SELECT 1 FROM swipe LIMIT 1", Vec::new()).await?.is_some())
    }

    /// The cards behind keys of one building.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn cards_by_key(
        &mut self,
        building: Uuid,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<KeyedCard>, StoreError> {
        let sql = "SELECT k.card_key, c.id, c.student_id, c.from_at, c.until_at FROM card_key k \
                   JOIN card c ON c.id = k.card_id WHERE k.building_id = $1 AND k.card_key IN ({})";
        let rows = self.fetch_in(sql, &[building.into()], keys.into_iter().map(Value::from)).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(KeyedCard {
                    key: row.next("card_key.card_key")?,
                    card_id: row.next("card.id")?,
                    student_id: row.next("card.student_id")?,
                    from_at: row.next("card.from_at")?,
                    until_at: row.next("card.until_at")?,
                })
            })
            .collect()
    }

    /// The students behind pseudonyms of one building, as pairs (pseudonym, student).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn students_by_holder(
        &mut self,
        building: Uuid,
        holders: &[Uuid],
    ) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let sql = "SELECT holder, student_id FROM holder WHERE building_id = $1 AND holder IN ({})";
        let rows = self.fetch_in(sql, &[building.into()], holders.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| Ok((row.next("holder.holder")?, row.next("holder.student_id")?)))
            .collect()
    }

    /// The swipes that a gateway's ids, or numbers in its journals, were given to before; and others that lie between those
    /// numbers.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn swipes_claimed(
        &mut self,
        ids: &[Uuid],
        journals: &[(Uuid, i64)],
    ) -> Result<Vec<(Uuid, Uuid, i64, Vec<u8>)>, StoreError> {
        let mut rows = self
            .fetch_in(
                "SELECT claimed_id, journal_id, sequence, body FROM swipe WHERE claimed_id IN ({})",
                &[],
                ids.iter().map(|id| (*id).into()),
            )
            .await?;
        let mut by_journal: BTreeMap<Uuid, BTreeSet<i64>> = BTreeMap::new();
        for (journal, sequence) in journals {
            by_journal.entry(*journal).or_default().insert(*sequence);
        }
        for (journal, sequences) in by_journal {
            let mut place = vec![journal.into()];
            // Most batches are a stretch of one journal: that is one look, and not one for each number in each month.
            let (first, last) =
                (sequences.first().copied().unwrap_or(0), sequences.last().copied().unwrap_or(0));
            if last.saturating_sub(first) < 2 * sequences.len() as i64 {
                place.extend([first.into(), last.into()]);
                let sql = "SELECT claimed_id, journal_id, sequence, body FROM swipe WHERE journal_id = $1 \
                           AND sequence >= $2 AND sequence <= $3";
                rows.extend(self.fetch(sql, place).await?);
                continue;
            }
            let sql = "SELECT claimed_id, journal_id, sequence, body FROM swipe WHERE journal_id = $1 \
                       AND sequence IN ({})";
            rows.extend(self.fetch_in(sql, &place, sequences.into_iter().map(Value::from)).await?);
        }
        rows.into_iter()
            .map(|mut row| {
                Ok((
                    row.next("swipe.claimed_id")?,
                    row.next("swipe.journal_id")?,
                    row.next("swipe.sequence")?,
                    row.next("swipe.body")?,
                ))
            })
            .collect()
    }

    /// The swipes in a room whose time may meet `[first, last]`.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn swipes_in_room(
        &mut self,
        room: Uuid,
        first: i64,
        last: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT id FROM swipe WHERE room_id = $1 AND latest_at >= $2 AND earliest_at <= $3";
        let rows = self.fetch(sql, vec![room.into(), first.into(), last.into()]).await?;
        rows.into_iter().map(|mut row| row.next("swipe.id")).collect()
    }

    /// The swipes that are, or were at the door, taken for some students.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn swipes_of_students(&mut self, students: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        let mut ids = Vec::new();
        for column in ["student_id", "shown_student_id"] {
            let sql = format!("SELECT id FROM swipe WHERE {column} IN ({{}})");
            let rows = self.fetch_in(&sql, &[], students.iter().map(|id| (*id).into())).await?;
            for mut row in rows {
                ids.push(row.next("swipe.id")?);
            }
        }
        Ok(ids)
    }

    /// When the last swipe of a journal was that the hub has.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn last_swiped(&mut self, journal: Uuid) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT swiped_at FROM swipe WHERE journal_id = $1 ORDER BY sequence DESC LIMIT 1";
        let row = self.fetch_one(sql, vec![journal.into()]).await?;
        row.map_or(Ok(None), |mut row| row.next("swipe.swiped_at").map(Some))
    }

    /// The swipes that may have been from one instant to another.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn swipes_between(&mut self, from: i64, until: i64) -> Result<Vec<Uuid>, StoreError> {
        // Each by an index of its own: all swipes are too many to be looked through.
        let sql = "SELECT id FROM swipe WHERE swiped_at >= $1 AND swiped_at <= $2 UNION \
                   SELECT id FROM swipe WHERE latest_at > earliest_at AND latest_at >= $3 AND earliest_at <= $4";
        let rows = self.fetch(sql, vec![from.into(), until.into(), from.into(), until.into()]).await?;
        rows.into_iter().map(|mut row| row.next("swipe.id")).collect()
    }

    /// The swipes of cards, by their keys.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn swipes_of_keys(
        &mut self,
        building: Uuid,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT id FROM swipe WHERE building_id = $1 AND card_key IN ({})";
        let rows = self.fetch_in(sql, &[building.into()], keys.into_iter().map(Value::from)).await?;
        rows.into_iter().map(|mut row| row.next("swipe.id")).collect()
    }

    /// Puts new swipes in.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn insert_swipes(&mut self, swipes: &[Swipe]) -> Result<(), StoreError> {
        let sql = format!("INSERT INTO swipe ({}) VALUES {{}}", Swipe::COLUMNS);
        self.insert(&sql, swipes.iter().map(Entity::values).collect()).await?;
        Ok(())
    }

    /// The credits of swipes.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn credits_of_swipes(&mut self, swipes: &[Uuid]) -> Result<Vec<Credit>, StoreError> {
        let sql = "SELECT swipe_id, session_id, student_id, honoured FROM credit WHERE swipe_id IN ({}) \
                   ORDER BY swipe_id, session_id";
        let rows = self.fetch_in(sql, &[], swipes.iter().map(|id| (*id).into())).await?;
        rows.into_iter().map(credit).collect()
    }

    /// Puts other credits in place of those that swipes had.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn replace_credits(&mut self, swipes: &[Uuid], credits: &[Credit]) -> Result<(), StoreError> {
        self.execute_in(
            "DELETE FROM credit WHERE swipe_id IN ({})",
            &[],
            swipes.iter().map(|id| (*id).into()),
        )
        .await?;
        self.insert_credits(credits).await
    }

    /// Puts credits of new swipes in.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn insert_credits(&mut self, credits: &[Credit]) -> Result<(), StoreError> {
        let rows = credits
            .iter()
            .map(|credit| {
                vec![
                    credit.swipe_id.into(),
                    credit.session_id.into(),
                    credit.student_id.into(),
                    credit.honoured.into(),
                ]
            })
            .collect();
        self.insert("INSERT INTO credit (swipe_id, session_id, student_id, honoured) VALUES {}", rows)
            .await?;
        Ok(())
    }

    /// The sessions that share a swipe with some sessions.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_sharing(&mut self, sessions: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT DISTINCT other.session_id FROM credit c JOIN credit other ON other.swipe_id = c.swipe_id \
                   WHERE c.session_id IN ({})";
        let rows = self.fetch_in(sql, &[], sessions.iter().map(|id| (*id).into())).await?;
        rows.into_iter().map(|mut row| row.next("credit.session_id")).collect()
    }

    /// Notes something that a person should look at, once for an id.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn alarm(
        &mut self,
        id: Uuid,
        at: i64,
        kind: &str,
        gateway: Option<Uuid>,
        detail: String,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO alarm (id, at, kind, gateway_id, detail) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (id) DO NOTHING";
        let alarm = Alarm { id, at, kind: kind.to_owned(), gateway_id: gateway, detail };
        if self.execute(sql, alarm.values()).await? > 0 {
            self.raised.push(alarm);
        }
        Ok(())
    }

    /// When people were last called to a gateway for something.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn last_alarm(&mut self, gateway: Uuid, kind: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT MAX(at) FROM alarm WHERE gateway_id = $1 AND kind = $2";
        let row = self.fetch_one(sql, vec![gateway.into(), kind.into()]).await?;
        row.map_or(Ok(None), |mut row| row.next("alarm.at"))
    }

    /// What people were called to by this transaction since this was last asked.
    pub fn raised(&mut self) -> Vec<Alarm> {
        std::mem::take(&mut self.raised)
    }
}

impl Tx {
    /// What the hub had decided of swipes before, oldest first: swipe and decision.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn swipe_revisions(
        &mut self,
        swipes: &[Uuid],
    ) -> Result<Vec<(Uuid, SwipeRevision)>, StoreError> {
        let sql = "SELECT swipe_id, decision, reason, decided_at, sessions FROM swipe_revision \
                   WHERE swipe_id IN ({}) ORDER BY swipe_id, revision";
        let rows = self.fetch_in(sql, &[], swipes.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| {
                let swipe = row.next("swipe_revision.swipe_id")?;
                let (decision, reason) =
                    (row.next("swipe_revision.decision")?, row.next("swipe_revision.reason")?);
                let decided_at = row.next("swipe_revision.decided_at")?;
                let sessions: String = row.next("swipe_revision.sessions")?;
                let sessions = serde_json::from_str(&sessions)
                    .map_err(|_| StoreError::BadData { place: "swipe_revision.sessions", found: sessions })?;
                Ok((swipe, SwipeRevision { decision, reason, decided_at, sessions }))
            })
            .collect()
    }
}
