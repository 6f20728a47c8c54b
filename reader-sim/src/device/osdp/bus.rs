//! The thread behind a bus: waits for bytes and orders, and writes the readers' replies.
//!
//! Started by [`super::OsdpBus`]. Sleeps in poll(2) while nothing happens, so that many buses cost little.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use libosdp::OsdpEvent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::ReaderKey;
use super::frames::Frames;
use super::peripheral::Peripheral;
use super::port::Port;
use crate::device::fault::Fault;

const BROADCAST: u8 = 0x7F;
/// How often the port is looked after while nothing happens, in nanoseconds.
const IDLE_NANOS: i64 = 250_000_000;

/// What the bus is told from outside.
#[derive(Debug)]
pub(super) enum Order {
    /// Something to report in answer to the reader's next poll.
    Event {
        /// Position of the reader.
        index: usize,
        /// What happened.
        event: OsdpEvent,
        /// When, to measure.
        at: Instant,
    },
    /// The reader's case was opened or closed.
    Tamper {
        /// Position of the reader.
        index: usize,
        /// Open.
        on: bool,
    },
    /// What hangs on the reader's input became active, or is no more.
    Contact {
        /// Position of the reader.
        index: usize,
        /// Active.
        on: bool,
    },
    /// The reader lost or got its connector.
    Unplug {
        /// Position of the reader.
        index: usize,
        /// Lost.
        unplugged: bool,
    },
    /// Something goes wrong at the reader, or is well again.
    Fault {
        /// Position of the reader.
        index: usize,
        /// What.
        fault: Fault,
        /// Wrong.
        on: bool,
    },
    /// The reader loses its power for a moment.
    Reboot {
        /// Position of the reader.
        index: usize,
    },
    /// The reader goes on with another key.
    Key {
        /// Position of the reader.
        index: usize,
        /// The key.
        key: ReaderKey,
    },
    /// The bus is being dropped.
    Stop,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Bus {
    port: Port,
    wake: Arc<OwnedFd>,
    orders: Receiver<Order>,
    peripherals: Vec<Peripheral>,
    frames: Frames,
    outgoing: Vec<u8>,
    /// Answers that come late, and when.
    late: Vec<(Instant, Vec<u8>)>,
    /// The other side has gone: wait, rather than spin.
    hung_up: bool,
}

impl Bus {
    /// Takes over a port and its readers.
    pub(super) fn new(
        port: Port,
        wake: Arc<OwnedFd>,
        orders: Receiver<Order>,
        peripherals: Vec<Peripheral>,
    ) -> Bus {
        let frames = Frames::default();
        Bus {
            port,
            wake,
            orders,
            peripherals,
            frames,
            outgoing: Vec::new(),
            late: Vec::new(),
            hung_up: false,
        }
    }

    /// Serves the bus until told to stop, or until the port fails.
    pub(super) fn run(&mut self) {
        loop {
            let stop = self.wait().and_then(|()| {
                let stop = self.read()? || self.obey();
                let now = Instant::now();
                for (_, answer) in self.late.extract_if(.., |(due, _)| *due <= now) {
                    self.outgoing.extend(answer);
                }
                self.port.write(&mut self.outgoing)?;
                Ok(stop)
            });
            match stop {
                Ok(false) => {}
                Ok(true) => return,
                Err(errno) => {
                    tracing::warn!(%errno, path = %self.port.path().display(), "OSDP bus ends");
                    return;
                }
            }
        }
    }

    fn wait(&mut self) -> Result<(), Errno> {
        let mut wanted = PollFlags::IN;
        if !self.outgoing.is_empty() {
            wanted |= PollFlags::OUT;
        }
        let now = Instant::now();
        let due = self.late.iter().map(|(due, _)| due.saturating_duration_since(now).as_nanos()).min();
        let nanos = due.and_then(|due| i64::try_from(due).ok()).map_or(IDLE_NANOS, |due| due.min(IDLE_NANOS));
        let timeout = Timespec { tv_sec: 0, tv_nsec: nanos };
        let wake = self.wake.as_fd();
        let mut fds = [PollFd::new(&wake, PollFlags::IN), PollFd::from_borrowed_fd(self.port.fd(), wanted)];
        // A port without another side reports that at once and for ever; look at it now and then.
        let watched = if self.hung_up { &mut fds[..1] } else { &mut fds[..] };
        let ready = match poll(watched, Some(&timeout)) {
            Ok(ready) => ready,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if ready == 0 {
            self.port.let_others_in();
        }
        if !fds[0].revents().is_empty() {
            let mut count = [0; 8];
            match rustix::io::read(&*self.wake, &mut count) {
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Reads and answers what has come; says whether to stop.
    fn read(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0; 1024];
        while let Some(count) = self.port.read(&mut buffer)? {
            self.hung_up = count == 0;
            if self.hung_up {
                self.outgoing.clear();
                return Ok(false);
            }
            // Orders given before these bytes were written come first: who presents a card, then polls, must
            // find it.
            if self.obey() {
                return Ok(true);
            }
            self.frames.push(&buffer[..count], Instant::now());
            while let Some(frame) = self.frames.next() {
                for peripheral in &mut self.peripherals {
                    if frame.address() == peripheral.address() || frame.address() == BROADCAST {
                        match peripheral.answer(&frame) {
                            Some((late, answer)) if late.is_zero() => self.outgoing.extend(answer),
                            Some((late, answer)) => self.late.push((Instant::now() + late, answer)),
                            None => {}
                        }
                    }
                }
                self.port.write(&mut self.outgoing)?;
            }
        }
        Ok(false)
    }

    /// Says whether to stop.
    fn obey(&mut self) -> bool {
        loop {
            let (index, order) = match self.orders.try_recv() {
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) | Ok(Order::Stop) => return true,
                Ok(order @ (Order::Event { index, .. } | Order::Tamper { index, .. })) => (index, order),
                Ok(order @ (Order::Unplug { index, .. } | Order::Fault { index, .. })) => (index, order),
                Ok(order @ Order::Contact { index, .. }) => (index, order),
                Ok(order @ (Order::Key { index, .. } | Order::Reboot { index })) => (index, order),
            };
            let Some(peripheral) = self.peripherals.get_mut(index) else {
                continue;
            };
            match order {
                Order::Event { event, at, .. } => {
                    peripheral.queue(event);
                    tracing::trace!(reader = peripheral.code(), waited = ?at.elapsed(), "event queued");
                }
                Order::Tamper { on, .. } => peripheral.tamper(on),
                Order::Contact { on, .. } => peripheral.contact(on),
                Order::Unplug { unplugged, .. } => peripheral.unplug(unplugged),
                Order::Fault { fault, on, .. } => peripheral.faults.set(fault, on),
                Order::Reboot { .. } => peripheral.reboot(),
                Order::Key { key, .. } => peripheral.begin_with(key),
                Order::Stop => return true,
            }
        }
    }
}
