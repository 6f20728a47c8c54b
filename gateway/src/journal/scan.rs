//! What can be read of segments: every whole record, and what is missing between them. Pure.
//!
//! A whole segment is read in one pass. One with damage is searched byte by byte: records that are whole are
//! kept wherever they stand, because swapped blocks and bits that flipped leave most of them unharmed.

use std::collections::BTreeMap;
use std::ops::Range;

use uuid::Uuid;

use super::format::{FormatError, HEADER_BYTES, Head, Header, RECORD_HEAD_BYTES, copy, decode_record};

/// One whole record: its head, and where its body stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The head.
    pub head: Head,
    /// The body's place in the segment.
    pub body: Range<usize>,
}

/// What one pass over a segment found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Behind the last record of the unbroken run from the segment's first.
    pub end: usize,
    /// The sequence that the next record would have.
    pub next: u64,
    /// What broke the run; none when the segment is whole.
    pub damage: Option<FormatError>,
}

/// Reads records from `offset` on, of which the first must have sequence `next`; stops where they end or at
/// the first damage, or when `each` says so.
pub fn run(
    bytes: &[u8],
    journal: Uuid,
    offset: usize,
    next: u64,
    mut each: impl FnMut(&Head, &[u8]) -> bool,
) -> Scanned {
    let mut at = Scanned { end: offset, next, damage: None };
    loop {
        let rest = bytes.get(at.end..).unwrap_or(&[]);
        match decode_record(rest, journal) {
            Ok(None) => return at,
            Ok(Some((head, _))) if head.sequence != at.next => {
                at.damage = Some(FormatError::Sequence { wanted: at.next, found: head.sequence });
                return at;
            }
            Ok(Some((head, body))) => {
                if !each(&head, body) {
                    return at;
                }
                at.end += RECORD_HEAD_BYTES + body.len();
                at.next += 1;
            }
            Err(error) => {
                at.damage = Some(error);
                return at;
            }
        }
    }
}

/// Reads a whole segment from its first record on; bytes behind the end of the records, or missing ones, or a copy
/// of the header that is none, are damage too.
pub fn whole(bytes: &[u8], header: &Header, mut each: impl FnMut(&Head, &[u8])) -> Scanned {
    let records = &bytes[..bytes.len().saturating_sub(HEADER_BYTES)];
    let mut at = run(records, header.journal, HEADER_BYTES, header.first, |head, body| {
        each(head, body);
        true
    });
    if at.damage.is_none() {
        let rest = records.get(at.end..).unwrap_or(&[]);
        if rest.iter().any(|byte| *byte != 0) {
            at.damage = Some(FormatError::Behind);
        } else if Header::decode(copy(bytes)).as_ref() != Ok(header)
            || Header::decode(bytes).as_ref() != Ok(header)
        {
            at.damage = Some(FormatError::Header);
        }
    }
    at
}

/// Every whole record of a journal in these bytes, wherever it stands, by sequence.
#[must_use]
pub fn salvage(bytes: &[u8], journal: Uuid) -> BTreeMap<u64, Whole> {
    let mut found = BTreeMap::new();
    let mut at = 0;
    while at + RECORD_HEAD_BYTES < bytes.len() {
        match decode_record(&bytes[at..], journal) {
            Ok(Some((head, body))) => {
                let start = at + RECORD_HEAD_BYTES;
                let end = start + body.len();
                found.entry(head.sequence).or_insert(Whole { head, body: start..end });
                at = end;
            }
            _ => at += 1,
        }
    }
    found
}

/// The numbers that are missing between the numbers of a journal, from its first on: half-open ranges.
#[must_use]
pub fn gaps(first: u64, present: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
    let (mut next, mut gaps) = (first, Vec::new());
    for sequence in present {
        if sequence > next {
            gaps.push(next..sequence);
        }
        next = next.max(sequence + 1);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::super::format::{chain, encode_record};
    use super::*;

    const JOURNAL: Uuid = Uuid::from_u128(1);

    fn segment(count: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let mut value = [0; 32];
        for sequence in 1..=count {
            let body = vec![u8::try_from(sequence % 250).unwrap_or(0) + 1; 100];
            value = chain(&value, sequence, &body);
            encode_record(JOURNAL, &Head { sequence, group: sequence, chain: value }, &body, &mut bytes);
        }
        bytes.resize(64 * 1024, 0);
        bytes
    }

    #[test]
    fn swapped_blocks_leave_every_record_that_lies_in_one_of_them() {
        let mut bytes = segment(200);
        let all = salvage(&bytes, JOURNAL);
        assert_eq!(all.len(), 200);
        let (left, right) = bytes.split_at_mut(16 * 1024);
        left[4_096..8_192].swap_with_slice(&mut right[..4_096]);
        let some = salvage(&bytes, JOURNAL);
        assert!(some.len() >= 196, "{}", some.len());
        assert!(gaps(1, some.keys().copied()).iter().map(|gap| gap.end - gap.start).sum::<u64>() <= 4);
    }

    #[test]
    fn numbers_that_are_missing_are_named() {
        assert_eq!(gaps(3, [3, 4, 7, 9]), [5..7, 8..9]);
        assert_eq!(gaps(1, [4]), [Range { start: 1, end: 4 }]);
        assert_eq!(gaps(1, []), []);
    }
}
