//! The whole pipeline through the real binary beside the straight-line program: same input, same output
//! bytes, run in alternation; both figures and their ratio.

mod config;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::child_process::{Usage, measure};
use crate::straight_line::Workload;
use crate::{generate_small, outputs};

const SHOP_EVENTS: u64 = 1_000_000;
const GITHUB_EVENTS: u64 = 80_000;
/// What the project promises: issue 2, Show 3.
const CPU_RATIO_MAX: f64 = 2.0;
const WALL_RATIO_MAX: f64 = 1.2;
const MEMORY_MAX_MIB: f64 = 64.0;

/// Compare `veltrix run` with the straight-line program on the same events.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// GitHub events, one a line, repeated up to the number of events; left out, small shop events are made.
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many events: 1,000,000 small or 80,000 GitHub events unless given.
    #[arg(long)]
    events: Option<u64>,
    /// How many times each program runs; the medians count.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// The binary; unless given, the one beside this program.
    #[arg(long)]
    veltrix: Option<PathBuf>,
    /// A folder for input and output, made and removed again; the temporary folder's unless given.
    #[arg(long)]
    work: Option<PathBuf>,
    /// Fail if a promised limit is passed.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let this = std::env::current_exe()?;
    let veltrix = options
        .veltrix
        .clone()
        .unwrap_or_else(|| this.with_file_name("veltrix"));
    if !veltrix.is_file() {
        bail!(
            "no veltrix at {}: build it with `cargo build --release`, or give --veltrix",
            veltrix.display()
        );
    }
    let work = options.work.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("veltrix-bench-{}", std::process::id()))
    });
    fs::create_dir(&work).with_context(|| format!("making {}", work.display()))?;
    let result = compare(options, &this, &veltrix, &fs::canonicalize(&work)?);
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    result
}

fn compare(options: &Options, this: &Path, veltrix: &Path, work: &Path) -> anyhow::Result<()> {
    let (workload, events) = match options.data {
        None => (Workload::Shop, options.events.unwrap_or(SHOP_EVENTS)),
        Some(_) => (Workload::GitHub, options.events.unwrap_or(GITHUB_EVENTS)),
    };
    let input = work.join("input.ndjson");
    let bytes = match &options.data {
        None => generate_small::write_events(&input, events, 7)?,
        Some(data) => repeat_lines(data, &input, events)?,
    };
    println!(
        "{events} events, {} MB, {} repeats in alternation",
        bytes / 1_000_000,
        options.repeats
    );
    let (expected, actual) = (work.join("straight-line"), work.join("veltrix"));
    let config = work.join("veltrix.yaml");
    let data_dir = work.join("data");
    fs::write(&config, config::yaml(workload, &input, &actual, &data_dir))?;
    let (mut straight_runs, mut veltrix_runs) = (Vec::new(), Vec::new());
    for repeat in 1..=options.repeats.max(1) {
        for folder in [&expected, &actual, &data_dir] {
            make_empty(folder)?;
        }
        let mut straight_line = Command::new(this);
        straight_line
            .arg("straight-line")
            .arg("--input")
            .arg(&input)
            .arg("--out")
            .arg(&expected);
        if workload == Workload::GitHub {
            straight_line.arg("--github");
        }
        straight_runs.push(measure(&mut straight_line)?);
        let mut process = Command::new(veltrix);
        process
            .arg("run")
            .arg("-c")
            .arg(&config)
            .args(["--log-level", "error"]);
        veltrix_runs.push(measure(
            process
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .stdout(Stdio::null()),
        )?);
        let lines = outputs::compare(&expected, &actual, workload.classes())?;
        if lines != events {
            bail!("repeat {repeat}: {lines} lines written for {events} events");
        }
    }
    println!("outputs are equal, line by line, in every repeat\n");
    report(events, &straight_runs, &veltrix_runs, options.check)
}

fn make_empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))
}

/// Writes the lines of `data` again and again until there are `events` of them.
fn repeat_lines(data: &Path, input: &Path, events: u64) -> anyhow::Result<u64> {
    let text = fs::read_to_string(data).with_context(|| format!("reading {}", data.display()))?;
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.is_empty() {
        bail!("{} has no events", data.display());
    }
    let mut out = BufWriter::new(File::create(input)?);
    let mut bytes = 0;
    for index in 0..events {
        let line = lines[(index % lines.len() as u64) as usize];
        writeln!(out, "{line}")?;
        bytes += line.len() as u64 + 1;
    }
    out.flush()?;
    Ok(bytes)
}

fn report(events: u64, straight: &[Usage], veltrix: &[Usage], check: bool) -> anyhow::Result<()> {
    println!(
        "{:<14} {:>8} {:>8} {:>9} {:>11} {:>10}",
        "median", "CPU s", "wall s", "peak MiB", "CPU ns/ev", "events/s"
    );
    let straight = medians("straight-line", events, straight);
    let veltrix = medians("veltrix", events, veltrix);
    let (cpu, wall) = (veltrix.cpu / straight.cpu, veltrix.wall / straight.wall);
    println!("{:<14} {cpu:>7.2}x {wall:>7.2}x", "ratio");
    let limits = [
        ("CPU ratio", cpu, CPU_RATIO_MAX),
        ("wall ratio", wall, WALL_RATIO_MAX),
        ("peak MiB", veltrix.peak_mib, MEMORY_MAX_MIB),
    ];
    let mut passed = Vec::new();
    for (name, value, limit) in limits {
        let verdict = if value <= limit { "within" } else { "BEYOND" };
        println!("{name:<14} {value:>8.2} {verdict} {limit}");
        if value > limit {
            passed.push(name);
        }
    }
    if check && !passed.is_empty() {
        bail!("beyond the limit: {}", passed.join(", "));
    }
    Ok(())
}

struct Medians {
    cpu: f64,
    wall: f64,
    peak_mib: f64,
}

fn medians(name: &str, events: u64, runs: &[Usage]) -> Medians {
    let seconds =
        |of: fn(&Usage) -> Duration| median(runs.iter().map(|run| of(run).as_secs_f64()).collect());
    let found = Medians {
        cpu: seconds(|run| run.cpu),
        wall: seconds(|run| run.wall),
        peak_mib: median(
            runs.iter()
                .map(|run| run.peak_memory_bytes as f64 / (1024.0 * 1024.0))
                .collect(),
        ),
    };
    println!(
        "{name:<14} {:>8.2} {:>8.2} {:>9.1} {:>11.0} {:>10.0}",
        found.cpu,
        found.wall,
        found.peak_mib,
        found.cpu * 1e9 / events as f64,
        events as f64 / found.wall
    );
    found
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values[values.len() / 2];
    let lower = values[(values.len() - 1) / 2];
    f64::midpoint(lower, upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![1.0]), 1.0);
    }
}
