//! Supervisors over actors that do as a test says, in virtual time; what is started and stopped is on record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::AsyncContext;
use actix::prelude::{Actor, ActorContext, Context, Handler, Message, Recipient};
use actix_rt::System;
use veltrix_actors::mailbox::control;
use veltrix_actors::{
    AutoShutdown, Backoff, ChildHandle, ChildSpec, ExitReason, Lifeline, Registry, Restart,
    RestartBudget, RootWatch, Stop, Strategy, Supervisor, SupervisorPlace, start_supervisor,
};

/// How a probe ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Normal,
    Error,
    Panic,
    /// Others report it as lost, and it lives on.
    Kill,
}

/// Tells a probe to do something.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum Order {
    End(Way),
    BecomeReady,
}

/// A child to be: an actor, or a supervisor if it is over others.
#[derive(Clone)]
pub(crate) struct Probe {
    id: &'static str,
    restart: Restart,
    is_significant: bool,
    shutdown: Duration,
    starts: Starts,
    ignores_stop: bool,
    children: Vec<Probe>,
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    budget: usize,
    period: Duration,
}

/// What comes of a probe's starts.
#[derive(Clone, Copy)]
enum Starts {
    AtOnce,
    /// Once it is told.
    Slowly,
    /// From this one on they fail, as many as the last number.
    Fail(usize, usize),
    /// The second one panics in the supervisor.
    PanicOnce,
}

pub(crate) fn probe(id: &'static str) -> Probe {
    Probe {
        id,
        restart: Restart::Permanent,
        is_significant: false,
        shutdown: Duration::from_secs(5),
        starts: Starts::AtOnce,
        ignores_stop: false,
        children: Vec::new(),
        strategy: Strategy::OneForOne,
        auto_shutdown: AutoShutdown::Never,
        budget: 0,
        period: Duration::from_secs(3600),
    }
}

impl Probe {
    pub(crate) fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    pub(crate) fn significant(mut self) -> Self {
        self.is_significant = true;
        self
    }

    pub(crate) fn shutdown(mut self, shutdown: Duration) -> Self {
        self.shutdown = shutdown;
        self
    }

    pub(crate) fn starts_slowly(mut self) -> Self {
        self.starts = Starts::Slowly;
        self
    }

    /// Starts number `from` on fail, `count` of them.
    pub(crate) fn fails_to_start(mut self, from: usize, count: usize) -> Self {
        self.starts = Starts::Fail(from, count);
        self
    }

    /// Its second start panics in its supervisor.
    pub(crate) fn panics_its_supervisor(mut self) -> Self {
        self.starts = Starts::PanicOnce;
        self
    }

    pub(crate) fn ignores_stop(mut self) -> Self {
        self.ignores_stop = true;
        self
    }

    pub(crate) fn over(mut self, children: impl Into<Vec<Self>>) -> Self {
        self.children = children.into();
        self
    }

    pub(crate) fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    pub(crate) fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    pub(crate) fn budget(mut self, restarts: usize) -> Self {
        self.budget = restarts;
        self
    }

    pub(crate) fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Starts it as the root.
    pub(crate) async fn start(self) -> Tree {
        let scene = Scene::default();
        let (lifeline, watch) = Lifeline::root();
        let place = SupervisorPlace::default();
        let root = self.supervisor(&scene, lifeline).found_at(&place);
        let stop = start_supervisor(root);
        idle().await;
        Tree {
            scene,
            place,
            stop,
            watch,
        }
    }

    fn supervisor(&self, scene: &Scene, lifeline: Lifeline) -> Supervisor {
        let children = self.children.iter().map(|child| child.spec(scene));
        let backoff = Backoff {
            jitter: 0.0,
            ..Backoff::default()
        };
        let budget = RestartBudget::new(self.budget, self.period);
        let registry = scene.registry.clone();
        Supervisor::new(
            self.id,
            children.collect(),
            budget,
            backoff,
            registry,
            lifeline,
        )
        .strategy(self.strategy)
        .auto_shutdown(self.auto_shutdown)
    }

    fn spec(&self, scene: &Scene) -> ChildSpec {
        let (scene, probe) = (scene.clone(), self.clone());
        let mut starts = 0;
        ChildSpec {
            id: self.id.to_owned(),
            restart: self.restart,
            is_significant: self.is_significant,
            shutdown: match self.children.is_empty() {
                true => self.shutdown,
                false => Duration::MAX,
            },
            start: Box::new(move |mut lifeline| {
                starts += 1;
                assert!(
                    starts != 2 || !matches!(probe.starts, Starts::PanicOnce),
                    "as the test wants it"
                );
                if !probe.children.is_empty() {
                    start_supervisor(probe.supervisor(&scene, lifeline));
                } else if let Starts::Fail(from, count) = probe.starts
                    && (from..from + count).contains(&starts)
                {
                    scene.note('!', probe.id);
                    lifeline.fail("it is not there".to_owned());
                } else {
                    ProbeActor::create(|ctx| ProbeActor::new(&probe, &scene, lifeline, ctx));
                }
            }),
        }
    }
}

/// What all actors of a test share.
#[derive(Clone, Default)]
struct Scene {
    registry: Arc<Registry>,
    log: Arc<Mutex<Vec<String>>>,
    living: Arc<Mutex<HashMap<&'static str, Living>>>,
}

#[derive(Clone)]
struct Living {
    orders: Recipient<Order>,
    handle: ChildHandle,
}

impl Scene {
    fn note(&self, what: char, id: &str) {
        let mut log = self.log.lock().expect("set up by the test");
        log.push(format!("{what}{id}"));
    }

    fn living(&self, id: &str) -> Living {
        self.living.lock().expect("set up by the test")[id].clone()
    }
}

struct ProbeActor {
    probe: Probe,
    scene: Scene,
    lifeline: Lifeline,
}

impl ProbeActor {
    fn new(probe: &Probe, scene: &Scene, lifeline: Lifeline, ctx: &Context<Self>) -> Self {
        let living = Living {
            orders: ctx.address().recipient(),
            handle: lifeline.handle().expect("it has a supervisor"),
        };
        let mut all = scene.living.lock().expect("set up by the test");
        all.insert(probe.id, living);
        Self {
            probe: probe.clone(),
            scene: scene.clone(),
            lifeline,
        }
    }
}

impl Actor for ProbeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        self.scene.note('+', self.probe.id);
        if !matches!(self.probe.starts, Starts::Slowly) {
            self.lifeline.started();
        }
    }
}

impl Handler<Stop> for ProbeActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.scene.note('-', self.probe.id);
        if !self.probe.ignores_stop {
            ctx.stop();
        }
    }
}

impl Handler<Order> for ProbeActor {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) {
        match order {
            Order::BecomeReady => self.lifeline.started(),
            Order::End(Way::Normal) => ctx.stop(),
            Order::End(Way::Error) => {
                self.lifeline.fail("broke".to_owned());
                ctx.stop();
            }
            Order::End(Way::Panic) => panic!("as the test wants it"),
            Order::End(Way::Kill) => unreachable!("it is not asked"),
        }
    }
}

/// A running tree.
pub(crate) struct Tree {
    scene: Scene,
    place: SupervisorPlace,
    stop: Recipient<Stop>,
    watch: RootWatch,
}

impl Tree {
    /// What was started (`+`), could not be (`!`) or was told to stop (`-`) since the last call.
    pub(crate) fn log(&self) -> String {
        let mut log = self.scene.log.lock().expect("set up by the test");
        std::mem::take(&mut *log).join(" ")
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.scene.registry
    }

    /// Ends the child, and waits until everybody has done what follows.
    pub(crate) async fn end(&self, id: &str, way: Way) {
        self.end_at_once(id, way);
        idle().await;
    }

    pub(crate) fn end_at_once(&self, id: &str, way: Way) {
        match way {
            Way::Kill => self.handle(id).report(ExitReason::Killed),
            way => control(&self.scene.living(id).orders, Order::End(way)),
        }
    }

    pub(crate) async fn become_ready(&self, id: &str) {
        control(&self.scene.living(id).orders, Order::BecomeReady);
        idle().await;
    }

    /// Has the root take on a child, and waits until it is up or cannot be.
    pub(crate) async fn add(&self, probe: Probe) -> Result<(), String> {
        let scene = self.scene.clone();
        self.place.add(move || probe.spec(&scene)).await
    }

    /// Has the root let a child go, and waits until it is gone.
    pub(crate) async fn remove(&self, id: &str) {
        self.place.remove(id, Stop::Drain).await;
    }

    /// By which others report the end of the child's generation of now.
    pub(crate) fn handle(&self, id: &str) -> ChildHandle {
        self.scene.living(id).handle
    }

    pub(crate) async fn stop(&self) {
        self.stop_at_once();
        idle().await;
    }

    pub(crate) fn stop_at_once(&self) {
        control(&self.stop, Stop::Drain);
    }

    /// Whether the whole tree has come up.
    pub(crate) fn is_up(&mut self) -> bool {
        self.watch.started.try_recv().is_ok()
    }

    /// How the root ended, if it has; to be asked once then.
    pub(crate) fn exit(&mut self) -> Option<ExitReason> {
        self.watch.exited.try_recv().ok()
    }
}

/// Longer than all back-offs and deadlines of the tests.
const IDLE: Duration = Duration::from_secs(100);

/// Passes in virtual time, which stands still while anybody has anything to do.
pub(crate) async fn idle() {
    let waited = tokio::time::timeout(IDLE, std::future::pending::<()>()).await;
    assert!(waited.is_err(), "nothing ends it but time");
}

/// Lets this much time pass, and everybody do what is due by then.
pub(crate) async fn pass(time: Duration) {
    let waited = tokio::time::timeout(time, std::future::pending::<()>()).await;
    assert!(waited.is_err(), "nothing ends it but time");
}

pub(crate) fn in_virtual_time(test: impl AsyncFnOnce()) {
    System::new().block_on(async {
        tokio::time::pause();
        test().await;
    });
}
