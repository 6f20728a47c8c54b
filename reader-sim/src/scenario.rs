//! Scenario files: a small campus written by hand, with cards at exact instants.
//!
//! Called by the `campus` driver and by tests. [`EXAMPLE`] shows everything that may be written. It never
//! adds anything by chance, and never says what must come of the plan (that is for `expected`).

mod build;
#[cfg(test)]
mod tests;
mod written;

use std::path::Path;

use crate::plan::Plan;

/// A documented example of a scenario file.
pub const EXAMPLE: &str = r#"# One day on a campus of two buildings.
# Times are local, on `day`, down to the millisecond; play runs from midnight to midnight. Windows open
# 30 minutes before a session's start.
zone = "Europe/London"
day = "2027-03-01"

[[rooms]]
code = "A-101"
building = "A"       # buildings come to be by being named

[[rooms]]
code = "B-201"
building = "B"

[[readers]]
code = "A-101-D1"
room = "A-101"
kind = "osdp"        # or "mqtt"

[[readers]]
code = "B-201-D1"
room = "B-201"
kind = "mqtt"

[[students]]
number = "S1001"
cards = [
    { format = "H10301", facility = 42, number = 12345 },
    { uid = "04A2B3C4D5E6F7", old = true },       # a card that has ended
]

[[students]]
number = "S1002"
cards = [{ format = "H10306", facility = 3000, number = 77 }]     # H10304 too; H10302 has a number only

[[students]]
number = "S1003"
cards = [{ uid = "1C2D3E4F" }]                # whatever else: { bits = 37, raw = "8123456788" }

[[sessions]]
id = "BIO101-L1-0301"
start = "09:00"
end = "10:00"
rooms = ["A-101"]
students = ["S1001", "S1002"]    # its class list; without `students` it has none, with [] nobody is on it

[[sessions]]
id = "BIO101-P1-0301"
start = "11:00"
end = "12:00"
rooms = ["A-101"]
students = ["S1003"]
cancelled = true

[[changes]]          # each has `at` and one thing that is done
at = "09:20:00.500"
join = { session = "BIO101-L1-0301", student = "S1003" }

[[changes]]
at = "10:40:00.500"
reinstate = "BIO101-P1-0301"     # or: cancel = "..."

[[changes]]
at = "10:50:00.500"
move = { session = "BIO101-P1-0301", rooms = ["A-101", "B-201"] }

[[changes]]
at = "10:55:00.500"
reschedule = { session = "BIO101-P1-0301", start = "11:10", end = "12:10" }

[[changes]]
at = "11:00:00.500"
reissue = { student = "S1003", card = { uid = "04010203040506" } }

[[faults]]           # what goes wrong at a reader or its line; nothing that is shown or counted may change by it
at = "08:25:00"
until = "10:30:00"
reader = "A-101-D1"
what = "noise"       # or: loss, busy, slow, duplicate (another reader answers at its address)

[[faults]]
at = "09:30:00"
reader = "A-101-D1"
what = "reboot"

[[faults]]           # off its line and its power, for nine minutes at the most; no card is held to it, and its light does not change
at = "09:32:00"
until = "09:38:00"
reader = "A-101-D1"
what = "unplug"

[[faults]]           # an MQTT reader's clock goes an hour ahead
at = "09:12:00"
reader = "B-201-D1"
what = "clock"

[[swipes]]           # green: the first instant of the window
at = "08:30:00.000"
reader = "A-101-D1"
card = "S1001"       # the card that the student has at that instant

[[swipes]]           # red: one millisecond too early
at = "08:29:59.999"
reader = "A-101-D1"
card = "S1002"

[[swipes]]           # green: the last instant of the window
at = "10:00:00.000"
reader = "A-101-D1"
card = "S1002"

[[swipes]]           # red: one millisecond too late
at = "10:00:00.001"
reader = "A-101-D1"
card = "S1001"

[[swipes]]           # red: a card that has ended
at = "09:05:00"
reader = "A-101-D1"
card = "S1001"
old = true

[[swipes]]           # red at the door, counts in the end: S1003 joins at 09:20
at = "09:10:00"
reader = "A-101-D1"
card = "S1003"

[[swipes]]           # red: a card that nobody has
at = "09:15:00"
reader = "B-201-D1"
card = { format = "H10301", facility = 1, number = 1 }

[[swipes]]           # red: a UID that a phone makes up
at = "09:15:00"
reader = "A-101-D1"
card = { uid = "08A1B2C3" }

[[swipes]]           # green, in the second room, with the new card
at = "11:05:00"
reader = "B-201-D1"
card = "S1003"
"#;

/// Why a scenario cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML, or has keys that mean nothing or lacks some.
    #[error("{file}: {source}")]
    Syntax {
        /// The file.
        file: String,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// The file says something impossible.
    #[error("{file}: {key}: {what}")]
    Wrong {
        /// The file.
        file: String,
        /// Where: for instance `swipes[2].reader`, counted from 0.
        key: String,
        /// What is wrong.
        what: String,
    },
}

/// Loads a scenario file.
///
/// # Errors
///
/// Says which file, and which line or key, is wrong.
pub fn load(path: &Path) -> Result<Plan, ScenarioError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text),
        Err(source) => Err(ScenarioError::Read { file, source }),
    }
}

/// Reads a scenario from text; `file` is what errors call it.
///
/// # Errors
///
/// Says which line or key is wrong.
pub fn parse(file: &str, text: &str) -> Result<Plan, ScenarioError> {
    let written: written::Scenario = toml::from_str(text)
        .map_err(|source| ScenarioError::Syntax { file: file.to_owned(), source: Box::new(source) })?;
    build::build(&written).map_err(|(key, what)| ScenarioError::Wrong { file: file.to_owned(), key, what })
}
