//! What is said on the topics, as JSON; limits on everything that a reader sends.

use rollcall_rules::card::{CardError, CardRead};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest payload that is read.
const MAX_PAYLOAD: usize = 1_024;
/// The longest name of a reader's start.
const MAX_BOOT: usize = 32;
/// No reader runs longer than a century without a start, in milliseconds: a clock that says so says nothing.
const LONGEST_MS: i64 = 100 * 366 * 24 * 3_600_000;

/// Why a message is not taken.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PayloadError {
    /// Too long.
    #[error("{0} bytes; {MAX_PAYLOAD} at the most")]
    TooLong(usize),
    /// Not the JSON that the channel carries.
    #[error("not the JSON of this topic: {0}")]
    Json(String),
    /// The name of the reader's start is missing, too long, or no name.
    #[error("'boot' must have 1 to {MAX_BOOT} characters, none of them a control character")]
    Boot,
}

/// A card was held to the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwipeMessage {
    /// The start of the reader that it fell into.
    pub boot: String,
    /// Its number since that start; the same again when it is sent again.
    pub seq: u64,
    /// The card, or why it is none.
    pub card: Result<CardRead, CardError>,
    /// The reader's clock since its start, in milliseconds, when the card was held to it.
    pub mono_ms: i64,
    /// The reader says itself that this is from before.
    pub historical: bool,
}

#[derive(Deserialize)]
struct RawSwipe {
    boot: String,
    seq: u64,
    uid: String,
    bits: u16,
    mono_ms: i64,
    #[serde(default)]
    historical: bool,
}

impl SwipeMessage {
    /// Reads a `swipe`.
    ///
    /// # Errors
    /// When it is too long or not what the channel carries.
    pub fn read(bytes: &[u8]) -> Result<Self, PayloadError> {
        let raw: RawSwipe = json(bytes)?;
        if raw.boot.is_empty() || !is_name(&raw.boot) {
            return Err(PayloadError::Boot);
        }
        let digits: Option<Vec<u8>> =
            raw.uid.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        // One whose card is none is a swipe all the same: journalled, answered red and acknowledged, lest it come for ever.
        let digits = digits.filter(|digits| digits.len().is_multiple_of(2)).unwrap_or_default();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let card = CardRead::new(raw.bits, &bytes);
        let mono_ms = raw.mono_ms.clamp(0, LONGEST_MS);
        Ok(Self { boot: raw.boot, seq: raw.seq, card, mono_ms, historical: raw.historical })
    }
}

/// Whether the hub can be told of it too.
fn is_name(boot: &str) -> bool {
    boot.len() <= MAX_BOOT && !boot.chars().any(char::is_control)
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PayloadError> {
    if bytes.len() > MAX_PAYLOAD {
        return Err(PayloadError::TooLong(bytes.len()));
    }
    // The parser's own words may hold what it read, and that may be a card.
    serde_json::from_slice(bytes).map_err(|error| {
        PayloadError::Json(format!("{:?} error at column {}", error.classify(), error.column()))
    })
}

/// What a reader says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Birth {
    /// Firmware.
    #[serde(default)]
    pub fw: String,
    /// The start that it is in.
    #[serde(default)]
    pub boot: String,
    /// Its clock since that start, in milliseconds, when it sent this. With it, the first swipe of a start that the
    /// reader kept while the gateway was away is dated exactly; without it, to ten seconds.
    #[serde(default)]
    pub mono_ms: Option<i64>,
}

impl Birth {
    /// Reads a `birth`.
    ///
    /// # Errors
    /// When it is too long or not what the channel carries.
    pub fn read(bytes: &[u8]) -> Result<Self, PayloadError> {
        let mut birth: Self = json(bytes)?;
        birth.fw.retain(|c| !c.is_control());
        birth.fw.truncate(birth.fw.char_indices().nth(64).map_or(birth.fw.len(), |(at, _)| at));
        if !is_name(&birth.boot) {
            birth.boot.clear();
        }
        birth.mono_ms = birth.mono_ms.map(|mono_ms| mono_ms.clamp(0, LONGEST_MS));
        Ok(birth)
    }
}

/// Whether a `state` says that the reader is there: `ready`, bare or as a JSON string.
#[must_use]
pub fn is_ready(bytes: &[u8]) -> bool {
    matches!(bytes, b"ready" | b"\"ready\"")
}

/// The swipe is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwipeAck<'a> {
    /// As in the swipe.
    pub boot: &'a str,
    /// As in the swipe.
    pub seq: u64,
    /// `recorded`, `not_recorded` or `kept`.
    pub result: &'static str,
}

/// The light at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LightSet {
    /// Grows with each change.
    pub id: u64,
    /// `blue` or `off`.
    pub base: &'static str,
    /// Seconds until the light goes off unless this is said again.
    pub lease_s: u32,
}

/// Flash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LightFlash {
    /// Grows with each message.
    pub id: u64,
    /// `green`, `red` or `amber`.
    pub colour: &'static str,
    /// On for so long.
    pub on_ms: u32,
    /// Then off for so long.
    pub off_ms: u32,
    /// So often: 3 times 400 ms are 1.2 s.
    pub count: u32,
    /// The swipe that it answers.
    pub for_seq: Option<u64>,
    /// Not to be shown later than this after it was sent.
    pub ttl_ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swipe_is_read_whole() {
        let bytes =
            br#"{"boot":"b7","seq":117,"uid":"04A2B3C4D5E680","bits":56,"mono_ms":9123,"historical":false}"#;
        let Ok(swipe) = SwipeMessage::read(bytes) else { panic!("not read") };
        assert_eq!((swipe.boot.as_str(), swipe.seq, swipe.mono_ms), ("b7", 117, 9123));
        assert_eq!(
            swipe.card.map(|card| card.raw().to_vec()),
            Ok(vec![0x04, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0x80])
        );
    }

    #[test]
    fn broken_swipes_are_refused_with_the_reason() {
        let long = vec![b' '; 2_000];
        assert_eq!(SwipeMessage::read(&long), Err(PayloadError::TooLong(2_000)));
        assert!(matches!(SwipeMessage::read(b"{}"), Err(PayloadError::Json(_))));
        let hex = br#"{"boot":"b","seq":1,"uid":"0G","bits":8,"mono_ms":1}"#;
        let unreadable = SwipeMessage::read(hex).map(|swipe| (swipe.seq, swipe.card.is_err()));
        assert_eq!(unreadable, Ok((1, true)));
        let boot = br#"{"boot":"","seq":1,"uid":"00","bits":8,"mono_ms":1}"#;
        assert_eq!(SwipeMessage::read(boot), Err(PayloadError::Boot));
        let nul = br#"{"boot":"b\u0000","seq":1,"uid":"00","bits":8,"mono_ms":1}"#;
        assert_eq!(SwipeMessage::read(nul), Err(PayloadError::Boot), "the hub could not be told of it");
    }

    #[test]
    fn what_a_birth_says_can_be_said_to_the_hub() {
        let birth = Birth::read(br#"{"fw":"1.2\u0000\n","boot":"b7\u0000","mono_ms":9223372036854775807}"#);
        let said = birth.map(|birth| (birth.fw, birth.boot, birth.mono_ms));
        assert_eq!(said, Ok(("1.2".to_owned(), String::new(), Some(LONGEST_MS))));
    }

    #[test]
    fn a_clock_that_says_nonsense_is_taken_to_say_the_nearest_sense() {
        for (said, taken) in [(i64::MIN, 0), (-1, 0), (5, 5), (i64::MAX, LONGEST_MS)] {
            let bytes = format!(r#"{{"boot":"b","seq":1,"uid":"00","bits":8,"mono_ms":{said}}}"#);
            assert_eq!(SwipeMessage::read(bytes.as_bytes()).map(|swipe| swipe.mono_ms), Ok(taken));
        }
    }

    #[test]
    fn a_swipe_whose_bits_do_not_fit_is_a_card_error_and_still_has_its_number() {
        let bytes = br#"{"boot":"b","seq":9,"uid":"04A2","bits":56,"mono_ms":1}"#;
        let Ok(swipe) = SwipeMessage::read(bytes) else { panic!("not read") };
        assert_eq!(swipe.seq, 9);
        assert!(swipe.card.is_err());
    }
}
