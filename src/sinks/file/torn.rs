//! The last line of a process that died while it wrote it: set aside, so that the file has whole lines only.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

/// Bytes at the end of a file that are searched for the beginning of its last line.
const TORN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes read at once.
const READ_BYTES: u64 = 64 * 1024;

/// How a file's end was mended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// It was whole.
    NotNeeded,
    /// A newline was added: the line is whole without it, or none that this sink writes.
    Ended,
    /// This many bytes were moved to `NAME.torn`.
    SetAside(u64),
}

/// Makes the file, which has `size_bytes` and is open for appending, end in a newline.
///
/// A line that this sink may have left unfinished is cut off and added to `NAME.torn`: whatever it was, it is not lost.
/// Everything else only gets its newline.
///
/// # Errors
/// What keeps the file from being read or changed.
pub(super) fn mend(path: &Path, file: &mut File, size_bytes: u64) -> io::Result<Mended> {
    let reader = File::open(path)?;
    let mut last = [0];
    reader.read_exact_at(&mut last, size_bytes - 1)?;
    if last == *b"\n" {
        return Ok(Mended::NotNeeded);
    }
    let tail = last_line(&reader, size_bytes)?;
    let is_changed = || Ok::<_, io::Error>(reader.metadata()?.len() != size_bytes);
    match tail {
        Some(tail) if is_torn(&tail) && !is_changed()? => {
            set_aside(path, &tail)?;
            file.set_len(size_bytes - tail.len() as u64)?;
            tracing::warn!(
                path = %path.display(),
                bytes = tail.len(),
                moved_to = %name_of_torn(path).display(),
                "a process that ended in the middle of a line has torn it; it is set aside"
            );
            Ok(Mended::SetAside(tail.len() as u64))
        }
        _ => {
            file.write_all(b"\n")?;
            Ok(Mended::Ended)
        }
    }
}

/// The bytes after the last newline; None if they are too many for a line of ours.
fn last_line(reader: &File, size_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut end = size_bytes;
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(READ_BYTES);
        let mut chunk = vec![0; usize::try_from(end - start).unwrap_or_default()];
        reader.read_exact_at(&mut chunk, start)?;
        let newline = memchr::memrchr(b'\n', &chunk);
        if let Some(newline) = newline {
            chunk.drain(..=newline);
        }
        chunks.push(chunk);
        if newline.is_some() {
            break;
        }
        end = start;
        if size_bytes - end > TORN_BYTES_MAX {
            return Ok(None);
        }
    }
    chunks.reverse();
    Ok(Some(chunks.concat()))
}

/// Whether it is the beginning of an object, which all of our lines are, or what a power cut leaves in the place of
/// unwritten blocks.
fn is_torn(line: &[u8]) -> bool {
    match line.first() {
        Some(b'{') => serde_json::from_slice::<IgnoredAny>(line).is_err(),
        first => first == Some(&0),
    }
}

/// Where torn lines of the file at `path` go.
pub(super) fn name_of_torn(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".torn");
    PathBuf::from(name)
}

/// Synced whatever `sync` says, since the only other copy is cut next.
fn set_aside(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut torn = options.create(true).append(true).open(name_of_torn(path))?;
    torn.write_all(&[line, b"\n"].concat())?;
    torn.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mended(before: &[u8]) -> (Mended, Vec<u8>, Option<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, before).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        let mended = mend(&path, &mut file, before.len() as u64).unwrap();
        (
            mended,
            fs::read(&path).unwrap(),
            fs::read(name_of_torn(&path)).ok(),
        )
    }

    #[test]
    fn a_torn_line_of_ours_is_cut_and_kept_beside_the_file() {
        for torn in [
            &b"{\"id\":\"2\",\"ty"[..],
            b"{",
            b"\0\0\0\0",
            &[b"{\"data\":\"".to_vec(), vec![b'x'; 200_000]].concat(),
        ] {
            for whole in [&b"{\"id\":\"1\"}\n"[..], b""] {
                let (mended, file, aside) = mended(&[whole, torn].concat());
                assert_eq!(mended, Mended::SetAside(torn.len() as u64));
                assert_eq!(file, whole);
                assert_eq!(aside.unwrap(), [torn, b"\n"].concat());
            }
        }
    }

    #[test]
    fn lines_of_others_and_whole_ones_only_get_their_newline() {
        for line in [
            &b"a note without an end"[..],
            b"{\"whole\":{}}",
            b"[1,",
            b"\xff",
        ] {
            let before = [b"{}\n", line].concat();
            let (mended, file, aside) = mended(&before);
            assert_eq!(mended, Mended::Ended);
            assert_eq!(file, [&before[..], b"\n"].concat());
            assert_eq!(aside, None);
        }
        let (mended, file, aside) = mended(b"{}\n{}\n");
        assert_eq!((mended, aside), (Mended::NotNeeded, None));
        assert_eq!(file, b"{}\n{}\n");
    }

    #[test]
    fn each_torn_line_has_a_line_of_its_own_beside_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        for torn in ["{\"a", "{\"b"] {
            fs::write(&path, torn).unwrap();
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            mend(&path, &mut file, 3).unwrap();
        }
        assert_eq!(fs::read(name_of_torn(&path)).unwrap(), b"{\"a\n{\"b\n");
    }

    #[test]
    fn the_search_for_its_beginning_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        // A hole, which takes no room.
        let size = TORN_BYTES_MAX + 2 * READ_BYTES;
        file.set_len(size).unwrap();
        assert_eq!(mend(&path, &mut file, size).unwrap(), Mended::Ended);
        assert_eq!(fs::metadata(&path).unwrap().len(), size + 1);
    }
}
