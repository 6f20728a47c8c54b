//! The journal's thread: gathers appends that wait together into one write and one sync.
//!
//! One thread owns the log. Results come back in the order asked. When the disk fails, everything asked since is
//! answered with the failure; the gateway then shows red and ends. When it is full, appends are refused one
//! group after the other, and the gateway goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::disk::Disk;
use super::log::{Damage, JournalError, Log, Segment, Stored, Usage};
use super::lost::{self, Hole};

/// How many asks may wait.
const QUEUE: usize = 1_024;
/// How many appends share one sync at the most.
const MAX_GROUP: usize = 256;
/// How many bytes share one sync at the most: well below a segment.
const MAX_GROUP_BYTES: usize = 1024 * 1024;

/// A group waits for more at most this part of what the last one took to be written and synced.
const SHARE_OF_A_SYNC: u32 = 4;
/// However long a sync took: a card that stood still once must not keep the next swipe waiting.
const MOST_PATIENCE: Duration = Duration::from_millis(10);

/// What may be asked of the journal.
enum Ask {
    Append { ticket: u64, body: Vec<u8> },
    Read { from: u64, limit: usize, reply: oneshot::Sender<Result<Vec<Stored>, Arc<JournalError>>> },
    Standing(oneshot::Sender<Standing>),
    Renew(Uuid, oneshot::Sender<()>),
    DropBefore(u64),
    KeepEnd(Option<oneshot::Sender<()>>),
}

/// What came of appends.
#[derive(Debug, Clone)]
pub enum Written {
    /// They are durable: ticket and sequence of each.
    Durable(Vec<(u64, u64)>),
    /// There was no room; nothing of them was written.
    Refused(Vec<u64>, Arc<JournalError>),
    /// They may or may not be on the disk, and nothing more will be.
    Failed(Vec<u64>, Arc<JournalError>),
    /// Records were found damaged while the journal was read: what, and where the holes lie.
    Damaged(Vec<(Damage, Vec<Hole>)>),
}

/// How the journal stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The id that is written under.
    pub journal: Uuid,
    /// The sequence that the next record gets.
    pub next: u64,
    /// All segments, oldest first.
    pub segments: Vec<Segment>,
    /// How full it is.
    pub usage: Usage,
}

impl Standing {
    /// The first number that a journal ever had; 0 where its beginning may have been dropped.
    #[must_use]
    pub fn begins(&self, journal: Uuid) -> u64 {
        match self.segments.iter().position(|segment| segment.journal == journal) {
            Some(0) if self.segments[0].first > 1 => 0,
            Some(place) => self.segments[place].first,
            None => 0,
        }
    }
}

/// A handle on the journal's thread.
#[derive(Clone)]
pub struct Journal {
    asks: mpsc::Sender<Ask>,
}

impl Journal {
    /// Starts the thread over a log. What comes of appends is sent to `written`, which has no bound of its own: whoever asks
    /// may ask for many before it hears of the first, and the two must not wait for each other.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start<D: Disk + 'static>(
        log: Log<D>,
        written: mpsc::UnboundedSender<Written>,
    ) -> std::io::Result<Self> {
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

    /// How it stands; `None` when it has ended.
    pub async fn standing(&self) -> Option<Standing> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Standing(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Asks how it stands, for whoever must not wait for a disk; `None` when more waits for it than it should.
    #[must_use]
    pub fn ask_standing(&self) -> Option<oneshot::Receiver<Standing>> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(Ask::Standing(reply)).ok()?;
        Some(answer)
    }

    /// Goes on under another id.
    pub async fn renew(&self, fresh: Uuid) {
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask::Renew(fresh, reply)).await.is_ok() {
            // Without an answer the journal has ended, and nothing is written under any id.
            let _ = answer.await;
        }
    }

    /// Asks that what says where the journal ends be made durable, once in a while; nobody waits for it.
    pub fn keep_end(&self) {
        // Where there is no room for it, it is asked for again before long.
        let _ = self.asks.try_send(Ask::KeepEnd(None));
    }

    /// The same before the program ends; waits so long at the most.
    pub async fn end_within(&self, patience: Duration) {
        let (reply, answer) = oneshot::channel();
        let kept = async {
            self.asks.send(Ask::KeepEnd(Some(reply))).await.ok()?;
            answer.await.ok()
        };
        // A disk that hangs is not waited for.
        let _ = tokio::time::timeout(patience, kept).await;
    }

    /// Drops whole segments before a sequence.
    pub async fn drop_before(&self, keep_from: u64) {
        let _ = self.asks.send(Ask::DropBefore(keep_from)).await;
    }
}

/// How long a group waits for more to come with it. Who swipes alone waits for nobody; where many come at once, the
/// first of them would otherwise be synced alone while all others wait for a second sync.
struct Pace {
    /// How many the group before had.
    group: usize,
    /// How long to wait for as many.
    patience: Duration,
}

impl Pace {
    fn waits(&self, gathered: usize, waited: Duration) -> bool {
        gathered < self.group && waited < self.patience
    }

    /// What comes so soon that going to sleep and being woken would take longer.
    fn soon(&self, asks: &mut mpsc::Receiver<Ask>) -> Option<Ask> {
        let begun = Instant::now();
        while self.waits(1, begun.elapsed()) {
            match asks.try_recv() {
                Ok(ask) => return Some(ask),
                Err(_) => std::thread::yield_now(),
            }
        }
        None
    }
}

fn run<D: Disk>(mut log: Log<D>, mut asks: mpsc::Receiver<Ask>, written: &mpsc::UnboundedSender<Written>) {
    let mut held: Option<Ask> = None;
    let mut pace = Pace { group: 1, patience: Duration::ZERO };
    loop {
        let ask = match held.take().map_or_else(|| asks.try_recv(), Ok) {
            Ok(ask) => ask,
            Err(_) => {
                // Nobody waits: time to make the next segment, and to say where this one ends.
                if let Err(error) = log.make_reserve().and_then(|()| log.keep_end(false))
                    && !report(written, Vec::new(), Arc::new(error))
                {
                    return;
                }
                match pace.soon(&mut asks).or_else(|| asks.blocking_recv()) {
                    Some(ask) => ask,
                    None => return,
                }
            }
        };
        match ask {
            Ask::Append { ticket, body } => {
                let (mut tickets, mut bodies, mut bytes) = (vec![ticket], vec![body], 0);
                let begun = Instant::now();
                while bodies.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
                    match asks.try_recv() {
                        Ok(Ask::Append { ticket, body }) => {
                            bytes += body.len();
                            tickets.push(ticket);
                            bodies.push(body);
                        }
                        Ok(other) => {
                            held = Some(other);
                            break;
                        }
                        Err(_) if pace.waits(bodies.len(), begun.elapsed()) => std::thread::yield_now(),
                        Err(_) => break,
                    }
                }
                let begun = Instant::now();
                let appended = log.append(&bodies);
                pace = Pace {
                    group: bodies.len(),
                    patience: (begun.elapsed() / SHARE_OF_A_SYNC).min(MOST_PATIENCE),
                };
                let told = match appended {
                    Ok(first) => {
                        let done = Written::Durable(tickets.into_iter().zip(first..).collect());
                        written.send(done).is_ok()
                    }
                    Err(error) => report(written, tickets, Arc::new(error)),
                };
                if !told {
                    return;
                }
            }
            Ask::Read { from, limit, reply } => {
                let read = log.read(from, limit).map_err(Arc::new);
                if let Err(error) = &read
                    && log.has_failed()
                    && !report(written, Vec::new(), error.clone())
                {
                    return;
                }
                // Told before the answer: whoever reads on must not be faster than what says that something is missing.
                let mut news = Vec::new();
                // Looking around for when a hole lies may find more of them.
                while let found = log.take_news()
                    && !found.is_empty()
                {
                    for damage in found {
                        let holes = lost::holes(&mut log, &damage);
                        news.push((damage, holes));
                    }
                }
                if !news.is_empty() && written.send(Written::Damaged(news)).is_err() {
                    return;
                }
                // Whoever asked may have gone.
                let _ = reply.send(read);
            }
            Ask::Standing(reply) => {
                let standing = Standing {
                    journal: log.journal(),
                    next: log.next_sequence(),
                    segments: log.segments().cloned().collect(),
                    usage: log.usage(),
                };
                let _ = reply.send(standing);
            }
            Ask::Renew(fresh, reply) => {
                log.renew(fresh);
                let _ = reply.send(());
            }
            Ask::DropBefore(keep_from) => {
                // An error of the folder's sync is one of the disk's: after it nothing can be promised.
                if let Err(error) = log.drop_before(keep_from)
                    && !report(written, Vec::new(), Arc::new(error))
                {
                    return;
                }
            }
            Ask::KeepEnd(reply) => {
                if let Err(error) = log.keep_end(true)
                    && !report(written, Vec::new(), Arc::new(error))
                {
                    return;
                }
                let _ = reply.map(|reply| reply.send(()));
            }
        }
    }
}

/// Says what came of appends that were not made; `false` when nobody listens any more.
fn report(written: &mpsc::UnboundedSender<Written>, tickets: Vec<u64>, error: Arc<JournalError>) -> bool {
    let full = matches!(*error, JournalError::Full(_));
    tracing::error!("{error}");
    let what = if full { Written::Refused(tickets, error) } else { Written::Failed(tickets, error) };
    written.send(what).is_ok()
}
