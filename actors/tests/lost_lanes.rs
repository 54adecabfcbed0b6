//! Lanes that are lost at bad moments: no event is lost, repeated or blamed for another one, and each attempt counts once.

#[path = "support/pipeline.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod pipeline;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pipeline::{Ended, Limits, Pipeline, number};
use veltrix_actors::{
    AsyncHandler, Backoff, Event, ExitReason, FailureClass, FaultAction, FaultPlan, Handler,
    HandlerError, HandlerFactory, Injection, LaneHandler, Output, PointPattern, Reply, ReplyResult,
    StartError, When,
};

const EVENTS: usize = 5_000;
const DEADLINE: Duration = Duration::from_millis(400);
const HUNG: &str = "the handler hung on it";

/// Where calls hang until it is opened, which each test does at its end.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (is_open, opened) = &*self.0;
        let is_open = is_open.lock().expect("no test panicked");
        let guard = opened.wait_while(is_open, |is_open| !*is_open);
        drop(guard.expect("no test panicked"));
    }

    fn open(&self) {
        let (is_open, opened) = &*self.0;
        *is_open.lock().expect("no test panicked") = true;
        opened.notify_all();
    }
}

type Call = dyn Fn(usize, usize) -> Result<(), HandlerError> + Send + Sync;
type Build = dyn Fn(usize, usize) -> Result<(), StartError> + Send + Sync;

/// Passes events on after what the test does at each.
#[derive(Clone)]
struct Tried {
    /// Called with the lane and the event's number.
    call: Arc<Call>,
    /// Called with the lane and the number of builds before.
    build: Arc<Build>,
    builds: Arc<AtomicUsize>,
    /// Handlers that were dropped.
    dropped: Arc<AtomicUsize>,
    panics_when_dropped: bool,
}

/// One lane's handler.
struct Lane {
    lane: usize,
    tried: Tried,
}

impl Tried {
    fn new(
        call: impl Fn(usize, usize) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            call: Arc::new(call),
            build: Arc::new(|_, _| Ok(())),
            builds: Arc::default(),
            dropped: Arc::default(),
            panics_when_dropped: false,
        }
    }

    fn built_if(
        mut self,
        build: impl Fn(usize, usize) -> Result<(), StartError> + Send + Sync + 'static,
    ) -> Self {
        self.build = Arc::new(build);
        self
    }

    /// One that is watched if there is a deadline.
    fn pipeline(self, lanes: usize, attempts: u32, deadline: Option<Duration>) -> Pipeline {
        Pipeline {
            events: EVENTS,
            lanes,
            attempts,
            max_restarts: 100,
            deadline,
            handler: Arc::new(self),
            limits: Limits::default(),
        }
    }
}

impl HandlerFactory for Tried {
    fn build(&self, lane: usize) -> Result<LaneHandler, StartError> {
        (self.build)(lane, self.builds.fetch_add(1, SeqCst))?;
        let tried = self.clone();
        Ok(LaneHandler::Sync(Box::new(Lane { lane, tried })))
    }
}

impl Handler for Lane {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        out.pass()?;
        (self.tried.call)(self.lane, number(event))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.tried.dropped.fetch_add(1, SeqCst);
        assert!(!self.tried.panics_when_dropped, "it is a bomb");
    }
}

fn not_there() -> StartError {
    StartError("it is not there".to_owned())
}

fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

/// The attempts at the event of one dead letter.
type Attempts<'a> = Vec<(FailureClass, &'a str)>;

/// All events came once and in the order of their key, but for the dead letters, whose attempts these are.
fn assert_ended(ended: &Ended, dead: &[(usize, Attempts<'_>)]) {
    assert_eq!(ended.exit, ExitReason::Normal);
    let mut last: HashMap<usize, usize> = HashMap::new();
    for number in &ended.numbers {
        let before = last.insert(number % 7, *number);
        assert!(before.is_none_or(|before| before < *number), "{number}");
    }
    let mut letters = Vec::new();
    for letter in &ended.dead_letters {
        let attempts = &letter.failure.attempts;
        let kept = attempts.kept().iter();
        let kept: Attempts<'_> = kept.map(|one| (one.class, &*one.reason)).collect();
        assert_eq!(attempts.count() as usize, kept.len());
        letters.push((number(&letter.event()), kept));
    }
    letters.sort_by_key(|(number, _)| *number);
    assert_eq!(letters, dead);
    let is_dead = |number: &usize| dead.iter().any(|(dead, _)| dead == number);
    let mut missing =
        (0..EVENTS).filter(|number| !is_dead(number) && !ended.numbers.contains(number));
    assert_eq!(missing.next(), None);
    // None of them twice, by the order.
    assert_eq!(ended.numbers.len(), EVENTS - dead.len());
    assert!(ended.registry.is_balanced());
    let finished = ended.registry.source("numbers").finished.get();
    assert_eq!(finished, EVENTS as u64);
    assert_eq!(ended.registry.credits_in_use.get(), 0);
}

/// So many calls hung, and with the gate open all their threads end.
fn assert_hung(ended: &Ended, calls: usize, gate: &Gate) {
    let hangs = ended.registry.handler("tried").hangs.get();
    assert_eq!(hangs, calls as u64);
    gate.open();
    wait_until(|| ended.leaked.count() == 0);
}

#[test]
fn a_lane_that_is_to_start_on_a_thread_where_its_neighbour_hangs_starts_on_another_one() {
    let gate = Gate::default();
    // The lane that died, plus one.
    let died = Arc::new(AtomicUsize::new(0));
    let hung = AtomicBool::new(false);
    let (hangs, dies) = (gate.clone(), died.clone());
    let tried = Tried::new(move |lane, number| {
        let died = dies.load(SeqCst);
        if number > 500 && died == 0 {
            dies.store(lane + 1, SeqCst);
            panic!("it dies");
        }
        if died != 0 && died != lane + 1 && !hung.swap(true, SeqCst) {
            hangs.wait();
        }
        Ok(())
    });
    let failed = AtomicBool::new(false);
    let dead = died.clone();
    let tried = tried.built_if(move |lane, _| {
        let fails = dead.load(SeqCst) == lane + 1 && !failed.swap(true, SeqCst);
        if fails { Err(not_there()) } else { Ok(()) }
    });
    let mut pipeline = tried.pipeline(2, 3, Some(DEADLINE));
    // The neighbour hangs by the time that the lane is to start again.
    pipeline.limits.backoff.min = DEADLINE / 4;
    pipeline.limits.backoff.max = DEADLINE / 4;
    let ended = pipeline.run();
    assert_ended(&ended, &[]);
    assert_ne!(died.load(SeqCst), 0);
    assert_hung(&ended, 1, &gate);
    // Of the lane that died and of the one that hung; to be displaced costs none.
    assert_eq!(ended.registry.restarts.get(), 2);
}

#[test]
fn a_hang_counts_once_however_long_the_restart_takes() {
    let (gate, hung) = (Gate::default(), AtomicBool::new(false));
    let hangs = gate.clone();
    let tried = Tried::new(move |_, number| {
        if number == 77 && !hung.swap(true, SeqCst) {
            hangs.wait();
        }
        Ok(())
    });
    let mut pipeline = tried.pipeline(1, 3, Some(DEADLINE));
    pipeline.limits.backoff = Backoff {
        min: DEADLINE * 3,
        max: DEADLINE * 3,
        jitter: 0.0,
    };
    let ended = pipeline.run();
    assert_ended(&ended, &[]);
    assert_hung(&ended, 1, &gate);
    assert_eq!(ended.registry.restarts.get(), 1);
}

#[test]
fn a_lane_that_wakes_up_late_does_not_hide_that_its_successor_hangs() {
    let (first, second) = (Gate::default(), Gate::default());
    let hung = [const { AtomicBool::new(false) }; 2];
    let (wakes, hangs) = (first.clone(), second.clone());
    let tried = Tried::new(move |_, number| {
        if number == 77 && !hung[0].swap(true, SeqCst) {
            wakes.wait();
        }
        if number == 1_000 && !hung[1].swap(true, SeqCst) {
            wakes.open();
            hangs.wait();
        }
        Ok(())
    });
    let ended = tried.pipeline(1, 3, Some(DEADLINE)).run();
    assert_ended(&ended, &[]);
    assert_hung(&ended, 2, &second);
}

#[test]
fn attempts_at_events_that_are_through_hold_no_memory() {
    let failed = [const { AtomicBool::new(false) }; 4];
    let tried = Tried::new(move |lane, number| {
        if number >= 200 * lane + 100 && !failed[lane].swap(true, SeqCst) {
            return Err(HandlerError::retryable("once"));
        }
        Ok(())
    });
    let mut pipeline = tried.pipeline(4, 3, None);
    // Less than a batch for each lane.
    pipeline.limits.memory_bytes = 20_000;
    let ended = pipeline.run();
    assert_ended(&ended, &[]);
    assert_eq!(ended.registry.handler("tried").retries.get(), 4);
}

#[test]
fn a_handler_that_panics_when_its_actor_is_lost_costs_no_more_than_a_restart() {
    let mut tried = Tried::new(|_, _| Ok(()));
    tried.panics_when_dropped = true;
    let dropped = tried.dropped.clone();
    let when = When {
        probability: Some(0.001),
        ..When::default()
    };
    let plan = FaultPlan {
        seed: 1,
        injections: vec![Injection {
            at: PointPattern::new("handler.tried"),
            action: FaultAction::AbortActor,
            when,
        }],
    };
    let ended = tried.pipeline(1, 3, None).run_with(plan);
    assert_ended(&ended, &[]);
    let restarts = ended.registry.restarts.get();
    assert!(restarts > 0);
    assert_eq!(dropped.load(SeqCst) as u64, restarts + 1);
}

#[test]
fn a_panic_counts_even_if_the_handler_cannot_be_built_anew() {
    let tried = Tried::new(|_, number| {
        assert!(number != 77, "poison");
        Ok(())
    });
    let tried = tried.built_if(|_, before| match before % 2 {
        0 => Ok(()),
        _ => Err(not_there()),
    });
    let ended = tried.pipeline(1, 2, None).run();
    let panic = (FailureClass::Panic, "poison");
    assert_ended(&ended, &[(77, vec![panic; 2])]);
    assert_eq!(ended.registry.restarts.get(), 2);
}

#[test]
fn an_error_of_a_lane_that_wakes_up_late_is_no_attempt() {
    let (gate, tries) = (Gate::default(), AtomicUsize::new(0));
    let dropped = Arc::new(AtomicUsize::new(0));
    let (wakes, gone) = (gate.clone(), dropped.clone());
    let mut tried = Tried::new(move |_, number| {
        if number != 77 {
            return Ok(());
        }
        let before = tries.fetch_add(1, SeqCst);
        if before == 0 {
            wakes.wait();
        }
        if before == 1 {
            wakes.open();
            wait_until(|| gone.load(SeqCst) > 0);
        }
        Err(HandlerError::retryable(format!("attempt {before}")))
    });
    tried.dropped = dropped;
    let ended = tried.pipeline(1, 3, Some(DEADLINE)).run();
    let attempts = vec![
        (FailureClass::Timeout, HUNG),
        (FailureClass::Error, "attempt 1"),
        (FailureClass::Error, "attempt 2"),
    ];
    assert_ended(&ended, &[(77, attempts)]);
    assert_hung(&ended, 1, &gate);
}

#[test]
fn events_that_hang_in_every_lane_of_a_thread_are_given_up_and_nothing_else_is() {
    let gate = Gate::default();
    let hangs = gate.clone();
    let tried = Tried::new(move |_, number| {
        if (700..707).contains(&number) {
            hangs.wait();
        }
        Ok(())
    });
    let ended = tried.pipeline(4, 2, Some(DEADLINE)).run();
    let hung = (FailureClass::Timeout, HUNG);
    let dead: Vec<_> = (700..707).map(|number| (number, vec![hung; 2])).collect();
    assert_ended(&ended, &dead);
    assert_hung(&ended, 7 * 2, &gate);
}

/// Panics at one event while it waits; one of its builds hangs.
#[derive(Clone, Default)]
struct Asynchronous {
    gate: Gate,
    builds: Arc<AtomicUsize>,
}

impl HandlerFactory for Asynchronous {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        if self.builds.fetch_add(1, SeqCst) == 1 {
            self.gate.wait();
        }
        Ok(LaneHandler::Async(Box::new(self.clone())))
    }
}

impl AsyncHandler for Asynchronous {
    fn handle(
        &mut self,
        event: &Event<'_>,
    ) -> LocalBoxFuture<'static, Result<Reply, HandlerError>> {
        let number = number(event);
        async move {
            tokio::task::yield_now().await;
            assert!(number != 77, "poison");
            Ok(Reply::Results(vec![ReplyResult::Pass]))
        }
        .boxed_local()
    }
}

#[test]
fn a_build_that_hangs_after_a_panic_is_an_attempt_at_the_event_like_the_panic() {
    let handler = Asynchronous::default();
    let pipeline = Pipeline {
        handler: Arc::new(handler.clone()),
        ..Tried::new(|_, _| Ok(())).pipeline(1, 3, Some(DEADLINE))
    };
    let ended = pipeline.run();
    let panic = (FailureClass::Panic, "poison");
    let attempts = vec![panic, (FailureClass::Timeout, HUNG), panic];
    assert_ended(&ended, &[(77, attempts)]);
    assert_hung(&ended, 1, &handler.gate);
}

#[test]
fn two_events_of_one_batch_that_hang_are_both_given_up_after_their_attempts() {
    let gate = Gate::default();
    let hangs = gate.clone();
    let tried = Tried::new(move |_, number| {
        if number == 77 || number == 79 {
            hangs.wait();
        }
        Ok(())
    });
    let ended = tried.pipeline(1, 2, Some(DEADLINE)).run();
    let hung = (FailureClass::Timeout, HUNG);
    assert_ended(&ended, &[(77, vec![hung; 2]), (79, vec![hung; 2])]);
    assert_hung(&ended, 2 * 2, &gate);
}

#[test]
fn a_poison_event_stays_given_up_when_one_behind_it_hangs() {
    let gate = Gate::default();
    let hangs = gate.clone();
    let tried = Tried::new(move |_, number| match number {
        77 => Err(HandlerError::permanent("poison")),
        79 => {
            hangs.wait();
            Ok(())
        }
        _ => Ok(()),
    });
    let ended = tried.pipeline(1, 2, Some(DEADLINE)).run();
    let hung = (FailureClass::Timeout, HUNG);
    let poison = (FailureClass::Error, "poison");
    assert_ended(&ended, &[(77, vec![poison]), (79, vec![hung; 2])]);
    assert_hung(&ended, 2, &gate);
}
