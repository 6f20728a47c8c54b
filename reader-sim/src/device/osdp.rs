//! Simulated OSDP readers on one serial bus, on a pty of their own or on a given port.
//!
//! Made by the driver in `campus` (one bus per gateway port) and by the `reader` subcommand. The protocol is
//! libosdp's peripheral device, written by other people than the gateway's codec, so that the two check each
//! other. Never decides anything about attendance, and never talks secure channel: in clear only.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use libosdp::{OsdpCardFormats, OsdpEvent, OsdpEventCardRead};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use crate::device::Events;
use crate::device::fault::Fault;
use crate::plan::Credential;

mod bus;
mod frames;
mod peripheral;
pub(in crate::device) mod port;
#[cfg(test)]
mod tests;

use bus::{Bus, Order};
use peripheral::Peripheral;
use port::Port;

/// A card's data in a libosdp event holds at most this many bytes; more would make libosdp panic.
const MAX_CARD_BYTES: usize = 64;

/// One reader on a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsdpReader {
    /// The reader's code, as in the events.
    pub code: String,
    /// Its address on the bus, 0 to 126.
    pub address: u8,
    /// The serial number that it reports.
    pub serial: u32,
    /// What its line is secured by.
    pub key: ReaderKey,
}

/// What a reader's line is secured by.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum ReaderKey {
    /// Nothing: it knows no secure channel.
    #[default]
    None,
    /// Nothing yet: it takes the well-known key, and is given one of its own over that.
    Install,
    /// A key of its own. It takes nothing that is not sealed by it.
    Own([u8; 16]),
}

impl fmt::Debug for ReaderKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ReaderKey::None => "None",
            ReaderKey::Install => "Install",
            ReaderKey::Own(_) => "Own(…)",
        })
    }
}

/// Why a bus could not be made, or would not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum OsdpBusError {
    /// The operating system refused.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// libosdp refused the reader's description.
    #[error("libosdp refused reader {reader}")]
    Device {
        /// The reader's code.
        reader: String,
        /// What libosdp said.
        source: libosdp::OsdpError,
    },
    /// Two readers share an address or a code.
    #[error("reader {reader}: its address {address} or its code is already taken on this bus")]
    Taken {
        /// The second reader's code.
        reader: String,
        /// Its address.
        address: u8,
    },
    /// No reader of that code is on this bus.
    #[error("no reader {0} on this bus")]
    UnknownReader(String),
    /// The reader is unplugged: it reads no card.
    #[error("reader {0} is unplugged")]
    Unplugged(String),
    /// The bits and bytes of the credential do not fit each other, or are too many.
    #[error("credential of {bits} bits in {bytes} bytes: 1 to 512 bits in bits / 8 bytes, rounded up")]
    Credential {
        /// How many bits it says it has.
        bits: u16,
        /// How many bytes it has.
        bytes: usize,
    },
    /// The bus's thread has ended.
    #[error("the bus has stopped")]
    Stopped,
}

/// Several readers on one serial bus, served by one thread until it is dropped.
#[derive(Debug)]
pub struct OsdpBus {
    path: PathBuf,
    readers: Vec<(String, AtomicBool)>,
    orders: mpsc::Sender<Order>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl OsdpBus {
    /// Opens a new pty with these readers at its master side; the gateway opens [`OsdpBus::path`].
    pub fn on_new_pty(readers: Vec<OsdpReader>, events: Events) -> Result<OsdpBus, OsdpBusError> {
        Self::start(Port::new_pty()?, 9600, readers, &events)
    }

    /// Attaches these readers to a serial port, or to a pty that somebody else made.
    pub fn on_port(
        path: &Path,
        baud: u32,
        readers: Vec<OsdpReader>,
        events: Events,
    ) -> Result<OsdpBus, OsdpBusError> {
        Self::start(Port::open(path, baud)?, baud, readers, &events)
    }

    fn start(
        port: Port,
        baud: u32,
        readers: Vec<OsdpReader>,
        events: &Events,
    ) -> Result<OsdpBus, OsdpBusError> {
        let mut peripherals: Vec<Peripheral> = Vec::with_capacity(readers.len());
        for reader in readers {
            let taken = |p: &Peripheral| p.address() == reader.address || p.code() == reader.code;
            if peripherals.iter().any(taken) {
                return Err(OsdpBusError::Taken { reader: reader.code, address: reader.address });
            }
            peripherals.push(Peripheral::new(reader, baud, events.clone())?);
        }
        let names = peripherals.iter().map(|p| (p.code().to_owned(), AtomicBool::new(false))).collect();
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| OsdpBusError::Io { what: "make an eventfd".into(), source: errno.into() })?;
        let wake = Arc::new(wake);
        let path = port.path().to_owned();
        let (orders, inbox) = mpsc::channel();
        let mut bus = Bus::new(port, Arc::clone(&wake), inbox, peripherals);
        let thread = std::thread::Builder::new()
            .name("osdp-bus".into())
            .spawn(move || bus.run())
            .map_err(|source| OsdpBusError::Io { what: "start the bus's thread".into(), source })?;
        Ok(OsdpBus { path, readers: names, orders, wake, thread: Some(thread) })
    }

    /// The path that the gateway opens: the pty's slave side, or the port that was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Holds a card to a reader; the control panel learns of it by the answer to its next poll.
    ///
    /// Whole bytes (a UID) are sent as unspecified raw data, other counts of bits as Wiegand. An unplugged
    /// reader reads nothing: that is [`OsdpBusError::Unplugged`].
    pub fn present(&self, reader: &str, credential: &Credential) -> Result<(), OsdpBusError> {
        let (index, unplugged) = self.find(reader)?;
        if unplugged.load(Ordering::Acquire) {
            return Err(OsdpBusError::Unplugged(reader.to_owned()));
        }
        let event = card_event(credential)?;
        self.order(Order::Event { index, event, at: Instant::now() })
    }

    /// Opens or closes the reader's case; reported by a local status report, and to who asks for one.
    pub fn tamper(&self, reader: &str, on: bool) -> Result<(), OsdpBusError> {
        let (index, _) = self.find(reader)?;
        self.order(Order::Tamper { index, on })
    }

    /// Makes what hangs on the reader's input active, such as a door's contact, or lets it be; reported by an input status
    /// report, and to who asks for one.
    pub fn contact(&self, reader: &str, on: bool) -> Result<(), OsdpBusError> {
        let (index, _) = self.find(reader)?;
        self.order(Order::Contact { index, on })
    }

    /// Takes the reader off the bus and its power, or plugs it in again.
    ///
    /// Unplugged, it neither reads cards nor answers, and what it had not yet reported is lost. Plugged in
    /// again it starts afresh: dark, expecting sequence number 0, and its first answer to a poll is a local
    /// status report with the power bit set.
    pub fn unplug(&self, reader: &str, unplugged: bool) -> Result<(), OsdpBusError> {
        let (index, flag) = self.find(reader)?;
        flag.store(unplugged, Ordering::Release);
        self.order(Order::Unplug { index, unplugged })
    }

    /// Puts a fault on the reader or its line, or takes it away.
    pub fn fault(&self, reader: &str, fault: Fault, on: bool) -> Result<(), OsdpBusError> {
        let (index, _) = self.find(reader)?;
        self.order(Order::Fault { index, fault, on })
    }

    /// Takes the reader's power away for a moment, between two commands.
    pub fn reboot(&self, reader: &str) -> Result<(), OsdpBusError> {
        let (index, _) = self.find(reader)?;
        self.order(Order::Reboot { index })
    }

    /// The reader starts afresh with another key, as one that was taken from elsewhere.
    pub fn rekey(&self, reader: &str, key: ReaderKey) -> Result<(), OsdpBusError> {
        let (index, _) = self.find(reader)?;
        self.order(Order::Key { index, key })
    }

    fn find(&self, reader: &str) -> Result<(usize, &AtomicBool), OsdpBusError> {
        let found = self.readers.iter().enumerate().find(|(_, (code, _))| code == reader);
        found
            .map(|(index, (_, unplugged))| (index, unplugged))
            .ok_or_else(|| OsdpBusError::UnknownReader(reader.to_owned()))
    }

    fn order(&self, order: Order) -> Result<(), OsdpBusError> {
        self.orders.send(order).map_err(|_| OsdpBusError::Stopped)?;
        // A full eventfd means that the thread has been woken already.
        match rustix::io::write(&*self.wake, &1u64.to_ne_bytes()) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(OsdpBusError::Io { what: "wake the bus".into(), source: errno.into() }),
        }
    }
}

impl Drop for OsdpBus {
    fn drop(&mut self) {
        // Told or not: it may have stopped by itself, and looks for orders now and then unasked.
        if let Err(error) = self.order(Order::Stop) {
            tracing::debug!(%error, path = %self.path.display(), "cannot tell the OSDP bus to stop");
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!(path = %self.path.display(), "the thread of an OSDP bus panicked");
        }
    }
}

/// What libosdp is told of a card.
fn card_event(credential: &Credential) -> Result<OsdpEvent, OsdpBusError> {
    let bytes = credential.raw.len();
    let fits = usize::from(credential.bits).div_ceil(8) == bytes && (1..=MAX_CARD_BYTES).contains(&bytes);
    if !fits {
        return Err(OsdpBusError::Credential { bits: credential.bits, bytes });
    }
    let whole_bytes = credential.bits.is_multiple_of(8);
    Ok(OsdpEvent::CardRead(OsdpEventCardRead {
        reader_no: 0,
        format: if whole_bytes { OsdpCardFormats::Unspecified } else { OsdpCardFormats::Wiegand },
        direction: false,
        nr_bits: usize::from(credential.bits),
        data: credential.raw.clone(),
    }))
}

/// Takes a lock whether or not a holder of it panicked: the data here is plain bytes.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
