//! Where the hub keeps everything: the one door to SQL engines.
//!
//! `Store` and `Transaction` are the seam: text of SQL and values in, values out, so that the same text runs
//! on every engine. The questions that the hub asks stand in the files below, as functions over a
//! [`Tx`]; rows never leave this room. Nothing here decides anything.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lists::TakesLists;
use uuid::Uuid;

pub mod backup;
mod calendar;
pub mod door;
pub mod downgrade;
pub mod entity;
pub mod evidence;
pub mod feed;
pub mod import;
pub mod known;
mod lineage;
pub mod list;
mod lists;
mod migrate;
mod months;
pub mod page;
pub mod pinned;
pub mod postgres;
pub mod register;
pub mod report;
mod setting;
pub mod soon;
pub mod sqlite;
pub mod swipe;
pub mod timetable;
pub mod upload;
mod webhook;

pub use migrate::NEWEST;

/// A future in a box, for traits that are used as objects.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an engine, or the way to it, says went wrong.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong below this door.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine refused or failed.
    #[error("the database failed: {0}")]
    Engine(#[source] Fault),
    /// There is no room for what was to be written.
    #[error(
        "the disk of the database is full, and nothing was changed: make room there, then try again ({0})"
    )]
    Full(#[source] Fault),
    /// The engine turned the transaction down, was cut off from it or had no time for it; nothing of it is left behind, and
    /// it may be attempted again as a whole.
    #[error("the database gave a transaction up: {0}")]
    Again(#[source] Fault),
    /// The engine was cut off while it committed, and could not be asked since whether it did.
    #[error(
        "the database was cut off while it committed, and does not answer since: whether this took effect is not known. \
         Look before you ask for it again"
    )]
    Unknown(#[source] Fault),
    /// The database was made by a newer version of this program, or is not one of ours.
    #[error("{0}")]
    Version(String),
    /// Something was to be written where only reads are.
    #[error("this reads one state of the database, and keeps nothing")]
    ReadOnly,
    /// A row holds something that this program never writes.
    #[error("the database holds bad data in {place}: {found}")]
    BadData {
        /// The column.
        place: &'static str,
        /// What it holds.
        found: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|told| told.code()).as_deref() {
            // disk_full (PostgreSQL manual, appendix A), and SQLITE_FULL (SQLite's result codes) of a migration.
            Some("13" | "53100") => Self::Full(error.into()),
            // No transaction has begun then.
            None if matches!(error, sqlx::Error::PoolTimedOut) => Self::Again(error.into()),
            _ => Self::Engine(error.into()),
        }
    }
}

/// A value on its way into or out of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number; also instants (milliseconds) and truth (0, 1).
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes; also ids.
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Bytes(value.as_bytes().to_vec())
    }
}
impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row, read from left to right.
#[derive(Debug)]
pub struct Row {
    values: std::vec::IntoIter<Value>,
}

impl Row {
    /// A row of these values.
    #[must_use]
    pub fn new(values: Vec<Value>) -> Self {
        Self { values: values.into_iter() }
    }

    /// The next value as `T`.
    ///
    /// # Errors
    /// When it is of another kind.
    pub fn next<T: FromValue>(&mut self, place: &'static str) -> Result<T, StoreError> {
        let value = self.values.next().unwrap_or(Value::Null);
        T::from_value(value).map_err(|found| StoreError::BadData { place, found: format!("{found:?}") })
    }

    /// The next value as it is.
    #[must_use]
    pub fn next_value(&mut self) -> Value {
        self.values.next().unwrap_or(Value::Null)
    }
}

/// What a value may be read as.
pub trait FromValue: Sized {
    /// Reads it, or gives it back.
    ///
    /// # Errors
    /// The value, when it is of another kind.
    fn from_value(value: Value) -> Result<Self, Value>;
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Result<Self, Value> {
        if let Value::Int(number) = value { Ok(number) } else { Err(value) }
    }
}
impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, Value> {
        i64::from_value(value).map(|number| number != 0)
    }
}
impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, Value> {
        if let Value::Text(text) = value { Ok(text) } else { Err(value) }
    }
}
impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Result<Self, Value> {
        if let Value::Bytes(bytes) = value { Ok(bytes) } else { Err(value) }
    }
}
impl FromValue for Uuid {
    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Bytes(bytes) => Self::from_slice(&bytes).map_err(|_| Value::Bytes(bytes)),
            other => Err(other),
        }
    }
}
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, Value> {
        if value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

/// A database.
pub trait Store: Send + Sync {
    /// Begins a transaction that only reads, on one consistent state.
    fn read(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>>;
    /// The same for what must not wait behind those who read for long: whoever reads so reads little, or holds up all who write.
    fn read_soon(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        self.read()
    }
    /// The store in which reads take their turn, where this is another.
    fn in_turn(&self) -> Option<Arc<dyn Store>> {
        None
    }
    /// Whether whoever begins to read now has to wait until another has read.
    fn is_crowded(&self) -> bool {
        false
    }
    /// Begins a transaction that writes. They run one after the other.
    fn write(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>>;
    /// Makes room for what is of the months around an instant, in milliseconds, where an engine keeps months apart.
    fn keep_months(&self, _now: i64) -> Boxed<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A transaction; dropped without `commit` it leaves nothing behind.
pub trait Transaction: Send {
    /// Runs a statement; gives the count of rows changed.
    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>>;
    /// Runs a query; gives its rows.
    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>>;
    /// Itself, where its engine takes a list as one value.
    fn lists(&mut self) -> Option<&mut dyn TakesLists> {
        None
    }
    /// Makes everything durable.
    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>>;
}

/// A transaction with the helpers that all questions use.
pub struct Tx {
    inner: Box<dyn Transaction>,
    statements: Arc<AtomicU64>,
    /// What people are called to by it.
    raised: Vec<entity::Alarm>,
}

impl Tx {
    /// Wraps a transaction; `statements` counts what it runs.
    #[must_use]
    pub fn new(inner: Box<dyn Transaction>, statements: Arc<AtomicU64>) -> Self {
        Self { inner, statements, raised: Vec::new() }
    }

    /// Runs a statement; gives the count of rows changed.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        self.inner.execute(sql, values).await
    }

    /// Runs a query; gives its rows.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn fetch(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        self.inner.fetch(sql, values).await
    }

    /// Runs a query for one row at the most.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn fetch_one(&mut self, sql: &str, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch(sql, values).await?.into_iter().next())
    }

    /// Runs a query whose text holds `{}` where a list of values goes, in as few statements as the engine
    /// takes. `before` are the values of `$1…` that stand in the text itself.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn fetch_in<'a>(
        &'a mut self,
        sql: &'a str,
        before: &'a [Value],
        list: impl IntoIterator<Item = Value>,
    ) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        let list: Vec<Value> = list.into_iter().collect();
        Box::pin(async move {
            if let Some((taker, sql)) = self.taking_whole(sql, before, &list) {
                return taker.fetch_lists(&sql, before.to_vec(), vec![list]).await;
            }
            let mut rows = Vec::new();
            for chunk in lists::chunks(&list) {
                let (sql, values) = lists::with_marks(sql, before, chunk);
                rows.extend(self.fetch(&sql, values).await?);
            }
            Ok(rows)
        })
    }

    /// Runs a statement whose text holds `{}` where a list of values goes.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn execute_in<'a>(
        &'a mut self,
        sql: &'a str,
        before: &'a [Value],
        list: impl IntoIterator<Item = Value>,
    ) -> Boxed<'a, Result<u64, StoreError>> {
        let list: Vec<Value> = list.into_iter().collect();
        Box::pin(async move {
            if let Some((taker, sql)) = self.taking_whole(sql, before, &list) {
                return taker.execute_lists(&sql, before.to_vec(), vec![list]).await;
            }
            let mut changed = 0;
            for chunk in lists::chunks(&list) {
                let (sql, values) = lists::with_marks(sql, before, chunk);
                changed += self.execute(&sql, values).await?;
            }
            Ok(changed)
        })
    }

    /// Inserts rows, many in a statement. `sql` holds `{}` where the rows go.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn insert(&mut self, sql: &str, rows: Vec<Vec<Value>>) -> Result<u64, StoreError> {
        let Some(width) = rows.first().map(Vec::len) else { return Ok(0) };
        let mut changed = 0;
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let whole = self.inner.lists().is_some();
            let count = if whole { lists::MAX_ROWS } else { lists::rows_at_once(width, rows.len()) };
            let some: Vec<Vec<Value>> = rows.by_ref().take(count).collect();
            changed += match self.inner.lists().and_then(|it| Some((it, lists::rows_by_column(sql, &some)?)))
            {
                Some((taker, (sql, columns))) => {
                    self.statements.fetch_add(1, Ordering::Relaxed);
                    taker.execute_lists(&sql, Vec::new(), columns).await?
                }
                None => {
                    let (sql, values) = lists::rows_with_marks(sql, width, some);
                    self.execute(&sql, values).await?
                }
            };
        }
        Ok(changed)
    }

    /// What takes a statement's list whole, and the statement for it.
    fn taking_whole(
        &mut self,
        sql: &str,
        before: &[Value],
        list: &[Value],
    ) -> Option<(&mut dyn TakesLists, String)> {
        let taker = self.inner.lists().filter(|_| lists::is_of_one_kind(list))?;
        let sql = lists::with_whole_list(sql, before.len())?;
        self.statements.fetch_add(1, Ordering::Relaxed);
        Some((taker, sql))
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// When the engine fails; nothing is left behind then.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await
    }
}
