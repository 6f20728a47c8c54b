//! What the timetable office does while the day is played.
//!
//! Used by `generate`, once the timetable stands. Its instants lie beside the grid of presentations.

use std::collections::HashSet;

use rand_chacha::ChaCha12Rng;

use super::campus::new_card;
use super::clock::Clock;
use super::timetable::Cast;
use crate::plan::{Change, ChangeKind, Membership, Plan};

/// Fills in the changes: every kind there is.
pub(super) fn build(plan: &mut Plan, cast: &Cast, clock: &Clock, rng: &mut ChaCha12Rng) {
    let mut taken: HashSet<_> = plan.cards.iter().map(|card| card.credential.clone()).collect();
    let join = |plan: &Plan, session: usize, student: usize, days: i64| {
        let group = plan.sessions[session].groups[0];
        ChangeKind::Join(Membership { group, student, from: clock.iso(days), until: None })
    };
    let mut changes = vec![
        // After some students have swiped.
        (9 * 60 + 51, ChangeKind::Cancel { session: cast.cancelled_late }),
        (10 * 60 + 49, ChangeKind::Reinstate { session: cast.reinstated }),
        // One room stays, one goes, one comes.
        (10 * 60 + 52, ChangeKind::Move { session: cast.half_moved.0, rooms: cast.half_moved.1.clone() }),
        (12 * 60 + 46, ChangeKind::Move { session: cast.moved.0, rooms: cast.moved.1.clone() }),
        (
            13 * 60 + 47,
            ChangeKind::Reschedule {
                session: cast.rescheduled,
                start_ms: clock.at(14 * 60 + 20),
                end_ms: clock.at(15 * 60 + 10),
            },
        ),
        (14 * 60 + 42, ChangeKind::Cancel { session: cast.on_and_off }),
        (14 * 60 + 53, ChangeKind::Reinstate { session: cast.on_and_off }),
        (12 * 60 + 5, ChangeKind::Reissue { student: cast.reissued, credential: new_card(&mut taken, rng) }),
    ];
    let (session, student) = cast.joined;
    changes.push((16 * 60 + 4, join(plan, session, student, 0)));
    let (session, student) = cast.joined_afterwards;
    changes.push((11 * 60 + 31, join(plan, session, student, -7)));
    plan.changes = changes
        .into_iter()
        .map(|(minutes, what)| Change { at_ms: clock.at(minutes) + 7_500, what })
        .collect();
    plan.changes.sort_by_key(|change| change.at_ms);
}
