//! Which file it is whatever its name, and how far it was read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Bytes before a position that are remembered by their checksum.
const CHECKED_BYTES_MAX: usize = 256;

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970 at which it was made, since inodes are used again; 0 where the file system does not know.
    born: u64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: born.map_or(0, |born| u64::try_from(born.as_nanos()).unwrap_or(0)),
        }
    }

    /// Whether it is the other one on a device that has got another number, as happens when the machine starts again.
    pub(super) fn has_moved_device(&self, other: &Self) -> bool {
        self.born != 0 && (self.inode, self.born) == (other.inode, other.born)
    }

    /// The inode, which a listing of a directory has without looking at the file.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }
}

/// How far a file was read, always up to a line's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) offset: u64,
    /// So many bytes before it had this checksum.
    checked: u16,
    checksum: u32,
}

impl Position {
    /// The start of any file.
    pub(super) const START: Self = Self {
        offset: 0,
        checked: 0,
        checksum: 0,
    };

    /// Behind `read`, which ends at `offset`.
    pub(super) fn behind(read: &[u8], offset: u64) -> Self {
        let last = &read[read.len().saturating_sub(CHECKED_BYTES_MAX)..];
        Self {
            offset,
            checked: last.len() as u16,
            checksum: crc32c::crc32c(last),
        }
    }

    /// Whether the file still has what was read before the position.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        let mut last = vec![0; usize::from(self.checked)];
        let Some(start) = self.offset.checked_sub(last.len() as u64) else {
            return Ok(false);
        };
        match file.read_exact_at(&mut last, start) {
            Ok(()) => Ok(crc32c::crc32c(&last) == self.checksum),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_fits_only_behind_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let text = "line 1\nline 2\n".repeat(100);
        std::fs::write(&path, &text).unwrap();
        let fits = |position: &Position| position.fits(&File::open(&path).unwrap()).unwrap();
        let position = Position::behind(&text.as_bytes()[..700], 700);
        assert!(fits(&position) && fits(&Position::START));
        assert!(!fits(&Position::behind(&text.as_bytes()[..700], 701)));
        std::fs::write(&path, &text[..699]).unwrap();
        assert!(!fits(&position));
        std::fs::write(&path, text.replacen("line 2\n", "line 3\n", 50)).unwrap();
        assert!(!fits(&position));
    }

    #[test]
    fn a_file_keeps_its_identity_when_it_is_renamed_and_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let identity = |path| Identity::of(&std::fs::metadata(path).unwrap());
        std::fs::write(&a, "x").unwrap();
        let before = identity(&a);
        std::fs::rename(&a, &b).unwrap();
        std::fs::write(&b, "longer").unwrap();
        std::fs::write(&a, "x").unwrap();
        assert_eq!(identity(&b), before);
        assert_ne!(identity(&a), before);
        let elsewhere = Identity {
            device: before.device + 1,
            ..before
        };
        assert_eq!(elsewhere.has_moved_device(&before), before.born != 0);
        assert!(!identity(&a).has_moved_device(&before));
    }
}
