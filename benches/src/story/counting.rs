//! Allocations, in a pass of their own: glibc's `libmemusage.so`, loaded into each process, counts the calls and tells
//! them at the process's end.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::process::Process;
use super::run::{Bench, Probe};
use super::setting::Setting;
use super::system::System;

/// Where Debian and others have it.
const FOLDERS: [&str; 4] = [
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
];
const LIBRARY: &str = "libmemusage.so";
/// The shares of a run's time in a short and a long one, so that what a start needs cancels out.
const SHARES: [f64; 2] = [0.5, 1.5];

/// The library, if this machine has it.
pub(crate) fn library() -> Option<PathBuf> {
    let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY));
    paths.into_iter().find(|path| path.is_file())
}

/// Allocations for each event, those of a broker left out.
///
/// # Errors
/// If a run fails, or a process does not tell.
pub(crate) fn per_event(
    bench: &Bench<'_>,
    system: System,
    setting: &Setting,
    library: &Path,
) -> anyhow::Result<f64> {
    let mut counted = Vec::new();
    for share in SHARES {
        let setting = Setting {
            seconds: setting.seconds * share,
            ..*setting
        };
        let run = bench.run_with(system, &setting, Probe::Allocations(library))?;
        let allocations = run.allocations.context("nothing was counted")?;
        counted.push((run.events as f64, allocations as f64));
    }
    let [(events, allocations), (more_events, more_allocations)] = counted[..] else {
        anyhow::bail!("there are two runs");
    };
    Ok((more_allocations - allocations) / (more_events - events))
}

/// Ends all processes, components first, and adds up what they tell.
pub(crate) fn stop_and_count(processes: &mut [Process]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for process in processes.iter_mut().rev() {
        process.terminate()?;
        process.wait()?;
        sum += allocations(&process.said());
    }
    Ok(sum)
}

/// The calls of `malloc`, `realloc` and `calloc` in the library's summary.
fn allocations(summary: &str) -> u64 {
    let calls = |name: &str| {
        let (_, rest) = summary.split_once(name)?;
        // The number comes after the end of a colour.
        let number = rest
            .trim_start_matches(|letter: char| "\u{1b}[0;m".contains(letter))
            .trim_start();
        number.split_whitespace().next()?.parse::<u64>().ok()
    };
    ["malloc|", "realloc|", "calloc|"]
        .into_iter()
        .filter_map(calls)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_in_the_summary() {
        let summary = "\u{1b}[01;32mMemory usage summary:\u{1b}[0;0m heap total: 9, heap peak: 8, stack peak: 7\n\
            \u{1b}[04;34m         total calls   total memory   failed calls\u{1b}[0m\n\
            \u{1b}[00;34m malloc|\u{1b}[0m        123          43720              0\n\
            \u{1b}[00;34mrealloc|\u{1b}[0m          4           1280              0  (nomove:4, dec:0, free:0)\n\
            \u{1b}[00;34m calloc|\u{1b}[0m         50            160              0\n";
        assert_eq!(allocations(summary), 177);
        assert_eq!(allocations("no summary"), 0);
    }
}
