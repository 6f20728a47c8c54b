//! `rollcall-gateway scan`: which OSDP readers hang on a line, at which speed and address.
//!
//! Asks every address in turn who it is, and nothing else. A line that a gateway serves cannot be opened.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_serial::{SerialPortBuilderExt, SerialStream};

use crate::osdp::command::Command;
use crate::osdp::frame::{Check, Decoded, Decoder, Frame};
use crate::osdp::reply::{Capability, Reply};

/// How long a reader gets to begin its reply: most take 3 ms, and adapters hold bytes back for up to 16.
const PATIENCE: Duration = Duration::from_millis(80);
/// Another reader with the same address answers within this time of the first.
const OTHERS_WITHIN: Duration = Duration::from_millis(40);
/// The longest reply that is waited for, in bytes.
const REPLY_BYTES: u64 = 64;
/// Where the system names adapters so that the names do not move.
const BY_ID: &str = "/dev/serial/by-id";

/// What a line is asked for.
#[derive(Debug, Clone)]
pub struct Line {
    /// The port.
    pub port: PathBuf,
    /// Its speed.
    pub baud: u32,
}

/// What was heard at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "heard")]
pub enum Heard {
    /// A reader.
    #[serde(rename_all = "camelCase")]
    Reader {
        /// Its OSDP address.
        address: u8,
        /// IEEE OUI of its vendor, hex digits.
        vendor: String,
        /// Its model.
        model: u8,
        /// Its hardware version.
        version: u8,
        /// Its serial number.
        serial: u32,
        /// Its firmware: major.minor.build.
        firmware: String,
        /// What it says that it can do, in words.
        can: Vec<String>,
        /// Serial numbers of others that answered at the same address.
        others: Vec<u32>,
    },
    /// Bytes that are no reply: two readers with one address, another speed, or a bad line.
    Garbled {
        /// The address that was asked.
        address: u8,
        /// How many.
        bytes: usize,
    },
}

/// The adapters that the system knows of by name.
#[must_use]
pub fn ports() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(BY_ID).into_iter().flatten().flatten();
    let mut ports: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    ports.sort();
    ports
}

/// Asks some addresses of a line; what is heard is told at once. `asking` is told of each address before.
///
/// # Errors
/// When the port cannot be opened, or is lost.
pub async fn line(
    line: &Line,
    addresses: impl IntoIterator<Item = u8>,
    mut asking: impl FnMut(u8),
    mut tell: impl FnMut(Heard),
) -> io::Result<()> {
    let (mut port, mut decoder) = (open(&line.port, line.baud)?, Decoder::default());
    for address in addresses {
        asking(address);
        match ask(&mut port, &mut decoder, line.baud, address, 0, Command::Id).await? {
            Answer::Reply(Reply::Identity(identity)) => {
                let others = others(&mut port, &mut decoder, address).await?;
                let can =
                    match ask(&mut port, &mut decoder, line.baud, address, 1, Command::Capabilities).await? {
                        Answer::Reply(Reply::Capabilities(all)) => all.iter().filter_map(words).collect(),
                        _ => Vec::new(),
                    };
                let [major, minor, build] = identity.firmware;
                tell(Heard::Reader {
                    address,
                    vendor: crate::core::hex(&identity.vendor),
                    model: identity.model,
                    version: identity.version,
                    serial: identity.serial,
                    firmware: format!("{major}.{minor}.{build}"),
                    can,
                    others,
                });
            }
            Answer::Reply(_) | Answer::Silence => {}
            Answer::Garbled(bytes) => tell(Heard::Garbled { address, bytes }),
        }
    }
    Ok(())
}

fn open(port: &Path, baud: u32) -> io::Result<SerialStream> {
    tokio_serial::new(port.to_string_lossy(), baud).open_native_async().map_err(io::Error::from)
}

enum Answer {
    Reply(Reply),
    Silence,
    Garbled(usize),
}

async fn ask(
    port: &mut SerialStream,
    decoder: &mut Decoder,
    baud: u32,
    address: u8,
    sequence: u8,
    command: Command,
) -> io::Result<Answer> {
    let frame = Frame::command(address, sequence, Check::Crc, command.code(), command.data()).encode();
    port.write_all(&frame).await?;
    let wire = (frame.len() as u64 + REPLY_BYTES) * 10_000_000 / u64::from(baud.max(1));
    let deadline = Instant::now() + PATIENCE + Duration::from_micros(wire);
    let (mut buffer, mut garbled) = ([0u8; 256], 0);
    decoder.reset();
    loop {
        let Ok(read) = timeout_at(deadline, port.read(&mut buffer)).await else {
            garbled += decoder.reset();
            return Ok(if garbled > 0 { Answer::Garbled(garbled) } else { Answer::Silence });
        };
        match read? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => decoder.feed(&buffer[..count]),
        }
        while let Some(found) = decoder.take() {
            match found {
                Decoded::Frame(frame) if frame.reply && frame.address == address => {
                    return Ok(Answer::Reply(Reply::decode(frame.code, &frame.data)));
                }
                // Its own echo, or a late reply of another.
                Decoded::Frame(_) => {}
                Decoded::Noise(count) => garbled += count,
                Decoded::Secured(_) => garbled += 1,
            }
        }
    }
}

/// Who else says who it is, right behind the first. Of two whose answers fall on each other, nothing is read.
async fn others(port: &mut SerialStream, decoder: &mut Decoder, address: u8) -> io::Result<Vec<u32>> {
    let deadline = Instant::now() + OTHERS_WITHIN;
    let (mut buffer, mut others) = ([0u8; 256], Vec::new());
    loop {
        while let Some(found) = decoder.take() {
            if let Decoded::Frame(frame) = found
                && frame.reply
                && frame.address == address
                && let Reply::Identity(identity) = Reply::decode(frame.code, &frame.data)
            {
                others.push(identity.serial);
            }
        }
        match timeout_at(deadline, port.read(&mut buffer)).await {
            Err(_) => return Ok(others),
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => decoder.feed(&buffer[..read?]),
        }
    }
}

/// A capability in words (SIA OSDP v2.2, annex B); none for those that an installer need not know.
fn words(it: &Capability) -> Option<String> {
    let Capability { function, level, count } = it;
    Some(match function {
        4 => {
            let kind = match level {
                1 => "on and off",
                2 => "timed",
                3 => "timed, two colours",
                4 => "timed, three colours",
                _ => return None,
            };
            format!("{count} LED ({kind})")
        }
        5 if *level > 0 => "buzzer".to_owned(),
        8 if *level > 0 => "CRC".to_owned(),
        9 if level & 1 == 1 => "secure channel (AES-128)".to_owned(),
        10 => format!("messages of {} bytes", u16::from_le_bytes([*level, *count])),
        _ => return None,
    })
}
