//! What another policy would have made of the past: which marks would be others, and by which of its rules.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::Enum;
use rollcall_rules::policy::Policy;
use rollcall_rules::time::{Instant, Window};
use uuid::Uuid;

use super::Hub;
use super::policy::{SavePolicy, Scope, check, judge_anew, policy_at, policy_for, put_alone, stored};
use super::refusal::Answer;
use crate::store::entity::{Attendance, Policy as StoredPolicy, Session};
use crate::store::register::CreditFact;
use crate::store::timetable::LONGEST_OPENING_MS;
use crate::store::{StoreError, Tx};

/// A rule of a policy, by which a mark would be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enum)]
pub enum PolicyRule {
    /// How long before the start the window opens: a swipe is in it now that was not, or the other way round; or the doors
    /// would have had to work for another time.
    OpensBefore,
    /// How long after the end it closes, in the same way.
    ClosesAfter,
    /// Which of the sessions that are open a swipe counts for: another one, or others beside it.
    Overlap,
    /// For how much of the window a room may be without a working reader.
    OutageTolerance,
    /// How long a register waits for a silent gateway.
    SettleLimit,
}

/// A mark that would be another under another policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The session.
    pub session: Uuid,
    /// The student.
    pub student: Uuid,
    /// As it is; none where there is no mark.
    pub now: Option<Attendance>,
    /// As it would be; none where there would be none.
    pub then: Option<Attendance>,
    /// The rules by which it would be another.
    pub rules: BTreeSet<PolicyRule>,
    /// The swipes that would count for it and do not, or do and would not.
    pub swipes: BTreeSet<Uuid>,
}

/// What a policy would change.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    /// How many sessions start in the time.
    pub sessions: usize,
    /// How many marks would be others.
    pub marks_changed: usize,
    /// The first of them, by time, as many as were asked for.
    pub changed: Vec<Changed>,
}

/// Marks and what counts for them, by session and student, under some policies.
struct World {
    policies: Vec<StoredPolicy>,
    marks: BTreeMap<(Uuid, Uuid), Attendance>,
    credits: BTreeMap<(Uuid, Uuid), BTreeMap<Uuid, CreditFact>>,
}

impl World {
    async fn read(tx: &mut Tx, sessions: &[Uuid]) -> Result<Self, StoreError> {
        let marks = tx.attendance_of(sessions).await?;
        let marks = marks.into_iter().map(|mark| ((mark.session_id, mark.student_id), mark)).collect();
        Ok(Self { policies: Vec::new(), marks, credits: BTreeMap::new() })
    }

    /// Reads by what its marks of some sessions are as they are.
    async fn explain(&mut self, tx: &mut Tx, sessions: &[Uuid]) -> Result<(), StoreError> {
        for fact in tx.credit_facts(sessions).await? {
            let of = (fact.session_id, fact.student_id);
            self.credits.entry(of).or_default().insert(fact.swipe_id, fact);
        }
        self.policies = tx.all().await?;
        Ok(())
    }
}

/// How many sessions are compared at once.
const AT_ONCE: usize = 200;
/// How much time is looked at at once, by the starts of sessions.
const PART_MS: i64 = 14 * 24 * 3_600_000;
/// How far away a session may be that was open at the same time.
const NEAR_MS: i64 = 2 * LONGEST_OPENING_MS;

/// What would be if a policy had held for sessions that start from its beginning until an instant (excluded): all of it is
/// done, looked at, and let go of, a fortnight at a time, so that other writes get their turn in between. Nothing is changed.
/// Of the marks that would be others, `most` are given.
///
/// # Errors
/// When the store fails.
pub async fn preview(hub: &Hub, input: &SavePolicy, until: i64, most: usize) -> Answer<Preview> {
    if let Some(refusals) = check(input).refusals() {
        return Ok(Err(refusals));
    }
    let from = input.from.ms();
    let mut tx = hub.read().await?;
    let sessions = tx.sessions_starting(input.department.as_deref(), input.kind, from, until).await?.len();
    drop(tx);
    let mut all = Preview { sessions, ..Preview::default() };
    // Which session a swipe counts for hangs on all that were open: also others' marks may change.
    let (first, last) = (from.saturating_sub(NEAR_MS), until.saturating_add(NEAR_MS));
    let mut begin = first;
    while begin < last {
        let part = begin..begin.saturating_add(PART_MS).min(last);
        begin = part.end;
        let left = most - all.changed.len();
        match preview_of(hub, input, until, part, left).await? {
            Ok((count, changed)) => {
                all.marks_changed += count;
                all.changed.extend(changed);
            }
            Err(refusals) => return Ok(Err(refusals)),
        }
    }
    Ok(Ok(all))
}

/// The same for sessions that start within some time: how many marks would be others, and the first of them.
async fn preview_of(
    hub: &Hub,
    input: &SavePolicy,
    until: i64,
    part: std::ops::Range<i64>,
    most: usize,
) -> Answer<(usize, Vec<Changed>)> {
    // Never closed.
    let _place = hub.trials.acquire().await;
    hub.whole(|attempt| {
        let part = part.clone();
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            // Before anything is done: where writers do not take turns, what others commit between the two shows as a difference.
            let mut committed = hub.read_aside().await?;
            let around = committed.sessions_starting(None, None, part.start, part.end).await?;
            let before = tx.all::<StoredPolicy>().await?;
            let policies = instead(hub, &mut tx, input, until).await?;
            let near = (input.from.ms().max(part.start.saturating_sub(NEAR_MS)))
                ..until.min(part.end.saturating_add(NEAR_MS));
            let (mut count, mut changed) = (0, Vec::new());
            if around.is_empty() || near.is_empty() {
                return Ok(Ok((count, changed)));
            }
            let touched = judge_anew(&mut tx, &before, &policies, input.scope(), near).await?;
            hub.derive(&mut tx, touched, None).await?;
            // As it is committed, beside as it would be: some sessions at a time, as all marks do not fit in memory.
            for some in around.chunks(AT_ONCE) {
                let found = differences(&mut committed, &mut tx, some).await?;
                count += found.len();
                let left = most - changed.len();
                changed.extend(found.into_iter().take(left));
            }
            Ok(Ok((count, changed)))
        })
    })
    .await
}

/// Puts a policy in force until an instant, instead of what holds in that time; gives all policies.
async fn instead(
    hub: &Hub,
    tx: &mut Tx,
    input: &SavePolicy,
    until: i64,
) -> Result<Vec<StoredPolicy>, StoreError> {
    let last = until.saturating_add(NEAR_MS);
    let policies = tx.all::<StoredPolicy>().await?;
    // What holds from the end on goes on holding, and what began within the time does not hold in it.
    let same = || policies.iter().filter(|policy| Scope::of(policy) == input.scope());
    let within = same().filter(|policy| (input.from.ms()..until).contains(&policy.from_at));
    tx.drop_policies(&within.map(|policy| policy.id).collect::<Vec<_>>()).await?;
    if !same().any(|policy| policy.from_at == until) {
        let after = policy_at(&policies, input.scope(), until);
        let mut after = vec![stored(hub.mint(), until, input.scope(), &after)];
        // And what a wider one becomes soon after holds for these sessions as well, as long as they have none of their own.
        let own = same().map(|policy| policy.from_at).filter(|at| *at > until).min();
        let wider = policies.iter().map(|policy| policy.from_at);
        let wider = wider.filter(|at| (until + 1..=last).contains(at) && own.is_none_or(|own| *at < own));
        for at in wider.collect::<BTreeSet<i64>>() {
            let then = policy_at(&policies, input.scope(), at);
            after.push(stored(hub.mint(), at, input.scope(), &then));
        }
        after.extend(departments_as_before(hub, &policies, input.scope(), until..=last));
        tx.put(&after).await?;
    }
    Ok(put_alone(hub, tx, input).await?.1)
}

/// A kind's policy stands above a department's. So where one is put in force to end at an instant, departments without a policy
/// of their own for that kind get one from then on: what holds for them.
fn departments_as_before(
    hub: &Hub,
    policies: &[StoredPolicy],
    scope: Scope<'_>,
    from: std::ops::RangeInclusive<i64>,
) -> Vec<StoredPolicy> {
    if scope.department.is_some() || scope.kind.is_none() {
        return Vec::new();
    }
    let begun = policies.iter().map(|policy| policy.from_at).filter(|at| from.contains(at));
    let instants: BTreeSet<i64> = begun.chain([*from.start()]).collect();
    let departments: BTreeSet<&str> =
        policies.iter().filter_map(|policy| policy.department.as_deref()).collect();
    let mut as_before = Vec::new();
    for department in departments {
        let scope = Scope { department: Some(department), ..scope };
        let own = |at: i64| policies.iter().any(|it| Scope::of(it) == scope && it.from_at == at);
        let instants = instants.iter().filter(|at| !own(**at));
        as_before.extend(instants.map(|at| stored(hub.mint(), *at, scope, &policy_at(policies, scope, *at))));
    }
    as_before
}

/// The marks of some sessions that have another status in what is committed than in the other transaction.
async fn differences(committed: &mut Tx, tx: &mut Tx, some: &[Uuid]) -> Result<Vec<Changed>, StoreError> {
    let (mut now, mut then) = (World::read(committed, some).await?, World::read(tx, some).await?);
    let places: BTreeSet<(Uuid, Uuid)> = now.marks.keys().chain(then.marks.keys()).copied().collect();
    let status = |world: &World, place: &(Uuid, Uuid)| world.marks.get(place).map(|mark| mark.status);
    let places = places.into_iter().filter(|place| status(&now, place) != status(&then, place));
    let mut places: Vec<(Uuid, Uuid)> = places.collect();
    places.sort_by_key(|(session, student)| (some.iter().position(|it| it == session), *student));
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let sessions: BTreeSet<Uuid> = places.iter().map(|(session, _)| *session).collect();
    let ids: Vec<Uuid> = sessions.iter().copied().collect();
    now.explain(committed, &ids).await?;
    then.explain(tx, &ids).await?;
    let sessions = tx.by_ids::<Session>(sessions).await?;
    let sessions: BTreeMap<Uuid, Session> = sessions.into_iter().map(|it| (it.id, it)).collect();
    Ok(places
        .into_iter()
        .map(|place| {
            let (rules, swipes) =
                sessions.get(&place.0).map(|session| why(session, place, &now, &then)).unwrap_or_default();
            Changed {
                session: place.0,
                student: place.1,
                now: now.marks.get(&place).cloned(),
                then: then.marks.get(&place).cloned(),
                rules,
                swipes,
            }
        })
        .collect())
}

/// By which rules a mark is another in one world than in the other, and by which swipes.
fn why(
    session: &Session,
    place: (Uuid, Uuid),
    now: &World,
    then: &World,
) -> (BTreeSet<PolicyRule>, BTreeSet<Uuid>) {
    let (here, there) = (policy_for(&now.policies, session), policy_for(&then.policies, session));
    let window = |policy: &Policy| policy.window(Instant(session.starts_at), Instant(session.ends_at));
    let nothing = BTreeMap::new();
    let counted = now.credits.get(&place).unwrap_or(&nothing);
    let would_count = then.credits.get(&place).unwrap_or(&nothing);
    let gained = would_count.values().filter(|fact| !counted.contains_key(&fact.swipe_id));
    let lost = counted.values().filter(|fact| !would_count.contains_key(&fact.swipe_id));
    let gained = gained.map(|fact| (fact.swipe_id, kept_out_by(fact, window(&here))));
    let lost = lost.map(|fact| (fact.swipe_id, kept_out_by(fact, window(&there))));
    let (swipes, rules): (BTreeSet<Uuid>, BTreeSet<PolicyRule>) = gained.chain(lost).unzip();
    if swipes.is_empty() { (differing(&here, &there), swipes) } else { (rules, swipes) }
}

/// The rule by which a swipe does not count where this is the window.
fn kept_out_by(swipe: &CreditFact, window: Window) -> PolicyRule {
    if swipe.latest_at < window.opens.0 {
        PolicyRule::OpensBefore
    } else if swipe.earliest_at > window.closes.0 {
        PolicyRule::ClosesAfter
    } else {
        PolicyRule::Overlap
    }
}

/// The rules that are others in one policy than in the other, of those that say whether a register could be taken.
fn differing(here: &Policy, there: &Policy) -> BTreeSet<PolicyRule> {
    let rules = [
        (PolicyRule::OpensBefore, here.opens_before_ms == there.opens_before_ms),
        (PolicyRule::ClosesAfter, here.closes_after_ms == there.closes_after_ms),
        (PolicyRule::OutageTolerance, here.outage_tolerance_ms == there.outage_tolerance_ms),
        (PolicyRule::SettleLimit, here.settle_limit_ms == there.settle_limit_ms),
    ];
    rules.into_iter().filter(|(_, alike)| !alike).map(|(rule, _)| rule).collect()
}
