//! Pages of a long list, by keyset: rows added or removed elsewhere neither repeat nor hide rows.
//!
//! A cursor is the sort key and the id of a row, and which key that is. `node` lists of the API are made of these.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::{Row, StoreError, Tx, Value};

/// Where a row stands in its list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which order it is a place in: see [`order_of`]; 0 where nobody knows.
    pub order: u16,
    /// The sort key: text or a number.
    pub key: Value,
    /// The id, which breaks ties.
    pub id: Uuid,
}

impl Cursor {
    /// As text. Opaque to whoever reads it.
    #[must_use]
    pub fn encode(&self) -> String {
        let key = match &self.key {
            Value::Text(text) => format!("t{text}"),
            Value::Int(number) => format!("i{number}"),
            Value::Null | Value::Bytes(_) => "n".to_owned(),
        };
        URL_SAFE_NO_PAD.encode(format!("{}{:04x}{key}", self.id.simple(), self.order))
    }

    /// The sort key as text; empty when it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        if let Value::Text(text) = &self.key { text } else { "" }
    }

    /// From text, `None` when it was not made by [`Cursor::encode`].
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let id = Uuid::try_parse(text.get(..32)?).ok()?;
        let order = text.get(32..36)?;
        if !order.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let key = match (text.get(36..37)?, text.get(37..)?) {
            ("t", rest) => Value::Text(rest.to_owned()),
            ("i", rest) => Value::Int(rest.parse().ok()?),
            _ => return None,
        };
        Some(Self { order: u16::from_str_radix(order, 16).ok()?, key, id })
    }
}

/// A number for the order by a key, so that a place in one order is not taken for one in another.
#[must_use]
pub fn order_of(key: &str) -> u16 {
    key.bytes().fold(1, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)))
}

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Page {
    /// How many rows at the most.
    pub limit: usize,
    /// Only rows behind this one.
    pub after: Option<Cursor>,
    /// Only rows before this one.
    pub before: Option<Cursor>,
    /// The last rows rather than the first.
    pub backwards: bool,
}

impl Page {
    /// The first `limit` rows.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { limit, after: None, before: None, backwards: false }
    }

    /// Whether its cursors are places in the order by a key.
    #[must_use]
    pub fn goes_by(&self, key: &str) -> bool {
        [&self.after, &self.before].into_iter().flatten().all(|cursor| cursor.order == order_of(key))
    }
}

/// A page.
#[derive(Debug, Clone)]
pub struct Paged<T> {
    /// The rows, in the list's order, each with its place.
    pub rows: Vec<(Cursor, T)>,
    /// There are rows before these.
    pub has_previous: bool,
    /// There are rows behind these.
    pub has_next: bool,
}

/// A list: what to select from where, and by which key it is sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List {
    /// `FROM …`, with joins.
    pub from: &'static str,
    /// The columns to read.
    pub columns: &'static str,
    /// The column of the sort key, never null.
    pub key: &'static str,
    /// The column of the id.
    pub id: &'static str,
    /// Biggest key first.
    pub descending: bool,
    /// What all rows must satisfy, joined by AND; values numbered from `$1`.
    pub wheres: Vec<String>,
    /// The values of `wheres`.
    pub values: Vec<Value>,
}

impl List {
    /// Adds a condition; `{}` in it stands for the value's number.
    #[must_use]
    pub fn and(mut self, condition: &str, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self.wheres.push(condition.replace("{}", &format!("${}", self.values.len())));
        self
    }

    /// Adds conditions of which one must hold, each on one value.
    #[must_use]
    pub fn and_any<const N: usize>(mut self, conditions: &[&str; N], values: [String; N]) -> Self {
        let mut all = Vec::new();
        for (condition, value) in conditions.iter().zip(values) {
            self.values.push(value.into());
            all.push(condition.replace("{}", &format!("${}", self.values.len())));
        }
        self.wheres.push(format!("({})", all.join(" OR ")));
        self
    }

    /// Adds a condition on a list of values; `{}` in it stands for their numbers. An empty list holds for
    /// nothing.
    #[must_use]
    pub fn and_in(mut self, condition: &str, values: impl IntoIterator<Item = Value>) -> Self {
        let values: Vec<Value> = values.into_iter().collect();
        if values.is_empty() {
            self.wheres.push("1 = 0".to_owned());
            return self;
        }
        self.wheres.push(condition.replace("{}", &super::lists::marks(self.values.len() + 1, values.len())));
        self.values.extend(values);
        self
    }

    fn condition(&self, more: &[String]) -> String {
        let all: Vec<&str> = self.wheres.iter().chain(more).map(String::as_str).collect();
        if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) }
    }

    /// The statement of one page, and its values.
    fn statement(&self, page: &Page) -> (String, Vec<Value>) {
        let mut values = self.values.clone();
        let mut more = Vec::new();
        for (cursor, behind) in [(&page.after, true), (&page.before, false)] {
            if let Some(cursor) = cursor {
                let sign = if behind != self.descending { '>' } else { '<' };
                let table = |column: &'static str| column.split_once('.').map(|(table, _)| table);
                if table(self.key) != table(self.id) {
                    // No index has both: PostgreSQL begins at a key only where that is a condition of its own.
                    more.push(format!("{} {sign}= ${}", self.key, values.len() + 1));
                    // A place of its own: see `by_place` of SQLite.
                    values.push(cursor.key.clone());
                }
                let number = values.len();
                more.push(format!("({}, {}) {sign} (${}, ${})", self.key, self.id, number + 1, number + 2));
                values.extend([cursor.key.clone(), cursor.id.into()]);
            }
        }
        let direction = if self.descending != page.backwards { "DESC" } else { "ASC" };
        let sql = format!(
            "{}, {}, {} {}{} ORDER BY {} {direction}, {} {direction} LIMIT {}",
            self.key,
            self.id,
            self.columns,
            self.from,
            self.condition(&more),
            self.key,
            self.id,
            page.limit + 1
        );
        (sql, values)
    }

    fn counting(&self) -> String {
        format!("SELECT COUNT(*) {}{}", self.from, self.condition(&[]))
    }
}

/// Reads a page of each of some lists whose rows are alike, all in one statement.
///
/// # Errors
/// When the engine fails or a row holds bad data.
pub async fn pages<T>(
    tx: &mut Tx,
    wanted: &[(&List, &Page)],
    read: impl Fn(&mut Row) -> Result<T, StoreError>,
) -> Result<Vec<Paged<T>>, StoreError> {
    let (mut parts, mut all) = (Vec::new(), Vec::new());
    for (index, (list, page)) in wanted.iter().enumerate() {
        let (sql, values) = list.statement(page);
        // Rows come part by part, each part in its own order.
        parts.push(format!("SELECT * FROM (SELECT {index}, {}) AS part{index}", moved(&sql, all.len())));
        all.extend(values);
    }
    let mut found: Vec<Vec<(Cursor, T)>> = wanted.iter().map(|_| Vec::new()).collect();
    for mut row in tx.fetch(&parts.join(" UNION ALL "), all).await? {
        let index: i64 = row.next("part")?;
        let key = row.next::<Raw>("sort key")?.0;
        let order = usize::try_from(index).ok().and_then(|index| wanted.get(index));
        let order = order.map_or(0, |(list, _)| order_of(list.key));
        let cursor = Cursor { order, key, id: row.next("id")? };
        if let Some(rows) = usize::try_from(index).ok().and_then(|index| found.get_mut(index)) {
            rows.push((cursor, read(&mut row)?));
        }
    }
    let cut = |(mut rows, (_, page)): (Vec<(Cursor, T)>, &(&List, &Page))| {
        let more_there = rows.len() > page.limit;
        rows.truncate(page.limit);
        if page.backwards {
            rows.reverse();
            Paged { rows, has_previous: more_there, has_next: page.before.is_some() }
        } else {
            Paged { rows, has_previous: page.after.is_some(), has_next: more_there }
        }
    };
    Ok(found.into_iter().zip(wanted).map(cut).collect())
}

/// Counts all rows of each of some lists, in one statement.
///
/// # Errors
/// When the engine fails.
pub async fn counts(tx: &mut Tx, lists: &[&List]) -> Result<Vec<i64>, StoreError> {
    let (mut parts, mut all) = (Vec::new(), Vec::new());
    for list in lists {
        parts.push(format!("({})", moved(&list.counting(), all.len())));
        all.extend(list.values.iter().cloned());
    }
    let Some(mut row) = tx.fetch_one(&format!("SELECT {}", parts.join(", ")), all).await? else {
        return Ok(vec![0; lists.len()]);
    };
    lists.iter().map(|_| row.next("count")).collect()
}

/// The same statement with its values' numbers moved on.
fn moved(sql: &str, by: usize) -> String {
    let mut pieces = sql.split('$');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = piece[..digits].parse().unwrap_or_default();
        text.push_str(&format!("${}{}", number + by, &piece[digits..]));
    }
    text
}

struct Raw(Value);

impl super::FromValue for Raw {
    fn from_value(value: Value) -> Result<Self, Value> {
        Ok(Self(value))
    }
}
