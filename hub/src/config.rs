//! What the hub is told at its start: where to listen, where its data lies, which time zone is home.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::store::postgres;

/// A hub's configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the data lies.
    pub database: Database,
    /// Certificate chain and key, PEM files; plain HTTP without.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The institution's time zone.
    pub zone: jiff::tz::TimeZone,
    /// Whether to serve the query console.
    pub console: bool,
    /// The folder that GraphiQL is served from.
    pub graphiql: Option<PathBuf>,
    /// Whether the hub may go to private addresses, and without TLS, where a webhook or a calendar is there.
    pub allow_private: bool,
}

/// The address to listen on unless told.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// The database unless told.
pub const DEFAULT_DATABASE: &str = "sqlite:rollcall-data/hub.sqlite";
/// The time zone unless told.
pub const DEFAULT_ZONE: &str = "Europe/London";

/// Where the data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by its URL, which may hold a password.
    Postgres(String),
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => write!(f, "{}", postgres::shown(url)),
        }
    }
}

/// The database behind `sqlite:PATH` or `postgres://…`.
///
/// # Errors
/// When the text names none.
pub fn database(text: &str) -> anyhow::Result<Database> {
    match text.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(Database::Sqlite(PathBuf::from(path))),
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            Ok(Database::Postgres(text.to_owned()))
        }
        _ => bail!(
            "'{text}' names no database; say sqlite:PATH, for instance {DEFAULT_DATABASE}, or \
             postgres://USER:PASSWORD@HOST/DATABASE"
        ),
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
