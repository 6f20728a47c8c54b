//! The oracle: what must come of a plan, worked out the long way round.
//!
//! Called by the `campus` driver, which compares it with what lights showed and what the hub answers, and by
//! tests. It follows the written rules alone and is deliberately naive: it asks every question afresh. It
//! never uses the gateway's, the hub's or the `rules` crate's code, nor the generators'.

mod answers;
mod facts;
mod lights;
mod registers;

#[cfg(test)]
mod tests_answers;
#[cfg(test)]
mod tests_generated;
#[cfg(test)]
mod tests_lights;
#[cfg(test)]
mod tests_registers;
#[cfg(test)]
mod tiny;

use crate::plan::{Colour, Millis, Plan};

/// Everything that must come of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Every change of a reader's light at rest, sorted by instant, then reader.
    pub lights: Vec<LightChange>,
    /// One answer per presentation, in the plan's order.
    pub answers: Vec<Answer>,
    /// One register per session that starts (by its latest times) in `[from_ms, until_ms)`, in the plan's
    /// order.
    pub registers: Vec<ExpectedRegister>,
}

/// A reader's light at rest changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LightChange {
    /// From this instant on.
    pub at_ms: Millis,
    /// Index into the plan's `readers`.
    pub reader: usize,
    /// `Blue` or `Off`; readers begin `Off` at `from_ms` unless a change at `from_ms` says `Blue`.
    pub colour: Colour,
}

/// What the door must answer to one presentation, by what is known at that instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Index into the plan's `presentations`.
    pub presentation: usize,
    /// `Green` or `Red`.
    pub colour: Colour,
    /// Whether it counts for a session.
    pub recorded: bool,
    /// Why: `RECORDED`, `ALREADY_RECORDED`, `CARD_UNKNOWN`, `CARD_CANCELLED`, `NO_OPEN_SESSION`,
    /// `SESSION_CANCELLED`, `NOT_ON_CLASS_LIST`, `NO_CLASS_LIST` or `CARD_RANDOM_UID`.
    pub reason: &'static str,
    /// The sessions credited, indices into the plan's `sessions`, sorted by external id.
    pub credited: Vec<usize>,
}

/// A session's register at the end of play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRegister {
    /// Index into the plan's `sessions`.
    pub session: usize,
    /// `FINAL`, `CANCELLED` or `NO_REGISTER`.
    pub state: &'static str,
    /// The entries, sorted by student number.
    pub entries: Vec<ExpectedEntry>,
}

/// One student's line in a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedEntry {
    /// Index into the plan's `students`.
    pub student: usize,
    /// `PRESENT`, `ABSENT`, `NOT_REQUIRED`, `NO_REGISTER` or `CANCELLED`.
    pub status: &'static str,
    /// `READER`, `RECONCILED` or `RULE`.
    pub source: &'static str,
    /// The deciding swipe's instant, when present.
    pub arrived_at_ms: Option<Millis>,
    /// Whole minutes after the session's latest start, 0 when on time; only when present.
    pub minutes_late: Option<i64>,
    /// The deciding swipe counts for another session of the student too.
    pub shared_swipe: bool,
    /// The deciding swipe counts because it was shown green, not by what is known at the end.
    pub honoured: bool,
}

/// Works out what must come of `plan`.
///
/// # Errors
///
/// Says what is wrong with the plan when it contradicts itself: an index that leads nowhere, a date or zone
/// that cannot be read, a session that ends before it starts, changes or presentations out of order.
pub fn expected(plan: &Plan) -> Result<Expectation, String> {
    let facts = facts::Facts::new(plan)?;
    let lights = lights::lights(&facts);
    let (answers, shown) = answers::answers(&facts);
    let registers = registers::registers(&facts, &shown);
    Ok(Expectation { lights, answers, registers })
}
