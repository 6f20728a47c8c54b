//! An MQTT reader of the simulation: it keeps a swipe until it is told that the gateway has it, and has a clock of its
//! own that starts with it.

use std::collections::VecDeque;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rollcall_gateway::core::{ReaderClock, Tag};
use rollcall_rules::card::CardRead;

/// A swipe that is sent so long after it was read is marked as historical.
const HISTORICAL_MS: i64 = 10_000;

struct Kept {
    seq: u64,
    card: CardRead,
    /// The place of the card in the history.
    place: usize,
    at: i64,
    sent: Option<i64>,
}

/// One reader.
pub(super) struct SimReader {
    /// The door that it hangs at.
    pub door: usize,
    /// It is connected to its gateway.
    pub connected: bool,
    /// It will look again by itself.
    pub timer: bool,
    starts: u32,
    started: i64,
    drift_ppm: i64,
    next_seq: u64,
    waiting: VecDeque<Kept>,
}

impl SimReader {
    /// A reader that has power.
    pub(super) fn new(door: usize, now: i64, rng: &mut ChaCha8Rng) -> Self {
        Self {
            door,
            connected: false,
            timer: false,
            starts: 0,
            started: now - rng.random_range(0..100_000),
            drift_ppm: rng.random_range(-50..=50),
            next_seq: 1,
            waiting: VecDeque::new(),
        }
    }

    fn boot(&self) -> String {
        format!("b{}", self.starts)
    }

    fn mono_ms(&self, at: i64) -> i64 {
        let passed = at - self.started;
        passed + passed * self.drift_ppm / 1_000_000
    }

    /// Its clock.
    pub(super) fn clock(&self, now: i64) -> ReaderClock {
        ReaderClock { boot: self.boot(), mono_ms: self.mono_ms(now) }
    }

    /// It is switched on.
    pub(super) fn has_power(&self, now: i64) -> bool {
        self.started <= now
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A card is held to it; one that has no power sees none.
    pub(super) fn hold(&mut self, card: CardRead, place: usize, now: i64) {
        if now < self.started {
            return;
        }
        self.waiting.push_back(Kept { seq: self.next_seq, card, place, at: now, sent: None });
        self.next_seq += 1;
    }

    /// It has a connection: whatever went over the last may be gone.
    pub(super) fn connect(&mut self) {
        self.connected = true;
        for kept in &mut self.waiting {
            kept.sent = None;
        }
    }

    /// What it sends now, in order.
    pub(super) fn due(&mut self, now: i64, again_ms: i64) -> Vec<(Tag, CardRead, usize)> {
        let (boot, started, drift_ppm) = (self.boot(), self.started, self.drift_ppm);
        let due = self.waiting.iter_mut().filter(|kept| kept.sent.is_none_or(|sent| sent + again_ms <= now));
        due.map(|kept| {
            kept.sent = Some(now);
            let passed = kept.at - started;
            let tag = Tag {
                boot: boot.clone(),
                seq: kept.seq,
                mono_ms: passed + passed * drift_ppm / 1_000_000,
                historical: now - kept.at >= HISTORICAL_MS,
            };
            (tag, kept.card.clone(), kept.place)
        })
        .collect()
    }

    /// The gateway has it; gives its place in the history.
    pub(super) fn acknowledged(&mut self, boot: &str, seq: u64) -> Option<usize> {
        if boot != self.boot() {
            return None;
        }
        let index = self.waiting.iter().position(|kept| kept.seq == seq)?;
        self.waiting.remove(index).map(|kept| kept.place)
    }

    /// Its power is gone, and back after so long.
    pub(super) fn lose_power(&mut self, now: i64, back: i64) {
        self.waiting.clear();
        self.connected = false;
        self.starts += 1;
        self.started = now + back;
        self.next_seq = 1;
    }
}
