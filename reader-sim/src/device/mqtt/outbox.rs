//! Swipes that the gateway has not acknowledged, oldest first.
//!
//! Filled by [`super::MqttReader::present`], emptied by the session. Never drops a swipe to make room.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::time::Duration;

use tokio::time::Instant;

use super::{Uptime, messages};
use crate::plan::Credential;

/// At most so many; the oldest are kept.
const CAPACITY: usize = 256;
/// An unacknowledged swipe is sent again after this long.
const RESEND_AFTER: Duration = Duration::from_secs(2);
/// A swipe sent so long after it was read is marked as historical.
const HISTORICAL_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Swipe {
    seq: u64,
    uid: String,
    bits: u16,
    read: Instant,
    /// The reader's clock then.
    mono_ms: u64,
    sent: Option<Instant>,
}

/// Of so many swipes it is known when they were read, for the flashes that answer them.
const REMEMBERED: usize = 64;

/// The unacknowledged swipes of one start of a reader, and its clock.
#[derive(Debug)]
pub(super) struct Outbox {
    boot: String,
    started: Instant,
    uptime: Option<Uptime>,
    next_seq: u64,
    waiting: VecDeque<Swipe>,
    /// When the last swipes were read.
    read: VecDeque<(u64, Instant)>,
}

impl Outbox {
    /// An empty one. `uptime` is the reader's clock, where it is not this program's.
    pub(super) fn new(boot: String, uptime: Option<Uptime>) -> Outbox {
        let (waiting, read) = (VecDeque::new(), VecDeque::new());
        Outbox { boot, started: Instant::now(), uptime, next_seq: 1, waiting, read }
    }

    /// The reader's clock, in milliseconds since its start.
    pub(super) fn mono_ms(&self, now: Instant) -> u64 {
        match &self.uptime {
            Some(uptime) => uptime.ms(),
            None => u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The name of this start.
    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// Takes a card; `None` when there is no room.
    pub(super) fn push(&mut self, credential: &Credential, now: Instant) -> Option<u64> {
        if self.waiting.len() >= CAPACITY {
            return None;
        }
        let mut uid = String::with_capacity(credential.raw.len() * 2);
        for byte in &credential.raw {
            // Writing into a string cannot fail.
            write!(uid, "{byte:02X}").ok();
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let mono_ms = self.mono_ms(now);
        self.waiting.push_back(Swipe { seq, uid, bits: credential.bits, read: now, mono_ms, sent: None });
        if self.read.len() >= REMEMBERED {
            self.read.pop_front();
        }
        self.read.push_back((seq, now));
        Some(seq)
    }

    /// How long ago a swipe was read; `None` when it is not known any more.
    pub(super) fn age(&self, seq: u64, now: Instant) -> Option<Duration> {
        self.read.iter().find(|(number, _)| *number == seq).map(|(_, read)| now.duration_since(*read))
    }

    /// When the next swipe is to be sent.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|s| s.sent.map_or(s.read, |sent| sent + RESEND_AFTER)).min()
    }

    /// The payloads of all that are due, in order; they count as sent now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Result<String, serde_json::Error>> {
        let mut due = Vec::new();
        for swipe in &mut self.waiting {
            if swipe.sent.is_some_and(|sent| sent + RESEND_AFTER > now) {
                continue;
            }
            swipe.sent = Some(now);
            due.push(serde_json::to_string(&messages::Swipe {
                boot: &self.boot,
                seq: swipe.seq,
                uid: &swipe.uid,
                bits: swipe.bits,
                mono_ms: swipe.mono_ms,
                historical: now.duration_since(swipe.read) >= HISTORICAL_AFTER,
            }));
        }
        due
    }

    /// A new connection knows nothing of what went over the last: all are due at once.
    pub(super) fn all_due(&mut self) {
        for swipe in &mut self.waiting {
            swipe.sent = None;
        }
    }

    /// Takes an acknowledged swipe out; false when it was not waiting.
    pub(super) fn acknowledge(&mut self, boot: &str, seq: u64) -> bool {
        let before = self.waiting.len();
        if boot == self.boot {
            self.waiting.retain(|swipe| swipe.seq != seq);
        }
        self.waiting.len() < before
    }
}

/// A name for a start of a reader that no other start has had.
pub(super) fn random_boot() -> String {
    // The standard library's hash keys come from the operating system's random numbers.
    format!("b{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn card() -> Credential {
        Credential { bits: 26, raw: vec![0x95, 0x18, 0x1C, 0xC0] }
    }

    #[test]
    fn a_swipe_is_due_at_once_then_every_two_seconds_until_acknowledged() {
        let mut outbox = Outbox::new("b7".into(), None);
        let now = outbox.started;
        assert_eq!(outbox.push(&card(), now), Some(1));
        let first = outbox.take_due(now).remove(0).unwrap();
        let expected = r#"{"boot":"b7","seq":1,"uid":"95181CC0","bits":26,"mono_ms":0,"historical":false}"#;
        assert_eq!(first, expected);
        assert!(outbox.take_due(now + Duration::from_millis(1999)).is_empty());
        assert_eq!(outbox.next_due(), Some(now + RESEND_AFTER));
        let again = outbox.take_due(now + RESEND_AFTER).remove(0).unwrap();
        assert_eq!(again, expected);
        let late = outbox.take_due(now + HISTORICAL_AFTER).remove(0).unwrap();
        assert!(late.contains(r#""historical":true"#), "{late}");
        assert!(!outbox.acknowledge("b6", 1));
        assert!(outbox.acknowledge("b7", 1));
        assert!(!outbox.acknowledge("b7", 1));
        assert_eq!(outbox.next_due(), None);
    }

    #[test]
    fn when_full_the_oldest_are_kept_in_order() {
        let mut outbox = Outbox::new("b7".into(), None);
        let now = outbox.started;
        for seq in 1..=256 {
            assert_eq!(outbox.push(&card(), now), Some(seq));
        }
        assert_eq!(outbox.push(&card(), now), None);
        let due = outbox.take_due(now);
        assert_eq!(due.len(), 256);
        assert!(due[0].as_ref().unwrap().contains(r#""seq":1,"#));
        assert!(due[255].as_ref().unwrap().contains(r#""seq":256,"#));
        assert!(outbox.acknowledge("b7", 100));
        assert_eq!(outbox.push(&card(), now), Some(257));
    }

    #[test]
    fn starts_have_different_names() {
        assert_ne!(random_boot(), random_boot());
    }
}
