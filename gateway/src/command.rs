//! The gateway's commands: what people type.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use rollcall_gateway::app::{self, TimeSource};
use rollcall_gateway::check::{self, Finding, Verdict};
use rollcall_gateway::config::{BAUDS, Config};
use rollcall_gateway::journal::tool;
use rollcall_gateway::osdp::frame::MAX_ADDRESS;
use rollcall_gateway::scan::{self, Heard, Line};
use rollcall_gateway::setup::walk::{self, Installer, Walk};
use rollcall_gateway::setup::{address, capture, keyset, let_in};
use rollcall_gateway::support;
use rollcall_gateway::watchdog::Watchdog;
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "Examples:
  rollcall-gateway run --config /etc/rollcall/gateway.toml
  RUST_LOG=debug rollcall-gateway run --config gateway.toml
  rollcall-gateway check --config gateway.toml
  rollcall-gateway scan --port /dev/ttyUSB0 --baud 9600
  rollcall-gateway reader keyset R101-DOOR --config gateway.toml
  rollcall-gateway reader set-address R101-DOOR --to 7 --config gateway.toml
  rollcall-gateway walk --installer 'A. Smith' --config gateway.toml
  rollcall-gateway support-bundle --config gateway.toml
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
    /// Finds the OSDP readers on serial lines: speed, address, vendor, model, firmware, what they can do. Stop the
    /// gateway first: a line belongs to one program.
    Scan(ScanArgs),
    /// Gathers what somebody far away needs to help, in a tar.gz: checks, status, metrics, the journal's state, logs. Nothing
    /// about anybody is in it: no card, name, key or token, and no swipe.
    SupportBundle {
        /// The configuration.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
        config: PathBuf,
        /// Where it goes; a file that is not there yet.
        #[arg(long, default_value = "rollcall-support.tar.gz")]
        output: PathBuf,
    },
    /// Goes from door to door with an installer while the gateway runs: lights, buzzer, a test card; "did it?". Writes a report
    /// as text and JSON, which the hub keeps. Ends with 1 when something was not as it should be.
    Walk(WalkArgs),
    /// Sets up one reader. Stop the gateway first: a line belongs to one program.
    #[command(subcommand)]
    Reader(ReaderCommand),
    /// Reads the configuration and says whether it can be used.
    CheckConfig {
        /// The configuration.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
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
    /// signature at the end: evidence, to be carried on a stick. `check-export` checks it; no hub takes it in.
    Export(Folder),
    /// Checks an export: that each record follows from the one before it, and that the gateway signed the ends.
    CheckExport {
        /// The export.
        file: PathBuf,
        /// The gateway's public key, 64 hex digits, as noted when it was installed; without it the export's own is taken,
        /// which proves no more than that nothing was changed.
        #[arg(long)]
        key: Option<String>,
    },
}

#[derive(Subcommand)]
enum ReaderCommand {
    /// Gives an OSDP reader a random key of its own: from then on its line is encrypted, and clear text and the key that
    /// everybody knows are refused. Again: another key.
    Keyset {
        /// The reader's code, as in the configuration.
        code: String,
        /// The configuration.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
        config: PathBuf,
        /// For so many seconds the reader may speak by the key that everybody knows.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=600))]
        within: u64,
    },
    /// Moves an OSDP reader to another address or speed, and finds it again there (COMSET).
    SetAddress {
        /// The reader's code, as in the configuration.
        code: String,
        /// Its new address; the one that it has when left out.
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=i64::from(MAX_ADDRESS)), required_unless_present = "baud")]
        to: Option<u8>,
        /// Its new speed; the one that it has when left out.
        #[arg(long)]
        baud: Option<u32>,
        /// The configuration.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
        config: PathBuf,
    },
    /// Speaks on the line on which an OSDP reader hangs and writes all of it to a file (OSDPCAP, JSON lines; cards and keys
    /// masked). No gateway may run here meanwhile: one that runs captures by `capture = "FILE"` in [[bus]].
    Capture {
        /// The reader's code, as in the configuration.
        code: String,
        /// The configuration.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
        config: PathBuf,
        /// The file.
        #[arg(long, default_value = "line.osdpcap")]
        out: PathBuf,
        /// For so many seconds, or until Ctrl-C.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: u64,
    },
    /// Says what a capture holds, a line for each frame, and how fast it was answered; whoever made it.
    Replay {
        /// The file (OSDPCAP, JSON lines).
        file: PathBuf,
    },
    /// Makes a password for an MQTT reader and prints it, once: user name and client id are its code. The gateway may
    /// run meanwhile; an earlier password ends.
    Password {
        /// The reader's code, as the hub knows it.
        code: String,
        /// The configuration.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
        config: PathBuf,
    },
    /// Makes a certificate and its key for an MQTT reader that can have one instead of a password: CODE.pem and CODE.key. The
    /// gateway may run meanwhile; an earlier certificate ends.
    Certificate {
        /// The reader's code, as the hub knows it.
        code: String,
        /// The folder that they go to.
        #[arg(long, default_value = ".")]
        out: PathBuf,
        /// The configuration.
        #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
        config: PathBuf,
    },
}

#[derive(clap::Args)]
struct WalkArgs {
    /// The configuration.
    #[arg(long, env = "ROLLCALL_GATEWAY_CONFIG", default_value = "gateway.toml")]
    config: PathBuf,
    /// Who stands at the doors: a name or initials.
    #[arg(long, required_unless_present = "send")]
    installer: Option<String>,
    /// Only this reader, by its code; may be said several times. All when left out.
    #[arg(long)]
    reader: Vec<String>,
    /// Where the report goes.
    #[arg(long, default_value = ".")]
    report: PathBuf,
    /// Also at doors where a session is open, whose students would take the lights for an answer.
    #[arg(long)]
    during_teaching: bool,
    /// Only hands over a report that was written before, when the hub was away.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["installer", "reader", "during_teaching"])]
    send: Option<PathBuf>,
}

#[derive(clap::Args)]
struct ScanArgs {
    /// A port; may be said several times. All adapters under /dev/serial/by-id when left out.
    #[arg(long)]
    port: Vec<PathBuf>,
    /// A speed; may be said several times. All speeds of OSDP when left out.
    #[arg(long)]
    baud: Vec<u32>,
    /// The last address that is asked; the first is 0.
    #[arg(long, default_value_t = MAX_ADDRESS, value_parser = clap::value_parser!(u8).range(0..=i64::from(MAX_ADDRESS)))]
    last_address: u8,
    /// One JSON line for each find.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Folder {
    /// The gateway's data folder, as in its configuration.
    #[arg(long, default_value = "/var/lib/rollcall-gateway")]
    data: PathBuf,
}

/// What is logged unless `RUST_LOG` says otherwise. To rumqttd's server each client that goes is an error; the gate in
/// front of it tells of those that matter.
const LOGS: &str = "info,rumqttd=error,rumqttd::server::broker=off,sled=warn";

/// Does what was typed.
pub(crate) fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGS));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.command {
        Command::Journal(command) => match command {
            JournalCommand::Verify(folder) => tool::verify(&folder.data),
            JournalCommand::List(folder) => tool::list(&folder.data),
            JournalCommand::Export(folder) => tool::export(&folder.data),
            JournalCommand::CheckExport { file, key } => {
                say(&file.display().to_string(), &tool::check_export(&file, key.as_deref())?);
                Ok(())
            }
        },
        Command::Check { config, json } => {
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            let worst = runtime.block_on(check::all(&config, |finding| tell(finding, json)));
            ensure!(worst < Verdict::Fail, "something does not work: see what 'fail' says above");
            Ok(())
        }
        Command::Scan(args) => {
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            runtime.block_on(scan_lines(&args))
        }
        Command::SupportBundle { config, output } => {
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            runtime.block_on(support::bundle(&config, &output, |part| say("gathering", part)))?;
            say("done", &output.display().to_string());
            Ok(())
        }
        Command::Walk(args) => {
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            let ended = runtime.block_on(walk_doors(&args));
            // A read of the terminal never ends by itself.
            runtime.shutdown_background();
            ended
        }
        Command::Reader(ReaderCommand::Keyset { code, config, within }) => {
            let config = Config::load(&config)?;
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            runtime
                .block_on(keyset::run(&config, &code, Duration::from_secs(within), |said| say(&code, said)))
        }
        Command::Reader(ReaderCommand::SetAddress { code, to, baud, config }) => {
            let config = Config::load(&config)?;
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            runtime.block_on(address::run(&config, &code, to, baud, |said| say(&code, said)))
        }
        Command::Reader(ReaderCommand::Capture { code, config, out, seconds }) => {
            let config = Config::load(&config)?;
            let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
            say(&code, &format!("capturing for {seconds} s, or until Ctrl-C"));
            let packets =
                runtime.block_on(capture::run(&config, &code, &out, Duration::from_secs(seconds)))?;
            say(&code, &format!("{packets} packets in {}", out.display()));
            Ok(())
        }
        Command::Reader(ReaderCommand::Replay { file }) => {
            capture::replay(&file, &mut std::io::stdout().lock())
        }
        Command::Reader(ReaderCommand::Password { code, config }) => let_reader_in(&config, &code, None),
        Command::Reader(ReaderCommand::Certificate { code, out, config }) => {
            let_reader_in(&config, &code, Some(&out))
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

/// The one at the terminal.
struct AtTerminal {
    lines: tokio::io::Lines<BufReader<Stdin>>,
}

impl Installer for AtTerminal {
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    fn tell(&mut self, line: &str) {
        println!("{line}");
    }

    #[expect(clippy::print_stdout, reason = "what was asked for")]
    async fn answer(&mut self, question: &str) -> Option<String> {
        if std::io::stdout().is_terminal() {
            print!("{question}");
            std::io::stdout().flush().ok()?;
        } else {
            println!("{question}");
        }
        self.lines.next_line().await.ok()?
    }
}

async fn walk_doors(args: &WalkArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    if let Some(file) = &args.send {
        walk::send(&walk::read(file, &config)?, &config).await?;
        say("handed over", &file.display().to_string());
        return Ok(());
    }
    let mut terminal = AtTerminal { lines: BufReader::new(tokio::io::stdin()).lines() };
    let installer = args.installer.as_deref().unwrap_or_default();
    let walk = Walk { config: &config, installer, only: &args.reader, teaching: args.during_teaching };
    let report = walk.run(&mut terminal).await?;
    ensure!(!report.doors.is_empty(), "no door was walked; no report");
    let file = walk::write(&report, &args.report)?;
    terminal.tell(&report.text());
    say("report", &format!("{}, and .txt beside it", file.display()));
    match walk::send(&report, &config).await {
        Ok(()) => say("handed over", &config.hub.url),
        Err(error) => say(
            "NOT handed over",
            &format!("{error:#}; later: rollcall-gateway walk --send {}", file.display()),
        ),
    }
    ensure!(report.passed(), "not everything was as it should be");
    Ok(())
}

/// Asks every address at every speed of every port.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what was asked for, and how far it is")]
async fn scan_lines(args: &ScanArgs) -> anyhow::Result<()> {
    let ports = if args.port.is_empty() { scan::ports() } else { args.port.clone() };
    ensure!(!ports.is_empty(), "no adapter is plugged in (/dev/serial/by-id is empty); say --port");
    let bauds = if args.baud.is_empty() { BAUDS.to_vec() } else { args.baud.clone() };
    let shows = std::io::stderr().is_terminal();
    let (mut readers, mut failed) = (0, 0);
    for port in &ports {
        for baud in &bauds {
            let (name, baud) = (port.display(), *baud);
            let asking = |address| {
                if shows {
                    eprint!("\r{name}, {baud} baud: address {address} of {}   ", args.last_address);
                }
            };
            let tell = |heard: Heard| {
                if shows {
                    eprint!("\r{:78}\r", "");
                }
                readers += usize::from(matches!(heard, Heard::Reader { .. }));
                if args.json {
                    let mut line = serde_json::to_value(&heard).unwrap_or_default();
                    line["port"] = port.to_string_lossy().into();
                    line["baud"] = baud.into();
                    println!("{line}");
                    return;
                }
                match heard {
                    Heard::Reader { address, vendor, model, version, serial, firmware, can, others } => {
                        println!(
                            "{name}, {baud} baud, address {address}: vendor {vendor}, model {model}.{version}, serial \
                             {serial}, firmware {firmware}; {}",
                            can.join(", ")
                        );
                        for other in others {
                            println!(
                                "{name}, {baud} baud, address {address}: TWO READERS, serial {serial} and {other}: take one \
                                 off the line and give the other another address"
                            );
                        }
                    }
                    Heard::Garbled { address, bytes } => println!(
                        "{name}, {baud} baud, address {address}: {bytes} bytes that are no reply: two readers with this \
                         address, another speed, or a bad line"
                    ),
                }
            };
            let line = Line { port: port.clone(), baud };
            if let Err(error) = scan::line(&line, 0..=args.last_address, asking, tell).await {
                failed += 1;
                eprintln!("{name}: {error}; does a gateway run on it? systemctl stop rollcall-gateway");
                break;
            }
        }
    }
    if shows {
        eprint!("\r{:78}\r", "");
    }
    eprintln!("{readers} readers on {} lines", ports.len() - failed);
    ensure!(failed == 0, "{failed} lines could not be asked");
    Ok(())
}

/// Makes what lets a reader in; on standard output is what was made, and nothing else.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what was asked for, and what to do with it")]
fn let_reader_in(config: &Path, code: &str, folder: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    match folder {
        None => println!("{}", let_in::password(&config, code)?),
        Some(folder) => {
            let (certificate, key) = let_in::certificate(&config, code, folder)?;
            println!("{}\n{}", certificate.display(), key.display());
        }
    }
    eprintln!("{}", let_in::advice(&config, code));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn say(of: &str, said: &str) {
    println!("{of}: {said}");
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
    let watchdog = Watchdog {
        journal: config.data.join("journal"),
        broker: config.mqtt.as_ref().map(|mqtt| mqtt.listen),
    };
    Watchdog::ready();
    let asked = tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
        () = gateway.closed() => false,
        () = watchdog.feed(&gateway) => true,
    };
    if !asked {
        return gateway.ended().await;
    }
    Watchdog::stopping();
    tracing::info!("stopping");
    gateway.stop().await
}
