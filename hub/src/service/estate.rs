//! Buildings, rooms, gateways and readers: what hangs where.

use std::collections::BTreeMap;

use async_graphql::InputObject;
use async_trait::async_trait;
use uuid::Uuid;

use super::bulk::{Put, Save, Tally, Unsaid};
use super::refusal::{Check, Code};
use super::{Hub, Touched};
use crate::store::entity::{Building, Entity, Gateway, Reader, ReaderKind, Room};
use crate::store::{Boxed, StoreError, Tx};

/// A building, by its code: new, or written over.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "BuildingInput")]
pub struct SaveBuilding {
    /// Short code, unique.
    pub code: String,
    /// Name for people.
    pub name: String,
    /// What a file does not say of a building that is there already stays as it is.
    #[graphql(skip)]
    pub unsaid: Unsaid,
}

/// A room, by its code: new, or written over.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "RoomInput")]
pub struct SaveRoom {
    /// Short code, unique.
    pub code: String,
    /// Name for people; the code when left out.
    pub name: Option<String>,
    /// Code of its building. A room stays in its building.
    pub building: String,
    /// Seats.
    pub capacity: Option<i32>,
    /// What a file does not say of a room that is there already stays as it is.
    #[graphql(skip)]
    pub unsaid: Unsaid,
}

/// A gateway, by its code: new, or written over.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "GatewayInput")]
pub struct SaveGateway {
    /// Short code, unique.
    pub code: String,
    /// Code of its building. A gateway stays in its building.
    pub building: String,
}

/// A reader, by its code: new, or written over.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "ReaderInput")]
pub struct SaveReader {
    /// Short code, unique.
    pub code: String,
    /// Code of the gateway that it hangs on.
    pub gateway: String,
    /// Code of the room whose door it is at; null while it is not assigned.
    pub room: Option<String>,
    /// How it talks.
    pub kind: ReaderKind,
    /// Whether it is in use.
    #[graphql(default = true)]
    pub enabled: bool,
    /// What a file does not say of a reader that is there already stays as it is.
    #[graphql(skip)]
    pub unsaid: Unsaid,
}

/// Finds things by the codes that an input names; refuses those that are not there.
pub(super) fn find<'a, 'k: 'a, E: Entity>(
    tx: &'a mut Tx,
    check: &'a mut Check,
    what: &'a str,
    codes: impl IntoIterator<Item = (String, &'k str)>,
    key: fn(&E) -> &str,
) -> Boxed<'a, Result<BTreeMap<String, E>, StoreError>> {
    let wanted: Vec<(String, &str)> = codes.into_iter().collect();
    Box::pin(async move {
        let mut distinct: Vec<&str> = wanted.iter().map(|(_, code)| *code).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let found = present(tx, distinct, key).await?;
        for (path, code) in wanted {
            if !found.contains_key(code) {
                check.refuse(Code::NotFound, &path, format!("there is no {what} '{code}'; save it first"));
            }
        }
        Ok(found)
    })
}

/// The things of these keys that are there already.
pub(super) fn present<'a, 'k, E: Entity>(
    tx: &'a mut Tx,
    keys: impl IntoIterator<Item = &'k str>,
    key: fn(&E) -> &str,
) -> Boxed<'a, Result<BTreeMap<String, E>, StoreError>> {
    let found = tx.by_keys::<E>(keys);
    Box::pin(
        async move { Ok(found.await?.into_iter().map(|thing| (key(&thing).to_owned(), thing)).collect()) },
    )
}

#[async_trait]
impl Save for SaveBuilding {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("buildings", "code", inputs.iter().map(|input| input.code.as_str()));
        for (index, input) in inputs.iter().enumerate() {
            check.code(&format!("buildings.{index}.code"), &input.code);
            check.code(&format!("buildings.{index}.name"), &input.name);
        }
        let old =
            present::<Building>(tx, inputs.iter().map(|input| input.code.as_str()), |it| &it.code).await?;
        if check.found_any() {
            return Ok(Put::default());
        }
        let mut buildings = Vec::new();
        let mut fresh = Vec::new();
        for input in inputs {
            let mut building = match old.get(&input.code) {
                Some(building) => building.clone(),
                None => {
                    let mut secret = vec![0u8; 32];
                    getrandom::fill(&mut secret).map_err(|error| StoreError::BadData {
                        place: "random source",
                        found: error.to_string(),
                    })?;
                    let id = hub.mint();
                    fresh.push(id);
                    Building {
                        id,
                        code: input.code.clone(),
                        name: String::new(),
                        key_epoch: 1,
                        key_secret: secret,
                        feed_revision: 0,
                    }
                }
            };
            if input.unsaid.keeps("name", old.get(&input.code)).is_none() {
                building.name.clone_from(&input.name);
            }
            buildings.push(building);
        }
        let tally = Tally::of(buildings.iter().map(|it| (old.get(&it.code), it)));
        tx.put(&buildings).await?;
        let mut touched = Touched::default();
        if !fresh.is_empty() {
            // A new building must learn every card.
            touched.feed_cards = super::people::all_card_ids(tx).await?;
            let all = tx.all::<Building>().await?;
            let cards: Vec<Uuid> = touched.feed_cards.iter().copied().collect();
            super::people::ensure_keys(tx, &all, &cards).await?;
        }
        Ok(Put { ids: buildings.into_iter().map(|building| building.id).collect(), touched, tally })
    }
}

#[async_trait]
impl Save for SaveRoom {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("rooms", "code", inputs.iter().map(|input| input.code.as_str()));
        let wanted = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| (format!("rooms.{index}.building"), input.building.as_str()));
        let buildings = find::<Building>(tx, check, "building", wanted, |it| &it.code).await?;
        let old = present::<Room>(tx, inputs.iter().map(|input| input.code.as_str()), |it| &it.code).await?;
        let mut rooms = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            check.code(&format!("rooms.{index}.code"), &input.code);
            if input.capacity.is_some_and(|seats| seats < 0) {
                check.refuse(Code::Invalid, &format!("rooms.{index}.capacity"), "must not be negative");
            }
            let Some(building) = buildings.get(&input.building) else { continue };
            let id = match old.get(&input.code) {
                Some(room)
                    if room.building_id != building.id
                        && input.unsaid.keeps("building", Some(room)).is_none() =>
                {
                    let message =
                        "a room does not move to another building; save it there under another code";
                    check.refuse(Code::Conflict, &format!("rooms.{index}.building"), message);
                    continue;
                }
                Some(room) => room.id,
                None => hub.mint(),
            };
            let kept = |field: &str| input.unsaid.keeps(field, old.get(&input.code));
            rooms.push(Room {
                id,
                code: input.code.clone(),
                name: kept("name").map_or_else(
                    || input.name.clone().unwrap_or_else(|| input.code.clone()),
                    |room| room.name.clone(),
                ),
                building_id: kept("building").map_or(building.id, |room| room.building_id),
                capacity: kept("capacity").map_or(input.capacity.map(i64::from), |room| room.capacity),
            });
        }
        if check.found_any() {
            return Ok(Put::default());
        }
        let tally = Tally::of(rooms.iter().map(|it| (old.get(&it.code), it)));
        tx.put(&rooms).await?;
        Ok(Put { ids: rooms.into_iter().map(|room| room.id).collect(), touched: Touched::default(), tally })
    }
}

#[async_trait]
impl Save for SaveGateway {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("gateways", "code", inputs.iter().map(|input| input.code.as_str()));
        let wanted = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| (format!("gateways.{index}.building"), input.building.as_str()));
        let buildings = find::<Building>(tx, check, "building", wanted, |it| &it.code).await?;
        let old =
            present::<Gateway>(tx, inputs.iter().map(|input| input.code.as_str()), |it| &it.code).await?;
        let mut gateways = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            check.code(&format!("gateways.{index}.code"), &input.code);
            if input.code.chars().any(|c| matches!(c, '/' | '+' | '#')) {
                let message = "must not hold / + or #, because it stands in MQTT topics";
                check.refuse(Code::Invalid, &format!("gateways.{index}.code"), message);
            }
            let Some(building) = buildings.get(&input.building) else { continue };
            match old.get(&input.code) {
                Some(gateway) if gateway.building_id != building.id => {
                    let message = "a gateway does not move to another building; save a new one there";
                    check.refuse(Code::Conflict, &format!("gateways.{index}.building"), message);
                }
                Some(gateway) => gateways.push(gateway.clone()),
                None => gateways.push(Gateway {
                    id: hub.mint(),
                    code: input.code.clone(),
                    building_id: building.id,
                    enrolled_at: None,
                    software_version: None,
                    watermark: None,
                    reported_at: None,
                    received_at: None,
                    report: None,
                    exchange: None,
                    exchange_answer: None,
                }),
            }
        }
        if check.found_any() {
            return Ok(Put::default());
        }
        let tally = Tally::of(gateways.iter().map(|it| (old.get(&it.code), it)));
        tx.put(&gateways).await?;
        let ids: Vec<Uuid> = gateways.iter().map(|gateway| gateway.id).collect();
        let touched = Touched { feed_gateways: ids.iter().copied().collect(), ..Touched::default() };
        Ok(Put { ids, touched, tally })
    }
}

#[async_trait]
impl Save for SaveReader {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("readers", "code", inputs.iter().map(|input| input.code.as_str()));
        let wanted = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| (format!("readers.{index}.gateway"), input.gateway.as_str()));
        let gateways = find::<Gateway>(tx, check, "gateway", wanted, |it| &it.code).await?;
        let wanted = inputs.iter().enumerate().filter_map(|(index, input)| {
            input.room.as_deref().map(|room| (format!("readers.{index}.room"), room))
        });
        let rooms = find::<Room>(tx, check, "room", wanted, |it| &it.code).await?;
        let old =
            present::<Reader>(tx, inputs.iter().map(|input| input.code.as_str()), |it| &it.code).await?;
        let mut readers = Vec::new();
        let mut touched = Touched::default();
        let mut touched_rooms = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            check.code(&format!("readers.{index}.code"), &input.code);
            if input.code.chars().any(|c| matches!(c, '/' | '+' | '#')) {
                let message = "must not hold / + or #, because it stands in MQTT topics";
                check.refuse(Code::Invalid, &format!("readers.{index}.code"), message);
            }
            let odd = |c: char| c == '$' || c.is_whitespace();
            if input.kind == ReaderKind::Mqtt && (input.code.len() > 64 || input.code.contains(odd)) {
                let message =
                    "of an MQTT reader must have 64 bytes at the most and no space or $: it is its client id";
                check.refuse(Code::Invalid, &format!("readers.{index}.code"), message);
            }
            let Some(gateway) = gateways.get(&input.gateway) else { continue };
            let room = input.room.as_ref().and_then(|code| rooms.get(code));
            if room.is_some_and(|room| room.building_id != gateway.building_id) {
                let message = "the room is in another building than the gateway";
                check.refuse(Code::Conflict, &format!("readers.{index}.room"), message);
            }
            let known = old.get(&input.code);
            let kept = |field: &str| input.unsaid.keeps(field, known);
            let room_id = kept("room").map_or(room.map(|room| room.id), |reader| reader.room_id);
            touched.feed_gateways.insert(gateway.id);
            if let Some(reader) = known {
                touched.feed_gateways.insert(reader.gateway_id);
                touched_rooms.extend(reader.room_id);
            }
            touched_rooms.extend(room_id);
            readers.push(Reader {
                id: known.map_or_else(|| hub.mint(), |reader| reader.id),
                code: input.code.clone(),
                gateway_id: gateway.id,
                room_id,
                kind: input.kind,
                enabled: kept("enabled").map_or(input.enabled, |reader| reader.enabled),
                online: known.and_then(|reader| reader.online),
                light: known.and_then(|reader| reader.light),
                firmware: known.and_then(|reader| reader.firmware.clone()),
                last_seen_at: known.and_then(|reader| reader.last_seen_at),
                last_swipe_at: known.and_then(|reader| reader.last_swipe_at),
            });
        }
        if check.found_any() {
            return Ok(Put::default());
        }
        let tally = Tally::of(readers.iter().map(|it| (old.get(&it.code), it)));
        tx.put(&readers).await?;
        let now = hub.now().0;
        let hangs = |reader: &Reader| (reader.enabled.then_some(reader.gateway_id), reader.room_id);
        let moved: Vec<&Reader> = readers
            .iter()
            .filter(|reader| old.get(&reader.code).is_none_or(|before| hangs(before) != hangs(reader)))
            .collect();
        let ids: Vec<Uuid> = moved.iter().map(|reader| reader.id).collect();
        tx.end_stays(&ids, now).await?;
        let stays: Vec<(Uuid, Uuid, Uuid)> = moved
            .iter()
            .filter(|reader| reader.enabled)
            .filter_map(|reader| Some((reader.id, reader.gateway_id, reader.room_id?)))
            .collect();
        tx.begin_stays(&stays, now).await?;
        // What was held before now keeps the doors that it had.
        touched.sessions.extend(tx.sessions_after(&touched_rooms, now).await?);
        Ok(Put { ids: readers.into_iter().map(|reader| reader.id).collect(), touched, tally })
    }
}
