//! The door of the embedded broker: TLS, who is who, and limits, in front of a broker that knows none of them.
//!
//! Each connection has a task of its own and at most five seconds until it is let in, so that nobody who is silent, or
//! sends garbage, is in anybody's way. What a reader may send is `guard`'s to say; what it sends too fast waits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::guard::{Guard, Hello, MAX_PACKET, Refused, Version, next_packet};
use super::passwords::Passwords;

pub mod guard;

/// A connection that is not let in by then is closed.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A reader that takes nothing for so long is gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// A reader that promised no keep-alive may be silent for so long.
const SILENT_AT_MOST: Duration = Duration::from_secs(600);
/// How many connections there may be in all.
const MAX_CONNECTIONS: usize = 1_024;
/// How many connections a second an address may begin, and how many at once before that counts.
const CONNECTS: Rate = Rate { a_second: 10.0, at_once: 100.0 };
/// How many packets a second a reader may send, and how many at once before that counts.
const PACKETS: Rate = Rate { a_second: 50.0, at_once: 200.0 };
/// What a connection that was turned away costs its address, in connections.
const REFUSAL: f64 = 5.0;
/// How many bytes are read at once.
const CHUNK: usize = 2_048;

/// What the gate needs.
pub struct GateSettings {
    /// The gateway's code, which stands in topics.
    pub gateway: String,
    /// The folder with the readers' passwords.
    pub data: PathBuf,
    /// Where the broker speaks MQTT 3.1.1.
    pub broker: SocketAddr,
    /// Where it speaks MQTT 5.
    pub broker_v5: SocketAddr,
    /// The certificate.
    pub tls: ServerConfig,
    /// How many connections an address may have.
    pub per_address: usize,
}

/// So many a second in the long run.
#[derive(Clone, Copy)]
struct Rate {
    a_second: f64,
    at_once: f64,
}

/// What is left of a rate.
struct Allowance {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(rate: Rate) -> Self {
        Self { rate, left: rate.at_once, at: Instant::now() }
    }

    /// Takes so much; how long to wait until it would have been there.
    fn take(&mut self, cost: f64) -> Duration {
        let now = Instant::now();
        let fresh = now.duration_since(self.at).as_secs_f64() * self.rate.a_second;
        (self.left, self.at) = ((self.left + fresh).min(self.rate.at_once) - cost, now);
        Duration::from_secs_f64((-self.left).max(0.0) / self.rate.a_second)
    }

    /// Whether it is as if nothing had been taken.
    fn is_whole(&self) -> bool {
        self.left + self.at.elapsed().as_secs_f64() * self.rate.a_second >= self.rate.at_once
    }
}

/// An address's connections.
struct Visitor {
    open: usize,
    connects: Allowance,
}

#[derive(Default)]
struct Visitors {
    open: usize,
    by_address: HashMap<IpAddr, Visitor>,
}

struct Gate {
    settings: GateSettings,
    acceptor: TlsAcceptor,
    visitors: Mutex<Visitors>,
}

/// Counts a connection for as long as it lives.
struct Place {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.visitors(|visitors| {
            visitors.open -= 1;
            if let Some(visitor) = visitors.by_address.get_mut(&self.address) {
                visitor.open -= 1;
            }
        });
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it was silent")]
    Silent,
    #[error("the broker closed the connection")]
    Broker,
}

/// A connection that was let in.
struct Admitted {
    reader: String,
    guard: Guard,
    silent: Duration,
    client: TlsStream<TcpStream>,
    broker: TcpStream,
    /// What came with CONNECT.
    rest: BytesMut,
}

/// Lets readers in until told to stop.
pub async fn serve(listener: TcpListener, settings: GateSettings, mut stop: watch::Receiver<bool>) {
    let acceptor = TlsAcceptor::from(Arc::new(settings.tls.clone()));
    let gate = Arc::new(Gate { settings, acceptor, visitors: Mutex::default() });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = crate::stop::told(&mut stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: it passes when others close.
                tracing::warn!("the MQTT gate cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = gate.place(peer.ip()) else {
            tracing::debug!(%peer, "too many connections");
            continue;
        };
        let mut stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = place.gate.visit(stream, peer) => {}
                () = crate::stop::told(&mut stop) => {}
            }
            drop(place);
        });
    }
}

impl Gate {
    fn visitors<T>(&self, with: impl FnOnce(&mut Visitors) -> T) -> T {
        with(&mut self.visitors.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A place for one more connection from an address, if there is one.
    fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.visitors(|visitors| {
            if visitors.open >= MAX_CONNECTIONS {
                return None;
            }
            if visitors.by_address.len() > 2 * MAX_CONNECTIONS {
                visitors.by_address.retain(|_, it| it.open > 0 || !it.connects.is_whole());
            }
            let fresh = || Visitor { open: 0, connects: Allowance::new(CONNECTS) };
            let visitor = visitors.by_address.entry(address).or_insert_with(fresh);
            if visitor.open >= self.settings.per_address {
                return None;
            }
            if !visitor.connects.take(1.0).is_zero() {
                // Not taken: it is not to pay for what it did not get.
                visitor.connects.left += 1.0;
                return None;
            }
            visitor.open += 1;
            visitors.open += 1;
            Some(Place { gate: Arc::clone(self), address })
        })
    }

    async fn visit(&self, stream: TcpStream, peer: SocketAddr) {
        let admitted = match timeout(HANDSHAKE, self.admit(stream)).await {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(error)) => {
                self.visitors(|visitors| {
                    if let Some(visitor) = visitors.by_address.get_mut(&peer.ip()) {
                        visitor.connects.take(REFUSAL);
                    }
                });
                return tracing::warn!(%peer, "not let in by the MQTT gate: {error}");
            }
            Err(_) => return tracing::warn!(%peer, "not let in by the MQTT gate: no CONNECT within 5 s"),
        };
        let reader = admitted.reader.clone();
        tracing::debug!(%peer, %reader, "let in by the MQTT gate");
        let (ended, broker) = pass(admitted).await;
        match ended {
            Ended::Refused(error) => {
                tracing::warn!(%peer, %reader, "shut out by the MQTT gate: {error}");
            }
            other => tracing::debug!(%peer, %reader, "left the MQTT gate: {other}"),
        }
        // Without DISCONNECT the broker says its last will.
        drop(broker);
    }

    async fn admit(&self, stream: TcpStream) -> Result<Admitted, Ended> {
        stream.set_nodelay(true)?;
        let mut client = self.acceptor.accept(stream).await?;
        let mut bytes = BytesMut::with_capacity(CHUNK);
        let (hello, connect) = loop {
            match Hello::take(&mut bytes) {
                Ok(Some(found)) => break found,
                Ok(None) => {}
                Err(error) => return Err(turned_away(&mut client, error, Version::V4).await),
            }
            if client.read_buf(&mut bytes).await? == 0 {
                return Err(Ended::Silent);
            }
        };
        let guard = match self.known(&hello).await.and_then(|()| Guard::admit(&self.settings.gateway, &hello))
        {
            Ok(guard) => guard,
            Err(error) => return Err(turned_away(&mut client, error, hello.version).await),
        };
        let address = match hello.version {
            Version::V4 => self.settings.broker,
            Version::V5 => self.settings.broker_v5,
        };
        let mut broker = TcpStream::connect(address).await?;
        broker.set_nodelay(true)?;
        broker.write_all(&connect).await?;
        let silent = match hello.keep_alive {
            0 => SILENT_AT_MOST,
            seconds => Duration::from_millis(u64::from(seconds) * 1_500),
        };
        Ok(Admitted { reader: hello.user, guard, silent, client, broker, rest: bytes })
    }

    /// Passwords are read anew each time: one that was just made counts at once, one that was taken away no more.
    async fn known(&self, hello: &Hello) -> Result<(), Refused> {
        let (data, user, password) = (self.settings.data.clone(), hello.user.clone(), hello.password.clone());
        let checked = tokio::task::spawn_blocking(move || {
            let passwords = Passwords::load(&data).inspect_err(|error| tracing::error!("{error:#}"))?;
            anyhow::Ok(passwords.are(&user, &password))
        });
        match checked.await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(Refused::Password(hello.user.clone())),
        }
    }
}

/// Tells a client why it is not let in, if it listens.
async fn turned_away(client: &mut TlsStream<TcpStream>, error: Refused, version: Version) -> Ended {
    let told = async {
        client.write_all(&error.answer(version)).await?;
        client.shutdown().await
    };
    // It may have gone already.
    let _ = told.await;
    Ended::Refused(error)
}

/// Passes on what goes both ways until it ends; gives back the broker's side, still open.
async fn pass(admitted: Admitted) -> (Ended, (OwnedReadHalf, OwnedWriteHalf)) {
    let Admitted { guard, silent, client, broker, rest, .. } = admitted;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_broker, mut to_broker) = broker.into_split();
    let ended = tokio::select! {
        ended = upward(&mut from_client, &mut to_broker, &guard, silent, rest) => ended,
        ended = downward(&mut from_broker, &mut to_client) => ended,
    };
    let goodbye: WriteHalf<_> = to_client;
    let end = async { from_client.unsplit(goodbye).shutdown().await };
    // It may have gone already.
    let _ = timeout(Duration::from_secs(1), end).await;
    (ended, (from_broker, to_broker))
}

async fn upward(
    from: &mut ReadHalf<impl AsyncRead + AsyncWrite>,
    to: &mut (impl AsyncWrite + Unpin),
    guard: &Guard,
    silent: Duration,
    mut bytes: BytesMut,
) -> Ended {
    let mut packets = Allowance::new(PACKETS);
    loop {
        loop {
            let packet = match next_packet(&mut bytes, MAX_PACKET) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => return error.into(),
            };
            if let Err(error) = guard.check(&packet) {
                return error.into();
            }
            if let Err(error) = to.write_all(&packet).await {
                return error.into();
            }
            let wait = packets.take(1.0);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        bytes.reserve(CHUNK);
        match timeout(silent, from.read_buf(&mut bytes)).await {
            Ok(Ok(0)) => return Ended::Io(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Silent,
        }
    }
}

async fn downward(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> Ended {
    let mut bytes = vec![0; CHUNK];
    loop {
        let count = match from.read(&mut bytes).await {
            Ok(0) => return Ended::Broker,
            Ok(count) => count,
            Err(error) => return error.into(),
        };
        let written = async {
            to.write_all(&bytes[..count]).await?;
            to.flush().await
        };
        match timeout(TAKEN_WITHIN, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Silent,
        }
    }
}
