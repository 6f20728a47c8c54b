//! How the gateway is, as it is told to the hub.

use rollcall_rules::light::Colour;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use crate::core::reading::Reading;
use crate::osdp::panel::LineQuality;
use crate::uplink::operations::ReaderKind;

/// How the gateway is, as its mind knows it.
#[derive(Debug, Clone)]
pub struct Status {
    /// The time of asking.
    pub now: Reading,
    /// Every swipe before this instant is durable.
    pub durable_before: Instant,
    /// The sequence of the last durable record.
    pub last_durable: u64,
    /// The feed position decided by.
    pub basis: String,
    /// The readers.
    pub readers: Vec<ReaderStatus>,
    /// Readers that the hub does not know.
    pub unassigned: Vec<Unassigned>,
    /// When the timetable copy was last known to be current.
    pub current_at: Option<Instant>,
    /// How often the hub wants to hear how the gateway is, in milliseconds; 0 when it did not say.
    pub heartbeat_ms: i64,
    /// How many records the hub wants at once; 0 when it did not say.
    pub max_batch: usize,
}

/// How a reader is.
#[derive(Debug, Clone)]
pub struct ReaderStatus {
    /// Its id at the hub.
    pub id: Uuid,
    /// Its code.
    pub code: String,
    /// It answers.
    pub online: bool,
    /// Its light at rest.
    pub light: Colour,
    /// Its firmware.
    pub firmware: Option<String>,
    /// When a card was last held to it.
    pub last_swipe: Option<Instant>,
    /// How its serial line does.
    pub line: Option<LineQuality>,
}

/// A reader that the hub does not know.
#[derive(Debug, Clone)]
pub struct Unassigned {
    /// Its code in the configuration.
    pub code: String,
    /// How it talks.
    pub kind: ReaderKind,
    /// It answers.
    pub online: bool,
    /// Its serial number.
    pub serial: Option<u32>,
    /// Its firmware.
    pub firmware: Option<String>,
}
