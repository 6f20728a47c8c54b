//! File systems of a suite's own, on a loop device or in memory, and what may be done to them.
//!
//! Needs root and loop devices; says so where they cannot be had. Never touches a file system that it did not make.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::tool;

/// How large the file systems are, in MiB; xfs makes none below 300.
const IMAGE_MIB: u64 = 400;

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    image: Option<PathBuf>,
    at: PathBuf,
}

impl Mount {
    /// Makes a file system of a kind (`ext4`, `xfs`) in a file in `folder`, and mounts it there.
    ///
    /// # Errors
    /// When that cannot be done here.
    pub async fn image(kind: &str, folder: &Path) -> Result<Self, String> {
        let (image, at) = (folder.join("disk.img"), folder.join("disk"));
        std::fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(IMAGE_MIB << 20).map_err(|error| error.to_string())?;
        tool(&format!("mkfs.{kind}"), &["-q", &image.display().to_string()]).await?;
        let mount = Self { image: Some(image), at };
        mount.mount().await?;
        Ok(mount)
    }

    /// A file system in memory of so many KiB.
    ///
    /// # Errors
    /// When that cannot be done here.
    pub async fn memory(folder: &Path, kib: u64) -> Result<Self, String> {
        let at = folder.join("disk");
        std::fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        let size = format!("size={kib}k");
        tool("mount", &["-t", "tmpfs", "-o", &size, "rollcall-chaos", &at.display().to_string()]).await?;
        Ok(Self { image: None, at })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// Cuts its power: nothing more reaches the disk, and what the file system had not written is gone. `xfs_io`'s
    /// `shutdown` without `-f` does not flush the log first.
    ///
    /// # Errors
    /// When it could not be cut.
    pub async fn cut(&self) -> Result<(), String> {
        tool("xfs_io", &["-x", "-c", "shutdown", &self.at.display().to_string()]).await.map(|_| ())
    }

    /// The power is back: unmounted, mounted again, its own journal replayed. Nobody may use it meanwhile.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn again(&self) -> Result<(), String> {
        tool("umount", &[&self.at.display().to_string()]).await?;
        self.mount().await
    }

    async fn mount(&self) -> Result<(), String> {
        let Some(image) = &self.image else { return Ok(()) };
        let (image, at) = (image.display().to_string(), self.at.display().to_string());
        tool("mount", &["-o", "loop", &image, &at]).await.map(|_| ())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
