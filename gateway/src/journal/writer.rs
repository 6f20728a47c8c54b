//! The journal's thread: gathers appends that wait together into one write and one sync.
//!
//! One thread owns the log. Results come back in the order asked. When the disk fails, everything asked since is
//! answered with the failure; the gateway then shows red and ends.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use super::log::{JournalError, Log, Stored};

/// How many asks may wait.
const QUEUE: usize = 1_024;
/// How many appends share one sync at the most.
const MAX_GROUP: usize = 256;

/// What may be asked of the journal.
enum Ask {
    Append { ticket: u64, body: Vec<u8> },
    Read { from: u64, limit: usize, reply: oneshot::Sender<Result<Vec<Stored>, Arc<JournalError>>> },
    DropBefore(u64),
}

/// What came of appends.
#[derive(Debug, Clone)]
pub enum Written {
    /// They are durable: ticket and sequence of each.
    Durable(Vec<(u64, u64)>),
    /// They are not.
    Failed(Vec<u64>, Arc<JournalError>),
}

/// A handle on the journal's thread.
#[derive(Clone)]
pub struct Journal {
    asks: mpsc::Sender<Ask>,
}

impl Journal {
    /// Starts the thread over a log. What comes of appends is sent to `written`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start<D: Disk + 'static>(log: Log<D>, written: mpsc::Sender<Written>) -> std::io::Result<Self> {
        let (asks, waiting) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || run(log, waiting, &written))?;
        Ok(Self { asks })
    }

    /// Asks that a body be made durable; `ticket` comes back with the result.
    pub async fn append(&self, ticket: u64, body: Vec<u8>) {
        // The thread ends only when all handles are gone.
        let _ = self.asks.send(Ask::Append { ticket, body }).await;
    }

    /// Reads durable records.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn read(&self, from: u64, limit: usize) -> Result<Vec<Stored>, Arc<JournalError>> {
        let (reply, answer) = oneshot::channel();
        let asked = self.asks.send(Ask::Read { from, limit, reply }).await;
        if asked.is_err() {
            return Err(Arc::new(JournalError::Failed));
        }
        answer.await.unwrap_or_else(|_| Err(Arc::new(JournalError::Failed)))
    }

    /// Drops whole segments before a sequence.
    pub async fn drop_before(&self, keep_from: u64) {
        let _ = self.asks.send(Ask::DropBefore(keep_from)).await;
    }
}

fn run<D: Disk>(mut log: Log<D>, mut asks: mpsc::Receiver<Ask>, written: &mpsc::Sender<Written>) {
    let mut held: Option<Ask> = None;
    while let Some(ask) = held.take().or_else(|| asks.blocking_recv()) {
        match ask {
            Ask::Append { ticket, body } => {
                let (mut tickets, mut bodies) = (vec![ticket], vec![body]);
                while bodies.len() < MAX_GROUP {
                    match asks.try_recv() {
                        Ok(Ask::Append { ticket, body }) => {
                            tickets.push(ticket);
                            bodies.push(body);
                        }
                        Ok(other) => {
                            held = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                let result = match log.append(&bodies) {
                    Ok(first) => Written::Durable(tickets.into_iter().zip(first..).collect()),
                    Err(error) => {
                        tracing::error!("{error}");
                        Written::Failed(tickets, Arc::new(error))
                    }
                };
                if written.blocking_send(result).is_err() {
                    return;
                }
            }
            Ask::Read { from, limit, reply } => {
                // Whoever asked may have gone.
                let _ = reply.send(log.read(from, limit).map_err(Arc::new));
            }
            Ask::DropBefore(keep_from) => {
                if let Err(error) = log.drop_before(keep_from) {
                    tracing::error!("{error}");
                }
            }
        }
    }
}
