//! The keys of OSDP readers: one line each of code and key, in a file that only its owner may read.
//!
//! `reader-keys` in the gateway's data folder, or the systemd credential of that name where there is one. A key is on
//! the disk before its reader hears of it: marked `pending` until the reader has proved that it took it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::core::hex;
use crate::osdp::secure_channel::Key;

/// The file's name.
const NAME: &str = "reader-keys";
const PENDING: &str = "pending";
const HEAD: &str = "# Keys of OSDP readers. Whoever has this file can open their lines.\n";

/// What is known of a reader's key.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The key that the reader has proved to have.
    pub key: Option<Key>,
    /// Those that it was to get since then, the last one last: any of them may be its key.
    pub pending: Vec<Key>,
}

/// All keys.
#[derive(Debug)]
pub struct ReaderKeys {
    path: PathBuf,
    writable: bool,
    readers: BTreeMap<String, Known>,
}

impl ReaderKeys {
    /// Reads them; none when there is no file.
    ///
    /// # Errors
    /// When the file may be read by others, or is malformed: then its line.
    pub fn load(data: &Path) -> anyhow::Result<Self> {
        let credential =
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(NAME));
        match credential.filter(|path| path.exists()) {
            Some(path) => Self::read(path, false),
            None => Self::read(data.join(NAME), true),
        }
    }

    fn read(path: PathBuf, writable: bool) -> anyhow::Result<Self> {
        let mut readers = BTreeMap::<String, Known>::new();
        if !path.exists() {
            return Ok(Self { path, writable, readers });
        }
        let name = path.display();
        let mode = std::fs::metadata(&path).with_context(|| format!("{name} cannot be read"))?.mode();
        ensure!(mode & 0o077 == 0, "{name} may be read by others: chmod 600 {name}");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{name} cannot be read"))?;
        for (number, line) in crate::private::lines(&text) {
            let mut words = line.split_whitespace();
            let key = words.clone().nth(1).and_then(key_of);
            let (Some(code), Some(key)) = (words.next(), key) else {
                bail!("{name}, line {number}: not like 'CODE 32-HEX-DIGITS'");
            };
            let known = readers.entry(code.to_owned()).or_default();
            match words.nth(1) {
                None => {
                    ensure!(known.key.replace(key).is_none(), "{name}, line {number}: {code} stands twice");
                }
                Some(PENDING) => known.pending.push(key),
                Some(_) => bail!("{name}, line {number}: nothing but 'pending' may follow the key"),
            }
        }
        Ok(Self { path, writable, readers })
    }

    /// The key to talk to a reader by: the one that it was to get counts while nobody knows whether it did, because a
    /// reader that had a key must never again be talked to in clear text.
    #[must_use]
    pub fn key(&self, code: &str) -> Option<&Key> {
        let known = self.readers.get(code)?;
        known.key.as_ref().or(known.pending.last())
    }

    /// What is known of a reader's key.
    #[must_use]
    pub fn known(&self, code: &str) -> Known {
        self.readers.get(code).cloned().unwrap_or_default()
    }

    /// Keeps a key that a reader is to get; none that it may have is forgotten for it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&mut self, code: &str, key: Key) -> anyhow::Result<()> {
        self.readers.entry(code.to_owned()).or_default().pending.push(key);
        self.write()
    }

    /// The reader has proved that it has this key: the others are none of its.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&mut self, code: &str, key: Key) -> anyhow::Result<()> {
        self.readers.insert(code.to_owned(), Known { key: Some(key), pending: Vec::new() });
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        let name = self.path.display();
        ensure!(self.writable, "{name} is a systemd credential: change it where it comes from");
        let mut text = HEAD.to_owned();
        for (code, known) in &self.readers {
            let pending = known.pending.iter().map(|key| (key, " pending"));
            for (key, mark) in known.key.iter().map(|key| (key, "")).chain(pending) {
                text.push_str(&format!("{code} {}{mark}\n", hex(key.bytes())));
            }
        }
        crate::private::write(&self.path, text.as_bytes())
            .with_context(|| format!("{name} cannot be written"))
    }
}

/// A key from 32 hex digits.
fn key_of(text: &str) -> Option<Key> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Key::new(bytes))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_kept_before_its_reader_hears_of_it_and_only_its_owner_may_read_it() {
        let data = tempfile::tempdir().unwrap();
        let mut keys = ReaderKeys::load(data.path()).unwrap();
        assert!(keys.key("D1").is_none());
        let (old, new) = (Key::new([1; 16]), Key::new([2; 16]));
        keys.begin("D1", old.clone()).unwrap();
        assert_eq!(ReaderKeys::load(data.path()).unwrap().key("D1"), Some(&old), "it may have it");
        keys.finish("D1", old.clone()).unwrap();
        let tried = [Key::new([3; 16]), new.clone()];
        for key in &tried {
            keys.begin("D1", key.clone()).unwrap();
        }
        let mut again = ReaderKeys::load(data.path()).unwrap();
        assert_eq!(again.key("D1"), Some(&old));
        assert_eq!(again.known("D1").pending, tried, "the reader may have any of them");
        again.finish("D1", new.clone()).unwrap();
        let again = ReaderKeys::load(data.path()).unwrap();
        assert_eq!((again.key("D1"), again.known("D1").pending), (Some(&new), Vec::new()));

        let path = data.path().join(NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = ReaderKeys::load(data.path()).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_malformed_file_is_refused_with_its_line() {
        let data = tempfile::tempdir().unwrap();
        let twice = format!("D1 {0}\nD1 {0}\n", "ab".repeat(16));
        for (text, place) in [
            ("# keys\nD1 12", "line 2"),
            ("D1", "line 1"),
            ("D1 é00000000000000000000000000000 ", "line 1"),
            (&format!("D1 {} soon", "0".repeat(32)), "line 1"),
            (&twice, "line 2"),
        ] {
            crate::private::write(&data.path().join(NAME), text.as_bytes()).unwrap();
            let error = ReaderKeys::load(data.path()).unwrap_err().to_string();
            assert!(error.contains(place) && !error.contains("abab"), "{text}: {error}");
        }
    }
}
