//! The bytes of a journal segment. Pure.
//!
//! A segment is a file of [`SEGMENT_BYTES`], filled with zeros before its first use, named
//! `segment-<first sequence, 20 digits>.log`:
//!
//! ```text
//! offset  bytes  header; the same again in the file's last 64 bytes
//!      0      4  magic "RCJ2"
//!      4     16  journal id
//!     20      8  sequence of the first record, little-endian
//!     28     32  chain value before the first record
//!     60      4  CRC32C of bytes 0..60, little-endian
//!
//!     64         records, one behind the other, then zeros:
//!      0      4  length of the body, little-endian; 0 ends the segment
//!      4      4  CRC32C of the journal id and of all that follows here, little-endian
//!      8      8  sequence, little-endian
//!     16      8  sequence of the first record of its group, little-endian
//!     24     32  chain value behind the record
//!     56    len  body
//! ```
//! A group is what was written and synced in one go. The next group is written only after the sync of the one
//! before returned; so a damaged record behind which one of a later group stands was durable once, and one
//! behind which there is none may just be a write that a power cut tore.
//!
//! The chain value behind a record is SHA-256 over the value before it, its sequence (8 bytes, little-endian) and
//! the SHA-256 of its body: a changed record changes all behind it, and a proof for one needs no other's body.

use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// The size of a segment, but in tests.
pub const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// The size of its header.
pub const HEADER_BYTES: usize = 64;
/// The size of a record before its body.
pub const RECORD_HEAD_BYTES: usize = 56;
/// The longest body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

const MAGIC: &[u8; 4] = b"RCJ2";

/// A chain value.
pub type Chain = [u8; 32];

/// What stands at the head of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The journal.
    pub journal: Uuid,
    /// The sequence of the first record.
    pub first: u64,
    /// The chain value before it.
    pub chain: Chain,
}

/// A record's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence.
    pub sequence: u64,
    /// The sequence of the first record that was synced together with it.
    pub group: u64,
    /// The chain value behind it.
    pub chain: Chain,
}

/// Why bytes are no segment or no record.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum FormatError {
    /// Too short, another magic, or a wrong CRC, in both copies.
    #[error("the segment's header is damaged")]
    Header,
    /// A length that no record has.
    #[error("a record's length is impossible: {0}")]
    Length(u32),
    /// The record runs over the end.
    #[error("a record is cut off")]
    CutOff,
    /// The CRC does not fit.
    #[error("a record's checksum is wrong")]
    Crc,
    /// The sequence is not the next one.
    #[error("a record has sequence {found} where {wanted} belongs")]
    Sequence {
        /// The next one.
        wanted: u64,
        /// What stands there.
        found: u64,
    },
    /// Records end, and something stands behind their end.
    #[error("bytes stand behind the end of the records")]
    Behind,
    /// All that stands there is whole, but there was more.
    #[error("records that were written behind its last are gone")]
    Gone,
    /// The medium does not give all of it.
    #[error("a spot of the disk cannot be read: replace the disk soon")]
    Unreadable,
}

impl Header {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0u8; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..20].copy_from_slice(self.journal.as_bytes());
        bytes[20..28].copy_from_slice(&self.first.to_le_bytes());
        bytes[28..60].copy_from_slice(&self.chain);
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the bytes of one copy.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes: &[u8; HEADER_BYTES] =
            bytes.get(..HEADER_BYTES).and_then(|bytes| bytes.try_into().ok()).ok_or(FormatError::Header)?;
        let (body, crc) = bytes.split_at(60);
        if &body[..4] != MAGIC || crc32c::crc32c(body).to_le_bytes() != *crc {
            return Err(FormatError::Header);
        }
        let journal = Uuid::from_slice(&body[4..20]).map_err(|_| FormatError::Header)?;
        let first = body[20..28].try_into().map(u64::from_le_bytes).map_err(|_| FormatError::Header)?;
        let chain = body[28..60].try_into().map_err(|_| FormatError::Header)?;
        Ok(Self { journal, first, chain })
    }

    /// Reads a segment's header, from either copy, or from wherever blocks that changed places have left one.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_segment(bytes: &[u8]) -> Result<Self, FormatError> {
        let strayed = || {
            let starts = bytes.windows(MAGIC.len()).enumerate().filter(|(_, word)| *word == &MAGIC[..]);
            starts.map(|(at, _)| Self::decode(&bytes[at..])).find(Result::is_ok)
        };
        let found = Self::decode(bytes).or_else(|error| Self::decode(copy(bytes)).map_err(|_| error));
        found.or_else(|error| strayed().unwrap_or(Err(error)))
    }
}

/// The header's copy at the end of a segment.
#[must_use]
pub fn copy(segment: &[u8]) -> &[u8] {
    segment.len().checked_sub(HEADER_BYTES).map_or(&[], |at| &segment[at..])
}

/// Appends a record's bytes.
pub fn encode_record(journal: Uuid, head: &Head, body: &[u8], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&head.sequence.to_le_bytes());
    bytes.extend_from_slice(&head.group.to_le_bytes());
    bytes.extend_from_slice(&head.chain);
    bytes.extend_from_slice(body);
    let crc = crc(journal, &bytes[start + 8..]);
    bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// How many bytes a record of this body takes.
#[must_use]
pub fn record_bytes(body: &[u8]) -> u64 {
    (RECORD_HEAD_BYTES + body.len()) as u64
}

fn crc(journal: Uuid, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(journal.as_bytes()), rest)
}

/// The chain value behind a record.
#[must_use]
pub fn chain(before: &Chain, sequence: u64, body: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(sequence.to_le_bytes());
    hash.update(Sha256::digest(body));
    hash.finalize().into()
}

/// Reads the record at the start of `bytes`: its head and body, or `None` where the records end.
///
/// # Errors
/// When the bytes are no whole record of this journal.
pub fn decode_record(bytes: &[u8], journal: Uuid) -> Result<Option<(Head, &[u8])>, FormatError> {
    let Some(head) = bytes.get(..RECORD_HEAD_BYTES) else {
        return if bytes.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(FormatError::CutOff) };
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let length = word(0);
    if length == 0 {
        return if head.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(FormatError::Length(0)) };
    }
    if length as usize > MAX_BODY_BYTES {
        return Err(FormatError::Length(length));
    }
    let end = RECORD_HEAD_BYTES + length as usize;
    let Some(rest) = bytes.get(8..end) else { return Err(FormatError::CutOff) };
    if crc(journal, rest) != word(4) {
        return Err(FormatError::Crc);
    }
    let mut chain = [0; 32];
    chain.copy_from_slice(&head[24..56]);
    let head = Head { sequence: long(8), group: long(16), chain };
    Ok(Some((head, &bytes[RECORD_HEAD_BYTES..end])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JOURNAL: Uuid = Uuid::from_u128(3);

    proptest! {
        #[test]
        fn a_record_with_any_flipped_bit_is_refused(body in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index) {
            let mut bytes = Vec::new();
            let head = Head { sequence: 7, group: 6, chain: [9; 32] };
            encode_record(JOURNAL, &head, &body, &mut bytes);
            prop_assert_eq!(decode_record(&bytes, JOURNAL), Ok(Some((head, &body[..]))));
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(decode_record(&bytes, JOURNAL), Ok(Some((head, &body[..]))));
        }

        #[test]
        fn a_header_with_any_flipped_bit_is_refused_and_its_copy_read(first: u64, chain: [u8; 32], bit in 0usize..512) {
            let header = Header { journal: Uuid::from_u128(9), first, chain };
            let mut bytes = header.encode().to_vec();
            prop_assert_eq!(Header::decode(&bytes), Ok(header.clone()));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::decode(&bytes), Err(FormatError::Header));
            bytes.resize(4_096, 0);
            prop_assert_eq!(Header::of_segment(&bytes), Err(FormatError::Header));
            bytes.extend(header.encode());
            prop_assert_eq!(Header::of_segment(&bytes), Ok(header));
        }
    }

    #[test]
    fn zeros_end_the_records() {
        assert_eq!(decode_record(&[0; 100], JOURNAL), Ok(None));
        assert_eq!(decode_record(&[], JOURNAL), Ok(None));
    }

    #[test]
    fn a_record_of_another_journal_is_refused() {
        let mut bytes = Vec::new();
        encode_record(JOURNAL, &Head { sequence: 5, group: 5, chain: [0; 32] }, b"body", &mut bytes);
        assert_eq!(decode_record(&bytes, Uuid::from_u128(4)), Err(FormatError::Crc));
    }
}
