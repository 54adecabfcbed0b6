//! What a run found, as a table or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::stage::Outcome;

/// The figures of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What was done.
    pub run: String,
    /// The number that replays it.
    pub seed: u64,
    /// Rounds of a folder of their own each.
    pub rounds: u64,
    /// Kills, power cuts, stops or cycles.
    pub blows: u64,
    /// Of those, before the process was ready.
    pub blows_in_start: u64,
    /// Events that were acknowledged.
    pub acked: u64,
    /// Events that were sent and not answered.
    pub unknown: u64,
    /// Answers that refused events.
    pub refused: u64,
    /// By sink.
    pub sinks: BTreeMap<String, SinkTotals>,
    /// From a start after a crash until `/readyz` says so.
    pub ready: Times,
    /// From a start until the first acknowledged event.
    pub first_ack: Times,
    /// Other figures of the run.
    pub figures: BTreeMap<String, f64>,
    /// What must not be.
    pub violations: Vec<Violation>,
    #[serde(skip)]
    ready_times: Vec<Duration>,
    #[serde(skip)]
    first_ack_times: Vec<Duration>,
}

/// What arrived at a sink.
#[derive(Debug, Default, Serialize)]
pub struct SinkTotals {
    /// Deliveries.
    pub arrived: u64,
    /// Of the events without an answer, those that arrived.
    pub unknown_arrived: u64,
    /// Deliveries beyond one for each time an event was sent.
    pub duplicates: u64,
    /// The most of those after one crash.
    pub duplicates_most: u64,
    /// The most after one crash of those that all their sinks had got before it: what the cursor was behind.
    pub done_before_most: u64,
    /// Arrivals of an older event of a key after a newer one, both of which had come before.
    pub repeats_out_of_turn: u64,
}

/// How times spread.
#[derive(Debug, Default, Serialize)]
pub struct Times {
    /// How many were taken.
    pub count: usize,
    /// In milliseconds, as the others.
    pub p50: f64,
    /// The time that 99 of 100 stay within.
    pub p99: f64,
    /// The longest.
    pub longest: f64,
}

/// Something that must not be.
#[derive(Debug, Serialize)]
pub struct Violation {
    /// The seed that repeats its round.
    pub seed: u64,
    /// What.
    pub what: String,
    /// Where its files are kept.
    pub folder: String,
}

impl Times {
    fn of(times: &[Duration]) -> Self {
        let mut milliseconds: Vec<f64> =
            times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        milliseconds.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = milliseconds.len().saturating_sub(1);
            let index = (share * last as f64).ceil() as usize;
            milliseconds.get(index).copied().unwrap_or_default()
        };
        Self {
            count: milliseconds.len(),
            p50: at(0.5),
            p99: at(0.99),
            longest: at(1.0),
        }
    }
}

impl Report {
    /// An empty one.
    pub(crate) fn new(run: String, seed: u64) -> Self {
        Self {
            run,
            seed,
            ..Self::default()
        }
    }

    /// Takes a round's outcome in.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.rounds += 1;
        for note in outcome.history.notes.iter().flatten() {
            match note.is_acked {
                true => self.acked += 1,
                false => self.unknown += 1,
            }
        }
        self.refused += outcome.history.refused;
        for (name, finding) in &outcome.findings {
            let sink = self.sinks.entry((*name).to_owned()).or_default();
            sink.arrived += finding.arrived;
            sink.unknown_arrived += finding.unknown_arrived;
            sink.duplicates += finding.duplicates.values().sum::<u64>();
            let most = finding.duplicates.values().max().copied();
            sink.duplicates_most = sink.duplicates_most.max(most.unwrap_or_default());
            let most = finding.done_before.values().max().copied();
            sink.done_before_most = sink.done_before_most.max(most.unwrap_or_default());
            sink.repeats_out_of_turn += finding.repeats_out_of_turn;
        }
        if let Some(most) = outcome.repeats.most() {
            let figure = self.figures.entry("unfinished at a crash, most".to_owned());
            let figure = figure.or_default();
            *figure = figure.max(most as f64);
        }
        self.ready_times.extend(&outcome.ready_times);
        let after_crash = outcome
            .history
            .first_acks
            .iter()
            .filter(|(epoch, _)| **epoch > 0);
        self.first_ack_times
            .extend(after_crash.map(|(_, time)| time));
        self.ready = Times::of(&self.ready_times);
        self.first_ack = Times::of(&self.first_ack_times);
    }

    /// Notes what must not be.
    pub(crate) fn violate(&mut self, seed: u64, what: String, folder: &Path) {
        self.violations.push(Violation {
            seed,
            what,
            folder: folder.display().to_string(),
        });
    }

    /// Adds to a figure.
    pub(crate) fn count(&mut self, name: &str, more: u64) {
        *self.figures.entry(name.to_owned()).or_default() += more as f64;
    }

    /// A figure of its own.
    pub(crate) fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// The summary as text.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            writeln!(text, "{name:<34} {value}").expect("a string takes it");
        };
        row("run", format!("{} --seed {}", self.run, self.seed));
        row(
            "blows",
            format!(
                "{} in {} rounds, {} before readiness",
                self.blows, self.rounds, self.blows_in_start
            ),
        );
        row(
            "events",
            format!(
                "{} acked, {} without an answer; {} refusals",
                self.acked, self.unknown, self.refused
            ),
        );
        for (name, sink) in &self.sinks {
            row(
                &format!("sink {name}"),
                format!(
                    "{} arrived, {} of them unanswered; {} duplicates, at most {} after one crash, {} of events that were done; {} out of turn",
                    sink.arrived,
                    sink.unknown_arrived,
                    sink.duplicates,
                    sink.duplicates_most,
                    sink.done_before_most,
                    sink.repeats_out_of_turn
                ),
            );
        }
        for (name, times) in [("ready again", &self.ready), ("first ack", &self.first_ack)] {
            row(
                name,
                format!(
                    "p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms of {}",
                    times.p50, times.p99, times.longest, times.count
                ),
            );
        }
        for (name, value) in &self.figures {
            row(
                name,
                format!("{value:.3}").trim_end_matches(".000").to_owned(),
            );
        }
        row("violations", self.violations.len().to_string());
        for Violation { seed, what, folder } in &self.violations {
            writeln!(text, "  --seed {seed}: {what}\n    kept in {folder}")
                .expect("a string takes it");
        }
        text
    }
}
