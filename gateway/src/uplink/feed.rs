//! Keeps the timetable current: a snapshot where there is nothing to go on from, then the subscription, and
//! changes by request where a socket cannot be had.

use std::time::Duration;

use cynic::{QueryBuilder, SubscriptionBuilder};
use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use uuid::Uuid;

use super::backoff::Backoff;
use super::client::{HubClient, UplinkError};
use super::connect::{Address, Stream};
use super::operations::{
    Changes, ChangesVariables, Feed, FeedVariables, GatewayConfig, GatewayFeedEvent, GatewayFeedKind,
    GatewayItem, OverlapRule, Snapshot, SnapshotVariables,
};
use crate::aside::aside;
use crate::core::{Change, Input};
use crate::timetable::item::{CachedCard, CachedConfig, CachedItem, CachedMembership, CachedSession};
use crate::timetable::{Cache, CacheError, Write};

/// A feed that is silent for so long is dead: the hub says something every 20 s.
const SILENCE: Duration = Duration::from_secs(60);
/// So long may the hub take to answer that it feeds.
const OPENED_WITHIN: Duration = Duration::from_secs(20);
/// How many items a page of the snapshot, or of changes, holds.
const PAGE: i32 = 1_000;
/// How many events are applied in one piece.
const MAX_EVENTS: usize = 500;
/// How often at the most a cache that fails is made anew: twice as seldom after each time in vain, up to the second of these.
const REBUILD_EVERY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));
/// How long what is written to the cache is waited for.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

/// What the feed needs.
pub struct FeedTask {
    /// Where the hub is.
    pub address: Address,
    /// The gateway's token.
    pub token: String,
    /// The cache.
    pub cache: Cache,
    /// The position to go on from.
    pub cursor: Option<String>,
    /// Where facts go.
    pub inputs: mpsc::Sender<Input>,
    /// Tells when the gateway stops.
    pub stop: watch::Receiver<bool>,
    /// Tells the world when the copy was last known to be current; the value grows.
    pub current: watch::Sender<u64>,
    /// Tells the world what the hub configured.
    pub config: watch::Sender<CachedConfig>,
    /// When the cache may be made anew, where it was before.
    pub rebuild: Rebuild,
    /// The cache lacks a change: nothing is written behind it until it is made anew.
    pub lacking: bool,
}

/// When a cache may be made anew.
#[derive(Debug, Default)]
pub struct Rebuild {
    next: Option<tokio::time::Instant>,
    in_vain: u32,
}

impl Rebuild {
    fn is_due(&self) -> bool {
        self.next.is_none_or(|next| tokio::time::Instant::now() >= next)
    }

    fn done(&mut self, well: bool) {
        self.in_vain = if well { 0 } else { self.in_vain + 1 };
        let (shortest, longest) = REBUILD_EVERY;
        let wait = shortest.saturating_mul(1 << self.in_vain.saturating_sub(1).min(6)).min(longest);
        self.next = Some(tokio::time::Instant::now() + wait);
    }
}

/// Why the feed must begin again.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    #[error("the socket failed: {0}")]
    Socket(String),
    #[error("the feed was silent for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the hub did not answer within {} s that it feeds", OPENED_WITHIN.as_secs())]
    Unanswered,
    #[error("the gateway stops")]
    Stopping,
}

impl FeedTask {
    /// Keeps the timetable current until told to stop.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut stop = self.stop.clone();
        loop {
            let ended = tokio::select! {
                ended = self.follow(&mut backoff) => ended,
                () = crate::stop::told(&mut stop) => return,
            };
            if let Err(error) = ended {
                if matches!(error, FeedError::Stopping) {
                    return;
                }
                let wait = backoff.wait();
                tracing::warn!("timetable feed: {error}; trying again in {:.1} s", wait.as_secs_f32());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = crate::stop::told(&mut stop) => return,
                }
            }
        }
    }

    async fn follow(&mut self, backoff: &mut Backoff) -> Result<(), FeedError> {
        let mut client = HubClient::new(self.address.clone(), self.token.clone());
        if self.cursor.is_none() {
            self.snapshot(&mut client).await?;
        }
        match self.subscribe(backoff).await {
            Err(FeedError::Socket(reason)) => {
                tracing::debug!("no socket ({reason}); asking for changes instead");
                self.pull(&mut client).await?;
                Err(FeedError::Socket(reason))
            }
            other => other,
        }
    }

    async fn snapshot(&mut self, client: &mut HubClient) -> Result<(), FeedError> {
        let (mut items, mut after, mut cursor, mut config) = (Vec::new(), None, None, None);
        loop {
            let operation = Snapshot::build(SnapshotVariables { first: PAGE, after });
            let answer = client.ask(operation).await?.gateway_self;
            let page =
                answer.ok_or_else(|| UplinkError::Refused("this token speaks for no gateway".to_owned()))?;
            cursor.get_or_insert(page.snapshot.cursor);
            config.get_or_insert(page.config);
            items.extend(page.snapshot.items.into_iter().filter_map(cached));
            after = page.snapshot.end_cursor;
            if !page.snapshot.has_next_page {
                break;
            }
        }
        let (Some(cursor), Some(config)) = (cursor, config) else { return Ok(()) };
        let config = cached_config(&config);
        tracing::info!(items = items.len(), "timetable snapshot taken");
        let changes = items.iter().map(|(id, item)| Change::Upsert(item.fact(*id))).collect();
        // The disk first: what a light has stood for is known after a restart too. One that fails says so, and keeps
        // no light from being right.
        let (cache, at, kept) = (self.cache.clone(), cursor.clone(), config.clone());
        self.lacking = !blocking(move || cache.replace(&at, &kept, &items)).await;
        self.rebuild.done(!self.lacking);
        self.tell(Input::Facts { changes, replace: true, basis: cursor.clone() }).await?;
        self.tell_config(&config).await?;
        self.cursor = Some(cursor);
        Ok(())
    }

    async fn pull(&mut self, client: &mut HubClient) -> Result<(), FeedError> {
        while let Some(after) = self.cursor.clone() {
            let operation = Changes::build(ChangesVariables { after, first: PAGE });
            let Some(answer) = client.ask(operation).await?.gateway_self else { return Ok(()) };
            let page = answer.changes;
            if page.reset_required {
                self.cursor = None;
                return Ok(());
            }
            let more = page.has_next_page;
            self.apply(page.events).await?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, backoff: &mut Backoff) -> Result<(), FeedError> {
        let mut socket = self.open().await?;
        let operation = Feed::build(FeedVariables { after: self.cursor.clone() });
        say(&mut socket, &json!({"type": "connection_init"})).await?;
        say(&mut socket, &json!({"type": "subscribe", "id": "feed", "payload": operation})).await?;
        let mut waiting: Vec<GatewayFeedEvent> = Vec::new();
        loop {
            // What has arrived together is applied together: one write for a whole import.
            let quiet = if waiting.is_empty() { SILENCE } else { Duration::from_millis(1) };
            match tokio::time::timeout(quiet, socket.next()).await {
                Err(_) if waiting.is_empty() => return Err(FeedError::Silent),
                Err(_) => {
                    if !self.apply(std::mem::take(&mut waiting)).await? {
                        return Ok(());
                    }
                }
                Ok(Some(Ok(Message::Text(text)))) => {
                    if let Some(event) = heard(&text)? {
                        backoff.reset();
                        waiting.push(event);
                    }
                    if waiting.len() >= MAX_EVENTS && !self.apply(std::mem::take(&mut waiting)).await? {
                        return Ok(());
                    }
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let reason =
                        frame.map_or_else(String::new, |frame| format!("{} {}", frame.code, frame.reason));
                    return Err(FeedError::Socket(format!("the hub closed it: {reason}")));
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(FeedError::Socket(error.to_string())),
                Ok(None) => return Err(FeedError::Socket("the hub closed it".to_owned())),
            }
        }
    }

    async fn open(&self) -> Result<WebSocketStream<Box<dyn Stream>>, FeedError> {
        let stream = self.address.connect().await.map_err(UplinkError::from)?;
        let url = format!("ws://{}/graphql", self.address.authority());
        let mut request = url.into_client_request().map_err(|error| FeedError::Socket(error.to_string()))?;
        let token = HeaderValue::from_str(&format!("Bearer {}", self.token));
        let token = token.map_err(|error| FeedError::Socket(error.to_string()))?;
        request.headers_mut().insert(AUTHORIZATION, token);
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
        // Once it is asked nothing more is sent that could fail: without an end to this a hub whose machine died just then would be
        // waited for for ever.
        let opened = tokio::time::timeout(OPENED_WITHIN, tokio_tungstenite::client_async(request, stream));
        let opened = opened.await.map_err(|_| FeedError::Unanswered)?;
        Ok(opened.map_err(|error| FeedError::Socket(error.to_string()))?.0)
    }

    /// Applies events in order; `false` when a snapshot must be taken first.
    async fn apply(&mut self, events: Vec<GatewayFeedEvent>) -> Result<bool, FeedError> {
        let (mut writes, mut changes, mut config) = (Vec::new(), Vec::new(), None);
        let mut cursor = None;
        for event in events {
            match event.kind {
                GatewayFeedKind::FeedReset => {
                    tracing::warn!(
                        "the hub does not know this position (its database is another one): taking a snapshot"
                    );
                    self.cursor = None;
                    return Ok(false);
                }
                GatewayFeedKind::Upsert => {
                    if let Some((id, item)) = event.item.and_then(cached) {
                        changes.push(Change::Upsert(item.fact(id)));
                        writes.push(Write::Put(id, Box::new(item)));
                    }
                }
                GatewayFeedKind::Remove => {
                    if let Some(id) = event.removed_id {
                        changes.push(Change::Remove(id));
                        writes.push(Write::Remove(id));
                    }
                }
                GatewayFeedKind::Config => {
                    if let Some(new) = event.config.as_ref().map(cached_config) {
                        writes.push(Write::Config(new.clone()));
                        config = Some(new);
                    }
                }
                GatewayFeedKind::CaughtUp | GatewayFeedKind::KeepAlive => {}
            }
            cursor = Some(event.cursor);
        }
        let Some(cursor) = cursor else { return Ok(true) };
        self.tell(Input::Facts { changes, replace: false, basis: cursor.clone() }).await?;
        if let Some(config) = config {
            self.tell_config(&config).await?;
        }
        if !self.lacking && (self.cursor.as_deref() != Some(&cursor) || !writes.is_empty()) {
            let (cache, at) = (self.cache.clone(), cursor.clone());
            self.lacking = !blocking(move || cache.apply(&at, &writes)).await;
        }
        self.cursor = Some(cursor);
        self.current.send_modify(|count| *count += 1);
        if self.lacking && self.rebuild.is_due() {
            // A cache that lacks a change is made anew, from a snapshot; the lights go on by what is in memory.
            self.cursor = None;
            return Ok(false);
        }
        Ok(true)
    }

    async fn tell_config(&self, config: &CachedConfig) -> Result<(), FeedError> {
        self.config.send_replace(config.clone());
        self.tell(Input::Config { readers: config.reader_facts(), secret: config.card_secret() }).await
    }

    async fn tell(&self, input: Input) -> Result<(), FeedError> {
        self.inputs.send(input).await.map_err(|_| FeedError::Stopping)
    }
}

/// Writes to the cache, away from what must not wait; `false` when it failed, which is said here, or does not come to an end:
/// doors go by what is in memory.
async fn blocking(work: impl FnOnce() -> Result<(), CacheError> + Send + 'static) -> bool {
    match tokio::time::timeout(WRITTEN_WITHIN, aside("timetable cache", work)).await {
        Ok(Ok(Ok(()))) => true,
        Ok(Ok(Err(error))) => {
            tracing::error!("{error}");
            false
        }
        Ok(Err(_)) => {
            tracing::error!("writing the timetable cache ended badly");
            false
        }
        Err(_) => {
            tracing::error!(
                "writing the timetable cache does not end; doors go by what is in memory, and it is fetched anew later"
            );
            false
        }
    }
}

async fn say(socket: &mut WebSocketStream<Box<dyn Stream>>, message: &Value) -> Result<(), FeedError> {
    let sent = socket.send(Message::Text(message.to_string().into())).await;
    sent.map_err(|error| FeedError::Socket(error.to_string()))
}

fn heard(text: &str) -> Result<Option<GatewayFeedEvent>, FeedError> {
    let bad = |error: serde_json::Error| FeedError::Uplink(UplinkError::BadAnswer(error.to_string()));
    let message: Value = serde_json::from_str(text).map_err(bad)?;
    match message["type"].as_str() {
        Some("next") => {
            let feed = serde_json::from_value::<Feed>(message["payload"]["data"].clone());
            match feed {
                Ok(feed) => Ok(Some(feed.gateway_feed)),
                Err(_) if !message["payload"]["errors"].is_null() => {
                    Err(UplinkError::Failed(message["payload"]["errors"].to_string()).into())
                }
                Err(error) => Err(bad(error)),
            }
        }
        Some("error") => Err(UplinkError::Refused(message["payload"].to_string()).into()),
        Some("complete") => Err(FeedError::Socket("the hub ended the feed".to_owned())),
        _ => Ok(None),
    }
}

/// An item of the slice as it is kept; none for a kind that this version does not know.
#[must_use]
pub fn cached(item: GatewayItem) -> Option<(Uuid, CachedItem)> {
    Some(match item {
        GatewayItem::GatewaySession(session) => (
            session.session_id,
            CachedItem::Session(CachedSession {
                starts: session.starts_at.0,
                ends: session.ends_at.0,
                cancelled: session.cancelled,
                rooms: session
                    .rooms
                    .iter()
                    .map(|room| (room.room_id, room.from.map(|at| at.0), room.until.map(|at| at.0)))
                    .collect(),
                groups: session.group_ids,
                opens_before: session.opens_before.0,
                closes_after: session.closes_after.0,
                nearest: session.overlap == OverlapRule::NearestStart,
            }),
        ),
        GatewayItem::GatewayGroupMembership(stay) => (
            stay.membership_id,
            CachedItem::Membership(CachedMembership {
                group: stay.group_id,
                holder: stay.holder,
                from: Some(stay.from.0),
                until: stay.until.map(|at| at.0),
            }),
        ),
        GatewayItem::GatewayCard(card) => (
            card.card_id,
            CachedItem::Card(CachedCard {
                keys: card.keys,
                holder: card.holder,
                from: Some(card.from.0),
                until: card.until.map(|at| at.0),
            }),
        ),
        GatewayItem::Unknown => return None,
    })
}

/// The hub's configuration as it is kept.
#[must_use]
pub fn cached_config(config: &GatewayConfig) -> CachedConfig {
    CachedConfig {
        epoch: i64::from(config.card_key_epoch),
        secret: config.card_key_secret.clone(),
        heartbeat_ms: config.heartbeat_every.0,
        max_batch: usize::try_from(config.max_batch).unwrap_or(1).max(1),
        readers: config
            .readers
            .iter()
            .map(|reader| (reader.reader_id, reader.code.clone(), reader.room_id, reader.enabled))
            .collect(),
    }
}
