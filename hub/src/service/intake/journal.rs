//! How far each journal is handed over: the hub knows, and every gateway asks.
//!
//! After a restore from a backup the hub has less than its gateways believe: it says so, takes no watermark, and
//! gets everything after it again.

use rollcall_rules::ids;
use uuid::Uuid;

use super::super::Hub;
use super::super::people::hex;
use super::message::GatewayJournalInput;
use crate::store::entity::Gateway;
use crate::store::{StoreError, Tx};

/// How far a journal is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// The journal.
    pub journal_id: Uuid,
    /// Every record up to this one is at the hub; 0 where none is.
    pub through: i64,
    /// The chain value behind it; empty where there is none.
    pub chain: Vec<u8>,
}

/// Takes in what a gateway says of its journals; gives whether the hub has as much as the gateway believes, what it
/// knows, and the hole before these records where some are gone.
///
/// # Errors
/// When the store fails.
pub(super) async fn take(
    hub: &Hub,
    tx: &mut Tx,
    gateway: &Gateway,
    journals: &[GatewayJournalInput],
) -> Result<(bool, Vec<HandedOver>, Option<Uuid>), StoreError> {
    let known = tx.journals(journals.iter().map(|it| it.journal_id.0)).await?;
    let (mut complete, mut all, mut hole) = (true, Vec::new(), None);
    for said in journals {
        let id = said.journal_id.0;
        if let Some(own) = &said.fork_of {
            let detail = format!(
                "the hub has records of journal {} that are not on the disk of gateway {}, or others in their place: its card was \
                 cloned, put back from an image, or lost what it had written. It goes on as journal {id}, and hands over what it \
                 has; see that no other machine goes by its name",
                own.0, gateway.code
            );
            let once = super::batch::alarm_id("JOURNAL_FORKED", id.as_bytes());
            tx.alarm(once, hub.now().0, "JOURNAL_FORKED", Some(gateway.id), detail).await?;
        }
        let found = known.iter().find(|(_, has)| has.journal_id == id);
        if found.is_some_and(|(owner, _)| *owner != gateway.id) {
            // It goes by another name now, or has another's disk: told of a record that it has not, it goes on under a name of its own.
            complete = false;
            all.push(HandedOver { journal_id: id, through: said.through.0, chain: vec![0; 32] });
            continue;
        }
        let mut has = found.map(|(_, has)| has.clone()).unwrap_or(HandedOver {
            journal_id: id,
            through: 0,
            chain: Vec::new(),
        });
        let through = said.through.0;
        let chain = said.chain.as_deref().and_then(|chain| hex(chain).ok()).filter(|chain| chain.len() == 32);
        match (&said.after, chain) {
            // Nothing new: does the hub have it?
            (Some(after), _) if after.0 == through => complete &= has.through >= through,
            // It begins behind what the hub has: something is missing in between.
            (Some(after), _) if after.0 > has.through => complete = false,
            (_, Some(chain)) if through > has.through => {
                let first = said.first.map_or(0, |first| first.0);
                let wanted = match said.begins {
                    _ if has.through > 0 => has.through + 1,
                    // Of a journal that is new here nothing is gone, unless the gateway is not.
                    Some(begins) if gateway.watermark.is_some() => begins.0.max(1),
                    _ => first,
                };
                if first > wanted {
                    // Whatever it is called here: its gateway tells of the hole by its own name.
                    let own = said.fork_of.as_ref().map_or(id, |own| own.0);
                    hole = Some(ids::hole(own, first.unsigned_abs()));
                    let detail = format!(
                        "journal {id} of gateway {}: records {} to {} are on no disk any more: handed over to a hub that was \
                         restored from a backup since, and dropped, or damaged",
                        gateway.code,
                        wanted,
                        first - 1
                    );
                    let cause = format!("{id} {first}");
                    let once = super::batch::alarm_id("RECORDS_MISSING", cause.as_bytes());
                    tx.alarm(once, hub.now().0, "RECORDS_MISSING", Some(gateway.id), detail).await?;
                }
                has = HandedOver { journal_id: id, through, chain };
                tx.put_journal(&has, gateway.id, hub.now().0).await?;
            }
            _ => {}
        }
        all.push(has);
    }
    Ok((complete, all, hole))
}
