//! What must hold once the faults have stopped, whatever they were: the promise, checked over the whole history.
//!
//! One place for all suites with real processes. Knows the hub by its GraphQL alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reader_sim::plan::Colour;
use tokio::time::{Instant, interval};

use super::history::{Answer, History, Presentation};
use super::process::Process;
use super::site::{HubSwipe, Site, is_listed, number, student};

/// How far a swipe's time at the hub may lie beside its true one, as long as machine and bus are busy.
const SLACK: SignedDuration = SignedDuration::from_millis(1_500);
/// The most memory that a gateway with these few sessions may hold, debug build included.
const RESIDENT_KIB: u64 = 128 * 1024;
/// The most memory that a hub with one building may hold, beside its program: 144 MiB are its engine's page caches, once the
/// database has grown to fill them (`store::sqlite`).
const HUB_ANONYMOUS_KIB: u64 = (144 + 128) * 1024;
/// Of so many cards some must have been answered by a flash.
const MANY: usize = 50;
/// So close to one that is lost others are told of.
const NEAR: SignedDuration = SignedDuration::from_millis(3_000);
/// How long between two looks at the hub.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The same where the hub has many enough and yet not all: each is looked at then.
const LOOK_WHOLE_EVERY: Duration = Duration::from_secs(2);

/// What a suite's fault excuses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Excused {
    /// Red for a listed student in the window: the disk was full.
    pub red: bool,
    /// Amber: the time was not known.
    pub amber: bool,
}

/// Something that must hold did not; with the time of the presentation, where it is about one.
#[derive(Debug)]
pub struct Violation {
    /// When the card was held to the reader.
    pub at: Option<Timestamp>,
    /// What did not hold.
    pub what: String,
}

/// What was done and found.
#[derive(Debug, Default)]
pub struct Figures {
    presented: usize,
    /// Of which green was shown.
    pub green: usize,
    red: usize,
    amber: usize,
    unclear: u64,
    unanswered: usize,
    at_hub: usize,
    drained: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { presented, green, red, amber, unclear, unanswered, at_hub, drained, .. } = self;
        let drained = drained.as_secs_f32();
        write!(
            f,
            "{presented} cards held to readers, {green} green, {red} red, {amber} amber, {unanswered} without a \
             clear answer ({unclear} unclear flashes); {at_hub} at the hub, 0 lost, 0 doubled; drained in {drained:.1} s"
        )
    }
}

/// The hub must have it: a light or an acknowledgement said so.
fn promised(presentation: &Presentation) -> bool {
    presentation.answers.iter().any(|(_, answer)| match answer {
        // Red is shown also where nothing could be stored.
        Answer::Flash(colour) => matches!(colour, Colour::Green | Colour::Amber),
        // The reader forgets what was acknowledged, whatever was shown.
        Answer::Acknowledged(_) => true,
    })
}

/// Waits until the hub has all that it must have, from now on at most so long; gives how long that took and all
/// its swipes. What is then still missing is for [`judge`] to say.
pub async fn drain(site: &Site, history: &History, patience: Duration) -> (Duration, Vec<HubSwipe>) {
    let begun = Instant::now();
    let wanted: BTreeSet<u32> = history.told().0.iter().filter(|it| promised(it)).map(|it| it.card).collect();
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let took = begun.elapsed();
        let late = took >= patience;
        if site.swipe_count().await < wanted.len() as u64 && !late {
            continue;
        }
        let swipes = site.swipes().await;
        looks.reset_after(LOOK_WHOLE_EVERY);
        let there: BTreeSet<u32> = swipes.iter().filter_map(|swipe| swipe.card).collect();
        if late || wanted.is_subset(&there) {
            return (took, swipes);
        }
    }
}

/// How often swipes and register are looked at again because more came in between.
const LOOKS: usize = 20;

/// Drains, and checks everything.
///
/// # Errors
/// The first thing that does not hold.
pub async fn check(
    site: &Site,
    history: &History,
    excused: Excused,
    patience: Duration,
) -> Result<Figures, Violation> {
    let (drained, mut swipes) = drain(site, history, patience).await;
    let (presentations, unclear) = history.told();
    // One that nobody was promised may come in between two looks.
    let mut present = site.present("NOW").await;
    for _ in 0..LOOKS {
        let again = site.swipes().await;
        if again.len() == swipes.len() {
            break;
        }
        (swipes, present) = (again, site.present("NOW").await);
    }
    let mut figures = judge(&presentations, &swipes, excused)?;
    let mqtt: Vec<&Presentation> = presentations.iter().filter(|it| it.mqtt).collect();
    let flashed =
        mqtt.iter().filter(|it| it.answers.iter().any(|(_, answer)| matches!(answer, Answer::Flash(_))));
    // What is not said cannot be judged, and would pass.
    if mqtt.len() >= MANY && flashed.count() == 0 {
        let what = format!("{} cards were held to MQTT readers, and no flash said whose it was", mqtt.len());
        return Err(Violation { at: None, what });
    }
    (figures.drained, figures.unclear) = (drained, unclear);
    let credited = |swipe: &HubSwipe| swipe.sessions.iter().any(|session| session == "NOW");
    let due: BTreeSet<String> =
        swipes.iter().filter(|it| credited(it)).filter_map(|it| Some(number(student(it.card?)))).collect();
    if present != due {
        let what = format!("the register has {present:?} as PRESENT, the swipes speak for {due:?}");
        return Err(Violation { at: None, what });
    }
    // sled panics on a disk that fails under it; the cache bears that, and the hook has its say before.
    let panics = site.gateway_said("panicked");
    if let Some(line) = panics.iter().find(|line| !line.contains("/sled-")) {
        return Err(Violation { at: None, what: format!("the gateway panicked: {line}") });
    }
    Ok(figures)
}

/// A gateway takes no more memory and disk than it may, whatever happened to it.
///
/// # Errors
/// When it does.
pub fn bounded(site: &Site, gateway: &Process) -> Result<(), Violation> {
    let plain = |what| Violation { at: None, what };
    let resident = gateway.resident_kib().unwrap_or(0);
    if resident > RESIDENT_KIB {
        return Err(plain(format!("the gateway holds {resident} KiB of memory, {RESIDENT_KIB} at the most")));
    }
    let files = std::fs::read_dir(site.data().join("journal")).into_iter().flatten().flatten();
    let used: u64 = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    // The next segment is made beforehand.
    let most = (site.layout.journal_mib << 20) + rollcall_gateway::journal::format::SEGMENT_BYTES;
    if used > most {
        return Err(plain(format!("the journal takes {used} bytes, {most} at the most")));
    }
    Ok(())
}

/// A hub takes no more memory than it may. What runs behind a tool that forks is not seen.
///
/// # Errors
/// When it does.
pub fn hub_bounded(hub: &Process) -> Result<(), Violation> {
    let held = hub.anonymous_kib().unwrap_or(0);
    if held > HUB_ANONYMOUS_KIB {
        let what = format!("the hub holds {held} KiB of memory, {HUB_ANONYMOUS_KIB} at the most");
        return Err(Violation { at: None, what });
    }
    Ok(())
}

/// Compares a history with what the hub has.
///
/// # Errors
/// The first thing that does not hold.
pub fn judge(
    presentations: &[Presentation],
    swipes: &[HubSwipe],
    excused: Excused,
) -> Result<Figures, Violation> {
    let mut of_card: BTreeMap<u32, Vec<&HubSwipe>> = BTreeMap::new();
    for swipe in swipes {
        let Some(card) = swipe.card else {
            return Err(Violation {
                at: None,
                what: format!("a swipe of nobody's card at the hub: {swipe:?}"),
            });
        };
        of_card.entry(card).or_default().push(swipe);
    }
    let mut figures = Figures { presented: presentations.len(), at_hub: swipes.len(), ..Figures::default() };
    let (mut lost, mut others): (Vec<&Presentation>, Vec<Violation>) = Default::default();
    for presentation in presentations {
        match presentation.answers.first().map(|(_, answer)| answer.colour()) {
            Some(Colour::Green) => figures.green += 1,
            Some(Colour::Amber) => figures.amber += 1,
            Some(_) => figures.red += 1,
            None => figures.unanswered += 1,
        }
        let found = of_card.remove(&presentation.card).unwrap_or_default();
        if found.is_empty() && promised(presentation) {
            lost.push(presentation);
        }
        if let Some(what) = wrong(presentation, &found, excused) {
            let what = format!("{what}: {presentation:?}; at the hub: {found:?}");
            others.push(Violation { at: Some(presentation.at), what });
        }
    }
    if let Some(first) = lost.first() {
        // What was seen at its reader around then: a light may have been taken for another card's.
        let near: Vec<String> = presentations
            .iter()
            .filter(|it| it.reader == first.reader && it.at.duration_since(first.at).abs() < NEAR)
            .map(|it| {
                let at = |swipe: &&HubSwipe| swipe.earliest;
                let there = swipes.iter().find(|swipe| swipe.card == Some(it.card)).as_ref().map(at);
                format!("\n  card {} at {}: {:?}; at the hub: {there:?}", it.card, it.at, it.answers)
            })
            .collect();
        let what = format!(
            "LOST: {} promised swipes are not at the hub, the first {first:?}; at its reader:{}",
            lost.len(),
            near.concat()
        );
        return Err(Violation { at: Some(first.at), what });
    }
    let count = others.len();
    if let Some(mut first) = others.into_iter().next() {
        first.what = format!("{} (and {} more)", first.what, count - 1);
        return Err(first);
    }
    match of_card.into_values().next() {
        Some(swipe) => {
            let what = format!("a swipe at the hub that nobody made: {swipe:?}");
            Err(Violation { at: None, what })
        }
        None => Ok(figures),
    }
}

/// What is wrong with one presentation, besides that it is lost.
fn wrong(presentation: &Presentation, found: &[&HubSwipe], excused: Excused) -> Option<&'static str> {
    let listed = is_listed(presentation.card);
    if found.len() > 1 {
        return Some("DOUBLED: one presentation, several swipes");
    }
    for (_, answer) in &presentation.answers {
        match answer.colour() {
            Colour::Green if !listed => return Some("green for one who is not on the class list"),
            Colour::Red if listed && !excused.red => return Some("red for a listed student"),
            Colour::Green if presentation.blind => return Some("green while nobody knew the time"),
            Colour::Amber if !excused.amber && !presentation.amber => {
                return Some("amber while the time was known");
            }
            _ => {}
        }
    }
    let swipe = found.first()?;
    if swipe.reader != presentation.reader {
        return Some("at another reader");
    }
    let counts = !swipe.sessions.is_empty();
    if listed && !counts && promised(presentation) && !excused.red {
        return Some("promised, but it counts for nothing");
    }
    if !listed && counts {
        return Some("it counts for one who is not on the class list");
    }
    (!dated(presentation, swipe)).then_some("its time at the hub does not hold the true one")
}

/// The swipe's interval holds the true time. An MQTT reader says when the card was held to it; what an OSDP reader
/// reports is dated when it is asked, some time before the light.
fn dated(presentation: &Presentation, swipe: &HubSwipe) -> bool {
    let (earliest, latest) = (swipe.earliest - SLACK, swipe.latest + SLACK);
    let until = match presentation.answers.first() {
        Some((at, _)) if !presentation.mqtt => *at,
        None if !presentation.mqtt => return earliest <= Timestamp::now() && presentation.at <= latest,
        _ => presentation.at,
    };
    earliest <= until && presentation.at <= latest
}
