//! Rollcall's gateway: door readers in, lights out, swipes on disk and on to the hub.
//!
//! `core` decides and touches nothing; `osdp`, `ascii` and `mqtt` talk to readers, `journal` makes swipes durable,
//! `timetable` keeps the cache, `uplink` talks to the hub, `page` shows how it is; `app` wires them. The gateway never imports the
//! hub: they meet in `schema.graphql`.

pub mod app;
pub mod ascii;
mod aside;
pub mod check;
pub mod clock;
pub mod config;
pub mod core;
mod give;
pub mod journal;
pub mod keys;
pub mod mqtt;
pub mod osdp;
pub mod page;
mod private;
pub mod random;
pub mod scan;
mod serial;
pub mod setup;
mod stop;
pub mod support;
pub mod timetable;
pub mod uplink;
pub mod walk;
pub mod watchdog;
