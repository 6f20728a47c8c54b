//! The gateways' own corner: their configuration, the slice of the timetable that they decide by, its changes.
//!
//! Only plain types here: no unions inside inputs, no `@oneOf`, so that any typed client can be generated.

use async_graphql::{Context, Enum, Object, Result, SimpleObject, Union};
use uuid::Uuid;

use super::context::{fault, hub};
use super::gateway::Gateway;
use super::loader;
use crate::scalar::{DateTime, Duration, UuidScalar};
use crate::service::Hub;
use crate::service::feed::{
    self as service, FeedCard, FeedConfig, FeedCursor, FeedMembership, FeedSession, latest,
};
use crate::service::intake::MAX_BATCH;
use crate::store::entity::{self, Building, OverlapRule, ReaderKind};
use crate::store::feed::FeedItem;
use crate::store::{StoreError, Tx};

/// How often a gateway says how it is.
const HEARTBEAT_EVERY_MS: i64 = 60_000;
/// The most items that one page of the feed holds.
const MAX_FEED_PAGE: usize = 2_000;

/// A session, as far as a gateway needs it.
#[derive(Clone, SimpleObject)]
pub struct GatewaySession {
    /// The session.
    session_id: UuidScalar,
    /// Start.
    starts_at: DateTime,
    /// End.
    ends_at: DateTime,
    /// Called off.
    cancelled: bool,
    /// Its rooms in the gateway's building.
    rooms: Vec<GatewaySessionRoom>,
    /// Its groups.
    group_ids: Vec<UuidScalar>,
    /// How long before the start its window opens.
    opens_before: Duration,
    /// How long after the end it closes.
    closes_after: Duration,
    /// Which sessions one swipe is credited to.
    overlap: OverlapRule,
}

/// A room of a session, from an instant until another where it was changed on the day.
#[derive(Clone, SimpleObject)]
pub struct GatewaySessionRoom {
    /// The room.
    room_id: UuidScalar,
    /// From when; null since ever.
    from: Option<DateTime>,
    /// Until when, excluded; null for ever.
    until: Option<DateTime>,
}

/// A stay in a group. `holder` is a pseudonym that means nothing outside this building.
#[derive(Clone, SimpleObject)]
pub struct GatewayGroupMembership {
    /// The stay.
    membership_id: UuidScalar,
    /// The group.
    group_id: UuidScalar,
    /// Whose.
    holder: UuidScalar,
    /// From when.
    from: DateTime,
    /// Until when, excluded; null while it lasts.
    until: Option<DateTime>,
}

/// A card, as far as a gateway needs it. `keys`: the keyed hash of each credential it may be seen as, under the
/// key epoch given. No name, no student number.
#[derive(Clone, SimpleObject)]
pub struct GatewayCard {
    /// The card.
    card_id: UuidScalar,
    /// Which of the building's keys the hashes were made with.
    epoch: i64,
    /// HMAC-SHA-256 of bit count (two bytes, big-endian) and raw bytes, 64 hex digits each.
    keys: Vec<String>,
    /// Whose.
    holder: UuidScalar,
    /// Valid from.
    from: DateTime,
    /// Valid until, excluded; null while it lasts.
    until: Option<DateTime>,
}

/// What the slice is made of.
#[derive(Clone, Union)]
pub enum GatewayItem {
    /// A card.
    Card(GatewayCard),
    /// A stay in a group.
    Membership(GatewayGroupMembership),
    /// A session.
    Session(GatewaySession),
}

/// What a feed event says. CAUGHT_UP: all that was stored before the subscription has been sent. KEEP_ALIVE:
/// nothing happened; proves that the copy is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum GatewayFeedKind {
    /// All that was stored before has been sent.
    CaughtUp,
    /// The gateway's own configuration changed.
    Config,
    /// The position means nothing here: take a snapshot.
    FeedReset,
    /// Nothing happened.
    KeepAlive,
    /// The item left the slice.
    Remove,
    /// The item is now as given.
    Upsert,
}

/// One change. Events come in order, each exactly once per position; resume with the last cursor that was made
/// durable.
#[derive(Clone, SimpleObject)]
pub struct GatewayFeedEvent {
    /// The position behind this event.
    cursor: String,
    /// When it was committed.
    at: DateTime,
    /// What it says.
    kind: GatewayFeedKind,
    /// For UPSERT.
    item: Option<GatewayItem>,
    /// For REMOVE: the item's id.
    removed_id: Option<UuidScalar>,
    /// For CONFIG.
    config: Option<GatewayConfig>,
}

/// How the hub wants a gateway to behave.
#[derive(Clone, SimpleObject)]
pub struct GatewayConfig {
    /// The gateway.
    gateway_id: UuidScalar,
    /// Which of the building's keys is in force.
    card_key_epoch: i64,
    /// Secret of the building under which card numbers are hashed, 64 hex digits. Never written to a log.
    card_key_secret: String,
    /// How often to say how it is.
    heartbeat_every: Duration,
    /// How many swipes to hand over at once, at the most.
    max_batch: i32,
    /// Its readers.
    readers: Vec<GatewayReaderConfig>,
}

/// One reader's settings.
#[derive(Clone, SimpleObject)]
pub struct GatewayReaderConfig {
    /// The reader.
    reader_id: UuidScalar,
    /// Its code, by which the gateway's own configuration names it.
    code: String,
    /// The room whose door it is at.
    room_id: Option<UuidScalar>,
    /// How it talks.
    kind: ReaderKind,
    /// Whether it is in use.
    enabled: bool,
}

/// A page of the slice.
#[derive(SimpleObject)]
pub struct GatewaySnapshotPage {
    /// The feed position that the whole snapshot stands for, with all changes after it still to be read.
    cursor: String,
    /// The items.
    items: Vec<GatewayItem>,
    /// There are more.
    has_next_page: bool,
    /// Where to go on.
    end_cursor: Option<String>,
}

/// A page of changes.
#[derive(SimpleObject)]
pub struct GatewayChangesPage {
    /// The changes.
    events: Vec<GatewayFeedEvent>,
    /// There are more.
    has_next_page: bool,
    /// Where to go on.
    cursor: String,
    /// The position means nothing here: take a snapshot.
    reset_required: bool,
}

/// What a gateway may see: itself, and the slice of data that it needs to decide alone.
pub struct GatewaySelf(pub entity::Gateway);

/// What a gateway may see: itself, and the slice of data that it needs to decide alone.
#[Object]
impl GatewaySelf {
    /// The gateway.
    async fn gateway(&self) -> Gateway {
        Gateway(self.0.clone())
    }

    /// How it should behave.
    async fn config(&self, ctx: &Context<'_>) -> Result<GatewayConfig> {
        let mut tx = hub(ctx)?.read().await.map_err(|error| fault(&error))?;
        config(&mut tx, &self.0).await.map_err(|error| fault(&error))
    }

    /// The whole slice, in pages. For a first start, and after FEED_RESET. Read all pages, then the changes
    /// after the first page's `cursor`.
    async fn snapshot(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 500, desc = "How many items at the most, up to 2000.")] first: i32,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<GatewaySnapshotPage> {
        let hub = hub(ctx)?;
        let mut tx = hub.read().await.map_err(|error| fault(&error))?;
        hub.know_lineage(&mut tx).await.map_err(|error| fault(&error))?;
        let reached = latest(&mut tx, self.0.building_id).await.map_err(|error| fault(&error))?;
        let from = after.as_deref().and_then(FeedCursor::decode).map_or(0, |cursor| cursor.revision);
        let limit = usize::try_from(first).unwrap_or(1).clamp(1, MAX_FEED_PAGE);
        let mut items =
            tx.feed_after(self.0.building_id, from, limit + 1, true).await.map_err(|error| fault(&error))?;
        let has_next_page = items.len() > limit;
        items.truncate(limit);
        let end_cursor = items.last().map(|item| hub.position(self.0.building_id, item.revision));
        let items = items
            .iter()
            .filter(|item| item.kind != "CONFIG")
            .map(|item| decode(ctx, item))
            .collect::<Result<_>>()?;
        Ok(GatewaySnapshotPage {
            cursor: hub.position(self.0.building_id, reached),
            items,
            has_next_page,
            end_cursor,
        })
    }

    /// Changes after a position, for gateways that cannot hold a socket.
    async fn changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The position to go on from.")] after: String,
        #[graphql(default = 500, desc = "How many changes at the most, up to 2000.")] first: i32,
    ) -> Result<GatewayChangesPage> {
        let hub = hub(ctx)?;
        let limit = usize::try_from(first).unwrap_or(1).clamp(1, MAX_FEED_PAGE);
        let Some(revision) = resume(hub, &self.0, Some(&after)).await? else {
            return Ok(GatewayChangesPage {
                events: Vec::new(),
                has_next_page: false,
                cursor: after,
                reset_required: true,
            });
        };
        let (events, revision, has_next_page) = changes(hub, &self.0, revision, limit).await?;
        let cursor = hub.position(self.0.building_id, revision);
        Ok(GatewayChangesPage { events, has_next_page, cursor, reset_required: false })
    }
}

/// The changes in a gateway's feed behind a revision, the revision reached, and whether there are more.
pub async fn changes(
    hub: &Hub,
    gateway: &entity::Gateway,
    after: i64,
    limit: usize,
) -> Result<(Vec<GatewayFeedEvent>, i64, bool)> {
    let mut tx = hub.read().await.map_err(|error| fault(&error))?;
    hub.know_lineage(&mut tx).await.map_err(|error| fault(&error))?;
    let mut items =
        tx.feed_after(gateway.building_id, after, limit + 1, false).await.map_err(|error| fault(&error))?;
    let more = items.len() > limit;
    items.truncate(limit);
    let revision = items.last().map_or(after, |item| item.revision);
    let mut events = Vec::new();
    for item in items {
        // Another gateway's configuration in the same building is none of this one's business.
        if item.kind == "CONFIG" && item.item_id != gateway.id {
            continue;
        }
        events.push(event(hub, &mut tx, gateway, &item).await?);
    }
    Ok((events, revision, more))
}

async fn event(
    hub: &Hub,
    tx: &mut Tx,
    gateway: &entity::Gateway,
    item: &FeedItem,
) -> Result<GatewayFeedEvent> {
    let mut event = marker(hub, gateway, GatewayFeedKind::Upsert, item.revision);
    event.at = DateTime::new(item.at, hub.zone());
    if item.kind == "CONFIG" {
        event.kind = GatewayFeedKind::Config;
        event.config = Some(config(tx, gateway).await.map_err(|error| fault(&error))?);
    } else if item.removed {
        event.kind = GatewayFeedKind::Remove;
        event.removed_id = Some(UuidScalar(item.item_id));
    } else {
        event.item = Some(decode_in(hub, item)?);
    }
    Ok(event)
}

/// An event that carries nothing but its kind and a position.
#[must_use]
pub fn marker(
    hub: &Hub,
    gateway: &entity::Gateway,
    kind: GatewayFeedKind,
    revision: i64,
) -> GatewayFeedEvent {
    GatewayFeedEvent {
        cursor: hub.position(gateway.building_id, revision),
        at: DateTime::new(hub.now().0, hub.zone()),
        kind,
        item: None,
        removed_id: None,
        config: None,
    }
}

async fn config(tx: &mut Tx, gateway: &entity::Gateway) -> Result<GatewayConfig, StoreError> {
    let building = tx.by_ids::<Building>([gateway.building_id]).await?.into_iter().next();
    let building = building.ok_or_else(|| StoreError::BadData {
        place: "gateway.building_id",
        found: gateway.building_id.to_string(),
    })?;
    let item = tx.feed_items_of("CONFIG", &[gateway.id]).await?.into_iter().next();
    let readers: FeedConfig = match &item {
        Some(item) => parse(item)?,
        None => FeedConfig { readers: Vec::new() },
    };
    Ok(GatewayConfig {
        gateway_id: UuidScalar(gateway.id),
        card_key_epoch: building.key_epoch,
        card_key_secret: crate::service::feed::to_hex(&building.key_secret),
        heartbeat_every: Duration(HEARTBEAT_EVERY_MS),
        max_batch: i32::try_from(MAX_BATCH).unwrap_or(i32::MAX),
        readers: readers
            .readers
            .into_iter()
            .map(|reader| GatewayReaderConfig {
                reader_id: UuidScalar(reader.id),
                code: reader.code,
                room_id: reader.room.map(UuidScalar),
                kind: ReaderKind::from_word(&reader.kind).unwrap_or(ReaderKind::Ascii),
                enabled: reader.enabled,
            })
            .collect(),
    })
}

fn parse<T: serde::de::DeserializeOwned>(item: &FeedItem) -> Result<T, StoreError> {
    serde_json::from_str(&item.payload)
        .map_err(|error| StoreError::BadData { place: "feed_item.payload", found: error.to_string() })
}

fn decode(ctx: &Context<'_>, item: &FeedItem) -> Result<GatewayItem> {
    decode_in(hub(ctx)?, item)
}

fn decode_in(hub: &Hub, item: &FeedItem) -> Result<GatewayItem> {
    item_of(hub, item).map_err(|error| fault(&error))
}

fn item_of(hub: &Hub, item: &FeedItem) -> Result<GatewayItem, StoreError> {
    let at = |ms: i64| DateTime::new(ms, hub.zone());
    let id = |id: Uuid| UuidScalar(id);
    Ok(match item.kind.as_str() {
        "SESSION" => {
            let session: FeedSession = parse(item)?;
            GatewayItem::Session(GatewaySession {
                session_id: id(item.item_id),
                starts_at: at(session.starts_at),
                ends_at: at(session.ends_at),
                cancelled: session.cancelled,
                rooms: session
                    .rooms
                    .into_iter()
                    .map(|(room, from, until)| GatewaySessionRoom {
                        room_id: id(room),
                        from: from.map(at),
                        until: until.map(at),
                    })
                    .collect(),
                group_ids: session.groups.into_iter().map(id).collect(),
                opens_before: Duration(session.opens_before_ms),
                closes_after: Duration(session.closes_after_ms),
                overlap: OverlapRule::from_word(&session.overlap).unwrap_or(OverlapRule::EveryOpen),
            })
        }
        "MEMBERSHIP" => {
            let stay: FeedMembership = parse(item)?;
            GatewayItem::Membership(GatewayGroupMembership {
                membership_id: id(item.item_id),
                group_id: id(stay.group),
                holder: id(stay.holder),
                from: at(stay.from_at),
                until: stay.until_at.map(at),
            })
        }
        "CARD" => {
            let card: FeedCard = parse(item)?;
            GatewayItem::Card(GatewayCard {
                card_id: id(item.item_id),
                epoch: card.epoch,
                keys: card.keys,
                holder: id(card.holder),
                from: at(card.from_at),
                until: card.until_at.map(at),
            })
        }
        other => return Err(StoreError::BadData { place: "feed_item.item_kind", found: other.to_owned() }),
    })
}

/// The calling gateway.
pub async fn calling(ctx: &Context<'_>) -> Result<Option<entity::Gateway>> {
    match super::context::caller(ctx)?.gateway_id {
        Some(gateway) => loader::one(ctx, gateway).await,
        None => Ok(None),
    }
}

/// The revision that a gateway's feed goes on from; `None` when a snapshot must be taken first: the position
/// is another database's, or one that this database, restored from a backup, has not reached yet.
pub async fn resume(hub: &Hub, gateway: &entity::Gateway, after: Option<&str>) -> Result<Option<i64>> {
    match after {
        None => Ok(Some(0)),
        Some(after) => service::resume(hub, gateway.building_id, after).await.map_err(|error| fault(&error)),
    }
}
