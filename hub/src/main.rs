//! The hub's program: arguments → config → run → exit code.

use std::process::ExitCode;

mod command;

/// A query's answer is thousands of small pieces of memory: this gives them out faster than the system does.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Both ring and another provider may be linked: choose one, first thing.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    match command::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}
