//! The bytes of a journal segment. Pure.
//!
//! A segment is a file of [`SEGMENT_BYTES`], preallocated, named `segment-<first sequence, 20 digits>.log`:
//!
//! ```text
//! offset  bytes  header
//!      0      4  magic "RCJ1"
//!      4     16  journal id
//!     20      8  sequence of the first record, little-endian
//!     28     32  chain value before the first record
//!     60      4  CRC32C of bytes 0..60, little-endian
//!
//!     64         records, one behind the other, then zeros:
//!      0      4  length of the body, little-endian; 0 ends the segment
//!      4      4  CRC32C of sequence and body, little-endian
//!      8      8  sequence, little-endian
//!     16    len  body
//! ```
//! The chain value of a record is SHA-256 over the chain value before it, its sequence and its body; it is
//! worked out, not stored, so that a changed record changes all behind it.

use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// The size of a segment.
pub const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// The size of its header.
pub const HEADER_BYTES: usize = 64;
/// The size of a record before its body.
pub const RECORD_HEAD_BYTES: usize = 16;
/// The longest body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

const MAGIC: &[u8; 4] = b"RCJ1";

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

/// Why bytes are no segment or no record.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum FormatError {
    /// Too short, another magic, or a wrong CRC.
    #[error("the segment's header is damaged")]
    Header,
    /// A length that no record has.
    #[error("a record's length is impossible: {0}")]
    Length(u32),
    /// The record runs over the end of the file.
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

    /// Reads the bytes.
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
}

/// Appends a record's bytes.
pub fn encode_record(sequence: u64, body: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&crc(sequence, body).to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(body);
}

/// How many bytes a record of this body takes.
#[must_use]
pub fn record_bytes(body: &[u8]) -> u64 {
    (RECORD_HEAD_BYTES + body.len()) as u64
}

fn crc(sequence: u64, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sequence.to_le_bytes()), body)
}

/// The chain value behind a record.
#[must_use]
pub fn chain(before: &Chain, sequence: u64, body: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(sequence.to_le_bytes());
    hash.update(body);
    hash.finalize().into()
}

/// Reads the record at the start of `bytes`: its body, or `None` where the records end.
///
/// # Errors
/// When the bytes are no whole record with the sequence that belongs there.
pub fn decode_record(bytes: &[u8], wanted: u64) -> Result<Option<&[u8]>, FormatError> {
    let Some(head) = bytes.get(..RECORD_HEAD_BYTES) else {
        return if bytes.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(FormatError::CutOff) };
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = word(0);
    if length == 0 {
        return if head.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(FormatError::Length(0)) };
    }
    if length as usize > MAX_BODY_BYTES {
        return Err(FormatError::Length(length));
    }
    let body =
        bytes.get(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + length as usize).ok_or(FormatError::CutOff)?;
    let found = u64::from(word(8)) | u64::from(word(12)) << 32;
    if crc(found, body) != word(4) {
        return Err(FormatError::Crc);
    }
    if found != wanted {
        return Err(FormatError::Sequence { wanted, found });
    }
    Ok(Some(body))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_with_any_flipped_bit_is_refused(body in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index) {
            let mut bytes = Vec::new();
            encode_record(7, &body, &mut bytes);
            prop_assert_eq!(decode_record(&bytes, 7), Ok(Some(&body[..])));
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(decode_record(&bytes, 7), Ok(Some(&body[..])));
        }

        #[test]
        fn a_header_with_any_flipped_bit_is_refused(first: u64, chain: [u8; 32], bit in 0usize..512) {
            let header = Header { journal: Uuid::from_u128(9), first, chain };
            let mut bytes = header.encode();
            prop_assert_eq!(Header::decode(&bytes), Ok(header));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::decode(&bytes), Err(FormatError::Header));
        }
    }

    #[test]
    fn zeros_end_the_records() {
        assert_eq!(decode_record(&[0; 100], 1), Ok(None));
        assert_eq!(decode_record(&[], 1), Ok(None));
    }

    #[test]
    fn a_record_of_another_place_is_refused() {
        let mut bytes = Vec::new();
        encode_record(5, b"body", &mut bytes);
        assert_eq!(decode_record(&bytes, 4).unwrap_err(), FormatError::Sequence { wanted: 4, found: 5 });
    }
}
