//! The source actor: runs one source (or one connection of it) and hands its events to the router as credits allow.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient,
};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::{Notify, oneshot};

use crate::batch::{Arena, EventBatch, Intake};
use crate::guard;
use crate::mailbox::{Inlet, Outlet, OutletReady, Turn, control};
use crate::memory::MemoryBudget;
use crate::origin::Origin;
use crate::stats::{Registry, SourceStats};
use crate::supervision::{Lifeline, StartError, Stop};
use crate::types::{TypeCache, TypeTable};

/// Events that may be submitted to a source from other threads and wait for the router; beyond, submitters are told to wait.
pub const SUBMITTED_EVENTS_MAX: usize = 8_192;

/// Where events come from.
pub trait Source: 'static {
    /// Runs the source until it has no more events or [`SourcePort::draining`] resolves, then returns. Dropping the
    /// future must leave nothing behind.
    ///
    /// # Errors
    /// What keeps the source from going on; its supervisor starts it again within the restart budget.
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>>;
}

/// Makes a source for each (re)start of its actor. It runs on the source's thread.
pub trait SourceFactory: Send + Sync {
    /// A fresh source.
    ///
    /// # Errors
    /// What keeps it from starting.
    fn build(&self) -> Result<Box<dyn Source>, StartError>;

    /// Whether it blocks its thread on files or pipes, and so needs one of its own.
    fn is_blocking(&self) -> bool {
        false
    }
}

/// What a source is started with.
#[derive(Clone)]
pub struct SourceSpec {
    /// The source's name.
    pub name: Arc<str>,
    /// Makes the source.
    pub factory: Arc<dyn SourceFactory>,
    /// Where its events go in.
    pub router: Arc<Inlet>,
    /// The interned types.
    pub types: Arc<TypeTable>,
    /// Charged with the events' bytes.
    pub budget: Arc<MemoryBudget>,
    /// The counts.
    pub registry: Arc<Registry>,
}

/// Runs one source, or one connection.
pub struct SourceActor {
    source: Option<Box<dyn Source>>,
    factory: Option<Arc<dyn SourceFactory>>,
    port: SourcePort,
    /// Ends only when all events of the source are finished; a connection's end does not wait for them.
    waits_for_finished: bool,
    phase: Phase,
    turn: Turn,
    lifeline: Lifeline,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The source has returned; what it submitted is still to be handed over.
    HandingOver,
    /// Waiting for the events to be finished.
    Finishing,
}

/// A source's side of its actor: where it submits events, and how it is held back. Lives on the actor's thread.
#[derive(Clone)]
pub struct SourcePort {
    shared: Rc<Shared>,
}

struct Shared {
    name: Arc<str>,
    outlet: RefCell<Outlet>,
    router: Arc<Inlet>,
    types: Arc<TypeTable>,
    budget: Arc<MemoryBudget>,
    registry: Arc<Registry>,
    stats: Arc<SourceStats>,
    submissions: Recipient<Submit>,
    is_draining: Cell<bool>,
    /// Wakes the source when there is room again, or when it shall drain.
    changed: Notify,
    /// Running connections.
    children: Cell<usize>,
    is_ready: Cell<bool>,
    ready: Notify,
}

/// Events from another thread (a web server's worker), and where the answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Submit {
    intake: Intake,
    answer: oneshot::Sender<Admission>,
}

/// Whether submitted events were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Veltrix answers for them from now on.
    Accepted,
    /// Too much is waiting; nothing was taken.
    Busy,
    /// The source is stopping; nothing was taken.
    Closing,
}

/// A handle by which other threads submit events to a source.
#[derive(Clone)]
pub struct Submitter {
    recipient: Recipient<Submit>,
    budget: Arc<MemoryBudget>,
}

impl Submitter {
    /// Submits events and waits for the answer.
    pub async fn submit(&self, intake: Intake) -> Admission {
        if !self.budget.has_room() {
            return Admission::Busy;
        }
        let (answer, answered) = oneshot::channel();
        control(&self.recipient, Submit { intake, answer });
        // A source that is gone drops the message, and with it the sender of the answer.
        answered.await.unwrap_or(Admission::Closing)
    }
}

impl SourcePort {
    /// The source's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The source's counts.
    pub fn stats(&self) -> &Arc<SourceStats> {
        &self.shared.stats
    }

    /// A parser's front of the type table.
    pub fn types(&self) -> TypeCache {
        TypeCache::new(self.shared.types.clone())
    }

    /// The budget that intake waits for.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.shared.budget
    }

    /// A handle for other threads.
    pub fn submitter(&self) -> Submitter {
        Submitter {
            recipient: self.shared.submissions.clone(),
            budget: self.shared.budget.clone(),
        }
    }

    /// Reports that the source is up: bound, opened, connected. Readiness waits for it.
    pub fn report_ready(&self) {
        self.shared.is_ready.set(true);
        self.shared.ready.notify_one();
    }

    /// Waits until there is room for a batch and memory for it. False if the source shall drain instead.
    pub async fn room(&self) -> bool {
        loop {
            if self.is_draining() {
                return false;
            }
            if !self.shared.outlet.borrow().has_room() {
                self.shared.changed.notified().await;
            } else if self.shared.budget.has_room() {
                return true;
            } else {
                futures::select_biased! {
                    () = self.shared.changed.notified().fuse() => {}
                    () = self.shared.budget.room().fuse() => {}
                }
            }
        }
    }

    /// Whether the source shall take in no more.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining.get()
    }

    /// Resolves when the source shall take in no more.
    pub async fn draining(&self) {
        while !self.is_draining() {
            self.shared.changed.notified().await;
        }
    }

    /// Hands events over; they are accepted from here on. Call it after [`SourcePort::room`].
    pub fn submit(&self, intake: Intake) {
        if intake.is_empty() {
            return;
        }
        let Intake { text, mut records } = intake;
        let arena = Arc::new(Arena::new(text, &self.shared.budget));
        let mut outlet = self.shared.outlet.borrow_mut();
        for chunk in records.chunks_mut(crate::batch::BATCH_EVENTS_MAX) {
            for (index, record) in (0..).zip(chunk.iter_mut()) {
                record.index = index;
            }
            let origin = Origin::accepted(chunk.len(), self.shared.stats.clone());
            outlet.append(EventBatch::from_parts(
                chunk.to_vec(),
                Arc::clone(&arena),
                vec![origin],
            ));
        }
        outlet.flush();
    }

    /// Starts an actor for a connection of this source, with credits of its own and the source's counts.
    ///
    /// It drains with the source, and its failure is logged and harms no other connection.
    pub fn spawn_connection(&self, connection: Box<dyn Source>) {
        let shared = &self.shared;
        shared.children.set(shared.children.get() + 1);
        let parent = self.clone();
        SourceActor::create(|ctx| {
            let port = SourcePort::new(
                shared.name.clone(),
                shared.router.clone(),
                shared.types.clone(),
                shared.budget.clone(),
                shared.registry.clone(),
                ctx,
            );
            let child = port.clone();
            let ends = ConnectionEnd(parent.clone());
            ctx.spawn(actix::fut::wrap_future(async move {
                // Held by the connection's actor: it counts the connection off however the actor ends.
                ends.0.draining().await;
                child.drain();
                futures::future::pending::<()>().await;
                drop(ends);
            }));
            SourceActor {
                source: Some(connection),
                factory: None,
                port,
                waits_for_finished: false,
                phase: Phase::Running,
                turn: Turn::default(),
                lifeline: Lifeline::detached(),
            }
        });
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.children.get()
    }

    /// Waits until all connections have ended.
    pub async fn connections_closed(&self) {
        while self.connections() > 0 {
            self.shared.changed.notified().await;
        }
    }

    fn new(
        name: Arc<str>,
        router: Arc<Inlet>,
        types: Arc<TypeTable>,
        budget: Arc<MemoryBudget>,
        registry: Arc<Registry>,
        ctx: &Context<SourceActor>,
    ) -> Self {
        let outlet = Outlet::new(
            router.clone(),
            ctx.address().recipient(),
            0,
            &registry,
            None,
        );
        Self {
            shared: Rc::new(Shared {
                stats: registry.source(&name),
                name,
                outlet: RefCell::new(outlet),
                router,
                types,
                budget,
                registry,
                submissions: ctx.address().recipient(),
                is_draining: Cell::new(false),
                changed: Notify::new(),
                children: Cell::new(0),
                is_ready: Cell::new(false),
                ready: Notify::new(),
            }),
        }
    }

    fn drain(&self) {
        self.shared.is_draining.set(true);
        self.shared.changed.notify_waiters();
    }

    fn wake(&self) {
        self.shared.changed.notify_waiters();
    }
}

struct ConnectionEnd(SourcePort);

impl Drop for ConnectionEnd {
    fn drop(&mut self) {
        let children = &self.0.shared.children;
        children.set(children.get() - 1);
        self.0.wake();
    }
}

impl SourceActor {
    /// A source that is built and run when the actor starts.
    pub fn new(spec: SourceSpec, lifeline: Lifeline, ctx: &Context<Self>) -> Self {
        Self {
            source: None,
            factory: Some(spec.factory),
            port: SourcePort::new(
                spec.name,
                spec.router,
                spec.types,
                spec.budget,
                spec.registry,
                ctx,
            ),
            waits_for_finished: true,
            phase: Phase::Running,
            turn: Turn::default(),
            lifeline,
        }
    }

    fn build(&mut self) -> Result<Box<dyn Source>, String> {
        match (self.source.take(), &self.factory) {
            (Some(source), _) => Ok(source),
            (None, Some(factory)) => match guard::guard(|| factory.build()) {
                Ok(Ok(source)) => Ok(source),
                Ok(Err(error)) => Err(error.to_string()),
                Err(panic) => Err(format!("the factory panicked: {panic}")),
            },
            (None, None) => Err("a connection cannot be started again".to_owned()),
        }
    }

    fn ended(
        &mut self,
        result: std::thread::Result<Result<(), StartError>>,
        ctx: &mut Context<Self>,
    ) {
        let name = self.port.name().to_owned();
        // One that failed is started again at once; its events are on their way without it.
        self.waits_for_finished &= matches!(result, Ok(Ok(())));
        match result {
            Ok(Ok(())) => tracing::debug!(source = name, "no more events"),
            Ok(Err(error)) => {
                if self.factory.is_none() {
                    tracing::info!(source = name, reason = %error, "a connection ended");
                }
                self.lifeline.fail(error.to_string());
            }
            Err(panic) => {
                let panic = guard::message(&*panic);
                tracing::error!(source = name, panic, "the source panicked");
                self.lifeline.fail(format!("panicked: {panic}"));
            }
        }
        self.phase = Phase::HandingOver;
        self.hand_over(ctx);
    }

    /// Once the source has returned: hands the rest over, waits until it is finished, and ends.
    fn hand_over(&mut self, ctx: &mut Context<Self>) {
        if self.phase != Phase::HandingOver || !self.port.shared.outlet.borrow().is_empty() {
            return;
        }
        self.phase = Phase::Finishing;
        if !self.waits_for_finished {
            ctx.stop();
            return;
        }
        let stats = self.port.stats().clone();
        let finished = async move { stats.in_flight.drained().await };
        ctx.spawn(actix::fut::wrap_future::<_, Self>(finished).map(|(), _, ctx| ctx.stop()));
    }

    fn spawn(
        &self,
        future: impl Future<Output = std::thread::Result<Result<(), StartError>>> + 'static,
        ctx: &mut Context<Self>,
    ) {
        ctx.spawn(
            actix::fut::wrap_future::<_, Self>(future)
                .map(|result, actor, ctx| actor.ended(result, ctx)),
        );
    }
}

impl Actor for SourceActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        match self.build() {
            Ok(source) => {
                let port = self.port.clone();
                let ready = async move {
                    while !port.shared.is_ready.get() {
                        port.shared.ready.notified().await;
                    }
                };
                ctx.spawn(
                    actix::fut::wrap_future::<_, Self>(ready)
                        .map(|(), actor, _| actor.lifeline.started()),
                );
                let run = guard::guard(|| source.run(self.port.clone()));
                match run {
                    Ok(run) => self.spawn(std::panic::AssertUnwindSafe(run).catch_unwind(), ctx),
                    Err(panic) => self.ended(Err(Box::new(panic)), ctx),
                }
            }
            Err(error) => {
                self.lifeline.fail(error);
                ctx.terminate();
            }
        }
    }
}

impl Handler<OutletReady> for SourceActor {
    type Result = ();

    fn handle(&mut self, ready: OutletReady, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.port.shared.outlet.borrow_mut().ready(ready);
        self.port.wake();
        self.hand_over(ctx);
    }
}

impl Handler<Submit> for SourceActor {
    type Result = ();

    fn handle(&mut self, submit: Submit, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        let admission = if self.phase != Phase::Running {
            Admission::Closing
        } else if self.port.shared.outlet.borrow().gathered() >= SUBMITTED_EVENTS_MAX {
            Admission::Busy
        } else {
            self.port.submit(submit.intake);
            Admission::Accepted
        };
        if submit.answer.send(admission).is_err() {
            tracing::debug!(
                source = self.port.name(),
                "nobody waits for an answer any more"
            );
        }
    }
}

impl Handler<Stop> for SourceActor {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) {
        self.port.drain();
    }
}
