//! Finds where one OSDP frame ends and the next begins, and whom it addresses.
//!
//! Used by the bus to hand whole frames to the reader they are for. Never checks or understands a frame:
//! that is libosdp's work.

use std::time::{Duration, Instant};

const MARK: u8 = 0xFF;
const START: u8 = 0x53;
const HEADER: usize = 5;
/// libosdp's buffer takes no longer packet, its mark included.
const LONGEST: usize = 255;
/// The rest of a frame that has not come by then never will (libosdp's own limit).
const PATIENCE: Duration = Duration::from_millis(200);

/// One frame, without the mark that may precede it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// The mark was there: the reply will carry one too.
    pub(super) marked: bool,
    /// From the start byte to the check bytes.
    pub(super) bytes: Vec<u8>,
}

impl Frame {
    /// The address, bit 7 (a reply) included.
    pub(super) fn address(&self) -> u8 {
        self.bytes.get(1).copied().unwrap_or(MARK)
    }

    /// The sequence number.
    pub(super) fn sequence(&self) -> u8 {
        self.bytes.get(4).copied().unwrap_or(0) & 0x03
    }
}

/// Bytes on their way to becoming frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pending: Vec<u8>,
    last: Option<Instant>,
}

impl Frames {
    /// Takes what came over the wire.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        if self.last.is_some_and(|last| now.duration_since(last) > PATIENCE) {
            self.pending.clear();
        }
        self.last = Some(now);
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame; anything between frames is passed over.
    pub(super) fn next(&mut self) -> Option<Frame> {
        loop {
            let Some(start) = self.pending.iter().position(|&b| b == START) else {
                let keep = usize::from(self.pending.last() == Some(&MARK));
                self.pending.drain(..self.pending.len() - keep);
                return None;
            };
            let marked = start > 0 && self.pending[start - 1] == MARK;
            self.pending.drain(..start - usize::from(marked));
            let frame = &self.pending[usize::from(marked)..];
            if frame.len() < HEADER {
                return None;
            }
            let length = usize::from(u16::from_le_bytes([frame[2], frame[3]]));
            if !(HEADER + 2..=LONGEST).contains(&length) {
                self.pending.drain(..=usize::from(marked));
                continue;
            }
            if frame.len() < length {
                return None;
            }
            let bytes = frame[..length].to_vec();
            self.pending.drain(..length + usize::from(marked));
            return Some(Frame { marked, bytes });
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const POLL: [u8; 8] = [0x53, 0x01, 0x08, 0x00, 0x07, 0x60, 0xe9, 0x55];

    #[test]
    fn frames_are_found_in_pieces_among_noise_and_one_after_another() {
        let now = Instant::now();
        let mut frames = Frames::default();
        let mut stream = vec![0x00, 0x53, 0x01, 0x02, 0x00, 0x07, MARK];
        stream.extend(POLL);
        stream.extend(POLL);
        let mut found = Vec::new();
        for byte in stream {
            frames.push(&[byte], now);
            found.extend(frames.next());
        }
        let expected = [true, false].map(|marked| Frame { marked, bytes: POLL.to_vec() }).to_vec();
        assert_eq!(found, expected);
        assert_eq!((found[0].address(), found[0].sequence()), (1, 3));
    }

    #[test]
    fn half_a_frame_is_forgotten_after_a_while() {
        let now = Instant::now();
        let mut frames = Frames::default();
        frames.push(&POLL[..6], now);
        assert_eq!(frames.next(), None);
        let later = now.checked_add(PATIENCE * 2).unwrap();
        frames.push(&POLL, later);
        assert_eq!(frames.next().unwrap().bytes, POLL);
        assert_eq!(frames.next(), None);
    }
}
