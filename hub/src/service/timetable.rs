//! Courses, groups and sessions; and how stored sessions become the
//! rules' sessions.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::InputObject;
use async_trait::async_trait;
use rollcall_rules::ids::{GroupId, RoomId, SessionId};
use rollcall_rules::session::{HeldIn, Session as RulesSession};
use rollcall_rules::time::{Instant, Span};
use uuid::Uuid;

use super::bulk::{Put, Save, Tally, Unsaid};
use super::estate::{find, present};
use super::policy::{Scope, judge_sessions_anew, policy_at, policy_for};
use super::refusal::{Check, Code};
use super::{Hub, Touched};
use crate::scalar::DateTime;
use crate::store::entity::{Course, Group, Policy as StoredPolicy, Room, Session, SessionKind, StoredState};
use crate::store::timetable::{LONGEST_OPENING_MS, SessionRoom};
use crate::store::{StoreError, Tx};

mod rooms;
pub(in crate::service) use rooms::rooms_now;
use rooms::{leave_at, moved_within, room_timeline, stays_put};

/// A course, by its code: new, or written over.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "CourseInput")]
pub struct SaveCourse {
    /// Short code, unique.
    pub code: String,
    /// Title.
    pub title: String,
    /// The department that teaches it, by whatever short code it has: policies may be a department's.
    pub department: Option<String>,
    /// What a file does not say of a course that is there already stays as it is.
    #[graphql(skip)]
    pub unsaid: Unsaid,
}

/// A group, by its code: new, or written over.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "GroupInput")]
pub struct SaveGroup {
    /// Short code, unique.
    pub code: String,
    /// Title.
    pub title: Option<String>,
    /// Code of its course.
    pub course: String,
    /// What its sessions are.
    #[graphql(default_with = "SessionKind::Lecture")]
    pub kind: SessionKind,
    /// What a file does not say of a group that is there already stays as it is.
    #[graphql(skip)]
    pub unsaid: Unsaid,
}

/// A session, by its external id: new, or written over. Rooms that change once its window has opened hold it
/// from then on; swipes at the old door before keep counting.
#[derive(Debug, Clone, InputObject)]
#[graphql(name = "SessionInput")]
pub struct SaveSession {
    /// The id in the timetabling system, unique.
    pub external_id: String,
    /// Title.
    pub title: String,
    /// What it is.
    #[graphql(default_with = "SessionKind::Lecture")]
    pub kind: SessionKind,
    /// Code of its course.
    pub course: Option<String>,
    /// Start.
    pub starts_at: DateTime,
    /// End, after the start and within 24 hours of it.
    pub ends_at: DateTime,
    /// Codes of its rooms; none when it needs none.
    pub rooms: Vec<String>,
    /// Codes of its groups; none when it has no class list.
    pub groups: Vec<String>,
    /// Whether it is called off.
    #[graphql(default)]
    pub cancelled: bool,
    /// Until when rooms that it leaves go on taking its swipes, beside those that it moves to, which take them from now on.
    /// Left out, a change of the day is one from this instant on, and one before the window opens is one of the whole session.
    pub old_rooms_until: Option<DateTime>,
    /// What a file does not say of a session that is there already stays as it is.
    #[graphql(skip)]
    pub unsaid: Unsaid,
    /// The fields (`groups`, `rooms`) of which the file knows its own share, and others may know more.
    #[graphql(skip)]
    pub shares: Vec<&'static str>,
}

#[async_trait]
impl Save for SaveCourse {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("courses", "code", inputs.iter().map(|input| input.code.as_str()));
        for (index, input) in inputs.iter().enumerate() {
            check.code(&format!("courses.{index}.code"), &input.code);
            check.code(&format!("courses.{index}.title"), &input.title);
            if let Some(department) = &input.department {
                check.code(&format!("courses.{index}.department"), department);
            }
        }
        let old =
            present::<Course>(tx, inputs.iter().map(|input| input.code.as_str()), |it| &it.code).await?;
        if check.found_any() {
            return Ok(Put::default());
        }
        let courses: Vec<Course> = inputs
            .iter()
            .map(|input| {
                let known = old.get(&input.code);
                let kept = input.unsaid.keeps("department", known);
                Course {
                    id: known.map_or_else(|| hub.mint(), |course| course.id),
                    code: input.code.clone(),
                    title: input
                        .unsaid
                        .keeps("title", known)
                        .map_or_else(|| input.title.clone(), |it| it.title.clone()),
                    department: kept.map_or_else(|| input.department.clone(), |it| it.department.clone()),
                }
            })
            .collect();
        let tally = Tally::of(courses.iter().map(|it| (old.get(&it.code), it)));
        tx.put(&courses).await?;
        let elsewhere = |it: &&Course| old.get(&it.code).is_some_and(|was| was.department != it.department);
        let moved: BTreeMap<Uuid, Option<String>> =
            courses.iter().filter(elsewhere).map(|it| (it.id, it.department.clone())).collect();
        let touched = move_to_departments(tx, &moved).await?;
        Ok(Put { ids: courses.into_iter().map(|course| course.id).collect(), touched, tally })
    }
}

/// Has the sessions of courses go by the policies of their new departments.
async fn move_to_departments(
    tx: &mut Tx,
    moved: &BTreeMap<Uuid, Option<String>>,
) -> Result<Touched, StoreError> {
    let policies = tx.all::<StoredPolicy>().await?;
    let (mut same, mut others) = (Vec::new(), Vec::new());
    for was in tx.by_column::<Session>("course_id", moved.keys().map(|id| (*id).into())).await? {
        let department = was.course_id.and_then(|id| moved.get(&id).cloned()).flatten();
        let now = Session { department, ..was.clone() };
        let judged_alike = policy_for(&policies, &was) == policy_for(&policies, &now);
        if judged_alike { same.push(now) } else { others.push(now) }
    }
    tx.put(&same).await?;
    let starts = || others.iter().map(|session| session.starts_at);
    let (Some(first), Some(last)) = (starts().min(), starts().max()) else { return Ok(Touched::default()) };
    let mut touched = judge_sessions_anew(tx, &policies, others, first..last + 1).await?;
    touched.feed_sessions.clone_from(&touched.sessions);
    Ok(touched)
}

#[async_trait]
impl Save for SaveGroup {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("groups", "code", inputs.iter().map(|input| input.code.as_str()));
        let wanted = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| (format!("groups.{index}.course"), input.course.as_str()));
        let courses = find::<Course>(tx, check, "course", wanted, |it| &it.code).await?;
        let old = present::<Group>(tx, inputs.iter().map(|input| input.code.as_str()), |it| &it.code).await?;
        let mut groups = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            check.code(&format!("groups.{index}.code"), &input.code);
            let Some(course) = courses.get(&input.course) else { continue };
            let kept = |field: &str| input.unsaid.keeps(field, old.get(&input.code));
            groups.push(Group {
                id: old.get(&input.code).map_or_else(|| hub.mint(), |group| group.id),
                code: input.code.clone(),
                title: kept("title").map_or_else(|| input.title.clone(), |group| group.title.clone()),
                course_id: course.id,
                kind: kept("kind").map_or(input.kind, |group| group.kind),
            });
        }
        if check.found_any() {
            return Ok(Put::default());
        }
        let tally = Tally::of(groups.iter().map(|it| (old.get(&it.code), it)));
        tx.put(&groups).await?;
        Ok(Put {
            ids: groups.into_iter().map(|group| group.id).collect(),
            touched: Touched::default(),
            tally,
        })
    }
}

#[async_trait]
impl Save for SaveSession {
    async fn put(hub: &Hub, tx: &mut Tx, check: &mut Check, inputs: &[Self]) -> Result<Put, StoreError> {
        check.distinct("sessions", "externalId", inputs.iter().map(|input| input.external_id.as_str()));
        let wanted = inputs.iter().enumerate().filter_map(|(index, input)| {
            input.course.as_deref().map(|course| (format!("sessions.{index}.course"), course))
        });
        let courses = find::<Course>(tx, check, "course", wanted, |it| &it.code).await?;
        let wanted = inputs.iter().enumerate().flat_map(|(index, input)| {
            let rooms = input.rooms.iter().enumerate();
            rooms.map(move |(at, code)| (format!("sessions.{index}.rooms.{at}"), code.as_str()))
        });
        let rooms = find::<Room>(tx, check, "room", wanted, |it| &it.code).await?;
        let wanted = inputs.iter().enumerate().flat_map(|(index, input)| {
            let groups = input.groups.iter().enumerate();
            groups.map(move |(at, code)| (format!("sessions.{index}.groups.{at}"), code.as_str()))
        });
        let groups = find::<Group>(tx, check, "group", wanted, |it| &it.code).await?;
        for (index, input) in inputs.iter().enumerate() {
            check.code(&format!("sessions.{index}.externalId"), &input.external_id);
            check.code(&format!("sessions.{index}.title"), &input.title);
            let length = input.ends_at.ms() - input.starts_at.ms();
            if length <= 0 || length > LONGEST_OPENING_MS {
                let message = "must come after the start, and within 24 hours of it";
                check.refuse(Code::Invalid, &format!("sessions.{index}.endsAt"), message);
            }
            if input.old_rooms_until.as_ref().is_some_and(|until| until.ms() >= input.ends_at.ms()) {
                let message = "must come before the session's end; name both rooms where it is in both";
                check.refuse(Code::Invalid, &format!("sessions.{index}.oldRoomsUntil"), message);
            }
        }
        if check.found_any() {
            return Ok(Put::default());
        }
        let old: BTreeMap<String, Session> = tx
            .by_keys::<Session>(inputs.iter().map(|input| input.external_id.as_str()))
            .await?
            .into_iter()
            .filter_map(|session| session.external_id.clone().map(|id| (id, session)))
            .collect();
        let old_ids: Vec<Uuid> = old.values().map(|session| session.id).collect();
        let mut old_rooms: BTreeMap<Uuid, Vec<SessionRoom>> = BTreeMap::new();
        for room in tx.session_rooms(&old_ids).await? {
            old_rooms.entry(room.session_id).or_default().push(room);
        }
        let mut old_groups: BTreeMap<Uuid, BTreeSet<Uuid>> = BTreeMap::new();
        for (session, group) in tx.session_groups(&old_ids).await? {
            old_groups.entry(session).or_default().insert(group);
        }
        let no_groups = BTreeSet::new();
        let policies = tx.all::<StoredPolicy>().await?;
        let now = hub.now();
        let mut saved = Saved::default();
        for input in inputs {
            let known = old.get(&input.external_id);
            let kept = |field: &str| input.unsaid.keeps(field, known);
            let room_ids: Vec<Uuid> = match kept("rooms").and_then(|session| old_rooms.get(&session.id)) {
                Some(held) => rooms_now(held).collect(),
                None if kept("rooms").is_some() => Vec::new(),
                None => input.rooms.iter().filter_map(|code| rooms.get(code)).map(|room| room.id).collect(),
            };
            let group_ids: BTreeSet<Uuid> = match kept("groups") {
                Some(session) => old_groups.get(&session.id).cloned().unwrap_or_default(),
                None => {
                    input.groups.iter().filter_map(|code| groups.get(code)).map(|group| group.id).collect()
                }
            };
            let of_course = match kept("course") {
                Some(session) => OfCourse { id: session.course_id, department: session.department.clone() },
                None => {
                    let course = input.course.as_ref().and_then(|code| courses.get(code));
                    let department = course.and_then(|course| course.department.clone());
                    OfCourse { id: course.map(|course| course.id), department }
                }
            };
            let before = known.map(|session| {
                let rooms = old_rooms.get(&session.id).map_or(&[][..], Vec::as_slice);
                (session, rooms, old_groups.get(&session.id).unwrap_or(&no_groups))
            });
            saved.add(hub, input, of_course, &room_ids, &group_ids, before, &policies, now);
        }
        tx.put(&saved.sessions).await?;
        let ids: Vec<Uuid> = saved.sessions.iter().map(|session| session.id).collect();
        tx.replace_session_rooms(&ids, &saved.rooms).await?;
        tx.replace_session_groups(&ids, &saved.groups).await?;
        let (mut touched, tally) = (saved.touched, saved.tally);
        if tx.any_swipe().await? {
            for (room, first, last) in saved.doors {
                touched.swipes.extend(tx.swipes_in_room(room, first, last).await?);
            }
            touched.sessions.extend(tx.sessions_sharing(&ids).await?);
        }
        Ok(Put { ids, touched, tally })
    }
}

/// What a session has of its course.
struct OfCourse {
    id: Option<Uuid>,
    department: Option<String>,
}

/// What a bulk of sessions comes to.
#[derive(Default)]
struct Saved {
    sessions: Vec<Session>,
    rooms: Vec<SessionRoom>,
    groups: Vec<(Uuid, Uuid)>,
    touched: Touched,
    tally: Tally,
    /// Rooms and times at which a swipe may now count otherwise.
    doors: Vec<(Uuid, i64, i64)>,
}

impl Saved {
    fn add(
        &mut self,
        hub: &Hub,
        input: &SaveSession,
        course: OfCourse,
        room_ids: &[Uuid],
        group_ids: &BTreeSet<Uuid>,
        before: Option<(&Session, &[SessionRoom], &BTreeSet<Uuid>)>,
        policies: &[StoredPolicy],
        now: Instant,
    ) {
        let id = before.map_or_else(|| hub.mint(), |(session, ..)| session.id);
        let stored = before.map(|(session, ..)| session);
        let (starts_at, ends_at) = input
            .unsaid
            .keeps("times", stored)
            .map_or((input.starts_at.ms(), input.ends_at.ms()), |it| (it.starts_at, it.ends_at));
        let kind = input.unsaid.keeps("kind", stored).map_or(input.kind, |session| session.kind);
        let department = course.department;
        let scope = Scope { department: department.as_deref(), kind: Some(kind) };
        let window = policy_at(policies, scope, starts_at).window(Instant(starts_at), Instant(ends_at));
        let cut_over = input.old_rooms_until.as_ref().map(|until| Instant(until.ms()));
        let rooms = match before {
            // Said to be where and when it is now, it also was, and will be, where it was said to be before, as on the day of a move;
            // and at another time too, where that is not said of its rooms, is being carried out, or lies within that time.
            Some((session, rooms, _))
                if stays_put(rooms, room_ids, window.closes)
                    && ((session.starts_at, session.ends_at) == (starts_at, ends_at)
                        || input.unsaid.keeps("rooms", stored).is_some()
                        || is_open(session, policies, now)
                        || moved_within(rooms, window)
                        || rooms.iter().any(|room| room.until_at.is_some_and(|until| until > now.0))) =>
            {
                cut_over.map_or_else(|| rooms.to_vec(), |until| leave_at(rooms, until, now, window.opens))
            }
            Some((session, rooms, _)) => {
                // A change of the day holds from now on; one that comes after it says where it was all the time.
                room_timeline(id, rooms, room_ids, is_open(session, policies, now).then_some(now), cut_over)
            }
            None => room_timeline(id, &[], room_ids, None, None),
        };
        let moved = before.is_some_and(|(session, old, _)| {
            session.moved || session.starts_at != starts_at || session.ends_at != ends_at || old != rooms
        });
        let mut session = Session {
            id,
            external_id: Some(input.external_id.clone()),
            kind,
            title: input
                .unsaid
                .keeps("title", stored)
                .map_or_else(|| input.title.clone(), |it| it.title.clone()),
            course_id: course.id,
            starts_at,
            ends_at,
            cancelled: input.unsaid.keeps("cancelled", stored).map_or(input.cancelled, |it| it.cancelled),
            moved,
            revision: before.map_or(0, |(session, ..)| session.revision),
            register_id: before.map_or_else(|| hub.mint(), |(session, ..)| session.register_id),
            register_state: before.map_or(StoredState::Pending, |(session, ..)| session.register_state),
            register_revision: before.map_or(0, |(session, ..)| session.register_revision),
            closes_at: window.closes.0,
            final_at: before.and_then(|(session, ..)| session.final_at),
            department,
        };
        // What a nightly import sends again as it was touches nothing.
        let same = before.map(|(was, held, list)| *was == session && held == rooms && list == group_ids);
        self.tally.count(same);
        if same != Some(true) {
            session.revision += 1;
            if let Some((was, rooms, groups)) = before {
                self.touched.was.session(was, rooms, groups);
            }
            for room in before.into_iter().flat_map(|(_, rooms, _)| rooms).chain(&rooms) {
                self.doors.push((room.room_id, window.opens.0, window.closes.0));
                if let Some((session, ..)) = before {
                    let opens = session.starts_at - LONGEST_OPENING_MS;
                    self.doors.push((room.room_id, opens, session.closes_at));
                }
            }
            self.touched.sessions.insert(id);
            self.touched.feed_sessions.insert(id);
            // Who must know a group's members hangs on where it meets, not on when.
            if before.is_none_or(|(_, held, list)| held != rooms || list != group_ids) {
                self.touched.feed_groups.extend(before.into_iter().flat_map(|(_, _, groups)| groups));
                self.touched.feed_groups.extend(group_ids);
            }
        }
        self.rooms.extend(rooms);
        self.groups.extend(group_ids.iter().map(|group| (id, *group)));
        self.sessions.push(session);
    }
}

/// Whether the window of a session, as it was, is open.
fn is_open(session: &Session, policies: &[StoredPolicy], now: Instant) -> bool {
    policy_for(policies, session).window(Instant(session.starts_at), Instant(session.ends_at)).holds(now)
}

/// Stored sessions as the rules see them.
///
/// # Errors
/// When the store fails.
pub async fn as_rules(tx: &mut Tx, sessions: &[Session]) -> Result<Vec<RulesSession>, StoreError> {
    let ids: Vec<Uuid> = sessions.iter().map(|session| session.id).collect();
    let mut rooms: BTreeMap<Uuid, Vec<HeldIn>> = BTreeMap::new();
    for room in tx.session_rooms(&ids).await? {
        rooms.entry(room.session_id).or_default().push(HeldIn {
            room: RoomId(room.room_id),
            span: Span { from: room.from_at.map(Instant), until: room.until_at.map(Instant) },
        });
    }
    let mut groups: BTreeMap<Uuid, Vec<GroupId>> = BTreeMap::new();
    for (session, group) in tx.session_groups(&ids).await? {
        groups.entry(session).or_default().push(GroupId(group));
    }
    let policies = tx.all::<StoredPolicy>().await?;
    Ok(sessions
        .iter()
        .map(|session| RulesSession {
            id: SessionId(session.id),
            starts_at: Instant(session.starts_at),
            ends_at: Instant(session.ends_at),
            cancelled: session.cancelled,
            rooms: rooms.remove(&session.id).unwrap_or_default(),
            groups: groups.remove(&session.id).unwrap_or_default(),
            policy: policy_for(&policies, session),
        })
        .collect())
}
