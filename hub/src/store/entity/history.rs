//! Sessions, registers, stays in groups and cards as they were before each change; policies as they were saved.

use uuid::Uuid;

use super::{Entity, MembershipReason, OverlapRule, SessionKind, StoredState};
use crate::store::{Row, StoreError, Value};

entity! {
    /// A session as it was until a change.
    SessionChange in "session_change" by "id" {
        /// The change's id; grows with time.
        id: Uuid,
        /// The session.
        session_id: Uuid,
        /// When it changed.
        at: i64,
        /// The token of whoever changed it; none where an import on the command line did, or the hub by itself.
        by_token: Option<Uuid>,
        /// The source whose import changed it.
        source: Option<String>,
        /// The revision that it had.
        revision: i64,
        /// What it was.
        kind: SessionKind,
        /// Its title.
        title: String,
        /// Its course.
        course_id: Option<Uuid>,
        /// Its start.
        starts_at: i64,
        /// Its end.
        ends_at: i64,
        /// Called off.
        cancelled: bool,
        /// Its rooms, those left out that it had left before: ids with spaces between.
        room_ids: String,
        /// Its groups: ids with spaces between.
        group_ids: String,
    }
}
entity! {
    /// A stay in a group as it was until it changed, or was taken back.
    MembershipChange in "membership_change" by "id" {
        /// The change's id; grows with time.
        id: Uuid,
        /// The stay.
        membership_id: Uuid,
        /// The group.
        group_id: Uuid,
        /// The student.
        student_id: Uuid,
        /// When it changed.
        at: i64,
        /// As for a session.
        by_token: Option<Uuid>,
        /// As for a session.
        source: Option<String>,
        /// Taken back then: it should never have been.
        removed: bool,
        /// Its first day.
        from_on: String,
        /// Its last day.
        until_on: Option<String>,
        /// From when it held.
        from_at: i64,
        /// Until when, excluded.
        until_at: Option<i64>,
        /// Why.
        reason: MembershipReason,
    }
}
entity! {
    /// A card as it was until a change.
    CardChange in "card_change" by "id" {
        /// The change's id; grows with time.
        id: Uuid,
        /// The card.
        card_id: Uuid,
        /// Whose it is.
        student_id: Uuid,
        /// When it changed.
        at: i64,
        /// As for a session.
        by_token: Option<Uuid>,
        /// As for a session.
        source: Option<String>,
        /// Valid from here.
        from_at: i64,
        /// Valid until here, excluded.
        until_at: Option<i64>,
        /// The end of the number by which it was known.
        number_tail: String,
    }
}
entity! {
    /// A policy as somebody saved it, or as it was when somebody withdrew it.
    PolicyEdit in "policy_edit" by "id" {
        /// The edit's id; grows with time.
        id: Uuid,
        /// When.
        at: i64,
        /// The token of whoever it was.
        by_token: Option<Uuid>,
        /// Withdrawn then, and not saved.
        withdrawn: bool,
        /// In force from here.
        from_at: i64,
        /// As for a policy.
        kind: Option<SessionKind>,
        /// How long before the start the window opens.
        opens_before_ms: i64,
        /// How long after the end it closes.
        closes_after_ms: i64,
        /// Which sessions a swipe is credited to.
        overlap: OverlapRule,
        /// How much outage is borne.
        outage_tolerance_ms: i64,
        /// How long a silent gateway is waited for.
        settle_limit_ms: i64,
        /// As for a policy.
        department: Option<String>,
    }
}
entity! {
    /// Where a register stood until a change of that.
    RegisterChange in "register_change" by "id" {
        /// The change's id; grows with time.
        id: Uuid,
        /// The session.
        session_id: Uuid,
        /// When it changed.
        at: i64,
        /// Where it stood.
        state: StoredState,
        /// When it had become final.
        final_at: Option<i64>,
    }
}
