//! Bad company at the gateway's door for MQTT readers: a peer that says nothing, one that sends garbage, and a reader that
//! talks as fast as it can.
//!
//! Made by `load`, which measures how long others wait beside them. The two that are no readers come from an address of their
//! own, as bad company does, and come again whenever they were shut out; the reader comes from that of the others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rumqttc::{AsyncClient, EventLoop, MqttOptions, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::device::mqtt::Credentials;

/// Where they come from.
const FROM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 0);
/// How long one that was shut out waits before it comes again.
const AGAIN: Duration = Duration::from_millis(100);
/// How much garbage is sent at once.
const GARBAGE: usize = 4_096;
/// How many messages the flooding reader has under way.
const AT_ONCE: usize = 64;

/// Three of them, for as long as this is there.
pub(super) struct BadPeers {
    _peers: JoinSet<()>,
}

impl BadPeers {
    /// Sends them to a gateway's gate; `code` is the reader that floods, `by` is what it comes in by.
    pub(super) fn come(gate: SocketAddr, gateway: &str, code: &str, by: &Credentials) -> Self {
        let mut peers = JoinSet::new();
        peers.spawn(silent(gate));
        peers.spawn(garbage(gate));
        let mut options = MqttOptions::new(code, gate.ip().to_string(), gate.port());
        by.apply(code, &mut options);
        let (client, events) = AsyncClient::new(options, AT_ONCE);
        peers.spawn(pumped(events));
        peers.spawn(flooding(client, format!("att/v1/{gateway}/reader/{code}/light")));
        Self { _peers: peers }
    }
}

async fn connect(gate: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(FROM)?;
    socket.connect(gate).await
}

async fn silent(gate: SocketAddr) {
    loop {
        if let Ok(mut peer) = connect(gate).await {
            // Until it is closed.
            let _ = peer.read(&mut [0]).await;
        }
        sleep(AGAIN).await;
    }
}

async fn garbage(gate: SocketAddr) {
    let garbage = [0x5a; GARBAGE];
    loop {
        if let Ok(mut peer) = connect(gate).await {
            while peer.write_all(&garbage).await.is_ok() {}
        }
        sleep(AGAIN).await;
    }
}

async fn flooding(client: AsyncClient, topic: String) {
    while client.publish(&topic, QoS::AtMostOnce, false, r#"{"id":1,"base":"blue"}"#).await.is_ok() {}
}

async fn pumped(mut events: EventLoop) {
    loop {
        if events.poll().await.is_err() {
            sleep(AGAIN).await;
        }
    }
}
