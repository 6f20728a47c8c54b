//! A serial line over a pty: the gateway's OSDP bus at one end, libosdp's peripheral devices at the other.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should stop at once, and say where")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reader_sim::device::osdp::{OsdpBus, OsdpReader, ReaderKey};
use reader_sim::device::{DeviceEvent, Shown};
use reader_sim::plan::Credential;
use rollcall_gateway::osdp::bus::{self, BusOrder, BusSettings, Keyed};
use rollcall_gateway::osdp::panel::Event;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::watch;
use tokio::time::timeout;

/// Far more than anything here takes, the eight seconds of silence included.
const PATIENCE: Duration = Duration::from_secs(60);

/// The line, and what happens at its ends.
pub struct Line {
    /// The devices, `R1` at address 1 and so on.
    pub devices: OsdpBus,
    seen: UnboundedReceiver<DeviceEvent>,
    orders: mpsc::Sender<BusOrder>,
    events: mpsc::Receiver<(u8, Event)>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Line {
    /// Three readers, 1 to 3, all online.
    pub async fn start(baud: u32) -> Line {
        let readers = [ReaderKey::None, ReaderKey::None, ReaderKey::None];
        Self::secured(baud, readers, BTreeMap::new(), &[1, 2, 3]).await
    }

    /// Readers with keys of their own, and the keys that the gateway has; once the readers at `online` are.
    pub async fn secured<const N: usize>(
        baud: u32,
        readers: [ReaderKey; N],
        keys: BTreeMap<u8, Keyed>,
        online: &[u8],
    ) -> Line {
        let (send, seen) = mpsc::unbounded_channel();
        let addresses: Vec<u8> = (1..).take(N).collect();
        let reader = |(n, key): (&u8, ReaderKey)| OsdpReader {
            code: format!("R{n}"),
            address: *n,
            serial: 1000 + u32::from(*n),
            key,
        };
        let devices = OsdpBus::on_new_pty(addresses.iter().zip(readers).map(reader).collect(), send).unwrap();
        let (orders, ordered) = mpsc::channel(16);
        let (tell, events) = mpsc::channel(16);
        let (stop, stopped) = watch::channel(false);
        let settings = BusSettings { port: devices.path().to_owned(), baud, addresses, keys, tap: None };
        let task = tokio::spawn(bus::run(settings, ordered, tell, stopped));
        let mut line = Line { devices, seen, orders, events, stop, task };
        let mut there = Vec::new();
        for _ in online {
            let (address, event) = line.event(|(_, event)| matches!(event, Event::Online(_))).await;
            let Event::Online(identity) = event else { unreachable!() };
            assert_eq!((identity.vendor, identity.serial), ([0x52, 0x43, 0x53], 1000 + u32::from(address)));
            there.push(address);
        }
        there.sort_unstable();
        assert_eq!(there, online);
        line
    }

    /// The next event of the gateway's side that fits.
    pub async fn event(&mut self, fits: impl Fn(&(u8, Event)) -> bool) -> (u8, Event) {
        let wait = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if fits(&event) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap()
    }

    /// Waits until a reader shows this.
    pub async fn shows(&mut self, code: &str, wanted: Shown) {
        let fits = |event: &DeviceEvent| match event {
            DeviceEvent::Light { reader, shown, .. } => reader == code && *shown == wanted,
            _ => false,
        };
        self.device(fits).await;
    }

    /// Waits until the devices say this.
    pub async fn device(&mut self, fits: impl Fn(&DeviceEvent) -> bool) {
        let wait = async { while !fits(&self.seen.recv().await.unwrap()) {} };
        timeout(PATIENCE, wait).await.unwrap();
    }

    /// Tells the gateway's end what to show.
    pub async fn order(&self, order: BusOrder) {
        self.orders.send(order).await.unwrap();
    }

    /// Holds a card to a reader and gives bits, bytes, and how long it took to come out.
    pub async fn swipe(&mut self, address: u8, bits: u16, raw: &[u8]) -> Duration {
        let held = Instant::now();
        self.devices.present(&format!("R{address}"), &Credential { bits, raw: raw.to_vec() }).unwrap();
        let (from, event) = self.event(|(_, event)| matches!(event, Event::Card(_))).await;
        let took = held.elapsed();
        let Event::Card(card) = event else { unreachable!() };
        let card = card.unwrap();
        assert_eq!((from, card.bits(), card.raw()), (address, bits, raw));
        took
    }

    /// Stops both ends.
    pub async fn end(self) {
        self.stop.send(true).unwrap();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}
