//! A copy of the database as it is at one instant, taken also while a hub serves it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// Copies a SQLite database; gives how many bytes the copy has. The copy is whole and on the disk when this returns, and
/// only its owner may read it; where it fails, nothing stands at `to`.
///
/// # Errors
/// When there is no database, something stands at `to` already, the disk is full or fails, or the copy is not sound.
pub async fn backup(from: &Path, to: &Path) -> anyhow::Result<u64> {
    ensure!(from.exists(), "there is no database {}", from.display());
    if to.exists() {
        bail!("{} is there already; name a file that is not, for instance with the date in it", to.display());
    }
    let part = PathBuf::from(format!("{}.part", to.display()));
    let made = copy(from, &part).await;
    if made.is_err() {
        std::fs::remove_file(&part).ok();
    }
    let bytes = made.with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))?;
    std::fs::rename(&part, to).with_context(|| format!("{} cannot be renamed", part.display()))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(bytes)
}

async fn copy(from: &Path, part: &Path) -> anyhow::Result<u64> {
    // SQLite takes an empty file, and leaves it its mode.
    File::options().write(true).create(true).truncate(true).mode(0o600).open(part)?;
    let mut database = SqliteConnectOptions::new().filename(from).connect().await?;
    let name = part.to_str().context("the file's name is no text")?;
    sqlx::query("VACUUM INTO ?").bind(name).execute(&mut database).await?;
    database.close().await?;
    let mut copied = SqliteConnectOptions::new().filename(part).read_only(true).connect().await?;
    let sound: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut copied).await?;
    copied.close().await?;
    ensure!(sound == "ok", "the copy is not sound: {sound}");
    let file = File::open(part)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
