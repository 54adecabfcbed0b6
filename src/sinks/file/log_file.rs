//! One file of the sink: what waits for it, its handle while it is open, and its rotation.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Writing;
use super::disk::{OutputFile, Unsynced};
use super::torn::{self, Mended};
use crate::sinks::line_buffer::LineBuffer;

/// How often a file that is written to is looked for at its path: somebody may have moved or removed it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct LogFile {
    path: Arc<Path>,
    pub(super) buffer: LineBuffer,
    handle: Option<Handle>,
}

#[derive(Debug)]
struct Handle {
    /// Shared with the thread that syncs it, if there is one.
    file: Arc<OutputFile>,
    size_bytes: u64,
    /// Whether it can be synced: pipes and devices cannot.
    is_regular: bool,
    /// Device and inode, which no other file has while this one is open.
    identity: (u64, u64),
    /// When it was last known to be at its path.
    seen_at: Instant,
}

impl Handle {
    /// Whether the file is still at its path, as far as is known: it is looked for only now and then.
    fn is_at(&mut self, path: &Path) -> bool {
        let now = Instant::now();
        if now.saturating_duration_since(self.seen_at) < LOOK_INTERVAL {
            return true;
        }
        self.seen_at = now;
        fs::metadata(path).is_ok_and(|there| identity(&there) == self.identity)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl LogFile {
    pub(super) fn new(path: &str) -> Self {
        Self {
            path: Path::new(path).into(),
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
    pub(super) fn write(&mut self, writing: &mut Writing) -> Result<(), String> {
        // What was written to the file before is synced with the rest: whoever does that has a share in its handle.
        self.handle.take_if(|handle| !handle.is_at(&self.path));
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
    fn write_some(&mut self, writing: &mut Writing) -> io::Result<()> {
        writing.sync_if_full();
        let handle = match &mut self.handle {
            Some(handle) => handle,
            closed => closed.insert(open(&self.path, &mut self.buffer, &mut writing.unsynced)?),
        };
        if handle.is_regular
            && let Some(unsynced) = &mut writing.unsynced
        {
            unsynced.add_file(&handle.file, &self.path);
        }
        let Some(rotate) = writing.rotate else {
            return self.buffer.write_to(&mut &handle.file.file, usize::MAX);
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
                note_name(&self.path, &mut writing.unsynced);
                return set_aside(&self.path, rotate.keep);
            }
            count => count,
        };
        let before = self.buffer.unwritten().len();
        let written = self.buffer.write_to(&mut &handle.file.file, count);
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

/// Whether the file ends with `begun`, as the one did that it was written to. A file of that name may be another one by now.
fn ends_with(path: &Path, begun: &[u8], size_bytes: u64) -> io::Result<bool> {
    let Some(start) = size_bytes.checked_sub(begun.len() as u64) else {
        return Ok(false);
    };
    let mut end = vec![0; begun.len()];
    File::open(path)?.read_exact_at(&mut end, start)?;
    Ok(end == begun)
}

/// Notes which directories have new names: also that of a file that is there already, since who made it may have died
/// before it was synced.
fn open(
    path: &Path,
    buffer: &mut LineBuffer,
    unsynced: &mut Option<Unsynced>,
) -> io::Result<Handle> {
    if let Some(parent) = path.parent() {
        for missing in parent.ancestors().take_while(|parent| !parent.exists()) {
            note_name(missing, unsynced);
        }
        fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    let mut file = options.open(path)?;
    let metadata = file.metadata()?;
    let is_regular = metadata.is_file();
    let mut size_bytes = if is_regular { metadata.len() } else { 0 };
    if is_regular {
        note_name(path, unsynced);
    }
    if is_regular && buffer.is_mid_line() && !ends_with(path, buffer.begun(), size_bytes)? {
        buffer.begin_again();
    }
    if size_bytes > 0 && !buffer.is_mid_line() {
        match torn::mend(path, &mut file, size_bytes)? {
            Mended::NotNeeded => {}
            Mended::Ended => size_bytes += 1,
            Mended::SetAside(bytes) => size_bytes -= bytes,
        }
    }
    Ok(Handle {
        file: Arc::new(OutputFile::new(file, size_bytes)),
        size_bytes,
        is_regular,
        identity: identity(&metadata),
        seen_at: Instant::now(),
    })
}

/// The name `path` is new in its directory, or another file has it now.
fn note_name(path: &Path, unsynced: &mut Option<Unsynced>) {
    if let (Some(unsynced), Some(parent)) = (unsynced, path.parent()) {
        unsynced.add_directory(parent);
    }
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
        let mut writing = Writing {
            rotate: Some(RotateOptions {
                size: ByteSize(10),
                keep: 2,
            }),
            ..Writing::default()
        };
        for line in ["aaaa", "bbbb", "cccc", "dddddddddddddddd", "ee"] {
            log.buffer.push(line);
        }
        log.write(&mut writing).unwrap();
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
        log.write(&mut writing).unwrap();
        assert_eq!(lines(&path), "fffffff\n");
        assert_eq!(lines(&path.with_extension("ndjson.1")), "ee\n");
    }

    /// Writes a line after a time in which somebody may have moved the file.
    fn write_later(log: &mut LogFile, writing: &mut Writing, line: &str) {
        if let Some(handle) = &mut log.handle {
            handle.seen_at -= LOOK_INTERVAL;
        }
        log.buffer.push(line);
        log.write(writing).unwrap();
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_written_to_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sub");
        let path = folder.join("out");
        let mut log = LogFile::new(path.to_str().unwrap());
        let mut writing = Writing::default();
        write_later(&mut log, &mut writing, "1");
        write_later(&mut log, &mut writing, "2");
        assert_eq!(lines(&path), "1\n2\n");
        fs::rename(&path, folder.join("out.1")).unwrap();
        write_later(&mut log, &mut writing, "3");
        assert_eq!(lines(&folder.join("out.1")), "1\n2\n");
        assert_eq!(lines(&path), "3\n");
        fs::remove_file(&path).unwrap();
        write_later(&mut log, &mut writing, "4");
        assert_eq!(lines(&path), "4\n");
        fs::rename(&path, folder.join("out.1")).unwrap();
        fs::write(&path, "another\n").unwrap();
        write_later(&mut log, &mut writing, "5");
        assert_eq!(lines(&path), "another\n5\n");
        fs::remove_dir_all(&folder).unwrap();
        write_later(&mut log, &mut writing, "6");
        assert_eq!(lines(&path), "6\n");
    }

    /// A disk that is full after some bytes.
    struct Full<'a>(&'a Path, usize);

    impl io::Write for Full<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = std::mem::take(&mut self.1).min(bytes.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let mut file = OpenOptions::new().create(true).append(true).open(self.0)?;
            file.write_all(&bytes[..room]).map(|()| room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_begun_goes_on_in_its_file_and_begins_again_in_another() {
        type Meanwhile = fn(&Path);
        let cases: [(&str, Meanwhile, &str); 4] = [
            ("the same", |_| {}, "1\n2345\n6\n"),
            (
                "removed",
                |path| fs::remove_file(path).unwrap(),
                "2345\n6\n",
            ),
            (
                "made anew",
                |path| {
                    fs::remove_file(path).unwrap();
                    fs::write(path, "other\n").unwrap();
                },
                "other\n2345\n6\n",
            ),
            (
                "longer",
                |path| {
                    let mut text = fs::read(path).unwrap();
                    text.extend(b"?\n");
                    fs::write(path, text).unwrap();
                },
                "1\n23?\n2345\n6\n",
            ),
        ];
        for (case, meanwhile, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out");
            let mut log = LogFile::new(path.to_str().unwrap());
            for line in ["1", "2345", "6"] {
                log.buffer.push(line);
            }
            let full = log.buffer.write_to(&mut Full(&path, 4), usize::MAX);
            assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
            meanwhile(&path);
            log.write(&mut Writing::default()).unwrap();
            assert_eq!(lines(&path), expected, "{case}");
        }
    }

    #[test]
    fn a_file_that_was_just_seen_is_not_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut log = LogFile::new(path.to_str().unwrap());
        log.buffer.push("1");
        log.write(&mut Writing::default()).unwrap();
        let handle = log.handle.as_mut().unwrap();
        handle.seen_at += Duration::from_secs(60);
        fs::remove_file(&path).unwrap();
        assert!(handle.is_at(&path));
        handle.seen_at -= Duration::from_secs(60) + LOOK_INTERVAL;
        assert!(!handle.is_at(&path));
    }

    #[test]
    fn a_torn_line_is_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "{\"torn").unwrap();
        let mut log = LogFile::new(path.to_str().unwrap());
        log.buffer.push("{}");
        log.write(&mut Writing::default()).unwrap();
        assert_eq!(lines(&path), "{}\n");
        assert_eq!(lines(&torn::name_of_torn(&path)), "{\"torn\n");
    }

    #[test]
    fn a_directory_that_cannot_be_made_keeps_what_waits() {
        let dir = tempfile::tempdir().unwrap();
        let blocker = dir.path().join("blocker");
        fs::write(&blocker, "").unwrap();
        let path = blocker.join("out");
        let mut log = LogFile::new(path.to_str().unwrap());
        log.buffer.push("{}");
        let error = log.write(&mut Writing::default()).unwrap_err();
        assert!(error.contains("blocker/out`"), "{error}");
        fs::remove_file(&blocker).unwrap();
        log.write(&mut Writing::default()).unwrap();
        assert_eq!(lines(&path), "{}\n");
    }
}
