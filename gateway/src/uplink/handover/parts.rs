//! What heartbeats and batches are made of: readers and their states, journals, the signature under a batch.

use std::collections::BTreeMap;

use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::super::message::{light, line_input};
use super::super::operations::{
    DateTime, GatewayHeadInput, GatewayReaderReport, GatewaySubmitSwipesInput, UnassignedReaderInput,
};
use super::super::sign::SigningKey;
use super::status::{ReaderStatus, Status, Unassigned};
use crate::core::hex;
use crate::core::time::Source;
use crate::journal::log::Stored;
use crate::journal::writer::Standing;

/// What a heartbeat says beside what the mind knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct More {
    /// Age of the oldest record that is not handed over, in milliseconds.
    pub oldest_age_ms: Option<i64>,
    /// What is free where the journal lies.
    pub free_bytes: Option<u64>,
    /// Where the clock gets its time.
    pub source: Option<Source>,
    /// The timetable copy was found damaged at the start.
    pub cache_damaged: bool,
}

/// A batch on its way.
#[derive(Debug)]
pub struct Submission {
    /// What to send.
    pub input: GatewaySubmitSwipesInput,
    pub(super) journal: Uuid,
    pub(super) through: u64,
    pub(super) watermark: Instant,
    pub(super) swipes: usize,
}

/// Which readers are known to the hub, and which answer.
pub(super) fn states(status: &Status) -> BTreeMap<String, (bool, bool)> {
    let known = status.readers.iter().map(|reader| (reader.code.clone(), (true, reader.online)));
    let unknown = status.unassigned.iter().map(|reader| (reader.code.clone(), (false, reader.online)));
    known.chain(unknown).collect()
}

/// How a reader is.
pub(super) fn report(reader: &ReaderStatus) -> GatewayReaderReport {
    GatewayReaderReport {
        reader_id: reader.id,
        online: reader.online,
        light: Some(light(reader.light)),
        last_swipe_at: reader.last_swipe.map(|at| DateTime(at.0)),
        firmware: reader.firmware.clone(),
        line: reader.line.map(line_input),
    }
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

/// The journal that was begun on this disk after another one.
pub(super) fn behind(standing: &Standing, journal: Uuid) -> Uuid {
    let mut from = standing.segments.iter().map(|segment| segment.journal).skip_while(|it| *it != journal);
    from.find(|it| *it != journal).unwrap_or(standing.journal)
}

/// Leaves of some records those that can be signed together: up to a hole, or the one behind a hole alone, which cannot be signed.
pub(super) fn together(stored: &mut Vec<Stored>) {
    let hole = stored.windows(2).position(|two| two[1].sequence != two[0].sequence + 1);
    let count = match stored.first() {
        Some(first) if first.before.is_none() => 1,
        _ => hole.map_or(stored.len(), |place| place + 1),
    };
    stored.truncate(count);
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
