//! What is looked after beside the doors: the time that must survive a restart, and the journal's room and health.

use std::time::Duration;

use rollcall_rules::anchor::NEGLIGIBLE_MS;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::hands::Hands;
use super::refusals::Unrecorded;
use crate::aside::{aside, comes, goes_on};
use crate::core::Input;
use crate::core::outages::Cause;
use crate::core::reading::{NO_TIME_BEFORE, Reading};
use crate::journal::log::Damage;
use crate::journal::lost::Hole;
use crate::journal::record::Record;
use crate::journal::writer::Standing;

/// A new time is kept within this, or shown by all the same.
const KEPT_WITHIN: Duration = Duration::from_secs(2);

impl Hands {
    /// What is looked after once a minute: the clock's file, the journal's fill, damage found while it ran.
    pub(super) fn look_after(&mut self) {
        if !goes_on(&mut self.keeping) {
            self.keep_clock();
        }
        let now = self.clock.read();
        // Swipes of an uncertain time are dated by the first tie that comes after them.
        let tie = self.clock.tie().map(|(anchor, source)| (self.clock.boot_id(), anchor, source));
        for dated in self.undated.date(tie, self.clock.earlier_tie()) {
            self.notes.add(Record::Anchor(dated));
        }
        self.note_forgotten(now);
        self.journal.keep_end();
        if self.asked.is_none() {
            self.asked = self.journal.ask_standing();
        }
    }

    /// The journal has said how it stands.
    pub(super) fn stands(&mut self, standing: &Standing, now: Reading) {
        let usage = standing.usage;
        if usage.has_room {
            self.notes.room();
        }
        if usage.has_room && self.mind.refusing_since().is_some() {
            // At a quiet door no swipe may come for days that would find that out.
            let refusing = self.mind.refusing_since();
            self.mind.handle(Input::Room, now);
            self.note_room(refusing, now);
        }
        let (percent, step) = (usage.percent(), usage.warning());
        if step > self.warned {
            let advice = "free space, raise journal.max_mib, or bring the hub back so that old swipes may go";
            if step == 95 {
                tracing::error!(percent, disk_full = usage.disk_full, "the journal is nearly full: {advice}");
            } else {
                tracing::warn!(percent, "the journal fills up: {advice}");
            }
        }
        self.warned = step;
    }

    /// Notes that records were found damaged while the gateway ran.
    pub(super) fn note_damage(&mut self, damages: Vec<(Damage, Vec<Hole>)>, now: Reading) {
        for (damage, holes) in damages {
            tracing::error!(segment = %damage.segment, missing = ?damage.missing, "the journal was damaged while the gateway ran: {}", damage.what);
            for hole in holes {
                let lost = hole.outage(&mut self.outages, now);
                self.notes.add(Record::Outage(lost));
            }
        }
    }

    /// Notes that swipes were refused for want of room since `refusing`, if that is over.
    pub(super) fn note_room(&mut self, refusing: Option<Instant>, now: Reading) {
        if let (Some(since), None) = (refusing, self.mind.refusing_since()) {
            tracing::info!("the journal has room again");
            self.notes.room();
            // A start that found no time in its file does not know since when.
            let since = Some(since).filter(|since| *since > NO_TIME_BEFORE);
            let over = self.outages.over(Uuid::new_v4(), Cause::JournalRefused, since, now);
            self.notes.add(Record::Outage(over));
        }
    }

    /// Keeps since when swipes are refused, for the next start.
    pub(super) async fn keep_refusals(&mut self) {
        match (&self.fault, self.refused_at_end) {
            (None, _) => self.refusals.keep(self.refused_since()).await,
            (Some(_), Some(since)) => self.refusals.keep(Some(since)).await,
            // It ends for another reason, and nobody saw red for it.
            (Some(_), None) => {}
        }
    }

    /// Since when swipes are, or were, refused, as far as the next start must know.
    pub(super) fn refused_since(&self) -> Option<Unrecorded> {
        let refusing = self.mind.refusing_since();
        let swipes = [refusing, self.mind.forgotten_since(), self.notes.refused_since(false)];
        let swipes = swipes.into_iter().flatten().min();
        let waiting = refusing.is_some() || self.notes.turned_away();
        let notes = self.notes.refused_since(true).filter(|_| waiting);
        let since = swipes.into_iter().chain(notes).min()?;
        Some(Unrecorded { since, swipes: swipes.is_some() })
    }

    /// Tells of swipes that were refused and of which nothing was kept, once swipes are taken again.
    pub(super) fn note_forgotten(&mut self, now: Reading) {
        if self.mind.refusing_since().is_none()
            && let Some(since) = self.mind.take_forgotten()
        {
            let refused = self.outages.over(Uuid::new_v4(), Cause::SwipesRefused, now.dates(since), now);
            self.notes.add(Record::Outage(refused));
        }
        if let Some(since) = self.notes.take_forgotten() {
            // Of some of them nobody can say any more what they cost.
            let since = Some(since).filter(|since| *since > NO_TIME_BEFORE);
            let forgotten = self.outages.over(Uuid::new_v4(), Cause::SwipesRefused, since, now);
            self.notes.add(Record::Outage(forgotten));
        }
    }

    /// The time is kept before anything is shown by it: a restart must not know less than the door has seen. A disk that hangs is
    /// not waited for, or the doors would hang with it. Tells whether it is another.
    pub(super) async fn keep_new_time(&mut self) -> bool {
        let tie = self
            .clock
            .tie()
            .map(|(anchor, source)| (source, anchor.at.since_ms(Instant(anchor.since_boot_ms))));
        let same = match (self.kept_tie, tie) {
            (Some((kept, was)), Some((source, is))) => kept == source && (is - was).abs() < NEGLIGIBLE_MS,
            (kept, tie) => kept.is_none() && tie.is_none(),
        };
        if !same {
            self.kept_tie = tie;
            self.clock_kept_within(KEPT_WITHIN).await;
        } else if self.keep_again && !goes_on(&mut self.keeping) {
            // The card did not take it in time; nobody waits for it any more.
            self.keep_again = false;
            self.keep_clock();
        }
        !same
    }

    /// Keeps the time, as it is now or later, and waits so long for it at the most.
    pub(super) async fn clock_kept_within(&mut self, patience: Duration) {
        self.keep_again = true;
        let kept = async {
            if let Some(kept) = &mut self.keeping {
                // What went before may know less.
                let _ = kept.await;
            }
            self.keep_clock();
            comes(&mut self.keeping).await;
        };
        let kept = tokio::time::timeout(patience, kept).await;
        if kept.is_ok() {
            self.keep_again = false;
        } else {
            tracing::warn!(
                "the clock's file is still being written; after a power cut the time is less certain"
            );
        }
    }

    /// Keeps the time beside the doors: a card may take seconds for it.
    fn keep_clock(&mut self) {
        let clock = self.clock.clone();
        self.keeping = Some(aside("clock's file", move || {
            if let Err(error) = clock.keep() {
                tracing::warn!(
                    "the clock's file cannot be written: {error}; after a power cut the time is less certain"
                );
            }
        }));
    }
}
