//! One file of the sink: what waits for it, its handle while it is open, and its rotation.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Writing;
use crate::sinks::line_buffer::LineBuffer;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    pub(super) buffer: LineBuffer,
    handle: Option<Handle>,
}

#[derive(Debug)]
struct Handle {
    /// Shared with the thread that syncs it, if there is one.
    file: Arc<File>,
    size_bytes: u64,
}

impl LogFile {
    pub(super) fn new(path: &str) -> Self {
        Self {
            path: PathBuf::from(path),
            buffer: LineBuffer::default(),
            handle: None,
        }
    }

    /// Closes the file; what waits for it stays.
    pub(super) fn close(&mut self) {
        self.handle = None;
    }

    /// Writes everything that waits.
    ///
    /// # Errors
    /// What did not work, with the path; the unwritten rest stays.
    pub(super) fn write(&mut self, writing: &Writing) -> Result<(), String> {
        while !self.buffer.unwritten().is_empty() {
            if let Err(error) = self.write_some(writing) {
                // The next attempt opens it anew: the directory may have been replaced, or the device remounted.
                self.close();
                return Err(format!("cannot write `{}`: {error}", self.path.display()));
            }
        }
        Ok(())
    }

    /// Writes as much as fits into the current file.
    fn write_some(&mut self, writing: &Writing) -> io::Result<()> {
        let handle = match &mut self.handle {
            Some(handle) => handle,
            closed => closed.insert(open(&self.path, self.buffer.is_mid_line())?),
        };
        if let Some(syncer) = &writing.syncer {
            syncer.written(&handle.file);
        }
        let Some(rotate) = writing.rotate else {
            return self.buffer.write_to(&mut &*handle.file, usize::MAX);
        };
        let room = usize::try_from((rotate.size.0 as u64).saturating_sub(handle.size_bytes));
        let room = room.unwrap_or(usize::MAX);
        let count = whole_lines(self.buffer.unwritten(), room);
        let count = match count {
            // A line begun in this file ends in it, and a line longer than a file has one of its own.
            0 if self.buffer.is_mid_line() || handle.size_bytes == 0 => {
                first_line(self.buffer.unwritten())
            }
            0 => {
                self.handle = None;
                return set_aside(&self.path, rotate.keep);
            }
            count => count,
        };
        let before = self.buffer.unwritten().len();
        let written = self.buffer.write_to(&mut &*handle.file, count);
        handle.size_bytes += (before - self.buffer.unwritten().len()) as u64;
        written
    }
}

/// Bytes of the lines that end within the first `room` bytes.
fn whole_lines(bytes: &[u8], room: usize) -> usize {
    let room = room.min(bytes.len());
    memchr::memrchr(b'\n', &bytes[..room]).map_or(0, |newline| newline + 1)
}

fn first_line(bytes: &[u8]) -> usize {
    memchr::memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1)
}

fn open(path: &Path, is_mid_line: bool) -> io::Result<Handle> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    let mut file = options.open(path)?;
    let metadata = file.metadata()?;
    let mut size_bytes = if metadata.is_file() {
        metadata.len()
    } else {
        0
    };
    if size_bytes > 0 && !is_mid_line && !ends_with_newline(path, size_bytes)? {
        // A process that died left a torn line; ours must not become a part of it.
        io::Write::write_all(&mut file, b"\n")?;
        size_bytes += 1;
    }
    let file = Arc::new(file);
    Ok(Handle { file, size_bytes })
}

fn ends_with_newline(path: &Path, size_bytes: u64) -> io::Result<bool> {
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, size_bytes - 1)?;
    Ok(last == *b"\n")
}

/// Moves `path` to `path.1`, that to `path.2` and so on; `path.<keep>` is overwritten.
fn set_aside(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..keep).rev() {
        rename_if_there(&numbered(number), &numbered(number + 1))?;
    }
    rename_if_there(path, &numbered(1))
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;
    use crate::sinks::file::RotateOptions;

    fn lines(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn rotates_between_lines_and_keeps_as_many_as_it_should() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/out.ndjson");
        let mut log = LogFile::new(path.to_str().unwrap());
        let writing = Writing {
            rotate: Some(RotateOptions {
                size: ByteSize(10),
                keep: 2,
            }),
            syncer: None,
        };
        for line in ["aaaa", "bbbb", "cccc", "dddddddddddddddd", "ee"] {
            log.buffer.push(line);
        }
        log.write(&writing).unwrap();
        assert_eq!(lines(&path), "ee\n");
        assert_eq!(
            lines(&path.with_extension("ndjson.1")),
            "dddddddddddddddd\n"
        );
        assert_eq!(lines(&path.with_extension("ndjson.2")), "cccc\n");
        assert!(!path.with_extension("ndjson.3").exists());
        // The size of what is there counts after reopening, too.
        log.close();
        log.buffer.push("fffffff");
        log.write(&writing).unwrap();
        assert_eq!(lines(&path), "fffffff\n");
        assert_eq!(lines(&path.with_extension("ndjson.1")), "ee\n");
    }

    #[test]
    fn ends_a_torn_line_before_it_appends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "{\"torn").unwrap();
        let mut log = LogFile::new(path.to_str().unwrap());
        log.buffer.push("{}");
        log.write(&Writing::default()).unwrap();
        assert_eq!(lines(&path), "{\"torn\n{}\n");
    }

    #[test]
    fn a_directory_that_cannot_be_made_keeps_what_waits() {
        let dir = tempfile::tempdir().unwrap();
        let blocker = dir.path().join("blocker");
        fs::write(&blocker, "").unwrap();
        let path = blocker.join("out");
        let mut log = LogFile::new(path.to_str().unwrap());
        log.buffer.push("{}");
        let error = log.write(&Writing::default()).unwrap_err();
        assert!(error.contains("blocker/out`"), "{error}");
        fs::remove_file(&blocker).unwrap();
        log.write(&Writing::default()).unwrap();
        assert_eq!(lines(&path), "{}\n");
    }
}
