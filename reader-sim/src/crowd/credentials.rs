//! What readers see of a card: Wiegand formats with their parity, and UIDs.
//!
//! Used by everything in this crate that invents cards. It never looks anything up.

use crate::plan::Credential;

/// HID's open 26-bit format: even parity, 8 bits of facility, 16 bits of number, odd parity.
#[must_use]
pub fn h10301(facility: u8, number: u16) -> Credential {
    wiegand((u64::from(facility) << 16) | u64::from(number), 24)
}

/// HID's 34-bit format: even parity, 16 bits of facility, 16 bits of number, odd parity.
#[must_use]
pub fn h10306(facility: u16, number: u16) -> Credential {
    wiegand((u64::from(facility) << 16) | u64::from(number), 32)
}

/// A UID as it is: as many bits as the bytes have.
#[must_use]
pub fn uid(bytes: &[u8]) -> Credential {
    let bits = u16::try_from(bytes.len() * 8).unwrap_or(u16::MAX);
    Credential { bits, raw: bytes.to_vec() }
}

/// Puts even parity over the first half of `data` before it and odd parity over the second half after it,
/// and shifts it all to the left of its bytes. Where the bits are odd in number both halves have the one in the middle,
/// as in HID's 37-bit formats.
#[must_use]
pub fn wiegand(data: u64, data_bits: u32) -> Credential {
    let half = data_bits.div_ceil(2);
    let leading = u64::from((data >> (data_bits - half)).count_ones() % 2);
    let trailing = u64::from((data & ((1 << half) - 1)).count_ones().is_multiple_of(2));
    let bits = data_bits + 2;
    let whole = (leading << (data_bits + 1)) | (data << 1) | trailing;
    let raw = (whole << (64 - bits)).to_be_bytes();
    let bytes = bits.div_ceil(8) as usize;
    Credential { bits: u16::try_from(bits).unwrap_or(u16::MAX), raw: raw[..bytes].to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(credential: &Credential) -> String {
        let all: String = credential.raw.iter().map(|byte| format!("{byte:08b}")).collect();
        let (used, padding) = all.split_at(usize::from(credential.bits));
        assert!(!padding.contains('1'), "padding is zero: {all}");
        used.to_owned()
    }

    fn ones(text: &str) -> usize {
        text.matches('1').count()
    }

    #[test]
    fn a_known_h10301_card() {
        // Facility 42 = 00101010, number 12345 = 0011000000111001: five ones in the first half, four in the
        // second.
        assert_eq!(bits(&h10301(42, 12345)), "10010101000110000001110011");
        assert_eq!(h10301(42, 12345).raw.len(), 4);
    }

    #[test]
    fn parity_holds_for_many_cards() {
        for number in (0..=u16::MAX).step_by(97) {
            let short = bits(&h10301(number.to_be_bytes()[0], number));
            assert_eq!((short.len(), ones(&short[..13]) % 2, ones(&short[13..]) % 2), (26, 0, 1));
            let long = bits(&h10306(number.rotate_left(5), number));
            assert_eq!((long.len(), ones(&long[..17]) % 2, ones(&long[17..]) % 2), (34, 0, 1));
        }
        assert_eq!(h10306(7, 1).raw.len(), 5);
    }

    #[test]
    fn parities_of_37_bits_share_the_bit_in_the_middle() {
        for data in [0, 1, 1 << 17, (1 << 35) - 1, 0x5_1234_5678] {
            let long = bits(&wiegand(data, 35));
            assert_eq!((long.len(), ones(&long[..19]) % 2, ones(&long[18..]) % 2), (37, 0, 1), "{data:x}");
        }
    }

    #[test]
    fn a_uid_is_itself() {
        let card = uid(&[4, 1, 2, 3, 4, 5, 0x80]);
        assert_eq!((card.bits, card.raw.len()), (56, 7));
    }
}
