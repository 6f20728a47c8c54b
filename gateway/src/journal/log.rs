//! The log over segments: found at the start, appended to, read back, dropped when old and handed over.
//!
//! Sequences grow for ever and are never used twice, also where the journal's id changes. A segment with damage
//! is renamed to `….damaged`, gets no more records, and everything whole in it is still read.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use thiserror::Error;
use uuid::Uuid;

use super::disk::{Disk, is_full, rename_where_room};
use super::format::{
    Chain, FormatError, HEADER_BYTES, Head, Header, MAX_BODY_BYTES, SEGMENT_BYTES, chain, encode_record,
    record_bytes,
};

pub(super) mod end;
mod open;
mod read;
use end::Keeping;
use read::Resume;

/// Why the journal cannot go on. All but `Full` are fatal to it: red, alarm, restart.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The disk failed at some act.
    #[error("the journal could not {act}: {source}")]
    Disk {
        /// What was done.
        act: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no room for another segment. Nothing was written; what is stored stays.
    #[error("the journal is full ({0}): new swipes are refused until there is room again")]
    Full(&'static str),
    /// A body is longer than a record may be, or empty.
    #[error("a record of {0} bytes cannot be written: 1 to {MAX_BODY_BYTES}")]
    Length(usize),
    /// It failed before, and what was written since is unknown.
    #[error("the journal failed before and takes nothing any more; restart the gateway")]
    Failed,
}

fn disk(act: &'static str) -> impl Fn(io::Error) -> JournalError {
    move |source| JournalError::Disk { act, source }
}

/// Something that was found and that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The journal that its records were written under.
    pub journal: Uuid,
    /// The segment.
    pub segment: String,
    /// The records that cannot be read any more; open at the end where nobody knows how many there were.
    pub missing: Vec<Range<u64>>,
    /// From this number on nothing can be read; how many there were is not known.
    pub open_end: Option<u64>,
    /// What is wrong.
    pub what: FormatError,
    /// It is at the very end, where a power cut tears a write that nobody was told of. (A medium that lost its
    /// newest records looks the same.)
    pub torn_tail: bool,
    /// An earlier start found it too; it may have ended before anyone was told.
    pub known: bool,
}

/// A record, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The journal that it was written under.
    pub journal: Uuid,
    /// Its sequence.
    pub sequence: u64,
    /// The chain value before it, where the record before it could be read.
    pub before: Option<Chain>,
    /// The chain value behind it.
    pub chain: Chain,
    /// Its body.
    pub body: Vec<u8>,
}

/// The records of one segment, as far as they are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its file.
    pub name: String,
    /// The journal that it belongs to.
    pub journal: Uuid,
    /// The first sequence.
    pub first: u64,
    /// The last sequence that can be read; `first - 1` where there is none.
    pub last: u64,
    /// It has damage: read record by record.
    pub damaged: bool,
}

/// How full the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes taken by segments.
    pub used: u64,
    /// Bytes that it may take.
    pub quota: u64,
    /// The next segment cannot be prepared: the disk is full.
    pub disk_full: bool,
    /// The next segment is there and the quota allows it: whatever comes is taken.
    pub has_room: bool,
}

impl Usage {
    /// How full it is in percent, 100 where the disk is.
    #[must_use]
    pub fn percent(&self) -> u64 {
        if self.disk_full { 100 } else { self.used.saturating_mul(100) / self.quota.max(1) }
    }

    /// Of which fill people are to be warned, in percent; 0 while there is room enough.
    #[must_use]
    pub fn warning(&self) -> u64 {
        [95, 80, 50].into_iter().find(|step| self.percent() >= *step).unwrap_or(0)
    }
}

/// How large segments are, and how much they may take together, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The size of a segment; [`SEGMENT_BYTES`] but in tests.
    pub segment: u64,
    /// All of them.
    pub quota: u64,
}

impl Limits {
    /// Segments of the usual size.
    #[must_use]
    pub fn quota(bytes: u64) -> Self {
        Self { segment: SEGMENT_BYTES, quota: bytes }
    }

    /// Where a segment's records end at the latest: the header's copy stands there.
    fn records_end(self) -> u64 {
        self.segment - HEADER_BYTES as u64
    }
}

/// The log.
pub struct Log<D: Disk> {
    disk: D,
    journal: Uuid,
    /// By the first sequence.
    segments: BTreeMap<u64, Segment>,
    file: Option<D::File>,
    offset: u64,
    next: u64,
    chain: Chain,
    failed: bool,
    limits: Limits,
    has_reserve: bool,
    disk_full: bool,
    /// Damage that was found since the start.
    news: Vec<Damage>,
    resume: Option<Resume>,
    /// What is whole of segments with damage: where each record stands, by the segment's first sequence.
    salvaged: BTreeMap<u64, BTreeMap<u64, Range<u64>>>,
    /// Where it ended, in a file of its own.
    end: Keeping<D::File>,
}

/// The next segment, made before it is needed.
const RESERVE: &str = "reserve";
/// Made and removed to see whether there is room for a name.
const PROBE: &str = "probe";
/// How many numbers are left out where records may be lost whose numbers the hub may know: more than a segment holds.
const NUMBERS_LEFT_OUT: u64 = 1_000_000;
fn name(first: u64) -> String {
    format!("segment-{first:020}.log")
}

impl<D: Disk> Log<D> {
    /// The journal's id.
    #[must_use]
    pub fn journal(&self) -> Uuid {
        self.journal
    }

    /// The sequence that the next record gets.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// The chain value behind the last record.
    #[must_use]
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values()
    }

    /// Nothing was ever recorded here: a new disk, also one of which an earlier start had not come to its first record.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let begins = self.segments.keys().next().is_none_or(|first| *first == 1);
        begins && self.segments.values().all(|segment| segment.last < segment.first)
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let used = self.segments.len() as u64 * self.limits.segment;
        let has_room = self.has_reserve && !self.disk_full && used + self.limits.segment <= self.limits.quota;
        Usage { used, quota: self.limits.quota, disk_full: self.disk_full, has_room }
    }

    /// Goes on under another id, in a segment of its own: the hub has seen numbers of the present one that this
    /// disk does not know.
    pub fn renew(&mut self, fresh: Uuid) {
        self.journal = fresh;
        self.next = self.next.saturating_add(NUMBERS_LEFT_OUT);
        self.file = None;
    }

    /// Appends bodies as one group and makes them durable, all together. Gives the sequence of the first.
    ///
    /// # Errors
    /// [`JournalError::Full`] when there is no room: nothing is written then. When the disk fails the log takes
    /// nothing any more.
    pub fn append(&mut self, bodies: &[Vec<u8>]) -> Result<u64, JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        if let Some(body) = bodies.iter().find(|body| body.is_empty() || body.len() > MAX_BODY_BYTES) {
            return Err(JournalError::Length(body.len()));
        }
        let bytes: u64 = bodies.iter().map(|body| record_bytes(body)).sum();
        if bytes > self.limits.records_end() - HEADER_BYTES as u64 {
            return Err(JournalError::Length(usize::try_from(bytes).unwrap_or(usize::MAX)));
        }
        let appended = self.append_group(bodies, bytes);
        self.failed = appended.as_ref().is_err_and(|error| !matches!(error, JournalError::Full(_)));
        appended
    }

    fn append_group(&mut self, bodies: &[Vec<u8>], bytes: u64) -> Result<u64, JournalError> {
        if self.file.is_none() || self.offset + bytes > self.limits.records_end() {
            self.begin_segment()?;
        }
        let Some(file) = &self.file else { return Err(JournalError::Failed) };
        let group = self.next;
        let (mut buffer, mut value) = (Vec::new(), self.chain);
        for (sequence, body) in (group..).zip(bodies) {
            value = chain(&value, sequence, body);
            encode_record(self.journal, &Head { sequence, group, chain: value }, body, &mut buffer);
        }
        self.disk.write_at(file, &buffer, self.offset).map_err(disk("write"))?;
        self.disk.sync(file).map_err(disk("sync"))?;
        self.offset += buffer.len() as u64;
        self.next = group + bodies.len() as u64;
        self.chain = value;
        if let Some(mut segment) = self.segments.last_entry() {
            segment.get_mut().last = self.next - 1;
        }
        Ok(group)
    }

    fn begin_segment(&mut self) -> Result<(), JournalError> {
        if (self.segments.len() as u64 + 1) * self.limits.segment > self.limits.quota {
            return Err(JournalError::Full("its quota is used up"));
        }
        self.make_reserve()?;
        if !self.has_reserve {
            return Err(JournalError::Full("its disk is full"));
        }
        let name = name(self.next);
        if !rename_where_room(&self.disk, RESERVE, &name).map_err(disk("begin a segment"))? {
            self.disk_full = true;
            return Err(JournalError::Full("its disk is full"));
        }
        self.has_reserve = false;
        self.disk_full = false;
        let file = self.disk.open(&name).map_err(disk("open a segment"))?;
        let header = Header { journal: self.journal, first: self.next, chain: self.chain }.encode();
        self.disk.write_at(&file, &header, 0).map_err(disk("write a header"))?;
        self.disk.write_at(&file, &header, self.limits.records_end()).map_err(disk("write a header"))?;
        self.disk.sync(&file).map_err(disk("sync a header"))?;
        let (journal, first) = (self.journal, self.next);
        self.segments.insert(first, Segment { name, journal, first, last: first - 1, damaged: false });
        self.file = Some(file);
        self.offset = HEADER_BYTES as u64;
        Ok(())
    }

    /// Makes the next segment before it is needed, so that a full disk is known of long before it refuses
    /// anybody, and a swipe never waits for it.
    ///
    /// # Errors
    /// When the disk fails. A full one is no error: see [`Log::usage`].
    pub fn make_reserve(&mut self) -> Result<(), JournalError> {
        if self.failed || (self.has_reserve && !self.disk_full) {
            return Ok(());
        }
        // Where there was no room to rename it, a file of one byte tells whether there is now.
        let made = match self.has_reserve {
            true => self.disk.create(PROBE, 1).and_then(|()| self.disk.remove(PROBE)),
            false => self.disk.create(RESERVE, self.limits.segment),
        };
        match made {
            Ok(()) => {
                self.has_reserve = true;
                self.disk_full = false;
            }
            Err(error) if is_full(&error) => self.disk_full = true,
            Err(error) => {
                self.failed = true;
                return Err(disk("make the next segment")(error));
            }
        }
        Ok(())
    }

    /// Takes the damage that was found since the start, or since this was last asked.
    pub fn take_news(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.news)
    }

    /// Drops whole segments all of whose records come before `keep_from`; never the one written to.
    ///
    /// # Errors
    /// When the disk fails; the log takes nothing any more then.
    pub fn drop_before(&mut self, keep_from: u64) -> Result<usize, JournalError> {
        let dropped = self.drop_segments(keep_from);
        self.failed |= dropped.is_err();
        dropped
    }

    fn drop_segments(&mut self, keep_from: u64) -> Result<usize, JournalError> {
        let newest = self.segments.keys().next_back().copied();
        let old: Vec<u64> = self
            .segments
            .iter()
            .filter(|(first, segment)| Some(**first) != newest && segment.last < keep_from)
            .map(|(first, _)| *first)
            .collect();
        for first in &old {
            if let Some(segment) = self.segments.get(first) {
                tracing::info!(segment = %segment.name, journal = %segment.journal, "old segment dropped");
                self.disk.remove(&segment.name).map_err(disk("remove a segment"))?;
                self.segments.remove(first);
                self.salvaged.remove(first);
            }
        }
        Ok(old.len())
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
