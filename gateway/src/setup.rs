//! `rollcall-gateway reader …`: sets up one reader. One of OSDP while no gateway runs here, for a line belongs to one
//! program; what lets an MQTT reader in (`let_in`) at any time.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config::{BusConfig, Config};
use crate::osdp::bus::{self, BusOrder, BusSettings, Keyed};
use crate::osdp::panel::Event;

pub mod address;
pub mod capture;
pub mod keyset;
pub mod let_in;
pub mod walk;

/// A reader gets this long to answer at all.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Where the reader of this code hangs.
fn place<'a>(config: &'a Config, code: &str) -> anyhow::Result<(&'a BusConfig, u8)> {
    let all = || config.buses.iter().flat_map(|bus| bus.readers.iter().map(move |reader| (bus, reader)));
    let found = all().find(|(_, reader)| reader.code == code).map(|(bus, reader)| (bus, reader.address));
    let known: Vec<&str> = all().map(|(_, reader)| reader.code.as_str()).collect();
    found.with_context(|| {
        format!("no OSDP reader {code} in this configuration; there are: {}", known.join(", "))
    })
}

/// A line on which one reader is talked to, and nobody else.
struct Talk {
    settings: BusSettings,
    orders: mpsc::Sender<BusOrder>,
    heard: mpsc::Receiver<(u8, Event)>,
    stop: watch::Sender<bool>,
    speaking: JoinHandle<()>,
    until: Instant,
    /// The reader must have answered something by then; none once it has.
    silent: Option<Instant>,
}

impl Talk {
    /// Begins; the reader is waited for until `until` at the most, and not so long where it says nothing at all, unless it
    /// may yet be switched on.
    fn begin(
        bus: &BusConfig,
        baud: u32,
        address: u8,
        keyed: Option<Keyed>,
        until: Instant,
        patient: bool,
    ) -> Self {
        let settings = BusSettings {
            port: bus.port.clone(),
            baud,
            addresses: vec![address],
            keys: keyed.into_iter().map(|keyed| (address, keyed)).collect(),
            tap: None,
        };
        let (orders, ordered) = mpsc::channel(1);
        let (events, heard) = mpsc::channel(16);
        let (stop, stopped) = watch::channel(false);
        let speaking = tokio::spawn(bus::run(settings.clone(), ordered, events, stopped));
        let silent = (!patient).then(|| Instant::now() + SILENT_AFTER);
        Self { settings, orders, heard, stop, speaking, until, silent }
    }

    /// What the reader does next.
    async fn next(&mut self) -> anyhow::Result<Event> {
        let BusSettings { port, baud, addresses, .. } = &self.settings;
        let until = self.silent.map_or(self.until, |silent| silent.min(self.until));
        match timeout_at(until, self.heard.recv()).await {
            Ok(Some((_, event))) => {
                // How the line does is told also where nobody answers.
                if !matches!(event, Event::Line(_)) {
                    self.silent = None;
                }
                Ok(event)
            }
            Ok(None) => anyhow::bail!("the line {} is lost", port.display()),
            Err(_) => anyhow::bail!(
                "no answer from address {} on {} at {baud} baud; is it powered, and is this its address? \
                 rollcall-gateway scan",
                addresses[0],
                port.display()
            ),
        }
    }

    /// Lets go of the line.
    async fn end(self) {
        self.stop.send_replace(true);
        // It ends at once, and the port with it.
        let _ = self.speaking.await;
    }
}
