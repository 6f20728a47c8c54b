//! The university's attendance rules, as pure functions over plain values.
//!
//! Called by the gateway (which light, which verdict) and by the hub (which mark). Never reads a clock, a
//! file, a socket or a database; every instant is an argument. The rules stand in the design's section 2;
//! each function says which of them it is.

pub mod anchor;
pub mod card;
pub mod ids;
pub mod light;
pub mod outage;
pub mod policy;
pub mod register;
pub mod session;
pub mod time;
pub mod timetable;
pub mod verdict;
