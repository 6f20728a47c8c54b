//! Sessions, swipes, marks, and the policy that they are judged by.

use uuid::Uuid;

use super::{
    AttendanceSource, AttendanceStatus, ClockTrust, Entity, OverlapRule, SessionKind, StoredState,
    SwipeDecision, SwipeReason,
};
use crate::store::{Row, StoreError, Value};

entity! {
    /// A policy from an instant on: the institution's, a department's, or that of one kind of session.
    Policy in "policy" by "from_at" {
        /// Its id.
        id: Uuid,
        /// In force from here.
        from_at: i64,
        /// The kind of session that it is for; all kinds without a policy of their own when left out.
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
        /// The department whose sessions it is for; all without a policy of their own when left out.
        department: Option<String>,
    }
}
entity! {
    /// A session and where its register stands.
    Session in "session" by "external_id" {
        /// Its id.
        id: Uuid,
        /// Its id in the timetabling system.
        external_id: Option<String>,
        /// What it is.
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
        /// Room or time were changed after it was published.
        moved: bool,
        /// Grows with each change.
        revision: i64,
        /// The id of its register.
        register_id: Uuid,
        /// Where its register stands.
        register_state: StoredState,
        /// Grows with each change of the register.
        register_revision: i64,
        /// When its window closes.
        closes_at: i64,
        /// When the register became final.
        final_at: Option<i64>,
        /// The department of its course.
        department: Option<String>,
    }
}
entity! {
    /// Whether one student was at one session.
    Attendance in "attendance" by "id" {
        /// Its id.
        id: Uuid,
        /// The session.
        session_id: Uuid,
        /// The student.
        student_id: Uuid,
        /// The status.
        status: AttendanceStatus,
        /// What set it.
        source: AttendanceSource,
        /// When the student came.
        arrived_at: Option<i64>,
        /// Whole minutes after the start.
        minutes_late: Option<i64>,
        /// The deciding swipe also counted for another session.
        shared_swipe: bool,
        /// Rests on a promise made at the door.
        honoured: bool,
        /// Grows with each change.
        revision: i64,
        /// When it last changed.
        updated_at: i64,
    }
}
entity! {
    /// A swipe as the gateway sent it, and the decision that now holds.
    Swipe in "swipe" by "id" {
        /// Its id at the hub: the gateway's, unless that was taken by another body.
        id: Uuid,
        /// The id that the gateway minted.
        claimed_id: Uuid,
        /// Which gateway.
        gateway_id: Uuid,
        /// Which journal.
        journal_id: Uuid,
        /// Its number in the journal.
        sequence: i64,
        /// Which reader.
        reader_id: Uuid,
        /// The room that the reader hung at when it came in.
        room_id: Option<Uuid>,
        /// The building, under whose key the card was looked up.
        building_id: Uuid,
        /// The card, as a key; none for what is no card.
        card_key: Option<Vec<u8>>,
        /// How many bits it had.
        card_bits: i64,
        /// The card record that the hub takes it for.
        card_id: Option<Uuid>,
        /// The student that the hub takes it for.
        student_id: Option<Uuid>,
        /// The student that the gateway took it for.
        shown_student_id: Option<Uuid>,
        /// The gateway's time of the swipe.
        swiped_at: i64,
        /// Not before.
        earliest_at: i64,
        /// Not after.
        latest_at: i64,
        /// When the hub took it over.
        received_at: i64,
        /// How far the gateway's clock could be believed.
        clock_trust: ClockTrust,
        /// What became of it, by what the hub knows now.
        decision: SwipeDecision,
        /// Why.
        reason: SwipeReason,
        /// When that was decided.
        decided_at: i64,
        /// What was shown at the door, as JSON.
        shown: String,
        /// SHA-256 of the facts that the gateway sent of it.
        body: Vec<u8>,
        /// The start of the gateway's machine that it fell into.
        boot_id: Option<Uuid>,
        /// Milliseconds since that start.
        since_boot: Option<i64>,
        /// The reader handed it in later: `since_boot` is when it came to the gateway.
        late: bool,
        /// The pseudonym of whom the gateway took the card to be.
        holder: Option<Uuid>,
        /// The record as it stands in the gateway's journal, JSON.
        record: Option<String>,
        /// Of one that came late: milliseconds since that start at which the card was read, where the reader's clock says so.
        read_since_boot: Option<i64>,
        /// And how far that may be off, to either side.
        read_error: Option<i64>,
    }
}
entity! {
    /// A mark that was taken back, because no fact supports it any more.
    AttendanceGone in "attendance_gone" by "id" {
        /// The mark's id.
        id: Uuid,
        /// Of which session it was.
        session_id: Uuid,
        /// And of whom.
        student_id: Uuid,
        /// What it said last.
        status: AttendanceStatus,
        /// By what.
        source: AttendanceSource,
        /// Its last revision.
        revision: i64,
        /// When it was taken back.
        gone_at: i64,
    }
}
