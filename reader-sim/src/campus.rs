//! `reader-sim campus`: the whole system in one process, a plan played in virtual time, everything compared.
//!
//! Virtual time stands still while cards are presented and their readers show the answer, while a light changes
//! and while a change of the timetable travels to the gateways; it jumps on in between.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use futures_util::future::BoxFuture;
use jiff::civil::Date;
use serde_json::json;

use crate::expected::Expectation;
use crate::plan::Plan;
use crate::{expected, generate, itc2019, scenario};

pub mod api;
pub mod clock;
pub mod compare;
pub mod play;
mod term;
pub mod timetable;
pub mod trace;
pub mod view;
pub mod world;

use compare::{Differences, Totals};
use play::Player;
use timetable::instant;
use trace::Trace;
use view::View;
use world::World;

const EXAMPLES: &str = "Examples:
  reader-sim campus
  reader-sim campus --seed 7 --students 200 --rooms 8 --buildings 2 --trace day.jsonl
  reader-sim campus --itc2019 problem.xml solution.xml --day 2027-02-24 --days 5
  reader-sim campus --scenario edges.toml
  reader-sim campus --itc2019 problem.xml solution.xml --days 28 --hub-away
  reader-sim campus --json --stay";

/// The whole system in one process, on embedded defaults: a day of teaching in about a minute.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CampusArgs {
    /// What everything random is drawn from; the same seed plays the same day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Virtual seconds in a real second at the most; as fast as readers answer when left out.
    #[arg(long)]
    speed: Option<f64>,
    /// Students of the invented campus, 40 at the least.
    #[arg(long, default_value_t = 600, conflicts_with_all = ["itc2019", "scenario"])]
    students: usize,
    /// Rooms of the invented campus, 8 at the least and one for each building.
    #[arg(long, default_value_t = 24, conflicts_with_all = ["itc2019", "scenario"])]
    rooms: usize,
    /// Buildings, each with one gateway.
    #[arg(long, default_value_t = 3)]
    buildings: usize,
    /// A real university's term: problem and solved timetable, as of the International Timetabling
    /// Competition 2019.
    #[arg(long, num_args = 2, value_names = ["PROBLEM", "SOLUTION"], conflicts_with = "scenario")]
    itc2019: Option<Vec<PathBuf>>,
    /// The Monday on which that term starts.
    #[arg(long, default_value = "2027-02-15", requires = "itc2019")]
    term_start: Date,
    /// The day to play; 2027-03-01 for the invented campus, the term's start for a real one.
    #[arg(long, conflicts_with = "scenario")]
    day: Option<Date>,
    /// How many days of a real term to play.
    #[arg(long, default_value_t = 1, requires = "itc2019", value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// A scenario file: a small campus with cards at exact instants.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// The hub is away while play lasts, gateways without MQTT readers are restarted every week, and everything is
    /// handed over at the end. Nothing changes in the timetable meanwhile.
    #[arg(long)]
    hub_away: bool,
    /// Where the hub keeps its data: a SQLite file that goes with the campus unless told; `postgres` starts a
    /// PostgreSQL server for it that goes too; postgres://… and sqlite:PATH name an empty database that stays.
    #[arg(long)]
    database: Option<String>,
    /// Leaves the hub up at the end, and prints its address, a token and a ready query.
    #[arg(long)]
    stay: bool,
    /// JSON lines for programs: {"say"}, {"progress"}, {"register"} and {"difference"}; the last one holds the totals,
    /// or with --stay the hub's address and a token.
    #[arg(long)]
    json: bool,
    /// Writes one JSON line for each swipe, light change, outage and timetable change.
    #[arg(long)]
    trace: Option<PathBuf>,
}

/// The day that the invented campus is played on unless told: a Monday.
const DEFAULT_DAY: Date = jiff::civil::date(2027, 3, 1);

/// Plays a campus.
///
/// # Errors
/// When something cannot be set up, or what came of it differs from what the oracle expects.
pub fn run(args: CampusArgs) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(play(args))
}

async fn play(args: CampusArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    if args.speed.is_some_and(|speed| !speed.is_finite() || speed <= 0.0) {
        bail!(
            "--speed: so many virtual seconds in a real one: above 0; leave it out to play as fast as readers answer"
        );
    }
    let mut plan = plan(&args)?;
    if args.hub_away {
        plan.changes.clear();
    }
    let mut view = View::new(&plan, args.json, std::io::stdout().is_terminal())?;
    view.say(&format!(
        "seed {}: {} buildings, {} rooms, {} readers, {} students, {} sessions, {} cards to present",
        plan.seed,
        plan.buildings.len(),
        plan.rooms.len(),
        plan.readers.len(),
        plan.students.len(),
        plan.sessions.len(),
        plan.presentations.len()
    ))?;
    let wanted =
        expected::expected(&plan).map_err(anyhow::Error::msg).context("the oracle refuses this plan")?;
    let mut trace = Trace::create(args.trace.as_deref())?;

    let mut stop = Box::pin(stop_signal());
    let mut world = tokio::select! {
        world = World::build(&plan, args.database.as_deref(), &mut view) => world?,
        () = &mut stop => bail!("interrupted while setting up"),
    };
    let played = {
        let player =
            Player::new(&plan, &wanted, &mut world, &mut view, &mut trace, args.speed, args.hub_away);
        tokio::select! {
            played = player.play() => Some(played?),
            () = &mut stop => None,
        }
    };
    let Some(mut differences) = played else {
        view.close();
        world.stop().await?;
        bail!("interrupted");
    };
    let totals = compare::registers(&plan, &wanted, &mut world.api, &mut trace, &mut differences).await?;
    trace.finish()?;
    view.close();
    report(&plan, &args, &totals, &differences, begun, &mut view)?;
    if args.stay {
        stay(&world, &args, &totals, &mut view, stop).await?;
    }
    world.stop().await?;
    if differences.count() > 0 {
        bail!(
            "{} differences to the oracle; run again with --seed {} to see them again",
            differences.count(),
            plan.seed
        );
    }
    Ok(())
}

/// Plays a plan with nobody watching, and compares everything. With `hub_away` the hub is gone from the first instant to the
/// last. `up` is told the folder in which everything lies once it is there.
///
/// # Errors
/// When something cannot be set up, or fails.
pub fn alone<'a>(
    plan: &'a Plan,
    hub_away: bool,
    up: impl FnOnce(&Path) + Send + 'a,
) -> BoxFuture<'a, anyhow::Result<(Totals, Differences)>> {
    let wanted = expected::expected(plan);
    Box::pin(async move {
        let wanted = wanted.map_err(anyhow::Error::msg).context("the oracle refuses this plan")?;
        play_alone(plan, wanted, hub_away, up).await
    })
}

/// Plays a plan with nobody watching, and compares everything with what somebody expects of it.
///
/// # Errors
/// When something cannot be set up, or fails.
pub fn against<'a>(
    plan: &'a Plan,
    wanted: Expectation,
) -> BoxFuture<'a, anyhow::Result<(Totals, Differences)>> {
    Box::pin(play_alone(plan, wanted, false, |_| {}))
}

async fn play_alone(
    plan: &Plan,
    wanted: Expectation,
    hub_away: bool,
    up: impl FnOnce(&Path),
) -> anyhow::Result<(Totals, Differences)> {
    let (mut view, mut trace) = (View::nothing(plan)?, Trace::create(None)?);
    let mut world = World::build(plan, None, &mut view).await?;
    up(world.folder());
    let player = Player::new(plan, &wanted, &mut world, &mut view, &mut trace, None, hub_away);
    let mut differences = player.play().await?;
    let totals = compare::registers(plan, &wanted, &mut world.api, &mut trace, &mut differences).await?;
    world.stop().await?;
    Ok((totals, differences))
}

fn plan(args: &CampusArgs) -> anyhow::Result<Plan> {
    if let Some(files) = &args.itc2019 {
        let [problem, solution] = &files[..] else {
            bail!("--itc2019 takes two files: problem and solution")
        };
        let options = itc2019::Options {
            term_start: args.term_start,
            day: args.day.unwrap_or(args.term_start),
            days: args.days,
            buildings: args.buildings,
            seed: args.seed,
        };
        let plan = itc2019::load(problem, solution, &options)?;
        if plan.presentations.is_empty() {
            let starts = plan.sessions.iter().map(|session| session.start_ms);
            let day = |ms: Option<i64>| {
                ms.and_then(|ms| instant(ms).ok()).map_or_else(String::new, |at| at[..10].to_owned())
            };
            bail!(
                "nothing is taught on {} and the {} days from there in a room with a reader; sessions run from {} to {}: \
                 say another --day",
                options.day,
                options.days,
                day(starts.clone().min()),
                day(starts.max())
            );
        }
        return Ok(plan);
    }
    if let Some(file) = &args.scenario {
        return Ok(scenario::load(file)?);
    }
    let size = generate::Size { buildings: args.buildings, rooms: args.rooms, students: args.students };
    size.check().map_err(anyhow::Error::msg)?;
    Ok(generate::generate(args.seed, &size, args.day.unwrap_or(DEFAULT_DAY)))
}

fn report(
    plan: &Plan,
    args: &CampusArgs,
    totals: &compare::Totals,
    differences: &Differences,
    begun: Instant,
    view: &mut View,
) -> anyhow::Result<()> {
    let seconds = begun.elapsed().as_secs_f64();
    if !args.json {
        view.say(&format!(
            "{:<22} {:<13} {:>7} {:>6} {:>6} {:>9} {:>6}",
            "session", "register", "present", "late", "absent", "no regist", "other"
        ))?;
        for register in &totals.registers {
            view.say(&register.to_string())?;
        }
    }
    for register in totals.registers.iter().filter(|_| args.json) {
        view.line(&json!({ "register": register }))?;
    }
    for difference in differences.first() {
        if args.json {
            view.line(&json!({ "difference": difference }))?;
        } else {
            view.say(&format!("DIFFERENCE {difference}"))?;
        }
    }
    if differences.count() > differences.first().len() {
        view.say(&format!("… and {} more", differences.count() - differences.first().len()))?;
    }
    let summary = json!({
        "seed": plan.seed,
        "buildings": plan.buildings.len(),
        "rooms": plan.rooms.len(),
        "readers": plan.readers.len(),
        "students": plan.students.len(),
        "sessions": plan.sessions.len(),
        "registers": totals.registers.len(),
        "swipes": totals.swipes,
        "marks": totals.marks,
        "present": totals.present,
        "absent": totals.absent,
        "lights": totals.lights + differences.lights_seen,
        "changes": plan.changes.len(),
        "differences": differences.count(),
        "seconds": (seconds * 10.0).round() / 10.0,
    });
    if args.json {
        if !args.stay {
            view.line(&summary)?;
        }
        return Ok(());
    }
    view.say(&format!(
        "{} registers, {} marks ({} present, {} absent), {} swipes, {} lights compared in {seconds:.1} s: {} differences",
        totals.registers.len(),
        totals.marks,
        totals.present,
        totals.absent,
        totals.swipes,
        totals.lights + differences.lights_seen,
        differences.count()
    ))
}

async fn stay(
    world: &World,
    args: &CampusArgs,
    totals: &compare::Totals,
    view: &mut View,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let url = world.url();
    let query =
        "{ sessions(first: 5) { nodes { externalId register { state summary { present absent } } } } }";
    if args.json {
        let url = format!("{url}/graphql");
        view.line(&json!({"url": url, "token": world.token, "query": query, "swipes": totals.swipes}))?;
    } else {
        view.say(&format!("\nThe hub stays up at {url}/graphql (console: {url}/console) until Ctrl-C. A query to begin with:\n"))?;
        view.say(&format!(
            "curl -s {url}/graphql -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \\\n  -d '{}'\n",
            world.token,
            json!({ "query": query })
        ))?;
    }
    stop.await;
    Ok(())
}

/// Ends at Ctrl-C, or at the service manager's request to end.
async fn stop_signal() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    match terminate {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            // Without the signal, Ctrl-C alone remains; and without that, the process manager's KILL.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
