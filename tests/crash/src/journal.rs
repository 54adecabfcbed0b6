//! The journal seen from outside: by `veltrix journal`, where the binary has it, and by its files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::setup::Setup;

/// The journal of one data directory.
#[derive(Debug)]
pub(crate) struct Journal {
    binary: PathBuf,
    data: PathBuf,
    has_command: bool,
}

impl Journal {
    /// Of a data directory, which need not exist yet.
    pub(crate) fn of(binary: &Path, data: &Path) -> Self {
        let help = Command::new(binary)
            .args(["journal", "--help"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        Self {
            binary: binary.to_owned(),
            data: data.to_owned(),
            has_command: help.is_ok_and(|status| status.success()),
        }
    }

    /// Whether the binary can say what is in a journal.
    pub(crate) fn can_inspect(&self) -> bool {
        self.has_command
    }

    fn ask(&self, what: &str) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.binary);
        command
            .args(["journal", what, "-o", "json"])
            .arg(&self.data);
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!(
                "veltrix journal {what} ends with {}: {}",
                output.status,
                error.trim()
            );
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("veltrix journal {what} does not print JSON"))
    }

    /// Events after the persisted cursor, which will be handed on again.
    pub(crate) fn unfinished(&self) -> anyhow::Result<u64> {
        if !self.data.join("journal").exists() {
            return Ok(0);
        }
        let stats = self.ask("stats")?;
        let count = stats["unfinished"].as_u64();
        count.with_context(|| format!("no `unfinished` in {stats}"))
    }

    /// The segment files, oldest first, with their sizes.
    pub(crate) fn segments(&self) -> anyhow::Result<Vec<(PathBuf, u64)>> {
        let folder = self.data.join("journal");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "seg") {
                segments.push((path, entry.metadata()?.len()));
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// What is wrong with the journal of a process that drained.
    pub(crate) fn check_at_rest(&self, setup: &Setup) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        let segments = self.segments()?;
        let bytes: u64 = segments.iter().map(|(_, bytes)| bytes).sum();
        let allowed = setup.retain_bytes + 2 * setup.segment_bytes;
        if bytes > allowed {
            wrong.push(format!(
                "{} segment files with {bytes} bytes are left, at most {allowed} are kept",
                segments.len()
            ));
        }
        if self.has_command {
            if let Err(error) = self.ask("verify") {
                wrong.push(format!("{error:#}"));
            }
            match self.unfinished() {
                Ok(0) => {}
                Ok(count) => wrong.push(format!("{count} events are unfinished after a drain")),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        Ok(wrong)
    }
}
