//! What the whole-system tests share: a hub in this process with a clock of its own, a gateway to feed it, and
//! the built programs, run as people run them.

pub mod chaos;
pub mod hub;
pub mod import;
pub mod osdp_line;
pub mod programs;
pub mod timetable;
