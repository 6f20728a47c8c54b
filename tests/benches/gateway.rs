//! What the gateway must do in time, each figure beside the limit measured in the same run.
//!
//! `cargo bench -p rollcall-tests --bench gateway`. Prints medians and tails; judges nothing, because machines are
//! noisy: the reader compares the two columns.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and may stop at the first surprise"
)]

use std::hint::black_box;
use std::io::{Seek as _, Write as _};
use std::time::{Duration, Instant as Moment};

use reader_sim::device::osdp::{OsdpBus, OsdpReader, ReaderKey};
use reader_sim::device::{DeviceEvent, Shown};
use reader_sim::plan::Colour as SimColour;
use rollcall_gateway::core::reading::{Reading, Trust};
use rollcall_gateway::core::time::{Kept, Source};
use rollcall_gateway::core::{CardSecret, Change, Gateway, Input, Output, Read, ReaderFacts};
use rollcall_gateway::journal::disk::Folder;
use rollcall_gateway::journal::format::RECORD_HEAD_BYTES;
use rollcall_gateway::journal::log::{Limits, Log};
use rollcall_gateway::journal::record::Record;
use rollcall_gateway::journal::writer::{Journal, Written};
use rollcall_gateway::osdp::command::{Command, LedColour};
use rollcall_gateway::osdp::frame::{Check, Decoded, Decoder, Frame};
use rollcall_gateway::osdp::reply::Reply;
use rollcall_gateway::timetable::Cache;
use rollcall_gateway::timetable::item::{
    CachedCard, CachedConfig, CachedItem, CachedMembership, CachedSession,
};
use rollcall_rules::card::{CardRead, Format, Printed};
use rollcall_rules::ids::RoomId;
use rollcall_rules::light::Colour;
use rollcall_rules::time::{Instant, Uncertain};
use rollcall_rules::verdict::verdict;
use tokio::sync::mpsc;
use uuid::Uuid;

const HOUR: i64 = 3_600_000;
const START: i64 = 1_803_000_000_000;
const ROOMS: u128 = 44;

fn secret() -> CardSecret {
    CardSecret { epoch: 1, secret: vec![7; 32] }
}

fn card(number: u64) -> CardRead {
    Format::H10306
        .encode(Printed { facility: u32::try_from(number >> 16).unwrap(), number: number & 0xffff })
        .unwrap()
}

/// A slice of so many sessions, groups of 25, and cards.
fn slice(sessions: u128, cards: u128) -> Vec<(Uuid, CachedItem)> {
    let groups = (cards / 25).max(1);
    let mut items = Vec::new();
    for number in 0..sessions {
        let starts = START + HOUR * i64::try_from(number / ROOMS).unwrap();
        let session = CachedSession {
            starts,
            ends: starts + HOUR,
            cancelled: false,
            rooms: vec![(Uuid::from_u128(number % ROOMS), None, None)],
            groups: vec![Uuid::from_u128(number % groups)],
            opens_before: HOUR / 2,
            closes_after: 0,
            nearest: false,
        };
        items.push((Uuid::from_u128(1 << 64 | number), CachedItem::Session(session)));
    }
    for number in 0..cards {
        let holder = Uuid::from_u128(2 << 64 | number);
        let key = secret().key(&card(u64::try_from(number).unwrap())).unwrap();
        let keys = vec![rollcall_gateway::core::hex(&key.0)];
        let cached = CachedCard { keys, holder, from: Some(0), until: None };
        items.push((Uuid::from_u128(3 << 64 | number), CachedItem::Card(cached)));
        for group in 0..3 {
            let group = Uuid::from_u128((number / 25 + group * 7) % groups);
            let stay = CachedMembership { group, holder, from: Some(0), until: None };
            items.push((Uuid::new_v4(), CachedItem::Membership(stay)));
        }
    }
    items
}

fn config() -> CachedConfig {
    let readers = (0..ROOMS)
        .map(|room| (Uuid::from_u128(9 << 64 | room), format!("R{room}"), Some(Uuid::from_u128(room)), true));
    let secret = rollcall_gateway::core::hex(&secret().secret);
    CachedConfig { epoch: 1, secret, heartbeat_ms: 60_000, max_batch: 500, readers: readers.collect() }
}

fn mind(items: &[(Uuid, CachedItem)], now: Reading) -> Gateway {
    let mut mind = Gateway::new(Uuid::nil());
    let changes = items.iter().map(|(id, item)| Change::Upsert(item.fact(*id))).collect();
    mind.handle(Input::Facts { changes, replace: true, basis: String::new() }, now);
    let readers = (0..ROOMS).map(|room| ReaderFacts {
        id: Uuid::from_u128(9 << 64 | room),
        code: format!("R{room}"),
        room: Some(RoomId(Uuid::from_u128(room))),
    });
    mind.handle(Input::Config { readers: readers.collect(), secret: secret() }, now);
    mind
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn report(name: &str, mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    println!("{name:<58} p50 {:>9.1} µs   p99 {:>9.1} µs", p50.as_secs_f64() * 1e6, p99.as_secs_f64() * 1e6);
    (p50, p99)
}

fn verdicts() {
    let items = slice(10_000, 50_000);
    let now = Reading::exactly(START + 100 * HOUR, Trust::Synced, 0);
    let mind = mind(&items, now);
    let rounds = 20_000u64;
    let keys: Vec<_> = (0..rounds).map(|round| secret().key(&card(round * 7919 % 50_000)).unwrap()).collect();
    let mut medians = Vec::new();
    for _ in 0..9 {
        let begun = Moment::now();
        for (round, key) in (0u64..).zip(&keys) {
            let room = RoomId(Uuid::from_u128(u128::from(round) % ROOMS));
            let at = Instant(START + i64::try_from(round % 200).unwrap() * HOUR + 60_000);
            black_box(verdict(mind.timetable(), room, key, Uncertain::exactly(at), |_, _| false));
        }
        medians.push(begun.elapsed() / u32::try_from(rounds).unwrap());
    }
    medians.sort_unstable();
    println!(
        "verdict, 10,000 sessions and 50,000 cards: median {:.2} µs (limit 2 µs)",
        medians[4].as_secs_f64() * 1e6
    );
}

/// Raw append and fdatasync of records of the same size, `group` at a time, into a preallocated file.
fn raw(bytes: usize, group: usize, rounds: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(folder.path().join("raw")).unwrap();
    // Blocks that are there, as a journal's segment has them.
    file.write_all(&vec![0; 8 * 1024 * 1024]).unwrap();
    file.sync_all().unwrap();
    file.seek(std::io::SeekFrom::Start(0)).unwrap();
    let body = vec![1u8; bytes * group];
    (0..rounds)
        .map(|_| {
            let begun = Moment::now();
            file.write_all(&body).unwrap();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect()
}

fn journal() -> (tempfile::TempDir, Journal, mpsc::UnboundedReceiver<Written>) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Folder::open(folder.path().to_path_buf()).unwrap();
    let (log, _) = Log::open(disk, Uuid::from_u128(1), Limits::quota(1 << 30), |_| {}).unwrap();
    let (written, heard) = mpsc::unbounded_channel();
    (folder, Journal::start(log, written).unwrap(), heard)
}

/// What an OSDP reader sends of a card: RAW, format unspecified (SIA OSDP 2.2, section 7.10).
fn wire(card: &CardRead) -> Vec<u8> {
    let mut data = vec![0, 0];
    data.extend(card.bits().to_le_bytes());
    data.extend(card.raw());
    let frame = Frame { address: 1, reply: true, sequence: 1, check: Check::Crc, code: 0x50, data };
    frame.encode()
}

/// Card bytes in, light command out: decode, judge, append, sync, answer.
async fn door() {
    let items = slice(5_000, 1_000);
    let now = Reading::exactly(START + 50 * HOUR + 60_000, Trust::Synced, 0);
    let mut mind = mind(&items, now);
    while mind.poll_output().is_some() {}
    let (_folder, journal, mut heard) = journal();
    let mut size = 0;
    let mut times = Vec::new();
    for round in 0..400u128 {
        let wire = wire(&card(u64::try_from(round).unwrap()));
        let begun = Moment::now();
        let mut decoder = Decoder::default();
        decoder.feed(&wire);
        let Some(Decoded::Frame(frame)) = decoder.take() else { panic!("no frame") };
        let Reply::Card(card) = Reply::decode(frame.code, &frame.data) else { panic!("no card") };
        let [random @ .., _, _, _, _, _, _] = rollcall_gateway::random::bytes();
        let read = Read { reader: format!("R{}", round % ROOMS), card, tag: None, random };
        mind.handle(Input::Read(read), now);
        while let Some(output) = mind.poll_output() {
            if let Output::Append { ticket, record } = output {
                let body = Record::Swipe(record).body().unwrap();
                size = body.len();
                journal.append(ticket, body).await;
            }
        }
        let Some(Written::Durable(done)) = heard.recv().await else { panic!("not durable") };
        for (ticket, _) in done {
            mind.handle(Input::Durable { ticket }, now);
        }
        let Some(Output::Answer(answer)) = mind.poll_output() else { panic!("no answer") };
        let colour = if answer.flash == Some(Colour::Green) { LedColour::Green } else { LedColour::Red };
        let command = Command::LedFlash { colour, tenths: 12 };
        let frame = Frame::command(1, 1, Check::Crc, command.code(), command.data()).encode();
        black_box(frame);
        times.push(begun.elapsed());
    }
    let (_, ours) = report("card bytes in → light command out, journal included", times);
    let (_, limit) =
        report("raw append + fdatasync of a record of that size", raw(size + RECORD_HEAD_BYTES, 1, 400));
    let bound = limit + Duration::from_millis(1);
    println!(
        "  p99 {:.2} ms against raw p99 + 1 ms = {:.2} ms",
        ours.as_secs_f64() * 1e3,
        bound.as_secs_f64() * 1e3
    );
}

/// 32 readers that swipe without end, each with so many cards under way, through one loop as in the gateway, beside
/// groups of 32 written raw; five times, and the medians.
///
/// A reader does not wait for its answer before it reads the next card, so two are under way where people crowd at
/// a door. With one, nothing can be gathered while the disk is busy, and each round pays the way to the readers
/// and back besides its sync.
async fn grouped(under_way: usize) {
    const ROUNDS: usize = 400;
    const BODY: usize = 600;
    const READERS: usize = 32;
    let (mut ours, mut limits, mut groups) = (Vec::new(), Vec::new(), 0);
    for _ in 0..5 {
        let (_folder, journal, mut heard) = journal();
        let (reads, mut waiting) = mpsc::channel(READERS);
        let mut readers = tokio::task::JoinSet::new();
        let mut doors = Vec::new();
        for reader in 0..READERS * under_way {
            let (door, mut answers) = mpsc::channel(1);
            doors.push(door);
            let reads = reads.clone();
            readers.spawn(async move {
                for round in 0..ROUNDS / under_way {
                    reads.send((round * READERS * under_way + reader + 1) as u64).await.unwrap();
                    answers.recv().await.unwrap();
                }
            });
        }
        drop(reads);
        let begun = Moment::now();
        let mut done = 0;
        while done < ROUNDS * READERS {
            tokio::select! {
                Some(ticket) = waiting.recv() => journal.append(ticket, vec![1u8; BODY]).await,
                written = heard.recv() => {
                    let Some(Written::Durable(list)) = written else { panic!("not durable: {written:?}") };
                    done += list.len();
                    groups += 1;
                    for (ticket, _) in list {
                        doors[(ticket - 1) as usize % (READERS * under_way)].try_send(()).unwrap();
                    }
                }
            }
        }
        ours.push((ROUNDS * READERS) as f64 / begun.elapsed().as_secs_f64());
        readers.join_all().await;
        let raw: Duration = raw(BODY + RECORD_HEAD_BYTES, READERS, ROUNDS).iter().sum();
        limits.push((ROUNDS * READERS) as f64 / raw.as_secs_f64());
    }
    ours.sort_unstable_by(f64::total_cmp);
    limits.sort_unstable_by(f64::total_cmp);
    let (ours, limit) = (ours[2], limits[2]);
    println!(
        "journal, 32 readers at once, {under_way} cards of each under way: {ours:.0} records/s in groups of {:.0}; raw \
         groups of 32: {limit:.0}/s; share {:.2} (limit 0.8)",
        (5 * ROUNDS * READERS) as f64 / f64::from(groups),
        ours / limit
    );
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

/// A term as large as the real one: cache and mind.
fn term() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let before = resident_kib();
    {
        let items = slice(5_183, 4_826);
        let (cache, ..) = Cache::open(&path);
        cache.replace("x.1", &config(), &items).unwrap();
    }
    let begun = Moment::now();
    let (_cache, cached, _) = Cache::open(&path);
    let now = Reading::exactly(START + 50 * HOUR + 60_000, Trust::Synced, 0);
    let mut mind = mind(&cached.items, now);
    let blue =
        std::iter::from_fn(|| mind.poll_output()).filter(|it| matches!(it, Output::Rest { .. })).count();
    let took = begun.elapsed();
    drop(cached);
    println!(
        "start to first right light, 5,183 sessions, 14,478 memberships, 4,826 cards: {:.0} ms, {blue} lights (limit 500 ms)",
        took.as_secs_f64() * 1e3
    );
    println!(
        "resident memory of cache and mind, making them included: {} KiB (before: {before} KiB; limit 48 MiB in all)",
        resident_kib()
    );
}

/// The real program on a term as large as the real one: how long until a reader shines, and how much it holds.
///
/// Builds it first: a bench has only the libraries.
async fn program() {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("rollcall-gateway");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = tokio::process::Command::new(cargo);
    build.args(["build", "--release", "--workspace", "--bin", "rollcall-gateway"]);
    assert!(build.status().await.unwrap().success(), "the gateway cannot be built");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // The term is put around the present, so that a window is open in every room.
    let now = jiff::Timestamp::now().as_millisecond();
    let mut items = slice(5_183, 4_826);
    for (index, (_, item)) in items.iter_mut().enumerate() {
        if let CachedItem::Session(session) = item {
            let shift = now - START - HOUR * (i64::try_from(index as u128 / ROOMS).unwrap() % 110) + HOUR / 2;
            (session.starts, session.ends) =
                (session.starts - HOUR * 50 + shift - HOUR, session.ends - HOUR * 50 + shift + HOUR);
            if (index as u128) < ROOMS {
                (session.starts, session.ends) = (now - HOUR, now + HOUR);
            }
        }
    }
    {
        let (cache, ..) = Cache::open(&data.join("cache"));
        cache.replace("x.1", &config(), &items).unwrap();
    }
    // The machine's clock as the last run left it: in step a moment ago.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let tie = Some(((uptime * 1e3) as i64, now, 5, Source::Ntp));
    let kept =
        Kept { boot: boot.trim().parse().unwrap(), floor: now - 1_000, tie, vouched: None, chip: None };
    std::fs::write(data.join("clock.json"), serde_json::to_vec(&kept).unwrap()).unwrap();
    std::fs::write(folder.path().join("token"), "none").unwrap();
    let (events, mut heard) = mpsc::unbounded_channel();
    let reader = OsdpReader { code: "R0".to_owned(), address: 1, serial: 1, key: ReaderKey::None };
    let bus = OsdpBus::on_new_pty(vec![reader], events).unwrap();
    let text = format!(
        "gateway = 'G'\ndata = '{}'\n[hub]\nurl = 'http://127.0.0.1:9'\ntoken_file = '{}'\n[[bus]]\nport = '{}'\nbaud = 115200\n\
         [[bus.reader]]\ncode = 'R0'\naddress = 1\n",
        data.display(),
        folder.path().join("token").display(),
        bus.path().display()
    );
    std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
    let mut times = Vec::new();
    let mut resident = 0;
    for _ in 0..5 {
        let begun = Moment::now();
        let mut child = tokio::process::Command::new(&path)
            .args(["run", "--config"])
            .arg(folder.path().join("gateway.toml"))
            .env("RUST_LOG", "off")
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await;
            let event = event.expect("no light in 20 s").unwrap();
            if let DeviceEvent::Light { shown: Shown::Base(SimColour::Blue), .. } = event {
                break;
            }
        }
        times.push(begun.elapsed());
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        resident = resident.max(line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap());
        let _ = tokio::process::Command::new("kill")
            .args(["-INT", &child.id().unwrap().to_string()])
            .status()
            .await;
        child.wait().await.unwrap();
        while heard.try_recv().is_ok() {}
    }
    times.sort_unstable();
    println!(
        "the program itself, 5,183 sessions, 14,478 memberships, 4,826 cards: start to the first right light {:.0} ms \
         (median of 5, an OSDP reader's own greeting included; limit 500 ms), resident {:.1} MiB (limit 48 MiB)",
        times[2].as_secs_f64() * 1e3,
        resident as f64 / 1024.0
    );
}

fn main() {
    // Whoever names some runs only those.
    let named: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|it| it == name);
    if wanted("term") {
        term();
    }
    if wanted("verdicts") {
        verdicts();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if wanted("program") {
        runtime.block_on(program());
    }
    if wanted("door") {
        runtime.block_on(door());
    }
    if wanted("grouped") {
        runtime.block_on(async { tokio::spawn(grouped(2)).await.unwrap() });
        runtime.block_on(async { tokio::spawn(grouped(1)).await.unwrap() });
    }
}
