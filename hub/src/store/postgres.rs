//! PostgreSQL behind the store's door: several hubs may stand over one database.
//!
//! Writes take turns, over all hubs, by a lock that PostgreSQL lets go of at the end of a transaction, whatever
//! happens to who held it. So a writer sees everything that was committed before it, as it does on SQLite, and no
//! transaction has to be run again. Reads see one state from their first statement on, and wait for nobody.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow, PgTypeInfo,
};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Encode, Executor as _, Postgres,
    Row as _, Type, TypeInfo as _, ValueRef as _,
};

use super::migrate::{explain, migrator};
use super::{Boxed, Row, Store, StoreError, Transaction, Value};

/// How many connections one hub reads through at the most.
const READERS: u32 = 14;
/// How many it writes through: one has its turn, and one is ready for the next.
const WRITERS: u32 = 2;
/// The lock by which writers take turns: any number that nothing else in the database uses.
const WRITER_LOCK: i64 = 0x726f_6c6c_6361_6c6c;

/// Tried out when a database is opened.
const TRIED_LOCK: i64 = WRITER_LOCK + 1;

/// A PostgreSQL database.
pub struct PostgresStore {
    readers: PgPool,
    writers: PgPool,
}

/// A schema's text as PostgreSQL wants it. Texts are compared byte by byte, as on SQLite, whatever the database's own
/// collation is.
fn translate(sql: &str) -> String {
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
        let options = PgConnectOptions::from_str(url)?
            .application_name("rollcall-hub")
            .statement_cache_capacity(256)
            .disable_statement_logging()
            // What a receipt says must be on the disk, whatever the server was told.
            .options([("synchronous_commit", "on")]);
        // Whoever starts a hub wants to hear at once that there is no server; a pool would go on trying.
        options.connect().await?.close().await?;
        let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(30));
        // Apart, so that readers never wait behind writers who wait for their turn.
        let writers = pool.clone().max_connections(WRITERS).connect_with(options.clone()).await?;
        locks_hold(&writers, url).await?;
        migrator(translate).run(&writers).await.map_err(|error| explain(error, &shown(url)))?;
        let readers = pool.max_connections(READERS).connect_with(options).await?;
        Ok(Self { readers, writers })
    }
}

/// Everything rests on writers taking turns; an engine may know the lock's name and do nothing.
async fn locks_hold(writers: &PgPool, url: &str) -> Result<(), StoreError> {
    let (mut one, mut other) = (writers.begin().await?, writers.begin().await?);
    let attempt = || sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_xact_lock($1)").bind(TRIED_LOCK);
    // Another hub that tries it just now has it from the first; then it holds as well.
    let both = attempt().fetch_one(&mut *one).await? && attempt().fetch_one(&mut *other).await?;
    if both {
        let name = shown(url);
        return Err(StoreError::Version(format!(
            "{name} gives one advisory lock to two at once, so hubs could not take turns over it and swipes might be \
             lost: use PostgreSQL itself, or a version of that engine with pg_advisory_xact_lock; nothing was changed"
        )));
    }
    Ok(())
}

impl Store for PostgresStore {
    fn read(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async move {
            let transaction =
                self.readers.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            Ok(Box::new(PostgresTransaction(transaction)) as Box<dyn Transaction>)
        })
    }

    fn write(&self) -> Boxed<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async move {
            let mut transaction = self.writers.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(WRITER_LOCK);
            transaction.execute(lock).await?;
            Ok(Box::new(PostgresTransaction(transaction)) as Box<dyn Transaction>)
        })
    }
}

struct PostgresTransaction(sqlx::Transaction<'static, Postgres>);

/// Nothing, of whatever type its place has.
struct Nothing;

impl Type<Postgres> for Nothing {
    fn type_info() -> PgTypeInfo {
        // Type 0 leaves it to the server (PostgreSQL protocol, "Parse").
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Nothing {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

fn bind(sql: &str, values: Vec<Value>) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for value in values {
        query = match value {
            Value::Null => query.bind(Nothing),
            Value::Int(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        };
    }
    query
}

fn row(row: &PgRow) -> Result<Row, StoreError> {
    let mut values = Vec::with_capacity(row.len());
    for column in row.columns() {
        let index = column.ordinal();
        let value = if row.try_get_raw(index)?.is_null() {
            Value::Null
        } else {
            match column.type_info().name() {
                "INT8" => Value::Int(row.try_get(index)?),
                "INT4" => Value::Int(row.try_get::<i32, _>(index)?.into()),
                "BOOL" => Value::Int(row.try_get::<bool, _>(index)?.into()),
                "BYTEA" => Value::Bytes(row.try_get(index)?),
                _ => Value::Text(row.try_get(index)?),
            }
        };
        values.push(value);
    }
    Ok(Row::new(values))
}

impl Transaction for PostgresTransaction {
    fn execute<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<u64, StoreError>> {
        Box::pin(async move { Ok(self.0.execute(bind(sql, values)).await?.rows_affected()) })
    }

    fn fetch<'a>(&'a mut self, sql: &'a str, values: Vec<Value>) -> Boxed<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move { self.0.fetch_all(bind(sql, values)).await?.iter().map(row).collect() })
    }

    fn commit(self: Box<Self>) -> Boxed<'static, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.0.commit().await?) })
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
