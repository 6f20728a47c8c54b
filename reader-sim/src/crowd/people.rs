//! What students know of themselves: their cards, their sessions, and what the notice board says.
//!
//! Used by `crowd` alone, to send people to plausible doors. It is no judge: `expected` works out its own
//! answers.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::plan::{ChangeKind, Credential, Membership, Millis, Plan};

/// How a student is tied to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tie {
    /// On its class list that day.
    Member,
    /// Entered on the class list while the day is played.
    Joins,
    /// Joins a few days later.
    Soon,
    /// Left a few days ago.
    Left,
}

/// A student and how they are tied to a session.
pub(super) struct Attendee {
    pub(super) student: usize,
    pub(super) tie: Tie,
}

/// The students of a plan.
pub(super) struct People<'p> {
    plan: &'p Plan,
    zone: TimeZone,
    /// Per group: membership, and whether it is entered only while the day is played.
    members: Vec<Vec<(&'p Membership, bool)>>,
}

impl<'p> People<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        let mut members: Vec<Vec<(&Membership, bool)>> = plan.groups.iter().map(|_| Vec::new()).collect();
        for membership in &plan.memberships {
            members[membership.group].push((membership, false));
        }
        for change in &plan.changes {
            if let ChangeKind::Join(membership) = &change.what {
                members[membership.group].push((membership, true));
            }
        }
        Self { plan, zone: TimeZone::get(&plan.zone).unwrap_or(TimeZone::UTC), members }
    }

    /// Everybody who may come to a session, each once, by student.
    pub(super) fn of_session(&self, session: usize) -> Vec<Attendee> {
        let published = &self.plan.sessions[session];
        let Ok(instant) = jiff::Timestamp::from_millisecond(published.start_ms) else { return Vec::new() };
        let today = instant.to_zoned(self.zone.clone()).date();
        let mut attendees: Vec<Attendee> = published
            .groups
            .iter()
            .flat_map(|group| &self.members[*group])
            .filter_map(|(membership, joins)| {
                let tie = if *joins { Tie::Joins } else { tie(membership, today)? };
                Some(Attendee { student: membership.student, tie })
            })
            .collect();
        attendees.sort_by_key(|attendee| (attendee.student, attendee.tie));
        attendees.dedup_by_key(|attendee| attendee.student);
        attendees
    }

    /// The card that the student has at an instant.
    pub(super) fn card(&self, student: usize, at: Millis) -> Option<Credential> {
        if let Some((_, new)) = self.reissued(student, at) {
            return Some(new.clone());
        }
        self.plan
            .cards
            .iter()
            .find(|card| {
                card.student == student && card.from_ms <= at && card.until_ms.is_none_or(|until| at < until)
            })
            .map(|card| card.credential.clone())
    }

    /// A card of the student that is of no use at an instant: an old one, or one not yet valid.
    pub(super) fn other_card(&self, student: usize, at: Millis) -> Option<Credential> {
        self.plan
            .cards
            .iter()
            .find(|card| {
                card.student == student
                    && (card.from_ms > at || card.until_ms.is_some_and(|until| until <= at))
            })
            .map(|card| card.credential.clone())
    }

    /// The card that a reissue before `at` has ended.
    pub(super) fn replaced_card(&self, student: usize, at: Millis) -> Option<Credential> {
        let (reissued_ms, _) = self.reissued(student, at)?;
        self.card(student, reissued_ms - 1)
    }

    /// Whether the notice board says at an instant that the session is cancelled.
    pub(super) fn is_cancelled(&self, session: usize, at: Millis) -> bool {
        let mut cancelled = self.plan.sessions[session].cancelled;
        for change in self.plan.changes.iter().filter(|change| change.at_ms <= at) {
            match &change.what {
                ChangeKind::Cancel { session: other } if *other == session => cancelled = true,
                ChangeKind::Reinstate { session: other } if *other == session => cancelled = false,
                _ => {}
            }
        }
        cancelled
    }

    /// The rooms that the notice board says at an instant.
    pub(super) fn rooms(&self, session: usize, at: Millis) -> &'p [usize] {
        let plan = self.plan;
        plan.changes
            .iter()
            .filter(|change| change.at_ms <= at)
            .filter_map(|change| match &change.what {
                ChangeKind::Move { session: other, rooms } if *other == session => Some(rooms.as_slice()),
                _ => None,
            })
            .next_back()
            .unwrap_or(&plan.sessions[session].rooms)
    }

    fn reissued(&self, student: usize, at: Millis) -> Option<(Millis, &'p Credential)> {
        let plan = self.plan;
        plan.changes
            .iter()
            .filter(|change| change.at_ms <= at)
            .filter_map(|change| match &change.what {
                ChangeKind::Reissue { student: other, credential } if *other == student => {
                    Some((change.at_ms, credential))
                }
                _ => None,
            })
            .next_back()
    }
}

/// How a membership ties its student to a session of `today`, if at all.
fn tie(membership: &Membership, today: Date) -> Option<Tie> {
    let from: Date = membership.from.parse().ok()?;
    let days_off = |date: Date| (date - today).get_days();
    if from > today {
        return (days_off(from) <= 7).then_some(Tie::Soon);
    }
    match &membership.until {
        None => Some(Tie::Member),
        Some(until) => {
            let until: Date = until.parse().ok()?;
            if until >= today { Some(Tie::Member) } else { (days_off(until) >= -7).then_some(Tie::Left) }
        }
    }
}
