//! Tells systemd that the gateway is ready, stops, and is alive: the last only after the main loop answered, the
//! journal's thread answered, its disk took a write and a sync, and the broker a round trip.
//!
//! Called by `command`. Without systemd nothing is said and nothing is proved. Source: sd_notify(3), systemd.service(5)
//! `WatchdogSec=`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::RunningGateway;

/// MQTT 3.1.1 CONNECT, clean session, a minute's keep-alive, client id `wd`; then PINGREQ.
const CONNECT_AND_PING: &[u8] = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02wd\xc0\x00";
/// CONNACK, accepted; then PINGRESP.
const ACCEPTED_AND_ANSWERED: &[u8] = b"\x20\x02\x00\x00\xd0\x00";
/// DISCONNECT.
const DISCONNECT: &[u8] = b"\xe0\x00";

/// What has to be proved.
#[derive(Debug, Clone)]
pub struct Watchdog {
    /// The journal's folder.
    pub journal: PathBuf,
    /// The broker, if there is one.
    pub broker: Option<SocketAddr>,
}

impl Watchdog {
    /// The gateway serves its doors.
    pub fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// It was asked to stop.
    pub fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    /// Proves that the gateway is alive and says so, again and again; never ends. What cannot be proved is logged, and not
    /// said: systemd then starts the gateway anew.
    pub async fn feed(&self, gateway: &RunningGateway) {
        let mut micros = 0;
        if !sd_notify::watchdog_enabled(false, &mut micros) {
            return std::future::pending().await;
        }
        let every = Duration::from_micros(micros) / 3;
        // The broker may still be starting.
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        loop {
            ticks.tick().await;
            match tokio::time::timeout(every, self.prove(gateway)).await {
                Ok(Ok(())) => tell(&[NotifyState::Watchdog]),
                Ok(Err(error)) => tracing::error!("the watchdog is not fed: {error}"),
                Err(_) => tracing::error!("the watchdog is not fed: no proof within {every:?}"),
            }
        }
    }

    /// Whether the gateway can do its work.
    ///
    /// # Errors
    /// What it cannot do.
    pub async fn prove(&self, gateway: &RunningGateway) -> io::Result<()> {
        if !gateway.answers().await {
            return Err(io::Error::other("the main loop or the journal does not answer"));
        }
        let folder = self.journal.clone();
        tokio::task::spawn_blocking(move || written_and_synced(&folder))
            .await
            .map_err(io::Error::other)??;
        match self.broker {
            Some(address) => broker_answers(address).await,
            None => Ok(()),
        }
    }
}

/// A full disk is no reason to start anew: that is shown elsewhere, and a new start would help nobody.
fn written_and_synced(folder: &Path) -> io::Result<()> {
    let proof = || {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("alive"))?;
        file.write_all(&std::process::id().to_be_bytes())?;
        file.sync_data()
    };
    match proof() {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        proved => proved,
    }
}

async fn broker_answers(address: SocketAddr) -> io::Result<()> {
    let mut broker = TcpStream::connect(address).await?;
    broker.write_all(CONNECT_AND_PING).await?;
    let mut answer = [0; ACCEPTED_AND_ANSWERED.len()];
    broker.read_exact(&mut answer).await?;
    if answer != ACCEPTED_AND_ANSWERED {
        return Err(io::Error::other("the broker does not accept a client"));
    }
    broker.write_all(DISCONNECT).await
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!("systemd cannot be told: {error}");
    }
}
