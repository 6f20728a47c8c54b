//! A batch of swipes on its way in: which are new, which the hub has, which are broken.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_rules::anchor::Anchor;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::Hub;
use super::super::decide::Shown;
use super::super::people::hex;
use super::message::{GatewaySubmitSwipesInput, GatewaySwipeInput};
use super::stamp::{Came, Stamp};
use super::{Receipt, ReceiptOutcome};
use crate::store::entity::{Gateway, Reader, Room, Swipe};
use crate::store::{StoreError, Tx};

/// A batch on its way in: what of it is known, and the receipts so far.
pub(super) struct Batch {
    gateway: Gateway,
    readers: BTreeSet<Uuid>,
    /// Since when readers have hung anywhere.
    hung_since: BTreeMap<Uuid, i64>,
    /// Which readers hang, or hung, at which doors of this gateway.
    here: BTreeSet<(Uuid, Uuid)>,
    foreign_readers: BTreeSet<Uuid>,
    foreign_rooms: BTreeSet<Uuid>,
    bodies: BTreeSet<Vec<u8>>,
    anchors: BTreeMap<Uuid, Vec<Anchor>>,
    ids: BTreeSet<Uuid>,
    numbers: BTreeSet<(Uuid, i64)>,
    /// A number or an id came again with another body.
    pub(super) clash: bool,
    /// What the gateway said of the times that are read differently: id, time, earliest, latest.
    pub(super) raw: Vec<(Uuid, i64, i64, i64)>,
    pub(super) receipts: Vec<Receipt>,
}

impl Batch {
    /// What is known before the batch is sorted out.
    pub(super) async fn new(
        tx: &mut Tx,
        gateway: &Gateway,
        input: &GatewaySubmitSwipesInput,
    ) -> Result<Self, StoreError> {
        let ids: Vec<Uuid> = input.swipes.iter().map(|swipe| swipe.swipe_id.0).collect();
        let numbers: Vec<(Uuid, i64)> =
            input.swipes.iter().map(|swipe| (swipe.journal_id.0, swipe.sequence.0)).collect();
        let claimed = tx.swipes_claimed(&ids, &numbers).await?;
        let readers: BTreeSet<Uuid> = input.swipes.iter().map(|swipe| swipe.reader_id.0).collect();
        let readers = tx.by_ids::<Reader>(readers).await?;
        let gateways = tx.by_ids::<Gateway>(readers.iter().map(|reader| reader.gateway_id)).await?;
        let elsewhere: BTreeSet<Uuid> = gateways
            .into_iter()
            .filter(|other| other.building_id != gateway.building_id)
            .map(|other| other.id)
            .collect();
        let rooms: BTreeSet<Uuid> =
            input.swipes.iter().filter_map(|swipe| swipe.room_id).map(|room| room.0).collect();
        let rooms = tx.by_ids::<Room>(rooms).await?;
        let boots: BTreeSet<Uuid> = input.swipes.iter().map(|swipe| swipe.boot_id.0).collect();
        Ok(Self {
            gateway: gateway.clone(),
            foreign_readers: readers
                .iter()
                .filter(|reader| elsewhere.contains(&reader.gateway_id))
                .map(|reader| reader.id)
                .collect(),
            here: tx.stays_at(gateway.id).await?,
            hung_since: tx.first_stays(readers.iter().map(|reader| reader.id)).await?,
            readers: readers.iter().map(|reader| reader.id).collect(),
            foreign_rooms: rooms
                .into_iter()
                .filter(|room| room.building_id != gateway.building_id)
                .map(|room| room.id)
                .collect(),
            anchors: tx.anchors(boots).await?,
            clash: false,
            raw: Vec::new(),
            ids: claimed.iter().map(|(id, ..)| *id).collect(),
            numbers: claimed.iter().map(|(_, journal, sequence, _)| (*journal, *sequence)).collect(),
            bodies: claimed.into_iter().map(|(.., body)| body).collect(),
            receipts: Vec::new(),
        })
    }

    /// Sorts the swipes of a batch into new, known and broken ones; gives the new ones.
    pub(super) async fn sort_out(
        &mut self,
        hub: &Hub,
        tx: &mut Tx,
        input: &GatewaySubmitSwipesInput,
    ) -> Result<Vec<Swipe>, StoreError> {
        let now = hub.now().0;
        let mut swipes = Vec::new();
        for (index, sent) in input.swipes.iter().enumerate() {
            let body = body_hash(sent);
            let (outcome, error) = if self.bodies.contains(&body) {
                (ReceiptOutcome::Duplicate, None)
            } else {
                match self.swipe(sent, &body, now) {
                    Ok(mut swipe) => {
                        let taken = self.ids.contains(&swipe.claimed_id);
                        if taken {
                            // Both bodies are kept, this one under our own id.
                            swipe.id = hub.mint();
                        }
                        if taken || self.numbers.contains(&(swipe.journal_id, swipe.sequence)) {
                            self.clash = true;
                            let detail = format!(
                                "journal {} sequence {} and swipe {} came again with another body: the gateway's \
                                 storage was cloned or rolled back; both are kept",
                                swipe.journal_id, swipe.sequence, swipe.claimed_id
                            );
                            tracing::error!(gateway = %self.gateway.code, "{detail}");
                            tx.alarm(hub.mint(), now, "SWIPE_CLASH", Some(self.gateway.id), detail).await?;
                        }
                        if !self.readers.contains(&swipe.reader_id) {
                            let detail = format!(
                                "swipe {} came from reader {}, which the hub does not know; it is kept",
                                swipe.claimed_id, swipe.reader_id
                            );
                            let once = alarm_id("READER_UNKNOWN", swipe.reader_id.as_bytes());
                            tx.alarm(once, now, "READER_UNKNOWN", Some(self.gateway.id), detail).await?;
                        }
                        if self.is_elsewhere(sent) {
                            let detail = format!(
                                "swipe {} came from a reader or a room of another building; it is kept, and counts nowhere",
                                swipe.claimed_id
                            );
                            tracing::error!(gateway = %self.gateway.code, "{detail}");
                            let once = alarm_id("SWIPE_ELSEWHERE", swipe.reader_id.as_bytes());
                            tx.alarm(once, now, "SWIPE_ELSEWHERE", Some(self.gateway.id), detail).await?;
                        }
                        self.ids.insert(swipe.claimed_id);
                        self.numbers.insert((swipe.journal_id, swipe.sequence));
                        self.bodies.insert(body);
                        let said = (sent.swiped_at.ms(), sent.earliest_at.ms(), sent.latest_at.ms());
                        if said != (swipe.swiped_at, swipe.earliest_at, swipe.latest_at) {
                            self.raw.push((swipe.id, said.0, said.1, said.2));
                        }
                        swipes.push(swipe);
                        (ReceiptOutcome::Stored, None)
                    }
                    Err(error) => {
                        let detail = format!("swipes.{index}: {error}; set aside: {}", describe(sent));
                        tracing::error!(gateway = %self.gateway.code, swipe = %sent.swipe_id.0, "rejected: {error}");
                        // Sent again it is the same alarm.
                        let once = alarm_id("SWIPE_REJECTED", &body);
                        tx.alarm(once, now, "SWIPE_REJECTED", Some(self.gateway.id), detail).await?;
                        (ReceiptOutcome::Rejected, Some(error))
                    }
                }
            };
            self.receipts.push(Receipt { swipe_id: sent.swipe_id.0, outcome, error });
        }
        Ok(swipes)
    }

    /// It names a reader or a room of another building that never was at this gateway. One that has been moved since
    /// the swipe was, and what it took then counts.
    fn is_elsewhere(&self, sent: &GatewaySwipeInput) -> bool {
        let (reader, room) = (sent.reader_id.0, sent.room_id.map(|room| room.0));
        let reader = self.foreign_readers.contains(&reader) && !self.here.iter().any(|(it, _)| *it == reader);
        let room = room.is_some_and(|room| {
            self.foreign_rooms.contains(&room) && !self.here.iter().any(|(_, it)| *it == room)
        });
        reader || room
    }

    fn swipe(&self, sent: &GatewaySwipeInput, body: &[u8], now: i64) -> Result<Swipe, String> {
        let (earliest, latest, at) = (sent.earliest_at.ms(), sent.latest_at.ms(), sent.swiped_at.ms());
        if earliest > at || at > latest {
            return Err("swipedAt: must lie from earliestAt to latestAt".to_owned());
        }
        let anchors = self.anchors.get(&sent.boot_id.0).map_or(&[][..], Vec::as_slice);
        let read_at = sent.read_since_boot.map(|at| at.0).filter(|_| sent.late);
        let read_error = sent.read_error.map_or(0, |error| error.0.max(0));
        let came =
            Came { since_boot: sent.since_boot.0, late: sent.late, read: read_at.map(|at| (at, read_error)) };
        let stamp =
            Stamp { at, earliest, latest }.not_before(self.hung_since.get(&sent.reader_id.0).copied());
        let read = stamp.read(sent.clock_trust, came, anchors, now);
        let card_key = match sent.card_key.as_str() {
            "" => None,
            key => Some(hex(key).map_err(|error| format!("cardKey: {error}"))?),
        };
        if card_key.as_ref().is_some_and(|key| key.len() != 32) {
            return Err("cardKey: must be 64 hex digits".to_owned());
        }
        if hex(&sent.chain).map_or(0, |chain| chain.len()) != 32 {
            return Err("chain: must be 64 hex digits".to_owned());
        }
        let shown = Shown {
            decision: sent.decision.word().to_owned(),
            reason: sent.reason.word().to_owned(),
            light: sent.light.word().to_owned(),
            sessions: sent.session_ids.iter().map(|id| id.0).collect(),
            basis: sent.basis.clone(),
        };
        Ok(Swipe {
            id: sent.swipe_id.0,
            claimed_id: sent.swipe_id.0,
            gateway_id: self.gateway.id,
            journal_id: sent.journal_id.0,
            sequence: sent.sequence.0,
            reader_id: sent.reader_id.0,
            room_id: sent.room_id.map(|room| room.0).filter(|_| !self.is_elsewhere(sent)),
            building_id: self.gateway.building_id,
            card_key,
            card_bits: i64::from(sent.card_bits),
            card_id: None,
            student_id: None,
            shown_student_id: None,
            swiped_at: read.at,
            earliest_at: read.earliest,
            latest_at: read.latest,
            received_at: now,
            clock_trust: sent.clock_trust,
            decision: sent.decision,
            reason: sent.reason,
            decided_at: now,
            shown: serde_json::to_string(&shown).map_err(|error| error.to_string())?,
            body: body.to_vec(),
            boot_id: Some(sent.boot_id.0),
            since_boot: Some(sent.since_boot.0),
            late: sent.late,
            // Nobody was promised anything at a door that is none of this gateway's.
            holder: sent.holder.map(|holder| holder.0).filter(|_| !self.is_elsewhere(sent)),
            record: sent.record.clone(),
            read_since_boot: read_at,
            read_error: read_at.map(|_| read_error),
        })
    }
}

/// The id of an alarm that is raised once, however often its cause comes.
pub(super) fn alarm_id(kind: &str, cause: &[u8]) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(kind);
    hash.update(cause);
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(id).into_uuid()
}

/// SHA-256 over the facts of a swipe, field by field: what makes it the same when it is sent again. Where it stood
/// in which journal is not among them.
fn body_hash(sent: &GatewaySwipeInput) -> Vec<u8> {
    Sha256::digest(describe(sent).as_bytes()).to_vec()
}

fn describe(sent: &GatewaySwipeInput) -> String {
    let sessions: Vec<String> = sent.session_ids.iter().map(|id| id.0.to_string()).collect();
    format!(
        "{} {} {:?} {} {} {} {:?} {} {} {} {} {} {} {} {} {} {} {}",
        sent.swipe_id.0,
        sent.reader_id.0,
        sent.room_id.map(|room| room.0),
        sent.card_key,
        sent.card_key_epoch,
        sent.card_bits,
        sent.holder.map(|holder| holder.0),
        sent.swiped_at.ms(),
        sent.earliest_at.ms(),
        sent.latest_at.ms(),
        sent.boot_id.0,
        sent.since_boot.0,
        sent.clock_trust.word(),
        sent.decision.word(),
        sent.reason.word(),
        sent.light.word(),
        sessions.join(","),
        sent.basis,
    )
}
