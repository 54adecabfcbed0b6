//! Bringing what was written to the disk, so that it survives a power cut.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::{Advice, fadvise};

/// Files and directories that wait to be synced; each keeps a file open. With more, they are synced at once.
pub(super) const UNSYNCED_FILES_MAX: usize = 128;
/// A file is brought to the disk ahead of its sync in pieces of at least this many bytes, and of whole multiples.
const WRITE_BACK_PIECE_BYTES: u64 = 256 * 1024;

/// What syncs; apart, so that tests can have it fail.
pub(super) trait Disk: Debug + Send + Sync {
    /// Returns once the file's data is on the disk, and as much about it as is needed to read it.
    ///
    /// # Errors
    /// It is not, and the operating system may have dropped it: it is not to be asked again for the same data.
    fn sync_file(&self, file: &File) -> io::Result<()>;

    /// Has `bytes` of the file from `offset` on brought to the disk, and does not wait for it. A hint: `sync_file` does what
    /// this does not.
    fn begin_write_back(&self, file: &File, offset: u64, bytes: NonZeroU64);

    /// Returns once the names in the directory are on the disk.
    ///
    /// # Errors
    /// They are not.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The operating system.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn begin_write_back(&self, file: &File, offset: u64, bytes: NonZeroU64) {
        // Linux begins to write what is dirty in the range, and drops from memory what is on the disk already: little, since a
        // range is named once and not after a sync. What fails shows at the sync.
        if let Err(error) = fadvise(file, offset, Some(bytes), Advice::DontNeed) {
            tracing::debug!(%error, "the write-back of a file cannot be begun");
        }
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// A file that is written to at its end.
#[derive(Debug)]
pub(super) struct OutputFile {
    pub(super) file: File,
    /// The bytes before this were there when it was opened, or are on the disk or on their way.
    write_back_begun: AtomicU64,
}

impl OutputFile {
    /// `file`, which holds `size_bytes`.
    pub(super) fn new(file: File, size_bytes: u64) -> Self {
        Self {
            file,
            write_back_begun: AtomicU64::new(whole_pieces(size_bytes)),
        }
    }

    /// Has what was written since the last call or sync brought to the disk, without waiting for it, and except for the last
    /// piece, which may still grow.
    pub(super) fn begin_write_back(&self, disk: &dyn Disk) {
        let Some(end) = self.whole_pieces() else {
            return;
        };
        // It goes back only if somebody cut the file.
        let begun = self.write_back_begun.swap(end, Ordering::Relaxed);
        if let Some(bytes) = end.checked_sub(begun).and_then(NonZeroU64::new) {
            disk.begin_write_back(&self.file, begun, bytes);
        }
    }

    fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        let end = self.whole_pieces();
        disk.sync_file(&self.file)?;
        if let Some(end) = end {
            self.write_back_begun.fetch_max(end, Ordering::Relaxed);
        }
        Ok(())
    }

    fn whole_pieces(&self) -> Option<u64> {
        let metadata = self.file.metadata().ok()?;
        Some(whole_pieces(metadata.len()))
    }
}

fn whole_pieces(bytes: u64) -> u64 {
    bytes - bytes % WRITE_BACK_PIECE_BYTES
}

/// What was changed and is not known to be on the disk.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// By the address of the file, so that each is there once.
    files: FxHashMap<usize, (Arc<OutputFile>, Arc<Path>)>,
    directories: FxHashSet<PathBuf>,
}

impl Unsynced {
    /// The file at `path` was written to.
    pub(super) fn add_file(&mut self, file: &Arc<OutputFile>, path: &Arc<Path>) {
        self.files
            .entry(Arc::as_ptr(file).addr())
            .or_insert_with(|| (Arc::clone(file), Arc::clone(path)));
    }

    /// A name in the directory was added or changed.
    pub(super) fn add_directory(&mut self, path: &Path) {
        // The parent of a relative file is the empty path.
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        if !self.directories.contains(path) {
            self.directories.insert(path.to_owned());
        }
    }

    pub(super) fn append(&mut self, later: Self) {
        self.files.extend(later.files);
        self.directories.extend(later.directories);
    }

    pub(super) fn files(&self) -> Vec<Arc<OutputFile>> {
        self.files.values().map(|(file, _)| file.clone()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.directories.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.files.len() + self.directories.len() >= UNSYNCED_FILES_MAX
    }

    /// Syncs everything, whatever fails.
    ///
    /// # Errors
    /// What failed first, with its path.
    pub(super) fn sync(self, disk: &dyn Disk) -> Result<(), String> {
        let mut failures = 0;
        let mut first = None;
        let mut note = |path: &Path, result: io::Result<()>| {
            if let Err(error) = result {
                failures += 1;
                first.get_or_insert_with(|| format!("cannot sync `{}`: {error}", path.display()));
            }
        };
        for (file, path) in self.files.values() {
            note(path, file.sync(disk));
        }
        for path in &self.directories {
            note(path, tolerated(disk.sync_directory(path)));
        }
        match first {
            None => Ok(()),
            Some(first) if failures == 1 => Err(first),
            Some(first) => Err(format!("{first} (and {} more)", failures - 1)),
        }
    }
}

/// A directory that is gone has taken its files along, and some file systems sync no directories.
fn tolerated(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    /// Notes from where to where write-back is begun.
    #[derive(Debug, Default)]
    struct Noting(Mutex<Vec<(u64, u64)>>);

    impl Disk for Noting {
        fn sync_file(&self, _: &File) -> io::Result<()> {
            Ok(())
        }

        fn begin_write_back(&self, _: &File, offset: u64, bytes: NonZeroU64) {
            self.0.lock().unwrap().push((offset, offset + bytes.get()));
        }

        fn sync_directory(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn write_back_is_begun_once_for_each_whole_piece_that_no_sync_has_brought() {
        const KIB: u64 = 1024;
        let file = tempfile::tempfile().unwrap();
        let disk = Noting::default();
        let append = |output: &OutputFile, kib: u64| {
            let bytes = vec![b'x'; usize::try_from(kib * KIB).unwrap()];
            (&output.file).write_all(&bytes).unwrap();
        };
        let begin = |output: &OutputFile| {
            output.begin_write_back(&disk);
            std::mem::take(&mut *disk.0.lock().unwrap())
        };
        let output = OutputFile::new(file.try_clone().unwrap(), 0);
        append(&output, 100);
        assert_eq!(begin(&output), []);
        append(&output, 200);
        assert_eq!(begin(&output), [(0, 256 * KIB)]);
        assert_eq!(begin(&output), []);
        // What was there when it was opened is somebody else's.
        let output = OutputFile::new(file, 300 * KIB);
        append(&output, 500);
        assert_eq!(begin(&output), [(256 * KIB, 768 * KIB)]);
        append(&output, 500);
        output.sync(&disk).unwrap();
        assert_eq!(begin(&output), []);
        append(&output, 300);
        assert_eq!(begin(&output), [(1_280 * KIB, 1_536 * KIB)]);
        // Somebody cuts it.
        output.file.set_len(0).unwrap();
        assert_eq!(begin(&output), []);
        output.file.set_len(600 * KIB).unwrap();
        assert_eq!(begin(&output), [(0, 512 * KIB)]);
    }
}
