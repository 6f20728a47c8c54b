//! Signed ends of journals: taken in, verified, and given out again as a receipt for one swipe.
//!
//! Pure but for `take`. What is signed is spelt once, in [`message`]; `rollcall-hub verify-receipt` and the
//! gateway's own signing say the same.

use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::Hub;
use super::super::people::hex;
use super::message::GatewaySubmitSwipesInput;
use crate::store::entity::{Gateway, Swipe};
use crate::store::evidence::SignedHead;
use crate::store::{StoreError, Tx};

/// A receipt that proves by itself that a gateway recorded a swipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evidence {
    /// The record as it stands in the gateway's journal: JSON.
    pub record: String,
    /// The journal.
    pub journal_id: Uuid,
    /// The record's number in it.
    pub sequence: i64,
    /// The number of the first record of the stretch.
    pub first: i64,
    /// The chain value before it, hex digits.
    pub chain_before: String,
    /// SHA-256 of the body of each record of the stretch, hex digits.
    pub links: Vec<String>,
    /// When the gateway signed, in milliseconds since the epoch.
    pub signed_at: i64,
    /// The signature, hex digits.
    pub signature: String,
    /// The gateway's public key, hex digits.
    pub public_key: String,
}

/// The bytes that a gateway signs: a line each for purpose, journal, last sequence, chain value behind it, and time.
#[must_use]
pub fn message(journal: Uuid, through: i64, chain: &[u8], signed_at: i64) -> String {
    format!("rollcall journal head 1\n{journal}\n{through}\n{}\n{signed_at}\n", hexed(chain))
}

/// Bytes as hex digits.
#[must_use]
pub fn hexed(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Walks a chain along the hashes of bodies.
fn walk(mut chain: Vec<u8>, first: i64, links: &[Vec<u8>]) -> Vec<u8> {
    for (sequence, link) in (first..).zip(links) {
        let mut hash = Sha256::new();
        hash.update(&chain);
        hash.update(u64::try_from(sequence).unwrap_or(0).to_le_bytes());
        hash.update(link);
        chain = hash.finalize().to_vec();
    }
    chain
}

fn verify(key: &[u8], message: &str, signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message.as_bytes(), signature).is_ok()
}

impl Evidence {
    /// Whether the receipt holds, by the gateway's public key alone.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, key: Option<&str>) -> Result<(), String> {
        if key.is_some_and(|key| !key.trim().eq_ignore_ascii_case(&self.public_key)) {
            return Err("publicKey: it was signed by another gateway's key than the one given".to_owned());
        }
        let links: Vec<Vec<u8>> = self
            .links
            .iter()
            .map(|link| hex(link).map_err(|error| format!("links: {error}")))
            .collect::<Result<_, _>>()?;
        let place = usize::try_from(self.sequence - self.first).ok();
        let link = place.and_then(|place| links.get(place));
        let link = link.ok_or("sequence: the record lies outside the stretch that was signed")?;
        if Sha256::digest(self.record.as_bytes()).as_slice() != link.as_slice() {
            return Err("record: it is not the one that was signed".to_owned());
        }
        let before = hex(&self.chain_before).map_err(|error| format!("chainBefore: {error}"))?;
        let chain = walk(before, self.first, &links);
        let through = self.first + i64::try_from(links.len()).unwrap_or(0) - 1;
        let message = message(self.journal_id, through, &chain, self.signed_at);
        let key = hex(&self.public_key).map_err(|error| format!("publicKey: {error}"))?;
        let signature = hex(&self.signature).map_err(|error| format!("signature: {error}"))?;
        if verify(&key, &message, &signature) {
            Ok(())
        } else {
            Err("signature: it does not hold for this chain".to_owned())
        }
    }
}

/// Takes the signed end of a batch in, where it holds; one that does not is an alarm, and holds up no swipe.
///
/// # Errors
/// When the store fails.
pub(super) async fn take(
    hub: &Hub,
    tx: &mut Tx,
    gateway: &Gateway,
    input: &GatewaySubmitSwipesInput,
) -> Result<(), StoreError> {
    let (Some(head), Some(journal)) = (&input.head, &input.journal) else { return Ok(()) };
    let now = hub.now().0;
    let id = journal.journal_id.0;
    let read = || -> Option<SignedHead> {
        let links: Vec<Vec<u8>> = head.links.iter().map(|link| hex(link).ok()).collect::<Option<_>>()?;
        let first = journal.through.0 - i64::try_from(links.len()).ok()? + 1;
        let chain_before = hex(&head.chain_before).ok()?;
        let chain = walk(chain_before.clone(), first, &links);
        let public_key = hex(&head.public_key).ok()?;
        let signature = hex(&head.signature).ok()?;
        let signed_at = head.signed_at.ms();
        let message = message(id, journal.through.0, &chain, signed_at);
        let whole = links.iter().all(|link| link.len() == 32) && first >= 1 && !links.is_empty();
        (whole && verify(&public_key, &message, &signature)).then(|| SignedHead {
            journal_id: id,
            first,
            through: journal.through.0,
            chain_before,
            links: links.concat(),
            signed_at,
            signature,
            public_key,
        })
    };
    let Some(head) = read() else {
        let detail = format!("the signature under journal {id} up to {} does not hold", journal.through.0);
        tracing::error!(gateway = %gateway.code, "{detail}");
        let once = super::batch::alarm_id("BAD_SIGNATURE", id.as_bytes());
        return tx.alarm(once, now, "BAD_SIGNATURE", Some(gateway.id), detail).await;
    };
    // What is another gateway's is signed by that one.
    if !tx.is_journal_of(id, gateway.id).await? {
        return Ok(());
    }
    let keys = tx.gateway_keys(gateway.id).await?;
    if !keys.contains(&head.public_key) {
        tx.put_gateway_key(gateway.id, &head.public_key, now).await?;
        if !keys.is_empty() {
            let detail = format!(
                "gateway {} signs with another key: was its storage replaced, or is this another machine?",
                gateway.code
            );
            let once = super::batch::alarm_id("KEY_CHANGED", &head.public_key);
            tx.alarm(once, now, "KEY_CHANGED", Some(gateway.id), detail).await?;
        }
    }
    tx.put_head(&head).await
}

/// The receipts for swipes, where their gateways signed: swipe and receipt.
///
/// # Errors
/// When the store fails.
pub async fn receipts(tx: &mut Tx, swipes: &[Uuid]) -> Result<Vec<(Uuid, Evidence)>, StoreError> {
    let mut heads = tx.heads_over(swipes).await?;
    let found = tx.by_ids::<Swipe>(heads.keys().copied().collect::<Vec<_>>()).await?;
    let proven = found.into_iter().filter_map(|swipe| {
        let (record, head) = (swipe.record?, heads.remove(&swipe.id)?);
        // Of a journal that was cloned one number has two records, and the stretch was signed over one of them.
        let link = head.links.chunks(32).nth(usize::try_from(swipe.sequence - head.first).ok()?)?;
        if Sha256::digest(record.as_bytes()).as_slice() != link {
            return None;
        }
        let evidence = Evidence {
            record,
            journal_id: head.journal_id,
            sequence: swipe.sequence,
            first: head.first,
            chain_before: hexed(&head.chain_before),
            links: head.links.chunks(32).map(hexed).collect(),
            signed_at: head.signed_at,
            signature: hexed(&head.signature),
            public_key: hexed(&head.public_key),
        };
        Some((swipe.id, evidence))
    });
    Ok(proven.collect())
}
