//! The network between gateway and hub, broken in every way: loss, partitions of both and of one direction, answers
//! lost after the commit, connections cut or half open, a name that is gone.
//!
//! The hub lives in a network namespace of its own, where nftables does the harm; the machine's own network is never
//! touched. Needs root. Negative control: `no-dedup`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::history::History;
use super::invariants::{Excused, Figures, Violation, bounded, check, hub_bounded};
use super::kill::{Cycles, alive, block_on, cards_for};
use super::readers::{Pace, Readers, random_moment};
use super::site::{Layout, Site};
use super::{Outcome, Run};
use crate::programs::free_port;

mod namespace;
mod proxy;

use namespace::Namespace;
use proxy::NoDedup;

/// Once the network is whole again, everything is at the hub within this time: a connection that is half open is
/// given up after 20 s, and the gateway then waits a minute at the most before it tries again.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
/// How long readers may take to be answered: the network is none of theirs.
const HANDED_IN_WITHIN: Duration = Duration::from_secs(60);
/// The longest that one fault lasts.
const LONGEST_MS: u64 = 2_500;
/// So many cards are held to readers before the first fault: the gateway knows its timetable then.
const FIRST_CARDS: usize = 10;
/// The hub's name for the gateway.
const NAME: &str = "hub.rollcall.test";

/// What is wrong with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// So many in a hundred packets are lost, in both directions.
    Loss(u32),
    /// Nothing gets through.
    Partition,
    /// The hub hears nothing.
    HubDeaf,
    /// The hub hears, commits, and its answers are lost.
    HubMute,
    /// The gateway's connections are reset while the hub is at work.
    Reset,
    /// The connections that stand carry nothing any more, for ever, and nobody says so; new ones work.
    HalfOpen,
    /// The hub's name is not known, for new connections.
    NameGone,
}

impl Fault {
    fn any(random: &mut ChaCha8Rng) -> Self {
        match random.random_range(0..8) {
            0 | 1 => Self::Loss(random.random_range(20..=60)),
            2 => Self::Partition,
            3 => Self::HubDeaf,
            4 | 5 => Self::HubMute,
            6 => Self::Reset,
            _ => Self::NameGone,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Loss(_) => "loss",
            Self::Partition => "partition",
            Self::HubDeaf => "hub deaf",
            Self::HubMute => "hub mute",
            Self::Reset => "reset",
            Self::HalfOpen => "half open",
            Self::NameGone => "name gone",
        }
    }

    /// The rules for what comes to the hub, and for what it sends.
    fn rules(self, half_open: &str) -> (String, String) {
        let (coming, going) = match self {
            Self::Loss(share) => {
                let rule = format!("numgen random mod 100 < {share} drop");
                (rule.clone(), rule)
            }
            Self::Partition => ("drop".to_owned(), "drop".to_owned()),
            Self::HubDeaf => ("drop".to_owned(), String::new()),
            Self::HubMute => (String::new(), "drop".to_owned()),
            Self::Reset => ("meta l4proto tcp reject with tcp reset".to_owned(), String::new()),
            Self::HalfOpen | Self::NameGone => (String::new(), String::new()),
        };
        if half_open.is_empty() {
            return (coming, going);
        }
        let dead = |end: &str, rest: String| format!("tcp {end} {{ {half_open} }} drop\n{rest}");
        (dead("sport", coming), dead("dport", going))
    }
}

/// Breaks the network.
///
/// # Errors
/// When the promise is broken.
pub fn run(run: &Run) -> super::Result {
    block_on(run, attack(run))
}

async fn attack(run: &Run) -> super::Result {
    let space = match Namespace::new().await {
        Ok(space) => space,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let cards = cards_for(run.cycles * 4);
    let mut layout = Layout::new(cards);
    layout.hub = SocketAddr::from((space.hub(), 8080));
    layout.hub_url = format!("http://{NAME}:8080");
    layout.hub_wrap.before = space.inside();
    let mut site = Site::new(layout).await;
    // The control stands between the two and undoes what makes forwarding idempotent.
    let control = run.control.is_some().then(free_port);
    if let Some(port) = control {
        let proxy = NoDedup::start(port, site.layout.hub, run.seed).await;
        proxy.map_err(|what| super::Broken { seed: run.seed, what })?;
        site.layout.hub_url = format!("http://127.0.0.1:{port}");
    }
    let names = Names { file: site.path("hosts"), address: space.hub().to_string() };
    names
        .known(true)
        .and_then(|()| names.hide_behind(&mut site))
        .map_err(|what| super::Broken { seed: run.seed, what })?;
    let mut cycles = Cycles::default();
    match faults(run, &site, &space, &names, cards, &mut cycles).await {
        Ok(figures) => Ok(Outcome::Held(figures)),
        Err(violation) => Err(cycles.broken(run, &violation, site)),
    }
}

async fn faults(
    run: &Run,
    site: &Site,
    space: &Namespace,
    names: &Names,
    cards: u32,
    cycles: &mut Cycles,
) -> Result<String, Violation> {
    let plain = |what| Violation { at: None, what };
    let mut hub = site.hub().await;
    let history = History::default();
    let mut readers = Readers::new(history.clone(), run.seed, cards);
    site.configure(readers.bus());
    let mut signs = history.signs();
    let mut gateway = site.gateway();
    readers.start(site.broker_port, &Pace { pause_ms: 60, ..Pace::default() });
    while history.presented() < FIRST_CARDS {
        alive(&mut signs).await?;
    }
    let mut half_open = String::new();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for cycle in 1..=run.cycles {
        let mut random = cycles.begin(run);
        // It costs a minute, in which nothing else meets any traffic: once, and last.
        let fault = if cycle == run.cycles { Fault::HalfOpen } else { Fault::any(&mut random) };
        *counts.entry(fault.word()).or_default() += 1;
        if fault == Fault::HalfOpen {
            half_open = space.ports().await.map_err(plain)?.join(", ");
        }
        names.known(fault != Fault::NameGone).map_err(plain)?;
        let (coming, going) = fault.rules(&half_open);
        space.rules(&coming, &going).await.map_err(plain)?;
        if fault == Fault::NameGone {
            // Only a new connection asks for a name.
            space.rules("meta l4proto tcp reject with tcp reset", "").await.map_err(plain)?;
        }
        random_moment(&mut random, LONGEST_MS).await;
        // Half of them follow on one another.
        if random.random_bool(0.5) {
            names.known(true).map_err(plain)?;
            space.rules("", "").await.map_err(plain)?;
            random_moment(&mut random, LONGEST_MS / 2).await;
        }
    }
    names.known(true).map_err(plain)?;
    // Whole again, but the connections that died stay dead: whoever forgot them does not remember.
    let dead = |end: &str| {
        if half_open.is_empty() { String::new() } else { format!("tcp {end} {{ {half_open} }} drop") }
    };
    space.rules(&dead("sport"), &dead("dport")).await.map_err(plain)?;
    let checked = async {
        readers.stop(HANDED_IN_WITHIN).await;
        // Also with the defect put in, which loses nothing: what is late is not what it is to be seen by.
        let figures = check(site, &history, Excused::default(), DRAINED_WITHIN).await?;
        bounded(site, &gateway)?;
        hub_bounded(&hub)?;
        Ok(figures)
    };
    let figures: Result<Figures, Violation> = checked.await;
    gateway.kill().await;
    hub.kill().await;
    let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    figures.map(|figures| format!("{} faults ({}); {figures}", run.cycles, counts.join(", ")))
}

/// The gateway's own `/etc/hosts`, which the hub's name comes and goes in.
struct Names {
    file: std::path::PathBuf,
    address: String,
}

impl Names {
    fn known(&self, known: bool) -> Result<(), String> {
        let line = if known { format!("{} {NAME}\n", self.address) } else { String::new() };
        // Written over in place: the gateway sees this very file under another name.
        std::fs::write(&self.file, format!("127.0.0.1 localhost\n{line}")).map_err(|error| error.to_string())
    }

    /// Starts the gateway where the files of names are ours; no name server is asked.
    fn hide_behind(&self, site: &mut Site) -> Result<(), String> {
        let none = site.path("resolv.conf");
        std::fs::write(&none, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
            .map_err(|error| error.to_string())?;
        let bind = |from: &Path, to: &str| format!("mount --bind '{}' {to}", from.display());
        let script = format!(
            "{} && {} && exec \"$@\"",
            bind(&self.file, "/etc/hosts"),
            bind(&none, "/etc/resolv.conf")
        );
        site.layout.gateway_wrap.before =
            ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
        Ok(())
    }
}
