//! What is looked after beside the doors: the time that must survive a restart, and the journal's room and health.

use rollcall_rules::anchor::NEGLIGIBLE_MS;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::hands::Hands;
use super::refusals::Unrecorded;
use crate::core::Input;
use crate::core::outages::Cause;
use crate::core::reading::{NO_TIME_BEFORE, Reading};
use crate::journal::log::Damage;
use crate::journal::lost::Hole;
use crate::journal::record::Record;

impl Hands {
    /// What is looked after once a minute: the clock's file, the journal's fill, damage found while it ran.
    pub(super) async fn look_after(&mut self) {
        self.keep_clock();
        let now = self.clock.read();
        // Swipes of an uncertain time are dated by the first tie that comes after them.
        let tie = self.clock.tie().map(|(anchor, source)| (self.clock.boot_id(), anchor, source));
        for dated in self.undated.date(tie, self.clock.earlier_tie()) {
            self.notes.add(Record::Anchor(dated));
        }
        self.note_forgotten(now);
        self.journal.keep_end().await;
        let Some(standing) = self.journal.standing().await else { return };
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

    /// The time is kept before anything is shown by it: a restart must not know less than the door has seen. Tells whether it is
    /// another.
    pub(super) fn keep_new_time(&mut self) -> bool {
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
            self.keep_clock();
        }
        !same
    }

    pub(super) fn keep_clock(&self) {
        if let Err(error) = self.clock.keep() {
            tracing::warn!(
                "the clock's file cannot be written: {error}; after a power cut the time is less certain"
            );
        }
    }
}
