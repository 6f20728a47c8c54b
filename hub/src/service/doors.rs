//! How far the doors' evidence of a session reaches: who had a reader there, for how long it could not record, and
//! which gateway is still awaited (design, section 2, "Final" and "No register").

use std::collections::BTreeMap;

use rollcall_rules::outage::{DoorReader, without_reader_ms};
use rollcall_rules::register::Evidence;
use rollcall_rules::session::Session;
use rollcall_rules::time::{Instant, Span};
use uuid::Uuid;

use crate::store::door::ReaderStay;
use crate::store::entity::Outage;
use crate::store::{StoreError, Tx};

/// What is known of the doors of some rooms.
pub(super) struct Doors {
    stays: BTreeMap<Uuid, Vec<ReaderStay>>,
    outages: BTreeMap<Uuid, Vec<Outage>>,
    /// From when on each was declared lost, and when that was.
    lost: BTreeMap<Uuid, Vec<(i64, i64)>>,
}

fn span(from: Option<i64>, until: Option<i64>) -> Span {
    Span { from: from.map(Instant), until: until.map(Instant) }
}

impl Doors {
    /// Reads what bears on some sessions.
    pub(super) async fn load(tx: &mut Tx, rooms: &[Uuid], sessions: &[Session]) -> Result<Self, StoreError> {
        let mut stays: BTreeMap<Uuid, Vec<ReaderStay>> = BTreeMap::new();
        let mut gateways = Vec::new();
        for stay in tx.reader_stays(rooms).await? {
            gateways.push(stay.gateway_id);
            stays.entry(stay.room_id).or_default().push(stay);
        }
        gateways.sort_unstable();
        gateways.dedup();
        let first = sessions.iter().map(|session| session.window().opens.0).min().unwrap_or(0);
        let last = sessions.iter().map(|session| session.window().closes.0).max().unwrap_or(0);
        let mut outages: BTreeMap<Uuid, Vec<Outage>> = BTreeMap::new();
        for outage in tx.outages(&gateways, first, last).await? {
            outages.entry(outage.gateway_id).or_default().push(outage);
        }
        let mut lost: BTreeMap<Uuid, Vec<(i64, i64)>> = BTreeMap::new();
        for (gateway, from, declared_at) in tx.lost_since(&gateways).await? {
            lost.entry(gateway).or_default().push((from, declared_at));
        }
        Ok(Self { stays, outages, lost })
    }

    /// The evidence for one session.
    pub(super) fn evidence(&self, session: &Session) -> Evidence {
        let window = session.window();
        let mut awaited: BTreeMap<Uuid, Option<i64>> = BTreeMap::new();
        let (mut outage_ms, mut swipes_lost) = (0, false);
        for held in &session.rooms {
            let first = held.span.from.map_or(window.opens, |from| from.max(window.opens));
            let last = held.span.until.map_or(window.closes, |until| until.min(window.closes));
            if last < first {
                continue;
            }
            let here = self.stays.get(&held.room.0).into_iter().flatten();
            let here: Vec<&ReaderStay> =
                here.filter(|stay| span(stay.from_at, stay.until_at).meets(first, last)).collect();
            for stay in &here {
                awaited.insert(stay.gateway_id, stay.watermark);
                swipes_lost |= self.of(stay).any(|outage| {
                    outage.cause.loses() && span(Some(outage.from_at), outage.until_at).meets(first, last)
                });
            }
            let readers: Vec<DoorReader> = here
                .iter()
                .map(|stay| DoorReader {
                    stay: span(stay.from_at, stay.until_at),
                    outages: self
                        .of(stay)
                        .map(|outage| span(Some(outage.from_at), outage.until_at))
                        .collect(),
                })
                .collect();
            outage_ms = outage_ms.max(without_reader_ms(first, last, &readers));
        }
        let waits = |watermark: &Option<i64>| watermark.is_none_or(|mark| mark <= window.closes.0);
        let unpassed: Vec<(&Uuid, &Option<i64>)> =
            awaited.iter().filter(|(_, watermark)| waits(watermark)).collect();
        // One that has come back after all is awaited again. What it had said before somebody declared it lost is no coming back,
        // though it be later than the instant that was named.
        let lost = |(gateway, watermark): &(&Uuid, &Option<i64>)| {
            let declared = self.lost.get(*gateway);
            declared.into_iter().flatten().any(|(from, declared_at)| {
                *from <= window.closes.0 && watermark.is_none_or(|watermark| watermark <= *declared_at)
            })
        };
        let watermark = awaited.values().copied().collect::<Option<Vec<i64>>>();
        Evidence {
            has_reader: !awaited.is_empty(),
            watermark: watermark.and_then(|all| all.into_iter().min()).map(Instant),
            // No tolerance holds where what was shown green may be gone.
            outage_ms: if swipes_lost { i64::MAX } else { outage_ms },
            declared_lost: !unpassed.is_empty() && unpassed.iter().all(lost),
        }
    }

    /// The outages that bear on a reader at its door.
    fn of<'a>(&'a self, stay: &'a ReaderStay) -> impl Iterator<Item = &'a Outage> {
        let all = self.outages.get(&stay.gateway_id).into_iter().flatten();
        all.filter(|outage| outage.reader_id.is_none_or(|reader| reader == stay.reader_id))
    }
}
