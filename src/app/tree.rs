//! The supervision tree: the config's components as child specs, in the order in which they start.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use actix_rt::ArbiterHandle;
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    AutoShutdown, Backoff, ChildSpec, DeadLetterDesk, JournalDesk, LeakedThreads, Lifeline,
    MemoryBudget, Registry, ReplayDirectory, ReplayTargets, Restart, RestartBudget, RootWatch,
    Route, RouterPlace, RouterSpec, Stop, Supervisor, SupervisorPlace, Target, TypeTable,
    Unmatched, WatchList, start_router, start_supervisor,
};

use super::arbiters::Arbiters;
use super::branches::{Lanes, MakeChild};
use super::reload::ReloadDesk;
use super::translate::backoff;
use super::{dead_letters, journal, overflow, sources};
use crate::admin::Observed;
use crate::audit::AuditLog;
use crate::config::{self, Config, HandlerConfig, Supervision};
use crate::ledgers::LedgerBook;

/// How long an actor may take to stop once nothing is in flight any more.
pub(super) const SHUTDOWN: Duration = Duration::from_secs(5);

/// How long one call of a handler may block its thread if `supervision.deadline` does not say.
pub(super) const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// What the actors of one process share, and where each of them is found.
pub(super) struct Tree {
    pub(super) registry: Arc<Registry>,
    pub(super) types: Arc<TypeTable>,
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) router: Arc<Inlet>,
    /// Where the journal takes events in.
    pub(super) journal: Arc<Inlet>,
    pub(super) dead_letters: Arc<Inlet>,
    pub(super) desk: Arc<DeadLetterDesk>,
    pub(super) journal_desk: Arc<JournalDesk>,
    pub(super) sinks: HashMap<String, Target>,
    pub(super) lanes: HashMap<String, Lanes>,
    pub(super) places: Places,
    /// Set once the tree is started.
    pub(super) routes: Option<Arc<RouterPlace>>,
    pub(super) directory: ReplayDirectory,
    pub(super) watch: WatchList,
    pub(super) arbiters: Arbiters,
    pub(super) has_journal: bool,
    /// There are events that something keeps when the process dies.
    pub(super) is_durable: bool,
    /// Those of sources and sinks that have one of their own, by path.
    pub(super) threads: HashMap<String, ArbiterHandle>,
}

/// Where the supervisors of what a reload changes are found.
#[derive(Clone, Default)]
pub(super) struct Places {
    pub(super) overflow: SupervisorPlace,
    pub(super) sinks: SupervisorPlace,
    pub(super) handlers: SupervisorPlace,
    pub(super) sources: SupervisorPlace,
}

impl Tree {
    pub(super) fn new(config: &Config, registry: Arc<Registry>) -> Self {
        let target = |name: &str| Target {
            inlet: Inlet::new(),
            sink: Some(registry.sink(name)),
            spillway: overflow::spillway(config, name),
        };
        let sinks = config.sinks.iter();
        let sinks: HashMap<_, _> = sinks
            .map(|sink| (sink.name.clone(), target(&sink.name)))
            .collect();
        let mut arbiters = Arbiters::new(config.service.workers);
        let handlers = config.handlers.iter();
        let lanes: HashMap<_, _> = handlers
            .map(|handler| (handler.name.clone(), Lanes::new(handler, &mut arbiters)))
            .collect();
        for source in &config.sources {
            // Before any of them starts: they share the memory, and the metrics show them all.
            registry.source(&source.name);
        }
        let router = Inlet::new();
        let tree = Self {
            directory: ReplayDirectory::new(replay_targets(&router, &sinks, &lanes)),
            types: Arc::default(),
            budget: MemoryBudget::new(config.service.memory),
            router,
            journal: Inlet::new(),
            dead_letters: Inlet::new(),
            desk: Arc::default(),
            journal_desk: Arc::default(),
            sinks,
            lanes,
            places: Places::default(),
            routes: None,
            watch: WatchList::default(),
            arbiters,
            has_journal: journal::is_there(config),
            is_durable: overflow::is_durable(config),
            threads: HashMap::new(),
            registry,
        };
        config
            .handlers
            .iter()
            .for_each(|handler| tree.watch_handler(handler));
        config
            .sinks
            .iter()
            .for_each(|sink| tree.watch_sink(&sink.name));
        tree
    }

    /// What the admin server reads.
    pub(super) fn observed(
        &self,
        config: &Config,
        ledgers: &Arc<LedgerBook>,
        reload: &Arc<ReloadDesk>,
    ) -> Observed {
        Observed {
            audit: Arc::new(AuditLog::of(&config.service.data_dir)),
            registry: self.registry.clone(),
            ledgers: ledgers.clone(),
            budget: self.budget.clone(),
            types: self.types.clone(),
            dead_letters: self.desk.clone(),
            journal: self.has_journal.then(|| self.journal_desk.clone()),
            replay_targets: self.directory.clone(),
            reload: reload.clone(),
        }
    }

    /// Threads that hang.
    pub(super) fn leaked(&self) -> Arc<LeakedThreads> {
        self.arbiters.leaked().clone()
    }

    /// Starts the tree on the current arbiter. It ends by itself once all sources have.
    pub(super) fn start(&mut self, config: &Config) -> (Recipient<Stop>, RootWatch) {
        let mut children = vec![self.dead_letters_child(config)];
        children.extend(journal::child(self, config));
        children.extend(overflow::child(self, config));
        children.extend([
            self.sinks_child(config),
            self.handlers_child(config),
            self.router_child(config),
            sources::child(self, config),
        ]);
        let (lifeline, watch) = Lifeline::root();
        // Nothing above the root could decide otherwise, so the first failure that reaches it ends the process.
        let root = never_restarting("root", children, self.registry.clone(), lifeline)
            .auto_shutdown(AutoShutdown::AnySignificant);
        (start_supervisor(root), watch)
    }

    fn dead_letters_child(&self, config: &Config) -> ChildSpec {
        let spec = dead_letters::spec(config, self);
        let start = dead_letters::start(config, spec, self.dead_letters.clone());
        child("dead-letters", Restart::Permanent, SHUTDOWN, start)
    }

    /// Where events can be sent once more.
    pub(super) fn replay_targets(&self) -> ReplayTargets {
        replay_targets(&self.router, &self.sinks, &self.lanes)
    }

    fn sinks_child(&mut self, config: &Config) -> ChildSpec {
        let sinks = config.sinks.iter();
        let mut sinks: Vec<MakeChild> = sinks.map(|sink| self.sink_child(sink)).collect();
        let (registry, place) = (self.registry.clone(), self.places.sinks.clone());
        supervisor_child(
            "sinks",
            &config.supervision,
            registry,
            Some(place),
            move || take(&mut sinks).into_iter().map(|sink| sink()).collect(),
        )
    }

    fn handlers_child(&self, config: &Config) -> ChildSpec {
        let handlers = config.handlers.iter();
        let mut handlers: Vec<MakeChild> = handlers
            .map(|handler| self.handler_child(config, handler))
            .collect();
        let (registry, place) = (self.registry.clone(), self.places.handlers.clone());
        supervisor_child(
            "handlers",
            &config.supervision,
            registry,
            Some(place),
            move || take(&mut handlers).into_iter().map(|make| make()).collect(),
        )
    }

    /// What the router goes by under this config, whose lanes and sinks are there.
    pub(super) fn router_spec(&self, config: &Config) -> RouterSpec {
        let route = |handler: &HandlerConfig| {
            let (key, lanes) = self.lanes[&handler.name].way_in();
            Route {
                patterns: handler.on.clone(),
                key,
                lanes,
                is_conditional: handler.factory.is_conditional(),
            }
        };
        RouterSpec {
            routes: config.handlers.iter().map(route).collect(),
            unmatched: self.unmatched(config),
            dead_letters: self.dead_letters.clone(),
            max_hops: config.service.max_hops,
            registry: self.registry.clone(),
            faults: config.faults.as_ref().and_then(|all| all.router.clone()),
        }
    }

    fn router_child(&mut self, config: &Config) -> ChildSpec {
        let place = RouterPlace::new(self.router_spec(config));
        self.routes = Some(place.clone());
        let inlet = self.router.clone();
        let shutdown = config.service.drain_timeout + SHUTDOWN;
        // Its senders and receivers outlive it, so it is restarted alone.
        let (supervision, registry) = (&config.supervision, self.registry.clone());
        supervisor_child("router", supervision, registry, None, move || {
            let (place, inlet) = (place.clone(), inlet.clone());
            let router = child("0", Restart::Permanent, shutdown, move |lifeline| {
                start_router(place.clone(), inlet.clone(), &Arbiters::core(), lifeline);
            });
            vec![router]
        })
    }

    pub(super) fn unmatched(&self, config: &Config) -> Unmatched {
        match &config.unmatched {
            config::Unmatched::DeadLetter => Unmatched::DeadLetter,
            config::Unmatched::Drop => Unmatched::Drop,
            config::Unmatched::Sink(name) => Unmatched::Sink(self.sinks[name].clone()),
        }
    }
}

fn replay_targets(
    router: &Arc<Inlet>,
    sinks: &HashMap<String, Target>,
    lanes: &HashMap<String, Lanes>,
) -> ReplayTargets {
    let lanes = lanes.iter();
    ReplayTargets {
        router: router.clone(),
        handlers: lanes
            .map(|(name, lanes)| (name.clone(), lanes.way_in()))
            .collect(),
        sinks: sinks.clone(),
    }
}

/// A supervisor as a child; its own children are made anew with it. Those right below the root are started once only, as the
/// root restarts nobody: they keep nothing of their first children, which a reload may replace.
pub(super) fn supervisor_child(
    name: &str,
    supervision: &Supervision,
    registry: Arc<Registry>,
    place: Option<SupervisorPlace>,
    mut children: impl FnMut() -> Vec<ChildSpec> + 'static,
) -> ChildSpec {
    let (id, supervision) = (name.to_owned(), supervision.clone());
    // Its children's deadlines bound it.
    let shutdown = Duration::MAX;
    child(name, Restart::Permanent, shutdown, move |lifeline| {
        let supervisor = supervisor(&id, children(), &supervision, registry.clone(), lifeline);
        start_supervisor(match &place {
            Some(place) => supervisor.found_at(place),
            None => supervisor,
        });
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
