//! Registers: every swipe judged again by all that is known at the end, and greens kept as promises.
//!
//! Called by `expected`. It knows of no faults, decisions or excuses: a plan has none.

use super::answers::Green;
use super::facts::{Facts, Held, IN_THE_END};
use super::{ExpectedEntry, ExpectedRegister};
use crate::plan::Millis;

/// A swipe that counts for a session.
struct Count {
    at_ms: Millis,
    presentation: usize,
    session: usize,
    student: usize,
    /// By what is known at the end; else only because it was shown green.
    credited: bool,
}

/// One register per session that starts, by its latest times, while the plan is played.
pub(super) fn registers(facts: &Facts<'_>, shown: &[Option<Green>]) -> Vec<ExpectedRegister> {
    let plan = facts.plan;
    let counts = counts(facts, shown);
    let mut of_session: Vec<Vec<&Count>> = plan.sessions.iter().map(|_| Vec::new()).collect();
    let mut of_presentation: Vec<Vec<&Count>> = plan.presentations.iter().map(|_| Vec::new()).collect();
    for count in &counts {
        of_session[count.session].push(count);
        of_presentation[count.presentation].push(count);
    }
    let mut registers = Vec::new();
    for (session, its_counts) in of_session.iter().enumerate() {
        let held = facts.held(session, IN_THE_END);
        if !(plan.from_ms..plan.until_ms).contains(&held.start_ms) {
            continue;
        }
        let state = state(facts, session, held);
        let (opens, closes) = facts.window(session, IN_THE_END);
        let mut students = facts.listed_within(session, opens, closes);
        students.extend(its_counts.iter().map(|count| count.student));
        students.sort_by(|a, b| plan.students[*a].number.cmp(&plan.students[*b].number));
        students.dedup();
        let mut entries = Vec::new();
        for student in students {
            let expected = facts.is_listed(session, student, held.start_ms, IN_THE_END);
            let deciding = its_counts
                .iter()
                .filter(|count| count.student == student)
                .min_by_key(|count| (count.at_ms, !count.credited, count.presentation));
            let by_rule = |status| ExpectedEntry {
                student,
                status,
                source: "RULE",
                arrived_at_ms: None,
                minutes_late: None,
                shared_swipe: false,
                honoured: false,
            };
            let entry = match (state, deciding) {
                ("CANCELLED", deciding) => {
                    if !expected && deciding.is_none() {
                        continue;
                    }
                    by_rule("CANCELLED")
                }
                (_, Some(count)) => ExpectedEntry {
                    student,
                    status: "PRESENT",
                    source: if shown[count.presentation].is_some() { "READER" } else { "RECONCILED" },
                    arrived_at_ms: Some(count.at_ms),
                    minutes_late: Some((count.at_ms - held.start_ms).div_euclid(60_000).max(0)),
                    shared_swipe: of_presentation[count.presentation].iter().any(|other| {
                        other.student == student
                            && other.session != session
                            && !facts.held(other.session, IN_THE_END).cancelled
                    }),
                    honoured: !count.credited,
                },
                (_, None) if !expected => by_rule("NOT_REQUIRED"),
                ("NO_REGISTER", None) => by_rule("NO_REGISTER"),
                (_, None) => by_rule("ABSENT"),
            };
            entries.push(entry);
        }
        registers.push(ExpectedRegister { session, state, entries });
    }
    registers
}

fn state(facts: &Facts<'_>, session: usize, held: Held) -> &'static str {
    let rooms = facts.rooms_ever(session);
    let has_reader = facts.plan.readers.iter().any(|reader| rooms.contains(&reader.room));
    if held.cancelled {
        "CANCELLED"
    } else if !has_reader || !facts.has_list(session, held.start_ms, IN_THE_END) {
        "NO_REGISTER"
    } else {
        "FINAL"
    }
}

/// Every (swipe, session, student) that counts: credited in the end, or once shown green.
fn counts(facts: &Facts<'_>, shown: &[Option<Green>]) -> Vec<Count> {
    let mut counts = Vec::new();
    for (presentation, swipe) in facts.plan.presentations.iter().enumerate() {
        let room = facts.plan.readers[swipe.reader].room;
        let verdict = facts.judge(&swipe.credential, room, swipe.at_ms, IN_THE_END);
        let count = |session, student, credited| Count {
            at_ms: swipe.at_ms,
            presentation,
            session,
            student,
            credited,
        };
        if let Some(student) = verdict.student {
            counts.extend(verdict.credited.iter().map(|session| count(*session, student, true)));
        }
        if let Some(green) = &shown[presentation] {
            let still = |session: &usize| {
                verdict.student == Some(green.student) && verdict.credited.contains(session)
            };
            for session in green.credited.iter().filter(|session| !still(session)) {
                counts.push(count(*session, green.student, false));
            }
        }
    }
    counts
}
