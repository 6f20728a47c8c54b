//! What the hub is told at its start: where to listen, where its data lies, which time zone is home.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};

/// A hub's configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The database file.
    pub database: PathBuf,
    /// Certificate chain and key, PEM files; plain HTTP without.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The institution's time zone.
    pub zone: jiff::tz::TimeZone,
    /// Whether to serve the query console.
    pub console: bool,
    /// The folder that GraphiQL is served from.
    pub graphiql: Option<PathBuf>,
}

/// The address to listen on unless told.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// The database unless told.
pub const DEFAULT_DATABASE: &str = "sqlite:rollcall-data/hub.sqlite";
/// The time zone unless told.
pub const DEFAULT_ZONE: &str = "Europe/London";

/// The file behind `sqlite:PATH`.
///
/// # Errors
/// When the text names no SQLite file.
pub fn database(text: &str) -> anyhow::Result<PathBuf> {
    match text.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(PathBuf::from(path)),
        Some(("postgres" | "postgresql", _)) => {
            bail!("PostgreSQL is not there yet; use sqlite:PATH, for instance {DEFAULT_DATABASE}")
        }
        _ => bail!("'{text}' names no database; say sqlite:PATH, for instance {DEFAULT_DATABASE}"),
    }
}

/// A time zone by its IANA name.
///
/// # Errors
/// When there is none of that name.
pub fn zone(name: &str) -> anyhow::Result<jiff::tz::TimeZone> {
    jiff::tz::TimeZone::get(name)
        .with_context(|| format!("there is no time zone '{name}'; use an IANA name such as {DEFAULT_ZONE}"))
}
