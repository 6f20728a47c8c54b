//! Reading back: where a reader left off in a whole segment, and record by record in a damaged one.

use std::collections::BTreeMap;
use std::ops::Range;

use uuid::Uuid;

use super::super::disk::{Disk, Readable, is_bad_spot, name_damaged, read_around};
use super::super::format::{
    Chain, FormatError, HEADER_BYTES, Head, Header, RECORD_HEAD_BYTES, chain, decode_record,
};
use super::super::scan::{self, Whole, gaps, salvage};
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

/// Where records stand in their segment, heads included.
pub(super) fn places(whole: &BTreeMap<u64, Whole>) -> BTreeMap<u64, Range<u64>> {
    let place = |whole: &Whole| (whole.body.start - RECORD_HEAD_BYTES) as u64..whole.body.end as u64;
    whole.iter().map(|(sequence, whole)| (*sequence, place(whole))).collect()
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

    /// Reads what is whole of a segment with damage, record by record. What cannot be read any more is reported.
    fn read_damaged(
        &mut self,
        segment: &Segment,
        from: u64,
        limit: usize,
        found: &mut Vec<Stored>,
    ) -> Result<(), JournalError> {
        let name = self.segments.get(&segment.first).map_or(&segment.name, |known| &known.name).clone();
        let Some(kept) = self.salvaged.get_mut(&segment.first) else { return Ok(()) };
        let wanted: Vec<(u64, Range<u64>)> =
            kept.range(from..).map(|(at, place)| (*at, place.clone())).collect();
        // What lies before the first of them, where it can be read: a signature needs it.
        let earlier = from.checked_sub(1).and_then(|at| Some((at, kept.get(&at)?.clone())));
        let mut behind = match earlier {
            Some((at, place)) => read_one(&self.disk, &name, &place, segment.journal)
                .ok()
                .filter(|(head, _)| head.sequence == at)
                .map(|(head, _)| (at, head.chain)),
            None => self
                .disk
                .read_at(&name, 0, HEADER_BYTES)
                .ok()
                .and_then(|bytes| Header::decode(&bytes).ok())
                .filter(|header| (header.journal, header.first) == (segment.journal, segment.first))
                .map(|header| (header.first.saturating_sub(1), header.chain)),
        };
        let mut lost = None;
        let mut missing = Vec::new();
        // In place of each that cannot be read any more comes the next: no whole one may be passed over.
        for (sequence, place) in wanted {
            if found.len() >= limit {
                break;
            }
            let what = match read_one(&self.disk, &name, &place, segment.journal) {
                Ok((head, body)) if head.sequence == sequence => {
                    let fits = |before: &Chain| chain(before, sequence, &body) == head.chain;
                    let before = behind.filter(|(at, _)| at + 1 == sequence).map(|(_, chain)| chain);
                    behind = Some((sequence, head.chain));
                    let (journal, chain) = (segment.journal, head.chain);
                    found.push(Stored { journal, sequence, before: before.filter(fits), chain, body });
                    continue;
                }
                Ok(_) => FormatError::Behind,
                Err(Unread::Bad(what)) => what,
                Err(Unread::Disk(error)) => return Err(disk("read a record")(error)),
            };
            kept.remove(&sequence);
            missing.push(sequence..sequence + 1);
            lost = Some(what);
        }
        self.news.extend(lost.map(|what| Damage {
            journal: segment.journal,
            segment: name,
            missing,
            open_end: None,
            what,
            torn_tail: false,
            known: false,
        }));
        Ok(())
    }

    /// Sets a segment aside that turned out to have damage, and tells of it.
    fn set_aside(&mut self, segment: &Segment, bad_spot: bool) -> Result<(), JournalError> {
        let Readable { bytes, has_bad_spot, .. } =
            read_around(&self.disk, &segment.name, self.limits.segment).map_err(disk("read a segment"))?;
        let renamed = name_damaged(&self.disk, &segment.name, segment.first)
            .map_err(disk("set a damaged segment aside"))?;
        let whole = salvage(&bytes, segment.journal);
        self.salvaged.insert(segment.first, places(&whole));
        self.news.push(Damage {
            journal: segment.journal,
            segment: renamed.clone(),
            missing: gaps(segment.first, whole.keys().copied().chain([segment.last + 1])),
            open_end: None,
            what: damage(&bytes, Header::of_segment(&bytes).as_ref(), bad_spot || has_bad_spot),
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

/// Why a record could not be read.
enum Unread {
    /// It is not whole any more.
    Bad(FormatError),
    /// The disk failed.
    Disk(std::io::Error),
}

/// Reads the record at a place of a file.
fn read_one<D: Disk>(
    disk: &D,
    name: &str,
    place: &Range<u64>,
    journal: Uuid,
) -> Result<(Head, Vec<u8>), Unread> {
    let bytes = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
    let bytes = disk.read_at(name, place.start, bytes).map_err(|error| match is_bad_spot(&error) {
        true => Unread::Bad(FormatError::Unreadable),
        false => Unread::Disk(error),
    })?;
    match decode_record(&bytes, journal) {
        Ok(Some((head, body))) => Ok((head, body.to_vec())),
        Ok(None) => Err(Unread::Bad(FormatError::Behind)),
        Err(what) => Err(Unread::Bad(what)),
    }
}
