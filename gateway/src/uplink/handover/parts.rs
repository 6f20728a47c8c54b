//! What heartbeats and batches are made of: readers and their states, journals, the signature under a batch.

use std::collections::BTreeMap;

use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::super::operations::{DateTime, GatewayHeadInput, UnassignedReaderInput};
use super::super::sign::SigningKey;
use super::status::{Status, Unassigned};
use crate::core::hex;
use crate::journal::log::Stored;
use crate::journal::writer::Standing;

/// Which readers are known to the hub, and which answer.
pub(super) fn states(status: &Status) -> BTreeMap<String, (bool, bool)> {
    let known = status.readers.iter().map(|reader| (reader.code.clone(), (true, reader.online)));
    let unknown = status.unassigned.iter().map(|reader| (reader.code.clone(), (false, reader.online)));
    known.chain(unknown).collect()
}

/// A reader that the hub does not know.
pub(super) fn unassigned(reader: &Unassigned) -> UnassignedReaderInput {
    UnassignedReaderInput {
        code: reader.code.clone(),
        kind: reader.kind,
        online: reader.online,
        serial: reader.serial.map(|serial| serial.to_string()),
        firmware: reader.firmware.clone(),
    }
}

/// All journals of which there is anything, and the one that is written.
pub(super) fn journals(standing: &Standing) -> Vec<Uuid> {
    let mut journals: Vec<Uuid> = standing.segments.iter().map(|segment| segment.journal).collect();
    journals.push(standing.journal);
    journals.sort_unstable();
    journals.dedup();
    journals
}

/// The signature under a batch's end; none where a record before or in it could not be read.
pub(super) fn head(
    key: Option<&SigningKey>,
    first: &Stored,
    last: &Stored,
    links: Vec<String>,
    now: Instant,
) -> Option<GatewayHeadInput> {
    let (key, before) = (key?, first.before?);
    let whole = last.sequence - first.sequence + 1 == links.len() as u64;
    whole.then(|| GatewayHeadInput {
        chain_before: hex(&before),
        links,
        signed_at: DateTime(now.0),
        signature: key.sign(last.journal, last.sequence, &last.chain, now.0),
        public_key: key.public(),
    })
}
