//! Since when students are expected at doors: a placement begins on a day and ends on one, and sessions before it stay as they were.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_rules::ids::HolderId;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::Hub;
use crate::store::entity::DoorExpectation;
use crate::store::{StoreError, Tx, Value};

/// Who is not expected at doors, and when.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Always.
    always: BTreeSet<HolderId>,
    /// From some instants on, in their order, expected or not; before the first it was the other way round.
    since: BTreeMap<HolderId, Vec<(Instant, bool)>>,
}

impl Elsewhere {
    pub(super) async fn load(tx: &mut Tx) -> Result<Self, StoreError> {
        let mut elsewhere = Self::default();
        for (student, since) in tx.expected_elsewhere().await? {
            let student = HolderId(student);
            match since {
                Some((from, expected)) => {
                    elsewhere.since.entry(student).or_default().push((Instant(from), expected));
                }
                None => drop(elsewhere.always.insert(student)),
            }
        }
        for (student, since) in &mut elsewhere.since {
            since.sort_unstable();
            elsewhere.always.remove(student);
        }
        Ok(elsewhere)
    }

    /// Who is not expected at the door of a session that starts at an instant.
    pub(super) fn at(&self, starts_at: Instant) -> BTreeSet<HolderId> {
        let not_then = self.since.iter().filter(|(_, since)| !expected(since, starts_at));
        self.always.iter().chain(not_then.map(|(student, _)| student)).copied().collect()
    }
}

/// Whether somebody of whom all this was said is expected at an instant.
fn expected(since: &[(Instant, bool)], at: Instant) -> bool {
    let said = since.iter().rev().find(|(from, _)| *from <= at);
    said.map_or_else(|| since.first().is_none_or(|(_, later)| !later), |(_, expected)| *expected)
}

/// What was said so far of some students.
#[derive(Debug, Default)]
pub(super) struct Before(BTreeMap<Uuid, Vec<DoorExpectation>>);

impl Before {
    pub(super) async fn load(
        tx: &mut Tx,
        students: impl IntoIterator<Item = Uuid>,
    ) -> Result<Self, StoreError> {
        let students = students.into_iter().map(Value::from);
        let mut before: BTreeMap<Uuid, Vec<DoorExpectation>> = BTreeMap::new();
        for row in tx.by_column::<DoorExpectation>("student_id", students).await? {
            before.entry(row.student_id).or_default().push(row);
        }
        before.values_mut().for_each(|rows| rows.sort_by_key(|row| row.from_at));
        Ok(Self(before))
    }

    /// Whether a student is expected at an instant; `always` where nothing was said.
    pub(super) fn at(&self, student: Uuid, always: bool, at: Instant) -> bool {
        let Some(rows) = self.0.get(&student) else { return always };
        let since: Vec<(Instant, bool)> =
            rows.iter().map(|row| (Instant(row.from_at), row.expected)).collect();
        expected(&since, at)
    }
}

/// What somebody says of students: whether they are expected at doors from an instant on, up to the next of which something else
/// was said.
#[derive(Debug, Default)]
pub(super) struct Said(pub(super) Vec<(Uuid, Instant, bool)>);

impl Said {
    /// Writes it down, for students who were, or were not, expected before anything was said of them (`always`). Gives what holds
    /// last of each, and the sessions whose marks it may change.
    pub(super) async fn put(
        self,
        hub: &Hub,
        tx: &mut Tx,
        mut before: Before,
        always: &BTreeMap<Uuid, bool>,
    ) -> Result<(BTreeMap<Uuid, bool>, BTreeSet<Uuid>), StoreError> {
        let mut last = BTreeMap::new();
        let Some(first) = self.0.iter().map(|(_, from, _)| from.0).min() else {
            return Ok((last, BTreeSet::new()));
        };
        let students: Vec<Uuid> = self.0.iter().map(|(student, ..)| *student).collect();
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for (student_id, from, now) in self.0 {
            let rows = before.0.remove(&student_id).unwrap_or_default();
            let (earlier, rest): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.from_at < from.0);
            let (same, mut later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|row| row.from_at == from.0);
            let at_first = rows.first().map(|row| !row.expected);
            let was =
                earlier.last().map(|row| row.expected).or(at_first).or(always.get(&student_id).copied());
            gone.extend(same.iter().map(|row| row.id));
            if was != Some(now) {
                new.push(DoorExpectation { id: hub.mint(), student_id, from_at: from.0, expected: now });
            }
            // What would only say the same again.
            if later.first().is_some_and(|next| next.expected == now) {
                gone.push(later.remove(0).id);
            }
            last.insert(student_id, later.last().map_or(now, |row| row.expected));
        }
        tx.execute_in(
            "DELETE FROM door_expectation WHERE id IN ({})",
            &[],
            gone.into_iter().map(Value::from),
        )
        .await?;
        tx.put(&new).await?;
        Ok((last, tx.sessions_marked(&students, first).await?.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_first_word_it_was_the_other_way_round() {
        let since = [(Instant(10), false), (Instant(20), true)];
        let found = [9, 10, 19, 20, 21].map(|at| expected(&since, Instant(at)));
        assert_eq!(found, [true, false, false, true, true]);
        assert!(!expected(&[(Instant(10), true)], Instant(9)));
    }
}
