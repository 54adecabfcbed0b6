//! The rate that a system sustains: found by bisection.

use std::time::Duration;

use super::run::{Bench, Measured};
use super::setting::Setting;
use super::system::System;

/// While the limit is not enclosed, the rate changes by this factor.
const STRIDE: f64 = 1.5;
/// How often the enclosure is halved: from 50 % to 5 %.
const HALVINGS: u32 = 3;
/// A later search starts from the one before, and looks this far from it.
const AGAIN: f64 = 1.2;
/// What a system must keep to, beside losing nothing.
const P99_MAX_MS: f64 = 50.0;
const BACKLOG_MAX: Duration = Duration::from_millis(50);
/// No system that works is slower than this: if not even so much was sustained, the machine had other things to do.
const RATE_MIN: f64 = 200.0;

/// A rate, in events a second, and whether the generator was what could not go faster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) rate: f64,
    pub(crate) is_ours: bool,
}

/// Whether the system kept up.
fn is_sustained(run: &Measured) -> bool {
    let counts = &run.counts;
    run.is_valid()
        && counts.lost + counts.wrong + counts.duplicate == 0
        && run.latency_ms(0.99) < P99_MAX_MS
        && run.backlog < BACKLOG_MAX
}

/// The highest rate found that `system` sustains, starting from a guess.
///
/// # Errors
/// If a run fails.
pub(crate) fn find(
    bench: &Bench<'_>,
    system: System,
    setting: &Setting,
    guess: f64,
) -> anyhow::Result<Capacity> {
    let (mut sustained, mut refused, mut rate) = (None, None, guess);
    let mut is_ours = false;
    while let (None, _) | (_, None) = (sustained, refused) {
        let run = bench.run(system, &Setting { rate, ..*setting })?;
        if is_sustained(&run) {
            sustained = Some(rate);
            rate *= STRIDE;
        } else {
            is_ours = !run.is_valid();
            refused = Some(rate);
            rate /= STRIDE;
        }
        if rate < RATE_MIN {
            return Ok(Capacity {
                rate: RATE_MIN,
                is_ours,
            });
        }
    }
    let between = (sustained.unwrap_or(guess), refused.unwrap_or(guess));
    bisect(bench, system, setting, between, is_ours)
}

/// As [`find`], close to what was found before.
///
/// # Errors
/// If a run fails.
pub(crate) fn find_again(
    bench: &Bench<'_>,
    system: System,
    setting: &Setting,
    before: Capacity,
) -> anyhow::Result<Capacity> {
    let between = (before.rate / AGAIN, before.rate * AGAIN);
    bisect(bench, system, setting, between, before.is_ours)
}

fn bisect(
    bench: &Bench<'_>,
    system: System,
    setting: &Setting,
    (mut lower, mut upper): (f64, f64),
    mut is_ours: bool,
) -> anyhow::Result<Capacity> {
    for _ in 0..HALVINGS {
        let rate = (lower * upper).sqrt();
        let run = bench.run(system, &Setting { rate, ..*setting })?;
        if is_sustained(&run) {
            lower = rate;
        } else {
            is_ours = !run.is_valid();
            upper = rate;
        }
    }
    Ok(Capacity {
        rate: lower,
        is_ours,
    })
}
