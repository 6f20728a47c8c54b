//! `rollcall-gateway reader capture` and `replay`: what goes over an OSDP line, to a file and from one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::{mpsc, watch};

use super::place;
use crate::clock::{Clock as _, Reading, SystemClock};
use crate::config::{BusConfig, Config};
use crate::keys::ReaderKeys;
use crate::osdp::bus::{self, BusSettings, Keyed, Tap};
use crate::osdp::capture::Packet;
use crate::osdp::panel::Micros;

/// A capture ends at this size: weeks of a quiet line, a day of a busy one.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Writes what is heard and said on a line from `now` on to a file that only its owner may read, until the other end is
/// dropped.
///
/// # Errors
/// When the file cannot be made.
pub(crate) fn to_file(path: &Path, now: Reading) -> anyhow::Result<(Tap, std::thread::JoinHandle<usize>)> {
    let mut file =
        crate::private::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    let (tap, mut taken) = mpsc::unbounded_channel::<(bool, Vec<u8>)>();
    let name = path.display().to_string();
    let begun = (tokio::time::Instant::now(), u64::try_from(now.at.0).unwrap_or(0) * 1_000);
    let write = move || {
        let (mut packets, mut written) = (0, 0);
        let mut heard: Option<Packet> = None;
        let mut put = |packet: Packet| {
            let line = packet.line() + "\n";
            written += line.len();
            if written > MAX_BYTES {
                return;
            }
            match file.write_all(line.as_bytes()) {
                Ok(()) => packets += 1,
                Err(error) => {
                    tracing::warn!("{name} cannot be written: {error}; the capture ends");
                    written = MAX_BYTES;
                }
            }
        };
        while let Some((output, bytes)) = taken.blocking_recv() {
            let at = begun.1 + u64::try_from(begun.0.elapsed().as_micros()).unwrap_or(0);
            if output {
                // What came since the last command is the answer to it.
                heard.take().into_iter().for_each(&mut put);
                put(Packet { at, output, bytes });
            } else {
                heard.get_or_insert(Packet { at, output, bytes: Vec::new() }).bytes.extend(bytes);
            }
        }
        heard.into_iter().for_each(&mut put);
        packets
    };
    let thread = std::thread::Builder::new().name("capture".into()).spawn(write)?;
    Ok((tap, thread))
}

/// Speaks for a while on the line on which the reader of this code hangs, and writes all of it to a file. No gateway may run
/// here meanwhile; one that runs captures by its configuration.
///
/// # Errors
/// When there is no such reader, a gateway runs here, or the file cannot be made.
pub async fn run(config: &Config, code: &str, out: &Path, within: Duration) -> anyhow::Result<usize> {
    let (bus, _) = place(config, code)?;
    let _lock = crate::app::lock(&config.data).await?;
    let keys = ReaderKeys::load(&config.data)?;
    let clock = SystemClock::new(config.data.join("clock.json"));
    let (tap, writing) = to_file(out, clock.read())?;
    let settings = settings(bus, &keys, Some(tap));
    let (_orders, ordered) = mpsc::channel(1);
    let (events, mut heard) = mpsc::channel(16);
    let (stop, stopped) = watch::channel(false);
    let speaking = tokio::spawn(bus::run(settings, ordered, events, stopped));
    let listening = async { while heard.recv().await.is_some() {} };
    tokio::select! {
        () = tokio::time::sleep(within) => {}
        () = listening => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stop.send_replace(true);
    drop(heard);
    speaking.await.context("the line failed")?;
    let packets = tokio::task::spawn_blocking(move || writing.join()).await?;
    Ok(packets.unwrap_or(0))
}

/// How a line of the configuration is spoken on.
pub(crate) fn settings(bus: &BusConfig, keys: &ReaderKeys, tap: Option<Tap>) -> BusSettings {
    let keyed = |code: &str| keys.key(code).map(|key| Keyed::Under(key.clone()));
    let keys: BTreeMap<u8, Keyed> =
        bus.readers.iter().filter_map(|reader| Some((reader.address, keyed(&reader.code)?))).collect();
    let addresses = bus.readers.iter().map(|reader| reader.address).collect();
    BusSettings { port: bus.port.clone(), baud: bus.baud, addresses, keys, tap }
}

/// Says what a capture holds, a line for each frame, and at the end how the line did.
///
/// # Errors
/// When the file cannot be read, or a line of it is no packet: with its number.
pub fn replay(path: &Path, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mut begun, mut asked): (Option<Micros>, Option<Micros>) = (None, None);
    let (mut commands, mut answers, mut damaged) = (0, Vec::new(), 0);
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("{} line {number}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let packet = Packet::parse(&line).with_context(|| format!("{} line {number}", path.display()))?;
        let since = packet.at.saturating_sub(*begun.get_or_insert(packet.at));
        let arrow = if packet.output { "→" } else { "←" };
        let mut took = String::new();
        if packet.output {
            commands += 1;
            asked = Some(packet.at);
        } else if !packet.is_whole() {
            damaged += 1;
        } else if let Some(asked) = asked.take() {
            let after = packet.at.saturating_sub(asked);
            took = format!("  after {:.1} ms", after as f64 / 1e3);
            answers.push(after);
        }
        for words in packet.words() {
            writeln!(out, "{:>12.6} {arrow} {words}{took}", since as f64 / 1e6)?;
        }
    }
    ensure!(begun.is_some(), "{} holds no packet", path.display());
    answers.sort_unstable();
    let at = |share: usize| answers.get(answers.len().saturating_sub(1) * share / 100).copied();
    let ms =
        |time: Option<Micros>| time.map_or("-".to_owned(), |time| format!("{:.1} ms", time as f64 / 1e3));
    writeln!(
        out,
        "{commands} commands, {} answered (median {}, 99 % {}), {} not, {damaged} answers damaged",
        answers.len(),
        ms(at(50)),
        ms(at(99)),
        commands - answers.len().min(commands)
    )?;
    Ok(())
}
