//! Who is in which group, from when until when.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::InputObject;
use async_trait::async_trait;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::bulk::{Put, Save, Tally};
use super::estate::{find, present};
use super::history::Kind;
use super::refusal::{Answer, Check, Code};
use super::{Caller, Hub, Touched};
use crate::scalar::{DateTime, LocalDate};
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
    /// The instant on the first day from which on it holds. Left out, a stay that began on this day keeps its own; a new one
    /// begins with the day.
    pub from_at: Option<DateTime>,
    /// The instant on the last day from which on it holds no more. Left out, a stay that ended on this day keeps its own;
    /// another holds until the day is over.
    pub until_at: Option<DateTime>,
    /// Why.
    #[graphql(default_with = "MembershipReason::Enrolment")]
    pub reason: MembershipReason,
}

impl SaveMembership {
    /// From when until when it holds, in milliseconds since the epoch, where its days and instants agree with each other.
    fn span(
        &self,
        known: Option<&Membership>,
        zone: &TimeZone,
        path: &str,
        check: &mut Check,
    ) -> Option<(i64, Option<i64>)> {
        if self.until.is_some_and(|until| until < self.from) {
            check.refuse(Code::Invalid, &format!("{path}.until"), "must not come before 'from'");
        }
        if self.until_at.is_some() && self.until.is_none() {
            let message = "needs 'until' beside it: the day that it is on";
            check.refuse(Code::Required, &format!("{path}.untilAt"), message);
        }
        let on = |day: &LocalDate| Some((day.starts_at(zone).ok()?, day.ends_at(zone).ok()?));
        let (Some(first), Some(last)) = (on(&self.from), self.until.as_ref().map_or(Some((0, 0)), on)) else {
            check.refuse(Code::Invalid, &format!("{path}.from"), "is outside the calendar");
            return None;
        };
        let from_at = match &self.from_at {
            Some(at) if !(first.0..first.1).contains(&at.ms()) => {
                check.refuse(Code::Invalid, &format!("{path}.fromAt"), "must be on the day 'from'");
                return None;
            }
            Some(at) => at.ms(),
            None => {
                known.filter(|stay| stay.from_on == self.from.0.to_string()).map_or(first.0, |it| it.from_at)
            }
        };
        let Some(until) = self.until else { return Some((from_at, None)) };
        let until_at = match &self.until_at {
            Some(at) if !(last.0..=last.1).contains(&at.ms()) || at.ms() <= from_at => {
                let message = "must be on the day 'until', and after the stay begins";
                check.refuse(Code::Invalid, &format!("{path}.untilAt"), message);
                return None;
            }
            Some(at) => Some(at.ms()),
            None => {
                let same = known.filter(|stay| stay.until_on == Some(until.0.to_string()));
                same.map_or(Some(last.1), |it| it.until_at).filter(|until| *until > from_at).or(Some(last.1))
            }
        };
        Some((from_at, until_at))
    }
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
            let ids = known.ids(&input.group, &input.student);
            let from_on = input.from.0.to_string();
            let stored = ids.and_then(|(group, student)| known.stays.get(&(group, student, from_on.clone())));
            let Some((from_at, until_at)) = input.span(stored, hub.zone(), &path, check) else { continue };
            let Some((group_id, student_id)) = ids else { continue };
            stays.push(Membership {
                id: stored.map_or_else(|| hub.mint(), |stay| stay.id),
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
        let mut touched = touched_by(tx, &changed).await?;
        touched.was.stays(Kind::Changed, changed.iter().filter_map(before));
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
            let touched = drop_stays(&mut tx, &gone).await?;
            hub.settle(tx, touched, Some(caller)).await?;
            Ok(Ok(gone))
        })
    })
    .await
}

async fn drop_stays(tx: &mut Tx, stays: &[Membership]) -> Result<Touched, StoreError> {
    let ids = || stays.iter().map(|stay| stay.id);
    tx.execute_in("DELETE FROM membership WHERE id IN ({})", &[], ids().map(Value::from)).await?;
    let mut touched = touched_by(tx, stays).await?;
    touched.feed_gone_memberships.extend(ids());
    touched.was.stays(Kind::Removed, stays);
    Ok(touched)
}

/// Takes stays back, by group, student and first day, of which their source now says that they begin on another day; gives how
/// many. Those in `kept` it says too, and one that was over by that day was another one.
///
/// # Errors
/// When the store fails.
pub(super) async fn never_were(
    tx: &mut Tx,
    named: &[(String, String, String, String)],
    kept: &BTreeSet<(&str, &str, String)>,
) -> Result<(Touched, usize), StoreError> {
    let named: Vec<&(String, String, String, String)> = named
        .iter()
        .filter(|(group, student, from, _)| !kept.contains(&(group.as_str(), student.as_str(), from.clone())))
        .collect();
    let groups = present::<Group>(tx, named.iter().map(|it| it.0.as_str()), |it| &it.code).await?;
    let students = present::<Student>(tx, named.iter().map(|it| it.1.as_str()), |it| &it.number).await?;
    let wanted: BTreeMap<(Uuid, Uuid, &str), &str> = named
        .iter()
        .filter_map(|it| {
            Some(((groups.get(&it.0)?.id, students.get(&it.1)?.id, it.2.as_str()), it.3.as_str()))
        })
        .collect();
    let of = groups.values().map(|group| group.id.into());
    let mut stays = tx.by_column::<Membership>("group_id", of).await?;
    stays.retain(|stay| {
        let begins = wanted.get(&(stay.group_id, stay.student_id, stay.from_on.as_str()));
        begins.is_some_and(|begins| stay.until_on.as_deref().is_none_or(|until| until >= *begins))
    });
    let count = stays.len();
    Ok(if stays.is_empty() { Default::default() } else { (drop_stays(tx, &stays).await?, count) })
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
    let open = |stay: &Membership| stay.until_at.is_none_or(|until| until > now);
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
    left.touched.was.stays(Kind::Changed, &ended);
    left.touched.was.stays(Kind::Removed, &fresh);
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
    left.touched.extend(touched_by(tx, &ended).await?);
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
