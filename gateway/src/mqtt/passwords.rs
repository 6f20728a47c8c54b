//! The passwords of MQTT readers: a line each of code, salt and hash, in a file that only its owner may read.
//!
//! Passwords are made here and are 128 random bits, so that a plain SHA-256 does: there is nothing to guess.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::core::{hex, same};
use crate::private::Table;

const HEAD: &str =
    "# MQTT readers: code, salt, SHA-256 of salt and password. Made by rollcall-gateway reader password.";

/// The file in the gateway's data folder.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join("reader-passwords")
}

/// All passwords, as far as they are known: their hashes.
#[derive(Debug)]
pub struct Passwords(Table<2>);

impl Passwords {
    /// Reads them; none when there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or is malformed: then its line.
    pub fn load(data: &Path) -> anyhow::Result<Self> {
        Table::load(path(data), HEAD, "CODE SALT HASH").map(Self)
    }

    /// Gives a reader a new password; the old one is worth nothing any more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn renew(&mut self, code: &str) -> anyhow::Result<String> {
        let password = URL_SAFE_NO_PAD.encode(crate::random::bytes());
        let salt = hex(&crate::random::bytes());
        let hash = hash(&salt, &password);
        self.0.put(code, [salt, hash])?;
        Ok(password)
    }

    /// Whether this reader has one.
    #[must_use]
    pub fn has(&self, code: &str) -> bool {
        self.0.get(code).is_some()
    }

    /// Whether this is the reader's password.
    #[must_use]
    pub fn are(&self, code: &str, password: &str) -> bool {
        let Some([salt, known]) = self.0.get(code) else { return false };
        same(hash(salt, password).as_bytes(), known.as_bytes())
    }
}

fn hash(salt: &str, password: &str) -> String {
    hex(&Sha256::new().chain_update(salt).chain_update(password).finalize())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_stands_nowhere() {
        let data = tempfile::tempdir().unwrap();
        let mut passwords = Passwords::load(data.path()).unwrap();
        let first = passwords.renew("D2").unwrap();
        let second = passwords.renew("D2").unwrap();
        let other = passwords.renew("D3").unwrap();
        let again = Passwords::load(data.path()).unwrap();
        assert!(again.are("D2", &second) && again.are("D3", &other));
        assert!(!again.are("D2", &first) && !again.are("D2", &other) && !again.are("D4", ""));
        let text = std::fs::read_to_string(path(data.path())).unwrap();
        assert!(!text.contains(&second));
        std::fs::write(path(data.path()), "# x\nD2 only\n").unwrap();
        assert!(Passwords::load(data.path()).unwrap_err().to_string().contains("line 2"));
    }
}
