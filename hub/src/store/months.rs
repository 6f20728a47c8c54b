//! Swipes and marks by month, on a PostgreSQL server: each month has a table of its own (a partition), so that the indexes that
//! are written to stay small however many years there are. Questions go by session, student or room, and look into all.
//!
//! The month is that of the id, a UUID of version 7: for a swipe when its gateway minted it, for a mark when the hub first
//! made it. So an id alone says where its row is, and stays the whole key. Ids of all other times lie in the table
//! `…_other`, as does what an earlier version left of months that have no table.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};

/// A table, and what is unique in each month's.
const TABLES: [(&str, Option<&str>); 2] = [("swipe", None), ("attendance", Some("session_id, student_id"))];
/// How many months have their tables: this one, and the next two.
const MONTHS: i64 = 3;

/// The month of an instant, in UTC: how many there were before it since the year 0.
pub(super) fn number(now: i64) -> i64 {
    let first = first_of(now);
    i64::from(first.year()) * 12 + i64::from(first.month())
}

fn first_of(now: i64) -> jiff::civil::Date {
    let at = jiff::Timestamp::from_millisecond(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month()
}

/// Makes the tables of the months around an instant, where they are not there, in the transaction of a connection.
///
/// # Errors
/// When the engine fails.
pub(super) async fn keep(db: &mut PgConnection, now: i64) -> Result<(), sqlx::Error> {
    if !has_partitions(db).await? {
        return Ok(());
    }
    for (table, unique) in TABLES {
        begin(db, table).await?;
        let this = first_of(now);
        for months in 0..MONTHS {
            let span = jiff::Span::new().months(months);
            let Ok(first) = this.checked_add(span) else { continue };
            let Ok(next) = first.checked_add(jiff::Span::new().months(1)) else { continue };
            let name = format!("{table}_{:04}_{:02}", first.year(), first.month());
            if there(db, &name).await? {
                continue;
            }
            say(db, format!("CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS)")).await?;
            if let Some(columns) = unique {
                say(db, format!("CREATE UNIQUE INDEX ON {name} ({columns})")).await?;
            }
            let (from, until) = (bound(first), bound(next));
            // Those that were there before their month had a table.
            say(
                db,
                format!(
                    "WITH moved AS (DELETE FROM {table}_other WHERE id >= {from} AND id < {until} RETURNING *) \
                     INSERT INTO {name} SELECT * FROM moved"
                ),
            )
            .await?;
            let attach =
                format!("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({until})");
            say(db, attach).await?;
            tracing::debug!("{name} is there");
        }
    }
    Ok(())
}

/// The first id of a month: six bytes of milliseconds (RFC 9562, section 5.7).
fn bound(first: jiff::civil::Date) -> String {
    let ms = first.to_zoned(jiff::tz::TimeZone::UTC).map_or(0, |at| at.timestamp().as_millisecond().max(0));
    format!("'\\x{ms:012x}'::BYTEA")
}

/// Whether the engine has partitions as PostgreSQL has them; others that speak its language share tables out by themselves.
async fn has_partitions(db: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let version: String = sqlx::query_scalar("SELECT version()").fetch_one(db).await?;
    Ok(version.starts_with("PostgreSQL") && !version.contains("CockroachDB"))
}

/// Whether there is such a table.
async fn there(db: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(name).fetch_one(db).await
}

/// Makes a plain table the part for all other times of one that has parts.
async fn begin(db: &mut PgConnection, table: &str) -> Result<(), sqlx::Error> {
    let other = format!("{table}_other");
    if there(db, &other).await? {
        return Ok(());
    }
    let sql = "SELECT i.indexname, i.indexdef, x.indisunique FROM pg_indexes i \
               JOIN pg_index x ON x.indexrelid = to_regclass(i.indexname) WHERE i.tablename = $1 \
               AND i.schemaname = current_schema()";
    let indexes: Vec<(String, String, bool)> = sqlx::query_as(sql).bind(table).fetch_all(&mut *db).await?;
    say(db, format!("ALTER TABLE {table} RENAME TO {other}")).await?;
    for (name, ..) in &indexes {
        say(db, format!("ALTER INDEX {name} RENAME TO {}", name.replacen(table, &other, 1))).await?;
    }
    let columns = format!("LIKE {other} INCLUDING DEFAULTS");
    say(db, format!("CREATE TABLE {table} ({columns}) PARTITION BY RANGE (id)")).await?;
    say(db, format!("ALTER TABLE {table} ADD PRIMARY KEY (id)")).await?;
    // What else is unique can only be so within each part.
    for (.., made_by, _) in indexes.iter().filter(|(.., unique)| !unique) {
        say(db, made_by.clone()).await?;
    }
    say(db, format!("ALTER TABLE {table} ATTACH PARTITION {other} DEFAULT")).await
}

async fn say(db: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    db.execute(AssertSqlSafe(sql)).await.map(drop)
}
