//! Attendance as it was known at an earlier instant: when a letter was sent, for instance.
//!
//! A mark's id says when it was made (UUID version 7), its history what it was before each change, and marks that went are
//! kept as they last were. So is what a session was before each change: a lecture that was moved since is asked for by the day on
//! which it was to be then. Nothing of that is ever written over, so what was known can always be said again.

use uuid::Uuid;

use super::Value;
use super::page::List;

/// Marks `a` as they were before the first change that came later than `$1`, those that were not made yet (ids from `$2` on)
/// left out; of sessions that start, or once started, from `$3` until before `$4`, or of all. Sessions `s` as they were likewise,
/// `groups_then` where another time or other groups came later.
macro_rules! from {
    ($of:literal) => {
        concat!(
            "FROM (SELECT m.id, m.session_id, m.student_id, \
             CASE WHEN c.at IS NULL THEN m.status ELSE c.from_status END AS status, \
             CASE WHEN c.at IS NULL THEN m.source ELSE c.from_source END AS source, \
             CASE WHEN c.at IS NULL THEN m.arrived_at ELSE c.from_arrived_at END AS arrived_at, \
             CASE WHEN c.at IS NULL THEN m.minutes_late ELSE c.from_minutes_late END AS minutes_late, \
             CASE WHEN c.at IS NULL THEN m.shared_swipe ELSE c.from_shared_swipe END AS shared_swipe, \
             CASE WHEN c.at IS NULL THEN m.honoured ELSE c.from_honoured END AS honoured, \
             CASE WHEN c.at IS NULL THEN m.revision ELSE c.revision - 1 END AS revision, \
             CASE WHEN c.at IS NULL THEN m.updated_at ELSE c.from_updated_at END AS updated_at \
             FROM (SELECT id, session_id, student_id, status, source, arrived_at, minutes_late, shared_swipe, honoured, \
             revision, updated_at FROM attendance WHERE id < $2",
            $of,
            " UNION ALL SELECT id, session_id, student_id, status, source, arrived_at, minutes_late, shared_swipe, honoured, \
             revision, updated_at FROM attendance_gone WHERE gone_at > $1 AND id < $2",
            $of,
            ") m LEFT JOIN attendance_change c ON c.attendance_id = m.id AND c.revision = \
             (SELECT MIN(l.revision) FROM attendance_change l WHERE l.attendance_id = m.id AND l.at > $1)) a \
             JOIN student st ON st.id = a.student_id JOIN (SELECT n.id, c.group_ids AS groups_then, \
             CASE WHEN c.at IS NULL THEN n.starts_at ELSE c.starts_at END AS starts_at, \
             CASE WHEN c.at IS NULL THEN n.course_id ELSE c.course_id END AS course_id \
             FROM session n LEFT JOIN session_change c ON c.id = (SELECT l.id FROM session_change l \
             WHERE l.session_id = n.id AND l.at > $1 ORDER BY l.id LIMIT 1)) s ON s.id = a.session_id"
        )
    };
}

/// A list of attendance as it was known at an instant, in milliseconds since the epoch; of sessions that start in some time,
/// likewise, or of all. The list must not have conditions yet.
#[must_use]
pub fn as_known_at(list: List, at: i64, starts: Option<std::ops::Range<i64>>) -> List {
    let mut values = vec![at.into(), Value::from(first_made_after(at))];
    let from = match starts {
        Some(starts) => {
            values.extend([starts.start.into(), starts.end.into()]);
            from!(
                " AND session_id IN (SELECT id FROM session WHERE starts_at >= $3 AND starts_at < $4 \
                 UNION SELECT session_id FROM session_change WHERE starts_at >= $3 AND starts_at < $4)"
            )
        }
        None => from!(""),
    };
    List { from, values, ..list }
}

/// Those marks of such a list whose session was for one of some groups then.
#[must_use]
pub fn and_of_groups(mut list: List, groups: &[Uuid]) -> List {
    if groups.is_empty() {
        return list.and_in("a.session_id IN ({})", []);
    }
    let now = super::lists::marks(list.values.len() + 1, groups.len());
    list.values.extend(groups.iter().map(|group| Value::from(*group)));
    let first = list.values.len() + 1;
    let then: Vec<String> =
        (first..).zip(groups).map(|(place, _)| format!("s.groups_then LIKE ${place}")).collect();
    list.values.extend(groups.iter().map(|group| Value::from(format!("%{group}%"))));
    list.wheres.push(format!(
        "(s.groups_then IS NULL AND a.session_id IN (SELECT session_id FROM session_group WHERE group_id IN ({now})) OR {})",
        then.join(" OR ")
    ));
    list
}

/// The lowest id that is made after an instant: six bytes of milliseconds lead it (RFC 9562, section 5.7).
fn first_made_after(at: i64) -> Uuid {
    let ms = u128::from(at.saturating_add(1).max(0).unsigned_abs()) & 0xffff_ffff_ffff;
    Uuid::from_u128(ms << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_in_the_millisecond_of_an_instant_is_known_at_it_and_nothing_later() {
        let made = |ms, rest| uuid::Builder::from_unix_timestamp_millis(ms, &rest).into_uuid();
        assert!(made(1_000, [0xff; 10]) < first_made_after(1_000));
        assert!(made(1_001, [0; 10]) >= first_made_after(1_000));
        assert!(first_made_after(-5) <= made(0, [0; 10]));
    }
}
