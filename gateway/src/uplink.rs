//! The way to the hub: GraphQL over HTTPS, out of the building only.
//!
//! `operations` are compiled against `schema.graphql`; `connect` opens connections; `client` asks; `feed` keeps
//! the timetable current; `sender` hands the journal over, in order, and says how the gateway is: `place` knows how
//! far it is, `message` puts records into the hub's words, `sign` holds the gateway's key. All of them try again
//! for ever, with backoff and jitter; the door never waits for any of them.

pub mod acknowledged;
pub mod backoff;
pub mod client;
pub mod connect;
pub mod feed;
pub mod handover;
mod message;
pub mod operations;
pub mod place;
pub mod sender;
pub mod sign;
mod trust;
