//! Lines on their way to a writer: after a failed or short write exactly the unwritten rest is left.

use std::io::{self, ErrorKind, Write};

/// Bytes of whole lines; the first of them may have been written in part.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    written: usize,
    is_mid_line: bool,
}

impl LineBuffer {
    /// Adds a line and its newline.
    pub(crate) fn push(&mut self, line: &str) {
        self.bytes.reserve(line.len() + 1);
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
    }

    /// What has not been written.
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Whether the last byte written was not the end of a line.
    pub(crate) fn is_mid_line(&self) -> bool {
        self.is_mid_line
    }

    /// What has been written of a line whose end has not.
    pub(crate) fn begun(&self) -> &[u8] {
        &self.bytes[self.line_start()..self.written]
    }

    /// Has the line that was begun written once more from its start.
    pub(crate) fn begin_again(&mut self) {
        self.written = self.line_start();
        self.is_mid_line = false;
    }

    /// Where the line begins of which the next byte is a part: what was written is there until all is.
    fn line_start(&self) -> usize {
        memchr::memrchr(b'\n', &self.bytes[..self.written]).map_or(0, |newline| newline + 1)
    }

    /// Writes the next `count` bytes at most. Whatever the writer took is gone from the buffer, also after an error.
    ///
    /// # Errors
    /// The writer's error, or [`ErrorKind::WriteZero`] if it takes nothing.
    pub(crate) fn write_to(&mut self, out: &mut impl Write, count: usize) -> io::Result<()> {
        let end = self.written + count.min(self.unwritten().len());
        let mut result = Ok(());
        while self.written < end && result.is_ok() {
            match out.write(&self.bytes[self.written..end]) {
                Ok(0) => result = Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.written += taken;
                    self.is_mid_line = self.bytes[self.written - 1] != b'\n';
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
        }
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
        result
    }

    /// Gives back memory beyond `capacity_bytes`, as far as it is not in use.
    pub(crate) fn shrink_to(&mut self, capacity_bytes: usize) {
        self.bytes.shrink_to(capacity_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes these many bytes per call; 0 is an error.
    struct Choppy {
        taken: Vec<u8>,
        steps: Vec<usize>,
    }

    impl Write for Choppy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.steps.pop() {
                Some(0) => Err(ErrorKind::StorageFull.into()),
                Some(step) => {
                    let step = step.min(bytes.len());
                    self.taken.extend_from_slice(&bytes[..step]);
                    Ok(step)
                }
                None => Ok(0),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_short_write_and_an_error_leave_exactly_the_rest() {
        let mut buffer = LineBuffer::default();
        buffer.push("first");
        buffer.push("second");
        let mut out = Choppy {
            taken: Vec::new(),
            steps: vec![0, 3, 1],
        };
        let error = buffer.write_to(&mut out, usize::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(buffer.unwritten(), b"t\nsecond\n");
        assert!(buffer.is_mid_line());
        assert_eq!(buffer.begun(), b"firs");
        buffer.push("third");
        out.steps = vec![100, 100];
        buffer.write_to(&mut out, 2).unwrap();
        assert!(!buffer.is_mid_line() && buffer.begun().is_empty());
        out.steps = vec![0, 4];
        buffer.write_to(&mut out, usize::MAX).unwrap_err();
        assert_eq!(buffer.begun(), b"seco");
        out.taken.truncate("first\n".len());
        buffer.begin_again();
        assert!(!buffer.is_mid_line());
        out.steps = vec![100];
        buffer.write_to(&mut out, usize::MAX).unwrap();
        assert_eq!(out.taken, b"first\nsecond\nthird\n");
        assert!(buffer.unwritten().is_empty());
        buffer.push("x");
        let error = buffer.write_to(&mut out, usize::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WriteZero);
    }
}
