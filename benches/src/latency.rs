//! Latency at fixed offered rates, open loop: each event has an intended time, and its latency counts from then,
//! whether or not the generator or anything behind it was late. The same generator drives the actors (source,
//! router, handler, sink) and, in alternation, a bare channel between two threads, and as many channels in a row as the
//! actors change threads.

mod generator;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use veltrix_actors::{Event, TypeTable};

use crate::feed::{ARRIVING_TYPE, Feed};
use crate::tree::{Plan, Work, run as run_tree};
use generator::Schedule;

/// Events that may wait between the generator and what it drives.
const CHANNEL_EVENTS_MAX: usize = 65_536;
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// How often an event changes threads in the actors: to the source's, to the lane's, to the sink's.
const HOPS: usize = 3;
/// The share of a run, from its start, that is not counted.
const WARM_UP_SHARE: u64 = 10;

/// Measure latency at fixed rates, beside a bare channel between two threads.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Events a second.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000])]
    rates: Vec<u64>,
    /// Seconds a run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many times each is run, in alternation; the histograms are added up.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    println!(
        "{:>8}  {:<12} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "rate /s", "microseconds", "p50", "p90", "p99", "p99.9", "max"
    );
    for rate in &options.rates {
        let count = rate * options.seconds;
        let (mut bare, mut chain) = (new_histogram()?, new_histogram()?);
        let mut actors = new_histogram()?;
        for _ in 0..options.repeats.max(1) {
            bare.add(through_channels(*rate, count, 1)?)?;
            chain.add(through_channels(*rate, count, HOPS)?)?;
            actors.add(through_actors(*rate, count)?)?;
        }
        print(*rate, "bare channel", &bare);
        print(*rate, "3 in a row", &chain);
        print(*rate, "actors", &actors);
        let ratio = |quantile| {
            actors.value_at_quantile(quantile) as f64
                / bare.value_at_quantile(quantile).max(1) as f64
        };
        println!(
            "{rate:>8}  {:<12} {:>8.2}x {:>8.2}x {:>8.2}x",
            "ratio",
            ratio(0.5),
            ratio(0.9),
            ratio(0.99)
        );
    }
    Ok(())
}

fn print(rate: u64, name: &str, histogram: &Histogram<u64>) {
    let micros = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{rate:>8}  {name:<12} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>10.1}",
        micros(0.5),
        micros(0.9),
        micros(0.99),
        micros(0.999),
        histogram.max() as f64 / 1e3
    );
}

/// Latencies in nanoseconds up to a minute, to three digits; what is longer counts as a minute.
fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_max(LATENCY_MAX_NS, 3).context("making a histogram")
}

/// Counts one arrival, unless it belongs to the warm-up.
fn record(histogram: &mut Histogram<u64>, schedule: &Schedule, number: u64) {
    if number >= schedule.count / WARM_UP_SHARE {
        let late = Instant::now().saturating_duration_since(schedule.intended(number));
        histogram.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// One thread sends numbers, another receives them and looks at the clock; with more hops, threads between pass them on.
fn through_channels(rate: u64, count: u64, hops: usize) -> anyhow::Result<Histogram<u64>> {
    let mut histogram = new_histogram()?;
    let (numbers, mut received) = sync_channel(CHANNEL_EVENTS_MAX);
    let between: Vec<_> = (1..hops)
        .map(|_| {
            let (onwards, next) = sync_channel(CHANNEL_EVENTS_MAX);
            let from = std::mem::replace(&mut received, next);
            thread::spawn(move || {
                for number in from {
                    if onwards.send(number).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    let schedule = Schedule::starting_soon(rate, count);
    let generator = thread::spawn(move || schedule.run(|number| numbers.send(number).is_ok()));
    for number in received {
        record(&mut histogram, &schedule, number);
    }
    joined(generator)?;
    between.into_iter().try_for_each(joined)?;
    Ok(histogram)
}

/// One thread sends numbers, the source makes events of them, and the sink looks at the clock.
fn through_actors(rate: u64, count: u64) -> anyhow::Result<Histogram<u64>> {
    // Shared between the sink's thread, which records, and this one, which reads when the tree has ended.
    let histogram = Arc::new(Mutex::new(new_histogram()?));
    let arrived = Arc::new(AtomicU64::new(0));
    let (numbers, received) = tokio::sync::mpsc::channel(CHANNEL_EVENTS_MAX);
    let schedule = Schedule::starting_soon(rate, count);
    let generator =
        thread::spawn(move || schedule.run(|number| numbers.blocking_send(number).is_ok()));
    let observe = {
        let (histogram, arrived) = (histogram.clone(), arrived.clone());
        Arc::new(move |event: &Event<'_>| {
            arrived.fetch_add(1, Ordering::Relaxed);
            if let Ok(number) = event.id().parse() {
                record(
                    &mut histogram.lock().unwrap_or_else(PoisonError::into_inner),
                    &schedule,
                    number,
                );
            }
        })
    };
    run_tree(Plan {
        patterns: vec![ARRIVING_TYPE.to_owned()],
        work: Work::Pass,
        workers: 1,
        types: Arc::new(TypeTable::default()),
        feed: Feed::Arriving(received),
        observe: Some(observe),
    })?;
    joined(generator)?;
    anyhow::ensure!(
        arrived.load(Ordering::Relaxed) == count,
        "{} of {count} events arrived",
        arrived.load(Ordering::Relaxed)
    );
    let histogram = histogram
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Ok(histogram)
}

fn joined(generator: thread::JoinHandle<()>) -> anyhow::Result<()> {
    generator
        .join()
        .map_err(|_| anyhow!("the generator panicked"))
}
