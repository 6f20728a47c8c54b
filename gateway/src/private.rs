//! Files that only their owner may read, and that are whole or not there at all.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::journal::disk::is_full;

mod turns;

pub(crate) use turns::InTurn;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Makes a file of mode 0600, or puts another in its place; on the disk when this returns.
///
/// # Errors
/// When the disk refuses. What stood there before then still does.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The same for a small file that must go on being written when the disk is full: then its bytes are written over, in their
/// own place. That place is one sector, so that a power cut leaves the one or the other.
///
/// # Errors
/// When the disk refuses that too.
pub(crate) fn write_though_full(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut sector = bytes.to_vec();
    // Spaces behind JSON mean nothing.
    sector.resize(sector.len().next_multiple_of(SECTOR), b' ');
    match write(path, &sector) {
        Err(error) if is_full(&error) => {
            let mut file = OpenOptions::new().write(true).open(path).map_err(|_| error)?;
            file.write_all(&sector)?;
            file.sync_all()
        }
        done => done,
    }
}

/// Makes a file of mode 0600 to be written to, empty if it was there.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One that was there had a mode of its own.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// The lines of such a file that say something, with their numbers: neither empty nor a comment.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Such a file with a line for each reader: its code and `N` words.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    path: PathBuf,
    head: &'static str,
    rows: BTreeMap<String, [String; N]>,
}

impl<const N: usize> Table<N> {
    /// Reads it; empty when there is no file. `head` is its first line, `like` shows what the others are like.
    ///
    /// # Errors
    /// When the file cannot be read or is malformed: then its line.
    pub(crate) fn load(path: PathBuf, head: &'static str, like: &str) -> anyhow::Result<Self> {
        let (mut rows, name) = (BTreeMap::new(), path.display());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("{name} cannot be read")),
        };
        for (number, line) in lines(&text) {
            let mut words = line.split_whitespace().map(str::to_owned);
            let (code, row) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>());
            let Ok(row) = <[String; N]>::try_from(row) else {
                bail!("{name}, line {number}: not like '{like}'");
            };
            ensure!(rows.insert(code.clone(), row).is_none(), "{name}, line {number}: {code} stands twice");
        }
        Ok(Self { path, head, rows })
    }

    /// What is there for a reader.
    pub(crate) fn get(&self, code: &str) -> Option<&[String; N]> {
        self.rows.get(code)
    }

    /// Puts a reader's line in the place of its earlier one; on the disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn put(&mut self, code: &str, row: [String; N]) -> anyhow::Result<()> {
        self.rows.insert(code.to_owned(), row);
        let mut text = format!("{}\n", self.head);
        for (code, row) in &self.rows {
            text.push_str(&format!("{code} {}\n", row.join(" ")));
        }
        write(&self.path, text.as_bytes())
            .with_context(|| format!("{} cannot be written", self.path.display()))
    }
}
