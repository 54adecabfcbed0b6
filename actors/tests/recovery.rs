//! What a handler that panics or cannot be built costs: its own event or a restart, and nobody else's events.

#[path = "support/pipeline.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod pipeline;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pipeline::{Ended, Limits, Pipeline, number};
use veltrix_actors::{
    Event, ExitReason, FailureClass, Handler, HandlerError, HandlerFactory, LaneHandler, Output,
    StartError,
};

/// Passes events on but panics at those of `poison`; some of its builds fail.
#[derive(Clone)]
struct Tried {
    poison: fn(usize) -> bool,
    build_fails: fn(usize) -> bool,
    builds: Arc<AtomicUsize>,
}

impl Tried {
    fn new(poison: fn(usize) -> bool, build_fails: fn(usize) -> bool) -> Self {
        Self {
            poison,
            build_fails,
            builds: Arc::default(),
        }
    }
}

impl HandlerFactory for Tried {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        let before = self.builds.fetch_add(1, Ordering::Relaxed);
        match (self.build_fails)(before) {
            true => Err(StartError("it is not there".to_owned())),
            false => Ok(LaneHandler::Sync(Box::new(self.clone()))),
        }
    }
}

impl Handler for Tried {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        out.pass()?;
        assert!(!(self.poison)(number(event)), "{} is poison", number(event));
        Ok(())
    }
}

fn run(events: usize, lanes: usize, max_restarts: usize, tried: &Tried) -> Ended {
    let pipeline = Pipeline {
        events,
        lanes,
        attempts: 3,
        max_restarts,
        deadline: None,
        handler: Arc::new(tried.clone()),
        limits: Limits::default(),
    };
    pipeline.run()
}

/// All events but those of `poison` came once, and in the order of their key.
fn assert_delivered(ended: &Ended, events: usize, poison: fn(usize) -> bool) {
    let mut last: HashMap<usize, usize> = HashMap::new();
    for number in &ended.numbers {
        let before = last.insert(number % 7, *number);
        assert!(before.is_none_or(|before| before < *number), "{number}");
    }
    let expected = (0..events).filter(|number| !poison(*number)).count();
    assert_eq!(ended.numbers.len(), expected);
    assert!(ended.registry.is_balanced());
    let source = ended.registry.source("numbers");
    assert_eq!(source.finished.get(), events as u64);
}

#[test]
fn a_panicking_event_is_given_up_after_its_attempts_and_its_neighbours_go_on_in_order() {
    veltrix_actors::install_panic_hook();
    let poison = |number: usize| number % 100 == 42;
    let tried = Tried::new(poison, |_| false);
    let ended = run(5_000, 3, 0, &tried);
    assert_eq!(ended.exit, ExitReason::Normal);
    assert_delivered(&ended, 5_000, poison);
    let dead = (("handler.tried".to_owned(), "panic"), 50);
    assert_eq!(ended.registry.dead_letters(), [dead]);
    assert_eq!(ended.dead_letters.len(), 50);
    for letter in &ended.dead_letters {
        let (number, failure) = (number(&letter.event()), &letter.failure);
        assert!(poison(number));
        assert_eq!(&*failure.reason, format!("{number} is poison"));
        let classes: Vec<FailureClass> = failure
            .attempts
            .kept()
            .iter()
            .map(|one| one.class)
            .collect();
        assert_eq!(
            (failure.attempts.count(), classes),
            (3, vec![FailureClass::Panic; 3])
        );
    }
    let mut backtraces = ended
        .dead_letters
        .iter()
        .map(|letter| &letter.failure.backtrace);
    assert!(backtraces.all(Option::is_some));
    let mut story = String::new();
    ended.dead_letters[0].write_story(&mut story);
    assert!(
        story.contains("Tried as veltrix_actors::handler::Handler"),
        "{story}"
    );
    let stats = ended.registry.handler("tried");
    assert_eq!((stats.panics.get(), stats.retries.get()), (150, 100));
    // One for each lane, and one after each panic.
    assert_eq!(tried.builds.load(Ordering::Relaxed), 3 + 150);
}

#[test]
fn a_lane_that_cannot_start_at_first_is_started_again() {
    let tried = Tried::new(|_| false, |build| build < 3);
    let ended = run(1_000, 1, 5, &tried);
    assert_eq!(ended.exit, ExitReason::Normal);
    assert_delivered(&ended, 1_000, |_| false);
    assert_eq!(ended.registry.restarts.get(), 3);
}

#[test]
fn a_lane_that_never_starts_uses_the_restarts_up() {
    let tried = Tried::new(|_| false, |_| true);
    let ended = run(1_000, 2, 4, &tried);
    let ExitReason::Failed(reason) = ended.exit else {
        panic!("{:?}", ended.exit);
    };
    assert_eq!(reason, "lane-0: it is not there");
    assert_eq!(tried.builds.load(Ordering::Relaxed), 5);
    assert_eq!(ended.numbers.len(), 0);
}

#[test]
fn a_lane_that_dies_leaves_its_events_to_the_next_one_in_order() {
    // The first panic's rebuild fails twice: the lane dies with batches in hand, in its mailbox and on their way.
    let tried = Tried::new(
        |number| number == 1_234,
        |build| (3..5).contains(&build) || (6..9).contains(&build),
    );
    let ended = run(20_000, 3, 10, &tried);
    assert_eq!(ended.exit, ExitReason::Normal);
    assert_delivered(&ended, 20_000, |number| number == 1_234);
    assert_eq!(ended.registry.restarts.get(), 5);
    assert_eq!(ended.registry.credits_in_use.get(), 0);
    assert_eq!(ended.leaked.count(), 0);
}
