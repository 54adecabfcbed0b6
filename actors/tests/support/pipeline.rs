//! A small tree in one process: numbered events → one handler's lanes → a sink that collects them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_rt::{Arbiter, System};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    AnySink, AutoShutdown, Backoff, ChildSpec, DeadLetter, DeadLetterDesk, DeadLetterLimits,
    DeadLetterQuery, DeadLetterSpec, Durability, Event, ExitReason, FaultPlan, Faults, FlushError,
    HandlerFactory, Intake, KeySelector, LaneSlot, LaneSpec, LeakedThreads, Lifeline, MemoryBudget,
    Registry, Restart, RestartBudget, Route, RouterPlace, RouterSpec, Sink, SinkFactory, SinkSpec,
    Source, SourceFactory, SourcePlace, SourcePort, SourceSpec, StartError, Supervisor, Target,
    TypePattern, TypeTable, Unmatched, WatchList, Watchdog, Watched, Worker, start_dead_letters,
    start_lane, start_router, start_sink, start_source, start_supervisor,
};

/// What is tried.
pub(crate) struct Pipeline {
    pub(crate) events: usize,
    pub(crate) lanes: usize,
    pub(crate) attempts: u32,
    pub(crate) max_restarts: usize,
    /// Time for one call of the handler; if there is one, all lanes share a thread and are watched.
    pub(crate) deadline: Option<Duration>,
    pub(crate) handler: Arc<dyn HandlerFactory>,
    pub(crate) limits: Limits,
}

/// What is the same for most that is tried.
pub(crate) struct Limits {
    /// Bytes of events in memory.
    pub(crate) memory_bytes: usize,
    /// Waits before restarts.
    pub(crate) backoff: Backoff,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 << 20,
            backoff: Backoff {
                min: Duration::from_millis(1),
                max: Duration::from_millis(2),
                jitter: 0.0,
            },
        }
    }
}

/// What came of it.
pub(crate) struct Ended {
    /// Numbers of the events that the sink got, in order.
    pub(crate) numbers: Vec<usize>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) exit: ExitReason,
    pub(crate) leaked: Arc<LeakedThreads>,
    /// The newest dead letters, if all events came to their end.
    pub(crate) dead_letters: Vec<Arc<DeadLetter>>,
}

/// Events with their number as data and one of seven keys. One that is started again goes on after those it has handed over.
#[derive(Clone)]
pub(crate) struct Numbers {
    events: usize,
    submitted: Arc<AtomicUsize>,
}

impl Numbers {
    pub(crate) fn new(events: usize) -> Self {
        Self {
            events,
            submitted: Arc::default(),
        }
    }
}

impl SourceFactory for Numbers {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(self.clone()))
    }
}

impl Source for Numbers {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        async move {
            port.report_ready();
            let mut types = port.types();
            let mut next = self.submitted.load(Ordering::Relaxed);
            while next < self.events && port.room().await {
                let mut intake = Intake::over(String::new());
                for number in next..self.events.min(next + 100) {
                    let key = number % 7;
                    let line = format!(
                        r#"{{"specversion":"1.0","id":"{number}","source":"/n","type":"n","subject":"k{key}","data":{number}}}"#
                    );
                    intake.push_line(&line, &mut types).expect("set up by the test");
                }
                next += intake.len();
                self.submitted.store(next, Ordering::Relaxed);
                port.submit(intake);
                // Where a fault ends it.
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        .boxed_local()
    }
}

#[derive(Clone, Default)]
struct Collect(Arc<Mutex<Vec<usize>>>);

impl SinkFactory for Collect {
    fn build(&self) -> Result<AnySink, StartError> {
        Ok(AnySink::Sync(Box::new(self.clone())))
    }
}

impl Sink for Collect {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        self.0
            .lock()
            .expect("set up by the test")
            .push(number(event));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        0
    }
}

/// The event's number.
pub(crate) fn number(event: &Event<'_>) -> usize {
    event
        .data()
        .expect("set up by the test")
        .parse()
        .expect("set up by the test")
}

fn child(id: &str, restart: Restart, start: impl FnMut(Lifeline) + 'static) -> ChildSpec {
    ChildSpec {
        id: id.to_owned(),
        restart,
        is_significant: false,
        shutdown: Duration::from_secs(30),
        start: Box::new(start),
    }
}

/// What all actors share.
#[derive(Clone, Default)]
struct Shared {
    registry: Arc<Registry>,
    types: Arc<TypeTable>,
    dead_letters: Arc<Inlet>,
    router: Arc<Inlet>,
    sink: Arc<Inlet>,
    collected: Collect,
    /// In the place of the one that collects.
    tried_sink: Option<Arc<dyn SinkFactory>>,
    /// In the place of the one that counts.
    tried_source: Option<Arc<dyn SourceFactory>>,
    leaked: Arc<LeakedThreads>,
    desk: Arc<DeadLetterDesk>,
    read: Arc<Mutex<Vec<Arc<DeadLetter>>>>,
}

impl Pipeline {
    /// Runs until the source's events are finished, or the tree gives up.
    pub(crate) fn run(self) -> Ended {
        self.run_with(FaultPlan::default())
    }

    /// As [`Pipeline::run`], with faults in the router, the handler `tried` and the sink `collect`.
    pub(crate) fn run_with(self, plan: FaultPlan) -> Ended {
        self.run_shared(Shared::default(), plan)
    }

    /// As [`Pipeline::run_with`], with another sink, which has the events then.
    pub(crate) fn run_into(self, sink: Arc<dyn SinkFactory>, plan: FaultPlan) -> Ended {
        let shared = Shared {
            tried_sink: Some(sink),
            ..Shared::default()
        };
        self.run_shared(shared, plan)
    }

    /// As [`Pipeline::run_with`], with another source `numbers`, in which there may be faults too.
    pub(crate) fn run_from(self, source: Arc<dyn SourceFactory>, plan: FaultPlan) -> Ended {
        let shared = Shared {
            tried_source: Some(source),
            ..Shared::default()
        };
        self.run_shared(shared, plan)
    }

    fn run_shared(self, shared: Shared, plan: FaultPlan) -> Ended {
        let faults = Faults::new(plan, shared.registry.clone(), None);
        let (registry, collected) = (shared.registry.clone(), shared.collected.clone());
        let leaked = shared.leaked.clone();
        let read = shared.read.clone();
        let exit = System::new().block_on(self.supervise(shared, &faults));
        let dead_letters = std::mem::take(&mut *read.lock().expect("set up by the test"));
        let numbers = std::mem::take(&mut *collected.0.lock().expect("set up by the test"));
        Ended {
            numbers,
            registry,
            exit,
            leaked,
            dead_letters,
        }
    }

    async fn supervise(self, shared: Shared, faults: &Faults) -> ExitReason {
        // As in the service: before anything that asks whether the input is over.
        shared.registry.source("numbers");
        let budget = MemoryBudget::new(self.limits.memory_bytes);
        let worker = Worker::start(&shared.leaked);
        let worker = || match self.deadline {
            Some(_) => worker.clone(),
            None => worker.another(),
        };
        let lanes: Vec<Arc<LaneSlot>> = (0..self.lanes).map(|_| LaneSlot::new(worker())).collect();
        let _watchdog = self.deadline.map(|deadline| {
            let watched = |(lane, slot): (usize, &Arc<LaneSlot>)| Watched {
                slot: slot.clone(),
                handler: "tried".into(),
                stats: shared.registry.handler("tried"),
                lane,
                deadline,
            };
            let list = WatchList::default();
            let watched = lanes.iter().enumerate().map(watched);
            watched.for_each(|lane| list.add_lane(lane));
            let exhausted = |reason| panic!("{reason}");
            Watchdog::start(list, shared.leaked.clone(), exhausted).expect("a thread")
        });
        let mut children = ends(&shared, faults);
        children.extend(self.lanes(&shared, &lanes, &budget, faults));
        children.push(router(&shared, &lanes, faults));
        children.push(self.source(&shared, &budget, faults));
        let (lifeline, watch) = Lifeline::root();
        let backoff = self.limits.backoff;
        let restarts = RestartBudget::new(self.max_restarts, Duration::from_secs(60));
        let registry = shared.registry.clone();
        let root = Supervisor::new("root", children, restarts, backoff, registry, lifeline);
        start_supervisor(root.auto_shutdown(AutoShutdown::AnySignificant));
        let (desk, read, done) = (shared.desk.clone(), shared.read.clone(), watch.done);
        actix_rt::spawn(async move {
            if done.await.is_ok() {
                let newest = DeadLetterQuery {
                    limit: 100,
                    ..DeadLetterQuery::default()
                };
                // The dead letters are the last to be told to stop.
                let page = desk.page(newest).await.expect("it runs until the stop");
                *read.lock().expect("set up by the test") = page.letters;
            }
        });
        let exited = tokio::time::timeout(Duration::from_secs(60), watch.exited);
        exited
            .await
            .expect("the tree ends")
            .expect("set up by the test")
    }

    fn lanes(
        &self,
        shared: &Shared,
        slots: &[Arc<LaneSlot>],
        budget: &Arc<MemoryBudget>,
        faults: &Faults,
    ) -> Vec<ChildSpec> {
        let spec = LaneSpec {
            service: "test".into(),
            handler: "tried".into(),
            factory: faults.handler("tried", self.handler.clone()),
            targets: vec![Target {
                inlet: shared.sink.clone(),
                sink: Some(shared.registry.sink("collect")),
                spillway: None,
            }],
            dead_letters: shared.dead_letters.clone(),
            unmatched: Unmatched::Drop,
            attempts: self.attempts,
            deadline: None,
            breaker: None,
            backoff: Backoff {
                min: Duration::from_millis(1),
                ..Backoff::default()
            },
            types: shared.types.clone(),
            budget: budget.clone(),
            registry: shared.registry.clone(),
        };
        let lane = |(number, slot): (usize, &Arc<LaneSlot>)| {
            let (spec, slot) = (spec.clone(), slot.clone());
            child(
                &format!("lane-{number}"),
                Restart::Permanent,
                move |lifeline| {
                    start_lane(spec.clone(), number, &slot, lifeline);
                },
            )
        };
        slots.iter().enumerate().map(lane).collect()
    }

    /// The source, whose end ends the tree.
    fn source(&self, shared: &Shared, budget: &Arc<MemoryBudget>, faults: &Faults) -> ChildSpec {
        let tried = shared.tried_source.clone();
        let factory = tried.map_or_else(
            || Arc::new(Numbers::new(self.events)) as Arc<dyn SourceFactory>,
            |tried| faults.source("numbers", tried),
        );
        let spec = SourceSpec {
            factory,
            place: SourcePlace {
                name: "numbers".into(),
                next: shared.router.clone(),
                durability: Durability::None,
                types: shared.types.clone(),
                budget: budget.clone(),
                registry: shared.registry.clone(),
            },
        };
        let source = child("numbers", Restart::Transient, move |lifeline| {
            start_source(spec.clone(), &Arbiter::current(), lifeline);
        });
        ChildSpec {
            is_significant: true,
            ..source
        }
    }
}

fn ends(shared: &Shared, faults: &Faults) -> Vec<ChildSpec> {
    let inlet = shared.dead_letters.clone();
    let dead_letters = DeadLetterSpec {
        open: DeadLetterLimits {
            count: 100,
            bytes: 1 << 20,
        }
        .in_memory(),
        desk: shared.desk.clone(),
        ..DeadLetterSpec::counting(shared.registry.clone())
    };
    let factory = shared.tried_sink.clone();
    let factory = factory.unwrap_or_else(|| Arc::new(shared.collected.clone()));
    let spec = SinkSpec {
        name: "collect".into(),
        factory: faults.sink("collect", factory),
        dead_letters: shared.dead_letters.clone(),
        registry: shared.registry.clone(),
    };
    let sink = shared.sink.clone();
    vec![
        child("dead-letters", Restart::Permanent, move |lifeline| {
            let (spec, inlet) = (dead_letters.clone(), inlet.clone());
            start_dead_letters(spec, inlet, &Arbiter::current(), lifeline);
        }),
        child("sink", Restart::Permanent, move |lifeline| {
            start_sink(spec.clone(), sink.clone(), &Arbiter::current(), lifeline);
        }),
    ]
}

fn router(shared: &Shared, lanes: &[Arc<LaneSlot>], faults: &Faults) -> ChildSpec {
    let spec = RouterSpec {
        routes: vec![Route {
            patterns: vec![TypePattern::parse("n").expect("set up by the test")],
            key: KeySelector::SubjectOrSource,
            lanes: lanes.iter().map(|slot| slot.inlet().clone()).collect(),
            is_conditional: false,
        }],
        unmatched: Unmatched::Drop,
        dead_letters: shared.dead_letters.clone(),
        max_hops: 16,
        registry: shared.registry.clone(),
        faults: faults.router(),
    };
    let inlet = shared.router.clone();
    child("router", Restart::Permanent, move |lifeline| {
        start_router(
            RouterPlace::new(spec.clone()),
            inlet.clone(),
            &Arbiter::current(),
            lifeline,
        );
    })
}
