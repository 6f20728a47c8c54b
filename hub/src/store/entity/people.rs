//! Students, their cards and their groups.

use uuid::Uuid;

use super::{Entity, MembershipReason, SessionKind, StudentState};
use crate::store::{Row, StoreError, Value};

entity! {
    /// A student.
    Student in "student" by "number" {
        /// Their id.
        id: Uuid,
        /// Their student number.
        number: String,
        /// Their name.
        name: String,
        /// Their address.
        email: Option<String>,
        /// Whether they study.
        state: StudentState,
        /// Whether they are expected at the door (distance learners and placements are not); by what holds last.
        at_door: bool,
        /// What they study for.
        programme: Option<String>,
    }
}
entity! {
    /// One student's card for one stretch of time.
    Card in "card" by "code" {
        /// Its id.
        id: Uuid,
        /// The name that the card office gave it.
        code: String,
        /// Whose it is.
        student_id: Uuid,
        /// Valid from here.
        from_at: i64,
        /// Valid until here, excluded.
        until_at: Option<i64>,
    }
}
entity! {
    /// A course.
    Course in "course" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Its title.
        title: String,
        /// The department that teaches it.
        department: Option<String>,
    }
}
entity! {
    /// A group.
    Group in "class_group" by "code" {
        /// Its id.
        id: Uuid,
        /// Its code.
        code: String,
        /// Its title.
        title: Option<String>,
        /// Its course.
        course_id: Uuid,
        /// What its sessions are.
        kind: SessionKind,
    }
}
entity! {
    /// A stay in a group.
    Membership in "membership" by "id" {
        /// Its id.
        id: Uuid,
        /// The group.
        group_id: Uuid,
        /// The student.
        student_id: Uuid,
        /// The first day.
        from_on: String,
        /// The last day.
        until_on: Option<String>,
        /// Local midnight of the first day.
        from_at: i64,
        /// Local midnight after the last day.
        until_at: Option<i64>,
        /// Why.
        reason: MembershipReason,
    }
}
entity! {
    /// From when on a student is expected at doors, or is not.
    DoorExpectation in "door_expectation" by "id" {
        /// Its id.
        id: Uuid,
        /// The student.
        student_id: Uuid,
        /// Of sessions that start from here on, up to the next.
        from_at: i64,
        /// Whether they are.
        expected: bool,
    }
}
