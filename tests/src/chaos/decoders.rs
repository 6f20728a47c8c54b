//! What readers say, bent: every decoder of a reader's words, the OSDP panel and the MQTT gate's guard, fed with
//! well-formed messages in which bytes were changed, lost, doubled and moved.
//!
//! The checks are `rollcall_fuzz`'s, which libFuzzer drives too (`tests/fuzz/run`): coverage finds its way into what is
//! rarely reached, seeds stay near to what readers really say. Each case is one seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rollcall_fuzz::{TARGETS, mqtt, say};

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
/// The longest message that is made.
const LONGEST: usize = 4_096;
/// A line of OSDPCAP.
const CAPTURED: &[u8] = br#"{"timeSec":"12","timeNano":"000004127","io":"input","data":"53811000065000011a0095181cc04799","osdpTraceVersion":"1","osdpSource":"x"}"#;
/// What MQTT readers say, in the order of the channels that the check has.
const PAYLOADS: [&[u8]; 4] = [
    br#"{"boot":"b7","seq":117,"uid":"04A2B3C4D5E680","bits":56,"mono_ms":9123,"historical":false}"#,
    br#"{"fw":"1.2","boot":"b7","mono_ms":81000}"#,
    b"ready",
    b"att/v1/GW-A/reader/D2/swipe",
];

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
            Err(panic) => super::words(&*panic),
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

/// Makes the seed's case and checks it; how many bytes it has.
fn case(seed: u64) -> Result<u64, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (name, target) = TARGETS[usize::try_from(seed).unwrap_or(0) % TARGETS.len()];
    // The first byte is the set-up's; most messages come raw, so that their checks are bent too.
    let mut case = vec![rng.random()];
    match name {
        "osdp_frames" => stream(&mut rng, &mut case, 1, &replies()),
        "osdp_panel" => {
            for _ in 0..rng.random_range(0..100) {
                // Often an answer that is whole, often one to what was not asked, often none.
                let replies = replies();
                match rng.random_range(0..4) {
                    0 => {
                        say(&mut case, rng.random::<u8>() & !1, &replies[rng.random_range(0..replies.len())])
                    }
                    1 => stream(&mut rng, &mut case, 1, &replies),
                    2 => say(
                        &mut case,
                        rng.random::<u8>() | 1,
                        &[
                            [0x40, 0x41, 0x45, 0x46, 0x48, 0x50, 0x79][rng.random_range(0..7)],
                            rng.random(),
                            rng.random(),
                        ],
                    ),
                    _ => say(&mut case, rng.random::<u8>() & !1, &[]),
                }
            }
        }
        "osdp_captures" => {
            case.clear();
            for _ in 0..rng.random_range(1..6) {
                let mut line = CAPTURED.to_vec();
                bend(&mut rng, &mut line);
                case.extend(line);
                case.push(b'\n');
            }
        }
        "ascii_forms" => {
            case.push(rng.random());
            stream(&mut rng, &mut case, 200, &[b"\x0262E3086CED08\x03".to_vec(), b"#0123456789\r".to_vec()]);
        }
        "twn4_lines" => {
            let lines = [&b"0001800704A2B3C4D5E680"[..], b"0000", b"00", b"0001200462E3086C", b"01"];
            stream(&mut rng, &mut case, 1, &lines.map(<[u8]>::to_vec));
        }
        "mqtt_gate" => {
            let five = case[0] & 1 != 0;
            let messages =
                [mqtt::hello(five), mqtt::swipe(five), mqtt::subscribe(five), vec![0xc0, 0], vec![0xe0, 0]];
            stream(&mut rng, &mut case, 1, &messages);
        }
        "mqtt_payloads" => {
            case.clear();
            for _ in 0..20 {
                for (kind, whole) in (0u8..).zip(PAYLOADS) {
                    let mut message = whole.to_vec();
                    bend(&mut rng, &mut message);
                    say(&mut case, kind, &message);
                }
            }
        }
        other => return Err(format!("no case can be made for {other}")),
    }
    target(&case).map_err(|what| format!("{name}: {what}"))?;
    Ok(case.len() as u64)
}

fn replies() -> Vec<Vec<u8>> {
    REPLIES.iter().map(|text| unhex(text)).collect()
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

/// A stream of bent messages, in pieces as a line gives them, each of a kind below `kinds`.
fn stream(rng: &mut ChaCha8Rng, case: &mut Vec<u8>, kinds: u8, messages: &[Vec<u8>]) {
    let mut stream = Vec::new();
    for _ in 0..rng.random_range(1..12) {
        let mut message = messages[rng.random_range(0..messages.len())].clone();
        bend(rng, &mut message);
        stream.extend(message);
    }
    while !stream.is_empty() {
        let count = rng.random_range(1..=stream.len().min(40));
        let kind = rng.random_range(0..kinds);
        say(case, kind, &stream.drain(..count).collect::<Vec<u8>>());
    }
}
