//! What processes use, as the kernel counts it: CPU, memory, and the core that they run on.

use std::fs;

use rustix::thread::{CpuSet, sched_setaffinity};

/// CPU time of all threads that the process has, in nanoseconds. (The ticks of `/proc/PID/stat` are 10 ms long.)
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// The memory that is the process's alone, and its share of what it has together with others, in bytes.
pub(crate) fn proportional_bytes(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// The most memory that the process has ever had, shared or not, in bytes.
pub(crate) fn peak_bytes(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// A field in kibibytes; 0 of a process that has ended.
fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(0)
        * 1024
}

/// Keeps this thread, and what it starts, on one core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let pid = std::process::id();
        let before = cpu_ns(pid);
        assert!(before > 0 && peak_bytes(pid) > 1 << 20);
        assert!(proportional_bytes(pid) <= peak_bytes(pid));
        while cpu_ns(pid) == before {
            std::hint::spin_loop();
        }
        assert_eq!((cpu_ns(u32::MAX), peak_bytes(u32::MAX)), (0, 0));
    }
}
