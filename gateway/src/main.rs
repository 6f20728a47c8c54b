//! The gateway's program: arguments → config → run → exit code.

use std::process::ExitCode;

mod command;

fn main() -> ExitCode {
    // Both ring and another provider may be linked: choose one, first thing.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    match command::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
