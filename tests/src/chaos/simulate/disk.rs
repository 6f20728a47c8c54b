//! A disk in memory that loses what was not synced, tears writes, fails and fills up: by a seed.
//!
//! A sector is 512 bytes. What is written is in the page cache until a sync; a power cut keeps any part of it. After
//! a sync that failed, the cache holds what the medium may not, and no later sync says so. Of what was done to names since they
//! were last synced a power cut undoes any number of the latest.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rollcall_gateway::journal::disk::Disk;

const SECTOR: usize = 512;

/// What the disk will do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes in the middle of the operation.
    Cut,
    /// The operation fails.
    Io,
    /// There is no room for the operation, and for none after it.
    NoSpace,
}

#[derive(Clone, Default)]
struct File {
    cache: Vec<u8>,
    medium: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Sectors that cannot be read, until they are written again.
    bad: BTreeSet<usize>,
}

/// How something that was done to names is undone.
#[derive(Clone)]
enum Undo {
    /// A file was made in place of another, if any.
    Made(String, Option<File>),
    /// A file was renamed from one name to another, in place of what stood there.
    Renamed(String, String, Option<File>),
    /// A file was removed.
    Removed(String, File),
}

impl Undo {
    fn apply(self, files: &mut BTreeMap<String, File>) {
        match self {
            Self::Made(name, before) => {
                files.remove(&name);
                files.extend(before.map(|file| (name, file)));
            }
            Self::Renamed(from, to, before) => {
                let file = files.remove(&to);
                files.extend(file.map(|file| (from, file)));
                files.extend(before.map(|file| (to, file)));
            }
            Self::Removed(name, file) => drop(files.insert(name, file)),
        }
    }
}

/// The folder as it stands.
#[derive(Clone)]
pub struct State {
    files: BTreeMap<String, File>,
    rng: ChaCha8Rng,
    /// Fails at the operation when this has counted down.
    fault: Option<(u64, Fault)>,
    /// There is no room for new files.
    pub full: bool,
    /// The power is gone: nothing works until [`SimDisk::power_on`].
    pub cut: bool,
    /// Syncs do nothing and say they did: a control.
    pub sync_lies: bool,
    /// Syncs of names do nothing and say they did: a control.
    pub name_sync_lies: bool,
    /// Syncs of names are operations that may fail, as all others are.
    pub name_syncs_fail: bool,
    /// There was no room to rename a file.
    pub rename_refused: bool,
    /// What was done to names since they were synced, and how it is undone.
    unsynced: Vec<Undo>,
    /// How many operations that change something were asked for.
    pub operations: u64,
}

/// A disk that several owners may look at.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl File {
    /// What stands between two places, up to the end.
    fn read(&self, start: usize, end: usize) -> io::Result<Vec<u8>> {
        let (start, end) = (start.min(self.cache.len()), end.min(self.cache.len()));
        if self.bad.range(start / SECTOR..end.div_ceil(SECTOR)).next().is_some() {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(self.cache[start..end].to_vec())
    }

    fn flush(&mut self, sectors: impl IntoIterator<Item = usize>) {
        for sector in sectors {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.cache.len());
            if self.medium.len() < self.cache.len() {
                self.medium.resize(self.cache.len(), 0);
            }
            self.medium[start..end].copy_from_slice(&self.cache[start..end]);
            self.dirty.remove(&sector);
        }
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let files = BTreeMap::new();
        let state = State {
            files,
            rng,
            fault: None,
            full: false,
            cut: false,
            sync_lies: false,
            name_sync_lies: false,
            name_syncs_fail: false,
            rename_refused: false,
            unsynced: Vec::new(),
            operations: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The state, to look at or change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails so many operations from now.
    pub fn fail_in(&self, operations: u64, fault: Fault) {
        self.state().fault = Some((operations, fault));
    }

    /// The power goes: of what was not synced, any part stays.
    pub fn power_cut(&self) {
        let mut state = self.state();
        state.cut = true;
        state.fault = None;
        let State { files, rng, unsynced, .. } = &mut *state;
        if !unsynced.is_empty() {
            let kept = rng.random_range(0..=unsynced.len());
            unsynced.drain(kept..).rev().for_each(|undo| undo.apply(files));
            unsynced.clear();
        }
        for file in files.values_mut() {
            let kept: f64 = [0.0, 0.5, 1.0][rng.random_range(0..3)];
            let sectors: Vec<usize> = file.dirty.iter().copied().filter(|_| rng.random_bool(kept)).collect();
            file.flush(sectors);
            file.dirty.clear();
            file.cache.clone_from(&file.medium);
        }
    }

    /// The power is back.
    pub fn power_on(&self) {
        self.state().cut = false;
    }

    /// The faults are over, also one that was still to come.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.fault, state.full, state.cut) = (None, false, false);
    }

    /// The medium as it is, in a state of its own: for a look at what a cut would leave, or a copy of the card.
    #[must_use]
    pub fn copy_of_medium(&self) -> Self {
        let mut state = self.state().clone();
        for file in state.files.values_mut() {
            file.cache.clone_from(&file.medium);
            file.dirty.clear();
        }
        (state.fault, state.full, state.cut) = (None, false, false);
        state.unsynced.clear();
        Self(Arc::new(Mutex::new(state)))
    }

    /// Another card is put in.
    pub fn replace(&self, other: &Self) {
        let files = other.copy_of_medium().state().files.clone();
        let mut state = self.state();
        state.files = files;
        state.unsynced.clear();
    }

    /// Changes the bytes of a file on the medium.
    pub fn harm(&self, name: &str, harm: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.state().files.get_mut(name) {
            harm(&mut file.medium);
            file.cache.clone_from(&file.medium);
        }
    }

    /// A bit of what is found somewhere on the medium turns over, and so it does where the kernel holds it; `false` when it is nowhere.
    pub fn rot(&self, what: &[u8]) -> bool {
        let mut state = self.state();
        for file in state.files.values_mut() {
            if let Some(at) = file.medium.windows(what.len()).position(|some| some == what) {
                file.medium[at] ^= 1;
                if let Some(byte) = file.cache.get_mut(at) {
                    *byte = file.medium[at];
                }
                return true;
            }
        }
        false
    }

    /// A sector of a file cannot be read any more.
    pub fn spoil(&self, name: &str, sector: usize) {
        if let Some(file) = self.state().files.get_mut(name) {
            file.bad.insert(sector);
        }
    }

    /// Whether the operation may go on; `Some` with what becomes of it.
    fn begin(state: &mut State) -> io::Result<Option<Fault>> {
        if state.cut {
            return Err(io::Error::other("the power is gone"));
        }
        state.operations += 1;
        match &mut state.fault {
            Some((0, fault)) => {
                let fault = *fault;
                state.fault = None;
                Ok(Some(fault))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn failed(&self, mut state: MutexGuard<'_, State>, fault: Fault) -> io::Error {
        if fault == Fault::Cut {
            state.cut = true;
            drop(state);
            self.power_cut();
            return io::Error::other("the power went");
        }
        if fault == Fault::NoSpace {
            state.full = true;
            return io::Error::from_raw_os_error(28);
        }
        io::Error::from_raw_os_error(5)
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

impl Disk for SimDisk {
    type File = String;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn create_file(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        let fault = Self::begin(&mut state)?;
        if fault == Some(Fault::NoSpace) || (fault.is_none() && state.full) {
            state.full = true;
            return Err(io::Error::from_raw_os_error(28));
        }
        let whole = usize::try_from(bytes).unwrap_or(0);
        let made = match fault {
            None => whole,
            // Half of it may be there, under its name or under none.
            Some(_) => state.rng.random_range(0..=whole),
        };
        if fault.is_none() || state.rng.random_bool(0.5) {
            let zeros = vec![0; made];
            let file = File { cache: zeros.clone(), medium: zeros, ..File::default() };
            let before = state.files.insert(name.to_owned(), file);
            // Where it failed half-way, that was already drawn.
            if fault.is_none() {
                state.unsynced.push(Undo::Made(name.to_owned(), before));
            }
        }
        match fault {
            None => Ok(()),
            Some(fault) => Err(self.failed(state, fault)),
        }
    }

    fn open(&self, name: &str) -> io::Result<String> {
        let state = self.state();
        state.files.contains_key(name).then(|| name.to_owned()).ok_or_else(|| missing(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.state().files.get(name).ok_or_else(|| missing(name))?.read(0, usize::MAX)
    }

    fn read_at(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let state = self.state();
        let file = state.files.get(name).ok_or_else(|| missing(name))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        file.read(start, start.saturating_add(bytes))
    }

    fn write_at(&self, file: &String, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let fault = Self::begin(&mut state)?;
        let done = match fault {
            None => bytes.len(),
            Some(_) => state.rng.random_range(0..=bytes.len()),
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let known = state.files.get_mut(file).ok_or_else(|| missing(file))?;
        if known.cache.len() < start + done {
            known.cache.resize(start + done, 0);
        }
        known.cache[start..start + done].copy_from_slice(&bytes[..done]);
        known.dirty.extend(start / SECTOR..(start + done).div_ceil(SECTOR));
        known.bad.retain(|sector| !(start..start + done).contains(&(sector * SECTOR)));
        match fault {
            None => Ok(()),
            Some(fault) => Err(self.failed(state, fault)),
        }
    }

    fn sync(&self, file: &String) -> io::Result<()> {
        let mut state = self.state();
        let fault = Self::begin(&mut state)?;
        if state.sync_lies && fault.is_none() {
            return Ok(());
        }
        let State { files, rng, .. } = &mut *state;
        let known = files.get_mut(file).ok_or_else(|| missing(file))?;
        let sectors: Vec<usize> =
            known.dirty.iter().copied().filter(|_| fault.is_none() || rng.random_bool(0.5)).collect();
        known.flush(sectors);
        match fault {
            None => Ok(()),
            Some(fault) => {
                // The kernel marks them clean all the same.
                known.dirty.clear();
                Err(self.failed(state, fault))
            }
        }
    }

    fn rename_file(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let fault = Self::begin(&mut state)?;
        // One for which there is no room leaves the folder as it was.
        state.rename_refused |= fault == Some(Fault::NoSpace);
        if fault.is_none() || (fault != Some(Fault::NoSpace) && state.rng.random_bool(0.5)) {
            let file = state.files.remove(from).ok_or_else(|| missing(from))?;
            let before = state.files.insert(to.to_owned(), file);
            if fault.is_none() {
                state.unsynced.push(Undo::Renamed(from.to_owned(), to.to_owned(), before));
            }
        }
        match fault {
            None => Ok(()),
            Some(fault) => Err(self.failed(state, fault)),
        }
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let fault = Self::begin(&mut state)?;
        if fault.is_none() || state.rng.random_bool(0.5) {
            let file = state.files.remove(name);
            let undo = file.filter(|_| fault.is_none()).map(|file| Undo::Removed(name.to_owned(), file));
            state.unsynced.extend(undo);
        }
        match fault {
            None => Ok(()),
            Some(fault) => Err(self.failed(state, fault)),
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.cut {
            return Err(io::Error::other("the power is gone"));
        }
        let fault = if state.name_syncs_fail { Self::begin(&mut state)? } else { None };
        if let Some(fault) = fault {
            // Some of them may be there already.
            let State { rng, unsynced, .. } = &mut *state;
            unsynced.drain(..rng.random_range(0..=unsynced.len()));
            return Err(self.failed(state, fault));
        }
        if !state.name_sync_lies {
            state.unsynced.clear();
        }
        Ok(())
    }
}
