//! What must arrive at the sinks, and what became of it. A delivery is one event's result from one component.

use hdrhistogram::Histogram;

use super::events::{COMPONENTS, Events, wants};
use super::schedule::Schedule;

/// Latencies are kept up to a minute, to three digits.
const LONGEST_NS: u64 = 60_000_000_000;

/// How the deliveries of a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) offered: u64,
    /// After the deadline, or still under way at the end.
    pub(crate) late: u64,
    /// Never.
    pub(crate) lost: u64,
    /// With another answer than the right one, or nobody asked for it.
    pub(crate) wrong: u64,
    /// Once more.
    pub(crate) duplicate: u64,
}

impl Counts {
    /// The share of deliveries that were not as they should be.
    pub(crate) fn error_rate(&self) -> f64 {
        let errors = self.late + self.lost + self.wrong + self.duplicate;
        errors as f64 / self.offered.max(1) as f64
    }
}

/// Takes arrivals down, for one run.
pub(crate) struct Ledger<'a> {
    schedule: &'a Schedule,
    events: &'a Events,
    sums: &'a [[u64; COMPONENTS]],
    fan_out: usize,
    deadline_ns: u64,
    /// A component whose sink is slow on purpose: being late there is no error.
    slow: Option<usize>,
    /// By event: a bit for each component whose result has come.
    seen: Vec<u8>,
    counts: Counts,
    /// Deliveries that have not come yet, counted or not.
    outstanding: usize,
    latencies: Histogram<u64>,
    /// When the event was due that came late last, in nanoseconds from the start.
    last_late_due_ns: u64,
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(
        schedule: &'a Schedule,
        events: &'a Events,
        sums: &'a [[u64; COMPONENTS]],
        fan_out: usize,
        deadline_ns: u64,
        slow: Option<usize>,
    ) -> Self {
        let well_formed = |from: usize| {
            let malformed = &schedule.is_malformed[from..];
            malformed.iter().filter(|is| !**is).count() * fan_out
        };
        Self {
            schedule,
            events,
            sums,
            fan_out,
            deadline_ns,
            slow,
            seen: vec![0; schedule.len()],
            counts: Counts {
                offered: well_formed(schedule.counted_from) as u64,
                ..Counts::default()
            },
            outstanding: well_formed(0),
            latencies: Histogram::new_with_max(LONGEST_NS, 3).expect("its bounds are valid"),
            last_late_due_ns: 0,
        }
    }

    /// A result came to a component's sink, at so many nanoseconds from the start.
    pub(crate) fn arrived(&mut self, component: usize, number: usize, sum: u64, at_ns: u64) {
        let is_wanted = self.schedule.lines.get(number).is_some_and(|line| {
            let group = self.events.templates[usize::from(*line)].group;
            !self.schedule.is_malformed[number] && wants(component, group, self.fan_out)
        });
        if !is_wanted {
            self.counts.wrong += 1;
            return;
        }
        let is_counted = number >= self.schedule.counted_from;
        let bit = 1 << component;
        if self.seen[number] & bit != 0 {
            self.counts.duplicate += u64::from(is_counted);
            return;
        }
        self.seen[number] |= bit;
        self.outstanding -= 1;
        if !is_counted {
            return;
        }
        let line = usize::from(self.schedule.lines[number]);
        self.counts.wrong += u64::from(self.sums[line][component] != sum);
        let due_ns = self.schedule.due_ns[number];
        let latency = at_ns.saturating_sub(due_ns);
        if self.slow != Some(component) {
            self.latencies.saturating_record(latency);
            if latency > self.deadline_ns {
                self.counts.late += 1;
                self.last_late_due_ns = self.last_late_due_ns.max(due_ns);
            }
        }
    }

    /// How many deliveries have not come.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Closes the ledger. What has not come is lost, or only late if `is_flowing`: the system was still delivering.
    pub(crate) fn close(mut self, is_flowing: bool) -> (Counts, Histogram<u64>, u64) {
        for number in self.schedule.counted_from..self.schedule.len() {
            if self.schedule.is_malformed[number] {
                continue;
            }
            let missing = self.fan_out as u64 - u64::from(self.seen[number].count_ones());
            if missing > 0 {
                self.last_late_due_ns = self.last_late_due_ns.max(self.schedule.due_ns[number]);
            }
            match is_flowing {
                true => self.counts.late += missing,
                false => self.counts.lost += missing,
            }
        }
        (self.counts, self.latencies, self.last_late_due_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::schedule::Arrivals;
    use crate::story::setting::Setting;

    const DEADLINE_NS: u64 = 50_000_000;

    /// Plays a run in which every result comes after a millisecond, but for what `planted` does about it: it gives the
    /// arrivals of one delivery, as sums and latencies.
    fn counts_with(planted: impl Fn(usize, u64) -> Vec<(u64, u64)>) -> (Counts, f64) {
        let events = Events::load(None).unwrap();
        let schedule = Schedule::new(1_000.0, (0.1, 1.0), Arrivals::Poisson, 1_000, 50, 1);
        let sums = events.expected_sums(&Setting::of_one_round());
        let mut ledger = Ledger::new(&schedule, &events, &sums, 2, DEADLINE_NS, None);
        for number in 0..schedule.len() {
            let line = usize::from(schedule.lines[number]);
            let group = events.templates[line].group;
            for component in (0..COMPONENTS).filter(|component| wants(*component, group, 2)) {
                if !schedule.is_malformed[number] {
                    for (sum, latency) in planted(number, sums[line][component]) {
                        ledger.arrived(component, number, sum, schedule.due_ns[number] + latency);
                    }
                }
            }
        }
        let (counts, latencies, _) = ledger.close(false);
        (counts, latencies.mean())
    }

    const ON_TIME: u64 = 1_000_000;

    #[test]
    fn each_planted_error_shows_in_its_column_and_in_no_other() {
        let (clean, latency) = counts_with(|_, sum| vec![(sum, ON_TIME)]);
        assert_eq!(clean.error_rate(), 0.0);
        assert!(clean.offered > 1_500);
        assert!((latency / ON_TIME as f64 - 1.0).abs() < 0.01);
        let every_tenth = |number: usize| number.is_multiple_of(10);
        let (late, mean) = counts_with(|number, sum| match every_tenth(number) {
            true => vec![(sum, 2 * DEADLINE_NS)],
            false => vec![(sum, ON_TIME)],
        });
        assert!(late.late > 100 && mean > 5.0 * latency);
        let others = Counts { late: 0, ..late };
        assert_eq!(others, clean);
        let (lost, mean) = counts_with(|number, sum| match every_tenth(number) {
            true => vec![],
            false => vec![(sum, ON_TIME)],
        });
        assert_eq!((lost.lost, mean), (late.late, latency));
        assert_eq!(Counts { lost: 0, ..lost }, clean);
        let (wrong, mean) = counts_with(|number, sum| match every_tenth(number) {
            true => vec![(sum + 1, ON_TIME)],
            false => vec![(sum, ON_TIME)],
        });
        assert_eq!((wrong.wrong, mean), (late.late, latency));
        assert_eq!(Counts { wrong: 0, ..wrong }, clean);
        let (twice, mean) = counts_with(|number, sum| match every_tenth(number) {
            true => vec![(sum, ON_TIME); 2],
            false => vec![(sum, ON_TIME)],
        });
        assert_eq!((twice.duplicate, mean), (late.late, latency));
        assert_eq!(
            Counts {
                duplicate: 0,
                ..twice
            },
            clean
        );
    }

    #[test]
    fn what_is_under_way_at_the_end_is_late_and_not_lost() {
        let events = Events::load(None).unwrap();
        let schedule = Schedule::new(1_000.0, (0.0, 0.1), Arrivals::Poisson, 1_000, 0, 1);
        let sums = events.expected_sums(&Setting::of_one_round());
        let ledger = || Ledger::new(&schedule, &events, &sums, 3, DEADLINE_NS, None);
        assert_eq!(ledger().outstanding(), 3 * schedule.len());
        let (counts, _, last) = ledger().close(true);
        assert_eq!((counts.late, counts.lost), (counts.offered, 0));
        assert_eq!(last, schedule.due_ns[schedule.len() - 1]);
        let (counts, _, _) = ledger().close(false);
        assert_eq!((counts.late, counts.lost), (0, counts.offered));
    }
}
