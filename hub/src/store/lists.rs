//! Lists in statements: as marks, one for each value, or whole, where an engine takes a list as one value.

use super::{Boxed, Row, StoreError, Value};

/// How many values one statement binds at the most; below every engine's limit.
const MAX_VALUES: usize = 8_000;
/// How many rows one statement inserts at the most.
pub(super) const MAX_ROWS: usize = 500;

/// A transaction of an engine that takes a list as one value: its text is the same however long the list is, and is
/// read once.
pub trait TakesLists: Send {
    /// Runs a statement whose first values are `values`, and the next `lists`; gives the count of rows changed.
    fn execute_lists<'a>(
        &'a mut self,
        sql: &'a str,
        values: Vec<Value>,
        lists: Vec<Vec<Value>>,
    ) -> Boxed<'a, Result<u64, StoreError>>;
    /// Runs a query in the same way; gives its rows.
    fn fetch_lists<'a>(
        &'a mut self,
        sql: &'a str,
        values: Vec<Value>,
        lists: Vec<Vec<Value>>,
    ) -> Boxed<'a, Result<Vec<Row>, StoreError>>;
}

/// Whether a list holds values of one kind, and nothing else.
pub(super) fn is_of_one_kind(list: &[Value]) -> bool {
    list.first()
        .is_some_and(|first| *first != Value::Null && list.iter().all(|it| are_of_one_kind(it, first)))
}

fn are_of_one_kind(one: &Value, other: &Value) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// A statement that compares with a list, in its place behind so many values, as one that takes the list whole.
pub(super) fn with_whole_list(sql: &str, before: usize) -> Option<String> {
    let (head, tail) = sql.split_once(" IN ({})")?;
    Some(format!("{head} = ANY(${}){tail}", before + 1))
}

/// So much of a list as goes into a statement.
pub(super) fn chunks(list: &[Value]) -> std::slice::Chunks<'_, Value> {
    list.chunks(MAX_VALUES)
}

/// A statement with its list filled in, and all its values. The last is said again until there are a power of two: a
/// list means the same then, and an engine meets few texts, which it keeps prepared.
pub(super) fn with_marks(sql: &str, before: &[Value], list: &[Value]) -> (String, Vec<Value>) {
    let count = list.len().next_power_of_two();
    let text = sql.replacen("{}", &marks(before.len() + 1, count), 1);
    let again = list.last().into_iter().cycle().take(count - list.len());
    (text, before.iter().chain(list).chain(again).cloned().collect())
}

/// How many of so many rows of this width one statement inserts where each value has a mark: a power of two, so that an engine meets few texts. Each
/// that it keeps prepared takes memory for all of its marks.
pub(super) fn rows_at_once(width: usize, left: usize) -> usize {
    1 << (MAX_VALUES / width).clamp(1, MAX_ROWS).min(left.max(1)).ilog2()
}

/// A statement that inserts rows, and its values.
pub(super) fn rows_with_marks(sql: &str, width: usize, rows: Vec<Vec<Value>>) -> (String, Vec<Value>) {
    let marks: Vec<String> =
        (0..rows.len()).map(|row| format!("({})", marks(row * width + 1, width))).collect();
    (sql.replacen("{}", &marks.join(","), 1), rows.into_iter().flatten().collect())
}

/// A statement that inserts rows given column by column, and the columns. One that holds nothing has no type to be
/// given by, and is said in the text.
pub(super) fn rows_by_column(sql: &str, rows: &[Vec<Value>]) -> Option<(String, Vec<Vec<Value>>)> {
    let width = rows.first()?.len();
    let mut columns: Vec<Vec<Value>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value.clone());
        }
    }
    let (mut lists, mut picked) = (Vec::new(), Vec::new());
    for column in columns {
        let some: Vec<&Value> = column.iter().filter(|value| **value != Value::Null).collect();
        if some.windows(2).any(|pair| !are_of_one_kind(pair[0], pair[1])) {
            return None;
        }
        if some.is_empty() {
            picked.push("NULL".to_owned());
        } else {
            lists.push(column);
            picked.push(format!("c{}", lists.len()));
        }
    }
    let names: Vec<String> = (1..=lists.len()).map(|number| format!("c{number}")).collect();
    let rows = format!(
        "SELECT {} FROM UNNEST({}) AS given ({})",
        picked.join(","),
        marks(1, lists.len()),
        names.join(",")
    );
    let (head, tail) = sql.split_once("VALUES {}")?;
    (!lists.is_empty()).then(|| (format!("{head}{rows}{tail}"), lists))
}

/// `$from,$from+1,…`, `count` of them.
pub(super) fn marks(from: usize, count: usize) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(count * 5);
    for number in from..from + count {
        if number > from {
            text.push(',');
        }
        let _ = write!(text, "${number}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_one_value_or_as_many_marks_as_a_power_of_two() {
        let sql = "SELECT a FROM t WHERE b = $1 AND c IN ({}) ORDER BY a";
        let whole = "SELECT a FROM t WHERE b = $1 AND c = ANY($2) ORDER BY a";
        assert_eq!(with_whole_list(sql, 1).as_deref(), Some(whole));
        let (text, values) = with_marks(sql, &[Value::Int(0)], &[1.into(), 2.into(), 3.into()]);
        assert_eq!(text, "SELECT a FROM t WHERE b = $1 AND c IN ($2,$3,$4,$5) ORDER BY a");
        assert_eq!(values, [0, 1, 2, 3, 3].map(Value::Int));
        assert!(is_of_one_kind(&[1.into(), 2.into()]));
        for list in [&[][..], &[Value::Null], &[1.into(), "x".into()], &[1.into(), Value::Null]] {
            assert!(!is_of_one_kind(list), "{list:?}");
        }
    }

    #[test]
    fn however_many_rows_there_are_few_texts_insert_them() {
        let mut texts = std::collections::BTreeSet::new();
        for count in 1..=1_000 {
            let mut left = count;
            while left > 0 {
                let some = rows_at_once(25, left);
                assert!((1..=left).contains(&some) && some * 25 <= MAX_VALUES);
                texts.insert(some);
                left -= some;
            }
        }
        assert_eq!(texts.len(), 9, "{texts:?}");
    }

    #[test]
    fn rows_are_given_one_by_one_or_column_by_column() {
        let sql = "INSERT INTO t (a, b, c) VALUES {} ON CONFLICT DO NOTHING";
        let rows = || vec![vec![1.into(), Value::Null, Value::Null], vec![2.into(), Value::Null, "x".into()]];
        let (text, values) = rows_with_marks(sql, 3, rows());
        assert_eq!(text, "INSERT INTO t (a, b, c) VALUES ($1,$2,$3),($4,$5,$6) ON CONFLICT DO NOTHING");
        assert_eq!(values.len(), 6);
        let (text, lists) = rows_by_column(sql, &rows()).unwrap_or_default();
        let by_column = "INSERT INTO t (a, b, c) SELECT c1,NULL,c2 FROM UNNEST($1,$2) AS given (c1,c2) ON CONFLICT DO NOTHING";
        assert_eq!(text, by_column);
        assert_eq!(lists, [vec![Value::Int(1), Value::Int(2)], vec![Value::Null, "x".into()]]);
        assert_eq!(rows_by_column(sql, &[vec![Value::Null]]), None);
        assert_eq!(rows_by_column(sql, &[vec![1.into()], vec!["x".into()]]), None, "of two kinds");
    }
}
