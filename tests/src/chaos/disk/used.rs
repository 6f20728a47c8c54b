//! A journal that has seen something: faults while it is opened, read and trimmed, and spots that cannot be read.

use std::collections::BTreeSet;

use rollcall_gateway::journal::disk::Disk;
use rollcall_gateway::journal::format::RECORD_HEAD_BYTES;
use rollcall_gateway::journal::log::{Damage, JournalError, Limits, Log, Stored};
use uuid::Uuid;

use super::super::simulate::{Fault, SimDisk};
use super::{LIMITS, body, disk_of, rest};

/// How many records there are before the life that is swept.
const BEFORE: u8 = 50;
/// Which of them is damaged.
const HARMED: u8 = 20;
/// The first that is kept when old ones are dropped, by its sequence.
const KEEP_FROM: u64 = 31;
/// Segments of several of the spots that a disk loses at once.
const WIDE: Limits = Limits { segment: 16 * 1024, quota: 1 << 20 };
/// What a disk loses at once, in sectors.
const SPOT_SECTORS: usize = 8;

/// Which record it is, by its body.
fn number(stored: &Stored) -> Option<u8> {
    let number = stored.body.first()?.checked_sub(1)?;
    (stored.body == body(number)).then_some(number)
}

fn opened(
    disk: &SimDisk,
    limits: Limits,
    id: u128,
) -> Result<(Log<SimDisk>, Vec<Damage>, Vec<Stored>), JournalError> {
    let mut found = Vec::new();
    let (log, damages) =
        Log::open(disk.clone(), Uuid::from_u128(id), limits, |stored| found.push(stored.clone()))?;
    Ok((log, damages, found))
}

/// A journal of several segments.
fn filled(seed: u64, limits: Limits) -> Result<SimDisk, JournalError> {
    let disk = disk_of(seed);
    let (mut log, ..) = opened(&disk, limits, 1)?;
    for number in 0..BEFORE {
        log.append(&[body(number)])?;
        rest(&mut log, number)?;
    }
    Ok(disk)
}

/// It is opened, written to, read and trimmed. Notes what was acknowledged, and whether old ones may be gone.
fn live(disk: &SimDisk, acknowledged: &mut BTreeSet<u8>, trimmed: &mut bool) -> Result<(), JournalError> {
    let (mut log, ..) = opened(disk, LIMITS, 2)?;
    for number in BEFORE..BEFORE + 30 {
        log.append(&[body(number)])?;
        acknowledged.insert(number);
        rest(&mut log, number)?;
        if number == BEFORE + 10 {
            log.read(1, 1_000)?;
            *trimmed = true;
            log.drop_before(KEEP_FROM)?;
        }
    }
    Ok(())
}

/// A fault at each operation of such a life in turn; gives how many there were.
pub(super) fn sweep(seed: u64) -> Result<u64, String> {
    let wrong = |error: JournalError| error.to_string();
    let before = filled(seed, LIMITS).map_err(wrong)?;
    let segments: Vec<String> = before.list().map_err(|error| error.to_string())?;
    for name in &segments {
        // The same byte of a record is found by its body.
        before.harm(name, |bytes| {
            let found = bytes.windows(400).position(|window| window == body(HARMED));
            found.into_iter().for_each(|at| bytes[at] ^= 1);
        });
    }
    let whole = before.copy_of_medium();
    let first = whole.state().operations;
    let (mut all, mut trimmed) = (BTreeSet::new(), false);
    live(&whole, &mut all, &mut trimmed).map_err(wrong)?;
    let operations = whole.state().operations - first;
    let mut passes = 0;
    for operation in 0..operations {
        for fault in [Fault::Io, Fault::Cut, Fault::NoSpace] {
            pass(&before.copy_of_medium(), operation, fault)
                .map_err(|what| format!("used journal, {fault:?} at operation {operation}: {what}"))?;
            passes += 1;
        }
    }
    Ok(passes)
}

fn pass(disk: &SimDisk, operation: u64, fault: Fault) -> Result<(), String> {
    disk.fail_in(operation, fault);
    let (mut acknowledged, mut trimmed) = (BTreeSet::new(), false);
    let ended = live(disk, &mut acknowledged, &mut trimmed);
    if ended.is_ok() && fault != Fault::NoSpace {
        return Err("nobody noticed".to_owned());
    }
    disk.power_cut();
    disk.power_on();
    disk.state().full = false;
    let (mut log, _, found) =
        opened(disk, LIMITS, 7).map_err(|error| format!("it is not opened: {error}"))?;
    let there: BTreeSet<u8> = found.iter().filter_map(number).collect();
    if there.len() != found.len() {
        return Err("a record is another, or there twice".to_owned());
    }
    // Of those before, the numbers are the sequences less one.
    let kept = if trimmed { u8::try_from(KEEP_FROM - 1).unwrap_or(0) } else { 0 };
    acknowledged.extend((kept..BEFORE).filter(|number| *number != HARMED));
    let lost: Vec<&u8> = acknowledged.difference(&there).collect();
    if !lost.is_empty() {
        return Err(format!("acknowledged and gone: {lost:?}"));
    }
    log.append(&[body(200)]).map_err(|error| format!("it takes nothing: {error}"))?;
    let read = log.read(1, 1_000).map_err(|error| error.to_string())?;
    (read.len() == found.len() + 1).then_some(()).ok_or_else(|| "what was found is not read".to_owned())
}

/// Each spot of each segment in turn cannot be read: at a start, and while the journal is read. Gives how many.
pub(super) fn spots(seed: u64) -> Result<u64, String> {
    let before = filled(seed, WIDE).map_err(|error| error.to_string())?;
    let segments: Vec<String> = before.list().map_err(|error| error.to_string())?;
    let mut count = gone(&before)?;
    for name in segments.iter().filter(|name| name.starts_with("segment-")) {
        let sectors = usize::try_from(WIDE.segment).unwrap_or(0) / 512;
        for spot in (0..sectors).step_by(SPOT_SECTORS) {
            for at_start in [true, false] {
                let disk = before.copy_of_medium();
                unreadable(&disk, name, spot, at_start).map_err(|what| {
                    format!("{name} cannot be read at sector {spot}, at a start: {at_start}: {what}")
                })?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Nothing can be read of one file, whichever: all else is there. And of all files: that is no bad spot.
fn gone(before: &SimDisk) -> Result<u64, String> {
    let wrong = |error: JournalError| error.to_string();
    let names = before.list().map_err(|error| error.to_string())?;
    let sectors = usize::try_from(WIDE.segment).unwrap_or(0) / 512;
    let lose = |disk: &SimDisk, name: &str| (0..sectors).for_each(|sector| disk.spoil(name, sector));
    for name in &names {
        let disk = before.copy_of_medium();
        let others = names.iter().filter(|other| other.starts_with("segment-") && *other != name);
        let there: usize = others.map(|other| records_in(&disk, other)).sum();
        lose(&disk, name);
        for start in 1..=2 {
            let (mut log, _, found) = opened(&disk, WIDE, 6 + start).map_err(wrong)?;
            let wanted = there + usize::try_from(start).unwrap_or(0) - 1;
            let wanted =
                if name.starts_with("segment-") { wanted } else { usize::from(BEFORE) + wanted - there };
            if found.len() != wanted {
                return Err(format!(
                    "without {name}, start {start}: {} records are there of {wanted}",
                    found.len()
                ));
            }
            log.append(&[body(200)]).map_err(|error| format!("without {name} it takes nothing: {error}"))?;
            rest(&mut log, 0).map_err(|error| format!("without {name} it does not rest: {error}"))?;
        }
    }
    let disk = before.copy_of_medium();
    names.iter().for_each(|name| lose(&disk, name));
    match opened(&disk, WIDE, 7) {
        Err(JournalError::Disk { .. }) => Ok(names.len() as u64 + 1),
        other => Err(format!("a disk that is gone was taken for a bad spot: {:?}", other.map(|it| it.1))),
    }
}

/// The first 400 KiB of the only segment cannot be read: what lies well behind them is not given up, and it starts.
pub(super) fn hole(seed: u64) -> Result<(), String> {
    const LARGE: Limits = Limits { segment: 1024 * 1024, quota: 8 << 20 };
    const GROUPS: usize = 40;
    const HOLE_SECTORS: usize = 800;
    /// What is certainly tried again begins no later.
    const BEHIND_BYTES: usize = 512 * 1024;
    let wrong = |error: JournalError| error.to_string();
    let disk = disk_of(seed);
    let (mut log, ..) = opened(&disk, LARGE, 1).map_err(wrong)?;
    let group: Vec<Vec<u8>> = (0..50).map(body).collect();
    (0..GROUPS).try_for_each(|_| log.append(&group).map(drop)).map_err(wrong)?;
    let names = disk.list().map_err(|error| error.to_string())?;
    let segment = names.iter().find(|name| name.starts_with("segment-")).ok_or("there is no segment")?;
    (0..HOLE_SECTORS).for_each(|sector| disk.spoil(segment, sector));
    let (mut log, damages, found) = opened(&disk, LARGE, 2).map_err(wrong)?;
    let least = GROUPS * group.len() - BEHIND_BYTES / (RECORD_HEAD_BYTES + 400) - 1;
    if found.len() < least || damages.is_empty() {
        return Err(format!("behind a large hole {} records are found of {least}: {damages:?}", found.len()));
    }
    log.append(&group).map(drop).map_err(wrong)
}

fn holds(bytes: &[u8], number: u8) -> bool {
    bytes.windows(400).any(|window| window == body(number))
}

fn records_in(disk: &SimDisk, name: &str) -> usize {
    let bytes = disk.read(name).unwrap_or_default();
    (0..BEFORE).filter(|number| holds(&bytes, *number)).count()
}

fn unreadable(disk: &SimDisk, name: &str, spot: usize, at_start: bool) -> Result<(), String> {
    let wrong = |error: JournalError| error.to_string();
    // Which records lie elsewhere.
    let bytes = disk.read(name).map_err(|error| error.to_string())?;
    let bad = spot * 512..(spot + SPOT_SECTORS) * 512;
    let touched = |number: &u8| {
        let at = bytes.windows(400).position(|window| window == body(*number));
        at.is_some_and(|at| at - RECORD_HEAD_BYTES < bad.end && at + 400 > bad.start)
    };
    let whole: BTreeSet<u8> = (0..BEFORE).filter(|number| !touched(number)).collect();
    let spoil = || (spot..spot + SPOT_SECTORS).for_each(|sector| disk.spoil(name, sector));
    if at_start {
        spoil();
    }
    let (mut log, mut damages, found) = opened(disk, WIDE, 7).map_err(wrong)?;
    spoil();
    let read = log.read(1, 1_000).map_err(|error| format!("it is not read: {error}"))?;
    let found = if at_start { found } else { read };
    damages.extend(log.take_news());
    let there: BTreeSet<u8> = found.iter().filter_map(number).collect();
    if there != whole {
        return Err(format!("{:?} are gone or too many", there.symmetric_difference(&whole)));
    }
    let [damage] = &damages[..] else { return Err(format!("it is reported so often: {damages:?}")) };
    // The medium's last records look like none; how many there were is said to be unknown.
    let said = |number: u8| {
        let sequence = u64::from(number) + 1;
        damage.missing.iter().any(|range| range.contains(&sequence))
            || damage.open_end.is_some_and(|from| sequence >= from)
    };
    if let Some(number) = (0..BEFORE).find(|number| !whole.contains(number) && !said(*number)) {
        return Err(format!("record {} is gone and nobody says so: {damage:?}", number + 1));
    }
    if damage.torn_tail {
        return Err("it passes for a torn tail".to_owned());
    }
    log.append(&[body(200)]).map_err(|error| format!("it takes nothing: {error}"))?;
    let again = log.read(1, 1_000).map_err(wrong)?;
    if again.len() != whole.len() + 1 || !log.take_news().is_empty() {
        return Err(format!("read again {} are there, or it is news again", again.len()));
    }
    let (_, damages, found) = opened(&disk.copy_of_medium(), WIDE, 8)
        .map_err(|error| format!("it does not start again: {error}"))?;
    if found.len() != whole.len() + 1 || damages.iter().any(|damage| !damage.known) {
        return Err(format!("at the next start {} are there, and {damages:?}", found.len()));
    }
    // One more of those that were whole goes: that is news.
    if let Some(record) = whole.iter().find(|number| holds(&bytes, **number)) {
        let at = bytes.windows(400).position(|window| window == body(*record)).unwrap_or(0);
        let aside = name.replace(".log", ".damaged");
        disk.spoil(&aside, at / 512);
        let left = log.read(1, 1_000).map_err(wrong)?;
        let told: Vec<u64> =
            log.take_news().into_iter().flat_map(|damage| damage.missing.into_iter().flatten()).collect();
        if told.len() + left.len() != again.len() || !told.contains(&(u64::from(*record) + 1)) {
            return Err(format!("{} are left of {}, and {told:?} are told of", left.len(), again.len()));
        }
    }
    Ok(())
}
