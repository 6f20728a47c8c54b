//! What happened to readers themselves: opened, switched on, spoken to by somebody else. Facts, which change no mark.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::super::Hub;
use super::message::GatewayReaderEventInput;
use crate::scalar::DateTime;
use crate::store::entity::{Gateway, Reader, ReaderEvent};
use crate::store::{StoreError, Tx};

/// The longest detail that is kept, in letters.
const MAX_DETAIL: usize = 500;

/// Takes events in; those that are known already, or of another gateway's readers, are passed over.
///
/// # Errors
/// When the store fails.
pub(super) async fn take(
    hub: &Hub,
    tx: &mut Tx,
    gateway: &Gateway,
    events: &[GatewayReaderEventInput],
) -> Result<(), StoreError> {
    let now = hub.now().0;
    let known = tx.by_ids::<ReaderEvent>(events.iter().map(|said| said.event_id.0)).await?;
    let mut known: BTreeSet<Uuid> = known.into_iter().map(|event| event.id).collect();
    let readers = tx.by_ids::<Reader>(events.iter().map(|said| said.reader_id.0)).await?;
    let readers: BTreeMap<Uuid, Reader> = readers.into_iter().map(|reader| (reader.id, reader)).collect();
    let mut fresh = Vec::new();
    for said in events {
        let Some(reader) = readers.get(&said.reader_id.0).filter(|it| it.gateway_id == gateway.id) else {
            continue;
        };
        if !known.insert(said.event_id.0) {
            continue;
        }
        // Nothing that is told has yet to happen, whatever a clock says.
        let latest = said.latest_at.ms().min(now);
        let earliest = said.earliest_at.ms().min(latest);
        let event = ReaderEvent {
            id: said.event_id.0,
            gateway_id: gateway.id,
            reader_id: reader.id,
            kind: said.kind,
            at: said.at.ms().clamp(earliest, latest),
            earliest_at: earliest,
            latest_at: latest,
            detail: said.detail.as_ref().map(|detail| detail.chars().take(MAX_DETAIL).collect()),
            received_at: now,
        };
        if event.kind.alarms() {
            let words = event.detail.as_deref().unwrap_or("look at it");
            let detail = format!("reader {} of gateway {}: {words}", reader.code, gateway.code);
            let kind = format!("READER_{}", event.kind.word());
            let once = super::batch::alarm_id(&kind, event.id.as_bytes());
            tx.alarm(once, DateTime::ms(&said.at).clamp(earliest, latest), &kind, Some(gateway.id), detail)
                .await?;
        }
        fresh.push(event);
    }
    tx.put(&fresh).await
}
