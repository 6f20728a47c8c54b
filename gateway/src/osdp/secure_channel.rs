//! OSDP's secure channel, the panel's side (SIA OSDP v2.2, annex D): one handshake, then a chain of sealed frames.
//!
//! ```text
//! CHLNG  SCS_11  our random number             ▶
//!                                              ◀ CCRYPT  SCS_12  its random number and its cryptogram
//! SCRYPT SCS_13  our cryptogram                ▶
//!                                              ◀ RMAC_I  SCS_14  the first reply MAC
//! SCS_15 (MAC) or SCS_17 (MAC and encrypted)   ▶
//!                                              ◀ SCS_16 or SCS_18
//! ```
//! Each MAC starts from the one before it, of the other direction: a frame that is left out, repeated or made up
//! breaks the chain. Nothing here knows of devices, time or where keys come from.

use std::fmt;

use aes::Aes128;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};

use super::frame::{Check, Frame, Secured};
use crate::core::same;

type Block = [u8; 16];

/// How much of a MAC goes over the wire, in bytes.
pub const MAC_BYTES: usize = 4;
/// Padding begins with this.
const PAD: u8 = 0x80;

/// A key of a reader (SCBK), 128 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Block);

impl Key {
    /// The key that everybody knows (SCBK-D): for the minute in which a reader gets one of its own.
    pub const DEFAULT: Self = Self([
        0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f,
    ]);

    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, which are a secret.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether it is the one that everybody knows.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::DEFAULT
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_default() { "Key(SCBK-D)" } else { "Key(…)" })
    }
}

/// Why the channel cannot be had, or cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecureError {
    /// The device proved that it has another key, or none.
    #[error("the reader does not have this key")]
    Key,
    /// A MAC is wrong: a frame was changed, left out or repeated, or the device started anew.
    #[error("a frame's MAC is wrong")]
    Mac,
    /// What was sealed cannot be read.
    #[error("a sealed frame is malformed")]
    Form,
    /// A frame came in clear text where only sealed ones may.
    #[error("the reader spoke in clear text")]
    Clear,
    /// It answers and does not prove that it has the key.
    #[error("the reader answers, and does not prove that it has its key")]
    Unproved,
    /// The device refuses, with this reason of its NAK.
    #[error("the reader refuses a secure channel (NAK {0})")]
    Refused(u8),
}

/// Security blocks by their type.
pub mod block {
    /// CHLNG.
    pub const CHALLENGE: u8 = 0x11;
    /// CCRYPT.
    pub const CLIENT_CRYPTOGRAM: u8 = 0x12;
    /// SCRYPT.
    pub const SERVER_CRYPTOGRAM: u8 = 0x13;
    /// RMAC_I.
    pub const INITIAL_MAC: u8 = 0x14;
    /// A command with a MAC.
    pub const COMMAND_MAC: u8 = 0x15;
    /// A reply with a MAC.
    pub const REPLY_MAC: u8 = 0x16;
    /// A command with a MAC, and its data encrypted.
    pub const COMMAND_SEALED: u8 = 0x17;
    /// A reply with a MAC, and its data encrypted.
    pub const REPLY_SEALED: u8 = 0x18;
}

/// The number in a handshake's security block that says which key it is by.
fn key_number(key: &Key) -> u8 {
    if key.is_default() { 0 } else { 1 }
}

/// A handshake that was begun.
#[derive(Debug, Clone)]
pub struct Challenge {
    key: Key,
    random: [u8; 8],
}

impl Challenge {
    /// Begins one by this key. The random number must never have been used before: whoever recorded a session could
    /// play its device's part again.
    #[must_use]
    pub fn new(key: Key, random: [u8; 8]) -> Self {
        Self { key, random }
    }

    /// The security block and the data of CHLNG.
    #[must_use]
    pub fn command(&self) -> ([u8; 2], Vec<u8>) {
        ([block::CHALLENGE, key_number(&self.key)], self.random.to_vec())
    }

    /// Takes CCRYPT: the device's id (8 bytes), its random number (8) and its cryptogram (16).
    ///
    /// # Errors
    /// When it is malformed, or the device does not have the key.
    pub fn answered(&self, security: &[u8], data: &[u8]) -> Result<Proof, SecureError> {
        let &[block::CLIENT_CRYPTOGRAM, number, ..] = security else { return Err(SecureError::Form) };
        let (_id, rest) = data.split_first_chunk::<8>().ok_or(SecureError::Form)?;
        let (theirs, rest) = rest.split_first_chunk::<8>().ok_or(SecureError::Form)?;
        let cryptogram = rest.first_chunk::<16>().ok_or(SecureError::Form)?;
        let keys = SessionKeys::new(&self.key, &self.random);
        let expected = encrypted(&keys.enc, joined(&self.random, theirs));
        if number != key_number(&self.key) || !same(cryptogram, &expected) {
            return Err(SecureError::Key);
        }
        let own = encrypted(&keys.enc, joined(theirs, &self.random));
        Ok(Proof { keys, number, own })
    }
}

/// The device has proved that it has the key; now it is our turn.
#[derive(Clone)]
pub struct Proof {
    keys: SessionKeys,
    number: u8,
    own: Block,
}

impl fmt::Debug for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Proof(…)")
    }
}

impl Proof {
    /// The security block and the data of SCRYPT.
    #[must_use]
    pub fn command(&self) -> ([u8; 2], Vec<u8>) {
        ([block::SERVER_CRYPTOGRAM, self.number], self.own.to_vec())
    }

    /// Takes RMAC_I: the first reply MAC. Its block says 1 when the device took our cryptogram.
    ///
    /// # Errors
    /// When it is malformed, or the device did not take it.
    pub fn answered(&self, security: &[u8], data: &[u8]) -> Result<Session, SecureError> {
        let expected = encrypted(&self.keys.mac2, encrypted(&self.keys.mac1, self.own));
        match (security, data.first_chunk::<16>()) {
            (&[block::INITIAL_MAC, 1, ..], Some(first)) if same(first, &expected) => {
                Ok(Session { keys: self.keys.clone(), command_mac: [0; 16], reply_mac: *first })
            }
            (&[block::INITIAL_MAC, ..], _) => Err(SecureError::Key),
            _ => Err(SecureError::Form),
        }
    }
}

/// The keys of one session, made from the reader's key and our random number.
#[derive(Clone)]
struct SessionKeys {
    enc: Aes128,
    mac1: Aes128,
    mac2: Aes128,
}

impl SessionKeys {
    fn new(key: &Key, random: &[u8; 8]) -> Self {
        let base = Aes128::new(&key.0.into());
        let derived = |first: [u8; 2]| {
            let mut seed = [0; 16];
            seed[..2].copy_from_slice(&first);
            seed[2..8].copy_from_slice(&random[..6]);
            Aes128::new(&encrypted(&base, seed).into())
        };
        Self { enc: derived([1, 0x82]), mac1: derived([1, 1]), mac2: derived([1, 2]) }
    }
}

/// A channel that stands.
#[derive(Clone)]
pub struct Session {
    keys: SessionKeys,
    command_mac: Block,
    reply_mac: Block,
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Session(…)")
    }
}

impl Session {
    /// The bytes of a command's frame. Each call is one link of the chain: what must be repeated is sent again as it
    /// was.
    pub fn seal(&mut self, address: u8, sequence: u8, check: Check, code: u8, data: &[u8]) -> Vec<u8> {
        let (kind, data) = if data.is_empty() {
            (block::COMMAND_MAC, Vec::new())
        } else {
            (block::COMMAND_SEALED, self.encrypt(data))
        };
        let frame = Frame::command(address, sequence, check, code, data);
        frame.encode_sealed(&[kind], |signed| {
            self.command_mac = self.mac(self.reply_mac, signed);
            [self.command_mac[0], self.command_mac[1], self.command_mac[2], self.command_mac[3]]
        })
    }

    /// Reads a reply: its data. Only a good one moves the chain on.
    ///
    /// # Errors
    /// When its MAC or its padding is wrong.
    pub fn open(&mut self, reply: &Secured) -> Result<Vec<u8>, SecureError> {
        let &[kind, ..] = &reply.block[..] else { return Err(SecureError::Form) };
        let data = &reply.frame.data;
        let split = data.len().checked_sub(MAC_BYTES).ok_or(SecureError::Form)?;
        let (data, mac) = data.split_at(split);
        let signed = reply.wire.len().checked_sub(MAC_BYTES).ok_or(SecureError::Form)?;
        let found = self.mac(self.command_mac, &reply.wire[..signed]);
        if !same(mac, &found[..MAC_BYTES]) {
            return Err(SecureError::Mac);
        }
        let data = match kind {
            block::REPLY_MAC => data.to_vec(),
            block::REPLY_SEALED => self.decrypt(data)?,
            _ => return Err(SecureError::Form),
        };
        self.reply_mac = found;
        Ok(data)
    }

    /// CBC over padded blocks, all but the last under the first key.
    fn mac(&self, start: Block, signed: &[u8]) -> Block {
        let mut chain = start;
        let last = signed.len().saturating_sub(1) / 16;
        for (index, piece) in signed.chunks(16).enumerate() {
            let mut block = [0; 16];
            block[..piece.len()].copy_from_slice(piece);
            if piece.len() < 16 {
                block[piece.len()] = PAD;
            }
            let key = if index == last { &self.keys.mac2 } else { &self.keys.mac1 };
            chain = encrypted(key, xor(block, chain));
        }
        chain
    }

    /// Data of commands is chained from the complement of the last reply's MAC.
    fn encrypt(&self, data: &[u8]) -> Vec<u8> {
        let mut padded = data.to_vec();
        padded.push(PAD);
        padded.resize(padded.len().next_multiple_of(16), 0);
        let mut chain = self.reply_mac.map(|byte| !byte);
        for piece in padded.as_chunks_mut::<16>().0 {
            chain = encrypted(&self.keys.enc, xor(*piece, chain));
            *piece = chain;
        }
        padded
    }

    /// Data of replies, from the complement of the last command's MAC. None at all is taken for no data.
    fn decrypt(&self, data: &[u8]) -> Result<Vec<u8>, SecureError> {
        let (blocks, rest) = data.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(SecureError::Form);
        }
        let mut chain = self.command_mac.map(|byte| !byte);
        let mut clear = Vec::with_capacity(data.len());
        for sealed in blocks {
            let mut block = (*sealed).into();
            self.keys.enc.decrypt_block(&mut block);
            clear.extend(xor(block.into(), chain));
            chain = *sealed;
        }
        let end = clear.iter().rposition(|byte| *byte != 0);
        match end {
            None if data.is_empty() => Ok(clear),
            Some(end) if clear[end] == PAD => {
                clear.truncate(end);
                Ok(clear)
            }
            _ => Err(SecureError::Form),
        }
    }
}

/// Numbers that nobody else can guess and that never come twice, from a seed that must be random.
#[derive(Clone)]
pub struct Randoms {
    cipher: Aes128,
    count: u128,
}

impl fmt::Debug for Randoms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Randoms(…)")
    }
}

impl Randoms {
    /// From a seed.
    #[must_use]
    pub fn new(seed: [u8; 16]) -> Self {
        Self { cipher: Aes128::new(&seed.into()), count: 0 }
    }

    /// Another one.
    pub fn fresh(&mut self) -> [u8; 8] {
        self.count += 1;
        let [a, b, c, d, e, f, g, h, ..] = encrypted(&self.cipher, self.count.to_be_bytes());
        [a, b, c, d, e, f, g, h]
    }
}

fn encrypted(key: &Aes128, block: Block) -> Block {
    let mut block = block.into();
    key.encrypt_block(&mut block);
    block.into()
}

fn joined(first: &[u8; 8], second: &[u8; 8]) -> Block {
    let mut block = [0; 16];
    block[..8].copy_from_slice(first);
    block[8..].copy_from_slice(second);
    block
}

fn xor(mut left: Block, right: Block) -> Block {
    for (byte, other) in left.iter_mut().zip(right) {
        *byte ^= other;
    }
    left
}

#[cfg(test)]
mod tests;
