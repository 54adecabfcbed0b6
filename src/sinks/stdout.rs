//! `type: stdout`: one line of CloudEvents JSON per event on the process's standard output.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{AnySink, Event, FlushError, Sink, SinkFactory, StartError};

use super::line_buffer::LineBuffer;
use crate::telemetry;

/// Standard output has no options.
///
/// An event counts as delivered once it is written: whether the reader of a pipe has read it, or the system has brought a
/// file to the disk, is not known. Where that matters use `file`.
///
/// A broken pipe never mends: once its reader has gone, as in `veltrix run | head -2`, the process drains what other sinks take
/// and ends with 1. What is left of durable sources is kept for the next start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StdoutOptions {}

/// Makes the sink on standard output.
#[derive(Debug, Default)]
pub(crate) struct StdoutFactory {
    /// What was written last has torn a line; known to the next sink, which must not make its own a part of it.
    is_mid_line: Arc<AtomicBool>,
}

/// Validates the options of the sink called `name`; nothing can be wrong with them.
pub(crate) fn prepare(
    _options: StdoutOptions,
    _name: &str,
) -> Result<StdoutFactory, Vec<(String, String)>> {
    Ok(StdoutFactory::default())
}

impl SinkFactory for StdoutFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        // Not through `std::io::Stdout`: its own buffer would hide how much of a failed write went out.
        let out = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| StartError(format!("cannot open standard output: {error}")))?;
        let out = Output {
            is_terminal: out.is_terminal(),
            file: File::from(out),
        };
        let sink = StdoutSink::new(out, self.is_mid_line.clone());
        Ok(AnySink::Sync(Box::new(sink)))
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

/// Standard output, which may be the terminal that the status line is on.
struct Output {
    file: File,
    is_terminal: bool,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.is_terminal {
            true => telemetry::around_bars(|| self.file.write(bytes)),
            false => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

struct StdoutSink<W> {
    out: W,
    buffer: LineBuffer,
    is_mid_line: Arc<AtomicBool>,
}

impl<W> StdoutSink<W> {
    fn new(out: W, is_mid_line: Arc<AtomicBool>) -> Self {
        let mut buffer = LineBuffer::default();
        if is_mid_line.load(Ordering::Acquire) {
            buffer.push("");
        }
        Self {
            out,
            buffer,
            is_mid_line,
        }
    }
}

impl<W: Write + 'static> Sink for StdoutSink<W> {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        self.buffer.push(event.line());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        let written = self.buffer.write_to(&mut self.out, usize::MAX);
        self.is_mid_line
            .store(self.buffer.is_mid_line(), Ordering::Release);
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => {
                FlushError::Gone("standard output is a broken pipe: its reader has gone".to_owned())
            }
            _ => FlushError::Unwritten(format!("cannot write to standard output: {error}")),
        })
    }

    fn buffered_bytes(&self) -> usize {
        self.buffer.unwritten().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use veltrix_actors::Trial;

    #[test]
    fn writes_lines_and_names_a_broken_pipe() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut sink = StdoutSink::new(writer, Arc::default());
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        let batch = Trial::new("s", "h").batch(&[line]).unwrap();
        sink.append(&batch.event(0)).unwrap();
        assert_eq!(sink.buffered_bytes(), line.len() + 1);
        sink.flush().unwrap();
        let mut read = vec![0; line.len() + 1];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, format!("{line}\n").as_bytes());

        drop(reader);
        sink.append(&batch.event(0)).unwrap();
        let error = sink.flush().unwrap_err();
        assert!(
            matches!(&error, FlushError::Gone(reason) if reason.contains("broken pipe")),
            "{error}"
        );
        assert_eq!(sink.buffered_bytes(), line.len() + 1);
    }

    /// Takes this many bytes, and no more.
    struct Full(Vec<u8>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            self.1 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_takes_the_place_of_another_does_not_go_on_in_its_torn_line() {
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        let batch = Trial::new("s", "h").batch(&[line]).unwrap();
        let is_mid_line = Arc::new(AtomicBool::new(false));
        let mut torn = StdoutSink::new(Full(Vec::new(), 10), is_mid_line.clone());
        torn.append(&batch.event(0)).unwrap();
        assert!(torn.flush().is_err());
        let mut next = StdoutSink::new(Full(torn.out.0, usize::MAX), is_mid_line.clone());
        next.append(&batch.event(0)).unwrap();
        next.flush().unwrap();
        let written = String::from_utf8(next.out.0).unwrap();
        assert_eq!(written, format!("{}\n{line}\n", &line[..10]));
        let third = StdoutSink::new(Full(Vec::new(), 0), is_mid_line);
        assert_eq!(third.buffered_bytes(), 0);
    }

    #[test]
    fn has_a_thread_of_its_own_and_no_options() {
        let options = serde_json::from_str::<StdoutOptions>("{}").unwrap();
        let factory = prepare(options, "screen").unwrap();
        assert!(factory.is_blocking());
        assert!(matches!(factory.build(), Ok(AnySink::Sync(_))));
    }
}
