//! The data folder: whether it can be written, how long a sync takes, how much room there is.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, statvfs};

use super::Finding;
use crate::config::Config;

/// How many syncs are timed.
const SYNCS: usize = 50;
/// A swipe's record, more or less.
const RECORD_BYTES: usize = 1_024;
/// Students notice a light that comes later than this.
const SLOW: Duration = Duration::from_millis(100);
/// With a sync that takes longer than this at its worst a queue at the door does not move.
const TOO_SLOW: Duration = Duration::from_secs(1);
/// What the timetable cache and the system itself may need beside the journal, in MiB.
const BESIDE_MIB: u64 = 256;

/// Checks the folder; says whether a gateway runs on it.
pub(super) fn check(config: &Config, say: &mut impl FnMut(Finding)) -> bool {
    // A folder that the gateway has yet to make is as good as the one that it will be in.
    let there = config.data.ancestors().find(|folder| folder.is_dir());
    let data = there.unwrap_or_else(|| Path::new("."));
    let running = runs(data);
    if running {
        say(Finding::pass("disk", format!("a gateway runs on {}: its ports are left alone", data.display())));
    }
    say(match syncs(data) {
        Ok((median, worst)) => {
            let found =
                format!("a record is on disk in {median:.1?} (median), {worst:.1?} (worst of {SYNCS})");
            let advice = "use a better card or an SSD: every swipe waits for one sync before its light";
            match (median, worst) {
                (_, worst) if worst > TOO_SLOW => Finding::fail("disk", found, advice),
                (median, worst) if median > SLOW / 2 || worst > 2 * SLOW => {
                    Finding::warn("disk", found, advice)
                }
                _ => Finding::pass("disk", found),
            }
        }
        Err(error) => Finding::fail(
            "disk",
            format!("{} cannot be written: {error}", data.display()),
            "give the folder to the gateway's user, or free space on the disk",
        ),
    });
    say(room(data, config.journal.max_mib));
    running
}

/// Whether a gateway holds the folder's lock.
fn runs(data: &Path) -> bool {
    let Ok(file) = File::open(data.join("lock")) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Median and worst of some syncs of a record, in a file whose blocks were written before, as the journal's are.
fn syncs(data: &Path) -> std::io::Result<(Duration, Duration)> {
    let path = data.join("check.tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    let timed = (|| {
        file.write_all(&vec![0; RECORD_BYTES * SYNCS])?;
        file.sync_all()?;
        let mut took = Vec::with_capacity(SYNCS);
        for index in 0..SYNCS {
            let begun = Instant::now();
            file.write_all_at(&[1; RECORD_BYTES], (index * RECORD_BYTES) as u64)?;
            file.sync_data()?;
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        Ok((took[SYNCS / 2], took[SYNCS - 1]))
    })();
    std::fs::remove_file(&path)?;
    timed
}

fn room(data: &Path, journal_mib: u64) -> Finding {
    let disk = match statvfs(data) {
        Ok(disk) => disk,
        Err(error) => {
            return Finding::warn("disk", format!("its size cannot be read: {error}"), "look at it with df");
        }
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    let taken: u64 = std::fs::read_dir(data.join("journal"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum();
    let wanted = (journal_mib + BESIDE_MIB).saturating_sub(taken >> 20);
    let found = format!("{free} MiB are free; the journal has {} of its {journal_mib} MiB", taken >> 20);
    if free < wanted {
        let advice = format!(
            "make room, or say [journal] max_mib = {}",
            (free + (taken >> 20)).saturating_sub(BESIDE_MIB).max(16)
        );
        Finding::warn("disk", found, advice)
    } else {
        Finding::pass("disk", found)
    }
}
