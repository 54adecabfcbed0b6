//! Lines from standard input. A plain thread reads one chunk whenever it is asked, so that a drain never waits for a pipe
//! on which nothing comes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, LazyLock, mpsc as thread_channel};

use futures::future::LocalBoxFuture;
use rustix::buffer::spare_capacity;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};
use veltrix_actors::{BATCH_BYTES_MAX, Source, SourceFactory, SourcePort, StartError};

use super::{Problem, check_max_event, unless};
use crate::config::ByteSize;
use crate::lines::{Chunk, EVENT_BYTES_DEFAULT, EnvelopeFactory, Framer, LineEnvelope, LineParser};

/// Events from standard input, one a line, until it ends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StdinOptions {
    /// The longest line that is accepted (default 2MiB); longer ones are skipped and counted.
    #[serde(default = "max_event")]
    max_event: ByteSize,
}

fn max_event() -> ByteSize {
    ByteSize(EVENT_BYTES_DEFAULT)
}

/// Shared by all starts of the source, since a second reading thread would take chunks away from the first one's; locked
/// so that a start waits until the one before has let go.
type SharedReader = Arc<Mutex<Reader>>;

// There is one standard input for all versions of the source that a process has one after the other.
static READER: LazyLock<SharedReader> = LazyLock::new(Arc::default);

/// Makes the source; one that is started again goes on where the last one was.
pub(crate) struct StdinFactory {
    event_bytes_max: usize,
    envelope: Option<EnvelopeFactory>,
    reader: SharedReader,
}

/// Checks the options.
pub(crate) fn prepare(
    options: StdinOptions,
    envelope: Option<EnvelopeFactory>,
) -> Result<StdinFactory, Vec<Problem>> {
    let mut problems = Vec::new();
    check_max_event(options.max_event, &mut problems);
    unless(
        problems,
        StdinFactory {
            event_bytes_max: options.max_event.0,
            envelope,
            reader: READER.clone(),
        },
    )
}

impl SourceFactory for StdinFactory {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        let envelope = match &self.envelope {
            Some(envelope) => Some(envelope()?),
            None => None,
        };
        let (reader, event_bytes_max) = (self.reader.clone(), self.event_bytes_max);
        Ok(Box::new(Stdin(Box::new(move |port| {
            let envelope = envelope.map(|attributes| LineEnvelope::new(attributes, port.name()));
            let parser = LineParser::new(&port, "stdin".to_owned(), event_bytes_max, envelope);
            let framer = Framer::new(event_bytes_max, BATCH_BYTES_MAX, port.budget().clone())
                .for_one_stream();
            Box::pin(async move {
                let stdin = || io::stdin().as_fd().try_clone_to_owned();
                read(port, reader, stdin, framer, parser).await
            })
        }))))
    }
}

type Run = dyn FnOnce(SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>>;

struct Stdin(Box<Run>);

impl Source for Stdin {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        (self.0)(port)
    }
}

/// The reading thread, seen from the source.
#[derive(Debug, Default)]
struct Reader {
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    /// Buffers with room, each for one read.
    ask: thread_channel::SyncSender<Vec<u8>>,
    /// The buffers again, and how many bytes were added; 0 at the end.
    answers: mpsc::Receiver<(Vec<u8>, io::Result<usize>)>,
    /// A buffer is on its way.
    is_asked: bool,
}

impl Reader {
    fn start(&mut self, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<&mut Thread> {
        if self.thread.is_none() {
            let input = open()?;
            let (ask, asked) = thread_channel::sync_channel::<Vec<u8>>(1);
            let (answer, answers) = mpsc::channel(1);
            std::thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || {
                    for mut buffer in asked {
                        let read = read_once(&input, &mut buffer);
                        if answer.blocking_send((buffer, read)).is_err() {
                            return;
                        }
                    }
                })?;
            self.thread = Some(Thread {
                ask,
                answers,
                is_asked: false,
            });
        }
        Ok(self.thread.as_mut().expect("it was just started"))
    }
}

impl Thread {
    /// Has the next chunk read while the last one is parsed.
    fn ask(&mut self, framer: &mut Framer) {
        if !self.is_asked {
            let buffer = std::mem::take(framer.buffer());
            // Without a thread there is no answer either, which is where it is noticed.
            self.is_asked = self.ask.send(buffer).is_ok();
        }
    }

    async fn answer(&mut self, framer: &mut Framer) -> Result<usize, StartError> {
        let (buffer, read) =
            self.answers.recv().await.ok_or_else(|| {
                StartError("the thread that reads standard input is gone".to_owned())
            })?;
        self.is_asked = false;
        framer.put_back(buffer);
        read.map_err(|error| StartError(format!("cannot read standard input: {error}")))
    }
}

fn read_once(input: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match rustix::io::read(input, spare_capacity(buffer)) {
            Err(rustix::io::Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}

async fn read(
    port: SourcePort,
    reader: SharedReader,
    open: impl FnOnce() -> io::Result<OwnedFd>,
    mut framer: Framer,
    mut parser: LineParser,
) -> Result<(), StartError> {
    let mut reader = reader.lock().await;
    let thread = reader
        .start(open)
        .map_err(|error| StartError(format!("cannot read standard input: {error}")))?;
    port.report_ready();
    loop {
        thread.ask(&mut framer);
        if !port.room().await {
            break;
        }
        let read = tokio::select! {
            biased;
            read = thread.answer(&mut framer) => read?,
            () = port.draining() => break,
        };
        if read == 0 {
            if let Some(rest) = framer.take_rest() {
                port.submit(parser.parse(rest).intake);
            }
            return Ok(());
        }
        let chunk: Option<Chunk> = framer.take_lines();
        thread.ask(&mut framer);
        if let Some(chunk) = chunk {
            port.submit(parser.parse(chunk).intake);
        }
    }
    // Draining: what was read before is still taken in, what is not read stays in the pipe.
    if let Ok((buffer, Ok(1..))) = thread.answers.try_recv() {
        thread.is_asked = false;
        framer.put_back(buffer);
        if let Some(chunk) = framer.take_lines() {
            port.submit(parser.parse(chunk).intake);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::testing::{Harness, event_line, ids};
    use super::*;

    fn start(input: io::PipeReader) -> Harness {
        Harness::run(move |port| {
            let parser = LineParser::new(&port, "stdin".to_owned(), 1_000, None);
            let framer = Framer::new(1_000, BATCH_BYTES_MAX, port.budget().clone());
            Box::pin(read(
                port,
                Arc::default(),
                || Ok(input.into()),
                framer,
                parser,
            ))
        })
    }

    #[actix::test]
    async fn lines_are_read_to_the_end() {
        let (input, mut output) = io::pipe().expect("a pipe");
        let harness = start(input);
        let writer = std::thread::spawn(move || {
            for id in 0..5_000 {
                writeln!(output, "{}", event_line(&id.to_string())).expect("written");
            }
            write!(output, "{}", event_line("last")).expect("written");
        });
        let stats = harness.stats.clone();
        let (result, lines) = harness.finish().await;
        writer.join().expect("no panic");
        assert_eq!(result, Ok(()));
        let ids = ids(&lines);
        assert_eq!(
            (ids.len(), ids[4_999].as_str(), ids[5_000].as_str()),
            (5_001, "4999", "last")
        );
        assert_eq!((stats.received.get(), stats.accepted.get()), (5_001, 5_001));
    }

    #[actix::test]
    async fn a_drain_does_not_wait_for_an_idle_pipe() {
        let (input, mut output) = io::pipe().expect("a pipe");
        let mut harness = start(input);
        writeln!(output, "{}", event_line("a")).expect("written");
        assert_eq!(ids(&harness.take(1).await), ["a"]);
        harness.stop().await;
        let (result, lines) = harness.finish().await;
        assert_eq!((result, lines), (Ok(()), vec![]));
        drop(output);
    }
}
