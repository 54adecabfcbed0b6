//! Followed files that were renamed while the process was down, to names that match no more: found by their inodes.

use std::os::unix::fs::DirEntryExt;
use std::path::Path;

use super::Reading;
use super::position::Identity;
use super::progress::Known;
use super::tail::Tail;

/// The files that an earlier run followed and did not read to their ends, under the names that they have now.
pub(super) fn find(globs: &[String], reading: &Reading) -> Vec<Tail> {
    let patterns: Vec<_> = globs
        .iter()
        .filter_map(|glob| glob::Pattern::new(glob).ok())
        .collect();
    let mut found = Vec::new();
    for (file, known) in reading.progress.unseen() {
        let is_wanted = patterns
            .iter()
            .any(|pattern| pattern.matches_path(&known.path));
        if !is_wanted || is_it(&known.path, &file) {
            // It is the config that has changed, or the file waits to be opened.
            continue;
        }
        let name = reading.port.name();
        match look_for(&file, &known, reading) {
            Some(tail) => {
                tracing::info!(source = name, path = %known.path.display(), now = %tail.path.display(), "rotated since the last run, reading its rest");
                found.push(tail);
            }
            None => {
                tracing::warn!(source = name, path = %known.path.display(), "rotated or removed since the last run, and not to be found: what it got since then is not read");
                reading.progress.forget(&file, reading.port.submitted());
            }
        }
    }
    found
}

fn look_for(file: &Identity, known: &Known, reading: &Reading) -> Option<Tail> {
    let folder = known.path.parent().filter(|path| *path != Path::new(""));
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let same_inode = entries
        .flatten()
        .filter(|entry| entry.ino() == file.inode());
    let path = same_inode
        .map(|entry| entry.path())
        .find(|path| is_it(path, file))?;
    Tail::open(&path, reading).ok()
}

fn is_it(path: &Path, file: &Identity) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| {
        let found = Identity::of(&metadata);
        found == *file || found.has_moved_device(file)
    })
}
