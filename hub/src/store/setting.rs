//! What the hub remembers of itself.

use super::{StoreError, Tx};

impl Tx {
    /// A setting, if it was ever made.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn setting(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        let row = self.fetch_one("SELECT value FROM setting WHERE name = $1", vec![name.into()]).await?;
        row.map(|mut row| row.next("setting.value")).transpose()
    }

    /// Makes a setting, or another of it.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn put_setting(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.execute(sql, vec![name.into(), value.into()]).await?;
        Ok(())
    }

    /// Makes a setting where there is none; gives the one that holds.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn first_setting(&mut self, name: &str, value: String) -> Result<String, StoreError> {
        let sql = "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        self.execute(sql, vec![name.into(), value.as_str().into()]).await?;
        Ok(self.setting(name).await?.unwrap_or(value))
    }
}
