//! What an error of the engine means for a transaction.

use super::super::StoreError;
use super::Writing;

/// What the engine said of a transaction that was not asked to commit yet: whatever cut it short, nothing of it is left.
pub(super) fn given_up(error: sqlx::Error, writing: Writing) -> StoreError {
    match class(&error, writing) {
        Class::TurnedDown | Class::CutOff => StoreError::Again(error.into()),
        Class::Other => error.into(),
    }
}

/// Whether a lock was not to be had in time (lock_not_available), or two waited for each other.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|told| told.code());
    code.is_some_and(|code| code == "55P03" || code.starts_with("40"))
}

/// Kinds of errors, by what they mean for a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The engine rolled it back, to be attempted again.
    TurnedDown,
    /// The connection is gone.
    CutOff,
    /// Anything else that the engine says.
    Other,
}

pub(super) fn class(error: &sqlx::Error, writing: Writing) -> Class {
    match error {
        sqlx::Error::Database(told) => match told.code().as_deref() {
            // Whoever put the same there at the same time is seen at the next attempt (PostgreSQL manual, 13.5).
            Some("23505") if writing == Writing::Serializable => Class::TurnedDown,
            // Transaction rollback (SQL:2016, class 40), but for the one that says that nobody knows.
            Some("40003") => Class::CutOff,
            // It was asked nothing for too long (idle_in_transaction_session_timeout).
            Some("25P03") => Class::TurnedDown,
            Some(code) if code.starts_with("40") => Class::TurnedDown,
            // A server, or a balancer before it, that has no connection left to give.
            Some("53300") => Class::CutOff,
            // Connection exception, and the server's going and coming (PostgreSQL manual, appendix A).
            Some(code) if code.starts_with("08") || code.starts_with("57P0") => Class::CutOff,
            _ => Class::Other,
        },
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            Class::CutOff
        }
        _ => Class::Other,
    }
}
