//! Runs a command beside a PostgreSQL server of its own: `with-postgres cargo test --test hub_api`.
//!
//! The command finds the server's socket folder in `ROLLCALL_TEST_POSTGRES`; the tests of the hub then run on it.

use std::process::ExitCode;

use reader_sim::postgres::TemporaryPostgres;
use tokio::process::Command;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else { anyhow::bail!("say which command to run") };
    // Ctrl-C reaches the command too: it ends, and then the server is stopped.
    let _heard = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let server = TemporaryPostgres::start()?;
    let status =
        Command::new(program).args(words).env("ROLLCALL_TEST_POSTGRES", server.socket()).status().await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
