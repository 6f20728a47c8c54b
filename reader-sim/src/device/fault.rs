//! What can be wrong with a reader or its line, put on by whoever watches how a gateway takes it.
//!
//! Used by the OSDP bus, and named by the `reader` screen and scenario files. Which answer is spoilt goes by count, not
//! by chance, so that a run can be repeated.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Something that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Bytes that are no frame stand around every answer, and every fourth answer has a bit flipped.
    Noise,
    /// Every third answer is lost.
    Loss,
    /// Every second command is answered BUSY, and not carried out.
    Busy,
    /// Every second answer comes later than the control panel waits for one.
    Slow,
    /// Another reader has its address: each answer is followed by that one's, which has another serial number.
    Duplicate,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 5] = [Fault::Noise, Fault::Loss, Fault::Busy, Fault::Slow, Fault::Duplicate];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Noise => "noise",
            Fault::Loss => "loss",
            Fault::Busy => "busy",
            Fault::Slow => "slow",
            Fault::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = ();

    fn from_str(name: &str) -> Result<Fault, ()> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or(())
    }
}

/// Longer than a control panel waits for an answer (SIA OSDP 2.2, section 5.7: 200 ms).
const TOO_LATE: Duration = Duration::from_millis(260);

/// What is wrong with one reader now.
#[derive(Debug, Default)]
pub struct Faults {
    on: Vec<Fault>,
    /// How many commands it heard, and how many answers it gave, since anything was wrong.
    heard: usize,
    given: usize,
}

impl Faults {
    /// Puts a fault on, or takes it away.
    pub fn set(&mut self, fault: Fault, on: bool) {
        self.on.retain(|other| *other != fault);
        if on {
            self.on.push(fault);
        }
        (self.heard, self.given) = (0, 0);
    }

    fn has(&self, fault: Fault) -> bool {
        self.on.contains(&fault)
    }

    /// Whether the next command is answered BUSY rather than carried out.
    pub fn busy(&mut self) -> bool {
        self.heard += 1;
        self.has(Fault::Busy) && self.heard.is_multiple_of(2)
    }

    /// What becomes of an answer on its way: how late it comes, and as which bytes; nothing where it is lost.
    pub fn spoil(&mut self, mut answer: Vec<u8>) -> Option<(Duration, Vec<u8>)> {
        if answer.is_empty() || self.on.is_empty() {
            return Some((Duration::ZERO, answer));
        }
        self.given += 1;
        if self.has(Fault::Loss) && self.given.is_multiple_of(3) {
            return None;
        }
        if self.has(Fault::Noise) {
            if self.given.is_multiple_of(4) {
                let middle = answer.len() / 2;
                answer[middle] ^= 0x10;
            }
            answer = [&[0x00, 0xF5, 0x80][..], &answer, &[0xFE, 0x01]].concat();
        }
        if self.has(Fault::Duplicate) {
            let twins = twins_answer(&answer);
            answer.extend(twins);
        }
        let late = self.has(Fault::Slow) && self.given.is_multiple_of(2);
        Some((if late { TOO_LATE } else { Duration::ZERO }, answer))
    }
}

/// The answer BUSY (SIA OSDP 2.2, section 7.19): sequence number 0, never sealed.
#[must_use]
pub fn busy_reply(address: u8, marked: bool) -> Vec<u8> {
    let mut frame = vec![0x53, address | 0x80, 8, 0, 0x04, 0x79];
    frame.extend(crc(&frame).to_le_bytes());
    if marked {
        frame.insert(0, 0xFF);
    }
    frame
}

/// CRC-16 of a frame (SIA OSDP 2.2, section 5.9).
fn crc(frame: &[u8]) -> u16 {
    frame.iter().fold(0x1D0F, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 },
        )
    })
}

/// What another reader of the same make says where this one gives `answer`: the same, but for its serial number in a PDID.
fn twins_answer(answer: &[u8]) -> Vec<u8> {
    const PDID: u8 = 0x45;
    const CRC: u8 = 4;
    const SECURED: u8 = 8;
    let mut answer = answer.to_vec();
    let Some(start) = answer.iter().position(|byte| *byte == 0x53) else { return answer };
    // SOM, address, length, control, code, three bytes of the vendor, model, version, four of the serial number.
    let Some(frame) = answer.get_mut(start..start + 20) else { return answer };
    if frame[4] & (CRC | SECURED) == CRC && frame[5] == PDID {
        frame[11] ^= 0x55;
        let crc = crc(&frame[..18]).to_le_bytes();
        frame[18..].copy_from_slice(&crc);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_reply_has_the_check_of_every_frame() {
        // As in an acknowledgement that libosdp made: 53 81 08 00 07 40 5b 53.
        assert_eq!(crc(&[0x53, 0x81, 0x08, 0x00, 0x07, 0x40]).to_le_bytes(), [0x5b, 0x53]);
        let frame = busy_reply(1, false);
        assert_eq!(frame[..6], [0x53, 0x81, 8, 0, 4, 0x79]);
        assert_eq!(crc(&frame[..6]).to_le_bytes(), frame[6..]);
    }

    #[test]
    fn answers_are_spoilt_by_count() {
        let mut faults = Faults::default();
        assert_eq!(faults.spoil(vec![1, 2]), Some((Duration::ZERO, vec![1, 2])));
        faults.set(Fault::Loss, true);
        let lost: Vec<bool> = (0..6).map(|_| faults.spoil(vec![1]).is_none()).collect();
        assert_eq!(lost, [false, false, true, false, false, true]);
        faults.set(Fault::Loss, false);
        faults.set(Fault::Slow, true);
        let late: Vec<bool> =
            (0..4).filter_map(|_| faults.spoil(vec![1])).map(|(late, _)| !late.is_zero()).collect();
        assert_eq!(late, [false, true, false, true]);
        assert_eq!((faults.busy(), faults.busy()), (false, false));
        faults.set(Fault::Busy, true);
        assert_eq!([faults.busy(), faults.busy(), faults.busy(), faults.busy()], [false, true, false, true]);
    }
}
