//! The real binary in a folder of its own: its log, its output, and raw requests to it.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `veltrix run`.
pub(crate) struct Process {
    child: Child,
    folder: tempfile::TempDir,
    logs: Receiver<String>,
    output: Receiver<String>,
    /// Log records that came while something else was waited for.
    seen: Vec<Value>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Lines on standard output that nobody took.
    pub(crate) output: Vec<String>,
    /// The whole log.
    pub(crate) logs: Vec<Value>,
}

impl Process {
    /// Starts the binary on a config, in a new folder.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_in(
            tempfile::tempdir().expect("a folder"),
            config,
            Stdio::null(),
        )
    }

    /// Starts the binary on a config, in a folder that may hold files already.
    pub(crate) fn start_in(folder: tempfile::TempDir, config: &str, input: Stdio) -> Self {
        Self::start_with(folder, config, input, &[])
    }

    /// Starts the binary so that it logs all that anything in it has to say.
    pub(crate) fn start_traced(folder: tempfile::TempDir, config: &str) -> Self {
        Self::start_with(folder, config, Stdio::null(), &["--log-level", "trace"])
    }

    /// Starts the binary so that it follows its config's files.
    pub(crate) fn start_watching(folder: tempfile::TempDir, config: &str) -> Self {
        Self::start_with(folder, config, Stdio::null(), &["--watch"])
    }

    /// Starts the binary on a config that injects faults.
    pub(crate) fn start_faulty(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_with(folder, config, Stdio::null(), &["--allow-faults"])
    }

    /// As [`Process::start_faulty`], with a pipe as its standard input.
    pub(crate) fn start_fed(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_with(folder, config, Stdio::piped(), &["--allow-faults"])
    }

    /// Starts the binary with a pipe as its standard input, and so that files that grow too large are errors to it.
    pub(crate) fn start_limitable(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
        command.arg(env!("CARGO_BIN_EXE_veltrix"));
        Self::spawn(command, folder, config, Stdio::piped(), &[])
    }

    /// No file may grow beyond that; `None` lets them all grow.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = rustix::process::Rlimit {
            current: bytes,
            maximum: None,
        };
        let resource = rustix::process::Resource::Fsize;
        rustix::process::prlimit(Some(self.pid()), resource, limit).expect("set");
    }

    fn start_with(
        folder: tempfile::TempDir,
        config: &str,
        input: Stdio,
        arguments: &[&str],
    ) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_veltrix"));
        Self::spawn(command, folder, config, input, arguments)
    }

    fn spawn(
        mut command: Command,
        folder: tempfile::TempDir,
        config: &str,
        input: Stdio,
        arguments: &[&str],
    ) -> Self {
        std::fs::write(folder.path().join("veltrix.yaml"), config).expect("a config");
        let mut child = command
            .args(["run", "-c", "veltrix.yaml", "--log-format", "json"])
            .args(arguments)
            .current_dir(folder.path())
            .env_remove("VELTRIX_CONFIG")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let logs = lines(child.stderr.take().expect("a pipe"));
        let output = lines(child.stdout.take().expect("a pipe"));
        Self {
            child,
            folder,
            logs,
            output,
            seen: Vec::new(),
        }
    }

    /// The folder that the process runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process's standard input, if it was started with a pipe.
    pub(crate) fn input(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("started with a pipe")
    }

    /// Waits until the source listens, and returns its address.
    pub(crate) fn address(&mut self, source: &str) -> SocketAddr {
        let record =
            self.log(|record| record["message"] == "listening" && record["source"] == source);
        let address = record["address"].as_str().expect("an address");
        address.parse().expect("an address")
    }

    /// Waits until everything is up.
    pub(crate) fn running(&mut self) {
        self.log(|record| record["message"] == "running");
    }

    /// The refused events of a source by reason, as the metrics show them.
    pub(crate) fn rejected(&mut self, source: &str) -> BTreeMap<String, u64> {
        let page = request(self.admin(), "GET", "/metrics", &[], b"").body;
        let start = format!("veltrix_source_rejected_total{{source=\"{source}\",reason=\"");
        let sample = |line: &str| {
            let (reason, count) = line.strip_prefix(&start)?.split_once("\"} ")?;
            Some((reason.to_owned(), count.parse().ok()?))
        };
        page.lines().filter_map(sample).collect()
    }

    /// The most memory that the process has held so far.
    pub(crate) fn peak_memory_bytes(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes = kibibytes.expect("a line of its own").trim();
        kibibytes.parse::<usize>().expect("a number") * 1024
    }

    /// Waits for a log record, which may have come before.
    pub(crate) fn log(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(record) = self.seen.iter().find(|record| is_wanted(record)) {
            return record.clone();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self
                .logs
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
                    self.seen.push(record);
                }
                Err(error) => panic!("{error}; the log so far: {:#?}", self.seen),
            }
            if let Some(record) = self.seen.last().filter(|record| is_wanted(record)) {
                return record.clone();
            }
        }
    }

    /// The next line on standard output.
    pub(crate) fn line(&mut self) -> String {
        match self.output.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => {
                self.seen
                    .extend(drain(&self.logs).into_iter().map(Value::String));
                panic!("{error}; the log so far: {:#?}", self.seen)
            }
        }
    }

    /// Waits until the admin server listens, and returns its address.
    pub(crate) fn admin(&mut self) -> SocketAddr {
        let record = self.log(|record| record["message"] == "admin listening");
        let address = record["address"].as_str().expect("an address");
        address.parse().expect("an address")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("signalled");
    }

    fn pid(&self) -> rustix::process::Pid {
        let id = i32::try_from(self.child.id()).expect("a process id");
        rustix::process::Pid::from_raw(id).expect("a process id")
    }

    /// Asks until the answer is yes; between two questions it reads the log for a moment.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(
                Instant::now() < until,
                "{what} never comes; the log so far: {:#?}",
                self.seen
            );
            self.pause();
        }
    }

    /// Reads the log for a moment.
    pub(crate) fn pause(&mut self) {
        if let Ok(line) = self.logs.recv_timeout(Duration::from_millis(20)) {
            let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
            self.seen.push(record);
        }
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it ran").is_some()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(self) -> Ended {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Ended {
        let output: Vec<String> = drain_to_end(&self.output);
        let logs = drain_to_end(&self.logs);
        let status = self.child.wait().expect("it ran");
        let parse = |line: String| serde_json::from_str(&line).unwrap_or(Value::String(line));
        self.seen.extend(logs.into_iter().map(parse));
        Ended {
            status,
            output,
            logs: std::mem::take(&mut self.seen),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failed test must not leave it behind; one that ended already cannot be killed.
        self.child.kill().expect("killed, or gone already");
    }
}

impl Ended {
    /// The closing record of one source.
    pub(crate) fn source(&self, source: &str) -> &Value {
        let is_it =
            |record: &&Value| record["message"] == "source summary" && record["source"] == source;
        self.logs
            .iter()
            .find(is_it)
            .expect("a summary of the source")
    }

    /// The closing records with that message.
    pub(crate) fn records(&self, message: &str) -> Vec<&Value> {
        let is_it = |record: &&Value| record["message"] == message;
        self.logs.iter().filter(is_it).collect()
    }

    /// The closing summary.
    pub(crate) fn summary(&self) -> &Value {
        self.records("summary").first().expect("a summary")
    }

    /// The dead letters of a branch and a class.
    pub(crate) fn dead_letters(&self, branch: &str, class: &str) -> u64 {
        self.records("dead letters")
            .into_iter()
            .filter(|record| record["branch"] == branch && record["class"] == class)
            .map(|record| record["count"].as_u64().expect("a count"))
            .sum()
    }

    /// Fails unless it drained with all ledgers balanced.
    pub(crate) fn assert_drained(&self) {
        assert_eq!(self.status.code(), Some(0), "{:#?}", self.logs);
        let summary = self
            .logs
            .iter()
            .find(|record| record["message"] == "summary");
        assert_eq!(summary.expect("a summary")["balanced"], true);
    }
}

fn lines(input: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1 << 20);
    std::thread::spawn(move || {
        for line in BufReader::new(input).lines() {
            if line.is_ok_and(|line| sender.send(line).is_ok()) {
                continue;
            }
            return;
        }
    });
    receiver
}

fn drain(lines: &Receiver<String>) -> Vec<String> {
    lines.try_iter().collect()
}

fn drain_to_end(lines: &Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    let until = Instant::now() + PATIENCE;
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => all.push(line),
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => panic!("the process does not end: {all:#?}"),
        }
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Sends one request on a connection of its own.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    exchange(address, &[head.as_bytes(), body].concat())
}

/// Sends bytes on a connection of their own, and reads the answer until the connection is closed.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = connect(address);
    // The answer may come, and the connection be closed, before all is sent.
    unless_closed(stream.write_all(bytes));
    read_answer(&mut stream)
}

/// Connects, with limits on all waiting.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// Fails on any error but the peer's closing of the connection.
pub(crate) fn unless_closed(result: std::io::Result<()>) {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    if let Err(error) = result {
        let is_closed = matches!(error.kind(), BrokenPipe | ConnectionReset);
        assert!(is_closed, "{error}");
    }
}

/// Reads an answer to the connection's end.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A reset after the answer is a way of closing, too.
    unless_closed(stream.read_to_end(&mut bytes).map(|_| ()));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines: VecDeque<&str> = head.split("\r\n").collect();
    let status = lines.pop_front().unwrap_or_default();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Answer {
        status: status
            .get(9..12)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0),
        headers: lines.into_iter().map(header).collect(),
        body: body.to_owned(),
    }
}

/// An event's line.
pub(crate) fn event_line(id: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#)
}

/// The ids of events' lines.
pub(crate) fn ids(lines: &[String]) -> Vec<String> {
    let id = |line: &String| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        event["id"].as_str().expect("an id").to_owned()
    };
    lines.iter().map(id).collect()
}
