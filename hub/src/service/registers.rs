//! Registers: derived anew, in the same transaction, for every session that a change touches.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_rules::ids::{HolderId, SwipeId};
use rollcall_rules::register::{self, Credit, Entry, Facts, ManualMark, Source, State, Status};
use rollcall_rules::session::Session as RulesSession;
use rollcall_rules::time::{Instant, Span};
use uuid::Uuid;

use super::doors::Doors;
use super::expectations::Elsewhere;
use super::webhooks::{self, Changed};
use super::{Caller, Hub, News, Touched, timetable};
use crate::store::entity::{
    Attendance, AttendanceSource, AttendanceStatus, Membership, RegisterChange, Session, StoredState,
};
use crate::store::register::{AttendanceChange, CreditFact};
use crate::store::{StoreError, Tx, Value};

/// How many sessions are derived in one go, so that a whole term fits into memory piece by piece.
const SESSIONS_AT_ONCE: usize = 400;

/// Derives the registers of sessions anew and writes what changed, with its history.
///
/// # Errors
/// When the store fails.
pub async fn derive(
    hub: &Hub,
    tx: &mut Tx,
    touched: &Touched,
    caller: Option<&Caller>,
    news: &mut Vec<News>,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = touched.sessions.iter().copied().collect();
    let listeners = if ids.is_empty() { Vec::new() } else { webhooks::listeners(tx).await? };
    // One instant for all: who asks later what was known in between is answered by all of it or by nothing.
    let now = hub.now();
    for chunk in ids.chunks(SESSIONS_AT_ONCE) {
        let tell = !listeners.is_empty();
        let changed = derive_some(hub, tx, chunk, now, touched, caller, news, tell).await?;
        if !listeners.is_empty() {
            webhooks::registers_changed(hub, tx, &listeners, &changed, news).await?;
        }
    }
    Ok(())
}

/// The latest instants up to which every gateway with a reader at a session's doors has handed over all swipes: session
/// and instant. Sessions of which one of them never has, or that have no reader, are left out.
///
/// # Errors
/// When the store fails.
pub async fn watermarks(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<(Uuid, Instant)>, StoreError> {
    let stored = tx.by_ids::<Session>(ids.iter().copied()).await?;
    let rules = timetable::as_rules(tx, &stored).await?;
    let rooms: BTreeSet<Uuid> =
        rules.iter().flat_map(|session| &session.rooms).map(|held| held.room.0).collect();
    let rooms: Vec<Uuid> = rooms.into_iter().collect();
    let doors = Doors::load(tx, &rooms, &rules).await?;
    let mark = |session: &RulesSession| Some((session.id.0, doors.evidence(session).watermark?));
    Ok(rules.iter().filter_map(mark).collect())
}

async fn derive_some(
    hub: &Hub,
    tx: &mut Tx,
    ids: &[Uuid],
    now: Instant,
    touched: &Touched,
    caller: Option<&Caller>,
    news: &mut Vec<News>,
    tell: bool,
) -> Result<Vec<Changed>, StoreError> {
    let known = Known::load(tx, ids, &touched.came).await?;
    let marked = &touched.marked;
    let mut writes = Writes::default();
    let mut all_changed = Vec::new();
    for (stored, session) in &known.sessions {
        let register = known.register(session, now);
        let before = known.marks.get(&stored.id).map_or(&[][..], Vec::as_slice);
        let (first, first_gone) = (writes.marks.len(), writes.gone.len());
        let changes = writes.changes.len() + first_gone;
        let marks = writes.compare(hub, stored, before, &register.entries, marked, caller, &known, now);
        let state = match register.state {
            State::Cancelled => StoredState::Cancelled,
            State::Final => StoredState::Final,
            State::NoRegister => StoredState::NoRegister,
            State::Scheduled | State::Open | State::Settling => StoredState::Pending,
        };
        if !marks.is_empty() || state != stored.register_state {
            let final_at = match state {
                StoredState::Final => stored.final_at.or(Some(now.0)),
                _ => None,
            };
            let session = Session {
                register_state: state,
                register_revision: stored.register_revision + 1,
                final_at,
                ..stored.clone()
            };
            if state != stored.register_state {
                writes.stood.push(RegisterChange {
                    id: hub.mint(),
                    session_id: stored.id,
                    at: now.0,
                    state: stored.register_state,
                    final_at: stored.final_at,
                });
            }
            if tell {
                let gone = &writes.gone[first_gone..];
                all_changed.push(Changed {
                    session: session.clone(),
                    finalised: state == StoredState::Final && stored.register_state != state,
                    marks: writes.marks[first..].to_vec(),
                    left: before
                        .iter()
                        .filter(|mark| gone.contains(&mark.id))
                        .map(|mark| mark.student_id)
                        .collect(),
                });
            }
            writes.sessions.push(session);
            let marks_changed = writes.changes.len() + writes.gone.len() - changes;
            news.push(News::Register { session: stored.id, marks_changed });
        }
    }
    tx.put(&writes.marks).await?;
    tx.drop_attendance(&writes.gone, now.0).await?;
    tx.insert_changes(&writes.changes).await?;
    tx.put(&writes.sessions).await?;
    tx.put(&writes.stood).await?;
    Ok(all_changed)
}

/// Everything that some registers are derived from.
struct Known {
    sessions: Vec<(Session, RulesSession)>,
    stays: BTreeMap<Uuid, BTreeMap<HolderId, Vec<Span>>>,
    credits: BTreeMap<Uuid, Vec<CreditFact>>,
    manual: BTreeMap<Uuid, BTreeMap<HolderId, ManualMark>>,
    decided: BTreeMap<(Uuid, Uuid), (String, Option<Uuid>)>,
    marks: BTreeMap<Uuid, Vec<Attendance>>,
    /// The last revision of marks that there were once, by session and student.
    taken_back: BTreeMap<(Uuid, Uuid), i64>,
    doors: Doors,
    elsewhere: Elsewhere,
}

impl Known {
    async fn load(
        tx: &mut Tx,
        ids: &[Uuid],
        came: &BTreeMap<Uuid, Vec<CreditFact>>,
    ) -> Result<Self, StoreError> {
        let stored = tx.by_ids::<Session>(ids.iter().copied()).await?;
        let rules = timetable::as_rules(tx, &stored).await?;
        let group_ids: BTreeSet<Uuid> =
            rules.iter().flat_map(|session| &session.groups).map(|group| group.0).collect();
        let mut by_group: BTreeMap<Uuid, Vec<Membership>> = BTreeMap::new();
        for stay in tx.by_column::<Membership>("group_id", group_ids.into_iter().map(Value::from)).await? {
            by_group.entry(stay.group_id).or_default().push(stay);
        }
        let mut stays: BTreeMap<Uuid, BTreeMap<HolderId, Vec<Span>>> = BTreeMap::new();
        for session in &rules {
            let list = stays.entry(session.id.0).or_default();
            for stay in session.groups.iter().filter_map(|group| by_group.get(&group.0)).flatten() {
                let span = Span { from: Some(Instant(stay.from_at)), until: stay.until_at.map(Instant) };
                list.entry(HolderId(stay.student_id)).or_default().push(span);
            }
        }
        let mut credits: BTreeMap<Uuid, Vec<CreditFact>> = BTreeMap::new();
        for fact in credit_facts(tx, ids, came, &stored).await? {
            credits.entry(fact.session_id).or_default().push(fact);
        }
        let mut manual: BTreeMap<Uuid, BTreeMap<HolderId, ManualMark>> = BTreeMap::new();
        let mut decided = BTreeMap::new();
        for fact in tx.manual_facts(ids).await? {
            let mark =
                ManualMark { status: status_rule(fact.status), arrived_at: fact.arrived_at.map(Instant) };
            manual.entry(fact.session_id).or_default().insert(HolderId(fact.student_id), mark);
            decided.insert((fact.session_id, fact.student_id), (fact.reason, fact.decided_by));
        }
        let mut marks: BTreeMap<Uuid, Vec<Attendance>> = BTreeMap::new();
        for mark in tx.attendance_of(ids).await? {
            marks.entry(mark.session_id).or_default().push(mark);
        }
        let taken_back = tx.revisions_gone(ids).await?;
        let rooms: BTreeSet<Uuid> =
            rules.iter().flat_map(|session| &session.rooms).map(|held| held.room.0).collect();
        let rooms: Vec<Uuid> = rooms.into_iter().collect();
        let doors = Doors::load(tx, &rooms, &rules).await?;
        let elsewhere = Elsewhere::load(tx).await?;
        let rules: BTreeMap<Uuid, RulesSession> =
            rules.into_iter().map(|session| (session.id.0, session)).collect();
        let sessions = stored
            .into_iter()
            .filter_map(|session| rules.get(&session.id).cloned().map(|rule| (session, rule)))
            .collect();
        Ok(Self { sessions, stays, credits, manual, decided, marks, taken_back, doors, elsewhere })
    }

    fn register(&self, session: &RulesSession, now: Instant) -> register::Register {
        let (no_stays, no_marks) = (BTreeMap::new(), BTreeMap::new());
        let nobody = BTreeSet::new();
        let mut credits = Vec::new();
        let opens = session.window().opens.0;
        for fact in self.credits.get(&session.id.0).into_iter().flatten() {
            credits.push(Credit {
                student: HolderId(fact.student_id),
                swipe: SwipeId(fact.swipe_id),
                // Of an uncertain time the first instant that counts, in the student's favour.
                at: Instant(if fact.earliest_at == fact.latest_at {
                    fact.swiped_at
                } else {
                    opens.clamp(fact.earliest_at, fact.latest_at)
                }),
                shown_green: fact.shown_green,
                honoured: fact.honoured,
                shared: fact.shared,
            });
        }
        register::derive(&Facts {
            session,
            stays: self.stays.get(&session.id.0).unwrap_or(&no_stays),
            credits: &credits,
            manual: self.manual.get(&session.id.0).unwrap_or(&no_marks),
            excused: &nobody,
            not_expected: &self.elsewhere.at(session.starts_at),
            wronged: &nobody,
            evidence: self.doors.evidence(session),
            now,
        })
    }
}

/// The credits for some sessions, which are `stored`. Those of swipes that `came` just now need not be read again.
async fn credit_facts(
    tx: &mut Tx,
    ids: &[Uuid],
    came: &BTreeMap<Uuid, Vec<CreditFact>>,
    stored: &[Session],
) -> Result<Vec<CreditFact>, StoreError> {
    if came.is_empty() {
        return tx.credit_facts(ids).await;
    }
    let wanted: BTreeSet<Uuid> = ids.iter().copied().collect();
    let mut take_place: BTreeMap<Uuid, bool> =
        stored.iter().map(|session| (session.id, !session.cancelled)).collect();
    let all = came.values().filter(|facts| facts.iter().any(|fact| wanted.contains(&fact.session_id)));
    let elsewhere: BTreeSet<Uuid> =
        all.flatten().map(|fact| fact.session_id).filter(|id| !take_place.contains_key(id)).collect();
    for session in tx.by_ids::<Session>(elsewhere).await? {
        take_place.insert(session.id, !session.cancelled);
    }
    let mut facts = tx.credit_facts_but(ids, came).await?;
    for of_swipe in came.values() {
        for fact in of_swipe.iter().filter(|fact| wanted.contains(&fact.session_id)) {
            let shares = |other: &CreditFact| {
                other.student_id == fact.student_id
                    && other.session_id != fact.session_id
                    && take_place.get(&other.session_id) == Some(&true)
            };
            facts.push(CreditFact { shared: of_swipe.iter().any(shares), ..fact.clone() });
        }
    }
    Ok(facts)
}

/// What must be written.
#[derive(Default)]
struct Writes {
    marks: Vec<Attendance>,
    gone: Vec<Uuid>,
    changes: Vec<AttendanceChange>,
    sessions: Vec<Session>,
    stood: Vec<RegisterChange>,
}

impl Writes {
    /// Compares a register with what is stored of it; gives the marks that change.
    fn compare(
        &mut self,
        hub: &Hub,
        session: &Session,
        before: &[Attendance],
        entries: &BTreeMap<HolderId, Entry>,
        marked: &BTreeMap<(Uuid, Uuid), String>,
        caller: Option<&Caller>,
        known: &Known,
        now: Instant,
    ) -> Vec<Uuid> {
        let old: BTreeMap<Uuid, &Attendance> = before.iter().map(|mark| (mark.student_id, mark)).collect();
        let mut changed = Vec::new();
        for (student, entry) in entries {
            let was = old.get(&student.0);
            let key = (session.id, student.0);
            let mark = Attendance {
                id: was.map_or_else(|| hub.mint(), |was| was.id),
                session_id: session.id,
                student_id: student.0,
                status: status_word(entry.status),
                source: source_word(entry.source),
                arrived_at: entry.arrived_at.map(|at| at.0),
                minutes_late: entry.minutes_late,
                shared_swipe: entry.shared_swipe,
                honoured: entry.honoured,
                // One that comes back goes on where it was: of two revisions the higher is the later.
                revision: was.map_or_else(
                    || known.taken_back.get(&key).map_or(1, |revision| revision + 1),
                    |was| was.revision,
                ),
                updated_at: was.map_or(now.0, |was| was.updated_at),
            };
            match was {
                // The same decision taken again is one more line of history: it has its own reason.
                Some(was) if **was == mark && !marked.contains_key(&key) => continue,
                Some(was) => {
                    let revision = was.revision + 1;
                    let decided = known.decided.get(&key).filter(|_| mark.source == AttendanceSource::Manual);
                    let just_now = caller.filter(|_| marked.contains_key(&key)).map(|caller| caller.token_id);
                    self.changes.push(AttendanceChange {
                        attendance_id: mark.id,
                        revision,
                        at: now.0,
                        by_token: just_now.or_else(|| decided.and_then(|(_, by)| *by)),
                        before: Some((*was).clone()),
                        from: Some(was.status),
                        to: mark.status,
                        source: mark.source,
                        reason: marked.get(&key).or(decided.map(|(reason, _)| reason)).cloned(),
                    });
                    changed.push(mark.id);
                    self.marks.push(Attendance { revision, updated_at: now.0, ..mark });
                }
                None => {
                    changed.push(mark.id);
                    self.marks.push(mark);
                }
            }
        }
        for mark in before {
            if !entries.contains_key(&HolderId(mark.student_id)) {
                self.gone.push(mark.id);
                changed.push(mark.id);
            }
        }
        changed
    }
}

fn status_word(status: Status) -> AttendanceStatus {
    match status {
        Status::Expected => AttendanceStatus::Expected,
        Status::Present => AttendanceStatus::Present,
        Status::Absent => AttendanceStatus::Absent,
        Status::AuthorisedAbsence => AttendanceStatus::AuthorisedAbsence,
        Status::NotRequired => AttendanceStatus::NotRequired,
        Status::NoRegister => AttendanceStatus::NoRegister,
        Status::Cancelled => AttendanceStatus::Cancelled,
    }
}

fn status_rule(status: AttendanceStatus) -> Status {
    match status {
        AttendanceStatus::Expected => Status::Expected,
        AttendanceStatus::Present => Status::Present,
        AttendanceStatus::Absent => Status::Absent,
        AttendanceStatus::AuthorisedAbsence => Status::AuthorisedAbsence,
        AttendanceStatus::NotRequired => Status::NotRequired,
        AttendanceStatus::NoRegister => Status::NoRegister,
        AttendanceStatus::Cancelled => Status::Cancelled,
    }
}

fn source_word(source: Source) -> AttendanceSource {
    match source {
        Source::Reader => AttendanceSource::Reader,
        Source::Reconciled => AttendanceSource::Reconciled,
        Source::Manual => AttendanceSource::Manual,
        Source::Absence => AttendanceSource::Absence,
        Source::Rule => AttendanceSource::Rule,
    }
}
