//! MQTT readers: the embedded broker, the gateway's own client on it, and what is said between them.
//!
//! `topic`, `payload` and the gate's `guard` are pure. The broker listens on loopback alone; the gate in front of it lets
//! readers in from outside, by TLS, each confined to its own topics.

pub mod broker;
pub mod certificate;
pub mod client;
pub mod front;
pub mod gate;
pub mod known;
pub mod passwords;
pub mod payload;
pub mod topic;
