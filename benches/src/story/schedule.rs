//! When each event is due, which it is, and whether it is malformed: computed before a run, and the same for every system.

use crate::generate_small::SplitMix64;

/// A burst takes a fifth of its period, and has all events of it.
const BURST_PERIOD_NS: f64 = 200e6;
const BURST_SHARE: f64 = 0.2;

/// How events are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// Independently of one another.
    Poisson,
    /// Independently, but five times as fast in one fifth of the time.
    Bursts,
}

/// What is to be sent, and when.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Nanoseconds from the start, ascending.
    pub(crate) due_ns: Vec<u64>,
    /// The index of each event's line.
    pub(crate) lines: Vec<u16>,
    pub(crate) is_malformed: Vec<bool>,
    /// The events from this one on are counted.
    pub(crate) counted_from: usize,
}

impl Schedule {
    /// `rate` events a second for `warm_up` and then for `seconds`.
    pub(crate) fn new(
        rate: f64,
        (warm_up, seconds): (f64, f64),
        arrivals: Arrivals,
        lines: usize,
        malformed_per_10000: u64,
        seed: u64,
    ) -> Self {
        let mut draw = SplitMix64 { state: seed };
        let mut schedule = Self {
            due_ns: Vec::new(),
            lines: Vec::new(),
            is_malformed: Vec::new(),
            counted_from: 0,
        };
        let end = (warm_up + seconds) * 1e9;
        let mut at = 0.0;
        loop {
            // The next of events that are independent comes after an exponentially distributed time.
            let uniform = (draw.below(1 << 53) + 1) as f64 / (1_u64 << 53) as f64;
            at += -uniform.ln() / rate * 1e9;
            if at >= end {
                break;
            }
            let due = match arrivals {
                Arrivals::Poisson => at,
                Arrivals::Bursts => at - (at % BURST_PERIOD_NS) * (1.0 - BURST_SHARE),
            };
            if due < warm_up * 1e9 {
                schedule.counted_from += 1;
            }
            schedule.due_ns.push(due as u64);
            let line = draw.below(lines as u64);
            schedule.lines.push(u16::try_from(line).unwrap_or(u16::MAX));
            let is_malformed = draw.below(10_000) < malformed_per_10000;
            schedule.is_malformed.push(is_malformed);
        }
        schedule
    }

    pub(crate) fn len(&self) -> usize {
        self.due_ns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(arrivals: Arrivals) -> Schedule {
        Schedule::new(10_000.0, (1.0, 4.0), arrivals, 7, 100, 3)
    }

    #[test]
    fn as_many_events_as_the_rate_says_in_order() {
        for arrivals in [Arrivals::Poisson, Arrivals::Bursts] {
            let schedule = schedule(arrivals);
            assert!(
                (49_000..51_000).contains(&schedule.len()),
                "{}",
                schedule.len()
            );
            assert!((9_500..10_500).contains(&schedule.counted_from));
            assert!(schedule.due_ns.is_sorted());
            assert!(schedule.due_ns[schedule.counted_from] >= 1_000_000_000);
            assert!(schedule.lines.iter().all(|line| *line < 7));
            let malformed = schedule.is_malformed.iter().filter(|is| **is).count();
            assert!((400..600).contains(&malformed), "{malformed}");
        }
    }

    #[test]
    fn bursts_leave_most_of_the_time_empty() {
        let in_burst = |due: &u64| (*due as f64 % BURST_PERIOD_NS) < BURST_PERIOD_NS * BURST_SHARE;
        assert!(schedule(Arrivals::Bursts).due_ns.iter().all(in_burst));
        assert!(!schedule(Arrivals::Poisson).due_ns.iter().all(in_burst));
    }
}
