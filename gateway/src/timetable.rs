//! The timetable cache in sled: what the hub last sent, so that the gateway decides alone from its first moment.
//!
//! It can always be fetched again, so it is treated so: after a snapshot the file is synced, and a cache that
//! cannot be opened is moved aside and begun anew. Nothing that must not get lost is kept here.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

mod digest;
pub mod item;
use digest::{DIGEST, Entries, SYNCED, Sum};
use item::{CachedConfig, CachedItem};

/// Why the cache failed.
#[derive(Debug, Error)]
pub enum CacheError {
    /// sled failed.
    #[error("the timetable cache failed: {0}")]
    Sled(#[from] sled::Error),
    /// A file could not be moved or synced.
    #[error("the timetable cache could not {act}: {source}")]
    File {
        /// What was done.
        act: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// There is none: the disk did not give one.
    #[error("there is no timetable cache; the gateway goes on by what it holds in memory")]
    None,
    /// Something else is done with it, and does not come to an end.
    #[error(
        "the timetable cache is busy with something that does not end; the gateway goes on by what it holds in memory"
    )]
    Busy,
    /// It holds what this program never writes.
    #[error("the timetable cache holds bad data: {0}")]
    BadData(String),
}

/// Keys that name no item.
const CURSOR: &[u8] = b"\0cursor";
const CONFIG: &[u8] = b"\0config";

/// What the cache held when it was opened.
#[derive(Debug, Default)]
pub struct Cached {
    /// The feed position; `None` when a snapshot must be taken.
    pub cursor: Option<String>,
    /// The hub's configuration for this gateway.
    pub config: Option<CachedConfig>,
    /// The items, by id.
    pub items: Vec<(Uuid, CachedItem)>,
    /// When the hub last said that the copy is current, in milliseconds since the epoch.
    pub synced_at: Option<i64>,
}

/// A change to write.
#[derive(Debug, Clone)]
pub enum Write {
    /// Put in.
    Put(Uuid, Box<CachedItem>),
    /// Take out.
    Remove(Uuid),
    /// The configuration.
    Config(CachedConfig),
}

/// The cache. Where the disk does not give one, it is none, and the gateway goes on by what it holds in memory.
#[derive(Clone)]
pub struct Cache {
    db: Arc<Mutex<Option<sled::Db>>>,
    path: PathBuf,
}

/// How long whoever may wait waits for what else is done with the cache. One that never ends (sled takes locks of its own) must not
/// take others with it.
const PATIENCE: Duration = Duration::from_secs(10);
/// And how often it is looked at again.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(10);
/// How many damaged caches are kept for somebody to look at.
const KEPT_ASIDE: usize = 3;
/// How many items are written at once while a cache is made.
const ITEMS_AT_ONCE: usize = 1_000;
/// How the folder of a cache is called while it is made.
const NEXT: &str = "next";
/// A file in a cache's folder that says that it held something: sled may find nothing in what is damaged, and call that whole.
const FILLED: &str = "filled";
/// sled writes when it opens: with less room than this beside the cache's own size it is not opened in its place.
const ROOM_TO_OPEN: u64 = 2 * 1024 * 1024;
/// File systems in memory, where a cache can be read that its own disk has no room to open.
const IN_MEMORY: [&str; 2] = ["/dev/shm", "/run"];

impl Cache {
    /// Opens the cache; one that is damaged is moved aside and begun anew, and `moved` says where it went. On a full
    /// disk it is read from a copy in memory and stays as it is: then nothing more is kept until [`Cache::replace`]
    /// makes a new one.
    #[must_use]
    pub fn open(path: &Path) -> (Self, Cached, Option<PathBuf>) {
        let cache = Self { db: Arc::new(Mutex::new(None)), path: path.to_path_buf() };
        let next = path.with_extension(NEXT);
        if !path.exists() && next.exists() {
            // It was whole when the old one was put aside; the power went before it was put in its place.
            drop(std::fs::rename(next, path));
        }
        if path.exists()
            && !has_room(path)
            && let Some(cached) = read_in_memory(path)
        {
            tracing::warn!("the disk is full: the timetable is known, and changes of it are not kept");
            return (cache, cached, None);
        }
        match try_open(path) {
            Ok((db, cached)) => {
                *cache.lock() = Some(db);
                (cache, cached, None)
            }
            Err(error) => {
                tracing::error!("{error}; the cache is moved aside and fetched from the hub again");
                let moved = cache.begin_anew();
                (cache, Cached::default(), moved)
            }
        }
    }

    /// Moves what is there aside and begins with an empty cache, if the disk gives one.
    fn begin_anew(&self) -> Option<PathBuf> {
        *self.lock() = None;
        let names = (0..KEPT_ASIDE).map(|number| self.path.with_extension(format!("damaged-{number}")));
        let aside = names.clone().find(|aside| !aside.exists()).or_else(|| names.clone().next())?;
        let moved = self.path.exists().then(|| {
            // The newest damage takes the place of the oldest.
            drop(std::fs::remove_dir_all(&aside));
            std::fs::rename(&self.path, &aside).map(|()| aside)
        });
        let moved = match moved {
            Some(Ok(aside)) => Some(aside),
            Some(Err(error)) => {
                tracing::error!("the damaged cache cannot be moved aside: {error}; going on without one");
                return None;
            }
            None => None,
        };
        match try_open(&self.path) {
            Ok((db, _)) => *self.lock() = Some(db),
            Err(error) => {
                tracing::error!("{error}; going on without a cache: a restart without the hub shows no light")
            }
        }
        moved
    }

    fn lock(&self) -> MutexGuard<'_, Option<sled::Db>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_now(&self) -> Option<MutexGuard<'_, Option<sled::Db>>> {
        match self.db.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the standard library's lock has no bounded wait")]
    fn lock_within(&self, patience: Duration) -> Result<MutexGuard<'_, Option<sled::Db>>, CacheError> {
        let begun = Instant::now();
        loop {
            match self.lock_now() {
                Some(held) => return Ok(held),
                None if begun.elapsed() >= patience => return Err(CacheError::Busy),
                None => std::thread::sleep(LOOKED_AT_EVERY),
            }
        }
    }

    /// Does something with the database, with which nothing else is done meanwhile; what panics in it is an error like any other.
    fn with<T>(
        &self,
        patience: Duration,
        act: impl FnOnce(&sled::Db) -> Result<T, CacheError>,
    ) -> Result<T, CacheError> {
        let held = self.lock_within(patience)?;
        let db = held.as_ref().ok_or(CacheError::None)?;
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(db)));
        done.unwrap_or_else(|_| Err(CacheError::BadData("writing it panicked".to_owned())))
    }

    /// Replaces everything, in one piece: a database of its own is made, synced, and put in the old one's place, so
    /// that nothing hangs on whether the old one is whole.
    ///
    /// # Errors
    /// When the disk fails; then there is no cache, or the old one, which takes no changes any more.
    pub fn replace(
        &self,
        cursor: &str,
        config: &CachedConfig,
        items: &[(Uuid, CachedItem)],
    ) -> Result<(), CacheError> {
        let mut held = self.lock_within(PATIENCE)?;
        // What comes next are changes of the new one: the old stays as it was, with the position that it had reached.
        *held = None;
        if !has_room(&self.path) {
            // The journal's next segment needs what little there is.
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(CacheError::File { act: "make room for a new one", source });
        }
        let next = self.path.with_extension(NEXT);
        let file = |act| move |source| CacheError::File { act, source };
        let removed = |path: &Path| match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        removed(&next).map_err(file("make room for a new one"))?;
        let owned = next.clone();
        let made =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fill(&owned, cursor, config, items)));
        let made = made.unwrap_or_else(|_| Err(CacheError::BadData("making it panicked".to_owned())));
        let made = made.and_then(|()| File::create(next.join(FILLED)).map(drop).map_err(file("mark it")));
        if made.is_err() {
            drop(removed(&next));
        }
        made?;
        let old = self.path.with_extension("old");
        removed(&old).map_err(file("remove an old one"))?;
        if self.path.exists() {
            std::fs::rename(&self.path, &old).map_err(file("put the old one aside"))?;
        }
        std::fs::rename(&next, &self.path).map_err(file("put the new one in its place"))?;
        if let Some(folder) = self.path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(file("sync its folder"))?;
        }
        drop(removed(&old));
        *held = Some(try_open(&self.path)?.0);
        Ok(())
    }

    /// Writes changes and the position behind them, in one piece.
    ///
    /// # Errors
    /// When the disk fails; the cache is then as before.
    pub fn apply(&self, cursor: &str, writes: &[Write]) -> Result<(), CacheError> {
        let mut entries = Entries::new();
        for write in writes {
            match write {
                Write::Put(id, item) => entries.insert(id.as_bytes().to_vec(), Some(bytes(item)?)),
                Write::Remove(id) => entries.insert(id.as_bytes().to_vec(), None),
                Write::Config(config) => entries.insert(CONFIG.to_vec(), Some(bytes(config)?)),
            };
        }
        entries.insert(CURSOR.to_vec(), Some(bytes(&cursor)?));
        self.with(PATIENCE, |db| digest::write(db, entries))
    }

    /// Notes when the hub said that the copy is current; it says so again before long, and nobody waits for it.
    ///
    /// # Errors
    /// When the disk fails, or something else is done with the cache.
    pub fn synced(&self, at: i64) -> Result<(), CacheError> {
        let value = bytes(&at)?;
        self.with(Duration::ZERO, |db| Ok(db.insert(SYNCED, value).map(drop)?))
    }
}

/// Makes a database with these contents, synced.
fn fill(
    path: &Path,
    cursor: &str,
    config: &CachedConfig,
    items: &[(Uuid, CachedItem)],
) -> Result<(), CacheError> {
    let db = settings(path).open()?;
    db.insert(DIGEST, &Sum::default().bytes())?;
    // Piece by piece, which costs less memory: nobody opens it before it has its name.
    for some in items.chunks(ITEMS_AT_ONCE) {
        let entries = some.iter().map(|(id, item)| Ok((id.as_bytes().to_vec(), Some(bytes(item)?))));
        digest::write(&db, entries.collect::<Result<_, CacheError>>()?)?;
        db.flush()?;
    }
    let entries = [(CONFIG, bytes(config)?), (CURSOR, bytes(&cursor)?)];
    digest::write(&db, entries.into_iter().map(|(key, value)| (key.to_vec(), Some(value))).collect())?;
    // `flush` of sled hands the bytes to the kernel and no further.
    db.flush()?;
    drop(db);
    let file = |act| move |source| CacheError::File { act, source };
    File::open(path.join("db")).and_then(|db| db.sync_all()).map_err(file("sync its file"))
}

fn settings(path: &Path) -> sled::Config {
    sled::Config::new().path(path).cache_capacity(4 * 1024 * 1024).flush_every_ms(Some(2_000))
}

/// Waits until a database that this process has just closed is closed: a thread of sled's may hold it a little longer,
/// and opening it then fails as if it were damaged. No other process has it: the gateway's folder is locked.
fn wait_until_closed(path: &Path) {
    if let Ok(file) = File::open(path.join("db")) {
        // Where the lock cannot be had, opening says why.
        let _ = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
    }
}

/// Whether the disk has room for what sled writes when it opens; where it cannot be asked, that is tried.
fn has_room(path: &Path) -> bool {
    let Some(Ok(disk)) = path.parent().map(rustix::fs::statvfs) else { return true };
    disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOM_TO_OPEN.saturating_add(size(path))
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let each = entries.flatten().map(|entry| match entry.metadata() {
        Ok(it) if it.is_dir() => size(&entry.path()),
        Ok(it) => it.len(),
        Err(_) => 0,
    });
    each.sum()
}

/// Reads a cache from a copy in memory; none where it cannot be copied, or is damaged.
fn read_in_memory(path: &Path) -> Option<Cached> {
    wait_until_closed(path);
    IN_MEMORY.iter().find_map(|folder| {
        // Made for its owner alone; gone when dropped.
        let place = tempfile::tempdir_in(folder).ok()?;
        let copy = place.path().join("cache");
        copy_folder(path, &copy).ok()?;
        let (db, cached) = try_open(&copy).ok()?;
        drop(db);
        wait_until_closed(&copy);
        Some(cached)
    })
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn try_open(path: &Path) -> Result<(sled::Db, Cached), CacheError> {
    wait_until_closed(path);
    let owned = path.to_path_buf();
    // sled may panic on a damaged file, or a full disk: to whoever opens it that is the same as an error.
    let opened = std::panic::catch_unwind(move || {
        let db = settings(&owned).open()?;
        let cached = read(&db)?;
        if cached.cursor.is_none() && owned.join(FILLED).exists() {
            return Err(CacheError::BadData("nothing of it is there any more".to_owned()));
        }
        Ok((db, cached))
    });
    opened.unwrap_or_else(|_| Err(CacheError::BadData("opening it panicked".to_owned())))
}

fn read(db: &sled::Db) -> Result<Cached, CacheError> {
    let mut cached = Cached::default();
    let (mut sum, mut kept) = (Sum::default(), None);
    for entry in db.iter() {
        let (key, value) = entry?;
        if ![DIGEST, SYNCED].contains(&&key[..]) {
            sum.add(&key, &value);
        }
        match &key[..] {
            DIGEST => kept = Some(Sum::of(&value)?),
            CURSOR => cached.cursor = Some(parse(&value)?),
            CONFIG => cached.config = Some(parse(&value)?),
            SYNCED => cached.synced_at = Some(parse(&value)?),
            id => {
                let id = Uuid::from_slice(id).map_err(|error| CacheError::BadData(error.to_string()))?;
                cached.items.push((id, parse(&value)?));
            }
        }
    }
    if kept.is_some_and(|kept| kept != sum) {
        return Err(CacheError::BadData(
            "some of it is not there any more, or is what it was before".to_owned(),
        ));
    }
    // Items, or a digest, without a position are half of something.
    if cached.cursor.is_none() && (kept.is_some() || !cached.items.is_empty()) {
        return Err(CacheError::BadData("it has items and no position".to_owned()));
    }
    Ok(cached)
}

fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, CacheError> {
    serde_json::to_vec(value).map_err(|error| CacheError::BadData(error.to_string()))
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CacheError> {
    serde_json::from_slice(bytes).map_err(|error| CacheError::BadData(error.to_string()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests;
