//! A medium that rots: bits flip, files are cut short, blocks change places, in journals and in the sled cache.
//!
//! Every record that was damaged is reported, every whole one kept; a damaged cache is moved aside and begun anew.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rollcall_gateway::core::outages::Outages;
use rollcall_gateway::core::reading::{BUILT_AFTER, Reading, Trust};
use rollcall_gateway::journal::disk::Disk;
use rollcall_gateway::journal::format::{
    HEADER_BYTES, Head, Header, RECORD_HEAD_BYTES, chain, decode_record, encode_record,
};
use rollcall_gateway::journal::log::{Damage, Limits, Log};
use rollcall_gateway::journal::lost;
use rollcall_gateway::timetable::Cache;
use rollcall_gateway::timetable::item::{CachedConfig, CachedItem, CachedMembership};
use rollcall_rules::ids::hole;
use uuid::Uuid;

use super::simulate::SimDisk;
use super::{Broken, Outcome, Run};

const LIMITS: Limits = Limits { segment: 64 * 1024, quota: 1 << 30 };
const BLOCK: usize = 4_096;
/// The defects that this suite can see.
pub const CONTROLS: [&str; 1] = ["no-checksum"];

/// A record as it was written: where it stands.
struct Written {
    sequence: u64,
    file: String,
    start: usize,
    end: usize,
    body: Vec<u8>,
}

/// Runs so many cases: each on a journal, and one of ten on a cache besides.
///
/// # Errors
/// When damage was passed over, or something whole was lost.
pub fn run(run: &Run) -> super::Result {
    let (mut damaged, mut kept, mut caches) = (0, 0, 0);
    for seed in run.seed..run.seed + run.cycles {
        let broken = |what: String| Broken { seed, what };
        super::begin(seed);
        if run.control.is_none() && seed % 10 == 0 {
            cache(seed).map_err(broken)?;
            caches += 1;
        }
        let (lost, whole) = journal(seed, run.control.is_some()).map_err(broken)?;
        damaged += lost;
        kept += whole;
    }
    Ok(Outcome::Held(format!(
        "{} journals: {damaged} damaged records, each reported; {kept} whole ones, each kept; 0 silently lost; {caches} \
         caches begun anew or read whole",
        run.cycles
    )))
}

/// One journal: gives how many records were damaged, and how many stayed whole.
fn journal(seed: u64, no_checksum: bool) -> Result<(usize, usize), String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let disk = SimDisk::new(seed);
    let Filled { written, ended } = fill(&disk, &mut rng).map_err(|error| error.to_string())?;
    let touched =
        if no_checksum { harm_and_prove(&disk, &written, &mut rng) } else { harm(&disk, &written, &mut rng) };
    let spoilt: BTreeSet<u64> = written
        .iter()
        .filter(|it| touched.iter().any(|(file, at)| *file == it.file && it.start <= *at && *at < it.end))
        .map(|it| it.sequence)
        .collect();
    // Where nothing said that it had been there, what reads as zeros never was.
    let never: BTreeSet<u64> = written
        .iter()
        .filter(|it| it.sequence >= ended && is_erased(&disk, it))
        .map(|it| it.sequence)
        .collect();
    let mut found = BTreeSet::new();
    let mut altered = None;
    let bodies: BTreeMap<u64, &[u8]> = written.iter().map(|it| (it.sequence, &it.body[..])).collect();
    let opened = Log::open(disk.clone(), Uuid::from_u128(9), LIMITS, |stored| {
        found.insert(stored.sequence);
        if bodies.get(&stored.sequence).is_some_and(|body| *body != &stored.body[..]) {
            altered = altered.or(Some(stored.sequence));
        }
    });
    let (mut log, damages) = opened.map_err(|error| format!("a damaged journal is not opened: {error}"))?;
    if let Some(sequence) = altered {
        return Err(format!("record {sequence} is read as another than was written"));
    }
    // Of what is gone at the end, nobody can tell whether it ever was durable, unless something said so.
    let reported = |sequence: u64| damages.iter().any(|damage| names(damage, sequence, ended));
    for it in &written {
        match (spoilt.contains(&it.sequence), found.contains(&it.sequence)) {
            (false, false) => {
                return Err(format!("record {} was whole and is not read: {damages:?}", it.sequence));
            }
            (true, false) if !reported(it.sequence) && !never.contains(&it.sequence) => {
                return Err(format!("record {} is gone and nobody says so: {damages:?}", it.sequence));
            }
            _ => {}
        }
    }
    let gone: Vec<u64> = spoilt.iter().filter(|sequence| !found.contains(sequence)).copied().collect();
    let now = Reading::exactly(BUILT_AFTER.0, Trust::Synced, 0);
    let mut outages = Outages::default();
    let (mut told, mut open_told) = (BTreeSet::new(), false);
    for damage in &damages {
        let lost = lost::between(&mut log, damage, now, &mut outages, &BTreeSet::new());
        let ids: Vec<Uuid> = lost.map_err(|error| error.to_string())?.iter().map(|it| it.id).collect();
        let of_ranges: BTreeSet<Uuid> =
            damage.missing.iter().map(|it| hole(damage.journal, it.end)).collect();
        open_told |= ids.iter().any(|id| !of_ranges.contains(id));
        told.extend(ids);
    }
    // Each hole by itself, or the open end that it is in.
    for sequence in gone.iter().filter(|sequence| **sequence < ended) {
        let told = damages.iter().any(|damage| {
            let mut around = damage.missing.iter().filter(|range| range.contains(sequence));
            around.any(|range| told.contains(&hole(damage.journal, range.end)))
                || (open_told && damage.open_end.is_some_and(|from| *sequence >= from))
        });
        if !told {
            return Err(format!("record {sequence} is gone, and the hub is not told: {damages:?}"));
        }
    }
    // A damaged record that reads all the same was spoilt where nothing of it stands, or swapped with its like.
    if !damages.is_empty() && log.journal() != Uuid::from_u128(9) {
        return Err("the journal goes on under an id whose numbers may be used".to_owned());
    }
    let again = log.append(&[b"after the damage".to_vec()]).map_err(|error| error.to_string())?;
    let last = written.iter().rfind(|it| !never.contains(&it.sequence)).map_or(0, |it| it.sequence);
    if again <= last {
        return Err(format!("number {again} is used again"));
    }
    found.insert(again);
    later(&disk, &mut log, &found, &bodies, seed)?;
    Ok((gone.len(), found.len() - 1))
}

/// While the gateway runs one record more rots: page by page all others are read, and it is told of.
fn later(
    disk: &SimDisk,
    log: &mut Log<SimDisk>,
    found: &BTreeSet<u64>,
    bodies: &BTreeMap<u64, &[u8]>,
    seed: u64,
) -> Result<(), String> {
    let old: Vec<u64> = found.iter().filter(|it| bodies.contains_key(it)).copied().collect();
    let chosen = usize::try_from(seed).unwrap_or(0) % old.len().max(1);
    let rotten = old.get(chosen).copied();
    if !rotten.is_none_or(|it| bodies.get(&it).is_some_and(|body| disk.rot(body))) {
        return Err(format!("record {rotten:?} stands nowhere on the medium"));
    }
    let (mut from, mut read) = (1, BTreeSet::new());
    loop {
        let page = log.read(from, 7).map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { break };
        from = last.sequence + 1;
        read.extend(page.iter().map(|it| it.sequence));
    }
    let whole: BTreeSet<u64> = found.iter().filter(|it| Some(**it) != rotten).copied().collect();
    if read != whole {
        let passed: Vec<&u64> = whole.difference(&read).collect();
        return Err(format!("{rotten:?} rots while it is read, and {passed:?} are passed over"));
    }
    let news = log.take_news();
    let told = |sequence: u64| news.iter().any(|damage| names(damage, sequence, u64::MAX));
    match rotten {
        Some(rotten) if !told(rotten) => {
            Err(format!("record {rotten} rots while it is read and nobody says so"))
        }
        _ => Ok(()),
    }
}

fn is_erased(disk: &SimDisk, it: &Written) -> bool {
    let bytes = disk.read(&it.file).unwrap_or_default();
    bytes.get(it.start..it.end).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

fn names(damage: &Damage, sequence: u64, ended: u64) -> bool {
    let is_told = !damage.torn_tail || sequence >= ended;
    damage.missing.iter().any(|range| range.contains(&sequence))
        || (is_told && damage.open_end.is_some_and(|from| sequence >= from))
}

/// A journal as it was filled.
struct Filled {
    written: Vec<Written>,
    /// Behind the newest record of which the journal wrote down that it was there; 0 where it did not get to that.
    ended: u64,
}

/// Fills some segments, in groups. Mostly the journal gets to say where it ends, as a gateway that is asked to stop does, or
/// one that dies when nobody swipes.
fn fill(disk: &SimDisk, rng: &mut ChaCha8Rng) -> Result<Filled, Box<dyn std::error::Error>> {
    let (mut log, _) = Log::open(disk.clone(), Uuid::from_u128(rng.random()), LIMITS, |_| {})?;
    let (mut bodies, mut ended) = (Vec::new(), 0);
    for _ in 0..rng.random_range(5..120) {
        let group: Vec<Vec<u8>> = (0..rng.random_range(1..6))
            .map(|_| {
                let size = rng.random_range(100..900);
                (0..size).map(|_| rng.random_range(1..=255)).collect()
            })
            .collect();
        let first = log.append(&group)?;
        bodies.extend((first..).zip(group));
        if rng.random_bool(0.1) {
            log.keep_end(rng.random())?;
            ended = log.next_sequence();
        }
    }
    if rng.random_bool(0.75) {
        log.keep_end(rng.random())?;
        ended = log.next_sequence();
    }
    let mut written = Vec::new();
    for segment in log.segments() {
        let mut start = HEADER_BYTES;
        for (sequence, body) in bodies.iter().filter(|(it, _)| (segment.first..=segment.last).contains(it)) {
            let end = start + RECORD_HEAD_BYTES + body.len();
            let (file, body) = (segment.name.clone(), body.clone());
            written.push(Written { sequence: *sequence, file, start, end, body });
            start = end;
        }
    }
    Ok(Filled { written, ended })
}

/// As if nothing were proved: a record of the newest segment is altered, and checksums and chain are made to fit, as a
/// format without them would take it.
fn harm_and_prove(disk: &SimDisk, written: &[Written], rng: &mut ChaCha8Rng) -> Vec<(String, usize)> {
    let Some(newest) = written.last() else { return Vec::new() };
    let mine: Vec<&Written> = written.iter().filter(|it| it.file == newest.file).collect();
    let wrong = rng.random_range(0..mine.len());
    let bytes = disk.read(&newest.file).unwrap_or_default();
    let Ok(header) = Header::of_segment(&bytes) else { return Vec::new() };
    let (mut value, mut again) = (header.chain, Vec::new());
    for (place, it) in mine.iter().enumerate() {
        let Ok(Some((head, _))) = decode_record(&bytes[it.start..], header.journal) else {
            return Vec::new();
        };
        let mut body = it.body.clone();
        if place == wrong {
            let at = rng.random_range(0..body.len());
            body[at] ^= 1;
        }
        value = chain(&value, it.sequence, &body);
        encode_record(header.journal, &Head { chain: value, ..head }, &body, &mut again);
    }
    disk.harm(&newest.file, |bytes| bytes[HEADER_BYTES..HEADER_BYTES + again.len()].copy_from_slice(&again));
    vec![(newest.file.clone(), mine[wrong].start)]
}

/// Harms the medium; gives every byte that is not what it was.
fn harm(disk: &SimDisk, written: &[Written], rng: &mut ChaCha8Rng) -> Vec<(String, usize)> {
    let mut files: Vec<String> = written.iter().map(|it| it.file.clone()).collect();
    files.dedup();
    let before: Vec<Vec<u8>> = files.iter().map(|file| disk.read(file).unwrap_or_default()).collect();
    let pick = rng.random_range(0..files.len());
    match rng.random_range(0..5) {
        0 => {
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..before[pick].len() * 8);
                disk.harm(&files[pick], |bytes| bytes[at / 8] ^= 1 << (at % 8));
            }
        }
        1 => {
            let length = rng.random_range(0..before[pick].len());
            disk.harm(&files[pick], |bytes| bytes.truncate(length));
        }
        2 => {
            let blocks = before[pick].len() / BLOCK;
            let (left, right) = (rng.random_range(0..blocks), rng.random_range(0..blocks));
            disk.harm(&files[pick], |bytes| {
                for at in 0..BLOCK {
                    bytes.swap(left * BLOCK + at, right * BLOCK + at);
                }
            });
        }
        3 => {
            // Blocks read as zeros, from some record on.
            let it = &written[rng.random_range(0..written.len())];
            let blocks = rng.random_range(1..4);
            disk.harm(&it.file, |bytes| {
                let start = it.start / BLOCK * BLOCK;
                let end = (start + blocks * BLOCK).min(bytes.len());
                bytes[start..end].fill(0);
            });
        }
        _ => {
            // A run of bits around some record, where rot does the most harm.
            let it = &written[rng.random_range(0..written.len())];
            let at = rng.random_range(it.start..it.end);
            let run = rng.random_range(1..64);
            disk.harm(&it.file, |bytes| {
                let end = (at + run).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|byte| *byte = !*byte);
            });
        }
    }
    let mut touched = Vec::new();
    for (file, old) in files.iter().zip(before) {
        let new = disk.read(file).unwrap_or_default();
        for (at, byte) in old.iter().enumerate() {
            if new.get(at) != Some(byte) {
                touched.push((file.clone(), at));
            }
        }
    }
    touched
}

/// One cache: after damage it opens, holds all or nothing, and takes a snapshot.
fn cache(seed: u64) -> Result<(), String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("cache");
    let item = |number: u128| {
        let id = Uuid::from_u128(number);
        (id, CachedItem::Membership(CachedMembership { group: id, holder: id, from: Some(1), until: None }))
    };
    let items: Vec<_> = (1..200).map(item).collect();
    {
        let (cache, ..) = Cache::open(&path);
        cache.replace("a.1", &CachedConfig::default(), &items).map_err(|error| error.to_string())?;
    }
    let files: Vec<_> = walk(&path);
    let file = &files[rng.random_range(0..files.len())];
    let mut bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    if !bytes.is_empty() {
        let blocks = bytes.len() / BLOCK;
        let kind = rng.random_range(0..10);
        if kind < 3 {
            bytes.truncate(rng.random_range(0..bytes.len()));
        } else if kind < 6 && blocks > 1 {
            // Some of them hold nothing yet.
            let used: Vec<usize> = (0..blocks)
                .filter(|block| bytes[block * BLOCK..(block + 1) * BLOCK].iter().any(|byte| *byte != 0))
                .collect();
            if let [_, ..] = used[..] {
                let left = used[rng.random_range(0..used.len())];
                let right = rng.random_range(0..blocks);
                for at in 0..BLOCK {
                    bytes.swap(left * BLOCK + at, right * BLOCK + at);
                }
            }
        } else {
            for _ in 0..rng.random_range(1..40) {
                let at = rng.random_range(0..bytes.len() * 8);
                bytes[at / 8] ^= 1 << (at % 8);
            }
        }
        std::fs::write(file, bytes).map_err(|error| error.to_string())?;
    }
    // sled says on standard error where it panics; that is no news here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (cache, found, moved) = Cache::open(&path);
    std::panic::set_hook(hook);
    // Moved aside and said so, or read whole: never less than that without a word.
    if moved.is_none() {
        let wrong = found.items.iter().filter(|it| !items.contains(it)).count();
        if wrong > 0 || found.items.len() != items.len() {
            let gone = items.len().abs_diff(found.items.len());
            return Err(format!(
                "of a damaged cache {wrong} items are not what was written, and {gone} are gone"
            ));
        }
    }
    cache
        .replace("a.2", &CachedConfig::default(), &items)
        .map_err(|error| format!("no new cache: {error}"))?;
    drop(cache);
    let (_, again, _) = Cache::open(&path);
    (again.items.len() == items.len()).then_some(()).ok_or_else(|| "a new cache does not hold".to_owned())
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}
