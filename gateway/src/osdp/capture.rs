//! OSDPCAP: what went over a line, a packet a line of JSON, as other tools for OSDP read and write it.
//!
//! Pure. Written by `setup::capture` and by a line whose configuration says `capture`; read by `reader replay`. What
//! identifies people, and keys, is taken out before anything is written: of cards and key presses only how many bits
//! or digits they had is left.

use serde_json::{Value, json};

use super::frame::{Check, Decoded, Frame, MARK, SOM, checksum, crc16, parse};
use super::panel::Micros;

/// Who wrote it, in `osdpSource`.
const SOURCE: &str = "rollcall, cards masked";
const SECOND: Micros = 1_000_000;
/// Start, address, length, control and code, where there is no security block.
const HEADER: usize = 6;

/// What one side said at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When, since the epoch.
    pub at: Micros,
    /// The control panel said it.
    pub output: bool,
    /// The bytes, as they were on the wire.
    pub bytes: Vec<u8>,
}

/// Why a line is no packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// It is no JSON object.
    #[error("is no line of JSON: {0}")]
    Json(String),
    /// A field is missing or means nothing.
    #[error("'{0}' is missing, or not what it should be")]
    Field(&'static str),
}

impl Packet {
    /// As a line of a capture, with everything taken out that is nobody's business.
    #[must_use]
    pub fn line(&self) -> String {
        let bytes: Vec<String> = masked(&self.bytes).iter().map(|byte| format!("{byte:02X}")).collect();
        json!({
            "timeSec": (self.at / SECOND).to_string(),
            "timeNano": format!("{:06}000", self.at % SECOND),
            "io": if self.output { "output" } else { "input" },
            "data": bytes.join(" "),
            "osdpTraceVersion": "1",
            "osdpSource": SOURCE,
        })
        .to_string()
    }

    /// From a line of a capture, whoever wrote it. What a monitor between the two wrote (`trace`) is told apart by the
    /// reply bit.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(line: &str) -> Result<Self, CaptureError> {
        let line: Value =
            serde_json::from_str(line).map_err(|error| CaptureError::Json(error.to_string()))?;
        let number = |name: &'static str| -> Result<u64, CaptureError> {
            let value = &line[name];
            let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
            number.ok_or(CaptureError::Field(name))
        };
        let seconds = number("timeSec")?;
        let nanos = Some(number("timeNano")?).filter(|nanos| *nanos < 1_000 * SECOND);
        let micros = nanos.ok_or(CaptureError::Field("timeNano"))? / 1_000;
        let at = seconds.checked_mul(SECOND).and_then(|at| at.checked_add(micros));
        let at = at.ok_or(CaptureError::Field("timeSec"))?;
        let data = line["data"].as_str().ok_or(CaptureError::Field("data"))?;
        let digits: Vec<u8> = data.bytes().filter(|byte| !matches!(byte, b' ' | b'-' | b':')).collect();
        let byte = |pair: &[u8]| match pair {
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        let bytes = bytes.ok_or(CaptureError::Field("data"))?;
        let output = match line["io"].as_str() {
            Some("output") => true,
            Some("input") => false,
            Some("trace") => {
                let start = bytes.iter().position(|byte| *byte == SOM);
                start.and_then(|start| bytes.get(start + 1)).is_none_or(|address| address & 0x80 == 0)
            }
            _ => return Err(CaptureError::Field("io")),
        };
        Ok(Self { at, output, bytes })
    }

    /// What it says, a line for each frame, and for what is none.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let marks = |bytes: &[u8]| bytes.iter().all(|byte| *byte == MARK);
        let told = finds(&self.bytes).into_iter().filter(|(found, bytes)| found.is_some() || !marks(bytes));
        told.map(|(found, bytes)| words(found.as_ref(), bytes)).collect()
    }

    /// Whether it is, or holds, a whole frame.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        finds(&self.bytes).iter().any(|(found, _)| found.is_some())
    }
}

/// The frames among bytes, and what stands between them.
fn finds(bytes: &[u8]) -> Vec<(Option<Decoded>, &[u8])> {
    let mut found = Vec::new();
    let (mut noise, mut at) = (0, 0);
    while at < bytes.len() {
        let frame = match bytes[at..] {
            [SOM, _, low, high, ..] => {
                let length = usize::from(u16::from_le_bytes([low, high]));
                bytes
                    .get(at..at + length)
                    .filter(|_| length > HEADER)
                    .and_then(|all| Some((parse(all)?, all)))
            }
            _ => None,
        };
        match frame {
            Some((decoded, all)) => {
                if noise < at {
                    found.push((None, &bytes[noise..at]));
                }
                found.push((Some(decoded), all));
                at += all.len();
                noise = at;
            }
            None => at += 1,
        }
    }
    if noise < bytes.len() {
        found.push((None, &bytes[noise..]));
    }
    found
}

/// How many bytes of data in clear say nothing of a person: before a card's bits, a card's characters, keys pressed, and
/// a key.
fn harmless(frame: &Frame) -> usize {
    match (frame.reply, frame.code) {
        (true, 0x50) => 4,
        (true, 0x51) => 3,
        (true, 0x53) | (false, 0x75) => 2,
        _ => frame.data.len(),
    }
}

fn masked(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (found, bytes) in finds(bytes) {
        match found {
            Some(found) => out.extend(masked_frame(&found, bytes)),
            None if bytes.iter().all(|byte| *byte == MARK) => out.extend_from_slice(bytes),
            // It may be a card in a damaged frame, or the rest of one: only how much there was is left.
            None => out.resize(out.len() + bytes.len(), 0),
        }
    }
    out
}

/// A whole frame without its secrets, and with the check that belongs to what is left.
fn masked_frame(found: &Decoded, bytes: &[u8]) -> Vec<u8> {
    let (frame, block) = match found {
        Decoded::Frame(frame) => (frame, 0),
        // Under 15 and 16 data is in clear, with a proof behind it; under 17 and 18 it is sealed.
        Decoded::Secured(secured) if !matches!(secured.block.first(), Some(0x17 | 0x18)) => {
            (&secured.frame, secured.block.len() + 1)
        }
        Decoded::Secured(_) | Decoded::Noise(_) => return bytes.to_vec(),
    };
    let mut masked = bytes.to_vec();
    let keep = harmless(frame);
    if keep >= frame.data.len() {
        return masked;
    }
    let check = masked.len() - if frame.check == Check::Crc { 2 } else { 1 };
    masked[HEADER + block + keep..check].fill(0);
    match frame.check {
        Check::Crc => {
            let crc = crc16(&masked[..check]).to_le_bytes();
            masked[check..].copy_from_slice(&crc);
        }
        Check::Checksum => masked[check] = checksum(&masked[..check]),
    }
    masked
}

fn words(found: Option<&Decoded>, bytes: &[u8]) -> String {
    let (frame, sealed) = match found {
        None | Some(Decoded::Noise(_)) => return format!("{} bytes that are no frame", bytes.len()),
        Some(Decoded::Frame(frame)) => (frame, String::new()),
        Some(Decoded::Secured(secured)) => {
            (&secured.frame, format!(", security block {:02X}", secured.block.first().copied().unwrap_or(0)))
        }
    };
    let name = match name(frame.reply, frame.code) {
        Some(name) => name.to_owned(),
        None => format!("code {:02X}", frame.code),
    };
    let more = match (frame.reply, frame.code, &frame.data[..]) {
        (true, 0x41, [reason, ..]) if sealed.is_empty() => format!(" reason {reason}"),
        (true, 0x50, [_, _, low, high, ..]) if sealed.is_empty() => {
            format!(" {} bits", u16::from_le_bytes([*low, *high]))
        }
        (true, 0x53, [_, digits, ..]) if sealed.is_empty() => format!(" {digits} digits"),
        (true, 0x48, [tamper, power, ..]) if sealed.is_empty() => format!(" tamper {tamper} power {power}"),
        _ => String::new(),
    };
    format!("address {} seq {} {name}{more}{sealed}", frame.address, frame.sequence)
}

/// The names of SIA OSDP 2.2, annex A.
fn name(reply: bool, code: u8) -> Option<&'static str> {
    Some(match (reply, code) {
        (false, 0x60) => "POLL",
        (false, 0x61) => "ID",
        (false, 0x62) => "CAP",
        (false, 0x64) => "LSTAT",
        (false, 0x65) => "ISTAT",
        (false, 0x66) => "OSTAT",
        (false, 0x67) => "RSTAT",
        (false, 0x68) => "OUT",
        (false, 0x69) => "LED",
        (false, 0x6A) => "BUZ",
        (false, 0x6B) => "TEXT",
        (false, 0x6E) => "COMSET",
        (false, 0x75) => "KEYSET",
        (false, 0x76) => "CHLNG",
        (false, 0x77) => "SCRYPT",
        (false, 0x80) => "MFG",
        (true, 0x40) => "ACK",
        (true, 0x41) => "NAK",
        (true, 0x45) => "PDID",
        (true, 0x46) => "PDCAP",
        (true, 0x48) => "LSTATR",
        (true, 0x49) => "ISTATR",
        (true, 0x4A) => "OSTATR",
        (true, 0x4B) => "RSTATR",
        (true, 0x50) => "RAW",
        (true, 0x51) => "FMT",
        (true, 0x53) => "KEYPAD",
        (true, 0x54) => "COM",
        (true, 0x76) => "CCRYPT",
        (true, 0x78) => "RMAC_I",
        (true, 0x79) => "BUSY",
        (true, 0x90) => "MFGREP",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: [u8; 16] =
        [0x53, 0x81, 0x10, 0x00, 0x06, 0x50, 0x00, 0x01, 0x1a, 0x00, 0x95, 0x18, 0x1c, 0xc0, 0x47, 0x99];
    const POLL: [u8; 8] = [0x53, 0x01, 0x08, 0x00, 0x07, 0x60, 0xe9, 0x55];

    fn packet(output: bool, bytes: &[u8]) -> Packet {
        Packet { at: 1_803_000_000_005_000, output, bytes: bytes.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_again_and_says_the_same_without_the_card() {
        let poll = packet(true, &POLL);
        assert_eq!(Packet::parse(&poll.line()), Ok(poll.clone()));
        assert_eq!(poll.words(), ["address 1 seq 3 POLL"]);
        let raw = packet(false, &[&[0xff][..], &RAW].concat());
        let read = Packet::parse(&raw.line()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((read.bytes.len(), read.bytes[0]), (17, 0xff));
        assert_eq!(read.words(), ["address 1 seq 2 RAW 26 bits"]);
        assert!(!raw.line().contains("95 18 1C"), "{}", raw.line());
    }

    #[test]
    fn a_card_in_a_damaged_frame_is_no_more_written_than_one_in_a_whole_frame() {
        for at in 0..RAW.len() {
            let mut damaged = RAW;
            damaged[at] ^= 0x40;
            let line = packet(false, &damaged).line();
            assert!(!line.contains("18 1C C0"), "byte {at}: {line}");
            let read = Packet::parse(&line).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read.bytes.len(), RAW.len(), "byte {at}");
        }
        let two = [&RAW[..9], &RAW[..]].concat();
        assert!(!packet(false, &two).line().contains("18 1C C0"));
        // A frame that came in two pieces, wherever it was cut.
        for at in 1..RAW.len() {
            for piece in [&RAW[..at], &RAW[at..]] {
                let line = packet(false, piece).line();
                let secret = ["95", "18", "1C", "C0"].iter().any(|byte| line.contains(&format!("{byte} ")));
                assert!(!secret && !line.contains("C0\""), "cut at {at}: {line}");
            }
        }
    }

    #[test]
    fn a_card_that_is_proved_but_not_sealed_is_no_more_written() {
        // Security block 16: RAW of 26 bits in clear, then four bytes of proof.
        let mut frame =
            vec![0x53, 0x81, 22, 0, 0x0e, 2, 0x16, 0x50, 0, 1, 0x1a, 0, 0x95, 0x18, 0x1c, 0xc0, 1, 2, 3, 4];
        let crc = crc16(&frame).to_le_bytes();
        frame.extend(crc);
        let line = packet(false, &frame).line();
        assert!(!line.contains("95 18 1C"), "{line}");
        let read = Packet::parse(&line).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.words(), ["address 1 seq 2 RAW, security block 16"]);
    }

    #[test]
    fn a_key_that_is_set_in_clear_text_is_not_written() {
        let data = [&[1, 16][..], &[0xab; 16]].concat();
        let keyset = Frame::command(1, 1, Check::Crc, 0x75, data).encode();
        let line = packet(true, &keyset).line();
        assert!(!line.contains("AB"), "{line}");
    }

    #[test]
    fn captures_of_others_are_read_and_what_is_none_is_refused_by_its_field() {
        let theirs = r#"{"timeSec":1803000000,"timeNano":"1","io":"trace","data":"53-81-08-00-07-40-5b-53"}"#;
        let read = Packet::parse(theirs).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((read.output, read.words()), (false, vec!["address 1 seq 3 ACK".to_owned()]));
        for (line, wrong) in [
            (r#"{"timeNano":"1","io":"input","data":""}"#, CaptureError::Field("timeSec")),
            (
                r#"{"timeSec":"1","timeNano":"1000000000","io":"input","data":""}"#,
                CaptureError::Field("timeNano"),
            ),
            (r#"{"timeSec":"1","timeNano":"1","io":"up","data":""}"#, CaptureError::Field("io")),
            (r#"{"timeSec":"1","timeNano":"1","io":"input","data":"5"}"#, CaptureError::Field("data")),
            (r#"{"timeSec":"1","timeNano":"1","io":"input","data":"+5"}"#, CaptureError::Field("data")),
        ] {
            assert_eq!(Packet::parse(line), Err(wrong), "{line}");
        }
        assert!(matches!(Packet::parse("53 01"), Err(CaptureError::Json(_))));
    }

    #[test]
    fn noise_is_told_apart() {
        let bytes = [&[0x00, 0x11][..], &POLL, &[0x53, 0x81]].concat();
        let words = packet(true, &bytes).words();
        assert_eq!(words, ["2 bytes that are no frame", "address 1 seq 3 POLL", "2 bytes that are no frame"]);
    }
}
