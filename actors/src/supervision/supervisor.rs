//! The supervisor actor: starts its children in order, restarts what ended as its strategy says, stops them in reverse.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle};
use tokio::time::Instant;

use super::backoff::{Backoff, jitter_sample};
use super::budget::RestartBudget;
use super::child::{ChildEvent, ChildSpec, ExitReason, Lifeline, News, Stop, answer};
use super::children::{ChildState, Children};
use super::membership::SupervisorPlace;
use super::strategy::{self, AutoShutdown, Decision, Strategy};
use crate::actor_status::ActorState;
use crate::stats::Registry;

/// Supervises children that are given as data, by the rules of Erlang/OTP.
///
/// When its budget is used up it stops its children, waits for them and fails itself, which its own supervisor decides
/// about. Other than in OTP that is a failure, so a transient supervisor is started again after it; a child that cannot
/// be started is tried again within the budget, at the first start as well; and restarts wait for a back-off.
pub struct Supervisor {
    pub(super) name: String,
    pub(super) children: Children,
    /// How many starts of children there were.
    starts: u64,
    strategy: Strategy,
    pub(super) auto_shutdown: AutoShutdown,
    budget: RestartBudget,
    backoff: Backoff,
    pub(super) registry: Arc<Registry>,
    pub(super) phase: Phase,
    plan: Plan,
    pub(super) lifeline: Lifeline,
    pub(super) stops_together: bool,
    /// How its children are told to stop.
    pub(super) how: Stop,
    place: Option<SupervisorPlace>,
    /// Called once when it begins to stop, for whatever reason.
    pub(super) on_stop: Option<Box<dyn FnOnce()>>,
    /// A significant child has ended before all were up; decided about once they are.
    is_finished: bool,
    /// Children come and go: that none is left means nothing until they have settled.
    pub(super) is_changing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not all children have been up yet.
    Starting,
    Running,
    Stopping,
}

/// What is being done to children, one after the other: first some are stopped, then some are started.
#[derive(Default)]
pub(super) struct Plan {
    stop: VecDeque<usize>,
    /// The back-off before the first start.
    wait: Option<SpawnHandle>,
    start: VecDeque<usize>,
    /// The first of `start` has been begun.
    is_begun: bool,
}

impl Plan {
    pub(super) fn to_stop(stop: VecDeque<usize>) -> Self {
        Self {
            stop,
            ..Self::default()
        }
    }
}

impl Supervisor {
    /// A supervisor that starts `children` once it is started itself. The root is called `name` in the log, all others by
    /// their paths.
    pub fn new(
        name: impl Into<String>,
        children: Vec<ChildSpec>,
        budget: RestartBudget,
        backoff: Backoff,
        registry: Arc<Registry>,
        lifeline: Lifeline,
    ) -> Self {
        let path = lifeline.status().path();
        Self {
            name: match path.is_empty() {
                true => name.into(),
                false => path.to_string(),
            },
            children: Children::new(children, lifeline.status(), &registry),
            starts: 0,
            strategy: Strategy::default(),
            auto_shutdown: AutoShutdown::default(),
            budget,
            backoff,
            registry,
            phase: Phase::Starting,
            plan: Plan::default(),
            lifeline,
            stops_together: false,
            how: Stop::Drain,
            place: None,
            on_stop: None,
            is_finished: false,
            is_changing: false,
        }
    }

    /// Whom a child that is started again takes along; nobody if not said.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Whether it ends with its significant children; not if not said.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Tells all children to stop before it waits for any of them: for children that do not need one another, and where
    /// one that takes long must not keep the others going.
    #[must_use]
    pub fn stops_together(mut self) -> Self {
        self.stops_together = true;
        self
    }

    /// Lets it be found there while it runs, to have children added and removed: one for one only.
    #[must_use]
    pub fn found_at(mut self, place: &SupervisorPlace) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// Has this called when it begins to stop: told to, done, or with its budget used up.
    #[must_use]
    pub fn on_stop(mut self, on_stop: impl FnOnce() + 'static) -> Self {
        self.on_stop = Some(Box::new(on_stop));
        self
    }

    /// Goes on with the plan until there is something to wait for.
    pub(super) fn proceed(&mut self, ctx: &mut Context<Self>) {
        while let Some(index) = self.plan.stop.front().copied() {
            self.tell(index, self.how, ctx);
            if self.children[index].is_alive() {
                return;
            }
            self.plan.stop.pop_front();
        }
        if self.phase == Phase::Stopping {
            ctx.stop();
            return;
        }
        if self.plan.wait.is_some() || self.plan.is_begun {
            return;
        }
        // One that was removed meanwhile is not started, and one in its place was when it was added.
        let is_down = |index: &usize| matches!(self.children[*index].state, ChildState::Down);
        while self.plan.start.front().is_some_and(|next| !is_down(next)) {
            self.plan.start.pop_front();
        }
        if let Some(index) = self.plan.start.front().copied() {
            self.plan.is_begun = true;
            self.start(index, ctx);
        } else if self.phase == Phase::Starting {
            self.phase = Phase::Running;
            tracing::debug!(path = self.name, "all children are up");
            self.lifeline.started();
            if self.is_finished {
                self.shut_down(ctx);
            }
        }
    }

    pub(super) fn start(&mut self, index: usize, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        self.starts += 1;
        child.begin(self.starts);
        let (path, generation) = (child.path(), child.generation);
        if generation == 1 {
            tracing::debug!(path, generation, "starting");
        } else {
            tracing::info!(path, generation, "starting again");
        }
        let events = ctx.address().recipient();
        let lifeline = Lifeline::new(events, index, child.incarnation, child.status.clone());
        (child.spec.start)(lifeline);
    }

    fn up(&mut self, index: usize, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        if child.up() {
            let (path, generation) = (child.path(), child.generation);
            tracing::debug!(path, generation, "started");
            answer(child.on_start.take(), Ok(()));
            self.settled(index, ctx);
        }
    }

    /// The child is up, or stays down: if it was waited for, the next one is started.
    pub(super) fn settled(&mut self, index: usize, ctx: &mut Context<Self>) {
        if self.plan.is_begun && self.plan.start.front() == Some(&index) {
            self.plan.start.pop_front();
            self.plan.is_begun = false;
        }
        self.proceed(ctx);
    }

    fn exited(&mut self, index: usize, reason: &ExitReason, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        if !child.is_alive() {
            // It was given up, or others reported its end before it came back.
            child.status.change(ActorState::Hung, ActorState::Stopped);
            return;
        }
        // Of one that is to stop anyway nothing follows.
        let is_stopping = self.phase == Phase::Stopping || self.plan.stop.contains(&index);
        let members = self
            .children
            .members(|index| self.plan.start.contains(&index));
        let child = &mut self.children[index];
        child.down(ActorState::Stopped);
        let (path, generation) = (child.path(), child.generation);
        if *reason == ExitReason::Normal {
            tracing::debug!(path, generation, "stopped");
        } else if *reason != ExitReason::Displaced {
            tracing::warn!(path, generation, %reason, "failed");
            child.status.failed(reason.to_string());
        }
        if self.is_removed(index, reason) {
            self.end_if_bereft(ctx);
            return self.settled(index, ctx);
        }
        if is_stopping {
            return self.proceed(ctx);
        }
        match strategy::decide(self.strategy, self.auto_shutdown, &members, index, reason) {
            Decision::Leave => {
                self.settled(index, ctx);
            }
            Decision::ShutDown if self.phase == Phase::Starting => {
                self.is_finished = true;
                self.settled(index, ctx);
            }
            Decision::ShutDown if self.is_changing => self.settled(index, ctx),
            Decision::ShutDown => self.shut_down(ctx),
            Decision::Restart { stop, start } => self.restart(index, reason, (stop, start), ctx),
        }
    }

    fn restart(
        &mut self,
        index: usize,
        reason: &ExitReason,
        (stop, start): (Vec<usize>, Vec<usize>),
        ctx: &mut Context<Self>,
    ) {
        let child = &mut self.children[index];
        let wait = if *reason == ExitReason::Displaced {
            std::time::Duration::ZERO
        } else if self.budget.spend(Instant::now().into_std()) {
            let failures = child.count_failure(self.budget.within());
            self.backoff.wait(failures, jitter_sample())
        } else {
            return self.escalate(index, reason, ctx);
        };
        let (path, generation) = (child.path(), child.generation);
        tracing::warn!(path, generation, %reason, ?wait, "restarting");
        if *reason != ExitReason::Displaced {
            self.registry.restarts.add(1);
            child.status.restarts.add(1);
        }
        child.status.set(ActorState::BackingOff);
        // By a message to oneself, so that a stop can get in first.
        if self.strategy == Strategy::OneForOne {
            let timer = ctx.run_later(wait, move |supervisor, ctx| supervisor.start(index, ctx));
            child.state = ChildState::BackingOff(timer);
        } else {
            let timer = ctx.run_later(wait, |supervisor, ctx| {
                supervisor.plan.wait = None;
                supervisor.proceed(ctx);
            });
            // It takes the place of a plan that is not carried out yet: its siblings are the same ones or more.
            self.replace_plan(
                Plan {
                    stop: stop.into(),
                    wait: Some(timer),
                    start: start.into(),
                    is_begun: false,
                },
                ctx,
            );
            self.proceed(ctx);
        }
    }

    fn escalate(&mut self, index: usize, reason: &ExitReason, ctx: &mut Context<Self>) {
        let child = &self.children[index];
        tracing::error!(
            path = self.name,
            child = child.path(),
            generation = child.generation,
            %reason,
            "the restart budget is used up, escalating"
        );
        self.lifeline.fail(format!("{}: {reason}", child.spec.id));
        self.stop_all(ctx);
    }

    pub(super) fn replace_plan(&mut self, plan: Plan, ctx: &mut Context<Self>) {
        let before = std::mem::replace(&mut self.plan, plan);
        if let Some(timer) = before.wait {
            ctx.cancel_future(timer);
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        if let Some(place) = &self.place {
            place.set(ctx.address());
        }
        if let Err(error) = self.children.check(self.auto_shutdown) {
            self.lifeline.fail(error);
            ctx.stop();
            return;
        }
        self.plan.start = (0..self.children.len()).collect();
        self.proceed(ctx);
    }
}

impl Handler<ChildEvent> for Supervisor {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Context<Self>) {
        let child = &mut self.children[event.index];
        if child.incarnation != event.incarnation {
            return;
        }
        match event.news {
            News::Spawned(stop) => child.spawned(stop),
            News::Started => self.up(event.index, ctx),
            News::Exited(reason) => self.exited(event.index, &reason, ctx),
        }
    }
}
