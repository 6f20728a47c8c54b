//! The trace of a run: one JSON line for each swipe, light change, outage and timetable change, in the order of virtual
//! time.
//!
//! What a swipe was stamped with is known only at the hub, so lines are kept until the hub was asked and written
//! at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::plan::Millis;

/// Where the trace goes; nowhere when none was asked for.
pub struct Trace {
    file: Option<BufWriter<File>>,
    lines: Vec<(Millis, Value)>,
    swipes: BTreeMap<(String, Millis), usize>,
}

impl Trace {
    /// Makes the file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let open =
            |path: &Path| File::create(path).with_context(|| format!("{} cannot be made", path.display()));
        let file = path.map(open).transpose()?.map(BufWriter::new);
        Ok(Self { file, lines: Vec::new(), swipes: BTreeMap::new() })
    }

    /// Whether anybody wants to know.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.file.is_some()
    }

    /// Adds a line.
    pub fn line(&mut self, at: Millis, value: Value) {
        if self.wanted() {
            self.lines.push((at, value));
        }
    }

    /// Adds a swipe's line; [`Trace::stamped`] completes it.
    pub fn swipe(&mut self, reader: &str, at: Millis, value: Value) {
        self.swipes.insert((reader.to_owned(), at), self.lines.len());
        self.line(at, value);
    }

    /// Adds what the hub says of a swipe.
    pub fn stamped(&mut self, reader: &str, at: Millis, stamped: Value) {
        let place = self.swipes.get(&(reader.to_owned(), at));
        if let (Some((_, line)), Value::Object(more)) =
            (place.and_then(|index| self.lines.get_mut(*index)), stamped)
            && let Some(line) = line.as_object_mut()
        {
            line.extend(more);
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.lines.sort_by_key(|(at, _)| *at);
        if let Some(file) = &mut self.file {
            for (_, line) in &self.lines {
                writeln!(file, "{line}")?;
            }
            file.flush()?;
        }
        self.lines.clear();
        Ok(())
    }
}

impl Drop for Trace {
    /// A run that was broken off leaves what it had seen.
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!("the trace is not whole: {error}");
        }
    }
}
