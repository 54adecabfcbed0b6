//! Exponential back-off with jitter.

use std::time::Duration;

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
    /// The share of the wait that is random, 0 to 1: `0.2` waits 80 to 100 % of the full time.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(50),
            max: Duration::from_secs(5),
            jitter: 0.2,
        }
    }
}

impl Backoff {
    /// The wait before attempt `failures + 1`, given a random number from 0 to 1.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let doubled = self
            .min
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        let full = doubled.min(self.max);
        full.mul_f64(1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0))
    }
}

/// A number from 0 to 1 that differs between callers and calls; jitter needs no better one.
pub(crate) fn jitter_sample() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(std::time::Instant::now());
    f64::from(u32::try_from(bits >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_and_jitter_only_shortens() {
        let backoff = Backoff {
            jitter: 0.5,
            ..Backoff::default()
        };
        let waits: Vec<_> = [1, 2, 3, 8, 100]
            .iter()
            .map(|n| backoff.wait(*n, 0.0).as_millis())
            .collect();
        assert_eq!(waits, [50, 100, 200, 5000, 5000]);
        assert_eq!(backoff.wait(2, 1.0).as_millis(), 50);
    }

    #[test]
    fn samples_lie_on_both_halves_of_0_to_1() {
        let samples: Vec<f64> = (0..100).map(|_| jitter_sample()).collect();
        assert!(samples.iter().all(|sample| (0.0..=1.0).contains(sample)));
        let low = samples.iter().filter(|sample| **sample < 0.5).count();
        assert!((1..100).contains(&low), "{low} of 100 in the lower half");
    }
}
