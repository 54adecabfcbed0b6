//! Numbers of a running process, from its metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::ensure;

use crate::wire;

/// Samples by name and labels as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the page.
    pub(crate) fn of(admin: SocketAddr) -> anyhow::Result<Self> {
        let answer = wire::get(admin, "/metrics")?;
        ensure!(answer.status()? == 200, "/metrics answers {}", answer.head);
        let page = String::from_utf8(answer.body)?;
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Ok(Self(lines.filter_map(sample).collect()))
    }

    /// The samples of one family by their labels.
    pub(crate) fn family<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(series, value)| {
            let labels = series.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }

    /// Their sum.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.family(name).map(|(_, value)| value).sum()
    }

    /// Whether nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.sum("veltrix_source_in_flight") == 0.0 && self.sum("veltrix_sink_waiting") == 0.0
    }

    /// What is wrong with the ledgers, if anything.
    pub(crate) fn imbalance(&self) -> Option<String> {
        let of = |family: &str, wrong: fn(f64) -> bool| {
            let found: Vec<String> = self
                .family(family)
                .filter(|(_, value)| wrong(*value))
                .map(|(labels, value)| format!("{family}{labels} {value}"))
                .collect();
            found
        };
        let mut wrong = of("veltrix_ledger_balanced", |value| value != 1.0);
        wrong.extend(of("veltrix_source_lost_total", |value| value != 0.0));
        wrong.extend(of("veltrix_dead_letters_total", |value| value != 0.0));
        wrong.extend(of("veltrix_dropped_total", |value| value != 0.0));
        (!wrong.is_empty()).then(|| wrong.join(", "))
    }
}
