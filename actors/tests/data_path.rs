//! The whole path in one process: source → router → lanes → sink, with real actors on real threads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_rt::{Arbiter, System};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use veltrix_actors::mailbox::{Inlet, control};
use veltrix_actors::{
    AnySink, Backoff, ChildSpec, DeadLetterSpec, Durability, Event, FlushError, Handler,
    HandlerError, HandlerFactory, Intake, KeySelector, LaneHandler, LaneSlot, LaneSpec, Lifeline,
    MemoryBudget, Output, Registry, Restart, RestartBudget, Route, RouterPlace, RouterSpec, Sink,
    SinkFactory, SinkSpec, Source, SourceFactory, SourcePlace, SourcePort, SourceSpec, StartError,
    Stop, Supervisor, Target, TypePattern, TypeTable, Unmatched, Worker, start_dead_letters,
    start_lane, start_router, start_sink, start_source, start_supervisor,
};

/// Numbered events over a few keys and two types.
struct Numbers(usize, Arc<tokio::sync::Notify>);

impl SourceFactory for Numbers {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(Numbers(self.0, self.1.clone())))
    }
}

impl Source for Numbers {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        async move {
            port.report_ready();
            let mut types = port.types();
            let mut next = 0;
            while next < self.0 && port.room().await {
                let mut intake = Intake::over(String::new());
                for number in next..self.0.min(next + 100) {
                    let line = format!(
                        r#"{{"specversion":"1.0","id":"{number}","source":"/n","type":"n.{}","subject":"k{}","data":{number}}}"#,
                        if number % 3 == 0 { "fizz" } else { "other" },
                        number % 7,
                    );
                    intake.push_line(&line, &mut types).expect("set up by the test");
                }
                next += intake.len();
                port.submit(intake);
            }
            self.1.notify_one();
            Ok(())
        }
        .boxed_local()
    }
}

/// Passes events, panics at every `panic_every`-th, and emits a derived result for `fizz`.
struct Picky {
    panic_every: usize,
    failed: Arc<Mutex<HashMap<String, usize>>>,
}

impl HandlerFactory for Picky {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Sync(Box::new(Picky {
            panic_every: self.panic_every,
            failed: self.failed.clone(),
        })))
    }
}

impl Handler for Picky {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        let number: usize = event
            .data()
            .expect("set up by the test")
            .parse()
            .expect("set up by the test");
        out.pass()?;
        if number % self.panic_every == 1 {
            let tried = {
                let mut failed = self.failed.lock().expect("set up by the test");
                let tried = failed.entry(event.id().into_owned()).or_default();
                *tried += 1;
                *tried
            };
            assert!(tried > 1, "the first attempt at {number} panics");
        }
        if number % 1000 == 2 {
            return Err(HandlerError::permanent("never works"));
        }
        if event.event_type() == "n.fizz" {
            out.emit("n.buzz", &format!("{{\"n\":{number}}}"))?;
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Collect(Arc<Mutex<Vec<String>>>);

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
            .push(event.line().to_owned());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        0
    }
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

/// The inlets and counts of one tree.
struct Tree {
    registry: Arc<Registry>,
    types: Arc<TypeTable>,
    budget: Arc<MemoryBudget>,
    dead_letters: Arc<Inlet>,
    sink: Arc<Inlet>,
    router: Arc<Inlet>,
    lanes: Vec<Arc<LaneSlot>>,
}

impl Tree {
    fn new(registry: Arc<Registry>, lanes: usize) -> Self {
        Self {
            registry,
            types: Arc::default(),
            budget: MemoryBudget::new(16 << 20),
            dead_letters: Inlet::new(),
            sink: Inlet::new(),
            router: Inlet::new(),
            lanes: (0..lanes)
                .map(|_| LaneSlot::new(Worker::start(&Arc::default())))
                .collect(),
        }
    }

    fn dead_letters_child(&self) -> ChildSpec {
        let (registry, inlet) = (self.registry.clone(), self.dead_letters.clone());
        child("dead-letters", Restart::Permanent, move |lifeline| {
            let arbiter = Arbiter::current();
            start_dead_letters(
                DeadLetterSpec::counting(registry.clone()),
                inlet.clone(),
                &arbiter,
                lifeline,
            );
        })
    }

    fn sink_child(&self, collected: Collect) -> ChildSpec {
        let spec = SinkSpec {
            name: "collect".into(),
            factory: Arc::new(collected),
            dead_letters: self.dead_letters.clone(),
            registry: self.registry.clone(),
        };
        let inlet = self.sink.clone();
        child("sink", Restart::Permanent, move |lifeline| {
            let arbiter = Arbiter::new().handle();
            start_sink(spec.clone(), inlet.clone(), &arbiter, lifeline);
        })
    }

    fn lane_child(&self, number: usize) -> ChildSpec {
        let spec = LaneSpec {
            service: "test".into(),
            handler: "picky".into(),
            factory: Arc::new(Picky {
                panic_every: 100,
                failed: Arc::default(),
            }),
            targets: vec![Target {
                inlet: self.sink.clone(),
                sink: Some(self.registry.sink("collect")),
                spillway: None,
            }],
            dead_letters: self.dead_letters.clone(),
            unmatched: Unmatched::Drop,
            attempts: 3,
            deadline: None,
            breaker: None,
            backoff: Backoff::default(),
            types: self.types.clone(),
            budget: self.budget.clone(),
            registry: self.registry.clone(),
        };
        let slot = self.lanes[number].clone();
        child(
            &format!("lane-{number}"),
            Restart::Permanent,
            move |lifeline| {
                start_lane(spec.clone(), number, &slot, lifeline);
            },
        )
    }

    fn router_child(&self) -> ChildSpec {
        let spec = RouterSpec {
            routes: vec![Route {
                patterns: vec![TypePattern::parse("n.>").expect("a pattern")],
                key: KeySelector::SubjectOrSource,
                lanes: self.lanes.iter().map(|slot| slot.inlet().clone()).collect(),
                is_conditional: false,
            }],
            unmatched: Unmatched::Drop,
            dead_letters: self.dead_letters.clone(),
            max_hops: 16,
            registry: self.registry.clone(),
            faults: None,
        };
        let inlet = self.router.clone();
        child("router", Restart::Permanent, move |lifeline| {
            start_router(
                RouterPlace::new(spec.clone()),
                inlet.clone(),
                &Arbiter::current(),
                lifeline,
            );
        })
    }

    fn source_child(&self, numbers: Numbers) -> ChildSpec {
        let spec = SourceSpec {
            factory: Arc::new(numbers),
            place: SourcePlace {
                name: "numbers".into(),
                next: self.router.clone(),
                durability: Durability::None,
                types: self.types.clone(),
                budget: self.budget.clone(),
                registry: self.registry.clone(),
            },
        };
        child("source", Restart::Transient, move |lifeline| {
            start_source(spec.clone(), &Arbiter::current(), lifeline);
        })
    }
}

/// Runs `events` events through `lanes` lanes; returns what the sink got and the counts.
fn run(events: usize, lanes: usize, is_cut_short: bool) -> (Vec<String>, Arc<Registry>) {
    let registry = Arc::new(Registry::default());
    let collected = Collect::default();
    System::new().block_on(async {
        let tree = Tree::new(registry.clone(), lanes);
        let done = Arc::new(tokio::sync::Notify::new());
        let mut children = vec![
            tree.dead_letters_child(),
            tree.sink_child(collected.clone()),
        ];
        children.extend((0..lanes).map(|number| tree.lane_child(number)));
        children.push(tree.router_child());
        children.push(tree.source_child(Numbers(events, done.clone())));
        let (lifeline, watch) = Lifeline::root();
        let budget = RestartBudget::new(0, Duration::ZERO);
        let backoff = Backoff::default();
        let root = Supervisor::new(
            "root",
            children,
            budget,
            backoff,
            registry.clone(),
            lifeline,
        );
        let stop = start_supervisor(root);
        watch.started.await.expect("the tree starts");
        if !is_cut_short {
            done.notified().await;
        }
        control(&stop, Stop::Drain);
        let exited = tokio::time::timeout(Duration::from_secs(60), watch.exited).await;
        let reason = exited.expect("the tree stops").expect("its root says why");
        assert_eq!(reason, veltrix_actors::ExitReason::Normal);
    });
    let lines = std::mem::take(&mut *collected.0.lock().expect("no test panicked"));
    (lines, registry)
}

fn value(line: &str) -> serde_json::Value {
    serde_json::from_str(line).expect(line)
}

#[test]
fn a_drain_delivers_every_accepted_event_once_and_in_order_of_its_key() {
    let (lines, registry) = run(20_000, 4, true);
    let accepted =
        usize::try_from(registry.source("numbers").accepted.get()).expect("set up by the test");
    let mut passed = 0;
    let mut last: HashMap<String, u64> = HashMap::new();
    for line in &lines {
        let event = value(line);
        if event["type"] == "n.buzz" {
            continue;
        }
        passed += 1;
        let number = event["data"].as_u64().expect("set up by the test");
        let before = last.insert(
            event["subject"]
                .as_str()
                .expect("set up by the test")
                .to_owned(),
            number,
        );
        assert!(
            before.is_none_or(|before| before < number),
            "{number} after {before:?}"
        );
    }
    let dead = registry.handler("picky").dead_lettered.get() as usize;
    assert_eq!(passed + dead, accepted);
    assert!(registry.is_balanced());
    assert_eq!(registry.in_flight.get(), 0);
    assert_eq!(registry.credits_in_use.get(), 0);
    assert_eq!(registry.source("numbers").finished.get() as usize, accepted);
    let sink = registry.sink("collect");
    assert_eq!(
        (sink.offered.get(), sink.waiting.get()),
        (sink.delivered.get(), 0)
    );
}

#[test]
fn a_failed_event_is_taken_back_and_tried_again_and_a_hopeless_one_is_set_aside() {
    let (lines, registry) = run(3_000, 1, false);
    let accepted = registry.source("numbers").accepted.get();
    assert_eq!(accepted, 3_000);
    let handler = registry.handler("picky");
    assert_eq!(
        handler.panics.get(),
        accepted.div_ceil(100).min((accepted + 98) / 100)
    );
    assert_eq!(handler.dead_lettered.get(), (accepted + 997) / 1000);
    let unique: std::collections::HashSet<_> = lines
        .iter()
        .map(|line| value(line)["id"].to_string())
        .collect();
    assert_eq!(unique.len(), lines.len(), "nothing is delivered twice");
}

#[test]
fn a_derived_result_carries_its_causes() {
    let (lines, _) = run(10, 1, false);
    let buzz = lines
        .iter()
        .map(|line| value(line))
        .find(|event| event["id"] == "3.picky.1")
        .expect("set up by the test");
    assert_eq!(buzz["type"], "n.buzz");
    assert_eq!(buzz["source"], "/veltrix/test/picky");
    assert_eq!(
        (&buzz["causationid"], &buzz["correlationid"]),
        (&"3".into(), &"3".into())
    );
    assert_eq!(buzz["subject"], "k3");
    assert_eq!(buzz["data"]["n"], 3);
}
