//! What readers may say, as bytes: one check for each decoder of it, for the OSDP panel and for the MQTT gate's guard.
//!
//! A case is bytes: the first says how the decoder is set up, then come pieces, each a kind, a length and so many bytes.
//! Any bytes are a case, and a case that is cut or joined is one again, so that libFuzzer (`tests/fuzz/run`) and seeds
//! (`chaos decoders`) can both make them. A check panics nowhere and says what is wrong, if anything.

use bytes::BytesMut;
use rollcall_gateway::ascii::form::{self, Checksum, Digits, Form};
use rollcall_gateway::ascii::twn4;
use rollcall_gateway::mqtt::gate::guard::{Guard, Hello, MAX_PACKET, next_packet};
use rollcall_gateway::mqtt::payload::{Birth, SwipeMessage, is_ready};
use rollcall_gateway::mqtt::topic::parse;
use rollcall_gateway::osdp::capture::Packet;
use rollcall_gateway::osdp::command::LedColour;
use rollcall_gateway::osdp::frame::{Check, Decoded, Decoder, Frame};
use rollcall_gateway::osdp::panel::Panel;
use rollcall_gateway::osdp::reply::Reply;
use rollcall_gateway::osdp::secure_channel::Key;

/// Whether a case is as it must be, or what is wrong.
pub type Checked = Result<(), String>;
/// A check of a case.
pub type Target = fn(&[u8]) -> Checked;

/// All checks, by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("osdp_frames", osdp_frames),
    ("osdp_panel", osdp_panel),
    ("osdp_captures", osdp_captures),
    ("ascii_forms", ascii_forms),
    ("twn4_lines", twn4_lines),
    ("mqtt_gate", mqtt_gate),
    ("mqtt_payloads", mqtt_payloads),
];

/// How long a case lasts at the panel, in microseconds of its time.
const PANEL_US: u64 = 12_000_000;
/// A panel that was told nothing still asks so often in that time: two devices, each tried every five seconds at the least.
const ASKED_AT_LEAST: u64 = 4;
/// More commands than this without an answer in between is a loop.
const ASKED_AT_ONCE: u64 = 4;

/// A case, read from its front.
struct Case<'a>(&'a [u8]);

impl<'a> Case<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next piece's kind and bytes; fewer where the case ends.
    fn piece(&mut self) -> Option<(u8, &'a [u8])> {
        let (kind, length) = (self.byte()?, usize::from(self.byte()?));
        let (piece, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some((kind, piece))
    }
}

/// Adds a piece to a case, as many as it takes: a length is one byte.
pub fn say(case: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    for piece in bytes.chunks(usize::from(u8::MAX)) {
        case.extend([kind, u8::try_from(piece.len()).unwrap_or(u8::MAX)]);
        case.extend(piece);
    }
}

/// A frame that is whole, whatever it says: its checks would keep a fuzzer out of all that lies behind them.
fn whole(address: u8, sequence: u8, said: &[u8]) -> Vec<u8> {
    let (code, data) = said.split_first().map_or((0x40, &[][..]), |(code, data)| (*code, data));
    let check = if code & 1 == 0 { Check::Crc } else { Check::Checksum };
    Frame { address, reply: true, sequence, check, code, data: data.to_vec() }.encode()
}

/// The frame decoder and the replies: raw pieces (even kinds) and whole frames (odd ones) come out as no more than went
/// in, and a whole frame behind them is understood.
///
/// # Errors
/// What is wrong.
pub fn osdp_frames(case: &[u8]) -> Checked {
    let mut case = Case(case);
    let (mut decoder, mut fed, mut given) = (Decoder::default(), 0, 0);
    let how = case.byte().unwrap_or(0);
    while let Some((kind, piece)) = case.piece() {
        let bytes = if kind & 1 == 0 { piece.to_vec() } else { whole(kind >> 1, how, piece) };
        fed += bytes.len();
        decoder.feed(&bytes);
        while let Some(found) = decoder.take() {
            given += match found {
                Decoded::Noise(count) => count,
                Decoded::Frame(frame) => {
                    drop(format!("{:?}", Reply::decode(frame.code, &frame.data)));
                    frame.data.len() + 7
                }
                Decoded::Secured(_) => 8,
            };
        }
        if given > fed {
            return Err(format!("{given} bytes came out of {fed}"));
        }
    }
    given += decoder.reset();
    if given > fed {
        return Err(format!("{given} bytes came out of {fed}, with the rest"));
    }
    let last = Frame::command(1, 2, Check::Crc, 0x60, Vec::new());
    decoder.feed(&last.encode());
    match decoder.take() {
        Some(Decoded::Frame(frame)) if frame == last => Ok(()),
        other => Err(format!("a whole frame behind the rubbish is {other:?}")),
    }
}

/// The panel with two devices, of which none need ever answer well: raw pieces (bit 0 of the kind unset) and whole
/// answers to what it asked last (set), in its own time; it goes on asking, and never without waiting.
///
/// # Errors
/// What is wrong.
pub fn osdp_panel(case: &[u8]) -> Checked {
    let mut case = Case(case);
    let how = case.byte().unwrap_or(0);
    let mut panel = Panel::new(&[1, 2], 9_600, 0);
    if how & 1 != 0 {
        panel.secure(1, Key::new([7; 16]), [9; 16], 0);
    }
    if how & 2 != 0 {
        panel.set_rest(1, LedColour::Blue);
    }
    let (mut now, mut asked, mut last) = (0, 0, (1, 0));
    while now < PANEL_US {
        let mut at_once = 0;
        while let Some(command) = panel.poll_output() {
            let start = command.iter().position(|byte| *byte == 0x53).unwrap_or(0);
            if let Some([_, address, _, _, control, ..]) = command.get(start..) {
                last = (address & 0x7f, control & 3);
            }
            at_once += 1;
            if at_once > ASKED_AT_ONCE {
                return Err("it sends without waiting for anything".to_owned());
            }
        }
        asked += at_once;
        while panel.poll_event().is_some() {}
        if let Some((kind, piece)) = case.piece() {
            let bytes = if kind & 1 == 0 { piece.to_vec() } else { whole(last.0, last.1, piece) };
            panel.handle_bytes(&bytes, now);
            if kind & 2 != 0 {
                panel.flash(kind >> 6, LedColour::Green, 2, now);
            }
            if kind & 4 != 0 {
                panel.set_rest(kind >> 6, if kind & 8 == 0 { LedColour::Blue } else { LedColour::Off });
            }
        }
        let due = panel.poll_timeout().unwrap_or(now + 50_000);
        now = due.clamp(now + 1_000, now + 500_000);
        panel.handle_time(now);
    }
    if asked < ASKED_AT_LEAST {
        return Err(format!("only {asked} commands in {} s", PANEL_US / 1_000_000));
    }
    Ok(())
}

/// OSDPCAP, whoever made it: what is read is put in words, and comes back from its own line the same.
///
/// # Errors
/// What is wrong.
pub fn osdp_captures(case: &[u8]) -> Checked {
    let Ok(text) = std::str::from_utf8(case) else { return Ok(()) };
    for line in text.lines() {
        let Ok(packet) = Packet::parse(line) else { continue };
        drop((packet.words(), packet.is_whole()));
        let again = Packet::parse(&packet.line()).map_err(|error| format!("its own line: {error}"))?;
        if again.words() != packet.words() {
            return Err(format!("{line:?} is {:?} when it is read again", again.words()));
        }
    }
    Ok(())
}

/// ASCII readers: RDM6300 and what a template can say; no more cards than bytes, each of as many bits as it should have,
/// and a whole message behind the rubbish is understood.
///
/// # Errors
/// What is wrong.
pub fn ascii_forms(case: &[u8]) -> Checked {
    let mut case = Case(case);
    let (how, bits) = (case.byte().unwrap_or(0), case.byte().unwrap_or(0));
    let plain = how & 1 == 0;
    let form = if plain {
        Form::rdm6300()
    } else {
        let digits = if how & 2 == 0 { Digits::Hexadecimal } else { Digits::Decimal };
        let checksum =
            [Checksum::None, Checksum::Xor, Checksum::Sum, Checksum::None][usize::from(how >> 2 & 3)];
        let count = (how & 16 != 0).then_some(usize::from(bits / 4));
        let (start, end) = (if how & 32 == 0 { vec![] } else { vec![b'#'] }, vec![b'\r']);
        Form { start, end, digits, count, checksum, reversed: how & 64 != 0, bits: u16::from(bits) }
    };
    if form.check().is_err() {
        return Ok(());
    }
    let bits = form.bits;
    let (mut decoder, mut now) = (form::Decoder::new(form), 0);
    while let Some((kind, piece)) = case.piece() {
        now += u64::from(kind);
        let cards = decoder.feed(piece, now);
        if cards.len() > piece.len() || cards.iter().any(|card| card.bits() != bits) {
            return Err(format!("{cards:?} in {} bytes", piece.len()));
        }
    }
    if !plain {
        return Ok(());
    }
    match &decoder.feed(b"\x0262E3086CED08\x03", now + 10_000)[..] {
        [card] if card.raw() == [0x62, 0xe3, 0x08, 0x6c, 0xed] => Ok(()),
        other => Err(format!("a whole message behind the rubbish is {other:?}")),
    }
}

/// Lines of a TWN4.
///
/// # Errors
/// None: what is no answer is left out.
pub fn twn4_lines(case: &[u8]) -> Checked {
    let mut case = Case(case);
    while let Some((_, line)) = case.piece() {
        drop(twn4::answer(line));
    }
    Ok(())
}

/// The guard of the MQTT gate: a stream of packets of anybody, then a good one of a reader that was let in.
///
/// # Errors
/// What is wrong.
pub fn mqtt_gate(case: &[u8]) -> Checked {
    let mut case = Case(case);
    let five = case.byte().unwrap_or(0) & 1 != 0;
    let mut good = BytesMut::from(&mqtt::hello(five)[..]);
    let Ok(Some(known)) = Hello::take(&mut good) else {
        return Err("a good CONNECT is not taken".to_owned());
    };
    let guard = Guard::admit("GW-A", &known).map_err(|error| format!("D2 is not let in: {error}"))?;
    let mut bytes = BytesMut::new();
    'stream: while let Some((_, piece)) = case.piece() {
        bytes.extend_from_slice(piece);
        if bytes.len() > MAX_PACKET + usize::from(u8::MAX) {
            return Err(format!("{} bytes wait for the rest of a packet", bytes.len()));
        }
        if let Ok(Some(hello)) = Hello::take(&mut bytes.clone()) {
            drop((hello.connect(), hello.goodbye(), Guard::admit("GW-A", &hello).is_ok()));
        }
        loop {
            match next_packet(&mut bytes, MAX_PACKET) {
                Ok(Some(packet)) => drop(guard.check(&packet)),
                Ok(None) => break,
                // The gate hangs up.
                Err(_) => break 'stream,
            }
        }
    }
    guard
        .check(&mqtt::swipe(five).into())
        .map_err(|error| format!("a good packet behind the rubbish is refused: {error}"))
}

/// What MQTT readers say in their packets, and where: the kind is the channel.
///
/// # Errors
/// What is wrong.
pub fn mqtt_payloads(case: &[u8]) -> Checked {
    let mut case = Case(case);
    while let Some((kind, message)) = case.piece() {
        match kind & 3 {
            0 => match SwipeMessage::read(message) {
                Ok(swipe) if swipe.boot.is_empty() || swipe.boot.len() > 32 => {
                    return Err(format!("a start of {} letters", swipe.boot.len()));
                }
                _ => {}
            },
            1 => drop(Birth::read(message)),
            2 => drop(is_ready(message)),
            _ => {
                if let Ok(topic) = std::str::from_utf8(message)
                    && let Some((reader, _)) = parse("GW-A", topic)
                    && (reader.is_empty() || reader.contains(['/', '+', '#']))
                {
                    return Err(format!("{topic:?} is of reader {reader:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Good packets of the MQTT reader D2 at GW-A.
pub mod mqtt {
    fn text(text: &[u8]) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap_or(0).to_be_bytes()[..], text].concat()
    }

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![kind, u8::try_from(body.len() & 0x7f).unwrap_or(0)];
        packet.extend(body);
        packet
    }

    /// MQTT 5 has properties, here none.
    fn properties(five: bool) -> &'static [u8] {
        if five { &[0] } else { &[] }
    }

    /// CONNECT, with user, password and last will.
    #[must_use]
    pub fn hello(five: bool) -> Vec<u8> {
        let (level, properties) = (if five { 5 } else { 4 }, properties(five));
        let head = [text(b"MQTT"), vec![level, 0xc6, 0, 60], properties.to_vec(), text(b"D2")].concat();
        let will = [properties.to_vec(), text(b"att/v1/GW-A/reader/D2/state"), text(b"lost")].concat();
        packet(0x10, &[head, will, text(b"D2"), text(b"secret")].concat())
    }

    /// PUBLISH of a swipe.
    #[must_use]
    pub fn swipe(five: bool) -> Vec<u8> {
        let topic = text(b"att/v1/GW-A/reader/D2/swipe");
        packet(0x32, &[&topic[..], &[0, 1], properties(five), br#"{"boot":"b","seq":1}"#].concat())
    }

    /// SUBSCRIBE to its light.
    #[must_use]
    pub fn subscribe(five: bool) -> Vec<u8> {
        let topic = text(b"att/v1/GW-A/reader/D2/light/set");
        packet(0x82, &[&[0, 2][..], properties(five), &topic, &[1]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What once reached something new is checked at each run of the tests, without libFuzzer.
    #[test]
    fn the_kept_cases_are_as_they_must_be() {
        for (name, target) in TARGETS {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            for (number, line) in (1..).zip(text.lines()) {
                let digits = |at| u8::from_str_radix(line.get(at..at + 2).unwrap_or("?"), 16);
                let case: Result<Vec<u8>, _> = (0..line.len()).step_by(2).map(digits).collect();
                let case =
                    case.unwrap_or_else(|_| panic!("{}, line {number}: not hexadecimal", path.display()));
                target(&case).unwrap_or_else(|what| panic!("{name}, line {number}: {what}"));
            }
        }
    }
}
