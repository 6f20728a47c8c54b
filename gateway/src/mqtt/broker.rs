//! The embedded broker: rumqttd on loopback, in threads of its own.
//!
//! It has no access control of its own and its PUBACK means "in memory", so nothing rests on it: swipes are
//! acknowledged by the application, lights are said again when it comes up.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use thiserror::Error;
use tokio::net::TcpListener;

/// Everything from 127.0.0.0 to 127.255.255.255 is this machine.
const LOOPBACK_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const LOOPBACK_V5: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// Why the broker cannot be started.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// Only loopback is listened on.
    #[error("the broker listens on loopback alone, not on {0}; use 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The address is taken.
    #[error("{address} cannot be listened on: {source}; is another broker running?")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No thread.
    #[error("the broker's thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Where the broker itself listens behind a door at `listen`: the same port of two other addresses of this machine, of which
/// it speaks MQTT 3.1.1 at the one and MQTT 5 at the other.
#[must_use]
pub fn behind(listen: SocketAddr) -> (SocketAddr, SocketAddr) {
    let other = |address| {
        let free = if listen.ip() == address { Ipv4Addr::new(127, 0, 0, 7) } else { address };
        SocketAddr::from((free, listen.port()))
    };
    (other(LOOPBACK_V4), other(LOOPBACK_V5))
}

/// The door at `listen`, for who is on this machine.
///
/// # Errors
/// When the address is not loopback, or taken.
pub async fn door(listen: SocketAddr) -> Result<TcpListener, BrokerError> {
    if !listen.ip().is_loopback() {
        return Err(BrokerError::NotLoopback(listen));
    }
    TcpListener::bind(listen).await.map_err(|source| BrokerError::Taken { address: listen, source })
}

/// Starts the broker behind a door at `listen`. It runs until the process ends; `ended` is called if it ends before.
///
/// # Errors
/// When an address is taken.
pub fn start(listen: SocketAddr, ended: impl FnOnce() + Send + 'static) -> Result<(), BrokerError> {
    // rumqttd only logs that an address is taken; look first, so that the installer hears of it.
    let (v4, v5) = behind(listen);
    for address in [v4, v5] {
        std::net::TcpListener::bind(address).map_err(|source| BrokerError::Taken { address, source })?;
    }
    let server = |listen| ServerSettings {
        name: "readers".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: 4_096,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let config = Config {
        id: 0,
        router: RouterConfig {
            max_connections: 1_100,
            max_outgoing_packet_count: 200,
            // The broker keeps what it has delivered, by topic filter, and a reader has three of them.
            max_segment_size: 256 * 1024,
            max_segment_count: 2,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("readers".to_owned(), server(v4))])),
        v5: Some(HashMap::from([("readers".to_owned(), server(v5))])),
        ..Config::default()
    };
    let run = move || {
        let mut broker = Broker::new(config);
        if let Err(error) = broker.start() {
            tracing::error!("the MQTT broker failed: {error}");
        }
        ended();
    };
    std::thread::Builder::new().name("mqtt-broker".to_owned()).spawn(run).map_err(BrokerError::Thread)?;
    Ok(())
}
