//! The process groups of the children: killed whole, when their owner drops them and at the latest when the process ends.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};
use tokio::process::Child;

/// Time in which a killed group's orphans are reaped where they become our children.
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks whether they are gone; nobody waits for it.
const ORPHANS_PAUSE: Duration = Duration::from_millis(10);

/// All groups that live. Global, because the end of the process has to reach those whose lanes hang.
static LIVING: Mutex<Living> = Mutex::new(Living {
    groups: Vec::new(),
    is_over: false,
});

struct Living {
    groups: Vec<Pid>,
    /// The process ends, and what was started meanwhile is killed at once.
    is_over: bool,
}

fn living() -> MutexGuard<'static, Living> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the groups that are left when it is dropped: those of lanes that did not end. What is started afterwards is killed
/// at once, so a process has one of it, for as long as handlers may run.
pub(crate) struct KillOnExit;

impl Drop for KillOnExit {
    fn drop(&mut self) {
        let mut living = living();
        living.is_over = true;
        for group in std::mem::take(&mut living.groups) {
            kill(group);
        }
    }
}

/// A child's process group, which is killed when this is dropped. The child may not be reaped before: its number could
/// belong to somebody else then.
#[derive(Debug)]
pub(super) struct Group(Pid);

impl Group {
    /// The group that a child leads.
    pub(super) fn of(child: Pid) -> Self {
        let mut living = living();
        match living.is_over {
            true => kill(child),
            false => living.groups.push(child),
        }
        Self(child)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Locked until the kill, so that nobody else kills it after its child was reaped.
        let mut living = living();
        if let Some(index) = living.groups.iter().position(|group| *group == self.0) {
            living.groups.swap_remove(index);
            kill(self.0);
        }
    }
}

fn kill(group: Pid) {
    if let Err(error) = kill_process_group(group, Signal::KILL) {
        // It has ended with all its children, which is what was wanted.
        tracing::debug!(%error, "the command's process group is gone already");
    }
}

/// Reaps a killed child, and then those of its group who became ours: orphans do where Veltrix is a container's first
/// process, and nobody else reaps them there.
pub(super) async fn reap(mut child: Child, group: Pid) {
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "a command cannot be waited for");
    }
    reap_orphans(group).await;
}

/// As above, once the child is reaped.
pub(super) async fn reap_orphans(group: Pid) {
    let reaping = async {
        loop {
            match waitpgid(group, WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => tokio::time::sleep(ORPHANS_PAUSE).await,
                // None of it is ours, or all are reaped.
                Err(_) => return,
            }
        }
    };
    if tokio::time::timeout(ORPHANS_TIMEOUT, reaping)
        .await
        .is_err()
    {
        tracing::warn!("a killed command's own children are not gone yet");
    }
}
