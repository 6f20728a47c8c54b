//! The way to the hub: GraphQL over HTTPS, out of the building only.
//!
//! `operations` are compiled against `schema.graphql`; `connect` opens connections; `client` asks; `feed` keeps
//! the timetable current; `sender` hands swipes over, in order, and says how the gateway is. All of them try
//! again for ever, with backoff and jitter; the door never waits for any of them.

pub mod backoff;
pub mod client;
pub mod connect;
pub mod feed;
pub mod operations;
pub mod sender;
