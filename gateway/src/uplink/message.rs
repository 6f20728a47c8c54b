//! Records of the journal as the hub takes them.

use sha2::{Digest, Sha256};

use super::operations::{
    ClockSource, ClockTrust, Counter, DateTime, Duration, GatewayAnchorInput, GatewayClockInput,
    GatewayOutageInput, GatewayReaderEventInput, GatewaySwipeInput, LightColour, ReaderLineInput,
    SwipeDecision, SwipeReason,
};
use crate::clock::{Reading, Source, Trust};
use crate::core::hex;
use crate::journal::log::Stored;
use crate::journal::record::{AnchorRecord, OutageRecord, ReaderRecord, Record, SwipeRecord};
use crate::osdp::panel::LineQuality;
use rollcall_rules::light::Colour;

/// What a batch says.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) swipes: Vec<GatewaySwipeInput>,
    pub(super) outages: Vec<GatewayOutageInput>,
    pub(super) anchors: Vec<GatewayAnchorInput>,
    pub(super) reader_events: Vec<GatewayReaderEventInput>,
    /// SHA-256 of the body of each record, hex digits.
    pub(super) links: Vec<String>,
}

impl Batch {
    /// Adds a record. `false` for one that this program cannot read or say: it is named in the logs, and stays on the disk.
    pub(super) fn add(&mut self, stored: &Stored) -> bool {
        let added = match Record::read(&stored.body) {
            Ok(Record::Swipe(swipe)) => self.add_swipe(*swipe, stored),
            Ok(Record::Outage(record)) => outage(&record).map(|it| self.outages.push(it)),
            Ok(Record::Anchor(record)) => anchor(&record).map(|it| self.anchors.push(it)),
            Ok(Record::Reader(record)) => reader_event(&record).map(|it| self.reader_events.push(it)),
            Err(error) => {
                tracing::error!(sequence = stored.sequence, "a record cannot be read: {error}");
                None
            }
        };
        if added.is_some() {
            self.links.push(hex(&Sha256::digest(&stored.body)));
        } else {
            tracing::error!(
                sequence = stored.sequence,
                "a record says what this version does not know; it stays in the journal, and an upgrade hands it over"
            );
        }
        added.is_some()
    }

    fn add_swipe(&mut self, swipe: SwipeRecord, stored: &Stored) -> Option<()> {
        let record = String::from_utf8(stored.body.clone()).ok();
        let said = GatewaySwipeInput {
            swipe_id: swipe.id,
            journal_id: stored.journal,
            sequence: Counter(stored.sequence),
            reader_id: swipe.reader,
            room_id: swipe.room,
            card_key: swipe.key,
            card_key_epoch: i32::try_from(swipe.epoch).unwrap_or(0),
            card_bits: i32::from(swipe.bits),
            holder: swipe.holder,
            swiped_at: DateTime(swipe.at),
            earliest_at: DateTime(swipe.earliest),
            latest_at: DateTime(swipe.latest),
            boot_id: swipe.boot,
            since_boot: Duration(swipe.since_boot),
            clock_trust: word(&swipe.trust)?,
            decision: word::<SwipeDecision>(&swipe.decision)?,
            reason: word::<SwipeReason>(&swipe.reason)?,
            light: word(&swipe.light)?,
            session_ids: swipe.sessions,
            basis: swipe.basis,
            chain: hex(&stored.chain),
            record,
            late: swipe.late,
            read_since_boot: swipe.read.map(|(at, _)| Duration(at)),
            read_error: swipe.read.map(|(_, error)| Duration(error)),
        };
        self.swipes.push(said);
        Some(())
    }
}

fn outage(record: &OutageRecord) -> Option<GatewayOutageInput> {
    Some(GatewayOutageInput {
        outage_id: record.id,
        reader_id: record.reader,
        cause: word(&record.cause)?,
        from: record.from.map(DateTime),
        until: record.until.map(DateTime),
    })
}

fn reader_event(record: &ReaderRecord) -> Option<GatewayReaderEventInput> {
    Some(GatewayReaderEventInput {
        event_id: record.id,
        reader_id: record.reader,
        kind: word(&record.kind)?,
        at: DateTime(record.at),
        earliest_at: DateTime(record.earliest),
        latest_at: DateTime(record.latest),
        detail: record.detail.clone(),
    })
}

fn anchor(record: &AnchorRecord) -> Option<GatewayAnchorInput> {
    Some(GatewayAnchorInput {
        boot_id: record.boot,
        since_boot: Duration(record.since_boot),
        at: DateTime(record.at),
        error: Duration(record.error),
        source: word(&record.source)?,
    })
}

/// A value of one of the hub's enums from the word that is stored.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

/// How a serial line does, as the hub takes it; a reply time of less than a millisecond counts as one.
pub(super) fn line_input(line: LineQuality) -> ReaderLineInput {
    let reply_ms = i64::try_from(line.reply_us.div_ceil(1_000)).unwrap_or(i64::MAX);
    ReaderLineInput {
        sent: Counter(line.sent),
        replies: Counter(line.replies),
        repeats: Counter(line.repeats),
        timeouts: Counter(line.timeouts),
        naks: Counter(line.naks),
        bad_replies: Counter(line.bad_replies),
        formatted_cards: Counter(line.formatted_cards),
        reply_time: (line.reply_us > 0).then_some(Duration(reply_ms)),
        secured: line.secured,
    }
}

/// How the clock stands.
pub(super) fn clock_input(now: Reading, source: Option<Source>) -> GatewayClockInput {
    let uncertainty = now.when.latest.since_ms(now.when.earliest);
    GatewayClockInput {
        trust: match now.trust {
            Trust::Synced => ClockTrust::Synced,
            Trust::Holdover => ClockTrust::Holdover,
            Trust::Untrusted => ClockTrust::Untrusted,
        },
        source: match source {
            Some(Source::Hub) => ClockSource::Hub,
            Some(Source::Rtc) => ClockSource::Rtc,
            Some(Source::Ntp) => ClockSource::Ntp,
            None if now.trust == Trust::Synced => ClockSource::Ntp,
            None => ClockSource::None,
        },
        offset: None,
        uncertainty: Some(Duration(uncertainty)),
        last_synced_at: None,
    }
}

/// A colour as the hub names it.
pub(super) fn light(colour: Colour) -> LightColour {
    match colour {
        Colour::Off => LightColour::Off,
        Colour::Blue => LightColour::Blue,
        Colour::Green => LightColour::Green,
        Colour::Red => LightColour::Red,
        Colour::Amber => LightColour::Amber,
    }
}
