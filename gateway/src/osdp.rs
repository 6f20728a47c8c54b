//! OSDP: the control panel's side of SIA OSDP v2.2 (IEC 60839-11-5).
//!
//! `frame`, `secure_channel`, `command`, `reply` and `panel` are pure: bytes and instants in, bytes and events out.
//! `bus` alone owns a serial port.

pub mod bus;
pub mod capture;
pub mod command;
pub mod frame;
pub mod panel;
pub mod reply;
pub mod secure_channel;
