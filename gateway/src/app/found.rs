//! What the journal holds when the gateway starts, and what is to be journalled about it first.

use std::collections::BTreeSet;

use anyhow::Context;
use rollcall_rules::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Config;
use crate::core::Gateway;
use crate::core::outages::{Cause, Outages};
use crate::core::undated::Undated;
use crate::journal::disk::Folder;
use crate::journal::log::{Limits, Log};
use crate::journal::lost;
use crate::journal::record::Record;

/// A mebibyte.
const MIB: u64 = 1024 * 1024;

/// What the journal held.
pub(super) struct Found {
    pub(super) log: Log<Folder>,
    pub(super) outages: Outages,
    /// What is to be journalled first.
    pub(super) notes: Vec<Record>,
    /// Starts of the machine whose swipes wait for a time.
    pub(super) undated: Undated,
    /// The last instant at which it surely ran, by what it wrote; none where it says nothing of that.
    pub(super) ran_at: Option<Instant>,
}

impl Found {
    /// Opens the journal; the mind remembers what it holds.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(config: &Config, mind: &mut Gateway, clock: &dyn Clock) -> anyhow::Result<Self> {
        let folder =
            Folder::open(config.data.join("journal")).context("the journal's folder cannot be made")?;
        let mut outages = Outages::default();
        let (mut ran_at, mut undated, mut told) = (None, Undated::default(), BTreeSet::new());
        let now = clock.read();
        let limits = Limits::quota(config.journal.max_mib * MIB);
        let (mut log, damages) = Log::open(folder, Uuid::new_v4(), limits, |stored| {
            let record = match Record::read(&stored.body) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(sequence = stored.sequence, "a record cannot be read: {error}");
                    return;
                }
            };
            match &record {
                Record::Swipe(swipe) => {
                    mind.remember(swipe, now);
                }
                Record::Outage(outage) => {
                    if outage.cause == Cause::JournalDamaged.word() {
                        told.insert(outage.id);
                    }
                    outages.remember(outage, now);
                }
                Record::Anchor(_) | Record::Reader(_) => {}
            }
            // The last, and not the latest: a clock that was ahead for a while was put right since.
            ran_at = record.written_between().map(|(earliest, _)| earliest).or(ran_at);
            undated.remember(&record);
        })?;
        clock.at_least(ran_at);
        let mut notes = Vec::new();
        if log.is_blank() {
            // Nobody here knows what was before; the hub does.
            let lost = outages.over(Uuid::new_v4(), Cause::StorageLost, None, clock.read());
            notes.push(Record::Outage(lost));
        }
        for damage in &damages {
            let lost = lost::between(&mut log, damage, clock.read(), &mut outages, &told)?;
            notes.extend(lost.into_iter().map(Record::Outage));
        }
        // Before the clock's file says what holds in this start.
        notes.extend(undated.date(None, clock.earlier_tie()).into_iter().map(Record::Anchor));
        Ok(Self { log, outages, notes, undated, ran_at })
    }
}
