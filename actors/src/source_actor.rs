//! The source actor: runs one source (or one connection of it) and hands its events to the router as credits allow.

use std::future::Future;
use std::sync::Arc;

use actix::prelude::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler};

use futures::FutureExt;

use crate::guard::{self, Panic};
use crate::mailbox::{OutletReady, Turn};
use crate::receipt::Admission;
use crate::source::{Source, SourceFactory, SourceSpec};
use crate::source_port::{SUBMITTED_EVENTS_MAX, SourcePort};
use crate::submitter::Submit;
use crate::supervision::{Lifeline, StartError, Stop};
use crate::upstream::CURSOR_INTERVAL;

/// Runs one source, or one connection.
pub struct SourceActor {
    source: Option<Box<dyn Source>>,
    factory: Option<Arc<dyn SourceFactory>>,
    port: SourcePort,
    /// Ends only when all events of the source are finished; a connection's end does not wait for them.
    waits_for_finished: bool,
    /// Others take in what comes from now on.
    hands_over: bool,
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

impl SourceActor {
    /// A source that is built and run when the actor starts.
    pub fn new(spec: SourceSpec, lifeline: Lifeline, ctx: &Context<Self>) -> Self {
        Self {
            source: None,
            factory: Some(spec.factory),
            port: SourcePort::new(spec.place, ctx),
            waits_for_finished: true,
            hands_over: false,
            phase: Phase::Running,
            turn: Turn::default(),
            lifeline,
        }
    }

    /// A connection that was just accepted.
    pub(crate) fn for_connection(connection: Box<dyn Source>, port: SourcePort) -> Self {
        Self {
            source: Some(connection),
            factory: None,
            port,
            waits_for_finished: false,
            hands_over: false,
            phase: Phase::Running,
            turn: Turn::default(),
            lifeline: Lifeline::detached(),
        }
    }

    fn build(&mut self) -> Result<Box<dyn Source>, String> {
        match (self.source.take(), &self.factory) {
            (Some(source), _) => Ok(source),
            (None, Some(factory)) => {
                match guard::guard("source", self.port.name(), || factory.build()) {
                    Ok(Ok(source)) => Ok(source),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(panic) => Err(format!("the factory panicked: {panic}")),
                }
            }
            (None, None) => Err("a connection cannot be started again".to_owned()),
        }
    }

    fn ended(&mut self, result: Result<Result<(), StartError>, Panic>, ctx: &mut Context<Self>) {
        let name = self.port.name().to_owned();
        // One that failed is started again at once; its events are on their way without it.
        self.waits_for_finished &= matches!(result, Ok(Ok(()))) || self.port.is_draining();
        if self.factory.is_none() && !matches!(result, Ok(Ok(()))) {
            self.port.stats().connections_failed.add(1);
        }
        match result {
            Ok(Ok(())) => {
                // One that was told to may be followed by another.
                if self.waits_for_finished && !self.port.is_draining() {
                    let registry = &self.port.shared.registry;
                    registry.source_ended(self.port.stats());
                }
                tracing::debug!(source = name, "no more events");
            }
            Ok(Err(error)) => {
                if self.factory.is_none() {
                    tracing::info!(source = name, reason = %error, "a connection ended");
                }
                self.lifeline.fail(error.to_string());
            }
            Err(panic) => {
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
        if !self.waits_for_finished || self.hands_over {
            ctx.stop();
            return;
        }
        let stats = self.port.stats().clone();
        let drained = async move { stats.drained().await };
        ctx.spawn(
            actix::fut::wrap_future::<_, Self>(drained).map(|(), actor, ctx| {
                actor.move_cursor(ctx, SourcePort::sync_cursor);
                actor.wait_for_overflow(ctx);
            }),
        );
    }

    /// What waits on disk for a slow sink is waited for as well, unless the process is told to stop.
    fn wait_for_overflow(&self, ctx: &mut Context<Self>) {
        let (port, registry) = (self.port.clone(), self.port.shared.registry.clone());
        let empty = async move {
            futures::select_biased! {
                () = port.draining().fuse() => {}
                () = registry.in_flight.drained().fuse() => {}
            }
        };
        ctx.spawn(actix::fut::wrap_future::<_, Self>(empty).map(|(), _, ctx| ctx.stop()));
    }

    /// Moves the source's cursor, which is the source's code.
    fn move_cursor(&mut self, ctx: &mut Context<Self>, how: fn(&SourcePort)) {
        if let Err(panic) = guard::guard("source", self.port.name(), || how(&self.port)) {
            self.lifeline.fail(format!("its cursor panicked: {panic}"));
            ctx.stop();
        }
    }

    fn spawn(
        &self,
        future: impl Future<Output = Result<Result<(), StartError>, Panic>> + 'static,
        ctx: &mut Context<Self>,
    ) {
        ctx.spawn(
            actix::fut::wrap_future::<_, Self>(future)
                .map(|result, actor, ctx| actor.ended(result, ctx)),
        );
    }
}

impl Drop for SourceActor {
    fn drop(&mut self) {
        // A connection that was not run. It is logged if this panics, and what is left of it is lost then.
        let source = self.source.take();
        drop(guard::guard("source", self.port.name(), || drop(source)));
        // Connections look to the actor that accepted them for when to drain; the next one does not know them.
        self.port.drain();
    }
}

impl Actor for SourceActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        if self.port.cursor_store().is_some() {
            ctx.run_interval(CURSOR_INTERVAL, |actor, ctx| {
                actor.move_cursor(ctx, SourcePort::advance_cursor);
            });
        }
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
                let run =
                    guard::guard("source", self.port.name(), || source.run(self.port.clone()));
                match run {
                    Ok(run) => {
                        self.spawn(guard::guarded("source", &self.port.shared.name, run), ctx)
                    }
                    Err(panic) => self.ended(Err(panic), ctx),
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

    fn handle(&mut self, _: OutletReady, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.port.shared.outlet.borrow_mut().flush();
        self.port.wake();
        self.hand_over(ctx);
    }
}

impl Handler<Submit> for SourceActor {
    type Result = ();

    fn handle(&mut self, submit: Submit, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        let refusal = if self.phase != Phase::Running {
            Admission::Closing
        } else if self.port.shared.outlet.borrow().gathered() >= SUBMITTED_EVENTS_MAX {
            Admission::Busy
        } else {
            self.port
                .submit_answered(submit.intake, submit.answer, true);
            if let Some(pause) = self.port.take_pause() {
                ctx.wait(actix::fut::wrap_future(tokio::time::sleep(pause)));
            }
            return;
        };
        if submit.answer.send(refusal).is_err() {
            tracing::debug!(
                source = self.port.name(),
                "nobody waits for an answer any more"
            );
        }
    }
}

impl Handler<Stop> for SourceActor {
    type Result = ();

    fn handle(&mut self, how: Stop, ctx: &mut Context<Self>) {
        if how == Stop::HandOver {
            // Its events are on their way without it.
            self.hands_over = true;
            if self.phase == Phase::Finishing {
                ctx.stop();
            }
        }
        self.port.drain();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures::future::LocalBoxFuture;

    use super::*;
    use crate::memory::MemoryBudget;
    use crate::source::{Durability, SourcePlace};

    /// A connection that panics when it is dropped.
    struct Bomb;

    impl Source for Bomb {
        fn run(self: Box<Self>, _: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
            unreachable!("its actor is lost before")
        }
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bomb");
        }
    }

    #[actix::test]
    async fn a_connection_that_panics_when_its_actor_is_lost_before_it_runs_ends_nothing_else() {
        let place = SourcePlace {
            name: "x".into(),
            next: Arc::default(),
            durability: Durability::None,
            types: Arc::default(),
            budget: MemoryBudget::new(1),
            registry: Arc::default(),
        };
        let port = SourcePort::new(place, &Context::new());
        let actor = SourceActor::for_connection(Box::new(Bomb), port);
        let lost = catch_unwind(AssertUnwindSafe(|| {
            let _actor = actor;
            panic!("it is lost");
        }));
        let payload = lost.expect_err("it panicked");
        assert_eq!(payload.downcast_ref(), Some(&"it is lost"));
    }
}
