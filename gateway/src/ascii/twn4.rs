//! Elatec TWN4 in its simple protocol: it is asked, in hexadecimal digits and CR, and answers so. Pure.
//!
//! Source: TWN4 Simple Protocol, function numbers of the TWN4 API Reference: `SearchTag` 05 00, `LEDInit` 04 10, `LEDOn`
//! 04 11, `LEDOff` 04 12. An answer begins with 00 when the command was understood.

use rollcall_rules::card::CardRead;

/// Asks for a card, of 16 bytes at the most.
pub const SEARCH: &[u8] = b"050010\r";
/// Makes the pins of the three lights outputs.
pub const LIGHTS_READY: &[u8] = b"041007\r";

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It answers, and no card is there.
    Nothing,
    /// A card.
    Card(CardRead),
    /// It answers, with something that is no card.
    Odd,
}

/// Sets the lights: bit 0 red, bit 1 green, bit 2 the third one.
#[must_use]
pub fn lights(on: u8) -> Vec<u8> {
    format!("0412{:02X}\r0411{:02X}\r", !on & 7, on & 7).into_bytes()
}

/// Understands a line, without its CR; none when it is no answer of a TWN4.
#[must_use]
pub fn answer(line: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(line).ok()?.trim();
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok()))
        .collect::<Option<_>>()?;
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    Some(match bytes[..] {
        // Understood, and nothing to say: the answer to a light.
        [0] | [0, 0] => Answer::Nothing,
        [0, 1, _kind, bits, length, ref uid @ ..] if uid.len() == usize::from(length) => {
            CardRead::new(bits.into(), uid).map_or(Answer::Odd, Answer::Card)
        }
        _ => Answer::Odd,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let uid = CardRead::new(56, &[0x04, 0xA2, 0xB3, 0xC4, 0xD5, 0xE6, 0x80]).unwrap();
        assert_eq!(answer(b"000180380704A2B3C4D5E680"), Some(Answer::Card(uid)));
        assert_eq!(answer(b"0000\r\n"), Some(Answer::Nothing));
        assert_eq!(answer(b"00"), Some(Answer::Nothing));
        for odd in ["01", "0001803807", "000180380704A2", "0001800000"] {
            assert_eq!(answer(odd.as_bytes()), Some(Answer::Odd), "{odd}");
        }
        for none in ["", "0", "hello", "00 00", "\u{fffd}"] {
            assert_eq!(answer(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_light_goes_on_when_the_others_are_off() {
        assert_eq!(lights(2), b"041205\r041102\r");
        assert_eq!(lights(0), b"041207\r041100\r");
    }
}
