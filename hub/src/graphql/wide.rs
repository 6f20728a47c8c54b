//! Queries that are short and ask for far more than they look like: fragments that name each other several times.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

/// How many fields a query may have, each fragment counted wherever it is named.
const MAX_FIELDS: usize = 20_000;
/// How deeply fragments may name others.
const MAX_SPREADS: usize = 30;

/// Why a query is not even looked at, where its fragments make it too wide, name each other in a ring or too deeply: every later step
/// walks through all of it.
#[must_use]
pub fn refused(document: &ExecutableDocument) -> Option<String> {
    let mut counts = HashMap::new();
    let selections = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let fields = selections
        .fold(0, |sum: usize, selection| sum.saturating_add(count(document, selection, 0, &mut counts)));
    (fields > MAX_FIELDS).then(|| {
        format!(
            "the query asks for more than {MAX_FIELDS} fields, counting a fragment's wherever it is named; or its fragments name \
             each other without an end"
        )
    })
}

/// How many fields a selection has, as many as there are numbers where that cannot be said. Each fragment is counted once.
fn count<'a>(
    document: &'a ExecutableDocument,
    selection: &'a SelectionSet,
    spreads: usize,
    counts: &mut HashMap<&'a Name, Option<usize>>,
) -> usize {
    let mut sum: usize = 0;
    for item in &selection.items {
        let more = match &item.node {
            Selection::Field(field) => {
                count(document, &field.node.selection_set.node, spreads, counts).saturating_add(1)
            }
            Selection::InlineFragment(part) => {
                count(document, &part.node.selection_set.node, spreads, counts)
            }
            Selection::FragmentSpread(part) => {
                let name = &part.node.fragment_name.node;
                match (counts.get(name), document.fragments.get(name)) {
                    (Some(Some(known)), _) => *known,
                    // One that is being counted just now names itself.
                    (Some(None), _) => usize::MAX,
                    // Validation says that there is none.
                    (None, None) => 0,
                    (None, Some(_)) if spreads > MAX_SPREADS => usize::MAX,
                    (None, Some(fragment)) => {
                        counts.insert(name, None);
                        let fields = count(document, &fragment.node.selection_set.node, spreads + 1, counts);
                        counts.insert(name, Some(fields));
                        fields
                    }
                }
            }
        };
        sum = sum.saturating_add(more);
    }
    sum
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn is_refused(query: &str) -> bool {
        refused(&parse_query(query).unwrap()).is_some()
    }

    fn chain(length: usize, times: usize) -> String {
        let part = |number: usize| {
            let next = format!("...f{} ", number + 1).repeat(times);
            format!("fragment f{number} on Query {{ {next} }} ")
        };
        let parts: String = (0..length).map(part).collect();
        format!("{{ ...f0 }} {parts} fragment f{length} on Query {{ a }}")
    }

    #[test]
    fn what_grows_with_each_fragment_is_refused_at_once_and_what_does_not_is_not() {
        assert!(is_refused(&chain(31, 3)), "3^31 fields in 2 kB");
        assert!(!is_refused(&chain(9, 3)), "19,683 fields");
        assert!(is_refused(&chain(10, 3)));
        assert!(!is_refused(&chain(MAX_SPREADS, 1)));
        assert!(is_refused(&chain(10_000, 1)), "no deeper than may be, however long the query is");
        assert!(is_refused("{ ...a } fragment a on Query { ...b } fragment b on Query { x { ...a } }"));
        assert!(!is_refused(
            "{ a { ...f b } c: a { ...f } ...g } fragment f on A { d } fragment g on Query { a { d } }"
        ));
        assert!(!is_refused("{ ...unknown }"));
        let many = |count: usize| (0..count).map(|number| format!("a{number} ")).collect::<String>();
        assert!(!is_refused(&format!("{{ {} }}", many(MAX_FIELDS))));
        assert!(is_refused(&format!("{{ {} }}", many(MAX_FIELDS + 1))));
    }
}
