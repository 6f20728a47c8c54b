//! The power is cut: the gateway's data lies on a file system of its own, which loses everything that was not synced.
//!
//! Half of the cycles on ext4, half on xfs, where both can be made. Only what was seen before the cut began counts:
//! a file system on its way down may still answer. Negative controls: `ack-before-fsync`, `eatmydata`, `sled-flush`.

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;

use super::defect;
use super::history::History;
use super::invariants::{Excused, Figures, Violation, bounded, check, hub_bounded};
use super::kill::{Cycles, alive, block_on, cards_for, learn};
use super::mount::Mount;
use super::readers::{Pace, Readers, random_moment};
use super::site::{Layout, Site};
use super::{Outcome, Run};

/// The last moment of a cut, after the readers are up again.
const LAST_MOMENT_MS: u64 = 800;
/// Once the faults have stopped, everything is at the hub within this time.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
/// So many cards are held to readers in each cycle before its random moment begins.
const AT_STAKE: usize = 8;
/// How long readers may take to hand in what they kept.
const HANDED_IN_WITHIN: Duration = Duration::from_secs(60);
/// The defects that this suite can see.
pub const CONTROLS: [&str; 3] = ["ack-before-fsync", "eatmydata", "sled-flush"];

/// Cuts the power.
///
/// # Errors
/// When the promise is broken.
pub fn run(run: &Run) -> super::Result {
    block_on(run, both(run))
}

async fn both(run: &Run) -> super::Result {
    let mut said = Vec::new();
    let first = run.cycles.div_ceil(2);
    let mut seed = run.seed;
    for (kind, cycles) in [("ext4", first), ("xfs", run.cycles - first)] {
        let part = Run { cycles, seed, control: run.control.clone() };
        seed = seed.wrapping_add(cycles);
        if cycles == 0 {
            continue;
        }
        match on(kind, &part).await? {
            Outcome::Held(figures) => said.push(figures),
            Outcome::Skipped(why) => said.push(format!("{kind} skipped: {why}")),
        }
    }
    let skipped = said.iter().all(|words| words.contains("skipped: "));
    let words = said.join("\n  ");
    Ok(if skipped { Outcome::Skipped(words) } else { Outcome::Held(words) })
}

async fn on(kind: &str, run: &Run) -> super::Result {
    let cards = cards_for(run.cycles * 2);
    let mut layout = Layout::new(cards);
    let tools =
        tempfile::tempdir().map_err(|error| super::Broken { seed: run.seed, what: error.to_string() })?;
    if let Some(control) = &run.control {
        match defect::environment(control, tools.path()).await {
            Ok(variables) => layout.gateway_wrap.environment = variables,
            Err(why) => return Ok(Outcome::Skipped(why)),
        }
    }
    let mut site = Site::new(layout).await;
    let disk = match Mount::image(kind, &site.path("")).await {
        Ok(disk) => disk,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    site.layout.data = Some(disk.at().join("data"));
    let history = History::default();
    let mut readers = Readers::new(history.clone(), run.seed, cards);
    site.configure(readers.bus());
    readers.start(site.broker_port, &Pace { pause_ms: 60, ..Pace::default() });
    let mut cycles = Cycles::default();
    let found = attack(run, &site, &disk, &history, readers, &mut cycles).await;
    drop(disk);
    match found {
        Ok(figures) => Ok(Outcome::Held(format!("{} power cuts on {kind}; {figures}", run.cycles))),
        Err(violation) => Err(cycles.broken(run, &violation, site)),
    }
}

async fn attack(
    run: &Run,
    site: &Site,
    disk: &Mount,
    history: &History,
    mut readers: Readers,
    cycles: &mut Cycles,
) -> Result<Figures, Violation> {
    let mut hub = Some(site.hub().await);
    learn(site, history).await?;
    for _ in 0..run.cycles {
        let mut random = cycles.begin(run);
        // Mostly alone: what is at the hub already no cut can take.
        let with_hub = random.random_ratio(1, 4);
        if let (Some(hub), false) = (&mut hub, with_hub) {
            hub.kill().await;
        }
        if !with_hub {
            hub = None;
        } else if hub.is_none() {
            hub = Some(site.hub().await);
        }
        let mut signs = history.signs();
        let mut gateway = site.gateway();
        // Something is at stake in each cycle.
        let before = history.presented();
        while history.presented() < before + AT_STAKE {
            alive(&mut signs).await?;
        }
        random_moment(&mut random, LAST_MOMENT_MS).await;
        let began = Timestamp::now();
        let cut = disk.cut().await;
        gateway.kill().await;
        let again = disk.again().await;
        // Reds of a disk that fails, and whatever else was still on its way to the readers.
        history.cut_since(began);
        cut.and(again).map_err(|what| Violation { at: None, what })?;
    }
    if hub.is_none() {
        hub = Some(site.hub().await);
    }
    let mut signs = history.signs();
    let mut gateway = site.gateway();
    alive(&mut signs).await?;
    readers.stop(HANDED_IN_WITHIN).await;
    let excused = Excused { amber: true, red: false };
    let figures = check(site, history, excused, run.patience(DRAINED_WITHIN)).await;
    let kept_small = bounded(site, &gateway).and_then(|()| hub.iter().try_for_each(hub_bounded));
    gateway.kill().await;
    drop(hub);
    kept_small.and(figures)
}
