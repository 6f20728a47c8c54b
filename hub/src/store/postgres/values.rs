//! Values on their way to a PostgreSQL server and back.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgColumn, PgRow, PgTypeInfo};
use sqlx::{AssertSqlSafe, Column as _, Encode, Postgres, Row as _, Type, TypeInfo as _};

use super::super::{Row, StoreError, Value};

/// Nothing, of whatever type its place has.
struct Nothing;

impl Type<Postgres> for Nothing {
    fn type_info() -> PgTypeInfo {
        // Type 0 leaves it to the server (PostgreSQL protocol, "Parse").
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Nothing {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

/// A statement with its values, and behind them its lists.
pub(super) fn bind(
    sql: &str,
    values: Vec<Value>,
    lists: Vec<Vec<Value>>,
) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for value in values {
        query = match value {
            Value::Null => query.bind(Nothing),
            Value::Int(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        };
    }
    for list in lists {
        // An array's type is that of what it holds; one that holds nothing is in no list.
        query = match list.iter().find(|value| **value != Value::Null) {
            Some(Value::Int(_)) => query.bind(each(list, |value| match value {
                Value::Int(number) => Some(number),
                _ => None,
            })),
            Some(Value::Text(_)) => query.bind(each(list, |value| match value {
                Value::Text(text) => Some(text),
                _ => None,
            })),
            _ => query.bind(each(list, |value| match value {
                Value::Bytes(bytes) => Some(bytes),
                _ => None,
            })),
        };
    }
    query
}

fn each<T>(list: Vec<Value>, read: fn(Value) -> Option<T>) -> Vec<Option<T>> {
    list.into_iter().map(read).collect()
}

/// How a column's values are read.
#[derive(Clone, Copy)]
enum Kind {
    Int8,
    Int4,
    Bool,
    Bytes,
    Text,
}

impl Kind {
    fn of(column: &PgColumn) -> Self {
        match column.type_info().name() {
            "INT8" => Self::Int8,
            "INT4" => Self::Int4,
            "BOOL" => Self::Bool,
            "BYTEA" => Self::Bytes,
            _ => Self::Text,
        }
    }

    fn read(self, row: &PgRow, index: usize) -> Result<Value, sqlx::Error> {
        // Of what type it is was looked at once for the column; of any other it may be none of ours.
        Ok(match self {
            Self::Int8 => row.try_get_unchecked::<Option<i64>, _>(index)?.map(Value::Int),
            Self::Int4 => {
                row.try_get_unchecked::<Option<i32>, _>(index)?.map(|number| Value::Int(number.into()))
            }
            Self::Bool => row.try_get_unchecked::<Option<bool>, _>(index)?.map(|is| Value::Int(is.into())),
            Self::Bytes => row.try_get_unchecked::<Option<Vec<u8>>, _>(index)?.map(Value::Bytes),
            Self::Text => row.try_get::<Option<String>, _>(index)?.map(Value::Text),
        }
        .unwrap_or(Value::Null))
    }
}

/// The rows of one answer, whose columns are the same.
pub(super) fn rows_of(rows: &[PgRow]) -> Result<Vec<Row>, StoreError> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let kinds: Vec<Kind> = first.columns().iter().map(Kind::of).collect();
    let read = |row: &PgRow| {
        let values = kinds.iter().enumerate().map(|(index, kind)| kind.read(row, index));
        Ok(Row::new(values.collect::<Result<_, sqlx::Error>>()?))
    };
    rows.iter().map(read).collect()
}
