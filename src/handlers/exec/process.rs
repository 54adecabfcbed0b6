//! A child process in a group of its own, which dies with its owner.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::FutureExt;
use rustix::process::Pid;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::oneshot;

use super::group::{self, Group};
use super::options::Command;
use super::stderr_log;
use crate::config::{Mask, Secret};

/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time for a killed child to be gone; only one stuck in the kernel takes longer, and is reaped in the background.
const REAP_TIMEOUT: Duration = Duration::from_secs(1);

/// A running child. Dropping it kills its group and has it reaped in the background.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// There until it is killed.
    group: Option<Group>,
    /// There until it is reaped.
    child: Option<Child>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Dropped with the process, which tells the log of its standard error to end.
    _stderr_log: oneshot::Sender<()>,
}

/// Why an exchange failed; the child is of no more use.
#[derive(Debug)]
pub(super) enum Broken {
    /// Its output ended.
    Closed,
    /// Its answer is longer than allowed.
    TooLong,
    /// A pipe failed.
    Pipe(io::Error),
}

impl Process {
    /// Starts the command.
    ///
    /// # Errors
    /// Why it does not start, with its program's name.
    pub(super) fn start(command: &Command) -> Result<Self, String> {
        let failed = |what: &str| format!("cannot start `{}`: {what}", command.program);
        let mut child = tokio::process::Command::new(&command.program)
            .args(&command.arguments)
            .envs(
                command
                    .environment
                    .0
                    .iter()
                    .map(|(name, value)| (name, value.expose())),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        // First of all, so that whatever happens now kills it.
        let group = pid.map(Group::of);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(pid), (Some(stdin), Some(stdout), Some(stderr))) = (pid, pipes) else {
            return Err(failed("it has no pipes"));
        };
        let (owner, is_owned) = oneshot::channel();
        let number = pid.as_raw_pid();
        let mask = Mask::of(command.environment.0.values().map(Secret::expose));
        let log = stderr_log::log(stderr, command.handler.clone(), mask, number, is_owned);
        actix_rt::spawn(log);
        tracing::debug!(
            handler = command.handler,
            pid = number,
            "started the command"
        );
        Ok(Self {
            pid,
            group,
            child: Some(child),
            stdin,
            stdout: BufReader::new(stdout),
            _stderr_log: owner,
        })
    }

    /// Whether it waits silently for an event, as far as can be told: a child that ended has closed its output, and
    /// one that wrote unasked would have its lines taken for the answers to other events.
    pub(super) fn is_waiting(&mut self) -> bool {
        self.stdout.fill_buf().now_or_never().is_none()
    }

    /// Sends `line` and reads the answer, without its newline. Both at once, since an event may be larger than a pipe
    /// and a child may begin its answer before it has read all.
    pub(super) async fn exchange(&mut self, line: &str) -> Result<Vec<u8>, Broken> {
        let stdin = &mut self.stdin;
        let write = async move {
            stdin.write_all(line.as_bytes()).await?;
            stdin.flush().await
        };
        let write = write.map(|written| written.map_err(Broken::Pipe));
        let read = read_line(&mut self.stdout, ANSWER_BYTES_MAX);
        let ((), answer) = futures::future::try_join(write, read).await?;
        Ok(answer)
    }

    /// Kills the group and reaps the child; its status if it had ended by itself or ends now.
    pub(super) async fn end(mut self) -> Option<ExitStatus> {
        drop(self.group.take());
        let child = self.child.as_mut()?;
        let status = tokio::time::timeout(REAP_TIMEOUT, child.wait())
            .await
            .ok()?;
        self.child = None;
        actix_rt::spawn(group::reap_orphans(self.pid));
        status.ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.group.take());
        // Where no runtime is left, the process ends and leaves its children to whoever reaps them then.
        if let Some(child) = self.child.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(group::reap(child, self.pid));
        }
    }
}

async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    bytes_max: usize,
) -> Result<Vec<u8>, Broken> {
    let mut line = Vec::new();
    loop {
        let chunk = reader.fill_buf().await.map_err(Broken::Pipe)?;
        if chunk.is_empty() {
            return Err(Broken::Closed);
        }
        let newline = memchr::memchr(b'\n', chunk);
        let text = &chunk[..newline.unwrap_or(chunk.len())];
        if line.len() + text.len() > bytes_max {
            return Err(Broken::TooLong);
        }
        line.extend_from_slice(text);
        let consumed = newline.map_or(chunk.len(), |at| at + 1);
        reader.consume(consumed);
        if newline.is_some() {
            return Ok(line);
        }
    }
}

/// What to say of a child that broke, once its status is known.
pub(super) fn reason(broken: &Broken, status: Option<ExitStatus>, program: &str) -> String {
    let what = match broken {
        Broken::TooLong => {
            return format!("the answer of `{program}` is longer than {ANSWER_BYTES_MAX} bytes");
        }
        Broken::Closed => "closed its output".to_owned(),
        Broken::Pipe(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            "closed its input".to_owned()
        }
        Broken::Pipe(error) => format!("cannot be talked to: {error}"),
    };
    match status {
        Some(status) => format!("`{program}` {what} ({status})"),
        None => format!("`{program}` {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn a_line_is_read_to_its_end_and_no_further_than_allowed() {
        let mut reader = BufReader::with_capacity(3, &b"12345\n\n123456\n"[..]);
        assert_eq!(read_line(&mut reader, 5).await.unwrap(), b"12345");
        assert_eq!(read_line(&mut reader, 5).await.unwrap(), b"");
        assert!(matches!(
            read_line(&mut reader, 5).await,
            Err(Broken::TooLong)
        ));
        assert!(matches!(
            read_line(&mut &b"x"[..], 5).await,
            Err(Broken::Closed)
        ));
    }
}
