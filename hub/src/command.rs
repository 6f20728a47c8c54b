//! The hub's commands: what people type, and what they read.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use rollcall_hub::clock::SystemClock;
use rollcall_hub::config::{self, Config, Database};
use rollcall_hub::service::access::{self, Role};
use rollcall_hub::service::intake::evidence::Evidence;
use rollcall_hub::store::NEWEST;
use rollcall_hub::store::backup::backup;
use rollcall_hub::store::downgrade::{Downgrade, downgrade};
use rollcall_hub::{app, graphql};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

mod import;
mod jisc;
mod report;

const EXAMPLES: &str = "Examples:
  rollcall-hub serve
  rollcall-hub serve --listen 0.0.0.0:8443 --tls-cert hub.pem --tls-key hub.key --database sqlite:/var/lib/rollcall-hub/hub.sqlite
  rollcall-hub token create --name timetable-sync --role INTEGRATION
  rollcall-hub token create --name gw-a --role GATEWAY --gateway GW-A
  rollcall-hub import ical --room LIB-1 library.ics --dry-run
  rollcall-hub report --by course --from 2026-09-28 --until 2026-12-11 > courses.csv
  rollcall-hub export --from 2026-09-28 --until 2026-10-04 --format jsonl > marks.jsonl
  rollcall-hub export --from 2026-09-28 --until 2026-10-04 --format xapi --home-page https://www.example.ac.uk --lrs https://lrs.example.ac.uk/xapi
  rollcall-hub schema > schema.graphql
  rollcall-hub verify-receipt receipt.json --key 1f0c…";

/// The central hub of Rollcall: timetable, class lists, registers and devices, behind GraphQL.
#[derive(Parser)]
#[command(name = "rollcall-hub", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves GraphQL at /graphql (requests and WebSocket) and /health, until Ctrl-C.
    Serve(Serve),
    /// Prints the API's schema.
    Schema,
    /// Looks whether the database can be opened, and says its state. One of an earlier version is brought up to this one.
    Check(Data),
    /// Copies the database to a file, also while the hub serves it. To go back to it: stop the hub, put the file in the
    /// database's place (and remove its -wal and -shm), start the hub; the gateways hand over again what is newer.
    Backup {
        #[command(flatten)]
        data: Data,
        /// The file, which must not be there yet.
        #[arg(long)]
        out: PathBuf,
    },
    /// Makes the database into what an earlier version of this program left, to go back to that version with all that came in
    /// since; says what that version has no place for, and loses it. Stop all hubs, and take a backup, first.
    #[command(after_help = "Example:\n  rollcall-hub downgrade --to 25 --dry-run")]
    Downgrade {
        #[command(flatten)]
        data: Data,
        /// The schema version of the other program, which names it when it refuses the database.
        #[arg(long, value_name = "VERSION")]
        to: i64,
        /// Only says what would be lost.
        #[arg(long)]
        dry_run: bool,
    },
    /// Takes over what other systems hold, from files: all of them or nothing, as a difference to what is there.
    #[command(subcommand)]
    Import(import::Import),
    /// Prints ready-made figures as CSV: attendance by room, course, student and more, or the use of rooms.
    Report(report::Report),
    /// Prints all marks of some days, as they are at one instant.
    Export(report::Export),
    /// Checks a swipe's receipt, offline: that a gateway recorded it, by the gateway's public key alone.
    ///
    /// The file is what GraphQL's swipe(id).receipt.file holds. What is signed is the text "rollcall journal head 1",
    /// the journal's id, the last sequence, the chain value behind it in hex, and the time in milliseconds, each
    /// followed by a line feed; the chain value behind a record is SHA-256 over the value before it, the sequence as
    /// 8 bytes little-endian, and the SHA-256 of the record.
    VerifyReceipt {
        /// The receipt.
        file: PathBuf,
        /// The gateway's public key, 64 hex digits, as noted when it was installed; without it the receipt's own is
        /// taken, which proves no more than that nothing was changed.
        #[arg(long)]
        key: Option<String>,
    },
    /// Credentials of programs, people and gateways.
    #[command(subcommand)]
    Token(Token),
}

#[derive(Args)]
struct Data {
    /// Where the data lies.
    #[arg(long, env = "ROLLCALL_DATABASE", hide_env_values = true, default_value = config::DEFAULT_DATABASE, value_name = "sqlite:PATH|postgres://…")]
    database: String,
    /// The institution's time zone, by its IANA name.
    #[arg(long, env = "ROLLCALL_TIME_ZONE", default_value = config::DEFAULT_ZONE)]
    time_zone: String,
}

#[derive(Args)]
struct Serve {
    /// Where to listen.
    #[arg(long, env = "ROLLCALL_LISTEN", default_value = config::DEFAULT_LISTEN)]
    listen: SocketAddr,
    #[command(flatten)]
    data: Data,
    /// Certificate chain, a PEM file.
    #[arg(long, env = "ROLLCALL_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, a PEM file.
    #[arg(long, env = "ROLLCALL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Also serves a page to try queries on, at /console.
    #[arg(long, env = "ROLLCALL_CONSOLE")]
    console: bool,
    /// Also serves GraphiQL, at /graphiql, from the folder where npm put it:
    /// npm install --prefix graphiql graphiql@3 react@18 react-dom@18
    #[arg(long, env = "ROLLCALL_GRAPHIQL", value_name = "FOLDER", num_args = 0..=1, default_missing_value = "graphiql")]
    graphiql: Option<PathBuf>,
    /// Lets webhooks and calendars be at private addresses, and at http:// ones.
    #[arg(long, env = "ROLLCALL_ALLOW_PRIVATE_ADDRESSES")]
    allow_private_addresses: bool,
}

#[derive(Subcommand)]
enum Token {
    /// Makes a token and prints it, once, alone on the last line.
    Create {
        #[command(flatten)]
        data: Data,
        /// Who will use it.
        #[arg(long)]
        name: String,
        /// What it may do: ADMINISTRATOR, INTEGRATION or GATEWAY; may be said several times.
        #[arg(long, required = true)]
        role: Vec<String>,
        /// Code of the gateway that it speaks for, with the role GATEWAY.
        #[arg(long)]
        gateway: Option<String>,
        /// Days until it ends; for ever when left out.
        #[arg(long)]
        days: Option<u32>,
    },
    /// Lists all tokens: name, roles, state. Never the tokens themselves.
    List(Data),
    /// Takes all tokens of a name back: whoever shows one is refused from the next request on.
    Revoke {
        #[command(flatten)]
        data: Data,
        /// The name that they were made under.
        #[arg(long)]
        name: String,
    },
}

/// Does what was typed.
pub(crate) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match &cli.command {
        Command::Schema => return print(&graphql::sdl()),
        Command::VerifyReceipt { file, key } => return verify_receipt(file, key.as_deref()),
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    runtime.block_on(async {
        match cli.command {
            Command::Schema | Command::VerifyReceipt { .. } => Ok(()),
            Command::Serve(serve) => serve.run().await,
            Command::Check(data) => check(&data).await,
            Command::Import(import) => import.run().await,
            Command::Report(report) => report.run().await,
            Command::Export(export) => export.run().await,
            Command::Backup { data, out } => {
                let database = config::database(&data.database)?;
                let Database::Sqlite(file) = &database else {
                    bail!(
                        "a PostgreSQL database is copied by its own tools: pg_dump --format=custom --file={} '{database}', \
                         or continuous archiving",
                        out.display()
                    )
                };
                let bytes = backup(file, &out).await?;
                print(&format!("{}: a copy of {database}, {bytes} bytes\n", out.display()))
            }
            Command::Downgrade { data, to, dry_run } => go_back(&data, to, dry_run).await,
            Command::Token(Token::Create { data, name, role, gateway, days }) => {
                create_token(&data, &name, &role, gateway.as_deref(), days).await
            }
            Command::Token(Token::List(data)) => list_tokens(&data).await,
            Command::Token(Token::Revoke { data, name }) => revoke_tokens(&data, &name).await,
        }
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn verify_receipt(file: &std::path::Path, key: Option<&str>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let receipt: Evidence =
        serde_json::from_str(&text).with_context(|| format!("{} is no receipt", file.display()))?;
    receipt.check(key).map_err(|error| anyhow::anyhow!("{}: does NOT hold: {error}", file.display()))?;
    let whose = if key.is_some() { "by the key given" } else { "by the key in it; compare it with --key" };
    print(&format!(
        "holds: record {} of journal {}, signed {whose}\n{}\n",
        receipt.sequence, receipt.journal_id, receipt.record
    ))
}

impl Data {
    fn config(&self, listen: SocketAddr) -> anyhow::Result<Config> {
        Ok(Config {
            listen,
            database: config::database(&self.database)?,
            tls: None,
            zone: config::zone(&self.time_zone)?,
            console: false,
            graphiql: None,
            allow_private: false,
        })
    }
}

impl Serve {
    async fn run(self) -> anyhow::Result<()> {
        let mut config = self.data.config(self.listen)?;
        config.tls = self.tls_cert.zip(self.tls_key);
        config.console = self.console;
        config.graphiql = self.graphiql;
        config.allow_private = self.allow_private_addresses;
        // From the first moment on: whoever hears that it serves may tell it to stop.
        let mut stop = Stop::listen()?;
        let mut running = tokio::select! {
            running = app::start(&config, Arc::new(SystemClock)) => running?,
            () = stop.told() => return Ok(()),
        };
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        tracing::info!("serving {scheme}://{}/graphql, data in {}", running.address, config.database);
        if !access::any_token(&running.hub).await? {
            tracing::warn!(
                "there is no token yet, and nobody gets in without one; make the first with: rollcall-hub token \
                 create --database {} --name admin --role ADMINISTRATOR",
                match &config.database {
                    Database::Sqlite(path) => format!("sqlite:{}", path.display()),
                    Database::Postgres(_) => config.database.to_string(),
                }
            );
        }
        tokio::select! {
            () = stop.told() => {}
            broken = running.broken() => return Err(broken),
        }
        tracing::info!("stopping");
        running.stop().await
    }
}

/// Ctrl-C, and the service manager's request to end.
struct Stop {
    pressed: Signal,
    asked: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { pressed: signal(SignalKind::interrupt())?, asked: signal(SignalKind::terminate())? })
    }

    /// Waits until either comes.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.pressed.recv() => {}
            _ = self.asked.recv() => {}
        }
    }
}

async fn check(data: &Data) -> anyhow::Result<()> {
    let config = data.config(config::DEFAULT_LISTEN.parse()?)?;
    if matches!(&config.database, Database::Sqlite(file) if !file.exists()) {
        bail!("there is no database {}; 'rollcall-hub serve' makes it", config.database);
    }
    let hub = app::open(&config, Arc::new(SystemClock)).await?;
    let tokens = if access::any_token(&hub).await? { "there are tokens" } else { "there is no token yet" };
    print(&format!("{}: opens, its schema is current (version {NEWEST}), {tokens}\n", config.database))
}

async fn go_back(data: &Data, to: i64, dry_run: bool) -> anyhow::Result<()> {
    let database = config::database(&data.database)?;
    tracing::info!("looking what {database} has that version {to} has no place for");
    let Downgrade { from, lost } = downgrade(&database, to, dry_run).await?;
    let mut said = match (from == to, dry_run) {
        (true, _) => format!("{database} has schema version {to} already: nothing to do\n"),
        (_, true) => format!("{database} can go back from schema version {from} to {to}; "),
        (_, false) => format!("{database} went back from schema version {from} to {to}; "),
    };
    if from != to {
        said += if lost.is_empty() { "nothing is lost by that\n" } else { "lost by that:\n" };
        said.extend(lost.iter().map(|lost| format!("  {lost}\n")));
    }
    print(&said)
}

async fn create_token(
    data: &Data,
    name: &str,
    roles: &[String],
    gateway: Option<&str>,
    days: Option<u32>,
) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for role in roles {
        let known = Role::ALL.map(Role::word).join(", ");
        wanted.push(
            Role::from_word(role)
                .with_context(|| format!("there is no role '{role}'; say one of {known}"))?,
        );
    }
    let config = data.config(config::DEFAULT_LISTEN.parse()?)?;
    let hub = app::open(&config, Arc::new(SystemClock)).await?;
    let lifetime_ms = days.map(|days| i64::from(days) * 24 * 3_600_000);
    match access::create_token(&hub, name, &wanted, gateway, lifetime_ms).await? {
        Ok(token) => print(&format!("{token}\n")),
        Err(refusals) => {
            let words: Vec<String> = refusals
                .iter()
                .map(|refusal| format!("{}: {}", refusal.path.join("."), refusal.message))
                .collect();
            bail!("{}", words.join("; "))
        }
    }
}

async fn list_tokens(data: &Data) -> anyhow::Result<()> {
    let hub = app::open(&data.config(config::DEFAULT_LISTEN.parse()?)?, Arc::new(SystemClock)).await?;
    for token in access::tokens(&hub).await? {
        print(&format!("{token}\n"))?;
    }
    Ok(())
}

async fn revoke_tokens(data: &Data, name: &str) -> anyhow::Result<()> {
    let hub = app::open(&data.config(config::DEFAULT_LISTEN.parse()?)?, Arc::new(SystemClock)).await?;
    match access::revoke_tokens(&hub, name).await? {
        0 => bail!("no token of the name '{name}' is in force; 'rollcall-hub token list' shows all"),
        count => print(&format!("{count} taken back\n")),
    }
}
