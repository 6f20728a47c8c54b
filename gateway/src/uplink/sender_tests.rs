//! What the hub has had for thirty days goes, and nothing before that.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::future::Future;
use std::pin::Pin;

use super::super::connect::Address;
use super::super::operations::{Counter, GatewayHandedOver};
use super::*;
use crate::core::hex;
use crate::journal::disk::Folder;
use crate::journal::log::{Limits, Log};

const DAY: i64 = 24 * 3_600_000;
const NOON: i64 = 1_800_000_000_000;

struct Stopped;

impl Clock for Stopped {
    fn read(&self) -> Reading {
        Reading::exactly(NOON, Trust::Synced, 0)
    }

    fn boot_id(&self) -> Uuid {
        Uuid::nil()
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// A task over a journal, as each start makes one.
fn task(journal: &Journal, data: &std::path::Path) -> SenderTask {
    let clock: Arc<dyn Clock> = Arc::new(Stopped);
    SenderTask {
        client: HubClient::new(
            Address::new("http://127.0.0.1:9", None, clock.clone()).unwrap(),
            "token".to_owned(),
        ),
        journal: journal.clone(),
        key: None,
        durable: watch::channel(0).1,
        readers: watch::channel(0).1,
        status: mpsc::channel(1).0,
        clock,
        data: data.to_owned(),
        time_is_the_hubs: false,
        acknowledged: Noted::load(data),
        cache_damaged: false,
        handing: watch::channel(Handing::default()).0,
        stop: watch::channel(false).1,
    }
}

fn files(data: &std::path::Path) -> usize {
    let names = std::fs::read_dir(data).unwrap().map(|it| it.unwrap().file_name());
    // What else is there the journal makes when nobody waits.
    names.filter(|name| name.to_string_lossy().starts_with("segment-")).count()
}

#[tokio::test]
async fn segments_that_the_hub_has_had_for_thirty_days_are_dropped_and_a_restored_hub_is_told_so() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("journal");
    let limits = Limits { segment: 16 * 1024, quota: 1 << 30 };
    let (log, _) =
        Log::open(Folder::open(folder.clone()).unwrap(), Uuid::from_u128(7), limits, |_| {}).unwrap();
    let (written, mut done) = mpsc::unbounded_channel();
    let journal = Journal::start(log, written).unwrap();
    let mut durable = 0;
    while durable < 100 {
        journal.append(durable, vec![b'a'; 900]).await;
        assert!(matches!(done.recv().await, Some(crate::journal::writer::Written::Durable(_))));
        durable += 1;
    }
    let standing = journal.standing().await.unwrap();
    let (before, had) = (standing.segments.len(), files(&folder));
    assert!(before > 4, "{before} segments");

    // The hub has all but what stands in the newest three.
    let through = standing.segments[before - 4].last;
    let at_hub = |through, chain: &[u8]| GatewayHandedOver {
        journal_id: standing.journal,
        through: Counter(through),
        chain: hex(chain),
    };
    let last = journal.read(through, 1).await.unwrap().remove(0);
    let mut handover = HandOver::default();
    assert!(!handover.learn(&standing, &at_hub(through, &last.chain), Some(&last), Uuid::nil()));
    for (days, ms, dropped) in [(0, 0, 0), (29, 0, 0), (30, 0, 0), (30, 1, before - 3)] {
        // Each time the gateway has been started anew.
        let now = Reading::exactly(NOON + days * DAY + ms, Trust::Synced, 0);
        task(&journal, data.path()).forget_old(&handover, &standing, now).await;
        let left = journal.standing().await.unwrap().segments;
        assert_eq!(before - left.len(), dropped, "after {days} days and {ms} ms");
        assert_eq!(left.last().unwrap().last, 100);
    }
    assert!(files(&folder) <= had - (before - 3), "their files are gone");

    // A hub that came back from a backup of before has less than is on any disk: that is no other journal.
    let standing = journal.standing().await.unwrap();
    let first = standing.segments[0].first;
    let has = at_hub(1, &[9; 32]);
    assert_eq!(handover.wanted(&standing, &has), None);
    assert!(!handover.learn(&standing, &has, None, Uuid::nil()));
    assert_eq!(handover.places().next(&standing.segments), Some((standing.journal, first)));
    let read = journal.read(first, 500).await.unwrap();
    assert_eq!(read.len() as u64, 100 - first + 1);
}
