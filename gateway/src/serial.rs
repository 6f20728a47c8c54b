//! What all serial lines have in common.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio_serial::{SerialPortBuilderExt, SerialStream};

use crate::aside::aside;

/// How long what was written last gets to leave.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// An adapter that takes nothing for so long is taken for gone.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// Opens a port. A driver may take its time for that, or for ever: other doors do not wait for it.
///
/// # Errors
/// When it cannot be opened.
pub(crate) async fn open(port: &Path, baud: u32) -> std::io::Result<SerialStream> {
    let (settings, runtime) = (tokio_serial::new(port.to_string_lossy(), baud), Handle::current());
    let opened = aside("serial port", move || {
        let _within = runtime.enter();
        settings.open_native_async()
    });
    opened.await.map_err(Error::other)?.map_err(Error::from)
}

/// Closes a port: the kernel waits half a minute for what an adapter does not take, and whoever closes it for a second, so that a
/// light that was told to go off hears of it.
pub(crate) async fn close(port: SerialStream) {
    let closed = aside("serial port", move || drop(port));
    // One that takes longer is left to itself.
    let _ = tokio::time::timeout(CLOSED_WITHIN, closed).await;
}

/// Writes to a port; one that takes nothing any more must not keep other doors waiting.
///
/// # Errors
/// When the port fails, or takes nothing for two seconds.
pub(crate) async fn write(port: &mut SerialStream, bytes: &[u8]) -> std::io::Result<()> {
    match tokio::time::timeout(WRITTEN_WITHIN, port.write_all(bytes)).await {
        Ok(written) => written,
        Err(_) => Err(Error::new(ErrorKind::TimedOut, "it takes nothing any more")),
    }
}
