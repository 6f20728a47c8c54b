//! The seam to the file system: what the journal needs of a disk, and the real one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// What the journal needs of a disk: one folder of files.
pub trait Disk: Send {
    /// An open file.
    type File: Send;
    /// The names of all files.
    ///
    /// # Errors
    /// When the disk fails.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file of this size, all zeros, and makes its name durable.
    ///
    /// # Errors
    /// When the disk is full or fails.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Self::File>;
    /// Opens a file for writing.
    ///
    /// # Errors
    /// When the disk fails.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Reads a whole file.
    ///
    /// # Errors
    /// When the disk fails.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Writes at an offset, all of it.
    ///
    /// # Errors
    /// When the disk fails.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    /// When the disk fails; what was written may be lost then, and no later success changes that.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Removes a file and makes that durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A folder of the machine's file system.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder; made, for its owner alone, when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<File> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        file.sync_all()?;
        self.sync_names()?;
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.path.join(name))
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))?;
        self.sync_names()
    }
}
