//! Card credentials: raw bits are the truth; formats say how a printed number becomes those bits.
//!
//! Called by the hub (numbers from the card office become credentials), by the gateway (bytes from a reader
//! become a [`CardRead`]). A number is never turned back into bits by guessing a format from its length: 37
//! bits are ambiguous, so the site says which format it uses.

use thiserror::Error;

/// The most bits that a credential may have.
pub const MAX_BITS: u16 = 512;

/// What a reader saw of a card.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CardRead {
    bits: u16,
    raw: Vec<u8>,
}

impl std::fmt::Debug for CardRead {
    /// Shows the length alone: card numbers never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CardRead({} bits)", self.bits)
    }
}

/// Why some bytes are no card.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum CardError {
    /// No bits at all, or more than [`MAX_BITS`].
    #[error("a card has 1 to {MAX_BITS} bits, not {0}")]
    Bits(u16),
    /// The bytes do not match the count of bits.
    #[error("{bits} bits take {wanted} bytes, not {found}")]
    Length {
        /// The count of bits that was stated.
        bits: u16,
        /// The bytes that it takes.
        wanted: usize,
        /// The bytes that were given.
        found: usize,
    },
    /// Bits beyond the count are set: the data is not left-justified, or the count is wrong.
    #[error("bits beyond the {0} stated are set; card data is left-justified and padded with zeros")]
    Padding(u16),
    /// The facility code does not fit the format.
    #[error("facility code {facility} is too large for {format}: {max} at most")]
    Facility {
        /// The format.
        format: Format,
        /// The facility code given.
        facility: u32,
        /// The largest that fits.
        max: u32,
    },
    /// The card number does not fit the format.
    #[error("card number {number} is too large for {format}: {max} at most")]
    Number {
        /// The format.
        format: Format,
        /// The number given.
        number: u64,
        /// The largest that fits.
        max: u64,
    },
    /// A UID of a length that no card has.
    #[error("a UID has 4, 7 or 10 bytes, not {0}")]
    UidLength(usize),
    /// A UID that changes at each presentation.
    #[error(
        "a 4-byte UID that begins with 08 is random (ISO/IEC 14443-3, 6.5.4): the card shows another one each time; use its 7-byte UID or its Wiegand number"
    )]
    RandomUid,
    /// A 7-byte UID that was cut off.
    #[error(
        "a 4-byte UID that begins with 88 is a cascade tag (ISO/IEC 14443-3, 6.5.4): the reader cut a 7-byte UID; set it to give all of it"
    )]
    CascadeTag,
}

impl CardRead {
    /// Takes `bits` bits, left-justified in `raw` and padded with zeros.
    ///
    /// # Errors
    /// When the bytes do not match the count, or bits beyond it are set.
    pub fn new(bits: u16, raw: &[u8]) -> Result<Self, CardError> {
        if bits == 0 || bits > MAX_BITS {
            return Err(CardError::Bits(bits));
        }
        let wanted = usize::from(bits).div_ceil(8);
        if raw.len() != wanted {
            return Err(CardError::Length { bits, wanted, found: raw.len() });
        }
        let spare = wanted * 8 - usize::from(bits);
        if spare > 0 && raw.last().is_some_and(|last| last & ((1u8 << spare) - 1) != 0) {
            return Err(CardError::Padding(bits));
        }
        Ok(Self { bits, raw: raw.to_vec() })
    }

    /// Takes a UID of 4, 7 or 10 bytes.
    ///
    /// # Errors
    /// When the length is wrong, or the UID is random or a cascade tag.
    pub fn from_uid(uid: &[u8]) -> Result<Self, CardError> {
        if !matches!(uid.len(), 4 | 7 | 10) {
            return Err(CardError::UidLength(uid.len()));
        }
        let bits = u16::try_from(uid.len() * 8).map_err(|_| CardError::UidLength(uid.len()))?;
        let read = Self::new(bits, uid)?;
        read.usable()?;
        Ok(read)
    }

    /// Whether it can name a card for good.
    ///
    /// # Errors
    /// With the reason, for a random UID and for the cascade tag of a UID cut off.
    pub fn usable(&self) -> Result<(), CardError> {
        match (self.bits, self.raw.first()) {
            (32, Some(0x08)) => Err(CardError::RandomUid),
            (32, Some(0x88)) => Err(CardError::CascadeTag),
            _ => Ok(()),
        }
    }

    /// How many bits carry meaning.
    #[must_use]
    pub fn bits(&self) -> u16 {
        self.bits
    }

    /// The bits, most significant first, left-justified, padded with zeros.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}

/// Wiegand formats, by their common names. Leading even, trailing odd parity bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Format {
    /// 26 bits: facility 8, number 16.
    H10301,
    /// 34 bits: facility 16, number 16.
    H10306,
    /// 37 bits: facility 16, number 19.
    H10304,
    /// 37 bits: number 35, no facility.
    H10302,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// How a format lays its bits out.
struct Layout {
    bits: u16,
    facility_bits: u32,
    number_bits: u32,
    /// Even parity is taken over bits 1 to this one (bit 0 is the parity bit itself).
    even_until: u16,
    /// Odd parity is taken over bits from this one to the last but one.
    odd_from: u16,
}

/// A facility code and card number, as printed on a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Printed {
    /// The facility (site) code; 0 where the format has none.
    pub facility: u32,
    /// The card number.
    pub number: u64,
}

impl Format {
    fn layout(self) -> Layout {
        match self {
            Self::H10301 => {
                Layout { bits: 26, facility_bits: 8, number_bits: 16, even_until: 12, odd_from: 13 }
            }
            Self::H10306 => {
                Layout { bits: 34, facility_bits: 16, number_bits: 16, even_until: 16, odd_from: 17 }
            }
            Self::H10304 => {
                Layout { bits: 37, facility_bits: 16, number_bits: 19, even_until: 18, odd_from: 18 }
            }
            Self::H10302 => {
                Layout { bits: 37, facility_bits: 0, number_bits: 35, even_until: 18, odd_from: 18 }
            }
        }
    }

    /// The bits that a card with this number shows.
    ///
    /// # Errors
    /// When facility code or number are too large for the format.
    pub fn encode(self, printed: Printed) -> Result<CardRead, CardError> {
        let layout = self.layout();
        let max_facility = (1u64 << layout.facility_bits) - 1;
        if u64::from(printed.facility) > max_facility {
            let max = u32::try_from(max_facility).unwrap_or(u32::MAX);
            return Err(CardError::Facility { format: self, facility: printed.facility, max });
        }
        let max = (1u64 << layout.number_bits) - 1;
        if printed.number > max {
            return Err(CardError::Number { format: self, number: printed.number, max });
        }
        let body = (u64::from(printed.facility) << layout.number_bits) | printed.number;
        let mut word = body << 1;
        let (even, odd) = layout.parities(word);
        word |= u64::from(even) << (layout.bits - 1);
        word |= u64::from(odd);
        let bytes = (word << (64 - u32::from(layout.bits))).to_be_bytes();
        CardRead::new(layout.bits, &bytes[..usize::from(layout.bits).div_ceil(8)])
    }

    /// The number that these bits stand for in this format, `None` when the count of bits or a parity is
    /// wrong.
    #[must_use]
    pub fn decode(self, read: &CardRead) -> Option<Printed> {
        let layout = self.layout();
        if read.bits != layout.bits {
            return None;
        }
        let mut bytes = [0u8; 8];
        bytes[..read.raw.len()].copy_from_slice(&read.raw);
        let word = u64::from_be_bytes(bytes) >> (64 - u32::from(layout.bits));
        let (even, odd) = layout.parities(word);
        if word >> (layout.bits - 1) != u64::from(even) || word & 1 != u64::from(odd) {
            return None;
        }
        let number = (word >> 1) & ((1 << layout.number_bits) - 1);
        let facility = (word >> (1 + layout.number_bits)) & ((1 << layout.facility_bits) - 1);
        Some(Printed { facility: u32::try_from(facility).ok()?, number })
    }
}

impl Layout {
    /// The values that the leading (even) and the trailing (odd) parity bit must have for the bits between.
    fn parities(&self, word: u64) -> (bool, bool) {
        let ones = |from: u16, until: u16| {
            (from..=until).filter(|bit| word >> (self.bits - 1 - bit) & 1 == 1).count()
        };
        (ones(1, self.even_until) % 2 == 1, ones(self.odd_from, self.bits - 2) % 2 == 0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn h10301_facility_42_card_12345_is_the_frame_captured_from_a_reader() {
        let read = Format::H10301.encode(Printed { facility: 42, number: 12345 }).unwrap();
        assert_eq!((read.bits(), read.raw()), (26, &[0x95, 0x18, 0x1c, 0xc0][..]));
    }

    #[test]
    fn a_flipped_parity_bit_is_no_number() {
        let read = CardRead::new(26, &[0x15, 0x18, 0x1c, 0xc0]).unwrap();
        assert_eq!(Format::H10301.decode(&read), None);
    }

    #[test]
    fn random_and_cut_uids_are_refused_with_the_reason() {
        assert_eq!(CardRead::from_uid(&[0x08, 1, 2, 3]), Err(CardError::RandomUid));
        assert_eq!(CardRead::from_uid(&[0x88, 4, 0xc4, 0x3b]), Err(CardError::CascadeTag));
        assert_eq!(CardRead::from_uid(&[1, 2, 3]), Err(CardError::UidLength(3)));
        assert!(CardRead::from_uid(&[0x08, 1, 2, 3, 4, 5, 6]).is_ok());
    }

    #[test]
    fn data_that_is_not_left_justified_is_refused() {
        assert_eq!(CardRead::new(26, &[0, 0, 0, 1]), Err(CardError::Padding(26)));
        assert_eq!(CardRead::new(26, &[0, 0, 0]), Err(CardError::Length { bits: 26, wanted: 4, found: 3 }));
        assert_eq!(CardRead::new(0, &[]), Err(CardError::Bits(0)));
    }

    #[test]
    fn a_card_read_shows_no_number_when_printed() {
        let read = CardRead::new(26, &[0x95, 0x18, 0x1c, 0xc0]).unwrap();
        assert_eq!(format!("{read:?}"), "CardRead(26 bits)");
    }

    proptest! {
        #[test]
        fn every_number_that_fits_comes_back(
            format in prop::sample::select(vec![Format::H10301, Format::H10306, Format::H10304, Format::H10302]),
            facility: u32,
            number: u64,
        ) {
            let layout = format.layout();
            let printed = Printed {
                facility: facility & ((1u32 << layout.facility_bits) - 1),
                number: number & ((1u64 << layout.number_bits) - 1),
            };
            let read = format.encode(printed).unwrap();
            prop_assert_eq!(format.decode(&read), Some(printed));
        }

        #[test]
        fn one_wrong_bit_in_26_is_noticed(facility: u8, number: u16, bit in 0u32..26) {
            let printed = Printed { facility: u32::from(facility), number: u64::from(number) };
            let good = Format::H10301.encode(printed).unwrap();
            let mut raw = good.raw().to_vec();
            raw[bit as usize / 8] ^= 0x80 >> (bit % 8);
            prop_assert_eq!(Format::H10301.decode(&CardRead::new(26, &raw).unwrap()), None);
        }

        #[test]
        fn a_number_too_large_is_refused(number in 65_536u64..) {
            let refused = Format::H10301.encode(Printed { facility: 1, number });
            let expected = CardError::Number { format: Format::H10301, number, max: 65_535 };
            prop_assert_eq!(refused, Err(expected));
        }
    }
}
