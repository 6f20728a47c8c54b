//! SQLite behind the store's door: WAL, `synchronous = FULL`, one writer, several readers.
//!
//! A statement runs on the thread that asks for it: most take some ten microseconds, far less than to wake another thread and to be
//! woken by it. A read that turns out to be long is given up there after a while and begins anew on a thread for what blocks, and
//! the next time it begins there. While something long is written, and while the disk is waited for, the runtime's other work goes
//! elsewhere. Since hardly a statement waits for another thread any more, whoever asks for many gives others their turn.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;

use super::migrate::{explain, migrator};
use super::{Boxed, Row, Store, StoreError, Transaction, Value};

mod statement;
#[cfg(test)]
mod tests;

/// How many queries may read at once; each holds one of these from its first statement to its last.
const READERS: usize = 10;
/// How many may do so beside them that read little, and behind no report.
const SOON: usize = 4;
/// How many of their connections stay open while nobody reads.
const KEPT_OPEN: usize = 4;
/// How much of the file one of them keeps in memory, in KiB; the writer keeps more.
const READER_CACHE: i64 = -8_192;
const WRITER_CACHE: i64 = -32_768;
/// How many statements of a connection are kept as they were compiled.
const STATEMENTS_KEPT: usize = 256;
/// How long one waits for a connection, and for other processes that write; and after how long these are asked again.
const LENT_WITHIN: Duration = Duration::from_secs(30);
const BUSY_FOR: Duration = Duration::from_secs(10);
const BUSY_AGAIN: Duration = Duration::from_millis(5);
/// After so many instructions of SQLite's machine it is looked whether a read is to go on.
const LOOKED_EVERY: i32 = 200;
/// For how long a read may keep the thread that asks.
const BRIEFLY: Duration = Duration::from_millis(2);
/// A statement that took so long is done elsewhere the next time.
const SLOW: Duration = Duration::from_millis(4);
/// And of one that took so long the log tells.
const VERY_SLOW: Duration = Duration::from_secs(1);
/// How many slow statements are remembered.
const SLOW_KNOWN: usize = 1_024;
/// One that writes and has more values than this is done elsewhere from the first.
const MANY_VALUES: usize = 500;
/// For how long whoever asks for one statement after the other may keep others from their turn.
const TURN: Duration = Duration::from_millis(2);

/// A SQLite database in a file.
pub struct SqliteStore {
    readers: Arc<Pool>,
    soon: Arc<Pool>,
    writer: Arc<Pool>,
}

impl SqliteStore {
    /// Opens the database, makes it when there is none, and brings it to this version.
    ///
    /// # Errors
    /// When the file cannot be opened, or was made by a newer version of this program.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(BUSY_FOR);
        let once = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let name = path.display().to_string();
        migrator(str::to_owned).run(&once).await.map_err(|error| explain(error, &name))?;
        once.close().await;
        let pool = |writes, count| {
            let places = Arc::new(Semaphore::new(count));
            Arc::new(Pool {
                path: path.to_owned(),
                writes,
                idle: Mutex::default(),
                places,
                slow: Mutex::default(),
            })
        };
        Ok(Self { readers: pool(false, READERS), soon: pool(false, SOON), writer: pool(true, 1) })
    }
}

/// Connections of one kind, opened when they are first needed.
struct Pool {
    path: PathBuf,
    writes: bool,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
    /// Statements that took long, by their texts' hashes.
    slow: Mutex<HashSet<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(sql: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    sql.hash(&mut hasher);
    hasher.finish()
}

impl Pool {
    async fn lend(self: &Arc<Self>) -> Result<Lent, StoreError> {
        let place = tokio::time::timeout(LENT_WITHIN, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(StoreError::Again("it had no turn".into())) };
        let idle = lock(&self.idle).pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        Ok(Lent { connection: Some(connection), pool: self.clone(), _place: place })
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        let connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY_FOR)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let cache = if self.writes { WRITER_CACHE } else { READER_CACHE };
        connection.pragma_update(None, "cache_size", cache)?;
        connection.pragma_update(None, "query_only", !self.writes)?;
        if self.writes {
            // It waits for its beginning elsewhere, and for nothing after it.
            connection.busy_timeout(Duration::ZERO)?;
        }
        Ok(connection)
    }

    fn is_slow(&self, sql: &str) -> bool {
        lock(&self.slow).contains(&hash(sql))
    }

    /// A statement that was taken to be slow was not: the machine was busy, or the disk.
    fn forget(&self, sql: &str) {
        lock(&self.slow).remove(&hash(sql));
    }

    fn note(&self, sql: &str, took: Duration) {
        if took < SLOW {
            return;
        }
        if took >= VERY_SLOW {
            let beginning: String = sql.chars().take(400).collect();
            tracing::warn!(seconds = took.as_secs_f64(), "a statement took long: {beginning}");
        }
        let mut slow = lock(&self.slow);
        if slow.len() >= SLOW_KNOWN {
            slow.clear();
        }
        slow.insert(hash(sql));
    }
}

/// A connection until it is dropped; then whatever was not committed is taken back, and it is another's.
struct Lent {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Lent {
    fn connection(&self) -> Result<&Connection, StoreError> {
        self.connection.as_ref().ok_or_else(|| StoreError::Engine("a connection was lost".into()))
    }

    /// The same, as long as its transaction lasts: the engine ends one by itself, for instance where its disk is full, and what came
    /// after would stand alone.
    fn in_transaction(&self) -> Result<&Connection, StoreError> {
        let connection = self.connection()?;
        if connection.is_autocommit() {
            return Err(StoreError::Engine("the engine took this transaction back".into()));
        }
        Ok(connection)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // One that cannot be brought back to its beginning is closed, which takes back as much.
        if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
            let mut idle = lock(&self.pool.idle);
            if idle.len() < KEPT_OPEN {
                idle.push(connection);
            }
        }
    }
}

impl Store for SqliteStore {
    fn read(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(Reads::begin(&self.readers))
    }

    fn read_soon(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(Reads::begin(&self.soon))
    }

    fn is_crowded(&self) -> bool {
        self.readers.places.available_permits() == 0
    }

    fn write(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async move {
            let writes = Writes::begin(self.writer.lend().await?, BUSY_FOR).await?;
            Ok(Box::new(writes) as Box<dyn Transaction>)
        })
    }
}

/// Does what may block while the runtime's other work goes elsewhere, where there is an elsewhere.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error.into()),
            // Another process writes, an import perhaps. No transaction has begun then.
            Some(ErrorCode::DatabaseBusy) => Self::Again(error.into()),
            _ => Self::Engine(error.into()),
        }
    }
}

/// For how long others have had no turn.
#[derive(Default)]
struct Turn(Duration);

impl Turn {
    async fn after(&mut self, took: Duration) {
        self.0 += took;
        if self.0 >= TURN {
            self.0 = Duration::ZERO;
            tokio::task::yield_now().await;
        }
    }
}

/// A read on a thread of its own, which gives the connection back.
type Away = JoinHandle<(Lent, Result<Vec<Row>, StoreError>)>;

/// One that reads.
struct Reads {
    pool: Arc<Pool>,
    /// None while a thread for long reads has it.
    lent: Option<Lent>,
    away: Option<Away>,
    turn: Turn,
}

/// Tells a long read, once dropped, that nobody waits for it any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Reads {
    async fn begin(pool: &Arc<Pool>) -> Result<Box<dyn Transaction>, StoreError> {
        let lent = pool.lend().await?;
        // Until its first statement it sees and holds nothing.
        lent.connection()?.execute_batch("BEGIN")?;
        Ok(Box::new(Self { pool: pool.clone(), lent: Some(lent), away: None, turn: Turn::default() }))
    }

    /// Reads on this thread, for a short while: nothing where that was too short.
    fn briefly(&self, sql: &str, values: &[Value]) -> Result<Option<Vec<Row>>, StoreError> {
        let connection = self.lent.as_ref().ok_or_else(lost)?.in_transaction()?;
        let until = Instant::now() + BRIEFLY;
        connection.progress_handler(LOOKED_EVERY, Some(move || Instant::now() >= until))?;
        let read = statement::fetch(connection, sql, values);
        connection.progress_handler(0, None::<fn() -> bool>)?;
        match read {
            Ok(rows) => Ok(Some(rows)),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads on a thread for what blocks.
    async fn at_length(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let lent = self.lent.take().ok_or_else(lost)?;
        let gone = Arc::new(AtomicBool::new(false));
        let waiting = Waiting(gone.clone());
        let sql = sql.to_owned();
        self.away = Some(tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let rows = lent.in_transaction().and_then(|connection| {
                connection.progress_handler(LOOKED_EVERY, Some(move || gone.load(Ordering::Relaxed)))?;
                let read = statement::fetch(connection, &sql, &values);
                connection.progress_handler(0, None::<fn() -> bool>)?;
                Ok(read?)
            });
            match began.elapsed() {
                short if short < BRIEFLY && rows.is_ok() => lent.pool.forget(&sql),
                took => lent.pool.note(&sql, took),
            }
            (lent, rows)
        }));
        let rows = self.back().await;
        drop(waiting);
        rows
    }

    /// Waits for the thread that has the connection. Whoever asked for what it reads may have gone meanwhile; then it breaks off.
    async fn back(&mut self) -> Result<Vec<Row>, StoreError> {
        let Some(away) = &mut self.away else { return Ok(Vec::new()) };
        let ended = away.await;
        self.away = None;
        let (lent, rows) = ended.map_err(|error| StoreError::Engine(error.into()))?;
        self.lent = Some(lent);
        rows
    }
}

fn lost() -> StoreError {
    StoreError::Engine("a long read of this transaction ended in a panic".into())
}

impl Transaction for Reads {
    fn execute<'a>(&'a mut self, _: &'a str, _: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>> {
        Box::pin(async { Err(StoreError::ReadOnly) })
    }

    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            consume_budget().await;
            if self.away.is_some() {
                // That it was broken off is news to nobody.
                drop(self.back().await);
            }
            if !self.pool.is_slow(sql) {
                let began = Instant::now();
                let read = self.briefly(sql, &values)?;
                let took = began.elapsed();
                self.pool.note(sql, if read.is_some() { took } else { took.max(SLOW) });
                if let Some(rows) = read {
                    self.turn.after(took).await;
                    return Ok(rows);
                }
            }
            self.at_length(sql, values).await
        })
    }

    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// One that writes.
struct Writes {
    lent: Lent,
    turn: Turn,
}

impl Writes {
    /// Begins, once no other process writes; nobody is held up where one does.
    async fn begin(lent: Lent, within: Duration) -> Result<Self, StoreError> {
        let gives_up = Instant::now() + within;
        loop {
            let begun = lent.connection().and_then(|it| Ok(it.execute_batch("BEGIN IMMEDIATE")?));
            match begun {
                Ok(()) => return Ok(Self { lent, turn: Turn::default() }),
                Err(StoreError::Again(_)) if Instant::now() < gives_up => {
                    tokio::time::sleep(BUSY_AGAIN).await
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Carries a statement out, where it will keep nobody from their turn.
    async fn carry_out<T>(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        how: fn(&Connection, &str, &[Value]) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        consume_budget().await;
        let began = Instant::now();
        let connection = self.lent.in_transaction()?;
        let is_slow = self.lent.pool.is_slow(sql);
        let done = if values.len() > MANY_VALUES || is_slow {
            aside(|| how(connection, sql, &values))
        } else {
            how(connection, sql, &values)
        };
        let took = began.elapsed();
        if is_slow && took < BRIEFLY {
            self.lent.pool.forget(sql);
        } else {
            self.lent.pool.note(sql, took);
        }
        self.turn.after(took).await;
        Ok(done?)
    }
}

impl Transaction for Writes {
    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>> {
        Box::pin(self.carry_out(sql, values, statement::execute))
    }

    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(self.carry_out(sql, values, statement::fetch))
    }

    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>> {
        Box::pin(async move { aside(|| Ok(self.lent.in_transaction()?.execute_batch("COMMIT")?)) })
    }
}
