//! Sinks and sources that panic when their actors are lost and drop them: it costs a restart, not the process.

#[path = "support/pipeline.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod pipeline;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pipeline::{Ended, Limits, Numbers, Pipeline, number};
use veltrix_actors::{
    AnySink, AsyncSink, Consignment, DeliveryError, Event, ExitReason, FaultAction, FaultPlan,
    FlushError, Handler, HandlerError, HandlerFactory, Injection, LaneHandler, Only, Output,
    PointPattern, Sink, SinkFactory, Source, SourceFactory, SourcePort, StartError, When,
};

const EVENTS: usize = 5_000;
/// Events at which an actor is lost.
const LOST_AT: [usize; 3] = [1_234, 2_345, 3_456];

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

/// Goes off when it is dropped, and counts that.
#[derive(Clone, Default)]
struct Fuse(Arc<AtomicUsize>);

struct Bomb(Fuse);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        panic!("it is a bomb");
    }
}

#[derive(Clone, Default)]
struct Tried {
    is_async: bool,
    fuse: Fuse,
    written: Arc<Mutex<Vec<usize>>>,
}

struct Armed {
    tried: Tried,
    waiting: Vec<usize>,
    _bomb: Bomb,
}

impl SinkFactory for Tried {
    fn build(&self) -> Result<AnySink, StartError> {
        let armed = Box::new(Armed {
            tried: self.clone(),
            waiting: Vec::new(),
            _bomb: Bomb(self.fuse.clone()),
        });
        Ok(match self.is_async {
            false => AnySink::Sync(armed),
            true => AnySink::Async(armed),
        })
    }
}

impl Sink for Armed {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        self.waiting.push(number(event));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        let mut written = self.tried.written.lock().expect("set up by the test");
        written.append(&mut self.waiting);
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.waiting.len()
    }
}

impl AsyncSink for Armed {
    fn deliver(
        &mut self,
        _: usize,
        events: Consignment,
    ) -> LocalBoxFuture<'static, Result<(), DeliveryError>> {
        let written = self.tried.written.clone();
        let numbers: Vec<usize> = events.iter().map(|event| number(&event)).collect();
        async move {
            tokio::task::yield_now().await;
            written.lock().expect("set up by the test").extend(numbers);
            Ok(())
        }
        .boxed_local()
    }

    /// One, so that no two deliveries are lost at once.
    fn slots(&self) -> usize {
        1
    }

    fn events_per_delivery(&self) -> usize {
        10
    }
}

/// Numbers that are armed until they have come to their end.
#[derive(Clone)]
struct ArmedNumbers {
    numbers: Numbers,
    fuse: Fuse,
}

impl SourceFactory for ArmedNumbers {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(self.clone()))
    }
}

impl Source for ArmedNumbers {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        let bomb = Bomb(self.fuse);
        let run = Box::new(self.numbers).run(port);
        async move {
            let ended = run.await;
            std::mem::forget(bomb);
            ended
        }
        .boxed_local()
    }
}

fn pipeline() -> Pipeline {
    Pipeline {
        events: EVENTS,
        lanes: 2,
        attempts: 3,
        max_restarts: 100,
        deadline: None,
        handler: Arc::new(Pass),
        limits: Limits::default(),
    }
}

/// The component's actor is lost at each of [`LOST_AT`].
fn aborts(at: &str) -> FaultPlan {
    let abort = |number: &usize| Injection {
        at: PointPattern::new(at),
        action: FaultAction::AbortActor,
        when: When {
            only: Only {
                id: Some(number.to_string()),
                ..Only::default()
            },
            ..When::default()
        },
    };
    FaultPlan {
        seed: 1,
        injections: LOST_AT.iter().map(abort).collect(),
    }
}

/// All events came once, each key in order, and each loss cost one restart; so many bombs went off.
fn assert_ended(ended: &Ended, numbers: &[usize], fuse: &Fuse, bombs: usize) {
    assert_eq!(ended.exit, ExitReason::Normal);
    let mut last = HashMap::new();
    for number in numbers {
        let before = last.insert(number % 7, number);
        assert!(before < Some(number), "{number} after {before:?}");
    }
    assert_eq!(numbers.len(), EVENTS);
    assert_eq!(ended.registry.dead_letters(), []);
    assert!(ended.registry.is_balanced());
    assert_eq!(ended.registry.restarts.get(), LOST_AT.len() as u64);
    assert_eq!(fuse.0.load(Ordering::Relaxed), bombs);
}

fn run_into_armed(is_async: bool) {
    let tried = Tried {
        is_async,
        ..Tried::default()
    };
    let ended = pipeline().run_into(Arc::new(tried.clone()), aborts("sink.collect"));
    let numbers = tried.written.lock().expect("set up by the test");
    // The last one is dropped at the end.
    assert_ended(&ended, &numbers, &tried.fuse, LOST_AT.len() + 1);
}

#[test]
fn a_sink_that_panics_when_its_actor_is_lost_costs_a_restart() {
    run_into_armed(false);
}

#[test]
fn a_sink_that_waits_and_panics_when_its_actor_is_lost_costs_a_restart() {
    run_into_armed(true);
}

#[test]
fn a_source_that_panics_when_its_actor_is_lost_costs_a_restart() {
    let armed = ArmedNumbers {
        numbers: Numbers::new(EVENTS),
        fuse: Fuse::default(),
    };
    let ended = pipeline().run_from(Arc::new(armed.clone()), aborts("source.numbers"));
    assert_ended(&ended, &ended.numbers, &armed.fuse, LOST_AT.len());
}
