//! PostgreSQL behind the store's door: several hubs may stand over one database.
//!
//! Writes take turns, over all hubs, by a lock that PostgreSQL lets go of at the end of a transaction, whatever
//! happens to who held it. So a writer sees everything that was committed before it, as it does on SQLite. Where a
//! URL says `isolation=serializable` nobody takes turns: writers run beside each other, and one of two that meet
//! is turned down (SQLSTATE 40001) and attempted again. Reads see one state from their first statement on, and wait
//! for nobody.
//!
//! A writer whose connection is cut while it commits asks afterwards whether it did: each leaves its id in
//! `transaction_outcome`, and whoever then puts that id there himself, marked as his, either finds the transaction's, or has
//! made sure that it never comes (the engine makes him wait for a transaction that is still under way).

use std::io::ErrorKind;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Postgres};

use uuid::Uuid;

use self::fault::{Class, class, given_up, is_busy};
use self::outcome::Outcome;
use self::values::{bind, rows_of};
use super::lists::TakesLists;
use super::migrate::{explain, migrator};
use super::{Boxed, Row, Store, StoreError, Transaction, Value};

mod fault;
mod outcome;
mod values;

/// What a server's own views call its connections.
pub(super) const NAME: &str = "rollcall-hub";
/// Through how many connections one hub reads while few read at a time. Each is a process of the server's, which has at hand what it
/// read last: shared out to many, each would have less.
const FEW: u32 = 2;
/// For how long one of them may make who reads wait.
const FEW_BEGIN_WITHIN: Duration = Duration::from_secs(1);
/// How many more it reads through at the most.
const READERS: u32 = 10;
/// Through how many beside them it reads little, and behind no report.
const SOON: u32 = 4;
/// How many it writes through: one has its turn, and one is ready for the next.
const WRITERS: u32 = 2;
/// How many it writes through where nobody takes turns.
const WRITERS_AT_ONCE: u32 = 6;
/// The lock by which writers take turns: any number that nothing else in the database uses.
const WRITER_LOCK: i64 = 0x726f_6c6c_6361_6c6c;

/// Tried out when a database is opened.
const TRIED_LOCK: i64 = WRITER_LOCK + 1;

/// How long a commit may take. A server that went without a word, or waits for a standby that did, is asked by another connection then.
const COMMITTED_WITHIN: Duration = Duration::from_secs(60);
/// After how long the server ends a transaction in which it is asked nothing more: that of a hub whose machine or network went without
/// a word holds up every other hub until then, and by the defaults of TCP that would be hours.
const IDLE_AT_MOST: &str = "300s";
/// After how long the server ends a question: whoever asked has gone by then, and it goes on all the same.
const ASKED_AT_MOST: &str = "300s";
/// For how long ids of transactions are kept, in seconds; far longer than anyone asks.
const OUTCOMES_KEPT_S: i64 = 3_600;
/// After how many transactions of this hub old ids are dropped.
const OUTCOMES_DROPPED_EVERY: u64 = 2_000;

/// A PostgreSQL database.
pub struct PostgresStore {
    options: Arc<PgConnectOptions>,
    few: PgPool,
    readers: PgPool,
    soon: PgPool,
    writers: PgPool,
    writing: Writing,
    /// Whether its advisory locks hold.
    locks: bool,
    begun: AtomicU64,
    /// The month around which all months have their tables.
    months_kept: AtomicI64,
}

/// How writers keep out of each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// By a lock, one after the other.
    InTurn,
    /// By the engine's isolation level SERIALIZABLE.
    Serializable,
}

/// How to connect to what a URL names, and how to write there.
pub(super) fn options(url: &str) -> Result<(PgConnectOptions, Writing), StoreError> {
    let (address, writing) = without_isolation(url)?;
    let options = PgConnectOptions::from_str(&address)?
        .application_name(NAME)
        .statement_cache_capacity(256)
        .disable_statement_logging()
        // What a receipt says must be on the disk, whatever the server was told.
        .options([("synchronous_commit", "on")]);
    Ok((options, writing))
}

/// A URL without the parameter `isolation`, which is ours, and what it says.
fn without_isolation(url: &str) -> Result<(String, Writing), StoreError> {
    let Some((address, query)) = url.split_once('?') else { return Ok((url.to_owned(), Writing::InTurn)) };
    let mut writing = Writing::InTurn;
    let mut others = Vec::new();
    for part in query.split('&') {
        match part.split_once('=') {
            Some(("isolation", "turns")) => writing = Writing::InTurn,
            Some(("isolation", "serializable")) => writing = Writing::Serializable,
            Some(("isolation", other)) => {
                return Err(StoreError::Version(format!(
                    "{}: isolation={other} is not known; say isolation=turns, which is so unless told, or \
                     isolation=serializable",
                    shown(url)
                )));
            }
            _ => others.push(part),
        }
    }
    let mark = if others.is_empty() { "" } else { "?" };
    Ok((format!("{address}{mark}{}", others.join("&")), writing))
}

/// A schema's text as PostgreSQL wants it. Texts are compared byte by byte, as on SQLite, whatever the database's own
/// collation is.
pub(super) fn translate(sql: &str) -> String {
    sql.replace(" BLOB", " BYTEA").replace(" TEXT", " TEXT COLLATE \"C\"")
}

/// A database's address without its password, to be shown.
#[must_use]
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "postgres".to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // A password may hold the sign that ends it.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    format!("{scheme}://{rest}")
}

impl PostgresStore {
    /// Opens the database behind a URL (`postgres://user:password@host/database`) and brings it to this version.
    ///
    /// # Errors
    /// When it cannot be reached, or was made by a newer version of this program.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let (options, writing) = options(url)?;
        // Whoever starts a hub wants to hear at once that there is no server; a pool would go on trying.
        options.connect().await?.close().await?;
        let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(30));
        // Apart, so that readers never wait behind writers who wait for their turn.
        let count = if writing == Writing::InTurn { WRITERS } else { WRITERS_AT_ONCE };
        let writing_options =
            options.clone().options([("idle_in_transaction_session_timeout", IDLE_AT_MOST)]);
        let writers = pool.clone().max_connections(count).connect_with(writing_options.clone()).await?;
        let mut migrator = migrator(translate);
        let locks = locks_hold(&writers).await;
        if writing == Writing::InTurn && !*locks.as_ref().unwrap_or(&true) {
            let name = shown(url);
            return Err(StoreError::Version(format!(
                "{name} gives one advisory lock to two at once, so hubs could not take turns over it and swipes might \
                 be lost: add ?isolation=serializable to its URL, use a version of that engine with \
                 pg_advisory_xact_lock, or PostgreSQL itself; nothing was changed"
            )));
        }
        // An engine may know no such lock at all (undefined_function, feature_not_supported).
        let locks = match locks {
            Err(error) if writing == Writing::Serializable => {
                let code = error.as_database_error().and_then(|told| told.code());
                match code.as_deref() {
                    Some("42883" | "0A000") => false,
                    _ => return Err(error.into()),
                }
            }
            tried => tried?,
        };
        migrator.set_locking(locks);
        migrator.run(&writers).await.map_err(|error| explain(error, &shown(url)))?;
        let reading = options.options([("statement_timeout", ASKED_AT_MOST)]);
        let few = pool.clone().max_connections(FEW).min_connections(FEW);
        let few = few.connect_with(reading.clone()).await?;
        let soon = pool.clone().max_connections(SOON).connect_with(reading.clone()).await?;
        let readers = pool.max_connections(READERS).connect_with(reading).await?;
        Ok(Self {
            options: Arc::new(writing_options),
            few,
            readers,
            soon,
            writers,
            writing,
            locks,
            begun: AtomicU64::new(0),
            months_kept: AtomicI64::new(0),
        })
    }

    async fn read_through(&self, pool: &PgPool) -> Result<Box<dyn Transaction>, StoreError> {
        let begun = pool.begin_with(READ).await;
        let transaction = begun.map_err(|error| given_up(error, self.writing))?;
        Ok(self.reading(transaction))
    }

    fn reading(&self, transaction: sqlx::Transaction<'static, Postgres>) -> Box<dyn Transaction> {
        Box::new(PostgresTransaction { transaction, writes: None, writing: self.writing })
    }

    /// Drops ids of transactions that nobody asks for any more, now and then. Should that fail, the next turn does it.
    fn drop_old_outcomes(&self) {
        if !self.begun.fetch_add(1, Ordering::Relaxed).is_multiple_of(OUTCOMES_DROPPED_EVERY) {
            return;
        }
        let writers = self.writers.clone();
        tokio::spawn(async move {
            let sql = "DELETE FROM transaction_outcome WHERE at < EXTRACT(EPOCH FROM now())::BIGINT - $1";
            if let Err(error) = sqlx::query(sql).bind(OUTCOMES_KEPT_S).execute(&writers).await {
                tracing::debug!("old outcomes of transactions stay for now: {error}");
            }
        });
    }
}

/// Whether a lock that one holds is kept from another: an engine may know its name and do nothing.
async fn locks_hold(writers: &PgPool) -> Result<bool, sqlx::Error> {
    let (mut one, mut other) = (writers.begin().await?, writers.begin().await?);
    let attempt = || sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_xact_lock($1)").bind(TRIED_LOCK);
    // Another hub that tries it just now has it from the first; then it holds as well.
    let both = attempt().fetch_one(&mut *one).await? && attempt().fetch_one(&mut *other).await?;
    Ok(!both)
}

impl Store for PostgresStore {
    fn read(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async move {
            // One that was cut, or is not heard of, is left to itself.
            let begun = tokio::time::timeout(FEW_BEGIN_WITHIN, self.few.try_begin_with(READ)).await;
            if let Ok(Ok(Some(transaction))) = begun {
                return Ok(self.reading(transaction));
            }
            if self.few.size() < FEW {
                // The pool by itself looks after those that it has.
                let few = self.few.clone();
                tokio::spawn(async move { few.acquire().await.map(drop) });
            }
            self.read_through(&self.readers).await
        })
    }

    fn read_soon(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(self.read_through(&self.soon))
    }

    fn is_crowded(&self) -> bool {
        self.few.num_idle() == 0 && self.readers.size() >= READERS && self.readers.num_idle() == 0
    }

    fn keep_months(&self, now: i64) -> Boxed<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let month = super::months::number(now);
            if self.months_kept.load(Ordering::Relaxed) == month {
                return Ok(());
            }
            let mut connection = self.options.connect().await?;
            let mut transaction = connection.begin().await?;
            // Hubs that start at once make them one after the other.
            if self.locks {
                let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(WRITER_LOCK);
                transaction.execute(lock).await?;
            }
            // Whoever reads for long, as an export does, may wait for those whom this keeps from writing.
            transaction.execute("SET LOCAL lock_timeout = '1s'").await?;
            match super::months::keep(&mut transaction, now).await {
                Ok(()) => {
                    transaction.commit().await?;
                    self.months_kept.store(month, Ordering::Relaxed);
                }
                // What has no table of its own yet lies in the one for all other times.
                Err(error) if is_busy(&error) => {
                    transaction.rollback().await?;
                    tracing::info!("the months get their tables a little later: {error}");
                }
                Err(error) => return Err(error.into()),
            }
            Ok(connection.close().await?)
        })
    }

    fn write(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async move {
            self.drop_old_outcomes();
            let begin = match self.writing {
                Writing::InTurn => "BEGIN ISOLATION LEVEL READ COMMITTED",
                Writing::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            };
            let given_up_by = |error| given_up(error, self.writing);
            let mut transaction = self.writers.begin_with(begin).await.map_err(given_up_by)?;
            let id = Uuid::new_v4();
            let note = match self.writing {
                // One statement for both, as each is a way to the server and back.
                Writing::InTurn => sqlx::query(IN_TURN).bind(id.as_bytes().as_slice()).bind(WRITER_LOCK),
                Writing::Serializable => sqlx::query(NOTE).bind(id.as_bytes().as_slice()),
            };
            transaction.execute(note).await.map_err(given_up_by)?;
            let writes = Some(Outcome { id, options: self.options.clone() });
            Ok(Box::new(PostgresTransaction { transaction, writes, writing: self.writing })
                as Box<dyn Transaction>)
        })
    }
}

/// Begins to read.
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Notes a transaction's id.
const NOTE: &str = "INSERT INTO transaction_outcome (id, at) VALUES ($1, EXTRACT(EPOCH FROM now())::BIGINT)";
/// The same, and waits for its turn.
const IN_TURN: &str = "WITH noted AS (INSERT INTO transaction_outcome (id, at) \
                       VALUES ($1, EXTRACT(EPOCH FROM now())::BIGINT)) SELECT pg_advisory_xact_lock($2)";

struct PostgresTransaction {
    transaction: sqlx::Transaction<'static, Postgres>,
    /// Where it writes: how to find out what became of it.
    writes: Option<Outcome>,
    writing: Writing,
}

impl TakesLists for PostgresTransaction {
    fn execute_lists<'a>(
        &'a mut self,
        sql: &'a str,
        values: Vec<Value>,
        lists: Vec<Vec<Value>>,
    ) -> Boxed<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let done = self.transaction.execute(bind(sql, values, lists)).await;
            let done = done.map_err(|error| given_up(error, self.writing))?;
            Ok(done.rows_affected())
        })
    }

    fn fetch_lists<'a>(
        &'a mut self,
        sql: &'a str,
        values: Vec<Value>,
        lists: Vec<Vec<Value>>,
    ) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            let rows = self.transaction.fetch_all(bind(sql, values, lists)).await;
            let rows = rows.map_err(|error| given_up(error, self.writing))?;
            rows_of(&rows)
        })
    }
}

impl Transaction for PostgresTransaction {
    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>> {
        self.execute_lists(sql, values, Vec::new())
    }

    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        self.fetch_lists(sql, values, Vec::new())
    }

    fn lists(&mut self) -> Option<&mut dyn TakesLists> {
        Some(self)
    }

    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>> {
        Box::pin(async move {
            let committed = tokio::time::timeout(COMMITTED_WITHIN, self.transaction.commit()).await;
            let late = |_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into()));
            let Err(error) = committed.unwrap_or_else(late) else { return Ok(()) };
            match (self.writes, class(&error, self.writing)) {
                (_, Class::TurnedDown) => Err(StoreError::Again(error.into())),
                (Some(outcome), Class::CutOff) => outcome.ask(error).await,
                _ => Err(error.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(
            shown("postgres://hub:secret@db.example.org:5432/rollcall?sslmode=require"),
            "postgres://db.example.org:5432/rollcall"
        );
        assert_eq!(shown("postgres://hub:p@ss@db/x"), "postgres://db/x");
        assert_eq!(shown("postgres:///x?host=/run&password=s@cret"), "postgres:///x");
        assert_eq!(
            shown("postgres:///rollcall?host=/run/postgresql&password=secret"),
            "postgres:///rollcall"
        );
    }
}
