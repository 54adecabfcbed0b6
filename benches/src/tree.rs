//! A small tree of Veltrix's actors, without files and sockets: one source, the router, handlers of one lane
//! each, and a sink that only counts. What it costs is what the actors cost.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_rt::{Arbiter, System};
use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    AnySink, Backoff, DeadLetterSpec, Durability, Event, FlushError, Handler, HandlerError,
    HandlerFactory, KeySelector, LaneHandler, LaneSlot, LaneSpec, Lifeline, MemoryBudget, Output,
    Registry, RetryPolicy, RootWatch, Route, RouterPlace, RouterSpec, Sink, SinkFactory, SinkSpec,
    Source, SourceFactory, SourcePlace, SourcePort, SourceSpec, StartError, Target, TypePattern,
    TypeTable, Unmatched, Worker, start_dead_letters, start_lane, start_router, start_sink,
    start_source,
};

use crate::feed::Feed;

/// Bytes of events that may be under way at once: the default of `service.memory`.
const MEMORY_BYTES: usize = 256 * 1024 * 1024;
const MAX_HOPS: u16 = 16;

/// What the handlers do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Work {
    /// Nothing: the event is finished in the lane.
    Finish,
    /// The event goes to the sink as itself.
    Pass,
}

/// A tree to run.
pub(crate) struct Plan {
    /// One handler each.
    pub(crate) patterns: Vec<String>,
    pub(crate) work: Work,
    /// Threads for the lanes; source, router and sink share the main one, as they do in the process.
    pub(crate) workers: usize,
    pub(crate) types: Arc<TypeTable>,
    pub(crate) feed: Feed,
    /// What the sink does with an event beside counting it.
    pub(crate) observe: Option<Observer>,
}

/// Looks at each event that reaches the sink.
pub(crate) type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// What a run used, from the first event handed over until the last is finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) events: u64,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) allocations: u64,
}

impl Figures {
    /// CPU nanoseconds of all threads per event.
    pub(crate) fn cpu_per_event_ns(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.events.max(1) as f64
    }

    /// Heap allocations (and reallocations) per event.
    pub(crate) fn allocations_per_event(&self) -> f64 {
        self.allocations as f64 / self.events.max(1) as f64
    }
}

/// Clocks and counters at one moment.
#[derive(Clone, Copy)]
struct Mark {
    cpu: Duration,
    at: Instant,
    allocations: u64,
}

impl Mark {
    fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let heap = crate::HEAP.stats();
        Self {
            cpu: Duration::new(cpu.tv_sec.unsigned_abs(), cpu.tv_nsec.unsigned_abs() as u32),
            at: Instant::now(),
            allocations: (heap.allocations + heap.reallocations) as u64,
        }
    }
}

/// Runs the tree until every event is finished.
pub(crate) fn run(plan: Plan) -> anyhow::Result<Figures> {
    let registry = Arc::new(Registry::default());
    System::new().block_on(async {
        let workers = (0..plan.workers.max(1)).map(|_| Worker::start(&Arc::default()));
        let workers: Vec<Arc<Worker>> = workers.collect();
        let (start, end) = run_on(plan, &workers, &registry).await?;
        for worker in &workers {
            worker.stop();
        }
        figures(start, end, &registry)
    })
}

async fn run_on(
    plan: Plan,
    workers: &[Arc<Worker>],
    registry: &Arc<Registry>,
) -> anyhow::Result<(Mark, Mark)> {
    let core = Arbiter::current();
    let budget = MemoryBudget::new(MEMORY_BYTES);
    let (router, dead_letters, sink) = (Inlet::new(), Inlet::new(), Inlet::new());
    let lifeline = Lifeline::root().0;
    let counting = DeadLetterSpec::counting(registry.clone());
    start_dead_letters(counting, dead_letters.clone(), &core, lifeline);
    let sink_spec = SinkSpec {
        name: "count".into(),
        factory: Arc::new(CountFactory {
            observe: plan.observe,
        }),
        dead_letters: dead_letters.clone(),
        registry: registry.clone(),
    };
    start_sink(sink_spec, sink.clone(), &core, Lifeline::root().0);
    let lane_spec = LaneSpec {
        service: "bench".into(),
        handler: "bench".into(),
        factory: Arc::new(WorkFactory { work: plan.work }),
        targets: vec![Target {
            sink: Some(registry.sink("count")),
            ..Target::of(&sink)
        }],
        dead_letters: dead_letters.clone(),
        unmatched: Unmatched::Drop,
        attempts: 1,
        deadline: None,
        backoff: Backoff::default(),
        breaker: None,
        types: plan.types.clone(),
        budget: budget.clone(),
        registry: registry.clone(),
    };
    let (routes, started) = start_handlers(&plan.patterns, &lane_spec, workers)?;
    let place = RouterPlace::new(RouterSpec {
        routes,
        unmatched: Unmatched::Drop,
        dead_letters,
        max_hops: MAX_HOPS,
        registry: registry.clone(),
        faults: None,
    });
    start_router(place, router.clone(), &core, Lifeline::root().0);
    let start = Arc::new(Mutex::new(None));
    let factory = FeedFactory {
        feed: Mutex::new(Some(plan.feed)),
        start: start.clone(),
    };
    let source_spec = SourceSpec {
        factory: Arc::new(factory),
        place: SourcePlace {
            name: "feed".into(),
            next: router,
            durability: Durability::None,
            types: plan.types,
            budget,
            registry: registry.clone(),
        },
    };
    // Ten thousand lanes take a while to start, which is not what is measured.
    for lane in started {
        lane.started.await.context("a lane did not start")?;
    }
    let (lifeline, RootWatch { exited, .. }) = Lifeline::root();
    start_source(source_spec, &core, lifeline);
    exited.await.context("the source vanished")?;
    let end = Mark::now();
    let start = *start.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((start.context("the source never ran")?, end))
}

fn start_handlers(
    patterns: &[String],
    spec: &LaneSpec,
    workers: &[Arc<Worker>],
) -> anyhow::Result<(Vec<Route>, Vec<RootWatch>)> {
    let (mut routes, mut started) = (Vec::new(), Vec::new());
    for (index, pattern) in patterns.iter().enumerate() {
        let slot = LaneSlot::new(workers[index % workers.len()].clone());
        let mut spec = spec.clone();
        spec.handler = format!("bench-{index}").into();
        let (lifeline, watch) = Lifeline::root();
        start_lane(spec, 0, &slot, lifeline);
        started.push(watch);
        routes.push(Route {
            patterns: vec![
                TypePattern::parse(pattern).with_context(|| format!("pattern `{pattern}`"))?,
            ],
            key: KeySelector::default(),
            lanes: vec![slot.inlet().clone()],
            is_conditional: false,
        });
    }
    Ok((routes, started))
}

/// A run that lost or dropped an event measures nothing. Looked at when no actor counts any more.
fn figures(start: Mark, end: Mark, registry: &Registry) -> anyhow::Result<Figures> {
    anyhow::ensure!(registry.is_balanced(), "the ledger does not balance");
    anyhow::ensure!(
        registry.dropped().is_empty(),
        "events were dropped: {:?}",
        registry.dropped()
    );
    anyhow::ensure!(
        registry.dead_letters().is_empty(),
        "dead letters: {:?}",
        registry.dead_letters()
    );
    Ok(Figures {
        events: registry.source("feed").finished.get(),
        cpu: end.cpu.saturating_sub(start.cpu),
        wall: end.at.saturating_duration_since(start.at),
        allocations: end.allocations - start.allocations,
    })
}

struct FeedFactory {
    /// Taken by the one start of the source.
    feed: Mutex<Option<Feed>>,
    // Shared with the harness, which reads it when the source has ended.
    start: Arc<Mutex<Option<Mark>>>,
}

struct FeedSource {
    feed: Feed,
    // See `FeedFactory`.
    start: Arc<Mutex<Option<Mark>>>,
}

impl SourceFactory for FeedFactory {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        let feed = self
            .feed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let feed = feed.ok_or_else(|| StartError("a feed runs once".to_owned()))?;
        Ok(Box::new(FeedSource {
            feed,
            start: self.start.clone(),
        }))
    }
}

impl Source for FeedSource {
    fn run(
        self: Box<Self>,
        port: SourcePort,
    ) -> Pin<Box<dyn Future<Output = Result<(), StartError>>>> {
        let Self { mut feed, start } = *self;
        Box::pin(async move {
            port.report_ready();
            let mut types = port.types();
            *start.lock().unwrap_or_else(PoisonError::into_inner) = Some(Mark::now());
            while port.room().await {
                match feed.next(&mut types).await {
                    Some(intake) => port.submit(intake),
                    None => break,
                }
            }
            Ok(())
        })
    }
}

struct WorkFactory {
    work: Work,
}

impl HandlerFactory for WorkFactory {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Sync(match self.work {
            Work::Finish => Box::new(Finish),
            Work::Pass => Box::new(Pass),
        }))
    }
}

struct Finish;

impl Handler for Finish {
    fn handle(&mut self, _: &Event<'_>, _: &mut Output<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

struct Pass;

impl Handler for Pass {
    fn handle(&mut self, _: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        out.pass()
    }
}

struct CountFactory {
    observe: Option<Observer>,
}

impl SinkFactory for CountFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        Ok(AnySink::Sync(Box::new(Count {
            observe: self.observe.clone(),
        })))
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }
}

struct Count {
    observe: Option<Observer>,
}

impl Sink for Count {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        if let Some(observe) = &self.observe {
            observe(event);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        0
    }
}
