//! What each import source named last.

use std::collections::BTreeSet;

use super::{StoreError, Tx, Value};

impl Tx {
    /// What a source named of a kind.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn imported(&mut self, source: &str, kind: &str) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT name FROM import_item WHERE source = $1 AND kind = $2";
        let rows = self.fetch(sql, vec![source.into(), kind.into()]).await?;
        rows.into_iter().map(|mut row| row.next("import_item.name")).collect()
    }

    /// What all sources but one named of a kind.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn imported_by_others(
        &mut self,
        source: &str,
        kind: &str,
    ) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT DISTINCT name FROM import_item WHERE source <> $1 AND kind = $2";
        let rows = self.fetch(sql, vec![source.into(), kind.into()]).await?;
        rows.into_iter().map(|mut row| row.next("import_item.name")).collect()
    }

    /// What other sources than one named of a kind of some things: names that begin with a thing's and a tabulator.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn imported_by_others_of(
        &mut self,
        source: &str,
        kind: &str,
        things: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let mut found = BTreeSet::new();
        // The next character after a tabulator ends the range.
        let sql = "SELECT DISTINCT name FROM import_item WHERE kind = $1 AND name >= $2 AND name < $3 AND source <> $4";
        for thing in things {
            let (from, until) = (format!("{thing}\t"), format!("{thing}\n"));
            let rows = self.fetch(sql, vec![kind.into(), from.into(), until.into(), source.into()]).await?;
            for mut row in rows {
                found.insert(row.next("import_item.name")?);
            }
        }
        Ok(found)
    }

    /// Notes what a source names.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn note_imported(
        &mut self,
        source: &str,
        kind: &str,
        names: &[&String],
    ) -> Result<(), StoreError> {
        let rows = names.iter().map(|name| vec![source.into(), kind.into(), name.as_str().into()]).collect();
        self.insert("INSERT INTO import_item (source, kind, name) VALUES {}", rows).await?;
        Ok(())
    }

    /// Which of some names any source names.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn imported_by_any(
        &mut self,
        kind: &str,
        names: &[String],
    ) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT DISTINCT name FROM import_item WHERE kind = $1 AND name IN ({})";
        let rows =
            self.fetch_in(sql, &[kind.into()], names.iter().map(|name| Value::from(name.as_str()))).await?;
        rows.into_iter().map(|mut row| row.next("import_item.name")).collect()
    }

    /// Forgets what a source does not name any more.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn forget_imported(
        &mut self,
        source: &str,
        kind: &str,
        names: &[String],
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM import_item WHERE source = $1 AND kind = $2 AND name IN ({})";
        let before = [Value::from(source), Value::from(kind)];
        self.execute_in(sql, &before, names.iter().map(|name| Value::from(name.as_str()))).await?;
        Ok(())
    }

    /// Forgets which sessions a source named, and what it said of them; what was made of that stays, and what it called off it, or
    /// whoever takes them over, can still give back.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn forget_source(&mut self, source: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM import_item WHERE source = $1 AND kind IN ('sessions', 'words of sessions', 'groups of sessions', \
                   'rooms of sessions')";
        self.execute(sql, vec![source.into()]).await?;
        Ok(())
    }

    /// Forgets names of a kind, whichever source gave them.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn forget_imported_by_all(&mut self, kind: &str, names: &[String]) -> Result<(), StoreError> {
        let sql = "DELETE FROM import_item WHERE kind = $1 AND name IN ({})";
        let names = names.iter().map(|name| Value::from(name.as_str()));
        self.execute_in(sql, &[kind.into()], names).await?;
        Ok(())
    }
}
