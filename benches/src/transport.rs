//! What the actors cost without any work: source, router, handlers, by batch size and number of handlers.

use std::sync::Arc;

use veltrix_actors::TypeTable;

use crate::feed;
use crate::tree::{Figures, Plan, Work, run as run_tree};

/// Measure CPU time and heap allocations per event from the source through the router to the handlers.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Events a run; they are parsed before the clock starts, and take about 300 bytes each.
    #[arg(long, default_value_t = 400_000)]
    events: u64,
    /// Events that the source hands over at once. What waits for credit is merged, up to 1,024.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1024, 4096])]
    batches: Vec<usize>,
    /// Numbers of handlers; each gets an equal share of the events.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    handlers: Vec<usize>,
    /// Whether handlers finish the event or pass it on to a sink.
    #[arg(long, value_delimiter = ',', default_values = ["finish", "pass"])]
    work: Vec<Work>,
    /// Threads for the handlers.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// The median of this many runs counts.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    println!(
        "{:<7} {:>8} {:>6} {:>12} {:>12} {:>14}",
        "work", "handlers", "batch", "CPU ns/event", "events/s", "allocs/event"
    );
    for work in &options.work {
        for handlers in &options.handlers {
            for batch in &options.batches {
                let figures = median(options.repeats, || once(options, *work, *handlers, *batch))?;
                println!(
                    "{:<7} {handlers:>8} {batch:>6} {:>12.0} {:>12.0} {:>14.3}",
                    format!("{work:?}").to_lowercase(),
                    figures.cpu_per_event_ns(),
                    figures.events as f64 / figures.wall.as_secs_f64(),
                    figures.allocations_per_event(),
                );
            }
        }
    }
    Ok(())
}

fn once(options: &Options, work: Work, handlers: usize, batch: usize) -> anyhow::Result<Figures> {
    let types: Vec<String> = (0..handlers.max(1))
        .map(|index| format!("bench.type{index}"))
        .collect();
    let table = Arc::new(TypeTable::default());
    run_tree(Plan {
        feed: feed::prepared(&table, &types, options.events, batch.max(1))?,
        patterns: types,
        work,
        workers: options.workers,
        types: table,
        observe: None,
    })
}

/// The run with the median CPU time.
pub(crate) fn median(
    repeats: usize,
    mut once: impl FnMut() -> anyhow::Result<Figures>,
) -> anyhow::Result<Figures> {
    let mut runs = Vec::new();
    for _ in 0..repeats.max(1) {
        runs.push(once()?);
    }
    runs.sort_by_key(|run| run.cpu);
    Ok(runs[runs.len() / 2])
}
