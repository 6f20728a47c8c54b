//! The gateway's wall clock set to anywhere: by seconds, by years, to 1970, into the nights of summer time.
//!
//! libfaketime is preloaded; the time since the machine's start stays true, as it does when somebody sets a clock. In half of the
//! cycles the kernel calls that clock in step with a time server, whatever it says. The
//! hub keeps the true time and comes and goes; the gateway is restarted, and now and then starts without any time: its
//! clock's file gone, 1970, and no hub. Sessions of other students stand where a believed wrong clock would look.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use reader_sim::plan::Colour;
use tokio::time::{Instant, interval};

use super::defect;
use super::history::{Blind, History};
use super::invariants::{Excused, Figures, Violation, bounded, check, hub_bounded};
use super::kill::{Cycles, block_on, cards_for};
use super::process::Process;
use super::readers::{Pace, Readers};
use super::site::{Held, LISTED_GROUP, Layout, OTHER_GROUP, Site};
use super::{Outcome, Run};

/// The hub, which the gateway believes, says a wrong time: lights are wrong then, and the suite must see it.
pub const CONTROLS: [&str; 1] = ["wrong-hub"];

/// By how much, as libfaketime has it: an hour after the last session of the day has ended, so that no light is anywhere near an edge.
const WRONG: &str = "+4h";
/// Once the faults have stopped, everything is at the hub within this time.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
/// How long a start, or an answer, may take on a machine that is busy with other things.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// What was judged before the time was known may be shown so much later.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(2);
/// How many cards are held to readers after each jump.
const CARDS_PER_JUMP: usize = 6;
/// Where the library may be.
pub const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// By how many seconds the clock is off.
const JUMPS: [i64; 11] = [0, 1, -1, MINUTE, -MINUTE, HOUR, -HOUR, DAY, -DAY, 10 * YEAR, -10 * YEAR];
/// The zone of the gateway's machine: people there put their clocks forward and back, and nothing may come of it.
const ZONE: &str = "Europe/London";
/// Where else it is set to, by the clocks of that zone: no time at all, the second before an hour is left out, and those before the
/// hour that comes twice and before it comes again.
const MOMENTS: [&str; 4] = [NO_TIME, "@2027-03-28 00:59:59", "@2027-10-31 00:59:59", "@2027-10-31 01:59:59"];
/// The clock of a machine that starts without time.
const NO_TIME: &str = "@1970-01-01 01:00:05";

/// Sets the clock.
///
/// # Errors
/// When the promise is broken, or a time or a light is wrong.
pub fn run(run: &Run) -> super::Result {
    match FAKETIME.iter().find(|path| Path::new(path).exists()) {
        None => Ok(Outcome::Skipped("libfaketime is missing: apt-get install faketime".to_owned())),
        Some(library) => block_on(run, jumps(run, library)),
    }
}

async fn jumps(run: &Run, library: &str) -> super::Result {
    let cards = cards_for(run.cycles);
    let mut layout = Layout::new(cards);
    let held = |id, starts, ends| Held { id, starts, ends, group: OTHER_GROUP };
    layout.sessions = vec![
        Held { id: "NOW", starts: -60, ends: 180, group: LISTED_GROUP },
        held("HOUR-AGO", -100, -20),
        held("IN-AN-HOUR", 50, 90),
        held("DAY-AGO", -24 * 60 - 30, -24 * 60 + 60),
        held("IN-A-DAY", 24 * 60 - 30, 24 * 60 + 60),
    ];
    let mut site = Site::new(layout).await;
    let variable = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let faked = |file: &Path, libraries: &str| {
        vec![
            variable("LD_PRELOAD", libraries),
            variable("FAKETIME_TIMESTAMP_FILE", &file.display().to_string()),
            variable("FAKETIME_NO_CACHE", "1"),
            variable("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            variable("DONT_FAKE_MONOTONIC", "1"),
            variable("NO_FAKE_STAT", "1"),
            variable("TZ", ZONE),
        ]
    };
    let in_step = match defect::environment("in-step", &site.path("")).await {
        Ok(variables) => variables,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let libraries =
        in_step.iter().find(|(key, _)| key == "LD_PRELOAD").map_or("", |(_, value)| value.as_str());
    let mut environment = faked(&site.path("faketime"), &format!("{library} {libraries}"));
    environment.extend(in_step.iter().filter(|(key, _)| key != "LD_PRELOAD").cloned());
    environment.push(variable("ROLLCALL_DEFECT_WHILE", &site.path("in-step").display().to_string()));
    site.layout.gateway_wrap.environment = environment;
    if run.control.is_some() {
        site.layout.hub_wrap.environment = faked(&site.path("faketime.hub"), library);
    }
    let history = History::default();
    let mut readers = Readers::new(history.clone(), run.seed, cards);
    site.configure(readers.bus());
    readers.start(site.broker_port, &Pace { pause_ms: 60, ..Pace::default() });
    let mut cycles = Cycles::default();
    let attack =
        Attack { site: &site, history: &history, hub: None, gateway: None, starts: 0, blind: 0, in_step: 0 };
    let found = attack.run(run, readers, &mut cycles).await;
    match found {
        Ok(words) => Ok(Outcome::Held(words)),
        Err(violation) => Err(cycles.broken(run, &violation, site)),
    }
}

struct Attack<'a> {
    site: &'a Site,
    history: &'a History,
    hub: Option<Process>,
    gateway: Option<Process>,
    starts: u64,
    blind: u64,
    in_step: u64,
}

impl Attack<'_> {
    async fn run(
        mut self,
        run: &Run,
        mut readers: Readers,
        cycles: &mut Cycles,
    ) -> Result<String, Violation> {
        self.set("+0")?;
        self.write("faketime.hub", "+0")?;
        self.hub = Some(self.site.hub().await);
        self.gateway = Some(self.site.gateway());
        self.more(Colour::Green, 1).await?;
        self.restart(false).await?;
        if run.control.is_some() {
            self.write("faketime.hub", WRONG)?;
        }
        for _ in 0..run.cycles {
            let mut random = cycles.begin(run);
            self.kernel_says(random.random_bool(0.5))?;
            match random.random_range(0..20) {
                0 | 1 => match self.hub.take() {
                    Some(mut hub) => hub.kill().await,
                    None => self.hub = Some(self.site.hub().await),
                },
                2 => self.restart(false).await?,
                3 => self.restart(true).await?,
                4 => self.without_time().await?,
                _ => {}
            }
            self.set(&anywhere(&mut random))?;
            self.answered().await?;
        }
        self.set("+0")?;
        self.kernel_says(false)?;
        if self.hub.is_none() {
            self.hub = Some(self.site.hub().await);
        }
        if run.control.is_none() {
            // In step at last, and right: whatever it was told before, it must believe that.
            self.kernel_says(true)?;
            self.restart(false).await?;
            self.kernel_says(false)?;
        }
        readers.stop(UP_WITHIN).await;
        let figures: Figures = check(self.site, self.history, Excused::default(), DRAINED_WITHIN).await?;
        self.gateway.iter().try_for_each(|gateway| bounded(self.site, gateway))?;
        self.hub.iter().try_for_each(hub_bounded)?;
        let synced = self.site.swipes().await.iter().filter(|swipe| swipe.synced).count();
        if self.in_step > 0 && synced == 0 {
            let what = format!("{} cycles were to be in step, and no swipe says that one was", self.in_step);
            return Err(Violation { at: None, what });
        }
        Ok(format!(
            "{} jumps, {} of them while the kernel called its clock in step, {} restarts, {} starts without time; {figures}",
            run.cycles, self.in_step, self.starts, self.blind
        ))
    }

    fn set(&self, to: &str) -> Result<(), Violation> {
        self.write("faketime", to)
    }

    fn write(&self, name: &str, to: &str) -> Result<(), Violation> {
        let (next, file) = (self.site.path("faketime.next"), self.site.path(name));
        let set = std::fs::write(&next, format!("{to}\n")).and_then(|()| std::fs::rename(&next, &file));
        set.map_err(|error| Violation { at: None, what: format!("the clock cannot be set: {error}") })
    }

    /// The kernel calls its clock in step from now on, or not any more.
    fn kernel_says(&mut self, in_step: bool) -> Result<(), Violation> {
        if in_step {
            self.in_step += 1;
            return self.write("in-step", "");
        }
        match std::fs::remove_file(self.site.path("in-step")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Violation { at: None, what: format!("the kernel cannot be told: {error}") })
            }
            _ => Ok(()),
        }
    }

    /// Ends the gateway, in peace or not, and starts it again under whatever its clock says.
    async fn restart(&mut self, kill: bool) -> Result<(), Violation> {
        if let Some(gateway) = &mut self.gateway {
            if kill { gateway.kill().await } else { gateway.interrupt().await }
        }
        self.gateway = Some(self.site.gateway());
        self.starts += 1;
        self.answered().await
    }

    /// The machine starts without time and without a hub; then the hub is there, and tells it.
    async fn without_time(&mut self) -> Result<(), Violation> {
        self.hub = None;
        if let Some(gateway) = &mut self.gateway {
            gateway.kill().await;
        }
        self.set(NO_TIME)?;
        let removed = std::fs::remove_file(self.site.data().join("clock.json"));
        removed.map_err(|error| Violation { at: None, what: format!("no clock's file: {error}") })?;
        let from = Timestamp::now();
        self.gateway = Some(self.site.gateway());
        self.more(Colour::Amber, 2).await?;
        self.answered().await?;
        let told = Timestamp::now();
        self.hub = Some(self.site.hub().await);
        self.judged(1).await?;
        self.history.blind(Blind { from, told, until: Timestamp::now() + ON_ITS_WAY });
        self.blind += 1;
        // In peace, so that it keeps the time that it was told.
        self.restart(false).await
    }

    /// Waits until so many cards more were held to readers.
    async fn answered(&self) -> Result<(), Violation> {
        let wanted = self.history.presented() + CARDS_PER_JUMP;
        self.wait("nobody was answered", || self.history.presented() >= wanted).await
    }

    /// Waits for so many more answers that are given where the time is known: right or, if the hub is wrong, not.
    async fn judged(&self, count: usize) -> Result<(), Violation> {
        let judged = || self.history.answers(Colour::Green) + self.history.answers(Colour::Red);
        let wanted = judged() + count;
        self.wait("neither green nor red was seen", || judged() >= wanted).await
    }

    /// Waits for so many more answers of a colour.
    async fn more(&self, colour: Colour, count: usize) -> Result<(), Violation> {
        let wanted = self.history.answers(colour) + count;
        self.wait(&format!("no {colour:?} was seen"), || self.history.answers(colour) >= wanted).await
    }

    async fn wait(&self, what: &str, done: impl Fn() -> bool) -> Result<(), Violation> {
        let deadline = Instant::now() + UP_WITHIN;
        let mut looks = interval(Duration::from_millis(10));
        while !done() {
            if Instant::now() > deadline {
                let what = format!("{what} for {UP_WITHIN:?}");
                return Err(Violation { at: Some(Timestamp::now()), what });
            }
            looks.tick().await;
        }
        Ok(())
    }
}

fn anywhere(random: &mut ChaCha8Rng) -> String {
    let choice = random.random_range(0..JUMPS.len() + MOMENTS.len());
    match JUMPS.get(choice) {
        Some(seconds) => format!("{seconds:+}"),
        None => MOMENTS[choice - JUMPS.len()].to_owned(),
    }
}
