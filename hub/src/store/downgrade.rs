//! The way back: makes a database into what an earlier version of this program left, for who goes back to that version and keeps
//! what came in since. In one transaction, and only while nobody else has the database open.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteLockingMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use super::migrate::{NEWEST, way_back};
use super::postgres::{NAME, options, translate};
use crate::config::Database;

const HELD: &str = "a hub or another program has it open: stop all of them first";

/// What an earlier version has no place for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The table.
    pub table: String,
    /// The column, where the rest of its rows stays.
    pub column: Option<String>,
    /// How many rows, or values, go with it; of a column that always has one, those other than 0.
    pub count: i64,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.column {
            Some(column) => write!(f, "{} values of {}.{column}", self.count, self.table),
            None => write!(f, "{} rows of {}", self.count, self.table),
        }
    }
}

/// A database's way from one version of the schema to an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downgrade {
    /// The version that it had.
    pub from: i64,
    /// What goes on the way; what is empty is not among it.
    pub lost: Vec<Lost>,
}

/// Takes a database back to version `to` of the schema, or with `only_look` says what that would lose and leaves all as it is.
/// Indexes and empty tables go without a word.
///
/// # Errors
/// When there is no such database or version, a hub or another program has it open, or the engine fails: then nothing was changed, but
/// where a server was lost at the very end, which is said.
pub async fn downgrade(database: &Database, to: i64, only_look: bool) -> anyhow::Result<Downgrade> {
    ensure!((1..=NEWEST).contains(&to), "there is no schema version {to}; this program knows 1 to {NEWEST}");
    let mut engine = Engine::open(database).await.with_context(|| format!("{database} cannot be opened"))?;
    let gone_back = go_back(&mut engine, to, only_look).await;
    let gone_back = gone_back.with_context(|| format!("{database} did not go back to version {to}"));
    // Not before the answer is known: what was not committed ends with it.
    engine.close().await.ok();
    gone_back
}

async fn go_back(engine: &mut Engine, to: i64, only_look: bool) -> anyhow::Result<Downgrade> {
    engine.begin_alone().await?;
    let applied = engine.numbers("SELECT MAX(version) FROM _sqlx_migrations").await;
    let from = applied.context("it is no hub's database")?.into_iter().next().context("it has no schema")?;
    if from > NEWEST {
        bail!(
            "it has schema version {from}, and this program knows no later one than {NEWEST}: use the one that made it"
        );
    }
    ensure!(to <= from, "it has schema version {from} already; a hub of a later version brings it further");
    let before = engine.tables().await?;
    engine.run("SAVEPOINT as_it_was").await?;
    engine.undo(from, to).await?;
    let after = engine.tables().await?;
    let left = engine.count_all(&after).await?;
    engine.run("ROLLBACK TO SAVEPOINT as_it_was").await?;
    let lost = engine.lost(&before, &after, &left).await?;
    if !only_look && to < from {
        engine.undo(from, to).await?;
        engine.stay_alone().await?;
        engine.run("COMMIT").await.with_context(|| {
            format!(
                "whether that took effect is not known, as the connection was lost meanwhile: 'rollcall-hub downgrade --to {to} \
                 --dry-run' says which version it has"
            )
        })?;
    }
    Ok(Downgrade { from, lost })
}

/// What follows from other tables, or is forgotten within the hour.
const PASSING: [&str; 2] = ["intake_head", "transaction_outcome"];
/// How long hubs that were stopped may take to be gone from a server.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A table's name, and its columns in their order: name, and whether it always has a value.
type Table = (String, Vec<(String, bool)>);

/// A connection to either engine.
enum Engine {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Engine {
    async fn open(database: &Database) -> anyhow::Result<Self> {
        Ok(match database {
            Database::Sqlite(path) => {
                ensure!(path.exists(), "there is no such file");
                let options = SqliteConnectOptions::new().filename(path);
                // Nobody else may have it open, as long as this does.
                let options = options.locking_mode(SqliteLockingMode::Exclusive);
                Self::Sqlite(options.busy_timeout(Duration::from_secs(1)).connect().await?)
            }
            Database::Postgres(url) => Self::Postgres(
                options(url)?.0.application_name(&format!("{NAME} downgrade")).connect().await?,
            ),
        })
    }

    async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(db) => db.close().await,
            Self::Postgres(db) => db.close().await,
        }
    }

    /// Begins the one transaction, if nobody else has the database open.
    async fn begin_alone(&mut self) -> anyhow::Result<()> {
        if let Self::Sqlite(db) = self {
            return match db.execute("BEGIN EXCLUSIVE").await {
                // SQLITE_BUSY (SQLite's result codes).
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("5") => bail!(HELD),
                begun => Ok(begun.map(drop)?),
            };
        }
        let began = Instant::now();
        while self.others().await? > 0 && began.elapsed() < GONE_WITHIN {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.run("BEGIN").await?;
        self.run("SET LOCAL lock_timeout = '10s'").await?;
        // A hub that starts looks there first, and waits.
        self.run("LOCK TABLE _sqlx_migrations IN ACCESS EXCLUSIVE MODE")
            .await
            .context("it is no hub's database")?;
        self.stay_alone().await
    }

    /// Looks once more for others that have the database open.
    async fn stay_alone(&mut self) -> anyhow::Result<()> {
        if matches!(self, Self::Postgres(_)) {
            self.run("SELECT pg_stat_clear_snapshot()").await?;
            ensure!(self.others().await? == 0, HELD);
        }
        Ok(())
    }

    /// How many connections other hubs have to a server's database.
    async fn others(&mut self) -> anyhow::Result<i64> {
        let others = format!(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '{NAME}%' \
             AND pid <> pg_backend_pid()"
        );
        Ok(self.numbers(&others).await?.into_iter().sum())
    }

    async fn run(&mut self, sql: &str) -> anyhow::Result<()> {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(db) => db.execute(sqlx::raw_sql(sql)).await.map(drop)?,
            Self::Postgres(db) => db.execute(sqlx::raw_sql(sql)).await.map(drop)?,
        }
        Ok(())
    }

    async fn numbers(&mut self, sql: &str) -> anyhow::Result<Vec<i64>> {
        let sql = AssertSqlSafe(sql);
        Ok(match self {
            Self::Sqlite(db) => sqlx::query_scalar(sql).fetch_all(db).await?,
            Self::Postgres(db) => sqlx::query_scalar(sql).fetch_all(db).await?,
        })
    }

    /// What versions since `to` made, taken away, the last first.
    async fn undo(&mut self, from: i64, to: i64) -> anyhow::Result<()> {
        for version in (to + 1..=from).rev() {
            let sql = way_back(version).with_context(|| format!("no way back from version {version}"))?;
            let sql = match self {
                Self::Sqlite(_) => sql.to_owned(),
                Self::Postgres(_) => translate(sql),
            };
            self.run(&sql).await.with_context(|| format!("version {version} cannot be undone"))?;
            self.run(&format!("DELETE FROM _sqlx_migrations WHERE version = {version}")).await?;
        }
        Ok(())
    }

    /// All tables of ours; a month's part of a table is that table.
    async fn tables(&mut self) -> anyhow::Result<Vec<Table>> {
        let sqlite = "SELECT m.name, c.name, c.\"notnull\" = 1 FROM sqlite_schema m JOIN pragma_table_info(m.name) c ON TRUE \
                      WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, c.cid";
        let postgres = "SELECT c.relname::TEXT, a.attname::TEXT, a.attnotnull FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
                        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') \
                        AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum";
        let rows: Vec<(String, String, bool)> = match self {
            Self::Sqlite(db) => sqlx::query_as(sqlite).fetch_all(db).await?,
            Self::Postgres(db) => sqlx::query_as(postgres).fetch_all(db).await?,
        };
        let mut tables: Vec<Table> = Vec::new();
        for (table, column, always) in rows {
            match tables.last_mut() {
                Some((last, columns)) if *last == table => columns.push((column, always)),
                _ => tables.push((table, vec![(column, always)])),
            }
        }
        tables.retain(|(name, _)| name != "_sqlx_migrations");
        Ok(tables)
    }

    async fn count(&mut self, what: &str) -> anyhow::Result<i64> {
        Ok(self.numbers(&format!("SELECT COUNT(*) FROM {what}")).await?.into_iter().sum())
    }

    async fn count_all(&mut self, tables: &[Table]) -> anyhow::Result<Vec<i64>> {
        let mut counts = Vec::new();
        for (table, _) in tables {
            counts.push(self.count(&format!("\"{table}\"")).await?);
        }
        Ok(counts)
    }

    async fn lost(&mut self, before: &[Table], after: &[Table], left: &[i64]) -> anyhow::Result<Vec<Lost>> {
        let mut lost = Vec::new();
        for (table, columns) in before.iter().filter(|(table, _)| !PASSING.contains(&table.as_str())) {
            let stays = after.iter().zip(left).find(|((name, _), _)| name == table);
            let count = self.count(&format!("\"{table}\"")).await? - stays.map_or(0, |(_, left)| *left);
            lost.push(Lost { table: table.clone(), column: None, count });
            let Some(((_, then), _)) = stays else { continue };
            for (place, column) in columns.iter().enumerate().filter(|(_, column)| !then.contains(column)) {
                // Where there was none of that name, it has another only.
                if then.get(place).is_some_and(|other| !columns.contains(other)) {
                    continue;
                }
                let (column, always) = column;
                let says = match always {
                    true => format!("CAST(\"{column}\" AS TEXT) <> '0'"),
                    false => format!("\"{column}\" IS NOT NULL"),
                };
                let values = format!("\"{table}\" WHERE {says}");
                let count = self.count(&values).await?;
                lost.push(Lost { table: table.clone(), column: Some(column.clone()), count });
            }
        }
        lost.retain(|it| it.count > 0);
        Ok(lost)
    }
}
