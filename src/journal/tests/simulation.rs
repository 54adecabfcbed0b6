//! Runs the world over many seeds. A failure prints its seed; `VELTRIX_JOURNAL_SEED` runs that one alone, and
//! `VELTRIX_JOURNAL_SCHEDULES` says how many are run: 200000 by scripts/test, 10000000 by scripts/acceptance.

use super::seeds;
use super::world::{run, run_traced};

#[test]
fn no_schedule_breaks_a_promise() {
    if let Ok(seed) = std::env::var("VELTRIX_JOURNAL_SEED") {
        let seed = seed.parse().expect("a seed is a number");
        return replay(seed);
    }
    seeds::run_all(seeds::count("VELTRIX_JOURNAL_SCHEDULES", 20_000), run);
}

/// Runs one seed and tells every operation of the disk.
fn replay(seed: u64) {
    let (outcome, trace) = run_traced(seed);
    for line in trace {
        println!("{line}");
    }
    outcome.unwrap();
}
