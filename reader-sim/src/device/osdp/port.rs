//! The wire: a new pty, or a serial port, opened raw and non-blocking.
//!
//! Used by the bus's thread. Never interprets a byte.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{ControlModes, OptionalActions};

use super::OsdpBusError;

/// An open wire.
#[derive(Debug)]
pub(in crate::device) struct Port {
    /// Where bytes are read and written.
    fd: OwnedFd,
    /// A pty's other side, held open: else the master gets errors whenever the gateway closes it.
    slave: Option<OwnedFd>,
    path: PathBuf,
}

impl Port {
    /// Makes a pty; its slave side is for the gateway.
    pub(in crate::device) fn new_pty() -> Result<Port, OsdpBusError> {
        let what = "make a pty";
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .map_err(|e| io(what, e))?;
        rustix::pty::grantpt(&master).map_err(|e| io(what, e))?;
        rustix::pty::unlockpt(&master).map_err(|e| io(what, e))?;
        let name = rustix::pty::ptsname(&master, Vec::new()).map_err(|e| io(what, e))?;
        let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
        let slave = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| io(&format!("open {}", path.display()), e))?;
        make_raw(&slave, None).map_err(|e| io(&format!("set {} raw", path.display()), e))?;
        let flags = rustix::fs::fcntl_getfl(&master).map_err(|e| io(what, e))?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).map_err(|e| io(what, e))?;
        Ok(Port { fd: master, slave: Some(slave), path })
    }

    /// Opens a port that is there already, and sets it to `baud`, 8 data bits, no parity, 1 stop bit.
    pub(in crate::device) fn open(path: &Path, baud: u32) -> Result<Port, OsdpBusError> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| io(&format!("open {}", path.display()), e))?;
        make_raw(&fd, Some(baud))
            .map_err(|e| io(&format!("set {} raw at {baud} baud", path.display()), e))?;
        Ok(Port { fd, slave: None, path: path.to_owned() })
    }

    /// What the gateway opens.
    pub(in crate::device) fn path(&self) -> &Path {
        &self.path
    }

    /// For poll(2).
    pub(in crate::device) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Lets the slave be opened again. Serial libraries take it exclusively, and because it is held open
    /// here that would outlast them: a gateway that starts anew would find it busy.
    pub(in crate::device) fn let_others_in(&self) {
        if let Some(slave) = &self.slave
            && let Err(errno) = rustix::termios::ioctl_tiocnxcl(slave)
        {
            tracing::debug!(%errno, path = %self.path.display(), "cannot end exclusive use of the pty");
        }
    }

    /// Reads what is there: `None` when nothing is; 0 bytes when the other side has gone.
    pub(in crate::device) fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        match rustix::io::read(&self.fd, buffer) {
            Ok(n) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(Errno::IO) => Ok(Some(0)),
            Err(errno) => Err(errno),
        }
    }

    /// Writes what there is room for, and takes it off the front of `bytes`.
    pub(in crate::device) fn write(&self, bytes: &mut Vec<u8>) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.fd, bytes) {
                Ok(n) => drop(bytes.drain(..n)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

fn make_raw(fd: &OwnedFd, baud: Option<u32>) -> Result<(), Errno> {
    let mut settings = rustix::termios::tcgetattr(fd)?;
    settings.make_raw();
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.control_modes -= ControlModes::HUPCL | ControlModes::CSTOPB | ControlModes::CRTSCTS;
    if let Some(baud) = baud {
        settings.set_speed(baud)?;
    }
    rustix::termios::tcsetattr(fd, OptionalActions::Now, &settings)
}

fn io(what: &str, errno: Errno) -> OsdpBusError {
    OsdpBusError::Io { what: what.to_owned(), source: errno.into() }
}
