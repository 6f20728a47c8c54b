//! `rollcall-gateway walk`: door by door with an installer, who says what is seen and heard; a report of it, for the
//! file and for the hub.
//!
//! The gateway runs meanwhile, and does what is asked through its socket (`walk`): all kinds of readers alike, and no
//! other door stands still.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cynic::MutationBuilder;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::uplink::client::HubClient;
use crate::uplink::connect::Address;
use crate::uplink::operations::DateTime;
use crate::uplink::operations::commissioning::{
    CommissioningResult, CommissioningStepInput, CommissioningStepKind, DoorCommissioningInput,
    GatewaySubmitCommissioningInput, SubmitCommissioning, SubmitCommissioningVariables,
};
use crate::walk::{Answered, Ask, DoorFacts, socket};

/// How long a test card is waited for.
const CARD_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is tried at a door, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Steady blue.
    Blue,
    /// A green flash.
    Green,
    /// A red flash.
    Red,
    /// An amber flash.
    Amber,
    /// Three beeps.
    Buzzer,
    /// A test card.
    Card,
}

impl Step {
    const ALL: [Self; 6] = [Self::Blue, Self::Green, Self::Red, Self::Amber, Self::Buzzer, Self::Card];

    fn word(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Red => "red",
            Self::Amber => "amber",
            Self::Buzzer => "buzzer",
            Self::Card => "card",
        }
    }

    fn at_hub(self) -> CommissioningStepKind {
        match self {
            Self::Blue => CommissioningStepKind::Blue,
            Self::Green => CommissioningStepKind::Green,
            Self::Red => CommissioningStepKind::Red,
            Self::Amber => CommissioningStepKind::Amber,
            Self::Buzzer => CommissioningStepKind::Buzzer,
            Self::Card => CommissioningStepKind::Card,
        }
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did as it should.
    Passed,
    /// It did not.
    Failed,
    /// It was not tried.
    Skipped,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed => "FAIL",
            Self::Skipped => "skip",
        }
    }

    fn at_hub(self) -> CommissioningResult {
        match self {
            Self::Passed => CommissioningResult::Passed,
            Self::Failed => CommissioningResult::Failed,
            Self::Skipped => CommissioningResult::Skipped,
        }
    }
}

/// One step, as it went.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// What was tried.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// More of it.
    pub note: Option<String>,
}

/// One door, as it went.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Door {
    /// Its id in the hub.
    pub id: Uuid,
    /// The reader, as it was found.
    pub reader: DoorFacts,
    /// When it was done, in milliseconds since the epoch.
    pub at_ms: i64,
    /// The steps.
    pub steps: Vec<Tried>,
}

/// The whole report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The gateway's code.
    pub gateway: String,
    /// The gateway's program.
    pub version: String,
    /// Who stood at the doors.
    pub installer: String,
    /// The doors, in the order walked.
    pub doors: Vec<Door>,
}

impl Report {
    /// Whether every step at every door was as it should be.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.doors.iter().flat_map(|door| &door.steps).all(|tried| tried.outcome == Outcome::Passed)
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("Commissioning of gateway {} by {}\n", self.gateway, self.installer);
        for Door { reader, at_ms, steps, .. } in &self.doors {
            let at = jiff::Timestamp::from_millisecond(*at_ms)
                .map_or_else(|_| String::new(), |at| format!("{at:.0}"));
            let firmware = reader.firmware.as_deref().unwrap_or("unknown");
            let serial = reader.serial.map_or_else(|| "unknown".to_owned(), |serial| serial.to_string());
            text +=
                &format!("\n{} ({}), {at}, firmware {firmware}, serial {serial}\n", reader.code, reader.kind);
            for Tried { step, outcome, note } in steps {
                let note = note.as_ref().map_or_else(String::new, |note| format!("  {note}"));
                text += &format!("  {:<7}{}{note}\n", step.word(), outcome.word());
            }
        }
        let verdict = if self.passed() {
            "Everything was as it should be."
        } else {
            "NOT everything was as it should be."
        };
        text += &format!("\n{verdict}\n");
        text
    }
}

/// What to do at the doors.
pub struct Walk<'a> {
    /// The gateway's configuration.
    pub config: &'a Config,
    /// Who stands there.
    pub installer: &'a str,
    /// Only these readers; all when empty.
    pub only: &'a [String],
    /// Also where a session is open.
    pub teaching: bool,
}

/// Somebody who is asked, and told.
pub trait Installer {
    /// Hears a line.
    fn tell(&mut self, line: &str);
    /// Says something to a question; `None` when nothing more will be said.
    fn answer(&mut self, question: &str) -> impl Future<Output = Option<String>>;
}

/// What the installer said to "did it?".
enum Said {
    Yes,
    No,
    Skip,
    Again,
    Quit,
}

impl Walk<'_> {
    /// Walks from door to door. What was tried until the installer left is in the report.
    ///
    /// # Errors
    /// When no gateway runs, or there is no such reader.
    pub async fn run(&self, installer: &mut impl Installer) -> anyhow::Result<Report> {
        let mut talk = Talk::begin(&self.config.data).await?;
        let mut readers = talk.ask(Ask::Readers).await?.readers;
        let known: BTreeSet<String> = readers.iter().map(|reader| reader.code.clone()).collect();
        for code in self.only {
            let all: Vec<&str> = known.iter().map(String::as_str).collect();
            ensure!(known.contains(code), "no reader {code} at this gateway; there are: {}", all.join(", "));
        }
        readers.retain(|reader| self.only.is_empty() || self.only.contains(&reader.code));
        ensure!(
            !readers.is_empty(),
            "this gateway has no reader yet; rollcall-gateway check says what is missing"
        );
        let mut report = Report {
            gateway: self.config.gateway.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            installer: self.installer.to_owned(),
            doors: Vec::new(),
        };
        let count = readers.len();
        for (index, reader) in readers.into_iter().enumerate() {
            let DoorFacts { code, kind, online, .. } = &reader;
            let here = if *online { "it answers" } else { "it does NOT answer: is it powered?" };
            installer.tell(&format!("door {} of {count}: {code} ({kind}), {here}", index + 1));
            let (steps, gone) = self.door(&mut talk, &reader, installer).await?;
            let at_ms = jiff::Timestamp::now().as_millisecond();
            if !steps.is_empty() {
                report.doors.push(Door { id: Uuid::new_v4(), reader, at_ms, steps });
            }
            if gone {
                break;
            }
        }
        Ok(report)
    }

    /// One door; and whether the installer has had enough.
    async fn door(
        &self,
        talk: &mut Talk,
        reader: &DoorFacts,
        installer: &mut impl Installer,
    ) -> anyhow::Result<(Vec<Tried>, bool)> {
        let mut steps = Vec::new();
        for step in Step::ALL {
            if step == Step::Buzzer && reader.kind != "osdp" {
                continue;
            }
            if step == Step::Card && !reader.assigned {
                let note = "the hub has no room for this reader yet, so its swipes are not taken";
                steps.push(Tried { step, outcome: Outcome::Skipped, note: Some(note.to_owned()) });
                continue;
            }
            loop {
                let note = match self.show(talk, reader, step, installer).await? {
                    Shown::Done(note) => note,
                    Shown::No(why) => {
                        installer.tell(&format!("  {why}"));
                        steps.push(Tried { step, outcome: Outcome::Failed, note: Some(why) });
                        break;
                    }
                    // The same would be said to every step.
                    Shown::Refused(why) => {
                        installer.tell(&format!("  {why}"));
                        steps.push(Tried { step, outcome: Outcome::Skipped, note: Some(why) });
                        return Ok((steps, false));
                    }
                };
                let said = ask(installer, question(step)).await;
                talk.ask(Ask::Rest { reader: reader.code.clone() }).await?;
                let outcome = match said {
                    Said::Yes => Outcome::Passed,
                    Said::No => Outcome::Failed,
                    Said::Skip => Outcome::Skipped,
                    Said::Again => continue,
                    Said::Quit => return Ok((steps, true)),
                };
                steps.push(Tried { step, outcome, note });
                break;
            }
        }
        Ok((steps, false))
    }

    async fn show(
        &self,
        talk: &mut Talk,
        reader: &DoorFacts,
        step: Step,
        installer: &mut impl Installer,
    ) -> anyhow::Result<Shown> {
        let teaching = self.teaching;
        let code = reader.code.clone();
        let flash = |colour: &str, beeps| Ask::Flash {
            reader: code.clone(),
            colour: colour.to_owned(),
            beeps,
            teaching,
        };
        let wanted = match step {
            Step::Blue => Ask::Shine { reader: code.clone(), colour: "blue".to_owned(), teaching },
            Step::Green | Step::Red | Step::Amber => flash(step.word(), 0),
            Step::Buzzer => flash("amber", 3),
            Step::Card => return card(talk, reader, installer).await,
        };
        Ok(match talk.ask(wanted).await?.error {
            None => Shown::Done(None),
            Some(why) => Shown::Refused(why),
        })
    }
}

/// Whether a step could be shown at all.
enum Shown {
    Done(Option<String>),
    /// It was tried in vain.
    No(String),
    /// The gateway does not do it.
    Refused(String),
}

async fn card(talk: &mut Talk, reader: &DoorFacts, installer: &mut impl Installer) -> anyhow::Result<Shown> {
    let swipes = Ask::Swipes { reader: reader.code.clone() };
    let before = talk.ask(swipes.clone()).await?.swipes;
    let latest = before.first().map(|swipe| swipe.at.clone());
    installer.tell(&format!("  hold a card to {} (within {} s)", reader.code, CARD_WITHIN.as_secs()));
    let until = tokio::time::Instant::now() + CARD_WITHIN;
    while tokio::time::Instant::now() < until {
        let now = talk.ask(swipes.clone()).await?.swipes;
        if let Some(swipe) = now.first().filter(|swipe| Some(&swipe.at) != latest.as_ref()) {
            let note = format!("{} bits, {} ({})", swipe.bits, swipe.light, swipe.reason);
            installer.tell(&format!("  it was read: {note}"));
            return Ok(Shown::Done(Some(note)));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(Shown::No("no card was read".to_owned()))
}

fn question(step: Step) -> &'static str {
    match step {
        Step::Blue => "  is the light steady blue?",
        Step::Green => "  did it flash green?",
        Step::Red => "  did it flash red?",
        Step::Amber => "  did it flash amber?",
        Step::Buzzer => "  did it beep three times?",
        Step::Card => "  did it flash in that colour?",
    }
}

async fn ask(installer: &mut impl Installer, question: &str) -> Said {
    loop {
        let Some(said) =
            installer.answer(&format!("{question} [y]es, [n]o, [a]gain, [s]kip, [q]uit: ")).await
        else {
            return Said::Quit;
        };
        match said.trim().to_lowercase().as_str() {
            "y" | "yes" => return Said::Yes,
            "n" | "no" => return Said::No,
            "a" | "again" => return Said::Again,
            "s" | "skip" => return Said::Skip,
            "q" | "quit" => return Said::Quit,
            other => installer.tell(&format!("  '{other}' is none of y, n, a, s, q")),
        }
    }
}

/// A talk with the running gateway.
struct Talk {
    reading: Lines<BufReader<OwnedReadHalf>>,
    writing: OwnedWriteHalf,
}

impl Talk {
    async fn begin(data: &Path) -> anyhow::Result<Self> {
        let path = socket(data);
        let stream = UnixStream::connect(&path).await.with_context(|| {
            format!(
                "no gateway runs on {} ({}); start it: systemctl start rollcall-gateway",
                data.display(),
                path.display()
            )
        })?;
        let (reading, writing) = stream.into_split();
        Ok(Self { reading: BufReader::new(reading).lines(), writing })
    }

    async fn ask(&mut self, ask: Ask) -> anyhow::Result<Answered> {
        let mut line = serde_json::to_vec(&ask)?;
        line.push(b'\n');
        let answer = async {
            self.writing.write_all(&line).await?;
            self.reading.next_line().await
        };
        match answer.await {
            Ok(Some(line)) => Ok(serde_json::from_str(&line)?),
            Ok(None) => bail!("the gateway has ended"),
            Err(error) => Err(error).context("the gateway has ended"),
        }
    }
}

/// Writes a report as text and as JSON beside it, under names that are not taken yet; gives that of the JSON.
///
/// # Errors
/// When the folder does not take them.
pub fn write(report: &Report, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let at = report.doors.last().map_or(0, |door| door.at_ms / 1_000);
    let name = format!("commissioning-{}-{at}", report.gateway);
    let json = folder.join(format!("{name}.json"));
    let bytes = serde_json::to_vec_pretty(report)?;
    for (path, bytes) in
        [(folder.join(format!("{name}.txt")), report.text().into_bytes()), (json.clone(), bytes)]
    {
        crate::private::write(&path, &bytes)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(json)
}

/// Reads a report that was written before.
///
/// # Errors
/// When there is none, or it is none of this gateway's.
pub fn read(path: &Path, config: &Config) -> anyhow::Result<Report> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let report: Report = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no report of 'walk'", path.display()))?;
    ensure!(
        report.gateway == config.gateway,
        "{} is of gateway {}, the configuration of {}",
        path.display(),
        report.gateway,
        config.gateway
    );
    Ok(report)
}

/// Hands a report over to the hub; again is harmless.
///
/// # Errors
/// When the hub is away, or does not take it.
pub async fn send(report: &Report, config: &Config) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(config.data.join("clock.json")));
    let address = Address::new(&config.hub.url, config.hub.ca_file.as_deref(), clock)?;
    let doors = report.doors.iter().map(|door| DoorCommissioningInput {
        commissioning_id: door.id,
        reader: door.reader.code.clone(),
        at: DateTime(door.at_ms),
        firmware: door.reader.firmware.clone(),
        steps: (door.steps.iter())
            .map(|tried| CommissioningStepInput {
                step: tried.step.at_hub(),
                result: tried.outcome.at_hub(),
                note: tried.note.clone(),
            })
            .collect(),
    });
    let input =
        GatewaySubmitCommissioningInput { installer: report.installer.clone(), doors: doors.collect() };
    let operation = SubmitCommissioning::build(SubmitCommissioningVariables { input });
    let answer = HubClient::new(address, config.token()?).ask(operation).await?;
    let errors = answer.gateway_submit_commissioning.errors;
    if let Some(error) = errors.into_iter().next() {
        bail!("the hub does not take the report: {error:?}");
    }
    Ok(())
}
