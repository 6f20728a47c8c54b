//! The seam to the file system: what the journal needs of a disk, and the real one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// How many zeros are written at once when a file is made.
const ZEROS_AT_ONCE: usize = 256 * 1024;

/// What the journal needs of a disk: one folder of files.
pub trait Disk: Send {
    /// An open file.
    type File: Send;
    /// The names of all files.
    ///
    /// # Errors
    /// When the disk fails.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file of this size, all zeros on the medium itself. What stood under that name is gone. The name is durable
    /// after [`Disk::sync_names`].
    ///
    /// # Errors
    /// When the disk is full ([`io::ErrorKind::StorageFull`]; nothing is left behind) or fails.
    fn create_file(&self, name: &str, bytes: u64) -> io::Result<()>;
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
    /// Reads a part of a file, less where the file ends.
    ///
    /// # Errors
    /// When the disk fails.
    fn read_at(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;
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
    /// Gives a file another name, in place of what stood there; durable after [`Disk::sync_names`].
    ///
    /// # Errors
    /// When the disk fails.
    fn rename_file(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after [`Disk::sync_names`].
    ///
    /// # Errors
    /// When the disk fails.
    fn remove_file(&self, name: &str) -> io::Result<()>;
    /// Makes durable which files there are, and what they are called (`fsync` of the folder).
    ///
    /// # Errors
    /// When the disk fails.
    fn sync_names(&self) -> io::Result<()>;
    /// Makes a file as [`Disk::create_file`] does, and makes its name durable.
    ///
    /// # Errors
    /// When the disk is full (nothing is left behind) or fails.
    fn create(&self, name: &str, bytes: u64) -> io::Result<()> {
        self.create_file(name, bytes)?;
        self.sync_names().inspect_err(|error| {
            if is_full(error) {
                drop(self.remove_file(name));
            }
        })
    }
    /// Gives a file another name, in place of what stood there, and makes that durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_file(from, to)?;
        self.sync_names()
    }
    /// Removes a file and makes that durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_file(name)?;
        self.sync_names()
    }
}

/// Whether a disk had no room, as a whole or for whoever writes.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a spot of the medium cannot be read, while the disk as such is there: `EIO`, and what file systems say
/// whose checksums do not hold (`EBADMSG`, `EUCLEAN`).
#[must_use]
pub fn is_bad_spot(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let spots = [Errno::IO, Errno::BADMSG, Errno::UCLEAN];
    error.raw_os_error().is_some_and(|code| spots.iter().any(|it| it.raw_os_error() == code))
}

/// How much of a file is lost to a bad spot: what the kernel reads at once.
const SPOT_BYTES: u16 = 4_096;

/// How many of them one file may have before the rest of it is tried in larger pieces alone: a medium may take seconds over
/// each.
const MOST_SPOTS: u32 = 64;
/// How much is lost to a bad spot from then on.
const PIECE_BYTES: u32 = 128 * 1_024;

/// What could be read of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Readable {
    /// Its bytes, zeros where they cannot be read.
    pub bytes: Vec<u8>,
    /// There are such.
    pub has_bad_spot: bool,
    /// Nothing of it could be read: where that is so of all files, it is no bad spot, but a disk that is gone.
    pub is_gone: bool,
}

/// Reads a file of so many bytes around bad spots of the medium.
///
/// # Errors
/// When the disk fails otherwise.
pub fn read_around(disk: &impl Disk, name: &str, bytes: u64) -> io::Result<Readable> {
    match disk.read(name) {
        Err(error) if is_bad_spot(&error) => {}
        read => return read.map(|bytes| Readable { bytes, has_bad_spot: false, is_gone: false }),
    }
    let (mut found, mut readable, mut spots) = (Vec::new(), false, 0);
    while (found.len() as u64) < bytes {
        let offset = found.len() as u64;
        let most = if spots < MOST_SPOTS { u64::from(SPOT_BYTES) } else { u64::from(PIECE_BYTES) };
        let wanted = usize::try_from((bytes - offset).min(most)).unwrap_or(usize::MAX);
        match disk.read_at(name, offset, wanted) {
            Ok(some) => {
                readable |= !some.is_empty();
                found.extend_from_slice(&some);
                if some.len() < wanted {
                    break;
                }
            }
            Err(error) if is_bad_spot(&error) => {
                spots += 1;
                found.resize(found.len() + wanted, 0);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Readable { bytes: found, has_bad_spot: true, is_gone: !readable })
}

/// Gives a file another name as [`Disk::rename`] does, unless there is not even room for that: some file systems write a
/// folder anew. Says whether there was.
///
/// # Errors
/// When the disk fails otherwise.
pub fn rename_where_room(disk: &impl Disk, from: &str, to: &str) -> io::Result<bool> {
    match disk.rename_file(from, to) {
        Err(error) if is_full(&error) => Ok(false),
        // What a sync says is another matter, whatever it says.
        renamed => renamed.and_then(|()| disk.sync_names()).map(|()| true),
    }
}

/// Gives a segment the name of one with damage; where there is no room for that, it has the old one until the next start.
/// Gives the name that it has.
///
/// # Errors
/// When the disk fails.
pub fn name_damaged(disk: &impl Disk, name: &str, first: u64) -> io::Result<String> {
    let damaged = format!("segment-{first:020}.damaged");
    if name == damaged || rename_where_room(disk, name, &damaged)? {
        return Ok(damaged);
    }
    Ok(name.to_owned())
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

    /// The folder, which is there.
    #[must_use]
    pub fn there(path: PathBuf) -> Self {
        Self { path }
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

    fn create_file(&self, name: &str, bytes: u64) -> io::Result<()> {
        let path = self.path.join(name);
        let made = (|| {
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
            // Blocks that were written once need no change of the file's own data when they are written again:
            // that makes every later sync cheaper.
            let zeros = vec![0; ZEROS_AT_ONCE];
            let mut at = 0;
            while at < bytes {
                let count = zeros.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
                file.write_all_at(&zeros[..count], at)?;
                at += count as u64;
            }
            file.sync_all()
        })();
        if made.as_ref().is_err_and(is_full) {
            // Half a file would take the place that is missing.
            let _ = std::fs::remove_file(&path);
        }
        made
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.path.join(name))
    }

    fn read_at(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        let mut buffer = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn rename_file(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}
