//! Calendars to subscribe to: the sessions of a room, or of a student, as iCalendar (RFC 5545).
//!
//! Calendar programs send no token: whoever knows a calendar's address may read it. An address holds a key that is made
//! of the calendar and of a secret of the hub's, and renewing that secret voids all addresses there are.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Hub;
use crate::store::entity::{Group, Room, Session, Student};
use crate::store::timetable::SessionRoom;
use crate::store::{StoreError, Tx};

/// How far back a calendar goes, and how far ahead, in milliseconds.
const BACK_MS: i64 = 60 * 24 * 3_600_000;
const AHEAD_MS: i64 = 400 * 24 * 3_600_000;
/// How many events one calendar has at the most.
const MOST: i64 = 5_000;
/// The longest line, in octets (RFC 5545, section 3.1).
const LINE: usize = 75;
/// How many octets of the code make the key: nobody guesses 128 bits.
const KEY_BYTES: usize = 16;

/// Whose calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A room's.
    Room(Uuid),
    /// A student's.
    Student(Uuid),
}

impl Whose {
    fn id(self) -> Uuid {
        match self {
            Self::Room(id) | Self::Student(id) => id,
        }
    }
}

/// A calendar.
#[derive(Debug)]
pub struct Calendar {
    /// Its text.
    pub text: String,
    /// Changes with what it says, and not with when it is asked for.
    pub version: String,
}

/// What the keys in calendars' addresses are made of.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The one that holds now.
    ///
    /// # Errors
    /// When the store fails, or has none.
    pub async fn read(tx: &mut Tx) -> Result<Self, StoreError> {
        let missing = || StoreError::BadData { place: "setting.value", found: "no calendar key".to_owned() };
        tx.setting("calendar key").await?.map(Self).ok_or_else(missing)
    }

    /// The key in a calendar's address.
    ///
    /// # Errors
    /// Never, as far as can be seen: a code takes a secret of any length.
    pub fn key(&self, whose: Whose) -> Result<String, StoreError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
            .map_err(|error| StoreError::BadData { place: "setting.value", found: error.to_string() })?;
        mac.update(whose.id().as_bytes());
        Ok(URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..KEY_BYTES]))
    }
}

/// Makes a new secret: every address that was given out is void.
///
/// # Errors
/// When the store fails.
pub async fn renew(hub: &Hub) -> Result<(), StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            tx.put_setting("calendar key", &secret()?).await?;
            tx.commit().await
        })
    })
    .await
}

/// Makes the secret where there is none.
///
/// # Errors
/// When the store fails.
pub(super) async fn begin(hub: &Hub) -> Result<(), StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            if hub.read().await?.setting("calendar key").await?.is_none() {
                let mut tx = attempt.write().await?;
                tx.first_setting("calendar key", secret()?).await?;
                tx.commit().await?;
            }
            Ok(())
        })
    })
    .await
}

fn secret() -> Result<String, StoreError> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| StoreError::BadData { place: "setting.value", found: error.to_string() })?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

/// A calendar, for whoever knows its key; `None` when there is none, or the key is another's.
///
/// # Errors
/// When the store fails.
pub async fn read(hub: &Hub, whose: Whose, shown: &str) -> Result<Option<Calendar>, StoreError> {
    let hub = hub.pinned();
    let mut tx = hub.read().await?;
    let right = Secret::read(&mut tx).await?.key(whose)?;
    // Over digests, so that how long it takes says nothing of how much is right.
    if Sha256::digest(right.as_bytes()) != Sha256::digest(shown.as_bytes()) {
        return Ok(None);
    }
    let now = hub.now().0;
    let (from, until) = (now - BACK_MS, now + AHEAD_MS);
    let (name, ids) = match whose {
        Whose::Room(id) => {
            let Some(room) = tx.by_ids::<Room>([id]).await?.into_iter().next() else { return Ok(None) };
            (room.name, tx.sessions_of_room(id, from, until, MOST).await?)
        }
        Whose::Student(id) => {
            let Some(student) = tx.by_ids::<Student>([id]).await?.into_iter().next() else { return Ok(None) };
            (student.name, tx.sessions_of_student(id, from, until, MOST).await?)
        }
    };
    let mut sessions = tx.by_ids::<Session>(ids.iter().copied()).await?;
    sessions.sort_by_key(|session| (session.starts_at, session.id));
    let mut places: BTreeMap<Uuid, Vec<SessionRoom>> = BTreeMap::new();
    for place in tx.session_rooms(&ids).await? {
        places.entry(place.session_id).or_default().push(place);
    }
    let rooms = places.values().flatten().map(|place| place.room_id);
    let rooms: BTreeMap<Uuid, Room> =
        tx.by_ids::<Room>(rooms).await?.into_iter().map(|room| (room.id, room)).collect();
    let pairs = tx.session_groups(&ids).await?;
    let groups: BTreeMap<Uuid, Group> = tx
        .by_ids::<Group>(pairs.iter().map(|(_, group)| *group))
        .await?
        .into_iter()
        .map(|group| (group.id, group))
        .collect();
    let events = sessions.iter().map(|session| {
        let held = places.get(&session.id).into_iter().flatten().filter(|place| place.until_at.is_none());
        Event {
            session,
            rooms: held
                .filter_map(|place| rooms.get(&place.room_id))
                .map(|room| room.name.as_str())
                .collect(),
            groups: pairs
                .iter()
                .filter(|(of, _)| *of == session.id)
                .filter_map(|(_, group)| groups.get(group))
                .map(|group| group.code.as_str())
                .collect(),
        }
    });
    let events: Vec<Event<'_>> = events.collect();
    let version = Sha256::digest(write(&name, &events, 0).as_bytes());
    Ok(Some(Calendar {
        text: write(&name, &events, now),
        version: URL_SAFE_NO_PAD.encode(&version[..KEY_BYTES]),
    }))
}

struct Event<'a> {
    session: &'a Session,
    rooms: Vec<&'a str>,
    groups: Vec<&'a str>,
}

/// A calendar's text, as of `now`.
fn write(name: &str, events: &[Event<'_>], now: i64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| fold(&mut text, &format!("{name}:{value}"));
    line("BEGIN", "VCALENDAR");
    line("VERSION", "2.0");
    line("PRODID", "-//Rollcall//Rollcall hub//EN");
    line("X-WR-CALNAME", &escaped(name));
    // How often to look again (RFC 7986, section 5.7).
    line("REFRESH-INTERVAL;VALUE=DURATION", "PT1H");
    for Event { session, rooms, groups } in events {
        line("BEGIN", "VEVENT");
        line("UID", &format!("{}@rollcall", session.id));
        line("DTSTAMP", &utc(now));
        line("DTSTART", &utc(session.starts_at));
        line("DTEND", &utc(session.ends_at));
        line("SEQUENCE", &session.revision.to_string());
        line("STATUS", if session.cancelled { "CANCELLED" } else { "CONFIRMED" });
        line("SUMMARY", &escaped(&session.title));
        if !rooms.is_empty() {
            line("LOCATION", &escaped(&rooms.join(", ")));
        }
        if !groups.is_empty() {
            let groups: Vec<String> = groups.iter().map(|group| escaped(group)).collect();
            line("CATEGORIES", &groups.join(","));
        }
        line("END", "VEVENT");
    }
    line("END", "VCALENDAR");
    text
}

/// An instant in UTC (RFC 5545, section 3.3.5, form 2).
fn utc(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Text as a value (RFC 5545, section 3.3.11); control characters cannot be written.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Adds a line, folded where it is too long, never inside a character.
fn fold(text: &mut String, line: &str) {
    let mut length = 0;
    for c in line.chars() {
        if length + c.len_utf8() > LINE {
            text.push_str("\r\n ");
            length = 1;
        }
        text.push(c);
        length += c.len_utf8();
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::{escaped, fold, utc};

    #[test]
    fn lines_are_folded_at_75_octets_and_never_inside_a_character() {
        let line = format!("SUMMARY:{}", "ä€😀".repeat(40));
        let mut text = String::new();
        fold(&mut text, &line);
        assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        assert_eq!(text.replace("\r\n ", ""), format!("{line}\r\n"));
        text.clear();
        fold(&mut text, &"x".repeat(75));
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn values_are_escaped_and_instants_are_in_utc() {
        assert_eq!(escaped("Law, Torts; A\\B\nnew\u{7}"), "Law\\, Torts\\; A\\\\B\\nnew ");
        assert_eq!(utc(1_790_845_200_000), "20261001T090000Z");
    }
}
