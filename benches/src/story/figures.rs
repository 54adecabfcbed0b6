//! The figures of a run, by name: what tables have as columns, and comparisons as rows.

use super::run::Measured;

/// One figure. Less is better in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Figure {
    MeanMs,
    P50Ms,
    P99Ms,
    P999Ms,
    ErrorsPercent,
    CpuSecondsPerMillion,
    SourceSecondsPerMillion,
    ProportionalMib,
    PeakMib,
    RecoveryMs,
}

impl Figure {
    pub(crate) const ALL: [Self; 10] = [
        Self::MeanMs,
        Self::P50Ms,
        Self::P99Ms,
        Self::P999Ms,
        Self::ErrorsPercent,
        Self::CpuSecondsPerMillion,
        Self::SourceSecondsPerMillion,
        Self::ProportionalMib,
        Self::PeakMib,
        Self::RecoveryMs,
    ];

    /// As a table's head has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MeanMs => "mean ms",
            Self::P50Ms => "p50 ms",
            Self::P99Ms => "p99 ms",
            Self::P999Ms => "p99.9 ms",
            Self::ErrorsPercent => "errors %",
            Self::CpuSecondsPerMillion => "CPU s/M",
            Self::SourceSecondsPerMillion => "source s/M",
            Self::ProportionalMib => "PSS MiB",
            Self::PeakMib => "VmHWM MiB",
            Self::RecoveryMs => "recovery ms",
        }
    }

    /// Its value in a run; recovery only where something was killed.
    pub(crate) fn of(self, run: &Measured) -> Option<f64> {
        let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
        let per_million = |nanoseconds: u64| nanoseconds as f64 / 1e3 / run.events.max(1) as f64;
        let quantile_ms = |quantile| run.latencies.value_at_quantile(quantile) as f64 / 1e6;
        Some(match self {
            Self::MeanMs => run.latencies.mean() / 1e6,
            Self::P50Ms => quantile_ms(0.5),
            Self::P99Ms => quantile_ms(0.99),
            Self::P999Ms => quantile_ms(0.999),
            Self::ErrorsPercent => run.counts.error_rate() * 100.0,
            Self::CpuSecondsPerMillion => per_million(run.cpu_ns),
            Self::SourceSecondsPerMillion => per_million(run.source_ns),
            Self::ProportionalMib => mib(run.proportional_bytes),
            Self::PeakMib => mib(run.peak_bytes),
            Self::RecoveryMs => run.recovery?.as_secs_f64() * 1e3,
        })
    }
}
