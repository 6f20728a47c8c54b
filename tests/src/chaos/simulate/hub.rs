//! The hub of the simulation: the real schema, services and SQLite, without a socket; killed, restored and copied.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_graphql::{Request, Variables};
use rollcall_gateway::uplink::client::UplinkError;
use rollcall_hub::clock::Clock;
use rollcall_hub::graphql::batch;
use rollcall_hub::graphql::{self, HubSchema};
use rollcall_hub::service::access::Role;
use rollcall_hub::service::{Caller, Hub};
use rollcall_hub::store::sqlite::SqliteStore;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::hub::TestClock;

/// A hub over one database file.
pub(super) struct SimHub {
    file: PathBuf,
    clock: Arc<TestClock>,
    zone: jiff::tz::TimeZone,
    up: Option<(Hub, HubSchema)>,
    /// How often it was restored.
    pub(super) restores: u32,
}

impl SimHub {
    /// A hub on a copy of a database.
    pub(super) async fn on_copy_of(
        base: &Path,
        file: PathBuf,
        clock: Arc<TestClock>,
    ) -> std::io::Result<Self> {
        std::fs::copy(base, &file)?;
        let zone = jiff::tz::TimeZone::UTC;
        let mut hub = Self { file, clock, zone, up: None, restores: 0 };
        hub.start().await;
        Ok(hub)
    }

    /// Comes up.
    pub(super) async fn start(&mut self) {
        let store = match SqliteStore::open(&self.file).await {
            Ok(store) => Arc::new(store),
            Err(error) => panic!("the hub's database cannot be opened: {error}"),
        };
        let clock: Arc<dyn Clock> = self.clock.clone();
        match Hub::new(store, clock, self.zone.clone()).await {
            Ok(hub) => self.up = Some((hub.clone(), graphql::schema(hub))),
            Err(error) => panic!("the hub does not come up: {error}"),
        }
    }

    /// Goes down. What was committed stays.
    pub(super) fn stop(&mut self) {
        self.up = None;
    }

    /// The service itself, while it is up.
    #[must_use]
    pub(super) fn service(&self) -> Option<&Hub> {
        self.up.as_ref().map(|(hub, _)| hub)
    }

    /// Copies the database to another file, as a backup does.
    pub(super) async fn backup(&self, to: &Path) {
        let Some((hub, _)) = &self.up else { return };
        drop(std::fs::remove_file(to));
        let Ok(tx) = hub.read().await else { return };
        drop(tx);
        let sql = format!("VACUUM INTO '{}'", to.display());
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.file);
        let copied = async {
            let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await?;
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await
        };
        if let Err(error) = copied.await {
            panic!("the backup failed: {error}");
        }
    }

    /// Comes up on a backup.
    pub(super) async fn restore(&mut self, from: &Path) {
        self.stop();
        // Under another name: the old one may still be open.
        self.restores += 1;
        self.file.set_file_name(format!("hub-{}.sqlite", self.restores));
        if let Err(error) = std::fs::copy(from, &self.file) {
            panic!("the backup cannot be copied back: {error}");
        }
        self.start().await;
    }

    /// Carries an operation out on behalf of a gateway; an error when the hub is down.
    pub(super) async fn ask<Q, V>(&self, gateway: Uuid, query: &str, variables: V) -> Result<Q, UplinkError>
    where
        Q: DeserializeOwned,
        V: Serialize,
    {
        let bad = |error: serde_json::Error| UplinkError::BadAnswer(error.to_string());
        let data = self.carry_out(gateway, query, serde_json::to_value(variables).map_err(bad)?).await?;
        serde_json::from_value(data).map_err(bad)
    }

    /// The same, with plain JSON in and out.
    pub(super) async fn carry_out(
        &self,
        gateway: Uuid,
        query: &str,
        variables: Value,
    ) -> Result<Value, UplinkError> {
        let Some((hub, schema)) = &self.up else { return Err(UplinkError::TimedOut) };
        let caller = Caller {
            token_id: Uuid::nil(),
            name: String::new(),
            roles: [Role::Gateway, Role::Administrator].into(),
            gateway_id: Some(gateway),
            expires_at: None,
        };
        let request = Request::new(query).variables(Variables::from_json(variables));
        let response = batch::execute(schema, request.data(caller), hub.clone()).await;
        if let Some(error) = response.errors.first() {
            let code = match error.extensions.as_ref().and_then(|it| it.get("code")) {
                Some(async_graphql::Value::String(code)) => Some(code.as_str()),
                _ => None,
            };
            return Err(UplinkError::told(error.message.clone(), code));
        }
        response.data.into_json().map_err(|error| UplinkError::BadAnswer(error.to_string()))
    }
}
