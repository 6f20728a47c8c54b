//! Ways to the broker on which its answers are taken at once, and the door for who is on this machine.
//!
//! rumqttd sends each answer as a small packet of its own and leaves Nagle's algorithm on (RFC 896): the second waits until
//! the first was acknowledged, and the kernel of whoever reads puts that off by up to 40 ms, hoping for something to send with
//! it (RFC 1122, 4.2.3.2). A student would wait that long for each light. The broker's sockets are not ours to set, so its
//! peers are these connections, which acknowledge at once (`TCP_QUICKACK`, tcp(7)).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// When one side has ended, what is under way the other way gets so long.
const LEFT_WITHIN: Duration = Duration::from_secs(1);
/// Whoever takes nothing for so long is gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait when no connection can be accepted.
const AGAIN: Duration = Duration::from_millis(100);
/// How many bytes are passed on at once.
const CHUNK: usize = 2_048;

/// A connection to the broker.
pub struct ToBroker(TcpStream);

impl ToBroker {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(broker: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(broker).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream).at_once())
    }

    fn at_once(self) -> Self {
        self.acknowledge();
        self
    }

    /// The kernel forgets it after a while, so it is said again after whatever passes. Where it cannot be set, answers are
    /// late, and no worse.
    fn acknowledge(&self) {
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
    }
}

impl AsyncRead for ToBroker {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.0).poll_read(cx, into);
        if polled.is_ready() {
            self.acknowledge();
        }
        polled
    }
}

impl AsyncWrite for ToBroker {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write(cx, bytes);
        if polled.is_ready() {
            self.acknowledge();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Passes on what readers on this machine, and the gateway itself, have to do with the broker, until told to stop.
pub async fn serve(listener: TcpListener, broker: SocketAddr, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = crate::stop::told(&mut stop) => return,
        };
        match accepted {
            Ok((client, _)) => {
                let mut stop = stop.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        // Whoever is not connected tries again, and the broker's end is told of elsewhere.
                        _ = pass(client, broker) => {}
                        () = crate::stop::told(&mut stop) => {}
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: it passes when others close.
                tracing::warn!("the MQTT broker's door cannot accept: {error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn pass(client: TcpStream, broker: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = tokio::io::split(ToBroker::connect(broker).await?);
    let mut up = std::pin::pin!(copy(&mut from_client, &mut to_broker));
    let mut down = std::pin::pin!(copy(&mut from_broker, &mut to_client));
    tokio::select! {
        // Whoever broke off hears nothing any more, and the other side is to know at once.
        ended = &mut up => {
            ended?;
            drop(timeout(LEFT_WITHIN, down).await);
        }
        ended = &mut down => {
            ended?;
            drop(timeout(LEFT_WITHIN, up).await);
        }
    }
    Ok(())
}

/// Until the end, which is passed on.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        timeout(TAKEN_WITHIN, to.write_all(&bytes[..count])).await??;
    }
}
