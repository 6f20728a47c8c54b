//! What became of a transaction whose commit was not answered.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use uuid::Uuid;

use super::super::StoreError;

/// For how long a hub asks what became of a commit.
const ASKED_FOR: Duration = Duration::from_secs(30);
/// How long it waits before it asks again.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// In place of a time in the row of whoever asked whether a transaction took effect, and made sure that it does not.
const ASKED: i64 = 0;

/// How to find out whether a transaction took effect.
pub(super) struct Outcome {
    /// The transaction's id.
    pub(super) id: Uuid,
    /// Where it was to take effect.
    pub(super) options: Arc<PgConnectOptions>,
}

impl Outcome {
    /// Whether it took effect, now that nobody is left who could still commit it.
    pub(super) async fn ask(&self, cut: sqlx::Error) -> Result<(), StoreError> {
        let once = async || {
            // Not by those that write: they may all wait for whoever waits for this.
            let mut connection = self.options.connect().await?;
            // Both are one transaction (PostgreSQL manual, 55.2.2.1): an earlier question whose answer was lost has left
            // nothing but what this one leaves.
            let id = self.id.simple();
            let sql = format!(
                "INSERT INTO transaction_outcome (id, at) VALUES ('\\x{id}', {ASKED}) ON CONFLICT (id) DO NOTHING; \
                 SELECT at <> {ASKED} FROM transaction_outcome WHERE id = '\\x{id}'"
            );
            let found = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await;
            drop(connection.close().await);
            found?.first().map_or(Ok(false), |row| row.try_get::<bool, _>(0))
        };
        let asking = async {
            loop {
                match once().await {
                    Ok(took_effect) => return took_effect,
                    Err(error) => tracing::debug!("what became of a commit cannot be asked yet: {error}"),
                }
                tokio::time::sleep(ASKED_EVERY).await;
            }
        };
        match tokio::time::timeout(ASKED_FOR, asking).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Again(cut.into())),
            Err(_) => Err(StoreError::Unknown(cut.into())),
        }
    }
}
