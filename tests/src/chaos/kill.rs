//! SIGKILL: the gateway, or the hub, at random moments while cards are held to readers.
//!
//! The machine stays up, so that what was written is read back whether it was synced or not; a cut of the power is
//! `power`'s. Negative control of `kill-gateway`: `ack-before-append`.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use super::defect;
use super::history::History;
use super::invariants::{Excused, Violation, bounded, check, hub_bounded};
use super::process::Process;
use super::readers::{Pace, Readers, random_moment};
use super::site::{Layout, Site};
use super::{Broken, Outcome, Run};

/// The last moment of a kill, after the readers are up again.
const LAST_MOMENT_MS: u64 = 800;
/// Once the faults have stopped, everything is at the hub within this time.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
/// How long a start may take on a machine that is busy with other things.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How many cards are needed in a cycle at the most, roughly.
const CARDS_PER_CYCLE: u64 = 150;

/// Runs a suite to its end, on a runtime of its own.
///
/// # Errors
/// What the suite says.
pub fn block_on<F: Future<Output = super::Result>>(run: &Run, suite: F) -> super::Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(suite),
        Err(error) => Err(Broken { seed: run.seed, what: format!("no runtime: {error}") }),
    }
}

/// Enough cards for so many cycles.
#[must_use]
pub fn cards_for(cycles: u64) -> u32 {
    u32::try_from((cycles * CARDS_PER_CYCLE).clamp(1_000, 40_000)).unwrap_or(40_000)
}

/// The cycles of a run: when each began, and its seed.
#[derive(Debug, Default)]
pub struct Cycles {
    begun: Vec<(Timestamp, u64)>,
}

impl Cycles {
    /// The next cycle begins; gives its randomness.
    pub fn begin(&mut self, run: &Run) -> ChaCha8Rng {
        let seed = run.seed.wrapping_add(self.begun.len() as u64);
        self.begun.push((Timestamp::now(), seed));
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// Says of a violation in which cycle it was caused, and keeps the site's files.
    #[must_use]
    pub fn broken(&self, run: &Run, violation: &Violation, site: Site) -> Broken {
        let cycle = violation.at.and_then(|at| self.begun.iter().rev().find(|(begun, _)| *begun <= at));
        let kept = site.keep();
        let what = format!("{}; files kept in {}", violation.what, kept.display());
        Broken { seed: cycle.map_or(run.seed, |(_, seed)| *seed), what }
    }
}

/// Waits for the next sign of life of a reader.
///
/// # Errors
/// When none comes.
pub async fn alive(signs: &mut watch::Receiver<u64>) -> Result<(), Violation> {
    match timeout(UP_WITHIN, signs.changed()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Violation { at: None, what: format!("no reader was answered for {UP_WITHIN:?}") }),
    }
}

/// The gateway learns timetable and time once, and ends in peace. Until its first timetable is on the disk a start
/// knows no reader, and shows red.
///
/// # Errors
/// When nobody is answered.
pub async fn learn(site: &Site, history: &History) -> Result<(), Violation> {
    let mut signs = history.signs();
    let mut gateway = site.gateway();
    alive(&mut signs).await?;
    while history.presented() == 0 {
        alive(&mut signs).await?;
    }
    gateway.interrupt().await;
    Ok(())
}

/// Kills the gateway.
///
/// # Errors
/// When the promise is broken.
pub fn gateway(run: &Run) -> super::Result {
    block_on(run, kill_gateway(run))
}

async fn kill_gateway(run: &Run) -> super::Result {
    let cards = cards_for(run.cycles * 2);
    let mut layout = Layout::new(cards);
    let tools = tempfile::tempdir().map_err(|error| Broken { seed: run.seed, what: error.to_string() })?;
    if let Some(control) = &run.control {
        match defect::environment(control, tools.path()).await {
            Ok(variables) => layout.gateway_wrap.environment = variables,
            Err(why) => return Ok(Outcome::Skipped(why)),
        }
    }
    let site = Site::new(layout).await;
    let mut hub = site.hub().await;
    let history = History::default();
    let mut readers = Readers::new(history.clone(), run.seed, cards);
    site.configure(readers.bus());
    readers.start(site.broker_port, &Pace { pause_ms: 15, at_once: 1 });
    let mut cycles = Cycles::default();
    let found = async {
        learn(&site, &history).await?;
        for _ in 0..run.cycles {
            let mut random = cycles.begin(run);
            let mut signs = history.signs();
            let mut gateway = site.gateway();
            alive(&mut signs).await?;
            random_moment(&mut random, LAST_MOMENT_MS).await;
            let runs = gateway.runs();
            gateway.kill().await;
            if !runs {
                return Err(Violation { at: None, what: "the gateway ended by itself".to_owned() });
            }
        }
        let mut signs = history.signs();
        let gateway = site.gateway();
        alive(&mut signs).await?;
        readers.stop(UP_WITHIN).await;
        let figures =
            check(&site, &history, Excused { amber: true, red: false }, run.patience(DRAINED_WITHIN)).await?;
        bounded(&site, &gateway)?;
        hub_bounded(&hub)?;
        if u64::try_from(figures.green).unwrap_or(0) < run.cycles {
            let what = format!("nothing was at stake: {figures} in {} kills", run.cycles);
            return Err(Violation { at: None, what });
        }
        Ok((gateway, figures))
    };
    let found = found.await;
    hub.kill().await;
    match found {
        Ok((_, figures)) => Ok(Outcome::Held(format!("{} kills of the gateway; {figures}", run.cycles))),
        Err(violation) => Err(cycles.broken(run, &violation, site)),
    }
}

/// Kills the hub.
///
/// # Errors
/// When the promise is broken.
pub fn hub(run: &Run) -> super::Result {
    block_on(run, kill_hub(run))
}

async fn kill_hub(run: &Run) -> super::Result {
    let cards = cards_for(run.cycles * 4);
    let site = Site::new(Layout::new(cards)).await;
    let mut hub = site.hub().await;
    let history = History::default();
    let mut readers = Readers::new(history.clone(), run.seed, cards);
    site.configure(readers.bus());
    let mut signs = history.signs();
    let mut gateway = site.gateway();
    readers.start(site.broker_port, &Pace { pause_ms: 60, ..Pace::default() });
    let mut cycles = Cycles::default();
    let found = async {
        alive(&mut signs).await?;
        for cycle in 0..run.cycles {
            let mut random = cycles.begin(run);
            if cycle > 0 {
                hub = site.hub().await;
            }
            handed_over(&site.hub_wal()).await?;
            // Half of them right after a commit, before or while the answer is on its way.
            if random.random_bool(0.5) {
                random_moment(&mut random, LAST_MOMENT_MS).await;
                handed_over(&site.hub_wal()).await?;
            } else {
                random_moment(&mut random, LAST_MOMENT_MS).await;
            }
            kill(&mut hub).await?;
        }
        hub = site.hub().await;
        readers.stop(UP_WITHIN).await;
        let figures = check(&site, &history, Excused::default(), DRAINED_WITHIN).await?;
        bounded(&site, &gateway)?;
        hub_bounded(&hub)?;
        Ok(figures)
    };
    let found = found.await;
    gateway.kill().await;
    match found {
        Ok(figures) => Ok(Outcome::Held(format!("{} kills of the hub; {figures}", run.cycles))),
        Err(violation) => Err(cycles.broken(run, &violation, site)),
    }
}

async fn kill(hub: &mut Process) -> Result<(), Violation> {
    let runs = hub.runs();
    hub.kill().await;
    let what = "the hub ended by itself".to_owned();
    if runs { Ok(()) } else { Err(Violation { at: None, what }) }
}

/// Waits until the hub has committed something more.
async fn handed_over(wal: &Path) -> Result<(), Violation> {
    let stamp = || std::fs::metadata(wal).ok().and_then(|it| Some((it.len(), it.modified().ok()?)));
    let before = stamp();
    let mut looks = interval(Duration::from_millis(1));
    let committed = async {
        while stamp() == before {
            looks.tick().await;
        }
    };
    let what = format!("the gateway handed nothing over for {UP_WITHIN:?}");
    timeout(UP_WITHIN, committed).await.map_err(|_| Violation { at: None, what })
}
