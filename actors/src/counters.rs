//! The two kinds of numbers that are written by one actor and read from outside: hence atomics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Adds a duration in nanoseconds.
    pub fn add_time(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The value now, read as nanoseconds and given in seconds.
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.get()).as_secs_f64()
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `delta` and returns the new value.
    pub fn add(&self, delta: i64) -> i64 {
        self.0.fetch_add(delta, Ordering::AcqRel) + delta
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct TimeHistogram {
    /// One for each bound, and one for what is longer than all.
    counts: [Counter; TIME_BOUNDS.len() + 1],
    nanoseconds: Counter,
}

/// The upper bounds of a histogram's buckets.
pub const TIME_BOUNDS: [Duration; 6] = [
    Duration::from_micros(10),
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

impl TimeHistogram {
    /// Counts one that took so long.
    pub fn add(&self, time: Duration) {
        let bucket = TIME_BOUNDS.partition_point(|bound| *bound < time);
        self.counts[bucket].add(1);
        self.nanoseconds.add_time(time);
    }

    /// For each of [`TIME_BOUNDS`], how many took at most so long; then how many there were.
    pub fn cumulative(&self) -> [u64; TIME_BOUNDS.len() + 1] {
        let mut sum = 0;
        self.counts.each_ref().map(|count| {
            sum += count.get();
            sum
        })
    }

    /// How long all of them took together, in seconds.
    pub fn seconds(&self) -> f64 {
        self.nanoseconds.seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_that_is_not_shorter() {
        let histogram = TimeHistogram::default();
        for microseconds in [10, 11, 100, 5_000, 2_000_000] {
            histogram.add(Duration::from_micros(microseconds));
        }
        assert_eq!(histogram.cumulative(), [1, 3, 3, 4, 4, 4, 5]);
        assert!((histogram.seconds() - 2.005_121).abs() < 1e-9);
    }
}
