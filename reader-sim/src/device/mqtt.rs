//! A simulated reader that talks MQTT to its gateway.
//!
//! Made by the driver in `campus` (one for each reader of that kind) and by the `reader` subcommand. Never
//! decides anything about attendance: it reports cards until they are acknowledged, and shows what it is
//! told.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::{AsyncClient, LastWill, MqttOptions, QoS, TlsConfiguration, Transport};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::device::Events;
use crate::plan::Credential;

mod link;
mod messages;
mod outbox;
mod session;

use outbox::Outbox;
use session::{Order, Session};

/// The broker's (and so the gateway's) view of a dead connection takes 1.5 times as long.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Requests on their way to the network; the outbox holds at most half as many swipes.
const REQUESTS: usize = 512;
/// How long a reader that is stopped waits to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a reader could not be made, or would not take a card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MqttReaderError {
    /// A code that cannot be a level of a topic.
    #[error("code {0:?} cannot be part of a topic: it is empty or has one of / + # in it")]
    Code(String),
    /// The bits and bytes of the credential do not fit each other.
    #[error("credential of {bits} bits in {bytes} bytes: bits / 8 bytes, rounded up")]
    Credential {
        /// How many bits it says it has.
        bits: u16,
        /// How many bytes it has.
        bytes: usize,
    },
    /// Too many swipes wait to be acknowledged; the oldest are kept.
    #[error("reader {0} is full: its oldest swipes wait to be acknowledged")]
    Full(String),
    /// The reader's task has ended.
    #[error("reader {0} has stopped")]
    Stopped(String),
}

/// A reader's clock that is not this program's: where time is virtual, the reader's is too.
#[derive(Clone)]
pub struct Uptime(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Uptime {
    /// A clock; it says how many milliseconds have passed since the reader's start.
    pub fn new(says: impl Fn() -> u64 + Send + Sync + 'static) -> Uptime {
        Uptime(Arc::new(says))
    }

    fn ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Uptime").field(&self.ms()).finish()
    }
}

/// What a reader needs to come through its gateway's door for the network.
#[derive(Clone)]
pub struct Credentials {
    /// The certificate of the authority that it trusts, PEM.
    pub authority: Vec<u8>,
    /// What proves who it is.
    pub proof: Proof,
}

/// What proves who a reader is.
#[derive(Clone)]
pub enum Proof {
    /// Its password; its user name is its code.
    Password(String),
    /// Its certificate and the certificate's key, PEM.
    Certificate(Vec<u8>, Vec<u8>),
}

impl Credentials {
    /// Makes a connection's options those of this reader.
    pub(crate) fn apply(&self, code: &str, options: &mut MqttOptions) {
        let client_auth = match &self.proof {
            Proof::Certificate(certificate, key) => Some((certificate.clone(), key.clone())),
            Proof::Password(password) => {
                options.set_credentials(code, password);
                None
            }
        };
        let tls = TlsConfiguration::Simple { ca: self.authority.clone(), alpn: None, client_auth };
        options.set_transport(Transport::tls_with_config(tls));
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A reader and its connection. Dropped without [`MqttReader::stop`] it vanishes, and its last will is done.
#[derive(Debug)]
pub struct MqttReader {
    code: String,
    outbox: Arc<Mutex<Outbox>>,
    orders: mpsc::UnboundedSender<Order>,
    session: JoinHandle<()>,
    pump: JoinHandle<()>,
}

impl MqttReader {
    /// Starts a reader under a random boot name. It connects, and connects again whenever it must, by itself;
    /// `Online` in `events` says when.
    pub async fn connect(
        code: String,
        gateway: String,
        url_host: String,
        port: u16,
        events: Events,
    ) -> Result<MqttReader, MqttReaderError> {
        Self::connect_as(code, gateway, url_host, port, outbox::random_boot(), None, None, events).await
    }

    /// The same by TLS, with what proves who it is.
    pub async fn connect_secured(
        code: String,
        gateway: String,
        url_host: String,
        port: u16,
        by: Credentials,
        events: Events,
    ) -> Result<MqttReader, MqttReaderError> {
        Self::connect_as(code, gateway, url_host, port, outbox::random_boot(), None, Some(by), events).await
    }

    /// The same, with a clock of its own.
    pub async fn connect_timed(
        code: String,
        gateway: String,
        url_host: String,
        port: u16,
        uptime: Uptime,
        events: Events,
    ) -> Result<MqttReader, MqttReaderError> {
        Self::connect_as(code, gateway, url_host, port, outbox::random_boot(), Some(uptime), None, events)
            .await
    }

    /// The same, under a given boot name.
    pub async fn connect_as(
        code: String,
        gateway: String,
        url_host: String,
        port: u16,
        boot: String,
        uptime: Option<Uptime>,
        by: Option<Credentials>,
        events: Events,
    ) -> Result<MqttReader, MqttReaderError> {
        for level in [&code, &gateway] {
            if level.is_empty() || level.contains(['/', '+', '#', '\0']) {
                return Err(MqttReaderError::Code(level.clone()));
            }
        }
        let topic = format!("att/v1/{gateway}/reader/{code}");
        let mut options = MqttOptions::new(code.clone(), url_host, port);
        let will = LastWill::new(format!("{topic}/state"), "lost", QoS::AtLeastOnce, true);
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_last_will(will);
        if let Some(by) = by {
            by.apply(&code, &mut options);
        }
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS);
        event_loop.network_options.set_tcp_nodelay(true);
        let (notes, inbox) = mpsc::unbounded_channel();
        let pump = tokio::spawn(link::pump(event_loop, notes));
        let outbox = Arc::new(Mutex::new(Outbox::new(boot, uptime)));
        let (orders, orders_in) = mpsc::unbounded_channel();
        let session = Session::new(code.clone(), topic, client, Arc::clone(&outbox), events);
        let session = tokio::spawn(session.run(orders_in, inbox));
        Ok(MqttReader { code, outbox, orders, session, pump })
    }

    /// The reader's code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Holds a card to the reader; returns the swipe's sequence number. Taken while the link is down too.
    pub fn present(&self, credential: &Credential) -> Result<u64, MqttReaderError> {
        let bytes = credential.raw.len();
        if bytes == 0 || usize::from(credential.bits).div_ceil(8) != bytes {
            return Err(MqttReaderError::Credential { bits: credential.bits, bytes });
        }
        let seq = lock(&self.outbox).push(credential, Instant::now());
        let seq = seq.ok_or_else(|| MqttReaderError::Full(self.code.clone()))?;
        match self.orders.send(Order::Swiped) {
            Ok(()) => Ok(seq),
            Err(_) => Err(MqttReaderError::Stopped(self.code.clone())),
        }
    }

    /// Says goodbye (`state` becomes `lost`) and disconnects, when it can within two seconds.
    pub async fn stop(mut self) {
        let (done, said) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).is_err() {
            return;
        }
        let goodbye = async {
            if said.await.unwrap_or(false)
                && let Err(error) = (&mut self.pump).await
            {
                tracing::debug!(reader = self.code, %error, "the connection's task failed");
            }
        };
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::debug!(reader = self.code, "no goodbye: the broker does not answer");
        }
    }
}

impl Drop for MqttReader {
    fn drop(&mut self) {
        self.session.abort();
        self.pump.abort();
    }
}

/// Takes the lock whether or not a holder of it panicked: no change to the outbox is left half done.
fn lock(outbox: &Mutex<Outbox>) -> MutexGuard<'_, Outbox> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}
