//! The simulator's program: arguments → run → exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use reader_sim::{campus, load, reader};
use tracing_subscriber::EnvFilter;

/// Simulated readers, cards and students for Rollcall.
#[derive(Parser)]
#[command(name = "reader-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole system in one process, on embedded defaults: a day of teaching in about a minute.
    Campus(Box<campus::CampusArgs>),
    /// Many readers at one gateway, a morning rush, and how long students wait for their light.
    Load(load::LoadArgs),
    /// One reader, driven by lines of text, attached to a running gateway.
    Reader(Box<reader::ReaderArgs>),
}

fn main() -> ExitCode {
    // Both ring and another provider may be linked: choose one, first thing.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    let cli = Cli::parse();
    // A broker calls every reader that leaves an error, so also all of them at the end of a good run.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error,rumqttd=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let run = async {
        match cli.command {
            Command::Campus(args) => campus::run(*args).await,
            Command::Load(args) => load::run(args).await,
            Command::Reader(args) => reader::run(*args).await,
        }
    };
    let ended = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let ended = runtime.block_on(run);
            // The brokers' threads never end by themselves.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reader-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
