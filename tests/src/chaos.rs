//! Attacks on the promise that green means recorded: what goes wrong in the field, done on purpose and by seed.
//!
//! Called by the binary `chaos`. Each suite runs so many cycles from one seed, checks what must hold, and names the
//! seed that repeats a failure. A suite that cannot run on this machine says so and is skipped.

use std::fmt;

pub mod batches;
pub mod clock;
pub mod disk;
pub mod full_disk;
pub mod history;
pub mod invariants;
pub mod kill;
pub mod mount;
pub mod network;
pub mod power;
pub mod process;
pub mod readers;
pub mod rot;
pub mod simulate;
pub mod site;

/// How a suite is run.
#[derive(Debug, Clone)]
pub struct Run {
    /// How many cycles, seeds or cases.
    pub cycles: u64,
    /// The first seed; each cycle has one of its own, counted on from here.
    pub seed: u64,
    /// A defect put in on purpose: the suite must then fail.
    pub control: Option<String>,
    /// The simulation has no MQTT readers, as when the first of the named seeds were found.
    pub serial_only: bool,
}

/// What a suite found.
#[derive(Debug)]
pub enum Outcome {
    /// Everything held; in a line, what was done and measured.
    Held(String),
    /// It cannot run here, and why.
    Skipped(String),
}

/// Something that must hold did not.
#[derive(Debug)]
pub struct Broken {
    /// The seed that repeats it.
    pub seed: u64,
    /// What did not hold.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)
    }
}

/// What came of a suite.
pub type Result = std::result::Result<Outcome, Broken>;
