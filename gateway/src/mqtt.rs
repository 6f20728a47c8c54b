//! MQTT readers: the embedded broker, the gateway's own client on it, and what is said between them.
//!
//! `topic` and `payload` are pure. The broker listens on loopback alone; the gate that lets readers in from
//! outside, with TLS and each reader confined to its own topics, will stand in front of it.

pub mod broker;
pub mod client;
pub mod payload;
pub mod topic;
