//! Since when something cannot be recorded for want of room, kept through a restart: a gateway that is killed meanwhile
//! must not forget whom it refused, nor since when it had been off, or somebody would be absent for it.
//!
//! A small file, made while there is room and then written in place, so that a full disk does not matter.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rollcall_rules::time::Instant;
use tokio::sync::oneshot;

use crate::aside::aside;

/// Milliseconds since the epoch in so many digits; all 0 when nothing waits for room. The first is 1 where no swipe was
/// refused, and only notes wait.
const DIGITS: usize = 20;
/// That first digit's worth.
const NOTES_ONLY: u64 = 10_000_000_000_000_000_000;

/// The doors wait so long at the most until the disk has it.
const KEPT_WITHIN: Duration = Duration::from_secs(2);

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
    file: Option<Arc<File>>,
    kept: Option<Unrecorded>,
    /// What is being written, beside the doors.
    writing: Option<(Option<Unrecorded>, oneshot::Receiver<io::Result<()>>)>,
    /// It was waited for as long as anybody may wait.
    hangs: bool,
    /// The last attempt to keep it failed, as the log says.
    failing: bool,
}

impl Refusals {
    /// Opens it, or makes it. A gateway goes without where the disk refuses: it forgets then, as said in the log.
    pub(super) fn open(data: &Path) -> Self {
        let path = data.join("refusing");
        match read(&path) {
            Ok((file, kept)) => {
                Self { file: Some(Arc::new(file)), kept, writing: None, hangs: false, failing: false }
            }
            Err(error) => {
                tracing::warn!(
                    "{} cannot be used: {error}; a restart forgets that swipes were refused",
                    path.display()
                );
                Self { file: None, kept: None, writing: None, hangs: false, failing: false }
            }
        }
    }

    /// What it says.
    pub(super) fn since(&self) -> Option<Unrecorded> {
        self.kept
    }

    /// Keeps since when something is not recorded; durable when this returns, unless the disk hangs: then nobody waits for it longer
    /// than he may, and once only. What cannot be kept is tried again with the next.
    pub(super) async fn keep(&mut self, since: Option<Unrecorded>) {
        let patience = if self.hangs { Duration::ZERO } else { KEPT_WITHIN };
        let mut until = tokio::time::Instant::now() + patience;
        loop {
            let Some((what, written)) = &mut self.writing else {
                if since == self.kept {
                    return;
                }
                let Some(file) = self.file.clone() else {
                    self.kept = since;
                    return;
                };
                self.writing = Some((since, aside("refusals", move || write(&file, since))));
                continue;
            };
            let what = *what;
            let Ok(written) = tokio::time::timeout_at(until, written).await else {
                if !std::mem::replace(&mut self.hangs, true) {
                    tracing::warn!(
                        "since when swipes are refused is still being written; the doors do not wait for it"
                    );
                }
                return;
            };
            if std::mem::replace(&mut self.hangs, false) {
                // It does not hang any more.
                until = tokio::time::Instant::now() + KEPT_WITHIN;
            }
            self.writing = None;
            match written.map_err(io::Error::other).flatten() {
                Ok(()) => (self.kept, self.failing) = (what, false),
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!("since when swipes are refused cannot be kept: {error}");
                    }
                    return;
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

    #[tokio::test]
    async fn it_is_known_after_a_restart_until_it_is_over_and_takes_no_more_room() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("refusing");
        let mut refusals = Refusals::open(data.path());
        assert_eq!(refusals.since(), None);
        let size = std::fs::metadata(&path).unwrap().len();
        let kept = |since, swipes| Some(Unrecorded { since: Instant(since), swipes });
        for since in [kept(1_800_000_000_123, true), kept(1_800_000_000_123, false), kept(5, true), None] {
            refusals.keep(since).await;
            refusals = Refusals::open(data.path());
            assert_eq!(refusals.since(), since);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
        }
        std::fs::write(&path, "what is this that stands here").unwrap();
        assert_eq!(Refusals::open(data.path()).since(), None);
    }
}
