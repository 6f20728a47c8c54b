//! The gateway's commands: what people type.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use rollcall_gateway::app::{self, TimeSource};
use rollcall_gateway::check::{self, Finding, Verdict};
use rollcall_gateway::config::Config;
use rollcall_gateway::journal::tool;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "Examples:
  rollcall-gateway run --config /etc/rollcall/gateway.toml
  RUST_LOG=debug rollcall-gateway run --config gateway.toml
  rollcall-gateway check --config gateway.toml
  rollcall-gateway check-config --config gateway.toml
  rollcall-gateway journal verify --data /var/lib/rollcall-gateway
  rollcall-gateway journal export --data /mnt/card/rollcall-gateway > swipes.jsonl";

/// The building's gateway of Rollcall: door readers in, lights out, swipes on disk and on to the hub.
#[derive(Parser)]
#[command(name = "rollcall-gateway", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway until Ctrl-C.
    Run {
        /// The configuration; deploy/gateway.toml is an example.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
        config: PathBuf,
    },
    /// Looks into a journal, without changing it: also one of a card in another machine, or of a gateway that runs.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Says whether this machine is fit to be a gateway: disk, clock, ports, hub and readers; what is wrong, and what
    /// to do. Changes nothing; ends with 1 when something does not work.
    Check {
        /// The configuration.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
        config: PathBuf,
        /// One JSON line for each finding.
        #[arg(long)]
        json: bool,
    },
    /// Reads the configuration and says whether it can be used.
    CheckConfig {
        /// The configuration.
        #[arg(long, default_value = "gateway.toml")]
        config: PathBuf,
    },
}

#[derive(Subcommand)]
enum JournalCommand {
    /// Reads every record and says what is whole and what is missing; ends with 1 when anything is.
    Verify(Folder),
    /// Prints a line for each record: number, time, what it is. No card numbers, no names.
    List(Folder),
    /// Prints every record as a line of JSON with its place and chain value, and one line with the gateway's
    /// signature at the end: to be carried to the hub on a stick.
    Export(Folder),
}

#[derive(clap::Args)]
struct Folder {
    /// The gateway's data folder, as in its configuration.
    #[arg(long, default_value = "/var/lib/rollcall-gateway")]
    data: PathBuf,
}

/// Does what was typed.
pub(crate) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,rumqttd=error,sled=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.command {
        Command::Journal(command) => match command {
            JournalCommand::Verify(folder) => tool::verify(&folder.data),
            JournalCommand::List(folder) => tool::list(&folder.data),
            JournalCommand::Export(folder) => tool::export(&folder.data),
        },
        Command::Check { config, json } => {
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            let worst = runtime.block_on(check::all(&config, |finding| tell(finding, json)));
            ensure!(worst < Verdict::Fail, "something does not work: see what 'fail' says above");
            Ok(())
        }
        Command::CheckConfig { config } => {
            let found = Config::load(&config)?;
            tracing::info!(gateway = %found.gateway, buses = found.buses.len(), "{} can be used", config.display());
            Ok(())
        }
        Command::Run { config } => {
            let config = Config::load(&config)?;
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            let ended = runtime.block_on(serve(&config));
            // The broker's threads never end by themselves.
            runtime.shutdown_background();
            ended
        }
    }
}

/// Prints a finding.
#[expect(clippy::print_stdout, reason = "what was asked for")]
fn tell(finding: &Finding, json: bool) {
    if json {
        println!("{}", serde_json::to_string(finding).unwrap_or_default());
        return;
    }
    let Finding { check, verdict, found, advice } = finding;
    let verdict = format!("{verdict:?}").to_lowercase();
    println!("{verdict:<5} {check:<7} {found}");
    if let Some(advice) = advice {
        println!("{:<14}→ {advice}", "");
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    // Listened for from the start on: a signal that nobody listens for ends the process with its lights on.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut gateway = app::start(config, TimeSource::System).await?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = gateway.ended() => return ended,
    }
    tracing::info!("stopping");
    gateway.stop().await
}
