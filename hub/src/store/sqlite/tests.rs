//! What stands for transactions whose statements run here, there, or are broken off.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use std::sync::Arc;
use std::time::Duration;

use super::super::pinned::PinnedStore;
use super::super::{Row, Store as _, StoreError, Transaction};
use super::{SqliteStore, Writes};

/// Takes seconds, and looks at the settings.
const LONG: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) \
                    SELECT (SELECT COUNT(*) FROM setting) FROM n WHERE i = 3000000";
const SETTINGS: &str = "SELECT COUNT(*) FROM setting";
const ONE_MORE: &str = "INSERT INTO setting (name, value) VALUES ('a', 'b')";

async fn store() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("hub.sqlite")).await.unwrap();
    (folder, store)
}

fn number(rows: Vec<Row>) -> i64 {
    rows.into_iter().next().unwrap().next("number").unwrap()
}

async fn settings(transaction: &mut Box<dyn Transaction>) -> i64 {
    number(transaction.fetch(SETTINGS, Vec::new()).await.unwrap())
}

async fn add_one(store: &SqliteStore) {
    let mut writes = store.write().await.unwrap();
    assert_eq!(writes.execute(ONE_MORE, Vec::new()).await.unwrap(), 1);
    writes.commit().await.unwrap();
}

/// Whether something is not done at once.
async fn waits<T>(work: &mut (impl Future<Output = T> + Unpin)) -> bool {
    tokio::select! {
        biased;
        _ = work => false,
        () = std::future::ready(()) => true,
    }
}

#[tokio::test]
async fn what_found_another_process_writing_may_be_attempted_again() {
    let (folder, store) = store().await;
    let other = rusqlite::Connection::open(folder.path().join("hub.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = Writes::begin(store.writer.lend().await.unwrap(), Duration::ZERO).await.err().unwrap();
    assert!(matches!(busy, StoreError::Again(_)), "{busy:?}");
    let mut begins = store.write();
    assert!(waits(&mut begins).await);
    other.execute_batch("COMMIT").unwrap();
    begins.await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_read_that_takes_long_goes_on_elsewhere_on_the_state_on_which_it_began() {
    let (_folder, store) = store().await;
    let before = settings(&mut store.read().await.unwrap()).await;
    let mut reads = store.read().await.unwrap();
    {
        let mut long = reads.fetch(LONG, Vec::new());
        assert!(waits(&mut long).await);
        assert!(store.readers.is_slow(LONG));
        add_one(&store).await;
        assert_eq!(number(long.await.unwrap()), before);
    }
    assert_eq!(settings(&mut reads).await, before);
    drop(reads);
    assert_eq!(settings(&mut store.read().await.unwrap()).await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_read_that_nobody_waits_for_is_broken_off_and_its_transaction_goes_on() {
    let (_folder, store) = store().await;
    for _ in 0..2 * super::READERS {
        let mut reads = store.read().await.unwrap();
        let before = settings(&mut reads).await;
        add_one(&store).await;
        assert!(waits(&mut reads.fetch(LONG, Vec::new())).await);
        assert_eq!(settings(&mut reads).await, before);
        assert!(waits(&mut reads.fetch(LONG, Vec::new())).await);
        let mut writes = store.write().await.unwrap();
        writes.execute("DELETE FROM setting WHERE name = 'a'", Vec::new()).await.unwrap();
        writes.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_kept_whole_or_not_at_all() {
    let (_folder, store) = store().await;
    let before = settings(&mut store.read().await.unwrap()).await;
    let mut writes = store.write().await.unwrap();
    writes.execute(ONE_MORE, Vec::new()).await.unwrap();
    assert_eq!(settings(&mut writes).await, before + 1);
    drop(writes);
    let mut writes = store.write().await.unwrap();
    assert_eq!(settings(&mut writes).await, before);
    // As the engine does by itself where its disk is full.
    writes.execute("ROLLBACK", Vec::new()).await.unwrap();
    assert!(writes.execute(ONE_MORE, Vec::new()).await.is_err());
    assert!(writes.commit().await.is_err());
    let mut reads = store.read().await.unwrap();
    assert!(matches!(reads.execute(ONE_MORE, Vec::new()).await, Err(StoreError::ReadOnly)));
    assert_eq!(settings(&mut reads).await, before);
}

#[tokio::test]
async fn who_tries_something_out_and_who_reads_little_wait_for_nobody_who_reads_for_long() {
    let (_folder, store) = store().await;
    let store = Arc::new(store);
    let pinned = PinnedStore::new(store.clone());
    // What was read before the trial holds no place.
    let before = settings(&mut pinned.read().await.unwrap()).await;
    let mut trial = pinned.write().await.unwrap();
    trial.execute(ONE_MORE, Vec::new()).await.unwrap();
    let mut reports = Vec::new();
    while !store.is_crowded() {
        reports.push(store.read().await.unwrap());
    }
    assert_eq!(settings(&mut pinned.read().await.unwrap()).await, before, "what is committed");
    assert_eq!(settings(&mut trial).await, before + 1);
    assert_eq!(settings(&mut store.read_soon().await.unwrap()).await, before);
    let mut one_more = store.read();
    assert!(waits(&mut one_more).await);
    drop(reports);
    assert_eq!(settings(&mut one_more.await.unwrap()).await, before);
}
