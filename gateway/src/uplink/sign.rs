//! The gateway's own key, made on the device, and its signature under the journal's end.

use std::io;
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use uuid::Uuid;

use crate::core::{hex, unhex};
use crate::journal::disk::is_bad_spot;

/// The key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Reads the key, or makes one that never leaves this machine; only its owner may read the file.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds no key.
    pub fn load(path: &Path) -> io::Result<Self> {
        let document = match std::fs::read(path) {
            Ok(document) => document,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
            Err(error) => return Err(error),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&document)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(Self { pair })
    }

    /// As [`SigningKey::load`], and where what is there is no key, or lies on a bad spot of the disk, it is set aside and another
    /// made: better another key, of which the hub calls people, than a term of swipes without a signature.
    ///
    /// # Errors
    /// When the file cannot be read for another reason, set aside or made.
    pub fn load_or_renew(path: &Path) -> io::Result<Self> {
        // A reader of cards that is loose fails once, and then no more.
        let error = match Self::load(path).or_else(|_| Self::load(path)) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData || is_bad_spot(&error) => error,
            loaded => return loaded,
        };
        let aside = path.with_extension("damaged");
        tracing::error!(
            "the signing key {} cannot be used ({error}): it is now {}, and another is made",
            path.display(),
            aside.display()
        );
        std::fs::rename(path, aside)?;
        Self::load(path)
    }

    /// The public key, hex digits.
    #[must_use]
    pub fn public(&self) -> String {
        hex(self.pair.public_key().as_ref())
    }

    /// Signs the end of a journal: the same words as the hub's `service::intake::evidence::message`. Hex digits.
    #[must_use]
    pub fn sign(&self, journal: Uuid, through: u64, chain: &[u8], signed_at: i64) -> String {
        hex(self.pair.sign(words(journal, through, chain, signed_at).as_bytes()).as_ref())
    }
}

/// What stands before what is signed of an export, so that it is no signature of anything else.
const EXPORT: &str = "rollcall journal export 1\n";

impl SigningKey {
    /// Signs the lines of an export by their SHA-256. Hex digits.
    #[must_use]
    pub fn seal(&self, digest: &[u8]) -> String {
        hex(self.pair.sign(format!("{EXPORT}{}\n", hex(digest)).as_bytes()).as_ref())
    }
}

/// Whether a seal on the lines of an export is one of this public key's; both as hex digits.
#[must_use]
pub fn seals(key: &str, signature: &str, digest: &[u8]) -> bool {
    let (Some(key), Some(signature)) = (unhex(key), unhex(signature)) else { return false };
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(format!("{EXPORT}{}\n", hex(digest)).as_bytes(), &signature).is_ok()
}

fn words(journal: Uuid, through: u64, chain: &[u8], signed_at: i64) -> String {
    format!("rollcall journal head 1\n{journal}\n{through}\n{}\n{signed_at}\n", hex(chain))
}

/// Whether a signature under the end of a journal is one of this public key's; both as hex digits.
#[must_use]
pub fn verify(key: &str, signature: &str, journal: Uuid, through: u64, chain: &[u8], signed_at: i64) -> bool {
    let (Some(key), Some(signature)) = (unhex(key), unhex(signature)) else { return false };
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(words(journal, through, chain, signed_at).as_bytes(), &signature).is_ok()
}

fn make(path: &Path) -> io::Result<Vec<u8>> {
    let failed = |_| io::Error::other("the system has no randomness for a key");
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
    crate::private::write(path, document.as_ref())?;
    Ok(document.as_ref().to_vec())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_rotted_is_set_aside_and_another_made_and_one_that_holds_stays() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("signing-key");
        let first = SigningKey::load_or_renew(&path).unwrap().public();
        assert_eq!(SigningKey::load_or_renew(&path).unwrap().public(), first);
        std::fs::write(&path, b"rot").unwrap();
        assert!(SigningKey::load(&path).is_err(), "whoever only looks makes none");
        let other = SigningKey::load_or_renew(&path).unwrap().public();
        assert_ne!(other, first);
        assert_eq!(std::fs::read(data.path().join("signing-key.damaged")).unwrap(), b"rot");
        assert_eq!(SigningKey::load(&path).unwrap().public(), other);
    }
}
