//! An example config under the real binary, in a folder of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// No test waits longer for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Lines that may wait to be looked at; beyond it the process waits for the test.
const LINES_MAX: usize = 100_000;

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A config of the project about to be run, with what is around it.
pub(crate) struct Example {
    config: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Example {
    /// The config at `path` below the project's folder.
    pub(crate) fn new(path: &str) -> Self {
        Self {
            config: root().join(path),
            folder: tempfile::tempdir().expect("a folder"),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// An environment variable, such as a secret or the override of a key.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A further argument of `veltrix run`.
    pub(crate) fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A port that the system chooses instead of the config's.
    pub(crate) fn with_any_port(self, source: &str) -> Self {
        let source = source.to_uppercase();
        self.with(
            &format!("VELTRIX__SOURCES__{source}__LISTEN"),
            "127.0.0.1:0",
        )
    }

    /// A file in the folder that the process runs in.
    pub(crate) fn with_file(self, path: &str, text: &str) -> Self {
        let path = self.folder.path().join(path);
        let parent = path.parent().expect("it is in a folder");
        std::fs::create_dir_all(parent).expect("a folder");
        std::fs::write(path, text).expect("a file");
        self
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veltrix"));
        command
            .arg(subcommand)
            .arg("-c")
            .arg(&self.config)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env_remove("VELTRIX_CONFIG")
            .current_dir(self.folder.path());
        command
    }

    /// The config has neither errors nor warnings.
    pub(crate) fn validate(&self) {
        let mut command = self.command("validate");
        let output = command.arg("--deny-warnings").output().expect("the binary");
        let problems = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{problems}");
    }

    /// Starts the process.
    pub(crate) fn start(self) -> Running {
        self.validate();
        let mut child = self
            .command("run")
            .args(["--log-format", "json"])
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        Running {
            output: lines(child.stdout.take().expect("it is piped")),
            log: lines(child.stderr.take().expect("it is piped")),
            child,
            folder: self.folder,
            records: Vec::new(),
        }
    }

    /// Runs the process over lines on its standard input, until it has drained.
    pub(crate) fn run(self, input: &[&str]) -> Ended {
        let mut running = self.start();
        let mut stdin = running.child.stdin.take().expect("it is piped");
        for line in input {
            writeln!(stdin, "{line}").expect("the process reads its input");
        }
        drop(stdin);
        running.end()
    }
}

/// A process that has been started.
pub(crate) struct Running {
    child: Child,
    folder: TempDir,
    output: Receiver<String>,
    log: Receiver<String>,
    /// Log records that have been looked at.
    records: Vec<Value>,
}

impl Running {
    /// The folder that the process runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The next event on standard output.
    pub(crate) fn event(&mut self) -> Value {
        let line = self.output.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("no event: {error}\n{:#?}", self.logged()));
        serde_json::from_str(&line).expect("an event is JSON")
    }

    /// The next event of that type on standard output; others before it are passed over.
    pub(crate) fn event_of(&mut self, event_type: &str) -> Value {
        loop {
            let event = self.event();
            if event["type"] == event_type {
                return event;
            }
        }
    }

    /// Waits until the source listens, and returns its address.
    pub(crate) fn address(&mut self, source: &str) -> SocketAddr {
        let record =
            self.record(|record| record["message"] == "listening" && record["source"] == source);
        let address = record["address"].as_str().expect("an address");
        address.parse().expect("an address")
    }

    /// Waits for a log record.
    pub(crate) fn record(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("{error}: {:#?}", self.records));
            let record = record(line);
            self.records.push(record.clone());
            if is_wanted(&record) {
                return record;
            }
        }
    }

    /// Has the process drain, and waits for its end.
    pub(crate) fn stop(self) -> Ended {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), Signal::TERM).expect("it runs");
        self.end()
    }

    /// Waits until the process has drained by itself: it exits with 0 and every event is accounted for.
    pub(crate) fn end(mut self) -> Ended {
        let output: Vec<String> = self.output.iter().collect();
        let status = self.child.wait().expect("it was started");
        let rest: Vec<String> = self.log.iter().collect();
        self.records.extend(rest.into_iter().map(record));
        assert_eq!(status.code(), Some(0), "{:#?}", self.records);
        let summary = self
            .records
            .iter()
            .rfind(|record| record["message"] == "summary");
        let summary = summary.expect("a closing summary").clone();
        assert_eq!(summary["balanced"], true, "{summary}");
        let event = |line: &String| serde_json::from_str(line).expect("an event is JSON");
        Ended {
            events: output.iter().map(event).collect(),
            summary,
            folder: self.folder,
        }
    }

    /// What was logged up to this moment.
    fn logged(&mut self) -> &[Value] {
        while let Ok(line) = self.log.try_recv() {
            self.records.push(record(line));
        }
        &self.records
    }
}

/// What a process left behind.
pub(crate) struct Ended {
    /// Events on standard output that had not been looked at.
    pub(crate) events: Vec<Value>,
    /// The closing summary.
    pub(crate) summary: Value,
    folder: TempDir,
}

impl Ended {
    /// The events in a file of the process's folder.
    pub(crate) fn file(&self, path: &str) -> Vec<Value> {
        events_in(&self.folder.path().join(path))
    }

    /// The folder that the process ran in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The events in a file.
pub(crate) fn events_in(path: &Path) -> Vec<Value> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let event = |line: &str| serde_json::from_str(line).expect("an event is JSON");
    text.lines().map(event).collect()
}

/// One field of each event, as text.
pub(crate) fn each<'a>(events: &'a [Value], field: &str) -> Vec<&'a str> {
    events
        .iter()
        .map(|event| event[field].as_str().unwrap_or_default())
        .collect()
}

/// A log line; one that is not JSON as a text.
fn record(line: String) -> Value {
    serde_json::from_str(&line).unwrap_or(Value::String(line))
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
