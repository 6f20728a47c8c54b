//! The trace of a run: one JSON line for each swipe, light change and timetable change.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// Where the trace goes; nowhere when none was asked for.
pub struct Trace {
    file: Option<BufWriter<File>>,
}

impl Trace {
    /// Makes the file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let open =
            |path: &Path| File::create(path).with_context(|| format!("{} cannot be made", path.display()));
        Ok(Self { file: path.map(open).transpose()?.map(BufWriter::new) })
    }

    /// Whether anybody wants to know.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.file.is_some()
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn line(&mut self, value: &Value) -> anyhow::Result<()> {
        match &mut self.file {
            Some(file) => Ok(writeln!(file, "{value}")?),
            None => Ok(()),
        }
    }

    /// Makes sure that everything is in the file.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        match &mut self.file {
            Some(file) => Ok(file.flush()?),
            None => Ok(()),
        }
    }
}
