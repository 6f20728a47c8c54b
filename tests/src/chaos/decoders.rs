//! What readers say, bent: every decoder of a reader's words, the OSDP panel and the MQTT gate's guard, fed with
//! well-formed messages in which bytes were changed, lost, doubled and moved.
//!
//! None may panic, hang or grow, and a whole message behind the rubbish is understood. Each case is one seed. Without the
//! guidance of coverage: libFuzzer needs a nightly compiler.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rollcall_gateway::ascii::{form, twn4};
use rollcall_gateway::mqtt::gate::guard::{Guard, Hello, next_packet};
use rollcall_gateway::mqtt::payload::{Birth, SwipeMessage, is_ready};
use rollcall_gateway::mqtt::topic::parse;
use rollcall_gateway::osdp::command::LedColour;
use rollcall_gateway::osdp::frame::{Check, Decoded, Decoder, Frame};
use rollcall_gateway::osdp::panel::Panel;
use rollcall_gateway::osdp::reply::Reply;
use rollcall_gateway::osdp::secure_channel::Key;

use super::{Broken, Outcome, Run};

/// Replies of OSDP devices (produced by libosdp): ACK, RAW, PDID, PDCAP, LSTATR, NAK, BUSY.
const REPLIES: [&str; 7] = [
    "53810800074 05b53",
    "53811000065 000011a0095181cc04799",
    "538114000445 0a0b0c010207000000010203",
    "538114000546 01 0400 05 01 01 06 00 00",
    "53810a000648 00 00",
    "538109000541 03",
    "53810800 0479",
];
/// The longest message that anything here takes.
const LONGEST: usize = 4_096;
/// How long a case lasts at the panel, in microseconds of its time.
const PANEL_US: u64 = 12_000_000;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).filter_map(|it| u8::try_from(it).ok()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Runs so many cases.
///
/// # Errors
/// When a decoder panicked, grew, or lost a whole message.
pub fn run(run: &Run) -> super::Result {
    // A panic is told of with its seed, once.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut found = Ok(0);
    for seed in run.seed..run.seed + run.cycles {
        let case = catch_unwind(AssertUnwindSafe(|| case(seed)));
        let what = match case {
            Ok(Ok(bytes)) => {
                found = found.map(|all: u64| all + bytes);
                continue;
            }
            Ok(Err(what)) => what,
            Err(panic) => format!("it panicked: {}", words(&*panic)),
        };
        found = Err(Broken { seed, what });
        break;
    }
    std::panic::set_hook(hook);
    let bytes = found?;
    Ok(Outcome::Held(format!(
        "{} cases, {} MiB of bent messages: no panic, nothing grew, every whole message behind them was understood",
        run.cycles,
        bytes >> 20
    )))
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words")
}

fn case(seed: u64) -> Result<u64, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    match seed % 6 {
        0 => osdp_frames(&mut rng),
        1 => osdp_panel(&mut rng),
        2 => ascii(&mut rng),
        3 => twn4_lines(&mut rng),
        4 => mqtt_packets(&mut rng),
        _ => payloads(&mut rng),
    }
}

/// Bends a message: bits, bytes, lengths, pieces.
fn bend(rng: &mut ChaCha8Rng, message: &mut Vec<u8>) {
    for _ in 0..rng.random_range(0..6) {
        if message.is_empty() {
            message.push(rng.random());
        }
        let at = rng.random_range(0..message.len());
        match rng.random_range(0..7) {
            0 => message[at] ^= 1 << rng.random_range(0..8),
            1 => message[at] = [0x00, 0xff, 0x7f, 0x80, 0x53, 0x02, 0x03, b'"', b'{'][rng.random_range(0..9)],
            2 => message.insert(at, rng.random()),
            3 => drop(message.remove(at)),
            4 => message.truncate(at),
            5 => {
                let until = rng.random_range(at..message.len());
                let piece = message[at..=until].to_vec();
                let to = rng.random_range(0..message.len());
                message.splice(to..to, piece);
            }
            _ => {
                let count = rng.random_range(1..64);
                let byte = rng.random();
                message.splice(at..at, std::iter::repeat_n(byte, count));
            }
        }
        message.truncate(LONGEST);
    }
}

/// A stream of bent messages, in pieces as a line gives them.
fn pieces(rng: &mut ChaCha8Rng, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    for _ in 0..rng.random_range(1..12) {
        let mut message = messages[rng.random_range(0..messages.len())].clone();
        bend(rng, &mut message);
        stream.extend(message);
    }
    let mut pieces = Vec::new();
    while !stream.is_empty() {
        let count = rng.random_range(1..=stream.len().min(40));
        pieces.push(stream.drain(..count).collect());
    }
    pieces
}

fn total(pieces: &[Vec<u8>]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

fn osdp_frames(rng: &mut ChaCha8Rng) -> Result<u64, String> {
    let messages: Vec<Vec<u8>> = REPLIES.iter().map(|text| unhex(text)).collect();
    let (mut decoder, mut fed, mut given) = (Decoder::default(), 0, 0);
    let all = pieces(rng, &messages);
    for piece in &all {
        fed += piece.len();
        decoder.feed(piece);
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
    }
    if given > fed {
        return Err(format!("{given} bytes came out of {fed}"));
    }
    given += decoder.reset();
    if given > fed {
        return Err(format!("{given} bytes came out of {fed}, with the rest"));
    }
    let whole = Frame::command(1, 2, Check::Crc, 0x60, Vec::new());
    decoder.feed(&whole.encode());
    match decoder.take() {
        Some(Decoded::Frame(frame)) if frame == whole => Ok(total(&all)),
        other => Err(format!("a whole frame behind the rubbish is {other:?}")),
    }
}

fn osdp_panel(rng: &mut ChaCha8Rng) -> Result<u64, String> {
    let messages: Vec<Vec<u8>> = REPLIES.iter().map(|text| unhex(text)).collect();
    let mut panel = Panel::new(&[1, 2], 9_600, 0);
    if rng.random_bool(0.3) {
        panel.secure(1, Key::new([7; 16]), [9; 16], 0);
    }
    panel.set_rest(1, LedColour::Blue);
    let (mut now, mut sent, mut bytes) = (0, 0u64, 0);
    while now < PANEL_US {
        let mut asked = 0;
        while panel.poll_output().is_some() {
            asked += 1;
            if asked > 4 {
                return Err("it sends without waiting for anything".to_owned());
            }
        }
        sent += asked;
        while panel.poll_event().is_some() {}
        if rng.random_bool(0.5) {
            // Often a reply that is whole, and often to what was not asked.
            let pieces = if rng.random_bool(0.3) {
                vec![messages[rng.random_range(0..messages.len())].clone()]
            } else {
                pieces(rng, &messages)
            };
            bytes += total(&pieces);
            for piece in pieces {
                panel.handle_bytes(&piece, now);
            }
            if rng.random_bool(0.2) {
                panel.flash(rng.random_range(0..4), LedColour::Green, 2, now);
            }
        }
        let due = panel.poll_timeout().unwrap_or(now + 50_000);
        now = due.clamp(now + 1_000, now + 500_000);
        panel.handle_time(now);
    }
    // Two devices, of which none need ever answer well: each is tried every five seconds at the least.
    if sent < 4 { Err(format!("only {sent} commands in {} s", PANEL_US / 1_000_000)) } else { Ok(bytes) }
}

fn ascii(rng: &mut ChaCha8Rng) -> Result<u64, String> {
    let whole = b"\x0262E3086CED08\x03".to_vec();
    let mut decoder = form::Decoder::new(form::Form::rdm6300());
    let all = pieces(rng, std::slice::from_ref(&whole));
    let mut now = 0;
    for piece in &all {
        now += rng.random_range(0..200);
        let cards = decoder.feed(piece, now);
        if cards.len() > piece.len() || cards.iter().any(|card| card.bits() != 40) {
            return Err(format!("{} cards in {} bytes", cards.len(), piece.len()));
        }
    }
    match &decoder.feed(&whole, now + 10_000)[..] {
        [card] if card.raw() == [0x62, 0xe3, 0x08, 0x6c, 0xed] => Ok(total(&all)),
        other => Err(format!("a whole message behind the rubbish is {other:?}")),
    }
}

fn twn4_lines(rng: &mut ChaCha8Rng) -> Result<u64, String> {
    let lines = [&b"0001800704A2B3C4D5E680"[..], b"0000", b"00", b"0001200462E3086C", b"01"];
    let all = pieces(rng, &lines.map(<[u8]>::to_vec));
    for piece in &all {
        drop(twn4::answer(piece));
    }
    Ok(total(&all))
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, u8::try_from(body.len() & 0x7f).unwrap_or(0)];
    packet.extend(body);
    packet
}

fn mqtt_packets(rng: &mut ChaCha8Rng) -> Result<u64, String> {
    let text = |text: &[u8]| [&u16::try_from(text.len()).unwrap_or(0).to_be_bytes()[..], text].concat();
    let own = text(b"att/v1/GW-A/reader/D2/swipe");
    let hello = |level: u8, properties: &[u8]| {
        let head = [text(b"MQTT"), vec![level, 0xc6, 0, 60], properties.to_vec(), text(b"D2")].concat();
        let will = [properties.to_vec(), text(b"att/v1/GW-A/reader/D2/state"), text(b"lost")].concat();
        packet(0x10, &[head, will, text(b"D2"), text(b"secret")].concat())
    };
    let (level, properties): (u8, &[u8]) = [(4, &[][..]), (5, &[0])][rng.random_range(0..2)];
    let swipe = [&own[..], &[0, 1], properties, br#"{"boot":"b","seq":1}"#].concat();
    let light = text(b"att/v1/GW-A/reader/D2/light/set");
    let messages = [
        hello(level, properties),
        packet(0x32, &swipe),
        packet(0x82, &[&[0, 2][..], properties, &light, &[1]].concat()),
        packet(0xc0, &[]),
        packet(0xe0, &[]),
    ];
    let mut whole = BytesMut::from(&messages[0][..]);
    let Ok(Some(known)) = Hello::take(&mut whole) else {
        return Err("a good CONNECT is not taken".to_owned());
    };
    let guard = Guard::admit("GW-A", &known).map_err(|error| format!("D2 is not let in: {error}"))?;
    let all = pieces(rng, &messages);
    let mut bytes = BytesMut::new();
    for piece in &all {
        bytes.extend_from_slice(piece);
        if bytes.len() > 2 * LONGEST + 64 {
            return Err(format!("{} bytes wait for the rest of a packet", bytes.len()));
        }
        let mut hello = bytes.clone();
        if let Ok(Some(hello)) = Hello::take(&mut hello) {
            drop((hello.connect(), hello.goodbye(), Guard::admit("GW-A", &hello).is_ok()));
        }
        loop {
            match next_packet(&mut bytes, LONGEST) {
                Ok(Some(packet)) => drop(guard.check(&packet)),
                Ok(None) => break,
                // The gate hangs up.
                Err(_) => return Ok(total(&all)),
            }
        }
    }
    let good = Bytes::from(messages[1].clone());
    guard.check(&good).map_err(|error| format!("a good packet behind the rubbish is refused: {error}"))?;
    Ok(total(&all))
}

fn payloads(rng: &mut ChaCha8Rng) -> Result<u64, String> {
    let swipe =
        br#"{"boot":"b7","seq":117,"uid":"04A2B3C4D5E680","bits":56,"mono_ms":9123,"historical":false}"#;
    let birth = br#"{"fw":"1.2","boot":"b7","mono_ms":81000}"#;
    let mut bytes = 0;
    for _ in 0..20 {
        for whole in [&swipe[..], birth, b"\"ready\"", b"att/v1/GW-A/reader/D2/swipe"] {
            let mut message = whole.to_vec();
            bend(rng, &mut message);
            bytes += message.len() as u64;
            if let Ok(swipe) = SwipeMessage::read(&message)
                && (swipe.boot.is_empty() || swipe.boot.len() > 32)
            {
                return Err(format!("a start of {} letters", swipe.boot.len()));
            }
            drop((Birth::read(&message), is_ready(&message)));
            if let Ok(topic) = std::str::from_utf8(&message)
                && let Some((reader, _)) = parse("GW-A", topic)
                && (reader.is_empty() || reader.contains(['/', '+', '#']))
            {
                return Err(format!("{topic:?} is of reader {reader:?}"));
            }
        }
    }
    Ok(bytes)
}
