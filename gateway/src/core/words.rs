//! What records hold of what the rules decide.

use rollcall_rules::light::Colour;
use rollcall_rules::timetable::Timetable;
use rollcall_rules::verdict::{Decision, Reason, Verdict};

use super::reading::Trust;
use crate::journal::record::ConsideredRecord;

/// How many considered sessions a record holds at the most.
const MOST_CONSIDERED: usize = 8;

/// The sessions that a verdict considered, as a record holds them.
pub(super) fn considered(timetable: &Timetable, verdict: &Verdict) -> Vec<ConsideredRecord> {
    let considered = verdict.considered.iter().filter_map(|how| {
        let window = timetable.session(how.session)?.window();
        Some(ConsideredRecord {
            session: how.session.0,
            opens: window.opens.0,
            closes: window.closes.0,
            off: how.cancelled,
            list: how.has_class_list,
            listed: how.on_class_list,
            credited: how.credited,
        })
    });
    let mut considered: Vec<ConsideredRecord> = considered.collect();
    // Those that it counts for are told in any case.
    considered.sort_by_key(|it| (!it.credited, !it.listed));
    considered.truncate(MOST_CONSIDERED);
    considered
}

pub(crate) fn trust_word(trust: Trust) -> &'static str {
    match trust {
        Trust::Synced => "SYNCED",
        Trust::Holdover => "HOLDOVER",
        Trust::Untrusted => "UNTRUSTED",
    }
}

pub(super) fn decision_word(decision: Decision) -> &'static str {
    match decision {
        Decision::Recorded => "RECORDED",
        Decision::NotRecorded => "NOT_RECORDED",
        Decision::Pending => "PENDING",
    }
}

pub(super) fn decision_of(word: &str) -> Decision {
    match word {
        "RECORDED" => Decision::Recorded,
        "PENDING" => Decision::Pending,
        _ => Decision::NotRecorded,
    }
}

pub(crate) fn colour_word(colour: Colour) -> &'static str {
    match colour {
        Colour::Off => "OFF",
        Colour::Blue => "BLUE",
        Colour::Green => "GREEN",
        Colour::Red => "RED",
        Colour::Amber => "AMBER",
    }
}

pub(super) fn reason_word(reason: Reason) -> &'static str {
    match reason {
        Reason::Recorded => "RECORDED",
        Reason::AlreadyRecorded => "ALREADY_RECORDED",
        Reason::CardUnknown => "CARD_UNKNOWN",
        Reason::CardCancelled => "CARD_CANCELLED",
        Reason::CardRandomUid => "CARD_RANDOM_UID",
        Reason::CardUnreadable => "CARD_UNREADABLE",
        Reason::NoOpenSession => "NO_OPEN_SESSION",
        Reason::SessionCancelled => "SESSION_CANCELLED",
        Reason::NotOnClassList => "NOT_ON_CLASS_LIST",
        Reason::NoClassList => "NO_CLASS_LIST",
        Reason::ClockUntrusted => "CLOCK_UNTRUSTED",
        Reason::StoreFault => "STORE_FAULT",
    }
}
