//! One `veltrix run`: started, waited for, killed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;

use crate::fleet::Target;
use crate::wire;

/// Between two questions whether the process is ready.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// What the log says that matters here.
enum Sign {
    Listening(String, SocketAddr),
    Admin(SocketAddr),
    /// A record of level error, or what is no record.
    Alarm(String),
}

/// A running process.
pub(crate) struct Process {
    child: Child,
    epoch: u16,
    started: Instant,
    signs: Receiver<Sign>,
    http: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    alarms: Vec<String>,
}

/// A process that takes events in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// Where to.
    pub(crate) target: Target,
    /// Its admin server.
    pub(crate) admin: SocketAddr,
    /// From its start until `/readyz` said so.
    pub(crate) after: Duration,
}

/// What came of waiting for a process.
#[derive(Debug)]
pub(crate) enum Waited {
    /// It is ready.
    Ready(Ready),
    /// The time is up.
    NotYet,
    /// It ended by itself.
    Ended,
}

impl Process {
    /// Starts the binary in `work` on a config; its log is appended to `log`.
    pub(crate) fn start(
        binary: &Path,
        work: &Path,
        config: &Value,
        log: &Path,
        epoch: u16,
    ) -> anyhow::Result<Self> {
        let path = log.with_file_name("veltrix.json");
        std::fs::write(&path, format!("{config:#}")).context("the config cannot be written")?;
        let path = std::fs::canonicalize(path)?;
        let mut log = OpenOptions::new().create(true).append(true).open(log)?;
        writeln!(log, "---- process {epoch}")?;
        let started = Instant::now();
        let mut child = Command::new(binary)
            .args(["--log-format", "json", "run", "-c"])
            .arg(path)
            .current_dir(work)
            .env_remove("VELTRIX_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let lines = child.stderr.take().expect("it was piped");
        let (sender, signs) = sync_channel(1_024);
        std::thread::spawn(move || read_log(lines, log, &sender));
        Ok(Self {
            child,
            epoch,
            started,
            signs,
            http: None,
            tcp: None,
            admin: None,
            alarms: Vec::new(),
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is ready, or for so long.
    pub(crate) fn wait_ready(&mut self, time: Duration) -> Waited {
        let until = Instant::now() + time;
        loop {
            if let (Some(http), Some(tcp), Some(admin)) = (self.http, self.tcp, self.admin)
                && wire::get(admin, "/readyz")
                    .and_then(|answer| answer.status())
                    .is_ok_and(|status| status == 200)
            {
                return Waited::Ready(Ready {
                    target: Target {
                        epoch: self.epoch,
                        http,
                        tcp,
                        started: self.started,
                    },
                    admin,
                    after: self.started.elapsed(),
                });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::NotYet;
            }
            let is_listening = self.http.is_some() && self.tcp.is_some();
            let step = if is_listening {
                left.min(ASK_AGAIN_AFTER)
            } else {
                left
            };
            match self.signs.recv_timeout(step) {
                Ok(sign) => self.heed(sign),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Waited::Ended,
            }
        }
    }

    /// Lets it run for so long; false if it ended by itself.
    pub(crate) fn let_run(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match self
                .signs
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(sign) => self.heed(sign),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn heed(&mut self, sign: Sign) {
        match sign {
            Sign::Listening(source, address) if source == "web" => self.http = Some(address),
            Sign::Listening(_, address) => self.tcp = Some(address),
            Sign::Admin(address) => self.admin = Some(address),
            Sign::Alarm(alarm) => self.alarms.push(alarm),
        }
    }

    /// Kills it, waits for its end, and returns what its log complained of.
    pub(crate) fn kill(mut self) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        self.child.kill().context("it cannot be killed")?;
        self.wait(Duration::from_secs(60))
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        kill_process(self.pid()?, Signal::TERM).context("SIGTERM")
    }

    /// Stops all its threads, each where it returns from the kernel next.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        let id = self.pid()?;
        kill_process(id, Signal::STOP).context("SIGSTOP")?;
        let stopped = waitpid(Some(id), WaitOptions::UNTRACED).context("it does not stop")?;
        ensure!(
            stopped.is_some_and(|(_, status)| status.stopped()),
            "it ended instead of stopping"
        );
        Ok(())
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        id.context("a process id")
    }

    /// Waits for its end by itself.
    pub(crate) fn wait(mut self, time: Duration) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        if self.let_run(time) {
            self.child.kill()?;
            self.child.wait()?;
            bail!("process {} did not end within {time:?}", self.epoch);
        }
        let status = self.child.wait()?;
        Ok((status, self.take_alarms()))
    }

    /// What its log has complained of since this was asked last.
    pub(crate) fn take_alarms(&mut self) -> Vec<String> {
        std::mem::take(&mut self.alarms)
    }

    /// The memory that it holds.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kibibytes * 1_024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended and was waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read_log(lines: ChildStderr, mut log: File, signs: &SyncSender<Sign>) {
    for line in BufReader::new(lines).lines() {
        let Ok(line) = line else { return };
        drop(writeln!(log, "{line}"));
        if let Some(sign) = sign_of(&line)
            && signs.send(sign).is_err()
        {
            return;
        }
    }
}

fn sign_of(line: &str) -> Option<Sign> {
    let Ok(record) = serde_json::from_str::<Value>(line) else {
        return Some(Sign::Alarm(line.to_owned()));
    };
    let fields = record.get("fields").unwrap_or(&record);
    let address = || fields["address"].as_str()?.parse().ok();
    match fields["message"].as_str() {
        Some("listening") => {
            let source = fields["source"].as_str()?.to_owned();
            Some(Sign::Listening(source, address()?))
        }
        Some("admin listening") => Some(Sign::Admin(address()?)),
        _ if record["level"] == "ERROR" => Some(Sign::Alarm(line.to_owned())),
        _ => None,
    }
}
