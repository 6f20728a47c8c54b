//! The gateway's own key, made on the device, and its signature under the journal's end.

use std::io;
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use uuid::Uuid;

use crate::core::{hex, unhex};

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
