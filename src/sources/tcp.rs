//! Newline-delimited events over TCP: a listener, and an actor for each connection.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use veltrix_actors::{
    Admission, HeldSocket, ID_CONFLICT, Listening, Source, SourceFactory, SourcePort, StartError,
};

use super::{Problem, check_max_event, listening, unless};
use crate::config::{ByteSize, DurationText};
use crate::lines::{
    Chunk, EVENT_BYTES_DEFAULT, EnvelopeFactory, FIRST_READ_BYTES, Framer, LineEnvelope, LineError,
    LineParser,
};

/// Wait after the system refused to accept, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Chunks of a connection that are not answered yet; beyond, its socket is not read.
const ANSWERS_WAITING_MAX: usize = 64;
/// How long a peer may take to read an answer once the source drains.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(1);

/// Events from TCP connections, one a line.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpOptions {
    /// The address to listen on, as IP:port; port 0 has the system choose one.
    listen: String,
    /// Answers each batch of lines, once it is accepted, with one JSON line `{"accepted":n,"rejected":m,"errors":[{"line":k,"reason":..,"detail":..}]}`. Without `line` are those that only the journal finds (`id_conflict`).
    #[serde(default)]
    ack: bool,
    /// Connections at once (default 1024); further ones are closed and counted as `too_many_connections`.
    #[serde(default = "max_connections")]
    max_connections: usize,
    /// A connection on which nothing comes for so long, 1s or more, is closed (default 5m).
    #[serde(default = "idle_timeout")]
    idle_timeout: DurationText,
    /// The longest line that is accepted (default 2MiB); longer ones are skipped and counted.
    #[serde(default = "max_event")]
    max_event: ByteSize,
}

fn max_connections() -> usize {
    1_024
}

fn idle_timeout() -> DurationText {
    DurationText(Duration::from_secs(300))
}

fn max_event() -> ByteSize {
    ByteSize(EVENT_BYTES_DEFAULT)
}

/// Makes the listener.
pub(crate) struct TcpFactory {
    listening: Arc<Listening>,
    settings: Arc<Settings>,
}

struct Settings {
    ack: bool,
    connections_max: usize,
    idle_timeout: Duration,
    event_bytes_max: usize,
    envelope: Option<EnvelopeFactory>,
}

/// Checks the options.
pub(crate) fn prepare(
    options: TcpOptions,
    envelope: Option<EnvelopeFactory>,
) -> Result<TcpFactory, Vec<Problem>> {
    let mut problems = Vec::new();
    let address = listening::address(&options.listen, &mut problems);
    check_max_event(options.max_event, &mut problems);
    if options.max_connections == 0 {
        let message = "`0` would accept nothing, give 1 or more".to_owned();
        problems.push(("max_connections".to_owned(), message));
    }
    let (idle, least) = (options.idle_timeout, Duration::from_secs(1));
    if idle.0 < least {
        let message = format!("`{idle}` is too short, give {least:?} or more");
        problems.push(("idle_timeout".to_owned(), message));
    }
    let settings = Settings {
        ack: options.ack,
        connections_max: options.max_connections,
        idle_timeout: options.idle_timeout.0,
        event_bytes_max: options.max_event.0,
        envelope,
    };
    unless(
        problems,
        TcpFactory {
            listening: Arc::new(Listening::at(address)),
            settings: Arc::new(settings),
        },
    )
}

impl SourceFactory for TcpFactory {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(TcpSource {
            listening: self.listening.clone(),
            settings: self.settings.clone(),
        }))
    }

    fn listening(&self) -> Option<&Listening> {
        Some(&self.listening)
    }
}

struct TcpSource {
    listening: Arc<Listening>,
    settings: Arc<Settings>,
}

impl Source for TcpSource {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        Box::pin(async move {
            let (listener, held) = listening::bind(port.name(), &self.listening).await?;
            port.report_ready();
            accept((listener, held), self.settings, port).await;
            Ok(())
        })
    }
}

/// Accepts connections until the source drains, then waits for their ends.
async fn accept(
    (listener, held): (TcpListener, HeldSocket<'_>),
    settings: Arc<Settings>,
    port: SourcePort,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = port.draining() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, peer)) if port.connections() >= settings.connections_max => {
                port.stats().reject("too_many_connections", 1);
                tracing::debug!(source = port.name(), %peer, "a connection too many was closed");
            }
            Ok((stream, peer)) => port.spawn_connection(Box::new(Connection {
                stream,
                peer,
                settings: settings.clone(),
            })),
            Err(error) => {
                tracing::warn!(source = port.name(), %error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop((listener, held));
    port.connections_closed().await;
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    settings: Arc<Settings>,
}

impl Source for Connection {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        Box::pin(async move {
            port.report_ready();
            let peer = self.peer;
            self.serve(port)
                .await
                .map_err(|error| StartError(format!("{peer}: {error}")))
        })
    }
}

impl Connection {
    async fn serve(mut self, port: SourcePort) -> Result<(), String> {
        self.stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let (stream, writer) = self.stream.split();
        let (answers, waiting) = mpsc::channel(ANSWERS_WAITING_MAX);
        let unanswered = Cell::new(0);
        let reader = Reader {
            stream,
            peer: self.peer,
            settings: &self.settings,
            answers,
            unanswered: &unanswered,
            port: &port,
        };
        let answerer = Answerer {
            writer,
            waiting,
            unanswered: &unanswered,
            write_timeout: self.settings.idle_timeout,
            port: &port,
        };
        futures::try_join!(reader.read_all(), answerer.answer_all())?;
        Ok(())
    }
}

/// What is told once the events of a chunk are accepted.
struct Answer {
    accepted: oneshot::Receiver<Admission>,
    told: Told,
}

/// An answer as it is written.
#[derive(Serialize)]
struct Told {
    accepted: usize,
    rejected: usize,
    errors: Vec<ToldError>,
}

#[derive(Serialize)]
struct ToldError {
    /// Its number in the connection, from 1; conflicts are found too late to know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    reason: &'static str,
    detail: String,
}

impl Told {
    /// Has it say that so many of the events are refused.
    fn refuse_conflicts(&mut self, conflicts: usize) {
        self.accepted = self.accepted.saturating_sub(conflicts);
        self.rejected += conflicts;
        self.errors.push(ToldError {
            line: None,
            reason: ID_CONFLICT,
            detail: format!(
                "{conflicts} events have the source and id of others that came before, with another type, subject or data"
            ),
        });
    }
}

/// The reading side of a connection. Its end ends the answering.
struct Reader<'a> {
    stream: ReadHalf<'a>,
    peer: SocketAddr,
    settings: &'a Settings,
    answers: mpsc::Sender<Answer>,
    /// Chunks that the peer has no answer to yet.
    unanswered: &'a Cell<usize>,
    port: &'a SourcePort,
}

impl Reader<'_> {
    async fn read_all(self) -> Result<(), String> {
        let (port, settings) = (self.port, self.settings);
        let envelope = match &settings.envelope {
            Some(build) => {
                let attributes = build().map_err(|e| e.to_string())?;
                Some(LineEnvelope::new(
                    attributes,
                    &format!("{}-{}", port.name(), self.peer),
                ))
            }
            None => None,
        };
        let max = settings.event_bytes_max;
        let mut parser = LineParser::new(port, self.peer.to_string(), max, envelope);
        let mut framer = Framer::new(max, FIRST_READ_BYTES, port.budget().clone());
        while self.room(&framer).await? {
            let ready = tokio::select! {
                biased;
                () = port.draining() => break,
                ready = timeout(settings.idle_timeout, self.stream.readable()) => ready,
            };
            match ready {
                Ok(ready) => ready.map_err(|error| error.to_string())?,
                // It may be idle because it waits for us.
                Err(_) if self.unanswered.get() > 0 => continue,
                Err(_) => return Err("idle for too long".to_owned()),
            }
            match self.stream.try_read_buf(framer.buffer()) {
                Ok(0) => {
                    self.take(framer.take_rest(), &mut parser).await;
                    break;
                }
                Ok(_) => self.take(framer.take_lines(), &mut parser).await,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Waits for room; the socket is not read meanwhile. False when the source drains.
    async fn room(&self, framer: &Framer) -> Result<bool, String> {
        if !framer.holds_budget() {
            return Ok(self.port.room().await);
        }
        // Connections that fill the budget with unfinished lines would otherwise wait for one another for ever.
        let room = timeout(self.settings.idle_timeout, self.port.room());
        room.await
            .map_err(|_| "no memory for its long line".to_owned())
    }

    async fn take(&self, chunk: Option<Chunk>, parser: &mut LineParser) {
        let Some(chunk) = chunk else { return };
        let parsed = parser.parse(chunk);
        let accepted = parsed.intake.len();
        if !self.settings.ack || accepted + parsed.rejected == 0 {
            self.port.submit(parsed.intake);
            return;
        }
        let error = |(line, error): (u64, LineError)| ToldError {
            line: Some(line),
            reason: error.reason,
            detail: error.message,
        };
        let told = Told {
            accepted,
            rejected: parsed.rejected,
            errors: parsed.errors.into_iter().map(error).collect(),
        };
        let answer = Answer {
            accepted: self.port.submit_acknowledged(parsed.intake),
            told,
        };
        self.unanswered.set(self.unanswered.get() + 1);
        if self.answers.send(answer).await.is_err() {
            tracing::debug!(peer = %self.peer, "the peer gets no answers any more");
        }
    }
}

/// The writing side of a connection: answers in the order of the chunks, each once its events are accepted.
struct Answerer<'a> {
    writer: WriteHalf<'a>,
    waiting: mpsc::Receiver<Answer>,
    unanswered: &'a Cell<usize>,
    write_timeout: Duration,
    port: &'a SourcePort,
}

impl Answerer<'_> {
    async fn answer_all(mut self) -> Result<(), String> {
        while let Some(answer) = self.waiting.recv().await {
            let port = self.port;
            let last_chance = async {
                port.draining().await;
                sleep(LAST_ANSWER_MAX).await;
            };
            tokio::select! {
                biased;
                answered = self.answer(answer) => answered?,
                () = last_chance => return Err("it could not be given its last answer".to_owned()),
            }
            self.unanswered.set(self.unanswered.get() - 1);
        }
        Ok(())
    }

    async fn answer(&mut self, Answer { accepted, mut told }: Answer) -> Result<(), String> {
        match accepted.await {
            Ok(Admission::Accepted) => {}
            Ok(Admission::Conflicting(conflicts)) => told.refuse_conflicts(conflicts),
            _ => return Err("its events could not be stored".to_owned()),
        }
        let mut line = serde_json::to_vec(&told).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let writing = self.writer.write_all(&line);
        match timeout(self.write_timeout, writing).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("the peer does not read its answers".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

    use super::super::testing::{Harness, event_line, ids};
    use super::*;

    async fn start(options: &str) -> (Harness, SocketAddr) {
        let options: TcpOptions = serde_json::from_str(options).expect("options");
        let settings = prepare(options, None).expect("valid options").settings;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let listener = listener.into_std().expect("a listener");
        let harness = Harness::run(move |port| {
            Box::pin(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                let listening = Listening::at(address);
                let held = listening.hold(&listener).expect("a descriptor");
                accept((listener, held), settings, port).await;
                Ok(())
            })
        });
        (harness, address)
    }

    #[actix::test]
    async fn each_batch_is_answered() {
        let (mut harness, address) = start(r#"{"listen":"127.0.0.1:0","ack":true}"#).await;
        let stream = TcpStream::connect(address).await.expect("connected");
        let (reader, mut writer) = stream.into_split();
        let mut answers = BufReader::new(reader).lines();
        let sent = format!("{}\nnope\n{}\n", event_line("a"), event_line("b"));
        writer.write_all(sent.as_bytes()).await.expect("sent");
        let answer = answers.next_line().await.expect("read").expect("a line");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(
            (&answer["accepted"], &answer["rejected"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(answer["errors"][0]["line"], json!(2));
        assert_eq!(answer["errors"][0]["reason"], json!("not_json"));
        assert_eq!(ids(&harness.take(2).await), ["a", "b"]);
        writer
            .write_all(event_line("c").as_bytes())
            .await
            .expect("sent");
        drop(writer);
        let answer = answers.next_line().await.expect("read").expect("a line");
        assert!(answer.contains(r#""accepted":1"#), "{answer}");
        assert_eq!(answers.next_line().await.expect("read"), None);
        harness.stop().await;
        let (result, lines) = harness.finish().await;
        assert_eq!((result, ids(&lines)), (Ok(()), vec!["c".to_owned()]));
    }

    #[actix::test]
    async fn too_many_and_idle_connections_are_closed() {
        let options = r#"{"listen":"127.0.0.1:0","max_connections":1,"idle_timeout":"1s"}"#;
        let (harness, address) = start(options).await;
        let mut first = TcpStream::connect(address).await.expect("connected");
        let mut second = TcpStream::connect(address).await.expect("connected");
        assert_eq!(second.read(&mut [0; 10]).await.expect("closed"), 0);
        assert_eq!(harness.stats.rejected(), [("too_many_connections", 1)]);
        assert_eq!(first.read(&mut [0; 10]).await.expect("closed"), 0);
        harness.stop().await;
        assert_eq!(harness.finish().await.0, Ok(()));
    }

    #[actix::test]
    async fn without_credit_the_socket_is_not_read() {
        let (mut harness, address) = start(r#"{"listen":"127.0.0.1:0"}"#).await;
        harness.hold(true).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let line = format!("{}\n", event_line(&"x".repeat(900)));
        let block = line.repeat(256);
        let mut sent = 0;
        // Once nothing moves for a while, all buffers on the way are full.
        while let Ok(written) =
            timeout(Duration::from_millis(300), stream.write(block.as_bytes())).await
        {
            sent += written.expect("written");
        }
        let accepted = harness.stats.accepted.get() as usize * line.len();
        assert!(
            accepted < sent && accepted < 2 << 20,
            "{accepted} of {sent}"
        );
        harness.hold(false).await;
        stream.write_all(block.as_bytes()).await.expect("sent");
        harness.take(sent / line.len()).await;
        harness.stop().await;
        harness.finish().await.0.expect("drained");
    }

    #[test]
    fn wrong_options_are_named() {
        let options =
            r#"{"listen":"localhost","max_connections":0,"max_event":"1B","idle_timeout":"999ms"}"#;
        let options = serde_json::from_str(options).expect("options");
        let problems = prepare(options, None).err().expect("problems");
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["listen", "max_event", "max_connections", "idle_timeout"]
        );
    }
}
