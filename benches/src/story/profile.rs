//! Where a system's CPU goes: Linux's `perf` samples its processes in a run of its own, by the CPU clock, and a sample's
//! symbols say what it is of.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

const SAMPLES_A_SECOND: &str = "1999";
/// What a sample is of: the first of these that has a name in one of its symbols.
const KINDS: [(&str, &[&str]); 6] = [
    ("handlers' work", &["Work::run", "expected_sum"]),
    (
        "switching, waiting",
        &["__schedule", "futex", "epoll", "reschedule_ipi"],
    ),
    ("sending", &["tcp_sendmsg"]),
    ("receiving", &["tcp_recvmsg"]),
    (
        "parsing",
        &[
            "serde_json",
            "envelope::",
            "check_depth",
            "from_utf8",
            "memchr",
        ],
    ),
    ("allocator", &["malloc", "cfree", "_int_free", "realloc"]),
];
const REST: &str = "the rest";

/// The names of a profile's parts.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name).chain([REST])
}

/// The share of each part, in the order of their names.
pub(crate) type Shares = [f64; KINDS.len() + 1];

/// `perf`, while it samples.
pub(crate) struct Sampler {
    perf: Child,
    data: PathBuf,
}

/// Whether this machine has `perf`.
pub(crate) fn is_possible() -> bool {
    let mut perf = Command::new("perf");
    let started = perf.arg("--version").stdout(Stdio::null()).status();
    started.is_ok_and(|status| status.success())
}

impl Sampler {
    pub(crate) fn start(ids: &[u32], folder: &Path) -> anyhow::Result<Self> {
        let data = folder.join("perf.data");
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        let perf = Command::new("perf")
            .args(["record", "-e", "cpu-clock", "-F", SAMPLES_A_SECOND, "-g"])
            .args(["-p", &ids.join(","), "-o"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting perf")?;
        Ok(Self { perf, data })
    }

    /// Ends it; no shares if it was not allowed to look.
    pub(crate) fn finish(mut self) -> anyhow::Result<Option<Shares>> {
        kill_process(Pid::from_child(&self.perf), Signal::INT).context("stopping perf")?;
        self.perf.wait()?;
        let samples = Command::new("perf")
            .args(["script", "-F", "ip,sym", "-i"])
            .arg(&self.data)
            .output()
            .context("reading perf's samples")?;
        Ok(shares(&String::from_utf8_lossy(&samples.stdout)))
    }
}

/// Of samples that are divided by empty lines, a symbol a line.
fn shares(samples: &str) -> Option<Shares> {
    let mut counts = [0.0; KINDS.len() + 1];
    for sample in samples.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let is_of = |(_, names): &(&str, &[&str])| names.iter().any(|name| sample.contains(name));
        counts[KINDS.iter().position(is_of).unwrap_or(KINDS.len())] += 1.0;
    }
    let sum: f64 = counts.iter().sum();
    (sum > 0.0).then(|| counts.map(|count| count / sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_of_the_first_kind_that_knows_one_of_its_symbols() {
        let samples = "\n\tff _copy\n\tff tcp_recvmsg\n\t10 __libc_recv\n\n\n\t30 serde_json::de::x\n\n\
            \n\t48 veltrix_story_system::work::Work::run\n\n\n\t11 actix::poll\n\n";
        let expected = [0.25, 0.0, 0.0, 0.25, 0.25, 0.0, 0.25];
        assert_eq!(shares(samples), Some(expected));
        assert_eq!(names().count(), expected.len());
        assert_eq!(shares("\n"), None);
    }
}
