//! Simulated readers, cards and students: a whole campus in one process, or one reader in a terminal.
//!
//! `plan` says what a run needs to know; `generate`, `itc2019` and `scenario` make plans, `crowd` the students'
//! behaviour; `expected` is the oracle, which knows neither the rules' code nor the gateway's; `device` holds
//! the readers, with libosdp's peripheral device behind the serial ones; `campus` plays a plan against the real
//! hub and gateways and compares; `load` holds many cards to many readers and measures.

pub mod campus;
pub mod crowd;
pub mod device;
pub mod expected;
pub mod generate;
pub mod itc2019;
pub mod load;
pub mod plan;
pub mod ports;
pub mod postgres;
pub mod reader;
pub mod scenario;
