//! `rollcall-gateway journal verify|list|export`: looks into a journal and never changes it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use super::format::{Chain, Header, chain};
use super::record::Record;
use super::scan::{self, gaps, salvage};
use crate::core::hex;
use crate::uplink::sign::SigningKey;

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
    let mut found = Found { records: BTreeMap::new(), problems: Vec::new(), segments: files.len() };
    for path in files {
        let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let header = match Header::of_segment(&bytes) {
            Ok(header) => header,
            Err(_) if bytes.iter().all(|byte| *byte == 0) => continue,
            Err(error) => {
                found.problems.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
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
        if let Some(damage) = scanned.damage {
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

/// Prints every record with its place, and the signature over the end.
///
/// # Errors
/// When the journal or the gateway's key cannot be read.
pub fn export(data: &Path) -> anyhow::Result<()> {
    let found = read(data)?;
    let key = data.join("signing-key");
    ensure!(key.exists(), "{} is missing: an export is signed with the gateway's own key", key.display());
    let key = SigningKey::load(&key).with_context(|| format!("{} cannot be used", key.display()))?;
    let mut out = std::io::stdout().lock();
    for (sequence, line) in &found.records {
        let record: Value = serde_json::from_slice(&line.body).unwrap_or(Value::Null);
        let line = json!({"journal": line.journal, "sequence": sequence, "chain": hex(&line.chain), "record": record});
        writeln!(out, "{line}")?;
    }
    if let Some((sequence, last)) = found.records.last_key_value() {
        let at = match Record::read(&last.body) {
            Ok(record) => record.at().unwrap_or(0),
            Err(_) => 0,
        };
        let signature = key.sign(last.journal, *sequence, &last.chain, at);
        let head = json!({"journal": last.journal, "through": sequence, "chain": hex(&last.chain), "signedAt": at,
                          "signature": signature, "publicKey": key.public()});
        writeln!(out, "{}", json!({"head": head}))?;
    }
    for problem in &found.problems {
        tracing::warn!("{problem}");
    }
    Ok(())
}
