//! Sinks that are done only some time after they have written: nothing waits for them but the end, and nothing is lost or
//! done too early through panics, lost actors and writes that cannot be relied on.

#[path = "support/pipeline.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod pipeline;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pipeline::{Ended, Limits, Pipeline, number};
use veltrix_actors::{
    AnySink, Event, ExitReason, FaultAction, FaultPlan, FlushError, Handler, HandlerError,
    HandlerFactory, Injection, LaneHandler, Only, Output, PointPattern, Sink, SinkFactory,
    StartError, When, Written,
};

const EVENTS: usize = 20_000;

struct Pass;

impl HandlerFactory for Pass {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Sync(Box::new(Pass)))
    }
}

impl Handler for Pass {
    fn handle(&mut self, _: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        out.pass()
    }
}

/// What outlives the sinks, as a disk and the thread that syncs it do.
#[derive(Default)]
struct Disk {
    lines: Mutex<Vec<usize>>,
    waiting: Mutex<Vec<Written>>,
    flushes: AtomicUsize,
    rounds: AtomicUsize,
    /// The most events that waited for a round.
    waiting_max: AtomicUsize,
}

#[derive(Clone)]
struct Keeping {
    disk: Arc<Disk>,
    /// Whether the flush of that number cannot be relied on.
    is_unsafe: fn(usize) -> bool,
    /// Whether the round of that number fails.
    is_lost: fn(usize) -> bool,
}

impl Keeping {
    fn new() -> Self {
        Self {
            disk: Arc::default(),
            is_unsafe: |_| false,
            is_lost: |_| false,
        }
    }

    fn round(&self) {
        let waiting = std::mem::take(&mut *self.disk.waiting.lock().expect("no panic inside"));
        if waiting.is_empty() {
            return;
        }
        let events = waiting.iter().map(Written::events).sum();
        self.disk.waiting_max.fetch_max(events, Ordering::Relaxed);
        if (self.is_lost)(self.disk.rounds.fetch_add(1, Ordering::Relaxed)) {
            return;
        }
        waiting.into_iter().for_each(Written::done);
    }
}

impl SinkFactory for Keeping {
    fn build(&self) -> Result<AnySink, StartError> {
        Ok(AnySink::Sync(Box::new(Keeper {
            keeping: self.clone(),
            appended: Vec::new(),
        })))
    }
}

struct Keeper {
    keeping: Keeping,
    appended: Vec<usize>,
}

impl Sink for Keeper {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        self.appended.push(number(event));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        let disk = &self.keeping.disk;
        let mut lines = disk.lines.lock().expect("no panic inside");
        lines.append(&mut self.appended);
        match (self.keeping.is_unsafe)(disk.flushes.fetch_add(1, Ordering::Relaxed)) {
            true => Err(FlushError::Unsafe("it may be gone".to_owned())),
            false => Ok(()),
        }
    }

    fn written(&mut self, written: Written) {
        let mut waiting = self.keeping.disk.waiting.lock().expect("no panic inside");
        waiting.push(written);
    }

    fn hurry(&mut self) {
        self.keeping.round();
    }

    fn buffered_bytes(&self) -> usize {
        self.appended.len()
    }
}

fn run(sink: &Keeping, memory_bytes: usize, plan: FaultPlan) -> (Ended, Vec<usize>) {
    veltrix_actors::install_panic_hook();
    let pipeline = Pipeline {
        events: EVENTS,
        lanes: 2,
        attempts: 3,
        max_restarts: 50,
        deadline: None,
        handler: Arc::new(Pass),
        limits: Limits {
            memory_bytes,
            ..Limits::default()
        },
    };
    let ended = pipeline.run_into(Arc::new(sink.clone()), plan);
    assert_eq!(ended.exit, ExitReason::Normal);
    let lines = std::mem::take(&mut *sink.disk.lines.lock().expect("no panic inside"));
    (ended, lines)
}

fn assert_all_done(ended: &Ended) {
    assert!(ended.registry.is_balanced());
    let source = ended.registry.source("numbers");
    assert_eq!(source.finished.get(), EVENTS as u64);
    let sink = ended.registry.sink("collect");
    assert_eq!(
        (sink.delivered.get(), sink.waiting.get()),
        (EVENTS as u64, 0)
    );
    assert_eq!(sink.in_doubt.get(), 0);
}

/// Each key in order if only the first of each event counts, and every event is there.
fn assert_in_order(lines: &[usize]) {
    let mut seen = vec![false; EVENTS];
    let mut last = HashMap::new();
    for number in lines {
        if !std::mem::replace(&mut seen[*number], true) {
            let before = last.insert(number % 7, number);
            assert!(before < Some(number), "{number} after {before:?}");
        }
    }
    assert!(seen.iter().all(|seen| *seen));
}

#[test]
fn credits_and_memory_return_once_events_are_written_and_a_drain_hurries_the_rest() {
    let sink = Keeping::new();
    let (ended, lines) = run(&sink, 64 << 20, FaultPlan::default());
    assert_all_done(&ended);
    assert_eq!(lines.len(), EVENTS);
    assert_in_order(&lines);
    // Nobody was hurried before the source was through, and then no more than that was on its way: the rest had long been
    // written, past the credits of two batches.
    let waiting_max = sink.disk.waiting_max.load(Ordering::Relaxed);
    assert!(waiting_max > 8 * 1024, "{waiting_max} events");
}

#[test]
fn a_source_that_waits_for_memory_hurries_the_sink() {
    let sink = Keeping::new();
    // A source may hold half of it; an event has about 100 bytes.
    let (ended, lines) = run(&sink, 64 << 10, FaultPlan::default());
    assert_all_done(&ended);
    assert_in_order(&lines);
    let rounds = sink.disk.rounds.load(Ordering::Relaxed);
    assert!(rounds > EVENTS * 100 / (64 << 10), "{rounds} rounds");
}

#[test]
fn what_was_written_and_cannot_be_relied_on_is_written_again() {
    let sink = Keeping {
        is_unsafe: |flush| flush < 5 || flush.is_multiple_of(3),
        ..Keeping::new()
    };
    let (ended, lines) = run(&sink, 64 << 10, FaultPlan::default());
    assert_all_done(&ended);
    assert_in_order(&lines);
    assert!(lines.len() > EVENTS);
}

#[test]
fn what_was_written_outlives_the_actors_that_wrote_it() {
    let abort = |number: usize| Injection {
        at: PointPattern::new("sink.collect"),
        action: FaultAction::AbortActor,
        when: When {
            only: Only {
                id: Some(number.to_string()),
                ..Only::default()
            },
            ..When::default()
        },
    };
    let plan = FaultPlan {
        seed: 1,
        injections: [5, 700, 2_501, 19_999].map(abort).into(),
    };
    let sink = Keeping::new();
    let (ended, lines) = run(&sink, 64 << 20, plan);
    assert_eq!(ended.registry.restarts.get(), 4);
    assert_all_done(&ended);
    assert_in_order(&lines);
}

#[test]
fn events_in_doubt_are_an_alarm_and_keep_nobody_waiting() {
    let sink = Keeping {
        is_lost: |round| round == 1,
        ..Keeping::new()
    };
    let (ended, lines) = run(&sink, 64 << 10, FaultPlan::default());
    assert_in_order(&lines);
    let (source, stats) = (
        ended.registry.source("numbers"),
        ended.registry.sink("collect"),
    );
    assert!(!ended.registry.is_balanced());
    let in_doubt = stats.in_doubt.get();
    assert!(in_doubt > 0);
    // Whole intakes are lost, and what else was in them is delivered all the same.
    assert!(source.lost.get() >= in_doubt);
    assert_eq!(source.lost.get() + source.finished.get(), EVENTS as u64);
    assert_eq!(stats.delivered.get() + in_doubt, EVENTS as u64);
    assert_eq!(stats.waiting.get(), i64::try_from(in_doubt).expect("few"));
}
