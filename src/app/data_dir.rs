//! The data directory, locked by the running process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("service.data_dir: cannot create {path}: {source}", path = .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error(
        "service.data_dir: {path} is in use by another running veltrix, which holds the lock on {path}/LOCK",
        path = .path.display()
    )]
    InUse { path: PathBuf },
    #[error("service.data_dir: cannot lock {path}: {source}", path = .path.display())]
    Lock { path: PathBuf, source: io::Error },
}

/// Creates the directory if need be and locks it. The kernel frees the lock when the process ends, however it ends.
pub(crate) fn lock(path: &Path) -> Result<File, DataDirError> {
    std::fs::create_dir_all(path).map_err(|source| DataDirError::Create {
        path: path.to_owned(),
        source,
    })?;
    let lock_path = path.join("LOCK");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(failed(&lock_path))?;
    take(&file, FlockOperation::NonBlockingLockExclusive, path)?;
    Ok(file)
}

/// Keeps a process from starting in the directory while it is read, unless none has ever run in it; several may read it.
pub(crate) fn lock_to_read(path: &Path) -> Result<Option<File>, DataDirError> {
    let lock_path = path.join("LOCK");
    let file = match File::open(&lock_path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&lock_path)(error)),
    };
    take(&file, FlockOperation::NonBlockingLockShared, path)?;
    Ok(Some(file))
}

fn take(file: &File, operation: FlockOperation, path: &Path) -> Result<(), DataDirError> {
    match flock(file, operation) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed(&path.join("LOCK"))(error.into())),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Lock { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_until_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().to_string().contains("in use"));
        assert!(lock_to_read(dir.path()).is_err());
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn several_may_read_what_nobody_runs_in() {
        let dir = tempfile::tempdir().unwrap();
        assert!(lock_to_read(dir.path()).unwrap().is_none());
        drop(lock(dir.path()).unwrap());
        let readers = [lock_to_read(dir.path()), lock_to_read(dir.path())];
        assert!(readers.iter().all(|reader| matches!(reader, Ok(Some(_)))));
        assert!(lock(dir.path()).is_err());
    }
}
