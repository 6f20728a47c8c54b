//! The disk fails at each of its operations in turn: with EIO, with a power cut, and with no room.
//!
//! Swipes are appended one by one; whatever was acknowledged is there afterwards, and nothing is acknowledged that the
//! medium does not hold.

use std::collections::BTreeSet;

use rollcall_gateway::journal::log::{JournalError, Limits, Log};
use uuid::Uuid;

use super::simulate::{Fault, SimDisk};
use super::{Broken, Outcome, Run};

mod used;

const LIMITS: Limits = Limits { segment: 8 * 1024, quota: 1 << 20 };
/// How many records are appended in each pass: enough for several segments.
const RECORDS: u8 = 60;

/// One sweep for each cycle.
///
/// # Errors
/// When something that was acknowledged is gone.
pub fn run(run: &Run) -> super::Result {
    let (mut passes, mut spots) = (0, 0);
    for seed in run.seed..run.seed + run.cycles {
        let broken = |what: String| Broken { seed, what };
        super::begin(seed);
        let whole = disk_of(seed);
        append(&whole, seed).map_err(|error| broken(format!("a whole disk failed: {error}")))?;
        let operations = whole.state().operations;
        for operation in 0..operations {
            for fault in [Fault::Io, Fault::Cut, Fault::NoSpace] {
                pass(seed, operation, fault).map_err(broken)?;
                passes += 1;
            }
        }
        full(seed).map_err(broken)?;
        room_for_names(seed, operations).map_err(broken)?;
        passes += used::sweep(seed).map_err(broken)?;
        spots += used::spots(seed).map_err(broken)?;
        used::hole(seed).map_err(broken)?;
    }
    Ok(Outcome::Held(format!(
        "{passes} passes, EIO, ENOSPC and a power cut at each write, sync (of the folder too), rename, creation and removal in turn, of a new \
         journal and of one with damage that is opened, read and trimmed, a full disk, and {spots} spots that cannot be \
         read: everything acknowledged is there or reported, nothing more was promised"
    )))
}

/// A disk on which syncs of the folder may fail, too.
fn disk_of(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.state().name_syncs_fail = true;
    disk
}

fn body(number: u8) -> Vec<u8> {
    vec![number + 1; 400]
}

/// Appends all records; gives those that were acknowledged, and the error that ended it.
fn append(disk: &SimDisk, seed: u64) -> Result<BTreeSet<u8>, JournalError> {
    let mut acknowledged = BTreeSet::new();
    append_into(disk, seed, &mut acknowledged)?;
    Ok(acknowledged)
}

fn append_into(disk: &SimDisk, seed: u64, acknowledged: &mut BTreeSet<u8>) -> Result<(), JournalError> {
    let (mut log, _) = Log::open(disk.clone(), Uuid::from_u128(seed.into()), LIMITS, |_| {})?;
    for number in 0..RECORDS {
        log.append(&[body(number)])?;
        acknowledged.insert(number);
        rest(&mut log, number)?;
    }
    Ok(())
}

/// What the journal does when nobody waits; from time to time what says where it ends is synced too.
fn rest(log: &mut Log<SimDisk>, number: u8) -> Result<(), JournalError> {
    log.make_reserve()?;
    log.keep_end(number.is_multiple_of(4))
}

/// Where there is no room to rename a file, nothing is taken until there is, and then all is. Each rename in turn.
fn room_for_names(seed: u64, operations: u64) -> Result<(), String> {
    let mut seen = 0;
    for operation in 0..operations {
        let disk = disk_of(seed);
        disk.fail_in(operation, Fault::NoSpace);
        let opened = Log::open(disk.clone(), Uuid::from_u128(seed.into()), LIMITS, |_| {});
        let Ok((mut log, _)) = opened else { continue };
        let refused = (0..RECORDS).any(|number| log.append(&[body(number)]).is_err());
        if !refused || !disk.state().rename_refused {
            continue;
        }
        seen += 1;
        let wrong = |what: &str| Err(format!("no room to rename at operation {operation}: {what}"));
        let look = |log: &mut Log<SimDisk>| log.make_reserve().map(|()| log.usage().has_room);
        if log.usage().has_room || look(&mut log).map_err(|error| error.to_string())? {
            return wrong("there is said to be room");
        }
        disk.state().full = false;
        if !look(&mut log).map_err(|error| error.to_string())? || log.append(&[body(0)]).is_err() {
            return wrong("there is room again, and it is not made use of");
        }
    }
    (seen > 0).then_some(()).ok_or_else(|| "no rename was refused".to_owned())
}

fn pass(seed: u64, operation: u64, fault: Fault) -> Result<(), String> {
    let disk = disk_of(seed);
    disk.fail_in(operation, fault);
    let mut acknowledged = BTreeSet::new();
    let ended = append_into(&disk, seed, &mut acknowledged);
    // Where there is no room for the next segment, this one goes on.
    if ended.is_ok() && fault != Fault::NoSpace {
        return Err(format!("operation {operation} failed with {fault:?} and nobody noticed"));
    }
    if disk.state().rename_refused && matches!(&ended, Err(JournalError::Disk { .. })) {
        return Err(format!(
            "no room to rename at operation {operation}, and it has failed for good: {ended:?}"
        ));
    }
    // Whatever the cache pretends: what is on the medium is what counts.
    disk.power_cut();
    disk.power_on();
    disk.state().full = false;
    let mut found = BTreeSet::new();
    let mut strange = 0;
    let opened = Log::open(disk.clone(), Uuid::from_u128(7), LIMITS, |stored| match stored.body.first() {
        Some(first) if stored.body == body(first - 1) => {
            found.insert(first - 1);
        }
        _ => strange += 1,
    });
    let (mut log, damages) = opened
        .map_err(|error| format!("after {fault:?} at {operation} the journal is not opened: {error}"))?;
    let lost: Vec<&u8> = acknowledged.difference(&found).collect();
    if !lost.is_empty() || strange > 0 {
        return Err(format!(
            "after {fault:?} at operation {operation}: acknowledged and gone {lost:?}, strange {strange}; {damages:?}"
        ));
    }
    if let Some(damage) = damages.iter().find(|damage| !damage.torn_tail) {
        return Err(format!(
            "after {fault:?} at operation {operation} damage is reported where none is: {damage:?}"
        ));
    }
    let before = found.len();
    log.append(&[body(0)])
        .map_err(|error| format!("after {fault:?} at {operation} it takes nothing: {error}"))?;
    let read = log.read(1, 1_000).map_err(|error| error.to_string())?;
    (read.len() == before + 1).then_some(()).ok_or_else(|| "what was found is not read".to_owned())
}

/// No room: refused, nothing lost, a start works, and it goes on when there is room.
fn full(seed: u64) -> Result<(), String> {
    let disk = disk_of(seed);
    let wrong = |error: JournalError| error.to_string();
    let (mut log, _) = Log::open(disk.clone(), Uuid::from_u128(1), LIMITS, |_| {}).map_err(wrong)?;
    log.append(&[body(0)]).map_err(wrong)?;
    log.make_reserve().map_err(wrong)?;
    disk.state().full = true;
    let mut taken = 1;
    let refused = loop {
        match log.append(&[body(1)]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        log.make_reserve().map_err(wrong)?;
    };
    if !matches!(refused, JournalError::Full(_)) {
        return Err(format!("a full disk is fatal: {refused}"));
    }
    if !log.usage().disk_full {
        return Err("the full disk is not told of".to_owned());
    }
    drop(log);
    let mut found = 0;
    let (mut log, damages) =
        Log::open(disk.clone(), Uuid::from_u128(2), LIMITS, |_| found += 1).map_err(wrong)?;
    if found != taken || !damages.is_empty() {
        return Err(format!(
            "{taken} were acknowledged, {found} are there after a start on a full disk: {damages:?}"
        ));
    }
    disk.state().full = false;
    log.append(&[body(2)]).map_err(|error| format!("with room again it takes nothing: {error}"))?;
    Ok(())
}
