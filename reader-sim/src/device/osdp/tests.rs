//! The bus as a gateway sees it, by frames written by hand.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::frames::{Frame, Frames};
use super::port::Port;
use super::*;
use crate::device::{DeviceEvent, Shown};

mod control_panel;

const PATIENCE: Duration = Duration::from_secs(20);
const ID: [u8; 9] = [0x53, 0x01, 0x09, 0x00, 0x04, 0x61, 0x00, 0x60, 0x23];
const POLL_3: [u8; 8] = [0x53, 0x01, 0x08, 0x00, 0x07, 0x60, 0xe9, 0x55];
const BLUE_2: [u8; 22] =
    [0x53, 0x01, 0x16, 0x00, 0x06, 0x69, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x0a, 0x00, 0x04, 0x04, 0xfe, 0x8b];
const GREEN_FLASH_2: [u8; 22] = [
    0x53, 0x01, 0x16, 0x00, 0x06, 0x69, 0, 0, 0x02, 0x02, 0x02, 0x02, 0x00, 0x0c, 0, 0, 0, 0, 0, 0, 0x9b,
    0x29,
];

/// Waits until there is something to read, at most `millis`.
fn wait(port: &Port, millis: i64) {
    let fd = port.fd();
    let timeout = Timespec { tv_sec: 0, tv_nsec: millis * 1_000_000 };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)).unwrap();
}

/// The control panel's end of the wire.
struct Panel {
    port: Port,
    frames: Frames,
}

impl Panel {
    fn ask(&mut self, frame: &[u8]) -> Frame {
        self.port.write(&mut frame.to_vec()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 256];
        loop {
            if let Some(reply) = self.frames.next() {
                return reply;
            }
            assert!(Instant::now() < deadline, "no reply to {frame:02x?}");
            wait(&self.port, 100);
            if let Some(count) = self.port.read(&mut buffer).unwrap() {
                self.frames.push(&buffer[..count], Instant::now());
            }
        }
    }

    /// Asks, and gives back the reply's code and data.
    fn data(&mut self, frame: &[u8]) -> Vec<u8> {
        let reply = self.ask(frame).bytes;
        assert_eq!(reply[1], frame[1] | 0x80);
        assert_eq!(crc(&reply[..reply.len() - 2]).to_le_bytes(), reply[reply.len() - 2..]);
        reply[5..reply.len() - 2].to_vec()
    }
}

fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0x1d0f, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |c: u16, _| {
                if c & 0x8000 != 0 { c << 1 ^ 0x1021 } else { c << 1 }
            },
        )
    })
}

fn frame(address: u8, sequence: u8, command: u8, data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(8 + data.len()).unwrap();
    let mut frame = vec![0x53, address, length, 0, 0x04 | sequence, command];
    frame.extend(data);
    frame.extend(crc(&frame).to_le_bytes());
    frame
}

fn poll_frame(address: u8, sequence: u8) -> Vec<u8> {
    frame(address, sequence, 0x60, &[])
}

fn readers(count: u8) -> Vec<OsdpReader> {
    (1..=count)
        .map(|n| OsdpReader { code: format!("R{n}"), address: n, serial: n.into(), key: ReaderKey::None })
        .collect()
}

fn bus(count: u8) -> (OsdpBus, Panel, UnboundedReceiver<DeviceEvent>) {
    let (events, happened) = unbounded_channel();
    let bus = OsdpBus::on_new_pty(readers(count), events).unwrap();
    let port = Port::open(bus.path(), 9600).unwrap();
    (bus, Panel { port, frames: Frames::default() }, happened)
}

fn drain(happened: &mut UnboundedReceiver<DeviceEvent>) -> Vec<String> {
    std::iter::from_fn(|| happened.try_recv().ok()).map(|event| short(&event)).collect()
}

fn short(event: &DeviceEvent) -> String {
    match event {
        DeviceEvent::Online { reader } => format!("{reader} online"),
        DeviceEvent::Light { reader, shown: Shown::Base(c), .. } => format!("{reader} base {c:?}"),
        DeviceEvent::Light { reader, shown: Shown::Flash(c), .. } => format!("{reader} flash {c:?}"),
        DeviceEvent::Buzzer { reader } => format!("{reader} buzzer"),
        DeviceEvent::Keyed { reader } => format!("{reader} key set"),
        DeviceEvent::Acknowledged { reader, .. } => format!("{reader} acknowledged"),
    }
}

fn wiegand() -> Credential {
    Credential { bits: 26, raw: vec![0x95, 0x18, 0x1c, 0xc0] }
}

#[test]
fn golden_frames_are_answered_and_lights_reported() {
    assert_eq!(frame(1, 0, 0x61, &[0]), ID);
    assert_eq!(poll_frame(1, 3), POLL_3);
    let (_bus, mut panel, mut happened) = bus(1);
    let pdid = [0x45, 0x52, 0x43, 0x53, 1, 1, 1, 0, 0, 0, 1, 0, 0];
    assert_eq!(panel.data(&ID), pdid);
    assert_eq!(drain(&mut happened), ["R1 online"]);
    let capabilities = panel.data(&frame(1, 1, 0x62, &[0]));
    assert_eq!(capabilities[0], 0x46);
    let of = |function| capabilities[1..].chunks(3).find(|c| c[0] == function).unwrap().to_vec();
    assert_eq!([of(4), of(8), of(9)], [[4, 4, 1], [8, 1, 0], [9, 0, 0]]);
    assert_eq!(panel.data(&BLUE_2), [0x40]);
    assert_eq!(drain(&mut happened), ["R1 base Blue"]);
    assert_eq!(panel.data(&POLL_3), [0x40]);
    let again = BLUE_2[6..20].to_vec();
    assert_eq!(panel.data(&frame(1, 1, 0x69, &again)), [0x40]);
    assert_eq!(panel.data(&GREEN_FLASH_2), [0x40]);
    assert_eq!(drain(&mut happened), ["R1 flash Green"]);
    // Both in one record, then two records in one command.
    let mut both = GREEN_FLASH_2[6..20].to_vec();
    both[9..].copy_from_slice(&[1, 1, 0, 3, 3]);
    assert_eq!(panel.data(&frame(1, 3, 0x69, &both)), [0x40]);
    assert_eq!(drain(&mut happened), ["R1 base Amber", "R1 flash Green"]);
    let chained = [again, GREEN_FLASH_2[6..20].to_vec()].concat();
    assert_eq!(panel.data(&frame(1, 1, 0x69, &chained)), [0x40]);
    assert_eq!(drain(&mut happened), ["R1 base Blue", "R1 flash Green"]);
    let off = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 4, 0];
    assert_eq!(panel.data(&frame(1, 2, 0x69, &off)), [0x40]);
    assert_eq!(panel.data(&frame(1, 3, 0x6a, &[0, 2, 1, 1, 1])), [0x40]);
    assert_eq!(panel.data(&frame(1, 1, 0x6a, &[0, 1, 0, 0, 0])), [0x40]);
    assert_eq!(drain(&mut happened), ["R1 base Off", "R1 buzzer"]);
    // It moves, and is there from then on.
    assert_eq!(panel.data(&frame(1, 2, 0x6e, &[2, 0x80, 0x25, 0, 0])), [0x54, 2, 0x80, 0x25, 0, 0]);
    assert_eq!(panel.data(&frame(2, 0, 0x61, &[0])), pdid);
}

#[test]
fn cards_are_reported_in_order_and_a_lost_reply_is_repeated() {
    let (bus, mut panel, _happened) = bus(1);
    panel.data(&ID);
    bus.present("R1", &wiegand()).unwrap();
    let uid = Credential { bits: 56, raw: vec![4, 1, 2, 3, 4, 5, 6] };
    bus.present("R1", &uid).unwrap();
    let raw = panel.ask(&poll_frame(1, 1));
    assert_eq!(raw.bytes[5..14], [0x50, 0, 1, 26, 0, 0x95, 0x18, 0x1c, 0xc0]);
    assert_eq!(panel.ask(&poll_frame(1, 1)), raw);
    assert_eq!(panel.data(&poll_frame(1, 2)), [0x50, 0, 0, 56, 0, 4, 1, 2, 3, 4, 5, 6]);
    assert_eq!(panel.data(&poll_frame(1, 3)), [0x40]);
    for n in 0..20 {
        bus.present("R1", &Credential { bits: 32, raw: vec![n, 0, 0, 1] }).unwrap();
    }
    for n in 0..20 {
        assert_eq!(panel.data(&poll_frame(1, 1 + n % 3))[5], n);
    }
    // Another sequence number than the next is refused, 0 starts afresh.
    assert_eq!(panel.data(&poll_frame(1, 1)), [0x41, 4]);
    assert_eq!(panel.data(&poll_frame(1, 0)), [0x40]);
    let wrong = Credential { bits: 26, raw: vec![1, 2, 3] };
    assert!(matches!(bus.present("R1", &wrong), Err(OsdpBusError::Credential { .. })));
    assert!(matches!(bus.present("R9", &uid), Err(OsdpBusError::UnknownReader(_))));
}

#[test]
fn an_unplugged_reader_is_silent_and_starts_afresh() {
    let (bus, mut panel, mut happened) = bus(2);
    panel.data(&ID);
    panel.data(&frame(2, 0, 0x61, &[0]));
    assert_eq!(panel.data(&frame(1, 1, 0x69, &BLUE_2[6..20])), [0x40]);
    bus.present("R1", &wiegand()).unwrap();
    bus.unplug("R1", true).unwrap();
    assert!(matches!(bus.present("R1", &wiegand()), Err(OsdpBusError::Unplugged(_))));
    let both = [poll_frame(1, 2), poll_frame(2, 1)].concat();
    assert_eq!(panel.ask(&both).address(), 0x82);
    bus.unplug("R1", false).unwrap();
    assert_eq!(panel.data(&poll_frame(1, 2)), [0x41, 4]);
    panel.data(&ID);
    assert_eq!(panel.data(&poll_frame(1, 1)), [0x48, 0, 1]);
    assert_eq!(panel.data(&BLUE_2), [0x40]);
    assert_eq!(panel.data(&POLL_3), [0x40]);
    let expected = ["R1 online", "R2 online", "R1 base Blue", "R1 online", "R1 base Blue"];
    assert_eq!(drain(&mut happened), expected);
}

#[test]
fn tampering_is_reported_and_can_be_asked_for() {
    let (bus, mut panel, _happened) = bus(1);
    panel.data(&ID);
    bus.tamper("R1", true).unwrap();
    assert_eq!(panel.data(&poll_frame(1, 1)), [0x48, 1, 0]);
    assert_eq!(panel.data(&frame(1, 2, 0x64, &[])), [0x48, 1, 0]);
    assert_eq!(panel.data(&frame(1, 3, 0x65, &[])), [0x49, 0]);
    bus.tamper("R1", false).unwrap();
    assert_eq!(panel.data(&poll_frame(1, 1)), [0x48, 0, 0]);
}

#[test]
fn a_given_port_is_served_and_left_cleanly_after_its_other_side_went() {
    let master = Port::new_pty().unwrap();
    let (events, mut happened) = unbounded_channel();
    let bus = OsdpBus::on_port(master.path(), 38400, readers(1), events).unwrap();
    let mut panel = Panel { port: master, frames: Frames::default() };
    let marked = [&[0xff], &ID[..]].concat();
    assert!(panel.ask(&marked).marked);
    assert_eq!(drain(&mut happened), ["R1 online"]);
    drop(panel);
    drop(bus);
    assert!(happened.try_recv().is_err());
    assert!(happened.is_closed());
}

#[test]
fn readers_must_differ() {
    let (events, _happened) = unbounded_channel();
    let twice = [readers(1), readers(1)].concat();
    assert!(matches!(OsdpBus::on_new_pty(twice, events), Err(OsdpBusError::Taken { .. })));
}
