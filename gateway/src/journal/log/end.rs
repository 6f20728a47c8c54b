//! Where the journal ended when it was last quiet, in a file of its own: so that records which the medium loses at the
//! very end, where nothing stands behind them, are not taken for a write that nobody was told of.
//!
//! Written only after the sync of the last group returned, and itself not synced with each group: a power cut may take
//! the newest word of it, and never makes it say too much.

use uuid::Uuid;

use super::super::disk::{Disk, is_bad_spot, is_full};
use super::{JournalError, Log, disk};

/// The file.
pub(in crate::journal) const END: &str = "end";
/// Written in turn: two places, in blocks of their own.
const PLACES: [u64; 2] = [0, 4_096];
const MAGIC: &[u8; 4] = b"RCE1";
/// Magic, journal (16), next sequence (8, little-endian), CRC32C of what comes before (4, little-endian).
const BYTES: usize = 32;

/// Where a journal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    /// The journal of the last record.
    journal: Uuid,
    /// The sequence behind the last record.
    next: u64,
}

impl End {
    fn encode(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..20].copy_from_slice(self.journal.as_bytes());
        bytes[20..28].copy_from_slice(&self.next.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (said, crc) = bytes.get(..BYTES)?.split_at(28);
        if &said[..4] != MAGIC || crc32c::crc32c(said).to_le_bytes() != *crc {
            return None;
        }
        let next = said[20..].try_into().map(u64::from_le_bytes).ok()?;
        Some(Self { journal: Uuid::from_slice(&said[4..20]).ok()?, next })
    }
}

/// The sequence behind the last record that was there when these bytes of the file were written; 0 where nothing says so.
pub(in crate::journal) fn newest(bytes: &[u8]) -> u64 {
    let places = PLACES.iter().filter_map(|place| bytes.get(usize::try_from(*place).ok()?..));
    places.filter_map(End::decode).map(|end| end.next).max().unwrap_or(0)
}

/// The file while the log is open.
pub(super) struct Keeping<F> {
    /// It is there.
    is_there: bool,
    file: Option<F>,
    /// What was last written, and where.
    kept: Option<End>,
    place: usize,
    is_synced: bool,
}

impl<F> Default for Keeping<F> {
    fn default() -> Self {
        Self { is_there: false, file: None, kept: None, place: 0, is_synced: true }
    }
}

impl<D: Disk> Log<D> {
    /// Looks for the file among a folder's names, some of which are of segments. Gives the sequence behind the last record that was
    /// there when it was written; 0 where nothing says so. One with a spot that cannot be read, or of a journal that is gone, is
    /// removed, and made anew.
    pub(super) fn find_end(&mut self, names: &[String], segments: usize) -> Result<u64, JournalError> {
        self.end.is_there = names.iter().any(|name| name == END);
        if !self.end.is_there {
            return Ok(0);
        }
        let (mut ended, mut is_bad) = (0, segments == 0);
        for (place, offset) in PLACES.into_iter().enumerate() {
            match self.disk.read_at(END, offset, BYTES) {
                Ok(bytes) => {
                    if let Some(end) = End::decode(&bytes).filter(|end| end.next > ended) {
                        (ended, self.end.place) = (end.next, place);
                    }
                }
                Err(error) if is_bad_spot(&error) => {
                    tracing::warn!(
                        "a spot of the journal's file `{END}` cannot be read: replace the disk soon"
                    );
                    is_bad = true;
                }
                Err(error) => return Err(disk("read where it ended")(error)),
            }
        }
        if is_bad {
            self.disk.remove(END).map_err(disk("remove the file of its end"))?;
            self.end.is_there = false;
        }
        Ok(if segments == 0 { 0 } else { ended })
    }

    /// Writes down where the journal ends, if that has changed; when nobody waits. `now` also syncs it: once in a while,
    /// and at the end.
    ///
    /// # Errors
    /// When the disk fails; the log takes nothing any more then. A full one is no error.
    pub fn keep_end(&mut self, now: bool) -> Result<(), JournalError> {
        // Of a journal without a segment there is nothing to say; one that failed does not know where it ends.
        if self.failed || self.file.is_none() {
            return Ok(());
        }
        let kept = self.write_end(now);
        match kept {
            Err(JournalError::Disk { source, .. }) if is_full(&source) => Ok(()),
            kept => {
                self.failed |= kept.is_err();
                kept
            }
        }
    }

    fn write_end(&mut self, now: bool) -> Result<(), JournalError> {
        let Self { end: keeping, disk: folder, .. } = self;
        if keeping.file.is_none() {
            if !keeping.is_there {
                folder.create(END, 2 * PLACES[1]).map_err(disk("make the file of its end"))?;
                keeping.is_there = true;
            }
            keeping.file = Some(folder.open(END).map_err(disk("open the file of its end"))?);
        }
        let Some(file) = &keeping.file else { return Ok(()) };
        let end = End { journal: self.journal, next: self.next };
        if keeping.kept != Some(end) {
            // The other place still holds what was written before.
            keeping.place = (keeping.place + 1) % PLACES.len();
            folder
                .write_at(file, &end.encode(), PLACES[keeping.place])
                .map_err(disk("write where it ends"))?;
            (keeping.kept, keeping.is_synced) = (Some(end), false);
        }
        if now && !keeping.is_synced {
            folder.sync(file).map_err(disk("sync where it ends"))?;
            keeping.is_synced = true;
        }
        Ok(())
    }
}
