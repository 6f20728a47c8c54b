//! What the whole-system tests share: a hub in this process with a clock of its own, and a gateway to feed it.

pub mod hub;
pub mod timetable;
