//! The door of the embedded broker: TLS, who is who, and limits, in front of a broker that knows none of them.
//!
//! Each connection has a task of its own and at most five seconds until it is let in, so that nobody who is silent, or
//! sends garbage, is in anybody's way. What a reader may send is `guard`'s to say; what it sends too fast waits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::guard::{Guard, Hello, MAX_PACKET, Refused, Version, is_goodbye, next_packet};
use super::front::ToBroker;
use super::known::Known;

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
/// Both ends of a connection get so long to let go of it.
const LEFT_WITHIN: Duration = Duration::from_secs(1);
/// How many bytes are read at once.
const CHUNK: usize = 2_048;

/// What the gate needs.
pub struct GateSettings {
    /// The gateway's code, which stands in topics.
    pub gateway: String,
    /// How readers are known.
    pub known: Known,
    /// Where the broker speaks MQTT 3.1.1, and where MQTT 5.
    pub broker: (SocketAddr, SocketAddr),
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

/// A reader's connection, for the one that comes after it.
struct Live {
    /// Tells it that the reader has come by another way.
    leave: watch::Sender<bool>,
    /// Closed when the broker has let go of it.
    left: mpsc::Receiver<()>,
}

struct Gate {
    settings: GateSettings,
    acceptor: TlsAcceptor,
    visitors: Mutex<Visitors>,
    /// The connection of each reader that came in.
    live: Mutex<HashMap<String, Live>>,
    /// What is left of each reader's rate, over all its connections.
    packets: Mutex<HashMap<String, Arc<Mutex<Allowance>>>>,
}

/// What a connection holds while it is the reader's.
struct Held {
    leave: watch::Receiver<bool>,
    _left: mpsc::Sender<()>,
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
    #[error("it said goodbye")]
    Goodbye,
    #[error("the reader came by another connection")]
    Overtaken,
}

/// A connection that was let in.
struct Admitted {
    hello: Hello,
    guard: Guard,
    silent: Duration,
    client: TlsStream<TcpStream>,
    broker: ToBroker,
    /// What came with CONNECT.
    rest: BytesMut,
    held: Held,
    packets: Arc<Mutex<Allowance>>,
}

/// Lets readers in until told to stop.
pub async fn serve(listener: TcpListener, settings: GateSettings, mut stop: watch::Receiver<bool>) {
    let acceptor = TlsAcceptor::from(Arc::new(settings.tls.clone()));
    let (visitors, live, packets) = (Mutex::default(), Mutex::default(), Mutex::default());
    let gate = Arc::new(Gate { settings, acceptor, visitors, live, packets });
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

/// Nothing is left half done by who panics.
fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    fn visitors<T>(&self, with: impl FnOnce(&mut Visitors) -> T) -> T {
        with(&mut lock(&self.visitors))
    }

    /// Makes this the reader's connection; the one before it leaves first.
    async fn overtake(&self, reader: &str) -> Held {
        let ((leave, told), (hold, left)) = (watch::channel(false), mpsc::channel(1));
        let before = lock(&self.live).insert(reader.to_owned(), Live { leave, left });
        if let Some(mut before) = before {
            before.leave.send_replace(true);
            // Nothing is ever sent: it ends when the connection has.
            let _ = timeout(LEFT_WITHIN, before.left.recv()).await;
        }
        Held { leave: told, _left: hold }
    }

    fn packets(&self, reader: &str) -> Arc<Mutex<Allowance>> {
        let fresh = || Arc::new(Mutex::new(Allowance::new(PACKETS)));
        Arc::clone(lock(&self.packets).entry(reader.to_owned()).or_insert_with(fresh))
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
        let reader = admitted.hello.user.clone();
        tracing::debug!(%peer, %reader, "let in by the MQTT gate");
        match pass(admitted).await {
            Ended::Refused(error) => {
                tracing::warn!(%peer, %reader, "shut out by the MQTT gate: {error}");
            }
            other => tracing::debug!(%peer, %reader, "left the MQTT gate: {other}"),
        }
    }

    async fn admit(&self, stream: TcpStream) -> Result<Admitted, Ended> {
        stream.set_nodelay(true)?;
        let mut client = self.acceptor.accept(stream).await?;
        let mut bytes = BytesMut::with_capacity(CHUNK);
        let mut hello = loop {
            match Hello::take(&mut bytes) {
                Ok(Some(found)) => break found,
                Ok(None) => {}
                Err(error) => return Err(turned_away(&mut client, error, Version::V4).await),
            }
            if client.read_buf(&mut bytes).await? == 0 {
                return Err(Ended::Silent);
            }
        };
        let certificates = client.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        if hello.user.is_empty() && !certificates.is_empty() {
            // It need not say again who it is.
            hello.user.clone_from(&hello.client_id);
        }
        let guard = match self
            .known(&hello, certificates)
            .await
            .and_then(|()| Guard::admit(&self.settings.gateway, &hello))
        {
            Ok(guard) => guard,
            Err(error) => return Err(turned_away(&mut client, error, hello.version).await),
        };
        let address = match hello.version {
            Version::V4 => self.settings.broker.0,
            Version::V5 => self.settings.broker.1,
        };
        let held = self.overtake(&hello.user).await;
        let mut broker = ToBroker::connect(address).await?;
        broker.write_all(&hello.connect()?).await?;
        let silent = match hello.keep_alive {
            0 => SILENT_AT_MOST,
            seconds => Duration::from_millis(u64::from(seconds) * 1_500),
        };
        let packets = self.packets(&hello.user);
        Ok(Admitted { hello, guard, silent, client, broker, rest: bytes, held, packets })
    }

    async fn known(&self, hello: &Hello, certificates: Vec<CertificateDer<'static>>) -> Result<(), Refused> {
        let (known, user, password) =
            (self.settings.known.clone(), hello.user.clone(), hello.password.clone());
        let checked = tokio::task::spawn_blocking(move || known.admits(&user, &password, &certificates));
        match checked.await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(name))) => Err(Refused::Unknown(name)),
            Ok(Err(error)) => {
                tracing::error!("{error:#}");
                Err(Refused::Unknown("?".to_owned()))
            }
            Err(_) => Err(Refused::Unknown("?".to_owned())),
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

/// Passes on what goes both ways until it ends, and the broker has let go.
async fn pass(admitted: Admitted) -> Ended {
    let Admitted { hello, guard, silent, client, broker, rest, mut held, packets } = admitted;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_broker, mut to_broker) = tokio::io::split(broker);
    let ended = tokio::select! {
        ended = upward(&mut from_client, &mut to_broker, &guard, silent, rest, &packets) => ended,
        ended = downward(&mut from_broker, &mut to_client) => ended,
        _ = held.leave.wait_for(|leave| *leave) => Ended::Overtaken,
    };
    // What is on its way at either end may have gone already.
    let _ = timeout(LEFT_WITHIN, from_client.unsplit(to_client).shutdown()).await;
    let let_go = async {
        // A reader that came another way is there: it has not left its last will.
        let said = if matches!(ended, Ended::Overtaken | Ended::Goodbye) { None } else { hello.will.clone() };
        to_broker.write_all(&Hello { will: said, ..hello }.goodbye()).await?;
        to_broker.shutdown().await?;
        tokio::io::copy(&mut from_broker, &mut tokio::io::sink()).await
    };
    let _ = timeout(LEFT_WITHIN, let_go).await;
    ended
}

async fn upward(
    from: &mut ReadHalf<impl AsyncRead + AsyncWrite>,
    to: &mut (impl AsyncWrite + Unpin),
    guard: &Guard,
    silent: Duration,
    mut bytes: BytesMut,
    packets: &Mutex<Allowance>,
) -> Ended {
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
            if is_goodbye(&packet) {
                return Ended::Goodbye;
            }
            if let Err(error) = to.write_all(&packet).await {
                return error.into();
            }
            let wait = lock(packets).take(1.0);
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
