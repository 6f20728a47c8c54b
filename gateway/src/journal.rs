//! The journal: every swipe on disk before its light is shown.
//!
//! `format` is pure and describes the bytes; `disk` is the seam to the file system; `log` appends, syncs and
//! reads back; `writer` gathers appends into groups so that one `fdatasync` serves many. An error of the disk
//! is fatal to the journal: nothing is retried as if nothing had happened.

pub mod disk;
pub mod format;
pub mod log;
pub mod record;
pub mod writer;
