//! The log over segments: found at the start, appended to, read back, dropped when old and handed over.

use std::collections::BTreeMap;
use std::io;

use thiserror::Error;
use uuid::Uuid;

use super::disk::Disk;
use super::format::{
    Chain, FormatError, HEADER_BYTES, Header, MAX_BODY_BYTES, SEGMENT_BYTES, chain, decode_record,
    encode_record, record_bytes,
};

/// Why the journal cannot go on. All of these are fatal to it: red, alarm, restart.
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
    /// A body is longer than a record may be.
    #[error("a record of {0} bytes is too long: {MAX_BODY_BYTES} at the most")]
    TooLong(usize),
    /// It failed before, and what was written since is unknown.
    #[error("the journal failed before and takes nothing any more; restart the gateway")]
    Failed,
}

fn disk(act: &'static str) -> impl Fn(io::Error) -> JournalError {
    move |source| JournalError::Disk { act, source }
}

/// Something that was found at the start and that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: String,
    /// The sequence from which on its records are not readable.
    pub from: u64,
    /// What is wrong.
    pub what: FormatError,
    /// It is at the very end: a write that a power cut tore. Nothing that was acknowledged is lost.
    pub torn_tail: bool,
}

/// A record, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence.
    pub sequence: u64,
    /// The chain value behind it.
    pub chain: Chain,
    /// Its body.
    pub body: Vec<u8>,
}

struct Segment {
    name: String,
    journal: Uuid,
    last: u64,
}

/// The log.
pub struct Log<D: Disk> {
    disk: D,
    journal: Uuid,
    /// By the sequence of the first record.
    segments: BTreeMap<u64, Segment>,
    file: Option<D::File>,
    offset: u64,
    next: u64,
    chain: Chain,
    failed: bool,
}

/// How many numbers are left out behind damage: more than a segment holds.
const NUMBERS_LEFT_OUT: u64 = 1_000_000;

fn name(first: u64) -> String {
    format!("segment-{first:020}.log")
}

/// Reads the records of a segment, in order; stops at their end or at the first damage.
fn scan(
    bytes: &[u8],
    header: &Header,
    mut each: impl FnMut(u64, Chain, &[u8]),
) -> (u64, u64, Chain, Option<FormatError>) {
    let (mut offset, mut next, mut value) = (HEADER_BYTES, header.first, header.chain);
    loop {
        match decode_record(bytes.get(offset..).unwrap_or(&[]), next) {
            Ok(None) => return (offset as u64, next, value, None),
            Ok(Some(body)) => {
                value = chain(&value, next, body);
                each(next, value, body);
                offset += usize::try_from(record_bytes(body)).unwrap_or(usize::MAX);
                next += 1;
            }
            Err(error) => return (offset as u64, next, value, Some(error)),
        }
    }
}

impl<D: Disk> Log<D> {
    /// Finds the log in a folder, or begins one under `fresh` as its id. Every whole record is given to
    /// `each`; what is damaged is reported.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn open(
        disk: D,
        fresh: Uuid,
        mut each: impl FnMut(&Stored),
    ) -> Result<(Self, Vec<Damage>), JournalError> {
        let mut log = Self {
            disk,
            journal: fresh,
            segments: BTreeMap::new(),
            file: None,
            offset: 0,
            next: 1,
            chain: [0; 32],
            failed: false,
        };
        let mut damages = Vec::new();
        let names = log.disk.list().map_err(self::disk("list its folder"))?;
        let names: Vec<String> =
            names.into_iter().filter(|name| name.starts_with("segment-") && name.ends_with(".log")).collect();
        for (index, name) in names.iter().enumerate() {
            let bytes = log.disk.read(name).map_err(self::disk("read a segment"))?;
            let header = match Header::decode(&bytes) {
                Ok(header) => header,
                Err(what) => {
                    // A segment that was made and never written to has no header yet.
                    let torn_tail = index + 1 == names.len() && bytes.iter().all(|byte| *byte == 0);
                    damages.push(Damage { segment: name.clone(), from: log.next, what, torn_tail });
                    if torn_tail {
                        log.disk.remove(name).map_err(self::disk("remove an empty segment"))?;
                    }
                    continue;
                }
            };
            let (offset, next, value, damage) = scan(&bytes, &header, |sequence, chain, body| {
                each(&Stored { sequence, chain, body: body.to_vec() });
            });
            let last_segment = index + 1 == names.len();
            log.journal = header.journal;
            log.segments.insert(
                header.first,
                Segment { name: name.clone(), journal: header.journal, last: next - 1 },
            );
            (log.offset, log.next, log.chain) = (offset, next, value);
            if let Some(what) = damage {
                let rest = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or(&[]);
                let torn_tail = last_segment && !any_record_behind(rest, next);
                damages.push(Damage { segment: name.clone(), from: next, what, torn_tail });
                if torn_tail {
                    log.cut(name, rest.len())?;
                } else {
                    log.offset = SEGMENT_BYTES;
                }
            }
            if last_segment && log.offset < SEGMENT_BYTES {
                log.file = Some(log.disk.open(name).map_err(self::disk("open a segment"))?);
            }
        }
        if damages.iter().any(|damage| !damage.torn_tail) {
            // Records are lost that the hub may have: go on under another name, with numbers that were not used.
            log.journal = fresh;
            log.next = log.next.saturating_add(NUMBERS_LEFT_OUT);
            log.file = None;
        }
        Ok((log, damages))
    }

    /// Overwrites a torn tail with zeros, so that it is never read again.
    fn cut(&mut self, name: &str, length: usize) -> Result<(), JournalError> {
        let file = self.disk.open(name).map_err(disk("open a segment"))?;
        self.disk.write_at(&file, &vec![0; length], self.offset).map_err(disk("cut a torn tail"))?;
        self.disk.sync(&file).map_err(disk("sync a cut tail"))
    }

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

    /// Appends bodies and makes them durable, all together. Gives the sequence of the first.
    ///
    /// # Errors
    /// When the disk fails: then the log takes nothing any more.
    pub fn append(&mut self, bodies: &[Vec<u8>]) -> Result<u64, JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        if let Some(body) = bodies.iter().find(|body| body.is_empty() || body.len() > MAX_BODY_BYTES) {
            return Err(JournalError::TooLong(body.len()));
        }
        let first = self.next;
        let appended = self.append_all(bodies);
        self.failed = appended.is_err();
        appended.map(|()| first)
    }

    fn append_all(&mut self, bodies: &[Vec<u8>]) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        for body in bodies {
            let full = self.offset + bytes.len() as u64 + record_bytes(body) > SEGMENT_BYTES;
            if self.file.is_none() || full {
                self.write(&mut bytes)?;
                self.begin_segment()?;
            }
            encode_record(self.next, body, &mut bytes);
            self.chain = chain(&self.chain, self.next, body);
            self.next += 1;
        }
        self.write(&mut bytes)
    }

    /// Writes and syncs what was gathered.
    fn write(&mut self, bytes: &mut Vec<u8>) -> Result<(), JournalError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(file) = &self.file else { return Err(JournalError::Failed) };
        self.disk.write_at(file, bytes, self.offset).map_err(disk("write"))?;
        self.disk.sync(file).map_err(disk("sync"))?;
        self.offset += bytes.len() as u64;
        if let Some(mut segment) = self.segments.last_entry() {
            segment.get_mut().last = self.next - 1;
        }
        bytes.clear();
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), JournalError> {
        let name = name(self.next);
        let file = self.disk.create(&name, SEGMENT_BYTES).map_err(disk("make a segment"))?;
        let header = Header { journal: self.journal, first: self.next, chain: self.chain };
        self.disk.write_at(&file, &header.encode(), 0).map_err(disk("write a header"))?;
        self.disk.sync(&file).map_err(disk("sync a header"))?;
        self.segments.insert(self.next, Segment { name, journal: self.journal, last: self.next - 1 });
        self.file = Some(file);
        self.offset = HEADER_BYTES as u64;
        Ok(())
    }

    /// Reads durable records from `from` on, `limit` at the most.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read(&self, from: u64, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let mut found = Vec::new();
        let start = self.segments.range(..=from).next_back().map_or(from, |(first, _)| *first);
        for segment in self.segments.range(start..).map(|(_, segment)| segment) {
            if found.len() >= limit {
                break;
            }
            let bytes = self.disk.read(&segment.name).map_err(disk("read a segment"))?;
            let Ok(header) = Header::decode(&bytes) else { continue };
            scan(&bytes, &header, |sequence, chain, body| {
                if sequence >= from && sequence < self.next && found.len() < limit {
                    found.push(Stored { sequence, chain, body: body.to_vec() });
                }
            });
        }
        Ok(found)
    }

    /// Drops whole segments all of whose records come before `keep_from`; never the one written to.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn drop_before(&mut self, keep_from: u64) -> Result<usize, JournalError> {
        let newest = self.segments.keys().next_back().copied();
        let old: Vec<u64> = self
            .segments
            .iter()
            .filter(|(first, segment)| Some(**first) != newest && segment.last < keep_from)
            .map(|(first, _)| *first)
            .collect();
        for first in &old {
            if let Some(segment) = self.segments.remove(first) {
                tracing::info!(segment = %segment.name, journal = %segment.journal, "old segment dropped");
                self.disk.remove(&segment.name).map_err(disk("remove a segment"))?;
            }
        }
        Ok(old.len())
    }
}

/// Whether a whole record of a later sequence stands anywhere behind a damaged place.
fn any_record_behind(bytes: &[u8], next: u64) -> bool {
    let later = next + 1..next + 1_000;
    (1..bytes.len().saturating_sub(super::format::RECORD_HEAD_BYTES)).any(|at| {
        let word: [u8; 8] = bytes[at + 8..at + 16].try_into().unwrap_or([0; 8]);
        let sequence = u64::from_le_bytes(word);
        later.contains(&sequence) && matches!(decode_record(&bytes[at..], sequence), Ok(Some(_)))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::journal::disk::Folder;

    fn open(path: &std::path::Path) -> (Log<Folder>, Vec<Damage>, Vec<Stored>) {
        let mut found = Vec::new();
        let folder = Folder::open(path.to_path_buf()).unwrap();
        let (log, damages) =
            Log::open(folder, Uuid::from_u128(1), |stored| found.push(stored.clone())).unwrap();
        (log, damages, found)
    }

    fn bodies(count: usize, bytes: usize) -> Vec<Vec<u8>> {
        (0..count).map(|index| vec![u8::try_from(index % 250).unwrap() + 1; bytes]).collect()
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart_with_the_same_chain() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, ..) = open(folder.path());
        assert_eq!(log.append(&bodies(3, 40)).unwrap(), 1);
        assert_eq!(log.append(&bodies(2, 40)).unwrap(), 4);
        let before = log.read(1, 100).unwrap();
        drop(log);
        let (log, damages, found) = open(folder.path());
        assert_eq!((damages, log.next_sequence()), (vec![], 6));
        assert_eq!(found, before);
        assert_eq!(log.read(4, 1).unwrap(), before[3..4]);
    }

    #[test]
    fn a_full_segment_is_followed_by_another_and_both_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, ..) = open(folder.path());
        for _ in 0..3 {
            log.append(&bodies(40, 60_000)).unwrap();
        }
        assert!(log.segments.len() >= 2);
        assert_eq!(log.read(1, 1_000).unwrap().len(), 120);
        drop(log);
        let (mut log, damages, found) = open(folder.path());
        assert_eq!((damages, found.len()), (vec![], 120));
        let segments = log.segments.len();
        assert_eq!(log.drop_before(121).unwrap(), segments - 1);
        assert!(!log.read(1, 1_000).unwrap().is_empty());
    }

    #[test]
    fn a_torn_tail_is_cut_with_a_report_and_the_log_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, ..) = open(folder.path());
        log.append(&bodies(3, 40)).unwrap();
        let file = log.file.take().unwrap();
        let mut torn = Vec::new();
        encode_record(4, &[9; 40], &mut torn);
        log.disk.write_at(&file, &torn[..30], log.offset).unwrap();
        drop(log);
        let (mut log, damages, found) = open(folder.path());
        assert_eq!(found.len(), 3);
        assert!(matches!(&damages[..], [Damage { from: 4, torn_tail: true, .. }]), "{damages:?}");
        assert_eq!(log.append(&bodies(1, 10)).unwrap(), 4);
        drop(log);
        let (_, damages, found) = open(folder.path());
        assert_eq!((damages, found.len()), (vec![], 4));
    }

    #[test]
    fn damage_before_whole_records_is_reported_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, ..) = open(folder.path());
        log.append(&bodies(5, 40)).unwrap();
        drop(log);
        let path = folder.path().join(name(1));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER_BYTES + 56 + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let (mut log, damages, found) = open(folder.path());
        assert_eq!(found.len(), 1);
        assert!(matches!(&damages[..], [Damage { from: 2, torn_tail: false, .. }]), "{damages:?}");
        log.append(&bodies(1, 10)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
