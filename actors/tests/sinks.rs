//! Sinks that panic: built anew in place, what they had not flushed comes again, and poison is set aside.

#[path = "support/pipeline.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod pipeline;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pipeline::{Ended, Limits, Pipeline, number};
use veltrix_actors::{
    AnySink, AsyncSink, Backoff, Consignment, DeliveryError, Event, ExitReason, FailureClass,
    FaultPlan, FlushError, Handler, HandlerError, HandlerFactory, LaneHandler, Output, RetryPolicy,
    SINK_ATTEMPTS_MAX, Sink, SinkFactory, StartError,
};

const EVENTS: usize = 5_000;

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

/// Where sinks are made to fail.
#[derive(Clone, Copy)]
struct Trouble {
    is_async: bool,
    /// Whether the event panics at its attempt of that number.
    at_event: fn(usize, u32) -> bool,
    /// Whether the flush of that number panics, after it has written half of what there is.
    at_flush: fn(usize) -> bool,
    /// Whether the build of that number fails.
    at_build: fn(usize) -> bool,
}

const NONE: Trouble = Trouble {
    is_async: false,
    at_event: |_, _| false,
    at_flush: |_| false,
    at_build: |_| false,
};

/// What outlives a sink.
#[derive(Default)]
struct Shared {
    written: Mutex<Vec<usize>>,
    attempts: Mutex<HashMap<usize, u32>>,
    flushes: AtomicUsize,
    builds: AtomicUsize,
}

#[derive(Clone)]
struct Tried(Trouble, Arc<Shared>);

impl Tried {
    fn meet(&self, number: usize) {
        let attempt = {
            let mut attempts = self.1.attempts.lock().expect("set up by the test");
            let attempt = attempts.entry(number).or_default();
            *attempt += 1;
            *attempt
        };
        assert!(!(self.0.at_event)(number, attempt), "{number} is poison");
    }

    fn write(&self, numbers: impl Iterator<Item = usize>) {
        let mut written = self.1.written.lock().expect("set up by the test");
        written.extend(numbers);
    }
}

impl SinkFactory for Tried {
    fn build(&self) -> Result<AnySink, StartError> {
        let build = self.1.builds.fetch_add(1, Ordering::Relaxed);
        if (self.0.at_build)(build) {
            return Err(StartError("it is not there".to_owned()));
        }
        Ok(match self.0.is_async {
            false => AnySink::Sync(Box::new(Buffer {
                tried: self.clone(),
                waiting: Vec::new(),
            })),
            true => AnySink::Async(Box::new(self.clone())),
        })
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            backoff: Backoff {
                min: Duration::from_millis(1),
                max: Duration::from_millis(2),
                jitter: 0.0,
            },
            max_elapsed: None,
        }
    }
}

/// Gathers until it is flushed.
struct Buffer {
    tried: Tried,
    waiting: Vec<usize>,
}

impl Sink for Buffer {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        self.tried.meet(number(event));
        self.waiting.push(number(event));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        let flush = self.tried.1.flushes.fetch_add(1, Ordering::Relaxed);
        let panics = (self.tried.0.at_flush)(flush);
        let written = self.waiting.len() / if panics { 2 } else { 1 };
        self.tried.write(self.waiting.drain(..written));
        assert!(!panics, "flush {flush} panics");
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.waiting.len()
    }
}

impl AsyncSink for Tried {
    fn deliver(
        &mut self,
        _: usize,
        events: Consignment,
    ) -> LocalBoxFuture<'static, Result<(), DeliveryError>> {
        let tried = self.clone();
        // Some panic at once, the others while they wait.
        let numbers: Vec<usize> = events.iter().map(|event| number(&event)).collect();
        let is_late = numbers[0].is_multiple_of(2);
        if !is_late {
            numbers.iter().for_each(|number| tried.meet(*number));
        }
        async move {
            tokio::task::yield_now().await;
            if is_late {
                numbers.iter().for_each(|number| tried.meet(*number));
            }
            tried.write(numbers.into_iter());
            Ok(())
        }
        .boxed_local()
    }

    fn slots(&self) -> usize {
        3
    }

    fn events_per_delivery(&self) -> usize {
        10
    }
}

fn run(trouble: Trouble) -> (Ended, Vec<usize>, Arc<Shared>) {
    veltrix_actors::install_panic_hook();
    let shared = Arc::new(Shared::default());
    let pipeline = Pipeline {
        events: EVENTS,
        lanes: 2,
        attempts: 3,
        max_restarts: 5,
        deadline: None,
        handler: Arc::new(Pass),
        limits: Limits::default(),
    };
    let ended = pipeline.run_into(
        Arc::new(Tried(trouble, shared.clone())),
        FaultPlan::default(),
    );
    assert_eq!(ended.exit, ExitReason::Normal);
    assert!(ended.registry.is_balanced());
    let finished = ended.registry.source("numbers").finished.get();
    assert_eq!(finished, EVENTS as u64);
    let sink = ended.registry.sink("collect");
    let accounted = sink.delivered.get() + sink.dead_lettered.get();
    assert_eq!((accounted, sink.waiting.get()), (EVENTS as u64, 0));
    let written = std::mem::take(&mut *shared.written.lock().expect("set up by the test"));
    (ended, written, shared)
}

/// Every event but those is written once, each key in order.
fn assert_once_and_in_order(written: &[usize], but: fn(usize) -> bool) {
    let mut last = HashMap::new();
    for number in written {
        let before = last.insert(number % 7, number);
        assert!(before < Some(number), "{number} after {before:?}");
    }
    assert_eq!(written.len(), (0..EVENTS).filter(|it| !but(*it)).count());
}

fn assert_poison(ended: &Ended, is_poison: fn(usize) -> bool) {
    let poison = (0..EVENTS).filter(|it| is_poison(*it)).count();
    let dead = (("sink.collect".to_owned(), "panic"), poison as u64);
    assert_eq!(ended.registry.dead_letters(), [dead]);
    assert_eq!(ended.dead_letters.len(), poison);
    for letter in &ended.dead_letters {
        let (number, failure) = (number(&letter.event()), &letter.failure);
        assert!(is_poison(number));
        assert_eq!(&*failure.reason, format!("{number} is poison"));
        let attempts = failure.attempts.kept().iter();
        let classes: Vec<FailureClass> = attempts.map(|attempt| attempt.class).collect();
        let expected = vec![FailureClass::Panic; SINK_ATTEMPTS_MAX as usize];
        assert_eq!(classes, expected);
        let backtrace = failure.backtrace.as_ref().expect("of the last attempt");
        assert!(backtrace.to_string().contains("Tried"), "{backtrace}");
    }
}

#[test]
fn a_panic_at_an_event_costs_an_attempt_and_nothing_comes_twice() {
    let at_event = |number, attempt| number % 100 == 42 && attempt == 1;
    let (ended, written, shared) = run(Trouble { at_event, ..NONE });
    assert_once_and_in_order(&written, |_| false);
    assert_eq!(ended.registry.dead_letters(), []);
    let sink = ended.registry.sink("collect");
    assert_eq!((sink.errors.get(), sink.retries.get()), (50, 50));
    assert_eq!(shared.builds.load(Ordering::Relaxed), 1 + 50);
    assert_eq!(ended.registry.restarts.get(), 0);
}

#[test]
fn an_event_at_which_a_sink_always_panics_is_set_aside() {
    let (ended, written, _) = run(Trouble {
        at_event: |number, _| number % 100 == 42,
        ..NONE
    });
    assert_once_and_in_order(&written, |number| number % 100 == 42);
    assert_poison(&ended, |number| number % 100 == 42);
}

#[test]
fn a_flush_that_panics_is_tried_again_by_a_new_sink() {
    let at_flush = |flush| flush % 3 == 1;
    let (ended, written, shared) = run(Trouble { at_flush, ..NONE });
    assert_eq!(ended.registry.dead_letters(), []);
    let panics = (0..shared.flushes.load(Ordering::Relaxed)).filter(|flush| at_flush(*flush));
    let panics = panics.count();
    assert!(panics > 0);
    assert_eq!(shared.builds.load(Ordering::Relaxed), 1 + panics);
    // What the flush had written before it panicked comes twice, and in order again.
    let mut seen = BTreeSet::new();
    let first: Vec<usize> = written.into_iter().filter(|it| seen.insert(*it)).collect();
    assert_once_and_in_order(&first, |_| false);
    assert_eq!(ended.registry.restarts.get(), 0);
}

#[test]
fn a_sink_that_cannot_be_built_anew_is_started_again_and_loses_nothing() {
    let (ended, written, _) = run(Trouble {
        at_event: |number, attempt| number == 1_234 && attempt == 1,
        at_build: |build| (1..4).contains(&build),
        ..NONE
    });
    assert_once_and_in_order(&written, |_| false);
    assert_eq!(ended.registry.restarts.get(), 3);
}

#[test]
fn a_panic_of_a_delivery_costs_an_attempt_and_nothing_comes_twice() {
    let (ended, written, shared) = run(Trouble {
        is_async: true,
        at_event: |number, attempt| number % 100 == 42 && attempt <= 2,
        ..NONE
    });
    assert_once_and_in_order(&written, |_| false);
    assert_eq!(ended.registry.dead_letters(), []);
    assert_eq!(shared.builds.load(Ordering::Relaxed), 1 + 2 * 50);
    assert_eq!(ended.registry.restarts.get(), 0);
}

#[test]
fn an_event_whose_delivery_always_panics_is_set_aside() {
    let (ended, written, _) = run(Trouble {
        is_async: true,
        at_event: |number, _| number % 100 == 42,
        ..NONE
    });
    assert_once_and_in_order(&written, |number| number % 100 == 42);
    assert_poison(&ended, |number| number % 100 == 42);
}

#[test]
fn a_sink_that_waits_and_cannot_be_built_anew_is_started_again_and_loses_nothing() {
    let (ended, written, _) = run(Trouble {
        is_async: true,
        at_event: |number, attempt| number == 1_234 && attempt == 1,
        at_build: |build| (1..4).contains(&build),
        ..NONE
    });
    let distinct: BTreeSet<usize> = written.iter().copied().collect();
    assert_eq!(distinct.len(), EVENTS);
    assert_eq!(ended.registry.restarts.get(), 3);
}
