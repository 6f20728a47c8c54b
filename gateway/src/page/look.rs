//! What the page shows: how the gateway is, without a card's number and without a person.

use rollcall_rules::light::Colour;
use rollcall_rules::time::Instant;
use serde::{Deserialize, Serialize};

use crate::clock::FAR_FUTURE;
use crate::core::words::{colour_word, trust_word};
use crate::journal::record::SwipeRecord;
use crate::journal::writer::Standing;
use crate::osdp::panel::LineQuality;
use crate::uplink::sender::{Handing, Status};

/// How many swipes are shown.
pub const RECENT: usize = 20;

/// A swipe, as far as it may be shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recent {
    /// When.
    pub at: String,
    /// At which reader.
    pub reader: String,
    /// How many bits the card had.
    pub bits: u16,
    /// What was shown.
    pub light: String,
    /// Why.
    pub reason: String,
    /// Four digits of the card's key in this building: enough to see whether it is the same card, not whose.
    pub card: String,
}

impl Recent {
    /// The swipe of a record.
    #[must_use]
    pub fn new(record: &SwipeRecord) -> Self {
        Self {
            at: time(Instant(record.at)),
            reader: record.code.clone(),
            bits: record.bits,
            light: record.light.to_lowercase(),
            reason: record.reason.clone(),
            card: record.key.get(..4).unwrap_or_default().to_owned(),
        }
    }
}

/// What the mind says.
#[derive(Debug, Clone)]
pub struct Doors {
    /// How it is.
    pub status: Status,
    /// The last swipes, the last one first.
    pub recent: Vec<Recent>,
    /// How many sessions, memberships and cards the cache holds.
    pub counts: (usize, usize, usize),
    /// Since when swipes are refused for want of room.
    pub refusing: Option<Instant>,
}

/// How everything is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// The gateway's code.
    pub gateway: String,
    /// The program's version.
    pub version: &'static str,
    /// The time, as far as it is known.
    pub clock: ClockLook,
    /// The readers.
    pub readers: Vec<ReaderLook>,
    /// The last swipes, the last one first.
    pub swipes: Vec<Recent>,
    /// The journal.
    pub journal: JournalLook,
    /// The timetable here.
    pub cache: CacheLook,
    /// The way to the hub.
    pub hub: HubLook,
}

/// The time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockLook {
    /// What time it is.
    pub at: String,
    /// How far that is believed.
    pub trust: String,
    /// Between the earliest and the latest that it may be, in milliseconds; null while nobody can say.
    pub uncertainty_ms: Option<i64>,
}

/// A reader.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReaderLook {
    /// Its code.
    pub code: String,
    /// It answers.
    pub online: bool,
    /// Its light at rest.
    pub light: String,
    /// Its firmware, as it says itself.
    pub firmware: Option<String>,
    /// When a card was last held to it.
    pub last_swipe: Option<String>,
    /// How its serial line does; none for other kinds.
    pub line: Option<LineLook>,
}

/// A serial line, since the gateway started.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LineLook {
    /// Commands sent, repeats included.
    pub sent: u64,
    /// Replies that came in time.
    pub replies: u64,
    /// Commands sent again.
    pub repeats: u64,
    /// Replies that did not come in time.
    pub timeouts: u64,
    /// Refusals.
    pub naks: u64,
    /// Replies of another sequence, or malformed.
    pub bad_replies: u64,
    /// How long a reply takes, smoothed, in milliseconds.
    pub reply_ms: f64,
    /// It is spoken to under a key of its own.
    pub secured: bool,
}

impl LineLook {
    #[expect(clippy::cast_precision_loss, reason = "a reply never takes centuries")]
    fn new(line: LineQuality) -> Self {
        let LineQuality { sent, replies, repeats, timeouts, naks, bad_replies, secured, .. } = line;
        Self {
            sent,
            replies,
            repeats,
            timeouts,
            naks,
            bad_replies,
            reply_ms: line.reply_us as f64 / 1e3,
            secured,
        }
    }
}

/// The journal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalLook {
    /// The number of the last record on the disk.
    pub last_record: u64,
    /// Bytes taken.
    pub used_bytes: u64,
    /// Bytes that it may take.
    pub quota_bytes: u64,
    /// The disk has no room for more.
    pub disk_full: bool,
    /// Since when swipes are refused for want of room.
    pub refusing_since: Option<String>,
    /// Segments in which records were damaged.
    pub damaged_segments: usize,
    /// What is free on the disk.
    pub free_bytes: Option<u64>,
}

/// The timetable here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheLook {
    /// Sessions.
    pub sessions: usize,
    /// Memberships of groups.
    pub memberships: usize,
    /// Cards.
    pub cards: usize,
    /// When it was last as the hub has it.
    pub current_at: Option<String>,
    /// How long ago that was, in milliseconds.
    pub age_ms: Option<i64>,
}

/// The way to the hub.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubLook {
    /// When it last answered.
    pub heard_at: Option<String>,
    /// Records that it does not have yet.
    pub backlog: u64,
    /// Why it does not work at present.
    pub failing: Option<String>,
}

impl Look {
    /// Puts together what was found.
    #[must_use]
    pub fn new(
        gateway: &str,
        doors: Doors,
        standing: &Standing,
        handing: &Handing,
        free_bytes: Option<u64>,
    ) -> Self {
        let Doors { status, recent, counts: (sessions, memberships, cards), refusing } = doors;
        let when = status.now.when;
        let readers = status.readers.into_iter().map(|reader| ReaderLook {
            code: reader.code,
            online: reader.online,
            light: light(reader.light),
            firmware: reader.firmware,
            last_swipe: reader.last_swipe.map(time),
            line: reader.line.map(LineLook::new),
        });
        Self {
            gateway: gateway.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            clock: ClockLook {
                at: time(status.now.at),
                trust: trust_word(status.now.trust).to_lowercase(),
                uncertainty_ms: (when.latest < FAR_FUTURE).then(|| when.latest.since_ms(when.earliest)),
            },
            readers: readers.collect(),
            swipes: recent,
            journal: JournalLook {
                last_record: status.last_durable,
                used_bytes: standing.usage.used,
                quota_bytes: standing.usage.quota,
                disk_full: standing.usage.disk_full,
                refusing_since: refusing.map(time),
                damaged_segments: standing.segments.iter().filter(|segment| segment.damaged).count(),
                free_bytes,
            },
            cache: CacheLook {
                sessions,
                memberships,
                cards,
                current_at: status.current_at.map(time),
                age_ms: status.current_at.map(|at| status.now.at.since_ms(at).max(0)),
            },
            hub: HubLook {
                heard_at: handing.heard_at.map(time),
                backlog: handing.backlog,
                failing: handing.failing.clone(),
            },
        }
    }

    /// Why swipes cannot be recorded, if they cannot; what only the hub lacks is none of it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(since) = &self.journal.refusing_since {
            problems.push(format!("the journal has no room: swipes are refused since {since}"));
        }
        if self.cache.current_at.is_none() && self.cache.sessions == 0 {
            problems.push("there is no timetable here yet: the hub was never heard".to_owned());
        }
        problems
    }
}

fn light(colour: Colour) -> String {
    colour_word(colour).to_lowercase()
}

/// RFC 3339, in UTC, to the second.
fn time(at: Instant) -> String {
    jiff::Timestamp::from_millisecond(at.0).map(|at| at.strftime("%FT%TZ").to_string()).unwrap_or_default()
}
