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
/// How often a rate is tried at which the generator is late.
const TRIES_MAX: usize = 3;
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

/// Searches for one system's limit.
struct Search<'a> {
    bench: &'a Bench<'a>,
    system: System,
    setting: &'a Setting,
    /// Whether the last rate that was too much was so for the generator.
    is_ours: bool,
}

impl Search<'_> {
    /// Whether the system keeps up. A run whose generator was late says nothing, so it is made again.
    fn sustains(&mut self, rate: f64) -> anyhow::Result<bool> {
        for _ in 0..TRIES_MAX {
            let setting = Setting {
                rate,
                ..*self.setting
            };
            let run = self.bench.run(self.system, &setting)?;
            if run.is_valid() {
                let is_sustained = is_sustained(&run);
                self.is_ours &= is_sustained;
                return Ok(is_sustained);
            }
        }
        self.is_ours = true;
        Ok(false)
    }

    /// Halves what lies between a rate that is sustained and one that is not.
    fn bisect(mut self, (mut lower, mut upper): (f64, f64)) -> anyhow::Result<Capacity> {
        for _ in 0..HALVINGS {
            let rate = (lower * upper).sqrt();
            match self.sustains(rate)? {
                true => lower = rate,
                false => upper = rate,
            }
        }
        Ok(Capacity {
            rate: lower,
            is_ours: self.is_ours,
        })
    }
}

fn is_sustained(run: &Measured) -> bool {
    let counts = &run.counts;
    counts.lost + counts.wrong + counts.duplicate == 0
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
    let mut search = Search {
        bench,
        system,
        setting,
        is_ours: false,
    };
    let (mut sustained, mut refused, mut rate) = (None, None, guess);
    loop {
        match search.sustains(rate)? {
            true => sustained = Some(rate),
            false => refused = Some(rate),
        }
        match (sustained, refused) {
            (Some(lower), Some(upper)) => return search.bisect((lower, upper)),
            (Some(_), None) => rate *= STRIDE,
            (None, _) if rate < RATE_MIN => break,
            (None, _) => rate /= STRIDE,
        }
    }
    Ok(Capacity {
        rate: RATE_MIN,
        is_ours: search.is_ours,
    })
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
    let search = Search {
        bench,
        system,
        setting,
        is_ours: before.is_ours,
    };
    search.bisect((before.rate / AGAIN, before.rate * AGAIN))
}
