//! When a swipe was: what the gateway said, and what anchors and the hub's own clock make of it.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_rules::anchor::{Anchor, repair, repair_wide};
use rollcall_rules::time::{Instant, Uncertain};
use uuid::Uuid;

use super::super::{Hub, Touched};
use super::message::GatewayAnchorInput;
use crate::store::entity::{ClockTrust, Gateway, Swipe};
use crate::store::{StoreError, Tx, Value};

/// A reading of a swipe's time, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) at: i64,
    pub(super) earliest: i64,
    pub(super) latest: i64,
}

/// How a swipe came to its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Came {
    /// Milliseconds since the start of the gateway's machine.
    pub(super) since_boot: i64,
    /// Its reader had kept it.
    pub(super) late: bool,
    /// Then: since that start, when the card was read, and how far that may be off; where the reader's clock says so.
    pub(super) read: Option<(i64, i64)>,
}

impl Came {
    /// How a stored one came; none where it does not say in which start.
    fn of(swipe: &Swipe) -> Option<Self> {
        let read = swipe.read_since_boot.map(|at| (at, swipe.read_error.unwrap_or(0)));
        Some(Self { since_boot: swipe.since_boot?, late: swipe.late, read })
    }
}

impl Stamp {
    /// No card was held to a reader before it hung anywhere.
    pub(super) fn not_before(self, hung: Option<i64>) -> Self {
        let Some(hung) = hung.filter(|_| self.earliest < self.latest) else { return self };
        let earliest = self.earliest.max(hung).min(self.latest);
        Self { at: self.at.max(earliest), earliest, ..self }
    }

    /// The reading by what is known now: repaired by the anchors of the same start, and never after it came in.
    pub(super) fn read(self, trust: ClockTrust, came: Came, anchors: &[Anchor], received: i64) -> Self {
        let known = Uncertain { earliest: Instant(self.earliest), latest: Instant(self.latest) };
        let repaired = match came {
            Came { late: false, .. } if trust == ClockTrust::Synced => known,
            Came { late: false, since_boot, .. } => repair(known, since_boot, anchors).unwrap_or(known),
            // No card was read after it had come.
            Came { read: Some((read, error)), since_boot, .. } => {
                repair_wide(known, read.min(since_boot), error, anchors).unwrap_or(known)
            }
            // When it came to the gateway is only a bound on when the card was read.
            Came { since_boot, .. } => match repair(known, since_boot, anchors) {
                Some(came) => {
                    let latest = known.latest.min(came.latest).max(known.earliest);
                    Uncertain { earliest: known.earliest, latest }
                }
                None => known,
            },
        };
        let earliest = repaired.earliest.0;
        let latest =
            if known.is_exact() { repaired.latest.0 } else { repaired.latest.0.min(received).max(earliest) };
        Self { at: self.at.clamp(earliest, latest), earliest, latest }
    }
}

/// So many swipes are dated at once. One who hangs up meanwhile takes no more than that back with him.
const DATED_AT_ONCE: usize = 1_000;

/// What is known of when gateways' machines started.
struct Ties {
    /// All, by start.
    known: BTreeMap<Uuid, Vec<Anchor>>,
    /// Those that are new, as they are stored.
    rows: Vec<Vec<Value>>,
}

impl Ties {
    async fn with(
        hub: &Hub,
        tx: &mut Tx,
        gateway: Uuid,
        anchors: &[GatewayAnchorInput],
    ) -> Result<Self, StoreError> {
        let now = hub.now().0;
        let mut known = tx.anchors(boots(anchors)).await?;
        let mut rows: Vec<Vec<Value>> = Vec::new();
        for said in anchors {
            // One that is wide may be a bound alone: it counts where it comes close to the present at all.
            let apart = said.at.ms().abs_diff(now).saturating_sub(said.error.0.unsigned_abs());
            let counts = said.error.0 >= 0 && apart < 400 * 24 * 3_600_000;
            let (since_boot_ms, at, error_ms) = (said.since_boot.0, Instant(said.at.ms()), said.error.0);
            let ties = known.entry(said.boot_id.0).or_default();
            if !counts || ties.iter().any(|tie| tie.since_boot_ms == since_boot_ms) {
                continue;
            }
            ties.push(Anchor { since_boot_ms, at, error_ms });
            rows.push(vec![
                said.boot_id.0.into(),
                since_boot_ms.into(),
                gateway.into(),
                at.0.into(),
                error_ms.into(),
                format!("{:?}", said.source).to_uppercase().into(),
                now.into(),
            ]);
        }
        Ok(Self { known, rows })
    }

    /// Reads the times of some swipes again; names what must be judged again.
    async fn date(
        &self,
        hub: &Hub,
        tx: &mut Tx,
        swipes: &[Uuid],
        touched: &mut Touched,
    ) -> Result<(), StoreError> {
        let swipes = tx.by_ids::<Swipe>(swipes.iter().copied()).await?;
        let raw = tx.raw_stamps(swipes.iter().map(|swipe| swipe.id)).await?;
        let hung = tx.first_stays(swipes.iter().map(|swipe| swipe.reader_id)).await?;
        let (mut before, mut changed): (Vec<_>, Vec<Swipe>) = (Vec::new(), Vec::new());
        for swipe in swipes {
            let (Some(boot), Some(came)) = (swipe.boot_id, Came::of(&swipe)) else { continue };
            let said = raw.get(&swipe.id).map_or(
                Stamp { at: swipe.swiped_at, earliest: swipe.earliest_at, latest: swipe.latest_at },
                |(at, earliest, latest)| Stamp { at: *at, earliest: *earliest, latest: *latest },
            );
            let ties = self.known.get(&boot).map_or(&[][..], Vec::as_slice);
            let said = said.not_before(hung.get(&swipe.reader_id).copied());
            let read = said.read(swipe.clock_trust, came, ties, swipe.received_at);
            if (read.at, read.earliest, read.latest) != (swipe.swiped_at, swipe.earliest_at, swipe.latest_at)
            {
                before.push((swipe.id, swipe.swiped_at, swipe.earliest_at, swipe.latest_at));
                changed.push(Swipe {
                    swiped_at: read.at,
                    earliest_at: read.earliest,
                    latest_at: read.latest,
                    ..swipe
                });
            }
        }
        tx.note_stamps(&before, hub.now().0).await?;
        tx.put(&changed).await?;
        let ids: Vec<Uuid> = changed.iter().map(|swipe| swipe.id).collect();
        // The same credit at another time is another arrival.
        touched.sessions.extend(tx.credits_of_swipes(&ids).await?.iter().map(|credit| credit.session_id));
        touched.swipes.extend(ids);
        Ok(())
    }
}

fn boots(anchors: &[GatewayAnchorInput]) -> BTreeSet<Uuid> {
    anchors.iter().map(|anchor| anchor.boot_id.0).collect()
}

/// Dates what a gateway's anchors date, where that is much: in pieces, each for itself, so that whoever gives up meanwhile finds
/// less left to do when he comes again, and others write in between. The rest, and the anchors themselves, are for
/// [`take_anchors`].
///
/// # Errors
/// When the store fails; what was dated before stays.
pub(super) async fn date_ahead(
    hub: &Hub,
    gateway: Uuid,
    anchors: &[GatewayAnchorInput],
) -> Result<(), StoreError> {
    if anchors.is_empty() {
        return Ok(());
    }
    let waiting = {
        let mut tx = hub.read().await?;
        if Ties::with(hub, &mut tx, gateway, anchors).await?.rows.is_empty() {
            return Ok(());
        }
        tx.to_date(boots(anchors)).await?
    };
    if waiting.len() <= DATED_AT_ONCE {
        return Ok(());
    }
    for piece in waiting.chunks(DATED_AT_ONCE) {
        hub.whole(|attempt| {
            Box::pin(async move {
                let mut tx = attempt.write().await?;
                let ties = Ties::with(hub, &mut tx, gateway, anchors).await?;
                let mut touched = Touched::default();
                ties.date(hub, &mut tx, piece, &mut touched).await?;
                if !touched.swipes.is_empty() {
                    hub.settle(tx, touched, None).await?;
                }
                Ok(())
            })
        })
        .await?;
    }
    Ok(())
}

/// Takes anchors in and reads the times of the swipes of those starts again; names what must be judged again.
///
/// # Errors
/// When the store fails.
pub(super) async fn take_anchors(
    hub: &Hub,
    tx: &mut Tx,
    gateway: &Gateway,
    anchors: &[GatewayAnchorInput],
    touched: &mut Touched,
) -> Result<(), StoreError> {
    let ties = Ties::with(hub, tx, gateway.id, anchors).await?;
    if ties.rows.is_empty() {
        return Ok(());
    }
    // Not all at once in memory.
    for piece in tx.to_date(boots(anchors)).await?.chunks(DATED_AT_ONCE) {
        ties.date(hub, tx, piece, touched).await?;
    }
    tx.put_anchors(ties.rows).await?;
    Ok(())
}
