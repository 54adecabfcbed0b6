//! The story's comparison: a decentralized system, message queues, and Veltrix, under the same load and the same faults.
//!
//! The generator is the source of all events, and the sinks are here, too: one thread plays a schedule that was computed
//! before (`schedule`, `play`), writes each event to whoever is to have it (`source`, `feeder`, `frame`), and takes down
//! what comes to the sinks (`receiver`, `ledger`). A system is a set of processes (`system`, `process`), whose handlers do
//! the same work with the same code: the crate `veltrix-story-system`. `run` is one run, `capacity` finds the rate that a
//! system sustains, `plan` says what is run, `estimate` how long that takes, and `runner` does it; `results`, `statistics`
//! and `report` make of it what is read. The method in words: `docs/benchmarks.md`.

mod capacity;
mod counting;
mod estimate;
mod events;
mod feeder;
mod figures;
mod frame;
mod ledger;
mod peer;
mod plan;
mod play;
mod process;
mod profile;
mod programs;
mod receiver;
mod report;
mod results;
mod run;
mod runner;
mod schedule;
mod setting;
mod source;
mod statistics;
mod system;
mod usage;
mod veltrix_config;
mod wiring;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use veltrix_story_system::expected_sum;

use estimate::PlanSize;
use events::Events;
use peer::PeerProgram;
use plan::Step;
use programs::Programs;
use report::Report;
use results::Results;
use run::{Bench, DEADLINE};
use runner::{Runner, Times};
use setting::Setting;
use system::System;

/// The rounds by which the time of one is measured.
const MEASURED_ROUNDS: u32 = 1_000_000;
const MEASUREMENTS: usize = 10;

/// Compare a decentralized system, message queues and Veltrix under the same load and the same faults.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Two minutes instead of many: one fan-out, fewer faults, everything once.
    #[arg(long)]
    quick: bool,
    /// The null test instead: A-tuned against itself.
    #[arg(long)]
    null: bool,
    /// The metrics' test instead: A-tuned with a delay, losses, duplicates, wrong results, a leak, a busy loop.
    #[arg(long)]
    plants: bool,
    /// Events a second to take for what A-tuned sustains; left out, everybody's sustained rate is searched for.
    #[arg(long)]
    capacity: Option<f64>,
    /// Events, one a line; left out, small shop events are made.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Seconds of each run that are counted: 2, or 1 with --quick.
    #[arg(long)]
    seconds: Option<f64>,
    /// How often each point is run, the systems in turn: 5, or 1 with --quick.
    #[arg(long)]
    repeats: Option<usize>,
    /// Components that want each type of event, at the centre.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=6))]
    fan_out: u8,
    /// Microseconds of CPU that a handler takes for an event, at the centre.
    #[arg(long, default_value_t = 5.0)]
    work_us: f64,
    /// Only these systems (A-tuned's capacity is found in any case).
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// Compare with this peer, too, where handlers pass events on: `vector=PATH`, `syslog-ng=PATH`.
    #[arg(long = "peer", value_name = "NAME=PATH")]
    peers: Vec<PeerProgram>,
    /// Where the report goes, the plots, and every run's figures and histogram.
    #[arg(long, default_value = "target/story")]
    out: PathBuf,
    /// The Markdown file whose section on the story is written anew.
    #[arg(long)]
    docs: Option<PathBuf>,
    /// The folder of `story-component` and `story-veltrix`, unless they are beside this program.
    #[arg(long)]
    programs: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let events = Events::load(options.data.as_deref())?;
    let folder = std::env::temp_dir().join(format!("veltrix-story-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let compared = compare(options, &events, folder.clone());
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    let report = compared?;
    println!("{}", report.text());
    report.write(&options.out)?;
    println!("report: {}", options.out.join("report.html").display());
    match &options.docs {
        Some(path) => report::write_docs(&report, path),
        None => Ok(()),
    }
}

fn compare(options: &Options, events: &Events, folder: PathBuf) -> anyhow::Result<Report> {
    let programs = Programs::find(options.programs.as_deref(), options.peers.clone())?;
    let cores = thread::available_parallelism()?.get();
    let centre = Setting {
        fan_out: usize::from(options.fan_out),
        rounds: (options.work_us * 1e3 / round_ns()) as u32,
        warm_up: seconds(options) / 4.0,
        seconds: seconds(options),
        is_pinned: cores > 1,
        ..Setting::of_one_round()
    };
    let bench = Bench {
        programs,
        events,
        folder,
    };
    let steps = steps(options, centre, &systems(options, &bench.programs)?);
    let size = PlanSize::of(&steps, &centre, times(options), options.capacity.is_some());
    eprintln!("{size}");
    let mut runner = Runner {
        bench: &bench,
        times: times(options),
        capacity: options.capacity,
        tuned: BTreeMap::new(),
        started: Instant::now(),
        results: Results::default(),
    };
    for step in &steps {
        runner.carry_out(step)?;
    }
    let minutes = runner.started.elapsed().as_secs_f64() / 60.0;
    let results = runner.results;
    results.write_raw(&options.out)?;
    Ok(Report::new(
        &results,
        facts(options, &bench, cores, minutes)?,
    ))
}

fn seconds(options: &Options) -> f64 {
    options
        .seconds
        .unwrap_or(if options.quick { 1.0 } else { 2.0 })
}

fn times(options: &Options) -> Times {
    let repeats = options.repeats.unwrap_or(if options.quick { 1 } else { 5 });
    Times {
        repeats: repeats.max(1),
        // Where only breakage matters, once is enough.
        tries: if options.quick { 1 } else { 3 },
    }
}

/// What is to be run, of the systems that are there.
fn steps(options: &Options, centre: Setting, systems: &[System]) -> Vec<Step> {
    if options.plants {
        return plan::plants(centre);
    }
    if options.null {
        return plan::null(centre);
    }
    let is_peer = |system: &&System| matches!(system, System::Peer(_));
    let peers: Vec<System> = systems.iter().filter(is_peer).copied().collect();
    let mut steps = match options.quick {
        true => plan::quick(centre, &peers),
        false => plan::whole(centre, &peers),
    };
    for step in &mut steps {
        for of_part in step.systems_mut() {
            of_part.retain(|system| systems.contains(system));
        }
    }
    steps.retain_mut(|step| step.systems_mut().iter().any(|systems| !systems.is_empty()));
    steps
}

/// The systems that are asked for and that this machine can run.
fn systems(options: &Options, programs: &Programs) -> anyhow::Result<Vec<System>> {
    for name in &options.systems {
        let names: Vec<&str> = System::ALL.iter().map(|system| system.name()).collect();
        let is_known = names.contains(&name.as_str());
        anyhow::ensure!(
            is_known,
            "no system `{name}`; there are {}",
            names.join(", ")
        );
    }
    let is_asked = |system: &System| {
        options.systems.is_empty() || options.systems.iter().any(|name| name == system.name())
    };
    let asked = System::ALL.into_iter().filter(is_asked);
    let peers = options
        .peers
        .iter()
        .map(|program| System::Peer(program.peer));
    let asked: Vec<System> = asked.chain(peers).collect();
    for system in asked.iter().filter(|system| !programs.has(**system)) {
        eprintln!("{} is left out: its broker is not installed", system.name());
    }
    Ok(asked
        .into_iter()
        .filter(|system| programs.has(*system))
        .collect())
}

/// How long one round of the handlers' work takes on this machine when nobody disturbs it.
fn round_ns() -> f64 {
    let measured = (0..MEASUREMENTS).map(|_| {
        let start = clock_gettime(ClockId::ThreadCPUTime);
        std::hint::black_box(expected_sum(b"", 0, MEASURED_ROUNDS));
        let time = clock_gettime(ClockId::ThreadCPUTime) - start;
        (time.tv_sec as f64 * 1e9 + time.tv_nsec as f64) / f64::from(MEASURED_ROUNDS)
    });
    measured.fold(f64::INFINITY, f64::min)
}

fn facts(
    options: &Options,
    bench: &Bench<'_>,
    cores: usize,
    minutes: f64,
) -> anyhow::Result<Vec<String>> {
    let events = bench.events;
    let pinned = if cores > 1 {
        "generator and sinks on core 0, the system on core 1, unless a row says otherwise"
    } else {
        "a single core for everything: the figures say little"
    };
    let mut facts = vec![
        format!(
            "{}: {} lines, {} bytes in the mean",
            events.name,
            events.templates.len(),
            events.mean_bytes()
        ),
        format!("{cores} cores; {pinned}"),
        format!(
            "centre: fan-out {}, {} µs of work in each handler, Poisson arrivals; late is more than {} ms",
            options.fan_out,
            options.work_us,
            DEADLINE.as_millis()
        ),
        format!(
            "{} repeats of {} s at each point; {minutes:.0} minutes in all; a `*` marks a point with runs in which the generator was late",
            times(options).repeats,
            seconds(options)
        ),
    ];
    facts.extend(bench.programs.versions()?);
    Ok(facts)
}
