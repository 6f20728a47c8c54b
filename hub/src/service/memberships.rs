//! Who is in which group, from which day to which.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::InputObject;
use async_trait::async_trait;
use uuid::Uuid;

use super::bulk::{Put, Save, Tally};
use super::estate::{find, present};
use super::refusal::{Answer, Check, Code};
use super::{Caller, Hub, Touched};
use crate::scalar::LocalDate;
use crate::store::entity::{Group, Membership, MembershipReason, Student};
use crate::store::{StoreError, Tx, Value};

/// A stay in a group, by group, student and first day: new, or written over.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "MembershipInput")]
pub struct SaveMembership {
    /// Code of the group.
    pub group: String,
    /// Number of the student.
    pub student: String,
    /// The first day.
    pub from: LocalDate,
    /// The last day; null while it lasts.
    pub until: Option<LocalDate>,
    /// Why.
    #[graphql(default_with = "MembershipReason::Enrolment")]
    pub reason: MembershipReason,
}

/// A stay that was entered by mistake, by group, student and first day.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "RemoveMembershipInput")]
pub struct RemoveMembership {
    /// Code of the group.
    pub group: String,
    /// Number of the student.
    pub student: String,
    /// Its first day.
    pub from: LocalDate,
}

#[async_trait]
impl Save for SaveMembership {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        let names = inputs.iter().map(|it| (it.group.as_str(), it.student.as_str(), it.from.0.to_string()));
        let known = Known::read(tx, check, names).await?;
        let mut stays = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            let path = format!("memberships.{index}");
            if input.until.is_some_and(|until| until < input.from) {
                check.refuse(Code::Invalid, &format!("{path}.until"), "must not come before 'from'");
            }
            let from_at = input.from.starts_at(hub.zone());
            let until_at = input.until.map(|until| until.ends_at(hub.zone())).transpose();
            let (Ok(from_at), Ok(until_at)) = (from_at, until_at) else {
                check.refuse(Code::Invalid, &format!("{path}.from"), "is outside the calendar");
                continue;
            };
            let Some((group_id, student_id)) = known.ids(&input.group, &input.student) else { continue };
            let from_on = input.from.0.to_string();
            stays.push(Membership {
                id: known
                    .stays
                    .get(&(group_id, student_id, from_on.clone()))
                    .map_or_else(|| hub.mint(), |stay| stay.id),
                group_id,
                student_id,
                from_on,
                until_on: input.until.map(|until| until.0.to_string()),
                from_at,
                until_at,
                reason: input.reason,
            });
        }
        if check.found_any() {
            return Ok(Put::default());
        }
        let before =
            |stay: &Membership| known.stays.get(&(stay.group_id, stay.student_id, stay.from_on.clone()));
        let tally = Tally::of(stays.iter().map(|stay| (before(stay), stay)));
        // What a nightly import sends again as it was touches nothing.
        let changed: Vec<Membership> =
            stays.iter().filter(|stay| before(stay) != Some(stay)).cloned().collect();
        tx.put(&changed).await?;
        let touched = touched_by(tx, &changed).await?;
        Ok(Put { ids: stays.into_iter().map(|stay| stay.id).collect(), touched, tally })
    }
}

/// Takes stays back that should never have been entered; one that is over is saved with its last day instead. Marks
/// that rested on them are derived anew, and what a door has promised keeps counting.
///
/// # Errors
/// When the store fails.
pub async fn remove_memberships(
    hub: &Hub,
    caller: &Caller,
    inputs: &[RemoveMembership],
) -> Answer<Vec<Membership>> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            let mut tx = attempt.write().await?;
            let names =
                inputs.iter().map(|it| (it.group.as_str(), it.student.as_str(), it.from.0.to_string()));
            let known = Known::read(&mut tx, &mut check, names).await?;
            let mut gone = Vec::new();
            for (index, input) in inputs.iter().enumerate() {
                let Some((group, student)) = known.ids(&input.group, &input.student) else { continue };
                match known.stays.get(&(group, student, input.from.0.to_string())) {
                    Some(stay) => gone.push(stay.clone()),
                    None => {
                        let message = format!(
                            "student '{}' has no stay in group '{}' that begins on this day",
                            input.student, input.group
                        );
                        check.refuse(Code::NotFound, &format!("memberships.{index}.from"), message);
                    }
                }
            }
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            tx.execute_in(
                "DELETE FROM membership WHERE id IN ({})",
                &[],
                gone.iter().map(|stay| stay.id.into()),
            )
            .await?;
            let mut touched = touched_by(&mut tx, &gone).await?;
            touched.feed_gone_memberships.extend(gone.iter().map(|stay| stay.id));
            hub.settle(tx, touched, Some(caller)).await?;
            Ok(Ok(gone))
        })
    })
    .await
}

/// How many stays of some names (group, student and first day, separated by tabs) last.
///
/// # Errors
/// When the store fails.
pub(super) async fn lasting(hub: &Hub, tx: &mut Tx, names: &BTreeSet<String>) -> Result<usize, StoreError> {
    let parts = || names.iter().filter_map(|name| name.split_once('\t'));
    let students = || parts().filter_map(|(_, rest)| rest.split('\t').next());
    let groups = present::<Group>(tx, parts().map(|(group, _)| group), |it| &it.code).await?;
    let students = present::<Student>(tx, students(), |it| &it.number).await?;
    let groups: BTreeMap<Uuid, String> = groups.into_iter().map(|(code, group)| (group.id, code)).collect();
    let students: BTreeMap<Uuid, String> = students.into_iter().map(|(code, it)| (it.id, code)).collect();
    let stays = tx.by_column::<Membership>("group_id", groups.keys().map(|id| (*id).into())).await?;
    let now = hub.now().0;
    let lasts = |stay: &&Membership| {
        let (group, student) = (groups.get(&stay.group_id), students.get(&stay.student_id));
        let name = group.zip(student).map(|(group, student)| format!("{group}\t{student}\t{}", stay.from_on));
        stay.until_at.is_none_or(|until| until > now) && name.is_some_and(|name| names.contains(&name))
    };
    Ok(stays.iter().filter(lasts).count())
}

/// What became of stays that ended.
#[derive(Debug, Default)]
pub(super) struct Leave {
    /// What must be derived anew.
    pub(super) touched: Touched,
    /// How many they were.
    pub(super) count: usize,
    /// Group and student of which one is not there.
    pub(super) unknown: Vec<(String, String)>,
}

/// Ends stays, by group, student and first day, or all of the two without one: yesterday was the last day. Those that have
/// not begun are taken back, and those in `kept` stay.
///
/// # Errors
/// When the store fails.
pub(super) async fn leave(
    hub: &Hub,
    tx: &mut Tx,
    named: &[(&str, &str, Option<&str>)],
    kept: &BTreeSet<(&str, &str, String)>,
) -> Result<Leave, StoreError> {
    let groups = present::<Group>(tx, named.iter().map(|(group, ..)| *group), |it| &it.code).await?;
    let students =
        present::<Student>(tx, named.iter().map(|(_, student, _)| *student), |it| &it.number).await?;
    let mut wanted: BTreeMap<(Uuid, Uuid), Vec<Option<&str>>> = BTreeMap::new();
    let mut left = Leave::default();
    for (group, student, from) in named {
        match (groups.get(*group), students.get(*student)) {
            (Some(group), Some(student)) => wanted.entry((group.id, student.id)).or_default().push(*from),
            _ => left.unknown.push(((*group).to_owned(), (*student).to_owned())),
        }
    }
    let stays = tx.by_column::<Membership>("group_id", groups.values().map(|group| group.id.into())).await?;
    let now = hub.now().0;
    let today = jiff::Timestamp::from_millisecond(now).map(|at| hub.zone().to_datetime(at).date());
    let Some(today) = today.ok().map(LocalDate) else { return Ok(left) };
    let (Ok(midnight), Ok(yesterday)) = (today.starts_at(hub.zone()), today.0.yesterday()) else {
        return Ok(left);
    };
    let open = |stay: &Membership| stay.until_at.is_none_or(|until| until > midnight);
    let kept: BTreeSet<(Uuid, Uuid, &str)> = kept
        .iter()
        .filter_map(|(group, student, from)| {
            Some((groups.get(*group)?.id, students.get(*student)?.id, from.as_str()))
        })
        .collect();
    let meant = |stay: &Membership| {
        if kept.contains(&(stay.group_id, stay.student_id, stay.from_on.as_str())) {
            return false;
        }
        let days = wanted.get(&(stay.group_id, stay.student_id)).into_iter().flatten();
        days.into_iter().any(|from| from.is_none_or(|from| from == stay.from_on))
    };
    let stays = stays.into_iter().filter(|stay| meant(stay) && open(stay));
    let (mut ended, fresh): (Vec<Membership>, Vec<Membership>) =
        stays.partition(|stay| stay.from_at < midnight);
    for stay in &mut ended {
        stay.until_on = Some(yesterday.to_string());
        stay.until_at = Some(midnight);
    }
    tx.put(&ended).await?;
    tx.execute_in("DELETE FROM membership WHERE id IN ({})", &[], fresh.iter().map(|stay| stay.id.into()))
        .await?;
    left.count = ended.len() + fresh.len();
    let gone: Vec<Uuid> = fresh.iter().map(|stay| stay.id).collect();
    ended.extend(fresh);
    left.touched = touched_by(tx, &ended).await?;
    left.touched.feed_gone_memberships.extend(gone);
    Ok(left)
}

/// Groups and students that some input names, each stay once, and the stays in those groups.
struct Known {
    groups: BTreeMap<String, Group>,
    students: BTreeMap<String, Student>,
    stays: BTreeMap<(Uuid, Uuid, String), Membership>,
}

impl Known {
    async fn read<'a>(
        tx: &mut Tx,
        check: &mut Check,
        names: impl Iterator<Item = (&'a str, &'a str, String)> + Clone,
    ) -> Result<Self, StoreError> {
        let keys: Vec<String> =
            names.clone().map(|(group, student, from)| format!("{group} {student} {from}")).collect();
        check.distinct("memberships", "from", keys.iter().map(String::as_str));
        let wanted = names
            .clone()
            .enumerate()
            .map(|(index, (group, ..))| (format!("memberships.{index}.group"), group));
        let groups = find::<Group>(tx, check, "group", wanted, |it| &it.code).await?;
        let wanted = names
            .enumerate()
            .map(|(index, (_, student, _))| (format!("memberships.{index}.student"), student));
        let students = find::<Student>(tx, check, "student", wanted, |it| &it.number).await?;
        let ids: BTreeSet<Uuid> = groups.values().map(|group| group.id).collect();
        let stays = tx.by_column::<Membership>("group_id", ids.into_iter().map(Value::from)).await?;
        let stays = stays
            .into_iter()
            .map(|stay| ((stay.group_id, stay.student_id, stay.from_on.clone()), stay))
            .collect();
        Ok(Self { groups, students, stays })
    }

    fn ids(&self, group: &str, student: &str) -> Option<(Uuid, Uuid)> {
        Some((self.groups.get(group)?.id, self.students.get(student)?.id))
    }
}

/// What must be derived anew when some stays began, ended or are no more.
async fn touched_by(tx: &mut Tx, stays: &[Membership]) -> Result<Touched, StoreError> {
    let groups: BTreeSet<Uuid> = stays.iter().map(|stay| stay.group_id).collect();
    let ids: Vec<Uuid> = groups.iter().copied().collect();
    let mut touched = Touched { feed_groups: groups, ..Touched::default() };
    touched.sessions.extend(tx.group_sessions(&ids).await?.into_iter().map(|(_, session)| session));
    if tx.any_swipe().await? {
        let owners: Vec<Uuid> = stays.iter().map(|stay| stay.student_id).collect();
        touched.swipes.extend(tx.swipes_of_students(&owners).await?);
    }
    Ok(touched)
}
