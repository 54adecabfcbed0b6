//! Durable ingest through the real binary: what is acknowledged a second by a source with a journal, beside a bare loop that
//! appends and syncs groups of the same size, and beside the same source with `durability: none`; run in alternation.

mod bare_log;
mod clients;
mod paced;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::generate_small;
use crate::pipeline::median;
use clients::{Acked, Door, Load};
use server::{Counts, Server};

/// Different events that are sent; there is no dedupe.
const EVENTS: u64 = 20_000;
/// What the project promises: issue 4, Show 5.
const SHARE_MIN: f64 = 0.8;
const ACK_TO_SYNC_MAX: f64 = 3.0;
/// Of the requests a second that were acknowledged in full load, with which acks are measured again.
const PACED_SHARE: f64 = 0.5;
/// What is promised of acks holds for so many clients.
const ACK_CLIENTS: usize = 64;

const WORKLOADS: [(&str, Load); 3] = [
    (
        "tcp-256",
        Load {
            door: Door::Tcp,
            clients: 8,
            batch: 256,
        },
    ),
    (
        "http-1",
        Load {
            door: Door::Http,
            clients: 64,
            batch: 1,
        },
    ),
    (
        "http-100",
        Load {
            door: Door::Http,
            clients: 64,
            batch: 100,
        },
    ),
];

/// Measure durable ingest beside a bare append+fdatasync loop, and beside the same without a journal.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only that workload: tcp-256, http-1 or http-100.
    #[arg(long)]
    only: Option<String>,
    /// Seconds that count, of each run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many times each is run, in alternation; the medians count.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// The binary; unless given, the one beside this program.
    #[arg(long)]
    veltrix: Option<PathBuf>,
    /// A folder on the disk to be measured, made and removed again; the temporary folder's unless given.
    #[arg(long)]
    work: Option<PathBuf>,
    /// Fail if a promised limit is passed.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let veltrix = match &options.veltrix {
        Some(veltrix) => veltrix.clone(),
        None => std::env::current_exe()?.with_file_name("veltrix"),
    };
    ensure!(veltrix.is_file(), "no veltrix at {}", veltrix.display());
    let work = options.work.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("veltrix-bench-{}", std::process::id()))
    });
    fs::create_dir(&work).with_context(|| format!("making {}", work.display()))?;
    let result = run_all(options, &veltrix, &fs::canonicalize(&work)?);
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    let beyond = result?;
    if options.check && !beyond.is_empty() {
        bail!("beyond the limit: {}", beyond.join(", "));
    }
    Ok(())
}

/// Prints all workloads; which limits were passed.
fn run_all(options: &Options, veltrix: &Path, work: &Path) -> anyhow::Result<Vec<String>> {
    let is_wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let lines = generate_small::lines(EVENTS, 7)?;
    let mut beyond = Vec::new();
    for (name, load) in WORKLOADS.iter().filter(|(name, _)| is_wanted(name)) {
        println!(
            "\n{name}: {} clients, {} events at once, {} repeats of {} s in alternation",
            load.clients, load.batch, options.repeats, options.seconds
        );
        let bench = Bench {
            veltrix,
            lines: &lines,
            load: *load,
            time: Duration::from_secs(options.seconds),
        };
        let rounds = (0..options.repeats.max(1))
            .map(|number| bench.round(&work.join(format!("{name}-{number}"))))
            .collect::<anyhow::Result<Vec<_>>>()?;
        report(name, &rounds, &mut beyond);
    }
    Ok(beyond)
}

struct Bench<'a> {
    veltrix: &'a Path,
    lines: &'a [String],
    load: Load,
    time: Duration,
}

/// One run of a server under load.
struct Ingest {
    events_per_second: f64,
    ack_p50_ms: f64,
    ack_p99_ms: f64,
    cpu_us_per_event: f64,
    /// Events of a group, its bytes, and milliseconds of its sync; zeros without a journal.
    group_events: f64,
    group_bytes: f64,
    sync_ms: f64,
    /// The share of the time in which the journal waits for the disk.
    sync_share: f64,
}

/// All of them, one after the other.
struct Round {
    clients: usize,
    journal: Ingest,
    bare_events_per_second: f64,
    bare_sync_ms: f64,
    bare_sync_p99_ms: f64,
    none: Ingest,
    /// Milliseconds of acks in half the load; none where no requests are counted.
    paced: Option<Acks>,
}

struct Acks {
    p50_ms: f64,
    p99_ms: f64,
}

impl Round {
    /// Of what the slower of the two does that it is compared with.
    fn share(&self) -> f64 {
        let lower = self.bare_events_per_second.min(self.none.events_per_second);
        self.journal.events_per_second / lower
    }
}

impl Bench<'_> {
    /// Leaves its files in a folder of its own: what removing them costs the disk is nobody's here.
    fn round(&self, folder: &Path) -> anyhow::Result<Round> {
        fs::create_dir(folder)?;
        let journal = self.ingest(folder, "journal")?;
        let bytes = journal.group_bytes.round() as u64;
        let bare = bare_log::run(folder, bytes, self.time)?;
        Ok(Round {
            clients: self.load.clients,
            bare_events_per_second: bare.groups_per_second * journal.group_events,
            bare_sync_ms: bare.syncs.mean() / 1e6,
            bare_sync_p99_ms: bare.syncs.value_at_quantile(0.99) as f64 / 1e6,
            none: self.ingest(folder, "none")?,
            paced: self.paced(folder, &journal)?,
            journal,
        })
    }

    /// Acks at a rate that leaves the machine time: in full load, clients wait for one another.
    fn paced(&self, folder: &Path, full: &Ingest) -> anyhow::Result<Option<Acks>> {
        if self.load.door == Door::Tcp {
            return Ok(None);
        }
        let server = self.server(&folder.join("paced"), "journal")?;
        let rate = full.events_per_second / self.load.batch as f64 * PACED_SHARE;
        let bodies = clients::bodies(self.load, self.lines);
        let clients = (self.load.clients, rate);
        let acks = paced::run(server.source, &bodies, clients, self.times())?;
        server.stop()?;
        let quantile = |quantile| acks.value_at_quantile(quantile) as f64 / 1e6;
        Ok(Some(Acks {
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
        }))
    }

    /// To warm up, and to count.
    fn times(&self) -> (Duration, Duration) {
        (self.time / 5, self.time)
    }

    fn server(&self, folder: &Path, durability: &str) -> anyhow::Result<Server> {
        fs::create_dir(folder)?;
        let options = match self.load.door {
            Door::Tcp => "type: tcp, ack: true",
            Door::Http => "type: http, path: /",
        };
        let source = format!("{{ {options}, listen: \"127.0.0.1:0\", durability: {durability} }}");
        Server::start(self.veltrix, folder, &source)
    }

    fn ingest(&self, folder: &Path, durability: &str) -> anyhow::Result<Ingest> {
        let server = self.server(&folder.join(durability), durability)?;
        let mut edges = Vec::new();
        let acked = clients::run(server.source, self.load, self.lines, self.times(), || {
            edges.push(server.counts()?);
            Ok(())
        })?;
        server.stop()?;
        let [before, after] = edges[..] else {
            bail!("{} edges", edges.len());
        };
        Ok(ingest(&acked, &before, &after))
    }
}

fn ingest(acked: &Acked, before: &Counts, after: &Counts) -> Ingest {
    let seconds = acked.time.as_secs_f64();
    let events = acked.events.max(1) as f64;
    let quantile = |quantile| acked.latency.value_at_quantile(quantile) as f64 / 1e6;
    let groups = (after.groups - before.groups).max(1.0);
    let sync_seconds = after.sync_seconds - before.sync_seconds;
    Ingest {
        events_per_second: events / seconds,
        ack_p50_ms: quantile(0.5),
        ack_p99_ms: quantile(0.99),
        cpu_us_per_event: (after.cpu - before.cpu).as_secs_f64() * 1e6 / events,
        group_events: (after.journal_events - before.journal_events) / groups,
        group_bytes: (after.journal_bytes - before.journal_bytes) / groups,
        sync_ms: sync_seconds * 1e3 / groups,
        sync_share: sync_seconds / seconds,
    }
}

fn report(name: &str, rounds: &[Round], beyond: &mut Vec<String>) {
    let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    println!(
        "{:<9} {:>10} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7}",
        "median", "events/s", "ack p50", "ack p99", "CPU us/ev", "ev/group", "sync ms", "in sync"
    );
    for (kind, run) in [
        ("journal", (|round| &round.journal) as fn(&Round) -> &Ingest),
        ("none", |round| &round.none),
    ] {
        println!(
            "{kind:<9} {:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>9.1} {:>8.3} {:>6.0}%",
            of(&|round| run(round).events_per_second),
            of(&|round| run(round).ack_p50_ms),
            of(&|round| run(round).ack_p99_ms),
            of(&|round| run(round).cpu_us_per_event),
            of(&|round| run(round).group_events),
            of(&|round| run(round).sync_ms),
            of(&|round| run(round).sync_share) * 100.0,
        );
    }
    println!(
        "{:<9} {:>10.0} {:>39} {:>8.3}   p99 {:.3}",
        "bare loop",
        of(&|round| round.bare_events_per_second),
        "",
        of(&|round| round.bare_sync_ms),
        of(&|round| round.bare_sync_p99_ms),
    );
    let share = of(&Round::share);
    verdict(
        name,
        "share of the lower",
        share,
        share >= SHARE_MIN,
        beyond,
    );
    if rounds.iter().any(|round| round.clients < ACK_CLIENTS) {
        return;
    }
    let ratio = of(&|round| round.journal.ack_p99_ms / round.bare_sync_p99_ms);
    verdict(
        name,
        "ack p99 to a sync's",
        ratio,
        ratio <= ACK_TO_SYNC_MAX,
        beyond,
    );
    let paced =
        |figure: &dyn Fn(&Acks) -> f64| of(&|round| round.paced.as_ref().map_or(f64::NAN, figure));
    println!(
        "at {:.0} % of that rate: ack p50 {:.2} ms, p99 {:.2} ms, {:.2} of a sync's p99",
        PACED_SHARE * 100.0,
        paced(&|acks| acks.p50_ms),
        paced(&|acks| acks.p99_ms),
        of(&|round| {
            let p99 = round.paced.as_ref().map_or(f64::NAN, |acks| acks.p99_ms);
            p99 / round.bare_sync_p99_ms
        }),
    );
}

fn verdict(workload: &str, limit: &str, value: f64, is_within: bool, beyond: &mut Vec<String>) {
    let word = if is_within { "within" } else { "BEYOND" };
    println!("{limit:<20} {value:>6.2} {word}");
    if !is_within {
        beyond.push(format!("{workload}: {limit}"));
    }
}
