//! The journal of one data directory, seen from outside: by its files, and by `veltrix journal`.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::layout::{Cursor, last_record};
use crate::setup::Setup;

#[derive(Debug)]
pub(crate) struct Journal {
    binary: PathBuf,
    data: PathBuf,
    has_command: bool,
}

impl Journal {
    /// Of a data directory, which need not exist yet.
    pub(crate) fn of(binary: &Path, data: &Path) -> Self {
        let mut help = Command::new(binary);
        help.args(["journal", "--help"]).stdin(Stdio::null());
        let help = help.stdout(Stdio::null()).stderr(Stdio::null()).status();
        Self {
            binary: binary.to_owned(),
            data: data.to_owned(),
            has_command: help.is_ok_and(|status| status.success()),
        }
    }

    /// Where it is.
    pub(crate) fn position(&self) -> anyhow::Result<Position> {
        position(&self.data.join("journal"))
    }

    /// Where a sink's overflow log is.
    pub(crate) fn overflow(&self, sink: &str) -> anyhow::Result<Position> {
        position(&self.overflow_folder(sink))
    }

    fn overflow_folder(&self, sink: &str) -> PathBuf {
        self.data.join("overflow").join(sink)
    }

    /// The segment files, oldest first, with their sizes.
    pub(crate) fn segments(&self) -> anyhow::Result<Vec<(PathBuf, u64)>> {
        segments(&self.data.join("journal"))
    }

    /// What is wrong with the journal of a process that drained.
    pub(crate) fn check_at_rest(&self, setup: &Setup) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        let files = self.segments()?;
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        // The one that is written, and one that became too old with it.
        let allowed = setup.retain_bytes + 2 * setup.segment_bytes;
        if bytes > allowed {
            wrong.push(format!(
                "{} segment files with {bytes} bytes are left, at most {allowed} are kept",
                files.len()
            ));
        }
        match self.position()?.unfinished() {
            0 => {}
            count => wrong.push(format!("{count} events are unfinished after a drain")),
        }
        for sink in setup.wiring.sinks() {
            let left = self.overflow(sink.name)?.unfinished();
            let stored = segments(&self.overflow_folder(sink.name))?.len();
            // What was delivered is of no more use; the one that is written stays.
            if left > 0 || stored > 2 {
                wrong.push(format!(
                    "the overflow log of {} has {left} unfinished events and {stored} segments after a drain",
                    sink.name
                ));
            }
        }
        wrong.extend(self.verify()?);
        Ok(wrong)
    }

    /// What `veltrix journal verify` finds, where the binary has it.
    fn verify(&self) -> anyhow::Result<Option<String>> {
        if !self.has_command {
            return Ok(None);
        }
        let mut command = Command::new(&self.binary);
        command
            .args(["journal", "verify", "--data-dir"])
            .arg(&self.data);
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(None);
        }
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).trim().to_owned();
        Ok(Some(format!(
            "veltrix journal verify, {}: {told}",
            output.status
        )))
    }
}

/// Events of a journal that its cursor does not know as finished, which the next process hands on again.
///
/// # Errors
/// Its files cannot be read.
pub fn unfinished_events(folder: &Path) -> anyhow::Result<u64> {
    Ok(position(folder)?.unfinished())
}

/// Where a journal is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    cursor: Cursor,
    /// The sequence behind its last event.
    end: u64,
}

impl Position {
    pub(crate) fn unfinished(&self) -> u64 {
        self.cursor.unfinished(self.end)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cursor, end } = self;
        let unfinished = self.unfinished();
        let Cursor { prefix, beyond } = cursor;
        write!(
            formatter,
            "finished up to {prefix} and {beyond} beyond, of {end}: {unfinished} left"
        )
    }
}

fn position(folder: &Path) -> anyhow::Result<Position> {
    let cursor = match std::fs::read(folder.join("cursor")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.context("the cursor")?,
    };
    let cursor = Cursor::read(&cursor);
    for (path, _) in segments(folder)?.into_iter().rev() {
        if let Some(last) = last_record(&std::fs::read(path)?) {
            let end = last.end_sequence;
            return Ok(Position { cursor, end });
        }
    }
    Ok(Position {
        cursor,
        end: cursor.prefix,
    })
}

fn segments(folder: &Path) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // A file may be gone by now.
        if path.extension().is_some_and(|end| end == "seg")
            && let Ok(metadata) = entry.metadata()
        {
            segments.push((path, metadata.len()));
        }
    }
    segments.sort();
    Ok(segments)
}
