//! Runs one program and tells what it used: CPU of all its threads, wall time, peak memory.

use std::fs;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How often the peak memory is read: it is gone once the program has ended, so growth in the very last
/// interval is not seen.
const MEMORY_INTERVAL: Duration = Duration::from_millis(5);

/// What one run used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time, to the kernel's clock tick (10 ms).
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) peak_memory_bytes: u64,
}

/// Runs `command` to its end.
///
/// # Errors
/// If it cannot be started or does not exit with 0.
pub(crate) fn measure(command: &mut Command) -> anyhow::Result<Usage> {
    let name = format!("{command:?}");
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let watched = watch(&child, start);
    let status = child
        .wait()
        .with_context(|| format!("waiting for {name}"))?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    watched
}

/// Waits for the end without reaping, so that the kernel still has the program's times.
fn watch(child: &Child, start: Instant) -> anyhow::Result<Usage> {
    let id = child.id();
    let pid = Pid::from_child(child);
    let has_ended = AtomicBool::new(false);
    let (ended, wall, peak_memory_bytes) = thread::scope(|scope| {
        let sampler = scope.spawn(|| peak_memory_until(id, &has_ended));
        let ended = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
        let wall = start.elapsed();
        has_ended.store(true, Ordering::Release);
        (ended, wall, sampler.join())
    });
    ended.context("waiting for the end")?;
    let Ok(peak_memory_bytes) = peak_memory_bytes else {
        bail!("the memory sampler panicked");
    };
    Ok(Usage {
        cpu: cpu_time(id)?,
        wall,
        peak_memory_bytes,
    })
}

fn peak_memory_until(id: u32, has_ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !has_ended.load(Ordering::Acquire) {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        peak = peak_memory(&status).unwrap_or(0).max(peak);
        thread::sleep(MEMORY_INTERVAL);
    }
    peak
}

fn peak_memory(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// What all threads of a process have used so far.
pub(crate) fn cpu_time(id: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("reading the times")?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("no times in `{stat}`"))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// proc(5): fields 14 (utime) and 15 (stime), counted after the name, which may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_after_a_name_with_spaces() {
        let stat = "7 (a ) b) Z 1 7 7 0 -1 4 0 0 0 0 120 30 0 0 20 0 1 0 9 0 0";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!(cpu_ticks("nothing"), None);
    }

    #[test]
    fn peak_memory_is_in_bytes() {
        assert_eq!(
            peak_memory("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"),
            Some(2 * 1024 * 1024)
        );
        assert_eq!(peak_memory("State:\tZ (zombie)\n"), None);
    }

    #[test]
    fn a_failing_program_is_an_error() {
        assert!(measure(&mut Command::new("false")).is_err());
        assert!(measure(&mut Command::new("true")).is_ok());
    }
}
