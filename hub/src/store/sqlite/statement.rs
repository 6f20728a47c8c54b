//! One statement on a connection: its text as SQLite reads it fast, values in, rows out.

use rusqlite::types::{Null, ValueRef};
use rusqlite::{Connection, Result, Statement};

use super::super::{Row, Value};

/// Runs a statement; gives the count of rows changed.
pub(super) fn execute(connection: &Connection, sql: &str, values: &[Value]) -> Result<u64> {
    let mut statement = connection.prepare_cached(&by_place(sql))?;
    bind(&mut statement, values)?;
    Ok(u64::try_from(statement.raw_execute()?).unwrap_or(u64::MAX))
}

/// Runs a query; gives its rows.
pub(super) fn fetch(connection: &Connection, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(&by_place(sql))?;
    bind(&mut statement, values)?;
    let width = statement.column_count();
    let mut found = statement.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..width).map(|index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::Int(number),
                ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
                // No column of ours holds any other number than whole ones.
                ValueRef::Text(_) | ValueRef::Real(_) => Value::Text(row.get(index)?),
            })
        });
        rows.push(Row::new(values.collect::<Result<_>>()?));
    }
    Ok(rows)
}

fn bind(statement: &mut Statement, values: &[Value]) -> Result<()> {
    for (place, value) in (1..).zip(values) {
        match value {
            Value::Null => statement.raw_bind_parameter(place, Null),
            Value::Int(number) => statement.raw_bind_parameter(place, number),
            Value::Text(text) => statement.raw_bind_parameter(place, text),
            Value::Bytes(bytes) => statement.raw_bind_parameter(place, bytes),
        }?;
    }
    Ok(())
}

/// The same statement with places by number, `?1` for `$1`, or by order alone where they stand in order and once each. To SQLite a
/// number with `$` is a name, and it walks through all names for each that it reads: thousands of values took seconds.
fn by_place(sql: &str) -> String {
    let digits = |piece: &str| piece.bytes().take_while(u8::is_ascii_digit).count();
    let mut in_order = String::with_capacity(sql.len());
    let mut pieces = sql.split('$');
    in_order.extend(pieces.next());
    for (index, piece) in pieces.enumerate() {
        let digits = digits(piece);
        if piece[..digits].parse() != Ok(index + 1) {
            return by_number(sql);
        }
        in_order.push('?');
        in_order.push_str(&piece[digits..]);
    }
    in_order
}

fn by_number(sql: &str) -> String {
    let mut pieces = sql.split('$');
    let mut text = String::with_capacity(sql.len());
    text.extend(pieces.next());
    for piece in pieces {
        text.push(if piece.starts_with(|first: char| first.is_ascii_digit()) { '?' } else { '$' });
        text.push_str(piece);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::by_place;

    #[test]
    fn numbers_in_order_become_places_and_all_others_keep_theirs() {
        assert_eq!(by_place("INSERT INTO t VALUES ($1,$2),($3,$4)"), "INSERT INTO t VALUES (?,?),(?,?)");
        assert_eq!(by_place("SELECT 1"), "SELECT 1");
        assert_eq!(by_place("WHERE a = $1 OR b = $1"), "WHERE a = ?1 OR b = ?1");
        assert_eq!(by_place("WHERE a = $2 AND b = $1"), "WHERE a = ?2 AND b = ?1");
        assert_eq!(by_place("LIKE '$' || $1"), "LIKE '$' || ?1");
    }
}
