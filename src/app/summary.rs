//! The closing summary: what became of every event, by name.

use veltrix_actors::Registry;

/// Logs the ledgers, and what they add up to.
pub(super) fn log(registry: &Registry) {
    log_ledgers(registry);
    log_sums(registry);
}

fn log_ledgers(registry: &Registry) {
    for (source, stats) in registry.sources() {
        let rejected: u64 = stats.rejected().iter().map(|(_, count)| count).sum();
        tracing::info!(
            source,
            received = stats.received.get(),
            accepted = stats.accepted.get(),
            rejected,
            finished = stats.finished.get(),
            unfinished = stats.in_flight.get(),
            lost = stats.lost.get(),
            "source summary"
        );
    }
    for (handler, stats) in registry.handlers() {
        tracing::info!(
            handler,
            received = stats.received.get(),
            filtered = stats.filtered.get(),
            results = stats.emitted.get(),
            errors = stats.errors.get(),
            panics = unless_zero(stats.panics.get()),
            hangs = unless_zero(stats.hangs.get()),
            pauses = unless_zero(stats.pauses.get()),
            dead_lettered = stats.dead_lettered.get(),
            "handler summary"
        );
    }
    for (sink, stats) in registry.sinks() {
        tracing::info!(
            sink,
            offered = stats.offered.get(),
            delivered = stats.delivered.get(),
            dead_lettered = stats.dead_lettered.get(),
            hangs = unless_zero(stats.hangs.get()),
            waiting = stats.waiting.get(),
            "sink summary"
        );
    }
    for (rule, dropped) in registry.dropped() {
        tracing::info!(rule, dropped, "dropped by rule");
    }
    for ((branch, class), count) in registry.dead_letters() {
        tracing::warn!(branch, class, count, "dead letters");
    }
    for ((at, action), count) in registry.faults() {
        tracing::info!(at, action, count, "injected faults");
    }
}

fn log_sums(registry: &Registry) {
    let accepted: u64 = registry
        .sources()
        .iter()
        .map(|(_, stats)| stats.accepted.get())
        .sum();
    let delivered: u64 = registry
        .sinks()
        .iter()
        .map(|(_, stats)| stats.delivered.get())
        .sum();
    let dead_lettered: u64 = registry.dead_letters().iter().map(|(_, count)| count).sum();
    // Dead letters that had to go are events that are counted as dead letters already.
    let of_events = |(rule, _): &&(&str, u64)| !rule.starts_with("dead-letter-");
    let dropped = registry.dropped();
    let dropped: u64 = dropped
        .iter()
        .filter(of_events)
        .map(|(_, count)| count)
        .sum();
    let balanced = registry.is_balanced();
    tracing::info!(
        accepted,
        delivered,
        dead_lettered,
        dropped,
        balanced,
        "summary"
    );
}

/// A field that the line has only if there is something to say.
fn unless_zero(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}
