//! Students and their cards.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{Enum, InputObject};
use async_trait::async_trait;
use hmac::{Hmac, Mac};
use rollcall_rules::card::{CardRead, Format, Printed};
use rollcall_rules::time::{Instant, Span};
use sha2::Sha256;
use uuid::Uuid;

use super::bulk::{Put, Save, Tally, Unsaid};
use super::estate::{find, present};
use super::expectations::{Before, Said};
use super::feed::to_hex;
use super::refusal::{Check, Code};
use super::{Hub, Touched};
use crate::scalar::DateTime;
use crate::store::entity::{Building, Card, Student, StudentState};
use crate::store::{StoreError, Tx, Value};

/// A student, by their number: new, or written over.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "StudentInput")]
pub struct SaveStudent {
    /// The university's student number, unique.
    pub number: String,
    /// Name to show.
    pub name: String,
    /// E-mail address.
    pub email: Option<String>,
    /// Whether they study.
    #[graphql(default_with = "StudentState::Active")]
    pub state: StudentState,
    /// False for distance learners, placement students and dissertation supervision: never absent at a door. Left out it stays
    /// as it is, and is true of a new student.
    pub expected_at_door: Option<bool>,
    /// From when on: of sessions that start at that instant or later, up to the next of which another was said. Left out, now, where
    /// another holds now; and of a new student always. Enter a placement's begin before its end; take one back by saying the other
    /// from its begin on.
    pub expected_at_door_from: Option<DateTime>,
    /// What they study for: the registry's code of the programme, award or route.
    pub programme: Option<String>,
    /// What a file does not say of students who are there already stays as it is.
    #[graphql(skip)]
    pub unsaid: Unsaid,
}

/// Wiegand formats, by their common names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum CardFormat {
    /// 26 bits: facility 8, number 16.
    H10301,
    /// 37 bits: number 35, no facility.
    H10302,
    /// 37 bits: facility 16, number 19.
    H10304,
    /// 34 bits: facility 16, number 16.
    H10306,
}

/// What a reader sees of a card. Exactly one of three ways to say it: `uid`, or `format` with `number` (and
/// `facility` where the format has one), or `bits` with `raw`.
#[derive(Debug, Clone, InputObject)]
pub struct CredentialInput {
    /// UID of 4, 7 or 10 bytes, as hex digits in the order in which the card sends them.
    pub uid: Option<String>,
    /// Wiegand format of a printed number.
    pub format: Option<CardFormat>,
    /// Facility (site) code.
    pub facility: Option<i32>,
    /// Card number.
    pub number: Option<crate::scalar::Counter>,
    /// Count of bits of `raw`.
    pub bits: Option<i32>,
    /// The bits as hex digits, left-justified, padded with zeros.
    pub raw: Option<String>,
}

/// A card, by its code: new, or written over. One record is one student's card for one stretch of time.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "CardInput")]
pub struct SaveCard {
    /// The card office's name for it, unique. Not the card's number.
    pub code: String,
    /// Number of the student who holds it.
    pub student: String,
    /// Everything that it may be seen as; all lead to it.
    pub credentials: Vec<CredentialInput>,
    /// Valid from here.
    pub from: DateTime,
    /// Valid until here, excluded; null while it lasts. The same as `from` for a card that was given to this student
    /// by mistake: it never was valid.
    pub until: Option<DateTime>,
    /// What a file does not say of a card that is there already stays as it is.
    #[graphql(skip)]
    pub unsaid: Unsaid,
}

#[async_trait]
impl Save for SaveStudent {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("students", "number", inputs.iter().map(|input| input.number.as_str()));
        let old =
            present::<Student>(tx, inputs.iter().map(|input| input.number.as_str()), |it| &it.number).await?;
        let mut students = Vec::new();
        let mut touched = Touched::default();
        let before = Before::load(tx, old.values().map(|student| student.id)).await?;
        let now = hub.now();
        let (mut said_of_doors, mut always) = (Said::default(), BTreeMap::new());
        for (index, input) in inputs.iter().enumerate() {
            check.code(&format!("students.{index}.number"), &input.number);
            check.code(&format!("students.{index}.name"), &input.name);
            if let Some(programme) = &input.programme {
                check.code(&format!("students.{index}.programme"), programme);
            }
            let known = old.get(&input.number);
            let kept = |field: &str| input.unsaid.keeps(field, known);
            let said = input.expected_at_door.filter(|_| kept("expected_at_door").is_none());
            // Of whoever is known, what holds last is found out below.
            let at_door = known.map_or(said.unwrap_or(true), |student| student.at_door);
            let id = known.map_or_else(|| hub.mint(), |student| student.id);
            let from = input.expected_at_door_from.as_ref().map(|from| Instant(from.ms()));
            if from.is_some() && input.expected_at_door.is_none() {
                let place = format!("students.{index}.expectedAtDoor");
                check.refuse(Code::Required, &place, "say whether they are, from 'expectedAtDoorFrom' on");
            }
            // A file that says again what holds today takes back nothing of what is to be.
            let holds = known.map(|student| before.at(student.id, student.at_door, now));
            let changes = said.is_some_and(|said| holds.is_some_and(|holds| holds != said));
            if let (Some(said), Some(from)) = (said, from.or(changes.then_some(now))) {
                // Of a new student nothing was said before: it was the other way round until then.
                always.insert(id, known.map_or(!said, |student| student.at_door));
                said_of_doors.0.push((id, from, said));
            }
            students.push(Student {
                id,
                number: input.number.clone(),
                name: kept("name").map_or_else(|| input.name.clone(), |student| student.name.clone()),
                email: kept("email").map_or_else(|| input.email.clone(), |student| student.email.clone()),
                // Whoever is named again after they were withdrawn studies again.
                state: kept("state")
                    .filter(|student| student.state != StudentState::Withdrawn)
                    .map_or(input.state, |student| student.state),
                at_door,
                programme: kept("programme")
                    .map_or_else(|| input.programme.clone(), |student| student.programme.clone()),
            });
        }
        if check.found_any() {
            return Ok(Put::default());
        }
        let (last, sessions) = said_of_doors.put(hub, tx, before, &always).await?;
        for student in &mut students {
            student.at_door = last.get(&student.id).copied().unwrap_or(student.at_door);
        }
        touched.sessions.extend(sessions);
        let tally = Tally::of(students.iter().map(|it| (old.get(&it.number), it)));
        tx.put(&students).await?;
        Ok(Put { ids: students.into_iter().map(|student| student.id).collect(), touched, tally })
    }
}

#[async_trait]
impl Save for SaveCard {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("cards", "code", inputs.iter().map(|input| input.code.as_str()));
        let wanted = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| (format!("cards.{index}.student"), input.student.as_str()));
        let students = find::<Student>(tx, check, "student", wanted, |it| &it.number).await?;
        let old = present::<Card>(tx, inputs.iter().map(|input| input.code.as_str()), |it| &it.code).await?;
        let mut cards = Vec::new();
        let mut credentials: Vec<(Uuid, CardRead)> = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            let path = format!("cards.{index}");
            check.code(&format!("{path}.code"), &input.code);
            let kept = input.unsaid.keeps("until", old.get(&input.code));
            let said = input.until.as_ref().map(DateTime::ms);
            let (from_at, until_at) = (input.from.ms(), kept.map_or(said, |card| card.until_at));
            if until_at.is_some_and(|until| until < from_at) {
                check.refuse(Code::Invalid, &format!("{path}.until"), "must not come before 'from'");
            }
            let Some(student) = students.get(&input.student) else { continue };
            let id = match old.get(&input.code) {
                Some(card) if card.student_id != student.id => {
                    let message = "this card record is another student's; a card handed on gets a new record";
                    check.refuse(Code::Conflict, &format!("{path}.student"), message);
                    continue;
                }
                Some(card) => card.id,
                None => hub.mint(),
            };
            if input.credentials.is_empty() {
                check.refuse(Code::Required, &format!("{path}.credentials"), "name at least one credential");
            }
            for (number, credential) in input.credentials.iter().enumerate() {
                match read_credential(credential) {
                    Ok(read) => credentials.push((id, read)),
                    Err(message) => {
                        check.refuse(Code::Invalid, &format!("{path}.credentials.{number}"), message)
                    }
                }
            }
            cards.push(Card { id, code: input.code.clone(), student_id: student.id, from_at, until_at });
        }
        let all: Vec<Uuid> = cards.iter().map(|card| card.id).collect();
        let mut seen_as = credentials_of(tx, &all).await?;
        seen_as.values_mut().for_each(|reads| reads.sort());
        keep_other_forms(inputs, &cards, &seen_as, &mut credentials);
        credentials.sort();
        credentials.dedup();
        refuse_shared(tx, check, inputs, &cards, &credentials).await?;
        if check.found_any() {
            return Ok(Put::default());
        }
        let mut reads: BTreeMap<Uuid, Vec<CardRead>> = BTreeMap::new();
        for (card, read) in &credentials {
            reads.entry(*card).or_default().push(read.clone());
        }
        let same = |card: &Card| {
            let before = old.get(&card.code)?;
            Some(before == card && seen_as.get(&card.id) == reads.get(&card.id))
        };
        let mut tally = Tally::default();
        cards.iter().for_each(|card| tally.count(same(card)));
        // What a nightly import sends again as it was touches nothing.
        cards.retain(|card| same(card) != Some(true));
        let ids: Vec<Uuid> = cards.iter().map(|card| card.id).collect();
        let changed: BTreeSet<Uuid> = ids.iter().copied().collect();
        credentials.retain(|(card, _)| changed.contains(card));
        tx.put(&cards).await?;
        tx.execute_in("DELETE FROM credential WHERE card_id IN ({})", &[], ids.iter().map(|id| (*id).into()))
            .await?;
        let rows = credentials
            .iter()
            .map(|(card, read)| {
                vec![(*card).into(), i64::from(read.bits()).into(), read.raw().to_vec().into()]
            })
            .collect();
        tx.insert("INSERT INTO credential (card_id, bits, raw) VALUES {}", rows).await?;
        let mut touched = Touched { feed_cards: ids.iter().copied().collect(), ..Touched::default() };
        for was in cards.iter().filter_map(|card| old.get(&card.code)) {
            touched.was.card(was, seen_as.get(&was.id).map_or(&[], Vec::as_slice));
        }
        let buildings = tx.all::<Building>().await?;
        write_keys(tx, &buildings, &credentials, &ids).await?;
        if tx.any_swipe().await? {
            for building in &buildings {
                let keys = credentials.iter().map(|(_, read)| card_key(building, read)).collect();
                touched.swipes.extend(tx.swipes_of_keys(building.id, keys).await?);
            }
            let owners: Vec<Uuid> = cards.iter().map(|card| card.student_id).collect();
            touched.swipes.extend(tx.swipes_of_students(&owners).await?);
        }
        Ok(Put { ids: all, touched, tally })
    }
}

/// Keeps what cards may be seen as in forms of which a file has no word.
fn keep_other_forms(
    inputs: &[SaveCard],
    cards: &[Card],
    seen_as: &BTreeMap<Uuid, Vec<CardRead>>,
    credentials: &mut Vec<(Uuid, CardRead)>,
) {
    // A UID has one of three lengths (ISO/IEC 14443-3, section 6.4.4); any other form is known by its count of bits.
    let form = |read: &CardRead| match read.bits() {
        32 | 56 | 80 => 0,
        bits => bits,
    };
    let said: BTreeSet<(Uuid, u16)> = credentials.iter().map(|(card, read)| (*card, form(read))).collect();
    let silent: BTreeSet<&str> =
        inputs.iter().filter(|it| it.unsaid.0.contains(&"other forms")).map(|it| it.code.as_str()).collect();
    for card in cards.iter().filter(|card| silent.contains(card.code.as_str())) {
        let kept = seen_as.get(&card.id).into_iter().flatten();
        let kept = kept.filter(|read| !said.contains(&(card.id, form(read))));
        credentials.extend(kept.map(|read| (card.id, read.clone())));
    }
}

/// The key by which a building's gateways look a card up: HMAC-SHA-256 of the count of bits (big-endian) and
/// the raw bytes, under the building's secret.
#[must_use]
pub fn card_key(building: &Building, read: &CardRead) -> Vec<u8> {
    keyed(&building.key_secret, &[&read.bits().to_be_bytes(), read.raw()])
}

/// A student's pseudonym in a building: means nothing outside it.
#[must_use]
pub fn pseudonym(building: &Building, student: Uuid) -> Uuid {
    let mac = keyed(&building.key_secret, &[b"holder", student.as_bytes()]);
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&mac[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn keyed(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length, so this cannot fail; an empty key would only make a useless index.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return Vec::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// Writes the keys under which every building may look cards up, and the pseudonyms of their holders.
async fn write_keys(
    tx: &mut Tx,
    buildings: &[Building],
    credentials: &[(Uuid, CardRead)],
    cards: &[Uuid],
) -> Result<(), StoreError> {
    tx.execute_in("DELETE FROM card_key WHERE card_id IN ({})", &[], cards.iter().map(|id| (*id).into()))
        .await?;
    for building in buildings {
        let rows = credentials
            .iter()
            .map(|(card, read)| {
                vec![
                    building.id.into(),
                    card_key(building, read).into(),
                    building.key_epoch.into(),
                    (*card).into(),
                ]
            })
            .collect();
        tx.insert("INSERT INTO card_key (building_id, card_key, epoch, card_id) VALUES {}", rows).await?;
    }
    Ok(())
}

/// The last four hex digits of what a card is known by.
#[must_use]
pub fn number_tail(read: Option<&CardRead>) -> String {
    read.map_or_else(String::new, |read| {
        let digits = to_hex(read.raw());
        digits[digits.len().saturating_sub(4)..].to_owned()
    })
}

/// All cards there are.
pub(super) async fn all_card_ids(tx: &mut Tx) -> Result<BTreeSet<Uuid>, StoreError> {
    let rows = tx.fetch("SELECT id FROM card", Vec::new()).await?;
    rows.into_iter().map(|mut row| row.next("card.id")).collect()
}

/// The credentials of cards.
///
/// # Errors
/// When the store fails.
pub async fn credentials_of(
    tx: &mut Tx,
    cards: &[Uuid],
) -> Result<BTreeMap<Uuid, Vec<CardRead>>, StoreError> {
    let sql = "SELECT card_id, bits, raw FROM credential WHERE card_id IN ({}) ORDER BY card_id, bits, raw";
    let mut found: BTreeMap<Uuid, Vec<CardRead>> = BTreeMap::new();
    for mut row in tx.fetch_in(sql, &[], cards.iter().map(|id| (*id).into())).await? {
        let card = row.next("credential.card_id")?;
        let bits: i64 = row.next("credential.bits")?;
        let raw: Vec<u8> = row.next("credential.raw")?;
        let read = u16::try_from(bits).ok().and_then(|bits| CardRead::new(bits, &raw).ok());
        let read =
            read.ok_or_else(|| StoreError::BadData { place: "credential.bits", found: bits.to_string() })?;
        found.entry(card).or_default().push(read);
    }
    Ok(found)
}

/// Makes sure that a building that is new knows the keys of all cards.
pub(super) async fn ensure_keys(
    tx: &mut Tx,
    buildings: &[Building],
    cards: &[Uuid],
) -> Result<(), StoreError> {
    let credentials: Vec<(Uuid, CardRead)> = credentials_of(tx, cards)
        .await?
        .into_iter()
        .flat_map(|(card, reads)| reads.into_iter().map(move |read| (card, read)))
        .collect();
    write_keys(tx, buildings, &credentials, cards).await
}

pub(super) fn read_credential(input: &CredentialInput) -> Result<CardRead, String> {
    match (&input.uid, input.format, &input.raw) {
        (Some(uid), None, None) => CardRead::from_uid(&hex(uid)?).map_err(|error| error.to_string()),
        (None, Some(format), None) => {
            let format = match format {
                CardFormat::H10301 => Format::H10301,
                CardFormat::H10302 => Format::H10302,
                CardFormat::H10304 => Format::H10304,
                CardFormat::H10306 => Format::H10306,
            };
            let number = input.number.ok_or("'format' needs 'number'")?;
            let facility = input.facility.unwrap_or(0);
            let facility = u32::try_from(facility).map_err(|_| "'facility' must not be negative")?;
            let number = u64::try_from(number.0).map_err(|_| "'number' must not be negative")?;
            format.encode(Printed { facility, number }).map_err(|error| error.to_string())
        }
        (None, None, Some(raw)) => {
            let bits = input.bits.ok_or("'raw' needs 'bits'")?;
            let bits = u16::try_from(bits).map_err(|_| "'bits' must be from 1 to 512")?;
            let read = CardRead::new(bits, &hex(raw)?).map_err(|error| error.to_string())?;
            read.usable().map_err(|error| error.to_string())?;
            Ok(read)
        }
        _ => Err("say exactly one of 'uid', 'format' with 'number', 'raw' with 'bits'".to_owned()),
    }
}

/// Bytes from hex digits; colons, spaces and hyphens between them are taken.
pub(super) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !matches!(c, ':' | ' ' | '-'))
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()
        .ok_or("must be hex digits")?;
    if !digits.len().is_multiple_of(2) {
        return Err("must be an even count of hex digits".to_owned());
    }
    Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Refuses a credential that two records would have at the same instant.
async fn refuse_shared(
    tx: &mut Tx,
    check: &mut Check,
    inputs: &[SaveCard],
    cards: &[Card],
    credentials: &[(Uuid, CardRead)],
) -> Result<(), StoreError> {
    let saved: BTreeMap<Uuid, &Card> = cards.iter().map(|card| (card.id, card)).collect();
    let sql = "SELECT cr.bits, cr.raw, c.id, c.code, c.student_id, c.from_at, c.until_at FROM credential cr \
               JOIN card c ON c.id = cr.card_id WHERE cr.raw IN ({})";
    let mut holders: BTreeMap<(u16, Vec<u8>), Vec<Card>> = BTreeMap::new();
    for mut row in
        tx.fetch_in(sql, &[], credentials.iter().map(|(_, read)| Value::from(read.raw().to_vec()))).await?
    {
        let bits: i64 = row.next("credential.bits")?;
        let raw = row.next("credential.raw")?;
        let card = Card {
            id: row.next("card.id")?,
            code: row.next("card.code")?,
            student_id: row.next("card.student_id")?,
            from_at: row.next("card.from_at")?,
            until_at: row.next("card.until_at")?,
        };
        if !saved.contains_key(&card.id) {
            holders.entry((u16::try_from(bits).unwrap_or(0), raw)).or_default().push(card);
        }
    }
    // In the order of the input, so that the later one of two is the one refused.
    let places: BTreeMap<Uuid, usize> =
        cards.iter().enumerate().map(|(place, card)| (card.id, place)).collect();
    let mut ordered: Vec<&(Uuid, CardRead)> = credentials.iter().collect();
    ordered.sort_by_key(|(id, _)| places.get(id));
    for (id, read) in ordered {
        let Some(card) = saved.get(id) else { continue };
        let others = holders.entry((read.bits(), read.raw().to_vec())).or_default();
        if let Some(other) = others.iter().find(|other| other.id != card.id && overlap(card, other)) {
            let index = inputs.iter().position(|input| input.code == card.code).unwrap_or(0);
            let message =
                format!("card '{}' has this credential at the same time; end that one first", other.code);
            check.refuse(Code::Conflict, &format!("cards.{index}.credentials"), message);
        }
        others.push((*card).clone());
    }
    Ok(())
}

fn overlap(one: &Card, other: &Card) -> bool {
    if [one, other].iter().any(|card| card.until_at == Some(card.from_at)) {
        // One of them never was valid.
        return false;
    }
    let span = Span { from: Some(Instant(one.from_at)), until: one.until_at.map(Instant) };
    let last = other.until_at.map_or(i64::MAX, |until| until - 1);
    span.meets(Instant(other.from_at), Instant(last))
}
