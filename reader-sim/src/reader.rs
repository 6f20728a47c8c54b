//! `reader-sim reader`: one simulated reader in a terminal, or driven by another program.
//!
//! Called by `main`. In a terminal `screen` draws it and takes keys; elsewhere it reads one card or command a line from
//! standard input and prints one event a line to standard output, so that a shell script or a test can use it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::device::ascii::AsciiReader;
use crate::device::mqtt::{Credentials, MqttReader, Proof};
use crate::device::osdp::{OsdpBus, OsdpReader, ReaderKey};
use crate::device::{DeviceEvent, Shown};
use crate::plan::{Colour, Credential};

mod line;
mod screen;

use line::Line;
use screen::Screen;

const EXAMPLE: &str = "\
Examples:
  reader-sim reader --osdp new
      makes a pty, prints its path (`pty /dev/pts/7`) for the gateway to open, and serves it
  reader-sim reader --osdp /dev/ttyUSB0 --baud 9600 --address 2
  reader-sim reader --osdp new --install
      has no key yet: `rollcall-gateway reader keyset` gives it one, which it forgets when it ends
  reader-sim reader --ascii new
      an RDM6300 that prints card numbers, and a light that the letters O B G R A set
  reader-sim reader --mqtt mqtt://127.0.0.1:1883 --gateway GW-MAIN --code R-101
  reader-sim reader --mqtt mqtts://192.0.2.7:8883 --gateway GW-MAIN --code R-101 --ca-file ca.pem --password-file pw
      from another machine, through the gateway's door for the network

In a terminal the reader is drawn and takes keys (--plain: lines there too). Standard input, one a line:
  uid 04A2B3C4D5E680    a card's UID, in hexadecimal
  h10301 42 12345       a 26-bit card: facility and number
  h10306 42 12345       a 34-bit card: facility and number
  raw 26 95181CC0       any bits, left-justified and zero-padded
  tamper on | off       opens or closes its case (OSDP only)
  contact on | off      its input, such as a door's contact, is active or not (OSDP only)
  unplug | plug         takes it off line and power, or puts it back (OSDP only)
  noise|loss|busy|slow|duplicate on|off   what is wrong with its line, or with it (OSDP only)
  rekey                 it starts afresh with another key (OSDP only)
  quit                  as the end of the input does, so keep it open

Standard output, one a line: `online`, `light blue`, `flash green`, `buzzer`, `ack 3 recorded`, `error: …`";

/// Simulate one reader: cards come from standard input, what its light does goes to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE, group(clap::ArgGroup::new("link").required(true)))]
pub struct ReaderArgs {
    /// Be an OSDP reader on this serial port or pty; `new` makes a pty and prints its path
    #[arg(long, value_name = "PATH", group = "link")]
    pub osdp: Option<PathBuf>,
    /// Be an RDM6300 on this serial port or pty; `new` makes a pty and prints its path
    #[arg(long, value_name = "PATH", group = "link")]
    pub ascii: Option<PathBuf>,
    /// Be an MQTT reader of the broker at this address
    #[arg(long, value_name = "mqtt[s]://HOST:PORT", group = "link", requires = "gateway")]
    pub mqtt: Option<BrokerAddress>,
    /// The reader's code
    #[arg(long, default_value = "reader-1")]
    pub code: String,
    /// The gateway's code (MQTT only)
    #[arg(long)]
    pub gateway: Option<String>,
    /// The reader's address on the bus (OSDP only)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=126))]
    pub address: u8,
    /// The line's speed (on a real port only)
    #[arg(long, default_value_t = 9600)]
    pub baud: u32,
    /// The serial number that the reader reports (OSDP only)
    #[arg(long, default_value_t = 1)]
    pub serial: u32,
    /// Has no key yet: takes the well-known one, to be given its own (OSDP only)
    #[arg(long, requires = "osdp")]
    pub install: bool,
    /// File with the reader's own key, 32 hexadecimal digits: it takes nothing that is not sealed by it (OSDP only)
    #[arg(long, value_name = "FILE", requires = "osdp", conflicts_with = "install")]
    pub key_file: Option<PathBuf>,
    /// File with the authority that the gateway's certificate comes from: its data folder's mqtt-ca.pem (mqtts only)
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    pub ca_file: Option<PathBuf>,
    /// File with the reader's password, which `rollcall-gateway reader password` printed (mqtts only)
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    pub password_file: Option<PathBuf>,
    /// File with the reader's certificate, which `rollcall-gateway reader certificate` made, instead of a password (mqtts
    /// only); its key is in the file beside it that ends in .key
    #[arg(long, value_name = "FILE", requires = "mqtt", conflicts_with = "password_file")]
    pub cert_file: Option<PathBuf>,
    /// A card of the wallet, as a line of standard input has it: 'uid 04A2B3C4D5E680'; may be said up to nine times
    #[arg(long, value_name = "CARD")]
    pub card: Vec<String>,
    /// Lines on standard input and output in a terminal too
    #[arg(long)]
    pub plain: bool,
}

/// Where a broker listens: `mqtt://host:port`, the port 1883 when left out, or `mqtts://host:port`, the port 8883.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// By TLS.
    pub tls: bool,
}

impl FromStr for BrokerAddress {
    type Err = String;

    fn from_str(url: &str) -> Result<BrokerAddress, String> {
        let wrong = || format!("`{url}` is not like mqtt://127.0.0.1:1883 or mqtts://192.0.2.7:8883");
        let (tls, rest) = match (url.strip_prefix("mqtts://"), url.strip_prefix("mqtt://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(wrong()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (rest, if tls { 8883 } else { 1883 }),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(wrong());
        }
        Ok(BrokerAddress { host: host.to_owned(), port, tls })
    }
}

/// Cards, a line each.
pub(crate) fn wallet(lines: &[String]) -> anyhow::Result<Vec<Credential>> {
    let card = |text: &String| match text.parse::<Line>() {
        Ok(Line::Card(card)) => Ok(card),
        Ok(_) => anyhow::bail!("{text:?} is no card; one is like 'uid 04A2B3C4D5E680'"),
        Err(error) => anyhow::bail!("{text:?} is no card: {error}"),
    };
    lines.iter().map(card).collect()
}

/// A reader of either kind.
enum Device {
    Osdp(OsdpBus),
    Ascii(AsciiReader),
    Mqtt(MqttReader),
}

/// Runs the reader until the end of standard input, `quit`, or Ctrl-C.
pub fn run(args: ReaderArgs) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(drive(args))
}

async fn drive(args: ReaderArgs) -> anyhow::Result<()> {
    let (events, mut happened) = mpsc::unbounded_channel();
    let code = args.code.clone();
    let plain = args.plain || !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal());
    let cards = args.card.clone();
    let mut about = code.clone();
    let device = match (args.osdp, args.ascii, args.mqtt) {
        (_, Some(path), _) => {
            let reader = if path == Path::new("new") {
                let reader = AsciiReader::on_new_pty(args.code, events)?;
                announce(plain, reader.path())?;
                reader
            } else {
                AsciiReader::on_port(&path, args.baud, args.code, events)?
            };
            about = format!("{about}  RDM6300 on {}", reader.path().display());
            Device::Ascii(reader)
        }
        (Some(path), ..) => {
            let key = match (args.install, args.key_file) {
                (true, _) => ReaderKey::Install,
                (false, Some(path)) => ReaderKey::Own(read_key(&path)?),
                (false, None) => ReaderKey::None,
            };
            let reader = OsdpReader { code: args.code, address: args.address, serial: args.serial, key };
            let bus = if path == Path::new("new") {
                OsdpBus::on_new_pty(vec![reader], events)?
            } else {
                OsdpBus::on_port(&path, args.baud, vec![reader], events)?
            };
            if path == Path::new("new") {
                announce(plain, bus.path())?;
            }
            about = format!("{about}  OSDP address {} on {}", args.address, bus.path().display());
            Device::Osdp(bus)
        }
        (None, None, Some(broker)) => {
            let gateway = args.gateway.context("--mqtt needs --gateway")?;
            let (host, port) = (broker.host, broker.port);
            about = format!("{about}  MQTT of gateway {gateway} at {host}:{port}");
            let proof = match (args.password_file, args.cert_file) {
                (Some(password), _) => Some(Proof::Password(read(&password)?)),
                (None, Some(certificate)) => Some(Proof::Certificate(
                    read(&certificate)?.into_bytes(),
                    read(&certificate.with_extension("key"))?.into_bytes(),
                )),
                (None, None) => None,
            };
            let reader = match (args.ca_file, proof) {
                (Some(authority), Some(proof)) => {
                    let by = Credentials { authority: read(&authority)?.into_bytes(), proof };
                    MqttReader::connect_secured(args.code, gateway, host, port, by, events).await?
                }
                _ if broker.tls => {
                    anyhow::bail!("mqtts:// needs --ca-file, and --password-file or --cert-file")
                }
                _ => MqttReader::connect(args.code, gateway, host, port, events).await?,
            };
            Device::Mqtt(reader)
        }
        (None, None, None) => anyhow::bail!("one of --osdp, --ascii and --mqtt is needed"),
    };
    let ended = if plain {
        in_lines(&device, &code, &mut happened).await
    } else {
        Screen::new(&about, &cards)?.run(&device, &code, &mut happened).await
    };
    if let Device::Mqtt(reader) = device {
        reader.stop().await;
    }
    ended
}

/// A card or a command a line, an event a line.
async fn in_lines(
    device: &Device,
    code: &str,
    happened: &mut mpsc::UnboundedReceiver<DeviceEvent>,
) -> anyhow::Result<()> {
    let mut lines = stdin_lines()?;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            line = lines.recv() => match line.map(|line| line.parse()) {
                None | Some(Ok(Line::Quit)) => return Ok(()),
                Some(Ok(line)) => {
                    if let Err(error) = obey(device, code, &line) {
                        say(&format!("error: {error:#}"))?;
                    }
                }
                Some(Err(error)) => say(&format!("error: {error}"))?,
            },
            event = happened.recv() => match event {
                Some(event) => say(&describe(&event))?,
                None => anyhow::bail!("the reader has stopped"),
            },
            result = &mut interrupt => {
                return result.context("cannot wait for Ctrl-C");
            }
        }
    }
}

/// Does what a line asks for.
fn obey(device: &Device, code: &str, line: &Line) -> anyhow::Result<()> {
    match line {
        Line::Nothing | Line::Quit => Ok(()),
        Line::Card(credential) => present(device, code, credential),
        Line::Tamper(on) => Ok(bus(device)?.tamper(code, *on)?),
        Line::Contact(on) => Ok(bus(device)?.contact(code, *on)?),
        Line::Unplug(off) => Ok(bus(device)?.unplug(code, *off)?),
        Line::Fault(fault, on) => Ok(bus(device)?.fault(code, *fault, *on)?),
        Line::Rekey => Ok(bus(device)?.rekey(code, ReaderKey::Own(rand::random()))?),
    }
}

/// The line of the reader, which only OSDP readers have here.
fn bus(device: &Device) -> anyhow::Result<&OsdpBus> {
    match device {
        Device::Osdp(bus) => Ok(bus),
        Device::Ascii(_) | Device::Mqtt(_) => {
            anyhow::bail!("only an OSDP reader can be opened, unplugged or spoilt here")
        }
    }
}

/// Says which pty was made; on the screen it stands anyway.
fn announce(plain: bool, pty: &Path) -> anyhow::Result<()> {
    if plain { say(&format!("pty {}", pty.display())) } else { Ok(()) }
}

/// What a file holds, without the line's end.
fn read(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(text.trim_end().to_owned())
}

fn read_key(path: &Path) -> anyhow::Result<[u8; 16]> {
    let text = read(path)?;
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes = pairs.collect::<Option<Vec<u8>>>().filter(|_| digits.len() == 32);
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .with_context(|| format!("{}: a key has 32 hexadecimal digits", path.display()))
}

fn present(device: &Device, code: &str, credential: &Credential) -> anyhow::Result<()> {
    match device {
        Device::Osdp(bus) => bus.present(code, credential)?,
        Device::Ascii(reader) => reader.present(credential)?,
        Device::Mqtt(reader) => drop(reader.present(credential)?),
    }
    Ok(())
}

/// Standard input, read by a thread of its own: a runtime's own reader would keep the program from ending
/// after Ctrl-C until one more line came.
fn stdin_lines() -> anyhow::Result<mpsc::Receiver<String>> {
    let (lines, inbox) = mpsc::channel(16);
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            for line in std::io::stdin().lock().split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        })
        .context("cannot start the thread that reads standard input")?;
    Ok(inbox)
}

fn describe(event: &DeviceEvent) -> String {
    match event {
        DeviceEvent::Online { .. } => "online".into(),
        DeviceEvent::Light { shown: Shown::Base(colour), .. } => format!("light {}", name(*colour)),
        DeviceEvent::Light { shown: Shown::Flash(colour), .. } => format!("flash {}", name(*colour)),
        DeviceEvent::Buzzer { .. } => "buzzer".into(),
        DeviceEvent::Keyed { .. } => "key set".into(),
        DeviceEvent::Acknowledged { seq, result, .. } => format!("ack {seq} {result}"),
    }
}

fn name(colour: Colour) -> &'static str {
    match colour {
        Colour::Off => "off",
        Colour::Blue => "blue",
        Colour::Green => "green",
        Colour::Red => "red",
        Colour::Amber => "amber",
    }
}

/// Prints a line at once: who reads it may be a program at the other end of a pipe.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn broker_addresses() {
        let parsed = |url: &str| url.parse::<BrokerAddress>().map(|a| (a.host, a.port));
        assert_eq!(parsed("mqtts://gw-a").unwrap(), ("gw-a".into(), 8883));
        assert_eq!(parsed("mqtt://127.0.0.1:2883").unwrap(), ("127.0.0.1".into(), 2883));
        assert_eq!(parsed("mqtt://broker/").unwrap(), ("broker".into(), 1883));
        assert_eq!(parsed("mqtt://[::1]:2883").unwrap(), ("::1".into(), 2883));
        assert_eq!(parsed("mqtt://[::1]").unwrap(), ("::1".into(), 1883));
        for wrong in ["127.0.0.1:1883", "mqtt://", "mqtt://host:many", "mqtt://a/b", "https://host"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn events_are_one_short_line() {
        let reader = || "R".to_owned();
        let shown = Shown::Flash(Colour::Green);
        assert_eq!(describe(&DeviceEvent::Light { reader: reader(), shown, answers: None }), "flash green");
        let ack = DeviceEvent::Acknowledged { reader: reader(), seq: 3, result: "recorded".into() };
        assert_eq!(describe(&ack), "ack 3 recorded");
    }
}
