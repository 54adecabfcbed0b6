//! Runs a check over many seeds, on all processors, and tells the lowest one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::world::Violation;

/// Seeds that a thread takes at once.
const CHUNK: u64 = 16;

/// How many seeds to run: what the environment variable says, or `default`.
pub(super) fn count(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(count) => count.parse().expect("a number of seeds"),
        Err(_) => default,
    }
}

/// Fails with the lowest of the first `count` seeds for which `check` does, and says how to run that one alone.
pub(super) fn run_all(count: u64, check: impl Fn(u64) -> Result<(), Violation> + Sync) {
    if let Some((seed, violation)) = first_failure(count, check) {
        panic!(
            "seed {seed}: {violation}\nVELTRIX_JOURNAL_SEED={seed} runs it alone and tells all operations"
        );
    }
}

/// The lowest seed below `count` for which `check` fails, and how.
pub(super) fn first_failure(
    count: u64,
    check: impl Fn(u64) -> Result<(), Violation> + Sync,
) -> Option<(u64, Violation)> {
    let next = AtomicU64::new(0);
    let lowest = AtomicU64::new(count);
    let search = || {
        let mut found = None;
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= lowest.load(Ordering::Relaxed) {
                return found;
            }
            for seed in start..(start + CHUNK).min(count) {
                if let Err(violation) = guarded(&check, seed) {
                    // A thread's seeds grow, so its first failure is its lowest.
                    lowest.fetch_min(seed, Ordering::Relaxed);
                    found.get_or_insert((seed, violation));
                    break;
                }
            }
            if found.is_some() {
                return found;
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        let found = workers
            .into_iter()
            .filter_map(|worker| worker.join().expect("it catches panics"));
        found.min_by_key(|(seed, _)| *seed)
    })
}

/// A panic is a violation, too.
pub(super) fn guarded(
    check: &impl Fn(u64) -> Result<(), Violation>,
    seed: u64,
) -> Result<(), Violation> {
    match catch_unwind(AssertUnwindSafe(|| check(seed))) {
        Ok(outcome) => outcome,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            Err(format!("a panic: {}", text.unwrap_or("without a text")))
        }
    }
}
