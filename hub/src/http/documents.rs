//! Queries that were read before: programs ask the same ones all day, with other variables.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Request;
use async_graphql::parser::types::ExecutableDocument;

/// How much text is kept, in bytes; then all is forgotten, and what is still asked comes back. What is made of it takes some
/// hundred times as much.
const MAX_KEPT: usize = 256 * 1024;
/// A longer query is read each time, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// The queries, as they were read.
#[derive(Clone, Default)]
pub struct Documents(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    documents: HashMap<String, Arc<ExecutableDocument>>,
    bytes: usize,
}

impl Documents {
    /// Gives a request its query as it was read before, or reads it. One that cannot be read is left as it is:
    /// execution says why.
    pub fn read(&self, request: &mut Request) {
        if request.query.len() > MAX_BYTES {
            return;
        }
        let known =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).documents.get(&request.query).cloned();
        if let Some(known) = known {
            request.set_parsed_query(ExecutableDocument::clone(&known));
            return;
        }
        if let Ok(document) = request.parsed_query().cloned() {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.bytes + request.query.len() > MAX_KEPT {
                *kept = Kept::default();
            }
            if kept.documents.insert(request.query.clone(), Arc::new(document)).is_none() {
                kept.bytes += request.query.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_again_is_known_and_no_more_are_kept_than_there_is_room_for() {
        let documents = Documents::default();
        let count = || documents.0.lock().unwrap_or_else(PoisonError::into_inner).documents.len();
        let bytes = || documents.0.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        for _ in 0..2 {
            let mut request = Request::new("query Q { a }");
            documents.read(&mut request);
            assert!(request.parsed_query().is_ok_and(|it| it.operations.iter().count() == 1));
            assert_eq!(count(), 1);
        }
        documents.read(&mut Request::new("query {"));
        documents.read(&mut Request::new(format!("query {{ a{} }}", " ".repeat(MAX_BYTES))));
        assert_eq!(count(), 1, "neither what cannot be read nor what is too long");
        for number in 0..100 {
            documents.read(&mut Request::new(format!("{{ a{number} {} }}", " ".repeat(5_000))));
            assert!(count() > 0 && bytes() <= MAX_KEPT);
        }
    }
}
