//! One day's sessions, their groups, and who is in them.
//!
//! Used by `generate`. First the sessions that a day must have are set by hand, then rooms are filled up,
//! then students are dealt to groups so that they can be where they should be.

use std::collections::HashSet;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha12Rng;

use super::clock::Clock;
use crate::plan::{Course, Group, Membership, Plan, Session};

const SUBJECTS: [(&str, &str); 10] = [
    ("BIO", "Biology"),
    ("CHE", "Chemistry"),
    ("ECO", "Economics"),
    ("GEO", "Geography"),
    ("HIS", "History"),
    ("LAW", "Law"),
    ("LIN", "Linguistics"),
    ("MAT", "Mathematics"),
    ("PHY", "Physics"),
    ("SOC", "Sociology"),
];
const KINDS: [(&str, &str); 3] = [("L", "Lecture"), ("S", "Seminar"), ("P", "Practical")];

/// Sessions and students with a part to play in the day's changes.
pub(super) struct Cast {
    pub(super) cancelled_late: usize,
    pub(super) reinstated: usize,
    pub(super) on_and_off: usize,
    /// The session, and the rooms it moves to, one of which it is in already.
    pub(super) half_moved: (usize, Vec<usize>),
    /// The session, and the room in another building it moves to.
    pub(super) moved: (usize, Vec<usize>),
    pub(super) rescheduled: usize,
    /// The session whose group the student joins while it is held.
    pub(super) joined: (usize, usize),
    /// The session whose group the student turns out to have been in.
    pub(super) joined_afterwards: (usize, usize),
    pub(super) reissued: usize,
}

/// Fills in courses, groups, sessions and memberships.
pub(super) fn build(plan: &mut Plan, clock: &Clock, rng: &mut ChaCha12Rng) -> Cast {
    let mut office = Office { plan, clock, reserved: Vec::new(), hours: Vec::new() };
    let by_hand = office.by_hand();
    office.fill(rng);
    let hours = office.hours;
    share_groups(plan, &hours, by_hand.count, rng);
    let mut seats = Seats::new(plan, clock, hours);
    seats.deal(&by_hand, rng);
    seats.cast(by_hand)
}

/// The sessions that every day has.
struct ByHand {
    count: usize,
    twins: (usize, usize),
    nobody: usize,
    with_newcomer: usize,
    joined: usize,
    cancelled_late: usize,
    reinstated: usize,
    on_and_off: usize,
    half_moved: (usize, Vec<usize>),
    moved: (usize, Vec<usize>),
    rescheduled: usize,
}

/// Hours of a day, minutes past midnight: start included, end excluded.
type Hours = (i64, i64);

fn overlap(a: Hours, b: Hours) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// Books rooms.
struct Office<'a> {
    plan: &'a mut Plan,
    clock: &'a Clock,
    /// Hours in which a room takes nothing more.
    reserved: Vec<(usize, Hours)>,
    /// Each session's hours.
    hours: Vec<Hours>,
}

impl Office<'_> {
    /// The sessions that every day has, in rooms kept free around them where that matters.
    fn by_hand(&mut self) -> ByHand {
        let last = self.plan.rooms.len() - 1;
        for (room, from, until) in [
            (0, 8, 11),
            (1, 8, 12),
            (2, 10, 12),
            (3, 10, 15),
            (0, 12, 18),
            (last, 9, 12),
            (last, 12, 17),
            (1, 13, 16),
            (2, 13, 16),
            (last - 1, 9, 15),
            (last - 2, 9, 12),
            (last - 2, 13, 16),
            (4, 10, 12),
        ] {
            self.reserved.push((room, (from * 60, until * 60)));
        }
        let twins = (self.add((540, 600), &[0], true), self.add((540, 600), &[0], true));
        self.add((540, 650), &[1], true);
        self.add((600, 720), &[1], true);
        let with_newcomer = self.add((780, 890), &[0, last], true);
        let half_moved = (self.add((660, 720), &[2, 3], true), vec![3, 4]);
        let stays_cancelled = self.add((840, 900), &[1], true);
        let reinstated = self.add((660, 710), &[last - 2], true);
        self.plan.sessions[stays_cancelled].cancelled = true;
        self.plan.sessions[reinstated].cancelled = true;
        let cancelled_late = self.add((600, 660), &[last - 1], true);
        let moved = (self.add((780, 840), &[last - 1], true), vec![3]);
        let rescheduled = self.add((840, 900), &[2], true);
        self.add((600, 650), &[last], false);
        self.add((900, 960), &[], true);
        let nobody = self.add((840, 890), &[last - 2], true);
        let joined = self.add((960, 1020), &[0], true);
        let on_and_off = self.add((900, 960), &[last], true);
        ByHand {
            count: self.plan.sessions.len(),
            twins,
            nobody,
            with_newcomer,
            joined,
            cancelled_late,
            reinstated,
            on_and_off,
            half_moved,
            moved,
            rescheduled,
        }
    }

    /// Fills the rooms' free hours from 09:00 to 17:00, mostly back to back, now and then two at once.
    fn fill(&mut self, rng: &mut ChaCha12Rng) {
        for room in 0..self.plan.rooms.len() {
            let mut from = 9 * 60;
            while from < 17 * 60 {
                let hours = if from < 16 * 60 && rng.random_bool(0.45) { 2 } else { 1 };
                let span = (from, from + hours * 60);
                if self.reserved.iter().any(|(other, busy)| *other == room && overlap(*busy, span)) {
                    from += 60;
                    continue;
                }
                if rng.random_bool(0.85) {
                    let short = if rng.random_bool(0.5) { 10 } else { 0 };
                    self.add((span.0, span.1 - short), &[room], true);
                    if rng.random_bool(0.04) {
                        self.add((span.0, span.1), &[room], true);
                    }
                }
                from = span.1;
            }
        }
    }

    /// Books a session, with a group of its own or none.
    fn add(&mut self, hours: Hours, rooms: &[usize], with_group: bool) -> usize {
        let index = self.plan.sessions.len();
        // Six sessions to a course.
        let course = index / 6;
        if course == self.plan.courses.len() {
            let (code, title) = SUBJECTS[course % SUBJECTS.len()];
            let number = 101 + course / SUBJECTS.len();
            self.plan
                .courses
                .push(Course { code: format!("{code}{number}"), title: format!("{title} {number}") });
        }
        let (letter, kind) = KINDS[index % KINDS.len()];
        let nth = 1 + (index % 6) / KINDS.len();
        let id = format!("{}-{letter}{nth}", self.plan.courses[course].code);
        let mut groups = Vec::new();
        if with_group {
            groups.push(self.plan.groups.len());
            self.plan.groups.push(Group { code: format!("G-{id}"), course });
        }
        self.plan.sessions.push(Session {
            external_id: format!("{id}-{}", self.clock.short()),
            title: format!("{}, {kind} {nth}", self.plan.courses[course].title),
            course,
            start_ms: self.clock.at(hours.0),
            end_ms: self.clock.at(hours.1),
            rooms: rooms.to_vec(),
            groups,
            cancelled: false,
        });
        self.hours.push(hours);
        index
    }
}

/// Some sessions take in the group of an earlier one as well, where the hours allow it.
fn share_groups(plan: &mut Plan, hours: &[Hours], by_hand: usize, rng: &mut ChaCha12Rng) {
    for session in by_hand..plan.sessions.len() {
        let other = rng.random_range(by_hand..=session);
        if other != session
            && rng.random_bool(0.25)
            && plan.sessions[other].groups.len() == 1
            && !overlap(hours[session], hours[other])
        {
            let group = plan.sessions[other].groups[0];
            let busy = |index: &usize| plan.sessions[*index].groups.contains(&group);
            if !(0..session).filter(busy).any(|index| overlap(hours[index], hours[session])) {
                plan.sessions[session].groups.push(group);
            }
        }
    }
}

/// Deals students to groups.
struct Seats<'a> {
    plan: &'a mut Plan,
    clock: &'a Clock,
    hours: Vec<Hours>,
    /// Each group's sessions.
    of_group: Vec<Vec<usize>>,
    /// Each student's groups.
    groups_of: Vec<HashSet<usize>>,
}

impl<'a> Seats<'a> {
    fn new(plan: &'a mut Plan, clock: &'a Clock, hours: Vec<Hours>) -> Self {
        let mut of_group: Vec<Vec<usize>> = plan.groups.iter().map(|_| Vec::new()).collect();
        for (index, session) in plan.sessions.iter().enumerate() {
            for group in &session.groups {
                of_group[*group].push(index);
            }
        }
        let groups_of = plan.students.iter().map(|_| HashSet::new()).collect();
        Self { plan, clock, hours, of_group, groups_of }
    }

    /// Whether the student is in a session at the same time as one of the group's.
    fn clashes(&self, student: usize, group: usize) -> bool {
        self.groups_of[student]
            .iter()
            .flat_map(|own| &self.of_group[*own])
            .any(|own| self.of_group[group].iter().any(|other| overlap(self.hours[*own], self.hours[*other])))
    }

    fn deal(&mut self, by_hand: &ByHand, rng: &mut ChaCha12Rng) {
        let group_of = |seats: &Self, session: usize| seats.plan.sessions[session].groups[0];
        let nobody = group_of(self, by_hand.nobody);
        let mut order: Vec<usize> = (0..self.plan.groups.len()).filter(|group| *group != nobody).collect();
        let count = self.plan.students.len();
        for student in 0..count {
            order.shuffle(rng);
            let target = rng.random_range(3..=5);
            let mut sessions = 0;
            for group in &order {
                if sessions >= target {
                    break;
                }
                if !self.clashes(student, *group) {
                    sessions += self.of_group[*group].len();
                    self.enter(student, *group, rng);
                }
            }
            if rng.random_range(0..100) < 2 {
                // In two places at once, as some timetables will have it; or not any more.
                let group = order[order.len() - 1];
                if rng.random_bool(0.5) {
                    self.enter(student, group, rng);
                } else {
                    self.note(student, group, (-40, Some(-1)));
                }
            }
        }
        // Some are in both of the two sessions held at once in one room.
        let (one, other) = (group_of(self, by_hand.twins.0), group_of(self, by_hand.twins.1));
        for student in 0..5 {
            self.enter(student, one, rng);
            self.enter(student, other, rng);
        }
        // The parts to play need somebody there, however small the campus.
        let parts = [
            by_hand.cancelled_late,
            by_hand.reinstated,
            by_hand.on_and_off,
            by_hand.half_moved.0,
            by_hand.moved.0,
            by_hand.rescheduled,
            by_hand.joined,
            by_hand.with_newcomer,
        ];
        for session in parts {
            let group = group_of(self, session);
            let free: Vec<usize> =
                (0..count).filter(|student| !self.clashes(*student, group)).take(8).collect();
            for student in free {
                self.enter(student, group, rng);
            }
        }
        let group = group_of(self, by_hand.with_newcomer);
        if let Some(student) = (0..count).rev().find(|student| !self.groups_of[*student].contains(&group)) {
            self.note(student, group, (1, None));
        }
    }

    /// The student is in the group today: for good, until some day, or for the last day.
    fn enter(&mut self, student: usize, group: usize, rng: &mut ChaCha12Rng) {
        let from = -rng.random_range(0..=28);
        let until = match rng.random_range(0..100) {
            0..3 => Some(0),
            3..20 => Some(60),
            _ => None,
        };
        self.note(student, group, (from, until));
    }

    /// The student is in the group from and until some days from today.
    fn note(&mut self, student: usize, group: usize, (from, until): (i64, Option<i64>)) {
        if self.groups_of[student].insert(group) {
            self.plan.memberships.push(Membership {
                group,
                student,
                from: self.clock.iso(from),
                until: until.map(|days| self.clock.iso(days)),
            });
        }
    }

    /// Chooses who has a part to play.
    fn cast(self, by_hand: ByHand) -> Cast {
        let group_of = |session: usize| self.plan.sessions[session].groups[0];
        let outsider = |sessions: &[usize]| {
            let students = 0..self.plan.students.len();
            let outside = |student: &usize| {
                sessions.iter().all(|session| !self.groups_of[*student].contains(&group_of(*session)))
            };
            let free = |student: &usize| !self.clashes(*student, group_of(sessions[0]));
            let at_all = students.clone().find(outside).unwrap_or(0);
            students.filter(outside).find(free).unwrap_or(at_all)
        };
        // Somebody with classes both before and after noon.
        let busy_all_day = |student: &usize| {
            let mut sessions = self.groups_of[*student].iter().flat_map(|group| &self.of_group[*group]);
            let hours: Vec<Hours> = sessions.by_ref().map(|session| self.hours[*session]).collect();
            hours.iter().any(|hours| hours.1 <= 720) && hours.iter().any(|hours| hours.0 >= 780)
        };
        Cast {
            joined: (by_hand.joined, outsider(&[by_hand.joined])),
            joined_afterwards: (by_hand.twins.0, outsider(&[by_hand.twins.0, by_hand.twins.1])),
            reissued: (5..self.plan.students.len()).find(busy_all_day).unwrap_or(0),
            cancelled_late: by_hand.cancelled_late,
            reinstated: by_hand.reinstated,
            on_and_off: by_hand.on_and_off,
            half_moved: by_hand.half_moved,
            moved: by_hand.moved,
            rescheduled: by_hand.rescheduled,
        }
    }
}
