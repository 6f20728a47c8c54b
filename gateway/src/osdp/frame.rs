//! OSDP frames: from bytes on the wire and back (SIA OSDP v2.2, section 5.9).
//!
//! ```text
//! [FF] 53 addr len_lo len_hi ctrl [security block] id data… check
//! ```
//! `FF` is an optional mark that the length does not count. `ctrl`: bits 0-1 sequence, bit 2 CRC-16 (else a
//! one-byte two's-complement checksum), bit 3 a security block is there. A reply's address has bit 7 set.

use super::secure_channel::MAC_BYTES;

/// Start of message.
pub(super) const SOM: u8 = 0x53;
/// Mark before a frame; some transceivers need it to wake up.
pub(super) const MARK: u8 = 0xff;
/// In `ctrl`: a security block is there.
const SECURED: u8 = 8;
/// The longest frame taken: OSDP's own limit.
pub const MAX_FRAME: usize = 1_440;
/// The shortest: header, one byte of id, checksum.
const MIN_FRAME: usize = 7;
/// The highest address of a single device.
pub const MAX_ADDRESS: u8 = 0x7e;

/// How a frame proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// CRC-16.
    Crc,
    /// One byte, two's complement of the sum.
    Checksum,
}

/// A frame, as it is without a security block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// 00-7E a device, 7F all of them.
    pub address: u8,
    /// From a device to the panel.
    pub reply: bool,
    /// 0 starts a session, then 1, 2, 3, 1, …
    pub sequence: u8,
    /// How it proves itself.
    pub check: Check,
    /// Command or reply code.
    pub code: u8,
    /// What follows the code.
    pub data: Vec<u8>,
}

/// CRC-16 of OSDP: polynomial 0x1021, initial 0x1D0F.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0x1d0f, |mut crc, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
        crc
    })
}

/// The two's complement of the sum of all bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

impl Frame {
    /// A command to a device.
    #[must_use]
    pub fn command(address: u8, sequence: u8, check: Check, code: u8, data: Vec<u8>) -> Self {
        Self { address, reply: false, sequence, check, code, data }
    }

    /// The bytes, without mark.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.put(&[], |_| [])
    }

    /// The bytes, without mark, with a security block: its type and what belongs to it.
    #[must_use]
    pub fn encode_secured(&self, block: &[u8]) -> Vec<u8> {
        self.put(block, |_| [])
    }

    /// The same with a MAC behind the data, made from all that stands before it.
    #[must_use]
    pub fn encode_sealed(&self, block: &[u8], mac: impl FnOnce(&[u8]) -> [u8; MAC_BYTES]) -> Vec<u8> {
        self.put(block, mac)
    }

    fn put<const N: usize>(&self, block: &[u8], mac: impl FnOnce(&[u8]) -> [u8; N]) -> Vec<u8> {
        let check_len = if self.check == Check::Crc { 2 } else { 1 };
        let block_len = if block.is_empty() { 0 } else { 1 + block.len() };
        let length = 6 + block_len + self.data.len() + N + check_len;
        let mut bytes = Vec::with_capacity(length);
        bytes.push(SOM);
        bytes.push(self.address & 0x7f | if self.reply { 0x80 } else { 0 });
        bytes.push((length & 0xff) as u8);
        bytes.push((length >> 8) as u8);
        let secured = if block.is_empty() { 0 } else { SECURED };
        bytes.push(self.sequence & 3 | if self.check == Check::Crc { 4 } else { 0 } | secured);
        if !block.is_empty() {
            bytes.push(block_len as u8);
            bytes.extend_from_slice(block);
        }
        bytes.push(self.code);
        bytes.extend_from_slice(&self.data);
        let mac = mac(&bytes);
        bytes.extend_from_slice(&mac);
        match self.check {
            Check::Crc => bytes.extend_from_slice(&crc16(&bytes).to_le_bytes()),
            Check::Checksum => bytes.push(checksum(&bytes)),
        }
        bytes
    }
}

/// What a decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A whole frame.
    Frame(Frame),
    /// Bytes that are no frame were passed over: noise, a wrong check, an impossible length.
    Noise(usize),
    /// A whole frame with a security block.
    Secured(Box<Secured>),
}

/// A frame with a security block. Nothing of it is checked but what every frame has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// The frame. A MAC, where its block says that there is one, is the end of its data.
    pub frame: Frame,
    /// The security block: its type and what belongs to it, without its length.
    pub block: Vec<u8>,
    /// The bytes of the frame up to the check, MAC included.
    pub wire: Vec<u8>,
}

/// Finds frames in a stream of bytes. Holds one frame's bytes at the most.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes bytes as they came. Ask [`Decoder::take`] until it has nothing more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets a frame that never became whole.
    pub fn reset(&mut self) -> usize {
        let lost = self.bytes.len();
        self.bytes.clear();
        lost
    }

    /// Whether part of a frame is waiting for its rest.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next find, `None` when more bytes are needed.
    pub fn take(&mut self) -> Option<Decoded> {
        let mut skipped = 0;
        loop {
            let start = self.bytes.iter().position(|byte| *byte == SOM).unwrap_or(self.bytes.len());
            skipped += self.bytes[..start].iter().filter(|byte| **byte != MARK).count();
            self.bytes.drain(..start);
            if skipped > 0 {
                return Some(Decoded::Noise(skipped));
            }
            if self.bytes.len() < 4 {
                return None;
            }
            let length = usize::from(u16::from_le_bytes([self.bytes[2], self.bytes[3]]));
            if !(MIN_FRAME..=MAX_FRAME).contains(&length) {
                self.bytes.drain(..1);
                skipped += 1;
                continue;
            }
            if self.bytes.len() < length {
                return None;
            }
            match parse(&self.bytes[..length]) {
                Some(found) => {
                    self.bytes.drain(..length);
                    return Some(found);
                }
                None => {
                    // The start may have been noise: look for another one behind it.
                    self.bytes.drain(..1);
                    skipped += 1;
                }
            }
        }
    }
}

/// Reads a whole frame, from its start to its check.
pub(super) fn parse(bytes: &[u8]) -> Option<Decoded> {
    let ctrl = bytes[4];
    let check = if ctrl & 4 == 0 { Check::Checksum } else { Check::Crc };
    let check_len = if check == Check::Crc { 2 } else { 1 };
    if bytes.len() < 6 + check_len {
        return None;
    }
    let (body, tail) = bytes.split_at(bytes.len() - check_len);
    let good = match check {
        Check::Crc => crc16(body).to_le_bytes() == *tail,
        Check::Checksum => checksum(body) == tail[0],
    };
    if !good {
        return None;
    }
    // The length of a security block counts itself.
    let (block, rest) = match (ctrl & SECURED, &body[5..]) {
        (0, rest) => (None, rest),
        (_, rest @ [length, ..]) if *length >= 2 => {
            let (block, rest) = rest.split_at_checked(usize::from(*length))?;
            (Some(&block[1..]), rest)
        }
        _ => return None,
    };
    let (code, data) = rest.split_first()?;
    let frame = Frame {
        address: bytes[1] & 0x7f,
        reply: bytes[1] & 0x80 != 0,
        sequence: ctrl & 3,
        check,
        code: *code,
        data: data.to_vec(),
    };
    Some(match block {
        None => Decoded::Frame(frame),
        Some(block) => {
            Decoded::Secured(Box::new(Secured { frame, block: block.to_vec(), wire: body.to_vec() }))
        }
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn all(decoder: &mut Decoder) -> Vec<Decoded> {
        std::iter::from_fn(|| decoder.take()).collect()
    }

    #[test]
    fn frames_equal_those_that_libosdp_makes() {
        let golden = [
            (0, 0x61, "00", "53 01 09 00 04 61 00 60 23"),
            (3, 0x60, "", "53 01 08 00 07 60 e9 55"),
            (
                2,
                0x69,
                "00 00 00 00 00 00 00 00 00 01 0a 00 04 04",
                "53 01 16 00 06 69 00 00 00 00 00 00 00 00 00 01 0a 00 04 04 fe 8b",
            ),
            (
                2,
                0x69,
                "00 00 02 02 02 02 00 0c 00 00 00 00 00 00",
                "53 01 16 00 06 69 00 00 02 02 02 02 00 0c 00 00 00 00 00 00 9b 29",
            ),
        ];
        for (sequence, code, data, wire) in golden {
            let data = if data.is_empty() { Vec::new() } else { bytes(data) };
            let frame = Frame::command(1, sequence, Check::Crc, code, data);
            assert_eq!(frame.encode(), bytes(wire));
        }
    }

    #[test]
    fn captured_replies_are_read() {
        let mut decoder = Decoder::default();
        decoder.feed(&bytes("ff 53 81 08 00 07 40 5b 53"));
        decoder.feed(&bytes("53 81 10 00 06 50 00 01 1a 00 95 18 1c c0 47 99"));
        let found = all(&mut decoder);
        let Decoded::Frame(ack) = &found[0] else { panic!("no frame: {found:?}") };
        assert_eq!((ack.address, ack.reply, ack.sequence, ack.code), (1, true, 3, 0x40));
        let Decoded::Frame(raw) = &found[1] else { panic!("no frame: {found:?}") };
        assert_eq!((raw.sequence, raw.code, &raw.data[..]), (2, 0x50, &bytes("00 01 1a 00 95 18 1c c0")[..]));
    }

    #[test]
    fn a_damaged_frame_is_counted_as_noise_and_the_next_one_is_read() {
        let mut decoder = Decoder::default();
        decoder.feed(&bytes("53 81 08 00 07 41 5b 53"));
        decoder.feed(&bytes("53 81 08 00 07 40 5b 53"));
        let found = all(&mut decoder);
        assert!(matches!(found.last(), Some(Decoded::Frame(frame)) if frame.code == 0x40), "{found:?}");
        let noise: usize =
            found.iter().map(|it| if let Decoded::Noise(count) = it { *count } else { 0 }).sum();
        assert_eq!(noise, 8);
    }

    proptest! {
        #[test]
        fn every_frame_comes_back_in_whatever_pieces_it_arrives(
            address in 0u8..=0x7f, reply: bool, sequence in 0u8..4, crc: bool, code: u8,
            data in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200,
        ) {
            let check = if crc { Check::Crc } else { Check::Checksum };
            let frame = Frame { address, reply, sequence, check, code, data };
            let wire = frame.encode();
            let cut = cut.min(wire.len());
            let mut decoder = Decoder::default();
            decoder.feed(&wire[..cut]);
            let mut found = all(&mut decoder);
            decoder.feed(&wire[cut..]);
            found.extend(all(&mut decoder));
            prop_assert_eq!(found, vec![Decoded::Frame(frame)]);
        }

        #[test]
        fn every_secured_frame_comes_back(
            sequence in 0u8..4, crc: bool, code: u8, data in prop::collection::vec(any::<u8>(), 0..200),
            block in prop::collection::vec(any::<u8>(), 1..5),
        ) {
            let check = if crc { Check::Crc } else { Check::Checksum };
            let frame = Frame { address: 5, reply: true, sequence, check, code, data };
            let wire = frame.encode_secured(&block);
            let mut decoder = Decoder::default();
            decoder.feed(&wire);
            let signed = wire[..wire.len() - if crc { 2 } else { 1 }].to_vec();
            prop_assert_eq!(all(&mut decoder), vec![Decoded::Secured(Box::new(Secured { frame, block, wire: signed }))]);
        }

        #[test]
        fn noise_never_panics_nor_grows_without_bound(noise in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut decoder = Decoder::default();
            for piece in noise.chunks(7) {
                decoder.feed(piece);
                while decoder.take().is_some() {}
                prop_assert!(decoder.bytes.len() <= MAX_FRAME);
            }
        }
    }
}
