//! The disk as the log sees it: a directory of files that are read and written at offsets, and what makes them durable.

use std::io::{self, IoSlice};

/// For whoever writes zeros, or compares with them.
pub(super) static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// Bytes that a disk reads, fails to read, or keeps account of together.
pub(super) const BLOCK_BYTES: u64 = 4 * 1024;

/// One directory. Nothing is durable before its sync has succeeded: neither bytes (`sync`) nor names (`sync_directory`).
///
/// Names are relative to the directory; `FOLDER/NAME` lies in a folder made by `create_folder`. Errors are those of the
/// system.
pub trait Storage {
    /// An open file. It stays readable after its name is removed.
    type File;

    /// The names of the files in the directory or in a folder of it, with their lengths in bytes, in any order. A folder
    /// that does not exist is empty.
    fn list(&mut self, folder: Option<&str>) -> io::Result<Vec<(String, u64)>>;

    /// Makes a folder unless it is there.
    fn create_folder(&mut self, name: &str) -> io::Result<()>;

    /// Creates an empty file for reading and writing; its name must be free.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;

    /// Opens a file.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;

    /// Takes a name away.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Brings the names to the disk: what was created is there after a power cut, what was removed is not.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Reserves room for the first `bytes` of a file, and makes it at least as long; what is new reads as zeros.
    fn allocate(&mut self, file: &Self::File, bytes: u64) -> io::Result<()>;

    /// Cuts a file to `bytes` and gives the room behind them back.
    fn truncate(&mut self, file: &Self::File, bytes: u64) -> io::Result<()>;

    /// Reads from `offset`; 0 at the end of the file.
    fn read_at(&mut self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes the pieces one after the other from `offset` on, or the first so many bytes of them.
    fn write_at(
        &mut self,
        file: &Self::File,
        offset: u64,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize>;

    /// Brings a file's bytes and its length to the disk.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
}

/// Reads until `buffer` is full or the file ends; how much was read.
pub(super) fn read_full<S: Storage>(
    storage: &mut S,
    file: &S::File,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match storage.read_at(file, offset + filled as u64, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all of `pieces`.
pub(super) fn write_full<S: Storage>(
    storage: &mut S,
    file: &S::File,
    mut offset: u64,
    mut pieces: &mut [IoSlice<'_>],
) -> io::Result<()> {
    // Empty pieces in front would make a write of nothing look like a full disk.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match storage.write_at(file, offset, pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) if planted!(ShortWriteIgnored) => return Ok(()),
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut pieces, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the disk, or the share of it that the process may use, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
