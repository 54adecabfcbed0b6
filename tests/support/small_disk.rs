//! A disk that is soon full: a file system in memory. It takes root to mount one.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

/// A mounted disk; unmounted at the test's end.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one; none where that is not allowed.
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "veltrix-test"])
            .arg(folder.path())
            .status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        is_mounted.then_some(Self { folder })
    }

    /// The absolute path of what is called `name` on it.
    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().expect("a UTF-8 path").to_owned()
    }

    /// Takes all room that is left.
    pub(crate) fn fill(&self) {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.ballast());
        let mut file = file.expect("a file");
        loop {
            match file.write(&[1; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Gives it back.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("filled before");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that a failed test leaves behind has it open for a moment more.
        let mut unmount = Command::new("umount");
        unmount.arg("-l").arg(self.folder.path());
        unmount.status().expect("it was mounted");
    }
}
