//! The status line on a terminal while the process runs: rates, what is in flight, restarts.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use veltrix_actors::Registry;

use crate::telemetry;

/// Time between two updates.
const INTERVAL: Duration = Duration::from_secs(1);

/// The line; it is gone when finished or dropped.
pub(super) struct StatusLine(Option<ProgressBar>);

/// Shows the line if standard error is a terminal.
pub(super) fn show(registry: Arc<Registry>) -> StatusLine {
    let Some(terminal) = telemetry::terminal() else {
        return StatusLine(None);
    };
    let bar = terminal.add(ProgressBar::new_spinner());
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let line = bar.clone();
    actix_rt::spawn(async move {
        let mut every = tokio::time::interval(INTERVAL);
        let mut before = totals(&registry);
        while !line.is_finished() {
            every.tick().await;
            let now = totals(&registry);
            line.set_message(format!(
                "in {}/s · out {}/s · in flight {} · dead letters {} · restarts {}",
                now.0.saturating_sub(before.0),
                now.1.saturating_sub(before.1),
                registry.in_flight.get(),
                registry
                    .dead_letters()
                    .iter()
                    .map(|(_, count)| count)
                    .sum::<u64>(),
                registry.restarts.get(),
            ));
            line.tick();
            before = now;
        }
    });
    StatusLine(Some(bar))
}

impl StatusLine {
    /// Takes the line away.
    pub(super) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Events accepted and delivered so far.
fn totals(registry: &Registry) -> (u64, u64) {
    let accepted = registry
        .sources()
        .iter()
        .map(|(_, stats)| stats.accepted.get())
        .sum();
    let delivered = registry
        .sinks()
        .iter()
        .map(|(_, stats)| stats.delivered.get())
        .sum();
    (accepted, delivered)
}
