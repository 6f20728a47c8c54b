//! What the cache keeps, on a real folder.

use super::*;
use item::CachedMembership;

fn stay(number: u128) -> (Uuid, CachedItem) {
    let id = Uuid::from_u128(number);
    let membership = CachedMembership { group: id, holder: id, from: Some(1), until: None };
    (id, CachedItem::Membership(membership))
}

#[test]
fn what_never_ends_in_the_cache_takes_nobody_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, ..) = Cache::open(&folder.path().join("cache"));
    let stuck = cache.lock();
    assert!(matches!(cache.synced(1), Err(CacheError::Busy)));
    assert!(matches!(cache.lock_within(Duration::from_millis(20)), Err(CacheError::Busy)));
    drop(stuck);
    assert!(cache.synced(1).is_ok());
    let noted = crate::aside::aside("cache", move || cache.synced(2).is_ok());
    assert_eq!(noted.blocking_recv(), Ok(true));
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let (cache, cached, _) = Cache::open(&path);
    assert!(cached.cursor.is_none());
    let config = CachedConfig::default();
    cache.replace("a.1", &config, &[stay(1), stay(2)]).unwrap();
    cache
        .apply("a.2", &[Write::Remove(Uuid::from_u128(1)), Write::Put(stay(3).0, Box::new(stay(3).1))])
        .unwrap();
    drop(cache);
    let (_, cached, moved) = Cache::open(&path);
    assert_eq!((cached.cursor.as_deref(), moved), (Some("a.2"), None));
    assert_eq!(cached.items, vec![stay(2), stay(3)]);
}

#[test]
fn a_term_of_small_changes_does_not_fill_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let (cache, ..) = Cache::open(&path);
    let items: Vec<(Uuid, CachedItem)> = (0..2_000).map(stay).collect();
    cache.replace("a.1", &CachedConfig::default(), &items).unwrap();
    let before = size(&path);
    for turn in 0..60_000_i64 {
        cache.synced(turn).unwrap();
        if turn % 10 == 0 {
            let (id, item) = stay(u128::from(turn.unsigned_abs()) % 2_000);
            cache.apply(&format!("a.{turn}"), &[Write::Put(id, Box::new(item))]).unwrap();
        }
    }
    drop(cache);
    wait_until_closed(&path);
    assert!(size(&path) < before + 16 * 1024 * 1024, "{before} bytes became {}", size(&path));
}

#[test]
fn a_damaged_cache_is_moved_aside_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("conf"), b"this is no sled").unwrap();
    std::fs::write(path.join("db"), vec![0xa5; 4_096]).unwrap();
    let (cache, cached, moved) = Cache::open(&path);
    assert!(moved.is_some_and(|aside| aside.join("db").exists()));
    assert!(cached.items.is_empty());
    cache.replace("a.1", &CachedConfig::default(), &[stay(1)]).unwrap();
}

#[test]
fn a_cache_in_which_nothing_is_found_that_held_something_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let (cache, cached, moved) = Cache::open(&path);
    assert_eq!((cached.cursor, moved), (None, None), "a new one is empty, and whole");
    cache.replace("a.1", &CachedConfig::default(), &[stay(1)]).unwrap();
    drop(cache);
    wait_until_closed(&path);
    // As where sled finds its log damaged from the start: it begins anew, and says nothing.
    for entry in std::fs::read_dir(&path).unwrap().map(Result::unwrap).filter(|it| it.file_name() != FILLED) {
        let path = entry.path();
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    let (_, cached, moved) = Cache::open(&path);
    assert!(cached.items.is_empty() && moved.is_some());
}
