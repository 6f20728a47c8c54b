//! How a reader writes a card number, and the decoder for it. Pure.
//!
//! Called by `line` with bytes as they come, in whatever pieces, and by `config`, which makes a form of what is
//! written there. Whatever is no card of that form is left out and counted; the line is never given up.

use rollcall_rules::card::{CardRead, MAX_BITS};

/// The longest message; what is longer is noise.
const MAX_MESSAGE: usize = 256;
/// A message whose next byte takes longer was cut off, in milliseconds.
const CUT_OFF_MS: u64 = 500;
/// ASCII's start of text.
const STX: u8 = 0x02;
/// ASCII's end of text.
const ETX: u8 = 0x03;

/// The digits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    /// `0` to `9`, `A` to `F`, in either case.
    Hexadecimal,
    /// `0` to `9`.
    Decimal,
}

/// What stands behind the number, as two hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing.
    None,
    /// All bytes of the number, combined by exclusive or.
    Xor,
    /// All bytes of the number, added up, without carries beyond eight bits.
    Sum,
}

/// How a reader writes a card number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The bytes before it; none where a message begins with the first digit.
    pub start: Vec<u8>,
    /// The bytes behind it; at least one.
    pub end: Vec<u8>,
    /// Its digits.
    pub digits: Digits,
    /// How many digits there are; any number where this is not said.
    pub count: Option<usize>,
    /// What guards it.
    pub checksum: Checksum,
    /// The last byte comes first.
    pub reversed: bool,
    /// How many bits the card has: leading zeros carry meaning.
    pub bits: u16,
}

impl Form {
    /// RDM6300, ID-12 and their like: STX, ten hexadecimal digits, their checksum, perhaps CR and LF, ETX. 40 bits.
    #[must_use]
    pub fn rdm6300() -> Self {
        Self {
            start: vec![STX],
            end: vec![ETX],
            digits: Digits::Hexadecimal,
            count: Some(10),
            checksum: Checksum::Xor,
            reversed: false,
            bits: 40,
        }
    }

    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// In words, with the field's name before them.
    pub fn check(&self) -> Result<(), String> {
        if self.end.is_empty() {
            return Err("end: is empty; say the bytes behind a number, such as '0d' for CR".to_owned());
        }
        if self.bits == 0 || self.bits > MAX_BITS {
            return Err(format!("bits: {} is not from 1 to {MAX_BITS}", self.bits));
        }
        if self.reversed && !self.bits.is_multiple_of(8) {
            return Err(format!("byte_order: {} bits are no whole bytes to be reversed", self.bits));
        }
        if self.checksum != Checksum::None && self.digits == Digits::Decimal {
            return Err("checksum: is over bytes, which decimal digits are none of".to_owned());
        }
        Ok(())
    }

    /// The card that a message stands for; `message` is what lies between start and end.
    #[must_use]
    pub fn card(&self, message: &[u8]) -> Option<CardRead> {
        let text = std::str::from_utf8(message).ok()?.trim_matches(['\r', '\n', ' ']);
        let guarded = if self.checksum == Checksum::None { 0 } else { 2 };
        let (number, sum) = text.split_at_checked(text.len().checked_sub(guarded)?)?;
        if number.is_empty() || self.count.is_some_and(|count| number.len() != count) {
            return None;
        }
        let radix = if self.digits == Digits::Decimal { 10 } else { 16 };
        let mut value = value(number, radix)?;
        let wanted = match self.checksum {
            Checksum::None => None,
            Checksum::Xor => Some(value.iter().fold(0, |sum, byte| sum ^ byte)),
            Checksum::Sum => Some(value.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))),
        };
        if let Some(wanted) = wanted
            && u8::from_str_radix(sum, 16) != Ok(wanted)
        {
            return None;
        }
        let bytes = usize::from(self.bits).div_ceil(8);
        while value.len() > bytes && value.first() == Some(&0) {
            value.remove(0);
        }
        let missing = bytes.checked_sub(value.len())?;
        value.splice(0..0, std::iter::repeat_n(0, missing));
        if self.reversed {
            value.reverse();
        }
        left_justified(&value, self.bits)
    }
}

/// The number that these digits write, most significant byte first; two digits of either kind fit a byte.
fn value(digits: &str, radix: u32) -> Option<Vec<u8>> {
    let mut value = vec![0u8; digits.len().div_ceil(2)];
    for digit in digits.chars() {
        let mut carry = digit.to_digit(radix)?;
        for byte in value.iter_mut().rev() {
            let sum = u32::from(*byte) * radix + carry;
            *byte = u8::try_from(sum & 0xFF).ok()?;
            carry = sum >> 8;
        }
        if carry > 0 {
            return None;
        }
    }
    Some(value)
}

/// A number of so many bits, moved to the left end of its bytes.
fn left_justified(value: &[u8], bits: u16) -> Option<CardRead> {
    let spare = value.len() * 8 - usize::from(bits);
    if spare > 0 && value.first()? >> (8 - spare) != 0 {
        // It has more bits than the card.
        return None;
    }
    let next = value.iter().skip(1).copied().chain([0]);
    let raw: Vec<u8> = value
        .iter()
        .zip(next)
        .map(|(byte, next)| if spare == 0 { *byte } else { byte << spare | next >> (8 - spare) })
        .collect();
    CardRead::new(bits, &raw).ok()
}

/// Finds messages in bytes.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
    /// What came since a start, the start included.
    message: Vec<u8>,
    last_ms: u64,
    noise: u64,
}

impl Decoder {
    /// A decoder for messages of this form.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self { form, message: Vec::new(), last_ms: 0, noise: 0 }
    }

    /// How many messages, or stretches of bytes, were no card.
    #[must_use]
    pub fn noise(&self) -> u64 {
        self.noise
    }

    /// Takes what came at an instant; gives the cards that are whole now.
    pub fn feed(&mut self, bytes: &[u8], now_ms: u64) -> Vec<CardRead> {
        if !self.message.is_empty() && now_ms.saturating_sub(self.last_ms) > CUT_OFF_MS {
            self.drop_message();
        }
        self.last_ms = now_ms;
        let mut cards = Vec::new();
        for byte in bytes {
            self.message.push(*byte);
            let begun = self.message.len().min(self.form.start.len());
            if self.message[..begun] != self.form.start[..begun] {
                // It may be that only its first bytes were not meant.
                self.noise += u64::from(self.message.len() > 1);
                self.resume();
            } else if self.message.len() > self.form.start.len() && self.message.ends_with(&self.form.end) {
                let body = self.form.start.len()..self.message.len() - self.form.end.len();
                let card = self.message.get(body).and_then(|body| self.form.card(body));
                match card.or_else(|| self.card_behind_noise()) {
                    Some(card) => {
                        cards.push(card);
                        self.message.clear();
                    }
                    None => self.drop_message(),
                }
            } else if self.message.len() > MAX_MESSAGE {
                self.drop_message();
            }
        }
        cards
    }

    /// The card of a message whose own start stands behind what had looked like one.
    fn card_behind_noise(&self) -> Option<CardRead> {
        let (start, end) = (&self.form.start, self.message.len() - self.form.end.len());
        let at = (1..end).rev().find(|at| !start.is_empty() && self.message[*at..end].starts_with(start))?;
        self.form.card(&self.message[at + start.len()..end])
    }

    /// Looks for a start behind the first byte of what is there.
    fn resume(&mut self) {
        let start = &self.form.start;
        let at = (1..self.message.len()).find(|at| start.starts_with(&self.message[*at..]));
        self.message.drain(..at.unwrap_or(self.message.len()));
    }

    /// What is there is no card. A start within it may be that of the next message.
    fn drop_message(&mut self) {
        self.noise += 1;
        let start = &self.form.start;
        let found = (1..self.message.len())
            .rev()
            .find(|at| !start.is_empty() && self.message[*at..].starts_with(start))
            .filter(|at| !self.message[*at..].ends_with(&self.form.end));
        self.message.drain(..found.unwrap_or(self.message.len()));
    }
}

/// Lets a card through once for as long as it lies there: readers repeat it.
#[derive(Debug)]
pub struct Debounce {
    quiet_ms: u64,
    last: Option<(CardRead, u64)>,
}

impl Debounce {
    /// A card counts as taken away when it was not repeated for so long, in milliseconds.
    #[must_use]
    pub fn new(quiet_ms: u64) -> Self {
        Self { quiet_ms, last: None }
    }

    /// Whether this is a card newly held to the reader.
    pub fn is_new(&mut self, card: &CardRead, now_ms: u64) -> bool {
        let there = self
            .last
            .take()
            .is_some_and(|(last, seen)| last == *card && now_ms.saturating_sub(seen) <= self.quiet_ms);
        self.last = Some((card.clone(), now_ms));
        !there
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cards(form: Form, bytes: &[u8]) -> Vec<CardRead> {
        Decoder::new(form).feed(bytes, 0)
    }

    fn wiegand_line() -> Form {
        Form {
            start: Vec::new(),
            end: b"\r".to_vec(),
            digits: Digits::Decimal,
            count: None,
            checksum: Checksum::None,
            reversed: false,
            bits: 26,
        }
    }

    #[test]
    fn an_rdm6300_and_an_id_12_give_the_same_40_bits() {
        let card = CardRead::new(40, &[0x62, 0xE3, 0x08, 0x6C, 0xED]).unwrap();
        // 62 ^ E3 ^ 08 ^ 6C ^ ED = 08
        assert_eq!(cards(Form::rdm6300(), b"\x0262E3086CED08\x03"), std::slice::from_ref(&card));
        assert_eq!(cards(Form::rdm6300(), b"\x0262E3086CED08\r\n\x03"), [card]);
    }

    #[test]
    fn a_wrong_checksum_a_missing_digit_and_a_foreign_one_are_no_card_and_the_next_is() {
        for bad in ["\x0262E3086CED09\x03", "\x0262E3086CE08\x03", "\x0262E3086CEG08\x03", "\x02\x03", "\x02"]
        {
            let mut decoder = Decoder::new(Form::rdm6300());
            assert_eq!(decoder.feed(bad.as_bytes(), 0), [], "{bad:?}");
            assert_eq!(decoder.feed(b"\x0262E3086CED08\x03", 1_000).len(), 1, "after {bad:?}");
            assert_eq!(decoder.noise(), 1, "{bad:?}");
        }
    }

    #[test]
    fn a_message_that_was_cut_off_does_not_spoil_the_next() {
        assert_eq!(cards(Form::rdm6300(), b"\x0262E3\x0262E3086CED08\x03").len(), 1);
        assert_eq!(cards(Form::rdm6300(), b"\x02\x0262E3086CED08\x03").len(), 1);
        let mut decoder = Decoder::new(Form::rdm6300());
        decoder.feed(b"\x0262E3", 0);
        assert_eq!(decoder.feed(b"\x0262E3086CED08\x03", 600).len(), 1);
    }

    #[test]
    fn a_decimal_number_of_26_bits_is_the_card_that_a_wiegand_reader_shows() {
        // 95 18 1C C0, left-justified, is 0x2546073.
        let read = cards(wiegand_line(), b"39084147\r\n");
        assert_eq!(read, [CardRead::new(26, &[0x95, 0x18, 0x1C, 0xC0]).unwrap()]);
        assert_eq!(cards(wiegand_line(), b"67108864\r"), [], "27 bits are no 26");
        assert_eq!(cards(wiegand_line(), b"0000000000000001\r").len(), 1, "leading zeros take no room");
    }

    #[test]
    fn the_last_byte_may_come_first() {
        let form = Form { reversed: true, digits: Digits::Hexadecimal, bits: 32, ..wiegand_line() };
        assert_eq!(cards(form, b"D4C3B2A1\r"), [CardRead::new(32, &[0xA1, 0xB2, 0xC3, 0xD4]).unwrap()]);
    }

    #[test]
    fn a_card_that_lies_there_counts_once_and_again_when_it_comes_back() {
        let (one, two) = (CardRead::new(8, &[1]).unwrap(), CardRead::new(8, &[2]).unwrap());
        let mut debounce = Debounce::new(1_000);
        assert!(debounce.is_new(&one, 0));
        assert!((1..100).all(|n| !debounce.is_new(&one, n * 65)));
        assert!(debounce.is_new(&two, 6_500));
        assert!(debounce.is_new(&one, 6_600));
        assert!(debounce.is_new(&one, 7_601));
    }

    #[test]
    fn a_form_that_cannot_work_says_which_field() {
        let refused = |form: Form| form.check().unwrap_err();
        assert!(refused(Form { end: Vec::new(), ..wiegand_line() }).starts_with("end:"));
        assert!(refused(Form { bits: 513, ..wiegand_line() }).starts_with("bits:"));
        assert!(refused(Form { reversed: true, ..wiegand_line() }).starts_with("byte_order:"));
        assert!(refused(Form { checksum: Checksum::Xor, ..wiegand_line() }).starts_with("checksum:"));
    }

    proptest! {
        #[test]
        fn every_number_comes_back_in_whatever_pieces_and_noise_before_it(
            raw: [u8; 5], noise in prop::collection::vec(any::<u8>(), 0..40), cut in 1usize..14,
        ) {
            let sum = raw.iter().fold(0, |sum, byte| sum ^ byte);
            let digits: String = raw.iter().chain([&sum]).map(|byte| format!("{byte:02X}")).collect();
            let message = format!("\x02{digits}\x03").into_bytes();
            let mut decoder = Decoder::new(Form::rdm6300());
            decoder.feed(&noise, 0);
            let mut found = decoder.feed(&message[..cut], 1_000);
            found.extend(decoder.feed(&message[cut..], 1_001));
            prop_assert_eq!(found, vec![CardRead::new(40, &raw).unwrap()]);
        }

        #[test]
        fn nothing_that_comes_makes_it_stop_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            for form in [Form::rdm6300(), wiegand_line()] {
                let mut decoder = Decoder::new(form);
                for piece in bytes.chunks(7) {
                    decoder.feed(piece, 0);
                    prop_assert!(decoder.message.len() <= MAX_MESSAGE);
                }
            }
        }
    }
}
