//! What a scenario file says, as it is written.
//!
//! Used by `scenario`; `build` makes sense of it.

use serde::Deserialize;

use crate::plan::ReaderKind;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) zone: String,
    pub(super) day: String,
    #[serde(default)]
    pub(super) rooms: Vec<Room>,
    #[serde(default)]
    pub(super) readers: Vec<Reader>,
    #[serde(default)]
    pub(super) students: Vec<Student>,
    #[serde(default)]
    pub(super) sessions: Vec<Session>,
    #[serde(default)]
    pub(super) changes: Vec<Change>,
    #[serde(default)]
    pub(super) faults: Vec<WrittenFault>,
    #[serde(default)]
    pub(super) swipes: Vec<Swipe>,
}

/// A fault has an end, a reboot has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenFault {
    pub(super) at: String,
    pub(super) until: Option<String>,
    pub(super) reader: String,
    pub(super) what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    pub(super) code: String,
    pub(super) building: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reader {
    pub(super) code: String,
    pub(super) room: String,
    pub(super) kind: Kind,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Osdp,
    Mqtt,
}

impl From<Kind> for ReaderKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Osdp => Self::Osdp,
            Kind::Mqtt => Self::Mqtt,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Student {
    pub(super) number: String,
    #[serde(default)]
    pub(super) cards: Vec<Card>,
}

/// Either `format`, `number` and what `facility` the format has, or `uid`, or `bits` and `raw`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Card {
    pub(super) format: Option<Format>,
    pub(super) facility: Option<u16>,
    pub(super) number: Option<u64>,
    pub(super) uid: Option<String>,
    pub(super) bits: Option<u16>,
    pub(super) raw: Option<String>,
    #[serde(default)]
    pub(super) old: bool,
}

#[derive(Deserialize, Clone, Copy)]
pub(super) enum Format {
    H10301,
    H10302,
    H10304,
    H10306,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) start: String,
    pub(super) end: String,
    #[serde(default)]
    pub(super) rooms: Vec<String>,
    pub(super) students: Option<Vec<String>>,
    #[serde(default)]
    pub(super) cancelled: bool,
}

/// `at` and exactly one of the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    pub(super) at: String,
    pub(super) cancel: Option<String>,
    pub(super) reinstate: Option<String>,
    #[serde(rename = "move")]
    pub(super) moved: Option<Move>,
    pub(super) reschedule: Option<Reschedule>,
    pub(super) join: Option<Join>,
    pub(super) reissue: Option<Reissue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    pub(super) session: String,
    pub(super) rooms: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reschedule {
    pub(super) session: String,
    pub(super) start: String,
    pub(super) end: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Join {
    pub(super) session: String,
    pub(super) student: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reissue {
    pub(super) student: String,
    pub(super) card: Card,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Swipe {
    pub(super) at: String,
    pub(super) reader: String,
    pub(super) card: Held,
    #[serde(default)]
    pub(super) old: bool,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "card: expected a student number, { uid = \"…\" } or { format, facility, number }"
)]
pub(super) enum Held {
    Student(String),
    Card(Card),
}
