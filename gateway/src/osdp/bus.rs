//! One serial line: the port, the panel that speaks on it, and the channel to the rest of the gateway.
//!
//! The only file of `osdp` that touches a device. A port that cannot be opened, or is lost, is tried again.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_serial::SerialStream;

use super::command::LedColour;
use super::panel::{Event, Micros, Panel};
use super::secure_channel::Key;
use crate::serial;

/// How long to wait before a port is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(2);

/// How often it is told how the lines do.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// What the gateway wants of a bus.
#[derive(Debug, Clone, Copy)]
pub enum BusOrder {
    /// Set the light at rest.
    Rest {
        /// The device.
        address: u8,
        /// The colour.
        colour: LedColour,
    },
    /// Give it another address and speed.
    Reconfigure {
        /// The device.
        address: u8,
        /// Its new address.
        to: u8,
        /// Its new speed.
        baud: u32,
    },
    /// Flash.
    Flash {
        /// The device.
        address: u8,
        /// The colour.
        colour: LedColour,
        /// How often to beep.
        beeps: u8,
    },
}

/// How a device that has a key is talked to.
#[derive(Debug, Clone)]
pub enum Keyed {
    /// Under its key.
    Under(Key),
    /// Under its key, until it has got another.
    Change {
        /// The key that it has.
        from: Key,
        /// The key that it gets.
        to: Key,
    },
}

/// Where everything goes that passes over a line: whether the panel said it, and the bytes.
pub type Tap = mpsc::UnboundedSender<(bool, Vec<u8>)>;

/// A serial line and the devices on it.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// The port.
    pub port: PathBuf,
    /// Its speed.
    pub baud: u32,
    /// The devices' addresses.
    pub addresses: Vec<u8>,
    /// The keys of those that have one, by address.
    pub keys: BTreeMap<u8, Keyed>,
    /// Who is told of every byte.
    pub tap: Option<Tap>,
}

/// Speaks on a bus until told to stop. Events go to `events`, with the device's address.
pub async fn run(
    settings: BusSettings,
    mut orders: mpsc::Receiver<BusOrder>,
    events: mpsc::Sender<(u8, Event)>,
    mut stop: watch::Receiver<bool>,
) {
    let started = Instant::now();
    let mut panel = Panel::new(&settings.addresses, settings.baud, 0);
    for (address, keyed) in settings.keys.clone() {
        match keyed {
            Keyed::Under(key) => panel.secure(address, key, crate::random::bytes(), 0),
            Keyed::Change { from, to } => panel.set_key(address, from, to, crate::random::bytes(), 0),
        }
    }
    let mut failed = false;
    while !*stop.borrow() {
        let opened = serial::open(&settings.port, settings.baud);
        let opened = tokio::select! {
            () = crate::stop::told(&mut stop) => return,
            opened = without_port(&mut panel, &mut orders, &events, started, opened) => opened,
        };
        match opened {
            Ok(mut port) => {
                tracing::info!(port = %settings.port.display(), "serial port open");
                failed = false;
                let tap = settings.tap.as_ref();
                let ended = serve(&mut port, &mut panel, &mut orders, &events, &mut stop, started, tap).await;
                serial::close(port).await;
                if let Err(error) = ended {
                    tracing::warn!(port = %settings.port.display(), "serial port lost: {error}; trying again");
                }
            }
            Err(error) => {
                if !failed {
                    tracing::warn!(
                        port = %settings.port.display(),
                        "serial port cannot be opened: {error}; is the adapter plugged in, and may this user \
                         (group dialout) use it? Trying again every 2 s"
                    );
                }
                failed = true;
            }
        }
        let again = tokio::time::sleep(REOPEN_AFTER);
        tokio::select! {
            () = crate::stop::told(&mut stop) => {}
            () = without_port(&mut panel, &mut orders, &events, started, again) => {}
        }
    }
}

/// Waits for something while there is no port: no device answers, and what is to flash is too late.
async fn without_port<T>(
    panel: &mut Panel,
    orders: &mut mpsc::Receiver<BusOrder>,
    events: &mpsc::Sender<(u8, Event)>,
    started: Instant,
    until: impl Future<Output = T>,
) -> T {
    tokio::pin!(until);
    let mut ticks = tokio::time::interval(REOPEN_AFTER);
    loop {
        panel.handle_time(micros_since(started));
        while panel.poll_output().is_some() {}
        tokio::select! {
            permit = events.reserve(), if panel.has_events() => tell(permit, panel),
            Some(order) = orders.recv() => if let BusOrder::Rest { address, colour } = order {
                panel.set_rest(address, colour);
            },
            came = &mut until => return came,
            _ = ticks.tick() => {}
        }
    }
}

/// Hands over the next event. The other end is gone only when the gateway stops.
fn tell(permit: Result<mpsc::Permit<'_, (u8, Event)>, mpsc::error::SendError<()>>, panel: &mut Panel) {
    if let (Some(event), Ok(permit)) = (panel.poll_event(), permit) {
        permit.send(event);
    }
}

fn micros_since(started: Instant) -> Micros {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

async fn serve(
    port: &mut SerialStream,
    panel: &mut Panel,
    orders: &mut mpsc::Receiver<BusOrder>,
    events: &mpsc::Sender<(u8, Event)>,
    stop: &mut watch::Receiver<bool>,
    started: Instant,
    tap: Option<&Tap>,
) -> std::io::Result<()> {
    let now = || micros_since(started);
    // Nobody may be listening any more; the line goes on.
    let tap = |output: bool, bytes: &[u8]| {
        if let Some(tap) = tap {
            tap.send((output, bytes.to_vec())).ok();
        }
    };
    let mut buffer = [0u8; 512];
    let mut lines = tokio::time::interval_at(started + LINES_EVERY, LINES_EVERY);
    lines.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    panel.handle_time(now());
    loop {
        while let Some(bytes) = panel.poll_output() {
            serial::write(port, &bytes).await?;
            tap(true, &bytes);
        }
        let wait = panel.poll_timeout().unwrap_or_else(|| now() + 1_000_000).saturating_sub(now());
        // Until the last events are taken nothing new is asked for; orders are, because whoever takes the
        // events may be waiting to give one.
        let all_told = !panel.has_events();
        tokio::select! {
            permit = events.reserve(), if !all_told => tell(permit, panel),
            read = port.read(&mut buffer), if all_told => match read? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => {
                    tap(false, &buffer[..count]);
                    panel.handle_bytes(&buffer[..count], now());
                }
            },
            order = orders.recv() => match order {
                Some(BusOrder::Rest { address, colour }) => {
                    panel.set_rest(address, colour);
                    panel.handle_time(now());
                }
                Some(BusOrder::Reconfigure { address, to, baud }) => panel.reconfigure(address, to, baud),
                Some(BusOrder::Flash { address, colour, beeps }) => {
                    panel.flash(address, colour, beeps, now());
                    panel.handle_time(now());
                }
                None => return Ok(()),
            },
            () = tokio::time::sleep(Duration::from_micros(wait)), if all_told => panel.handle_time(now()),
            _ = lines.tick(), if all_told => panel.tell_lines(),
            () = crate::stop::told(stop) => return Ok(()),
        }
    }
}
