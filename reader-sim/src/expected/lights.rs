//! Lights at rest: blue while a window is open in the reader's room, else off.
//!
//! Called by `expected`. It knows nothing of cards, flashes or faults.

use super::LightChange;
use super::facts::Facts;
use crate::plan::{Colour, Millis};

/// Every change of every reader's light at rest within `[from_ms, until_ms)`.
pub(super) fn lights(facts: &Facts<'_>) -> Vec<LightChange> {
    let plan = facts.plan;
    let mut changes = Vec::new();
    for (reader, at_the_door) in plan.readers.iter().enumerate() {
        let room = at_the_door.room;
        let sessions: Vec<usize> =
            facts.near.iter().copied().filter(|session| facts.rooms_ever(*session).contains(&room)).collect();
        let mut instants = vec![plan.from_ms];
        for session in &sessions {
            instants.extend(facts.changed_at(*session));
            for (opens, closes) in facts.windows_ever(*session) {
                instants.extend([opens, closes + 1]);
            }
        }
        instants.retain(|at| (plan.from_ms..plan.until_ms).contains(at));
        instants.sort_unstable();
        let mut colour = Colour::Off;
        for at_ms in instants {
            let now = at_rest(facts, &sessions, room, at_ms);
            if now != colour {
                colour = now;
                changes.push(LightChange { at_ms, reader, colour });
            }
        }
    }
    changes.sort_by_key(|change| (change.at_ms, change.reader));
    changes
}

fn at_rest(facts: &Facts<'_>, sessions: &[usize], room: usize, at: Millis) -> Colour {
    let open = sessions
        .iter()
        .any(|session| !facts.held(*session, at).cancelled && facts.would_be_open(*session, room, at, at));
    if open { Colour::Blue } else { Colour::Off }
}
