//! The gateways' feed: what each building may see, by revision.
//!
//! Revisions are taken in the writing transaction, buildings in sorted order, so commit order is revision
//! order. An item whose payload stays the same costs no revision.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Hub, News, Touched, people, timetable};
use crate::store::entity::{
    Building, Card, Gateway, Membership, OverlapRule, Reader, ReaderKind, Room, Session,
};
use crate::store::feed::FeedItem;
use crate::store::{StoreError, Tx, Value};

/// A session, as far as a building's gateways need it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedSession {
    /// When it starts.
    pub starts_at: i64,
    /// When it ends.
    pub ends_at: i64,
    /// Called off.
    pub cancelled: bool,
    /// Its rooms in the building: room, from, until.
    pub rooms: Vec<(Uuid, Option<i64>, Option<i64>)>,
    /// Its groups.
    pub groups: Vec<Uuid>,
    /// How long before the start its window opens.
    pub opens_before_ms: i64,
    /// How long after the end it closes.
    pub closes_after_ms: i64,
    /// `EVERY_OPEN` or `NEAREST_START`.
    pub overlap: String,
}

/// A stay in a group, with a pseudonym.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedMembership {
    /// The group.
    pub group: Uuid,
    /// The pseudonym.
    pub holder: Uuid,
    /// From when.
    pub from_at: i64,
    /// Until when, excluded.
    pub until_at: Option<i64>,
}

/// A card, with keys and a pseudonym.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedCard {
    /// Which of the building's keys they were made with.
    pub epoch: i64,
    /// The keys, as hex digits.
    pub keys: Vec<String>,
    /// The pseudonym.
    pub holder: Uuid,
    /// From when.
    pub from_at: i64,
    /// Until when, excluded.
    pub until_at: Option<i64>,
}

/// A gateway's own configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedConfig {
    /// Its readers.
    pub readers: Vec<FeedReader>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedReader {
    /// Its id.
    pub id: Uuid,
    /// Its code.
    pub code: String,
    /// Where it hangs.
    pub room: Option<Uuid>,
    /// How it talks.
    pub kind: String,
    /// Whether it is in use.
    pub enabled: bool,
}

/// Bytes as hex digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What an item should now be in a building.
struct Wanted {
    building: Uuid,
    item: Uuid,
    payload: String,
}

/// Brings the feeds of all buildings in line with what a write touched.
///
/// # Errors
/// When the store fails.
pub async fn refresh(
    hub: &Hub,
    tx: &mut Tx,
    touched: &Touched,
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    let nothing = touched.feed_sessions.is_empty()
        && touched.feed_groups.is_empty()
        && touched.feed_cards.is_empty()
        && touched.feed_gateways.is_empty();
    if nothing {
        return Ok(());
    }
    let buildings: BTreeMap<Uuid, Building> =
        tx.all::<Building>().await?.into_iter().map(|building| (building.id, building)).collect();
    let mut changes = Vec::new();
    if !touched.feed_gateways.is_empty() {
        let wanted = configs(tx, &touched.feed_gateways).await?;
        changes.extend(differences(tx, "CONFIG", &touched.feed_gateways, wanted).await?);
    }
    if !touched.feed_cards.is_empty() {
        let wanted = cards(tx, &buildings, &touched.feed_cards).await?;
        changes.extend(differences(tx, "CARD", &touched.feed_cards, wanted).await?);
    }
    if !touched.feed_groups.is_empty() {
        let (mut stays, wanted) = memberships(tx, &buildings, &touched.feed_groups).await?;
        stays.extend(&touched.feed_gone_memberships);
        changes.extend(differences(tx, "MEMBERSHIP", &stays, wanted).await?);
    }
    if !touched.feed_sessions.is_empty() {
        let wanted = sessions(tx, &touched.feed_sessions).await?;
        changes.extend(differences(tx, "SESSION", &touched.feed_sessions, wanted).await?);
    }
    let mut by_building: BTreeMap<Uuid, Vec<FeedItem>> = BTreeMap::new();
    for change in changes {
        by_building.entry(change.building_id).or_default().push(change);
    }
    let at = hub.now().0;
    for (building, mut items) in by_building {
        let mut revision =
            tx.take_revisions(building, i64::try_from(items.len()).unwrap_or(i64::MAX)).await?;
        for item in &mut items {
            revision += 1;
            item.revision = revision;
            item.at = at;
        }
        tx.put_feed_items(&items).await?;
        news.push(News::Feed(building));
    }
    Ok(())
}

/// What must be written so that the items of some things are as wanted, in every building.
async fn differences(
    tx: &mut Tx,
    kind: &str,
    things: &BTreeSet<Uuid>,
    wanted: Vec<Wanted>,
) -> Result<Vec<FeedItem>, StoreError> {
    let ids: Vec<Uuid> = things.iter().copied().collect();
    let mut standing: BTreeMap<(Uuid, Uuid), FeedItem> = tx
        .feed_items_of(kind, &ids)
        .await?
        .into_iter()
        .map(|item| ((item.building_id, item.item_id), item))
        .collect();
    let mut changes = Vec::new();
    for Wanted { building, item, payload } in wanted {
        let old = standing.remove(&(building, item));
        if old.is_none_or(|old| old.removed || old.payload != payload) {
            let kind = kind.to_owned();
            changes.push(FeedItem {
                building_id: building,
                kind,
                item_id: item,
                revision: 0,
                removed: false,
                at: 0,
                payload,
            });
        }
    }
    let gone = standing.into_values().filter(|item| !item.removed);
    changes.extend(gone.map(|item| FeedItem { removed: true, payload: String::new(), ..item }));
    Ok(changes)
}

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::BadData { place: "feed item", found: error.to_string() })
}

async fn configs(tx: &mut Tx, gateways: &BTreeSet<Uuid>) -> Result<Vec<Wanted>, StoreError> {
    let mut wanted = Vec::new();
    for gateway in tx.by_ids::<Gateway>(gateways.iter().copied()).await? {
        let readers = tx.by_column::<Reader>("gateway_id", [Value::from(gateway.id)]).await?;
        let readers = readers
            .into_iter()
            .map(|reader| FeedReader {
                id: reader.id,
                code: reader.code,
                room: reader.room_id,
                kind: ReaderKind::word(reader.kind).to_owned(),
                enabled: reader.enabled,
            })
            .collect();
        let payload = json(&FeedConfig { readers })?;
        wanted.push(Wanted { building: gateway.building_id, item: gateway.id, payload });
    }
    Ok(wanted)
}

async fn cards(
    tx: &mut Tx,
    buildings: &BTreeMap<Uuid, Building>,
    cards: &BTreeSet<Uuid>,
) -> Result<Vec<Wanted>, StoreError> {
    let ids: Vec<Uuid> = cards.iter().copied().collect();
    let credentials = people::credentials_of(tx, &ids).await?;
    let cards = tx.by_ids::<Card>(ids).await?;
    let mut wanted = Vec::new();
    for building in buildings.values() {
        let mut holders = Vec::new();
        for card in &cards {
            let holder = people::pseudonym(building, card.student_id);
            holders.push(vec![building.id.into(), holder.into(), card.student_id.into()]);
            let reads = credentials.get(&card.id).map_or(&[][..], Vec::as_slice);
            let keys = reads.iter().map(|read| to_hex(&people::card_key(building, read))).collect();
            let (from_at, until_at) = (card.from_at, card.until_at);
            let payload = json(&FeedCard { epoch: building.key_epoch, keys, holder, from_at, until_at })?;
            wanted.push(Wanted { building: building.id, item: card.id, payload });
        }
        let sql = "INSERT INTO holder (building_id, holder, student_id) VALUES {} ON CONFLICT DO NOTHING";
        tx.insert(sql, holders).await?;
    }
    Ok(wanted)
}

async fn memberships(
    tx: &mut Tx,
    buildings: &BTreeMap<Uuid, Building>,
    groups: &BTreeSet<Uuid>,
) -> Result<(BTreeSet<Uuid>, Vec<Wanted>), StoreError> {
    let ids: Vec<Uuid> = groups.iter().copied().collect();
    let mut meets: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for (group, building) in tx.group_buildings(&ids).await? {
        meets.entry(group).or_default().push(building);
    }
    let stays = tx.by_column::<Membership>("group_id", ids.iter().map(|id| Value::from(*id))).await?;
    let mut wanted = Vec::new();
    for stay in &stays {
        let places = meets.get(&stay.group_id).map_or(&[][..], Vec::as_slice);
        for building in places.iter().filter_map(|id| buildings.get(id)) {
            let holder = people::pseudonym(building, stay.student_id);
            let (from_at, until_at) = (stay.from_at, stay.until_at);
            let payload = json(&FeedMembership { group: stay.group_id, holder, from_at, until_at })?;
            wanted.push(Wanted { building: building.id, item: stay.id, payload });
        }
    }
    Ok((stays.into_iter().map(|stay| stay.id).collect(), wanted))
}

async fn sessions(tx: &mut Tx, sessions: &BTreeSet<Uuid>) -> Result<Vec<Wanted>, StoreError> {
    let stored = tx.by_ids::<Session>(sessions.iter().copied()).await?;
    let places: BTreeMap<Uuid, Uuid> =
        tx.all::<Room>().await?.into_iter().map(|room| (room.id, room.building_id)).collect();
    let mut wanted = Vec::new();
    for session in timetable::as_rules(tx, &stored).await? {
        let mut rooms: BTreeMap<Uuid, Vec<(Uuid, Option<i64>, Option<i64>)>> = BTreeMap::new();
        for held in &session.rooms {
            if let Some(building) = places.get(&held.room.0) {
                let span = (held.room.0, held.span.from.map(|at| at.0), held.span.until.map(|at| at.0));
                rooms.entry(*building).or_default().push(span);
            }
        }
        let policy = session.policy;
        for (building, rooms) in rooms {
            let payload = json(&FeedSession {
                starts_at: session.starts_at.0,
                ends_at: session.ends_at.0,
                cancelled: session.cancelled,
                rooms,
                groups: session.groups.iter().map(|group| group.0).collect(),
                opens_before_ms: policy.opens_before_ms,
                closes_after_ms: policy.closes_after_ms,
                overlap: match policy.overlap {
                    rollcall_rules::policy::Overlap::EveryOpen => OverlapRule::EveryOpen.word().to_owned(),
                    rollcall_rules::policy::Overlap::NearestStart => {
                        OverlapRule::NearestStart.word().to_owned()
                    }
                },
            })?;
            wanted.push(Wanted { building, item: session.id.0, payload });
        }
    }
    Ok(wanted)
}

/// A position in a building's feed, as the gateways know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedCursor {
    /// The database that it is a position in.
    pub instance: Uuid,
    /// The revision.
    pub revision: i64,
    /// The line of descent in which it was reached; earlier versions named none.
    pub lineage: Option<Uuid>,
    /// Whose feed it is; earlier versions named none.
    pub building: Option<Uuid>,
}

impl FeedCursor {
    /// As text. Opaque to whoever reads it.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{}.{}", self.instance.simple(), self.revision);
        for part in [self.lineage, self.building].into_iter().flatten() {
            text += &format!(".{}", part.simple());
        }
        text
    }

    /// From text.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (instance, revision) = (parts.next()?, parts.next()?);
        let mut id = || parts.next().map(Uuid::try_parse).transpose().ok();
        Some(Self {
            instance: Uuid::try_parse(instance).ok()?,
            revision: revision.parse().ok()?,
            lineage: id()?,
            building: id()?,
        })
    }
}

/// The revision from which a building's feed goes on behind a position; `None` where a snapshot must be taken first: the position
/// is another database's or another building's, or was reached by what this one was before it was put back from a backup, however far it has come since.
///
/// # Errors
/// When the store fails.
pub async fn resume(hub: &Hub, building: Uuid, after: &str) -> Result<Option<i64>, StoreError> {
    let cursor = FeedCursor::decode(after)
        .filter(|cursor| cursor.instance == hub.instance() && cursor.building == Some(building));
    let Some(cursor) = cursor else { return Ok(None) };
    let mut tx = hub.read().await?;
    let latest = latest(&mut tx, building).await?;
    let own = match cursor.lineage {
        Some(lineage) => tx.lineage_end(lineage, building).await?.unwrap_or(-1),
        None => i64::MAX,
    };
    Ok((0..=latest.min(own)).contains(&cursor.revision).then_some(cursor.revision))
}

/// The revision of a building's last feed event.
///
/// # Errors
/// When the store fails.
pub async fn latest(tx: &mut Tx, building: Uuid) -> Result<i64, StoreError> {
    Ok(tx
        .by_ids::<Building>([building])
        .await?
        .into_iter()
        .next()
        .map_or(0, |building| building.feed_revision))
}

/// How far each building's feed had come when it was last looked at.
#[derive(Debug, Default)]
pub struct Seen(Option<BTreeMap<Uuid, i64>>);

impl Seen {
    /// Tells whoever listens of feeds that moved on, whoever moved them: another process over the same database tells
    /// nobody here.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look(&mut self, hub: &Hub) -> Result<(), StoreError> {
        let now = hub.read_aside().await?.feed_revisions().await?;
        if let Some(before) = &self.0 {
            let moved = now.iter().filter(|(building, revision)| before.get(building) != Some(revision));
            hub.tell(moved.map(|(building, _)| News::Feed(*building)).collect());
        }
        self.0 = Some(now);
        Ok(())
    }
}
