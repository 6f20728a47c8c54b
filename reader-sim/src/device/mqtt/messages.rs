//! The payloads, as the protocol has them.
//!
//! Used by the session and the outbox. Written from the protocol's description, not from the gateway's code.

use serde::{Deserialize, Serialize};

use crate::plan::Colour;

/// `birth`: what the reader is.
#[derive(Debug, Serialize)]
pub(super) struct Birth<'a> {
    /// Firmware version.
    pub(super) fw: &'a str,
    /// Name of this start of the reader.
    pub(super) boot: &'a str,
    /// Its clock now, since its start.
    pub(super) mono_ms: u64,
    /// What it can do.
    pub(super) caps: Caps,
}

/// What a reader can do.
#[derive(Debug, Serialize)]
pub(super) struct Caps {
    /// Colours besides dark.
    pub(super) colours: [&'static str; 4],
    /// It can beep.
    pub(super) buzzer: bool,
}

/// `swipe`: a card was read.
#[derive(Debug, Serialize)]
pub(super) struct Swipe<'a> {
    /// Name of this start of the reader.
    pub(super) boot: &'a str,
    /// Counts swipes in this start, from 1.
    pub(super) seq: u64,
    /// The raw bytes in upper-case hexadecimal, left-justified.
    pub(super) uid: &'a str,
    /// How many bits of them carry meaning.
    pub(super) bits: u16,
    /// When it was read, since the reader's start.
    pub(super) mono_ms: u64,
    /// It is reported long after it was read.
    pub(super) historical: bool,
}

/// `swipe/ack`: the gateway has it.
#[derive(Debug, Deserialize)]
pub(super) struct Ack {
    /// Of the swipe.
    pub(super) boot: String,
    /// Of the swipe.
    pub(super) seq: u64,
    /// What came of it.
    pub(super) result: Outcome,
}

/// What may come of a swipe.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Attendance was recorded.
    Recorded,
    /// There was nothing to record.
    NotRecorded,
    /// Kept, to be decided.
    Kept,
}

impl Outcome {
    /// As on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Recorded => "recorded",
            Outcome::NotRecorded => "not_recorded",
            Outcome::Kept => "kept",
        }
    }
}

/// `light/set`: the steady light.
#[derive(Debug, Deserialize)]
pub(super) struct LightSet {
    /// Named again in `light`.
    pub(super) id: u64,
    /// The colour.
    pub(super) base: ColourName,
    /// It goes dark after so long without renewal.
    pub(super) lease_s: f64,
}

/// `light/flash`: a flash.
#[derive(Debug, Deserialize)]
pub(super) struct LightFlash {
    /// Its name.
    pub(super) id: u64,
    /// The colour.
    pub(super) colour: ColourName,
    /// The swipe that it answers.
    #[serde(default)]
    pub(super) for_seq: Option<u64>,
    /// It is not shown when the card was read longer ago: it would greet somebody else.
    #[serde(default)]
    pub(super) ttl_ms: Option<u64>,
}

/// `light`: what it really shows.
#[derive(Debug, Serialize)]
pub(super) struct Light {
    /// Of the `light/set` that it follows.
    pub(super) id: u64,
    /// The colour.
    pub(super) base: ColourName,
}

/// A colour as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ColourName {
    /// Dark.
    Off,
    /// Blue.
    Blue,
    /// Green.
    Green,
    /// Red.
    Red,
    /// Amber.
    Amber,
}

impl From<ColourName> for Colour {
    fn from(name: ColourName) -> Colour {
        match name {
            ColourName::Off => Colour::Off,
            ColourName::Blue => Colour::Blue,
            ColourName::Green => Colour::Green,
            ColourName::Red => Colour::Red,
            ColourName::Amber => Colour::Amber,
        }
    }
}
