//! The supervision tree: the config's components as child specs, in the order in which they start.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use actix_rt::ArbiterHandle;
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    AutoShutdown, Backoff, Breaker, ChildSpec, DeadLetterDesk, JournalDesk, LaneSlot, LaneSpec,
    LeakedThreads, Lifeline, MemoryBudget, Registry, ReplayTargets, Restart, RestartBudget,
    RootWatch, Route, RouterSpec, SinkSpec, Stop, Supervisor, Target, TypeTable, Unmatched,
    Watched, WatchedSink, start_lane, start_router, start_sink, start_supervisor,
};

use super::arbiters::Arbiters;
use super::translate::{backoff, breaker, key, restart};
use super::{dead_letters, journal, overflow, sources};
use crate::admin::Observed;
use crate::audit::AuditLog;
use crate::config::{self, Config, HandlerConfig, Supervision};

/// How long an actor may take to stop once nothing is in flight any more.
pub(super) const SHUTDOWN: Duration = Duration::from_secs(5);

/// How long one call of a handler may block its thread if `supervision.deadline` does not say.
const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// What the actors of one process share.
pub(super) struct Tree {
    pub(super) registry: Arc<Registry>,
    pub(super) types: Arc<TypeTable>,
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) router: Arc<Inlet>,
    /// Where the journal takes events in.
    pub(super) journal: Arc<Inlet>,
    dead_letters: Arc<Inlet>,
    desk: Arc<DeadLetterDesk>,
    pub(super) journal_desk: Arc<JournalDesk>,
    sinks: HashMap<String, Target>,
    /// Per handler the places of its lanes.
    lanes: HashMap<String, Vec<Arc<LaneSlot>>>,
    leaked: Arc<LeakedThreads>,
}

impl Tree {
    pub(super) fn new(config: &Config, registry: Arc<Registry>) -> Self {
        let target = |name: &str| Target {
            inlet: Inlet::new(),
            sink: Some(registry.sink(name)),
            spillway: overflow::spillway(config, name),
        };
        let mut arbiters = Arbiters::new(config.service.workers);
        let lanes = |handler: &HandlerConfig| {
            let workers = arbiters.for_lanes(handler.lane_count(), handler.is_isolated());
            let slots = workers.into_iter().map(LaneSlot::new).collect();
            (handler.name.clone(), slots)
        };
        for source in &config.sources {
            // Before any of them starts: they share the memory, and the metrics show them all.
            registry.source(&source.name);
        }
        Self {
            lanes: config.handlers.iter().map(lanes).collect(),
            leaked: arbiters.leaked().clone(),
            types: Arc::default(),
            budget: MemoryBudget::new(config.service.memory),
            router: Inlet::new(),
            journal: Inlet::new(),
            dead_letters: Inlet::new(),
            desk: Arc::default(),
            journal_desk: Arc::default(),
            sinks: config
                .sinks
                .iter()
                .map(|sink| (sink.name.clone(), target(&sink.name)))
                .collect(),
            registry,
        }
    }

    /// What the admin server reads.
    pub(super) fn observed(&self, config: &Config) -> Observed {
        Observed {
            audit: Arc::new(AuditLog::of(&config.service.data_dir)),
            registry: self.registry.clone(),
            budget: self.budget.clone(),
            types: self.types.clone(),
            dead_letters: self.desk.clone(),
            journal: self.journal_desk.clone(),
            replay_targets: self.replay_targets(config),
        }
    }

    /// What the watchdog is to watch, and its count of hung threads.
    pub(super) fn watched(
        &self,
        config: &Config,
    ) -> (Vec<Watched>, Vec<WatchedSink>, Arc<LeakedThreads>) {
        let lanes = config.handlers.iter().flat_map(|handler| {
            let watched = |(lane, slot): (usize, &Arc<LaneSlot>)| Watched {
                slot: slot.clone(),
                handler: handler.name.as_str().into(),
                stats: self.registry.handler(&handler.name),
                lane,
                deadline: handler.supervision.deadline.unwrap_or(HANG_TIMEOUT),
            };
            let slots = self.lanes[&handler.name].iter();
            slots.enumerate().map(watched).collect::<Vec<_>>()
        });
        let sink = |sink: &config::SinkConfig| WatchedSink {
            name: sink.name.as_str().into(),
            path: format!("sinks/{}", sink.name),
            registry: self.registry.clone(),
        };
        let sinks = config.sinks.iter().map(sink).collect();
        (lanes.collect(), sinks, self.leaked.clone())
    }

    /// Starts the tree on the current arbiter. It ends by itself once all sources have.
    pub(super) fn start(self, config: &Config) -> (Recipient<Stop>, RootWatch) {
        let mut children = vec![self.dead_letters_child(config)];
        children.extend(journal::child(&self, config));
        children.extend(overflow::child(&self, config));
        children.extend([
            self.sinks_child(config),
            self.handlers_child(config),
            self.router_child(config),
            sources::child(&self, config),
        ]);
        let (lifeline, watch) = Lifeline::root();
        // Nothing above the root could decide otherwise, so the first failure that reaches it ends the process.
        let root = never_restarting("root", children, self.registry.clone(), lifeline)
            .auto_shutdown(AutoShutdown::AnySignificant);
        (start_supervisor(root), watch)
    }

    /// Where a sink takes events in.
    pub(super) fn sink(&self, name: &str) -> Target {
        self.sinks[name].clone()
    }

    fn dead_letters_child(&self, config: &Config) -> ChildSpec {
        let targets = self.replay_targets(config);
        let spec = dead_letters::spec(config, &self.sinks, targets, &self.observed(config));
        let start = dead_letters::start(config, spec, self.dead_letters.clone());
        child("dead-letters", Restart::Permanent, SHUTDOWN, start)
    }

    /// Where events can be sent once more.
    pub(super) fn replay_targets(&self, config: &Config) -> ReplayTargets {
        let handler = |handler: &HandlerConfig| {
            let lanes = self.inlets(&handler.name);
            (handler.name.clone(), (key(&handler.key), lanes))
        };
        ReplayTargets {
            router: self.router.clone(),
            handlers: config.handlers.iter().map(handler).collect(),
            sinks: self.sinks.clone(),
        }
    }

    fn sinks_child(&self, config: &Config) -> ChildSpec {
        let sinks: Vec<_> = config
            .sinks
            .iter()
            .map(|sink| {
                let spec = SinkSpec {
                    name: sink.name.as_str().into(),
                    factory: sink.factory.clone(),
                    dead_letters: self.dead_letters.clone(),
                    registry: self.registry.clone(),
                };
                let arbiter = Arbiters::for_io(sink.factory.is_blocking());
                (spec, self.sinks[&sink.name].inlet.clone(), arbiter)
            })
            .collect();
        let registry = self.registry.clone();
        supervisor_child("sinks", &config.supervision, registry, move || {
            let start = |(spec, inlet, arbiter): &(SinkSpec, Arc<Inlet>, ArbiterHandle)| {
                let (spec, inlet, arbiter) = (spec.clone(), inlet.clone(), arbiter.clone());
                child(
                    &spec.name.clone(),
                    Restart::Permanent,
                    SHUTDOWN,
                    move |lifeline| {
                        start_sink(spec.clone(), inlet.clone(), &arbiter, lifeline);
                    },
                )
            };
            sinks.iter().map(start).collect()
        })
    }

    fn handlers_child(&self, config: &Config) -> ChildSpec {
        let handlers: Vec<_> = config
            .handlers
            .iter()
            .map(|handler| {
                (
                    self.lane_spec(config, handler),
                    self.lanes[&handler.name].clone(),
                    handler.supervision.clone(),
                )
            })
            .collect();
        let registry = self.registry.clone();
        supervisor_child(
            "handlers",
            &config.supervision,
            registry.clone(),
            move || {
                let start =
                    |(spec, lanes, supervision): &(LaneSpec, Vec<Arc<LaneSlot>>, Supervision)| {
                        let (spec, lanes) = (spec.clone(), lanes.clone());
                        let (name, restart) = (spec.handler.clone(), restart(supervision));
                        supervisor_child(&name, supervision, registry.clone(), move || {
                            lanes
                                .iter()
                                .enumerate()
                                .map(|(number, lane)| lane_child(&spec, restart, number, lane))
                                .collect()
                        })
                    };
                handlers.iter().map(start).collect()
            },
        )
    }

    fn router_child(&self, config: &Config) -> ChildSpec {
        let route = |handler: &HandlerConfig| Route {
            patterns: handler.on.clone(),
            key: key(&handler.key),
            lanes: self.inlets(&handler.name),
            is_conditional: handler.factory.is_conditional(),
        };
        let spec = RouterSpec {
            routes: config.handlers.iter().map(route).collect(),
            unmatched: self.unmatched(config),
            dead_letters: self.dead_letters.clone(),
            max_hops: config.service.max_hops,
            registry: self.registry.clone(),
            faults: config.faults.as_ref().and_then(|all| all.router.clone()),
        };
        let inlet = self.router.clone();
        let shutdown = config.service.drain_timeout + SHUTDOWN;
        // Its senders and receivers outlive it, so it is restarted alone.
        let (supervision, registry) = (&config.supervision, self.registry.clone());
        supervisor_child("router", supervision, registry, move || {
            let (spec, inlet) = (spec.clone(), inlet.clone());
            let router = child("0", Restart::Permanent, shutdown, move |lifeline| {
                start_router(spec.clone(), inlet.clone(), &Arbiters::core(), lifeline);
            });
            vec![router]
        })
    }

    fn lane_spec(&self, config: &Config, handler: &HandlerConfig) -> LaneSpec {
        let target = |target: &config::Target| match target {
            config::Target::Router => Target::of(&self.router),
            config::Target::Sink(name) => self.sinks[name].clone(),
        };
        LaneSpec {
            service: config.service.name.as_str().into(),
            handler: handler.name.as_str().into(),
            factory: handler.factory.clone(),
            targets: handler.to.iter().map(target).collect(),
            dead_letters: self.dead_letters.clone(),
            unmatched: self.unmatched(config),
            attempts: handler.supervision.attempts,
            deadline: handler.supervision.deadline,
            backoff: backoff(&handler.supervision),
            breaker: Some(Arc::new(Breaker::new(breaker(&handler.supervision)))),
            types: self.types.clone(),
            budget: self.budget.clone(),
            registry: self.registry.clone(),
        }
    }

    fn inlets(&self, handler: &str) -> Vec<Arc<Inlet>> {
        let slots = self.lanes[handler].iter();
        slots.map(|slot| slot.inlet().clone()).collect()
    }

    fn unmatched(&self, config: &Config) -> Unmatched {
        match &config.unmatched {
            config::Unmatched::DeadLetter => Unmatched::DeadLetter,
            config::Unmatched::Drop => Unmatched::Drop,
            config::Unmatched::Sink(name) => Unmatched::Sink(self.sinks[name].clone()),
        }
    }
}

fn lane_child(spec: &LaneSpec, restart: Restart, number: usize, slot: &Arc<LaneSlot>) -> ChildSpec {
    let (spec, slot) = (spec.clone(), slot.clone());
    child(&number.to_string(), restart, SHUTDOWN, move |lifeline| {
        start_lane(spec.clone(), number, &slot, lifeline);
    })
}

/// A supervisor as a child; its own children are made anew with it.
fn supervisor_child(
    name: &str,
    supervision: &Supervision,
    registry: Arc<Registry>,
    children: impl Fn() -> Vec<ChildSpec> + 'static,
) -> ChildSpec {
    let (id, supervision) = (name.to_owned(), supervision.clone());
    // Its children's deadlines bound it.
    let shutdown = Duration::MAX;
    child(name, Restart::Permanent, shutdown, move |lifeline| {
        start_supervisor(supervisor(
            &id,
            children(),
            &supervision,
            registry.clone(),
            lifeline,
        ));
    })
}

pub(super) fn supervisor(
    name: &str,
    children: Vec<ChildSpec>,
    supervision: &Supervision,
    registry: Arc<Registry>,
    lifeline: Lifeline,
) -> Supervisor {
    let max_restarts = usize::try_from(supervision.max_restarts).unwrap_or(usize::MAX);
    let budget = RestartBudget::new(max_restarts, supervision.within);
    Supervisor::new(
        name,
        children,
        budget,
        backoff(supervision),
        registry,
        lifeline,
    )
    .stops_together()
}

/// A supervisor that escalates the first failure.
pub(super) fn never_restarting(
    name: &str,
    children: Vec<ChildSpec>,
    registry: Arc<Registry>,
    lifeline: Lifeline,
) -> Supervisor {
    let budget = RestartBudget::new(0, Duration::ZERO);
    let backoff = Backoff::default();
    Supervisor::new(name, children, budget, backoff, registry, lifeline)
}

pub(super) fn significant(child: ChildSpec) -> ChildSpec {
    ChildSpec {
        is_significant: true,
        ..child
    }
}

pub(super) fn child(
    id: &str,
    restart: Restart,
    shutdown: Duration,
    start: impl FnMut(Lifeline) + 'static,
) -> ChildSpec {
    ChildSpec {
        id: id.to_owned(),
        restart,
        is_significant: false,
        shutdown,
        start: Box::new(start),
    }
}
