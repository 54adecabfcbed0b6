//! The metrics page in the OpenMetrics text format 1.0.

use std::sync::Arc;

use veltrix_actors::{ActorState, SourceStats};

use super::open_metrics::{Page, label, one};
use super::{Observed, journal_metrics};
use crate::ledgers::{Ledgers, SinkLedger, SourceLedger};

/// The page's media type.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes all metrics.
pub(super) fn render(observed: &Observed) -> String {
    let ledgers = observed.ledgers.now();
    let mut page = Page::default();
    source_ledgers(&mut page, &ledgers);
    sources(&mut page, observed);
    handlers(&mut page, observed);
    sink_ledgers(&mut page, &ledgers);
    sinks(&mut page, observed);
    journal_metrics::journal(&mut page, observed);
    super::dead_letter_metrics::write(&mut page, observed);
    actors(&mut page, observed);
    ends(&mut page, &ledgers);
    process(&mut page, observed);
    page.finish()
}

fn source_ledgers(page: &mut Page, ledgers: &Ledgers) {
    let each = |value: fn(&SourceLedger) -> u64| {
        let ledgers = ledgers.sources.iter();
        ledgers.map(move |(name, ledger)| (label("source", name), value(ledger)))
    };
    page.counter(
        "veltrix_source_received",
        "Events and would-be events that arrived",
        each(|ledger| ledger.received),
    );
    page.counter(
        "veltrix_source_accepted",
        "Events that Veltrix answers for",
        each(|ledger| ledger.accepted),
    );
    page.counter(
        "veltrix_source_finished",
        "Accepted events that are finished",
        each(|ledger| ledger.finished),
    );
    page.counter(
        "veltrix_source_lost",
        "Accepted events that vanished unfinished: a bug",
        each(|ledger| ledger.lost),
    );
    let rejected = ledgers.sources.iter().flat_map(|(name, ledger)| {
        let name = label("source", name);
        let rejected = ledger.rejected.iter();
        rejected.map(move |(reason, count)| (format!("{name},{}", label("reason", reason)), count))
    });
    page.counter("veltrix_source_rejected", "Refused events", rejected);
}

fn sources(page: &mut Page, observed: &Observed) {
    let sources = observed.registry.sources();
    let recovered = sources
        .iter()
        .map(|(name, stats)| (label("source", name), stats.recovered.get()));
    page.counter(
        "veltrix_source_recovered",
        "Accepted events that a process before this one had accepted",
        recovered,
    );
    type Level = fn(&SourceStats) -> i64;
    let gauges: [(&str, &str, Level); 3] = [
        (
            "veltrix_source_pending",
            "Events on their way into the journal, not accepted yet",
            |s| s.pending.get(),
        ),
        (
            "veltrix_source_in_flight",
            "Accepted and not finished events",
            |s| s.in_flight.get(),
        ),
        (
            "veltrix_source_connections",
            "Open connections of `tcp` sources",
            |s| s.connections.get(),
        ),
    ];
    for (name, help, level) in gauges {
        let levels = sources
            .iter()
            .map(|(name, stats)| (label("source", name), level(stats)));
        page.gauge(name, help, levels);
    }
    let failed = sources
        .iter()
        .map(|(name, stats)| (label("source", name), stats.connections_failed.get()));
    page.counter(
        "veltrix_source_connections_failed",
        "Connections of `tcp` sources that ended by an error, a timeout or a panic",
        failed,
    );
    let balanced = sources
        .iter()
        .map(|(name, stats)| (label("source", name), u8::from(stats.is_balanced())));
    page.gauge(
        "veltrix_ledger_balanced",
        "1 while accepted = finished + in flight",
        balanced,
    );
}

fn handlers(page: &mut Page, observed: &Observed) {
    let handlers = observed.registry.handlers();
    type Count = fn(&veltrix_actors::HandlerStats) -> u64;
    let counts: [(&str, &str, Count); 10] = [
        ("veltrix_handler_received", "Events handed to lanes", |h| {
            h.received.get()
        }),
        (
            "veltrix_handler_matched",
            "Events handled, their condition held",
            |h| h.matched.get(),
        ),
        (
            "veltrix_handler_filtered",
            "Events whose condition did not hold",
            |h| h.filtered.get(),
        ),
        (
            "veltrix_handler_missing_paths",
            "Events without a path that the condition names",
            |h| h.missing.get(),
        ),
        ("veltrix_handler_results", "Results emitted", |h| {
            h.emitted.get()
        }),
        ("veltrix_handler_errors", "Failed attempts", |h| {
            h.errors.get()
        }),
        (
            "veltrix_handler_panics",
            "Failed attempts that were panics",
            |h| h.panics.get(),
        ),
        (
            "veltrix_handler_hangs",
            "Calls that did not return within the deadline",
            |h| h.hangs.get(),
        ),
        (
            "veltrix_handler_pauses",
            "Times that the breaker opened",
            |h| h.pauses.get(),
        ),
        ("veltrix_handler_retries", "Attempts after the first", |h| {
            h.retries.get()
        }),
    ];
    for (family, help, value) in counts {
        let samples = handlers
            .iter()
            .map(|(name, stats)| (label("handler", name), value(stats)));
        page.counter(family, help, samples);
    }
    handler_times(page, &handlers);
}

fn handler_times(page: &mut Page, handlers: &[(String, Arc<veltrix_actors::HandlerStats>)]) {
    let seconds = |value: fn(&veltrix_actors::HandlerStats) -> f64| {
        handlers
            .iter()
            .map(move |(name, stats)| (label("handler", name), value(stats)))
    };
    page.counter(
        "veltrix_handler_busy_seconds",
        "Time that lanes worked",
        seconds(|h| h.busy_nanoseconds.seconds()),
    );
    page.counter(
        "veltrix_handler_queue_seconds",
        "Time that events waited in lanes' mailboxes",
        seconds(|h| h.queue_nanoseconds.seconds()),
    );
    let rebuilt = handlers
        .iter()
        .map(|(name, stats)| (label("handler", name), &stats.rebuild_time));
    page.histogram(
        "veltrix_handler_rebuild_seconds",
        "From a panic until a fresh handler was built",
        rebuilt,
    );
}

fn sink_ledgers(page: &mut Page, ledgers: &Ledgers) {
    let each = |value: fn(&SinkLedger) -> u64| {
        let ledgers = ledgers.sinks.iter();
        ledgers.map(move |(name, ledger)| (label("sink", name), value(ledger)))
    };
    page.counter(
        "veltrix_sink_offered",
        "Events sent to the sink",
        each(|ledger| ledger.offered),
    );
    page.counter(
        "veltrix_sink_delivered",
        "Events handed over",
        each(|ledger| ledger.delivered),
    );
    page.counter(
        "veltrix_sink_dead_lettered",
        "Events that the receiver refused for good",
        each(|ledger| ledger.dead_lettered),
    );
}

fn sinks(page: &mut Page, observed: &Observed) {
    let sinks = observed.registry.sinks();
    let each = |value: fn(&veltrix_actors::SinkStats) -> u64| {
        sinks
            .iter()
            .map(move |(name, stats)| (label("sink", name), value(stats)))
    };
    page.counter(
        "veltrix_sink_errors",
        "Failed attempts",
        each(|s| s.errors.get()),
    );
    page.counter(
        "veltrix_sink_retries",
        "Attempts after the first",
        each(|s| s.retries.get()),
    );
    page.counter(
        "veltrix_sink_hangs",
        "Calls that took longer than they may",
        each(|s| s.hangs.get()),
    );
    page.counter(
        "veltrix_sink_in_doubt",
        "Written events whose sync failed: not done",
        each(|s| s.in_doubt.get()),
    );
    page.counter(
        "veltrix_sink_bytes",
        "Bytes of delivered events",
        each(|s| s.bytes.get()),
    );
    let waiting = sinks
        .iter()
        .map(|(name, stats)| (label("sink", name), stats.waiting.get()));
    page.gauge(
        "veltrix_sink_waiting",
        "Events offered and not delivered",
        waiting,
    );
    let overflow = sinks
        .iter()
        .map(|(name, stats)| (label("sink", name), stats.overflow.get()));
    page.gauge(
        "veltrix_sink_overflow",
        "Those of the waiting events that are on disk",
        overflow,
    );
}

fn actors(page: &mut Page, observed: &Observed) {
    let actors = observed.registry.actors.all();
    let restarts = actors
        .iter()
        .map(|actor| (label("actor", actor.path()), actor.restarts.get()));
    page.counter(
        "veltrix_restarts",
        "Starts after a failure of the actor",
        restarts,
    );
    let states = actors.iter().flat_map(|actor| {
        let (name, current) = (label("actor", actor.path()), actor.state());
        ActorState::ALL.map(move |state| {
            let labels = format!("{name},{}", label("state", state.name()));
            (labels, u8::from(state == current))
        })
    });
    page.gauge(
        "veltrix_actor_state",
        "1 for the state that the actor is in",
        states,
    );
}

/// What became of events that were not delivered.
fn ends(page: &mut Page, ledgers: &Ledgers) {
    let dead_letters = ledgers.dead_letters.iter().flat_map(|(branch, classes)| {
        let classes = classes.iter();
        classes.map(move |(class, count)| (of_branch(branch, &label("class", class)), count))
    });
    page.counter("veltrix_dead_letters", "Events given up", dead_letters);
    let dropped = ledgers.dropped.iter();
    let dropped = dropped.map(|(rule, count)| (label("rule", rule), count));
    page.counter("veltrix_dropped", "Events dropped by named rules", dropped);
}

fn process(page: &mut Page, observed: &Observed) {
    let registry = &observed.registry;
    let faults = registry.faults();
    let faults = faults.iter().map(|((at, action), count)| {
        let labels = format!("{},{}", label("at", at), label("action", action));
        (labels, *count)
    });
    page.counter("veltrix_faults_injected", "Faults on purpose", faults);
    let reloads = observed.reload.counts().into_iter();
    let reloads = reloads.map(|(result, count)| (label("result", result), count));
    page.counter(
        "veltrix_panics",
        "Panics of any thread, whoever caught them",
        one(veltrix_actors::panics_total()),
    );
    page.gauge(
        "veltrix_credits_in_use",
        "Batches sent and not taken over",
        one(registry.credits_in_use.get()),
    );
    page.gauge(
        "veltrix_memory_used_bytes",
        "Event bytes in memory",
        one(observed.budget.used_bytes()),
    );
    page.gauge(
        "veltrix_memory_limit_bytes",
        "Budget of event bytes in memory",
        one(observed.budget.limit_bytes()),
    );
    page.gauge(
        "veltrix_event_types",
        "Interned event types",
        one(observed.types.len()),
    );
    page.counter(
        "veltrix_reloads",
        "Configs that were to be taken over, by what became of it",
        reloads,
    );
    page.info(
        "veltrix_config",
        "The config that the process runs by",
        &label("version", &registry.config_version()),
    );
    page.info(
        "veltrix_build",
        "The running version",
        &label("version", env!("CARGO_PKG_VERSION")),
    );
}

/// The label of a branch before `rest`: `handler` or `sink` with its name, and none for the router.
fn of_branch(branch: &str, rest: &str) -> String {
    match branch.split_once('.') {
        Some((role, name)) => format!("{},{rest}", label(role, name)),
        None => rest.to_owned(),
    }
}
