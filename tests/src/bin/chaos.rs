//! `chaos`: attacks on the promise, each one command. Exits with 1 and the seed on its last line when one succeeds.

use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches};
use rollcall_tests::chaos::{Outcome, Run, SUITES, Suite};

/// A simulated world is thousands of small pieces of memory, as the hub's answers are.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "Examples:
  chaos simulate --seeds 500
  chaos simulate --seeds 1 --seed 4711
  chaos kill-gateway --cycles 500
  chaos rot --control no-checksum     # a defect put in on purpose: must fail";

// How an attack is run. (A doc comment would stand in place of what each suite says of itself.)
#[derive(Args)]
struct How {
    /// How many cycles, seeds or cases; a suite's own default when left out.
    #[arg(long, visible_aliases = ["seeds", "cases"])]
    cycles: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A defect put in on purpose; the suite must then fail.
    #[arg(long)]
    control: Option<String>,
}

fn command() -> Command {
    let attack = |suite: &Suite| {
        let controls = match suite.controls {
            [] => "No defect can be put in here.".to_owned(),
            some => format!("Defects for --control: {}.", some.join(", ")),
        };
        How::augment_args(Command::new(suite.name).about(suite.about).after_help(controls))
    };
    Command::new("chaos")
        .about("Attacks on the promise that green means recorded.")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(SUITES.iter().map(attack))
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    // What goes wrong on purpose is no news: RUST_LOG=warn shows it.
    let logs = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned());
    tracing_subscriber::fmt().with_env_filter(logs).with_writer(std::io::stderr).init();
    let matches = command().get_matches();
    let chosen = matches.subcommand().and_then(|(name, how)| {
        Some((SUITES.iter().find(|suite| suite.name == name)?, How::from_arg_matches(how).ok()?))
    });
    let Some((suite, how)) = chosen else { return ExitCode::from(2) };
    let name = suite.name;
    if let Some(control) = &how.control
        && !suite.controls.contains(&control.as_str())
    {
        eprintln!("chaos {name} has no defect '{control}'; it has: {:?}", suite.controls);
        return ExitCode::from(2);
    }
    let cycles = how.cycles.unwrap_or(suite.cycles);
    let run = Run { cycles, seed: how.seed, control: how.control };
    match suite.attack(&run) {
        Ok(Outcome::Held(figures)) => {
            println!("chaos {name}: held: {figures}");
            ExitCode::SUCCESS
        }
        Ok(Outcome::Skipped(why)) => {
            println!("chaos {name}: skipped: {why}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("chaos {name}: BROKEN: {broken}");
            println!("{}", suite.again(&run, &broken));
            ExitCode::FAILURE
        }
    }
}
