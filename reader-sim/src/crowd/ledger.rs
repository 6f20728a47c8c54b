//! Who was where when, so that nobody and no reader is used twice at once.
//!
//! Used by `crowd` alone. It moves a presentation a little rather than lose it, and never draws at random.

use std::collections::{BTreeSet, HashSet};

use crate::plan::{Credential, Millis, Plan, Presentation};

/// How far apart two cards at one reader must be at least.
const APART_MS: Millis = 2_000;
/// How often a presentation is moved before it is given up.
const TRIES: Millis = 720;

/// The presentations so far.
pub(super) struct Ledger<'p> {
    plan: &'p Plan,
    /// How far a presentation is moved when its place is taken.
    pub(super) step_ms: Millis,
    presentations: Vec<Presentation>,
    at_reader: Vec<BTreeSet<Millis>>,
    of_student: HashSet<(usize, Millis)>,
    changes: HashSet<Millis>,
}

impl<'p> Ledger<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            step_ms: 15_000,
            presentations: Vec::new(),
            at_reader: plan.readers.iter().map(|_| BTreeSet::new()).collect(),
            of_student: HashSet::new(),
            changes: plan.changes.iter().map(|change| change.at_ms).collect(),
        }
    }

    /// Writes the presentation down at `at`, or at the first later grid step that is free.
    pub(super) fn put(
        &mut self,
        at: Millis,
        reader: usize,
        credential: &Credential,
        student: Option<usize>,
        why: &'static str,
    ) {
        for step in 0..TRIES {
            let later = at + step * self.step_ms;
            if self.put_exactly(later, reader, credential, student, why) {
                return;
            }
        }
    }

    /// Writes the presentation down at exactly `at`; false when that cannot be.
    pub(super) fn put_exactly(
        &mut self,
        at: Millis,
        reader: usize,
        credential: &Credential,
        student: Option<usize>,
        why: &'static str,
    ) -> bool {
        let beside = (at - APART_MS + 1)..(at + APART_MS);
        let taken = !(self.plan.from_ms..self.plan.until_ms).contains(&at)
            || self.changes.contains(&at)
            || student.is_some_and(|student| self.of_student.contains(&(student, at)))
            || self.at_reader[reader].range(beside).next().is_some();
        if taken {
            return false;
        }
        self.at_reader[reader].insert(at);
        self.of_student.extend(student.map(|student| (student, at)));
        self.presentations.push(Presentation {
            at_ms: at,
            reader,
            credential: credential.clone(),
            student,
            why,
        });
        true
    }

    /// All of them, sorted by instant, then reader.
    pub(super) fn into_presentations(mut self) -> Vec<Presentation> {
        self.presentations.sort_by_key(|presentation| (presentation.at_ms, presentation.reader));
        self.presentations
    }
}
