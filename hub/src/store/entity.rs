//! The things that have a table of their own, one struct each, and how they are read and written whole.
//!
//! A struct's fields are its table's columns, in order; the first is the id.

use uuid::Uuid;

use super::{Boxed, Row, StoreError, Tx, Value};

/// A thing with a table of its own.
pub trait Entity: Sized + Clone + Send + Sync + 'static {
    /// The table.
    const TABLE: &'static str;
    /// Its columns, the id first, separated by commas.
    const COLUMNS: &'static str;
    /// The column by which people name it, unique.
    const KEY: &'static str;
    /// Reads it from a row of `COLUMNS`.
    ///
    /// # Errors
    /// When a column holds what this program never writes.
    fn read(row: &mut Row) -> Result<Self, StoreError>;
    /// Its values, in the order of `COLUMNS`.
    fn values(&self) -> Vec<Value>;
    /// Its id.
    fn id(&self) -> Uuid;
}

/// A thing's columns, of the table that a statement calls `name`.
#[must_use]
pub fn columns_of<E: Entity>(name: &str) -> String {
    E::COLUMNS.split(", ").map(|column| format!("{name}.{column}")).collect::<Vec<_>>().join(", ")
}

impl Tx {
    /// Reads things by id, in no order, leaving out what is not there.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn by_ids<'a, E: Entity>(
        &'a mut self,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Boxed<'a, Result<Vec<E>, StoreError>> {
        self.by_column("id", ids.into_iter().map(Value::from))
    }

    /// Reads things by the name that people use.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn by_keys<'a, 'k, E: Entity>(
        &'a mut self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Boxed<'a, Result<Vec<E>, StoreError>> {
        self.by_column(E::KEY, keys.into_iter().map(Value::from))
    }

    /// Reads things by any column.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn by_column<'a, E: Entity>(
        &'a mut self,
        column: &'a str,
        values: impl IntoIterator<Item = Value>,
    ) -> Boxed<'a, Result<Vec<E>, StoreError>> {
        let values: Vec<Value> = values.into_iter().collect();
        Box::pin(async move {
            let sql = format!(
                "SELECT {} FROM {} WHERE {column} IN ({{}}) ORDER BY {}",
                E::COLUMNS,
                E::TABLE,
                E::KEY
            );
            self.fetch_in(&sql, &[], values).await?.iter_mut().map(E::read).collect()
        })
    }

    /// Reads all things of a kind, by key.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn all<E: Entity>(&mut self) -> Result<Vec<E>, StoreError> {
        let sql = format!("SELECT {} FROM {} ORDER BY {}", E::COLUMNS, E::TABLE, E::KEY);
        self.fetch(&sql, Vec::new()).await?.iter_mut().map(E::read).collect()
    }

    /// Writes things whole: new ones in, known ids over.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put<E: Entity>(&mut self, things: &[E]) -> Result<(), StoreError> {
        let updates: Vec<String> =
            E::COLUMNS.split(", ").skip(1).map(|column| format!("{column} = excluded.{column}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {{}} ON CONFLICT (id) DO UPDATE SET {}",
            E::TABLE,
            E::COLUMNS,
            updates.join(", ")
        );
        self.insert(&sql, things.iter().map(Entity::values).collect()).await?;
        Ok(())
    }
}

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident in $table:literal by $key:literal {
        $(#[$id_doc:meta])* id: Uuid,
        $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(#[$id_doc])* pub id: Uuid,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Entity for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static str = concat!("id", $(", ", stringify!($field)),*);
            const KEY: &'static str = $key;

            fn read(row: &mut Row) -> Result<Self, StoreError> {
                Ok(Self {
                    id: row.next(concat!($table, ".id"))?,
                    $($field: row.next(concat!($table, ".", stringify!($field)))?,)*
                })
            }

            fn values(&self) -> Vec<Value> {
                vec![self.id.into(), $(self.$field.clone().into()),*]
            }

            fn id(&self) -> Uuid {
                self.id
            }
        }
    };
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, async_graphql::Enum, serde::Serialize,
            serde::Deserialize,
        )]
        pub enum $name { $($(#[$word_doc])* #[serde(rename = $text)] $word,)* }

        impl $name {
            /// The word that is stored and sent.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }

            /// From the word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$word),)* _ => None }
            }
        }

        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                value.word().into()
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value) -> Result<Self, Value> {
                match &value {
                    Value::Text(word) => Self::from_word(word).ok_or(value),
                    _ => Err(value),
                }
            }
        }
    };
}

mod calendar;
mod correction;
mod estate;
mod history;
mod import;
mod people;
mod teaching;
mod webhook;
mod words;

pub use calendar::*;
pub use correction::*;
pub use estate::*;
pub use history::*;
pub use import::*;
pub use people::*;
pub use teaching::*;
pub use webhook::*;
pub use words::*;
