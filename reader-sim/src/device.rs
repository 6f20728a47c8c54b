//! What all simulated readers have in common: cards go in, lights come out.
//!
//! The driver in `campus` owns the receiving end of the channel; `osdp`, `ascii` and `mqtt` hold the devices.

use crate::plan::{Colour, Credential};

pub mod ascii;
pub mod fault;
pub mod mqtt;
pub mod osdp;

/// What a reader's light did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The steady light at rest is now this colour.
    Base(Colour),
    /// A flash of this colour began; it ends by itself and falls back to the light at rest.
    Flash(Colour),
}

/// Something that happened at a reader, in the order it happened there.
#[derive(Debug, Clone)]
pub enum DeviceEvent {
    /// The reader's link to its gateway is up (OSDP: polled; MQTT: connected and subscribed).
    Online {
        /// The reader's code.
        reader: String,
    },
    /// The light did something.
    Light {
        /// The reader's code.
        reader: String,
        /// What it did.
        shown: Shown,
        /// MQTT only: the sequence number of the swipe that a flash answers.
        answers: Option<u64>,
    },
    /// The buzzer sounded.
    Buzzer {
        /// The reader's code.
        reader: String,
    },
    /// OSDP only: it was given a key of its own.
    Keyed {
        /// The reader's code.
        reader: String,
    },
    /// MQTT only: the gateway acknowledged the swipe of this sequence number.
    Acknowledged {
        /// The reader's code.
        reader: String,
        /// The swipe's sequence number in this boot of the reader.
        seq: u64,
        /// `recorded`, `not_recorded` or `kept`.
        result: String,
    },
}

/// Where devices report to. Unbounded, because a device must never wait for its observer; a run is finite.
pub type Events = tokio::sync::mpsc::UnboundedSender<DeviceEvent>;

/// A card to hold to a reader.
#[derive(Debug, Clone)]
pub struct Present {
    /// What the reader sees.
    pub credential: Credential,
}
