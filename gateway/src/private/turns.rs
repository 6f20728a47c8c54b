//! A file that goes on being written when the disk is full, however the power goes: two places, made once and written over in
//! turn, so that what was kept before is whole while the other one is written.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// CRC32C of all that follows in the place (4), number (8), length (8), little-endian; then the bytes.
const HEAD: usize = 20;
/// Places begin in blocks of their own.
const BLOCK: usize = 4_096;

/// Such a file.
#[derive(Debug)]
pub(crate) struct InTurn {
    path: PathBuf,
    /// The number of what was kept last; which place it stands in goes by that.
    number: u64,
    /// How long a place is, in bytes; 0 while there is no file.
    place: usize,
}

impl InTurn {
    /// Opens it; gives what was kept last, if that can be read.
    pub(crate) fn open(path: &Path) -> (Self, Option<Vec<u8>>) {
        let bytes = std::fs::read(path).unwrap_or_default();
        let place = match bytes.len() {
            length if length.is_multiple_of(2 * BLOCK) => length / 2,
            // It is made anew.
            _ => 0,
        };
        let places = [&bytes[..place], &bytes[place..2 * place]];
        let newest = places.into_iter().filter_map(framed).max_by_key(|(number, _)| *number);
        let number = newest.map_or(0, |(number, _)| number);
        (Self { path: path.to_owned(), number, place }, newest.map(|(_, kept)| kept.to_vec()))
    }

    /// Keeps bytes; on the disk when this returns.
    ///
    /// # Errors
    /// When the disk refuses, or is full and never had room for so much. What was kept before still is.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let number = self.number + 1;
        let frame = frame(number, bytes);
        let at = |place: usize| place * usize::from(!number.is_multiple_of(2));
        if frame.len() <= self.place {
            let file = OpenOptions::new().write(true).open(&self.path).inspect_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    self.place = 0;
                }
            })?;
            file.write_all_at(&frame, at(self.place) as u64)?;
            file.sync_all()?;
        } else {
            // With room to grow, as there may be none later.
            let place = (2 * frame.len()).next_multiple_of(BLOCK);
            let mut whole = vec![0; 2 * place];
            whole[at(place)..][..frame.len()].copy_from_slice(&frame);
            // Where it failed at the end, nobody knows which of the two is there.
            self.place = 0;
            super::write(&self.path, &whole)?;
            self.place = place;
        }
        self.number = number;
        Ok(())
    }
}

fn frame(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend(number.to_le_bytes());
    frame.extend((bytes.len() as u64).to_le_bytes());
    frame.extend(bytes);
    let crc = crc32c::crc32c(&frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// The number and the bytes in a place; none where they are not whole.
fn framed(place: &[u8]) -> Option<(u64, &[u8])> {
    let (head, behind) = place.split_at_checked(HEAD)?;
    let number = u64::from_le_bytes(head[4..12].try_into().ok()?);
    let length = usize::try_from(u64::from_le_bytes(head[12..].try_into().ok()?)).ok()?;
    let bytes = behind.get(..length)?;
    let crc = crc32c::crc32c(&place[4..HEAD + length]);
    (crc.to_le_bytes() == head[..4]).then_some((number, bytes))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_a_torn_write_leaves_what_was_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        let (mut file, none) = InTurn::open(&path);
        assert_eq!(none, None);
        for (number, bytes) in ["one", "two, longer", "3"].iter().enumerate() {
            file.keep(bytes.as_bytes()).unwrap();
            let whole = std::fs::read(&path).unwrap();
            let (again, kept) = InTurn::open(&path);
            assert_eq!((kept.as_deref(), again.number), (Some(bytes.as_bytes()), number as u64 + 1));
            assert_eq!(whole.len(), 2 * BLOCK, "written over in its place");
        }
        let whole = std::fs::read(&path).unwrap();
        let torn = whole.iter().rposition(|byte| *byte == b'3').unwrap();
        for (at, kept) in [(torn, Some("two, longer")), (BLOCK * 2 - 1, Some("3"))] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let (_, read) = InTurn::open(&path);
            assert_eq!(read.as_deref(), kept.map(str::as_bytes));
        }
        for damaged in [&b"[{"[..], &[], &whole[..100]] {
            std::fs::write(&path, damaged).unwrap();
            let (mut file, none) = InTurn::open(&path);
            assert_eq!(none, None);
            file.keep(b"anew").unwrap();
            assert_eq!(InTurn::open(&path).1.as_deref(), Some(&b"anew"[..]));
        }
    }

    #[test]
    fn what_outgrows_its_place_gets_a_larger_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        let (mut file, _) = InTurn::open(&path);
        for length in [10, BLOCK - HEAD, BLOCK, 10 * BLOCK, 11 * BLOCK, 5] {
            let bytes = vec![b'x'; length];
            file.keep(&bytes).unwrap();
            assert_eq!(InTurn::open(&path).1, Some(bytes), "{length}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(file.keep(b"x").is_err());
        file.keep(b"y").unwrap();
        assert_eq!(InTurn::open(&path).1.as_deref(), Some(&b"y"[..]), "made anew");
        assert!(InTurn::open(&folder.path().join("none").join("kept")).0.keep(b"x").is_err());
    }
}
