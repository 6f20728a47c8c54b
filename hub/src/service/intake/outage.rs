//! When doors could not record: facts from gateways, and a person's word that a silent one is lost.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::InputObject;
use uuid::Uuid;

use super::super::refusal::{Answer, Check, Code};
use super::super::{Caller, Hub, Touched};
use super::message::GatewayOutageInput;
use crate::scalar::DateTime;
use crate::store::entity::{Gateway, Outage, OutageCause};
use crate::store::{StoreError, Tx};

/// Takes outages in, new or known better, and names the registers that they bear on. `fork_of` is the journal of which the hub has
/// more, or other, records than the gateway's disk, where they come of such a one.
///
/// # Errors
/// When the store fails.
pub(super) async fn take(
    hub: &Hub,
    tx: &mut Tx,
    gateway: &Gateway,
    outages: &[GatewayOutageInput],
    fork_of: Option<Uuid>,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    let now = hub.now().0;
    let ids = outages.iter().flat_map(|said| [said.outage_id.0, gone_with(gateway, said)]);
    let known = tx.by_ids::<Outage>(ids).await?;
    let known: BTreeMap<Uuid, Outage> = known.into_iter().map(|outage| (outage.id, outage)).collect();
    let (forked_at, swiped) = match fork_of {
        _ if outages.is_empty() => (None, None),
        Some(journal) => (Some(now), tx.last_swiped(journal).await?),
        // What it says of its last start may stand in the journal that it went on with already.
        None => (tx.last_alarm(gateway.id, "JOURNAL_FORKED").await?, None),
    };
    let hung =
        tx.latest_stays(outages.iter().filter_map(|said| said.reader_id.as_ref().map(|id| id.0))).await?;
    // Since when each lasted for all that the hub knows, whenever it ended.
    let mut began_at: BTreeMap<Uuid, i64> = known.values().map(|it| (it.id, it.from_at)).collect();
    for (index, said) in outages.iter().enumerate() {
        // Of one that began and ended within the batch the end says all: else everything since would be derived for its beginning.
        let is_same = |later: &GatewayOutageInput| {
            later.outage_id == said.outage_id
                && later.from.as_ref().map(DateTime::ms) == said.from.as_ref().map(DateTime::ms)
        };
        if said.until.is_none() && outages[index + 1..].iter().any(is_same) {
            continue;
        }
        // Told again it is the same outage, known better at the most.
        let before = known.get(&said.outage_id.0).filter(|before| before.gateway_id == gateway.id);
        let until = said.until.as_ref().map(DateTime::ms);
        let began = said.from.as_ref().map_or(0, DateTime::ms);
        // Where it has said more since, all that it had was handed over.
        let forked = forked_at.filter(|found| gateway.watermark.is_none_or(|ran| ran <= *found));
        let forked = forked.is_some_and(|found| began <= found);
        let gone = known.get(&gone_with(gateway, said));
        if let Some(lost) = put_back(gateway, said, (before, gone), forked.then_some(swiped), now) {
            tell_put_back(tx, gateway, &lost, touched).await?;
        }
        if forked_at.is_some() && before.is_none_or(|before| before.until_at.is_none()) {
            end_lost(tx, gateway, said, touched).await?;
        }
        // A card that was put back takes it to have been over when its image was made, or, as one that lost the record of its end,
        // later than it was. Of a hole it is the gateway that knows better.
        let over = before.and_then(|before| before.until_at);
        let until = match over {
            _ if said.cause == OutageCause::JournalDamaged => until,
            Some(over) if forked => Some(over),
            over => until.into_iter().chain(over).min(),
        };
        // What the gateway does not know, the hub does: everything before its last watermark was handed over.
        let from = said.from.as_ref().map_or(gateway.watermark.unwrap_or(0), DateTime::ms);
        let from = match before {
            None => from.max(went_on_from(tx, gateway, said, &outages[..index], &began_at).await?),
            Some(_) => from,
        };
        let since = before.map_or(from, |before| before.from_at);
        // What the hub put down as the beginning, the gateway may come to know better.
        let from = if said.from.is_some() { from.max(since) } else { since };
        let until = until.map(|until| until.max(from));
        // A gateway that never reported has nothing to lose; it just was not there yet.
        let fresh = said.cause == OutageCause::StorageLost && gateway.watermark.is_none();
        let cause = if fresh { OutageCause::GatewayDown } else { said.cause };
        let cause = before.map_or(cause, |before| before.cause);
        // Of what the journal lost, everything before that watermark is here. Told again, it stays what it was: the watermark has
        // moved on since, and does not speak for what was missing then.
        let passed = gateway.watermark.filter(|_| cause == OutageCause::JournalDamaged && before.is_none());
        if let (Some(passed), Some(until)) = (passed, until)
            && until <= passed
        {
            let detail = format!(
                "the journal of gateway {} is damaged between {} and {}: all of that was handed over before, nothing is lost; its \
                 card may be about to fail, see to it",
                gateway.code,
                shown(from),
                shown(until)
            );
            let once = super::batch::alarm_id("JOURNAL_DAMAGED", said.outage_id.0.as_bytes());
            tx.alarm(once, now, "JOURNAL_DAMAGED", Some(gateway.id), detail).await?;
            continue;
        }
        let from = passed.map_or(from, |passed| from.max(passed));
        // Up to its watermark it ran, whatever a card says that was put back from an image: but not at a door at which the hub has
        // hung a reader since, of which the gateway had not heard.
        let ran_until = gateway.watermark.filter(|ran| {
            let hung_since =
                said.reader_id.as_ref().and_then(|id| hung.get(&id.0)).is_some_and(|at| *at > from);
            is_off(cause, forked) && before.is_none() && *ran <= now && !hung_since
        });
        began_at.entry(said.outage_id.0).or_insert(ran_until.map_or(from, |ran| from.max(ran)));
        let ran_until = ran_until.filter(|ran| until.is_none_or(|until| until > *ran));
        let from = ran_until.map_or(from, |ran| from.max(ran));
        let since = before.map_or(from, |before| before.from_at);
        let outage = Outage {
            id: said.outage_id.0,
            gateway_id: gateway.id,
            reader_id: said.reader_id.map(|id| id.0),
            cause,
            from_at: from,
            until_at: until,
            received_at: now,
        };
        if cause.loses() {
            let (kind, what) = match cause {
                OutageCause::SwipesRefused => ("SWIPES_REFUSED", "were refused, and whose is not known"),
                _ => ("SWIPES_LOST", "may be lost"),
            };
            let detail = format!(
                "swipes of gateway {} between {} and {} {what} ({}): nobody is absent for it",
                gateway.code,
                shown(from),
                shown(until.unwrap_or(now)),
                cause.word()
            );
            let once = super::batch::alarm_id(kind, outage.id.as_bytes());
            tx.alarm(once, now, kind, Some(gateway.id), detail).await?;
        }
        tx.put_outage(&outage).await?;
        if outage.reader_id.is_some() && before.is_none_or(|before| before.until_at.is_none()) {
            let heard_at = before.map_or(now, |before| before.received_at);
            end_earlier(tx, &outage, heard_at, touched).await?;
        }
        // Also what lies behind its end, where it went on there until that was known.
        let went_on_until = before.map(|before| before.until_at.unwrap_or(now));
        let last = until.unwrap_or(now).max(went_on_until.unwrap_or(i64::MIN));
        touched.sessions.extend(tx.sessions_during(gateway.id, since, last).await?);
    }
    Ok(())
}

/// Since when a reader was out at the earliest in an outage that its gateway goes on with after a start. What it says of that is
/// when it kept last that it ran; of the outage that it ended there, one of `earlier`, the hub may know better since when it was, by
/// what came in until then. `began_at` says so of those.
async fn went_on_from(
    tx: &mut Tx,
    gateway: &Gateway,
    said: &GatewayOutageInput,
    earlier: &[GatewayOutageInput],
    began_at: &BTreeMap<Uuid, i64>,
) -> Result<i64, StoreError> {
    let (Some(reader), Some(from)) = (&said.reader_id, &said.from) else { return Ok(i64::MIN) };
    let ended_there = |other: &&GatewayOutageInput| {
        let is_other = other.outage_id != said.outage_id && other.reader_id.as_ref() == Some(reader);
        is_other && other.until.as_ref().is_some_and(|until| until.ms() == from.ms())
    };
    if let Some(other) = earlier.iter().rfind(ended_there) {
        return Ok(began_at.get(&other.outage_id.0).copied().unwrap_or(i64::MIN));
    }
    let Some(ran) = gateway.watermark.filter(|ran| *ran > from.ms()) else { return Ok(i64::MIN) };
    Ok(tx.last_ended_at_once(gateway.id, reader.0, ran).await?.unwrap_or(i64::MIN))
}

/// A reader is out in one outage at a time: when one is over, so are those that the hub had heard of before this one, though the
/// end of one went with a card. By when they began they are not told apart: while a gateway does not know the time, it says too early.
async fn end_earlier(
    tx: &mut Tx,
    over: &Outage,
    heard_at: i64,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    if over.until_at.is_none() {
        return Ok(());
    }
    for mut earlier in tx.open_outages(over.gateway_id).await? {
        let is_earlier = earlier.received_at < heard_at && earlier.from_at <= over.from_at;
        if !is_earlier || earlier.reader_id != over.reader_id {
            continue;
        }
        // An end that is told after all is before this one, and then holds.
        earlier.until_at = over.until_at;
        tx.put_outage(&earlier).await?;
        let sessions = tx.sessions_during(over.gateway_id, earlier.from_at, over.received_at).await?;
        touched.sessions.extend(sessions);
    }
    Ok(())
}

/// Whether an outage is one of a gateway that was off: or goes on, by what a card that was put back knows, with one that it had
/// been told of when its image was made.
fn is_off(cause: OutageCause, forked: bool) -> bool {
    cause == OutageCause::GatewayDown || (forked && cause == OutageCause::ReaderUnreachable)
}

/// The id of what is lost beside an outage, where a card was put back from an image.
fn gone_with(gateway: &Gateway, said: &GatewayOutageInput) -> Uuid {
    Uuid::new_v5(&said.outage_id.0, gateway.id.as_bytes())
}

/// A card that was put back from an image knows nothing of the time after the image, nor that there was one. What it takes for
/// being off since then is when it ran: from the last word that the hub has on it may have shown green what nobody has. `before`
/// and `gone` are what the hub has of the outage and of what is lost beside it; gives the latter, where there is news of it.
/// `forked`, of a journal that was found to differ, is when the last of its swipes was that the hub has: it ran until then, also
/// where a record that is turned down holds its watermark back.
fn put_back(
    gateway: &Gateway,
    said: &GatewayOutageInput,
    (before, gone): (Option<&Outage>, Option<&Outage>),
    forked: Option<Option<i64>>,
    now: i64,
) -> Option<Outage> {
    // An end where it began is as far as a clock knew that stood still meanwhile, and no end.
    let from = said.from.as_ref().map(DateTime::ms);
    let until = said.until.as_ref().map(DateTime::ms).filter(|until| from.is_none_or(|from| *until > from));
    if let Some(gone) = gone {
        // The end is told in the journal that it goes on with; it ran until what is lost begins.
        let until_at = until.filter(|until| *until > gone.from_at).into_iter().chain(gone.until_at).min();
        return (until_at != gone.until_at).then(|| Outage { until_at, received_at: now, ..gone.clone() });
    }
    let swiped = forked.filter(|_| before.is_none())?;
    let told = gateway.watermark.filter(|told| *told <= now)?;
    let ran = swiped.filter(|swiped| *swiped <= now).map_or(told, |swiped| swiped.max(told));
    let is_off = is_off(said.cause, true) && said.from.as_ref().is_none_or(|from| from.ms() < ran);
    let lasts = until.is_none_or(|until| until > ran);
    (is_off && lasts).then(|| Outage {
        id: gone_with(gateway, said),
        gateway_id: gateway.id,
        reader_id: said.reader_id.as_ref().map(|id| id.0),
        cause: OutageCause::StorageLost,
        from_at: said.from.as_ref().map_or(told, |from| told.max(from.ms())),
        // The gateway that says so runs again, though not each of its readers may.
        until_at: Some(until.unwrap_or(now)),
        received_at: now,
    })
}

/// A reader was served when an outage of it ended that had begun, by what its gateway knew, before anything was lost beside it: by
/// then the card was put back, and nothing is lost from there on.
async fn end_lost(
    tx: &mut Tx,
    gateway: &Gateway,
    said: &GatewayOutageInput,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    let (Some(reader), Some(from), Some(until)) = (&said.reader_id, &said.from, &said.until) else {
        return Ok(());
    };
    let (from, until) = (from.ms(), until.ms());
    for lost in tx.outages(&[gateway.id], until, until).await? {
        let is_beside = lost.cause == OutageCause::StorageLost && lost.reader_id == Some(reader.0);
        let Some(over) = lost.until_at.filter(|over| is_beside && *over > until) else { continue };
        if from < until && from <= lost.from_at && lost.from_at < until {
            tx.put_outage(&Outage { until_at: Some(until), ..lost }).await?;
            touched.sessions.extend(tx.sessions_during(gateway.id, until, over).await?);
        }
    }
    Ok(())
}

async fn tell_put_back(
    tx: &mut Tx,
    gateway: &Gateway,
    lost: &Outage,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    let detail = format!(
        "the card of gateway {} was put back from an image, or lost what it had written: swipes since {} may be lost \
         ({}): nobody is absent for it",
        gateway.code,
        shown(lost.from_at),
        lost.cause.word()
    );
    // Each reader was off for the same reason.
    let once = super::batch::alarm_id("SWIPES_LOST", format!("{} {}", gateway.id, lost.from_at).as_bytes());
    tx.alarm(once, lost.received_at, "SWIPES_LOST", Some(gateway.id), detail).await?;
    tx.put_outage(lost).await?;
    touched.sessions.extend(tx.sessions_during(gateway.id, lost.from_at, lost.received_at).await?);
    Ok(())
}

fn shown(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "?".to_owned(), |at| at.to_string())
}

/// Records that were made after the gateway's watermark are gone: nobody is absent for what was in them. Where the
/// gateway knows of the hole it says so under the same `id`, and more narrowly.
///
/// # Errors
/// When the store fails.
pub(super) async fn hole(
    tx: &mut Tx,
    gateway: &Gateway,
    until: i64,
    now: i64,
    id: Uuid,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    if !tx.by_ids::<Outage>([id]).await?.is_empty() {
        return Ok(());
    }
    let from_at = gateway.watermark.unwrap_or(0).min(until);
    let (gateway_id, cause) = (gateway.id, OutageCause::JournalDamaged);
    let outage =
        Outage { id, gateway_id, reader_id: None, cause, from_at, until_at: Some(until), received_at: now };
    tx.put_outage(&outage).await?;
    touched.sessions.extend(tx.sessions_during(gateway.id, from_at, until).await?);
    Ok(())
}

/// How long after the hub heard of an outage its end may be on its way.
const END_ON_ITS_WAY_MS: i64 = 5 * 60_000;

/// Ends what lasts of readers that answer, and of a gateway of which any does, though their gateway has nothing more to say: the record of how it began was
/// lost, or dropped, before it ended. `at` is the gateway's time. An end that is told after all is the one that holds.
///
/// # Errors
/// When the store fails.
pub(super) async fn end_forgotten(
    hub: &Hub,
    tx: &mut Tx,
    gateway: &Gateway,
    answering: &BTreeSet<Uuid>,
    at: i64,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    let now = hub.now().0;
    for mut outage in tx.open_outages(gateway.id).await? {
        let answers = match outage.reader_id {
            Some(reader) => answering.contains(&reader),
            // It runs, and has its storage: other causes go on beside that.
            None => {
                let is_off = matches!(outage.cause, OutageCause::GatewayDown | OutageCause::StorageLost);
                is_off && !answering.is_empty()
            }
        };
        if !answers || now - outage.received_at < END_ON_ITS_WAY_MS {
            continue;
        }
        let until = at.min(now).max(outage.from_at);
        outage.until_at = Some(until);
        tx.put_outage(&outage).await?;
        touched.sessions.extend(tx.sessions_during(gateway.id, outage.from_at, now).await?);
    }
    Ok(())
}

/// A gateway that will not come back: nobody waits for what it took since an instant.
#[derive(Debug, Clone, InputObject)]
pub struct DeclareGatewayLostInput {
    /// Code of the gateway.
    pub gateway: String,
    /// From this instant on nothing is expected of it any more. What it handed over stays.
    pub from: DateTime,
    /// Why; stays on record.
    pub reason: String,
}

/// Notes that a gateway is lost. Registers that waited for it become NO_REGISTER for those without a swipe; if it
/// comes back after all, they are derived again.
///
/// # Errors
/// When the store fails.
pub async fn declare_lost(hub: &Hub, caller: &Caller, input: &DeclareGatewayLostInput) -> Answer<Gateway> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            if input.reason.trim().is_empty() {
                check.refuse(Code::Required, "reason", "say why; it stays on record");
            }
            let now = hub.now().0;
            if input.from.ms() > now {
                check.refuse(Code::Invalid, "from", "lies in the future; nobody knows that yet");
            }
            let mut tx = attempt.write().await?;
            let gateway = tx.by_keys::<Gateway>([input.gateway.as_str()]).await?.into_iter().next();
            let Some(gateway) = gateway else {
                check.refuse(Code::NotFound, "gateway", format!("there is no gateway '{}'", input.gateway));
                return Ok(Err(check.refusals().unwrap_or_default()));
            };
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            let from = input.from.ms();
            tx.put_lost(gateway.id, from, &input.reason, caller.token_id, now).await?;
            let sessions: BTreeSet<Uuid> =
                tx.sessions_during(gateway.id, from, now).await?.into_iter().collect();
            hub.settle(tx, Touched { sessions, ..Touched::default() }, Some(caller)).await?;
            Ok(Ok(gateway))
        })
    })
    .await
}
