//! The open-loop generator: sends each number at its intended time, or at once if it is late, and never skips one.

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

/// The kernel wakes a sleeper late by its timer slack and more; the rest of the wait is spun.
const SPIN: Duration = Duration::from_micros(150);
/// Time for what is driven to start.
const LEAD: Duration = Duration::from_millis(200);

/// When each of `count` numbers is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    interval: Duration,
    pub(crate) count: u64,
}

impl Schedule {
    /// `rate` numbers a second, from a moment that leaves time to get ready.
    pub(crate) fn starting_soon(rate: u64, count: u64) -> Self {
        Self {
            start: Instant::now() + LEAD,
            interval: Duration::from_nanos(1_000_000_000 / rate.max(1)),
            count,
        }
    }

    /// When `number` is due.
    pub(crate) fn intended(&self, number: u64) -> Instant {
        let nanoseconds =
            u64::try_from(self.interval.as_nanos()).expect("an interval is at most a second");
        self.start + Duration::from_nanos(nanoseconds * number)
    }

    /// Sends every number in time; ends early if `send` says that nobody listens.
    pub(crate) fn run(&self, mut send: impl FnMut(u64) -> bool) {
        for number in 0..self.count {
            wait_until(self.intended(number));
            if !send(number) {
                return;
            }
        }
    }
}

fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > SPIN {
        thread::sleep(left - SPIN);
    }
    while Instant::now() < due {
        hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_due_at_even_intervals() {
        let schedule = Schedule::starting_soon(1_000, 10);
        assert_eq!(
            schedule.intended(7) - schedule.intended(0),
            Duration::from_millis(7)
        );
    }

    #[test]
    fn every_number_is_sent_once_and_none_early() {
        let schedule = Schedule::starting_soon(100_000, 1_000);
        let mut sent = Vec::new();
        schedule.run(|number| {
            assert!(Instant::now() >= schedule.intended(number));
            sent.push(number);
            true
        });
        assert_eq!(sent, (0..1_000).collect::<Vec<u64>>());
    }

    #[test]
    fn it_stops_when_nobody_listens() {
        let mut sent = 0;
        Schedule::starting_soon(100_000, 1_000).run(|_| {
            sent += 1;
            sent < 3
        });
        assert_eq!(sent, 3);
    }
}
