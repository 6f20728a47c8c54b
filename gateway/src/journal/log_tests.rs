//! What the log keeps, on a real folder. Faults of the disk itself are simulated in `tests/`.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::journal::disk::Folder;
use crate::journal::format::RECORD_HEAD_BYTES;
use rollcall_rules::time::Instant;

const QUOTA: u64 = 64 * SEGMENT_BYTES;

fn open(path: &std::path::Path) -> (Log<Folder>, Vec<Damage>, Vec<Stored>) {
    let mut found = Vec::new();
    let folder = Folder::open(path.to_path_buf()).unwrap();
    let (log, damages) =
        Log::open(folder, Uuid::new_v4(), Limits::quota(QUOTA), |stored| found.push(stored.clone())).unwrap();
    (log, damages, found)
}

fn bodies(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..count).map(|index| vec![u8::try_from(index % 250).unwrap() + 1; bytes]).collect()
}

fn file(folder: &std::path::Path, first: u64) -> std::path::PathBuf {
    folder.join(name(first))
}

/// Changes a segment's bytes behind the log's back.
fn harm(path: &std::path::Path, harm: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    harm(&mut bytes);
    std::fs::write(path, &bytes).unwrap();
}

const RECORD: usize = RECORD_HEAD_BYTES + 40;
const NOON: i64 = 1_800_000_000_000;

#[test]
fn what_was_appended_is_there_after_a_restart_with_the_same_chain_and_id() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    assert_eq!(log.append(&bodies(3, 40)).unwrap(), 1);
    assert_eq!(log.append(&bodies(2, 40)).unwrap(), 4);
    let before = log.read(1, 100).unwrap();
    let (id, end) = (log.journal(), log.chain());
    drop(log);
    let (mut log, damages, found) = open(folder.path());
    assert_eq!((damages, log.next_sequence(), log.journal(), log.chain()), (vec![], 6, id, end));
    assert_eq!(found, before);
    assert_eq!(log.read(4, 1).unwrap(), before[3..4]);
    assert_eq!(log.read(5, 10).unwrap(), before[4..]);
    assert_eq!(log.read(2, 2).unwrap(), before[1..3]);
    assert_eq!(log.read(6, 10).unwrap(), []);
}

#[test]
fn a_full_segment_is_followed_by_another_and_both_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    for _ in 0..3 {
        log.append(&bodies(40, 60_000)).unwrap();
    }
    assert!(log.segments.len() >= 2);
    assert_eq!(log.read(1, 1_000).unwrap().len(), 120);
    drop(log);
    let (mut log, damages, found) = open(folder.path());
    assert_eq!((damages, found.len()), (vec![], 120));
    assert_eq!(found, log.read(1, 1_000).unwrap());
    let in_steps: Vec<Stored> = (0..12).flat_map(|step| log.read(step * 10 + 1, 10).unwrap()).collect();
    assert_eq!(in_steps, found);
    let segments = log.segments.len();
    assert_eq!(log.drop_before(121).unwrap(), segments - 1);
    assert!(!log.read(1, 1_000).unwrap().is_empty());
}

#[test]
fn where_a_journal_ended_says_nothing_of_the_one_that_begins_when_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    log.append(&bodies(9, 40)).unwrap();
    log.keep_end(true).unwrap();
    drop(log);
    std::fs::remove_file(file(folder.path(), 1)).unwrap();
    let (mut log, damages, _) = open(folder.path());
    assert!(log.is_blank() && damages.is_empty());
    log.append(&bodies(1, 40)).unwrap();
    log.keep_end(true).unwrap();
    drop(log);
    let (log, damages, found) = open(folder.path());
    assert_eq!((damages, found.len(), log.next_sequence()), (vec![], 1, 2));
}

#[test]
fn a_new_disk_is_one_until_its_first_record_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    assert!(log.is_blank());
    log.append(&bodies(1, 40)).unwrap();
    assert!(!log.is_blank());
    drop(log);
    // The power went behind the header, before or within the first record.
    for cut in [HEADER_BYTES, HEADER_BYTES + 60] {
        harm(&file(folder.path(), 1), |bytes| {
            let end = bytes.len() - HEADER_BYTES;
            bytes[cut..end].fill(0);
        });
        std::fs::remove_file(folder.path().join("end")).ok();
        let (log, ..) = open(folder.path());
        assert!(log.is_blank(), "{cut}");
    }
}

#[test]
fn newest_records_that_are_gone_though_they_were_durable_are_no_torn_tail() {
    let harms: [(&str, fn(&mut Vec<u8>)); 3] = [
        ("a bit flips", |bytes| bytes[HEADER_BYTES + 4 * RECORD + 60] ^= 1),
        ("it reads as zeros", |bytes| bytes[HEADER_BYTES + 4 * RECORD..][..RECORD].fill(0)),
        ("the whole segment does", |bytes| bytes.fill(0)),
    ];
    for (name, harmed) in harms {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, ..) = open(folder.path());
        let id = log.journal();
        (0..5).for_each(|_| assert!(log.append(&bodies(1, 40)).is_ok()));
        log.keep_end(true).unwrap();
        drop(log);
        harm(&file(folder.path(), 1), harmed);
        let (mut log, damages, found) = open(folder.path());
        let [damage] = &damages[..] else { panic!("{name}: {damages:?}") };
        let lost = found.len() as u64 + 1..6;
        let [missing] = &damage.missing[..] else { panic!("{name}: {damage:?}") };
        assert_eq!((missing, damage.torn_tail), (&lost, false), "{name}");
        assert_ne!(log.journal(), id, "{name}");
        assert!(log.append(&bodies(1, 40)).unwrap() > 1_000_000, "{name}");
        log.keep_end(true).unwrap();
        drop(log);
        let (_, again, found_again) = open(folder.path());
        assert_eq!(found_again.len(), found.len() + 1, "{name}");
        assert!(
            again.iter().all(|damage| damage.known && damage.missing == [lost.clone()]),
            "{name}: {again:?}"
        );
    }
}

#[test]
fn a_newest_segment_whose_file_is_gone_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    (0..3).for_each(|_| assert!(log.append(&bodies(40, 60_000)).is_ok()));
    log.keep_end(true).unwrap();
    let newest = log.segments().last().unwrap().clone();
    drop(log);
    std::fs::remove_file(folder.path().join(&newest.name)).unwrap();
    let (_, damages, found) = open(folder.path());
    assert_eq!(found.len() as u64, newest.first - 1);
    let [damage] = &damages[..] else { panic!("{damages:?}") };
    let [missing] = &damage.missing[..] else { panic!("{damage:?}") };
    assert_eq!((missing.clone(), damage.torn_tail), (newest.first..121, false));
}

#[test]
fn what_came_after_the_end_was_kept_is_no_damage_and_may_be_torn() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    log.append(&bodies(2, 40)).unwrap();
    log.keep_end(true).unwrap();
    log.append(&bodies(1, 40)).unwrap();
    drop(log);
    let (log, damages, found) = open(folder.path());
    assert_eq!((damages, found.len()), (vec![], 3));
    drop(log);
    harm(&file(folder.path(), 1), |bytes| bytes[HEADER_BYTES + 2 * RECORD + 60] ^= 1);
    let (_, damages, _) = open(folder.path());
    assert!(damages.iter().all(|damage| damage.torn_tail && damage.missing.is_empty()), "{damages:?}");
    assert_eq!(damages.len(), 1);
}

#[test]
fn a_torn_tail_is_reported_and_what_was_whole_stays_and_the_log_goes_on_under_another_id() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    log.append(&bodies(3, 40)).unwrap();
    let (id, whole) = (log.journal(), log.read(1, 10).unwrap());
    drop(log);
    let torn = HEADER_BYTES + 3 * RECORD;
    harm(&file(folder.path(), 1), |bytes| bytes[torn..torn + 30].fill(7));
    let (mut log, damages, found) = open(folder.path());
    assert_eq!(found.len(), 3);
    assert!(matches!(&damages[..], [Damage { open_end: Some(4), torn_tail: true, .. }]), "{damages:?}");
    assert_ne!(log.journal(), id);
    // What lies before each is known as in a whole segment, wherever one begins to read: what is handed over is signed.
    for from in 1..=3 {
        assert_eq!(log.read(from, 10).unwrap(), whole[usize::try_from(from).unwrap() - 1..], "from {from}");
    }
    assert!(log.append(&bodies(1, 10)).unwrap() > 4);
    drop(log);
    let (_, damages, found) = open(folder.path());
    assert_eq!((damages.iter().all(|it| it.known), found.len()), (true, 4));
}

#[test]
fn damage_before_whole_records_is_reported_by_number_and_the_whole_ones_behind_it_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    for _ in 0..5 {
        log.append(&bodies(1, 40)).unwrap();
    }
    drop(log);
    harm(&file(folder.path(), 1), |bytes| bytes[HEADER_BYTES + RECORD + 70] ^= 1);
    let (mut log, damages, found) = open(folder.path());
    assert_eq!(found.iter().map(|it| it.sequence).collect::<Vec<_>>(), [1, 3, 4, 5]);
    let [damage] = &damages[..] else { panic!("{damages:?}") };
    assert_eq!((&damage.missing[..], damage.torn_tail), (&[Range { start: 2, end: 3 }][..], false));
    log.append(&bodies(1, 10)).unwrap();
    let read = log.read(1, 100).unwrap();
    assert_eq!(
        read.iter().map(|it| it.before.is_some()).collect::<Vec<_>>(),
        [true, false, true, true, true]
    );
    assert!(read[2].before == Some(read[1].chain) && log.read(3, 1).unwrap()[0].before.is_none());
    drop(log);
    let (_, damages, found) = open(folder.path());
    assert_eq!(
        (damages.iter().all(|it| it.known), found.len()),
        (true, 5),
        "known damage is no news, and nothing more is lost"
    );
}

#[test]
fn more_that_rots_in_a_damaged_segment_is_reported_and_no_whole_record_is_passed_over_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    for _ in 0..3 {
        log.append(&bodies(40, 60_000)).unwrap();
    }
    drop(log);
    harm(&file(folder.path(), 1), |bytes| bytes[HEADER_BYTES + 70] ^= 1);
    let (mut log, damages, _) = open(folder.path());
    let damaged = folder.path().join(&damages[0].segment);
    harm(&damaged, |bytes| bytes[HEADER_BYTES + 3 * 60_000] ^= 1);
    for limit in [1, 7, 500] {
        let (mut from, mut read) = (1, Vec::new());
        loop {
            let page = log.read(from, limit).unwrap();
            let Some(last) = page.last() else { break };
            from = last.sequence + 1;
            read.extend(page.iter().map(|it| it.sequence));
        }
        let whole: Vec<u64> = (1..=120).filter(|it| ![1, 3].contains(it)).collect();
        assert_eq!(read, whole, "{limit} at a time");
    }
    let missing: Vec<u64> = log.take_news().into_iter().flat_map(|it| it.missing).flatten().collect();
    assert_eq!(missing, [3]);
}

#[test]
fn a_segment_whose_headers_are_both_gone_is_read_by_its_neighbours_id() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    for _ in 0..3 {
        log.append(&bodies(40, 60_000)).unwrap();
    }
    drop(log);
    let newest = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path());
    let newest = newest.filter(|path| path.extension().is_some_and(|it| it == "log")).max().unwrap();
    harm(&newest, |bytes| {
        bytes[..HEADER_BYTES].fill(0xff);
        let copy = bytes.len() - HEADER_BYTES;
        bytes[copy..].fill(0xff);
    });
    let (_, damages, found) = open(folder.path());
    assert_eq!(found.len(), 120);
    assert!(
        matches!(&damages[..], [Damage { what: FormatError::Header, torn_tail: false, .. }]),
        "{damages:?}"
    );
}

#[test]
fn a_file_cut_short_is_damage_and_what_is_left_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    for _ in 0..5 {
        log.append(&bodies(1, 40)).unwrap();
    }
    drop(log);
    harm(&file(folder.path(), 1), |bytes| bytes.truncate(HEADER_BYTES + 3 * RECORD));
    let (_, damages, found) = open(folder.path());
    assert_eq!(found.len(), 3);
    assert!(matches!(&damages[..], [Damage { open_end: Some(4), .. }]), "{damages:?}");
}

#[test]
fn at_its_quota_the_log_refuses_and_keeps_all_and_takes_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::open(folder.path().to_path_buf()).unwrap();
    let (mut log, _) = Log::open(disk, Uuid::from_u128(1), Limits::quota(2 * SEGMENT_BYTES), |_| {}).unwrap();
    let mut taken = 0;
    while log.append(&bodies(60, 60_000)).is_ok() {
        taken += 60;
    }
    assert!(matches!(log.append(&bodies(60, 60_000)), Err(JournalError::Full(_))));
    assert_eq!(log.read(1, 1_000).unwrap().len(), taken);
    assert_eq!(log.usage().used, log.usage().quota);
    log.append(&bodies(1, 10)).unwrap_or_else(|error| panic!("there was room for a small one: {error}"));
    log.drop_before(100).unwrap();
    log.append(&bodies(60, 60_000)).unwrap();
}

#[test]
fn people_are_warned_when_half_of_the_quota_is_used_and_four_fifths_and_nearly_all() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::open(folder.path().to_path_buf()).unwrap();
    let limits = Limits { segment: 1 << 16, quota: 20 << 16 };
    let (mut log, _) = Log::open(disk, Uuid::from_u128(1), limits, |_| {}).unwrap();
    let mut warned = vec![(log.usage().warning(), log.usage().percent())];
    while log.append(&bodies(1, 9_000)).is_ok() {
        let is = (log.usage().warning(), log.usage().percent());
        if warned.last().unwrap().0 != is.0 {
            warned.push(is);
        }
    }
    assert_eq!(warned, [(0, 0), (50, 50), (80, 80), (95, 95)]);
    assert_eq!((log.usage().percent(), log.usage().warning()), (100, 95));
    log.drop_before(100).unwrap();
    assert!(log.usage().warning() < 50, "{:?}", log.usage());
    let full = Usage { disk_full: true, ..log.usage() };
    assert_eq!(full.warning(), 95);
}

#[test]
fn a_renewed_journal_has_a_segment_and_numbers_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    log.append(&bodies(3, 40)).unwrap();
    let (old, new) = (log.journal(), Uuid::new_v4());
    log.renew(new);
    let sequence = log.append(&bodies(1, 40)).unwrap();
    assert!(sequence > 1_000_000);
    let journals: Vec<Uuid> = log.read(1, 10).unwrap().iter().map(|it| it.journal).collect();
    assert_eq!(journals, [old, old, old, new]);
    drop(log);
    let (log, damages, found) = open(folder.path());
    assert_eq!((damages.iter().all(|it| it.known), found.len(), log.journal()), (true, 4, new));
}

#[tokio::test]
async fn damage_that_shows_while_reading_is_told_of_before_what_is_left_is_given_and_once() {
    use crate::journal::writer::{Journal, Written};
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    // Two segments: the harmed one is not written to any more.
    for _ in 0..3 {
        log.append(&bodies(40, 60_000)).unwrap();
    }
    harm(&file(folder.path(), 1), |bytes| bytes[HEADER_BYTES + 100] ^= 1);
    let (written, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let journal = Journal::start(log, written).unwrap();
    let kept = journal.read(1, 1_000).await.unwrap();
    assert!(kept.first().is_some_and(|it| it.sequence == 2), "{:?}", kept.first().map(|it| it.sequence));
    let Ok(Written::Damaged(damages)) = heard.try_recv() else {
        panic!("the reader was faster than the news")
    };
    let missing: Vec<u64> = damages.iter().flat_map(|(it, _)| it.missing.iter().cloned().flatten()).collect();
    assert_eq!(missing, [1]);
    // Whoever looks how the journal stands takes the news from nobody, and it is told of once.
    journal.standing().await.unwrap();
    journal.read(1, 1_000).await.unwrap();
    assert!(heard.try_recv().is_err());
}

/// A swipe at an instant.
fn swipe(at: i64) -> Vec<u8> {
    use crate::journal::record::{Record, SwipeRecord};
    let swipe = SwipeRecord {
        id: Uuid::from_u128(1),
        reader: Uuid::from_u128(2),
        code: "D1".to_owned(),
        room: None,
        key: "0".repeat(600),
        epoch: 1,
        bits: 56,
        holder: None,
        at,
        earliest: at,
        latest: at,
        boot: Uuid::from_u128(3),
        since_boot: 1,
        late: false,
        read: None,
        trust: "SYNCED".to_owned(),
        decision: "RECORDED".to_owned(),
        reason: "CREDITED".to_owned(),
        light: "GREEN".to_owned(),
        sessions: Vec::new(),
        basis: String::new(),
        tag: None,
        considered: Vec::new(),
    };
    Record::Swipe(Box::new(swipe)).body().unwrap()
}

#[tokio::test]
async fn damage_that_shows_while_reading_lies_between_the_records_around_it() {
    use crate::journal::lost::Hole;
    use crate::journal::writer::{Journal, Written};
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    // One was under way for a while, or the clock was put back after it.
    let minutes = (0..9_000).map(|minute| if minute == 8 { 12 } else { minute });
    let day: Vec<Vec<u8>> = minutes.map(|minute| swipe(NOON + minute * 60_000)).collect();
    for hour in day.chunks(60) {
        log.append(hour).unwrap();
    }
    assert!(log.segments().count() > 1, "the harmed one is not written to any more");
    let frame = day[0].len() + RECORD_HEAD_BYTES;
    harm(&file(folder.path(), 1), |bytes| {
        for record in [4, 5, 9] {
            bytes[HEADER_BYTES + record * frame + 100] ^= 1;
        }
    });
    let (written, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let journal = Journal::start(log, written).unwrap();
    journal.read(1, 1_000).await.unwrap();
    let Ok(Written::Damaged(damages)) = heard.try_recv() else { panic!("no word of the damage") };
    let at = |minute: i64, more: i64| Some(Instant(NOON + minute * 60_000 + more));
    let holes: Vec<Hole> = damages.into_iter().flat_map(|(_, holes)| holes).collect();
    let when: Vec<_> = holes.iter().map(|hole| (hole.from, hole.until)).collect();
    assert_eq!(when, [(at(3, 0), at(6, 1)), (at(10, 0), at(12, 1))]);
}

#[test]
fn a_log_that_cannot_read_or_drop_its_segments_takes_nothing_any_more() {
    let acts: [fn(&mut Log<Folder>) -> bool; 2] =
        [|log| log.read(1, 10).is_err(), |log| log.drop_before(121).is_err()];
    for act in acts {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, ..) = open(folder.path());
        for _ in 0..3 {
            log.append(&bodies(40, 60_000)).unwrap();
        }
        std::fs::remove_file(file(folder.path(), 1)).unwrap();
        assert!(act(&mut log), "{:?}", log.segments().collect::<Vec<_>>());
        assert!(matches!(log.append(&bodies(1, 10)), Err(JournalError::Failed)));
    }
}

#[tokio::test]
async fn whoever_waits_for_swipes_hears_that_the_journal_cannot_be_read() {
    use crate::journal::writer::{Journal, Written};
    let folder = tempfile::tempdir().unwrap();
    let (mut log, ..) = open(folder.path());
    for _ in 0..3 {
        log.append(&bodies(40, 60_000)).unwrap();
    }
    std::fs::remove_file(file(folder.path(), 1)).unwrap();
    let (written, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let journal = Journal::start(log, written).unwrap();
    assert!(journal.read(1, 1_000).await.is_err());
    assert!(matches!(heard.recv().await, Some(Written::Failed(tickets, _)) if tickets.is_empty()));
}
