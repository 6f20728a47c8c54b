//! `rollcall-hub import`: files of other systems, checked, compared and applied.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use rollcall_hub::app;
use rollcall_hub::clock::SystemClock;
use rollcall_hub::import::recipe::{DEFAULT_BUILDINGS, Recipe};
use rollcall_hub::import::sheet::Mapping;
use rollcall_hub::import::{Facts, MAX_FILE_BYTES, Problems, read_file};
use rollcall_hub::scalar::DateTime;
use rollcall_hub::service::import::{Order, Report, import};
use rollcall_hub::store::StoreError;
use rollcall_hub::store::entity::SessionKind;

use super::Data;

const EXAMPLES: &str = "Examples:
  rollcall-hub import csv --mapping deploy/import/rooms.toml rooms.csv --dry-run
  rollcall-hub import oneroster export.zip
  rollcall-hub import itc2019 --term-start 2027-02-15 problem.xml solution.xml
  rollcall-hub import ical --source library --room LIB-1 library.ics
  curl -s https://timetable.example.ac.uk/all.ics | rollcall-hub import ical --source all --whole -";

/// Of how many registers the output says that they change.
const REGISTERS_SHOWN: usize = 20;

#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Import {
    /// iCalendar feeds: each event, or each time it recurs, is a session.
    Ical {
        #[command(flatten)]
        common: Common,
        /// The room of all its events; LOCATION names them when left out. May be said several times.
        #[arg(long)]
        room: Vec<String>,
        /// The group of all its events. May be said several times.
        #[arg(long)]
        group: Vec<String>,
        /// The property that lists each event's groups, where --group is left out.
        #[arg(long, value_name = "PROPERTY", default_value = "CATEGORIES")]
        groups_from: String,
        /// The course of all its events.
        #[arg(long)]
        course: Option<String>,
        /// What they are.
        #[arg(long, default_value = "LECTURE")]
        kind: String,
        /// The files name all there is: sessions to come that an earlier import of this source made, and that are in
        /// none of them any more, are called off.
        #[arg(long)]
        whole: bool,
    },
    /// Tables with headings, read by a mapping: buildings, rooms, readers, courses, groups, students, cards, class
    /// lists, sessions.
    Csv {
        #[command(flatten)]
        common: Common,
        /// The mapping, a TOML file; deploy/import/ holds some to begin with.
        #[arg(long)]
        mapping: PathBuf,
    },
    /// OneRoster 1.2 CSV exports: courses, classes, students and their enrolments.
    Oneroster {
        #[command(flatten)]
        common: Common,
        /// Groups go by classCode, which each class must then have for itself, instead of sourcedId.
        #[arg(long)]
        class_code: bool,
    },
    /// A term in the format of the International Timetabling Competition 2019: two files, problem and solution.
    #[command(name = "itc2019")]
    Itc2019 {
        #[command(flatten)]
        common: Common,
        /// The Monday on which week 0 begins.
        #[arg(long, value_name = "YYYY-MM-DD")]
        term_start: String,
        /// How many buildings the rooms are dealt to, by the way between them.
        #[arg(long, default_value_t = DEFAULT_BUILDINGS)]
        buildings: usize,
    },
}

#[derive(Args)]
pub(super) struct Common {
    #[command(flatten)]
    data: Data,
    /// The files; - is standard input.
    #[arg(required = true)]
    files: Vec<String>,
    /// Under which name this source is known from one import to the next; "ical", "oneroster" or "itc2019" when left out, and of a
    /// table its mapping's file name. Give each calendar its own.
    #[arg(long)]
    source: Option<String>,
    /// Only says what would come of it.
    #[arg(long)]
    dry_run: bool,
    /// Lets more than a tenth of what the source named before go.
    #[arg(long)]
    accept_removals: bool,
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (common, recipe, source) = match self {
            Self::Ical { common, room, group, groups_from, course, kind, whole } => {
                let kind = SessionKind::from_word(&kind.to_ascii_uppercase())
                    .with_context(|| format!("--kind: there is no kind of session '{kind}'"))?;
                let (rooms, groups, groups_from) = (room, group, Some(groups_from));
                let recipe = Recipe::Calendar { rooms, groups, groups_from, course, kind, whole };
                (common, recipe, "ical".to_owned())
            }
            Self::Csv { common, mapping: file } => {
                let mapping = std::fs::read_to_string(&file)
                    .with_context(|| format!("the mapping {} cannot be read", file.display()))?;
                Mapping::read(&mapping)
                    .map_err(|error| anyhow::anyhow!("the mapping {}: {error}", file.display()))?;
                let name = file.file_stem().map_or_else(|| "csv".into(), |stem| stem.to_string_lossy());
                (common, Recipe::Table { mapping }, name.into_owned())
            }
            Self::Oneroster { common, class_code } => {
                (common, Recipe::OneRoster { class_code }, "oneroster".to_owned())
            }
            Self::Itc2019 { common, term_start, buildings } => {
                (common, Recipe::Itc2019 { term_start, buildings }, "itc2019".to_owned())
            }
        };
        let facts = common.read(&recipe)?;
        common.apply(&facts, source).await
    }
}

impl Common {
    fn read(&self, recipe: &Recipe) -> anyhow::Result<Facts> {
        let zone = rollcall_hub::config::zone(&self.data.time_zone)?;
        let now = jiff::Timestamp::now().as_millisecond();
        let mut reading = recipe.begin(&zone, now).map_err(anyhow::Error::msg)?;
        for file in &self.files {
            let size = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
            if size > MAX_FILE_BYTES {
                bail!("{file} is larger than {} MiB; split it", MAX_FILE_BYTES / 1024 / 1024);
            }
            tracing::info!("reading {file}");
            reading.read(file, &read_file(file).map_err(anyhow::Error::msg)?);
        }
        Ok(reading.facts())
    }

    async fn apply(&self, facts: &Facts, source: String) -> anyhow::Result<()> {
        let config = self.data.config(rollcall_hub::config::DEFAULT_LISTEN.parse()?)?;
        let hub = app::open(&config, Arc::new(SystemClock)).await?;
        let source = self.source.clone().unwrap_or(source);
        let order = Order { source, dry_run: self.dry_run, accept_removals: self.accept_removals };
        let report = match import(&hub, None, facts, &order).await {
            Ok(report) => report,
            Err(error @ StoreError::Unknown(_)) => {
                bail!("{error}; import the same files again: what is in already stays as it is")
            }
            Err(error) => return Err(error).context("the import failed; nothing was changed"),
        };
        let mut out = std::io::stdout().lock();
        list(&mut out, "note", &facts.notes)?;
        list(&mut out, "note", &report.notes)?;
        list(&mut out, "problem", &report.problems)?;
        if report.problems.count > 0 {
            out.flush()?;
            bail!("{} problems; nothing was changed", report.problems.count);
        }
        difference(&mut out, &report, &rollcall_hub::config::zone(&self.data.time_zone)?)?;
        Ok(out.flush()?)
    }
}

fn list(out: &mut impl std::io::Write, what: &str, problems: &Problems) -> std::io::Result<()> {
    for problem in &problems.list {
        writeln!(out, "{what}: {}: {}", problem.place, problem.message)?;
    }
    match problems.count - problems.list.len() {
        0 => Ok(()),
        more => writeln!(out, "{what}: and {more} more"),
    }
}

fn difference(
    out: &mut impl std::io::Write,
    report: &Report,
    zone: &jiff::tz::TimeZone,
) -> std::io::Result<()> {
    for (kind, tally) in &report.kinds {
        writeln!(
            out,
            "{kind:<12} created {:>6}  updated {:>6}  removed {:>6}  unchanged {:>6}",
            tally.created, tally.updated, tally.removed, tally.unchanged
        )?;
    }
    writeln!(
        out,
        "registers derived anew: {}; marks that there were, and are others now: {}",
        report.registers, report.marks_changed
    )?;
    for it in report.registers_changed.iter().take(REGISTERS_SHOWN) {
        let session = &it.session;
        let name = session.external_id.as_deref().unwrap_or(&session.title);
        let at = DateTime::new(session.starts_at, zone);
        writeln!(out, "  {name}, {at}, {}: {} marks", session.title, it.marks_changed)?;
    }
    if report.registers_changed.len() > REGISTERS_SHOWN {
        writeln!(out, "  and more; the API names them: import {{ outcome {{ registersChanged }} }}")?;
    }
    writeln!(out, "{}", if report.applied { "applied" } else { "a dry run: nothing was changed" })
}
