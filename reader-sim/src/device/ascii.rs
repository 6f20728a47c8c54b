//! A simulated serial reader that just prints card numbers, as an RDM6300 does, beside a light that one letter sets.
//!
//! Made by the `reader` subcommand. The light is what an installer would build from an Arduino and an RGB LED: `O`, `B`,
//! `G`, `R` and `A` make it off, blue, green, red and amber. Never decides anything about attendance.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::osdp::OsdpBusError;
use super::osdp::port::Port;
use super::{DeviceEvent, Events, Shown};
use crate::plan::{Colour, Credential};

/// An RDM6300 repeats a card that lies there so often.
const REPEAT_EVERY: Duration = Duration::from_millis(65);
/// How often a card that is held to it is repeated.
const REPEATS: u32 = 6;
/// How often the light's letters are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why a card cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum AsciiError {
    /// It writes ten hexadecimal digits and no other number.
    #[error("an RDM6300 shows cards of 40 bits, this has {0}; try: raw 40 62E3086CED")]
    Bits(u16),
    /// Its thread has ended.
    #[error("the reader has stopped")]
    Stopped,
}

/// One reader, served by one thread until it is dropped.
#[derive(Debug)]
pub struct AsciiReader {
    path: PathBuf,
    cards: Option<mpsc::Sender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl AsciiReader {
    /// Opens a new pty; the gateway opens [`AsciiReader::path`].
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn on_new_pty(code: String, events: Events) -> Result<Self, OsdpBusError> {
        Self::start(Port::new_pty()?, code, events)
    }

    /// Attaches to a serial port, or to a pty that somebody else made.
    ///
    /// # Errors
    /// When the port cannot be opened.
    pub fn on_port(path: &Path, baud: u32, code: String, events: Events) -> Result<Self, OsdpBusError> {
        Self::start(Port::open(path, baud)?, code, events)
    }

    fn start(port: Port, code: String, events: Events) -> Result<Self, OsdpBusError> {
        let path = port.path().to_owned();
        let (cards, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ascii-reader".into())
            .spawn(move || serve(&port, &code, &inbox, &events))
            .map_err(|source| OsdpBusError::Io { what: "start the reader's thread".into(), source })?;
        Ok(Self { path, cards: Some(cards), thread: Some(thread) })
    }

    /// The port that the gateway opens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Holds a card to it.
    ///
    /// # Errors
    /// When it is a card that such a reader cannot show.
    pub fn present(&self, credential: &Credential) -> Result<(), AsciiError> {
        if credential.bits != 40 || credential.raw.len() != 5 {
            return Err(AsciiError::Bits(credential.bits));
        }
        let message = message(&credential.raw);
        self.cards.as_ref().and_then(|cards| cards.send(message).ok()).ok_or(AsciiError::Stopped)
    }
}

impl Drop for AsciiReader {
    fn drop(&mut self) {
        self.cards = None;
        if let Some(thread) = self.thread.take() {
            // It had nothing to say but what it said already.
            drop(thread.join());
        }
    }
}

/// STX, the bytes in hexadecimal, their exclusive or, ETX.
fn message(raw: &[u8]) -> Vec<u8> {
    let sum = raw.iter().fold(0, |sum, byte| sum ^ byte);
    let digits: String = raw.iter().chain([&sum]).map(|byte| format!("{byte:02X}")).collect();
    format!("\u{2}{digits}\u{3}").into_bytes()
}

fn serve(port: &Port, code: &str, cards: &mpsc::Receiver<Vec<u8>>, events: &Events) {
    let mut showing: Option<(Vec<u8>, u32, Instant)> = None;
    let mut buffer = [0; 64];
    loop {
        match cards.recv_timeout(LOOK_EVERY) {
            Ok(message) => showing = Some((message, REPEATS, Instant::now())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some((message, left, due)) = &mut showing
            && *due <= Instant::now()
        {
            if let Err(errno) = port.write(&mut message.clone()) {
                tracing::warn!(%errno, "the reader's port fails");
                return;
            }
            *left -= 1;
            *due += REPEAT_EVERY;
        }
        showing = showing.filter(|(_, left, _)| *left > 0);
        port.let_others_in();
        match port.read(&mut buffer) {
            Ok(Some(count)) => {
                for shown in buffer[..count].iter().filter_map(|letter| light(*letter)) {
                    // Nobody listens any more when the program ends.
                    drop(events.send(DeviceEvent::Light { reader: code.to_owned(), shown, answers: None }));
                }
            }
            Ok(None) => {}
            Err(errno) => {
                tracing::warn!(%errno, "the reader's port fails");
                return;
            }
        }
    }
}

fn light(letter: u8) -> Option<Shown> {
    match letter {
        b'O' => Some(Shown::Base(Colour::Off)),
        b'B' => Some(Shown::Base(Colour::Blue)),
        b'G' => Some(Shown::Flash(Colour::Green)),
        b'R' => Some(Shown::Flash(Colour::Red)),
        b'A' => Some(Shown::Flash(Colour::Amber)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_message_is_that_of_the_data_sheet() {
        assert_eq!(super::message(&[0x62, 0xE3, 0x08, 0x6C, 0xED]), b"\x0262E3086CED08\x03");
    }
}
