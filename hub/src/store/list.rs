//! The long lists of the API: where their rows come from and how they are sorted.

use rollcall_rules::policy::Policy;

use super::page::List;

/// The state of a reader `r`, as the API's word.
pub const READER_STATE: &str = "CASE WHEN r.enabled = 0 THEN 'DISABLED' WHEN r.room_id IS NULL THEN 'UNASSIGNED' \
     WHEN r.online = 1 THEN 'ONLINE' ELSE 'OFFLINE' END";

/// The state of the register of a session `s` at `now`, in milliseconds since the epoch, as the API's word.
#[must_use]
pub fn register_state(now: i64) -> String {
    let default = Policy::default().opens_before_ms;
    // In the order of `service::policy::policy_at`.
    let scopes = [
        "p.kind = s.kind AND p.department = s.department",
        "p.kind = s.kind AND p.department IS NULL",
        "p.kind IS NULL AND p.department = s.department",
        "p.kind IS NULL AND p.department IS NULL",
    ];
    let opens_before = scopes.map(|scope| {
        format!(
            "(SELECT p.opens_before_ms FROM policy p WHERE {scope} AND p.from_at <= s.starts_at \
             ORDER BY p.from_at DESC LIMIT 1)"
        )
    });
    format!(
        "CASE WHEN s.register_state <> 'PENDING' THEN s.register_state WHEN s.closes_at < {now} THEN 'SETTLING' \
         WHEN {now} < s.starts_at - COALESCE({}, {default}) THEN 'SCHEDULED' ELSE 'OPEN' END",
        opens_before.join(", ")
    )
}

macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident = $from:literal, $columns:literal by $key:literal, $id:literal; )*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name() -> List {
            List {
                from: concat!("FROM ", $from),
                columns: $columns,
                key: $key,
                id: $id,
                descending: false,
                wheres: Vec::new(),
                values: Vec::new(),
            }
        }
    )*};
}

lists! {
    /// Rooms by code.
    rooms = "room r", "r.id, r.code, r.name, r.building_id, r.capacity" by "r.code", "r.id";
    /// Gateways by code.
    gateways = "gateway g", "g.id, g.code, g.building_id, g.enrolled_at, g.software_version, g.watermark, g.reported_at, g.received_at, g.report, g.exchange, g.exchange_answer" by "g.code", "g.id";
    /// Readers by code.
    readers = "reader r", "r.id, r.code, r.gateway_id, r.room_id, r.kind, r.enabled, r.online, r.light, r.firmware, r.last_seen_at, r.last_swipe_at" by "r.code", "r.id";
    /// Students by number.
    students_by_number = "student s", "s.id, s.number, s.name, s.email, s.state, s.at_door, s.programme" by "s.number", "s.id";
    /// Students by name.
    students_by_name = "student s", "s.id, s.number, s.name, s.email, s.state, s.at_door, s.programme" by "s.name", "s.id";
    /// Cards by code.
    cards = "card c", "c.id, c.code, c.student_id, c.from_at, c.until_at" by "c.code", "c.id";
    /// Courses by code.
    courses = "course c", "c.id, c.code, c.title, c.department" by "c.code", "c.id";
    /// Groups by code.
    groups = "class_group g", "g.id, g.code, g.title, g.course_id, g.kind" by "g.code", "g.id";
    /// Stays in groups, by the student's number.
    memberships = "membership m JOIN student s ON s.id = m.student_id", "m.id, m.group_id, m.student_id, m.from_on, m.until_on, m.from_at, m.until_at, m.reason" by "s.number", "m.id";
    /// Sessions by start.
    sessions = "session s", "s.id, s.external_id, s.kind, s.title, s.course_id, s.starts_at, s.ends_at, s.cancelled, s.moved, s.revision, s.register_id, s.register_state, s.register_revision, s.closes_at, s.final_at, s.department" by "s.starts_at", "s.id";
    /// Swipes by time.
    swipes = "swipe w", "w.id, w.claimed_id, w.gateway_id, w.journal_id, w.sequence, w.reader_id, w.room_id, w.building_id, w.card_key, w.card_bits, w.card_id, w.student_id, w.shown_student_id, w.swiped_at, w.earliest_at, w.latest_at, w.received_at, w.clock_trust, w.decision, w.reason, w.decided_at, w.shown, w.body, w.boot_id, w.since_boot, w.late, w.holder, w.record, w.read_since_boot, w.read_error" by "w.swiped_at", "w.id";
    /// Outages by their beginning.
    outages = "outage o", "o.id, o.gateway_id, o.reader_id, o.cause, o.from_at, o.until_at, o.received_at" by "o.from_at", "o.id";
    /// What happened to readers, by time.
    reader_events = "reader_event e", "e.id, e.gateway_id, e.reader_id, e.kind, e.at, e.earliest_at, e.latest_at, e.detail, e.received_at" by "e.at", "e.id";
    /// What installers saw at doors, by time.
    commissionings = "commissioning m", "m.id, m.gateway_id, m.reader_code, m.installer, m.at, m.passed, m.firmware, m.steps, m.received_at" by "m.at", "m.id";
    /// Imports by when they were asked for.
    import_jobs = "import_job j", "j.id, j.state, j.kind, j.source, j.recipe, j.uploads, j.dry_run, j.accept_removals, j.token_id, j.created_by, j.created_at, j.finished_at, j.holder, j.leased_until, j.attempts, j.report" by "j.created_at", "j.id";
    /// Webhooks by when they were made.
    webhooks = "webhook h", "h.id, h.url, h.events, h.secret, h.enabled, h.created_by, h.created_at, h.failures, h.failing_since, h.not_before" by "h.created_at", "h.id";
    /// What is on its way to webhooks, by when it happened.
    webhook_deliveries = "webhook_delivery v", "v.id, v.webhook_id, v.event, v.payload, v.state, v.created_at, v.attempts, v.tried_at, v.last_status, v.last_error, v.next_at" by "v.created_at", "v.id";
    /// Proposals of corrections by when they were made.
    correction_proposals = "correction_proposal q", "q.id, q.state, q.reason, q.corrections, q.proposed_token, q.proposed_by, q.proposed_at, q.decided_token, q.decided_by, q.decided_at, q.note" by "q.proposed_at", "q.id";
    /// Calendars that are fetched, by source.
    calendar_sources = "calendar_source z", "z.id, z.url, z.source, z.recipe, z.every_ms, z.enabled, z.token_id, z.created_by, z.created_at, z.next_at, z.fetched_at, z.etag, z.last_modified, z.digest, z.import_id, z.failing_since, z.last_error, z.accept_removals" by "z.source", "z.id";
    /// Alerts by time.
    alerts = "alarm l", "l.id, l.at, l.kind, l.gateway_id, l.detail" by "l.at", "l.id";
    /// Marks that were taken back, by when.
    attendance_gone = "attendance_gone x", "x.id, x.session_id, x.student_id, x.status, x.source, x.revision, x.gone_at" by "x.gone_at", "x.id";
    /// Attendance by the student's number.
    attendance_by_number = "attendance a JOIN student st ON st.id = a.student_id JOIN session s ON s.id = a.session_id", "a.id, a.session_id, a.student_id, a.status, a.source, a.arrived_at, a.minutes_late, a.shared_swipe, a.honoured, a.revision, a.updated_at" by "st.number", "a.id";
    /// Attendance by the student's name.
    attendance_by_name = "attendance a JOIN student st ON st.id = a.student_id JOIN session s ON s.id = a.session_id", "a.id, a.session_id, a.student_id, a.status, a.source, a.arrived_at, a.minutes_late, a.shared_swipe, a.honoured, a.revision, a.updated_at" by "st.name", "a.id";
    /// Attendance by the session's start.
    attendance_by_start = "attendance a JOIN student st ON st.id = a.student_id JOIN session s ON s.id = a.session_id", "a.id, a.session_id, a.student_id, a.status, a.source, a.arrived_at, a.minutes_late, a.shared_swipe, a.honoured, a.revision, a.updated_at" by "s.starts_at", "a.id";
    /// Attendance by its last change.
    attendance_by_update = "attendance a JOIN student st ON st.id = a.student_id JOIN session s ON s.id = a.session_id", "a.id, a.session_id, a.student_id, a.status, a.source, a.arrived_at, a.minutes_late, a.shared_swipe, a.honoured, a.revision, a.updated_at" by "a.updated_at", "a.id";
}

/// Attendance by the session's start, found session by session: SQLite takes tables in the order of a CROSS JOIN, where it
/// would read and sort all marks for each page otherwise.
#[must_use]
pub fn attendance_along_sessions() -> List {
    let wheres = vec!["a.session_id = s.id".to_owned()];
    List { from: "FROM session s CROSS JOIN attendance a", wheres, ..attendance_by_start() }
}
