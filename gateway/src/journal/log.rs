//! The log over segments: found at the start, appended to, read back, dropped when old and handed over.
//!
//! Sequences grow for ever and are never used twice, also where the journal's id changes. A segment with damage
//! is renamed to `….damaged`, is never written to again, and everything whole in it is still read.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use thiserror::Error;
use uuid::Uuid;

use super::disk::Disk;
use super::format::{
    Chain, FormatError, HEADER_BYTES, Head, Header, MAX_BODY_BYTES, SEGMENT_BYTES, chain, encode_record,
    record_bytes,
};
use super::scan::{self, gaps, salvage};

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
}

/// Where the last reading stopped.
#[derive(Debug, Clone, Copy)]
struct Resume {
    /// The segment, by its first sequence.
    segment: u64,
    /// The sequence of the next record.
    next: u64,
    /// Where it stands.
    offset: u64,
    /// The chain value before it.
    before: Option<Chain>,
}

/// The next segment, made before it is needed.
const RESERVE: &str = "reserve";
/// How many numbers are left out where records may be lost whose numbers the hub may know: more than a segment holds.
const NUMBERS_LEFT_OUT: u64 = 1_000_000;
/// How much is read at once while looking for records to hand over.
const READ_BYTES: usize = 512 * 1024;

fn name(first: u64) -> String {
    format!("segment-{first:020}.log")
}

/// The first sequence of a segment, by its name.
fn first_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("segment-")?;
    number.strip_suffix(".log").or_else(|| number.strip_suffix(".damaged"))?.parse().ok()
}

/// A segment as it was read at the start.
struct Found {
    name: String,
    first: u64,
    bytes: Vec<u8>,
    header: Result<Header, FormatError>,
}

impl<D: Disk> Log<D> {
    /// Finds the log in a folder, or begins one under `fresh` as its id; within these limits. Every
    /// whole record is given to `each`, in order; what is damaged is reported, and the journal's id is then a
    /// fresh one, because numbers may have been used that can no longer be read.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn open(
        disk: D,
        fresh: Uuid,
        limits: Limits,
        mut each: impl FnMut(&Stored),
    ) -> Result<(Self, Vec<Damage>), JournalError> {
        let names = disk.list().map_err(self::disk("list its folder"))?;
        let mut log = Self {
            disk,
            journal: fresh,
            segments: BTreeMap::new(),
            file: None,
            offset: 0,
            next: 1,
            chain: [0; 32],
            failed: false,
            limits,
            has_reserve: false,
            disk_full: false,
            news: Vec::new(),
            resume: None,
        };
        if names.iter().any(|name| name == RESERVE) {
            // One that was cut off while it was made is made again.
            let end = log
                .disk
                .read_at(RESERVE, limits.segment - 1, 2)
                .map_err(self::disk("look at its reserve"))?;
            log.has_reserve = end == [0];
        }
        let mut firsts: Vec<(u64, &String)> =
            names.iter().filter_map(|name| Some((first_of(name)?, name))).collect();
        firsts.sort_unstable();
        let mut damages = Vec::new();
        let mut journals: Vec<Uuid> = Vec::new();
        for (index, (first, name)) in firsts.iter().enumerate() {
            let bytes = log.disk.read(name).map_err(self::disk("read a segment"))?;
            let last = index + 1 == firsts.len();
            if last && bytes.iter().all(|byte| *byte == 0) {
                // It was made, or taken from the reserve, and never written to.
                log.disk.remove(name).map_err(self::disk("remove an empty segment"))?;
                continue;
            }
            if last {
                log.write_again(name, &bytes)?;
            }
            let header = Header::of_segment(&bytes);
            journals.extend(header.iter().map(|header| header.journal));
            let until = firsts.get(index + 1).map(|(first, _)| *first);
            let found = Found { name: (*name).clone(), first: *first, bytes, header };
            damages.extend(log.take_in(found, until, &journals, &mut each)?);
        }
        log.go_on(fresh, !damages.is_empty())?;
        Ok((log, damages))
    }

    /// Writes what was read of the newest segment once more, and syncs it. A process that died before its sync left
    /// records that are only in memory; one whose sync failed left such as the kernel takes to be on the disk, and
    /// another sync alone would not bring them there. From here on all that was read is told to be kept.
    fn write_again(&self, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
        let file = self.disk.open(name).map_err(disk("open a segment"))?;
        let end = bytes.len().min(usize::try_from(self.limits.records_end()).unwrap_or(usize::MAX));
        let used = bytes[..end].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        self.disk.write_at(&file, &bytes[..used], 0).map_err(disk("write again what it found"))?;
        if end < bytes.len() {
            self.disk
                .write_at(&file, &bytes[end..], end as u64)
                .map_err(disk("write again what it found"))?;
        }
        self.disk.sync(&file).map_err(disk("sync what it found"))
    }

    /// Takes a segment in. Gives its damage, if that was not known before.
    fn take_in(
        &mut self,
        found: Found,
        until: Option<u64>,
        journals: &[Uuid],
        each: &mut impl FnMut(&Stored),
    ) -> Result<Option<Damage>, JournalError> {
        let known = found.name.ends_with(".damaged");
        if let (Ok(header), false) = (&found.header, known) {
            let journal = header.journal;
            let mut last_chain = header.chain;
            let mut whole = Vec::new();
            let scanned = scan::whole(&found.bytes, header, |head, body| {
                let before = Some(std::mem::replace(&mut last_chain, head.chain));
                whole.push(Stored {
                    journal,
                    sequence: head.sequence,
                    before,
                    chain: head.chain,
                    body: body.to_vec(),
                });
            });
            let complete = until
                .is_none_or(|until| until == scanned.next || until > scanned.next + NUMBERS_LEFT_OUT / 2);
            if scanned.damage.is_none() && header.first == found.first && complete {
                whole.iter().for_each(&mut *each);
                (self.journal, self.next, self.chain) = (journal, scanned.next, last_chain);
                self.offset = scanned.end as u64;
                let Found { name, first, .. } = found;
                let last = scanned.next - 1;
                self.segments.insert(first, Segment { name, journal, first, last, damaged: false });
                return Ok(None);
            }
        }
        self.salvage(found, until, journals, known, each)
    }

    /// Takes in a segment with damage: renamed, never written to again, read record by record.
    fn salvage(
        &mut self,
        found: Found,
        until: Option<u64>,
        journals: &[Uuid],
        known: bool,
        each: &mut impl FnMut(&Stored),
    ) -> Result<Option<Damage>, JournalError> {
        let Found { name, first, bytes, header } = found;
        // Without a header, the journal is that of a neighbour, by whose id the records prove themselves.
        let tries: Vec<Uuid> = match &header {
            Ok(header) => vec![header.journal],
            Err(_) => journals.to_vec(),
        };
        let (journal, whole) = tries
            .into_iter()
            .map(|journal| (journal, salvage(&bytes, journal)))
            .max_by_key(|(_, whole)| whole.len())
            .unwrap_or((Uuid::nil(), BTreeMap::new()));
        for (sequence, record) in &whole {
            let body = bytes[record.body.clone()].to_vec();
            each(&Stored { journal, sequence: *sequence, before: None, chain: record.head.chain, body });
        }
        let last =
            whole.keys().next_back().copied().unwrap_or(first.saturating_sub(1)).max(first.saturating_sub(1));
        let mut missing = gaps(first, whole.keys().copied());
        let mut open_end = None;
        match until {
            Some(until) if until > last + 1 && until - last < NUMBERS_LEFT_OUT / 2 => {
                missing.push(last + 1..until)
            }
            Some(_) => {}
            None => open_end = Some(last + 1),
        }
        // What was durable once has a record of a later group behind it; and nothing was durable in a segment whose
        // records are all zeros, because its header is synced before them.
        let records = bytes.get(HEADER_BYTES..bytes.len().saturating_sub(HEADER_BYTES)).unwrap_or(&[]);
        let torn_tail = until.is_none()
            && (header.is_ok() || records.iter().all(|byte| *byte == 0))
            && bytes.len() as u64 == self.limits.segment
            && missing.iter().all(|gap| whole.values().all(|record| record.head.group <= gap.start));
        let what = header.and_then(|header| {
            let scanned = scan::whole(&bytes, &header, |_, _| {});
            scanned.damage.map_or(Ok(()), Err)
        });
        let renamed = format!("segment-{first:020}.damaged");
        if name != renamed {
            self.disk.rename(&name, &renamed).map_err(disk("set a damaged segment aside"))?;
        }
        self.next = self.next.max(last + 1);
        self.offset = self.limits.segment;
        self.segments.insert(first, Segment { name: renamed.clone(), journal, first, last, damaged: true });
        let what = what.err().unwrap_or(FormatError::Behind);
        Ok((!known).then_some(Damage { segment: renamed, missing, open_end, what, torn_tail }))
    }

    /// Goes on in the newest segment where it is whole, else under a fresh id: numbers may have been used that
    /// can no longer be read, and the hub may know them.
    fn go_on(&mut self, fresh: Uuid, harmed: bool) -> Result<(), JournalError> {
        let Some(newest) = self.segments.values().next_back() else { return Ok(()) };
        if harmed || newest.damaged {
            self.renew(fresh);
            return Ok(());
        }
        self.file = Some(self.disk.open(&newest.name).map_err(disk("open a segment"))?);
        Ok(())
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

    /// The chain value behind the last record.
    #[must_use]
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values()
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let used = self.segments.len() as u64 * self.limits.segment;
        Usage { used, quota: self.limits.quota, disk_full: self.disk_full }
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
        self.disk.rename(RESERVE, &name).map_err(disk("begin a segment"))?;
        self.has_reserve = false;
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
        if self.has_reserve || self.failed {
            return Ok(());
        }
        match self.disk.create(RESERVE, self.limits.segment) {
            Ok(()) => {
                self.has_reserve = true;
                self.disk_full = false;
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => self.disk_full = true,
            Err(error) => {
                self.failed = true;
                return Err(disk("make the next segment")(error));
            }
        }
        Ok(())
    }

    /// Reads durable records from `from` on, `limit` at the most.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read(&mut self, from: u64, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let mut found: Vec<Stored> = Vec::new();
        let start = self.segments.range(..=from).next_back().map_or(from, |(first, _)| *first);
        let segments: Vec<Segment> =
            self.segments.range(start..).map(|(_, segment)| segment.clone()).collect();
        for segment in segments.into_iter().filter(|segment| segment.last >= from) {
            if found.len() >= limit {
                break;
            }
            let before = found.len();
            if segment.damaged || !self.read_segment(&segment, from, limit, &mut found)? {
                found.truncate(before);
                self.read_damaged(&segment, from, limit, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Reads what is whole of a segment with damage; damage that was not known is reported.
    fn read_damaged(
        &mut self,
        segment: &Segment,
        from: u64,
        limit: usize,
        found: &mut Vec<Stored>,
    ) -> Result<(), JournalError> {
        let bytes = self.disk.read(&segment.name).map_err(disk("read a segment"))?;
        let whole = salvage(&bytes, segment.journal);
        let records = whole.range(from..).take(limit - found.len());
        found.extend(records.map(|(sequence, record)| Stored {
            journal: segment.journal,
            sequence: *sequence,
            before: None,
            chain: record.head.chain,
            body: bytes[record.body.clone()].to_vec(),
        }));
        if !segment.damaged {
            let renamed = format!("segment-{:020}.damaged", segment.first);
            self.disk.rename(&segment.name, &renamed).map_err(disk("set a damaged segment aside"))?;
            let missing = gaps(segment.first, whole.keys().copied().chain([segment.last + 1]));
            let what = match Header::of_segment(&bytes) {
                Ok(header) => scan::whole(&bytes, &header, |_, _| {}).damage.unwrap_or(FormatError::Behind),
                Err(what) => what,
            };
            let name = renamed.clone();
            self.news.push(Damage { segment: name, missing, open_end: None, what, torn_tail: false });
            if self.segments.keys().next_back() == Some(&segment.first) {
                self.file = None;
            }
            if let Some(known) = self.segments.get_mut(&segment.first) {
                (known.name, known.damaged) = (renamed, true);
            }
        }
        Ok(())
    }

    /// Takes the damage that was found since the start, or since this was last asked.
    pub fn take_news(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.news)
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
            if let Some(segment) = self.segments.get(first) {
                tracing::info!(segment = %segment.name, journal = %segment.journal, "old segment dropped");
                self.disk.remove(&segment.name).map_err(disk("remove a segment"))?;
                self.segments.remove(first);
            }
        }
        Ok(old.len())
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
