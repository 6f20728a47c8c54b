//! Connections: pages of long lists, with opaque keyset cursors.

use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{
    Context, ContextSelectionSet, InputObject, OutputType, Positioned, Result, ServerResult, SimpleObject,
};

use super::context::{coded, count_rows};
use super::loader;
use crate::scalar::{DateTime, LocalDate};
use crate::store::entity::columns_of;
use crate::store::page::{Cursor, List, Page, Paged};

/// The most rows that one page holds.
pub const MAX_PAGE: usize = 200;
/// The rows that a page holds unless told.
const DEFAULT_PAGE: usize = 50;

/// Where a page lies in its connection. Cursors are opaque keyset cursors: rows added or removed elsewhere
/// neither repeat nor hide rows.
#[derive(Debug, Clone, SimpleObject)]
pub struct PageInfo {
    /// There are rows behind this page.
    pub has_next_page: bool,
    /// There are rows before this page.
    pub has_previous_page: bool,
    /// The place of the page's first row.
    pub start_cursor: Option<String>,
    /// The place of the page's last row.
    pub end_cursor: Option<String>,
}

/// Half-open range of instants: `from` is in, `until` is out.
#[derive(Debug, Clone, Default, InputObject)]
pub struct DateTimeRange {
    /// The first instant that is in.
    pub from: Option<DateTime>,
    /// The first instant that is out again.
    pub until: Option<DateTime>,
}

impl DateTimeRange {
    /// The instants that are in, in milliseconds since the epoch.
    #[must_use]
    pub fn bounds(&self) -> std::ops::Range<i64> {
        let from = self.from.as_ref().map_or(i64::MIN, DateTime::ms);
        from..self.until.as_ref().map_or(i64::MAX, DateTime::ms)
    }

    /// Whether an instant is in, in milliseconds since the epoch.
    #[must_use]
    pub fn holds(&self, at: i64) -> bool {
        self.from.as_ref().is_none_or(|from| from.ms() <= at)
            && self.until.as_ref().is_none_or(|until| at < until.ms())
    }
}

/// Closed range of calendar days.
#[derive(Debug, Clone, Default, InputObject)]
pub struct DateRange {
    /// The first day.
    pub from: Option<LocalDate>,
    /// The last day.
    pub until: Option<LocalDate>,
}

/// Adds a half-open range of instants to a list's conditions.
#[must_use]
pub fn in_range(mut list: List, column: &str, range: Option<&DateTimeRange>) -> List {
    let Some(range) = range else { return list };
    if let Some(from) = &range.from {
        list = list.and(&format!("{column} >= {{}}"), from.ms());
    }
    if let Some(until) = &range.until {
        list = list.and(&format!("{column} < {{}}"), until.ms());
    }
    list
}

/// Reads the arguments of a connection.
pub fn page(
    first: Option<i32>,
    after: Option<String>,
    last: Option<i32>,
    before: Option<String>,
) -> Result<Page> {
    let size = |name: &str, count: i32| -> Result<usize> {
        match usize::try_from(count) {
            Ok(count) if (1..=MAX_PAGE).contains(&count) => Ok(count),
            _ => Err(coded("BAD_USER_INPUT", format!("'{name}' must be from 1 to {MAX_PAGE}, not {count}"))),
        }
    };
    let cursor = |name: &str, text: Option<String>| -> Result<Option<Cursor>> {
        text.map(|text| {
            let unknown = || coded("BAD_USER_INPUT", format!("'{name}' is not a cursor that this API gave"));
            Cursor::decode(&text).ok_or_else(unknown)
        })
        .transpose()
    };
    let (limit, backwards) = match (first, last) {
        (Some(_), Some(_)) => return Err(coded("BAD_USER_INPUT", "say 'first' or 'last', not both")),
        (Some(count), None) => (size("first", count)?, false),
        (None, Some(count)) => (size("last", count)?, true),
        (None, None) => (DEFAULT_PAGE, before.is_some() && after.is_none()),
    };
    Ok(Page { limit, after: cursor("after", after)?, before: cursor("before", before)?, backwards })
}

/// Refuses a page whose cursors are places in another order than the one by `key`.
pub fn goes_by(page: &Page, key: &str) -> Result<()> {
    if page.goes_by(key) {
        return Ok(());
    }
    let message = "'after' or 'before' is a cursor of another order; begin without it";
    Err(coded("BAD_USER_INPUT", message))
}

/// How the rows of a whole connection are counted.
#[derive(Debug, Clone)]
pub enum Total {
    /// By asking the store.
    Of(List),
    /// They are counted already.
    Known(i64),
}

impl Total {
    /// Counts them.
    pub async fn count(&self, ctx: &Context<'_>) -> Result<i32> {
        let count = match self {
            Self::Known(count) => *count,
            Self::Of(list) => loader::count(ctx, list).await?,
        };
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }
}

/// The page's place.
#[must_use]
pub fn page_info<T>(paged: &Paged<T>) -> PageInfo {
    PageInfo {
        has_next_page: paged.has_next,
        has_previous_page: paged.has_previous,
        start_cursor: paged.rows.first().map(|(cursor, _)| cursor.encode()),
        end_cursor: paged.rows.last().map(|(cursor, _)| cursor.encode()),
    }
}

/// A row's place, put in words only for who asks for it: to GraphQL it is a string.
#[derive(Debug, Clone)]
pub struct Place(pub Cursor);

#[async_trait::async_trait]
impl OutputType for Place {
    fn type_name() -> Cow<'static, str> {
        String::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <String as OutputType>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        _: &ContextSelectionSet<'_>,
        _: &Positioned<Field>,
    ) -> ServerResult<async_graphql::Value> {
        Ok(async_graphql::Value::String(self.0.encode()))
    }
}

/// A page of a list that is in memory, sorted by key and id already. A cursor's row may have gone since.
#[must_use]
pub fn page_of<T>(mut rows: Vec<(Cursor, T)>, page: &Page, descending: bool) -> Paged<T> {
    let order = |one: &Cursor, other: &Cursor| {
        let ascending = (one.text(), one.id).cmp(&(other.text(), other.id));
        if descending { ascending.reverse() } else { ascending }
    };
    let count = |holds: &dyn Fn(&Cursor) -> bool| rows.iter().take_while(|(cursor, _)| holds(cursor)).count();
    let from = page.after.as_ref().map_or(0, |after| count(&|cursor| order(cursor, after).is_le()));
    let to = page.before.as_ref().map_or(rows.len(), |before| count(&|cursor| order(cursor, before).is_lt()));
    let to = to.max(from);
    let (from, to) = if page.backwards {
        (to.saturating_sub(page.limit).max(from), to)
    } else {
        (from, to.min(from + page.limit))
    };
    let has_next = to < rows.len();
    rows.truncate(to);
    Paged { rows: rows.split_off(from), has_previous: from > 0, has_next }
}

macro_rules! connection {
    ($(#[$doc:meta])* $connection:ident, $(#[$edge_doc:meta])* $edge:ident, $node:ty) => {
        $(#[$doc])*
        #[derive(Clone, async_graphql::SimpleObject)]
        #[graphql(complex)]
        pub struct $connection {
            /// The page's rows, each with its place.
            pub edges: Vec<$edge>,
            /// Where the page lies.
            pub page_info: $crate::graphql::connection::PageInfo,
            #[graphql(skip)]
            total: $crate::graphql::connection::Total,
        }

        $(#[$edge_doc])*
        #[derive(Clone, async_graphql::SimpleObject)]
        pub struct $edge {
            /// Its place.
            pub cursor: $crate::graphql::connection::Place,
            /// The row.
            pub node: $node,
        }

        #[async_graphql::ComplexObject]
        impl $connection {
            /// The page's rows, without their places.
            async fn nodes(&self) -> Vec<&$node> {
                self.edges.iter().map(|edge| &edge.node).collect()
            }

            /// Counted over the whole connection: ask only when needed.
            async fn total_count(&self, ctx: &async_graphql::Context<'_>) -> async_graphql::Result<i32> {
                self.total.count(ctx).await
            }
        }

        impl $connection {
            /// The page as the API gives it.
            pub(crate) fn new<T>(
                paged: $crate::store::page::Paged<T>,
                total: $crate::graphql::connection::Total,
                wrap: impl Fn(T) -> $node,
            ) -> Self {
                let page_info = $crate::graphql::connection::page_info(&paged);
                let rows = paged.rows.into_iter();
                let edges = rows.map(|(cursor, row)| $edge { cursor: $crate::graphql::connection::Place(cursor), node: wrap(row) }).collect();
                Self { edges, page_info, total }
            }
        }
    };
}
pub(crate) use connection;

/// Reads a page of a list of entities; those of all rows of an answer are read in one statement.
pub async fn read<E: crate::store::entity::Entity>(
    ctx: &Context<'_>,
    list: List,
    page: &Page,
) -> Result<(Paged<E>, Total)> {
    // A column that a list forgets would be read as nothing.
    debug_assert_eq!(
        Some(list.columns),
        list.columns.split_once('.').map(|(name, _)| columns_of::<E>(name)).as_deref()
    );
    goes_by(page, list.key)?;
    let paged = loader::page::<E>(ctx, &list, page).await?;
    count_rows(ctx, paged.rows.len())?;
    Ok((paged, Total::Of(list)))
}
