//! `rollcall-gateway journal verify|list|export`: looks into a journal and never changes it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::disk::{Folder, Readable, read_around};
use super::format::{Chain, FormatError, Header, chain};
use super::log::end::{END, newest};
use super::record::Record;
use super::scan::{self, gaps, salvage};
use crate::core::{hex, unhex};
use crate::uplink::sign::{SigningKey, seals, verify as holds};

/// One record, as it stands on the disk.
struct Line {
    journal: Uuid,
    chain: Chain,
    body: Vec<u8>,
}

/// What a folder holds.
struct Found {
    records: BTreeMap<u64, Line>,
    problems: Vec<String>,
    segments: usize,
}

/// Reads every segment, whole or not.
fn read(data: &Path) -> anyhow::Result<Found> {
    let folder = data.join("journal");
    ensure!(folder.is_dir(), "{} holds no journal; say --data with a gateway's data folder", data.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("{} cannot be read", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-")))
        .collect();
    files.sort();
    let known = std::fs::read(folder.join(END)).map_or(0, |bytes| newest(&bytes));
    let disk = Folder::there(folder);
    let mut found = Found { records: BTreeMap::new(), problems: Vec::new(), segments: files.len() };
    // Where the segment before ended, whole: journal, next sequence, chain value.
    let mut ended: Option<(Uuid, u64, Chain)> = None;
    for path in files {
        let cannot = || format!("{} cannot be read", path.display());
        let length = std::fs::metadata(&path).with_context(cannot)?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Readable { bytes, has_bad_spot, is_gone } =
            read_around(&disk, &name, length).with_context(cannot)?;
        if is_gone {
            found.problems.push(format!("{}: nothing of it can be read from the disk", path.display()));
            continue;
        }
        let header = match Header::of_segment(&bytes) {
            Ok(header) => header,
            Err(_) if !has_bad_spot && bytes.iter().all(|byte| *byte == 0) => continue,
            Err(error) => {
                found.problems.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        if let Some((_, next, chain)) = ended.take().filter(|(journal, ..)| *journal == header.journal) {
            if header.first != next {
                let last = header.first.saturating_sub(1);
                found.problems.push(format!("records {next} to {last} are missing: a whole segment is gone"));
            } else if header.chain != chain {
                found.problems.push(format!("{}: it is not the one that followed", path.display()));
            }
        }
        let mut before = header.chain;
        let mut broken = None;
        let scanned = scan::whole(&bytes, &header, |head, body| {
            if broken.is_none() && chain(&before, head.sequence, body) != head.chain {
                broken = Some(head.sequence);
            }
            before = head.chain;
        });
        if let Some(sequence) = broken {
            found.problems.push(format!("{}: the chain breaks at record {sequence}", path.display()));
        }
        let whole = salvage(&bytes, header.journal);
        let damage = if has_bad_spot { Some(FormatError::Unreadable) } else { scanned.damage };
        if damage.is_none() {
            let next = whole.keys().next_back().map_or(header.first, |last| last + 1);
            ended = Some((header.journal, next, before));
        }
        if let Some(damage) = damage {
            let missing = gaps(header.first, whole.keys().copied());
            let last = whole.keys().next_back().map_or(header.first, |last| last + 1);
            found.problems.push(format!(
                "{}: {damage}; {} records are whole, missing between them: {missing:?}; what stood from {last} on, if \
                 anything, is unknown",
                path.display(),
                whole.len()
            ));
        }
        for (sequence, record) in whole {
            let body = bytes[record.body].to_vec();
            found.records.insert(sequence, Line { journal: header.journal, chain: record.head.chain, body });
        }
    }
    let next = found.records.keys().next_back().map_or(1, |last| last + 1);
    if known > next {
        let last = known - 1;
        found
            .problems
            .push(format!("records up to {last} were there once: those behind {} are gone", next - 1));
    }
    Ok(found)
}

/// Says what is whole.
///
/// # Errors
/// When something is not.
pub fn verify(data: &Path) -> anyhow::Result<()> {
    verify_to(data, std::io::stdout().lock())
}

/// Says what is whole, to somebody else.
///
/// # Errors
/// When something is not, or it cannot be said.
pub fn verify_to(data: &Path, mut out: impl Write) -> anyhow::Result<()> {
    let found = read(data)?;
    let (first, last) = (found.records.keys().next(), found.records.keys().next_back());
    let range = first.zip(last).map_or_else(String::new, |(first, last)| format!(", {first} to {last}"));
    writeln!(out, "{} records in {} segments{range}", found.records.len(), found.segments)?;
    for problem in &found.problems {
        writeln!(out, "{problem}")?;
    }
    if found.problems.is_empty() {
        writeln!(out, "all checksums and the chain hold")?;
        return Ok(());
    }
    bail!(
        "{} of {} segments have damage; every whole record is still handed over",
        found.problems.len(),
        found.segments
    )
}

/// Prints a line for each record.
///
/// # Errors
/// When the journal cannot be read.
pub fn list(data: &Path) -> anyhow::Result<()> {
    let found = read(data)?;
    let mut out = std::io::stdout().lock();
    for (sequence, line) in &found.records {
        let (at, what) = match Record::read(&line.body) {
            Ok(Record::Swipe(it)) => {
                (Some(it.at), format!("swipe {} at {}: {} {}", it.id, it.code, it.light, it.reason))
            }
            Ok(Record::Outage(it)) => (it.from, format!("outage {}", it.cause)),
            Ok(Record::Reader(it)) => (Some(it.at), format!("reader {}", it.kind)),
            Ok(Record::Anchor(it)) => (Some(it.at), format!("anchor from {}", it.source)),
            Err(error) => (None, format!("unknown: {error}")),
        };
        let at = at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let at = at.map_or_else(|| "-".to_owned(), |at| format!("{at:.3}"));
        writeln!(out, "{sequence:>10}  {at:<24}  {what}")?;
    }
    for problem in &found.problems {
        tracing::warn!("{problem}");
    }
    Ok(())
}

/// Prints every record with its place, the signature over each journal's end as the hub knows it, and last one over all these
/// lines: a record after a hole, or the first of all, has no other that vouches for it.
///
/// # Errors
/// When the journal or the gateway's key cannot be read.
pub fn export(data: &Path) -> anyhow::Result<()> {
    let found = read(data)?;
    let key = data.join("signing-key");
    ensure!(key.exists(), "{} is missing: an export is signed with the gateway's own key", key.display());
    let key = SigningKey::load(&key).with_context(|| format!("{} cannot be used", key.display()))?;
    let mut out = std::io::stdout().lock();
    let mut digest = Sha256::new();
    let mut say = |line: Value| {
        let line = format!("{line}\n");
        digest.update(&line);
        out.write_all(line.as_bytes())
    };
    for (sequence, line) in &found.records {
        // Letter for letter: the chain is over the bytes.
        let record = String::from_utf8_lossy(&line.body);
        say(
            json!({"journal": line.journal, "sequence": sequence, "chain": hex(&line.chain), "record": record}),
        )?;
    }
    let mut ends: BTreeMap<Uuid, u64> = BTreeMap::new();
    for (sequence, line) in &found.records {
        ends.insert(line.journal, *sequence);
    }
    for (journal, sequence) in &ends {
        let Some(last) = found.records.get(sequence) else { continue };
        let at = match Record::read(&last.body) {
            Ok(record) => record.at().unwrap_or(0),
            Err(_) => 0,
        };
        let signature = key.sign(*journal, *sequence, &last.chain, at);
        let head = json!({"journal": journal, "through": sequence, "chain": hex(&last.chain), "signedAt": at,
                          "signature": signature, "publicKey": key.public()});
        say(json!({"head": head}))?;
    }
    let seal = json!({"records": found.records.len(), "signature": key.seal(&digest.finalize()), "publicKey": key.public()});
    writeln!(out, "{}", json!({"seal": seal}))?;
    for problem in &found.problems {
        tracing::warn!("{problem}");
    }
    Ok(())
}

/// One line of an export.
#[derive(Deserialize)]
#[serde(untagged)]
enum Exported {
    Record { journal: Uuid, sequence: u64, chain: String, record: String },
    Head { head: ExportedHead },
    Seal { seal: ExportedSeal },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportedSeal {
    records: u64,
    signature: String,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportedHead {
    journal: Uuid,
    through: u64,
    chain: String,
    signed_at: i64,
    signature: String,
    public_key: String,
}

/// Checks an export: that each record follows from the one before it, and that a gateway signed the ends and the whole. By
/// `key` (64 hex digits), or by the export's own, which proves no more than that nothing was changed since. Gives what
/// to say of it.
///
/// # Errors
/// What does not hold, with its line.
pub fn check_export(file: &Path, key: Option<&str>) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut last: BTreeMap<Uuid, (u64, Chain)> = BTreeMap::new();
    let (mut records, mut holes, mut signed) = (0_u64, 0_u64, 0);
    let (mut digest, mut sealed) = (Sha256::new(), false);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let place = || format!("{}, line {number}", file.display());
        ensure!(!sealed, "{}: stands behind the end", place());
        match serde_json::from_str(line).with_context(|| format!("{}: no line of an export", place()))? {
            Exported::Record { journal, sequence, chain: said, record } => {
                let said = unhex(&said).and_then(|bytes| Chain::try_from(bytes).ok());
                let said = said.with_context(|| format!("{}: 'chain' must be 64 hex digits", place()))?;
                match last.get(&journal) {
                    Some((before, value)) if *before + 1 == sequence => ensure!(
                        chain(value, sequence, record.as_bytes()) == said,
                        "{}: record {sequence} was changed, or another one came before it",
                        place()
                    ),
                    // What was before the first, or in a hole, is not here.
                    Some(_) => holes += 1,
                    None => {}
                }
                last.insert(journal, (sequence, said));
                records += 1;
            }
            Exported::Head { head } => {
                let end = last.remove(&head.journal).filter(|(sequence, _)| *sequence == head.through);
                let (_, value) =
                    end.with_context(|| format!("{}: signs another end than the export's", place()))?;
                ensure!(hex(&value) == head.chain, "{}: signs another chain value", place());
                let key = key.unwrap_or(&head.public_key);
                ensure!(key == head.public_key, "{}: signed by another key, {}", place(), head.public_key);
                let known = holds(key, &head.signature, head.journal, head.through, &value, head.signed_at);
                ensure!(known, "{}: the signature does not hold", place());
                signed += 1;
            }
            Exported::Seal { seal } => {
                let key = key.unwrap_or(&seal.public_key);
                ensure!(key == seal.public_key, "{}: sealed by another key, {}", place(), seal.public_key);
                let whole =
                    seal.records == records && seals(key, &seal.signature, &digest.clone().finalize());
                ensure!(whole, "{}: the seal does not hold: lines before it were changed", place());
                sealed = true;
            }
        }
        digest.update(line);
    }
    ensure!(records > 0 && last.is_empty(), "{}: its end is not signed: it was cut off", file.display());
    ensure!(
        sealed,
        "{}: it has no seal over all of its lines: the last was cut off, or an earlier version made it; the chain and {signed} \
         signed ends hold, but nothing vouches for its first record, nor for those behind {holes} holes",
        file.display()
    );
    let holes = if holes == 0 { String::new() } else { format!(", with {holes} holes in between") };
    Ok(format!("{records} records{holes}, {signed} signed ends: all hold"))
}
