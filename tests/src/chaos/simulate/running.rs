//! A gateway's program while it runs: its mind over its journal, what waits for the disk, and what it shows.

use std::collections::BTreeMap;

use rollcall_gateway::core::outages::{Cause, Outages};
use rollcall_gateway::core::reading::{NO_TIME_BEFORE, Reading};
use rollcall_gateway::core::time::{Source, Timekeeper};
use rollcall_gateway::core::undated::Undated;
use rollcall_gateway::core::{Answer, Gateway, Output};
use rollcall_gateway::journal::log::Log;
use rollcall_gateway::journal::record::{OutageRecord, Record};
use rollcall_gateway::uplink::handover::HandOver;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::DOORS;
use super::answer::Shown;
use super::disk::SimDisk;
use super::refusing::Untold;

/// A program that runs.
pub(super) struct Running {
    pub(super) log: Log<SimDisk>,
    pub(super) mind: Gateway,
    pub(super) keeper: Timekeeper,
    pub(super) handover: HandOver,
    /// What waits for the disk: ticket, body, and the swipe of it.
    pub(super) queue: Vec<(u64, Vec<u8>, Option<Uuid>)>,
    pub(super) next_note: u64,
    pub(super) outages: Outages,
    pub(super) mute: bool,
    pub(super) undated: Undated,
    /// Source and start of the time that was kept last.
    pub(super) kept_tie: Option<(Source, i64)>,
    pub(super) last_durable: u64,
    pub(super) untold: Untold,
    /// The swipes that wait for their answer, by ticket.
    pub(super) waiting: BTreeMap<u64, Uuid>,
    /// MQTT swipes that were refused, and are written now that there is room: by ticket.
    pub(super) written_again: BTreeMap<u64, Uuid>,
    pub(super) answered: Vec<Shown>,
}

impl Running {
    pub(super) fn note(&mut self, record: &Record) {
        self.next_note += 1;
        self.untold.asked(self.next_note, record);
        self.queue.push((self.next_note, record.body().unwrap_or_default(), None));
    }

    pub(super) fn tell(&mut self, outages: impl IntoIterator<Item = OutageRecord>) {
        if self.mute {
            return;
        }
        for outage in outages {
            tracing::info!(?outage, "told");
            self.note(&Record::Outage(outage));
        }
    }

    pub(super) fn note_room(&mut self, refusing: Option<Instant>, now: Reading) {
        if let (Some(since), None) = (refusing, self.mind.refusing_since()) {
            let since = Some(since).filter(|since| *since > NO_TIME_BEFORE);
            let over = self.outages.over(Uuid::new_v4(), Cause::JournalRefused, since, now);
            self.tell(Some(over));
        }
    }

    /// What the mind has to show, and to write again.
    pub(super) fn answers(&mut self, places: &BTreeMap<Uuid, (Uuid, u64)>) -> Vec<Shown> {
        let mut shown = Vec::new();
        // Answers come in the order of their tickets.
        while let Some(output) = self.mind.poll_output() {
            match output {
                Output::Answer(Answer { reader, flash, tag, kept }) => {
                    // Who was refused has no flash any more, but an MQTT reader that asks.
                    let again = flash.is_none() && kept.is_some();
                    let waiting = if again { &mut self.written_again } else { &mut self.waiting };
                    if let Some((_, swipe)) = waiting.pop_first() {
                        let code = DOORS.iter().map(|door| door.reader).find(|code| *code == reader);
                        let kept = kept.and(code).zip(tag).map(|(code, (boot, seq))| (code, boot, seq));
                        // What was refused is no swipe that the light was decided for.
                        let place = places.get(&swipe).copied().filter(|_| !again);
                        shown.push(Shown { swipe, place, flash, kept });
                    }
                }
                Output::Append { ticket, record } => {
                    let swipe = Some(record.id);
                    if record.tag.is_some() {
                        self.written_again.insert(ticket, record.id);
                    }
                    let body = Record::Swipe(record).body().unwrap_or_default();
                    self.queue.push((ticket, body, swipe));
                }
                Output::Rest { .. } => {}
            }
        }
        shown
    }
}
