//! Attacks on the promise that green means recorded: what goes wrong in the field, done on purpose and by seed.
//!
//! Called by the binary `chaos`. Each suite runs so many cycles from one seed, checks what must hold, and names the
//! seed that repeats a failure. A suite that cannot run on this machine says so and is skipped.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

pub mod batches;
pub mod clock;
pub mod decoders;
pub mod defect;
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
pub mod soak;
pub mod term;

/// How a suite is run.
#[derive(Debug, Clone)]
pub struct Run {
    /// How many cycles, seeds or cases.
    pub cycles: u64,
    /// The first seed; each cycle has one of its own, counted on from here.
    pub seed: u64,
    /// A defect put in on purpose: the suite must then fail.
    pub control: Option<String>,
}

impl Run {
    /// How long the last swipe is waited for; with a defect put in, nobody need wait for what is gone.
    #[must_use]
    pub fn patience(&self, usual: std::time::Duration) -> std::time::Duration {
        if self.control.is_some() { usual / 6 } else { usual }
    }
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

/// An attack, as the binary offers it.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// How many cycles it has unless told otherwise.
    pub cycles: u64,
    /// What shows a failure again.
    pub again: Again,
    /// The defects put in on purpose that it must see.
    pub controls: &'static [&'static str],
    /// Runs it.
    pub run: fn(&Run) -> Result,
}

/// What shows a failure again.
#[derive(Debug, Clone, Copy)]
pub enum Again {
    /// The cycle that failed, by its seed.
    OneCycle,
    /// So many cycles, which share what they attack, from the seed that failed.
    World(u64),
    /// The run as it was: what a cycle does depends on its place among them.
    WholeRun,
}

/// The seed that is under way.
static UNDER_WAY: AtomicU64 = AtomicU64::new(0);

/// Says which seed is under way, for what ends it without a word.
fn begin(seed: u64) {
    UNDER_WAY.store(seed, Ordering::Relaxed);
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("no words"))
}

impl Suite {
    /// Runs it. A panic of what is attacked breaks the promise as well, and names the seed that was under way.
    ///
    /// # Errors
    /// What did not hold.
    pub fn attack(&self, run: &Run) -> Result {
        begin(run.seed);
        catch_unwind(AssertUnwindSafe(|| (self.run)(run))).unwrap_or_else(|panic| {
            Err(Broken { seed: UNDER_WAY.load(Ordering::Relaxed), what: words(&*panic) })
        })
    }

    /// The command that shows a failure again.
    #[must_use]
    pub fn again(&self, run: &Run, broken: &Broken) -> String {
        let (cycles, seed) = match self.again {
            Again::OneCycle => (1, broken.seed),
            Again::World(cycles) => (cycles.min(run.cycles), broken.seed),
            Again::WholeRun => (run.cycles, run.seed),
        };
        let control =
            run.control.as_ref().map_or_else(String::new, |control| format!(" --control {control}"));
        format!("chaos {} --cycles {cycles} --seed {seed}{control}", self.name)
    }
}

/// All attacks.
pub const SUITES: [Suite; 13] = [
    Suite {
        name: "simulate",
        about: "Gateways, hub, network and disks in virtual time.",
        cycles: 500,
        again: Again::OneCycle,
        controls: &simulate::CONTROLS,
        run: simulate::run,
    },
    Suite {
        name: "rot",
        about: "Damaged journals and caches.",
        cycles: 200,
        again: Again::OneCycle,
        controls: &rot::CONTROLS,
        run: rot::run,
    },
    Suite {
        name: "batches",
        about: "Batches sent twice, in another order, in other pieces.",
        cycles: 10_000,
        again: Again::World(batches::CASES_ON_HUB),
        controls: &batches::CONTROLS,
        run: batches::run,
    },
    Suite {
        name: "decoders",
        about: "What readers say, bent, fed to every decoder of it, the OSDP panel and the MQTT guard.",
        cycles: 60_000,
        again: Again::OneCycle,
        controls: &[],
        run: decoders::run,
    },
    Suite {
        name: "disk",
        about: "A full disk, and an error at each write and sync in turn.",
        cycles: 1,
        again: Again::OneCycle,
        controls: &[],
        run: disk::run,
    },
    Suite {
        name: "kill-gateway",
        about: "The gateway killed (SIGKILL) at random moments under load.",
        cycles: 50,
        again: Again::WholeRun,
        controls: &["ack-before-append"],
        run: kill::gateway,
    },
    Suite {
        name: "kill-hub",
        about: "The hub killed at random moments, also right after a commit, while the gateway hands over.",
        cycles: 20,
        again: Again::WholeRun,
        controls: &[],
        run: kill::hub,
    },
    Suite {
        name: "power-cut",
        about: "The power cut under load: data on a loop device that loses what was not synced. Needs root.",
        cycles: 20,
        again: Again::WholeRun,
        controls: &power::CONTROLS,
        run: power::run,
    },
    Suite {
        name: "network",
        about: "The network between gateway and hub broken in every way. Needs root.",
        cycles: 20,
        again: Again::WholeRun,
        controls: &["no-dedup"],
        run: network::run,
    },
    Suite {
        name: "term",
        about: "The hub away for a term, in virtual time; a cycle is a day of teaching.",
        cycles: 60,
        again: Again::WholeRun,
        controls: &[],
        run: term::run,
    },
    Suite {
        name: "soak",
        about: "Cards, faults and changes of the timetable round the clock, in virtual time: nothing grows. A cycle is an hour.",
        cycles: 48,
        again: Again::WholeRun,
        controls: &soak::CONTROLS,
        run: soak::run,
    },
    Suite {
        name: "clock",
        about: "The gateway's wall clock set to anywhere, with and without hub, and starts without time.",
        cycles: 100,
        again: Again::WholeRun,
        controls: &clock::CONTROLS,
        run: clock::run,
    },
    Suite {
        name: "full-disk",
        about: "The gateway's disk filled up by somebody else, and room again. Needs root.",
        cycles: 1,
        again: Again::OneCycle,
        controls: &[],
        run: full_disk::run,
    },
];

/// What came of a suite.
pub type Result = std::result::Result<Outcome, Broken>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_the_seed_that_was_under_way() {
        fn run(run: &Run) -> Result {
            begin(run.seed + 2);
            panic!("index out of bounds")
        }
        let suite = Suite { run, ..SUITES[0] };
        let run = Run { cycles: 9, seed: 40, control: None };
        let broken = suite.attack(&run).err();
        let told = broken.map(|broken| (broken.to_string(), suite.again(&run, &broken)));
        let wanted = ("it panicked: index out of bounds", "chaos simulate --cycles 1 --seed 42");
        assert_eq!(told, Some((wanted.0.to_owned(), wanted.1.to_owned())));
    }
}
