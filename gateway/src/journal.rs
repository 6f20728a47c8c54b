//! The journal: every swipe on disk before its light is shown.
//!
//! `format` and `scan` are pure: the bytes, and what can be read of them; `disk` is the seam to the file system; `log` appends, syncs and
//! reads back; `writer` gathers appends into groups so that one `fdatasync` serves many. An error of the disk
//! is fatal to the journal: nothing is retried as if nothing had happened.

pub mod disk;
pub mod format;
pub mod log;
pub mod lost;
pub mod record;
pub mod scan;
pub mod tool;
pub mod writer;
