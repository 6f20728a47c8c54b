//! Buildings and what hangs in them, who may ask, and what went wrong.

use uuid::Uuid;

use super::{Entity, LightColour, OutageCause, ReaderEventKind, ReaderKind};
use crate::store::{Row, StoreError, Value};

entity! {
    /// A credential of a program or person. The token itself is never stored.
    Token in "access_token" by "name" {
        /// Its id.
        id: Uuid,
        /// Who uses it.
        name: String,
        /// SHA-256 of the token.
        hash: Vec<u8>,
        /// Roles, separated by commas.
        roles: String,
        /// The gateway that it speaks for.
        gateway_id: Option<Uuid>,
        /// When it was made.
        created_at: i64,
        /// When it ends.
        expires_at: Option<i64>,
        /// When it was taken back.
        revoked_at: Option<i64>,
    }
}
entity! {
    /// A building, with the secret under which its gateways look cards up.
    Building in "building" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Its name.
        name: String,
        /// Which of the building's keys is in force.
        key_epoch: i64,
        /// The key: 32 bytes. Never in a log.
        key_secret: Vec<u8>,
        /// The revision of the building's last feed event.
        feed_revision: i64,
    }
}
entity! {
    /// A room.
    Room in "room" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Its name.
        name: String,
        /// Where it is.
        building_id: Uuid,
        /// Its seats.
        capacity: Option<i64>,
    }
}
entity! {
    /// A gateway and what it last said.
    Gateway in "gateway" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Where it is.
        building_id: Uuid,
        /// When it first spoke to the hub.
        enrolled_at: Option<i64>,
        /// Its software.
        software_version: Option<String>,
        /// All its swipes before this instant are handed over.
        watermark: Option<i64>,
        /// When it said so, by its own clock.
        reported_at: Option<i64>,
        /// When it said so, by the hub's clock.
        received_at: Option<i64>,
        /// The rest of what it said, as JSON.
        report: Option<String>,
        /// Its last heartbeat or batch that was taken.
        exchange: Option<Uuid>,
        /// What that was called in its answer.
        exchange_answer: Option<Uuid>,
    }
}
entity! {
    /// A reader at a door and how it last was.
    Reader in "reader" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// The gateway that it hangs on.
        gateway_id: Uuid,
        /// The room whose door it is at.
        room_id: Option<Uuid>,
        /// How it talks.
        kind: ReaderKind,
        /// Whether it is in use.
        enabled: bool,
        /// Whether the gateway can talk to it.
        online: Option<bool>,
        /// What it shows.
        light: Option<LightColour>,
        /// Its firmware.
        firmware: Option<String>,
        /// When its gateway last spoke of it.
        last_seen_at: Option<i64>,
        /// When a card was last held to it.
        last_swipe_at: Option<i64>,
    }
}
entity! {
    /// Something that a person should look at.
    Alarm in "alarm" by "id" {
        /// Its id.
        id: Uuid,
        /// When it was raised.
        at: i64,
        /// What it is about, as a word.
        kind: String,
        /// The gateway that it is about.
        gateway_id: Option<Uuid>,
        /// In words.
        detail: String,
    }
}
entity! {
    /// A stretch of time in which a door could not record.
    Outage in "outage" by "id" {
        /// Its id, of the gateway's making.
        id: Uuid,
        /// Whose.
        gateway_id: Uuid,
        /// The reader; none for all of the gateway's.
        reader_id: Option<Uuid>,
        /// Why.
        cause: OutageCause,
        /// The last instant that was good.
        from_at: i64,
        /// The first that was good again; none while it lasts.
        until_at: Option<i64>,
        /// When the hub last heard of it.
        received_at: i64,
    }
}
entity! {
    /// What happened to a reader itself.
    ReaderEvent in "reader_event" by "id" {
        /// Its id, of the gateway's making.
        id: Uuid,
        /// Whose reader it is.
        gateway_id: Uuid,
        /// The reader.
        reader_id: Uuid,
        /// What happened.
        kind: ReaderEventKind,
        /// When, by the gateway's clock.
        at: i64,
        /// Not before.
        earliest_at: i64,
        /// Not after.
        latest_at: i64,
        /// More of it, in words.
        detail: Option<String>,
        /// When the hub heard of it.
        received_at: i64,
    }
}
entity! {
    /// What an installer saw and heard at a door.
    Commissioning in "commissioning" by "at" {
        /// Its id, of the installer's tool's making.
        id: Uuid,
        /// Whose reader it is.
        gateway_id: Uuid,
        /// The reader's code, as in the gateway's configuration: it need not be known here yet.
        reader_code: String,
        /// Who stood at the door.
        installer: String,
        /// When.
        at: i64,
        /// Everything was seen and heard as it should be.
        passed: bool,
        /// The reader's firmware, as it said itself.
        firmware: Option<String>,
        /// The steps, JSON.
        steps: String,
        /// When the hub heard of it.
        received_at: i64,
    }
}
