//! Reading back: where a reader left off in a whole segment, and record by record in a damaged one.

use super::super::disk::{Disk, is_bad_spot, read_around};
use super::super::format::{Chain, HEADER_BYTES, Header};
use super::super::scan::{self, gaps, salvage};
use super::open::damage;
use super::{Damage, JournalError, Log, Segment, Stored, disk};

/// How much is read at once while looking for records to hand over.
const READ_BYTES: usize = 512 * 1024;

/// Where the last reading stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resume {
    /// The segment, by its first sequence.
    segment: u64,
    /// The sequence of the next record.
    next: u64,
    /// Where it stands.
    offset: u64,
    /// The chain value before it.
    before: Option<Chain>,
}

/// Whether an error says nothing of the disk and may be gone at the next attempt.
fn is_passing(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];
    error.raw_os_error().is_some_and(|code| passing.iter().any(|it| it.raw_os_error() == code))
}

impl<D: Disk> Log<D> {
    /// Whether it takes nothing any more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Reads durable records from `from` on, `limit` at the most.
    ///
    /// # Errors
    /// When the disk fails; the log takes nothing any more then, unless it was only that the process may open no
    /// more files or has no memory: what cannot be read cannot be handed over. A bad spot of the medium is no such
    /// failure: its segment is set aside like any with damage.
    pub fn read(&mut self, from: u64, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let read = self.read_all(from, limit);
        self.failed |= matches!(&read, Err(JournalError::Disk { source, .. }) if !is_passing(source));
        read
    }

    fn read_all(&mut self, from: u64, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let mut found: Vec<Stored> = Vec::new();
        let start = self.segments.range(..=from).next_back().map_or(from, |(first, _)| *first);
        let segments: Vec<Segment> =
            self.segments.range(start..).map(|(_, segment)| segment.clone()).collect();
        for segment in segments.into_iter().filter(|segment| segment.last >= from) {
            if found.len() >= limit {
                break;
            }
            let before = found.len();
            if segment.damaged {
                self.read_damaged(&segment, from, limit, &mut found)?;
                continue;
            }
            let (whole, bad_spot) = match self.read_segment(&segment, from, limit, &mut found) {
                Err(JournalError::Disk { source, .. }) if is_bad_spot(&source) => (false, true),
                read => (read?, false),
            };
            if !whole {
                found.truncate(before);
                self.set_aside(&segment, bad_spot)?;
                self.read_damaged(&segment, from, limit, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Reads what is whole of a segment with damage.
    fn read_damaged(
        &self,
        segment: &Segment,
        from: u64,
        limit: usize,
        found: &mut Vec<Stored>,
    ) -> Result<(), JournalError> {
        let name = self.segments.get(&segment.first).map_or(&segment.name, |known| &known.name);
        let (bytes, _) =
            read_around(&self.disk, name, self.limits.segment).map_err(disk("read a segment"))?;
        let whole = salvage(&bytes, segment.journal);
        let records = whole.range(from..).take(limit - found.len());
        found.extend(records.map(|(sequence, record)| Stored {
            journal: segment.journal,
            sequence: *sequence,
            before: None,
            chain: record.head.chain,
            body: bytes[record.body.clone()].to_vec(),
        }));
        Ok(())
    }

    /// Sets a segment aside that turned out to have damage, and tells of it.
    fn set_aside(&mut self, segment: &Segment, bad_spot: bool) -> Result<(), JournalError> {
        let (bytes, still) =
            read_around(&self.disk, &segment.name, self.limits.segment).map_err(disk("read a segment"))?;
        let renamed = format!("segment-{:020}.damaged", segment.first);
        self.disk.rename(&segment.name, &renamed).map_err(disk("set a damaged segment aside"))?;
        let whole = salvage(&bytes, segment.journal);
        self.news.push(Damage {
            journal: segment.journal,
            segment: renamed.clone(),
            missing: gaps(segment.first, whole.keys().copied().chain([segment.last + 1])),
            open_end: None,
            what: damage(&bytes, Header::of_segment(&bytes).as_ref(), bad_spot || still),
            torn_tail: false,
            known: false,
        });
        if self.segments.keys().next_back() == Some(&segment.first) {
            self.file = None;
        }
        if let Some(known) = self.segments.get_mut(&segment.first) {
            (known.name, known.damaged) = (renamed, true);
        }
        Ok(())
    }

    /// Reads on in a whole segment; `false` when it turns out to be damaged.
    fn read_segment(
        &mut self,
        segment: &Segment,
        from: u64,
        limit: usize,
        found: &mut Vec<Stored>,
    ) -> Result<bool, JournalError> {
        let fitting = |it: &Resume| it.segment == segment.first && it.next <= from;
        let mut at = match self.resume.filter(fitting) {
            Some(resume) => resume,
            None => {
                let header =
                    self.disk.read_at(&segment.name, 0, HEADER_BYTES).map_err(disk("read a header"))?;
                let before = Header::decode(&header).ok().map(|header| header.chain);
                let offset = HEADER_BYTES as u64;
                Resume { segment: segment.first, next: segment.first, offset, before }
            }
        };
        self.resume = None;
        while at.next <= segment.last && found.len() < limit {
            let left = usize::try_from(self.limits.records_end().saturating_sub(at.offset)).unwrap_or(0);
            let bytes = self
                .disk
                .read_at(&segment.name, at.offset, READ_BYTES.min(left))
                .map_err(disk("read a segment"))?;
            let mut ended = false;
            let scanned = scan::run(&bytes, segment.journal, 0, at.next, |head, body| {
                ended = found.len() >= limit || head.sequence > segment.last;
                if ended {
                    return false;
                }
                let before = at.before.replace(head.chain);
                if head.sequence >= from {
                    let (journal, sequence, chain) = (segment.journal, head.sequence, head.chain);
                    found.push(Stored { journal, sequence, before, chain, body: body.to_vec() });
                }
                true
            });
            (at.next, at.offset) = (scanned.next, at.offset + scanned.end as u64);
            if ended {
                break;
            }
            if scanned.end == 0 {
                return Ok(false);
            }
        }
        self.resume = Some(at);
        Ok(true)
    }
}
