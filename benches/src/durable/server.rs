//! A running `veltrix run` with one source, as the benchmark sees it: its address, its counts, its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::child_process::cpu_time;

/// The process.
pub(crate) struct Server {
    child: Child,
    pub(crate) source: SocketAddr,
    admin: SocketAddr,
}

/// Counts of the process so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// Groups that the journal has synced.
    pub(crate) groups: f64,
    /// Seconds in these syncs.
    pub(crate) sync_seconds: f64,
    pub(crate) journal_events: f64,
    pub(crate) journal_bytes: f64,
    pub(crate) cpu: Duration,
}

impl Server {
    /// Starts the binary in `folder` with the options of its one source, and waits until it listens.
    pub(crate) fn start(veltrix: &Path, folder: &Path, source: &str) -> anyhow::Result<Self> {
        let config = format!(
            "service:\n  name: bench\n  data_dir: {:?}\n  admin: {{ listen: \"127.0.0.1:0\" }}\n\
             sources:\n  in: {source}\n\
             handlers:\n  all: {{ on: \">\", type: pass, to: [out] }}\n\
             sinks:\n  out: {{ type: blackhole }}\n",
            folder.join("data"),
        );
        let path = folder.join("veltrix.yaml");
        std::fs::write(&path, config)?;
        let mut child = Command::new(veltrix)
            .arg("run")
            .arg("-c")
            .arg(&path)
            .args(["--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting veltrix")?;
        let logs = child.stderr.take().context("it has a log")?;
        let mut logs = BufReader::new(logs);
        let (mut source, mut admin) = (None, None);
        while source.is_none() || admin.is_none() {
            let mut line = String::new();
            if logs.read_line(&mut line)? == 0 {
                bail!("veltrix ended: {:?}", child.wait()?);
            }
            let record: serde_json::Value = serde_json::from_str(&line)?;
            let address = || record["address"].as_str().and_then(|it| it.parse().ok());
            match record["message"].as_str() {
                Some("listening") => source = address(),
                Some("admin listening") => admin = address(),
                _ => {}
            }
        }
        // Read on, so that it never waits for us.
        std::thread::spawn(move || std::io::copy(&mut logs, &mut std::io::sink()));
        Ok(Self {
            child,
            source: source.context("an address")?,
            admin: admin.context("an address")?,
        })
    }

    /// What it has counted by now.
    pub(crate) fn counts(&self) -> anyhow::Result<Counts> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        // A process without a journal has no counts of one.
        let sample = |name: &str| {
            let value = page.lines().find_map(|line| line.strip_prefix(name));
            value.map_or(Ok(0.0), |value| value.trim().parse::<f64>())
        };
        Ok(Counts {
            groups: sample("veltrix_journal_sync_seconds_count ")?,
            sync_seconds: sample("veltrix_journal_sync_seconds_sum ")?,
            journal_events: sample("veltrix_journal_events_total ")?,
            journal_bytes: sample("veltrix_journal_bytes_total ")?,
            cpu: cpu_time(self.child.id())?,
        })
    }

    /// Stops it; it has to say that it has done all its work.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "veltrix ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that was waited for is not there any more.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        drop(ended);
    }
}
