//! `type: stdout`: one line of CloudEvents JSON per event on the process's standard output.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{AnySink, Event, Sink, SinkFactory, StartError};

use super::line_buffer::LineBuffer;

/// Standard output has no options.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StdoutOptions {}

/// Makes the sink on standard output.
#[derive(Debug)]
pub(crate) struct StdoutFactory;

/// Validates the options of the sink called `name`; nothing can be wrong with them.
pub(crate) fn prepare(
    _options: StdoutOptions,
    _name: &str,
) -> Result<StdoutFactory, Vec<(String, String)>> {
    Ok(StdoutFactory)
}

impl SinkFactory for StdoutFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        // Not through `std::io::Stdout`: its own buffer would hide how much of a failed write went out.
        let out = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| StartError(format!("cannot open standard output: {error}")))?;
        Ok(AnySink::Sync(Box::new(StdoutSink {
            out: File::from(out),
            buffer: LineBuffer::default(),
        })))
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

struct StdoutSink<W> {
    out: W,
    buffer: LineBuffer,
}

impl<W: Write + 'static> Sink for StdoutSink<W> {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        self.buffer.push(event.line());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        self.buffer
            .write_to(&mut self.out, usize::MAX)
            .map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => {
                    "standard output is a broken pipe: its reader has gone".to_owned()
                }
                _ => format!("cannot write to standard output: {error}"),
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
        let mut sink = StdoutSink {
            out: writer,
            buffer: LineBuffer::default(),
        };
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
        assert!(error.contains("broken pipe"), "{error}");
        assert_eq!(sink.buffered_bytes(), line.len() + 1);
    }

    #[test]
    fn has_a_thread_of_its_own_and_no_options() {
        let options = serde_json::from_str::<StdoutOptions>("{}").unwrap();
        let factory = prepare(options, "screen").unwrap();
        assert!(factory.is_blocking());
        assert!(matches!(factory.build(), Ok(AnySink::Sync(_))));
    }
}
