//! What goes wrong in stranger ways: records that the hub turns down, records that rot while the gateway runs, a clock's file that
//! cannot be written; and every watermark that the hub believes held against the truth at once.
//!
//! By a number of its own, so that what happens in older seeds stays what it was.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rollcall_rules::light::Colour;
use uuid::Uuid;

use super::super::DOORS;
use super::super::check::{EXACT_MS, claimed, rows};
use super::{Event, Message, World};

/// The control under which none of this happens: no defect, but what seeds once broke that came before.
pub const UNTROUBLED: &str = "no-trouble";
/// A record is left alone for so long: until it is noted how far the journal reaches, one that rots at its end passes for torn.
const NOTED_MS: i64 = 120_000;

/// What is turned down, until when: one swipe, or the next that comes.
type TurnedDown = Option<(Option<Uuid>, i64)>;

/// The strange faults of a world.
pub(super) struct Trouble {
    rng: ChaCha8Rng,
    turned_down: Vec<TurnedDown>,
    /// The watermarks that were looked at last.
    watermarks: Vec<i64>,
    /// How much was seen: records turned down, records rotten, clocks that could not be kept.
    pub(super) seen: [u64; 3],
}

impl Trouble {
    /// None yet.
    pub(super) fn new(seed: u64, gateways: usize) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0073_0b1e);
        Self { rng, turned_down: vec![None; gateways], watermarks: vec![0; gateways], seen: [0; 3] }
    }
}

impl World {
    /// The next of them.
    pub(super) async fn trouble(&mut self) {
        let (now, gateways) = (self.now, self.gateways.len());
        if self.healed || now > self.until {
            return;
        }
        let Some(trouble) = &mut self.trouble else { return };
        let next = trouble.rng.random_range(60_000..500_000);
        let index = trouble.rng.random_range(0..gateways);
        let until = now + trouble.rng.random_range(30_000..900_000);
        match trouble.rng.random_range(0..3) {
            0 => trouble.turned_down[index] = Some((None, until)),
            1 => self.rot(index).await,
            // Not while a clock lies: whoever can't keep the time believes it after a restart.
            _ if self.gateways[index].machine.lies() => {}
            _ => {
                trouble.seen[2] += 1;
                tracing::info!(at = now, gateway = index, until, "fault clock file");
                self.gateways[index].clock_kept_from = until;
                // Until it can be written again what it says is as old as the first of faults that follow each other.
                match self.clock_failed[index].last_mut() {
                    Some((_, over)) if now <= *over + NOTED_MS => *over = until,
                    _ => self.clock_failed[index].push((now, until)),
                }
            }
        }
        self.faults += 1;
        self.at(next, Event::Trouble);
    }

    /// A bit of a record that was shown green long enough ago turns over, on the medium and wherever it is read from.
    async fn rot(&mut self, index: usize) {
        let there = claimed(&self.hub).await;
        let Some(trouble) = &mut self.trouble else { return };
        let old = self.now - NOTED_MS;
        let mine = self.presentations.iter().enumerate().filter(|(_, it)| {
            let door = &DOORS[it.door];
            door.gateway == index && !door.mqtt && it.at < old && it.green() && it.rotten.is_none()
        });
        let mine: Vec<usize> = mine.map(|(place, _)| place).collect();
        if mine.is_empty() || !self.gateways[index].runs() {
            return;
        }
        // The younger they are the likelier the hub has not got them.
        let place = mine[mine.len() - 1 - trouble.rng.random_range(0..mine.len().min(12))];
        let id = self.presentations[place].minted.iter().find(|it| it.place.is_some()).map(|it| it.id);
        if id.is_some_and(|id| self.gateways[index].disk.rot(id.to_string().as_bytes())) {
            tracing::info!(at = self.now, gateway = index, swipe = ?id, "fault rot");
            trouble.seen[1] += 1;
            let at_hub = id.is_some_and(|id| there.contains(&id));
            self.presentations[place].rotten = Some((self.hub.restores, at_hub));
        }
    }

    /// Whether the hub will not have what is in a message.
    pub(super) fn turns_down(&mut self, index: usize, message: &Message) -> bool {
        let (now, healed) = (self.now, self.healed);
        let Some(trouble) = &mut self.trouble else { return false };
        let Some((chosen, until)) = trouble.turned_down[index] else { return false };
        if healed || now >= until {
            trouble.turned_down[index] = None;
            return false;
        }
        let Message::Submit(submission, _) = message else { return false };
        let ids: Vec<Uuid> = submission.input.swipes.iter().map(|swipe| swipe.swipe_id).collect();
        let chosen = match chosen {
            Some(chosen) => chosen,
            None if ids.is_empty() => return false,
            None => {
                let chosen = ids[trouble.rng.random_range(0..ids.len())];
                tracing::info!(at = now, gateway = index, swipe = %chosen, until, "fault turned down");
                trouble.turned_down[index] = Some((Some(chosen), until));
                trouble.seen[0] += 1;
                chosen
            }
        };
        ids.contains(&chosen)
    }

    /// The same of a message that comes once more.
    pub(super) fn turns_down_again(&self, index: usize, request: &str) -> bool {
        let turned_down = self.trouble.as_ref().and_then(|trouble| trouble.turned_down[index]);
        let chosen = turned_down.filter(|_| !self.healed).and_then(|(chosen, _)| chosen);
        chosen.is_some_and(|chosen| request.contains(&chosen.to_string()))
    }

    /// Whatever was green at a serial door before the watermark that the hub has taken is at the hub.
    pub(super) async fn watermarks_hold(&mut self) {
        let Some(mut trouble) = self.trouble.take() else { return };
        let known = rows(&self.hub, "SELECT id, watermark, 0 FROM gateway").await;
        let mut there = None;
        for (index, gateway) in self.gateways.iter().enumerate() {
            let watermark = known.iter().find(|(id, ..)| *id == gateway.id).map_or(0, |(_, at, _)| *at);
            if trouble.watermarks[index] == watermark {
                continue;
            }
            trouble.watermarks[index] = watermark;
            let there = match &there {
                Some(there) => there,
                None => there.insert(claimed(&self.hub).await),
            };
            for it in &self.presentations {
                let door = &DOORS[it.door];
                let mine = door.gateway == index && !door.mqtt && !it.forgiven && !self.is_rotten(it);
                let mut green = it.minted.iter().filter(|it| it.flash == Some(Colour::Green));
                if mine
                    && it.at + EXACT_MS < watermark
                    && green.any(|minted| !there.contains(&minted.id))
                    && self.broken.len() < 12
                {
                    self.broken
                        .push(format!("PASSED by the watermark {watermark}, and not at the hub: {it:?}"));
                }
            }
        }
        self.trouble = Some(trouble);
    }
}
