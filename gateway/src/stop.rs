//! How the gateway's tasks are told to stop.

use tokio::sync::watch;

/// Ends when the gateway stops, or has ended.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell has gone: that is a stop too.
    drop(stop.wait_for(|stop| *stop).await);
}
