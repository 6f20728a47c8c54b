//! SQLite behind the store's door: WAL, `synchronous = FULL`, one writer, several readers.

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Executor, Row as _, Sqlite, TypeInfo, ValueRef};

use super::migrate::{explain, migrator};
use super::{Boxed, Row, Store, StoreError, Transaction, Value};

/// How many queries may read at once; each holds one of these from its first statement to its last.
const READERS: u32 = 10;
/// How much of the file one of them keeps in memory, in KiB; the writer keeps more.
const READER_CACHE: &str = "-8192";

/// How many rows the engine's thread reads ahead of whoever asked: more than any query here gives, since all rows are
/// wanted at once and a thread that waits for another after each fifty costs more than the query does.
const ROWS_AHEAD: usize = 65_536;

/// A SQLite database in a file.
pub struct SqliteStore {
    readers: SqlitePool,
    writer: SqlitePool,
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
            .synchronous(SqliteSynchronous::Full)
            .statement_cache_capacity(256)
            .row_buffer_size(ROWS_AHEAD)
            .busy_timeout(Duration::from_secs(10))
            .pragma("cache_size", "-32768");
        // A file in this process needs no asking whether it is still there.
        let pool =
            SqlitePoolOptions::new().acquire_timeout(Duration::from_secs(30)).test_before_acquire(false);
        let writer = pool.clone().max_connections(1).connect_with(options.clone()).await?;
        let name = path.display().to_string();
        migrator(str::to_owned).run(&writer).await.map_err(|error| explain(error, &name))?;
        let readers = pool
            .max_connections(READERS)
            .after_connect(move |connection, _| Box::pin(again(connection, "BEGIN")))
            .after_release(move |connection, _| {
                Box::pin(async { again(connection, "ROLLBACK; BEGIN").await.map(|()| true) })
            })
            .connect_with(options.pragma("cache_size", READER_CACHE).pragma("query_only", "on"))
            .await?;
        Ok(Self { readers, writer })
    }
}

/// A reader's transaction is begun when the one before it ended: until its first statement it sees and holds nothing, and
/// nobody has to wait for it to begin.
async fn again(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(sql)).await.map(drop)
}

impl Store for SqliteStore {
    fn read(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async move {
            let transaction = SqliteTransaction::Reads(self.readers.acquire().await?);
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }

    fn write(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async move {
            let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            Ok(Box::new(SqliteTransaction::Writes(transaction)) as Box<dyn Transaction>)
        })
    }
}

enum SqliteTransaction {
    Reads(PoolConnection<Sqlite>),
    Writes(sqlx::Transaction<'static, Sqlite>),
}

impl SqliteTransaction {
    fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Reads(connection) => connection,
            Self::Writes(transaction) => transaction,
        }
    }
}

/// The same statement with `?` for `$1`, `$2`, … where they stand in order and once each. To SQLite a number with `$` is
/// a name, and it walks through all names for each value that is bound: thousands of values took seconds.
fn by_place(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut pieces = sql.split('$');
    text.extend(pieces.next());
    for (index, piece) in pieces.enumerate() {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        if piece[..digits].parse() != Ok(index + 1) {
            return sql.to_owned();
        }
        text.push('?');
        text.push_str(&piece[digits..]);
    }
    text
}

fn bind(sql: &str, values: Vec<Value>) -> sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments> {
    let mut query = sqlx::query(AssertSqlSafe(by_place(sql)));
    for value in values {
        query = match value {
            Value::Null => query.bind(None::<i64>),
            Value::Int(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        };
    }
    query
}

fn row(row: &SqliteRow) -> Result<Row, StoreError> {
    let mut values = Vec::with_capacity(row.len());
    for index in 0..row.len() {
        let raw = row.try_get_raw(index)?;
        let value = if raw.is_null() {
            Value::Null
        } else {
            match raw.type_info().name() {
                "INTEGER" => Value::Int(row.try_get_unchecked(index)?),
                "BLOB" => Value::Bytes(row.try_get_unchecked(index)?),
                _ => Value::Text(row.try_get_unchecked(index)?),
            }
        };
        values.push(value);
    }
    Ok(Row::new(values))
}

impl Transaction for SqliteTransaction {
    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>> {
        Box::pin(async move { Ok(self.connection().execute(bind(sql, values)).await?.rows_affected()) })
    }

    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            // Row by row: the engine's own rows take several times the memory of ours.
            let mut found = self.connection().fetch(bind(sql, values));
            let mut rows = Vec::new();
            while let Some(it) = found.try_next().await? {
                rows.push(row(&it)?);
            }
            Ok(rows)
        })
    }

    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>> {
        Box::pin(async move {
            match *self {
                Self::Reads(_) => Ok(()),
                Self::Writes(transaction) => Ok(transaction.commit().await?),
            }
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]
mod tests {
    use std::time::Duration;

    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Executor as _};

    use super::super::StoreError;
    use super::by_place;

    #[tokio::test]
    async fn what_found_another_process_writing_may_be_attempted_again() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("hub.sqlite"))
            .create_if_missing(true)
            .busy_timeout(Duration::ZERO);
        let (mut one, mut other) = (options.connect().await.unwrap(), options.connect().await.unwrap());
        one.execute("BEGIN IMMEDIATE").await.unwrap();
        let busy = StoreError::from(other.execute("BEGIN IMMEDIATE").await.unwrap_err());
        assert!(matches!(busy, StoreError::Again(_)), "{busy:?}");
    }

    #[test]
    fn numbers_in_order_become_places_and_all_others_stay() {
        assert_eq!(by_place("INSERT INTO t VALUES ($1,$2),($3,$4)"), "INSERT INTO t VALUES (?,?),(?,?)");
        assert_eq!(by_place("SELECT 1"), "SELECT 1");
        for kept in ["WHERE a = $1 OR b = $1", "WHERE a = $2 AND b = $1", "LIKE '$' || $1"] {
            assert_eq!(by_place(kept), kept);
        }
    }
}
