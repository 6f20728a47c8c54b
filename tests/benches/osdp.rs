//! How long a student waits for the light at an OSDP reader: card at the reader until its flash, for one reader on a line,
//! eight, and eight beside two that do not answer; libosdp's own control panel on the same devices as the peer.
//!
//! The devices are libosdp's on a pseudo-terminal, which carries bytes in no time: what the wire itself would take at
//! 115,200 baud is printed beside. Prints medians and tails; judges nothing, because machines are noisy.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libosdp::{
    Channel, ChannelError, ControlPanelBuilder, OsdpCommand, OsdpCommandLed, OsdpEvent, OsdpLedColor,
    OsdpLedParams, PdInfoBuilder,
};
use reader_sim::device::osdp::{OsdpBus, OsdpReader, ReaderKey};
use reader_sim::device::{DeviceEvent, Shown};
use reader_sim::plan::{Colour, Credential};
use rollcall_gateway::osdp::bus::{self, BusOrder, BusSettings};
use rollcall_gateway::osdp::command::LedColour;
use rollcall_gateway::osdp::panel::Event;
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::sync::{mpsc, watch};

const BAUD: u32 = 115_200;
const ROUNDS: usize = 600;
/// A panel has given up a reader that does not answer by then.
const GIVEN_UP: Duration = Duration::from_secs(12);
/// How often libosdp's panel is called; its manual asks for 50 ms or less.
const REFRESH: Duration = Duration::from_micros(500);
/// POLL, RAW with a card of 56 bits, LED; each with its mark, at ten bits a byte.
const WIRE_BYTES: u32 = 9 + 20 + 23;

/// Readers on a line, and who listens to them.
struct Devices {
    bus: OsdpBus,
    seen: mpsc::UnboundedReceiver<DeviceEvent>,
    count: usize,
}

impl Devices {
    fn new(count: usize) -> Self {
        let (send, seen) = mpsc::unbounded_channel();
        let reader = |address: usize| OsdpReader {
            code: format!("R{address}"),
            address: u8::try_from(address).unwrap(),
            serial: u32::try_from(address).unwrap(),
            key: ReaderKey::None,
        };
        Self { bus: OsdpBus::on_new_pty((1..=count).map(reader).collect(), send).unwrap(), seen, count }
    }

    /// Holds cards to the readers in turn; how long each waited for its flash, sorted.
    async fn rounds(&mut self) -> Vec<Duration> {
        let mut took = Vec::new();
        for round in 0..ROUNDS {
            // At any moment of the panel's round.
            tokio::time::sleep(Duration::from_micros(1_000 + (round as u64 * 7_919) % 40_000)).await;
            let code = format!("R{}", 1 + round % self.count);
            let [high, low] = u16::try_from(round).unwrap().to_be_bytes();
            let card = Credential { bits: 56, raw: vec![4, 1, 2, 3, 4, high, low] };
            let begin = Instant::now();
            self.bus.present(&code, &card).unwrap();
            loop {
                let event = tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await;
                match event.unwrap().unwrap() {
                    DeviceEvent::Light { reader, shown: Shown::Flash(Colour::Green), .. }
                        if reader == code =>
                    {
                        break;
                    }
                    _ => {}
                }
            }
            took.push(begin.elapsed());
        }
        took.sort_unstable();
        took
    }
}

fn addresses(count: usize, dead: usize) -> Vec<u8> {
    (1..=count).chain(101..101 + dead).map(|address| u8::try_from(address).unwrap()).collect()
}

/// By the gateway's panel, which answers each card with green at once.
async fn by_gateway(count: usize, dead: usize) -> Vec<Duration> {
    let mut devices = Devices::new(count);
    let (orders, ordered) = mpsc::channel(16);
    let (tell, mut events) = mpsc::channel(16);
    let (stop, stopped) = watch::channel(false);
    let port = devices.bus.path().to_owned();
    let addresses = addresses(count, dead);
    let settings = BusSettings { port, baud: BAUD, addresses, keys: BTreeMap::new(), tap: None };
    let task = tokio::spawn(bus::run(settings, ordered, tell, stopped));
    let mut online = 0;
    while online < count {
        online += usize::from(matches!(events.recv().await.unwrap().1, Event::Online(_)));
    }
    let answering = tokio::spawn(async move {
        while let Some((address, event)) = events.recv().await {
            if matches!(event, Event::Card(_)) {
                orders.send(BusOrder::Flash { address, colour: LedColour::Green, beeps: 0 }).await.unwrap();
            }
        }
    });
    if dead > 0 {
        tokio::time::sleep(GIVEN_UP).await;
    }
    let took = devices.rounds().await;
    stop.send_replace(true);
    task.await.unwrap();
    answering.await.unwrap();
    took
}

/// A serial port as libosdp wants it.
struct Port(File);

impl Port {
    fn open(path: &Path) -> Self {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        let file =
            File::options().read(true).write(true).custom_flags(flags.cast_signed()).open(path).unwrap();
        let mut attributes = tcgetattr(&file).unwrap();
        attributes.make_raw();
        tcsetattr(&file, OptionalActions::Now, &attributes).unwrap();
        Self(file)
    }
}

impl Channel for Port {
    fn get_id(&self) -> i32 {
        0
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ChannelError> {
        Ok(self.0.read(buffer)?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        Ok(self.0.write(bytes)?)
    }

    fn flush(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }
}

/// By libosdp's panel, which does the same.
async fn by_libosdp(count: usize, dead: usize) -> Vec<Duration> {
    let mut devices = Devices::new(count);
    let path = devices.bus.path().to_owned();
    let (stop, stopped) = blocking::channel::<()>();
    let (up, is_up) = tokio::sync::oneshot::channel();
    let panel = std::thread::spawn(move || {
        let info = |address: u8| {
            let info = PdInfoBuilder::new().name(&format!("P{address}")).unwrap();
            info.address(i32::from(address)).unwrap().baud_rate(i32::try_from(BAUD).unwrap()).unwrap()
        };
        let infos = addresses(count, dead).into_iter().map(info).collect();
        let mut panel =
            ControlPanelBuilder::new().add_channel(Box::new(Port::open(&path)), infos).build().unwrap();
        let cards = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&cards);
        panel.set_event_callback(move |device, event| {
            if matches!(event, OsdpEvent::CardRead(_)) {
                heard.lock().unwrap().push(device);
            }
            0
        });
        let mut up = Some(up);
        while stopped.recv_timeout(REFRESH) == Err(blocking::RecvTimeoutError::Timeout) {
            panel.refresh();
            for device in std::mem::take(&mut *cards.lock().unwrap()) {
                panel.send_command(device, green()).unwrap();
            }
            if (0..i32::try_from(count).unwrap()).all(|device| panel.is_online(device)) {
                up.take().map(|up| up.send(()));
            }
        }
    });
    is_up.await.unwrap();
    if dead > 0 {
        tokio::time::sleep(GIVEN_UP).await;
    }
    let took = devices.rounds().await;
    drop(stop);
    panel.join().unwrap();
    took
}

fn green() -> OsdpCommand {
    let nothing = OsdpLedParams {
        control_code: 0,
        on_count: 0,
        off_count: 0,
        on_color: OsdpLedColor::None,
        off_color: OsdpLedColor::None,
        timer_count: 0,
    };
    let flash = OsdpLedParams {
        control_code: 2,
        on_count: 2,
        off_count: 2,
        on_color: OsdpLedColor::Green,
        off_color: OsdpLedColor::None,
        timer_count: 12,
    };
    OsdpCommand::Led(OsdpCommandLed { reader: 0, led_number: 0, temporary: flash, permanent: nothing })
}

fn ms(sorted: &[Duration], share: usize) -> f64 {
    sorted[(sorted.len() - 1) * share / 100].as_secs_f64() * 1e3
}

#[tokio::main]
async fn main() {
    let wire = f64::from(WIRE_BYTES * 10 * 1_000) / f64::from(BAUD);
    println!("the wire itself at {BAUD} baud: {wire:.1} ms more for {WIRE_BYTES} bytes");
    let mut before = None;
    for (count, dead) in [(1, 0), (8, 0), (8, 2)] {
        let (ours, theirs) = (by_gateway(count, dead).await, by_libosdp(count, dead).await);
        println!(
            "{count} readers and {dead} dead: p50 {:.1} ms, p99 {:.1} ms; libosdp's panel p50 {:.1} ms, p99 {:.1} ms",
            ms(&ours, 50),
            ms(&ours, 99),
            ms(&theirs, 50),
            ms(&theirs, 99)
        );
        if let (Some(before), true) = (before, dead > 0) {
            println!("p99 beside dead readers: {:.2} of that without (aim 1.5)", ms(&ours, 99) / before);
        }
        before = Some(ms(&ours, 99));
    }
}
