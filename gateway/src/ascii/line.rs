//! One serial line with one reader that prints card numbers: the port, and the channel to the rest of the gateway.
//!
//! The only file of `ascii` that touches a device. A port that cannot be opened, or is lost, is tried again.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use rollcall_rules::card::CardRead;
use rollcall_rules::light::Colour;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_serial::SerialStream;

use super::form::{Debounce, Decoder, Form};
use super::twn4;
use crate::give::give_and_take;
use crate::serial::{self, write};

/// How long to wait before a port is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(2);
/// How often a reader is asked that must be asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// It is asked again without an answer after this.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// A reader that must be asked and is silent for so long is gone.
const SILENT_AFTER: Duration = Duration::from_secs(8);
/// How often the light at rest is said again: a reader that lost its power shows nothing, and says nothing of it.
const SAID_AGAIN: Duration = Duration::from_secs(5);
/// How long a flash lasts.
const FLASH: Duration = Duration::from_millis(1_200);
/// The longest line of an answer.
const MAX_LINE: usize = 256;

/// What the gateway wants of the light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LightOrder {
    /// Be this at rest.
    Rest(Colour),
    /// Flash.
    Flash(Colour),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The port is open; a reader that must be asked has answered.
    Online,
    /// The port is lost, or the reader that must be asked is silent.
    Offline {
        /// For so long nothing good came from it, in milliseconds.
        silent_ms: i64,
    },
    /// A card was held to it.
    Card(CardRead),
}

/// How the reader speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speech {
    /// By itself, in this form; the light's bytes for off, blue, green, red and amber.
    Form {
        /// The form.
        form: Form,
        /// The bytes that make the light a colour; none where it has no such light.
        lights: Lights,
    },
    /// As an Elatec TWN4 in its simple protocol.
    Twn4,
}

/// The bytes that set a light.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lights {
    /// Off.
    pub off: Vec<u8>,
    /// Blue.
    pub blue: Vec<u8>,
    /// Green.
    pub green: Vec<u8>,
    /// Red.
    pub red: Vec<u8>,
    /// Amber.
    pub amber: Vec<u8>,
}

impl Speech {
    fn light(&self, colour: Colour) -> Vec<u8> {
        match (self, colour) {
            (Self::Form { lights, .. }, Colour::Off) => lights.off.clone(),
            (Self::Form { lights, .. }, Colour::Blue) => lights.blue.clone(),
            (Self::Form { lights, .. }, Colour::Green) => lights.green.clone(),
            (Self::Form { lights, .. }, Colour::Red) => lights.red.clone(),
            (Self::Form { lights, .. }, Colour::Amber) => lights.amber.clone(),
            (Self::Twn4, Colour::Off) => twn4::lights(0),
            (Self::Twn4, Colour::Red) => twn4::lights(1),
            (Self::Twn4, Colour::Green) => twn4::lights(2),
            (Self::Twn4, Colour::Amber) => twn4::lights(3),
            (Self::Twn4, Colour::Blue) => twn4::lights(4),
        }
    }
}

/// A line and the reader on it.
#[derive(Debug, Clone)]
pub struct LineSettings {
    /// The port.
    pub port: PathBuf,
    /// Its speed.
    pub baud: u32,
    /// How the reader speaks.
    pub speech: Speech,
    /// A card that is not repeated for so long was taken away.
    pub debounce: Duration,
}

/// What the reader does and what is wanted of it, from one opening of its port to the next.
struct Line {
    settings: LineSettings,
    orders: mpsc::Receiver<LightOrder>,
    events: mpsc::Sender<Event>,
    started: Instant,
    decoder: Decoder,
    debounce: Debounce,
    answer: Vec<u8>,
    rest: Colour,
    /// Another one was ordered while an event was handed over, and is to be said.
    unsaid: bool,
    flash_until: Option<Instant>,
    online: bool,
    heard: Instant,
    /// When it was asked what it has not answered.
    asked: Option<Instant>,
}

/// Serves a line until told to stop.
pub async fn run(
    settings: LineSettings,
    orders: mpsc::Receiver<LightOrder>,
    events: mpsc::Sender<Event>,
    mut stop: watch::Receiver<bool>,
) {
    let form = match &settings.speech {
        Speech::Form { form, .. } => form.clone(),
        Speech::Twn4 => Form::rdm6300(),
    };
    let quiet_ms = u64::try_from(settings.debounce.as_millis()).unwrap_or(u64::MAX);
    let now = Instant::now();
    let mut line = Line {
        orders,
        events,
        started: now,
        decoder: Decoder::new(form),
        debounce: Debounce::new(quiet_ms),
        answer: Vec::new(),
        rest: Colour::Off,
        unsaid: false,
        flash_until: None,
        online: false,
        heard: now,
        asked: None,
        settings,
    };
    let mut failed = false;
    while !*stop.borrow() {
        let LineSettings { port, baud, .. } = line.settings.clone();
        let opened = serial::open(&port, baud);
        let opened = tokio::select! {
            () = crate::stop::told(&mut stop) => return,
            opened = line.without_port(opened) => opened,
        };
        match opened {
            Ok(mut opened) => {
                tracing::info!(port = %port.display(), "serial port open");
                failed = false;
                let ended = line.serve(&mut opened, &mut stop).await;
                serial::close(opened).await;
                if let Err(error) = ended {
                    tracing::warn!(port = %port.display(), "serial port lost: {error}; trying again");
                }
                line.is_online(false).await;
            }
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(
                    port = %port.display(),
                    "serial port cannot be opened: {error}; is the adapter plugged in, and may this user (group \
                     dialout) use it? Trying again every 2 s"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = crate::stop::told(&mut stop) => return,
            () = line.without_port(tokio::time::sleep(REOPEN_AFTER)) => {}
        }
    }
}

impl Line {
    /// Waits for something while there is no port.
    async fn without_port<T>(&mut self, until: impl Future<Output = T>) -> T {
        tokio::pin!(until);
        loop {
            tokio::select! {
                came = &mut until => return came,
                // A flash comes too late once the port is back.
                Some(order) = self.orders.recv() => if let LightOrder::Rest(colour) = order {
                    self.rest = colour;
                },
            }
        }
    }

    async fn serve(
        &mut self,
        port: &mut SerialStream,
        stop: &mut watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let asked = self.settings.speech == Speech::Twn4;
        let mut ask = tokio::time::interval(ASK_EVERY);
        ask.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.heard = Instant::now();
        let mut again = tokio::time::interval(SAID_AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        if !asked {
            self.is_online(true).await;
        }
        (self.flash_until, self.asked) = (None, None);
        let mut buffer = [0u8; 256];
        loop {
            let flash_over = self.flash_until;
            if std::mem::take(&mut self.unsaid) && flash_over.is_none() {
                if asked {
                    write(port, twn4::LIGHTS_READY).await?;
                }
                write(port, &self.settings.speech.light(self.rest)).await?;
            }
            tokio::select! {
                read = port.read(&mut buffer) => match read? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    count => self.heard(&buffer[..count]).await,
                },
                order = self.orders.recv() => match order {
                    Some(LightOrder::Rest(colour)) => {
                        self.rest = colour;
                        if self.flash_until.is_none() {
                            write(port, &self.settings.speech.light(colour)).await?;
                        }
                    }
                    Some(LightOrder::Flash(colour)) => {
                        self.flash_until = Some(Instant::now() + FLASH);
                        write(port, &self.settings.speech.light(colour)).await?;
                    }
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(flash_over.unwrap_or(self.started)), if flash_over.is_some() => {
                    self.flash_until = None;
                    write(port, &self.settings.speech.light(self.rest)).await?;
                }
                _ = again.tick(), if flash_over.is_none() && !asked => {
                    write(port, &self.settings.speech.light(self.rest)).await?;
                }
                _ = ask.tick(), if asked => {
                    if self.heard.elapsed() > SILENT_AFTER {
                        self.is_online(false).await;
                    }
                    if self.asked.is_none_or(|asked| asked.elapsed() > ANSWERS_WITHIN) {
                        self.asked = Some(Instant::now());
                        write(port, twn4::SEARCH).await?;
                    }
                }
                () = crate::stop::told(stop) => {
                    write(port, &self.settings.speech.light(Colour::Off)).await?;
                    return Ok(());
                }
            }
        }
    }

    async fn heard(&mut self, bytes: &[u8]) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let cards = match &self.settings.speech {
            Speech::Form { .. } => self.decoder.feed(bytes, now_ms),
            Speech::Twn4 => self.answers(bytes).await,
        };
        for card in cards {
            if self.debounce.is_new(&card, now_ms) {
                self.tell(Event::Card(card)).await;
            }
        }
    }

    async fn answers(&mut self, bytes: &[u8]) -> Vec<CardRead> {
        let mut cards = Vec::new();
        for byte in bytes {
            if *byte != b'\r' {
                self.answer.push(*byte);
                if self.answer.len() > MAX_LINE {
                    self.answer.clear();
                }
                continue;
            }
            let answer = twn4::answer(&self.answer);
            self.answer.clear();
            if answer.is_some() {
                (self.heard, self.asked) = (Instant::now(), None);
                if !self.online {
                    self.is_online(true).await;
                    // It may have been without power.
                    self.unsaid = true;
                }
            }
            if let Some(twn4::Answer::Card(card)) = answer {
                cards.push(card);
            }
        }
        cards
    }

    async fn is_online(&mut self, online: bool) {
        if self.online != online {
            self.online = online;
            let silent_ms = match self.settings.speech {
                // Nobody hears such a reader until a card lies there.
                Speech::Form { .. } => 0,
                Speech::Twn4 => i64::try_from(self.heard.elapsed().as_millis()).unwrap_or(i64::MAX),
            };
            self.tell(if online { Event::Online } else { Event::Offline { silent_ms } }).await;
        }
    }

    /// Whoever is to hear it may be waiting to give an order; a flash comes too late then.
    async fn tell(&mut self, event: Event) {
        let Self { events, orders, rest, unsaid, .. } = self;
        give_and_take(events, event, orders, |order| {
            if let LightOrder::Rest(colour) = order {
                (*rest, *unsaid) = (colour, true);
            }
        })
        .await;
    }
}
