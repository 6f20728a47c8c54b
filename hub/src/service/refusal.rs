//! Refusals: what a write may be turned down for, as values with a code and a path into the input.

use crate::store::StoreError;

/// Stable codes of refusals. New codes may be added at any time: treat unknown ones as INVALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, async_graphql::Enum)]
#[graphql(name = "UserErrorCode")]
pub enum Code {
    /// There is such a thing already.
    AlreadyExists,
    /// It contradicts something that is there.
    Conflict,
    /// The value cannot be used.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// The caller may not do that.
    NotPermitted,
    /// Something is missing.
    Required,
    /// The object changed since the caller read it.
    StaleRevision,
    /// Too many or too long.
    TooLong,
    /// The object's state does not allow it.
    WrongState,
}

/// Why a write was turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which kind.
    pub code: Code,
    /// In words, with what to do.
    pub message: String,
    /// Path into the input, list indexes as decimal strings.
    pub path: Vec<String>,
}

/// What came of a write: a value, or why it was turned down; or the store failed.
pub type Answer<T> = Result<Result<T, Vec<Refusal>>, StoreError>;

/// Collects refusals, so that a caller hears of all that is wrong at once.
#[derive(Debug)]
pub struct Check {
    refusals: Vec<Refusal>,
    unlisted: usize,
    most: usize,
    alone: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self { refusals: Vec::new(), unlisted: 0, most: MAX_REFUSALS, alone: false }
    }
}

/// The most refusals that one answer lists.
const MAX_REFUSALS: usize = 100;

/// The longest name or title.
const MAX_TEXT: usize = 200;

impl Check {
    /// One that lists so many.
    #[must_use]
    pub fn listing(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// The same, of what can be told by looking at the input alone: for one that follows after another was refused, on which it may
    /// rest.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Adds a refusal. Path segments are separated by dots.
    pub fn refuse(&mut self, code: Code, path: &str, message: impl Into<String>) {
        if !self.alone || matches!(code, Code::Invalid | Code::Required | Code::TooLong) {
            self.add(code, path, message);
        }
    }

    fn add(&mut self, code: Code, path: &str, message: impl Into<String>) {
        if self.refusals.len() < self.most {
            let path = path.split('.').map(str::to_owned).collect();
            self.refusals.push(Refusal { code, message: message.into(), path });
        } else {
            self.unlisted += 1;
        }
    }

    /// How many refusals there were beyond those that are listed.
    #[must_use]
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// Checks a code: 1 to 200 characters without control characters and without space at either end.
    pub fn code(&mut self, path: &str, text: &str) {
        if text.is_empty() {
            self.refuse(Code::Required, path, "must not be empty");
        } else if text.chars().count() > MAX_TEXT {
            self.refuse(Code::TooLong, path, format!("must have {MAX_TEXT} characters at the most"));
        } else if text.trim() != text || text.chars().any(char::is_control) {
            self.refuse(Code::Invalid, path, "must not begin or end with space, nor hold control characters");
        }
    }

    /// Checks that no key stands twice in a list.
    pub fn distinct<'a>(&mut self, list: &str, field: &str, keys: impl IntoIterator<Item = &'a str>) {
        let mut seen = std::collections::BTreeMap::new();
        for (index, key) in keys.into_iter().enumerate() {
            if let Some(first) = seen.insert(key, index) {
                let message = format!("'{key}' stands in this input twice: here and at index {first}");
                self.add(Code::Conflict, &format!("{list}.{index}.{field}"), message);
            }
        }
    }

    /// Whether anything was refused, so that there is nothing more to do.
    #[must_use]
    pub fn found_any(&self) -> bool {
        self.alone || !self.refusals.is_empty()
    }

    /// What was refused, if anything.
    #[must_use]
    pub fn refusals(self) -> Option<Vec<Refusal>> {
        if self.refusals.is_empty() { None } else { Some(self.refusals) }
    }
}
