//! What the number of patterns costs, and what the size of an event costs.

use std::sync::Arc;

use veltrix_actors::TypeTable;

use crate::feed;
use crate::transport::median;
use crate::tree::{Figures, Plan, Work, run as run_tree};

/// Types that carry all the traffic, whatever the number of patterns.
const LIVE_TYPES: usize = 16;
/// The fewest patterns: the live types are spread over these ten handlers in every run, so that only the
/// patterns that get nothing make a difference.
const LIVE_PATTERNS: usize = 10;
const BATCH: usize = 1024;

/// Measure the cost per event against the number of patterns (one handler each) and against the event's size.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Events a run.
    #[arg(long, default_value_t = 400_000)]
    events: u64,
    /// Numbers of patterns, at least 10.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000])]
    patterns: Vec<usize>,
    /// Sizes of events in bytes; these events are parsed while the clock runs.
    #[arg(long, value_delimiter = ',', default_values_t = [200, 1024, 10 * 1024, 100 * 1024, 1024 * 1024])]
    sizes: Vec<usize>,
    /// Bytes of events a run of the sizes.
    #[arg(long, default_value_t = 256 * 1024 * 1024)]
    size_bytes: usize,
    /// The median of this many runs counts.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    println!(
        "{:<34} {:>8} {:>12} {:>7}",
        "traffic", "patterns", "CPU ns/event", "ratio"
    );
    let live: Vec<String> = (0..LIVE_TYPES)
        .map(|index| format!("bench.p{}.live{index}", index % LIVE_PATTERNS))
        .collect();
    let mut first = None;
    for count in &options.patterns {
        let cost = median(options.repeats, || once(options, *count, &live))?.cpu_per_event_ns();
        let ratio = cost / *first.get_or_insert(cost);
        println!(
            "{:<34} {count:>8} {cost:>12.0} {ratio:>6.2}x",
            "16 live types, the same handlers"
        );
    }
    for count in &options.patterns {
        let all: Vec<String> = (0..*count)
            .map(|index| format!("bench.p{index}.live"))
            .collect();
        let cost = median(options.repeats, || once(options, *count, &all))?.cpu_per_event_ns();
        let ratio = cost / *first.get_or_insert(cost);
        println!(
            "{:<34} {count:>8} {cost:>12.0} {ratio:>6.2}x",
            "a type for each pattern"
        );
    }
    println!(
        "\n{:>10} {:>12} {:>10} {:>14}",
        "bytes", "CPU ns/event", "MB/s", "allocs/event"
    );
    for bytes in &options.sizes {
        let figures = median(options.repeats, || once_of_size(options, *bytes))?;
        println!(
            "{bytes:>10} {:>12.0} {:>10.0} {:>14.3}",
            figures.cpu_per_event_ns(),
            figures.events as f64 * *bytes as f64 / 1e6 / figures.wall.as_secs_f64(),
            figures.allocations_per_event(),
        );
    }
    Ok(())
}

fn once(options: &Options, patterns: usize, event_types: &[String]) -> anyhow::Result<Figures> {
    let table = Arc::new(TypeTable::default());
    run_tree(Plan {
        patterns: (0..patterns.max(LIVE_PATTERNS))
            .map(|index| format!("bench.p{index}.*"))
            .collect(),
        work: Work::Pass,
        workers: 2,
        feed: feed::prepared(&table, event_types, options.events, BATCH)?,
        types: table,
        observe: None,
    })
}

fn once_of_size(options: &Options, bytes: usize) -> anyhow::Result<Figures> {
    let events = (options.size_bytes / bytes.max(1)).max(1) as u64;
    run_tree(Plan {
        patterns: vec!["bench.>".to_owned()],
        work: Work::Pass,
        workers: 2,
        types: Arc::new(TypeTable::default()),
        feed: feed::parsed("bench.size", events, bytes),
        observe: None,
    })
}
