//! What a door could not know: facts that bear on a swipe and reached the feed of its building only behind the position that
//! its gateway had decided by.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::Enum;
use uuid::Uuid;

use super::{decide, timetable};
use crate::store::entity::{Membership, Session, Swipe};
use crate::store::{StoreError, Tx, Value};

/// A kind of fact that a verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enum)]
#[graphql(name = "VerdictGround")]
pub enum Ground {
    /// The card: whose it is, and from when until when.
    Card,
    /// A stay of the student in a group of a session.
    ClassList,
    /// A session: its time, its rooms, its groups, whether it takes place.
    Session,
}

/// What bears on some swipes now, each with the feed position at which its building last heard of it: swipe, kind, position.
///
/// # Errors
/// When the store fails.
pub async fn grounds(tx: &mut Tx, swipes: &[Uuid]) -> Result<Vec<(Uuid, (Ground, i64))>, StoreError> {
    let swipes = tx.by_ids::<Swipe>(swipes.iter().copied()).await?;
    let mut considered: BTreeMap<Uuid, BTreeSet<Uuid>> = BTreeMap::new();
    for (swipe, how) in decide::considered(tx, swipes.clone()).await? {
        considered.entry(swipe).or_default().insert(how.session.0);
    }
    let sessions: BTreeSet<Uuid> = considered.values().flatten().copied().collect();
    let stored = tx.by_ids::<Session>(sessions.iter().copied()).await?;
    let groups: BTreeMap<Uuid, BTreeSet<Uuid>> = timetable::as_rules(tx, &stored)
        .await?
        .into_iter()
        .map(|session| (session.id.0, session.groups.iter().map(|group| group.0).collect()))
        .collect();
    let students: BTreeSet<Uuid> = swipes.iter().filter_map(|swipe| swipe.student_id).collect();
    let stays = tx.by_column::<Membership>("student_id", students.into_iter().map(Value::from)).await?;
    let cards: BTreeSet<Uuid> = swipes.iter().filter_map(|swipe| swipe.card_id).collect();

    let mut heard: BTreeMap<(Uuid, Uuid), i64> = BTreeMap::new();
    for (kind, things) in [
        ("SESSION", sessions.into_iter().collect::<Vec<_>>()),
        ("MEMBERSHIP", stays.iter().map(|stay| stay.id).collect()),
        ("CARD", cards.into_iter().collect()),
    ] {
        let items = tx.feed_items_of(kind, &things).await?;
        heard.extend(items.into_iter().map(|item| ((item.building_id, item.item_id), item.revision)));
    }
    let mut found = Vec::new();
    for swipe in &swipes {
        let sessions = considered.get(&swipe.id);
        let of_groups: BTreeSet<Uuid> = sessions
            .into_iter()
            .flatten()
            .filter_map(|session| groups.get(session))
            .flatten()
            .copied()
            .collect();
        let stays = stays
            .iter()
            .filter(|stay| Some(stay.student_id) == swipe.student_id && of_groups.contains(&stay.group_id));
        let things = sessions
            .into_iter()
            .flatten()
            .map(|session| (Ground::Session, *session))
            .chain(stays.map(|stay| (Ground::ClassList, stay.id)))
            .chain(swipe.card_id.map(|card| (Ground::Card, card)));
        for (ground, thing) in things {
            if let Some(revision) = heard.get(&(swipe.building_id, thing)) {
                found.push((swipe.id, (ground, *revision)));
            }
        }
    }
    Ok(found)
}
