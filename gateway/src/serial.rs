//! What all serial lines have in common.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio_serial::SerialStream;

/// An adapter that takes nothing for so long is taken for gone.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

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
