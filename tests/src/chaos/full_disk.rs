//! A full disk: the gateway's data on a small file system in memory, which somebody else fills up.
//!
//! What was taken stays, what cannot be taken is red, the gateway starts with not a byte left, and records again as
//! soon as there is room. Needs root for the mount. An error at each write in turn is the suite `disk`'s.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reader_sim::plan::Colour;
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use super::history::{History, Presentation};
use super::invariants::{Excused, Violation, bounded, check, hub_bounded};
use super::kill::{Cycles, block_on};
use super::mount::Mount;
use super::process::Process;
use super::readers::{Pace, Readers};
use super::site::{Layout, Site, is_listed};
use super::{Outcome, Run};

/// How large the file system is: room for the cache, two segments of the journal and little more.
const DISK_KIB: u64 = 32 * 1024;
/// Enough cards to fill two segments, and to see what comes then.
const CARDS: u32 = 24_000;
/// How many cards are held to an MQTT reader at once.
const AT_ONCE: u32 = 50;
/// How long anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);
/// The gateway's clock and this process' are so far apart at the most: it takes the time from the hub, over a busy machine.
/// Far less than it takes to start a gateway, whose silence must be known.
const CLOCKS: SignedDuration = SignedDuration::from_millis(250);
/// Once the faults have stopped, everything is at the hub within this time.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);

/// Fills the disk.
///
/// # Errors
/// When the promise is broken.
pub fn run(run: &Run) -> super::Result {
    block_on(run, cycles(run))
}

async fn cycles(run: &Run) -> super::Result {
    let mut said = Vec::new();
    for cycle in 0..run.cycles {
        let part = Run { cycles: 1, seed: run.seed.wrapping_add(cycle), control: None };
        match fill(&part).await? {
            Outcome::Held(figures) => said.push(figures),
            skipped @ Outcome::Skipped(_) => return Ok(skipped),
        }
    }
    Ok(Outcome::Held(said.join("\n  ")))
}

async fn fill(run: &Run) -> super::Result {
    let mut site = Site::new(Layout::new(CARDS)).await;
    let disk = match Mount::memory(&site.path(""), DISK_KIB).await {
        Ok(disk) => disk,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    site.layout.data = Some(disk.at().join("data"));
    let history = History::default();
    let mut readers = Readers::new(history.clone(), run.seed, CARDS);
    site.configure(readers.bus());
    readers.start(site.broker_port, &Pace { pause_ms: 5, at_once: AT_ONCE });
    let mut cycles = Cycles::default();
    cycles.begin(run);
    let found = attack(&site, disk.at(), &history, readers).await;
    drop(disk);
    match found {
        Ok(figures) => Ok(Outcome::Held(figures)),
        Err(violation) => Err(cycles.broken(run, &violation, site)),
    }
}

async fn attack(
    site: &Site,
    disk: &Path,
    history: &History,
    mut readers: Readers,
) -> Result<String, Violation> {
    let mut hub = site.hub().await;
    let mut gateway = site.gateway();
    wait("no green was seen", || history.answers(Colour::Green) > 0).await?;
    // Alone: nothing is handed over, and all that was green is on this disk.
    hub.kill().await;
    let filler = disk.join("somebody-elses");
    fill_up(&filler)?;
    let before = history.answers(Colour::Green);
    wait("no green on a full disk with room in the journal", || history.answers(Colour::Green) > before)
        .await?;
    let full = || !site.gateway_said("the journal is full").is_empty();
    wait("the journal was not full", full).await?;
    let (taken, red) = (history.answers(Colour::Green), refused(history).len());
    wait("no red on a full disk", || refused(history).len() > red + 2).await?;
    let runs = gateway.runs();
    gateway.kill().await;
    let (mut gateway, _) = start(site).await?;
    let red = refused(history).len();
    wait("no red after a start on a full disk", || refused(history).len() > red + 2).await?;
    if !runs || !gateway.runs() {
        return Err(Violation { at: None, what: "the gateway ended on a full disk".to_owned() });
    }
    let mut hub = site.hub().await;
    std::fs::remove_file(&filler).map_err(|error| broken(&error))?;
    let before = history.answers(Colour::Green);
    wait("no green after there was room again", || history.answers(Colour::Green) > before + 20).await?;
    readers.stop(PATIENCE).await;
    let figures = check(site, history, Excused { red: true, amber: false }, DRAINED_WITHIN).await?;
    bounded(site, &gateway)?;
    hub_bounded(&hub)?;
    refusals_are_known(site, history).await?;
    gateway.interrupt().await;
    // It knows the timetable again, and must still know it after a start with no room and no hub.
    let taken_over = site.gateway_said("snapshot taken").len();
    let (mut gateway, known) = start(site).await?;
    // Where it has no copy it fetches one.
    let fetched =
        || !known.starts_with("sessions=0") || site.gateway_said("snapshot taken").len() > taken_over;
    wait("the timetable was not fetched again", fetched).await?;
    gateway.interrupt().await;
    hub.kill().await;
    let (mut gateway, known) = start(site).await?;
    gateway.interrupt().await;
    if known.starts_with("sessions=0") {
        return Err(Violation { at: None, what: "a start without a hub knows no timetable".to_owned() });
    }
    fill_up(&filler)?;
    let (_gateway, still) = start(site).await?;
    if known != still {
        let what = format!(
            "a start on a full disk without a hub lost the timetable: '{known}' before, '{still}' then; everything \
             before that held: {taken} green until the disk was full; {figures}"
        );
        return Err(Violation { at: None, what });
    }
    Ok(format!("{taken} green until the disk was full; {figures}"))
}

/// The hub knows of each swipe that was refused for want of room, by the time it was made at: nobody was absent for it. A
/// journal that is full may still take a smaller write than the one that it refused, so there are many short times.
async fn refusals_are_known(site: &Site, history: &History) -> Result<(), Violation> {
    let refused = refused(history);
    let deadline = Instant::now() + DRAINED_WITHIN;
    let mut looks = interval(Duration::from_millis(250));
    loop {
        looks.tick().await;
        let known = outages(site).await;
        let told_of = |it: &Presentation| {
            let seen = it.answers.first().map_or(it.at, |(at, _)| *at);
            known.iter().any(|(from, until)| *from - CLOCKS <= seen && it.at <= *until + CLOCKS)
        };
        let Some(forgotten) = refused.iter().find(|it| !told_of(it)) else { return Ok(()) };
        if Instant::now() > deadline {
            let count = refused.iter().filter(|it| !told_of(it)).count();
            let what = format!(
                "{count} of {} refused swipes lie in no outage that the hub knows, the first {forgotten:?}; it knows \
                 {known:?}",
                refused.len()
            );
            return Err(Violation { at: Some(forgotten.at), what });
        }
    }
}

/// The cards of listed students that were shown red: there was no room for them.
fn refused(history: &History) -> Vec<Presentation> {
    let red =
        |it: &Presentation| it.answers.first().is_some_and(|(_, answer)| answer.colour() == Colour::Red);
    history.told().0.into_iter().filter(|it| is_listed(it.card) && red(it)).collect()
}

/// Since when and until when the hub knows that something was refused.
async fn outages(site: &Site) -> Vec<(Timestamp, Timestamp)> {
    let query = "query($after: String) { gateways { nodes {
        outages(first: 200, after: $after, filter: {causes: [JOURNAL_REFUSED, SWIPES_REFUSED]}) {
            pageInfo { hasNextPage endCursor } nodes { from until } } } } }";
    let (mut found, mut after) = (Vec::new(), Value::Null);
    loop {
        let page =
            site.client.ask(query, json!({"after": after})).await["gateways"]["nodes"][0]["outages"].take();
        let at = |outage: &Value, end: &str| outage[end].as_str()?.parse::<Timestamp>().ok();
        let nodes = page["nodes"].as_array().into_iter().flatten();
        found.extend(nodes.filter_map(|it| Some((at(it, "from")?, at(it, "until")?))));
        if page["pageInfo"]["hasNextPage"] != true {
            return found;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// Starts the gateway, which must come up; gives what it says that it knows.
async fn start(site: &Site) -> Result<(Process, String), Violation> {
    let starts = site.gateway_said("cache read").len();
    let gateway = site.gateway();
    wait("the gateway did not start on a full disk", || site.gateway_said("cache read").len() > starts)
        .await?;
    let line = site.gateway_said("cache read").pop().unwrap_or_default();
    let known = line.split("sessions=").nth(1).unwrap_or_default();
    Ok((gateway, format!("sessions={known}")))
}

/// Takes all the room that is left.
fn fill_up(filler: &Path) -> Result<(), Violation> {
    use std::io::Write;
    let mut file = std::fs::File::create(filler).map_err(|error| broken(&error))?;
    for size in [64 * 1024, 4 * 1024, 1] {
        // Until there is no room for so much.
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    Ok(())
}

fn broken(error: &std::io::Error) -> Violation {
    Violation { at: None, what: error.to_string() }
}

async fn wait(what: &str, done: impl Fn() -> bool) -> Result<(), Violation> {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = interval(Duration::from_millis(100));
    while !done() {
        if Instant::now() > deadline {
            return Err(Violation { at: None, what: format!("{what} for {PATIENCE:?}") });
        }
        looks.tick().await;
    }
    Ok(())
}
