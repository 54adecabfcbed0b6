//! What a handler that does not return costs: its lane goes on without it, and whoever wakes up late is not heard.

#[path = "support/pipeline.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod pipeline;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use pipeline::{Ended, Limits, Pipeline, number};
use veltrix_actors::{
    Event, ExitReason, Handler, HandlerError, HandlerFactory, LaneHandler, Output, StartError,
};

const DEADLINE: Duration = Duration::from_millis(400);

/// Passes events on, but waits at some of them until the gate is opened.
#[derive(Clone)]
struct Hangs {
    at: usize,
    /// How many calls hang.
    calls: usize,
    /// The event at which the gate is opened for who waits.
    opens_at: usize,
    gate: Arc<(Mutex<bool>, Condvar)>,
    hung: Arc<AtomicUsize>,
    woken: Arc<AtomicUsize>,
}

impl Hangs {
    fn new(at: usize, calls: usize, opens_at: usize) -> Self {
        Self {
            at,
            calls,
            opens_at,
            gate: Arc::default(),
            hung: Arc::default(),
            woken: Arc::default(),
        }
    }

    fn wait(&self) {
        let (is_open, opened) = &*self.gate;
        let is_open = is_open.lock().expect("no test panicked");
        let guard = opened.wait_while(is_open, |is_open| !*is_open);
        drop(guard.expect("no test panicked"));
        self.woken.fetch_add(1, Ordering::AcqRel);
    }

    fn open(&self) {
        let (is_open, opened) = &*self.gate;
        *is_open.lock().expect("no test panicked") = true;
        opened.notify_all();
    }
}

impl HandlerFactory for Hangs {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Sync(Box::new(self.clone())))
    }
}

impl Handler for Hangs {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        let number = number(event);
        out.pass()?;
        if number == self.opens_at {
            self.open();
            // Only once all are awake does the test go on: what they do then is what is tried.
            while self.woken.load(Ordering::Acquire) < self.calls {
                std::thread::yield_now();
            }
        }
        if number == self.at && self.hung.fetch_add(1, Ordering::AcqRel) < self.calls {
            self.wait();
        }
        Ok(())
    }
}

fn run(events: usize, lanes: usize, max_restarts: usize, hangs: &Hangs) -> Ended {
    let pipeline = Pipeline {
        events,
        lanes,
        attempts: 3,
        max_restarts,
        deadline: Some(DEADLINE),
        handler: Arc::new(hangs.clone()),
        limits: Limits::default(),
    };
    pipeline.run()
}

/// All events but `missing` came once, and in the order of their key.
fn assert_delivered(ended: &Ended, events: usize, missing: Option<usize>) {
    assert_eq!(ended.exit, ExitReason::Normal);
    let mut last: HashMap<usize, usize> = HashMap::new();
    for number in &ended.numbers {
        let before = last.insert(number % 7, *number);
        assert!(before.is_none_or(|before| before < *number), "{number}");
    }
    let mut numbers = ended.numbers.clone();
    numbers.sort_unstable();
    let expected = (0..events).filter(|number| Some(*number) != missing);
    assert_eq!(numbers, expected.collect::<Vec<_>>());
    assert!(ended.registry.is_balanced());
    assert_eq!(ended.registry.credits_in_use.get(), 0);
}

fn wait_until_reaped(ended: &Ended) {
    while ended.leaked.count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_lane_that_hangs_is_replaced_and_the_one_that_wakes_up_late_is_fenced() {
    let hangs = Hangs::new(1_234, 1, 9_000);
    let ended = run(20_000, 3, 1, &hangs);
    assert_delivered(&ended, 20_000, None);
    let stats = ended.registry.handler("tried");
    assert_eq!((stats.hangs.get(), stats.dead_lettered.get()), (1, 0));
    wait_until_reaped(&ended);
}

#[test]
fn an_event_that_always_hangs_is_given_up_after_its_attempts() {
    let hangs = Hangs::new(77, usize::MAX, usize::MAX);
    let ended = run(5_000, 2, 5, &hangs);
    assert_delivered(&ended, 5_000, Some(77));
    assert_eq!(ended.registry.handler("tried").hangs.get(), 3);
    let dead = (("handler.tried".to_owned(), "timeout"), 1);
    assert_eq!(ended.registry.dead_letters(), [dead]);
    let [letter] = &ended.dead_letters[..] else {
        panic!("{:?}", ended.dead_letters);
    };
    assert_eq!(letter.failure.attempts.count(), 3);
    assert_eq!(ended.leaked.count(), 3);
    hangs.open();
    wait_until_reaped(&ended);
}
