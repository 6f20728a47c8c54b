//! When a swipe was: what the gateway said, and what anchors and the hub's own clock make of it.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_rules::anchor::{Anchor, repair};
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

impl Stamp {
    /// The reading by what is known now: repaired by the anchors of the same start, and never after it came in.
    pub(super) fn read(
        self,
        trust: ClockTrust,
        late: bool,
        since_boot: i64,
        anchors: &[Anchor],
        received: i64,
    ) -> Self {
        let known = Uncertain { earliest: Instant(self.earliest), latest: Instant(self.latest) };
        let repaired = if trust == ClockTrust::Synced && !late {
            known
        } else {
            match repair(known, since_boot, anchors) {
                // When it came to the gateway is only a bound on when the card was read.
                Some(came) if late => {
                    let latest = known.latest.min(came.latest).max(known.earliest);
                    Uncertain { earliest: known.earliest, latest }
                }
                Some(repaired) => repaired,
                None => known,
            }
        };
        let earliest = repaired.earliest.0;
        let latest =
            if known.is_exact() { repaired.latest.0 } else { repaired.latest.0.min(received).max(earliest) };
        Self { at: self.at.clamp(earliest, latest), earliest, latest }
    }
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
    let now = hub.now().0;
    let rows: Vec<Vec<Value>> = anchors
        .iter()
        .filter(|anchor| {
            // One that is wide may be a bound alone: it counts where it comes close to the present at all.
            let apart = anchor.at.ms().abs_diff(now).saturating_sub(anchor.error.0.unsigned_abs());
            anchor.error.0 >= 0 && apart < 400 * 24 * 3_600_000
        })
        .map(|anchor| {
            vec![
                anchor.boot_id.0.into(),
                anchor.since_boot.0.into(),
                gateway.id.into(),
                anchor.at.ms().into(),
                anchor.error.0.into(),
                format!("{:?}", anchor.source).to_uppercase().into(),
                now.into(),
            ]
        })
        .collect();
    if tx.put_anchors(rows).await? == 0 {
        return Ok(());
    }
    let boots: BTreeSet<Uuid> = anchors.iter().map(|anchor| anchor.boot_id.0).collect();
    let known: BTreeMap<Uuid, Vec<Anchor>> = tx.anchors(boots.iter().copied()).await?;
    let swipes = tx.swipes_to_date(boots).await?;
    let raw = tx.raw_stamps(swipes.iter().map(|swipe| swipe.id)).await?;
    let mut changed: Vec<Swipe> = Vec::new();
    let mut before = Vec::new();
    for swipe in swipes {
        let (Some(boot), Some(since_boot)) = (swipe.boot_id, swipe.since_boot) else { continue };
        let said = raw.get(&swipe.id).map_or(
            Stamp { at: swipe.swiped_at, earliest: swipe.earliest_at, latest: swipe.latest_at },
            |(at, earliest, latest)| Stamp { at: *at, earliest: *earliest, latest: *latest },
        );
        let ties = known.get(&boot).map_or(&[][..], Vec::as_slice);
        let read = said.read(swipe.clock_trust, swipe.late, since_boot, ties, swipe.received_at);
        if (read.at, read.earliest, read.latest) != (swipe.swiped_at, swipe.earliest_at, swipe.latest_at) {
            before.push((swipe.id, swipe.swiped_at, swipe.earliest_at, swipe.latest_at));
            changed.push(Swipe {
                swiped_at: read.at,
                earliest_at: read.earliest,
                latest_at: read.latest,
                ..swipe
            });
        }
    }
    tx.note_stamps(&before, now).await?;
    tx.put(&changed).await?;
    let ids: Vec<Uuid> = changed.iter().map(|swipe| swipe.id).collect();
    // The same credit at another time is another arrival.
    touched.sessions.extend(tx.credits_of_swipes(&ids).await?.iter().map(|credit| credit.session_id));
    touched.swipes.extend(ids);
    Ok(())
}
