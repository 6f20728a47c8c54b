//! When doors could not record: what readers, restarts and a full journal say of it, as records.
//!
//! Pure. Called by `app`, which journals what comes out. An outage is told when it begins, so that no register
//! becomes final without it, and again when it ends: once the time of its end is known, which after a start without
//! time may be much later. Until then it lasts, so that nobody is absent for it.

use std::collections::BTreeMap;

use rollcall_rules::time::Instant;
use uuid::Uuid;

use super::reading::{BUILT_AFTER, FAR_FUTURE, NO_TIME_BEFORE, Reading};
use crate::journal::record::OutageRecord;

/// Of so many outages nobody could say when they were over; of each reader one more at the most.
const MAX_UNDATED: usize = 1_000;

/// Why a door could not record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The gateway was off, or its program.
    GatewayDown,
    /// Records were damaged.
    JournalDamaged,
    /// There was no room in the journal.
    JournalRefused,
    /// The reader did not answer.
    ReaderUnreachable,
    /// The journal began on an empty disk.
    StorageLost,
    /// Swipes were refused, and whose they were is not known any more.
    SwipesRefused,
}

impl Cause {
    /// The hub's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::GatewayDown => "GATEWAY_DOWN",
            Self::JournalDamaged => "JOURNAL_DAMAGED",
            Self::JournalRefused => "JOURNAL_REFUSED",
            Self::ReaderUnreachable => "READER_UNREACHABLE",
            Self::StorageLost => "STORAGE_LOST",
            Self::SwipesRefused => "SWIPES_REFUSED",
        }
    }
}

/// One outage, over and done with.
#[must_use]
pub fn over(id: Uuid, cause: Cause, from: Option<Instant>, until: Instant) -> OutageRecord {
    let (from, until) = (from.map(|at| at.0), Some(until.0));
    OutageRecord { id, reader: None, cause: cause.word().to_owned(), from, until }
}

/// The outages that last, and those that are over at a time that is not known yet.
#[derive(Debug, Default)]
pub struct Outages {
    readers: BTreeMap<Uuid, OutageRecord>,
    /// The gateway does not know its readers.
    unknowing: Option<OutageRecord>,
    /// Over, and at which time since the machine's start at the latest.
    undated: Vec<(OutageRecord, i64)>,
    /// Begun while nobody knew the time: at which time since the machine's start, by the outage's id.
    begun: BTreeMap<Uuid, i64>,
    /// When the gateway was seen to run again after it had been off, by the instant from which it said it was.
    back: BTreeMap<i64, i64>,
}

/// The end of an outage that was over at a time since the start; none while nobody can say.
fn end(record: &OutageRecord, since_boot_ms: i64, now: Reading) -> Option<i64> {
    let passed = now.since_boot_ms - since_boot_ms;
    let latest = now.when.latest;
    (latest < FAR_FUTURE).then(|| latest.plus_ms(-passed).0.max(record.from.unwrap_or(i64::MIN)))
}

impl Outages {
    /// A reader last answered so many milliseconds before `now`: what to journal, when that is news. Where the time is
    /// not known it was after the last time that was, and where none ever was, the hub takes it from what was handed
    /// over last; until [`Outages::dated`] tells better.
    pub fn down(
        &mut self,
        reader: Uuid,
        cause: Cause,
        ago_ms: i64,
        now: Reading,
        id: Uuid,
    ) -> Option<OutageRecord> {
        let known = now.when.latest < FAR_FUTURE;
        let at = if known { now.at } else { now.when.earliest };
        // A gateway that never knew the time would put it before sessions that were long held.
        let ever = at.plus_ms(-now.since_boot_ms) > BUILT_AFTER;
        let from = (known || ever).then(|| at.plus_ms(-ago_ms));
        let began = self.begin(reader, cause, from, id)?;
        if !known {
            self.begun.insert(id, now.since_boot_ms - ago_ms);
        }
        Some(began)
    }

    fn begin(&mut self, reader: Uuid, cause: Cause, from: Option<Instant>, id: Uuid) -> Option<OutageRecord> {
        if self.readers.contains_key(&reader) {
            return None;
        }
        if self.undated.len() >= MAX_UNDATED
            && let Some(place) = self.undated.iter().rposition(|(it, _)| it.reader == Some(reader))
        {
            // A loose line and no time for days: rather one outage that lasts than ever more of them.
            let (lasts, _) = self.undated.remove(place);
            self.readers.insert(reader, lasts);
            return None;
        }
        let cause = cause.word().to_owned();
        let record = OutageRecord { id, reader: Some(reader), cause, from: from.map(|at| at.0), until: None };
        self.readers.insert(reader, record.clone());
        Some(record)
    }

    /// The gateway starts and was last known to run at `alive`: none of its readers was served since, until it answers.
    /// What to journal; nothing where it never ran before. An outage in which it ended does not go on: of one that was still
    /// going on when a card's image was made, nobody here could say later how it had ended.
    pub fn started(
        &mut self,
        readers: impl IntoIterator<Item = Uuid>,
        alive: Option<Instant>,
        now: Reading,
        id: impl Fn() -> Uuid,
    ) -> Vec<OutageRecord> {
        let Some(alive) = alive else { return Vec::new() };
        let from = self.ran_on(alive, now);
        let mut told = Vec::new();
        for reader in readers {
            let (mut cause, mut since) = (Cause::GatewayDown, from);
            if let Some(record) = self.readers.remove(&reader) {
                // Also while the gateway ran in between it did not answer.
                cause = Cause::ReaderUnreachable;
                since = record.from.map_or(from, |began| from.max(Instant(began)));
                told.push(OutageRecord { until: Some(since.0), ..record });
            }
            told.extend(self.begin(reader, cause, Some(since), id()));
        }
        told
    }

    /// The gateway starts, was last known to run at `alive`, and does not know its readers any more: none is served until the
    /// hub has named them. What to journal; nothing where it never ran before.
    pub fn unknowing(&mut self, alive: Option<Instant>, now: Reading, id: Uuid) -> Option<OutageRecord> {
        // One that never knew the time ran at none that counts.
        let from =
            Some(self.ran_on(alive?, now)).filter(|alive| *alive > NO_TIME_BEFORE).map(|alive| alive.0);
        let cause = Cause::GatewayDown.word().to_owned();
        self.unknowing = Some(OutageRecord { id, reader: None, cause, from, until: None });
        self.unknowing.clone()
    }

    /// The last instant at which the gateway is known to have run, where what it kept says `alive`: after a start that said the same
    /// and could not keep another, a reader may have answered. No later than now: one that knows no time believes no end that a clock
    /// told that may have been ahead.
    fn ran_on(&self, alive: Instant, now: Reading) -> Instant {
        let later = |at: &Instant| {
            let until = self.back.get(&at.0).copied()?;
            (at.0 < until && until <= now.at.0).then_some(Instant(until))
        };
        std::iter::successors(later(&alive), later).last().unwrap_or(alive.min(now.at))
    }

    /// The hub has named the readers: what to journal, where the gateway did not know them.
    pub fn named(&mut self, now: Reading) -> Option<OutageRecord> {
        let record = self.unknowing.take()?;
        Some(self.close(record, now))
    }

    /// The hub names a reader to a gateway that last heard of it at `heard`: the reader may have been at its door since, and
    /// was not served. What to journal.
    pub fn unheard(&mut self, reader: Uuid, heard: Option<Instant>, id: Uuid) -> Option<OutageRecord> {
        self.begin(reader, Cause::GatewayDown, heard, id)
    }

    /// A reader answers: what to journal, when it did not before and the time is known; else [`Outages::dated`] tells.
    pub fn up(&mut self, reader: Uuid, now: Reading) -> Option<OutageRecord> {
        let record = self.readers.remove(&reader)?;
        let ended = self.close(record, now);
        ended.until.is_some().then_some(ended)
    }

    /// An outage of the whole gateway is over: what to journal at once; without its end where the time is not known.
    pub fn over(&mut self, id: Uuid, cause: Cause, from: Option<Instant>, now: Reading) -> OutageRecord {
        let from = from.map(|at| at.0);
        self.close(OutageRecord { id, reader: None, cause: cause.word().to_owned(), from, until: None }, now)
    }

    /// When an outage began, as far as that can be said now.
    fn begin_known(&mut self, record: &mut OutageRecord, now: Reading) -> bool {
        if now.when.latest >= FAR_FUTURE {
            return false;
        }
        let Some(since_boot_ms) = self.begun.remove(&record.id) else { return false };
        record.from = Some(now.when.earliest.plus_ms(since_boot_ms - now.since_boot_ms).0);
        true
    }

    fn close(&mut self, mut record: OutageRecord, now: Reading) -> OutageRecord {
        self.begin_known(&mut record, now);
        let until = end(&record, now.since_boot_ms, now);
        if until.is_none() {
            self.undated.push((record.clone(), now.since_boot_ms));
        }
        OutageRecord { until, ..record }
    }

    /// The outages whose beginning or end can be said now that the time is known, to be journalled.
    pub fn dated(&mut self, now: Reading) -> Vec<OutageRecord> {
        if now.when.latest >= FAR_FUTURE || (self.undated.is_empty() && self.begun.is_empty()) {
            return Vec::new();
        }
        let mut dated = Vec::new();
        for (mut record, since_boot_ms) in std::mem::take(&mut self.undated) {
            self.begin_known(&mut record, now);
            let until = end(&record, since_boot_ms, now);
            dated.push(OutageRecord { until, ..record });
        }
        let mut readers = std::mem::take(&mut self.readers);
        for record in readers.values_mut() {
            if self.begin_known(record, now) {
                dated.push(record.clone());
            }
        }
        self.readers = readers;
        self.begun.clear();
        dated
    }

    /// Takes an outage from the journal at the start, which is `now`: a reader's that lasted goes on; any other was over
    /// by now.
    pub fn remember(&mut self, record: &OutageRecord, now: Reading) {
        self.undated.retain(|(open, _)| open.id != record.id);
        if let (Some(from), Some(until)) = (record.from, record.until)
            && record.cause == Cause::GatewayDown.word()
        {
            self.back.entry(from).and_modify(|back| *back = until.max(*back)).or_insert(until);
        }
        let Some(reader) = record.reader else {
            if record.until.is_none() {
                self.undated.push((record.clone(), now.since_boot_ms));
            }
            return;
        };
        if record.until.is_none() {
            // It had answered in between, at a time that nobody could say.
            let older = self.readers.insert(reader, record.clone()).filter(|older| older.id != record.id);
            self.undated.extend(older.map(|older| (older, now.since_boot_ms)));
        } else if self.readers.get(&reader).is_some_and(|open| open.id == record.id) {
            self.readers.remove(&reader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Trust;
    use super::*;
    use rollcall_rules::time::Uncertain;

    fn at(ms: i64) -> Reading {
        Reading::exactly(ms, Trust::Synced, ms)
    }

    /// A start without time: only that it is later than `floor`.
    fn dark(floor: i64, since_boot_ms: i64) -> Reading {
        let earliest = Instant(floor);
        let when = Uncertain { earliest, latest: FAR_FUTURE };
        Reading { at: earliest, when, trust: Trust::Untrusted, since_boot_ms }
    }

    #[test]
    fn an_outage_that_ends_while_nobody_knows_the_time_lasts_until_its_end_can_be_dated() {
        let (mut outages, reader) = (Outages::default(), Uuid::from_u128(1));
        // The power went at 1,000,000; forty minutes later the machine starts without time, and a reader answers.
        outages.begin(reader, Cause::GatewayDown, Some(Instant(1_000_000)), Uuid::from_u128(9));
        assert_eq!(outages.up(reader, dark(1_005_000, 5_000)), None);
        let lost = outages.over(Uuid::from_u128(8), Cause::StorageLost, None, dark(1_006_000, 6_000));
        assert_eq!(lost.until, None);
        assert_eq!(outages.dated(dark(1_010_000, 10_000)), []);
        let known = Reading::exactly(3_465_000, Trust::Holdover, 65_000);
        let ends: Vec<_> = outages.dated(known).into_iter().map(|it| (it.id.as_u128(), it.until)).collect();
        assert_eq!(ends, [(9, Some(3_405_000)), (8, Some(3_406_000))]);
        assert_eq!(outages.dated(known), []);
        // A gateway that is killed before that still knows of it at its next start.
        let mut restarted = Outages::default();
        restarted.remember(&lost, dark(1_020_000, 20_000));
        let ends: Vec<_> = restarted.dated(known).into_iter().map(|it| (it.id.as_u128(), it.until)).collect();
        assert_eq!(ends, [(8, Some(3_420_000))]);
    }

    #[test]
    fn a_start_that_could_not_keep_when_it_ran_is_known_by_the_outage_that_it_ended() {
        let reader = Uuid::from_u128(1);
        let record = |id: u128, cause: Cause, from: i64, until: Option<i64>| OutageRecord {
            id: Uuid::from_u128(id),
            reader: Some(reader),
            cause: cause.word().to_owned(),
            from: Some(from),
            until,
        };
        let down = Cause::GatewayDown;
        let tells = |journal: &[OutageRecord], now: i64| {
            let mut outages = Outages::default();
            journal.iter().for_each(|record| outages.remember(record, at(now)));
            let told = outages.started([reader], Some(Instant(1_000)), at(now), || Uuid::from_u128(99));
            told.last().and_then(|last| last.from)
        };
        assert_eq!(tells(&[], 9_000), Some(1_000));
        let first = [record(1, down, 1_000, None), record(1, down, 1_000, Some(5_000))];
        assert_eq!(tells(&first, 9_000), Some(5_000));
        let second = [&first[..], &[record(2, down, 5_000, Some(8_000))]].concat();
        assert_eq!(tells(&second, 9_000), Some(8_000), "and again");
        let mut dark_start = Outages::default();
        second.iter().for_each(|record| dark_start.remember(record, dark(1_000, 500)));
        let told =
            dark_start.started([reader], Some(Instant(1_000)), dark(1_000, 500), || Uuid::from_u128(99));
        assert_eq!(told.last().and_then(|last| last.from), Some(1_000), "but by one that knows no time");
        // One by a clock that was ahead, one that did not end, another's time, and a reader that was alone in it.
        assert_eq!(tells(&second, 7_000), Some(5_000));
        assert_eq!(tells(&first[..1], 9_000), Some(1_000));
        assert_eq!(tells(&[record(1, down, 999, Some(5_000))], 9_000), Some(1_000));
        assert_eq!(tells(&[record(1, Cause::ReaderUnreachable, 1_000, Some(5_000))], 9_000), Some(1_000));
    }

    #[test]
    fn an_outage_ends_when_the_gateway_does_and_another_begins_until_the_reader_answers() {
        let (reader, number) = (Uuid::from_u128(1), std::cell::Cell::new(7));
        let id = || {
            number.set(number.get() + 1);
            Uuid::from_u128(number.get())
        };
        let mut outages = Outages::default();
        let began = outages.down(reader, Cause::ReaderUnreachable, 0, at(1_000), Uuid::from_u128(7));
        let mut restarted = Outages::default();
        restarted.remember(&began.unwrap_or_else(|| panic!("it is news")), at(90_000));
        let seen = |told: Vec<OutageRecord>| -> Vec<_> {
            told.into_iter().map(|it| (it.id.as_u128(), it.cause, it.from, it.until)).collect()
        };
        let (out, down) = ("READER_UNREACHABLE".to_owned(), "GATEWAY_DOWN".to_owned());
        let fresh = Outages::default().started([reader], Some(Instant(60_000)), at(90_000), Uuid::nil);
        assert_eq!(seen(fresh), [(0, down.clone(), Some(60_000), None)]);
        // One that went on through the gateway's run is not of its being off, or the hub would take it to have begun when it was off.
        let mut silent = Outages::default();
        silent.started([reader], Some(Instant(60_000)), at(90_000), Uuid::nil);
        let told = silent.started([reader], Some(Instant(60_000)), at(300_000), || Uuid::from_u128(1));
        assert_eq!(seen(told), [(0, down, Some(60_000), Some(60_000)), (1, out.clone(), Some(60_000), None)]);
        let told = restarted.started([reader], Some(Instant(60_000)), at(90_000), id);
        assert_eq!(
            seen(told),
            [(7, out.clone(), Some(1_000), Some(60_000)), (8, out.clone(), Some(60_000), None)]
        );
        // Also where it ended before it wrote again that it ran.
        assert_eq!(
            seen(restarted.started([reader], Some(Instant(60_000)), at(95_000), id)),
            [(8, out.clone(), Some(60_000), Some(60_000)), (9, out.clone(), Some(60_000), None)]
        );
        assert_eq!(
            seen(restarted.up(reader, at(99_000)).into_iter().collect()),
            [(9, out, Some(60_000), Some(99_000))]
        );
    }

    #[test]
    fn a_gateway_that_never_knew_the_time_gives_none_for_since_when_nobody_was_served() {
        let known = Reading::exactly(NO_TIME_BEFORE.0 + 90_000_000, Trust::Synced, 60_000);
        let alive = Instant(known.at.0 - 3_600_000);
        let from =
            |alive, now| Outages::default().unknowing(Some(alive), now, Uuid::from_u128(1)).map(|it| it.from);
        assert_eq!(from(alive, known), Some(Some(alive.0)));
        let never = BUILT_AFTER.plus_ms(5_000);
        assert_eq!(from(never, known), Some(None));
        // A card that was held to a reader before the time was known.
        assert_eq!(known.dates(never), None);
        assert_eq!(known.dates(known.at.plus_ms(-10_000)), Some(known.at.plus_ms(-10_000)));
        assert_eq!(dark(BUILT_AFTER.0 + 60_000, 60_000).dates(never), None);
        let floor = NO_TIME_BEFORE.0 + 90_000_000;
        assert_eq!(dark(floor + 60_000, 60_000).dates(Instant(floor + 5_000)), Some(Instant(floor + 5_000)));
    }

    #[test]
    fn an_outage_that_begins_while_nobody_knows_the_time_is_dated_when_somebody_does() {
        let (mut outages, ended, lasts) = (Outages::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        for (reader, id) in [(ended, 8), (lasts, 9)] {
            let began =
                outages.down(reader, Cause::ReaderUnreachable, 8_000, dark(0, 20_000), Uuid::from_u128(id));
            assert_eq!(began.map(|it| (it.from, it.until)), Some((None, None)));
        }
        assert_eq!(outages.up(ended, dark(0, 40_000)), None);
        let known = Reading::exactly(3_060_000, Trust::Synced, 60_000);
        let told: Vec<_> =
            outages.dated(known).into_iter().map(|it| (it.id.as_u128(), it.from, it.until)).collect();
        assert_eq!(told, [(8, Some(3_012_000), Some(3_040_000)), (9, Some(3_012_000), None)]);
        assert_eq!(outages.dated(known), []);
        let over = outages.up(lasts, Reading::exactly(3_070_000, Trust::Synced, 70_000));
        assert_eq!(over.map(|it| (it.from, it.until)), Some((Some(3_012_000), Some(3_070_000))));
    }

    #[test]
    fn a_line_that_comes_and_goes_while_nobody_knows_the_time_fills_neither_memory_nor_journal() {
        let (mut outages, loose, other) = (Outages::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        let mut told = 0;
        for flap in 0..3_000 {
            let (down, up) = (dark(0, 10_000 + flap * 20), dark(0, 10_010 + flap * 20));
            let id = Uuid::from_u128(100 + u128::from(flap.unsigned_abs()));
            told += usize::from(outages.down(loose, Cause::ReaderUnreachable, 0, down, id).is_some());
            assert_eq!(outages.up(loose, up), None);
        }
        assert_eq!((told, outages.undated.len()), (MAX_UNDATED, MAX_UNDATED));
        let began = outages.down(other, Cause::ReaderUnreachable, 0, dark(0, 80_000), Uuid::from_u128(5_000));
        assert!(began.is_some(), "another reader's outage is told all the same");
        let dated = outages.dated(Reading::exactly(NO_TIME_BEFORE.0 + 100_000, Trust::Synced, 100_000));
        // The last one lasted until the line was there for the last time.
        let last = dated.iter().filter(|it| it.reader == Some(loose)).filter_map(|it| it.until).max();
        assert_eq!(last, Some(NO_TIME_BEFORE.0 + 10_010 + 2_999 * 20));
        assert!(dated.iter().all(|it| it.from.is_some()));
    }

    #[test]
    fn of_two_open_outages_of_a_reader_the_older_one_is_over() {
        let reader = Uuid::from_u128(1);
        let open = |id: u128, from: i64| OutageRecord {
            id: Uuid::from_u128(id),
            reader: Some(reader),
            cause: Cause::ReaderUnreachable.word().to_owned(),
            from: Some(from),
            until: None,
        };
        let mut outages = Outages::default();
        outages.remember(&open(8, 10), dark(20, 20));
        outages.remember(&open(9, 15), dark(20, 20));
        let ends = |told: Vec<OutageRecord>| told.into_iter().map(|it| it.id.as_u128()).collect::<Vec<_>>();
        assert_eq!(ends(outages.dated(at(50))), [8]);
        assert_eq!(ends(outages.up(reader, at(60)).into_iter().collect()), [9]);
    }

    #[test]
    fn an_outage_whose_end_was_told_after_the_next_had_begun_is_over_at_the_next_start() {
        let reader = Uuid::from_u128(1);
        let told = |id: u128, from: i64, until: Option<i64>| OutageRecord {
            id: Uuid::from_u128(id),
            reader: Some(reader),
            cause: Cause::ReaderUnreachable.word().to_owned(),
            from: Some(from),
            until,
        };
        let mut outages = Outages::default();
        for record in [told(8, 10, None), told(9, 15, None), told(8, 10, Some(12))] {
            outages.remember(&record, at(20));
        }
        assert_eq!(outages.dated(at(50)), []);
        assert_eq!(outages.up(reader, at(60)), Some(told(9, 15, Some(60))));
    }

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_ends_and_once_each() {
        let (mut outages, reader) = (Outages::default(), Uuid::from_u128(1));
        assert_eq!(outages.up(reader, at(5)), None);
        let began = outages.down(reader, Cause::ReaderUnreachable, 3, at(13), Uuid::from_u128(9));
        let began = began.unwrap_or_else(|| panic!("no outage"));
        assert_eq!((began.from, began.until), (Some(10), None));
        assert_eq!(outages.down(reader, Cause::GatewayDown, 0, at(20), Uuid::from_u128(8)), None);
        let mut restarted = Outages::default();
        restarted.remember(&began, at(15));
        for outages in [&mut outages, &mut restarted] {
            let ended = outages.up(reader, at(30)).unwrap_or_else(|| panic!("no end"));
            assert_eq!((ended.id, ended.from, ended.until), (began.id, Some(10), Some(30)));
            assert_eq!(outages.up(reader, at(40)), None);
        }
    }
}
