//! The gateway's commands: what people type.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use rollcall_gateway::app::{self, TimeSource};
use rollcall_gateway::config::Config;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "Examples:
  rollcall-gateway run --config /etc/rollcall/gateway.toml
  RUST_LOG=debug rollcall-gateway run --config gateway.toml
  rollcall-gateway check-config --config gateway.toml";

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
    /// Reads the configuration and says whether it can be used.
    CheckConfig {
        /// The configuration.
        #[arg(long, default_value = "gateway.toml")]
        config: PathBuf,
    },
}

/// Does what was typed.
pub(crate) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,rumqttd=error,sled=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.command {
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
