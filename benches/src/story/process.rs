//! The processes of a system: started on their core, killed and started again where a fault wants it, and stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::usage;

const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What is to be started, and can be again.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Whether its allocations can be counted: brokers have allocators of their own.
    pub(crate) is_countable: bool,
}

/// A process of a system.
pub(crate) struct Process {
    pub(crate) name: String,
    program: Program,
    child: Child,
    core: Option<usize>,
    log: PathBuf,
    /// CPU of those that were killed.
    cpu_before_ns: u64,
}

/// Settings that all processes of a run share.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) core: Option<usize>,
    pub(crate) folder: &'a Path,
    /// A library that counts allocations and tells them at the end.
    pub(crate) counting: Option<&'a Path>,
}

impl Process {
    pub(crate) fn start(program: Program, place: &Place<'_>) -> anyhow::Result<Self> {
        let log = place.folder.join(format!("{}.log", program.name));
        let counting = place.counting.filter(|_| program.is_countable);
        let child = spawn(&program, place.core, &log, counting)?;
        Ok(Self {
            name: program.name.clone(),
            program,
            child,
            core: place.core,
            log,
            cpu_before_ns: 0,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu_ns(&self) -> u64 {
        self.cpu_before_ns + usage::cpu_ns(self.id())
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.cpu_before_ns = self.cpu_ns();
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.program, self.core, &self.log, None)?;
        Ok(())
    }

    /// An error with what it has logged if it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.said()),
        }
    }

    /// What it wrote to its log.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).with_context(|| format!("stopping {}", self.name))
    }

    /// Waits for its end, which it has been asked for.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > STOP_TIMEOUT {
                bail!("{} does not stop: {}", self.name, self.said());
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Process {
    /// Nothing of a run that failed is left running.
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("cannot end {}: {error}", self.name);
        }
    }
}

/// From a thread of its own, whose core the process inherits.
fn spawn(
    program: &Program,
    core: Option<usize>,
    log: &Path,
    counting: Option<&Path>,
) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        // A panic on purpose costs every system the same: a line, no backtrace.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    if let Some(library) = counting {
        command.env("LD_PRELOAD", library);
    }
    let spawning = thread::spawn(move || {
        if let Some(core) = core {
            usage::pin(core)?;
        }
        let name = format!("starting {}", command.get_program().display());
        command.spawn().with_context(|| name)
    });
    spawning
        .join()
        .map_err(|_| anyhow!("the starting thread panicked"))?
}
