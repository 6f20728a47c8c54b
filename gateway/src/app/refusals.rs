//! Since when something cannot be recorded for want of room, kept through a restart: a gateway that is killed meanwhile
//! must not forget whom it refused, nor since when it had been off, or somebody would be absent for it.
//!
//! A small file, made while there is room and then written in place, so that a full disk does not matter.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rollcall_rules::time::Instant;

/// Milliseconds since the epoch in so many digits; all 0 when nothing waits for room. The first is 1 where no swipe was
/// refused, and only notes wait.
const DIGITS: usize = 20;
/// That first digit's worth.
const NOTES_ONLY: u64 = 10_000_000_000_000_000_000;

/// Since when something could not be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unrecorded {
    /// Since when.
    pub(super) since: Instant,
    /// Swipes were refused, and not only notes.
    pub(super) swipes: bool,
}

/// The file, as far as it can be had.
pub(super) struct Refusals {
    file: Option<File>,
    kept: Option<Unrecorded>,
    /// The last attempt to keep it failed, as the log says.
    failing: bool,
}

impl Refusals {
    /// Opens it, or makes it. A gateway goes without where the disk refuses: it forgets then, as said in the log.
    pub(super) fn open(data: &Path) -> Self {
        let path = data.join("refusing");
        match read(&path) {
            Ok((file, kept)) => Self { file: Some(file), kept, failing: false },
            Err(error) => {
                tracing::warn!(
                    "{} cannot be used: {error}; a restart forgets that swipes were refused",
                    path.display()
                );
                Self { file: None, kept: None, failing: false }
            }
        }
    }

    /// What it says.
    pub(super) fn since(&self) -> Option<Unrecorded> {
        self.kept
    }

    /// Keeps since when something is not recorded; durable when this returns. What cannot be kept is tried again with the next.
    pub(super) fn keep(&mut self, since: Option<Unrecorded>) {
        if since == self.kept {
            return;
        }
        match self.file.as_ref().map_or(Ok(()), |file| write(file, since)) {
            Ok(()) => (self.kept, self.failing) = (since, false),
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("since when swipes are refused cannot be kept: {error}");
                }
            }
        }
    }
}

fn read(path: &Path) -> io::Result<(File, Option<Unrecorded>)> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut digits = [0; DIGITS];
    match file.read_exact_at(&mut digits, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            write(&file, None)?;
            return Ok((file, None));
        }
        Err(error) => return Err(error),
    }
    let number: u64 = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let since = i64::try_from(number % NOTES_ONLY).ok().filter(|since| *since > 0).map(Instant);
    Ok((file, since.map(|since| Unrecorded { since, swipes: number < NOTES_ONLY })))
}

fn write(file: &File, kept: Option<Unrecorded>) -> io::Result<()> {
    let number =
        kept.map_or(0, |it| u64::try_from(it.since.0).unwrap_or(0) + if it.swipes { 0 } else { NOTES_ONLY });
    file.write_all_at(format!("{number:0DIGITS$}").as_bytes(), 0)?;
    file.sync_data()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_after_a_restart_until_it_is_over_and_takes_no_more_room() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("refusing");
        let mut refusals = Refusals::open(data.path());
        assert_eq!(refusals.since(), None);
        let size = std::fs::metadata(&path).unwrap().len();
        let kept = |since, swipes| Some(Unrecorded { since: Instant(since), swipes });
        for since in [kept(1_800_000_000_123, true), kept(1_800_000_000_123, false), kept(5, true), None] {
            refusals.keep(since);
            refusals = Refusals::open(data.path());
            assert_eq!(refusals.since(), since);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
        }
        std::fs::write(&path, "what is this that stands here").unwrap();
        assert_eq!(Refusals::open(data.path()).since(), None);
    }
}
