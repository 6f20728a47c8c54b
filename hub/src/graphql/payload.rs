//! What came of a write: the thing, or why it was turned down.

use async_graphql::{Interface, SimpleObject};

use crate::service::refusal::{Code, Refusal};

/// A thing that a mutation may be refused for. Business refusals come back as data; `errors` at the top of
/// the response is left for malformed requests, missing rights, limits and faults.
#[derive(Interface, Clone)]
#[graphql(
    field(name = "code", ty = "&Code", desc = "Stable code for programs."),
    field(name = "message", ty = "&String", desc = "Plain English for people. Not stable."),
    field(
        name = "path",
        ty = "&Option<Vec<String>>",
        desc = "Path into the mutation's input, with list indexes as decimal strings; null when no one field is at fault."
    )
)]
pub enum UserError {
    /// A refusal with nothing more to say.
    InputError(InputError),
}

/// A refusal with nothing more to say than its code and path.
#[derive(Debug, Clone, SimpleObject)]
pub struct InputError {
    /// Stable code for programs.
    pub code: Code,
    /// Plain English for people. Not stable.
    pub message: String,
    /// Path into the mutation's input, with list indexes as decimal strings; null when no one field is at
    /// fault.
    pub path: Option<Vec<String>>,
}

/// Refusals as the API gives them.
#[must_use]
pub fn user_errors(refusals: Vec<Refusal>) -> Vec<UserError> {
    refusals
        .into_iter()
        .map(|Refusal { code, message, path }| {
            let path = Some(path).filter(|path| path.iter().any(|segment| !segment.is_empty()));
            UserError::InputError(InputError { code, message, path })
        })
        .collect()
}
