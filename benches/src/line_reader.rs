//! Lines of a file, borrowed from one buffer that is filled in large reads.

use std::io::{self, Read};

const READ_BYTES: usize = 256 * 1024;
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Hands out the lines of `input` without copying them; only the rest of a cut line is moved.
pub(crate) struct LineReader<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_at_end: bool,
}

impl<R: Read> LineReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
            is_at_end: false,
        }
    }

    /// The next line without its newline, or none at the end of the file.
    ///
    /// # Errors
    /// If reading fails or a line is longer than 16 MiB.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = 0;
        loop {
            let waiting = &self.buffer[self.start + searched..self.end];
            if let Some(at) = memchr::memchr(b'\n', waiting) {
                let line = self.start..self.start + searched + at;
                self.start = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            searched = self.end - self.start;
            if self.is_at_end {
                let line = self.start..self.end;
                self.start = self.end;
                return Ok((!line.is_empty()).then(|| &self.buffer[line]));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.end >= LINE_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "line longer than 16 MiB",
                ));
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = self.input.read(&mut self.buffer[self.end..])?;
        self.end += read;
        self.is_at_end = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = LineReader::new(text);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().unwrap() {
            lines.push(line.to_vec());
        }
        lines
    }

    #[test]
    fn lines_are_split_at_newlines_only() {
        assert_eq!(lines_of(b""), Vec::<Vec<u8>>::new());
        assert_eq!(
            lines_of(b"a\n\nb"),
            [b"a".to_vec(), Vec::new(), b"b".to_vec()]
        );
        assert_eq!(lines_of(b"a\r\n"), [b"a\r".to_vec()]);
    }

    #[test]
    fn a_line_may_be_longer_than_one_read() {
        let long = vec![b'x'; READ_BYTES * 3 + 1];
        let text = [b"a\n".as_slice(), &long, b"\nb\n"].concat();
        assert_eq!(lines_of(&text), [b"a".to_vec(), long, b"b".to_vec()]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut reader = LineReader::new(io::repeat(b'x'));
        assert!(reader.next_line().is_err());
    }
}
