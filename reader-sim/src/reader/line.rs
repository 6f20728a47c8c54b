//! What a line of standard input asks of a reader.
//!
//! Used by the `reader` subcommand. Never knows what a card means, only what its bits are.

use std::str::FromStr;

use crate::device::fault::Fault;
use crate::plan::Credential;

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Hold this card to the reader.
    Card(Credential),
    /// Open the reader's case, or close it.
    Tamper(bool),
    /// Make what hangs on its input active, or let it be.
    Contact(bool),
    /// Take it off its line and its power, or put it back.
    Unplug(bool),
    /// Let something be wrong with it or its line, or be well again.
    Fault(Fault, bool),
    /// Start afresh with another key than the gateway knows.
    Rekey,
    /// An empty line.
    Nothing,
    /// End.
    Quit,
}

/// A line that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    /// Another first word, or another count of words.
    #[error(
        "expected `uid HEX`, `h10301 FACILITY NUMBER`, `h10306 FACILITY NUMBER`, `raw BITS HEX`, `tamper on|off`, \
         `contact on|off`, `noise|loss|busy|slow|duplicate on|off`, `rekey`, `unplug`, `plug` or `quit`"
    )]
    Command,
    /// Not hexadecimal bytes.
    #[error("`{0}` is not whole bytes in hexadecimal, like 04A2B3C4D5E680")]
    Hex(String),
    /// A UID of another length.
    #[error("a UID has 4, 7 or 10 bytes, this has {0}")]
    UidLength(usize),
    /// A number that is none, or too large.
    #[error("the {what} must be a number from {from} to {to}, not `{got}`")]
    Number {
        /// Which.
        what: &'static str,
        /// The least.
        from: u64,
        /// The most.
        to: u64,
        /// What was there.
        got: String,
    },
    /// Bits and bytes do not fit each other.
    #[error("{bits} bits fill {wanted} bytes, these are {got}")]
    Length {
        /// The bits asked for.
        bits: u16,
        /// The bytes they fill.
        wanted: usize,
        /// The bytes given.
        got: usize,
    },
    /// Something after the last bit.
    #[error("the bits after the first {0} must be 0")]
    Padding(u16),
}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(line: &str) -> Result<Line, LineError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let credential = match words[..] {
            [] => return Ok(Line::Nothing),
            ["quit"] => return Ok(Line::Quit),
            ["tamper", "on"] => return Ok(Line::Tamper(true)),
            ["tamper", "off"] => return Ok(Line::Tamper(false)),
            ["contact", switch @ ("on" | "off")] => return Ok(Line::Contact(switch == "on")),
            ["rekey"] => return Ok(Line::Rekey),
            [name, switch @ ("on" | "off")] if name.parse::<Fault>().is_ok() => {
                let fault = name.parse().map_err(|()| LineError::Command)?;
                return Ok(Line::Fault(fault, switch == "on"));
            }
            ["unplug"] => return Ok(Line::Unplug(true)),
            ["plug"] => return Ok(Line::Unplug(false)),
            ["uid", digits] => uid(digits)?,
            ["h10301", facility, number] => wiegand(8, 16, facility, number)?,
            ["h10306", facility, number] => wiegand(16, 16, facility, number)?,
            ["raw", bits, digits] => raw(bits, digits)?,
            _ => return Err(LineError::Command),
        };
        Ok(Line::Card(credential))
    }
}

fn uid(digits: &str) -> Result<Credential, LineError> {
    let raw = hex(digits)?;
    let bits = match raw.len() {
        4 => 32,
        7 => 56,
        10 => 80,
        other => return Err(LineError::UidLength(other)),
    };
    Ok(Credential { bits, raw })
}

fn raw(bits: &str, digits: &str) -> Result<Credential, LineError> {
    let bits = u16::try_from(number("count of bits", bits, 1, 512)?).unwrap_or(u16::MAX);
    let raw = hex(digits)?;
    let wanted = usize::from(bits).div_ceil(8);
    if raw.len() != wanted {
        return Err(LineError::Length { bits, wanted, got: raw.len() });
    }
    let last = raw.last().copied().unwrap_or(0);
    if bits % 8 != 0 && last & (0xFF >> (bits % 8)) != 0 {
        return Err(LineError::Padding(bits));
    }
    Ok(Credential { bits, raw })
}

/// A facility and a number between an even parity bit over their first half and an odd one over their second.
fn wiegand(
    facility_bits: u16,
    number_bits: u16,
    facility: &str,
    card: &str,
) -> Result<Credential, LineError> {
    let facility = number("facility", facility, 0, (1 << facility_bits) - 1)?;
    let card = number("card number", card, 0, (1 << number_bits) - 1)?;
    let content_bits = facility_bits + number_bits;
    let content = facility << number_bits | card;
    let half = content_bits / 2;
    let even = u64::from((content >> half).count_ones() % 2);
    let odd = u64::from((content & ((1 << half) - 1)).count_ones().is_multiple_of(2));
    let bits = content_bits + 2;
    let all = even << (bits - 1) | content << 1 | odd;
    let raw = (all << (64 - bits)).to_be_bytes()[..usize::from(bits).div_ceil(8)].to_vec();
    Ok(Credential { bits, raw })
}

fn number(what: &'static str, got: &str, from: u64, to: u64) -> Result<u64, LineError> {
    got.parse().ok().filter(|value| (from..=to).contains(value)).ok_or_else(|| LineError::Number {
        what,
        from,
        to,
        got: got.to_owned(),
    })
}

fn hex(digits: &str) -> Result<Vec<u8>, LineError> {
    let wrong = || LineError::Hex(digits.to_owned());
    let nibbles: Option<Vec<u8>> =
        digits.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let nibbles = nibbles.ok_or_else(wrong)?;
    if nibbles.is_empty() || nibbles.len() % 2 != 0 {
        return Err(wrong());
    }
    Ok(nibbles.chunks(2).map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble)).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn card(line: &str) -> (u16, Vec<u8>) {
        match line.parse().unwrap() {
            Line::Card(card) => (card.bits, card.raw),
            other => unreachable!("{line}: {other:?}"),
        }
    }

    #[test]
    fn cards_are_understood() {
        assert_eq!(card("uid 04a2B3C4D5E680"), (56, vec![0x04, 0xA2, 0xB3, 0xC4, 0xD5, 0xE6, 0x80]));
        assert_eq!(card("h10301 42 12345"), (26, vec![0x95, 0x18, 0x1C, 0xC0]));
        assert_eq!(card(" raw  26 95181CC0 "), card("h10301 42 12345"));
        // 1 | 0000000000101010 0011000000111001 | 1: three ones in the first half, six in the second.
        assert_eq!(card("h10306 42 12345"), (34, vec![0x80, 0x15, 0x18, 0x1C, 0xC0]));
        assert_eq!("".parse(), Ok(Line::Nothing));
        assert_eq!("quit".parse(), Ok(Line::Quit));
    }

    #[test]
    fn bad_lines_say_what_is_accepted() {
        let error = |line: &str| line.parse::<Line>().unwrap_err().to_string();
        assert!(error("swipe 1").contains("`uid HEX`"));
        assert!(error("uid 04A2B").contains("hexadecimal"));
        assert!(error("uid 04A2").contains("4, 7 or 10 bytes"));
        assert!(error("h10301 256 1").contains("from 0 to 255"));
        assert!(error("h10306 1 65536").contains("from 0 to 65535"));
        assert!(error("raw 0 00").contains("from 1 to 512"));
        assert!(error("raw 26 9518").contains("4 bytes"));
        assert!(error("raw 26 95181CC1").contains("must be 0"));
    }
}
