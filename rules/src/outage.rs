//! For how long a room's door was without a reader that worked.
//!
//! Called by the hub for each room of a session whose register it derives (design, section 2, "No register").

use crate::time::{Instant, Span};

/// One reader's time at a door.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoorReader {
    /// When it hung there, in use.
    pub stay: Span,
    /// When it did not work, or its gateway could not record.
    pub outages: Vec<Span>,
}

impl DoorReader {
    fn works(&self, at: Instant) -> bool {
        self.stay.holds(at) && !self.outages.iter().any(|outage| outage.holds(at))
    }
}

/// Milliseconds of `[first, last]` in which none of a door's readers worked: from the last good reply of the last
/// one to the first good reply of any. All of it where there is no reader.
#[must_use]
pub fn without_reader_ms(first: Instant, last: Instant, readers: &[DoorReader]) -> i64 {
    if last <= first {
        return 0;
    }
    let spans = readers.iter().flat_map(|reader| std::iter::once(&reader.stay).chain(&reader.outages));
    let mut edges: Vec<Instant> = spans
        .flat_map(|span| [span.from, span.until])
        .flatten()
        .filter(|edge| first < *edge && *edge < last)
        .chain([first, last])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
        .windows(2)
        .filter(|pair| !readers.iter().any(|reader| reader.works(pair[0])))
        .map(|pair| pair[1].since_ms(pair[0]))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span() -> impl Strategy<Value = Span> {
        (prop::option::of(0i64..60), prop::option::of(0i64..60))
            .prop_map(|(from, until)| Span { from: from.map(Instant), until: until.map(Instant) })
    }

    proptest! {
        #[test]
        fn it_is_the_count_of_milliseconds_at_which_no_reader_works(
            readers in prop::collection::vec((span(), prop::collection::vec(span(), 0..4)), 0..4),
            first in 0i64..60, length in 0i64..60,
        ) {
            let readers: Vec<DoorReader> =
                readers.into_iter().map(|(stay, outages)| DoorReader { stay, outages }).collect();
            let inside = |span: &Span, at: i64| {
                span.from.is_none_or(|from| from.0 <= at) && span.until.is_none_or(|until| at < until.0)
            };
            let naive = (first..first + length)
                .filter(|at| {
                    readers.iter().all(|reader| {
                        !inside(&reader.stay, *at) || reader.outages.iter().any(|outage| inside(outage, *at))
                    })
                })
                .count();
            let found = without_reader_ms(Instant(first), Instant(first + length), &readers);
            prop_assert_eq!(found, i64::try_from(naive).unwrap_or(-1));
        }
    }
}
