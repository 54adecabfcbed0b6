//! The supervisor actor: starts its children in order, restarts the one that ended, stops them in reverse.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, SpawnHandle};

use super::backoff::{Backoff, jitter_sample};
use super::budget::RestartBudget;
use super::child::{ChildEvent, ChildSpec, ExitReason, Lifeline, News, Restart, Stop};
use crate::actor_status::{ActorState, ActorStatus};
use crate::mailbox::control;
use crate::stats::Registry;

/// One-for-one supervision of children that are given as data.
///
/// When its budget is used up it stops its children and fails itself, which its own supervisor decides about.
pub struct Supervisor {
    name: String,
    children: Vec<Child>,
    budget: RestartBudget,
    backoff: Backoff,
    registry: Arc<Registry>,
    phase: Phase,
    lifeline: Lifeline,
    stops_together: bool,
    /// Called once when every child has ended normally and none will be started again.
    on_done: Option<Box<dyn FnOnce()>>,
}

struct Child {
    spec: ChildSpec,
    status: Arc<ActorStatus>,
    generation: u64,
    failures: u32,
    state: ChildState,
}

enum ChildState {
    /// Not started, or ended for good.
    Down,
    /// Started and not ready; it can be stopped once it exists.
    Starting(Option<Recipient<Stop>>),
    Up(Recipient<Stop>),
    BackingOff(SpawnHandle),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for the child of this number to be ready.
    Starting(usize),
    Running,
    /// Waiting for the child of this number to end; its deadline is `None` until it was told to.
    Stopping(usize),
}

impl Supervisor {
    /// A supervisor that starts `children` once it is started itself.
    pub fn new(
        name: impl Into<String>,
        children: Vec<ChildSpec>,
        budget: RestartBudget,
        backoff: Backoff,
        registry: Arc<Registry>,
        lifeline: Lifeline,
    ) -> Self {
        let children = children
            .into_iter()
            .map(|spec| Child {
                status: registry.actors.of(&path_below(lifeline.status(), &spec.id)),
                spec,
                generation: 0,
                failures: 0,
                state: ChildState::Down,
            })
            .collect();
        Self {
            name: name.into(),
            children,
            budget,
            backoff,
            registry,
            phase: Phase::Starting(0),
            lifeline,
            stops_together: false,
            on_done: None,
        }
    }

    /// Tells all children to stop before it waits for any of them: for children that do not need one another, and where
    /// one that takes long must not keep the others going.
    #[must_use]
    pub fn stops_together(mut self) -> Self {
        self.stops_together = true;
        self
    }

    /// Calls `done` once every child has ended normally and none will be started again.
    #[must_use]
    pub fn on_done(mut self, done: impl FnOnce() + 'static) -> Self {
        self.on_done = Some(Box::new(done));
        self
    }

    fn start(&mut self, index: usize, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        tracing::debug!(
            supervisor = self.name,
            child = child.spec.id,
            generation = child.generation,
            "starting"
        );
        child.generation = child.status.start();
        let lifeline = Lifeline::new(
            ctx.address().recipient(),
            index,
            child.generation,
            child.status.clone(),
        );
        child.state = ChildState::Starting(None);
        (child.spec.start)(lifeline);
    }

    fn spawned(&mut self, index: usize, stop: Recipient<Stop>) {
        let is_stopping = matches!(self.phase, Phase::Stopping(_));
        if self.phase == Phase::Stopping(index) || (is_stopping && self.stops_together) {
            control(&stop, Stop);
        }
        let state = &mut self.children[index].state;
        if let ChildState::Starting(_) = state {
            *state = ChildState::Starting(Some(stop));
        }
    }

    /// Starts the first child from `index` on that is not up, or reports that all are.
    fn start_next(&mut self, index: usize, ctx: &mut Context<Self>) {
        if index < self.children.len() {
            self.phase = Phase::Starting(index);
            self.start(index, ctx);
        } else {
            self.phase = Phase::Running;
            tracing::debug!(supervisor = self.name, "all children are up");
            self.lifeline.started();
            self.check_done();
        }
    }

    fn up(&mut self, index: usize, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        if let ChildState::Starting(Some(stop)) = &child.state {
            child.state = ChildState::Up(stop.clone());
            child.status.set(ActorState::Running);
        }
        if self.phase == Phase::Starting(index) {
            self.start_next(index + 1, ctx);
        }
    }

    fn exited(&mut self, index: usize, reason: ExitReason, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        if let ChildState::Down | ChildState::BackingOff(_) = child.state {
            // Reported by another before, and back only now.
            return;
        }
        child.state = ChildState::Down;
        child.status.set(ActorState::Stopped);
        if reason != ExitReason::Normal {
            child.status.failed(reason.to_string());
        }
        if let Phase::Stopping(stopping) = self.phase {
            if stopping == index {
                self.stop_from(index, ctx);
            }
            return;
        }
        let again = match child.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => reason != ExitReason::Normal,
            Restart::Temporary => false,
        };
        if again {
            self.restart(index, &reason, ctx);
        } else if self.phase == Phase::Starting(index) {
            self.start_next(index + 1, ctx);
        } else {
            self.check_done();
        }
    }

    fn restart(&mut self, index: usize, reason: &ExitReason, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        let id = child.spec.id.clone();
        if !self.budget.spend(Instant::now()) {
            tracing::error!(
                supervisor = self.name,
                child = id,
                ?reason,
                "the restart budget is used up"
            );
            self.lifeline.fail(format!("{id}: {reason}"));
            self.stop_all(ctx);
            return;
        }
        if self.budget.spent() == 1 {
            // All was well for the whole period, so this is no repeated failure.
            child.failures = 0;
        }
        child.failures += 1;
        let wait = self.backoff.wait(child.failures, jitter_sample());
        tracing::warn!(
            supervisor = self.name,
            child = id,
            ?reason,
            generation = child.generation,
            ?wait,
            "restarting"
        );
        self.registry.restarts.add(1);
        child.status.restarts.add(1);
        child.status.set(ActorState::BackingOff);
        // A message to oneself, so that a stop can get in first.
        let timer = ctx.run_later(wait, move |supervisor, ctx| supervisor.start(index, ctx));
        child.state = ChildState::BackingOff(timer);
    }

    /// Stops all children, the last one first, then itself.
    fn stop_all(&mut self, ctx: &mut Context<Self>) {
        if self.stops_together {
            for child in &self.children {
                if let ChildState::Up(stop) | ChildState::Starting(Some(stop)) = &child.state {
                    control(stop, Stop);
                }
            }
        }
        self.stop_from(self.children.len(), ctx);
    }

    /// Stops the children before `index`, the last one first, then itself.
    fn stop_from(&mut self, index: usize, ctx: &mut Context<Self>) {
        for index in (0..index).rev() {
            self.phase = Phase::Stopping(index);
            let child = &mut self.children[index];
            let stop = match &child.state {
                ChildState::Down => continue,
                ChildState::BackingOff(timer) => {
                    ctx.cancel_future(*timer);
                    child.state = ChildState::Down;
                    child.status.set(ActorState::Stopped);
                    continue;
                }
                // One that does not exist yet is told as soon as it does.
                ChildState::Starting(stop) => stop.as_ref(),
                ChildState::Up(stop) => Some(stop),
            };
            if let Some(stop) = stop {
                control(stop, Stop);
            }
            let (deadline, generation) = (child.spec.shutdown, child.generation);
            ctx.run_later(deadline, move |supervisor, ctx| {
                supervisor.give_up(index, generation, ctx)
            });
            return;
        }
        ctx.stop();
    }

    fn give_up(&mut self, index: usize, generation: u64, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        if self.phase == Phase::Stopping(index) && child.generation == generation {
            tracing::error!(
                supervisor = self.name,
                child = child.spec.id,
                "did not stop within its deadline"
            );
            child.state = ChildState::Down;
            self.stop_from(index, ctx);
        }
    }

    fn check_done(&mut self) {
        let all_down = self
            .children
            .iter()
            .all(|child| matches!(child.state, ChildState::Down));
        if self.phase == Phase::Running
            && all_down
            && let Some(done) = self.on_done.take()
        {
            done();
        }
    }
}

/// The path of a child of the actor at `parent`.
fn path_below(parent: &ActorStatus, id: &str) -> String {
    match parent.path().is_empty() {
        true => id.to_owned(),
        false => format!("{}/{id}", parent.path()),
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        self.start_next(0, ctx);
    }
}

impl Handler<ChildEvent> for Supervisor {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Context<Self>) {
        if self.children[event.index].generation != event.generation {
            return;
        }
        match event.news {
            News::Spawned(stop) => self.spawned(event.index, stop),
            News::Started => self.up(event.index, ctx),
            News::Exited(reason) => self.exited(event.index, reason, ctx),
        }
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        if !matches!(self.phase, Phase::Stopping(_)) {
            self.stop_all(ctx);
        }
    }
}
