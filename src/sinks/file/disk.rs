//! Bringing what was written to the disk, so that it survives a power cut.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

/// Files and directories that wait to be synced; each keeps a file open. With more, they are synced at once.
pub(super) const UNSYNCED_FILES_MAX: usize = 128;

/// What syncs; apart, so that tests can have it fail.
pub(super) trait Disk: Debug + Send + Sync {
    /// Returns once the file's data is on the disk, and as much about it as is needed to read it.
    ///
    /// # Errors
    /// It is not, and the operating system may have dropped it: it is not to be asked again for the same data.
    fn sync_file(&self, file: &File) -> io::Result<()>;

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

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// What was changed and is not known to be on the disk.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// By the address of the file, so that each is there once.
    files: FxHashMap<usize, (Arc<File>, Arc<Path>)>,
    directories: FxHashSet<PathBuf>,
}

impl Unsynced {
    /// The file at `path` was written to.
    pub(super) fn add_file(&mut self, file: &Arc<File>, path: &Arc<Path>) {
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
            note(path, disk.sync_file(file));
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
