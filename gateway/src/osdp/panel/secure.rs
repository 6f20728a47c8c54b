//! The secure channel to one device: from its handshake to the frames sealed in it.
//!
//! Owned by `device`, which knows whose turn it is and what an error means for the session.

use super::{MS, Micros};
use crate::osdp::command::Command;
use crate::osdp::frame::{Check, Frame, Secured};
use crate::osdp::reply::Reply;
use crate::osdp::secure_channel::{Challenge, Key, Proof, Randoms, SecureError, Session, block};

/// A channel that stood for so long is no accident: what broke before it is forgotten.
const LASTS_AFTER: Micros = 10_000 * MS;
/// NAK 1: the command came in damaged.
const DAMAGED: u8 = 1;

/// How far the channel is.
#[derive(Debug)]
enum Channel {
    Closed,
    Begun(Challenge),
    Proved(Box<Proof>),
    Open(Box<Session>),
}

/// What secures the line to a device that has a key.
#[derive(Debug)]
pub(super) struct Secure {
    key: Key,
    /// The key that it is to get.
    install: Option<Key>,
    randoms: Randoms,
    channel: Channel,
    /// It was told that there is no channel.
    pub(super) alarmed: bool,
    /// How often in a row the channel broke before it had lasted.
    pub(super) breaks: u32,
    /// When the present channel was opened.
    opened: Micros,
    /// When the device last proved that it has the key, or was first heard since it was silent.
    pub(super) proved: Micros,
}

impl Secure {
    pub(super) fn new(key: Key, install: Option<Key>, seed: [u8; 16]) -> Self {
        Self {
            key,
            install,
            randoms: Randoms::new(seed),
            channel: Channel::Closed,
            alarmed: false,
            breaks: 0,
            opened: 0,
            proved: 0,
        }
    }

    pub(super) fn close(&mut self) {
        self.channel = Channel::Closed;
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.channel, Channel::Open(_))
    }

    pub(super) fn installs(&self) -> bool {
        self.install.is_some()
    }

    /// The device has taken its new key.
    pub(super) fn installed(&mut self) -> Option<Key> {
        let new = self.install.take()?;
        self.key = new.clone();
        Some(new)
    }

    /// The bytes of a command that goes out for the first time.
    pub(super) fn frame(&mut self, address: u8, sequence: u8, check: Check, command: Command) -> Vec<u8> {
        let plain = |data| Frame::command(address, sequence, check, command.code(), data);
        match (&mut self.channel, command) {
            (channel, Command::Challenge) => {
                let challenge = Challenge::new(self.key.clone(), self.randoms.fresh());
                let (block, data) = challenge.command();
                *channel = Channel::Begun(challenge);
                plain(data).encode_secured(&block)
            }
            (Channel::Proved(proof), Command::ServerCryptogram) => {
                let (block, data) = proof.command();
                plain(data).encode_secured(&block)
            }
            (Channel::Open(session), Command::KeySet) => {
                let new = self.install.as_ref().unwrap_or(&self.key);
                let data = [&[1, 16], &new.bytes()[..]].concat();
                session.seal(address, sequence, check, command.code(), &data)
            }
            (Channel::Open(session), command) => {
                session.seal(address, sequence, check, command.code(), &command.data())
            }
            (_, command) => plain(command.data()).encode(),
        }
    }

    /// Whether a secured reply belongs to where the channel is now.
    pub(super) fn fits(&self, sealed: &Secured) -> bool {
        match (&self.channel, sealed.block.first()) {
            (Channel::Begun(_), Some(kind)) => *kind == block::CLIENT_CRYPTOGRAM,
            (Channel::Proved(_), Some(kind)) => *kind == block::INITIAL_MAC,
            (Channel::Open(_), Some(kind)) => matches!(*kind, block::REPLY_MAC | block::REPLY_SEALED),
            (Channel::Closed, _) | (_, None) => false,
        }
    }

    /// What a reply says, if it may say it here.
    pub(super) fn read(
        &mut self,
        frame: &Frame,
        sealed: Option<&Secured>,
        now: Micros,
    ) -> Result<Reply, SecureError> {
        let Some(sealed) = sealed else {
            let reply = Reply::decode(frame.code, &frame.data);
            return match (&self.channel, reply) {
                (Channel::Open(_), reply @ (Reply::Busy | Reply::Nak(DAMAGED))) => Ok(reply),
                (Channel::Open(_), Reply::Nak(reason)) => Err(SecureError::Refused(reason)),
                (Channel::Open(_), _) => Err(SecureError::Clear),
                (_, reply) => Ok(reply),
            };
        };
        match &mut self.channel {
            Channel::Begun(challenge) => {
                self.channel = Channel::Proved(Box::new(challenge.answered(&sealed.block, &frame.data)?));
                self.proved = now;
                Ok(Reply::ClientCryptogram)
            }
            Channel::Proved(proof) => {
                self.channel = Channel::Open(Box::new(proof.answered(&sealed.block, &frame.data)?));
                (self.opened, self.proved) = (now, now);
                Ok(Reply::InitialMac)
            }
            Channel::Open(session) => {
                let data = session.open(sealed)?;
                self.proved = now;
                if now >= self.opened + LASTS_AFTER {
                    (self.alarmed, self.breaks) = (false, 0);
                }
                Ok(Reply::decode(frame.code, &data))
            }
            Channel::Closed => Err(SecureError::Form),
        }
    }
}
