//! The channel against the standard's example, and a device's side of it for other tests.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use super::*;
use crate::osdp::frame::{Decoded, Decoder};
use proptest::prelude::*;

/// The device's side, for tests: libosdp's is what it is held against.
impl Session {
    /// What CCRYPT and RMAC_I hold, and the channel, as a device makes them.
    pub(crate) fn of_device(key: &Key, theirs: &[u8; 8], own: [u8; 8]) -> (Vec<u8>, Vec<u8>, Self) {
        let keys = SessionKeys::new(key, theirs);
        let client = encrypted(&keys.enc, joined(theirs, &own));
        let server = encrypted(&keys.enc, joined(&own, theirs));
        let first = encrypted(&keys.mac2, encrypted(&keys.mac1, server));
        let answer = [&[9; 8], &own[..], &client].concat();
        (answer, first.to_vec(), Self { keys, command_mac: [0; 16], reply_mac: first })
    }

    /// Notes a command that came in.
    pub(crate) fn take_command(&mut self, command: &Secured) {
        self.command_mac = self.mac(self.reply_mac, &command.wire[..command.wire.len() - MAC_BYTES]);
    }

    /// A reply's frame.
    pub(crate) fn seal_reply(&mut self, address: u8, sequence: u8, code: u8, data: &[u8]) -> Vec<u8> {
        let swapped = Self { keys: self.keys.clone(), command_mac: [0; 16], reply_mac: self.command_mac };
        let (kind, data) = match data {
            [] => (block::REPLY_MAC, Vec::new()),
            data => (block::REPLY_SEALED, swapped.encrypt(data)),
        };
        let mut frame = Frame::command(address, sequence, Check::Crc, code, data);
        frame.reply = true;
        frame.encode_sealed(&[kind], |signed| {
            self.reply_mac = self.mac(self.command_mac, signed);
            [self.reply_mac[0], self.reply_mac[1], self.reply_mac[2], self.reply_mac[3]]
        })
    }
}

const OURS: [u8; 8] = [0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7];
const THEIRS: [u8; 8] = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7];

fn bytes(hex: &str) -> Vec<u8> {
    hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn ccrypt(cryptogram: &[u8]) -> Vec<u8> {
    [&[9; 8], &THEIRS[..], cryptogram].concat()
}

/// The values of annex E of the standard, under SCBK-D.
#[test]
fn a_handshake_is_that_of_the_standards_example() {
    let challenge = Challenge::new(Key::DEFAULT, OURS);
    assert_eq!(challenge.command(), ([0x11, 0], OURS.to_vec()));
    let client = bytes("fd e5 d2 f4 28 ec 16 31 24 71 ea 3c 02 bd 77 96");
    let proof = challenge.answered(&[0x12, 0], &ccrypt(&client)).unwrap();
    let server = bytes("26 d3 35 6e 07 76 2d 26 28 01 fc 8e 66 65 a8 91");
    assert_eq!(proof.command(), ([0x13, 0], server));
    let first = bytes("b2 a3 00 57 eb 98 ba 22 29 ec 1f 87 56 62 b5 24");
    assert!(proof.answered(&[0x14, 1], &first).is_ok());

    let derived = |key: &Aes128| encrypted(key, [0; 16]);
    let made = |hex: &str| derived(&Aes128::new(&Block::try_from(bytes(hex)).unwrap().into()));
    assert_eq!(derived(&proof.keys.mac1), made("5e 86 c6 76 60 3b de e2 d8 be af e1 78 63 73 32"));
    assert_eq!(derived(&proof.keys.mac2), made("6f da 86 e8 57 77 7e 81 13 20 35 75 82 39 17 2e"));
    assert_eq!(derived(&proof.keys.enc), made("bf 8d c2 a8 32 9a cb 8c 67 c6 d0 cd 9a 45 16 82"));
}

#[test]
fn a_device_with_another_key_or_one_that_does_not_take_ours_has_no_channel() {
    let challenge = Challenge::new(Key::new([7; 16]), OURS);
    let client = bytes("fd e5 d2 f4 28 ec 16 31 24 71 ea 3c 02 bd 77 96");
    assert_eq!(challenge.answered(&[0x12, 1], &ccrypt(&client)).unwrap_err(), SecureError::Key);
    let challenge = Challenge::new(Key::DEFAULT, OURS);
    assert_eq!(challenge.answered(&[0x12, 1], &ccrypt(&client)).unwrap_err(), SecureError::Key);
    let proof = challenge.answered(&[0x12, 0], &ccrypt(&client)).unwrap();
    let first = bytes("b2 a3 00 57 eb 98 ba 22 29 ec 1f 87 56 62 b5 24");
    assert_eq!(proof.answered(&[0x14, 0], &first).unwrap_err(), SecureError::Key);
    assert_eq!(proof.answered(&[0x14, 1], &[0; 16]).unwrap_err(), SecureError::Key);
    for length in 0..16 {
        assert!(proof.answered(&[0x14, 1], &first[..length]).is_err());
        assert_eq!(challenge.answered(&[0x12, 0], &first[..length]).unwrap_err(), SecureError::Form);
    }
}

#[test]
fn a_key_is_never_printed() {
    assert_eq!(format!("{:?}", Key::new(*b"an open secret!!")), "Key(…)");
}

fn session() -> Session {
    let keys = SessionKeys::new(&Key::DEFAULT, &OURS);
    Session { keys, command_mac: [3; 16], reply_mac: [5; 16] }
}

fn secured(wire: &[u8]) -> Secured {
    let mut decoder = Decoder::default();
    decoder.feed(wire);
    let Some(Decoded::Secured(found)) = decoder.take() else { panic!("no sealed frame") };
    *found
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_once_and_never_changed(
        data in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..100, bit in 0u8..8,
    ) {
        let mut session = session();
        let wire = session.clone().seal_reply(1, 2, 0x50, &data);
        let reply = secured(&wire);
        let mut forged = reply.clone();
        let index = at % forged.wire.len();
        forged.wire[index] ^= 1 << bit;
        let from = forged.wire.len() - forged.frame.data.len();
        if index >= from {
            forged.frame.data[index - from] ^= 1 << bit;
        }
        prop_assert_eq!(session.clone().open(&forged), Err(SecureError::Mac));
        prop_assert_eq!(session.open(&reply), Ok(data));
        // The next command moves the chain on: the same reply is not taken for its answer.
        session.seal(1, 3, Check::Crc, 0x60, &[]);
        prop_assert_eq!(session.open(&reply), Err(SecureError::Mac));
    }

    #[test]
    fn no_bytes_make_it_panic(security in prop::collection::vec(any::<u8>(), 0..4), wire in prop::collection::vec(any::<u8>(), 0..90)) {
        let frame = Frame::command(1, 1, Check::Crc, 0x50, wire.get(8..).unwrap_or_default().to_vec());
        let reply = Secured { frame, block: security.clone(), wire: wire.clone() };
        let _ = session().open(&reply);
        let _ = Challenge::new(Key::DEFAULT, OURS).answered(&security, &wire);
    }
}
