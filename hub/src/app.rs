//! Builds, wires and stops the hub; the one file that knows all of it.
//!
//! Called by `main`, and by the simulator and the tests, which bring their own clock. The futures are boxed, so that
//! all below is compiled here, and not once more in each program that waits for one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::config::{Config, Database};
use crate::export;
use crate::fetch;
use crate::graphql::{self, HubSchema};
use crate::http::documents::Documents;
use crate::http::graphiql::Graphiql;
use crate::http::{Shared, router};
use crate::service::beside::SeenSwipes;
use crate::service::{Hub, News, feed, jobs, sweep, upload, webhooks};
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Boxed, Store};
use crate::webhook;

/// How long running requests may take to end when the hub stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often the hub looks for what time alone brings about.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often the hub looks for what another process wrote: an import from the command line, or a hub beside it.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// How often the hub looks for imports and exports that another hub took in, or left.
const WORK_EVERY: Duration = Duration::from_secs(2);

/// A hub that serves.
pub struct RunningHub {
    /// Where it listens.
    pub address: SocketAddr,
    /// The hub itself.
    pub hub: Hub,
    handle: Handle<SocketAddr>,
    server: JoinHandle<std::io::Result<()>>,
    sweeper: JoinHandle<()>,
    watcher: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
}

/// Opens a hub's data, without serving.
///
/// # Errors
/// When the folder or the database cannot be used.
pub fn open(config: &Config, clock: Arc<dyn Clock>) -> Boxed<'_, anyhow::Result<Hub>> {
    Box::pin(open_data(config, clock))
}

async fn open_data(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Hub> {
    let store = open_store(&config.database)
        .await
        .with_context(|| format!("the database {} cannot be opened", config.database))?;
    let hub = Hub::new(store, clock, config.zone.clone()).await?;
    Ok(hub.reaching_private(config.allow_private))
}

async fn open_store(database: &Database) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match database {
        Database::Sqlite(path) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
            }
            Arc::new(SqliteStore::open(path).await?)
        }
        Database::Postgres(url) => Arc::new(PostgresStore::open(url).await?),
    })
}

/// Starts a hub.
///
/// # Errors
/// When its data, its address or its certificate cannot be used.
pub fn start(config: &Config, clock: Arc<dyn Clock>) -> Boxed<'_, anyhow::Result<RunningHub>> {
    Box::pin(start_serving(config, clock))
}

async fn start_serving(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<RunningHub> {
    let hub = open(config, clock).await?;
    hub.begin_lineage().await?;
    let listener = std::net::TcpListener::bind(config.listen).with_context(|| {
        format!(
            "{} cannot be listened on; is another hub running? Say --listen with a free port",
            config.listen
        )
    })?;
    listener.set_nonblocking(true)?;
    // Before anybody is served: what others bring about from here on is told of.
    let (mut seen, mut swipes) = (feed::Seen::default(), SeenSwipes::default());
    seen.look(&hub).await?;
    swipes.look(&hub).await?;
    let address = listener.local_addr()?;
    let schema = graphql::schema(hub.clone());
    let shared = Shared { hub: hub.clone(), schema: schema.clone(), documents: Documents::default() };
    let graphiql = config.graphiql.as_deref().map(Graphiql::load).transpose()?;
    let service = router(shared, config.console, graphiql).into_make_service();
    let handle = Handle::new();
    let server = match &config.tls {
        Some((certificate, key)) => {
            let tls = RustlsConfig::from_pem_file(certificate, key).await.with_context(|| {
                format!("certificate {} or key {} cannot be used", certificate.display(), key.display())
            })?;
            let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
            tokio::spawn(server.serve(service))
        }
        None => tokio::spawn(axum_server::from_tcp(listener)?.handle(handle.clone()).serve(service)),
    };
    let sweeping = hub.clone();
    let sweeper = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            if let Err(error) = sweeping.keep_months().await {
                tracing::error!("the next months have no tables of their own yet: {error}");
            }
            if let Err(error) = sweep::sweep(&sweeping).await {
                tracing::error!("overdue registers could not be derived: {error}");
            }
            if let Err(error) = upload::forget_old(&sweeping).await {
                tracing::error!("old uploads could not be dropped: {error}");
            }
            if let Err(error) = webhooks::forget_old(&sweeping).await {
                tracing::error!("old deliveries could not be dropped: {error}");
            }
        }
    });
    let watching = hub.clone();
    let watcher = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = seen.look(&watching).await {
                tracing::warn!("the feeds could not be looked at: {error}");
            }
            if let Err(error) = swipes.look(&watching).await {
                tracing::warn!("what came in elsewhere could not be looked at: {error}");
            }
        }
    });
    let workers = vec![
        tokio::spawn(work(hub.clone(), None)),
        tokio::spawn(work(hub.clone(), Some(schema))),
        tokio::spawn(webhook::carry(hub.clone())),
        tokio::spawn(fetch::look(hub.clone())),
    ];
    Ok(RunningHub { address, hub, handle, server, sweeper, watcher, workers })
}

/// Works on what was asked for over the API, one after the other: exports with a schema, imports without.
async fn work(hub: Hub, schema: Option<HubSchema>) {
    let holder = hub.mint();
    let mut news = hub.listen();
    let mut ticks = tokio::time::interval(WORK_EVERY);
    loop {
        let done = match &schema {
            None => jobs::work_one(&hub, holder).await,
            Some(schema) => export::work_one(&hub, schema, holder).await,
        };
        match done {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::error!("imports or exports could not be worked on: {error}"),
        }
        loop {
            tokio::select! {
                _ = ticks.tick() => break,
                piece = news.recv() => match piece {
                    Ok(News::Import(_) | News::Job) | Err(RecvError::Lagged(_)) => break,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

impl RunningHub {
    /// Waits until a part of it ends that nobody asked to: none does but by a fault, and without it the rest is no hub.
    pub async fn broken(&mut self) -> anyhow::Error {
        let Self { server, sweeper, watcher, workers, .. } = self;
        let (what, ended) = tokio::select! {
            ended = server => ("server", ended.map_err(anyhow::Error::from).and_then(|served| served.map_err(Into::into))),
            ended = sweeper => ("look for what time brings about", ended.map_err(Into::into)),
            ended = watcher => ("look for what came in elsewhere", ended.map_err(Into::into)),
            (ended, ..) = futures_util::future::select_all(workers) => ("work on imports, exports, webhooks and calendars", ended.map_err(Into::into)),
        };
        let why = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        anyhow::anyhow!("the hub's {what} is over by a fault, so the hub ends: {why}")
    }

    /// Stops: no new requests, running ones get five seconds.
    ///
    /// # Errors
    /// When the server had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.sweeper.abort();
        self.watcher.abort();
        self.workers.iter().for_each(JoinHandle::abort);
        self.handle.graceful_shutdown(Some(GRACE));
        self.server.await.context("the server's task ended badly")?.context("the server failed")
    }
}
