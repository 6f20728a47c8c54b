//! Serial readers that just print card numbers: RDM6300, ID-12, Elatec TWN4, and others by a template.
//!
//! `form` and `twn4` are pure: bytes and instants in, cards out. `line` alone owns a serial port.

pub mod form;
pub mod line;
pub mod twn4;
