//! The data directory, locked by the running process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DataDirError {
    #[error("service.data_dir: cannot create {path}: {source}", path = .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("service.data_dir: {path} is in use by another running veltrix", path = .path.display())]
    InUse { path: PathBuf },
    #[error("service.data_dir: cannot lock {path}: {source}", path = .path.display())]
    Lock { path: PathBuf, source: io::Error },
}

/// Creates the directory if need be and locks it. The kernel frees the lock when the process ends, however it ends.
pub(super) fn lock(path: &Path) -> Result<File, DataDirError> {
    std::fs::create_dir_all(path).map_err(|source| DataDirError::Create {
        path: path.to_owned(),
        source,
    })?;
    let lock_path = path.join("LOCK");
    let lock = |source| DataDirError::Lock {
        path: lock_path.clone(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(lock)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(DataDirError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(lock(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_until_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().to_string().contains("in use"));
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }
}
