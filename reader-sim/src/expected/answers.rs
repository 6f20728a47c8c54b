//! Answers at the door: each presentation judged by what is known at its instant.
//!
//! Called by `expected`. It never looks ahead: what is learned later is for `registers`.

use super::Answer;
use super::facts::Facts;
use crate::plan::Colour;

/// A presentation that was shown green: whom the gateway took the card to be, and what it credited.
pub(super) struct Green {
    pub(super) student: usize,
    pub(super) credited: Vec<usize>,
}

/// One answer per presentation, and for each whether and for what it was shown green.
pub(super) fn answers(facts: &Facts<'_>) -> (Vec<Answer>, Vec<Option<Green>>) {
    let plan = facts.plan;
    let mut answers = Vec::new();
    let mut shown: Vec<Option<Green>> = Vec::new();
    // What each building's gateway has credited: (building, student, session).
    let mut credited_before = std::collections::HashSet::new();
    for (index, presentation) in plan.presentations.iter().enumerate() {
        let room = plan.readers[presentation.reader].room;
        let building = plan.rooms[room].building;
        let verdict = facts.judge(&presentation.credential, room, presentation.at_ms, presentation.at_ms);
        let (colour, reason, green) = match (verdict.refusal, verdict.student) {
            (None, Some(student)) => {
                let mut all_before = true;
                for session in &verdict.credited {
                    all_before &= !credited_before.insert((building, student, *session));
                }
                let reason = if all_before { "ALREADY_RECORDED" } else { "RECORDED" };
                let credited = verdict.credited.clone();
                (Colour::Green, reason, Some(Green { student, credited }))
            }
            (refusal, _) => (Colour::Red, refusal.unwrap_or("CARD_UNKNOWN"), None),
        };
        answers.push(Answer {
            presentation: index,
            colour,
            recorded: green.is_some(),
            reason,
            credited: verdict.credited,
        });
        shown.push(green);
    }
    (answers, shown)
}
