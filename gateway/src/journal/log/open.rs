//! Opening: what the disk holds is made durable, taken in, and set aside where it is damaged.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::disk::{Disk, Readable, is_bad_spot, name_damaged, read_around};
use super::super::format::{FormatError, HEADER_BYTES, Header, RECORD_HEAD_BYTES};
use super::super::scan::{self, gaps, salvage};
use super::end::Keeping;
use super::read::places;
use super::{Damage, JournalError, Limits, Log, NUMBERS_LEFT_OUT, RESERVE, Segment, Stored, disk};

/// A segment as it was read at the start.
struct Found {
    name: String,
    first: u64,
    bytes: Vec<u8>,
    /// A spot of it cannot be read, and stands as zeros.
    has_bad_spot: bool,
    header: Result<Header, FormatError>,
    /// The first sequence of the next segment; of the newest, none.
    until: Option<u64>,
    /// Behind the newest record that is known to have been there; 0 where nobody knows.
    ended: u64,
}

/// How many records are missing between the last that can be read, whose number is one before `next`, and a segment that
/// begins with `until`. Where the journal got another id, numbers were left out that no record ever had.
fn lost_before(until: u64, next: u64) -> u64 {
    until.saturating_sub(next) % NUMBERS_LEFT_OUT
}

/// What is wrong with a segment.
pub(super) fn damage(bytes: &[u8], header: Result<&Header, &FormatError>, has_bad_spot: bool) -> FormatError {
    match header {
        _ if has_bad_spot => FormatError::Unreadable,
        Ok(header) => scan::whole(bytes, header, |_, _| {}).damage.unwrap_or(FormatError::Gone),
        Err(what) => what.clone(),
    }
}

/// The first sequence of a segment, by its name.
fn first_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("segment-")?;
    number.strip_suffix(".log").or_else(|| number.strip_suffix(".damaged"))?.parse().ok()
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
        let names = disk.list().map_err(super::disk("list its folder"))?;
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
            salvaged: BTreeMap::new(),
            end: Keeping::default(),
        };
        if names.iter().any(|name| name == RESERVE) {
            // One that was cut off while it was made is made again.
            log.has_reserve = match log.disk.read_at(RESERVE, limits.segment - 1, 2) {
                Ok(end) => end == [0],
                Err(error) if is_bad_spot(&error) => false,
                Err(error) => return Err(super::disk("look at its reserve")(error)),
            };
        }
        let mut firsts: Vec<(u64, &String)> =
            names.iter().filter_map(|name| Some((first_of(name)?, name))).collect();
        firsts.sort_unstable();
        let ended = log.find_end(&names, firsts.len())?;
        let mut damages = Vec::new();
        let mut journals: Vec<Uuid> = Vec::new();
        let mut gone = 0;
        for (index, (first, name)) in firsts.iter().enumerate() {
            let Readable { bytes, has_bad_spot, is_gone } =
                read_around(&log.disk, name, limits.segment).map_err(super::disk("read a segment"))?;
            gone += usize::from(is_gone);
            let last = index + 1 == firsts.len();
            if last && ended <= *first && !has_bad_spot && bytes.iter().all(|byte| *byte == 0) {
                // It was made, or taken from the reserve, and never written to.
                log.disk.remove(name).map_err(super::disk("remove an empty segment"))?;
                continue;
            }
            if last {
                // What could not be read is left as it is.
                log.write_again(name, &bytes, has_bad_spot)?;
            }
            let header = Header::of_segment(&bytes);
            journals.extend(header.iter().map(|header| header.journal));
            let until = firsts.get(index + 1).map(|(first, _)| *first);
            let name = (*name).clone();
            let found = Found { name, first: *first, bytes, has_bad_spot, header, until, ended };
            damages.extend(log.take_in(found, &journals, &mut each)?);
        }
        if gone > 0 && gone == firsts.len() {
            let source = std::io::Error::other("nothing of any segment can be read: the disk is gone");
            return Err(JournalError::Disk { act: "read its segments", source });
        }
        let harmed = damages.iter().any(|damage: &Damage| !damage.known);
        log.go_on(fresh, harmed)?;
        Ok((log, damages))
    }

    /// Writes what was read of the newest segment once more, and syncs it. A process that died before its sync left
    /// records that are only in memory; one whose sync failed left such as the kernel takes to be on the disk, and
    /// another sync alone would not bring them there. From here on all that was read is told to be kept.
    fn write_again(&self, name: &str, bytes: &[u8], has_bad_spot: bool) -> Result<(), JournalError> {
        if has_bad_spot {
            return self.write_records_again(name, bytes);
        }
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

    /// The same for a segment of which not all can be read: its records alone, so that nothing is written where
    /// something may stand that another attempt still reads.
    fn write_records_again(&self, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
        let Ok(header) = Header::of_segment(bytes) else { return Ok(()) };
        let file = self.disk.open(name).map_err(disk("open a segment"))?;
        for record in salvage(bytes, header.journal).into_values() {
            let start = record.body.start - RECORD_HEAD_BYTES;
            self.disk
                .write_at(&file, &bytes[start..record.body.end], start as u64)
                .map_err(disk("write again what it found"))?;
        }
        self.disk.sync(&file).map_err(disk("sync what it found"))
    }

    /// Takes a segment in. Gives its damage.
    fn take_in(
        &mut self,
        found: Found,
        journals: &[Uuid],
        each: &mut impl FnMut(&Stored),
    ) -> Result<Option<Damage>, JournalError> {
        let known = found.name.ends_with(".damaged");
        if let (Ok(header), false, false) = (&found.header, known, found.has_bad_spot) {
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
            let complete = match found.until {
                Some(until) => until >= scanned.next && lost_before(until, scanned.next) == 0,
                None => found.ended <= scanned.next,
            };
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
        self.salvage(found, journals, known, each)
    }

    /// Takes in a segment with damage: renamed, never written to again, read record by record.
    fn salvage(
        &mut self,
        found: Found,
        journals: &[Uuid],
        known: bool,
        each: &mut impl FnMut(&Stored),
    ) -> Result<Option<Damage>, JournalError> {
        let Found { name, first, bytes, has_bad_spot, header, until, ended } = found;
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
        let lost = lost_before(until.unwrap_or(ended), last + 1);
        missing.extend((lost > 0).then(|| last + 1..last + 1 + lost));
        // Behind the newest that is known to have been there, others may have been.
        let open_end = until.is_none().then_some(last + 1 + lost);
        // What was durable once has a record of a later group behind it; and nothing was durable in a segment whose
        // records are all zeros, because its header is synced before them.
        let records = bytes.get(HEADER_BYTES..bytes.len().saturating_sub(HEADER_BYTES)).unwrap_or(&[]);
        let torn_tail = until.is_none()
            && (header.is_ok() || records.iter().all(|byte| *byte == 0))
            && bytes.len() as u64 == self.limits.segment
            && !has_bad_spot
            && missing
                .iter()
                .all(|gap| gap.start >= ended && whole.values().all(|record| record.head.group <= gap.start));
        let what = damage(&bytes, header.as_ref(), has_bad_spot);
        let renamed = name_damaged(&self.disk, &name, first).map_err(disk("set a damaged segment aside"))?;
        self.salvaged.insert(first, places(&whole));
        self.next = self.next.max(last + 1 + if until.is_none() { lost } else { 0 });
        self.offset = self.limits.segment;
        self.segments.insert(first, Segment { name: renamed.clone(), journal, first, last, damaged: true });
        Ok(Some(Damage { journal, segment: renamed, missing, open_end, what, torn_tail, known }))
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
}
