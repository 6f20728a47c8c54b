//! Questions about sessions, their rooms and their groups.

use uuid::Uuid;

use super::entity::{Entity, Session, SessionKind};
use super::{StoreError, Tx, Value};

/// A room of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRoom {
    /// The session.
    pub session_id: Uuid,
    /// The room.
    pub room_id: Uuid,
    /// From when.
    pub from_at: Option<i64>,
    /// Until when, excluded.
    pub until_at: Option<i64>,
}

/// No window opens longer than this before its session starts.
pub const LONGEST_OPENING_MS: i64 = 24 * 3_600_000;

impl Tx {
    /// The rooms of sessions.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn session_rooms(&mut self, sessions: &[Uuid]) -> Result<Vec<SessionRoom>, StoreError> {
        let sql = "SELECT session_id, room_id, from_at, until_at FROM session_room WHERE session_id IN ({}) \
                   ORDER BY session_id, from_at, room_id";
        let rows = self.fetch_in(sql, &[], sessions.iter().map(|id| (*id).into())).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(SessionRoom {
                    session_id: row.next("session_room.session_id")?,
                    room_id: row.next("session_room.room_id")?,
                    from_at: row.next("session_room.from_at")?,
                    until_at: row.next("session_room.until_at")?,
                })
            })
            .collect()
    }

    /// The groups of sessions, as pairs.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn session_groups(&mut self, sessions: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let sql = "SELECT session_id, group_id FROM session_group WHERE session_id IN ({}) \
                   ORDER BY session_id, group_id";
        self.pairs(sql, sessions).await
    }

    /// The sessions of groups, as pairs (group, session).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn group_sessions(&mut self, groups: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        self.pairs("SELECT group_id, session_id FROM session_group WHERE group_id IN ({})", groups).await
    }

    /// The buildings in which groups meet, as pairs (group, building).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn group_buildings(&mut self, groups: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let sql = "SELECT DISTINCT sg.group_id, r.building_id FROM session_group sg \
                   JOIN session_room sr ON sr.session_id = sg.session_id JOIN room r ON r.id = sr.room_id \
                   WHERE sg.group_id IN ({})";
        self.pairs(sql, groups).await
    }

    /// The sessions of a room that end from one instant on and start before another, by start; not those that left it.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_of_room(
        &mut self,
        room: Uuid,
        from: i64,
        until: i64,
        most: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT s.id FROM session s WHERE s.id IN (SELECT session_id FROM session_room WHERE room_id = $1 AND \
                   until_at IS NULL) AND s.ends_at >= $2 AND s.starts_at < $3 ORDER BY s.starts_at, s.id LIMIT $4";
        let rows = self.fetch(sql, vec![room.into(), from.into(), until.into(), most.into()]).await?;
        rows.into_iter().map(|mut row| row.next("session.id")).collect()
    }

    /// The sessions on whose class list a student stands, that end from one instant on and start before another, by start.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_of_student(
        &mut self,
        student: Uuid,
        from: i64,
        until: i64,
        most: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT DISTINCT s.id, s.starts_at FROM membership m JOIN session_group g ON g.group_id = m.group_id \
                   JOIN session s ON s.id = g.session_id WHERE m.student_id = $1 AND m.from_at <= s.starts_at AND \
                   (m.until_at IS NULL OR m.until_at > s.starts_at) AND s.ends_at >= $2 AND s.starts_at < $3 \
                   ORDER BY s.starts_at, s.id LIMIT $4";
        let rows = self.fetch(sql, vec![student.into(), from.into(), until.into(), most.into()]).await?;
        rows.into_iter().map(|mut row| row.next("session.id")).collect()
    }

    async fn pairs(&mut self, sql: &str, ids: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let rows = self.fetch_in(sql, &[], ids.iter().map(|id| (*id).into())).await?;
        rows.into_iter().map(|mut row| Ok((row.next("pair")?, row.next("pair")?))).collect()
    }

    /// Puts other rooms in place of those that sessions had.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn replace_session_rooms(
        &mut self,
        sessions: &[Uuid],
        rooms: &[SessionRoom],
    ) -> Result<(), StoreError> {
        self.execute_in(
            "DELETE FROM session_room WHERE session_id IN ({})",
            &[],
            sessions.iter().map(|id| (*id).into()),
        )
        .await?;
        let rows = rooms
            .iter()
            .map(|room| {
                vec![room.session_id.into(), room.room_id.into(), room.from_at.into(), room.until_at.into()]
            })
            .collect();
        self.insert("INSERT INTO session_room (session_id, room_id, from_at, until_at) VALUES {}", rows)
            .await?;
        Ok(())
    }

    /// Puts other groups in place of those that sessions had.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn replace_session_groups(
        &mut self,
        sessions: &[Uuid],
        groups: &[(Uuid, Uuid)],
    ) -> Result<(), StoreError> {
        self.execute_in(
            "DELETE FROM session_group WHERE session_id IN ({})",
            &[],
            sessions.iter().map(|id| (*id).into()),
        )
        .await?;
        let rows = groups.iter().map(|(session, group)| vec![(*session).into(), (*group).into()]).collect();
        self.insert("INSERT INTO session_group (session_id, group_id) VALUES {}", rows).await?;
        Ok(())
    }

    /// The sessions in some rooms whose window may meet `[first, last]`.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_near(
        &mut self,
        rooms: &[Uuid],
        first: i64,
        last: i64,
    ) -> Result<Vec<Session>, StoreError> {
        // A window ends within two of the longest openings of its start: found by start, not by all that a room
        // ever held.
        let sql = format!(
            "SELECT {} FROM session WHERE starts_at >= $1 AND starts_at <= $2 AND closes_at >= $3 AND EXISTS \
             (SELECT 1 FROM session_room sr WHERE sr.session_id = session.id AND sr.room_id IN ({{}}))",
            Session::COLUMNS
        );
        let before = [
            Value::Int(first.saturating_sub(2 * LONGEST_OPENING_MS)),
            Value::Int(last.saturating_add(LONGEST_OPENING_MS)),
            Value::Int(first),
        ];
        let rows = self.fetch_in(&sql, &before, rooms.iter().map(|id| (*id).into())).await?;
        let mut sessions: Vec<Session> =
            rows.into_iter().map(|mut row| Session::read(&mut row)).collect::<Result<_, _>>()?;
        sessions.sort_by_key(|session| session.id);
        sessions.dedup_by_key(|session| session.id);
        Ok(sessions)
    }

    /// The sessions in rooms that have, or had, a reader of this gateway whose window its watermark came past
    /// just now, and whose register still waits, or had waited too long.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_to_finish(
        &mut self,
        gateway: Uuid,
        before: Option<i64>,
        watermark: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT DISTINCT s.id FROM session s JOIN session_room sr ON sr.session_id = s.id \
                   JOIN reader_stay r ON r.room_id = sr.room_id WHERE s.closes_at < $1 AND s.closes_at >= $3 \
                   AND r.gateway_id = $2 AND s.register_state IN ('PENDING', 'NO_REGISTER')";
        let values = vec![watermark.into(), gateway.into(), before.unwrap_or(i64::MIN).into()];
        let rows = self.fetch(sql, values).await?;
        rows.into_iter().map(|mut row| row.next("session.id")).collect()
    }

    /// The sessions of a department and a kind, or of all, that start from one instant to another (excluded), by their start.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_starting(
        &mut self,
        department: Option<&str>,
        kind: Option<SessionKind>,
        from: i64,
        until: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let mut sql = "SELECT id FROM session WHERE starts_at >= $1 AND starts_at < $2".to_owned();
        let mut values = vec![from.into(), until.into()];
        for (column, value) in [("kind", kind.map(Value::from)), ("department", department.map(Value::from))]
        {
            if let Some(value) = value {
                values.push(value);
                sql += &format!(" AND {column} = ${}", values.len());
            }
        }
        sql += " ORDER BY starts_at, id";
        let rows = self.fetch(&sql, values).await?;
        rows.into_iter().map(|mut row| row.next("session.id")).collect()
    }

    /// Takes policies away.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn drop_policies(&mut self, ids: &[Uuid]) -> Result<(), StoreError> {
        self.execute_in("DELETE FROM policy WHERE id IN ({})", &[], ids.iter().map(|id| (*id).into()))
            .await?;
        Ok(())
    }

    /// The sessions whose register still waits though they ended before an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_overdue(&mut self, ended_before: i64) -> Result<Vec<Uuid>, StoreError> {
        let sql =
            "SELECT id FROM session WHERE register_state = 'PENDING' AND ends_at < $1 AND closes_at < $1";
        let rows = self.fetch(sql, vec![ended_before.into()]).await?;
        rows.into_iter().map(|mut row| row.next("session.id")).collect()
    }

    /// The sessions whose register still waits though they have ended, where a gateway that may have been awaited was declared
    /// lost, and has not reported since.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_of_lost(&mut self, now: i64) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT DISTINCT s.id FROM gateway_lost gl JOIN gateway g ON g.id = gl.gateway_id \
                   JOIN reader_stay rs ON rs.gateway_id = g.id JOIN session_room sr ON sr.room_id = rs.room_id \
                   JOIN session s ON s.id = sr.session_id \
                   WHERE (g.watermark IS NULL OR g.watermark <= gl.at) AND s.closes_at >= gl.from_at \
                   AND s.closes_at < $1 AND s.ends_at < $1 AND s.register_state = 'PENDING'";
        let rows = self.fetch(sql, vec![now.into()]).await?;
        rows.into_iter().map(|mut row| row.next("session.id")).collect()
    }

    /// The sessions in some rooms whose window closes after an instant.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sessions_after(&mut self, rooms: &[Uuid], at: i64) -> Result<Vec<Uuid>, StoreError> {
        let sql = "SELECT DISTINCT s.id FROM session s JOIN session_room sr ON sr.session_id = s.id \
                   WHERE s.closes_at >= $1 AND sr.room_id IN ({})";
        let rows = self.fetch_in(sql, &[at.into()], rooms.iter().map(|id| (*id).into())).await?;
        rows.into_iter().map(|mut row| row.next("session.id")).collect()
    }
}
