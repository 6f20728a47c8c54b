//! `chaos`: attacks on the promise, each one command. Exits with 1 and the seed on its last line when one succeeds.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rollcall_tests::chaos::{self, Outcome, Run};

const EXAMPLES: &str = "Examples:
  chaos simulate --seeds 500
  chaos simulate --seeds 1 --seed 4711
  chaos kill-gateway --cycles 500
  chaos rot --control no-checksum     # a defect put in on purpose: must fail";

/// Attacks on the promise that green means recorded.
#[derive(Parser)]
#[command(name = "chaos", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(clap::Args)]
struct Args {
    /// How many cycles, seeds or cases; a suite's own default when left out.
    #[arg(long, visible_aliases = ["seeds", "cases"])]
    cycles: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A defect put in on purpose; the suite must then fail. 'list' names those that a suite can see.
    #[arg(long)]
    control: Option<String>,
}

#[derive(Subcommand)]
enum Suite {
    /// Gateways, hub, network and disks in virtual time.
    Simulate(Args),
    /// Damaged journals and caches.
    Rot(Args),
    /// Batches sent twice, in another order, in other pieces.
    Batches(Args),
    /// A full disk, and an error at each write and sync in turn.
    Disk(Args),
    /// The gateway killed (SIGKILL) at random moments under load.
    KillGateway(Args),
    /// The hub killed at random moments, also right after a commit, while the gateway hands over.
    KillHub(Args),
    /// The gateway's disk filled up by somebody else, and room again. Needs root.
    FullDisk(Args),
    /// The network between gateway and hub broken in every way. Needs root.
    Network(Args),
    /// The gateway's wall clock set to anywhere, with and without hub, and starts without time.
    Clock(Args),
    /// The power cut under load: data on a loop device that loses what was not synced. Needs root.
    PowerCut(Args),
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn main() -> ExitCode {
    // What goes wrong on purpose is no news: RUST_LOG=warn shows it.
    let logs = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned());
    tracing_subscriber::fmt().with_env_filter(logs).with_writer(std::io::stderr).init();
    let (name, args, default, suite): (_, _, _, fn(&Run) -> chaos::Result) = match Cli::parse().suite {
        Suite::Simulate(args) => ("simulate", args, 500, chaos::simulate::run),
        Suite::Rot(args) => ("rot", args, 200, chaos::rot::run),
        Suite::Batches(args) => ("batches", args, 10_000, chaos::batches::run),
        Suite::Disk(args) => ("disk", args, 1, chaos::disk::run),
        Suite::KillGateway(args) => ("kill-gateway", args, 50, chaos::kill::gateway),
        Suite::KillHub(args) => ("kill-hub", args, 20, chaos::kill::hub),
        Suite::FullDisk(args) => ("full-disk", args, 1, chaos::full_disk::run),
        Suite::Network(args) => ("network", args, 20, chaos::network::run),
        Suite::Clock(args) => ("clock", args, 100, chaos::clock::run),
        Suite::PowerCut(args) => ("power-cut", args, 20, chaos::power::run),
    };
    let cycles = args.cycles.unwrap_or(default);
    let run = Run { cycles, seed: args.seed, control: args.control, serial_only: false };
    match suite(&run) {
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
            println!("chaos {name} --cycles 1 --seed {}", broken.seed);
            ExitCode::FAILURE
        }
    }
}
