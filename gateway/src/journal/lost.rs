//! What damage took: between which instants it lies, by the records around it; found at a start, or while the journal is read.

use std::collections::BTreeSet;
use std::ops::Range;

use rollcall_rules::ids::hole;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::disk::Disk;
use super::log::{Damage, JournalError, Log};
use super::record::{OutageRecord, Record};
use crate::core::outages::{self, Cause, Outages};
use crate::core::reading::Reading;

/// How many records around a hole are looked at for one that knows when it was written.
const NEAR: u64 = 64;

/// Records that damage took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The id of the outage that tells of it; the hub, which may see it too, gives it the same.
    pub id: Uuid,
    /// Not before this instant; none where no record near it says.
    pub from: Option<Instant>,
    /// Before this one; none where no record behind it says.
    pub until: Option<Instant>,
}

impl Hole {
    /// The outage that tells of it, which is over by now.
    pub fn outage(self, outages: &mut Outages, now: Reading) -> OutageRecord {
        match self.until {
            Some(until) => outages::over(self.id, Cause::JournalDamaged, self.from, until),
            None => outages.over(self.id, Cause::JournalDamaged, self.from, now),
        }
    }
}

/// The holes of damage that was found while the journal was read, each with when it lies. Of a disk that fails meanwhile
/// nothing can be said, and is not: its next use says that it fails.
pub fn holes<D: Disk>(log: &mut Log<D>, damage: &Damage) -> Vec<Hole> {
    let hole = |range: &Range<u64>| {
        let id = hole(damage.journal, range.end);
        around(log, damage.journal, range).unwrap_or(Hole { id, from: None, until: None })
    };
    damage.missing.iter().map(hole).collect()
}

fn around<D: Disk>(log: &mut Log<D>, journal: Uuid, range: &Range<u64>) -> Result<Hole, JournalError> {
    let (before, behind) = (before(log, journal, range.start)?, behind(log, journal, range.end)?);
    let id = hole(journal, range.end);
    // Records stand as they came, which is not always as the cards were held to readers; and a clock may have been put back
    // between the two.
    Ok(match (before, behind) {
        (Some(before), Some(behind)) => {
            let (from, until) = (before.0.min(behind.0), before.1.max(behind.1).plus_ms(1));
            Hole { id, from: Some(from), until: Some(until) }
        }
        (before, behind) => Hole { id, from: before.map(|it| it.0), until: behind.map(|it| it.1.plus_ms(1)) },
    })
}

/// Says what damage took, in the log and as outages to be told: where a hole lies that the hub may see too, under the
/// same id. `told` are the outages that the journal has already: a start that ended before it told is made good.
///
/// # Errors
/// When the disk fails.
pub fn between<D: Disk>(
    log: &mut Log<D>,
    damage: &Damage,
    now: Reading,
    outages: &mut Outages,
    told: &BTreeSet<Uuid>,
) -> Result<Vec<OutageRecord>, JournalError> {
    let Damage { journal, segment, missing, open_end, what, torn_tail, known } = damage;
    let missing: Vec<&Range<u64>> =
        missing.iter().filter(|range| !told.contains(&hole(*journal, range.end))).collect();
    if *known && missing.is_empty() {
        return Ok(Vec::new());
    }
    if *torn_tail && missing.is_empty() {
        tracing::warn!(%segment, from = open_end, "a torn write at the journal's end was set aside: {what}; nothing that was shown green is lost, unless the medium itself lost it");
        return Ok(Vec::new());
    }
    let count: u64 = missing.iter().map(|range| range.end - range.start).sum();
    tracing::error!(%segment, count, ?missing, open_end, "the journal is damaged: {what}; these records are lost, everything else is kept");
    // A hole at the end is open as well.
    let is_told = missing.last().is_some_and(|range| Some(range.end) == *open_end);
    let mut lost = Vec::new();
    for range in missing {
        lost.push(around(log, *journal, range)?.outage(outages, now));
    }
    if let Some(end) = open_end.filter(|_| !torn_tail && !known && !is_told) {
        let from = before(log, *journal, end)?.map(|(earliest, _)| earliest);
        lost.push(outages.over(Uuid::new_v4(), Cause::JournalDamaged, from, now));
    }
    Ok(lost)
}

/// When a record was written: not before the first of these instants, nor after the second.
type Written = (Instant, Instant);

/// When the newest record before `sequence` was written that knows it.
fn before<D: Disk>(log: &mut Log<D>, journal: Uuid, sequence: u64) -> Result<Option<Written>, JournalError> {
    let first = sequence.saturating_sub(NEAR);
    let near = log.read(first, NEAR as usize)?;
    let mut near = near.iter().rev().filter(|it| it.journal == journal && it.sequence < sequence);
    Ok(near.find_map(|it| Record::read(&it.body).ok()?.written_between()))
}

/// When the next record from `sequence` on was written that knows it.
fn behind<D: Disk>(log: &mut Log<D>, journal: Uuid, sequence: u64) -> Result<Option<Written>, JournalError> {
    let near = log.read(sequence, NEAR as usize)?;
    let mut near = near.iter().filter(|it| it.journal == journal);
    Ok(near.find_map(|it| Record::read(&it.body).ok()?.written_between()))
}
