//! How a supervisor stops its children, and then itself.

use std::collections::VecDeque;
use std::time::Duration;

use actix::prelude::{AsyncContext, Context, Handler};

use super::child::{ExitReason, Stop};
use super::children::ChildState;
use super::supervisor::{Phase, Plan, Supervisor};
use crate::actor_status::ActorState;

impl Supervisor {
    /// Its significant children are done.
    pub(super) fn shut_down(&mut self, ctx: &mut Context<Self>) {
        tracing::debug!(path = self.name, "done");
        self.lifeline.done();
        self.stop_all(ctx);
    }

    /// Stops all children, the last one first, then itself.
    pub(super) fn stop_all(&mut self, ctx: &mut Context<Self>) {
        self.phase = Phase::Stopping;
        if let Some(on_stop) = self.on_stop.take() {
            on_stop();
        }
        for child in self.children.iter_mut() {
            if let ChildState::BackingOff(timer) = child.state {
                ctx.cancel_future(timer);
                child.state = ChildState::Down;
            }
            child
                .status
                .change(ActorState::BackingOff, ActorState::Stopped);
        }
        let stop: VecDeque<_> = (0..self.children.len()).rev().collect();
        if self.stops_together {
            for index in &stop {
                self.tell(*index, self.how, ctx);
            }
        }
        self.replace_plan(Plan::to_stop(stop), ctx);
        self.proceed(ctx);
    }

    /// Tells a child to stop, and gives it up once its deadline has passed.
    pub(super) fn tell(&mut self, index: usize, how: Stop, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        if child.tell(how) {
            let (deadline, incarnation) = (child.spec.shutdown, child.incarnation);
            let (path, generation) = (child.path(), child.generation);
            tracing::debug!(path, generation, ?deadline, "stopping");
            if deadline == Duration::MAX {
                return;
            }
            ctx.run_later(deadline, move |supervisor, ctx| {
                supervisor.give_up(index, incarnation, ctx);
            });
        }
    }

    fn give_up(&mut self, index: usize, incarnation: u64, ctx: &mut Context<Self>) {
        let child = &mut self.children[index];
        if child.is_alive() && child.incarnation == incarnation {
            let deadline = child.spec.shutdown;
            let (path, generation) = (child.path(), child.generation);
            tracing::error!(
                path,
                generation,
                ?deadline,
                "did not stop within its deadline"
            );
            child
                .status
                .failed(format!("did not stop within {deadline:?}"));
            child.down(ActorState::Hung);
            if self.is_removed(index, &ExitReason::Normal) {
                self.end_if_bereft(ctx);
            }
            self.settled(index, ctx);
        }
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, how: Stop, ctx: &mut Context<Self>) {
        self.how = how;
        if self.phase != Phase::Stopping {
            self.stop_all(ctx);
        } else if how == Stop::HandOver {
            for child in self.children.iter_mut() {
                child.tell(how);
            }
        }
    }
}

impl Drop for Supervisor {
    /// One that is lost takes its children along, or its next generation would start them a second time.
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            child.tell(Stop::Drain);
        }
    }
}
