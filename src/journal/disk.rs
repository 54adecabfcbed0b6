//! A real directory as the log's storage.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::storage::{Storage, ZEROS};

/// Pieces that one `pwritev` takes (`IOV_MAX` of Linux).
const PIECES_PER_WRITE_MAX: usize = 1_024;

/// A directory, `0700`, whose files are `0600`. What is opened is found from its descriptor, so that it may be moved.
#[derive(Debug)]
pub struct DiskStorage {
    directory: File,
    path: PathBuf,
    is_read_only: bool,
    /// Reads that failed: what they would have read may be whole.
    failed_reads: u64,
}

impl DiskStorage {
    /// The directory at `path`, which is made (not its parents) unless it is there.
    ///
    /// # Errors
    /// The directory cannot be made, or not be opened.
    pub fn create(path: &Path) -> io::Result<Self> {
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) => {
                let parent = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Self::at(path, false)
    }

    /// The directory at `path`, in which nothing can be changed.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn read_only(path: &Path) -> io::Result<Self> {
        Self::at(path, true)
    }

    fn at(path: &Path, is_read_only: bool) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: rustix::fs::openat(CWD, path, flags, Mode::empty())?.into(),
            path: path.to_owned(),
            is_read_only,
            failed_reads: 0,
        })
    }

    /// How many reads have failed.
    pub fn failed_reads(&self) -> u64 {
        self.failed_reads
    }

    /// The path by which it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.is_read_only {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(()),
        }
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.directory, name, flags, mode)?.into())
    }
}

impl Storage for DiskStorage {
    type File = File;

    fn list(&mut self, folder: Option<&str>) -> io::Result<Vec<(String, u64)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = folder.unwrap_or(".");
        let directory = match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) if folder.is_some() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut files = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            // What is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let status = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if rustix::fs::FileType::from_raw_mode(status.st_mode).is_file() {
                files.push((name.to_owned(), u64::try_from(status.st_size).unwrap_or(0)));
            }
        }
        Ok(files)
    }

    fn create_folder(&mut self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn create(&mut self, name: &str) -> io::Result<File> {
        self.check_writable()?;
        self.open_with(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&mut self, name: &str) -> io::Result<File> {
        match self.is_read_only {
            true => self.open_with(name, OFlags::RDONLY),
            false => self.open_with(name, OFlags::RDWR),
        }
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()).map_err(Into::into)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        rustix::fs::fsync(&self.directory).map_err(Into::into)
    }

    fn allocate(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        let reserve = || rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes);
        match rustix::io::retry_on_intr(reserve) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => write_zeros(file, bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn truncate(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    fn read_at(&mut self, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(file, buffer, offset);
        self.failed_reads += u64::from(read.is_err());
        read
    }

    fn write_at(&mut self, file: &File, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let pieces = &pieces[..pieces.len().min(PIECES_PER_WRITE_MAX)];
        rustix::io::pwritev(file, pieces, offset).map_err(Into::into)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Takes the room by writing, from the end of the file on, where it cannot be reserved otherwise.
fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let mut offset = file.metadata()?.len();
    while offset < bytes {
        let count = (bytes - offset).min(ZEROS.len() as u64) as usize;
        std::os::unix::fs::FileExt::write_all_at(file, &ZEROS[..count], offset)?;
        offset += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;

    use rustix::io::FdFlags;

    use super::*;

    fn storage() -> (tempfile::TempDir, DiskStorage) {
        let parent = tempfile::tempdir().unwrap();
        let storage = DiskStorage::create(&parent.path().join("journal")).unwrap();
        (parent, storage)
    }

    #[test]
    fn only_the_owner_may_read_what_it_makes() {
        let (parent, mut storage) = storage();
        storage.create("a").unwrap();
        storage.create_folder("quarantine").unwrap();
        storage.create_folder("quarantine").unwrap();
        storage.create("quarantine/b").unwrap();
        let mode = |name: &str| {
            let path = parent.path().join("journal").join(name);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode(""), mode("a")), (0o700, 0o600));
        assert_eq!((mode("quarantine"), mode("quarantine/b")), (0o700, 0o600));
        assert_eq!(storage.list(None).unwrap(), [("a".to_owned(), 0)]);
        assert_eq!(storage.list(Some("quarantine")).unwrap().len(), 1);
        assert!(storage.list(Some("absent")).unwrap().is_empty());
    }

    #[test]
    fn nothing_is_changed_in_a_directory_that_is_only_read() {
        let (parent, mut storage) = storage();
        storage.create("a").unwrap();
        let mut storage = DiskStorage::read_only(&parent.path().join("journal")).unwrap();
        let file = storage.open("a").unwrap();
        assert!(storage.write_at(&file, 0, &[IoSlice::new(b"x")]).is_err());
        assert!(storage.truncate(&file, 1).is_err() && storage.allocate(&file, 1).is_err());
        assert!(storage.create("b").is_err() && storage.create_folder("c").is_err());
        assert!(storage.remove("a").is_err());
        assert_eq!(storage.list(None).unwrap(), [("a".to_owned(), 0)]);
    }

    #[test]
    fn no_other_process_gets_what_is_open_and_no_link_is_followed() {
        let (parent, mut storage) = storage();
        let (made, opened) = (storage.create("a").unwrap(), storage.open("a").unwrap());
        for file in [&storage.directory, &made, &opened] {
            let flags = rustix::io::fcntl_getfd(file).unwrap();
            assert!(flags.contains(FdFlags::CLOEXEC), "{flags:?}");
        }
        let folder = parent.path().join("journal");
        std::os::unix::fs::symlink(folder.join("a"), folder.join("b")).unwrap();
        assert!(storage.open("b").is_err());
        assert_eq!(storage.list(None).unwrap(), [("a".to_owned(), 0)]);
        assert!(DiskStorage::read_only(&folder.join("a")).is_err());
    }

    #[test]
    fn a_sync_that_fails_is_told() {
        let (_parent, mut storage) = storage();
        // Of what no sync is possible.
        let pipe = |end: OwnedFd| File::from(end);
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(storage.sync(&pipe(reader.into())).is_err());
        storage.directory = pipe(writer.into());
        assert!(storage.sync_directory().is_err());
    }

    #[test]
    fn room_is_reserved_zeroed_and_given_back() {
        let (_parent, mut storage) = storage();
        let file = storage.create("a").unwrap();
        storage.allocate(&file, 10_000).unwrap();
        storage
            .write_at(&file, 3, &[IoSlice::new(b"ab"), IoSlice::new(b"cd")])
            .unwrap();
        storage.sync(&file).unwrap();
        storage.sync_directory().unwrap();
        let mut bytes = [1; 8];
        assert_eq!(storage.read_at(&file, 0, &mut bytes).unwrap(), 8);
        assert_eq!(&bytes, b"\0\0\0abcd\0");
        storage.truncate(&file, 5).unwrap();
        assert_eq!(storage.list(None).unwrap(), [("a".to_owned(), 5)]);
        write_zeros(&file, 200_000).unwrap();
        assert_eq!(storage.list(None).unwrap(), [("a".to_owned(), 200_000)]);
        assert!(storage.create("a").is_err());
        storage.remove("a").unwrap();
        write_zeros(&storage.create("b").unwrap(), 100).unwrap();
        assert_eq!(storage.list(None).unwrap(), [("b".to_owned(), 100)]);
        assert_eq!(storage.read_at(&file, 3, &mut bytes[..2]).unwrap(), 2);
    }

    #[test]
    fn more_pieces_than_one_write_takes_are_written_in_part() {
        let (_parent, mut storage) = storage();
        let file = storage.create("a").unwrap();
        let mut pieces = vec![IoSlice::new(b"x"); 3_000];
        assert_eq!(storage.write_at(&file, 0, &pieces).unwrap(), 1_024);
        super::super::storage::write_full(&mut storage, &file, 0, &mut pieces).unwrap();
        assert_eq!(storage.list(None).unwrap(), [("a".to_owned(), 3_000)]);
    }
}
